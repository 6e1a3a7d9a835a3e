/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run would do and why: a line per step, or per entry when there are many.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/units.h"
#include "cmd/cmd.h"
#include "cmd/compile.h"
#include "cmd/on_cluster.h"
#include "cmd/preview.h"
#include "node/machine.h"
#include "run/engine.h"
#include "run/layout.h"
#include "schedule/schedule.h"
#include "search/op_tune.h"
#include "search/search.h"
#include "view/run.h"
#include "view/style.h"

#define FOLD_ABOVE 40

static const struct {
    enum schedule_state mark;
    enum view_style style;
    const char *words; /* in totals */
} verdicts[PREVIEW_VERDICT_COUNT] = {
    [PREVIEW_RUN] = {STEP_RUNNING, VIEW_BUSY, "to run"},
    [PREVIEW_CACHED] = {STEP_CACHED, VIEW_GOOD, "cached"},
    [PREVIEW_SKIP] = {STEP_SKIPPED, VIEW_DIM, "skipped"},
    [PREVIEW_DECIDE] = {STEP_PENDING, VIEW_DIM, "decided at the end"},
};

/* "2 cpu, 4 GiB, 1 gpu" */
static void resources_words(const struct plan_policy *policy, struct rwf_str *out)
{
    char size[RWF_UNITS_LEN];

    int block = policy->block > 1 ? policy->block : 1, ranks = policy->ranks * block;

    rwf_str_addf(out, "%g cpu", policy->cpu / block);
    if (policy->memory)
        rwf_str_addf(out, ", %s", rwf_size_format(policy->memory / block, size));
    if (policy->gpu > 0)
        rwf_str_addf(out, ", %g gpu", policy->gpu / block);
    for (size_t i = 0; i < policy->custom_count; i++)
        rwf_str_addf(out, ", %g %s", policy->custom_amounts[i] / block,
                     policy->custom_names[i]);
    if (ranks > 1)
        rwf_str_addf(out, " for each of %d ranks", ranks);
}

static json_t *resources_json(const struct plan_policy *policy)
{
    int block = policy->block > 1 ? policy->block : 1, ranks = policy->ranks * block;
    json_t *out =
        json_pack("{s:f, s:I, s:f}", "cpu", policy->cpu / block, "memory",
                  (json_int_t)(policy->memory / block), "gpu", policy->gpu / block);

    for (size_t i = 0; i < policy->custom_count; i++)
        json_object_set_new(out, policy->custom_names[i],
                            json_real(policy->custom_amounts[i] / block));
    if (ranks > 1)
        json_object_set_new(out, "ranks", json_integer(ranks));
    return out;
}

/* --- searches --- */

/* {"search","target","metric","mode","trials","algorithm","scheduler","rungs",…}; NULL when
 * the step is none. */
static json_t *search_json(const struct plan_graph *g, const struct plan_step *step)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *body = NULL, *out, *preview;

    if (!step->op->trials)
        return NULL;
    struct search *s = search_open(g, step, &body, &err);
    if (!s)
        return NULL;
    out = json_pack("{s:s, s:O, s:O, s:O, s:I, s:O?, s:O?, s:O?}", "search", step->address,
                    "target", json_object_get(body, "target"), "metric",
                    json_object_get(body, "metric"), "mode", json_object_get(body, "mode"),
                    "trials", (json_int_t)search_total(s), "algorithm",
                    json_object_get(body, "algorithm"), "scheduler",
                    json_object_get(body, "scheduler"), "unit",
                    json_object_get(body, "time_attr"));
    preview = search_preview(s, &err);
    if (preview) {
        json_object_del(preview, "trials");
        json_object_update(out, preview);
    }
    json_decref(preview);
    search_destroy(s);
    json_decref(body);
    return out;
}

static const char *type_word(const json_t *spec, const char *otherwise)
{
    const json_t *type = json_is_object(spec) ? json_object_get(spec, "type") : spec;

    return json_is_string(type) ? json_string_value(type) : otherwise;
}

