/* SPDX-License-Identifier: Apache-2.0
 *
 * An entry -> its instances: one, or those of foreach, or those of matrix (matrix.c).
 * Values are resolved here, once: what they refer to must be known when planning.
 */
#include "config.h"
#include "plan/expand.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

struct recipe_diag *plan__complain(struct plan__build *b, struct recipe_span span,
                                   const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *text = rwf_xvasprintf(fmt, ap);
    va_end(ap);
    struct recipe_diag *d = recipe_diag_add(b->diags, RECIPE_E0303, span, "%s", text);
    free(text);
    return d;
}

/* --- values --- */

static enum recipe_type type_of(const struct expr_value *v)
{
    static const enum recipe_type types[] = {
        [EXPR_STRING] = RECIPE_TEXT,  [EXPR_INT] = RECIPE_INT,
        [EXPR_FLOAT] = RECIPE_NUMBER, [EXPR_BOOL] = RECIPE_BOOL,
        [EXPR_LIST] = RECIPE_TEXT,    [EXPR_SECRET] = RECIPE_TEXT,
        [EXPR_PENDING] = RECIPE_TEXT,
    };
    return types[v->type];
}

static bool has_refs_deep(const struct recipe_node *node)
{
    bool found = plan__has_refs(node);

    for (size_t i = 0; i < node->count && !found && node->kind != RECIPE_SCALAR; i++)
        found = has_refs_deep(node->kind == RECIPE_MAP ? node->pairs[i].value
                                                       : node->items[i]);
    return found;
}

/* node with its references replaced; NULL after a complaint. Lists come from items. */
const struct recipe_node *plan__fix_value(struct plan__build *b, struct plan__scope *s,
                                          struct recipe_node *node)
{
    struct rwf_arena *a = b->g->arena;
    struct expr_value v = {.type = EXPR_STRING};

    if (!has_refs_deep(node))
        return node;
    if (node->kind == RECIPE_SCALAR) {
        if (!plan__check_value(b, s, node, &v))
            return NULL;
        if (v.type != EXPR_LIST)
            return recipe_scalar_new(a, rwf_arena_strdup(a, v.text), type_of(&v),
                                     node->span);
        plan__complain(b, node->span, "a list cannot stand inside a value");
        return NULL;
    }
    struct recipe_node *out = recipe_node_new(a, node->kind, node->span);
    for (size_t i = 0; i < node->count; i++) {
        bool map = node->kind == RECIPE_MAP;
        const struct recipe_node *item =
            plan__fix_value(b, s, map ? node->pairs[i].value : node->items[i]);
        if (!item)
            return NULL;
        if (map)
            recipe_map_add(a, out, node->pairs[i].key, node->pairs[i].key_span,
                           (struct recipe_node *)item);
        else
            recipe_list_add(a, out, (struct recipe_node *)item);
    }
    return out;
}

static void push_value(struct plan__values *values, const struct recipe_node *value)
{
    *RWF_PUSH(values->nodes, values->count, values->cap) = value;
}

/* One item of a list of values, or a whole ${list} in its place. */
static void add_item(struct plan__build *b, struct plan__scope *s,
                     struct recipe_node *node, struct plan__values *values)
{
    struct rwf_arena *a = b->g->arena;
    struct expr_value v = {.type = EXPR_STRING};

    if (node->kind != RECIPE_SCALAR || !plan__has_refs(node)) {
        const struct recipe_node *value = plan__fix_value(b, s, node);
        if (value)
            push_value(values, value);
        return;
    }
    if (!plan__check_value(b, s, node, &v))
        return;
    size_t count = v.type == EXPR_LIST ? v.count : 1;
    const struct expr_value *items = v.type == EXPR_LIST ? v.items : &v;
    for (size_t i = 0; i < count; i++)
        push_value(values, recipe_scalar_new(a, rwf_arena_strdup(a, items[i].text),
                                             type_of(&items[i]), node->span));
}

void plan__add_items(struct plan__build *b, struct plan__scope *s,
                     struct recipe_node *node, struct plan__values *values)
{
    if (node->kind == RECIPE_SCALAR) {
        if (plan__has_refs(node))
            add_item(b, s, node, values);
        return;
    }
    for (size_t i = 0; node->kind == RECIPE_LIST && i < node->count; i++)
        add_item(b, s, node->items[i], values);
}

bool plan__take_total(struct plan__build *b, struct recipe_span span, size_t count)
{
    b->total += count;
    if (b->total <= PLAN__STEPS_MAX)
        return true;
    plan__complain(b, span, "the recipe makes more than %d steps", PLAN__STEPS_MAX);
    return false;
}

static bool is_unique(struct plan__entry *e, uint32_t *ret_twice)
{
    struct rwf_map *seen = rwf_map_create();
    struct rwf_str suffix = {0};
    bool unique = true;

    for (uint32_t i = 0; i < e->count && unique; i++) {
        rwf_str_clear(&suffix);
        plan__add_suffix(&suffix, e, i);
        unique = !rwf_map_set(seen, suffix.data ? suffix.data : "", e);
        *ret_twice = i;
    }
    rwf_map_destroy(seen, NULL);
    rwf_str_free(&suffix);
    return unique;
}

