/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/units.h"
#include "cmd/cmd.h"
#include "cmd/opened.h"
#include "cmd/alive.h"
#include "cmd/head_find.h"
#include "cmd/status_cluster.h"
#include "view/curve.h"
#include "view/style.h"

#define LISTED_MAX 40 /* steps shown without -v */

static bool listed_first(const struct run_step_state *s)
{
    return s->state == STEP_RUNNING || s->state == STEP_BACKOFF ||
           s->state == STEP_FAILED;
}

static void print_step(const struct run_step_state *s, bool color)
{
    char took[RWF_UNITS_LEN] = "";

    if (s->started > 0)
        rwf_duration_format(view_step_duration(s), took);
    printf("  %s%s %-10s%s %8s  %s", view_on(color, view_state_style(s->state)),
           view_mark(s->state), schedule_state_name(s->state), view_off(color), took,
           s->address);
    if (s->state == STEP_RUNNING && s->progress >= 0)
        printf("  %.0f%%", s->progress * 100);
    if (s->node && !s->message) {
        fputs("  on ", stdout);
        view_print_safe(stdout, s->node);
    }
    if (s->message) {
        fputs("  ", stdout);
        view_print_safe(stdout, s->message);
    }
    putchar('\n');
}

static void print_steps(const struct cmd_call *call, const struct run_state *state)
{
    size_t shown = 0, count = run_state_step_count(state);

    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < count && (call->verbose || shown < LISTED_MAX); i++) {
            const struct run_step_state *s = run_state_step_at(state, i);
            if (listed_first(s) != (pass == 0))
                continue;
            print_step(s, call->color);
            shown++;
        }
    if (shown < count)
        printf("  and %zu more: raywf status -v %s\n", count - shown, state->id);
}

static void print_status(const struct cmd_call *call, const struct cmd_opened *o)
{
    const struct run_state *s = o->state;
    const char *status = cmd_run_status(o), *between = "";
    int64_t end = s->ended > 0 ? s->ended : rwf_clock_wall();
    char took[RWF_UNITS_LEN];

    printf("%s%s%s  %s%s%s", view_on(call->color, VIEW_NAME), o->id,
           view_off(call->color), view_on(call->color, view_status_style(status)),
           status, view_off(call->color));
    if (s->exit_code > 0)
        printf(" (exit code %d)", s->exit_code);
    printf("  %s, %s", s->name ? s->name : "",
           rwf_duration_format(end - s->started, took));
    if (o->pid)
        printf(", pid %d", o->pid);
    printf("\n%zu step%s: ", s->total, s->total == 1 ? "" : "s");
    size_t seen = 0;
    for (int i = 0; i < STEP_STATE_COUNT; i++) {
        if (!s->counts[i])
            continue;
        printf("%s%zu %s", between, s->counts[i], schedule_state_name(i));
        between = ", ";
        seen += s->counts[i];
    }
    if (s->total > seen)
        printf("%s%zu to come", between, s->total - seen);
    putchar('\n');
    if (!call->quiet)
        print_steps(call, s);
    struct view_run view = cmd_opened_view(o);
    if (!call->quiet)
        view_curves(&view, NULL, stdout, call->color);
    if (strcmp(status, "interrupted") == 0)
        printf("its process is gone; go on with: raywf resume %s\n", o->id);
}

static size_t count_of(const json_t *native, const char *what)
{
    return json_array_size(json_object_get(native, what));
}

static void print_native(const json_t *native)
{
    size_t workers = count_of(native, "workers"), tasks = count_of(native, "tasks"),
           actors = count_of(native, "actors");

    printf("native: %zu worker%s, %zu running call%s, %zu actor%s\n", workers,
           workers == 1 ? "" : "s", tasks, tasks == 1 ? "" : "s", actors,
           actors == 1 ? "" : "s");
}

static json_t *steps_json(const struct run_state *state)
{
    json_t *out = json_array();

    for (size_t i = 0; i < run_state_step_count(state); i++) {
        const struct run_step_state *s = run_state_step_at(state, i);
        json_t *item = json_pack(
            "{s:s, s:s, s:i, s:f, s:s?, s:s?, s:s?, s:s?, s:s?, s:O?, s:O?, s:O?}",
            "step", s->address, "state", schedule_state_name(s->state), "attempt",
            s->attempt, "duration",
            (double)view_step_duration(s) / (double)RWF_NS_PER_S, "cause", s->cause,
            "message", s->message, "key", s->key, "origin", s->origin, "dir", s->dir,
            "metrics", s->metrics, "outputs", s->outputs, "usage", s->usage);
        if (s->node)
            json_object_set_new(item, "node", json_string(s->node));
        if (s->progress >= 0)
            json_object_set_new(item, "progress", json_real(s->progress));
        json_array_append_new(out, item);
    }
    return out;
}

static int wait_for_end(struct cmd_opened *o, struct rwf_err *err)
{
    while (strcmp(cmd_run_status(o), "running") == 0) {
        nanosleep(&(struct timespec){.tv_nsec = 200 * RWF_NS_PER_MS}, NULL);
        if (cmd_reload_run(o, err) < 0)
            return -1;
    }
    return 0;
}

static int status_run(struct cmd_call *call, struct rwf_err *err)
{
    bool wait = cmd_given(call, "wait");
    if (cmd_given(call, "cluster") || cmd_given(call, "address"))
        return call->operand_count || wait
                   ? rwf_fail(err, RWF_E_USAGE,
                              "a run and --cluster contradict each other")
                   : cmd_status_cluster(call, err);
    if (cmd_refuse(call, "key", "without --cluster", err) ||
        cmd_refuse(call, "dir", "without --cluster", err))
        return -1;
    struct cmd_opened o;
    int code = cmd_open_run(call, cmd_operand(call, 0, "last"), false, &o, err);

    if (code == 0 && wait)
        code = wait_for_end(&o, err);
    json_t *native = code == 0 && o.pid ? cmd_alive_all(o.root, o.id) : NULL;
    if (code == 0 && call->json) {
        call->data = cmd_run_json(&o);
        json_object_set_new(call->data, "step_states", steps_json(o.state));
        if (native)
            json_object_set(call->data, "native", native);
    } else if (code == 0) {
        print_status(call, &o);
        if (native)
            print_native(native);
    }
    json_decref(native);
    if (code == 0 && wait)
        code =
            o.state->exit_code >= 0 ? o.state->exit_code : RWF_E_STOPPED - RWF_E_BASE;
    cmd_opened_free(&o);
    return code;
}

static const struct cmd_option options[] = {
    {"wait", 'w', CMD_FLAG, NULL, false, NULL,
     "wait for the end of the run, and exit as it did"},
    {"cluster", 0, CMD_FLAG, NULL, false, NULL,
     "how the cluster stands that this machine is in, not a run"},
    CMD_HEAD_OPTIONS,
    {0},
};

const struct cmd cmd_status = {
    .name = "status",
    .group = CMD_OBSERVE,
    .summary = "show how a run stands, step by step, or a cluster",
    .examples = "raywf status\nraywf status last --wait\nraywf status --cluster",
    .exits = "0 1 2 7 8 9 11 12",
    .operands = {{"RUN", CMD_RUN, 0, 1}},
    .options = options,
    .run = status_run,
};
