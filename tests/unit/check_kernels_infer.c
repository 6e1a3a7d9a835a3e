/* SPDX-License-Identifier: Apache-2.0
 *
 * A step over a mix of sequences: rotary positions into a paged cache and attention
 * over it. The reference is held against rope and attention of whole sequences, the
 * variants against the reference. Blocks of the cache lie in shuffled order and are
 * never shared.
 */
#include "config.h"
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/host.h"
#include "tests/unit/kernels_rig.h"

#define COUNT(x) ((int)(sizeof(x) / sizeof(*(x))))
#define SEQUENCES 8

/* Sequences of `context` tokens, of which `count` are new; context 0: padding. */
struct mix {
    int sequences;
    int context[SEQUENCES], count[SEQUENCES];
    int heads, kv_heads, size;
    enum kernel_type type;
    bool normed;
};

/* The arrays of a step on the host, which is the device. */
struct step {
    struct kernel_sequences s;
    int32_t *first, *context, *positions, *slots, *blocks;
    int pool; /* blocks of the cache */
};

static int32_t *numbers(struct trial *t, int64_t n)
{
    return rig_numbers(t, n, 0, 1);
}

/* Number i of a shuffled row of n: any odd factor that has no part in common. */
static int shuffled(int i, int n)
{
    static const int primes[] = {7, 11, 13};
    int factor = primes[0];
    for (int j = 0; n % factor == 0; j++)
        factor = primes[j];
    return (int)((int64_t)i * factor % n);
}

/* Where token t of sequence i is. */
static int slot_of(const struct step *p, int i, int t)
{
    return p->blocks[i * p->s.stride + t / KERNEL_BLOCK] * KERNEL_BLOCK +
           t % KERNEL_BLOCK;
}

static void step_build(struct trial *t, struct step *p, const struct mix *m)
{
    struct kernel_sequences *s = &p->s;
    *s = (struct kernel_sequences){.count = m->sequences, .stride = 1};
    for (int i = 0; i < m->sequences; i++) {
        int blocks = (m->context[i] + KERNEL_BLOCK - 1) / KERNEL_BLOCK;
        s->tokens += m->count[i];
        s->stride = blocks + 2 > s->stride ? blocks + 2 : s->stride;
        s->most = m->count[i] > s->most ? m->count[i] : s->most;
        s->longest = m->context[i] > s->longest ? m->context[i] : s->longest;
    }
    p->pool = m->sequences * s->stride;
    s->first = p->first = numbers(t, s->count + 1);
    s->context = p->context = numbers(t, s->count);
    s->positions = p->positions = numbers(t, s->tokens);
    s->slots = p->slots = numbers(t, s->tokens);
    s->blocks = p->blocks = numbers(t, (int64_t)s->count * s->stride);
    for (int i = 0; i < p->pool; i++)
        p->blocks[i] = shuffled(i, p->pool);
    for (int i = 0, row = 0; i < s->count; i++) {
        p->first[i] = row;
        p->context[i] = m->context[i];
        for (int j = 0; j < m->count[i]; j++, row++) {
            int at = m->context[i] - m->count[i] + j;
            p->positions[row] = at > 0 ? at : 0;
            p->slots[row] = m->context[i] > 0 ? slot_of(p, i, at) : -1;
        }
        p->first[i + 1] = row;
    }
}

static struct kernel_paged paged_of(const struct mix *m, const struct step *p,
                                    void *keys, void *values)
{
    return (struct kernel_paged){.type = m->type,
                                 .heads = m->heads,
                                 .kv_heads = m->kv_heads,
                                 .size = m->size,
                                 .scale = 1 / sqrtf((float)m->size),
                                 .keys = keys,
                                 .values = values,
                                 .sequences = &p->s};
}

static int64_t cache_size(const struct mix *m, const struct step *p)
{
    return (int64_t)p->pool * m->kv_heads * KERNEL_BLOCK * m->size;
}

static void rope_paged(struct trial *t, const void *args)
{
    const struct mix *m = args;
    struct step p;
    step_build(t, &p, m);
    void *keys = rig_changed(t, cache_size(m, &p), m->type);
    void *values = rig_changed(t, cache_size(m, &p), m->type);
    struct kernel_paged a = paged_of(m, &p, keys, values);
    int64_t angles = (int64_t)(p.s.longest + 1) * (m->size / 2);
    struct kernel_rope r = {.type = m->type,
                            .heads = m->heads,
                            .kv_heads = m->kv_heads,
                            .size = m->size,
                            .cosine = rig_input(t, angles, KERNEL_F32),
                            .sine = rig_input(t, angles, KERNEL_F32),
                            .epsilon = 1e-6f};
    if (m->normed) {
        r.q_weight = rig_input(t, m->size, m->type);
        r.k_weight = rig_input(t, m->size, m->type);
    }
    int64_t width = (int64_t)(m->heads + 2 * m->kv_heads) * m->size;
    const void *qkv = rig_input(t, p.s.tokens * width, m->type);
    void *q = rig_output(t, (int64_t)p.s.tokens * m->heads * m->size, m->type);
    t->tolerance = 2e-6;
    t->k->rope_paged(t->c, &r, &a, q, qkv);
}

