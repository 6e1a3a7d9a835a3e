/* SPDX-License-Identifier: Apache-2.0
 *
 * Searches in words: the table beneath a run that goes on, the line of a trial that has
 * ended, and what came of it all.
 */
#include "config.h"

#include "view/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "view/style.h"

#define BEST_SHOWN 5
#define VALUE_MAX 40 /* columns of one value of a configuration */

/* --- parts --- */

static void add_value(struct rwf_str *out, const json_t *value)
{
    char *text = NULL;

    if (json_is_integer(value))
        rwf_str_addf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_number(value))
        rwf_str_addf(out, "%.4g", json_number_value(value));
    else if (json_is_string(value))
        text = rwf_xstrdup(json_string_value(value));
    else
        text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text) {
        struct rwf_str safe = {0};
        view_safe(&safe, text, strlen(text), false);
        view_clip(out, safe.data ? safe.data : "", VALUE_MAX);
        rwf_str_free(&safe);
    }
    free(text);
}

/* "lr=0.1 type=adamw" */
static void add_config(struct rwf_str *out, const struct view_trial *t)
{
    const char *key, *between = "";
    json_t *value;

    json_object_foreach(t->config, key, value) {
        const char *name = view_search_short(t->search, key);
        rwf_str_add(out, between);
        view_safe(out, name, strlen(name), false);
        rwf_str_addc(out, '=');
        add_value(out, value);
        between = " ";
    }
}

static void add_metric_name(struct rwf_str *out, const struct view_search *s)
{
    const char *name = s->metric ? s->metric : "metric";

    view_safe(out, name, strlen(name), false);
}

static void add_count(struct rwf_str *out, const struct view_search *s,
                      enum view_trial_state state)
{
    if (s->counts[state] > 0)
        rwf_str_addf(out, ", %zu %s", s->counts[state], view_trial_state_name(state));
}

/* --- the live table --- */

static void end_line(struct rwf_str *out, const struct rwf_str *line, int width)
{
    view_clip(out, line->data ? line->data : "", width > 1 ? (size_t)width - 1 : 1);
    rwf_str_addc(out, '\n');
}

static void draw_head(const struct view_search *s, struct rwf_str *out, int width,
                      bool color)
{
    struct rwf_str line = {0};

    rwf_str_addf(&line, "%s  %zu/%zu trials", s->address, s->ended, s->total);
    if (s->best) {
        rwf_str_add(&line, ", best ");
        add_metric_name(&line, s);
        rwf_str_addc(&line, '=');
        view_number(&line, s->best->value);
    }
    for (int i = 0; i < VIEW_TRIAL_STATE_COUNT; i++)
        if (i != VIEW_TRIAL_COMPLETED)
            add_count(&line, s, (enum view_trial_state)i);
    rwf_str_add(out, view_on(color, VIEW_BOLD));
    view_clip(out, line.data, width > 1 ? (size_t)width - 1 : 1);
    rwf_str_addf(out, "%s\n", view_off(color));
    rwf_str_free(&line);
}

static void draw_names(const struct view_search *s, struct rwf_str *out, int width,
                       bool color)
{
    struct rwf_str line = {0}, name = {0}, cut = {0};

    add_metric_name(&name, s);
    view_clip(&cut, name.data, 12);
    rwf_str_addf(&line, "  %5s  ", "trial");
    for (size_t c = view_columns(cut.data); c < 12; c++)
        rwf_str_addc(&line, ' ');
    rwf_str_addf(&line, "%s  %6s  %-9s  %s", cut.data, s->unit, "state",
                 "configuration");
    rwf_str_add(out, view_on(color, VIEW_DIM));
    view_clip(out, line.data, width > 1 ? (size_t)width - 1 : 1);
    rwf_str_addf(out, "%s\n", view_off(color));
    rwf_str_free(&line);
    rwf_str_free(&name);
    rwf_str_free(&cut);
}

static void draw_trial(const struct view_trial *t, struct rwf_str *out, int width,
                       bool color)
{
    struct rwf_str line = {0}, value = {0};
    enum schedule_state looks = view_trial_looks(t->state);

    if (!isnan(t->value))
        view_number(&value, t->value);
    rwf_str_addf(&line, "%5u  %12s  ", (unsigned)t->number,
                 value.data ? value.data : "");
    if (isnan(t->last_at))
        rwf_str_addf(&line, "%6s", "");
    else
        rwf_str_addf(&line, "%6.0f", t->last_at);
    rwf_str_addf(&line, "  %-9s  ", view_trial_state_name(t->state));
    add_config(&line, t);
    rwf_str_addf(out, "%s%s%s ", view_on(color, view_state_style(looks)),
                 view_mark(looks), view_off(color));
    if (t == t->search->best)
        rwf_str_add(out, view_on(color, VIEW_GOOD));
    end_line(out, &line, width - 2);
    if (t == t->search->best && color) {
        out->data[--out->len] = '\0'; /* the style ends before the line does */
        rwf_str_addf(out, "%s\n", view_off(color));
    }
    rwf_str_free(&line);
    rwf_str_free(&value);
}

/* The best few of those that are over, best first; returns how many. */
static size_t find_best(const struct view_search *s, const struct view_trial **best,
                        size_t most)
{
    size_t count = 0;

    for (size_t i = 0; i < s->count; i++) {
        const struct view_trial *t = s->trials[i];
        size_t at = count;
        if ((t->state != VIEW_TRIAL_COMPLETED && t->state != VIEW_TRIAL_STOPPED) ||
            isnan(t->value))
            continue;
        while (at > 0 && view_search_better(s, t->value, best[at - 1]->value))
            at--;
        if (at >= most)
            continue;
        count += count < most;
        memmove(best + at + 1, best + at, (count - at - 1) * sizeof(*best));
        best[at] = t;
    }
    return count;
}

