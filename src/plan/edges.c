/* SPDX-License-Identifier: Apache-2.0
 *
 * Instances -> steps and edges. A reference to an entry with axes means its instances
 * with our values on the axes both have: they are found through an index by those
 * values, never by comparing all with all. Instances that need the same steps share one
 * list.
 */
#include "config.h"
#include "plan/inside.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

static void share_axes(struct plan__dep *dep, const struct plan__entry *e)
{
    const struct plan__entry *target = dep->entry;

    dep->shared_count = 0;
    for (size_t i = 0; i < target->axis_count; i++)
        if (plan__has_axis(e, target->axes[i]))
            dep->shared[dep->shared_count++] = target->axes[i];
}

struct plan__dep *plan__dep_add(struct plan__entry *e, struct plan__entry *target,
                                struct recipe_span span)
{
    if (!e->dep_by_address)
        e->dep_by_address = rwf_map_create();
    if (rwf_map_get(e->dep_by_address, target->address))
        return NULL;
    struct plan__dep *dep = RWF_PUSH(e->deps, e->dep_count, e->dep_cap);
    *dep = (struct plan__dep){.entry = target, .span = span};
    /* The value is only a mark until all are known: the array may move. */
    rwf_map_set(e->dep_by_address, target->address, target);
    return dep;
}

/* All dependencies are known and every axis too. */
static void settle_deps(struct plan_graph *g, struct plan__entry *e)
{
    for (size_t i = 0; i < e->dep_count; i++) {
        struct plan__dep *dep = &e->deps[i];
        dep->shared = rwf_arena_alloc(g->arena, (dep->entry->axis_count + 1) *
                                                    sizeof(*dep->shared));
        share_axes(dep, e);
        rwf_map_set(e->dep_by_address, dep->entry->address, dep);
    }
}

/* --- the index --- */

/* The values of an instance on some axes, as a key: lengths keep them apart. */
static void add_key(struct rwf_str *out, const struct plan__instance *i,
                    const char *const *axes, size_t count)
{
    struct rwf_str value = {0};

    for (size_t k = 0; k < count; k++) {
        const struct recipe_node *node = plan__binding(i, axes[k]);
        if (!node) {
            rwf_str_add(out, "-;");
        } else if (node->kind == RECIPE_SCALAR) {
            rwf_str_addf(out, "%zu:", node->len);
            rwf_str_add(out, node->text);
        } else {
            rwf_str_clear(&value);
            plan__add_value(&value, node);
            rwf_str_addf(out, "m%zu:%s", value.len, value.data ? value.data : "");
        }
    }
    rwf_str_free(&value);
}

/* Group of every instance, groups numbered from 0 in order of appearance. */
static uint32_t group_instances(const struct plan__entry *e, struct plan__index *x,
                                uint32_t *group)
{
    struct rwf_str key = {0};
    uint32_t groups = 0;

    for (uint32_t i = 0; i < e->count; i++) {
        rwf_str_clear(&key);
        add_key(&key, &e->instances[i], x->axes, x->axis_count);
        const char *text = key.data ? key.data : "";
        uintptr_t known = (uintptr_t)rwf_map_get(x->groups, text);
        if (!known) {
            known = ++groups;
            rwf_map_set(x->groups, text, (void *)known);
        }
        group[i] = (uint32_t)known - 1;
    }
    rwf_str_free(&key);
    return groups;
}

static struct plan__index *make_index(struct plan_graph *g, struct plan__entry *e,
                                      const struct plan__dep *dep)
{
    struct plan__index *x = rwf_arena_alloc(g->arena, sizeof(*x));
    uint32_t *group = rwf_xcalloc((size_t)e->count + 1, sizeof(*group));
    uint32_t groups, *at;

    x->axes = dep->shared;
    x->axis_count = dep->shared_count;
    x->groups = rwf_map_create();
    groups = group_instances(e, x, group);
    x->starts = rwf_arena_alloc(g->arena, ((size_t)groups + 1) * sizeof(*x->starts));
    x->instances =
        rwf_arena_alloc(g->arena, ((size_t)e->count + 1) * sizeof(*x->instances));
    for (uint32_t i = 0; i < e->count; i++)
        x->starts[group[i] + 1]++;
    for (uint32_t k = 0; k < groups; k++)
        x->starts[k + 1] += x->starts[k];
    at = rwf_xcalloc((size_t)groups + 1, sizeof(*at));
    for (uint32_t i = 0; i < e->count; i++)
        x->instances[x->starts[group[i]] + at[group[i]]++] = i;
    free(at);
    free(group);
    x->next = e->indexes;
    e->indexes = x;
    return x;
}

