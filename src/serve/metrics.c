/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "serve/metrics.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define STEPS SERVE_HISTOGRAM_STEPS

/* --- histograms --- */

static size_t step_of(uint64_t v)
{
    if (v < STEPS)
        return (size_t)v;
    int top = 63 - __builtin_clzll(v);
    size_t at = (size_t)(top - 2) * STEPS + ((v >> (top - 3)) & (STEPS - 1));
    return at < SERVE_HISTOGRAM_SIZE ? at : SERVE_HISTOGRAM_SIZE - 1;
}

/* The first value beyond a step. */
static double step_end(size_t at)
{
    if (at < STEPS)
        return (double)at + 1;
    int top = (int)(at / STEPS) + 2;
    return ldexp((double)(STEPS + at % STEPS + 1), top - 3);
}

void serve_histogram_add(struct serve_histogram *h, int64_t value)
{
    uint64_t v = value > 0 ? (uint64_t)value : 0;
    h->count++;
    h->sum += (double)v;
    h->steps[step_of(v)]++;
}

double serve_histogram_quantile(const struct serve_histogram *h, double q)
{
    double wanted = q * (double)h->count, seen = 0;
    if (h->count == 0)
        return 0;
    for (size_t i = 0; i < SERVE_HISTOGRAM_SIZE; i++) {
        double n = h->steps[i], begin = i > 0 ? step_end(i - 1) : 0;
        if (n > 0 && seen + n >= wanted)
            return begin + (step_end(i) - begin) * (wanted - seen) / n;
        seen += n;
    }
    return step_end(SERVE_HISTOGRAM_SIZE - 1);
}

uint64_t serve_histogram_below(const struct serve_histogram *h, double value)
{
    uint64_t n = 0;
    /* With the whole step that value begins: sizes of batches are powers of two for the
     * most. */
    for (size_t i = 0; i < SERVE_HISTOGRAM_SIZE; i++)
        n += i == 0 || step_end(i - 1) <= value ? h->steps[i] : 0;
    return n;
}

void serve_metrics_status(struct serve_metrics *m, int code)
{
    size_t i = 0;
    m->requests++;
    m->errors += code >= 500;
    while (i < SERVE_STATUSES - 1 && m->statuses[i].code != code &&
           m->statuses[i].code != 0)
        i++;
    if (m->statuses[i].code == 0)
        m->statuses[i].code = code;
    m->statuses[i].count++;
}

/* --- Prometheus --- */

static const double latency_bounds[] = {1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3,
                                        1e-2, 2.5e-2, 5e-2, 0.1,  0.25,   0.5,
                                        1,    2.5,    5,    10,   30,     60};
static const double batch_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};

/* Names come from recipes: letters, digits, '_' and '-', which need no escapes. */
static void add_labels(struct rwf_str *to, const struct serve_metrics_row *r)
{
    rwf_str_addf(to, "application=\"%s\"", r->app);
    if (r->deployment != NULL)
        rwf_str_addf(to, ",deployment=\"%s\"", r->deployment);
}

