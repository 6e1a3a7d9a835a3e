/* SPDX-License-Identifier: Apache-2.0
 * For object_net.sh: nodes of which each is only a store and a data plane.
 *
 *   object_net give SIZE                 node 0: makes an object, prints "object N",
 * and serves until its input ends; then "sent BYTES" object_net get I SIZE N ROUNDS AT
 * node I: fetches it ROUNDS times, the first at AT (seconds of the monotonic clock; 0:
 * now), and prints "s SECONDS" for each
 *
 *   object_net send SIZE ROUNDS          to 10.77.0.2, and
 *   object_net take SIZE                 the same bytes over a plain socket, from
 * memory to memory that is there already: "s SECONDS"
 *
 * With RAYWF_TLS_CERT, _KEY and _CA what goes between nodes is encrypted.
 *
 * Rounds after the first wait for a line each.
 *
 * Node I listens on 10.77.0.(I+1), port 7700; whoever connects says first which it is.
 */
#include "config.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "peer/peer.h"
#include "wire/tls.h"

#define PORT 7700
#define SESSION 100

static struct peer *plane;
static struct store *store;
static int me;

static void check(int rc, const char *what)
{
    if (rc >= 0)
        return;
    perror(what);
    exit(1);
}

/* Each round but the first begins when it is told to. */
static void next_line(void)
{
    int c;

    do {
        c = getchar();
    } while (c != '\n' && c != EOF);
}

static struct sockaddr_in address(int node)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT)};

    a.sin_addr.s_addr = htonl(0x0a4d0001u + (uint32_t)node);
    return a;
}

static void nodelay(int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

struct greeting {
    int32_t node, class;
};

/* With RAYWF_TLS_CERT, … as between nodes: the end in the clear. */
static int secure(int fd, bool server)
{
    struct rwf_err err;
    int wanted = wire_tls_wanted(&err);
    int clear = wanted > 0 ? wire_tls_carry(fd, server, "a node", &err) : fd;

    if (wanted < 0 || clear < 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    return clear;
}

static int read_greeting(int fd, struct greeting *ret)
{
    size_t got = 0;

    while (got < sizeof(*ret)) {
        struct pollfd p = {fd, POLLIN, 0};
        ssize_t n = poll(&p, 1, -1) > 0
                        ? recv(fd, (char *)ret + got, sizeof(*ret) - got, 0)
                        : -1;
        if (n <= 0)
            return -1;
        got += (size_t)n;
    }
    return 0;
}

static void *dial(void *ctx)
{
    struct greeting *to = ctx, mine = {me, to->class};
    struct sockaddr_in a = address(to->node);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char name[16];

    nodelay(fd);
    snprintf(name, sizeof(name), "n%d", to->node);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
        (fd = secure(fd, false)) < 0 ||
        send(fd, &mine, sizeof(mine), MSG_NOSIGNAL) != sizeof(mine)) {
        close(fd);
        peer_unreachable(plane, SESSION + (uint64_t)to->node, PEER_BULK, false,
                         "no way");
    } else {
        peer_attach(plane, SESSION + (uint64_t)to->node, name, PEER_BULK, true, fd, "",
                    0);
    }
    free(to);
    return NULL;
}

static void on_connect(void *ctx, uint64_t session, enum peer_class class)
{
    struct greeting *g = malloc(sizeof(*g));
    pthread_t t;

    (void)ctx;
    *g = (struct greeting){(int32_t)(session - SESSION), (int32_t) class};
    pthread_create(&t, NULL, dial, g);
    pthread_detach(t);
}

static void *accept_all(void *ctx)
{
    int listener = *(int *)ctx;
    struct greeting g;
    char name[16];

    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        nodelay(fd);
        fd = secure(fd, true);
        if (read_greeting(fd, &g) < 0)
            continue;
        snprintf(name, sizeof(name), "n%d", g.node);
        peer_attach(plane, SESSION + (uint64_t)g.node, name, (enum peer_class)g.class,
                    false, fd, "", 0);
    }
    return NULL;
}

static void start(size_t size)
{
    static int listener;
    struct store_options so = {.arena = size + ((size_t)16 << 20)};
    struct peer_options po = {.session = SESSION + (uint64_t)me,
                              .name = me == 0 ? "owner" : "puller",
                              .connect = on_connect};
    struct sockaddr_in a = address(me);
    struct rwf_err err;
    pthread_t t;
    int on = 1;

    po.store = store = store_create(&so, &err);
    plane = store ? peer_create(&po, &err) : NULL;
    if (!plane) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    check(bind(listener, (struct sockaddr *)&a, sizeof(a)), "bind");
    check(listen(listener, 64), "listen");
    pthread_create(&t, NULL, accept_all, &listener);
}

