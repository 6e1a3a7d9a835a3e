/* SPDX-License-Identifier: Apache-2.0
 *
 * A step through all layers as one kernel, held against the same layers as kernels of
 * their own: what comes out, the caches, recorded steps, and the same bits every time.
 * Skipped where there is no GPU, or none that has it.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cuda_rig.h"
#include "kernels/cpu/bf16.h"

#define COUNT(x) ((int)(sizeof(x) / sizeof(*(x))))
#define LAYERS 3
#define SEQUENCES 8

struct shape {
    int hidden, inner, heads, kv_heads, size, group;
};

struct layer {
    uint16_t *norm1, *norm2, *q_norm, *k_norm; /* the device's */
    void *weights[4];
    void *keys, *values;
};

struct model {
    struct shape s;
    struct kernel_q4 linears[4]; /* qkv, o, gate|up, down; group 0: plain */
    struct layer layers[LAYERS];
    struct kernel_decoder_state *decoder;
    float *cosine, *sine;
    void *x, *normed, *delta, *qkv, *q, *out, *gate_up, *product, *q4, *attention;
    void *table; /* rows of x, the last one first */
    int32_t *ids;
    float *stats;
    struct kernel_sequences step;
    size_t cache_bytes, x_bytes;
};

static uint64_t state = 11;
static bool has; /* the GPU is one that has decoders */

static double random_unit(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-53;
}

static void settle(void)
{
    char error[200] = "";
    ck_assert_msg(rig_k->sync(rig_c, error, sizeof(error)) == 0, "%s", error);
}

static void *room(size_t bytes)
{
    void *p = rig_k->alloc(rig_c, bytes);
    ck_assert_ptr_nonnull(p);
    return p;
}

static void *there(const void *from, size_t bytes)
{
    void *p = room(bytes);
    rig_k->upload(rig_c, p, from, bytes);
    settle();
    return p;
}

/* count random numbers around middle. */
static void *random_there(int64_t count, double middle, double most)
{
    uint16_t *v = malloc((size_t)count * sizeof(*v));
    for (int64_t i = 0; i < count; i++)
        v[i] = bf16_from_float((float)(middle + (random_unit() * 2 - 1) * most));
    void *p = there(v, (size_t)count * sizeof(*v));
    free(v);
    return p;
}

static void *packed_there(const struct kernel_q4 *w)
{
    size_t weights = (size_t)(w->k * w->n / 2);
    size_t groups = (size_t)(w->k / w->group), zeros = groups * (size_t)w->n / 2;
    unsigned char *bytes = malloc(weights + zeros);
    uint16_t *scales = malloc(groups * (size_t)w->n * sizeof(*scales));
    void *packed = room(rig_k->q4_bytes(rig_c, w));
    char error[200] = "";
    for (size_t i = 0; i < weights + zeros; i++)
        bytes[i] = (unsigned char)(random_unit() * 256);
    for (size_t i = weights; i < weights + zeros; i++)
        bytes[i] = (unsigned char)(0x77 + 0x11 * (bytes[i] & 1));
    for (size_t i = 0; i < groups * (size_t)w->n; i++)
        scales[i] =
            bf16_from_float((float)((0.5 + random_unit()) * 0.2 / sqrt((double)w->k)));
    const struct kernel_q4_source from = {0,      w->n, bytes, bytes + weights,
                                          scales, true};
    ck_assert_msg(rig_k->q4_pack(rig_c, w, packed, &from, error, sizeof(error)) == 0,
                  "%s", error);
    free(bytes);
    free(scales);
    return packed;
}

/* --- a model --- */

static void linears_make(struct model *m)
{
    const struct shape *s = &m->s;
    int64_t q = (int64_t)s->heads * s->size;
    const int64_t n[4] = {q + 2 * (int64_t)s->kv_heads * s->size, s->hidden,
                          2 * (int64_t)s->inner, s->hidden};
    const int64_t k[4] = {s->hidden, q, s->hidden, s->inner};
    for (int i = 0; i < 4; i++)
        m->linears[i] = (struct kernel_q4){n[i], k[i], s->group};
}

