/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of steps. Order of decisions: what must be skipped, then what can start
 * (pick.c), then what can be prepared, then what must make room; within each the
 * highest priority, then the smallest index, which is the recipe's order.
 *
 * Queues are lazy: an item that has left the state its queue stands for is dropped when
 * it comes to the head. Invariants: counts[] sums to count; a class is in `active` or
 * `hungry` exactly when update_class says so; a step holds resources exactly while
 * granted.
 */
#include "config.h"
#include "schedule/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/ids.h"
#include "base/map.h"
#include "base/mem.h"

/* Causes that another attempt cannot cure. */
#define NEVER_RETRIED                                                                  \
    (PLAN_CAUSE_OOM | PLAN_CAUSE_START | PLAN_CAUSE_OUTPUT | PLAN_CAUSE_INPUT |        \
     PLAN_CAUSE_STOPPED | PLAN_CAUSE_CHECK)

static struct schedule__class *class_of(const struct schedule *s, uint32_t step)
{
    return s->classes[s->items[step].class];
}

static const struct plan_policy *policy_of(const struct schedule *s, uint32_t step)
{
    return schedule__step(s, step)->policy;
}

static bool is_ready(const struct schedule__item *it)
{
    return it->state == STEP_PENDING && it->waiting == 0 && it->because == PLAN_NO_STEP;
}

bool schedule__waits_to_start(const struct schedule__item *it)
{
    return it->state == STEP_QUEUED && !it->granted;
}

/* Drops what is stale at the head; true when something is left. */
bool schedule__heap_clean(struct schedule *s, struct schedule__heap *h,
                          bool (*valid)(const struct schedule__item *))
{
    while (h->count > 0 && !valid(&s->items[schedule__heap_first(h)->step]))
        (void)schedule__heap_pop(h);
    return h->count > 0;
}

/* --- classes --- */

void schedule__update_class(struct schedule *s, struct schedule__class *c)
{
    bool parked = c->max_parallel > 0 && c->running >= c->max_parallel;
    bool active = c->queued > 0 && !parked;
    size_t ahead = c->late ? !parked : SCHEDULE__AHEAD;
    bool hungry = c->ready.count > 0 && c->queued < ahead;
    if (active && !c->in_active) {
        TAILQ_INSERT_TAIL(&s->active, c, active);
        s->full = 0;
    } else if (!active && c->in_active) {
        TAILQ_REMOVE(&s->active, c, active);
        schedule__unhold(s, c);
    }
    if (hungry && !c->in_hungry)
        TAILQ_INSERT_TAIL(&s->hungry, c, hungry);
    else if (!hungry && c->in_hungry)
        TAILQ_REMOVE(&s->hungry, c, hungry);
    c->in_active = active;
    c->in_hungry = hungry;
}

/* Steps whose demands are equal are one class, unless max_parallel counts their entry
 * apart. */
static char *class_name(const struct plan_policy *p, uint32_t shape)
{
    const void *apart = p->max_parallel > 0 || p->late ? p : NULL;
    return rwf_xasprintf("%p %u %u %u %d %d %d", apart, shape, schedule__ranks_of(p), schedule__least_of(p),
                         (int)p->placement, p->priority, p->retry_max > 0);
}

static void class_add(struct schedule *s, const struct plan_policy *p, uint32_t shape)
{
    struct schedule__class *c = rwf_xcalloc(1, sizeof(*c));
    c->number = (uint32_t)s->class_count;
    c->shape = shape;
    c->ranks = schedule__ranks_of(p);
    c->least = schedule__least_of(p);
    c->shapes = rwf_xmalloc(c->ranks * sizeof(*c->shapes));
    for (uint32_t i = 0; i < c->ranks; i++)
        c->shapes[i] = shape;
    c->placement = p->placement;
    c->near = p->near ? p : NULL;
    c->priority = p->priority;
    c->retriable = p->retry_max > 0;
    c->max_parallel = p->max_parallel;
    c->late = p->late;
    s->priorities |= s->class_count > 0 && s->classes[0]->priority != p->priority;
    *RWF_PUSH(s->classes, s->class_count, s->class_cap) = c;
}

/* The class of a policy, made when it is new: its number + 1; 0: it can never run. */
static uintptr_t class_for(struct schedule *s, struct rwf_map *names,
                           const struct plan_step *step, struct rwf_err *err)
{
    struct schedule_need need;
    schedule_need_of(step->policy, &need);
    if (!s->steps.may_wait && schedule__fail_fit(s, step, &need, err) != 0)
        return 0;
    /* Its workers' leases take what it needs: here it takes a place among the steps. */
    if (step->policy->leased && s->steps.leases)
        need = (struct schedule_need){0};
    uint32_t shape = schedule_cluster_shape(s->cluster, &need);
    char *name = class_name(step->policy, shape);
    uintptr_t known = (uintptr_t)rwf_map_get(names, name);
    if (known == 0) {
        class_add(s, step->policy, shape);
        known = s->class_count;
        rwf_map_set(names, name, (void *)known);
    }
    free(name);
    return known;
}

