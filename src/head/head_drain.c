/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes that are emptied: nothing new is placed there; leases come back after their
 * current task; actors that may restart do so elsewhere; reservations in which nothing
 * runs move. What is left after the time-out is ended, and told why. The node is told,
 * too: it says so again to a head that was started anew.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "head/inside.h"

#define TIMEOUT (60 * RWF_NS_PER_S)
#define TIMEOUT_MAX (30 * 24 * 3600 * RWF_NS_PER_S)

/* --- what runs on a node --- */

struct of_node {
    struct head__node *node;
    uint64_t group; /* 0: all of the node */
    struct schedule_lease_view *leases;
    size_t count, cap;
};

static void add_lease(void *ctx, const struct schedule_lease_view *v)
{
    struct of_node *o = ctx;
    if (v->node == o->node->number && (!o->group || v->group == o->group))
        *RWF_PUSH(o->leases, o->count, o->cap) = *v;
}

/* kill: also what has been recalled before. Actors are not leases of clients. */
static void recall_all(struct head__node *n, bool kill, const char *text)
{
    struct of_node o = {.node = n};
    schedule_leases_each(n->head->leases, add_lease, &o);
    for (size_t i = 0; i < o.count; i++) {
        const struct head__ask *a = rwf_ids_get(&n->head->asks, o.leases[i].ask);
        if (kill || !(a && a->actor))
            head__recall(n, o.leases[i].lease, kill, text);
    }
    free(o.leases);
}

/* --- groups --- */

struct groups {
    struct head__node *node;
    const char *text; /* NULL: those without leases move; else all are lost */
    struct head__group **list;
    size_t count, cap;
};

static bool is_on(const struct head__group *g, const struct head__node *n)
{
    for (size_t i = 0; g->placed && i < g->wire->n_bundles; i++)
        if (schedule_leases_group_node(g->head->leases, g->id, (int)i) == n->number)
            return true;
    return false;
}

static void add_group(void *ctx, void *item)
{
    struct groups *s = ctx;
    struct head__group *g = item;
    if (is_on(g, s->node))
        *RWF_PUSH(s->list, s->count, s->cap) = g;
}

/* Steps of a run are known to its driver only: their groups are left alone. */
static bool is_of_run(const struct head__group *g)
{
    const struct head__node *home = head__node_find(g->head, g->home);
    return home && home->member && home->member->driver;
}

static bool is_empty(const struct head__group *g, struct head__node *n)
{
    struct of_node o = {.node = n, .group = g->id};
    schedule_leases_each(g->head->leases, add_lease, &o);
    free(o.leases);
    return o.count == 0;
}

static void groups_of(struct head__node *n, const char *text)
{
    struct groups s = {.node = n, .text = text};
    rwf_ids_each(&n->head->groups, add_group, &s);
    for (size_t i = 0; i < s.count; i++) {
        if (text)
            head__group_lost(s.list[i], text);
        else if (!is_of_run(s.list[i]) && is_empty(s.list[i], n))
            head__group_move(s.list[i]);
    }
    free(s.list);
}

/* --- draining --- */

static void tell_node(struct head__node *n, bool end)
{
    Wire__NodeDrain d = WIRE__NODE_DRAIN__INIT;
    d.name = n->name;
    d.undo = !n->member->draining;
    d.end = end;
    HEAD__SEND(n, WIRE_NODE_DRAIN, &d);
}

void head__drain(struct head__node *n, int64_t timeout)
{
    struct head *h = n->head;
    int64_t now = rwf_clock_mono();
    if (timeout <= 0 || timeout > TIMEOUT_MAX)
        timeout = TIMEOUT;
    n->drain_until = now + timeout;
    if (!n->member->draining)
        rwf_log(RWF_LOG_INFO, "head", "node %s drains", n->name);
    n->member->draining = true;
    schedule_cluster_close(h->cluster, n->number, true);
    head__member_say(n);
    tell_node(n, false);
    recall_all(n, false, "its node drains");
    head__actors_drain(n, false);
    groups_of(n, NULL);
}

