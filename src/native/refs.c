/* SPDX-License-Identifier: Apache-2.0
 *
 * The values that this process owns or has borrowed: entries of 64 bytes in pages that
 * never move, found by index and told from their predecessors by a generation; who
 * waits for a value hangs on it as a list of edges.
 *
 * Invariant: an entry with references is never reused; the last reference frees what it
 * holds, whatever state it is in.
 */
#include "config.h"
#include "native/internal.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/mem.h"
#include "native/lineage.h"
#include "native/remote.h"

#define PAGE_VALUES 32768u /* 2 MiB */
#define INDEX_BITS 28
#define PAGE_BYTES (PAGE_VALUES * sizeof(struct native__value))

struct native__value *native__value_at(struct native__client *c, uint32_t index)
{
    return &c->pages[index / PAGE_VALUES][index % PAGE_VALUES];
}

static struct native__value *fresh(struct native__client *c, uint32_t *ret_index)
{
    rwf_assert(c->used < (1u << INDEX_BITS) - 1);
    if (c->used / PAGE_VALUES == c->page_count) {
        void *page;
        if (posix_memalign(&page, PAGE_BYTES, PAGE_BYTES) != 0)
            rwf_out_of_memory(PAGE_BYTES);
        madvise(page, PAGE_BYTES, MADV_HUGEPAGE);
        *RWF_PUSH(c->pages, c->page_count, c->page_cap) = page;
    }
    *ret_index = c->used++;
    struct native__value *v = native__value_at(c, *ret_index);
    v->size = 0; /* its generation while it is vacant */
    return v;
}

struct native__value *native__value_add(struct native__client *c)
{
    struct native__value *v;
    uint32_t index;
    if (c->vacant) {
        index = c->vacant - 1;
        v = native__value_at(c, index);
        c->vacant = v->next;
    } else {
        v = fresh(c, &index);
    }
    uint64_t generation = v->size + 1;
    *v = (struct native__value){.id = generation << INDEX_BITS | index,
                                .refs = 1,
                                .user = 1,
                                .state = NATIVE__PENDING};
    return v;
}

struct native__value *native__value_find(struct native__client *c, uint64_t id)
{
    uint32_t index = (uint32_t)(id & ((1u << INDEX_BITS) - 1));
    if (index >= c->used || !id)
        return NULL;
    struct native__value *v = native__value_at(c, index);
    return v->id == id ? v : NULL;
}

/* Frees what the state holds; the entry is then as if PENDING. */
static void release(struct native__client *c, struct native__value *v)
{
    struct native__session *s;
    switch (v->state) {
    case NATIVE__BYTES:
        free(v->bytes);
        break;
    case NATIVE__FAILED:
        free(v->text);
        break;
    case NATIVE__FILLING:
        if (v->size <= RAYWF_INLINE_MAX) {
            free(v->bytes);
            break;
        }
        s = &c->sessions[v->store];
        store_object_abort(s->store, v->object);
        s->values--;
        break;
    case NATIVE__STORED:
        s = &c->sessions[v->store];
        if (v->data)
            store_object_unpin(s->store, v->object);
        store_object_drop(s->store, v->object);
        s->values--;
        break;
    }
}

void native__value_unref(struct native__client *c, struct native__value *v)
{
    rwf_assert(v->refs > 0);
    if (--v->refs) {
        /* Only its own task still has it: a stream that nobody can read is ended. */
        if (v->refs == 1 && v->flags & NATIVE__STREAMED && v->state == NATIVE__PENDING)
            native__cancel(c, v->id, 0);
        return;
    }
    rwf_assert(!v->edges);
    release(c, v);
    if (v->flags & NATIVE__STREAMED)
        native__streams->unread(c, v);
    if (v->flags & NATIVE__BORROWED)
        native__borrow_drop(c, v);
    else if (v->task)
        native__kept_drop(c, v->task, v);
    uint64_t id = v->id;
    v->id = 0;
    v->state = NATIVE__VACANT;
    v->size = id >> INDEX_BITS;
    v->next = c->vacant;
    c->vacant = (uint32_t)(id & ((1u << INDEX_BITS) - 1)) + 1;
}

static void announce(struct native__client *c, struct native__value *v)
{
    c->progress++;
    struct native__edge *e;
    while ((e = v->edges)) {
        native__edge_remove(e);
        e->fn(c, e, v);
    }
}

void native__value_bytes(struct native__client *c, struct native__value *v,
                         const void *data, size_t size)
{
    v->size = size;
    if (size <= NATIVE__TINY_MAX) {
        v->state = NATIVE__TINY;
        if (size)
            memcpy(v->tiny, data, size);
    } else {
        v->bytes = rwf_xmalloc(size);
        memcpy(v->bytes, data, size);
        v->state = NATIVE__BYTES;
    }
    announce(c, v);
}

void native__value_object(struct native__client *c, struct native__value *v,
                          store_object o, size_t size)
{
    v->size = size;
    v->object = o;
    v->data = NULL;
    v->pins = 0;
    v->store = (uint16_t)(c->session_count - 1);
    c->sessions[v->store].values++;
    v->state = NATIVE__STORED;
    announce(c, v);
}

void native__value_fail(struct native__client *c, struct native__value *v, int code,
                        const char *text)
{
    v->code = code; /* in the place of pins */
    v->size = 0;
    v->text = rwf_xstrdup(text);
    v->state = NATIVE__FAILED;
    announce(c, v);
    native__doomed_run(c);
}

void native__value_unmake(struct native__client *c, struct native__value *v)
{
    release(c, v);
    v->flags &= (uint8_t)~NATIVE__PINNING;
    v->pins = 0;
    v->state = NATIVE__PENDING;
    v->size = 0;
}

void native__edge_add(struct native__value *v, struct native__edge *e)
{
    /* At the front: the order in which they are told does not matter, and one that is
     * taken back soon is found in a line of cache that is warm. */
    e->next = v->edges;
    e->link = &v->edges;
    if (e->next)
        e->next->link = &e->next;
    v->edges = e;
}

void native__edge_remove(struct native__edge *e)
{
    *e->link = e->next;
    if (e->next)
        e->next->link = e->link;
    e->link = NULL;
}

void native__values_free(struct native__client *c)
{
    for (uint32_t i = 0; i < c->used; i++) {
        struct native__value *v = native__value_at(c, i);
        if (v->state != NATIVE__VACANT)
            release(c, v);
    }
    for (size_t i = 0; i < c->page_count; i++)
        free(c->pages[i]);
    free(c->pages);
}
