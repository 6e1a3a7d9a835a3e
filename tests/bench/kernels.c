/* SPDX-License-Identifier: Apache-2.0
 *
 * The CPU's kernels against the processor's peak, which a loop of nothing but FMAs
 * gives in the same run: kernels [threads [cpu]]. The step is that of an MLP 784-128-10
 * at batch 64: forward, backward, AdamW. Beside large products stands OpenBLAS where it
 * is installed.
 */
#include "config.h"
#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "kernels/kernels.h"

#define ROUNDS 200 /* of a millisecond or so; the best one counts */

static const struct kernels *k;
static struct kernel_context *c;
static double peak; /* FLOP/s of a core */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --- the peak: 12 sums that do not wait for each other --- */

#define FMA_LOOP(name, flags, bytes)                                                   \
    __attribute__((target(flags))) static double fma_##name(void)                      \
    {                                                                                  \
        typedef float v __attribute__((vector_size(bytes)));                           \
        v sum[12], x = {0}, y = {0};                                                   \
        const int turns = 200000;                                                      \
        for (int i = 0; i < 12; i++)                                                   \
            sum[i] = (v){0} + (float)i;                                                \
        x += 0.999f;                                                                   \
        y += 0.001f;                                                                   \
        double start = now();                                                          \
        for (int n = 0; n < turns; n++) {                                              \
            _Pragma("GCC unroll 12") for (int i = 0; i < 12; i++) sum[i] =             \
                sum[i] * x + y;                                                        \
            __asm__ volatile("" : "+x"(x));                                            \
        }                                                                              \
        double seconds = now() - start;                                                \
        for (int i = 1; i < 12; i++)                                                   \
            sum[0] += sum[i];                                                          \
        volatile float kept = sum[0][0];                                               \
        (void)kept;                                                                    \
        return (double)turns * 12 * 2 * ((bytes) / 4) / seconds;                       \
    }
#if defined __x86_64__
FMA_LOOP(avx512, "avx512f,fma", 64)
FMA_LOOP(avx2, "avx2,fma", 32)
#endif
FMA_LOOP(plain, "arch=x86-64", 16)

static void measure_peak(const char *name)
{
    double (*loop)(void) = fma_plain;
#if defined __x86_64__
    if (strstr(name, "(avx512") != NULL)
        loop = fma_avx512;
    else if (strstr(name, "(avx2)") != NULL)
        loop = fma_avx2;
#endif
    for (int i = 0; i < ROUNDS; i++) {
        double rate = loop();
        peak = rate > peak ? rate : peak;
    }
}

static float *floats(int64_t n)
{
    float *p = k->alloc(c, (size_t)n * sizeof(*p));
    if (p == NULL)
        exit(1);
    for (int64_t i = 0; i < n; i++)
        p[i] = (float)(rand() % 2001 - 1000) * 1e-4f;
    return p;
}

/* The best seconds of one call of fn. */
static double best_of(void (*fn)(void *arg), void *arg, double guess)
{
    double best = 1e9;
    int turns = guess < 0.001 ? (int)(0.001 / guess) + 1 : 1;
    for (int round = 0; round < ROUNDS && round * turns * guess < 2; round++) {
        double start = now();
        for (int i = 0; i < turns; i++)
            fn(arg);
        double seconds = (now() - start) / turns;
        best = seconds < best ? seconds : best;
    }
    return best;
}

/* --- products --- */

typedef void (*sgemm_fn)(int order, int ta, int tb, int m, int n, int k, float alpha,
                         const float *a, int lda, const float *b, int ldb, float beta,
                         float *c, int ldc);
static sgemm_fn sgemm;

static void open_openblas(int threads)
{
    void *library = dlopen("libopenblas.so.0", RTLD_NOW);
    if (library == NULL)
        return;
    void (*set)(int);
    *(void **)&sgemm = dlsym(library, "cblas_sgemm");
    *(void **)&set = dlsym(library, "openblas_set_num_threads");
    if (set != NULL)
        set(threads);
}

static void product(void *arg)
{
    k->matmul(c, arg);
}

