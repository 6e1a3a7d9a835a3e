/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "train_rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "text/tokenizer.h"

enum { FEATURES = 8, CLASSES = 3, VOCAB = 280 };

double rig_uniform(uint64_t n)
{
    uint64_t x = (n + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((x ^ (x >> 31)) >> 11) * 0x1p-52 - 1;
}

static void put(const char *folder, const char *split, const char *part, const void *bytes,
                size_t size)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = rwf_xasprintf("%s/%s.%s", folder, split, part);
    rwf_assert(rwf_fs_write(path, bytes, size, false, &err) == 0);
    free(path);
}

/* The class of a row is the largest of three fixed sums of it; its value the first sum. */
static void write_rows(const char *folder, const char *split, int rows, uint64_t first,
                       bool classes)
{
    float *x = rwf_xmalloc((size_t)rows * FEATURES * sizeof(*x));
    float *value = rwf_xmalloc((size_t)rows * sizeof(*value));
    int32_t *class = rwf_xmalloc((size_t)rows * sizeof(*class));
    for (int i = 0; i < rows; i++) {
        double sums[CLASSES] = { 0 };
        for (int k = 0; k < FEATURES; k++) {
            double v = rig_uniform(1000 + (first + (uint64_t)i) * FEATURES + (uint64_t)k);
            x[i * FEATURES + k] = (float)v;
            for (int c = 0; c < CLASSES; c++)
                sums[c] += v * rig_uniform((uint64_t)(c * FEATURES + k));
        }
        class[i] = sums[0] >= sums[1] && sums[0] >= sums[2] ? 0 : sums[1] >= sums[2] ? 1 : 2;
        value[i] = (float)sums[0];
    }
    put(folder, split, "x", x, (size_t)rows * FEATURES * sizeof(*x));
    put(folder, split, "y", classes ? (const void *)class : value, (size_t)rows * 4);
    free(x);
    free(value);
    free(class);
}

/* A language of few sentences. */
static char *make_text(size_t size)
{
    static const char *const words[] = { "the cat ", "a dog ", "sees ", "likes ", "the sea. ",
                                         "a tree. " };
    struct rwf_str s = { 0 };
    for (uint64_t n = 0; s.len < size; n++)
        rwf_str_add(&s, words[n % 3 * 2 + (rig_uniform(n) > 0)]);
    return rwf_str_take(&s);
}

static void write_tokens(const char *folder, int count)
{
    struct rwf_err err = RWF_ERR_INIT;
    static const char *const special[] = { "<|endoftext|>" };
    char *text = make_text((size_t)count * 6), *path = rwf_fs_join(folder, "tokenizer.json");
    struct bpe_trainer *b = bpe_trainer_create(VOCAB, special, 1, &err);
    struct tokenizer_ids ids = { 0 };
    size_t len;
    bpe_trainer_add(b, text, strlen(text));
    char *json = bpe_trainer_finish(b, &len, &err);
    rwf_assert(json != NULL && rwf_fs_write(path, json, len, false, &err) == 0);
    struct tokenizer *t = tokenizer_open(path, &err);
    tokenizer_encode(t, text, strlen(text), &ids);
    rwf_assert(ids.count >= (size_t)count + (size_t)count / 4);
    uint16_t *out = rwf_xmalloc(ids.count * sizeof(*out));
    for (size_t i = 0; i < ids.count; i++)
        out[i] = (uint16_t)ids.ids[i];
    put(folder, "train", "ids", out, (size_t)count * 2);
    put(folder, "val", "ids", out + count, (size_t)(count / 4) * 2);
    tokenizer_close(t);
    bpe_trainer_destroy(b);
    free(ids.ids);
    free(out);
    free(json);
    free(path);
    free(text);
}

