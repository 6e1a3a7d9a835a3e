/* SPDX-License-Identifier: Apache-2.0
 * Objects from one node's store to another's: every size, over connections that break,
 * are spoilt, or lead to nodes that die. */
#include "config.h"
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "peer/tree.h"
#include "peer_rig.h"
#include "store_support.h"

#define CHUNK ((size_t)64 << 10)
#define MIB ((size_t)1 << 20)

static struct rig rig;

static struct peer_stats stats(int i)
{
    struct peer_stats s;

    peer_stats(rig.nodes[i].peer, &s);
    return s;
}

static void open_rig(int nodes, size_t arena)
{
    rig_open(&rig, &(struct rig_options){.nodes = nodes,
                                         .arena = arena,
                                         .chunk = CHUNK,
                                         .spin = -1,
                                         .patience = 300 * RWF_NS_PER_S});
}

static store_object fetch(struct rig_fetch *f, int at, int of, store_object o)
{
    rig_fetch(&rig, f, at, of, o, 0);
    return rig_wait(f);
}

static void give_back(int at, store_object local)
{
    peer_give_back(rig.nodes[at].peer, local);
}

static bool is_done(struct rig_fetch *f)
{
    bool done;

    pthread_mutex_lock(&f->lock);
    done = f->done;
    pthread_mutex_unlock(&f->lock);
    return done;
}

/* --- sizes --- */

START_TEST(test_sizes)
{
    static const size_t sizes[] = {0,     1,         7,         4096,   CHUNK - 1,
                                   CHUNK, CHUNK + 1, 3 * CHUNK, 100001, 9 * MIB + 13};
    struct rig_fetch f;

    open_rig(2, 32 * MIB);
    for (size_t i = 0; i < RWF_COUNT(sizes); i++) {
        store_object o = rig_object(&rig, 0, sizes[i], (uint32_t)i), local;
        local = fetch(&f, 1, 0, o);
        ck_assert_msg(local != 0, "%zu bytes: %s", sizes[i], f.err.text);
        ck_assert_uint_eq(f.size, sizes[i]);
        ck_assert(rig_same(&rig, 1, local, sizes[i], (uint32_t)i));
        ck_assert(peer_has(rig.nodes[1].peer, rig.nodes[0].session, o));
        give_back(1, local);
        store_object_drop(rig.nodes[0].store, o);
    }
    ck_assert_uint_eq(stats(1).fetched, RWF_COUNT(sizes));
    ck_assert_int_eq(atomic_load(&rig.connects), 1);
    rig_close(&rig);
}
END_TEST

START_TEST(test_large)
{
    struct rig_fetch f;
    size_t size = 100 * MIB;

    rig_open(&rig, &(struct rig_options){.nodes = 2, .arena = 128 * MIB, .spin = -1});
    store_object o = rig_object(&rig, 0, size, 5), local = fetch(&f, 1, 0, o);
    ck_assert_msg(local != 0, "%s", f.err.text);
    ck_assert(rig_same(&rig, 1, local, size, 5));
    ck_assert_uint_eq(stats(1).bytes_in, size);
    give_back(1, local);
    rig_close(&rig);
}
END_TEST

START_TEST(test_own)
{
    struct rig_fetch f;

    open_rig(1, 8 * MIB);
    store_object o = rig_object(&rig, 0, 1000, 1);
    ck_assert_uint_eq(fetch(&f, 0, 0, o), o);
    ck_assert_uint_eq(f.size, 1000);
    store_object_drop(rig.nodes[0].store, o);
    ck_assert_int_eq(store_object_size(rig.nodes[0].store, o), 1000); /* it is held */
    give_back(0, o);
    RIG_UNTIL(store_object_size(rig.nodes[0].store, o) < 0);
    ck_assert_uint_eq(fetch(&f, 0, 0, o), 0);
    ck_assert_int_eq(f.err.code, ENOENT);
    rig_close(&rig);
}
END_TEST

/* --- the same one, many times --- */

