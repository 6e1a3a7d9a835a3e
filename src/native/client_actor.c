/* SPDX-License-Identifier: Apache-2.0
 *
 * Actors as their clients see them: a handle, and a lane of calls in order that has a
 * line while the actor is alive. Each time it (re)starts the node grants a new line.
 *
 * At most once: a call that may have begun when its actor died fails, unless it is
 * idempotent; one that had not begun stays in its place and is sent again (retry.c).
 * What is left when the actor is dead for good fails with how it ended.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "native/calls.h"
#include "native/internal.h"

#define RETRIES 3
#define CREDIT 64
#define START_TIMEOUT (60 * RAYWF_S)
#define BACKOFF (100 * RAYWF_MS)

struct method {
    char *name;
    uint32_t function;
};

struct raywf_actor {
    struct raywf_actor *next;
    uint64_t id;
    char *plugin, *class_;
    struct native__lane *lane;
    unsigned handles;
    bool owned;             /* it ends with our last handle */
    int max_pending;        /* 0: no limit */
    struct method *methods; /* called so far */
    size_t method_count, method_cap;
    struct raywf_call_options options; /* of the last call, and what they mean */
    const struct native__policy *policy;
    bool up; /* its constructor has returned, in this life of it */
    void (*watch)(void *ctx, enum native_actor_event e, const char *text);
    void *watch_ctx;
};

/* With the client's lock. */
static struct raywf_actor *actors;
static struct native__lane *spare_lanes; /* their actors are forgotten */

static struct raywf_actor *actor_find(uint64_t id)
{
    struct raywf_actor *a = actors;

    while (a && a->id != id)
        a = a->next;
    return a;
}

/* --- from the node --- */

static void connect(struct native__client *c, const struct raywf_actor *a)
{
    Wire__ActorConnect m = WIRE__ACTOR_CONNECT__INIT;

    m.actor = a->id;
    native__tell(c, WIRE_ACTOR_CONNECT, &m.base);
}

static void refuse(struct native__client *c, uint64_t lease)
{
    Wire__Return m = WIRE__RETURN__INIT;

    m.lease = lease;
    native__tell(c, WIRE_RETURN, &m.base);
}

static void granted(struct native__client *c, struct wire_message *m)
{
    const Wire__Grant *g = (const Wire__Grant *)m->body;
    struct raywf_actor *a = actor_find(g->actor);
    struct rwf_err err;

    if (!a || m->fd_count < 1) {
        refuse(c, g->lease);
        return;
    }
    if (a->lane->lines) /* it cannot have two lives at once */
        native__line_died(c, a->lane->lines, RAYWF_ON_EXIT, "was replaced");
    if (native__line_open(c, a->lane, m->fds[0], g->lease, g->worker, (int)g->slot,
                          g->far, g->node, &err))
        native__lane_fill(c, a->lane);
    else
        refuse(c, g->lease);
}

/* What to call it in texts: its class, or the file whose functions it runs. */
static const char *name_of(const struct raywf_actor *a)
{
    return *a->class_ ? a->class_ : rwf_fs_basename(a->plugin);
}

static void say(struct native__client *c, const struct raywf_actor *a,
                enum native_actor_event e, const char *text)
{
    if (a->watch)
        native__watch_actor(c, a->id, e, text);
}

static void became(struct native__client *c, struct raywf_actor *a,
                   const Wire__ActorState *s)
{
    bool up = strcmp(s->state, "alive") == 0;

    if (up == a->up || a->lane->code)
        return;
    a->up = up;
    say(c, a, up ? NATIVE_ACTOR_UP : NATIVE_ACTOR_AWAY, s->text);
}

static void died(struct native__client *c, struct raywf_actor *a,
                 const Wire__ActorState *s)
{
    struct native__lane *lane = a->lane;

    if (lane->code)
        return;
    /* An error of its constructor is the program's own; all else befell it. */
    lane->code = s->cause == RAYWF_ON_ERROR ? RAYWF_E_FAILED : RAYWF_E_ACTOR;
    lane->text = rwf_xasprintf("actor %s is dead: %s", name_of(a),
                               *s->text ? s->text : "it was ended");
    native__lane_touch(c, lane);
    native__lane_fail(c, lane, lane->code, lane->text);
    say(c, a, NATIVE_ACTOR_DEAD, lane->text);
    native__changed(c);
}

static bool message(struct native__client *c, struct wire_message *m)
{
    if (m->type == WIRE_GRANT) {
        if (((const Wire__Grant *)m->body)->actor == 0)
            return false;
        granted(c, m);
        return true;
    }
    if (m->type != WIRE_ACTOR_STATE)
        return false;
    const Wire__ActorState *s = (const Wire__ActorState *)m->body;
    struct raywf_actor *a = actor_find(s->actor);
    if (a && strcmp(s->state, "dead") == 0)
        died(c, a, s);
    else if (a)
        became(c, a, s);
    return true;
}

