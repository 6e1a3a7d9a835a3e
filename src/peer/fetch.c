/* SPDX-License-Identifier: Apache-2.0
 *
 * Bringing an object here.
 *
 *   NEW -> ASKING (its owner: where from?) -> MAKING (room) -> COMING -> HERE
 *   ASKING, COMING -> WAITING (a connection has ended, or nothing came) -> ASKING
 *
 * Chunks that came stay. Whatever passes them on is checked by the sums that the owner
 * made, so that no node between can spoil them unseen. It fails when its owner says
 * that there is no such object, or is gone, or nothing has moved for `patience`.
 */
#include "config.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "peer/bulk.h"

#define WINDOW_BYTES ((size_t)32 << 20) /* asked for, and not here yet */
#define WINDOW_MIN 2
#define WINDOW_MAX 512
#define STALL (10 * RWF_NS_PER_S)
#define WAIT_FIRST (50 * RWF_NS_PER_MS)
#define WAIT_MAX (2 * RWF_NS_PER_S)
#define DAMAGED_MAX 4 /* of one chunk, in a row, from the same node */
#define RELAYS_MAX 3  /* that failed: then the owner itself */

bool peer__fetching(const struct peer__item *it)
{
    return it->state != PEER__HERE;
}

static void set_state(struct peer__item *it, enum peer__state state)
{
    pthread_mutex_lock(&it->peer->lock);
    it->state = state;
    pthread_mutex_unlock(&it->peer->lock);
}

/* --- the end --- */

static void give(struct peer__item *it, struct peer__waiter *w, store_object local,
                 const struct rwf_err *err)
{
    if (w->flags & PEER_LENT)
        peer__lend_give(it->peer, it->session, it->theirs);
    w->fn(w->ctx, local, local ? it->size : 0, local ? NULL : err);
    free(w);
}

static void tell_all(struct peer__item *it, store_object local,
                     const struct rwf_err *err)
{
    struct peer__waiter *w;

    while ((w = STAILQ_FIRST(&it->waiters))) {
        STAILQ_REMOVE_HEAD(&it->waiters, link);
        give(it, w, local, err);
    }
}

static void tell_owner(struct peer__item *it, bool has)
{
    if (!it->peer->ending && !it->orphan)
        peer__bulk_say_done(peer__bulk_to(it->peer, it->session), it->theirs, has);
}

