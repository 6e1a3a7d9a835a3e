/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients and what they get. A job is a driver and all that works for it; each lane of
 * a client is one ask of the scheduler, whose decisions are carried out here.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "head/inside.h"

/* More than these are a node that has lost its mind: each costs memory here. */
#define CLIENTS_MAX 4096 /* of one node */
#define LANES_MAX 4096   /* of one client */

/* --- asks --- */

struct head__ask *head__ask_add(struct head *h, struct schedule_ask *ask,
                                struct head__client *c, struct head__actor *actor,
                                struct rwf_err *err)
{
    ask->id = h->last_ask + 1;
    ask->client = c ? c->id : 0;
    if (schedule_leases_ask(h->leases, ask, rwf_clock_mono(), err))
        return NULL;
    struct head__ask *a = rwf_xcalloc(1, sizeof(*a));
    a->id = ++h->last_ask;
    a->client = c;
    a->actor = actor;
    a->wanted = ask->wanted;
    a->priority = ask->priority;
    a->retriable = ask->retriable;
    rwf_ids_add(&h->asks, a->id, a);
    return a;
}

void head__ask_drop(struct head *h, struct head__ask *a)
{
    schedule_leases_drop(h->leases, a->id);
    rwf_ids_remove(&h->asks, a->id);
    if (a->client)
        rwf_ids_remove(&a->client->lanes, a->lane);
    if (a->actor && a->actor->ask == a)
        a->actor->ask = NULL;
    head__free_message(a->shape);
    free(a);
}

/* --- clients --- */

struct head__client *head__client_get(struct head__node *n, uint64_t id)
{
    struct head *h = n->head;
    struct head__client *c = rwf_ids_get(&h->clients, id);
    if (c || id == 0)
        return c && c->node == n ? c : NULL;
    if (n->clients >= CLIENTS_MAX) {
        rwf_log(RWF_LOG_INFO, "head", "node %s has more than %d clients: %llu is none",
                n->name, CLIENTS_MAX, (unsigned long long)id);
        return NULL;
    }
    c = rwf_xcalloc(1, sizeof(*c));
    c->id = c->job = id;
    c->node = n;
    n->clients++;
    rwf_ids_add(&h->clients, id, c);
    return c;
}

static struct schedule_job job_of(const struct head__client *c)
{
    return (struct schedule_job){.id = c->job,
                                 .name = c->name ? c->name : "",
                                 .priority = c->priority,
                                 .cpu_quota = c->quota_cpu,
                                 .gpu_quota = c->quota_gpu,
                                 .memory_quota = c->quota_memory};
}

void head__job_ensure(struct head__client *c)
{
    struct head *h = c->node->head;
    if (schedule_leases_job_known(h->leases, c->job))
        return;
    c->job = c->id;
    if (schedule_leases_job_known(h->leases, c->job))
        return;
    struct schedule_job job = job_of(c);
    schedule_leases_job_add(h->leases, &job);
}

static double amount(double x)
{
    return isfinite(x) && x > 0 ? x : 0;
}

static void set_quota(struct head__client *c, const Wire__Quota *q)
{
    c->quota_cpu = q ? amount(q->cpu) : 0;
    c->quota_gpu = q ? amount(q->gpu) : 0;
    c->quota_memory = q && q->memory <= INT64_MAX ? (int64_t)q->memory : 0;
}

void head__on_client_join(struct head__node *n, const Wire__ClientJoin *m)
{
    struct head *h = n->head;
    struct head__client *c = head__client_get(n, m->client);
    const struct head__client *parent = rwf_ids_get(&h->clients, m->parent);
    if (!c) {
        rwf_log(RWF_LOG_WARN, "head", "node %s announces client %llu of another node",
                n->name, (unsigned long long)m->client);
        return;
    }
    free(c->name);
    c->name = rwf_xstrdup(rwf_utf8_valid(m->job, strlen(m->job)) ? m->job : "?");
    c->priority = m->priority;
    c->parent = m->parent;
    c->said = true;
    c->job = parent ? parent->job : c->id;
    set_quota(c, m->quota);
    head__job_ensure(c);
    struct schedule_job job = job_of(c);
    if (c->job == c->id)
        schedule_leases_job_set(h->leases, &job);
}

static void drop_one(void *ctx, void *item)
{
    head__ask_drop(ctx, item);
}

void head__client_gone(struct head__client *c)
{
    struct head *h = c->node->head;
    uint64_t id = c->id;
    rwf_ids_each(&c->lanes, drop_one, h);
    if (schedule_leases_job_known(h->leases, id))
        schedule_leases_job_end(h->leases, id);
    rwf_ids_remove(&h->clients, id);
    rwf_ids_free(&c->lanes);
    c->node->clients--;
    free(c->name);
    free(c);
    if (h->closing)
        return;
    head__actors_client_gone(h, id);
    head__groups_client_gone(h, id);
}

