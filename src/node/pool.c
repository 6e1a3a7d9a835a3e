/* SPDX-License-Identifier: Apache-2.0
 *
 * Which worker serves which lease: an idle one that was started for the same key, else
 * a new one. The key is all that a worker is bound to from its start: the plugin (and
 * which file that was), environment, GPUs, memory limit.
 *
 * A worker's life is the table below; an event that its state does not know is a bug.
 * A lease may end while its worker starts: the worker then becomes idle when it is
 * ready.
 */
#include "config.h"
#include "node/inside.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#define RETIRE_GRACE (2 * RAYWF_S)
#define IDLE_MIN 2 /* idle workers that are kept on however small a machine */
#define CRASHES_IN_A_ROW 3
#define CRASHES_KEPT 64 /* keys */

enum { I = WORKER_IDLE, L = WORKER_LEASED, R = WORKER_RETIRING, E = WORKER_ENDING, NO };

static const struct {
    const char *name;
    unsigned char next[EVENT_EXIT + 1];
} states[WORKER_STATE_COUNT] = {
    /* by event:                  READY LEND BACK RETIRE EXIT */
    [WORKER_STARTING] = {"starting", {L, NO, NO, R, E}},
    [WORKER_IDLE] = {"idle", {NO, L, NO, R, E}},
    [WORKER_LEASED] = {"leased", {NO, NO, I, R, E}},
    [WORKER_RETIRING] = {"retiring", {R, NO, R, R, E}},
    [WORKER_ENDING] = {"ending", {NO, NO, E, E, NO}},
};

const char *node__worker_state_name(enum node__worker_state s)
{
    return states[s].name;
}

void node__worker_event(struct node__worker *w, enum node__worker_event event)
{
    unsigned next = states[w->state].next[event];
    rwf_assert(next != NO);
    w->node->idle_count -= w->state == WORKER_IDLE;
    w->state = next;
    w->node->idle_count += w->state == WORKER_IDLE;
}

/* --- keys --- */

