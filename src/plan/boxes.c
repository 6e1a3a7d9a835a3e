/* SPDX-License-Identifier: Apache-2.0
 *
 * The level of detail of a picture: the finest that stays readable and that Graphviz
 * lays out in well under a second. Its time explodes with dense graphs (minutes for 300
 * boxes with 1,300 long edges), so what counts is not only how many boxes there are.
 */
#include "config.h"
#include "plan/boxes.h"

#include <stdlib.h>
#include <string.h>
#include "base/map.h"
#include "base/mem.h"
#include "plan/inside.h"

#define EDGES_MAX 600
#define SPAN_MAX 1500
#define GATHER_MAX 50000 /* edges that are looked at to thin them out */

/* The most boxes that a level may have; the last level takes everything. */
static const size_t boxes_max[] = {[PLAN__BY_STEP] = 200, [PLAN__BY_ENTRY] = 300};

static const char *box_name(const struct plan__step *s, enum plan__level level)
{
    switch (level) {
    case PLAN__BY_STEP:
        return s->step.address;
    case PLAN__BY_ENTRY:
        return s->step.entry;
    case PLAN__BY_SECTION:
        return s->entry->section;
    }
    return s->step.address;
}

/* The box of every step; false when there are too many. */
static bool make_boxes(const struct plan_graph *g, struct plan__boxes *p,
                       uint32_t *box_of)
{
    struct rwf_map *known = rwf_map_create();
    size_t most = p->level == PLAN__BY_SECTION ? SIZE_MAX : boxes_max[p->level];
    size_t cap = 0, count = 0;
    bool fits = true;

    for (size_t i = 0; i < g->step_count && fits; i++) {
        const struct plan__step *s = &g->steps[i];
        const char *name = box_name(s, p->level);
        uintptr_t at = (uintptr_t)rwf_map_get(known, name);
        if (!at) {
            *RWF_PUSH(p->boxes, count, cap) =
                (struct plan__box){name, s->entry->section};
            at = count;
            rwf_map_set(known, name, (void *)at);
        }
        box_of[i] = (uint32_t)at - 1;
        fits = count <= most;
    }
    p->count = (uint32_t)count;
    rwf_map_destroy(known, NULL);
    return fits;
}

static void make_members(const struct plan_graph *g, struct plan__boxes *p,
                         const uint32_t *box_of)
{
    uint32_t *at = rwf_xcalloc((size_t)p->count + 1, sizeof(*at));

    p->starts = rwf_xcalloc((size_t)p->count + 1, sizeof(*p->starts));
    p->members = rwf_xcalloc(g->step_count + 1, sizeof(*p->members));
    for (size_t i = 0; i < g->step_count; i++)
        p->starts[box_of[i] + 1]++;
    for (uint32_t i = 0; i < p->count; i++)
        p->starts[i + 1] += p->starts[i];
    for (size_t i = 0; i < g->step_count; i++)
        p->members[p->starts[box_of[i]] + at[box_of[i]]++] = (uint32_t)i;
    free(at);
}

static int compare_arrows(const void *a, const void *b)
{
    const struct plan__arrow *x = a, *y = b;

    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return x->to < y->to ? -1 : x->to > y->to;
}

/* Sorted, each once, none from a box to itself. */
static void tidy_arrows(struct plan__boxes *p)
{
    size_t kept = 0;

    if (p->edge_count > 1)
        qsort(p->edges, p->edge_count, sizeof(*p->edges), compare_arrows);
    for (size_t i = 0; i < p->edge_count; i++)
        if (kept == 0 || compare_arrows(&p->edges[kept - 1], &p->edges[i]) != 0)
            p->edges[kept++] = p->edges[i];
    p->edge_count = kept;
}

static bool too_many(const struct plan__boxes *p)
{
    return p->level != PLAN__BY_SECTION && p->edge_count > GATHER_MAX;
}

static size_t step_arrows(const struct plan_graph *g, struct plan__boxes *p,
                          const uint32_t *box_of, size_t i, size_t cap)
{
    const struct plan_step *s = &g->steps[i].step;

    for (size_t k = 0; k < s->need_count && !too_many(p); k++)
        *RWF_PUSH(p->edges, p->edge_count, cap) =
            (struct plan__arrow){box_of[s->needs[k]], box_of[i]};
    return cap;
}

