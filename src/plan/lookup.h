/* SPDX-License-Identifier: Apache-2.0
 *
 * One look-up of a reference: what scope.c, scope_own.c and scope_steps.c share.
 */
#ifndef RWF_PLAN_LOOKUP_H
#define RWF_PLAN_LOOKUP_H
#include "base/suggest.h"
#include "plan/inside.h"

struct plan__lookup {
    struct plan__scope *s;
    struct rwf_arena *a;
    const struct expr_ref *ref;
    struct expr_value *ret;
    struct rwf_err *err;
};

/* Every failure has a code, and often a hint. Returns -1. */
int plan__lookup_fail(struct plan__lookup *l, enum recipe_code code, const char *fmt,
                      ...) __attribute__((format(printf, 3, 4)));
void plan__lookup_hint(struct plan__lookup *l, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* "did you mean", when something is near enough. */
void plan__lookup_near(struct plan__lookup *l, const struct rwf_suggest *near);
int plan__lookup_give(struct plan__lookup *l, enum expr_type type, const char *text);
/* Fails unless the reference has so many parts; shape: how it is written. */
int plan__lookup_parts(struct plan__lookup *l, size_t count, const char *shape);
/* A node of the recipe as a value: itself, or what its text evaluates to in scope in. */
int plan__lookup_node(struct plan__lookup *l, struct plan__scope *in,
                      const struct recipe_node *node);
/* Names stand for what is not known, and nothing else may be asked. */
bool plan__lookup_shows(const struct plan__lookup *l);
/* The step is about to run: all is known. */
bool plan__lookup_runs(const struct plan__lookup *l);

/* ${matrix.AXIS}, ${item.NAME…}, ${inputs.NAME}, ${dataset.train}: what the entry itself
 * has. */
int plan__lookup_matrix(struct plan__lookup *l);
int plan__lookup_item(struct plan__lookup *l);
int plan__lookup_inputs(struct plan__lookup *l);
int plan__lookup_dataset(struct plan__lookup *l);
/* ${SECTION.NAME…}: what another step gives. */
int plan__lookup_entry(struct plan__lookup *l);
/* ${trial.NAME}: a parameter of a search; see search.c. */
int plan__lookup_trial(struct plan__lookup *l);

#endif
