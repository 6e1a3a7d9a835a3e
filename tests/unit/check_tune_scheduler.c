/* SPDX-License-Identifier: Apache-2.0
 *
 * Trial schedulers against slow, plain models of their published rules. A world of
 * trials makes random calls: starts, reports in any order with jumps, repetitions and
 * reports that come too late, failures, the end of the search. Each model looks at the
 * whole history anew for every decision. The history is then replayed, whole and from a
 * cut, and must decide the same.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "tune/rng.h"
#include "tune/scheduler.h"

enum { TRIALS = 48, CALLS = 1500, ROUNDS = 9 };

enum op { START, REPORT, FAIL, CLOSE, NEXT };

struct call {
    enum op op;
    uint64_t trial;
    int64_t t;
    double metric;          /* lower is better */
    struct tune_decision d; /* the answer to REPORT and NEXT */
    bool any;               /* NEXT: there was one */
    bool counted;           /* REPORT: of a running trial, a later step */
};

struct world {
    const char *spec;
    int round;
    bool maximize, whole, closed;
    struct tune_rng rng;
    struct tune_scheduler *s;
    struct tune_space *space;
    struct call calls[CALLS];
    size_t count;
    enum { UNBORN, RUNNING, PAUSED, DEAD } state[TRIALS];
    int64_t t[TRIALS];
    size_t started;
};

static const char space_text[] =
    "{\"lr\": {\"type\": \"loguniform\", \"min\": 1e-5, \"max\": 1},"
    " \"drop\": {\"type\": \"uniform\", \"min\": 0, \"max\": 0.9},"
    " \"layers\": {\"type\": \"int\", \"min\": 1, \"max\": 8},"
    " \"act\": {\"type\": \"choice\", \"values\": [\"relu\", \"gelu\", \"silu\"]},"
    " \"slope\": {\"type\": \"uniform\", \"min\": 0.1, \"max\": 1,"
    "             \"when\": {\"act\": \"silu\"}}}";

static struct tune_scheduler *make(const struct world *w)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *spec = json_loads(w->spec, 0, NULL);
    struct tune_scheduler_options o = {.scheduler = spec,
                                       .space = w->space,
                                       .seed = (uint64_t)w->round,
                                       .maximize = w->maximize};
    struct tune_scheduler *s = tune_scheduler_create(&o, &err);
    ck_assert_msg(s, "%s", err.text);
    json_decref(spec);
    return s;
}

static json_t *config_of(uint64_t trial)
{
    return json_pack("{s:f, s:f, s:i, s:s}", "lr", 0.001 * (1 + (double)trial), "drop",
                     0.01 * (double)trial, "layers", 1 + (int)(trial % 8), "act",
                     trial % 2 ? "relu" : "gelu");
}

/* Makes the call; its answer is in it. */
static void make_call(const struct world *w, struct tune_scheduler *s, struct call *c)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *config = config_of(c->trial);
    c->any = false;
    memset(&c->d, 0, sizeof(c->d));
    if (c->op == START)
        ck_assert_msg(!tune_scheduler_start(s, c->trial, config, &err), "%s", err.text);
    else if (c->op == REPORT)
        ck_assert(!tune_scheduler_report(
            s, c->trial, c->t, w->maximize ? -c->metric : c->metric, &c->d, &err));
    else if (c->op == FAIL)
        tune_scheduler_end(s, c->trial);
    else if (c->op == CLOSE)
        tune_scheduler_close(s);
    else
        c->any = tune_scheduler_next(s, &c->d);
    json_decref(config);
}

static uint64_t below(struct world *w, uint64_t n)
{
    return tune_rng_below(&w->rng, n);
}

static struct call choose(struct world *w)
{
    struct call c = {.op = NEXT};
    uint64_t what = below(w, 100);
    if (what < 25 || !w->started)
        c.op = w->started < TRIALS ? START : NEXT;
    else if (what < 90)
        c.op = REPORT;
    else if (what < 91)
        c.op = FAIL;
    else if (what < 92 && w->count > CALLS * 2 / 3)
        c.op = CLOSE;
    if (w->closed && c.op == START)
        c.op = REPORT;
    if (c.op == START) {
        c.trial = w->started;
        return c;
    }
    c.trial = w->started ? below(w, w->started) : 0;
    /* Whole numbers make ties; with a real one they are never at the edge of rounding.
     */
    c.metric = w->whole ? (double)below(w, 9) : tune_rng_uniform(&w->rng);
    c.t = w->t[c.trial] + (int64_t)below(w, 4) - (below(w, 8) == 0);
    c.t = c.t < 1 ? 1 : c.t;
    if (c.op == FAIL && w->state[c.trial] != RUNNING)
        c.op = NEXT;
    return c;
}

