/* SPDX-License-Identifier: Apache-2.0
 *
 * The dataset op: what a `datasets` entry means to the plan. Running it is execute.c.
 *
 * The spec says what decides the rows and nothing else: in PLAN_KEY mode neither
 * headers (they may hold secrets), nor where things lie in the recipe, nor the cores;
 * the content of files comes in through inputs. In PLAN_RUN mode paths are absolute and
 * "places" says where each key stands, for messages.
 */
#include "config.h"
#include "data/dataset.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/execute.h"
#include "data/split.h"
#include "plan/graph.h"

#define DATASET_RECIPE_DIR "<recipe.dir>/" /* ${recipe.dir} in PLAN_KEY mode */

/* --- validate --- */

/* The schema says all else: which keys exclude each other, names and ranges. */
static void check_split(const struct recipe_node *split, struct recipe_diags *diags)
{
    double sum = 0, fraction;
    size_t names = 0;
    for (size_t i = 0; i < split->count; i++) {
        const struct recipe_pair *p = &split->pairs[i];
        if (split_is_option(p->key) || rwf_starts_with(p->key, "x-"))
            continue;
        names++;
        if (!recipe_looks_number(recipe_text(p->value, ""), &fraction))
            return; /* a reference: checked when it runs */
        sum += fraction;
    }
    if (names == 0)
        recipe_diag_add(diags, RECIPE_E0305, split->span,
                        "a split needs names with fractions, such as train: 0.8");
    else if (fabs(sum - 1) > SPLIT_SLACK)
        recipe_diag_hint(recipe_diag_add(diags, RECIPE_E0305, split->span,
                                         "the fractions add up to %.12g", sum),
                         "make them add up to 1: every row goes to exactly one split");
}

static void dataset_validate(const struct recipe *r, const char *name,
                             const struct recipe_node *body, struct recipe_diags *diags)
{
    const struct recipe_node *split = recipe_get(body, "split");
    (void)r, (void)name;
    if (split != NULL && split->kind == RECIPE_MAP)
        check_split(split, diags);
}

/* --- outputs --- */

static json_t *dataset_outputs(const struct recipe_node *body)
{
    const struct recipe_node *split = recipe_get(body, "split");
    const char *format =
        recipe_text(recipe_get(recipe_get(body, "write"), "format"), "parquet");
    json_t *outputs = json_object();
    if (split == NULL || split->kind != RECIPE_MAP) {
        json_object_set_new(outputs, "data", json_sprintf("data.%s", format));
        json_object_set_new(outputs, "", json_sprintf("data.%s", format));
        return outputs;
    }
    for (size_t i = 0; i < split->count; i++) {
        const char *name = split->pairs[i].key;
        if (!split_is_option(name) && !rwf_starts_with(name, "x-"))
            json_object_set_new(outputs, name, json_sprintf("%s.%s", name, format));
    }
    return outputs;
}

/* --- spec --- */

struct maker {
    const struct plan_graph *g;
    const struct plan_step *step;
    bool run; /* PLAN_RUN */
    json_t *spec, *places;
};

static const struct recipe *recipe_of(const struct maker *m)
{
    return plan_graph_recipe(m->g);
}

/* A path of the recipe, where it really is. */
static json_t *absolute(const struct maker *m, const char *path)
{
    char *joined = rwf_fs_join(recipe_dir(recipe_of(m)), path);
    json_t *text = json_string(joined);
    free(joined);
    return text;
}

static bool is_pattern(const char *path, const char *real)
{
    return strpbrk(path, "*?[") != NULL && !rwf_fs_exists(real);
}

/* Adds where path really is, and for a pattern every file the recipe knows by it (a
 * plan file has frozen them): the same files as in the key. */
static void add_real(const struct maker *m, json_t *list, const char *path)
{
    const struct recipe *r = recipe_of(m);
    char *real = rwf_fs_join(recipe_dir(r), path);
    const json_t *found =
        path[0] != '/' && is_pattern(path, real) ? recipe_glob(r, path) : NULL;
    size_t i;
    json_t *name;
    json_array_foreach((json_t *)found, i, name)
        json_array_append_new(list, absolute(m, json_string_value(name)));
    if (json_array_size(found) == 0)
        json_array_append_new(list, json_string(real));
    free(real);
}

