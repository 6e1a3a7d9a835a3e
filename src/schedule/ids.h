/* SPDX-License-Identifier: Apache-2.0
 *
 * A map from numbers (not 0) to pointers. Zero-initialise it.
 */
#ifndef RWF_SCHEDULE_IDS_H
#define RWF_SCHEDULE_IDS_H
#include <stddef.h>
#include <stdint.h>

struct schedule__id {
    uint64_t id; /* 0: free */
    void *value;
};

struct schedule__ids {
    struct schedule__id *slots;
    size_t size, count; /* size: a power of two */
};

void *schedule__ids_get(const struct schedule__ids *m, uint64_t id);
/* id must not be there. */
void schedule__ids_add(struct schedule__ids *m, uint64_t id, void *value);
/* Nothing happens when it is not there. */
void schedule__ids_remove(struct schedule__ids *m, uint64_t id);
void schedule__ids_free(struct schedule__ids *m);

#endif
