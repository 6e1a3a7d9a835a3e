/* SPDX-License-Identifier: Apache-2.0
 *
 * Data and job files of train.sh (an MLP 784-128-10 on 60,000 random rows) and train_gpu.sh
 * (GPT-2 124M on random tokens).
 *
 *   train data FOLDER                    makes FOLDER/data
 *   train job FOLDER NAME BATCH STEPS    FOLDER/NAME/job.json
 *   train tokens FOLDER                  makes FOLDER/data
 *   train gpt2 FOLDER NAME BATCH STEPS MICRO SHARD SAVE_EVERY
 *   train peak                           GFLOP/s of fused multiply-adds, one core
 */
#include "config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"

enum { ROWS = 60000, FEATURES = 784, CLASSES = 10 };
enum { TOKENS = 20000000, VOCAB = 50257, LENGTH = 1024 };

static int fail(const struct rwf_err *err)
{
    fprintf(stderr, "train: %s\n", err->text);
    return 1;
}

static uint32_t draw(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

static int write_data(const char *folder)
{
    static const char info[] = "{\"v\":1,\"kind\":\"rows\",\"features\":784,\"outputs\":10,"
                               "\"task\":\"classification\",\"splits\":{\"train\":"
                               "{\"rows\":60000}}}";
    struct rwf_err err = RWF_ERR_INIT;
    size_t count = (size_t)ROWS * FEATURES;
    float *x = rwf_xmalloc(count * sizeof(*x));
    int32_t *y = rwf_xmalloc(ROWS * sizeof(*y));
    uint64_t state = 1;
    char *data = rwf_fs_join(folder, "data");
    for (size_t i = 0; i < count; i++)
        x[i] = (float)draw(&state) / 0x1p30f - 1;
    for (size_t i = 0; i < ROWS; i++)
        y[i] = (int32_t)(draw(&state) % CLASSES);
    char *paths[] = { rwf_fs_join(data, "train.x"), rwf_fs_join(data, "train.y"),
                      rwf_fs_join(data, "data.json") };
    int rc = rwf_fs_mkdirs(data, &err);
    if (rc == 0)
        rc = rwf_fs_write(paths[0], x, count * sizeof(*x), false, &err);
    if (rc == 0)
        rc = rwf_fs_write(paths[1], y, ROWS * sizeof(*y), false, &err);
    if (rc == 0)
        rc = rwf_fs_write(paths[2], info, sizeof(info) - 1, false, &err);
    for (int i = 0; i < 3; i++)
        free(paths[i]);
    free(data);
    free(x);
    free(y);
    return rc == 0 ? 0 : fail(&err);
}

static void set_path(json_t *job, const char *key, const char *folder, const char *name)
{
    char *path = rwf_fs_join(folder, name);
    json_object_set_new(job, key, json_string(path));
    free(path);
}

static int save_job(const char *folder, const char *name, json_t *job)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *place = rwf_fs_join(folder, name), *path = rwf_fs_join(place, "job.json");
    set_path(job, "data", folder, "data");
    set_path(job, "work", place, "work");
    set_path(job, "checkpoints", place, "checkpoints");
    set_path(job, "result", place, "result");
    char *text = json_dumps(job, JSON_INDENT(1));
    int rc = rwf_fs_mkdirs(place, &err);
    if (rc == 0)
        rc = rwf_fs_write(path, text, strlen(text), false, &err);
    free(text);
    json_decref(job);
    free(path);
    free(place);
    return rc == 0 ? 0 : fail(&err);
}

/* Runs of a few words, so that there is something to learn. */
static int write_tokens(const char *folder)
{
    static const char info[] = "{\"v\":1,\"kind\":\"tokens\",\"vocab\":50257,\"width\":2,"
                               "\"splits\":{\"train\":{\"tokens\":20000000}}}";
    struct rwf_err err = RWF_ERR_INIT;
    uint16_t *ids = rwf_xmalloc(TOKENS * sizeof(*ids));
    uint64_t state = 1;
    char *data = rwf_fs_join(folder, "data");
    char *tokens = rwf_fs_join(data, "train.ids"), *json = rwf_fs_join(data, "data.json");
    for (size_t i = 0; i < TOKENS; i++)
        ids[i] = i % 4 == 0 ? (uint16_t)(draw(&state) % VOCAB)
                            : (uint16_t)((ids[i - 1] * 31U + 7) % VOCAB);
    int rc = rwf_fs_mkdirs(data, &err);
    if (rc == 0)
        rc = rwf_fs_write(tokens, ids, TOKENS * sizeof(*ids), false, &err);
    if (rc == 0)
        rc = rwf_fs_write(json, info, sizeof(info) - 1, false, &err);
    free(tokens);
    free(json);
    free(data);
    free(ids);
    return rc == 0 ? 0 : fail(&err);
}