/* Policies are few, and often that of the step before. */
static int classify(struct schedule *s, struct rwf_err *err)
{
    const struct plan_policy *last = NULL;
    uintptr_t class = 0;
    struct rwf_map *names = rwf_map_create(); /* name -> class number + 1 */
    struct rwf_ids policies = {0};            /* policy -> the same */
    int result = 0;
    for (uint32_t i = 0; i < s->count && result == 0; i++) {
        const struct plan_step *step = schedule__step(s, i);
        if (step->policy != last) {
            last = step->policy;
            class = (uintptr_t)rwf_ids_get(&policies, (uintptr_t)last);
            if (class == 0) {
                class = class_for(s, names, step, err);
                result = class == 0 ? -1 : 0;
                if (class != 0)
                    rwf_ids_add(&policies, (uintptr_t)last, (void *)class);
            }
        }
        s->items[i].class = (uint32_t) class - 1;
    }
    rwf_ids_free(&policies);
    rwf_map_destroy(names, NULL);
    return result;
}

/* --- life --- */

static void fill_dependents(struct schedule *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const struct plan_step *step = schedule__step(s, i);
        s->items[i].waiting = (uint32_t)step->need_count;
        for (size_t k = 0; k < step->need_count; k++)
            s->first[step->needs[k] + 1]++;
    }
    for (uint32_t i = 0; i < s->count; i++)
        s->first[i + 1] += s->first[i];
    s->dependents = rwf_xcalloc((size_t)s->first[s->count] + 1, sizeof(*s->dependents));
    uint32_t *next = rwf_xcalloc((size_t)s->count + 1, sizeof(*next));
    memcpy(next, s->first, s->count * sizeof(*next));
    for (uint32_t i = 0; i < s->count; i++) {
        const struct plan_step *step = schedule__step(s, i);
        for (size_t k = 0; k < step->need_count; k++)
            s->dependents[next[step->needs[k]]++] = i;
    }
    free(next);
}

static void offer_ready(struct schedule *s, uint32_t step)
{
    struct schedule__class *c = class_of(s, step);
    schedule__heap_push(&c->ready, step, step);
    schedule__update_class(s, c);
}

static const struct plan_step *graph_step(const void *ctx, uint32_t step)
{
    return plan_graph_step(ctx, step);
}

struct schedule_steps schedule_steps_of(const struct plan_graph *g)
{
    return (struct schedule_steps){.graph = g,
                                   .ctx = g,
                                   .count = (uint32_t)plan_graph_count(g),
                                   .at = graph_step,
                                   .leases = true};
}

struct schedule *schedule_create(const struct plan_graph *g,
                                 struct schedule_cluster *cluster, struct rwf_err *err)
{
    struct schedule_steps steps = schedule_steps_of(g);
    return schedule_create_over(&steps, cluster, err);
}

struct schedule *schedule_create_over(const struct schedule_steps *steps,
                                      struct schedule_cluster *cluster,
                                      struct rwf_err *err)
{
    struct schedule *s = rwf_xcalloc(1, sizeof(*s));
    s->steps = *steps;
    s->cluster = cluster;
    s->count = steps->count;
    s->items = rwf_xcalloc((size_t)s->count + 1, sizeof(*s->items));
    s->first = rwf_xcalloc((size_t)s->count + 1, sizeof(*s->first));
    TAILQ_INIT(&s->active);
    TAILQ_INIT(&s->hungry);
    s->counts[STEP_PENDING] = s->count;
    for (uint32_t i = 0; i < s->count; i++)
        s->items[i].because = PLAN_NO_STEP;
    if (classify(s, err) != 0) {
        schedule_destroy(s);
        return NULL;
    }
    fill_dependents(s);
    for (uint32_t i = 0; i < s->count; i++)
        if (s->items[i].waiting == 0)
            offer_ready(s, i);
    return s;
}

void schedule_destroy(struct schedule *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->items[i].granted) /* the cluster outlives us */
            schedule__give(s, i);
    for (size_t i = 0; i < s->class_count; i++) {
        schedule__unhold(s, s->classes[i]);
        schedule__heap_free(&s->classes[i]->ready);
        schedule__heap_free(&s->classes[i]->queue);
        free(s->classes[i]->shapes);
        free(s->classes[i]);
    }
    free(s->classes);
    schedule__heap_free(&s->backoff);
    schedule__heap_free(&s->skips);
    free(s->gangs);
    free(s->ends);
    free(s->items);
    free(s->first);
    free(s->dependents);
    free(s);
}

/* --- what happened --- */

