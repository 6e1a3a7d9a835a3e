/* SPDX-License-Identifier: Apache-2.0
 * The head, with nodes that are played: who gets leases, actors and reservations; links
 * that drop, nodes that die, and a head that is ended at every message and comes back.
 */
#include "config.h"

#include "head/head.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/journal.h"
#include "native/raywf.h"

#define LONG (60 * RWF_NS_PER_S) /* nobody dies by accident */
#define SHORT RWF_NS_PER_S

static uv_loop_t loop;
static struct head *head;
static bool over; /* what still comes is not looked at */
static char dir[32];

/* --- a node that is played --- */

struct got {
    enum wire_type type;
    ProtobufCMessage *body;
    STAILQ_ENTRY(got) next;
};

struct fake {
    struct wire_link *link;
    STAILQ_HEAD(, got) got;
    int closed;
};

static void *copy(const ProtobufCMessage *m)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = rwf_xmalloc(len + 1);
    protobuf_c_message_pack(m, bytes);
    void *ret = protobuf_c_message_unpack(m->descriptor, NULL, len, bytes);
    free(bytes);
    return ret;
}

static void release(void *m)
{
    protobuf_c_message_free_unpacked(m, NULL);
}

static void on_message(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct fake *f = ctx;
    (void)link;
    if (over)
        return;
    struct got *g = rwf_xmalloc(sizeof(*g));
    *g = (struct got){.type = m->type, .body = m->body};
    m->body = NULL;
    STAILQ_INSERT_TAIL(&f->got, g, next);
}

static void on_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    struct fake *f = ctx;
    (void)err;
    if (f->link == link)
        f->link = NULL;
    f->closed++;
}

/* near: in memory; else over a socket, whose end is not the node's end. */
static void attach(struct fake *f, bool near)
{
    struct wire_link *far;
    if (near) {
        wire_link_pair(&loop, &f->link, &far);
    } else {
        int fds[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        f->link = wire_link_open(&loop, fds[0], NULL);
        far = wire_link_open(&loop, fds[1], NULL);
    }
    if (!f->got.stqh_last)
        STAILQ_INIT(&f->got);
    wire_link_handle(f->link, &(struct wire_handler){f, on_message, on_closed});
    head_attach(head, far);
}

#define SEND(f, type, m)                                                               \
    ((f)->link ? wire_link_send((f)->link, type, &(m)->base, NULL, 0) : (void)0)

/* The next message of this type, whatever comes before; for the caller to release. */
static void *want(struct fake *f, enum wire_type type)
{
    for (;;) {
        struct got *g = STAILQ_FIRST(&f->got);
        if (!g) {
            ck_assert_msg(f->link != NULL, "closed before %s came",
                          wire_type_name(type));
            uv_run(&loop, UV_RUN_ONCE);
            continue;
        }
        STAILQ_REMOVE_HEAD(&f->got, next);
        void *body = g->body;
        bool found = g->type == type;
        free(g);
        if (found)
            return body;
        release(body);
    }
}

static void flush(struct fake *f)
{
    while (!STAILQ_EMPTY(&f->got)) {
        struct got *g = STAILQ_FIRST(&f->got);
        STAILQ_REMOVE_HEAD(&f->got, next);
        release(g->body);
        free(g);
    }
}

/* All that was said so far has been answered. */
static json_t *ask_list(struct fake *f, const char *what)
{
    Wire__List l = WIRE__LIST__INIT;
    l.request = 999;
    l.what = (char *)what;
    l.about = (char *)"";
    SEND(f, WIRE_LIST, &l);
    Wire__Listed *answer = want(f, WIRE_LISTED);
    ck_assert_uint_eq(answer->request, 999);
    json_t *json = json_loads(answer->json, 0, NULL);
    ck_assert_ptr_nonnull(json);
    release(answer);
    return json;
}

static size_t count(struct fake *f, const char *what)
{
    json_t *list = ask_list(f, what);
    size_t n = json_array_size(list);
    json_decref(list);
    return n;
}

static double cpu_used(struct fake *f)
{
    json_t *s = ask_list(f, "status");
    double used = json_number_value(json_object_get(s, "cpu_used"));
    json_decref(s);
    return used;
}

static bool has(struct fake *f, enum wire_type type)
{
    struct got *g;
    STAILQ_FOREACH(g, &f->got, next)
    if (g->type == type)
        return true;
    return false;
}

static void join(struct fake *f, const char *name, uint64_t session, double cpu,
                 Wire__Lease **leases, size_t n_leases, Wire__ActorSpec **actors,
                 size_t n_actors)
{
    Wire__NodeJoin j = WIRE__NODE_JOIN__INIT;
    j.name = (char *)name;
    j.cpu = cpu;
    j.memory = (uint64_t)8 << 30;
    j.session = session;
    j.leases = leases;
    j.n_leases = n_leases;
    j.actors = actors;
    j.n_actors = n_actors;
    SEND(f, WIRE_NODE_JOIN, &j);
}

static void plain_join(struct fake *f, const char *name, uint64_t session)
{
    join(f, name, session, 4, NULL, 0, NULL, 0);
    release(want(f, WIRE_NODE_WELCOME));
}

static void client_join(struct fake *f, uint64_t client)
{
    Wire__ClientJoin c = WIRE__CLIENT_JOIN__INIT;
    c.client = client;
    c.job = (char *)"job";
    SEND(f, WIRE_CLIENT_JOIN, &c);
}

static void client_leave(struct fake *f, uint64_t client)
{
    Wire__ClientLeave c = WIRE__CLIENT_LEAVE__INIT;
    c.client = client;
    SEND(f, WIRE_CLIENT_LEAVE, &c);
}

static void want_workers(struct fake *f, uint64_t client, uint64_t lane, double cpu,
                         unsigned workers)
{
    Wire__Resources r = WIRE__RESOURCES__INIT;
    Wire__Shape s = WIRE__SHAPE__INIT;
    Wire__Want w = WIRE__WANT__INIT;
    Wire__HeadWant h = WIRE__HEAD_WANT__INIT;
    r.cpu = cpu;
    s.plugin = (char *)"plugin.so";
    s.resources = &r;
    w.lane = lane;
    w.shape = &s;
    w.workers = workers;
    h.client = client;
    h.want = &w;
    SEND(f, WIRE_HEAD_WANT, &h);
}

static void give_back(struct fake *f, uint64_t lease)
{
    Wire__HeadReturn r = WIRE__HEAD_RETURN__INIT;
    r.lease = lease;
    SEND(f, WIRE_HEAD_RETURN, &r);
}

struct actor_is {
    const char *name;
    bool detached, get;
    int max_restarts;
};

static void create_actor(struct fake *f, uint64_t client, uint64_t request,
                         struct actor_is is)
{
    Wire__Resources r = WIRE__RESOURCES__INIT;
    Wire__ActorSpec s = WIRE__ACTOR_SPEC__INIT;
    Wire__ActorCreate c = WIRE__ACTOR_CREATE__INIT;
    Wire__HeadActor h = WIRE__HEAD_ACTOR__INIT;
    r.cpu = 1;
    s.resources = &r;
    s.plugin = (char *)"plugin.so";
    s.class_ = (char *)"counter";
    s.name = (char *)(is.name ? is.name : "");
    s.detached = is.detached;
    s.get_if_exists = is.get;
    s.max_restarts = is.max_restarts;
    s.backoff = 1;
    c.request = request;
    c.spec = &s;
    h.client = client;
    h.create = &c;
    SEND(f, WIRE_HEAD_ACTOR, &h);
}

static void actor_is(struct fake *f, uint64_t actor, const char *state, unsigned cause)
{
    Wire__HeadActorState s = WIRE__HEAD_ACTOR_STATE__INIT;
    s.actor = actor;
    s.state = (char *)state;
    s.cause = cause;
    s.text = (char *)"killed by signal 9 (SIGKILL)";
    SEND(f, WIRE_HEAD_ACTOR_STATE, &s);
}

static void actor_died(struct fake *f, const Wire__HeadActorStart *s)
{
    actor_is(f, s->spec->actor, "dead", RAYWF_ON_EXIT);
    give_back(f, s->lease->lease);
}

static uint64_t found(struct fake *f, uint64_t request)
{
    Wire__ActorFound *a = want(f, WIRE_ACTOR_FOUND);
    uint64_t id = a->actor;
    ck_assert_uint_eq(a->request, request);
    ck_assert_uint_ne(id, 0);
    release(a);
    return id;
}

static void expect_state(struct fake *f, uint64_t actor, const char *state)
{
    for (;;) {
        Wire__ActorState *s = want(f, WIRE_ACTOR_STATE);
        bool good = s->actor == actor && strcmp(s->state, state) == 0;
        release(s);
        if (good)
            return;
    }
}

static void expect_error(struct fake *f, uint64_t request, int code, const char *says)
{
    Wire__Error *e = want(f, WIRE_ERROR);
    ck_assert_uint_eq(e->request, request);
    ck_assert_int_eq(e->code, code);
    ck_assert_msg(strstr(e->text, says) != NULL, "%s", e->text);
    release(e);
}

/* --- fixture --- */

static void start_head(bool keeps, int64_t dead_after)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct head_options o = {.folder = keeps ? dir : NULL, .dead_after = dead_after};
    head = head_create(&loop, &o, &err);
    ck_assert_msg(head != NULL, "%s", err.text);
}

