/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "cmd/cmd.h"
#include "cmd/alive.h"
#include "run/engine.h"
#include "run/index.h"
#include "run/layout.h"
#include "view/style.h"

struct listing {
    struct cmd_call *call;
    const char *root;
    json_t *runs;
};

static const char *field(const json_t *run, const char *name)
{
    const char *text = json_string_value(json_object_get(run, name));

    return text ? text : "";
}

/* Times of the index are wall nanoseconds, or text; both are understood. */
static int64_t time_of(const json_t *run, const char *name)
{
    const json_t *v = json_object_get(run, name);

    if (json_is_string(v))
        return rwf_clock_parse(json_string_value(v));
    return json_is_number(v) ? (int64_t)json_number_value(v) : 0;
}

static void print_run(const struct listing *l, const json_t *run)
{
    bool color = l->call->color;
    int64_t started = time_of(run, "started"), ended = time_of(run, "ended");
    char when[RWF_TIME_LEN] = "", took[RWF_UNITS_LEN] = "";

    if (started > 0) {
        rwf_clock_format(started, when);
        when[10] = ' ';
        when[19] = '\0';
        rwf_duration_format((ended > 0 ? ended : rwf_clock_wall()) - started, took);
    }
    printf("%-22s  %s%-11s%s  %-19s  %8s  %6lld  %s\n", field(run, "id"),
           view_on(color, view_status_style(field(run, "status"))),
           field(run, "status"), view_off(color), when, took,
           (long long)json_integer_value(json_object_get(run, "steps")),
           field(run, "name"));
}

static void add_run(void *ctx, const json_t *run)
{
    struct listing *l = ctx;
    json_t *copy = json_copy((json_t *)run);

    if (strcmp(field(run, "status"), "running") == 0 &&
        engine_active(l->root, field(run, "id")) == 0)
        json_object_set_new(copy, "status", json_string("interrupted"));
    json_array_append_new(l->runs, copy);
}

static void print_all(const struct listing *l)
{
    const json_t *run;
    size_t i;

    if (l->call->json)
        return;
    if (!l->call->quiet && json_array_size(l->runs))
        printf("%s%-22s  %-11s  %-19s  %8s  %6s  %s%s\n",
               view_on(l->call->color, VIEW_DIM), "RUN", "STATUS", "STARTED (UTC)",
               "TOOK", "STEPS", "NAME", view_off(l->call->color));
    json_array_foreach(l->runs, i, run) {
        if (l->call->quiet)
            puts(field(run, "id"));
        else
            print_run(l, run);
    }
    if (!json_array_size(l->runs) && !l->call->quiet)
        fputs("no runs yet; raywf run FILE makes the first\n", stderr);
}

static const struct cmd_column workers[] = {
    {"worker", "WORKER", CELL_NUMBER}, {"pid", "PID", CELL_NUMBER},
    {"state", "STATE", CELL_TEXT},     {"job", "JOB", CELL_TEXT},
    {"gpus", "GPUS", CELL_LIST},       {"age_ns", "AGE", CELL_TIME},
    {"plugin", "PLUGIN", CELL_TEXT},   {0},
};

static const struct cmd_column tasks[] = {
    {"task", "TASK", CELL_NUMBER}, {"worker", "WORKER", CELL_NUMBER},
    {"pid", "PID", CELL_NUMBER},   {"running_ns", "RUNS FOR", CELL_TIME},
    {"job", "JOB", CELL_TEXT},     {"plugin", "PLUGIN", CELL_TEXT},
    {0},
};

static int ps_run(struct cmd_call *call, struct rwf_err *err)
{
    if (cmd_given(call, "workers"))
        return cmd_show_list(call, "workers", workers, "no workers", err);
    if (cmd_given(call, "tasks"))
        return cmd_show_list(call, "tasks", tasks, "no native call is running", err);

    char *root = run_root_find(".", err);
    int64_t limit = cmd_count(call, "last", 20);

    if (!root)
        return -1;
    struct listing l = {.call = call, .root = root, .runs = json_array()};
    int status =
        run_index_each(root, cmd_given(call, "all") ? 0 : (int)limit, add_run, &l, err);
    if (status == 0)
        print_all(&l);
    call->data = json_pack("{s:o, s:o}", "root", cmd_string(root), "runs", l.runs);
    free(root);
    return status;
}

static const struct cmd_option options[] = {
    {"last", 'n', CMD_COUNT, "N", false, "20", "the newest N runs"},
    {"all", 'a', CMD_FLAG, NULL, false, NULL, "every run"},
    {"workers", 'w', CMD_FLAG, NULL, false, NULL,
     "instead: workers of the native runtime (RAYWF_ADDRESS, else the active run's)"},
    {"tasks", 't', CMD_FLAG, NULL, false, NULL, "instead: native calls that run there"},
    {0},
};

const struct cmd cmd_ps = {
    .name = "ps",
    .group = CMD_OBSERVE,
    .summary = "list runs, newest first; or live workers and native calls",
    .details = "-q prints only ids.",
    .exits = "0 2 7 12",
    .options = options,
    .run = ps_run,
};
