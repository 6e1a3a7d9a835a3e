/* SPDX-License-Identifier: Apache-2.0
 *
 * matrix and foreach -> instances. The product of the axes is numbered in mixed radix,
 * the first axis slowest; exclude clears positions, include adds values to positions or
 * makes instances of its own. A pattern of exclude or include visits only the positions
 * that it means, and their sum is bounded.
 */
#include "config.h"
#include "plan/expand.h"

#include <stdlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/suggest.h"

#define AXES_MAX 32
#define VISITS_MAX 20000000

struct axis {
    const char *name;
    struct recipe_span span;
    struct plan__values values;
    size_t count;         /* of values */
    size_t stride;        /* of one step of this axis in positions */
    struct rwf_map *find; /* text -> index + 1 */
};

/* A value that include adds to a position. */
struct extra {
    const char *name;
    const struct recipe_node *value;
    struct extra *next;
};

struct added {
    struct plan_binding *bindings;
    uint32_t count;
};

struct matrix {
    struct plan__build *b;
    struct plan__entry *e;
    struct axis axes[AXES_MAX];
    size_t axis_count;
    size_t positions;
    bool *excluded;
    struct extra **extras; /* by position; NULL: none at all */
    struct added *added;
    size_t added_count, added_cap;
    size_t visits;
    bool failed;
};

/* --- the axes --- */

static void index_axis(struct matrix *m, struct axis *axis)
{
    axis->find = rwf_map_create();
    for (size_t i = 0; i < axis->count; i++) {
        const struct recipe_node *v = axis->values.nodes[i];
        if (v->kind != RECIPE_SCALAR) {
            plan__complain(m->b, v->span,
                           "a value of the axis '%s' is a map or a list; an axis "
                           "holds plain values",
                           axis->name);
            m->failed = true;
        } else if (rwf_map_set(axis->find, v->text, (void *)(uintptr_t)(i + 1))) {
            plan__complain(m->b, v->span, "the axis '%s' has the value '%s' twice",
                           axis->name, v->text);
            m->failed = true;
        }
    }
}

static void add_axis(struct matrix *m, struct plan__scope *s,
                     const struct recipe_pair *p)
{
    if (m->axis_count == AXES_MAX) {
        plan__complain(m->b, p->key_span, "a matrix has at most %d axes", AXES_MAX);
        m->failed = true;
        return;
    }
    struct axis *axis = &m->axes[m->axis_count++];
    size_t errors = recipe_diags_errors(m->b->diags);
    *axis = (struct axis){.name = p->key, .span = p->key_span};
    plan__add_items(m->b, s, p->value, &axis->values);
    axis->count = axis->values.count;
    index_axis(m, axis);
    if (recipe_diags_errors(m->b->diags) > errors)
        m->failed = true;
    if (axis->count == 0 && !m->failed) {
        plan__complain(m->b, p->value->span, "the axis '%s' has no values", p->key);
        m->failed = true;
    }
}

static bool is_matrix_word(const char *key)
{
    return strcmp(key, "include") == 0 || strcmp(key, "exclude") == 0 ||
           strcmp(key, "max_parallel") == 0 || strncmp(key, "x-", 2) == 0;
}

static struct axis *axis_find(struct matrix *m, const char *name)
{
    for (size_t i = 0; i < m->axis_count; i++)
        if (strcmp(m->axes[i].name, name) == 0)
            return &m->axes[i];
    return NULL;
}

static void measure(struct matrix *m, const struct recipe_node *node)
{
    m->positions = m->axis_count > 0;
    for (size_t i = m->axis_count; i-- > 0 && !m->failed;) {
        m->axes[i].stride = m->positions;
        if (m->axes[i].count > PLAN__STEPS_MAX / m->positions) {
            plan__complain(m->b, node->span, "this matrix makes more than %d instances",
                           PLAN__STEPS_MAX);
            m->failed = true;
        } else {
            m->positions *= m->axes[i].count;
        }
    }
}

/* --- exclude and include --- */

/* Which positions a map of values means: fixed axes, and the rest free. */
struct pattern {
    bool fixed[AXES_MAX];
    size_t start;  /* position of the fixed values */
    bool possible; /* every fixed value exists */
    size_t total;  /* positions that match */
};

static void pattern_of(struct matrix *m, const struct recipe_node *map,
                       struct pattern *ret)
{
    *ret = (struct pattern){.possible = m->positions > 0, .total = m->positions};
    for (size_t i = 0; i < map->count; i++) {
        struct axis *axis = axis_find(m, map->pairs[i].key);
        const struct recipe_node *v = map->pairs[i].value;
        if (!axis)
            continue;
        uintptr_t at =
            v->kind == RECIPE_SCALAR ? (uintptr_t)rwf_map_get(axis->find, v->text) : 0;
        ret->fixed[axis - m->axes] = true;
        ret->total /= axis->count;
        if (at == 0)
            ret->possible = false;
        else
            ret->start += (at - 1) * axis->stride;
    }
}

