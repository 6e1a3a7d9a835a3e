/* SPDX-License-Identifier: Apache-2.0
 *
 * ROOT/index.sqlite: a derived list of runs for `ps`, rebuilt from the logs whenever it
 * is missing, damaged or behind. Never the truth.
 */
#ifndef RWF_RUN_INDEX_H
#define RWF_RUN_INDEX_H
#include <jansson.h>
#include "base/err.h"

/* Brings the index up to date with the run folders (only new or unfinished ones are
 * read) and calls fn for each run, newest first, at most limit (0: all):
 * {id,name,recipe,status,started,ended,exit_code,steps,counts} */
int run_index_each(const char *root, int limit,
                   void (*fn)(void *ctx, const json_t *run), void *ctx,
                   struct rwf_err *err);

#endif
