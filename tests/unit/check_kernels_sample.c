/* SPDX-License-Identifier: Apache-2.0
 *
 * Edits of logits and drawing a token: the reference against its definition and against
 * the probabilities, every variant against the reference, id by id.
 */
#include "config.h"
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cpu/host.h"
#include "tests/unit/kernels_rig.h"

#define COUNT(x) ((int)(sizeof(x) / sizeof(*(x))))

/* One draw of one row with scratch of its own. */
struct one {
    const float *logits;
    int64_t vocab;
    float temperature, top_p, min_p;
    int32_t top_k;
    uint64_t seed, step;
    const uint32_t *mask;
};

static int32_t draw_one(const struct kernels *k, struct kernel_context *c, struct one o)
{
    int32_t id = -2, row = 0;
    struct kernel_sample s = {.rows = 1,
                              .vocab = o.vocab,
                              .stride = o.vocab,
                              .logits = o.logits,
                              .temperature = &o.temperature,
                              .top_p = &o.top_p,
                              .min_p = &o.min_p,
                              .top_k = &o.top_k,
                              .seed = &o.seed,
                              .step = &o.step,
                              .mask_row = o.mask != NULL ? &row : NULL,
                              .mask = o.mask,
                              .ids = &id};
    void *scratch = malloc(k->sample_scratch(c, 1, o.vocab) + 1);
    k->sample(c, &s, scratch);
    free(scratch);
    return id;
}

/* --- rules, for every table --- */

START_TEST(rules)
{
    static const float ties[] = {1, 3, 2, 3, 3, -1, 0, 2};
    static const float bad[] = {1, NAN, 3, 0}, high[] = {1, INFINITY, 3, 0};
    static const float low[] = {-INFINITY, 0, -INFINITY, 0};
    static const float none[] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    static const uint32_t no1[] = {0xf5}, only5[] = {0x20}, nothing[] = {0};
    static const uint32_t only2[] = {4};
    /* Without temperature, and with such restrictions that one token is left. */
    static const struct {
        const float *logits;
        int64_t vocab;
        float temperature, top_p, min_p;
        int32_t top_k;
        const uint32_t *mask;
        int32_t want;
    } cases[] = {
        {ties, 8, 0, 1, 0, 0, NULL, 1},      {ties, 8, 0, 1, 0, 0, no1, 4},
        {ties, 8, 0, 1, 0, 0, only5, 5},     {ties, 8, 0, 1, 0, 0, nothing, -1},
        {ties, 8, 1, 1, 0, 1, NULL, 1},      {ties, 8, 1, 0, 0, 0, NULL, 1},
        {ties, 8, 1, 0.2f, 0, 0, NULL, 1},   {ties, 8, 1, 1, 0, 1, no1, 4},
        {ties, 8, 1, 1, 0, 0, only5, 5},     {ties, 8, 1, 1, 1, 1, NULL, 1},
        {ties, 8, 1e-9f, 1, 0, 0, only2, 2}, {ties, 8, 1, 1, 0, 0, nothing, -1},
        {bad, 4, 0, 1, 0, 0, NULL, -1},      {bad, 4, 1, 1, 0, 0, NULL, -1},
        {bad, 4, 1, 1, 0, 1, only2, -1},     {high, 4, 0, 1, 0, 0, NULL, -1},
        {high, 4, 1, 1, 0, 0, only2, -1},    {low, 4, 0, 1, 0, 0, NULL, 1},
        {low, 4, 1, 1, 0, 1, NULL, 1},       {low, 4, 1, 1, 0, 0, only2, -1},
        {none, 4, 0, 1, 0, 0, NULL, -1},     {none, 4, 1, 0.5f, 0.1f, 2, NULL, -1},
    };
    const struct kernels *k = rig_table(_i);
    if (k == NULL)
        return; /* rig_run said so */
    struct kernel_context *c = rig_open(k);
    for (int i = 0; i < COUNT(cases); i++)
        for (uint64_t seed = 0; seed < 5; seed++) {
            int32_t id = draw_one(k, c,
                                  (struct one){.logits = cases[i].logits,
                                               .vocab = cases[i].vocab,
                                               .temperature = cases[i].temperature,
                                               .top_p = cases[i].top_p,
                                               .min_p = cases[i].min_p,
                                               .top_k = cases[i].top_k,
                                               .seed = seed,
                                               .mask = cases[i].mask});
            ck_assert_msg(id == cases[i].want, "case %d: drew %d, want %d", i, id,
                          cases[i].want);
        }
    k->close(c);
}
END_TEST

