/* SPDX-License-Identifier: Apache-2.0
 *
 * Seeded chances for the property tests of serving: a failure names its seed.
 */
#ifndef RWF_TESTS_SERVE_RANDOM_H
#define RWF_TESTS_SERVE_RANDOM_H
#include <math.h>
#include <stdint.h>
#include "serve/balance.h"

static inline int random_below(uint64_t *seed, int n)
{
    return (int)(serve_random(seed) % (uint64_t)n);
}

/* (0, 1] */
static inline double random_unit(uint64_t *seed)
{
    return (double)((serve_random(seed) >> 11) + 1) * 0x1p-53;
}

/* Exponentially distributed: the time until the next of random arrivals. */
static inline double random_wait(uint64_t *seed, double mean)
{
    return -log(random_unit(seed)) * mean;
}

#endif
