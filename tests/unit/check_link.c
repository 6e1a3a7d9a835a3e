/* SPDX-License-Identifier: Apache-2.0
 * Links: the same behaviour in memory, on unix sockets and on TCP; peers that lie, cut,
 * stall or do not know the key are ended, each with its reason; nothing leaks. */
#include "config.h"

#include "wire/link.h"

#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "wire/link_impl.h"

static uv_loop_t loop;
static int fds_before;
static char dir[] = "/tmp/check_link.XXXXXX";

/* What one end has seen. */
struct end {
    struct wire_link *link;
    int messages, closed, fds;
    uint64_t last;
    bool in_order, echo, close_on_first;
    char said[1024];
};

static int open_fds(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        count++;
    closedir(d);
    return count;
}

static void beat(struct wire_link *l, uint64_t n)
{
    Wire__Beat b = WIRE__BEAT__INIT;
    b.sent = n;
    wire_link_send(l, WIRE_BEAT, &b.base, NULL, 0);
}

static void on_message(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct end *e = ctx;
    ck_assert_ptr_eq(link, e->link);
    e->messages++;
    e->fds += m->fd_count;
    if (m->type == WIRE_BEAT) {
        uint64_t n = ((Wire__Beat *)m->body)->sent;
        e->in_order = e->messages == 1 || (e->in_order && n == e->last + 1);
        e->last = n;
        if (e->echo)
            beat(link, n);
    }
    if (e->close_on_first)
        wire_link_close(link);
}

static void on_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    struct end *e = ctx;
    (void)link;
    e->closed++;
    e->link = NULL;
    if (err)
        snprintf(e->said, sizeof(e->said), "%s", err->text);
}

static void attach(struct end *e, struct wire_link *l)
{
    struct wire_handler h = {e, on_message, on_closed};
    e->link = l;
    wire_link_handle(l, &h);
}

static void accepted(void *ctx, struct wire_link *l)
{
    attach(ctx, l);
}

static void setup(void)
{
    /* What libuv opens once and keeps is no leak. */
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    fds_before = open_fds();
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    strcpy(dir, "/tmp/check_link.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    ck_assert_int_eq(open_fds(), fds_before);
    rwf_fs_rmtree(dir, NULL);
}

#define RUN_UNTIL(cond)                                                                \
    while (!(cond))                                                                    \
    uv_run(&loop, UV_RUN_ONCE)

static struct wire_link *open_fd(int fd)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct wire_link *l = wire_link_open(&loop, fd, &err);
    ck_assert_msg(l != NULL, "%s", err.text);
    return l;
}

static const uint8_t key[WIRE_KEY_LEN] = "0123456789abcdef0123456789abcde";
static const uint8_t other_key[WIRE_KEY_LEN] = "1123456789abcdef0123456789abcde";

static struct wire_listener *listen_tcp(struct end *e, const uint8_t *k)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct wire_listener *lis =
        wire_listen_tcp(&loop, "127.0.0.1", 0, k, accepted, e, &err);
    ck_assert_msg(lis != NULL, "%s", err.text);
    ck_assert_int_gt(wire_listener_port(lis), 0);
    return lis;
}

/* Two ends that know each other. */
static void make_pair(enum wire__kind kind, struct end *a, struct end *b)
{
    struct wire_link *x, *y;
    int fds[2];
    if (kind == WIRE__MEMORY) {
        wire_link_pair(&loop, &x, &y);
        attach(a, x);
        attach(b, y);
    } else if (kind == WIRE__UNIX) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        attach(a, open_fd(fds[0]));
        attach(b, open_fd(fds[1]));
        ck_assert_int_eq(wire_link_pid(a->link), getpid());
    } else {
        struct wire_listener *lis = listen_tcp(b, key);
        attach(a, wire_link_connect(&loop, "127.0.0.1", wire_listener_port(lis), key,
                                    NULL));
        RUN_UNTIL(b->link);
        wire_listener_close(lis);
    }
}

/* --- the same on all three --- */

