/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "view/summary.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "view/curve.h"
#include "view/search.h"
#include "view/style.h"

#define LISTED_MAX 20 /* failures named one by one */

static const enum schedule_state shown[] = {STEP_SUCCEEDED, STEP_CACHED,  STEP_FAILED,
                                            STEP_SKIPPED,   STEP_STOPPED, STEP_RUNNING};

static void print_counts(const struct run_state *s, FILE *out, bool color)
{
    const char *between = "";

    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
        size_t n = s->counts[shown[i]];
        if (!n)
            continue;
        fprintf(out, "%s%s%zu %s%s", between,
                view_on(color, view_state_style(shown[i])), n,
                schedule_state_name(shown[i]), view_off(color));
        between = ", ";
    }
    if (!*between)
        fputs("no steps", out);
}

static void value_text(const json_t *check, const char *name, struct rwf_str *out)
{
    const json_t *value = json_object_get(check, name);

    if (json_is_number(value))
        view_number(out, json_number_value(value));
    else if (json_is_string(value))
        rwf_str_add(out, json_string_value(value));
}

static const char *field(const json_t *item, const char *name)
{
    const char *text = json_string_value(json_object_get(item, name));

    return text ? text : "";
}

static enum schedule_state state_of(const json_t *check)
{
    const char *name = field(check, "state");

    for (int s = 0; s < STEP_STATE_COUNT; s++)
        if (strcmp(schedule_state_name(s), name) == 0)
            return s;
    return STEP_PENDING;
}

/* "${tasks.a.metrics.acc}" without its braces. */
static const char *bare(const char *text, char name[256])
{
    size_t len = strlen(text);

    if (strncmp(text, "${", 2) != 0 || text[len - 1] != '}' || len > 250)
        return text;
    snprintf(name, 256, "%.*s", (int)len - 3, text + 2);
    return name;
}

static void print_checks(const struct view_run *r, FILE *out, bool color)
{
    json_t *checks = view_checks(r), *c;
    size_t i, width = 0;
    char name[256];

    json_array_foreach(checks, i, c)
        if (view_columns(field(c, "name")) > width)
            width = view_columns(field(c, "name"));
    if (json_array_size(checks))
        fprintf(out, "\n%schecks%s\n", view_on(color, VIEW_BOLD), view_off(color));
    json_array_foreach(checks, i, c) {
        enum schedule_state state = state_of(c);
        struct rwf_str wanted = {0}, actual = {0};
        value_text(c, "actual", &actual);
        value_text(c, "than", &wanted);
        fprintf(out, "  %s%s %-*s%s  %s%s%s (wanted %s %s)\n",
                view_on(color, view_state_style(state)), view_mark(state), (int)width,
                field(c, "name"), view_off(color), bare(field(c, "value"), name),
                actual.len ? " = " : "", actual.len ? actual.data : "", field(c, "op"),
                wanted.len ? wanted.data : "");
        rwf_str_free(&actual);
        rwf_str_free(&wanted);
    }
    json_decref(checks);
}

static void print_failures(const struct view_run *r, FILE *out, bool color)
{
    size_t listed = 0, failed = r->state->counts[STEP_FAILED];

    if (!failed)
        return;
    fprintf(out, "\n%sfailed%s\n", view_on(color, VIEW_BOLD), view_off(color));
    for (size_t i = 0; i < run_state_step_count(r->state) && listed < LISTED_MAX; i++) {
        const struct run_step_state *s = run_state_step_at(r->state, i);
        if (s->state != STEP_FAILED)
            continue;
        uint32_t at = plan_graph_find(r->graph, s->address);
        char *where =
            at == PLAN_NO_STEP ? NULL : view_where(r, plan_graph_step(r->graph, at));
        fprintf(out, "  %s%s%s %s: ", view_on(color, VIEW_ERROR),
                view_mark(STEP_FAILED), view_off(color), s->address);
        view_print_safe(out, s->message ? s->message : "failed");
        fprintf(out, "  %s(%s)%s\n", view_on(color, VIEW_DIM), where ? where : "",
                view_off(color));
        free(where);
        listed++;
    }
    if (failed > listed)
        fprintf(out, "  and %zu more: raywf status %s\n", failed - listed,
                r->state->id);
}

/* The first that failed and has output to look at. */
static const struct run_step_state *first_failed(const struct view_run *r)
{
    for (size_t i = 0; i < run_state_step_count(r->state); i++) {
        const struct run_step_state *s = run_state_step_at(r->state, i);
        uint32_t at = plan_graph_find(r->graph, s->address);
        if (s->state == STEP_FAILED && s->attempt > 0 && at != PLAN_NO_STEP &&
            !plan_graph_step(r->graph, at)->op->decide)
            return s;
    }
    return NULL;
}

