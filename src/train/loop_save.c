/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoints of the loop. A snapshot is queued on the device after a step; rank 0 gives it
 * to the writer's thread once it has come, which is while the next step computes. Where the
 * training stands is a few numbers beside it: all that is random is a function of the step.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/loop.h"

/* --- the state --- */

static json_t *real_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static double real_of(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* Those of this step: what an earlier evaluation has found is of other weights. */
static json_t *own_metrics(const struct loop *l)
{
    json_t *own = json_object(), *value;
    const char *key;
    json_object_foreach(l->latest, key, value)
        if (l->evaluated == l->step || !loop__is_evaluated(key))
            json_object_set(own, key, value);
    return own;
}

static json_t *make_state(const struct loop *l)
{
    double per_epoch = l->j.steps_per_epoch > 0 ? (double)l->j.steps_per_epoch : NAN;
    return json_pack("{s:i, s:I, s:o, s:o, s:o, s:I, s:{s:o, s:I}, s:i}", "v", 1, "step",
                     (json_int_t)l->step, "epoch",
                     real_or_null((double)l->step / per_epoch), "metrics", own_metrics(l),
                     "best", real_or_null(l->best), "best_step", (json_int_t)l->best_step,
                     "early_stopping", "best", real_or_null(l->stop_best), "bad",
                     (json_int_t)l->bad, "ranks", l->c->size);
}

static void take_state(struct loop *l, const json_t *state)
{
    const json_t *stop = json_object_get(state, "early_stopping");
    const json_t *metrics = json_object_get(state, "metrics");
    l->step = json_integer_value(json_object_get(state, "step"));
    l->best = real_of(state, "best");
    l->best_step = json_integer_value(json_object_get(state, "best_step"));
    l->stop_best = real_of(stop, "best");
    l->bad = json_integer_value(json_object_get(stop, "bad"));
    l->early = l->j.stops_early && l->bad >= l->j.patience;
    l->saved = l->step;
    l->pending.loss = real_of(metrics, "loss");
    l->evaluated = json_object_get(metrics, "val_loss") != NULL ? l->step : 0;
    if (json_is_object(metrics))
        json_object_update(l->latest, (json_t *)metrics);
}

/* --- where to go on --- */

/* Rank 0 looks; all get the path and the state, or NULL. */
static int find_latest(struct loop *l, char **ret_path, json_t **ret_state,
                       struct rwf_err *err)
{
    const struct comm_ops *ops = l->c->ops;
    char *path = NULL, *text = NULL;
    json_t *state = NULL, *both = NULL;
    int64_t size = 0;
    int rc;
    if (l->c->rank == 0) {
        heartbeat_busy(l->beat, true);
        rc = checkpoint_find(l->j.checkpoints, NULL, NULL, &path, &state, err);
        heartbeat_busy(l->beat, false);
        if (rc != 0)
            return -1;
        both = path != NULL ? json_pack("{s:s, s:o}", "path", path, "state", state) : NULL;
        text = both != NULL ? json_dumps(both, JSON_COMPACT) : NULL;
        size = text != NULL ? (int64_t)strlen(text) + 1 : 0;
        free(path);
        json_decref(both);
    }
    ops->host_broadcast(l->c->ctx, &size, sizeof(size), 0);
    *ret_path = NULL;
    *ret_state = NULL;
    if (size == 0)
        return 0;
    if (text == NULL)
        text = rwf_xmalloc((size_t)size);
    ops->host_broadcast(l->c->ctx, text, size, 0);
    both = json_loads(text, 0, NULL);
    free(text);
    *ret_path = rwf_xstrdup(json_string_value(json_object_get(both, "path")));
    *ret_state = json_incref(json_object_get(both, "state"));
    json_decref(both);
    return 0;
}

int loop__start(struct loop *l, struct rwf_err *err)
{
    char *path;
    json_t *state;
    int rc;
    if (find_latest(l, &path, &state, err) != 0)
        return -1;
    if (path != NULL) {
        take_state(l, state);
        rc = params_resume(l->params, path, err);
        if (rc != 0)
            rwf_wrap(err, "resuming from %s", path);
        else if (l->c->rank == 0)
            fprintf(stderr, "goes on after step %lld, from %s\n", (long long)l->step, path);
    } else if (l->j.from != NULL) {
        rc = params_from(l->params, l->j.from, err);
    } else {
        rc = params_draw(l->params, err);
    }
    free(path);
    json_decref(state);
    return rc;
}

/* --- writing --- */

/* What goes wrong before the end is no reason to stop: an older checkpoint is there, and a
 * later one may succeed. */
static int tolerate(const struct loop *l, int rc, struct rwf_err *err)
{
    bool last = l->saved >= l->step && (l->step >= l->j.steps || l->stop || l->early);
    if (rc == 0 || last)
        return rc;
    rwf_log(RWF_LOG_WARN, "train", "a checkpoint could not be written, training goes on: %s",
            err->text);
    *err = (struct rwf_err)RWF_ERR_INIT;
    return 0;
}

int loop__save(struct loop *l, struct rwf_err *err)
{
    /* Who goes on from this checkpoint finds the lines of the steps before it. */
    if (l->metrics != NULL)
        metrics_flush(l->metrics);
    if (loop__save_write(l, err) != 0 || loop__save_wait(l, err) != 0 ||
        params_snapshot(l->params, err) != 0)
        return -1;
    l->saving = l->step;
    l->saving_state = make_state(l);
    return 0;
}

static void done(void *ctx, struct checkpoint_content *content)
{
    (void)ctx, (void)content; /* the memory stays, for the next one */
}

int loop__save_write(struct loop *l, struct rwf_err *err)
{
    struct rwf_err why = RWF_ERR_INIT;
    int rc;
    if (l->saving == 0)
        return 0;
    params_snapshot_wait(l->params);
    l->saved = l->saving;
    l->saving = 0;
    if (l->checkpoints == NULL) {
        json_decref(l->saving_state);
        return 0;
    }
    l->content = (struct checkpoint_content){ .state = l->saving_state,
                                              .config = model_config_json(l->model),
                                              .tokenizer = l->j.tokenizer,
                                              .preprocess = l->j.preprocess };
    params_snapshot_content(l->params, &l->content);
    rc = checkpoints_write(l->checkpoints, l->saved, &l->content, done, NULL, &why);
    if (rc != 0)
        json_decref(l->content.state);
    rc = tolerate(l, rc, &why);
    if (rc != 0)
        rwf_fail(err, why.code, "%s", why.text);
    return rc;
}

int loop__save_wait(struct loop *l, struct rwf_err *err)
{
    struct rwf_err why = RWF_ERR_INIT;
    if (l->checkpoints == NULL)
        return 0;
    heartbeat_busy(l->beat, true);
    int rc = tolerate(l, checkpoints_wait(l->checkpoints, &why), &why);
    heartbeat_busy(l->beat, false);
    if (rc != 0)
        rwf_fail(err, why.code, "%s", why.text);
    return rc;
}

/* --- the result --- */

static int export(struct loop *l, struct rwf_err *err)
{
    const struct loop_job *j = &l->j;
    char *path = NULL;
    json_t *state = NULL;
    int rc = -1;
    if (checkpoint_find(j->checkpoints, j->best_metric,
                        j->best_metric == NULL ? NULL
                        : j->best_max          ? "max"
                                               : "min",
                        &path, &state, err) != 0)
        return -1;
    if (path == NULL)
        rwf_fail(err, RWF_E_FAILED, "%s has no whole checkpoint to export", j->checkpoints);
    else if (rwf_fs_rmtree(j->result, err) == 0 &&
             checkpoint_export(path, j->result, err) == 0)
        rc = model_merge_folder(j->result, err);
    free(path);
    l->result = state;
    return rc;
}

int loop__export(struct loop *l, struct rwf_err *err)
{
    if (l->c->rank != 0)
        return 0;
    heartbeat_busy(l->beat, true);
    int rc = export(l, err);
    heartbeat_busy(l->beat, false);
    return rc;
}
