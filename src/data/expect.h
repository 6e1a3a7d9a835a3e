/* SPDX-License-Identifier: Apache-2.0
 *
 * What a dataset promises of its rows. Everything that does not hold is reported, with
 * how many rows it concerns and the first of them.
 */
#ifndef RWF_DATA_EXPECT_H
#define RWF_DATA_EXPECT_H
#include <jansson.h>
#include "base/str.h"
#include "data/duck.h"

/* rows: a table expression with the row's number (from 0) in column number. columns:
 * [{"name", "type"}] without it. 0 when all holds; -1 with RWF_E_FAILED and one line in
 * *err, and everything with its rows in report. */
int expect_check(struct duck *d, const json_t *expect, const json_t *columns,
                 const char *rows, const char *number, struct rwf_str *report,
                 struct rwf_err *err);

#endif