static json_t *write_data(const char *folder, enum rig_kind kind, int rows)
{
    const char *what = kind == RIG_TOKENS ? "tokens" : "rows";
    json_t *info = json_pack("{s:i, s:s, s:{s:{s:i}, s:{s:i}}}", "v", 1, "kind", what,
                             "splits", "train", what, rows, "val", what, rows / 4);
    if (kind == RIG_TOKENS) {
        write_tokens(folder, rows);
        json_object_update_new(info, json_pack("{s:i, s:i}", "vocab", VOCAB, "width", 2));
        return info;
    }
    write_rows(folder, "train", rows, 0, kind == RIG_CLASSES);
    write_rows(folder, "val", rows / 4, (uint64_t)rows, kind == RIG_CLASSES);
    json_object_update_new(
        info, json_pack("{s:i, s:i, s:s}", "features", FEATURES, "outputs",
                        kind == RIG_CLASSES ? CLASSES : 1, "task",
                        kind == RIG_CLASSES ? "classification" : "regression"));
    return info;
}

static json_t *make_config(enum rig_kind kind)
{
    if (kind == RIG_TOKENS) /* dropout would be another for another number of ranks */
        return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f}", "model_type", "gpt2",
                         "n_layer", 2, "n_embd", 32, "n_head", 2, "n_positions", 32,
                         "vocab_size", VOCAB, "resid_pdrop", 0.0, "embd_pdrop", 0.0,
                         "attn_pdrop", 0.0);
    return json_pack("{s:s, s:i, s:[i], s:i, s:s, s:s}", "model_type", "mlp", "features",
                     FEATURES, "hidden", 16, "outputs", kind == RIG_CLASSES ? CLASSES : 1,
                     "activation", "tanh", "task",
                     kind == RIG_CLASSES ? "classification" : "regression");
}

static void set_path(json_t *job, const char *key, const char *folder, const char *name)
{
    char *path = rwf_fs_join(folder, name);
    json_object_set_new(job, key, json_string(path));
    free(path);
}

json_t *rig_job(const char *folder, enum rig_kind kind, int rows)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *data = rwf_fs_join(folder, "data");
    rwf_assert(rwf_fs_mkdirs(data, &err) == 0);
    json_t *info = write_data(data, kind, rows);
    char *text = json_dumps(info, 0), *path = rwf_fs_join(data, "data.json");
    rwf_assert(rwf_fs_write(path, text, strlen(text), false, &err) == 0);
    json_t *job = json_pack(
        "{s:i, s:o, s:s, s:i, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "v", 1,
        "config", make_config(kind), "device", "cpu", "threads", 1, "precision", "fp32",
        "shard", "none", "seed", 1, "global_batch_size", 16, "micro_batch_size", 8,
        "sequence_length", 16, "clip", 0, "steps", 20, "steps_per_epoch", rows / 16,
        "log_every", 1);
    json_object_update_new(
        job, json_pack("{s:{s:s, s:f, s:f, s:f, s:f, s:f}, s:{s:s}, s:{s:i, s:i}, "
                       "s:{s:i, s:s, s:s, s:i, s:i}}",
                       "optimizer", "type", "adamw", "learning_rate", 0.01, "weight_decay",
                       0.01, "beta1", 0.9, "beta2", 0.999, "epsilon", 1e-8, "schedule",
                       "type", "constant", "evaluate", "every", 0, "batches", 0,
                       "checkpoint", "every", 0, "metric", "val_loss", "mode", "min",
                       "keep_best", 1, "keep_latest", 2));
    set_path(job, "data", folder, "data");
    set_path(job, "work", folder, "work");
    set_path(job, "checkpoints", folder, "checkpoints");
    set_path(job, "result", folder, "result");
    set_path(job, "heartbeat", folder, "beats");
    if (kind == RIG_TOKENS)
        set_path(job, "tokenizer", data, "tokenizer.json");
    json_decref(info);
    free(text);
    free(path);
    free(data);
    return job;
}

char *rig_write(const char *folder, const char *name, const json_t *job)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = rwf_xasprintf("%s/%s.json", folder, name);
    char *text = json_dumps(job, JSON_INDENT(1));
    rwf_assert(rwf_fs_write(path, text, strlen(text), false, &err) == 0);
    free(text);
    return path;
}
