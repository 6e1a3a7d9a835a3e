/* SPDX-License-Identifier: Apache-2.0
 *
 * A queue of steps: the smallest (key, step) first. Zero-initialise it. What comes in
 * order, as most does, lies in a run and costs nothing to take; the rest is a heap of
 * four children per item.
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
    size_t count; /* of both */
    struct schedule__heap_item *items;
    size_t item_count, item_cap;
    struct schedule__heap_item *run;
    size_t run_first, run_count, run_cap; /* run_count: where the next one goes */
};

void schedule__heap_push(struct schedule__heap *h, int64_t key, uint32_t step);
/* The first item; the heap must not be empty. */
const struct schedule__heap_item *schedule__heap_first(const struct schedule__heap *h);
/* The first item goes; the heap must not be empty. */
struct schedule__heap_item schedule__heap_pop(struct schedule__heap *h);
void schedule__heap_free(struct schedule__heap *h);

#endif
