/* SPDX-License-Identifier: Apache-2.0
 *
 * The samplers that learn nothing: random, and grid (whose values sampler.c has set
 * already).
 */
#include "config.h"

#include "tune/options.h"
#include "tune/sampler_internal.h"

static int create_random(struct tune_sampler *s, const json_t *spec,
                         struct rwf_err *err)
{
    (void)s;
    return tune__options_read("algorithm random", NULL, 0, spec, NULL, err);
}

static int create_grid(struct tune_sampler *s, const json_t *spec, struct rwf_err *err)
{
    if (!s->num_samples)
        s->num_samples = 1;
    return tune__options_read("algorithm grid", NULL, 0, spec, NULL, err);
}

const struct tune_sampler_kind tune__random = {
    .name = "random",
    .help = "every trial independent of all others",
    .create = create_random,
    .suggest = tune__fill_random,
};

const struct tune_sampler_kind tune__grid = {
    .name = "grid",
    .help = "every combination of the listed values, num_samples times",
    .create = create_grid,
    .suggest = tune__fill_random,
    .lists_all = true,
};
