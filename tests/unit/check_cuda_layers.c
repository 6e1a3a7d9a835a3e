/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers, losses and the optimizer of raywf-cuda.so. Skipped where there is no GPU.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cuda_rig.h"

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
    on->norm_back(at, &a, b[8], b[9], n->bias ? b[10] : NULL, b[7],
                  n->add ? b[5] : b[2], b[6], n->dsum ? b[3] : NULL, b[11]);
}

START_TEST(norms)
{
    static const int shapes[][2] = {{1, 8},     {5, 33},   {77, 256}, {130, 768},
                                    {19, 1024}, {9, 1600}, {3, 2048}, {6, 5120},
                                    {2, 8200},  {600, 64}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int bits = 0; bits < 16; bits++) {
            bool rms = bits & 2;
            struct norm_case n = {{rms ? KERNEL_RMSNORM : KERNEL_LAYERNORM,
                                   rig_types[bits & 1], shapes[i][0], shapes[i][1],
                                   1e-5f, NULL, NULL},
                                  !rms && !(bits & 4),
                                  bits & 4,
                                  bits & 8};
            enum kernel_type type = n.a.type;
            int64_t width = n.a.width, all = n.a.rows * width;
            char name[96];
            snprintf(name, sizeof(name), "norm %dx%d type %d rms %d add %d dsum %d",
                     shapes[i][0], shapes[i][1], type, rms, n.add, n.dsum);
            struct rig_case t = {
                name,
                call_norm,
                &n,
                rig_near(type),
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
            rig_check(rig_c, &t);
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
static void check_embed(int count, int width, int table, int spread,
                        enum kernel_type type, bool positions)
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
    struct rig_case t = {"embed",
                         call_embed,
                         &e,
                         rig_near(type),
                         {{RIG_GIVEN, KERNEL_F32, 0, ids, (size_t)count * 4, 0},
                          {RIG_GIVEN, KERNEL_F32, 0, order, (size_t)count * 4, 0},
                          {RIG_IN, type, (int64_t)table * width, NULL, 0, 0},
                          {RIG_IN, type, length * width, NULL, 0, 0},
                          {RIG_OUT, type, all, NULL, 0, 0},
                          {RIG_IN, type, all, NULL, 0, 0},
                          {RIG_BOTH, KERNEL_F32, (int64_t)table * width, NULL, 0, 2e-5},
                          {RIG_BOTH, KERNEL_F32, length * width, NULL, 0, 2e-5}}};
    rig_check(rig_c, &t);
    free(ids);
    free(order);
}

START_TEST(embeddings)
{
    for (int i = 0; i < 4; i++) {
        check_embed(1, 5, 3, 1, rig_types[i & 1], i & 2);
        check_embed(300, 36, 50, 50, rig_types[i & 1], i & 2);
        check_embed(999, 768, 200, 3, rig_types[i & 1], i & 2);
        check_embed(600, 2600, 700, 700, rig_types[i & 1], i & 2);
        check_embed(4096, 72, 64, 2, rig_types[i & 1], i & 2);
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
    static const int shapes[][5] = {{1, 1, 1, 1, 2},
                                    {2, 9, 4, 2, 64},
                                    {3, 20, 16, 8, 128},
                                    {2, 7, 3, 3, 36},
                                    {1, 33, 2, 1, 256}};
    float cosine[33 * 128], sine[33 * 128];
    for (int i = 0; i < 33 * 128; i++) {
        cosine[i] = cosf((float)i * 0.37f);
        sine[i] = sinf((float)i * 0.37f);
    }
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int bits = 0; bits < 4; bits++) {
            const int *s = shapes[i];
            enum kernel_type type = rig_types[bits & 1];
            struct rope_case p = {
                {type, s[0], s[1], s[2], s[3], s[4], NULL, NULL, &i, &i, 1e-6f},
                bits & 2,
                false};
            int64_t rows = s[0] * s[1], turned = s[2] + s[3];
            int64_t all = rows * (turned + s[3]) * s[4];
            size_t table = (size_t)(s[1] * s[4] / 2) * 4;
            enum rig_kind stats = bits & 2 ? RIG_OUT : RIG_SCRATCH;
            struct rig_case t = {
                "rope",
                call_rope,
                &p,
                type == KERNEL_BF16 ? 1.2e-2 : 5e-5,
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
                 {RIG_SCRATCH, KERNEL_F32, 0, NULL, SCRATCH(rope_scratch, &p.r), 0}}};
            rig_check(rig_c, &t);
        }
}
END_TEST

CALL(call_attention)
{
    const struct kernel_attention *a = arguments;
    on->attention(at, a, b[2], b[3], b[0]);
    on->attention_back(at, a, b[4], b[1], b[2], b[3], b[0], b[5]);
}

static void check_attention(struct kernel_context *on)
{
    static const int shapes[][5] = {
        /* batch, length, heads, kv_heads, size */
        {1, 1, 1, 1, 64},    {2, 64, 2, 2, 64},   {1, 127, 3, 3, 64},
        {2, 128, 4, 2, 64},  {1, 129, 4, 1, 64},  {1, 333, 4, 2, 64},
        {1, 450, 2, 1, 64},  {1, 1, 2, 1, 128},   {2, 65, 4, 2, 128},
        {1, 200, 4, 4, 128}, {1, 300, 2, 1, 128}, {2, 37, 2, 1, 16},
        {1, 70, 3, 1, 80}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int bits = 0; bits < 2; bits++) {
            const int *s = shapes[i];
            enum kernel_type type = rig_types[bits];
            struct kernel_attention a = {
                type, s[0], s[1], s[2], s[3], s[4], 1 / sqrtf((float)s[4]) * 4};
            int64_t rows = (int64_t)s[0] * s[1], out = rows * s[2] * s[4];
            int64_t all = rows * (s[2] + 2 * s[3]) * s[4];
            char name[96];
            snprintf(name, sizeof(name),
                     "attention batch %d length %d heads %d/%d of %d type %d", s[0],
                     s[1], s[2], s[3], s[4], type);
            /* Scores four times as sharp as usual. */
            double close = type == KERNEL_BF16 ? 5e-2 : 1e-4;
            struct rig_case t = {
                name,
                call_attention,
                &a,
                close,
                {{RIG_IN, type, all, NULL, 0, 0},
                 {RIG_IN, type, out, NULL, 0, 0},
                 {RIG_OUT, type, out, NULL, 0, 0},
                 {RIG_OUT, KERNEL_F32, rows * s[2], NULL, 0, 1e-4},
                 {RIG_OUT, type, all, NULL, 0, 0},
                 {RIG_SCRATCH, KERNEL_F32, 0, NULL,
                  rig_k->attention_scratch(on, &a) +
                      kernels_reference()->attention_scratch(NULL, &a) + 4,
                  0}}};
            rig_check(on, &t);
        }
}

START_TEST(attention)
{
    check_attention(rig_c);
}
END_TEST

/* What GPUs before 9.0 run. */
START_TEST(attention_of_older_gpus)
{
    char error[256] = "";
    setenv("RAYWF_CUDA_CAPABLE", "80", 1);
    struct kernel_context *older =
        rig_k->open(&(struct kernel_options){.device = 0}, error, sizeof(error));
    unsetenv("RAYWF_CUDA_CAPABLE");
    ck_assert_msg(older != NULL, "%s", error);
    check_attention(older);
    rig_k->close(older);
}
END_TEST

/* A batch that fills the device, where blocks divide the work in another way, gives the
 * bits of its sequences one by one. */
START_TEST(attention_of_many_heads)
{
    enum { BATCH = 100, LENGTH = 333, HEADS = 12, KV_HEADS = 6, SIZE = 64 };
    struct kernel_attention a = {KERNEL_BF16, BATCH, LENGTH, HEADS,
                                 KV_HEADS,    SIZE,  0.2f};
    size_t out = (size_t)LENGTH * HEADS * SIZE, all = out * 2,
           lse = (size_t)LENGTH * HEADS;
    struct rig_buffer random = {RIG_IN, KERNEL_BF16, (int64_t)(BATCH * all),
                                NULL,   0,           0};
    void *host = rig_fill(&random), *whole = malloc(BATCH * all * 2),
         *parts = malloc(all * 2);
    void *qkv = rig_k->alloc(rig_c, BATCH * all * 2),
         *dqkv = rig_k->alloc(rig_c, BATCH * all * 2);
    void *o = rig_k->alloc(rig_c, BATCH * out * 2),
         *scratch = rig_k->alloc(rig_c, rig_k->attention_scratch(rig_c, &a));
    float *l = rig_k->alloc(rig_c, BATCH * lse * 4);
    char error[256] = "";
    rig_k->upload(rig_c, qkv, host, BATCH * all * 2);
    rig_k->attention(rig_c, &a, o, l, qkv);
    rig_k->attention_back(rig_c, &a, dqkv, qkv, o, l, qkv, scratch);
    rig_k->download(rig_c, whole, dqkv, BATCH * all * 2);
    a.batch = 1;
    for (size_t i = 0; i < BATCH; i++) {
        rig_k->zero(rig_c, dqkv, all * 2);
        rig_k->attention(rig_c, &a, o, l, (char *)qkv + i * all * 2);
        rig_k->attention_back(rig_c, &a, dqkv, (char *)qkv + i * out * 2, o, l,
                              (char *)qkv + i * all * 2, scratch);
        rig_k->download(rig_c, parts, dqkv, all * 2);
        ck_assert_msg(rig_k->sync(rig_c, error, sizeof(error)) == 0, "%s", error);
        ck_assert_msg(memcmp(parts, (char *)whole + i * all * 2, all * 2) == 0,
                      "sequence %zu alone has other gradients than in a batch", i);
    }
    rig_k->free(rig_c, qkv);
    rig_k->free(rig_c, dqkv);
    rig_k->free(rig_c, o);
    rig_k->free(rig_c, l);
    rig_k->free(rig_c, scratch);
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
    static const int shapes[][3] = {
        {5, 3, 3},         {100, 10, 16},       {9, 257, 264}, {7, 1000, 1003},
        {6, 50257, 50304}, {3, 151936, 151936}, {4, 300, 384}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int bits = 0; bits < 8; bits++) {
            const int *s = shapes[i];
            int32_t targets[128];
            for (int j = 0; j < s[0]; j++)
                targets[j] = j % 4 == 3 ? -1 : j * 7919 % s[1];
            struct loss_case l = {{rig_types[bits & 1], s[0], s[1], s[2], NULL, NULL,
                                   1 / 32.0f, bits & 2},
                                  bits & 4,
                                  !(bits & 4)};
            int64_t all = (int64_t)s[0] * s[2];
            struct rig_case t = {
                "cross_entropy",
                call_loss,
                &l,
                rig_near(l.l.type),
                {{RIG_GIVEN, KERNEL_F32, 0, targets, (size_t)s[0] * 4, 0},
                 {RIG_IN, KERNEL_F32, s[1], NULL, 0, 0},
                 {RIG_OUT, KERNEL_F32, s[0], NULL, 0, 2e-5},
                 {l.correct ? RIG_OUT : RIG_SCRATCH, KERNEL_F32, s[0], NULL, 0, 1e-7},
                 {RIG_BOTH, l.l.type, all, NULL, 0, 0}}};
            rig_check(rig_c, &t);
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
        struct sizes s = {37, i & 4 ? 1 : 45, rig_types[i & 1], i & 2, 0};
        struct rig_case t = {"squared_error",
                             call_squared,
                             &s,
                             rig_near(s.type),
                             {{RIG_OUT, KERNEL_F32, s.m, NULL, 0, 2e-5},
                              {RIG_BOTH, s.type, s.m * s.n, NULL, 0, 0},
                              {RIG_IN, KERNEL_F32, s.m * s.n, NULL, 0, 0}}};
        rig_check(rig_c, &t);
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
            struct update_case s = {{.kind = (enum kernel_optimizer)kind,
                                     .count = n,
                                     .rate = 0.01f,
                                     .beta1 = 0.9f,
                                     .beta2 = 0.95f,
                                     .epsilon = 1e-4f,
                                     .decay = i & 2 ? 0.1f : 0,
                                     .step = 1 + i},
                                    i & 1,
                                    kind != KERNEL_SGD || (i & 2),
                                    kind == KERNEL_ADAMW};
            struct rig_case t = {
                "update",
                call_update,
                &s,
                2e-5,
                {{RIG_BOTH, KERNEL_F32, n, NULL, 0, 0},
                 {RIG_IN, KERNEL_F32, n, NULL, 0, 0},
                 {s.copy ? RIG_OUT : RIG_SCRATCH, KERNEL_BF16, n, NULL, 0, 8e-3},
                 {RIG_BOTH, KERNEL_F32, n, NULL, 0, 0},
                 {RIG_BOTH, KERNEL_F32, n, squares, 0, 0},
                 {RIG_OUT, KERNEL_F32, 1, NULL, 0, 0},
                 {RIG_OUT, KERNEL_F32, 1, NULL, 0, 0},
                 {RIG_OUT, KERNEL_F32, 1, NULL, 0, 1e-4}}};
            rig_check(rig_c, &t);
        }
}
END_TEST

int main(void)
{
    const struct rig_part parts[] = {
        {"layers", norms},
        {"layers", embeddings},
        {"layers", rotary_positions},
        {"attention", attention},
        {"older attention", attention_of_older_gpus},
        {"many heads", attention_of_many_heads},
        {"losses", cross_entropy},
        {"losses", squared_error},
        {"optimizer", optimizers},
    };
    return rig_main(parts, sizeof(parts) / sizeof(*parts));
}
