/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of actors: their names, where they run, whether they start again.
 *
 *   HEAD_ACTOR -> journal -> ACTOR_FOUND; ask -> grant -> HEAD_ACTOR_START
 *   HEAD_ACTOR_STATE alive | dead -> ACTOR_STATE to its node and its creator's
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
#include "head/inside.h"

#define BACKOFF (100 * RWF_NS_PER_MS)
#define BACKOFF_MAX (10 * RWF_NS_PER_S)
#define DEAD_KEPT 1000 /* for lists */
#define NAME_MAX_LEN 255
#define JOB_OF_ACTOR (UINT64_C(1) << 62) /* a detached actor's own job */

static struct head__actor head__nobody; /* a name that was given back */

const char *head__actor_state_name(enum head__actor_state s)
{
    static const char *const names[] = {
#define X(name, text) text,
        HEAD__ACTOR_STATES(X)
#undef X
    };
    return names[s];
}

/* --- the directory --- */

static struct head__actor *by_name(struct head *h, const char *name)
{
    struct head__actor *a = h->names ? rwf_map_get(h->names, name) : NULL;
    return a == &head__nobody ? NULL : a;
}

static void set_name(struct head *h, const char *name, struct head__actor *a)
{
    if (!h->names)
        h->names = rwf_map_create();
    if (rwf_map_set(h->names, name, a) == &head__nobody)
        h->nobodies--;
}

/* The map forgets no key: now and then it is made anew. */
static void clear_name(struct head *h, const char *name)
{
    rwf_map_set(h->names, name, &head__nobody);
    size_t count = rwf_map_count(h->names);
    if (++h->nobodies < 1000 || h->nobodies * 2 < count)
        return;
    struct rwf_map *old = h->names;
    h->names = rwf_map_create();
    h->nobodies = 0;
    for (size_t i = 0; i < count; i++)
        if (rwf_map_value_at(old, i) != &head__nobody)
            rwf_map_set(h->names, rwf_map_key_at(old, i), rwf_map_value_at(old, i));
    rwf_map_destroy(old, NULL);
}

static uint64_t mark_of(uint64_t owner, uint64_t request)
{
    uint64_t mark = owner * UINT64_C(0x9e3779b97f4a7c15) ^ request;
    return mark ? mark : 1;
}

static struct head__actor *by_request(struct head *h, uint64_t owner, uint64_t request)
{
    struct head__actor *a = rwf_ids_get(&h->made, mark_of(owner, request));
    return a && a->spec->owner == owner && a->spec->request == request ? a : NULL;
}

/* Takes spec. */
static struct head__actor *actor_add(struct head *h, Wire__ActorSpec *spec,
                                     const char *home, enum head__actor_state state)
{
    struct head__actor *a = rwf_xcalloc(1, sizeof(*a));
    uint64_t mark = mark_of(spec->owner, spec->request);
    a->head = h;
    a->id = spec->actor;
    a->spec = spec;
    a->home = home ? rwf_xstrdup(home) : NULL;
    a->state = state;
    a->since = rwf_clock_wall();
    rwf_ids_add(&h->actors, a->id, a);
    rwf_ids_remove(&h->made, mark);
    rwf_ids_add(&h->made, mark, a);
    if (*spec->name)
        set_name(h, spec->name, a);
    if (a->id > h->last_id)
        h->last_id = a->id;
    return a;
}

static void actor_free(struct head__actor *a)
{
    struct head *h = a->head;
    uint64_t mark = mark_of(a->spec->owner, a->spec->request);
    rwf_ids_remove(&h->actors, a->id);
    if (rwf_ids_get(&h->made, mark) == a)
        rwf_ids_remove(&h->made, mark);
    if (*a->spec->name && h->names && by_name(h, a->spec->name) == a)
        clear_name(h, a->spec->name);
    head__free_message(a->spec);
    free(a->home);
    free(a->text);
    free(a);
}

static void free_one(void *ctx, void *item)
{
    (void)ctx;
    actor_free(item);
}

static void free_ask(void *ctx, void *item)
{
    head__ask_drop(ctx, item);
}

void head__actors_free(struct head *h)
{
    rwf_ids_each(&h->asks, free_ask, h);
    rwf_ids_each(&h->actors, free_one, NULL);
    rwf_ids_free(&h->actors);
    rwf_ids_free(&h->made);
    if (h->names)
        rwf_map_destroy(h->names, NULL);
}

/* --- the journal --- */

static bool must_last(const struct head__actor *a)
{
    return a->spec->detached || *a->spec->name;
}

