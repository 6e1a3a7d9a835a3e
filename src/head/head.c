/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "head/head.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "head/inside.h"

#define DEAD_AFTER (3 * RWF_NS_PER_S)
#define LATE (100 * RWF_NS_PER_MS) /* our own timer: we could not run */
/* Ids begin at the time of the start, in milliseconds since 2026: no head gives one that
 * an earlier one gave, and they stay below 2^53, for JSON, until 2043. */
#define ID_EPOCH_MS INT64_C(1767225600000)
#define IDS_PER_MS_BITS 14

/* --- sending --- */

void head__send(struct head__node *n, enum wire_type type, const ProtobufCMessage *m)
{
    if (n->peer)
        wire_link_send(n->peer->link, type, m, NULL, 0);
}

void head__error(struct head__node *n, uint64_t request, int code, const char *text)
{
    Wire__Error e = WIRE__ERROR__INIT;
    e.request = request;
    e.code = code;
    e.text = (char *)text;
    HEAD__SEND(n, WIRE_ERROR, &e);
}

void *head__copy(const ProtobufCMessage *m)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = rwf_xmalloc(len + 1);
    protobuf_c_message_pack(m, bytes);
    void *copy = protobuf_c_message_unpack(m->descriptor, NULL, len, bytes);
    if (!copy)
        rwf_out_of_memory(len);
    free(bytes);
    return copy;
}

void head__free_message(void *m)
{
    if (m)
        protobuf_c_message_free_unpacked(m, NULL);
}

uint64_t head__new_id(struct head *h)
{
    return ++h->last_id;
}

/* --- messages --- */

static void tell_lost(struct head__node *n, const Wire__Ask *a)
{
    static const char text[] = "the process that owned this value has ended";
    Wire__Tell t = WIRE__TELL__INIT;
    t.client = a->client;
    t.request = a->request;
    t.code = RAYWF_E_LOST;
    t.value = (ProtobufCBinaryData){sizeof(text) - 1, (uint8_t *)text};
    HEAD__SEND(n, WIRE_TELL, &t);
}

/* From a client of one node to one of another. */
static void forward(struct head__node *n, uint64_t to, const struct wire_message *m)
{
    const struct head__client *c = rwf_ids_get(&n->head->clients, to);
    if (c && c->node != n && c->node->peer)
        head__send(c->node, m->type, m->body);
    else if (m->type == WIRE_ASK)
        tell_lost(n, (const Wire__Ask *)m->body);
}

/* Also for who has the key but is no node: raywf start looks before it joins. */
static void on_list(const struct head *h, struct wire_link *link, const Wire__List *m)
{
    static const char text[] = "no such list: there are nodes, jobs, leases, actors, "
                               "groups, status and why";
    json_t *list = head_list(h, m->what, m->about);
    if (!list) {
        Wire__Error e = WIRE__ERROR__INIT;
        e.request = m->request;
        e.code = RAYWF_E_ARGUMENT;
        e.text = (char *)text;
        wire_link_send(link, WIRE_ERROR, &e.base, NULL, 0);
        return;
    }
    Wire__Listed l = WIRE__LISTED__INIT;
    l.request = m->request;
    l.json = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    wire_link_send(link, WIRE_LISTED, &l.base, NULL, 0);
    free(l.json);
}

static void on_beat(struct head__node *n, const Wire__Beat *m)
{
    Wire__Beat b = WIRE__BEAT__INIT;
    b.sent = m->sent;
    b.wall = rwf_clock_wall();
    HEAD__SEND(n, WIRE_BEAT, &b);
}

static void on_blocked(struct head__node *n, const Wire__HeadBlocked *m)
{
    schedule_leases_block(n->head->leases, m->lease, m->blocked, rwf_clock_mono());
}