START_TEST(test_together)
{
    enum { N = 20 };
    struct rig_fetch f[N];
    size_t size;

    open_rig(2, 32 * MIB);
    store_object o = rig_object(&rig, 0, 5 * MIB, 3);
    for (int i = 0; i < N; i++)
        rig_fetch(&rig, &f[i], 1, 0, o, 0);
    for (int i = 0; i < N; i++)
        ck_assert_uint_eq(rig_wait(&f[i]), f[0].local);
    ck_assert_uint_ne(f[0].local, 0);
    ck_assert_uint_eq(stats(1).bytes_in, 5 * MIB);
    ck_assert_uint_eq(peer_local(rig.nodes[1].peer, rig.nodes[0].session, o, &size),
                      f[0].local);
    ck_assert_uint_eq(size, 5 * MIB);
    for (int i = 0; i < N + 1; i++)
        give_back(1, f[0].local);
    /* Nobody uses it, its owner drops it: so it goes. */
    store_object_drop(rig.nodes[0].store, o);
    RIG_UNTIL(store_object_size(rig.nodes[0].store, o) < 0);
    RIG_UNTIL(!peer_has(rig.nodes[1].peer, rig.nodes[0].session, o));
    ck_assert_int_lt(store_object_size(rig.nodes[1].store, f[0].local), 0);
    rig_close(&rig);
}
END_TEST

/* What came from another node is passed on as an object of this one. */
START_TEST(test_passed_on)
{
    struct rig_fetch f, g;

    open_rig(3, 16 * MIB);
    store_object o = rig_object(&rig, 0, 2 * MIB, 9), local = fetch(&f, 1, 0, o), far;
    ck_assert_uint_ne(local, 0);
    ck_assert_int_eq(peer_lend(rig.nodes[1].peer, rig.nodes[2].session, local), 0);
    give_back(1, local);
    rig_fetch(&rig, &g, 2, 1, local, PEER_LENT);
    far = rig_wait(&g);
    ck_assert_msg(far != 0, "%s", g.err.text);
    ck_assert(rig_same(&rig, 2, far, 2 * MIB, 9));
    RIG_UNTIL(stats(1).lent == 0);
    give_back(2, far);
    rig_close(&rig);
}
END_TEST

/* --- what breaks --- */

struct cutter {
    _Atomic bool stop;
    unsigned cuts;
};

static void *cut_often(void *ctx)
{
    struct cutter *c = ctx;
    unsigned seed = 11;
    uint64_t came = 0;

    while (!atomic_load(&c->stop)) {
        usleep((useconds_t)(rand_r(&seed) % 20000));
        uint64_t now = stats(1).bytes_in;
        if (now == came) /* a slow machine is to come on, too */
            continue;
        came = now;
        rig_cut(&rig);
        c->cuts++;
    }
    return NULL;
}

START_TEST(test_cuts)
{
    struct cutter c = {false, 0};
    struct rig_fetch f;
    pthread_t thread;
    size_t size = 48 * MIB + 5;

    open_rig(2, 64 * MIB);
    store_object o = rig_object(&rig, 0, size, 8), local;
    rig_fetch(&rig, &f, 1, 0, o, 0);
    pthread_create(&thread, NULL, cut_often, &c);
    local = rig_wait(&f);
    atomic_store(&c.stop, true);
    pthread_join(thread, NULL);
    ck_assert_msg(local != 0, "%s", f.err.text);
    ck_assert(rig_same(&rig, 1, local, size, 8));
    /* What came before a cut does not come again. */
    ck_assert_uint_eq(stats(1).bytes_in, size);
    give_back(1, local);
    rig_close(&rig);
}
END_TEST

/* Somebody in between, who spoils a bit of what he passes on from `to` to `from`. */
struct spoiler {
    int near, far;
    size_t at; /* the first byte after so many; and again after each `every` */
    size_t every;
    pthread_t thread;
};
static struct spoiler spoilers[RIG_MAX];
static int spoiler_count;

static void spoil(struct spoiler *s, unsigned char *bytes, size_t from, size_t len)
{
    while (s->at < from + len) {
        bytes[s->at - from] ^= 0x10;
        s->at += s->every ? s->every : SIZE_MAX / 2;
    }
}

