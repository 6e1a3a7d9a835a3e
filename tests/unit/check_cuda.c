/* SPDX-License-Identifier: Apache-2.0
 *
 * Every operation of raywf-cuda.so against the plain C reference, over odd shapes; skipped
 * where there is no GPU. Tolerances: float sums in another order 2e-5; a bf16 result may be
 * one step of rounding off, 2^-8; where bf16 steps lie between (attention's probabilities,
 * a kept sum), 2e-2 of the size of the values.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cuda_rig.h"

static const struct kernels *k;
static struct kernel_context *c;

static const enum kernel_type types[] = {KERNEL_F32, KERNEL_BF16};

static double near(enum kernel_type type)
{
    return type == KERNEL_BF16 ? 8e-3 : 2e-5;
}

/* What both tables need. */
#define SCRATCH(function, a)                                                               \
    (k->function(c, a) + kernels_reference()->function(NULL, a) + 4)

#define CALL(name)                                                                         \
    static void name(const struct kernels *on, struct kernel_context *at, void *const *b, \
                     const void *arguments)

/* --- products --- */

CALL(call_matmul)
{
    struct kernel_matmul m = *(const struct kernel_matmul *)arguments;
    bool bias = m.bias != NULL, before = m.before != NULL;
    m.a = b[0];
    m.b = b[1];
    m.c = b[2];
    m.bias = bias ? b[3] : NULL;
    m.before = before ? b[4] : NULL;
    on->matmul(at, &m);
}

static void check_matmul(struct kernel_matmul m)
{
    char name[128];
    int64_t lda = m.lda ? m.lda : m.ta ? m.m : m.k, ldb = m.ldb ? m.ldb : m.tb ? m.k : m.n;
    int64_t ldc = m.ldc ? m.ldc : m.n;
    snprintf(name, sizeof(name), "matmul %dx%dx%d ld %d,%d,%d t%d%d type %d%d acc %d bias %d act %d%s",
             (int)m.m, (int)m.n, (int)m.k, (int)m.lda, (int)m.ldb, (int)m.ldc, m.ta, m.tb,
             m.type, m.c_type, m.accumulate, m.bias != NULL, m.act,
             m.before != NULL ? " before" : "");
    struct rig_case t = {
        name, call_matmul, &m, m.c_type == KERNEL_BF16 ? 1.2e-2 : 2e-5,
        {{RIG_IN, m.type, (m.ta ? m.k : m.m) * lda, NULL, 0, 0},
         {RIG_IN, m.type, (m.tb ? m.n : m.k) * ldb, NULL, 0, 0},
         /* What lies between rows must stay: random, and compared. */
         {m.accumulate || ldc != m.n ? RIG_BOTH : RIG_OUT, m.c_type, m.m * ldc, NULL, 0, 0},
         {RIG_IN, m.type, m.n, NULL, 0, 0},
         {RIG_BOTH, m.c_type, m.m * ldc, NULL, 0, 0}}};
    rig_check(k, c, &t);
}

START_TEST(products_of_all_layouts)
{
    static const int shapes[][3] = {{1, 1, 1}, {7, 5, 3}, {33, 65, 17}, {64, 128, 64},
                                    {200, 72, 136}, {128, 256, 1024}, {3, 1000, 9}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int bits = 0; bits < 32; bits++) {
            enum kernel_type type = types[bits & 1];
            enum kernel_type c_type = bits & 16 ? KERNEL_F32 : type;
            check_matmul((struct kernel_matmul){.m = shapes[i][0], .n = shapes[i][1],
                                                .k = shapes[i][2], .ta = bits & 2,
                                                .tb = bits & 4, .type = type,
                                                .c_type = c_type, .alpha = 0.75f,
                                                .accumulate = bits & 8});
        }
}
END_TEST

START_TEST(products_with_epilogues)
{
    for (int act = KERNEL_LINEAR; act <= KERNEL_SIGMOID; act++)
        for (int bits = 0; bits < 32; bits++)
            check_matmul((struct kernel_matmul){
                .m = bits & 8 ? 37 : 64, .n = bits & 8 ? 41 : 96, .k = 48, .tb = true,
                .type = types[bits & 1], .c_type = bits & 16 ? KERNEL_F32 : types[bits & 1],
                .alpha = 1, .act = act, .bias = bits & 2 ? &bits : NULL,
                .before = bits & 4 ? &bits : NULL});
}
END_TEST