/* The k-th position of a pattern. */
static size_t pattern_at(const struct matrix *m, const struct pattern *p, size_t k)
{
    size_t position = p->start;

    for (size_t i = m->axis_count; i-- > 0;) {
        if (p->fixed[i])
            continue;
        position += k % m->axes[i].count * m->axes[i].stride;
        k /= m->axes[i].count;
    }
    return position;
}

static bool may_visit(struct matrix *m, const struct recipe_node *at, size_t count)
{
    m->visits += count;
    if (m->visits <= VISITS_MAX)
        return true;
    plan__complain(m->b, at->span,
                   "include and exclude touch more than %d combinations; name "
                   "more axes in each",
                   VISITS_MAX);
    m->failed = true;
    return false;
}

static void exclude(struct matrix *m, const struct recipe_node *map)
{
    struct pattern p;

    for (size_t i = 0; i < map->count; i++) {
        const struct recipe_pair *pair = &map->pairs[i];
        struct axis *axis = axis_find(m, pair->key);
        if (!axis) {
            struct rwf_suggest near;
            rwf_suggest_init(&near, pair->key);
            for (size_t k = 0; k < m->axis_count; k++)
                rwf_suggest_try(&near, m->axes[k].name);
            struct recipe_diag *d = plan__complain(m->b, pair->key_span,
                                                   "exclude names '%s', "
                                                   "which is no axis of this matrix",
                                                   pair->key);
            if (rwf_suggest_best(&near))
                recipe_diag_hint(d, "did you mean '%s'?", rwf_suggest_best(&near));
            m->failed = true;
        } else if (pair->value->kind != RECIPE_SCALAR ||
                   !rwf_map_get(axis->find, pair->value->text)) {
            plan__complain(m->b, pair->value->span,
                           "exclude names a value that the axis '%s' "
                           "does not have",
                           pair->key);
            m->failed = true;
        }
    }
    pattern_of(m, map, &p);
    if (m->failed || !p.possible || !may_visit(m, map, p.total))
        return;
    for (size_t k = 0; k < p.total; k++)
        m->excluded[pattern_at(m, &p, k)] = true;
}

static void note_extra(struct matrix *m, const char *name)
{
    struct plan__entry *e = m->e;

    for (size_t i = 0; i < e->extra_count; i++)
        if (strcmp(e->extras[i], name) == 0)
            return;
    const char **grown =
        rwf_arena_alloc(m->b->g->arena, (e->extra_count + 1) * sizeof(*grown));
    if (e->extra_count)
        memcpy(grown, e->extras, e->extra_count * sizeof(*grown));
    grown[e->extra_count++] = name;
    e->extras = grown;
}

static void extend(struct matrix *m, size_t position, const struct recipe_node *map)
{
    for (size_t i = 0; i < map->count; i++) {
        const struct recipe_pair *pair = &map->pairs[i];
        if (axis_find(m, pair->key))
            continue;
        struct extra **at = &m->extras[position];
        while (*at && strcmp((*at)->name, pair->key) != 0)
            at = &(*at)->next;
        if (!*at) {
            *at = rwf_arena_alloc(m->b->g->arena, sizeof(**at));
            (*at)->name = pair->key;
        }
        (*at)->value = pair->value;
    }
}

/* An instance of its own: its axes in their order, then the rest. */
static void add_instance(struct matrix *m, const struct recipe_node *map)
{
    struct plan_binding *bindings =
        rwf_arena_alloc(m->b->g->arena, (map->count + 1) * sizeof(*bindings));
    uint32_t count = 0;

    for (size_t i = 0; i < m->axis_count; i++) {
        const struct recipe_node *v = recipe_get(map, m->axes[i].name);
        if (v)
            bindings[count++] = (struct plan_binding){m->axes[i].name, v};
    }
    for (size_t i = 0; i < map->count; i++)
        if (!axis_find(m, map->pairs[i].key))
            bindings[count++] =
                (struct plan_binding){map->pairs[i].key, map->pairs[i].value};
    *RWF_PUSH(m->added, m->added_count, m->added_cap) = (struct added){bindings, count};
}