static void follow(struct world *w, struct call *c)
{
    if (c->op == START) {
        w->state[c->trial] = RUNNING;
        w->started++;
    } else if (c->op == FAIL) {
        w->state[c->trial] = DEAD;
    } else if (c->op == CLOSE) {
        w->closed = true;
    } else if (c->op == NEXT && c->any) {
        ck_assert_int_eq(w->state[c->d.trial], PAUSED);
        w->state[c->d.trial] = c->d.action == TUNE_RESUME ? RUNNING : DEAD;
    } else if (c->op == REPORT && c->counted) {
        w->t[c->trial] = c->d.action == TUNE_CLONE ? c->d.source_step : c->t;
        if (c->d.action == TUNE_STOP)
            w->state[c->trial] = DEAD;
        if (c->d.action == TUNE_PAUSE)
            w->state[c->trial] = PAUSED;
    }
}

/* What holds of every scheduler. */
static void check_answer(const struct world *w, const struct call *c)
{
    if (c->op != REPORT || c->counted)
        return;
    ck_assert(c->d.ignored);
    ck_assert_int_eq(c->d.action, w->state[c->trial] == RUNNING  ? TUNE_CONTINUE
                                  : w->state[c->trial] == PAUSED ? TUNE_PAUSE
                                                                 : TUNE_STOP);
}

typedef void (*model_fn)(const struct world *w, const struct call *c);

static void same_answer(const struct call *a, const struct call *b)
{
    ck_assert_int_eq(a->any, b->any);
    ck_assert_int_eq(a->d.action, b->d.action);
    ck_assert_uint_eq(a->d.trial, b->d.trial);
    ck_assert_uint_eq(a->d.source, b->d.source);
    ck_assert_int_eq(a->d.source_step, b->d.source_step);
    ck_assert_int_eq(a->d.keep_checkpoint, b->d.keep_checkpoint);
    ck_assert_int_eq(!a->d.config, !b->d.config);
    ck_assert(!a->d.config || json_equal(a->d.config, b->d.config));
}

static void replay(const struct world *w)
{
    struct tune_scheduler *s = make(w);
    for (size_t i = 0; i < w->count; i++) {
        struct call c = w->calls[i];
        make_call(w, s, &c);
        same_answer(&c, &w->calls[i]);
        json_decref(c.d.config);
    }
    tune_scheduler_destroy(s);
}

static void run_world(const char *spec, int round, model_fn model)
{
    struct world *w = rwf_xcalloc(1, sizeof(*w));
    json_t *space = json_loads(space_text, 0, NULL);
    w->spec = spec;
    w->round = round;
    w->maximize = round % 2;
    w->whole = round % 3 == 0;
    w->space = tune_space_create(space, NULL);
    w->s = make(w);
    tune_rng_init(&w->rng, (uint64_t)round, TUNE_FOR_USER, 1);
    while (w->count < CALLS) {
        struct call c = choose(w);
        c.counted =
            c.op == REPORT && w->state[c.trial] == RUNNING && c.t > w->t[c.trial];
        make_call(w, w->s, &c);
        check_answer(w, &c);
        model(w, &c);
        w->calls[w->count++] = c;
        follow(w, &w->calls[w->count - 1]);
    }
    replay(w);
    for (size_t i = 0; i < w->count; i++)
        json_decref(w->calls[i].d.config);
    tune_scheduler_destroy(w->s);
    tune_space_destroy(w->space);
    json_decref(space);
    free(w);
}