json_t *head__actor_record(const struct head__actor *a)
{
    json_t *r = json_pack("{s:s, s:o, s:i, s:b, s:b}", "op", "actor", "spec",
                          head__message_json(&a->spec->base), "restarts",
                          (int)a->restarts, "started", a->started, "end", a->end);
    if (a->home)
        json_object_set_new(r, "home", json_string(a->home));
    return r;
}

static int note(struct head__actor *a, const char *op, bool sync, struct rwf_err *err)
{
    json_t *r = strcmp(op, "actor") == 0
                    ? head__actor_record(a)
                    : json_pack("{s:s, s:I, s:i}", "op", op, "actor", (json_int_t)a->id,
                                "restarts", (int)a->restarts);
    return head__journal_add(a->head->journal, r, sync, err);
}

/* What is done already can only be complained about. */
static void note_done(struct head__actor *a, const char *op, bool sync)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (note(a, op, sync, &err))
        rwf_log(RWF_LOG_ERROR, "head", "%s", err.text);
}

static void replay_new(struct head *h, const json_t *r)
{
    Wire__ActorSpec *spec =
        head__message_parse(json_object_get(r, "spec"), &wire__actor_spec__descriptor);
    if (!spec || spec->actor == 0 || rwf_ids_get(&h->actors, spec->actor)) {
        head__free_message(spec);
        return;
    }
    struct head__actor *a =
        actor_add(h, spec, json_string_value(json_object_get(r, "home")), ACTOR_AWAY);
    a->restarts = (unsigned)json_integer_value(json_object_get(r, "restarts"));
    a->started = json_is_true(json_object_get(r, "started"));
    a->end = json_is_true(json_object_get(r, "end"));
}

void head__actor_replay(struct head *h, const json_t *r)
{
    const char *op = json_string_value(json_object_get(r, "op"));
    uint64_t id = (uint64_t)json_integer_value(json_object_get(r, "actor"));
    struct head__actor *a = rwf_ids_get(&h->actors, id);
    if (!op)
        return;
    if (strcmp(op, "actor") == 0)
        replay_new(h, r);
    if (!a)
        return;
    if (strcmp(op, "dead") == 0) {
        actor_free(a);
    } else if (strcmp(op, "start") == 0) {
        a->started = true;
        a->restarts = (unsigned)json_integer_value(json_object_get(r, "restarts"));
    } else if (strcmp(op, "end") == 0) {
        a->end = true;
    }
}

/* --- states --- */

static void say(struct head__actor *a)
{
    Wire__ActorState s = WIRE__ACTOR_STATE__INIT;
    struct head__node *home = a->home ? head__node_find(a->head, a->home) : NULL;
    s.actor = a->id;
    s.state = (char *)head__actor_state_name(a->state);
    s.cause = a->cause;
    s.text = a->text ? a->text : (char *)"";
    s.restarts = a->restarts;
    if (home)
        HEAD__SEND(home, WIRE_ACTOR_STATE, &s);
    if (a->node && a->node != home)
        HEAD__SEND(a->node, WIRE_ACTOR_STATE, &s);
}

static void set_state(struct head__actor *a, enum head__actor_state state)
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

static void kill_at(struct head__node *n, uint64_t actor)
{
    Wire__ActorKill k = WIRE__ACTOR_KILL__INIT;
    k.actor = actor;
    HEAD__SEND(n, WIRE_ACTOR_KILL, &k);
}