static void paged_attention(struct trial *t, const void *args)
{
    const struct mix *m = args;
    struct step p;
    step_build(t, &p, m);
    void *keys = rig_input(t, cache_size(m, &p), m->type);
    void *values = rig_input(t, cache_size(m, &p), m->type);
    struct kernel_paged a = paged_of(m, &p, keys, values);
    int64_t n = (int64_t)p.s.tokens * m->heads * m->size;
    const void *q = rig_input(t, n, m->type);
    void *out = rig_output(t, n, m->type);
    t->tolerance = 1e-5;
    t->k->paged_attention(t->c, &a, out, q,
                          rig_scratch(t, t->k->paged_scratch(t->c, &a)));
}

static const struct mix mixes[] = {
    {.sequences = 1,
     .context = {1},
     .count = {1},
     .heads = 1,
     .kv_heads = 1,
     .size = 64},
    {.sequences = 3, /* decoding only */
     .context = {1, 33, 64},
     .count = {1, 1, 1},
     .heads = 4,
     .kv_heads = 2,
     .size = 64},
    {.sequences = 6, /* a bit of everything, with padding */
     .context = {100, 17, 0, 16, 0, 200},
     .count = {1, 17, 1, 5, 3, 40},
     .heads = 4,
     .kv_heads = 1,
     .size = 128},
    {.sequences = 2, /* a head that fills no vector */
     .context = {50, 70},
     .count = {3, 70},
     .heads = 3,
     .kv_heads = 3,
     .size = 10},
    {.sequences = 2,
     .context = {300, 700},
     .count = {2, 1},
     .heads = 16,
     .kv_heads = 2,
     .size = 32},
    {.sequences = 1,
     .context = {150},
     .count = {150},
     .heads = 5,
     .kv_heads = 1,
     .size = 96},
    {.sequences = 1,
     .context = {0},
     .count = {4},
     .heads = 2,
     .kv_heads = 1,
     .size = 64},
};

static void try_mix(rig_op_fn op, const char *name, int i)
{
    struct mix m = mixes[i];
    char what[64];
    for (int form = 0; form < 4; form++) {
        m.type = (form & 1) != 0 ? KERNEL_BF16 : KERNEL_F32;
        m.normed = (form & 2) != 0;
        snprintf(what, sizeof(what), "%s, mix %d, form %d", name, i, form);
        if (op == rope_paged || !m.normed)
            rig_compare(op, &m, what);
    }
}

START_TEST(ropes)
{
    try_mix(rope_paged, "rope_paged", _i);
}
END_TEST

START_TEST(attentions)
{
    try_mix(paged_attention, "paged_attention", _i);
}
END_TEST

/* --- the definition: whole sequences by rope and attention --- */

#define LENGTH 70
#define HEADS 4
#define KV_HEADS 2
#define SIZE 64
#define WIDTH ((HEADS + 2 * KV_HEADS) * SIZE)

static float qkv[LENGTH * WIDTH], whole[LENGTH * HEADS * SIZE];
static float cosine[LENGTH * SIZE / 2], sine[LENGTH * SIZE / 2];
static float weights[2][SIZE];

static void inputs(void)
{
    for (int i = 0; i < LENGTH * WIDTH; i++)
        qkv[i] = (float)((i * 7919 + 13) % 2001 - 1000) / 500.0f;
    for (int i = 0; i < LENGTH; i++)
        for (int j = 0; j < SIZE / 2; j++) {
            double angle = i * pow(10000, -2.0 * j / SIZE);
            cosine[i * SIZE / 2 + j] = (float)cos(angle);
            sine[i * SIZE / 2 + j] = (float)sin(angle);
        }
    for (int j = 0; j < SIZE; j++) {
        weights[0][j] = 1 + (float)(j % 5) / 10;
        weights[1][j] = 1 - (float)(j % 7) / 20;
    }
}

static const struct kernel_rope rope_of_whole = {.batch = 1,
                                                 .length = LENGTH,
                                                 .heads = HEADS,
                                                 .kv_heads = KV_HEADS,
                                                 .size = SIZE,
                                                 .cosine = cosine,
                                                 .sine = sine,
                                                 .q_weight = weights[0],
                                                 .k_weight = weights[1],
                                                 .epsilon = 1e-6f};

static void attend_whole(void)
{
    const struct kernels *k = kernels_reference();
    static float turned[LENGTH * WIDTH], stats[LENGTH * (HEADS + KV_HEADS)];
    static float lse[HEADS * LENGTH];
    struct kernel_attention a = {.batch = 1,
                                 .length = LENGTH,
                                 .heads = HEADS,
                                 .kv_heads = KV_HEADS,
                                 .size = SIZE,
                                 .scale = 0.125f};
    k->rope(NULL, &rope_of_whole, turned, stats, qkv);
    k->attention(NULL, &a, whole, lse, turned);
}

