/* SPDX-License-Identifier: Apache-2.0
 *
 * Why a step does not run, in one line, and what can never run.
 */
#include "config.h"
#include "schedule/internal.h"
#include "schedule/nodes.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/units.h"

/* --- what can never run --- */

/* "recipe.yaml:7:3: "; nothing for steps of no graph. */
static char *place_of(const struct schedule *s, const struct plan_step *step,
                      const char *path)
{
    if (s->steps.graph == NULL)
        return rwf_xstrdup("");
    const struct recipe_sources *sources =
        recipe_sources(plan_graph_recipe(s->steps.graph));
    const struct recipe_node *at = recipe_at(step->body, path);
    char *where = recipe_where(sources, at != NULL ? at->span : step->body->span);
    char *prefix = rwf_xasprintf("%s: ", where);
    free(where);
    return prefix;
}

/* Where an entry says how many ranks its gang has. */
static const char *ranks_path(const struct plan_step *step)
{
    if (recipe_at(step->body, "gang.ranks.min") != NULL)
        return "gang.ranks.min";
    return recipe_at(step->body, "gang") != NULL ? "gang.ranks" : "workers";
}

/* "asks for 3 ranks, …": of a gang with per_node these are groups of ranks. */
static void name_blocks(struct rwf_str *what, int block)
{
    const char *at = block > 1 ? strstr(what->data, " ranks") : NULL;
    struct rwf_str out = {NULL, 0, 0};

    if (at == NULL)
        return;
    rwf_str_addn(&out, what->data, (size_t)(at - what->data));
    rwf_str_addf(&out, " groups of %d ranks%s", block, at + strlen(" ranks"));
    rwf_str_free(what);
    *what = out;
}

/* Says what can never fit, where it stands, and which knob to turn. */
int schedule__fail_fit(const struct schedule *s, const struct plan_step *step,
                       const struct schedule_need *need, struct rwf_err *err)
{
    struct rwf_str path = {NULL, 0, 0}, what = {NULL, 0, 0};
    const struct plan_policy *p = step->policy;
    if (!schedule_cluster_never(s->cluster, need, schedule__least_of(p),
                                p->near ? PLAN_PACK : p->placement, &path, &what))
        return 0;
    if (step->op != NULL && step->op->gang &&
        strcmp(path.data, "resources.ranks") == 0) {
        rwf_str_clear(&path);
        rwf_str_add(&path, ranks_path(step));
    }
    name_blocks(&what, p->block);
    char *where = place_of(s, step, path.data);
    bool one = schedule_cluster_count(s->cluster) == 1 && !s->cluster->by_name;
    rwf_fail(err, RWF_E_FIT, "%s%s %s; %s %s.%s (--set %s.%s=…) or %s", where,
             step->address, what.data,
             strcmp(path.data, "resources.labels") == 0 ? "change" : "lower",
             step->entry, path.data, step->entry, path.data,
             one ? "use a larger machine" : "add nodes that have it");
    free(where);
    rwf_str_free(&path);
    rwf_str_free(&what);
    return -1;
}

bool schedule_hopeless(const struct schedule *s, uint32_t step, struct rwf_err *err)
{
    struct schedule_need need;
    const struct plan_step *p = schedule__step(s, step);
    schedule_need_of(p->policy, &need);
    return schedule__fail_fit(s, p, &need, err) != 0;
}

/* --- what waits --- */

static void why_pending(const struct schedule *s, uint32_t step, struct rwf_str *out)
{
    const struct plan_step *p = schedule__step(s, step);
    const struct schedule__item *it = &s->items[step];
    if (it->because != PLAN_NO_STEP) {
        rwf_str_addf(out, "will be skipped because of %s",
                     schedule__step(s, it->because)->address);
        return;
    }
    size_t shown = 0;
    for (size_t i = 0; i < p->need_count && shown < 3; i++)
        if (!schedule_state_good(s->items[p->needs[i]].state))
            rwf_str_addf(out, "%s%s", shown++ == 0 ? "waits for " : ", ",
                         schedule__step(s, p->needs[i])->address);
    if (it->waiting > shown)
        rwf_str_addf(out, " and %zu more", it->waiting - shown);
    if (shown == 0)
        rwf_str_add(out, "waits for its turn: others of its kind come first");
}

static bool fits_somewhere(const struct schedule *s, const struct schedule__class *c)
{
    struct schedule_claim claim = {.owner = s};
    return c->ranks == 1 && schedule_cluster_might(s->cluster, c->shape, &claim);
}

/* Of one machine, the whole. */
static bool is_kept_free(const struct schedule *s)
{
    struct schedule_node_view v;
    if (schedule_cluster_count(s->cluster) != 1)
        return false;
    schedule_cluster_view(s->cluster, 0, &v);
    return v.held;
}

static void why_queued(const struct schedule *s, uint32_t step, struct rwf_str *out)
{
    const struct schedule__class *c = s->classes[s->items[step].class];
    if (c->max_parallel > 0 && c->running >= c->max_parallel)
        rwf_str_addf(out, "waits: %d of its entry run, which is max_parallel",
                     c->running);
    else if (fits_somewhere(s, c))
        rwf_str_add(out, "waits for an older step, or one of higher priority");
    else if (is_kept_free(s))
        rwf_str_add(out, "waits for an older step, for which the machine is kept free");
    else {
        rwf_str_add(out, "waits for ");
        if (c->ranks > 1)
            rwf_str_addf(out, "%u ranks at once (%s), each with ", c->least,
                         plan_placement_name(c->placement));
        schedule_cluster_short(s->cluster, c->shape, out);
    }
    if (c->owed > 0)
        rwf_str_addf(out, "; %u of lower priority end%s for it", c->owed,
                     c->owed == 1 ? "s" : "");
}

static void why_backoff(const struct schedule *s, uint32_t step, int64_t now,
                        struct rwf_str *out)
{
    char text[RWF_UNITS_LEN];
    const struct schedule__item *it = &s->items[step];
    if (it->deferred)
        rwf_str_add(out, "waits for the same step, which runs elsewhere");
    else if (it->due == INT64_MAX)
        rwf_str_add(out, "is paused by its search");
    else
        rwf_str_addf(out, "retries in %s",
                     rwf_duration_format(it->due > now ? it->due - now : 0, text));
}

char *schedule_why(const struct schedule *s, uint32_t step, int64_t now)
{
    struct rwf_str out = {NULL, 0, 0};
    const struct schedule__item *it = &s->items[step];
    if (it->state == STEP_PENDING)
        why_pending(s, step, &out);
    else if (it->state == STEP_QUEUED && !it->granted)
        why_queued(s, step, &out);
    else if (it->state == STEP_BACKOFF)
        why_backoff(s, step, now, &out);
    else if (it->state == STEP_SKIPPED && it->because != PLAN_NO_STEP)
        rwf_str_addf(&out, "skipped because of %s",
                     schedule__step(s, it->because)->address);
    else
        rwf_str_add(&out, schedule_state_name(it->state));
    return rwf_str_take(&out);
}