START_TEST(test_in_order)
{
    struct end a = {.echo = false}, b = {.echo = true};
    make_pair((enum wire__kind)_i, &a, &b);
    for (unsigned i = 0; i < 10000; i++)
        beat(a.link, i);
    ck_assert_int_eq(b.messages, 0); /* never from within send */
    RUN_UNTIL(a.messages == 10000);
    ck_assert(a.in_order && b.in_order);
    ck_assert_uint_eq(a.last, 9999);
    wire_link_close(a.link);
    RUN_UNTIL(a.closed && b.closed);
    ck_assert_str_eq(a.said, "");
    ck_assert_str_eq(b.said, "");
}
END_TEST

START_TEST(test_big_messages)
{
    struct end a = {0}, b = {0};
    make_pair((enum wire__kind)_i, &a, &b);
    Wire__Listed l = WIRE__LISTED__INIT;
    l.json = rwf_xmalloc(((size_t)5 << 20) + 1);
    memset(l.json, 'j', (size_t)5 << 20);
    l.json[(size_t)5 << 20] = '\0';
    for (int i = 0; i < 4; i++)
        wire_link_send(a.link, WIRE_LISTED, &l.base, NULL, 0);
    free(l.json);
    beat(a.link, 1);
    RUN_UNTIL(b.messages == 5);
    wire_link_close(b.link);
    RUN_UNTIL(a.closed && b.closed);
}
END_TEST

/* What was sent before the end arrives before the end. */
START_TEST(test_last_words)
{
    struct end a = {0}, b = {0};
    make_pair((enum wire__kind)_i, &a, &b);
    for (unsigned i = 0; i < 100; i++)
        beat(a.link, i);
    wire_link_close(a.link);
    beat(a.link, 100); /* nobody hears it */
    RUN_UNTIL(b.closed);
    ck_assert_int_eq(b.messages, 100);
    ck_assert_int_eq(b.closed, 1);
    ck_assert_str_eq(b.said, "");
}
END_TEST

START_TEST(test_close_in_callback)
{
    struct end a = {0}, b = {.close_on_first = true};
    make_pair((enum wire__kind)_i, &a, &b);
    for (unsigned i = 0; i < 100; i++)
        beat(a.link, i);
    RUN_UNTIL(a.closed && b.closed);
    ck_assert_int_eq(b.messages, 1);
}
END_TEST

/* An owner that is gone hears nothing more. */
START_TEST(test_forgotten)
{
    struct end a = {0}, b = {0};
    make_pair((enum wire__kind)_i, &a, &b);
    beat(b.link, 1);
    wire_link_handle(a.link, NULL);
    wire_link_close(a.link);
    RUN_UNTIL(b.closed);
    ck_assert_int_eq(a.closed, 0);
    ck_assert_int_eq(a.messages, 0);
}
END_TEST