START_TEST(products_with_strides)
{
    for (int bits = 0; bits < 16; bits++)
        check_matmul((struct kernel_matmul){
            .m = 24, .n = 40, .k = 56, .lda = 80, .ldb = 88, .ldc = bits & 8 ? 41 : 48,
            .ta = bits & 2, .tb = bits & 4, .type = types[bits & 1],
            .c_type = types[bits & 1], .alpha = 1, .bias = &bits, .act = KERNEL_GELU,
            .before = &bits});
}
END_TEST

struct sizes {
    int64_t m, n;
    enum kernel_type type;
    int option;
    float value;
};

CALL(call_sum_rows)
{
    const struct sizes *s = arguments;
    on->sum_rows(at, b[1], b[0], s->m, s->n, s->type, s->option);
}

START_TEST(sums_of_rows)
{
    static const int shapes[][2] = {{1, 1}, {5, 3}, {1000, 7}, {513, 768}, {2, 2304}, {300, 264}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int bits = 0; bits < 4; bits++) {
            struct sizes s = {shapes[i][0], shapes[i][1], types[bits & 1], bits & 2, 0};
            struct rig_case t = {"sum_rows", call_sum_rows, &s, 2e-5,
                                 {{RIG_IN, s.type, s.m * s.n, NULL, 0, 0},
                                  {bits & 2 ? RIG_BOTH : RIG_OUT, KERNEL_F32, s.n, NULL, 0, 0}}};
            rig_check(k, c, &t);
        }
}
END_TEST

/* --- element by element --- */

CALL(call_activate)
{
    const struct sizes *s = arguments;
    on->activate(at, b[1], b[0], s->n, (enum kernel_activation)s->option, s->type);
    on->activate_back(at, b[3], b[2], b[0], s->n, (enum kernel_activation)s->option, s->type);
}

START_TEST(activations)
{
    static const int counts[] = {1, 7, 1000, 4096};
    for (int act = KERNEL_LINEAR; act <= KERNEL_SIGMOID; act++)
        for (int i = 0; i < 8; i++) {
            struct sizes s = {0, counts[i / 2], types[i & 1], act, 0};
            struct rig_case t = {"activate", call_activate, &s, near(s.type),
                                 {{RIG_IN, s.type, s.n, NULL, 0, 0},
                                  {RIG_OUT, s.type, s.n, NULL, 0, 0},
                                  {RIG_IN, s.type, s.n, NULL, 0, 0},
                                  {RIG_OUT, s.type, s.n, NULL, 0, 0}}};
            rig_check(k, c, &t);
        }
}
END_TEST

/* Far from 0, where exp and tanh saturate. */
START_TEST(activations_of_large_numbers)
{
    float x[64];
    for (int i = 0; i < 64; i++)
        x[i] = (float)(i - 32) * (float)abs(i - 32) * 0.2f;
    for (int act = KERNEL_LINEAR; act <= KERNEL_SIGMOID; act++) {
        struct sizes s = {0, 64, KERNEL_F32, act, 0};
        struct rig_case t = {"activate large", call_activate, &s, 2e-5,
                             {{RIG_GIVEN, KERNEL_F32, 64, x, sizeof(x), 0},
                              {RIG_OUT, KERNEL_F32, 64, NULL, 0, 0},
                              {RIG_IN, KERNEL_F32, 64, NULL, 0, 0},
                              {RIG_OUT, KERNEL_F32, 64, NULL, 0, 0}}};
        rig_check(k, c, &t);
    }
}
END_TEST

CALL(call_swiglu)
{
    const struct sizes *s = arguments;
    on->swiglu(at, b[1], b[0], s->m, s->n, s->type);
    on->swiglu_back(at, b[3], b[2], b[0], s->m, s->n, s->type);
}

START_TEST(swiglu)
{
    static const int widths[] = {1, 5, 64, 200};
    for (int i = 0; i < 8; i++) {
        struct sizes s = {19, widths[i / 2], types[i & 1], 0, 0};
        struct rig_case t = {"swiglu", call_swiglu, &s, near(s.type),
                             {{RIG_IN, s.type, s.m * s.n * 2, NULL, 0, 0},
                              {RIG_OUT, s.type, s.m * s.n, NULL, 0, 0},
                              {RIG_IN, s.type, s.m * s.n, NULL, 0, 0},
                              {RIG_OUT, s.type, s.m * s.n * 2, NULL, 0, 0}}};
        rig_check(k, c, &t);
    }
}
END_TEST

