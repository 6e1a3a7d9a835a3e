/* SPDX-License-Identifier: Apache-2.0
 *
 * Values as the program sees them: put, get in place, wait, references.
 */
#include "config.h"
#include "native/values.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "native/copy.h"
#include "native/lineage.h"
#include "native/remote.h"

/* --- finding --- */

struct native__value *native__value_of(struct native__client *c, struct raywf_ref ref,
                                       struct raywf_error *err)
{
    if (ref.owner == c->id) {
        struct native__value *v = native__value_find(c, ref.id);
        if (v) {
            v->refs++;
            return v;
        }
    } else if (ref.owner) {
        return native__borrow(c, ref);
    }
    native__fail(
        err, RAYWF_E_ARGUMENT,
        "there is no such ref: it was dropped already, or is of another process "
        "and incomplete");
    return NULL;
}

/* --- put --- */

#define SLICE RAYWF_S /* so often it is seen that the node we wait for is gone */

/* An object on its way: its session counts it from the start. */
struct fresh {
    uint16_t session;
    struct store *store;
    store_object object;
    void *data;
};

static void enter(struct native__client *c, struct fresh *f)
{
    native__lock(c);
    f->session = (uint16_t)(c->session_count - 1);
    f->store = c->sessions[f->session].store;
    c->sessions[f->session].values++;
    native__unlock(c);
}

/* true: there is no use in trying again. */
static bool leave(struct native__client *c, const struct fresh *f)
{
    native__lock(c);
    c->sessions[f->session].values--;
    bool stopping = c->stopping;
    native__unlock(c);
    return stopping;
}

/* Without the lock. */
static int object_create(struct native__client *c, size_t size, struct fresh *ret,
                         struct raywf_error *err)
{
    struct rwf_err why;
    bool stopping;
    do {
        enter(c, ret);
        ret->data = store_object_create(ret->store, size, native__deadline(SLICE),
                                        &ret->object, &why);
        if (ret->data)
            return 0;
        stopping = leave(c, ret);
    } while (why.code == ETIMEDOUT && !stopping);
    return native__fail(err, RAYWF_E_FIT, "a value of %zu bytes: %s", size, why.text);
}

/* With the lock: a value for it. */
static struct native__value *object_value(struct native__client *c,
                                          const struct fresh *f, size_t size,
                                          enum native__state state)
{
    struct native__value *v = native__value_add(c);
    v->size = size;
    v->object = f->object;
    v->data = state == NATIVE__FILLING ? f->data : NULL;
    v->store = f->session;
    v->state = state;
    return v;
}

struct native__value *native__put_object(struct native__client *c, const void *data,
                                         size_t size, struct raywf_error *err)
{
    struct fresh f;
    struct rwf_err why;
    if (object_create(c, size, &f, err) < 0)
        return NULL;
    native__copy(f.data, data, size);
    if (store_object_seal(f.store, f.object, &why) < 0) {
        leave(c, &f);
        native__fail(err, RAYWF_E_OVERRUN, "%s", why.text);
        return NULL;
    }
    native__lock(c);
    struct native__value *v = object_value(c, &f, size, NATIVE__STORED);
    native__unlock(c);
    return v;
}

int raywf_put(const void *data, size_t size, struct raywf_ref *ret,
              struct raywf_error *err)
{
    struct native__client *c = native__client(err);
    if (!c)
        return -1;
    struct native__value *v;
    if (size > RAYWF_INLINE_MAX) {
        v = native__put_object(c, data, size, err);
        if (!v)
            return -1;
        *ret = (struct raywf_ref){c->id, v->id};
        return 0;
    }
    native__lock(c);
    v = native__value_add(c);
    native__value_bytes(c, v, data, size);
    *ret = (struct raywf_ref){c->id, v->id};
    native__unlock(c);
    return 0;
}

void *raywf_create(size_t size, struct raywf_ref *ret, struct raywf_error *err)
{
    struct native__client *c = native__client(err);
    if (!c)
        return NULL;
    struct fresh f = {0};
    struct native__value *v;
    if (size > RAYWF_INLINE_MAX) {
        if (object_create(c, size, &f, err) < 0)
            return NULL;
    } else {
        f.data = rwf_xmalloc(size ? size : 1);
    }
    native__lock(c);
    if (f.store) {
        v = object_value(c, &f, size, NATIVE__FILLING);
    } else {
        v = native__value_add(c);
        v->state = NATIVE__FILLING;
        v->size = size;
        v->bytes = f.data;
    }
    *ret = (struct raywf_ref){c->id, v->id};
    native__unlock(c);
    return f.data;
}

/* Small ones stay where they are. */
static int seal_bytes(struct native__client *c, struct native__value *v)
{
    void *bytes = v->bytes;
    native__value_bytes(c, v, bytes, v->size);
    free(bytes);
    return 0;
}

