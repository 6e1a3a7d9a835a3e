/* SPDX-License-Identifier: Apache-2.0
 *
 * A step: gradients leave as soon as they are whole, then the weights are updated.
 *
 * Ranks must issue the same operations in the same order, also a rank that had no rows for
 * its last pass. So gradients go strictly from the last unit to the first, in buckets that
 * only the sizes of the units decide, and what a pass left out is sent at the end.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "train/params_impl.h"

enum { BUCKET = 1 << 20 }; /* elements that are worth an operation */

/* Between machines gradients travel long, and go beside the backward pass. GPUs of one machine
 * exchange them faster than they lose time when NCCL's kernels take multiprocessors from others
 * that fill the GPU: after the pass two H200s train GPT-2 124M 1.95 times as fast as one,
 * beside it 1.92. */
static int64_t bucket_size(const struct params *p)
{
    const struct comm *c = p->o.comm;
    return !device_is_host(p->o.device) && c->local_size == c->size ? INT64_MAX : BUCKET;
}

static bool has_decay(const struct params *p, const struct model_param *m)
{
    return m->decay && p->o.optim.decay > 0;
}

/* --- spans --- */

static bool follows(const struct params_span *a, const struct params_span *b)
{
    int64_t n = a->count;
    return a->decay == b->decay && a->master + n == b->master && a->grad + n == b->grad &&
           (a->m == NULL || a->m + n == b->m) && (a->v == NULL || a->v + n == b->v) &&
           (a->copy == NULL || (char *)a->copy + n * 2 == (char *)b->copy);
}

/* Elements [from, to) of unit u, as far as this rank updates them. */
static void add_span(struct params *p, struct params_unit *u, int64_t from, int64_t to,
                     bool decay)
{
    from = from > u->first ? from - u->first : 0;
    to = to - u->first < u->part ? to - u->first : u->part;
    if (from >= to)
        return;
    struct params_span s = {
        .master = u->master + from,
        .grad = u->grad + from,
        .m = u->m != NULL ? u->m + from : NULL,
        .v = u->v != NULL ? u->v + from : NULL,
        .copy = params__has_master(p) ? u->own + from * 2 : NULL,
        .count = to - from,
        .decay = decay ? p->o.optim.decay : 0,
    };
    struct params_span *last = p->span_count > 0 ? &p->spans[p->span_count - 1] : NULL;
    if (last != NULL && follows(last, &s))
        last->count += s.count;
    else
        *RWF_PUSH(p->spans, p->span_count, p->span_cap) = s;
}

/* Each parameter with the padding after it, up to the next one. */
void params__make_spans(struct params *p)
{
    const struct model_layout *l = p->o.layout;
    for (size_t i = 0; i < l->param_count; i++) {
        const struct model_param *m = &l->params[i];
        struct params_unit *u = &p->units[m->unit];
        bool last = i + 1 == l->param_count || l->params[i + 1].unit != m->unit;
        if (!u->frozen)
            add_span(p, u, m->offset, last ? u->count : l->params[i + 1].offset,
                     has_decay(p, m));
    }
}

/* --- units that are whole on every rank --- */

int params__arrive(struct params *p, struct rwf_err *err)
{
    if (!p->gathering)
        return 0;
    p->gathering = false;
    return p->o.comm->ops->wait(p->o.comm->ctx, err);
}

/* The other ranks may read this one's gradients until the weights have come. */
static int begin_gradients(struct params *p, struct rwf_err *err)
{
    int rc = params__arrive(p, err);
    if (p->stale && p->grads_count > 0)
        p->k->zero(p->c, p->grads_base, (size_t)p->grads_count * sizeof(float));
    p->stale = false;
    return rc;
}

static const void *whole_weights(void *ctx, int unit)
{
    struct params *p = ctx;
    params__alive(p); /* a step of a large model on CPUs takes long */
    begin_gradients(p, NULL);
    return p->units[unit].weights;
}

static void whole_release(void *ctx, int unit)
{
    (void)ctx, (void)unit;
}

static float *whole_grads(void *ctx, int unit)
{
    struct params *p = ctx;
    begin_gradients(p, NULL);
    return p->units[unit].grads;
}

/* Where the bucket that ends with unit `last` begins. */
static int bucket_start(const struct params *p, int last)
{
    int64_t sum = 0, most = bucket_size(p);
    int first = last;
    for (int i = last; i >= 0 && sum < most; i--) {
        if (p->units[i].frozen)
            continue;
        sum += p->units[i].count;
        first = i;
    }
    return first;
}

static void send_bucket(struct params *p, int first, int last)
{
    struct comm *c = p->o.comm;
    float *from = NULL;
    int64_t count = 0;
    for (int i = last; i >= first; i--) {
        const struct params_unit *u = &p->units[i];
        if (u->frozen)
            continue;
        if (p->o.shard == PARAMS_OPTIMIZER)
            c->ops->scatter(c->ctx, u->grad, u->grads, u->part);
        from = u->grads;
        count += u->count;
    }
    if (p->o.shard == PARAMS_NONE && count > 0)
        c->ops->sum(c->ctx, from, from, count);
}