/* Messages wait for the handler. */
START_TEST(test_late_handler)
{
    struct end a = {0}, b = {0};
    make_pair((enum wire__kind)_i, &a, &b);
    struct wire_link *l = b.link;
    wire_link_handle(l, NULL);
    beat(a.link, 7);
    beat(a.link, 8);
    for (int i = 0; i < 5; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    attach(&b, l);
    RUN_UNTIL(b.messages == 2);
    ck_assert(b.in_order);
    wire_link_close(a.link);
    RUN_UNTIL(b.closed);
}
END_TEST

/* --- descriptors: memory and unix --- */

START_TEST(test_descriptors)
{
    struct end a = {0}, b = {0};
    int pipes[2];
    make_pair((enum wire__kind)_i, &a, &b);
    ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
    Wire__Grant g = WIRE__GRANT__INIT;
    int most = 0;
    for (unsigned i = 0; i < 300; i++) {
        wire_link_send(a.link, WIRE_GRANT, &g.base, pipes, (int)(i % 3));
        most += (int)(i % 3);
        beat(a.link, i);
    }
    close(pipes[0]); /* they are dup'ed */
    close(pipes[1]);
    RUN_UNTIL(b.messages == 600);
    ck_assert_int_eq(b.fds, most);
    wire_link_send(a.link, WIRE_GRANT, &g.base, (int[]){0, 1}, 2);
    wire_link_close(a.link);
    wire_link_close(b.link); /* with descriptors under way: none leaks */
    RUN_UNTIL(a.closed && b.closed);
}
END_TEST

/* --- peers that are not links: raw bytes --- */

static int raw_peer(struct end *e)
{
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    attach(e, open_fd(fds[0]));
    return fds[1];
}

START_TEST(test_cut_at_every_byte)
{
    struct rwf_str s = {0};
    Wire__Beat b = WIRE__BEAT__INIT;
    b.sent = 123456;
    wire_frame_add(&s, WIRE_BEAT, &b.base, 0);
    for (size_t len = 0; len <= s.len; len++) {
        struct end e = {0};
        int fd = raw_peer(&e);
        ck_assert_int_eq(write(fd, s.data, len), (ssize_t)len);
        close(fd);
        RUN_UNTIL(e.closed);
        ck_assert_int_eq(e.messages, len == s.len);
        ck_assert_int_eq(strstr(e.said, "in the middle of a frame") != NULL,
                         len > 0 && len < s.len);
    }
    rwf_str_free(&s);
}
END_TEST

START_TEST(test_byte_by_byte)
{
    struct rwf_str s = {0};
    Wire__Beat b = WIRE__BEAT__INIT;
    struct end e = {0};
    int fd = raw_peer(&e);
    for (b.sent = 1; b.sent <= 20; b.sent++)
        wire_frame_add(&s, WIRE_BEAT, &b.base, 0);
    for (size_t i = 0; i < s.len; i++) {
        ck_assert_int_eq(write(fd, s.data + i, 1), 1);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    RUN_UNTIL(e.messages == 20);
    ck_assert(e.in_order);
    close(fd);
    RUN_UNTIL(e.closed);
    rwf_str_free(&s);
}
END_TEST

START_TEST(test_garbage)
{
    struct end e = {0};
    int fd = raw_peer(&e);
    ck_assert_int_eq(write(fd, "GET / HTTP/1.1\r\n\r\n", 18), 18);
    RUN_UNTIL(e.closed);
    ck_assert_int_eq(e.messages, 0);
    ck_assert_msg(strstr(e.said, "unknown type") != NULL, "%s", e.said);
    close(fd);
}
END_TEST

START_TEST(test_slow_reader)
{
    struct end e = {0};
    int fd = raw_peer(&e), sent = 0;
    Wire__Listed l = WIRE__LISTED__INIT;
    l.json = rwf_xmalloc(((size_t)8 << 20) + 1);
    memset(l.json, 'j', (size_t)8 << 20);
    l.json[(size_t)8 << 20] = '\0';
    while (!e.closed && sent < 100) {
        if (e.link)
            wire_link_send(e.link, WIRE_LISTED, &l.base, NULL, 0);
        uv_run(&loop, UV_RUN_NOWAIT);
        sent++;
    }
    ck_assert_int_eq(e.closed, 1);
    ck_assert_msg(strstr(e.said, "does not read") != NULL, "%s", e.said);
    free(l.json);
    close(fd);
}
END_TEST

/* A peer that takes nothing any more was perhaps not yet read to its end. */
START_TEST(test_read_after_broken_pipe)
{
    struct end e = {0};
    int fd = raw_peer(&e);
    struct rwf_str s = {0};
    Wire__Beat b = WIRE__BEAT__INIT;
    for (b.sent = 1; b.sent <= 3; b.sent++)
        wire_frame_add(&s, WIRE_BEAT, &b.base, 0);
    ck_assert_int_eq(write(fd, s.data, s.len), (ssize_t)s.len);
    close(fd);
    beat(e.link, 1); /* EPIPE */
    RUN_UNTIL(e.closed);
    ck_assert_int_eq(e.messages, 3);
    rwf_str_free(&s);
}
END_TEST

/* --- TCP: who has the key --- */

START_TEST(test_wrong_key)
{
    struct end near = {0}, far = {0};
    struct wire_listener *lis = listen_tcp(&far, key);
    attach(&near, wire_link_connect(&loop, "localhost", wire_listener_port(lis),
                                    other_key, NULL));
    beat(near.link, 1);
    RUN_UNTIL(near.closed);
    ck_assert_msg(strstr(near.said, "does not have this cluster's key") != NULL, "%s",
                  near.said);
    wire_listener_close(lis);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_ptr_null(far.link);
    ck_assert_int_eq(far.messages, 0);
}
END_TEST

START_TEST(test_no_key_at_either_side)
{
    struct end near = {0}, far = {0};
    struct wire_listener *lis = listen_tcp(&far, key);
    attach(&near,
           wire_link_connect(&loop, "127.0.0.1", wire_listener_port(lis), NULL, NULL));
    beat(near.link, 1); /* instead of a challenge */
    RUN_UNTIL(near.closed);
    ck_assert_ptr_null(far.link);
    wire_listener_close(lis);
    uv_run(&loop, UV_RUN_DEFAULT);
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_ptr_null(
        wire_listen_tcp(&loop, "0.0.0.0", 0, NULL, accepted, &far, &err));
    ck_assert_msg(strstr(err.text, "needs a key") != NULL, "%s", err.text);
}
END_TEST

START_TEST(test_nobody_there)
{
    struct end near = {0}, far = {0};
    struct wire_listener *lis = listen_tcp(&far, key);
    int port = wire_listener_port(lis);
    wire_listener_close(lis);
    uv_run(&loop, UV_RUN_DEFAULT);
    attach(&near, wire_link_connect(&loop, "127.0.0.1", port, key, NULL));
    RUN_UNTIL(near.closed);
    ck_assert_msg(strstr(near.said, "cannot connect") != NULL, "%s", near.said);
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_ptr_null(wire_link_connect(&loop, "127.0.0.1", 70000, key, &err));
    ck_assert_msg(strstr(err.text, "a port is") != NULL, "%s", err.text);
    memset(&near, 0, sizeof(near));
    attach(&near, wire_link_connect(&loop, "127.0.0.1", port, key, NULL));
    wire_link_close(near.link); /* while it resolves */
    RUN_UNTIL(near.closed);
}
END_TEST

/* A connection by hand, to say what no link of ours says. */
static int raw_tcp(const struct wire_listener *lis)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_addr = {htonl(INADDR_LOOPBACK)},
                             .sin_port = htons((uint16_t)wire_listener_port(lis))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void say(int fd, const char *version, const uint8_t *nonce, const uint8_t *proof)
{
    Wire__Hello h = WIRE__HELLO__INIT;
    h.version = (char *)version;
    h.nonce = (ProtobufCBinaryData){nonce ? 32 : 0, (uint8_t *)nonce};
    h.proof = (ProtobufCBinaryData){proof ? 32 : 0, (uint8_t *)proof};
    ck_assert_int_eq(wire_send(fd, WIRE_HELLO, &h.base, NULL, 0, NULL), 0);
}

/* The next message while the loop runs; false at the end of the stream. */
static bool hear(struct wire__inbox *in, int fd, struct wire_message *m)
{
    struct rwf_err err = RWF_ERR_INIT;
    for (;;) {
        if (wire__inbox_take(in, m, &err) > 0)
            return true;
        uv_run(&loop, UV_RUN_NOWAIT);
        int rc = wire__inbox_read(in, fd, &err);
        if (rc == 0 || (rc < 0 && err.code != EAGAIN))
            return false;
    }
}

static const uint8_t zeros[32];
enum attack {
    ZERO_PROOF,
    REFLECTED_PROOF,
    REPLAYED_PROOF,
    SHORT_NONCE,
    OLD_VERSION,
    TOO_LONG,
    NOT_HELLO,
    ATTACKS
};

/* Both proofs of an honest handshake, for later. */
static void record(const struct wire_listener *lis, struct end *far, uint8_t proof[32])
{
    struct wire__auth *a = wire__auth_create(key, false);
    struct wire__inbox in = {0};
    struct wire_message m;
    int fd = raw_tcp(lis), tap[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, tap), 0);
    ck_assert_int_eq(wire__auth_begin(a, fd, NULL), 0);
    ck_assert(hear(&in, fd, &m));
    ck_assert_int_eq(wire__auth_take(a, tap[0], &m, NULL), 1);
    wire_message_clear(&m);
    struct wire_reader *r = wire_reader_create(tap[1]);
    ck_assert_int_eq(wire_receive(r, INT64_MAX, &m, NULL), 1);
    memcpy(proof, ((Wire__Hello *)m.body)->proof.data, 32);
    ck_assert_int_eq(wire_send(fd, WIRE_HELLO, m.body, NULL, 0, NULL), 0);
    wire_message_clear(&m);
    RUN_UNTIL(far->link); /* the honest one gets in */
    wire_reader_destroy(r);
    wire__auth_destroy(a);
    wire__inbox_free(&in);
    close(tap[0]);
    close(tap[1]);
    close(fd);
    RUN_UNTIL(far->closed);
    memset(far, 0, sizeof(*far));
}

static void attack_proof(int fd, struct wire__inbox *in, enum attack how,
                         const uint8_t *recorded)
{
    struct wire_message m;
    uint8_t nonce[32] = {1};
    say(fd, PACKAGE_VERSION, nonce, NULL);
    ck_assert(hear(in, fd, &m));
    const Wire__Hello *h = (const Wire__Hello *)m.body;
    ck_assert_uint_eq(h->proof.len, 32);
    say(fd, PACKAGE_VERSION, NULL,
        how == ZERO_PROOF        ? zeros
        : how == REFLECTED_PROOF ? h->proof.data
                                 : recorded);
    wire_message_clear(&m);
}

START_TEST(test_attacks)
{
    struct end far = {0};
    struct wire_listener *lis = listen_tcp(&far, key);
    struct wire__inbox in = {0};
    struct wire_message m;
    uint8_t recorded[32];
    record(lis, &far, recorded);
    int fd = raw_tcp(lis);
    Wire__Beat b = WIRE__BEAT__INIT;
    static const unsigned char too_long[WIRE_HEAD] = {1, 4, 0, 0, 1, 0, 0, 0};
    switch (_i) {
    case SHORT_NONCE:
        say(fd, PACKAGE_VERSION, NULL, zeros);
        break;
    case OLD_VERSION:
        say(fd, "0.0.1", zeros, NULL);
        ck_assert(hear(&in, fd, &m)); /* so that it can say why */
        ck_assert_str_eq(((Wire__Hello *)m.body)->version, PACKAGE_VERSION);
        wire_message_clear(&m);
        break;
    case TOO_LONG:
        ck_assert_int_eq(write(fd, too_long, sizeof(too_long)), WIRE_HEAD);
        break;
    case NOT_HELLO:
        ck_assert_int_eq(wire_send(fd, WIRE_BEAT, &b.base, NULL, 0, NULL), 0);
        break;
    default:
        attack_proof(fd, &in, (enum attack)_i, recorded);
    }
    ck_assert(!hear(&in, fd, &m)); /* shown the door */
    ck_assert_ptr_null(far.link);
    wire__inbox_free(&in);
    close(fd);
    wire_listener_close(lis);
}
END_TEST

/* A listener of another version, or one that sends our challenge back. */
START_TEST(test_bad_listener)
{
    struct end near = {0};
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(in);
    struct wire__inbox box = {0};
    struct wire_message m;
    int lfd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), fd;
    ck_assert_int_eq(bind(lfd, (struct sockaddr *)&in, sizeof(in)), 0);
    ck_assert_int_eq(listen(lfd, 1), 0);
    getsockname(lfd, (struct sockaddr *)&in, &len);
    attach(&near, wire_link_connect(&loop, "127.0.0.1", ntohs(in.sin_port), key, NULL));
    while ((fd = accept4(lfd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) < 0)
        uv_run(&loop, UV_RUN_NOWAIT);
    ck_assert(hear(&box, fd, &m));
    const Wire__Hello *h = (const Wire__Hello *)m.body;
    ck_assert_uint_eq(h->nonce.len, 32);
    say(fd, _i ? "77.0" : PACKAGE_VERSION, h->nonce.data, zeros);
    wire_message_clear(&m);
    RUN_UNTIL(near.closed);
    ck_assert_msg(strstr(near.said, _i ? "is raywf 77.0" : "challenge") != NULL, "%s",
                  near.said);
    wire__inbox_free(&box);
    close(fd);
    close(lfd);
}
END_TEST

/* Who says nothing is not waited for. */
START_TEST(test_silent_peers)
{
    struct end far = {0};
    struct wire_listener *lis = listen_tcp(&far, key);
    struct wire__inbox in = {0};
    struct wire_message m;
    int fd = raw_tcp(lis);
    ck_assert(!hear(&in, fd, &m));
    ck_assert_ptr_null(far.link);
    close(fd);
    wire_listener_close(lis);
    wire__inbox_free(&in);
}
END_TEST

static int raw_from(const struct wire_listener *lis, uint32_t host)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(host)}};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr = {htonl(INADDR_LOOPBACK)},
                             .sin_port = htons((uint16_t)wire_listener_port(lis))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* So many who say nothing, from one host, cost that host its oldest; others stay, and
 * who has the key gets in. */