static void set_state(struct schedule *s, uint32_t step, enum schedule_state state)
{
    struct schedule__item *it = &s->items[step];
    s->counts[it->state]--;
    s->counts[state]++;
    it->state = (uint8_t)state;
}

static void release(struct schedule *s, uint32_t step)
{
    if (!s->items[step].granted)
        return;
    schedule__give(s, step);
    class_of(s, step)->running--;
    schedule__update_class(s, class_of(s, step));
}

static void doom(struct schedule *s, uint32_t step, uint32_t because)
{
    struct schedule__item *it = &s->items[step];
    if (it->because != PLAN_NO_STEP)
        return;
    it->because = because;
    schedule__heap_push(&s->skips, step, step);
}

/* Tells the dependents of a step that has come to its end. */
static void settle(struct schedule *s, uint32_t step)
{
    bool good = schedule_state_good(s->items[step].state);
    for (uint32_t k = s->first[step]; k < s->first[step + 1]; k++) {
        uint32_t other = s->dependents[k];
        struct schedule__item *it = &s->items[other];
        if (!good && !schedule__step(s, other)->settles) {
            doom(s, other, step);
            continue;
        }
        rwf_assert(it->waiting > 0);
        if (--it->waiting == 0 && is_ready(it))
            offer_ready(s, other);
    }
}

static void enter_queue(struct schedule *s, uint32_t step)
{
    struct schedule__class *c = class_of(s, step);
    c->queued++;
    schedule__heap_push(&c->queue, step, step);
    schedule__update_class(s, c);
}

static void leave_queue(struct schedule *s, uint32_t step)
{
    struct schedule__class *c = class_of(s, step);
    rwf_assert(c->queued > 0);
    c->queued--;
    schedule__update_class(s, c);
}

static void apply(struct schedule *s, uint32_t step, enum schedule_event event)
{
    struct schedule__item *it = &s->items[step];
    enum schedule_state next = schedule_transition(it->state, event);
    rwf_assert(next != STEP_STATE_COUNT);
    if (schedule__waits_to_start(it))
        leave_queue(s, step);
    bool keeps = it->state == STEP_QUEUED && next == STEP_RUNNING;
    set_state(s, step, next);
    if (!keeps)
        release(s, step);
    if (next == STEP_QUEUED)
        enter_queue(s, step);
    else if (schedule_state_final(next))
        settle(s, step);
    else if (next == STEP_PENDING && is_ready(it))
        offer_ready(s, step);
}

static void back_off(struct schedule *s, uint32_t step, int64_t now, int64_t delay)
{
    struct schedule__item *it = &s->items[step];
    it->due = delay > INT64_MAX - now ? INT64_MAX : now + delay;
    schedule__heap_push(&s->backoff, it->due, step);
}

static bool is_free(const struct schedule__item *it, enum plan_cause cause)
{
    return cause == PLAN_CAUSE_NODE_LOST && it->lost < SCHEDULE_FREE_RETRIES;
}

bool schedule_would_retry(const struct schedule *s, uint32_t step,
                          enum plan_cause cause, int64_t *ret_delay)
{
    const struct plan_policy *p = policy_of(s, step);
    const struct schedule__item *it = &s->items[step];
    if (s->stopping || it->state != STEP_RUNNING)
        return false;
    if (is_free(it, cause)) {
        *ret_delay = 0;
        return true;
    }
    if (it->failures >= p->retry_max || (cause & NEVER_RETRIED) != 0 ||
        (cause & p->retry_on) == 0)
        return false;
    double factor = p->backoff_factor > 1 ? p->backoff_factor : 1;
    double delay = (double)p->backoff_initial * pow(factor, it->failures);
    int64_t most = p->backoff_max > 0 ? p->backoff_max : INT64_MAX / 4;
    *ret_delay = delay >= (double)most ? most : (int64_t)delay;
    return true;
}

bool schedule_accepts(const struct schedule *s, uint32_t step,
                      enum schedule_event event)
{
    return event != SCHEDULE_EVENT_AGAIN &&
           schedule_transition(s->items[step].state, event) != STEP_STATE_COUNT;
}

void schedule_event(struct schedule *s, uint32_t step, enum schedule_event event,
                    enum plan_cause cause, int64_t now)
{
    rwf_assert(step < s->count && schedule_accepts(s, step, event));
    struct schedule__item *it = &s->items[step];
    int64_t delay = 0;
    bool free_of_charge = event == SCHEDULE_EVENT_FAILED && is_free(it, cause);
    if (event == SCHEDULE_EVENT_START ||
        (event == SCHEDULE_EVENT_FAILED && it->state == STEP_QUEUED))
        it->attempt++;
    if (event == SCHEDULE_EVENT_FAILED && schedule_would_retry(s, step, cause, &delay))
        event = SCHEDULE_EVENT_RETRY;
    it->lost += free_of_charge;
    if ((event == SCHEDULE_EVENT_FAILED || event == SCHEDULE_EVENT_RETRY) &&
        !free_of_charge)
        it->failures++;
    if (event == SCHEDULE_EVENT_START)
        it->most = 0;
    it->deferred = false;
    if (event == SCHEDULE_EVENT_PAUSED)
        it->due = INT64_MAX; /* and no wake-up stands for it */
    apply(s, step, event);
    if (event == SCHEDULE_EVENT_RETRY)
        back_off(s, step, now, delay);
}