/* Entries know what they refer to, so their arrows need no look at steps. */
static size_t entry_arrows(struct plan__boxes *p, struct rwf_map *boxes,
                           const struct plan__entry *e, size_t cap)
{
    bool sections = p->level == PLAN__BY_SECTION;
    uintptr_t to = (uintptr_t)rwf_map_get(boxes, sections ? e->section : e->address);

    for (size_t k = 0; to && k < e->dep_count; k++) {
        const struct plan__entry *d = e->deps[k].entry;
        uintptr_t from =
            (uintptr_t)rwf_map_get(boxes, sections ? d->section : d->address);
        if (from && from != to)
            *RWF_PUSH(p->edges, p->edge_count, cap) =
                (struct plan__arrow){(uint32_t)from - 1, (uint32_t)to - 1};
    }
    return cap;
}

static void make_arrows(const struct plan_graph *g, struct plan__boxes *p,
                        const uint32_t *box_of)
{
    struct rwf_map *boxes = rwf_map_create();
    size_t cap = 0;

    for (uint32_t i = 0; i < p->count; i++)
        rwf_map_set(boxes, p->boxes[i].name, (void *)(uintptr_t)(i + 1));
    if (p->level == PLAN__BY_STEP)
        for (size_t i = 0; i < g->step_count && !too_many(p); i++)
            cap = step_arrows(g, p, box_of, i, cap);
    else
        for (size_t i = 0; i < g->entry_count; i++)
            cap = entry_arrows(p, boxes, g->entries[i], cap);
    tidy_arrows(p);
    rwf_map_destroy(boxes, NULL);
}

/* A layout's time grows with the layers that edges cross. Boxes stand in topological
 * order and edges are sorted, so one pass finds the layers. */
static bool too_tangled(const struct plan__boxes *p)
{
    uint32_t *layer = rwf_xcalloc((size_t)p->count + 1, sizeof(*layer));
    size_t span = 0;

    for (size_t i = 0; i < p->edge_count; i++) {
        const struct plan__arrow *e = &p->edges[i];
        if (layer[e->to] <= layer[e->from])
            layer[e->to] = layer[e->from] + 1;
    }
    for (size_t i = 0; i < p->edge_count; i++)
        span += layer[p->edges[i].to] - layer[p->edges[i].from];
    free(layer);
    return p->edge_count > EDGES_MAX || span > SPAN_MAX;
}

static int compare_targets(const void *a, const void *b)
{
    const struct plan__arrow *x = a, *y = b;

    if (x->to != y->to)
        return x->to < y->to ? -1 : 1;
    return x->from > y->from ? -1 : x->from < y->from;
}

/* Leaves out arrows that others imply (a -> c beside a -> b -> c). The nearest source
 * of a box comes first: what it stands behind needs no arrow of its own. */
static void thin_out(struct plan__boxes *p)
{
    size_t words = (p->count + 63) / 64, kept = 0;
    uint64_t *before = rwf_xcalloc((size_t)p->count * words + 1, sizeof(*before));

    if (p->edge_count > 1)
        qsort(p->edges, p->edge_count, sizeof(*p->edges), compare_targets);
    for (size_t i = 0; i < p->edge_count; i++) {
        const struct plan__arrow e = p->edges[i];
        uint64_t *mine = before + e.to * words, *its = before + e.from * words;
        if (mine[e.from / 64] >> (e.from % 64) & 1)
            continue;
        mine[e.from / 64] |= UINT64_C(1) << (e.from % 64);
        for (size_t k = 0; k < words; k++)
            mine[k] |= its[k];
        p->edges[kept++] = e;
    }
    p->edge_count = kept;
    if (kept > 1)
        qsort(p->edges, p->edge_count, sizeof(*p->edges), compare_arrows);
    free(before);
}

/* True when the level can be laid out, perhaps with fewer arrows. */
static bool is_drawable(struct plan__boxes *p)
{
    if (p->level == PLAN__BY_SECTION)
        return true;
    if (too_many(p))
        return false;
    if (too_tangled(p))
        thin_out(p);
    return !too_tangled(p);
}

static void forget(struct plan__boxes *p)
{
    free(p->boxes);
    free(p->starts);
    free(p->members);
    free(p->edges);
}

struct plan__boxes *plan__boxes_create(const struct plan_graph *g)
{
    struct plan__boxes *p = rwf_xcalloc(1, sizeof(*p));
    uint32_t *box_of = rwf_xcalloc(g->step_count + 1, sizeof(*box_of));

    for (int level = PLAN__BY_STEP; level <= PLAN__BY_SECTION; level++) {
        *p = (struct plan__boxes){.level = (enum plan__level)level};
        if (make_boxes(g, p, box_of)) {
            make_members(g, p, box_of);
            make_arrows(g, p, box_of);
            if (is_drawable(p))
                break;
        }
        forget(p);
    }
    free(box_of);
    return p;
}

void plan__boxes_destroy(struct plan__boxes *p)
{
    forget(p);
    free(p);
}
