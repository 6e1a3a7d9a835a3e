/* SPDX-License-Identifier: Apache-2.0
 *
 * The link to the head. While it is away, this node and its clients go on with what
 * they have; when it is back (a lost connection is made again, with back-off) the node
 * joins with all that it runs, says again who its clients are and what they want, and
 * repeats the questions that were not answered.
 */
#include "config.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "node/gpu.h"
#include "node/inside.h"

#define BEAT_MS 1000
#define SILENCE (4 * RAYWF_S) /* of a head that should have answered beats */
#define AWAY (2 * RAYWF_S)    /* started again at once it is back before */
#define RTT_KEPT (30 * RAYWF_S)
#define AGAIN_FIRST_MS 50
#define AGAIN_MAX_MS 2000

struct request {
    uint64_t number;
    uint64_t client, theirs; /* theirs: the client's number for it */
    enum wire_type type;
    ProtobufCMessage *message;
    char *what; /* LIST */
};

struct kept {
    STAILQ_ENTRY(kept) link;
    enum wire_type type;
    ProtobufCMessage *message;
};

struct node__uplink {
    struct wire_link *link; /* NULL: away */
    bool far;               /* not in this process */
    char *host;             /* to connect again; NULL: never */
    int port;
    uint8_t key[WIRE_KEY_LEN];
    bool keyed;
    uv_timer_t timer; /* beats, or the next try */
    uint64_t wait_ms;
    int64_t heard, rtt, rtt_at, offset; /* of beats: see on_beat */
    int64_t away;       /* since when there is no head; 0: it has welcomed us */
    uint32_t number;    /* the head's for this node */
    bool welcomed;      /* once, by some head */
    bool joined;        /* it has said who is there, on this link or an earlier one */
    struct rwf_err err; /* the last failure */
    struct rwf_ids requests;
    uint64_t last_request;
    STAILQ_HEAD(, kept) kept;
};

static void open_link(struct node *n);

int64_t node_head_away(const struct node *n)
{
    return n->uplink->away ? rwf_clock_mono() - n->uplink->away : 0;
}

bool node__head_is_far(const struct node *n)
{
    return n->uplink->far;
}

/* --- what must not be lost while the head is away --- */

static bool must_be_kept(enum wire_type type)
{
    return type == WIRE_ACTOR_KILL || type == WIRE_ACTOR_DROP ||
           type == WIRE_GROUP_REMOVE;
}

void node__head_send(struct node *n, enum wire_type type, const ProtobufCMessage *m)
{
    struct node__uplink *u = n->uplink;
    if (u->link) {
        wire_link_send(u->link, type, m, NULL, 0);
    } else if (must_be_kept(type)) {
        struct kept *k = rwf_xcalloc(1, sizeof(*k));
        k->type = type;
        k->message = node__copy(m);
        STAILQ_INSERT_TAIL(&u->kept, k, link);
    }
}

static void send_kept(struct node *n)
{
    struct node__uplink *u = n->uplink;
    while (!STAILQ_EMPTY(&u->kept)) {
        struct kept *k = STAILQ_FIRST(&u->kept);
        STAILQ_REMOVE_HEAD(&u->kept, link);
        if (u->link)
            wire_link_send(u->link, k->type, k->message, NULL, 0);
        node__free(k->message);
        free(k);
    }
}

/* --- questions --- */

static void request_free(struct request *r)
{
    node__free(r->message);
    free(r->what);
    free(r);
}

char *node__head_is_away(const struct node *n)
{
    const struct node__uplink *u = n->uplink;
    bool away = u->host && u->away && rwf_clock_mono() - u->away >= AWAY;
    return away ? rwf_xasprintf("its head is away: %s", u->err.text) : NULL;
}

void node__head_ask(struct node__client *c, uint64_t request, enum wire_type type,
                    const ProtobufCMessage *m, uint64_t *number)
{
    struct node__uplink *u = c->node->uplink;
    struct request *r = rwf_xcalloc(1, sizeof(*r));
    *r = (struct request){++u->last_request, c->id, request, type, NULL, NULL};
    *number = r->number;
    r->message = node__copy(m);
    if (type == WIRE_LIST)
        r->what = rwf_xstrdup(((const Wire__List *)m)->what);
    rwf_ids_add(&u->requests, r->number, r);
    if (u->link)
        wire_link_send(u->link, type, m, NULL, 0);
}

static void ask_again(void *ctx, void *item)
{
    struct node__uplink *u = ctx;
    struct request *r = item;
    wire_link_send(u->link, r->type, r->message, NULL, 0);
}

static void forget_of(void *ctx, void *item)
{
    struct node__client *c = ctx;
    struct request *r = item;
    if (r->client != c->id)
        return;
    rwf_ids_remove(&c->node->uplink->requests, r->number);
    request_free(r);
}

