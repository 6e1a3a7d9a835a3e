/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of actors: their names, where they run, whether they start again.
 *
 *   HEAD_ACTOR -> journal -> ACTOR_FOUND; ask -> grant -> HEAD_ACTOR_START
 *   HEAD_ACTOR_STATE alive | dead -> ACTOR_STATE to its node and all that call it
 *
 * Invariants: an actor has at most one lease; what runs without one is killed. It is
 * sent to its node first and journalled as started then: a head that is killed between
 * the two finds it in the node's list. A request that is repeated (after the head came
 * back) makes no second actor.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "head/actor.h"

#define BACKOFF (100 * RWF_NS_PER_MS)
#define BACKOFF_MAX (10 * RWF_NS_PER_S)
#define DEAD_KEPT 1000 /* for lists */
#define NAME_MAX_LEN 255
#define JOB_OF_ACTOR (UINT64_C(1) << 62) /* a detached actor's own job */

const char *head__actor_state_name(enum head__actor_state s)
{
    static const char *const names[] = {
#define X(name, text) text,
        HEAD__ACTOR_STATES(X)
#undef X
    };
    return names[s];
}

/* --- states --- */

static void watch(struct head__actor *a, struct head__node *n)
{
    for (size_t i = 0; i < a->watcher_count; i++)
        if (a->watchers[i] == n)
            return;
    *RWF_PUSH(a->watchers, a->watcher_count, a->watcher_cap) = n;
}

void head__actor_unwatch(struct head__actor *a, const struct head__node *n)
{
    for (size_t i = 0; i < a->watcher_count; i++)
        if (a->watchers[i] == n)
            a->watchers[i--] = a->watchers[--a->watcher_count];
}

static void say(struct head__actor *a)
{
    Wire__ActorState s = WIRE__ACTOR_STATE__INIT;
    bool told = false;
    s.actor = a->id;
    s.state = (char *)head__actor_state_name(a->state);
    s.cause = a->cause;
    s.text = a->text ? a->text : (char *)"";
    s.restarts = a->restarts;
    if (a->node)
        s.node = a->node->name;
    for (size_t i = 0; i < a->watcher_count; i++) {
        HEAD__SEND(a->watchers[i], WIRE_ACTOR_STATE, &s);
        told |= a->watchers[i] == a->node;
    }
    if (a->node && !told)
        HEAD__SEND(a->node, WIRE_ACTOR_STATE, &s);
}

void head__actor_set_state(struct head__actor *a, enum head__actor_state state)
{
    a->state = state;
    a->since = rwf_clock_wall();
    say(a);
}

static void set_text(struct head__actor *a, unsigned cause, const char *text)
{
    a->cause = cause;
    free(a->text);
    a->text = rwf_xstrdup(rwf_utf8_valid(text, strlen(text)) ? text : "?");
}

void head__actor_kill_at(struct head__node *n, uint64_t actor)
{
    Wire__ActorKill k = WIRE__ACTOR_KILL__INIT;
    k.actor = actor;
    HEAD__SEND(n, WIRE_ACTOR_KILL, &k);
}

/* It is over, for good. */
void head__actor_bury(struct head__actor *a)
{
    struct head *h = a->head;
    if (a->ask)
        head__ask_drop(h, a->ask);
    a->lease = 0;
    head__actor_set_state(a, ACTOR_DEAD);
    a->node = NULL;
    if (*a->spec->name && head__actor_by_name(h, a->spec->name) == a)
        head__actor_clear_name(h, a->spec->name);
    head__actor_note_done(a, "dead", head__actor_must_last(a));
    if (schedule_leases_job_known(h->leases, a->id | JOB_OF_ACTOR))
        schedule_leases_job_end(h->leases, a->id | JOB_OF_ACTOR);
    TAILQ_INSERT_TAIL(&h->dead, a, dead);
    if (++h->dead_count > DEAD_KEPT) {
        struct head__actor *oldest = TAILQ_FIRST(&h->dead);
        TAILQ_REMOVE(&h->dead, oldest, dead);
        h->dead_count--;
        head__actor_free(oldest);
    }
}

