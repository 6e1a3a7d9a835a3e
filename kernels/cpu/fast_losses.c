/* SPDX-License-Identifier: Apache-2.0
 *
 * Losses, sums over all, and the optimizer.
 */
#include "kernels/cpu/fast.h"
#include "kernels/cpu/fast_math.h"

/* --- cross-entropy: a row at a time --- */

struct entropy {
    const struct kernel_loss *l;
    float *losses, *correct;
    void *logits;
};

/* The largest logit of a row; NaNs are passed over. */
INLINE float row_most(const struct kernel_loss *l, const void *logits, int64_t at,
                      enum kernel_type type)
{
    vf most = vsplat(-INFINITY);
    EACH(j, n, 0, l->classes) {
        vf x = vget(logits, at + j, n, type);
        most = vmax(n < LANES ? vlanes(x, n, -INFINITY) : x, most);
    }
    return vmost(most);
}

/* The sum of e^(logit - most); a NaN where one is. With keep these replace the logits.
 */
INLINE float row_sum(const struct kernel_loss *l, void *logits, int64_t at, float most,
                     bool keep, enum kernel_type type)
{
    vf sum = {0};
    EACH(j, n, 0, l->classes) {
        vf e = vexp(vget(logits, at + j, n, type) - most);
        sum += n < LANES ? vlanes(e, n, 0) : e;
        if (keep)
            vput(logits, at + j, n, type, e);
    }
    return vsum(sum);
}

/* kept: what is in logits are e^(logit - most) already. */
INLINE void row_gradient(const struct kernel_loss *l, void *logits, int64_t row,
                         float most, float factor, float weight, bool kept,
                         enum kernel_type type)
{
    int64_t at = row * l->stride, target = l->targets[row];
    float own = 0;
    EACH(j, n, 0, l->classes) {
        vf x = vget(logits, at + j, n, type);
        vf d = target < 0 ? vsplat(0) : (kept ? x : vexp(x - most)) * factor;
        if (target >= j && target < j + LANES)
            own = d[target - j] - weight;
        vput(logits, at + j, n, type, d);
    }
    if (target >= 0)
        vput(logits, at + target, 1, type, vsplat(own));
    EACH(j, n, l->classes, l->stride)
        vput(logits, at + j, n, type, vsplat(0));
}

/* Whether a logit before the target is as large as it. */
INLINE bool earlier(const void *logits, int64_t at, int32_t target, float own,
                    enum kernel_type type)
{
    for (int64_t j = 0; j < target; j += LANES) {
        int64_t n = target - j < LANES ? target - j : LANES;
        if (vmost(vlanes(vget(logits, at + j, n, type), n, -INFINITY)) == own)
            return true;
    }
    return false;
}

INLINE void entropy_row(const struct entropy *e, int64_t i, enum kernel_type type)
{
    const struct kernel_loss *l = e->l;
    const bool keep = type == KERNEL_F32 && l->gradient;
    int32_t target = l->targets[i];
    float loss = 0, weight = 0, most = 0, sum = 1;
    bool right = false;
    if (target >= 0) {
        int64_t at = i * l->stride;
        weight = l->class_weights != NULL ? l->class_weights[target] : 1;
        most = row_most(l, e->logits, at, type);
        float own = vget(e->logits, at + target, 1, type)[0];
        if (e->correct != NULL && own == most)
            right = !earlier(e->logits, at, target, own, type);
        sum = row_sum(l, e->logits, at, most, keep, type);
        loss = weight * (logf(sum) + (most - own));
    }
    e->losses[i] = loss;
    if (e->correct != NULL)
        e->correct[i] = right && sum == sum;
    if (l->gradient)
        row_gradient(l, e->logits, i, most, weight * l->scale / sum, weight * l->scale,
                     keep, type);
}

static void entropy_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct entropy *e = arg;
    (void)thread;
    for (int64_t i = from; i < to; i++)
        BY_TYPE(e->l->type, entropy_row, e, i);
}

static void cross_entropy(struct kernel_context *c, const struct kernel_loss *l,
                          float *losses, float *correct, void *logits)
{
    struct entropy e = {l, losses, correct, logits};
    cpu__split(c, l->rows, rows_grain(l->stride * 4), entropy_part, &e);
}

/* --- squared error --- */

struct squared {
    float *losses;
    void *y;
    const float *target;
    int64_t width;
    float scale;
    bool gradient;
    enum kernel_type type;
};

INLINE void squared_row(const struct squared *s, int64_t i, enum kernel_type type)
{
    vf sum = {0};
    EACH(j, n, i * s->width, (i + 1) * s->width) {
        vf d = vget(s->y, j, n, type) - vget(s->target, j, n, KERNEL_F32);
        sum = vfma(d, d, sum);
        if (s->gradient)
            vput(s->y, j, n, type, d * (2 * s->scale));
    }
    s->losses[i] = vsum(sum);
}

static void squared_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct squared *s = arg;
    (void)thread;
    for (int64_t i = from; i < to; i++)
        BY_TYPE(s->type, squared_row, s, i);
}

static void squared_error(struct kernel_context *c, float *losses, void *y,
                          const float *target, int64_t rows, int64_t width, float scale,
                          bool gradient, enum kernel_type type)
{
    struct squared s = {losses, y, target, width, scale, gradient, type};
    cpu__split(c, rows, rows_grain(width), squared_part, &s);
}

/* --- sums over all: of blocks first, then of these in order --- */

#define BLOCK 8192
#define BLOCKS 256 /* whose sums are kept at a time */

struct sums {
    const float *x;
    bool squares;
    float block[BLOCKS];
};