static void again(struct native__client *c)
{
    for (const struct raywf_actor *a = actors; a; a = a->next)
        if (!a->lane->code)
            connect(c, a);
}

/* --- handles --- */

static struct native__lane *lane_make(struct native__client *c, struct raywf_actor *a)
{
    struct native__lane *lane = spare_lanes;

    if (lane)
        spare_lanes = lane->next_spare;
    else
        lane = native__lane_add(c);
    lane->ordered = true;
    lane->actor = a->id;
    lane->owner = a;
    return lane;
}

/* A handle of an actor that the head knows; connects when it is the first. */
static struct raywf_actor *adopt(struct native__client *c, const Wire__ActorFound *f,
                                 bool owned)
{
    struct raywf_actor *a = actor_find(f->actor);

    if (!a) {
        a = rwf_xcalloc(1, sizeof(*a));
        a->id = f->actor;
        a->plugin = rwf_xstrdup(f->plugin);
        a->class_ = rwf_xstrdup(f->class_);
        a->lane = lane_make(c, a);
        a->next = actors;
        actors = a;
        connect(c, a);
    }
    a->owned |= owned;
    a->handles++;
    return a;
}

static void actor_free(struct raywf_actor *a)
{
    for (size_t i = 0; i < a->method_count; i++)
        free(a->methods[i].name);
    free(a->methods);
    free(a->plugin);
    free(a->class_);
    free(a);
}

/* The last handle is gone, and all calls are done. */
static void forget(struct native__client *c, struct raywf_actor *a)
{
    struct raywf_actor **at = &actors;
    struct native__lane *lane = a->lane;

    if (a->owned) {
        Wire__ActorDrop m = WIRE__ACTOR_DROP__INIT;
        m.actor = a->id;
        native__tell(c, WIRE_ACTOR_DROP, &m.base);
    }
    if (lane->lines)
        native__line_return(c, lane->lines, false);
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    lane->owner = NULL;
    lane->actor = 0;
    lane->code = 0;
    free(lane->text);
    lane->text = NULL;
    actor_free(a);
}

/* After each turn in which something happened to its lane. */
static void settled(struct native__client *c, struct native__lane *lane)
{
    struct raywf_actor *a = lane->owner == &spare_lanes ? NULL : lane->owner;

    if (lane->code && lane->queue.first)
        native__lane_fail(c, lane, lane->code, lane->text);
    if (!a && lane->owner != &spare_lanes) {
        lane->owner = &spare_lanes;
        lane->next_spare = spare_lanes;
        spare_lanes = lane;
    } else if (a && !a->handles && !lane->queue.first && !lane->in_flight) {
        forget(c, a);
        native__lane_touch(c, lane); /* nothing else is about it: then it is spare */
    }
}

static void free_all(struct native__client *c)
{
    (void)c;
    while (actors) {
        struct raywf_actor *a = actors;
        actors = a->next;
        actor_free(a);
    }
    spare_lanes = NULL;
}

static const struct native__actor_ops ops = {message, again, settled, free_all};
const struct native__actor_ops *native__actors = &ops;

/* --- creating, finding --- */

/* The arguments as a call of the constructor, all inline: references are waited for. */
static int encode(const struct raywf_arg *args, size_t n, struct rwf_str *out,
                  struct raywf_error *err)
{
    const struct native_call head = {
        .msg = {.type = NATIVE_CALL}, .attempt = 1, .arg_count = (uint32_t)n};

    rwf_str_addn(out, (const char *)&head, sizeof(head));
    for (size_t i = 0; i < n; i++) {
        struct raywf_value v = {.data = args[i].data, .size = args[i].size};
        static const char zeros[8];
        if (!args[i].data && (args[i].ref.owner || args[i].ref.id) &&
            raywf_get(args[i].ref, RAYWF_FOREVER, &v, err) < 0)
            return -1;
        if (out->len + v.size > WIRE_FRAME_MAX / 2)
            return native__fail(err, RAYWF_E_ARGUMENT,
                                "the arguments of an actor have %zu bytes; at most %zu "
                                "are possible: pass what is large in a call",
                                out->len + v.size, WIRE_FRAME_MAX / 2);
        const struct native_item item = {.size = v.size};
        rwf_str_addn(out, (const char *)&item, sizeof(item));
        if (v.size)
            rwf_str_addn(out, v.data, v.size);
        rwf_str_addn(out, zeros, native_pad(v.size) - v.size);
        if (v.pin)
            raywf_release(&v);
    }
    return 0;
}

