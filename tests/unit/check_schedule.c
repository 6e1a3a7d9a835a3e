/* SPDX-License-Identifier: Apache-2.0
 *
 * The scheduler against graphs made here, a clock made here, and failures from a seed.
 * The few functions of plan/ and recipe/ that it calls are defined below, so that
 * nothing but the scheduler is under test.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "schedule/schedule.h"

struct plan_graph {
    struct plan_step *steps;
    size_t count;
};

static struct recipe_node body_node = {.span = {0, 7, 3, 9, 1}};

size_t plan_graph_count(const struct plan_graph *g)
{
    return g->count;
}

const struct plan_step *plan_graph_step(const struct plan_graph *g, uint32_t index)
{
    return &g->steps[index];
}

const char *plan_placement_name(enum plan_placement placement)
{
    (void)placement;
    return "pack";
}

const struct recipe *plan_graph_recipe(const struct plan_graph *g)
{
    (void)g;
    return NULL;
}

const struct recipe_sources *recipe_sources(const struct recipe *r)
{
    (void)r;
    return NULL;
}

struct recipe_node *recipe_at(const struct recipe_node *node, const char *path)
{
    (void)node;
    (void)path;
    return NULL;
}

char *recipe_where(const struct recipe_sources *s, struct recipe_span span)
{
    (void)s;
    return rwf_xasprintf("r.yaml:%u:%u", span.line, span.col);
}

/* --- graphs --- */

static uint64_t random_state;

static uint32_t rnd(uint32_t below)
{
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(random_state >> 33) % below;
}

static struct plan_graph *graph_new(size_t count, const struct plan_policy *policy)
{
    struct plan_graph *g = rwf_xcalloc(1, sizeof(*g));
    g->steps = rwf_xcalloc(count + 1, sizeof(*g->steps));
    g->count = count;
    for (size_t i = 0; i < count; i++) {
        g->steps[i].index = (uint32_t)i;
        g->steps[i].address = rwf_xasprintf("tasks.t%zu", i);
        g->steps[i].entry = "tasks.t";
        g->steps[i].policy = policy;
        g->steps[i].body = &body_node;
    }
    return g;
}

static void need(struct plan_graph *g, uint32_t step, uint32_t other)
{
    struct plan_step *s = &g->steps[step];
    uint32_t *needs = rwf_xmalloc((s->need_count + 1) * sizeof(*needs));
    if (s->need_count > 0)
        memcpy(needs, s->needs, s->need_count * sizeof(*needs));
    needs[s->need_count++] = other;
    free((void *)s->needs);
    s->needs = needs;
}

static void graph_free(struct plan_graph *g)
{
    for (size_t i = 0; i < g->count; i++) {
        free((void *)g->steps[i].address);
        free((void *)g->steps[i].needs);
    }
    free(g->steps);
    free(g);
}

static const char *const custom_names[] = {"license"};
static const double custom_amounts[] = {3};
static const struct schedule_machine machine = {.name = "here",
                                                .cpu = 4,
                                                .memory = 1000,
                                                .gpu_count = 3,
                                                .custom_names = custom_names,
                                                .custom_amounts = custom_amounts,
                                                .custom_count = 1};

static struct schedule_cluster *cluster;

static struct schedule *create(struct plan_graph *g, struct rwf_err *err)
{
    cluster = schedule_cluster_of(&machine);
    return schedule_create(g, cluster, err);
}

static void destroy(struct schedule *s)
{
    schedule_destroy(s);
    schedule_cluster_destroy(cluster);
}

static struct schedule_decision next(struct schedule *s, int64_t now)
{
    int64_t wake;
    return schedule_next(s, now, &wake);
}

/* --- the state table --- */

START_TEST(every_state_has_a_way_out)
{
    for (int state = 0; state < STEP_STATE_COUNT; state++) {
        int ways = 0;
        for (int event = 0; event < SCHEDULE_EVENT_COUNT; event++)
            ways += schedule_transition(state, event) != STEP_STATE_COUNT;
        ck_assert_int_ge(ways, 1);
        /* what is final leaves only by AGAIN; what is not can be stopped and lost */
        ck_assert_int_eq(schedule_state_final(state), ways == 1);
        ck_assert_int_eq(schedule_state_final(state),
                         schedule_transition(state, SCHEDULE_EVENT_STOP) ==
                             STEP_STATE_COUNT);
        ck_assert_ptr_nonnull(schedule_state_name(state));
    }
    for (int event = 0; event < SCHEDULE_EVENT_COUNT; event++)
        ck_assert_ptr_nonnull(schedule_event_name(event));
}
END_TEST

