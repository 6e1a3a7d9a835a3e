/* SPDX-License-Identifier: Apache-2.0
 *
 * What a search leaves in the cache, beneath a key of its own: the record of its
 * trials.
 */
#ifndef RWF_RUN_RECORD_H
#define RWF_RUN_RECORD_H
#include <jansson.h>
#include "plan/graph.h"

/* The parts of the key: of the search's step, its resolved body, and the key of its
 * first trial, whose configuration follows from the body alone. New. */
json_t *run_search_parts(const struct plan_step *search, const json_t *body,
                         const char *first_key);
/* [{"trial","config","status","key"?,"value"?,"at"?,"lineage"?}] of a cache's entry
 * with that key, by trial; new, or NULL. */
json_t *run_search_record(const json_t *entry);

#endif
