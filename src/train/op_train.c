/* SPDX-License-Identifier: Apache-2.0
 *
 * A built-in model (a train entry with model). In `raywf run-step`: the dataset is prepared
 * once for all ranks and attempts, lengths become steps, the job is written, the gang runs and
 * is relayed; what it leaves becomes the outputs.
 *
 * RUN/train/DIGEST (stable.h), shared by all attempts:
 *   data/          prepared.h          checkpoints/   checkpoint.h
 *   tensorboard/   event files         metrics.jsonl
 */
#include "config.h"
#include "train/op_train.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "model/model.h"
#include "plan/graph.h"
#include "train/gang.h"
#include "train/prepared.h"
#include "train/spec.h"
#include "train/spec_job.h"
#include "train/stable.h"

#define JSON_FILE_MAX (64 << 20)

static bool serves(const struct recipe_node *body)
{
    return recipe_get(body, "command") == NULL && recipe_get(body, "run") == NULL;
}

static void validate(const struct recipe *r, const char *name, const struct recipe_node *body,
                     struct recipe_diags *diags)
{
    (void)r;
    spec_validate(name, body, diags, false);
}

static json_t *outputs(const struct recipe_node *body)
{
    json_t *out = json_pack("{s:s, s:s, s:s}", "checkpoint", "checkpoint", "", "checkpoint",
                            "metrics", "metrics.jsonl");

    if (strcmp(recipe_text(recipe_get(body, "tensorboard"), "false"), "true") == 0)
        json_object_set_new(out, "tensorboard", json_string("tensorboard"));
    return out;
}

static int inputs(const struct plan_graph *g, const struct plan_step *step, const json_t *spec,
                  json_t *files, struct rwf_err *err)
{
    static const char *const paths[] = {"dataset.train", "dataset.val", "model.from",
                                        "tokenizer.path"};
    (void)step;
    for (size_t i = 0; i < RWF_COUNT(paths); i++) {
        const char *path = spec_text(spec, paths[i]);
        if (path != NULL && plan_add_path(g, path, files, err) < 0)
            return -1;
    }
    return 0;
}

/* --- the job --- */

struct training {
    struct op_run *run;
    const json_t *spec;
    char *stable, *data, *job_path, *heartbeat;
    json_t *info, *job;
    struct stable_metrics *metrics;
    struct rwf_err relayed; /* what went wrong while relaying */
};

/* DIR/name as JSON text if it is there, else null. */
static json_t *path_if(const char *dir, const char *name)
{
    char *path = rwf_fs_join(dir, name);
    json_t *out = rwf_fs_exists(path) ? json_string(path) : json_null();
    free(path);
    return out;
}

static json_t *load(const char *dir, const char *name, struct rwf_err *err)
{
    char *path = rwf_fs_join(dir, name);
    size_t len;
    json_error_t why;
    char *text = rwf_fs_read(path, JSON_FILE_MAX, &len, err);
    json_t *json = text == NULL ? NULL : json_loadb(text, len, 0, &why);

    if (text == NULL && err != NULL)
        err->code = RWF_E_INPUT;
    else if (!json_is_object(json)) {
        rwf_fail(err, RWF_E_INPUT, "%s is no JSON object: %s", path, json == NULL ? why.text : "");
        json_decref(json);
        json = NULL;
    }
    free(text);
    free(path);
    return json;
}

/* The model's config.json: of the weights it starts from, or made of what the recipe says. */
static json_t *make_config(const struct training *t, struct rwf_err *err)
{
    const json_t *model = spec_at(t->spec, "model"), *adapter = spec_at(model, "adapter");
    const char *from = spec_text(model, "from");
    json_t *config, *said;

    if (from != NULL) {
        config = load(from, "config.json", err);
        if (config == NULL)
            return NULL;
    } else {
        said = json_deep_copy(model);
        if (spec_at(t->info, "features") != NULL) {
            json_object_set(said, "features", spec_at(t->info, "features"));
            json_object_set(said, "outputs", spec_at(t->info, "outputs"));
        }
        config = model_config(said, (int)spec_int(t->info, "vocab", 0), err);
        json_decref(said);
    }
    if (config != NULL && adapter != NULL && model_config_adapter(config, adapter, err) != 0) {
        json_decref(config);
        config = NULL;
    }
    return config;
}

static void set_path(json_t *job, const char *key, const char *dir, const char *name)
{
    char *path = rwf_fs_join(dir, name);
    json_object_set_new(job, key, json_string(path));
    free(path);
}

static void set_paths(struct training *t)
{
    const char *from = spec_text(t->spec, "model.from");
    const char *dir = t->run->dir;

    json_object_set_new(t->job, "address", json_string(t->run->address));
    json_object_set_new(t->job, "data", json_string(t->data));
    json_object_set_new(t->job, "work", json_string(dir));
    set_path(t->job, "checkpoints", t->stable, "checkpoints");
    set_path(t->job, "result", dir, "checkpoint");
    set_path(t->job, "report", dir, "report");
    if (json_is_true(spec_at(t->spec, "tensorboard")))
        set_path(t->job, "tensorboard", t->stable, "tensorboard");
    else
        json_object_set_new(t->job, "tensorboard", json_null());
    json_object_set_new(t->job, "from", from != NULL ? json_string(from) : json_null());
    json_object_set_new(t->job, "tokenizer", path_if(t->data, "tokenizer.json"));
    json_object_set_new(t->job, "preprocess", path_if(t->data, "preprocess.json"));
    json_object_set_new(t->job, "heartbeat", json_string(t->heartbeat));
    json_object_set_new(t->job, "threads",
                        json_integer(t->run->cpu >= 2 ? (json_int_t)t->run->cpu : 1));
}