/* --- small cases --- */

START_TEST(runs_a_chain_in_order)
{
    struct plan_policy policy = {.cpu = 1};
    struct plan_graph *g = graph_new(3, &policy);
    need(g, 1, 0);
    need(g, 2, 1);
    struct schedule *s = create(g, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        struct schedule_decision d = next(s, 0);
        ck_assert_int_eq(d.verb, SCHEDULE_PREPARE);
        ck_assert_uint_eq(d.step, i);
        schedule_event(s, i, SCHEDULE_EVENT_MISS, 0, 0);
        d = next(s, 0);
        ck_assert_int_eq(d.verb, SCHEDULE_START);
        ck_assert_int_eq(d.attempt, 1);
        schedule_event(s, i, SCHEDULE_EVENT_START, 0, 0);
        ck_assert_int_eq(next(s, 0).verb, SCHEDULE_NONE);
        schedule_event(s, i, SCHEDULE_EVENT_SUCCEEDED, 0, 0);
    }
    ck_assert_int_eq(next(s, 0).verb, SCHEDULE_DONE);
    destroy(s);
    graph_free(g);
}
END_TEST

START_TEST(retries_with_growing_delay)
{
    struct plan_policy policy = {.cpu = 1,
                                 .retry_max = 2,
                                 .retry_on = PLAN_CAUSE_EXIT,
                                 .backoff_initial = 100,
                                 .backoff_factor = 3,
                                 .backoff_max = 250};
    struct plan_graph *g = graph_new(1, &policy);
    struct schedule *s = create(g, NULL);
    int64_t wake, delay;
    next(s, 0);
    schedule_event(s, 0, SCHEDULE_EVENT_MISS, 0, 0);
    next(s, 0);
    schedule_event(s, 0, SCHEDULE_EVENT_START, 0, 0);
    ck_assert(!schedule_would_retry(s, 0, PLAN_CAUSE_OOM, &delay));
    ck_assert(!schedule_would_retry(s, 0, PLAN_CAUSE_SIGNAL, &delay));
    schedule_event(s, 0, SCHEDULE_EVENT_FAILED, PLAN_CAUSE_EXIT, 1000);
    ck_assert_int_eq(schedule_next(s, 1000, &wake).verb, SCHEDULE_NONE);
    ck_assert_int_eq(wake, 1100);
    ck_assert_int_eq(schedule_next(s, 1099, &wake).verb, SCHEDULE_NONE);
    struct schedule_decision d = schedule_next(s, 1100, &wake);
    ck_assert_int_eq(d.verb, SCHEDULE_START);
    ck_assert_int_eq(d.attempt, 2);
    schedule_event(s, 0, SCHEDULE_EVENT_START, 0, 1100);
    ck_assert(schedule_would_retry(s, 0, PLAN_CAUSE_EXIT, &delay));
    ck_assert_int_eq(delay, 250);
    schedule_event(s, 0, SCHEDULE_EVENT_FAILED, PLAN_CAUSE_EXIT, 2000);
    ck_assert_int_eq(next(s, 2250).attempt, 3);
    schedule_event(s, 0, SCHEDULE_EVENT_START, 0, 2250);
    ck_assert(!schedule_would_retry(s, 0, PLAN_CAUSE_EXIT, &delay));
    schedule_event(s, 0, SCHEDULE_EVENT_FAILED, PLAN_CAUSE_EXIT, 3000);
    ck_assert_int_eq(schedule_state(s, 0), STEP_FAILED);
    ck_assert_int_eq(next(s, 3000).verb, SCHEDULE_DONE);
    destroy(s);
    graph_free(g);
}
END_TEST

