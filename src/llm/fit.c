/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/fit.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/units.h"

/* What a step reaches on an H200 (tests/bench/RESULTS.md): shares of the data sheet's
 * bandwidth, and seconds that a layer takes beside what it reads: as a part of one
 * kernel of them all, and kernel by kernel. */
#define REACHED_MEMORY 0.89
#define REACHED_Q4 0.71
#define LAYER_FUSED 6e-6
#define LAYER_APART 33e-6
#define REACHED_HOST 0.8    /* of what reading a processor's memory reached */
#define REACHED_PRODUCT 0.6 /* of the FLOP/s, by a prefill */
#define BATCH 32
#define COMFORT 1.2 /* llmfit's: as much again as a fifth is good */

/* --- devices --- */

static const struct fit_gpu gpus[] = {
    {"H200", (int64_t)140 << 30, 4.8e12, 989e12, true},
    {"H100 NVL", (int64_t)93 << 30, 3.9e12, 835e12, true},
    {"H100 PCIe", (int64_t)79 << 30, 2.0e12, 756e12, true},
    {"H100", (int64_t)79 << 30, 3.35e12, 989e12, true},
    {"B200", (int64_t)178 << 30, 8.0e12, 2250e12, false},
    {"A100-80", (int64_t)79 << 30, 2.04e12, 312e12, false},
    {"A100", (int64_t)39 << 30, 1.56e12, 312e12, false},
    {"L40S", (int64_t)44 << 30, 0.864e12, 362e12, false},
    {"L40", (int64_t)44 << 30, 0.864e12, 181e12, false},
    {"L4", (int64_t)22 << 30, 0.3e12, 121e12, false},
    {"A10", (int64_t)22 << 30, 0.6e12, 125e12, false},
    {"RTX 5090", (int64_t)31 << 30, 1.79e12, 210e12, false},
    {"RTX 4090", (int64_t)23 << 30, 1.01e12, 165e12, false},
    {"RTX 3090 Ti", (int64_t)23 << 30, 1.01e12, 80e12, false},
    {"RTX 3090", (int64_t)23 << 30, 0.94e12, 71e12, false},
    {"RTX 4080", (int64_t)15 << 30, 0.72e12, 97e12, false},
    {"RTX 3060", (int64_t)11 << 30, 0.36e12, 25e12, false},
    {"RTX 6000 Ada", (int64_t)47 << 30, 0.96e12, 182e12, false},
};

/* Letters and digits only, small. */
static void plain(const char *text, char *out, size_t size)
{
    size_t n = 0;

    for (; *text && n + 1 < size; text++)
        if (isalnum((unsigned char)*text))
            out[n++] = (char)tolower((unsigned char)*text);
    out[n] = '\0';
}

const struct fit_gpu *fit_gpu_find(const char *name)
{
    char want[128], have[64];

    plain(name, want, sizeof(want));
    for (size_t i = 0; i < RWF_COUNT(gpus); i++) {
        plain(gpus[i].name, have, sizeof(have));
        if (strstr(want, have) != NULL)
            return &gpus[i];
    }
    return NULL;
}

const struct fit_gpu *fit_gpus(size_t *ret_count)
{
    *ret_count = RWF_COUNT(gpus);
    return gpus;
}

/* --- speed --- */

#define READ_BYTES ((size_t)128 << 20)

struct reading {
    const uint64_t *words;
    size_t count;
    uint64_t sum;
};

static void *read_words(void *ctx)
{
    struct reading *r = ctx;
    uint64_t sums[8] = {0};

    for (size_t i = 0; i + 8 <= r->count; i += 8)
        for (int k = 0; k < 8; k++)
            sums[k] += r->words[i + k];
    for (int k = 0; k < 8; k++)
        r->sum += sums[k];
    return NULL;
}

