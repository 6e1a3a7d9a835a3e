/* SPDX-License-Identifier: Apache-2.0
 *
 * The model of inference alone, without engine and server, and the folders to measure
 * with:
 *
 *   llm random FOLDER PRESET|JSON [awq] [empty] [seed=N]
 *       a random model: "qwen3-0.6b", or `model` of a recipe's train entry as JSON
 *   llm quantize FROM TO [group=N]
 *       to AWQ
 *   llm step FOLDER [device=cpu|cuda] [type=bf16|f32] [threads=N] [dummy] [eager] [apart]
 *       [prompt=N] [batch=N] [steps=N] [tokens=N] [length=N]
 *   llm compare FOLDER [device=cuda] [prompt=N]
 *
 * apart: never all layers as one kernel.
 * step prints how fast it loads, one prefill of `prompt` tokens in steps of at most
 * `tokens`, and `steps` decode steps of `batch` sequences behind it, one begun while
 * the other runs; bytes are those of the weights that a step reads, with the cache.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "llm/memory.h"
#include "llm/quantize.h"
#include "llm/random.h"

static int words;
static char **word;

static bool flag(const char *name)
{
    for (int i = 0; i < words; i++)
        if (strcmp(word[i], name) == 0)
            return true;
    return false;
}

static const char *text(const char *name, const char *fallback)
{
    size_t len = strlen(name);
    for (int i = 0; i < words; i++)
        if (strncmp(word[i], name, len) == 0 && word[i][len] == '=')
            return word[i] + len + 1;
    return fallback;
}

static int number(const char *name, int fallback)
{
    const char *t = text(name, NULL);
    return t != NULL ? atoi(t) : fallback;
}

static int fail(const struct rwf_err *err)
{
    fprintf(stderr, "llm: %s\n", err->text);
    return 1;
}

static double seconds(int64_t since)
{
    return (double)(rwf_clock_mono() - since) / (double)RWF_NS_PER_S;
}

static int make_random(const char *folder, const char *model)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *m = model[0] == '{'
                    ? json_loads(model, 0, NULL)
                    : json_pack("{s:s, s:s}", "type", "transformer", "preset", model);
    const struct llm_random o = {.model = m,
                                 .awq = flag("awq"),
                                 .empty = flag("empty"),
                                 .seed = (uint64_t)number("seed", 1),
                                 .group = number("group", 0)};
    int64_t start = rwf_clock_mono();
    int rc = llm_random_model(folder, &o, &err);
    json_decref(m);
    if (rc == 0)
        printf("%s: %.2f s\n", folder, seconds(start));
    return rc == 0 ? 0 : fail(&err);
}

static int quantize(const char *from, const char *to)
{
    struct rwf_err err = RWF_ERR_INIT;
    const struct llm_quantize q = {.from = from, .to = to, .group = number("group", 0)};
    int64_t start = rwf_clock_mono();
    if (llm_quantize(&q, &err) != 0)
        return fail(&err);
    printf("%s: %.2f s\n", to, seconds(start));
    return 0;
}

/* --- steps --- */

struct bench {
    struct device device;
    struct llm_config config;
    struct llm_model_options o;
    struct llm_model *m;
    int prompt, batch, steps;
    int32_t *ids, *blocks; /* [batch, stride] */
    int stride;
    double weights; /* bytes that each step reads */
};

static int64_t bytes_of(const struct bench *b, const char *prefix)
{
    json_t *rows = llm_model_memory(b->m), *row;
    int64_t sum = 0;
    size_t i;
    json_array_foreach(rows, i, row)
        if (rwf_starts_with(json_string_value(json_object_get(row, "name")), prefix))
            sum += json_integer_value(json_object_get(row, "bytes"));
    json_decref(rows);
    return sum;
}

static int open_bench(struct bench *b, const char *folder, struct rwf_err *err)
{
    if (device_open(&b->device, text("device", "cpu"), 0, number("threads", 0), err) !=
            0 ||
        llm_config_read(folder, &b->config, err) != 0)
        return -1;
    b->prompt = number("prompt", 128);
    b->batch = number("batch", 1);
    b->steps = number("steps", 32);
    int length = b->prompt + b->steps + 1;
    b->stride = (length + KERNEL_BLOCK - 1) / KERNEL_BLOCK;
    b->o = (struct llm_model_options){
        .device = &b->device,
        .type = strcmp(text("type", "bf16"), "f32") == 0 ? KERNEL_F32 : KERNEL_BF16,
        .max_tokens = number("tokens", 2048),
        .max_sequences = b->batch,
        .max_length = number("length", length),
        .dummy = flag("dummy"),
        .eager = flag("eager"),
        .apart = flag("apart"),
    };
    int64_t block = (int64_t)2 * b->config.layers * b->config.kv_heads *
                    b->config.size * KERNEL_BLOCK * (int64_t)kernel_size(b->o.type);
    b->o.cache_bytes = block * (b->stride * b->batch + 1);
    size_t before = b->device.info.free;
    int64_t start = rwf_clock_mono();
    b->m = llm_model_open(folder, &b->config, &b->o, err);
    if (b->m == NULL)
        return -1;
    double took = seconds(start);
    int64_t planned = bytes_of(b, "");
    b->device.k->info(b->device.c, &b->device.info);
    printf("memory: %.3f GB planned, %.3f GB less free\n", (double)planned / 1e9,
           (double)(before - b->device.info.free) / 1e9);
    double loaded = (double)bytes_of(b, "weights");
    b->weights =
        loaded - (b->config.tied ? 0 : (double)bytes_of(b, "weights: embedding"));
    printf("%s: loaded %.3f GB in %.2f s: %.2f GB/s\n", b->device.info.name,
           loaded / 1e9, took, loaded / 1e9 / took);
    return 0;
}

