/* SPDX-License-Identifier: Apache-2.0
 *
 * shard: full. A unit's weights are gathered into a buffer when the model asks for them, and
 * the next unit's (in the direction that the pass goes) while it computes. Its gradients are
 * made in another buffer and scattered when they are whole; this rank's part is added to the
 * step's gradient. A buffer that was gathered stays good until the weights change.
 *
 * There are three buffers of each kind: the largest holds the embedding or the head (which
 * tied models use at both ends of a pass), the others serve the layers in turn. A model that
 * holds more units at once gets more buffers.
 */
#include "config.h"

#include <stdlib.h>

#include "base/mem.h"
#include "train/params_impl.h"

/* The largest unit, and twice the third largest (or the smallest there is). */
void params__full_rows(struct params *p, int64_t capacities[3])
{
    int64_t top[3] = { 0 };
    for (size_t i = 0; i < p->unit_count; i++) {
        int64_t n = p->units[i].count;
        for (int k = 0; k < 3; k++)
            if (n > top[k]) {
                int64_t pushed = top[k];
                top[k] = n;
                n = pushed;
            }
    }
    capacities[0] = top[0];
    capacities[1] = top[2] > 0 ? top[2] : top[1];
    capacities[2] = capacities[1];
}

void params__full_destroy(struct params *p)
{
    struct params_slots *both[] = { &p->weights, &p->grads };
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; k < both[i]->count; k++)
            if (both[i]->slots[k].own_block)
                p->k->free(p->c, both[i]->slots[k].memory);
        free(both[i]->slots);
    }
}

/* --- buffers --- */

static struct params_slot *find(struct params_slots *s, int unit)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->slots[i].unit == unit)
            return &s->slots[i];
    return NULL;
}

static bool better(const struct params_slot *a, const struct params_slot *b)
{
    return b == NULL || a->capacity < b->capacity ||
           (a->capacity == b->capacity && a->used < b->used);
}

/* The smallest idle buffer that is large enough, of these the one used longest ago. */
static struct params_slot *idle_slot(struct params_slots *s, int64_t count)
{
    struct params_slot *best = NULL;
    for (size_t i = 0; i < s->count; i++) {
        struct params_slot *slot = &s->slots[i];
        if (slot->users == 0 && !slot->moving && slot->capacity >= count &&
            better(slot, best))
            best = slot;
    }
    return best;
}

static struct params_slot *new_slot(struct params *p, struct params_slots *s, int64_t count,
                                    size_t size)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct params_slot slot = { .capacity = count, .unit = -1, .own_block = true };
    slot.memory = device_alloc(p->o.device, (size_t)count * size, "one more unit", &err);
    rwf_assert(slot.memory != NULL);
    struct params_slot *ret = RWF_PUSH(s->slots, s->count, s->cap);
    *ret = slot;
    return ret;
}

static void take(struct params *p, struct params_slot *slot, int unit)
{
    slot->unit = unit;
    slot->used = ++p->clock;
}

/* --- weights --- */

static void gather(struct params *p, struct params_slot *slot, int unit)
{
    struct params_unit *u = &p->units[unit];
    struct comm *c = p->o.comm;
    take(p, slot, unit);
    slot->moving = true;
    c->ops->gather(c->ctx, slot->memory, u->own, u->part * (int64_t)params__size(p));
}

/* Adds what was scattered to the step's gradients; the buffers are idle again. Everything
 * that was under way has come. */
static void arrived(struct params *p)
{
    for (size_t i = 0; i < p->weights.count; i++)
        p->weights.slots[i].moving = false;
    for (size_t i = 0; i < p->grads.count; i++) {
        struct params_slot *slot = &p->grads.slots[i];
        if (!slot->moving)
            continue;
        struct params_unit *u = &p->units[slot->unit];
        p->k->add(p->c, u->grad, (float *)slot->memory + u->first, 1, u->part, KERNEL_F32);
        slot->moving = false;
        slot->unit = -1;
    }
}

static void wait(struct params *p)
{
    p->o.comm->ops->wait(p->o.comm->ctx, NULL);
    arrived(p);
}

/* The unit after this one, if it is worth a buffer: not the one that is in use. */
static void prefetch(struct params *p, int unit)
{
    int next = unit >= p->last_unit ? unit + 1 : unit - 1;
    if (next < 0 || next >= (int)p->unit_count || find(&p->weights, next) != NULL)
        return;
    struct params_slot *slot = idle_slot(&p->weights, p->units[next].count);
    if (slot != NULL)
        gather(p, slot, next);
}

static const void *full_weights(void *ctx, int unit)
{
    struct params *p = ctx;
    struct params_slot *slot = find(&p->weights, unit);
    params__alive(p);
    if (slot == NULL) {
        slot = idle_slot(&p->weights, p->units[unit].count);
        if (slot == NULL) {
            wait(p);
            slot = idle_slot(&p->weights, p->units[unit].count);
        }
        if (slot == NULL)
            slot = new_slot(p, &p->weights, p->units[unit].count, params__size(p));
        gather(p, slot, unit);
    }
    slot->users++;
    slot->used = ++p->clock;
    void *memory = slot->memory;
    if (slot->moving)
        wait(p);
    if (unit != p->last_unit)
        prefetch(p, unit);
    p->last_unit = unit;
    return memory;
}

static void full_release(void *ctx, int unit)
{
    struct params *p = ctx;
    struct params_slot *slot = find(&p->weights, unit);
    if (slot != NULL && slot->users > 0)
        slot->users--;
}

/* --- gradients --- */

static float *full_grads(void *ctx, int unit)
{
    struct params *p = ctx;
    const struct params_unit *u = &p->units[unit];
    if (u->frozen)
        return NULL;
    struct params_slot *slot = NULL;
    for (size_t i = 0; i < p->grads.count && slot == NULL; i++)
        if (p->grads.slots[i].unit == unit && p->grads.slots[i].users > 0)
            slot = &p->grads.slots[i];
    if (slot != NULL)
        return slot->memory;
    slot = idle_slot(&p->grads, u->count);
    if (slot == NULL) {
        wait(p);
        slot = idle_slot(&p->grads, u->count);
    }
    if (slot == NULL)
        slot = new_slot(p, &p->grads, u->count, sizeof(float));
    take(p, slot, unit);
    slot->users = 1;
    p->k->zero(p->c, slot->memory, (size_t)u->count * sizeof(float));
    return slot->memory;
}

static void full_grads_done(void *ctx, int unit)
{
    struct params *p = ctx;
    const struct params_unit *u = &p->units[unit];
    struct comm *c = p->o.comm;
    float *whole = full_grads(p, unit);
    if (whole == NULL)
        return;
    struct params_slot *slot = p->grads.slots;
    while (slot->memory != whole)
        slot++;
    if ((p->pass & PARAMS_IGNORE) != 0)
        p->k->zero(p->c, whole, (size_t)u->count * sizeof(float));
    c->ops->scatter(c->ctx, whole + u->first, whole, u->part);
    slot->users = 0;
    slot->moving = true;
}

const struct model_store params__full_store = {
    .weights = full_weights,
    .release = full_release,
    .grads = full_grads,
    .grads_done = full_grads_done,
};

/* The weights have changed. */
void params__full_forget(struct params *p)
{
    for (size_t i = 0; i < p->weights.count; i++) {
        rwf_assert(p->weights.slots[i].users == 0);
        p->weights.slots[i].unit = -1;
    }
    p->last_unit = -1;
}

void params__full_finish(struct params *p)
{
    wait(p);
}
