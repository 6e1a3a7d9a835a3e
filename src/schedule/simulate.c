/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop of a simulation: decisions until there are none, then the next end.
 *
 * What a placement cost in real time: the call that decided SCHEDULE_START, and all
 * calls since the placement before it that found nothing to start. Preparing is an
 * engine's business and counted as a decision, but not as a placement.
 */
#include "config.h"
#include "schedule/simulate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/units.h"
#include "schedule/heap.h"

struct attempt {
    int64_t ready, start, end; /* ready: since when the step waits */
    uint32_t epoch; /* of an end in the heap: others are of attempts long gone */
    bool fails;
};

struct sim {
    const struct simulate_options *o;
    struct schedule *schedule;
    struct simulate_result *r;
    struct attempt *attempts;
    struct schedule__heap ends;
    uint32_t *epochs; /* of the ends, by the order in which they were pushed */
    uint32_t *steps;
    size_t end_count, end_cap, step_cap;
    uint64_t random;
    int64_t now;
    size_t running;
    double cpu, gpu, memory; /* times ns */
    int64_t *waits;
    size_t wait_count, wait_cap;
    int64_t *costs;
    size_t cost_count, cost_cap;
    int64_t spent; /* since the last placement */
};

/* --- chance --- */

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

/* In (0, 1). */
static double chance(uint64_t *state)
{
    return ((double)(next_random(state) >> 11) + 0.5) / 9007199254740992.0;
}

static int64_t draw(struct sim *m, const struct simulate_dist *d)
{
    double x = d->a;
    if (d->kind == SIMULATE_UNIFORM)
        x = d->a + (d->b - d->a) * chance(&m->random);
    else if (d->kind == SIMULATE_EXP)
        x = -d->a * log(chance(&m->random));
    else if (d->kind == SIMULATE_LOGNORMAL)
        x = d->a * exp(d->b * sqrt(-2 * log(chance(&m->random))) *
                       cos(6.283185307179586 * chance(&m->random)));
    return x < 1 ? 1 : x > 1e17 ? (int64_t)1e17 : (int64_t)x;
}

static int bad_dist(const char *text, struct rwf_err *err)
{
    return rwf_fail(err, RWF_E_USAGE,
                    "'%s' is no duration: give 10s, uniform:5s..1m, exp:30s or "
                    "lognormal:30s,0.5 (median and sigma)",
                    text);
}

static int parse_time(const char *text, size_t len, double *ret)
{
    char *copy = rwf_xstrndup(text, len);
    int64_t ns;
    int result = rwf_duration_parse(copy, &ns, NULL);
    free(copy);
    *ret = (double)ns;
    return result != 0 || ns <= 0 ? -1 : 0;
}

int simulate_dist_parse(const char *text, struct simulate_dist *ret,
                        struct rwf_err *err)
{
    static const struct {
        const char *name, *between;
        enum simulate_kind kind;
    } kinds[] = {{"uniform:", "..", SIMULATE_UNIFORM},
                 {"exp:", NULL, SIMULATE_EXP},
                 {"lognormal:", ",", SIMULATE_LOGNORMAL}};
    struct simulate_dist d = {.kind = SIMULATE_FIXED, .b = 1};
    const char *first = text, *second = NULL;
    for (size_t i = 0; i < RWF_COUNT(kinds); i++) {
        size_t len = strlen(kinds[i].name);
        if (strncmp(text, kinds[i].name, len) != 0)
            continue;
        d.kind = kinds[i].kind;
        first = text + len;
        if (kinds[i].between != NULL && (second = strstr(first, kinds[i].between)))
            second += strlen(kinds[i].between);
        if (d.kind == SIMULATE_UNIFORM && second == NULL)
            return bad_dist(text, err);
    }
    size_t len = strcspn(first, d.kind == SIMULATE_UNIFORM ? "." : ",");
    if (parse_time(first, len, &d.a) != 0)
        return bad_dist(text, err);
    if (d.kind == SIMULATE_UNIFORM &&
        (parse_time(second, strlen(second), &d.b) != 0 || d.b < d.a))
        return bad_dist(text, err);
    if (d.kind == SIMULATE_LOGNORMAL && second != NULL) {
        char *end;
        d.b = strtod(second, &end);
        if (end == second || *end != '\0' || !(d.b >= 0 && d.b <= 10))
            return bad_dist(text, err);
    }
    *ret = d;
    return 0;
}

