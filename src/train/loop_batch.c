/* SPDX-License-Identifier: Apache-2.0
 *
 * A micro batch on its way to the model. Where the device's memory is the host's, the
 * model reads what the batches' thread filled. Else it is uploaded in the stream: device
 * memory for one is enough, and marks tell when the host's may be filled again.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "train/loop.h"

enum { MARKS = 2 }; /* slots 0 and 1: uploads of even and odd micro batches */

static int carve(struct loop *l, struct loop_upload *u, int rows, struct rwf_err *err)
{
    size_t n = (size_t)rows * (size_t)(l->tokens ? l->j.length : 1);
    size_t ids = l->tokens ? n * sizeof(int32_t) : 0;
    size_t targets = l->tokens || l->classes ? n * sizeof(int32_t) : 0;
    size_t values = l->tokens || l->classes ? 0 : n * (size_t)l->outputs * sizeof(float);
    const struct block_row row[] = {
        { "batch: ids", ids, (void **)&u->ids },
        { "batch: order of the ids", ids, (void **)&u->order },
        { "batch: targets", targets, (void **)&u->targets },
        { "batch: features", n * (size_t)l->features * sizeof(float), (void **)&u->features },
        { "batch: values", values, (void **)&u->values },
    };
    u->block = block_carve(l->d, row, RWF_COUNT(row), "lower micro_batch_size", err);
    if (u->block != NULL)
        l->d->k->zero(l->d->c, u->block, block_size(row, RWF_COUNT(row)));
    return u->block != NULL ? 0 : -1;
}

/* Ids 0 in their order, targets that do not count. */
static int fill_dummy(struct loop *l, struct rwf_err *err)
{
    size_t n = (size_t)(l->tokens ? l->j.length : 1);
    int32_t *order = rwf_xcalloc(n, sizeof(*order)), *none = rwf_xcalloc(n, sizeof(*none));
    for (size_t i = 0; i < n; i++) {
        order[i] = (int32_t)i;
        none[i] = -1;
    }
    if (l->tokens)
        l->d->k->upload(l->d->c, l->dummy.order, order, n * sizeof(*order));
    if (l->tokens || l->classes)
        l->d->k->upload(l->d->c, l->dummy.targets, none, n * sizeof(*none));
    int rc = device_sync(l->d, err);
    free(order);
    free(none);
    return rc;
}

int loop__upload_open(struct loop *l, struct rwf_err *err)
{
    if (!device_is_host(l->d) && carve(l, &l->upload, l->j.micro, err) != 0)
        return -1;
    if (l->j.shard != PARAMS_FULL || l->c->size == 1)
        return 0;
    return carve(l, &l->dummy, 1, err) == 0 ? fill_dummy(l, err) : -1;
}

void loop__upload_close(struct loop *l)
{
    if (l->upload.block != NULL)
        l->d->k->free(l->d->c, l->upload.block);
    if (l->dummy.block != NULL)
        l->d->k->free(l->d->c, l->dummy.block);
}

static void send(struct loop *l, void *to, const void *from, size_t bytes)
{
    if (from != NULL && bytes > 0)
        l->d->k->upload(l->d->c, to, from, bytes);
}

struct model_batch loop__batch(struct loop *l, const struct batches_micro *m)
{
    struct loop_upload *u = &l->upload;
    size_t n = (size_t)m->rows * (size_t)(l->tokens ? l->j.length : 1);
    if (u->block == NULL)
        return (struct model_batch){ .rows = m->rows, .ids = m->ids, .order = m->order,
                                     .targets = m->targets, .features = m->features,
                                     .values = m->values };
    /* The batch before the last is filled again by the next call of batches_next. */
    send(l, u->ids, m->ids, n * sizeof(*u->ids));
    send(l, u->order, m->order, n * sizeof(*u->order));
    send(l, u->targets, m->targets, n * sizeof(*u->targets));
    send(l, u->features, m->features, n * (size_t)l->features * sizeof(float));
    send(l, u->values, m->values, n * (size_t)l->outputs * sizeof(float));
    l->d->k->mark(l->d->c, (int)(u->count % MARKS));
    u->count++;
    l->d->k->wait(l->d->c, (int)(u->count % MARKS));
    return (struct model_batch){ .rows = m->rows,
                                 .ids = m->ids != NULL ? u->ids : NULL,
                                 .order = m->order != NULL ? u->order : NULL,
                                 .targets = m->targets != NULL ? u->targets : NULL,
                                 .features = m->features != NULL ? u->features : NULL,
                                 .values = m->values != NULL ? u->values : NULL };
}

struct model_batch loop__dummy(struct loop *l)
{
    struct loop_upload *u = &l->dummy;
    bool targets = l->tokens || l->classes;
    return (struct model_batch){ .rows = 1,
                                 .ids = l->tokens ? u->ids : NULL,
                                 .order = l->tokens ? u->order : NULL,
                                 .targets = targets ? u->targets : NULL,
                                 .features = l->tokens ? NULL : u->features,
                                 .values = targets ? NULL : u->values };
}

double loop__targets(const struct loop *l, int64_t rows)
{
    return (double)rows * (l->tokens ? l->j.length : l->classes ? 1 : l->outputs);
}