static int seal_object(struct native__client *c, struct native__value *v,
                       struct raywf_error *err)
{
    struct native__session *s = &c->sessions[v->store];
    store_object o = v->object;
    size_t size = v->size;
    struct rwf_err why;
    s->values--;
    if (store_object_seal(s->store, o, &why) < 0) {
        native__value_fail(c, v, RAYWF_E_OVERRUN, why.text);
        return native__fail(err, RAYWF_E_OVERRUN, "%s", why.text);
    }
    uint16_t session = v->store;
    native__value_object(c, v, o, size);
    if (v->store != session) { /* the node was lost meanwhile */
        c->sessions[v->store].values--;
        v->store = session;
        c->sessions[session].values++;
    }
    return 0;
}

int raywf_seal(struct raywf_ref ref, struct raywf_error *err)
{
    struct native__client *c = native__client(err);
    if (!c)
        return -1;
    int rc;
    native__lock(c);
    struct native__value *v = ref.owner == c->id ? native__value_find(c, ref.id) : NULL;
    if (!v || v->state != NATIVE__FILLING)
        rc = native__fail(err, RAYWF_E_ARGUMENT,
                          "only what raywf_create gave can be sealed, and once");
    else
        rc = v->size <= RAYWF_INLINE_MAX ? seal_bytes(c, v) : seal_object(c, v, err);
    native__changed(c);
    native__unlock(c);
    return rc;
}

/* --- get --- */

static bool is_ready(void *ctx)
{
    return native__value_ready(ctx);
}

int native__value_wait(struct native__client *c, struct native__value *v,
                       int64_t deadline, struct raywf_error *err)
{
    if (native__value_ready(v) || native__await(c, is_ready, v, deadline, true))
        return 0;
    if (c->stopping)
        return native__fail(err, RAYWF_E_RUNTIME, "raywf_shutdown was called");
    return native__fail(err, RAYWF_E_TIMEOUT,
                        "the value was not there in time (`raywf why` tells what its "
                        "task waits for)");
}

static bool not_pinning(void *ctx)
{
    const struct native__value *v = ctx;
    return !(v->flags & NATIVE__PINNING);
}

/* One thread enters the store, without the lock; v has a reference of the caller's. */
static int pin_first(struct native__client *c, struct native__value *v,
                     int64_t deadline, struct raywf_error *err)
{
    struct store *s = c->sessions[v->store].store;
    bool old = v->store + (size_t)1 != c->session_count;
    store_object o = v->object;
    size_t size;
    struct rwf_err why = RWF_ERR_INIT;
    v->flags |= NATIVE__PINNING;
    native__unlock(c);
    int64_t until = native__deadline(old ? 0 : SLICE);
    const void *data =
        store_object_pin(s, o, until < deadline ? until : deadline, &size, &why);
    native__lock(c);
    v->flags &= (uint8_t)~NATIVE__PINNING;
    native__changed(c);
    if (v->state != NATIVE__STORED || v->object != o) { /* lost, and moved, meanwhile */
        if (data)
            store_object_unpin(s, o);
        return 0;
    }
    if (data) {
        v->data = (void *)(uintptr_t)data;
        return 0;
    }
    if (why.code != ETIMEDOUT || old)
        native__lost(c, v);
    else if (rwf_clock_mono() >= deadline || c->stopping)
        return native__fail(err, RAYWF_E_TIMEOUT, "%s", why.text);
    return 0;
}

/* Bytes of v in place: 0, v->pins counted; -1 and *err. */
static int bring(struct native__client *c, struct native__value *v, int64_t deadline,
                 struct raywf_error *err)
{
    for (;;) {
        if (native__value_wait(c, v, deadline, err) < 0)
            return -1;
        if (v->state == NATIVE__FAILED)
            return native__fail(err, v->code, "%s", v->text);
        if (v->state != NATIVE__STORED)
            return 0;
        if (v->data) {
            v->pins++;
            return 0;
        }
        if (v->flags & NATIVE__PINNING)
            native__await(c, not_pinning, v, deadline, false);
        else if (pin_first(c, v, deadline, err) < 0)
            return -1;
    }
}

static int get(struct native__client *c, struct raywf_ref ref, int64_t timeout,
               struct raywf_value *ret, struct raywf_error *err)
{
    struct native__value *v = native__value_of(c, ref, err);
    if (!v)
        return -1;
    int64_t deadline = native__value_ready(v) && v->state != NATIVE__STORED
                           ? 0
                           : native__deadline(timeout);
    if (bring(c, v, deadline, err) < 0) {
        native__value_unref(c, v);
        return -1;
    }
    ret->size = v->size;
    ret->pin = v;
    ret->data = v->state == NATIVE__TINY    ? (const void *)v->tiny
                : v->state == NATIVE__BYTES ? v->bytes
                                            : v->data;
    return 0;
}

