/* SPDX-License-Identifier: Apache-2.0
 *
 * The socket to the node. One thread reads it; anybody writes. When it breaks, what was
 * in flight is decided as if each worker had died of it, and the thread connects again,
 * with growing pauses, to the node that comes back (another session, another store), or
 * starts a new session where the old one was ours.
 */
#include "config.h"
#include "native/control.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "native/remote.h"
#include "native/session.h"

#define JOIN_WAIT (30 * RWF_NS_PER_S)
#define RETRY_FIRST (50 * RWF_NS_PER_MS)
#define RETRY_MAX (2 * RWF_NS_PER_S)
#define RETRIES 120 /* about four minutes */

/* --- writing --- */

void native__tell(struct native__client *c, enum wire_type type,
                  const ProtobufCMessage *body)
{
    struct rwf_err err;
    pthread_mutex_lock(&c->send_lock);
    if (c->fd >= 0 && wire_send(c->fd, type, body, NULL, 0, &err) < 0)
        shutdown(c->fd, SHUT_RDWR); /* the reader sees to it */
    pthread_mutex_unlock(&c->send_lock);
}

/* --- questions --- */

struct native__waiting {
    struct native__waiting *next;
    uint64_t request;
    bool answered;
    struct wire_message message;
    int code; /* not 0: its error */
    char *text;
};

uint64_t native__request(struct native__client *c)
{
    struct native__waiting *w = rwf_xcalloc(1, sizeof(*w));
    w->request = ++c->next_request;
    w->next = c->waiting;
    c->waiting = w;
    return w->request;
}

static struct native__waiting *asked(struct native__client *c, uint64_t request)
{
    struct native__waiting *w = c->waiting;
    while (w && w->request != request)
        w = w->next;
    return w;
}

static bool is_answered(void *ctx)
{
    return ((struct native__waiting *)ctx)->answered;
}

static void answer_error(struct native__waiting *w, int code, const char *text)
{
    if (w->answered)
        return;
    w->answered = true;
    w->code = code ? code : RAYWF_E_RUNTIME;
    w->text = rwf_xstrdup(text);
}

int native__answer(struct native__client *c, uint64_t request, int64_t deadline,
                   struct wire_message *ret, struct raywf_error *err)
{
    int rc = 0;
    struct native__waiting *w = asked(c, request), **at = &c->waiting;
    if (!native__await(c, is_answered, w, deadline, true))
        rc = native__fail(err, RAYWF_E_TIMEOUT, "the node did not answer in time");
    else if (w->code)
        rc = native__fail(err, w->code, "%s", w->text);
    else
        *ret = w->message;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    free(w->text);
    free(w);
    return rc;
}

/* A message with a number of ours: true when somebody waits for it; it is theirs. */
static bool answer(struct native__client *c, uint64_t request, struct wire_message *m)
{
    struct native__waiting *w = asked(c, request);
    if (!w || w->answered)
        return false;
    w->answered = true;
    w->message = *m;
    m->body = NULL;
    m->fd_count = 0;
    native__changed(c);
    return true;
}

/* --- what the node says --- */

static void on_grant(struct native__client *c, struct wire_message *m)
{
    const Wire__Grant *g = (const Wire__Grant *)m->body;
    struct native__lane *lane = c->lanes;
    while (lane && lane->id != g->lane)
        lane = lane->next;
    struct rwf_err err = RWF_ERR_INIT;
    if (lane && m->fd_count == 1 &&
        native__line_open(c, lane, m->fds[0], g->lease, g->worker, (int)g->slot,
                          g->far, g->node, &err)) {
        native__lane_fill(c, lane);
        return;
    }
    rwf_log(RWF_LOG_WARN, "native", "a lease of no use to us: %s",
            lane ? err.text : "its lane is not known");
    Wire__Return r = WIRE__RETURN__INIT;
    r.lease = g->lease;
    native__tell(c, WIRE_RETURN, &r.base);
}

static void on_refuse(struct native__client *c, struct wire_message *m)
{
    const Wire__Refuse *r = (const Wire__Refuse *)m->body;
    for (struct native__lane *lane = c->lanes; lane; lane = lane->next) {
        if (lane->id != r->lane || lane->ordered)
            continue;
        native__lane_fail(c, lane, r->code ? r->code : RAYWF_E_FIT, r->text);
        lane->wanted = 0;
        native__lane_touch(c, lane);
    }
}

