/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the files of searches:
 *
 *   search.c          entries: the trials of each search, what they need, checks
 *   search_lay.c      a configuration over a body, ${trial.NAME}
 *   search_settled.c  the recipe with the best configuration in place of the search
 */
#ifndef RWF_PLAN_SEARCH_H
#define RWF_PLAN_SEARCH_H
#include "plan/inside.h"

/* A key of a space that is a path of the recipe. */
struct plan__overlay {
    const char **path; /* beneath the target's body */
    size_t depth;
    const json_t *values;             /* all there are, if they are listed */
    const struct recipe_node **nodes; /* the same, checked */
    size_t count;
    enum recipe_type type; /* of values that are not listed */
    struct recipe_span span;
};

struct recipe_node *plan__json_scalar(struct rwf_arena *a, const json_t *value,
                                      struct recipe_span span);
struct recipe_node *plan__json_node(struct rwf_arena *a, const json_t *value,
                                    struct recipe_span span);
/* body with value at the overlay's path, from its part `at` on: new maps on the way.
 * NULL: something that is no map stands on the way. */
struct recipe_node *plan__lay(struct rwf_arena *a, const struct recipe_node *body,
                              const struct plan__overlay *o, size_t at,
                              const struct recipe_node *value);

#endif
