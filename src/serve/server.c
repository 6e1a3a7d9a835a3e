/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop. When something has just happened it does not sleep: a wake-up costs as much
 * as a call takes, so for SPIN it turns between libuv and the results, if that pays.
 * What is to be done at some time (deadlines, batches that wait, health, scaling) is
 * one time, the earliest: when it has come, everything is ticked.
 *
 *   RUNS -> DRAINS (fronts take nothing new) -> ENDS (applications end) -> ENDED
 */
#include "config.h"
#include "serve/server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "native/client.h"
#include "serve/server_inside.h"

#define PERIOD (100 * RWF_NS_PER_MS)
#define SPIN (50 * 1000) /* ns */
#define LUCK_MAX 8
#define DRAIN (30 * RWF_NS_PER_S)
#define SOCKET_FOLDER_MAX 60 /* bytes: sockets have short paths */

/* --- what the pool asks for --- */

static void pool_wake(struct serve_pool *p, int64_t at)
{
    struct serve_server *s = p->own;
    if (at < s->wake_at)
        s->wake_at = at;
}

static void pool_event(struct serve_pool *p, json_t *event)
{
    struct serve_server *s = p->own;
    const char *name = json_string_value(json_object_get(event, "event"));
    char *text = json_dumps(event, JSON_COMPACT);
    rwf_log(RWF_LOG_INFO, "serve", "%s", text != NULL ? text : "");
    free(text);
    serve_control_event(s->control, event);
    if (name != NULL && strcmp(name, "serve.scaled") == 0)
        serve__state_dirty(s);
    json_decref(event);
}

/* --- its end --- */

void serve__down(struct serve_server *s, int64_t timeout, void (*ended)(void *ctx),
                 void *ctx)
{
    struct serve__front *f;
    if (ended != NULL) {
        s->ended = ended;
        s->ended_ctx = ctx;
    }
    if (s->life != SERVE__RUNS)
        return;
    s->life = SERVE__DRAINS;
    /* What waits for replicas is answered, too: they end after the fronts. */
    TAILQ_FOREACH(f, &s->fronts, link)
    serve__front_drain(f, timeout);
    s->pool.wake(&s->pool, 0);
}

static void go_down(struct serve_server *s)
{
    struct serve__slot *slot, *after;
    struct serve__front *f;
    bool waiting = false;
    TAILQ_FOREACH(f, &s->fronts, link)
    waiting |= !f->drained;
    if (s->life == SERVE__DRAINS && !waiting) {
        s->life = SERVE__ENDS;
        for (slot = TAILQ_FIRST(&s->slots); slot != NULL; slot = after) {
            after = TAILQ_NEXT(slot, link);
            serve__slot_remove(slot, 0);
        }
    }
    if (s->life == SERVE__ENDS && TAILQ_EMPTY(&s->slots))
        s->life = SERVE__ENDED;
}

/* --- turning --- */

static void tick(struct serve_server *s)
{
    s->wake_at = serve_now(&s->pool) + PERIOD;
    serve__slots_tick(s);
    serve__state_tick(s);
    if (s->life != SERVE__RUNS)
        go_down(s);
    serve__fronts_tick(s);
}

static void on_timer(uv_timer_t *timer)
{
    (void)timer;
}

static void on_ready(uv_async_t *async)
{
    (void)async;
}

static void wake_loop(void *ctx)
{
    uv_async_send(&((struct serve_server *)ctx)->ready);
}

/* Sleeps until something happens, or until it is time. */
static void rest(struct serve_server *s)
{
    int64_t left = s->wake_at - serve_now(&s->pool);
    if (left < RWF_NS_PER_MS || (s->o.kinds == NULL && !native_client_rest())) {
        uv_run(&s->loop, UV_RUN_NOWAIT);
        return;
    }
    uv_update_time(&s->loop);
    uv_timer_start(&s->timer, on_timer, (uint64_t)(left / RWF_NS_PER_MS), 0);
    uv_run(&s->loop, UV_RUN_ONCE);
}

/* Whether to look once more before it sleeps: for the results of calls, or for the next
 * request. Luck tells whether that has paid of late; without it, it is done in earnest
 * only now and then. */
static bool looks(struct serve_server *s, bool happened)
{
    int64_t now = serve_now(&s->pool);
    struct serve__look *l = s->look;
    if (happened) {
        if (l != NULL && l->luck < LUCK_MAX)
            l->luck++;
        s->look = l = &s->looks[s->pool.calls > 0];
        l->tries++;
        s->look_until = now + (l->luck > 0 || l->tries % 16 == 0 ? SPIN : SPIN / 8);
    }
    if (l == NULL || now < s->look_until)
        return l != NULL;
    if (l->luck > -LUCK_MAX)
        l->luck--;
    s->look = NULL;
    return false;
}

static void turn(struct serve_server *s)
{
    while (s->life != SERVE__ENDED) {
        bool happened = s->o.kinds == NULL && native_client_poll() > 0;
        if (serve_now(&s->pool) >= s->wake_at)
            tick(s);
        happened |= s->pool.calls != s->calls_before;
        s->calls_before = s->pool.calls;
        if (looks(s, happened))
            uv_run(&s->loop, UV_RUN_NOWAIT);
        else
            rest(s);
    }
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct serve_server *s = signal->data;
    rwf_log(RWF_LOG_INFO, "serve", "%s: draining", strsignal(number));
    serve__down(s, DRAIN, NULL, NULL);
}

