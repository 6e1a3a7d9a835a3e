/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "train/reports.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "train/checkpoint.h"
#include "train/spec.h"

#define METRICS_MAX ((size_t)1 << 30)

/* --- before it runs --- */

enum { MLP_CLASS, MLP_VALUE, TEXT };

static int kind_of(const struct recipe_node *body)
{
    if (strcmp(recipe_text(recipe_at(body, "model.type"), ""), "mlp") != 0)
        return TEXT;
    return strcmp(recipe_text(recipe_at(body, "model.task"), "classification"),
                  "regression") == 0
               ? MLP_VALUE
               : MLP_CLASS;
}

const char *const *train_reports(const struct recipe_node *body)
{
#define ALWAYS "loss", "learning_rate", "gradient_norm", "data_wait", "mfu"
    static const char *const names[3][2][12] = {
        [MLP_CLASS] = {{ALWAYS, "samples_per_second"},
                       {ALWAYS, "samples_per_second", "val_loss", "val_accuracy"}},
        [MLP_VALUE] = {{ALWAYS, "samples_per_second"},
                       {ALWAYS, "samples_per_second", "val_loss", "val_r2"}},
        [TEXT] = {{ALWAYS, "tokens_per_second"},
                  {ALWAYS, "tokens_per_second", "val_loss", "perplexity"}},
    };
#undef ALWAYS
    bool val = recipe_at(body, "dataset.val") != NULL;

    return names[kind_of(body)][val];
}

/* A number that stands there as such; 0: there is none. */
static double number_at(const struct recipe_node *body, const char *path)
{
    double value = 0;

    return recipe_looks_number(recipe_text(recipe_at(body, path), ""), &value) ? value
                                                                               : 0;
}

int64_t train_length(const struct recipe_node *body, const char *metric,
                     const char *unit)
{
    double epochs = number_at(body, "max_length.epochs"), every;
    double steps = number_at(body, "max_length.steps");
    bool evaluated =
        strncmp(metric, "val_", 4) == 0 || strcmp(metric, "perplexity") == 0;

    if (recipe_get(body, "max_length") == NULL)
        epochs = 1;
    if (strcmp(unit, "step") == 0)
        return (int64_t)steps;
    if (!evaluated || strcmp(unit, "report") != 0)
        return 0;
    every = number_at(body, "evaluate.every.epochs");
    if (recipe_at(body, "evaluate.every") == NULL)
        every = 1;
    if (epochs > 0 && every > 0)
        return (int64_t)ceil(epochs / every);
    every = number_at(body, "evaluate.every.steps");
    return steps > 0 && every > 0 ? (int64_t)ceil(steps / every) : 0;
}

/* --- trials that end early --- */

bool train_is_trial(void)
{
    return getenv("RAYWF_TRIAL_DIR") != NULL;
}

bool train_is_stopped(const struct op_run *r)
{
    char *path = rwf_fs_join(r->dir, "stop");
    bool stopped = train_is_trial() && rwf_fs_exists(path);

    free(path);
    return stopped;
}

static int copy_metrics(const char *checkpoints, const char *dir, struct rwf_err *err)
{
    char *from = rwf_fs_join(checkpoints, "metrics.jsonl");
    char *to = rwf_fs_join(dir, "metrics.jsonl");
    size_t len = 0;
    char *text = rwf_fs_exists(from) ? rwf_fs_read(from, METRICS_MAX, &len, err) : NULL;
    int rc = text == NULL ? 0 : rwf_fs_write(to, text, len, false, err);

    free(text);
    free(to);
    free(from);
    return rc;
}

int train_leave_partial(const struct op_run *r, const char *checkpoints,
                        struct rwf_err *err)
{
    char *result = rwf_fs_join(r->dir, "checkpoint"), *path = NULL;
    json_t *state = NULL;
    int rc =
        rwf_fs_exists(checkpoints)
            ? checkpoint_find(checkpoints, spec_text(r->spec, "checkpoint.metric"),
                              spec_text(r->spec, "checkpoint.mode"), &path, &state, err)
            : 0;

    if (rc == 0)
        rc = rwf_fs_rmtree(result, err);
    if (rc == 0 && path != NULL)
        rc = checkpoint_export(path, result, err);
    if (rc == 0)
        rc = copy_metrics(checkpoints, r->dir, err);
    json_decref(state);
    free(path);
    free(result);
    return rc;
}
