/* SPDX-License-Identifier: Apache-2.0
 *
 * For the tests of the store: random numbers that a seed repeats.
 */
#ifndef RWF_TESTS_STORE_SUPPORT_H
#define RWF_TESTS_STORE_SUPPORT_H
#include <stdint.h>

/* splitmix64: any seed is good. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif
