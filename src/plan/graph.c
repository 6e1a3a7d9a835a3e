/* SPDX-License-Identifier: Apache-2.0
 *
 * The graph: built stage by stage (see inside.h), then read-only but for how specs are
 * resolved. All problems of a stage are collected before the next stage is refused.
 */
#include "config.h"
#include "plan/graph.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/suggest.h"
#include "plan/inside.h"

const struct op *op_for_section(const struct op *const *ops, const char *section)
{
    for (; *ops; ops++)
        if ((*ops)->section && strcmp((*ops)->section, section) == 0)
            return *ops;
    return NULL;
}

const struct op *op_for_entry(const struct op *const *ops, const char *section,
                              const struct recipe_node *body)
{
    for (; *ops; ops++)
        if ((*ops)->section && strcmp((*ops)->section, section) == 0 &&
            (!(*ops)->serves || (*ops)->serves(body)))
            return *ops;
    return NULL;
}

const struct op *op_by_name(const struct op *const *ops, const char *name)
{
    for (; *ops; ops++)
        if (strcmp((*ops)->name, name) == 0)
            return *ops;
    return NULL;
}

static struct plan_graph *create(const struct recipe *r, const struct op *const *ops)
{
    struct plan_graph *g = rwf_xcalloc(1, sizeof(*g));

    g->recipe = r;
    g->ops = ops;
    g->arena = rwf_arena_create();
    g->texts = plan__texts_create();
    g->by_address = rwf_map_create();
    g->mode = PLAN_SHOW;
    return g;
}

void plan_graph_destroy(struct plan_graph *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->entry_count; i++)
        plan__entry_release(g->entries[i]);
    rwf_map_destroy(g->is_file, NULL);
    rwf_map_destroy(g->step_by_address, NULL);
    rwf_map_destroy(g->by_address, NULL);
    free(g->entries);
    free(g->steps);
    free(g->needs);
    plan__texts_destroy(g->texts);
    rwf_arena_destroy(g->scratch);
    rwf_arena_destroy(g->arena);
    free(g);
}

/* Steps are made only of a recipe without errors. */
static bool compile(struct plan__build *b, const struct plan_options *options)
{
    struct plan_graph *g = b->g;

    plan__entries_collect(b);
    plan__searches_collect(b);
    for (size_t i = 0; i < g->entry_count; i++)
        if (!plan__is_trials(g->entries[i]))
            plan__matrix_expand(b, g->entries[i]);
    for (size_t i = 0; i < g->entry_count; i++)
        if (!plan__is_trials(g->entries[i]))
            plan__check_entry(b, g->entries[i]);
    plan__check_rest(b);
    plan__searches_check(b);
    plan__searches_settle(b, options);
    plan__order(b);
    for (size_t i = 0; i < g->entry_count; i++)
        plan__policy_parse(b, g->entries[i]);
    if (recipe_diags_errors(b->diags) > 0)
        return false;
    plan__lower(b);
    return recipe_diags_errors(b->diags) == 0;
}

struct plan_graph *plan_graph_build(const struct recipe *r, const struct op *const *ops,
                                    const struct plan_options *options,
                                    struct recipe_diags *diags, struct rwf_err *err)
{
    struct plan__build b = {
        .g = create(r, ops),
        .diags = diags,
        .quiet = recipe_diags_errors(diags) > 0,
    };

    if (!compile(&b, options))
        rwf_fail(err, RWF_E_BASE + recipe_diags_exit_code(diags),
                 "%s: the recipe has errors", recipe_path(r));
    else if (plan__prune(b.g, options, err) == 0)
        return b.g;
    plan_graph_destroy(b.g);
    return NULL;
}

const struct recipe *plan_graph_recipe(const struct plan_graph *g)
{
    return g->recipe;
}

size_t plan_graph_count(const struct plan_graph *g)
{
    return g->step_count;
}

const struct plan_step *plan_graph_step(const struct plan_graph *g, uint32_t index)
{
    rwf_assert(index < g->step_count);
    return &g->steps[index].step;
}

static void index_steps(struct plan_graph *g)
{
    g->step_by_address = rwf_map_create();
    for (size_t i = 0; i < g->step_count; i++)
        rwf_map_set(g->step_by_address, g->steps[i].step.address,
                    (void *)(uintptr_t)(i + 1));
}

uint32_t plan_graph_find(const struct plan_graph *g, const char *address)
{
    struct plan_graph *mine = (struct plan_graph *)g;
    uintptr_t found;

    if (!g->step_by_address)
        index_steps(mine);
    found = (uintptr_t)rwf_map_get(g->step_by_address, address);
    return found ? (uint32_t)(found - 1) : PLAN_NO_STEP;
}

const char *plan_graph_suggest(const struct plan_graph *g, const char *address)
{
    bool instance = strchr(address, '[') != NULL;
    struct rwf_suggest near;

    for (size_t i = 0; i < g->entry_count; i++)
        if (strcmp(g->entries[i]->name, address) == 0)
            return g->entries[i]->address;
    rwf_suggest_init(&near, address);
    for (size_t i = 0; i < g->entry_count; i++)
        rwf_suggest_try(&near, g->entries[i]->address);
    for (size_t i = 0; instance && i < g->step_count && i < 10000; i++)
        rwf_suggest_try(&near, g->steps[i].step.address);
    return rwf_suggest_best(&near);
}

void plan_graph_resolve_as(struct plan_graph *g, enum plan_mode mode,
                           const struct plan_results *results)
{
    rwf_assert(results || mode == PLAN_SHOW);
    g->mode = mode;
    g->results = results ? *results : (struct plan_results){0};
}

enum plan_mode plan_graph_mode(const struct plan_graph *g)
{
    return g->mode;
}