/* --- what happens --- */

static const struct plan_policy *policy_of(const struct sim *m, uint32_t step)
{
    return m->o->steps.at(m->o->steps.ctx, step)->policy;
}

static void note(struct sim *m, uint64_t what)
{
    m->r->trace = (m->r->trace ^ what) * UINT64_C(1099511628211);
}

static void keep_spans(struct sim *m, uint32_t step, enum simulate_outcome outcome)
{
    struct simulate_result *r = m->r;
    for (uint32_t i = 0; i < schedule_ranks(m->schedule, step); i++) {
        struct schedule_grant g = schedule_rank(m->schedule, step, i);
        *RWF_PUSH(r->spans, r->span_count, r->span_cap) =
            (struct simulate_span){.step = step,
                                   .node = g.node,
                                   .start = m->attempts[step].start,
                                   .end = m->now,
                                   .gpus = g.gpus,
                                   .outcome = (uint8_t)outcome};
    }
}

/* An attempt is over: what it used counts. */
static void account(struct sim *m, uint32_t step, enum simulate_outcome outcome)
{
    const struct plan_policy *p = policy_of(m, step);
    double time =
        (double)(m->now - m->attempts[step].start) * schedule_ranks(m->schedule, step);
    m->cpu += p->cpu * time;
    m->gpu += p->gpu * time;
    m->memory += (double)p->memory * time;
    m->running--;
    m->attempts[step].epoch++;
    m->attempts[step].end = m->now;
    if (m->o->keep_spans)
        keep_spans(m, step, outcome);
}

static void on_start(struct sim *m, const struct schedule_decision *d)
{
    struct attempt *a = &m->attempts[d->step];
    const struct simulate_dist *dist = m->o->duration_of == NULL
                                           ? &m->o->duration
                                           : m->o->duration_of(m->o->ctx, d->step);
    int64_t time = draw(m, dist);
    a->fails = m->o->fail_rate > 0 && chance(&m->random) < m->o->fail_rate;
    if (a->fails)
        time = (int64_t)((double)time * chance(&m->random)) + 1;
    *RWF_PUSH(m->waits, m->wait_count, m->wait_cap) = m->now - a->ready;
    a->start = m->now;
    schedule_event(m->schedule, d->step, SCHEDULE_EVENT_START, PLAN_CAUSE_NONE, m->now);
    /* the heap holds numbers of ends: an end knows its step and the attempt's epoch */
    *RWF_PUSH(m->steps, m->end_count, m->end_cap) = d->step;
    m->epochs = rwf_grow(m->epochs, m->end_count - 1, &m->step_cap, sizeof(*m->epochs));
    m->epochs[m->end_count - 1] = a->epoch;
    schedule__heap_push(&m->ends, m->now + time, (uint32_t)m->end_count - 1);
    m->r->attempts++;
    if (++m->running > m->r->most_running)
        m->r->most_running = m->running;
    note(m, d->node * UINT64_C(0x100000001) + (d->gpu_count > 0 ? d->gpus[0] + 1u : 0));
}

static void on_end(struct sim *m, uint32_t step)
{
    struct attempt *a = &m->attempts[step];
    int64_t delay = 0;
    account(m, step, a->fails ? SIMULATE_FAILED : SIMULATE_GOOD);
    if (!a->fails) {
        schedule_event(m->schedule, step, SCHEDULE_EVENT_SUCCEEDED, PLAN_CAUSE_NONE,
                       m->now);
        return;
    }
    if (schedule_would_retry(m->schedule, step, PLAN_CAUSE_EXIT, &delay)) {
        m->r->retries++;
        a->ready = m->now + delay;
    }
    schedule_event(m->schedule, step, SCHEDULE_EVENT_FAILED, PLAN_CAUSE_EXIT, m->now);
}

/* Time goes on to the next end, or to when the schedule wants to be asked; false:
 * neither comes. */
