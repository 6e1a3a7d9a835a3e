/* SPDX-License-Identifier: Apache-2.0
 *
 * A training step of GPT-2 124M as calls of the device table, in bf16 on one GPU, and
 * each kind of call alone beside its floor: the larger of its operations at the product
 * rate and its bytes at the copy rate, both measured here first.
 *
 *   gpt2_step MODULE.so [BATCH [LENGTH [STEPS]]]     STEPS 0: attention once, for a
 * profiler; -1: only its times
 *
 * Weights lie as Hugging Face's GPT-2 has them, [in, out].
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "kernels/kernels.h"

enum { LAYERS = 12, HEADS = 12, SIZE = 64, WIDTH = 768, VOCAB = 50257, STRIDE = 50304 };

static const struct kernels *k;
static struct kernel_context *c;
static int64_t batch = 64, length = 1024, rows;

struct linear {
    int64_t in, out, weight, bias; /* offsets in elements */
};

struct layer {
    int64_t norm1, norm1_bias, norm2, norm2_bias;
    struct linear qkv, project, up, down;
    void *sum1, *ln1, *att_in, *att, *sum2, *ln2, *before, *act, *down_out,
        *project_out;
    float *stats1, *stats2, *lse;
};

static struct layer layers[LAYERS];
static int64_t wte, wpe, norm_final, norm_final_bias, parameters;
static float *master, *grads, *first, *second, *losses, *stats_final, *squares, *clip;
static uint16_t *copy;
static void *x0, *sum_final, *ln_final, *logits, *dx, *dwide, *dnarrow, *dqkv, *scratch;
static int32_t *ids, *order, *targets;
static int64_t step_number;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void finish(void)
{
    char error[256] = "";
    if (k->sync(c, error, sizeof(error)) < 0) {
        fprintf(stderr, "%s\n", error);
        exit(1);
    }
}

static void *must(size_t bytes)
{
    void *p = k->alloc(c, bytes);
    if (p == NULL) {
        fprintf(stderr, "no %zu bytes of GPU memory left\n", bytes);
        exit(1);
    }
    return p;
}

static int64_t take(int64_t count)
{
    int64_t at = parameters;
    parameters += (count + 63) / 64 * 64;
    return at;
}

static struct linear linear_of(int64_t in, int64_t out)
{
    struct linear l = {in, out, take(in * out), take(out)};
    return l;
}

static void layout(void)
{
    wte = take((int64_t)STRIDE * WIDTH);
    wpe = take(1024 * WIDTH);
    for (int i = 0; i < LAYERS; i++) {
        struct layer *l = &layers[i];
        l->norm1 = take(WIDTH);
        l->norm1_bias = take(WIDTH);
        l->qkv = linear_of(WIDTH, 3 * WIDTH);
        l->project = linear_of(WIDTH, WIDTH);
        l->norm2 = take(WIDTH);
        l->norm2_bias = take(WIDTH);
        l->up = linear_of(WIDTH, 4 * WIDTH);
        l->down = linear_of(4 * WIDTH, WIDTH);
    }
    norm_final = take(WIDTH);
    norm_final_bias = take(WIDTH);
}

static void ones(float *w, int64_t at)
{
    for (int i = 0; i < WIDTH; i++)
        w[at + i] = 1;
}

static void zeros(float *w, int64_t at, int64_t count)
{
    memset(w + at, 0, (size_t)count * sizeof(*w));
}

static void weights_make(void)
{
    float *w = malloc((size_t)parameters * sizeof(*w));
    uint64_t state = 1;
    for (int64_t i = 0; i < parameters; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        w[i] = ((float)(state >> 40) * 0x1p-23f - 1) * 0.0346f; /* std 0.02 */
    }
    for (int i = 0; i < LAYERS; i++) {
        struct layer *l = &layers[i];
        ones(w, l->norm1);
        ones(w, l->norm2);
        zeros(w, l->norm1_bias, WIDTH);
        zeros(w, l->norm2_bias, WIDTH);
        zeros(w, l->qkv.bias, l->qkv.out);
        zeros(w, l->project.bias, l->project.out);
        zeros(w, l->up.bias, l->up.out);
        zeros(w, l->down.bias, l->down.out);
    }
    ones(w, norm_final);
    zeros(w, norm_final_bias, WIDTH);
    size_t bytes = (size_t)parameters * 4;
    master = must(bytes);
    grads = must(bytes);
    first = must(bytes);
    second = must(bytes);
    copy = must(bytes / 2);
    k->upload(c, master, w, bytes);
    k->from_float(c, copy, master, parameters, KERNEL_BF16);
    k->zero(c, first, bytes);
    k->zero(c, second, bytes);
    finish();
    free(w);
}

