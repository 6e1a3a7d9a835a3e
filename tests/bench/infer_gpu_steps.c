/* SPDX-License-Identifier: Apache-2.0
 *
 * Part of infer_gpu: attention over a paged cache, what is small beside it, whole
 * layers.
 */
#include <stdio.h>
#include <stdlib.h>
#include "tests/bench/infer_gpu.h"

/* --- attention --- */

struct step {
    struct kernel_sequences s;
    struct kernel_paged a[MOST_TURNS];
    void *q, *out, *scratch, *qkv, *angles, *weight;
    int turns;
};

static void attention_turn(int turn, void *arg)
{
    struct step *p = arg;
    k->paged_attention(c, &p->a[turn % p->turns], p->out, p->q, p->scratch);
}

static void rope_turn(int turn, void *arg)
{
    struct step *p = arg;
    struct kernel_rope r = {.type = KERNEL_BF16,
                            .heads = p->a[0].heads,
                            .kv_heads = p->a[0].kv_heads,
                            .size = p->a[0].size,
                            .cosine = p->angles,
                            .sine = p->angles,
                            .q_weight = p->weight,
                            .k_weight = p->weight,
                            .epsilon = 1e-6f};
    k->rope_paged(c, &r, &p->a[turn % p->turns], p->q, p->qkv);
}

/* `decoding` sequences of that context with one new token, and `prompts` with `fresh`
 * new tokens at the end of a context of `longest`. */
static void step_make_many(struct step *p, int decoding, int context, int prompts,
                           int fresh, int longest, int heads, int kv_heads)
{
    int count = decoding + prompts, all = 0;
    int most = context > longest ? context : longest;
    int stride = (most + KERNEL_BLOCK - 1) / KERNEL_BLOCK + 1;
    int tokens = decoding + prompts * fresh;
    int32_t *first = calloc((size_t)count + 1, 4), *contexts = calloc((size_t)count, 4);
    int32_t *positions = calloc((size_t)tokens, 4), *slots = calloc((size_t)tokens, 4);
    int32_t *blocks = calloc((size_t)(count * stride), 4);
    for (int i = 0; i < count; i++) {
        int mine = i < decoding ? context : longest, n = i < decoding ? 1 : fresh;
        contexts[i] = mine;
        first[i + 1] = first[i] + n;
        for (int j = 0; j * KERNEL_BLOCK < mine; j++)
            blocks[i * stride + j] = all++;
        for (int j = 0; j < n; j++)
            positions[first[i] + j] = mine - n + j;
    }
    for (int i = 0; i < count * stride; i++) { /* shuffled: any odd factor that fits */
        static const int primes[] = {7919, 7907, 7901};
        int factor = primes[all % primes[0] != 0 ? 0 : all % primes[1] != 0 ? 1 : 2];
        blocks[i] = (int32_t)((int64_t)blocks[i] * factor % all);
    }
    for (int i = 0, row = 0; i < count; i++)
        for (; row < first[i + 1]; row++)
            slots[row] =
                blocks[i * stride + positions[row] / KERNEL_BLOCK] * KERNEL_BLOCK +
                positions[row] % KERNEL_BLOCK;
    size_t cache = (size_t)all * (size_t)kv_heads * KERNEL_BLOCK * 128 * 2;
    p->s = (struct kernel_sequences){count,
                                     tokens,
                                     given(first, (size_t)(count + 1) * 4),
                                     given(contexts, (size_t)count * 4),
                                     given(positions, (size_t)tokens * 4),
                                     given(slots, (size_t)tokens * 4),
                                     given(blocks, (size_t)(count * stride) * 4),
                                     stride,
                                     fresh > 1 ? fresh : 1,
                                     most,
                                     fresh > 1 ? prompts : 0,
                                     false};
    p->turns = fresh > 0 ? 1 : turns_for(2 * cache);
    for (int i = 0; i < p->turns; i++)
        p->a[i] =
            (struct kernel_paged){KERNEL_BF16, heads,          kv_heads,       128,
                                  0.0883883f,  numbers(cache), numbers(cache), &p->s};
    p->q = numbers((size_t)tokens * (size_t)heads * 256);
    p->qkv = numbers((size_t)tokens * (size_t)(heads + 2 * kv_heads) * 256);
    p->out = must((size_t)tokens * (size_t)heads * 256);
    p->angles = numbers((size_t)(most + 1) * 64 * 4);
    p->weight = numbers(256);
    p->scratch = must(k->paged_scratch(c, &p->a[0]) + 1);
    free(first);
    free(contexts);
    free(positions);
    free(slots);
    free(blocks);
}

