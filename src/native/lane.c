/* SPDX-License-Identifier: Apache-2.0
 *
 * Lanes: which calls go into which ring, when. A line gets as many calls ahead as its
 * worker runs in about 200 us, so that short ones travel by the hundred and long ones
 * wait here, where any worker that becomes free can have them. Workers are asked for as
 * long as more of them would be of use, and given back after a while of idleness.
 */
#include "config.h"
#include "native/internal.h"
#include "native/near.h"
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define AHEAD_NS 200000      /* of work in a ring */
#define AHEAD_FAR_NS 1000000 /* the same when its worker is on another node */
#define DEPTH_MAX 1024u
#define FEED_NS 500 /* what one call costs us: no use for more workers than we feed */
#define WANT_MAX 4096u
#define LINGER (100 * RWF_NS_PER_MS)
#define FLUSH_AFTER 32

/* --- lists --- */

void native__list_push(struct native__list *l, struct native__task *t)
{
    t->next = NULL;
    t->prev = l->last;
    if (l->last)
        l->last->next = t;
    else
        l->first = t;
    l->last = t;
    l->count++;
}

void native__list_unshift(struct native__list *l, struct native__task *t)
{
    t->prev = NULL;
    t->next = l->first;
    if (l->first)
        l->first->prev = t;
    else
        l->last = t;
    l->first = t;
    l->count++;
}

void native__list_remove(struct native__list *l, struct native__task *t)
{
    if (t->prev)
        t->prev->next = t->next;
    else
        l->first = t->next;
    if (t->next)
        t->next->prev = t->prev;
    else
        l->last = t->prev;
    l->count--;
}

/* --- lanes --- */

struct native__lane *native__lane_add(struct native__client *c)
{
    struct native__lane *lane = rwf_xcalloc(1, sizeof(*lane));
    lane->id = ++c->next_lane;
    lane->next = c->lanes;
    c->lanes = lane;
    return lane;
}

void native__lane_touch(struct native__client *c, struct native__lane *lane)
{
    if (lane->dirty)
        return;
    lane->dirty = true;
    lane->next_dirty = c->dirty;
    c->dirty = lane;
}

static uint32_t depth(const struct native__lane *lane, bool far)
{
    if (lane->ordered)
        return DEPTH_MAX;
    if (!lane->average)
        return 1;
    uint64_t n = 1 + (far ? AHEAD_FAR_NS : AHEAD_NS) / lane->average;
    return n > DEPTH_MAX ? DEPTH_MAX : (uint32_t)n;
}

/* Sends to l until it has `share` calls. false: nothing more can be sent to it. */
static bool fill_line(struct native__client *c, struct native__line *l, size_t share)
{
    struct native__lane *lane = l->lane;
    /* A loop makes many calls in a turn, and the turn ends soon. */
    bool idle = !l->flight.count && !c->polling;
    bool choosy = l->at && c->near && !lane->ordered;
    while (l->flight.count < share && lane->queue.first) {
        struct native__task *t =
            choosy ? native__near_pick(c, lane, l->at) : lane->queue.first;
        if (t->missing) /* of an ordered lane: all wait for its arguments */
            break;
        int rc = native__send(c, l, t);
        if (rc == 0) {
            l->full = true;
            break;
        }
        if (rc > 0)
            l->unflushed++;
    }
    if (l->unflushed && (idle || l->full || l->unflushed >= FLUSH_AFTER))
        native__flush(l);
    return l->flight.count < share;
}

void native__lane_fill(struct native__client *c, struct native__lane *lane)
{
    if (!lane->line_count || !lane->queue.first || lane->filling)
        return;
    uint32_t near = depth(lane, false), far = depth(lane, true);
    uint32_t waiting = lane->stalled, lines = lane->line_count - waiting;
    size_t running = lane->in_flight - waiting;
    if (running >= (size_t)(lane->far ? far : near) * lines)
        return;
    size_t share = (lane->queue.count + running + lines - 1) / lines;
    /* Sending may queue what is to be made again first: the loops see it. */
    lane->filling = true;
    for (struct native__line *l = lane->lines; l && lane->queue.first; l = l->next)
        if (!l->recalled && !l->full && !l->stalled) {
            uint32_t deep = l->far ? far : near;
            fill_line(c, l, share < deep ? share : deep);
        }
    lane->filling = false;
}

void native__lane_queue(struct native__client *c, struct native__lane *lane,
                        struct native__task *t, bool front)
{
    t->place = NATIVE__QUEUED;
    if (front)
        native__list_unshift(&lane->queue, t);
    else
        native__list_push(&lane->queue, t);
    if (lane->code) {
        native__task_fail(c, t, lane->code, lane->text);
        return;
    }
    native__lane_touch(c, lane);
    if (lane->line_count)
        native__lane_fill(c, lane);
}

void native__lane_fail(struct native__client *c, struct native__lane *lane, int code,
                       const char *text)
{
    while (lane->queue.first)
        native__task_fail(c, lane->queue.first, code, text);
}

/* --- lines --- */

static void index_line(struct native__client *c, struct native__line *l)
{
    *RWF_PUSH(c->lines, c->line_count, c->line_cap) = l;
}

static void unindex_line(struct native__client *c, const struct native__line *l)
{
    size_t i = 0;
    while (c->lines[i] != l)
        i++;
    c->lines[i] = c->lines[--c->line_count];
}