START_TEST(a_lost_node_costs_no_attempt)
{
    struct plan_policy policy = {.cpu = 1}; /* and no retries */
    struct plan_graph *g = graph_new(1, &policy);
    struct schedule *s = create(g, NULL);
    int64_t delay = -1;
    next(s, 0);
    schedule_event(s, 0, SCHEDULE_EVENT_MISS, 0, 0);
    for (int i = 0; i < SCHEDULE_FREE_RETRIES; i++) {
        struct schedule_decision d = next(s, i);
        ck_assert_int_eq(d.verb, SCHEDULE_START);
        ck_assert_int_eq(d.attempt, i + 1);
        schedule_event(s, 0, SCHEDULE_EVENT_START, 0, i);
        ck_assert(!schedule_would_retry(s, 0, PLAN_CAUSE_EXIT, &delay));
        ck_assert(schedule_would_retry(s, 0, PLAN_CAUSE_NODE_LOST, &delay));
        ck_assert_int_eq(delay, 0);
        schedule_event(s, 0, SCHEDULE_EVENT_FAILED, PLAN_CAUSE_NODE_LOST, i);
    }
    ck_assert_int_eq(next(s, 10).verb, SCHEDULE_START);
    schedule_event(s, 0, SCHEDULE_EVENT_START, 0, 10);
    ck_assert(!schedule_would_retry(s, 0, PLAN_CAUSE_NODE_LOST, &delay));
    schedule_event(s, 0, SCHEDULE_EVENT_FAILED, PLAN_CAUSE_NODE_LOST, 10);
    ck_assert_int_eq(schedule_state(s, 0), STEP_FAILED);
    destroy(s);
    graph_free(g);
}
END_TEST

/* A cluster that grows and shrinks under a schedule. */
START_TEST(what_no_node_holds_is_hopeless_until_one_joins)
{
    const char *const keys[] = {"zone"}, *const values[] = {"far"};
    struct schedule_machine far = {.name = "far",
                                   .cpu = 8,
                                   .memory = 1000,
                                   .label_keys = keys,
                                   .label_values = values,
                                   .label_count = 1};
    struct plan_policy policy = {.cpu = 8};
    struct plan_graph *g = graph_new(1, &policy);
    struct rwf_err err = RWF_ERR_INIT;
    cluster = schedule_cluster_of(&machine);
    schedule_cluster_by_name(cluster);
    struct schedule_steps steps = schedule_steps_of(g);
    ck_assert_ptr_null(schedule_create_over(&steps, cluster, &err));
    ck_assert_int_eq(err.code, RWF_E_FIT);
    ck_assert_msg(strstr(err.text, "the only node, here, has 4") != NULL, "%s",
                  err.text);
    steps.may_wait = true;
    struct schedule *s = schedule_create_over(&steps, cluster, &err);
    ck_assert_ptr_nonnull(s);
    next(s, 0);
    schedule_event(s, 0, SCHEDULE_EVENT_MISS, 0, 0);
    ck_assert_int_eq(next(s, 0).verb, SCHEDULE_NONE);
    ck_assert(schedule_hopeless(s, 0, &err));
    ck_assert(!schedule_granted(s, 0));
    uint32_t node = schedule_cluster_add(cluster, &far);
    ck_assert(!schedule_hopeless(s, 0, &err));
    struct schedule_decision d = next(s, 0);
    ck_assert_int_eq(d.verb, SCHEDULE_START);
    ck_assert_uint_eq(d.node, node);
    ck_assert(schedule_granted(s, 0));
    schedule_cluster_remove(cluster, node);
    ck_assert(schedule_hopeless(s, 0, &err));
    destroy(s);
    graph_free(g);
}
END_TEST