/* Sends what is next in turn; all: also what is not done. */
static void send_ready(struct params *p, bool all)
{
    while (p->cursor >= 0) {
        int first = bucket_start(p, p->cursor);
        for (int i = first; i <= p->cursor && !all; i++)
            if (!p->done[i] && !p->units[i].frozen)
                return;
        send_bucket(p, first, p->cursor);
        p->cursor = first - 1;
    }
}

static void whole_grads_done(void *ctx, int unit)
{
    struct params *p = ctx;
    if (p->pass != PARAMS_LAST || !params__divided(p))
        return;
    p->done[unit] = true;
    send_ready(p, false);
}

const struct model_store params__whole_store = {
    .weights = whole_weights,
    .release = whole_release,
    .grads = whole_grads,
    .grads_done = whole_grads_done,
};

/* --- the step --- */

void params_begin_step(struct params *p)
{
    for (size_t i = 0; i < p->unit_count; i++)
        p->done[i] = false;
    p->cursor = (int)p->unit_count - 1;
    p->stale = true;
    if (p->o.shard == PARAMS_FULL)
        begin_gradients(p, NULL);
    if (p->o.extra > 0)
        p->k->zero(p->c, p->extra, (size_t)p->o.extra * sizeof(float));
}

void params_begin_pass(struct params *p, int pass)
{
    p->pass = pass;
}

/* The squared length of the gradient, over all parts on all ranks. */
static int measure(struct params *p, struct rwf_err *err)
{
    struct comm *c = p->o.comm;
    if (p->span_count == 0)
        p->k->zero(p->c, p->squares, sizeof(float));
    for (size_t i = 0; i < p->span_count; i++) {
        const struct params_span *first = &p->spans[i];
        int64_t count = first->count;
        bool begun = i > 0;
        while (i + 1 < p->span_count && p->spans[i + 1].grad == first->grad + count)
            count += p->spans[++i].count;
        p->k->sum_squares(p->c, p->squares, first->grad, count, begun);
    }
    if (p->o.shard != PARAMS_NONE) {
        c->ops->sum(c->ctx, p->squares, p->squares, 1);
        if (c->ops->wait(c->ctx, err) != 0)
            return -1;
    }
    p->k->clip(p->c, p->scale, p->squares, (float)p->o.clip);
    return 0;
}

static void update(struct params *p, double rate, int64_t step)
{
    const struct optim *o = &p->o.optim;
    for (size_t i = 0; i < p->span_count; i++) {
        const struct params_span *s = &p->spans[i];
        struct kernel_update u = {
            .kind = o->kind, .count = s->count, .weight = s->master, .copy = s->copy,
            .grad = s->grad, .m = s->m, .v = s->v, .scale = p->o.clip > 0 ? p->scale : NULL,
            .rate = (float)rate, .beta1 = o->beta1, .beta2 = o->beta2,
            .epsilon = o->epsilon, .decay = s->decay, .step = step,
        };
        p->k->update(p->c, &u);
    }
}

/* The next pass waits for it, not this step. */
static void gather_weights(struct params *p)
{
    struct comm *c = p->o.comm;
    for (size_t i = 0; i < p->unit_count; i++) {
        struct params_unit *u = &p->units[i];
        if (!u->frozen)
            c->ops->gather(c->ctx, u->weights, u->own, u->part * (int64_t)params__size(p));
    }
    p->gathering = true;
}

int params_finish_step(struct params *p, double rate, int64_t step, struct rwf_err *err)
{
    struct comm *c = p->o.comm;
    if (begin_gradients(p, err) != 0)
        return -1;
    if (p->o.shard == PARAMS_FULL)
        params__full_finish(p);
    else if (params__divided(p))
        send_ready(p, true);
    if (params__divided(p) && p->o.extra > 0)
        c->ops->sum(c->ctx, p->extra, p->extra, p->o.extra);
    if (params__divided(p) && c->ops->wait(c->ctx, err) != 0)
        return -1;
    if (p->o.clip > 0 && measure(p, err) != 0)
        return -1;
    update(p, rate, step);
    if (p->o.shard == PARAMS_FULL)
        params__full_forget(p);
    else if (p->o.shard == PARAMS_OPTIMIZER)
        gather_weights(p);
    return 0;
}

/* --- looking for what went wrong --- */

/* The sum of squares of x as a float; not finite when any of x is not (or all are huge). */
static double squares_of(struct params *p, const float *x, int64_t count)
{
    float sum = 0;
    struct rwf_err err = RWF_ERR_INIT;
    p->k->sum_squares(p->c, p->squares, x, count, false);
    p->k->download(p->c, &sum, p->squares, sizeof(sum));
    if (device_sync(p->o.device, &err) != 0)
        return NAN;
    return (double)sum;
}

const char *params_not_finite(struct params *p)
{
    const struct model_unit *units = p->o.layout->units;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < p->unit_count; i++) {
            const struct params_unit *u = &p->units[i];
            const float *x = pass == 0 ? u->master : u->grad;
            if (u->frozen || isfinite(squares_of(p, x, u->part)))
                continue;
            snprintf(p->finding, sizeof(p->finding), "the %s of %s",
                     pass == 0 ? "weights" : "gradients", units[i].name);
            return p->finding;
        }
    return NULL;
}
