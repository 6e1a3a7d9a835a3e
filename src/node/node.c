/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a node: what it is made of, and the order in which it goes. An end has
 * two steps: node_stop ends the workers, node_destroy closes what is left; the memory
 * goes with the last callback, so the loop must run on until it is empty.
 */
#include "config.h"
#include "node/node.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "node/inside.h"
#include "node/machine.h"

#define STORE_MAX ((int64_t)8 << 30)
#define STORE_SHARE 0.3
#define SPILL_QUOTA ((int64_t)10 << 30)
#define IDLE (10 * RAYWF_S)
#define PRESSURE 0.95
#define FILES_WANTED 65536

/* --- small things that all parts use --- */

void *node__copy(const ProtobufCMessage *m)
{
    size_t size = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = rwf_xmalloc(size ? size : 1);
    protobuf_c_message_pack(m, bytes);
    void *copy = protobuf_c_message_unpack(m->descriptor, NULL, size, bytes);
    free(bytes);
    rwf_assert(copy);
    return copy;
}

void node__free(void *message)
{
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
}

static void release(struct node *n)
{
    n->options.far->free(n);
    node__service_free(n);
    node__uplink_free(n);
    node__actors_free(n);
    node__crashes_free(n);
    rwf_ids_free(&n->clients);
    rwf_ids_free(&n->leases);
    store_destroy(n->store);
    free(n->name);
    free(n->folder);
    free(n->address);
    free(n->spill);
    free((char *)n->options.peer_host);
    free((char *)n->options.peer_bind);
    free((char *)n->options.interface);
    explicit_bzero(n->key, sizeof(n->key));
    free(n);
}

void node__closed(struct node *n)
{
    if (--n->open == 0 && n->destroyed)
        release(n);
}

static void on_handle_closed(uv_handle_t *h)
{
    node__closed(h->data);
}

void node__close(void *handle)
{
    uv_close(handle, on_handle_closed);
}

void node__timer(struct node *n, uv_timer_t *t)
{
    uv_timer_init(n->loop, t);
    t->data = n;
    uv_unref((uv_handle_t *)t); /* a node alone keeps no loop alive */
    n->open++;
}

/* --- the start --- */

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= FILES_WANTED)
        return;
    limit.rlim_cur = limit.rlim_max < FILES_WANTED ? limit.rlim_max : FILES_WANTED;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* RAYWF_PRESSURE=0.9: ends tasks when so much of the memory is used. */
static double pressure(void)
{
    const char *text = getenv("RAYWF_PRESSURE");
    char *end;
    double part = text ? strtod(text, &end) : 0;
    if (text && (*end || !(part > 0 && part <= 1)))
        rwf_log(RWF_LOG_WARN, "node",
                "RAYWF_PRESSURE: '%s' is no part of the memory (0.95, say)", text);
    return text && !*end && part > 0 && part <= 1 ? part : PRESSURE;
}

static void take_options(struct node *n, const struct node_options *o)
{
    struct node_options *mine = &n->options;
    *mine = *o;
    if (o->machine)
        n->machine = *o->machine;
    else
        node_machine(&n->machine);
    n->name = rwf_xstrdup(n->machine.name ? n->machine.name : "node");
    n->machine.name = n->name;
    n->folder = rwf_fs_absolute(o->folder);
    n->address =
        o->address ? rwf_fs_absolute(o->address) : rwf_fs_join(n->folder, "node");
    n->spill = o->spill ? rwf_fs_absolute(o->spill) : rwf_fs_join(n->folder, "spill");
    int64_t share = (int64_t)((double)n->machine.memory * STORE_SHARE);
    if (mine->store <= 0)
        mine->store = share < STORE_MAX ? share : STORE_MAX;
    if (mine->spill_quota <= 0)
        mine->spill_quota = SPILL_QUOTA;
    if (mine->idle <= 0)
        mine->idle = IDLE;
    if (!(mine->pressure > 0))
        mine->pressure = pressure();
    mine->peer_host = o->peer_host ? rwf_xstrdup(o->peer_host) : NULL;
    mine->peer_bind = o->peer_bind ? rwf_xstrdup(o->peer_bind) : NULL;
    mine->interface = o->interface ? rwf_xstrdup(o->interface) : NULL;
    mine->key = o->key ? memcpy(n->key, o->key, sizeof(n->key)) : NULL;
    mine->folder = n->folder;
    mine->address = n->address;
    mine->spill = n->spill;
    mine->machine = &n->machine;
}

