/* SPDX-License-Identifier: Apache-2.0
 *
 * Orders as pure functions: of the rows in an epoch, and of the positions of a batch.
 */
#ifndef RWF_TRAIN_BATCHES_ORDER_H
#define RWF_TRAIN_BATCHES_ORDER_H
#include <stdint.h>

/* A permutation of 0..count-1 that takes no memory: a Feistel network over the next
 * power of four, walked until it falls into the range again. */
struct batches_permutation {
    uint64_t count, key;
    int half; /* bits of each half */
};

void batches_permute_init(struct batches_permutation *p, int64_t count, uint64_t seed,
                          uint64_t epoch);
/* What stands at position at, 0 <= at < count. */
int64_t batches_permute(const struct batches_permutation *p, int64_t at);
/* A number 0..limit-1 that (seed, epoch) alone decide; limit > 0. */
int64_t batches_draw(uint64_t seed, uint64_t epoch, int64_t limit);

/* order = the positions 0..count-1 sorted by (ids[position], position); ids are not
 * negative. scratch: [count]. */
void batches_sort(const int32_t *ids, int32_t *order, int32_t *scratch, int64_t count);

#endif
