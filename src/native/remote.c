/* SPDX-License-Identifier: Apache-2.0
 *
 * Refs that other clients own. What is asked for here lies in an entry like any other
 * value, found by owner and id; what others ask of us hangs as an edge on the value
 * until it is there.
 */
#include "config.h"
#include "native/remote.h"
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "native/lineage.h"

/* --- borrowed --- */

struct native__borrow {
    struct native__borrow *next;
    struct raywf_ref ref;
    uint64_t request;
    uint32_t index;
};

static void ask(struct native__client *c, struct native__borrow *b)
{
    Wire__Ask m = WIRE__ASK__INIT;
    m.owner = b->ref.owner;
    m.id = b->ref.id;
    m.client = c->id;
    m.slot = (uint32_t)c->slot;
    m.request = b->request = ++c->next_request;
    native__tell(c, WIRE_ASK, &m.base);
}

struct native__value *native__borrowed(struct native__client *c, struct raywf_ref ref)
{
    for (struct native__borrow *b = c->borrows; b; b = b->next)
        if (b->ref.owner == ref.owner && b->ref.id == ref.id)
            return native__value_at(c, b->index);
    return NULL;
}

struct native__value *native__borrow(struct native__client *c, struct raywf_ref ref)
{
    struct native__value *v = native__borrowed(c, ref);
    if (v) {
        v->refs++;
        return v;
    }
    struct native__borrow *b = rwf_xcalloc(1, sizeof(*b));
    v = native__value_add(c);
    v->flags |= NATIVE__BORROWED;
    v->user = 0;
    v->borrow = b;
    b->ref = ref;
    b->index = native__value_index(v);
    b->next = c->borrows;
    c->borrows = b;
    ask(c, b);
    return v;
}

void native__borrow_drop(struct native__client *c, struct native__value *v)
{
    struct native__borrow **at = &c->borrows;
    while (*at != v->borrow)
        at = &(*at)->next;
    *at = v->borrow->next;
    free(v->borrow);
}

void native__told(struct native__client *c, const Wire__Tell *m)
{
    struct native__borrow *b = c->borrows;
    while (b && b->request != m->request)
        b = b->next;
    struct native__value *v = b ? native__value_at(c, b->index) : NULL;
    if (!v || v->state != NATIVE__PENDING) {
        if (m->object)
            store_object_drop(native__store(c), m->object);
        return;
    }
    if (m->code) {
        char *text = rwf_xstrndup((const char *)m->value.data, m->value.len);
        native__value_fail(c, v, m->code, text);
        free(text);
    } else if (m->object) {
        native__value_object(c, v, m->object, m->size);
    } else {
        native__value_bytes(c, v, m->value.data, m->value.len);
    }
}

void native__borrow_again(struct native__client *c)
{
    for (struct native__borrow *b = c->borrows; b; b = b->next)
        if (native__value_at(c, b->index)->state == NATIVE__PENDING)
            ask(c, b);
}

void native__borrows_free(struct native__client *c)
{
    struct native__borrow *b;
    while ((b = c->borrows)) {
        c->borrows = b->next;
        free(b);
    }
}

/* --- asked --- */

struct asker {
    struct native__edge edge;
    uint64_t client, request;
    int slot;
};

static void tell_error(struct native__client *c, const struct asker *a, int code,
                       const char *text)
{
    Wire__Tell m = WIRE__TELL__INIT;
    m.client = a->client;
    m.request = a->request;
    m.code = code;
    m.value.data = (uint8_t *)(uintptr_t)text;
    m.value.len = strlen(text);
    native__tell(c, WIRE_TELL, &m.base);
}

static void wait_to_tell(struct native__client *c, const struct asker *a,
                         struct native__value *v);

static void tell_object(struct native__client *c, const struct asker *a,
                        struct native__value *v)
{
    if (native__present(c, v) < 0) { /* it is being brought back */
        wait_to_tell(c, a, v);
        return;
    }
    if (store_object_hand(native__store(c), v->object, a->slot) < 0) {
        tell_error(c, a, RAYWF_E_LOST, "its object cannot be handed over");
        return;
    }
    Wire__Tell m = WIRE__TELL__INIT;
    m.client = a->client;
    m.request = a->request;
    m.object = v->object;
    m.size = v->size;
    native__tell(c, WIRE_TELL, &m.base);
}

static void tell_value(struct native__client *c, const struct asker *a,
                       struct native__value *v)
{
    if (v->state == NATIVE__STORED) {
        tell_object(c, a, v);
    } else if (v->state == NATIVE__FAILED) {
        tell_error(c, a, v->code, v->text);
    } else {
        Wire__Tell m = WIRE__TELL__INIT;
        m.client = a->client;
        m.request = a->request;
        m.value.data = v->state == NATIVE__TINY ? v->tiny : v->bytes;
        m.value.len = v->size;
        m.size = v->size;
        native__tell(c, WIRE_TELL, &m.base);
    }
}

static void now_there(struct native__client *c, struct native__edge *e,
                      struct native__value *v)
{
    struct asker *a = (struct asker *)e;
    tell_value(c, a, v);
    free(a);
    native__value_unref(c, v);
}

static void wait_to_tell(struct native__client *c, const struct asker *a,
                         struct native__value *v)
{
    if (native__value_ready(v)) { /* it could not be brought back */
        tell_value(c, a, v);
        return;
    }
    struct asker *later = rwf_xmalloc(sizeof(*later));
    *later = *a;
    later->edge = (struct native__edge){.fn = now_there};
    v->refs++;
    native__edge_add(v, &later->edge);
}

void native__asked(struct native__client *c, const Wire__Ask *m)
{
    const struct asker a = {
        .client = m->client, .request = m->request, .slot = (int)m->slot};
    struct native__value *v = m->owner == c->id ? native__value_find(c, m->id) : NULL;
    if (!v)
        tell_error(
            c, &a, RAYWF_E_LOST,
            "its owner has dropped it: who passes a ref on must keep it until it "
            "was retained");
    else if (native__value_ready(v))
        tell_value(c, &a, v);
    else
        wait_to_tell(c, &a, v);
}