/* Somebody else has decided where it goes. */
START_TEST(a_granted_step_moves_when_there_is_room)
{
    static const struct schedule_machine other = {
        .name = "other", .cpu = 4, .memory = 1000, .gpu_count = 3};
    struct plan_policy policy = {.cpu = 2, .gpu = 2};
    struct plan_graph *g = graph_new(2, &policy);
    struct schedule *s = create(g, NULL);
    struct schedule_node_view view;
    uint32_t node = schedule_cluster_add(cluster, &other);
    struct schedule_decision d[2];
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(next(s, 0).verb, SCHEDULE_PREPARE);
        schedule_event(s, (uint32_t)i, SCHEDULE_EVENT_MISS, 0, 0);
        d[i] = next(s, 0);
        ck_assert_int_eq(d[i].verb, SCHEDULE_START);
    }
    ck_assert_uint_ne(d[0].node, d[1].node);
    ck_assert(!schedule_move(s, d[0].step, 0, d[1].node, 3)); /* the other is there */
    ck_assert_uint_eq(schedule_rank(s, d[0].step, 0).node, d[0].node);
    ck_assert(schedule_move(s, d[0].step, 0, d[0].node, 6)); /* other cards */
    ck_assert_uint_eq(schedule_rank(s, d[0].step, 0).gpus, 6);
    ck_assert(!schedule_move(s, d[0].step, 0, d[0].node, 8)); /* no such card */
    ck_assert_uint_eq(schedule_rank(s, d[0].step, 0).gpus, 6);
    schedule_event(s, d[1].step, SCHEDULE_EVENT_START, 0, 0);
    schedule_event(s, d[1].step, SCHEDULE_EVENT_SUCCEEDED, 0, 0);
    ck_assert(schedule_move(s, d[0].step, 0, d[1].node, 5));
    ck_assert_uint_eq(schedule_rank(s, d[0].step, 0).node, d[1].node);
    schedule_cluster_view(cluster, d[0].node, &view);
    ck_assert(view.cpu_free == view.cpu);
    schedule_cluster_remove(cluster, node);
    ck_assert(!schedule_move(s, d[0].step, 0, node, 5) || d[1].node == node);
    destroy(s);
    graph_free(g);
}
END_TEST

static const struct {
    struct plan_policy policy;
    const char *says;
} misfits[] = {
    {{.cpu = 4.5}, "asks for 4.5 cpu, this machine has 4"},
    {{.cpu = 1, .memory = 1001}, "this machine has 1000 B"},
    {{.cpu = 1, .gpu = 4}, "asks for 4 gpu, this machine has 3"},
    {{.cpu = 1, .gpu = 1.5}, "only whole GPUs"},
    {{.cpu = 1,
      .custom_names = (const char *[]){"license"},
      .custom_amounts = (double[]){4},
      .custom_count = 1},
     "RAYWF_RESOURCES=license=4"},
    {{.cpu = 1,
      .custom_names = (const char *[]){"fpga"},
      .custom_amounts = (double[]){1},
      .custom_count = 1},
     "this machine has 0"},
};

START_TEST(says_what_never_fits)
{
    struct plan_graph *g = graph_new(1, &misfits[_i].policy);
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_ptr_null(create(g, &err));
    ck_assert_int_eq(err.code, RWF_E_FIT);
    ck_assert_msg(strstr(err.text, misfits[_i].says) != NULL, "%s", err.text);
    ck_assert_msg(strstr(err.text, "r.yaml:7:3: tasks.t0 ") == err.text, "%s",
                  err.text);
    ck_assert_msg(strstr(err.text, "--set tasks.t.resources.") != NULL, "%s", err.text);
    schedule_cluster_destroy(cluster);
    graph_free(g);
}
END_TEST

START_TEST(a_gpu_is_never_whole_and_shared)
{
    struct plan_policy half = {.gpu = 0.5}, one = {.gpu = 1};
    struct plan_graph *g = graph_new(6, &half);
    for (int i = 3; i < 6; i++)
        g->steps[i].policy = &one;
    struct schedule *s = create(g, NULL);
    int started = 0, on[3] = {0, 0, 0};
    for (struct schedule_decision d = next(s, 0); d.verb != SCHEDULE_NONE;
         d = next(s, 0)) {
        if (d.verb == SCHEDULE_PREPARE) {
            schedule_event(s, d.step, SCHEDULE_EVENT_MISS, 0, 0);
            continue;
        }
        ck_assert_int_eq(d.gpu_count, 1);
        on[d.gpus[0]] += d.step < 3 ? 1 : 2;
        started++;
        schedule_event(s, d.step, SCHEDULE_EVENT_START, 0, 0);
    }
    /* 0.5 + 0.5 on one card, 0.5 on another, 1 on the third; two wait */
    ck_assert_int_eq(started, 4);
    ck_assert_int_eq(on[0] + on[1] + on[2], 5);
    for (int i = 0; i < 3; i++)
        ck_assert_int_le(on[i], 2);
    char *why = schedule_why(s, 5, 0);
    ck_assert_str_eq(why, "waits for 1 of 3 gpu");
    free(why);
    destroy(s);
    graph_free(g);
}
END_TEST

