/* SPDX-License-Identifier: Apache-2.0
 *
 * Norms, embeddings, rotary positions. Rows are cut between threads; what sums over
 * rows is summed in blocks of rows first, whose number depends on the rows alone, and
 * these then in order.
 */
#include "kernels/cpu/fast.h"
#include "kernels/cpu/fast_math.h"

#define BLOCK_ROWS 64 /* at least, of a block */
#define BLOCKS_MOST 64

static int64_t block_rows(int64_t rows)
{
    int64_t n = (rows + BLOCKS_MOST - 1) / BLOCKS_MOST;
    return n > BLOCK_ROWS ? n : BLOCK_ROWS;
}

static int64_t block_count(int64_t rows)
{
    return (rows + block_rows(rows) - 1) / block_rows(rows);
}

/* Adds the blocks' sums [blocks, stride], from column `at`, to into[width]; NULL:
 * unwanted. */
static void add_blocks(float *into, const float *sums, int64_t blocks, int64_t stride,
                       int64_t at, int64_t width)
{
    if (into == NULL)
        return;
    EACH(j, n, 0, width) {
        vf sum = {0};
        for (int64_t b = 0; b < blocks; b++)
            sum += vget(sums, b * stride + at + j, n, KERNEL_F32);
        vput(into, j, n, KERNEL_F32, vget(into, j, n, KERNEL_F32) + sum);
    }
}

/* --- norms --- */

struct norm {
    const struct kernel_norm_args *a;
    void *y, *sum;
    float *stats;
    const void *x, *add;
};

/* The mean of a row, and in its first pass x + add. */
INLINE float norm_mean(const struct norm *p, int64_t row, enum kernel_type type)
{
    vf total = {0};
    EACH(i, n, row * p->a->width, (row + 1) * p->a->width) {
        vf x = vget(p->x, i, n, type);
        if (p->add != NULL) {
            x += vget(p->add, i, n, type);
            vput(p->sum, i, n, type, x);
            if (type == KERNEL_BF16)
                x = vget(p->sum, i, n, type); /* as it is stored */
        }
        total += x;
    }
    return vsum(total) / (float)p->a->width;
}

INLINE void norm_row(const struct norm *p, int64_t row, enum kernel_type type)
{
    const struct kernel_norm_args *a = p->a;
    float mean = norm_mean(p, row, type);
    if (a->kind == KERNEL_RMSNORM)
        mean = 0;
    const void *x = p->add != NULL ? p->sum : p->x;
    vf squares = {0};
    EACH(j, n, 0, a->width) {
        vf d = vget(x, row * a->width + j, n, type) - mean;
        if (n < LANES)
            d = vlanes(d, n, 0);
        squares = vfma(d, d, squares);
    }
    float inverse = 1 / sqrtf(vsum(squares) / (float)a->width + a->epsilon);
    p->stats[2 * row] = mean;
    p->stats[2 * row + 1] = inverse;
    EACH(j, n, 0, a->width) {
        vf value = (vget(x, row * a->width + j, n, type) - mean) * inverse;
        value *= vget(a->weight, j, n, type);
        if (a->bias != NULL)
            value += vget(a->bias, j, n, type);
        vput(p->y, row * a->width + j, n, type, value);
    }
}

static void norm_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct norm *p = arg;
    (void)thread;
    for (int64_t i = from; i < to; i++)
        BY_TYPE(p->a->type, norm_row, p, i);
}

static void norm(struct kernel_context *c, const struct kernel_norm_args *a, void *y,
                 void *sum, float *stats, const void *x, const void *add)
{
    struct norm p = {a, y, sum, stats, x, add};
    cpu__split(c, a->rows, rows_grain(a->width), norm_part, &p);
}

struct norm_back {
    const struct kernel_norm_args *a;
    void *dx;
    const void *dy, *x, *dsum;
    const float *stats;
    float *sums; /* [blocks, 2 * width]: of dweight, then dbias */
};