double fit_host_bandwidth(void)
{
    uint64_t *words = rwf_alloc(READ_BYTES, NULL);
    size_t half = READ_BYTES / sizeof(*words) / 2;
    double best = 0;

    if (words == NULL)
        return 0;
    memset(words, 1, READ_BYTES);
    for (int i = 0; i < 3; i++) {
        struct reading r[2] = {{words, half, 0}, {words + half, half, 0}};
        pthread_t other;
        int64_t began = rwf_clock_mono();
        bool both = pthread_create(&other, NULL, read_words, &r[1]) == 0;
        read_words(&r[0]);
        if (both)
            pthread_join(other, NULL);
        double seconds = (double)(rwf_clock_mono() - began) / (double)RWF_NS_PER_S;
        double rate = (double)READ_BYTES / (both ? 1 : 2) / seconds;
        best = rate > best && r[0].sum != 0 ? rate : best;
    }
    free(words);
    return best;
}

static double linear_parameters(const struct llm_config *c)
{
    double q = (double)c->heads * c->size, kv = (double)c->kv_heads * c->size;
    double h = (double)c->hidden;

    return c->layers * (h * (q + 2 * kv) + q * h + 3 * h * (double)c->inner) +
           h * (double)c->vocab;
}

static int64_t cache_of_token(const struct fit_ask *a)
{
    const struct llm_config *c = a->ask.config;

    return (int64_t)2 * c->layers * c->kv_heads * c->size *
           (int64_t)kernel_size(a->ask.options.type);
}

/* Weights that a step reads: all but the rows of the embedding. */
static int64_t weights_read(const struct fit_ask *a, const struct llm_memory *m)
{
    int64_t bytes = 0;

    for (int i = 0; i < m->count; i++)
        if (strncmp(m->rows[i].name, "weights", 7) == 0 &&
            (strstr(m->rows[i].name, "embedding") == NULL || a->ask.config->tied))
            bytes += m->rows[i].bytes;
    return bytes;
}

/* Seconds of a step's layers beside what they read. */
static double layers_take(const struct fit_ask *a, int batch)
{
    if (a->ask.host)
        return 0;

    const struct llm_model_options *o = &a->ask.options;
    const struct fit_gpu *g = fit_gpu_find(a->ask.device);
    bool fused =
        g != NULL && g->fused && batch <= LLM_FUSED_MAX && !o->eager && !o->apart;

    return a->ask.config->layers * (fused ? LAYER_FUSED : LAYER_APART);
}

static double step_rate(const struct fit_ask *a, const struct fit *f, int batch)
{
    double context = f->max_length < 2048 ? f->max_length : 2048;
    double cache = batch * context / 2 * (double)cache_of_token(a);
    double reached = a->ask.host ? REACHED_HOST : REACHED_MEMORY;
    double weights = !a->ask.host && a->ask.config->bits > 0 ? REACHED_Q4 : reached;
    double memory = ((double)f->weights / weights + cache / reached) / a->bandwidth;
    double product =
        2 * linear_parameters(a->ask.config) * batch / (a->flops * REACHED_PRODUCT);

    return batch / ((memory > product ? memory : product) + layers_take(a, batch));
}

static void speeds(const struct fit_ask *a, struct fit *f)
{
    if (a->bandwidth <= 0 || a->flops <= 0)
        return;
    int64_t room = f->memory.tokens / (f->max_length < 2048 ? f->max_length : 2048);

    f->batch =
        a->ask.options.max_sequences < BATCH ? a->ask.options.max_sequences : BATCH;
    if (room < f->batch)
        f->batch = room > 1 ? (int)room : 1;
    f->one = step_rate(a, f, 1);
    f->many = step_rate(a, f, f->batch);
    f->prefill = a->flops * REACHED_PRODUCT / (2 * linear_parameters(a->ask.config));
}

/* --- fitting --- */

static enum fit_status status_of(const struct fit *f)
{
    const struct llm_memory *m = &f->memory;
    int64_t fixed = m->bytes - (int64_t)m->blocks * m->block;
    int64_t need =
        fixed + (int64_t)(f->max_length + KERNEL_BLOCK - 1) / KERNEL_BLOCK * m->block;

    if (m->longest < f->max_length)
        return FIT_TOO_TIGHT;
    return m->tokens >= (int64_t)4 * f->max_length       ? FIT_PERFECT
           : (double)m->budget >= COMFORT * (double)need ? FIT_GOOD
                                                         : FIT_MARGINAL;
}

