/* SPDX-License-Identifier: Apache-2.0
 *
 * What becomes of actors when nodes come and go, or the head itself has.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "head/actor.h"

/* --- nodes that come and go, and the head itself --- */

static void mark_going(void *ctx, void *item)
{
    struct head__node *n = ctx;
    struct head__actor *a = item;
    const struct head__client *c = rwf_ids_get(&n->head->clients, a->spec->owner);
    if (a->node == n && c && c->node == n && !a->spec->detached)
        a->went_with = n->session;
}

void head__actors_going(struct head__node *n)
{
    rwf_ids_each(&n->head->actors, mark_going, n);
}

/* It counted as dead because its node and its creator's was silent for too long; nobody
 * else has had anything from it since. */
static bool is_back(struct head__actor *a, const struct head__node *n)
{
    return a && a->state == ACTOR_DEAD && a->went_with == n->session &&
           !(*a->spec->name && head__actor_by_name(a->head, a->spec->name));
}

static struct head__actor *unbury(struct head__actor *a, const struct head__node *n)
{
    struct head *h = a->head;
    Wire__ActorSpec *spec = head__copy(&a->spec->base);
    TAILQ_REMOVE(&h->dead, a, dead);
    h->dead_count--;
    head__actor_free(a);
    a = head__actor_add(h, spec, n->name, ACTOR_AWAY);
    head__actor_note_done(a, "actor", head__actor_must_last(a));
    return a;
}

void head__actor_refuse(struct head__node *n, uint64_t actor)
{
    const struct head__actor *a = rwf_ids_get(&n->head->actors, actor);
    Wire__ActorState s = WIRE__ACTOR_STATE__INIT;
    head__actor_kill_at(n, actor);
    s.actor = actor;
    s.state = (char *)head__actor_state_name(a ? a->state : ACTOR_DEAD);
    s.cause = a ? a->cause : RAYWF_ON_NODE;
    s.text =
        a && a->text ? a->text : (char *)"its node was away, and another has its name";
    s.restarts = a ? a->restarts : 0;
    HEAD__SEND(n, WIRE_ACTOR_STATE, &s);
}

bool head__actor_adopt(struct head__node *n, const Wire__ActorSpec *spec,
                       const Wire__Lease *lease)
{
    struct head *h = n->head;
    struct head__actor *a = rwf_ids_get(&h->actors, spec->actor);
    struct rwf_err err = RWF_ERR_INIT;
    if (is_back(a, n))
        a = unbury(a, n);
    if (!a && (head__actor_check(spec, &err) || head__actor_by_name(h, spec->name)))
        return false;
    if (!a)
        a = head__actor_add(h, head__copy(&spec->base), n->name, ACTOR_AWAY);
    if (a->state == ACTOR_DEAD || a->end)
        a->node = a->state == ACTOR_DEAD ? a->node : n; /* so that its end is heard */
    if (a->node && a->node == n && a->lease == lease->lease)
        return !a->end;
    if (a->state == ACTOR_DEAD || a->lease)
        return false; /* it runs elsewhere: not twice */
    if (a->ask)
        head__ask_drop(h, a->ask);
    head__actor_set_home(a, n->name);
    if (head__actor_ask(a, &err) ||
        !schedule_leases_restore(h->leases, lease->lease, a->ask->id, n->number,
                                 head__gpu_bits(lease->gpus, lease->n_gpus))) {
        if (a->ask)
            head__ask_drop(h, a->ask);
        a->node = NULL;
        if (a->end)
            head__actor_bury(a);
        else
            head__actor_ask_again(a);
        return false;
    }
    a->lease = lease->lease;
    a->node = n;
    a->started = true;
    head__actor_set_state(a, ACTOR_STARTING); /* its node says when it is more */
    return !a->end;
}

/* It may run nowhere: it starts for the first time, or again. */
static void came_to_nothing(struct head__actor *a, const char *text)
{
    if (a->started || a->end)
        head__actor_lost(a, RAYWF_ON_NODE, text);
    else
        head__actor_ask_again(a);
}

static void free_from(struct head__actor *a)
{
    head__actor_set_home(a, NULL);
    if (a->ask)
        head__ask_drop(a->head, a->ask);
    if (a->state == ACTOR_PENDING)
        head__actor_ask_again(a);
}

static void node_went(void *ctx, void *item)
{
    struct head__node *n = ctx;
    struct head__actor *a = item;
    head__actor_unwatch(a, n);
    if (a->node == n) {
        if (a->spec->detached || head__node_is_open(n))
            head__actor_set_home(a, NULL);
        head__actor_lost(a, RAYWF_ON_NODE, "its node is gone");
        a->node = NULL;
    } else if (a->home && strcmp(a->home, n->name) == 0 && a->spec->detached &&
               a->state != ACTOR_DEAD && a->state != ACTOR_AWAY) {
        free_from(a);
    }
}

static void node_came(void *ctx, void *item)
{
    struct head__node *n = ctx;
    struct head__actor *a = item;
    if (a->state == ACTOR_AWAY && a->home && strcmp(a->home, n->name) == 0)
        came_to_nothing(a, "it ended while the head was away");
}

void head__actors_node(struct head__node *n, bool gone)
{
    rwf_ids_each(&n->head->actors, gone ? node_went : node_came, n);
}

struct drain {
    struct head__node *node;
    bool all;
};

/* One that is moved loses none of its restarts. */
static void drain_one(void *ctx, void *item)
{
    const struct drain *d = ctx;
    struct head__actor *a = item;
    const Wire__ActorSpec *s = a->spec;
    bool may = s->max_restarts < 0 || a->restarts < (unsigned)s->max_restarts;
    if (a->node != d->node || a->state == ACTOR_DEAD || a->end || !(may || d->all))
        return;
    a->moves = may;
    head__actor_kill_at(a->node, a->id);
}

void head__actors_drain(struct head__node *n, bool all)
{
    rwf_ids_each(&n->head->actors, drain_one, &(struct drain){n, all});
}

static void settle_one(void *ctx, void *item)
{
    struct head *h = ctx;
    struct head__actor *a = item;
    if (a->state == ACTOR_DEAD)
        return;
    if (!a->spec->detached && !rwf_ids_get(&h->clients, a->spec->owner)) {
        head__actor_end(a, "its creator has ended");
    } else if (a->state == ACTOR_AWAY) {
        head__actor_set_home(a, NULL);
        came_to_nothing(a, "its node did not come back after the head did");
    }
}

void head__actors_settle(struct head *h)
{
    rwf_ids_each(&h->actors, settle_one, h);
}