static void layer_make(struct model *m, struct layer *l)
{
    const struct shape *s = &m->s;
    l->norm1 = random_there(s->hidden, 1, 0.3);
    l->norm2 = random_there(s->hidden, 1, 0.3);
    l->q_norm = random_there(s->size, 1, 0.3);
    l->k_norm = random_there(s->size, 1, 0.3);
    for (int i = 0; i < 4; i++) {
        const struct kernel_q4 *w = &m->linears[i];
        l->weights[i] = w->group > 0
                            ? packed_there(w)
                            : random_there(w->n * w->k, 0, 1.7 / sqrt((double)w->k));
    }
}

static void angles_make(struct model *m, int positions)
{
    int64_t count = (int64_t)positions * m->s.size / 2;
    float *v = malloc((size_t)count * 2 * sizeof(*v));
    for (int64_t i = 0; i < count; i++) {
        double angle = random_unit() * 6.3;
        v[i] = (float)cos(angle);
        v[count + i] = (float)sin(angle);
    }
    m->cosine = there(v, (size_t)count * 2 * sizeof(*v));
    m->sine = m->cosine + count;
    free(v);
}

static void buffers_make(struct model *m)
{
    const struct shape *s = &m->s;
    size_t rows = SEQUENCES * sizeof(uint16_t), q4 = 1;
    m->x_bytes = rows * (size_t)s->hidden;
    m->x = room(m->x_bytes);
    m->normed = room(m->x_bytes);
    m->delta = room(m->x_bytes);
    m->table = room(m->x_bytes);
    int32_t ids[SEQUENCES];
    for (int i = 0; i < SEQUENCES; i++)
        ids[i] = SEQUENCES - 1 - i;
    m->ids = there(ids, sizeof(ids));
    m->qkv = room(rows * (size_t)m->linears[0].n);
    m->q = room(rows * (size_t)m->linears[1].k);
    m->out = room(rows * (size_t)m->linears[1].k);
    m->gate_up = room(rows * (size_t)m->linears[2].n);
    m->product = room(rows * (size_t)s->inner);
    m->stats = room(SEQUENCES * 2 * sizeof(float));
    for (int i = 0; i < 4 && s->group > 0; i++) {
        size_t more = rig_k->q4_scratch(rig_c, &m->linears[i], SEQUENCES);
        q4 = more > q4 ? more : q4;
    }
    m->q4 = room(q4);
}

static struct kernel_linear linear_of(const struct model *m, const struct layer *l,
                                      int i)
{
    return (struct kernel_linear){m->linears[i].n, m->linears[i].k, l->weights[i],
                                  m->linears[i].group};
}

/* What belongs to a step: caches, and who knows where they are. */
static void decoder_make(struct model *m)
{
    const struct kernel_paged a = {.type = KERNEL_BF16,
                                   .heads = m->s.heads,
                                   .kv_heads = m->s.kv_heads,
                                   .size = m->s.size,
                                   .sequences = &m->step};
    struct kernel_decoder_layer layers[LAYERS];
    m->attention = room(rig_k->paged_scratch(rig_c, &a) + 4);
    for (int i = 0; i < LAYERS; i++) {
        struct layer *l = &m->layers[i];
        l->keys = room(m->cache_bytes);
        l->values = room(m->cache_bytes);
        layers[i] = (struct kernel_decoder_layer){
            l->norm1,           l->norm2,           l->q_norm,
            l->k_norm,          linear_of(m, l, 0), linear_of(m, l, 1),
            linear_of(m, l, 2), linear_of(m, l, 3), l->keys,
            l->values};
    }
    const struct kernel_decoder d = {.type = KERNEL_BF16,
                                     .layers = LAYERS,
                                     .heads = m->s.heads,
                                     .kv_heads = m->s.kv_heads,
                                     .size = m->s.size,
                                     .hidden = m->s.hidden,
                                     .inner = m->s.inner,
                                     .epsilon = 1e-6f,
                                     .scale = 1 / sqrtf((float)m->s.size),
                                     .cosine = m->cosine,
                                     .sine = m->sine,
                                     .table = m->table,
                                     .layer = layers};
    m->decoder = rig_k->decoder_open(rig_c, &d);
}