void schedule_defer(struct schedule *s, uint32_t step, int64_t now, int64_t delay)
{
    rwf_assert(s->items[step].state == STEP_QUEUED && s->items[step].granted);
    apply(s, step, SCHEDULE_EVENT_DEFER);
    s->items[step].deferred = true;
    back_off(s, step, now, delay);
}

void schedule_restore(struct schedule *s, uint32_t step, enum schedule_state state,
                      int attempt, int failures)
{
    struct schedule__item *it = &s->items[step];
    rwf_assert(it->state == STEP_PENDING);
    it->attempt = attempt;
    it->failures = failures;
    if (!schedule_state_final(state))
        return;
    set_state(s, step, state);
    settle(s, step);
}

void schedule_stop(struct schedule *s)
{
    s->stopping = true;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->items[i].state != STEP_RUNNING &&
            !schedule_state_final(s->items[i].state)) {
            set_state(s, i, STEP_STOPPED);
            release(s, i);
        }
}

/* --- decisions --- */

static void wake_due(struct schedule *s, int64_t now)
{
    struct schedule__heap *h = &s->backoff;
    while (h->count > 0 && schedule__heap_first(h)->key <= now) {
        struct schedule__heap_item first = schedule__heap_pop(h);
        const struct schedule__item *it = &s->items[first.step];
        if (it->state == STEP_BACKOFF && it->due == first.key)
            apply(s, first.step, SCHEDULE_EVENT_DUE);
    }
}

static bool is_doomed(const struct schedule__item *it)
{
    return it->state == STEP_PENDING && it->because != PLAN_NO_STEP && !it->offered;
}

static bool pick_skip(struct schedule *s, struct schedule_decision *d)
{
    if (!schedule__heap_clean(s, &s->skips, is_doomed))
        return false;
    d->verb = SCHEDULE_SKIP;
    d->step = schedule__heap_pop(&s->skips).step;
    d->because = s->items[d->step].because;
    s->items[d->step].offered = true;
    return true;
}

/* Higher priority first, then the recipe's order. */
static bool is_earlier(const struct schedule__class *a, const struct schedule__class *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    return schedule__heap_first(&a->ready)->key < schedule__heap_first(&b->ready)->key;
}

static bool pick_prepare(struct schedule *s, struct schedule_decision *d)
{
    struct schedule__class *c, *next, *best = NULL;
    int seen = 0;
    for (c = TAILQ_FIRST(&s->hungry); c != NULL && seen < SCHEDULE__WINDOW; c = next) {
        next = TAILQ_NEXT(c, hungry);
        seen++;
        if (!schedule__heap_clean(s, &c->ready, is_ready))
            schedule__update_class(s, c);
        else if (best == NULL || is_earlier(c, best))
            best = c;
    }
    if (best == NULL)
        return false;
    d->verb = SCHEDULE_PREPARE;
    d->step = schedule__heap_pop(&best->ready).step;
    set_state(s, d->step, STEP_PREPARING);
    schedule__update_class(s, best);
    return true;
}

static size_t finished(const struct schedule *s)
{
    size_t n = 0;
    for (int i = 0; i < STEP_STATE_COUNT; i++)
        n += schedule_state_final(i) ? s->counts[i] : 0;
    return n;
}

struct schedule_decision schedule_next(struct schedule *s, int64_t now,
                                       int64_t *ret_wake)
{
    struct schedule_decision d = {.verb = SCHEDULE_NONE, .because = PLAN_NO_STEP};
    *ret_wake = INT64_MAX;
    if (finished(s) == s->count) {
        d.verb = SCHEDULE_DONE;
        return d;
    }
    if (s->stopping)
        return d;
    wake_due(s, now);
    if (pick_skip(s, &d) || schedule__pick_start(s, &d) || pick_prepare(s, &d) ||
        schedule__pick_preempt(s, &d))
        return d;
    if (s->backoff.count > 0)
        *ret_wake = schedule__heap_first(&s->backoff)->key;
    return d;
}

enum schedule_state schedule_state(const struct schedule *s, uint32_t step)
{
    return s->items[step].state;
}

int schedule_attempt(const struct schedule *s, uint32_t step)
{
    return s->items[step].attempt;
}

size_t schedule_count(const struct schedule *s, enum schedule_state state)
{
    return s->counts[state];
}
