/* SPDX-License-Identifier: Apache-2.0
 *
 * The very scheduler of `raywf run` against nodes that are not there.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/units.h"
#include "cmd/cmd.h"
#include "cmd/compile.h"
#include "schedule/simulate.h"

#define DEFAULT_NODE "cpu=64,gpu=8,memory=256GiB"
#define DEFAULT_DURATION "lognormal:1m,0.5"
#define MOST_NODES 1000000

/* --- nodes --- */

struct kind {
    struct schedule_machine machine;
    uint32_t count;
    const char **keys, **values, **names; /* labels; custom resources */
    double *amounts;
    char *text; /* what all of these lie in */
};

static int bad_node(const char *spec, const char *word, struct rwf_err *err)
{
    return rwf_fail(err, RWF_E_USAGE,
                    "--node %s: '%s' is not understood; give "
                    "[COUNT*]cpu=N,gpu=N,memory=SIZE, with label.NAME=TEXT and "
                    "RESOURCE=AMOUNT where needed",
                    spec, word);
}

static bool read_number(const char *text, double most, double *ret)
{
    char *end;
    *ret = strtod(text, &end);
    return end != text && *end == '\0' && *ret >= 0 && *ret <= most;
}

/* One KEY=VALUE of a node. */
static int read_item(struct kind *k, char *item, const char *spec, struct rwf_err *err)
{
    struct schedule_machine *m = &k->machine;
    char *value = strchr(item, '=');
    double number;
    if (value == NULL || value == item || value[1] == '\0')
        return bad_node(spec, item, err);
    *value++ = '\0';
    if (rwf_starts_with(item, "label.") && item[6] != '\0') {
        k->keys[m->label_count] = item + 6;
        k->values[m->label_count++] = value;
    } else if (strcmp(item, "memory") == 0) {
        if (rwf_size_parse(value, &m->memory, NULL) != 0)
            return bad_node(spec, value, err);
    } else if (strcmp(item, "cpu") == 0) {
        if (!read_number(value, 1e6, &m->cpu))
            return bad_node(spec, value, err);
    } else if (strcmp(item, "gpu") == 0) {
        if (!read_number(value, SCHEDULE_MAX_GPUS, &number) || number != floor(number))
            return rwf_fail(err, RWF_E_USAGE,
                            "--node %s: gpu is a whole number from 0 to %d", spec,
                            SCHEDULE_MAX_GPUS);
        m->gpu_count = (int)number;
    } else {
        if (!read_number(value, 1e12, &k->amounts[m->custom_count]))
            return bad_node(spec, value, err);
        k->names[m->custom_count++] = item;
    }
    return 0;
}

static int read_count(char **text, const char *spec, uint32_t *ret, struct rwf_err *err)
{
    char *star = strchr(*text, '*'), *end;
    if (star == NULL)
        return 0;
    unsigned long count = strtoul(*text, &end, 10);
    if (end != star || count == 0 || count > MOST_NODES)
        return bad_node(spec, *text, err);
    *text = star + 1;
    *ret = (uint32_t)count;
    return 0;
}

static int read_kind(const char *spec, struct kind *k, struct rwf_err *err)
{
    size_t most = strlen(spec) / 2 + 1;
    char *save = NULL;
    k->text = rwf_xstrdup(spec);
    k->keys = rwf_xcalloc(most, sizeof(*k->keys));
    k->values = rwf_xcalloc(most, sizeof(*k->values));
    k->names = rwf_xcalloc(most, sizeof(*k->names));
    k->amounts = rwf_xcalloc(most, sizeof(*k->amounts));
    char *items = k->text;
    if (read_count(&items, spec, &k->count, err) != 0)
        return -1;
    for (char *item = strtok_r(items, ",", &save); item != NULL;
         item = strtok_r(NULL, ",", &save))
        if (read_item(k, item, spec, err) != 0)
            return -1;
    k->machine.label_keys = k->keys;
    k->machine.label_values = k->values;
    k->machine.custom_names = k->names;
    k->machine.custom_amounts = k->amounts;
    return 0;
}

static void kind_free(struct kind *k)
{
    free(k->text);
    free(k->keys);
    free(k->values);
    free(k->names);
    free(k->amounts);
}

static void grow_largest(struct schedule_machine *most,
                         const struct schedule_machine *m)
{
    /* what is made up must fit one node: the one with the most GPUs, then cores */
    if (m->gpu_count > most->gpu_count ||
        (m->gpu_count == most->gpu_count && m->cpu > most->cpu))
        *most = (struct schedule_machine){
            .cpu = m->cpu, .memory = m->memory, .gpu_count = m->gpu_count};
}