static const int32_t *sort_ids;

static int by_id(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (sort_ids[x] != sort_ids[y])
        return sort_ids[x] < sort_ids[y] ? -1 : 1;
    return x < y ? -1 : 1;
}

/* Token numbers as skewed as text's. */
static void tokens_make(void)
{
    size_t bytes = (size_t)(rows + 1) * sizeof(int32_t);
    int32_t *host = malloc(bytes), *sorted = malloc(bytes);
    uint64_t state = 5;
    for (int64_t i = 0; i <= rows; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        host[i] = (int32_t)(exp((double)(state >> 11) * 0x1p-53 * log(VOCAB)) - 1);
        sorted[i] = (int32_t)i;
    }
    sort_ids = host;
    qsort(sorted, (size_t)rows, sizeof(*sorted), by_id);
    ids = must(bytes);
    targets = must(bytes);
    order = must(bytes);
    k->upload(c, ids, host, bytes - 4);
    k->upload(c, targets, host + 1, bytes - 4);
    k->upload(c, order, sorted, bytes - 4);
    finish();
    free(host);
    free(sorted);
}

static struct kernel_attention attention_of(void)
{
    return (struct kernel_attention){KERNEL_BF16, (int)batch, (int)length, HEADS,
                                     HEADS,       SIZE,       0.125f};
}

static struct kernel_norm_args norm_of(int64_t weight, int64_t bias)
{
    return (struct kernel_norm_args){KERNEL_LAYERNORM, KERNEL_BF16, rows, WIDTH, 1e-5f,
                                     copy + weight,    copy + bias};
}

static void activations_make(void)
{
    size_t narrow = (size_t)rows * WIDTH * 2;
    struct kernel_attention a = attention_of();
    struct kernel_norm_args n = norm_of(0, 0);
    for (int i = 0; i < LAYERS; i++) {
        struct layer *l = &layers[i];
        l->sum1 = must(narrow);
        l->ln1 = must(narrow);
        l->att_in = must(3 * narrow);
        l->att = must(narrow);
        l->sum2 = must(narrow);
        l->ln2 = must(narrow);
        l->before = must(4 * narrow);
        l->act = must(4 * narrow);
        l->project_out = i > 0 ? layers[0].project_out : must(narrow);
        l->down_out = i > 0 ? layers[0].down_out : must(narrow);
        l->stats1 = must((size_t)rows * 8);
        l->stats2 = must((size_t)rows * 8);
        l->lse = must((size_t)rows * HEADS * 4);
    }
    x0 = layers[0].sum1;
    sum_final = must(narrow);
    ln_final = must(narrow);
    dx = must(narrow);
    dnarrow = must(narrow);
    dwide = must(4 * narrow);
    dqkv = must(3 * narrow);
    logits = must((size_t)rows * STRIDE * 2);
    losses = must((size_t)rows * 4);
    stats_final = must((size_t)rows * 8);
    squares = must(4);
    clip = must(4);
    size_t most = k->attention_scratch(c, &a);
    scratch = must(most > k->norm_scratch(c, &n) ? most : k->norm_scratch(c, &n));
}

/* --- the step --- */

static void forward_linear(const struct linear *l, void *y, const void *x, void *before)
{
    k->matmul(c, &(struct kernel_matmul){.m = rows,
                                         .n = l->out,
                                         .k = l->in,
                                         .a = x,
                                         .b = copy + l->weight,
                                         .c = y,
                                         .type = KERNEL_BF16,
                                         .c_type = KERNEL_BF16,
                                         .alpha = 1,
                                         .bias = copy + l->bias,
                                         .before = before,
                                         .act = before != NULL ? KERNEL_GELU
                                                               : KERNEL_LINEAR});
}

