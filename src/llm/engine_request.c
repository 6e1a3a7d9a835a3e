/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests: what may be asked for, and their end.
 */
#include "config.h"

#include "llm/engine_inside.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define LOGPROBS_MAX 20

/* --- checks --- */

static int out_of_range(struct rwf_err *err, const char *name, double value,
                        const char *allowed)
{
    return rwf_fail(err, RWF_E_USAGE, "%s is %g, but must be %s", name, value, allowed);
}

static int check_id(const struct llm_engine *e, const char *name, int32_t id,
                    struct rwf_err *err)
{
    if (id >= 0 && id < e->config.vocab)
        return 0;
    return rwf_fail(err, RWF_E_USAGE, "%s: there is no token %d; ids go from 0 to %d",
                    name, (int)id, (int)e->config.vocab - 1);
}

static int check_prompt(const struct llm_engine *e, const struct llm_submit *s,
                        struct rwf_err *err)
{
    int room = s->embed ? e->limit : e->limit - 1;
    bool cache = e->limit < e->o.model.max_length;

    if (s->prompt_count < 1)
        return rwf_fail(err, RWF_E_USAGE,
                        "the prompt is empty: it needs at least one token");
    if (s->prompt_count > room)
        return rwf_fail(
            err, RWF_E_FIT,
            "the prompt has %d tokens, %d too many: %s %d tokens%s, so a prompt of "
            "at most %d fits",
            s->prompt_count, s->prompt_count - room,
            cache ? "the KV cache has room for" : "the longest context is", e->limit,
            s->embed ? "" : " with the answer", room);
    for (int i = 0; i < s->prompt_count; i++)
        if (check_id(e, "prompt", s->prompt[i], err) < 0)
            return -1;
    return 0;
}

static int check_numbers(const struct llm_sampling *p, struct rwf_err *err)
{
    if (!(p->temperature >= 0 && p->temperature < INFINITY))
        return out_of_range(err, "temperature", p->temperature, "0 or more");
    if (!(p->top_p > 0 && p->top_p <= 1))
        return out_of_range(err, "top_p", p->top_p, "above 0 and at most 1");
    if (!(p->min_p >= 0 && p->min_p <= 1))
        return out_of_range(err, "min_p", p->min_p, "from 0 to 1");
    if (p->top_k < 0)
        return out_of_range(err, "top_k", p->top_k, "at least 1, or 0 for all");
    if (!(p->repetition > 0 && p->repetition < INFINITY))
        return out_of_range(err, "repetition_penalty", p->repetition, "above 0");
    if (!(p->presence >= -2 && p->presence <= 2))
        return out_of_range(err, "presence_penalty", p->presence, "from -2 to 2");
    if (!(p->frequency >= -2 && p->frequency <= 2))
        return out_of_range(err, "frequency_penalty", p->frequency, "from -2 to 2");
    return 0;
}

static int check_counts(const struct llm_engine *e, const struct llm_sampling *p,
                        struct rwf_err *err)
{
    if (p->max_tokens < 1)
        return out_of_range(err, "max_tokens", p->max_tokens, "at least 1");
    if (p->min_tokens < 0 || p->min_tokens > p->max_tokens)
        return rwf_fail(err, RWF_E_USAGE,
                        "min_tokens is %d, but must be from 0 to max_tokens (%d)",
                        p->min_tokens, p->max_tokens);
    if (p->logprobs < -1 || p->logprobs > LOGPROBS_MAX)
        return out_of_range(err, "logprobs", p->logprobs, "from 0 to 20");
    if (p->prompt_logprobs < -1 || p->prompt_logprobs > LOGPROBS_MAX)
        return out_of_range(err, "prompt_logprobs", p->prompt_logprobs, "from 0 to 20");
    if (p->prompt_logprobs >= 0 && e->o.model.max_tokens < 2)
        return rwf_fail(err, RWF_E_USAGE,
                        "prompt_logprobs needs steps of at least 2 tokens "
                        "(max_num_batched_tokens is %d)",
                        e->o.model.max_tokens);
    return 0;
}