/* The cluster that the options describe. */
static int make_cluster(const struct cmd_call *call, struct schedule_cluster *c,
                        struct schedule_machine *largest, struct rwf_err *err)
{
    static const char *const fallback[] = {DEFAULT_NODE};
    int64_t nodes = cmd_count(call, "nodes", 1);
    size_t count = 0;
    const char **given = cmd_list(call, "node", &count);
    const char *const *specs = given != NULL ? given : fallback;
    int result =
        nodes < 1 || nodes > MOST_NODES
            ? rwf_fail(err, RWF_E_USAGE, "--nodes is a number from 1 to %d", MOST_NODES)
            : 0;
    uint32_t number = 0;
    for (size_t i = 0; i < (count > 0 ? count : 1) && result == 0; i++) {
        struct kind k = {.count = (uint32_t)nodes};
        char name[32];
        result = read_kind(specs[i], &k, err);
        for (uint32_t n = 0; n < k.count && result == 0; n++) {
            snprintf(name, sizeof(name), "n%u", number++);
            k.machine.name = name;
            (void)schedule_cluster_add(c, &k.machine);
        }
        grow_largest(largest, &k.machine);
        kind_free(&k);
    }
    free(given);
    return result;
}

/* --- durations --- */

struct durations {
    const struct plan_graph *graph;
    struct simulate_dist all, *by_step;
};

static const struct simulate_dist *duration_of(const void *ctx, uint32_t step)
{
    const struct durations *d = ctx;
    return &d->by_step[step];
}

/* "tasks.train=exp:1h": for the steps of an entry, or one step. */
static int set_duration(struct durations *d, const char *text, struct rwf_err *err)
{
    struct simulate_dist dist;
    const char *equals = strrchr(text, '=');
    char *name = rwf_xstrndup(text, (size_t)(equals - text));
    bool some = false;
    int result = simulate_dist_parse(equals + 1, &dist, err);
    for (uint32_t i = 0; result == 0 && i < plan_graph_count(d->graph); i++) {
        const struct plan_step *step = plan_graph_step(d->graph, i);
        if (strcmp(step->entry, name) != 0 && strcmp(step->address, name) != 0)
            continue;
        d->by_step[i] = dist;
        some = true;
    }
    if (result == 0 && !some) {
        const char *near = plan_graph_suggest(d->graph, name);
        result =
            rwf_fail(err, RWF_E_USAGE, "--duration %s: there is no step '%s'%s%s%s",
                     text, name, near != NULL ? "; did you mean '" : "",
                     near != NULL ? near : "", near != NULL ? "'?" : "");
    }
    free(name);
    return result;
}

static int read_durations(const struct cmd_call *call, struct durations *d,
                          struct rwf_err *err)
{
    size_t count = 0;
    const char **given = cmd_list(call, "duration", &count);
    int result = simulate_dist_parse(DEFAULT_DURATION, &d->all, err);
    for (size_t i = 0; i < count && result == 0; i++)
        if (strchr(given[i], '=') == NULL)
            result = simulate_dist_parse(given[i], &d->all, err);
        else if (d->graph == NULL)
            result = rwf_fail(err, RWF_E_USAGE,
                              "--duration %s: steps made by --tasks have no names",
                              given[i]);
    if (result == 0 && d->graph != NULL) {
        size_t steps = plan_graph_count(d->graph);
        d->by_step = rwf_xcalloc(steps + 1, sizeof(*d->by_step));
        for (size_t i = 0; i < steps; i++)
            d->by_step[i] = d->all;
        for (size_t i = 0; i < count && result == 0; i++)
            if (strchr(given[i], '=') != NULL)
                result = set_duration(d, given[i], err);
    }
    free(given);
    return result;
}

/* --- what came of it --- */

static void print_used(const struct simulate_result *r)
{
    printf("used       cpu %.1f %%", r->used_cpu * 100);
    if (r->totals.gpu > 0)
        printf(", gpu %.1f %%", r->used_gpu * 100);
    if (r->totals.memory > 0)
        printf(", memory %.1f %%", r->used_memory * 100);
    printf(" of %g cpu, %g gpu on %u node%s\n", r->totals.cpu, r->totals.gpu,
           r->totals.nodes, r->totals.nodes == 1 ? "" : "s");
}

static double per_second(const struct simulate_result *r)
{
    return r->wall > 0 ? (double)r->decisions * 1e9 / (double)r->wall : 0;
}

