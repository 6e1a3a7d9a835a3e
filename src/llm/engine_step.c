/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps of the engine: rows for the model from what the schedule chose, and what came
 * of them to the requests. Two may be under way, so that the device has the next one
 * while the host looks at the last one's tokens; when a draw depends on the token
 * before it, one.
 *
 * A step that fails ends the requests that have rows in it, and those of the step begun
 * after it, which may build on what it did not do. After FAILURES_MAX in a row the
 * device counts as gone.
 */
#include "config.h"

#include "llm/engine_inside.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define FAILURES_MAX 3

static struct llm__request *request_of(const struct llm_chosen *c)
{
    return (struct llm__request *)c->sequence;
}

/* --- failures --- */

static void end_rows(struct llm_engine *e, const struct llm__step *step,
                     const char *reason)
{
    for (int i = 0; i < step->count; i++)
        if (!request_of(&step->chosen[i])->gone)
            llm__request_finish(e, request_of(&step->chosen[i]), NULL, LLM_ERROR,
                                reason);
}

static void let_rows_go(struct llm__step *step)
{
    for (int i = 0; i < step->count; i++) {
        request_of(&step->chosen[i])->rows--;
        llm__request_settle(request_of(&step->chosen[i]));
    }
    step->count = 0;
}

static void end_all(struct llm_engine *e, const char *reason)
{
    struct llm_sequence *q;

    while ((q = llm_schedule_any(e->schedule)))
        llm__request_finish(e, (struct llm__request *)q, NULL, LLM_ERROR, reason);
}

/* Also ends what is in next, when there is one. Rows stay counted. */
static void failed(struct llm_engine *e, const struct llm__step *step,
                   const struct llm__step *next, const struct rwf_err *err)
{
    char reason[sizeof(err->text) + 64];
    bool gone = ++e->failures >= FAILURES_MAX;

    rwf_log(RWF_LOG_ERROR, "llm", "a step of %d sequences failed: %s", step->count,
            err->text);
    if (gone)
        snprintf(reason, sizeof(reason),
                 "the device is gone, %d steps in a row failed: %s", e->failures,
                 err->text);
    else
        snprintf(reason, sizeof(reason), "the step failed: %s", err->text);
    if (gone)
        atomic_store(&e->gone, true);
    end_rows(e, step, reason);
    if (next)
        end_rows(e, next, reason);
    if (gone)
        end_all(e, reason);
    /* Last, as those that end leave what they believe to have computed. */
    llm_schedule_forget(e->schedule);
}

/* --- begin --- */

/* An end may not come yet, but the constraint allows nothing else. */
static bool only_ends(const struct llm__request *r, int words)
{
    for (int w = 0; w < words; w++) {
        uint32_t left = r->mask[w];

        for (int i = 0; left && i < r->sequence.end_count; i++)
            if (r->sequence.ends[i] / 32 == w)
                left &= ~(UINT32_C(1) << r->sequence.ends[i] % 32);
        if (left)
            return false;
    }
    return true;
}

static void ask_constraint(const struct llm_engine *e, struct llm__request *r,
                           int drawn, struct llm_row *row)
{
    const struct llm_constraint *c = &r->what.constraint;

    if (!c->ctx || !c->mask(c->ctx, r->mask))
        return;
    row->mask = r->mask;
    if (drawn < r->sequence.least && only_ends(r, (int)(e->config.vocab + 31) / 32))
        r->sequence.least = 0;
}

static void fill_draw(const struct llm_engine *e, struct llm__request *r, int drawn,
                      struct llm_row *row)
{
    const struct llm_sampling *p = &r->what.sampling;

    row->wanted = true;
    row->temperature = (float)p->temperature;
    row->top_p = (float)p->top_p;
    row->min_p = (float)p->min_p;
    row->top_k = p->top_k;
    row->seed = p->seed;
    row->step = (uint64_t)drawn;
    row->logprobs = p->logprobs;
    ask_constraint(e, r, drawn, row);
    row->edits = llm_sequence_edits(&r->sequence, drawn, &row->edit_count);
}