/* With one prompt, when fresh is not 0. */
static void step_make(struct step *p, int decoding, int context, int fresh, int longest,
                      int heads, int kv_heads)
{
    step_make_many(p, decoding, context, fresh > 0, fresh, longest, heads, kv_heads);
}

static void step_free(struct step *p)
{
    const void *all[] = {p->s.first,  p->s.context, p->s.positions, p->s.slots,
                         p->s.blocks, p->q,         p->qkv,         p->out,
                         p->angles,   p->weight,    p->scratch};
    for (int i = 0; i < COUNT(all); i++)
        k->free(c, (void *)(uintptr_t)all[i]);
    for (int i = 0; i < p->turns; i++) {
        k->free(c, p->a[i].keys);
        k->free(c, p->a[i].values);
    }
}

void bench_decode(void)
{
    static const int cases[][4] = {
        /* sequences, context, heads, kv_heads */
        {1, 500, 40, 8},   {1, 2000, 40, 8},  {1, 8000, 40, 8},   {1, 32000, 40, 8},
        {1, 8000, 16, 8},  {1, 8000, 64, 8},  {8, 1000, 40, 8},   {32, 500, 40, 8},
        {32, 1500, 40, 8}, {32, 8000, 40, 8}, {128, 1000, 40, 8}, {256, 1000, 16, 8},
        {256, 1100, 40, 8}};
    struct step p;
    printf(
        "attention, one new token: sequences x context, heads: us, GB/s, %% of copy\n");
    for (int i = 0; i < COUNT(cases); i++) {
        const int *t = cases[i];
        step_make(&p, t[0], t[1], 0, 0, t[2], t[3]);
        double bytes = 2.0 * t[0] * t[1] * t[3] * 256;
        double seconds = time_of(attention_turn, p.turns < 8 ? 8 : p.turns, &p);
        printf("%5d x %5d  %2d/%d %9.1f %8.0f %5.0f%%\n", t[0], t[1], t[2], t[3],
               seconds * 1e6, bytes / seconds * 1e-9,
               bytes / seconds / copy_rate * 100);
        step_free(&p);
    }
}

static double prefill_flops(int fresh, int context, int heads)
{
    double keys = 0;
    for (int i = 0; i < fresh; i++)
        keys += context - i;
    return 4.0 * keys * 128 * heads;
}

void bench_prefill(void)
{
    static const int cases[][4] = {
        /* new, context, heads, prompts */
        {512, 512, 40, 1},     {2048, 2048, 40, 1},  {8192, 8192, 40, 1},
        {16384, 16384, 40, 1}, {2048, 8192, 40, 1},  {2048, 32768, 40, 1},
        {2048, 2048, 16, 1},   {300, 4000, 40, 1},   {1000, 1000, 40, 8}};
    struct step p;
    printf("attention, many new tokens: prompts, new of context, heads: us, TFLOP/s, "
           "%% of product\n");
    for (int i = 0; i < COUNT(cases); i++) {
        const int *t = cases[i];
        step_make_many(&p, 0, 1, t[3], t[0], t[1], t[2], 8);
        double flops = t[3] * prefill_flops(t[0], t[1], t[2]);
        double seconds = time_of(attention_turn, 8, &p);
        printf("%d x %6d of %5d  %2d %9.1f %8.0f %5.0f%%\n", t[3], t[0], t[1], t[2],
               seconds * 1e6, flops / seconds * 1e-12,
               flops / seconds / product_rate * 100);
        step_free(&p);
    }
}

