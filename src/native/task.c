/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls as the owner keeps them: one piece of memory with the numbers of its values and
 * its arguments as they go into a frame, from free lists by size. Submitting, and the
 * ways in which a call ends without a result.
 */
#include "config.h"
#include "native/internal.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/mem.h"
#include "native/args.h"
#include "native/lineage.h"
#include "native/remote.h"

#define GRAIN 32
#define CHUNK ((size_t)2 << 20)

/* --- memory --- */

static void *from_chunk(struct native__client *c, size_t size)
{
    if (c->chunk_left < size) {
        void *chunk;
        if (posix_memalign(&chunk, CHUNK, CHUNK) != 0)
            rwf_out_of_memory(CHUNK);
        madvise(chunk, CHUNK, MADV_HUGEPAGE);
        *RWF_PUSH(c->chunks, c->chunk_count, c->chunk_cap) = chunk;
        c->chunk = chunk;
        c->chunk_left = CHUNK;
    }
    void *ret = c->chunk;
    c->chunk += size;
    c->chunk_left -= size;
    return ret;
}

static struct native__task *task_alloc(struct native__client *c, size_t size)
{
    size_t class_ = (size + GRAIN - 1) / GRAIN;
    struct native__task *t;
    if (class_ >= NATIVE__CLASSES) {
        t = rwf_xmalloc(size);
        class_ = 0;
    } else if ((t = c->spare[class_])) {
        c->spare[class_] = t->next;
    } else {
        t = from_chunk(c, class_ * GRAIN);
    }
    memset(t, 0, sizeof(*t));
    t->class_ = (uint16_t)class_;
    return t;
}

/* Gives up what its arguments hold. */
static void drop_args(struct native__client *c, struct native__task *t)
{
    if (!(t->flags & NATIVE__HAS_REFS))
        return;
    struct native__arg_walk w = native__args_of(t);
    struct native_item *item;
    while ((item = native__args_next(&w)))
        if (item->object == NATIVE__REF)
            native__value_unref(c, native__value_at(c, (uint32_t)item->size));
}

static void bury(struct native__client *c, struct native__task *t)
{
    if (t->stream)
        native__streams->drop(c, t);
    drop_args(c, t);
    if (t->flags & NATIVE__PACK)
        native__value_unref(c, native__value_at(c, t->packed));
    if (!t->class_) {
        free(t);
        return;
    }
    t->next = c->spare[t->class_];
    c->spare[t->class_] = t;
}

void native__task_free(struct native__client *c, struct native__task *t)
{
    if (c->burying) { /* the last reference of an argument was its */
        t->next = c->dead;
        c->dead = t;
        return;
    }
    c->burying = true;
    bury(c, t);
    while ((t = c->dead)) {
        c->dead = t->next;
        bury(c, t);
    }
    c->burying = false;
}

void native__tasks_free(struct native__client *c)
{
    for (size_t i = 0; i < c->chunk_count; i++)
        free(c->chunks[i]);
    free(c->chunks);
}

/* --- names and policies --- */

uint32_t native__function(struct native__client *c, const char *name)
{
    uintptr_t number = (uintptr_t)rwf_map_get(c->function_map, name);
    if (!number) {
        *RWF_PUSH(c->functions, c->function_count, c->function_cap) = rwf_xstrdup(name);
        number = c->function_count;
        rwf_map_set(c->function_map, name, (void *)number);
    }
    return (uint32_t)number - 1;
}

const char *native__function_name(const struct native__client *c, uint32_t function)
{
    return c->functions[function];
}

const struct native__policy *native__policy(struct native__client *c,
                                            const struct native__policy *p)
{
    for (size_t i = 0; i < c->policy_count; i++) {
        const struct native__policy *o = c->policies[i];
        if (o->retry.max == p->retry.max && o->retry.on == p->retry.on &&
            o->retry.backoff == p->retry.backoff && o->timeout == p->timeout &&
            o->returns == p->returns && o->credit == p->credit && o->once == p->once)
            return o;
    }
    struct native__policy *n = rwf_xmalloc(sizeof(*n));
    *n = *p;
    *RWF_PUSH(c->policies, c->policy_count, c->policy_cap) = n;
    return n;
}

void native__retry_defaults(struct raywf_retry *ret, const struct raywf_retry *r)
{
    ret->max = !r->max ? 3 : r->max < 0 ? 0 : r->max;
    ret->on = r->on ? r->on : RAYWF_ON_EXIT | RAYWF_ON_OOM | RAYWF_ON_NODE;
    ret->backoff = r->backoff ? r->backoff : 100 * RAYWF_MS;
}

/* --- submitting --- */

/* A dependency that is pending; from the same memory as tasks. */
struct wait_for {
    struct native__edge edge;
    struct native__task *task;
    struct wait_for *next;
};

static void doom(struct native__client *c, struct native__task *t)
{
    if (t->flags & NATIVE__DOOMED)
        return;
    t->flags |= NATIVE__DOOMED;
    t->missing++;
    if (t->place == NATIVE__QUEUED)
        native__list_remove(&t->lane->queue, t);
    t->place = NATIVE__HELD;
    t->next = c->doomed;
    c->doomed = t;
}

static const struct native__value *failed_arg(struct native__client *c,
                                              struct native__task *t)
{
    struct native__arg_walk w = native__args_of(t);
    struct native_item *item;
    while ((item = native__args_next(&w))) {
        if (item->object != NATIVE__REF)
            continue;
        const struct native__value *v = native__value_at(c, (uint32_t)item->size);
        if (v->state == NATIVE__FAILED)
            return v;
    }
    rwf_assert(!"a doomed call has an argument that failed");
    return NULL;
}