static void take_numbers(struct node *n)
{
    /* Unique for ever, and positive where a number must be signed. */
    do {
        if (getrandom(&n->session, sizeof(n->session), 0) < 0)
            n->session = (uint64_t)rwf_clock_wall() ^ (uint64_t)getpid() << 40;
        n->session &= INT64_MAX;
        n->boot = (uint32_t)(n->session >> 32);
    } while (n->boot == 0);
}

static int open_store(struct node *n, struct rwf_err *err)
{
    const struct node_options *o = &n->options;
    struct store_options s = {.arena = (size_t)o->store,
                              .spill_dir = o->spill,
                              .spill_quota = o->spill_quota};
    n->store = store_create(&s, err);
    return n->store ? 0 : -1;
}

static int open_folder(struct node *n, struct rwf_err *err)
{
    char *workers = rwf_fs_join(n->folder, "workers");
    int rc = rwf_fs_mkdirs(workers, err);
    free(workers);
    return rc < 0 ? rwf_wrap(err, "cannot make the folder of the node") : 0;
}

struct node *node_create(uv_loop_t *loop, const struct node_options *o,
                         struct rwf_err *err)
{
    struct node *n = rwf_xcalloc(1, sizeof(*n));
    n->loop = loop;
    LIST_INIT(&n->workers);
    TAILQ_INIT(&n->parked);
    raise_file_limit();
    take_options(n, o);
    take_numbers(n);
    if (open_folder(n, err) < 0 || open_store(n, err) < 0)
        goto out;
    n->listener = wire_listen_unix(loop, n->address, node__client_accept, n, err);
    if (!n->listener)
        goto out;
    if (o->far->create(n, err) < 0)
        goto out;
    node__service_create(n);
    node__uplink_create(n);
    node__timer(n, &n->idle_timer);
    node__timer(n, &n->watch);
    node__timer(n, &n->drain_timer);
    return n;
out:
    release(n);
    return NULL;
}

int node_attach_client(struct node *n, int fd, struct rwf_err *err)
{
    store_prefault(n->store, NODE__PREFAULT);
    return node__client_open(n, fd, NULL, err) ? 0 : -1;
}

const char *node_address(const struct node *n)
{
    return n->address;
}

/* --- the end --- */

static void close_client(void *ctx, void *item)
{
    (void)ctx;
    node__client_close(item);
}

void node_stop(struct node *n, void (*done)(void *ctx), void *ctx)
{
    n->stopped = done;
    n->stopped_ctx = ctx;
    n->stopping = true;
    n->options.far->stop(n);
    node__pool_stop(n);
}

void node_destroy(struct node *n)
{
    if (!n)
        return;
    n->open++; /* of this function */
    n->stopping = true;
    n->stopped = NULL;
    struct node__worker *w, *next;
    for (w = LIST_FIRST(&n->workers); w; w = next) {
        next = LIST_NEXT(w, link);
        node__worker_kill(w, RAYWF_ON_NODE, "was ended: its node ends");
    }
    n->options.far->ending(n);
    wire_listener_close(n->listener);
    n->listener = NULL;
    rwf_ids_each(&n->clients, close_client, NULL);
    node__uplink_close(n);
    n->options.far->close(n);
    node__close(&n->idle_timer);
    node__close(&n->watch);
    node__close(&n->drain_timer);
    n->destroyed = true;
    node__closed(n);
}
