/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is connected: drivers, workers (each a client, too) and those who only look. A
 * client says HELLO, and JOINs when it wants a slot in the store.
 *
 * What a client had is given back when its socket closes, in this order: what it
 * borrowed (leases, rings), what others wait for from it, its slot. A worker's slot is
 * given back by its death instead, since it may write until then.
 */
#include "config.h"
#include "node/inside.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define MESSAGES_PER_SECOND 1000000

static void on_hello(struct node__client *c, struct wire_message *m);
static void on_join(struct node__client *c, struct wire_message *m);

/* What clients may say; what is for other nodes, too, is in node_far. */
static const struct node__client_row handlers[WIRE_TYPE_COUNT] = {
    [WIRE_HELLO] = {.fn = on_hello, .anytime = true},
    [WIRE_JOIN] = {.fn = on_join, .anytime = true},
    [WIRE_WANT] = {.fn = node__on_want},
    [WIRE_RETURN] = {.fn = node__on_return},
    [WIRE_READY] = {.fn = node__on_ready, .workers = true},
    [WIRE_BLOCKED] = {.fn = node__on_blocked, .workers = true},
    [WIRE_END] = {.fn = node__on_end},
    [WIRE_FULL] = {.fn = node__on_full},
    [WIRE_RESTORE] = {.fn = node__on_restore},
    [WIRE_ACTOR_CREATE] = {.fn = node__on_actor_create},
    [WIRE_ACTOR_FIND] = {.fn = node__on_actor_find, .anytime = true},
    [WIRE_ACTOR_CONNECT] = {.fn = node__on_actor_connect},
    [WIRE_ACTOR_KILL] = {.fn = node__on_actor_kill, .anytime = true},
    [WIRE_ACTOR_DROP] = {.fn = node__on_actor_drop},
    [WIRE_LIST] = {.fn = node__on_list, .anytime = true},
};

struct node__client *node__client_find(struct node *n, uint64_t id)
{
    return rwf_ids_get(&n->clients, id);
}

void node__client_close(struct node__client *c)
{
    wire_link_close(c->link);
}

void node__client_drop(struct node__client *c, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    rwf_log(RWF_LOG_WARN, "node", "client %s (pid %d) is closed: %s",
            c->program  ? c->program
            : c->worker ? "worker"
                        : "?",
            c->pid, text);
    node__client_error(c, 0, RAYWF_E_RUNTIME, "the node has closed this connection: %s",
                       text);
    node__client_close(c);
}

void node__client_error(struct node__client *c, uint64_t request, int code,
                        const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    Wire__Error e = WIRE__ERROR__INIT;
    e.request = request;
    e.code = code;
    e.text = text;
    NODE__SEND(c->link, WIRE_ERROR, &e);
}

/* --- its messages --- */

static bool floods(struct node__client *c)
{
    int64_t now = rwf_clock_mono();
    if (now - c->window >= RWF_NS_PER_S) {
        c->window = now;
        c->messages = 0;
    }
    return ++c->messages > MESSAGES_PER_SECOND;
}

/* NULL: clients may not send it. */
static const struct node__client_row *row_of(const struct node *n, unsigned type)
{
    if (type >= WIRE_TYPE_COUNT)
        return NULL;
    const struct node__client_row *row =
        handlers[type].fn ? &handlers[type] : &n->options.far->client[type];
    return row->fn ? row : NULL;
}

static void on_message(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct node__client *c = ctx;
    (void)link;
    if (floods(c)) {
        node__client_drop(c, "it sent more than %d messages within a second",
                          MESSAGES_PER_SECOND);
        return;
    }
    const struct node__client_row *row = row_of(c->node, m->type);
    if (!row)
        node__client_drop(c, "%s is not for clients to send", wire_type_name(m->type));
    else if (!c->greeted && m->type != WIRE_HELLO)
        node__client_drop(c, "%s came before HELLO", wire_type_name(m->type));
    else if (!c->joined && !row->anytime)
        node__client_drop(c, "%s came before JOIN", wire_type_name(m->type));
    else if (row->workers && !c->worker)
        node__client_drop(c, "%s is for workers only", wire_type_name(m->type));
    else
        row->fn(c, m);
}

static void on_hello(struct node__client *c, struct wire_message *m)
{
    const Wire__Hello *h = (const Wire__Hello *)m->body;
    if (strcmp(h->version, PACKAGE_VERSION) != 0) {
        node__client_drop(c,
                          "it runs raywf %s, the node %s: build the program against "
                          "the version that runs, or start that one's runtime",
                          h->version, PACKAGE_VERSION);
        return;
    }
    c->greeted = true;
    Wire__Hello answer = WIRE__HELLO__INIT;
    answer.version = (char *)PACKAGE_VERSION;
    answer.role = (char *)"node";
    answer.pid = (uint32_t)getpid();
    answer.name = c->node->name;
    NODE__SEND(c->link, WIRE_HELLO, &answer);
}

/* The number that it had before its node died stays its number: refs name it. */
static void take_number(struct node__client *c, uint64_t wanted)
{
    struct node *n = c->node;
    if (wanted == 0 || wanted == c->id || c->worker || node__client_find(n, wanted))
        return;
    rwf_ids_remove(&n->clients, c->id);
    c->id = wanted;
    rwf_ids_add(&n->clients, c->id, c);
}