/* --- the step --- */

static void step_make(struct model *m, const int *context, int count)
{
    struct kernel_sequences *s = &m->step;
    int pool = 2, next = 1;
    *s = (struct kernel_sequences){
        .count = count, .tokens = count, .stride = 1, .most = 1, .longest = 1};
    for (int i = 0; i < count; i++) {
        int blocks = (context[i] + KERNEL_BLOCK - 1) / KERNEL_BLOCK;
        s->stride = blocks + 1 > s->stride ? blocks + 1 : s->stride;
        s->longest = context[i] > s->longest ? context[i] : s->longest;
        pool += blocks;
    }
    int32_t first[SEQUENCES + 1], positions[SEQUENCES], slots[SEQUENCES];
    int32_t *blocks = malloc((size_t)(count * s->stride) * sizeof(*blocks));
    for (int i = 0; i < count; i++) {
        int at = context[i] - 1;
        first[i] = i;
        /* Blocks go down from the pool's end: no order that could be taken for granted.
         */
        for (int j = 0; j < s->stride; j++)
            blocks[i * s->stride + j] =
                j * KERNEL_BLOCK < context[i] ? pool - next++ : 0x7fffffff;
        positions[i] = at > 0 ? at : 0;
        slots[i] = at < 0 ? -1
                          : blocks[i * s->stride + at / KERNEL_BLOCK] * KERNEL_BLOCK +
                                at % KERNEL_BLOCK;
    }
    first[count] = count;
    s->first = there(first, (size_t)(count + 1) * 4);
    s->context = there(context, (size_t)count * 4);
    s->positions = there(positions, (size_t)count * 4);
    s->slots = there(slots, (size_t)count * 4);
    s->blocks = there(blocks, (size_t)(count * s->stride) * 4);
    m->cache_bytes = (size_t)pool * (size_t)m->s.kv_heads * KERNEL_BLOCK *
                     (size_t)m->s.size * sizeof(uint16_t);
    free(blocks);
}

/* Caches of tokens before the step's own; NaNs where no token is. */
static void *cache_fill(const struct model *m, const int *context)
{
    const struct kernel_sequences *s = &m->step;
    int size = m->s.size, kv_heads = m->s.kv_heads;
    uint16_t *v = malloc(m->cache_bytes);
    int32_t *blocks = malloc((size_t)(s->count * s->stride) * sizeof(*blocks));
    rig_k->download(rig_c, blocks, s->blocks, (size_t)(s->count * s->stride) * 4);
    settle();
    memset(v, 0xff, m->cache_bytes);
    for (int i = 0; i < s->count; i++)
        for (int t = 0; t < context[i] - 1; t++)
            for (int h = 0; h < kv_heads; h++) {
                int64_t block = blocks[i * s->stride + t / KERNEL_BLOCK];
                int64_t at =
                    ((block * kv_heads + h) * KERNEL_BLOCK + t % KERNEL_BLOCK) * size;
                for (int j = 0; j < size; j++)
                    v[at + j] = bf16_from_float((float)(random_unit() * 2 - 1));
            }
    free(blocks);
    return v;
}

static void multiply(const struct model *m, const struct layer *l, int i, void *y,
                     const void *x)
{
    const struct kernel_q4 *w = &m->linears[i];
    if (w->group > 0) {
        rig_k->q4_matmul(rig_c, w, l->weights[i], y, x, m->step.tokens, KERNEL_BF16,
                         KERNEL_BF16, m->q4);
        return;
    }
    const struct kernel_matmul p = {.m = m->step.tokens,
                                    .n = w->n,
                                    .k = w->k,
                                    .tb = true,
                                    .a = x,
                                    .b = l->weights[i],
                                    .c = y,
                                    .type = KERNEL_BF16,
                                    .c_type = KERNEL_BF16,
                                    .alpha = 1};
    rig_k->matmul(rig_c, &p);
}

