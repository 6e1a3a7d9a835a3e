/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of weights as the run's type: from a file's floats, or invented. A thread of
 * the loader calls these; they touch nothing but what they are given.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "llm/weights.h"

#define CHUNK 4096

static uint16_t to_bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40); /* stays a NaN */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* to need not be aligned to more than bytes: it is memory of a device's block. */
static void round_to(enum kernel_type type, const float *from, int64_t count, void *to)
{
    uint16_t *half = to;
    if (type == KERNEL_F32)
        memcpy(to, from, (size_t)count * sizeof(*from));
    else
        for (int64_t i = 0; i < count; i++)
            half[i] = to_bf16(from[i]);
}

void llm__convert(const struct safetensors_entry *e, int64_t first, int64_t count,
                  enum kernel_type type, void *to)
{
    float some[CHUNK];
    size_t size = kernel_size(type);
    if (type == KERNEL_BF16 && e->type == SAFETENSORS_BF16) {
        memcpy(to, (const char *)e->data + (size_t)first * size, (size_t)count * size);
        return;
    }
    for (int64_t at = 0; at < count; at += CHUNK) {
        int64_t n = count - at < CHUNK ? count - at : CHUNK;
        int rc = safetensors_floats(e, first + at, n, some, NULL);
        rwf_assert(rc == 0); /* its type was checked */
        round_to(type, some, n, (char *)to + (size_t)at * size);
    }
}

/* xoshiro256++, seeded by splitmix64 (Blackman and Vigna, public domain). */
struct stream {
    uint64_t s[4];
};

static uint64_t mixed(uint64_t *x)
{
    uint64_t z = *x += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint64_t rotated(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static uint64_t next(struct stream *r)
{
    uint64_t *s = r->s, out = rotated(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotated(s[3], 45);
    return out;
}

/* The sum of the four 16-bit parts of a random word is near enough to a normal value:
 * mean 0, deviation 1 after scaling. */
static float normal(struct stream *r)
{
    uint64_t x = next(r);
    int32_t sum = (int32_t)(x & 0xffff) + (int32_t)(x >> 16 & 0xffff) +
                  (int32_t)(x >> 32 & 0xffff) + (int32_t)(x >> 48);
    return (float)(sum - 131070) * (1.0f / 37837.0f);
}

void llm__invent(uint64_t seed, float deviation, int64_t count, enum kernel_type type,
                 void *to)
{
    struct stream r;
    float some[CHUNK];
    for (int i = 0; i < 4; i++)
        r.s[i] = mixed(&seed);
    for (int64_t at = 0; at < count; at += CHUNK) {
        int64_t n = count - at < CHUNK ? count - at : CHUNK;
        for (int64_t i = 0; i < n; i++)
            some[i] = deviation > 0 ? normal(&r) * deviation : 1;
        round_to(type, some, n, (char *)to + (size_t)at * kernel_size(type));
    }
}

void llm__invent_words(uint64_t seed, int64_t count, uint32_t *to)
{
    struct stream r;
    for (int i = 0; i < 4; i++)
        r.s[i] = mixed(&seed);
    for (int64_t i = 0; i < count; i++)
        to[i] = (uint32_t)(next(&r) >> 32);
}
