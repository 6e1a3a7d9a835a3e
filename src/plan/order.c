/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries in topological order. A walk in depth, in the order of the recipe, with a
 * stack of its own: what an entry needs comes before it, otherwise the recipe's order
 * stays. An entry found on the stack closes a circle, which is shown as a path with
 * lines.
 */
#include "config.h"
#include "plan/inside.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define SHOWN_MAX 12 /* entries of a circle that are named */

struct frame {
    struct plan__entry *entry;
    size_t next; /* dependency to look at */
};

struct sorting {
    struct plan__build *b;
    struct frame *stack;
    size_t depth, cap;
    size_t done;
};

static void add_place(struct rwf_str *out, const struct plan__entry *e)
{
    rwf_str_addf(out, "%s (line %u)", e->address, (unsigned)e->span.line);
}

static void report_cycle(struct sorting *s, const struct plan__dep *closing)
{
    struct rwf_str path = {0};
    size_t start = s->depth;
    size_t length;

    while (s->stack[start - 1].entry != closing->entry)
        start--;
    length = s->depth - start + 1;
    for (size_t i = start - 1; i < s->depth; i++) {
        if (length > SHOWN_MAX && i == start - 1 + SHOWN_MAX / 2) {
            rwf_str_addf(&path, "… %zu more … -> ", length - SHOWN_MAX);
            i += length - SHOWN_MAX;
        }
        add_place(&path, s->stack[i].entry);
        rwf_str_add(&path, " -> ");
    }
    rwf_str_add(&path, closing->entry->address);
    struct recipe_diag *d =
        recipe_diag_add(s->b->diags, RECIPE_E0301, closing->span, "%s", path.data);
    if (length == 1)
        recipe_diag_hint(d,
                         "a step cannot wait for itself; its own outputs lie beneath "
                         "${step.dir}");
    else
        recipe_diag_hint(d, "remove one reference or one needs: entry of this circle");
    rwf_str_free(&path);
}

static void push(struct sorting *s, struct plan__entry *e)
{
    e->mark = PLAN__OPEN;
    *RWF_PUSH(s->stack, s->depth, s->cap) = (struct frame){e, 0};
}

static void visit(struct sorting *s, struct plan__entry *root)
{
    push(s, root);
    while (s->depth > 0) {
        struct frame *f = &s->stack[s->depth - 1];
        if (f->next == f->entry->dep_count) {
            f->entry->mark = PLAN__DONE;
            s->b->g->order[s->done++] = f->entry;
            s->depth--;
            continue;
        }
        const struct plan__dep *dep = &f->entry->deps[f->next++];
        if (dep->entry->mark == PLAN__OPEN)
            report_cycle(s, dep);
        else if (dep->entry->mark == PLAN__NEW)
            push(s, dep->entry);
    }
}

void plan__order(struct plan__build *b)
{
    struct plan_graph *g = b->g;
    struct sorting s = {.b = b};

    g->order = rwf_arena_alloc(g->arena, (g->entry_count + 1) * sizeof(*g->order));
    for (size_t i = 0; i < g->entry_count; i++)
        if (g->entries[i]->mark == PLAN__NEW)
            visit(&s, g->entries[i]);
    rwf_assert(s.done == g->entry_count);
    free(s.stack);
}
