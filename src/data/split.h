/* SPDX-License-Identifier: Apache-2.0
 *
 * Splits: every row in exactly one, sizes as near to the fractions as can be, the same
 * for the same rows and seed.
 */
#ifndef RWF_DATA_SPLIT_H
#define RWF_DATA_SPLIT_H
#include <jansson.h>
#include "base/str.h"
#include "data/duck.h"
#include "data/query.h"

#define SPLIT_SLACK 1e-9 /* fractions add up to 1, this near */

/* split: {NAME: fraction, …, "seed", "by"}. Adds the expression that decides where a
 * row of q goes. */
int split_add_hash(const json_t *split, const struct query *q, struct rwf_str *out,
                   struct rwf_err *err);
/* rows: a table expression with that expression's value in column hash. Gives, sorted
 * by name, [{"name", "where": condition on hash}]; the caller decrefs. */
json_t *split_plan(struct duck *d, const json_t *split, const char *rows,
                   const char *hash, struct rwf_err *err);
/* True for a key of split that is no split's name. */
bool split_is_option(const char *key);

#endif
