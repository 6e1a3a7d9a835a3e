/* SPDX-License-Identifier: Apache-2.0
 *
 * How an entry is run: resources, retries, times, limits. Read once per entry, unless
 * it refers to matrix or item: then once per instance. Defaults of the language are
 * here.
 */
#include "config.h"
#include "plan/inside.h"

#include <string.h>
#include "base/clock.h"
#include "base/mem.h"

static const struct {
    const char *name;
    enum plan_cause cause;
} causes[] = {
    {"exit", PLAN_CAUSE_EXIT},
    {"signal", PLAN_CAUSE_SIGNAL},
    {"oom", PLAN_CAUSE_OOM},
    {"timeout", PLAN_CAUSE_TIMEOUT},
    {"start", PLAN_CAUSE_START},
    {"output", PLAN_CAUSE_OUTPUT},
    {"input", PLAN_CAUSE_INPUT},
    {"stopped", PLAN_CAUSE_STOPPED},
    {"node_lost", PLAN_CAUSE_NODE_LOST},
    {"check", PLAN_CAUSE_CHECK},
};

const char *plan_cause_name(enum plan_cause cause)
{
    for (size_t i = 0; i < RWF_COUNT(causes); i++)
        if (causes[i].cause == cause)
            return causes[i].name;
    return "none";
}

enum plan_cause plan_cause_parse(const char *name)
{
    for (size_t i = 0; i < RWF_COUNT(causes); i++)
        if (strcmp(causes[i].name, name) == 0)
            return causes[i].cause;
    return PLAN_CAUSE_NONE;
}

static const char *const placements[] = {[PLAN_PACK] = "pack",
                                         [PLAN_SPREAD] = "spread",
                                         [PLAN_SAME_NODE] = "same_node",
                                         [PLAN_DIFFERENT_NODES] = "different_nodes"};

const char *plan_placement_name(enum plan_placement placement)
{
    return placements[placement];
}

int plan_placement_parse(const char *name)
{
    for (size_t i = 0; i < RWF_COUNT(placements); i++)
        if (strcmp(placements[i], name) == 0)
            return (int)i;
    return -1;
}

static const struct plan_policy language_defaults = {
    .cpu = 1,
    .retry_on =
        PLAN_CAUSE_EXIT | PLAN_CAUSE_SIGNAL | PLAN_CAUSE_TIMEOUT | PLAN_CAUSE_NODE_LOST,
    .backoff_initial = RWF_NS_PER_S,
    .backoff_max = 60 * RWF_NS_PER_S,
    .backoff_factor = 2,
    .grace = 10 * RWF_NS_PER_S,
    .cache = true,
    .log_limit = INT64_C(64) << 20,
};

struct reader {
    struct plan__build *b;
    struct plan__scope scope;
    struct plan_policy *p;
};

/* A node as JSON, or NULL after a diagnostic (or when the schema has already spoken).
 */
static json_t *read_node(struct reader *r, const struct recipe_node *node)
{
    struct rwf_err err = RWF_ERR_INIT;
    size_t errors = recipe_diags_errors(r->b->diags);
    json_t *json;

    if (!node || node->null)
        return NULL;
    json = plan__resolve_in(&r->scope, node, &err);
    if (!json && errors == 0)
        recipe_diag_add(r->b->diags, RECIPE_E0203, node->span, "%s", err.text);
    return json;
}

static int64_t read_whole(struct reader *r, const struct recipe_node *node,
                          int64_t fallback)
{
    json_t *json = read_node(r, node);
    int64_t out = json_is_integer(json) ? json_integer_value(json) : fallback;

    json_decref(json);
    return out;
}

static double read_number(struct reader *r, const struct recipe_node *node,
                          double fallback)
{
    json_t *json = read_node(r, node);
    double out = json_is_number(json) ? json_number_value(json) : fallback;

    json_decref(json);
    return out;
}

static bool read_bool(struct reader *r, const struct recipe_node *node, bool fallback)
{
    json_t *json = read_node(r, node);
    bool out = json_is_boolean(json) ? json_is_true(json) : fallback;

    json_decref(json);
    return out;
}

static void read_backoff(struct reader *r, const struct recipe_node *node)
{
    struct plan_policy *p = r->p;

    if (!node)
        return;
    if (node->kind == RECIPE_SCALAR) {
        p->backoff_initial = read_whole(r, node, p->backoff_initial);
    } else {
        p->backoff_initial =
            read_whole(r, recipe_get(node, "initial"), p->backoff_initial);
        p->backoff_factor =
            read_number(r, recipe_get(node, "factor"), p->backoff_factor);
        p->backoff_max = read_whole(r, recipe_get(node, "max"), p->backoff_max);
    }
    if (p->backoff_max < p->backoff_initial)
        p->backoff_max = p->backoff_initial;
}

