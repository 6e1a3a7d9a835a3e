/* SPDX-License-Identifier: Apache-2.0
 *
 * Snapshots: everything that a checkpoint needs, in host memory of rank 0, so that a thread
 * can write it while training goes on. On a GPU the copy is made twice, within the device (at
 * its memory's speed) and from there to the host beside the stream; where the device has no
 * room for that, the stream itself downloads. What is divided between ranks is gathered unit by
 * unit.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/units.h"
#include "train/params_impl.h"

enum { MARK = 15 }; /* a slot of the device that nobody else uses */

struct params_snapshot {
    char *host;   /* rank 0 */
    char *device; /* of the same shape, or NULL */
    char *unit;   /* a gathered unit, or NULL */
    size_t at[PARAMS_KINDS], bytes;
    struct checkpoint_tensor *model, *optimizer;
    size_t model_count, optimizer_count;
};

static bool has_kind(const struct params *p, enum params_kind kind)
{
    return kind == PARAMS_WEIGHTS ||
           (p->trained > 0 && (kind == PARAMS_MASTER ? params__has_master(p)
                               : kind == PARAMS_M    ? p->o.optim.m
                                                     : p->o.optim.v));
}

static size_t element_size(const struct params *p, enum params_kind kind)
{
    return kind == PARAMS_WEIGHTS ? params__size(p) : sizeof(float);
}

/* Where unit's values of a kind are in the snapshot. */
static size_t place(const struct params *p, enum params_kind kind, size_t unit)
{
    int64_t before = p->units[unit].at;
    if (kind != PARAMS_WEIGHTS) {
        before = 0;
        for (size_t i = 0; i < unit; i++)
            before += p->units[i].frozen ? 0 : p->units[i].count;
    }
    return p->snapshot->at[kind] + (size_t)before * element_size(p, kind);
}

/* --- the tensors of a checkpoint --- */

static void read_host(void *ctx, const struct checkpoint_tensor *t, size_t offset,
                      size_t size, void *to)
{
    (void)ctx;
    memcpy(to, (const char *)t->source + offset, size);
}

static void set_tensor(struct params *p, struct checkpoint_tensor *t, size_t param,
                       enum params_kind kind)
{
    static const char *const suffixes[] = { "", ".master", ".m", ".v" };
    const struct model_param *m = &p->o.layout->params[param];
    bool bf16 = kind == PARAMS_WEIGHTS && p->o.type == KERNEL_BF16;
    *t = (struct checkpoint_tensor){
        .name = rwf_xasprintf("%s%s", m->name, suffixes[kind]),
        .type = bf16 ? SAFETENSORS_BF16 : SAFETENSORS_F32,
        .dims = m->dims,
        .shape = { m->shape[0], m->shape[1] },
        .read = read_host,
        .source = p->snapshot->host + place(p, kind, (size_t)m->unit) +
                  (size_t)m->offset * element_size(p, kind),
    };
}

static void make_tensors(struct params *p)
{
    struct params_snapshot *s = p->snapshot;
    const struct model_layout *l = p->o.layout;
    s->model = rwf_xcalloc(l->param_count + 1, sizeof(*s->model));
    s->optimizer = rwf_xcalloc(l->param_count * 3 + 1, sizeof(*s->optimizer));
    for (size_t i = 0; i < l->param_count; i++) {
        set_tensor(p, &s->model[s->model_count++], i, PARAMS_WEIGHTS);
        for (int kind = PARAMS_MASTER; kind < PARAMS_KINDS; kind++)
            if (!p->units[l->params[i].unit].frozen && has_kind(p, kind))
                set_tensor(p, &s->optimizer[s->optimizer_count++], i, kind);
    }
}

void params_snapshot_content(struct params *p, struct checkpoint_content *content)
{
    struct params_snapshot *s = p->snapshot;
    content->model = s->model;
    content->model_count = s->model_count;
    content->optimizer = s->optimizer;
    content->optimizer_count = s->optimizer_count;
}

/* --- room --- */

static bool gathers(const struct params *p)
{
    return p->o.shard != PARAMS_NONE;
}

