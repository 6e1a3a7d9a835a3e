/* SPDX-License-Identifier: Apache-2.0
 *
 * Counter-based random numbers (Philox 4x32-10): the n-th number is a function of the
 * key (seed, purpose, trial) and of n alone. There is no state to save: a trial's
 * numbers are the same whatever other trials drew before, and after a resume.
 */
#ifndef RWF_TUNE_RNG_H
#define RWF_TUNE_RNG_H
#include <stdint.h>

/* What numbers are drawn for; each purpose has its own, independent of the others'. */
enum tune_purpose {
    TUNE_FOR_RANDOM = 1, /* a configuration at random */
    TUNE_FOR_SOBOL,      /* scrambling */
    TUNE_FOR_TPE,        /* candidates */
    TUNE_FOR_BRACKET,    /* the bracket of a trial */
    TUNE_FOR_EXPLOIT,    /* PBT: which trial is copied */
    TUNE_FOR_EXPLORE,    /* PBT: how it is perturbed */
    TUNE_FOR_USER = 64   /* tests and simulations */
};

struct tune_rng {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t block[4];
    unsigned used;
};

void tune_rng_init(struct tune_rng *r, uint64_t seed, enum tune_purpose purpose,
                   uint64_t trial);
uint64_t tune_rng_u64(struct tune_rng *r);
/* In (0, 1), never an end: multiples of 2^-53 plus 2^-54. */
double tune_rng_uniform(struct tune_rng *r);
/* 0 <= result < below; below > 0. */
uint64_t tune_rng_below(struct tune_rng *r, uint64_t below);

/* The standard normal distribution: its function, and the inverse of it for 0 < p < 1.
 */
double tune_normal_cdf(double x);
double tune_normal_quantile(double p);

#endif
