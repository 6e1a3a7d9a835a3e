/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps stand in topological order, so one pass is enough: a step's key can be known as
 * soon as all that its spec refers to is cached. Specs and entries are dropped as soon
 * as their verdict is known; 100,000 steps keep a key and a reason each.
 */
#include "config.h"

#include "cmd/preview.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/change.h"
#include "cmd/preview_search.h"
#include "plan/key.h"

/* Beyond that many steps to run, their last results are not compared one by one. */
#define COMPARED_MAX 500

struct preview {
    struct plan_graph *graph;
    struct run_cache *cache;
    struct preview_search *search;
    bool no_cache, empty;
    size_t compared;
    struct preview_step *steps;
    size_t count;
    size_t counts[PREVIEW_VERDICT_COUNT];
    struct rwf_map *texts; /* reasons and origins repeat: each is kept once */
    struct rwf_str names;
};

const char *preview_verdict_name(enum preview_verdict v)
{
    static const char *const names[] = {
        [PREVIEW_RUN] = "run",
        [PREVIEW_CACHED] = "cached",
        [PREVIEW_SKIP] = "skip",
        [PREVIEW_DECIDE] = "decide",
    };

    return names[v];
}

static const char *intern(struct preview *p, const char *text)
{
    char *known = rwf_map_get(p->texts, text);

    if (!known) {
        known = rwf_xstrdup(text);
        rwf_map_set(p->texts, text, known);
    }
    return known;
}

/* --- results of cached steps, for resolving --- */

static const char *output(void *ctx, uint32_t step, const char *name,
                          enum plan_mode mode)
{
    struct preview *p = ctx;
    const json_t *one = json_object_get(p->steps[step].outputs, name);

    return json_string_value(
        json_object_get(one, mode == PLAN_KEY ? "digest" : "path"));
}

static int metric(void *ctx, uint32_t step, const char *name, double *ret)
{
    struct preview *p = ctx;
    const json_t *value = json_object_get(p->steps[step].metrics, name);

    if (!json_is_number(value))
        return -1;
    *ret = json_number_value(value);
    return 0;
}

static const char *metric_names(void *ctx, uint32_t step)
{
    struct preview *p = ctx;
    const char *key;
    json_t *value;

    rwf_str_clear(&p->names);
    json_object_foreach(p->steps[step].metrics, key, value)
        rwf_str_addf(&p->names, "%s%s", p->names.len ? ", " : "", key);
    return p->names.data ? p->names.data : "";
}

/* --- verdicts --- */

static void decide(struct preview *p, struct preview_step *s,
                   enum preview_verdict verdict, const char *why)
{
    s->verdict = verdict;
    s->why = why ? intern(p, why) : NULL;
    p->counts[verdict]++;
}

/* The first step needed that has this verdict. */
static const struct plan_step *needed(const struct preview *p,
                                      const struct plan_step *step,
                                      enum preview_verdict verdict)
{
    for (size_t i = 0; i < step->need_count; i++)
        if (p->steps[step->needs[i]].verdict == verdict)
            return plan_graph_step(p->graph, step->needs[i]);
    return NULL;
}

static void decide_needs(struct preview *p, struct preview_step *s,
                         enum preview_verdict verdict, const struct plan_step *other,
                         const char *rest)
{
    char *why = rwf_xasprintf("needs %s, which %s", other->address, rest);

    decide(p, s, verdict, why);
    free(why);
}

/* "input data.csv changed", "spec.argv[1] changed: 1 -> 2", "… and 2 more". */
static void changed_words(const json_t *diff, struct rwf_str *out)
{
    const json_t *first = json_array_get(diff, 0);
    const char *part = json_string_value(json_object_get(first, "part"));
    char *was, *now;

    if (!part)
        return;
    if (strncmp(part, "files.", 6) == 0 || strncmp(part, "files[", 6) == 0) {
        rwf_str_addf(out, "input %.*s changed", (int)strcspn(part + 6, "]"), part + 6);
    } else {
        cmd_change_words(json_object_get(first, "was"), json_object_get(first, "now"),
                         &was, &now);
        rwf_str_addf(out, "%s changed: %s -> %s", part, was, now);
        free(was);
        free(now);
    }
    if (json_array_size(diff) > 1)
        rwf_str_addf(out, " (and %zu more)", json_array_size(diff) - 1);
}

