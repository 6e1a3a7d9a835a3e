/* SPDX-License-Identifier: Apache-2.0
 *
 * --only and --from. Steps stand in topological order, so what depends on a step is
 * found going up once, and what it needs going down once. What is left is numbered
 * anew; lists of needs are shared, so each is renumbered once.
 */
#include "config.h"
#include "plan/inside.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

/* Marks the steps that a name means: one address, or all instances of an entry. */
static int mark_name(struct plan_graph *g, const char *name, bool *mark,
                     struct rwf_err *err)
{
    const struct plan__entry *e = rwf_map_get(g->by_address, name);
    uint32_t step;

    if (e) {
        for (uint32_t i = 0; i < e->count; i++)
            mark[e->first + i] = true;
        return 0;
    }
    step = plan_graph_find(g, name);
    if (step != PLAN_NO_STEP) {
        mark[step] = true;
        return 0;
    }
    const char *near = plan_graph_suggest(g, name);
    if (near)
        return rwf_fail(err, RWF_E_NORUN,
                        "there is no step '%s' in %s: did you mean '%s'?", name,
                        recipe_path(g->recipe), near);
    return rwf_fail(err, RWF_E_NORUN,
                    "there is no step '%s' in %s: `raywf graph --format "
                    "mermaid` lists all",
                    name, recipe_path(g->recipe));
}

/* Whatever needs something marked is marked. */
static void spread_up(struct plan_graph *g, bool *mark)
{
    const uint32_t *last = NULL;
    bool last_hit = false;

    for (size_t i = 0; i < g->step_count; i++) {
        const struct plan_step *s = &g->steps[i].step;
        if (s->needs != last || s->need_count == 0) {
            last = s->needs;
            last_hit = false;
            for (size_t k = 0; k < s->need_count && !last_hit; k++)
                last_hit = mark[s->needs[k]];
        }
        mark[i] |= last_hit;
    }
}

/* Whatever something marked needs is marked. */
static void spread_down(struct plan_graph *g, bool *mark)
{
    const uint32_t *last = NULL;

    for (size_t i = g->step_count; i-- > 0;) {
        const struct plan_step *s = &g->steps[i].step;
        if (!mark[i] || s->needs == last)
            continue;
        last = s->needs;
        for (size_t k = 0; k < s->need_count; k++)
            mark[s->needs[k]] = true;
    }
}

/* A trial is nothing without its search. */
static void keep_searches(const struct plan_graph *g, bool *keep)
{
    for (size_t i = 0; i < g->step_count; i++)
        if (keep[i] && g->steps[i].step.is_trial)
            keep[g->steps[i].entry->search->owner->first] = true;
}

static void renumber(struct plan_graph *g, const bool *keep)
{
    uint32_t count = 0;

    g->renumber = rwf_arena_alloc(g->arena, (g->step_count + 1) * sizeof(*g->renumber));
    for (size_t i = 0; i < g->step_count; i++)
        g->renumber[i] = keep[i] ? count++ : PLAN_NO_STEP;
    for (size_t i = 0; i < g->needs_count; i++)
        for (size_t k = 0; k < g->needs[i].count; k++)
            g->needs[i].ids[k] = g->renumber[g->needs[i].ids[k]];
    for (size_t i = 0; i < g->step_count; i++) {
        if (!keep[i])
            continue;
        g->steps[g->renumber[i]] = g->steps[i];
        g->steps[g->renumber[i]].step.index = g->renumber[i];
    }
    g->step_count = count;
    rwf_map_destroy(g->step_by_address, NULL);
    g->step_by_address = NULL;
}

int plan__prune(struct plan_graph *g, const struct plan_options *options,
                struct rwf_err *err)
{
    bool *keep, *from;
    int rc = -1;

    if (!options || options->only_count + options->from_count == 0)
        return 0;
    keep = rwf_xcalloc(g->step_count + 1, sizeof(*keep));
    from = rwf_xcalloc(g->step_count + 1, sizeof(*from));
    for (size_t i = 0; i < options->from_count; i++)
        if (mark_name(g, options->from[i], from, err) < 0)
            goto out;
    spread_up(g, from);
    for (size_t i = 0; i < options->only_count; i++)
        if (mark_name(g, options->only[i], keep, err) < 0)
            goto out;
    for (size_t i = 0; i < g->step_count; i++)
        keep[i] |= from[i];
    keep_searches(g, keep);
    spread_down(g, keep);
    renumber(g, keep);
    rc = 0;
out:
    free(keep);
    free(from);
    return rc;
}
