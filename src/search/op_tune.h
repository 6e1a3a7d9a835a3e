/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_SEARCH_OP_TUNE_H
#define RWF_SEARCH_OP_TUNE_H
#include "plan/op.h"

struct search;

extern const struct op tune_op;

/* The search of a step of tune_op, and its resolved body (both the caller's). */
struct search *search_open(const struct plan_graph *g, const struct plan_step *step,
                           json_t **ret_body, struct rwf_err *err);

#endif
