/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections for objects: chunks go from the memory of an object to the socket, and
 * from the socket to the memory of an object, without a copy of ours.
 */
#include "config.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "peer/bulk.h"
#include "store/crc32c.h"

#define IN_PER_TURN ((size_t)4 << 20)
#define OUT_PER_TURN ((size_t)4 << 20)
/* Read at once: its sum is made while it is in the cache. */
#define PIECE ((size_t)128 << 10)
#define LOW_WATER ((size_t)128 << 10)
#define OUT_MAX 1000000 /* records that wait; one who asks for more is ended */
#define SMALL ((size_t)128 << 10)

/* --- making and ending them --- */

static void free_later(void *ctx)
{
    free(ctx);
}

static struct peer__bulk *add(struct peer *p, uint64_t session, bool ours)
{
    struct peer__bulk *b = rwf_xcalloc(1, sizeof(*b));

    b->peer = p;
    b->session = session;
    b->ours = ours;
    b->fd = -1;
    b->heard = rwf_clock_mono();
    STAILQ_INIT(&b->first);
    STAILQ_INIT(&b->out);
    LIST_INSERT_HEAD(&p->bulks, b, link);
    return b;
}

struct peer__bulk *peer__bulk_to(struct peer *p, uint64_t session)
{
    struct peer__bulk *b;

    LIST_FOREACH(b, &p->bulks, link)
    if (b->ours && b->session == session)
        return b;
    b = add(p, session, true);
    p->options.connect(p->options.ctx, session, PEER_BULK);
    return b;
}

static void out_free(struct peer__out *o)
{
    if (o->item) {
        o->item->sends--;
        peer__item_released(o->item);
    }
    free(o->text);
    free(o);
}

/* What is given back must arrive: it waits for another connection. */
static void save_gifts(struct peer__bulk *b)
{
    struct peer__out *o;

    if (b->now)
        STAILQ_INSERT_HEAD(&b->first, b->now, link);
    b->now = NULL;
    STAILQ_FOREACH(o, &b->first, link)
    if (o->head.kind == PEER__GIVE)
        peer__lend_give_later(b->peer, b->session, o->head.object);
}

static void outs_free(struct peer__outs *outs)
{
    struct peer__out *o;

    while ((o = STAILQ_FIRST(outs))) {
        STAILQ_REMOVE_HEAD(outs, link);
        out_free(o);
    }
}

void peer__bulk_let_go(struct peer__bulk *b, const char *why, bool gone)
{
    struct peer *p = b->peer;

    if (b->closed)
        return;
    b->closed = true;
    LIST_REMOVE(b, link);
    if (b->fd >= 0) {
        peer__loop_remove(&p->bulk, b->fd);
        close(b->fd);
    }
    b->fd = -1;
    b->item = NULL;
    if (b->ours) {
        if (!gone)
            save_gifts(b);
        peer__fetch_closed(b, why);
    } else {
        peer__serve_closed(b);
    }
    if (b->now)
        out_free(b->now);
    b->now = NULL;
    outs_free(&b->first);
    outs_free(&b->out);
    free(b->name);
    free(b->early);
    b->name = b->early = NULL;
    peer__loop_post(&p->bulk, free_later, b);
}

void peer__bulk_end_one(struct peer__bulk *b, const char *why)
{
    peer__bulk_let_go(b, why, false);
}

void peer__bulk_forget(struct peer *p, const struct peer__item *it)
{
    struct peer__bulk *b;

    LIST_FOREACH(b, &p->bulks, link)
    if (b->item == it)
        b->item = NULL;
}

/* --- out --- */

static void write_out(struct peer__bulk *b);

static void push(struct peer__bulk *b, struct peer__out *o)
{
    bool first = b->out_count == 0;

    if (b->closed) {
        out_free(o);
        return;
    }
    o->head.size = PEER__HEAD_REST + (uint32_t)o->len;
    if (o->len <= SMALL)
        STAILQ_INSERT_TAIL(&b->first, o, link);
    else
        STAILQ_INSERT_TAIL(&b->out, o, link);
    b->out_count++;
    if (!b->ours && b->out_count > OUT_MAX)
        peer__bulk_end_one(b, "it asks for more than it takes");
    else if (first && b->fd >= 0)
        write_out(b);
}

