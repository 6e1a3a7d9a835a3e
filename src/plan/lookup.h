/* SPDX-License-Identifier: Apache-2.0
 *
 * One look-up of a reference: what scope.c and scope_steps.c share.
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
/* Names stand for what is not known, and nothing else may be asked. */
bool plan__lookup_shows(const struct plan__lookup *l);

/* ${SECTION.NAME…}: what another step gives. */
int plan__lookup_entry(struct plan__lookup *l);
/* ${trial.NAME}: a parameter of a search; see search.c. */
int plan__lookup_trial(struct plan__lookup *l);

#endif