static void linear_dx(const struct linear *l, void *to, const void *dy)
{
    k->matmul(c, &(struct kernel_matmul){.m = rows,
                                         .n = l->in,
                                         .k = l->out,
                                         .a = dy,
                                         .tb = true,
                                         .b = copy + l->weight,
                                         .c = to,
                                         .type = KERNEL_BF16,
                                         .c_type = KERNEL_BF16,
                                         .alpha = 1});
}

static void linear_dw(const struct linear *l, const void *dy, const void *x)
{
    k->matmul(c, &(struct kernel_matmul){.m = l->in,
                                         .n = l->out,
                                         .k = rows,
                                         .ta = true,
                                         .a = x,
                                         .b = dy,
                                         .c = grads + l->weight,
                                         .type = KERNEL_BF16,
                                         .c_type = KERNEL_F32,
                                         .alpha = 1,
                                         .accumulate = true});
}

static void linear_dbias(const struct linear *l, const void *dy)
{
    k->sum_rows(c, grads + l->bias, dy, rows, l->out, KERNEL_BF16, true);
}

static struct kernel_rows tokens(void)
{
    return (struct kernel_rows){KERNEL_BF16, rows, WIDTH, STRIDE, ids, order};
}

static void head(bool back_dx, bool back_dw)
{
    struct kernel_matmul m = {.m = rows,
                              .n = STRIDE,
                              .k = WIDTH,
                              .a = ln_final,
                              .tb = true,
                              .b = copy + wte,
                              .c = logits,
                              .type = KERNEL_BF16,
                              .c_type = KERNEL_BF16,
                              .alpha = 1};
    if (back_dx)
        m = (struct kernel_matmul){.m = rows,
                                   .n = WIDTH,
                                   .k = STRIDE,
                                   .a = logits,
                                   .b = copy + wte,
                                   .c = dnarrow,
                                   .type = KERNEL_BF16,
                                   .c_type = KERNEL_BF16,
                                   .alpha = 1};
    if (back_dw)
        m = (struct kernel_matmul){.m = STRIDE,
                                   .n = WIDTH,
                                   .k = rows,
                                   .ta = true,
                                   .a = logits,
                                   .b = ln_final,
                                   .c = grads + wte,
                                   .type = KERNEL_BF16,
                                   .c_type = KERNEL_F32,
                                   .alpha = 1,
                                   .accumulate = true};
    k->matmul(c, &m);
}

static void loss(void)
{
    k->cross_entropy(c,
                     &(struct kernel_loss){KERNEL_BF16, rows, VOCAB, STRIDE, targets,
                                           NULL, 1.0f / (float)rows, true},
                     losses, NULL, logits);
}

static void forward(void)
{
    struct kernel_rows r = tokens();
    struct kernel_attention a = attention_of();
    k->embed(c, &r, x0, copy + wte, copy + wpe, length);
    for (int i = 0; i < LAYERS; i++) {
        struct layer *l = &layers[i];
        struct kernel_norm_args n1 = norm_of(l->norm1, l->norm1_bias);
        struct kernel_norm_args n2 = norm_of(l->norm2, l->norm2_bias);
        k->norm(c, &n1, l->ln1, l->sum1, l->stats1, i > 0 ? layers[i - 1].sum2 : x0,
                i > 0 ? l->down_out : NULL);
        forward_linear(&l->qkv, l->att_in, l->ln1, NULL);
        k->attention(c, &a, l->att, l->lse, l->att_in);
        forward_linear(&l->project, l->project_out, l->att, NULL);
        k->norm(c, &n2, l->ln2, l->sum2, l->stats2, l->sum1, l->project_out);
        forward_linear(&l->up, l->act, l->ln2, l->before);
        forward_linear(&l->down, l->down_out, l->act, NULL);
    }
    struct kernel_norm_args n = norm_of(norm_final, norm_final_bias);
    k->norm(c, &n, ln_final, sum_final, stats_final, layers[LAYERS - 1].sum2,
            layers[0].down_out);
    head(false, false);
    loss();
}