static int by_number(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* --- asha --- */

enum { MAX_T = 64, FACTOR = 4 };

static int milestone(int64_t t)
{
    int k = -1;
    for (int64_t m = 1; m < MAX_T && m <= t; m *= FACTOR)
        k++;
    return k;
}

/* The metrics recorded in rung k before now, by looking through the history. */
static size_t recorded(const struct world *w, int k, double *metrics, uint64_t *trials)
{
    int highest[TRIALS];
    size_t n = 0;
    memset(highest, -1, sizeof(highest));
    for (size_t i = 0; i < w->count; i++) {
        const struct call *c = &w->calls[i];
        int m = c->op == REPORT && c->counted && c->t < MAX_T ? milestone(c->t) : -1;
        if (m < 0 || m <= highest[c->trial])
            continue;
        highest[c->trial] = m;
        if (m != k)
            continue;
        trials[n] = c->trial;
        metrics[n++] = c->metric;
    }
    return n;
}

/* Whether the trial's latest rung before this report is k. */
static bool is_in(const struct world *w, uint64_t trial, int k)
{
    double metrics[TRIALS];
    uint64_t trials[TRIALS];
    size_t n = recorded(w, k, metrics, trials);
    for (size_t i = 0; i < n; i++)
        if (trials[i] == trial)
            return true;
    return false;
}

static void model_asha_stop(const struct world *w, const struct call *c)
{
    double metrics[TRIALS];
    uint64_t trials[TRIALS];
    if (c->op == NEXT)
        ck_assert(!c->any);
    if (c->op != REPORT || !c->counted)
        return;
    int k = milestone(c->t), expect = TUNE_CONTINUE;
    bool seen = false;
    for (int j = k; j <= 3; j++)
        seen |= is_in(w, c->trial, j);
    if (c->t >= MAX_T) {
        expect = TUNE_STOP;
    } else if (k >= 0 && !seen) {
        /* As numpy.percentile(metrics, 100 (1 - 1/4)) of the negatives: interpolated.
         */
        size_t n = recorded(w, k, metrics, trials);
        qsort(metrics, n, sizeof(*metrics), by_number);
        size_t quarters = n ? n - 1 : 0, i = quarters / FACTOR;
        double part = (double)(quarters % FACTOR) / FACTOR;
        double next = n && i + 1 < n ? metrics[i + 1] : n ? metrics[i] : 0;
        if (n && c->metric > metrics[i] + part * (next - metrics[i]))
            expect = TUNE_STOP;
    }
    ck_assert_msg((int)c->d.action == expect, "trial %d at %d: %d, not %d",
                  (int)c->trial, (int)c->t, (int)c->d.action, expect);
}

START_TEST(asha_stops_as_the_model)
{
    run_world("{\"type\": \"asha\", \"max_t\": 64}", _i, model_asha_stop);
}
END_TEST

/* Algorithm 2, get_job: the highest rung with a candidate among its best n / 4 that was
 * not promoted from it; of these the best. -1: none. */
static int64_t get_job(const struct world *w, int *ret_rung)
{
    double metrics[TRIALS];
    uint64_t trials[TRIALS];
    for (int k = 2; k >= 0; k--) {
        size_t n = recorded(w, k, metrics, trials);
        for (size_t place = 0; place < n / FACTOR; place++) {
            for (size_t i = 0; i < n; i++) {
                size_t better = 0;
                for (size_t j = 0; j < n; j++)
                    better += metrics[j] < metrics[i] ||
                              (metrics[j] == metrics[i] && trials[j] < trials[i]);
                bool promoted = false;
                for (size_t p = 0; p < w->count; p++)
                    promoted |= w->calls[p].op == NEXT && w->calls[p].any &&
                                w->calls[p].d.trial == trials[i] &&
                                milestone(w->calls[p].d.rung) >= k;
                if (better != place || promoted || w->state[trials[i]] != PAUSED)
                    continue;
                *ret_rung = k;
                return (int64_t)trials[i];
            }
        }
    }
    return -1;
}

static void model_asha_promote(const struct world *w, const struct call *c)
{
    int rung;
    if (c->op == REPORT && c->counted) {
        int k = milestone(c->t);
        bool seen = false;
        for (int j = k; j <= 3; j++)
            seen |= j >= 0 && is_in(w, c->trial, j);
        ck_assert_int_eq(c->d.action, c->t >= MAX_T     ? TUNE_STOP
                                      : k >= 0 && !seen ? TUNE_PAUSE
                                                        : TUNE_CONTINUE);
    }
    if (c->op != NEXT)
        return;
    int64_t job = get_job(w, &rung);
    if (job >= 0) {
        ck_assert(c->any && c->d.action == TUNE_RESUME);
        ck_assert_int_eq((int64_t)c->d.trial, job);
        ck_assert_int_eq(milestone(c->d.rung), rung);
    } else if (c->any) {
        ck_assert_int_eq(c->d.action, TUNE_STOP);
        ck_assert(w->closed);
        for (size_t i = 0; i < TRIALS; i++)
            ck_assert_int_ne(w->state[i], RUNNING);
    }
}

START_TEST(asha_promotes_as_the_model)
{
    run_world("{\"type\": \"asha\", \"max_t\": 64, \"variant\": \"promote\"}", _i,
              model_asha_promote);
}
END_TEST

static void no_model(const struct world *w, const struct call *c)
{
    (void)w;
    (void)c;
}

START_TEST(brackets_replay)
{
    run_world("{\"type\": \"asha\", \"max_t\": 64, \"brackets\": 3}", _i, no_model);
    run_world("{\"type\": \"none\", \"max_t\": 20}", _i, no_model);
}
END_TEST

/* Each bracket lacks one rung more, and the shares are HyperBand's: 16 : 6 : 3 here. */
START_TEST(brackets_share)
{
    struct world w = {.spec = "{\"type\": \"asha\", \"max_t\": 64, \"brackets\": 3}"};
    struct tune_scheduler *s = make(&w);
    int first[65] = {0};
    for (uint64_t trial = 0; trial < 2000; trial++) {
        struct tune_decision d = {.rung = 0};
        ck_assert(!tune_scheduler_start(s, trial, NULL, NULL));
        for (int64_t t = 1; !d.rung && t < 64; t++)
            ck_assert(!tune_scheduler_report(s, trial, t, 1.0, &d, NULL));
        first[d.rung]++;
    }
    double sum = 16 / 3.0 + 4 / 2.0 + 1;
    ck_assert_double_eq_tol(first[1] / 2000.0, 16 / 3.0 / sum, 0.03);
    ck_assert_double_eq_tol(first[4] / 2000.0, 2 / sum, 0.03);
    ck_assert_double_eq_tol(first[16] / 2000.0, 1 / sum, 0.03);
    tune_scheduler_destroy(s);
}
END_TEST

/* --- hyperband: max_t 9, factor 3: brackets of 9, 5 and 3 trials --- */

static const int hb_size[3] = {9, 5, 3}, hb_halvings[3] = {2, 1, 0};

struct hb {
    uint64_t trial[9];
    int alive[9]; /* 0 failed or dropped, 1 not there yet, 2 waits with metric */
    double metric[9];
    int count, stage, kind;
};

static int64_t hb_end(const struct hb *b)
{
    int64_t end = 9;
    for (int i = b->stage; i < hb_halvings[b->kind]; i++)
        end /= 3;
    return end;
}

/* When the stage is over: who goes on gets 1, who does not 0. Returns how many go on,
 * -1 when it is not over. `entered` counts the failed, too. */
static int hb_halve(struct hb *b, bool closed, int *entered)
{
    int goes[9] = {0}, left = 0;
    if (!b->count || (!b->stage && b->count < hb_size[b->kind] && !closed))
        return -1;
    for (int i = 0; i < b->count; i++)
        if (b->alive[i] == 1)
            return -1;
    int keep = *entered / 3 > 1 ? *entered / 3 : 1;
    for (int i = 0; i < b->count; i++) {
        int better = 0;
        for (int j = 0; j < b->count; j++)
            better += b->alive[j] == 2 &&
                      (b->metric[j] < b->metric[i] ||
                       (b->metric[j] == b->metric[i] && b->trial[j] < b->trial[i]));
        goes[i] = b->alive[i] == 2 && better < keep;
    }
    for (int i = 0; i < b->count; i++) {
        b->alive[i] = goes[i];
        left += goes[i];
    }
    *entered = left;
    b->stage++;
    return left;
}

/* Plays the history again; *expect[trial]: what has been decided of it by now. */
static void hb_play(const struct world *w, const struct call *last, int *expect,
                    int *answer)
{
    struct hb b[TRIALS] = {{.count = 0}};
    int entered[TRIALS] = {0}, n = 0, of[TRIALS];
    bool closed = false;
    for (size_t i = 0; i <= w->count; i++) {
        const struct call *c = i < w->count ? &w->calls[i] : last;
        if (c->op == START) {
            if (!n || b[n - 1].stage || b[n - 1].count == hb_size[b[n - 1].kind]) {
                b[n].kind = n ? (b[n - 1].kind + 1) % 3 : 0;
                n++;
            }
            struct hb *to = &b[n - 1];
            of[c->trial] = n - 1;
            entered[n - 1]++;
            to->alive[to->count] = 1;
            to->trial[to->count++] = c->trial;
            continue;
        }
        if (c->op == NEXT || (c->op == REPORT && !c->counted))
            continue;
        closed |= c->op == CLOSE;
        if (c->op == CLOSE && !n)
            continue;
        int k = c->op == CLOSE ? n - 1 : of[c->trial];
        *answer = TUNE_CONTINUE;
        expect[c->trial] = c->op == REPORT ? 0 : expect[c->trial];
        if (c->op == REPORT && (c->t >= 9 || c->t < hb_end(&b[k]))) {
            *answer = c->t >= 9 ? TUNE_STOP : TUNE_CONTINUE;
            continue;
        }
        for (int j = 0; c->op != CLOSE && j < b[k].count; j++) {
            if (b[k].trial[j] != c->trial)
                continue;
            b[k].alive[j] = c->op == FAIL ? 0 : 2;
            b[k].metric[j] = c->metric;
        }
        bool waited[9];
        for (int j = 0; j < b[k].count; j++)
            waited[j] = b[k].alive[j] == 2;
        if (c->op == REPORT)
            *answer = TUNE_PAUSE;
        if (hb_halve(&b[k], closed, &entered[k]) < 0)
            continue;
        for (int j = 0; j < b[k].count; j++) {
            if (!waited[j])
                continue;
            int decided = b[k].alive[j] ? TUNE_RESUME : TUNE_STOP;
            if (c->op == REPORT && b[k].trial[j] == c->trial)
                *answer = decided == TUNE_STOP ? TUNE_STOP : TUNE_CONTINUE;
            else
                expect[b[k].trial[j]] = decided;
        }
    }
}

static void model_hyperband(const struct world *w, const struct call *c)
{
    int expect[TRIALS] = {0}, answer = TUNE_CONTINUE, outstanding = 0;
    if (c->op == START || (c->op == REPORT && !c->counted))
        return;
    hb_play(w, c, expect, &answer);
    if (c->op == REPORT)
        ck_assert_msg((int)c->d.action == answer, "trial %d at %d: %d, not %d",
                      (int)c->trial, (int)c->t, (int)c->d.action, answer);
    if (c->op != NEXT)
        return;
    for (int i = 0; i < TRIALS; i++)
        outstanding += w->state[i] == PAUSED && expect[i];
    ck_assert_int_eq(c->any, outstanding > 0);
    if (c->any)
        ck_assert_int_eq(c->d.action, expect[c->d.trial]);
}

START_TEST(hyperband_decides_as_the_model)
{
    run_world("{\"type\": \"hyperband\", \"max_t\": 9}", _i, model_hyperband);
}
END_TEST

/* Whatever fails and whenever the search is closed, no trial waits for ever. */
START_TEST(hyperband_ends)
{
    struct world *w = rwf_xcalloc(1, sizeof(*w));
    w->spec = "{\"type\": \"hyperband\", \"max_t\": 9}";
    w->s = make(w);
    tune_rng_init(&w->rng, (uint64_t)_i, TUNE_FOR_USER, 2);
    uint64_t trials = 1 + below(w, TRIALS - 1);
    for (int calls = 0; calls < 20000; calls++) {
        struct call c = {
            .op = NEXT, .trial = below(w, trials), .metric = (double)calls};
        if (w->started < trials && below(w, 3) == 0)
            c = (struct call){.op = START, .trial = w->started};
        else if (w->started == trials && !w->closed)
            c.op = CLOSE;
        else if (w->state[c.trial] == RUNNING && below(w, 2))
            c.op = below(w, 30) ? REPORT : FAIL;
        c.t = w->t[c.trial] + 1;
        c.counted = true;
        make_call(w, w->s, &c);
        follow(w, &c);
    }
    for (uint64_t i = 0; i < trials; i++)
        ck_assert_int_eq(w->state[i], DEAD);
    tune_scheduler_destroy(w->s);
    free(w);
}
END_TEST

/* A bracket that gets two trials of nine halves the two: one goes on, to the end. */
START_TEST(hyperband_halves_a_partial_bracket)
{
    struct world w = {.spec = "{\"type\": \"hyperband\", \"max_t\": 9}"};
    struct tune_scheduler *s = make(&w);
    struct tune_decision d;
    for (uint64_t trial = 0; trial < 2; trial++) {
        tune_scheduler_start(s, trial, NULL, NULL);
        tune_scheduler_report(s, trial, 1, 5.0 - (double)trial, &d, NULL);
        ck_assert_int_eq(d.action, TUNE_PAUSE);
        ck_assert(!tune_scheduler_next(s, &d));
    }
    tune_scheduler_close(s);
    ck_assert(tune_scheduler_next(s, &d));
    ck_assert(d.action == TUNE_RESUME && d.trial == 1);
    ck_assert(tune_scheduler_next(s, &d));
    ck_assert(d.action == TUNE_STOP && d.trial == 0);
    ck_assert(!tune_scheduler_next(s, &d));
    /* Alone, it need not even pause. */
    tune_scheduler_report(s, 1, 3, 4, &d, NULL);
    ck_assert_int_eq(d.action, TUNE_CONTINUE);
    tune_scheduler_report(s, 1, 9, 4, &d, NULL);
    ck_assert_int_eq(d.action, TUNE_STOP);
    ck_assert_str_eq(d.reason, "max_t");
    tune_scheduler_destroy(s);
}
END_TEST

/* --- median --- */

static void model_median(const struct world *w, const struct call *c)
{
    double means[TRIALS], best = c->metric;
    size_t n = 0;
    if (c->op != REPORT || !c->counted)
        return;
    for (uint64_t trial = 0; trial < w->started; trial++) {
        double sum = 0;
        size_t count = 0;
        for (size_t i = 0; i < w->count; i++) {
            const struct call *o = &w->calls[i];
            if (o->op != REPORT || !o->counted || o->trial != trial)
                continue;
            if (trial == c->trial)
                best = fmin(best, o->metric);
            sum += o->t <= c->t ? o->metric : 0;
            count += o->t <= c->t;
        }
        if (trial != c->trial && w->t[trial] >= c->t && count)
            means[n++] = sum / (double)count;
    }
    qsort(means, n, sizeof(*means), by_number);
    int expect = TUNE_CONTINUE;
    if (c->t >= 40)
        expect = TUNE_STOP;
    else if (c->t >= 3 && n >= 4 &&
             best > (n % 2 ? means[n / 2] : (means[n / 2 - 1] + means[n / 2]) / 2))
        expect = TUNE_STOP;
    ck_assert_int_eq((int)c->d.action, expect);
}

START_TEST(median_stops_as_the_model)
{
    run_world("{\"type\": \"median\", \"max_t\": 40, \"grace_period\": 3, "
              "\"min_samples\": 4}",
              _i, model_median);
}
END_TEST

/* --- pbt --- */

static double number(const json_t *config, const char *key)
{
    return json_number_value(json_object_get(config, key));
}

/* The configuration a trial has now: its own, or that of its last clone. */
static json_t *current(const struct world *w, uint64_t trial)
{
    for (size_t i = w->count; i-- > 0;)
        if (w->calls[i].op == REPORT && w->calls[i].trial == trial &&
            w->calls[i].d.config)
            return json_incref(w->calls[i].d.config);
    return config_of(trial);
}

static bool is_step(double was, double is, double min, double max)
{
    return fabs(is - fmin(fmax(was * 1.2, min), max)) < 1e-12 ||
           fabs(is - fmin(fmax(was * 0.8, min), max)) < 1e-12;
}

static int perturbed, drawn;

static void check_explored(const struct world *w, const struct call *c)
{
    json_t *was = current(w, c->d.source), *is = c->d.config;
    double x[8];
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(!tune_space_read(w->space, is, false, x, &err), "%s", err.text);
    int lr = is_step(number(was, "lr"), number(is, "lr"), 1e-5, 1);
    int drop = is_step(number(was, "drop"), number(is, "drop"), 0, 0.9);
    perturbed += lr + drop;
    drawn += 2;
    json_decref(was);
}

/* Score, step of the last interval, and kept checkpoint of each trial, from the
 * history. */
struct pbt_trial {
    bool has;
    double score;
    int64_t last, checkpoint;
};

static void pbt_play(const struct world *w, struct pbt_trial *p)
{
    for (size_t i = 0; i < w->count; i++) {
        const struct call *c = &w->calls[i];
        struct pbt_trial *q = &p[c->trial];
        if (c->op != REPORT || !c->counted || c->t < 2 || c->t - q->last < 3)
            continue;
        *q = (struct pbt_trial){true, c->metric, c->t, q->checkpoint};
        if (c->d.keep_checkpoint)
            q->checkpoint = c->t;
        if (c->d.action != TUNE_CLONE)
            continue;
        *q = (struct pbt_trial){true, p[c->d.source].score, c->d.source_step, 0};
    }
}

static void model_pbt(const struct world *w, const struct call *c)
{
    struct pbt_trial p[TRIALS] = {{0}};
    if (c->op != REPORT || !c->counted)
        return;
    pbt_play(w, p);
    if (c->t >= 60 || c->t < 2 || c->t - p[c->trial].last < 3) {
        ck_assert_int_eq(c->d.action, c->t >= 60 ? TUNE_STOP : TUNE_CONTINUE);
        ck_assert(!c->d.keep_checkpoint);
        return;
    }
    p[c->trial].has = true;
    p[c->trial].score = c->metric;
    int n = 0, rank[TRIALS], sources = 0;
    for (int i = 0; i < TRIALS; i++) {
        rank[i] = -1;
        if (w->state[i] != RUNNING || !p[i].has)
            continue;
        n++;
        rank[i] = 0;
        for (int j = 0; j < TRIALS; j++)
            rank[i] += w->state[j] == RUNNING && p[j].has &&
                       (p[j].score < p[i].score || (p[j].score == p[i].score && j < i));
    }
    int k = n < 2 ? 0 : (n + 3) / 4 < n / 2 ? (n + 3) / 4 : n / 2;
    for (int i = 0; i < TRIALS; i++)
        sources += rank[i] >= 0 && rank[i] < k && p[i].checkpoint;
    bool high = rank[c->trial] < k, low = rank[c->trial] >= n - k;
    ck_assert_int_eq(c->d.keep_checkpoint, high);
    ck_assert_int_eq(c->d.action, low && sources ? TUNE_CLONE : TUNE_CONTINUE);
    if (c->d.action != TUNE_CLONE)
        return;
    ck_assert(rank[c->d.source] >= 0 && rank[c->d.source] < k);
    ck_assert_int_eq(c->d.source_step, p[c->d.source].checkpoint);
    check_explored(w, c);
}

START_TEST(pbt_copies_as_the_model)
{
    run_world("{\"type\": \"pbt\", \"perturbation_interval\": 3, \"burn_in\": 2, "
              "\"max_t\": 60}",
              _i, model_pbt);
    /* A quarter is drawn anew: 0.75 of some hundreds. */
    ck_assert_int_gt(drawn, 100);
    ck_assert_double_eq_tol((double)perturbed / drawn, 0.75, 0.15);
}
END_TEST

/* --- previews and errors --- */

static json_t *preview(const char *spec, uint64_t trials)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *s = json_loads(spec, 0, NULL);
    struct tune_scheduler_options o = {.scheduler = s};
    json_t *p = tune_scheduler_preview(&o, trials, &err);
    ck_assert_msg(p, "%s", err.text);
    json_decref(s);
    return p;
}

