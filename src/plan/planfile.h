/* SPDX-License-Identifier: Apache-2.0
 *
 * A plan on disk: the recipe's snapshot, the options, and each step's key where known.
 * `plan -o` writes one, `run FILE` executes exactly that, and a run's folder
 * holds one for resume.
 *
 *   {"v":"1.0","kind":"raywf-plan","raywf":"0.1.0","recipe":{snapshot},"only":[…],
 *    "from":[…],"steps":[{"address":…,"key":…|null}]}
 */
#ifndef RWF_PLAN_PLANFILE_H
#define RWF_PLAN_PLANFILE_H
#include <jansson.h>
#include "plan/graph.h"

/* keys[i] is step i's key or NULL; keys itself may be NULL. Caller decrefs. */
json_t *planfile_make(const struct plan_graph *g, const struct plan_options *options,
                      const char *const *keys);
/* True when text starts like a plan file (so that `run FILE` can tell the two apart).
 */
bool planfile_is(const char *text, size_t len);
/* Loads recipe and graph from a plan. *ret_recipe is the caller's to destroy, after the
 * graph; it is set whenever the recipe could be read, also on failure, so that diags
 * can be shown with its lines. The plan's "steps" must match the graph's, else
 * RWF_E_LOCK. */
struct plan_graph *planfile_open(const json_t *plan, const struct op *const *ops,
                                 struct recipe **ret_recipe, struct recipe_diags *diags,
                                 struct rwf_err *err);

#endif
