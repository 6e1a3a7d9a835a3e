/* SPDX-License-Identifier: Apache-2.0
 *
 * A built-in model (a train entry with model). In `raywf run-step`: the dataset is
 * prepared once for all ranks and attempts, lengths become steps, the job is written,
 * the gang runs and is relayed; what it leaves becomes the outputs.
 *
 * RUN/train/DIGEST (stable.h), shared by all attempts:
 *   data/   prepared.h    checkpoints/   checkpoint.h, and metrics.jsonl
 *   tensorboard/   event files
 */
#include "config.h"
#include "train/op_train.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "model/model.h"
#include "plan/graph.h"
#include "gang/gang.h"
#include "gang/places.h"
#include "train/prepared.h"
#include "train/reports.h"
#include "train/spec.h"
#include "train/spec_job.h"
#include "gang/stable.h"

static bool serves(const struct recipe_node *body)
{
    return recipe_get(body, "command") == NULL && recipe_get(body, "run") == NULL;
}

static void validate(const struct recipe *r, const char *name,
                     const struct recipe_node *body, struct recipe_diags *diags)
{
    (void)r;
    spec_validate(name, body, diags, false);
}

static json_t *outputs(const struct recipe_node *body)
{
    json_t *out = json_pack("{s:s, s:s, s:s}", "checkpoint", "checkpoint", "",
                            "checkpoint", "metrics", "metrics.jsonl");

    if (strcmp(recipe_text(recipe_get(body, "tensorboard"), "false"), "true") == 0)
        json_object_set_new(out, "tensorboard", json_string("tensorboard"));
    return out;
}

static int inputs(const struct plan_graph *g, const struct plan_step *step,
                  const json_t *spec, json_t *files, struct rwf_err *err)
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

/* --- for raywf plan --- */

/* Bytes that a rank holds for each trained parameter, without activations. */
static double bytes_each(const json_t *spec)
{
    static const char *const one_moment[] = {"sgd", "lion"};
    const char *type = spec_text(spec, "optimizer.type"),
               *shard = spec_text(spec, "shard");
    bool bf16 = strcmp(spec_text(spec, "precision"), "bf16") == 0;
    double workers = (double)spec_int(spec, "workers", 1);
    double weights = bf16 ? 2 : 4, gradients = 4, state = 8;

    for (size_t i = 0; i < RWF_COUNT(one_moment); i++)
        if (type != NULL && strcmp(type, one_moment[i]) == 0)
            state = 4;
    if (bf16)
        state += 4; /* the master weights */
    if (shard != NULL && strcmp(shard, "optimizer") == 0)
        return weights + gradients + state / workers;
    if (shard != NULL && strcmp(shard, "full") == 0)
        return (weights + gradients + state) / workers;
    return weights + gradients + state;
}

/* "5123", "23.4 K", "124.4 M", "32.8 B" */
static void add_count(struct rwf_str *out, double count)
{
    static const struct {
        double unit;
        const char *name;
    } units[] = {{1e9, " B"}, {1e6, " M"}, {1e4, " K"}};

    for (size_t i = 0; i < RWF_COUNT(units); i++)
        if (count >= units[i].unit) {
            double unit = units[i].unit == 1e4 ? 1e3 : units[i].unit;
            rwf_str_addf(out, "%.1f%s", count / unit, units[i].name);
            return;
        }
    rwf_str_addf(out, "%.0f", count);
}

/* "124.4 M parameters, about 1.9 GiB for weights, gradients and optimizer on each
 * worker" */
static void add_size(const json_t *spec, struct rwf_str *out)
{
    const json_t *said = spec_at(spec, "model");
    const char *type = spec_text(said, "type");
    bool mlp = type == NULL || strcmp(type, "mlp") == 0;
    int vocab = (int)spec_int(spec, "tokenizer.vocab_size", 0);
    json_t *config = mlp ? NULL : model_config(said, vocab, NULL);
    struct model *model = config == NULL ? NULL : model_create(config, NULL);
    char size[RWF_UNITS_LEN];

    if (model != NULL) {
        const struct model_layout *layout = model_layout(model);
        double frozen = (double)(layout->parameters - layout->trainable) *
                        (strcmp(spec_text(spec, "precision"), "bf16") == 0 ? 2 : 4);
        rwf_str_add(out, "; ");
        add_count(out, (double)layout->parameters);
        rwf_str_add(out, " parameters");
        if (layout->trainable != layout->parameters) {
            rwf_str_add(out, " (");
            add_count(out, (double)layout->trainable);
            rwf_str_add(out, " trained)");
        }
        rwf_str_addf(out, ", %s and activations on each worker",
                     rwf_size_format((int64_t)(frozen + (double)layout->trainable *
                                                            bytes_each(spec)),
                                     size));
    }
    model_destroy(model);
    json_decref(config);
}

