/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a plane: its threads, its slot in the store, who gets the sockets.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "peer/inside.h"

#define CHUNK ((size_t)1 << 20)
#define FAN 2
#define PATIENCE (60 * RWF_NS_PER_S)
#define SPIN (40 * INT64_C(1000))
#define SPIN_PROCESSORS 3 /* with fewer, whoever spins takes the place of who works */

/* RAYWF_PEER_SPIN=40us */
static int64_t spin_default(void)
{
    const char *text = getenv("RAYWF_PEER_SPIN");
    struct rwf_err err;
    int64_t ns;

    if (text && rwf_duration_parse(text, &ns, &err) == 0 && ns >= 0)
        return ns;
    if (text)
        rwf_log(RWF_LOG_WARN, "peer",
                "RAYWF_PEER_SPIN: '%s' is no duration (40us, say)", text);
    return sysconf(_SC_NPROCESSORS_ONLN) >= SPIN_PROCESSORS ? SPIN : 0;
}

static void take_options(struct peer *p, const struct peer_options *o)
{
    p->options = *o;
    p->name = rwf_xstrdup(o->name);
    p->options.name = p->name;
    if (!o->chunk)
        p->options.chunk = CHUNK;
    if (!o->fan)
        p->options.fan = FAN;
    if (!o->patience)
        p->options.patience = PATIENCE;
    p->spin.ns = o->spin ? o->spin : spin_default();
    if (p->spin.ns < 0)
        p->spin.ns = 0;
}

/* --- the store; whoever needs room or what is on disk does the node's work itself ---
 */

static void relieve(void *ctx, size_t bytes)
{
    struct peer *p = ctx;

    store_relieve(p->options.store, bytes, NULL);
}

static void restore(void *ctx, store_object o)
{
    struct peer *p = ctx;

    store_restore(p->options.store, o, NULL);
}

static int open_view(struct peer *p, struct rwf_err *err)
{
    struct store *s = p->options.store;
    struct store_hooks hooks = {p, relieve, restore};

    p->slot = store_slot_claim(s, (int)getpid(), err);
    if (p->slot < 0)
        return rwf_wrap(err, "peer: the data plane needs a place in the store");
    p->view = store_attach(store_table_fd(s), store_arena_fd(s), p->slot, &hooks, err);
    return p->view ? 0 : -1;
}

static void close_view(struct peer *p)
{
    store_destroy(p->view);
    if (p->slot > 0)
        store_slot_release(p->options.store, p->slot);
}

/* --- life --- */

struct peer *peer_create(const struct peer_options *o, struct rwf_err *err)
{
    struct peer *p = rwf_xcalloc(1, sizeof(*p));

    take_options(p, o);
    LIST_INIT(&p->conns);
    pthread_mutex_init(&p->lock, NULL);
    p->slot = -1;
    if (open_view(p, err) < 0 || peer__items_create(p, err) < 0 ||
        peer__loop_start(&p->calls, "raywf-calls", &p->spin, NULL, NULL, err) < 0 ||
        peer__loop_start(&p->bulk, "raywf-bulk", &p->spin, peer__bulk_tick, p, err) <
            0) {
        peer_destroy(p);
        return NULL;
    }
    return p;
}

void peer_handle(struct peer *p, const struct peer_handler *h)
{
    p->handler = *h;
}

void peer_destroy(struct peer *p)
{
    if (!p)
        return;
    if (p->bulk.runs)
        peer__loop_post(&p->bulk, peer__bulk_end, p);
    peer__loop_stop(&p->bulk);
    peer__items_stop(p);
    peer__conns_close(p);
    peer__loop_stop(&p->calls);
    peer__loop_free(&p->bulk);
    peer__loop_free(&p->calls);
    peer__items_free(p);
    close_view(p);
    pthread_mutex_destroy(&p->lock);
    free(p->name);
    free(p);
}

int peer_slot(const struct peer *p)
{
    return p->slot;
}

struct store *peer_store(const struct peer *p)
{
    return p->view;
}

uint64_t peer_session(const struct peer *p)
{
    return p->options.session;
}

/* --- sockets --- */

/* Who does not answer for so long is not there; not every way to lose a node closes its
 * sockets. Other kinds of sockets have no such options. */
static void set_patience(int fd)
{
    static const int unanswered_ms = 30000, idle_s = 10, every_s = 5, count = 4, on = 1;

    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms,
               sizeof(unanswered_ms));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

void peer_attach(struct peer *p, uint64_t session, const char *name,
                 enum peer_class class, bool ours, int fd, const void *bytes,
                 size_t len)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0)
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    set_patience(fd);
    if (class == PEER_CALLS)
        peer__conn_attach(p, session, name, ours, fd, bytes, len);
    else
        peer__bulk_attach(p, session, name, ours, fd, bytes, len);
}

void peer_unreachable(struct peer *p, uint64_t session, enum peer_class class,
                      bool gone, const char *why)
{
    if (gone || class == PEER_CALLS)
        peer__conn_fail(p, session, gone, why);
    if (gone || class == PEER_BULK)
        peer__bulk_fail(p, session, gone, why);
}

/* --- small things --- */

void peer_post(struct peer *p, void (*fn)(void *ctx), void *ctx)
{
    peer__loop_post(&p->calls, fn, ctx);
}

int64_t peer_spin(const struct peer *p)
{
    return p->spin.ns;
}

bool peer_spin_begin(struct peer *p)
{
    return peer__spin_begin(&p->spin);
}

void peer_spin_end(struct peer *p)
{
    peer__spin_end(&p->spin);
}