static void product_openblas(void *arg)
{
    const struct kernel_matmul *m = arg;
    sgemm(101, m->ta ? 112 : 111, m->tb ? 112 : 111, (int)m->m, (int)m->n, (int)m->k, 1,
          m->a, (int)(m->ta ? m->m : m->k), m->b, (int)(m->tb ? m->k : m->n), 0, m->c,
          (int)m->n);
}

static void measure_product(struct kernel_matmul m, const char *what)
{
    double flops = 2.0 * (double)m.m * (double)m.n * (double)m.k;
    m.a = floats(m.m * m.k);
    m.b = floats(m.k * m.n);
    m.c = floats(m.m * m.n);
    m.alpha = 1;
    double seconds = best_of(product, &m, flops / peak);
    printf("%4lld x %4lld x %4lld %c%c  %-18s %9.1f us %7.1f GFLOP/s %5.1f %%",
           (long long)m.m, (long long)m.n, (long long)m.k, m.ta ? 't' : 'n',
           m.tb ? 't' : 'n', what, seconds * 1e6, flops / seconds * 1e-9,
           flops / seconds / peak * 100);
    if (sgemm != NULL)
        printf("   OpenBLAS %7.1f",
               flops / best_of(product_openblas, &m, flops / peak) * 1e-9);
    printf("\n");
    k->free(c, (void *)(uintptr_t)m.a);
    k->free(c, (void *)(uintptr_t)m.b);
    k->free(c, m.c);
}

/* --- the step of an MLP --- */

enum { BATCH = 64, IN = 784, HIDDEN = 128, OUT = 10 };
enum { W1 = 0, B1 = IN * HIDDEN, W2 = B1 + HIDDEN, B2 = W2 + HIDDEN * OUT };
enum { PARAMETERS = B2 + OUT };

struct mlp {
    float *weights, *grads, *m, *v;
    float *x, *hidden, *d_hidden, *logits, *losses;
    int32_t targets[BATCH];
    int64_t step;
};

static void forward(struct mlp *p)
{
    struct kernel_matmul first = {.m = BATCH,
                                  .n = HIDDEN,
                                  .k = IN,
                                  .tb = true,
                                  .a = p->x,
                                  .b = p->weights + W1,
                                  .c = p->hidden,
                                  .alpha = 1,
                                  .bias = p->weights + B1,
                                  .act = KERNEL_RELU};
    struct kernel_matmul second = {.m = BATCH,
                                   .n = OUT,
                                   .k = HIDDEN,
                                   .tb = true,
                                   .a = p->hidden,
                                   .b = p->weights + W2,
                                   .c = p->logits,
                                   .alpha = 1,
                                   .bias = p->weights + B2};
    struct kernel_loss loss = {.rows = BATCH,
                               .classes = OUT,
                               .stride = OUT,
                               .targets = p->targets,
                               .scale = 1.0f / BATCH,
                               .gradient = true};
    k->matmul(c, &first);
    k->matmul(c, &second);
    k->cross_entropy(c, &loss, p->losses, NULL, p->logits);
}

static void backward(struct mlp *p)
{
    struct kernel_matmul dw2 = {.m = OUT,
                                .n = HIDDEN,
                                .k = BATCH,
                                .ta = true,
                                .a = p->logits,
                                .b = p->hidden,
                                .c = p->grads + W2,
                                .alpha = 1};
    struct kernel_matmul dh = {.m = BATCH,
                               .n = HIDDEN,
                               .k = OUT,
                               .a = p->logits,
                               .b = p->weights + W2,
                               .c = p->d_hidden,
                               .alpha = 1};
    struct kernel_matmul dw1 = {.m = HIDDEN,
                                .n = IN,
                                .k = BATCH,
                                .ta = true,
                                .a = p->d_hidden,
                                .b = p->x,
                                .c = p->grads + W1,
                                .alpha = 1};
    k->matmul(c, &dw2);
    k->sum_rows(c, p->grads + B2, p->logits, BATCH, OUT, KERNEL_F32, false);
    k->matmul(c, &dh);
    k->activate_back(c, p->d_hidden, p->d_hidden, p->hidden, BATCH * HIDDEN,
                     KERNEL_RELU, KERNEL_F32);
    k->matmul(c, &dw1);
    k->sum_rows(c, p->grads + B1, p->d_hidden, BATCH, HIDDEN, KERNEL_F32, false);
}

