/* SPDX-License-Identifier: Apache-2.0
 *
 * Sobol' points with the direction numbers of Joe and Kuo (2008, their set D(6)), one
 * dimension for each parameter in the order of their numbers, and nested uniform (Owen)
 * scrambling by a hash, keyed by (seed, dimension). Trial n takes point n, so any 2^k
 * trials from a multiple of 2^k on fill the space evenly, whatever the seed.
 */
#include "config.h"

#include <math.h>

#include "base/mem.h"
#include "tune/options.h"
#include "tune/sampler_internal.h"

enum { BITS = 32, DIMENSIONS = 64 };

/* Of each dimension but the first: the primitive polynomial's degree and inner
 * coefficients, and the first direction numbers. */
static const struct joe_kuo {
    uint8_t degree, inner;
    uint16_t m[9];
} joe_kuo[DIMENSIONS - 1] = {
    {1, 0, {1}},
    {2, 1, {1, 3}},
    {3, 1, {1, 3, 1}},
    {3, 2, {1, 1, 1}},
    {4, 1, {1, 1, 3, 3}},
    {4, 4, {1, 3, 5, 13}},
    {5, 2, {1, 1, 5, 5, 17}},
    {5, 4, {1, 1, 5, 5, 5}},
    {5, 7, {1, 1, 7, 11, 19}},
    {5, 11, {1, 1, 5, 1, 1}},
    {5, 13, {1, 1, 1, 3, 11}},
    {5, 14, {1, 3, 5, 5, 31}},
    {6, 1, {1, 3, 3, 9, 7, 49}},
    {6, 13, {1, 1, 1, 15, 21, 21}},
    {6, 16, {1, 3, 1, 13, 27, 49}},
    {6, 19, {1, 1, 1, 15, 7, 5}},
    {6, 22, {1, 3, 1, 15, 13, 25}},
    {6, 25, {1, 1, 5, 5, 19, 61}},
    {7, 1, {1, 3, 7, 11, 23, 15, 103}},
    {7, 4, {1, 3, 7, 13, 13, 15, 69}},
    {7, 7, {1, 1, 3, 13, 7, 35, 63}},
    {7, 8, {1, 3, 5, 9, 1, 25, 53}},
    {7, 14, {1, 3, 1, 13, 9, 35, 107}},
    {7, 19, {1, 3, 1, 5, 27, 61, 31}},
    {7, 21, {1, 1, 5, 11, 19, 41, 61}},
    {7, 28, {1, 3, 5, 3, 3, 13, 69}},
    {7, 31, {1, 1, 7, 13, 1, 19, 1}},
    {7, 32, {1, 3, 7, 5, 13, 19, 59}},
    {7, 37, {1, 1, 3, 9, 25, 29, 41}},
    {7, 41, {1, 3, 5, 13, 23, 1, 55}},
    {7, 42, {1, 3, 7, 3, 13, 59, 17}},
    {7, 50, {1, 3, 1, 3, 5, 53, 69}},
    {7, 55, {1, 1, 5, 5, 23, 33, 13}},
    {7, 56, {1, 1, 7, 7, 1, 61, 123}},
    {7, 59, {1, 1, 7, 9, 13, 61, 49}},
    {7, 62, {1, 3, 3, 5, 3, 55, 33}},
    {8, 14, {1, 3, 1, 15, 31, 13, 49, 245}},
    {8, 21, {1, 3, 5, 15, 31, 59, 63, 97}},
    {8, 22, {1, 3, 1, 11, 11, 11, 77, 249}},
    {8, 38, {1, 3, 1, 11, 27, 43, 71, 9}},
    {8, 47, {1, 1, 7, 15, 21, 11, 81, 45}},
    {8, 49, {1, 3, 7, 3, 25, 31, 65, 79}},
    {8, 50, {1, 3, 1, 1, 19, 11, 3, 205}},
    {8, 52, {1, 1, 5, 9, 19, 21, 29, 157}},
    {8, 56, {1, 3, 7, 11, 1, 33, 89, 185}},
    {8, 67, {1, 3, 3, 3, 15, 9, 79, 71}},
    {8, 70, {1, 3, 7, 11, 15, 39, 119, 27}},
    {8, 84, {1, 1, 3, 1, 11, 31, 97, 225}},
    {8, 97, {1, 1, 1, 3, 23, 43, 57, 177}},
    {8, 103, {1, 3, 7, 7, 17, 17, 37, 71}},
    {8, 115, {1, 3, 1, 5, 27, 63, 123, 213}},
    {8, 122, {1, 1, 3, 5, 11, 43, 53, 133}},
    {9, 8, {1, 3, 5, 5, 29, 17, 47, 173, 479}},
    {9, 13, {1, 3, 3, 11, 3, 1, 109, 9, 69}},
    {9, 16, {1, 1, 1, 5, 17, 39, 23, 5, 343}},
    {9, 22, {1, 3, 1, 5, 25, 15, 31, 103, 499}},
    {9, 25, {1, 1, 1, 11, 11, 17, 63, 105, 183}},
    {9, 44, {1, 1, 5, 11, 9, 29, 97, 231, 363}},
    {9, 47, {1, 1, 5, 15, 19, 45, 41, 7, 383}},
    {9, 52, {1, 3, 7, 7, 31, 19, 83, 137, 221}},
    {9, 55, {1, 1, 1, 3, 23, 15, 111, 223, 83}},
    {9, 59, {1, 1, 5, 13, 31, 15, 55, 25, 161}},
    {9, 62, {1, 1, 3, 13, 25, 47, 39, 87, 257}},
};

