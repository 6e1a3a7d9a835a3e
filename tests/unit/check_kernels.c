/* SPDX-License-Identifier: Apache-2.0
 *
 * Every variant of the CPU's products and element-wise operations
 * against the reference, over odd shapes. Tolerances are relative to 1 + |value|: 1e-6
 * times the square root of what is summed for products and sums, 2e-6 for functions.
 */
#include "config.h"
#include <check.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/host.h"
#include "kernels/cpu/philox.h"
#include "tests/unit/kernels_rig.h"

#define COUNT(x) ((int)(sizeof(x) / sizeof(*(x))))

static const int64_t sizes[] = {1, 3, 17, 63, 65, 300, 70001};
static const enum kernel_type types[] = {KERNEL_F32, KERNEL_BF16};

static double sum_tolerance(int64_t n)
{
    return 1e-6 * sqrt((double)(n + 1));
}

/* --- products --- */

struct product {
    int64_t m, n, k, extra; /* of each stride */
    bool ta, tb, accumulate, bias, before;
    enum kernel_type type, c_type;
    enum kernel_activation act;
    float alpha;
};

static void product(struct trial *t, const void *args)
{
    const struct product *p = args;
    struct kernel_matmul m = {
        .m = p->m, .n = p->n, .k = p->k, .ta = p->ta, .tb = p->tb};
    int64_t a_rows = p->ta ? p->k : p->m, b_rows = p->tb ? p->n : p->k;
    int64_t lda = (p->ta ? p->m : p->k) + p->extra,
            ldb = (p->tb ? p->k : p->n) + p->extra;
    int64_t ldc = p->n + p->extra;
    if (p->extra != 0) {
        m.lda = lda;
        m.ldb = ldb;
        m.ldc = ldc;
    }
    m.a = rig_input(t, a_rows * lda, p->type);
    m.b = rig_input(t, b_rows * ldb, p->type);
    m.c = p->accumulate ? rig_changed(t, p->m * ldc, p->c_type)
                        : rig_output(t, p->m * ldc, p->c_type);
    m.bias = p->bias ? rig_input(t, p->n, p->type) : NULL;
    m.before = p->before ? rig_output(t, p->m * ldc, p->c_type) : NULL;
    m.type = p->type;
    m.c_type = p->c_type;
    m.alpha = p->alpha;
    m.act = p->act;
    m.accumulate = p->accumulate;
    t->tolerance = sum_tolerance(p->k);
    t->k->matmul(t->c, &m);
}

static void try_product(const struct product *p)
{
    char what[160];
    snprintf(
        what, sizeof(what),
        "%lld x %lld x %lld %c%c type %d to %d, act %d, bias %d, before %d, add %d",
        (long long)p->m, (long long)p->n, (long long)p->k, p->ta ? 't' : 'n',
        p->tb ? 't' : 'n', p->type, p->c_type, p->act, p->bias, p->before,
        p->accumulate);
    rig_compare(product, p, what);
}

/* Every shape in every form; what follows the sum changes from one to the next. */
START_TEST(products)
{
    static const int64_t few[] = {1, 3, 17, 63, 65};
    int round = 0;
    for (int i = 0; i < 125; i++)
        for (int form = 0; form < 2; form++, round++)
            try_product(&(struct product){.m = few[i % 5],
                                          .n = few[i / 5 % 5],
                                          .k = few[i / 25],
                                          .extra = round % 3 == 0 ? 5 : 0,
                                          .ta = _i & 1,
                                          .tb = _i >> 1 & 1,
                                          .accumulate = round % 4 == 1,
                                          .bias = round % 3 != 1,
                                          .before = round % 5 == 0,
                                          .type = types[form],
                                          .c_type = types[form ^ (round % 7 == 0)],
                                          .act = (enum kernel_activation)(round % 6),
                                          .alpha = round % 2 == 0 ? 1 : 0.5f});
}
END_TEST

