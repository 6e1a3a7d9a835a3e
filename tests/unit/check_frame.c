/* SPDX-License-Identifier: Apache-2.0
 * Frames: what is packed comes back, in pieces too, with its descriptors; what is no
 * frame is refused by name, and no descriptor is ever left open. */
#include "config.h"

#include "wire/frame.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "wire/inbox.h"

static int open_fds(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        count++;
    closedir(d);
    return count;
}

static void grant(struct rwf_str *out, uint64_t lease, int fds)
{
    Wire__Grant g = WIRE__GRANT__INIT;
    uint32_t gpus[] = {3, 5};
    g.lease = lease;
    g.n_gpus = 2;
    g.gpus = gpus;
    wire_frame_add(out, WIRE_GRANT, &g.base, fds);
}

START_TEST(test_types)
{
    ck_assert_str_eq(wire_type_name(WIRE_HELLO), "HELLO");
    ck_assert_str_eq(wire_type_name(WIRE_HEAD_ACTOR_STATE), "HEAD_ACTOR_STATE");
    ck_assert_str_eq(wire_type_name(60000), "unknown");
    ck_assert_ptr_null(wire_descriptor(WIRE_NONE));
    ck_assert_ptr_null(wire_descriptor(WIRE_TYPE_COUNT));
    /* Frozen: peers of another build count on them. */
    ck_assert_int_eq(WIRE_HELLO, 1);
    ck_assert_int_eq(WIRE_WELCOME, 5);
    ck_assert_int_eq(WIRE_LIST, 33);
    ck_assert_int_eq(WIRE_HEAD_ACTOR_STATE, 48);
}
END_TEST

START_TEST(test_round_trip_at_every_cut)
{
    struct rwf_str s = {0};
    struct wire_message m;
    size_t used;
    grant(&s, 77, 0);
    size_t one = s.len;
    grant(&s, 78, 0);
    for (size_t len = 0; len < one; len++)
        ck_assert_int_eq(wire_frame_take(s.data, len, &m, &used, NULL), 0);
    ck_assert_int_eq(wire_frame_take(s.data, s.len, &m, &used, NULL), 1);
    ck_assert_uint_eq(used, one);
    ck_assert_int_eq(m.type, WIRE_GRANT);
    const Wire__Grant *g = (const Wire__Grant *)m.body;
    ck_assert_uint_eq(g->lease, 77);
    ck_assert_uint_eq(g->n_gpus, 2);
    ck_assert_uint_eq(g->gpus[1], 5);
    wire_message_clear(&m);
    rwf_str_free(&s);
}
END_TEST

static const struct bad_row {
    unsigned char head[WIRE_HEAD];
    const char *says;
} bad_rows[] = {
    {{0, 0, 0, 0, 0, 0, 0, 0}, "unknown type 0"},
    {{0, 0, 0, 0, 0xff, 0xff, 0, 0}, "unknown type 65535"},
    {{1, 0, 0, 4, 1, 0, 0, 0}, "HELLO of 67108865 bytes"},
    {{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0}, "HELLO of 4294967295 bytes"},
    {{0, 0, 0, 0, 5, 0, 5, 0}, "WELCOME with 5 descriptors"},
};

START_TEST(test_bad_heads)
{
    const struct bad_row *b = &bad_rows[_i];
    struct rwf_err err = RWF_ERR_INIT;
    struct wire_message m;
    size_t used;
    ck_assert_int_eq(wire_frame_take(b->head, WIRE_HEAD, &m, &used, &err), -1);
    ck_assert_msg(strstr(err.text, b->says) != NULL, "%s", err.text);
}
END_TEST

START_TEST(test_bad_payload)
{
    /* A length-delimited field that is longer than the message. */
    const unsigned char frame[] = {2, 0, 0, 0, 1, 0, 0, 0, 0x0a, 0x7f};
    struct rwf_err err = RWF_ERR_INIT;
    struct wire_message m;
    size_t used;
    ck_assert_int_eq(wire_frame_take(frame, sizeof(frame), &m, &used, &err), -1);
    ck_assert_msg(strstr(err.text, "no such message") != NULL, "%s", err.text);
}
END_TEST

