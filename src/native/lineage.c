/* SPDX-License-Identifier: Apache-2.0
 *
 * What is lost is made again. The rebuilding is recursive by itself: the task is
 * queued, and when it is sent its own arguments are found lost, and so on.
 */
#include "config.h"
#include "native/lineage.h"
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "native/values.h"

#define KEEP_MAX ((size_t)1 << 30)
#define REBUILDS_MAX 3

static size_t weight(const struct native__task *t)
{
    return sizeof(*t) + t->value_count * sizeof(uint32_t) + t->arg_bytes;
}

/* Its values forget it. */
static void forget(struct native__client *c, struct native__task *t)
{
    for (uint32_t i = 0; i < t->value_count; i++)
        if (t->values[i] != NATIVE__NO_VALUE)
            native__value_at(c, t->values[i])->task = NULL;
    native__task_free(c, t);
}

static void unkeep(struct native__client *c, struct native__task *t)
{
    native__list_remove(&c->kept, t);
    c->kept_bytes -= weight(t);
}

void native__keep(struct native__client *c, struct native__task *t)
{
    t->live = 0;
    for (uint32_t i = 0; i < t->value_count; i++)
        if (t->values[i] != NATIVE__NO_VALUE &&
            native__value_at(c, t->values[i])->state == NATIVE__STORED)
            t->live++;
    if (!t->live || t->stream || t->policy->once) {
        forget(c, t);
        return;
    }
    if (t->flags & NATIVE__PACK) {
        t->flags &= (uint8_t)~NATIVE__PACK;
        native__value_unref(c, native__value_at(c, t->packed));
    }
    t->place = NATIVE__KEPT;
    native__list_push(&c->kept, t);
    c->kept_bytes += weight(t);
    while (c->kept_bytes > KEEP_MAX) {
        struct native__task *old = c->kept.first;
        unkeep(c, old);
        forget(c, old);
    }
}

void native__kept_drop(struct native__client *c, struct native__task *t,
                       struct native__value *v)
{
    uint32_t i = 0, index = native__value_index(v);
    while (i < t->value_count && t->values[i] != index)
        i++;
    if (i < t->value_count)
        t->values[i] = NATIVE__NO_VALUE;
    if (t->place != NATIVE__KEPT || v->state != NATIVE__STORED || --t->live)
        return;
    unkeep(c, t);
    forget(c, t);
}

/* The values of t that are not there (any more) are PENDING, and t is queued. */
static void make_again(struct native__client *c, struct native__task *t)
{
    unkeep(c, t);
    t->rebuilds++;
    c->outstanding++;
    native__again(c, t);
}

void native__lost(struct native__client *c, struct native__value *v)
{
    struct native__task *t = v->flags & NATIVE__BORROWED ? NULL : v->task;
    bool kept = t && t->place == NATIVE__KEPT;
    native__value_unmake(c, v);
    if (kept && t->rebuilds < REBUILDS_MAX) {
        v->refs++; /* the task's, until it is done again */
        make_again(c, t);
    } else if (t && !kept && t->rebuilds) { /* it is on its way for another value */
        v->refs++;
    } else {
        native__value_fail(c, v, RAYWF_E_LOST,
                           t ? "its object was lost, made again and lost again, three "
                               "times over"
                             : "its object is gone with its node, and what made it is "
                               "not known any more: put it, or submit its task, again");
    }
}

/* --- out of a mapping that outlived its node --- */

struct moving {
    struct native__job job;
    uint32_t index, session;
    store_object object;
};

static void moved(struct native__client *c, struct moving *m,
                  struct native__value *fresh)
{
    struct native__value *v = native__value_at(c, m->index);
    struct native__session *s = &c->sessions[m->session];
    store_object_drop(s->store, m->object);
    s->values--;
    if (!fresh) {
        v->state = NATIVE__STORED; /* for native__lost to let go of */
        s->values++;
        v->store = (uint16_t)m->session;
        v->object = m->object;
        v->data = NULL;
        native__lost(c, v);
    } else {
        store_object o = fresh->object;
        size_t size = fresh->size;
        fresh->state = NATIVE__TINY; /* its reference is v's now */
        c->sessions[fresh->store].values--;
        native__value_unref(c, fresh);
        native__value_object(c, v, o, size);
    }
    native__value_unref(c, v);
    native__changed(c);
}

static void move(struct native__client *c, struct native__job *j)
{
    struct moving *m = (struct moving *)j;
    struct store *old = c->sessions[m->session].store;
    struct raywf_error err;
    struct rwf_err why = RWF_ERR_INIT;
    size_t size;
    const void *bytes = store_object_pin(old, m->object, 0, &size, &why);
    struct native__value *fresh =
        bytes ? native__put_object(c, bytes, size, &err) : NULL;
    if (!fresh)
        rwf_log(RWF_LOG_WARN, "native", "an object of a node that is gone is lost: %s",
                bytes ? err.text : why.text);
    if (bytes)
        store_object_unpin(old, m->object);
    native__lock(c);
    moved(c, m, fresh);
    native__unlock(c);
    free(m);
}

int native__present(struct native__client *c, struct native__value *v)
{
    if (v->store + (size_t)1 == c->session_count) {
        if (store_object_size(native__store(c), v->object) >= 0)
            return 0;
        native__lost(c, v);
        return -1;
    }
    struct moving *m = rwf_xmalloc(sizeof(*m));
    *m = (struct moving){.job = {.fn = move},
                         .index = native__value_index(v),
                         .session = v->store,
                         .object = v->object};
    if (v->pins) { /* somebody reads it there: the old mapping stays for ever */
        store_object_hold(c->sessions[v->store].store, v->object);
        c->sessions[v->store].values++;
    } else if (v->data) {
        store_object_unpin(c->sessions[v->store].store, v->object);
    }
    v->pins = 0;
    v->data = NULL;
    v->state = NATIVE__PENDING;
    v->refs++;
    native__job_add(c, &m->job);
    return -1;
}
