/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules of a `train` entry that join several keys. They run twice: over the recipe
 * as it is written, where each finding gets its place, and over the resolved spec,
 * where references have become values. What is not a value of the expected kind is
 * passed over: the schema has spoken of it, or it is a reference.
 */
#include "config.h"
#include "train/spec.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

struct rules {
    const json_t *body;
    spec_say_fn say;
    void *ctx;
};

/* --- reading --- */

json_t *spec_at(const json_t *json, const char *path)
{
    while (json != NULL && *path != '\0') {
        size_t len = strcspn(path, ".");
        char *key = rwf_xstrndup(path, len);
        json = json_object_get(json, key);
        free(key);
        path += len + (path[len] == '.');
    }
    return (json_t *)(uintptr_t)json;
}

const char *spec_text(const json_t *json, const char *path)
{
    const char *text = json_string_value(spec_at(json, path));
    return text == NULL || strstr(text, "${") != NULL ? NULL : text;
}

int64_t spec_int(const json_t *json, const char *path, int64_t otherwise)
{
    const json_t *value = spec_at(json, path);
    return json_is_integer(value) ? (int64_t)json_integer_value(value) : otherwise;
}

double spec_number(const json_t *json, const char *path, double otherwise)
{
    const json_t *value = spec_at(json, path);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

static bool has(const struct rules *r, const char *path)
{
    const json_t *value = spec_at(r->body, path);
    return value != NULL && !json_is_null(value);
}

static bool is(const struct rules *r, const char *path, const char *word)
{
    const char *text = spec_text(r->body, path);
    return text != NULL && strcmp(text, word) == 0;
}

/* The whole number at path, `otherwise` when there is none, -1 when it is not known
 * yet. */
static int64_t whole(const struct rules *r, const char *path, int64_t otherwise)
{
    return spec_int(r->body, path, has(r, path) ? -1 : otherwise);
}

/* --- saying --- */

__attribute__((format(printf, 5, 6))) static void say(const struct rules *r,
                                                      const char *path, bool on_key,
                                                      const char *hint, const char *fmt,
                                                      ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = rwf_xvasprintf(fmt, ap);
    va_end(ap);
    struct spec_finding f = {path, on_key, text, hint};
    r->say(r->ctx, &f);
    free(text);
}

/* Says that a key has no meaning here, if it stands there. */
static bool out_of_place(const struct rules *r, const char *path, const char *why,
                         const char *hint)
{
    if (!has(r, path))
        return false;
    const char *dot = strrchr(path, '.');
    say(r, path, true, hint, "%s %s", dot == NULL ? path : dot + 1, why);
    return true;
}

/* --- the model --- */

static const char *const mlp_keys[] = {"task",         "target", "features",
                                       "categorical",  "hidden", "activation",
                                       "class_weights"};
static const char *const size_keys[] = {
    "layers",   "hidden_size",       "heads",   "kv_heads",
    "head_dim", "intermediate_size", "context", "tie_embeddings"};
static const char *const other_transformer_keys[] = {"preset", "family", "from", "text",
                                                     "adapter"};
static const char *const text_keys[] = {"tokenizer", "sequence_length", "sample"};

static void refuse(const struct rules *r, const char *under, const char *const *keys,
                   size_t count, const char *why, const char *hint)
{
    for (size_t i = 0; i < count; i++) {
        char *path = rwf_xasprintf("%s%s", under, keys[i]);
        out_of_place(r, path, why, hint);
        free(path);
    }
}

static bool lists(const json_t *list, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)(uintptr_t)list, i, item)
        if (json_is_string(item) && strcmp(json_string_value(item), name) == 0)
            return true;
    return false;
}

static void check_columns(const struct rules *r)
{
    const json_t *features = spec_at(r->body, "model.features");
    const json_t *categorical = spec_at(r->body, "model.categorical");
    const char *target = spec_text(r->body, "model.target");
    json_t *item;
    size_t i;

    if (target != NULL && lists(features, target))
        say(r, "model.features", false, "remove it from features",
            "features has the target '%s': the model would be told the answer", target);
    if (!json_is_array(features))
        return;
    json_array_foreach((json_t *)(uintptr_t)categorical, i, item)
        if (json_is_string(item) && strstr(json_string_value(item), "${") == NULL &&
            !lists(features, json_string_value(item)))
            say(r, "model.categorical", false, "add it to features, or remove it here",
                "categorical names '%s', which features does not have",
                json_string_value(item));
}