/* Why the cache has no result for this key. */
static void explain_miss(struct preview *p, struct preview_step *s,
                         const struct plan_step *step, const json_t *parts,
                         const char *miss)
{
    struct rwf_str why = {0};
    json_t *last = NULL;

    if (!p->empty && p->compared < COMPARED_MAX) {
        p->compared++;
        last = run_cache_last_for(p->cache, recipe_name(plan_graph_recipe(p->graph)),
                                  step->address);
    }
    if (last) {
        json_t *diff = plan_key_diff(json_object_get(last, "parts"), parts);
        changed_words(diff, &why);
        if (!why.len)
            rwf_str_add(&why, miss ? miss : "its result is gone");
        json_decref(diff);
    } else {
        rwf_str_add(&why,
                    p->compared < COMPARED_MAX ? "never ran" : "not in the cache");
    }
    decide(p, s, PREVIEW_RUN, why.data);
    rwf_str_free(&why);
    json_decref(last);
}

/* 1 when a condition settles the step, 0 when not, -1 *err. */
static int settle_condition(struct preview *p, struct preview_step *s,
                            const struct plan_step *step, struct rwf_err *err)
{
    const struct plan_step *other = needed(p, step, PREVIEW_SKIP);

    if (other) {
        decide_needs(p, s, PREVIEW_SKIP, other, "is skipped");
        return 1;
    }
    if (plan_step_when_pending(p->graph, step) && needed(p, step, PREVIEW_RUN)) {
        decide(p, s, PREVIEW_RUN, "its condition is decided during the run");
        return 1;
    }
    int when = plan_step_when(p->graph, step, err);
    if (when == 0)
        decide(p, s, PREVIEW_SKIP, "its condition is false");
    return when < 0 ? -1 : when == 0;
}

static void take_entry(struct preview *p, struct preview_step *s, json_t *entry)
{
    const char *origin = json_string_value(json_object_get(entry, "origin"));

    s->outputs = json_incref(json_object_get(entry, "outputs"));
    s->metrics = json_incref(json_object_get(entry, "metrics"));
    s->origin = origin ? intern(p, origin) : NULL;
    decide(p, s, PREVIEW_CACHED, NULL);
    json_decref(entry);
}

static int look_up(struct preview *p, struct preview_step *s,
                   const struct plan_step *step, struct rwf_err *err)
{
    const struct plan_step *other = needed(p, step, PREVIEW_RUN);
    char key[RWF_DIGEST_LEN];
    const char *miss = NULL;
    json_t *parts = NULL;
    struct rwf_err local = RWF_ERR_INIT;

    if (plan_step_key(p->graph, step, run_cache_digest, p->cache, key, &parts, &local) <
        0) {
        /* A missing file may be made by a step that it needs and that is still to come.
         */
        if (!other || (local.code != PLAN_E_PENDING && local.code != RWF_E_INPUT)) {
            *err = local;
            return -1;
        }
        decide_needs(p, s, PREVIEW_RUN, other, "will run");
        return 0;
    }
    s->key = rwf_xstrdup(key);
    json_t *entry = p->no_cache || !step->policy->cache || p->empty
                        ? NULL
                        : run_cache_get(p->cache, key, &miss);
    if (entry)
        take_entry(p, s, entry);
    else if (p->no_cache || !step->policy->cache)
        decide(p, s, PREVIEW_RUN, p->no_cache ? "--no-cache" : "cache: false");
    else
        explain_miss(p, s, step, parts, miss);
    json_decref(parts);
    return 0;
}

static void preview_trial(struct preview *p, struct preview_step *s,
                          const struct plan_step *step)
{
    const struct plan_step *other = needed(p, step, PREVIEW_RUN);
    bool looks = !other && !p->no_cache && step->policy->cache && !p->empty;
    json_t *entry = looks ? preview_search_entry(p->search, step) : NULL;

    if (entry)
        take_entry(p, s, entry);
    else if (other)
        decide_needs(p, s, PREVIEW_RUN, other, "will run");
    else
        decide(p, s, PREVIEW_RUN, "its configuration is chosen during the run");
}