START_TEST(test_many_silent_peers)
{
    struct end near = {0}, far = {0};
    struct wire_listener *lis = listen_tcp(&far, key);
    struct wire__inbox in = {0};
    struct wire_message m;
    int fds[200], stranger = raw_from(lis, INADDR_LOOPBACK + 1);
    for (int i = 0; i < 200; i++) {
        fds[i] = raw_tcp(lis);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    ck_assert(!hear(&in, fds[0], &m));
    attach(&near,
           wire_link_connect(&loop, "127.0.0.1", wire_listener_port(lis), key, NULL));
    beat(near.link, 1);
    RUN_UNTIL(far.messages || near.closed);
    ck_assert_msg(!near.closed, "%s", near.said);
    char byte;
    ck_assert_int_eq(read(stranger, &byte, 1), -1);
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_int_eq(read(fds[199], &byte, 1), -1);
    ck_assert_int_eq(errno, EAGAIN);
    wire_link_close(near.link);
    wire_listener_close(lis);
    for (int i = 0; i < 200; i++)
        close(fds[i]);
    close(stranger);
    wire__inbox_free(&in);
}
END_TEST

/* --- unix sockets by path --- */

START_TEST(test_unix_listener)
{
    struct end far = {0}, near = {0};
    struct rwf_err err = RWF_ERR_INIT;
    struct stat st;
    /* A long path, too: sun_path holds 107 bytes. */
    char *path = _i ? rwf_xasprintf("%s/%0100d/%050d", dir, 1, 2)
                    : rwf_xasprintf("%s/in/node", dir);
    struct wire_listener *lis = wire_listen_unix(&loop, path, accepted, &far, &err);
    ck_assert_msg(lis != NULL, "%s", err.text);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    ck_assert_ptr_null(wire_listen_unix(&loop, path, accepted, &far, &err));
    ck_assert_msg(strstr(err.text, "already") != NULL, "%s", err.text);
    int fd = wire_unix_connect(path, &err);
    ck_assert_msg(fd >= 0, "%s", err.text);
    attach(&near, open_fd(fd));
    beat(near.link, 5);
    RUN_UNTIL(far.messages == 1);
    wire_link_close(near.link);
    wire_listener_close(lis);
    RUN_UNTIL(far.closed);
    ck_assert_int_eq(wire_unix_connect(path, &err), -1);
    ck_assert_msg(strstr(err.text, "nothing listens there") != NULL, "%s", err.text);
    free(path);
}
END_TEST

START_TEST(test_unix_stale_and_open_folder)
{
    struct end far = {0};
    struct rwf_err err = RWF_ERR_INIT;
    char *path = rwf_xasprintf("%s/node", dir);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    close(fd); /* as after a SIGKILL: the name stays */
    struct wire_listener *lis = wire_listen_unix(&loop, path, accepted, &far, &err);
    ck_assert_msg(lis != NULL, "%s", err.text);
    wire_listener_close(lis);
    chmod(dir, 0755);
    ck_assert_ptr_null(wire_listen_unix(&loop, path, accepted, &far, &err));
    ck_assert_msg(strstr(err.text, "chmod 700") != NULL, "%s", err.text);
    chmod(dir, 0700);
    ck_assert_int_eq(rwf_fs_write(path, "x", 1, false, NULL), 0);
    ck_assert_ptr_null(wire_listen_unix(&loop, path, accepted, &far, &err));
    ck_assert_msg(strstr(err.text, "no socket") != NULL, "%s", err.text);
    free(path);
}
END_TEST

START_TEST(test_key_file)
{
    struct rwf_err err = RWF_ERR_INIT;
    uint8_t one[WIRE_KEY_LEN], two[WIRE_KEY_LEN];
    struct stat st;
    char *path = rwf_xasprintf("%s/key", dir);
    ck_assert_int_eq(wire_key_load(path, false, one, &err), -1);
    ck_assert_int_eq(err.code, ENOENT);
    ck_assert_int_eq(wire_key_load(path, true, one, &err), 0);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    ck_assert_int_eq(wire_key_load(path, true, two, &err), 0);
    ck_assert_mem_eq(one, two, WIRE_KEY_LEN);
    chmod(path, 0640);
    ck_assert_int_eq(wire_key_load(path, false, one, &err), -1);
    ck_assert_msg(strstr(err.text, "chmod 600") != NULL, "%s", err.text);
    chmod(path, 0600);
    ck_assert_int_eq(rwf_fs_write(path, "secret\n", 7, false, NULL), 0);
    chmod(path, 0600);
    ck_assert_int_eq(wire_key_load(path, true, one, &err), -1);
    ck_assert_msg(strstr(err.text, "64 lower-case hexadecimal digits") != NULL, "%s",
                  err.text);
    free(path);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("link");
    TCase *same = tcase_create("same"), *raw = tcase_create("raw"),
          *tcp = tcase_create("tcp"), *files = tcase_create("files");
    TCase *all[] = {same, raw, tcp, files};
    for (size_t i = 0; i < RWF_COUNT(all); i++) {
        tcase_add_checked_fixture(all[i], setup, teardown);
        tcase_set_timeout(all[i], 120);
        suite_add_tcase(s, all[i]);
    }
    /* With TLS (t2056-tls.sh): those where both sides are links, over TCP. */
    bool tls = getenv("RAYWF_TLS_CERT") != NULL;
    int first = tls ? WIRE__TCP : 0;
    tcase_add_loop_test(same, test_in_order, first, 3);
    tcase_add_loop_test(same, test_big_messages, first, 3);
    tcase_add_loop_test(same, test_last_words, first, 3);
    tcase_add_loop_test(same, test_close_in_callback, first, 3);
    tcase_add_loop_test(same, test_forgotten, first, 3);
    tcase_add_loop_test(same, test_late_handler, first, 3);
    tcase_add_test(tcp, test_wrong_key);
    tcase_add_test(tcp, test_no_key_at_either_side);
    tcase_add_test(tcp, test_nobody_there);
    tcase_add_test(tcp, test_silent_peers);
    tcase_add_test(tcp, test_many_silent_peers);
    if (tls)
        return s;
    tcase_add_loop_test(same, test_descriptors, 0, 2);
    tcase_add_test(raw, test_cut_at_every_byte);
    tcase_add_test(raw, test_byte_by_byte);
    tcase_add_test(raw, test_garbage);
    tcase_add_test(raw, test_slow_reader);
    tcase_add_test(raw, test_read_after_broken_pipe);
    tcase_add_loop_test(tcp, test_attacks, 0, ATTACKS);
    tcase_add_loop_test(tcp, test_bad_listener, 0, 2);
    tcase_add_loop_test(files, test_unix_listener, 0, 2);
    tcase_add_test(files, test_unix_stale_and_open_folder);
    tcase_add_test(files, test_key_file);
    return s;
}

int main(void)
{
    rwf_log_set_level(RWF_LOG_ERROR); /* it warns of what is done to it here */
    SRunner *sr = srunner_create(suite());
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