static const struct product large[] = {
    {.m = 130, .n = 70, .k = 600, .bias = true, .act = KERNEL_RELU, .alpha = 1},
    {.m = 64, .n = 128, .k = 784, .tb = true, .bias = true, .before = true, .alpha = 1},
    {.m = 64, .n = 128, .k = 784, .bias = true, .act = KERNEL_GELU, .alpha = 1},
    {.m = 128, .n = 784, .k = 64, .ta = true, .accumulate = true, .alpha = 1},
    {.m = 64, .n = 10, .k = 128, .tb = true, .bias = true, .alpha = 1},
    {.m = 5, .n = 1100, .k = 270, .alpha = 1},
    {.m = 140, .n = 530, .k = 260, .ta = true, .tb = true, .alpha = 2},
    {.m = 140,
     .n = 530,
     .k = 520,
     .type = KERNEL_BF16,
     .c_type = KERNEL_BF16,
     .bias = true,
     .before = true,
     .act = KERNEL_SILU,
     .alpha = 1},
    {.m = 140,
     .n = 530,
     .k = 300,
     .ta = true,
     .type = KERNEL_BF16,
     .c_type = KERNEL_BF16,
     .accumulate = true,
     .alpha = 0.5f},
    {.m = 300,
     .n = 40,
     .k = 300,
     .type = KERNEL_BF16,
     .accumulate = true,
     .alpha = 0.5f},
    {.m = 9, .n = 9, .k = 0, .bias = true, .act = KERNEL_SIGMOID, .alpha = 1},
    {.m = 9, .n = 9, .k = 0, .accumulate = true, .alpha = 1},
    {.m = 66, .n = 2100, .k = 500, .alpha = 1}, /* rows of B far apart */
    /* A few rows, k in pieces. */
    {.m = 1, .n = 101, .k = 2100, .tb = true, .type = KERNEL_BF16, .alpha = 1},
    {.m = 2, .n = 48, .k = 1025, .tb = true, .bias = true, .alpha = 0.5f},
    {.m = 5,
     .n = 97,
     .k = 1500,
     .tb = true,
     .type = KERNEL_BF16,
     .before = true,
     .alpha = 2},
    {.m = 8, .n = 200, .k = 1030, .tb = true, .accumulate = true, .alpha = 1},
    {.m = 13,
     .n = 150,
     .k = 2049,
     .tb = true,
     .type = KERNEL_BF16,
     .c_type = KERNEL_BF16,
     .accumulate = true,
     .alpha = 1},
    {.m = 16, .n = 531, .k = 700, .tb = true, .act = KERNEL_GELU, .alpha = 1},
    {.m = 16, .n = 60, .k = 0, .tb = true, .bias = true, .alpha = 1},
    {.m = 40, .n = 60, .k = 1300, .tb = true, .type = KERNEL_BF16, .alpha = 1},
    {.m = 40, .n = 60, .k = 1301, .tb = true, .type = KERNEL_BF16, .alpha = 1},
    {.m = 0, .n = 9, .k = 3, .alpha = 1},
    {.m = 9, .n = 0, .k = 3, .alpha = 1},
};

START_TEST(large_products)
{
    try_product(&large[_i]);
}
END_TEST

/* --- element by element --- */

struct elements {
    int64_t m, n;
    enum kernel_type type;
    enum kernel_activation act;
    bool accumulate;
};

static void sums_of_rows(struct trial *t, const void *args)
{
    const struct elements *e = args;
    float *into = e->accumulate ? rig_changed(t, e->n, KERNEL_F32)
                                : rig_output(t, e->n, KERNEL_F32);
    t->tolerance = sum_tolerance(e->m);
    t->k->sum_rows(t->c, into, rig_input(t, e->m * e->n, e->type), e->m, e->n, e->type,
                   e->accumulate);
}

/* Values to 12 on both sides, and the ends of the range. */
static void *wide_input(struct trial *t, int64_t n, enum kernel_type type)
{
    static const float ends[] = {0, -0.0f, 88, -88, 1000, -1000, 1e-30f, -1e-30f, NAN};
    void *x = rig_input(t, n, type);
    for (int64_t i = 0; i < n; i++) {
        float value = 12 * (type == KERNEL_BF16 ? bf16_to_float(((uint16_t *)x)[i])
                                                : ((float *)x)[i]);
        if (i < COUNT(ends) && n > 20)
            value = ends[i];
        if (type == KERNEL_BF16)
            ((uint16_t *)x)[i] = bf16_from_float(value);
        else
            ((float *)x)[i] = value;
    }
    return x;
}