void head__on_client_leave(struct head__node *n, uint64_t client)
{
    struct head__client *c = rwf_ids_get(&n->head->clients, client);
    if (c && c->node == n)
        head__client_gone(c);
}

/* --- wants --- */

static void refuse(struct head__node *n, uint64_t client, uint64_t lane,
                   const struct rwf_err *err)
{
    Wire__HeadRefuse r = WIRE__HEAD_REFUSE__INIT;
    r.client = client;
    r.lane = lane;
    r.code = err->code == RWF_E_FIT ? RAYWF_E_FIT
             : err->code == RAYWF_E_ARGUMENT || err->code == RWF_E_USAGE
                 ? RAYWF_E_ARGUMENT
                 : RAYWF_E_RUNTIME;
    r.text = (char *)err->text;
    n->head->refused++;
    HEAD__SEND(n, WIRE_HEAD_REFUSE, &r);
}

static struct head__ask *ask_for(struct head__client *c, uint64_t lane,
                                 const Wire__Shape *shape, unsigned wanted,
                                 int priority, bool retriable, struct rwf_err *err)
{
    struct head *h = c->node->head;
    struct head__need need;
    const Wire__Resources *r = shape->resources;
    const char *home = head__node_is_open(c->node) ? NULL : c->node->name;
    bool spread = r && r->placement == RAYWF_SPREAD;
    if (c->lanes.count >= LANES_MAX) {
        rwf_fail(err, RAYWF_E_ARGUMENT,
                 "a process has more than %d kinds of tasks at once", LANES_MAX);
        return NULL;
    }
    if (head__need_set(&need, r, home, err))
        return NULL;
    head__job_ensure(c);
    struct schedule_ask ask = {.job = c->job,
                               .need = need.need,
                               .placement = spread ? PLAN_SPREAD : PLAN_PACK,
                               .group = r ? r->group : 0,
                               .bundle = r && r->bundle ? (int)r->bundle - 1 : -1,
                               .priority = priority,
                               .retriable = retriable,
                               .may_wait = h->returns_until != 0,
                               .wanted = wanted,
                               .prefer = spread ? SCHEDULE_NO_NODE : c->node->number};
    struct head__ask *a = head__ask_add(h, &ask, c, NULL, err);
    head__need_clear(&need);
    if (!a)
        return NULL;
    a->lane = lane;
    a->shape = head__copy(&shape->base);
    rwf_ids_add(&c->lanes, lane, a);
    return a;
}

/* An ask that nobody wants any more, and that holds nothing. */
static void drop_if_idle(struct head *h, struct head__ask *a)
{
    struct schedule_ask_view v;
    if (a->wanted == 0 &&
        !(schedule_leases_ask_view(h->leases, a->id, &v) && v.held > 0))
        head__ask_drop(h, a);
}

/* What was not refused since nodes might still come, and has nothing. */
static void ask_anew(void *ctx, void *item)
{
    struct head *h = ctx;
    struct head__ask *a = item;
    struct head__client *c = a->client;
    struct schedule_ask_view v;
    struct rwf_err err = RWF_ERR_INIT;
    if (!c || a->wanted == 0 ||
        (schedule_leases_ask_view(h->leases, a->id, &v) && v.held > 0))
        return;
    const struct head__ask old = *a;
    a->shape = NULL;
    head__ask_drop(h, a);
    if (!ask_for(c, old.lane, old.shape, old.wanted, old.priority, old.retriable, &err))
        refuse(c->node, c->id, old.lane, &err);
    head__free_message(old.shape);
}

void head__asks_settle(struct head *h)
{
    rwf_ids_each(&h->asks, ask_anew, h);
}

void head__on_want(struct head__node *n, const Wire__HeadWant *m)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct head__client *c = head__client_get(n, m->client);
    const Wire__Want *w = m->want;
    if (!c || !w || w->lane == 0)
        return;
    struct head__ask *a = rwf_ids_get(&c->lanes, w->lane);
    bool known = a != NULL;
    if (!known && w->workers > 0 && w->shape) {
        a = ask_for(c, w->lane, w->shape, w->workers, w->priority, w->retriable, &err);
        if (!a)
            refuse(n, c->id, w->lane, &err);
    }
    if (a) /* near 0: nowhere, SCHEDULE_NO_NODE */
        schedule_leases_near(n->head->leases, a->id, w->near - 1);
    if (known) {
        a->wanted = w->workers;
        schedule_leases_want(n->head->leases, a->id, w->workers, rwf_clock_mono());
        drop_if_idle(n->head, a);
    }
}

/* --- leases --- */

static struct head__ask *ask_of(struct head *h, uint64_t lease)
{
    struct schedule_lease_view v;
    return schedule_leases_view(h->leases, lease, &v) ? rwf_ids_get(&h->asks, v.ask)
                                                      : NULL;
}