/* As after a SIGKILL: nothing more is written. */
static void end_head(void)
{
    head_destroy(head);
    head = NULL;
    uv_run(&loop, UV_RUN_DEFAULT);
}

static void setup(void)
{
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    strcpy(dir, "/tmp/check_head.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    over = false;
    start_head(true, LONG);
}

static void teardown(void)
{
    over = true;
    if (head)
        end_head();
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    rwf_fs_rmtree(dir, NULL);
}

static void restart_head(int64_t dead_after)
{
    end_head();
    start_head(true, dead_after);
}

/* --- leases --- */

START_TEST(test_want_grant_return)
{
    static struct fake f;
    f = (struct fake){0};
    attach(&f, true);
    plain_join(&f, "a", 1);
    client_join(&f, 7);
    want_workers(&f, 7, 3, 1, 6);
    uint64_t leases[4];
    for (int i = 0; i < 4; i++) {
        Wire__HeadGrant *g = want(&f, WIRE_HEAD_GRANT);
        ck_assert_uint_eq(g->lease->client, 7);
        ck_assert_uint_eq(g->lease->lane, 3);
        ck_assert_str_eq(g->lease->shape->plugin, "plugin.so");
        leases[i] = g->lease->lease;
        release(g);
    }
    ck_assert(cpu_used(&f) == 4);
    ck_assert(!has(&f, WIRE_HEAD_GRANT));
    json_t *why = ask_list(&f, "why");
    ck_assert_uint_eq(json_array_size(why), 1);
    json_decref(why);
    give_back(&f, leases[0]);
    give_back(&f, leases[0]); /* twice changes nothing */
    give_back(&f, 123456);
    Wire__HeadGrant *g = want(&f, WIRE_HEAD_GRANT);
    ck_assert_uint_ne(g->lease->lease, leases[0]);
    leases[0] = g->lease->lease;
    release(g);
    want_workers(&f, 7, 3, 1, 0);
    for (int i = 0; i < 4; i++)
        give_back(&f, leases[i]);
    ck_assert(cpu_used(&f) == 0);
    ck_assert(!has(&f, WIRE_HEAD_GRANT));
    flush(&f);
}
END_TEST

START_TEST(test_never)
{
    static struct fake f;
    f = (struct fake){0};
    attach(&f, true);
    plain_join(&f, "a", 1);
    client_join(&f, 7);
    want_workers(&f, 7, 1, 1000, 1);
    Wire__HeadRefuse *r = want(&f, WIRE_HEAD_REFUSE);
    ck_assert_int_eq(r->code, RAYWF_E_FIT);
    ck_assert_uint_eq(r->lane, 1);
    ck_assert_msg(strstr(r->text, "cpu") != NULL, "%s", r->text);
    release(r);
    want_workers(&f, 7, 2, -1, 1);
    r = want(&f, WIRE_HEAD_REFUSE);
    ck_assert_int_eq(r->code, RAYWF_E_ARGUMENT);
    release(r);
    flush(&f);
}
END_TEST

/* A job never holds more than its quota, however much is free. */
START_TEST(test_quota)
{
    static struct fake f;
    f = (struct fake){0};
    attach(&f, true);
    plain_join(&f, "a", 1);
    Wire__Quota q = WIRE__QUOTA__INIT;
    Wire__ClientJoin c = WIRE__CLIENT_JOIN__INIT;
    q.cpu = 2;
    c.client = 7;
    c.job = (char *)"modest";
    c.quota = &q;
    SEND(&f, WIRE_CLIENT_JOIN, &c);
    want_workers(&f, 7, 1, 1, 4);
    release(want(&f, WIRE_HEAD_GRANT));
    release(want(&f, WIRE_HEAD_GRANT));
    ck_assert(cpu_used(&f) == 2);
    ck_assert(!has(&f, WIRE_HEAD_GRANT));
    client_join(&f, 8); /* the rest is for others */
    want_workers(&f, 8, 1, 1, 4);
    release(want(&f, WIRE_HEAD_GRANT));
    release(want(&f, WIRE_HEAD_GRANT));
    ck_assert(cpu_used(&f) == 4);
    want_workers(&f, 7, 2, 3, 1); /* more than it may ever have */
    Wire__HeadRefuse *r = want(&f, WIRE_HEAD_REFUSE);
    ck_assert_msg(strstr(r->text, "quota") != NULL, "%s", r->text);
    release(r);
    flush(&f);
}
END_TEST

START_TEST(test_client_leaves)
{
    static struct fake f;
    f = (struct fake){0};
    attach(&f, true);
    plain_join(&f, "a", 1);
    client_join(&f, 7);
    want_workers(&f, 7, 1, 4, 3);
    Wire__HeadGrant *g = want(&f, WIRE_HEAD_GRANT);
    client_leave(&f, 7);
    ck_assert_uint_eq(count(&f, "jobs"), 0);
    give_back(&f, g->lease->lease); /* no other is granted for who has left */
    ck_assert(cpu_used(&f) == 0);
    ck_assert(!has(&f, WIRE_HEAD_GRANT));
    release(g);
    flush(&f);
}
END_TEST

/* The link drops and comes back: what the node still has goes on, the rest is free. */
START_TEST(test_link_drops)
{
    static struct fake f;
    f = (struct fake){0};
    attach(&f, false);
    plain_join(&f, "a", 1);
    client_join(&f, 7);
    want_workers(&f, 7, 1, 1, 3);
    Wire__Lease *leases[3];
    for (int i = 0; i < 3; i++) {
        Wire__HeadGrant *g = want(&f, WIRE_HEAD_GRANT);
        leases[i] = copy(&g->lease->base);
        release(g);
    }
    wire_link_close(f.link);
    while (f.link)
        uv_run(&loop, UV_RUN_ONCE);
    attach(&f, false);
    join(&f, "a", 1, 4, leases + 1, 2, NULL, 0);
    client_join(&f, 7);
    Wire__HeadGrant *g = want(&f, WIRE_HEAD_GRANT); /* for the one that got lost */
    ck_assert_uint_gt(g->lease->lease, leases[2]->lease);
    ck_assert(cpu_used(&f) == 3);
    ck_assert_uint_eq(count(&f, "leases"), 3);
    ck_assert(!has(&f, WIRE_HEAD_RECALL));
    release(g);
    for (int i = 0; i < 3; i++)
        release(leases[i]);
    flush(&f);
}
END_TEST

/* A node that says nothing is dead; with it all that was its. */
START_TEST(test_silent_node)
{
    static struct fake f, other;
    f = other = (struct fake){0};
    restart_head(SHORT);
    attach(&other, true);
    plain_join(&other, "b", 2);
    attach(&f, false);
    plain_join(&f, "a", 1);
    client_join(&f, 7);
    want_workers(&f, 7, 1, 1, 2);
    release(want(&f, WIRE_HEAD_GRANT));
    while (f.link) /* closed by the head */
        uv_run(&loop, UV_RUN_ONCE);
    ck_assert_uint_eq(count(&other, "nodes"), 1);
    ck_assert_uint_eq(count(&other, "leases"), 0);
    ck_assert_uint_eq(count(&other, "jobs"), 0);
    /* Only one that beats stays; far more often than needed. */
    attach(&f, false);
    plain_join(&f, "a", 1);
    Wire__Beat b = WIRE__BEAT__INIT;
    for (b.sent = 1; b.sent < 50; b.sent++) {
        SEND(&f, WIRE_BEAT, &b);
        Wire__Beat *back = want(&f, WIRE_BEAT);
        ck_assert_uint_eq(back->sent, b.sent);
        release(back);
    }
    flush(&f);
    flush(&other);
}
END_TEST

/* A head that could not run for a while, as on a machine that is overloaded, has not
 * listened: what nodes said meanwhile is heard before one is taken for dead. */
START_TEST(test_head_was_held_up)
{
    static struct fake f;
    f = (struct fake){0};
    restart_head(SHORT);
    attach(&f, false);
    plain_join(&f, "a", 1);
    Wire__Beat b = WIRE__BEAT__INIT;
    for (b.sent = 1; b.sent < 4; b.sent++) {
        usleep(SHORT / 1000 * 3 / 2);
        SEND(&f, WIRE_BEAT, &b);
        release(want(&f, WIRE_BEAT));
    }
    ck_assert_uint_eq(count(&f, "nodes"), 1);
    flush(&f);
}
END_TEST

START_TEST(test_bad_joins)
{
    static struct fake f, g;
    f = g = (struct fake){0};
    attach(&f, false);
    plain_join(&f, "a", 1);
    attach(&g, false);
    join(&g, "a", 2, 4, NULL, 0, NULL, 0); /* two of one name */
    expect_error(&g, 0, RAYWF_E_ARGUMENT, "--name");
    while (g.link)
        uv_run(&loop, UV_RUN_ONCE);
    attach(&g, false);
    join(&g, "", 2, 4, NULL, 0, NULL, 0);
    expect_error(&g, 0, RAYWF_E_ARGUMENT, "no sense");
    while (g.link)
        uv_run(&loop, UV_RUN_ONCE);
    attach(&g, false);
    want_workers(&g, 1, 1, 1, 1); /* before it has joined */
    while (g.link)
        uv_run(&loop, UV_RUN_ONCE);
    ck_assert_uint_eq(count(&f, "nodes"), 1);
    flush(&f);
    flush(&g);
}
END_TEST

/* All other nodes are told what one says about itself: it must be little. */
START_TEST(test_long_joins)
{
    static struct fake f;
    static char longer[301];
    Wire__NodeJoin j = WIRE__NODE_JOIN__INIT;
    Wire__Label label = WIRE__LABEL__INIT, *labels[2000];
    Wire__Amount amount = WIRE__AMOUNT__INIT, *amounts[] = {&amount};
    f = (struct fake){0};
    memset(longer, 'x', 300);
    for (size_t i = 0; i < RWF_COUNT(labels); i++)
        labels[i] = &label;
    label.key = (char *)"k";
    amount.name = (char *)"disks";
    j.name = (char *)"a";
    j.labels = labels;
    j.custom = amounts;
    j.n_labels = j.n_custom = 1;
    *(char **[]){&j.name,      &j.peer,      &j.interface,   &label.key,
                 &label.value, &amount.name, &(char *){NULL}}[_i] = longer;
    if (_i == 6)
        j.n_labels = RWF_COUNT(labels);
    attach(&f, false);
    SEND(&f, WIRE_NODE_JOIN, &j);
    expect_error(&f, 0, RAYWF_E_ARGUMENT, "no sense");
    while (f.link)
        uv_run(&loop, UV_RUN_ONCE);
    flush(&f);
}
END_TEST

/* A node that asks for ever more is told so, and costs no more. */
START_TEST(test_wants_without_end)
{
    static struct fake f;
    f = (struct fake){0};
    attach(&f, false);
    plain_join(&f, "a", 1);
    for (uint64_t i = 1; i <= 4200; i++)
        want_workers(&f, 1, i, 5, 1); /* more than it has */
    Wire__HeadRefuse *r = NULL;
    for (unsigned i = 1; i <= 4200; i++)
        release(want(&f, WIRE_HEAD_REFUSE));
    for (uint64_t i = 1; i <= 4097; i++)
        want_workers(&f, 1, i, 4, 1);
    Wire__HeadGrant *g = want(&f, WIRE_HEAD_GRANT);
    r = want(&f, WIRE_HEAD_REFUSE);
    ck_assert_msg(strstr(r->text, "more than") != NULL, "%s", r->text);
    ck_assert_uint_eq(r->lane, 4097);
    release(r);
    release(g);
    for (uint64_t i = 2; i <= 5000; i++)
        client_join(&f, i);
    ck_assert_uint_eq(count(&f, "jobs"), 4096);
    flush(&f);
}
END_TEST

/* --- actors --- */

START_TEST(test_actor_life)
{
    static struct fake f;
    f = (struct fake){0};
    attach(&f, true);
    plain_join(&f, "a", 1);
    client_join(&f, 7);
    create_actor(&f, 7, 1, (struct actor_is){.max_restarts = 1});
    uint64_t id = found(&f, 1);
    Wire__HeadActorStart *s = want(&f, WIRE_HEAD_ACTOR_START);
    ck_assert_uint_eq(s->spec->actor, id);
    ck_assert_uint_eq(s->lease->actor, id);
    actor_is(&f, id, "alive", 0);
    expect_state(&f, id, "alive");
    actor_died(&f, s);
    expect_state(&f, id, "restarting");
    release(s);
    s = want(&f, WIRE_HEAD_ACTOR_START);
    actor_is(&f, id, "alive", 0);
    expect_state(&f, id, "alive");
    ck_assert(cpu_used(&f) == 1);
    actor_died(&f, s);
    expect_state(&f, id, "dead"); /* once is once */
    ck_assert(cpu_used(&f) == 0);
    release(s);
    create_actor(&f, 7, 2, (struct actor_is){.max_restarts = -1});
    id = found(&f, 2);
    s = want(&f, WIRE_HEAD_ACTOR_START);
    actor_is(&f, id, "dead", RAYWF_ON_ERROR); /* its constructor said no */
    give_back(&f, s->lease->lease);
    expect_state(&f, id, "dead");
    release(s);
    flush(&f);
}
END_TEST

START_TEST(test_actor_names)
{
    static struct fake f, other;
    f = other = (struct fake){0};
    attach(&f, true);
    attach(&other, true);
    plain_join(&f, "a", 1);
    plain_join(&other, "b", 2);
    client_join(&f, 7);
    client_join(&other, 8);
    create_actor(&f, 7, 1, (struct actor_is){.name = "x"});
    uint64_t id = found(&f, 1);
    create_actor(&f, 7, 2, (struct actor_is){.name = "x"});
    expect_error(&f, 2, RAYWF_E_ARGUMENT, "already");
    create_actor(&f, 7, 3, (struct actor_is){.name = "x", .get = true});
    ck_assert_uint_eq(found(&f, 3), id);
    create_actor(&f, 7, 1, (struct actor_is){.name = "x"}); /* said again */
    ck_assert_uint_eq(found(&f, 1), id);
    Wire__ActorFind find = WIRE__ACTOR_FIND__INIT;
    find.request = 4;
    find.name = (char *)"x";
    SEND(&f, WIRE_ACTOR_FIND, &find);
    ck_assert_uint_eq(found(&f, 4), id);
    SEND(&other, WIRE_ACTOR_FIND, &find);
    expect_error(&other, 4, RAYWF_E_ACTOR, "lives on node a");
    find.name = (char *)"y";
    SEND(&f, WIRE_ACTOR_FIND, &find);
    expect_error(&f, 4, RAYWF_E_ACTOR, "no actor named 'y'");
    ck_assert_uint_eq(count(&f, "actors"), 1);
    /* The name is free again after its death. */
    Wire__ActorKill k = WIRE__ACTOR_KILL__INIT;
    k.actor = id;
    SEND(&f, WIRE_ACTOR_KILL, &k);
    Wire__ActorKill *told = want(&f, WIRE_ACTOR_KILL);
    ck_assert_uint_eq(told->actor, id);
    release(told);
    actor_is(&f, id, "dead", RAYWF_ON_EXIT);
    expect_state(&f, id, "dead");
    create_actor(&f, 7, 5, (struct actor_is){.name = "x"});
    ck_assert_uint_ne(found(&f, 5), id);
    flush(&f);
    flush(&other);
}
END_TEST

START_TEST(test_actor_owner_ends)
{
    static struct fake f;
    f = (struct fake){0};
    attach(&f, true);
    plain_join(&f, "a", 1);
    client_join(&f, 7);
    create_actor(&f, 7, 1, (struct actor_is){.max_restarts = -1});
    uint64_t mine = found(&f, 1);
    create_actor(&f, 7, 2, (struct actor_is){.name = "d", .detached = true});
    uint64_t detached = found(&f, 2);
    actor_is(&f, mine, "alive", 0);
    actor_is(&f, detached, "alive", 0);
    client_leave(&f, 7);
    Wire__ActorKill *k = want(&f, WIRE_ACTOR_KILL);
    ck_assert_uint_eq(k->actor, mine);
    release(k);
    actor_is(&f, mine, "dead", RAYWF_ON_EXIT);
    expect_state(&f, mine, "dead"); /* its policy does not matter any more */
    Wire__ActorDrop d = WIRE__ACTOR_DROP__INIT;
    d.actor = detached;
    SEND(&f, WIRE_ACTOR_DROP, &d);
    json_t *list = ask_list(&f, "actors");
    ck_assert_str_eq(
        json_string_value(json_object_get(json_array_get(list, 1), "state")), "alive");
    json_decref(list);
    ck_assert(!has(&f, WIRE_ACTOR_KILL));
    flush(&f);
}
END_TEST

/* --- the head comes back --- */

static Wire__HeadActorStart *start_named(struct fake *f, const char *name)
{
    client_join(f, 7);
    create_actor(f, 7, 1,
                 (struct actor_is){.name = name, .detached = true, .max_restarts = 2});
    uint64_t id = found(f, 1);
    Wire__HeadActorStart *s = want(f, WIRE_HEAD_ACTOR_START);
    actor_is(f, id, "alive", 0);
    expect_state(f, id, "alive");
    return s;
}

/* Its node was silent for too long, and comes back with it: it goes on, unless somebody
 * else has its name now; then those who call it are told. */
START_TEST(test_actor_comes_back)
{
    static struct fake f, other;
    bool taken = _i;
    f = other = (struct fake){0};
    restart_head(SHORT);
    attach(&other, true);
    plain_join(&other, "b", 2);
    client_join(&other, 8);
    attach(&f, false);
    plain_join(&f, "a", 1);
    client_join(&f, 7);
    create_actor(&f, 7, 1, (struct actor_is){.name = "x"});
    uint64_t id = found(&f, 1);
    Wire__HeadActorStart *s = want(&f, WIRE_HEAD_ACTOR_START);
    actor_is(&f, id, "alive", 0);
    expect_state(&f, id, "alive");
    while (f.link) /* closed by the head */
        uv_run(&loop, UV_RUN_ONCE);
    flush(&f);
    if (taken) {
        create_actor(&other, 8, 1, (struct actor_is){.name = "x"});
        ck_assert_uint_ne(found(&other, 1), id);
    }
    attach(&f, false);
    join(&f, "a", 1, 4, &s->lease, 1, &s->spec, 1);
    client_join(&f, 7);
    if (taken) {
        release(want(&f, WIRE_ACTOR_KILL));
        expect_state(&f, id, "dead");
    } else {
        actor_is(&f, id, "alive", 0);
        expect_state(&f, id, "alive");
        ck_assert(!has(&f, WIRE_ACTOR_KILL));
        ck_assert(cpu_used(&f) == 1);
        client_leave(&f, 7); /* and still ends with its creator */
        release(want(&f, WIRE_ACTOR_KILL));
        actor_died(&f, s);
        expect_state(&f, id, "dead");
    }
    release(s);
    flush(&f);
    flush(&other);
}
END_TEST

START_TEST(test_actor_survives_head)
{
    static struct fake f;
    f = (struct fake){0};
    attach(&f, false);
    plain_join(&f, "a", 1);
    Wire__HeadActorStart *s = start_named(&f, "keep");
    restart_head(LONG);
    flush(&f);
    attach(&f, false);
    join(&f, "a", 1, 4, &s->lease, 1, &s->spec, 1);
    actor_is(&f, s->spec->actor, "alive", 0);
    expect_state(&f, s->spec->actor, "alive");
    create_actor(&f, 7, 1, (struct actor_is){.name = "keep"}); /* asked again */
    ck_assert_uint_eq(found(&f, 1), s->spec->actor);
    ck_assert(cpu_used(&f) == 1);
    ck_assert(!has(&f, WIRE_HEAD_ACTOR_START));
    ck_assert(!has(&f, WIRE_ACTOR_KILL));
    /* New leases have numbers that the old head never gave. */
    client_join(&f, 7);
    want_workers(&f, 7, 1, 1, 1);
    Wire__HeadGrant *g = want(&f, WIRE_HEAD_GRANT);
    ck_assert_uint_ne(g->lease->lease, s->lease->lease);
    release(g);
    /* It is gone when the node comes without it: started again. */
    restart_head(LONG);
    flush(&f);
    attach(&f, false);
    join(&f, "a", 1, 4, NULL, 0, NULL, 0);
    Wire__HeadActorStart *again = want(&f, WIRE_HEAD_ACTOR_START);
    ck_assert_uint_eq(again->spec->actor, s->spec->actor);
    ck_assert_str_eq(again->spec->name, "keep");
    release(again);
    release(s);
    flush(&f);
}
END_TEST

/* Its node does not come back with the head: it runs on another one, and when the first
 * appears after all, what runs there is ended: never twice. */
START_TEST(test_actor_never_twice)
{
    static struct fake a, b;
    a = b = (struct fake){0};
    attach(&a, false);
    plain_join(&a, "a", 1);
    Wire__HeadActorStart *s = start_named(&a, "keep");
    restart_head(SHORT);
    flush(&a);
    attach(&b, true);
    plain_join(&b, "b", 2);
    Wire__HeadActorStart *moved = want(&b, WIRE_HEAD_ACTOR_START);
    ck_assert_uint_eq(moved->spec->actor, s->spec->actor);
    actor_is(&b, s->spec->actor, "alive", 0);
    attach(&a, false);
    join(&a, "a", 1, 4, &s->lease, 1, &s->spec, 1);
    Wire__ActorKill *k = want(&a, WIRE_ACTOR_KILL);
    ck_assert_uint_eq(k->actor, s->spec->actor);
    release(k);
    actor_is(&a, s->spec->actor, "dead", RAYWF_ON_EXIT); /* does not touch the other */
    give_back(&a, s->lease->lease);
    json_t *list = ask_list(&b, "actors");
    const json_t *row = json_array_get(list, 0);
    ck_assert_str_eq(json_string_value(json_object_get(row, "state")), "alive");
    ck_assert_str_eq(json_string_value(json_object_get(row, "node")), "b");
    json_decref(list);
    release(moved);
    release(s);
    flush(&a);
    flush(&b);
}
END_TEST

/* --- reservations --- */

START_TEST(test_groups)
{
    static struct fake f;
    f = (struct fake){0};
    attach(&f, false);
    plain_join(&f, "a", 1);
    client_join(&f, 7);
    Wire__Resources r = WIRE__RESOURCES__INIT, *bundles[] = {&r, &r, &r};
    Wire__GroupCreate g = WIRE__GROUP_CREATE__INIT;
    r.cpu = 1;
    g.request = 5;
    g.client = 7;
    g.bundles = bundles;
    g.n_bundles = 3;
    SEND(&f, WIRE_GROUP_CREATE, &g);
    Wire__GroupReady *ready = want(&f, WIRE_GROUP_READY);
    uint64_t id = ready->group;
    ck_assert_uint_eq(ready->request, 5);
    release(ready);
    SEND(&f, WIRE_GROUP_CREATE, &g); /* again: the same */
    ready = want(&f, WIRE_GROUP_READY);
    ck_assert_uint_eq(ready->group, id);
    release(ready);
    g.request = 6;
    SEND(&f, WIRE_GROUP_CREATE, &g); /* no room now */
    ck_assert_uint_eq(count(&f, "groups"), 2);
    ck_assert(!has(&f, WIRE_GROUP_READY));
    Wire__GroupRemove remove = WIRE__GROUP_REMOVE__INIT;
    remove.group = id;
    SEND(&f, WIRE_GROUP_REMOVE, &remove);
    ready = want(&f, WIRE_GROUP_READY);
    ck_assert_uint_eq(ready->request, 6);
    id = ready->group;
    release(ready);
    restart_head(LONG);
    flush(&f);
    attach(&f, false);
    plain_join(&f, "a", 1);
    client_join(&f, 7);
    ready = want(&f, WIRE_GROUP_READY); /* kept, and placed again */
    ck_assert_uint_eq(ready->group, id);
    release(ready);
    ck_assert(cpu_used(&f) == 3);
    client_leave(&f, 7);
    ck_assert_uint_eq(count(&f, "groups"), 0);
    ck_assert(cpu_used(&f) == 0);
    r.cpu = 100;
    client_join(&f, 9);
    g.client = 9;
    SEND(&f, WIRE_GROUP_CREATE, &g);
    expect_error(&f, 6, RAYWF_E_FIT, "cpu");
    flush(&f);
}
END_TEST

/* Of a run: its node has nothing, and its bundles are where there is room. */

static void driver_join(struct fake *f, uint64_t session, uint64_t client)
{
    Wire__NodeJoin j = WIRE__NODE_JOIN__INIT;
    j.name = (char *)"driver";
    j.session = session;
    j.driver = true;
    SEND(f, WIRE_NODE_JOIN, &j);
    release(want(f, WIRE_NODE_WELCOME));
    client_join(f, client);
}

static void gpu_join(struct fake *f, const char *name, uint64_t session)
{
    Wire__Gpu gpu[2] = {WIRE__GPU__INIT, WIRE__GPU__INIT}, *gpus[] = {gpu, gpu + 1};
    Wire__NodeJoin j = WIRE__NODE_JOIN__INIT;
    gpu[1].index = 1;
    j.name = (char *)name;
    j.cpu = 4;
    j.memory = (uint64_t)8 << 30;
    j.session = session;
    j.gpus = gpus;
    j.n_gpus = 2;
    SEND(f, WIRE_NODE_JOIN, &j);
    release(want(f, WIRE_NODE_WELCOME));
}

static void ask_group(struct fake *f, uint64_t request, double gpu, size_t count,
                      unsigned placement, Wire__Place **places)
{
    Wire__Resources r = WIRE__RESOURCES__INIT, *bundles[] = {&r, &r, &r};
    Wire__GroupCreate g = WIRE__GROUP_CREATE__INIT;
    r.cpu = 1;
    r.gpu = gpu;
    g.request = request;
    g.client = 70;
    g.bundles = bundles;
    g.n_bundles = count;
    g.placement = placement;
    g.places = places;
    g.n_places = places ? count : 0;
    SEND(f, WIRE_GROUP_CREATE, &g);
}

START_TEST(test_places)
{
    static struct fake driver, a, b;
    driver = a = b = (struct fake){0};
    attach(&driver, false);
    attach(&a, false);
    attach(&b, false);
    gpu_join(&a, "a", 1);
    gpu_join(&b, "b", 2);
    driver_join(&driver, 9, 70);
    ask_group(&driver, 1, 2, 2, RAYWF_DIFFERENT_NODES, NULL);
    Wire__GroupReady *r = want(&driver, WIRE_GROUP_READY);
    ck_assert_uint_eq(r->request, 1);
    ck_assert_uint_eq(r->n_places, 2);
    ck_assert_str_ne(r->places[0]->name, r->places[1]->name);
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(r->places[i]->n_gpus, 2);
        ck_assert_uint_eq(r->places[i]->gpus[0], 0);
        ck_assert_uint_eq(r->places[i]->gpus[1], 1);
    }
    ask_group(&driver, 2, 1, 1, RAYWF_PACK, NULL); /* no card is free */
    json_t *why = ask_list(&driver, "why");
    const char *text =
        json_string_value(json_object_get(json_array_get(why, 0), "why"));
    ck_assert_msg(text && strstr(text, "1 of 2 gpu"), "%s", text ? text : "");
    json_decref(why);
    ask_group(&driver, 3, 3, 1, RAYWF_PACK, NULL);
    expect_error(&driver, 3, RAYWF_E_FIT, "gpu");
    /* given back by its request, before it was ever answered */
    Wire__GroupRemove remove = WIRE__GROUP_REMOVE__INIT;
    remove.client = 70;
    remove.request = 2;
    SEND(&driver, WIRE_GROUP_REMOVE, &remove);
    ck_assert_uint_eq(count(&driver, "groups"), 1);
    /* a link that is made again: the same answer */
    ask_group(&driver, 1, 2, 2, RAYWF_DIFFERENT_NODES, r->places);
    Wire__GroupReady *again = want(&driver, WIRE_GROUP_READY);
    ck_assert_uint_eq(again->group, r->group);
    release(again);
    release(r);
    flush(&driver);
    flush(&a);
    flush(&b);
}
END_TEST