CALL(call_elements)
{
    const struct sizes *s = arguments;
    on->dropout(at, b[1], b[0], s->n, s->value, 0x123456789abcdef0u, 77, s->type);
    on->add(at, b[2], b[0], s->value, s->n, s->type);
    on->to_float(at, b[3], b[0], s->n, s->type);
    on->from_float(at, b[4], b[5], s->n, s->type);
    on->scale(at, b[6], s->value, s->n);
    on->copy(at, b[7], b[5], (size_t)s->n * 4);
    on->zero(at, b[8], (size_t)s->n * 4);
}

START_TEST(dropout_casts_and_sums)
{
    static const int counts[] = {1, 6, 515, 8192};
    static const float rates[] = {0, 0.1f, 0.5f};
    for (int i = 0; i < 24; i++) {
        struct sizes s = {0, counts[i / 6], types[i & 1], 0, rates[i / 2 % 3]};
        struct rig_case t = {"elements", call_elements, &s, near(s.type),
                             {{RIG_IN, s.type, s.n, NULL, 0, 0},
                              {RIG_OUT, s.type, s.n, NULL, 0, 0},
                              {RIG_BOTH, s.type, s.n, NULL, 0, 0},
                              {RIG_OUT, KERNEL_F32, s.n, NULL, 0, 1e-7},
                              {RIG_OUT, s.type, s.n, NULL, 0, 1e-7},
                              {RIG_IN, KERNEL_F32, s.n, NULL, 0, 0},
                              {RIG_BOTH, KERNEL_F32, s.n, NULL, 0, 1e-6},
                              {RIG_OUT, KERNEL_F32, s.n, NULL, 0, 1e-7},
                              {RIG_OUT, KERNEL_F32, s.n, NULL, 0, 1e-7}}};
        rig_check(k, c, &t);
    }
}
END_TEST

/* --- layers --- */

struct norm_case {
    struct kernel_norm_args a;
    bool bias, add, dsum;
};

CALL(call_norm)
{
    const struct norm_case *n = arguments;
    struct kernel_norm_args a = n->a;
    a.weight = b[0];
    a.bias = n->bias ? b[1] : NULL;
    on->norm(at, &a, b[4], n->add ? b[5] : NULL, b[6], b[2], n->add ? b[3] : NULL);
    on->norm_back(at, &a, b[8], b[9], n->bias ? b[10] : NULL, b[7], n->add ? b[5] : b[2],
                  b[6], n->dsum ? b[3] : NULL, b[11]);
}

START_TEST(norms)
{
    static const int shapes[][2] = {{1, 8}, {5, 33}, {77, 256}, {130, 768}, {19, 1024},
                                    {9, 1600}, {3, 2048}, {6, 5120}, {2, 8200}, {600, 64}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int bits = 0; bits < 16; bits++) {
            bool rms = bits & 2;
            struct norm_case n = {{rms ? KERNEL_RMSNORM : KERNEL_LAYERNORM, types[bits & 1],
                                   shapes[i][0], shapes[i][1], 1e-5f, NULL, NULL},
                                  !rms && !(bits & 4), bits & 4, bits & 8};
            enum kernel_type type = n.a.type;
            int64_t width = n.a.width, all = n.a.rows * width;
            char name[96];
            snprintf(name, sizeof(name), "norm %dx%d type %d rms %d add %d dsum %d",
                     shapes[i][0], shapes[i][1], type, rms, n.add, n.dsum);
            struct rig_case t = {
                name, call_norm, &n, near(type),
                {{RIG_IN, type, width, NULL, 0, 0},
                 {RIG_IN, type, width, NULL, 0, 0},
                 {RIG_IN, type, all, NULL, 0, 0},
                 {RIG_IN, type, all, NULL, 0, 0},
                 {RIG_OUT, type, all, NULL, 0, type == KERNEL_BF16 ? 2e-2 : 0},
                 {n.add ? RIG_OUT : RIG_SCRATCH, type, all, NULL, 0, 0},
                 {RIG_OUT, KERNEL_F32, 2 * n.a.rows, NULL, 0, 1e-4},
                 {RIG_IN, type, all, NULL, 0, 0},
                 {RIG_OUT, type, all, NULL, 0, type == KERNEL_BF16 ? 2e-2 : 1e-4},
                 {RIG_BOTH, KERNEL_F32, width, NULL, 0, 2e-4},
                 {RIG_BOTH, KERNEL_F32, width, NULL, 0, 2e-5},
                 {RIG_SCRATCH, KERNEL_F32, 0, NULL, SCRATCH(norm_scratch, &n.a), 0}}};
            rig_check(k, c, &t);
        }
}
END_TEST

