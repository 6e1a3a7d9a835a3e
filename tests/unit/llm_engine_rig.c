/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm_engine_rig.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

uint64_t rig_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* --- the engine --- */

struct llm_engine *rig_create(const struct rig_options *o)
{
    struct llm_config config = {
        .vocab = RIG_VOCAB,
        .hidden = RIG_HIDDEN,
        .ends = {RIG_END},
        .end_count = 1,
    };
    struct llm_engine_options options = {
        .model =
            {
                .max_tokens = o->max_tokens,
                .max_sequences = o->max_sequences,
                .max_length = o->max_length,
            },
        .no_prefix_cache = o->no_prefix_cache,
    };
    struct rwf_err err = RWF_ERR_INIT;
    struct llm_engine *e;

    memset(&llm_mock, 0, sizeof(llm_mock));
    llm_mock.blocks = o->blocks;
    e = llm_engine_create("model", &config, &options, &err);
    ck_assert_msg(e != NULL, "%s", err.text);
    return e;
}

void rig_destroy(struct llm_engine *e)
{
    llm_engine_destroy(e);
    ck_assert_msg(atomic_load(&llm_mock.bad) == 0, "%s", llm_mock.what);
    ck_assert_int_eq(atomic_load(&llm_mock.open), 0);
}

struct llm_sampling rig_sampling(void)
{
    return (struct llm_sampling){
        .top_p = 1,
        .repetition = 1,
        .max_tokens = 16,
        .logprobs = -1,
        .prompt_logprobs = -1,
    };
}

/* --- constraints --- */

static bool constraint_mask(void *ctx, uint32_t *mask)
{
    const struct rig_constraint *c = ctx;

    if (c->accepted % 4 == 3)
        return false;
    memset(mask, 0, (RIG_VOCAB + 31) / 32 * sizeof(*mask));
    for (int32_t id = 0; id < RIG_VOCAB; id++)
        if ((id + c->accepted + c->sum) % 3 != 0)
            mask[id / 32] |= UINT32_C(1) << id % 32;
    return true;
}

static void constraint_accept(void *ctx, int32_t id)
{
    struct rig_constraint *c = ctx;

    c->accepted++;
    c->sum = (c->sum + id) % 1000;
}

static void constraint_free(void *ctx)
{
    free(ctx);
}

/* --- requests --- */

/* Called by the engine's thread, where libcheck's own assertions would not be seen. */
static void on_tokens(void *ctx, const struct llm_token *tokens, int count,
                      enum llm_finish finish, const char *reason)
{
    struct rig_request *r = ctx;

    rwf_assert(!r->finished);
    for (int i = 0; i < count; i++) {
        r->logprobs = rwf_xrealloc(r->logprobs, (r->count + 1) * sizeof(*r->logprobs));
        r->logprobs[r->count] =
            tokens[i].logprob_count ? tokens[i].logprobs[0].logprob : 0;
        rwf_assert(tokens[i].logprob_count == r->submit.sampling.logprobs + 1);
        if (tokens[i].logprob_count)
            rwf_assert(tokens[i].logprobs[0].id == tokens[i].id);
        *RWF_PUSH(r->tokens, r->count, r->cap) = tokens[i].id;
    }
    if (r->cancel_at > 0 && (int)r->count >= r->cancel_at)
        llm_engine_cancel(r->engine, r->handle);
    if (finish == LLM_RUNNING) {
        rwf_assert(count > 0);
        return;
    }
    if (reason)
        snprintf(r->reason, sizeof(r->reason), "%s", reason);
    r->finished = true;
    atomic_store(&r->finish, finish);
}

static void on_prompt_logprobs(void *ctx, const struct llm_logprob *l, int each,
                               int count)
{
    struct rig_request *r = ctx;

    rwf_assert(each == 1 + r->submit.sampling.prompt_logprobs);
    rwf_assert(r->count == 0);
    for (int i = 0; i < each * count; i++)
        *RWF_PUSH(r->prompt_logprobs, r->prompt_logprob_count, r->prompt_logprob_cap) =
            l[i];
}

