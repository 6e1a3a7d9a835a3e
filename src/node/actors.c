/* SPDX-License-Identifier: Apache-2.0
 *
 * Actors: each has a worker of its own, and every client that asked for it gets a ring
 * to it, now and after each restart. The head decides where an actor runs and whether
 * it starts again; here is only what runs, and who wants to know.
 *
 *   HEAD_ACTOR_START -> SERVE without a ring (constructor) -> READY -> HEAD_ACTOR_STATE
 *   alive, and for each client SERVE and GRANT
 */
#include "config.h"
#include "node/inside.h"
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"

#define RING_FIRST ((uint64_t)1 << 62) /* numbers of an actor's rings, beside leases'  \
                                        */
#define DEAD_KEPT 4096 /* how many ended ones are remembered for who asks late */

struct node__actor {
    struct node *node;
    uint64_t id;
    Wire__ActorSpec *spec;     /* NULL: it does not run here */
    struct node__lease *lease; /* NULL: it does not run now */
    Wire__ActorState *state;   /* the head's last word, or NULL */
    uint64_t *clients;         /* who want it */
    size_t client_count, client_cap;
};

const Wire__ActorSpec *node__actor_spec(const struct node__actor *a)
{
    return a->spec;
}

static struct node__actor *actor_of(struct node *n, uint64_t id)
{
    struct node__actor *a = rwf_ids_get(&n->actors, id);
    if (a)
        return a;
    a = rwf_xcalloc(1, sizeof(*a));
    a->node = n;
    a->id = id;
    rwf_ids_add(&n->actors, id, a);
    return a;
}

static void release(struct node__actor *a)
{
    node__free(a->spec);
    node__free(a->state);
    free(a->clients);
    free(a);
}

static void say_state(struct node__actor *a, const char *state, unsigned cause,
                      const char *text)
{
    Wire__HeadActorState s = WIRE__HEAD_ACTOR_STATE__INIT;
    s.actor = a->id;
    s.state = (char *)state;
    s.cause = cause;
    s.text = (char *)text;
    node__head_send(a->node, WIRE_HEAD_ACTOR_STATE, &s.base);
}

/* --- rings --- */

static void lead_to(struct node__actor *a, struct node__client *c)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct node__worker *w = a->lease->worker;
    struct node__ring *r;
    LIST_FOREACH(r, &w->rings, link)
    if (r->client == c)
        return;
    r = node__ring_make(c, w, RING_FIRST + ++a->node->last_ring, 0, &err);
    if (!r) {
        node__client_error(c, 0, RAYWF_E_RUNTIME, "actor %llu: %s",
                           (unsigned long long)a->id, err.text);
        return;
    }
    node__ring_serve(r, false);
    node__ring_grant(r, a->lease);
}

static bool is_alive(const struct node__actor *a)
{
    return a->lease && a->lease->granted && a->lease->worker &&
           a->lease->worker->state == WORKER_LEASED;
}

/* The head is to say what becomes of it. */
static void ask_for(struct node__actor *a)
{
    Wire__ActorConnect m = WIRE__ACTOR_CONNECT__INIT;
    m.actor = a->id;
    node__head_send(a->node, WIRE_ACTOR_CONNECT, &m.base);
}

static bool is_elsewhere(const struct node__actor *a)
{
    return a->state && *a->state->node && strcmp(a->state->state, "alive") == 0 &&
           strcmp(a->state->node, a->node->name) != 0;
}

static void lead_elsewhere(struct node__actor *a, struct node__client *c)
{
    if (is_elsewhere(a) && !c->proxy)
        c->node->options.far->actor(c, a->id, a->state->node);
}

static bool wants(const struct node__actor *a, uint64_t client)
{
    for (size_t i = 0; i < a->client_count; i++)
        if (a->clients[i] == client)
            return true;
    return false;
}

