/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's inside. Everything but what is marked atomic, stats and what submit
 * fills in belongs to the engine's thread.
 *
 * Callers know a request by its number, which is never given again and looks like a
 * pointer; so one that is gone can be named without harm. It is freed once its finish
 * was told and no step under way has a row of it.
 */
#ifndef RWF_LLM_ENGINE_INSIDE_H
#define RWF_LLM_ENGINE_INSIDE_H
#include <pthread.h>
#include <stdatomic.h>
#include "base/ids.h"
#include "llm/engine.h"
#include "llm/schedule.h"

struct llm__request {
    struct llm_sequence sequence; /* first: the schedule's pointers are to it */
    struct llm_submit what;       /* its pointers to data of the caller are not used */
    struct llm_times *times;
    struct llm_times own_times; /* when the caller wants none */
    uint32_t *mask;             /* with a constraint */
    float *embedding;
    int rows;  /* of steps under way */
    int told;  /* of the prompt, from its second token on */
    bool gone; /* its finish was told */
    uint64_t number;
    struct llm__request *next; /* of those submitted */
};

/* A wish to cancel. */
struct llm__cancel {
    uint64_t number;
    struct llm__cancel *next;
};

/* A step under way. */
struct llm__step {
    struct llm_chosen *chosen;
    int count;
    bool follows; /* what comes after one of its tokens depends on that */
};

struct llm_engine {
    struct llm_engine_options o;
    struct llm_config config;
    int limit; /* tokens of a sequence */
    struct llm_model *model;
    struct llm_schedule *schedule;

    struct llm__step steps[2];
    int first, under_way; /* steps[first] is the older one */
    struct llm_row *rows;
    struct llm_drawn *drawn;
    struct llm_logprob *prompt_logprobs; /* of one row, as told */
    size_t prompt_logprob_cap;
    int failures; /* steps in a row */
    int64_t busy_since;
    uint64_t prompt_tokens, generated_tokens;
    bool told;

    pthread_t thread;
    struct rwf_ids requests;                  /* by number: those that are not gone */
    _Atomic(struct llm__request *) submitted; /* a stack */
    _Atomic(struct llm__cancel *) cancelled;  /* a stack */
    atomic_uint_least64_t last_number;
    atomic_int submitted_count;
    atomic_bool stop, asleep, gone; /* gone: the device */
    pthread_mutex_t sleep_lock;
    pthread_cond_t wake;
    pthread_mutex_t stats_lock;
    struct llm_stats stats;
};

/* --- engine_request.c --- */

/* NULL and *err when something is wrong with it. */
struct llm__request *llm__request_create(const struct llm_engine *e,
                                         const struct llm_submit *s,
                                         struct llm_times *times, struct rwf_err *err);
/* Frees it if nobody needs it any more. */
void llm__request_settle(struct llm__request *r);
/* Takes it out of the schedule and tells its end; token: the last one, or NULL. */
void llm__request_finish(struct llm_engine *e, struct llm__request *r,
                         const struct llm_token *token, enum llm_finish finish,
                         const char *reason);

/* --- engine_step.c --- */

/* Makes and begins a step. False: there was nothing to do, or it failed. */
bool llm__step_begin(struct llm_engine *e);
/* Waits for the older step and tells what came of it. */
void llm__step_finish(struct llm_engine *e);

#endif