static void print_result(const struct simulate_result *r, const char *svg)
{
    char a[RWF_UNITS_LEN], b[RWF_UNITS_LEN], c[RWF_UNITS_LEN];
    printf("makespan   %s\n", rwf_duration_format(r->makespan, a));
    printf("steps      %zu: %zu succeeded, %zu failed, %zu skipped; %zu attempts, %zu "
           "retries, %zu made room\n",
           r->steps, r->succeeded, r->failed, r->skipped, r->attempts, r->retries,
           r->preempted);
    print_used(r);
    printf("running    %zu at once at most\n", r->most_running);
    printf("waits      mean %s, median %s, 99 %% %s\n",
           rwf_duration_format(r->wait_mean, a), rwf_duration_format(r->wait_p50, b),
           rwf_duration_format(r->wait_p99, c));
    printf("decisions  %zu in %.2f s (%.0f per second); a placement: median %.1f us, "
           "99 %% %.1f us\n",
           r->decisions, (double)r->wall / 1e9, per_second(r),
           (double)r->decision_p50 / 1e3, (double)r->decision_p99 / 1e3);
    if (svg != NULL)
        printf("picture    %s\n", svg);
}

static json_t *result_json(const struct simulate_result *r, const char *svg)
{
    char trace[20];
    snprintf(trace, sizeof(trace), "%016llx", (unsigned long long)r->trace);
    json_t *steps = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "all", (json_int_t)r->steps, "succeeded",
        (json_int_t)r->succeeded, "failed", (json_int_t)r->failed, "skipped",
        (json_int_t)r->skipped, "attempts", (json_int_t)r->attempts, "retries",
        (json_int_t)r->retries, "preempted", (json_int_t)r->preempted);
    json_t *waits =
        json_pack("{s:f, s:f, s:f}", "mean", (double)r->wait_mean / 1e9, "p50",
                  (double)r->wait_p50 / 1e9, "p99", (double)r->wait_p99 / 1e9);
    json_t *decisions =
        json_pack("{s:I, s:f, s:f, s:f, s:f}", "count", (json_int_t)r->decisions,
                  "seconds", (double)r->wall / 1e9, "per_second", per_second(r),
                  "placement_p50_us", (double)r->decision_p50 / 1e3, "placement_p99_us",
                  (double)r->decision_p99 / 1e3);
    return json_pack("{s:f, s:o, s:{s:I, s:f, s:f, s:f}, s:{s:f, s:f, s:f}, s:I, s:o, "
                     "s:o, s:s, s:o}",
                     "makespan", (double)r->makespan / 1e9, "steps", steps, "cluster",
                     "nodes", (json_int_t)r->totals.nodes, "cpu", r->totals.cpu, "gpu",
                     r->totals.gpu, "memory", r->totals.memory, "used", "cpu",
                     r->used_cpu, "gpu", r->used_gpu, "memory", r->used_memory,
                     "most_running", (json_int_t)r->most_running, "waits", waits,
                     "decisions", decisions, "trace", trace, "svg",
                     svg != NULL ? cmd_string(svg) : json_null());
}

/* --- the command --- */

static int write_svg(const struct simulate_options *o, const struct simulate_result *r,
                     const char *title, const char *path, struct rwf_err *err)
{
    struct rwf_str out = {0};
    if (path == NULL)
        return 0;
    simulate_svg(o, r, title, &out);
    int result = cmd_write(path, out.data, out.len, err);
    rwf_str_free(&out);
    return result;
}

static int simulate(struct cmd_call *call, struct simulate_options *o,
                    const char *title, struct rwf_err *err)
{
    struct simulate_result r;
    const char *svg = cmd_text(call, "svg", NULL);
    o->clock = rwf_clock_mono;
    o->keep_spans = svg != NULL;
    o->seed = (uint64_t)cmd_count(call, "seed", 1);
    if (simulate_run(o, &r, err) != 0)
        return -1;
    int code = write_svg(o, &r, title, svg, err);
    if (code == 0 && call->json)
        call->data = result_json(&r, svg);
    else if (code == 0)
        print_result(&r, svg);
    simulate_result_free(&r);
    return code;
}

static int read_fail_rate(const struct cmd_call *call, double *ret, struct rwf_err *err)
{
    const char *text = cmd_text(call, "fail-rate", "0");
    if (!read_number(text, 1, ret))
        return rwf_fail(err, RWF_E_USAGE,
                        "--fail-rate %s: give a part of all attempts, from 0 to 1",
                        text);
    return 0;
}

