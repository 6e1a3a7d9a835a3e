/* SPDX-License-Identifier: Apache-2.0
 *
 * References and conditions.
 *
 *   template    text with ${ref} or ${ref ?? "default"}; $${ is a literal ${
 *   ref         name(.name | [index])*   e.g. params.lr, tasks.train.outputs.model
 *   condition   for `when` and nothing else: refs (always in ${}), literals, == != < <=
 * >
 *               >= && || ! ( ); the result is a boolean, operands are of one type
 *
 * Parsing knows nothing of what names mean: a scope answers that. White space inside
 * ${ } is free. There is no logic in ${ } besides the default.
 */
#ifndef RWF_RECIPE_EXPR_H
#define RWF_RECIPE_EXPR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "recipe/node.h"

struct expr_ref {
    const char *text;   /* as written inside ${ }, trimmed, default excluded */
    const char **parts; /* "params", "lr"; an index keeps its digits */
    size_t count;
    const char *fallback; /* the default's text, or NULL */
    size_t offset, len;   /* of "${…}" in the source text */
};

enum expr_type {
    EXPR_STRING,
    EXPR_INT,
    EXPR_FLOAT,
    EXPR_BOOL,
    EXPR_LIST,    /* items */
    EXPR_SECRET,  /* a string that only an env value may hold */
    EXPR_PENDING, /* known when a step has run: a path or a number */
};

struct expr_value {
    enum expr_type type;
    const char *text; /* how it is interpolated; lists: unset */
    struct expr_value *items;
    size_t count;
};

/* A template, parsed. */
struct expr_template {
    const char *text;
    struct expr_ref *refs;
    size_t count;
    bool whole; /* the text is exactly one ${…}: its type is the reference's type */
};

/* NULL and *err (text says what and at which column) on bad syntax. */
struct expr_template *expr_template_parse(struct rwf_arena *a, const char *text,
                                          struct rwf_err *err);
/* The same, but the column is not in the message: *ret_at is the byte at fault. */
struct expr_template *expr_template_parse_at(struct rwf_arena *a, const char *text,
                                             size_t *ret_at, struct rwf_err *err);

/* Answers one reference. -1 with *err and, where there is one, a suggestion. */
struct expr_scope {
    void *ctx;
    int (*lookup)(void *ctx, struct rwf_arena *a, const struct expr_ref *ref,
                  struct expr_value *ret, struct rwf_err *err);
};

/* The template's value: a whole reference keeps its type, anything else is a string.
 * A list inside a longer text is joined by spaces, each item quoted for a shell. */
int expr_template_eval(const struct expr_template *t, const struct expr_scope *scope,
                       struct rwf_arena *a, struct expr_value *ret,
                       struct rwf_err *err);

struct expr_condition;

struct expr_condition *expr_condition_parse(struct rwf_arena *a, const char *text,
                                            struct rwf_err *err);
struct expr_condition *expr_condition_parse_at(struct rwf_arena *a, const char *text,
                                               size_t *ret_at, struct rwf_err *err);
/* The references in it, in order. */
const struct expr_ref *expr_condition_refs(const struct expr_condition *c,
                                           size_t *count);
/* Types only: scope may answer EXPR_PENDING, which compares with numbers and strings.
 */
int expr_condition_check(const struct expr_condition *c, const struct expr_scope *scope,
                         struct rwf_arena *a, struct rwf_err *err);
/* 1 true, 0 false, -1 *err. */
int expr_condition_eval(const struct expr_condition *c, const struct expr_scope *scope,
                        struct rwf_arena *a, struct rwf_err *err);

#endif
