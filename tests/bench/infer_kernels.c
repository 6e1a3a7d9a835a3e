/* SPDX-License-Identifier: Apache-2.0
 *
 * What a step of decoding reads, against a plain read of as many bytes in the same run:
 * infer_kernels [threads [GiB [part]]], part:
 * bf16, q4, attention or draw. Products of 1 to 16 rows with the weights of
 * Qwen3-0.6B, in bfloat16 and 4 bits, never twice with the same ones while they could
 * be in a cache; products of a prefill; attention over a paged cache; draws.
 */
#include "config.h"
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "kernels/kernels.h"

#define ROUNDS 9
#define VOCAB 151936

static const struct kernels *k;
static struct kernel_context *c;
static int threads;
static unsigned char *memory; /* of random bits, for weights and caches */
static size_t memory_size;
static double speed; /* bytes/s of a plain read */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *need(size_t bytes)
{
    void *p = k->alloc(c, bytes);
    if (p == NULL) {
        fprintf(stderr, "no memory\n");
        exit(1);
    }
    return p;
}

/* --- a plain read --- */

typedef uint64_t wide __attribute__((vector_size(64)));

struct reader {
    const unsigned char *from;
    size_t size;
};

#if defined __x86_64__
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif
CLONES static void *read_all(void *arg)
{
    const struct reader *r = arg;
    wide sum[4] = {{0}};
    for (size_t i = 0; i + 256 <= r->size; i += 256)
        for (int j = 0; j < 4; j++)
            sum[j] += *(const wide *)(r->from + i + 64 * j);
    sum[0] += sum[1] + sum[2] + sum[3];
    __asm__ volatile("" : : "m"(sum));
    return NULL;
}

static void measure_read(void)
{
    struct reader readers[64];
    pthread_t ids[64];
    size_t each = memory_size / (size_t)threads / 256 * 256;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now();
        for (int i = 0; i < threads; i++) {
            readers[i] = (struct reader){memory + (size_t)i * each, each};
            if (i > 0 && pthread_create(&ids[i], NULL, read_all, &readers[i]) != 0)
                exit(1);
        }
        read_all(&readers[0]);
        for (int i = 1; i < threads; i++)
            pthread_join(ids[i], NULL);
        double rate = (double)each * threads / (now() - start);
        speed = rate > speed ? rate : speed;
    }
    printf("plain read: %.1f GB/s\n", speed * 1e-9);
}

/* --- products --- */

/* One operation on the weights at p. */
typedef void (*turn_fn)(void *arg, unsigned char *p);

/* The best seconds of a turn: in each round the turns go on through the whole memory.
 */
static double best_turn(turn_fn fn, void *arg, size_t bytes, double guess)
{
    double best = 1e9;
    size_t step = (bytes + 4095) / 4096 * 4096, at = 0;
    int turns = (int)(0.05 / guess) + 1;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now();
        for (int i = 0; i < turns; i++) {
            at = at + 2 * step > memory_size ? 0 : at + step;
            fn(arg, memory + at);
        }
        double seconds = (now() - start) / turns;
        best = seconds < best ? seconds : best;
    }
    return best;
}

static void multiply(void *arg, unsigned char *p)
{
    struct kernel_matmul *m = arg;
    m->b = p;
    k->matmul(c, m);
}

struct small {
    struct kernel_q4 w;
    int64_t m;
    void *out, *scratch;
    const void *x;
};

static void multiply_q4(void *arg, unsigned char *p)
{
    struct small *s = arg;
    k->q4_matmul(c, &s->w, p, s->out, s->x, s->m, KERNEL_BF16, KERNEL_BF16, s->scratch);
}

static void *ones(int64_t n)
{
    uint16_t *p = need((size_t)n * 2);
    for (int64_t i = 0; i < n; i++)
        p[i] = (uint16_t)(0x3f00 + i % 128);
    return p;
}

static void show(const char *what, int64_t m, double seconds, double bytes,
                 double flops)
{
    printf("%-22s %3lld rows %10.1f us %7.1f GB/s %6.1f %% of the read %7.0f GFLOP/s\n",
           what, (long long)m, seconds * 1e6, bytes / seconds * 1e-9,
           bytes / seconds / speed * 100, flops / seconds * 1e-9);
}