static bool pass(int from, int to, struct spoiler *s, size_t *done)
{
    unsigned char bytes[65536];
    ssize_t n = recv(from, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN;
    if (n == 0)
        return false;
    if (s)
        spoil(s, bytes, *done, (size_t)n);
    *done += (size_t)n;
    for (ssize_t k = 0, m; k < n; k += m)
        if ((m = send(to, bytes + k, (size_t)(n - k), MSG_NOSIGNAL)) < 0)
            return false;
    return true;
}

static void *pass_on(void *ctx)
{
    struct spoiler *s = ctx;
    size_t there = 0, back = 0;

    while (pass(s->near, s->far, NULL, &there) && pass(s->far, s->near, s, &back))
        usleep(50);
    close(s->near);
    close(s->far);
    return NULL;
}

static size_t spoil_at, spoil_every;

static void spoilt(struct rig *r, int from, int to, int ret_fds[2])
{
    struct spoiler *s = &spoilers[spoiler_count++];
    int a[2], b[2];

    (void)r;
    (void)from;
    (void)to;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b), 0);
    *s = (struct spoiler){a[1], b[0], spoil_at, spoil_every, 0};
    ret_fds[0] = a[0];
    ret_fds[1] = b[1];
    pthread_create(&s->thread, NULL, pass_on, s);
}

static void end_spoilers(void)
{
    for (int i = 0; i < spoiler_count; i++)
        pthread_join(spoilers[i].thread, NULL);
    spoiler_count = 0;
}

START_TEST(test_damaged_once)
{
    struct rig_fetch f;

    open_rig(2, 16 * MIB);
    rig.between = spoilt;
    spoil_at = 3 * CHUNK + 777; /* within the data of a chunk */
    spoil_every = 0;
    store_object o = rig_object(&rig, 0, MIB, 4), local = fetch(&f, 1, 0, o);
    ck_assert_msg(local != 0, "%s", f.err.text);
    ck_assert(rig_same(&rig, 1, local, MIB, 4));
    ck_assert_uint_eq(stats(1).again, 1);
    give_back(1, local);
    rig_close(&rig);
    end_spoilers();
}
END_TEST

START_TEST(test_damaged_always)
{
    struct rig_fetch f;

    open_rig(2, 16 * MIB);
    rig.between = spoilt;
    spoil_at = 1000; /* after the heads, once in each chunk */
    spoil_every = CHUNK + 40;
    store_object o = rig_object(&rig, 0, CHUNK, 4), local = fetch(&f, 1, 0, o);
    ck_assert_uint_eq(local, 0);
    ck_assert_int_eq(f.err.code, EILSEQ);
    ck_assert_msg(strstr(f.err.text, "node n1") && strstr(f.err.text, "node n0") &&
                      strstr(f.err.text, "chunk 0"),
                  "%s", f.err.text);
    rig_close(&rig);
    end_spoilers();
}
END_TEST

