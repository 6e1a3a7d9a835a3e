/* SPDX-License-Identifier: Apache-2.0
 *
 * Pointers by number. Zero-initialise it; 0 is no number.
 */
#ifndef RWF_NODE_TABLE_H
#define RWF_NODE_TABLE_H
#include <stddef.h>
#include <stdint.h>

struct node__table {
    struct node__table_row {
        uint64_t id; /* 0: empty */
        void *item;
    } * rows;
    size_t count, size; /* size: a power of 2, or 0 */
};

/* NULL when there is none. */
void *node__table_get(const struct node__table *t, uint64_t id);
/* id must not be in it. */
void node__table_add(struct node__table *t, uint64_t id, void *item);
/* What it was, or NULL. */
void *node__table_remove(struct node__table *t, uint64_t id);
/* Calls fn for every item that is in it at the start; fn may remove any. */
void node__table_each(const struct node__table *t, void (*fn)(void *ctx, void *item),
                      void *ctx);
void node__table_free(struct node__table *t);

#endif
