/* SPDX-License-Identifier: Apache-2.0
 *
 * Every variant of the CPU's losses, optimizers and sums against the reference, over
 * odd shapes. Tolerances are relative to 1 + |value|: 1e-6 times the square root of
 * what is summed.
 */
#include "config.h"
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include "tests/unit/kernels_rig.h"

#define COUNT(x) ((int)(sizeof(x) / sizeof(*(x))))

static const int64_t sizes[] = {1, 3, 17, 63, 65, 300, 70001};
static const enum kernel_type types[] = {KERNEL_F32, KERNEL_BF16};

static double sum_tolerance(int64_t n)
{
    return 1e-6 * sqrt((double)(n + 1));
}

/* --- losses --- */

struct loss {
    int64_t rows, classes, stride;
    enum kernel_type type;
    bool gradient, weighted;
    float offset; /* added to every logit */
};

static void entropy(struct trial *t, const void *args)
{
    const struct loss *p = args;
    struct kernel_loss l = {.type = p->type,
                            .rows = p->rows,
                            .classes = p->classes,
                            .stride = p->stride,
                            .scale = 0.25f,
                            .gradient = p->gradient};
    float *logits = rig_changed(t, p->rows * p->stride, p->type);
    for (int64_t i = 0; p->offset != 0 && i < p->rows * p->stride; i++)
        logits[i] = logits[i] * 4 + p->offset;
    l.targets = rig_numbers(t, p->rows, -1, (int)p->classes);
    l.class_weights = p->weighted ? rig_input(t, p->classes, KERNEL_F32) : NULL;
    float *losses = rig_output(t, p->rows, KERNEL_F32);
    t->tolerance = sum_tolerance(p->classes) * (1 + fabs((double)p->offset) / 8);
    t->k->cross_entropy(t->c, &l, losses, rig_output(t, p->rows, KERNEL_F32), logits);
}

START_TEST(entropies)
{
    static const struct loss cases[] = {
        {1, 1, 1, KERNEL_F32, true, false, 0},
        {3, 10, 10, KERNEL_F32, true, false, 0},
        {17, 10, 16, KERNEL_F32, true, true, 0},
        {63, 17, 17, KERNEL_F32, false, false, 0},
        {65, 65, 128, KERNEL_F32, true, false, 0},
        {5, 5000, 5056, KERNEL_F32, true, false, 0},
        {9, 40, 40, KERNEL_F32, true, false, 3000},
        {9, 40, 40, KERNEL_F32, true, false, -3000},
        {3, 10, 10, KERNEL_BF16, true, true, 0},
        {65, 65, 128, KERNEL_BF16, true, false, 0},
        {40, 1000, 1024, KERNEL_BF16, false, false, 0},
    };
    rig_compare(entropy, &cases[_i], "cross-entropy");
    rig_close();
}
END_TEST

/* Equal largest logits: the first counts. A NaN: no class is right, and it shows. */
static void odd_logits(struct trial *t, const void *args)
{
    int32_t targets[] = {1, 2, 0, -1, 18};
    float *logits = rig_changed(t, 5 * 20, KERNEL_F32);
    struct kernel_loss l = {.rows = 5,
                            .classes = 19,
                            .stride = 20,
                            .targets = targets,
                            .scale = 1,
                            .gradient = *(const bool *)args};
    for (int i = 0; i < 40; i++)
        logits[i] = i % 20 == 1 || i % 20 == 2 ? 3 : 0;
    logits[40 + 17] = NAN;
    logits[60 + 3] = NAN;
    logits[80 + 18] = INFINITY;
    logits[80 + 4] = -INFINITY;
    float *losses = rig_output(t, 5, KERNEL_F32),
          *correct = rig_output(t, 5, KERNEL_F32);
    t->k->cross_entropy(t->c, &l, losses, correct, logits);
    ck_assert(correct[0] == 1 && correct[1] == 0 && correct[2] == 0 && correct[3] == 0);
    ck_assert(isnan(losses[2]) && losses[3] == 0 && isnan(losses[4]));
}

START_TEST(odd_entropies)
{
    bool gradient = _i == 1;
    rig_compare(odd_logits, &gradient, "equal, NaN and infinite logits");
    rig_close();
}
END_TEST

static void squared(struct trial *t, const void *args)
{
    const struct loss *p = args;
    void *y = rig_changed(t, p->rows * p->classes, p->type);
    const float *target = rig_input(t, p->rows * p->classes, KERNEL_F32);
    t->tolerance = sum_tolerance(p->classes);
    t->k->squared_error(t->c, rig_output(t, p->rows, KERNEL_F32), y, target, p->rows,
                        p->classes, 0.3f, p->gradient, p->type);
}

START_TEST(squared_errors)
{
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 4; j++) {
            struct loss l = {.rows = sizes[i],
                             .classes = sizes[(i + j) % 5],
                             .type = types[j & 1],
                             .gradient = j > 1};
            rig_compare(squared, &l, "squared error");
        }
    rig_close();
}
END_TEST

/* --- the optimizer, and sums over all --- */

struct update {
    enum kernel_optimizer kind;
    int64_t n;
    bool state, copy, scaled;
};