struct embed_case {
    struct kernel_rows r;
    int64_t length;
    bool positions;
};

CALL(call_embed)
{
    const struct embed_case *e = arguments;
    struct kernel_rows r = e->r;
    r.ids = b[0];
    r.order = b[1];
    on->embed(at, &r, b[4], b[2], e->positions ? b[3] : NULL, e->length);
    on->embed_back(at, &r, b[6], e->positions ? b[7] : NULL, b[5], e->length);
}

static const int32_t *sorted_ids;

static int by_id(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (sorted_ids[x] != sorted_ids[y])
        return sorted_ids[x] < sorted_ids[y] ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* spread: of how many ids; few make long runs. */
static void check_embed(int count, int width, int table, int spread, enum kernel_type type,
                        bool positions)
{
    int32_t *ids = malloc((size_t)count * 4), *order = malloc((size_t)count * 4);
    for (int i = 0; i < count; i++) {
        ids[i] = (int32_t)((unsigned)i * 2654435761u >> 8) % spread;
        order[i] = i;
    }
    sorted_ids = ids;
    qsort(order, (size_t)count, 4, by_id);
    int64_t length = count % 3 == 0 ? count / 3 : count, all = (int64_t)count * width;
    struct embed_case e = {{type, count, width, table, NULL, NULL}, length, positions};
    struct rig_case t = {
        "embed", call_embed, &e, near(type),
        {{RIG_GIVEN, KERNEL_F32, 0, ids, (size_t)count * 4, 0},
         {RIG_GIVEN, KERNEL_F32, 0, order, (size_t)count * 4, 0},
         {RIG_IN, type, (int64_t)table * width, NULL, 0, 0},
         {RIG_IN, type, length * width, NULL, 0, 0},
         {RIG_OUT, type, all, NULL, 0, 0},
         {RIG_IN, type, all, NULL, 0, 0},
         {RIG_BOTH, KERNEL_F32, (int64_t)table * width, NULL, 0, 2e-5},
         {RIG_BOTH, KERNEL_F32, length * width, NULL, 0, 2e-5}}};
    rig_check(k, c, &t);
    free(ids);
    free(order);
}

START_TEST(embeddings)
{
    for (int i = 0; i < 4; i++) {
        check_embed(1, 5, 3, 1, types[i & 1], i & 2);
        check_embed(300, 36, 50, 50, types[i & 1], i & 2);
        check_embed(999, 768, 200, 3, types[i & 1], i & 2);
        check_embed(600, 2600, 700, 700, types[i & 1], i & 2);
        check_embed(4096, 72, 64, 2, types[i & 1], i & 2);
    }
}
END_TEST

struct rope_case {
    struct kernel_rope r;
    bool weights, in_place;
};

CALL(call_rope)
{
    const struct rope_case *p = arguments;
    struct kernel_rope r = p->r;
    r.cosine = b[0];
    r.sine = b[1];
    r.q_weight = p->weights ? b[2] : NULL;
    r.k_weight = p->weights ? b[3] : NULL;
    on->rope(at, &r, b[5], b[6], b[4]);
    on->rope_back(at, &r, b[8], b[9], b[10], b[7], b[4], b[6], b[11]);
}

START_TEST(rotary_positions)
{
    static const int shapes[][5] = {
        {1, 1, 1, 1, 2}, {2, 9, 4, 2, 64}, {3, 20, 16, 8, 128}, {2, 7, 3, 3, 36}, {1, 33, 2, 1, 256}};
    float cosine[33 * 128], sine[33 * 128];
    for (int i = 0; i < 33 * 128; i++) {
        cosine[i] = cosf((float)i * 0.37f);
        sine[i] = sinf((float)i * 0.37f);
    }
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int bits = 0; bits < 4; bits++) {
            const int *s = shapes[i];
            enum kernel_type type = types[bits & 1];
            struct rope_case p = {{type, s[0], s[1], s[2], s[3], s[4], NULL, NULL, &i, &i, 1e-6f},
                                  bits & 2, false};
            int64_t rows = s[0] * s[1], turned = s[2] + s[3];
            int64_t all = rows * (turned + s[3]) * s[4];
            size_t table = (size_t)(s[1] * s[4] / 2) * 4;
            enum rig_kind stats = bits & 2 ? RIG_OUT : RIG_SCRATCH;
            struct rig_case t = {"rope", call_rope, &p, type == KERNEL_BF16 ? 1.2e-2 : 5e-5,
                                 {{RIG_GIVEN, KERNEL_F32, 0, cosine, table, 0},
                                  {RIG_GIVEN, KERNEL_F32, 0, sine, table, 0},
                                  {RIG_IN, type, s[4], NULL, 0, 0},
                                  {RIG_IN, type, s[4], NULL, 0, 0},
                                  {RIG_IN, type, all, NULL, 0, 0},
                                  {RIG_OUT, type, all, NULL, 0, 0},
                                  {stats, KERNEL_F32, rows * turned, NULL, 0, 1e-4},
                                  {RIG_IN, type, all, NULL, 0, 0},
                                  {RIG_OUT, type, all, NULL, 0, 0},
                                  {RIG_BOTH, KERNEL_F32, s[4], NULL, 0, 1e-4},
                                  {RIG_BOTH, KERNEL_F32, s[4], NULL, 0, 1e-4},
                                  {RIG_SCRATCH, KERNEL_F32, 0, NULL,
                                   SCRATCH(rope_scratch, &p.r), 0}}};
            rig_check(k, c, &t);
        }
}
END_TEST

