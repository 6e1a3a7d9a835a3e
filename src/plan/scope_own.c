/* SPDX-License-Identifier: Apache-2.0
 *
 * What references mean that look at the entry they stand in: its matrix, the item of its
 * foreach, its inputs and datasets.
 */
#include "config.h"
#include "plan/lookup.h"

#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"

bool plan__has_axis(const struct plan__entry *e, const char *name)
{
    for (size_t i = 0; i < e->axis_count; i++)
        if (strcmp(e->axes[i], name) == 0)
            return true;
    return false;
}

static bool names_extra(const struct plan__entry *e, const char *name)
{
    for (size_t i = 0; i < e->extra_count; i++)
        if (strcmp(e->extras[i], name) == 0)
            return true;
    return false;
}

static int fail_axis(struct plan__lookup *l, const struct plan__entry *e,
                     const char *name)
{
    struct rwf_suggest near;

    rwf_suggest_init(&near, name);
    for (size_t i = 0; i < e->axis_count; i++)
        rwf_suggest_try(&near, e->axes[i]);
    for (size_t i = 0; i < e->extra_count; i++)
        rwf_suggest_try(&near, e->extras[i]);
    plan__lookup_fail(l, RECIPE_E0202, "the matrix of %s has no axis '%s'", e->address,
                      name);
    plan__lookup_near(l, &near);
    return -1;
}

int plan__lookup_matrix(struct plan__lookup *l)
{
    const struct plan__entry *e = l->s->entry;
    const struct recipe_node *value;

    if (plan__lookup_parts(l, 2, "matrix.AXIS") < 0)
        return -1;
    if (!e || !recipe_get(e->body, "matrix"))
        return plan__lookup_fail(l, RECIPE_E0202, "there is no matrix here");
    const char *name = l->ref->parts[1];
    if (!l->s->instance && e->count == 0)
        return l->s->stage == PLAN__CHECK
                   ? plan__lookup_give(l, EXPR_PENDING, NULL)
                   : plan__lookup_fail(l, RECIPE_E0303,
                                       "the matrix is not known yet at this place");
    if (!plan__has_axis(e, name) && !names_extra(e, name))
        return fail_axis(l, e, name);
    value = l->s->instance ? plan__binding(l->s->instance, name) : NULL;
    if (value) {
        *l->ret = plan__scalar_value(value);
        return 0;
    }
    if (l->ref->fallback)
        return plan__lookup_give(l, EXPR_STRING, l->ref->fallback);
    if (l->s->stage == PLAN__CHECK)
        return plan__lookup_give(l, EXPR_PENDING, NULL);
    plan__lookup_fail(l, RECIPE_E0303,
                      "this instance of %s has no '%s', only others have", e->address,
                      name);
    plan__lookup_hint(l, "give a default: ${matrix.%s ?? \"…\"}", name);
    return -1;
}

int plan__lookup_item(struct plan__lookup *l)
{
    const struct plan__entry *e = l->s->entry;
    const struct recipe_node *value;

    if (!e || !recipe_get(e->body, "foreach"))
        return plan__lookup_fail(l, RECIPE_E0202, "there is no foreach here");
    if (e->by_rows) {
        plan__lookup_fail(l, RECIPE_E0202, "there is no item: %s goes through rows",
                          e->address);
        plan__lookup_hint(l, "the function finds each row as row in its argument");
        return -1;
    }
    if (!l->s->instance || !(value = plan__binding(l->s->instance, "item")))
        return l->s->stage == PLAN__CHECK
                   ? plan__lookup_give(l, EXPR_PENDING, NULL)
                   : plan__lookup_fail(l, RECIPE_E0303,
                                       "the items are not known yet at this place");
    for (size_t i = 1; i < l->ref->count; i++) {
        const struct recipe_node *next = recipe_get(value, l->ref->parts[i]);
        struct rwf_suggest near;
        rwf_suggest_init(&near, l->ref->parts[i]);
        for (size_t k = 0; !next && value->kind == RECIPE_MAP && k < value->count; k++)
            rwf_suggest_try(&near, value->pairs[k].key);
        if (!next && l->ref->fallback)
            return plan__lookup_give(l, EXPR_STRING, l->ref->fallback);
        if (!next) {
            plan__lookup_fail(l, RECIPE_E0202, "the item has no '%s'",
                              l->ref->parts[i]);
            plan__lookup_near(l, &near);
            return -1;
        }
        value = next;
    }
    if (value->kind != RECIPE_SCALAR)
        return plan__lookup_fail(l, RECIPE_E0203,
                                 "'${%s}' is a map or a list: name one of its values, "
                                 "as in ${item.name}",
                                 l->ref->text);
    *l->ret = plan__scalar_value(value);
    if (e->by_file && plan__lookup_runs(l)) {
        char *path = rwf_fs_join(recipe_dir(l->s->g->recipe), value->text);
        l->ret->text = rwf_arena_strdup(l->a, path);
        free(path);
    }
    return 0;
}