static void add_file(struct rwf_str *key, const char *plugin)
{
    struct stat st;
    rwf_str_addf(key, "%zu:%s", strlen(plugin), plugin);
    if (strchr(plugin, '/') && stat(plugin, &st) == 0)
        rwf_str_addf(key, ":%llx.%llx.%llx.%llx.%lx", (unsigned long long)st.st_dev,
                     (unsigned long long)st.st_ino, (unsigned long long)st.st_size,
                     (unsigned long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

/* What the workers of a lease must have in common; NULL: they are for it alone. */
static char *key_of(const struct node__lease *l)
{
    struct rwf_str key = {0};
    const Wire__Shape *shape = l->wire->shape;
    const Wire__Resources *r = node__lease_resources(l);
    if (l->actor || !shape)
        return NULL;
    add_file(&key, shape->plugin);
    rwf_str_addf(&key, "|%u|%llu", shape->max_calls,
                 r ? (unsigned long long)r->memory : 0);
    for (size_t i = 0; i < l->wire->n_gpus; i++)
        rwf_str_addf(&key, "|%u", l->wire->gpus[i]);
    if (l->wire->n_gpus > 0 && r)
        rwf_str_addf(&key, "*%g", r->gpu < 1 ? r->gpu : 1);
    for (size_t i = 0; i < shape->n_env; i++)
        rwf_str_addf(&key, "|%zu:%s", strlen(shape->env[i]), shape->env[i]);
    return rwf_str_take(&key);
}

/* --- plugins that crash their workers --- */

struct node__crash {
    char *key;
    int count;
    struct node__crash *next; /* newest first */
};

static void crash_free(struct node__crash *c)
{
    free(c->key);
    free(c);
}

void node__crashes_free(struct node *n)
{
    while (n->crashes) {
        struct node__crash *c = n->crashes;
        n->crashes = c->next;
        crash_free(c);
    }
}

/* The end of the list, when it has become too long. */
static void crashes_trim(struct node *n)
{
    struct node__crash **at = &n->crashes;
    for (int i = 0; *at && i < CRASHES_KEPT; i++)
        at = &(*at)->next;
    if (!*at)
        return;
    crash_free(*at);
    *at = NULL;
}

bool node__crash_count(struct node *n, const char *key, bool crashed)
{
    struct node__crash **at = &n->crashes, *c;
    if (!key)
        return true;
    while (*at && strcmp((*at)->key, key) != 0)
        at = &(*at)->next;
    c = *at;
    if (c)
        *at = c->next;
    if (crashed && !c) {
        c = rwf_xcalloc(1, sizeof(*c));
        c->key = rwf_xstrdup(key);
    }
    if (!crashed || ++c->count >= CRASHES_IN_A_ROW) {
        if (c)
            crash_free(c);
        return crashed;
    }
    c->next = n->crashes;
    n->crashes = c;
    crashes_trim(n);
    return false;
}

/* --- idle workers --- */

static unsigned idle_max(const struct node *n)
{
    double cpu = n->machine.cpu;
    return cpu > IDLE_MIN ? (unsigned)cpu : IDLE_MIN;
}

static struct node__worker *idle_longest(struct node *n)
{
    struct node__worker *w, *oldest = NULL;
    LIST_FOREACH(w, &n->workers, link)
    if (w->state == WORKER_IDLE && (!oldest || w->idle_since < oldest->idle_since))
        oldest = w;
    return oldest;
}

static void on_idle_time(uv_timer_t *t);

/* The timer runs only while somebody is idle. */
static void arm_idle(struct node *n)
{
    const struct node__worker *w = idle_longest(n);
    if (!w || n->destroyed) {
        uv_timer_stop(&n->idle_timer);
        return;
    }
    int64_t left = w->idle_since + n->options.idle - rwf_clock_mono();
    uv_update_time(n->loop);
    uv_timer_start(&n->idle_timer, on_idle_time,
                   left > 0 ? (uint64_t)(left / RWF_NS_PER_MS) + 1 : 0, 0);
}

static void on_idle_time(uv_timer_t *t)
{
    struct node *n = t->data;
    int64_t before = rwf_clock_mono() - n->options.idle;
    struct node__worker *w;
    while ((w = idle_longest(n)) && w->idle_since <= before)
        node__pool_retire(w, "nobody wants it");
    arm_idle(n);
}

static bool shares_gpu(const struct node__worker *w, const struct node__lease *l)
{
    for (size_t i = 0; i < w->gpu_count; i++)
        for (size_t j = 0; j < l->wire->n_gpus; j++)
            if (w->gpus[i] == l->wire->gpus[j])
                return true;
    return false;
}

/* Idle workers that hold memory on a GPU which is somebody else's now. */
static void free_gpus(struct node *n, const struct node__lease *l)
{
    struct node__worker *w;
    LIST_FOREACH(w, &n->workers, link)
    if (w->state == WORKER_IDLE && shares_gpu(w, l))
        node__pool_retire(w, "its GPU is somebody else's now");
}

static struct node__worker *idle_with(struct node *n, const char *key)
{
    struct node__worker *w, *best = NULL;
    if (!key)
        return NULL;
    /* The one that worked last: its caches are the warmest. */
    LIST_FOREACH(w, &n->workers, link)
    if (w->state == WORKER_IDLE && strcmp(w->key, key) == 0 &&
        (!best || w->idle_since > best->idle_since))
        best = w;
    return best;
}

static struct node__worker *start(struct node *n, struct node__lease *l,
                                  struct rwf_err *err)
{
    struct node__worker *w = node__worker_start(n, l, err), *idle;
    if (w || err->code != ENOSPC || !(idle = idle_longest(n)))
        return w;
    /* Its slot is free when it is gone; then the lease is tried again. */
    node__pool_retire(idle, "its slot is needed");
    return NULL;
}

int node__pool_take(struct node *n, struct node__lease *l, struct rwf_err *err)
{
    char *key = key_of(l);
    struct node__worker *w = idle_with(n, key);
    if (w) {
        node__worker_event(w, EVENT_LEND);
    } else {
        free_gpus(n, l);
        w = start(n, l, err);
        if (!w) {
            free(key);
            return -1;
        }
        w->key = key;
        key = NULL;
    }
    free(key);
    w->lease = l;
    l->worker = w;
    arm_idle(n);
    node__pressure_watch(n);
    return 0;
}

void node__pool_back(struct node__worker *w, bool broken)
{
    struct node *n = w->node;
    w->lease = NULL;
    if (w->state == WORKER_STARTING && w->key && w->client && w->client->joined)
        return; /* it is loading the plugin already, and idle after that */
    if (w->state != WORKER_LEASED) {
        if (w->state == WORKER_STARTING)
            node__worker_kill(w, 0, "was ended: nobody wants it any more");
        return;
    }
    if (broken || !w->key) {
        node__pool_retire(w,
                          broken ? "its client found it broken" : "its actor is over");
        return;
    }
    node__worker_event(w, EVENT_BACK);
    w->idle_since = rwf_clock_mono();
    if (n->stopping || n->idle_count > idle_max(n))
        node__pool_retire(idle_longest(n), "there are enough idle ones");
    arm_idle(n);
}

void node__pool_retire(struct node__worker *w, const char *reason)
{
    if (w->state >= WORKER_RETIRING)
        return;
    node__worker_event(w, EVENT_RETIRE);
    if (w->client && w->client->joined) {
        Wire__Retire r = WIRE__RETIRE__INIT;
        r.reason = (char *)reason;
        NODE__SEND(w->client->link, WIRE_RETIRE, &r);
        node__worker_deadline(w, RETIRE_GRACE, 0, reason);
    } else {
        node__worker_kill(w, 0, "was ended: %s", reason);
    }
}

void node__pool_retire_idle(struct node *n, const char *reason)
{
    struct node__worker *w;
    while ((w = idle_longest(n)))
        node__pool_retire(w, reason);
    arm_idle(n);
}

/* --- the end --- */

void node__pool_say_stopped(struct node *n)
{
    void (*done)(void *ctx) = n->stopped;
    if (n->worker_count > 0 || n->options.far->busy(n) || !done)
        return;
    n->stopped = NULL;
    done(n->stopped_ctx);
}

static void on_stop_turn(uv_timer_t *t)
{
    node__pool_say_stopped(t->data);
}

void node__pool_stop(struct node *n)
{
    struct node__worker *w;
    LIST_FOREACH(w, &n->workers, link)
    node__worker_term(w);
    /* Never from within the caller's call. */
    uv_update_time(n->loop);
    uv_ref((uv_handle_t *)&n->idle_timer);
    if (n->worker_count == 0)
        uv_timer_start(&n->idle_timer, on_stop_turn, 0, 0);
}

void node__pool_gone(struct node__worker *w)
{
    struct node *n = w->node;
    LIST_REMOVE(w, link);
    n->worker_count--;
    if (n->stopping)
        node__pool_say_stopped(n);
    else
        arm_idle(n);
}