struct native__line *native__line_open(struct native__client *c,
                                       struct native__lane *lane, int fd,
                                       uint64_t lease, uint64_t worker, int slot,
                                       bool far, uint32_t node, struct rwf_err *err)
{
    struct store *store = native__store(c);
    struct store_bell *peer = store ? store_slot_bell(store, slot) : NULL;
    struct store_ring *ring = store_ring_open(fd, STORE_CLIENT, peer, err);
    if (!ring)
        return NULL;
    struct native__line *l = rwf_xcalloc(1, sizeof(*l));
    l->lane = lane;
    l->ring = ring;
    l->lease = lease;
    l->worker = worker;
    l->far = far;
    l->at = native__near_node(c, node);
    lane->far += far;
    l->idle_since = rwf_clock_mono();
    l->next = lane->lines;
    lane->lines = l;
    lane->line_count++;
    index_line(c, l);
    native__lane_touch(c, lane);
    return l;
}

struct native__line *native__line_find(struct native__client *c, uint64_t lease)
{
    for (size_t i = 0; i < c->line_count; i++)
        if (c->lines[i]->lease == lease)
            return c->lines[i];
    return NULL;
}

void native__line_detach(struct native__client *c, struct native__line *l)
{
    struct native__line **at = &l->lane->lines;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    l->lane->line_count--;
    l->lane->stalled -= l->stalled;
    l->lane->far -= l->far;
    unindex_line(c, l);
    native__lane_touch(c, l->lane);
}

void native__line_free(struct native__line *l)
{
    store_ring_close(l->ring);
    free(l->named);
    free(l);
}

void native__line_return(struct native__client *c, struct native__line *l, bool broken)
{
    rwf_assert(!l->flight.count);
    Wire__Return m = WIRE__RETURN__INIT;
    m.lease = l->lease;
    m.broken = broken;
    native__line_detach(c, l);
    atomic_store(store_ring_word(l->ring, STORE_WORD_CLOSED), 1);
    native__tell(c, WIRE_RETURN, &m.base);
    native__line_free(l);
}

/* --- how many workers --- */

static uint32_t useful(const struct native__lane *lane)
{
    size_t total = lane->queue.count + lane->in_flight;
    bool spread = lane->shape && lane->shape->resources &&
                  lane->shape->resources->placement == RAYWF_SPREAD;
    size_t fed = lane->average && !spread ? 1 + lane->average / FEED_NS : WANT_MAX;
    fed += lane->stalled;
    size_t n = total < fed ? total : fed;
    return n > WANT_MAX ? WANT_MAX : (uint32_t)n;
}

static void tell_want(struct native__client *c, struct native__lane *lane, uint32_t n)
{
    Wire__Want m = WIRE__WANT__INIT;
    m.lane = lane->id;
    m.shape = lane->told ? NULL : lane->shape;
    m.workers = n;
    m.queued = lane->queue.count + lane->in_flight;
    m.priority = lane->priority;
    m.retriable = lane->retriable;
    m.near = native__near_want(c, lane);
    lane->wanted = n;
    lane->told = true;
    lane->retell = false;
    native__tell(c, WIRE_WANT, &m.base);
}

static void linger(struct native__client *c, void *ctx)
{
    struct native__lane *lane = ctx;
    int64_t now = rwf_clock_mono();
    lane->lingers = false;
    if (!lane->queue.count) {
        uint32_t busy = 0, idle = 0;
        for (struct native__line *l = lane->lines; l; l = l->next) {
            bool rests = !l->flight.count && now - l->idle_since >= LINGER;
            rests ? idle++ : busy++;
        }
        if (idle && lane->wanted > busy)
            tell_want(c, lane, busy);
        struct native__line *next;
        for (struct native__line *l = lane->lines; l; l = next) {
            next = l->next;
            if (!l->flight.count && now - l->idle_since >= LINGER)
                native__line_return(c, l, false);
        }
        if (!lane->line_count && lane->wanted && !lane->in_flight)
            tell_want(c, lane, 0);
    }
    if (lane->line_count) {
        lane->lingers = true;
        native__timer_add(c, now + LINGER, linger, lane);
    }
}

/* Before the caller sleeps: what was sent goes out, what is recalled goes back, the
 * node hears of new wants. */
static void settle(struct native__client *c, struct native__lane *lane)
{
    struct native__line *next;
    bool idle = false;
    uint32_t n = useful(lane);
    for (struct native__line *l = lane->lines; l; l = next) {
        next = l->next;
        l->full = false;
        if (l->flight.count)
            continue;
        if (!l->recalled) {
            idle = true;
            continue;
        }
        if (n < lane->wanted) /* else another one would come at once */
            tell_want(c, lane, n);
        native__line_return(c, l, false);
    }
    if (lane->ordered) {
        native__actors->settled(c, lane);
        return;
    }
    if (!c->connected)
        return;
    if (n > lane->wanted || lane->retell)
        tell_want(c, lane, n);
    if (!lane->lingers && (idle || (lane->wanted && !n))) {
        lane->lingers = true;
        native__timer_add(c, rwf_clock_mono() + LINGER, linger, lane);
    }
}

void native__lanes_settle(struct native__client *c)
{
    struct native__lane *lane = c->dirty;
    c->dirty = NULL;
    while (lane) {
        struct native__lane *next = lane->next_dirty;
        lane->dirty = false;
        settle(c, lane);
        native__lane_fill(c, lane);
        lane = next;
    }
}

void native__lanes_free(struct native__client *c)
{
    for (size_t i = 0; i < c->line_count; i++)
        native__line_free(c->lines[i]);
    free(c->lines);
    while (c->lanes) {
        struct native__lane *lane = c->lanes;
        c->lanes = lane->next;
        if (lane->shape)
            protobuf_c_message_free_unpacked(&lane->shape->base, NULL);
        free(lane->text);
        free(lane);
    }
    native__near_free(c);
}
