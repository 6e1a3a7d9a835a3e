/* SPDX-License-Identifier: Apache-2.0
 *
 * The way of one request through an application: over its one deployment, or over a
 * flow of its graph. It ends by exactly one reply, and everything that it began is
 * cancelled when its client leaves.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/mem.h"
#include "serve/app_inside.h"

#define COLLECT_MAX (64 << 20) /* of an answer between two deployments */
#define SLOW_BYTES (256 << 10) /* that wait for a client: its deployment is held up */
#define SLOW_LOOK (2 * RWF_NS_PER_MS)

/* --- the end --- */

static void free_task(struct serve__task *t)
{
    TAILQ_REMOVE(&t->q->tasks, t, link);
    rwf_str_free(&t->body);
    free(t->type);
    free(t);
}

static void cancel_task(struct serve__task *t)
{
    serve_fleet_cancel(t->job.fleet, &t->job);
    free_task(t);
}

/* After the reply. Its flow is not called any more. */
static void finish(struct serve__request *q)
{
    struct serve_application *a = q->a;
    struct serve__task *t;
    while ((t = TAILQ_FIRST(&q->tasks)) != NULL)
        cancel_task(t);
    if (q->flow != NULL)
        serve_flow_free(q->flow);
    if (q->paused)
        a->paused--;
    TAILQ_REMOVE(&a->requests, q, link);
    a->ongoing--;
    serve__edition_unref(q->edition);
    serve__headers_free(&q->headers[0]);
    serve__headers_free(&q->headers[1]);
    free(q);
}

static void count(struct serve__request *q, int status)
{
    struct serve_application *a = q->a;
    serve_metrics_status(&a->metrics, status);
    serve_histogram_add(&a->metrics.latency, serve_now(a->pool) - http_arrived(q->r));
}

static void reply_whole(struct serve__request *q, int status, const char *type,
                        const void *data, size_t size)
{
    count(q, status);
    http_reply(q->r, status, type != NULL ? type : "application/json", data, size);
    finish(q);
}

static void reply_head(struct serve__request *q, const struct serve_answer *a)
{
    count(q, a->status);
    http_reply_head(q->r, a->status, a->content_type, a->length);
    finish(q);
}

static void reply_error(struct serve__request *q, int status, const char *why)
{
    count(q, status);
    http_reply_error(q->r, status, NULL, status == 503 ? q->retry_after : 0, "%s", why);
    finish(q);
}

static void add_headers(struct serve__request *q, const struct serve_answer *a)
{
    for (size_t i = 0; a->names != NULL && a->names[i] != NULL; i++)
        http_reply_header(q->r, a->names[i], a->values[i]);
}

/* --- answers of a deployment --- */

static void drop_request(struct serve__request *q);

/* False: the client was told to be gone by it, and so is q. */
static bool write_to(struct serve__request *q, const void *data, size_t size)
{
    q->writing = true;
    http_reply_write(q->r, data, size);
    q->writing = false;
    if (!q->left)
        return true;
    drop_request(q);
    return false;
}

static void begin_passing(struct serve__task *t, const struct serve_answer *a)
{
    struct serve__request *q = t->q;
    q->passing = t;
    count(q, a->status);
    add_headers(q, a);
    http_reply_begin(q->r, a->status, a->content_type);
    if (t->call != NULL) {
        struct serve_flow *flow = q->flow;
        struct serve_call *call = t->call;
        t->call = NULL;
        q->flow = NULL;
        serve_flow_passed(call);
        serve_flow_free(flow);
    }
    if (a->size > 0)
        write_to(q, a->data, a->size);
}

/* The whole answer is there. t is freed before the flow goes on. */
static void give(struct serve__task *t, int status, const char *type, const void *data,
                 size_t size)
{
    struct serve_call *call = t->call;
    struct serve_data out = {.bytes = data, .size = size, .type = type};
    struct rwf_str body = t->body; /* may be what data points into */
    char *own = t->type;
    t->body = (struct rwf_str){0};
    t->type = NULL;
    free_task(t);
    if (status < 400)
        serve_flow_output(call, status, &out);
    else
        serve_flow_failed(call, status, &out, NULL);
    rwf_str_free(&body);
    free(own);
}

static void on_answer(struct serve_job *j, const struct serve_answer *a)
{
    struct serve__task *t = (struct serve__task *)j;
    struct serve__request *q = t->q;
    if (t->call == NULL && !a->more) {
        add_headers(q, a);
        if (a->head)
            reply_head(q, a);
        else
            reply_whole(q, a->status, a->content_type, a->data, a->size);
    } else if (a->more && (t->call == NULL || (t->call->last && a->status < 400))) {
        begin_passing(t, a);
    } else if (a->more) {
        t->status = a->status;
        t->type = a->content_type != NULL ? rwf_xstrdup(a->content_type) : NULL;
        rwf_str_addn(&t->body, a->data != NULL ? a->data : "", a->size);
    } else {
        give(t, a->status, a->content_type, a->data, a->size);
    }
}

