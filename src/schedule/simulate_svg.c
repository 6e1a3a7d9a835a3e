/* SPDX-License-Identifier: Apache-2.0
 *
 * A simulation as a picture: the use of cores, cards and memory over time, and beneath
 * it a lane per node, in which steps that run at the same time lie above each other.
 */
#include "config.h"
#include "schedule/simulate.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/units.h"

#define LEFT 120
#define WIDTH 1000 /* of the time */
#define CHART 160
#define ROW 9
#define BUCKETS 500
#define MOST_LANES 64
#define MOST_SPANS 6000

struct picture {
    const struct simulate_options *o;
    const struct simulate_result *r;
    struct rwf_str *out;
    double scale; /* pixels of a ns */
};

static double x_of(const struct picture *p, int64_t time)
{
    return LEFT + (double)time * p->scale;
}

static const struct plan_step *step_of(const struct picture *p, uint32_t step)
{
    return p->o->steps.at(p->o->steps.ctx, step);
}

/* --- use over time --- */

enum { CPU, GPU, MEMORY, RESOURCES };
static const struct {
    const char *name, *colour;
} resources[RESOURCES] = {[CPU] = {"cpu", "#2563eb"},
                          [GPU] = {"gpu", "#16a34a"},
                          [MEMORY] = {"memory", "#d97706"}};

/* Adds what a span uses to each bucket that it lies in, by its part of it. */
static void spread(double *use, int64_t makespan, const struct simulate_span *s,
                   double amount)
{
    double each = (double)makespan / BUCKETS;
    int first = (int)((double)s->start / each), last = (int)((double)s->end / each);
    for (int i = first; i <= last && i < BUCKETS; i++) {
        double from = (double)s->start > i * each ? (double)s->start : i * each;
        double to = (double)s->end < (i + 1) * each ? (double)s->end : (i + 1) * each;
        use[i] += to > from ? amount * (to - from) / each : 0;
    }
}

static void chart(struct picture *p, int which, double all)
{
    double *use = rwf_xcalloc(BUCKETS, sizeof(*use));
    if (all <= 0)
        goto out;
    for (size_t i = 0; i < p->r->span_count; i++) {
        const struct simulate_span *s = &p->r->spans[i];
        const struct plan_policy *policy = step_of(p, s->step)->policy;
        double amount = which == CPU   ? policy->cpu
                        : which == GPU ? policy->gpu
                                       : (double)policy->memory;
        if (amount > 0)
            spread(use, p->r->makespan, s, amount);
    }
    rwf_str_addf(p->out, "<polyline fill=\"none\" stroke=\"%s\" points=\"",
                 resources[which].colour);
    for (int i = 0; i < BUCKETS; i++)
        rwf_str_addf(p->out, "%.1f,%.1f ", LEFT + (i + 0.5) * WIDTH / BUCKETS,
                     40 + CHART - use[i] / all * CHART);
    rwf_str_add(p->out, "\"/>\n");
out:
    free(use);
}

static void charts(struct picture *p)
{
    char text[RWF_UNITS_LEN];
    const struct schedule_totals *t = &p->r->totals;
    const double all[RESOURCES] = {t->cpu, t->gpu, t->memory};
    const double used[RESOURCES] = {p->r->used_cpu, p->r->used_gpu, p->r->used_memory};
    rwf_str_addf(p->out,
                 "<rect x=\"%d\" y=\"40\" width=\"%d\" height=\"%d\" fill=\"#f8fafc\" "
                 "stroke=\"#cbd5e1\"/>\n",
                 LEFT, WIDTH, CHART);
    for (int i = 0; i < RESOURCES; i++) {
        if (all[i] <= 0)
            continue;
        rwf_str_addf(p->out, "<text x=\"8\" y=\"%d\" fill=\"%s\">%s %.1f %%</text>\n",
                     60 + 18 * i, resources[i].colour, resources[i].name,
                     used[i] * 100);
        chart(p, i, all[i]);
    }
    rwf_str_addf(p->out,
                 "<text x=\"%d\" y=\"%d\">0</text>\n<text x=\"%d\" y=\"%d\" "
                 "text-anchor=\"end\">%s</text>\n",
                 LEFT, 40 + CHART + 14, LEFT + WIDTH, 40 + CHART + 14,
                 rwf_duration_format(p->r->makespan, text));
}

/* --- lanes --- */

struct lane {
    int64_t *free_at; /* by row */
    size_t rows, cap;
    int y;
};