void node__on_actor_connect(struct node__client *c, struct wire_message *m)
{
    const Wire__ActorConnect *want = (const Wire__ActorConnect *)m->body;
    if (want->actor == 0) {
        node__client_drop(c, "ACTOR_CONNECT of no actor");
        return;
    }
    struct node__actor *a = actor_of(c->node, want->actor);
    if (!wants(a, c->id))
        *RWF_PUSH(a->clients, a->client_count, a->client_cap) = c->id;
    if (a->state)
        NODE__SEND(c->link, WIRE_ACTOR_STATE, a->state);
    else if (!is_alive(a) && !c->proxy)
        ask_for(a);
    if (is_alive(a))
        lead_to(a, c);
    else
        lead_elsewhere(a, c);
}

/* --- its life here --- */

void node__actor_start(struct node *n, const Wire__HeadActorStart *m)
{
    if (!m->lease || !m->spec || m->lease->lease == 0 || m->spec->actor == 0 ||
        rwf_ids_get(&n->leases, m->lease->lease)) {
        rwf_log(RWF_LOG_WARN, "node", "the head sent an actor that makes no sense");
        return;
    }
    struct node__actor *a = actor_of(n, m->spec->actor);
    if (a->lease)
        return; /* it runs: the head asked again after it came back */
    node__free(a->spec);
    a->spec = node__copy(&m->spec->base);
    struct node__lease *l = rwf_xcalloc(1, sizeof(*l));
    l->node = n;
    l->actor = a;
    l->wire = node__copy(&m->lease->base);
    a->lease = l;
    rwf_ids_add(&n->leases, l->wire->lease, l);
    say_state(a, "starting", 0, "");
    node__lease_place(l);
}

void node__actor_serve(struct node__lease *l)
{
    Wire__Serve s = WIRE__SERVE__INIT;
    s.lease = l->wire->lease;
    s.plugin = l->worker->plugin;
    s.actor = l->actor->spec;
    NODE__SEND(l->worker->client->link, WIRE_SERVE, &s);
}

void node__actor_ready(struct node__lease *l, int code, const char *text)
{
    struct node__actor *a = l->actor;
    struct node__worker *w = l->worker;
    if (code != 0) {
        node__actor_failed(l, RAYWF_ON_ERROR, text);
        node__pool_retire(w, "its actor could not be built");
        return;
    }
    l->granted = true;
    say_state(a, "alive", 0, "");
    for (size_t i = 0; i < a->client_count; i++) {
        struct node__client *c = node__client_find(a->node, a->clients[i]);
        if (c)
            lead_to(a, c);
    }
}

void node__actor_failed(struct node__lease *l, unsigned cause, const char *text)
{
    struct node__actor *a = l->actor;
    struct node__worker *w = l->worker;
    a->lease = NULL;
    if (w) {
        while (!LIST_EMPTY(&w->rings))
            node__ring_end(LIST_FIRST(&w->rings), true);
        w->lease = NULL;
    }
    say_state(a, "dead", cause, text);
    node__lease_end(l);
}

void node__actor_kill(struct node *n, const Wire__ActorKill *m)
{
    struct node__actor *a = rwf_ids_get(&n->actors, m->actor);
    if (!a || !a->lease)
        return;
    if (a->lease->worker)
        node__worker_kill(a->lease->worker, RAYWF_ON_EXIT, "was killed by request");
    else
        node__actor_failed(a->lease, RAYWF_ON_EXIT, "was killed by request");
}

/* --- what the head says of it --- */

static void forget_dead(void *ctx, void *item)
{
    struct node__actor *a = item;
    struct node *n = ctx;
    if (n->actors.count > DEAD_KEPT && !a->lease && a->state &&
        strcmp(a->state->state, "dead") == 0) {
        rwf_ids_remove(&n->actors, a->id);
        release(a);
    }
}

