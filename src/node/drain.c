/* SPDX-License-Identifier: Apache-2.0
 *
 * A node that is emptied, by the head's word or since it was told to end: the head
 * gives it nothing new and recalls what it has; here we only look whether something is
 * left.
 */
#include "config.h"
#include "base/clock.h"
#include "node/inside.h"

#define LOOK_MS 20

/* Actors that cannot move end with the node: they are not waited for. */
static void count_lease(void *ctx, void *item)
{
    const struct node__lease *l = item;
    *(size_t *)ctx += !l->actor;
}

static bool is_busy(struct node *n)
{
    size_t count = 0;
    rwf_ids_each(&n->leases, count_lease, &count);
    return count > 0 || n->options.far->busy(n);
}

static void finish(struct node *n)
{
    void (*done)(void *ctx) = n->drained;
    n->drained = NULL;
    uv_timer_stop(&n->drain_timer);
    if (done)
        done(n->drained_ctx);
}

static void on_look(uv_timer_t *t)
{
    struct node *n = t->data;
    if (!is_busy(n) || rwf_clock_mono() >= n->drain_until)
        finish(n);
}

void node_set_draining(struct node *n, bool draining, int64_t timeout)
{
    Wire__NodeDrain d = WIRE__NODE_DRAIN__INIT;
    n->draining = draining;
    d.name = n->name;
    d.timeout = timeout;
    d.undo = !draining;
    node__head_send(n, WIRE_NODE_DRAIN, &d.base);
}

void node_drain(struct node *n, int64_t timeout, void (*done)(void *ctx), void *ctx)
{
    n->drained = done;
    n->drained_ctx = ctx;
    if (!is_busy(n) || timeout <= 0) {
        finish(n);
        return;
    }
    n->drain_until = rwf_clock_mono() + timeout;
    node_set_draining(n, true, timeout);
    uv_update_time(n->loop);
    uv_timer_start(&n->drain_timer, on_look, LOOK_MS, LOOK_MS);
}

void node_on_end(struct node *n, void (*fn)(void *ctx), void *ctx)
{
    n->end = fn;
    n->end_ctx = ctx;
}

void node__on_drain(struct node *n, const Wire__NodeDrain *m)
{
    n->draining = !m->undo || n->drained;
    if (m->end && n->end)
        n->end(n->end_ctx);
}