static void on_member_message(struct head__node *n, const struct wire_message *m)
{
    const void *b = m->body;
    switch (m->type) {
    case WIRE_BEAT:
        on_beat(n, b);
        break;
    case WIRE_LISTED:
    case WIRE_ERROR:
        head__relay_answer(n, m);
        break;
    case WIRE_CLIENT_JOIN:
        head__on_client_join(n, b);
        break;
    case WIRE_CLIENT_LEAVE:
        head__on_client_leave(n, ((const Wire__ClientLeave *)b)->client);
        break;
    case WIRE_HEAD_WANT:
        head__on_want(n, b);
        break;
    case WIRE_HEAD_RETURN:
        head__on_return(n, ((const Wire__HeadReturn *)b)->lease);
        break;
    case WIRE_HEAD_BLOCKED:
        on_blocked(n, b);
        break;
    case WIRE_HEAD_ACTOR:
        head__on_actor(n, b);
        break;
    case WIRE_HEAD_ACTOR_STATE:
        head__on_actor_state(n, b);
        break;
    case WIRE_ACTOR_FIND:
        head__on_actor_find(n, b);
        break;
    case WIRE_ACTOR_CONNECT:
        head__on_actor_connect(n, b);
        break;
    case WIRE_ACTOR_KILL:
        head__on_actor_kill(n, b);
        break;
    case WIRE_ACTOR_DROP:
        head__on_actor_drop(n, b);
        break;
    case WIRE_GROUP_CREATE:
        head__on_group_create(n, b);
        break;
    case WIRE_GROUP_REMOVE:
        head__on_group_remove(n, b);
        break;
    case WIRE_ASK:
        forward(n, ((const Wire__Ask *)b)->owner, m);
        break;
    case WIRE_TELL:
        forward(n, ((const Wire__Tell *)b)->client, m);
        break;
    case WIRE_CANCEL_OWNED:
        forward(n, ((const Wire__CancelOwned *)b)->owner, m);
        break;
    default:
        rwf_log(RWF_LOG_WARN, "head", "node %s sent %s, which is not for the head",
                n->name, wire_type_name(m->type));
    }
}

static void release(struct head *h);

/* A program that has the key and is no node: somebody else talks with it from now on. */
static void hand_over(struct head__peer *p, struct wire_message *m)
{
    struct head *h = p->head;
    if (!h->other || !h->other(h->other_ctx, p->link, m)) {
        wire_link_close(p->link);
        return;
    }
    LIST_REMOVE(p, all);
    head__relay_peer_gone(p);
    free(p);
    release(h);
}

static void on_message(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct head__peer *p = ctx;
    struct head *h = p->head;
    if (h->closing)
        return;
    if (p->node)
        p->node->heard = rwf_clock_mono();
    if (m->type == WIRE_NODE_JOIN)
        head__on_join(p, (const Wire__NodeJoin *)m->body);
    else if (m->type == WIRE_LIST) {
        if (!head__relay_list(p, (const Wire__List *)m->body))
            on_list(h, link, (const Wire__List *)m->body);
    }
    else if (m->type == WIRE_NODE_DRAIN)
        head__on_drain(p, (const Wire__NodeDrain *)m->body);
    else if (p->node)
        on_member_message(p->node, m);
    else if (m->type == WIRE_JOB)
        hand_over(p, m);
    else if (m->type != WIRE_HELLO)
        wire_link_close(link); /* a node whose place another has taken */
    head__decide(h);
    head__timer_set(h);
}

/* --- time --- */

/* Nobody was listened to while this process could not run. */
static void forgive(struct head *h, int64_t now)
{
    int64_t spent = now - h->due;
    if (spent < LATE)
        return;
    h->due = INT64_MAX;
    head__members_forgive(h, now, spent);
    if (h->settled_at)
        h->settled_at += spent;
    if (h->returns_until)
        h->returns_until += spent;
}

static void on_time(uv_timer_t *timer)
{
    struct head *h = timer->data;
    forgive(h, rwf_clock_mono());
    if (h->settled_at && rwf_clock_mono() >= h->settled_at) {
        h->settled_at = 0;
        head__actors_settle(h);
        head__groups_settle(h);
    }
    if (h->returns_until && rwf_clock_mono() >= h->returns_until) {
        h->returns_until = 0;
        head__asks_settle(h);
    }
    head__decide(h);
    head__timer_set(h);
}

void head__timer_set(struct head *h)
{
    int64_t now = rwf_clock_mono();
    if (h->closing)
        return;
    forgive(h, now);
    int64_t next = head__members_check(h, now), actors = head__actors_check(h, now);
    int64_t strays = head__strays_check(h, now);
    if (actors < next)
        next = actors;
    if (strays < next)
        next = strays;
    if (h->returns_until && h->returns_until < next)
        next = h->returns_until;
    if (h->settled_at && h->settled_at < next)
        next = h->settled_at;
    head__decide(h); /* what the checks have found */
    h->due = next;
    if (next == INT64_MAX) {
        uv_timer_stop(&h->timer);
        return;
    }
    uv_update_time(h->loop);
    int64_t wait = next > now ? (next - now) / RWF_NS_PER_MS + 1 : 0;
    uv_timer_start(&h->timer, on_time, (uint64_t)wait, 0);
}

void head_poke(struct head *h)
{
    head__decide(h);
}

/* --- life --- */

static void release(struct head *h)
{
    if (--h->open > 0)
        return;
    head__actors_free(h);
    head__groups_free(h);
    head__strays_free(h);
    schedule_leases_destroy(h->leases);
    if (h->own_cluster)
        schedule_cluster_destroy(h->cluster);
    rwf_journal_close(h->journal);
    rwf_ids_free(&h->clients);
    rwf_ids_free(&h->asks);
    free(h->folder);
    free(h);
}