static int check_sampling(const struct llm_engine *e, const struct llm_sampling *p,
                          struct rwf_err *err)
{
    if (check_numbers(p, err) < 0 || check_counts(e, p, err) < 0)
        return -1;
    for (int i = 0; i < p->bias_count; i++) {
        if (check_id(e, "logit_bias", p->bias[i].id, err) < 0)
            return -1;
        if (isnan(p->bias[i].add) || p->bias[i].add == INFINITY)
            return out_of_range(err, "logit_bias", p->bias[i].add, "a finite number");
    }
    for (int i = 0; i < p->stop_count; i++)
        if (check_id(e, "stop_token_ids", p->stops[i], err) < 0)
            return -1;
    return 0;
}

/* --- made and freed --- */

static void init_sequence(const struct llm_engine *e, struct llm__request *r,
                          const struct llm_submit *s)
{
    const struct llm_sampling *p = &s->sampling;
    int own = p->ignore_end ? 0 : e->config.end_count;
    int32_t *ends = rwf_xmalloc((size_t)(own + p->stop_count + 1) * sizeof(*ends));
    int room = e->limit - s->prompt_count;

    memcpy(ends, e->config.ends, (size_t)own * sizeof(*ends));
    if (p->stop_count > 0)
        memcpy(ends + own, p->stops, (size_t)p->stop_count * sizeof(*ends));
    llm_sequence_init(
        &r->sequence,
        &(struct llm_sequence_options){
            .prompt = s->prompt,
            .prompt_count = s->prompt_count,
            .most = p->max_tokens < room ? p->max_tokens : room,
            .least = p->min_tokens,
            .priority = s->priority,
            .ends = ends,
            .end_count = s->embed ? 0 : own + p->stop_count,
            .embed = s->embed,
            .every = !s->embed && s->prompt_logprobs && p->prompt_logprobs >= 0,
            .repetition = p->repetition,
            .presence = p->presence,
            .frequency = p->frequency,
            .bias = p->bias,
            .bias_count = p->bias_count,
        });
    free(ends);
}

struct llm__request *llm__request_create(const struct llm_engine *e,
                                         const struct llm_submit *s,
                                         struct llm_times *times, struct rwf_err *err)
{
    struct llm__request *r;

    if (check_prompt(e, s, err) < 0 ||
        (!s->embed && check_sampling(e, &s->sampling, err) < 0))
        return NULL;
    r = rwf_xcalloc(1, sizeof(*r));
    init_sequence(e, r, s);
    r->what = *s;
    r->times = times ? times : &r->own_times;
    *r->times =
        (struct llm_times){.arrived = rwf_clock_mono(), .prompt = s->prompt_count};
    r->told = 1;
    if (s->constraint.ctx)
        r->mask = rwf_xcalloc((size_t)(e->config.vocab + 31) / 32, sizeof(*r->mask));
    if (s->embed)
        r->embedding = rwf_xcalloc((size_t)e->config.hidden, sizeof(*r->embedding));
    return r;
}

void llm__request_settle(struct llm__request *r)
{
    if (!r->gone || r->rows > 0)
        return;
    llm_sequence_free(&r->sequence);
    free(r->mask);
    free(r->embedding);
    free(r);
}

void llm__request_finish(struct llm_engine *e, struct llm__request *r,
                         const struct llm_token *token, enum llm_finish finish,
                         const char *reason)
{
    struct llm_sequence *q = &r->sequence;
    const struct llm_constraint *c = &r->what.constraint;

    llm_schedule_remove(e->schedule, q);
    r->times->cached = q->cached > 0 ? q->cached : 0;
    r->times->generated = q->count - q->prompt;
    r->times->preemptions = q->preemptions;
    if (c->ctx && c->free)
        c->free(c->ctx);
    r->what.tokens(r->what.ctx, token, token ? 1 : 0, finish, reason);
    e->told = true;
    r->gone = true;
    rwf_ids_remove(&e->requests, r->number);
    llm__request_settle(r);
}