/* --- its worker --- */

static uint64_t job_of(struct head__actor *a)
{
    struct head *h = a->head;
    struct head__client *c = rwf_ids_get(&h->clients, a->spec->owner);
    if (c && !a->spec->detached) {
        head__job_ensure(c);
        return c->job;
    }
    struct schedule_job job = {.id = a->id | JOB_OF_ACTOR, .name = a->spec->name};
    if (!schedule_leases_job_known(h->leases, job.id))
        schedule_leases_job_add(h->leases, &job);
    return job.id;
}

/* Where it must be, since no other node could lead its callers to it; NULL: anywhere.
 */
static const char *pinned_to(const struct head__actor *a)
{
    const struct head__node *home = a->home ? head__node_find(a->head, a->home) : NULL;
    return home && !head__node_is_open(home) ? a->home : NULL;
}

int head__actor_ask(struct head__actor *a, struct rwf_err *err)
{
    struct head *h = a->head;
    const Wire__Resources *r = a->spec->resources;
    const struct head__client *owner = rwf_ids_get(&h->clients, a->spec->owner);
    bool spread = r && r->placement == RAYWF_SPREAD;
    struct head__need need;
    if (head__need_set(&need, r, pinned_to(a), err))
        return -1;
    struct schedule_ask ask = {.job = job_of(a),
                               .need = need.need,
                               .placement = spread ? PLAN_SPREAD : PLAN_PACK,
                               .group = r ? r->group : 0,
                               .bundle = r && r->bundle ? (int)r->bundle - 1 : -1,
                               .may_wait = a->started,
                               .wanted = 1,
                               .prefer = owner && !spread ? owner->node->number
                                                          : SCHEDULE_NO_NODE};
    a->ask = head__ask_add(h, &ask, NULL, a, err);
    head__need_clear(&need);
    return a->ask ? 0 : -1;
}

void head__actor_ask_again(struct head__actor *a)
{
    struct rwf_err err = RWF_ERR_INIT;
    a->state = ACTOR_PENDING;
    if (head__actor_ask(a, &err)) {
        set_text(a, RAYWF_ON_NODE, err.text);
        head__actor_bury(a);
    } else {
        head__actor_set_state(a, ACTOR_PENDING);
    }
}

void head__actor_granted(struct head__actor *a, uint64_t lease, struct head__node *n,
                         uint64_t gpus)
{
    uint32_t list[64];
    Wire__Lease l = WIRE__LEASE__INIT;
    Wire__HeadActorStart s = WIRE__HEAD_ACTOR_START__INIT;
    a->lease = lease;
    a->node = n;
    head__actor_set_home(a, n->name);
    const struct head__client *owner = rwf_ids_get(&a->head->clients, a->spec->owner);
    if (owner && owner->node != n)
        l.home = owner->node->name; /* its plugin may have to come from there */
    l.lease = lease;
    l.client = a->spec->owner;
    l.actor = a->id;
    l.n_gpus = head__gpu_list(gpus, list);
    l.gpus = list;
    s.lease = &l;
    s.spec = a->spec;
    HEAD__SEND(n, WIRE_HEAD_ACTOR_START, &s);
    a->started = true;
    head__actor_note_done(a, "start", false);
    head__actor_set_state(a, ACTOR_STARTING);
}

static int64_t backoff_of(const struct head__actor *a)
{
    int64_t wait = a->spec->backoff > 0 ? a->spec->backoff : BACKOFF;
    for (unsigned i = 1; i < a->in_a_row && wait < BACKOFF_MAX; i++)
        wait *= 2;
    return wait < BACKOFF_MAX ? wait : BACKOFF_MAX;
}