static void activation(struct trial *t, const void *args)
{
    const struct elements *e = args;
    const void *x = wide_input(t, e->n, e->type);
    t->tolerance = 2e-6;
    t->k->activate(t->c, rig_output(t, e->n, e->type), x, e->n, e->act, e->type);
    void *d = rig_changed(t, e->n, e->type); /* in place */
    t->k->activate_back(t->c, d, d, x, e->n, e->act, e->type);
}

static void swiglu(struct trial *t, const void *args)
{
    const struct elements *e = args;
    const void *x = rig_input(t, 2 * e->m * e->n, e->type);
    const void *dy = rig_input(t, e->m * e->n, e->type);
    t->k->swiglu(t->c, rig_output(t, e->m * e->n, e->type), x, e->m, e->n, e->type);
    t->k->swiglu_back(t->c, rig_output(t, 2 * e->m * e->n, e->type), dy, x, e->m, e->n,
                      e->type);
}

static void linear(struct trial *t, const void *args)
{
    const struct elements *e = args;
    const void *x = rig_input(t, e->n, e->type);
    const float *floats = rig_input(t, e->n, KERNEL_F32);
    t->k->dropout(t->c, rig_output(t, e->n, e->type), x, e->n, 0.3f, 0x123456789abcdefu,
                  ((uint64_t)7 << 40) + 3, e->type);
    t->k->dropout(t->c, rig_output(t, e->n, e->type), x, e->n, 0, 1, 2, e->type);
    t->k->add(t->c, rig_changed(t, e->n, e->type), x, 0.7f, e->n, e->type);
    t->k->scale(t->c, rig_changed(t, e->n, KERNEL_F32), 0.7f, e->n);
    t->k->to_float(t->c, rig_output(t, e->n, KERNEL_F32), x, e->n, e->type);
    t->k->from_float(t->c, rig_output(t, e->n, e->type), floats, e->n, e->type);
}

/* Functions over their whole range, relative to the value itself: what sums of small
 * probabilities are made of. The sigmoid of -x is e^-x. */
START_TEST(accuracy)
{
    enum { N = 400000 };
    static const enum kernel_activation acts[] = {KERNEL_SIGMOID, KERNEL_TANH,
                                                  KERNEL_SILU};
    static float x[N], y[N], want[N];
    const struct kernels *reference = kernels_reference();
    for (int v = 0; v < CPU_VARIANTS; v++) {
        const struct kernels *k = cpu__variant_table((enum cpu_variant)v);
        struct kernel_options o = {0};
        if (k == NULL)
            continue;
        struct kernel_context *c = k->open(&o, NULL, 0);
        for (int i = 0; i < N; i++)
            x[i] =
                _i == 1 ? (float)(i - N / 2) * 5e-5f : (float)(i - N * 4 / 5) * 2.7e-4f;
        k->activate(c, y, x, N, acts[_i], KERNEL_F32);
        reference->activate(c, want, x, N, acts[_i], KERNEL_F32);
        for (int i = 0; i < N; i++)
            if (fabs((double)y[i] - (double)want[i]) > 5e-7 * fabs((double)want[i]))
                ck_abort_msg("%s: function %d of %.9g: %.9g, not %.9g",
                             cpu__variant_name((enum cpu_variant)v), acts[_i],
                             (double)x[i], (double)y[i], (double)want[i]);
        k->close(c);
    }
}
END_TEST

START_TEST(elements)
{
    char what[80];
    int64_t n = sizes[_i % COUNT(sizes)];
    enum kernel_type type = types[_i / COUNT(sizes)];
    struct elements e = {.n = n, .type = type};
    for (int act = KERNEL_LINEAR; act <= KERNEL_SIGMOID; act++) {
        e.act = (enum kernel_activation)act;
        snprintf(what, sizeof(what), "activation %d of %lld", act, (long long)n);
        rig_compare(activation, &e, what);
    }
    rig_compare(linear, &e, "dropout, add, scale, types");
    for (int64_t m = 1; m <= 65; m += 32) {
        e.m = n > 1000 ? 1 : m;
        rig_compare(swiglu, &e, "swiglu");
        e.accumulate = m == 33;
        rig_compare(sums_of_rows, &e, "sum_rows");
    }
    rig_close();
}
END_TEST