START_TEST(preview_counts_rungs)
{
    json_t *p = preview("{\"type\": \"hyperband\", \"max_t\": 9}", 17);
    char *text =
        json_dumps(json_object_get(p, "rungs"), JSON_COMPACT | JSON_REAL_PRECISION(3));
    ck_assert_str_eq(text, "[{\"bracket\":0,\"step\":1,\"trials\":9.0},{\"bracket\":0,"
                           "\"step\":3,\"trials\":3.0},"
                           "{\"bracket\":0,\"step\":9,\"trials\":1.0},{\"bracket\":1,"
                           "\"step\":3,\"trials\":5.0},"
                           "{\"bracket\":1,\"step\":9,\"trials\":1.0},{\"bracket\":2,"
                           "\"step\":9,\"trials\":3.0}]");
    /* 9 + 3*2 + 6, 5*3 + 6, 3*9 */
    ck_assert_double_eq(json_real_value(json_object_get(p, "trial_steps")), 69);
    ck_assert_double_eq(json_real_value(json_object_get(p, "full_trial_steps")), 153);
    free(text);
    json_decref(p);
    p = preview("{\"type\": \"median\"}", 17);
    ck_assert(!json_object_get(p, "trial_steps"));
    json_decref(p);
}
END_TEST

/* The expected numbers of asha are those of metrics in random order. */
START_TEST(preview_expects_what_happens)
{
    json_t *p = preview("{\"type\": \"asha\", \"max_t\": 64}", 256);
    double steps = 0, rounds = 40;
    for (int round = 0; round < (int)rounds; round++) {
        struct world w = {.spec = "{\"type\": \"asha\", \"max_t\": 64}"};
        struct tune_scheduler *s = make(&w);
        struct tune_rng rng;
        tune_rng_init(&rng, (uint64_t)round, TUNE_FOR_USER, 3);
        for (uint64_t trial = 0; trial < 256; trial++) {
            struct tune_decision d = {.action = TUNE_CONTINUE};
            double metric = 0;
            tune_scheduler_start(s, trial, NULL, NULL);
            for (int64_t t = 1; d.action == TUNE_CONTINUE; t++, steps++) {
                if (t == 1 || t == 4 || t == 16)
                    metric = tune_rng_uniform(&rng);
                tune_scheduler_report(s, trial, t, metric, &d, NULL);
            }
        }
        tune_scheduler_destroy(s);
    }
    double expected = json_real_value(json_object_get(p, "trial_steps"));
    ck_assert_double_eq_tol(steps / rounds / expected, 1, 0.05);
    json_decref(p);
}
END_TEST