static void check_mlp(const struct rules *r)
{
    static const char hint[] = "it belongs to type: transformer";
    bool regression = is(r, "model.task", "regression");

    refuse(r, "model.", size_keys, RWF_COUNT(size_keys), "means nothing to an mlp",
           "the width of its layers is hidden: [64, 64]");
    refuse(r, "model.", other_transformer_keys, RWF_COUNT(other_transformer_keys),
           "means nothing to an mlp", hint);
    refuse(r, "", text_keys, RWF_COUNT(text_keys), "means nothing to an mlp", hint);
    out_of_place(r, "max_length.tokens", "means nothing to an mlp",
                 "write max_length: {epochs: N} or {steps: N}");
    if (!has(r, "model.target"))
        say(r, "model", false, "write target: COLUMN",
            "an mlp lacks the key 'target': the column to predict");
    if (!regression && json_is_array(spec_at(r->body, "model.target")) &&
        (!has(r, "model.task") || is(r, "model.task", "classification")))
        say(r, "model.target", false, "write task: regression for several numbers",
            "a classification has one target, not a list");
    if (regression)
        out_of_place(r, "model.class_weights", "goes with task: classification", NULL);
    check_columns(r);
}

static void check_heads(const struct rules *r)
{
    int64_t hidden = whole(r, "model.hidden_size", -1),
            heads = whole(r, "model.heads", -1);
    int64_t kv = whole(r, "model.kv_heads", heads);

    if (hidden > 0 && heads > 0 && !has(r, "model.head_dim") && hidden % heads != 0)
        say(r, "model.heads", false, "take a number that divides it",
            "%lld heads do not divide hidden_size %lld", (long long)heads,
            (long long)hidden);
    if (heads > 0 && kv > 0 && heads % kv != 0)
        say(r, "model.kv_heads", false, "take a number that divides heads",
            "%lld kv_heads do not divide %lld heads", (long long)kv, (long long)heads);
}

static void check_family(const struct rules *r)
{
    static const char *const needed[] = {"layers", "hidden_size", "heads"};

    for (size_t i = 0; i < RWF_COUNT(needed); i++) {
        char *path = rwf_xasprintf("model.%s", needed[i]);
        if (!has(r, path))
            say(r, "model", false, "or name a preset",
                "a transformer of free size lacks the key '%s'", needed[i]);
        free(path);
    }
    if (is(r, "model.family", "gpt2")) {
        out_of_place(r, "model.kv_heads", "is not of gpt2: each head has its own keys",
                     "write family: qwen3");
        out_of_place(r, "model.head_dim", "is not of gpt2: it is hidden_size / heads",
                     "write family: qwen3");
    }
    check_heads(r);
}

static void check_context(const struct rules *r)
{
    const char *preset = spec_text(r->body, "model.preset");
    int64_t length = whole(r, "sequence_length", 1024);
    int64_t context = preset == NULL                    ? whole(r, "model.context", -1)
                      : strncmp(preset, "gpt2", 4) == 0 ? 1024
                                                        : 40960;
    if (context > 0 && length > context)
        say(r, has(r, "sequence_length") ? "sequence_length" : "model.context", false,
            "lower sequence_length, or raise context",
            "a sequence of %lld tokens is longer than the model's context of %lld",
            (long long)length, (long long)context);
}

static void check_tokenizer(const struct rules *r)
{
    if (!has(r, "tokenizer") && !has(r, "model.from"))
        say(r, "model", false,
            "write tokenizer: {type: bpe, vocab_size: 4096} to learn one from the "
            "training "
            "rows, or {path: …/tokenizer.json}",
            "there is no tokenizer: the model reads tokens, the dataset has text");
    if (has(r, "tokenizer.path"))
        out_of_place(r, "tokenizer.vocab_size", "is that of the file", NULL);
}