static char *describe(const struct plan_step *step, const json_t *spec)
{
    struct rwf_str out = {0};
    int64_t workers = spec_int(spec, "workers", 1);
    (void)step;

    rwf_str_addf(&out, "global batch %lld = %lld worker%s x %lld x %lld accumulated",
                 (long long)spec_int(spec, "global_batch_size", 64), (long long)workers,
                 workers == 1 ? "" : "s",
                 (long long)spec_int(spec, "micro_batch_size", 1),
                 (long long)spec_accumulation(spec));
    add_size(spec, &out);
    return rwf_str_take(&out);
}

/* --- the job --- */

struct training {
    struct op_run *run;
    const json_t *spec;
    char *stable, *data, *job_path, *heartbeat;
    json_t *info, *job;
};

/* DIR/name as JSON text if it is there, else null. */
static json_t *path_if(const char *dir, const char *name)
{
    char *path = rwf_fs_join(dir, name);
    json_t *out = rwf_fs_exists(path) ? json_string(path) : json_null();
    free(path);
    return out;
}

/* A model that has no end of its own ends a text as the tokenizer does, so that generating
 * ends, too. */
static void set_ends(json_t *config, const json_t *end)
{
    static const char *const keys[] = {"bos_token_id", "eos_token_id"};

    for (size_t i = 0; end != NULL && i < RWF_COUNT(keys); i++)
        if (json_is_null(json_object_get(config, keys[i])))
            json_object_set(config, keys[i], (json_t *)(uintptr_t)end);
}

/* The model's config.json. What the recipe says in names, the data has in numbers. */
static json_t *make_config(const struct training *t, struct rwf_err *err)
{
    static const char *const numbers[] = {"features", "outputs", "class_weights"};
    json_t *said = json_deep_copy(spec_at(t->spec, "model")), *config;

    for (size_t i = 0; i < RWF_COUNT(numbers); i++) {
        json_object_del(said, numbers[i]);
        if (spec_at(t->info, numbers[i]) != NULL)
            json_object_set(said, numbers[i], spec_at(t->info, numbers[i]));
    }
    config = model_config(said, (int)spec_int(t->info, "vocab", 0), err);
    json_decref(said);
    if (config != NULL)
        set_ends(config, spec_at(t->info, "end"));
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
    rc = text == NULL
             ? rwf_fail(err, RWF_E_BUG, "%s: the job is no JSON", t->run->address)
             : rwf_fs_write(t->job_path, text, strlen(text), false, err);
    free(text);
    return rc;
}

/* --- what is said at the start --- */

static void announce(const struct training *t)
{
    int64_t workers = spec_int(t->spec, "workers", 1);
    const char *device = spec_text(t->spec, "device");

    fprintf(
        stderr,
        "%lld worker%s on %s, %s: %lld steps, %lld in an epoch; global batch %lld = "
        "%lld worker%s x %lld rows x %lld accumulated\n",
        (long long)workers, workers == 1 ? "" : "s",
        strcmp(device, "cuda") == 0 ? "CUDA" : "the CPU",
        spec_text(t->spec, "precision"), (long long)spec_int(t->job, "steps", 0),
        (long long)spec_int(t->job, "steps_per_epoch", 0),
        (long long)spec_int(t->spec, "global_batch_size", 0), (long long)workers,
        workers == 1 ? "" : "s", (long long)spec_int(t->spec, "micro_batch_size", 0),
        (long long)spec_accumulation(t->spec));
}

/* --- running --- */

static void relay(void *ctx, const json_t *line)
{
    const struct training *t = ctx;

    t->run->report(t->run, line);
}