static struct llm_row row_of(const struct bench *b, int i, int first, int count)
{
    return (struct llm_row){.ids = b->ids + first,
                            .count = count,
                            .context = first,
                            .blocks = b->blocks + i * b->stride,
                            .top_p = 1,
                            .logprobs = -1,
                            .wanted = first + count == b->prompt};
}

/* Reads the prompt of sequence i; its successor is drawn. */
static int prefill(struct bench *b, int i, struct rwf_err *err)
{
    struct llm_drawn drawn;
    for (int first = 0; first < b->prompt; first += b->o.max_tokens) {
        int left = b->prompt - first;
        struct llm_row row =
            row_of(b, i, first, left < b->o.max_tokens ? left : b->o.max_tokens);
        if (llm_model_step(b->m, &row, 1, &drawn, err) != 0)
            return -1;
    }
    return 0;
}

static int decode(struct bench *b, int steps, int context, struct rwf_err *err)
{
    struct llm_row *rows = rwf_xcalloc((size_t)b->batch, sizeof(*rows));
    struct llm_drawn *drawn = rwf_xcalloc((size_t)b->batch, sizeof(*drawn));
    int rc = 0;
    for (int s = 0; s <= steps && rc == 0; s++) {
        for (int i = 0; i < b->batch; i++)
            rows[i] = (struct llm_row){.ids = s == 0 ? b->ids + i : NULL,
                                       .count = 1,
                                       .from = i,
                                       .context = context + s,
                                       .blocks = b->blocks + i * b->stride,
                                       .wanted = true,
                                       .top_p = 1,
                                       .logprobs = -1};
        if (s < steps)
            rc = llm_model_begin(b->m, rows, b->batch, err);
        if (s > 0 && rc == 0)
            rc = llm_model_finish(b->m, drawn, err);
    }
    free(rows);
    free(drawn);
    return rc;
}

static void report(const struct bench *b, double prefilled, double decoded)
{
    double step = decoded / b->steps, context = b->prompt + b->steps / 2.0;
    double cache =
        context * b->batch *
        (double)(2 * b->config.layers * b->config.kv_heads * b->config.size) *
        (double)kernel_size(b->o.type);
    printf("prefill %d tokens: %.4f s, %.0f tokens/s\n", b->prompt, prefilled,
           b->prompt / prefilled);
    printf("decode batch %d: %.3f ms a step, %.1f tokens/s, %.1f GB/s\n", b->batch,
           step * 1e3, b->batch / step, (b->weights + cache) / step / 1e9);
}

static int run(struct bench *b, struct rwf_err *err)
{
    b->ids = rwf_xcalloc((size_t)(b->prompt + b->batch), sizeof(*b->ids));
    b->blocks = rwf_xcalloc((size_t)(b->batch * b->stride), sizeof(*b->blocks));
    for (int i = 0; i < b->prompt + b->batch; i++)
        b->ids[i] = (int32_t)((int64_t)i * 7919 % b->config.vocab);
    for (int i = 0; i < b->batch * b->stride; i++)
        b->blocks[i] = i;
    /* Warm: on a GPU until it has chosen how to do large products. */
    for (int i = 0; i < (b->device.k->record != NULL ? 5 : 1); i++)
        if (prefill(b, 0, err) != 0)
            return -1;
    int64_t start = rwf_clock_mono();
    if (prefill(b, 0, err) != 0)
        return -1;
    double prefilled = seconds(start);
    for (int i = 1; i < b->batch; i++)
        if (prefill(b, i, err) != 0)
            return -1;
    if (decode(b, b->steps < 4 ? b->steps : 4, b->prompt, err) != 0)
        return -1;
    start = rwf_clock_mono();
    if (decode(b, b->steps, b->prompt, err) != 0)
        return -1;
    report(b, prefilled, seconds(start));
    return 0;
}

static void close_bench(struct bench *b)
{
    free(b->ids);
    free(b->blocks);
    llm_model_close(b->m);
    device_close(&b->device);
}

