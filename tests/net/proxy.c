/* SPDX-License-Identifier: Apache-2.0
 *
 * proxy HOST:PORT TO_HOST:TO_PORT: a TCP proxy that does harm when it is told to;
 * prints "listening PORT", then obeys lines on stdin, and answers each with one line.
 *
 *   delay MS [JITTER]   each byte is late by so much, in order, both ways
 *   rate BYTES          of one direction, a second; 0: no limit
 *   hang up|down|both   nothing goes that way any more, silently (half open, one way)
 *   go                  it does again; what waited comes first
 *   cut                 all connections are reset, at both ends
 *   cutafter BYTES      each new connection is reset after so many bytes up; 0: none
 *   refuse on|off       new connections are reset at once
 *   hold on|off         new connections wait; off lets them go, oldest first
 *   release newest|oldest   one of those that wait goes: connections change their order
 *   linger MS           the end of a stream is passed on so much later
 *   stat                "open N total N held N up BYTES down BYTES"
 *   quit
 *
 * Invariants: bytes of a direction keep their order and come once; what was read and
 * not yet sent is at most QUEUE_MAX a direction.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define QUEUE_MAX ((size_t)4 << 20)
#define CHUNK ((size_t)16384)
#define CONNECTIONS_MAX 4096
#define MS INT64_C(1000000)

enum { UP, DOWN };

struct chunk {
    STAILQ_ENTRY(chunk) link;
    int64_t due;
    size_t len, sent; /* len 0: the end of the stream */
    char data[];
};

/* From side `way` of a connection to the other. */
struct pipe {
    STAILQ_HEAD(, chunk) queue;
    size_t queued;
    int64_t last_due;
    bool eof, done; /* read; passed on */
};

struct connection {
    TAILQ_ENTRY(connection) link;
    int fd[2]; /* the client's, the target's (-1 while it is held) */
    struct pipe pipe[2];
    size_t left; /* bytes up until it is cut; 0: never */
    bool held;
    short events[2]; /* as poll found them */
};

static struct {
    struct sockaddr_in to;
    int64_t delay, jitter, linger, free_at[2];
    size_t rate, cutafter;
    bool hang[2], refuse, hold, quit;
    unsigned long total, bytes[2];
    int listener, open;
    TAILQ_HEAD(, connection) all;
} p;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 * MS + t.tv_nsec;
}

static void *xalloc(size_t size)
{
    void *m = calloc(1, size);
    if (!m)
        abort();
    return m;
}

/* --- connections --- */

