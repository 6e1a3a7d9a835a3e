/* SPDX-License-Identifier: Apache-2.0
 *
 * What printing needs from the collection besides diag.h.
 */
#ifndef RWF_RECIPE_DIAG_PRINT_H
#define RWF_RECIPE_DIAG_PRINT_H
#include "recipe/diag.h"

/* Counted, those that were not kept included. */
size_t recipe__diags_warnings(const struct recipe_diags *d);

#endif