void head__on_return(struct head__node *n, uint64_t lease)
{
    struct head *h = n->head;
    struct schedule_lease_view v;
    head__stray_drop(n, lease);
    if (!schedule_leases_view(h->leases, lease, &v) || v.node != n->number)
        return; /* of an earlier head, or lost before */
    struct head__ask *a = ask_of(h, lease);
    schedule_leases_release(h->leases, lease, rwf_clock_mono());
    if (a && a->actor && a->actor->lease == lease)
        head__actor_lost(a->actor, RAYWF_ON_EXIT, "its worker has ended");
    else if (a && a->client)
        drop_if_idle(h, a);
}

bool head__lease_restore(struct head__node *n, const Wire__Lease *l)
{
    struct head *h = n->head;
    struct rwf_err err = RWF_ERR_INIT;
    struct schedule_lease_view v;
    if (schedule_leases_view(h->leases, l->lease, &v))
        return v.node == n->number;
    struct head__node *home = *l->home ? head__node_find(h, l->home) : n;
    struct head__client *c = home ? head__client_get(home, l->client) : NULL;
    if (!c || !l->lane || !l->shape)
        return false;
    struct head__ask *a = rwf_ids_get(&c->lanes, l->lane);
    if (!a) /* what it wants now it says in a moment */
        a = ask_for(c, l->lane, l->shape, 0, l->priority, l->retriable, &err);
    return a && schedule_leases_restore(h->leases, l->lease, a->id, n->number,
                                        head__gpu_bits(l->gpus, l->n_gpus));
}

void head__recall(struct head__node *n, uint64_t lease, bool kill, const char *text)
{
    Wire__HeadRecall r = WIRE__HEAD_RECALL__INIT;
    r.lease = lease;
    r.kill = kill;
    r.text = (char *)text;
    n->head->recalled++;
    HEAD__SEND(n, WIRE_HEAD_RECALL, &r);
}

/* --- decisions --- */

static void send_grant(struct head__node *n, Wire__Lease *l)
{
    Wire__HeadGrant g = WIRE__HEAD_GRANT__INIT;
    g.lease = l;
    HEAD__SEND(n, WIRE_HEAD_GRANT, &g);
}

/* A worker of n for a client of home. */
static void send_lend(struct head__node *n, const struct head__node *home,
                      Wire__Lease *l)
{
    Wire__HeadLend m = WIRE__HEAD_LEND__INIT;
    l->home = home->name;
    m.lease = l;
    m.node = home->number;
    HEAD__SEND(n, WIRE_HEAD_LEND, &m);
}

static void grant(struct head *h, const struct schedule_lease_decision *d)
{
    struct head__ask *a = rwf_ids_get(&h->asks, d->ask);
    struct head__node *n = head__node_by_number(h, d->node);
    uint32_t gpus[64];
    if (!a || !n) {
        schedule_leases_release(h->leases, d->lease, rwf_clock_mono());
        return;
    }
    h->granted++;
    if (a->actor) {
        head__actor_granted(a->actor, d->lease, n, d->gpus);
        return;
    }
    Wire__Lease l = WIRE__LEASE__INIT;
    l.lease = d->lease;
    l.client = a->client->id;
    l.lane = a->lane;
    l.shape = a->shape;
    l.n_gpus = head__gpu_list(d->gpus, gpus);
    l.gpus = gpus;
    l.retriable = a->retriable;
    l.priority = a->priority;
    if (n == a->client->node)
        send_grant(n, &l);
    else
        send_lend(n, a->client->node, &l);
}

static void recall(struct head *h, const struct schedule_lease_decision *d)
{
    struct head__ask *a = rwf_ids_get(&h->asks, d->ask);
    struct head__node *n = head__node_by_number(h, d->node);
    /* An actor cannot be asked to give its worker back after its current task. */
    if (n && (d->kill || !(a && a->actor)))
        head__recall(n, d->lease, d->kill,
                     d->group  ? "its reservation was removed"
                     : d->kill ? "pre-empted by work of higher priority"
                               : "others wait for their share");
}

void head__decide(struct head *h)
{
    if (h->deciding || h->closing)
        return;
    h->deciding = true;
    for (;;) {
        struct schedule_lease_decision d =
            schedule_leases_next(h->leases, rwf_clock_mono());
        struct head__ask *a = rwf_ids_get(&h->asks, d.ask);
        if (d.verb == SCHEDULE_LEASE_NONE)
            break;
        switch (d.verb) {
        case SCHEDULE_LEASE_GRANT:
            grant(h, &d);
            break;
        case SCHEDULE_LEASE_RECALL:
            recall(h, &d);
            break;
        case SCHEDULE_LEASE_GROUP_READY:
            head__group_ready(h, d.group, true);
            break;
        case SCHEDULE_LEASE_GROUP_LOST:
            head__group_ready(h, d.group, false);
            break;
        default: /* LOST */
            if (a && a->actor && a->actor->lease == d.lease)
                head__actor_lost(a->actor, RAYWF_ON_NODE, "its node is gone");
        }
    }
    h->deciding = false;
}