/* --- probabilities --- */

enum { FEW = 12, DRAWS = 20000 };

/* What is left of p by the definition, in its plainest form, scaled to sum 1. */
static void expected(double p[FEW], const float *logits, const struct one *o)
{
    int order[FEW];
    double total = 0, sum = 0, all = 0;
    for (int i = 0; i < FEW; i++) {
        order[i] = i;
        p[i] = exp((double)logits[i] / (double)o->temperature);
        total += p[i];
    }
    for (int i = 0; i < FEW; i++)
        for (int j = 0; j + 1 < FEW; j++)
            if (p[order[j]] < p[order[j + 1]]) {
                int swap = order[j];
                order[j] = order[j + 1];
                order[j + 1] = swap;
            }
    for (int i = 0; i < FEW; i++) {
        p[i] /= total;
        if (o->mask != NULL && (o->mask[0] >> i & 1) == 0)
            p[i] = 0;
    }
    double most = 0;
    for (int i = 0, seen = 0; i < FEW; i++) {
        double *x = &p[order[i]];
        most = *x > most ? *x : most;
        seen += *x > 0;
        if ((o->top_k > 0 && seen > o->top_k) || *x < (double)o->min_p * most)
            *x = 0;
        all += *x;
    }
    total = 0;
    for (int i = 0; i < FEW; i++) {
        double *x = &p[order[i]];
        if (sum >= (double)o->top_p * all)
            *x = 0;
        sum += *x;
        total += *x;
    }
    for (int i = 0; i < FEW; i++)
        p[i] /= total;
}

/* Chi-squared of DRAWS draws, with a limit that a right one passes but one time in ten
 * thousand; the draws are always the same ones. */
START_TEST(distribution)
{
    static const float logits[FEW] = {2,  -1,   0.5f, 1.9f, 3,     0,
                                      -3, 2.5f, 1,    1.1f, -0.5f, 0.2f};
    static const uint32_t mask[] = {0xfef};
    static const struct one cases[] = {
        {.temperature = 1, .top_p = 1},
        {.temperature = 0.7f, .top_p = 1, .mask = mask},
        {.temperature = 2, .top_p = 1, .top_k = 5},
        {.temperature = 1.3f, .top_p = 0.8f},
        {.temperature = 1, .top_p = 1, .min_p = 0.2f},
        {.temperature = 1.5f, .top_p = 0.9f, .top_k = 7, .min_p = 0.1f, .mask = mask},
    };
    const struct kernels *k = rig_table(_i);
    if (k == NULL)
        return; /* rig_run said so */
    struct kernel_context *c = rig_open(k);
    for (int i = 0; i < COUNT(cases); i++) {
        struct one o = cases[i];
        double p[FEW], squared = 0;
        int drawn[FEW] = {0};
        o.logits = logits;
        o.vocab = FEW;
        expected(p, logits, &o);
        for (int n = 0; n < DRAWS; n++) {
            o.seed = (uint64_t)n / 100 * 1000003 + (uint64_t)i;
            o.step = (uint64_t)n % 100;
            int32_t id = draw_one(k, c, o);
            ck_assert_int_ge(id, 0);
            ck_assert_int_lt(id, FEW);
            drawn[id]++;
        }
        for (int j = 0; j < FEW; j++) {
            double want = p[j] * DRAWS;
            if (want == 0)
                ck_assert_msg(drawn[j] == 0, "case %d drew %d", i, j);
            else
                squared += (drawn[j] - want) * (drawn[j] - want) / want;
        }
        ck_assert_msg(squared < 37.4, "case %d: chi-squared %.1f", i, squared);
    }
    k->close(c);
}
END_TEST

/* --- the variants --- */

struct batch {
    int rows;
    int64_t vocab, stride;
    int spread; /* of logits: up to so much; 0: whole numbers to 3, many of them equal
                 */
    bool masked;
};

static float *changing(struct trial *t, int64_t n, float from, float to)
{
    float *x = rig_input(t, n, KERNEL_F32);
    for (int64_t i = 0; i < n; i++)
        x[i] = from + (x[i] + 1) / 2 * (to - from);
    return x;
}