void node__uplink_client_gone(struct node__client *c)
{
    rwf_ids_each(&c->node->uplink->requests, forget_of, c);
}

/* The answers all begin with the number of the request. */
static void on_answer(struct node *n, struct wire_message *m)
{
    uint64_t *number;
    if (n->options.far->answer(n, m))
        return;
    switch (m->type) {
    case WIRE_ERROR:
        number = &((Wire__Error *)m->body)->request;
        break;
    case WIRE_DONE:
        number = &((Wire__Done *)m->body)->request;
        break;
    case WIRE_ACTOR_FOUND:
        number = &((Wire__ActorFound *)m->body)->request;
        break;
    case WIRE_GROUP_READY:
        number = &((Wire__GroupReady *)m->body)->request;
        break;
    default:
        number = &((Wire__Listed *)m->body)->request;
    }
    struct request *r = rwf_ids_remove(&n->uplink->requests, *number);
    struct node__client *c = r ? node__client_find(n, r->client) : NULL;
    if (c) {
        *number = r->theirs;
        if (m->type == WIRE_LISTED && r->what) {
            Wire__Listed *l = (Wire__Listed *)m->body;
            char *merged = node__list_merge(n, r->what, l->json);
            if (merged) {
                free(l->json);
                l->json = merged;
            }
        }
        wire_link_send(c->link, m->type, m->body, NULL, 0);
    }
    if (r)
        request_free(r);
    else if (m->type == WIRE_ERROR) {
        const Wire__Error *e = (const Wire__Error *)m->body;
        rwf_log(RWF_LOG_WARN, "node", "the head: %s", e->text);
        rwf_fail(&n->uplink->err, RWF_E_ENV, "%s", e->text);
    }
}

/* --- what the head says --- */

static void on_welcome(struct node *n, struct wire_message *m)
{
    n->uplink->number = ((const Wire__NodeWelcome *)m->body)->node;
    n->uplink->welcomed = true;
    n->uplink->wait_ms = 0;
    n->uplink->away = 0;
}

static void on_members(struct node *n, struct wire_message *m)
{
    const Wire__Members *w = (const Wire__Members *)m->body;
    n->options.far->members(n, w);
    n->uplink->joined |= w->all;
}

static void on_drain(struct node *n, struct wire_message *m)
{
    node__on_drain(n, (const Wire__NodeDrain *)m->body);
}

/* Of several round trips the shortest tells most about the clocks. */
static void on_beat(struct node *n, struct wire_message *m)
{
    struct node__uplink *u = n->uplink;
    const Wire__Beat *b = (const Wire__Beat *)m->body;
    int64_t now = rwf_clock_mono(), rtt = now - (int64_t)b->sent;
    if (!b->wall || rtt < 0 || (u->rtt && rtt > u->rtt && now - u->rtt_at < RTT_KEPT))
        return;
    u->rtt = rtt;
    u->rtt_at = now;
    u->offset = b->wall - (rwf_clock_wall() - rtt / 2);
}

int64_t node__clock_offset(const struct node *n)
{
    return n->uplink->offset;
}

int64_t node__head_rtt(const struct node *n)
{
    return n->uplink->rtt;
}

static void on_nothing(struct node *n, struct wire_message *m)
{
    (void)n;
    (void)m;
}

static void on_grant(struct node *n, struct wire_message *m)
{
    node__lease_granted(n, ((const Wire__HeadGrant *)m->body)->lease, 0);
}

static void on_refuse(struct node *n, struct wire_message *m)
{
    const Wire__HeadRefuse *r = (const Wire__HeadRefuse *)m->body;
    struct node__client *c = node__client_find(n, r->client);
    if (c)
        node__wants_refuse(c, r->lane, r->code, r->text);
}

static void on_recall(struct node *n, struct wire_message *m)
{
    node__lease_recall(n, (const Wire__HeadRecall *)m->body);
}

static void on_actor_start(struct node *n, struct wire_message *m)
{
    const Wire__HeadActorStart *s = (const Wire__HeadActorStart *)m->body;
    if (!s->lease || !s->spec ||
        !n->options.far->bring(n, s->lease->home, s->spec->plugin, m->type, m->body))
        node__actor_start(n, s);
}

static void on_actor_state(struct node *n, struct wire_message *m)
{
    node__actor_state(n, (const Wire__ActorState *)m->body);
}

static void on_actor_kill(struct node *n, struct wire_message *m)
{
    node__actor_kill(n, (const Wire__ActorKill *)m->body);
}