/* It is over, for good. */
static void bury(struct head__actor *a)
{
    struct head *h = a->head;
    if (a->ask)
        head__ask_drop(h, a->ask);
    a->lease = 0;
    set_state(a, ACTOR_DEAD);
    a->node = NULL;
    if (*a->spec->name && by_name(h, a->spec->name) == a)
        clear_name(h, a->spec->name);
    note_done(a, "dead", must_last(a));
    if (a->spec->detached && schedule_leases_job_known(h->leases, a->id | JOB_OF_ACTOR))
        schedule_leases_job_end(h->leases, a->id | JOB_OF_ACTOR);
    TAILQ_INSERT_TAIL(&h->dead, a, dead);
    if (++h->dead_count > DEAD_KEPT) {
        struct head__actor *oldest = TAILQ_FIRST(&h->dead);
        TAILQ_REMOVE(&h->dead, oldest, dead);
        h->dead_count--;
        actor_free(oldest);
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

static int ask_worker(struct head__actor *a, struct rwf_err *err)
{
    struct head *h = a->head;
    const Wire__Resources *r = a->spec->resources;
    const struct head__node *home = a->home ? head__node_find(h, a->home) : NULL;
    struct head__need need;
    if (head__need_set(&need, r, a->home, err))
        return -1;
    struct schedule_ask ask = {
        .job = job_of(a),
        .need = need.need,
        .placement = r && r->placement == RAYWF_SPREAD ? PLAN_SPREAD : PLAN_PACK,
        .group = r ? r->group : 0,
        .bundle = r && r->bundle ? (int)r->bundle - 1 : -1,
        .may_wait = a->started,
        .wanted = 1,
        .prefer = home ? home->number : SCHEDULE_NO_NODE};
    a->ask = head__ask_add(h, &ask, NULL, a, err);
    head__need_clear(&need);
    return a->ask ? 0 : -1;
}

static void ask_again(struct head__actor *a)
{
    struct rwf_err err = RWF_ERR_INIT;
    a->state = ACTOR_PENDING;
    if (ask_worker(a, &err)) {
        set_text(a, RAYWF_ON_NODE, err.text);
        bury(a);
    } else {
        set_state(a, ACTOR_PENDING);
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
    if (!a->home || strcmp(a->home, n->name) != 0) {
        free(a->home);
        a->home = rwf_xstrdup(n->name);
    }
    l.lease = lease;
    l.client = a->spec->owner;
    l.actor = a->id;
    l.n_gpus = head__gpu_list(gpus, list);
    l.gpus = list;
    s.lease = &l;
    s.spec = a->spec;
    HEAD__SEND(n, WIRE_HEAD_ACTOR_START, &s);
    a->started = true;
    note_done(a, "start", false);
    set_state(a, ACTOR_STARTING);
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
        bury(a);
        return;
    }
    if (a->state == ACTOR_ALIVE && rwf_clock_wall() - a->since > backoff_of(a))
        a->in_a_row = 0;
    a->restarts++;
    a->in_a_row++;
    a->restart_at = rwf_clock_mono() + backoff_of(a);
    note_done(a, "start", false);
    set_state(a, ACTOR_RESTARTING);
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
        ask_again(a);
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

static void found(struct head__node *n, uint64_t request, const struct head__actor *a)
{
    if (a->home && strcmp(a->home, n->name) != 0) {
        char *text =
            rwf_xasprintf("actor '%s' lives on node %s: only processes of that "
                          "node can call it",
                          a->spec->name, a->home);
        head__error(n, request, RAYWF_E_ACTOR, text);
        free(text);
        return;
    }
    Wire__ActorFound f = WIRE__ACTOR_FOUND__INIT;
    f.request = request;
    f.actor = a->id;
    f.plugin = a->spec->plugin;
    f.class_ = a->spec->class_;
    HEAD__SEND(n, WIRE_ACTOR_FOUND, &f);
}

static int check_spec(const Wire__ActorSpec *s, struct rwf_err *err)
{
    if (!*s->plugin || !*s->class_)
        return rwf_fail(err, RAYWF_E_ARGUMENT, "an actor needs a plugin and a class");
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
    struct head__actor *a = actor_add(n->head, spec, n->name, ACTOR_PENDING);
    head__client_get(n, m->client);
    if (ask_worker(a, err) || note(a, "actor", must_last(a), err)) {
        if (a->ask)
            head__ask_drop(n->head, a->ask);
        actor_free(a);
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
    struct head__actor *a = by_request(n->head, m->client, request);
    if (!a && *s->name)
        a = by_name(n->head, s->name);
    if (a && (s->get_if_exists || a->spec->request == request)) {
        found(n, request, a);
    } else if (a) {
        rwf_fail(
            &err, RAYWF_E_ARGUMENT,
            "there is an actor named '%s' already (%s of %s): choose another name, "
            "or set get_if_exists",
            s->name, a->spec->class_, a->spec->plugin);
        head__error(n, request, err.code, err.text);
    } else if (check_spec(s, &err) || create(n, m, &err)) {
        head__error(n, request,
                    err.code == RWF_E_FIT          ? RAYWF_E_FIT
                    : err.code == RAYWF_E_ARGUMENT ? err.code
                                                   : RAYWF_E_RUNTIME,
                    err.text);
    }
}

void head__on_actor_find(struct head__node *n, const Wire__ActorFind *m)
{
    struct head__actor *a = by_name(n->head, m->name);
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

void head__on_actor_state(struct head__node *n, const Wire__HeadActorState *m)
{
    struct head__actor *a = rwf_ids_get(&n->head->actors, m->actor);
    bool dead = strcmp(m->state, "dead") == 0;
    if (!a || a->node != n || !a->lease) {
        /* Of a time before it was lost, or started elsewhere. */
        if (!dead && !(a && a->state == ACTOR_PENDING))
            kill_at(n, m->actor);
        return;
    }
    if (dead)
        head__actor_lost(a, m->cause, m->text);
    else if (strcmp(m->state, "alive") == 0 && a->state != ACTOR_ALIVE)
        set_state(a, ACTOR_ALIVE);
}

/* --- the end --- */

static void end(struct head__actor *a, const char *text)
{
    if (a->state == ACTOR_DEAD || a->end)
        return;
    a->end = true;
    note_done(a, "end", must_last(a));
    if (a->node) {
        kill_at(a->node, a->id);
    } else {
        set_text(a, RAYWF_ON_EXIT, text);
        bury(a);
    }
}

void head__on_actor_kill(struct head__node *n, const Wire__ActorKill *m)
{
    struct head__actor *a = rwf_ids_get(&n->head->actors, m->actor);
    if (a && !m->restart)
        end(a, "killed by request");
    else if (a && a->node)
        kill_at(a->node, a->id);
}

void head__on_actor_drop(struct head__node *n, const Wire__ActorDrop *m)
{
    struct head__actor *a = rwf_ids_get(&n->head->actors, m->actor);
    if (a && !a->spec->detached)
        end(a, "its creator has no handle of it any more");
}

struct owner {
    uint64_t client;
};

static void end_if_owned(void *ctx, void *item)
{
    const struct owner *o = ctx;
    struct head__actor *a = item;
    if (a->spec->owner == o->client && !a->spec->detached)
        end(a, "its creator has ended");
}

void head__actors_client_gone(struct head *h, uint64_t client)
{
    rwf_ids_each(&h->actors, end_if_owned, &(struct owner){client});
}

/* --- nodes that come and go, and the head itself --- */

bool head__actor_adopt(struct head__node *n, const Wire__ActorSpec *spec,
                       const Wire__Lease *lease)
{
    struct head *h = n->head;
    struct head__actor *a = rwf_ids_get(&h->actors, spec->actor);
    struct rwf_err err = RWF_ERR_INIT;
    if (!a && (check_spec(spec, &err) || by_name(h, spec->name)))
        return false;
    if (!a)
        a = actor_add(h, head__copy(&spec->base), n->name, ACTOR_AWAY);
    if (a->state == ACTOR_DEAD || a->end)
        a->node = a->state == ACTOR_DEAD ? a->node : n; /* so that its end is heard */
    if (a->node && a->node == n && a->lease == lease->lease)
        return !a->end;
    if (a->state == ACTOR_DEAD || a->lease)
        return false; /* it runs elsewhere: not twice */
    if (a->ask)
        head__ask_drop(h, a->ask);
    free(a->home);
    a->home = rwf_xstrdup(n->name);
    if (ask_worker(a, &err) ||
        !schedule_leases_restore(h->leases, lease->lease, a->ask->id, n->number,
                                 head__gpu_bits(lease->gpus, lease->n_gpus))) {
        if (a->ask)
            head__ask_drop(h, a->ask);
        a->node = NULL;
        if (a->end)
            bury(a);
        else
            ask_again(a);
        return false;
    }
    a->lease = lease->lease;
    a->node = n;
    a->started = true;
    set_state(a, ACTOR_STARTING); /* its node says when it is more */
    return !a->end;
}

/* It may run nowhere: it starts for the first time, or again. */
static void came_to_nothing(struct head__actor *a, const char *text)
{
    if (a->started || a->end)
        head__actor_lost(a, RAYWF_ON_NODE, text);
    else
        ask_again(a);
}

static void free_from(struct head__actor *a)
{
    free(a->home);
    a->home = NULL;
    if (a->ask)
        head__ask_drop(a->head, a->ask);
    if (a->state == ACTOR_PENDING)
        ask_again(a);
}

static void node_went(void *ctx, void *item)
{
    struct head__node *n = ctx;
    struct head__actor *a = item;
    if (a->node == n) {
        if (a->spec->detached) {
            free(a->home);
            a->home = NULL;
        }
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

static void settle_one(void *ctx, void *item)
{
    struct head *h = ctx;
    struct head__actor *a = item;
    if (a->state == ACTOR_DEAD)
        return;
    if (!a->spec->detached && !rwf_ids_get(&h->clients, a->spec->owner)) {
        end(a, "its creator has ended");
    } else if (a->state == ACTOR_AWAY) {
        free(a->home);
        a->home = NULL;
        came_to_nothing(a, "its node did not come back after the head did");
    }
}

void head__actors_settle(struct head *h)
{
    rwf_ids_each(&h->actors, settle_one, h);
}