/* The head was killed: a run says again what it holds, and has it. */
START_TEST(test_places_restored)
{
    static struct fake driver, a;
    driver = a = (struct fake){0};
    attach(&a, false);
    attach(&driver, false);
    gpu_join(&a, "a", 1);
    driver_join(&driver, 9, 70);
    ask_group(&driver, 1, 1, 1, RAYWF_PACK, NULL);
    Wire__GroupReady *r = want(&driver, WIRE_GROUP_READY);
    restart_head(LONG);
    flush(&driver);
    flush(&a);
    attach(&driver, false);
    attach(&a, false);
    driver_join(&driver, 9, 70);
    ck_assert_uint_eq(count(&driver, "groups"), 0); /* it keeps none of a run's */
    r->places[0]->gpus[0] = 1;                      /* the other card */
    ask_group(&driver, 1, 1, 1, RAYWF_PACK, r->places);
    ck_assert(!has(&driver, WIRE_GROUP_READY)); /* its node is not back */
    gpu_join(&a, "a", 1);
    Wire__GroupReady *back = want(&driver, WIRE_GROUP_READY);
    ck_assert_uint_eq(back->request, 1);
    ck_assert_uint_eq(back->places[0]->gpus[0], 1);
    ck_assert(cpu_used(&driver) == 1);
    release(back);
    /* its card is taken: the other one goes to who asks */
    ask_group(&driver, 2, 1, 1, RAYWF_PACK, NULL);
    back = want(&driver, WIRE_GROUP_READY);
    ck_assert_uint_eq(back->places[0]->gpus[0], 0);
    release(back);
    release(r);
    client_leave(&driver, 70);
    ck_assert(cpu_used(&driver) == 0);
    flush(&driver);
    flush(&a);
}
END_TEST