static bool same_axes(const struct plan__index *x, const struct plan__dep *dep)
{
    if (x->axis_count != dep->shared_count)
        return false;
    for (size_t i = 0; i < x->axis_count; i++)
        if (strcmp(x->axes[i], dep->shared[i]) != 0)
            return false;
    return true;
}

static struct plan__index *index_for(struct plan_graph *g, struct plan__dep *dep)
{
    struct plan__index *x = dep->entry->indexes;

    while (x && !same_axes(x, dep))
        x = x->next;
    return x ? x : make_index(g, dep->entry, dep);
}

const uint32_t *plan__targets(struct plan_graph *g, struct plan__entry *e,
                              struct plan__dep *dep, uint32_t i, size_t *ret_count)
{
    struct rwf_str key = {0};
    uintptr_t group;

    if (!dep->index)
        dep->index = index_for(g, dep);
    add_key(&key, &e->instances[i], dep->shared, dep->shared_count);
    group = (uintptr_t)rwf_map_get(dep->index->groups, key.data ? key.data : "");
    rwf_str_free(&key);
    *ret_count = 0;
    if (group == 0)
        return NULL;
    uint32_t start = dep->index->starts[group - 1];
    *ret_count = dep->index->starts[group] - start;
    return dep->index->instances + start;
}

/* --- the edges --- */

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void fail_alignment(struct plan_lowering *l, const struct plan__dep *dep,
                           size_t count)
{
    struct rwf_str name = {0};

    plan__add_suffix(&name, l->entry, l->instance);
    recipe_diag_add(l->diags, count ? RECIPE_E0208 : RECIPE_E0303, dep->span,
                    count ? "%s%s: more than one instance of %s has the same values"
                          : "%s%s: no instance of %s has the same values",
                    l->entry->address, name.data ? name.data : "", dep->entry->address);
    rwf_str_free(&name);
}

static void add_targets(struct plan_lowering *l, struct plan__dep *dep,
                        struct plan__needs *needs, size_t *cap)
{
    size_t count = 0;
    const uint32_t *ids = plan__targets(l->g, l->entry, dep, l->instance, &count);

    if (dep->entry->count == 0)
        return;
    if (count == 0 || (count > 1 && plan__is_single(l->entry, dep->entry)))
        fail_alignment(l, dep, count);
    if (needs->count + count > *cap) {
        *cap = (needs->count + count) * 2;
        needs->ids = rwf_xrealloc(needs->ids, *cap * sizeof(*needs->ids));
    }
    for (size_t i = 0; i < count; i++)
        needs->ids[needs->count++] = dep->entry->first + ids[i];
}

static bool too_many_edges(struct plan_lowering *l, size_t count)
{
    bool before = l->g->edge_count > PLAN__EDGES_MAX;

    l->g->edge_count += count;
    if (l->g->edge_count <= PLAN__EDGES_MAX)
        return false;
    if (!before)
        recipe_diag_add(l->diags, RECIPE_E0303, l->entry->span,
                        "the steps wait for each other in more than %d ways; give the "
                        "entries common axes, or collect in between",
                        PLAN__EDGES_MAX);
    return true;
}

static struct plan__needs *compute_needs(struct plan_lowering *l)
{
    struct plan_graph *g = l->g;
    struct plan__needs found = {0};
    size_t cap = 0;

    for (size_t i = 0; i < l->entry->dep_count; i++)
        add_targets(l, &l->entry->deps[i], &found, &cap);
    if (too_many_edges(l, found.count))
        found.count = 0;
    if (found.count > 1)
        qsort(found.ids, found.count, sizeof(*found.ids), by_number);
    struct plan__needs *kept = rwf_arena_alloc(g->arena, sizeof(*kept));
    kept->count = found.count;
    kept->ids = rwf_arena_alloc(g->arena, (found.count + 1) * sizeof(*kept->ids));
    if (found.count)
        memcpy(kept->ids, found.ids, found.count * sizeof(*kept->ids));
    free(found.ids);
    *RWF_PUSH(g->needs, g->needs_count, g->needs_cap) = *kept;
    return kept;
}

/* The axes of e that its needs depend on. */
static size_t axes_used(const struct plan__entry *e, const char **used)
{
    size_t count = 0;

    for (size_t i = 0; i < e->axis_count; i++)
        for (size_t k = 0; k < e->dep_count; k++)
            if (plan__has_axis(e->deps[k].entry, e->axes[i])) {
                used[count++] = e->axes[i];
                break;
            }
    return count;
}