static void undrain(struct head__node *n)
{
    n->member->draining = false;
    n->drain_until = 0;
    schedule_cluster_close(n->head->cluster, n->number, !n->peer);
    head__member_say(n);
    tell_node(n, false);
    rwf_log(RWF_LOG_INFO, "head", "node %s drains no more", n->name);
}

/* Its time is over. */
static void drain_end(struct head__node *n)
{
    char *text = rwf_xasprintf("node %s was drained, and its time was over", n->name);
    n->drain_until = 0;
    recall_all(n, true, text);
    head__actors_drain(n, true);
    groups_of(n, text);
    free(text);
}

int64_t head__drain_check(struct head__node *n, int64_t now)
{
    if (n->drain_until && now >= n->drain_until)
        drain_end(n);
    return n->drain_until ? n->drain_until : INT64_MAX;
}

/* --- requests --- */

static void answer(struct head__peer *p, uint64_t request, const char *problem)
{
    Wire__Error e = WIRE__ERROR__INIT;
    Wire__Done d = WIRE__DONE__INIT;
    e.request = d.request = request;
    e.code = RAYWF_E_ARGUMENT;
    e.text = (char *)problem;
    wire_link_send(p->link, problem ? WIRE_ERROR : WIRE_DONE,
                   problem ? &e.base : &d.base, NULL, 0);
}

void head__end_node(struct head__node *n)
{
    if (!n->member->driver && !(n->peer && n->peer->near)) /* that ends with us */
        tell_node(n, true);
}

void head_end(struct head *h)
{
    struct head__node *n;
    LIST_FOREACH(n, &h->nodes, all)
    head__end_node(n);
    h->ending = true;
    head__end_check(h);
}

void head__end_check(struct head *h)
{
    const struct head__node *n;
    if (!h->ending || !h->end)
        return;
    LIST_FOREACH(n, &h->nodes, all)
    if (n->peer && !n->peer->near && !n->member->driver)
        return;
    h->ending = false;
    h->end(h->other_ctx);
}

static void no_node(struct head__peer *p, const Wire__NodeDrain *m)
{
    struct rwf_str names = {0};
    const struct head__node *n;
    LIST_FOREACH(n, &p->head->nodes, all)
    if (!n->member->driver)
        rwf_str_addf(&names, "%s%s", names.len ? ", " : "", n->name);
    char *text = rwf_xasprintf("there is no node '%s' in this cluster; there are: %s",
                               m->name, names.data ? names.data : "none");
    answer(p, m->request, text);
    free(text);
    rwf_str_free(&names);
}

void head__on_drain(struct head__peer *p, const Wire__NodeDrain *m)
{
    struct head__node *n = head__node_find(p->head, m->name);
    if (m->end && !*m->name) {
        answer(p, m->request, NULL);
        head_end(p->head);
        return;
    }
    if (m->end && n && n == p->node) {
        n->leaving = true;
        return;
    }
    if (!n || n->member->driver) {
        no_node(p, m);
        return;
    }
    if (m->end)
        tell_node(n, true);
    else if (m->undo)
        undrain(n);
    else
        head__drain(n, m->timeout);
    answer(p, m->request, NULL);
}

/* --- is it of use? --- */

static void count_actor(void *ctx, void *item)
{
    const struct head__actor *a = item;
    *(size_t *)ctx += a->state != ACTOR_DEAD;
}

bool head_in_use(const struct head *h)
{
    const struct head__node *n;
    size_t actors = 0;
    LIST_FOREACH(n, &h->nodes, all)
    if (n->member->driver)
        return true;
    rwf_ids_each(&h->actors, count_actor, &actors);
    return actors > 0 || h->clients.count > 0 || h->groups.count > 0;
}
