/* SPDX-License-Identifier: Apache-2.0
 *
 * The scheduler at work without any: schedule.h, as the engine drives it, against
 * simulated nodes, a virtual clock and durations from a seed. Pure; the real time that
 * decisions took comes from the caller's clock.
 */
#ifndef RWF_SCHEDULE_SIMULATE_H
#define RWF_SCHEDULE_SIMULATE_H
#include "schedule/schedule.h"

enum simulate_kind {
    SIMULATE_FIXED,
    SIMULATE_UNIFORM,
    SIMULATE_EXP,
    SIMULATE_LOGNORMAL
};

/* How long steps take, in ns. */
struct simulate_dist {
    enum simulate_kind kind;
    double a,
        b; /* fixed: a; uniform: a to b; exp: mean a; lognormal: median a, sigma b */
};

/* "10s", "uniform:5s..1m", "exp:30s", "lognormal:30s" or "lognormal:30s,0.5". */
int simulate_dist_parse(const char *text, struct simulate_dist *ret,
                        struct rwf_err *err);

struct simulate_options {
    struct schedule_steps steps;
    struct schedule_cluster *cluster;
    /* By step; NULL: *duration for all. */
    const struct simulate_dist *(*duration_of)(const void *ctx, uint32_t step);
    const void *ctx;
    struct simulate_dist duration;
    double fail_rate; /* of attempts, 0 to 1: they exit after part of their time */
    uint64_t seed;
    int64_t (*clock)(void); /* to time decisions; NULL: they are not timed */
    bool keep_spans;
};

/* One rank of an attempt. */
struct simulate_span {
    uint32_t step, node;
    int64_t start, end;
    uint64_t gpus;
    uint8_t outcome; /* enum simulate_outcome */
};
enum simulate_outcome { SIMULATE_GOOD, SIMULATE_FAILED, SIMULATE_PREEMPTED };

struct simulate_result {
    int64_t makespan; /* ns, virtual */
    size_t steps, succeeded, failed, skipped;
    size_t attempts, retries, preempted;
    struct schedule_totals totals;          /* what there was */
    double used_cpu, used_gpu, used_memory; /* of it, over the makespan: 0 to 1 */
    int64_t wait_mean, wait_p50, wait_p99;  /* from ready to started, ns, virtual */
    size_t decisions;                       /* all kinds */
    int64_t wall;                           /* real ns, all of it */
    int64_t decision_p50, decision_p99;     /* real ns of a placement: see simulate.c */
    size_t most_running;
    struct simulate_span *spans; /* keep_spans: in order of their start */
    size_t span_count, span_cap;
    uint64_t trace; /* a hash over all decisions: the same seed, the same number */
};

/* RWF_E_FIT as schedule_create. */
int simulate_run(const struct simulate_options *o, struct simulate_result *ret,
                 struct rwf_err *err);
void simulate_result_free(struct simulate_result *r);

/* Independent steps with mixed needs, none larger than largest: for a load test. They
 * are ctx of simulate_synthetic_step; simulate_synthetic_free. */
struct simulate_synthetic;
struct simulate_synthetic *
simulate_synthetic_create(uint32_t count, uint64_t seed,
                          const struct schedule_machine *largest);
const struct plan_step *simulate_synthetic_step(const void *ctx, uint32_t step);
void simulate_synthetic_free(struct simulate_synthetic *s);

/* An SVG of a result with spans: use of the cluster over time and, where there are not
 * too many, a lane per node with its steps. */
void simulate_svg(const struct simulate_options *o, const struct simulate_result *r,
                  const char *title, struct rwf_str *out);

#endif