static void print_rungs(const json_t *search)
{
    const char *unit = type_word(json_object_get(search, "unit"), "report");
    const json_t *rungs = json_object_get(search, "rungs"), *rung;
    double full = json_number_value(json_object_get(search, "full_trial_steps"));
    double work = json_number_value(json_object_get(search, "trial_steps"));
    int64_t bracket = -1;
    size_t i;

    json_array_foreach(rungs, i, rung) {
        int64_t now = json_integer_value(json_object_get(rung, "bracket"));
        if (now != bracket && json_array_size(rungs) > 1)
            printf("%s    about", i ? "\n" : "");
        bracket = now;
        if (json_array_size(rungs) > 1)
            printf("%s %.3g trial%s to %s %lld", i && now == bracket ? "," : "",
                   json_number_value(json_object_get(rung, "trials")),
                   json_number_value(json_object_get(rung, "trials")) == 1 ? "" : "s", unit,
                   (long long)json_integer_value(json_object_get(rung, "step")));
    }
    if (json_array_size(rungs) > 1)
        putchar('\n');
    if (full > 0)
        printf("    expected work: about %.4g of %.4g %ss (%.0f %%)\n", work, full, unit,
               100 * work / full);
}

static void print_searches(const struct plan_graph *g, bool color)
{
    for (uint32_t i = 0; i < plan_graph_count(g); i++) {
        json_t *s = search_json(g, plan_graph_step(g, i));
        const char *mode = json_string_value(json_object_get(s, "mode"));
        if (!s)
            continue;
        printf("\n%s%s%s  the %s %s of %lld trials of %s; algorithm %s, scheduler %s\n",
               view_on(color, VIEW_NAME), json_string_value(json_object_get(s, "search")),
               view_off(color), mode && strcmp(mode, "max") == 0 ? "highest" : "lowest",
               json_string_value(json_object_get(s, "metric")),
               (long long)json_integer_value(json_object_get(s, "trials")),
               json_string_value(json_object_get(s, "target")),
               type_word(json_object_get(s, "algorithm"), "random"),
               type_word(json_object_get(s, "scheduler"), "none"));
        print_rungs(s);
        json_decref(s);
    }
}

/* --- text --- */

static void print_description(const struct plan_graph *g, const struct plan_step *step,
                              bool color)
{
    json_t *spec = step->op->describe ? plan_step_spec(g, step, NULL) : NULL;
    char *text = spec ? step->op->describe(step, spec) : NULL;

    if (text)
        printf("%s    %s%s\n", view_on(color, VIEW_DIM), text, view_off(color));
    free(text);
    json_decref(spec);
}

static void print_step(const struct plan_graph *g, const struct preview *p,
                       const struct plan_step *step, size_t width, bool color)
{
    const struct preview_step *s = preview_at(p, step->index);
    enum view_style style = verdicts[s->verdict].style;
    struct rwf_str facts = {0};

    if (s->verdict == PREVIEW_RUN || s->verdict == PREVIEW_SKIP)
        rwf_str_addf(&facts, "%s", s->why);
    else if (s->origin)
        rwf_str_addf(&facts, "from %s", s->origin);
    else if (recipe_get(step->body, "value"))
        rwf_str_addf(&facts, "%s %s %s",
                     recipe_text(recipe_get(step->body, "value"), ""),
                     recipe_text(recipe_get(step->body, "op"), ">="),
                     recipe_text(recipe_get(step->body, "than"), ""));
    printf("%s%s %-*s  %-6s%s  %s\n", view_on(color, style),
           view_mark(verdicts[s->verdict].mark), (int)width, step->address,
           preview_verdict_name(s->verdict), view_off(color),
           facts.data ? facts.data : "");
    rwf_str_clear(&facts);
    if (s->verdict != PREVIEW_DECIDE)
        resources_words(step->policy, &facts);
    for (size_t i = 0; i < step->need_count && i < 4; i++)
        rwf_str_addf(&facts, "%s%s",
                     i           ? ", "
                     : facts.len ? "; after "
                                 : "after ",
                     plan_graph_step(g, step->needs[i])->address);
    if (step->need_count > 4)
        rwf_str_addf(&facts, " and %zu more", step->need_count - 4);
    if (facts.len)
        printf("%s    %s%s\n", view_on(color, VIEW_DIM), facts.data, view_off(color));
    rwf_str_free(&facts);
    print_description(g, step, color);
}