static void welcome(struct node__client *c)
{
    struct node *n = c->node;
    int fds[] = {store_table_fd(n->store), store_arena_fd(n->store)};
    Wire__Welcome w = WIRE__WELCOME__INIT;
    w.client = c->id;
    w.slot = (uint32_t)c->slot;
    w.session = n->session;
    w.node = n->name;
    w.folder = n->folder;
    w.ring_bytes = STORE_RING_BYTES;
    wire_link_send(c->link, WIRE_WELCOME, &w.base, fds, 2);
}

static void on_join(struct node__client *c, struct wire_message *m)
{
    const Wire__Join *j = (const Wire__Join *)m->body;
    struct rwf_err err = RWF_ERR_INIT;
    if (c->joined) {
        node__client_drop(c, "it joined twice");
        return;
    }
    if (c->worker ? j->worker != c->worker->id : j->worker != 0) {
        node__client_drop(c, "it says that it is worker %llu",
                          (unsigned long long)j->worker);
        return;
    }
    if (!c->worker)
        c->slot = store_slot_claim(c->node->store, c->pid, &err);
    if (c->slot < 0) {
        node__client_drop(c, "no room for another client: %s", err.text);
        return;
    }
    take_number(c, j->client);
    c->joined = true;
    c->job = rwf_xstrdup(*j->job ? j->job : j->program);
    c->program = rwf_xstrdup(j->program);
    c->priority = j->priority;
    c->quota = j->quota ? node__copy(&j->quota->base) : NULL;
    welcome(c);
    if (c->worker && c->worker->lease)
        node__lease_serve(c->worker->lease);
    else
        node__client_announce(c);
}

/* --- what the head knows of it --- */

void node__client_announce(struct node__client *c)
{
    uint64_t parent = 0;
    const char *job = c->job;
    if (!c->joined || c->proxy)
        return;
    if (c->worker && c->worker->lease && c->worker->lease->wire->client) {
        const struct node__client *of;
        parent = c->worker->lease->wire->client;
        of = node__client_find(c->node, parent);
        job = of && of->job ? of->job : job;
    }
    if (c->announced && c->parent == parent)
        return;
    c->announced = true;
    c->parent = parent;
    Wire__ClientJoin j = WIRE__CLIENT_JOIN__INIT;
    j.client = c->id;
    j.job = (char *)job;
    j.priority = c->priority;
    j.quota = c->quota;
    j.parent = parent;
    node__head_send(c->node, WIRE_CLIENT_JOIN, &j.base);
}

static void announce_one(void *ctx, void *item)
{
    struct node__client *c = item;
    (void)ctx;
    c->announced = false;
    node__client_announce(c);
    node__wants_say(c);
}

void node__clients_announce(struct node *n)
{
    rwf_ids_each(&n->clients, announce_one, NULL);
}

/* --- its life --- */

static void release(struct node__client *c)
{
    node__wants_free(c);
    free(c->job);
    node__free(c->quota);
    free(c->program);
    free(c);
}

static void on_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    struct node__client *c = ctx;
    struct node *n = c->node;
    (void)link;
    if (err && err->code != 0 && err->code != ECONNRESET)
        rwf_log(RWF_LOG_WARN, "node", "client %s (pid %d): %s",
                c->program  ? c->program
                : c->worker ? "worker"
                            : "?",
                c->pid, err->text);
    node__wants_stop(c); /* else the head would lend it more while it goes */
    node__leases_client_gone(c);
    node__actor_client_gone(c);
    rwf_ids_remove(&n->clients, c->id);
    n->options.far->client_gone(c);
    node__uplink_client_gone(c);
    if (c->announced) {
        Wire__ClientLeave l = WIRE__CLIENT_LEAVE__INIT;
        l.client = c->id;
        node__head_send(n, WIRE_CLIENT_LEAVE, &l.base);
    }
    if (c->worker) {
        c->worker->client = NULL;
        node__worker_socket_closed(c->worker);
    } else if (c->slot >= 0 && !c->proxy) {
        store_slot_release(n->store, c->slot);
        node__leases_retry(n);
    }
    release(c);
    node__closed(n);
}

static struct node__client *create(struct node *n, struct wire_link *link, int pid)
{
    struct node__client *c = rwf_xcalloc(1, sizeof(*c));
    c->node = n;
    c->link = link;
    c->slot = -1;
    c->pid = pid;
    c->id = (uint64_t)n->boot << 32 | ++n->last_client;
    rwf_ids_add(&n->clients, c->id, c);
    n->open++;
    wire_link_handle(link, &(struct wire_handler){c, on_message, on_closed});
    return c;
}

struct node__client *node__client_proxy(struct node *n, struct wire_link *link, int slot)
{
    struct node__client *c = create(n, link, (int)getpid());
    c->greeted = c->joined = c->proxy = true;
    c->slot = slot;
    c->job = rwf_xstrdup("");
    c->program = rwf_xstrdup("a client of another node");
    return c;
}

void node__client_accept(void *ctx, struct wire_link *link)
{
    struct node *n = ctx;
    create(n, link, wire_link_pid(link));
}

struct node__client *node__client_open(struct node *n, int fd, struct node__worker *w,
                                       struct rwf_err *err)
{
    struct wire_link *link = wire_link_open(n->loop, fd, err);
    if (!link)
        return NULL;
    struct node__client *c = create(n, link, w ? w->pid : wire_link_pid(link));
    c->worker = w;
    if (w)
        c->slot = w->slot;
    return c;
}