/* --- its folders --- */

/* In the server's folder when its path is short, else in one of our own. */
static int open_sockets(struct serve_server *s, struct rwf_err *err)
{
    char digest[RWF_DIGEST_LEN];
    struct stat st;
    s->sockets = rwf_fs_join(s->o.folder, "sockets");
    if (strlen(s->sockets) <= SOCKET_FOLDER_MAX)
        return rwf_fs_mkdirs(s->sockets, err);
    rwf_digest_bytes(s->sockets, strlen(s->sockets), digest);
    free(s->sockets);
    s->sockets = rwf_xasprintf("/tmp/raywf-serve-%d-%.12s", (int)getuid(), digest);
    s->own_sockets = true;
    if (mkdir(s->sockets, 0700) != 0 && errno != EEXIST)
        return rwf_fail(err, RWF_E_ENV, "cannot make %s: %m", s->sockets);
    if (lstat(s->sockets, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != getuid() ||
        (st.st_mode & 077) != 0)
        return rwf_fail(err, RWF_E_ENV, "%s is not a folder of our own", s->sockets);
    return 0;
}

static int open_folders(struct serve_server *s, struct rwf_err *err)
{
    char *log = rwf_fs_join(s->o.folder, "log");
    int rc = rwf_fs_mkdirs(log, err);
    free(log);
    return rc == 0 ? open_sockets(s, err) : -1;
}

/* --- life --- */

static const struct serve_replica_ops *const real_kinds[] = {
    [SERVE_NATIVE] = &serve_replica_native,
    [SERVE_MODEL] = &serve_replica_native,
    [SERVE_PROGRAM] = &serve_replica_program,
    [SERVE_URL] = &serve_replica_url};

static int join_runtime(struct serve_server *s, struct rwf_err *err)
{
    struct raywf_options o = {.address = s->o.address, .job = "serve"};
    struct raywf_error error = {0};
    if (s->o.kinds != NULL)
        return 0;
    if (raywf_init(&o, &error) != 0)
        return rwf_fail(err, RWF_E_ENV, "the runtime: %s", error.text);
    native_client_on_ready(wake_loop, s);
    return 0;
}

static const char *control_path(struct serve_server *s, char **ret_own)
{
    const char *path =
        s->o.control != NULL ? s->o.control : getenv("RAYWF_SERVE_CONTROL");
    *ret_own = path == NULL ? rwf_fs_join(s->o.folder, "control") : NULL;
    return path != NULL ? path : *ret_own;
}

static int open_control(struct serve_server *s, struct rwf_err *err)
{
    char *own;
    const char *path = control_path(s, &own);
    s->control = serve_control_open(s, &s->loop, path, err);
    free(own);
    return s->control != NULL ? 0 : -1;
}

static void open_loop(struct serve_server *s)
{
    uv_loop_init(&s->loop);
    uv_timer_init(&s->loop, &s->timer);
    uv_async_init(&s->loop, &s->ready, on_ready);
    uv_signal_init(&s->loop, &s->term);
    uv_signal_init(&s->loop, &s->interrupt);
    s->term.data = s->interrupt.data = s;
    uv_signal_start(&s->term, on_signal, SIGTERM);
    uv_signal_start(&s->interrupt, on_signal, SIGINT);
}

static void close_loop(struct serve_server *s)
{
    while (!TAILQ_EMPTY(&s->fronts))
        serve__front_free(TAILQ_FIRST(&s->fronts));
    serve_control_close(s->control);
    uv_close((uv_handle_t *)&s->timer, NULL);
    uv_close((uv_handle_t *)&s->ready, NULL);
    uv_close((uv_handle_t *)&s->term, NULL);
    uv_close((uv_handle_t *)&s->interrupt, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    uv_loop_close(&s->loop);
}

static void open_pool(struct serve_server *s)
{
    TAILQ_INIT(&s->fronts);
    TAILQ_INIT(&s->slots);
    s->pool =
        (struct serve_pool){.loop = &s->loop,
                            .folder = s->o.folder,
                            .sockets = s->sockets,
                            .kinds = s->o.kinds != NULL ? s->o.kinds : real_kinds,
                            .wake = pool_wake,
                            .event = pool_event,
                            .own = s,
                            .chance = (uint64_t)rwf_clock_wall() ^ (uint64_t)getpid()};
}

/* What was restored, when the server cannot begin after all. */
static void end_all(struct serve_server *s)
{
    serve__down(s, 0, NULL, NULL);
    turn(s);
}

int serve_server_run(const struct serve_server_options *o, struct rwf_err *err)
{
    struct serve_server s = {.o = *o};
    mode_t mask = umask(077);
    int rc = open_folders(&s, err);
    signal(SIGPIPE, SIG_IGN);
    if (rc == 0) {
        open_loop(&s);
        open_pool(&s);
        rc = join_runtime(&s, err);
        if (rc == 0 && (rc = serve__state_restore(&s, err)) == 0)
            rc = open_control(&s, err);
        if (rc == 0)
            turn(&s);
        else
            end_all(&s);
        if (s.ended != NULL)
            s.ended(s.ended_ctx);
        close_loop(&s);
        if (s.o.kinds == NULL)
            raywf_shutdown();
    }
    if (s.own_sockets)
        rmdir(s.sockets);
    free(s.sockets);
    umask(mask);
    return rc;
}
