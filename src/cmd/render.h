/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_CMD_RENDER_H
#define RWF_CMD_RENDER_H
#include <stdio.h>
#include "recipe/recipe.h"

/* Prints a tree as YAML. */
void cmd_render_tree(const struct recipe *recipe, const struct recipe_node *tree,
                     FILE *out);

#endif