/* The steps of one entry, counted. */
struct fold {
    const struct plan_step *first;
    size_t total, counts[PREVIEW_VERDICT_COUNT];
    const char *why; /* of the first that runs */
};

static void print_fold(const char *entry, const struct fold *f, bool color)
{
    const char *mark = view_mark(f->counts[PREVIEW_RUN]      ? STEP_RUNNING
                                 : f->counts[PREVIEW_CACHED] ? STEP_CACHED
                                                             : STEP_PENDING);
    struct rwf_str facts = {0};

    resources_words(f->first->policy, &facts);
    printf("%s %s%s%s%s  %zu step%s:", mark, view_on(color, VIEW_NAME), entry,
           f->total > 1 ? "[…]" : "", view_off(color), f->total,
           f->total == 1 ? "" : "s");
    const char *between = " ";
    for (int v = 0; v < PREVIEW_VERDICT_COUNT; v++) {
        if (!f->counts[v])
            continue;
        printf("%s%s%zu %s%s", between, view_on(color, verdicts[v].style), f->counts[v],
               verdicts[v].words, view_off(color));
        between = ", ";
    }
    printf("\n%s    %s%s%s%s\n", view_on(color, VIEW_DIM), f->why ? f->why : "",
           f->why ? "; " : "", facts.data, view_off(color));
    rwf_str_free(&facts);
}

static void fold_add(struct fold *f, const struct plan_step *step,
                     const struct preview_step *s)
{
    if (!f->first)
        f->first = step;
    f->total++;
    f->counts[s->verdict]++;
    if (s->verdict == PREVIEW_RUN && !f->why)
        f->why = s->why;
}

static void print_folded(const struct plan_graph *g, const struct preview *p,
                         bool color)
{
    struct rwf_map *folds = rwf_map_create();

    for (size_t i = 0; i < plan_graph_count(g); i++) {
        const struct plan_step *step = plan_graph_step(g, (uint32_t)i);
        const struct preview_step *s = preview_at(p, (uint32_t)i);
        struct fold *f = rwf_map_get(folds, step->entry);
        if (!f) {
            f = rwf_xcalloc(1, sizeof(*f));
            rwf_map_set(folds, step->entry, f);
        }
        fold_add(f, step, s);
    }
    for (size_t i = 0; i < rwf_map_count(folds); i++)
        print_fold(rwf_map_key_at(folds, i), rwf_map_value_at(folds, i), color);
    rwf_map_destroy(folds, free);
}

/* The trials of a search, of which `first` is the first: they differ in what is not known
 * yet. */
static void print_trials(const struct plan_graph *g, const struct preview *p,
                         const struct plan_step *first, bool color)
{
    struct fold f = {0};

    for (size_t i = first->index; i < plan_graph_count(g); i++) {
        const struct plan_step *step = plan_graph_step(g, (uint32_t)i);
        if (step->is_trial && step->entry == first->entry)
            fold_add(&f, step, preview_at(p, (uint32_t)i));
    }
    print_fold(first->entry, &f, color);
}

static bool is_folded(const struct plan_step *step, bool all)
{
    return step->is_trial && !all;
}

static void print_steps(const struct plan_graph *g, const struct preview *p, bool all,
                        bool color)
{
    const char *shown = NULL; /* the entry whose trials were printed last */
    size_t width = 0;

    for (size_t i = 0; i < plan_graph_count(g); i++) {
        const struct plan_step *step = plan_graph_step(g, (uint32_t)i);
        size_t len = is_folded(step, all) ? 0 : strlen(step->address);
        if (len > width)
            width = len;
    }
    for (size_t i = 0; i < plan_graph_count(g); i++) {
        const struct plan_step *step = plan_graph_step(g, (uint32_t)i);
        if (!is_folded(step, all))
            print_step(g, p, step, width, color);
        else if (step->entry != shown)
            print_trials(g, p, step, color);
        if (is_folded(step, all))
            shown = step->entry;
    }
}

