/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "job/log.h"
#include "job/process.h"
#include "job/talk.h"

/* How often a log is looked at for who follows it, and how long at most. */
enum { LOOK_MS = 200, WAIT_MS_MAX = 30000 };

struct job_server {
    uv_loop_t *loop;
    struct job_keeper *keeper; /* NULL: not yet */
    LIST_HEAD(, job__conn) conns;
    bool closing;
};

/* --- replies --- */

void job__reply(struct job__conn *c, uint64_t request, const struct job__reply *r)
{
    Wire__JobReply m = WIRE__JOB_REPLY__INIT;
    char *text = r->json ? json_dumps(r->json, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    m.request = request;
    m.json = text ? text : (char *)"";
    m.data = (ProtobufCBinaryData){r->len, (uint8_t *)(uintptr_t)r->data};
    m.more = r->more;
    if (c->link)
        wire_link_send(c->link, WIRE_JOB_REPLY, &m.base, NULL, 0);
    free(text);
    json_decref(r->json);
}

void job__reply_error(struct job__conn *c, uint64_t request, const struct rwf_err *err)
{
    Wire__JobReply m = WIRE__JOB_REPLY__INIT;
    m.request = request;
    m.code = err->code ? err->code : EIO;
    /* Text of a protobuf is UTF-8; a path may be anything. */
    m.text = rwf_utf8_valid(err->text, strlen(err->text))
                 ? (char *)(uintptr_t)err->text
                 : (char *)"it failed at a file whose name is no UTF-8";
    if (c->link)
        wire_link_send(c->link, WIRE_JOB_REPLY, &m.base, NULL, 0);
}

/* --- one client --- */

void job__conn_release(struct job__conn *c)
{
    if (--c->open > 0)
        return;
    job__drop_trees(c);
    free(c->upload_digest);
    free(c->log_job);
    free(c);
}

static void timer_closed(uv_handle_t *t)
{
    job__conn_release(t->data);
}

static void on_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    struct job__conn *c = ctx;
    (void)link, (void)err;
    c->link = NULL;
    LIST_REMOVE(c, all);
    uv_close((uv_handle_t *)&c->timer, timer_closed);
    job__conn_release(c);
}

struct job *job__of(struct job__conn *c, const json_t *args, struct rwf_err *err)
{
    const char *name = json_string_value(json_object_get(args, "job"));
    return job_resolve(job_keeper_list(c->keeper), name ? name : "", err);
}

/* --- submit --- */

static int on_submit(struct job__conn *c, const Wire__Job *m, const json_t *args,
                     struct rwf_err *err)
{
    const char *id = json_string_value(json_object_get(args, "id"));
    const json_t *spec = json_object_get(args, "spec");
    const char *digest = json_string_value(json_object_get(spec, "digest"));
    struct job_keeper *k = c->keeper;
    /* Wrong in itself: said before its bundle is asked for. */
    struct job *probe = job_create(id, spec, 0, err);
    job_free(probe);
    if (!probe)
        return -1;
    if (!job_keeper_has_bundle(k, digest)) {
        job__reply(c, m->request,
                   &(struct job__reply){.json = json_pack("{s:s}", "need", "bundle")});
        return 0;
    }
    struct job *j = job_keeper_submit(k, id, spec, err);
    if (!j)
        return -1;
    job__reply(
        c, m->request,
        &(struct job__reply){.json = json_pack("{s:s, s:s}", "job", j->id, "state",
                                               job_state_name(j->state))});
    return 0;
}

/* --- list, status --- */

static int on_list(struct job__conn *c, const Wire__Job *m, const json_t *args,
                   struct rwf_err *err)
{
    const struct job_list *l = job_keeper_list(c->keeper);
    json_t *jobs = json_array();
    (void)args, (void)err;
    for (size_t i = 0; i < l->count; i++)
        json_array_append_new(jobs, job_shown(l->items[i]));
    job__reply(c, m->request,
               &(struct job__reply){.json = json_pack("{s:o}", "jobs", jobs)});
    return 0;
}