static const struct bad {
    const char *spec, *text;
    int64_t max_steps;
} bads[] = {
    {"{\"type\": \"asah\"}", "did you mean 'asha'?", 0},
    {"{\"type\": \"bohb\"}", "there are: none, asha, hyperband, median, pbt", 0},
    {"{\"type\": 3}", "'type' must be a word", 0},
    {"{\"type\": \"asha\", \"max_tt\": 3}",
     "unknown key 'max_tt': did you mean 'max_t'?", 0},
    {"{\"type\": \"asha\", \"reduction_factor\": 1}",
     "'reduction_factor' must be a number from 1.0001", 0},
    {"{\"type\": \"asha\", \"max_t\": 1.5}", "'max_t' must be a whole number", 0},
    {"{\"type\": \"asha\", \"grace_period\": 200}",
     "grace_period 200 is above max_t 100", 0},
    {"{\"type\": \"asha\", \"max_t\": 16, \"brackets\": 4}",
     "4 brackets, but there are only 2 rungs below max_t 16: write brackets: 2", 0},
    {"{\"type\": \"asha\", \"variant\": \"promot\"}", "did you mean 'promote'?", 0},
    {"{\"type\": \"asha\", \"max_t\": 81}",
     "max_t is 81, but the target ends after 50 steps", 50},
    {"{\"type\": \"pbt\"}", "needs 'perturbation_interval'", 0},
    {"{\"type\": \"pbt\", \"perturbation_interval\": 9, \"max_t\": 9}",
     "nothing would ever be copied", 0},
    {"{\"type\": \"pbt\", \"perturbation_interval\": 1}", "needs a space", 0},
    {"{\"type\": \"pbt\", \"perturbation_interval\": 1, \"quantile_fraction\": 0.6}",
     "'quantile_fraction' must be a number from 0 to 0.5", 0},
};