/* --- over a socket --- */

static int pair[2];
static int fds_before;

static void setup(void)
{
    fds_before = open_fds();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
}

static void teardown(void)
{
    close(pair[0]);
    close(pair[1]);
    ck_assert_int_eq(open_fds(), fds_before);
}

START_TEST(test_descriptors)
{
    struct wire_reader *r = wire_reader_create(pair[1]);
    Wire__Welcome w = WIRE__WELCOME__INIT;
    Wire__Beat b = WIRE__BEAT__INIT;
    struct wire_message m;
    int pipes[2];
    ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
    w.slot = 9;
    ck_assert_int_eq(wire_send(pair[0], WIRE_BEAT, &b.base, NULL, 0, NULL), 0);
    ck_assert_int_eq(wire_send(pair[0], WIRE_WELCOME, &w.base, pipes, 2, NULL), 0);
    ck_assert_int_eq(wire_send(pair[0], WIRE_WELCOME, &w.base, pipes, 1, NULL), 0);
    ck_assert_int_eq(wire_receive(r, INT64_MAX, &m, NULL), 1);
    ck_assert_int_eq(m.type, WIRE_BEAT);
    ck_assert_int_eq(m.fd_count, 0);
    wire_message_clear(&m);
    ck_assert_int_eq(wire_receive(r, INT64_MAX, &m, NULL), 1);
    ck_assert_int_eq(m.fd_count, 2);
    ck_assert(fcntl(m.fds[0], F_GETFD) & FD_CLOEXEC);
    ck_assert_int_eq(write(m.fds[1], "x", 1), 1);
    char c = 0;
    ck_assert_int_eq(read(pipes[0], &c, 1), 1);
    ck_assert_int_eq(c, 'x');
    int taken = m.fds[0];
    m.fds[0] = -1;
    wire_message_clear(&m); /* closes the one that was not taken */
    ck_assert_int_ge(fcntl(taken, F_GETFD), 0);
    close(taken);
    close(pipes[0]);
    close(pipes[1]);
    wire_reader_destroy(r); /* the third was never read: still in the socket */
}
END_TEST

START_TEST(test_end_of_stream)
{
    struct wire_reader *r = wire_reader_create(pair[1]);
    struct rwf_err err = RWF_ERR_INIT;
    struct wire_message m;
    ck_assert_int_eq(wire_receive(r, rwf_clock_mono(), &m, &err), -1);
    ck_assert_int_eq(err.code, ETIMEDOUT);
    shutdown(pair[0], SHUT_WR);
    ck_assert_int_eq(wire_receive(r, INT64_MAX, &m, NULL), 0);
    wire_reader_destroy(r);
    close(pair[1]);
    pair[1] = dup(pair[0]);
    Wire__Beat b = WIRE__BEAT__INIT;
    ck_assert_int_eq(wire_send(pair[0], WIRE_BEAT, &b.base, NULL, 0, &err), -1);
    ck_assert_int_eq(err.code, EPIPE);
}
END_TEST

/* Cut after each byte: an orderly end only before the first. */
START_TEST(test_cut_stream)
{
    struct rwf_str s = {0};
    struct wire_message m;
    int fds[1] = {pair[0]};
    grant(&s, 1, 1);
    for (size_t len = 0; len < s.len; len++) {
        struct rwf_err err = RWF_ERR_INIT;
        int p[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0);
        if (len)
            ck_assert_int_eq(wire__send_some(p[0], s.data, len, fds, 1), (ssize_t)len);
        close(p[0]);
        struct wire_reader *r = wire_reader_create(p[1]);
        ck_assert_int_eq(wire_receive(r, INT64_MAX, &m, &err), len ? -1 : 0);
        wire_reader_destroy(r);
        close(p[1]);
    }
    rwf_str_free(&s);
}
END_TEST

