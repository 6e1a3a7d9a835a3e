/* SPDX-License-Identifier: Apache-2.0
 *
 * The searches of a run: a table of their trials, and the best as a recipe.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/units.h"
#include "cmd/cmd.h"
#include "cmd/opened.h"
#include "cmd/render.h"
#include "view/search.h"
#include "view/style.h"

#define LISTED_MAX 40 /* trials shown without -v */

/* --- order --- */

static const struct view_search *sorting; /* qsort has no context */

static int by_value(const void *a, const void *b)
{
    const struct view_trial *x = *(struct view_trial *const *)a;
    const struct view_trial *y = *(struct view_trial *const *)b;

    if (isnan(x->value) != isnan(y->value))
        return isnan(x->value) ? 1 : -1;
    if (!isnan(x->value) && x->value != y->value)
        return view_search_better(sorting, x->value, y->value) ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* The trials, the best first; the caller's. */
static struct view_trial **sorted(const struct view_search *s)
{
    struct view_trial **out = rwf_xcalloc(s->count + 1, sizeof(*out));

    for (size_t i = 0; i < s->count; i++)
        out[i] = s->trials[i];
    sorting = s;
    if (s->count > 1)
        qsort(out, s->count, sizeof(*out), by_value);
    return out;
}

/* --- text --- */

static void add_value(struct rwf_str *out, const json_t *value)
{
    char *text;

    if (json_is_real(value)) {
        rwf_str_addf(out, "%.6g", json_real_value(value));
    } else if (json_is_string(value)) {
        rwf_str_add(out, json_string_value(value));
    } else {
        text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        rwf_str_add(out, text ? text : "");
        free(text);
    }
}

static void print_head(const struct view_search *s, bool color)
{
    static const char *const words[VIEW_TRIAL_STATE_COUNT] = {
        [VIEW_TRIAL_WAITS] = "waiting",   [VIEW_TRIAL_RUNNING] = "running",
        [VIEW_TRIAL_PAUSED] = "paused",   [VIEW_TRIAL_COMPLETED] = "completed",
        [VIEW_TRIAL_STOPPED] = "stopped", [VIEW_TRIAL_FAILED] = "failed",
        [VIEW_TRIAL_SKIPPED] = "skipped",
    };
    const char *between = ": ";

    printf("%s%s%s  the %s %s of %zu trial%s", view_on(color, VIEW_NAME), s->address,
           view_off(color), s->maximize ? "highest" : "lowest",
           s->metric ? s->metric : "metric", s->total, s->total == 1 ? "" : "s");
    for (int i = 0; i < VIEW_TRIAL_STATE_COUNT; i++) {
        if (s->counts[i] == 0)
            continue;
        printf("%s%zu %s", between, s->counts[i], words[i]);
        between = ", ";
    }
    putchar('\n');
    if (s->over)
        printf("  ended because %s\n", s->over);
}

static void print_trial(const struct view_search *s, const struct view_trial *t,
                        bool color)
{
    struct rwf_str config = {0};
    const char *key;
    json_t *value;
    char number[32] = "", at[32] = "";

    json_object_foreach(t->config, key, value) {
        rwf_str_addf(&config, "%s%s=", config.len ? " " : "",
                     view_search_short(s, key));
        add_value(&config, value);
    }
    if (!isnan(t->value))
        snprintf(number, sizeof(number), "%.6g", t->value);
    if (!isnan(t->at))
        snprintf(at, sizeof(at), "%.12g", t->at);
    enum schedule_state looks = view_trial_looks(t->state);
    printf("%s%s%s %s%6u  %-9s%s  %12s  %8s  ", view_on(color, VIEW_GOOD),
           s->best == t ? "*" : " ", view_off(color),
           view_on(color, view_state_style(looks)), (unsigned)t->number,
           view_trial_state_name(t->state), view_off(color), number, at);
    view_print_safe(stdout, config.data ? config.data : "");
    if (t->from >= 0)
        printf("  (from trial %lld)", (long long)t->from);
    if (t->state == VIEW_TRIAL_FAILED && t->why) {
        fputs("  ", stdout);
        view_print_safe(stdout, t->why);
    }
    putchar('\n');
    rwf_str_free(&config);
}

static void print_search(struct cmd_call *call, const struct view_search *s)
{
    struct view_trial **list = sorted(s);

    print_head(s, call->color);
    if (s->count > 0)
        printf("   %5s  %-9s  %12.12s  %8.8s  %s\n", "trial", "status",
               s->metric ? s->metric : "value", s->unit ? s->unit : "at",
               "configuration");
    for (size_t i = 0; i < s->count && (call->verbose || i < LISTED_MAX); i++)
        print_trial(s, list[i], call->color);
    if (s->count > LISTED_MAX && !call->verbose)
        printf("  and %zu more: -v\n", s->count - LISTED_MAX);
    free(list);
}

/* --- JSON --- */

static json_t *number_json(double x)
{
    return isnan(x) ? json_null() : json_real(x);
}

static json_t *trial_json(const struct view_trial *t)
{
    json_t *out =
        json_pack("{s:i, s:s, s:s, s:O?, s:o, s:o}", "trial", (int)t->number, "step",
                  t->address, "status", view_trial_state_name(t->state), "config",
                  t->config, "value", number_json(t->value), "at", number_json(t->at));

    if (t->rung > 0)
        json_object_set_new(out, "rung", json_real(t->rung));
    if (t->from >= 0)
        json_object_set_new(out, "from", json_integer(t->from));
    if (t->why)
        json_object_set_new(out, "reason", cmd_string(t->why));
    return out;
}

static json_t *search_json(const struct view_search *s)
{
    struct view_trial **list = sorted(s);
    json_t *trials = json_array(), *counts = json_object();

    for (size_t i = 0; i < s->count; i++)
        json_array_append_new(trials, trial_json(list[i]));
    for (int i = 0; i < VIEW_TRIAL_STATE_COUNT; i++)
        json_object_set_new(counts, view_trial_state_name((enum view_trial_state)i),
                            json_integer((json_int_t)s->counts[i]));
    free(list);
    json_t *out = json_pack(
        "{s:s, s:s?, s:s, s:I, s:o, s:s?, s:o}", "search", s->address, "metric",
        s->metric, "mode", s->maximize ? "max" : "min", "total", (json_int_t)s->total,
        "counts", counts, "ended_because", s->over, "trials", trials);
    json_object_set_new(out, "best",
                        s->best ? json_integer(s->best->number) : json_null());
    return out;
}

/* --- the command --- */

static bool is_meant(const struct view_search *s, const char *name)
{
    const char *dot = strchr(s->address, '.');

    return name == NULL || strcmp(s->address, name) == 0 ||
           (dot && strcmp(dot + 1, name) == 0);
}

static int print_best(const struct cmd_opened *o, const struct view_search *s,
                      struct rwf_err *err)
{
    uint32_t step = plan_graph_find(o->c.graph, s->address);

    if (s->best == NULL)
        return rwf_fail(err, RWF_E_FAILED, "%s has no best trial yet", s->address);
    if (step == PLAN_NO_STEP)
        return rwf_fail(err, RWF_E_NORUN, "%s is no part of the run's plan",
                        s->address);
    struct recipe_node *tree = plan_search_settled(
        o->c.graph, plan_graph_step(o->c.graph, step), s->best->config);
    printf("# Trial %u of %s in run %s: %s %.6g.\n", (unsigned)s->best->number,
           s->address, o->id, s->metric ? s->metric : "value", s->best->value);
    cmd_render_tree(o->c.recipe, tree, stdout);
    return 0;
}

static int show(struct cmd_call *call, const struct cmd_opened *o,
                const struct view_searches *all, const char *name, struct rwf_err *err)
{
    bool best = cmd_given(call, "best");
    size_t meant = 0;
    int code = 0;

    if (call->json) {
        call->data = cmd_run_json(o);
        json_object_set_new(call->data, "searches", json_array());
    }
    for (size_t i = 0; i < view_searches_count(all) && code == 0; i++) {
        const struct view_search *s = view_searches_at(all, i);
        if (!is_meant(s, name) || (best && meant > 0))
            continue;
        if (call->json)
            json_array_append_new(json_object_get(call->data, "searches"),
                                  search_json(s));
        else if (best)
            code = print_best(o, s, err);
        else
            print_search(call, s);
        meant++;
    }
    if (meant == 0 && name != NULL)
        return rwf_fail(err, RWF_E_NORUN, "run %s has no search '%s'", o->id, name);
    if (meant == 0)
        return rwf_fail(err, RWF_E_NORUN, "run %s has no search (tune)", o->id);
    return code;
}

/* [RUN] [NAME]: one operand that is a search's name is no run. */
static void take_operands(const struct cmd_call *call, const char **ret_run,
                          const char **ret_name)
{
    const char *first = cmd_operand(call, 1, NULL);

    *ret_run = "last";
    *ret_name = cmd_operand(call, 2, NULL);
    if (first && (*ret_name || !rwf_starts_with(first, "tune.")))
        *ret_run = first;
    else if (first)
        *ret_name = first;
}

static int tune_run(struct cmd_call *call, struct rwf_err *err)
{
    const char *run, *name;
    struct cmd_opened o;

    take_operands(call, &run, &name);
    int code = cmd_open_run(call, run, true, &o, err);
    if (code == 0) {
        struct view_searches *all = view_searches_create(o.c.graph, 0);
        code = view_searches_read(all, o.log, err);
        if (code == 0)
            code = show(call, &o, all, name, err);
        view_searches_destroy(all);
    }
    cmd_opened_free(&o);
    return code;
}

static const struct cmd_option options[] = {
    {"best", 0, CMD_FLAG, NULL, false, NULL,
     "print the recipe with the best trial's configuration in place of the search"},
    {0},
};

const struct cmd cmd_tune = {
    .name = "tune",
    .group = CMD_OBSERVE,
    .summary = "show the trials of a search, and the best as a recipe",
    .details =
        "Trials are listed with the best first; * marks the one that the search gives. "
        "-v lists all of them. A search is named as in the recipe: tune.NAME.",
    .examples = "raywf tune show\nraywf tune show last tune.rate --best > best.yaml",
    .exits = "0 1 2 12",
    .operands = {{"show", CMD_CHOICE, 1, 1},
                 {"RUN", CMD_RUN, 0, 1},
                 {"SEARCH", CMD_TEXT, 0, 1}},
    .options = options,
    .run = tune_run,
};