static int write_gpt2(char **argv)
{
    json_t *job = json_pack(
        "{s:i, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:{s:i}}", "v", 1,
        "device", "cuda", "precision", "bf16", "shard", argv[7], "threads", 8, "seed", 1,
        "global_batch_size", atoi(argv[4]), "micro_batch_size", atoi(argv[6]),
        "sequence_length", LENGTH, "steps", atoi(argv[5]), "log_every", 10, "clip", 1.0,
        "checkpoint", "every", atoi(argv[8]));
    json_object_update_new(
        job, json_pack("{s:{s:s, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f}, "
                       "s:{s:s, s:f, s:f, s:f, s:f}, s:{s:s, s:i}}",
                       "config", "model_type", "gpt2", "n_layer", 12, "n_embd", 768, "n_head",
                       12, "n_positions", LENGTH, "vocab_size", VOCAB, "resid_pdrop", 0.0,
                       "embd_pdrop", 0.0, "attn_pdrop", 0.0, "optimizer", "type", "adamw",
                       "learning_rate", 6e-4, "weight_decay", 0.1, "beta1", 0.9, "beta2", 0.95,
                       "schedule", "type", "cosine", "warmup_steps", 10));
    return save_job(argv[2], argv[3], job);
}

static int write_job(const char *folder, const char *name, int batch, int steps)
{
    json_t *job = json_pack("{s:i, s:s, s:i, s:i, s:i, s:i, s:i, s:i}", "v", 1, "device", "cpu",
                            "threads", 1, "seed", 1, "global_batch_size", batch,
                            "micro_batch_size", batch, "steps", steps, "log_every", steps);
    json_object_update_new(
        job, json_pack("{s:{s:s, s:i, s:[i], s:i}, s:{s:s, s:f}, s:{s:i}, s:{s:i}}", "config",
                       "model_type", "mlp", "features", FEATURES, "hidden", 128, "outputs",
                       CLASSES, "optimizer", "type", "adamw", "learning_rate", 1e-3,
                       "checkpoint", "every", 0, "evaluate", "every", 0));
    return save_job(folder, name, job);
}

#if defined(__x86_64__)
#define FMA(n) "vfmadd213ps %%zmm31, %%zmm30, %%zmm" #n "\n\t"
#define FMAS FMA(0) FMA(1) FMA(2) FMA(3) FMA(4) FMA(5) FMA(6) FMA(7) FMA(8) FMA(9) FMA(10) FMA(11)
#define CLEAR(n) "vpxorq %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n\t"

/* Twelve chains hide the latency of two units; all values are 0. */
__attribute__((target("avx512f"))) static double peak_512(int64_t turns)
{
    int64_t left = turns;
    int64_t from = rwf_clock_mono();
    __asm__ volatile(
        CLEAR(0) CLEAR(1) CLEAR(2) CLEAR(3) CLEAR(4) CLEAR(5) CLEAR(6) CLEAR(7) CLEAR(8)
        CLEAR(9) CLEAR(10) CLEAR(11) CLEAR(30) CLEAR(31)
        "1:\n\t" FMAS FMAS "dec %0\n\tjnz 1b\n\t"
        : "+r"(left)
        :
        : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
          "xmm9", "xmm10", "xmm11", "xmm30", "xmm31");
    double seconds = (double)(rwf_clock_mono() - from) / 1e9;
    return (double)turns * 24 * 32 / seconds / 1e9;
}

static int print_peak(void)
{
    double best = 0;
    if (!__builtin_cpu_supports("avx512f")) {
        printf("0\n"); /* measured for AVX-512 only */
        return 0;
    }
    for (int i = 0; i < 20; i++) {
        double v = peak_512(2000000);
        best = v > best ? v : best;
    }
    printf("%.1f\n", best);
    return 0;
}
#else
static int print_peak(void)
{
    printf("0\n");
    return 0;
}
#endif

int main(int argc, char **argv)
{
    rwf_mem_init();
    if (argc == 3 && strcmp(argv[1], "data") == 0)
        return write_data(argv[2]);
    if (argc == 6 && strcmp(argv[1], "job") == 0)
        return write_job(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]));
    if (argc == 2 && strcmp(argv[1], "peak") == 0)
        return print_peak();
    if (argc == 3 && strcmp(argv[1], "tokens") == 0)
        return write_tokens(argv[2]);
    if (argc == 9 && strcmp(argv[1], "gpt2") == 0)
        return write_gpt2(argv);
    fprintf(stderr, "usage: train data FOLDER | job FOLDER NAME BATCH STEPS | peak\n");
    return 2;
}