static int by_start(const void *a, const void *b)
{
    const struct simulate_span *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return (x->step > y->step) - (x->step < y->step);
}

static size_t row_for(struct lane *lane, const struct simulate_span *s)
{
    size_t row = 0;
    while (row < lane->rows && lane->free_at[row] > s->start)
        row++;
    if (row == lane->rows)
        (void)RWF_PUSH(lane->free_at, lane->rows, lane->cap);
    lane->free_at[row] = s->end;
    return row;
}

static const char *colour_of(const struct picture *p, const struct simulate_span *s)
{
    static const char *const palette[] = {"#60a5fa", "#34d399", "#fbbf24", "#a78bfa",
                                          "#f472b6", "#22d3ee", "#a3e635", "#fb923c"};
    uint32_t hash = 2166136261u;
    if (s->outcome != SIMULATE_GOOD)
        return s->outcome == SIMULATE_FAILED ? "#dc2626" : "#94a3b8";
    for (const char *c = step_of(p, s->step)->entry; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    return palette[hash % RWF_COUNT(palette)];
}

static void bar(struct picture *p, const struct simulate_span *s, int y)
{
    static const char *const outcomes[] = {"", ", failed", ", made room"};
    char text[RWF_UNITS_LEN];
    double width = (double)(s->end - s->start) * p->scale;
    rwf_str_addf(p->out,
                 "<rect x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\" fill=\"%s\">"
                 "<title>",
                 x_of(p, s->start), y, width > 0.5 ? width : 0.5, ROW - 1,
                 colour_of(p, s));
    rwf_str_add_xml(p->out, step_of(p, s->step)->address);
    rwf_str_addf(p->out, ", %s%s", rwf_duration_format(s->end - s->start, text),
                 outcomes[s->outcome]);
    for (uint64_t left = s->gpus; left != 0; left &= left - 1)
        rwf_str_addf(p->out, ", gpu %d", __builtin_ctzll(left));
    rwf_str_add(p->out, "</title></rect>\n");
}

static void lane_label(struct picture *p, uint32_t node, int y)
{
    struct schedule_node_view v;
    schedule_cluster_view(p->o->cluster, node, &v);
    rwf_str_addf(p->out, "<text x=\"8\" y=\"%d\">", y + ROW);
    rwf_str_add_xml(p->out, v.name != NULL ? v.name : "?");
    rwf_str_add(p->out, "</text>\n");
}

/* Returns the height of all. */
static int lanes(struct picture *p, int y)
{
    uint32_t count = schedule_cluster_count(p->o->cluster);
    struct simulate_span *spans = p->r->spans;
    struct lane *list = rwf_xcalloc((size_t)count + 1, sizeof(*list));
    size_t *rows = rwf_xcalloc(p->r->span_count + 1, sizeof(*rows));
    qsort(spans, p->r->span_count, sizeof(*spans), by_start);
    for (size_t i = 0; i < p->r->span_count; i++)
        rows[i] = row_for(&list[spans[i].node], &spans[i]);
    for (uint32_t n = 0; n < count; n++) {
        list[n].y = y;
        lane_label(p, n, y);
        y += (int)(list[n].rows > 0 ? list[n].rows : 1) * ROW + 6;
    }
    for (size_t i = 0; i < p->r->span_count; i++)
        bar(p, &spans[i], list[spans[i].node].y + (int)rows[i] * ROW);
    for (uint32_t n = 0; n < count; n++)
        free(list[n].free_at);
    free(list);
    free(rows);
    return y;
}

void simulate_svg(const struct simulate_options *o, const struct simulate_result *r,
                  const char *title, struct rwf_str *out)
{
    struct rwf_str body = {NULL, 0, 0};
    struct picture p = {o, r, &body,
                        r->makespan > 0 ? (double)WIDTH / (double)r->makespan : 0};
    int height = 40 + CHART + 30;
    charts(&p);
    if (schedule_cluster_count(o->cluster) <= MOST_LANES && r->span_count <= MOST_SPANS)
        height = lanes(&p, height);
    rwf_str_addf(out,
                 "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                 "font-family=\"sans-serif\" font-size=\"11\">\n"
                 "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
                 "<text x=\"8\" y=\"22\" font-size=\"14\">",
                 LEFT + WIDTH + 20, height + 10);
    rwf_str_add_xml(out, title);
    rwf_str_add(out, "</text>\n");
    rwf_str_addn(out, body.data, body.len);
    rwf_str_add(out, "</svg>\n");
    rwf_str_free(&body);
}
