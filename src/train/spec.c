/* SPDX-License-Identifier: Apache-2.0
 *
 * From a `train` entry to its spec: references resolved, defaults filled in, numbers in
 * one form, so that an entry that says a default and one that leaves it out have the
 * same key.
 */
#include "config.h"
#include "train/spec.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"

/* --- what the recipe says, before it is resolved --- */

struct validation {
    const char *name;
    const struct recipe_node *body;
    struct recipe_diags *diags;
};

/* Where a path stands, or the nearest thing above it that stands there. */
static struct recipe_span span_of(const struct recipe_node *body, const char *path,
                                  bool on_key)
{
    struct recipe_span span = body->span;
    const struct recipe_node *node = body;

    while (*path != '\0' && node != NULL) {
        size_t len = strcspn(path, ".");
        char *key = rwf_xstrndup(path, len);
        const struct recipe_pair *pair = recipe_pair_get(node, key);
        free(key);
        path += len + (path[len] == '.');
        if (pair == NULL)
            break;
        node = pair->value;
        span = on_key || *path != '\0' || node->kind != RECIPE_SCALAR ? pair->key_span
                                                                      : node->span;
    }
    return span;
}

static void add_diag(void *ctx, const struct spec_finding *f)
{
    struct validation *v = ctx;
    const char *dot = *f->path == '\0' ? "" : ".";
    const char *parent = strrchr(f->path, '.');
    size_t len =
        f->on_key ? (parent == NULL ? 0 : (size_t)(parent - f->path)) : strlen(f->path);
    struct recipe_diag *d = recipe_diag_add(
        v->diags, RECIPE_E0307, span_of(v->body, f->path, f->on_key),
        "train.%s%s%.*s: %s", v->name, len == 0 ? "" : dot, (int)len, f->path, f->text);
    if (d != NULL && f->hint != NULL)
        recipe_diag_hint(d, "%s", f->hint);
}

void spec_validate(const char *name, const struct recipe_node *body,
                   struct recipe_diags *diags, bool program)
{
    struct validation v = {name, body, diags};
    json_t *json = recipe_to_json(body);

    if (program)
        spec_check_program(json, add_diag, &v);
    else
        spec_check(json, add_diag, &v);
    json_decref(json);
}

/* --- defaults --- */

static void fill(json_t *object, const char *key, json_t *value)
{
    if (json_object_get(object, key) == NULL)
        json_object_set_new(object, key, value);
    else
        json_decref(value);
}

/* The map at key, made when it is not there. */
static json_t *map_at(json_t *object, const char *key)
{
    fill(object, key, json_object());
    return json_object_get(object, key);
}

static void fill_mlp(json_t *model)
{
    fill(model, "task", json_string("classification"));
    fill(model, "hidden", json_pack("[i, i]", 64, 64));
    fill(model, "activation", json_string("relu"));
    fill(model, "dropout", json_real(0));
}

static void fill_transformer(json_t *spec, json_t *model)
{
    json_t *adapter = json_object_get(model, "adapter");
    json_t *tokenizer = json_object_get(spec, "tokenizer");
    json_t *sample = json_object_get(spec, "sample");

    fill(model, "text", json_string("text"));
    fill(spec, "sequence_length", json_integer(1024));
    if (json_object_get(model, "family") != NULL)
        fill(model, "context", json_incref(json_object_get(spec, "sequence_length")));
    if (adapter != NULL) {
        fill(adapter, "type", json_string("lora"));
        fill(adapter, "rank", json_integer(8));
        fill(adapter, "alpha", json_real(2.0 * (double)spec_int(adapter, "rank", 8)));
    }
    if (json_object_get(tokenizer, "type") != NULL)
        fill(tokenizer, "vocab_size", json_integer(4096));
    if (sample != NULL) {
        fill(sample, "tokens", json_integer(50));
        fill(sample, "temperature", json_real(0.8));
    }
}