static void check_transformer(const struct rules *r)
{
    static const char *const starts[] = {"model.preset", "model.family", "model.from"};
    const char *first = NULL;

    refuse(r, "model.", mlp_keys, RWF_COUNT(mlp_keys), "means nothing to a transformer",
           "it belongs to type: mlp");
    for (size_t i = 0; i < RWF_COUNT(starts); i++) {
        if (!has(r, starts[i]))
            continue;
        if (first != NULL)
            say(r, starts[i], true, "keep one of preset, family and from",
                "%s and %s both say what the model is", first + 6, starts[i] + 6);
        first = first == NULL ? starts[i] : first;
    }
    if (first == NULL)
        say(r, "model", false,
            "write preset: gpt2-124m, from: FOLDER, or family: gpt2 with sizes",
            "a transformer needs one of preset, family and from");
    else if (strcmp(first, "model.family") == 0)
        check_family(r);
    else
        refuse(r, "model.", size_keys, RWF_COUNT(size_keys),
               first[6] == 'p' ? "is given by the preset" : "is given by the weights",
               "write family: gpt2 or qwen3 for sizes of your own");
    if (has(r, "model.adapter") && !has(r, "model.from"))
        say(r, "model.adapter", true, "write from: with the weights to adapt",
            "an adapter stands beside trained weights, and there is no from");
    check_context(r);
    check_tokenizer(r);
}

/* --- batches --- */

static int64_t nearest_multiple(int64_t value, int64_t of)
{
    int64_t down = value / of * of;
    return down == 0 || value - down > of / 2 ? down + of : down;
}

static void check_batches(const struct rules *r)
{
    int64_t global = whole(r, "global_batch_size", 64);
    int64_t workers = whole(r, "workers", 1);
    int64_t micro = whole(r, "micro_batch_size", 0);
    int64_t unit = micro > 0 ? micro * workers : workers;
    const char *path = has(r, "global_batch_size") ? "global_batch_size" : "workers";
    char hint[100];

    if (global <= 0 || workers <= 0 || micro < 0 || unit <= 0 || global % unit == 0)
        return;
    snprintf(hint, sizeof(hint), "write global_batch_size: %lld",
             (long long)nearest_multiple(global, unit));
    if (micro > 0)
        say(r, "micro_batch_size", false, hint,
            "%lld workers with micro batches of %lld do not divide the global batch of "
            "%lld",
            (long long)workers, (long long)micro, (long long)global);
    else
        say(r, path, false, hint, "%lld workers do not divide the global batch of %lld",
            (long long)workers, (long long)global);
}

static void check_warmup(const struct rules *r)
{
    int64_t warmup = whole(r, "schedule.warmup.steps", 0);
    int64_t steps = whole(r, "max_length.steps", 0);

    if (warmup > 0 && steps > 0 && warmup > steps)
        say(r, "schedule.warmup.steps", false, NULL,
            "a warm-up of %lld steps is longer than the training of %lld",
            (long long)warmup, (long long)steps);
    if (!has(r, "schedule.type") || is(r, "schedule.type", "constant"))
        out_of_place(r, "schedule.final", "goes with a rate that falls",
                     "write type: cosine or linear");
}

static void check_optimizer(const struct rules *r)
{
    static const struct {
        const char *key, *types;
    } rows[] = {{"betas", "adamw lion"}, {"epsilon", "adamw"}, {"momentum", "sgd"}};
    const char *type =
        has(r, "optimizer.type") ? spec_text(r->body, "optimizer.type") : "adamw";

    for (size_t i = 0; type != NULL && i < RWF_COUNT(rows); i++) {
        char *path = rwf_xasprintf("optimizer.%s", rows[i].key);
        if (strstr(rows[i].types, type) == NULL && has(r, path))
            say(r, path, true, NULL, "%s means nothing to %s, only to %s", rows[i].key,
                type,
                strcmp(rows[i].types, "adamw lion") == 0 ? "adamw and lion"
                                                         : rows[i].types);
        free(path);
    }
}

/* --- metrics --- */

const char *spec_mode(const char *metric)
{
    return strcmp(metric, "val_accuracy") == 0 || strcmp(metric, "val_r2") == 0 ? "max"
                                                                                : "min";
}

static bool is_kind(const struct rules *r, const char *metric)
{
    bool mlp = is(r, "model.type", "mlp"),
         regression = is(r, "model.task", "regression");
    bool open = has(r, "model.task") && spec_text(r->body, "model.task") == NULL;

    if (open || spec_text(r->body, "model.type") == NULL)
        return true;
    if (strcmp(metric, "val_accuracy") == 0)
        return mlp && !regression;
    if (strcmp(metric, "val_r2") == 0)
        return mlp && regression;
    return strcmp(metric, "perplexity") != 0 || !mlp;
}