/* The same in pieces of `chunk` tokens, beside other sequences whose tokens are the
 * same: all must get what the whole one got. */
static void attend_in_chunks(const struct kernels *k, struct kernel_context *c,
                             int chunk)
{
    enum { BLOCKS = (LENGTH + KERNEL_BLOCK - 1) / KERNEL_BLOCK, CACHE = 2 * BLOCKS };
    static float keys[CACHE * KV_HEADS * KERNEL_BLOCK * SIZE];
    static float values[CACHE * KV_HEADS * KERNEL_BLOCK * SIZE];
    static float rows[2 * LENGTH * WIDTH], q[2 * LENGTH * HEADS * SIZE];
    static float out[2 * LENGTH * HEADS * SIZE];
    int32_t first[3], context[2], positions[2 * LENGTH], slots[2 * LENGTH];
    int32_t blocks[2 * BLOCKS];
    memset(keys, 0xff, sizeof(keys));
    memset(values, 0xff, sizeof(values));
    for (int i = 0; i < CACHE; i++)
        blocks[i] = shuffled(i, CACHE);
    for (int from = 0; from < LENGTH; from += chunk) {
        int n = LENGTH - from < chunk ? LENGTH - from : chunk;
        for (int i = 0; i < 2 * n; i++) {
            int at = from + i % n;
            positions[i] = at;
            slots[i] = blocks[i / n * BLOCKS + at / KERNEL_BLOCK] * KERNEL_BLOCK +
                       at % KERNEL_BLOCK;
            memcpy(rows + i * WIDTH, qkv + at * WIDTH, WIDTH * sizeof(*qkv));
        }
        for (int i = 0; i < 3; i++)
            first[i] = i * n;
        context[0] = context[1] = from + n;
        struct kernel_sequences s = {.count = 2,
                                     .tokens = 2 * n,
                                     .first = first,
                                     .context = context,
                                     .positions = positions,
                                     .slots = slots,
                                     .blocks = blocks,
                                     .stride = BLOCKS,
                                     .most = n,
                                     .longest = from + n};
        struct kernel_paged a = {.heads = HEADS,
                                 .kv_heads = KV_HEADS,
                                 .size = SIZE,
                                 .scale = 0.125f,
                                 .keys = keys,
                                 .values = values,
                                 .sequences = &s};
        void *scratch = malloc(k->paged_scratch(c, &a) + 1);
        k->rope_paged(c, &rope_of_whole, &a, q, rows);
        k->paged_attention(c, &a, out, q, scratch);
        free(scratch);
        for (int i = 0; i < 2 * n * HEADS * SIZE; i++) {
            float want = whole[from * HEADS * SIZE + i % (n * HEADS * SIZE)];
            ck_assert_msg(fabsf(out[i] - want) <= 1e-5f * (1 + fabsf(want)),
                          "chunks of %d: from %d, element %d: %g, want %g", chunk, from,
                          i, (double)out[i], (double)want);
        }
    }
}

/* _i: a variant, or the reference. */
START_TEST(chunks)
{
    static const int sizes[] = {1, 7, 16, 33, LENGTH};
    const struct kernels *k = rig_table(_i);
    if (k == NULL)
        return; /* rig_run said so */
    struct kernel_context *c = rig_open(k);
    inputs();
    attend_whole();
    for (int i = 0; i < COUNT(sizes); i++)
        attend_in_chunks(k, c, sizes[i]);
    k->close(c);
}
END_TEST

/* Heads too large for a thread's room are refused, once, and named; nothing is written.
 */
START_TEST(too_large)
{
    static const struct mix m = {
        .sequences = 1, .context = {1}, .count = {1}, .heads = 1, .kv_heads = 1};
    const struct kernels *k = kernels_cpu();
    struct kernel_options o = {0};
    char error[160] = "";
    int32_t first[] = {0, 1}, context[] = {1}, blocks[] = {0};
    struct step p = {.s = {.count = 1,
                           .tokens = 1,
                           .first = first,
                           .context = context,
                           .blocks = blocks,
                           .stride = 1,
                           .most = 1,
                           .longest = 1}};
    struct kernel_context *c = k->open(&o, error, sizeof(error));
    ck_assert_msg(c != NULL, "%s", error);
    struct kernel_paged a = paged_of(&m, &p, NULL, NULL);
    a.size = 100000;
    void *scratch = malloc(k->paged_scratch(c, &a));
    k->paged_attention(c, &a, NULL, NULL, scratch);
    free(scratch);
    ck_assert_int_eq(k->sync(c, error, sizeof(error)), -1);
    ck_assert_msg(strstr(error, "heads of 100000") != NULL, "%s", error);
    ck_assert_int_eq(k->sync(c, error, sizeof(error)), 0);
    k->close(c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels_infer");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, ropes, 0, COUNT(mixes));
    tcase_add_loop_test(tc, attentions, 0, COUNT(mixes));
    tcase_add_loop_test(tc, chunks, 0, CPU_VARIANTS + 1);
    tcase_add_test(tc, too_large);
    suite_add_tcase(suite, tc);
    return rig_run(suite);
}
