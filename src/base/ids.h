/* SPDX-License-Identifier: Apache-2.0
 *
 * Pointers by number, 0 is none. Zero-initialise it.
 */
#ifndef RWF_BASE_IDS_H
#define RWF_BASE_IDS_H
#include <stddef.h>
#include <stdint.h>

struct rwf_ids {
    struct rwf_ids_row {
        uint64_t id; /* 0: free */
        void *item;
    } * rows;
    size_t count, size; /* size: a power of 2, or 0 */
};

/* NULL: there is none. */
void *rwf_ids_get(const struct rwf_ids *t, uint64_t id);
/* id must not be in it; item must not be NULL. */
void rwf_ids_add(struct rwf_ids *t, uint64_t id, void *item);
/* What it was, or NULL. */
void *rwf_ids_remove(struct rwf_ids *t, uint64_t id);
/* Calls fn for every item that is in it at the start and still is when its turn comes,
 * ids ascending; fn may add and remove any. */
void rwf_ids_each(const struct rwf_ids *t, void (*fn)(void *ctx, void *item),
                  void *ctx);
void rwf_ids_free(struct rwf_ids *t);

#endif
