/* SPDX-License-Identifier: Apache-2.0
 *
 * A node with real processes: the head is played here over a link in memory, clients
 * are sockets of this very thread, and workers are this program, started by the node as
 * `PROGRAM worker NUMBER`. What a worker does is the name of its "plugin", or the text
 * of a frame in its ring.
 */
#include "config.h"
#include "far/far.h"
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "native/raywf.h"
#include "store/store.h"

#define LONG (300 * RWF_NS_PER_S) /* a test that waits so long has failed */
#define MIB ((size_t)1 << 20)
#define SEND(fd, type, m) ck_assert(wire_send(fd, type, &(m)->base, NULL, 0, NULL) == 0)

/* --- the worker --- */

#define RINGS 64

struct tiny {
    struct store_ring *rings[RINGS];
    uint64_t leases[RINGS];
    size_t count;
    bool began, retire;
};

static void do_task(struct store_ring *r, const char *text, size_t size)
{
    char what[64];
    unsigned number = 0;
    snprintf(what, sizeof(what), "%.*s", (int)size, text);
    if (sscanf(what, "exit %u", &number) == 1) {
        fprintf(stderr, "the last words\n");
        exit((int)number);
    }
    if (sscanf(what, "hog %u", &number) == 1) {
        volatile char *p = malloc(number * MIB);
        for (size_t i = 0; i < number * MIB; i += 4096)
            p[i] = 1;
        pause();
    }
    if (strcmp(what, "wait") == 0)
        pause();
    void *answer = store_ring_reserve(r, size);
    memcpy(answer, text, size);
    store_ring_commit(r);
    store_ring_flush(r);
}

static bool work(struct store_ring *r)
{
    size_t size;
    const void *frame = store_ring_peek(r, &size);
    if (!frame)
        return false;
    char text[64] = "";
    memcpy(text, frame, size < sizeof(text) ? size : sizeof(text) - 1);
    *store_ring_word(r, STORE_WORD_STARTED) = (uint64_t)rwf_clock_mono();
    *store_ring_word(r, STORE_WORD_TASK) = 7;
    store_ring_consume(r);
    do_task(r, text, size);
    *store_ring_word(r, STORE_WORD_TASK) = 0;
    return true;
}

static void load(const Wire__Serve *s)
{
    Wire__Ready r = WIRE__READY__INIT;
    const char *plugin = s->actor ? s->actor->class_ : s->plugin;
    if (strcmp(plugin, "crash") == 0) {
        fprintf(stderr, "about to crash\n");
        raise(SIGKILL);
    }
    if (strcmp(plugin, "hang") == 0)
        pause();
    if (strcmp(plugin, "stubborn") == 0)
        signal(SIGTERM, SIG_IGN);
    if (strcmp(plugin, "bad") == 0) {
        r.code = RAYWF_E_PLUGIN;
        r.text = (char *)"it is no plugin";
    }
    wire_send(3, WIRE_READY, &r.base, NULL, 0, NULL);
}

static void on_serve(struct tiny *t, const struct wire_message *m)
{
    const Wire__Serve *s = (const Wire__Serve *)m->body;
    if (!t->began)
        load(s);
    t->began = true;
    if (m->fd_count == 1 && t->count < RINGS) {
        t->leases[t->count] = s->lease;
        t->rings[t->count++] = store_ring_open(m->fds[0], STORE_WORKER, NULL, NULL);
    }
}

static void on_leave(struct tiny *t, uint64_t lease)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->leases[i] == lease) {
            store_ring_close(t->rings[i]);
            t->rings[i] = t->rings[--t->count];
            t->leases[i] = t->leases[t->count];
            return;
        }
}

static int tiny_worker(uint64_t number)
{
    struct tiny t = {0};
    struct wire_reader *reader = wire_reader_create(3);
    Wire__Hello h = WIRE__HELLO__INIT;
    Wire__Join j = WIRE__JOIN__INIT;
    struct wire_message m;
    struct rwf_err err;
    wire_hello_set(&h, "worker", "");
    j.worker = number;
    wire_send(3, WIRE_HELLO, &h.base, NULL, 0, NULL);
    wire_send(3, WIRE_JOIN, &j.base, NULL, 0, NULL);
    for (;;) {
        for (size_t i = 0; i < t.count; i++)
            while (work(t.rings[i]))
                continue;
        if (t.retire)
            return 0;
        int rc = wire_receive(reader, rwf_clock_mono() + RWF_NS_PER_MS, &m, &err);
        if (rc == 0 || (rc < 0 && err.code != ETIMEDOUT))
            return 0;
        if (rc < 0)
            continue;
        if (m.type == WIRE_SERVE)
            on_serve(&t, &m);
        else if (m.type == WIRE_LEAVE)
            on_leave(&t, ((const Wire__Leave *)m.body)->lease);
        t.retire |= m.type == WIRE_RETIRE;
        wire_message_clear(&m);
    }
}

/* --- the head --- */

struct lane {
    uint64_t client, lane;
    Wire__Want *want;
    uint32_t out; /* leases */
};

struct lease {
    uint64_t id;
    struct lane *lane; /* NULL: an actor's */
    uint64_t actor;
};

static struct {
    struct wire_link *link;
    struct lane lanes[64];
    size_t lane_count;
    struct lease leases[1024];
    size_t lease_count;
    uint64_t last;
    Wire__NodeJoin *join;
    Wire__HeadActorState *actor_state; /* the last one */
    Wire__ActorSpec *spec;
    int returns, blocked, clients, tells;
    bool mute; /* grants nothing */
} head;

#define HEAD_SEND(type, m) wire_link_send(head.link, type, &(m)->base, NULL, 0)

static void *copy(const ProtobufCMessage *m)
{
    uint8_t buf[65536];
    size_t n = protobuf_c_message_pack(m, buf);
    return protobuf_c_message_unpack(m->descriptor, NULL, n, buf);
}

