/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tune/rng.h"

#include <math.h>
#include <string.h>

enum { ROUNDS = 10 };

static void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c[4], k0 = key[0], k1 = key[1];
    memcpy(c, counter, sizeof(c));
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0];
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k0, (uint32_t)p1,
                            (uint32_t)(p0 >> 32) ^ c[3] ^ k1, (uint32_t)p0};
        memcpy(c, next, sizeof(c));
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    memcpy(out, c, sizeof(c));
}

void tune_rng_init(struct tune_rng *r, uint64_t seed, enum tune_purpose purpose,
                   uint64_t trial)
{
    *r = (struct tune_rng){
        .key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
        .counter = {0, (uint32_t)purpose, (uint32_t)trial, (uint32_t)(trial >> 32)},
        .used = 4,
    };
}

static uint32_t next32(struct tune_rng *r)
{
    if (r->used == 4) {
        philox(r->counter, r->key, r->block);
        r->counter[0]++;
        r->used = 0;
    }
    return r->block[r->used++];
}

uint64_t tune_rng_u64(struct tune_rng *r)
{
    uint64_t high = next32(r);
    return high << 32 | next32(r);
}

double tune_rng_uniform(struct tune_rng *r)
{
    return ((double)(tune_rng_u64(r) >> 11) + 0.5) * 0x1p-53;
}

uint64_t tune_rng_below(struct tune_rng *r, uint64_t below)
{
    /* The bias of at most below / 2^64 is not observable. */
    return (uint64_t)(((unsigned __int128)tune_rng_u64(r) * below) >> 64);
}

double tune_normal_cdf(double x)
{
    return 0.5 * erfc(-x * M_SQRT1_2);
}

/* A start from the tail's asymptote, or from a cubic near the middle; then Newton steps
 * on log(cdf) or cdf, of which four reach the last bits. */
double tune_normal_quantile(double p)
{
    double q = p < 0.5 ? p : 1 - p, x;
    if (q > 0.1) {
        double y = (0.5 - q) * 2.5066282746310002;
        x = -(y + y * y * y / 6);
    } else {
        double t = sqrt(-2 * log(q));
        x = -(t - (2.30753 + 0.27061 * t) / (1 + t * (0.99229 + t * 0.04481)));
    }
    for (int i = 0; i < 4; i++) {
        double cdf = tune_normal_cdf(x);
        double density = 0.3989422804014327 * exp(-x * x / 2);
        double step = cdf * log(cdf / q) / density;
        x -= step;
        if (fabs(step) < 1e-15 * (1 + fabs(x)))
            break;
    }
    return p < 0.5 ? x : -x;
}