void bench_mixed(void)
{
    struct step p;
    printf("attention, mixed steps, 40 heads: us (beside each part alone)\n");
    for (int fresh = 256; fresh <= 2048; fresh *= 8) {
        double part[3];
        step_make(&p, 31, 1500, fresh, fresh, 40, 8);
        part[0] = time_of(attention_turn, 8, &p);
        step_free(&p);
        step_make(&p, 31, 1500, 0, 0, 40, 8);
        part[1] = time_of(attention_turn, 8, &p);
        step_free(&p);
        step_make(&p, 0, 1, fresh, fresh, 40, 8);
        part[2] = time_of(attention_turn, 8, &p);
        step_free(&p);
        printf("31 x 1500 and %4d new: %.1f (%.1f, %.1f)\n", fresh, part[0] * 1e6,
               part[1] * 1e6, part[2] * 1e6);
    }
}

/* --- what is small --- */

struct small {
    struct kernel_norm_args norm;
    void *x, *y, *sum;
    float *stats;
    int64_t rows, width;
};

static void norm_turn(int turn, void *arg)
{
    struct small *p = arg;
    (void)turn;
    k->norm(c, &p->norm, p->y, p->sum, p->stats, p->x, p->sum);
}

static void swiglu_turn(int turn, void *arg)
{
    struct small *p = arg;
    (void)turn;
    k->swiglu(c, p->y, p->x, p->rows, p->width, KERNEL_BF16);
}

void bench_small(void)
{
    enum { MOST = 8192 };
    static const int rows[] = {1, 16, 64, 256, 512, 2048, MOST};
    struct step p;
    struct small s = {.x = numbers((size_t)MOST * 2 * 17408 * 2),
                      .y = must((size_t)MOST * 17408 * 2),
                      .sum = numbers((size_t)MOST * 5120 * 2),
                      .stats = must(MOST * 8)};
    printf("small calls of 14B, us: rows, norm, swiglu, rope_paged\n");
    for (int i = 0; i < COUNT(rows); i++) {
        s.rows = rows[i];
        s.width = 17408;
        s.norm = (struct kernel_norm_args){KERNEL_RMSNORM, KERNEL_BF16, rows[i], 5120,
                                           1e-6f,          s.x,         NULL};
        step_make(&p, rows[i] > 256 ? 0 : rows[i], 100, rows[i] > 256 ? rows[i] : 0,
                  rows[i], 40, 8);
        printf("%5d %7.1f %7.1f %7.1f\n", rows[i], time_of(norm_turn, 50, &s) * 1e6,
               time_of(swiglu_turn, 50, &s) * 1e6, time_of(rope_turn, 50, &p) * 1e6);
        step_free(&p);
    }
    k->free(c, s.x);
    k->free(c, s.y);
    k->free(c, s.sum);
    k->free(c, s.stats);
}

/* --- a layer as decoding runs it --- */

enum { LAYER_TURNS = 4 };

struct layer {
    int64_t width, inner, heads, rows;
    bool q4;
    struct step step;
    void *qkv, *o, *up, *down; /* weights of LAYER_TURNS layers each */
    struct kernel_q4 q4_of[4];
    char *packed[4];
    void *x, *y, *z, *scratch;
    float *stats;
};

static void layer_product(struct layer *l, int which, int turn, void *out, void *in,
                          int64_t n, int64_t inner)
{
    void *const weights[] = {l->qkv, l->o, l->up, l->down};
    if (l->q4) {
        const struct kernel_q4 *w = &l->q4_of[which];
        k->q4_matmul(c, w, l->packed[which] + (size_t)turn * k->q4_bytes(c, w), out, in,
                     l->rows, KERNEL_BF16, KERNEL_BF16, l->scratch);
        return;
    }
    struct kernel_matmul m = {.m = l->rows,
                              .n = n,
                              .k = inner,
                              .tb = true,
                              .a = in,
                              .b = (char *)weights[which] + turn * n * inner * 2,
                              .c = out,
                              .type = KERNEL_BF16,
                              .c_type = KERNEL_BF16,
                              .alpha = 1};
    k->matmul(c, &m);
}