static void add_head(struct rwf_str *to, const char *name, const char *type,
                     const char *help)
{
    rwf_str_addf(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_value(struct rwf_str *to, const char *name,
                      const struct serve_metrics_row *r, double value)
{
    rwf_str_addf(to, "%s{", name);
    add_labels(to, r);
    rwf_str_addf(to, "} %.15g\n", value);
}

static void add_histogram(struct rwf_str *to, const char *name,
                          const struct serve_metrics_row *r,
                          const struct serve_histogram *h, const double *bounds,
                          size_t count, double unit)
{
    for (size_t i = 0; i <= count; i++) {
        rwf_str_addf(to, "%s_bucket{", name);
        add_labels(to, r);
        if (i < count)
            rwf_str_addf(
                to, ",le=\"%g\"} %llu\n", bounds[i],
                (unsigned long long)serve_histogram_below(h, bounds[i] * unit));
        else
            rwf_str_addf(to, ",le=\"+Inf\"} %llu\n", (unsigned long long)h->count);
    }
    rwf_str_addf(to, "%s_sum{", name);
    add_labels(to, r);
    rwf_str_addf(to, "} %.9g\n%s_count{", h->sum / unit, name);
    add_labels(to, r);
    rwf_str_addf(to, "} %llu\n", (unsigned long long)h->count);
}

/* A number of a row by the name it has in the text. */
static double number_of(const struct serve_metrics_row *r, int which)
{
    const struct serve_metrics *m = r->m;
    const double numbers[] = {
        (double)m->retries, (double)m->expired, (double)m->refused,
        (double)m->gone,    (double)m->cut,     (double)m->started,
        (double)m->died,    (double)r->queued,  (double)r->ongoing,
        (double)r->wanted,  (double)m->gone,    (double)m->cut,
        (double)r->ongoing};
    return numbers[which];
}

static const struct {
    bool of_app;
    const char *name, *type, *help;
} plain[] = {
    {false, "raywf_serve_retries_total", "counter", "Requests that were asked again"},
    {false, "raywf_serve_timeouts_total", "counter",
     "Requests that passed their deadline (504)"},
    {false, "raywf_serve_refused_total", "counter",
     "Requests that found the queue full (503)"},
    {false, "raywf_serve_abandoned_total", "counter", "Requests whose client was gone"},
    {false, "raywf_serve_cut_total", "counter",
     "Answers that began and were cut short: their replica failed meanwhile"},
    {false, "raywf_serve_replica_starts_total", "counter", "Replicas started"},
    {false, "raywf_serve_replica_deaths_total", "counter", "Replicas that died"},
    {false, "raywf_serve_queue_length", "gauge", "Requests that wait for a replica"},
    {false, "raywf_serve_ongoing_requests", "gauge", "Requests at replicas"},
    {false, "raywf_serve_replicas_wanted", "gauge", "Replicas that there should be"},
    {true, "raywf_serve_application_abandoned_total", "counter",
     "Requests whose client was gone"},
    {true, "raywf_serve_application_cut_total", "counter",
     "Answers that began and were cut short"},
    {true, "raywf_serve_application_ongoing_requests", "gauge",
     "Requests that are being answered"},
};

static bool is_app(const struct serve_metrics_row *r)
{
    return r->deployment == NULL;
}

static void add_statuses(struct rwf_str *to, const char *name,
                         const struct serve_metrics_row *r)
{
    for (size_t i = 0; i < SERVE_STATUSES && r->m->statuses[i].code != 0; i++) {
        rwf_str_addf(to, "%s{", name);
        add_labels(to, r);
        rwf_str_addf(to, ",status=\"%d\"} %llu\n", r->m->statuses[i].code,
                     (unsigned long long)r->m->statuses[i].count);
    }
}

/* What deployments and applications both have, in families of their own. */
static void add_requests(struct rwf_str *to, const struct serve_metrics_row *rows,
                         size_t count, bool of_app)
{
    const char *requests = of_app ? "raywf_serve_application_requests_total"
                                  : "raywf_serve_requests_total";
    const char *duration = of_app ? "raywf_serve_application_request_duration_seconds"
                                  : "raywf_serve_request_duration_seconds";
    add_head(to, requests, "counter",
             of_app ? "Requests that clients got an answer to, by status"
                    : "Requests that the deployment answered, by status");
    for (size_t i = 0; i < count; i++)
        if (is_app(&rows[i]) == of_app)
            add_statuses(to, requests, &rows[i]);
    add_head(to, duration, "histogram",
             of_app ? "From a request's arrival at the front to its answer"
                    : "From a request's arrival at the deployment to its answer");
    for (size_t i = 0; i < count; i++)
        if (is_app(&rows[i]) == of_app)
            add_histogram(to, duration, &rows[i], &rows[i].m->latency, latency_bounds,
                          RWF_COUNT(latency_bounds), 1e9);
}

static void add_states(struct rwf_str *to, const struct serve_metrics_row *r)
{
    const struct {
        const char *name;
        int count;
    } states[] = {
        {"starting", r->starting}, {"healthy", r->healthy}, {"draining", r->draining}};
    for (size_t i = 0; i < RWF_COUNT(states); i++) {
        rwf_str_add(to, "raywf_serve_replicas{");
        add_labels(to, r);
        rwf_str_addf(to, ",state=\"%s\"} %d\n", states[i].name, states[i].count);
    }
}

void serve_metrics_text(struct rwf_str *to, const struct serve_metrics_row *rows,
                        size_t count)
{
    add_requests(to, rows, count, true);
    add_requests(to, rows, count, false);
    add_head(to, "raywf_serve_batch_size", "histogram", "Requests of a batch");
    for (size_t i = 0; i < count; i++)
        if (!is_app(&rows[i]))
            add_histogram(to, "raywf_serve_batch_size", &rows[i], &rows[i].m->batches,
                          batch_bounds, RWF_COUNT(batch_bounds), 1);
    add_head(to, "raywf_serve_replicas", "gauge", "Replicas by state");
    for (size_t i = 0; i < count; i++)
        if (!is_app(&rows[i]))
            add_states(to, &rows[i]);
    for (size_t k = 0; k < RWF_COUNT(plain); k++) {
        add_head(to, plain[k].name, plain[k].type, plain[k].help);
        for (size_t i = 0; i < count; i++)
            if (is_app(&rows[i]) == plain[k].of_app)
                add_value(to, plain[k].name, &rows[i], number_of(&rows[i], (int)k));
    }
}

/* --- JSON --- */

static void set(json_t *o, const char *key, uint64_t value)
{
    json_object_set_new(o, key, json_integer((json_int_t)value));
}

json_t *serve_metrics_json(const struct serve_metrics *m)
{
    json_t *o = json_object(), *latency = json_object(), *statuses = json_object();
    const struct serve_histogram *h = &m->latency;
    static const struct {
        const char *name;
        double q;
    } quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
    set(o, "requests", m->requests);
    set(o, "errors", m->errors);
    set(o, "retries", m->retries);
    set(o, "timeouts", m->expired);
    set(o, "refused", m->refused);
    set(o, "abandoned", m->gone);
    set(o, "cut", m->cut);
    set(o, "replicas_started", m->started);
    set(o, "replicas_died", m->died);
    for (size_t i = 0; i < RWF_COUNT(quantiles); i++)
        json_object_set_new(
            latency, quantiles[i].name,
            json_real(serve_histogram_quantile(h, quantiles[i].q) / 1e6));
    json_object_set_new(latency, "mean",
                        json_real(h->count > 0 ? h->sum / (double)h->count / 1e6 : 0));
    json_object_set_new(o, "latency_ms", latency);
    json_object_set_new(o, "mean_batch_size",
                        json_real(m->batches.count > 0
                                      ? m->batches.sum / (double)m->batches.count
                                      : 0));
    for (size_t i = 0; i < SERVE_STATUSES && m->statuses[i].code != 0; i++) {
        char code[16];
        snprintf(code, sizeof(code), "%d", m->statuses[i].code);
        set(statuses, code, m->statuses[i].count);
    }
    json_object_set_new(o, "statuses", statuses);
    return o;
}