static void update(struct trial *t, const void *args)
{
    const struct update *p = args;
    struct kernel_update u = {.kind = p->kind,
                              .count = p->n,
                              .rate = 0.01f,
                              .beta1 = 0.9f,
                              .beta2 = 0.999f,
                              .epsilon = 1e-6f,
                              .decay = 0.1f,
                              .step = 3};
    u.weight = rig_changed(t, p->n, KERNEL_F32);
    u.grad = rig_input(t, p->n, KERNEL_F32);
    u.m = p->state ? rig_changed(t, p->n, KERNEL_F32) : NULL;
    u.v = p->kind == KERNEL_ADAMW ? rig_changed(t, p->n, KERNEL_F32) : NULL;
    u.copy = p->copy ? rig_output(t, p->n, KERNEL_BF16) : NULL;
    u.scale = p->scaled ? rig_input(t, 1, KERNEL_F32) : NULL;
    for (int64_t i = 0; u.v != NULL && i < p->n; i++)
        u.v[i] = fabsf(u.v[i]);
    t->k->update(t->c, &u);
}

START_TEST(updates)
{
    static const struct update cases[] = {
        {KERNEL_SGD, 0, false, false, false}, {KERNEL_SGD, 0, true, true, true},
        {KERNEL_ADAMW, 0, true, false, true}, {KERNEL_ADAMW, 0, true, true, false},
        {KERNEL_LION, 0, true, true, true},
    };
    for (int i = 0; i < COUNT(sizes); i++) {
        struct update u = cases[_i];
        u.n = sizes[i];
        rig_compare(update, &u, "update");
    }
    rig_close();
}
END_TEST

/* Three steps of AdamW as PyTorch's optimizer does them: torch.optim.AdamW(lr 0.1,
 * betas 0.9 and 0.99, eps 1e-8, weight_decay 0.01), weights 1 and -2, the same gradient
 * each. */
START_TEST(adamw_known)
{
    float weight[] = {1, -2}, grad[] = {0.5f, -0.25f}, m[2] = {0}, v[2] = {0};
    const double rate = 0.1, decay = 0.01;
    double want[] = {1, -2};
    const struct kernels *k = kernels_cpu();
    struct kernel_options o = {0};
    struct kernel_context *c = k->open(&o, NULL, 0);
    for (int64_t step = 1; step <= 3; step++) {
        struct kernel_update u = {.kind = KERNEL_ADAMW,
                                  .count = 2,
                                  .weight = weight,
                                  .grad = grad,
                                  .m = m,
                                  .v = v,
                                  .rate = 0.1f,
                                  .beta1 = 0.9f,
                                  .beta2 = 0.99f,
                                  .epsilon = 1e-8f,
                                  .decay = 0.01f,
                                  .step = step};
        k->update(c, &u);
        /* A constant gradient: its corrected mean over its corrected root is its sign.
         */
        for (int i = 0; i < 2; i++) {
            want[i] = want[i] * (1 - rate * decay) - rate * (i == 0 ? 1 : -1);
            ck_assert_double_eq_tol((double)weight[i], want[i], 2e-6);
        }
    }
    k->close(c);
}
END_TEST

static void sums(struct trial *t, const void *args)
{
    int64_t n = *(const int64_t *)args;
    const float *x = rig_input(t, n, KERNEL_F32);
    t->tolerance = 1e-6;
    t->k->sum_squares(t->c, rig_output(t, 1, KERNEL_F32), x, n, false);
    t->k->sum_squares(t->c, rig_changed(t, 1, KERNEL_F32), x, n, true);
    t->tolerance = 1e-4; /* what is summed cancels */
    t->k->sum(t->c, rig_output(t, 1, KERNEL_F32), x, n);
}

START_TEST(sums_over_all)
{
    int64_t n = _i == COUNT(sizes) ? 2200003 : sizes[_i];
    rig_compare(sums, &n, "sums");
    rig_close();
}
END_TEST

static void clips(struct trial *t, const void *args)
{
    static const float squares[] = {0, 4, 100, INFINITY, NAN}, most[] = {0, 1, 5};
    (void)args;
    for (int i = 0; i < 15; i++) {
        float *to = i == 0 ? rig_output(t, 15, KERNEL_F32) : NULL;
        static float *all;
        all = to != NULL ? to : all;
        t->k->clip(t->c, all + i, &squares[i % 5], most[i / 5]);
    }
}

/* A gradient with a NaN or an infinity in it is found by its sum of squares. */
START_TEST(bad_gradients)
{
    const struct kernels *k = kernels_cpu();
    struct kernel_options o = {.threads = 2};
    struct kernel_context *c = k->open(&o, NULL, 0);
    float *x = k->alloc(c, 100000 * sizeof(*x)), into;
    k->zero(c, x, 100000 * sizeof(*x));
    ck_assert_uint_eq((uintptr_t)x % 256, 0);
    x[77777] = INFINITY;
    k->sum_squares(c, &into, x, 100000, false);
    ck_assert(!isfinite(into));
    x[77777] = NAN;
    k->sum_squares(c, &into, x, 100000, false);
    ck_assert(!isfinite(into));
    k->free(c, x);
    k->close(c);
    rig_compare(clips, NULL, "clip");
    rig_close();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels_loss");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, entropies, 0, 11);
    tcase_add_loop_test(tc, odd_entropies, 0, 2);
    tcase_add_test(tc, squared_errors);
    tcase_add_loop_test(tc, updates, 0, 5);
    tcase_add_test(tc, adamw_known);
    tcase_add_loop_test(tc, sums_over_all, 0, COUNT(sizes) + 1);
    tcase_add_test(tc, bad_gradients);
    suite_add_tcase(suite, tc);
    return rig_run(suite);
}
