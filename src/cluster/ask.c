/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cluster/ask.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cluster/address.h"
#include "native/raywf.h" /* its error codes */

int cluster_at_open(struct cluster_at *ret, const char *address, const char *key,
                    struct rwf_err *err)
{
    struct cluster_at at = {0};
    if (cluster_address_split(address, &at.host, &at.port, err))
        return -1;
    if (wire_key_load(key, false, at.key, err)) {
        cluster_at_close(&at);
        return -1;
    }
    *ret = at;
    return 0;
}

void cluster_at_close(struct cluster_at *at)
{
    free(at->host);
    at->host = NULL;
    explicit_bzero(at->key, sizeof(at->key));
}

struct question {
    const struct cluster_at *at;
    struct wire_link *link;
    uv_timer_t timer;
    json_t *answer;
    struct rwf_err err; /* while there is no answer */
    bool timed_out;
};

static void take_error(struct question *q, const Wire__Error *e)
{
    rwf_fail(&q->err, e->code == RAYWF_E_ARGUMENT ? RWF_E_USAGE : RWF_E_ENV,
             "the head at %s:%d: %s", q->at->host, q->at->port, e->text);
}

static void on_message(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct question *q = ctx;
    if (q->answer || m->type == WIRE_HELLO)
        return;
    if (m->type == WIRE_LISTED)
        q->answer =
            json_loads(((const Wire__Listed *)m->body)->json, JSON_DECODE_ANY, NULL);
    else if (m->type == WIRE_DONE)
        q->answer = json_null();
    else if (m->type == WIRE_ERROR)
        take_error(q, (const Wire__Error *)m->body);
    else
        return; /* who is there, and the like */
    wire_link_close(link);
}

static void on_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    struct question *q = ctx;
    (void)link;
    q->link = NULL;
    uv_close((uv_handle_t *)&q->timer, NULL);
    if (q->answer || q->err.code || q->timed_out)
        return;
    if (err)
        q->err = *err;
    else
        rwf_fail(&q->err, RWF_E_ENV, "what listens at %s:%d is no head", q->at->host,
                 q->at->port);
}

static void on_time(uv_timer_t *t)
{
    struct question *q = t->data;
    q->timed_out = true;
    if (q->link)
        wire_link_close(q->link);
}

json_t *cluster_ask(const struct cluster_at *at, enum wire_type type,
                    const ProtobufCMessage *body, int64_t timeout, struct rwf_err *err)
{
    struct question q = {.at = at, .err = RWF_ERR_INIT};
    uv_loop_t loop;
    uv_loop_init(&loop);
    q.link = wire_link_connect(&loop, at->host, at->port, at->key, &q.err);
    if (q.link) {
        uv_timer_init(&loop, &q.timer);
        q.timer.data = &q;
        uv_timer_start(&q.timer, on_time, (uint64_t)(timeout / RWF_NS_PER_MS), 0);
        wire_link_handle(q.link, &(struct wire_handler){&q, on_message, on_closed});
        wire_link_send(q.link, type, body, NULL, 0);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    if (q.answer)
        return q.answer;
    if (q.timed_out)
        rwf_fail(err, RWF_E_ENV, "the head at %s:%d has not answered in time", at->host,
                 at->port);
    else if (err)
        *err = q.err;
    return NULL;
}

json_t *cluster_ask_list(const struct cluster_at *at, const char *what,
                         const char *about, int64_t timeout, struct rwf_err *err)
{
    Wire__List list = WIRE__LIST__INIT;
    list.what = (char *)what;
    list.about = (char *)(about ? about : "");
    return cluster_ask(at, WIRE_LIST, &list.base, timeout, err);
}
