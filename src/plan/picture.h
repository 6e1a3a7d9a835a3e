/* SPDX-License-Identifier: Apache-2.0
 *
 * Pictures of a graph: dot, mermaid, JSON, and SVG laid out by Graphviz (opened at
 * run time). Boxes are steps; above 200 steps, entries with a count; above 300 entries,
 * sections. When arrows are too many to follow, those that others imply are left out;
 * when that is not enough, boxes are of the next kind. So a layout always ends soon.
 * JSON has every step and all it needs.
 */
#ifndef RWF_PLAN_PICTURE_H
#define RWF_PLAN_PICTURE_H
#include "base/str.h"
#include "plan/graph.h"

/* Optional class per step ("cached", "running", "failed", …), for colour. */
typedef const char *(*plan_class_fn)(void *ctx, uint32_t step);

void plan_picture_dot(const struct plan_graph *g, plan_class_fn cls, void *ctx,
                      struct rwf_str *out);
void plan_picture_mermaid(const struct plan_graph *g, struct rwf_str *out);
json_t *plan_picture_json(const struct plan_graph *g);
/* An <svg> element without XML prologue, fit for HTML. RWF_E_ENV when Graphviz is
 * missing. */
int plan_picture_svg(const struct plan_graph *g, plan_class_fn cls, void *ctx,
                     struct rwf_str *out, struct rwf_err *err);

#endif
