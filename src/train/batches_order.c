/* SPDX-License-Identifier: Apache-2.0
 *
 * The sort is a stable radix sort of 11 bits a pass: two passes for any vocabulary up
 * to four million, and equal ids stay in the order of their positions.
 */
#include "config.h"
#include "train/batches_order.h"
#include <string.h>

#define ORDER_ROUNDS 6
#define ORDER_BITS 11
#define ORDER_BUCKETS (1 << ORDER_BITS)

/* Every bit of the result depends on every bit of x: two multiplications of odd
 * constants between shifts, as in SplitMix64. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t key_of(uint64_t seed, uint64_t epoch)
{
    return mix(mix(seed) ^ epoch);
}

void batches_permute_init(struct batches_permutation *p, int64_t count, uint64_t seed,
                          uint64_t epoch)
{
    p->count = (uint64_t)count;
    p->key = key_of(seed, epoch);
    p->half = 1;
    while (p->half < 31 && (UINT64_C(1) << (2 * p->half)) < p->count)
        p->half++;
}

static uint64_t scramble(const struct batches_permutation *p, uint64_t x)
{
    uint64_t mask = (UINT64_C(1) << p->half) - 1;
    uint64_t left = x >> p->half, right = x & mask;
    for (uint64_t round = 0; round < ORDER_ROUNDS; round++) {
        uint64_t next = left ^ (mix(right ^ (p->key + (round << 32))) & mask);
        left = right;
        right = next;
    }
    return left << p->half | right;
}

int64_t batches_permute(const struct batches_permutation *p, int64_t at)
{
    uint64_t x = (uint64_t)at;
    do
        x = scramble(p, x);
    while (x >= p->count);
    return (int64_t)x;
}

int64_t batches_draw(uint64_t seed, uint64_t epoch, int64_t limit)
{
    return (int64_t)(mix(~key_of(seed, epoch)) % (uint64_t)limit);
}

/* One pass: from (NULL: 0, 1, …) to `to`, by the bits of the ids from shift on. */
static void sort_pass(const int32_t *ids, const int32_t *from, int32_t *to,
                      int64_t count, int shift)
{
    int32_t starts[ORDER_BUCKETS], sum = 0;
    memset(starts, 0, sizeof(starts));
    for (int64_t i = 0; i < count; i++)
        starts[ids[i] >> shift & (ORDER_BUCKETS - 1)]++;
    for (int b = 0; b < ORDER_BUCKETS; b++) {
        int32_t n = starts[b];
        starts[b] = sum;
        sum += n;
    }
    for (int64_t i = 0; i < count; i++) {
        int32_t at = from != NULL ? from[i] : (int32_t)i;
        to[starts[ids[at] >> shift & (ORDER_BUCKETS - 1)]++] = at;
    }
}

void batches_sort(const int32_t *ids, int32_t *order, int32_t *scratch, int64_t count)
{
    int32_t all = 0;
    for (int64_t i = 0; i < count; i++)
        all |= ids[i];
    sort_pass(ids, NULL, order, count, 0);
    for (int shift = ORDER_BITS; shift < 31 && all >> shift != 0; shift += ORDER_BITS) {
        sort_pass(ids, order, scratch, count, shift);
        memcpy(order, scratch, (size_t)count * sizeof(*order));
    }
}
