/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/client.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "wire/link.h"

/* A head that was there is waited for so long: it is being restarted. */
#define PATIENCE (60 * RWF_NS_PER_S)
#define PAUSE_MS 250

struct job_client {
    uv_loop_t loop;
    char *host;
    int port;
    uint8_t key[WIRE_KEY_LEN];
    struct wire_link *link; /* NULL: none */
    uv_signal_t signals[2];
    bool catches, caught;
    bool known; /* the head has answered before */
    uint64_t request;
    struct job_answer *answer; /* of the request that waits; NULL: it was answered */
    struct rwf_err *err;
    int rc; /* of that request */
};

/* --- the link --- */

static void on_message(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct job_client *c = ctx;
    const Wire__JobReply *r = (const Wire__JobReply *)m->body;
    if (m->type == WIRE_HELLO)
        return;
    if (m->type != WIRE_JOB_REPLY) {
        wire_link_close(link);
        return;
    }
    if (!c->answer || r->request != c->request)
        return;
    c->known = true;
    c->rc = r->code ? rwf_fail(c->err, r->code, "%s", r->text) : 0;
    c->answer->json = *r->json ? json_loads(r->json, 0, NULL) : json_object();
    c->answer->data = rwf_xmalloc(r->data.len + 1);
    if (r->data.len)
        memcpy(c->answer->data, r->data.data, r->data.len);
    c->answer->len = r->data.len;
    c->answer->more = r->more;
    if (r->code)
        job_answer_clear(c->answer);
    c->answer = NULL;
    uv_stop(&c->loop);
}

static void on_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    struct job_client *c = ctx;
    (void)link;
    c->link = NULL;
    uv_stop(&c->loop);
    if (!c->answer)
        return;
    if (err)
        *c->err = *err;
    else
        rwf_fail(
            c->err, RWF_E_ENV,
            "%s:%d has closed the link: it is no head that takes jobs (raywf start "
            "--head is), or it ends",
            c->host, c->port);
}

static int connect_link(struct job_client *c, struct rwf_err *err)
{
    if (c->link)
        return 0;
    c->link = wire_link_connect(&c->loop, c->host, c->port, c->key, err);
    if (!c->link)
        return -1;
    wire_link_handle(c->link, &(struct wire_handler){c, on_message, on_closed});
    return 0;
}

/* --- life --- */

struct job_client *job_client_open(const char *host, int port, const uint8_t *key)
{
    struct job_client *c = rwf_xcalloc(1, sizeof(*c));
    uv_loop_init(&c->loop);
    c->host = rwf_xstrdup(host);
    c->port = port;
    memcpy(c->key, key, sizeof(c->key));
    return c;
}

static void on_signal(uv_signal_t *s, int number)
{
    struct job_client *c = s->data;
    (void)number;
    c->caught = true;
    uv_stop(&c->loop);
}

void job_client_catch(struct job_client *c)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < RWF_COUNT(numbers); i++) {
        uv_signal_init(&c->loop, &c->signals[i]);
        c->signals[i].data = c;
        uv_signal_start(&c->signals[i], on_signal, numbers[i]);
        uv_unref((uv_handle_t *)&c->signals[i]);
    }
    c->catches = true;
}

void job_client_close(struct job_client *c)
{
    if (!c)
        return;
    if (c->link) {
        wire_link_handle(c->link, NULL);
        wire_link_close(c->link);
    }
    for (size_t i = 0; c->catches && i < RWF_COUNT(c->signals); i++)
        uv_close((uv_handle_t *)&c->signals[i], NULL);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    uv_loop_close(&c->loop);
    explicit_bzero(c->key, sizeof(c->key));
    free(c->host);
    free(c);
}

void job_answer_clear(struct job_answer *a)
{
    json_decref(a->json);
    free(a->data);
    *a = (struct job_answer){0};
}

/* --- requests --- */

/* 0 answered (c->rc says how), -1: the link is gone, *err says why; 1: a signal. */
static int attempt(struct job_client *c, Wire__Job *m, struct job_answer *ret,
                   struct rwf_err *err)
{
    if (connect_link(c, err))
        return -1;
    m->request = ++c->request;
    c->answer = ret;
    c->err = err;
    wire_link_send(c->link, WIRE_JOB, &m->base, NULL, 0);
    while (c->answer && c->link && !c->caught)
        uv_run(&c->loop, UV_RUN_DEFAULT);
    bool answered = !c->answer;
    c->answer = NULL;
    return answered ? 0 : c->caught ? 1 : -1;
}

static int interrupted(struct job_client *c, struct rwf_err *err)
{
    c->caught = false;
    return rwf_fail(err, RWF_E_STOPPED, "interrupted");
}

static int call(struct job_client *c, Wire__Job *m, bool again, struct job_answer *ret,
                struct rwf_err *err)
{
    struct rwf_err local = RWF_ERR_INIT;
    int64_t until = rwf_clock_mono() + PATIENCE;
    *ret = (struct job_answer){0};
    for (;;) {
        int rc = c->caught ? 1 : attempt(c, m, ret, &local);
        bool starting = rc == 0 && c->rc && local.code == EAGAIN;
        if (rc > 0)
            return interrupted(c, err);
        if (rc == 0 && !starting) {
            if (c->rc && err)
                *err = local;
            return c->rc;
        }
        if (!(starting || (again && c->known)) || rwf_clock_mono() > until) {
            if (err)
                *err = local;
            return -1;
        }
        /* A signal ends the pause; the loop hears of it. */
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * RWF_NS_PER_MS}, NULL);
        uv_run(&c->loop, UV_RUN_NOWAIT);
    }
}

int job_client_call(struct job_client *c, const char *verb, json_t *args,
                    struct job_answer *ret, struct rwf_err *err)
{
    Wire__Job m = WIRE__JOB__INIT;
    char *text = json_dumps(args, JSON_COMPACT | JSON_ENSURE_ASCII);
    m.verb = (char *)(uintptr_t)verb;
    m.json = text;
    int rc = call(c, &m, true, ret, err);
    free(text);
    json_decref(args);
    return rc;
}

int job_client_put(struct job_client *c, json_t *args, const void *data, size_t len,
                   bool end, struct rwf_err *err)
{
    Wire__Job m = WIRE__JOB__INIT;
    struct job_answer answer;
    char *text = args ? json_dumps(args, JSON_COMPACT) : NULL;
    m.verb = (char *)"put";
    m.json = text ? text : (char *)"";
    m.data = (ProtobufCBinaryData){len, (uint8_t *)(uintptr_t)data};
    m.end = end;
    int rc = call(c, &m, false, &answer, err);
    job_answer_clear(&answer);
    free(text);
    json_decref(args);
    return rc;
}

int job_client_next(struct job_client *c, struct job_answer *ret, struct rwf_err *err)
{
    Wire__Job m = WIRE__JOB__INIT;
    m.verb = (char *)"next";
    return call(c, &m, false, ret, err);
}
