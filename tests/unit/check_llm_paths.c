/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine on real models of random weights: texts that are computed in pieces, in
 * batches, from the prefix cache, and again after they were put back, are those that
 * come of one request at a time without any of that; the log-probabilities tell that it
 * was for the same reasons.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "llm/engine.h"
#include "llm/random.h"
#include "llm_rig.h"

#define LENGTH 160 /* 10 blocks */
#define TEXTS 18
#define TOKENS 24

static const char shape[] =
    "{\"type\":\"transformer\",\"family\":\"qwen3\",\"layers\":2,\"hidden_size\":128,"
    "\"heads\":4,\"kv_heads\":2,\"head_dim\":32,\"intermediate_size\":256,"
    "\"vocab_size\":320,\"context\":256,\"tie_embeddings\":false}";

struct text {
    int32_t prompt[LENGTH];
    int prompt_count;
    struct llm_sampling sampling;
    int32_t tokens[TOKENS];
    float logprobs[TOKENS];
    int count;
    float prompt_logprobs[LENGTH];
    int prompt_logprob_count;
    float *embedding; /* [128], or NULL: tokens */
    atomic_int finish;
};

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

/* Prompts of many lengths; in pairs they are one beginning of the same text. */
static void make_text(struct text *t, int number)
{
    uint32_t state = (uint32_t)(number / 6) + 1;

    memset(t, 0, sizeof(*t));
    t->prompt_count = 1 + (number * 29 + 40) % (LENGTH - TOKENS);
    for (int i = 0; i < t->prompt_count; i++)
        t->prompt[i] = (int32_t)(next_random(&state) % 300);
    t->sampling = (struct llm_sampling){
        .temperature = number % 3 == 1 ? 0.8 : 0,
        .top_p = number % 3 == 1 ? 0.95 : 1,
        .repetition = number % 5 == 2 ? 1.3 : 1,
        .seed = (uint64_t)number,
        .max_tokens = TOKENS,
        .ignore_end = true,
        .logprobs = 0,
        .prompt_logprobs = number % 7 == 3 ? 0 : -1,
    };
    if (number % 9 == 8)
        t->embedding = rwf_xcalloc(128, sizeof(*t->embedding));
}

/* --- callbacks --- */

static void on_tokens(void *ctx, const struct llm_token *tokens, int count,
                      enum llm_finish finish, const char *reason)
{
    struct text *t = ctx;

    (void)reason;
    for (int i = 0; i < count; i++) {
        rwf_assert(t->count < TOKENS && tokens[i].logprob_count == 1);
        t->tokens[t->count] = tokens[i].id;
        t->logprobs[t->count++] = tokens[i].logprobs[0].logprob;
    }
    atomic_store(&t->finish, finish);
}

static void on_prompt(void *ctx, const struct llm_logprob *l, int each, int count)
{
    struct text *t = ctx;

    for (int i = 0; i < count; i++) {
        rwf_assert(l[i * each].id == t->prompt[t->prompt_logprob_count + 1]);
        t->prompt_logprobs[t->prompt_logprob_count++] = l[i * each].logprob;
    }
}

static void on_embedding(void *ctx, const float *e, int width)
{
    struct text *t = ctx;

    rwf_assert(width == 128);
    memcpy(t->embedding, e, 128 * sizeof(*e));
}

/* --- both paths --- */

struct path {
    struct device device;
    struct llm_engine *engine;
};

static void open_path(struct path *p, const char *folder, int blocks, int max_tokens,
                      int max_sequences, bool no_prefix_cache)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct llm_config config;
    struct llm_engine_options o = {.no_prefix_cache = no_prefix_cache};

    ck_assert_msg(device_open(&p->device, "cpu", 0, 2, &err) == 0, "%s", err.text);
    ck_assert_msg(llm_config_read(folder, &config, &err) == 0, "%s", err.text);
    o.model = (struct llm_model_options){
        .device = &p->device,
        .type = KERNEL_F32,
        .max_tokens = max_tokens,
        .max_sequences = max_sequences,
        .max_length = LENGTH,
        .cache_bytes = (int64_t)blocks * config.layers * 2 * config.kv_heads *
                       KERNEL_BLOCK * config.size * 4,
    };
    p->engine = llm_engine_create(folder, &config, &o, &err);
    ck_assert_msg(p->engine != NULL, "%s", err.text);
    ck_assert_int_eq(llm_model_blocks(llm_engine_model(p->engine)), blocks);
}

