/* SPDX-License-Identifier: Apache-2.0
 *
 * Lane 0 is the caller's thread; the others wait for the next round. Each takes
 * neighbouring texts, of about as many bytes as the others take.
 */
#include "config.h"
#include "train/tokens_pool.h"
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

struct lane {
    struct tokens_pool *pool;
    pthread_t thread;
    size_t from, to; /* of the texts */
    struct tokenizer_ids ids;
};

struct tokens_pool {
    const struct tokenizer *tokenizer;
    int32_t end;
    int lanes, started; /* started: threads beside the caller's */
    struct lane *lane;
    const struct tokens_text *texts;
    bool stop;
    int64_t round;
    int busy; /* threads that are not done with it */
    pthread_mutex_t lock;
    pthread_cond_t begin, done;
};

static void encode(struct lane *l)
{
    const struct tokens_pool *p = l->pool;
    l->ids.count = 0;
    for (size_t i = l->from; i < l->to; i++) {
        tokenizer_encode(p->tokenizer, p->texts[i].text, p->texts[i].len, &l->ids);
        *RWF_PUSH(l->ids.ids, l->ids.count, l->ids.cap) = p->end;
    }
}

static void *lane_main(void *arg)
{
    struct lane *l = arg;
    struct tokens_pool *p = l->pool;
    int64_t seen = 0;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && p->round == seen)
            pthread_cond_wait(&p->begin, &p->lock);
        if (p->stop)
            break;
        seen = p->round;
        pthread_mutex_unlock(&p->lock);
        encode(l);
        pthread_mutex_lock(&p->lock);
        if (--p->busy == 0)
            pthread_cond_signal(&p->done);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct tokens_pool *tokens_pool_create(const struct tokenizer *t, int32_t end,
                                       int threads, struct rwf_err *err)
{
    struct tokens_pool *p = rwf_xcalloc(1, sizeof(*p));
    sigset_t all, old;
    int e = 0;
    p->tokenizer = t;
    p->end = end;
    p->lanes = threads > 1 ? threads : 1;
    p->lane = rwf_xcalloc((size_t)p->lanes, sizeof(*p->lane));
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->begin, NULL);
    pthread_cond_init(&p->done, NULL);
    for (int i = 0; i < p->lanes; i++)
        p->lane[i].pool = p;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (int i = 1; i < p->lanes && e == 0; i++) {
        e = pthread_create(&p->lane[i].thread, NULL, lane_main, &p->lane[i]);
        p->started += e == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (e == 0)
        return p;
    rwf_fail(err, e, "threads that tokenise: %s", strerror(e));
    tokens_pool_destroy(p);
    return NULL;
}

void tokens_pool_destroy(struct tokens_pool *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i <= p->started; i++)
        pthread_join(p->lane[i].thread, NULL);
    for (int i = 0; i < p->lanes; i++)
        free(p->lane[i].ids.ids);
    pthread_cond_destroy(&p->begin);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->lock);
    free(p->lane);
    free(p);
}

int tokens_pool_lanes(const struct tokens_pool *p)
{
    return p->lanes;
}

const struct tokenizer_ids *tokens_pool_ids(const struct tokens_pool *p, int lane)
{
    return &p->lane[lane].ids;
}

static void share(struct tokens_pool *p, const struct tokens_text *texts, size_t count)
{
    size_t bytes = 0, all = 0, at = 0;
    for (size_t i = 0; i < count; i++)
        all += texts[i].len + 1;
    for (int i = 0; i < p->lanes; i++) {
        p->lane[i].from = at;
        while (at < count && bytes < all / (size_t)p->lanes * (size_t)(i + 1))
            bytes += texts[at++].len + 1;
        p->lane[i].to = i + 1 < p->lanes ? at : count;
    }
}

void tokens_pool_encode(struct tokens_pool *p, const struct tokens_text *texts,
                        size_t count)
{
    p->texts = texts;
    share(p, texts, count);
    pthread_mutex_lock(&p->lock);
    p->round++;
    p->busy = p->started;
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->lock);
    encode(&p->lane[0]);
    pthread_mutex_lock(&p->lock);
    while (p->busy > 0)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