static void check_metric(const struct rules *r, const char *under)
{
    char *path = rwf_xasprintf("%s.metric", under),
         *mode = rwf_xasprintf("%s.mode", under);
    const char *metric = spec_text(r->body, path), *given = spec_text(r->body, mode);

    if (metric != NULL && !is_kind(r, metric))
        say(r, path, false,
            "an mlp has val_loss and val_accuracy (classification) or val_r2 "
            "(regression), a "
            "transformer val_loss and perplexity",
            "this model has no %s", metric);
    else if (metric != NULL && strcmp(metric, "loss") != 0 && !has(r, "dataset.val"))
        say(r, path, false, "add dataset: {val: …}",
            "%s is measured on validation rows, and "
            "there are none",
            metric);
    else if (metric != NULL && given != NULL && strcmp(spec_mode(metric), given) != 0)
        say(r, mode, false, NULL, "of %s the %s is the better one", metric,
            given[1] == 'i' ? "larger" : "smaller");
    free(path);
    free(mode);
}

static void check_evaluation(const struct rules *r)
{
    bool val = has(r, "dataset.val");

    if (!val)
        out_of_place(r, "evaluate", "needs validation rows", "add dataset: {val: …}");
    if (!val && !is(r, "early_stopping.metric", "loss"))
        out_of_place(r, "early_stopping", "needs validation rows",
                     "add dataset: {val: …}, or remove it");
    else
        check_metric(r, "early_stopping");
    check_metric(r, "checkpoint");
}

/* --- where it runs --- */

static void check_gpus(const struct rules *r)
{
    double gpu =
        spec_number(r->body, "resources.gpu", has(r, "resources.gpu") ? -1 : 0);
    int64_t workers = whole(r, "workers", 1);

    if (gpu > 0 && is(r, "device", "cpu"))
        say(r, "device", false, "remove device, or resources.gpu",
            "the step asks for %g GPU and would train on the CPU", gpu);
    if (gpu == 0 && is(r, "device", "cuda"))
        say(r, "device", false, "write resources: {gpu: 1}",
            "training on CUDA needs a GPU, and the step asks for none");
    if (gpu > 1)
        say(r, "resources.gpu", false, "write workers: N and gpu: 1",
            "a worker trains on one GPU, not on %g", gpu);
    if (gpu > 0 && gpu < 1 && workers > 1)
        say(r, "resources.gpu", false, "write gpu: 1",
            "workers that train together need a whole GPU each");
}

static void check_place(const struct rules *r)
{
    out_of_place(r, "resources.ranks", "is said by workers here", "write workers: N");
    if (whole(r, "workers", 1) > 1 && is(r, "resources.placement", "different_nodes"))
        say(r, "resources.placement", false, "remove it",
            "workers on different nodes are not in this version");
}

void spec_check(const json_t *body, spec_say_fn on, void *ctx)
{
    static const char *const program_keys[] = {"dir", "inputs", "outputs"};
    struct rules rules = {body, on, ctx}, *r = &rules;

    if (!has(r, "dataset.train") && !has(r, "dataset"))
        say(r, "", false, "write dataset: {train: \"${datasets.NAME.outputs.train}\"}",
            "a model needs a dataset to train on");
    refuse(r, "", program_keys, RWF_COUNT(program_keys), "goes with command or run",
           "a built-in model gives the outputs checkpoint and metrics");
    if (is(r, "model.type", "mlp"))
        check_mlp(r);
    else if (is(r, "model.type", "transformer"))
        check_transformer(r);
    check_batches(r);
    check_optimizer(r);
    check_warmup(r);
    check_evaluation(r);
    check_gpus(r);
    check_place(r);
    if (has(r, "shard") && spec_text(r->body, "shard") != NULL &&
        !is(r, "shard", "none") && whole(r, "workers", 1) == 1)
        say(r, "shard", false, "write workers: 2 or more, or remove shard",
            "there is one worker, and nobody to divide with");
}

void spec_check_program(const json_t *body, spec_say_fn on, void *ctx)
{
    static const char *const model_keys[] = {"tokenizer",
                                             "sequence_length",
                                             "optimizer",
                                             "schedule",
                                             "global_batch_size",
                                             "max_length",
                                             "micro_batch_size",
                                             "precision",
                                             "gradient_clipping",
                                             "device",
                                             "shard",
                                             "seed",
                                             "evaluate",
                                             "early_stopping",
                                             "checkpoint",
                                             "sample",
                                             "tensorboard",
                                             "heartbeat"};
    struct rules rules = {body, on, ctx}, *r = &rules;

    refuse(r, "", model_keys, RWF_COUNT(model_keys), "is for built-in models",
           "a program of your own gets what it needs as arguments or in env");
    check_place(r);
}