START_TEST(test_garbage)
{
    static const unsigned char bytes[3][40] = {
        {0xff, 0xff, 0xff, 0xff, 1}, {24, 0, 0, 0, 99}, {3, 0, 0, 0, 1}};
    struct rig_fetch f;
    char c;

    open_rig(2, 16 * MIB);
    for (int i = 0; i < 3; i++) {
        int fds[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        peer_attach(rig.nodes[0].peer, 55, "bad", PEER_BULK, false, fds[0], bytes[i],
                    i == 1 ? 40 : 3);
        send(fds[1], bytes[i] + 3, 37, MSG_NOSIGNAL); /* it may be ended already */
        ck_assert_int_le(recv(fds[1], &c, 1, 0), 0);  /* it is ended */
        close(fds[1]);
    }
    store_object o = rig_object(&rig, 0, MIB, 4), local = fetch(&f, 1, 0, o);
    ck_assert_uint_ne(local, 0);
    give_back(1, local);
    rig_close(&rig);
}
END_TEST

START_TEST(test_node_gone)
{
    struct rig_fetch f;

    open_rig(2, 16 * MIB);
    store_object o = rig_object(&rig, 0, MIB, 4);
    rig.refuse = true; /* it waits for a connection */
    rig_fetch(&rig, &f, 1, 0, o, 0);
    RIG_UNTIL(atomic_load(&rig.connects) >= 3);
    rig_kill(&rig, 0);
    ck_assert_uint_eq(rig_wait(&f), 0);
    ck_assert_int_eq(f.err.code, EHOSTUNREACH);
    ck_assert_msg(strstr(f.err.text, "the node has left") != NULL, "%s", f.err.text);
    rig_close(&rig);
}
END_TEST

START_TEST(test_we_end)
{
    struct rig_fetch f;

    open_rig(2, 16 * MIB);
    rig.refuse = true;
    rig_fetch(&rig, &f, 1, 0, 0x100000001, 0);
    rig_kill(&rig, 1);
    rig_close(&rig);
    ck_assert_uint_eq(rig_wait(&f), 0);
    ck_assert_int_eq(f.err.code, ECANCELED);
}
END_TEST

/* --- the store --- */

START_TEST(test_no_room)
{
    struct rig_fetch f;
    size_t size;

    open_rig(2, 8 * MIB);
    store_object o = rig_object(&rig, 0, 5 * MIB, 1);
    store_object mine = rig_object(&rig, 1, 5 * MIB, 2);
    ck_assert_ptr_nonnull(store_object_pin(rig.nodes[1].store, mine, 0, &size, NULL));
    rig_fetch(&rig, &f, 1, 0, o, 0);
    usleep(200000);
    ck_assert(!is_done(&f)); /* it waits for room, which comes */
    store_object_unpin(rig.nodes[1].store, mine);
    store_object_drop(rig.nodes[1].store, mine);
    ck_assert_uint_ne(rig_wait(&f), 0);
    ck_assert(rig_same(&rig, 1, f.local, 5 * MIB, 1));
    give_back(1, f.local);
    rig_close(&rig);
}
END_TEST

START_TEST(test_room_never_comes)
{
    struct rig_fetch f;
    size_t size;

    rig_open(&rig, &(struct rig_options){.nodes = 2,
                                         .arena = 16 * MIB,
                                         .last_arena = 8 * MIB,
                                         .spin = -1,
                                         .patience = 2 * RWF_NS_PER_S});
    store_object o = rig_object(&rig, 0, 5 * MIB, 1);
    store_object mine = rig_object(&rig, 1, 5 * MIB, 2);
    ck_assert_ptr_nonnull(store_object_pin(rig.nodes[1].store, mine, 0, &size, NULL));
    ck_assert_uint_eq(fetch(&f, 1, 0, o), 0);
    ck_assert_int_eq(f.err.code, ETIMEDOUT);
    ck_assert_msg(strstr(f.err.text, "node n1") &&
                      strstr(f.err.text, "no room for 5.0 MiB"),
                  "%s", f.err.text);
    /* What nobody uses gives way. */
    store_object_unpin(rig.nodes[1].store, mine);
    store_object_drop(rig.nodes[1].store, mine);
    ck_assert_uint_ne(fetch(&f, 1, 0, o), 0);
    give_back(1, f.local);
    store_object other = rig_object(&rig, 0, 2 * MIB + 1, 3);
    ck_assert_uint_ne(fetch(&f, 1, 0, other), 0);
    give_back(1, f.local);
    ck_assert(!peer_has(rig.nodes[1].peer, rig.nodes[0].session, o));
    rig_close(&rig);
}
END_TEST

START_TEST(test_never_fits)
{
    struct rig_fetch f;

    rig_open(&rig,
             &(struct rig_options){
                 .nodes = 2, .arena = 32 * MIB, .last_arena = 4 * MIB, .spin = -1});
    store_object o = rig_object(&rig, 0, 20 * MIB, 1);
    ck_assert_uint_eq(fetch(&f, 1, 0, o), 0);
    ck_assert_int_eq(f.err.code, ENOSPC);
    ck_assert_msg(strstr(f.err.text, "node n1") && strstr(f.err.text, "20 MiB") &&
                      strstr(f.err.text, "4.0 MiB"),
                  "%s", f.err.text);
    rig_close(&rig);
}
END_TEST

START_TEST(test_spilled)
{
    struct rig_fetch f[6];
    store_object o[6];

    rig_open(
        &rig,
        &(struct rig_options){
            .nodes = 2, .arena = 8 * MIB, .chunk = CHUNK, .spin = -1, .spill = true});
    for (int i = 0; i < 6; i++) /* more than there is room for: some lie on disk */
        o[i] = rig_object(&rig, 0, 2 * MIB + 100, (uint32_t)i);
    for (int i = 0; i < 6; i++)
        rig_fetch(&rig, &f[i], 1, 0, o[i], 0);
    for (int i = 0; i < 6; i++) {
        ck_assert_msg(rig_wait(&f[i]) != 0, "%s", f[i].err.text);
        ck_assert(rig_same(&rig, 1, f[i].local, 2 * MIB + 100, (uint32_t)i));
    }
    for (int i = 0; i < 6; i++)
        give_back(1, f[i].local);
    rig_close(&rig);
}
END_TEST

START_TEST(test_freed)
{
    struct rig_fetch f;

    open_rig(2, 64 * MIB);
    store_object o = rig_object(&rig, 0, 30 * MIB, 4);
    rig_fetch(&rig, &f, 1, 0, o, 0);
    RIG_UNTIL(stats(1).bytes_in > 0);
    store_object_drop(rig.nodes[0].store, o); /* it lives until it is there */
    ck_assert_msg(rig_wait(&f) != 0, "%s", f.err.text);
    ck_assert(rig_same(&rig, 1, f.local, 30 * MIB, 4));
    give_back(1, f.local);
    RIG_UNTIL(store_object_size(rig.nodes[0].store, o) < 0);
    RIG_UNTIL(!peer_has(rig.nodes[1].peer, rig.nodes[0].session, o));
    rig_fetch(&rig, &f, 1, 0, o, 0);
    ck_assert_uint_eq(rig_wait(&f), 0);
    ck_assert_int_eq(f.err.code, ENOENT);
    ck_assert_msg(strstr(f.err.text, "node n0") != NULL, "%s", f.err.text);
    rig_close(&rig);
}
END_TEST

START_TEST(test_lent)
{
    struct rig_fetch f;
    struct store *s;
    store_object o;

    open_rig(2, 16 * MIB);
    s = rig.nodes[0].store;
    for (int round = 0; round < 3; round++) {
        o = rig_object(&rig, 0, MIB, 4);
        ck_assert_int_eq(peer_lend(rig.nodes[0].peer, rig.nodes[1].session, o), 0);
        store_object_drop(s, o);
        usleep(round == 0 ? 700000 : 0);
        ck_assert_int_eq(store_object_size(s, o), (int64_t)MIB);
        if (round == 0) { /* it is fetched */
            rig_fetch(&rig, &f, 1, 0, o, PEER_LENT);
            ck_assert_uint_ne(rig_wait(&f), 0);
            give_back(1, f.local);
        } else if (round == 1) { /* not wanted */
            peer_refuse(rig.nodes[1].peer, rig.nodes[0].session, o);
        } else { /* its borrower dies */
            rig_kill(&rig, 1);
        }
        RIG_UNTIL(store_object_size(s, o) < 0);
        ck_assert_uint_eq(stats(0).lent, 0);
        ck_assert_int_eq(peer_lend(rig.nodes[0].peer, rig.nodes[1].session, o), -1);
    }
    rig_close(&rig);
}
END_TEST

/* --- trees --- */

static const struct peer__puller *get_puller(const struct peer__tree *t,
                                             uint64_t session)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->pullers[i].session == session)
            return &t->pullers[i];
    return NULL;
}