static void fill_row(const struct llm_engine *e, const struct llm_chosen *c,
                     struct llm_row *row)
{
    struct llm__request *r = request_of(c);
    const struct llm_sequence *q = c->sequence;

    *row = (struct llm_row){
        .ids = c->unknown ? NULL : q->ids + c->context,
        .count = c->count,
        .from = c->from,
        .context = c->context,
        .blocks = q->blocks,
        .logprobs = -1,
    };
    if (c->last && q->embed)
        row->embedding = r->embedding;
    else if (c->last)
        fill_draw(e, r, c->drawn, row);
    if (q->every && r->told < q->prompt) {
        row->all_logprobs = true;
        if (row->logprobs < r->what.sampling.prompt_logprobs)
            row->logprobs = r->what.sampling.prompt_logprobs;
    }
}

static bool may_begin(const struct llm_engine *e)
{
    return e->under_way == 0 || (e->under_way == 1 && !e->steps[e->first].follows);
}

static void fill(struct llm_engine *e, struct llm__step *step, int64_t now)
{
    step->follows = false;
    for (int i = 0; i < step->count; i++) {
        struct llm__request *r = request_of(&step->chosen[i]);

        fill_row(e, &step->chosen[i], &e->rows[i]);
        r->rows++;
        if (!r->times->scheduled)
            r->times->scheduled = now;
        if (e->rows[i].wanted &&
            (r->what.constraint.ctx || llm_sequence_follows(&r->sequence)))
            step->follows = true;
    }
}

bool llm__step_begin(struct llm_engine *e)
{
    struct llm__step *step = &e->steps[(e->first + e->under_way) % 2];
    struct rwf_err err = RWF_ERR_INIT;
    int64_t now;

    if (!may_begin(e))
        return false;
    step->count = llm_schedule_step(e->schedule, step->chosen);
    if (step->count == 0) {
        rwf_assert(e->under_way > 0 || !llm_schedule_any(e->schedule));
        return false;
    }
    now = rwf_clock_mono();
    fill(e, step, now);
    if (e->under_way == 0)
        e->busy_since = now;
    if (llm_model_begin(e->model, e->rows, step->count, &err) < 0) {
        failed(e, step, NULL, &err);
        let_rows_go(step);
        return false;
    }
    e->under_way++;
    return true;
}

/* --- finish --- */

static void tell_prompt(struct llm_engine *e, struct llm__request *r,
                        const struct llm_chosen *c, const struct llm_logprob *from)
{
    const struct llm_sampling *p = &r->what.sampling;
    int each = 1 + p->prompt_logprobs;
    int stride = c->last && p->logprobs >= each ? 1 + p->logprobs : each;
    int end = c->context + c->count, start = r->told;
    size_t size = 0;

    if (end > r->sequence.prompt)
        end = r->sequence.prompt;
    /* Nothing is known of a row's first token: what comes before it was not part of the
     * step. */
    if (!r->sequence.every || start >= end || !from)
        return;
    rwf_assert(start > c->context);
    for (int i = start; i < end; i++)
        for (int k = 0; k < each; k++) {
            e->prompt_logprobs =
                rwf_grow(e->prompt_logprobs, size, &e->prompt_logprob_cap,
                         sizeof(*e->prompt_logprobs));
            e->prompt_logprobs[size++] = from[(i - c->context) * stride + k];
        }
    r->told = end;
    r->what.prompt_logprobs(r->what.ctx, e->prompt_logprobs, each, end - start);
    e->told = true;
}