static int ask(struct native__client *c, enum wire_type type, ProtobufCMessage *m,
               uint64_t *request, bool owned, struct raywf_actor **ret,
               struct raywf_error *err)
{
    struct wire_message answer;

    native__lock(c);
    *request = native__request(c);
    native__tell(c, type, m);
    int result = native__answer(c, *request, INT64_MAX, &answer, err);
    if (result == 0 && answer.type == WIRE_ACTOR_FOUND)
        *ret = adopt(c, (const Wire__ActorFound *)answer.body, owned);
    else if (result == 0)
        result = native__fail(err, RAYWF_E_RUNTIME, "the node answered with %s",
                              wire_type_name(answer.type));
    native__unlock(c);
    if (result == 0)
        wire_message_clear(&answer);
    return result;
}

static void fill_spec(Wire__ActorSpec *s, const struct raywf_actor_options *o)
{
    s->name = (char *)(o->name ? o->name : "");
    s->detached = o->detached;
    s->max_restarts = o->max_restarts;
    s->backoff = o->backoff > 0 ? o->backoff : BACKOFF;
    s->start_timeout = o->start_timeout > 0 ? o->start_timeout : START_TIMEOUT;
    s->get_if_exists = o->get_if_exists;
    s->env = (char **)(uintptr_t)o->env;
    for (s->n_env = 0; o->env && o->env[s->n_env];)
        s->n_env++;
}

static int check(const char *plugin, const char *class_,
                 const struct raywf_actor_options *o, size_t n, struct raywf_error *err)
{
    if (!plugin || !*plugin || (class_ && !*class_))
        return native__fail(err, RAYWF_E_ARGUMENT,
                            "an actor needs a plugin and the name of one of its "
                            "classes, or NULL for its plain functions");
    if (!class_ && n)
        return native__fail(err, RAYWF_E_ARGUMENT,
                            "an actor of plain functions has no constructor, and takes "
                            "no arguments");
    if (n > RAYWF_ARGS_MAX)
        return native__fail(err, RAYWF_E_ARGUMENT, "%zu arguments; at most %d", n,
                            RAYWF_ARGS_MAX);
    if (o->detached && !o->name)
        return native__fail(
            err, RAYWF_E_ARGUMENT,
            "a detached actor needs a name: nobody could find it again");
    return 0;
}

struct raywf_actor *raywf_actor_create(const char *plugin, const char *class_,
                                       const struct raywf_actor_options *o,
                                       const struct raywf_arg *args, size_t n,
                                       struct raywf_error *err)
{
    const struct raywf_actor_options none = {0};
    struct native__client *c = native__client(err);
    Wire__ActorCreate create = WIRE__ACTOR_CREATE__INIT;
    Wire__ActorSpec spec = WIRE__ACTOR_SPEC__INIT;
    struct rwf_str call = {0};
    struct raywf_actor *a = NULL;

    o = o ? o : &none;
    if (!c || check(plugin, class_, o, n, err) < 0)
        return NULL;
    spec.plugin = native__plugin_path(plugin);
    spec.resources = native__resources(&o->resources);
    if (encode(args, n, &call, err) == 0) {
        fill_spec(&spec, o);
        spec.class_ = (char *)(uintptr_t)(class_ ? class_ : "");
        spec.args.data = (uint8_t *)call.data;
        spec.args.len = call.len;
        create.spec = &spec;
        ask(c, WIRE_ACTOR_CREATE, &create.base, &create.request, !o->detached, &a, err);
    }
    if (a)
        a->max_pending = o->max_pending;
    protobuf_c_message_free_unpacked(&spec.resources->base, NULL);
    rwf_str_free(&call);
    free(spec.plugin);
    return a;
}

struct raywf_actor *raywf_actor_find(const char *name, struct raywf_error *err)
{
    struct native__client *c = native__client(err);
    Wire__ActorFind find = WIRE__ACTOR_FIND__INIT;
    struct raywf_actor *a = NULL;

    if (!c)
        return NULL;
    find.name = (char *)(uintptr_t)(name ? name : "");
    ask(c, WIRE_ACTOR_FIND, &find.base, &find.request, false, &a, err);
    return a;
}

/* --- calls --- */

static uint32_t method_number(struct native__client *c, struct raywf_actor *a,
                              const char *name)
{
    for (size_t i = 0; i < a->method_count; i++)
        if (strcmp(a->methods[i].name, name) == 0)
            return a->methods[i].function;
    char *full = rwf_xasprintf("%s%s%s", a->class_, *a->class_ ? "." : "", name);
    struct method *m = RWF_PUSH(a->methods, a->method_count, a->method_cap);
    *m = (struct method){rwf_xstrdup(name), native__function(c, full)};
    free(full);
    return m->function;
}

