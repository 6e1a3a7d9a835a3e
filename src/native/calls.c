/* SPDX-License-Identifier: Apache-2.0
 *
 * Tasks as the program sees them: functions with options, submitting, cancelling. Calls
 * with like needs share a lane: its key is the shape as it goes to the node.
 */
#include "config.h"
#include "native/calls.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "native/group.h"
#include "native/remote.h"

struct raywf_task {
    struct native__lane *lane;
    const struct native__policy *policy;
    uint32_t function;
};

/* --- shapes --- */

static char *copy(const char *text)
{
    return rwf_xstrdup(text ? text : "");
}

static void copy_custom(Wire__Resources *ret, const struct raywf_resource *r)
{
    size_t n = 0;
    while (r && r[n].name)
        n++;
    ret->custom = n ? rwf_xcalloc(n, sizeof(*ret->custom)) : NULL;
    for (; ret->n_custom < n; ret->n_custom++) {
        Wire__Amount *a = ret->custom[ret->n_custom] = rwf_xmalloc(sizeof(*a));
        wire__amount__init(a);
        a->name = copy(r[ret->n_custom].name);
        a->amount = r[ret->n_custom].amount;
    }
}

static void copy_labels(Wire__Resources *ret, const struct raywf_label *l)
{
    size_t n = 0;
    while (l && l[n].key)
        n++;
    ret->labels = n ? rwf_xcalloc(n, sizeof(*ret->labels)) : NULL;
    for (; ret->n_labels < n; ret->n_labels++) {
        Wire__Label *to = ret->labels[ret->n_labels] = rwf_xmalloc(sizeof(*to));
        wire__label__init(to);
        to->key = copy(l[ret->n_labels].key);
        to->value = copy(l[ret->n_labels].value);
    }
}

Wire__Resources *native__resources(const struct raywf_resources *r)
{
    Wire__Resources *ret = rwf_xmalloc(sizeof(*ret));
    wire__resources__init(ret);
    ret->cpu = r->cpu == 0 ? 1 : r->cpu < 0 ? 0 : r->cpu;
    ret->gpu = r->gpu;
    ret->memory = (uint64_t)r->memory;
    ret->placement = r->placement;
    ret->group = r->group ? native__group_id(r->group) : 0;
    ret->bundle = (uint32_t)r->bundle;
    copy_custom(ret, r->custom);
    copy_labels(ret, r->labels);
    return ret;
}

char **native__env(const char *const *env, size_t *ret_count)
{
    size_t n = 0;
    while (env && env[n])
        n++;
    char **ret = n ? rwf_xcalloc(n, sizeof(*ret)) : NULL;
    for (size_t i = 0; i < n; i++)
        ret[i] = copy(env[i]);
    *ret_count = n;
    return ret;
}

/* A path of ours means the same to a worker in another folder. */
char *native__plugin_path(const char *plugin)
{
    return strchr(plugin, '/') ? rwf_fs_absolute(plugin) : rwf_xstrdup(plugin);
}

static Wire__Shape *make_shape(const char *plugin, const struct raywf_task_options *o)
{
    Wire__Shape *s = rwf_xmalloc(sizeof(*s));
    wire__shape__init(s);
    s->plugin = native__plugin_path(plugin);
    s->resources = native__resources(&o->resources);
    s->env = native__env(o->env, &s->n_env);
    s->max_calls = (uint32_t)(o->max_calls > 0 ? o->max_calls : 0);
    return s;
}