START_TEST(test_places_lost)
{
    static struct fake driver, a, b;
    driver = a = b = (struct fake){0};
    restart_head(SHORT);
    attach(&a, false);
    attach(&driver, false);
    gpu_join(&a, "a", 1);
    driver_join(&driver, 9, 70);
    ask_group(&driver, 1, 1, 1, RAYWF_PACK, NULL);
    release(want(&driver, WIRE_GROUP_READY));
    wire_link_close(a.link);
    for (;;) { /* the driver beats meanwhile */
        Wire__Beat beat = WIRE__BEAT__INIT;
        SEND(&driver, WIRE_BEAT, &beat);
        uv_run(&loop, UV_RUN_ONCE);
        if (has(&driver, WIRE_GROUP_LOST))
            break;
    }
    Wire__GroupLost *lost = want(&driver, WIRE_GROUP_LOST);
    ck_assert_uint_eq(lost->request, 1);
    ck_assert_ptr_nonnull(strstr(lost->text, "gone"));
    release(lost);
    flush(&driver);
    flush(&a);
}
END_TEST

/* --- the head is ended after every message --- */

/* A node that does what it is told, and asks again for what was not answered. */
struct honest {
    struct fake f;
    struct rwf_ids leases;  /* -> Wire__Lease */
    struct rwf_ids running; /* actor -> Wire__ActorSpec */
    uint64_t ids[8];        /* actor by request, 0: not answered */
    unsigned heard;
    int doubles; /* an actor started that runs already */
};

