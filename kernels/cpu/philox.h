/* SPDX-License-Identifier: Apache-2.0
 *
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2,
 * 3; SC 2011): four random words for a key and a counter, with no state between them.
 */
#ifndef RWF_KERNELS_CPU_PHILOX_H
#define RWF_KERNELS_CPU_PHILOX_H
#include <stdint.h>

static inline void philox(uint32_t word[4], uint64_t key, uint64_t low, uint64_t high)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t w0 = (uint32_t)low, w1 = (uint32_t)(low >> 32);
    uint32_t w2 = (uint32_t)high, w3 = (uint32_t)(high >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)w0 * 0xd2511f53u, b = (uint64_t)w2 * 0xcd9e8d57u;
        w0 = (uint32_t)(b >> 32) ^ w1 ^ k0;
        w2 = (uint32_t)(a >> 32) ^ w3 ^ k1;
        w1 = (uint32_t)b;
        w3 = (uint32_t)a;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    word[0] = w0;
    word[1] = w1;
    word[2] = w2;
    word[3] = w3;
}

/* Whether dropout keeps the element of this word: the upper 24 bits as a number in [0,
 * 1). */
static inline int philox_keeps(uint32_t word, float p)
{
    return (float)(word >> 8) * 0x1p-24f >= p;
}

#endif
