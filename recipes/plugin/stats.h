/* SPDX-License-Identifier: Apache-2.0
 *
 * What stats.c and its callers exchange. Values travel as bytes: agree on a layout, and
 * check sizes on arrival.
 */
#ifndef STATS_H
#define STATS_H

struct stats {
    double count, mean, m2, min, max; /* m2: sum of squared distances from the mean */
};

#endif