void head__actor_lost(struct head__actor *a, unsigned cause, const char *text)
{
    const Wire__ActorSpec *s = a->spec;
    a->lease = 0;
    if (a->ask)
        head__ask_drop(a->head, a->ask);
    set_text(a, cause, text);
    /* A constructor that says no would say it again. */
    if (a->end || cause == RAYWF_ON_ERROR ||
        (s->max_restarts >= 0 && a->restarts >= (unsigned)s->max_restarts)) {
        head__actor_bury(a);
        return;
    }
    if (a->state == ACTOR_ALIVE && rwf_clock_wall() - a->since > backoff_of(a))
        a->in_a_row = 0;
    if (a->moves)
        set_text(a, RAYWF_ON_NODE, "its node drains");
    else
        a->restarts++;
    a->in_a_row += !a->moves;
    a->moves = false;
    a->restart_at = rwf_clock_mono() + backoff_of(a);
    head__actor_note_done(a, "start", false);
    head__actor_set_state(a, ACTOR_RESTARTING);
    a->node = NULL;
}

struct due {
    int64_t now, next;
};

static void restart_due(void *ctx, void *item)
{
    struct due *d = ctx;
    struct head__actor *a = item;
    if (a->state != ACTOR_RESTARTING)
        return;
    if (a->restart_at <= d->now)
        head__actor_ask_again(a);
    else if (a->restart_at < d->next)
        d->next = a->restart_at;
}

int64_t head__actors_check(struct head *h, int64_t now)
{
    struct due d = {now, INT64_MAX};
    rwf_ids_each(&h->actors, restart_due, &d);
    return d.next;
}

/* --- requests --- */

static void found(struct head__node *n, uint64_t request, struct head__actor *a)
{
    if (pinned_to(a) && strcmp(a->home, n->name) != 0) {
        char *text =
            rwf_xasprintf("actor '%s' lives on node %s, which other nodes cannot "
                          "reach: only processes of that node can call it",
                          a->spec->name, a->home);
        head__error(n, request, RAYWF_E_ACTOR, text);
        free(text);
        return;
    }
    watch(a, n);
    Wire__ActorFound f = WIRE__ACTOR_FOUND__INIT;
    f.request = request;
    f.actor = a->id;
    f.plugin = a->spec->plugin;
    f.class_ = a->spec->class_;
    HEAD__SEND(n, WIRE_ACTOR_FOUND, &f);
}

int head__actor_check(const Wire__ActorSpec *s, struct rwf_err *err)
{
    if (!*s->plugin)
        return rwf_fail(err, RAYWF_E_ARGUMENT, "an actor needs a plugin");
    if (strlen(s->name) > NAME_MAX_LEN || !rwf_utf8_valid(s->name, strlen(s->name)))
        return rwf_fail(err, RAYWF_E_ARGUMENT,
                        "an actor's name is UTF-8 of at most %d bytes", NAME_MAX_LEN);
    return 0;
}

static int create(struct head__node *n, const Wire__HeadActor *m, struct rwf_err *err)
{
    Wire__ActorSpec *spec = head__copy(&m->create->spec->base);
    spec->owner = m->client;
    spec->request = m->create->request;
    spec->actor = head__new_id(n->head);
    struct head__actor *a = head__actor_add(
        n->head, spec, head__node_is_open(n) ? NULL : n->name, ACTOR_PENDING);
    head__client_get(n, m->client);
    if (head__actor_ask(a, err) ||
        head__actor_note(a, "actor", head__actor_must_last(a), err)) {
        if (a->ask)
            head__ask_drop(n->head, a->ask);
        head__actor_free(a);
        return -1;
    }
    found(n, m->create->request, a);
    say(a);
    return 0;
}

