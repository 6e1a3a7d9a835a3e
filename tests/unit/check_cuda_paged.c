/* SPDX-License-Identifier: Apache-2.0
 *
 * A step over a mix of sequences on raywf-cuda.so: rotary positions into a paged cache,
 * attention over it, and recorded steps. Skipped where there is no GPU.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cuda_rig.h"
#include "kernels/cpu/bf16.h"

#define COUNT(x) ((int)(sizeof(x) / sizeof(*(x))))

/* --- a step over a mix of sequences --- */

#define SEQUENCES 40

struct mix {
    int count;
    int context[SEQUENCES],
        fresh[SEQUENCES]; /* fresh: new tokens; context 0: padding */
    int heads, kv_heads, size;
    enum kernel_type type;
    bool normed;
};

/* Arrays of a step on the host, and its caches: NaNs where no token is. */
struct step {
    struct kernel_sequences s;
    int32_t *first, *context, *positions, *slots, *blocks;
    int pool; /* blocks of the cache */
    void *keys, *values;
};

static int64_t cache_count(const struct mix *m, const struct step *p)
{
    return (int64_t)p->pool * m->kv_heads * KERNEL_BLOCK * m->size;
}

static void *zeroed(int64_t count, size_t size)
{
    void *p = calloc((size_t)count + 1, size);
    ck_assert_ptr_nonnull(p);
    return p;
}

static void put(void *p, int64_t i, enum kernel_type type, float v)
{
    if (type == KERNEL_BF16)
        ((uint16_t *)p)[i] = bf16_from_float(v);
    else
        ((float *)p)[i] = v;
}

static void caches_fill(const struct mix *m, struct step *p)
{
    int64_t all = cache_count(m, p);
    p->keys = zeroed(all, kernel_size(m->type));
    p->values = zeroed(all, kernel_size(m->type));
    memset(p->keys, 0xff, (size_t)all * kernel_size(m->type));
    memset(p->values, 0xff, (size_t)all * kernel_size(m->type));
    for (int i = 0; i < m->count; i++)
        for (int t = 0; t < m->context[i]; t++)
            for (int h = 0; h < m->kv_heads; h++) {
                int64_t block = p->blocks[i * p->s.stride + t / KERNEL_BLOCK];
                int64_t at =
                    ((block * m->kv_heads + h) * KERNEL_BLOCK + t % KERNEL_BLOCK) *
                    m->size;
                for (int j = 0; j < m->size; j++) {
                    put(p->keys, at + j, m->type, (float)(rig_unit() * 2 - 1));
                    put(p->values, at + j, m->type, (float)(rig_unit() * 2 - 1));
                }
            }
}