static void fail_task(struct serve__task *t, int status, const char *why)
{
    struct serve_call *call = t->call;
    free_task(t);
    serve_flow_failed(call, status, NULL, why);
}

static void on_piece(struct serve_job *j, const void *data, size_t size)
{
    struct serve__task *t = (struct serve__task *)j;
    struct serve__request *q = t->q;
    if (q->passing != t) {
        if (t->body.len + size <= COLLECT_MAX) {
            rwf_str_addn(&t->body, data, size);
            return;
        }
        serve_fleet_cancel(j->fleet, j);
        fail_task(t, 502, "its answer is too large to be passed on (64 MiB)");
        return;
    }
    if (!write_to(q, data, size) || q->paused || http_reply_waiting(q->r) < SLOW_BYTES)
        return;
    q->paused = true;
    q->a->paused++;
    serve_fleet_pause(j->fleet, j, true);
    q->a->pool->wake(q->a->pool, serve_now(q->a->pool) + SLOW_LOOK);
}

/* Its status is with the client already: the connection is closed, and only we can say
 * why. */
static void cut_short(struct serve__request *q, const char *why)
{
    rwf_log(RWF_LOG_WARN, "serve",
            "an answer was cut short: deployment=%s.%s request=%s bytes=%llu cause=%s",
            q->a->name, serve_fleet_name(q->passing->job.fleet), http_id(q->r),
            (unsigned long long)http_reply_written(q->r), why);
    q->a->metrics.cut++;
    http_reason(q->r, why);
    http_reply_end(q->r, true);
    finish(q);
}

static void on_end(struct serve_job *j, const char *cut)
{
    struct serve__task *t = (struct serve__task *)j;
    struct serve__request *q = t->q;
    if (q->passing == t && cut != NULL) {
        cut_short(q, cut);
    } else if (q->passing == t) {
        http_reply_end(q->r, false);
        finish(q);
    } else if (cut != NULL) {
        char *why = rwf_xasprintf("%s, in the middle of its answer", cut);
        fail_task(t, 502, why);
        free(why);
    } else {
        give(t, t->status, t->type, t->body.data, t->body.len);
    }
}

static void on_failed(struct serve_job *j, int status, const char *why, int retry_after)
{
    struct serve__task *t = (struct serve__task *)j;
    if (retry_after > 0)
        t->q->retry_after = retry_after;
    if (t->call != NULL)
        fail_task(t, status, why);
    else
        reply_error(t->q, status, why);
}

/* --- asking a deployment --- */

static void set_headers(struct serve__request *q, const struct serve_deployment *d,
                        bool first, struct serve_item *item)
{
    static const char *const names[] = {"Content-Type", NULL};
    static const char *const values[] = {"application/json", NULL};
    item->names = names;
    item->values = values;
    if (!first || d->kind == SERVE_NATIVE || d->kind == SERVE_MODEL)
        return;
    const struct serve_app *app = q->edition->generation->app;
    bool program = d->kind == SERVE_PROGRAM;
    struct serve__headers *h = &q->headers[program];
    if (h->count == 0)
        serve__headers_fill(h, q->r, &app->http, program ? app->prefix : NULL);
    if (h->count > 0) {
        item->names = h->names;
        item->values = h->values;
    }
}

static void ask(struct serve__request *q, struct serve_call *call, int deployment,
                const void *body, size_t size, bool first)
{
    const struct serve_deployment *d =
        &q->edition->generation->app->deployments[deployment];
    struct serve__task *t = rwf_xcalloc(1, sizeof(*t));
    int64_t now = serve_now(q->a->pool), own = d->timeout > 0 ? now + d->timeout : 0;
    t->q = q;
    t->call = call;
    if (call != NULL)
        call->own = t;
    TAILQ_INSERT_TAIL(&q->tasks, t, link);
    t->job = (struct serve_job){
        .item = {.method = first ? http_method(q->r) : "POST",
                 .path = first ? q->rest : "/",
                 .query = first ? http_query(q->r) : "",
                 .body = body,
                 .size = size,
                 .trace = http_id(q->r),
                 .host = first ? http_header(q->r, "Host") : NULL},
        .wait = {.priority = q->priority,
                 .deadline = own > 0 && (q->deadline == 0 || own < q->deadline)
                                 ? own
                                 : q->deadline},
        .session = d->affinity != NULL ? http_header(q->r, d->affinity) : NULL,
        .answer = on_answer,
        .piece = on_piece,
        .end = on_end,
        .failed = on_failed};
    set_headers(q, d, first, &t->job.item);
    serve_fleet_submit(q->edition->fleets[deployment], &t->job);
}

static void flow_call(void *ctx, struct serve_call *c)
{
    ask(ctx, c, c->deployment, c->input.bytes, c->input.size, c->first);
}

static void flow_cancel(void *ctx, struct serve_call *c)
{
    (void)ctx;
    cancel_task(c->own);
}

