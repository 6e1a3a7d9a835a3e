/* SPDX-License-Identifier: Apache-2.0
 *
 * Causal attention in tiles of TILE queries by TILE keys, so that no more than a tile
 * of the scores exists at a time. Forward keeps each query's largest score and sum so
 * far and rescales what it has when a larger one comes. Backward (the formulas are at
 * the reference) takes one key-value head of one sequence per part, so that every sum
 * has one owner.
 */
#include "kernels/cpu/fast.h"
#include "kernels/cpu/fast_softmax.h"

#define TILE 64
/* A thread's room beyond its packed panels: tiles, and TILE rows of a head. */
#define ROOM_FLOATS ((CPU_ROOM_BYTES - CPU_PACK_BYTES) / sizeof(float))
#define SIZE_MOST ((int)(ROOM_FLOATS / TILE - 2 * TILE - 4))

struct attention {
    const struct kernel_attention *a;
    struct kernel_context *c;
    const void *qkv, *out, *dout;
    const float *lse;
    void *to; /* out, or dqkv */
    float *to_lse;
    float *d;        /* backward: dqkv in float */
    float *products; /* backward: [batch, heads, length], dout . out */
    int64_t width;   /* of a row of qkv */
};

/* The elements of one head at position t of sequence `row`, within qkv and within out.
 */
static int64_t in_qkv(const struct attention *p, int64_t row, int64_t t, int64_t head)
{
    return (row * p->a->length + t) * p->width + head * p->a->size;
}

static int64_t in_out(const struct attention *p, int64_t row, int64_t t, int64_t head)
{
    return ((row * p->a->length + t) * p->a->heads + head) * p->a->size;
}

static const void *at(const void *x, int64_t i, enum kernel_type type)
{
    return (const char *)x + i * (int64_t)kernel_size(type);
}

static int64_t tile_rows(const struct attention *p, int64_t from)
{
    return p->a->length - from < TILE ? p->a->length - from : TILE;
}

/* scores[q, k] = scale * Q K' of queries from t and keys from s. */
static void score_tile(const struct attention *p, float *scores, const void *q,
                       const void *k, int64_t rows, int64_t columns, float *pack)
{
    struct kernel_matmul m = {.m = rows,
                              .n = columns,
                              .k = p->a->size,
                              .tb = true,
                              .a = q,
                              .b = k,
                              .c = scores,
                              .lda = p->width,
                              .ldb = p->width,
                              .ldc = TILE,
                              .type = p->a->type,
                              .alpha = p->a->scale};
    FAST(matmul_mixed)(&m, m.type, pack);
}

/* to[m, n] += scale * W X, or W' X when turned: W is a tile of floats, X [k, n] of the
 * type. */
struct weighted {
    float *to;
    const float *w;
    const void *x;
    int64_t to_width, x_width, m, n, k;
    bool turned;
    float scale;
};

static void add_weighted(const struct weighted *w, enum kernel_type type, float *pack)
{
    struct kernel_matmul m = {.m = w->m,
                              .n = w->n,
                              .k = w->k,
                              .ta = w->turned,
                              .a = w->w,
                              .b = w->x,
                              .c = w->to,
                              .lda = TILE,
                              .ldb = w->x_width,
                              .ldc = w->to_width,
                              .type = type,
                              .alpha = w->scale,
                              .accumulate = true};
    FAST(matmul_mixed)(&m, KERNEL_F32, pack);
}

/* --- forward --- */

struct forward {
    float *scores, *sums; /* [TILE, TILE], [TILE, size] */
    float *most, *total;  /* [TILE] */
};

/* What the keys from s give to the queries from t. */
static void forward_tile(const struct attention *p, const struct forward *f,
                         int64_t row, int64_t head, int64_t t, int64_t s, float *pack)
{
    const struct kernel_attention *a = p->a;
    int64_t rows = tile_rows(p, t), columns = tile_rows(p, s);
    int64_t kv = a->heads + head / (a->heads / a->kv_heads);
    const void *q = at(p->qkv, in_qkv(p, row, t, head), a->type);
    const void *k = at(p->qkv, in_qkv(p, row, s, kv), a->type);
    const void *v = at(p->qkv, in_qkv(p, row, s, kv + a->kv_heads), a->type);
    score_tile(p, f->scores, q, k, rows, columns, pack);
    for (int64_t i = 0; i < rows; i++) {
        float kept, *sum = f->sums + i * a->size;
        int64_t seen = t + i - s + 1 < columns ? t + i - s + 1 : columns;
        soften(f->scores + i * TILE, seen, TILE, &f->most[i], &f->total[i], &kept);
        EACH(j, n, 0, a->size)
            vput(sum, j, n, KERNEL_F32, vget(sum, j, n, KERNEL_F32) * kept);
    }
    struct weighted w = {f->sums, f->scores, v,       a->size, p->width,
                         rows,    a->size,   columns, false,   1};
    add_weighted(&w, a->type, pack);
}