static void grant_more(struct lane *l)
{
    while (!head.mute && l->want && l->out < l->want->workers) {
        Wire__HeadGrant g = WIRE__HEAD_GRANT__INIT;
        Wire__Lease lease = WIRE__LEASE__INIT;
        lease.lease = ++head.last;
        lease.client = l->client;
        lease.lane = l->lane;
        lease.shape = l->want->shape;
        lease.retriable = l->want->retriable;
        g.lease = &lease;
        head.leases[head.lease_count++] = (struct lease){lease.lease, l, 0};
        l->out++;
        HEAD_SEND(WIRE_HEAD_GRANT, &g);
    }
}

static void head_want(const Wire__HeadWant *m)
{
    struct lane *l = head.lanes;
    while (l < head.lanes + head.lane_count &&
           (l->client != m->client || l->lane != m->want->lane))
        l++;
    if (l == head.lanes + head.lane_count)
        *l = (struct lane){m->client, m->want->lane, NULL, 0}, head.lane_count++;
    if (l->want)
        protobuf_c_message_free_unpacked(&l->want->base, NULL);
    l->want = copy(&m->want->base);
    ck_assert_ptr_nonnull(l->want->shape);
    grant_more(l);
}

static void head_return(uint64_t lease)
{
    head.returns++;
    for (size_t i = 0; i < head.lease_count; i++)
        if (head.leases[i].id == lease) {
            struct lane *l = head.leases[i].lane;
            head.leases[i] = head.leases[--head.lease_count];
            if (l) {
                l->out--;
                grant_more(l);
            }
            return;
        }
    ck_abort_msg("lease %llu was given back twice", (unsigned long long)lease);
}

static void start_actor(void)
{
    Wire__HeadActorStart s = WIRE__HEAD_ACTOR_START__INIT;
    Wire__Lease lease = WIRE__LEASE__INIT;
    lease.lease = ++head.last;
    lease.actor = head.spec->actor;
    s.lease = &lease;
    s.spec = head.spec;
    head.leases[head.lease_count++] = (struct lease){lease.lease, NULL, lease.actor};
    HEAD_SEND(WIRE_HEAD_ACTOR_START, &s);
}

static void head_actor(const Wire__HeadActor *m)
{
    Wire__ActorFound f = WIRE__ACTOR_FOUND__INIT;
    head.spec = copy(&m->create->spec->base);
    head.spec->actor = 42;
    f.request = m->create->request;
    f.actor = 42;
    HEAD_SEND(WIRE_ACTOR_FOUND, &f);
    start_actor();
}

static void head_actor_state(const Wire__HeadActorState *m)
{
    Wire__ActorState s = WIRE__ACTOR_STATE__INIT;
    if (head.actor_state)
        protobuf_c_message_free_unpacked(&head.actor_state->base, NULL);
    head.actor_state = copy(&m->base);
    s.actor = m->actor;
    s.state = m->state;
    s.cause = m->cause;
    s.text = m->text;
    HEAD_SEND(WIRE_ACTOR_STATE, &s);
}

static void head_list(const Wire__List *m)
{
    Wire__Listed l = WIRE__LISTED__INIT;
    l.request = m->request;
    l.json = (char *)"{\"nodes\": 1}";
    HEAD_SEND(WIRE_LISTED, &l);
}

static void head_message(void *ctx, struct wire_link *link, struct wire_message *m)
{
    (void)ctx;
    (void)link;
    switch ((int)m->type) {
    case WIRE_NODE_JOIN:
        head.join = copy(m->body);
        break;
    case WIRE_CLIENT_JOIN:
        head.clients++;
        break;
    case WIRE_CLIENT_LEAVE:
        head.clients--;
        for (size_t i = 0; i < head.lane_count; i++)
            if (head.lanes[i].client == ((const Wire__ClientLeave *)m->body)->client)
                head.lanes[i].want->workers = 0;
        break;
    case WIRE_HEAD_WANT:
        head_want((const Wire__HeadWant *)m->body);
        break;
    case WIRE_HEAD_RETURN:
        head_return(((const Wire__HeadReturn *)m->body)->lease);
        break;
    case WIRE_HEAD_ACTOR:
        head_actor((const Wire__HeadActor *)m->body);
        break;
    case WIRE_HEAD_ACTOR_STATE:
        head_actor_state((const Wire__HeadActorState *)m->body);
        break;
    case WIRE_ACTOR_KILL:
        HEAD_SEND(WIRE_ACTOR_KILL, (const Wire__ActorKill *)m->body);
        break;
    case WIRE_LIST:
        head_list((const Wire__List *)m->body);
        break;
    case WIRE_TELL:
        head.tells++;
    }
}

static void head_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    (void)ctx;
    (void)err;
    if (head.link == link)
        head.link = NULL;
}

/* --- the stage --- */

static char dir[128];
static uv_loop_t loop;
static struct node *node;
static int fds_before;

static int count_fds(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        count++;
    closedir(d);
    return count;
}

static void attach_head(void)
{
    struct wire_link *ours, *theirs;
    wire_link_pair(&loop, &ours, &theirs);
    head.link = ours;
    wire_link_handle(ours, &(struct wire_handler){NULL, head_message, head_closed});
    node_attach_head(node, theirs);
}

static void create_node(const struct node_options *given)
{
    static const struct schedule_machine machine = {
        .name = "here", .cpu = 4, .memory = (int64_t)1 << 30};
    struct node_options o = given ? *given : (struct node_options){0};
    struct rwf_err err = RWF_ERR_INIT;
    o.far = &far_nodes;
    o.folder = dir;
    o.machine = &machine;
    o.store = 16 * MIB;
    node = node_create(&loop, &o, &err);
    ck_assert_msg(node != NULL, "%s", err.text);
}

static void open_node(const struct node_options *given)
{
    create_node(given);
    attach_head();
}