#define ACTORS 3

static void honest_died(struct honest *n, uint64_t actor)
{
    Wire__ActorSpec *spec = rwf_ids_remove(&n->running, actor);
    if (spec)
        release(spec);
    actor_is(&n->f, actor, "dead", RAYWF_ON_EXIT);
}

static void honest_start(struct honest *n, const Wire__HeadActorStart *s)
{
    if (rwf_ids_get(&n->running, s->spec->actor)) {
        n->doubles++;
        return;
    }
    rwf_ids_add(&n->running, s->spec->actor, copy(&s->spec->base));
    rwf_ids_add(&n->leases, s->lease->lease, copy(&s->lease->base));
    actor_is(&n->f, s->spec->actor, "alive", 0);
}

static void honest_hear(struct honest *n, const struct got *g)
{
    const void *b = g->body;
    const Wire__ActorFound *found = b;
    n->heard++;
    if (g->type == WIRE_HEAD_ACTOR_START) {
        honest_start(n, b);
    } else if (g->type == WIRE_HEAD_GRANT) {
        const Wire__Lease *l = ((const Wire__HeadGrant *)b)->lease;
        ck_assert_ptr_null(rwf_ids_get(&n->leases, l->lease)); /* never given twice */
        rwf_ids_add(&n->leases, l->lease, copy(&l->base));
    } else if (g->type == WIRE_ACTOR_FOUND) {
        if (n->ids[found->request] != 0)
            ck_assert_uint_eq(n->ids[found->request], found->actor);
        n->ids[found->request] = found->actor;
    } else if (g->type == WIRE_ACTOR_KILL) {
        honest_died(n, ((const Wire__ActorKill *)b)->actor);
    } else {
        ck_assert_int_ne(g->type, WIRE_ERROR);
        ck_assert_int_ne(g->type, WIRE_HEAD_RECALL);
    }
}

static void honest_hear_all(struct honest *n)
{
    struct got *g;
    while ((g = STAILQ_FIRST(&n->f.got))) {
        STAILQ_REMOVE_HEAD(&n->f.got, next);
        honest_hear(n, g);
        release(g->body);
        free(g);
    }
}