static const struct native__policy *policy_of(struct native__client *c,
                                              struct raywf_actor *a,
                                              const struct raywf_call_options *o)
{
    static const struct raywf_call_options none;

    o = o ? o : &none;
    if (a->policy && o->returns == a->options.returns &&
        o->timeout == a->options.timeout && o->idempotent == a->options.idempotent &&
        o->retries == a->options.retries && o->credit == a->options.credit)
        return a->policy;
    struct native__policy p = {
        .timeout = o->timeout > 0 ? o->timeout : 0,
        .returns = o->returns ? o->returns : 1,
        .credit = (uint16_t)(o->credit <= 0           ? CREDIT
                             : o->credit > UINT16_MAX ? UINT16_MAX
                                                      : o->credit),
        .once = !o->idempotent,
    };
    if (o->idempotent) {
        p.retry.max = o->retries ? o->retries : RETRIES;
        p.retry.on = RAYWF_ON_EXIT | RAYWF_ON_OOM | RAYWF_ON_NODE;
        p.retry.backoff = BACKOFF;
    }
    a->options = *o;
    a->policy = native__policy(c, &p);
    return a->policy;
}

int native__actor_submit(struct native__client *c, struct raywf_actor *a,
                         const char *method, const struct raywf_call_options *o,
                         const struct raywf_arg *args, size_t n,
                         struct raywf_ref *ret_refs, struct native_watch *w,
                         struct raywf_error *err)
{
    size_t waiting = a->lane->queue.count + a->lane->in_flight;

    if (a->max_pending > 0 && waiting >= (size_t)a->max_pending)
        return native__fail(err, RAYWF_E_RUNTIME,
                            "actor %s: %zu calls wait already (max_pending): wait for "
                            "some of them first",
                            name_of(a), waiting);
    if (o && (o->returns < RAYWF_STREAM || o->returns > RAYWF_RETURNS_MAX))
        return native__fail(err, RAYWF_E_ARGUMENT, "returns: %d; at most %d",
                            o->returns, RAYWF_RETURNS_MAX);
    return native__submit(c, a->lane, method_number(c, a, method), policy_of(c, a, o),
                          args, n, ret_refs, w, err);
}

int raywf_actor_call(struct raywf_actor *a, const char *method,
                     const struct raywf_call_options *o, const struct raywf_arg *args,
                     size_t n, struct raywf_ref *ret_refs, struct raywf_error *err)
{
    struct native__client *c = native__client(err);

    if (!c)
        return -1;
    native__lock(c);
    int result = native__actor_submit(c, a, method, o, args, n, ret_refs, NULL, err);
    native__unlock(c);
    return result;
}

int raywf_actor_kill(struct raywf_actor *a, bool restart, struct raywf_error *err)
{
    struct native__client *c = native__client(err);
    Wire__ActorKill m = WIRE__ACTOR_KILL__INIT;

    if (!c)
        return -1;
    m.actor = a->id;
    m.restart = restart;
    native__lock(c);
    native__tell(c, WIRE_ACTOR_KILL, &m.base);
    native__unlock(c);
    return 0;
}

void raywf_actor_release(struct raywf_actor *a)
{
    struct native__client *c = a ? native__client(NULL) : NULL;

    if (!c)
        return;
    native__lock(c);
    rwf_assert(a->handles > 0);
    if (--a->handles == 0) {
        a->watch = NULL;
        native__lane_touch(c, a->lane);
        native__turn(c); /* at once when there is nothing to wait for */
    }
    native__unlock(c);
}

/* --- who watches --- */

void native_client_watch(struct raywf_actor *a,
                         void (*fn)(void *ctx, enum native_actor_event e,
                                    const char *text),
                         void *ctx)
{
    struct native__client *c = native__client(NULL);

    if (!c)
        return;
    native__lock(c);
    a->watch = fn;
    a->watch_ctx = ctx;
    if (a->lane->code)
        say(c, a, NATIVE_ACTOR_DEAD, a->lane->text);
    else if (a->up)
        say(c, a, NATIVE_ACTOR_UP, "");
    native__unlock(c);
}

void native__actor_tell(struct native__client *c, uint64_t actor,
                        enum native_actor_event e, const char *text)
{
    native__lock(c);
    const struct raywf_actor *a = actor_find(actor);
    void (*fn)(void *, enum native_actor_event, const char *) = a ? a->watch : NULL;
    void *ctx = a ? a->watch_ctx : NULL;
    native__unlock(c);
    if (fn)
        fn(ctx, e, text);
}