START_TEST(max_parallel_holds_per_entry)
{
    struct plan_policy two = {.cpu = 0, .max_parallel = 2}, other = {.cpu = 0};
    struct plan_graph *g = graph_new(8, &two);
    for (int i = 5; i < 8; i++)
        g->steps[i].policy = &other;
    struct schedule *s = create(g, NULL);
    int started[2] = {0, 0};
    struct schedule_decision d;
    while ((d = next(s, 0)).verb != SCHEDULE_NONE) {
        schedule_event(s, d.step,
                       d.verb == SCHEDULE_PREPARE ? SCHEDULE_EVENT_MISS
                                                  : SCHEDULE_EVENT_START,
                       0, 0);
        started[d.step >= 5] += d.verb == SCHEDULE_START;
    }
    ck_assert_int_eq(started[0], 2);
    ck_assert_int_eq(started[1], 3);
    char *why = schedule_why(s, 3, 0);
    ck_assert_ptr_nonnull(strstr(why, "max_parallel"));
    free(why);
    schedule_event(s, 0, SCHEDULE_EVENT_SUCCEEDED, 0, 0);
    d = next(s, 0);
    ck_assert_int_eq(d.verb, SCHEDULE_START);
    ck_assert_uint_eq(d.step, 2);
    destroy(s);
    graph_free(g);
}
END_TEST

/* A step that wants the whole machine gets it although small ones keep coming. */
START_TEST(a_large_step_does_not_starve)
{
    struct plan_policy small = {.cpu = 1}, large = {.cpu = 4};
    struct plan_graph *g = graph_new(2000, &small);
    g->steps[1].policy = &large;
    struct schedule *s = create(g, NULL);
    uint32_t running[8];
    size_t count = 0, before = 0;
    while (schedule_state(s, 1) != STEP_RUNNING) {
        struct schedule_decision d = next(s, 0);
        if (d.verb == SCHEDULE_PREPARE) {
            schedule_event(s, d.step, SCHEDULE_EVENT_MISS, 0, 0);
        } else if (d.verb == SCHEDULE_START) {
            schedule_event(s, d.step, SCHEDULE_EVENT_START, 0, 0);
            running[count++] = d.step;
        } else {
            schedule_event(s, running[0], SCHEDULE_EVENT_SUCCEEDED, 0, 0);
            memmove(running, running + 1, --count * sizeof(running[0]));
            before++;
        }
    }
    ck_assert_uint_lt(before, 200);
    destroy(s);
    graph_free(g);
}
END_TEST

START_TEST(deferred_is_offered_again)
{
    struct plan_policy policy = {.cpu = 4};
    struct plan_graph *g = graph_new(2, &policy);
    struct schedule *s = create(g, NULL);
    int64_t wake;
    ck_assert_uint_eq(next(s, 0).step, 0);
    schedule_event(s, 0, SCHEDULE_EVENT_MISS, 0, 0);
    ck_assert_int_eq(next(s, 0).verb, SCHEDULE_START);
    schedule_defer(s, 0, 0, 20);
    char *why = schedule_why(s, 0, 0);
    ck_assert_ptr_nonnull(strstr(why, "runs elsewhere"));
    free(why);
    /* its resources are free for the other */
    ck_assert_uint_eq(next(s, 0).step, 1);
    schedule_event(s, 1, SCHEDULE_EVENT_MISS, 0, 0);
    ck_assert_uint_eq(next(s, 0).step, 1);
    schedule_event(s, 1, SCHEDULE_EVENT_START, 0, 0);
    ck_assert_int_eq(schedule_next(s, 0, &wake).verb, SCHEDULE_NONE);
    ck_assert_int_eq(wake, 20);
    schedule_event(s, 1, SCHEDULE_EVENT_SUCCEEDED, 0, 20);
    struct schedule_decision d = schedule_next(s, 20, &wake);
    ck_assert_int_eq(d.verb, SCHEDULE_START);
    ck_assert_int_eq(d.attempt, 1);
    schedule_event(s, 0, SCHEDULE_EVENT_HIT, 0, 20);
    ck_assert_int_eq(next(s, 20).verb, SCHEDULE_DONE);
    destroy(s);
    graph_free(g);
}
END_TEST

