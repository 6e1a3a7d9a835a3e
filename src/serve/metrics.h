/* SPDX-License-Identifier: Apache-2.0
 *
 * What a deployment counts, and its two renderings: Prometheus' text and JSON. Counting
 * costs a few additions and no memory.
 */
#ifndef RWF_SERVE_METRICS_H
#define RWF_SERVE_METRICS_H
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

/* Values in 8 steps per power of two: within 12.5 % of the truth. */
#define SERVE_HISTOGRAM_STEPS 8
#define SERVE_HISTOGRAM_SIZE (48 * SERVE_HISTOGRAM_STEPS)

struct serve_histogram {
    uint64_t count;
    double sum;
    uint32_t steps[SERVE_HISTOGRAM_SIZE];
};
void serve_histogram_add(struct serve_histogram *h, int64_t value);
/* The value below which q (0 … 1) of all are; 0 without any. */
double serve_histogram_quantile(const struct serve_histogram *h, double q);
/* How many are at most value. */
uint64_t serve_histogram_below(const struct serve_histogram *h, double value);

#define SERVE_STATUSES 24

struct serve_metrics {
    struct {
        int code;
        uint64_t count;
    } statuses[SERVE_STATUSES]; /* the last takes what has no place of its own */
    uint64_t requests, errors, retries, expired, refused, gone;
    uint64_t cut;                   /* answers that ended before they were whole */
    uint64_t started, died;         /* replicas */
    struct serve_histogram latency; /* ns, from the request's arrival to its answer */
    struct serve_histogram batches; /* sizes */
};
void serve_metrics_status(struct serve_metrics *m, int code);

/* One deployment at one moment, or one application as a whole. */
struct serve_metrics_row {
    const char *app, *deployment; /* deployment NULL: the application */
    const struct serve_metrics *m;
    size_t queued, ongoing;
    int wanted, starting, healthy, draining;
};
/* All of them, as Prometheus reads it: raywf_serve_… of deployments and
 * raywf_serve_application_… of applications, so that a sum counts nothing twice. */
void serve_metrics_text(struct rwf_str *to, const struct serve_metrics_row *rows,
                        size_t count);
/* {"requests","errors","latency":{"p50","p99",…}ms,…}; the caller's. */
json_t *serve_metrics_json(const struct serve_metrics *m);

#endif
