/* SPDX-License-Identifier: Apache-2.0
 *
 * Every variant of the CPU's norms, embeddings, rotary positions and attention against
 * the reference, over odd shapes. Tolerances are relative to 1 + |value|: 4e-6 for what
 * is normalised, 1e-5 for attention and for sums over rows.
 */
#include "config.h"
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/kernels_rig.h"

#define COUNT(x) ((int)(sizeof(x) / sizeof(*(x))))

static const int64_t sizes[] = {1, 3, 17, 63, 65, 257};
static const enum kernel_type types[] = {KERNEL_F32, KERNEL_BF16};

/* --- norms --- */

struct norm {
    struct kernel_norm_args a;
    bool bias, add, in_place;
};

static void norm(struct trial *t, const void *args)
{
    const struct norm *p = args;
    struct kernel_norm_args a = p->a;
    int64_t n = a.rows * a.width;
    const void *add = p->add ? rig_input(t, n, a.type) : NULL;
    void *x = rig_changed(t, n, a.type);
    void *sum = p->in_place || !p->add ? x : rig_output(t, n, a.type);
    const void *dy = rig_input(t, n, a.type);
    a.weight = rig_input(t, a.width, a.type);
    a.bias = p->bias ? rig_input(t, a.width, a.type) : NULL;
    void *stats = rig_output(t, 2 * a.rows, KERNEL_F32);
    t->tolerance = a.width == 1 || a.rows > 100 ? 1e-5 : 4e-6;
    t->k->norm(t->c, &a, rig_output(t, n, a.type), sum, stats, x, add);
    void *scratch = rig_scratch(t, t->k->norm_scratch(t->c, &a));
    float *dweight = rig_changed(t, a.width, KERNEL_F32);
    float *dbias = p->bias ? rig_changed(t, a.width, KERNEL_F32) : NULL;
    void *dx = p->in_place ? rig_changed(t, n, a.type) : rig_output(t, n, a.type);
    t->k->norm_back(t->c, &a, dx, dweight, dbias, dy, sum, stats,
                    p->in_place ? dx : NULL, scratch);
    void *over = rig_changed(t, n, a.type); /* dx over dy, weights unwanted */
    t->k->norm_back(t->c, &a, over, NULL, NULL, over, sum, stats, dy, scratch);
}

START_TEST(norms)
{
    char what[80];
    for (int i = 0; i < COUNT(sizes); i++)
        for (int j = 0; j < COUNT(sizes); j++) {
            struct norm n = {.a = {.kind = (enum kernel_norm)(_i & 1),
                                   .type = types[_i >> 1],
                                   .rows = sizes[i],
                                   .width = sizes[j],
                                   .epsilon = 0.01f},
                             .bias = (_i & 1) == KERNEL_LAYERNORM && i % 3 != 1,
                             .add = j % 2 == 0,
                             .in_place = i % 2 == 0};
            snprintf(what, sizeof(what), "norm %d of %lld rows of %lld", _i & 1,
                     (long long)sizes[i], (long long)sizes[j]);
            rig_compare(norm, &n, what);
        }
    rig_close();
}
END_TEST

/* --- embeddings --- */

struct rows {
    int64_t count, width, length;
    enum kernel_type type;
    bool positions;
};

static int by_id(const void *a, const void *b, void *arg)
{
    const int32_t *ids = arg, x = *(const int32_t *)a, y = *(const int32_t *)b;
    return ids[x] != ids[y] ? (ids[x] > ids[y]) - (ids[x] < ids[y]) : (x > y) - (x < y);
}

static void embedding(struct trial *t, const void *args)
{
    const struct rows *p = args;
    struct kernel_rows r = {
        .type = p->type, .count = p->count, .width = p->width, .table = 20};
    int32_t *ids = rig_numbers(t, p->count, 0, 20),
            *order = rig_numbers(t, p->count, 0, 1);
    for (int32_t i = 0; i < p->count; i++)
        order[i] = i;
    qsort_r(order, (size_t)p->count, sizeof(*order), by_id, ids);
    r.ids = ids;
    r.order = order;
    const void *table = rig_input(t, 20 * p->width, p->type);
    const void *positions =
        p->positions ? rig_input(t, p->length * p->width, p->type) : NULL;
    t->tolerance = 1e-5;
    t->k->embed(t->c, &r, rig_output(t, p->count * p->width, p->type), table, positions,
                p->length);
    const void *d = rig_input(t, p->count * p->width, p->type);
    float *dtable = rig_changed(t, 20 * p->width, KERNEL_F32);
    float *dpositions =
        p->positions ? rig_changed(t, p->length * p->width, KERNEL_F32) : NULL;
    t->k->embed_back(t->c, &r, dtable, dpositions, d, p->length);
}

START_TEST(embeddings)
{
    for (int i = 0; i < COUNT(sizes); i++)
        for (int j = 0; j < COUNT(sizes); j++) {
            struct rows r = {.count = sizes[i], .width = sizes[j], .type = types[_i]};
            r.positions = j % 2 == 0;
            r.length = sizes[i] > 5 ? 5 : sizes[i];
            rig_compare(embedding, &r, "embedding");
        }
    rig_close();
}
END_TEST

/* --- rotary positions --- */

struct rope {
    struct kernel_rope r;
    bool weights;
};

