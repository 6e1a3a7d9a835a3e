/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's thread and the way in. Submitting and cancelling push on a stack each,
 * without a lock; the thread takes all of a stack at once, between steps. It sleeps
 * when there is nothing to do, and only then is it woken.
 */
#include "config.h"

#include "llm/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "llm/engine_inside.h"

/* --- the thread --- */

static void wake(struct llm_engine *e)
{
    if (!atomic_exchange(&e->asleep, false))
        return;
    pthread_mutex_lock(&e->sleep_lock);
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->sleep_lock);
}

static bool has_news(struct llm_engine *e)
{
    return atomic_load(&e->submitted) || atomic_load(&e->cancelled) ||
           atomic_load(&e->stop);
}

/* Whoever brings news sees asleep, or is seen here. */
static void sleep_until_news(struct llm_engine *e)
{
    pthread_mutex_lock(&e->sleep_lock);
    atomic_store(&e->asleep, true);
    while (!has_news(e))
        pthread_cond_wait(&e->wake, &e->sleep_lock);
    atomic_store(&e->asleep, false);
    pthread_mutex_unlock(&e->sleep_lock);
}

/* In the order in which they came. */
static void take_submitted(struct llm_engine *e, struct llm__request *stack)
{
    struct llm__request *r, *next, *first = NULL;

    for (r = stack; r; r = next) {
        next = r->next;
        r->next = first;
        first = r;
    }
    for (r = first; r; r = next) {
        next = r->next;
        atomic_fetch_sub(&e->submitted_count, 1);
        rwf_ids_add(&e->requests, r->number, r);
        if (atomic_load(&e->gone))
            llm__request_finish(e, r, NULL, LLM_ERROR, "the device is gone");
        else
            llm_schedule_add(e->schedule, &r->sequence);
    }
}

static void take_cancelled(struct llm_engine *e, struct llm__cancel *c)
{
    struct llm__cancel *next;

    for (; c; c = next) {
        struct llm__request *r = rwf_ids_get(&e->requests, c->number);

        next = c->next;
        free(c);
        if (r)
            llm__request_finish(e, r, NULL, LLM_CANCELLED, NULL);
    }
}

/* Those cancelled are taken first, so that each of them was submitted before: it is
 * among those submitted now, or known already, or gone. */
static void take_in(struct llm_engine *e)
{
    struct llm__cancel *cancelled = atomic_exchange(&e->cancelled, NULL);

    take_submitted(e, atomic_exchange(&e->submitted, NULL));
    take_cancelled(e, cancelled);
}

static void tell_stepped(struct llm_engine *e)
{
    if (e->told && e->o.stepped)
        e->o.stepped(e->o.ctx);
    e->told = false;
}

/* What was waiting or running when it last looked is what others see. */
static void count_idle(struct llm_engine *e)
{
    struct llm_schedule_stats s;

    llm_schedule_stats(e->schedule, &s);
    pthread_mutex_lock(&e->stats_lock);
    e->stats.running = s.running;
    e->stats.waiting = s.waiting;
    e->stats.blocks_used = s.blocks_used;
    pthread_mutex_unlock(&e->stats_lock);
}

static void end(struct llm_engine *e)
{
    struct llm_sequence *q;

    while (e->under_way > 0)
        llm__step_finish(e);
    take_in(e);
    while ((q = llm_schedule_any(e->schedule)))
        llm__request_finish(e, (struct llm__request *)q, NULL, LLM_CANCELLED, NULL);
    take_in(e); /* cancelled by callbacks */
    tell_stepped(e);
}

static void *main_loop(void *ctx)
{
    struct llm_engine *e = ctx;

    while (!atomic_load(&e->stop)) {
        take_in(e);
        bool begun = llm__step_begin(e);

        if (e->under_way == 2 || (e->under_way == 1 && !begun))
            llm__step_finish(e);
        tell_stepped(e);
        if (e->under_way == 0 && !llm_schedule_any(e->schedule)) {
            count_idle(e);
            sleep_until_news(e);
        }
    }
    end(e);
    return NULL;
}

/* --- the way in --- */

struct llm_request *llm_engine_submit(struct llm_engine *e, const struct llm_submit *s,
                                      struct llm_times *times, struct rwf_err *err)
{
    struct llm__request *r;
    uint64_t number;

    if (atomic_load(&e->gone)) {
        rwf_fail(err, RWF_E_ENV, "the device is gone: start the server anew");
        return NULL;
    }
    r = llm__request_create(e, s, times, err);
    if (!r)
        return NULL;
    number = r->number = atomic_fetch_add(&e->last_number, 1) + 1;
    atomic_fetch_add(&e->submitted_count, 1);
    r->next = atomic_load(&e->submitted);
    while (!atomic_compare_exchange_weak(&e->submitted, &r->next, r))
        ;
    wake(e);
    return (struct llm_request *)(uintptr_t)number;
}