CALL(call_attention)
{
    const struct kernel_attention *a = arguments;
    on->attention(at, a, b[2], b[3], b[0]);
    on->attention_back(at, a, b[4], b[1], b[2], b[3], b[0], b[5]);
}

START_TEST(attention)
{
    static const int shapes[][5] = {/* batch, length, heads, kv_heads, size */
                                    {1, 1, 1, 1, 64},    {2, 64, 2, 2, 64},
                                    {1, 127, 3, 3, 64},  {2, 128, 4, 2, 64},
                                    {1, 129, 4, 1, 64},  {1, 333, 6, 2, 64},
                                    {2, 512, 2, 1, 64},  {1, 1, 2, 1, 128},
                                    {2, 65, 4, 2, 128},  {1, 200, 4, 4, 128},
                                    {1, 384, 6, 3, 128}, {2, 37, 2, 1, 16},
                                    {1, 70, 3, 1, 80}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int bits = 0; bits < 2; bits++) {
            const int *s = shapes[i];
            enum kernel_type type = types[bits];
            struct kernel_attention a = {type, s[0], s[1], s[2], s[3], s[4],
                                         1 / sqrtf((float)s[4]) * 4};
            int64_t rows = (int64_t)s[0] * s[1], out = rows * s[2] * s[4];
            int64_t all = rows * (s[2] + 2 * s[3]) * s[4];
            char name[96];
            snprintf(name, sizeof(name), "attention batch %d length %d heads %d/%d of %d type %d",
                     s[0], s[1], s[2], s[3], s[4], type);
            /* Scores four times as sharp as usual. */
            double close = type == KERNEL_BF16 ? 5e-2 : 1e-4;
            struct rig_case t = {name, call_attention, &a, close,
                                 {{RIG_IN, type, all, NULL, 0, 0},
                                  {RIG_IN, type, out, NULL, 0, 0},
                                  {RIG_OUT, type, out, NULL, 0, 0},
                                  {RIG_OUT, KERNEL_F32, rows * s[2], NULL, 0, 1e-4},
                                  {RIG_OUT, type, all, NULL, 0, 0},
                                  {RIG_SCRATCH, KERNEL_F32, 0, NULL,
                                   SCRATCH(attention_scratch, &a), 0}}};
            rig_check(k, c, &t);
        }
}
END_TEST

/* A batch that fills the device, where blocks divide the work in another way, gives the bits of
 * its sequences one by one. */
