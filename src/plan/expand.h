/* SPDX-License-Identifier: Apache-2.0
 *
 * What expand.c and matrix.c share: values of axes and items, and the limits of both.
 */
#ifndef RWF_PLAN_EXPAND_H
#define RWF_PLAN_EXPAND_H
#include "plan/inside.h"

struct plan__values {
    const struct recipe_node **nodes;
    size_t count, cap;
};

struct recipe_diag *plan__complain(struct plan__build *b, struct recipe_span span,
                                   const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* node with its references replaced; NULL after a complaint. */
const struct recipe_node *plan__fix_value(struct plan__build *b, struct plan__scope *s,
                                          struct recipe_node *node);
/* The items of a list, or of a whole ${list}; a whole ${list} as an item becomes
 * several. */
void plan__add_items(struct plan__build *b, struct plan__scope *s,
                     struct recipe_node *node, struct plan__values *values);
/* Counts instances against the limit of a graph. */
bool plan__take_total(struct plan__build *b, struct recipe_span span, size_t count);
/* No two instances may have one address; e has none after a complaint. */
void plan__check_unique(struct plan__build *b, struct plan__entry *e);
/* max_parallel of a map, 0: absent. */
int plan__max_parallel(struct plan__build *b, struct plan__scope *s,
                       const struct recipe_node *map);

void plan__expand_matrix(struct plan__build *b, struct plan__entry *e,
                         struct plan__scope *s, struct recipe_node *node);

#endif
