/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "train/spec_job.h"

#include <math.h>
#include <string.h>
#include "train/spec.h"

#define LOG_POINTS 500 /* of a curve, about */

int64_t spec_accumulation(const json_t *spec)
{
    int64_t unit = spec_int(spec, "micro_batch_size", 1) * spec_int(spec, "workers", 1);
    return unit > 0 ? spec_int(spec, "global_batch_size", 64) / unit : 1;
}

static bool is_tokens(const json_t *info)
{
    const char *kind = spec_text(info, "kind");
    return kind != NULL && strcmp(kind, "tokens") == 0;
}

int64_t spec_steps_per_epoch(const json_t *spec, const json_t *info,
                             struct rwf_err *err)
{
    int64_t global = spec_int(spec, "global_batch_size", 64), steps;

    if (is_tokens(info)) {
        int64_t tokens = spec_int(info, "splits.train.tokens", 0);
        int64_t length = spec_int(spec, "sequence_length", 1024);
        steps = (tokens - 1) / length / global;
        if (steps < 1)
            rwf_fail(
                err, RWF_E_INPUT,
                "the training texts have %lld tokens: not one global batch of %lld "
                "sequences of %lld; lower global_batch_size or sequence_length, or "
                "give "
                "more text",
                (long long)tokens, (long long)global, (long long)length);
        return steps < 1 ? -1 : steps;
    }
    int64_t rows = spec_int(info, "splits.train.rows", 0);
    if (rows < 1)
        return rwf_fail(err, RWF_E_INPUT, "there are no training rows");
    return (rows + global - 1) / global;
}

static int64_t at_least_one(double steps)
{
    return steps < 1 ? 1 : steps > 9e15 ? INT64_C(9000000000000000) : (int64_t)steps;
}

static int64_t total_steps(const json_t *spec, int64_t per_epoch)
{
    double epochs = spec_number(spec, "max_length.epochs", 0);
    int64_t tokens = spec_int(spec, "max_length.tokens", 0);
    double in_step = (double)spec_int(spec, "global_batch_size", 64) *
                     (double)spec_int(spec, "sequence_length", 1024);

    if (epochs > 0)
        return at_least_one(round(epochs * (double)per_epoch));
    if (tokens > 0)
        return at_least_one(ceil((double)tokens / in_step));
    return spec_int(spec, "max_length.steps", 1);
}

/* {"steps":N} or {"epochs":F} beneath path, in steps. */
static int64_t interval(const json_t *spec, const char *path, int64_t per_epoch)
{
    const json_t *every = spec_at(spec, path);
    double epochs = spec_number(every, "epochs", 0);

    if (epochs > 0)
        return at_least_one(round(epochs * (double)per_epoch));
    return spec_int(every, "steps", 0);
}

static int64_t warmup(const json_t *spec, int64_t steps)
{
    double fraction = spec_number(spec, "schedule.warmup.fraction", -1);
    int64_t out = fraction >= 0 ? (int64_t)round(fraction * (double)steps)
                                : spec_int(spec, "schedule.warmup.steps", 0);
    return out > steps ? steps : out;
}

static json_t *job_optimizer(const json_t *spec)
{
    const json_t *o = spec_at(spec, "optimizer"), *betas = spec_at(o, "betas");
    return json_pack(
        "{s:s, s:f, s:f, s:f, s:f, s:f, s:f}", "type", spec_text(o, "type"),
        "learning_rate", spec_number(o, "learning_rate", 0), "weight_decay",
        spec_number(o, "weight_decay", 0), "beta1",
        json_number_value(json_array_get(betas, 0)), "beta2",
        json_number_value(json_array_get(betas, 1)), "epsilon",
        spec_number(o, "epsilon", 0), "momentum", spec_number(o, "momentum", 0));
}

static json_t *job_checkpoint(const json_t *spec, int64_t every)
{
    const json_t *c = spec_at(spec, "checkpoint");
    return json_pack("{s:I, s:s, s:s, s:I, s:I}", "every", (json_int_t)every, "metric",
                     spec_text(c, "metric"), "mode", spec_text(c, "mode"), "keep_best",
                     (json_int_t)spec_int(c, "keep.best", 1), "keep_latest",
                     (json_int_t)spec_int(c, "keep.latest", 2));
}

static json_t *or_null(const json_t *spec, const char *key)
{
    json_t *value = spec_at(spec, key);
    return value != NULL ? json_deep_copy(value) : json_null();
}

json_t *spec_job(const json_t *spec, const json_t *info, struct rwf_err *err)
{
    static const char *const whole[] = {"seed", "global_batch_size",
                                        "micro_batch_size"};
    static const char *const texts[] = {"device", "precision", "shard"};
    int64_t per_epoch = spec_steps_per_epoch(spec, info, err);

    if (per_epoch < 0)
        return NULL;
    int64_t steps = total_steps(spec, per_epoch);
    int64_t evaluate = spec_at(info, "splits.val") == NULL
                           ? 0
                           : interval(spec, "evaluate.every", per_epoch);
    json_t *job = json_pack(
        "{s:i, s:I, s:I, s:I, s:I, s:{s:I, s:I}, s:f}", "v", 1, "steps",
        (json_int_t)steps, "steps_per_epoch", (json_int_t)per_epoch, "sequence_length",
        (json_int_t)(is_tokens(info) ? spec_int(spec, "sequence_length", 1024) : 1),
        "log_every", (json_int_t)at_least_one((double)steps / LOG_POINTS), "evaluate",
        "every", (json_int_t)evaluate, "batches",
        (json_int_t)spec_int(spec, "evaluate.batches", 0), "clip",
        spec_number(spec, "gradient_clipping", 0));
    for (size_t i = 0; i < sizeof(whole) / sizeof(*whole); i++)
        json_object_set_new(job, whole[i], json_integer(spec_int(spec, whole[i], 1)));
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        json_object_set_new(job, texts[i], json_string(spec_text(spec, texts[i])));
    json_object_set_new(job, "optimizer", job_optimizer(spec));
    json_object_set_new(job, "schedule",
                        json_pack("{s:s, s:I, s:f}", "type",
                                  spec_text(spec, "schedule.type"), "warmup_steps",
                                  (json_int_t)warmup(spec, steps), "final",
                                  spec_number(spec, "schedule.final", 0)));
    json_object_set_new(job, "early_stopping", or_null(spec, "early_stopping"));
    json_object_set_new(job, "sample", or_null(spec, "sample"));
    json_object_set_new(
        job, "checkpoint",
        job_checkpoint(spec, interval(spec, "checkpoint.every", per_epoch)));
    return job;
}