START_TEST(test_descriptors_that_lie)
{
    struct rwf_str s = {0};
    struct rwf_err err = RWF_ERR_INIT;
    struct wire_message m;
    struct wire_reader *r = wire_reader_create(pair[1]);
    int fds[WIRE_FDS_MAX] = {0, 0, 0, 0};
    grant(&s, 1, 2); /* announces two, brings one */
    ck_assert_int_eq(wire__send_some(pair[0], s.data, s.len, fds, 1), (ssize_t)s.len);
    ck_assert_int_eq(wire_receive(r, INT64_MAX, &m, &err), -1);
    ck_assert_msg(strstr(err.text, "announces 2 descriptors, 1 came") != NULL, "%s",
                  err.text);
    wire_reader_destroy(r);
    r = wire_reader_create(pair[1]);
    s.len = 0;
    grant(&s, 1, 0); /* announces none, brings four, again and again */
    int rc = 1;
    for (int i = 0; i < 8 && rc == 1; i++) {
        wire__send_some(pair[0], s.data, s.len, fds, WIRE_FDS_MAX);
        rc = wire_receive(r, INT64_MAX, &m, &err);
        if (rc == 1)
            wire_message_clear(&m);
    }
    ck_assert_int_eq(rc, -1);
    wire_reader_destroy(r);
    rwf_str_free(&s);
}
END_TEST

/* More than a socket holds: both sides have to wait for each other. */
static void *send_big(void *text)
{
    Wire__Listed l = WIRE__LISTED__INIT;
    l.json = text;
    for (l.request = 0; l.request < 4; l.request++)
        if (wire_send(pair[0], WIRE_LISTED, &l.base, pair, 1, NULL))
            return text;
    return NULL;
}

START_TEST(test_big)
{
    size_t len = (size_t)3 << 20;
    char *text = rwf_xmalloc(len + 1);
    memset(text, 'x', len);
    text[len] = '\0';
    pthread_t thread;
    void *failed;
    pthread_create(&thread, NULL, send_big, text);
    struct wire_reader *r = wire_reader_create(pair[1]);
    for (unsigned i = 0; i < 4; i++) {
        struct wire_message m;
        ck_assert_int_eq(wire_receive(r, INT64_MAX, &m, NULL), 1);
        const Wire__Listed *l = (const Wire__Listed *)m.body;
        ck_assert_uint_eq(l->request, i);
        ck_assert_int_eq(m.fd_count, 1);
        ck_assert_str_eq(l->json, text);
        wire_message_clear(&m);
    }
    pthread_join(thread, &failed);
    ck_assert_ptr_null(failed);
    wire_reader_destroy(r);
    free(text);
}
END_TEST

START_TEST(test_too_big_to_send)
{
    Wire__Tell t = WIRE__TELL__INIT;
    struct rwf_err err = RWF_ERR_INIT;
    t.value.len = WIRE_FRAME_MAX;
    t.value.data = rwf_xcalloc(1, t.value.len);
    ck_assert_int_eq(wire_send(pair[0], WIRE_TELL, &t.base, NULL, 0, &err), -1);
    ck_assert_int_eq(err.code, EMSGSIZE);
    free(t.value.data);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("frame");
    TCase *plain = tcase_create("plain"), *socket = tcase_create("socket");
    tcase_add_test(plain, test_types);
    tcase_add_test(plain, test_round_trip_at_every_cut);
    tcase_add_loop_test(plain, test_bad_heads, 0, RWF_COUNT(bad_rows));
    tcase_add_test(plain, test_bad_payload);
    suite_add_tcase(s, plain);
    tcase_add_checked_fixture(socket, setup, teardown);
    tcase_set_timeout(socket, 120);
    tcase_add_test(socket, test_descriptors);
    tcase_add_test(socket, test_end_of_stream);
    tcase_add_test(socket, test_cut_stream);
    tcase_add_test(socket, test_descriptors_that_lie);
    tcase_add_test(socket, test_big);
    tcase_add_test(socket, test_too_big_to_send);
    suite_add_tcase(s, socket);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