static void fill_optimizer(json_t *spec)
{
    json_t *optimizer = map_at(spec, "optimizer"), *schedule = map_at(spec, "schedule");

    fill(optimizer, "type", json_string("adamw"));
    fill(optimizer, "learning_rate", json_real(0.001));
    fill(optimizer, "weight_decay", json_real(0.01));
    fill(optimizer, "betas", json_pack("[f, f]", 0.9, 0.999));
    fill(optimizer, "epsilon", json_real(1e-8));
    fill(optimizer, "momentum", json_real(0.9));
    fill(schedule, "type", json_string("constant"));
    fill(schedule, "warmup", json_pack("{s:i}", "steps", 0));
    fill(schedule, "final", json_real(0));
}

static const char *default_metric(const json_t *spec)
{
    return spec_at(spec, "dataset.val") == NULL ? "loss" : "val_loss";
}

static void fill_watch(json_t *spec, json_t *map)
{
    const char *metric;

    fill(map, "metric", json_string(default_metric(spec)));
    metric = spec_text(map, "metric");
    fill(map, "mode", json_string(spec_mode(metric != NULL ? metric : "loss")));
}

static void fill_intervals(json_t *spec)
{
    json_t *evaluate = map_at(spec, "evaluate"),
           *checkpoint = map_at(spec, "checkpoint");
    json_t *keep = map_at(checkpoint, "keep"),
           *stop = json_object_get(spec, "early_stopping");

    fill(evaluate, "every", json_pack("{s:f}", "epochs", 1.0));
    fill(evaluate, "batches", json_integer(0));
    fill(checkpoint, "every", json_pack("{s:f}", "epochs", 1.0));
    fill(keep, "best", json_integer(1));
    fill(keep, "latest", json_integer(2));
    fill_watch(spec, checkpoint);
    if (stop == NULL)
        return;
    fill_watch(spec, stop);
    fill(stop, "patience", json_integer(3));
    fill(stop, "min_delta", json_real(0));
}

/* 1 and 1.0 are the same number. */
static void make_reals(json_t *spec)
{
    static const char *const paths[] = {"model.dropout",
                                        "model.adapter.alpha",
                                        "optimizer.learning_rate",
                                        "optimizer.weight_decay",
                                        "optimizer.epsilon",
                                        "optimizer.momentum",
                                        "schedule.final",
                                        "schedule.warmup.fraction",
                                        "max_length.epochs",
                                        "gradient_clipping",
                                        "evaluate.every.epochs",
                                        "checkpoint.every.epochs",
                                        "early_stopping.min_delta",
                                        "sample.temperature"};
    json_t *betas = spec_at(spec, "optimizer.betas");

    for (size_t i = 0; i < RWF_COUNT(paths); i++) {
        json_t *value = spec_at(spec, paths[i]);
        const char *dot = strrchr(paths[i], '.');
        if (!json_is_integer(value))
            continue;
        char *parent =
            rwf_xstrndup(paths[i], dot == NULL ? 0 : (size_t)(dot - paths[i]));
        json_object_set_new(spec_at(spec, parent), dot == NULL ? paths[i] : dot + 1,
                            json_real(json_number_value(value)));
        free(parent);
    }
    for (size_t i = 0; i < json_array_size(betas); i++)
        json_array_set_new(betas, i,
                           json_real(json_number_value(json_array_get(betas, i))));
}

static void fill_device(json_t *spec)
{
    bool gpu = spec_number(spec, "resources.gpu", 0) > 0;
    const char *device = spec_text(spec, "device");

    fill(spec, "workers", json_integer(1));
    fill(spec, "shard", json_string("none"));
    fill(spec, "heartbeat", json_integer(60 * RWF_NS_PER_S));
    if (device == NULL || strcmp(device, "auto") == 0)
        json_object_set_new(spec, "device", json_string(gpu ? "cuda" : "cpu"));
    fill(spec, "micro_batch_size",
         json_integer(spec_int(spec, "global_batch_size", 64) /
                      spec_int(spec, "workers", 1)));
}

