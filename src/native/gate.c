/* SPDX-License-Identifier: Apache-2.0
 *
 * The helper sleeps on `armed` while nobody leaves anything behind. Armed, it looks
 * twice a millisecond whether the worker is still away in the same call; idle for some
 * looks, it disarms. Leaving sets the state before it reads `armed`, disarming clears
 * `armed` before it reads the state (both sequentially consistent): one of them sees
 * the other.
 */
#include "config.h"

#include "native/gate.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"

#define LOOK_NS 500000
#define LOOKS_IDLE 20

enum { HERE, AWAY, HELPED };

static void futex_wait(_Atomic uint32_t *word, uint32_t while_)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void help(struct native__gate *g)
{
    int away = AWAY;

    if (!atomic_compare_exchange_strong(&g->state, &away, HELPED))
        return;
    g->flush(g->ctx);
    atomic_store(&g->state, AWAY);
}

/* Until nobody has left anything for some time. */
static void watch(struct native__gate *g)
{
    const struct timespec look = {.tv_nsec = LOOK_NS};

    for (int idle = 0; idle < LOOKS_IDLE && !atomic_load(&g->ending); idle++) {
        uint32_t turn = atomic_load(&g->turn);
        nanosleep(&look, NULL);
        if (atomic_load(&g->turn) != turn) {
            idle = 0;
        } else if (atomic_load(&g->state) == AWAY) {
            help(g);
            /* All is published; what comes next counts a new turn. */
            while (atomic_load(&g->turn) == turn && atomic_load(&g->state) == AWAY &&
                   !atomic_load(&g->ending))
                nanosleep(&look, NULL);
            idle = 0;
        }
    }
}

static void *helper(void *arg)
{
    struct native__gate *g = arg;

    while (!atomic_load(&g->ending)) {
        if (!atomic_load(&g->armed)) {
            futex_wait(&g->armed, 0);
            continue;
        }
        watch(g);
        atomic_store(&g->armed, 0);
        if (atomic_load(&g->state) == AWAY)
            atomic_store(&g->armed, 1);
    }
    return NULL;
}

void native__gate_start(struct native__gate *g, void (*flush)(void *ctx), void *ctx)
{
    sigset_t all, old;

    g->flush = flush;
    g->ctx = ctx;
    /* A plugin's signals are for the plugin's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rwf_assert(pthread_create(&g->thread, NULL, helper, g) == 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void native__gate_stop(struct native__gate *g)
{
    atomic_store(&g->ending, 1);
    atomic_store(&g->armed, 1);
    futex_wake(&g->armed);
    pthread_join(g->thread, NULL);
}

void native__gate_leave(struct native__gate *g)
{
    atomic_store_explicit(&g->turn,
                          atomic_load_explicit(&g->turn, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store(&g->state, AWAY);
    if (!atomic_load(&g->armed)) {
        atomic_store(&g->armed, 1);
        futex_wake(&g->armed);
    }
}

void native__gate_return(struct native__gate *g)
{
    int away = AWAY;

    if (atomic_load_explicit(&g->state, memory_order_relaxed) == HERE)
        return;
    while (!atomic_compare_exchange_weak(&g->state, &away, HERE))
        away = AWAY;
}