int raywf_get(struct raywf_ref ref, int64_t timeout, struct raywf_value *ret,
              struct raywf_error *err)
{
    struct native__client *c = native__client(err);
    if (!c)
        return -1;
    native__lock(c);
    int rc = get(c, ref, timeout, ret, err);
    native__unlock(c);
    return rc;
}

static void let_go(struct native__client *c, struct native__value *v, const void *data)
{
    if (v->state == NATIVE__STORED && v->data == data && --v->pins == 0) {
        store_object_unpin(c->sessions[v->store].store, v->object);
        v->data = NULL;
    }
    native__value_unref(c, v);
}

void raywf_release(struct raywf_value *value)
{
    struct native__client *c = native__the;
    if (!c || !value->pin)
        return;
    native__lock(c);
    let_go(c, value->pin, value->data);
    native__unlock(c);
    *value = (struct raywf_value){0};
}

int raywf_get_copy(struct raywf_ref ref, int64_t timeout, void *data, size_t size,
                   struct raywf_error *err)
{
    struct native__client *c = native__client(err);
    if (!c)
        return -1;
    struct raywf_value value;
    native__lock(c);
    int rc = get(c, ref, timeout, &value, err);
    native__unlock(c);
    if (rc < 0)
        return -1;
    if (value.size != size)
        rc = native__fail(err, RAYWF_E_ARGUMENT,
                          "the value has %zu bytes, and there is room for %zu",
                          value.size, size);
    else if (size)
        native__copy(data, value.data, size);
    raywf_release(&value);
    return rc;
}

/* --- wait --- */

struct waiter {
    size_t ready, want, added;
    struct native__edge *edges; /* one for each ref that was pending */
    struct native__value **values;
};

static void one_ready(struct native__client *c, struct native__edge *e,
                      struct native__value *v)
{
    (void)c, (void)v;
    ((struct waiter *)e->ctx)->ready++;
}

static bool enough(void *ctx)
{
    const struct waiter *w = ctx;
    return w->ready >= w->want;
}

/* Counts what is there; hangs an edge on the rest. */
static int wait_begin(struct native__client *c, struct waiter *w,
                      const struct raywf_ref *refs, size_t n, struct raywf_error *err)
{
    for (; w->added < n; w->added++) {
        struct native__value *v = native__value_of(c, refs[w->added], err);
        if (!v)
            return -1;
        w->values[w->added] = v;
        struct native__edge *e = &w->edges[w->added];
        *e = (struct native__edge){.fn = one_ready, .ctx = w};
        if (native__value_ready(v))
            w->ready++;
        else
            native__edge_add(v, e);
    }
    return 0;
}

static void wait_end(struct native__client *c, struct waiter *w, bool *ret_ready)
{
    for (size_t i = 0; i < w->added; i++) {
        if (ret_ready)
            ret_ready[i] = native__value_ready(w->values[i]);
        if (w->edges[i].link)
            native__edge_remove(&w->edges[i]);
        native__value_unref(c, w->values[i]);
    }
}

int raywf_wait(const struct raywf_ref *refs, size_t n, size_t want, int64_t timeout,
               bool *ret_ready, struct raywf_error *err)
{
    struct native__client *c = native__client(err);
    if (!c)
        return -1;
    if (want > n || n > INT32_MAX)
        return native__fail(err, RAYWF_E_ARGUMENT,
                            "wait for %zu of %zu refs: more than there are", want, n);
    struct waiter w = {.want = want};
    w.edges = rwf_xmalloc((n ? n : 1) * sizeof(*w.edges));
    w.values = rwf_xmalloc((n ? n : 1) * sizeof(struct native__value *));
    native__lock(c);
    native__turn(c);
    int rc = wait_begin(c, &w, refs, n, err);
    if (rc == 0 && !enough(&w))
        native__await(c, enough, &w, native__deadline(timeout), true);
    rc = rc < 0 ? -1 : (int)w.ready;
    wait_end(c, &w, ret_ready);
    native__unlock(c);
    free(w.edges);
    free(w.values);
    return rc;
}

/* --- references --- */

int raywf_retain(struct raywf_ref ref, struct raywf_error *err)
{
    struct native__client *c = native__client(err);
    if (!c)
        return -1;
    native__lock(c);
    struct native__value *v = native__value_of(c, ref, err);
    if (v)
        v->user++;
    native__unlock(c);
    return v ? 0 : -1;
}

void raywf_drop(struct raywf_ref ref)
{
    struct native__client *c = native__the;
    if (!c || !ref.owner)
        return;
    native__lock(c);
    struct native__value *v =
        ref.owner == c->id ? native__value_find(c, ref.id) : native__borrowed(c, ref);
    if (v && v->user) { /* once too often does no harm */
        v->user--;
        native__value_unref(c, v);
    }
    native__unlock(c);
}