struct rows {
    void **items;
    size_t count, cap;
};

static void add_row(void *ctx, void *item)
{
    struct rows *r = ctx;
    *RWF_PUSH(r->items, r->count, r->cap) = item;
}

static void honest_say_all(struct honest *n)
{
    struct rows leases = {0}, actors = {0};
    static const char *const names[ACTORS] = {"one", NULL, "three"};
    attach(&n->f, false);
    rwf_ids_each(&n->leases, add_row, &leases);
    rwf_ids_each(&n->running, add_row, &actors);
    join(&n->f, "a", 1, 8, (Wire__Lease **)leases.items, leases.count,
         (Wire__ActorSpec **)actors.items, actors.count);
    client_join(&n->f, 7);
    for (size_t i = 0; i < actors.count; i++)
        actor_is(&n->f, ((Wire__ActorSpec *)actors.items[i])->actor, "alive", 0);
    want_workers(&n->f, 7, 1, 1, 2);
    for (unsigned i = 0; i < ACTORS; i++)
        if (n->ids[i + 1] == 0)
            create_actor(&n->f, 7, i + 1,
                         (struct actor_is){.name = names[i], .detached = i == 2});
    free(leases.items);
    free(actors.items);
}

/* Until it has heard `most` messages, or all is as it should be. */
static bool honest_run(struct honest *n, unsigned most)
{
    while (n->heard < most) {
        struct got *g = STAILQ_FIRST(&n->f.got);
        if (g) {
            STAILQ_REMOVE_HEAD(&n->f.got, next);
            honest_hear(n, g);
            release(g->body);
            free(g);
        } else if (n->running.count == ACTORS && n->leases.count == ACTORS + 2 &&
                   n->ids[1] && n->ids[2] && n->ids[3]) {
            return true;
        } else {
            uv_run(&loop, UV_RUN_ONCE);
        }
    }
    return false;
}

static void release_row(void *ctx, void *item)
{
    (void)ctx;
    release(item);
}

static void give_all(void *ctx, void *item)
{
    give_back(ctx, ((Wire__Lease *)item)->lease);
}

START_TEST(test_head_ends_at_every_message)
{
    bool done = false;
    for (unsigned at = 0; !done; at++) {
        static struct honest n;
        n = (struct honest){0};
        ck_assert_uint_lt(at, 100);
        honest_say_all(&n);
        done = honest_run(&n, at);
        restart_head(LONG);
        honest_hear_all(&n); /* what was on its way still comes; no answer does */
        honest_say_all(&n);
        ck_assert(honest_run(&n, UINT32_MAX));
        ck_assert_int_eq(n.doubles, 0);
        ck_assert(cpu_used(&n.f) == ACTORS + 2);
        ck_assert_uint_eq(count(&n.f, "leases"), ACTORS + 2);
        ck_assert(!has(&n.f, WIRE_HEAD_ACTOR_START));
        /* All can be given back: nothing is lost for ever. */
        client_leave(&n.f, 7);
        Wire__ActorKill k = WIRE__ACTOR_KILL__INIT;
        k.actor = n.ids[3];
        SEND(&n.f, WIRE_ACTOR_KILL, &k);
        for (unsigned i = 1; i <= ACTORS; i++)
            actor_is(&n.f, n.ids[i], "dead", RAYWF_ON_EXIT);
        rwf_ids_each(&n.leases, give_all, &n.f);
        ck_assert(cpu_used(&n.f) == 0);
        rwf_ids_each(&n.leases, release_row, NULL);
        rwf_ids_each(&n.running, release_row, NULL);
        rwf_ids_free(&n.leases);
        rwf_ids_free(&n.running);
        restart_head(LONG);
        attach(&n.f, false);
        plain_join(&n.f, "a", 9);
        ck_assert_uint_eq(count(&n.f, "actors"), 0); /* the dead stay dead */
        flush(&n.f);
        end_head();
        rwf_fs_rmtree(dir, NULL);
        ck_assert_int_eq(mkdir(dir, 0700), 0);
        start_head(true, LONG);
    }
}
END_TEST

/* --- the journal --- */

static void count_record(void *ctx, const json_t *record)
{
    ck_assert_ptr_nonnull(json_object_get(record, "n"));
    (*(int *)ctx)++;
}

START_TEST(test_journal_torn_at_every_byte)
{
    struct rwf_err err = RWF_ERR_INIT;
    int n = 0;
    end_head();
    char *path = rwf_fs_join(dir, "journal");
    unlink(path);
    struct rwf_journal *j = rwf_journal_open(dir, count_record, &n, &err);
    ck_assert_msg(j != NULL, "%s", err.text);
    ck_assert_ptr_null(rwf_journal_open(dir, count_record, &n, &err));
    ck_assert_msg(strstr(err.text, "already") != NULL, "%s", err.text);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(rwf_journal_add(j, json_pack("{s:i}", "n", i), true, &err),
                         0);
    rwf_journal_close(j);
    size_t len;
    char *text = rwf_fs_read(path, 4096, &len, NULL);
    for (size_t cut = 0; cut <= len; cut++) {
        n = 0;
        rwf_fs_write(path, text, cut, false, NULL);
        j = rwf_journal_open(dir, count_record, &n, &err);
        ck_assert_msg(j != NULL, "%s", err.text);
        /* A record whose newline alone is missing is whole. */
        ck_assert_int_eq(n, (int)((cut + 1) / (len / 3)));
        rwf_journal_close(j);
    }
    text[len / 2] ^= 1; /* damage in the middle costs that line alone */
    rwf_fs_write(path, text, len, false, NULL);
    n = 0;
    j = rwf_journal_open(dir, count_record, &n, &err);
    ck_assert_int_eq(n, 2);
    rwf_journal_close(j);
    free(text);
    free(path);
    start_head(true, LONG);
}
END_TEST

START_TEST(test_lists)
{
    static const char *const lists[] = {"nodes",  "jobs",   "leases", "actors",
                                        "groups", "status", "why"};
    static struct fake f;
    f = (struct fake){0};
    attach(&f, true);
    plain_join(&f, "a", 1);
    client_join(&f, 7);
    create_actor(&f, 7, 1, (struct actor_is){.name = "\xc3\xa9"});
    want_workers(&f, 7, 1, 1, 9);
    for (size_t i = 0; i < RWF_COUNT(lists); i++) {
        json_t *list = ask_list(&f, lists[i]);
        ck_assert_msg(json_is_object(list) || json_array_size(list) ||
                          strcmp(lists[i], "groups") == 0,
                      "%s is empty", lists[i]);
        json_decref(list);
    }
    Wire__List l = WIRE__LIST__INIT;
    l.request = 4;
    l.what = (char *)"nonsense";
    SEND(&f, WIRE_LIST, &l);
    expect_error(&f, 4, RAYWF_E_ARGUMENT, "no such list");
    flush(&f);
}
END_TEST

/* --- nodes that are emptied --- */

static void drain(struct fake *f, uint64_t request, const char *name, bool undo,
                  int64_t timeout)
{
    Wire__NodeDrain d = WIRE__NODE_DRAIN__INIT;
    d.request = request;
    d.name = (char *)name;
    d.undo = undo;
    d.timeout = timeout;
    SEND(f, WIRE_NODE_DRAIN, &d);
}

static void expect_done(struct fake *f, uint64_t request)
{
    Wire__Done *d = want(f, WIRE_DONE);
    ck_assert_uint_eq(d->request, request);
    release(d);
}

static void expect_recall(struct fake *f, uint64_t lease, bool kill, const char *says)
{
    Wire__HeadRecall *r = want(f, WIRE_HEAD_RECALL);
    ck_assert_uint_eq(r->lease, lease);
    ck_assert_int_eq(r->kill, kill);
    ck_assert_msg(strstr(r->text, says) != NULL, "%s", r->text);
    release(r);
}

static void expect_node(struct fake *f, const char *state)
{
    json_t *list = ask_list(f, "nodes");
    const char *is =
        json_string_value(json_object_get(json_array_get(list, 0), "state"));
    ck_assert_msg(strcmp(is, state) == 0, "the node is %s, not %s", is, state);
    json_decref(list);
}

static uint64_t granted(struct fake *f)
{
    Wire__HeadGrant *g = want(f, WIRE_HEAD_GRANT);
    uint64_t lease = g->lease->lease;
    release(g);
    return lease;
}

