/* SPDX-License-Identifier: Apache-2.0
 *
 * A tree of maxima over places 0 … count-1: finds the next place that may fit a demand
 * without looking at all of them. An inner node holds, for each resource, the most that
 * one place beneath it has free; it may promise too much, never too little.
 */
#ifndef RWF_SCHEDULE_TREE_H
#define RWF_SCHEDULE_TREE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHEDULE__NO_PLACE UINT32_MAX

struct schedule__top {
    int64_t cpu, memory; /* cpu below 0: nothing fits */
    uint64_t marks;      /* labels and custom resources that it has, as bits */
    int32_t gpu_most, gpu_whole;
};

struct schedule__tree {
    struct schedule__top *tops; /* 1: the root; size + i: place i */
    uint32_t size, count;       /* size: a power of two */
};

static inline bool schedule__top_fits(const struct schedule__top *top,
                                      const struct schedule__top *need)
{
    return need->cpu <= top->cpu && need->memory <= top->memory &&
           need->gpu_most <= top->gpu_most && need->gpu_whole <= top->gpu_whole &&
           (need->marks & ~top->marks) == 0;
}

/* A new place, which fits nothing yet. */
uint32_t schedule__tree_add(struct schedule__tree *t);
void schedule__tree_set(struct schedule__tree *t, uint32_t place,
                        const struct schedule__top *top);
/* The first place from `from` on that fits, or SCHEDULE__NO_PLACE. */
uint32_t schedule__tree_next(const struct schedule__tree *t, uint32_t from,
                             const struct schedule__top *need);
void schedule__tree_free(struct schedule__tree *t);

#endif