static void measure_product(const char *what, int64_t m, int64_t n, int64_t depth,
                            bool q4)
{
    char name[64];
    double flops = 2.0 * (double)m * (double)n * (double)depth;
    void *x = ones(m * depth), *out = need((size_t)(m * n) * 2), *scratch = NULL;
    snprintf(name, sizeof(name), "%s %s", q4 ? "q4" : "bf16", what);
    if (q4) {
        struct small s = {.w = {n, depth, 128}, .m = m, .out = out, .x = x};
        size_t bytes = k->q4_bytes(c, &s.w);
        s.scratch = scratch = need(k->q4_scratch(c, &s.w, m) + 1);
        double guess = (double)bytes / speed + flops / 2e11;
        show(name, m, best_turn(multiply_q4, &s, bytes, guess), (double)bytes, flops);
    } else {
        struct kernel_matmul p = {.m = m, .n = n, .k = depth, .tb = true, .alpha = 1};
        size_t bytes = (size_t)(n * depth) * 2;
        p.a = x;
        p.c = out;
        p.type = p.c_type = KERNEL_BF16;
        double guess = (double)bytes / speed + flops / 2e11;
        show(name, m, best_turn(multiply, &p, bytes, guess), (double)bytes, flops);
    }
    k->free(c, x);
    k->free(c, out);
    k->free(c, scratch);
}

static const struct {
    const char *name;
    int64_t n, k;
} shapes[] = {{"qkv 4096x1024", 4096, 1024},
              {"o 1024x2048", 1024, 2048},
              {"gate,up 6144x1024", 6144, 1024},
              {"down 1024x3072", 1024, 3072},
              {"lm_head", VOCAB, 1024}};

static void measure_products(int q4)
{
    static const int64_t rows[] = {1, 2, 4, 8, 16, 128, 512};
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < 5; j++)
            if (j != 4 || (!q4 && rows[i] <= 16))
                measure_product(shapes[j].name, rows[i], shapes[j].n, shapes[j].k, q4);
}

/* --- attention --- */

static void attend(void *arg, unsigned char *p)
{
    void **a = arg;
    struct kernel_paged *paged = a[0];
    paged->keys = p;
    paged->values = p + (size_t)paged->sequences->count *
                            (size_t)paged->sequences->stride * KERNEL_BLOCK * 8 * 128 *
                            2;
    k->paged_attention(c, paged, a[1], a[2], a[3]);
}

/* Of 16 query heads and 8 key heads of 128. */
static void measure_attention(int count, int news, int context)
{
    int blocks = (context + KERNEL_BLOCK - 1) / KERNEL_BLOCK, tokens = count * news;
    int32_t *first = need((size_t)(count + 1) * 4), *contexts = need((size_t)count * 4);
    int32_t *table = need((size_t)(count * blocks) * 4);
    for (int i = 0; i <= count; i++)
        first[i] = i * news;
    for (int i = 0; i < count; i++)
        contexts[i] = context;
    for (int i = 0; i < count * blocks; i++)
        table[i] = (int)((int64_t)i * 7919 % (count * blocks));
    struct kernel_sequences s = {.count = count,
                                 .tokens = tokens,
                                 .first = first,
                                 .context = contexts,
                                 .blocks = table,
                                 .stride = blocks,
                                 .most = news,
                                 .longest = context};
    struct kernel_paged a = {.type = KERNEL_BF16,
                             .heads = 16,
                             .kv_heads = 8,
                             .size = 128,
                             .scale = 0.088f,
                             .sequences = &s};
    void *q = ones((int64_t)tokens * 2048), *out = need((size_t)tokens * 4096);
    void *scratch = need(k->paged_scratch(c, &a) + 1);
    void *args[] = {&a, out, q, scratch};
    double bytes = (double)count * context * 4096;
    double seen = context - (news - 1) / 2.0, flops = 4.0 * tokens * seen * 2048;
    char name[64];
    snprintf(name, sizeof(name), "attention %d x %d/%d", count, news, context);
    show(name, tokens,
         best_turn(attend, args, (size_t)(2 * count * blocks) * 32768,
                   bytes / speed + flops / 1e11),
         bytes, flops);
    k->free(c, first);
    k->free(c, contexts);
    k->free(c, table);
    k->free(c, q);
    k->free(c, out);
    k->free(c, scratch);
}

