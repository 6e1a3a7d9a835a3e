/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "native/peer.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"

struct native__peer *native__peer_open(int fd, uint64_t lease, uint64_t client,
                                       int slot, struct store_bell *peer_bell,
                                       struct rwf_err *err)
{
    struct store_ring *ring = store_ring_open(fd, STORE_WORKER, peer_bell, err);
    struct native__peer *p;

    if (!ring)
        return NULL;
    p = rwf_xcalloc(1, sizeof(*p));
    p->ring = ring;
    p->lease = lease;
    p->client = client;
    p->slot = slot;
    return p;
}

void native__peer_close(struct native__peer *p)
{
    if (!p)
        return;
    atomic_store(store_ring_word(p->ring, STORE_WORD_CLOSED), 1);
    store_ring_close(p->ring);
    for (size_t i = p->head; i < p->tail; i++)
        free(p->queue[i]);
    free(p->queue);
    for (size_t i = 0; i < p->function_count; i++) {
        free(p->functions[i].name);
        free(p->functions[i].error);
    }
    free(p->functions);
    free(p);
}

void native__peer_break(struct native__peer *p, const char *why)
{
    rwf_log(RWF_LOG_ERROR, "worker", "a client is let go: %s client=%llu lease=%llu",
            why, (unsigned long long)p->client, (unsigned long long)p->lease);
    atomic_store(store_ring_word(p->ring, STORE_WORD_CLOSED), 1);
    p->gone = true;
}

static const struct native_msg *ring_next(struct native__peer *p, size_t *ret_size)
{
    const void *frame = store_ring_peek(p->ring, ret_size);

    if (!frame) {
        if (!p->gone && store_ring_broken(p->ring))
            native__peer_break(p, "its ring is damaged");
        return NULL;
    }
    if (*ret_size < sizeof(struct native_msg)) {
        native__peer_break(p, "a frame is too short");
        return NULL;
    }
    return frame;
}

const struct native_msg *native__peer_next(struct native__peer *p, size_t *ret_size,
                                           bool *ret_forgotten)
{
    *ret_forgotten = false;
    if (p->head == p->tail)
        return ring_next(p, ret_size);
    struct native__frame *f = p->queue[p->head];
    *ret_size = f->size;
    *ret_forgotten = f->forgotten;
    return (const struct native_msg *)f->data;
}

void native__peer_consume(struct native__peer *p)
{
    if (p->head == p->tail) {
        store_ring_consume(p->ring);
        return;
    }
    free(p->queue[p->head++]);
    if (p->head == p->tail)
        p->head = p->tail = 0;
}

bool native__peer_has(struct native__peer *p)
{
    size_t size;

    return p->head < p->tail || ring_next(p, &size) != NULL;
}

static void queue_push(struct native__peer *p, const struct native_msg *m, size_t size)
{
    struct native__frame *f = rwf_xmalloc(sizeof(*f) + native_pad(size));

    f->size = size;
    f->forgotten = false;
    memcpy(f->data, m, size);
    if (p->head > 64 && p->head > p->tail / 2) {
        memmove(p->queue, p->queue + p->head, (p->tail - p->head) * sizeof(*p->queue));
        p->tail -= p->head;
        p->head = 0;
    }
    *RWF_PUSH(p->queue, p->tail, p->queue_cap) = f;
}

static void forget(struct native__peer *p, const struct native_msg *m)
{
    for (size_t i = p->head; i < p->tail; i++) {
        const struct native_msg *c = (const struct native_msg *)p->queue[i]->data;
        if (c->type == NATIVE_CALL && c->task == m->task && c->epoch == m->epoch &&
            c->task != p->running)
            p->queue[i]->forgotten = true;
    }
}

void native__peer_read_ahead(struct native__peer *p, size_t max)
{
    const struct native_msg *m;
    size_t size;

    while (p->tail - p->head < max && (m = ring_next(p, &size)) != NULL) {
        if (m->type == NATIVE_FORGET) {
            forget(p, m);
        } else if (m->type == NATIVE_CREDIT) {
            const struct native_credit *c = (const struct native_credit *)m;
            if (size >= sizeof(*c) && m->task == p->running && c->upto > p->credit)
                p->credit = c->upto;
        } else {
            queue_push(p, m, size);
        }
        store_ring_consume(p->ring);
    }
}

void *native__peer_reserve(struct native__peer *p, size_t size)
{
    const _Atomic uint64_t *closed = store_ring_word(p->ring, STORE_WORD_CLOSED);
    struct timespec nap = {.tv_nsec = 1000};
    void *room;

    for (int tries = 0; !(room = store_ring_reserve(p->ring, size)); tries++) {
        if (tries == 0)
            store_ring_flush(p->ring); /* also wakes who is to read */
        if (p->gone || atomic_load(closed))
            return NULL;
        if (tries < 200)
            continue;
        /* Nobody tells that there is room: a client that reads makes some soon. */
        nanosleep(&nap, NULL);
        if (nap.tv_nsec < 1000000)
            nap.tv_nsec *= 2;
    }
    return room;
}
