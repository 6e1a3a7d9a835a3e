/* SPDX-License-Identifier: Apache-2.0
 *
 * What is wrong with a text before, or when, libyaml reads it, in words that help.
 */
#ifndef RWF_RECIPE_YAML_ERROR_H
#define RWF_RECIPE_YAML_ERROR_H
#include <stddef.h>
#include "recipe/diag.h"
#include "recipe/sources.h"

struct recipe__syntax_error {
    const char *problem, *context; /* libyaml's words; context may be NULL */
    size_t at, context_at;         /* byte offsets */
};

/* UTF-8, no control characters, no directives that could cost time. -1: reported. */
int recipe__text_check(struct recipe_diags *diags, const struct recipe_sources *sources,
                       uint32_t file);
void recipe__syntax_report(struct recipe_diags *diags,
                           const struct recipe_sources *sources, uint32_t file,
                           const struct recipe__syntax_error *e);

#endif