static void print_next(const struct view_run *r, const char *report, FILE *out,
                       bool color)
{
    const struct run_step_state *bad = first_failed(r);
    const char *on = view_on(color, VIEW_NAME), *off = view_off(color);
    const char *id = r->state->id, *job = getenv("RAYWF_JOB_ID");

    if (job &&
        *job) { /* the run's folder is with the head: the job is what can be named */
        if (r->state->exit_code != 0)
            fprintf(out, "\nagain    %sraywf job retry %s%s\n", on, job, off);
        return;
    }
    fputc('\n', out);
    if (bad) {
        fprintf(out, "output   %sraywf logs %s %s%s\n", on, id, bad->address, off);
        if (r->state->exit_code != 0) /* else they are trials whose search went well */
            fprintf(out, "again    %sraywf retry %s --failed%s\n", on, id, off);
    } else if (strcmp(r->state->status, "stopped") == 0) {
        fprintf(out, "go on    %sraywf resume %s%s\n", on, id, off);
    }
    if (report)
        fprintf(out, "report   %s%s%s\n", on, report, off);
    else
        fprintf(out, "report   %sraywf report %s -o report.html%s\n", on, id, off);
}

void view_summary(const struct view_run *r, const char *report, FILE *out, bool color)
{
    const struct run_state *s = r->state;
    enum view_style style = view_status_style(s->status);
    char took[RWF_UNITS_LEN];

    view_curves(r, "curves", out, color);
    view_search_summary(r, out, color);
    print_failures(r, out, color);
    print_checks(r, out, color);
    fprintf(out, "\n%s%s%s %s in %s: ", view_on(color, style), s->name, view_off(color),
            s->status, rwf_duration_format(s->ended - s->started, took));
    print_counts(s, out, color);
    if (s->message && *s->message) {
        fputs(" (", out);
        view_print_safe(out, s->message);
        fputc(')', out);
    }
    fputc('\n', out);
    print_next(r, report, out, color);
}

/* --- Markdown --- */

/* In a table cell a bar ends it and a line break breaks it. */
static void cell(struct rwf_str *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("|<>`*_\\[]", *text))
            rwf_str_addc(out, '\\');
        rwf_str_addc(out, *text == '\n' ? ' ' : *text);
    }
}

static void checks_table(const struct view_run *r, struct rwf_str *out)
{
    json_t *checks = view_checks(r), *c;
    size_t i;

    if (json_array_size(checks))
        rwf_str_add(out, "\n| check | value | wanted | |\n|---|---|---|---|\n");
    json_array_foreach(checks, i, c) {
        rwf_str_add(out, "| ");
        cell(out, field(c, "name"));
        rwf_str_add(out, " | ");
        value_text(c, "actual", out);
        rwf_str_addf(out, " | %s ", field(c, "op"));
        value_text(c, "than", out);
        rwf_str_addf(out, " | %s |\n", schedule_state_good(state_of(c)) ? "✅" : "❌");
    }
    json_decref(checks);
}

static void steps_table(const struct view_run *r, struct rwf_str *out)
{
    static const char *const icons[STEP_STATE_COUNT] = {[STEP_SUCCEEDED] = "✅",
                                                        [STEP_CACHED] = "♻️",
                                                        [STEP_FAILED] = "❌",
                                                        [STEP_SKIPPED] = "⏭️",
                                                        [STEP_STOPPED] = "⏹️"};
    size_t listed = 0, count = run_state_step_count(r->state);
    char took[RWF_UNITS_LEN];

    rwf_str_add(out, "\n| | step | took | |\n|---|---|---|---|\n");
    /* Two passes: a page with a thousand lines must show failures first. */
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < count && listed < 200; i++) {
            const struct run_step_state *s = run_state_step_at(r->state, i);
            if ((s->state == STEP_FAILED) != (pass == 0))
                continue;
            rwf_str_addf(out, "| %s | ", icons[s->state] ? icons[s->state] : "·");
            cell(out, s->address);
            rwf_str_addf(out, " | %s | ",
                         s->started ? rwf_duration_format(view_step_duration(s), took)
                                    : "");
            cell(out, s->message ? s->message : schedule_state_name(s->state));
            rwf_str_add(out, " |\n");
            listed++;
        }
    if (count > listed)
        rwf_str_addf(out, "\nand %zu more steps\n", count - listed);
}

void view_markdown(const struct view_run *r, struct rwf_str *out)
{
    const struct run_state *s = r->state;
    char took[RWF_UNITS_LEN];

    rwf_str_add(out, "## ");
    cell(out, s->name);
    rwf_str_addf(out, ": %s in %s\n\n", s->status,
                 rwf_duration_format(s->ended - s->started, took));
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
        if (s->counts[shown[i]])
            rwf_str_addf(out, "**%zu** %s  \n", s->counts[shown[i]],
                         schedule_state_name(shown[i]));
    checks_table(r, out);
    steps_table(r, out);
}
