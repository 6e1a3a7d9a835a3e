/* SPDX-License-Identifier: Apache-2.0
 *
 * A binary heap of steps: the smallest (key, step) first. Zero-initialise it.
 */
#ifndef RWF_SCHEDULE_HEAP_H
#define RWF_SCHEDULE_HEAP_H
#include <stddef.h>
#include <stdint.h>

struct schedule__heap_item {
    int64_t key;
    uint32_t step;
};

struct schedule__heap {
    struct schedule__heap_item *items;
    size_t count, cap;
};

void schedule__heap_push(struct schedule__heap *h, int64_t key, uint32_t step);
/* The first item goes; the heap must not be empty. */
struct schedule__heap_item schedule__heap_pop(struct schedule__heap *h);
void schedule__heap_free(struct schedule__heap *h);

#endif