static void on_recall(struct native__client *c, struct wire_message *m)
{
    const Wire__Recall *r = (const Wire__Recall *)m->body;
    struct native__line *l = native__line_find(c, r->lease);
    if (!l)
        return;
    l->recalled = true;
    native__lane_touch(c, l->lane);
}

static void on_death(struct native__client *c, struct wire_message *m)
{
    const Wire__Death *d = (const Wire__Death *)m->body;
    for (size_t i = c->line_count; i-- > 0;) {
        struct native__line *l = c->lines[i];
        if (d->lease ? l->lease == d->lease : l->worker == d->worker)
            native__line_died(c, l, d->cause, d->text);
    }
}

static void on_error(struct native__client *c, struct wire_message *m)
{
    const Wire__Error *e = (const Wire__Error *)m->body;
    struct native__waiting *w = asked(c, e->request);
    if (w)
        answer_error(w, e->code, e->text);
    else
        rwf_log(RWF_LOG_WARN, "native", "the node says: %s", e->text);
}

static void on_ask(struct native__client *c, struct wire_message *m)
{
    native__asked(c, (const Wire__Ask *)m->body);
}

static void on_tell(struct native__client *c, struct wire_message *m)
{
    native__told(c, (const Wire__Tell *)m->body);
}

static void on_cancel(struct native__client *c, struct wire_message *m)
{
    const Wire__CancelOwned *o = (const Wire__CancelOwned *)m->body;
    native__cancel(c, o->id, (int)o->flags);
}

static void on_done(struct native__client *c, struct wire_message *m)
{
    answer(c, ((const Wire__Done *)m->body)->request, m);
}
static void on_found(struct native__client *c, struct wire_message *m)
{
    answer(c, ((const Wire__ActorFound *)m->body)->request, m);
}
static void on_group(struct native__client *c, struct wire_message *m)
{
    answer(c, ((const Wire__GroupReady *)m->body)->request, m);
}
static void on_listed(struct native__client *c, struct wire_message *m)
{
    answer(c, ((const Wire__Listed *)m->body)->request, m);
}

static void (*const handlers[WIRE_TYPE_COUNT])(struct native__client *c,
                                               struct wire_message *m) = {
    [WIRE_GRANT] = on_grant,
    [WIRE_REFUSE] = on_refuse,
    [WIRE_RECALL] = on_recall,
    [WIRE_DEATH] = on_death,
    [WIRE_ERROR] = on_error,
    [WIRE_DONE] = on_done,
    [WIRE_ASK] = on_ask,
    [WIRE_TELL] = on_tell,
    [WIRE_CANCEL_OWNED] = on_cancel,
    [WIRE_ACTOR_FOUND] = on_found,
    [WIRE_GROUP_READY] = on_group,
    [WIRE_LISTED] = on_listed,
};

static void handle(struct native__client *c, struct wire_message *m)
{
    bool workers =
        m->type == WIRE_SERVE || m->type == WIRE_LEAVE || m->type == WIRE_RETIRE;
    if (workers && c->worker_ops.message) {
        c->worker_ops.message(c->worker_ops.ctx, m);
        native__lock(c);
        native__changed(c);
        native__unlock(c);
        return;
    }
    native__lock(c);
    c->now = rwf_clock_mono();
    uint64_t before = c->progress;
    if (!(native__actors && native__actors->message(c, m))) {
        if (handlers[m->type])
            handlers[m->type](c, m);
        else
            rwf_log(RWF_LOG_WARN, "native", "the node sent a %s, which is not for us",
                    wire_type_name(m->type));
    }
    if (c->dirty)
        native__lanes_settle(c);
    if (c->progress != before || m->type == WIRE_ERROR)
        native__changed(c);
    native__unlock(c);
}

/* --- joining --- */