static int on_status(struct job__conn *c, const Wire__Job *m, const json_t *args,
                     struct rwf_err *err)
{
    const struct job *j = job__of(c, args, err);
    if (!j)
        return -1;
    json_t *out = job_shown(j);
    char *folder = job_keeper_path(c->keeper, j, "");
    json_t *result = job_process_result(folder, j->attempt);
    const char *run = json_string_value(json_object_get(result, "run"));
    if (run)
        json_object_set_new(out, "run", json_string(run));
    json_object_set_new(out, "folder", json_string(folder));
    char *waits = job_keeper_waits(c->keeper, j);
    if (waits)
        json_object_set_new(out, "waits", json_string(waits));
    json_decref(result);
    free(waits);
    free(folder);
    job__reply(c, m->request, &(struct job__reply){.json = out});
    return 0;
}

/* --- logs --- */

/* false: there is nothing to say yet. */
static bool answer_log(struct job__conn *c, uint64_t request, const struct job *j,
                       int64_t offset, bool at_once)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *folder = job_keeper_path(c->keeper, j, "");
    char *buf = rwf_xmalloc(JOB_PIECE);
    bool ended = job_state_ended(j->state) || j->state == JOB_SCHEDULED;
    int64_t from = offset, n = job_log_read(folder, &from, buf, JOB_PIECE, &err);
    bool say = n != 0 || ended || at_once;
    if (n < 0)
        job__reply_error(c, request, &err);
    else if (say)
        job__reply(c, request,
                   &(struct job__reply){
                       .json = json_pack(
                           "{s:I, s:I, s:s, s:b, s:i, s:s?}", "offset",
                           (json_int_t)from, "next", (json_int_t)(from + n), "state",
                           job_state_name(j->state), "ended", ended && n == 0,
                           "exit_code", j->exit_code, "cause", j->cause),
                       .data = buf,
                       .len = (size_t)n});
    free(buf);
    free(folder);
    return say;
}

static void on_look(uv_timer_t *t)
{
    struct job__conn *c = t->data;
    const struct job *j = job_find(job_keeper_list(c->keeper), c->log_job);
    struct rwf_err err = RWF_ERR_INIT;
    bool late = rwf_clock_mono() >= c->log_until;
    if (!j) {
        rwf_fail(&err, RWF_E_NORUN, "job %s was deleted", c->log_job);
        job__reply_error(c, c->log_request, &err);
    }
    if (j && !answer_log(c, c->log_request, j, c->log_offset, late))
        return;
    uv_timer_stop(t);
}

static int on_logs(struct job__conn *c, const Wire__Job *m, const json_t *args,
                   struct rwf_err *err)
{
    const struct job *j = job__of(c, args, err);
    if (!j)
        return -1;
    int64_t offset = json_integer_value(json_object_get(args, "offset"));
    int64_t wait = json_integer_value(json_object_get(args, "wait"));
    const json_t *tail = json_object_get(args, "tail");
    if (tail) {
        char *folder = job_keeper_path(c->keeper, j, "");
        offset = job_log_tail(folder, json_integer_value(tail));
        free(folder);
    }
    if (answer_log(c, m->request, j, offset, wait <= 0))
        return 0;
    free(c->log_job);
    c->log_job = rwf_xstrdup(j->id);
    c->log_request = m->request;
    c->log_offset = offset;
    c->log_until =
        rwf_clock_mono() + (wait < WAIT_MS_MAX ? wait : WAIT_MS_MAX) * RWF_NS_PER_MS;
    uv_timer_start(&c->timer, on_look, LOOK_MS, LOOK_MS);
    return 0;
}

/* --- stop, retry, delete --- */

static void reply_state(struct job__conn *c, uint64_t request, const char *id,
                        const char *state)
{
    job__reply(c, request,
               &(struct job__reply){
                   .json = json_pack("{s:s, s:s}", "job", id, "state", state)});
}

static int on_stop(struct job__conn *c, const Wire__Job *m, const json_t *args,
                   struct rwf_err *err)
{
    const char *name = json_string_value(json_object_get(args, "job"));
    struct job *j = job_resolve_open(job_keeper_list(c->keeper), name ? name : "", err);
    bool force = json_is_true(json_object_get(args, "force"));
    if (!j || job_keeper_stop(c->keeper, j, force, err))
        return -1;
    reply_state(c, m->request, j->id, job_state_name(j->state));
    return 0;
}