static void attend(const struct model *m, const struct layer *l)
{
    const struct kernel_paged a = {.type = KERNEL_BF16,
                                   .heads = m->s.heads,
                                   .kv_heads = m->s.kv_heads,
                                   .size = m->s.size,
                                   .scale = 1 / sqrtf((float)m->s.size),
                                   .keys = l->keys,
                                   .values = l->values,
                                   .sequences = &m->step};
    const struct kernel_rope r = {.type = KERNEL_BF16,
                                  .heads = m->s.heads,
                                  .kv_heads = m->s.kv_heads,
                                  .size = m->s.size,
                                  .cosine = m->cosine,
                                  .sine = m->sine,
                                  .q_weight = l->q_norm,
                                  .k_weight = l->k_norm,
                                  .epsilon = 1e-6f};
    multiply(m, l, 0, m->qkv, m->normed);
    rig_k->rope_paged(rig_c, &r, &a, m->q, m->qkv);
    rig_k->paged_attention(rig_c, &a, m->out, m->q, m->attention);
    multiply(m, l, 1, m->delta, m->out);
}

static void run_apart(const struct model *m)
{
    struct kernel_norm_args n = {.kind = KERNEL_RMSNORM,
                                 .type = KERNEL_BF16,
                                 .rows = m->step.tokens,
                                 .width = m->s.hidden,
                                 .epsilon = 1e-6f};
    for (int i = 0; i < LAYERS; i++) {
        const struct layer *l = &m->layers[i];
        n.weight = l->norm1;
        rig_k->norm(rig_c, &n, m->normed, m->x, m->stats, m->x,
                    i > 0 ? m->delta : NULL);
        attend(m, l);
        n.weight = l->norm2;
        rig_k->norm(rig_c, &n, m->normed, m->x, m->stats, m->x, m->delta);
        multiply(m, l, 2, m->gate_up, m->normed);
        rig_k->swiglu(rig_c, m->product, m->gate_up, m->step.tokens, m->s.inner,
                      KERNEL_BF16);
        multiply(m, l, 3, m->delta, m->product);
    }
}

/* --- what came of it --- */

struct result {
    uint16_t *x, *delta, *caches[LAYERS * 2];
};

static uint16_t *copy_back(const void *p, size_t bytes)
{
    uint16_t *v = malloc(bytes);
    rig_k->download(rig_c, v, p, bytes);
    settle();
    return v;
}

struct start {
    const uint16_t *x;
    uint16_t *caches[LAYERS * 2];
};

static void begin(const struct model *m, const struct start *s)
{
    size_t row = m->x_bytes / SEQUENCES;
    rig_k->upload(rig_c, m->x, s->x, m->x_bytes);
    for (size_t i = 0; i < SEQUENCES; i++)
        rig_k->upload(rig_c, (char *)m->table + (SEQUENCES - 1 - i) * row,
                      (const char *)s->x + i * row, row);
    rig_k->zero(rig_c, m->delta, m->x_bytes);
    for (int i = 0; i < LAYERS; i++) {
        rig_k->upload(rig_c, m->layers[i].keys, s->caches[2 * i], m->cache_bytes);
        rig_k->upload(rig_c, m->layers[i].values, s->caches[2 * i + 1], m->cache_bytes);
    }
    settle();
}

static struct result end(const struct model *m)
{
    struct result r = {.x = copy_back(m->x, m->x_bytes),
                       .delta = copy_back(m->delta, m->x_bytes)};
    for (int i = 0; i < LAYERS; i++) {
        r.caches[2 * i] = copy_back(m->layers[i].keys, m->cache_bytes);
        r.caches[2 * i + 1] = copy_back(m->layers[i].values, m->cache_bytes);
    }
    return r;
}