static void step_make(const struct mix *m, struct step *p)
{
    struct kernel_sequences *s = &p->s;
    *p = (struct step){.s = {.count = m->count, .stride = 1}};
    for (int i = 0; i < m->count; i++) {
        int blocks = (m->context[i] + KERNEL_BLOCK - 1) / KERNEL_BLOCK;
        s->tokens += m->fresh[i];
        p->pool += blocks;
        s->stride = blocks + 1 > s->stride ? blocks + 1 : s->stride;
        s->most = m->fresh[i] > s->most ? m->fresh[i] : s->most;
        s->prompts += m->fresh[i] > 1 && m->count % 2 == 0; /* else it is not told */
        s->longest = m->context[i] > s->longest ? m->context[i] : s->longest;
    }
    p->pool += 3;
    p->first = zeroed(s->count + 1, 4);
    p->context = zeroed(s->count, 4);
    p->positions = zeroed(s->tokens, 4);
    p->slots = zeroed(s->tokens, 4);
    p->blocks = zeroed((int64_t)s->count * s->stride, 4);
    int32_t *order = zeroed(p->pool, 4);
    for (int i = 0; i < p->pool; i++) {
        int j = rig_below(i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (int i = 0, row = 0, next = 0; i < s->count; i++) {
        p->first[i] = row;
        p->context[i] = m->context[i];
        for (int j = 0; j < s->stride; j++)
            p->blocks[i * s->stride + j] =
                j * KERNEL_BLOCK < m->context[i] ? order[next++] : 0x7fffffff;
        for (int j = 0; j < m->fresh[i]; j++, row++) {
            int at = m->context[i] - m->fresh[i] + j;
            p->positions[row] = at > 0 ? at : 0;
            p->slots[row] =
                m->context[i] == 0
                    ? -1
                    : p->blocks[i * s->stride + at / KERNEL_BLOCK] * KERNEL_BLOCK +
                          at % KERNEL_BLOCK;
        }
        p->first[i + 1] = row;
    }
    free(order);
    caches_fill(m, p);
}

static void step_free(struct step *p)
{
    free(p->first);
    free(p->context);
    free(p->positions);
    free(p->slots);
    free(p->blocks);
    free(p->keys);
    free(p->values);
}

struct step_call {
    const struct mix *m;
    const struct step *p;
};

/* Buffers 0 to 4 are the arrays, 5 and 6 the caches. */
static struct kernel_paged paged_of(const struct step_call *call,
                                    struct kernel_sequences *s, void *const *b)
{
    const struct mix *m = call->m;
    *s = call->p->s;
    s->first = b[0];
    s->context = b[1];
    s->positions = b[2];
    s->slots = b[3];
    s->blocks = b[4];
    return (struct kernel_paged){.type = m->type,
                                 .heads = m->heads,
                                 .kv_heads = m->kv_heads,
                                 .size = m->size,
                                 .scale = 1 / sqrtf((float)m->size),
                                 .keys = b[5],
                                 .values = b[6],
                                 .sequences = s};
}

static void step_buffers(struct rig_buffer b[7], const struct mix *m,
                         const struct step *p, enum rig_kind caches)
{
    const struct kernel_sequences *s = &p->s;
    const struct rig_buffer all[7] = {
        {RIG_GIVEN, KERNEL_F32, 0, p->first, (size_t)(s->count + 1) * 4, 0},
        {RIG_GIVEN, KERNEL_F32, 0, p->context, (size_t)s->count * 4, 0},
        {RIG_GIVEN, KERNEL_F32, 0, p->positions, (size_t)s->tokens * 4, 0},
        {RIG_GIVEN, KERNEL_F32, 0, p->slots, (size_t)s->tokens * 4, 0},
        {RIG_GIVEN, KERNEL_F32, 0, p->blocks, (size_t)(s->count * s->stride) * 4, 0},
        {caches, m->type, cache_count(m, p), caches == RIG_BOTH ? NULL : p->keys, 0, 0},
        {caches, m->type, cache_count(m, p), caches == RIG_BOTH ? NULL : p->values, 0,
         0}};
    memcpy(b, all, sizeof(all));
}

CALL(call_rope_paged)
{
    const struct step_call *call = arguments;
    struct kernel_sequences s;
    struct kernel_paged a = paged_of(call, &s, b);
    const struct mix *m = call->m;
    struct kernel_rope r = {.type = m->type,
                            .heads = m->heads,
                            .kv_heads = m->kv_heads,
                            .size = m->size,
                            .cosine = b[9],
                            .sine = (const float *)b[9] +
                                    (int64_t)(s.longest + 1) * m->size / 2,
                            .q_weight = m->normed ? b[10] : NULL,
                            .k_weight = m->normed ? b[11] : NULL,
                            .epsilon = 1e-6f};
    on->rope_paged(at, &r, &a, b[7], b[8]);
}

CALL(call_paged_attention)
{
    struct kernel_sequences s;
    struct kernel_paged a = paged_of(arguments, &s, b);
    on->paged_attention(at, &a, b[7], b[8], b[9]);
}

/* Scratch that serves both tables, and never less than what this one asks for. */
static size_t paged_scratch(const struct mix *m, const struct step *p)
{
    struct kernel_paged a = {.type = m->type,
                             .heads = m->heads,
                             .kv_heads = m->kv_heads,
                             .size = m->size,
                             .sequences = &p->s};
    return SCRATCH(paged_scratch, &a);
}

static void check_step(const struct mix *m, const char *what, bool rope)
{
    struct step p;
    char name[96];
    step_make(m, &p);
    int64_t out = (int64_t)p.s.tokens * m->heads * m->size;
    int64_t in = (int64_t)p.s.tokens * (m->heads + 2 * m->kv_heads) * m->size;
    struct step_call call = {m, &p};
    snprintf(name, sizeof(name), "%s %s, heads %d/%d of %d, type %d, normed %d",
             rope ? "rope_paged" : "paged_attention", what, m->heads, m->kv_heads,
             m->size, m->type, m->normed);
    struct rig_case t = {name,
                         rope ? call_rope_paged : call_paged_attention,
                         &call,
                         m->type == KERNEL_BF16 ? 2e-2 : 2e-5,
                         {{0}}};
    step_buffers(t.buffers, m, &p, rope ? RIG_BOTH : RIG_GIVEN);
    t.buffers[7] = (struct rig_buffer){RIG_OUT, m->type, out, NULL, 0, 0};
    t.buffers[8] = (struct rig_buffer){RIG_IN, m->type, rope ? in : out, NULL, 0, 0};
    t.buffers[9] = rope ? (struct rig_buffer){RIG_IN,
                                              KERNEL_F32,
                                              (int64_t)(p.s.longest + 1) * m->size,
                                              NULL,
                                              0,
                                              0}
                        : (struct rig_buffer){RIG_SCRATCH, KERNEL_F32,           0,
                                              NULL,        paged_scratch(m, &p), 0};
    if (rope) {
        t.buffers[10] = (struct rig_buffer){RIG_IN, m->type, m->size, NULL, 0, 0};
        t.buffers[11] = (struct rig_buffer){RIG_IN, m->type, m->size, NULL, 0, 0};
    }
    rig_check(rig_c, &t);
    step_free(&p);
}

static const struct {
    const char *name;
    int count, context[SEQUENCES], fresh[SEQUENCES];
} mixes[] = {
    {"one token", 1, {1}, {1}},
    {"a prompt", 1, {150}, {150}},
    {"decoding", 5, {1, 33, 64, 130, 300}, {1, 1, 1, 1, 1}},
    {"everything", 7, {100, 17, 0, 16, 0, 200, 129}, {1, 17, 1, 5, 3, 40, 2}},
    {"chunks", 3, {300, 257, 128}, {129, 128, 64}},
    {"padding", 2, {0, 0}, {4, 1}},
    {"a long one", 3, {3000, 20, 1}, {1, 1, 1}},
    {"many",
     40,
     {9,  80,  3,  17, 64,  65, 100, 31, 32, 33, 2,  1,  7,  0,
      50, 400, 0,  12, 13,  14, 15,  16, 17, 18, 19, 20, 21, 22,
      23, 24,  25, 26, 270, 28, 29,  30, 31, 32, 33, 34},
     {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
      1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 9, 1, 1, 1, 1, 1, 1, 34}},
};
static const int shapes[][3] = {{4, 2, 64},  {5, 1, 128},  {6, 3, 128},
                                {20, 1, 64}, {20, 1, 128}, {3, 3, 32}};

static void check_mixes(bool rope)
{
    for (int i = 0; i < COUNT(mixes); i++)
        for (int j = 0; j < COUNT(shapes); j++)
            for (int form = 0; form < 4; form++) {
                struct mix m = {.count = mixes[i].count,
                                .heads = shapes[j][0],
                                .kv_heads = shapes[j][1],
                                .size = shapes[j][2],
                                .type = rig_types[form & 1],
                                .normed = form & 2};
                memcpy(m.context, mixes[i].context, sizeof(m.context));
                memcpy(m.fresh, mixes[i].fresh, sizeof(m.fresh));
                if (rope ? j % 3 != 0 : m.normed || (m.type == KERNEL_F32 && j % 2))
                    continue;
                check_step(&m, mixes[i].name, rope);
            }
}

START_TEST(ropes)
{
    check_mixes(true);
}
END_TEST

START_TEST(attentions)
{
    check_mixes(false);
}
END_TEST

/* --- recorded steps --- */

static void *there(const void *from, size_t bytes)
{
    void *p = rig_k->alloc(rig_c, bytes + 1);
    ck_assert_ptr_nonnull(p);
    rig_k->upload(rig_c, p, from, bytes);
    return p;
}

struct recorded {
    struct step_call call;
    struct kernel_matmul product;
};

/* Attention, then a product of its rows. */
static void step_run(const struct recorded *r, void *const *b)
{
    call_paged_attention(rig_k, rig_c, b, &r->call);
    struct kernel_matmul m = r->product;
    m.a = b[7];
    m.b = b[10];
    m.c = b[11];
    rig_k->matmul(rig_c, &m);
}

/* What memory holds at the replay counts, not what it held before. */
static void check_recorded(int rows)
{
    enum { WIDTH = 40 };
    char error[200] = "";
    struct mix m = {
        .count = rows, .heads = 4, .kv_heads = 2, .size = 128, .type = KERNEL_BF16};
    struct step p;
    void *device[12], *start;
    for (int i = 0; i < rows; i++) {
        m.context[i] = 700 - i;
        m.fresh[i] = 1;
    }
    step_make(&m, &p);
    struct rig_case t = {.buffers = {{0}}};
    step_buffers(t.buffers, &m, &p, RIG_GIVEN);
    int64_t in = (int64_t)rows * m.heads * m.size;
    t.buffers[7] = (struct rig_buffer){RIG_OUT, m.type, in, NULL, 0, 0};
    t.buffers[8] = (struct rig_buffer){RIG_IN, m.type, in, NULL, 0, 0};
    t.buffers[9] =
        (struct rig_buffer){RIG_SCRATCH, m.type, 0, NULL, paged_scratch(&m, &p), 0};
    t.buffers[10] =
        (struct rig_buffer){RIG_IN, m.type, WIDTH * m.heads * m.size, NULL, 0, 0};
    t.buffers[11] = (struct rig_buffer){RIG_OUT, m.type, rows * WIDTH, NULL, 0, 0};
    for (int i = 0; i < 12; i++) {
        size_t bytes = t.buffers[i].bytes ? t.buffers[i].bytes
                                          : (size_t)t.buffers[i].count *
                                                kernel_size(t.buffers[i].type);
        start = rig_fill(&t.buffers[i]);
        device[i] = there(start, bytes);
        rig_k->sync(rig_c, error, sizeof(error));
        free(start);
    }
    struct recorded r = {{&m, &p},
                         {.m = rows,
                          .n = WIDTH,
                          .k = m.heads * m.size,
                          .tb = true,
                          .type = m.type,
                          .c_type = m.type,
                          .alpha = 1}};
    uint16_t first[SEQUENCES * WIDTH], second[SEQUENCES * WIDTH];
    size_t bytes = (size_t)(rows * WIDTH) * 2;
    rig_k->record(rig_c);
    step_run(&r, device);
    struct kernel_graph *g = rig_k->record_end(rig_c);
    ck_assert_msg(rig_k->sync(rig_c, error, sizeof(error)) == 0, "%s", error);
    ck_assert_ptr_nonnull(g);
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < rows; i++)
            p.context[i] = turn == 1 && i == 0 ? 0 : 1 + 200 * turn + 5 * i;
        rig_k->upload(rig_c, device[1], p.context, (size_t)rows * 4);
        rig_k->zero(rig_c, device[11], bytes);
        rig_k->replay(rig_c, g);
        rig_k->download(rig_c, first, device[11], bytes);
        rig_k->zero(rig_c, device[11], bytes);
        step_run(&r, device);
        rig_k->download(rig_c, second, device[11], bytes);
        ck_assert_msg(rig_k->sync(rig_c, error, sizeof(error)) == 0, "%s", error);
        ck_assert_msg(memcmp(first, second, bytes) == 0, "%d rows, turn %d", rows,
                      turn);
        ck_assert_msg(turn == 1 || second[0] != 0, "nothing was computed");
    }
    rig_k->graph_free(rig_c, g);
    for (int i = 0; i < 12; i++)
        rig_k->free(rig_c, device[i]);
    step_free(&p);
}

