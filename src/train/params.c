/* SPDX-License-Identifier: Apache-2.0
 *
 * Where each unit lies, in one block. The arrays of one kind (all gradients, all first
 * moments) are unit after unit, so that what is next to each other can go by one call.
 */
#include "config.h"
#include "train/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "train/params_impl.h"

static const char *const shards[] = { "none", "optimizer", "full" };

int params_shard_parse(enum params_shard *ret, const char *name, struct rwf_err *err)
{
    for (size_t i = 0; i < RWF_COUNT(shards); i++)
        if (strcmp(name, shards[i]) == 0) {
            *ret = (enum params_shard)i;
            return 0;
        }
    return rwf_fail(err, RWF_E_RECIPE, "shard '%s' is not known: none, optimizer or full",
                    name);
}

/* --- sizes --- */

static void measure_units(struct params *p)
{
    const struct model_layout *l = p->o.layout;
    int size = p->o.shard == PARAMS_NONE ? 1 : p->o.comm->size;
    int rank = p->o.shard == PARAMS_NONE ? 0 : p->o.comm->rank;
    int64_t step = (int64_t)PARAMS_ALIGN * size;
    p->unit_count = l->unit_count;
    p->units = rwf_xcalloc(l->unit_count, sizeof(*p->units));
    for (size_t i = 0; i < l->unit_count; i++) {
        struct params_unit *u = &p->units[i];
        u->frozen = l->units[i].frozen;
        u->count = (l->units[i].count + step - 1) / step * step;
        u->part = u->count / size;
        u->first = u->part * rank;
        u->at = p->total;
        p->total += u->count;
        p->trained += u->frozen ? 0 : u->count;
        if (u->count > p->largest)
            p->largest = u->count;
    }
}

/* --- the block --- */

enum { ROW_WEIGHTS, ROW_MASTER, ROW_GRADS, ROW_M, ROW_V, ROW_SMALL, ROW_SLOTS };
enum { SLOTS = 3, ROWS = ROW_SLOTS + 2 * SLOTS };

struct bases {
    void *of[ROWS];
};

static void fill_rows(struct params *p, struct block_row *rows, struct bases *b)
{
    static const char *const names[ROW_SLOTS] = {
        "weights", "master weights (float)", "gradients", "optimizer: first moments",
        "optimizer: second moments", "sums"
    };
    bool full = p->o.shard == PARAMS_FULL;
    int size = p->o.shard == PARAMS_NONE ? 1 : p->o.comm->size;
    size_t part = (size_t)(p->trained / size) * sizeof(float);
    int64_t capacities[SLOTS] = { 0 };
    size_t bytes[ROW_SLOTS] = {
        (size_t)(full ? p->total / size : p->total) * params__size(p),
        params__has_master(p) ? part : 0,
        full ? part : (size_t)p->trained * sizeof(float),
        p->o.optim.m ? part : 0,
        p->o.optim.v ? part : 0,
        (size_t)(2 + p->o.extra) * sizeof(float),
    };
    for (int i = 0; i < ROW_SLOTS; i++)
        rows[i] = (struct block_row){ names[i], bytes[i], &b->of[i] };
    if (full)
        params__full_rows(p, capacities);
    for (int i = 0; i < SLOTS; i++) {
        size_t n = (size_t)capacities[i];
        rows[ROW_SLOTS + i] = (struct block_row){ "buffer for a unit's weights",
                                                  n * params__size(p),
                                                  &b->of[ROW_SLOTS + i] };
        rows[ROW_SLOTS + SLOTS + i] =
            (struct block_row){ "buffer for a unit's gradients",
                                p->trained > 0 ? n * sizeof(float) : 0,
                                &b->of[ROW_SLOTS + SLOTS + i] };
    }
}

static float *advance(void **at, int64_t count)
{
    float *here = *at;
    *at = here + count;
    return here;
}

