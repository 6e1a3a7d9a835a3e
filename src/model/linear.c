/* SPDX-License-Identifier: Apache-2.0
 *
 * One linear map: y = x W^T + b, and beside it, where there is an adapter,
 * y += scale (x A^T) B^T.
 */
#include "config.h"

#include "model/inside.h"

static const void *at(const void *base, int64_t elements, enum kernel_type type)
{
    return (const char *)base + elements * (int64_t)kernel_size(type);
}

static void *at_mut(void *base, int64_t elements, enum kernel_type type)
{
    return (char *)base + elements * (int64_t)kernel_size(type);
}

void model__linear_finish(struct linear *l, int64_t in, int64_t stride)
{
    l->in = in;
    l->out = 0;
    l->fused = true;
    for (int i = 0; i < l->parts; i++) {
        const struct linear_part *p = &l->part[i];
        rwf_assert(l->parts == 1 || (!l->inputs_first && p->bias < 0));
        if (p->weight != l->part[0].weight + l->out * in)
            l->fused = false;
        l->out += p->out;
    }
    l->stride = stride > 0 ? stride : l->out;
}

bool model__linear_adapted(const struct linear *l)
{
    for (int i = 0; i < l->parts; i++)
        if (l->part[i].a >= 0)
            return true;
    return false;
}

/* The products that are done: all parts in one, or each. */
static int product_count(const struct linear *l)
{
    return l->fused ? 1 : l->parts;
}

static int64_t product_out(const struct linear *l, int i)
{
    return l->fused ? l->out : l->part[i].out;
}

static void run(const struct linear_run *r, struct kernel_matmul *m)
{
    m->type = r->type;
    if (m->alpha == 0)
        m->alpha = 1;
    r->device->k->matmul(r->device->c, m);
}

/* y += scale (x A^T) B^T; x A^T stays in middle. */
static void adapter_forward(const struct linear *l, const struct linear_run *r, void *y,
                            const void *x)
{
    int64_t column = 0, used = 0;
    for (int i = 0; i < l->parts; column += l->part[i++].out) {
        const struct linear_part *p = &l->part[i];
        if (p->a < 0)
            continue;
        void *middle = at_mut(r->middle, used, r->type);
        used += r->n * r->rank;
        run(r, &(struct kernel_matmul){.m = r->n,
                                       .n = r->rank,
                                       .k = l->in,
                                       .tb = true,
                                       .a = x,
                                       .b = at(r->adapter, p->a, r->type),
                                       .c = middle,
                                       .c_type = r->type});
        run(r, &(struct kernel_matmul){.m = r->n,
                                       .n = p->out,
                                       .k = r->rank,
                                       .tb = true,
                                       .a = middle,
                                       .b = at(r->adapter, p->b, r->type),
                                       .c = at_mut(y, column, r->type),
                                       .ldc = l->stride,
                                       .c_type = r->type,
                                       .alpha = r->scale,
                                       .accumulate = true});
    }
}

void model__linear_forward(const struct linear *l, const struct linear_run *r, void *y,
                           const void *x, enum kernel_activation act, void *before)
{
    bool adapted = r->adapter != NULL && model__linear_adapted(l);
    bool late = adapted && act != KERNEL_LINEAR;
    void *to = late ? before : y;
    int64_t column = 0;
    for (int i = 0; i < product_count(l); column += l->part[i++].out) {
        const struct linear_part *p = &l->part[i];
        run(r, &(struct kernel_matmul){
                   .m = r->n,
                   .n = product_out(l, i),
                   .k = l->in,
                   .tb = !l->inputs_first,
                   .a = x,
                   .b = at(r->weights, p->weight, r->type),
                   .c = at_mut(to, column, r->type),
                   .ldc = l->stride,
                   .c_type = r->type,
                   .bias = p->bias >= 0 ? at(r->weights, p->bias, r->type) : NULL,
                   .act = late ? KERNEL_LINEAR : act,
                   .before = late || act == KERNEL_LINEAR ? NULL : before});
    }
    if (adapted)
        adapter_forward(l, r, to, x);
    if (late)
        r->device->k->activate(r->device->c, y, before, r->n * l->stride, act, r->type);
}