static void add_word(struct rwf_str *list, const char *word)
{
    rwf_str_addf(list, "%s%s", list->len ? ", " : "", word);
}

/* "; this machine has 2 cpu, 4 GiB" */
static void print_place(const struct cmd_place *p)
{
    struct rwf_str has = {0}, later = {0};
    char memory[RWF_UNITS_LEN], number[48];

    snprintf(number, sizeof(number), "%g cpu", p->has.cpu);
    add_word(p->has.cpu < 0 ? &later : &has, p->has.cpu < 0 ? "cpu" : number);
    add_word(p->has.memory < 0 ? &later : &has,
             p->has.memory < 0 ? "memory"
                               : rwf_size_format((int64_t)p->has.memory, memory));
    snprintf(number, sizeof(number), "%g gpu", p->has.gpu);
    if (p->has.gpu != 0)
        add_word(p->has.gpu < 0 ? &later : &has, p->has.gpu < 0 ? "gpu" : number);
    printf("; %s%s%s%s%s\n", p->name ? p->name : "this machine", has.len ? " has " : "",
           has.len ? has.data : "", later.len ? "; not known until it is up: " : "",
           later.len ? later.data : "");
    rwf_str_free(&has);
    rwf_str_free(&later);
}

static void print_plan(struct cmd_call *call, const struct cmd_compiled *c,
                       const struct preview *p, const struct cmd_place *place)
{
    size_t count = plan_graph_count(c->graph);

    printf("%splan of %s%s (%s)\n\n", view_on(call->color, VIEW_BOLD),
           recipe_name(c->recipe), view_off(call->color), recipe_path(c->recipe));
    if (count > FOLD_ABOVE && !call->verbose)
        print_folded(c->graph, p, call->color);
    else
        print_steps(c->graph, p, call->verbose, call->color);
    print_searches(c->graph, call->color);
    printf("\n%zu step%s", count, count == 1 ? "" : "s");
    for (int v = 0; v < PREVIEW_VERDICT_COUNT; v++)
        if (preview_count(p, v))
            printf(", %zu %s", preview_count(p, v), verdicts[v].words);
    print_place(place);
}

/* --- JSON --- */

static json_t *step_json(const struct cmd_compiled *c, const struct preview *p,
                         const struct plan_step *step)
{
    const struct preview_step *s = preview_at(p, step->index);
    char *where = view_where(&(struct view_run){.graph = c->graph}, step);
    json_t *needs = json_array();

    for (size_t i = 0; i < step->need_count; i++)
        json_array_append_new(
            needs, json_string(plan_graph_step(c->graph, step->needs[i])->address));
    json_t *out = json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s?, s:s?, s:o, s:o}",
                            "address", step->address, "op", step->op->name, "where",
                            where, "verdict", preview_verdict_name(s->verdict), "why",
                            s->why, "key", s->key, "origin", s->origin, "resources",
                            resources_json(step->policy), "needs", needs);
    free(where);
    return out;
}

static json_t *whole(double amount)
{
    return amount < 0 ? json_null() : json_integer((json_int_t)amount);
}

