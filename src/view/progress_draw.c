/* SPDX-License-Identifier: Apache-2.0
 *
 * What is live on a terminal: a line for each running step, one for each search, and
 * one for all.
 */
#include "config.h"

#include "view/progress_inside.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/units.h"
#include "view/run.h"
#include "view/style.h"

#define BAR 16

/* --- words --- */

static void add_count(struct rwf_str *out, int64_t n)
{
    static const char units[] = " kMGT";
    double value = (double)n;
    size_t u = 0;

    while (value >= 10000 && u + 2 < sizeof(units)) {
        value /= 1000;
        u++;
    }
    rwf_str_addf(out, u ? "%.3g%c" : "%.0f", value, units[u]);
}

static void add_rate(struct rwf_str *out, const struct running *r, int64_t elapsed)
{
    char size[RWF_UNITS_LEN];
    double s = (double)elapsed / (double)RWF_NS_PER_S;

    if (s < 0.5)
        return;
    if (r->rows >= 0) {
        rwf_str_add(out, "  ");
        add_count(out, (int64_t)((double)r->rows / s));
        rwf_str_add(out, " rows/s");
    } else if (r->bytes >= 0) {
        rwf_str_addf(out, "  %s/s",
                     rwf_size_format((int64_t)((double)r->bytes / s), size));
    }
}

/* Whole seconds and tenths: milliseconds would flicker. */
static const char *live_time(int64_t ns, char out[RWF_UNITS_LEN])
{
    if (ns >= 60 * RWF_NS_PER_S)
        return rwf_duration_format(ns / RWF_NS_PER_S * RWF_NS_PER_S, out);
    snprintf(out, RWF_UNITS_LEN, "%.1fs", (double)ns / (double)RWF_NS_PER_S);
    return out;
}

static void add_bar(struct rwf_str *out, double share)
{
    const char *full = view_utf8() ? "━" : "#", *rest = view_utf8() ? "─" : "-";
    int filled = (int)(share * BAR + 0.5);

    for (int i = 0; i < BAR; i++)
        rwf_str_add(out, i < filled ? full : rest);
}

void view__progress_facts(struct rwf_str *out, const struct running *r, int64_t now)
{
    int64_t elapsed = now - r->started;
    char text[RWF_UNITS_LEN];

    if (r->waits) {
        rwf_str_add(out, "  waits to try again");
        return;
    }
    if (r->progress >= 0) {
        rwf_str_add(out, "  ");
        add_bar(out, r->progress > 1 ? 1 : r->progress);
        rwf_str_addf(out, " %3.0f%%", r->progress * 100);
    }
    add_rate(out, r, elapsed);
    if (r->progress - r->from > 0.01 && r->progress < 1) {
        int64_t left = (int64_t)((double)(now - r->began) * (1 - r->progress) /
                                 (r->progress - r->from));
        rwf_str_addf(out, "  %s left", live_time(left, text));
    }
    if (r->note && *r->note)
        rwf_str_addf(out, "  %s", r->note);
    if (r->attempt > 1)
        rwf_str_addf(out, "  attempt %d", r->attempt);
}

/* --- the live picture --- */

static void add_clipped(struct rwf_str *out, const char *line, int width)
{
    view_clip(out, line, width > 1 ? (size_t)width - 1 : 1);
}

static void draw_step(struct view_progress *p, const struct running *r, int64_t now,
                      int name_width, int width, struct rwf_str *out)
{
    struct rwf_str line = {0}, name = {0};
    enum schedule_state state = r->waits ? STEP_BACKOFF : STEP_RUNNING;
    char took[RWF_UNITS_LEN];

    view_clip(&name, r->address, (size_t)name_width);
    rwf_str_addf(&line, "%s", name.data);
    for (size_t c = view_columns(name.data); (int)c < name_width; c++)
        rwf_str_addc(&line, ' ');
    rwf_str_addf(&line, " %6s", live_time(now - r->started, took));
    view__progress_facts(&line, r, now);
    rwf_str_addf(out, "%s%s%s ", view_on(p->o.color, view_state_style(state)),
                 view_mark(state), view_off(p->o.color));
    add_clipped(out, line.data, width - 2);
    rwf_str_addc(out, '\n');
    rwf_str_free(&line);
    rwf_str_free(&name);
}