START_TEST(attention_of_many_heads)
{
    enum { BATCH = 100, LENGTH = 333, HEADS = 12, KV_HEADS = 6, SIZE = 64 };
    struct kernel_attention a = {KERNEL_BF16, BATCH, LENGTH, HEADS, KV_HEADS, SIZE, 0.2f};
    size_t out = (size_t)LENGTH * HEADS * SIZE, all = out * 2, lse = (size_t)LENGTH * HEADS;
    struct rig_buffer random = {RIG_IN, KERNEL_BF16, (int64_t)(BATCH * all), NULL, 0, 0};
    void *host = rig_fill(&random), *whole = malloc(BATCH * all * 2), *parts = malloc(all * 2);
    void *qkv = k->alloc(c, BATCH * all * 2), *dqkv = k->alloc(c, BATCH * all * 2);
    void *o = k->alloc(c, BATCH * out * 2), *scratch = k->alloc(c, k->attention_scratch(c, &a));
    float *l = k->alloc(c, BATCH * lse * 4);
    char error[256] = "";
    k->upload(c, qkv, host, BATCH * all * 2);
    k->attention(c, &a, o, l, qkv);
    k->attention_back(c, &a, dqkv, qkv, o, l, qkv, scratch);
    k->download(c, whole, dqkv, BATCH * all * 2);
    a.batch = 1;
    for (size_t i = 0; i < BATCH; i++) {
        k->zero(c, dqkv, all * 2);
        k->attention(c, &a, o, l, (char *)qkv + i * all * 2);
        k->attention_back(c, &a, dqkv, (char *)qkv + i * out * 2, o, l, (char *)qkv + i * all * 2,
                          scratch);
        k->download(c, parts, dqkv, all * 2);
        ck_assert_msg(k->sync(c, error, sizeof(error)) == 0, "%s", error);
        ck_assert_msg(memcmp(parts, (char *)whole + i * all * 2, all * 2) == 0,
                      "sequence %zu alone has other gradients than in a batch", i);
    }
    k->free(c, qkv);
    k->free(c, dqkv);
    k->free(c, o);
    k->free(c, l);
    k->free(c, scratch);
    free(host);
    free(whole);
    free(parts);
}
END_TEST

/* --- losses --- */

struct loss_case {
    struct kernel_loss l;
    bool weights, correct;
};

CALL(call_loss)
{
    const struct loss_case *s = arguments;
    struct kernel_loss l = s->l;
    l.targets = b[0];
    l.class_weights = s->weights ? b[1] : NULL;
    on->cross_entropy(at, &l, b[2], s->correct ? b[3] : NULL, b[4]);
}

START_TEST(cross_entropy)
{
    static const int shapes[][3] = {{5, 3, 3},       {100, 10, 16},      {9, 257, 264},
                                    {7, 1000, 1003}, {6, 50257, 50304},  {3, 151936, 151936},
                                    {4, 300, 384}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int bits = 0; bits < 8; bits++) {
            const int *s = shapes[i];
            int32_t targets[128];
            for (int j = 0; j < s[0]; j++)
                targets[j] = j % 4 == 3 ? -1 : j * 7919 % s[1];
            struct loss_case l = {{types[bits & 1], s[0], s[1], s[2], NULL, NULL,
                                   1 / 32.0f, bits & 2},
                                  bits & 4, !(bits & 4)};
            int64_t all = (int64_t)s[0] * s[2];
            struct rig_case t = {"cross_entropy", call_loss, &l, near(l.l.type),
                                 {{RIG_GIVEN, KERNEL_F32, 0, targets, (size_t)s[0] * 4, 0},
                                  {RIG_IN, KERNEL_F32, s[1], NULL, 0, 0},
                                  {RIG_OUT, KERNEL_F32, s[0], NULL, 0, 2e-5},
                                  {l.correct ? RIG_OUT : RIG_SCRATCH, KERNEL_F32, s[0], NULL, 0, 1e-7},
                                  {RIG_BOTH, l.l.type, all, NULL, 0, 0}}};
            rig_check(k, c, &t);
        }
}
END_TEST

CALL(call_squared)
{
    const struct sizes *s = arguments;
    on->squared_error(at, b[0], b[1], b[2], s->m, s->n, 0.125f, s->option, s->type);
}