static void look_at_tree(const struct peer__tree *t)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct peer__puller *p = &t->pullers[i];
        unsigned children = 0;
        size_t steps = 0;
        for (size_t k = 0; k < t->count; k++)
            children += !t->pullers[k].complete && t->pullers[k].parent == p->session;
        ck_assert_uint_le(children, 2);
        while (p && !p->complete && p->parent) {
            p = get_puller(t, p->parent);
            ck_assert_uint_le(++steps, t->count);
        }
    }
}

/* Whoever comes, asks again, ends and leaves, in whatever order: no circles, nobody is
 * sent to by more than it may be, nobody gets it from whom he avoids. */
START_TEST(test_tree_random)
{
    uint64_t seed = 42 + (uint64_t)_i;
    struct peer__tree t = {0};

    for (int step = 0; step < 3000; step++) {
        uint64_t who = 1 + next_random(&seed) % 12, avoid = next_random(&seed) % 13;
        unsigned what = (unsigned)(next_random(&seed) % 8);
        if (what == 0) {
            peer__tree_leave(&t, who);
        } else if (what <= 2) {
            peer__tree_done(&t, who);
        } else {
            if (what == 3)
                avoid = PEER__AVOID_ALL;
            uint64_t from = peer__tree_place(&t, who, avoid, 2);
            ck_assert(from != who && (from == 0 || from != avoid));
            ck_assert(avoid != PEER__AVOID_ALL || from == 0);
            ck_assert(from == 0 || get_puller(&t, from));
        }
        look_at_tree(&t);
    }
    peer__tree_free(&t);
}
END_TEST

