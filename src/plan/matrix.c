/* SPDX-License-Identifier: Apache-2.0
 *
 * matrix and foreach -> instances. The product of the axes is numbered in mixed radix, the
 * first axis slowest; exclude clears positions, include adds values to positions or makes
 * instances of its own. A pattern of exclude or include visits only the positions that
 * it means, and their sum is bounded.
 */
#include "config.h"
#include "plan/inside.h"

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
    const struct recipe_node **values;
    size_t count, cap;
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

static struct recipe_diag *complain(struct plan__build *b, struct recipe_span span,
                                    const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static struct recipe_diag *complain(struct plan__build *b, struct recipe_span span,
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

void plan__add_value(struct rwf_str *out, const struct recipe_node *value)
{
    if (value->kind == RECIPE_SCALAR) {
        rwf_str_add(out, value->text);
        return;
    }
    json_t *json = recipe_to_json(value);
    char *text = json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT);
    rwf_str_add(out, text ? text : "");
    free(text);
    json_decref(json);
}

static enum recipe_type type_of(const struct expr_value *v)
{
    static const enum recipe_type types[] = {
        [EXPR_STRING] = RECIPE_TEXT, [EXPR_INT] = RECIPE_INT,
        [EXPR_FLOAT] = RECIPE_NUMBER, [EXPR_BOOL] = RECIPE_BOOL,
        [EXPR_LIST] = RECIPE_TEXT, [EXPR_SECRET] = RECIPE_TEXT,
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

static void add_items(struct plan__build *b, struct plan__scope *s,
                      struct recipe_node *node, struct axis *axis);

/* node with its references replaced; NULL after a complaint. Lists come from items. */
static const struct recipe_node *fix_value(struct plan__build *b, struct plan__scope *s,
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
        complain(b, node->span, "a list cannot stand inside a value");
        return NULL;
    }
    struct recipe_node *out = recipe_node_new(a, node->kind, node->span);
    for (size_t i = 0; i < node->count; i++) {
        bool map = node->kind == RECIPE_MAP;
        const struct recipe_node *item =
            fix_value(b, s, map ? node->pairs[i].value : node->items[i]);
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

static void push_value(struct axis *axis, const struct recipe_node *value)
{
    *RWF_PUSH(axis->values, axis->count, axis->cap) = value;
}

/* One item of a list of values, or a whole ${list} in its place. */
static void add_item(struct plan__build *b, struct plan__scope *s, struct recipe_node *node,
                     struct axis *axis)
{
    struct rwf_arena *a = b->g->arena;
    struct expr_value v = {.type = EXPR_STRING};

    if (node->kind != RECIPE_SCALAR || !plan__has_refs(node)) {
        const struct recipe_node *value = fix_value(b, s, node);
        if (value)
            push_value(axis, value);
        return;
    }
    if (!plan__check_value(b, s, node, &v))
        return;
    size_t count = v.type == EXPR_LIST ? v.count : 1;
    const struct expr_value *items = v.type == EXPR_LIST ? v.items : &v;
    for (size_t i = 0; i < count; i++)
        push_value(axis, recipe_scalar_new(a, rwf_arena_strdup(a, items[i].text),
                                           type_of(&items[i]), node->span));
}

static void add_items(struct plan__build *b, struct plan__scope *s,
                      struct recipe_node *node, struct axis *axis)
{
    if (node->kind == RECIPE_SCALAR) {
        if (plan__has_refs(node))
            add_item(b, s, node, axis);
        return;
    }
    for (size_t i = 0; node->kind == RECIPE_LIST && i < node->count; i++)
        add_item(b, s, node->items[i], axis);
}

/* --- the axes --- */

static void index_axis(struct matrix *m, struct axis *axis)
{
    axis->find = rwf_map_create();
    for (size_t i = 0; i < axis->count; i++) {
        const struct recipe_node *v = axis->values[i];
        if (v->kind != RECIPE_SCALAR) {
            complain(m->b, v->span, "a value of the axis '%s' is a map or a list; an axis "
                                    "holds plain values", axis->name);
            m->failed = true;
        } else if (rwf_map_set(axis->find, v->text, (void *)(uintptr_t)(i + 1))) {
            complain(m->b, v->span, "the axis '%s' has the value '%s' twice", axis->name,
                     v->text);
            m->failed = true;
        }
    }
}

static void add_axis(struct matrix *m, struct plan__scope *s, const struct recipe_pair *p)
{
    if (m->axis_count == AXES_MAX) {
        complain(m->b, p->key_span, "a matrix has at most %d axes", AXES_MAX);
        m->failed = true;
        return;
    }
    struct axis *axis = &m->axes[m->axis_count++];
    size_t errors = recipe_diags_errors(m->b->diags);
    *axis = (struct axis){.name = p->key, .span = p->key_span};
    add_items(m->b, s, p->value, axis);
    index_axis(m, axis);
    if (recipe_diags_errors(m->b->diags) > errors)
        m->failed = true;
    if (axis->count == 0 && !m->failed) {
        complain(m->b, p->value->span, "the axis '%s' has no values", p->key);
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
            complain(m->b, node->span, "this matrix makes more than %d instances",
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
    size_t start;   /* position of the fixed values */
    bool possible;  /* every fixed value exists */
    size_t total;   /* positions that match */
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
        uintptr_t at = v->kind == RECIPE_SCALAR ? (uintptr_t)rwf_map_get(axis->find, v->text)
                                                : 0;
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
    complain(m->b, at->span, "include and exclude touch more than %d combinations; name "
                             "more axes in each", VISITS_MAX);
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
            struct recipe_diag *d = complain(m->b, pair->key_span, "exclude names '%s', "
                                             "which is no axis of this matrix", pair->key);
            if (rwf_suggest_best(&near))
                recipe_diag_hint(d, "did you mean '%s'?", rwf_suggest_best(&near));
            m->failed = true;
        } else if (pair->value->kind != RECIPE_SCALAR ||
                   !rwf_map_get(axis->find, pair->value->text)) {
            complain(m->b, pair->value->span, "exclude names a value that the axis '%s' "
                                              "does not have", pair->key);
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
            complain(m->b, map->pairs[i].value->span, "include takes plain values, not a "
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
        const struct recipe_node *map = fix_value(m->b, s, list->items[i]);
        if (!map)
            m->failed = true;
        if (m->failed)
            return;
        fn(m, map);
    }
}

/* --- instances --- */

static bool take_total(struct plan__build *b, struct recipe_span span, size_t count)
{
    b->total += count;
    if (b->total <= PLAN__STEPS_MAX)
        return true;
    complain(b, span, "the recipe makes more than %d steps", PLAN__STEPS_MAX);
    return false;
}

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
        bindings[i].value = axis->values[position / axis->stride % axis->count];
    }
    size_t at = m->axis_count;
    for (const struct extra *x = extras; x; x = x->next)
        bindings[at++] = (struct plan_binding){x->name, x->value};
    *ret = (struct plan__instance){bindings, (uint32_t)count, false};
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

static void check_unique(struct plan__build *b, struct plan__entry *e)
{
    struct rwf_str suffix = {0};
    uint32_t twice = 0;

    if (e->count < 2 || is_unique(e, &twice))
        return;
    const struct plan__instance *i = &e->instances[twice];
    plan__add_suffix(&suffix, e, twice);
    complain(b, i->count ? i->bindings[0].value->span : e->span,
             "two instances are both named %s%s", e->address,
             suffix.data ? suffix.data : "");
    rwf_str_free(&suffix);
    e->count = 0;
}

static void make_instances(struct matrix *m, const struct recipe_node *node)
{
    struct plan__entry *e = m->e;
    size_t count = m->added_count;

    for (size_t i = 0; i < m->positions; i++)
        count += !m->excluded[i];
    if (count == 0) {
        complain(m->b, node->span, "this matrix has no instances");
        return;
    }
    if (m->axis_count == 0) { /* include alone: what it names are the axes */
        e->axes = e->extras;
        e->axis_count = e->extra_count;
        e->extra_count = 0;
    }
    if (!take_total(m->b, node->span, count))
        return;
    e->instances = rwf_arena_alloc(m->b->g->arena, count * sizeof(*e->instances));
    for (size_t i = 0; i < m->positions; i++)
        if (!m->excluded[i])
            fill_position(m, i, &e->instances[e->count++]);
    for (size_t i = 0; i < m->added_count; i++)
        e->instances[e->count++] =
            (struct plan__instance){m->added[i].bindings, m->added[i].count, true};
    if (m->added_count)
        check_unique(m->b, e);
}

static void name_axes(struct matrix *m)
{
    struct plan__entry *e = m->e;

    e->axes = rwf_arena_alloc(m->b->g->arena, (m->axis_count + 1) * sizeof(*e->axes));
    for (size_t i = 0; i < m->axis_count; i++)
        e->axes[i] = m->axes[i].name;
    e->axis_count = m->axis_count;
}

static int parallel_of(struct plan__build *b, struct plan__scope *s,
                       const struct recipe_node *map)
{
    struct recipe_node *node = recipe_get(map, "max_parallel");
    struct expr_value v = {.type = EXPR_STRING};
    int64_t n = 0;

    if (!node || node->kind != RECIPE_SCALAR || node->null ||
        !plan__check_value(b, s, node, &v) || !v.text)
        return 0;
    if ((!recipe_looks_int(v.text, &n) || n < 1 || n > PLAN__STEPS_MAX) && !b->quiet)
        complain(b, node->span, "max_parallel is a whole number of at least 1");
    return n > 0 && n <= PLAN__STEPS_MAX ? (int)n : 0;
}

static void expand_matrix(struct plan__build *b, struct plan__entry *e,
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
    e->max_parallel = parallel_of(b, s, node);
    for (size_t i = 0; i < m->axis_count; i++) {
        rwf_map_destroy(m->axes[i].find, NULL);
        free(m->axes[i].values);
    }
    free(m->excluded);
    free(m->extras);
    free(m->added);
    free(m);
}

/* --- foreach --- */

static void add_files(struct plan__build *b, struct plan__entry *e, struct plan__scope *s,
                      const struct recipe_node *glob, struct axis *axis)
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
        push_value(axis, recipe_scalar_new(b->g->arena, json_string_value(path),
                                           RECIPE_TEXT, glob->span));
    if (axis->count == 0)
        recipe_diag_add(b->diags, RECIPE_E0401, glob->span,
                        "'%s' matches no file beneath %s", v.text, recipe_dir(b->g->recipe));
}

static void foreach_items(struct plan__build *b, struct plan__entry *e,
                          struct plan__scope *s, struct recipe_node *node,
                          struct axis *axis)
{
    struct recipe_node *items = recipe_get(node, "items");
    struct recipe_node *glob = recipe_get(node, "glob");

    if (node->kind != RECIPE_MAP)
        add_items(b, s, node, axis);
    else if (glob)
        add_files(b, e, s, glob, axis);
    else if (items)
        add_items(b, s, items, axis);
}

static void expand_foreach(struct plan__build *b, struct plan__entry *e,
                           struct plan__scope *s, struct recipe_node *node)
{
    struct axis axis = {.name = "item"};
    size_t errors = recipe_diags_errors(b->diags);

    foreach_items(b, e, s, node, &axis);
    e->axes = rwf_arena_alloc(b->g->arena, sizeof(*e->axes));
    e->axes[0] = "item";
    e->axis_count = 1;
    if (node->kind == RECIPE_MAP)
        e->max_parallel = parallel_of(b, s, node);
    if (axis.count == 0 && recipe_diags_errors(b->diags) == errors && !b->quiet)
        complain(b, node->span, "foreach has no items");
    if (axis.count == 0 || !take_total(b, node->span, axis.count))
        goto out;
    e->instances = rwf_arena_alloc(b->g->arena, axis.count * sizeof(*e->instances));
    struct plan_binding *bindings =
        rwf_arena_alloc(b->g->arena, axis.count * sizeof(*bindings));
    for (size_t i = 0; i < axis.count; i++) {
        bindings[i] = (struct plan_binding){"item", axis.values[i]};
        e->instances[i] = (struct plan__instance){&bindings[i], 1, false};
    }
    e->count = (uint32_t)axis.count;
    check_unique(b, e);
out:
    free(axis.values);
}

/* --- both --- */

void plan__matrix_expand(struct plan__build *b, struct plan__entry *e)
{
    struct recipe_node *matrix = recipe_get(e->body, "matrix");
    struct recipe_node *foreach = recipe_get(e->body, "foreach");
    struct plan__scope s = {.g = b->g, .entry = e, .stage = PLAN__STATIC};

    /* Both at once: the schema has said so. */
    if (matrix && matrix->kind == RECIPE_MAP) {
        expand_matrix(b, e, &s, matrix);
    } else if (foreach && !foreach->null) {
        expand_foreach(b, e, &s, foreach);
    } else if (take_total(b, e->span, 1)) {
        e->instances = rwf_arena_alloc(b->g->arena, sizeof(*e->instances));
        e->count = 1;
    }
}

const struct recipe_node *plan__binding(const struct plan__instance *i, const char *axis)
{
    for (uint32_t k = 0; k < i->count; k++)
        if (strcmp(i->bindings[k].axis, axis) == 0)
            return i->bindings[k].value;
    return NULL;
}

/* --- addresses --- */

/* A value as it is when that is unmistakable, else in double quotes. */
static void add_address_value(struct rwf_str *out, const char *text)
{
    size_t len = strlen(text);
    bool plain = len > 0 && text[0] != ' ' && text[len - 1] != ' ';

    for (size_t i = 0; i < len && plain; i++)
        plain = (unsigned char)text[i] >= ' ' && text[i] != 0x7f &&
                !strchr("[],=\"\\", text[i]);
    if (plain) {
        rwf_str_addn(out, text, len);
        return;
    }
    rwf_str_addc(out, '"');
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            rwf_str_addf(out, "\\x%02x", (unsigned char)*text);
        else if (*text == '"' || *text == '\\')
            rwf_str_addf(out, "\\%c", *text);
        else
            rwf_str_addc(out, *text);
    }
    rwf_str_addc(out, '"');
}

void plan__add_suffix(struct rwf_str *out, const struct plan__entry *e, uint32_t instance)
{
    const struct plan__instance *i = &e->instances[instance];
    size_t shown = i->added ? i->count : e->axis_count;

    if (shown == 0)
        return;
    rwf_str_addc(out, '[');
    if (strcmp(i->bindings[0].axis, "item") == 0 && e->axis_count == 1) {
        if (i->bindings[0].value->kind == RECIPE_SCALAR)
            add_address_value(out, i->bindings[0].value->text);
        else
            rwf_str_addf(out, "%u", (unsigned)instance);
        shown = 0;
    }
    for (size_t k = 0; k < shown; k++) {
        rwf_str_addf(out, "%s%s=", k ? "," : "", i->bindings[k].axis);
        add_address_value(out, i->bindings[k].value->text);
    }
    rwf_str_addc(out, ']');
}