START_TEST(test_drain)
{
    static struct fake f;
    f = (struct fake){0};
    attach(&f, true);
    plain_join(&f, "a", 1);
    client_join(&f, 7);
    want_workers(&f, 7, 3, 1, 1);
    uint64_t lease = granted(&f);
    drain(&f, 11, "a", false, LONG);
    expect_recall(&f, lease, false, "its node drains");
    expect_done(&f, 11);
    want_workers(&f, 7, 4, 1, 1);
    expect_node(&f, "draining");
    ck_assert(!has(&f, WIRE_HEAD_GRANT));
    give_back(&f, lease);
    expect_node(&f, "drained");
    ck_assert(!has(&f, WIRE_HEAD_GRANT));
    drain(&f, 12, "a", true, 0);
    granted(&f);
    expect_node(&f, "alive");
    drain(&f, 13, "b", false, 0);
    expect_error(&f, 13, RAYWF_E_ARGUMENT, "there is no node 'b' in this cluster; "
                                           "there are: a");
    flush(&f);
}
END_TEST

START_TEST(test_drain_is_over)
{
    static struct fake f;
    f = (struct fake){0};
    attach(&f, true);
    plain_join(&f, "a", 1);
    client_join(&f, 7);
    want_workers(&f, 7, 3, 1, 1);
    uint64_t lease = granted(&f);
    drain(&f, 11, "a", false, SHORT);
    expect_recall(&f, lease, false, "its node drains");
    expect_recall(&f, lease, true, "node a was drained, and its time was over");
    flush(&f);
}
END_TEST

/* It is drained still when the head comes back: the node says so. */
START_TEST(test_drain_survives_head)
{
    static struct fake f;
    f = (struct fake){0};
    attach(&f, false);
    plain_join(&f, "a", 1);
    drain(&f, 11, "a", false, LONG);
    Wire__NodeDrain *d = want(&f, WIRE_NODE_DRAIN);
    ck_assert(!d->undo && !d->end);
    release(d);
    restart_head(LONG);
    flush(&f);
    attach(&f, false);
    Wire__NodeJoin j = WIRE__NODE_JOIN__INIT;
    j.name = (char *)"a";
    j.cpu = 4;
    j.session = 1;
    j.draining = true;
    SEND(&f, WIRE_NODE_JOIN, &j);
    expect_node(&f, "drained");
    flush(&f);
}
END_TEST

/* One that says that it ends is not waited for. */
START_TEST(test_node_leaves)
{
    static struct fake a, b;
    a = b = (struct fake){0};
    Wire__NodeDrain d = WIRE__NODE_DRAIN__INIT;
    attach(&a, true);
    plain_join(&a, "a", 1);
    attach(&b, false);
    plain_join(&b, "b", 2);
    ck_assert_uint_eq(count(&a, "nodes"), 2);
    d.name = (char *)"b";
    d.end = true;
    SEND(&b, WIRE_NODE_DRAIN, &d);
    wire_link_close(b.link);
    while (count(&a, "nodes") != 1)
        uv_run(&loop, UV_RUN_NOWAIT);
    flush(&a);
    flush(&b);
}
END_TEST

static void on_end(void *ctx)
{
    *(bool *)ctx = true;
}

START_TEST(test_all_end)
{
    static struct fake a, b;
    static bool ended;
    struct head_options o = {.dead_after = LONG, .end = on_end, .other_ctx = &ended};
    Wire__NodeDrain d = WIRE__NODE_DRAIN__INIT, *told;
    a = b = (struct fake){0};
    ended = false;
    end_head();
    head = head_create(&loop, &o, NULL);
    attach(&a, false);
    plain_join(&a, "a", 1);
    attach(&b, false);
    plain_join(&b, "b", 2);
    d.request = 5;
    d.end = true;
    SEND(&a, WIRE_NODE_DRAIN, &d);
    expect_done(&a, 5);
    told = want(&b, WIRE_NODE_DRAIN);
    ck_assert(told->end);
    release(told);
    wire_link_close(b.link);
    while (b.link)
        uv_run(&loop, UV_RUN_ONCE);
    ck_assert(!ended);
    wire_link_close(a.link);
    while (!ended)
        uv_run(&loop, UV_RUN_ONCE);
    flush(&a);
    flush(&b);
}
END_TEST

/* One that was away when all were told to end hears it when it is back: the head would wait for
 * it for ever. */
START_TEST(test_all_end_late)
{
    static struct fake a, b;
    static bool ended;
    struct head_options o = {.dead_after = LONG, .end = on_end, .other_ctx = &ended};
    Wire__NodeDrain d = WIRE__NODE_DRAIN__INIT, *told;
    a = b = (struct fake){0};
    ended = false;
    end_head();
    head = head_create(&loop, &o, NULL);
    attach(&a, false);
    plain_join(&a, "a", 1);
    d.request = 5;
    d.end = true;
    SEND(&a, WIRE_NODE_DRAIN, &d);
    expect_done(&a, 5);
    attach(&b, false);
    plain_join(&b, "b", 2);
    told = want(&b, WIRE_NODE_DRAIN);
    ck_assert(told->end);
    release(told);
    wire_link_close(a.link);
    wire_link_close(b.link);
    while (!ended)
        uv_run(&loop, UV_RUN_ONCE);
    flush(&a);
    flush(&b);
}
END_TEST

/* --- what only a node can answer --- */

START_TEST(test_relay)
{
    static struct fake node, asker;
    node = asker = (struct fake){0};
    Wire__List l = WIRE__LIST__INIT, *got;
    Wire__Listed answer = WIRE__LISTED__INIT, *back;
    attach(&node, false);
    plain_join(&node, "a", 1);
    attach(&asker, false);
    l.request = 8;
    l.what = (char *)"doctor";
    l.about = (char *)"a\nx,y";
    SEND(&asker, WIRE_LIST, &l);
    got = want(&node, WIRE_LIST);
    ck_assert_str_eq(got->about, "x,y");
    answer.request = got->request;
    answer.json = (char *)"{}";
    SEND(&node, WIRE_LISTED, &answer);
    back = want(&asker, WIRE_LISTED);
    ck_assert_uint_eq(back->request, 8);
    ck_assert_str_eq(back->json, "{}");
    release(back);
    release(got);
    SEND(&node, WIRE_LISTED, &answer); /* twice: nobody waits */
    l.about = (char *)"nobody";
    SEND(&asker, WIRE_LIST, &l);
    expect_error(&asker, 8, RAYWF_E_ARGUMENT, "node 'nobody' is not there");
    /* The node goes while it is asked. */
    l.about = (char *)"a";
    SEND(&asker, WIRE_LIST, &l);
    release(want(&node, WIRE_LIST));
    Wire__NodeDrain d = WIRE__NODE_DRAIN__INIT;
    d.name = (char *)"a";
    d.end = true;
    SEND(&node, WIRE_NODE_DRAIN, &d);
    wire_link_close(node.link);
    expect_error(&asker, 8, RAYWF_E_ARGUMENT, "the node is gone");
    flush(&node);
    flush(&asker);
}
END_TEST

/* Who asks goes first. */
START_TEST(test_relay_without_asker)
{
    static struct fake node, asker;
    node = asker = (struct fake){0};
    Wire__List l = WIRE__LIST__INIT, *got;
    Wire__Listed answer = WIRE__LISTED__INIT;
    attach(&node, false);
    plain_join(&node, "a", 1);
    attach(&asker, false);
    l.what = (char *)"doctor";
    l.about = (char *)"a";
    SEND(&asker, WIRE_LIST, &l);
    got = want(&node, WIRE_LIST);
    wire_link_close(asker.link);
    while (asker.link)
        uv_run(&loop, UV_RUN_ONCE);
    answer.request = got->request;
    answer.json = (char *)"{}";
    SEND(&node, WIRE_LISTED, &answer);
    ck_assert_uint_eq(count(&node, "nodes"), 1);
    release(got);
    flush(&node);
    flush(&asker);
}
END_TEST

/* --- between nodes --- */

/* One that others reach. */
static void open_join(struct fake *f, const char *name, uint64_t session, double cpu,
                      Wire__Lease *lease, bool again)
{
    Wire__NodeJoin j = WIRE__NODE_JOIN__INIT;
    j.name = (char *)name;
    j.cpu = cpu;
    j.memory = (uint64_t)8 << 30;
    j.session = session;
    j.peer = (char *)"127.0.0.1:7";
    j.leases = &lease;
    j.n_leases = lease != NULL;
    j.again = again;
    SEND(f, WIRE_NODE_JOIN, &j);
    release(want(f, WIRE_NODE_WELCOME));
}

static Wire__Lease *lent(struct fake *f)
{
    Wire__HeadLend *m = want(f, WIRE_HEAD_LEND);
    Wire__Lease *l = copy(&m->lease->base);
    ck_assert_str_eq(l->home, "a");
    release(m);
    return l;
}

