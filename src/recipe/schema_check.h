/* SPDX-License-Identifier: Apache-2.0
 *
 * The check as loading wants it.
 */
#ifndef RWF_RECIPE_SCHEMA_CHECK_H
#define RWF_RECIPE_SCHEMA_CHECK_H
#include "recipe/schema.h"

/* incomplete: a part of the recipe could not be read, so nothing is reported missing.
 */
void recipe__schema_check(struct recipe_node *root, struct recipe_diags *diags,
                          bool incomplete);

#endif
