/* SPDX-License-Identifier: Apache-2.0
 *
 * The nodes of the cluster. A node is known by its name and its session: with the same
 * session it comes back with all it runs, with another one it was started anew. Between
 * two links nothing is placed on it; after dead_after it is gone.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "head/inside.h"

struct head__node *head__node_find(struct head *h, const char *name)
{
    struct head__node *n;
    LIST_FOREACH(n, &h->nodes, all)
    if (strcmp(n->name, name) == 0)
        return n;
    return NULL;
}

struct head__node *head__node_by_number(struct head *h, uint32_t number)
{
    struct head__node *n;
    LIST_FOREACH(n, &h->nodes, all)
    if (n->number == number)
        return n;
    return NULL;
}

/* --- leaving --- */

struct of_node {
    struct head__node *node;
    const Wire__NodeJoin *join; /* NULL: all */
    uint64_t *leases;
    size_t count, cap;
};

static bool is_listed(const Wire__NodeJoin *join, uint64_t lease)
{
    for (size_t i = 0; join && i < join->n_leases; i++)
        if (join->leases[i]->lease == lease)
            return true;
    return false;
}

static void add_unlisted(void *ctx, const struct schedule_lease_view *v)
{
    struct of_node *o = ctx;
    if (v->node == o->node->number && !is_listed(o->join, v->lease))
        *RWF_PUSH(o->leases, o->count, o->cap) = v->lease;
}

/* Leases on n that are not in join (NULL: all) are over. */
static void end_leases(struct head__node *n, const Wire__NodeJoin *join)
{
    struct of_node o = {.node = n, .join = join};
    schedule_leases_each(n->head->leases, add_unlisted, &o);
    for (size_t i = 0; i < o.count; i++)
        head__on_return(n, o.leases[i]);
    free(o.leases);
}

static void leave(void *ctx, void *item)
{
    struct head__client *c = item;
    if (c->node == ctx)
        head__client_gone(c);
}

void head__node_free(struct head__node *n)
{
    struct head *h = n->head;
    rwf_ids_each(&h->clients, leave, n);
    LIST_REMOVE(n, all);
    free(n->name);
    free(n);
}

static void node_gone(struct head__node *n, const char *why)
{
    struct head *h = n->head;
    rwf_log(RWF_LOG_WARN, "head", "node %s is gone: %s", n->name, why);
    if (n->peer) {
        n->peer->node = NULL;
        wire_link_close(n->peer->link);
        n->peer = NULL;
    }
    head__actors_node(n, true);
    head__groups_node(n, true);
    rwf_ids_each(&h->clients, leave, n);
    end_leases(n, NULL);
    if (n->ours) {
        schedule_cluster_remove(h->cluster, n->number);
        schedule_leases_node_gone(h->leases, n->number, rwf_clock_mono());
    }
    head__node_free(n);
}

void head__peer_closed(struct head__peer *p)
{
    struct head__node *n = p->node;
    if (!n)
        return;
    n->peer = NULL;
    p->node = NULL;
    n->heard = rwf_clock_mono();
    if (p->near)
        node_gone(n, "it has ended");
    else
        schedule_cluster_close(n->head->cluster, n->number, true);
}

static void leave_unsaid(void *ctx, void *item)
{
    struct head__client *c = item;
    if (c->node == ctx && !c->said)
        head__client_gone(c);
}

int64_t head__members_check(struct head *h, int64_t now)
{
    struct head__node *n, *next_node;
    struct head__peer *p;
    int64_t next = INT64_MAX;
    for (n = LIST_FIRST(&h->nodes); n; n = next_node) {
        next_node = LIST_NEXT(n, all);
        if (n->sweep_at && now >= n->sweep_at) {
            n->sweep_at = 0;
            rwf_ids_each(&h->clients, leave_unsaid, n);
        }
        if (n->sweep_at && n->sweep_at < next)
            next = n->sweep_at;
        if (n->peer && n->peer->near)
            continue;
        if (now - n->heard >= h->dead_after)
            node_gone(n, n->peer ? "it says nothing" : "its connection is lost");
        else if (n->heard + h->dead_after < next)
            next = n->heard + h->dead_after;
    }
    LIST_FOREACH(p, &h->peers, all)
    {
        if (p->node || p->near)
            continue;
        if (now - p->opened >= h->dead_after)
            wire_link_close(p->link);
        else if (p->opened + h->dead_after < next)
            next = p->opened + h->dead_after;
    }
    return next;
}

/* --- joining --- */

static void refuse(struct head__peer *p, const char *fmt, const char *name)
{
    char *text = rwf_xasprintf(fmt, name);
    Wire__Error e = WIRE__ERROR__INIT;
    e.code = RAYWF_E_ARGUMENT;
    e.text = text;
    rwf_log(RWF_LOG_WARN, "head", "%s: %s", wire_link_name(p->link), text);
    wire_link_send(p->link, WIRE_ERROR, &e.base, NULL, 0);
    wire_link_close(p->link);
    free(text);
}

static bool is_valid(const Wire__NodeJoin *m)
{
    bool good = *m->name && strlen(m->name) <= 255 && isfinite(m->cpu) && m->cpu >= 0 &&
                m->cpu < 1e6 && m->memory <= INT64_MAX &&
                m->n_gpus <= SCHEDULE_MAX_GPUS &&
                rwf_utf8_valid(m->name, strlen(m->name));
    for (size_t i = 0; i < m->n_gpus && good; i++)
        good = m->gpus[i]->index == i && m->gpus[i]->memory <= INT64_MAX;
    for (size_t i = 0; i < m->n_custom && good; i++)
        good = *m->custom[i]->name && isfinite(m->custom[i]->amount) &&
               m->custom[i]->amount >= 0 && m->custom[i]->amount < 1e12;
    for (size_t i = 0; i < m->n_labels && good; i++)
        good = *m->labels[i]->key != '\0';
    return good;
}