static void layer_turn(int turn, void *arg)
{
    struct layer *l = arg;
    struct kernel_norm_args norm = {KERNEL_RMSNORM, KERNEL_BF16, l->rows, l->width,
                                    1e-6f,          l->step.q,   NULL};
    int64_t all = (l->heads + 16) * 128;
    turn %= LAYER_TURNS;
    k->norm(c, &norm, l->y, l->x, l->stats, l->x, l->z);
    layer_product(l, 0, turn, l->step.qkv, l->y, all, l->width);
    rope_turn(turn, &l->step);
    attention_turn(turn, &l->step);
    layer_product(l, 1, turn, l->z, l->step.out, l->width, l->heads * 128);
    k->norm(c, &norm, l->y, l->x, l->stats, l->x, l->z);
    layer_product(l, 2, turn, l->z, l->y, 2 * l->inner, l->width);
    k->swiglu(c, l->y, l->z, l->rows, l->inner, KERNEL_BF16);
    layer_product(l, 3, turn, l->z, l->y, l->width, l->inner);
}

static void bench_layer_of(const char *name, struct layer l, int context)
{
    int64_t all = (l.heads + 16) * 128;
    const int64_t shapes[4][2] = {{all, l.width},
                                  {l.width, l.heads * 128},
                                  {2 * l.inner, l.width},
                                  {l.width, l.inner}};
    void **const weights[] = {&l.qkv, &l.o, &l.up, &l.down};
    double bytes = 2.0 * (double)l.rows * context * 8 * 256;
    step_make(&l.step, (int)l.rows, context, 0, 0, (int)l.heads, 8);
    for (int i = 0; i < 4; i++) {
        size_t one = (size_t)(shapes[i][0] * shapes[i][1]) * 2;
        l.q4_of[i] = (struct kernel_q4){shapes[i][0], shapes[i][1], 128};
        if (l.q4)
            one = k->q4_bytes(c, &l.q4_of[i]);
        *weights[i] = numbers(one * LAYER_TURNS);
        l.packed[i] = *weights[i];
        bytes += (double)one;
    }
    l.x = numbers((size_t)(l.rows * l.width) * 2);
    l.y = numbers((size_t)(l.rows * l.inner) * 2);
    l.z = numbers((size_t)(l.rows * l.inner) * 4);
    l.stats = must((size_t)l.rows * 8);
    l.scratch = must(k->q4_scratch(c, &l.q4_of[2], l.rows) + 1);
    double t = time_of(layer_turn, 32, &l);
    printf("%-10s %4d rows, context %5d: %7.1f us, %3.0f%% of the copy bandwidth\n",
           name, (int)l.rows, context, t * 1e6, bytes / t / copy_rate * 100);
    step_free(&l.step);
    for (int i = 0; i < 4; i++)
        k->free(c, *weights[i]);
    void *rest[] = {l.x, l.y, l.z, l.stats, l.scratch};
    for (int i = 0; i < COUNT(rest); i++)
        k->free(c, rest[i]);
}

void bench_layer(void)
{
    static const int64_t rows[] = {1, 8, 16, 32, 64};
    printf("a layer, decoding\n");
    for (int i = 0; i < COUNT(rows); i++) {
        int64_t r = rows[i];
        bench_layer_of(
            "0.6B",
            (struct layer){
                .width = 1024, .inner = 3072, .heads = 16, .rows = r, .q4 = false},
            500);
        bench_layer_of(
            "8B",
            (struct layer){
                .width = 4096, .inner = 12288, .heads = 32, .rows = r, .q4 = false},
            500);
        bench_layer_of(
            "14B",
            (struct layer){
                .width = 5120, .inner = 17408, .heads = 40, .rows = r, .q4 = false},
            500);
        bench_layer_of(
            "32B-AWQ",
            (struct layer){
                .width = 5120, .inner = 25600, .heads = 64, .rows = r, .q4 = true},
            500);
    }
    bench_layer_of(
        "14B",
        (struct layer){
            .width = 5120, .inner = 17408, .heads = 40, .rows = 256, .q4 = false},
        1100);
}