static void forward_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct attention *p = arg;
    const struct kernel_attention *a = p->a;
    float *room = p->c->pack[thread] + CPU_PACK_BYTES / sizeof(float);
    struct forward f = {room, room + TILE * TILE + 2 * TILE, room + TILE * TILE,
                        room + TILE * TILE + TILE};
    int64_t tiles = (a->length + TILE - 1) / TILE;
    for (int64_t part = from; part < to; part++) {
        int64_t t = part % tiles * TILE, head = part / tiles % a->heads;
        int64_t row = part / tiles / a->heads, rows = tile_rows(p, t);
        for (int64_t i = 0; i < rows; i++) {
            f.most[i] = -INFINITY;
            f.total[i] = 0;
        }
        memset(f.sums, 0, (size_t)(rows * a->size) * sizeof(*f.sums));
        for (int64_t s = 0; s <= t; s += TILE)
            forward_tile(p, &f, row, head, t, s, p->c->pack[thread]);
        for (int64_t i = 0; i < rows; i++) {
            p->to_lse[(row * a->heads + head) * a->length + t + i] =
                f.most[i] + logf(f.total[i]);
            EACH(j, n, 0, a->size) {
                vf x = vget(f.sums, i * a->size + j, n, KERNEL_F32) / f.total[i];
                vput(p->to, in_out(p, row, t + i, head) + j, n, a->type, x);
            }
        }
    }
}

static bool fits(struct kernel_context *c, const struct kernel_attention *a)
{
    if (a->size <= SIZE_MOST)
        return true;
    cpu__failed(c, "attention: a head of %d elements; at most %d", a->size, SIZE_MOST);
    return false;
}

static void attention(struct kernel_context *c, const struct kernel_attention *a,
                      void *out, float *lse, const void *qkv)
{
    struct attention p = {.a = a, .c = c, .qkv = qkv, .to = out, .to_lse = lse};
    p.width = (int64_t)(a->heads + 2 * a->kv_heads) * a->size;
    int64_t tiles = (a->length + TILE - 1) / TILE;
    if (fits(c, a))
        cpu__split(c, a->batch * a->heads * tiles, 1, forward_part, &p);
}

/* --- backward --- */

struct backward {
    float *weights, *ds; /* [TILE, TILE] */
    float *d;            /* dqkv of float, or dqkv itself */
};

/* weights = e^(score - lse), and ds = weights * (dout V' - dout . out); zero above the
 * diagonal. */
static void backward_scores(const struct attention *p, const struct backward *b,
                            int64_t row, int64_t head, int64_t t, int64_t s)
{
    int64_t rows = tile_rows(p, t), columns = tile_rows(p, s);
    for (int64_t i = 0; i < rows; i++) {
        int64_t query = (row * p->a->heads + head) * p->a->length + t + i;
        int64_t seen = t + i - s + 1 < columns ? t + i - s + 1 : columns;
        float *weight = b->weights + i * TILE, *ds = b->ds + i * TILE;
        EACH(j, n, 0, columns) {
            vf w = vexp(vget(weight, j, n, KERNEL_F32) - p->lse[query]);
            vf d = (vget(ds, j, n, KERNEL_F32) - p->products[query]) * w;
            if (j + LANES > seen) {
                w = seen > j ? vlanes(w, seen - j, 0) : vsplat(0);
                d = seen > j ? vlanes(d, seen - j, 0) : vsplat(0);
            }
            vput(weight, j, n, KERNEL_F32, w);
            vput(ds, j, n, KERNEL_F32, d);
        }
    }
}