void node__actor_state(struct node *n, const Wire__ActorState *m)
{
    if (m->actor == 0)
        return;
    struct node__actor *a = actor_of(n, m->actor);
    node__free(a->state);
    a->state = node__copy(&m->base);
    for (size_t i = 0; i < a->client_count; i++) {
        struct node__client *c = node__client_find(n, a->clients[i]);
        if (!c)
            continue;
        NODE__SEND(c->link, WIRE_ACTOR_STATE, a->state);
        lead_elsewhere(a, c);
    }
    if (n->actors.count > 2 * DEAD_KEPT)
        rwf_ids_each(&n->actors, forget_dead, n);
}

struct said {
    Wire__NodeJoin *join;
    size_t cap;
};

static void say_one(void *ctx, void *item)
{
    struct said *s = ctx;
    struct node__actor *a = item;
    if (a->lease && a->spec)
        *RWF_PUSH(s->join->actors, s->join->n_actors, s->cap) = a->spec;
}

void node__actors_say(struct node *n, Wire__NodeJoin *join)
{
    rwf_ids_each(&n->actors, say_one, &(struct said){join, 0});
}

static void say_alive(void *ctx, void *item)
{
    struct node__actor *a = item;
    (void)ctx;
    if (is_alive(a))
        say_state(a, "alive", 0, "");
    else if (a->client_count > 0 && !a->lease)
        ask_for(a);
}

void node__actors_said(struct node *n)
{
    rwf_ids_each(&n->actors, say_alive, NULL);
}

static void lead_again(void *ctx, void *item)
{
    struct node__actor *a = item;
    for (size_t i = 0; is_elsewhere(a) && i < a->client_count; i++) {
        struct node__client *c = node__client_find(ctx, a->clients[i]);
        if (c)
            lead_elsewhere(a, c);
    }
}

void node__actors_again(struct node *n)
{
    rwf_ids_each(&n->actors, lead_again, n);
}

/* --- its clients --- */

static void forget_client(void *ctx, void *item)
{
    const struct node__client *c = ctx;
    struct node__actor *a = item;
    for (size_t i = 0; i < a->client_count; i++)
        if (a->clients[i] == c->id) {
            a->clients[i] = a->clients[--a->client_count];
            break;
        }
    if (!a->lease && !a->state && a->client_count == 0) {
        rwf_ids_remove(&a->node->actors, a->id);
        release(a);
    }
}

void node__actor_client_gone(struct node__client *c)
{
    rwf_ids_each(&c->node->actors, forget_client, c);
}

static void release_one(void *ctx, void *item)
{
    (void)ctx;
    release(item);
}

void node__actors_free(struct node *n)
{
    rwf_ids_each(&n->actors, release_one, NULL);
    rwf_ids_free(&n->actors);
}

/* --- what is for the head --- */

void node__on_actor_create(struct node__client *c, struct wire_message *m)
{
    Wire__ActorCreate *create = (Wire__ActorCreate *)m->body;
    if (!create->spec) {
        node__client_drop(c, "ACTOR_CREATE has no spec");
        return;
    }
    node__client_announce(c);
    if (!c->proxy)
        c->node->options.far->offer_spec(c->node, create->spec);
    create->spec->owner = c->id;
    Wire__HeadActor h = WIRE__HEAD_ACTOR__INIT;
    h.client = c->id;
    h.create = create;
    node__head_ask(c, create->request, WIRE_HEAD_ACTOR, &h.base, &create->request);
}

void node__on_actor_find(struct node__client *c, struct wire_message *m)
{
    Wire__ActorFind *find = (Wire__ActorFind *)m->body;
    node__head_ask(c, find->request, WIRE_ACTOR_FIND, m->body, &find->request);
}

void node__on_actor_kill(struct node__client *c, struct wire_message *m)
{
    node__head_send(c->node, WIRE_ACTOR_KILL, m->body);
}

void node__on_actor_drop(struct node__client *c, struct wire_message *m)
{
    node__head_send(c->node, WIRE_ACTOR_DROP, m->body);
}