static void result_free(struct result *r)
{
    free(r->x);
    free(r->delta);
    for (int i = 0; i < LAYERS * 2; i++)
        free(r->caches[i]);
}

/* Of numbers a [+ a2] and b [+ b2]: the distance, in lengths. NaNs must be the same. */
static double distance(const uint16_t *a, const uint16_t *a2, const uint16_t *b,
                       const uint16_t *b2, int64_t n)
{
    double apart = 0, length = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        double u = bf16_to_float(a[i]), v = bf16_to_float(b[i]);
        if (isnan(u) && isnan(v))
            continue;
        u += a2 != NULL ? bf16_to_float(a2[i]) : 0;
        v += b2 != NULL ? bf16_to_float(b2[i]) : 0;
        apart += (u - v) * (u - v);
        length += u * u;
    }
    return sqrt(apart / length);
}

static void check_near(const struct model *m, const struct result *want,
                       const struct result *got, const char *name)
{
    int64_t n = (int64_t)m->step.tokens * m->s.hidden;
    double apart = distance(want->x, want->delta, got->x, got->delta, n);
    ck_assert_msg(apart < 1e-2, "%s: x is %g apart", name, apart);
    for (int i = 0; i < LAYERS * 2; i++) {
        apart = distance(want->caches[i], NULL, got->caches[i], NULL,
                         (int64_t)(m->cache_bytes / 2));
        ck_assert_msg(apart < 1e-2, "%s: cache %d is %g apart", name, i, apart);
    }
}

static void check_same(const struct model *m, const struct result *want,
                       const struct result *got, const char *name)
{
    size_t bytes = (size_t)m->step.tokens * (size_t)m->s.hidden * 2;
    ck_assert_msg(memcmp(want->x, got->x, bytes) == 0, "%s: other bits of x", name);
    ck_assert_msg(memcmp(want->delta, got->delta, bytes) == 0,
                  "%s: other bits of delta", name);
    for (int i = 0; i < LAYERS * 2; i++)
        ck_assert_msg(memcmp(want->caches[i], got->caches[i], m->cache_bytes) == 0,
                      "%s: other bits of cache %d", name, i);
}

/* --- cases --- */

static void free_all(void *const *all, int count)
{
    for (int i = 0; i < count; i++)
        rig_k->free(rig_c, all[i]);
}

static void model_free(struct model *m)
{
    void *const all[] = {m->cosine, m->x,     m->normed, m->delta,   m->qkv,
                         m->q,      m->out,   m->q4,     m->gate_up, m->product,
                         m->stats,  m->table, m->ids};
    free_all(all, COUNT(all));
    for (int i = 0; i < LAYERS; i++) {
        struct layer *l = &m->layers[i];
        void *const own[] = {l->norm1,      l->norm2,      l->q_norm,
                             l->k_norm,     l->weights[0], l->weights[1],
                             l->weights[2], l->weights[3]};
        free_all(own, COUNT(own));
    }
}

static void step_free(struct model *m)
{
    void *const all[] = {
        (void *)(uintptr_t)m->step.first,     (void *)(uintptr_t)m->step.context,
        (void *)(uintptr_t)m->step.positions, (void *)(uintptr_t)m->step.slots,
        (void *)(uintptr_t)m->step.blocks,    m->attention};
    rig_k->decoder_close(rig_c, m->decoder);
    free_all(all, COUNT(all));
    for (int i = 0; i < LAYERS; i++) {
        rig_k->free(rig_c, m->layers[i].keys);
        rig_k->free(rig_c, m->layers[i].values);
    }
}