static void backward(void)
{
    struct kernel_rows r = tokens();
    struct kernel_attention a = attention_of();
    struct kernel_norm_args n = norm_of(norm_final, norm_final_bias);
    k->zero(c, grads, (size_t)parameters * 4);
    head(true, false);
    head(false, true);
    k->norm_back(c, &n, dx, grads + norm_final, grads + norm_final_bias, dnarrow,
                 sum_final, stats_final, NULL, scratch);
    for (int i = LAYERS - 1; i >= 0; i--) {
        struct layer *l = &layers[i];
        struct kernel_norm_args n1 = norm_of(l->norm1, l->norm1_bias);
        struct kernel_norm_args n2 = norm_of(l->norm2, l->norm2_bias);
        linear_dx(&l->down, dwide, dx);
        linear_dw(&l->down, dx, l->act);
        linear_dbias(&l->down, dx);
        k->activate_back(c, dwide, dwide, l->before, rows * 4 * WIDTH, KERNEL_GELU,
                         KERNEL_BF16);
        linear_dx(&l->up, dnarrow, dwide);
        linear_dw(&l->up, dwide, l->ln2);
        linear_dbias(&l->up, dwide);
        k->norm_back(c, &n2, dx, grads + l->norm2, grads + l->norm2_bias, dnarrow,
                     l->sum2, l->stats2, dx, scratch);
        linear_dx(&l->project, dnarrow, dx);
        linear_dw(&l->project, dx, l->att);
        linear_dbias(&l->project, dx);
        k->attention_back(c, &a, dqkv, dnarrow, l->att, l->lse, l->att_in, scratch);
        linear_dx(&l->qkv, dnarrow, dqkv);
        linear_dw(&l->qkv, dqkv, l->ln1);
        linear_dbias(&l->qkv, dqkv);
        k->norm_back(c, &n1, dx, grads + l->norm1, grads + l->norm1_bias, dnarrow,
                     l->sum1, l->stats1, dx, scratch);
    }
    k->embed_back(c, &r, grads + wte, grads + wpe, dx, length);
}

static void norm_clip(void)
{
    k->sum_squares(c, squares, grads, parameters, false);
    k->clip(c, clip, squares, 1.0f);
}

static void update(void)
{
    k->update(c, &(struct kernel_update){KERNEL_ADAMW, parameters, master, copy, grads,
                                         first, second, clip, 6e-4f, 0.9f, 0.95f, 1e-8f,
                                         0.1f, ++step_number});
}

static void step(void)
{
    forward();
    backward();
    norm_clip();
    update();
}

/* --- each call alone --- */

enum call {
    QKV,
    PROJECT,
    UP,
    DOWN,
    ALL_DX,
    ALL_DW,
    BIAS,
    GELU_BACK,
    ATTENTION,
    ATTENTION_BACK,
    NORM,
    NORM_BACK,
    HEAD,
    LOSS,
    HEAD_DX,
    HEAD_DW,
    EMBED,
    EMBED_BACK,
    ZERO,
    CLIP,
    UPDATE,
    COPY,
    PRODUCT,
};

static void call_linears(enum call what)
{
    const struct layer *l = &layers[0];
    const struct linear *linears[] = {&l->qkv, &l->project, &l->up, &l->down};
    const void *inputs[] = {l->ln1, l->att, l->ln2, l->act};
    void *outputs[] = {dqkv, dx, dwide, dx};
    void *input_grads[] = {dnarrow, dnarrow, dnarrow, dwide};
    for (int i = 0; i < 4; i++) {
        if (what == ALL_DX)
            linear_dx(linears[i], input_grads[i], outputs[i]);
        if (what == ALL_DW)
            linear_dw(linears[i], outputs[i], inputs[i]);
        if (what == BIAS)
            linear_dbias(linears[i], outputs[i]);
    }
}