static void rope(struct trial *t, const void *args)
{
    const struct rope *p = args;
    struct kernel_rope r = p->r;
    int64_t rows = (int64_t)r.batch * r.length;
    int64_t n = rows * (r.heads + 2 * r.kv_heads) * r.size;
    float *cosine = rig_input(t, (int64_t)r.length * r.size / 2, KERNEL_F32);
    float *sine = rig_input(t, (int64_t)r.length * r.size / 2, KERNEL_F32);
    r.cosine = cosine;
    r.sine = sine;
    float *stats = NULL;
    if (p->weights) {
        r.q_weight = rig_input(t, r.size, r.type);
        r.k_weight = rig_input(t, r.size, r.type);
        stats = rig_output(t, rows * (r.heads + r.kv_heads), KERNEL_F32);
    }
    const void *x = rig_input(t, n, r.type), *dy = rig_input(t, n, r.type);
    t->tolerance = rows > 100 ? 1e-5 : 4e-6;
    t->k->rope(t->c, &r, rig_output(t, n, r.type), stats, x);
    void *scratch = rig_scratch(t, t->k->rope_scratch(t->c, &r));
    float *dq = p->weights ? rig_changed(t, r.size, KERNEL_F32) : NULL;
    float *dk = p->weights ? rig_changed(t, r.size, KERNEL_F32) : NULL;
    t->k->rope_back(t->c, &r, rig_output(t, n, r.type), dq, dk, dy,
                    p->weights ? x : NULL, stats, scratch);
    void *over = rig_changed(t, n, r.type);
    t->k->rope_back(t->c, &r, over, NULL, NULL, over, p->weights ? x : NULL, stats,
                    scratch);
    if (!p->weights) {
        over = rig_changed(t, n, r.type);
        t->k->rope(t->c, &r, over, NULL, over);
    }
}

START_TEST(ropes)
{
    static const struct kernel_rope shapes[] = {
        {.batch = 1, .length = 1, .heads = 1, .kv_heads = 1, .size = 2},
        {.batch = 2, .length = 3, .heads = 4, .kv_heads = 2, .size = 6},
        {.batch = 3, .length = 17, .heads = 3, .kv_heads = 3, .size = 34},
        {.batch = 2, .length = 65, .heads = 4, .kv_heads = 1, .size = 64},
        {.batch = 1, .length = 130, .heads = 2, .kv_heads = 2, .size = 130},
    };
    for (int i = 0; i < COUNT(shapes); i++) {
        struct rope r = {.r = shapes[i], .weights = _i & 1};
        r.r.type = types[_i >> 1];
        r.r.epsilon = 1e-3f;
        rig_compare(rope, &r, _i & 1 ? "rope with norms" : "rope");
    }
    rig_close();
}
END_TEST

/* --- attention --- */

static void attention(struct trial *t, const void *args)
{
    const struct kernel_attention *a = args;
    int64_t rows = (int64_t)a->batch * a->length;
    int64_t n = rows * (a->heads + 2 * a->kv_heads) * a->size;
    int64_t n_out = rows * a->heads * a->size;
    const void *qkv = rig_input(t, n, a->type), *dout = rig_input(t, n_out, a->type);
    void *out = rig_output(t, n_out, a->type);
    float *lse = rig_output(t, rows * a->heads, KERNEL_F32);
    t->tolerance = 1e-5;
    t->k->attention(t->c, a, out, lse, qkv);
    void *scratch = rig_scratch(t, t->k->attention_scratch(t->c, a));
    t->k->attention_back(t->c, a, rig_output(t, n, a->type), dout, out, lse, qkv,
                         scratch);
}

static const struct kernel_attention shapes[] = {
    {.batch = 1, .length = 1, .heads = 1, .kv_heads = 1, .size = 1, .scale = 1},
    {.batch = 2, .length = 3, .heads = 2, .kv_heads = 1, .size = 3, .scale = 0.6f},
    {.batch = 1, .length = 17, .heads = 3, .kv_heads = 3, .size = 17, .scale = 3},
    {.batch = 2, .length = 63, .heads = 4, .kv_heads = 2, .size = 8, .scale = 0.3f},
    {.batch = 1, .length = 64, .heads = 2, .kv_heads = 2, .size = 64, .scale = 0.125f},
    {.batch = 1, .length = 130, .heads = 6, .kv_heads = 2, .size = 32, .scale = 0.2f},
    {.batch = 1, .length = 65, .heads = 2, .kv_heads = 1, .size = 128, .scale = 1},
};

START_TEST(attentions)
{
    struct kernel_attention a = shapes[_i % COUNT(shapes)];
    char what[80];
    a.type = types[_i / COUNT(shapes)];
    snprintf(what, sizeof(what), "attention over %d, heads of %d", a.length, a.size);
    rig_compare(attention, &a, what);
    rig_close();
}
END_TEST

/* A head too large for a thread's room is refused, once, and named. */
START_TEST(attention_too_large)
{
    struct kernel_attention a = {
        .batch = 1, .length = 1, .heads = 1, .kv_heads = 1, .size = 100000, .scale = 1};
    struct kernel_options o = {0};
    char error[160];
    const struct kernels *k = kernels_cpu();
    struct kernel_context *c = k->open(&o, error, sizeof(error));
    float *x = calloc(3 * 100000, sizeof(*x)), *out = calloc(100000, sizeof(*x)), lse;
    k->attention(c, &a, out, &lse, x);
    ck_assert_int_eq(k->sync(c, error, sizeof(error)), -1);
    ck_assert_msg(strstr(error, "attention: a head of 100000") != NULL, "%s", error);
    ck_assert_int_eq(k->sync(c, error, sizeof(error)), 0);
    free(x);
    free(out);
    k->close(c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels_layers");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, norms, 0, 4);
    tcase_add_loop_test(tc, embeddings, 0, 2);
    tcase_add_loop_test(tc, ropes, 0, 4);
    tcase_add_loop_test(tc, attentions, 0, 2 * COUNT(shapes));
    tcase_add_test(tc, attention_too_large);
    suite_add_tcase(suite, tc);
    return rig_run(suite);
}
