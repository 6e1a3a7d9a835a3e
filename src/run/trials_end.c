/* SPDX-License-Identifier: Apache-2.0
 *
 * The step that follows all trials: which was the best. Its outputs are those of that
 * trial, and two files of its own:
 *
 *   best.json     {"target","trial","metric","mode","value","config"}
 *   trials.json   the record of all trials (trials_key.c)
 */
#include "config.h"
#include "run/trials.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"

struct ending {
    struct engine__search *x;
    int64_t best;
    char *dir;
    int number;
};

static int write_json(const char *dir, const char *name, const json_t *value,
                      struct rwf_err *err)
{
    char *path = rwf_fs_join(dir, name);
    char *text = json_dumps(value, JSON_INDENT(1));
    int result = text == NULL ? rwf_fail(err, RWF_E_BUG, "%s is no JSON", name)
                              : rwf_fs_write(path, text, strlen(text), false, err);
    free(text);
    free(path);
    return result;
}

static json_t *best_json(const struct ending *n)
{
    const struct engine__search *x = n->x;
    struct search_result r = search_result(x->s, (uint32_t)n->best);
    return json_pack("{s:O, s:i, s:s, s:s, s:f, s:O}", "target",
                     json_object_get(x->body, "target"), "trial", (int)n->best,
                     "metric", search_metric(x->s), "mode",
                     search_maximizes(x->s) ? "max" : "min", "value", r.value, "config",
                     search_config(x->s, (uint32_t)n->best));
}

static int write_files(const struct ending *n, struct rwf_err *err)
{
    json_t *best = best_json(n);
    json_t *all =
        json_pack("{s:i, s:o}", "v", 1, "trials", engine__search_record(n->x));
    int result = rwf_fs_mkdirs(n->dir, err);
    if (result == 0)
        result = write_json(n->dir, "best.json", best, err);
    if (result == 0)
        result = write_json(n->dir, "trials.json", all, err);
    json_decref(all);
    json_decref(best);
    return result;
}

static json_t *metrics_of(const struct ending *n)
{
    const struct search *s = n->x->s;
    json_t *out = json_object();
    const json_t *best = n->x->e->steps[n->x->trials[n->best].step->index].metrics,
                 *value;
    const char *name;
    json_object_foreach((json_t *)(uintptr_t)best, name, value)
        if (json_is_number(value))
            json_object_set(out, name, (json_t *)(uintptr_t)value);
    double value_of_best = search_result(s, (uint32_t)n->best).value;
    json_object_set_new(out, "best", json_real(value_of_best));
    json_object_set_new(out, search_metric(s), json_real(value_of_best));
    json_object_set_new(out, "best_trial", json_integer(n->best));
    json_object_set_new(out, "trials",
                        json_integer((json_int_t)(search_count(s, SEARCH_COMPLETED) +
                                                  search_count(s, SEARCH_STOPPED) +
                                                  search_count(s, SEARCH_FAILED))));
    json_object_set_new(out, "stopped",
                        json_integer((json_int_t)search_count(s, SEARCH_STOPPED)));
    json_object_set_new(out, "failed",
                        json_integer((json_int_t)search_count(s, SEARCH_FAILED)));
    return out;
}

static struct engine__search *search_of(struct engine *e, const struct plan_step *p)
{
    struct engine__search *x;
    LIST_FOREACH(x, &e->searches, link)
    if (x->step == p)
        return x;
    return NULL;
}

/* What the best trial gave, beside the two files. */
static void add_outputs(const struct ending *n, json_t *kept)
{
    const char *name;
    json_t *one;
    json_object_foreach(n->x->e->steps[n->x->trials[n->best].step->index].outputs, name,
                        one)
        if (json_object_get(kept, name) == NULL)
            json_object_set(kept, name, one);
}