static int step(const char *folder)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct bench b = {0};
    int rc = open_bench(&b, folder, &err);
    if (rc == 0)
        rc = run(&b, &err);
    close_bench(&b);
    return rc == 0 ? 0 : fail(&err);
}

/* --- comparing --- */

/* The state after the prompt, which goes in chunks of so many tokens, beside copies - 1
 * others. */
static int state_of(struct bench *b, int chunk, int copies, float *state,
                    struct rwf_err *err)
{
    struct llm_row rows[8];
    struct llm_drawn drawn[8];
    for (int at = 0; at < b->prompt; at += chunk) {
        int n = b->prompt - at < chunk ? b->prompt - at : chunk;
        for (int i = 0; i < copies; i++) {
            rows[i] = row_of(b, i, at, n);
            if (at + n == b->prompt && i + 1 == copies)
                rows[i].embedding = state;
        }
        if (llm_model_step(b->m, rows, copies, drawn, err) != 0)
            return -1;
    }
    return 0;
}

static int open_compared(struct bench *b, const char *folder, const char *device,
                         enum kernel_type type, struct rwf_err *err)
{
    memset(b, 0, sizeof(*b));
    if (device_open(&b->device, device, 0, number("threads", 0), err) != 0 ||
        llm_config_read(folder, &b->config, err) != 0)
        return -1;
    b->prompt = number("prompt", 100);
    b->stride = (b->prompt + KERNEL_BLOCK) / KERNEL_BLOCK;
    b->o = (struct llm_model_options){.device = &b->device,
                                      .type = type,
                                      .max_tokens = 8 * b->prompt,
                                      .max_sequences = 8,
                                      .max_length = b->prompt};
    b->o.cache_bytes = (int64_t)2 * b->config.layers * b->config.kv_heads *
                       b->config.size * KERNEL_BLOCK * (int64_t)kernel_size(type) *
                       (b->stride * 8 + 1);
    b->ids = rwf_xcalloc((size_t)b->prompt, sizeof(*b->ids));
    b->blocks = rwf_xcalloc((size_t)(8 * b->stride), sizeof(*b->blocks));
    for (int i = 0; i < b->prompt; i++)
        b->ids[i] = (int32_t)((int64_t)i * 7919 % b->config.vocab);
    for (int i = 0; i < 8 * b->stride; i++)
        b->blocks[i] = 8 * b->stride - 1 - i;
    b->m = llm_model_open(folder, &b->config, &b->o, err);
    return b->m != NULL ? 0 : -1;
}

static double distance(const float *a, const float *b, int64_t n)
{
    double apart = 0, length = 0;
    for (int64_t i = 0; i < n; i++) {
        apart += pow((double)a[i] - (double)b[i], 2);
        length += pow((double)a[i], 2);
    }
    return sqrt(apart / length);
}

static int compare(const char *folder)
{
    static const struct {
        const char *name;
        int chunk, copies;
    } ways[] = {{"whole", 1 << 20, 1},
                {"chunks of 33", 33, 1},
                {"one by one", 1, 1},
                {"one by one, of 5", 1, 5},
                {"chunks of 17, of 3", 17, 3}};
    struct rwf_err err = RWF_ERR_INIT;
    struct bench b;
    float *want = NULL, *got = NULL;
    int rc = open_compared(&b, folder, "cpu", KERNEL_F32, &err);
    if (rc == 0) {
        want = rwf_xcalloc((size_t)b.config.hidden, sizeof(*want));
        got = rwf_xcalloc((size_t)b.config.hidden, sizeof(*got));
        rc = state_of(&b, 1 << 20, 1, want, &err);
    }
    close_bench(&b);
    if (rc == 0)
        rc = open_compared(&b, folder, text("device", "cuda"), KERNEL_BF16, &err);
    else
        memset(&b, 0, sizeof(b));
    for (size_t i = 0; rc == 0 && i < RWF_COUNT(ways); i++) {
        rc = state_of(&b, ways[i].chunk, ways[i].copies, got, &err);
        if (rc == 0)
            printf("%-20s %.4f\n", ways[i].name, distance(want, got, b.config.hidden));
    }
    close_bench(&b);
    free(want);
    free(got);
    return rc == 0 ? 0 : fail(&err);
}

int main(int argc, char **argv)
{
    rwf_mem_init();
    words = argc;
    word = argv;
    if (argc >= 4 && strcmp(argv[1], "random") == 0)
        return make_random(argv[2], argv[3]);
    if (argc >= 4 && strcmp(argv[1], "quantize") == 0)
        return quantize(argv[2], argv[3]);
    if (argc >= 3 && strcmp(argv[1], "step") == 0)
        return step(argv[2]);
    if (argc >= 3 && strcmp(argv[1], "compare") == 0)
        return compare(argv[2]);
    fprintf(stderr, "usage: see the head of tests/bench/llm.c\n");
    return 2;
}
