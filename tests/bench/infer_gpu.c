/* SPDX-License-Identifier: Apache-2.0
 *
 * The inference kernels of raywf-cuda.so on one GPU, beside the machine's own ceilings
 * (copy bandwidth, bf16 product), which are measured first.
 *
 *   infer_gpu MODULE.so [PART...]     parts: rows q4 decode prefill mixed small sample
 * layer
 *
 * Calls are recorded and replayed, over buffers by turns that are together several
 * times the L2 cache. Shapes are those of Qwen3's 0.6B, 8B, 14B and 32B.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tests/bench/infer_gpu.h"

#define TURN_BYTES ((size_t)400 << 20) /* of rotating buffers, at least */

const struct kernels *k;
struct kernel_context *c;
double copy_rate, product_rate;
static uint64_t state = 1;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void finish(void)
{
    char error[256] = "";
    if (k->sync(c, error, sizeof(error)) < 0) {
        fprintf(stderr, "%s\n", error);
        exit(1);
    }
}

void *must(size_t bytes)
{
    void *p = k->alloc(c, bytes);
    if (p == NULL) {
        fprintf(stderr, "no %zu bytes of GPU memory left\n", bytes);
        exit(1);
    }
    return p;
}

uint32_t random_word(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

/* Numbers of bf16 in about [-1, 1]: random words whose exponents are small. */
void *numbers(size_t bytes)
{
    enum { SOME = 1 << 22 };
    static uint32_t *some;
    char *p = must(bytes);
    if (some == NULL) {
        some = malloc(SOME * 4);
        for (int i = 0; i < SOME; i++)
            some[i] = (random_word() & 0x81ff81ff) | 0x3e003e00;
    }
    for (size_t at = 0; at < bytes; at += (size_t)SOME * 4)
        k->upload(c, p + at, some,
                  bytes - at < (size_t)SOME * 4 ? bytes - at : (size_t)SOME * 4);
    finish();
    return p;
}

void *given(const void *from, size_t bytes)
{
    void *p = must(bytes);
    k->upload(c, p, from, bytes);
    finish();
    return p;
}

/* --- time: the best of some series of replays of `turns` calls --- */

#define SERIES 4e-3 /* seconds, about: to start one and wait for it costs some 1e-5 */

double time_of(turn_fn fn, int turns, void *arg)
{
    double best = 1e9;
    for (int i = 0; i < turns && i < 2; i++)
        fn(i, arg);
    finish();
    k->record(c);
    for (int i = 0; i < turns; i++)
        fn(i, arg);
    struct kernel_graph *g = k->record_end(c);
    if (g == NULL) {
        fprintf(stderr, "not recorded\n");
        exit(1);
    }
    double all = 0;
    for (int i = 0, replays = 1; i < 12 && all < 0.4; i++) {
        double start = now();
        for (int j = 0; j < replays; j++)
            k->replay(c, g);
        finish();
        double seconds = now() - start;
        all += seconds;
        best = i > 0 ? fmin(best, seconds / replays) : best;
        replays = i > 0 ? replays : (int)(SERIES / seconds) + 1;
    }
    k->graph_free(c, g);
    return best / turns;
}

int turns_for(size_t bytes)
{
    size_t turns = TURN_BYTES / bytes + 1;
    return turns < 8 ? 8 : turns > MOST_TURNS ? MOST_TURNS : (int)turns;
}

static void ceilings(void)
{
    struct kernel_info info;
    size_t bytes = (size_t)1 << 30;
    void *a = numbers(bytes), *b = numbers(bytes);
    k->info(c, &info);
    for (int i = 0; i < 8; i++) {
        double start = now();
        for (int j = 0; j < 5; j++)
            k->copy(c, b, a, bytes);
        finish();
        copy_rate = fmax(copy_rate, 10.0 * (double)bytes / (now() - start));
    }
    struct kernel_matmul m = {.m = 8192,
                              .n = 8192,
                              .k = 8192,
                              .tb = true,
                              .a = a,
                              .b = b,
                              .c = must((size_t)8192 * 8192 * 2),
                              .type = KERNEL_BF16,
                              .c_type = KERNEL_BF16,
                              .alpha = 1};
    for (int i = 0; i < 30; i++) {
        double start = now();
        for (int j = 0; j < 5; j++)
            k->matmul(c, &m);
        finish();
        product_rate = fmax(product_rate, 5 * 2 * pow(8192, 3) / (now() - start));
    }
    printf("%s: copy %.0f GB/s, bf16 product %.0f TFLOP/s\n", info.name,
           copy_rate * 1e-9, product_rate * 1e-12);
    k->free(c, a);
    k->free(c, b);
    k->free(c, m.c);
}

/* --- products --- */

struct product_turns {
    struct kernel_matmul m;
    void *weights[MOST_TURNS];
    int turns;
};

static void product_turn(int turn, void *arg)
{
    struct product_turns *p = arg;
    p->m.b = p->weights[turn % p->turns];
    k->matmul(c, &p->m);
}

static void bench_rows(void)
{
    static const int shapes[][2] = {
        {5120, 5120}, {7168, 5120}, {34816, 5120}, {5120, 17408}, {4096, 4096},
        {4096, 1024}, {1024, 2048}, {6144, 1024},  {1024, 3072},  {151936, 5120}};
    static const int rows[] = {1, 2, 4, 8, 9, 16, 17, 32, 64};
    printf("products of few rows: us and %% of the copy bandwidth\n%15s", "n x k \\ m");
    for (int j = 0; j < COUNT(rows); j++)
        printf("%14d", rows[j]);
    printf("\n");
    void *x = numbers((size_t)64 * 20000 * 2), *out = must((size_t)64 * 151936 * 4);
    for (int i = 0; i < COUNT(shapes); i++) {
        struct product_turns p;
        int64_t n = shapes[i][0], inner = shapes[i][1];
        size_t bytes = (size_t)(n * inner) * 2;
        int count = turns_for(bytes);
        p.turns = count < 8 || bytes > TURN_BYTES ? 2 : count;
        for (int j = 0; j < p.turns; j++)
            p.weights[j] = numbers(bytes);
        printf("%8d x %5d", shapes[i][0], shapes[i][1]);
        for (int j = 0; j < COUNT(rows); j++) {
            p.m = (struct kernel_matmul){.m = rows[j],
                                         .n = n,
                                         .k = inner,
                                         .tb = true,
                                         .a = x,
                                         .c = out,
                                         .type = KERNEL_BF16,
                                         .c_type = KERNEL_BF16,
                                         .alpha = 1};
            double t = time_of(product_turn, count, &p);
            double all = (double)bytes + (double)rows[j] * (double)(n + inner) * 2;
            printf("%8.1f %4.0f%%", t * 1e6, all / t / copy_rate * 100);
        }
        printf("\n");
        for (int j = 0; j < p.turns; j++)
            k->free(c, p.weights[j]);
    }
    k->free(c, x);
    k->free(c, out);
}

struct q4_turns {
    struct kernel_q4 w;
    void *packed[MOST_TURNS], *x, *out, *scratch;
    int64_t m;
    int turns;
};

static void q4_turn(int turn, void *arg)
{
    struct q4_turns *p = arg;
    k->q4_matmul(c, &p->w, p->packed[turn % p->turns], p->out, p->x, p->m, KERNEL_BF16,
                 KERNEL_BF16, p->scratch);
}

static void q4_fill(struct q4_turns *p)
{
    int64_t groups = p->w.k / p->w.group;
    size_t words = (size_t)(p->w.n * p->w.k / 8);
    uint32_t *weights = malloc(words * 4), *zeros = malloc((size_t)(groups * p->w.n));
    uint16_t *scales = malloc((size_t)(groups * p->w.n) * 2);
    char error[200] = "";
    for (size_t i = 0; i < words; i++)
        weights[i] = random_word();
    for (int64_t i = 0; i < groups * p->w.n; i++)
        scales[i] = (uint16_t)(0x3c00 + (random_word() & 255));
    for (int64_t i = 0; i < groups * p->w.n / 8; i++)
        zeros[i] = random_word();
    struct kernel_q4_source from = {0, p->w.n, weights, zeros, scales, true};
    for (int j = 0; j < p->turns; j++) {
        p->packed[j] = must(k->q4_bytes(c, &p->w));
        if (j == 0 &&
            k->q4_pack(c, &p->w, p->packed[0], &from, error, sizeof(error)) < 0) {
            fprintf(stderr, "%s\n", error);
            exit(1);
        }
        k->copy(c, p->packed[j], p->packed[0], j > 0 ? k->q4_bytes(c, &p->w) : 0);
    }
    finish();
    free(weights);
    free(zeros);
    free(scales);
}

static void bench_q4(void)
{
    static const int shapes[][2] = {
        {10240, 5120}, {5120, 8192}, {51200, 5120}, {5120, 25600}, {4096, 4096}};
    static const int rows[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 2048};
    printf("weights of 4 bits: us, %% of the copy bandwidth (scales and zeros as AWQ "
           "has them)\n%15s",
           "n x k \\ m");
    for (int j = 0; j < COUNT(rows); j++)
        printf("%14d", rows[j]);
    printf("\n");
    struct q4_turns p = {.x = numbers((size_t)2048 * 25600 * 2),
                         .out = must((size_t)2048 * 51200 * 2)};
    double all_1 = 0, all[COUNT(rows)] = {0};
    for (int i = 0; i < COUNT(shapes); i++) {
        p.w = (struct kernel_q4){shapes[i][0], shapes[i][1], 128};
        size_t bytes = (size_t)(p.w.n * p.w.k) / 2;
        p.turns = turns_for(bytes);
        p.scratch = must(k->q4_scratch(c, &p.w, 2048));
        q4_fill(&p);
        printf("%8d x %5d", shapes[i][0], shapes[i][1]);
        for (int j = 0; j < COUNT(rows); j++) {
            p.m = rows[j];
            double t = time_of(q4_turn, p.turns, &p);
            double moved = (double)bytes * (1 + 2.5 / 64) +
                           (double)p.m * (double)(p.w.n + p.w.k) * 2;
            printf("%8.1f %4.0f%%", t * 1e6, moved / t / copy_rate * 100);
            all[j] += i < 4 ? t : 0;
        }
        printf("\n");
        for (int j = 0; j < p.turns; j++)
            k->free(c, p.packed[j]);
        k->free(c, p.scratch);
    }
    all_1 = all[0];
    printf("%15s", "a layer of 32B");
    for (int j = 0; j < COUNT(rows); j++)
        printf("%8.1f %4.2fx", all[j] * 1e6, all[j] / all_1);
    printf("\n");
    k->free(c, p.x);
    k->free(c, p.out);
}

struct draw_turns {
    struct kernel_sample s;
    void *scratch;
};

static void draw_turn(int turn, void *arg)
{
    struct draw_turns *p = arg;
    (void)turn;
    k->sample(c, &p->s, p->scratch);
}

static void bench_sample(void)
{
    enum { ROWS = 256, VOCAB = 151936 };
    static const struct {
        const char *name;
        float temperature, top_p, min_p;
        int top_k;
    } cases[] = {{"greedy", 0, 1, 0, 0},
                 {"temperature alone", 1, 1, 0, 0},
                 {"top_k 20, top_p 0.95", 0.6f, 0.95f, 0, 20},
                 {"top_p 0.95", 0.7f, 0.95f, 0, 0},
                 {"min_p 0.05", 1, 1, 0.05f, 0},
                 {"flat: temperature 20, top_p 0.9", 20, 0.9f, 0, 0}};
    static const int rows[] = {1, 8, 32, 256};
    float *logits = malloc((size_t)VOCAB * 4);
    struct draw_turns p = {.scratch = must(k->sample_scratch(c, ROWS, VOCAB))};
    float *x = must((size_t)ROWS * VOCAB * 4);
    for (int i = 0; i < VOCAB; i++) {
        double sum = 0;
        for (int j = 0; j < 6; j++)
            sum += random_word() * 0x1p-32 - 0.5;
        logits[i] = (float)(sum * 4.5 + (i % 9973 == 0 ? 14 : 0));
    }
    for (int i = 0; i < ROWS; i++)
        k->upload(c, x + (size_t)i * VOCAB, logits, (size_t)VOCAB * 4);
    finish();
    printf("sample, us at rows:%18s", "");
    for (int j = 0; j < COUNT(rows); j++)
        printf("%9d", rows[j]);
    printf("\n");
    for (int i = 0; i < COUNT(cases); i++) {
        float temperature[ROWS], top_p[ROWS], min_p[ROWS];
        int32_t top_k[ROWS];
        uint64_t seeds[ROWS];
        for (int j = 0; j < ROWS; j++) {
            temperature[j] = cases[i].temperature;
            top_p[j] = cases[i].top_p;
            min_p[j] = cases[i].min_p;
            top_k[j] = cases[i].top_k;
            seeds[j] = random_word();
        }
        p.s = (struct kernel_sample){.vocab = VOCAB,
                                     .stride = VOCAB,
                                     .logits = x,
                                     .temperature =
                                         given(temperature, sizeof(temperature)),
                                     .top_p = given(top_p, sizeof(top_p)),
                                     .min_p = given(min_p, sizeof(min_p)),
                                     .top_k = given(top_k, sizeof(top_k)),
                                     .seed = given(seeds, sizeof(seeds)),
                                     .step = given(seeds, sizeof(seeds)),
                                     .ids = must(ROWS * 4),
                                     .greedy = cases[i].temperature == 0};
        printf("%-37s", cases[i].name);
        for (int j = 0; j < COUNT(rows); j++) {
            p.s.rows = rows[j];
            printf("%9.1f", time_of(draw_turn, 10, &p) * 1e6);
        }
        printf("\n");
    }
    free(logits);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(void);
    } parts[] = {{"rows", bench_rows},     {"q4", bench_q4},
                 {"decode", bench_decode}, {"prefill", bench_prefill},
                 {"mixed", bench_mixed},   {"small", bench_small},
                 {"sample", bench_sample}, {"layer", bench_layer}};
    char error[256] = "";
    void *module = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (module == NULL) {
        fprintf(stderr, "usage: infer_gpu MODULE.so [PART...] (%s)\n",
                argc > 1 ? dlerror() : "no module");
        return 2;
    }
    kernels_module_fn find;
    *(void **)&find = dlsym(module, "raywf_kernels");
    k = find();
    c = k->open(&(struct kernel_options){.device = 0}, error, sizeof(error));
    if (c == NULL) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    ceilings();
    for (int i = 0; i < COUNT(parts); i++) {
        bool wanted = argc == 2;
        for (int j = 2; j < argc; j++)
            wanted = wanted || strcmp(argv[j], parts[i].name) == 0;
        if (!wanted)
            continue;
        double start = now();
        parts[i].fn();
        printf("(%s: %.1f s)\n", parts[i].name, now() - start);
        fflush(stdout);
    }
    k->close(c);
    return 0;
}