void native__doomed_run(struct native__client *c)
{
    if (c->dooming)
        return;
    c->dooming = true;
    struct native__task *t;
    while ((t = c->doomed)) {
        c->doomed = t->next;
        t->missing--;
        const struct native__value *v = failed_arg(c, t);
        if (!(t->flags & NATIVE__GONE))
            native__task_fail(c, t, v->code, v->text);
        else if (!t->missing)
            native__task_free(c, t);
    }
    c->dooming = false;
}

/* All its arguments are there. In an ordered lane it has its place already. */
static void unhold(struct native__client *c, struct native__task *t)
{
    if (t->place != NATIVE__QUEUED) {
        native__lane_queue(c, t->lane, t, t->epoch > 1);
        return;
    }
    native__lane_touch(c, t->lane);
    native__lane_fill(c, t->lane);
}

static void there(struct native__client *c, struct native__edge *e,
                  struct native__value *v)
{
    struct native__task *t = ((struct wait_for *)e)->task;
    free(e);
    t->missing--;
    if (t->flags & NATIVE__GONE) {
        if (!t->missing)
            native__task_free(c, t);
    } else if (v->state == NATIVE__FAILED) {
        doom(c, t);
    } else if (!t->missing) {
        unhold(c, t);
    }
}

void native__hold(struct native__client *c, struct native__task *t)
{
    t->missing++; /* while we look: an error must not free it under us */
    if (!t->lane->ordered)
        t->place = NATIVE__HELD;
    else if (t->place != NATIVE__QUEUED)
        native__lane_queue(c, t->lane, t, t->epoch > 1);
    struct native__arg_walk w = native__args_of(t);
    struct native_item *item;
    while ((item = native__args_next(&w))) {
        if (item->object != NATIVE__REF)
            continue;
        struct native__value *v = native__value_at(c, (uint32_t)item->size);
        if (native__value_ready(v)) {
            if (v->state == NATIVE__FAILED)
                doom(c, t);
            continue;
        }
        struct wait_for *e = rwf_xmalloc(sizeof(*e));
        *e = (struct wait_for){.edge = {.fn = there}, .task = t};
        native__edge_add(v, &e->edge);
        t->missing++;
    }
    if (!--t->missing)
        unhold(c, t);
    native__doomed_run(c);
}

static void make_values(struct native__client *c, struct native__task *t,
                        struct raywf_ref *ret_refs)
{
    for (uint32_t i = 0; i < t->value_count; i++) {
        struct native__value *v = native__value_add(c);
        v->refs = 2; /* the program's, and the task's until it is done */
        v->task = t;
        t->values[i] = native__value_index(v);
        ret_refs[i] = (struct raywf_ref){c->id, v->id};
    }
}

int native__submit(struct native__client *c, struct native__lane *lane,
                   uint32_t function, const struct native__policy *policy,
                   const struct raywf_arg *args, size_t n, struct raywf_ref *ret_refs,
                   struct native_watch *w, struct raywf_error *err)
{
    struct native__args a = {.args = args, .count = n};
    if (n && native__args_prepare(c, &a, err) < 0)
        return -1;
    uint32_t values = policy->returns == RAYWF_STREAM ? 1 : (uint32_t)policy->returns;
    size_t head = sizeof(struct native__task) + native_pad(values * sizeof(uint32_t));
    struct native__task *t = task_alloc(c, head + a.bytes);
    t->id = ++c->next_task;
    t->lane = lane;
    t->policy = policy;
    t->function = function;
    t->value_count = values;
    t->arg_count = (uint32_t)n;
    t->arg_bytes = (uint32_t)a.bytes;
    t->epoch = 1;
    t->attempt = 1;
    t->parent = c->call;
    t->flags = a.flags;
    t->watch = w;
    make_values(c, t, ret_refs);
    native__args_write(c, &a, native__task_args(t));
    c->outstanding++;
    if (policy->returns == RAYWF_STREAM)
        native__streams->open(c, t);
    if (lane->code)
        native__task_fail(c, t, lane->code, lane->text);
    else if (a.pending)
        native__hold(c, t);
    else
        native__lane_queue(c, lane, t, false);
    if (c->deep)
        native__stir(c);
    return 0;
}

/* --- ends --- */

/* The values that are still pending fail. */
static void fail_values(struct native__client *c, struct native__task *t, int code,
                        const char *text)
{
    if (t->stream)
        native__streams->end(c, t, code, text);
    for (uint32_t i = 0; i < t->value_count; i++) {
        if (t->values[i] == NATIVE__NO_VALUE)
            continue;
        struct native__value *v = native__value_at(c, t->values[i]);
        t->values[i] = NATIVE__NO_VALUE;
        v->task = NULL;
        if (v->state == NATIVE__PENDING) {
            native__value_fail(c, v, code, text);
            native__value_unref(c, v);
        }
    }
}

void native__task_fail(struct native__client *c, struct native__task *t, int code,
                       const char *text)
{
    if (t->flags & NATIVE__GONE)
        return;
    t->flags |= NATIVE__GONE;
    c->outstanding--;
    char *copy = rwf_xstrdup(text); /* it may be the text of a value that goes */
    fail_values(c, t, code, copy);
    if (t->watch)
        native__watch_end(c, t, code, copy);
    free(copy);
    switch (t->place) {
    case NATIVE__QUEUED:
        native__list_remove(&t->lane->queue, t);
        t->place = NATIVE__HELD;
        if (!t->missing)
            native__task_free(c, t);
        break;
    case NATIVE__HELD: /* freed with the last of its arguments */
        if (!t->missing)
            native__task_free(c, t);
        break;
    case NATIVE__ASLEEP: /* freed by its timer */
    case NATIVE__SENT:   /* freed when its line is done with it */
        break;
    }
}