/* A path of an input: absolute when the step runs, as written otherwise. */
static const char *input_path(struct plan__lookup *l, const char *path)
{
    char *joined;
    const char *out;

    if (!plan__lookup_runs(l))
        return path;
    joined = rwf_fs_join(recipe_dir(l->s->g->recipe), path);
    out = rwf_arena_strdup(l->a, joined);
    free(joined);
    return out;
}

static void give_glob(struct plan__lookup *l, const char *pattern)
{
    const json_t *paths = recipe_glob(l->s->g->recipe, pattern);
    struct expr_value *items =
        rwf_arena_alloc(l->a, (json_array_size(paths) + 1) * sizeof(*items));
    json_t *path;
    size_t i;

    json_array_foreach(paths, i, path)
        items[i] = (struct expr_value){
            .type = EXPR_STRING,
            .text = input_path(l, rwf_arena_strdup(l->a, json_string_value(path)))};
    *l->ret = (struct expr_value){
        .type = EXPR_LIST, .items = items, .count = json_array_size(paths)};
}

static int pick_item(struct plan__lookup *l, const char *index)
{
    size_t i = (size_t)strtoul(index, NULL, 10);

    if (l->ret->type != EXPR_LIST)
        return plan__lookup_fail(
            l, RECIPE_E0203, "'${%s}': this is one value, not a list", l->ref->text);
    if (i >= l->ret->count)
        return plan__lookup_fail(l, RECIPE_E0203,
                                 "'${%s}': the list has %zu items, counted from 0",
                                 l->ref->text, l->ret->count);
    *l->ret = l->ret->items[i];
    return 0;
}

/* Gives what `name` of a map of the entry (inputs, dataset) means: a value, or a path. What
 * stands before and after the name in a message: where the map lacks it, and where the
 * entry lacks the map. */
static int look_member(struct plan__lookup *l, const struct recipe_node *map,
                       const char *name, const char *before, const char *after,
                       const char *before_map, bool globs)
{
    const struct recipe_node *node = recipe_get(map, name);
    struct plan__scope in = *l->s;
    struct rwf_suggest near;

    if (!node) {
        rwf_suggest_init(&near, name);
        for (size_t i = 0; map && map->kind == RECIPE_MAP && i < map->count; i++)
            rwf_suggest_try(&near, map->pairs[i].key);
        plan__lookup_fail(l, RECIPE_E0202, "there is no %s'%s'%s here",
                          map ? before : before_map, name, map ? after : "");
        plan__lookup_near(l, &near);
        return -1;
    }
    in.target = NULL;
    in.secrets = false;
    if (plan__lookup_node(l, &in, node) < 0)
        return -1;
    if (in.target || l->ret->type == EXPR_LIST || !l->ret->text)
        return 0;
    if (globs && strpbrk(l->ret->text, "*?["))
        give_glob(l, l->ret->text);
    else
        plan__lookup_give(l, EXPR_STRING, input_path(l, l->ret->text));
    return 0;
}

int plan__lookup_inputs(struct plan__lookup *l)
{
    const struct plan__entry *e = l->s->entry;
    const char *name = l->ref->count > 1 ? l->ref->parts[1] : "";

    if (l->ref->count != 3 && plan__lookup_parts(l, 2, "inputs.NAME") < 0)
        return -1;
    if (look_member(l, e ? recipe_get(e->body, "inputs") : NULL, name, "input ", "",
                    "inputs: with ", true) < 0)
        return -1;
    return l->ref->count == 3 ? pick_item(l, l->ref->parts[2]) : 0;
}

/* The files of a train entry, for the program that trains. */
int plan__lookup_dataset(struct plan__lookup *l)
{
    const struct plan__entry *e = l->s->entry;

    if (plan__lookup_parts(l, 2, "dataset.train} or ${dataset.val") < 0)
        return -1;
    return look_member(l, e ? recipe_get(e->body, "dataset") : NULL, l->ref->parts[1], "",
                       " in dataset:", "dataset: with ", false);
}
