/* SPDX-License-Identifier: Apache-2.0
 *
 * Which nodes have which large arguments. A node that was sent a call keeps the objects
 * that it reads for a while, so that the next call with them moves nothing: a worker
 * there gets such a call first, and more workers are asked for there. It is a guess,
 * and only an order: no worker is left idle for it, and no call waits for long.
 *
 * Nothing of it is looked at until a large object has gone to another node.
 */
#include "config.h"
#include "native/near.h"
#include <stdlib.h>
#include "base/mem.h"
#include "native/args.h"

#define LARGE ((uint64_t)64 << 10) /* an argument that counts */
#define MUCH ((uint64_t)1 << 20)   /* arguments, together, that are worth it */
#define RECENT 64                  /* objects known of a node */
#define WINDOW 16                  /* calls that are looked at for a worker */
#define PASSED_MAX 64              /* by others, while a call is the first */

struct native__near {
    struct native__near *next;
    uint32_t node; /* as in GRANT */
    unsigned at;
    store_object recent[RECENT];
};

struct native__near *native__near_node(struct native__client *c, uint32_t node)
{
    struct native__near *n = c->nears;
    while (n && n->node != node)
        n = n->next;
    if (n || !node)
        return n;
    n = rwf_xcalloc(1, sizeof(*n));
    n->node = node;
    n->next = c->nears;
    c->nears = n;
    return n;
}

void native__near_free(struct native__client *c)
{
    while (c->nears) {
        struct native__near *n = c->nears;
        c->nears = n->next;
        free(n);
    }
}

static bool has(const struct native__near *n, store_object object)
{
    for (unsigned i = 0; i < RECENT; i++)
        if (n->recent[i] == object)
            return true;
    return false;
}

/* The next large argument; NULL: there is no more. */
static const struct native__value *next_large(struct native__client *c,
                                              struct native__arg_walk *w)
{
    const struct native_item *item;
    while ((item = native__args_next(w))) {
        if (item->object != NATIVE__REF)
            continue;
        const struct native__value *v = native__value_at(c, (uint32_t)item->size);
        if (v->state == NATIVE__STORED && v->size >= LARGE)
            return v;
    }
    return NULL;
}

void native__near_sent(struct native__client *c, struct native__near *n,
                       struct native__task *t)
{
    struct native__arg_walk w = native__args_of(t);
    const struct native__value *v;
    while ((v = next_large(c, &w)))
        if (!has(n, v->object)) {
            n->recent[n->at++ % RECENT] = v->object;
            c->near = true;
        }
}

/* Bytes of its large arguments; there: those of them that n has. */
static uint64_t large(struct native__client *c, struct native__task *t,
                      const struct native__near *n, uint64_t *ret_there)
{
    struct native__arg_walk w = native__args_of(t);
    const struct native__value *v;
    uint64_t all = 0;
    *ret_there = 0;
    while (t->flags & NATIVE__HAS_REFS && (v = next_large(c, &w))) {
        all += v->size;
        *ret_there += has(n, v->object) ? v->size : 0;
    }
    return all;
}

/* The node with most of what t reads, if that is much. */
static struct native__near *node_of(struct native__client *c, struct native__task *t)
{
    struct native__near *best = NULL;
    uint64_t most = MUCH - 1, there;
    for (struct native__near *n = c->nears; n; n = n->next) {
        (void)large(c, t, n, &there);
        if (there > most) {
            most = there;
            best = n;
        }
    }
    return best;
}

enum where { ANYWHERE, HERE, ELSEWHERE };

static enum where where_of(struct native__client *c, struct native__task *t,
                           const struct native__near *here)
{
    uint64_t there, all = large(c, t, here, &there);
    if (all < MUCH)
        return ANYWHERE;
    if (there >= MUCH)
        return HERE;
    return node_of(c, t) ? ELSEWHERE : ANYWHERE;
}

/* The first, unless what it reads is on another node: then one whose arguments n has,
 * else one that may run anywhere. */
static struct native__task *best_of(struct native__client *c,
                                    const struct native__lane *lane,
                                    const struct native__near *n)
{
    struct native__task *first = lane->queue.first, *other = NULL;
    if (where_of(c, first, n) != ELSEWHERE)
        return first;
    struct native__task *t = first->next;
    for (int i = 1; t && i < WINDOW; i++, t = t->next) {
        enum where where = where_of(c, t, n);
        if (where == HERE)
            return t;
        if (where == ANYWHERE && !other)
            other = t;
    }
    return other ? other : first;
}

struct native__task *native__near_pick(struct native__client *c,
                                       struct native__lane *lane,
                                       const struct native__near *n)
{
    struct native__task *first = lane->queue.first;
    struct native__task *t = lane->passed < PASSED_MAX ? best_of(c, lane, n) : first;
    lane->passed = t == first ? 0 : lane->passed + 1;
    return t;
}

uint32_t native__near_want(struct native__client *c, struct native__lane *lane)
{
    const struct native__near *n = NULL;
    struct native__task *t = lane->queue.first;
    for (int i = 0; c->near && !lane->ordered && t && !n && i < WINDOW;
         i++, t = t->next)
        n = node_of(c, t);
    return n ? n->node : 0;
}