static void backward_tile(const struct attention *p, const struct backward *b,
                          int64_t row, int64_t head, int64_t t, int64_t s, float *pack)
{
    const struct kernel_attention *a = p->a;
    int64_t rows = tile_rows(p, t), columns = tile_rows(p, s), w = p->width;
    int64_t kv = a->heads + head / (a->heads / a->kv_heads);
    int64_t q = in_qkv(p, row, t, head), k = in_qkv(p, row, s, kv);
    int64_t v = in_qkv(p, row, s, kv + a->kv_heads);
    const void *dout = at(p->dout, in_out(p, row, t, head), a->type);
    int64_t out_width = (int64_t)a->heads * a->size;
    score_tile(p, b->weights, at(p->qkv, q, a->type), at(p->qkv, k, a->type), rows,
               columns, pack);
    struct kernel_matmul m = {.m = rows,
                              .n = columns,
                              .k = a->size,
                              .tb = true,
                              .a = dout,
                              .b = at(p->qkv, v, a->type),
                              .c = b->ds,
                              .lda = out_width,
                              .ldb = w,
                              .ldc = TILE,
                              .type = a->type,
                              .alpha = 1};
    FAST(matmul_mixed)(&m, m.type, pack);
    backward_scores(p, b, row, head, t, s);
    const void *keys = at(p->qkv, k, a->type), *asked = at(p->qkv, q, a->type);
    const struct weighted parts[] = {
        {b->d + v, b->weights, dout, w, out_width, columns, a->size, rows, true, 1},
        {b->d + q, b->ds, keys, w, w, rows, a->size, columns, false, a->scale},
        {b->d + k, b->ds, asked, w, w, columns, a->size, rows, true, a->scale},
    };
    for (int i = 0; i < 3; i++)
        add_weighted(&parts[i], a->type, pack);
}

/* dout . out of each query of the head. */
INLINE void products_of(const struct attention *p, int64_t row, int64_t head,
                        enum kernel_type type)
{
    for (int64_t t = 0; t < p->a->length; t++) {
        int64_t from = in_out(p, row, t, head);
        vf sum = {0};
        EACH(i, n, from, from + p->a->size)
            sum = vfma(vget(p->dout, i, n, type), vget(p->out, i, n, type), sum);
        p->products[(row * p->a->heads + head) * p->a->length + t] = vsum(sum);
    }
}

static void zero_head(const struct attention *p, float *d, int64_t row, int64_t head)
{
    for (int64_t t = 0; t < p->a->length; t++)
        memset(d + in_qkv(p, row, t, head), 0, (size_t)p->a->size * sizeof(*d));
}

/* One key-value head of one sequence, with all its query heads. */
static void backward_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct attention *p = arg;
    const struct kernel_attention *a = p->a;
    float *room = p->c->pack[thread] + CPU_PACK_BYTES / sizeof(float);
    struct backward b = {room, room + TILE * TILE, p->d};
    int64_t group = a->heads / a->kv_heads;
    for (int64_t part = from; part < to; part++) {
        int64_t row = part / a->kv_heads, kv = part % a->kv_heads;
        zero_head(p, b.d, row, a->heads + kv);
        zero_head(p, b.d, row, a->heads + a->kv_heads + kv);
        for (int64_t head = kv * group; head < (kv + 1) * group; head++) {
            zero_head(p, b.d, row, head);
            BY_TYPE(a->type, products_of, p, row, head);
            for (int64_t t = 0; t < a->length; t += TILE)
                for (int64_t s = 0; s <= t; s += TILE)
                    backward_tile(p, &b, row, head, t, s, p->c->pack[thread]);
        }
    }
}

static void halve_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct attention *p = arg;
    (void)thread;
    EACH(i, n, from, to)
        vput(p->to, i, n, KERNEL_BF16, vget(p->d, i, n, KERNEL_F32));
}

static int64_t queries(const struct kernel_attention *a)
{
    return (int64_t)a->batch * a->heads * a->length;
}

static int64_t elements(const struct kernel_attention *a)
{
    return (int64_t)a->batch * a->length * (a->heads + 2 * a->kv_heads) * a->size;
}

static void attention_back(struct kernel_context *c, const struct kernel_attention *a,
                           void *dqkv, const void *dout, const void *out,
                           const float *lse, const void *qkv, void *scratch)
{
    struct attention p = {.a = a,
                          .c = c,
                          .qkv = qkv,
                          .out = out,
                          .dout = dout,
                          .lse = lse,
                          .to = dqkv,
                          .products = scratch};
    p.width = (int64_t)(a->heads + 2 * a->kv_heads) * a->size;
    p.d = a->type == KERNEL_BF16 ? p.products + queries(a) : dqkv;
    cpu__split(c, a->batch * a->kv_heads, 1, backward_part, &p);
    if (a->type == KERNEL_BF16)
        cpu__split(c, elements(a), GRAIN, halve_part, &p);
}

static size_t attention_scratch(struct kernel_context *c,
                                const struct kernel_attention *a)
{
    int64_t floats = queries(a) + (a->type == KERNEL_BF16 ? elements(a) : 0);
    (void)c;
    return (size_t)floats * sizeof(float);
}

void FAST(fill_attention)(struct kernels *k)
{
    k->attention = attention;
    k->attention_back = attention_back;
    k->attention_scratch = attention_scratch;
}