static int say_hello(struct native__client *c, int fd, struct rwf_err *err)
{
    char version[] = PACKAGE_VERSION;
    Wire__Hello h = WIRE__HELLO__INIT;
    h.version = version;
    h.role = (char *)(c->worker ? "worker" : "driver");
    h.pid = (uint32_t)getpid();
    h.name = (char *)c->options.job;
    Wire__Quota q = WIRE__QUOTA__INIT;
    q.cpu = c->options.quota_cpu;
    q.gpu = c->options.quota_gpu;
    q.memory = c->options.quota_memory > 0 ? (uint64_t)c->options.quota_memory : 0;
    Wire__Join j = WIRE__JOIN__INIT;
    j.quota = &q;
    j.job = (char *)c->options.job;
    j.priority = c->options.priority;
    j.program = program_invocation_name;
    j.worker = c->worker;
    j.client = c->id;
    if (wire_send(fd, WIRE_HELLO, &h.base, NULL, 0, err) < 0)
        return -1;
    return wire_send(fd, WIRE_JOIN, &j.base, NULL, 0, err);
}

static void hook_full(void *ctx, size_t bytes)
{
    Wire__Full m = WIRE__FULL__INIT;
    m.bytes = bytes;
    native__tell(ctx, WIRE_FULL, &m.base);
}

static void hook_restore(void *ctx, store_object object)
{
    Wire__Restore m = WIRE__RESTORE__INIT;
    m.object = object;
    native__tell(ctx, WIRE_RESTORE, &m.base);
}

static int on_welcome(struct native__client *c, struct wire_message *m,
                      struct rwf_err *err)
{
    const Wire__Welcome *w = (const Wire__Welcome *)m->body;
    if (m->fd_count != 2)
        return rwf_fail(err, EPROTO, "the node gave us no store");
    const struct store_hooks hooks = {c, hook_full, hook_restore};
    struct store *s = store_attach(m->fds[0], m->fds[1], (int)w->slot, &hooks, err);
    if (!s)
        return -1;
    native__lock(c);
    *RWF_PUSH(c->sessions, c->session_count, c->session_cap) =
        (struct native__session){.store = s, .number = w->session};
    if (!c->id)
        c->id = w->client;
    c->slot = (int)w->slot;
    native__wake_leader(c); /* who sleeps on the old one must move */
    c->bell = store_slot_bell(s, c->slot);
    native__unlock(c);
    return 0;
}

static int await_welcome(struct native__client *c, struct wire_reader *r,
                         struct rwf_err *err)
{
    int64_t deadline = rwf_clock_mono() + JOIN_WAIT;
    for (;;) {
        struct wire_message m;
        int rc = wire_receive(r, deadline, &m, err);
        if (rc == 0)
            return rwf_fail(err, ECONNRESET,
                            "the node closed the connection before it let us in");
        if (rc < 0)
            return -1;
        bool welcome = m.type == WIRE_WELCOME;
        if (welcome)
            rc = on_welcome(c, &m, err);
        else if (m.type == WIRE_ERROR)
            rc = rwf_fail(err, EACCES, "%s", ((const Wire__Error *)m.body)->text);
        wire_message_clear(&m);
        if (rc < 0 || welcome)
            return rc < 0 ? -1 : 0;
    }
}

int native__join(struct native__client *c, int fd, struct rwf_err *err)
{
    struct wire_reader *r = wire_reader_create(fd);
    if (say_hello(c, fd, err) < 0 || await_welcome(c, r, err) < 0) {
        wire_reader_destroy(r);
        close(fd);
        return -1;
    }
    pthread_mutex_lock(&c->send_lock);
    c->fd = fd;
    c->reader = r;
    pthread_mutex_unlock(&c->send_lock);
    c->connected = true;
    return 0;
}

/* --- the loss of the node --- */

static void disconnect(struct native__client *c)
{
    pthread_mutex_lock(&c->send_lock);
    c->connected = false;
    wire_reader_destroy(c->reader);
    close(c->fd);
    c->fd = -1;
    c->reader = NULL;
    pthread_mutex_unlock(&c->send_lock);
}

static void lose_workers(struct native__client *c)
{
    native__lock(c);
    c->now = rwf_clock_mono();
    while (c->line_count)
        native__line_died(c, c->lines[0], RAYWF_ON_NODE, "is gone with its node");
    for (struct native__lane *lane = c->lanes; lane; lane = lane->next) {
        lane->told = lane->retell = false;
        lane->wanted = 0;
    }
    for (struct native__waiting *w = c->waiting; w; w = w->next)
        answer_error(w, RAYWF_E_RUNTIME, "the node is gone");
    native__changed(c);
    native__unlock(c);
}

