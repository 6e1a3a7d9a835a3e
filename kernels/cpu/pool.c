/* SPDX-License-Identifier: Apache-2.0
 *
 * A round is one operation. `ticket` holds its number and the next part; a part is
 * taken by moving the ticket on, which fails when the round has gone, so the caller may
 * leave as soon as the parts are done, without waiting for threads that never woke.
 * Between rounds the ticket is closed: no part that it names exists.
 */
#include "kernels/cpu/pool.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define LOOKS 2000        /* how often a thread looks before it sleeps: some 50 us */
#define CLOSED UINT32_MAX /* beyond every part */

struct member {
    struct pool *pool;
    pthread_t id;
    int number;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    atomic_uint round;
    _Atomic uint64_t ticket; /* round << 32 | next part */
    atomic_uint parts, left; /* of the round; not done yet */
    _Atomic pool_part_fn fn;
    _Atomic(void *) arg;
    atomic_bool stop;
    int threads; /* with the caller */
    struct member *members;
};

static void relax(void)
{
#if defined __x86_64__
    __builtin_ia32_pause();
#endif
}

static void part_done(struct pool *p)
{
    if (atomic_fetch_sub(&p->left, 1) != 1)
        return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
}

static void take_parts(struct pool *p, unsigned round, int thread)
{
    for (;;) {
        uint64_t ticket = atomic_load(&p->ticket);
        uint32_t part = (uint32_t)ticket;
        pool_part_fn fn = atomic_load(&p->fn);
        void *arg = atomic_load(&p->arg);
        if (ticket >> 32 != round || part >= atomic_load(&p->parts))
            return;
        if (!atomic_compare_exchange_weak(&p->ticket, &ticket, ticket + 1))
            continue;
        fn(arg, (int)part, thread);
        part_done(p);
    }
}

/* Waits for a round other than `seen`; false: the pool ends. */
static bool next_round(struct pool *p, unsigned *seen)
{
    for (int i = 0; i < LOOKS && atomic_load(&p->round) == *seen; i++)
        relax();
    if (atomic_load(&p->round) == *seen) {
        pthread_mutex_lock(&p->lock);
        while (atomic_load(&p->round) == *seen)
            pthread_cond_wait(&p->work, &p->lock);
        pthread_mutex_unlock(&p->lock);
    }
    *seen = atomic_load(&p->round);
    return !atomic_load(&p->stop);
}

static void *member_main(void *arg)
{
    struct member *m = arg;
    struct pool *p = m->pool;
    unsigned seen = 0;
    while (next_round(p, &seen))
        take_parts(p, seen, m->number);
    return NULL;
}

static void start_round(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->round, 1);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
}

struct pool *pool_create(int threads)
{
    struct pool *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->members = calloc((size_t)(threads > 1 ? threads : 1), sizeof(*p->members));
    if (p->members == NULL) {
        free(p);
        return NULL;
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    p->threads = 1;
    for (int i = 1; i < threads; i++) {
        struct member *m = &p->members[i];
        *m = (struct member){.pool = p, .number = i};
        if (pthread_create(&m->id, NULL, member_main, m) != 0)
            break;
        p->threads++;
    }
    return p;
}

void pool_destroy(struct pool *p)
{
    if (p == NULL)
        return;
    atomic_store(&p->stop, true);
    start_round(p);
    for (int i = 1; i < p->threads; i++)
        pthread_join(p->members[i].id, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free(p->members);
    free(p);
}

int pool_threads(const struct pool *p)
{
    return p->threads;
}

void pool_run(struct pool *p, int parts, pool_part_fn fn, void *arg)
{
    if (p->threads == 1 || parts <= 1) {
        for (int i = 0; i < parts; i++)
            fn(arg, i, 0);
        return;
    }
    unsigned round = atomic_load(&p->round) + 1;
    atomic_store(&p->ticket, (uint64_t)round << 32 | CLOSED);
    atomic_store(&p->parts, (unsigned)parts);
    atomic_store(&p->left, (unsigned)parts);
    atomic_store(&p->fn, fn);
    atomic_store(&p->arg, arg);
    atomic_store(&p->ticket, (uint64_t)round << 32);
    start_round(p);
    take_parts(p, round, 0);
    for (int i = 0; i < LOOKS && atomic_load(&p->left) != 0; i++)
        relax();
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->left) != 0)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