int fit_model(const struct fit_ask *a, struct fit *ret, struct rwf_err *err)
{
    struct llm_memory_ask ask = a->ask;
    struct rwf_err why = RWF_ERR_INIT;

    *ret = (struct fit){.max_length = ask.options.max_length};
    if (llm_memory_plan(&ask, &ret->memory, &why) != 0) {
        if (why.code != RWF_E_FIT)
            return rwf_fail(err, why.code, "%s", why.text);
        if (a->find && ret->memory.longest >= KERNEL_BLOCK) {
            ask.options.max_length = ret->max_length = ret->memory.longest;
            memset(&ret->memory, 0, sizeof(ret->memory));
            if (llm_memory_plan(&ask, &ret->memory, err) != 0)
                return -1;
        } else {
            snprintf(ret->why, sizeof(ret->why), "%.500s", why.text);
        }
    }
    ret->status = status_of(ret);
    ret->weights = weights_read(a, &ret->memory);
    if (ret->status != FIT_TOO_TIGHT)
        speeds(a, ret);
    return 0;
}

/* --- telling --- */

const char *fit_status_name(enum fit_status s)
{
    static const char *const names[] = {"Perfect", "Good", "Marginal", "Too Tight"};

    return names[s];
}

static void add_speeds(const struct fit *f, struct rwf_str *out)
{
    if (f->one <= 0)
        return;
    rwf_str_addf(out, "\n%-34s %10.0f tokens/s\n", "expected, one request", f->one);
    if (f->batch > 1)
        rwf_str_addf(out, "expected, %3d requests at once      %10.0f tokens/s\n",
                     f->batch, f->many);
    rwf_str_addf(out, "%-34s %10.0f tokens/s\n", "expected, prompts", f->prefill);
}

void fit_text(const struct fit_ask *a, const struct fit *f, struct rwf_str *out)
{
    char size[RWF_UNITS_LEN], more[RWF_UNITS_LEN];
    const struct llm_memory *m = &f->memory;

    rwf_str_addf(out, "%s on %s: %s\n\n", a->model, a->ask.device,
                 fit_status_name(f->status));
    for (int i = 0; i < m->count; i++)
        rwf_str_addf(out, "%-34s %14s\n", m->rows[i].name,
                     rwf_size_format(m->rows[i].bytes, size));
    rwf_str_addf(out, "%-34s %14s of %s (%.0f%%)\n", "all of it",
                 rwf_size_format(m->bytes, size), rwf_size_format(m->budget, more),
                 m->budget > 0 ? 100.0 * (double)m->bytes / (double)m->budget : 0);
    rwf_str_addf(out, "\n%-34s %10lld tokens\n", "KV cache", (long long)m->tokens);
    rwf_str_addf(out, "%-34s %10d tokens\n", "max_model_len", f->max_length);
    rwf_str_addf(out, "%-34s %10.2f\n", "requests of that length at once",
                 (double)m->tokens / f->max_length);
    add_speeds(f, out);
    if (f->why[0] != '\0')
        rwf_str_addf(out, "\n%s\n", f->why);
}

json_t *fit_json(const struct fit_ask *a, const struct fit *f)
{
    json_t *out = json_pack(
        "{s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:i, s:i, s:b}", "model", a->model,
        "device", a->ask.device, "status", fit_status_name(f->status), "memory",
        llm_memory_json(&f->memory), "bytes", (json_int_t)f->memory.bytes, "budget",
        (json_int_t)f->memory.budget, "kv_tokens", (json_int_t)f->memory.tokens,
        "max_model_len", f->max_length, "longest", f->memory.longest, "fits",
        f->status != FIT_TOO_TIGHT);

    if (f->one > 0)
        json_object_set_new(out, "tokens_per_second",
                            json_pack("{s:f, s:i, s:f, s:f}", "one_request", f->one,
                                      "batch", f->batch, "all_requests", f->many,
                                      "prompts", f->prefill));
    if (f->why[0] != '\0')
        json_object_set_new(out, "why", json_string(f->why));
    return out;
}