START_TEST(squared_error)
{
    for (int i = 0; i < 8; i++) {
        struct sizes s = {37, i & 4 ? 1 : 45, types[i & 1], i & 2, 0};
        struct rig_case t = {"squared_error", call_squared, &s, near(s.type),
                             {{RIG_OUT, KERNEL_F32, s.m, NULL, 0, 2e-5},
                              {RIG_BOTH, s.type, s.m * s.n, NULL, 0, 0},
                              {RIG_IN, KERNEL_F32, s.m * s.n, NULL, 0, 0}}};
        rig_check(k, c, &t);
    }
}
END_TEST

/* --- the optimizer --- */

struct update_case {
    struct kernel_update u;
    bool copy, m, v;
};

CALL(call_update)
{
    const struct update_case *s = arguments;
    struct kernel_update u = s->u;
    on->sum_squares(at, b[6], b[1], u.count, false);
    on->sum_squares(at, b[6], b[0], u.count, true);
    on->sum(at, b[7], b[1], u.count);
    on->clip(at, b[5], b[6], 1.5f);
    u.weight = b[0];
    u.grad = b[1];
    u.copy = s->copy ? b[2] : NULL;
    u.m = s->m ? b[3] : NULL;
    u.v = s->v ? b[4] : NULL;
    u.scale = s->copy ? b[5] : NULL;
    on->update(at, &u);
}

START_TEST(optimizers)
{
    static const int counts[] = {1, 6, 1023, 40000};
    float squares[40000];
    for (int i = 0; i < 40000; i++)
        squares[i] = (float)(i % 97) * 1e-3f;
    for (int kind = KERNEL_SGD; kind <= KERNEL_LION; kind++)
        for (int i = 0; i < 16; i++) {
            int64_t n = counts[i / 4];
            struct update_case s = {{.kind = (enum kernel_optimizer)kind, .count = n,
                                     .rate = 0.01f, .beta1 = 0.9f, .beta2 = 0.95f,
                                     .epsilon = 1e-4f, .decay = i & 2 ? 0.1f : 0,
                                     .step = 1 + i},
                                    i & 1, kind != KERNEL_SGD || (i & 2), kind == KERNEL_ADAMW};
            struct rig_case t = {"update", call_update, &s, 2e-5,
                                 {{RIG_BOTH, KERNEL_F32, n, NULL, 0, 0},
                                  {RIG_IN, KERNEL_F32, n, NULL, 0, 0},
                                  {s.copy ? RIG_OUT : RIG_SCRATCH, KERNEL_BF16, n, NULL, 0, 8e-3},
                                  {RIG_BOTH, KERNEL_F32, n, NULL, 0, 0},
                                  {RIG_BOTH, KERNEL_F32, n, squares, 0, 0},
                                  {RIG_OUT, KERNEL_F32, 1, NULL, 0, 0},
                                  {RIG_OUT, KERNEL_F32, 1, NULL, 0, 0},
                                  {RIG_OUT, KERNEL_F32, 1, NULL, 0, 1e-4}}};
            rig_check(k, c, &t);
        }
}
END_TEST

/* --- memory, order, failures --- */

START_TEST(copies_marks_and_the_side)
{
    char error[256] = "";
    size_t bytes = 1 << 20;
    char *host = k->alloc_host(c, bytes), *back = k->alloc_host(c, bytes);
    void *device = k->alloc(c, bytes);
    ck_assert(host != NULL && back != NULL && device != NULL);
    ck_assert_int_eq((int)((uintptr_t)device % 256), 0);
    for (size_t i = 0; i < bytes; i++)
        host[i] = (char)(i * 31);
    k->wait(c, 3); /* no mark yet: at once */
    k->upload(c, device, host, bytes);
    k->mark(c, 3);
    k->wait(c, 3);
    memset(back, 0, bytes);
    k->side_download(c, back, device, bytes);
    k->side_wait(c);
    ck_assert_int_eq(memcmp(host, back, bytes), 0);
    ck_assert_int_eq(k->sync(c, error, sizeof(error)), 0);
    k->free(c, device);
    k->free_host(c, host);
    k->free_host(c, back);
}
END_TEST