INLINE void norm_back_row(const struct norm_back *p, int64_t row, float *sums,
                          enum kernel_type type)
{
    const struct kernel_norm_args *a = p->a;
    const float mean = p->stats[2 * row], inverse = p->stats[2 * row + 1];
    const int64_t at = row * a->width;
    vf sum = {0}, along = {0};
    EACH(j, n, 0, a->width) {
        vf dy = vget(p->dy, at + j, n, type);
        vf hat = (vget(p->x, at + j, n, type) - mean) * inverse;
        vf d = dy * vget(a->weight, j, n, type);
        sum += d; /* zero beyond n, as dy is */
        along = vfma(d, hat, along);
        vput(sums, j, n, KERNEL_F32, vfma(dy, hat, vget(sums, j, n, KERNEL_F32)));
        vput(sums, a->width + j, n, KERNEL_F32,
             vget(sums, a->width + j, n, KERNEL_F32) + dy);
    }
    float mean_sum = a->kind == KERNEL_LAYERNORM ? vsum(sum) / (float)a->width : 0;
    float mean_along = vsum(along) / (float)a->width;
    EACH(j, n, 0, a->width) {
        vf hat = (vget(p->x, at + j, n, type) - mean) * inverse;
        vf d = vget(p->dy, at + j, n, type) * vget(a->weight, j, n, type);
        vf value = (d - mean_sum - hat * mean_along) * inverse;
        if (p->dsum != NULL)
            value += vget(p->dsum, at + j, n, type);
        vput(p->dx, at + j, n, type, value);
    }
}

static void norm_back_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct norm_back *p = arg;
    float *sums = p->sums + from / block_rows(p->a->rows) * 2 * p->a->width;
    (void)thread;
    memset(sums, 0, (size_t)(2 * p->a->width) * sizeof(*sums));
    for (int64_t i = from; i < to; i++)
        BY_TYPE(p->a->type, norm_back_row, p, i, sums);
}

static void norm_back(struct kernel_context *c, const struct kernel_norm_args *a,
                      void *dx, float *dweight, float *dbias, const void *dy,
                      const void *x, const float *stats, const void *dsum,
                      void *scratch)
{
    struct norm_back p = {a, dx, dy, x, dsum, stats, scratch};
    cpu__split(c, a->rows, block_rows(a->rows), norm_back_part, &p);
    int64_t blocks = block_count(a->rows);
    add_blocks(dweight, scratch, blocks, 2 * a->width, 0, a->width);
    add_blocks(dbias, scratch, blocks, 2 * a->width, a->width, a->width);
}

static size_t norm_scratch(struct kernel_context *c, const struct kernel_norm_args *a)
{
    (void)c;
    return (size_t)(block_count(a->rows) * 2 * a->width) * sizeof(float);
}

/* --- embeddings: forward by rows, backward by columns --- */

struct embed {
    const struct kernel_rows *r;
    void *out;
    const void *table, *positions, *d;
    float *dtable, *dpositions;
    int64_t length;
};

INLINE void embed_row(const struct embed *p, int64_t i, enum kernel_type type)
{
    int64_t width = p->r->width, from = p->r->ids[i] * width;
    EACH(j, n, 0, width) {
        vf x = vget(p->table, from + j, n, type);
        if (p->positions != NULL)
            x += vget(p->positions, i % p->length * width + j, n, type);
        vput(p->out, i * width + j, n, type, x);
    }
}

static void embed_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct embed *p = arg;
    (void)thread;
    for (int64_t i = from; i < to; i++)
        BY_TYPE(p->r->type, embed_row, p, i);
}

static void embed(struct kernel_context *c, const struct kernel_rows *r, void *out,
                  const void *table, const void *positions, int64_t length)
{
    struct embed p = {
        .r = r, .out = out, .table = table, .positions = positions, .length = length};
    cpu__split(c, r->count, rows_grain(r->width), embed_part, &p);
}

INLINE void embed_add(const struct embed *p, float *into, int64_t row, int64_t i,
                      int64_t from, int64_t to, enum kernel_type type)
{
    int64_t width = p->r->width;
    EACH(j, n, from, to)
        vput(into, row * width + j, n, KERNEL_F32,
             vget(into, row * width + j, n, KERNEL_F32) +
                 vget(p->d, i * width + j, n, type));
}