void head__on_actor(struct head__node *n, const Wire__HeadActor *m)
{
    struct rwf_err err = RWF_ERR_INIT;
    const Wire__ActorSpec *s = m->create ? m->create->spec : NULL;
    if (!s)
        return;
    uint64_t request = m->create->request;
    struct head__actor *a = head__actor_by_request(n->head, m->client, request);
    if (!a && *s->name)
        a = head__actor_by_name(n->head, s->name);
    if (a && (s->get_if_exists || a->spec->request == request)) {
        found(n, request, a);
    } else if (a) {
        rwf_fail(
            &err, RAYWF_E_ARGUMENT,
            "there is an actor named '%s' already (%s of %s): choose another name, "
            "or set get_if_exists",
            s->name, *a->spec->class_ ? a->spec->class_ : "functions", a->spec->plugin);
        head__error(n, request, err.code, err.text);
    } else if (head__actor_check(s, &err) || create(n, m, &err)) {
        head__error(n, request,
                    err.code == RWF_E_FIT          ? RAYWF_E_FIT
                    : err.code == RAYWF_E_ARGUMENT ? err.code
                                                   : RAYWF_E_RUNTIME,
                    err.text);
    }
}

void head__on_actor_find(struct head__node *n, const Wire__ActorFind *m)
{
    struct head__actor *a = head__actor_by_name(n->head, m->name);
    if (a) {
        found(n, m->request, a);
        say(a);
        return;
    }
    char *text = rwf_xasprintf("there is no actor named '%s' (raywf actors lists them)",
                               m->name);
    head__error(n, m->request, RAYWF_E_ACTOR, text);
    free(text);
}

void head__on_actor_connect(struct head__node *n, const Wire__ActorConnect *m)
{
    struct head__actor *a = rwf_ids_get(&n->head->actors, m->actor);
    if (!a)
        return;
    watch(a, n);
    say(a);
}

void head__on_actor_state(struct head__node *n, const Wire__HeadActorState *m)
{
    struct head__actor *a = rwf_ids_get(&n->head->actors, m->actor);
    bool dead = strcmp(m->state, "dead") == 0;
    if (!a || a->node != n || !a->lease) {
        /* Of a time before it was lost, or started elsewhere. */
        if (!dead && !(a && a->state == ACTOR_PENDING))
            head__actor_kill_at(n, m->actor);
        return;
    }
    if (dead)
        head__actor_lost(a, m->cause, m->text);
    else if (strcmp(m->state, "alive") == 0 && a->state != ACTOR_ALIVE)
        head__actor_set_state(a, ACTOR_ALIVE);
}

/* --- the end --- */

void head__actor_end(struct head__actor *a, const char *text)
{
    if (a->state == ACTOR_DEAD || a->end)
        return;
    a->end = true;
    head__actor_note_done(a, "end", head__actor_must_last(a));
    if (a->node) {
        head__actor_kill_at(a->node, a->id);
    } else {
        set_text(a, RAYWF_ON_EXIT, text);
        head__actor_bury(a);
    }
}

void head__on_actor_kill(struct head__node *n, const Wire__ActorKill *m)
{
    struct head__actor *a = rwf_ids_get(&n->head->actors, m->actor);
    if (a && !m->restart)
        head__actor_end(a, "killed by request");
    else if (a && a->node)
        head__actor_kill_at(a->node, a->id);
}

void head__on_actor_drop(struct head__node *n, const Wire__ActorDrop *m)
{
    struct head__actor *a = rwf_ids_get(&n->head->actors, m->actor);
    if (a && !a->spec->detached)
        head__actor_end(a, "its creator has no handle of it any more");
}

struct owner {
    uint64_t client;
};

static void end_if_owned(void *ctx, void *item)
{
    const struct owner *o = ctx;
    struct head__actor *a = item;
    if (a->spec->owner == o->client && !a->spec->detached)
        head__actor_end(a, "its creator has ended");
}

void head__actors_client_gone(struct head *h, uint64_t client)
{
    rwf_ids_each(&h->actors, end_if_owned, &(struct owner){client});
}