/* What is for other nodes, too, is in node_far. */
static const node__head_fn handlers[WIRE_TYPE_COUNT] = {
    [WIRE_HELLO] = on_nothing,
    [WIRE_BEAT] = on_beat,
    [WIRE_NODE_WELCOME] = on_welcome,
    [WIRE_HEAD_GRANT] = on_grant,
    [WIRE_HEAD_REFUSE] = on_refuse,
    [WIRE_HEAD_RECALL] = on_recall,
    [WIRE_HEAD_ACTOR_START] = on_actor_start,
    [WIRE_ACTOR_STATE] = on_actor_state,
    [WIRE_ACTOR_KILL] = on_actor_kill,
    [WIRE_ERROR] = on_answer,
    [WIRE_DONE] = on_answer,
    [WIRE_ACTOR_FOUND] = on_answer,
    [WIRE_GROUP_READY] = on_answer,
    [WIRE_LISTED] = on_answer,
    [WIRE_MEMBERS] = on_members,
    [WIRE_NODE_DRAIN] = on_drain,
};

static void on_message(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct node *n = ctx;
    (void)link;
    n->uplink->heard = rwf_clock_mono();
    node__head_fn fn = NULL;
    if (m->type < WIRE_TYPE_COUNT)
        fn = handlers[m->type] ? handlers[m->type] : n->options.far->head[m->type];
    if (fn)
        fn(n, m);
    else
        rwf_log(RWF_LOG_WARN, "node", "the head sent %s, which is not for nodes",
                wire_type_name(m->type));
}

/* --- joining --- */

static void add_gpus(const struct node *n, Wire__NodeJoin *j)
{
    const struct node_gpu *known = NULL;
    size_t count = n->machine.gpu_count > 0 ? node_gpus(&known) : 0;
    j->gpus = rwf_xcalloc((size_t)n->machine.gpu_count + 1, sizeof(void *));
    for (int i = 0; i < n->machine.gpu_count; i++) {
        Wire__Gpu *g = rwf_xmalloc(sizeof(*g));
        wire__gpu__init(g);
        g->index = (uint32_t)i;
        if (n->machine.gpu_memory)
            g->memory = (uint64_t)n->machine.gpu_memory[i];
        if ((size_t)i < count) {
            g->name = (char *)known[i].name;
            g->uuid = (char *)known[i].uuid;
        }
        j->gpus[j->n_gpus++] = g;
    }
}

static void add_custom(const struct node *n, Wire__NodeJoin *j)
{
    const struct schedule_machine *m = &n->machine;
    j->custom = rwf_xcalloc(m->custom_count + 1, sizeof(void *));
    for (size_t i = 0; i < m->custom_count; i++) {
        Wire__Amount *a = rwf_xmalloc(sizeof(*a));
        wire__amount__init(a);
        a->name = (char *)m->custom_names[i];
        a->amount = m->custom_amounts[i];
        j->custom[j->n_custom++] = a;
    }
}

static void add_labels(const struct node *n, Wire__NodeJoin *j)
{
    const struct schedule_machine *m = &n->machine;
    j->labels = rwf_xcalloc(m->label_count + 1, sizeof(void *));
    for (size_t i = 0; i < m->label_count; i++) {
        Wire__Label *l = rwf_xmalloc(sizeof(*l));
        wire__label__init(l);
        l->key = (char *)m->label_keys[i];
        l->value = (char *)m->label_values[i];
        j->labels[j->n_labels++] = l;
    }
}

static void add_lease(void *ctx, void *item)
{
    Wire__NodeJoin *j = ctx;
    struct node__lease *l = item;
    if (l->worker)
        l->wire->worker = l->worker->id;
    if (l->actor)
        l->wire->actor = node__actor_spec(l->actor)->actor;
    j->leases[j->n_leases++] = l->wire;
}

static void join(struct node *n)
{
    Wire__NodeJoin j = WIRE__NODE_JOIN__INIT;
    j.name = n->name;
    j.cpu = n->machine.cpu;
    j.memory = (uint64_t)n->machine.memory;
    j.session = n->session;
    const char *address = n->options.far->address(n);
    if (address)
        j.peer = (char *)address;
    if (n->options.interface)
        j.interface = (char *)n->options.interface;
    j.driver = n->options.driver;
    j.again = n->uplink->welcomed;
    j.folder = n->folder;
    j.draining = n->draining;
    add_gpus(n, &j);
    add_custom(n, &j);
    add_labels(n, &j);
    j.leases = rwf_xcalloc(n->leases.count + 1, sizeof(void *));
    rwf_ids_each(&n->leases, add_lease, &j);
    node__actors_say(n, &j);
    wire_link_send(n->uplink->link, WIRE_NODE_JOIN, &j.base, NULL, 0);
    for (size_t i = 0; i < j.n_gpus; i++)
        free(j.gpus[i]);
    for (size_t i = 0; i < j.n_custom; i++)
        free(j.custom[i]);
    for (size_t i = 0; i < j.n_labels; i++)
        free(j.labels[i]);
    free(j.labels);
    free(j.gpus);
    free(j.custom);
    free(j.leases);
    free(j.actors);
}

