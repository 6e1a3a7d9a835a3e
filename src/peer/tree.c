/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "peer/tree.h"
#include <stdlib.h>
#include "base/mem.h"

static struct peer__puller *find(const struct peer__tree *t, uint64_t session)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->pullers[i].session == session)
            return &t->pullers[i];
    return NULL;
}

/* Those that get it from there now. */
static unsigned children(const struct peer__tree *t, uint64_t session)
{
    unsigned n = 0;

    for (size_t i = 0; i < t->count; i++)
        n += !t->pullers[i].complete && t->pullers[i].parent == session;
    return n;
}

/* How many steps above it the owner is, or one that has all; -1: `under` is on the way.
 */
static int depth(const struct peer__tree *t, const struct peer__puller *p,
                 uint64_t under)
{
    int steps = 0;

    while (p && !p->complete) {
        if (p->session == under)
            return -1;
        steps++;
        p = p->parent ? find(t, p->parent) : NULL;
    }
    return p && p->session == under ? -1 : steps;
}

static struct peer__puller *add(struct peer__tree *t, uint64_t session)
{
    struct peer__puller *p = find(t, session);

    if (!p)
        p = RWF_PUSH(t->pullers, t->count, t->cap);
    *p = (struct peer__puller){.session = session};
    return p;
}

uint64_t peer__tree_place(struct peer__tree *t, uint64_t session, uint64_t avoid,
                          unsigned fan)
{
    struct peer__puller *self = add(t, session);
    unsigned best_children;
    uint64_t best = 0;
    int best_depth = 0;

    self->parent = session; /* counts nowhere while the others are looked at */
    best_children = children(t, 0);
    if (best_children >= fan)
        best_depth = INT32_MAX;
    for (size_t i = 0; i < t->count && avoid != PEER__AVOID_ALL; i++) {
        const struct peer__puller *p = &t->pullers[i];
        unsigned n = children(t, p->session);
        int d = p == self || p->session == avoid ? -1 : depth(t, p, session);
        if (d < 0 || n >= fan)
            continue;
        if (d > best_depth || (d == best_depth && n >= best_children))
            continue;
        best = p->session;
        best_depth = d;
        best_children = n;
    }
    self->parent = best;
    return best;
}

void peer__tree_done(struct peer__tree *t, uint64_t session)
{
    struct peer__puller *p = find(t, session);

    if (!p)
        return;
    p->complete = true;
    p->parent = 0;
}

void peer__tree_leave(struct peer__tree *t, uint64_t session)
{
    struct peer__puller *p = find(t, session);

    if (p)
        *p = t->pullers[--t->count];
}

size_t peer__tree_active(const struct peer__tree *t)
{
    size_t n = 0;

    for (size_t i = 0; i < t->count; i++)
        n += !t->pullers[i].complete;
    return n;
}

void peer__tree_free(struct peer__tree *t)
{
    free(t->pullers);
    *t = (struct peer__tree){0};
}
