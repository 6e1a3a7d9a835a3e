/* SPDX-License-Identifier: Apache-2.0
 *
 * Before a step may wait for resources: is its condition true, what is its key, and is
 * the result there already?
 */
#include "config.h"
#include "run/internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "plan/key.h"

void engine__ready_free(struct engine__step *s)
{
    if (s->ready == NULL)
        return;
    json_decref(s->ready->parts);
    free(s->ready);
    s->ready = NULL;
}

static json_t *or_empty(json_t *object)
{
    return object != NULL ? json_incref(object) : json_object();
}

bool engine__hit(struct engine *e, uint32_t step)
{
    const struct plan_step *p = engine__step_at(e, step);
    struct engine__step *s = &e->steps[step];
    const char *miss = NULL;
    if (!p->policy->cache || e->options->no_cache)
        return false;
    json_t *entry = run_cache_get(e->cache, s->ready->key, &miss);
    if (entry == NULL)
        return false;
    json_t *outputs = or_empty(json_object_get(entry, "outputs"));
    json_t *metrics = or_empty(json_object_get(entry, "metrics"));
    const char *origin = json_string_value(json_object_get(entry, "origin"));
    bool stopped = engine__trial_hit_stopped(e, step);
    json_t *event = json_pack("{s:s, s:s, s:O, s:O, s:s?}", "step", p->address, "key",
                              s->ready->key, "outputs", outputs, "metrics", metrics,
                              "origin", origin);
    if (stopped)
        json_object_set_new(event, "stopped", json_true());
    run_log_append(e->log, RUN_STEP_CACHED, event);
    json_decref(entry);
    engine__results_set(e, step, outputs, metrics);
    char key[RWF_DIGEST_LEN];
    memcpy(key, s->ready->key, sizeof(key));
    engine__ready_free(s);
    schedule_event(e->schedule, step, SCHEDULE_EVENT_HIT, 0, rwf_clock_mono());
    engine__trial_over(e, step, true, stopped, key);
    return true;
}

/* A result that must not be shared is kept under a key that nobody else computes. */
static void make_unique(const struct engine *e, const struct plan_step *p,
                        char key[RWF_DIGEST_LEN])
{
    struct rwf_digest *d = rwf_digest_create();
    rwf_digest_add(d, key, strlen(key) + 1);
    rwf_digest_add(d, e->id, strlen(e->id) + 1);
    rwf_digest_add(d, p->address, strlen(p->address));
    rwf_digest_finish(d, key);
}

static int check_planned(const struct engine *e, const struct plan_step *p,
                         const char *key, struct rwf_err *err)
{
    const char *planned = e->options->keys == NULL ? NULL : e->options->keys[p->index];
    if (planned == NULL || strcmp(planned, key) == 0)
        return 0;
    return rwf_fail(err, RWF_E_LOCK,
                    "%s is not what was planned: its code or its inputs "
                    "have changed since; plan again ('raywf plan -o FILE')",
                    p->address);
}

int engine__compute_key(struct engine *e, const struct plan_step *p, struct rwf_err *err)
{
    struct engine__ready *ready = rwf_xcalloc(1, sizeof(*ready));
    engine__ready_free(&e->steps[p->index]);
    e->steps[p->index].ready = ready;
    engine__resolve_as(e, PLAN_KEY);
    if (plan_step_key(e->graph, p, run_cache_digest, e->cache, ready->key,
                      &ready->parts, err) != 0)
        return -1;
    if (check_planned(e, p, ready->key, err) != 0) {
        engine__fatal(e, err);
        return -1;
    }
    if (!p->policy->cache)
        make_unique(e, p, ready->key);
    return 0;
}

static void skip_by_condition(struct engine *e, const struct plan_step *p)
{
    run_log_append(e->log, RUN_STEP_SKIPPED,
                   json_pack("{s:s, s:s}", "step", p->address, "because",
                             "its condition (when) is false"));
    schedule_event(e->schedule, p->index, SCHEDULE_EVENT_SKIP, 0, rwf_clock_mono());
}

/* True: it has ended the run. */
static bool must_not_run(struct engine *e, const struct plan_step *p)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (!e->options->all_cached || p->op->decide != NULL)
        return false;
    rwf_fail(&err, RWF_E_ENV,
             "%s was in the cache when the run began, and is not any more: now it needs "
             "its cluster",
             p->address);
    engine__fatal(e, &err);
    return true;
}

void engine__prepare(struct engine *e, uint32_t step)
{
    const struct plan_step *p = engine__step_at(e, step);
    struct rwf_err err = RWF_ERR_INIT;
    engine__resolve_as(e, PLAN_RUN);
    int when = plan_step_when(e->graph, p, &err);
    if (when == 0) {
        skip_by_condition(e, p);
        return;
    }
    if (when > 0 && p->is_trial && !engine__trial_begins(e, p))
        return;
    /* What is decided in the head costs less than a look into the cache. */
    if (when < 0 || (p->op->decide == NULL && engine__compute_key(e, p, &err) != 0)) {
        if (!e->fatal)
            engine__failed_early(e, step, schedule_attempt(e->schedule, step), &err);
        return;
    }
    if (when > 0 && p->op->trials != NULL && engine__search_hit(e, p))
        return;
    if (p->op->decide == NULL &&
        (p->is_trial ? engine__trial_hit(e, step) : engine__hit(e, step)))
        return;
    if (must_not_run(e, p))
        return;
    schedule_event(e->schedule, step, SCHEDULE_EVENT_MISS, 0, rwf_clock_mono());
    if (p->is_trial)
        (void)engine__trial_waits(e, step);
}
