/* SPDX-License-Identifier: Apache-2.0
 *
 * Why a step ran, was cached, waits, was skipped or failed.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "cmd/change.h"
#include "cmd/cmd.h"
#include "cmd/history.h"
#include "cmd/opened.h"
#include "cmd/alive.h"
#include "plan/key.h"
#include "view/style.h"

struct question {
    const struct cmd_opened *o;
    const struct plan_step *step;
    const struct run_step_state *s; /* NULL: nothing happened to it yet */
    json_t *data;
};

static void set_text(json_t *data, const char *name, const char *text)
{
    if (text)
        json_object_set_new(data, name, json_string(text));
}

/* It ran: what differs from the last result of the same step? */
static void why_ran(struct question *q)
{
    char *run = NULL;
    json_t *now = cmd_parts(q->o, q->step->address);
    json_t *was = cmd_parts_before(q->o, q->step->address, &run);
    json_t *diff = now && was ? plan_key_diff(was, now) : NULL;

    set_text(q->data, "compared_with", run);
    if (!q->step->policy->cache)
        set_text(q->data, "reason", "it is never cached: the recipe says cache: false");
    else if (!was)
        set_text(q->data, "reason", "it never ran before");
    else if (json_array_size(diff) == 0)
        set_text(q->data, "reason",
                 "nothing changed; its kept result was gone, or --no-cache was given");
    else
        set_text(q->data, "reason", "its key changed since its last result");
    if (diff)
        json_object_set(q->data, "changes", diff);
    json_decref(diff);
    json_decref(was);
    json_decref(now);
    free(run);
}

static void why_cached(struct question *q)
{
    struct rwf_str text = {0};

    rwf_str_addf(
        &text,
        "its command, inputs and code are the same as in %s, which made the result",
        q->s->origin ? q->s->origin : "an earlier run");
    set_text(q->data, "reason", text.data);
    set_text(q->data, "origin", q->s->origin);
    rwf_str_free(&text);
}

static void why_failed(struct question *q)
{
    struct view_run r = cmd_opened_view(q->o);
    char *log = view_best_log(&r, q->s);
    bool cut;
    char *tail = view_tail(log, 2048, &cut);

    set_text(q->data, "reason", q->s->message ? q->s->message : "it failed");
    set_text(q->data, "cause", q->s->cause);
    set_text(q->data, "hint", view_cause_hint(q->step, q->s->cause));
    set_text(q->data, "log", log);
    set_text(q->data, "tail", tail);
    free(tail);
    free(log);
}

static void why_waits(struct question *q)
{
    struct rwf_str text = {0};
    size_t open = 0;

    for (size_t i = 0; i < q->step->need_count; i++) {
        const char *address =
            plan_graph_step(q->o->c.graph, q->step->needs[i])->address;
        const struct run_step_state *s = run_state_step(q->o->state, address);
        if (s && schedule_state_good(s->state))
            continue;
        if (open++ < 5)
            rwf_str_addf(&text, "%s%s (%s)", open > 1 ? ", " : "it needs ", address,
                         schedule_state_name(s ? s->state : STEP_PENDING));
    }
    if (open > 5)
        rwf_str_addf(&text, " and %zu more", open - 5);
    if (open == 0 && q->s && q->s->state == STEP_QUEUED && q->s->message)
        rwf_str_addf(&text, "all it needs is done; on the cluster it %s", q->s->message);
    else if (open == 0)
        rwf_str_add(&text, "all it needs is done; it waits for free resources");
    if (strcmp(cmd_run_status(q->o), "running") != 0)
        rwf_str_addf(&text, "; the run is %s", cmd_run_status(q->o));
    set_text(q->data, "reason", text.data);
    rwf_str_free(&text);
}

/* Under which name the head knows who asks for workers: rows and actors have their own,
 * all other calls are the run's. */
static const char *asks_as(const struct question *q)
{
    const struct plan_step *p = q->step;

    return p->op->run || strcmp(p->op->section, "actors") == 0
               ? p->address
               : recipe_name(plan_graph_recipe(q->o->c.graph));
}

/* A native step runs once it is given to the runtime; there it may still wait. */
static void why_running(struct question *q)
{
    char *address =
        q->step->policy->leased ? cmd_alive_of_run(q->o->root, q->o->id) : NULL;
    json_t *list =
        address ? cmd_alive_list(address, "why", asks_as(q), NULL) : NULL;
    const json_t *first = json_array_get(list, 0);
    const char *why = json_string_value(json_object_get(first, "why"));
    struct rwf_str text = {0};

    rwf_str_add(&text, "it is running");
    if (why && *why)
        rwf_str_addf(&text, ", with %lld of the %lld workers it could use: %s",
                     (long long)json_integer_value(json_object_get(first, "held")),
                     (long long)json_integer_value(json_object_get(first, "wanted")),
                     why);
    set_text(q->data, "reason", text.data);
    rwf_str_free(&text);
    json_decref(list);
    free(address);
}