static void on_beat_time(uv_timer_t *t)
{
    struct node *n = t->data;
    struct node__uplink *u = n->uplink;
    int64_t now = rwf_clock_mono();
    if (!u->link) {
        open_link(n);
        return;
    }
    if (now - u->heard > SILENCE) {
        rwf_log(RWF_LOG_WARN, "node", "the head at %s says nothing: connecting again",
                wire_link_name(u->link));
        wire_link_close(u->link);
        return;
    }
    Wire__Beat b = WIRE__BEAT__INIT;
    b.sent = (uint64_t)now;
    NODE__SEND(u->link, WIRE_BEAT, &b);
}

static void on_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    struct node *n = ctx;
    struct node__uplink *u = n->uplink;
    if (u->link == link)
        u->link = NULL;
    if (err)
        u->err = *err;
    if (!u->away)
        u->away = rwf_clock_mono();
    uv_timer_stop(&u->timer);
    if (u->host && !n->stopping) {
        if (!u->wait_ms && (u->welcomed || !n->options.driver)) /* the first of them */
            rwf_log(RWF_LOG_WARN, "node", "no head at %s:%d (%s): trying again",
                    u->host, u->port, err ? err->text : "it ended");
        u->wait_ms = u->wait_ms ? u->wait_ms * 2 : AGAIN_FIRST_MS;
        if (u->wait_ms > AGAIN_MAX_MS)
            u->wait_ms = AGAIN_MAX_MS;
        uv_update_time(n->loop);
        uv_timer_start(&u->timer, on_beat_time, u->wait_ms, 0);
    }
    node__closed(n);
}

void node_attach_head(struct node *n, struct wire_link *head)
{
    struct node__uplink *u = n->uplink;
    rwf_assert(!u->link);
    u->link = head;
    u->far = strcmp(wire_link_name(head), "memory") != 0;
    u->heard = rwf_clock_mono();
    n->open++;
    wire_link_handle(head, &(struct wire_handler){n, on_message, on_closed});
    join(n);
    node__clients_announce(n);
    n->options.far->head_is_back(n);
    node__actors_said(n);
    rwf_ids_each(&u->requests, ask_again, u);
    send_kept(n);
    if (u->far) {
        uv_update_time(n->loop);
        uv_timer_start(&u->timer, on_beat_time, BEAT_MS, BEAT_MS);
    }
}

static void open_link(struct node *n)
{
    struct node__uplink *u = n->uplink;
    struct rwf_err err = RWF_ERR_INIT;
    struct wire_link *l =
        wire_link_connect(n->loop, u->host, u->port, u->keyed ? u->key : NULL, &err);
    if (l) {
        node_attach_head(n, l);
        return;
    }
    rwf_log(RWF_LOG_WARN, "node", "%s", err.text);
    u->err = err;
    uv_update_time(n->loop);
    uv_timer_start(&u->timer, on_beat_time, AGAIN_MAX_MS, 0);
}

void node_reconnect(struct node *n, const char *host, int port, const uint8_t *key)
{
    struct node__uplink *u = n->uplink;
    free(u->host);
    u->host = rwf_xstrdup(host);
    u->port = port;
    u->keyed = key != NULL;
    if (key)
        memcpy(u->key, key, sizeof(u->key));
    if (!u->link)
        open_link(n);
}

bool node_joined(const struct node *n, struct rwf_err *why)
{
    *why = n->uplink->err;
    return n->uplink->joined;
}

/* --- life --- */

void node__uplink_create(struct node *n)
{
    struct node__uplink *u = rwf_xcalloc(1, sizeof(*u));
    n->uplink = u;
    u->away = rwf_clock_mono();
    STAILQ_INIT(&u->kept);
    node__timer(n, &u->timer);
}

void node__uplink_close(struct node *n)
{
    free(n->uplink->host);
    n->uplink->host = NULL;
    if (n->uplink->link) {
        /* So that the head need not wait whether it comes back. */
        Wire__NodeDrain d = WIRE__NODE_DRAIN__INIT;
        d.name = n->name;
        d.end = true;
        NODE__SEND(n->uplink->link, WIRE_NODE_DRAIN, &d);
        wire_link_close(n->uplink->link);
    }
    node__close(&n->uplink->timer);
}

static void free_one(void *ctx, void *item)
{
    (void)ctx;
    request_free(item);
}

void node__uplink_free(struct node *n)
{
    struct node__uplink *u = n->uplink;
    if (!u)
        return;
    rwf_ids_each(&u->requests, free_one, NULL);
    rwf_ids_free(&u->requests);
    u->link = NULL;
    send_kept(n);
    free(u->host);
    free(u);
}