static void include(struct matrix *m, const struct recipe_node *map)
{
    struct pattern p;
    size_t matched = 0;

    for (size_t i = 0; i < map->count; i++) {
        if (map->pairs[i].value->kind != RECIPE_SCALAR) {
            plan__complain(m->b, map->pairs[i].value->span,
                           "include takes plain values, not a "
                           "map or a list");
            m->failed = true;
            return;
        }
        if (!axis_find(m, map->pairs[i].key))
            note_extra(m, map->pairs[i].key);
    }
    pattern_of(m, map, &p);
    if (p.possible && !may_visit(m, map, p.total))
        return;
    for (size_t k = 0; p.possible && k < p.total; k++) {
        size_t position = pattern_at(m, &p, k);
        if (m->excluded[position])
            continue;
        extend(m, position, map);
        matched++;
    }
    if (matched == 0)
        add_instance(m, map);
}

static void each_map(struct matrix *m, struct plan__scope *s, struct recipe_node *list,
                     void (*fn)(struct matrix *, const struct recipe_node *))
{
    for (size_t i = 0; list && list->kind == RECIPE_LIST && i < list->count; i++) {
        if (list->items[i]->kind != RECIPE_MAP)
            continue;
        const struct recipe_node *map = plan__fix_value(m->b, s, list->items[i]);
        if (!map)
            m->failed = true;
        if (m->failed)
            return;
        fn(m, map);
    }
}

/* --- instances --- */

static void fill_position(struct matrix *m, size_t position, struct plan__instance *ret)
{
    const struct extra *extras = m->extras ? m->extras[position] : NULL;
    size_t count = m->axis_count;

    for (const struct extra *x = extras; x; x = x->next)
        count++;
    struct plan_binding *bindings =
        rwf_arena_alloc(m->b->g->arena, count * sizeof(*bindings));
    for (size_t i = 0; i < m->axis_count; i++) {
        const struct axis *axis = &m->axes[i];
        bindings[i].axis = axis->name;
        bindings[i].value = axis->values.nodes[position / axis->stride % axis->count];
    }
    size_t at = m->axis_count;
    for (const struct extra *x = extras; x; x = x->next)
        bindings[at++] = (struct plan_binding){x->name, x->value};
    *ret = (struct plan__instance){bindings, (uint32_t)count, false};
}

static void make_instances(struct matrix *m, const struct recipe_node *node)
{
    struct plan__entry *e = m->e;
    size_t count = m->added_count;

    for (size_t i = 0; i < m->positions; i++)
        count += !m->excluded[i];
    if (count == 0) {
        plan__complain(m->b, node->span, "this matrix has no instances");
        return;
    }
    if (m->axis_count == 0) { /* include alone: what it names are the axes */
        e->axes = e->extras;
        e->axis_count = e->extra_count;
        e->extra_count = 0;
    }
    if (!plan__take_total(m->b, node->span, count))
        return;
    e->instances = rwf_arena_alloc(m->b->g->arena, count * sizeof(*e->instances));
    for (size_t i = 0; i < m->positions; i++)
        if (!m->excluded[i])
            fill_position(m, i, &e->instances[e->count++]);
    for (size_t i = 0; i < m->added_count; i++)
        e->instances[e->count++] =
            (struct plan__instance){m->added[i].bindings, m->added[i].count, true};
    if (m->added_count)
        plan__check_unique(m->b, e);
}

static void name_axes(struct matrix *m)
{
    struct plan__entry *e = m->e;

    e->axes = rwf_arena_alloc(m->b->g->arena, (m->axis_count + 1) * sizeof(*e->axes));
    for (size_t i = 0; i < m->axis_count; i++)
        e->axes[i] = m->axes[i].name;
    e->axis_count = m->axis_count;
}

void plan__expand_matrix(struct plan__build *b, struct plan__entry *e,
                         struct plan__scope *s, struct recipe_node *node)
{
    struct matrix *m = rwf_xcalloc(1, sizeof(*m));

    m->b = b;
    m->e = e;
    for (size_t i = 0; i < node->count; i++)
        if (!is_matrix_word(node->pairs[i].key))
            add_axis(m, s, &node->pairs[i]);
    name_axes(m);
    measure(m, node);
    if (!m->failed) {
        m->excluded = rwf_xcalloc(m->positions + 1, sizeof(*m->excluded));
        each_map(m, s, recipe_get(node, "exclude"), exclude);
        if (recipe_get(node, "include"))
            m->extras = rwf_xcalloc(m->positions + 1, sizeof(struct extra *));
        each_map(m, s, recipe_get(node, "include"), include);
    }
    if (!m->failed)
        make_instances(m, node);
    e->max_parallel = plan__max_parallel(b, s, node);
    for (size_t i = 0; i < m->axis_count; i++) {
        rwf_map_destroy(m->axes[i].find, NULL);
        free(m->axes[i].values.nodes);
    }
    free(m->excluded);
    free(m->extras);
    free(m->added);
    free(m);
}
