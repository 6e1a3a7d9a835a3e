/* SPDX-License-Identifier: Apache-2.0
 *
 * What templates and conditions share; for expr.c and condition.c only.
 */
#ifndef RWF_RECIPE_EXPR_PARSE_H
#define RWF_RECIPE_EXPR_PARSE_H
#include "recipe/expr.h"

struct expr_cursor {
    struct rwf_arena *arena;
    const char *text;
    size_t at;
    size_t error_at; /* of the last expr__fail */
    struct rwf_err *err;
};

#define EXPR_CHAR_NAME_LEN 16

int expr__fail(struct expr_cursor *c, size_t at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void expr__skip_space(struct expr_cursor *c);
/* A byte of input for a message. Returns out or a constant. */
const char *expr__char_name(char ch, char out[EXPR_CHAR_NAME_LEN]);
/* The cursor stands on an opening quote; NULL when it is never closed. */
char *expr__parse_string(struct expr_cursor *c);
size_t expr__count_refs(const char *text);
/* The cursor stands on "${". */
int expr__parse_ref(struct expr_cursor *c, struct expr_ref *ret);

#endif