static int synthetic_run(struct cmd_call *call, struct simulate_options *o,
                         struct durations *d, const struct schedule_machine *largest,
                         struct rwf_err *err)
{
    int64_t count = cmd_count(call, "tasks", 0);
    if (count < 1 || count > 100000000)
        return rwf_fail(err, RWF_E_USAGE, "--tasks is a number from 1 to 100000000");
    if (read_durations(call, d, err) != 0)
        return -1;
    struct simulate_synthetic *s = simulate_synthetic_create(
        (uint32_t)count, (uint64_t)cmd_count(call, "seed", 1), largest);
    o->steps =
        (struct schedule_steps){.ctx = s,
                                .count = (uint32_t)count,
                                .at = simulate_synthetic_step};
    o->duration = d->all;
    int code = simulate(call, o, "tasks with mixed needs", err);
    simulate_synthetic_free(s);
    return code;
}

static int recipe_run(struct cmd_call *call, struct simulate_options *o,
                      struct durations *d, struct rwf_err *err)
{
    struct cmd_compiled c;
    int code = cmd_compile(call, call->operands[0], true, &c, err);
    if (code != 0)
        goto out;
    code = -1;
    d->graph = c.graph;
    if (read_durations(call, d, err) != 0)
        goto out;
    o->steps = schedule_steps_of(c.graph);
    o->steps.leases = false;
    o->duration_of = duration_of;
    o->ctx = d;
    code = simulate(call, o, recipe_name(c.recipe), err);
out:
    cmd_compiled_free(&c);
    return code;
}

static int simulate_command(struct cmd_call *call, struct rwf_err *err)
{
    struct schedule_cluster *c = schedule_cluster_create();
    struct schedule_machine largest = {.gpu_count = -1};
    struct simulate_options o = {.cluster = c};
    struct durations d = {0};
    bool tasks = cmd_given(call, "tasks");
    int code = -1;
    if ((call->operand_count == 0) != tasks) {
        rwf_fail(err, RWF_E_USAGE, "give either a recipe or --tasks N");
        goto out;
    }
    if (read_fail_rate(call, &o.fail_rate, err) != 0 ||
        make_cluster(call, c, &largest, err) != 0)
        goto out;
    code = tasks ? synthetic_run(call, &o, &d, &largest, err)
                 : recipe_run(call, &o, &d, err);
out:
    free(d.by_step);
    schedule_cluster_destroy(c);
    return code;
}

static const struct cmd_option options[] = {
    {"nodes", 0, CMD_COUNT, "N", false, "1", "so many nodes of a kind without COUNT*"},
    {"node", 0, CMD_TEXT, "SPEC", true, DEFAULT_NODE,
     "a kind of nodes: [COUNT*]cpu=N,gpu=N,memory=SIZE; label.NAME=TEXT and "
     "RESOURCE=AMOUNT add labels and custom resources"},
    {"duration", 0, CMD_TEXT, "[STEP=]DIST", true, DEFAULT_DURATION,
     "how long steps take: 10s, uniform:5s..1m, exp:30s, lognormal:30s,0.5 (median, "
     "sigma); with STEP= for one entry or step"},
    {"fail-rate", 0, CMD_TEXT, "R", false, "0", "the part of attempts that fail"},
    {"seed", 0, CMD_COUNT, "S", false, "1", "the same seed gives the same simulation"},
    {"svg", 0, CMD_FILE, "FILE", false, NULL, "draw the use of the nodes over time"},
    {"tasks", 0, CMD_COUNT, "N", false, NULL,
     "instead of a recipe: N independent steps with mixed needs"},
    CMD_PART_OPTIONS,
    CMD_RECIPE_OPTIONS,
    {0},
};

const struct cmd cmd_simulate = {
    .name = "simulate",
    .group = CMD_EXECUTE,
    .summary = "schedule a recipe on nodes that are not there",
    .details =
        "Runs nothing: the scheduler of raywf run decides as it would, against a "
        "virtual "
        "clock. Prints how long the recipe would take, how well the nodes are used, "
        "how "
        "long steps wait, and what a decision costs. Nothing is taken from the cache; "
        "conditions count as true.",
    .examples =
        "raywf simulate recipe.yaml --nodes 16 --node cpu=64,gpu=8,memory=256GiB\n"
        "raywf simulate recipe.yaml --node 2*cpu=8,gpu=1 --node 4*cpu=32 "
        "--duration tasks.train=exp:1h --svg plan.svg\n"
        "raywf simulate --tasks 1000000 --nodes 10000",
    .exits = "0 2 3 5 6 7 12",
    .operands = {{"FILE", CMD_FILE, 0, 1}},
    .options = options,
    .run = simulate_command,
};