START_TEST(test_tree)
{
    enum { N = 9 };
    struct rig_fetch f[N];
    size_t size = 12 * MIB;

    open_rig(N, 16 * MIB);
    store_object o = rig_object(&rig, 0, size, 6);
    for (int i = 1; i < N; i++)
        rig_fetch(&rig, &f[i], i, 0, o, 0);
    for (int i = 1; i < N; i++) {
        ck_assert_msg(rig_wait(&f[i]) != 0, "%s", f[i].err.text);
        ck_assert(rig_same(&rig, i, f[i].local, size, 6));
    }
    /* Some of it was passed on by others. */
    ck_assert_uint_lt(stats(0).bytes_out, 8 * size);
    RIG_UNTIL(stats(0).served == 8);
    for (int i = 1; i < N; i++)
        give_back(i, f[i].local);
    rig_close(&rig);
}
END_TEST

/* Whoever passes it on dies in the midst of it. */
START_TEST(test_tree_dies)
{
    enum { N = 8 };
    struct rig_fetch f[N];
    size_t size = 40 * MIB;

    open_rig(N, 48 * MIB);
    store_object o = rig_object(&rig, 0, size, 7);
    for (int i = 1; i < N; i++)
        rig_fetch(&rig, &f[i], i, 0, o, 0);
    RIG_UNTIL(stats(1).bytes_in > 2 * MIB);
    rig_kill(&rig, 1);
    RIG_UNTIL(stats(2).bytes_in > 4 * MIB);
    rig_kill(&rig, 2);
    for (int i = 1; i < N; i++) {
        rig_wait(&f[i]);
        if (i <= 2)
            continue;
        ck_assert_msg(f[i].local != 0, "%s", f[i].err.text);
        ck_assert(rig_same(&rig, i, f[i].local, size, 7));
        give_back(i, f[i].local);
    }
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("peer object");
    TCase *t = tcase_create("objects");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, test_sizes);
    tcase_add_test(t, test_large);
    tcase_add_test(t, test_own);
    tcase_add_test(t, test_together);
    tcase_add_test(t, test_passed_on);
    tcase_add_test(t, test_cuts);
    tcase_add_test(t, test_damaged_once);
    tcase_add_test(t, test_damaged_always);
    tcase_add_test(t, test_garbage);
    tcase_add_test(t, test_node_gone);
    tcase_add_test(t, test_we_end);
    tcase_add_test(t, test_no_room);
    tcase_add_test(t, test_room_never_comes);
    tcase_add_test(t, test_never_fits);
    tcase_add_test(t, test_spilled);
    tcase_add_test(t, test_freed);
    tcase_add_test(t, test_lent);
    tcase_add_loop_test(t, test_tree_random, 0, 10);
    tcase_add_test(t, test_tree);
    tcase_add_test(t, test_tree_dies);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
