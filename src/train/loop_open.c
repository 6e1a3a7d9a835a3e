/* SPDX-License-Identifier: Apache-2.0
 *
 * What a training stands on. The parameters are allocated before the activations, so that
 * the model can see what is left for those.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "train/loop.h"

enum { BEAT_MS = 1000, SUMS_MIN = 4 /* evaluations use as many */ };

static void alive(void *ctx)
{
    heartbeat_alive(((struct loop *)ctx)->beat);
}

static struct batches *open_split(struct loop *l, const char *split, struct rwf_err *err)
{
    bool train = strcmp(split, "train") == 0;
    struct batches_options o = {
        .folder = l->j.data, .split = split, .global = l->j.global, .micro = l->j.micro,
        .length = l->j.length, .rank = l->c->rank, .size = l->c->size, .seed = l->j.seed,
        .shuffle = train, .order = train, .device = l->d,
    };
    return batches_open(&o, err);
}

static int open_data(struct loop *l, struct rwf_err *err)
{
    l->train = open_split(l, "train", err);
    if (l->train == NULL)
        return -1;
    const json_t *info = batches_info(l->train);
    const char *kind = json_string_value(json_object_get(info, "kind"));
    const char *task = json_string_value(json_object_get(info, "task"));
    l->tokens = kind != NULL && strcmp(kind, "tokens") == 0;
    l->classes = task != NULL && strcmp(task, "classification") == 0;
    l->features = (int)json_integer_value(json_object_get(info, "features"));
    l->outputs = (int)json_integer_value(json_object_get(info, "outputs"));
    l->vocab = (int)json_integer_value(json_object_get(info, "vocab"));
    if (!l->tokens)
        l->j.length = 1;
    if (json_object_get(json_object_get(info, "splits"), "val") == NULL)
        return 0;
    l->val = open_split(l, "val", err);
    return l->val != NULL ? 0 : -1;
}

/* As batches.c divides a whole global batch. */
static int micros_of(const struct loop *l)
{
    int64_t each = (int64_t)l->j.micro * l->c->size;
    return (int)((l->j.global + each - 1) / each);
}

/* No rank has more rows of a global batch than this. */
static int rows_of(const struct loop *l)
{
    int64_t share = (l->j.global + l->c->size - 1) / l->c->size;
    return (int)(share < l->j.micro ? share : l->j.micro);
}

/* Between CPUs a sum of gradients is made as parts that are then gathered, in any case: updating
 * those parts and gathering the weights instead moves as much, divides the update's work, and
 * gives the same bits. */
static enum params_shard shard_of(const struct loop *l)
{
    return l->j.shard == PARAMS_NONE && device_is_host(l->d) ? PARAMS_OPTIMIZER
                                                              : l->j.shard;
}

static int open_params(struct loop *l, struct rwf_err *err)
{
    struct params_options o = {
        .device = l->d, .comm = l->c, .layout = model_layout(l->model), .model = l->model,
        .type = l->j.type, .shard = shard_of(l), .optim = l->j.optim, .clip = l->j.clip,
        .seed = l->j.seed, .threads = l->j.threads,
        .extra = l->sums, .alive = alive, .alive_ctx = l,
    };
    l->params = params_create(&o, err);
    if (l->params == NULL || params_snapshot_prepare(l->params, err) != 0)
        return -1;
    return loop__start(l, err);
}

static int open_model(struct loop *l, struct rwf_err *err)
{
    struct model_run run = { .device = l->d, .type = l->j.type, .rows = rows_of(l),
                             .length = l->j.length, .train = true,
                             .seed = l->j.seed + (uint64_t)l->c->rank };
    if (loop__upload_open(l, err) == 0 &&
        model_begin(l->model, &run, params_store(l->params), err) == 0)
        return 0;
    return rwf_wrap(err, "the activations of %d rows", run.rows);
}

static int open_sums(struct loop *l, struct rwf_err *err)
{
    size_t count = 3 * ((size_t)l->sums + 1) + 1;
    l->host = l->d->k->alloc_host(l->d->c, count * sizeof(float));
    if (l->host == NULL)
        return rwf_fail(err, RWF_E_FIT, "no host memory for the sums of a step");
    memset(l->host, 0, count * sizeof(float));
    l->host[count - 1] = 1;
    return 0;
}

/* Rank 0's alone. */
static int open_outputs(struct loop *l, struct rwf_err *err)
{
    struct checkpoints_options o = {
        .folder = l->j.checkpoints, .keep_best = l->j.keep_best,
        .keep_latest = l->j.keep_latest, .metric = l->j.best_metric,
        .mode = l->j.best_max ? "max" : "min",
    };
    if (l->c->rank != 0)
        return 0;
    if (rwf_fs_mkdirs(l->j.work, err) != 0 || rwf_fs_mkdirs(l->j.checkpoints, err) != 0)
        return -1;
    l->checkpoints = checkpoints_open(&o, err);
    return l->checkpoints != NULL ? 0 : -1;
}

static int open_metrics(struct loop *l, struct rwf_err *err)
{
    if (l->c->rank != 0)
        return 0;
    char *path = rwf_fs_join(l->j.checkpoints, "metrics.jsonl");
    struct metrics_options o = { .report = l->j.report, .file = path,
                                 .tensorboard = l->j.tensorboard, .step = l->step };
    l->metrics = metrics_open(&o, err);
    free(path);
    return l->metrics != NULL ? 0 : -1;
}

int loop__open(struct loop *l, struct rwf_err *err)
{
    l->best = l->stop_best = NAN;
    l->pending.length = NAN;
    l->latest = json_object();
    if (l->j.heartbeat != NULL) {
        l->beat = heartbeat_open(l->j.heartbeat, l->c->rank, BEAT_MS, err);
        if (l->beat == NULL)
            return -1;
    }
    if (open_data(l, err) != 0)
        return -1;
    l->micros = micros_of(l);
    l->sums = l->micros + 1 > SUMS_MIN ? l->micros + 1 : SUMS_MIN;
    l->model = model_create(l->j.config, err);
    if (l->model == NULL || open_outputs(l, err) != 0 || open_params(l, err) != 0 ||
        open_model(l, err) != 0 || open_sums(l, err) != 0 || open_metrics(l, err) != 0)
        return -1;
    batches_seek(l->train, l->step);
    l->started = l->told = l->waited_since = rwf_clock_mono();
    return 0;
}

void loop__close(struct loop *l)
{
    metrics_close(l->metrics, NULL);
    if (l->checkpoints != NULL)
        checkpoints_close(l->checkpoints, NULL);
    if (l->saving != 0)
        json_decref(l->saving_state);
    if (l->host != NULL)
        l->d->k->free_host(l->d->c, l->host);
    model_destroy(l->model);
    loop__upload_close(l);
    params_destroy(l->params);
    batches_close(l->val);
    batches_close(l->train);
    heartbeat_close(l->beat);
    json_decref(l->latest);
    json_decref(l->result);
}