static void read_causes(struct reader *r, const struct recipe_node *node)
{
    json_t *list = read_node(r, node), *item;
    unsigned bits = 0;
    size_t i;

    if (json_is_array(list)) {
        json_array_foreach(list, i, item)
            if (json_is_string(item))
                bits |= plan_cause_parse(json_string_value(item));
        r->p->retry_on = bits;
    }
    json_decref(list);
}

static int clamp_int(int64_t value)
{
    return value < 0 ? 0 : value > 1000000 ? 1000000 : (int)value;
}

static void read_retry(struct reader *r, const struct recipe_node *node)
{
    if (!node)
        return;
    if (node->kind == RECIPE_SCALAR) {
        r->p->retry_max = clamp_int(read_whole(r, node, 0));
        return;
    }
    r->p->retry_max = clamp_int(read_whole(r, recipe_get(node, "max"), 0));
    read_causes(r, recipe_get(node, "on"));
    read_backoff(r, recipe_get(node, "backoff"));
}

static void read_custom(struct reader *r, const struct recipe_node *node)
{
    struct plan_policy *p = r->p;
    struct rwf_arena *a = r->b->g->arena;

    if (!node || node->kind != RECIPE_MAP || node->count == 0)
        return;
    p->custom_names = rwf_arena_alloc(a, node->count * sizeof(*p->custom_names));
    p->custom_amounts = rwf_arena_alloc(a, node->count * sizeof(*p->custom_amounts));
    for (size_t i = 0; i < node->count; i++) {
        p->custom_names[p->custom_count] = node->pairs[i].key;
        p->custom_amounts[p->custom_count++] = read_number(r, node->pairs[i].value, 0);
    }
}

/* Text in the arena; NULL after a diagnostic. */
static const char *read_text(struct reader *r, const struct recipe_node *node)
{
    json_t *json = read_node(r, node);
    const char *text = json_string_value(json);
    text = text == NULL ? NULL : rwf_arena_strdup(r->b->g->arena, text);

    json_decref(json);
    return text;
}

static void read_labels(struct reader *r, const struct recipe_node *node)
{
    struct plan_policy *p = r->p;
    struct rwf_arena *a = r->b->g->arena;

    if (!node || node->kind != RECIPE_MAP || node->count == 0)
        return;
    p->label_keys = rwf_arena_alloc(a, node->count * sizeof(*p->label_keys));
    p->label_values = rwf_arena_alloc(a, node->count * sizeof(*p->label_values));
    for (size_t i = 0; i < node->count; i++) {
        const char *value = read_text(r, node->pairs[i].value);
        if (value == NULL)
            continue;
        p->label_keys[p->label_count] = node->pairs[i].key;
        p->label_values[p->label_count++] = value;
    }
}

/* What the recipe's cluster says for steps that say nothing. */
static const struct recipe_node *usual_placement(const struct reader *r)
{
    return recipe_at(recipe_root(r->b->g->recipe), "cluster.placement");
}

static void read_placement(struct reader *r, const struct recipe_node *node)
{
    if (node == NULL)
        node = usual_placement(r);
    const char *name = read_text(r, node);
    int placement = name == NULL ? PLAN_PACK : plan_placement_parse(name);

    if (placement >= 0)
        r->p->placement = (enum plan_placement)placement;
    else if (recipe_diags_errors(r->b->diags) == 0)
        recipe_diag_add(r->b->diags, RECIPE_E0203, node->span,
                        "'%s' is no placement: pack, spread, same_node or "
                        "different_nodes",
                        name);
}

static void read_resources(struct reader *r, const struct recipe_node *node)
{
    struct plan_policy *p = r->p;

    p->cpu = read_number(r, recipe_get(node, "cpu"), p->cpu);
    p->memory = read_whole(r, recipe_get(node, "memory"), p->memory);
    p->gpu = read_number(r, recipe_get(node, "gpu"), p->gpu);
    p->ranks = clamp_int(read_whole(r, recipe_get(node, "ranks"), 1));
    read_custom(r, recipe_get(node, "custom"));
    read_labels(r, recipe_get(node, "labels"));
    read_placement(r, recipe_get(node, "placement"));
}

/* A gang of a task: as many blocks as it has nodes, where per_node says how many ranks
 * one has. They go to nodes of their own while there are enough of those. */