INLINE float sum_block(const float *x, int64_t count, bool squares)
{
    vf sum[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            vf y = vload(x + i + v * LANES);
            sum[v] = squares ? vfma(y, y, sum[v]) : sum[v] + y;
        }
    EACH(j, n, i, count) {
        vf y = vget(x, j, n, KERNEL_F32);
        sum[0] = squares ? vfma(y, y, sum[0]) : sum[0] + y;
    }
    return vsum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

static void sums_part(void *arg, int64_t from, int64_t to, int thread)
{
    struct sums *s = arg;
    (void)thread;
    s->block[from / BLOCK] = s->squares ? sum_block(s->x + from, to - from, true)
                                        : sum_block(s->x + from, to - from, false);
}

static double sum_all(struct kernel_context *c, const float *x, int64_t n, bool squares)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i += BLOCK * BLOCKS) {
        struct sums s = {.x = x + i, .squares = squares};
        int64_t count = n - i < BLOCK * BLOCKS ? n - i : BLOCK * BLOCKS;
        cpu__split(c, count, BLOCK, sums_part, &s);
        for (int64_t b = 0; b * BLOCK < count; b++)
            sum += (double)s.block[b];
    }
    return sum;
}

static void sum_squares(struct kernel_context *c, float *into, const float *x,
                        int64_t n, bool accumulate)
{
    double old = accumulate ? (double)*into : 0;
    *into = (float)(old + sum_all(c, x, n, true));
}

static void sum(struct kernel_context *c, float *into, const float *x, int64_t n)
{
    *into = (float)sum_all(c, x, n, false);
}

/* --- the optimizer --- */

struct update {
    const struct kernel_update *u;
    float scale, keep; /* of the gradient; 1 - rate * decay */
    float beta1, rest1, beta2, rest2;
    float rate, epsilon; /* AdamW: with the corrections in */
};

INLINE vf adamw_step(const struct update *p, vf g, int64_t i, int64_t n)
{
    const struct kernel_update *u = p->u;
    vf m = vfma(vget(u->m, i, n, KERNEL_F32), vsplat(p->beta1), g * p->rest1);
    vf v = vfma(vget(u->v, i, n, KERNEL_F32), vsplat(p->beta2), g * g * p->rest2);
    vput(u->m, i, n, KERNEL_F32, m);
    vput(u->v, i, n, KERNEL_F32, v);
    return m / (vroot(v) + p->epsilon);
}

INLINE vf lion_step(const struct update *p, vf g, int64_t i, int64_t n)
{
    vf m = vget(p->u->m, i, n, KERNEL_F32);
    vf mixed = vfma(m, vsplat(p->beta1), g * p->rest1);
    vput(p->u->m, i, n, KERNEL_F32, vfma(m, vsplat(p->beta2), g * p->rest2));
    vf sign = vpick(mixed > 0.0f, vsplat(1), vpick(mixed < 0.0f, vsplat(-1), mixed));
    return sign; /* zero and NaN are themselves */
}

INLINE vf sgd_step(const struct update *p, vf g, int64_t i, int64_t n)
{
    if (p->u->m == NULL)
        return g;
    vf m = vfma(vget(p->u->m, i, n, KERNEL_F32), vsplat(p->beta1), g);
    vput(p->u->m, i, n, KERNEL_F32, m);
    return m;
}

INLINE void update_range(const struct update *p, int64_t from, int64_t to,
                         enum kernel_optimizer kind)
{
    const struct kernel_update *u = p->u;
    EACH(i, n, from, to) {
        vf g = vget(u->grad, i, n, KERNEL_F32) * p->scale;
        vf step = kind == KERNEL_ADAMW  ? adamw_step(p, g, i, n)
                  : kind == KERNEL_LION ? lion_step(p, g, i, n)
                                        : sgd_step(p, g, i, n);
        vf w = vget(u->weight, i, n, KERNEL_F32) * p->keep;
        w = vfma(step, vsplat(-p->rate), w);
        vput(u->weight, i, n, KERNEL_F32, w);
        if (u->copy != NULL)
            vput(u->copy, i, n, KERNEL_BF16, w);
    }
}

static void update_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct update *p = arg;
    (void)thread;
    if (p->u->kind == KERNEL_ADAMW)
        update_range(p, from, to, KERNEL_ADAMW);
    else if (p->u->kind == KERNEL_LION)
        update_range(p, from, to, KERNEL_LION);
    else
        update_range(p, from, to, KERNEL_SGD);
}

static void update(struct kernel_context *c, const struct kernel_update *u)
{
    struct update p = {.u = u, .scale = u->scale != NULL ? *u->scale : 1};
    p.keep = (float)(1 - (double)u->rate * (double)u->decay);
    p.beta1 = u->beta1;
    p.beta2 = u->beta2;
    p.rest1 = (float)(1 - (double)u->beta1);
    p.rest2 = (float)(1 - (double)u->beta2);
    p.rate = u->rate;
    if (u->kind == KERNEL_ADAMW) {
        /* m' / (sqrt(v') + e) = (m / first) / (sqrt(v) / root + e). */
        double first = 1 - pow((double)u->beta1, (double)u->step);
        double root = sqrt(1 - pow((double)u->beta2, (double)u->step));
        p.rate = (float)((double)u->rate / first * root);
        p.epsilon = (float)((double)u->epsilon * root);
    }
    cpu__split(c, u->count, GRAIN, update_part, &p);
}

void FAST(fill_losses)(struct kernels *k)
{
    k->cross_entropy = cross_entropy;
    k->squared_error = squared_error;
    k->sum_squares = sum_squares;
    k->sum = sum;
    k->update = update;
}