static void on_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    struct head__peer *p = ctx;
    struct head *h = p->head;
    (void)link;
    if (err)
        rwf_log(RWF_LOG_INFO, "head", "%s", err->text);
    LIST_REMOVE(p, all);
    head__relay_peer_gone(p);
    if (!h->closing) {
        head__peer_closed(p);
        head__end_check(h);
        head__decide(h);
        head__timer_set(h);
    }
    free(p);
    release(h);
}

void head_attach(struct head *h, struct wire_link *link)
{
    struct head__peer *p = rwf_xcalloc(1, sizeof(*p));
    p->head = h;
    p->link = link;
    p->opened = rwf_clock_mono();
    p->near = strcmp(wire_link_name(link), "memory") == 0;
    LIST_INSERT_HEAD(&h->peers, p, all);
    h->open++;
    wire_link_handle(link, &(struct wire_handler){p, on_message, on_closed});
    head__timer_set(h);
}

static void accepted(void *ctx, struct wire_link *link)
{
    head_attach(ctx, link);
}

static void replay(void *ctx, const json_t *record)
{
    head__actor_replay(ctx, record);
    head__group_replay(ctx, record);
}

static void add_actor(void *ctx, void *item)
{
    json_array_append_new(ctx, head__actor_record(item));
}

static void add_group(void *ctx, void *item)
{
    json_array_append_new(ctx, head__group_record(item));
}

static int open_journal(struct head *h, struct rwf_err *err)
{
    h->journal = rwf_journal_open(h->folder, replay, h, err);
    if (!h->journal)
        return -1;
    json_t *records = json_array();
    rwf_ids_each(&h->actors, add_actor, records);
    rwf_ids_each(&h->groups, add_group, records);
    if (json_array_size(records))
        h->settled_at = h->started + h->dead_after;
    int rc = rwf_journal_rewrite(h->journal, records, err);
    json_decref(records);
    return rc;
}

/* "HOST:PORT" or "[HOST]:PORT" */
static int listen_at(struct head *h, const char *address, struct rwf_err *err)
{
    uint8_t key[WIRE_KEY_LEN];
    char *host = NULL;
    int port;
    if (!h->folder || wire_address_split(address, &host, &port))
        return rwf_fail(err, RWF_E_USAGE,
                        "%s: HOST:PORT is expected, and a folder for the "
                        "key",
                        address);
    char *path = rwf_fs_join(h->folder, "key");
    if (!wire_key_load(path, true, key, err))
        h->listener =
            wire_listen_tcp(h->loop, host, port, key, accepted, h, err);
    explicit_bzero(key, sizeof(key));
    free(host);
    free(path);
    return h->listener ? 0 : -1;
}

struct head *head_create(uv_loop_t *loop, const struct head_options *o,
                         struct rwf_err *err)
{
    struct head *h = rwf_xcalloc(1, sizeof(*h));
    h->loop = loop;
    h->dead_after = o->dead_after > 0 ? o->dead_after : DEAD_AFTER;
    h->started = rwf_clock_mono();
    h->folder = o->folder ? rwf_xstrdup(o->folder) : NULL;
    h->own_cluster = !o->cluster;
    h->other = o->other;
    h->end = o->end;
    h->other_ctx = o->other_ctx;
    h->cluster = o->cluster ? o->cluster : schedule_cluster_create();
    h->leases = schedule_leases_create(h->cluster);
    h->last_id = (uint64_t)(rwf_clock_wall() / RWF_NS_PER_MS - ID_EPOCH_MS)
                 << IDS_PER_MS_BITS;
    TAILQ_INIT(&h->dead);
    uv_timer_init(loop, &h->timer);
    h->timer.data = h;
    h->due = INT64_MAX;
    h->open = 2;
    if ((h->folder && open_journal(h, err)) ||
        (o->listen && listen_at(h, o->listen, err))) {
        head_destroy(h);
        return NULL;
    }
    schedule_leases_start(h->leases, h->last_id + 1); /* after the journal's */
    head__timer_set(h);
    return h;
}

static void timer_closed(uv_handle_t *t)
{
    release(t->data);
}

void head_destroy(struct head *h)
{
    struct head__peer *p, *next;
    if (!h)
        return;
    h->closing = true;
    wire_listener_close(h->listener);
    h->listener = NULL;
    for (p = LIST_FIRST(&h->peers); p; p = next) {
        next = LIST_NEXT(p, all);
        wire_link_close(p->link);
    }
    while (!LIST_EMPTY(&h->nodes))
        head__node_free(LIST_FIRST(&h->nodes));
    uv_close((uv_handle_t *)&h->timer, timer_closed);
    release(h);
}

int head_port(const struct head *h)
{
    return h->listener ? wire_listener_port(h->listener) : 0;
}
