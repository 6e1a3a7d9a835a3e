/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "view/curve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "view/style.h"

#define WIDTH 40
#define STEPS_MAX 8 /* steps whose curves are shown */

static const char *const shown[] = {"loss", "val_loss"};

/* The mean of the values of part i of n, NaN when none of them is a number. */
static double part_mean(const json_t *points, size_t i, size_t n)
{
    size_t total = json_array_size(points), count = 0;
    double sum = 0;

    for (size_t k = total * i / n; k < total * (i + 1) / n; k++) {
        double y = json_number_value(json_array_get(json_array_get(points, k), 1));
        if (isfinite(y)) {
            sum += y;
            count++;
        }
    }
    return count ? sum / (double)count : NAN;
}

void view_curve_add(struct rwf_str *out, const json_t *points, size_t count)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char plain[] = "_.,-~+*#";
    double low = INFINITY, high = -INFINITY;

    if (json_array_size(points) < count)
        count = json_array_size(points);
    for (size_t i = 0; i < count; i++) {
        double mean = part_mean(points, i, count);
        low = mean < low ? mean : low;
        high = mean > high ? mean : high;
    }
    for (size_t i = 0; i < count; i++) {
        double mean = part_mean(points, i, count);
        int level = high > low ? (int)((mean - low) / (high - low) * 7.999) : 3;
        if (isnan(mean))
            rwf_str_addc(out, ' ');
        else if (view_utf8())
            rwf_str_add(out, blocks[level]);
        else
            rwf_str_addc(out, plain[level]);
    }
}

static double value_at(const json_t *points, size_t i)
{
    return json_number_value(json_array_get(json_array_get(points, i), 1));
}

static void print_curve(const char *address, int width, const char *name,
                        const json_t *points, FILE *out, bool color)
{
    struct rwf_str line = {0};
    size_t count = json_array_size(points);

    view_curve_add(&line, points, WIDTH);
    rwf_str_add(&line, "  ");
    view_number(&line, value_at(points, 0));
    rwf_str_add(&line, view_utf8() ? " → " : " -> ");
    view_number(&line, value_at(points, count - 1));
    fprintf(out, "  %s%-*s%s  %-8s  %s\n", view_on(color, VIEW_NAME), width, address,
            view_off(color), name, line.data);
    rwf_str_free(&line);
}

/* Those of a search are told by what came of it. */
static bool is_trial(const struct view_run *r, const char *address)
{
    uint32_t at = r->graph ? plan_graph_find(r->graph, address) : PLAN_NO_STEP;

    return at != PLAN_NO_STEP && plan_graph_step(r->graph, at)->is_trial;
}

/* Reading the log again is for runs that have something to show. */
static bool any_loss(const struct view_run *r)
{
    for (size_t i = 0; i < run_state_step_count(r->state); i++) {
        const struct run_step_state *s = run_state_step_at(r->state, i);
        if (s->state != STEP_CACHED && json_object_get(s->metrics, "loss") &&
            !is_trial(r, s->address))
            return true;
    }
    return false;
}

static bool has_curve(const struct view_run *r, const char *address,
                      const json_t *step)
{
    const json_t *series = json_object_get(step, "series");

    return !is_trial(r, address) &&
           json_array_size(json_object_get(series, "loss")) >= 2;
}

static void print_step(const char *address, int width, const json_t *step, FILE *out,
                       bool color)
{
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
        const json_t *points =
            json_object_get(json_object_get(step, "series"), shown[i]);
        if (json_array_size(points) >= 2)
            print_curve(address, width, shown[i], points, out, color);
    }
}

void view_curves(const struct view_run *r, const char *title, FILE *out, bool color)
{
    const char *address;
    json_t *step;
    size_t steps = 0, width = 0;

    if (!any_loss(r))
        return;
    char *path = rwf_fs_join(r->dir, "events.ndjson");
    json_t *record = view_record(path, NULL), *all = json_object_get(record, "steps");
    json_object_foreach(all, address, step)
        if (has_curve(r, address, step) && steps++ < STEPS_MAX && view_columns(address) > width)
            width = view_columns(address);
    if (steps > 0 && title)
        fprintf(out, "\n%s%s%s\n", view_on(color, VIEW_BOLD), title, view_off(color));
    size_t left = STEPS_MAX;
    json_object_foreach(all, address, step)
        if (has_curve(r, address, step) && left > 0) {
            print_step(address, (int)width, step, out, color);
            left--;
        }
    if (steps > STEPS_MAX)
        fprintf(out, "  and %zu more: raywf report\n", steps - STEPS_MAX);
    json_decref(record);
    free(path);
}
