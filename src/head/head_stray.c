/* SPDX-License-Identifier: Apache-2.0
 *
 * Leases that a node says it runs for clients of a node that has not joined yet: the
 * head came back a moment ago. They are held again when that node is here, or end with
 * it when it does not come.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "head/inside.h"

struct head__stray {
    LIST_ENTRY(head__stray) all;
    struct head__node *node; /* of the worker */
    Wire__Lease *lease;
    int64_t until;
};

static void stray_free(struct head__stray *s)
{
    LIST_REMOVE(s, all);
    head__free_message(s->lease);
    free(s);
}

static void end(struct head__stray *s)
{
    head__recall(s->node, s->lease->lease, true,
                 "its client's node did not come back, or its resources are somebody "
                 "else's");
    stray_free(s);
}

bool head__stray_add(struct head__node *n, const Wire__Lease *l)
{
    struct head *h = n->head;
    int64_t until = h->started + h->dead_after;
    if (!*l->home || head__node_find(h, l->home) || rwf_clock_mono() >= until)
        return false;
    struct head__stray *s = rwf_xcalloc(1, sizeof(*s));
    s->node = n;
    s->lease = head__copy(&l->base);
    s->until = until;
    LIST_INSERT_HEAD(&h->strays, s, all);
    return true;
}

void head__stray_drop(struct head__node *n, uint64_t lease)
{
    struct head__stray *s, *next;
    for (s = LIST_FIRST(&n->head->strays); s; s = next) {
        next = LIST_NEXT(s, all);
        if (s->node == n && s->lease->lease == lease)
            stray_free(s);
    }
}

void head__strays_node(struct head__node *n, bool gone)
{
    struct head__stray *s, *next;
    for (s = LIST_FIRST(&n->head->strays); s; s = next) {
        next = LIST_NEXT(s, all);
        if (gone && s->node == n)
            stray_free(s);
        else if (!gone && strcmp(s->lease->home, n->name) != 0)
            continue;
        else if (!gone && head__lease_restore(s->node, s->lease))
            stray_free(s);
        else if (!gone)
            end(s);
    }
}

int64_t head__strays_check(struct head *h, int64_t now)
{
    struct head__stray *s, *next;
    int64_t due = INT64_MAX;
    for (s = LIST_FIRST(&h->strays); s; s = next) {
        next = LIST_NEXT(s, all);
        if (s->until <= now)
            end(s);
        else if (s->until < due)
            due = s->until;
    }
    return due;
}

void head__strays_free(struct head *h)
{
    while (!LIST_EMPTY(&h->strays))
        stray_free(LIST_FIRST(&h->strays));
}