static struct peer__out *out_make(enum peer__kind kind, uint64_t object, uint64_t owner,
                                  uint64_t arg, uint32_t chunk)
{
    struct peer__out *o = rwf_xcalloc(1, sizeof(*o));

    o->head.kind = (uint16_t)kind;
    o->head.object = object;
    o->head.owner = owner;
    o->head.arg = arg;
    o->head.chunk = chunk;
    return o;
}

void peer__bulk_say(struct peer__bulk *b, enum peer__kind kind, uint64_t object,
                    uint64_t owner, uint64_t arg, uint32_t chunk)
{
    push(b, out_make(kind, object, owner, arg, chunk));
}

void peer__bulk_say_where(struct peer__bulk *b, uint64_t object, uint64_t from,
                          uint64_t size, uint32_t chunk)
{
    push(b, out_make(PEER__WHERE, object, from, size, chunk));
}

void peer__bulk_say_done(struct peer__bulk *b, uint64_t object, bool has)
{
    struct peer__out *o = out_make(PEER__DONE, object, 0, 0, 0);

    o->head.flags = has ? PEER__HAS : 0;
    push(b, o);
}

void peer__bulk_say_none(struct peer__bulk *b, uint64_t object, uint64_t owner,
                         int code, const char *text)
{
    struct peer__out *o = out_make(PEER__NONE, object, owner, 0, (uint32_t)code);

    o->text = rwf_xstrndup(text, strnlen(text, PEER__TEXT_MAX - 1));
    o->len = strlen(o->text);
    push(b, o);
}

void peer__bulk_say_data(struct peer__bulk *b, struct peer__item *it, uint32_t chunk)
{
    struct peer__out *o = out_make(PEER__DATA, it->theirs, it->session, 0, chunk);

    o->item = it;
    o->len = peer__chunk_len(it, chunk);
    it->sends++;
    push(b, o);
}

/* The bytes that follow the head of o; false: their memory is away. */
static bool body_of(struct peer__out *o, const char **ret)
{
    struct peer__item *it = o->item;
    uint32_t i = o->head.chunk;

    *ret = o->text;
    if (!it)
        return true;
    if (!it->data)
        return false;
    *ret = it->data + (size_t)i * it->chunk;
    if (!(it->flags[i] & PEER__SUMMED)) {
        it->sums[i] = store__crc32c(0, *ret, o->len);
        it->flags[i] |= PEER__SUMMED;
    }
    o->head.crc = it->sums[i];
    return true;
}

/* 1: all of it is sent; 0: not yet; -1: errno. */
static int send_one(struct peer__bulk *b, struct peer__out *o, size_t *budget)
{
    size_t head = sizeof(o->head), whole = head + o->len;
    int more = b->out_count > 1 ? MSG_MORE : 0; /* no small packet at the end of each */
    const char *body;

    if (!body_of(o, &body))
        return 0;
    while (b->sent < whole) {
        struct iovec iov[2] = {{(char *)&o->head + b->sent, head - b->sent},
                               {(char *)(uintptr_t)body, o->len}};
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = o->len ? 2 : 1};
        if (b->sent >= head) {
            iov[1].iov_base = (char *)(uintptr_t)body + (b->sent - head);
            iov[1].iov_len = whole - b->sent;
            m.msg_iov = iov + 1;
            m.msg_iovlen = 1;
        }
        ssize_t n = sendmsg(b->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL | more);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        b->sent += (size_t)n;
        *budget = *budget > (size_t)n ? *budget - (size_t)n : 0;
    }
    return 1;
}

static void sent_one(struct peer__bulk *b, struct peer__out *o)
{
    b->now = NULL;
    b->out_count--;
    b->sent = 0;
    if (o->item) {
        atomic_fetch_add_explicit(&b->peer->bytes_out, o->len, memory_order_relaxed);
        o->item->used_at = rwf_clock_mono();
    }
    out_free(o);
}

/* Its object is no more: that is said instead, unless a part of it is sent. */
static int replace_dead(struct peer__bulk *b, struct peer__out *o)
{
    if (!o->item || !o->item->dead)
        return 0;
    if (b->sent > 0)
        return -1;
    o->item->sends--;
    peer__item_released(o->item);
    o->item = NULL;
    o->head.kind = PEER__NONE;
    o->head.chunk = ENOENT;
    o->text = rwf_xstrdup("it is not here any more");
    o->len = strlen(o->text);
    o->head.size = PEER__HEAD_REST + (uint32_t)o->len;
    return 0;
}