void spec_fill(json_t *spec)
{
    json_t *model = json_object_get(spec, "model");
    const char *type = spec_text(model, "type");

    if (type != NULL && strcmp(type, "mlp") == 0)
        fill_mlp(model);
    else if (type != NULL)
        fill_transformer(spec, model);
    fill_optimizer(spec);
    fill(spec, "global_batch_size", json_integer(64));
    fill(spec, "max_length", json_pack("{s:f}", "epochs", 1.0));
    fill(spec, "gradient_clipping", json_real(0));
    fill(spec, "precision", json_string("fp32"));
    fill(spec, "seed", json_integer(1));
    fill(spec, "tensorboard", json_false());
    fill_intervals(spec);
    fill_device(spec);
    make_reals(spec);
}

/* --- resolved --- */

/* Keys of an entry that say how a step is run, not what it makes. */
static const char *const policy_keys[] = {
    "help",  "needs",     "when",     "matrix", "retry", "timeout", "grace",
    "cache", "log_limit", "priority", "shell",  "dir",   "inputs",  "outputs"};
static const char *const how_keys[] = {"workers", "micro_batch_size", "device",
                                       "shard",   "heartbeat",        "env"};

struct failure {
    const struct plan_graph *g;
    const struct plan_step *step;
    struct rwf_err *err;
    bool failed;
};

static void fail_first(void *ctx, const struct spec_finding *f)
{
    struct failure *x = ctx;

    if (x->failed)
        return;
    x->failed = true;
    char *where = recipe_where(recipe_sources(plan_graph_recipe(x->g)),
                               span_of(x->step->body, f->path, f->on_key));
    rwf_fail(x->err, RWF_E_RECIPE, "%s: %s: %s%s%s", where, x->step->address, f->text,
             f->hint != NULL ? "; " : "", f->hint != NULL ? f->hint : "");
    free(where);
}

static json_t *resolve_body(const struct plan_graph *g, const struct plan_step *step,
                            struct rwf_err *err)
{
    const struct recipe_node *body = step->body;
    json_t *out = json_object();

    for (size_t i = 0; i < body->count; i++) {
        const struct recipe_pair *p = &body->pairs[i];
        bool skip = p->value->null || strncmp(p->key, "x-", 2) == 0;
        for (size_t k = 0; k < RWF_COUNT(policy_keys) && !skip; k++)
            skip = strcmp(policy_keys[k], p->key) == 0;
        if (skip)
            continue;
        json_t *value = plan_resolve(g, step, p->value, err);
        if (value == NULL || json_object_set_new(out, p->key, value) < 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

/* A path of the recipe, where it really is. */
static void make_absolute(const struct plan_graph *g, json_t *spec, const char *under,
                          const char *key)
{
    json_t *map = spec_at(spec, under);
    const char *path = json_string_value(json_object_get(map, key));

    if (path == NULL || *path == '/' || plan_graph_mode(g) != PLAN_RUN)
        return;
    char *joined = rwf_fs_join(recipe_dir(plan_graph_recipe(g)), path);
    json_object_set_new(map, key, json_string(joined));
    free(joined);
}

json_t *spec_make(const struct plan_graph *g, const struct plan_step *step,
                  struct rwf_err *err)
{
    struct failure x = {g, step, err, false};
    json_t *spec = resolve_body(g, step, err);

    if (spec == NULL)
        return NULL;
    spec_check(spec, fail_first, &x);
    if (x.failed) {
        json_decref(spec);
        return NULL;
    }
    spec_fill(spec);
    json_object_del(spec, "resources");
    make_absolute(g, spec, "dataset", "train");
    make_absolute(g, spec, "dataset", "val");
    make_absolute(g, spec, "model", "from");
    make_absolute(g, spec, "tokenizer", "path");
    for (size_t i = 0; plan_graph_mode(g) == PLAN_KEY && i < RWF_COUNT(how_keys); i++)
        json_object_del(spec, how_keys[i]);
    return spec;
}
