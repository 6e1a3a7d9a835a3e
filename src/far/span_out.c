/* SPDX-License-Identifier: Apache-2.0
 *
 * From the rings to the connections: one thread that sleeps on the bell of the plane's
 * slot. Many frames go in one record, the records of a turn in one call of the system.
 * What a worker executes is said to the other side when it takes longer than a look:
 * its client may have to end it.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/mem.h"
#include "far/span_impl.h"

#define TICK (5 * RWF_NS_PER_MS)
#define ROADS_MAX 64 /* flushed at once */

static void queue(struct far__span *s, enum span__kind kind, const struct iovec *iov,
                  int count)
{
    uint16_t flags = s->side == SPAN_OF_CLIENT ? SPAN__TO_WORKER : 0;
    if (s->road->dead)
        return;
    if (peer_queue(s->road->conn, (uint16_t)kind, flags, s->channel, iov, count) > 0)
        s->road->full = true;
    s->road->dirty = true;
}

void span__send(struct far__span *s, enum span__kind kind, const void *data,
                size_t size)
{
    const struct iovec iov = {(void *)(uintptr_t)data, size};
    queue(s, kind, &iov, 1);
}

/* --- frames --- */

struct lending {
    struct far__span *span;
    bool failed;
};

/* A value of a worker: it is kept here until the client's node has it. */
static int lend(void *ctx, struct native_item *item)
{
    struct lending *l = ctx;
    struct far__span *s = l->span;
    if (!l->failed && peer_lend(s->set->plane, s->road->session, item->object) < 0)
        l->failed = true;
    return 0;
}

static void lend_packed(struct lending *l, const void *frame, size_t size)
{
    const struct native_item *item =
        (const void *)((const char *)frame + sizeof(struct native_done));
    struct store *store = l->span->set->eyes;
    uint32_t count = span__packed_count(frame, size);
    size_t bytes;
    if (!count || l->failed)
        return;
    const void *data = store_object_pin(store, item->object, 0, &bytes, NULL);
    l->failed = !data || span__packed(data, bytes, count, lend, l) < 0;
    if (data)
        store_object_unpin(store, item->object);
}

/* What a worker says. The frame is ours: returns its size, which may have changed. */
static size_t from_worker(struct far__span *s, void *frame, size_t size)
{
    static const char lost[] = "its result was lost before it could be brought here";
    struct native_done *d = frame;
    struct lending l = {s, false};
    if (d->msg.type == NATIVE_DONE) {
        s->dones++;
        span__held_drop(s, &d->msg, false);
    } else if (d->msg.type == NATIVE_STALLED) {
        s->dones = s->calls - 1;
    }
    if (span__items(frame, size, lend, &l) < 0) {
        span__break(s, "a worker's frame is not valid");
        return 0;
    }
    if (d->msg.type == NATIVE_DONE)
        lend_packed(&l, frame, size);
    if (!l.failed)
        return size;
    const struct native_msg m = {NATIVE_DONE, 0, d->msg.epoch, d->msg.task};
    const struct native_item item = {sizeof(lost) - 1, 0};
    *d = (struct native_done){.msg = m, .code = RAYWF_E_RUNTIME, .count = 1, .ns = 1};
    memcpy(d + 1, &item, sizeof(item));
    memcpy((char *)(d + 1) + sizeof(item), lost, sizeof(lost));
    return sizeof(*d) + sizeof(item) + native_pad(sizeof(lost) - 1);
}

static size_t from_client(struct far__span *s, const void *frame, size_t size)
{
    const struct native_msg *m = frame;
    if (m->type == NATIVE_CALL)
        s->last_task = m->task;
    return size;
}

/* The next frame at `to`: what it takes there; 0: none. */
static size_t stage(struct far__span *s, char *to)
{
    struct span__frame *head = (struct span__frame *)(void *)to;
    size_t size;
    const void *m = store_ring_peek(s->ring, &size);
    if (!m)
        return 0;
    memcpy(head + 1, m, size);
    store_ring_consume(s->ring);
    if (size < sizeof(struct native_msg)) {
        span__break(s, "a frame is too short");
        return 0;
    }
    size = s->side == SPAN_OF_CLIENT ? from_client(s, head + 1, size)
                                     : from_worker(s, head + 1, size);
    *head = (struct span__frame){(uint32_t)size, 0};
    return size ? sizeof(*head) + native_pad(size) : 0;
}

static bool pump(struct far__span *s)
{
    struct far__spans *set = s->set;
    bool any = false;
    while (!s->road->full && !s->broken && s->sent - s->acked < SPAN__WINDOW) {
        size_t used = 0, n;
        while (used < SPAN__STAGE && (n = stage(s, set->stage + used)) > 0)
            used += n;
        if (!used)
            break;
        span__send(s, SPAN__FRAMES, set->stage, used);
        s->sent += used;
        any = true;
    }
    if (store_ring_broken(s->ring))
        span__break(s, "what was written into its ring is no message");
    return any;
}

/* --- words --- */

static void say_word(struct far__span *s, enum store_ring_word word, uint64_t value,
                     uint64_t ran)
{
    const struct span__word w = {word, value, ran};
    span__send(s, SPAN__WORD, &w, sizeof(w));
}