static void tell_token(struct llm_engine *e, struct llm__request *r,
                       const struct llm_drawn *d, int64_t now)
{
    struct llm_token token = {.id = d->id};
    const struct llm_constraint *c = &r->what.constraint;
    enum llm_finish finish;

    if (d->id < 0) {
        r->sequence.pending--;
        llm__request_finish(e, r, NULL, LLM_ERROR,
                            "no token could be drawn: the logits are not numbers, or "
                            "constraint, bias and min_tokens leave none");
        return;
    }
    finish = llm_sequence_accept(&r->sequence, d->id);
    if (finish == LLM_STOP) {
        llm__request_finish(e, r, NULL, LLM_STOP, NULL);
        return;
    }
    if (r->what.sampling.logprobs >= 0) {
        token.logprobs = d->logprobs;
        token.logprob_count = 1 + r->what.sampling.logprobs;
        if (token.logprob_count > d->logprob_count)
            token.logprob_count = d->logprob_count;
    }
    if (!r->times->first) {
        r->times->first = now;
        r->times->cached = r->sequence.cached > 0 ? r->sequence.cached : 0;
    }
    r->times->last = now;
    e->generated_tokens++;
    if (c->ctx)
        c->accept(c->ctx, d->id);
    if (finish != LLM_RUNNING) {
        llm__request_finish(e, r, &token, finish, NULL);
        return;
    }
    r->what.tokens(r->what.ctx, &token, 1, LLM_RUNNING, NULL);
    e->told = true;
}

static void tell(struct llm_engine *e, const struct llm_chosen *c,
                 const struct llm_drawn *d, int64_t now)
{
    struct llm__request *r = request_of(c);

    tell_prompt(e, r, c, d->prompt);
    if (!c->last)
        return;
    if (c->drawn == 0)
        e->prompt_tokens += (uint64_t)r->sequence.prompt;
    if (!r->sequence.embed) {
        tell_token(e, r, d, now);
        return;
    }
    r->times->first = r->times->last = now;
    if (r->what.embedding)
        r->what.embedding(r->what.ctx, r->embedding, (int)e->config.hidden);
    llm__request_finish(e, r, NULL, LLM_STOP, NULL);
}

static int step_size(int tokens)
{
    int i = 0;

    while (i < LLM_STEP_SIZES - 1 && tokens > LLM_STEP_SIZE(i))
        i++;
    return i;
}

static void count_step(struct llm_engine *e, const struct llm__step *step, int64_t now)
{
    struct llm_schedule_stats s;
    int tokens = 0;

    for (int i = 0; i < step->count; i++)
        tokens += step->chosen[i].count;

    llm_schedule_stats(e->schedule, &s);
    pthread_mutex_lock(&e->stats_lock);
    e->stats.steps++;
    e->stats.step_tokens += (uint64_t)tokens;
    e->stats.step_sizes[step_size(tokens)]++;
    e->stats.busy += now - e->busy_since;
    e->stats.prompt_tokens = e->prompt_tokens;
    e->stats.generated_tokens = e->generated_tokens;
    e->stats.running = s.running;
    e->stats.waiting = s.waiting;
    e->stats.blocks = s.blocks;
    e->stats.blocks_used = s.blocks_used;
    e->stats.preemptions = s.preemptions;
    e->stats.prefix_queries = s.prefix_queries;
    e->stats.prefix_hits = s.prefix_hits;
    pthread_mutex_unlock(&e->stats_lock);
    e->busy_since = now;
}

/* The older of the steps under way is over. */
static struct llm__step *shift(struct llm_engine *e)
{
    struct llm__step *step = &e->steps[e->first];

    e->first = (e->first + 1) % 2;
    e->under_way--;
    return step;
}

static void finish_failed(struct llm_engine *e, const struct rwf_err *err)
{
    struct llm__step *step = shift(e), *next = NULL;

    if (e->under_way > 0) {
        llm_model_finish(e->model, e->drawn, NULL);
        next = shift(e);
    }
    failed(e, step, next, err);
    let_rows_go(step);
    if (next)
        let_rows_go(next);
}

void llm__step_finish(struct llm_engine *e)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct llm__step *step;
    int64_t now;

    if (llm_model_finish(e->model, e->drawn, &err) < 0) {
        finish_failed(e, &err);
        return;
    }
    e->failures = 0;
    now = rwf_clock_mono();
    step = shift(e);
    for (int i = 0; i < step->count; i++)
        if (!request_of(&step->chosen[i])->gone)
            tell(e, &step->chosen[i], &e->drawn[i], now);
    count_step(e, step, now);
    let_rows_go(step);
}