static int write_job(struct training *t, struct rwf_err *err)
{
    char *text;
    int rc;

    t->job = spec_job(t->spec, t->info, err);
    if (t->job == NULL)
        return -1;
    json_t *config = make_config(t, err);
    if (config == NULL)
        return -1;
    json_object_set_new(t->job, "config", config);
    set_paths(t);
    text = json_dumps(t->job, JSON_INDENT(1));
    rc = text == NULL ? rwf_fail(err, RWF_E_BUG, "%s: the job is no JSON", t->run->address)
                      : rwf_fs_write(t->job_path, text, strlen(text), false, err);
    free(text);
    return rc;
}

/* --- what is said at the start --- */

static void announce(const struct training *t)
{
    int64_t workers = spec_int(t->spec, "workers", 1);
    const char *device = spec_text(t->spec, "device");

    fprintf(stderr,
            "%lld worker%s on %s, %s: %lld steps, %lld in an epoch; global batch %lld = "
            "%lld worker%s x %lld rows x %lld accumulated\n",
            (long long)workers, workers == 1 ? "" : "s",
            strcmp(device, "cuda") == 0 ? "CUDA" : "the CPU", spec_text(t->spec, "precision"),
            (long long)spec_int(t->job, "steps", 0),
            (long long)spec_int(t->job, "steps_per_epoch", 0),
            (long long)spec_int(t->spec, "global_batch_size", 0), (long long)workers,
            workers == 1 ? "" : "s", (long long)spec_int(t->spec, "micro_batch_size", 0),
            (long long)spec_accumulation(t->spec));
}

/* --- running --- */

static void relay(void *ctx, const json_t *line)
{
    struct training *t = ctx;

    if (t->relayed.code == 0)
        (void)stable_metrics_add(t->metrics, line, &t->relayed);
    t->run->report(t->run, line);
}

static int run_gang(struct training *t, struct rwf_err *err)
{
    struct gang_result result;
    char *rank = gang_program(err);
    json_t *argv = json_pack("[s?, s, s]", rank, "train", t->job_path);
    struct gang gang = {.dir = t->run->dir,
                        .program = rank,
                        .workers = (int)spec_int(t->spec, "workers", 1),
                        .argv = argv,
                        .env = spec_at(t->spec, "env"),
                        .cpu = t->run->cpu,
                        .heartbeat = t->heartbeat,
                        .heartbeat_limit = spec_int(t->spec, "heartbeat", 0),
                        .report = relay,
                        .ctx = t};
    int rc = rank == NULL ? -1 : gang_run(&gang, &result, err);

    if (rc == 0 && result.end != GANG_WELL) {
        bool said = result.end == GANG_EXIT && result.last[0] != '\0' &&
                    rwf_exit_help(result.exit_code) != NULL;
        rc = -1;
        t->run->exit_code = gang_exit_code(&result);
        gang_explain(&gang, &result, result.end != GANG_SIGNAL, err);
        if (said && gang.workers == 1)
            rwf_fail(err, RWF_E_BASE + result.exit_code, "%s", result.last);
        else if (said)
            rwf_fail(err, RWF_E_BASE + result.exit_code, "rank %d of %d: %s", result.rank,
                     gang.workers, result.last);
    }
    json_decref(argv);
    free(rank);
    return rc;
}

/* Moves what attempts have shared to where the outputs are looked for. */
static int move(const char *from, const char *dir, const char *name, struct rwf_err *err)
{
    char *here = rwf_fs_join(from, name), *there = rwf_fs_join(dir, name);
    int rc = rename(here, there) == 0
                 ? 0
                 : rwf_fail(err, errno, "%s cannot be moved to %s: %s", here, there,
                            strerror(errno));
    free(there);
    free(here);
    return rc;
}

static int leave_outputs(struct training *t, struct rwf_err *err)
{
    if (t->relayed.code != 0) {
        *err = t->relayed;
        return -1;
    }
    if (move(t->stable, t->run->dir, "metrics.jsonl", err) != 0)
        return -1;
    if (json_is_true(spec_at(t->spec, "tensorboard")) &&
        move(t->stable, t->run->dir, "tensorboard", err) != 0)
        return -1;
    (void)rwf_fs_rmtree(t->stable, NULL);
    return 0;
}

static int prepare(struct training *t, struct rwf_err *err)
{
    t->data = rwf_fs_join(t->stable, "data");
    t->job_path = rwf_fs_join(t->run->dir, "train.job.json");
    t->heartbeat = rwf_fs_join(t->run->dir, "heartbeat");
    if (rwf_fs_mkdirs(t->heartbeat, err) != 0 ||
        prepare_data(t->run, t->spec, t->data, &t->info, err) != 0)
        return -1;
    t->metrics = stable_metrics_open(t->stable, err);
    return t->metrics == NULL ? -1 : write_job(t, err);
}

static int run(struct op_run *r, struct rwf_err *err)
{
    struct training t = {.run = r, .spec = r->spec, .stable = stable_folder(r, err)};
    int rc = t.stable == NULL ? -1 : prepare(&t, err);

    if (rc == 0) {
        announce(&t);
        rc = run_gang(&t, err);
    }
    stable_metrics_close(t.metrics);
    if (rc == 0)
        rc = leave_outputs(&t, err);
    json_decref(t.info);
    json_decref(t.job);
    free(t.heartbeat);
    free(t.job_path);
    free(t.data);
    free(t.stable);
    return rc;
}

const struct op train_op = {
    .name = "train",
    .section = "train",
    .summary = "a built-in model, trained by one or several workers",
    .version = 1,
    .gang = true,
    .serves = serves,
    .validate = validate,
    .lower = plan_lower_one,
    .outputs = outputs,
    .spec = spec_make,
    .inputs = inputs,
    .run = run,
};