START_TEST(what_it_is_and_too_much_memory)
{
    struct kernel_info info;
    char error[256] = "";
    k->info(c, &info);
    printf("check_cuda: %s, %.1f GiB, %.0f TFLOP/s\n", info.name,
           (double)info.total / (1 << 30), info.peak_bf16 / 1e12);
    ck_assert(info.name[0] != '\0' && info.free > 0 && info.free <= info.total);
    ck_assert_ptr_null(k->alloc(c, info.total * 4));
    ck_assert_int_eq(k->sync(c, error, sizeof(error)), 0);
    ck_assert_ptr_null(k->open(&(struct kernel_options){.device = 99}, error, sizeof(error)));
    ck_assert_msg(strstr(error, "GPU 99 is not there") != NULL, "%s", error);
}
END_TEST

START_TEST(failures_name_the_operation)
{
    char error[256] = "";
    struct kernel_context *other = k->open(&(struct kernel_options){.device = 0}, error,
                                           sizeof(error));
    ck_assert_msg(other != NULL, "%s", error);
    struct kernel_rope r = {.type = KERNEL_F32, .batch = 1, .length = 1, .heads = 1,
                            .kv_heads = 1, .size = 7};
    k->rope(other, &r, NULL, NULL, NULL);
    ck_assert_int_eq(k->sync(other, error, sizeof(error)), -1);
    ck_assert_msg(strstr(error, "rope: ") != NULL, "%s", error);
    k->close(other);
}
END_TEST

CALL(call_group)
{
    unsigned char id[128];
    char error[256] = "";
    (void)arguments;
    if (on->comm_id == NULL) { /* the reference: a group of one */
        memcpy(b[1], b[0], 4000);
        memcpy(b[2], b[0], 4000);
        memcpy(b[3], b[0], 4000);
        return;
    }
    ck_assert_msg(on->comm_id(id, error, sizeof(error)) == 0, "%s", error);
    struct kernel_comm *m = on->comm_open(at, id, 0, 1, error, sizeof(error));
    ck_assert_msg(m != NULL, "%s", error);
    on->comm_sum(m, b[1], b[0], 1000);
    on->comm_scatter(m, b[2], b[0], 1000);
    on->comm_gather(m, b[3], b[0], 4000);
    on->comm_broadcast(m, b[3], 4000, 0);
    on->comm_wait(m);
    ck_assert_msg(on->comm_check(m, error, sizeof(error)) == 0, "%s", error);
    on->sync(at, error, sizeof(error));
    on->comm_close(m);
}

START_TEST(a_group_of_one)
{
    struct rig_case t = {"comm", call_group, NULL, 1e-9,
                         {{RIG_IN, KERNEL_F32, 1000, NULL, 0, 0},
                          {RIG_OUT, KERNEL_F32, 1000, NULL, 0, 0},
                          {RIG_OUT, KERNEL_F32, 1000, NULL, 0, 0},
                          {RIG_OUT, KERNEL_F32, 1000, NULL, 0, 0}}};
    rig_check(k, c, &t);
}
END_TEST

/* CK_RUN_CASE=attention runs that part alone, for a memory checker. */
static void add(Suite *suite, const char *part, const TTest *test)
{
    TCase *tests = tcase_create(part);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test);
    suite_add_tcase(suite, tests);
}

int main(void)
{
    char error[256] = "";
    setenv("NCCL_NVLS_ENABLE", "0", 0);
    k = rig_open(&c, error, sizeof(error));
    if (k == NULL) {
        printf("skipped: no GPU (%s)\n", error);
        return 77;
    }
    Suite *suite = suite_create("cuda");
    add(suite, "memory", what_it_is_and_too_much_memory);
    add(suite, "memory", copies_marks_and_the_side);
    add(suite, "products", products_of_all_layouts);
    add(suite, "products", products_with_epilogues);
    add(suite, "products", products_with_strides);
    add(suite, "elements", sums_of_rows);
    add(suite, "elements", activations);
    add(suite, "elements", activations_of_large_numbers);
    add(suite, "elements", swiglu);
    add(suite, "elements", dropout_casts_and_sums);
    add(suite, "layers", norms);
    add(suite, "layers", embeddings);
    add(suite, "layers", rotary_positions);
    add(suite, "attention", attention);
    add(suite, "many heads", attention_of_many_heads);
    add(suite, "losses", cross_entropy);
    add(suite, "losses", squared_error);
    add(suite, "optimizer", optimizers);
    add(suite, "failures", failures_name_the_operation);
    add(suite, "group", a_group_of_one);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK); /* a CUDA context does not survive a fork */
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    k->close(c);
    return failed == 0 ? 0 : 1;
}