static void optimize(void *arg)
{
    struct mlp *p = arg;
    struct kernel_update u = {.kind = KERNEL_ADAMW,
                              .count = PARAMETERS,
                              .weight = p->weights,
                              .grad = p->grads,
                              .m = p->m,
                              .v = p->v,
                              .rate = 1e-5f,
                              .beta1 = 0.9f,
                              .beta2 = 0.999f,
                              .epsilon = 1e-8f,
                              .decay = 0.01f,
                              .step = ++p->step};
    k->update(c, &u);
}

static void pass(void *arg)
{
    forward(arg);
    backward(arg);
}

static void step(void *arg)
{
    pass(arg);
    optimize(arg);
}

static void measure_mlp(void)
{
    /* A multiplication and an addition per weight and row: forward, and the gradient of
     * the weights; the gradient of the rows for the second layer alone. */
    const double flops =
        2.0 * BATCH * (2.0 * (IN * HIDDEN + HIDDEN * OUT) + HIDDEN * OUT);
    struct mlp p = {.weights = floats(PARAMETERS),
                    .grads = floats(PARAMETERS),
                    .m = floats(PARAMETERS),
                    .v = floats(PARAMETERS),
                    .x = floats(BATCH * IN),
                    .hidden = floats(BATCH * HIDDEN),
                    .d_hidden = floats(BATCH * HIDDEN),
                    .logits = floats(BATCH * OUT),
                    .losses = floats(BATCH)};
    k->zero(c, p.m, PARAMETERS * sizeof(float));
    k->zero(c, p.v, PARAMETERS * sizeof(float));
    for (int i = 0; i < BATCH; i++)
        p.targets[i] = i % OUT;
    double all = best_of(step, &p, 2e-4), passes = best_of(pass, &p, 2e-4);
    double update = best_of(optimize, &p, 1e-4);
    printf("MLP 784-128-10, batch 64, AdamW: %.1f us a step (%.1f passes, %.1f AdamW), "
           "%.1f GFLOP/s, %.1f %% of the peak; %.0f samples/s\n",
           all * 1e6, passes * 1e6, update * 1e6, flops / all * 1e-9,
           flops / all / peak * 100, BATCH / all);
    float *all_of_it[] = {p.weights, p.grads,    p.m,      p.v,     p.x,
                          p.hidden,  p.d_hidden, p.logits, p.losses};
    for (size_t i = 0; i < sizeof(all_of_it) / sizeof(*all_of_it); i++)
        k->free(c, all_of_it[i]);
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

int main(int argc, char **argv)
{
    struct kernel_options o = {.threads = argc > 1 ? atoi(argv[1]) : 1};
    struct kernel_info info;
    char error[160] = "";
    if (argc > 2)
        pin(atoi(argv[2]));
    k = kernels_cpu();
    c = k->open(&o, error, sizeof(error));
    if (c == NULL) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    k->info(c, &info);
    measure_peak(info.name);
    printf("%s: peak of a core %.1f GFLOP/s; %d threads\n", info.name, peak * 1e-9,
           o.threads);
    measure_mlp();
    open_openblas(o.threads);
    measure_product((struct kernel_matmul){.m = 64, .n = 128, .k = 784, .tb = true},
                    "MLP forward");
    measure_product((struct kernel_matmul){.m = 64, .n = 128, .k = 784}, "");
    measure_product((struct kernel_matmul){.m = 128, .n = 784, .k = 64, .ta = true},
                    "MLP weights' grad");
    measure_product((struct kernel_matmul){.m = 64, .n = 10, .k = 128, .tb = true},
                    "MLP logits");
    measure_product((struct kernel_matmul){.m = 256, .n = 256, .k = 256}, "");
    measure_product((struct kernel_matmul){.m = 1024, .n = 1024, .k = 1024, .tb = true},
                    "");
    measure_product((struct kernel_matmul){.m = 2048, .n = 2048, .k = 2048}, "");
    k->close(c);
    return 0;
}