static const struct plan__needs *needs_of(struct plan_lowering *l)
{
    struct plan__entry *e = l->entry;
    const char *used[64];
    struct plan__needs *needs;
    struct rwf_str key = {0};
    size_t count;

    if (e->dep_count == 0 || e->axis_count > RWF_COUNT(used))
        return compute_needs(l);
    count = axes_used(e, used);
    if (count == e->axis_count && count > 0)
        return compute_needs(l);
    if (!e->needs_by_key)
        e->needs_by_key = rwf_map_create();
    add_key(&key, &e->instances[l->instance], used, count);
    const char *text = key.data ? key.data : "";
    needs = rwf_map_get(e->needs_by_key, text);
    if (!needs) {
        needs = compute_needs(l);
        rwf_map_set(e->needs_by_key, text, needs);
    }
    rwf_str_free(&key);
    return needs;
}

/* --- the steps --- */

static const char *step_address(struct plan_lowering *l)
{
    struct rwf_str suffix = {0};
    const char *out = l->entry->address;

    if (l->entry->axis_count > 0) {
        plan__add_suffix(&suffix, l->entry, l->instance);
        out = rwf_arena_printf(l->g->arena, "%s%s", l->entry->address,
                               suffix.data ? suffix.data : "");
        rwf_str_free(&suffix);
    }
    return out;
}

static void add_step(struct plan_lowering *l, const struct recipe_node *body,
                     const struct plan_policy *policy, const struct plan__needs *needs)
{
    struct plan_graph *g = l->g;
    const struct plan__instance *i = &l->entry->instances[l->instance];
    uint32_t index = (uint32_t)g->step_count;

    *RWF_PUSH(g->steps, g->step_count, g->step_cap) = (struct plan__step){
        .step =
            {
                .index = index,
                .address = step_address(l),
                .entry = l->entry->address,
                .op = l->entry->op,
                .body = body,
                .policy = policy,
                .bindings = i->bindings,
                .binding_count = i->count,
                .needs = needs->ids,
                .need_count = needs->count,
                .settles = l->entry->op->trials != NULL,
                .is_trial = plan__is_trials(l->entry),
                .trial = l->instance,
            },
        .entry = l->entry,
        .instance = l->instance,
    };
}

int plan_lower_one(struct plan_lowering *l, const char *name,
                   const struct recipe_node *body, struct rwf_err *err)
{
    struct plan__build b = {.g = l->g, .diags = l->diags};
    static const struct plan__needs none;
    const struct plan_policy *policy;
    const struct plan__needs *needs;

    rwf_assert(strcmp(name, l->entry->name) == 0);
    rwf_assert(l->g->step_count == l->entry->first + l->instance);
    policy = plan__policy_for(&b, l->entry, l->instance);
    needs = l->entry->dep_count ? needs_of(l) : &none;
    if (l->g->step_count >= PLAN__STEPS_MAX)
        return rwf_fail(err, RWF_E_RECIPE, "more than %d steps", PLAN__STEPS_MAX);
    add_step(l, body, policy, needs);
    return 0;
}

static int lower_entry(struct plan__build *b, struct plan__entry *e,
                       struct rwf_err *err)
{
    struct plan_lowering l = {b->g, e, 0, b->diags};

    settle_deps(b->g, e);
    e->first = (uint32_t)b->g->step_count;
    for (; l.instance < e->count; l.instance++) {
        if (e->op->lower(&l, e->name, e->body, err) < 0)
            return -1;
        rwf_assert(b->g->step_count == (size_t)e->first + l.instance + 1);
    }
    rwf_map_destroy(e->needs_by_key, NULL);
    e->needs_by_key = NULL;
    return 0;
}

void plan__lower(struct plan__build *b)
{
    struct rwf_err why = RWF_ERR_INIT;

    for (size_t i = 0; i < b->g->entry_count; i++) {
        struct plan__entry *e = b->g->order[i];
        if (lower_entry(b, e, &why) < 0)
            recipe_diag_add(b->diags, RECIPE_E0303, e->span, "%s: %s", e->address,
                            why.text);
    }
}

uint32_t plan__step_number(const struct plan_graph *g, const struct plan__entry *e,
                           uint32_t instance)
{
    uint32_t number = e->first + instance;

    return g->renumber ? g->renumber[number] : number;
}