static int allocate_host(struct params *p, struct rwf_err *err)
{
    struct params_snapshot *s = p->snapshot;
    char size[RWF_UNITS_LEN];
    s->host = p->k->alloc_host(p->c, s->bytes);
    if (s->host == NULL)
        return rwf_fail(err, RWF_E_FIT,
                        "out of memory on the host of rank 0: checkpoints need %s there to "
                        "be written while training goes on; resources.memory gives more",
                        rwf_size_format((int64_t)s->bytes, size));
    memset(s->host, 0, s->bytes); /* padding is written, too; and the pages are there */
    make_tensors(p);
    if (!gathers(p) && !device_is_host(p->o.device))
        s->device = p->k->alloc(p->c, s->bytes); /* without it, it is only slower */
    return 0;
}

int params_snapshot_prepare(struct params *p, struct rwf_err *err)
{
    if (p->snapshot != NULL)
        return 0;
    struct params_snapshot *s = p->snapshot = rwf_xcalloc(1, sizeof(*s));
    for (int kind = 0; kind < PARAMS_KINDS; kind++) {
        s->at[kind] = s->bytes;
        if (has_kind(p, kind))
            s->bytes += (size_t)(kind == PARAMS_WEIGHTS ? p->total : p->trained) *
                        element_size(p, kind);
    }
    if (gathers(p)) {
        s->unit = device_alloc(p->o.device, (size_t)p->largest * sizeof(float),
                               "gathering a unit for checkpoints", err);
        if (s->unit == NULL)
            return -1;
    }
    return p->o.comm->rank == 0 ? allocate_host(p, err) : 0;
}

void params__snapshot_free(struct params *p)
{
    struct params_snapshot *s = p->snapshot;
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->model_count; i++)
        free(s->model[i].name);
    for (size_t i = 0; i < s->optimizer_count; i++)
        free(s->optimizer[i].name);
    free(s->model);
    free(s->optimizer);
    if (s->host != NULL)
        p->k->free_host(p->c, s->host);
    if (s->device != NULL)
        p->k->free(p->c, s->device);
    if (s->unit != NULL)
        p->k->free(p->c, s->unit);
    free(s);
    p->snapshot = NULL;
}

/* --- copying --- */

static const void *part_of(const struct params_unit *u, enum params_kind kind)
{
    switch (kind) {
    case PARAMS_WEIGHTS:
        return u->own;
    case PARAMS_MASTER:
        return u->master;
    case PARAMS_M:
        return u->m;
    default:
        return u->v;
    }
}

/* The whole of a unit's values on rank 0, which other ranks help to gather. */
static int whole_of(struct params *p, struct params_unit *u, enum params_kind kind,
                    const void **ret, struct rwf_err *err)
{
    struct comm *c = p->o.comm;
    if (kind == PARAMS_WEIGHTS && u->weights != NULL) {
        *ret = u->weights;
        return 0;
    }
    *ret = part_of(u, kind);
    if (!gathers(p))
        return 0;
    c->ops->gather(c->ctx, p->snapshot->unit, *ret,
                   u->part * (int64_t)element_size(p, kind));
    *ret = p->snapshot->unit;
    return c->ops->wait(c->ctx, err);
}

static void keep(struct params *p, size_t at, const void *from, size_t bytes)
{
    struct params_snapshot *s = p->snapshot;
    if (s->device != NULL)
        p->k->copy(p->c, s->device + at, from, bytes);
    else if (s->host != NULL)
        p->k->download(p->c, s->host + at, from, bytes);
}

int params_snapshot(struct params *p, struct rwf_err *err)
{
    struct params_snapshot *s = p->snapshot;
    if (params__arrive(p, err) != 0)
        return -1;
    for (int kind = 0; kind < PARAMS_KINDS; kind++)
        for (size_t i = 0; i < p->unit_count && has_kind(p, kind); i++) {
            struct params_unit *u = &p->units[i];
            const void *whole;
            if (kind != PARAMS_WEIGHTS && u->frozen)
                continue;
            if (whole_of(p, u, kind, &whole, err) != 0)
                return -1;
            keep(p, place(p, kind, i), whole, (size_t)u->count * element_size(p, kind));
        }
    if (s->device != NULL)
        p->k->side_download(p->c, s->host, s->device, s->bytes);
    else
        p->k->mark(p->c, MARK);
    return 0;
}

void params_snapshot_wait(struct params *p)
{
    if (p->snapshot->device != NULL)
        p->k->side_wait(p->c);
    else
        p->k->wait(p->c, MARK);
}