static int give(size_t size)
{
    struct rwf_err err;
    struct peer_stats s;
    store_object o;
    char *data;

    start(size);
    data = store_object_create(store, size, INT64_MAX, &o, &err);
    if (!data)
        return 1;
    for (size_t i = 0; i < size; i += 8)
        memcpy(data + i, &i, size - i < 8 ? size - i : 8);
    store_object_seal(store, o, &err);
    printf("object %llu\n", (unsigned long long)o);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    peer_stats(plane, &s);
    printf("sent %llu\n", (unsigned long long)s.bytes_out);
    fflush(stdout);
    _exit(0);
}

struct got {
    pthread_mutex_t lock;
    pthread_cond_t news;
    bool done;
    store_object local;
    int64_t when;
};

static void fetched(void *ctx, store_object local, size_t size,
                    const struct rwf_err *err)
{
    struct got *g = ctx;

    (void)size;
    if (err)
        fprintf(stderr, "%s\n", err->text);
    pthread_mutex_lock(&g->lock);
    g->done = true;
    g->local = local;
    g->when = rwf_clock_mono();
    pthread_cond_signal(&g->news);
    pthread_mutex_unlock(&g->lock);
}

/* What is not used any more goes when there must be room for another. */
static void forget(void)
{
    struct peer_stats s;

    for (;;) {
        peer_stats(plane, &s);
        if (s.kept == 0)
            return;
        usleep(10000);
    }
}

static void once(store_object o, double at)
{
    struct got g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0, 0};
    int64_t from = at > 0 ? (int64_t)(at * 1e9) : rwf_clock_mono();

    while (rwf_clock_mono() < from)
        usleep(200);
    peer_fetch(plane, SESSION, o, 0, fetched, &g);
    pthread_mutex_lock(&g.lock);
    while (!g.done)
        pthread_cond_wait(&g.news, &g.lock);
    pthread_mutex_unlock(&g.lock);
    if (!g.local)
        exit(1);
    printf("s %.4f\n", (double)(g.when - from) * 1e-9);
    fflush(stdout);
    peer_give_back(plane, g.local);
}

/* --- a plain socket --- */

static char *memory_of(size_t size)
{
    char *p = malloc(size);

    if (!p)
        exit(1);
    memset(p, 1, size);
    return p;
}

static int plain_send(size_t size, int rounds)
{
    struct sockaddr_in a = address(1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char *data = memory_of(size), done;

    a.sin_port = htons(PORT + 1);
    check(connect(fd, (struct sockaddr *)&a, sizeof(a)), "connect");
    for (int i = 0; i < rounds; i++) {
        if (i > 0)
            next_line();
        int64_t from = rwf_clock_mono();
        for (size_t at = 0; at < size;) {
            ssize_t n = send(fd, data + at, size - at, MSG_NOSIGNAL);
            check((int)(n > 0) - 1, "send");
            at += (size_t)n;
        }
        check((int)(recv(fd, &done, 1, 0) == 1) - 1, "recv");
        printf("s %.4f\n", (double)(rwf_clock_mono() - from) * 1e-9);
        fflush(stdout);
    }
    free(data);
    return 0;
}

static int plain_take(size_t size)
{
    struct sockaddr_in a = address(1);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
    char *data = memory_of(size);
    ssize_t n = 1;

    a.sin_port = htons(PORT + 1);
    check(bind(listener, (struct sockaddr *)&a, sizeof(a)), "bind");
    check(listen(listener, 1), "listen");
    puts("listening");
    fflush(stdout);
    fd = accept(listener, NULL, NULL);
    while (n > 0) {
        for (size_t at = 0; at < size && n > 0; at += n > 0 ? (size_t)n : 0)
            n = recv(fd, data + at, size - at, 0);
        if (n > 0)
            n = send(fd, "", 1, MSG_NOSIGNAL);
    }
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "send") == 0)
        return plain_send(strtoull(argv[2], NULL, 10), atoi(argv[3]));
    if (argc == 3 && strcmp(argv[1], "take") == 0)
        return plain_take(strtoull(argv[2], NULL, 10));
    if (argc == 3 && strcmp(argv[1], "give") == 0)
        return give(strtoull(argv[2], NULL, 10));
    if (argc != 7 || strcmp(argv[1], "get") != 0)
        return 2;
    me = atoi(argv[2]);
    start(strtoull(argv[3], NULL, 10));
    for (int i = 0; i < atoi(argv[5]); i++) {
        if (i > 0) {
            forget();
            next_line();
        }
        once(strtoull(argv[4], NULL, 10), i == 0 ? atof(argv[6]) : 0);
    }
    while (getchar() != EOF) /* others may get it from here */
        ;
    _exit(0);
}