/* What is sent, or is to be sent now. */
static struct peer__out *next_out(struct peer__bulk *b)
{
    struct peer__outs *from = STAILQ_EMPTY(&b->first) ? &b->out : &b->first;

    if (!b->now && (b->now = STAILQ_FIRST(from)))
        STAILQ_REMOVE_HEAD(from, link);
    return b->now;
}

static void write_out(struct peer__bulk *b)
{
    size_t budget = OUT_PER_TURN;
    struct peer__out *o = NULL;
    bool away;
    int rc = 1;

    while (budget > 0 && (o = next_out(b)) && (rc = replace_dead(b, o)) == 0 &&
           (rc = send_one(b, o, &budget)) > 0)
        sent_one(b, o);
    if (rc < 0) {
        peer__bulk_end_one(b, strerror(errno));
        return;
    }
    o = next_out(b);
    away = o && o->item && !o->item->data; /* goes on when it is back */
    if (b->writing == (o && !away))
        return;
    b->writing = o && !away;
    peer__loop_want(&b->peer->bulk, b->fd, &b->source, b->writing);
}

void peer__bulk_go_on(struct peer *p)
{
    struct peer__bulk *b, *next;

    for (b = LIST_FIRST(&p->bulks); b; b = next) {
        next = LIST_NEXT(b, link);
        if (b->fd >= 0 && !b->writing && b->out_count > 0)
            write_out(b);
    }
}

/* --- in --- */

/* To be woken only when so much is there. */
static void set_low_water(struct peer__bulk *b, size_t bytes)
{
    int n = (int)(bytes < LOW_WATER ? bytes : LOW_WATER);

    if (n == b->low_water)
        return;
    b->low_water = n;
    setsockopt(b->fd, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n));
}

static void took_head(struct peer__bulk *b)
{
    const struct peer__head *h = &b->head;

    b->item = NULL;
    b->crc = 0;
    if (h->size < PEER__HEAD_REST || h->kind == PEER__NOTHING ||
        h->kind >= PEER__KINDS) {
        peer__bulk_end_one(b, "it sends what is no record");
        return;
    }
    b->left = h->size - PEER__HEAD_REST;
    if (h->kind == PEER__DATA && b->left <= PEER__CHUNK_MAX)
        b->item = peer__fetch_data_begins(b, h);
    else if (h->kind == PEER__DATA ||
             b->left > (h->kind == PEER__NONE ? PEER__TEXT_MAX - 1 : 0))
        peer__bulk_end_one(b, "it sends a record that is too long");
}

/* What those who connect to us say, and what those we connect to. */
static void took_record(struct peer__bulk *b)
{
    const struct peer__head *h = &b->head;
    size_t text = h->size - PEER__HEAD_REST;

    switch (b->ours ? h->kind : h->kind | 0x100) {
    case PEER__WHERE:
        peer__fetch_where(b, h);
        break;
    case PEER__DATA:
        peer__fetch_data(b, b->item, h, b->crc);
        break;
    case PEER__NONE:
        b->text[text] = '\0';
        peer__fetch_none(b, h, b->text);
        break;
    case PEER__GONE:
        peer__fetch_gone(b, h);
        break;
    case PEER__ASK | 0x100:
        peer__serve_ask(b, h);
        break;
    case PEER__CHUNK | 0x100:
        peer__serve_chunk(b, h);
        break;
    case PEER__DONE | 0x100:
        peer__serve_done(b, h);
        break;
    case PEER__GIVE | 0x100:
        peer__lend_given(b->peer, b->session, h->object);
        break;
    default:
        peer__bulk_end_one(b, "it sends what is not for this side");
    }
}

/* Like recv. */
static ssize_t take(struct peer__bulk *b, void *to, size_t len)
{
    size_t n = b->early_len - b->early_at;

    if (n == 0)
        return recv(b->fd, to, len, MSG_DONTWAIT);
    n = n < len ? n : len;
    memcpy(to, b->early + b->early_at, n);
    b->early_at += n;
    return (ssize_t)n;
}