START_TEST(restores_what_a_log_says)
{
    struct plan_policy policy = {.cpu = 1};
    struct plan_graph *g = graph_new(5, &policy);
    need(g, 2, 0);
    need(g, 3, 1);
    need(g, 4, 3);
    struct schedule *s = create(g, NULL);
    schedule_restore(s, 0, STEP_CACHED, 0, 0);
    schedule_restore(s, 1, STEP_FAILED, 1, 1);
    schedule_restore(s, 2, STEP_PENDING, 4, 0);
    schedule_restore(s, 3, STEP_SKIPPED, 0, 0);
    schedule_restore(s, 4, STEP_PENDING, 0, 0);
    struct schedule_decision d = next(s, 0);
    ck_assert_int_eq(d.verb, SCHEDULE_SKIP);
    ck_assert_uint_eq(d.step, 4);
    ck_assert_uint_eq(d.because, 3);
    schedule_event(s, 4, SCHEDULE_EVENT_SKIP, 0, 0);
    d = next(s, 0);
    ck_assert_int_eq(d.verb, SCHEDULE_PREPARE);
    ck_assert_uint_eq(d.step, 2);
    schedule_event(s, 2, SCHEDULE_EVENT_MISS, 0, 0);
    ck_assert_int_eq(next(s, 0).attempt, 5);
    destroy(s);
    graph_free(g);
}
END_TEST

START_TEST(stop_ends_what_waits)
{
    struct plan_policy policy = {.cpu = 4, .retry_max = 5, .retry_on = PLAN_CAUSE_EXIT};
    struct plan_graph *g = graph_new(4, &policy);
    struct schedule *s = create(g, NULL);
    int64_t delay;
    next(s, 0);
    schedule_event(s, 0, SCHEDULE_EVENT_MISS, 0, 0);
    next(s, 0);
    schedule_event(s, 0, SCHEDULE_EVENT_START, 0, 0);
    next(s, 0);
    schedule_event(s, 1, SCHEDULE_EVENT_MISS, 0, 0);
    schedule_stop(s);
    ck_assert_uint_eq(schedule_count(s, STEP_STOPPED), 3);
    ck_assert_int_eq(next(s, 0).verb, SCHEDULE_NONE);
    ck_assert(!schedule_would_retry(s, 0, PLAN_CAUSE_EXIT, &delay));
    schedule_event(s, 0, SCHEDULE_EVENT_STOP, 0, 0);
    ck_assert_int_eq(next(s, 0).verb, SCHEDULE_DONE);
    destroy(s);
    graph_free(g);
}
END_TEST

/* --- random graphs --- */

#define POLICIES 6

struct simulation {
    struct plan_graph *graph;
    struct plan_policy policies[POLICIES];
    double cpu, gpu[3], custom;
    int64_t memory, now;
    int *grants;   /* step -> gpu bits */
    int64_t *ends; /* when a running step ends, 0: does not run */
    int running[POLICIES];
    uint64_t trace; /* hash over all decisions */
    size_t decisions;
};

static void random_policies(struct plan_policy *p)
{
    for (int i = 0; i < POLICIES; i++) {
        p[i] = (struct plan_policy){.cpu = rnd(5) * 0.75,
                                    .memory = rnd(1001),
                                    .retry_max = (int)rnd(3),
                                    .retry_on = PLAN_CAUSE_EXIT | PLAN_CAUSE_OOM,
                                    .backoff_initial = rnd(50) + 1,
                                    .backoff_factor = 2,
                                    .backoff_max = 500,
                                    .max_parallel = rnd(3) == 0 ? (int)rnd(3) + 1 : 0};
        static const double gpus[] = {0, 0, 0, 0.3, 0.5, 1, 2, 3};
        p[i].gpu = gpus[rnd(8)];
        if (rnd(3) == 0) {
            static const char *names[] = {"license"};
            static double one[] = {1.5};
            p[i].custom_names = names;
            p[i].custom_amounts = one;
            p[i].custom_count = 1;
        }
    }
}

