/* SPDX-License-Identifier: Apache-2.0
 *
 * The op of the section `tune`. Its own step runs nothing: the engine decides it when
 * all trials are over (run/trials_end.c).
 */
#include "config.h"
#include "search/op_tune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "plan/graph.h"
#include "search/search.h"
#include "tune/space.h"

static json_t *outputs(const struct recipe_node *body)
{
    (void)body;
    return json_pack("{s:s, s:s, s:s}", "best", "best.json", "", "best.json", "trials",
                     "trials.json");
}

static json_t *spec(const struct plan_graph *g, const struct plan_step *step,
                    struct rwf_err *err)
{
    return plan_search_body(g, step, err);
}

static int decide(const json_t *spec, struct op_outcome *ret, struct rwf_err *err)
{
    (void)spec, (void)ret;
    return rwf_fail(err, RWF_E_BUG, "a search is decided by the engine");
}

/* --- what is to be known of it when planning --- */

/* Values that show what a parameter may be: all of a list, else its ends and one
 * between. */
static json_t *some_values(const struct tune_param *p)
{
    static const double units[] = {0, 1, 0.618};
    json_t *out = json_array();
    bool listed = p->type == TUNE_CHOICE || p->type == TUNE_GRID;
    if (p->type == TUNE_NORMAL)
        json_array_append_new(out, tune_param_json(p, p->mean));
    for (size_t i = 0; !listed && p->type != TUNE_NORMAL && i < RWF_COUNT(units); i++)
        json_array_append_new(out, tune_param_json(p, tune_param_at(p, units[i])));
    if (listed)
        json_array_extend(out, p->values);
    return json_pack("{s:b, s:o}", "listed", listed, "values", out);
}

static json_t *keys_of(const struct tune_space *space)
{
    json_t *out = json_object();
    for (uint32_t i = 0; i < tune_space_count(space); i++) {
        const struct tune_param *p = tune_space_param(space, i);
        json_object_set_new(out, p->key, some_values(p));
    }
    return out;
}

/* "space 'KEY': …", "scheduler asha: …", "algorithm …": where that stands. */
static void blame(const json_t *body, const char *text, const char *ret[4])
{
    static const char *const keys[] = {"space", "scheduler", "algorithm",
                                       "points_to_evaluate", "num_samples"};
    for (size_t i = 0; i < RWF_COUNT(keys); i++)
        if (strncmp(text, keys[i], strlen(keys[i])) == 0) {
            ret[0] = keys[i];
            break;
        }
    const char *start = strchr(text, '\''),
               *end = start ? strchr(start + 1, '\'') : NULL;
    if (ret[0] == NULL || strcmp(ret[0], "space") != 0 || end == NULL)
        return;
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(body, "space"), key, value)
        if (strlen(key) == (size_t)(end - start - 1) &&
            strncmp(key, start + 1, (size_t)(end - start - 1)) == 0)
            ret[1] = key;
}

static int trials(const json_t *body, struct op_trials *ret, struct rwf_err *err)
{
    struct rwf_err why = RWF_ERR_INIT;
    struct search *s = search_create(body, ret->length, &why);
    if (s == NULL) {
        blame(body, why.text, ret->blame);
        if (err != NULL)
            *err = why;
        return -1;
    }
    ret->count = search_total(s);
    ret->max_parallel =
        (int)json_integer_value(json_object_get(body, "max_concurrent_trials"));
    ret->keys = keys_of(search_space(s));
    search_destroy(s);
    return 0;
}

/* The time at which a trial ends by itself, as far as its target tells. */
static int64_t length_of(const struct plan_graph *g, const struct plan_step *step,
                         const json_t *body)
{
    const char *metric = json_string_value(json_object_get(body, "metric"));
    const char *unit = json_string_value(json_object_get(body, "time_attr"));
    for (size_t i = 0; i < step->need_count; i++) {
        const struct plan_step *p = plan_graph_step(g, step->needs[i]);
        if (p->is_trial && strcmp(p->entry, step->entry) == 0 && p->op->length != NULL)
            return p->op->length(p->body, metric != NULL ? metric : "",
                                 unit != NULL ? unit : "report");
    }
    return 0;
}

struct search *search_open(const struct plan_graph *g, const struct plan_step *step,
                           json_t **ret_body, struct rwf_err *err)
{
    json_t *body = plan_search_body(g, step, err);
    struct search *s =
        body == NULL ? NULL : search_create(body, length_of(g, step, body), err);
    if (s == NULL) {
        json_decref(body);
        rwf_wrap(err, "%s", step->address);
        return NULL;
    }
    *ret_body = body;
    return s;
}

const struct op tune_op = {
    .name = "tune",
    .section = "tune",
    .summary = "a search: trials of another entry, and the best of them",
    .version = 1,
    .trials = trials,
    .lower = plan_lower_one,
    .outputs = outputs,
    .spec = spec,
    .decide = decide,
};