/* Both files, kept beneath the search's key, and what the best trial gave. */
static json_t *keep_outputs(const struct ending *n, const json_t *metrics,
                            struct rwf_err *err)
{
    struct engine *e = n->x->e;
    json_t *declared =
        json_pack("{s:s, s:s}", "best", "best.json", "trials", "trials.json");
    char *origin = rwf_xasprintf("%s/%s", e->id, n->x->step->address);
    json_t *kept =
        write_files(n, err) != 0
            ? NULL
            : run_cache_put(e->cache, n->x->key, n->x->parts, n->dir, declared, metrics,
                            recipe_name(plan_graph_recipe(e->graph)), origin, NULL,
                            err);
    if (kept != NULL)
        add_outputs(n, kept);
    free(origin);
    json_decref(declared);
    return kept;
}

static void succeed(const struct ending *n)
{
    struct engine *e = n->x->e;
    uint32_t step = n->x->step->index;
    struct rwf_err err = RWF_ERR_INIT;
    json_t *metrics = metrics_of(n);
    json_t *outputs = keep_outputs(n, metrics, &err);
    if (outputs == NULL) {
        json_decref(metrics);
        engine__failed_early(e, step, n->number, &err);
        return;
    }
    run_log_append(e->log, RUN_STEP_SUCCEEDED,
                   json_pack("{s:s, s:i, s:s, s:O, s:O, s:O}", "step",
                             n->x->step->address, "attempt", n->number, "key",
                             n->x->key, "parts", n->x->parts, "outputs", outputs,
                             "metrics", metrics));
    engine__results_set(e, step, outputs, metrics);
    schedule_event(e->schedule, step, SCHEDULE_EVENT_SUCCEEDED, 0, rwf_clock_mono());
}

bool engine__search_hit(struct engine *e, const struct plan_step *p)
{
    struct engine__search *x = search_of(e, p);
    struct ending n = {.x = x, .best = x == NULL ? -1 : search_best(x->s)};
    const char *miss;
    if (n.best < 0 || x->record == NULL || x->worked || search_failed(x->s))
        return false;
    json_t *entry = run_cache_get(e->cache, x->key, &miss);
    if (entry == NULL)
        return false;
    json_t *outputs = json_copy(json_object_get(entry, "outputs"));
    json_t *metrics = json_incref(json_object_get(entry, "metrics"));
    add_outputs(&n, outputs);
    run_log_append(e->log, RUN_STEP_CACHED,
                   json_pack("{s:s, s:s, s:O, s:O, s:O?}", "step", p->address, "key",
                             x->key, "outputs", outputs, "metrics", metrics, "origin",
                             json_object_get(entry, "origin")));
    json_decref(entry);
    engine__results_set(e, p->index, outputs, metrics);
    schedule_event(e->schedule, p->index, SCHEDULE_EVENT_HIT, 0, rwf_clock_mono());
    return true;
}

static void fail(const struct ending *n)
{
    const struct search *s = n->x->s;
    char *text;
    if (search_failed(s))
        text = rwf_xstrdup(search_over(s));
    else
        text = rwf_xasprintf("no trial has a result: %zu failed, %zu were skipped",
                             search_count(s, SEARCH_FAILED),
                             search_count(s, SEARCH_SKIPPED));
    engine__failed(n->x->e, n->x->step->index, n->number, PLAN_CAUSE_EXIT,
                   RWF_E_FAILED - RWF_E_BASE, text, NULL);
    free(text);
}

void engine__search_finish(struct engine *e, const struct plan_step *p, int number)
{
    struct engine__search *x = search_of(e, p);
    rwf_assert(x != NULL);
    engine__search_look(x);
    struct ending n = {.x = x, .best = search_best(x->s), .number = number};
    n.dir = engine__attempt_dir(e, p, number);
    if (search_failed(x->s) || n.best < 0 || x->parts == NULL)
        fail(&n);
    else
        succeed(&n);
    char *trials = rwf_fs_join(e->dir, "trials");
    (void)rwf_fs_rmtree(trials, NULL);
    free(trials);
    free(n.dir);
}