static void account(struct simulation *m, uint32_t step, int gpus, int sign)
{
    const struct plan_policy *p = m->graph->steps[step].policy;
    double each = p->gpu < 1 ? p->gpu : 1;
    m->cpu += sign * p->cpu;
    m->memory += sign * p->memory;
    m->custom += sign * (p->custom_count > 0 ? 1.5 : 0);
    m->running[p - m->policies] += sign;
    for (int i = 0; i < 3; i++)
        if (gpus & 1 << i)
            m->gpu[i] += sign * each;
    ck_assert_double_le(m->cpu, machine.cpu + 1e-6);
    ck_assert_int_le(m->memory, machine.memory);
    ck_assert_double_le(m->custom, 3 + 1e-6);
    for (int i = 0; i < 3; i++)
        ck_assert_double_le(m->gpu[i], 1 + 1e-6);
    if (p->max_parallel > 0)
        ck_assert_int_le(m->running[p - m->policies], p->max_parallel);
}

static void on_start(struct simulation *m, struct schedule *s,
                     const struct schedule_decision *d)
{
    const struct plan_step *step = &m->graph->steps[d->step];
    int bits = 0;
    for (size_t i = 0; i < step->need_count; i++)
        ck_assert(schedule_state_good(schedule_state(s, step->needs[i])));
    for (int i = 0; i < d->gpu_count; i++)
        bits |= 1 << d->gpus[i];
    if (rnd(20) == 0) {
        schedule_defer(s, d->step, m->now, 7);
        return;
    }
    if (rnd(30) == 0) {
        schedule_event(s, d->step, SCHEDULE_EVENT_FAILED, PLAN_CAUSE_START, m->now);
        return;
    }
    schedule_event(s, d->step, SCHEDULE_EVENT_START, 0, m->now);
    m->grants[d->step] = bits;
    m->ends[d->step] = m->now + 1 + rnd(100);
    account(m, d->step, bits, 1);
}

/* The running step that ends first; false when none runs. */
static bool end_one(struct simulation *m, struct schedule *s, int64_t wake)
{
    uint32_t step = UINT32_MAX;
    for (uint32_t i = 0; i < m->graph->count; i++)
        if (m->ends[i] > 0 && (step == UINT32_MAX || m->ends[i] < m->ends[step]))
            step = i;
    if (step == UINT32_MAX || wake < m->ends[step]) {
        m->now = wake;
        return wake != INT64_MAX;
    }
    static const enum plan_cause causes[] = {PLAN_CAUSE_EXIT, PLAN_CAUSE_OOM,
                                             PLAN_CAUSE_SIGNAL};
    m->now = m->ends[step];
    m->ends[step] = 0;
    account(m, step, m->grants[step], -1);
    if (rnd(6) == 0)
        schedule_event(s, step, SCHEDULE_EVENT_FAILED, causes[rnd(3)], m->now);
    else
        schedule_event(s, step, SCHEDULE_EVENT_SUCCEEDED, 0, m->now);
    return true;
}

static void on_prepare(struct simulation *m, struct schedule *s, uint32_t step)
{
    uint32_t dice = rnd(20);
    enum schedule_event event = dice == 0   ? SCHEDULE_EVENT_SKIP
                                : dice == 1 ? SCHEDULE_EVENT_FAILED
                                : dice < 5  ? SCHEDULE_EVENT_HIT
                                            : SCHEDULE_EVENT_MISS;
    schedule_event(s, step, event, PLAN_CAUSE_INPUT, m->now);
}

static void simulate(struct simulation *m, struct schedule *s)
{
    for (;;) {
        int64_t wake;
        struct schedule_decision d = schedule_next(s, m->now, &wake);
        m->decisions++;
        m->trace = (m->trace ^ (d.verb * 1000003u + d.step)) * 1099511628211ULL;
        switch (d.verb) {
        case SCHEDULE_PREPARE:
            on_prepare(m, s, d.step);
            break;
        case SCHEDULE_START:
            on_start(m, s, &d);
            break;
        case SCHEDULE_SKIP:
            ck_assert(!schedule_state_good(schedule_state(s, d.because)));
            schedule_event(s, d.step, SCHEDULE_EVENT_SKIP, 0, m->now);
            break;
        case SCHEDULE_NONE:
            ck_assert_msg(end_one(m, s, wake), "stuck");
            break;
        case SCHEDULE_PREEMPT:
            ck_abort_msg("all have one priority");
        case SCHEDULE_DONE:
            return;
        }
    }
}