START_TEST(bad_schedulers)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *spec = json_loads(bads[_i].spec, 0, NULL);
    struct tune_scheduler_options o = {.scheduler = spec,
                                       .max_steps = bads[_i].max_steps};
    ck_assert(!tune_scheduler_create(&o, &err));
    ck_assert_msg(strstr(err.text, bads[_i].text), "'%s' is not in: %s", bads[_i].text,
                  err.text);
    json_decref(spec);
}
END_TEST

START_TEST(bad_calls)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct world w = {.spec = "{\"type\": \"asha\"}"};
    struct tune_scheduler *s = make(&w);
    struct tune_decision d = {.action = TUNE_CONTINUE};
    ck_assert(tune_scheduler_report(s, 7, 1, 1, &d, &err));
    ck_assert_str_eq(err.text, "trial 7 reports, but it never began");
    ck_assert(!tune_scheduler_start(s, 7, NULL, &err));
    ck_assert(tune_scheduler_start(s, 7, NULL, &err));
    ck_assert_str_eq(err.text, "trial 7 began before");
    ck_assert(tune_scheduler_report(s, 7, 1, NAN, &d, &err));
    ck_assert_str_eq(err.text, "trial 7: the metric is not a number");
    tune_scheduler_end(s, 7);
    tune_scheduler_end(s, 7);
    tune_scheduler_end(s, 8);
    ck_assert(!tune_scheduler_report(s, 7, 1, 1, &d, &err));
    ck_assert_int_eq(d.action, TUNE_STOP);
    tune_scheduler_destroy(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tune_scheduler");
    TCase *models = tcase_create("models");
    tcase_set_timeout(models, 60);
    tcase_add_loop_test(models, asha_stops_as_the_model, 0, ROUNDS);
    tcase_add_loop_test(models, asha_promotes_as_the_model, 0, ROUNDS);
    tcase_add_loop_test(models, brackets_replay, 0, 4);
    tcase_add_test(models, brackets_share);
    tcase_add_loop_test(models, hyperband_decides_as_the_model, 0, ROUNDS);
    tcase_add_loop_test(models, hyperband_ends, 0, 20);
    tcase_add_test(models, hyperband_halves_a_partial_bracket);
    tcase_add_loop_test(models, median_stops_as_the_model, 0, ROUNDS);
    tcase_add_loop_test(models, pbt_copies_as_the_model, 0, ROUNDS);
    suite_add_tcase(suite, models);
    TCase *rest = tcase_create("previews and errors");
    tcase_add_test(rest, preview_counts_rungs);
    tcase_add_test(rest, preview_expects_what_happens);
    tcase_add_loop_test(rest, bad_schedulers, 0, (int)RWF_COUNT(bads));
    tcase_add_test(rest, bad_calls);
    suite_add_tcase(suite, rest);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