static void call_layer(enum call what)
{
    struct layer *l = &layers[0];
    struct kernel_attention a = attention_of();
    struct kernel_norm_args n = norm_of(l->norm2, l->norm2_bias);
    if (what == QKV)
        forward_linear(&l->qkv, l->att_in, l->ln1, NULL);
    else if (what == PROJECT)
        forward_linear(&l->project, l->project_out, l->att, NULL);
    else if (what == UP)
        forward_linear(&l->up, l->act, l->ln2, l->before);
    else if (what == DOWN)
        forward_linear(&l->down, l->down_out, l->act, NULL);
    else if (what == GELU_BACK)
        k->activate_back(c, dwide, dwide, l->before, rows * 4 * WIDTH, KERNEL_GELU,
                         KERNEL_BF16);
    else if (what == ATTENTION)
        k->attention(c, &a, l->att, l->lse, l->att_in);
    else if (what == ATTENTION_BACK)
        k->attention_back(c, &a, dqkv, dx, l->att, l->lse, l->att_in, scratch);
    else if (what == NORM)
        k->norm(c, &n, l->ln2, l->sum2, l->stats2, l->sum1, l->project_out);
    else if (what == NORM_BACK)
        k->norm_back(c, &n, dnarrow, grads, grads + WIDTH, dx, l->sum2, l->stats2, dx,
                     scratch);
    else
        call_linears(what);
}

static void call(enum call what)
{
    struct kernel_rows r = tokens();
    if (what < HEAD)
        call_layer(what);
    else if (what == HEAD || what == HEAD_DX || what == HEAD_DW)
        head(what == HEAD_DX, what == HEAD_DW);
    else if (what == LOSS)
        loss();
    else if (what == EMBED)
        k->embed(c, &r, x0, copy + wte, copy + wpe, length);
    else if (what == EMBED_BACK)
        k->embed_back(c, &r, grads + wte, grads + wpe, dx, length);
    else if (what == ZERO)
        k->zero(c, grads, (size_t)parameters * 4);
    else if (what == CLIP)
        norm_clip();
    else if (what == UPDATE)
        update();
    else if (what == COPY)
        k->copy(c, dwide, layers[0].before, (size_t)rows * 8 * WIDTH);
    else
        k->matmul(c, &(struct kernel_matmul){.m = 8192,
                                             .n = 8192,
                                             .k = 8192,
                                             .tb = true,
                                             .a = layers[0].before,
                                             .b = layers[0].act,
                                             .c = logits,
                                             .type = KERNEL_BF16,
                                             .c_type = KERNEL_BF16,
                                             .alpha = 1});
}

static double median_of(enum call what, int times)
{
    double took[5];
    call(what);
    finish();
    for (int i = 0; i < 5; i++) {
        double start = now();
        for (int j = 0; j < times; j++)
            call(what);
        finish();
        took[i] = (now() - start) / times;
        for (int j = i; j > 0 && took[j] < took[j - 1]; j--) {
            double t = took[j];
            took[j] = took[j - 1];
            took[j - 1] = t;
        }
    }
    return took[2];
}

static void table_print(double step_time)
{
    double r = (double)rows, w = WIDTH, n = (double)parameters, v = STRIDE,
           nar = r * w * 2;
    double pairs = r * (double)(length + 1) / 2 * w; /* causal */
    const struct {
        const char *name;
        enum call what;
        int count;
        double flops, bytes;
    } lines[] = {
        {"qkv", QKV, 12, 6 * r * w * w, 4 * nar},
        {"projection", PROJECT, 12, 2 * r * w * w, 2 * nar},
        {"up, GELU", UP, 12, 8 * r * w * w, 9 * nar},
        {"down", DOWN, 12, 8 * r * w * w, 5 * nar},
        {"dx of the four", ALL_DX, 12, 24 * r * w * w, 16 * nar},
        {"dW of the four", ALL_DW, 12, 24 * r * w * w, 16 * nar},
        {"bias gradients of the four", BIAS, 12, 0, 9 * nar},
        {"GELU back", GELU_BACK, 12, 0, 12 * nar},
        {"attention", ATTENTION, 12, 4 * pairs, 4 * nar},
        {"attention back", ATTENTION_BACK, 12, 10 * pairs, 8 * nar},
        {"norm, residual", NORM, 25, 0, 4 * nar},
        {"norm back", NORM_BACK, 25, 0, 4 * nar},
        {"head", HEAD, 1, 2 * r * w * v, nar + r * v * 2},
        {"cross-entropy", LOSS, 1, 0, r * v * 4},
        {"head dx", HEAD_DX, 1, 2 * r * w * v, nar + r * v * 2},
        {"head dW", HEAD_DW, 1, 2 * r * w * v, nar + r * v * 2},
        {"embed", EMBED, 1, 0, 2 * nar},
        {"embed back", EMBED_BACK, 1, 0, 2 * nar},
        {"zero gradients", ZERO, 1, 0, 4 * n},
        {"clip", CLIP, 1, 0, 4 * n},
        {"AdamW", UPDATE, 1, 0, 30 * n},
    };
    double copied = 2 * 4 * nar / median_of(COPY, 10);
    double product = 2.0 * 8192 * 8192 * 8192 / median_of(PRODUCT, 10);
    printf("copy %.2f TB/s, product of 8192 %.0f TFLOP/s\n", copied / 1e12,
           product / 1e12);
    printf("%-28s %5s %9s %9s %7s %8s %8s\n", "call", "times", "each us", "floor us",
           "ratio", "TFLOP/s", "of step");
    double sum = 0;
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        double t = median_of(lines[i].what, 5);
        double a = lines[i].flops / product, b = lines[i].bytes / copied;
        double floor_time = a > b ? a : b;
        sum += t * lines[i].count;
        printf("%-28s %5d %9.1f %9.1f %7.2f %8.0f %7.1f%%\n", lines[i].name,
               lines[i].count, t * 1e6, floor_time * 1e6, t / floor_time,
               lines[i].flops / t / 1e12, 100 * t * lines[i].count / step_time);
    }
    printf("sum of the above %.1f ms, the step %.1f ms\n", sum * 1e3, step_time * 1e3);
}

