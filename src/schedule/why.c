/* SPDX-License-Identifier: Apache-2.0
 *
 * Why a step does not run, in one line.
 */
#include "config.h"
#include "schedule/internal.h"

#include "base/units.h"

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
            rwf_str_addf(out, "%u ranks at once (%s), each with ", c->ranks,
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