static uint32_t add_to_cluster(struct head *h, const Wire__NodeJoin *m)
{
    size_t rows = m->n_gpus + m->n_custom + m->n_labels + 1;
    const char **texts = rwf_xcalloc(2 * rows, sizeof(*texts));
    int64_t *memory = rwf_xcalloc(rows, sizeof(*memory));
    double *amounts = rwf_xcalloc(rows, sizeof(*amounts));
    const char **gpu_names = texts, **names = texts + m->n_gpus;
    const char **keys = names + m->n_custom, **values = keys + m->n_labels;
    for (size_t i = 0; i < m->n_gpus; i++) {
        memory[i] = (int64_t)m->gpus[i]->memory;
        gpu_names[i] = m->gpus[i]->name;
    }
    for (size_t i = 0; i < m->n_custom; i++) {
        names[i] = m->custom[i]->name;
        amounts[i] = m->custom[i]->amount;
    }
    for (size_t i = 0; i < m->n_labels; i++) {
        keys[i] = m->labels[i]->key;
        values[i] = m->labels[i]->value;
    }
    struct schedule_machine machine = {.name = m->name,
                                       .cpu = m->cpu,
                                       .memory = (int64_t)m->memory,
                                       .gpu_count = (int)m->n_gpus,
                                       .gpu_memory = memory,
                                       .gpu_names = gpu_names,
                                       .custom_names = names,
                                       .custom_amounts = amounts,
                                       .custom_count = m->n_custom,
                                       .label_keys = keys,
                                       .label_values = values,
                                       .label_count = m->n_labels};
    uint32_t number = schedule_cluster_add(h->cluster, &machine);
    free(texts);
    free(memory);
    free(amounts);
    return number;
}

static struct head__node *new_node(struct head *h, const Wire__NodeJoin *m)
{
    struct head__node *n = rwf_xcalloc(1, sizeof(*n));
    n->head = h;
    n->name = rwf_xstrdup(m->name);
    n->session = m->session;
    n->number = schedule_cluster_find(h->cluster, m->name);
    n->ours = n->number == SCHEDULE_NO_NODE;
    if (n->ours)
        n->number = add_to_cluster(h, m);
    LIST_INSERT_HEAD(&h->nodes, n, all);
    rwf_log(RWF_LOG_INFO, "head", "node %s joins: %g cpu, %zu gpu", n->name, m->cpu,
            m->n_gpus);
    return n;
}

static const Wire__ActorSpec *spec_of(const Wire__NodeJoin *m, uint64_t actor)
{
    for (size_t i = 0; i < m->n_actors; i++)
        if (m->actors[i]->actor == actor)
            return m->actors[i];
    return NULL;
}

static void kill_actor(struct head__node *n, uint64_t actor)
{
    Wire__ActorKill k = WIRE__ACTOR_KILL__INIT;
    k.actor = actor;
    HEAD__SEND(n, WIRE_ACTOR_KILL, &k);
}

/* What it runs becomes known again, or ends. */
static void take_in(struct head__node *n, const Wire__NodeJoin *m)
{
    for (size_t i = 0; i < m->n_leases; i++) {
        const Wire__Lease *l = m->leases[i];
        const Wire__ActorSpec *spec = l->actor ? spec_of(m, l->actor) : NULL;
        if (l->actor && !(spec && head__actor_adopt(n, spec, l)))
            kill_actor(n, l->actor);
        else if (!l->actor && !head__lease_restore(n, l))
            head__recall(n, l->lease, true,
                         "its resources were given to somebody else");
    }
}

static void forget_said(void *ctx, void *item)
{
    struct head__client *c = item;
    if (c->node == ctx)
        c->said = false;
}

void head__on_join(struct head__peer *p, const Wire__NodeJoin *m)
{
    struct head *h = p->head;
    struct head__node *n = head__node_find(h, m->name);
    if (!is_valid(m)) {
        refuse(p, "node '%s' has a name or resources that make no sense", m->name);
        return;
    }
    if (n && n->session != m->session && n->peer && n->peer != p) {
        refuse(p, "another node is named '%s': start this one with --name", m->name);
        return;
    }
    if (n && n->session != m->session) {
        node_gone(n, "it was started anew");
        n = NULL;
    }
    if (!n)
        n = new_node(h, m);
    if (n->peer && n->peer != p) {
        n->peer->node = NULL;
        wire_link_close(n->peer->link);
    }
    n->peer = p;
    p->node = n;
    n->heard = rwf_clock_mono();
    n->sweep_at = n->heard + h->dead_after;
    schedule_cluster_close(h->cluster, n->number, false);
    Wire__NodeWelcome w = WIRE__NODE_WELCOME__INIT;
    w.node = n->number;
    HEAD__SEND(n, WIRE_NODE_WELCOME, &w);
    /* Said again now by those who are still there. */
    rwf_ids_each(&h->clients, forget_said, n);
    end_leases(n, m);
    take_in(n, m);
    head__actors_node(n, false);
    head__groups_node(n, false);
}