START_TEST(steps_are_recorded)
{
    check_recorded(1);
    check_recorded(9);
    check_recorded(33); /* the product is the library's */
}
END_TEST

/* A recording in which something waits is no graph, and no failure. */
START_TEST(waits_are_not_recorded)
{
    char error[200] = "", line[200] = "";
    float x[4] = {1, 2, 3, 4};
    float *p = there(x, sizeof(x));
    rig_k->sync(rig_c, error, sizeof(error));
    rig_k->record(rig_c);
    rig_k->scale(rig_c, p, 2, 4);
    rig_k->sync(rig_c, line, sizeof(line));
    ck_assert_ptr_null(rig_k->record_end(rig_c));
    rig_k->scale(rig_c, p, 3, 4);
    rig_k->download(rig_c, x, p, sizeof(x));
    ck_assert_msg(rig_k->sync(rig_c, error, sizeof(error)) == 0, "%s", error);
    ck_assert_float_eq(x[3], 12);
    rig_k->free(rig_c, p);
}
END_TEST

int main(void)
{
    const struct rig_part parts[] = {
        {"ropes", ropes},
        {"attentions", attentions},
        {"steps_are_recorded", steps_are_recorded},
        {"waits_are_not_recorded", waits_are_not_recorded},
    };
    return rig_main(parts, sizeof(parts) / sizeof(*parts));
}
