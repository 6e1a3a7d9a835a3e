/* SPDX-License-Identifier: Apache-2.0
 *
 * What a node, or a bundle reserved on it, has and what of it is free. Amounts are
 * whole millionths, so that taking and giving back a thousand fractions ends where it
 * began. A GPU is granted whole to one, or in fractions to several, never both at once.
 */
#ifndef RWF_SCHEDULE_STOCK_H
#define RWF_SCHEDULE_STOCK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "schedule/machine.h"

#define SCHEDULE__UNIT 1000000

struct schedule__custom {
    uint32_t name; /* its number in the cluster */
    int64_t amount, free;
};

/* What is asked for. custom: amount only. */
struct schedule__demand {
    int64_t cpu, memory;
    int32_t gpu_share; /* of one card, or 0 */
    int gpu_whole;
    struct schedule__custom *custom; /* names ascending */
    size_t custom_count;
};

struct schedule__stock {
    int64_t cpu, cpu_free; /* free below 0: a blocked lease came back (see put_cpu) */
    int64_t memory, memory_free;
    int slots, slots_free;
    int gpu_count, gpu_whole; /* of these wholly free */
    int32_t *gpu, *gpu_free;  /* a bundle's cards may be parts, or not there: 0 */
    int32_t gpu_most;         /* free on one card */
    struct schedule__custom *custom; /* names ascending */
    size_t custom_count;
};

int64_t schedule__millionths(double amount);
static inline double schedule__amount(int64_t millionths)
{
    return (double)millionths / SCHEDULE__UNIT;
}

/* Custom resources are set by the caller. */
void schedule__stock_init(struct schedule__stock *s, const struct schedule_machine *m);
/* What demand took, as a stock of its own: gpus are the cards it got. */
void schedule__stock_carve(struct schedule__stock *s,
                           const struct schedule__demand *demand, uint64_t gpus,
                           int gpu_count);
/* A copy of which nothing is taken; schedule__stock_free is the caller's. */
void schedule__stock_clear(struct schedule__stock *ret,
                           const struct schedule__stock *of);
void schedule__stock_free(struct schedule__stock *s);

bool schedule__stock_fits(const struct schedule__stock *s,
                          const struct schedule__demand *d);
/* Whether the empty stock could hold it. */
bool schedule__stock_could(const struct schedule__stock *s,
                           const struct schedule__demand *d);
/* Takes what fits; returns the GPUs granted as bits: fractions on the fullest card that
 * has room, so that whole ones stay free. */
uint64_t schedule__stock_take(struct schedule__stock *s,
                              const struct schedule__demand *d);
/* Takes exactly these GPUs, which are free: undoes a give. */
void schedule__stock_retake(struct schedule__stock *s, const struct schedule__demand *d,
                            uint64_t gpus);
void schedule__stock_give(struct schedule__stock *s, const struct schedule__demand *d,
                          uint64_t gpus);
/* Only the cores: of a worker that waits (+), or that goes on (-), whatever is free. */
void schedule__stock_put_cpu(struct schedule__stock *s, int64_t cpu);

/* NULL: it has none of that name. */
const struct schedule__custom *
schedule__custom_find(const struct schedule__custom *list, size_t count, uint32_t name);

#endif
