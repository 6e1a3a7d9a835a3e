/* SPDX-License-Identifier: Apache-2.0
 *
 * How many replicas a deployment wants: a pure function of what was seen in the
 * look-back period and of the clock that is passed in. Ray's rule: the mean of ongoing
 * requests (at replicas and queued) over the look-back period, divided by
 * target_ongoing_requests; the step from what there is now is multiplied by a factor
 * and rounded up. More are wanted only when that has been so for upscale_delay without
 * a break, fewer for downscale_delay, none at all for downscale_to_zero_delay; from
 * zero to one at once, when a request is there.
 */
#ifndef RWF_SERVE_AUTOSCALE_H
#define RWF_SERVE_AUTOSCALE_H
#include <stdbool.h>
#include <stdint.h>
#include "serve/spec.h"

enum { SERVE_SCALER_SLOTS = 64 };

/* Plain state: copy it as you like. */
struct serve_scaler {
    struct serve_autoscaling how;
    struct {
        int64_t number;          /* time / length of a slot */
        double sum;              /* of ongoing over time, ns */
        double length;           /* ns that were seen */
    } slots[SERVE_SCALER_SLOTS]; /* a ring over the look-back period */
    int64_t last_at;             /* of the newest sample; 0: none yet */
    double last;
    /* Since when more, or fewer, are wanted, or nothing was ongoing; < 0: they are not.
     */
    int64_t up_since, down_since, idle_since;
    int down_most; /* the most that was wanted since down_since */
};

/* What to do, and why: "12.5 ongoing over 30.0s, target 2: 3 -> 7". */
struct serve_scale {
    int replicas; /* wanted from now on; what it was: no change */
    int64_t
        wake; /* when to ask again at the latest though nothing changes; 0: need not */
    char reason[200]; /* "" without a change */
};

void serve_scaler_init(struct serve_scaler *s, const struct serve_autoscaling *how);
/* Other knobs; what was seen is kept. */
void serve_scaler_configure(struct serve_scaler *s,
                            const struct serve_autoscaling *how);
/* What an application starts with: at least one unless initial_replicas says 0, so that what
 * cannot work is known at once. */
int serve_scaler_initial(const struct serve_autoscaling *how);
/* So many requests were ongoing (at replicas and queued) from now on. Ten times a
 * second is plenty; the clock does not go back. */
void serve_scaler_see(struct serve_scaler *s, int64_t now, double ongoing);
/* Asks, right after see. current: what was wanted until now (not what happens to live:
 * a replica that died is replaced, it is no reason to scale). */
void serve_scaler_decide(struct serve_scaler *s, int64_t now, int current,
                         struct serve_scale *ret);
/* The mean that decide goes by, for metrics. */
double serve_scaler_mean(const struct serve_scaler *s, int64_t now);

#endif