/* All is asked for again. */
static void resume(struct native__client *c)
{
    native__lock(c);
    for (struct native__lane *lane = c->lanes; lane; lane = lane->next)
        native__lane_touch(c, lane);
    native__borrow_again(c);
    if (native__actors)
        native__actors->again(c);
    native__changed(c);
    native__stir(c);
    native__unlock(c);
}

static bool pause_or_stop(struct native__client *c, int64_t ns)
{
    native__lock(c);
    int64_t until = rwf_clock_mono() + ns;
    while (!c->stopping && rwf_clock_mono() < until) {
        struct timespec ts = {until / RWF_NS_PER_S, until % RWF_NS_PER_S};
        pthread_cond_timedwait(&c->closing, &c->lock, &ts);
    }
    bool stop = c->stopping;
    native__unlock(c);
    return stop;
}

/* Nobody comes back: whatever waits hears of it. */
static void give_up(struct native__client *c, const struct rwf_err *why)
{
    char text[1200];
    snprintf(text, sizeof(text), "the node is gone for good: %s", why->text);
    native__lock(c);
    for (struct native__lane *lane = c->lanes; lane; lane = lane->next) {
        lane->code = RAYWF_E_RUNTIME;
        free(lane->text);
        lane->text = rwf_xstrdup(text);
        native__lane_fail(c, lane, RAYWF_E_RUNTIME, text);
    }
    native__changed(c);
    native__unlock(c);
}

static int reconnect(struct native__client *c)
{
    struct rwf_err err = RWF_ERR_INIT;
    int64_t wait = RETRY_FIRST;
    if (c->given)
        rwf_fail(&err, ECONNRESET, "its connection was lost");
    for (int i = 0; !c->given && i < RETRIES; i++) {
        if (pause_or_stop(c, wait))
            return -1;
        int fd = native__connect(c, &err);
        if (fd >= 0 && native__join(c, fd, &err) == 0) {
            resume(c);
            return 0;
        }
        wait = wait * 2 < RETRY_MAX ? wait * 2 : RETRY_MAX;
    }
    give_up(c, &err);
    return -1;
}

static void *control_main(void *arg)
{
    struct native__client *c = arg;
    prctl(PR_SET_NAME, "raywf-control");
    for (;;) {
        struct wire_message m;
        struct rwf_err err = RWF_ERR_INIT;
        int rc = wire_receive(c->reader, INT64_MAX, &m, &err);
        if (rc > 0) {
            handle(c, &m);
            wire_message_clear(&m);
            continue;
        }
        native__lock(c);
        bool stop = c->stopping;
        native__unlock(c);
        if (stop)
            return NULL;
        if (c->worker_ops.lost) {
            c->worker_ops.lost(c->worker_ops.ctx);
            return NULL;
        }
        rwf_log(RWF_LOG_INFO, "native", "the node is gone: %s",
                rc < 0 ? err.text : "it closed the connection");
        disconnect(c);
        lose_workers(c);
        if (reconnect(c) < 0)
            return NULL;
    }
}

int native__control_start(struct native__client *c, struct rwf_err *err)
{
    int rc = pthread_create(&c->control, NULL, control_main, c);
    if (rc)
        return rwf_fail(err, rc, "cannot start a thread: %s", strerror(rc));
    c->control_runs = true;
    return 0;
}

void native__control_stop(struct native__client *c)
{
    native__lock(c);
    c->stopping = true;
    pthread_cond_broadcast(&c->closing);
    native__unlock(c);
    pthread_mutex_lock(&c->send_lock);
    if (c->fd >= 0)
        shutdown(c->fd, SHUT_RDWR);
    pthread_mutex_unlock(&c->send_lock);
    if (c->control_runs)
        pthread_join(c->control, NULL);
    c->control_runs = false;
    if (c->reader)
        disconnect(c);
}

/* --- stores --- */

void native__sessions_sweep(struct native__client *c)
{
    for (size_t i = 0; i + 1 < c->session_count; i++) {
        struct native__session *s = &c->sessions[i];
        if (!s->store || s->values || c->leader != NATIVE__NOBODY)
            continue;
        store_destroy(s->store);
        s->store = NULL;
    }
}

void native__sessions_free(struct native__client *c)
{
    for (size_t i = 0; i < c->session_count; i++)
        if (c->sessions[i].store)
            store_destroy(c->sessions[i].store);
    free(c->sessions);
}
