/* SPDX-License-Identifier: Apache-2.0
 *
 * Values outside of steps: ${params.X}, ${env.X}, ${recipe.X} and ${secrets.X}. What
 * only a step can know (matrix, inputs, results of others) stays as it is written.
 */
#ifndef RWF_CMD_RESOLVE_H
#define RWF_CMD_RESOLVE_H
#include <jansson.h>
#include <stdbool.h>
#include "recipe/recipe.h"

/* reveal: secrets as values (they must have been read), else as "[secret:NAME]". The
 * text is the caller's to free. */
char *cmd_resolve_text(const struct recipe *r, const char *text, bool reveal);
json_t *cmd_resolve(const struct recipe *r, const struct recipe_node *node,
                    bool reveal);

#endif