static void embed_back_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct embed *p = arg;
    const struct kernel_rows *r = p->r;
    (void)thread;
    for (int64_t k = 0; k < r->count; k++) {
        int64_t i = r->order[k];
        BY_TYPE(r->type, embed_add, p, p->dtable, r->ids[i], i, from, to);
    }
    for (int64_t i = 0; p->dpositions != NULL && i < r->count; i++)
        BY_TYPE(r->type, embed_add, p, p->dpositions, i % p->length, i, from, to);
}

static void embed_back(struct kernel_context *c, const struct kernel_rows *r,
                       float *dtable, float *dpositions, const void *d, int64_t length)
{
    struct embed p = {
        .r = r, .d = d, .dtable = dtable, .dpositions = dpositions, .length = length};
    cpu__split(c, r->width, 8 * LANES, embed_back_part, &p);
}

/* --- rotary positions --- */

struct rope {
    const struct kernel_rope *r;
    void *y; /* or dx */
    const void *x, *dy;
    float *stats;
    const float *known; /* the same, backward */
    float *sums;        /* [blocks, 2 * size]: of dq_weight, then dk_weight */
};

static int64_t head_at(const struct kernel_rope *r, int64_t row, int64_t h)
{
    return (row * (r->heads + 2 * r->kv_heads) + h) * r->size;
}

INLINE void rope_copy(const struct rope *p, const void *from, int64_t row,
                      enum kernel_type type)
{
    const struct kernel_rope *r = p->r;
    int64_t at = head_at(r, row, r->heads + r->kv_heads);
    if (from != p->y)
        EACH(i, n, at, at + (int64_t)r->kv_heads * r->size)
            vput(p->y, i, n, type, vget(from, i, n, type));
}

INLINE void rope_head(const struct rope *p, int64_t row, int64_t h,
                      enum kernel_type type)
{
    const struct kernel_rope *r = p->r;
    const void *weight = h < r->heads ? r->q_weight : r->k_weight;
    int64_t half = r->size / 2, at = head_at(r, row, h), angle = row % r->length * half;
    float inverse = 1;
    if (weight != NULL) {
        vf squares = {0};
        EACH(i, n, at, at + r->size) {
            vf x = vget(p->x, i, n, type);
            squares = vfma(x, x, squares);
        }
        inverse = 1 / sqrtf(vsum(squares) / (float)r->size + r->epsilon);
        p->stats[row * (r->heads + r->kv_heads) + h] = inverse;
    }
    EACH(j, n, 0, half) {
        vf cosine = vget(r->cosine, angle + j, n, KERNEL_F32);
        vf sine = vget(r->sine, angle + j, n, KERNEL_F32);
        vf low = vget(p->x, at + j, n, type), high = vget(p->x, at + half + j, n, type);
        if (weight != NULL) {
            low *= inverse * vget(weight, j, n, type);
            high *= inverse * vget(weight, half + j, n, type);
        }
        vput(p->y, at + j, n, type, low * cosine - high * sine);
        vput(p->y, at + half + j, n, type, high * cosine + low * sine);
    }
}

INLINE void rope_row(const struct rope *p, int64_t row, enum kernel_type type)
{
    for (int64_t h = 0; h < p->r->heads + p->r->kv_heads; h++)
        rope_head(p, row, h, type);
    rope_copy(p, p->x, row, type);
}

static void rope_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct rope *p = arg;
    (void)thread;
    for (int64_t row = from; row < to; row++)
        BY_TYPE(p->r->type, rope_row, p, row);
}

static int64_t rope_rows(const struct kernel_rope *r)
{
    return (int64_t)r->batch * r->length;
}

static void rope(struct kernel_context *c, const struct kernel_rope *r, void *y,
                 float *stats, const void *x)
{
    struct rope p = {.r = r, .y = y, .x = x, .stats = stats};
    int64_t width = (int64_t)(r->heads + 2 * r->kv_heads) * r->size;
    cpu__split(c, rope_rows(r), rows_grain(width), rope_part, &p);
}

/* The gradient before the rotation, of both halves at j. */
INLINE void turn_back(const struct rope *p, vf d[2], int64_t row, int64_t at, int64_t j,
                      int64_t n, enum kernel_type type)
{
    const struct kernel_rope *r = p->r;
    int64_t half = r->size / 2, angle = row % r->length * half + j;
    vf cosine = vget(r->cosine, angle, n, KERNEL_F32);
    vf sine = vget(r->sine, angle, n, KERNEL_F32);
    vf low = vget(p->dy, at + j, n, type), high = vget(p->dy, at + half + j, n, type);
    d[0] = low * cosine + high * sine;
    d[1] = high * cosine - low * sine;
}

