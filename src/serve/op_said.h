/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of a recipe that can be judged before they are resolved.
 */
#ifndef RWF_SERVE_OP_SAID_H
#define RWF_SERVE_OP_SAID_H
#include <stdbool.h>
#include "recipe/recipe.h"

/* The text of a scalar, also when it is a parameter; NULL: absent, null, or known only
 * later. */
const char *serve_said(const struct recipe *r, const struct recipe_node *node);
bool serve_said_number(const struct recipe *r, const struct recipe_node *node,
                       double *ret);

#endif
