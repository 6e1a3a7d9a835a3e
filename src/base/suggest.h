/* SPDX-License-Identifier: Apache-2.0
 *
 * Did-you-mean: the nearest of some names by restricted Damerau-Levenshtein distance
 * (optimal string alignment), case-insensitive.
 */
#ifndef RWF_BASE_SUGGEST_H
#define RWF_BASE_SUGGEST_H
#include <stddef.h>

struct rwf_suggest {
    const char *name;
    const char *best;
    int distance;
};

void rwf_suggest_init(struct rwf_suggest *s, const char *name);
void rwf_suggest_try(struct rwf_suggest *s, const char *candidate);
/* The best candidate when it is near enough to be a typo of name, else NULL. */
const char *rwf_suggest_best(const struct rwf_suggest *s);
/* "one of a, b, c", with a did-you-mean for name where there is one; the caller frees.
 */
char *rwf_suggest_choices(const char *name, const char *const *names, size_t count);

#endif