static int on_retry(struct job__conn *c, const Wire__Job *m, const json_t *args,
                    struct rwf_err *err)
{
    struct job *j = job__of(c, args, err);
    if (!j || job_keeper_retry(c->keeper, j, err))
        return -1;
    reply_state(c, m->request, j->id, job_state_name(j->state));
    return 0;
}

static int on_delete(struct job__conn *c, const Wire__Job *m, const json_t *args,
                     struct rwf_err *err)
{
    struct job *j = job__of(c, args, err);
    char *id = j ? rwf_xstrdup(j->id) : NULL;
    int rc = j ? job_keeper_delete(c->keeper, j, err) : -1;
    if (!rc)
        reply_state(c, m->request, id, "deleted");
    free(id);
    return rc;
}

/* --- messages --- */

static const struct {
    const char *verb;
    int (*fn)(struct job__conn *, const Wire__Job *, const json_t *args,
              struct rwf_err *);
} verbs[] = {
    {"submit", on_submit},  {"put", job__on_put},  {"list", on_list},
    {"status", on_status},  {"logs", on_logs},     {"stop", on_stop},
    {"retry", on_retry},    {"delete", on_delete}, {"outputs", job__on_outputs},
    {"next", job__on_next},
};

static int answer(struct job__conn *c, const Wire__Job *m, struct rwf_err *err)
{
    c->keeper = c->server->keeper;
    if (!c->keeper)
        return rwf_fail(err, EAGAIN, "the head has only just started");
    if (c->busy)
        return rwf_fail(err, RWF_E_USAGE, "one request after the other");
    if (m->data.len > JOB_PIECE)
        return rwf_fail(err, RWF_E_USAGE, "a piece of %zu bytes: at most %zu",
                        m->data.len, JOB_PIECE);
    json_t *args = *m->json ? json_loads(m->json, 0, NULL) : json_object();
    int rc = -1;
    size_t i = 0;
    while (i < RWF_COUNT(verbs) && strcmp(verbs[i].verb, m->verb) != 0)
        i++;
    if (!json_is_object(args))
        rwf_fail(err, RWF_E_USAGE, "%.40s: its arguments are no JSON object", m->verb);
    else if (i == RWF_COUNT(verbs))
        rwf_fail(err, RWF_E_USAGE, "the head knows no '%.40s' of jobs", m->verb);
    else
        rc = verbs[i].fn(c, m, args, err);
    json_decref(args);
    return rc;
}

static void on_message(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct job__conn *c = ctx;
    struct rwf_err err = RWF_ERR_INIT;
    if (m->type != WIRE_JOB) {
        wire_link_close(link);
        return;
    }
    const Wire__Job *job = (const Wire__Job *)m->body;
    uv_timer_stop(&c->timer); /* one request at a time */
    if (answer(c, job, &err))
        job__reply_error(c, job->request, &err);
}

bool job_server_take(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct job_server *s = ctx;
    if (s->closing)
        return false;
    struct job__conn *c = rwf_xcalloc(1, sizeof(*c));
    c->server = s;
    c->loop = s->loop;
    c->link = link;
    c->open = 2;
    uv_timer_init(s->loop, &c->timer);
    c->timer.data = c;
    LIST_INSERT_HEAD(&s->conns, c, all);
    wire_link_handle(link, &(struct wire_handler){c, on_message, on_closed});
    on_message(c, link, m);
    return true;
}

/* --- life --- */

struct job_server *job_server_create(uv_loop_t *loop)
{
    struct job_server *s = rwf_xcalloc(1, sizeof(*s));
    s->loop = loop;
    LIST_INIT(&s->conns);
    return s;
}

void job_server_start(struct job_server *s, struct job_keeper *keeper)
{
    s->keeper = keeper;
}

void job_server_destroy(struct job_server *s, bool interrupt)
{
    struct job__conn *c, *next;
    if (!s)
        return;
    s->closing = true;
    for (c = LIST_FIRST(&s->conns); c; c = next) {
        next = LIST_NEXT(c, all);
        wire_link_handle(c->link, NULL);
        wire_link_close(c->link);
        on_closed(c, c->link, NULL);
    }
    job_keeper_close(s->keeper, interrupt);
    free(s);
}
