/* SPDX-License-Identifier: Apache-2.0
 *
 * Why a step does not run, in one line.
 */
#include "config.h"
#include "schedule/internal.h"

#include "base/units.h"

static void why_pending(const struct schedule *s, uint32_t step, struct rwf_str *out)
{
    const struct plan_step *p = plan_graph_step(s->graph, step);
    const struct schedule__item *it = &s->items[step];
    if (it->because != PLAN_NO_STEP) {
        rwf_str_addf(out, "will be skipped because of %s",
                     plan_graph_step(s->graph, it->because)->address);
        return;
    }
    size_t shown = 0;
    for (size_t i = 0; i < p->need_count && shown < 3; i++)
        if (!schedule_state_good(s->items[p->needs[i]].state))
            rwf_str_addf(out, "%s%s", shown++ == 0 ? "waits for " : ", ",
                         plan_graph_step(s->graph, p->needs[i])->address);
    if (it->waiting > shown)
        rwf_str_addf(out, " and %zu more", it->waiting - shown);
    if (shown == 0)
        rwf_str_add(out, "waits for its turn: others of its kind come first");
}

static void why_queued(const struct schedule *s, uint32_t step, struct rwf_str *out)
{
    const struct schedule__class *c = s->classes[s->items[step].class];
    if (c->max_parallel > 0 && c->running >= c->max_parallel)
        rwf_str_addf(out, "waits: %d of its entry run, which is max_parallel",
                     c->running);
    else if (schedule__ledger_fits(&s->ledger, &c->demand))
        rwf_str_add(out, "waits for an older step, for which the machine is kept free");
    else {
        rwf_str_add(out, "waits for ");
        schedule__ledger_short(&s->ledger, &c->demand, out);
    }
}

static void why_backoff(const struct schedule *s, uint32_t step, int64_t now,
                        struct rwf_str *out)
{
    char text[RWF_UNITS_LEN];
    const struct schedule__item *it = &s->items[step];
    if (it->deferred)
        rwf_str_add(out, "waits for the same step, which runs elsewhere");
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
                     plan_graph_step(s->graph, it->because)->address);
    else
        rwf_str_add(&out, schedule_state_name(it->state));
    return rwf_str_take(&out);
}
