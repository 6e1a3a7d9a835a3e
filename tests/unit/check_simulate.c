/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps on many nodes: random graphs with gangs, priorities and failures against a
 * model of what is taken; and the simulation that drives the same scheduler.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "schedule/simulate.h"

/* ck_assert tells the parent process each time: too slow for millions. */
#define must(cond)                                                                     \
    do {                                                                               \
        if (!(cond))                                                                   \
            ck_abort_msg("%s", #cond);                                                 \
    } while (0)

static uint64_t random_state;

static uint32_t rnd(uint32_t below)
{
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(random_state >> 33) % below;
}

/* --- steps made here --- */

struct work {
    struct plan_step *steps;
    uint32_t count;
};

static const struct plan_step *step_at(const void *ctx, uint32_t step)
{
    return &((const struct work *)ctx)->steps[step];
}

static struct work work_new(uint32_t count, const struct plan_policy *policy)
{
    struct work w = {rwf_xcalloc(count + 1, sizeof(*w.steps)), count};
    for (uint32_t i = 0; i < count; i++)
        w.steps[i] = (struct plan_step){
            .index = i, .address = "tasks.t", .entry = "tasks.t", .policy = policy};
    return w;
}

static void need(struct work *w, uint32_t step, uint32_t other)
{
    struct plan_step *s = &w->steps[step];
    uint32_t *needs = rwf_xmalloc((s->need_count + 1) * sizeof(*needs));
    if (s->need_count > 0)
        memcpy(needs, s->needs, s->need_count * sizeof(*needs));
    needs[s->need_count++] = other;
    free((void *)s->needs);
    s->needs = needs;
}

static void work_free(struct work *w)
{
    for (uint32_t i = 0; i < w->count; i++)
        free((void *)w->steps[i].needs);
    free(w->steps);
}

static struct schedule_steps steps_of(const struct work *w)
{
    return (struct schedule_steps){.ctx = w, .count = w->count, .at = step_at};
}

static struct schedule_cluster *nodes_new(int count, double cpu, int gpus)
{
    struct schedule_cluster *c = schedule_cluster_create();
    for (int i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%d", i);
        struct schedule_machine m = {
            .name = name, .cpu = cpu, .memory = 1000, .gpu_count = gpus};
        schedule_cluster_add(c, &m);
    }
    return c;
}

/* --- random graphs on many nodes --- */

#define POLICIES 7
#define NODES 5
#define CPU 400
#define GPUS 2
#define RANKS 4

struct model {
    struct work work;
    struct plan_policy policies[POLICIES];
    struct schedule_cluster *c;
    struct schedule *s;
    int cpu[NODES], gpu[NODES][GPUS]; /* used, in hundredths */
    int64_t now, *ends;
    uint64_t trace;
    size_t preempted;
};

static void random_policies(struct model *m)
{
    static const int gpus[] = {0, 0, 0, 25, 50, 100, 200};
    for (int i = 0; i < POLICIES; i++) {
        struct plan_policy *p = &m->policies[i];
        *p = (struct plan_policy){.cpu = 0.5 * rnd(7),
                                  .gpu = gpus[rnd(7)] / 100.0,
                                  .memory = rnd(200),
                                  .retry_max = (int)rnd(3),
                                  .retry_on = PLAN_CAUSE_EXIT,
                                  .backoff_initial = 1 + rnd(30),
                                  .backoff_factor = 1,
                                  .ranks = rnd(3) == 0 ? (int)rnd(RANKS) + 1 : 1,
                                  .ranks_min = rnd(2) == 0 ? (int)rnd(RANKS) + 1 : 0,
                                  .priority = (int)rnd(3),
                                  .placement = (enum plan_placement)rnd(4),
                                  .max_parallel = rnd(6) == 0 ? 2 : 0};
        if (p->placement == PLAN_SAME_NODE && p->ranks > 1) { /* must fit at all */
            p->cpu = p->cpu > 1 ? 1 : p->cpu;
            p->gpu = p->gpu >= 1 ? 0.5 : p->gpu;
        }
    }
}

static void account(struct model *m, uint32_t step, int sign)
{
    const struct plan_policy *p = m->work.steps[step].policy;
    int cpu = (int)(p->cpu * 100 + 0.5), gpu = (int)(p->gpu * 100 + 0.5);
    uint32_t ranks = schedule_ranks(m->s, step), different = 0, seen = 0;
    must(ranks == (uint32_t)p->ranks || ranks >= (uint32_t)p->ranks_min);
    for (uint32_t r = 0; r < ranks; r++) {
        struct schedule_grant g = schedule_rank(m->s, step, r);
        must(g.node < NODES);
        different += !(seen & 1u << g.node);
        seen |= 1u << g.node;
        m->cpu[g.node] += sign * cpu;
        must(m->cpu[g.node] >= 0 && m->cpu[g.node] <= CPU);
        int cards = 0;
        for (int i = 0; i < GPUS; i++) {
            if (!(g.gpus & 1ULL << i))
                continue;
            cards++;
            m->gpu[g.node][i] += sign * (gpu < 100 ? gpu : 100);
            must(m->gpu[g.node][i] >= 0 && m->gpu[g.node][i] <= 100);
        }
        must(cards == (gpu == 0 ? 0 : gpu < 100 ? 1 : gpu / 100));
    }
    if (p->placement == PLAN_SAME_NODE)
        must(different == 1);
    if (p->placement == PLAN_DIFFERENT_NODES)
        must(different == ranks);
}

static void stop_running(struct model *m, uint32_t step)
{
    account(m, step, -1);
    m->ends[step] = 0;
}

static void on_preempt(struct model *m, const struct schedule_decision *d)
{
    const struct plan_policy *p = m->work.steps[d->step].policy;
    must(schedule_state(m->s, d->step) == STEP_RUNNING);
    must(p->retry_max > 0);
    must(d->because == PLAN_NO_STEP ||
         m->work.steps[d->because].policy->priority > p->priority);
    m->preempted++;
    if (rnd(4) == 0)
        return; /* it ends by itself, before it heard of it */
    int attempt = schedule_attempt(m->s, d->step);
    int64_t delay;
    bool retried = schedule_would_retry(m->s, d->step, PLAN_CAUSE_EXIT, &delay);
    stop_running(m, d->step);
    schedule_event(m->s, d->step, SCHEDULE_EVENT_PREEMPTED, 0, m->now);
    must(schedule_state(m->s, d->step) == STEP_QUEUED);
    must(schedule_attempt(m->s, d->step) == attempt);
    (void)retried;
}

static bool end_one(struct model *m, int64_t wake)
{
    uint32_t step = UINT32_MAX;
    for (uint32_t i = 0; i < m->work.count; i++)
        if (m->ends[i] > 0 && (step == UINT32_MAX || m->ends[i] < m->ends[step]))
            step = i;
    if (step == UINT32_MAX || wake < m->ends[step]) {
        m->now = wake;
        return wake != INT64_MAX;
    }
    m->now = m->ends[step];
    stop_running(m, step);
    bool fails = rnd(8) == 0;
    schedule_event(m->s, step, fails ? SCHEDULE_EVENT_FAILED : SCHEDULE_EVENT_SUCCEEDED,
                   PLAN_CAUSE_EXIT, m->now);
    return true;
}

static void drive(struct model *m)
{
    for (;;) {
        int64_t wake;
        struct schedule_decision d = schedule_next(m->s, m->now, &wake);
        m->trace =
            (m->trace ^ (d.verb * 1000003u + d.step + d.node * 31u)) * 1099511628211ULL;
        switch (d.verb) {
        case SCHEDULE_PREPARE:
            schedule_event(m->s, d.step,
                           rnd(10) == 0 ? SCHEDULE_EVENT_HIT : SCHEDULE_EVENT_MISS, 0,
                           m->now);
            break;
        case SCHEDULE_START:
            account(m, d.step, 1);
            if (rnd(25) == 0) {
                account(m, d.step, -1);
                schedule_defer(m->s, d.step, m->now, 5);
                break;
            }
            schedule_event(m->s, d.step, SCHEDULE_EVENT_START, 0, m->now);
            m->ends[d.step] = m->now + 1 + rnd(80);
            break;
        case SCHEDULE_PREEMPT:
            on_preempt(m, &d);
            break;
        case SCHEDULE_SKIP:
            schedule_event(m->s, d.step, SCHEDULE_EVENT_SKIP, 0, m->now);
            break;
        case SCHEDULE_NONE:
            if (!end_one(m, wake))
                ck_abort_msg("a step that is ready never runs");
            break;
        case SCHEDULE_DONE:
            return;
        }
    }
}

static void random_needs(struct model *m)
{
    for (uint32_t i = 1; i < m->work.count; i++) {
        m->work.steps[i].policy = &m->policies[rnd(POLICIES)];
        uint32_t other = rnd(i);
        if (rnd(3) == 0)
            need(&m->work, i, other);
    }
}

static uint64_t play(unsigned seed, size_t *ret_preempted)
{
    struct model m = {.now = 1};
    random_state = seed * 7727u + 1;
    random_policies(&m);
    m.work = work_new(30 + rnd(60), &m.policies[0]);
    random_needs(&m);
    m.ends = rwf_xcalloc(m.work.count, sizeof(*m.ends));
    m.c = nodes_new(NODES, CPU / 100.0, GPUS);
    struct schedule_steps steps = steps_of(&m.work);
    struct rwf_err err = RWF_ERR_INIT;
    m.s = schedule_create_over(&steps, m.c, &err);
    if (m.s == NULL) /* a gang that these nodes cannot hold */
        must(err.code == RWF_E_FIT && strstr(err.text, "missing") != NULL);
    else
        drive(&m);
    for (uint32_t i = 0; m.s != NULL && i < m.work.count; i++)
        must(schedule_state_final(schedule_state(m.s, i)));
    schedule_destroy(m.s);
    struct schedule_totals t;
    schedule_cluster_totals(m.c, &t);
    ck_assert_double_eq_tol(t.cpu_used, 0, 1e-9);
    ck_assert_double_eq_tol(t.gpu_used, 0, 1e-9);
    schedule_cluster_destroy(m.c);
    work_free(&m.work);
    free(m.ends);
    *ret_preempted += m.preempted;
    return m.trace;
}

START_TEST(random_graphs_on_many_nodes)
{
    size_t preempted = 0;
    for (unsigned seed = 0; seed < 150; seed++) {
        uint64_t trace = play((unsigned)_i * 150 + seed, &preempted);
        if (seed % 10 == 0)
            ck_assert_uint_eq(trace, play((unsigned)_i * 150 + seed, &preempted));
    }
    ck_assert_uint_gt(preempted, 0); /* or nothing was tested */
}
END_TEST

/* --- small cases --- */

static struct schedule_decision next_start(struct schedule *s)
{
    for (;;) {
        int64_t wake;
        struct schedule_decision d = schedule_next(s, 0, &wake);
        if (d.verb != SCHEDULE_PREPARE)
            return d;
        schedule_event(s, d.step, SCHEDULE_EVENT_MISS, 0, 0);
    }
}

START_TEST(higher_priority_starts_first_and_makes_room)
{
    struct plan_policy low = {.cpu = 2, .retry_max = 1, .retry_on = PLAN_CAUSE_EXIT},
                       fixed = {.cpu = 2}, high = {.cpu = 4, .priority = 1};
    struct work w = work_new(4, &low);
    w.steps[1].policy = &fixed; /* may not be retried: is left alone */
    w.steps[3].policy = &high;
    need(&w, 3, 2);
    struct schedule_cluster *c = nodes_new(2, 4, 0);
    struct schedule_steps steps = steps_of(&w);
    struct schedule *s = schedule_create_over(&steps, c, NULL);
    /* node 0: steps 0 and 1; node 1: step 2, and later nothing else */
    uint32_t node[3];
    for (uint32_t i = 0; i < 3; i++) {
        struct schedule_decision d = next_start(s);
        ck_assert_int_eq(d.verb, SCHEDULE_START);
        ck_assert_uint_eq(d.step, i);
        node[i] = d.node;
        schedule_event(s, i, SCHEDULE_EVENT_START, 0, 0);
    }
    ck_assert_uint_eq(node[0], node[1]);
    ck_assert_uint_ne(node[0], node[2]);
    schedule_event(s, 2, SCHEDULE_EVENT_SUCCEEDED, 0, 0);
    struct schedule_decision d = next_start(s);
    ck_assert_int_eq(d.verb, SCHEDULE_START);
    ck_assert_uint_eq(d.step, 3);
    ck_assert_uint_eq(d.node, node[2]);
    schedule_destroy(s);
    work_free(&w);
    schedule_cluster_destroy(c);

    /* one node: what may be retried ends, and runs again afterwards */
    w = work_new(3, &low);
    w.steps[2].policy = &high;
    need(&w, 2, 1);
    c = nodes_new(1, 4, 0);
    steps = steps_of(&w);
    s = schedule_create_over(&steps, c, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        ck_assert_uint_eq(next_start(s).step, i);
        schedule_event(s, i, SCHEDULE_EVENT_START, 0, 0);
    }
    schedule_event(s, 1, SCHEDULE_EVENT_SUCCEEDED, 0, 0);
    d = next_start(s);
    ck_assert_int_eq(d.verb, SCHEDULE_PREEMPT);
    ck_assert_uint_eq(d.step, 0);
    ck_assert_uint_eq(d.because, 2);
    ck_assert_int_eq(next_start(s).verb, SCHEDULE_NONE);
    char *why = schedule_why(s, 2, 0);
    ck_assert_ptr_nonnull(strstr(why, "1 of lower priority ends for it"));
    free(why);
    schedule_event(s, 0, SCHEDULE_EVENT_PREEMPTED, 0, 0);
    ck_assert_uint_eq(next_start(s).step, 2);
    schedule_event(s, 2, SCHEDULE_EVENT_START, 0, 0);
    ck_assert_int_eq(next_start(s).verb, SCHEDULE_NONE);
    schedule_event(s, 2, SCHEDULE_EVENT_SUCCEEDED, 0, 0);
    d = next_start(s);
    ck_assert_uint_eq(d.step, 0);
    ck_assert_int_eq(d.attempt, 2);
    int64_t delay;
    schedule_event(s, 0, SCHEDULE_EVENT_START, 0, 0);
    ck_assert(schedule_would_retry(s, 0, PLAN_CAUSE_EXIT, &delay)); /* still its one */
    schedule_destroy(s);
    work_free(&w);
    schedule_cluster_destroy(c);
}
END_TEST

START_TEST(a_gang_is_not_starved_by_singles)
{
    struct plan_policy one = {.cpu = 1},
                       gang = {.cpu = 4, .ranks = 3, .placement = PLAN_DIFFERENT_NODES};
    struct work w = work_new(4000, &one);
    w.steps[20].policy = &gang;
    struct schedule_cluster *c = nodes_new(3, 4, 0);
    struct schedule_steps steps = steps_of(&w);
    struct schedule *s = schedule_create_over(&steps, c, NULL);
    uint32_t running[16], before = 0;
    size_t count = 0;
    while (schedule_state(s, 20) != STEP_RUNNING) {
        struct schedule_decision d = next_start(s);
        if (d.verb == SCHEDULE_START) {
            schedule_event(s, d.step, SCHEDULE_EVENT_START, 0, 0);
            running[count++] = d.step;
            ck_assert_uint_eq(d.ranks, d.step == 20 ? 3 : 1);
        } else {
            schedule_event(s, running[0], SCHEDULE_EVENT_SUCCEEDED, 0, 0);
            memmove(running, running + 1, --count * sizeof(running[0]));
            ck_assert_uint_lt(before++, 300);
        }
    }
    schedule_destroy(s);
    work_free(&w);
    schedule_cluster_destroy(c);
}
END_TEST

/* On three nodes of 4 cores each, of which one who stays has some. */
static const struct {
    int most, least;
    double each, taken; /* cores */
    enum plan_placement placement;
    uint32_t gets; /* 0: it waits */
} ranges[] = {
    {8, 2, 1, 0, PLAN_PACK, 8},  {20, 2, 1, 0, PLAN_PACK, 12},
    {20, 2, 1, 4, PLAN_PACK, 8}, {20, 9, 1, 4, PLAN_PACK, 0},
    {20, 2, 3, 0, PLAN_PACK, 3}, {20, 3, 3, 4, PLAN_PACK, 0},
    {20, 1, 3, 4, PLAN_PACK, 2}, {9, 2, 1, 0, PLAN_DIFFERENT_NODES, 3},
    {9, 1, 2, 0, PLAN_SAME_NODE, 2}, {4, 4, 1, 0, PLAN_SPREAD, 4},
    {4, 1, 4, 4, PLAN_SPREAD, 2},
};

START_TEST(a_gang_takes_what_there_is_room_for)
{
    struct plan_policy one = {.cpu = ranges[_i].taken},
                       gang = {.cpu = ranges[_i].each,
                               .ranks = ranges[_i].most,
                               .ranks_min = ranges[_i].least,
                               .placement = ranges[_i].placement};
    struct work w = work_new(2, &one);
    struct schedule_cluster *c = nodes_new(3, 4, 0);
    struct schedule_steps steps = steps_of(&w);
    w.steps[1].policy = &gang;
    struct schedule *s = schedule_create_over(&steps, c, NULL);
    struct schedule_decision d = next_start(s);
    ck_assert_uint_eq(d.step, 0);
    schedule_event(s, 0, SCHEDULE_EVENT_START, 0, 0);
    d = next_start(s);
    ck_assert_int_eq(d.verb, ranges[_i].gets > 0 ? SCHEDULE_START : SCHEDULE_NONE);
    if (ranges[_i].gets > 0) {
        ck_assert_uint_eq(d.ranks, ranges[_i].gets);
        ck_assert_uint_eq(schedule_ranks(s, 1), ranges[_i].gets);
        /* Fewer, if somebody knows better; and all again at the next attempt. */
        bool fewer = schedule_fewer(s, 1);
        ck_assert_int_eq(fewer, ranges[_i].gets > (uint32_t)ranges[_i].least);
        schedule_defer(s, 1, 0, 0);
        d = next_start(s);
        ck_assert_uint_eq(d.step, 1);
        ck_assert(fewer ? d.ranks < ranges[_i].gets : d.ranks == ranges[_i].gets);
        schedule_event(s, 1, SCHEDULE_EVENT_START, 0, 0);
        schedule_event(s, 0, SCHEDULE_EVENT_SUCCEEDED, 0, 0);
    }
    schedule_destroy(s);
    work_free(&w);
    schedule_cluster_destroy(c);
}
END_TEST

START_TEST(who_trains_together_is_near)
{
    struct plan_policy near = {.cpu = 1, .ranks = 2 + _i * 3, .near = true,
                               .placement = PLAN_SAME_NODE};
    struct work w = work_new(1, &near);
    struct schedule_cluster *c = nodes_new(3, 4, 0);
    struct schedule_steps steps = steps_of(&w);
    struct schedule *s = schedule_create_over(&steps, c, NULL);
    struct schedule_decision d = next_start(s);
    ck_assert_int_eq(d.verb, SCHEDULE_START);
    ck_assert_uint_eq(d.ranks, 2 + (uint32_t)_i * 3);
    bool one = true;
    for (uint32_t rank = 1; rank < d.ranks; rank++)
        one &= schedule_rank(s, 0, rank).node == schedule_rank(s, 0, 0).node;
    ck_assert_int_eq(one, _i == 0); /* a node holds 4 */
    ck_assert_int_eq(schedule_placement(s, 0), _i == 0 ? PLAN_SAME_NODE : PLAN_PACK);
    schedule_destroy(s);
    work_free(&w);
    schedule_cluster_destroy(c);
}
END_TEST

static const struct {
    struct plan_policy policy;
    const char *says;
} misfits[] = {
    {{.gpu = 4}, "asks for 4 gpu, the nearest of 3 nodes, n0, has 2 (2 missing)"},
    {{.cpu = 1, .ranks = 4, .placement = PLAN_DIFFERENT_NODES},
     "asks for 4 ranks on different nodes, only 3 of 3 nodes can hold one (1 missing)"},
    {{.cpu = 2, .ranks = 3, .placement = PLAN_SAME_NODE},
     "asks for 3 ranks on the same node, the one that holds most, n0, holds 2"},
    {{.gpu = 1, .ranks = 7}, "asks for 7 ranks, 3 nodes hold 6 (1 missing)"},
    {{.cpu = 1,
      .label_keys = (const char *[]){"zone"},
      .label_values = (const char *[]){"b"},
      .label_count = 1},
     "asks for a node with the label zone: b, the nearest of 3 nodes, n0, has no "
     "label"},
};

START_TEST(says_which_node_comes_nearest)
{
    struct work w = work_new(1, &misfits[_i].policy);
    struct schedule_cluster *c = nodes_new(3, 4, 2);
    struct schedule_steps steps = steps_of(&w);
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_ptr_null(schedule_create_over(&steps, c, &err));
    ck_assert_int_eq(err.code, RWF_E_FIT);
    ck_assert_msg(strstr(err.text, misfits[_i].says) != NULL, "%s", err.text);
    work_free(&w);
    schedule_cluster_destroy(c);
}
END_TEST

/* --- the simulation --- */

START_TEST(fixed_durations_give_known_sums)
{
    struct plan_policy one = {.cpu = 1};
    struct work w = work_new(40, &one);
    struct schedule_cluster *c = nodes_new(2, 4, 0);
    struct simulate_options o = {.steps = steps_of(&w),
                                 .cluster = c,
                                 .duration = {SIMULATE_FIXED, 10e9, 0},
                                 .keep_spans = true};
    struct simulate_result r;
    ck_assert_int_eq(simulate_run(&o, &r, NULL), 0);
    ck_assert_int_eq(r.makespan, 50 * RWF_NS_PER_S); /* 40 of 10 s, 8 at once */
    ck_assert_uint_eq(r.succeeded, 40);
    ck_assert_uint_eq(r.most_running, 8);
    ck_assert_double_eq_tol(r.used_cpu, 1, 1e-9);
    ck_assert_int_eq(r.wait_mean, 20 * RWF_NS_PER_S);
    ck_assert_int_eq(r.wait_p99, 40 * RWF_NS_PER_S);
    ck_assert_uint_eq(r.span_count, 40);
    struct rwf_str svg = {NULL, 0, 0};
    simulate_svg(&o, &r, "a <test>", &svg);
    size_t bars = 0;
    for (const char *at = svg.data; (at = strstr(at, "<title>")) != NULL; at++)
        bars++;
    ck_assert_uint_eq(bars, 40);
    ck_assert_ptr_nonnull(strstr(svg.data, "a &lt;test&gt;"));
    rwf_str_free(&svg);
    simulate_result_free(&r);
    work_free(&w);
    schedule_cluster_destroy(c);
}
END_TEST

START_TEST(failures_are_retried_and_skip_what_needs_them)
{
    struct plan_policy retried = {.cpu = 1,
                                  .retry_max = 2,
                                  .retry_on = PLAN_CAUSE_EXIT,
                                  .backoff_initial = 1,
                                  .backoff_factor = 1};
    struct work w = work_new(2, &retried);
    need(&w, 1, 0);
    struct schedule_cluster *c = nodes_new(1, 4, 0);
    struct simulate_options o = {.steps = steps_of(&w),
                                 .cluster = c,
                                 .fail_rate = 1,
                                 .duration = {SIMULATE_FIXED, 10e9, 0}};
    struct simulate_result r;
    ck_assert_int_eq(simulate_run(&o, &r, NULL), 0);
    ck_assert_uint_eq(r.attempts, 3);
    ck_assert_uint_eq(r.retries, 2);
    ck_assert_uint_eq(r.failed, 1);
    ck_assert_uint_eq(r.skipped, 1);
    simulate_result_free(&r);
    work_free(&w);
    schedule_cluster_destroy(c);
}
END_TEST

static uint64_t trace_of(uint64_t seed)
{
    struct schedule_cluster *c = nodes_new(50, 64, 8);
    struct schedule_machine largest = {.cpu = 64, .gpu_count = 8};
    struct simulate_synthetic *s = simulate_synthetic_create(5000, 3, &largest);
    struct simulate_options o = {.steps = {NULL, s, 5000, simulate_synthetic_step},
                                 .cluster = c,
                                 .fail_rate = 0.05,
                                 .seed = seed,
                                 .duration = {SIMULATE_LOGNORMAL, 10e9, 0.7}};
    struct simulate_result r;
    struct schedule_totals t;
    ck_assert_int_eq(simulate_run(&o, &r, NULL), 0);
    ck_assert_uint_eq(r.succeeded + r.failed, 5000);
    ck_assert_uint_gt(r.retries, 0);
    ck_assert_double_le(r.used_cpu, 1);
    ck_assert_double_le(r.used_gpu, 1);
    ck_assert_double_gt(r.used_gpu, 0.1);
    schedule_cluster_totals(c, &t);
    ck_assert_double_eq_tol(t.cpu_used, 0, 1e-9);
    uint64_t trace = r.trace;
    simulate_result_free(&r);
    simulate_synthetic_free(s);
    schedule_cluster_destroy(c);
    return trace;
}

START_TEST(a_seed_is_a_simulation)
{
    uint64_t first = trace_of(1);
    ck_assert_uint_eq(first, trace_of(1));
    ck_assert_uint_ne(first, trace_of(2));
}
END_TEST

static const struct {
    const char *text;
    enum simulate_kind kind;
    double a, b;
} dists[] = {
    {"10s", SIMULATE_FIXED, 10e9, 1},
    {"uniform:1s..2m", SIMULATE_UNIFORM, 1e9, 120e9},
    {"exp:500ms", SIMULATE_EXP, 5e8, 1},
    {"lognormal:1m", SIMULATE_LOGNORMAL, 60e9, 1},
    {"lognormal:1m,0.25", SIMULATE_LOGNORMAL, 60e9, 0.25},
};
static const char *const no_dists[] = {"",
                                       "10",
                                       "normal:1s",
                                       "uniform:1s",
                                       "uniform:2s..1s",
                                       "exp:",
                                       "exp:-1s",
                                       "lognormal:1m,x",
                                       "lognormal:1m,-1",
                                       "uniform:..1s",
                                       "uniform:1s..",
                                       "lognormal:1m,"};

START_TEST(durations_are_read)
{
    struct simulate_dist d;
    struct rwf_err err = RWF_ERR_INIT;
    for (size_t i = 0; i < RWF_COUNT(dists); i++) {
        ck_assert_int_eq(simulate_dist_parse(dists[i].text, &d, &err), 0);
        ck_assert_int_eq(d.kind, dists[i].kind);
        ck_assert_double_eq_tol(d.a, dists[i].a, 1e-3);
        ck_assert_double_eq_tol(d.b, dists[i].b, 1e-3);
    }
    for (size_t i = 0; i < RWF_COUNT(no_dists); i++) {
        ck_assert_msg(simulate_dist_parse(no_dists[i], &d, &err) == -1, "%s",
                      no_dists[i]);
        ck_assert_int_eq(err.code, RWF_E_USAGE);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("simulate");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, random_graphs_on_many_nodes, 0, 10);
    tcase_add_test(tc, higher_priority_starts_first_and_makes_room);
    tcase_add_test(tc, a_gang_is_not_starved_by_singles);
    tcase_add_loop_test(tc, a_gang_takes_what_there_is_room_for, 0, RWF_COUNT(ranges));
    tcase_add_loop_test(tc, who_trains_together_is_near, 0, 2);
    tcase_add_loop_test(tc, says_which_node_comes_nearest, 0, (int)RWF_COUNT(misfits));
    tcase_add_test(tc, fixed_durations_give_known_sums);
    tcase_add_test(tc, failures_are_retried_and_skip_what_needs_them);
    tcase_add_test(tc, a_seed_is_a_simulation);
    tcase_add_test(tc, durations_are_read);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