static double loss_mean(void)
{
    float *host = malloc((size_t)rows * sizeof(*host));
    double sum = 0;
    k->download(c, host, losses, (size_t)rows * sizeof(*host));
    finish();
    for (int64_t i = 0; i < rows; i++)
        sum += (double)host[i];
    free(host);
    return sum / (double)rows;
}

int main(int argc, char **argv)
{
    char error[256] = "";
    kernels_module_fn find = NULL;
    void *module = dlopen(argc > 1 ? argv[1] : "./raywf-cuda.so", RTLD_NOW);
    if (module != NULL)
        *(void **)&find = dlsym(module, "raywf_kernels");
    if (find == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    k = find();
    c = k->open(&(struct kernel_options){.device = 0}, error, sizeof(error));
    if (c == NULL) {
        fprintf(stderr, "%s\n", error);
        return 77;
    }
    batch = argc > 2 ? atol(argv[2]) : 64;
    length = argc > 3 ? atol(argv[3]) : 1024;
    int steps = argc > 4 ? atoi(argv[4]) : 20;
    rows = batch * length;
    layout();
    weights_make();
    tokens_make();
    activations_make();
    struct kernel_info info;
    k->info(c, &info);
    if (steps < 0) {
        call(QKV);
        double f = median_of(ATTENTION, 10), b = median_of(ATTENTION_BACK, 10);
        uint64_t bits = 0, *host = malloc((size_t)rows * 6 * WIDTH);
        k->download(c, host, dqkv, (size_t)rows * 6 * WIDTH);
        finish();
        for (int64_t i = 0; i < rows * 6 * WIDTH / 8; i++)
            bits = bits * 31 + host[i];
        printf("attention %.1f us, back %.1f us; bits of the gradients %016llx\n",
               f * 1e6, b * 1e6, (unsigned long long)bits);
        return 0;
    }
    if (steps == 0) {
        call(QKV);
        call(ATTENTION);
        call(ATTENTION_BACK);
        finish();
        return 0;
    }
    step();
    double start_loss = loss_mean();
    for (int i = 0; i < 3; i++)
        step();
    finish();
    double start = now();
    for (int i = 0; i < steps; i++)
        step();
    finish();
    double took = (now() - start) / steps,
           flops = 6 * 123.6e6 + 12.0 * LAYERS * WIDTH * (double)length;
    printf("%s: batch %d, length %d: %.2f ms a step, %.0f tokens/s, MFU %.1f%%; loss "
           "%.4f, "
           "after %d steps on the same tokens %.4f\n",
           info.name, (int)batch, (int)length, took * 1e3, (double)rows / took,
           100 * flops * (double)rows / took /
               (info.peak_bf16 > 0 ? info.peak_bf16 : 1e30),
           start_loss, steps + 4, loss_mean());
    table_print(took);
    k->close(c);
    return 0;
}