static void on_embedding(void *ctx, const float *e, int width)
{
    struct rig_request *r = ctx;

    rwf_assert(width == RIG_HIDDEN);
    memcpy(r->embedding, e, sizeof(r->embedding));
    r->embedded = true;
}

struct rig_request *rig_request(const int32_t *prompt, int count)
{
    struct rig_request *r = rwf_xcalloc(1, sizeof(*r));

    r->prompt = rwf_xmalloc((size_t)(count + 1) * sizeof(*r->prompt));
    memcpy(r->prompt, prompt, (size_t)count * sizeof(*r->prompt));
    r->submit = (struct llm_submit){
        .prompt = r->prompt,
        .prompt_count = count,
        .sampling = rig_sampling(),
        .tokens = on_tokens,
        .prompt_logprobs = on_prompt_logprobs,
        .embedding = on_embedding,
        .ctx = r,
    };
    return r;
}

struct rig_request *rig_simple(int count, int salt)
{
    int32_t prompt[1024];

    for (int i = 0; i < count; i++)
        prompt[i] = (int32_t)((i * i + salt) % RIG_VOCAB);
    return rig_request(prompt, count);
}

void rig_submit(struct llm_engine *e, struct rig_request *r)
{
    struct rwf_err err = RWF_ERR_INIT;
    bool held = atomic_load(&llm_mock.held);

    r->engine = e;
    if (r->constrained)
        r->submit.constraint = (struct llm_constraint){
            .ctx = rwf_xcalloc(1, sizeof(struct rig_constraint)),
            .mask = constraint_mask,
            .accept = constraint_accept,
            .free = constraint_free,
        };
    /* The callback of a token may come before submit returns: it waits for the handle.
     */
    if (r->cancel_at > 0)
        atomic_store(&llm_mock.held, true);
    r->handle = llm_engine_submit(e, &r->submit, &r->times, &err);
    atomic_store(&llm_mock.held, held);
    ck_assert_msg(r->handle != NULL, "%s", err.text);
}

void rig_cancel(struct rig_request *r)
{
    llm_engine_cancel(r->engine, r->handle);
}

enum llm_finish rig_wait(struct rig_request *r)
{
    struct timespec pause = {.tv_nsec = 50000};

    while (atomic_load(&r->finish) == LLM_RUNNING)
        nanosleep(&pause, NULL);
    return (enum llm_finish)atomic_load(&r->finish);
}

void rig_free(struct rig_request *r)
{
    free(r->prompt);
    free(r->tokens);
    free(r->logprobs);
    free(r->prompt_logprobs);
    free(r);
}

/* --- the plain path --- */

struct plain {
    int32_t ids[4096];
    int count, prompt;
    uint64_t hash;
    struct rig_constraint constraint;
    float logits[RIG_VOCAB];
};

static bool plain_is_end(const struct rig_request *r, int32_t id)
{
    const struct llm_sampling *p = &r->submit.sampling;

    for (int i = 0; i < p->stop_count; i++)
        if (p->stops[i] == id)
            return true;
    return !p->ignore_end && id == RIG_END;
}

static float plain_logit(const struct rig_request *r, const struct plain *t, int32_t id)
{
    const struct llm_sampling *p = &r->submit.sampling;
    float x = llm_mock_logit(t->hash, id);
    double add = 0;
    bool seen = false;
    int drawn = 0;

    for (int i = 0; i < t->count; i++) {
        seen |= t->ids[i] == id;
        drawn += i >= t->prompt && t->ids[i] == id;
    }
    for (int i = 0; i < p->bias_count; i++)
        if (p->bias[i].id == id)
            add += p->bias[i].add;
    if (seen)
        x = x > 0 ? x / (float)p->repetition : x * (float)p->repetition;
    if (drawn)
        add -= p->presence + p->frequency * drawn;
    if (t->count - t->prompt < p->min_tokens && plain_is_end(r, id))
        return -INFINITY;
    return x + (float)add;
}