static void draw_total(struct view_progress *p, int64_t now, int width,
                       struct rwf_str *out)
{
    struct rwf_str line = {0};
    char took[RWF_UNITS_LEN];
    double share = p->total ? (double)p->ended / (double)p->total : 0;

    add_bar(&line, share);
    rwf_str_addf(&line, " %zu/%zu", p->ended, p->total);
    if (p->count)
        rwf_str_addf(&line, ", %zu running", p->count);
    if (p->cached)
        rwf_str_addf(&line, ", %zu cached", p->cached);
    if (p->failed)
        rwf_str_addf(&line, ", %zu failed", p->failed);
    rwf_str_addf(&line, ", %s", live_time(now - p->started, took));
    if (p->stopping)
        rwf_str_add(&line, ", stopping (again: kill)");
    rwf_str_add(out, view_on(p->o.color, p->failed ? VIEW_ERROR : VIEW_BUSY));
    add_clipped(out, line.data, width);
    rwf_str_addf(out, "%s\n", view_off(p->o.color));
    rwf_str_free(&line);
}

bool view__progress_is_trial(const struct view_progress *p, const char *address)
{
    return view_searches_trial(p->searches, address) != NULL;
}

/* Searches that have begun and are not over: each with its share of the rows. */
static size_t draw_searches(struct view_progress *p, size_t room, int width,
                            struct rwf_str *out)
{
    size_t open = 0, before = out->len, lines = 0;

    for (size_t i = 0; i < view_searches_count(p->searches); i++) {
        const struct view_search *s = view_searches_at(p->searches, i);
        open += s->count > 0 && s->ended < s->total;
    }
    for (size_t i = 0; i < view_searches_count(p->searches) && open > 0; i++) {
        const struct view_search *s = view_searches_at(p->searches, i);
        if (s->count > 0 && s->ended < s->total)
            view_search_draw(s, out, room / open, width, p->o.color);
    }
    for (size_t i = before; i < out->len; i++)
        lines += out->data[i] == '\n';
    return lines;
}

/* The running steps that are no trials: those stand in the tables. */
static void draw_steps(struct view_progress *p, size_t room, int width,
                       struct rwf_str *out)
{
    int64_t now = rwf_clock_mono();
    size_t name_width = 0, shown = 0, all = 0;

    for (size_t i = 0; i < p->count; i++)
        all += !view__progress_is_trial(p, p->running[i].address);
    if (all > room)
        room--;
    for (size_t i = 0; i < p->count && shown < room; i++) {
        size_t columns = view_columns(p->running[i].address);
        if (view__progress_is_trial(p, p->running[i].address))
            continue;
        shown++;
        name_width = columns > name_width ? columns : name_width;
    }
    if ((int)name_width > width * 2 / 5)
        name_width = (size_t)(width * 2 / 5);
    for (size_t i = 0, left = shown; i < p->count && left > 0; i++)
        if (!view__progress_is_trial(p, p->running[i].address)) {
            draw_step(p, &p->running[i], now, (int)name_width, width, out);
            left--;
        }
    if (shown < all)
        rwf_str_addf(out, "  +%zu more\n", all - shown);
}

void view__progress_draw(void *ctx, struct rwf_str *out, int rows, int width)
{
    struct view_progress *p = ctx;
    size_t room = rows > 6 ? (size_t)rows - 4 : 2, steps = 0;

    if (!p->run_id)
        return;
    for (size_t i = 0; i < p->count; i++)
        steps += !view__progress_is_trial(p, p->running[i].address);
    size_t least = steps > room / 3 ? room / 3 : steps;
    room -= draw_searches(p, room - least, width, out);
    draw_steps(p, room, width, out);
    draw_total(p, rwf_clock_mono(), width, out);
}