void peer__fetch_fail(struct peer__item *it, int code, const char *fmt, ...)
{
    struct peer *p = it->peer;
    struct rwf_err err;
    char text[PEER__TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    rwf_fail(&err, code, "node %s cannot fetch object %" PRIx64 ": %s", p->name,
             it->theirs, text);
    if (code != EHOSTUNREACH)
        tell_owner(it, false);
    peer__serve_refuse(it, ENOENT, err.text);
    if (it->data && !it->pinned)
        store_object_abort(p->view, it->local);
    it->data = NULL;
    it->local = 0;
    /* Out of the table first: who is told may ask for it again. */
    STAILQ_HEAD(, peer__waiter) waiters = STAILQ_HEAD_INITIALIZER(waiters);
    struct peer__waiter *w;
    STAILQ_CONCAT(&waiters, &it->waiters);
    it->ops++;
    peer__item_remove(it);
    while ((w = STAILQ_FIRST(&waiters))) {
        STAILQ_REMOVE_HEAD(&waiters, link);
        give(it, w, 0, &err);
    }
    it->ops--;
    peer__item_released(it);
}

/* All chunks are here. */
static void complete(struct peer__item *it)
{
    struct peer *p = it->peer;
    struct rwf_err err = RWF_ERR_INIT;
    struct peer__waiter *w;
    const void *data;
    size_t size;

    if (store_object_seal(p->view, it->local, &err) < 0) {
        it->data = NULL; /* it was freed */
        peer__fetch_fail(it, err.code, "%s", err.text);
        return;
    }
    peer__pin_add(p, it->local);
    data = store_object_pin(p->view, it->local, 0, &size, NULL);
    if (!data)
        peer__pin_drop(p, it->local);
    it->data = (char *)(uintptr_t)data;
    it->pinned = data != NULL;
    it->used_at = rwf_clock_mono();
    pthread_mutex_lock(&p->lock);
    it->state = PEER__HERE;
    it->idle_since = it->used_at;
    peer__item_local_set(it, it->local);
    STAILQ_FOREACH(w, &it->waiters, link)
    it->users++;
    pthread_mutex_unlock(&p->lock);
    it->from = it->asked = NULL;
    atomic_fetch_add(&p->fetched, 1);
    tell_owner(it, true);
    tell_all(it, it->local, NULL);
    peer__serve(it);
}

/* --- asking --- */

static uint32_t window(const struct peer__item *it)
{
    size_t n = WINDOW_BYTES / it->chunk;

    n = n < WINDOW_MAX ? n : WINDOW_MAX;
    return n > WINDOW_MIN ? (uint32_t)n : WINDOW_MIN;
}

/* Asks for chunks, as many as may be on their way. */
static void pump(struct peer__item *it)
{
    while (it->from && it->on_way < window(it) && it->have + it->on_way < it->count) {
        uint32_t i = it->cursor;
        while (it->flags[i] & (PEER__WANTED | PEER__HAVE))
            i = i + 1 < it->count ? i + 1 : 0;
        it->cursor = i + 1 < it->count ? i + 1 : 0;
        it->flags[i] |= PEER__WANTED;
        it->on_way++;
        /* Who ends meanwhile takes `from` away. */
        peer__bulk_say(it->from, PEER__CHUNK, it->theirs, it->session, 0, i);
    }
}

static void forget_wanted(struct peer__item *it)
{
    for (uint32_t i = 0; i < it->count && it->on_way > 0; i++)
        it->flags[i] &= (uint8_t)~PEER__WANTED;
    it->on_way = 0;
    peer__bulk_forget(it->peer, it);
}

static void ask(struct peer__item *it)
{
    set_state(it, PEER__ASKING);
    it->from = NULL;
    it->asked = peer__bulk_to(it->peer, it->session);
    peer__bulk_say(it->asked, PEER__ASK, it->theirs, 0, it->avoid, 0);
    peer__loop_tick_by(&it->peer->bulk, rwf_clock_mono());
}

static void ask_later(struct peer__item *it, bool at_once)
{
    int64_t wait = WAIT_FIRST << (it->tries < 6 ? it->tries : 6);

    if (it->count)
        forget_wanted(it);
    it->from = it->asked = NULL;
    it->retry_at = rwf_clock_mono() + (at_once ? 0 : wait < WAIT_MAX ? wait : WAIT_MAX);
    if (!at_once)
        it->tries++;
    if (it->state != PEER__MAKING)
        set_state(it, PEER__WAITING);
    peer__loop_tick_by(&it->peer->bulk, it->retry_at);
}

/* Whoever sent it to us is no good: another one. */
static void leave_relay(struct peer__item *it)
{
    it->relays_failed++;
    it->avoid = it->relays_failed >= RELAYS_MAX ? PEER__AVOID_ALL : it->parent;
    it->damaged = 0;
    ask_later(it, true);
}

static bool by_relay(const struct peer__item *it)
{
    return it->from && it->parent != it->session;
}

/* --- what comes --- */

static void get_from(struct peer__item *it)
{
    if (it->parent != it->session) {
        it->from = peer__bulk_to(it->peer, it->parent);
        it->asked = NULL;
    } else {
        it->from = it->asked;
    }
    set_state(it, PEER__COMING);
    it->moved_at = rwf_clock_mono();
    pump(it);
}

void peer__fetch_where(struct peer__bulk *b, const struct peer__head *h)
{
    struct peer__item *it = peer__item_get(b->peer, b->session, h->object);

    if (!it || it->state != PEER__ASKING || it->asked != b)
        return;
    if (h->chunk < PEER__CHUNK_MIN || h->chunk > PEER__CHUNK_MAX ||
        h->arg / h->chunk >= UINT32_MAX || h->owner == b->peer->options.session ||
        (it->data && (h->arg != it->size || h->chunk != it->chunk))) {
        peer__fetch_fail(it, EPROTO, "node %s says of it what cannot be", b->name);
        return;
    }
    it->parent = h->owner;
    it->moved_at = rwf_clock_mono();
    if (it->data) {
        get_from(it);
        return;
    }
    if (!it->flags)
        peer__item_set_size(it, h->arg, h->chunk);
    set_state(it, PEER__MAKING);
    peer__keeper_make(it);
}

void peer__fetch_made(struct peer__item *it, store_object local, char *data,
                      const struct rwf_err *err)
{
    if (!data) {
        peer__fetch_fail(it, err->code, "%s", err->text);
        return;
    }
    it->local = local;
    it->data = data;
    it->moved_at = rwf_clock_mono();
    if (it->count == 0) {
        complete(it);
    } else if (!it->asked) { /* the connection has ended meanwhile */
        set_state(it, PEER__WAITING);
        peer__loop_tick_by(&it->peer->bulk, it->retry_at);
    } else {
        get_from(it);
        peer__loop_tick_by(&it->peer->bulk, rwf_clock_mono() + RWF_NS_PER_S);
    }
}

struct peer__item *peer__fetch_data_begins(struct peer__bulk *b,
                                           const struct peer__head *h)
{
    struct peer__item *it = peer__item_get(b->peer, h->owner, h->object);
    struct peer__bulk *other;

    if (!it || it->state != PEER__COMING || it->from != b || h->chunk >= it->count ||
        (it->flags[h->chunk] & (PEER__WANTED | PEER__HAVE)) != PEER__WANTED ||
        b->left != peer__chunk_len(it, h->chunk))
        return NULL;
    LIST_FOREACH(other, &b->peer->bulks, link)
    if (other != b && other->item == it && other->head.chunk == h->chunk)
        return NULL;
    return it;
}

static void damaged(struct peer__bulk *b, struct peer__item *it, uint32_t chunk)
{
    atomic_fetch_add(&it->peer->again, 1);
    rwf_log(RWF_LOG_WARN, "peer",
            "chunk %" PRIu32 " of object %" PRIx64
            " came damaged from node %s: asking for it again",
            chunk, it->theirs, b->name);
    it->flags[chunk] &= (uint8_t)~PEER__WANTED;
    it->on_way--;
    it->cursor = chunk;
    if (++it->damaged < DAMAGED_MAX)
        pump(it);
    else if (by_relay(it))
        leave_relay(it);
    else
        peer__fetch_fail(it, EILSEQ,
                         "chunk %" PRIu32
                         " came damaged from node %s %d times in a row: "
                         "look at the memory and the network card of both",
                         chunk, b->name, DAMAGED_MAX);
}

void peer__fetch_data(struct peer__bulk *b, struct peer__item *it,
                      const struct peer__head *h, uint32_t crc)
{
    if (!it)
        return;
    if (crc != h->crc) {
        damaged(b, it, h->chunk);
        return;
    }
    it->flags[h->chunk] =
        (uint8_t)((it->flags[h->chunk] & ~PEER__WANTED) | PEER__HAVE | PEER__SUMMED);
    it->sums[h->chunk] = crc;
    it->on_way--;
    it->have++;
    it->damaged = 0;
    it->tries = 0;
    it->moved_at = rwf_clock_mono();
    atomic_fetch_add_explicit(&it->peer->bytes_in, peer__chunk_len(it, h->chunk),
                              memory_order_relaxed);
    if (it->have == it->count) {
        complete(it);
        return;
    }
    pump(it);
    peer__serve(it);
}

/* --- what goes wrong --- */

void peer__fetch_none(struct peer__bulk *b, const struct peer__head *h,
                      const char *text)
{
    struct peer__item *it = peer__item_get(b->peer, h->owner, h->object);

    if (!it || !peer__fetching(it) || (it->from != b && it->asked != b))
        return;
    if (b->session == it->session)
        peer__fetch_fail(it, (int)h->chunk, "node %s: %s", b->name, text);
    else
        leave_relay(it);
}

void peer__fetch_gone(struct peer__bulk *b, const struct peer__head *h)
{
    struct peer__item *it = peer__item_get(b->peer, b->session, h->object);

    if (it && !peer__fetching(it))
        it->orphan = true;
}

struct lost {
    const struct peer__bulk *bulk;
    const char *why;
};

static void lost_one(struct peer__item *it, void *ctx)
{
    const struct lost *l = ctx;
    const struct peer__bulk *b = l->bulk;

    if (!peer__fetching(it) || (it->from != b && it->asked != b))
        return;
    snprintf(it->why, sizeof(it->why), "%s", l->why);
    if (it->from == b && by_relay(it))
        leave_relay(it);
    else
        ask_later(it, false);
}

void peer__fetch_closed(struct peer__bulk *b, const char *why)
{
    rwf_log(RWF_LOG_DEBUG, "peer", "data connection with node %s: %s",
            b->name ? b->name : "?", why);
    peer__items_each(b->peer, lost_one, &(struct lost){b, why});
}

/* Nothing came for long, though something was asked for. */
static void stalled(struct peer__item *it, int64_t now)
{
    struct peer__bulk *b = it->from ? it->from : it->asked;

    if (b && now - b->heard > STALL)
        peer__bulk_end_one(b,
                           "nothing comes any more"); /* tells all that wait for it */
    else if (by_relay(it))
        leave_relay(it);
    else
        ask_later(it, false);
}

void peer__fetch_tick(struct peer__item *it, int64_t now)
{
    if (!peer__fetching(it) || it->state == PEER__MAKING)
        return;
    if (now - it->moved_at > it->peer->options.patience)
        peer__fetch_fail(it, ETIMEDOUT, "nothing of it came for %" PRId64 " s%s%s",
                         it->peer->options.patience / RWF_NS_PER_S,
                         *it->why ? "; the last connection: " : "", it->why);
    else if (it->state == PEER__NEW ||
             (it->state == PEER__WAITING && now >= it->retry_at))
        ask(it);
    else if (it->state != PEER__WAITING && now - it->moved_at > STALL &&
             now - it->retry_at > STALL) {
        it->retry_at = now;
        stalled(it, now);
    }
}

/* --- the start --- */

struct fetch {
    struct peer *peer;
    uint64_t session;
    store_object theirs;
    struct peer__waiter *waiter;
};

/* One of ours: only held. */
static void fetch_ours(struct peer *p, struct fetch *f)
{
    struct peer__item *it;
    struct rwf_err err = RWF_ERR_INIT;
    int64_t size = store_object_size(p->view, f->theirs);

    pthread_mutex_lock(&p->lock);
    it = peer__item_find(p, f->session, f->theirs);
    if (!it)
        it = peer__item_add(p, f->session, f->theirs);
    if (size >= 0 && !it->held)
        it->held = peer__hold(p, f->theirs) == 0;
    if (size >= 0 && it->held)
        it->users++;
    else
        rwf_fail(&err, ENOENT, "node %s has no object %" PRIx64 " (any more)", p->name,
                 f->theirs);
    pthread_mutex_unlock(&p->lock);
    f->waiter->fn(f->waiter->ctx, err.code ? 0 : f->theirs, err.code ? 0 : (size_t)size,
                  err.code ? &err : NULL);
    free(f->waiter);
    peer__loop_tick_by(&p->bulk, rwf_clock_mono());
}

static void begin(void *ctx)
{
    struct fetch *f = ctx;
    struct peer *p = f->peer;
    struct peer__item *it;

    if (f->session == p->options.session) {
        fetch_ours(p, f);
        free(f);
        return;
    }
    pthread_mutex_lock(&p->lock);
    it = peer__item_find(p, f->session, f->theirs);
    if (!it)
        it = peer__item_add(p, f->session, f->theirs);
    if (it->state == PEER__HERE)
        it->users++;
    pthread_mutex_unlock(&p->lock);
    STAILQ_INSERT_TAIL(&it->waiters, f->waiter, link);
    if (it->state == PEER__HERE)
        tell_all(it, it->local, NULL);
    else if (p->ending)
        peer__fetch_fail(it, ECANCELED, "this node ends");
    else if (it->state == PEER__NEW)
        ask(it);
    free(f);
}

void peer_fetch(struct peer *p, uint64_t session, store_object theirs, unsigned flags,
                peer_fetched_fn fn, void *ctx)
{
    struct fetch *f = rwf_xmalloc(sizeof(*f));
    struct peer__waiter *w = rwf_xcalloc(1, sizeof(*w));

    w->fn = fn;
    w->ctx = ctx;
    w->flags = flags;
    *f = (struct fetch){p, session, theirs, w};
    peer__loop_post(&p->bulk, begin, f);
}