/* What a search gives is what its best trial gives, too. */
static void add_best(const struct preview *p, struct preview_step *s,
                     const struct plan_step *step)
{
    json_t *outputs = json_copy(s->outputs), *one;
    const json_t *best = json_object_get(s->metrics, "best_trial");
    const char *name;

    for (size_t i = 0; i < step->need_count; i++) {
        const struct plan_step *other = plan_graph_step(p->graph, step->needs[i]);
        if (other->is_trial && (json_int_t)other->trial == json_integer_value(best))
            json_object_foreach(p->steps[other->index].outputs, name, one)
                if (!json_object_get(outputs, name))
                    json_object_set(outputs, name, one);
    }
    json_decref(s->outputs);
    s->outputs = outputs;
}

static void preview_search(struct preview *p, struct preview_step *s,
                           const struct plan_step *step)
{
    const struct plan_step *other = needed(p, step, PREVIEW_RUN);
    json_t *entry = other || p->no_cache ? NULL : preview_search_result(p->search, step);

    if (other) {
        decide_needs(p, s, PREVIEW_RUN, other, "will run");
    } else if (entry) {
        take_entry(p, s, entry);
        add_best(p, s, step);
    } else {
        decide(p, s, PREVIEW_RUN, "its best trial is chosen anew");
    }
}

static int preview_step(struct preview *p, uint32_t i, struct rwf_err *err)
{
    const struct plan_step *step = plan_graph_step(p->graph, i);
    struct preview_step *s = &p->steps[i];
    int settled = settle_condition(p, s, step, err);

    if (settled != 0)
        return settled < 0 ? -1 : 0;
    if (step->is_trial) {
        preview_trial(p, s, step);
        return 0;
    }
    if (step->op->trials) {
        preview_search(p, s, step);
        return 0;
    }
    if (step->op->decide) {
        decide(p, s, PREVIEW_DECIDE, NULL);
        return 0;
    }
    return look_up(p, s, step, err);
}

static int preview_all(struct preview *p, struct rwf_err *err)
{
    struct plan_results results = {
        .ctx = p, .output = output, .metric = metric, .metric_names = metric_names};

    p->empty = run_cache_empty(p->cache);
    plan_graph_resolve_as(p->graph, PLAN_KEY, &results);
    int status = 0;
    for (size_t i = 0; i < p->count && status == 0; i++)
        status = preview_step(p, (uint32_t)i, err);
    plan_graph_resolve_as(p->graph, PLAN_SHOW, NULL);
    return status;
}

struct preview *preview_create(struct plan_graph *g, const char *root, bool no_cache,
                               struct rwf_err *err)
{
    struct preview *p = rwf_xcalloc(1, sizeof(*p));

    p->graph = g;
    p->no_cache = no_cache;
    p->count = plan_graph_count(g);
    p->steps = rwf_xcalloc(p->count + 1, sizeof(*p->steps));
    p->texts = rwf_map_create();
    p->cache = run_cache_open(root, err);
    p->search = preview_search_create(g, p->cache);
    if (!p->cache || preview_all(p, err) < 0) {
        preview_destroy(p);
        return NULL;
    }
    return p;
}

void preview_destroy(struct preview *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->count; i++) {
        free(p->steps[i].key);
        json_decref(p->steps[i].outputs);
        json_decref(p->steps[i].metrics);
    }
    free(p->steps);
    preview_search_destroy(p->search);
    rwf_map_destroy(p->texts, free);
    rwf_str_free(&p->names);
    if (p->cache)
        run_cache_close(p->cache);
    free(p);
}

const struct preview_step *preview_at(const struct preview *p, uint32_t step)
{
    return &p->steps[step];
}

size_t preview_count(const struct preview *p, enum preview_verdict v)
{
    return p->counts[v];
}

const char **preview_keys(const struct preview *p)
{
    const char **keys = rwf_xcalloc(p->count + 1, sizeof(*keys));

    for (size_t i = 0; i < p->count; i++)
        keys[i] = p->steps[i].key;
    return keys;
}