/* "raywf-rank: rank 1: text": what is before the text is said otherwise. */
static const char *text_of(const char *last)
{
    const char *text = last;
    size_t digits;

    if (rwf_starts_with(text, "raywf-rank: "))
        text += strlen("raywf-rank: ");
    digits = rwf_starts_with(text, "rank ") ? strspn(text + 5, "0123456789") : 0;
    if (digits > 0 && rwf_starts_with(text + 5 + digits, ": "))
        text += 5 + digits + 2;
    return text;
}

/* A rank that ends by itself has said why on its last line; its exit code is one of
 * ours. */
static void explain(struct training *t, const struct gang *gang,
                    const struct gang_result *r, struct rwf_err *err)
{
    const char *text = text_of(r->last);

    t->run->exit_code = gang_exit_code(r);
    gang_explain(gang, r, r->end != GANG_SIGNAL, err);
    if (r->end != GANG_EXIT || *text == '\0' || rwf_exit_help(r->exit_code) == NULL)
        return;
    if (gang->workers == 1)
        rwf_fail(err, RWF_E_BASE + r->exit_code, "%s", text);
    else
        rwf_fail(err, RWF_E_BASE + r->exit_code, "rank %d of %d: %s", r->rank,
                 gang->workers, text);
}

static int run_gang(struct training *t, struct rwf_err *err)
{
    struct gang_result result;
    struct gang_places places;
    int workers = (int)spec_int(t->spec, "workers", 1);
    if (gang_places_read(&places, t->run->places, workers, err) != 0)
        return -1;
    char *rank = gang_program(err);
    json_t *argv = json_pack("[s?, s, s]", rank, "train", t->job_path);
    struct gang gang = {.places = &places,
                        .dir = t->run->dir,
                        .program = rank,
                        .workers = workers,
                        .memory = t->run->memory / workers,
                        .argv = argv,
                        .env = spec_at(t->spec, "env"),
                        .cpu = t->run->cpu,
                        .heartbeat = t->heartbeat,
                        .heartbeat_limit = spec_int(t->spec, "heartbeat", 0),
                        .report = relay,
                        .ctx = t};
    int rc = rank == NULL ? -1 : gang_run(&gang, &result, err);

    if (rc == 0 && result.end != GANG_WELL) {
        explain(t, &gang, &result, err);
        rc = -1;
    }
    json_decref(argv);
    free(rank);
    gang_places_free(&places);
    return rc;
}

/* Moves what attempts have shared to where the outputs are looked for. */
static int move(const char *from, const char *dir, const char *name,
                struct rwf_err *err)
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
    if (json_is_true(spec_at(t->spec, "tensorboard")) &&
        move(t->stable, t->run->dir, "tensorboard", err) != 0)
        return -1;
    (void)rwf_fs_rmtree(t->stable, NULL);
    return 0;
}

/* A trial that its search has ended. */
static int leave_partial(struct training *t, struct rwf_err *err)
{
    char *checkpoints = rwf_fs_join(t->stable, "checkpoints");
    int rc = train_leave_partial(t->run, checkpoints, err);

    free(checkpoints);
    return rc;
}

static int prepare(struct training *t, struct rwf_err *err)
{
    t->data = rwf_fs_join(t->stable, "data");
    t->job_path = rwf_fs_join(t->run->dir, "train.job.json");
    t->heartbeat = rwf_fs_join(t->run->dir, "heartbeat");
    if (rwf_fs_mkdirs(t->heartbeat, err) != 0 ||
        prepare_data(t->run, t->spec, t->data, &t->info, err) != 0)
        return -1;
    return write_job(t, err);
}

static int run(struct op_run *r, struct rwf_err *err)
{
    struct training t = {.run = r, .spec = r->spec, .stable = stable_folder(r, true, err)};
    bool over = train_is_stopped(r); /* before it could end */
    int rc = t.stable == NULL ? -1 : over ? 0 : prepare(&t, err);

    if (rc == 0 && !over) {
        announce(&t);
        rc = run_gang(&t, err);
    }
    if (t.stable != NULL && train_is_stopped(r))
        rc = leave_partial(&t, err);
    else if (rc == 0)
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
    .describe = describe,
    .metrics = train_reports,
    .length = train_length,
    .run = run,
};