void plan__check_unique(struct plan__build *b, struct plan__entry *e)
{
    struct rwf_str suffix = {0};
    uint32_t twice = 0;

    if (e->count < 2 || is_unique(e, &twice))
        return;
    const struct plan__instance *i = &e->instances[twice];
    plan__add_suffix(&suffix, e, twice);
    plan__complain(b, i->count ? i->bindings[0].value->span : e->span,
                   "two instances are both named %s%s", e->address,
                   suffix.data ? suffix.data : "");
    rwf_str_free(&suffix);
    e->count = 0;
}

int plan__max_parallel(struct plan__build *b, struct plan__scope *s,
                       const struct recipe_node *map)
{
    struct recipe_node *node = recipe_get(map, "max_parallel");
    struct expr_value v = {.type = EXPR_STRING};
    int64_t n = 0;

    if (!node || node->kind != RECIPE_SCALAR || node->null ||
        !plan__check_value(b, s, node, &v) || !v.text)
        return 0;
    if ((!recipe_looks_int(v.text, &n) || n < 1 || n > PLAN__STEPS_MAX) && !b->quiet)
        plan__complain(b, node->span, "max_parallel is a whole number of at least 1");
    return n > 0 && n <= PLAN__STEPS_MAX ? (int)n : 0;
}

/* --- foreach --- */

static void add_files(struct plan__build *b, struct plan__entry *e,
                      struct plan__scope *s, const struct recipe_node *glob,
                      struct plan__values *values)
{
    struct expr_value v = {.type = EXPR_STRING};
    const json_t *paths;
    json_t *path;
    size_t i;

    if (glob->kind != RECIPE_SCALAR || !plan__check_value(b, s, glob, &v) || !v.text)
        return;
    e->by_file = true;
    paths = recipe_glob(b->g->recipe, v.text);
    json_array_foreach(paths, i, path)
        push_value(values, recipe_scalar_new(b->g->arena, json_string_value(path),
                                             RECIPE_TEXT, glob->span));
    if (values->count == 0)
        recipe_diag_add(b->diags, RECIPE_E0401, glob->span,
                        "'%s' matches no file beneath %s", v.text,
                        recipe_dir(b->g->recipe));
}

static void foreach_items(struct plan__build *b, struct plan__entry *e,
                          struct plan__scope *s, struct recipe_node *node,
                          struct plan__values *values)
{
    struct recipe_node *items = recipe_get(node, "items");
    struct recipe_node *glob = recipe_get(node, "glob");

    if (node->kind != RECIPE_MAP)
        plan__add_items(b, s, node, values);
    else if (glob)
        add_files(b, e, s, glob, values);
    else if (items)
        plan__add_items(b, s, items, values);
}

static void expand_foreach(struct plan__build *b, struct plan__entry *e,
                           struct plan__scope *s, struct recipe_node *node)
{
    struct plan__values items = {0};
    size_t errors = recipe_diags_errors(b->diags);

    foreach_items(b, e, s, node, &items);
    e->axes = rwf_arena_alloc(b->g->arena, sizeof(*e->axes));
    e->axes[0] = "item";
    e->axis_count = 1;
    if (node->kind == RECIPE_MAP)
        e->max_parallel = plan__max_parallel(b, s, node);
    if (items.count == 0 && recipe_diags_errors(b->diags) == errors && !b->quiet)
        plan__complain(b, node->span, "foreach has no items");
    if (items.count == 0 || !plan__take_total(b, node->span, items.count))
        goto out;
    e->instances = rwf_arena_alloc(b->g->arena, items.count * sizeof(*e->instances));
    struct plan_binding *bindings =
        rwf_arena_alloc(b->g->arena, items.count * sizeof(*bindings));
    for (size_t i = 0; i < items.count; i++) {
        bindings[i] = (struct plan_binding){"item", items.nodes[i]};
        e->instances[i] = (struct plan__instance){&bindings[i], 1, false};
    }
    e->count = (uint32_t)items.count;
    plan__check_unique(b, e);
out:
    free(items.nodes);
}

/* One step for all rows; how many calls it makes at once is its own matter. */
static void expand_rows(struct plan__build *b, struct plan__entry *e,
                        struct plan__scope *s, struct recipe_node *node)
{
    e->by_rows = true;
    e->max_parallel = plan__max_parallel(b, s, node);
    e->instances = rwf_arena_alloc(b->g->arena, sizeof(*e->instances));
    e->count = 1;
}

/* --- both --- */

void plan__matrix_expand(struct plan__build *b, struct plan__entry *e)
{
    struct recipe_node *matrix = recipe_get(e->body, "matrix");
    struct recipe_node *foreach = recipe_get(e->body, "foreach");
    struct plan__scope s = {.g = b->g, .entry = e, .stage = PLAN__STATIC};

    /* Both at once: the schema has said so. */
    if (matrix && matrix->kind == RECIPE_MAP) {
        plan__expand_matrix(b, e, &s, matrix);
    } else if (plan__has_rows(e->body)) {
        if (plan__take_total(b, e->span, 1))
            expand_rows(b, e, &s, foreach);
    } else if (foreach && !foreach->null) {
        expand_foreach(b, e, &s, foreach);
    } else if (plan__take_total(b, e->span, 1)) {
        e->instances = rwf_arena_alloc(b->g->arena, sizeof(*e->instances));
        e->count = 1;
    }
}