static bool advance(struct sim *m, int64_t wake)
{
    while (m->ends.count > 0) {
        struct schedule__heap_item first = *schedule__heap_first(&m->ends);
        uint32_t step = m->steps[first.step];
        if (m->epochs[first.step] != m->attempts[step].epoch) {
            (void)schedule__heap_pop(&m->ends);
            continue;
        }
        if (wake < first.key)
            break;
        (void)schedule__heap_pop(&m->ends);
        m->now = first.key;
        on_end(m, step);
        return true;
    }
    if (wake == INT64_MAX)
        return false;
    m->now = wake;
    return true;
}

static void on_preempt(struct sim *m, uint32_t step)
{
    account(m, step, SIMULATE_PREEMPTED);
    m->attempts[step].ready = m->now;
    m->r->preempted++;
    schedule_event(m->schedule, step, SCHEDULE_EVENT_PREEMPTED, PLAN_CAUSE_NONE,
                   m->now);
}

static struct schedule_decision decide(struct sim *m, int64_t *ret_wake)
{
    int64_t before = m->o->clock == NULL ? 0 : m->o->clock();
    struct schedule_decision d = schedule_next(m->schedule, m->now, ret_wake);
    m->r->decisions++;
    if (m->o->clock == NULL)
        return d;
    int64_t cost = m->o->clock() - before;
    if (d.verb == SCHEDULE_START) {
        *RWF_PUSH(m->costs, m->cost_count, m->cost_cap) = m->spent + cost;
        m->spent = 0;
    } else if (d.verb == SCHEDULE_NONE || d.verb == SCHEDULE_PREEMPT) {
        m->spent += cost;
    }
    return d;
}

/* A step waits from when the last that it needs was done. */
static int64_t ready_since(const struct sim *m, uint32_t step)
{
    const struct plan_step *p = m->o->steps.at(m->o->steps.ctx, step);
    int64_t last = 0;
    for (size_t i = 0; i < p->need_count; i++)
        if (m->attempts[p->needs[i]].end > last)
            last = m->attempts[p->needs[i]].end;
    return last;
}

static bool play(struct sim *m)
{
    for (;;) {
        int64_t wake;
        struct schedule_decision d = decide(m, &wake);
        note(m, d.verb * UINT64_C(1000003) + d.step);
        switch (d.verb) {
        case SCHEDULE_PREPARE:
            m->attempts[d.step].ready = ready_since(m, d.step);
            schedule_event(m->schedule, d.step, SCHEDULE_EVENT_MISS, PLAN_CAUSE_NONE,
                           m->now);
            break;
        case SCHEDULE_START:
            on_start(m, &d);
            break;
        case SCHEDULE_PREEMPT:
            on_preempt(m, d.step);
            break;
        case SCHEDULE_SKIP:
            schedule_event(m->schedule, d.step, SCHEDULE_EVENT_SKIP, PLAN_CAUSE_NONE,
                           m->now);
            break;
        case SCHEDULE_NONE:
            if (!advance(m, wake))
                return false;
            break;
        case SCHEDULE_DONE:
            return true;
        }
    }
}

/* --- the sum --- */

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void percentiles(int64_t *list, size_t count, int64_t *ret_p50, int64_t *ret_p99)
{
    if (count == 0)
        return;
    qsort(list, count, sizeof(*list), by_size);
    *ret_p50 = list[(count - 1) / 2];
    *ret_p99 = list[(count - 1) * 99 / 100];
}

static double part(double used, double all, int64_t time)
{
    return all > 0 && time > 0 ? used / all / (double)time : 0;
}

static void sum_up(struct sim *m)
{
    struct simulate_result *r = m->r;
    double waits = 0;
    for (size_t i = 0; i < m->wait_count; i++)
        waits += (double)m->waits[i];
    r->makespan = m->now;
    r->steps = m->o->steps.count;
    r->succeeded = schedule_count(m->schedule, STEP_SUCCEEDED);
    r->failed = schedule_count(m->schedule, STEP_FAILED);
    r->skipped = schedule_count(m->schedule, STEP_SKIPPED);
    r->used_cpu = part(m->cpu, r->totals.cpu, m->now);
    r->used_gpu = part(m->gpu, r->totals.gpu, m->now);
    r->used_memory = part(m->memory, r->totals.memory, m->now);
    r->wait_mean = m->wait_count > 0 ? (int64_t)(waits / (double)m->wait_count) : 0;
    percentiles(m->waits, m->wait_count, &r->wait_p50, &r->wait_p99);
    percentiles(m->costs, m->cost_count, &r->decision_p50, &r->decision_p99);
}