static void sample(struct trial *t, const void *args)
{
    const struct batch *b = args;
    int64_t words = (b->vocab + 31) / 32;
    float *logits = rig_input(t, b->rows * b->stride, KERNEL_F32);
    float *temperature = changing(t, b->rows, 0.3f, 2);
    float *top_p = changing(t, b->rows, 0.5f, 1.3f);
    float *min_p = changing(t, b->rows, -0.2f, 0.1f);
    int32_t *top_k = rig_numbers(t, b->rows, -40, 80);
    uint64_t *seed = rig_scratch(t, (size_t)b->rows * sizeof(*seed));
    uint64_t *step = rig_scratch(t, (size_t)b->rows * sizeof(*step));
    int32_t *mask_row = rig_numbers(t, b->rows, -1, 2);
    uint32_t *mask = (uint32_t *)rig_numbers(t, 2 * words, 1, INT32_MAX);
    for (int64_t i = 0; i < 2 * words; i++)
        mask[i] = (mask[i] ^ mask[i] >> 15) * 2654435761u;
    for (int64_t i = 0; i < b->rows * b->stride; i++)
        logits[i] = b->spread > 0 ? logits[i] * (float)b->spread
                                  : (float)(int)(logits[i] * 3.99f);
    for (int64_t i = 0; i < b->rows; i++) {
        seed[i] = (uint64_t)i * 0x123456789abcdefu;
        step[i] = (uint64_t)i * 7;
        top_k[i] = top_k[i] > 0 ? top_k[i] : 0;
        min_p[i] = min_p[i] > 0 ? min_p[i] : 0;
        if (i % 5 == 4)
            temperature[i] = 0;
        if (i % 7 == 6)
            top_p[i] = 1;
        if (i % 11 == 10)
            logits[i * b->stride + b->vocab - 1] = NAN;
        if (b->stride > b->vocab)
            logits[i * b->stride + b->vocab] = NAN; /* nobody's */
    }
    struct kernel_sample s = {.rows = b->rows,
                              .vocab = b->vocab,
                              .stride = b->stride,
                              .logits = logits,
                              .temperature = temperature,
                              .top_p = top_p,
                              .min_p = min_p,
                              .top_k = top_k,
                              .seed = seed,
                              .step = step,
                              .mask_row = b->masked ? mask_row : NULL,
                              .mask = b->masked ? mask : NULL,
                              .ids = rig_ids(t, b->rows)};
    t->k->sample(t->c, &s,
                 rig_scratch(t, t->k->sample_scratch(t->c, b->rows, b->vocab)));
}

START_TEST(samples)
{
    static const int64_t vocabs[] = {1, 5, 31, 64, 1000, 4099, 40000};
    static const int spreads[] = {0, 1, 5, 40};
    char what[96];
    for (int i = 0; i < COUNT(spreads); i++)
        for (int masked = 0; masked < 2; masked++) {
            struct batch b = {.vocab = vocabs[_i], .spread = spreads[i]};
            b.rows = b.vocab > 10000 ? 12 : 50;
            b.stride = b.vocab + masked * 3;
            b.masked = masked;
            snprintf(what, sizeof(what), "vocabulary of %lld, spread %d, masked %d",
                     (long long)b.vocab, b.spread, masked);
            rig_compare(sample, &b, what);
        }
}
END_TEST

/* --- edits --- */

START_TEST(edits)
{
    float logits[] = {2, -2, 0, 4, 1, 1};
    static const struct kernel_edit list[] = {{0, 0, 1.25f, 0},
                                              {0, 1, 1.25f, 0},
                                              {1, 0, 2, -1},
                                              {1, 2, 1, 100},
                                              {0, 2, 3, 0.5f}};
    static const float want[] = {1.6f, -2.5f, 0.5f, 1, 1, 101};
    const struct kernels *k = rig_table(_i);
    if (k == NULL)
        return; /* rig_run said so */
    struct kernel_context *c = rig_open(k);
    k->edit(c, logits, 3, list, COUNT(list));
    k->edit(c, logits, 3, NULL, 0);
    for (int i = 0; i < 6; i++)
        ck_assert_msg(logits[i] == want[i], "logit %d: %g", i, (double)logits[i]);
    k->close(c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels_sample");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, rules, 0, CPU_VARIANTS + 1);
    tcase_add_loop_test(tc, distribution, 0, CPU_VARIANTS + 1);
    tcase_add_loop_test(tc, samples, 0, 7);
    tcase_add_loop_test(tc, edits, 0, CPU_VARIANTS + 1);
    suite_add_tcase(suite, tc);
    return rig_run(suite);
}