void llm_engine_cancel(struct llm_engine *e, struct llm_request *r)
{
    struct llm__cancel *c = rwf_xmalloc(sizeof(*c));

    *c = (struct llm__cancel){.number = (uintptr_t)r};
    c->next = atomic_load(&e->cancelled);
    while (!atomic_compare_exchange_weak(&e->cancelled, &c->next, c))
        ;
    wake(e);
}

void llm_engine_stats(struct llm_engine *e, struct llm_stats *ret)
{
    pthread_mutex_lock(&e->stats_lock);
    *ret = e->stats;
    pthread_mutex_unlock(&e->stats_lock);
    ret->waiting += atomic_load(&e->submitted_count);
}

const struct llm_model *llm_engine_model(const struct llm_engine *e)
{
    return e->model;
}

/* --- made and destroyed --- */

static int check_options(const struct llm_engine_options *o, struct rwf_err *err)
{
    if (o->model.max_tokens < 1)
        return rwf_fail(err, RWF_E_USAGE,
                        "max_num_batched_tokens is %d, but must be at least 1",
                        o->model.max_tokens);
    if (o->model.max_sequences < 1)
        return rwf_fail(err, RWF_E_USAGE, "max_num_seqs is %d, but must be at least 1",
                        o->model.max_sequences);
    if (o->model.max_length < 2)
        return rwf_fail(err, RWF_E_USAGE, "max_model_len is %d, but must be at least 2",
                        o->model.max_length);
    return 0;
}

static void make_parts(struct llm_engine *e)
{
    const struct llm_model_options *m = &e->o.model;
    int64_t tokens = (int64_t)llm_model_blocks(e->model) * KERNEL_BLOCK;
    size_t rows = (size_t)m->max_sequences;

    e->limit = tokens < m->max_length ? (int)tokens : m->max_length;
    e->schedule = llm_schedule_create(&(struct llm_schedule_options){
        .max_tokens = m->max_tokens,
        .max_sequences = m->max_sequences,
        .blocks = llm_model_blocks(e->model),
        .no_prefix_cache = e->o.no_prefix_cache,
    });
    for (int i = 0; i < 2; i++)
        e->steps[i].chosen = rwf_xcalloc(rows, sizeof(*e->steps[i].chosen));
    e->rows = rwf_xcalloc(rows, sizeof(*e->rows));
    e->drawn = rwf_xcalloc(rows, sizeof(*e->drawn));
    e->stats.blocks = llm_model_blocks(e->model);
    pthread_mutex_init(&e->sleep_lock, NULL);
    pthread_mutex_init(&e->stats_lock, NULL);
    pthread_cond_init(&e->wake, NULL);
}

static void free_parts(struct llm_engine *e)
{
    struct llm__cancel *c, *next;

    for (c = atomic_load(&e->cancelled); c; c = next) {
        next = c->next;
        free(c);
    }
    pthread_cond_destroy(&e->wake);
    pthread_mutex_destroy(&e->stats_lock);
    pthread_mutex_destroy(&e->sleep_lock);
    rwf_ids_free(&e->requests);
    llm_schedule_destroy(e->schedule);
    llm_model_close(e->model);
    for (int i = 0; i < 2; i++)
        free(e->steps[i].chosen);
    free(e->prompt_logprobs);
    free(e->rows);
    free(e->drawn);
    free(e);
}

struct llm_engine *llm_engine_create(const char *folder,
                                     const struct llm_config *config,
                                     const struct llm_engine_options *o,
                                     struct rwf_err *err)
{
    struct llm_engine *e;
    int code;

    if (check_options(o, err) < 0)
        return NULL;
    e = rwf_xcalloc(1, sizeof(*e));
    e->o = *o;
    e->config = *config;
    e->model = llm_model_open(folder, config, &o->model, err);
    if (!e->model) {
        free(e);
        return NULL;
    }
    make_parts(e);
    code = pthread_create(&e->thread, NULL, main_loop, e);
    if (code) {
        rwf_fail(err, code, "no thread for the engine: %s", strerror(code));
        free_parts(e);
        return NULL;
    }
    pthread_setname_np(e->thread, "llm-engine");
    return e;
}

void llm_engine_destroy(struct llm_engine *e)
{
    if (!e)
        return;
    atomic_store(&e->stop, true);
    wake(e);
    pthread_join(e->thread, NULL);
    free_parts(e);
}