/* dB += scale dy^T middle; dmiddle = scale dy B; dA += dmiddle^T x. */
static void adapter_grads(const struct linear *l, const struct linear_run *r, int i,
                          const void *dy, const void *middle, const void *x)
{
    const struct linear_part *p = &l->part[i];
    run(r, &(struct kernel_matmul){.m = p->out,
                                   .n = r->rank,
                                   .k = r->n,
                                   .ta = true,
                                   .a = dy,
                                   .lda = l->stride,
                                   .b = middle,
                                   .c = r->adapter_grads + p->b,
                                   .c_type = KERNEL_F32,
                                   .alpha = r->scale,
                                   .accumulate = true});
    run(r, &(struct kernel_matmul){.m = r->n,
                                   .n = r->rank,
                                   .k = p->out,
                                   .a = dy,
                                   .lda = l->stride,
                                   .b = at(r->adapter, p->b, r->type),
                                   .c = r->dmiddle,
                                   .c_type = r->type,
                                   .alpha = r->scale});
    run(r, &(struct kernel_matmul){.m = r->rank,
                                   .n = l->in,
                                   .k = r->n,
                                   .ta = true,
                                   .a = r->dmiddle,
                                   .b = x,
                                   .c = r->adapter_grads + p->a,
                                   .c_type = KERNEL_F32,
                                   .accumulate = true});
}

static void adapter_backward(const struct linear *l, const struct linear_run *r,
                             void *dx, const void *dy, const void *x)
{
    int64_t column = 0, used = 0;
    for (int i = 0; i < l->parts; column += l->part[i++].out) {
        if (l->part[i].a < 0)
            continue;
        adapter_grads(l, r, i, at(dy, column, r->type), at(r->middle, used, r->type),
                      x);
        used += r->n * r->rank;
        if (dx != NULL)
            run(r, &(struct kernel_matmul){.m = r->n,
                                           .n = l->in,
                                           .k = r->rank,
                                           .a = r->dmiddle,
                                           .b = at(r->adapter, l->part[i].a, r->type),
                                           .c = dx,
                                           .c_type = r->type,
                                           .accumulate = true});
    }
}

/* dW += dy^T x (x^T dy where inputs are first), db += the sums of dy. */
static void weight_grads(const struct linear *l, const struct linear_run *r,
                         const void *dy, const void *x)
{
    int64_t column = 0;
    for (int i = 0; i < product_count(l); column += l->part[i++].out) {
        const struct linear_part *p = &l->part[i];
        const void *dpart = at(dy, column, r->type);
        struct kernel_matmul m = {.ta = true,
                                  .k = r->n,
                                  .c = r->grads + p->weight,
                                  .c_type = KERNEL_F32,
                                  .accumulate = true};
        if (l->inputs_first) {
            m.m = l->in, m.n = product_out(l, i);
            m.a = x, m.b = dpart, m.ldb = l->stride;
        } else {
            m.m = product_out(l, i), m.n = l->in;
            m.a = dpart, m.lda = l->stride, m.b = x;
        }
        run(r, &m);
    }
    /* Only a single part has a bias; columns beyond out are zero and end in padding. */
    if (l->part[0].bias >= 0)
        r->device->k->sum_rows(r->device->c, r->grads + l->part[0].bias, dy, r->n,
                               l->stride, r->type, true);
}

void model__linear_backward(const struct linear *l, const struct linear_run *r,
                            void *dx, const void *dy, const void *x)
{
    int64_t column = 0;
    for (int i = 0; dx != NULL && i < product_count(l); column += l->part[i++].out)
        run(r, &(struct kernel_matmul){.m = r->n,
                                       .n = l->in,
                                       .k = product_out(l, i),
                                       .tb = l->inputs_first,
                                       .a = at(dy, column, r->type),
                                       .lda = l->stride,
                                       .b = at(r->weights, l->part[i].weight, r->type),
                                       .c = dx,
                                       .c_type = r->type,
                                       .accumulate = i > 0});
    if (r->adapter != NULL)
        adapter_backward(l, r, dx, dy, x);
    if (r->grads != NULL)
        weight_grads(l, r, dy, x);
}