int simulate_run(const struct simulate_options *o, struct simulate_result *ret,
                 struct rwf_err *err)
{
    struct sim m = {.o = o, .r = ret, .random = o->seed};
    int64_t began = o->clock == NULL ? 0 : o->clock();
    memset(ret, 0, sizeof(*ret));
    m.schedule = schedule_create_over(&o->steps, o->cluster, err);
    if (m.schedule == NULL)
        return -1;
    m.attempts = rwf_xcalloc((size_t)o->steps.count + 1, sizeof(*m.attempts));
    schedule_cluster_totals(o->cluster, &ret->totals);
    bool done = play(&m);
    rwf_assert(done); /* what fits no node was refused, so all comes to an end */
    sum_up(&m);
    ret->wall = o->clock == NULL ? 0 : o->clock() - began;
    schedule_destroy(m.schedule);
    schedule__heap_free(&m.ends);
    free(m.attempts);
    free(m.epochs);
    free(m.steps);
    free(m.waits);
    free(m.costs);
    return 0;
}

void simulate_result_free(struct simulate_result *r)
{
    free(r->spans);
    memset(r, 0, sizeof(*r));
}

/* --- a load of mixed needs --- */

#define KINDS 48

struct simulate_synthetic {
    struct plan_policy policies[KINDS];
    struct plan_step *steps;
};

static double at_most(double amount, double most)
{
    return amount < most ? amount : most;
}

/* Most steps are small and need no GPU; a few want half a node. */
static void mix(struct plan_policy *p, uint64_t *random,
                const struct schedule_machine *largest)
{
    static const double cpus[] = {0.5, 1, 1, 2, 2, 4, 8, 16};
    static const double gpus[] = {0, 0, 0, 0, 0, 0, 0.25, 0.5, 1, 1, 2, 4};
    static const double gibs[] = {0.5, 1, 2, 2, 4, 8, 16, 32};
    *p = (struct plan_policy){.retry_max = 1,
                              .retry_on = PLAN_CAUSE_EXIT,
                              .backoff_initial = RWF_NS_PER_S,
                              .backoff_factor = 1};
    p->cpu = at_most(cpus[next_random(random) % RWF_COUNT(cpus)], largest->cpu);
    p->gpu = at_most(gpus[next_random(random) % RWF_COUNT(gpus)], largest->gpu_count);
    p->memory =
        (int64_t)at_most(gibs[next_random(random) % RWF_COUNT(gibs)] * 1073741824.0,
                         (double)largest->memory);
    p->placement = next_random(random) % 4 == 0 ? PLAN_SPREAD : PLAN_PACK;
}

struct simulate_synthetic *
simulate_synthetic_create(uint32_t count, uint64_t seed,
                          const struct schedule_machine *largest)
{
    struct simulate_synthetic *s = rwf_xcalloc(1, sizeof(*s));
    uint64_t random = seed ^ UINT64_C(0xD1B54A32D192ED03);
    for (size_t i = 0; i < KINDS; i++)
        mix(&s->policies[i], &random, largest);
    s->steps = rwf_xcalloc((size_t)count + 1, sizeof(*s->steps));
    for (uint32_t i = 0; i < count; i++)
        s->steps[i] =
            (struct plan_step){.index = i,
                               .address = "synthetic",
                               .entry = "synthetic",
                               .policy = &s->policies[next_random(&random) % KINDS]};
    return s;
}

const struct plan_step *simulate_synthetic_step(const void *ctx, uint32_t step)
{
    return &((const struct simulate_synthetic *)ctx)->steps[step];
}

void simulate_synthetic_free(struct simulate_synthetic *s)
{
    if (s == NULL)
        return;
    free(s->steps);
    free(s);
}