static const char *flow_header(void *ctx, const char *name)
{
    return http_header(((struct serve__request *)ctx)->r, name);
}

static void flow_done(void *ctx, int status, const struct serve_data *out,
                      const char *why)
{
    struct serve__request *q = ctx;
    if (status < 400 || out->size > 0)
        reply_whole(q, status, out->type, out->bytes, out->size);
    else
        reply_error(q, status, why);
}

static const struct serve_flow_driver driver = {flow_call, flow_cancel, flow_header,
                                                flow_done};

/* --- a request --- */

static long header_number(struct http_request *r, const char *name)
{
    const char *text = http_header(r, name);
    return text != NULL ? strtol(text, NULL, 10) : 0;
}

/* What is wrong with the headers that are for us, or NULL. Guessing would be worse: of
 * "2s" two milliseconds. */
static const char *wrong_header(struct http_request *r)
{
    const char *timeout = http_header(r, "X-Timeout"),
               *priority = http_header(r, "X-Priority");
    char *end = NULL;

    if (timeout != NULL && (strtol(timeout, &end, 10) < 0 || end == timeout || *end))
        return "X-Timeout must be a whole number of milliseconds";
    if (priority != NULL && ((void)strtol(priority, &end, 10), end == priority || *end))
        return "X-Priority must be a whole number; higher goes first";
    return NULL;
}

static void set_times(struct serve__request *q)
{
    const struct serve_http *h = &q->edition->generation->app->http;
    long ms = header_number(q->r, "X-Timeout"), most = 86400000;
    int64_t asked = ms > 0 ? (int64_t)(ms < most ? ms : most) * RWF_NS_PER_MS : 0;
    int64_t span = h->request_timeout;
    if (asked > 0 && (span <= 0 || asked < span))
        span = asked;
    q->deadline = span > 0 ? http_arrived(q->r) + span : 0;
    long priority = header_number(q->r, "X-Priority");
    q->priority = priority > 1000000    ? 1000000
                  : priority < -1000000 ? -1000000
                                        : (int)priority;
}

void serve_application_request(struct serve_application *a, struct http_request *r,
                               const char *rest)
{
    size_t size;
    struct serve__edition *e = a->current;
    http_note(r, a->name);
    http_set(r, NULL);
    if (e == NULL || a->ending) {
        serve_metrics_status(&a->metrics, 503);
        http_reply_error(r, 503, NULL, 1, "the application '%s' is %s", a->name,
                         a->ending ? "being stopped" : "being deployed");
        return;
    }
    const char *wrong = wrong_header(r);
    if (wrong != NULL) {
        serve_metrics_status(&a->metrics, 400);
        http_reply_error(r, 400, NULL, 0, "%s", wrong);
        return;
    }
    struct serve__request *q = rwf_xcalloc(1, sizeof(*q));
    *q = (struct serve__request){
        .a = a, .edition = serve__edition_ref(e), .r = r, .rest = rest};
    TAILQ_INIT(&q->tasks);
    TAILQ_INSERT_TAIL(&a->requests, q, link);
    a->ongoing++;
    http_set(r, q);
    set_times(q);
    const char *body = http_body(r, &size);
    if (e->only >= 0) {
        ask(q, NULL, e->only, body, size, true);
        return;
    }
    struct serve_data input = {
        .bytes = body, .size = size, .type = http_header(r, "Content-Type")};
    q->flow = serve_flow_create(e->generation->app, &driver, q, &input, &a->chance);
    serve_flow_begin(q->flow);
}

static void drop_request(struct serve__request *q)
{
    if (q->flow != NULL)
        serve_flow_cancel(q->flow);
    http_set(q->r, NULL);
    if (q->passing != NULL)
        http_reply_end(q->r, true);
    else
        http_reply(q->r, 503, "text/plain", "", 0); /* nobody hears it */
    finish(q);
}

void serve_application_gone(struct http_request *r)
{
    struct serve__request *q = http_get(r);
    if (q == NULL)
        return;
    q->a->metrics.gone++;
    if (q->writing)
        q->left = true;
    else
        drop_request(q);
}

void serve__requests_refuse(struct serve_application *a, const char *why)
{
    struct serve__request *q;
    while ((q = TAILQ_FIRST(&a->requests)) != NULL) {
        if (q->passing != NULL) {
            cut_short(q, why);
            continue;
        }
        if (q->flow != NULL)
            serve_flow_cancel(q->flow);
        q->retry_after = 1;
        reply_error(q, 503, why);
    }
}

void serve__requests_tick(struct serve_application *a)
{
    struct serve__request *q;
    if (a->paused == 0)
        return;
    TAILQ_FOREACH(q, &a->requests, link)
    if (q->paused && http_reply_waiting(q->r) < SLOW_BYTES / 4) {
        q->paused = false;
        a->paused--;
        serve_fleet_pause(q->passing->job.fleet, &q->passing->job, false);
    }
    if (a->paused > 0)
        a->pool->wake(a->pool, serve_now(a->pool) + SLOW_LOOK);
}
