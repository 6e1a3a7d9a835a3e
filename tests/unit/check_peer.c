/* SPDX-License-Identifier: Apache-2.0
 * Connections for records between planes: order, back-pressure, ends. */
#include "config.h"
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "peer_rig.h"

static struct rig rig;

/* What node 1 hears. */
static _Atomic unsigned long heard, wrong;
static _Atomic int closed, closed_code, drained;
static _Atomic uint64_t next_of[8]; /* by channel */
static char closed_text[256];

static void on_record(void *ctx, struct peer_conn *c, const struct peer_record *r,
                      const void *data)
{
    const unsigned char *bytes = data;
    uint64_t number = 0;

    (void)ctx;
    if (r->kind == 9) { /* asks for an echo */
        struct iovec v = {(void *)(uintptr_t)data, r->size};
        peer_send(c, 10, r->flags, r->channel, &v, 1);
    }
    if (r->size >= 8)
        memcpy(&number, bytes, 8);
    if (r->kind == 7 && number != atomic_fetch_add(&next_of[r->channel & 7], 1))
        atomic_fetch_add(&wrong, 1);
    for (uint32_t i = 8; i < r->size; i += 997)
        if (bytes[i] != (unsigned char)(number + i))
            atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&heard, 1);
}

static void on_closed(void *ctx, struct peer_conn *c, const struct rwf_err *err)
{
    (void)ctx;
    (void)c;
    atomic_store(&closed_code, err ? err->code : 0);
    if (err)
        memcpy(closed_text, err->text, sizeof(closed_text) - 1);
    atomic_fetch_add(&closed, 1);
}

static void on_drained(void *ctx, struct peer_conn *c)
{
    (void)ctx;
    (void)c;
    atomic_fetch_add(&drained, 1);
}

static void setup(int64_t spin)
{
    const struct peer_handler h = {NULL, on_record, on_drained, on_closed};

    atomic_store(&heard, 0);
    atomic_store(&wrong, 0);
    atomic_store(&closed, 0);
    atomic_store(&drained, 0);
    for (int i = 0; i < 8; i++)
        atomic_store(&next_of[i], 0);
    rig_open(&rig, &(struct rig_options){.nodes = 2, .arena = 1 << 22, .spin = spin});
    peer_handle(rig.nodes[0].peer, &h);
    peer_handle(rig.nodes[1].peer, &h);
}

static void fill(unsigned char *bytes, uint64_t number, size_t size)
{
    memcpy(bytes, &number, 8);
    for (size_t i = 8; i < size; i++)
        bytes[i] = (unsigned char)(number + i);
}

static int send_one(struct peer_conn *c, uint64_t channel, uint64_t number, size_t size,
                    bool now)
{
    static _Thread_local unsigned char bytes[PEER_RECORD_MAX];
    struct iovec v[2] = {{bytes, 8}, {bytes + 8, size - 8}};

    fill(bytes, number, size);
    return (now ? peer_send : peer_queue)(c, 7, 3, channel, v, 2);
}

START_TEST(test_sizes)
{
    static const size_t sizes[] = {8,     9,      255,    4096,   65535,          65536,
                                   70000, 262144, 500000, 999999, PEER_RECORD_MAX};
    setup(-1);
    struct peer_conn *c = peer_conn_to(rig.nodes[0].peer, rig.nodes[1].session);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        ck_assert_int_ge(send_one(c, 0, i, sizes[i], true), 0);
    RIG_UNTIL(atomic_load(&heard) == sizeof(sizes) / sizeof(sizes[0]));
    ck_assert_uint_eq(atomic_load(&wrong), 0);
    /* There is one connection, for both directions. */
    struct peer_conn *back = peer_conn_to(rig.nodes[1].peer, rig.nodes[0].session);
    ck_assert_int_ge(peer_send(back, 8, 0, 0, NULL, 0), 0);
    RIG_UNTIL(atomic_load(&heard) == sizeof(sizes) / sizeof(sizes[0]) + 1);
    ck_assert_int_eq(atomic_load(&rig.connects), 1);
    ck_assert_uint_eq(peer_conn_session(back), rig.nodes[0].session);
    peer_conn_release(back);
    peer_conn_release(c);
    rig_close(&rig);
}
END_TEST

struct sender {
    struct peer_conn *conn;
    uint64_t channel;
    int count;
};

static void *send_many(void *ctx)
{
    struct sender *s = ctx;

    for (int i = 0; i < s->count; i++) {
        send_one(s->conn, s->channel, (uint64_t)i, 8 + (size_t)(i % 300), i % 7 == 0);
        if (i % 64 == 0)
            peer_flush(s->conn);
    }
    peer_flush(s->conn);
    return NULL;
}