static void reset_on_close(int fd)
{
    struct linger l = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

static void drop(struct connection *c, bool reset)
{
    for (int way = 0; way < 2; way++) {
        struct chunk *k;
        while ((k = STAILQ_FIRST(&c->pipe[way].queue))) {
            STAILQ_REMOVE_HEAD(&c->pipe[way].queue, link);
            free(k);
        }
        if (c->fd[way] >= 0 && reset)
            reset_on_close(c->fd[way]);
        if (c->fd[way] >= 0)
            close(c->fd[way]);
    }
    TAILQ_REMOVE(&p.all, c, link);
    p.open--;
    free(c);
}

static void target(struct connection *c)
{
    int on = 1;
    c->held = false;
    c->fd[1] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(c->fd[1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (c->fd[1] < 0 || (connect(c->fd[1], (struct sockaddr *)&p.to, sizeof(p.to)) &&
                         errno != EINPROGRESS))
        drop(c, true);
}

static void accept_one(void)
{
    int on = 1;
    int fd = accept4(p.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    p.total++;
    if (p.refuse || p.open >= CONNECTIONS_MAX) {
        reset_on_close(fd);
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct connection *c = xalloc(sizeof(*c));
    c->fd[0] = fd;
    c->fd[1] = -1;
    c->left = p.cutafter;
    STAILQ_INIT(&c->pipe[UP].queue);
    STAILQ_INIT(&c->pipe[DOWN].queue);
    TAILQ_INSERT_TAIL(&p.all, c, link);
    p.open++;
    c->held = p.hold;
    if (!c->held)
        target(c);
}

/* --- bytes --- */

/* When what is read now may leave: after what is on the link already, and not before
 * what was read earlier. */
static int64_t due_at(struct pipe *q, int way, size_t len)
{
    int64_t due = now_ns();
    if (p.rate) {
        if (p.free_at[way] > due)
            due = p.free_at[way];
        due += (int64_t)((double)len * 1e9 / (double)p.rate);
        p.free_at[way] = due;
    }
    due += p.delay + (p.jitter ? random() % p.jitter : 0) + (len ? 0 : p.linger);
    if (due < q->last_due)
        due = q->last_due;
    q->last_due = due;
    return due;
}

static bool wants_read(const struct connection *c, int way)
{
    const struct pipe *q = &c->pipe[way];
    return c->fd[way] >= 0 && !c->held && !q->eof && !p.hang[way] &&
           q->queued < QUEUE_MAX;
}

static bool wants_write(const struct connection *c, int way, int64_t now)
{
    const struct chunk *k = STAILQ_FIRST(&c->pipe[way].queue);
    return k && c->fd[!way] >= 0 && !p.hang[way] && k->due <= now;
}

/* false: the connection is broken. */
static bool take(struct connection *c, int way)
{
    struct pipe *q = &c->pipe[way];
    size_t most = p.rate && p.rate / 50 < CHUNK ? p.rate / 50 + 1 : CHUNK;
    struct chunk *k = xalloc(sizeof(*k) + most);
    ssize_t got = recv(c->fd[way], k->data, most, 0);
    if (got < 0) {
        free(k);
        return errno == EAGAIN || errno == EINTR;
    }
    k->len = (size_t)got;
    k->due = due_at(q, way, k->len);
    q->queued += k->len;
    q->eof = got == 0;
    STAILQ_INSERT_TAIL(&q->queue, k, link);
    return true;
}

static bool give(struct connection *c, int way)
{
    struct pipe *q = &c->pipe[way];
    struct chunk *k = STAILQ_FIRST(&q->queue);
    size_t len = k->len - k->sent;
    ssize_t sent = 0;
    if (way == UP && c->left && len > c->left)
        len = c->left;
    if (k->len)
        sent = send(c->fd[!way], k->data + k->sent, len, MSG_NOSIGNAL);
    else
        q->done = shutdown(c->fd[!way], SHUT_WR) == 0 || errno == ENOTCONN;
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR;
    k->sent += (size_t)sent;
    q->queued -= (size_t)sent;
    p.bytes[way] += (size_t)sent;
    if (way == UP && c->left && !(c->left -= (size_t)sent))
        return false;
    if (k->sent == k->len) {
        STAILQ_REMOVE_HEAD(&q->queue, link);
        free(k);
    }
    return !(c->pipe[UP].done && c->pipe[DOWN].done);
}

/* --- commands --- */

static void each(bool cut, bool release)
{
    struct connection *c, *next;
    for (c = TAILQ_FIRST(&p.all); c; c = next) {
        next = TAILQ_NEXT(c, link);
        if (cut)
            drop(c, true);
        else if (release && c->held)
            target(c);
    }
}

static bool release_one(bool newest)
{
    struct connection *c, *found = NULL;
    TAILQ_FOREACH(c, &p.all, link)
    if (c->held && (newest || !found))
        found = c;
    if (found)
        target(found);
    return found;
}

static void set_hang(const char *what)
{
    p.hang[UP] |= strcmp(what, "down") != 0;
    p.hang[DOWN] |= strcmp(what, "up") != 0;
}

static void show(void)
{
    const struct connection *c;
    int held = 0;
    TAILQ_FOREACH(c, &p.all, link)
    held += c->held;
    printf("open %d total %lu held %d up %lu down %lu\n", p.open, p.total, held,
           p.bytes[UP], p.bytes[DOWN]);
}

static void obey(const char *line)
{
    char word[16] = "";
    long a = 0, b = 0;
    if (sscanf(line, "delay %ld %ld", &a, &b) >= 1)
        p.delay = a * MS, p.jitter = b * MS;
    else if (sscanf(line, "rate %ld", &a) == 1)
        p.rate = (size_t)a;
    else if (sscanf(line, "cutafter %ld", &a) == 1)
        p.cutafter = (size_t)a;
    else if (sscanf(line, "linger %ld", &a) == 1)
        p.linger = a * MS;
    else if (sscanf(line, "hang %15s", word) == 1)
        set_hang(word);
    else if (sscanf(line, "refuse %15s", word) == 1)
        p.refuse = strcmp(word, "on") == 0;
    else if (sscanf(line, "hold %15s", word) == 1)
        p.hold = strcmp(word, "on") == 0, each(false, !p.hold);
    else if (sscanf(line, "release %15s", word) == 1) {
        puts(release_one(strcmp(word, "newest") == 0) ? "ok" : "none is held");
        return;
    } else if (strcmp(line, "go") == 0)
        p.hang[UP] = p.hang[DOWN] = false;
    else if (strcmp(line, "cut") == 0)
        each(true, false);
    else if (strcmp(line, "quit") == 0)
        p.quit = true;
    else if (strcmp(line, "stat") == 0) {
        show();
        return;
    } else {
        printf("unknown command: %s\n", line);
        return;
    }
    puts("ok");
}

/* Whole lines of stdin; its end is that of the proxy. */
static void read_commands(void)
{
    static char text[4096];
    static size_t len;
    char *end;
    ssize_t got = read(STDIN_FILENO, text + len, sizeof(text) - 1 - len);
    if (got <= 0) {
        p.quit = got == 0 || (errno != EAGAIN && errno != EINTR);
        return;
    }
    len += (size_t)got;
    text[len] = '\0';
    while ((end = strchr(text, '\n'))) {
        *end = '\0';
        obey(text);
        len -= (size_t)(end + 1 - text);
        memmove(text, end + 1, len + 1);
    }
    if (len == sizeof(text) - 1)
        len = 0;
    fflush(stdout);
}

/* --- the loop --- */

static struct pollfd polled[2 + 2 * CONNECTIONS_MAX];

/* Milliseconds until the next chunk is due; -1: none waits. */
static int until_due(int64_t now)
{
    const struct connection *c;
    int64_t next = INT64_MAX;
    TAILQ_FOREACH(c, &p.all, link)
    for (int way = 0; way < 2; way++) {
        const struct chunk *k = STAILQ_FIRST(&c->pipe[way].queue);
        if (k && !p.hang[way] && k->due > now && k->due < next)
            next = k->due;
    }
    return next == INT64_MAX ? -1 : (int)((next - now) / MS) + 1;
}

static short events_of(const struct connection *c, int side, int64_t now)
{
    return (short)((wants_read(c, side) ? POLLIN : 0) |
                   (wants_write(c, !side, now) ? POLLOUT : 0));
}

static void wait_for(int64_t now)
{
    struct connection *c;
    nfds_t n = 0;
    polled[n++] = (struct pollfd){STDIN_FILENO, POLLIN, 0};
    polled[n++] = (struct pollfd){p.listener, POLLIN, 0};
    TAILQ_FOREACH(c, &p.all, link)
    for (int side = 0; side < 2; side++) {
        short events = events_of(c, side, now);
        /* One that nothing is wanted of would wake us for ever when it is broken. */
        polled[n++] = (struct pollfd){events ? c->fd[side] : -1, events, 0};
    }
    if (poll(polled, n, until_due(now)) < 0)
        return;
    n = 2;
    TAILQ_FOREACH(c, &p.all, link)
    for (int side = 0; side < 2; side++)
        c->events[side] = polled[n++].revents;
}

static void serve(struct connection *c, int64_t now)
{
    bool good = true;
    for (int side = 0; side < 2 && good; side++) {
        short got = c->events[side];
        c->events[side] = 0;
        if ((got & (POLLIN | POLLHUP | POLLERR)) && wants_read(c, side))
            good = take(c, side);
        if (good && (got & (POLLOUT | POLLHUP | POLLERR)) && wants_write(c, !side, now))
            good = give(c, !side);
    }
    if (!good)
        drop(c, !(c->pipe[UP].done && c->pipe[DOWN].done));
}

static void loop(void)
{
    while (!p.quit) {
        struct connection *c, *next;
        wait_for(now_ns());
        int64_t now = now_ns();
        bool commands = polled[0].revents, connections = polled[1].revents;
        for (c = TAILQ_FIRST(&p.all); c; c = next) {
            next = TAILQ_NEXT(c, link);
            serve(c, now);
        }
        if (connections)
            accept_one();
        if (commands)
            read_commands();
    }
    each(true, false);
}

static int parse(const char *text, struct sockaddr_in *ret)
{
    char host[64];
    int port;
    *ret = (struct sockaddr_in){.sin_family = AF_INET};
    if (sscanf(text, "%63[^:]:%d", host, &port) != 2 ||
        inet_pton(AF_INET, host, &ret->sin_addr) != 1)
        return -1;
    ret->sin_port = htons((uint16_t)port);
    return 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_in at;
    socklen_t len = sizeof(at);
    int on = 1;
    if (argc != 3 || parse(argv[1], &at) || parse(argv[2], &p.to)) {
        fprintf(stderr, "usage: proxy ADDRESS:PORT ADDRESS:PORT\n");
        return 2;
    }
    TAILQ_INIT(&p.all);
    p.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(p.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(p.listener, (struct sockaddr *)&at, sizeof(at)) ||
        listen(p.listener, SOMAXCONN) ||
        getsockname(p.listener, (struct sockaddr *)&at, &len)) {
        perror(argv[1]);
        return 1;
    }
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
    printf("listening %d\n", ntohs(at.sin_port));
    fflush(stdout);
    loop();
    return 0;
}