/* Gives each unit its places in the arrays. */
static void place_units(struct params *p, const struct bases *bases)
{
    struct bases b = *bases;
    bool full = p->o.shard == PARAMS_FULL;
    p->grads_base = b.of[ROW_GRADS];
    for (size_t i = 0; i < p->unit_count; i++) {
        struct params_unit *u = &p->units[i];
        int64_t stored = full ? u->part : u->count;
        char *weights = b.of[ROW_WEIGHTS];
        b.of[ROW_WEIGHTS] = weights + (size_t)stored * params__size(p);
        u->weights = full ? NULL : weights;
        u->own = weights + (size_t)(full ? 0 : u->first) * params__size(p);
        if (u->frozen)
            continue;
        u->master = params__has_master(p) ? advance(&b.of[ROW_MASTER], u->part)
                                          : (float *)(void *)u->own;
        u->grads = advance(&b.of[ROW_GRADS], stored);
        u->grad = full ? u->grads : u->grads + u->first;
        p->grads_count += stored;
        if (full)
            u->grads = NULL;
        if (p->o.optim.m)
            u->m = advance(&b.of[ROW_M], u->part);
        if (p->o.optim.v)
            u->v = advance(&b.of[ROW_V], u->part);
    }
    p->squares = b.of[ROW_SMALL];
    p->scale = p->squares + 1;
    p->extra = p->squares + 2;
}

static void place_slots(struct params *p, const struct bases *b)
{
    int64_t capacities[SLOTS] = { 0 };
    params__full_rows(p, capacities);
    for (int i = 0; i < SLOTS; i++) {
        struct params_slot slot = { .capacity = capacities[i], .unit = -1 };
        slot.memory = b->of[ROW_SLOTS + i];
        *RWF_PUSH(p->weights.slots, p->weights.count, p->weights.cap) = slot;
        slot.memory = b->of[ROW_SLOTS + SLOTS + i];
        if (p->trained > 0)
            *RWF_PUSH(p->grads.slots, p->grads.count, p->grads.cap) = slot;
    }
}

static const char *knob(const struct params *p)
{
    if (p->o.comm->size > 1 && p->o.shard != PARAMS_FULL)
        return "shard: full divides weights, gradients and optimizer state between the "
               "workers; precision: bf16 and adapter: lora take less";
    if (p->o.shard == PARAMS_FULL)
        return "more workers take less each, and so do precision: bf16 and adapter: lora";
    return "workers: 2 or more with shard: full divide it; precision: bf16 and adapter: "
           "lora take less";
}

static void print_table(const struct block_row *all)
{
    struct block_row rows[ROWS];
    size_t count = 0;
    for (size_t i = 0; i < ROWS; i++)
        if (all[i].bytes > 0)
            rows[count++] = all[i];
    block_print("memory of the parameters", rows, count);
}

/* --- life --- */

/* What ranks scatter from and gather in place lies in the group's own memory, where there is
 * some: it is not copied on its way. */
static void use_memory_of_group(struct params *p, struct block_row *row)
{
    const struct comm *c = p->o.comm;
    if (p->o.shard != PARAMS_OPTIMIZER || c->ops->memory == NULL)
        return;
    void *memory = c->ops->memory(c->ctx, (int64_t)row->bytes);
    if (memory == NULL)
        return;
    *row->to = memory;
    row->to = &p->unused;
    row->bytes = 0;
}

struct params *params_create(const struct params_options *o, struct rwf_err *err)
{
    struct params *p = rwf_xcalloc(1, sizeof(*p));
    struct block_row rows[ROWS];
    struct bases bases = { { NULL } };
    p->o = *o;
    if (!params__divided(p))
        p->o.shard = PARAMS_NONE;
    p->k = o->device->k;
    p->c = o->device->c;
    measure_units(p);
    p->done = rwf_xcalloc(p->unit_count, sizeof(*p->done));
    fill_rows(p, rows, &bases);
    if (o->comm->rank == 0)
        print_table(rows);
    use_memory_of_group(p, &rows[ROW_WEIGHTS]);
    use_memory_of_group(p, &rows[ROW_GRADS]);
    p->block = block_carve(o->device, rows, ROWS, knob(p), err);
    if (p->block == NULL) {
        rwf_wrap(err, "the parameters");
        params_destroy(p);
        return NULL;
    }
    place_units(p, &bases);
    if (p->o.shard == PARAMS_FULL)
        place_slots(p, &bases);
    p->store = p->o.shard == PARAMS_FULL ? params__full_store : params__whole_store;
    p->store.ctx = p;
    p->last_unit = -1;
    params__make_spans(p);
    p->k->zero(p->c, p->block, block_size(rows, ROWS));
    return p;
}

void params_destroy(struct params *p)
{
    if (p == NULL)
        return;
    params__snapshot_free(p);
    params__full_destroy(p);
    if (p->block != NULL)
        p->k->free(p->c, p->block);
    free(p->spans);
    free(p->done);
    free(p->units);
    free(p);
}

const struct model_store *params_store(struct params *p)
{
    return &p->store;
}

float *params_extra(struct params *p)
{
    return p->extra;
}

const float *params_squares(struct params *p)
{
    return p->squares;
}
