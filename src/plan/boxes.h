/* SPDX-License-Identifier: Apache-2.0
 *
 * A graph in few enough boxes: steps, or entries, or sections.
 */
#ifndef RWF_PLAN_BOXES_H
#define RWF_PLAN_BOXES_H
#include "plan/graph.h"

enum plan__level { PLAN__BY_STEP, PLAN__BY_ENTRY, PLAN__BY_SECTION };

struct plan__box {
    const char *name; /* an address or a section */
    const char *section;
};

struct plan__arrow {
    uint32_t from, to;
};

struct plan__boxes {
    enum plan__level level;
    struct plan__box *boxes;
    uint32_t count;
    uint32_t *starts;  /* by box, and one more: its part of members */
    uint32_t *members; /* steps */
    struct plan__arrow *edges;
    size_t edge_count;
};

struct plan__boxes *plan__boxes_create(const struct plan_graph *g);
void plan__boxes_destroy(struct plan__boxes *p);

#endif