/* In PLAN_RUN mode makes object[key], a path or a list of them, a list of absolute
 * ones. */
static void make_real(const struct maker *m, json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key), *item, *list;
    size_t i;
    if (!m->run || value == NULL)
        return;
    list = json_array();
    if (json_is_string(value))
        add_real(m, list, json_string_value(value));
    json_array_foreach(value, i, item)
        if (json_is_string(item))
            add_real(m, list, json_string_value(item));
    json_object_set_new(object, key, list);
}

static json_t *place_of(const struct maker *m, struct recipe_span span)
{
    char *where =
        span.line > 0 ? recipe_where(recipe_sources(recipe_of(m)), span) : NULL;
    json_t *text = where != NULL ? json_string(where) : json_null();
    free(where);
    return text;
}

/* spec[key] = the resolved value of body's key, and its place. 0 also when it is
 * absent. */
static int add_key(struct maker *m, const char *key, struct rwf_err *err)
{
    const struct recipe_pair *pair = recipe_pair_get(m->step->body, key);
    if (pair == NULL || pair->value->null)
        return 0;
    json_t *value = plan_resolve(m->g, m->step, pair->value, err);
    if (value == NULL)
        return -1;
    json_object_set_new(m->spec, key, value);
    json_object_set_new(m->places, key, place_of(m, pair->key_span));
    return 0;
}

/* {new: EXPR, …} as [{new: EXPR}, …]: the order of columns is part of the result, the
 * order of a map's keys is no part of a key. */