/* Where the next bytes go. */
static char *place(struct peer__bulk *b, size_t *ret_len)
{
    static _Thread_local char waste[64 << 10];
    size_t done = b->head.size - PEER__HEAD_REST - b->left;

    *ret_len = b->left < PIECE ? b->left : PIECE;
    if (b->head.kind != PEER__DATA)
        return b->text + done;
    if (b->item)
        return b->item->data + (size_t)b->head.chunk * b->item->chunk + done;
    *ret_len = *ret_len < sizeof(waste) ? *ret_len : sizeof(waste);
    return waste;
}

/* Some bytes, or a whole record: as recv. */
static ssize_t step(struct peer__bulk *b)
{
    ssize_t n;

    if (b->got < sizeof(b->head)) {
        n = take(b, (char *)&b->head + b->got, sizeof(b->head) - b->got);
        b->got += n > 0 ? (size_t)n : 0;
        if (n > 0 && b->got == sizeof(b->head))
            took_head(b);
    } else {
        size_t len;
        char *to = place(b, &len);
        n = take(b, to, len);
        if (n > 0 && b->item)
            b->crc = store__crc32c(b->crc, to, (size_t)n);
        b->left -= n > 0 ? (size_t)n : 0;
    }
    if (n > 0 && !b->closed && b->got == sizeof(b->head) && b->left == 0) {
        b->got = 0;
        took_record(b);
        b->item = NULL;
    }
    return n;
}

static void read_in(struct peer__bulk *b)
{
    size_t budget = IN_PER_TURN;
    ssize_t n = 1;
    int code;

    while (budget > 0 && !b->closed && (n = step(b)) > 0)
        budget -= budget < (size_t)n ? budget : (size_t)n;
    if (b->closed)
        return;
    code = n < 0 ? errno : 0;
    b->heard = rwf_clock_mono();
    if (code == EAGAIN)
        set_low_water(b, b->got == sizeof(b->head) ? b->left : 1);
    if (n == 0)
        peer__bulk_end_one(b, "the other side has closed it");
    else if (code && code != EAGAIN && code != EINTR)
        peer__bulk_end_one(b, strerror(code));
}

static void ready(struct peer__source *s, uint32_t events)
{
    struct peer__bulk *b = (struct peer__bulk *)s;

    if ((events & EPOLLOUT) && !b->closed)
        write_out(b);
    if ((events & ~(uint32_t)EPOLLOUT) && !b->closed)
        read_in(b);
}

/* --- sockets come --- */

struct coming {
    struct peer *peer;
    uint64_t session;
    char *name, *bytes;
    size_t len;
    bool ours;
    int fd;
};

static void attach(void *ctx)
{
    struct coming *c = ctx;
    struct peer *p = c->peer;
    struct peer__bulk *b = NULL;

    LIST_FOREACH(b, &p->bulks, link)
    if (c->ours && b->ours && b->session == c->session && b->fd < 0)
        break;
    if (p->ending) {
        close(c->fd);
        goto out;
    }
    if (!b)
        b = add(p, c->session, c->ours);
    b->source.ready = ready;
    b->fd = c->fd;
    b->name = rwf_xstrdup(c->name);
    b->early = c->bytes;
    b->early_len = c->len;
    c->bytes = NULL;
    b->heard = rwf_clock_mono();
    if (peer__loop_add(&p->bulk, b->fd, &b->source) < 0) {
        peer__bulk_end_one(b, strerror(errno));
        goto out;
    }
    write_out(b);
    if (!b->closed && b->early_len)
        read_in(b);
out:
    free(c->name);
    free(c->bytes);
    free(c);
}

void peer__bulk_attach(struct peer *p, uint64_t session, const char *name, bool ours,
                       int fd, const void *bytes, size_t len)
{
    struct coming *c = rwf_xcalloc(1, sizeof(*c));

    *c = (struct coming){
        .peer = p, .session = session, .ours = ours, .fd = fd, .len = len};
    c->name = rwf_xstrdup(name);
    c->bytes = rwf_xmalloc(len + 1);
    if (len)
        memcpy(c->bytes, bytes, len);
    peer__loop_post(&p->bulk, attach, c);
}