/* --- draws --- */

static void sample(void *arg, unsigned char *p)
{
    void **a = arg;
    (void)p;
    k->sample(c, a[0], a[1]);
}

static void measure_sample(const char *what, float temperature, float top_p, int top_k,
                           float spread)
{
    enum { ROWS = 4 };
    float *logits = need(sizeof(*logits) * ROWS * VOCAB);
    float temperatures[ROWS], top_ps[ROWS], min_ps[ROWS] = {0};
    int32_t top_ks[ROWS], ids[ROWS];
    uint64_t seeds[ROWS] = {1, 2, 3, 4}, steps[ROWS] = {0};
    for (int64_t i = 0; i < (int64_t)ROWS * VOCAB; i++)
        logits[i] = spread * sqrtf(-2 * logf((float)(rand() % 9999 + 1) / 10000)) *
                    cosf((float)(rand() % 6283) / 1000);
    for (int i = 0; i < ROWS; i++) {
        temperatures[i] = temperature;
        top_ps[i] = top_p;
        top_ks[i] = top_k;
    }
    struct kernel_sample s = {.rows = ROWS,
                              .vocab = VOCAB,
                              .stride = VOCAB,
                              .logits = logits,
                              .temperature = temperatures,
                              .top_p = top_ps,
                              .min_p = min_ps,
                              .top_k = top_ks,
                              .seed = seeds,
                              .step = steps,
                              .ids = ids};
    void *scratch = need(k->sample_scratch(c, ROWS, VOCAB) + 1);
    void *args[] = {&s, scratch};
    printf("draw, %-34s %8.1f us a row\n", what,
           best_turn(sample, args, 4096, 4e-3) / ROWS * 1e6);
    k->free(c, logits);
    k->free(c, scratch);
}

static bool wanted(int argc, char **argv, const char *part)
{
    return argc <= 3 || strcmp(argv[3], part) == 0;
}

int main(int argc, char **argv)
{
    struct kernel_options o = {.threads = argc > 1 ? atoi(argv[1]) : 1};
    struct kernel_info info;
    char error[160] = "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    threads = o.threads < 1 ? 1 : o.threads > 64 ? 64 : o.threads;
    o.threads = threads;
    k = kernels_cpu();
    c = k->open(&o, error, sizeof(error));
    if (c == NULL) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    k->info(c, &info);
    memory_size = (size_t)((argc > 2 ? atof(argv[2]) : 1) * (1 << 30));
    memory = need(memory_size);
    for (size_t i = 0; i < memory_size / 2; i++) /* finite as bfloat16 and as float */
        ((uint16_t *)memory)[i] = (uint16_t)((i * 40503u & 0x80ff) | 0x3c00);
    printf("%s, %d threads\n", info.name, threads);
    measure_read();
    if (wanted(argc, argv, "bf16"))
        measure_products(0);
    if (wanted(argc, argv, "q4"))
        measure_products(1);
    if (wanted(argc, argv, "attention")) {
        measure_attention(1, 1, 512);
        measure_attention(1, 1, 4096);
        measure_attention(16, 1, 1024);
        measure_attention(1, 512, 512);
        measure_attention(1, 512, 4096);
    }
    if (wanted(argc, argv, "draw")) {
        measure_sample("greedy", 0, 1, 0, 2);
        measure_sample("temperature 1", 1, 1, 0, 2);
        measure_sample("0.6, top_k 20, top_p 0.95", 0.6f, 0.95f, 20, 2);
        measure_sample("1, top_p 0.95", 1, 0.95f, 0, 2);
        measure_sample("1, top_p 0.95, flat logits", 1, 0.95f, 0, 0.1f);
    }
    k->free(c, memory);
    k->close(c);
    return 0;
}