static json_t *resolve_select(struct maker *m, const struct recipe_node *map,
                              struct rwf_err *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < map->count; i++) {
        json_t *value = plan_resolve(m->g, m->step, map->pairs[i].value, err);
        json_t *item = json_object();
        json_array_append_new(list, item);
        if (value != NULL && json_object_set_new(item, map->pairs[i].key, value) == 0)
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *resolve_step(struct maker *m, const struct recipe_pair *pair,
                            struct rwf_err *err)
{
    bool is_map = pair->value->kind == RECIPE_MAP;
    json_t *value = is_map && strcmp(pair->key, "select") == 0
                        ? resolve_select(m, pair->value, err)
                        : plan_resolve(m->g, m->step, pair->value, err);
    if (value == NULL)
        return NULL;
    if (strcmp(pair->key, "join") == 0)
        make_real(m, value, "with");
    json_t *step = json_object();
    json_object_set_new(step, pair->key, value);
    return step;
}

static int add_steps(struct maker *m, struct rwf_err *err)
{
    const struct recipe_node *steps = recipe_get(m->step->body, "steps");
    if (steps == NULL || steps->kind != RECIPE_LIST || steps->count == 0)
        return 0;
    json_t *list = json_array(), *places = json_array();
    json_object_set_new(m->spec, "steps", list);
    json_object_set_new(m->places, "steps", places);
    for (size_t i = 0; i < steps->count; i++) {
        const struct recipe_node *node = steps->items[i];
        if (node->kind != RECIPE_MAP || node->count != 1)
            return rwf_fail(err, RWF_E_RECIPE, "steps[%zu] is not a map with one key",
                            i);
        json_t *step = resolve_step(m, &node->pairs[0], err);
        if (step == NULL)
            return -1;
        json_array_append_new(list, step);
        json_array_append_new(places, place_of(m, node->pairs[0].key_span));
    }
    return 0;
}

static void add_for_mode(struct maker *m)
{
    const struct recipe_node *resources = recipe_get(m->step->body, "resources");
    json_t *read = json_object_get(m->spec, "read");
    if (!m->run) {
        json_object_del(read, "headers");
        return;
    }
    json_t *write = json_object_get(m->spec, "write");
    const char *copy = json_string_value(json_object_get(write, "path"));
    make_real(m, read, "path");
    make_real(m, m->spec, "from");
    if (copy != NULL)
        json_object_set_new(write, "path", absolute(m, copy));
    json_object_set(m->spec, "places", m->places);
    json_object_set_new(m->spec, "dir", json_string(recipe_dir(recipe_of(m))));
    if (recipe_get(resources, "cpu") == NULL)
        json_object_set_new(m->spec, "all_cores", json_true());
}

static json_t *dataset_spec(const struct plan_graph *g, const struct plan_step *step,
                            struct rwf_err *err)
{
    static const char *const keys[] = { "read", "from", "split", "expect", "write" };
    struct maker m = { .g = g, .step = step, .run = plan_graph_mode(g) == PLAN_RUN,
                       .spec = json_object(), .places = json_object() };
    int r = 0;
    for (size_t i = 0; i < RWF_COUNT(keys) && r == 0; i++)
        r = add_key(&m, keys[i], err);
    if (r == 0)
        r = add_steps(&m, err);
    if (r == 0)
        add_for_mode(&m);
    json_decref(m.places);
    if (r == 0)
        return m.spec;
    json_decref(m.spec);
    return NULL;
}

/* --- inputs --- */

/* Adds what path stands for: the file, a folder's files, a glob's. What another step
 * gives is known by its digest already. */
static void add_path(const struct recipe *r, json_t *files, const char *path)
{
    size_t i;
    json_t *found;
    if (path == NULL || rwf_starts_with(path, "sha256:"))
        return;
    if (rwf_starts_with(path, DATASET_RECIPE_DIR))
        path += strlen(DATASET_RECIPE_DIR);
    char *real = rwf_fs_join(recipe_dir(r), path);
    bool folder = rwf_fs_exists(real) && !rwf_fs_is_file(real);
    bool glob = is_pattern(path, real);
    char *pattern = folder ? rwf_xasprintf("%s/*", path) : rwf_xstrdup(path);
    const json_t *list = folder || glob ? recipe_glob(r, pattern) : NULL;
    json_array_foreach((json_t *)list, i, found)
        json_object_set_new(files, json_string_value(found), json_true());
    if (json_array_size(list) == 0)
        json_object_set_new(files, path, json_true()); /* the key reports it missing */
    free(pattern);
    free(real);
}

static void add_paths(const struct recipe *r, json_t *files, const json_t *paths)
{
    size_t i;
    json_t *path;
    add_path(r, files, json_string_value(paths));
    json_array_foreach((json_t *)paths, i, path)
        add_path(r, files, json_string_value(path));
}

static void add_program(const struct plan_graph *g, json_t *files, const json_t *run)
{
    const char *shell = json_string_value(json_object_get(run, "run"));
    size_t i;
    json_t *word;
    json_array_foreach(json_object_get(run, "argv"), i, word)
        if (json_is_string(word))
            plan_add_code_word(g, NULL, json_string_value(word), files);
    if (shell != NULL)
        plan_add_code_text(g, NULL, shell, files);
}

static int dataset_inputs(const struct plan_graph *g, const struct plan_step *step,
                          const json_t *spec, json_t *files, struct rwf_err *err)
{
    const struct recipe *r = plan_graph_recipe(g);
    const json_t *steps = json_object_get(spec, "steps");
    size_t i;
    json_t *one;
    (void)step, (void)err;
    add_paths(r, files, json_object_get(json_object_get(spec, "read"), "path"));
    add_paths(r, files, json_object_get(spec, "from"));
    json_array_foreach((json_t *)steps, i, one) {
        add_paths(r, files, json_object_get(json_object_get(one, "join"), "with"));
        if (json_object_get(one, "run") != NULL)
            add_program(g, files, json_object_get(one, "run"));
    }
    return 0;
}

const struct op dataset_op = {
    .name = "dataset",
    .section = "datasets",
    .summary = "rows read, changed, checked, split and written by DuckDB",
    .version = 1,
    .validate = dataset_validate,
    .lower = plan_lower_one,
    .outputs = dataset_outputs,
    .spec = dataset_spec,
    .inputs = dataset_inputs,
    .run = execute_dataset,
};