static void draw_running(const struct view_search *s, struct rwf_str *out, size_t rows,
                         int width, bool color)
{
    size_t left = s->counts[VIEW_TRIAL_RUNNING], room = left > rows ? rows - 1 : rows;

    for (size_t i = 0; i < s->count && room > 0 && left > 0; i++)
        if (s->trials[i]->state == VIEW_TRIAL_RUNNING) {
            draw_trial(s->trials[i], out, width, color);
            room--;
            left--;
        }
    if (left > 0)
        rwf_str_addf(out, "  +%zu more\n", left);
}

void view_search_draw(const struct view_search *s, struct rwf_str *out, size_t rows,
                      int width, bool color)
{
    const struct view_trial *best[BEST_SHOWN];

    if (rows == 0)
        return;
    draw_head(s, out, width, color);
    if (rows < 4 || s->count == 0)
        return;
    rows -= 2;
    size_t running = s->counts[VIEW_TRIAL_RUNNING];
    size_t most = rows > running ? rows - running : rows / 3;
    most = most < 1 ? 1 : most > BEST_SHOWN ? BEST_SHOWN : most;
    size_t count = find_best(s, best, most);
    draw_names(s, out, width, color);
    for (size_t i = 0; i < count; i++)
        draw_trial(best[i], out, width, color);
    if (running > 0 && rows > count)
        draw_running(s, out, rows - count, width, color);
}

/* --- one trial --- */

void view_trial_words(const struct view_trial *t, struct rwf_str *out, bool color)
{
    rwf_str_addf(out, "%s trial %u  %s", t->search->address, (unsigned)t->number,
                 view_trial_state_name(t->state));
    if (!isnan(t->value)) {
        rwf_str_add(out, "  ");
        add_metric_name(out, t->search);
        rwf_str_addc(out, '=');
        view_number(out, t->value);
        if (!isnan(t->at))
            rwf_str_addf(out, " at %s %.0f", t->search->unit, t->at);
    }
    if (t == t->search->best)
        rwf_str_addf(out, "  %sbest so far%s", view_on(color, VIEW_GOOD),
                     view_off(color));
    rwf_str_addf(out, "  %s(", view_on(color, VIEW_DIM));
    add_config(out, t);
    rwf_str_addf(out, ")%s", view_off(color));
}

/* --- the outcome --- */

static void print_config(const struct view_trial *t, FILE *out, bool color)
{
    const char *key;
    json_t *value;
    size_t width = 0;

    json_object_foreach(t->config, key, value)
        if (view_columns(key) > width)
            width = view_columns(key);
    json_object_foreach(t->config, key, value) {
        struct rwf_str line = {0};
        view_safe(&line, key, strlen(key), false);
        for (size_t c = view_columns(key); c < width; c++)
            rwf_str_addc(&line, ' ');
        rwf_str_addf(&line, "%s  ", view_off(color));
        add_value(&line, value);
        fprintf(out, "    %s%s\n", view_on(color, VIEW_DIM), line.data);
        rwf_str_free(&line);
    }
}

static void print_search(const struct view_search *s, FILE *out, bool color)
{
    struct rwf_str line = {0};

    rwf_str_addf(&line, "%s%s%s  ", view_on(color, VIEW_NAME), s->address,
                 view_off(color));
    if (s->best) {
        rwf_str_add(&line, "best ");
        add_metric_name(&line, s);
        rwf_str_addf(&line, " %s", view_on(color, VIEW_GOOD));
        view_number(&line, s->best->value);
        rwf_str_addf(&line, "%s in trial %u", view_off(color),
                     (unsigned)s->best->number);
    } else {
        rwf_str_add(&line, "no trial has a result");
    }
    rwf_str_addf(&line, "; %zu of %zu trials ended", s->ended, s->total);
    add_count(&line, s, VIEW_TRIAL_COMPLETED);
    add_count(&line, s, VIEW_TRIAL_STOPPED);
    add_count(&line, s, VIEW_TRIAL_FAILED);
    add_count(&line, s, VIEW_TRIAL_SKIPPED);
    if (s->over) {
        rwf_str_add(&line, "; it ended because ");
        view_safe(&line, s->over, strlen(s->over), false);
    }
    fprintf(out, "  %s\n", line.data);
    rwf_str_free(&line);
    if (s->best)
        print_config(s->best, out, color);
}

static bool any_best(const struct view_searches *all)
{
    for (size_t i = 0; i < view_searches_count(all); i++)
        if (view_searches_at(all, i)->best)
            return true;
    return false;
}

static void print_commands(const char *id, bool best, FILE *out, bool color)
{
    const char *on = view_on(color, VIEW_NAME), *off = view_off(color);

    fprintf(out, "  all trials        %sraywf tune show %s%s\n", on, id, off);
    if (best)
        fprintf(out, "  best as a recipe  %sraywf tune show %s --best%s\n", on, id,
                off);
}

void view_search_summary(const struct view_run *r, FILE *out, bool color)
{
    struct view_searches *all = view_searches_create(r->graph, 0);
    char *path = r->dir ? rwf_fs_join(r->dir, "events.ndjson") : NULL;
    size_t count = view_searches_count(all);

    /* Reading the log again is for runs that have something to show. */
    if (count > 0 && path && view_searches_read(all, path, NULL) == 0) {
        fprintf(out, "\n%s%s%s\n", view_on(color, VIEW_BOLD),
                count == 1 ? "search" : "searches", view_off(color));
        for (size_t i = 0; i < count; i++)
            print_search(view_searches_at(all, i), out, color);
        print_commands(r->state->id, any_best(all), out, color);
    }
    free(path);
    view_searches_destroy(all);
}
