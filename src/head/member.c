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

#define TEXT_MAX 255  /* bytes of a name, an address, a label */
#define ROWS_MAX 1024 /* custom resources, or labels, of one node */

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

bool head__node_is_open(const struct head__node *n)
{
    return n->member && *n->member->peer;
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
    head__relay_node_gone(n);
    LIST_REMOVE(n, all);
    head__free_message(n->member);
    free(n->name);
    free(n);
}

/* --- who is there, for the nodes --- */

static void say_members(struct head__node *to, Wire__Member **members, size_t count,
                        bool all)
{
    Wire__Members m = WIRE__MEMBERS__INIT;
    m.members = members;
    m.n_members = count;
    m.all = all;
    HEAD__SEND(to, WIRE_MEMBERS, &m);
}

void head__member_say(struct head__node *n)
{
    struct head__node *to;
    LIST_FOREACH(to, &n->head->nodes, all)
    say_members(to, &n->member, 1, false);
}

static void say_all(struct head__node *to)
{
    struct head__node *n;
    Wire__Member **members = NULL;
    size_t count = 0, cap = 0;
    LIST_FOREACH(n, &to->head->nodes, all)
    *RWF_PUSH(members, count, cap) = n->member;
    say_members(to, members, count, true);
    free(members);
}

/* What it says about itself; its lists are taken from m. */
static void member_set(struct head__node *n, const Wire__NodeJoin *m)
{
    Wire__Member w = WIRE__MEMBER__INIT;
    w.node = n->number;
    w.name = n->name;
    w.session = n->session;
    w.peer = m->peer;
    w.driver = m->driver;
    w.folder = m->folder;
    w.draining = m->draining || (n->member && n->member->draining);
    w.cpu = m->cpu;
    w.memory = m->memory;
    w.n_gpus = m->n_gpus;
    w.gpus = m->gpus;
    w.n_custom = m->n_custom;
    w.custom = m->custom;
    w.n_labels = m->n_labels;
    w.labels = m->labels;
    w.interface = m->interface;
    head__free_message(n->member);
    n->member = head__copy(&w.base);
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
    head__actors_going(n);
    head__strays_node(n, true);
    head__actors_node(n, true);
    head__groups_node(n, true);
    rwf_ids_each(&h->clients, leave, n);
    end_leases(n, NULL);
    n->member->gone = true;
    n->member->text = rwf_xstrdup(why); /* it had none */
    head__member_say(n);
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
    if (p->near || n->leaving)
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
        int64_t drained = head__drain_check(n, now);
        if (drained < next)
            next = drained;
        if (n->peer && n->peer->near)
            continue;
        if (now - n->heard >= h->dead_after)
            node_gone(n, n->peer ? "it says nothing" : "its connection is lost");
        else if (n->heard + h->dead_after < next)
            next = n->heard + h->dead_after;
    }
    LIST_FOREACH(p, &h->peers, all)
    {
        if (p->node || p->near || head__relay_waits(p))
            continue;
        if (now - p->opened >= h->dead_after)
            wire_link_close(p->link);
        else if (p->opened + h->dead_after < next)
            next = p->opened + h->dead_after;
    }
    return next;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void head__members_forgive(struct head *h, int64_t now, int64_t spent)
{
    struct head__node *n;
    struct head__peer *p;
    LIST_FOREACH(n, &h->nodes, all)
    {
        n->heard = sooner(n->heard + spent + h->dead_after / 2, now);
        if (n->sweep_at)
            n->sweep_at += spent;
    }
    LIST_FOREACH(p, &h->peers, all)
    p->opened = sooner(p->opened + spent + h->dead_after / 2, now);
}

/* --- joining --- */

/* fmt has the name in it, of which a part is said. */
static void refuse(struct head__peer *p, const char *fmt, const char *name)
{
    char *part = rwf_xstrndup(name, strnlen(name, 64));
    char *text = rwf_xasprintf(fmt, part);
    free(part);
    Wire__Error e = WIRE__ERROR__INIT;
    e.code = RAYWF_E_ARGUMENT;
    e.text = text;
    rwf_log(RWF_LOG_WARN, "head", "%s: %s", wire_link_name(p->link), text);
    wire_link_send(p->link, WIRE_ERROR, &e.base, NULL, 0);
    wire_link_close(p->link);
    free(text);
}

/* All other nodes are told of it, so what it may say has a bound. */
static bool is_short(const char *text)
{
    size_t len = strlen(text);
    return len <= TEXT_MAX && rwf_utf8_valid(text, len);
}

static bool is_valid(const Wire__NodeJoin *m)
{
    bool good = *m->name && is_short(m->name) && is_short(m->peer) &&
                is_short(m->interface) && isfinite(m->cpu) && m->cpu >= 0 &&
                m->cpu < 1e6 && m->memory <= INT64_MAX &&
                m->n_gpus <= SCHEDULE_MAX_GPUS && m->n_custom <= ROWS_MAX &&
                m->n_labels <= ROWS_MAX;
    for (size_t i = 0; good && i < m->n_gpus; i++)
        good = m->gpus[i]->index == i && m->gpus[i]->memory <= INT64_MAX &&
               is_short(m->gpus[i]->name) && is_short(m->gpus[i]->uuid);
    for (size_t i = 0; good && i < m->n_custom; i++)
        good = *m->custom[i]->name && is_short(m->custom[i]->name) &&
               isfinite(m->custom[i]->amount) && m->custom[i]->amount >= 0 &&
               m->custom[i]->amount < 1e12;
    for (size_t i = 0; good && i < m->n_labels; i++)
        good = *m->labels[i]->key && is_short(m->labels[i]->key) &&
               is_short(m->labels[i]->value);
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

/* What it runs becomes known again, or ends. */
static void take_in(struct head__node *n, const Wire__NodeJoin *m)
{
    for (size_t i = 0; i < m->n_leases; i++) {
        const Wire__Lease *l = m->leases[i];
        const Wire__ActorSpec *spec = l->actor ? spec_of(m, l->actor) : NULL;
        if (l->actor && !(spec && head__actor_adopt(n, spec, l)))
            head__actor_refuse(n, l->actor);
        else if (!l->actor && !head__stray_add(n, l) && !head__lease_restore(n, l))
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
    n->leaving = false;
    n->sweep_at = n->heard + h->dead_after;
    Wire__NodeWelcome w = WIRE__NODE_WELCOME__INIT;
    w.node = n->number;
    HEAD__SEND(n, WIRE_NODE_WELCOME, &w);
    member_set(n, m);
    /* A run's node lends nothing. */
    schedule_cluster_close(h->cluster, n->number, m->driver || n->member->draining);
    head__member_say(n);
    say_all(n);
    /* Said again now by those who are still there. */
    rwf_ids_each(&h->clients, forget_said, n);
    end_leases(n, m);
    if (m->again && rwf_clock_mono() < h->started + h->dead_after)
        h->returns_until = h->started + h->dead_after;
    take_in(n, m);
    head__strays_node(n, false);
    head__actors_node(n, false);
    head__groups_node(n, false);
    if (h->ending) /* it was not there when the others were told */
        head__end_node(n);
}
