/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "store/crc32c.h"
#include <pthread.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* reversed */

static uint32_t table[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ POLYNOMIAL : c >> 1;
        table[i] = c;
    }
}

uint32_t store__crc32c_plain(uint32_t crc, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;

    pthread_once(&once, make_table);
    crc = ~crc;
    for (size_t i = 0; i < len; i++)
        crc = table[(crc ^ p[i]) & 0xff] ^ crc >> 8;
    return ~crc;
}

#ifdef __x86_64__
/* The instruction takes three cycles, but a new one can begin in each: three stretches
 * of this length go side by side, and their sums are put together. */
#define STRETCH ((size_t)4096)

/* What becomes of a sum when STRETCH bytes of zero follow, by its four bytes. */
static uint32_t skip[4][256];
static pthread_once_t skip_once = PTHREAD_ONCE_INIT;

__attribute__((target("sse4.2"))) static void make_skip(void)
{
    for (int bit = 0; bit < 32; bit++) {
        uint64_t c = (uint64_t)1 << bit;
        for (size_t i = 0; i < STRETCH; i += 8)
            c = __builtin_ia32_crc32di(c, 0);
        for (unsigned v = 0; v < 256; v++)
            if (v >> bit % 8 & 1)
                skip[bit / 8][v] ^= (uint32_t)c;
    }
}

static uint32_t skipped(uint32_t c)
{
    return skip[0][c & 0xff] ^ skip[1][c >> 8 & 0xff] ^ skip[2][c >> 16 & 0xff] ^
           skip[3][c >> 24];
}

static inline uint64_t eight_at(const unsigned char *p)
{
    uint64_t eight;

    memcpy(&eight, p, sizeof(eight));
    return eight;
}

__attribute__((target("sse4.2"))) static uint32_t three(uint32_t crc,
                                                        const unsigned char *p)
{
    uint64_t a = crc, b = 0, c = 0;

    for (size_t i = 0; i < STRETCH; i += 8) {
        a = __builtin_ia32_crc32di(a, eight_at(p + i));
        b = __builtin_ia32_crc32di(b, eight_at(p + STRETCH + i));
        c = __builtin_ia32_crc32di(c, eight_at(p + 2 * STRETCH + i));
    }
    return skipped(skipped((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

__attribute__((target("sse4.2"))) static uint32_t
by_instruction(uint32_t crc, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    uint64_t c;

    crc = ~crc;
    if (len >= 3 * STRETCH)
        pthread_once(&skip_once, make_skip);
    for (; len >= 3 * STRETCH; p += 3 * STRETCH, len -= 3 * STRETCH)
        crc = three(crc, p);
    for (c = crc; len >= 8; p += 8, len -= 8)
        c = __builtin_ia32_crc32di(c, eight_at(p));
    for (; len; p++, len--)
        c = __builtin_ia32_crc32qi((uint32_t)c, *p);
    return ~(uint32_t)c;
}
#endif

uint32_t store__crc32c(uint32_t crc, const void *bytes, size_t len)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return by_instruction(crc, bytes, len);
#endif
    return store__crc32c_plain(crc, bytes, len);
}
