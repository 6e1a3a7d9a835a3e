/* SPDX-License-Identifier: Apache-2.0
 *
 * What the engine's own work costs per step: the model below does nothing but give
 * tokens, so all time is the host's: schedule, rows, telling. Prints processor time of
 * the engine's thread per step.
 *
 *     make tests/bench/llm_engine && tests/bench/llm_engine [ROUNDS]
 */
#include "config.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "llm/engine.h"

#define VOCAB 151936

/* --- a model that takes no time --- */

struct llm_model {
    int blocks, counts[2], under_way;
    bool wanted[2][1024];
    int32_t next;
    long steps, tokens;
    int64_t first,
        last; /* processor time of the thread at the first step, the last one */
};

static struct llm_model model;

static int64_t processor_time(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct llm_model *llm_model_open(const char *folder, const struct llm_config *config,
                                 const struct llm_model_options *o, struct rwf_err *err)
{
    (void)folder, (void)config, (void)o, (void)err;
    return &model;
}

void llm_model_close(struct llm_model *m)
{
    (void)m;
}

int llm_model_blocks(const struct llm_model *m)
{
    return m->blocks;
}

json_t *llm_model_memory(const struct llm_model *m)
{
    (void)m;
    return json_array();
}

int llm_model_begin(struct llm_model *m, const struct llm_row *rows, int count,
                    struct rwf_err *err)
{
    (void)err;
    m->last = processor_time();
    if (m->steps++ == 0)
        m->first = m->last;
    for (int i = 0; i < count; i++) {
        m->wanted[m->under_way][i] = rows[i].wanted;
        m->tokens += rows[i].count;
    }
    m->counts[m->under_way++] = count;
    return 0;
}

int llm_model_finish(struct llm_model *m, struct llm_drawn *ret, struct rwf_err *err)
{
    (void)err;
    for (int i = 0; i < m->counts[0]; i++) {
        m->next = (m->next + 7919) % (VOCAB - 1);
        ret[i] = (struct llm_drawn){.id = m->wanted[0][i] ? m->next : -1};
    }
    m->counts[0] = m->counts[1];
    memcpy(m->wanted[0], m->wanted[1], sizeof(m->wanted[0]));
    m->under_way--;
    return 0;
}

/* --- the loads --- */

struct load {
    const char *name;
    int requests, sequences, prompt, answer;
    bool shared;       /* all prompts are one */
    double repetition; /* 1: none */
    int max_tokens;
};

static atomic_int left;

static void on_tokens(void *ctx, const struct llm_token *tokens, int count,
                      enum llm_finish finish, const char *reason)
{
    (void)ctx, (void)tokens, (void)count, (void)reason;
    if (finish != LLM_RUNNING)
        atomic_fetch_sub(&left, 1);
}

static void submit(struct llm_engine *e, const struct load *l, int number,
                   struct llm_times *times)
{
    int32_t *prompt = rwf_xmalloc((size_t)l->prompt * sizeof(*prompt));
    struct rwf_err err = RWF_ERR_INIT;
    struct llm_submit s = {
        .prompt = prompt,
        .prompt_count = l->prompt,
        .sampling = {.temperature = 0.6,
                     .top_p = 0.95,
                     .top_k = 20,
                     .repetition = l->repetition,
                     .max_tokens = l->answer,
                     .logprobs = -1,
                     .prompt_logprobs = -1},
        .tokens = on_tokens,
    };

    for (int i = 0; i < l->prompt; i++)
        prompt[i] = (int32_t)(((l->shared ? 0 : number * 131071) + i * 17) % VOCAB);
    if (!llm_engine_submit(e, &s, times, &err)) {
        fprintf(stderr, "llm_engine: %s\n", err.text);
        exit(1);
    }
    free(prompt);
}

static struct llm_engine *start(const struct load *l)
{
    struct llm_config config = {
        .vocab = VOCAB, .hidden = 8, .ends = {VOCAB - 1}, .end_count = 1};
    struct llm_engine_options o = {.model = {.max_tokens = l->max_tokens,
                                             .max_sequences = l->sequences,
                                             .max_length = 8192}};
    struct rwf_err err = RWF_ERR_INIT;
    struct llm_engine *e;

    memset(&model, 0, sizeof(model));
    model.blocks = 40000;
    e = llm_engine_create("", &config, &o, &err);
    if (!e) {
        fprintf(stderr, "llm_engine: %s\n", err.text);
        exit(1);
    }
    return e;
}

static void wait_all(void)
{
    while (atomic_load(&left) > 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void measure(const struct load *l)
{
    struct llm_engine *e = start(l);
    double us;

    atomic_store(&left, l->requests);
    for (int i = 0; i < l->requests; i++)
        submit(e, l, i, NULL);
    wait_all();
    llm_engine_destroy(e);
    us = (double)(model.last - model.first) / 1e3 / (double)(model.steps - 1);
    printf("%-46s %7ld steps %8.1f us/step %6.0f ns/token computed\n", l->name,
           model.steps, us, us * 1e3 * (double)model.steps / (double)model.tokens);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void measure_wake(void)
{
    static const struct load one = {"", 1, 1, 100, 1, false, 1, 8192};
    struct llm_engine *e = start(&one);
    int64_t waits[1000];

    for (int i = 0; i < 1000; i++) {
        struct llm_times t;

        atomic_store(&left, 1);
        submit(e, &one, i, &t);
        wait_all();
        waits[i] = t.scheduled - t.arrived;
    }
    llm_engine_destroy(e);
    qsort(waits, 1000, sizeof(waits[0]), by_size);
    printf(
        "from submit to the first step, engine asleep: median %.0f us, 99 %% %.0f us\n",
        (double)waits[500] / 1e3, (double)waits[990] / 1e3);
}

int main(int argc, char **argv)
{
    static const struct load loads[] = {
        {"1 sequence, 32/2000", 1, 1, 32, 2000, false, 1, 8192},
        {"256 sequences, 32/1000", 256, 256, 32, 1000, false, 1, 8192},
        {"256 sequences, 2000/1000", 256, 256, 2000, 1000, false, 1, 8192},
        {"the same, repetition penalty", 256, 256, 2000, 1000, false, 1.1, 8192},
        {"1,000 requests, 1000/200, 256 at once", 1000, 256, 1000, 200, false, 1, 8192},
        {"the same, one prompt", 1000, 256, 1000, 200, true, 1, 8192},
        {"100 requests, 8000/16, prompts in pieces of 512", 100, 32, 8000, 16, false, 1,
         512},
    };
    int rounds = argc > 1 ? atoi(argv[1]) : 1;

    for (int r = 0; r < rounds; r++) {
        for (size_t i = 0; i < RWF_COUNT(loads); i++)
            measure(&loads[i]);
        measure_wake();
    }
    return 0;
}