static void see_cancel(struct far__span *s)
{
    uint64_t cancel = atomic_load(store_ring_word(s->ring, STORE_WORD_CANCEL));
    if (cancel == s->cancel)
        return;
    s->cancel = cancel;
    say_word(s, STORE_WORD_CANCEL, cancel, 0);
}

/* What a worker executes since the last look. true: look again. */
static bool see_task(struct far__span *s, int64_t now)
{
    uint64_t task = atomic_load(store_ring_word(s->ring, STORE_WORD_TASK));
    if (s->calls <= s->dones)
        return false;
    if (task && task == s->seen && task != s->shown) {
        int64_t since =
            (int64_t)atomic_load(store_ring_word(s->ring, STORE_WORD_STARTED));
        s->shown = task;
        say_word(s, STORE_WORD_TASK, task, now > since ? (uint64_t)(now - since) : 0);
    }
    s->seen = task;
    return !task || task != s->shown;
}

static void look(struct far__spans *set, int64_t now)
{
    struct far__span *s;
    bool again = false;
    LIST_FOREACH(s, &set->all, all)
    if (s->side == SPAN_OF_WORKER && !s->death)
        again |= see_task(s, now);
    set->tick = again ? now + TICK : INT64_MAX;
}

void span__watch(struct far__spans *set)
{
    if (set->tick != INT64_MAX)
        return;
    set->tick = rwf_clock_mono() + TICK;
    store_bell_ring(set->bell);
}

/* --- a turn --- */

/* Its last word is on its way. */
static void bury(struct far__span *s)
{
    size_t size;
    if (s->side != SPAN_OF_WORKER || !s->death || s->closed ||
        (!s->broken && store_ring_peek(s->ring, &size)))
        return;
    span__send(s, SPAN__END, s->death, s->death_size);
    peer_flush(s->road->conn); /* the road may end with it */
    span__finish(s);
}

/* With the lock. */
static bool pass(struct far__spans *set)
{
    struct far__span *s, *next;
    bool any = false, more = false;
    for (s = LIST_FIRST(&set->all); s; s = next) {
        next = LIST_NEXT(s, all);
        if (!TAILQ_EMPTY(&s->parcels))
            span__advance(s);
        if (s->side == SPAN_OF_CLIENT)
            see_cancel(s);
        any |= pump(s);
        more |= s->side == SPAN_OF_WORKER && s->calls > s->dones;
        bury(s);
    }
    if (more && set->tick == INT64_MAX && any)
        set->tick = rwf_clock_mono() + TICK;
    return any;
}

/* With the lock, which is given up meanwhile. */
static void flush(struct far__spans *set)
{
    struct peer_conn *conns[ROADS_MAX];
    struct span__road *r;
    int n = 0;
    LIST_FOREACH(r, &set->roads, all)
    if (r->dirty && n < ROADS_MAX) {
        r->dirty = false;
        peer_conn_hold(r->conn);
        conns[n++] = r->conn;
    }
    if (!n)
        return;
    pthread_mutex_unlock(&set->lock);
    for (int i = 0; i < n; i++) {
        peer_flush(conns[i]);
        peer_conn_release(conns[i]);
    }
    pthread_mutex_lock(&set->lock);
}

static bool something(struct far__spans *set)
{
    struct far__span *s;
    size_t size;
    LIST_FOREACH(s, &set->all, all)
    {
        bool open = !s->broken && !s->road->full && s->sent - s->acked < SPAN__WINDOW;
        if ((open && store_ring_peek(s->ring, &size)) || s->road->dirty)
            return true;
    }
    return set->stopping;
}

static bool spin(struct far__spans *set)
{
    int64_t ns = peer_spin(set->plane);
    bool found = false;
    if (ns <= 0 || LIST_EMPTY(&set->all) || !peer_spin_begin(set->plane))
        return false;
    int64_t end = rwf_clock_mono() + ns;
    while (!(found = something(set)) && rwf_clock_mono() < end) {
        pthread_mutex_unlock(&set->lock);
        for (int i = 0; i < 16; i++)
            __asm__ volatile("" ::: "memory");
        pthread_mutex_lock(&set->lock);
    }
    peer_spin_end(set->plane);
    return found;
}

static void rest(struct far__spans *set)
{
    uint32_t seen = store_bell_prepare(set->bell);
    if (pass(set) || something(set)) {
        store_bell_cancel(set->bell);
        return;
    }
    int64_t until = set->tick;
    pthread_mutex_unlock(&set->lock);
    store_bell_wait(set->bell, seen, until);
    pthread_mutex_lock(&set->lock);
}

void *span__main(void *ctx)
{
    struct far__spans *set = ctx;
    prctl(PR_SET_NAME, "raywf-bridge");
    pthread_mutex_lock(&set->lock);
    while (!set->stopping) {
        bool any = pass(set);
        flush(set);
        if (set->tick != INT64_MAX) {
            int64_t now = rwf_clock_mono();
            if (now >= set->tick)
                look(set, now);
        }
        if (!any && !spin(set))
            rest(set);
    }
    pthread_mutex_unlock(&set->lock);
    return NULL;
}