static void read_gang(struct reader *r, const struct recipe_node *gang,
                      const struct recipe_node *placement)
{
    struct plan_policy *p = r->p;
    const struct recipe_node *ranks = recipe_get(gang, "ranks");
    bool range = ranks && ranks->kind == RECIPE_MAP;
    int each = clamp_int(read_whole(r, recipe_get(gang, "per_node"), 1));

    p->block = each < 1 ? 1 : each;
    p->ranks = clamp_int(read_whole(r, range ? recipe_get(ranks, "max") : ranks, 1));
    p->ranks = (p->ranks + p->block - 1) / p->block;
    if (range)
        p->ranks_min = clamp_int(read_whole(r, recipe_get(ranks, "min"), 1)) / p->block;
    if (range && p->ranks_min < 1)
        p->ranks_min = 1;
    p->cpu *= p->block;
    p->memory *= p->block;
    p->gpu *= p->block;
    for (size_t i = 0; i < p->custom_count; i++)
        p->custom_amounts[i] *= p->block;
    if (recipe_get(gang, "per_node") && !placement)
        p->placement = PLAN_SPREAD;
}

/* Those who train together are best off on one node. */
static void read_workers(struct reader *r, const struct recipe_node *node,
                         const struct recipe_node *placement)
{
    r->p->ranks = clamp_int(read_whole(r, node, 1));
    r->p->near = r->p->ranks > 1 && !placement;
    if (r->p->near)
        r->p->placement = PLAN_SAME_NODE;
}

static const char *const policy_keys[] = {"resources", "retry",   "timeout",
                                          "grace",     "cache",   "log_limit",
                                          "priority",  "workers", "gang"};

/* True when a node beneath refers to what differs between instances. */
static bool varies(struct plan_graph *g, const struct recipe_node *node)
{
    const struct expr_template *t;
    size_t at;
    bool found = false;

    if (node->kind != RECIPE_SCALAR) {
        for (size_t i = 0; i < node->count && !found; i++)
            found = varies(g, node->kind == RECIPE_MAP ? node->pairs[i].value
                                                       : node->items[i]);
        return found;
    }
    t = plan__has_refs(node) ? plan__template(g, node, &at, NULL) : NULL;
    for (size_t i = 0; t && i < t->count; i++) {
        const char *root = t->refs[i].parts[0];
        found |= strcmp(root, "matrix") == 0 || strcmp(root, "item") == 0 ||
                 strcmp(root, "inputs") == 0;
    }
    return found;
}

static const struct plan_policy *read_policy(struct plan__build *b,
                                             struct plan__entry *e, uint32_t instance)
{
    struct reader r = {.b = b, .scope = {.g = b->g, .stage = PLAN__STATIC}};
    const struct recipe_node *body = e->body;

    r.p = rwf_arena_alloc(b->g->arena, sizeof(*r.p));
    *r.p = language_defaults;
    if (e->op->service)
        r.p->cpu = 0; /* what serves for long must not keep all else from running */
    plan__scope_enter(&r.scope, e, instance);
    read_resources(&r, recipe_get(body, "resources"));
    if (e->op->gang && recipe_get(body, "gang"))
        read_gang(&r, recipe_get(body, "gang"), recipe_at(body, "resources.placement"));
    else if (e->op->gang)
        read_workers(&r, recipe_get(body, "workers"),
                     recipe_at(body, "resources.placement"));
    read_retry(&r, recipe_get(body, "retry"));
    if (!e->op->service)
        r.p->timeout = read_whole(&r, recipe_get(body, "timeout"), 0);
    r.p->grace = read_whole(&r, recipe_get(body, "grace"), r.p->grace);
    r.p->cache = !e->op->service && !e->op->points &&
                 read_bool(&r, recipe_get(body, "cache"), r.p->cache);
    r.p->log_limit = read_whole(&r, recipe_get(body, "log_limit"), r.p->log_limit);
    r.p->max_parallel = e->by_rows ? 0 : e->max_parallel;
    r.p->priority = (int)read_whole(&r, recipe_get(body, "priority"), 0);
    r.p->leased = e->op->leased || e->op->service;
    r.p->late = plan__is_trials(e);
    return r.p;
}

void plan__policy_parse(struct plan__build *b, struct plan__entry *e)
{
    for (size_t i = 0; i < RWF_COUNT(policy_keys) && e->axis_count > 0; i++) {
        const struct recipe_node *node = recipe_get(e->body, policy_keys[i]);
        e->policy_varies |= node && varies(b->g, node);
    }
    if (!e->policy_varies)
        e->policy = read_policy(b, e, 0);
}

const struct plan_policy *plan__policy_for(struct plan__build *b, struct plan__entry *e,
                                           uint32_t instance)
{
    return e->policy_varies ? read_policy(b, e, instance) : e->policy;
}