/* The direction numbers of a dimension, the first in the highest bit. */
static void directions(uint32_t dimension, uint32_t v[BITS])
{
    if (!dimension) {
        for (int k = 0; k < BITS; k++)
            v[k] = 1u << (BITS - 1 - k);
        return;
    }
    const struct joe_kuo *j = &joe_kuo[dimension - 1];
    int s = j->degree;
    for (int k = 0; k < BITS; k++) {
        if (k < s) {
            v[k] = (uint32_t)j->m[k] << (BITS - 1 - k);
            continue;
        }
        v[k] = v[k - s] ^ (v[k - s] >> s);
        for (int i = 1; i < s; i++)
            if (j->inner >> (s - 1 - i) & 1)
                v[k] ^= v[k - i];
    }
}

static uint32_t reversed(uint32_t x)
{
    x = x >> 16 | x << 16;
    x = (x >> 8 & 0x00FF00FFu) | (x & 0x00FF00FFu) << 8;
    x = (x >> 4 & 0x0F0F0F0Fu) | (x & 0x0F0F0F0Fu) << 4;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    return (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
}

/* Each bit changes by a hash of the bits above it. A multiplication by an even number
 * and addition let each bit depend on lower ones only, hence the reversals. */
static uint32_t scramble(uint32_t x, uint32_t key)
{
    x = reversed(x);
    x += key;
    x ^= x * 0x6C50B47Cu;
    x ^= x * 0xB82F1E52u;
    x ^= x * 0xC7AFE638u;
    x ^= x * 0x8D22F6E6u;
    return reversed(x);
}

static double coordinate(uint64_t seed, uint64_t index, uint32_t dimension)
{
    uint32_t v[BITS], x = 0;
    struct tune_rng r;
    directions(dimension, v);
    for (int k = 0; k < BITS; k++)
        if (index >> k & 1)
            x ^= v[k];
    tune_rng_init(&r, seed, TUNE_FOR_SOBOL, dimension);
    return ((double)scramble(x, (uint32_t)tune_rng_u64(&r)) + 0.5) * 0x1p-32;
}

struct fill {
    uint64_t seed, trial;
    const struct tune_space *space;
};

static double value(void *arg, uint32_t i)
{
    const struct fill *f = arg;
    return tune_param_at(tune_space_param(f->space, i),
                         coordinate(f->seed, f->trial, i));
}

static void suggest(const struct tune_sampler *s, uint64_t trial, double *x)
{
    struct fill f = {(uint64_t)s->seed, trial, s->space};
    tune_space_settle(s->space, x, value, &f);
}

static int create(struct tune_sampler *s, const json_t *spec, struct rwf_err *err)
{
    if (tune_space_count(s->space) > DIMENSIONS)
        return rwf_fail(
            err, RWF_E_RECIPE,
            "algorithm sobol: the space has %u parameters, and there are Sobol' "
            "points of up to %d dimensions: use {type: random}",
            tune_space_count(s->space), DIMENSIONS);
    return tune__options_read("algorithm sobol", NULL, 0, spec, NULL, err);
}

const struct tune_sampler_kind tune__sobol = {
    .name = "sobol",
    .help = "points that fill the space more evenly than random ones",
    .create = create,
    .suggest = suggest,
};