static int32_t plain_draw(const struct rig_request *r, struct plain *t)
{
    const struct llm_sampling *p = &r->submit.sampling;
    uint32_t mask[(RIG_VOCAB + 31) / 32];
    struct llm_row row = {
        .temperature = (float)p->temperature,
        .top_k = p->top_k,
        .seed = p->seed,
        .step = (uint64_t)(t->count - t->prompt),
    };

    for (int32_t id = 0; id < RIG_VOCAB; id++)
        t->logits[id] = plain_logit(r, t, id);
    if (r->constrained && constraint_mask(&t->constraint, mask))
        row.mask = mask;
    return llm_mock_draw(t->logits, RIG_VOCAB, &row);
}

static void plain_add(struct plain *t, int32_t id)
{
    t->ids[t->count++] = id;
    t->hash = llm_mock_hash(t->hash, id);
}

enum llm_finish rig_plain(const struct rig_request *r, int limit, int32_t *ret,
                          int *ret_count)
{
    struct plain t = {.prompt = r->submit.prompt_count};

    ck_assert_int_le(limit, (int)RWF_COUNT(t.ids));
    *ret_count = 0;
    for (int i = 0; i < r->submit.prompt_count; i++)
        plain_add(&t, r->prompt[i]);
    while (!r->submit.embed) {
        int32_t id = plain_draw(r, &t);

        if (id < 0)
            return LLM_ERROR;
        if (plain_is_end(r, id))
            return LLM_STOP;
        ret[(*ret_count)++] = id;
        plain_add(&t, id);
        constraint_accept(&t.constraint, id);
        if (*ret_count == r->submit.sampling.max_tokens || t.count == limit)
            return LLM_LENGTH;
    }
    return LLM_STOP;
}

static void check_prompt_logprobs(const struct rig_request *r)
{
    int each = 1 + r->submit.sampling.prompt_logprobs;
    uint64_t hash = 0;

    ck_assert_uint_eq(r->prompt_logprob_count,
                      (size_t)(each * (r->submit.prompt_count - 1)));
    for (int i = 1; i < r->submit.prompt_count; i++) {
        const struct llm_logprob *l = &r->prompt_logprobs[(i - 1) * each];

        hash = llm_mock_hash(hash, r->prompt[i - 1]);
        ck_assert_int_eq(l[0].id, r->prompt[i]);
        ck_assert_float_eq(l[0].logprob, llm_mock_logit(hash, r->prompt[i]));
        for (int k = 2; k < each; k++)
            ck_assert_float_ge(l[k - 1].logprob, l[k].logprob);
    }
}

static void check_embedding(const struct rig_request *r)
{
    uint64_t hash = 0;

    for (int i = 0; i < r->submit.prompt_count; i++)
        hash = llm_mock_hash(hash, r->prompt[i]);
    ck_assert(r->embedded);
    for (int i = 0; i < RIG_HIDDEN; i++)
        ck_assert_float_eq(r->embedding[i], llm_mock_embedding(hash, i));
}

void rig_check(const struct rig_request *r, int limit)
{
    enum llm_finish finish = (enum llm_finish)atomic_load(&r->finish);
    int32_t expected[4096];
    int count;
    enum llm_finish plain = rig_plain(r, limit, expected, &count);

    ck_assert_msg(finish == LLM_CANCELLED || finish == plain,
                  "finish %d instead of %d: %s", finish, plain, r->reason);
    ck_assert_int_le((int)r->count, count);
    if (finish != LLM_CANCELLED)
        ck_assert_int_eq((int)r->count, count);
    for (size_t i = 0; i < r->count; i++)
        ck_assert_msg(r->tokens[i] == expected[i], "token %zu is %d instead of %d", i,
                      (int)r->tokens[i], (int)expected[i]);
    if (finish == LLM_CANCELLED)
        return;
    ck_assert_int_eq(r->times.generated, count);
    ck_assert_int_eq(r->times.prompt, r->submit.prompt_count);
    if (r->submit.embed)
        check_embedding(r);
    else if (r->submit.sampling.prompt_logprobs >= 0)
        check_prompt_logprobs(r);
}

void rig_complete(struct llm_engine *e, struct rig_request *r, enum llm_finish finish)
{
    rig_submit(e, r);
    ck_assert_int_eq(rig_wait(r), finish);
    rig_check(r, 200);
    rig_free(r);
}