static void close_path(struct path *p)
{
    llm_engine_destroy(p->engine);
    device_close(&p->device);
}

static void submit(struct path *p, struct text *t)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct llm_submit s = {
        .prompt = t->prompt,
        .prompt_count = t->prompt_count,
        .sampling = t->sampling,
        .embed = t->embedding != NULL,
        .tokens = on_tokens,
        .prompt_logprobs = on_prompt,
        .embedding = on_embedding,
        .ctx = t,
    };

    ck_assert_msg(llm_engine_submit(p->engine, &s, NULL, &err) != NULL, "%s", err.text);
}

static void wait_for(struct text *t)
{
    while (atomic_load(&t->finish) == LLM_RUNNING)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    ck_assert_int_eq(atomic_load(&t->finish), t->embedding ? LLM_STOP : LLM_LENGTH);
}

static bool near(float a, float b)
{
    return fabsf(a - b) <= 1e-4f * fmaxf(1, fabsf(b));
}

static void compare(const struct text *got, const struct text *plain, int number)
{
    ck_assert_int_eq(got->count, plain->count);
    for (int i = 0; i < got->count; i++)
        ck_assert_msg(got->tokens[i] == plain->tokens[i] &&
                          near(got->logprobs[i], plain->logprobs[i]),
                      "text %d, token %d: %d (%g) instead of %d (%g)", number, i,
                      (int)got->tokens[i], (double)got->logprobs[i],
                      (int)plain->tokens[i], (double)plain->logprobs[i]);
    ck_assert_int_eq(got->prompt_logprob_count, plain->prompt_logprob_count);
    for (int i = 0; i < got->prompt_logprob_count; i++)
        ck_assert_msg(near(got->prompt_logprobs[i], plain->prompt_logprobs[i]),
                      "text %d, prompt token %d: %g instead of %g", number, i + 1,
                      (double)got->prompt_logprobs[i],
                      (double)plain->prompt_logprobs[i]);
    for (int i = 0; got->embedding && i < 128; i++)
        ck_assert(near(got->embedding[i], plain->embedding[i]));
}

static void run_all(struct path *p, struct text *texts, bool one_by_one)
{
    for (int i = 0; i < TEXTS; i++) {
        make_text(&texts[i], i);
        submit(p, &texts[i]);
        if (one_by_one)
            wait_for(&texts[i]);
    }
    for (int i = 0; i < TEXTS; i++)
        wait_for(&texts[i]);
}

static void free_texts(struct text *texts)
{
    for (int i = 0; i < TEXTS; i++)
        free(texts[i].embedding);
}

static const struct {
    int blocks, max_tokens, max_sequences;
    bool no_prefix_cache, awq;
} mixes[] = {
    {13, 24, 6, false, false},   {200, 16, 4, false, false}, {12, 7, 6, true, false},
    {40, 512, 18, false, false}, {14, 33, 5, false, true},
};

START_TEST(mixed_texts_are_those_of_the_plain_path)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct text plain[TEXTS], mixed[TEXTS];
    char *folder = llm_rig_folder();
    struct llm_random random = {.model = json_loads(shape, 0, NULL), .seed = 1};
    struct llm_stats s;
    struct path p;

    random.awq = mixes[_i].awq;
    random.group = 32;
    ck_assert_msg(llm_random_model(folder, &random, &err) == 0, "%s", err.text);
    open_path(&p, folder, 20, LENGTH, 1, true);
    run_all(&p, plain, true);
    close_path(&p);
    open_path(&p, folder, mixes[_i].blocks, mixes[_i].max_tokens,
              mixes[_i].max_sequences, mixes[_i].no_prefix_cache);
    run_all(&p, mixed, false);
    for (int i = 0; i < TEXTS; i++)
        compare(&mixed[i], &plain[i], i);
    llm_engine_stats(p.engine, &s);
    ck_assert_int_eq(s.prefix_hits > 0, !mixes[_i].no_prefix_cache);
    if (mixes[_i].blocks < 20)
        ck_assert_uint_gt(s.preemptions, 0);
    close_path(&p);
    free_texts(plain);
    free_texts(mixed);
    json_decref((json_t *)random.model);
    llm_rig_remove(folder);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("llm_paths");
    TCase *t = tcase_create("paths");
    SRunner *r;
    int failed;

    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, mixed_texts_are_those_of_the_plain_path, 0,
                        (int)RWF_COUNT(mixes));
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
