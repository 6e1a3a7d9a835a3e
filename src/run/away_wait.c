/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run on a cluster waits for beyond its turn: a head that is away, nodes that
 * are not there. Who waits is told so within seconds; what will not come is not waited
 * for.
 */
#include "config.h"
#include "run/away.h"

#include <stdlib.h>
#include "base/mem.h"
#include "base/units.h"

/* A head that is started again is back before this. */
#define BACK (2 * RWF_NS_PER_S)
/* It is given up when nothing runs any more. */
#define GIVE_UP (10 * 60 * RWF_NS_PER_S)

/* --- the head --- */

static int64_t patience(void)
{
    const char *text = getenv("RAYWF_HEAD_PATIENCE");
    int64_t given;

    return text != NULL && rwf_duration_parse(text, &given, NULL) == 0 ? given
                                                                       : GIVE_UP;
}

static bool any_runs(const struct engine *e)
{
    const struct engine__attempt *a;
    LIST_FOREACH(a, &e->running, link)
    if (engine__attempt_runs(a))
        return true;
    return false;
}

/* True: nobody can be asked for a place. */
static bool head_is_away(struct engine *e)
{
    int64_t away = node_head_away(engine__away_node(e));
    const char *at = e->options->cluster_address;
    struct rwf_err err = RWF_ERR_INIT;
    char span[RWF_UNITS_LEN];

    if (away < BACK)
        return false;
    char *why =
        rwf_xasprintf("waits for the head at %s, which is away: what runs goes on; "
                      "start it there again (raywf start --head)",
                      at);
    engine__away_say(e, why);
    free(why);
    if (away < patience() || any_runs(e) || e->stopping)
        return true;
    rwf_fail(&err, RWF_E_ENV,
             "the head of the cluster at %s is away for %s, and nothing runs any more",
             at, rwf_duration_format(away / RWF_NS_PER_S * RWF_NS_PER_S, span));
    engine__fatal(e, &err);
    return true;
}

/* --- nodes --- */

/* It may be started, and none of the nodes that are there can hold it. */
static bool is_hopeless(const struct engine *e, uint32_t step, struct rwf_err *err)
{
    return schedule_state(e->schedule, step) == STEP_QUEUED &&
           !schedule_granted(e->schedule, step) &&
           schedule_hopeless(e->schedule, step, err);
}

/* Nodes are lost. */
static void fail_hopeless(struct engine *e)
{
    const struct plan_policy *fine = NULL;
    for (uint32_t i = 0; i < plan_graph_count(e->graph); i++) {
        struct rwf_err err = RWF_ERR_INIT;
        const struct plan_step *p = engine__step_at(e, i);
        if (schedule_state(e->schedule, i) != STEP_QUEUED || p->policy == fine ||
            schedule_granted(e->schedule, i))
            continue;
        if (!schedule_hopeless(e->schedule, i, &err))
            fine = p->policy;
        else
            engine__failed_early(e, i, schedule_attempt(e->schedule, i) + 1, &err);
    }
}

static json_t *missing(const struct engine *e, const struct rwf_err *why)
{
    struct schedule_totals t;
    const char *at = e->options->cluster_address;

    schedule_cluster_totals(e->cluster, &t);
    if (t.nodes == 0)
        return json_sprintf(
            "waits for a node, the cluster has none: raywf start --address "
            "%s, on any machine, adds one",
            at);
    return json_sprintf(
        "waits for a node that can hold it (raywf start --address %s adds "
        "one): %s",
        at, why->text);
}

/* Nodes may come: what they are waited for is said once. */
static void tell_hopeless(struct engine *e)
{
    for (uint32_t i = 0; i < plan_graph_count(e->graph); i++) {
        struct rwf_err err = RWF_ERR_INIT;
        struct engine__step *s = &e->steps[i];
        if (s->nowhere || !is_hopeless(e, i, &err))
            continue;
        s->nowhere = true;
        run_log_append(e->log, RUN_STEP_QUEUED,
                       json_pack("{s:s, s:o}", "step", engine__step_at(e, i)->address,
                                 "reason", missing(e, &err)));
    }
}

void engine__away_wait(struct engine *e, bool shrunk)
{
    if (head_is_away(e))
        return;
    engine__away_ask(e);
    if (e->options->cluster_grows)
        tell_hopeless(e);
    else if (shrunk && !e->stopping)
        fail_hopeless(e);
}