/* The mean of gradient * weight * normalised x; adds gradient * normalised x to sums.
 */
INLINE float rope_along(const struct rope *p, const void *weight, int64_t row,
                        int64_t at, float inverse, float *sums, enum kernel_type type)
{
    int64_t half = p->r->size / 2;
    vf along = {0}, d[2];
    EACH(j, n, 0, half) {
        turn_back(p, d, row, at, j, n, type);
        for (int64_t k = 0; k < 2; k++) {
            int64_t i = k * half + j;
            vf part = d[k] * vget(p->x, at + i, n, type) * inverse;
            along = vfma(part, vget(weight, i, n, type), along);
            vput(sums, i, n, KERNEL_F32, vget(sums, i, n, KERNEL_F32) + part);
        }
    }
    return vsum(along) / (float)p->r->size;
}

INLINE void rope_back_head(const struct rope *p, int64_t row, int64_t h, float *sums,
                           enum kernel_type type)
{
    const struct kernel_rope *r = p->r;
    const void *weight = h < r->heads ? r->q_weight : r->k_weight;
    int64_t half = r->size / 2, at = head_at(r, row, h);
    float inverse = 1, along = 0;
    if (weight != NULL) {
        inverse = p->known[row * (r->heads + r->kv_heads) + h];
        along = rope_along(p, weight, row, at, inverse,
                           sums + (h < r->heads ? 0 : r->size), type);
    }
    EACH(j, n, 0, half) {
        vf d[2];
        turn_back(p, d, row, at, j, n, type);
        for (int64_t k = 0; k < 2; k++) {
            int64_t i = k * half + j;
            if (weight != NULL) {
                vf hat = vget(p->x, at + i, n, type) * inverse;
                d[k] = (d[k] * vget(weight, i, n, type) - hat * along) * inverse;
            }
            vput(p->y, at + i, n, type, d[k]);
        }
    }
}

INLINE void rope_back_row(const struct rope *p, int64_t row, float *sums,
                          enum kernel_type type)
{
    for (int64_t h = 0; h < p->r->heads + p->r->kv_heads; h++)
        rope_back_head(p, row, h, sums, type);
    rope_copy(p, p->dy, row, type);
}

static void rope_back_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct rope *p = arg;
    float *sums = NULL;
    (void)thread;
    if (p->r->q_weight != NULL) {
        sums = p->sums + from / block_rows(rope_rows(p->r)) * 2 * p->r->size;
        memset(sums, 0, (size_t)(2 * p->r->size) * sizeof(*sums));
    }
    for (int64_t row = from; row < to; row++)
        BY_TYPE(p->r->type, rope_back_row, p, row, sums);
}

static void rope_back(struct kernel_context *c, const struct kernel_rope *r, void *dx,
                      float *dq_weight, float *dk_weight, const void *dy, const void *x,
                      const float *stats, void *scratch)
{
    struct rope p = {
        .r = r, .y = dx, .x = x, .dy = dy, .known = stats, .sums = scratch};
    cpu__split(c, rope_rows(r), block_rows(rope_rows(r)), rope_back_part, &p);
    if (r->q_weight == NULL)
        return;
    int64_t blocks = block_count(rope_rows(r));
    add_blocks(dq_weight, scratch, blocks, 2 * r->size, 0, r->size);
    add_blocks(dk_weight, scratch, blocks, 2 * r->size, r->size, r->size);
}

static size_t rope_scratch(struct kernel_context *c, const struct kernel_rope *r)
{
    (void)c;
    return r->q_weight == NULL
               ? 0
               : (size_t)(block_count(rope_rows(r)) * 2 * r->size) * sizeof(float);
}

void FAST(fill_layers)(struct kernels *k)
{
    k->norm = norm;
    k->norm_back = norm_back;
    k->norm_scratch = norm_scratch;
    k->embed = embed;
    k->embed_back = embed_back;
    k->rope = rope;
    k->rope_back = rope_back;
    k->rope_scratch = rope_scratch;
}
