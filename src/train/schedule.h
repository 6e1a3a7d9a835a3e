/* SPDX-License-Identifier: Apache-2.0
 *
 * The learning rate of a step: a pure function, so that a resumed run goes on exactly.
 */
#ifndef RWF_TRAIN_SCHEDULE_H
#define RWF_TRAIN_SCHEDULE_H
#include <jansson.h>
#include <stdint.h>
#include "base/err.h"

enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE };

struct schedule {
    enum schedule_kind kind;
    double rate;    /* the highest */
    int64_t warmup; /* steps that it rises through */
    int64_t steps;  /* of the whole training */
    double final;   /* the fraction of rate that it falls to; constant: unused */
};

/* Of a job's "schedule" (NULL: constant). */
int schedule_parse(struct schedule *s, const json_t *schedule, double rate, int64_t steps,
                   struct rwf_err *err);
/* Of step, from 0: rises by rate / warmup each step, then goes down to rate * final at
 * `steps` (which would be the first after the last). */
double schedule_rate(const struct schedule *s, int64_t step);

#endif