/* a has one core, b two: a's first. */
START_TEST(test_lends)
{
    static struct fake a, b;
    a = b = (struct fake){0};
    attach(&a, false);
    attach(&b, false);
    open_join(&a, "a", 1, 1, NULL, false);
    open_join(&b, "b", 2, 2, NULL, false);
    client_join(&a, 70);
    want_workers(&a, 70, 3, 1, 9);
    release(want(&a, WIRE_HEAD_GRANT));
    Wire__Lease *l[] = {lent(&b), lent(&b)};
    ck_assert_uint_eq(l[0]->client, 70);
    ck_assert_uint_eq(l[0]->lane, 3);
    ck_assert(cpu_used(&a) == 3);
    ck_assert(!has(&a, WIRE_HEAD_GRANT));
    give_back(&a, l[0]->lease); /* it is not a's to return */
    ck_assert(cpu_used(&a) == 3);
    give_back(&b, l[0]->lease);
    release(lent(&b)); /* it is still wanted */
    want_workers(&a, 70, 3, 1, 0);
    give_back(&b, l[1]->lease);
    ck_assert(cpu_used(&b) == 2);
    release(l[0]);
    release(l[1]);
    flush(&a);
    flush(&b);
}
END_TEST

/* Nobody could make a link to a: its clients stay there. */
START_TEST(test_lends_not)
{
    static struct fake a, b;
    a = b = (struct fake){0};
    attach(&a, false);
    attach(&b, false);
    join(&a, "a", 1, 1, NULL, 0, NULL, 0);
    open_join(&b, "b", 2, 2, NULL, false);
    client_join(&a, 70);
    want_workers(&a, 70, 3, 1, 9);
    release(want(&a, WIRE_HEAD_GRANT));
    ck_assert(cpu_used(&a) == 1);
    ck_assert(cpu_used(&b) == 1);
    ck_assert(!has(&b, WIRE_HEAD_LEND));
    flush(&a);
    flush(&b);
}
END_TEST

/* The head comes back; b joins before a, or a (gone) never does. */
START_TEST(test_lent_survives_head)
{
    const bool gone = _i;
    static struct fake a, b;
    a = b = (struct fake){0};
    attach(&a, false);
    attach(&b, false);
    open_join(&a, "a", 1, 0, NULL, false);
    open_join(&b, "b", 2, 1, NULL, false);
    client_join(&a, 70);
    want_workers(&a, 70, 3, 1, 9);
    Wire__Lease *l = lent(&b);
    restart_head(gone ? SHORT : LONG);
    flush(&a);
    flush(&b);
    attach(&b, true);
    open_join(&b, "b", 2, 1, l, true);
    ck_assert(!has(&b, WIRE_HEAD_RECALL));
    if (gone) {
        Wire__HeadRecall *r = want(&b, WIRE_HEAD_RECALL);
        ck_assert_uint_eq(r->lease, l->lease);
        ck_assert(r->kill);
        release(r);
    } else {
        ck_assert(cpu_used(&b) == 0); /* not yet */
        attach(&a, true);
        open_join(&a, "a", 1, 0, NULL, true);
        client_join(&a, 70);
        want_workers(&a, 70, 3, 1, 9);
        ck_assert(cpu_used(&a) == 1);
        ck_assert(!has(&b, WIRE_HEAD_RECALL));
        ck_assert(!has(&b, WIRE_HEAD_LEND));
        give_back(&b, l->lease);
        release(lent(&b));
    }
    release(l);
    flush(&a);
    flush(&b);
}
END_TEST

/* What only a node that has not come back yet can hold is not refused before. */
START_TEST(test_waits_for_nodes)
{
    static struct fake a;
    a = (struct fake){0};
    restart_head(SHORT);
    attach(&a, true);
    open_join(&a, "a", 1, 0, NULL, true);
    client_join(&a, 70);
    want_workers(&a, 70, 3, 1, 9);
    Wire__HeadRefuse *r = want(&a, WIRE_HEAD_REFUSE);
    ck_assert_int_eq(r->code, RAYWF_E_FIT);
    ck_assert_uint_eq(r->lane, 3);
    ck_assert_uint_eq(count(&a, "why"), 0);
    release(r);
    flush(&a);
}
END_TEST

static size_t count_alive(struct fake *f)
{
    json_t *nodes = ask_list(f, "nodes"), *node;
    size_t i, n = 0;
    json_array_foreach(nodes, i, node) n +=
        strcmp(json_string_value(json_object_get(node, "state")), "alive") == 0;
    json_decref(nodes);
    return n;
}

/* Created from a, it is on b; c calls it; b is lost, and it is on c. */
START_TEST(test_actor_elsewhere)
{
    static struct fake a, b, c;
    a = b = c = (struct fake){0};
    attach(&a, false);
    attach(&b, false);
    open_join(&a, "a", 1, 0, NULL, false);
    open_join(&b, "b", 2, 1, NULL, false);
    client_join(&a, 70);
    create_actor(&a, 70, 1, (struct actor_is){.name = "x", .max_restarts = 1});
    uint64_t x = found(&a, 1);
    Wire__HeadActorStart *start = want(&b, WIRE_HEAD_ACTOR_START);
    ck_assert_uint_eq(start->spec->actor, x);
    release(start);
    actor_is(&b, x, "alive", 0);
    for (bool alive = false; !alive;) {
        Wire__ActorState *s = want(&a, WIRE_ACTOR_STATE);
        alive = strcmp(s->state, "alive") == 0;
        ck_assert(!alive || strcmp(s->node, "b") == 0);
        release(s);
    }
    attach(&c, false);
    open_join(&c, "c", 3, 1, NULL, false);
    Wire__ActorFind find = WIRE__ACTOR_FIND__INIT;
    find.request = 5;
    find.name = (char *)"x";
    SEND(&c, WIRE_ACTOR_FIND, &find);
    ck_assert_uint_eq(found(&c, 5), x);
    expect_state(&c, x, "alive");
    wire_link_close(b.link);
    while (b.link)
        uv_run(&loop, UV_RUN_ONCE);
    while (count_alive(&a) == 3) /* the head has heard of it, too */
        uv_run(&loop, UV_RUN_NOWAIT);
    attach(&b, false);
    open_join(&b, "b", 22, 0, NULL, false); /* it was started anew, with nothing */
    expect_state(&c, x, "restarting");
    start = want(&c, WIRE_HEAD_ACTOR_START);
    ck_assert_uint_eq(start->spec->actor, x);
    release(start);
    actor_is(&c, x, "alive", 0);
    expect_state(&a, x, "alive");
    flush(&a);
    flush(&b);
    flush(&c);
}
END_TEST

int main(void)
{
    rwf_log_set_level(RWF_LOG_ERROR); /* it warns of what is done to it here */
    Suite *s = suite_create("head");
    TCase *t = tcase_create("head");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, test_want_grant_return);
    tcase_add_test(t, test_never);
    tcase_add_test(t, test_quota);
    tcase_add_test(t, test_client_leaves);
    tcase_add_test(t, test_link_drops);
    tcase_add_test(t, test_silent_node);
    tcase_add_test(t, test_head_was_held_up);
    tcase_add_test(t, test_bad_joins);
    tcase_add_loop_test(t, test_long_joins, 0, 7);
    tcase_add_test(t, test_wants_without_end);
    tcase_add_test(t, test_actor_life);
    tcase_add_test(t, test_actor_names);
    tcase_add_test(t, test_actor_owner_ends);
    tcase_add_loop_test(t, test_actor_comes_back, 0, 2);
    tcase_add_test(t, test_actor_survives_head);
    tcase_add_test(t, test_actor_never_twice);
    tcase_add_test(t, test_groups);
    tcase_add_test(t, test_places);
    tcase_add_test(t, test_places_restored);
    tcase_add_test(t, test_places_lost);
    tcase_add_test(t, test_head_ends_at_every_message);
    tcase_add_test(t, test_journal_torn_at_every_byte);
    tcase_add_test(t, test_lists);
    tcase_add_test(t, test_drain);
    tcase_add_test(t, test_drain_is_over);
    tcase_add_test(t, test_drain_survives_head);
    tcase_add_test(t, test_node_leaves);
    tcase_add_test(t, test_all_end);
    tcase_add_test(t, test_all_end_late);
    tcase_add_test(t, test_lends);
    tcase_add_test(t, test_lends_not);
    tcase_add_loop_test(t, test_lent_survives_head, 0, 2);
    tcase_add_test(t, test_waits_for_nodes);
    tcase_add_test(t, test_actor_elsewhere);
    tcase_add_test(t, test_relay);
    tcase_add_test(t, test_relay_without_asker);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
