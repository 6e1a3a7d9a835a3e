/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a worker. The client of this process reads the control socket and passes
 * on what is for a worker; that goes into the inbox, and the thread that runs the calls
 * takes it from there, between two calls or while one waits.
 */
#include "config.h"

#include "native/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "native/serve.h"

/* --- the reader of the control socket --- */

static void on_message(void *ctx, struct wire_message *m)
{
    struct native__worker *w = ctx;

    pthread_mutex_lock(&w->lock);
    *RWF_PUSH(w->inbox, w->inbox_count, w->inbox_cap) = *m;
    pthread_mutex_unlock(&w->lock);
    m->body = NULL; /* ours now */
    m->fd_count = 0;
    atomic_store(&w->mail, true); /* the reader wakes the loop */
}

/* The call waits for tasks of its own. */
static void on_blocked(void *ctx)
{
    native__serve_stall(ctx);
}

/* The node has ended, and nobody can read what is still to come. */
static void on_lost(void *ctx)
{
    (void)ctx;
    _exit(0);
}

/* --- who comes and goes --- */

static void ready(struct native__worker *w)
{
    Wire__Ready r = WIRE__READY__INIT;

    r.code = w->code;
    r.text = w->text;
    native__tell(w->client, WIRE_READY, &r.base);
}

static void fail(struct native__worker *w, const struct rwf_err *err)
{
    w->code = err->code;
    snprintf(w->text, sizeof(w->text), "%s", err->text);
}

/* Loads the plugin and builds the actor; what goes wrong is told to the node and to
 * everybody who calls. */
static void begin(struct native__worker *w, const Wire__Serve *s)
{
    const Wire__ActorSpec *a = s->actor;
    const char *path = *s->plugin || !a ? s->plugin : a->plugin;
    struct rwf_err err = {RAYWF_E_PLUGIN, ""};

    w->began = true;
    w->actor = a != NULL;
    w->max_calls = s->max_calls;
    if (!*path)
        rwf_fail(&err, RAYWF_E_PLUGIN, "the worker was told of no plugin to load");
    else
        w->plugin = native_plugin_open(path, &err);
    w->call.plugin = path;
    if (w->plugin) {
        w->call.plugin = native_plugin_path(w->plugin);
        if (a && *a->class_)
            w->class_ = native_plugin_class(w->plugin, a->class_, &err);
    }
    if (!w->plugin || (a && *a->class_ && !w->class_))
        fail(w, &err);
    else if (w->class_)
        native__serve_construct(w, a->args.data, a->args.len);
    w->call.plugin = w->plugin ? native_plugin_path(w->plugin) : "";
    ready(w);
}

static void serve(struct native__worker *w, struct wire_message *m)
{
    const Wire__Serve *s = (const Wire__Serve *)m->body;
    struct rwf_err err = RWF_ERR_INIT;

    if (!w->began)
        begin(w, s);
    if (m->fd_count < 1 || s->slot >= STORE_SLOTS)
        return;
    struct native__peer *p =
        native__peer_open(m->fds[0], s->lease, s->client, (int)s->slot,
                          store_slot_bell(w->store, (int)s->slot), &err);
    if (p)
        *RWF_PUSH(w->peers, w->peer_count, w->peer_cap) = p;
    else
        rwf_log(RWF_LOG_ERROR, "worker", "a client cannot be served: %s", err.text);
}

static void take(struct native__worker *w, struct wire_message *m)
{
    if (m->type == WIRE_SERVE) {
        serve(w, m);
    } else if (m->type == WIRE_LEAVE) {
        const Wire__Leave *l = (const Wire__Leave *)m->body;
        for (size_t i = 0; i < w->peer_count; i++)
            w->peers[i]->gone |= w->peers[i]->lease == l->lease;
    } else if (m->type == WIRE_RETIRE) {
        w->retiring = true;
    }
}

void native__worker_mail(struct native__worker *w)
{
    pthread_mutex_lock(&w->lock);
    struct wire_message *inbox = w->inbox;
    size_t count = w->inbox_count;
    w->inbox = NULL;
    w->inbox_count = w->inbox_cap = 0;
    atomic_store(&w->mail, false);
    pthread_mutex_unlock(&w->lock);
    for (size_t i = 0; i < count; i++) {
        take(w, &inbox[i]);
        wire_message_clear(&inbox[i]);
    }
    free(inbox);
}

/* Only between two calls: the one that runs uses its client. */
static void let_go(struct native__worker *w)
{
    size_t kept = 0;

    for (size_t i = 0; i < w->peer_count; i++) {
        if (w->peers[i]->gone)
            native__peer_close(w->peers[i]);
        else
            w->peers[kept++] = w->peers[i];
    }
    w->peer_count = kept;
}

/* --- the loop --- */

static bool something_to_do(void *ctx)
{
    struct native__worker *w = ctx;

    if (atomic_load(&w->mail))
        return true;
    for (size_t i = 0; i < w->peer_count; i++)
        if (native__peer_has(w->peers[i]) || w->peers[i]->gone)
            return true;
    return false;
}

static void idle(struct native__worker *w)
{
    native__lock(w->client);
    native__await(w->client, something_to_do, w, INT64_MAX, false);
    native__unlock(w->client);
    w->now = rwf_clock_mono();
}

static void loop(struct native__worker *w)
{
    w->now = rwf_clock_mono();
    while (!w->ending) {
        bool worked = false;
        if (atomic_load(&w->mail))
            native__worker_mail(w);
        let_go(w);
        for (size_t n = 0; n < w->peer_count && !w->ending; n++)
            worked |= native__serve(w, w->peers[w->turn++ % w->peer_count]);
        if (worked && !w->ending)
            continue;
        native__serve_flush(w);
        if (atomic_load(&w->mail))
            continue;
        if (w->retiring && !something_to_do(w))
            break;
        if (!w->ending)
            idle(w);
    }
}

static void end(struct native__worker *w)
{
    if (w->class_ && w->state && w->class_->destroy && w->code == 0)
        w->class_->destroy(w->state);
    for (size_t i = 0; i < w->peer_count; i++)
        native__peer_close(w->peers[i]);
    free(w->peers);
    native__serve_free(w);
    raywf_shutdown();
    for (size_t i = 0; i < w->inbox_count; i++)
        wire_message_clear(&w->inbox[i]);
    free(w->inbox);
    native_plugin_free(w->plugin);
}

int native_worker_run(int fd, uint64_t number, struct rwf_err *err)
{
    struct native__worker w = {.lock = PTHREAD_MUTEX_INITIALIZER};
    const struct native_worker_ops ops = {&w, on_message, on_lost, on_blocked};
    struct raywf_error error = {0};

    /* Whoever started it must not leave it behind. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    native__worker_ops(&ops, number);
    if (native_client_open(fd, NULL, &error) < 0)
        return rwf_fail(err, RWF_E_ENV, "worker: %s", error.text);
    w.client = native__client(NULL);
    w.store = native__store(w.client);
    native__serve_init(&w);
    loop(&w);
    end(&w);
    return 0;
}
