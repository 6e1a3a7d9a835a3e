/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "train/loop.h"

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static double number_of(const json_t *object, const char *key, double fallback)
{
    const json_t *v = json_object_get(object, key);
    return json_is_number(v) ? json_number_value(v) : fallback;
}

static int64_t integer_of(const json_t *object, const char *key, int64_t fallback)
{
    return (int64_t)number_of(object, key, (double)fallback);
}

static int read_places(struct loop_job *j, const json_t *job, struct rwf_err *err)
{
    const struct {
        const char *key;
        const char **to;
        bool required;
    } places[] = {
        { "data", &j->data, true },         { "work", &j->work, true },
        { "result", &j->result, true },     { "checkpoints", &j->checkpoints, true },
        { "report", &j->report, false },    { "tensorboard", &j->tensorboard, false },
        { "from", &j->from, false },        { "tokenizer", &j->tokenizer, false },
        { "preprocess", &j->preprocess, false }, { "heartbeat", &j->heartbeat, false },
    };
    for (size_t i = 0; i < RWF_COUNT(places); i++) {
        *places[i].to = text_of(job, places[i].key);
        if (*places[i].to == NULL && places[i].required)
            return rwf_fail(err, RWF_E_BUG, "the job has no '%s'", places[i].key);
    }
    j->config = json_object_get(job, "config");
    return json_is_object(j->config) ? 0
                                     : rwf_fail(err, RWF_E_BUG, "the job has no 'config'");
}

static void read_policies(struct loop_job *j, const json_t *job)
{
    const json_t *eval = json_object_get(job, "evaluate");
    const json_t *stop = json_object_get(job, "early_stopping");
    const json_t *save = json_object_get(job, "checkpoint");
    const json_t *sample = json_object_get(job, "sample");
    const char *mode;
    j->eval_every = integer_of(eval, "every", 0);
    j->eval_batches = integer_of(eval, "batches", 0);
    j->stop_metric = text_of(stop, "metric");
    j->stops_early = j->stop_metric != NULL;
    mode = text_of(stop, "mode");
    j->stop_max = mode != NULL && strcmp(mode, "max") == 0;
    j->patience = integer_of(stop, "patience", 1);
    j->min_delta = number_of(stop, "min_delta", 0);
    j->save_every = integer_of(save, "every", 0);
    j->best_metric = text_of(save, "metric");
    mode = text_of(save, "mode");
    j->best_max = mode != NULL && strcmp(mode, "max") == 0;
    j->keep_best = (int)integer_of(save, "keep_best", 1);
    j->keep_latest = (int)integer_of(save, "keep_latest", 1);
    j->prompts = json_object_get(sample, "prompts");
    j->sample_tokens = integer_of(sample, "tokens", 50);
    j->temperature = number_of(sample, "temperature", 1);
}

static int read_sizes(struct loop_job *j, const json_t *job, struct rwf_err *err)
{
    const struct {
        const char *key;
        int64_t *to;
        int64_t fallback, min;
    } sizes[] = {
        { "global_batch_size", &j->global, 0, 1 },
        { "steps", &j->steps, 0, 1 },
        { "steps_per_epoch", &j->steps_per_epoch, 0, 0 },
        { "log_every", &j->log_every, 10, 1 },
    };
    for (size_t i = 0; i < RWF_COUNT(sizes); i++) {
        *sizes[i].to = integer_of(job, sizes[i].key, sizes[i].fallback);
        if (*sizes[i].to < sizes[i].min)
            return rwf_fail(err, RWF_E_BUG, "the job's '%s' is not at least %lld",
                            sizes[i].key, (long long)sizes[i].min);
    }
    j->micro = (int)integer_of(job, "micro_batch_size", 0);
    j->length = (int)integer_of(job, "sequence_length", 1);
    j->threads = (int)integer_of(job, "threads", 1);
    j->seed = (uint64_t)integer_of(job, "seed", 1);
    j->clip = number_of(job, "clip", 0);
    if (j->micro < 1)
        return rwf_fail(err, RWF_E_BUG, "the job's 'micro_batch_size' is not at least 1");
    return 0;
}

int loop__job(struct loop_job *j, const json_t *job, struct rwf_err *err)
{
    const char *precision = text_of(job, "precision"), *shard = text_of(job, "shard");
    memset(j, 0, sizeof(*j));
    if (read_places(j, job, err) != 0 || read_sizes(j, job, err) != 0 ||
        params_shard_parse(&j->shard, shard != NULL ? shard : "none", err) != 0 ||
        optim_parse(&j->optim, json_object_get(job, "optimizer"), err) != 0 ||
        schedule_parse(&j->schedule, json_object_get(job, "schedule"), j->optim.rate,
                       j->steps, err) != 0)
        return -1;
    read_policies(j, job);
    if (precision != NULL && strcmp(precision, "bf16") == 0)
        j->type = KERNEL_BF16;
    else if (precision != NULL && strcmp(precision, "fp32") != 0)
        return rwf_fail(err, RWF_E_RECIPE, "precision '%s' is not known: fp32 or bf16",
                        precision);
    return 0;
}