/* The packed shape as hexadecimal text, and the priority. */
static char *shape_key(const Wire__Shape *s, int priority)
{
    size_t len = protobuf_c_message_get_packed_size(&s->base);
    uint8_t *bytes = rwf_xmalloc(len + 1);
    protobuf_c_message_pack(&s->base, bytes);
    char *key = rwf_xmalloc(2 * len + 16);
    for (size_t i = 0; i < len; i++) {
        key[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        key[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    snprintf(key + 2 * len, 16, "/%d", priority);
    free(bytes);
    return key;
}

static struct native__lane *shape_lane(struct native__client *c, Wire__Shape *shape,
                                       const struct raywf_task_options *o)
{
    char *key = shape_key(shape, o->priority);
    struct native__lane *lane = rwf_map_get(c->shapes, key);
    if (lane) {
        protobuf_c_message_free_unpacked(&shape->base, NULL);
    } else {
        lane = native__lane_add(c);
        lane->shape = shape;
        lane->priority = o->priority;
        lane->group = o->resources.group;
        rwf_map_set(c->shapes, key, lane);
    }
    free(key);
    return lane;
}

/* --- functions with options --- */

static int check_options(const struct raywf_task_options *o, struct raywf_error *err)
{
    if (o->returns < RAYWF_STREAM || o->returns > RAYWF_RETURNS_MAX)
        return native__fail(err, RAYWF_E_ARGUMENT,
                            "returns %d: 1 to %d, or RAYWF_STREAM", o->returns,
                            RAYWF_RETURNS_MAX);
    if (o->credit < 0 || o->credit > UINT16_MAX)
        return native__fail(err, RAYWF_E_ARGUMENT, "credit %d: 1 to %d", o->credit,
                            UINT16_MAX);
    if (o->timeout < 0)
        return native__fail(err, RAYWF_E_ARGUMENT, "a time-out below 0");
    if (o->resources.gpu < 0 || o->resources.memory < 0)
        return native__fail(err, RAYWF_E_ARGUMENT, "an amount of a resource below 0");
    return 0;
}

struct raywf_task *raywf_task(const char *plugin, const char *function,
                              const struct raywf_task_options *options,
                              struct raywf_error *err)
{
    static const struct raywf_task_options none;
    const struct raywf_task_options *o = options ? options : &none;
    struct native__client *c = native__client(err);
    if (!c || check_options(o, err) < 0)
        return NULL;
    if (!plugin || !*plugin || !function || !*function) {
        native__fail(err, RAYWF_E_ARGUMENT, "a task needs a plugin and a function");
        return NULL;
    }
    struct native__policy p = {
        .timeout = o->timeout,
        .returns = o->returns ? o->returns : 1,
        .credit = (uint16_t)(o->credit ? o->credit : 64),
    };
    native__retry_defaults(&p.retry, &o->retry);
    Wire__Shape *shape = make_shape(plugin, o);
    struct raywf_task *t = rwf_xmalloc(sizeof(*t));
    native__lock(c);
    t->lane = shape_lane(c, shape, o);
    t->lane->retriable = t->lane->retriable || p.retry.max > 0;
    t->policy = native__policy(c, &p);
    t->function = native__function(c, function);
    *RWF_PUSH(c->handles, c->handle_count, c->handle_cap) = t;
    native__unlock(c);
    return t;
}

void native__handles_free(struct native__client *c)
{
    for (size_t i = 0; i < c->handle_count; i++)
        free(c->handles[i]);
    free(c->handles);
}

/* --- submitting --- */

#define TURN_EVERY 64 /* submissions: results are taken in while the program submits   \
                       */

int raywf_submit(struct raywf_task *task, const struct raywf_arg *args, size_t n,
                 struct raywf_ref *ret_refs, struct raywf_error *err)
{
    struct native__client *c = native__client(err);
    if (!c)
        return -1;
    if (!task)
        return native__fail(err, RAYWF_E_ARGUMENT, "no task: raywf_task failed before");
    native__lock(c);
    struct native__lane *lane = task->lane;
    bool first = !lane->wanted && !lane->line_count;
    int rc =
        native__submit(c, lane, task->function, task->policy, args, n, ret_refs, NULL,
                        err);
    if (first || ++c->since_turn >= TURN_EVERY) {
        c->since_turn = 0;
        native__turn(c);
    }
    native__unlock(c);
    return rc;
}

/* --- cancelling --- */

static void end_by_force(struct native__client *c, const struct native__task *t)
{
    char text[] = "was ended: its task was cancelled by force";
    Wire__End m = WIRE__END__INIT;
    m.worker = t->line->worker;
    m.task = t->id;
    m.text = text;
    native__tell(c, WIRE_END, &m.base);
}

struct forgetting {
    uint64_t lease, task;
    uint32_t epoch;
};

/* Tells the worker not to begin it; tries again while the ring is full. */
static void forget(struct native__client *c, void *ctx)
{
    struct forgetting *f = ctx;
    struct native__line *l = native__line_find(c, f->lease);
    struct native_msg *m = l ? store_ring_reserve(l->ring, sizeof(*m)) : NULL;
    if (l && !m) {
        native__timer_add(c, c->now + RAYWF_MS, forget, f);
        return;
    }
    if (m) {
        *m = (struct native_msg){
            .type = NATIVE_FORGET, .epoch = f->epoch, .task = f->task};
        store_ring_commit(l->ring);
        native__flush(l);
    }
    free(f);
}

static void cancel_sent(struct native__client *c, struct native__task *t, int flags)
{
    struct native__line *l = t->line;
    uint64_t running = atomic_load(store_ring_word(l->ring, STORE_WORD_TASK));
    if (running == t->id || l->flight.first == t)
        atomic_store(store_ring_word(l->ring, STORE_WORD_CANCEL), t->id);
    struct forgetting *f = rwf_xmalloc(sizeof(*f));
    *f = (struct forgetting){l->lease, t->id, t->epoch};
    forget(c, f);
    /* Its node looks again whether it is that one which runs. */
    if (flags & RAYWF_CANCEL_FORCE && (running == t->id || l->flight.first == t))
        end_by_force(c, t);
}

static void cancel_task(struct native__client *c, struct native__task *t, int flags)
{
    if (t->place == NATIVE__SENT && !(t->flags & NATIVE__GONE))
        cancel_sent(c, t, flags);
    native__task_fail(c, t, RAYWF_E_CANCELLED, "the task was cancelled");
}

void native__cancel(struct native__client *c, uint64_t id, int flags)
{
    struct native__value *v = native__value_find(c, id);
    if (!v || v->flags & NATIVE__BORROWED || native__value_ready(v) || !v->task)
        return;
    cancel_task(c, v->task, flags);
    native__changed(c);
}

void native__cancel_children(struct native__client *c, uint32_t call)
{
    for (uint32_t i = 0; i < c->used; i++) {
        struct native__value *v = native__value_at(c, i);
        if (v->state == NATIVE__PENDING && !(v->flags & NATIVE__BORROWED) && v->task &&
            v->task->parent == call)
            cancel_task(c, v->task, 0);
    }
}

int raywf_cancel(struct raywf_ref ref, int flags, struct raywf_error *err)
{
    struct native__client *c = native__client(err);
    if (!c)
        return -1;
    int rc = 0;
    native__lock(c);
    if (ref.owner == c->id) {
        if (native__value_find(c, ref.id))
            native__cancel(c, ref.id, flags);
        else
            rc = native__fail(err, RAYWF_E_ARGUMENT,
                              "there is no such ref: it was dropped already");
    } else {
        Wire__CancelOwned m = WIRE__CANCEL_OWNED__INIT;
        m.owner = ref.owner;
        m.id = ref.id;
        m.flags = (uint32_t)flags;
        native__tell(c, WIRE_CANCEL_OWNED, &m.base);
    }
    native__unlock(c);
    return rc;
}