static void answer(struct question *q)
{
    switch (q->s ? q->s->state : STEP_PENDING) {
    case STEP_CACHED:
        why_cached(q);
        break;
    case STEP_SUCCEEDED:
        if (q->step->op->decide)
            set_text(q->data, "reason", "it is decided anew in every run");
        else
            why_ran(q);
        break;
    case STEP_FAILED:
        why_failed(q);
        break;
    case STEP_SKIPPED:
    case STEP_STOPPED:
        set_text(q->data, "reason",
                 q->s->message ? q->s->message : "the run was stopped before it ended");
        break;
    case STEP_RUNNING:
        why_running(q);
        break;
    case STEP_BACKOFF:
        set_text(q->data, "reason",
                 q->s->message ? q->s->message : "it waits for its next attempt");
        break;
    default:
        why_waits(q);
    }
}

/* --- text --- */

static const char *field(const json_t *item, const char *name)
{
    return json_string_value(json_object_get(item, name));
}

static void print_changes(const json_t *changes, bool color)
{
    const json_t *one;
    size_t i;

    json_array_foreach((json_t *)changes, i, one) {
        char *was, *now;
        cmd_change_words(json_object_get(one, "was"), json_object_get(one, "now"), &was,
                         &now);
        printf("  %s%s%s\n      was  %s\n      now  %s\n", view_on(color, VIEW_NAME),
               field(one, "part"), view_off(color), was, now);
        free(was);
        free(now);
    }
}

static void print_answer(const struct question *q, bool color)
{
    enum schedule_state state = q->s ? q->s->state : STEP_PENDING;
    const char *compared = field(q->data, "compared_with");
    const char *log = field(q->data, "log"), *tail = field(q->data, "tail");

    printf("%s%s %s%s  %s", view_on(color, view_state_style(state)), view_mark(state),
           q->step->address, view_off(color), schedule_state_name(state));
    if (q->s && q->s->attempt > 1)
        printf(" at attempt %d", q->s->attempt);
    fputs(": ", stdout);
    view_print_safe(stdout, field(q->data, "reason"));
    putchar('\n');
    print_changes(json_object_get(q->data, "changes"), color);
    if (tail) {
        struct rwf_str safe = {0};
        view_safe(&safe, tail, strlen(tail), true);
        printf("%s%s%s%s", view_on(color, VIEW_DIM), safe.data,
               safe.data[safe.len - 1] == '\n' ? "" : "\n", view_off(color));
        rwf_str_free(&safe);
    }
    printf("%s  run     %s\n  recipe  %s\n", view_on(color, VIEW_DIM), q->o->id,
           field(q->data, "where"));
    if (field(q->data, "node")) {
        fputs("  node    ", stdout);
        view_print_safe(stdout, field(q->data, "node"));
        putchar('\n');
    }
    if (compared)
        printf("  compared with run %s\n", compared);
    if (log)
        printf("  log     %s\n", log);
    if (field(q->data, "hint"))
        printf("  hint    %s\n", field(q->data, "hint"));
    if (field(q->data, "key"))
        printf("  key     %s\n", field(q->data, "key"));
    fputs(view_off(color), stdout);
}

static int why_run(struct cmd_call *call, struct rwf_err *err)
{
    const char *run = "last", *name = call->operands[call->operand_count - 1];
    struct cmd_opened o;

    if (call->operand_count == 2)
        run = call->operands[0];
    int code = cmd_open_run(call, run, true, &o, err);
    const struct plan_step *step = code == 0 ? cmd_find_step(&o, name, err) : NULL;
    if (code == 0 && !step)
        code = -1;
    if (code == 0) {
        struct question q = {&o, step, run_state_step(o.state, step->address), NULL};
        struct view_run r = cmd_opened_view(&o);
        char *where = view_where(&r, step);
        q.data = json_pack(
            "{s:s, s:s, s:s, s:s, s:i, s:s?, s:s*}", "run", o.id, "step", step->address,
            "state", schedule_state_name(q.s ? q.s->state : STEP_PENDING), "where",
            where, "attempts", q.s ? q.s->attempt : 0, "key", q.s ? q.s->key : NULL,
            "node", q.s ? q.s->node : NULL);
        answer(&q);
        if (!call->json)
            print_answer(&q, call->color);
        call->data = q.data;
        free(where);
    }
    cmd_opened_free(&o);
    return code;
}

const struct cmd cmd_why = {
    .name = "why",
    .group = CMD_OBSERVE,
    .summary = "tell why a step ran, was cached, waits, was skipped or failed",
    .details =
        "For a step that ran: what part of its key changed since its last result. "
        "What would run next time is told by raywf plan.",
    .examples = "raywf why tasks.train\nraywf why last \"tasks.train[lr=0.1]\"",
    .exits = "0 2 12",
    .operands = {{"RUN", CMD_RUN, 0, 1}, {"STEP", CMD_STEP, 1, 1}},
    .run = why_run,
};