static void setup(void)
{
    memset(&head, 0, sizeof(head));
    strcpy(dir, "/tmp/raywf-node-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    /* What libuv opens once for the process does not count. */
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    fds_before = count_fds();
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    rwf_log_set_level(RWF_LOG_ERROR);
}

static void on_stopped(void *ctx)
{
    *(bool *)ctx = true;
}

static void free_head(void)
{
    if (head.join)
        protobuf_c_message_free_unpacked(&head.join->base, NULL);
    if (head.actor_state)
        protobuf_c_message_free_unpacked(&head.actor_state->base, NULL);
    if (head.spec)
        protobuf_c_message_free_unpacked(&head.spec->base, NULL);
    for (size_t i = 0; i < head.lane_count; i++)
        if (head.lanes[i].want)
            protobuf_c_message_free_unpacked(&head.lanes[i].want->base, NULL);
}

/* Whatever a test left: all processes and descriptors must go with the node. */
static void teardown(void)
{
    bool stopped = false;
    head.mute = true;
    node_stop(node, on_stopped, &stopped);
    while (!stopped)
        uv_run(&loop, UV_RUN_ONCE);
    node_destroy(node);
    if (head.link)
        wire_link_close(head.link);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
    /* One more: the empty file that all captures of nothing are links of. */
    ck_assert_int_le(count_fds(), fds_before + 1);
    free_head();
    ck_assert_int_eq(rwf_fs_rmtree(dir, NULL), 0);
}

/* Turns the loop until what is true. */
#define UNTIL(what)                                                                    \
    do {                                                                               \
        int64_t end__ = rwf_clock_mono() + LONG;                                       \
        while (!(what)) {                                                              \
            uv_run(&loop, UV_RUN_NOWAIT);                                              \
            ck_assert_msg(rwf_clock_mono() < end__, "waited for %s", #what);           \
            poll(NULL, 0, 1);                                                          \
        }                                                                              \
    } while (0)

/* --- clients --- */

struct client {
    int fd;
    struct wire_reader *reader;
    uint64_t id;
    struct wire_message m; /* the last one */
};

/* The next message of that type; others are passed over. */
static void *hear(struct client *c, enum wire_type type)
{
    int64_t end = rwf_clock_mono() + LONG;
    for (int turn = 0;; turn++) {
        struct rwf_err err = RWF_ERR_INIT;
        uv_run(&loop, UV_RUN_NOWAIT);
        wire_message_clear(&c->m);
        c->m = (struct wire_message){0};
        int64_t pause = turn < 20 ? 0 : RWF_NS_PER_MS;
        int rc = wire_receive(c->reader, rwf_clock_mono() + pause, &c->m, &err);
        if (rc > 0 && c->m.type == type)
            return c->m.body;
        ck_assert_msg(rc != 0, "closed, instead of %s", wire_type_name(type));
        ck_assert_msg(rc > 0 || err.code == ETIMEDOUT, "%s", err.text);
        ck_assert_msg(rwf_clock_mono() < end, "waited for %s", wire_type_name(type));
    }
}

/* The node ends the connection. */
static void hear_end(struct client *c)
{
    int64_t end = rwf_clock_mono() + LONG;
    int rc;
    do {
        struct rwf_err err = RWF_ERR_INIT;
        uv_run(&loop, UV_RUN_NOWAIT);
        wire_message_clear(&c->m);
        c->m = (struct wire_message){0};
        rc = wire_receive(c->reader, rwf_clock_mono() + RWF_NS_PER_MS, &c->m, &err);
        ck_assert(rwf_clock_mono() < end);
    } while (rc != 0);
}

static struct client client_connect(void)
{
    struct client c = {.fd = -1};
    struct rwf_err err = RWF_ERR_INIT;
    c.fd = wire_unix_connect(node_address(node), &err);
    ck_assert_msg(c.fd >= 0, "%s", err.text);
    c.reader = wire_reader_create(c.fd);
    return c;
}

static void client_hello(struct client *c)
{
    Wire__Hello h = WIRE__HELLO__INIT;
    wire_hello_set(&h, "driver", "");
    SEND(c->fd, WIRE_HELLO, &h);
}

static struct client client_open(void)
{
    struct client c = client_connect();
    Wire__Join j = WIRE__JOIN__INIT;
    client_hello(&c);
    j.job = (char *)"job";
    j.program = (char *)"check_node";
    SEND(c.fd, WIRE_JOIN, &j);
    const Wire__Welcome *w = hear(&c, WIRE_WELCOME);
    ck_assert_int_eq(c.m.fd_count, 2);
    ck_assert_uint_gt(w->client, 0);
    ck_assert_uint_gt(w->slot, 0);
    c.id = w->client;
    return c;
}

static void client_close(struct client *c)
{
    wire_message_clear(&c->m);
    wire_reader_destroy(c->reader);
    close(c->fd);
    *c = (struct client){.fd = -1};
}

struct wish {
    const char *plugin;
    uint64_t memory;
    bool retriable;
    char *env;
};

static void want(struct client *c, uint64_t lane, const struct wish *wish,
                 uint32_t workers)
{
    Wire__Want w = WIRE__WANT__INIT;
    Wire__Shape s = WIRE__SHAPE__INIT;
    Wire__Resources r = WIRE__RESOURCES__INIT;
    w.lane = lane;
    w.workers = workers;
    if (wish) {
        r.cpu = 1;
        r.memory = wish->memory;
        s.plugin = (char *)wish->plugin;
        s.resources = &r;
        s.env = (char *[]){wish->env};
        s.n_env = wish->env ? 1 : 0;
        w.shape = &s;
        w.retriable = wish->retriable;
    }
    SEND(c->fd, WIRE_WANT, &w);
}

struct line {
    struct store_ring *ring;
    uint64_t lease, worker;
    int pid;
};

static struct line line_open(struct client *c)
{
    const Wire__Grant *g = hear(c, WIRE_GRANT);
    ck_assert_int_eq(c->m.fd_count, 1);
    struct line l = {.lease = g->lease, .worker = g->worker, .pid = (int)g->pid};
    l.ring = store_ring_open(c->m.fds[0], STORE_CLIENT, NULL, NULL);
    ck_assert_ptr_nonnull(l.ring);
    return l;
}

static struct line line_for(struct client *c, uint64_t lane, const char *plugin)
{
    want(c, lane, &(struct wish){.plugin = plugin, .retriable = true}, 1);
    return line_open(c);
}

static void tell_worker(struct line *l, const char *text)
{
    void *frame = store_ring_reserve(l->ring, strlen(text));
    memcpy(frame, text, strlen(text));
    store_ring_commit(l->ring);
    store_ring_flush(l->ring);
}

static void ask_worker(struct line *l, const char *text)
{
    size_t size;
    const void *answer;
    tell_worker(l, text);
    UNTIL((answer = store_ring_peek(l->ring, &size)) != NULL);
    ck_assert_uint_eq(size, strlen(text));
    ck_assert(memcmp(answer, text, size) == 0);
    store_ring_consume(l->ring);
}

static void runs(struct line *l)
{
    UNTIL(*store_ring_word(l->ring, STORE_WORD_TASK) == 7);
}

static void line_close(struct client *c, struct line *l, bool give_back)
{
    if (give_back) {
        Wire__Return r = WIRE__RETURN__INIT;
        r.lease = l->lease;
        SEND(c->fd, WIRE_RETURN, &r);
    }
    store_ring_close(l->ring);
    *l = (struct line){0};
}

static const Wire__Death *hear_death(struct client *c, const struct line *l)
{
    const Wire__Death *d = hear(c, WIRE_DEATH);
    ck_assert_uint_eq(d->worker, l->worker);
    ck_assert_uint_eq(d->lease, l->lease);
    return d;
}

#define SAYS(text, part)                                                               \
    ck_assert_msg(strstr(text, part) != NULL, "'%s' does not say '%s'", text, part)

static size_t count_workers(void)
{
    json_t *list = node_list(node, "workers", NULL);
    size_t n = json_array_size(list);
    json_decref(list);
    return n;
}

/* --- leases --- */

START_TEST(a_worker_serves_and_is_used_again)
{
    open_node(NULL);
    struct client c = client_open();
    struct line l = line_for(&c, 1, "ok");
    uint64_t first = l.worker;
    ask_worker(&l, "hello");
    ask_worker(&l, "again");
    want(&c, 1, NULL, 0);
    line_close(&c, &l, true);
    UNTIL(head.returns == 1);
    struct client other = client_open();
    l = line_for(&other, 9, "ok");
    ck_assert_uint_eq(l.worker, first);
    ask_worker(&l, "hello");
    line_close(&other, &l, false);
    client_close(&c);
    client_close(&other);
    UNTIL(head.clients == 1); /* the worker is one, too */
}
END_TEST

START_TEST(other_shapes_get_other_workers)
{
    open_node(NULL);
    struct client c = client_open();
    struct wish wishes[] = {{.plugin = "ok"},
                            {.plugin = "fine"},
                            {.plugin = "ok", .memory = 100 * MIB},
                            {.plugin = "ok", .env = (char *)"A=1"},
                            {.plugin = "ok", .env = (char *)"A=2"}};
    struct line lines[5];
    for (size_t i = 0; i < 5; i++) {
        want(&c, i + 1, &wishes[i], 1);
        lines[i] = line_open(&c);
        want(&c, i + 1, NULL, 0);
        for (size_t k = 0; k < i; k++)
            ck_assert_uint_ne(lines[i].worker, lines[k].worker);
    }
    for (size_t i = 0; i < 5; i++)
        line_close(&c, &lines[i], i % 2 == 0);
    client_close(&c);
    UNTIL(head.returns == 5);
}
END_TEST

START_TEST(a_broken_worker_is_not_used_again)
{
    open_node(NULL);
    struct client c = client_open();
    struct line l = line_for(&c, 1, "ok");
    uint64_t first = l.worker;
    Wire__Return r = WIRE__RETURN__INIT;
    r.lease = l.lease;
    r.broken = true;
    SEND(c.fd, WIRE_RETURN, &r);
    store_ring_close(l.ring);
    l = line_open(&c); /* still wanted */
    ck_assert_uint_ne(l.worker, first);
    line_close(&c, &l, false);
    client_close(&c);
}
END_TEST

START_TEST(a_plugin_of_no_use_is_refused)
{
    open_node(NULL);
    struct client c = client_open();
    want(&c, 1, &(struct wish){.plugin = "bad"}, 1);
    const Wire__Refuse *r = hear(&c, WIRE_REFUSE);
    ck_assert_uint_eq(r->lane, 1);
    ck_assert_int_eq(r->code, RAYWF_E_PLUGIN);
    ck_assert_str_eq(r->text, "it is no plugin");
    UNTIL(head.returns == 1 && count_workers() == 0);
    ck_assert_uint_eq(head.lanes[0].want->workers, 0);
    /* And again, when somebody wants it again. */
    want(&c, 1, NULL, 1);
    r = hear(&c, WIRE_REFUSE);
    ck_assert_int_eq(r->code, RAYWF_E_PLUGIN);
    client_close(&c);
}
END_TEST

START_TEST(a_plugin_that_crashes_is_tried_three_times)
{
    open_node(NULL);
    struct client c = client_open();
    want(&c, 1, &(struct wish){.plugin = "crash"}, 1);
    const Wire__Refuse *r = hear(&c, WIRE_REFUSE);
    ck_assert_int_eq(r->code, RAYWF_E_PLUGIN);
    SAYS(r->text, "three times");
    SAYS(r->text, "signal 9");
    SAYS(r->text, "about to crash");
    UNTIL(head.returns == 1 && count_workers() == 0);
    client_close(&c);
}
END_TEST

START_TEST(a_client_leaves_while_its_worker_starts)
{
    open_node(NULL);
    struct client c = client_open();
    want(&c, 1, &(struct wish){.plugin = "hang"}, 2);
    UNTIL(count_workers() == 2);
    client_close(&c);
    UNTIL(head.returns == 2);
}
END_TEST

START_TEST(a_lease_is_recalled_while_its_worker_starts)
{
    open_node(NULL);
    struct client c = client_open();
    Wire__HeadRecall r = WIRE__HEAD_RECALL__INIT;
    want(&c, 1, &(struct wish){.plugin = "hang"}, 1);
    UNTIL(count_workers() == 1);
    head.mute = true;
    r.lease = head.last;
    r.kill = true;
    HEAD_SEND(WIRE_HEAD_RECALL, &r);
    UNTIL(head.returns == 1);
    client_close(&c);
}
END_TEST

START_TEST(idle_workers_end)
{
    open_node(&(struct node_options){.idle = 20 * RWF_NS_PER_MS});
    struct client c = client_open();
    struct line l = line_for(&c, 1, "ok");
    want(&c, 1, NULL, 0);
    line_close(&c, &l, true);
    UNTIL(head.returns == 1);
    UNTIL(count_workers() == 0);
    client_close(&c);
}
END_TEST

START_TEST(a_lease_is_recalled)
{
    open_node(NULL);
    struct client c = client_open();
    struct line l = line_for(&c, 1, "ok");
    Wire__HeadRecall r = WIRE__HEAD_RECALL__INIT;
    r.lease = l.lease;
    HEAD_SEND(WIRE_HEAD_RECALL, &r);
    const Wire__Recall *heard = hear(&c, WIRE_RECALL);
    ck_assert_uint_eq(heard->lease, l.lease);
    r.kill = true;
    r.text = (char *)"pre-empted by job 'b'";
    HEAD_SEND(WIRE_HEAD_RECALL, &r);
    SAYS(hear_death(&c, &l)->text, "pre-empted by job 'b'");
    line_close(&c, &l, false);
    client_close(&c);
}
END_TEST

/* --- deaths --- */

START_TEST(a_killed_worker_is_told_of)
{
    open_node(NULL);
    struct client c = client_open();
    struct line l = line_for(&c, 1, "ok"), next;
    kill(l.pid, SIGKILL);
    const Wire__Death *d = hear_death(&c, &l);
    ck_assert_uint_eq(d->cause, RAYWF_ON_EXIT);
    SAYS(d->text, "signal 9 (SIGKILL)");
    next = line_open(&c); /* it is still wanted */
    ask_worker(&next, "hello");
    line_close(&c, &l, false);
    line_close(&c, &next, false);
    client_close(&c);
}
END_TEST

START_TEST(an_exit_is_told_with_its_stderr)
{
    open_node(NULL);
    struct client c = client_open();
    struct line l = line_for(&c, 1, "ok");
    tell_worker(&l, "exit 3");
    const Wire__Death *d = hear_death(&c, &l);
    ck_assert_uint_eq(d->cause, RAYWF_ON_EXIT);
    SAYS(d->text, "exited with code 3");
    SAYS(d->text, "the last words");
    line_close(&c, &l, false);
    client_close(&c);
}
END_TEST

START_TEST(a_time_out_ends_what_it_means)
{
    open_node(NULL);
    struct client c = client_open();
    struct line l = line_for(&c, 1, "ok");
    tell_worker(&l, "wait");
    runs(&l);
    Wire__End e = WIRE__END__INIT;
    e.worker = l.worker;
    e.cause = RAYWF_ON_TIMEOUT;
    e.task = 8; /* which is over */
    e.text = (char *)"not this one";
    SEND(c.fd, WIRE_END, &e);
    e.task = 7;
    e.text = (char *)"timed out after 1s";
    SEND(c.fd, WIRE_END, &e);
    const Wire__Death *d = hear_death(&c, &l);
    ck_assert_uint_eq(d->cause, RAYWF_ON_TIMEOUT);
    ck_assert_str_eq(d->text, "timed out after 1s");
    line_close(&c, &l, false);
    client_close(&c);
}
END_TEST

START_TEST(nobody_ends_the_worker_of_another)
{
    open_node(NULL);
    struct client c = client_open(), other = client_open();
    struct line l = line_for(&c, 1, "ok");
    Wire__End e = WIRE__END__INIT;
    e.worker = l.worker;
    SEND(other.fd, WIRE_END, &e);
    Wire__List q = WIRE__LIST__INIT;
    q.what = (char *)"workers";
    SEND(other.fd, WIRE_LIST, &q);
    hear(&other, WIRE_LISTED); /* END was handled before */
    ask_worker(&l, "hello");
    line_close(&c, &l, false);
    client_close(&c);
    client_close(&other);
}
END_TEST

START_TEST(a_memory_limit_holds)
{
    open_node(NULL);
    struct client c = client_open();
    want(&c, 1, &(struct wish){.plugin = "ok", .memory = 50 * MIB}, 1);
    struct line l = line_open(&c);
    tell_worker(&l, "hog 80");
    const Wire__Death *d = hear_death(&c, &l);
    ck_assert_uint_eq(d->cause, RAYWF_ON_OOM);
    SAYS(d->text, "memory limit of 50 MiB");
    line_close(&c, &l, false);
    client_close(&c);
}
END_TEST

START_TEST(pressure_ends_the_youngest_that_may_run_again)
{
    open_node(&(struct node_options){.pressure = 1e-6});
    struct client c = client_open();
    struct line old, young, firm;
    want(&c, 1, &(struct wish){.plugin = "ok"}, 1);
    firm = line_open(&c);
    old = line_for(&c, 2, "ok");
    young = line_for(&c, 3, "ok");
    for (uint64_t lane = 1; lane <= 3; lane++)
        want(&c, lane, NULL, 0);
    tell_worker(&firm, "hog 20");
    tell_worker(&old, "hog 20");
    tell_worker(&young, "hog 20");
    /* Which of the two is first depends on when the node looks. */
    const Wire__Death *d = hear(&c, WIRE_DEATH);
    ck_assert(d->worker == young.worker || d->worker == old.worker);
    ck_assert_uint_eq(d->cause, RAYWF_ON_OOM);
    SAYS(d->text, "memory ran low");
    d = hear(&c, WIRE_DEATH);
    ck_assert(d->worker == young.worker || d->worker == old.worker);
    UNTIL(count_workers() == 1);
    ck_assert_int_eq(kill(firm.pid, 0), 0);
    line_close(&c, &old, false);
    line_close(&c, &young, false);
    line_close(&c, &firm, false);
    client_close(&c);
}
END_TEST

START_TEST(what_a_gone_client_had_is_given_back)
{
    open_node(NULL);
    struct client c = client_open();
    struct line busy = line_for(&c, 1, "ok");
    int pid = busy.pid;
    tell_worker(&busy, "wait");
    runs(&busy);
    line_close(&c, &busy, false);
    client_close(&c);
    UNTIL(head.returns == 1 && count_workers() == 0);
    ck_assert_int_eq(kill(pid, 0), -1);
    UNTIL(head.clients == 0);
}
END_TEST

/* --- actors --- */

static void create_actor(struct client *c, const char *class_)
{
    Wire__ActorCreate create = WIRE__ACTOR_CREATE__INIT;
    Wire__ActorSpec spec = WIRE__ACTOR_SPEC__INIT;
    Wire__ActorConnect connect = WIRE__ACTOR_CONNECT__INIT;
    create.request = 5;
    create.spec = &spec;
    spec.plugin = (char *)"ok";
    spec.class_ = (char *)class_;
    SEND(c->fd, WIRE_ACTOR_CREATE, &create);
    const Wire__ActorFound *f = hear(c, WIRE_ACTOR_FOUND);
    ck_assert_uint_eq(f->request, 5);
    connect.actor = f->actor;
    SEND(c->fd, WIRE_ACTOR_CONNECT, &connect);
}

START_TEST(an_actor_serves_many_and_starts_again)
{
    open_node(NULL);
    struct client a = client_open(), b = client_open();
    Wire__ActorConnect connect = WIRE__ACTOR_CONNECT__INIT;
    create_actor(&a, "ok");
    struct line la = line_open(&a), lb;
    connect.actor = 42;
    SEND(b.fd, WIRE_ACTOR_CONNECT, &connect);
    lb = line_open(&b);
    ck_assert_uint_eq(la.worker, lb.worker);
    ck_assert_uint_ne(la.lease, lb.lease);
    ask_worker(&la, "one");
    ask_worker(&lb, "two");
    kill(la.pid, SIGKILL);
    ck_assert_uint_eq(hear_death(&a, &la)->actor, 42);
    hear_death(&b, &lb);
    UNTIL(strcmp(head.actor_state->state, "dead") == 0);
    SAYS(head.actor_state->text, "SIGKILL");
    line_close(&a, &la, false);
    line_close(&b, &lb, false);
    start_actor();
    la = line_open(&a);
    lb = line_open(&b);
    ask_worker(&la, "three");
    line_close(&b, &lb, true);
    client_close(&b);
    ask_worker(&la, "four");
    line_close(&a, &la, false);
    client_close(&a);
}
END_TEST

START_TEST(an_actor_that_cannot_be_built)
{
    open_node(NULL);
    struct client c = client_open();
    create_actor(&c, "bad");
    UNTIL(head.actor_state && strcmp(head.actor_state->state, "dead") == 0);
    ck_assert_uint_eq(head.actor_state->cause, RAYWF_ON_ERROR);
    ck_assert_str_eq(head.actor_state->text, "it is no plugin");
    const Wire__ActorState *s;
    do
        s = hear(&c, WIRE_ACTOR_STATE);
    while (strcmp(s->state, "dead") != 0);
    UNTIL(head.lease_count == 0 && count_workers() == 0);
    client_close(&c);
}
END_TEST

START_TEST(an_actor_is_killed)
{
    open_node(NULL);
    struct client c = client_open();
    Wire__ActorKill k = WIRE__ACTOR_KILL__INIT;
    create_actor(&c, "stubborn");
    struct line l = line_open(&c);
    k.actor = 42;
    SEND(c.fd, WIRE_ACTOR_KILL, &k);
    SAYS(hear_death(&c, &l)->text, "killed by request");
    UNTIL(head.lease_count == 0 && count_workers() == 0);
    line_close(&c, &l, false);
    client_close(&c);
}
END_TEST

/* --- between clients --- */

START_TEST(values_of_others)
{
    open_node(NULL);
    struct client owner = client_open(), c = client_open();
    Wire__Ask ask = WIRE__ASK__INIT;
    ask.owner = owner.id;
    ask.id = 11;
    ask.request = 1234;
    SEND(c.fd, WIRE_ASK, &ask);
    const Wire__Ask *heard = hear(&owner, WIRE_ASK);
    ck_assert_uint_eq(heard->id, 11);
    ck_assert_uint_eq(heard->client, c.id);
    Wire__Tell tell = WIRE__TELL__INIT;
    tell.client = heard->client;
    tell.request = heard->request;
    tell.size = 99;
    SEND(owner.fd, WIRE_TELL, &tell);
    const Wire__Tell *t = hear(&c, WIRE_TELL);
    ck_assert_uint_eq(t->request, 1234);
    ck_assert_uint_eq(t->size, 99);
    ask.request = 1235; /* which is not answered */
    SEND(c.fd, WIRE_ASK, &ask);
    hear(&owner, WIRE_ASK);
    client_close(&owner);
    t = hear(&c, WIRE_TELL);
    ck_assert_uint_eq(t->request, 1235);
    ck_assert_int_eq(t->code, RAYWF_E_LOST);
    ask.request = 1236; /* of nobody */
    SEND(c.fd, WIRE_ASK, &ask);
    t = hear(&c, WIRE_TELL);
    ck_assert_uint_eq(t->request, 1236);
    ck_assert_int_eq(t->code, RAYWF_E_LOST);
    client_close(&c);
}
END_TEST

START_TEST(lists)
{
    open_node(NULL);
    struct client c = client_open();
    struct line l = line_for(&c, 1, "ok");
    tell_worker(&l, "wait");
    runs(&l);
    static const char *const whats[] = {"workers", "tasks", "clients", "store",
                                        "objects"};
    static const char *const says[] = {"\"leased\"", "\"task\":7", "\"check_node\"",
                                       "\"slots\"", "[]"};
    Wire__List q = WIRE__LIST__INIT;
    for (size_t i = 0; i < 5; i++) {
        q.request = 70 + i;
        q.what = (char *)whats[i];
        SEND(c.fd, WIRE_LIST, &q);
        const Wire__Listed *a = hear(&c, WIRE_LISTED);
        ck_assert_uint_eq(a->request, 70 + i);
        SAYS(a->json, says[i]);
    }
    q.request = 99;
    q.what = (char *)"status";
    SEND(c.fd, WIRE_LIST, &q);
    const Wire__Listed *a = hear(&c, WIRE_LISTED);
    ck_assert_uint_eq(a->request, 99);
    SAYS(a->json, "\"nodes\":1");
    SAYS(a->json, "\"slots\"");
    line_close(&c, &l, false);
    client_close(&c);
}
END_TEST

/* --- bad peers, and too many --- */

START_TEST(rubbish_is_refused)
{
    open_node(NULL);
    struct client c = client_connect();
    ck_assert_int_eq(send(c.fd, "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
    hear_end(&c);
    client_close(&c);
    Wire__Want w = WIRE__WANT__INIT;
    c = client_connect(); /* before HELLO */
    SEND(c.fd, WIRE_WANT, &w);
    SAYS(((const Wire__Error *)hear(&c, WIRE_ERROR))->text, "before HELLO");
    hear_end(&c);
    client_close(&c);
    c = client_connect(); /* before JOIN */
    client_hello(&c);
    SEND(c.fd, WIRE_WANT, &w);
    SAYS(((const Wire__Error *)hear(&c, WIRE_ERROR))->text, "before JOIN");
    hear_end(&c);
    client_close(&c);
    Wire__Ready r = WIRE__READY__INIT;
    c = client_open(); /* what only workers say */
    SEND(c.fd, WIRE_READY, &r);
    hear_end(&c);
    client_close(&c);
    c = client_open(); /* a lane without a shape */
    w.lane = 3;
    w.workers = 1;
    SEND(c.fd, WIRE_WANT, &w);
    hear_end(&c);
    client_close(&c);
    Wire__Hello h = WIRE__HELLO__INIT;
    h.version = (char *)"0.0.0-other";
    c = client_connect();
    SEND(c.fd, WIRE_HELLO, &h);
    SAYS(((const Wire__Error *)hear(&c, WIRE_ERROR))->text, "0.0.0-other");
    hear_end(&c);
    client_close(&c);
    c = client_open();
    client_close(&c);
}
END_TEST

START_TEST(thousands_of_clients_leave_nothing)
{
#ifdef RWF_SANITIZED
    enum { COUNT = 500 };
#else
    enum { COUNT = 10000 };
#endif
    open_node(NULL);
    struct client first = client_open();
    int before = count_fds();
    for (int i = 0; i < COUNT; i++) {
        struct client c = client_open();
        ck_assert_uint_gt(c.id, first.id);
        client_close(&c);
    }
    UNTIL(head.clients == 1);
    ck_assert_int_eq(count_fds(), before);
    client_close(&first);
}
END_TEST

START_TEST(slots_run_out_with_a_clear_word)
{
    enum { ALL = STORE_SLOTS - 1 };
    static struct client clients[ALL];
    open_node(NULL);
    for (int i = 0; i < ALL; i++)
        clients[i] = client_open();
    struct client c = client_connect();
    Wire__Join j = WIRE__JOIN__INIT;
    client_hello(&c);
    SEND(c.fd, WIRE_JOIN, &j);
    SAYS(((const Wire__Error *)hear(&c, WIRE_ERROR))->text, "no room");
    hear_end(&c);
    client_close(&c);
    /* A worker waits until there is one. */
    want(&clients[0], 1, &(struct wish){.plugin = "ok"}, 1);
    UNTIL(head.lease_count == 1);
    client_close(&clients[1]);
    struct line l = line_open(&clients[0]);
    ask_worker(&l, "hello");
    line_close(&clients[0], &l, false);
    for (int i = 0; i < ALL; i++)
        if (i != 1)
            client_close(&clients[i]);
    UNTIL(head.clients <= 1);
}
END_TEST

/* --- the head goes and comes --- */

START_TEST(a_new_head_hears_of_everything)
{
    open_node(NULL);
    struct client c = client_open();
    struct line l = line_for(&c, 1, "ok");
    UNTIL(head.join != NULL);
    struct wire_link *old = head.link;
    wire_link_close(old);
    UNTIL(head.link == NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    ask_worker(&l, "without a head");
    want(&c, 2, &(struct wish){.plugin = "fine"}, 1);
    Wire__List q = WIRE__LIST__INIT;
    q.request = 3;
    q.what = (char *)"nodes";
    SEND(c.fd, WIRE_LIST, &q);
    for (int i = 0; i < 10; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    free_head();
    memset(&head, 0, sizeof(head));
    head.last = 1000;
    head.mute = true;
    attach_head();
    UNTIL(head.join != NULL && head.lane_count == 2);
    ck_assert_uint_eq(head.join->n_leases, 1);
    ck_assert_uint_eq(head.join->leases[0]->lease, l.lease);
    ck_assert_uint_eq(head.join->leases[0]->client, c.id);
    ck_assert_uint_eq(head.join->leases[0]->worker, l.worker);
    const Wire__Listed *a = hear(&c, WIRE_LISTED);
    ck_assert_uint_eq(a->request, 3);
    ask_worker(&l, "with another one");
    head.leases[head.lease_count++] = (struct lease){l.lease, NULL, 0};
    line_close(&c, &l, false);
    client_close(&c);
}
END_TEST

static void on_node(void *ctx, struct wire_link *link)
{
    (void)ctx;
    head.link = link;
    wire_link_handle(link, &(struct wire_handler){NULL, head_message, head_closed});
}

START_TEST(a_far_head_is_found_again)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct wire_listener *listener =
        wire_listen_tcp(&loop, "127.0.0.1", 0, NULL, on_node, NULL, &err);
    ck_assert_msg(listener != NULL, "%s", err.text);
    create_node(NULL);
    node_reconnect(node, "127.0.0.1", wire_listener_port(listener), NULL);
    UNTIL(head.join != NULL);
    struct client c = client_open();
    struct line l = line_for(&c, 1, "ok");
    for (int i = 0; i < 3; i++) {
        protobuf_c_message_free_unpacked(&head.join->base, NULL);
        head.join = NULL;
        wire_link_close(head.link);
        UNTIL(head.join != NULL);
        ck_assert_uint_eq(head.join->n_leases, 1);
        ck_assert_uint_eq(head.join->leases[0]->lease, l.lease);
        ask_worker(&l, "still here");
    }
    line_close(&c, &l, true);
    UNTIL(head.returns == 1);
    client_close(&c);
    wire_listener_close(listener);
}
END_TEST

START_TEST(the_store_is_served)
{
    open_node(NULL);
    struct client c = client_open();
    Wire__Full full = WIRE__FULL__INIT;
    Wire__Restore restore = WIRE__RESTORE__INIT;
    Wire__List q = WIRE__LIST__INIT;
    full.bytes = MIB;
    for (uint64_t i = 1; i < 50; i++) {
        SEND(c.fd, WIRE_FULL, &full);
        restore.object = i * 0x100000001; /* of no object */
        SEND(c.fd, WIRE_RESTORE, &restore);
        full.bytes *= 2; /* and more than there can ever be */
    }
    q.what = (char *)"store";
    SEND(c.fd, WIRE_LIST, &q);
    SAYS(((const Wire__Listed *)hear(&c, WIRE_LISTED))->json, "\"objects\":0");
    client_close(&c);
}
END_TEST

/* --- under fire --- */

START_TEST(workers_die_at_random)
{
    enum { LANES = 6, ROUNDS = 150 };
    open_node(NULL);
    struct client c = client_open();
    struct line lines[LANES];
    srandom(7);
    for (int i = 0; i < LANES; i++)
        lines[i] = line_for(&c, (uint64_t)i + 1, i % 2 ? "ok" : "fine");
    for (int round = 0; round < ROUNDS; round++) {
        struct line *l = &lines[random() % LANES];
        if (random() % 2)
            tell_worker(l, "wait");
        for (long turns = random() % 5; turns > 0; turns--)
            uv_run(&loop, UV_RUN_NOWAIT);
        kill(l->pid, SIGKILL);
        hear_death(&c, l);
        line_close(&c, l, false);
        if (random() % 4 == 0) { /* and one more, before it is ready */
            json_t *list = node_list(node, "workers", NULL);
            json_t *w = json_array_get(list, 0);
            const char *state = json_string_value(json_object_get(w, "state"));
            if (strcmp(state, "starting") == 0)
                kill((int)json_integer_value(json_object_get(w, "pid")), SIGKILL);
            json_decref(list);
        }
        *l = line_open(&c);
    }
    for (int i = 0; i < LANES; i++)
        ask_worker(&lines[i], "still here");
    ck_assert_uint_eq(head.lease_count, LANES);
    for (int i = 0; i < LANES; i++)
        line_close(&c, &lines[i], false);
    client_close(&c);
    UNTIL(head.lease_count == 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("node");
    TCase *t = tcase_create("node");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_worker_serves_and_is_used_again);
    tcase_add_test(t, other_shapes_get_other_workers);
    tcase_add_test(t, a_broken_worker_is_not_used_again);
    tcase_add_test(t, a_plugin_of_no_use_is_refused);
    tcase_add_test(t, a_plugin_that_crashes_is_tried_three_times);
    tcase_add_test(t, a_client_leaves_while_its_worker_starts);
    tcase_add_test(t, a_lease_is_recalled_while_its_worker_starts);
    tcase_add_test(t, idle_workers_end);
    tcase_add_test(t, a_lease_is_recalled);
    tcase_add_test(t, a_killed_worker_is_told_of);
    tcase_add_test(t, an_exit_is_told_with_its_stderr);
    tcase_add_test(t, a_time_out_ends_what_it_means);
    tcase_add_test(t, nobody_ends_the_worker_of_another);
    tcase_add_test(t, a_memory_limit_holds);
    tcase_add_test(t, pressure_ends_the_youngest_that_may_run_again);
    tcase_add_test(t, what_a_gone_client_had_is_given_back);
    tcase_add_test(t, an_actor_serves_many_and_starts_again);
    tcase_add_test(t, an_actor_that_cannot_be_built);
    tcase_add_test(t, an_actor_is_killed);
    tcase_add_test(t, values_of_others);
    tcase_add_test(t, lists);
    tcase_add_test(t, rubbish_is_refused);
    tcase_add_test(t, thousands_of_clients_leave_nothing);
    tcase_add_test(t, slots_run_out_with_a_clear_word);
    tcase_add_test(t, a_new_head_hears_of_everything);
    tcase_add_test(t, a_far_head_is_found_again);
    tcase_add_test(t, the_store_is_served);
    tcase_add_test(t, workers_die_at_random);
    suite_add_tcase(s, t);
    return s;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "worker") == 0)
        return tiny_worker(strtoull(argv[2], NULL, 10));
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
