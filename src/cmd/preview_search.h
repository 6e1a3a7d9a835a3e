/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_CMD_PREVIEW_SEARCH_H
#define RWF_CMD_PREVIEW_SEARCH_H
#include "plan/graph.h"
#include "run/cache.h"

struct preview_search;

struct preview_search *preview_search_create(struct plan_graph *g,
                                             struct run_cache *cache);
void preview_search_destroy(struct preview_search *x);
/* The cached result that a trial will have, as far as that is known; new, or NULL. In
 * the order of the steps, with keys resolved. */
json_t *preview_search_entry(struct preview_search *x, const struct plan_step *trial);
/* That of a search itself; new, or NULL. */
json_t *preview_search_result(struct preview_search *x, const struct plan_step *search);

#endif