/* Once, again, and twice as a graph. */
static void check_runs(struct model *m, const struct start *s, const char *name)
{
    begin(m, s);
    run_apart(m);
    struct result want = end(m), first = {0};
    rig_k->record(rig_c);
    rig_k->decoder_run(rig_c, m->decoder, NULL, m->x, m->delta, &m->step);
    struct kernel_graph *g = rig_k->record_end(rig_c);
    ck_assert_msg(g != NULL, "%s: not recorded", name);
    for (int turn = 0; turn < 4; turn++) {
        begin(m, s);
        if (turn == 1) /* what x begins with is in the table alone */
            rig_k->zero(rig_c, m->x, m->x_bytes);
        if (turn < 2)
            rig_k->decoder_run(rig_c, m->decoder, turn == 1 ? m->ids : NULL, m->x,
                               m->delta, &m->step);
        else
            rig_k->replay(rig_c, g);
        struct result got = end(m);
        if (turn == 0)
            check_near(m, &want, &got, name);
        else
            check_same(m, &first, &got, name);
        if (turn == 0)
            first = got;
        else
            result_free(&got);
    }
    rig_k->graph_free(rig_c, g);
    result_free(&want);
    result_free(&first);
}

static void check_step(struct model *m, const int *context, int count)
{
    const struct shape *s = &m->s;
    struct start start = {0};
    char name[128];
    snprintf(name, sizeof(name),
             "hidden %d, inner %d, heads %d/%d of %d, group %d; %d sequences, %d",
             s->hidden, s->inner, s->heads, s->kv_heads, s->size, s->group, count,
             context[0]);
    step_make(m, context, count);
    decoder_make(m);
    /* Where the first shape has one, all have that are of its kind. */
    has = has || m->decoder != NULL;
    ck_assert_msg(!has || (m->decoder != NULL) == (s->group != 64), "%s", name);
    ck_assert_msg(m->decoder == NULL || rig_k->decoder_fits(m->decoder, 1), "%s", name);
    if (m->decoder != NULL && rig_k->decoder_fits(m->decoder, count)) {
        uint16_t *x = malloc(m->x_bytes);
        for (size_t i = 0; i < m->x_bytes / 2; i++)
            x[i] = bf16_from_float((float)(random_unit() * 2 - 1));
        start.x = x;
        for (int i = 0; i < LAYERS * 2; i++)
            start.caches[i] = cache_fill(m, context);
        check_runs(m, &start, name);
        free(x);
        for (int i = 0; i < LAYERS * 2; i++)
            free(start.caches[i]);
    }
    step_free(m);
}

static const int contexts[][1 + SEQUENCES] = {{1, 1},
                                              {1, 15},
                                              {1, 16},
                                              {1, 17},
                                              {1, 500},
                                              {1, 5000},
                                              {2, 3, 0},
                                              {2, 700, 1},
                                              {3, 0, 257, 129},
                                              {4, 20, 300, 4000, 1},
                                              {8, 1, 2, 17, 0, 160, 1000, 33, 5}};

/* Fewer tiles than blocks, and more; widths that are no whole stages; heads of both
 * sizes, one to eight of them for a key head. */
static const struct shape shapes[] = {
    {256, 512, 4, 2, 128, 0},      {128, 64, 3, 3, 64, 0},
    {1024, 3072, 16, 8, 128, 0},   {1088, 1472, 8, 1, 128, 0},
    {2560, 9728, 32, 8, 128, 0},   {192, 4096, 10, 2, 64, 0},
    {512, 1024, 8, 1, 64, 128},    {1024, 2304, 16, 8, 128, 128},
    {2560, 4352, 40, 8, 128, 128}, {640, 640, 5, 1, 128, 64},
};

START_TEST(steps)
{
    for (int i = 0; i < COUNT(shapes); i++) {
        struct model m = {.s = shapes[i]};
        linears_make(&m);
        angles_make(&m, 5001);
        for (int l = 0; l < LAYERS; l++)
            layer_make(&m, &m.layers[l]);
        buffers_make(&m);
        for (int j = 0; j < COUNT(contexts); j++)
            check_step(&m, contexts[j] + 1, contexts[j][0]);
        model_free(&m);
    }
}
END_TEST

int main(void)
{
    struct rig_part parts[1] = {{"steps", steps}};
    return rig_main(parts, 1);
}
