/* SPDX-License-Identifier: Apache-2.0
 *
 * Open addressing with linear probing, at most half full; removal moves back what the
 * hole would hide, so that there are no tombstones.
 */
#include "config.h"
#include "node/table.h"
#include <stdlib.h>
#include "base/mem.h"

#define SIZE_FIRST 16

static size_t home(const struct node__table *t, uint64_t id)
{
    return (size_t)((id * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (t->size - 1);
}

/* Where id is, or would be. */
static size_t find(const struct node__table *t, uint64_t id)
{
    size_t at = home(t, id);
    while (t->rows[at].id != 0 && t->rows[at].id != id)
        at = (at + 1) & (t->size - 1);
    return at;
}

void *node__table_get(const struct node__table *t, uint64_t id)
{
    if (t->count == 0 || id == 0)
        return NULL;
    size_t at = find(t, id);
    return t->rows[at].id == id ? t->rows[at].item : NULL;
}

static void resize(struct node__table *t, size_t size)
{
    struct node__table old = *t;
    t->size = size;
    t->rows = rwf_xcalloc(size, sizeof(*t->rows));
    for (size_t i = 0; i < old.size; i++)
        if (old.rows[i].id != 0)
            t->rows[find(t, old.rows[i].id)] = old.rows[i];
    free(old.rows);
}

void node__table_add(struct node__table *t, uint64_t id, void *item)
{
    rwf_assert(id != 0 && item != NULL);
    if ((t->count + 1) * 2 > t->size)
        resize(t, t->size ? t->size * 2 : SIZE_FIRST);
    size_t at = find(t, id);
    rwf_assert(t->rows[at].id == 0);
    t->rows[at] = (struct node__table_row){id, item};
    t->count++;
}

void *node__table_remove(struct node__table *t, uint64_t id)
{
    if (!node__table_get(t, id))
        return NULL;
    size_t mask = t->size - 1, hole = find(t, id);
    void *item = t->rows[hole].item;
    for (size_t at = (hole + 1) & mask; t->rows[at].id != 0; at = (at + 1) & mask) {
        /* It may move into the hole unless its home lies behind the hole. */
        if (((at - home(t, t->rows[at].id)) & mask) < ((at - hole) & mask))
            continue;
        t->rows[hole] = t->rows[at];
        hole = at;
    }
    t->rows[hole].id = 0;
    t->count--;
    return item;
}

void node__table_each(const struct node__table *t, void (*fn)(void *ctx, void *item),
                      void *ctx)
{
    size_t count = 0;
    uint64_t *ids = rwf_xmalloc((t->count + 1) * sizeof(*ids));
    for (size_t i = 0; i < t->size; i++)
        if (t->rows[i].id != 0)
            ids[count++] = t->rows[i].id;
    for (size_t i = 0; i < count; i++) {
        void *item = node__table_get(t, ids[i]);
        if (item)
            fn(ctx, item);
    }
    free(ids);
}

void node__table_free(struct node__table *t)
{
    free(t->rows);
    *t = (struct node__table){0};
}