/* The values the authors of Philox publish for their generator. */
START_TEST(philox_known)
{
    static const struct {
        uint64_t key, low, high;
        uint32_t want[4];
    } known[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {~(uint64_t)0,
         ~(uint64_t)0,
         ~(uint64_t)0,
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822,
         0x85a308d3243f6a88,
         0x0370734413198a2e,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int i = 0; i < COUNT(known); i++) {
        uint32_t word[4];
        philox(word, known[i].key, known[i].low, known[i].high);
        for (int j = 0; j < 4; j++)
            ck_assert_uint_eq(word[j], known[i].want[j]);
    }
}
END_TEST

/* --- the device --- */

struct round {
    atomic_int taken[64];
    int threads;
};

static void take(void *arg, int part, int thread)
{
    struct round *r = arg;
    if (thread >= 0 && thread < r->threads)
        atomic_fetch_add(&r->taken[part], 1);
}

/* Many short rounds: every part is done once, by a thread there is, before pool_run
 * returns. */
START_TEST(pool_rounds)
{
    struct pool *p = pool_create(_i);
    struct round r = {.threads = pool_threads(p)};
    ck_assert_int_eq(r.threads, _i > 1 ? _i : 1);
    for (int n = 0; n < 3000; n++) {
        int parts = n * 7 % 65;
        for (int i = 0; i < 64; i++)
            atomic_store(&r.taken[i], 0);
        pool_run(p, parts, take, &r);
        for (int i = 0; i < 64; i++)
            if (atomic_load(&r.taken[i]) != (i < parts))
                ck_abort_msg("round %d: part %d of %d was done %d times", n, i, parts,
                             atomic_load(&r.taken[i]));
    }
    pool_destroy(p);
}
END_TEST

START_TEST(device)
{
    struct kernel_options o = {.threads = 3};
    struct kernel_info info;
    char error[160], text[32] = "there and back";
    const struct kernels *k = kernels_cpu();
    struct kernel_context *c = k->open(&o, error, sizeof(error));
    ck_assert_int_eq(k->version, KERNELS_VERSION);
    ck_assert_str_eq(k->name, "cpu");
    k->info(c, &info);
    ck_assert_msg(strstr(info.name, " (") != NULL, "%s", info.name);
    ck_assert_uint_gt(info.total, info.free);
    ck_assert_uint_gt(info.free, 0);
    ck_assert_ptr_null(k->alloc(c, (size_t)1 << 60));
    char *p = k->alloc(c, 3 << 20), *host = k->alloc_host(c, sizeof(text));
    k->upload(c, p + 1, text, sizeof(text));
    k->copy(c, p + 1000, p + 1, sizeof(text));
    k->mark(c, 3);
    k->wait(c, 3);
    k->side_download(c, host, p + 1000, sizeof(text));
    k->side_wait(c);
    ck_assert_str_eq(host, text);
    ck_assert_int_eq(k->sync(c, error, sizeof(error)), 0);
    k->free(c, p);
    k->free_host(c, host);
    k->close(c);
}
END_TEST

/* RAYWF_CPU lowers the variant, and an unknown word changes nothing. */
START_TEST(chosen_variant)
{
    static const char *const words[] = {"plain", "fastest"};
    struct kernel_options o = {0};
    struct kernel_info info;
    unsetenv("RAYWF_CPU");
    const struct kernels *best = kernels_cpu();
    setenv("RAYWF_CPU", words[_i], 1);
    const struct kernels *k = kernels_cpu();
    struct kernel_context *c = k->open(&o, NULL, 0);
    k->info(c, &info);
    ck_assert_int_eq(strstr(info.name, "(plain)") != NULL || k == best, 1);
    if (_i == 0)
        ck_assert_ptr_nonnull(strstr(info.name, "(plain)"));
    k->close(c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, products, 0, 4);
    tcase_add_loop_test(tc, large_products, 0, COUNT(large));
    tcase_add_loop_test(tc, elements, 0, 2 * COUNT(sizes));
    tcase_add_loop_test(tc, accuracy, 0, 3);
    tcase_add_test(tc, philox_known);
    tcase_add_loop_test(tc, pool_rounds, 0, 5);
    tcase_add_test(tc, device);
    tcase_add_loop_test(tc, chosen_variant, 0, 2);
    suite_add_tcase(suite, tc);
    return rig_run(suite);
}