START_TEST(test_threads)
{
    struct sender senders[4];
    pthread_t threads[4];

    setup(_i ? 30000 : -1);
    struct peer_conn *c = peer_conn_to(rig.nodes[0].peer, rig.nodes[1].session);
    for (int i = 0; i < 4; i++) {
        senders[i] = (struct sender){c, (uint64_t)i, 20000};
        pthread_create(&threads[i], NULL, send_many, &senders[i]);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    RIG_UNTIL(atomic_load(&heard) == 80000);
    ck_assert_uint_eq(atomic_load(&wrong), 0);
    peer_conn_release(c);
    rig_close(&rig);
}
END_TEST

START_TEST(test_echo)
{
    setup(_i ? 30000 : -1);
    struct peer_conn *c = peer_conn_to(rig.nodes[0].peer, rig.nodes[1].session);
    uint64_t number = 0;
    struct iovec v = {&number, 8};
    for (unsigned i = 0; i < 500; i++) {
        ck_assert_int_eq(peer_send(c, 9, 0, 5, &v, 1), 0);
        RIG_UNTIL(atomic_load(&heard) == 2 * (i + 1));
    }
    peer_conn_release(c);
    rig_close(&rig);
}
END_TEST

/* Node 1's end is a socket that nobody reads until the test does. */
static int bare[2];

static void to_nobody(struct rig *r, int from, int to, int ret_fds[2])
{
    int other[2];

    (void)r;
    (void)from;
    (void)to;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, bare), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other), 0);
    ret_fds[0] = bare[0];
    ret_fds[1] = other[1];
    close(other[0]);
}

START_TEST(test_pressure)
{
    char sink[65536];
    int rc = 0;
    uint64_t i;

    setup(-1);
    rig.between = to_nobody;
    struct peer_conn *c = peer_conn_to(rig.nodes[0].peer, rig.nodes[1].session);
    for (i = 0; i < 10000 && rc == 0; i++)
        rc = send_one(c, 0, i, 100000, true);
    ck_assert_int_eq(rc, 1); /* pause */
    ck_assert_uint_ge(i * 100016, PEER_WINDOW);
    ck_assert_int_eq(atomic_load(&drained), 0);
    while (atomic_load(&drained) == 0)
        if (recv(bare[1], sink, sizeof(sink), MSG_DONTWAIT) < 0)
            usleep(100);
    /* Who does not pause is ended. */
    for (i = 0; i < 10000 && rc >= 0; i++)
        rc = send_one(c, 0, i, 1000000, true);
    ck_assert_int_eq(rc, -1);
    RIG_UNTIL(atomic_load(&closed) >= 2); /* also node 1's broken end */
    ck_assert_int_eq(peer_send(c, 1, 0, 0, NULL, 0), -1);
    peer_conn_release(c);
    close(bare[1]);
    rig_close(&rig);
}
END_TEST

START_TEST(test_garbage)
{
    static const struct {
        struct peer_record r;
        size_t len;
        int code;
    } cases[] = {
        {{.size = PEER_RECORD_MAX + 1}, 16, EPROTO},
        {{.size = UINT32_MAX}, 16, EPROTO},
        {{.size = 100}, 16, EPROTO}, /* ends in the middle */
        {{.size = 0}, 7, EPROTO},
        {{.size = 0}, 16, 0},
    };
    int fds[2];

    setup(-1);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    peer_attach(rig.nodes[0].peer, 7, "bad", PEER_CALLS, false, fds[0], &cases[_i].r,
                cases[_i].len / 2);
    ck_assert_int_eq(write(fds[1], (const char *)&cases[_i].r + cases[_i].len / 2,
                           cases[_i].len - cases[_i].len / 2),
                     (ssize_t)(cases[_i].len - cases[_i].len / 2));
    shutdown(fds[1], SHUT_WR);
    RIG_UNTIL(atomic_load(&closed) == 1);
    ck_assert_int_eq(atomic_load(&closed_code), cases[_i].code);
    if (cases[_i].code)
        ck_assert_msg(strstr(closed_text, "node bad") != NULL, "%s", closed_text);
    close(fds[1]);
    rig_close(&rig);
}
END_TEST

START_TEST(test_unreachable)
{
    setup(-1);
    rig.refuse = true;
    struct peer_conn *c = peer_conn_to(rig.nodes[0].peer, rig.nodes[1].session);
    RIG_UNTIL(atomic_load(&closed) == 1);
    ck_assert_int_eq(atomic_load(&closed_code), EHOSTUNREACH);
    ck_assert_int_eq(peer_send(c, 1, 0, 0, NULL, 0), -1);
    peer_conn_release(c);
    rig.refuse = false;
    c = peer_conn_to(rig.nodes[0].peer, rig.nodes[1].session);
    ck_assert_int_eq(send_one(c, 0, 0, 8, true), 0);
    RIG_UNTIL(atomic_load(&heard) == 1);
    rig_kill(&rig, 1);
    RIG_UNTIL(atomic_load(&closed) >= 2);
    peer_conn_release(c);
    rig_close(&rig);
}
END_TEST

static void count_up(void *ctx)
{
    atomic_fetch_add((_Atomic int *)ctx, 1);
}

START_TEST(test_post)
{
    _Atomic int count = 0;

    setup(-1);
    for (int i = 0; i < 1000; i++)
        peer_post(rig.nodes[0].peer, count_up, &count);
    rig_close(&rig);
    ck_assert_int_eq(count, 1000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("peer");
    TCase *t = tcase_create("records");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, test_sizes);
    tcase_add_loop_test(t, test_threads, 0, 2);
    tcase_add_loop_test(t, test_echo, 0, 2);
    tcase_add_test(t, test_pressure);
    tcase_add_loop_test(t, test_garbage, 0, 5);
    tcase_add_test(t, test_unreachable);
    tcase_add_test(t, test_post);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