static json_t *plan_json(const struct cmd_compiled *c, const struct preview *p,
                         const struct cmd_place *place)
{
    json_t *steps = json_array(), *totals = json_object();
    const struct cluster_known *has = &place->has;

    for (size_t i = 0; i < plan_graph_count(c->graph); i++)
        json_array_append_new(steps,
                              step_json(c, p, plan_graph_step(c->graph, (uint32_t)i)));
    for (int v = 0; v < PREVIEW_VERDICT_COUNT; v++)
        json_object_set_new(totals, preview_verdict_name(v),
                            json_integer((json_int_t)preview_count(p, v)));
    json_t *out = json_pack("{s:s, s:s, s:o, s:o, s:{s:o, s:o, s:o}}", "name",
                     recipe_name(c->recipe), "recipe", recipe_path(c->recipe), "totals",
                     totals, "steps", steps, "machine", "cpu",
                     has->cpu < 0 ? json_null() : json_real(has->cpu), "memory",
                     whole(has->memory), "gpu", whole(has->gpu));
    json_t *searches = json_array();

    for (uint32_t i = 0; i < plan_graph_count(c->graph); i++) {
        json_t *one = search_json(c->graph, plan_graph_step(c->graph, i));
        if (one)
            json_array_append_new(searches, one);
    }
    if (json_array_size(searches) > 0)
        json_object_set(out, "searches", searches);
    json_decref(searches);
    return out;
}

static int write_plan(const struct cmd_compiled *c, const struct preview *p,
                      const char *path, struct rwf_err *err)
{
    const char **keys = preview_keys(p);
    json_t *plan = planfile_make(c->graph, &c->options, keys);
    char *text = json_dumps(plan, JSON_COMPACT);
    int status = cmd_write(path, text, strlen(text), err);

    free(text);
    json_decref(plan);
    free(keys);
    return status;
}

static int show(struct cmd_call *call, struct cmd_compiled *c, const struct preview *p,
                const struct cmd_place *place, struct rwf_err *err)
{
    const char *path = cmd_text(call, "output", NULL);

    if (call->json)
        call->data = plan_json(c, p, place);
    else if (!path || strcmp(path, "-") != 0)
        print_plan(call, c, p, place);
    if (path && write_plan(c, p, path, err) < 0)
        return -1;
    if (cmd_given(call, "exit-code") && preview_count(p, PREVIEW_RUN))
        return RWF_E_DIFF - RWF_E_BASE;
    return 0;
}

static int plan_run(struct cmd_call *call, struct rwf_err *err)
{
    struct cmd_place place = {0};
    struct cmd_compiled c;
    struct preview *p = NULL;
    char *root = NULL;

    if (call->json && strcmp(cmd_text(call, "output", ""), "-") == 0)
        return rwf_fail(err, RWF_E_USAGE,
                        "--format json and -o - both want standard output");
    int code = cmd_compile(call, call->operands[0], true, &c, err);
    if (code != 0)
        goto out;
    code = -1;
    root = run_root(recipe_dir(c.recipe));
    if (cmd_on_cluster_fits(call, c.graph, root, &place, err) < 0)
        goto out;
    p = preview_create(c.graph, root, cmd_given(call, "no-cache"), err);
    if (p)
        code = show(call, &c, p, &place, err);
out:
    preview_destroy(p);
    free(root);
    free(place.name);
    cmd_compiled_free(&c);
    return code;
}

static const struct cmd_option options[] = {
    CMD_ON_CLUSTER_OPTIONS,
    {"output", 'o', CMD_FILE, "FILE", false, NULL,
     "keep the plan; raywf run FILE then runs exactly that"},
    CMD_PART_OPTIONS,
    {"no-cache", 0, CMD_FLAG, NULL, false, NULL, "as if nothing were cached"},
    {"exit-code", 0, CMD_FLAG, NULL, false, NULL, "exit 10 when something would run"},
    CMD_RECIPE_OPTIONS,
    {0},
};

const struct cmd cmd_plan = {
    .name = "plan",
    .group = CMD_EXECUTE,
    .summary = "show what would run, what is cached, and why",
    .details =
        "Runs nothing. Above 40 steps the instances of an entry are counted on one "
        "line; -v shows them all.",
    .examples =
        "raywf plan recipe.yaml\nraywf plan recipe.yaml --only tasks.train -o p.json",
    .exits = "0 2 3 5 6 7 10 12",
    .operands = {{"FILE", CMD_FILE, 1, 1}},
    .options = options,
    .run = plan_run,
};
