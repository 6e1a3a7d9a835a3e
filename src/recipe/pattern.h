/* SPDX-License-Identifier: Apache-2.0
 *
 * Regular expressions with a bound on the work that a match may take: a pattern that
 * exceeds it does not match.
 */
#ifndef RWF_RECIPE_PATTERN_H
#define RWF_RECIPE_PATTERN_H
#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"

struct recipe__pattern;

/* whole: the text must match from its start to its end. */
struct recipe__pattern *recipe__pattern_compile(const char *text, bool whole,
                                                struct rwf_err *err);
bool recipe__pattern_matches(const struct recipe__pattern *p, const char *text,
                             size_t len);
void recipe__pattern_free(struct recipe__pattern *p);

#endif