static uint64_t simulate_seed(unsigned seed, size_t steps)
{
    struct simulation m = {.now = 1};
    random_state = seed * 977u + 11;
    random_policies(m.policies);
    m.graph = graph_new(steps, &m.policies[0]);
    for (uint32_t i = 0; i < steps; i++) {
        m.graph->steps[i].policy = &m.policies[rnd(POLICIES)];
        for (uint32_t k = i > 0 ? rnd(4) : 0, at = 0; k > 0 && at < i; k--) {
            at += rnd(i - at) + (at > 0);
            if (at < i &&
                (m.graph->steps[i].need_count == 0 ||
                 m.graph->steps[i].needs[m.graph->steps[i].need_count - 1] < at))
                need(m.graph, i, at);
        }
    }
    m.grants = rwf_xcalloc(steps, sizeof(*m.grants));
    m.ends = rwf_xcalloc(steps, sizeof(*m.ends));
    struct schedule *s = create(m.graph, NULL);
    ck_assert_ptr_nonnull(s);
    simulate(&m, s);
    for (uint32_t i = 0; i < steps; i++) {
        enum schedule_state state = schedule_state(s, i);
        ck_assert(schedule_state_final(state) && state != STEP_STOPPED);
        const struct plan_step *step = &m.graph->steps[i];
        for (size_t k = 0; k < step->need_count; k++)
            if (!schedule_state_good(schedule_state(s, step->needs[k])))
                ck_assert_int_eq(state, STEP_SKIPPED);
    }
    ck_assert_double_eq_tol(m.cpu, 0, 1e-6);
    ck_assert_int_eq(m.memory, 0);
    destroy(s);
    graph_free(m.graph);
    free(m.grants);
    free(m.ends);
    return m.trace;
}

START_TEST(random_graphs_end_well)
{
    for (unsigned seed = 0; seed < 40; seed++) {
        uint64_t trace = simulate_seed((unsigned)_i * 40 + seed, 20 + seed * 3);
        ck_assert_uint_eq(trace,
                          simulate_seed((unsigned)_i * 40 + seed, 20 + seed * 3));
    }
}
END_TEST

/* Large: a scan of all steps per decision would take this test past its time limit. */
START_TEST(many_steps_are_quick)
{
    struct plan_policy policy = {.cpu = 1};
    size_t n = 200000;
    struct plan_graph *g = graph_new(n, &policy);
    for (uint32_t i = 1; i < n; i += 2)
        need(g, i, i - 1);
    struct schedule *s = create(g, NULL);
    uint32_t running[8];
    size_t count = 0, starts = 0;
    for (;;) {
        struct schedule_decision d = next(s, 0);
        if (d.verb == SCHEDULE_DONE)
            break;
        if (d.verb == SCHEDULE_PREPARE) {
            schedule_event(s, d.step, SCHEDULE_EVENT_MISS, 0, 0);
        } else if (d.verb == SCHEDULE_START) {
            schedule_event(s, d.step, SCHEDULE_EVENT_START, 0, 0);
            running[count++] = d.step;
            starts++;
        } else {
            schedule_event(s, running[--count], SCHEDULE_EVENT_SUCCEEDED, 0, 0);
        }
    }
    ck_assert_uint_eq(starts, n);
    destroy(s);
    graph_free(g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schedule");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, every_state_has_a_way_out);
    tcase_add_test(tc, runs_a_chain_in_order);
    tcase_add_test(tc, retries_with_growing_delay);
    tcase_add_test(tc, a_lost_node_costs_no_attempt);
    tcase_add_test(tc, what_no_node_holds_is_hopeless_until_one_joins);
    tcase_add_test(tc, a_granted_step_moves_when_there_is_room);
    tcase_add_loop_test(tc, says_what_never_fits, 0, (int)RWF_COUNT(misfits));
    tcase_add_test(tc, a_gpu_is_never_whole_and_shared);
    tcase_add_test(tc, max_parallel_holds_per_entry);
    tcase_add_test(tc, a_large_step_does_not_starve);
    tcase_add_test(tc, deferred_is_offered_again);
    tcase_add_test(tc, restores_what_a_log_says);
    tcase_add_test(tc, stop_ends_what_waits);
    tcase_add_loop_test(tc, random_graphs_end_well, 0, 10);
    tcase_add_test(tc, many_steps_are_quick);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
