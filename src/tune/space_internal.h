/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_TUNE_SPACE_INTERNAL_H
#define RWF_TUNE_SPACE_INTERNAL_H
#include "tune/space.h"

struct tune_space {
    struct tune_param *params;
    uint32_t count;
    uint32_t group_count;
    uint32_t *order;
};

/* A value in JSON into the inside form; an error when it is none of the parameter's. */
int tune__param_read(const struct tune_param *p, const json_t *value, double *ret_x,
                     struct rwf_err *err);
/* Whether two JSON values are the same; 1 and 1.0 are. */
bool tune__json_same(const json_t *a, const json_t *b);

#endif
