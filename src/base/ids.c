/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/ids.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

static size_t place_of(const struct rwf_ids *t, uint64_t id)
{
    /* Numbers are given out in a row, often in steps: the high bits of the product
     * depend on all of them. */
    return (size_t)((id * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (t->size - 1);
}

/* The row of id, or the free one where it would be. */
static struct rwf_ids_row *row_of(const struct rwf_ids *t, uint64_t id)
{
    size_t i = place_of(t, id);
    while (t->rows[i].id && t->rows[i].id != id)
        i = (i + 1) & (t->size - 1);
    return &t->rows[i];
}

void *rwf_ids_get(const struct rwf_ids *t, uint64_t id)
{
    if (id == 0 || t->count == 0)
        return NULL;
    struct rwf_ids_row *r = row_of(t, id);
    return r->id ? r->item : NULL;
}

static void resize(struct rwf_ids *t, size_t size)
{
    struct rwf_ids old = *t;
    t->rows = rwf_xcalloc(size, sizeof(*t->rows));
    t->size = size;
    for (size_t i = 0; i < old.size; i++)
        if (old.rows[i].id)
            *row_of(t, old.rows[i].id) = old.rows[i];
    free(old.rows);
}

void rwf_ids_add(struct rwf_ids *t, uint64_t id, void *item)
{
    if ((t->count + 1) * 2 > t->size) /* at most half full: few steps to a miss */
        resize(t, t->size ? t->size * 2 : 16);
    struct rwf_ids_row *r = row_of(t, id);
    rwf_assert(id != 0 && item && r->id == 0);
    *r = (struct rwf_ids_row){id, item};
    t->count++;
}

void *rwf_ids_remove(struct rwf_ids *t, uint64_t id)
{
    if (id == 0 || t->count == 0)
        return NULL;
    struct rwf_ids_row *r = row_of(t, id);
    if (!r->id)
        return NULL;
    void *item = r->item;
    size_t hole = (size_t)(r - t->rows), i = hole;
    /* Rows after it that would no longer be found move into the hole. */
    for (;;) {
        i = (i + 1) & (t->size - 1);
        if (!t->rows[i].id)
            break;
        size_t home = place_of(t, t->rows[i].id);
        if (((i - home) & (t->size - 1)) >= ((i - hole) & (t->size - 1))) {
            t->rows[hole] = t->rows[i];
            hole = i;
        }
    }
    t->rows[hole] = (struct rwf_ids_row){0};
    t->count--;
    return item;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void rwf_ids_each(const struct rwf_ids *t, void (*fn)(void *ctx, void *item), void *ctx)
{
    size_t count = 0;
    uint64_t *ids = rwf_xmalloc((t->count + 1) * sizeof(*ids));
    for (size_t i = 0; i < t->size; i++)
        if (t->rows[i].id)
            ids[count++] = t->rows[i].id;
    qsort(ids, count, sizeof(*ids), by_number);
    for (size_t i = 0; i < count; i++) {
        void *item = rwf_ids_get(t, ids[i]);
        if (item)
            fn(ctx, item);
    }
    free(ids);
}

void rwf_ids_free(struct rwf_ids *t)
{
    free(t->rows);
    *t = (struct rwf_ids){0};
}
