/* SPDX-License-Identifier: Apache-2.0
 *
 * A load with a given rate: http_load PORT PATH CONNECTIONS RATE SECONDS [BODY]
 * (wrk has none: it asks as soon as it was answered). Requests are due at fixed times,
 * whatever becomes of those before; one that finds no free connection waits, and its
 * latency counts from when it was due. One line tells of it:
 *
 *   RATE asked, ANSWERED/s with 200, p50 us, p99 us, REFUSED/s, their p99 us, OTHER
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define S INT64_C(1000000000)
#define STEP 50000    /* ns: at most so often it looks for what is due */
#define DRAIN (2 * S) /* for answers, after the last was asked */

struct conn {
    int fd;
    int64_t due; /* of what it asked; 0: free */
    size_t have;
    char buf[16384];
};

struct times {
    uint32_t *us;
    size_t count, cap;
};

static struct conn *conns;
static int *free_conns, free_count;
static struct times good, refused;
static size_t other;
static char *request;
static size_t request_size;

static void die(const char *what)
{
    fprintf(stderr, "http_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * S + t.tv_nsec;
}

static void add(struct times *t, int64_t ns)
{
    if (t->count == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 65536;
        t->us = realloc(t->us, t->cap * sizeof(*t->us));
        if (!t->us)
            die("memory");
    }
    t->us[t->count++] = (uint32_t)(ns / 1000);
}

static int by_size(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Of sorted ones. */
static uint32_t quantile(const struct times *t, double q)
{
    return t->count ? t->us[(size_t)((double)(t->count - 1) * q)] : 0;
}

/* --- connections --- */

static void open_conn(int epoll, int i, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
    int on = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
    conns[i].fd = fd;
    free_conns[free_count++] = i;
}

/* The size of the whole answer; 0: not all of its header is there. */
static size_t size_of(struct conn *c, int *ret_status)
{
    c->buf[c->have] = '\0';
    char *end = strstr(c->buf, "\r\n\r\n");
    if (!end)
        return 0;
    char *length = strcasestr(c->buf, "\r\ncontent-length:");
    *ret_status = atoi(c->buf + 9);
    return (size_t)(end + 4 - c->buf) +
           (length && length < end ? (size_t)atol(length + 17) : 0);
}

static void take(int i)
{
    struct conn *c = &conns[i];
    int status = 0;
    ssize_t n =
        recv(c->fd, c->buf + c->have, sizeof(c->buf) - 1 - c->have, MSG_DONTWAIT);
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN)
            return;
        die("a connection was closed");
    }
    c->have += (size_t)n;
    size_t size = size_of(c, &status);
    if (!size || c->have < size)
        return;
    int64_t took = now() - c->due;
    if (status == 200)
        add(&good, took);
    else if (status == 503)
        add(&refused, took);
    else
        other++;
    c->have = 0;
    c->due = 0;
    free_conns[free_count++] = i;
}

static void ask(int64_t due)
{
    int i = free_conns[--free_count];
    conns[i].due = due;
    if (send(conns[i].fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size)
        die("send");
}

/* --- the load --- */

static void wait_until(int epoll, int64_t until)
{
    struct epoll_event events[256];
    int64_t left = until - now();
    if (left < STEP)
        left = STEP;
    struct timespec t = {left / S, left % S};
    int n = epoll_pwait2(epoll, events, 256, &t, NULL);
    for (int i = 0; i < n; i++)
        take((int)events[i].data.u32);
}

static void load(int epoll, double rate, double seconds, int count)
{
    const int64_t begin = now() + S / 100;
    const uint64_t all = (uint64_t)(rate * seconds);
    uint64_t asked = 0;
    int64_t end = begin + (int64_t)(seconds * (double)S) + DRAIN, at;
    while ((asked < all || free_count < count) && (at = now()) < end) {
        int64_t due = begin + (int64_t)((double)asked / rate * (double)S);
        while (asked < all && due <= at && free_count) {
            ask(due);
            due = begin + (int64_t)((double)++asked / rate * (double)S);
        }
        wait_until(epoll, asked < all && free_count && due < end ? due : at + S / 100);
    }
}

static void make_request(const char *path, const char *body)
{
    request_size =
        body ? (size_t)asprintf(&request,
                                "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
                                "application/json\r\nContent-Length: %zu\r\n\r\n%s",
                                path, strlen(body), body)
             : (size_t)asprintf(&request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
                                path);
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "http_load PORT PATH CONNECTIONS RATE SECONDS [BODY]\n");
        return 2;
    }
    const int count = atoi(argv[3]);
    const double rate = atof(argv[4]), seconds = atof(argv[5]);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    conns = calloc((size_t)count, sizeof(*conns));
    free_conns = calloc((size_t)count, sizeof(*free_conns));
    if (!conns || !free_conns || epoll < 0)
        die("setting up");
    prctl(PR_SET_TIMERSLACK, 1000);
    make_request(argv[2], argc > 6 ? argv[6] : NULL);
    for (int i = 0; i < count; i++)
        open_conn(epoll, i, atoi(argv[1]));
    load(epoll, rate, seconds, count);
    qsort(good.us, good.count, sizeof(*good.us), by_size);
    qsort(refused.us, refused.count, sizeof(*refused.us), by_size);
    printf("%.0f %.0f %u %u %.0f %u %zu\n", rate, (double)good.count / seconds,
           quantile(&good, 0.5), quantile(&good, 0.99), (double)refused.count / seconds,
           quantile(&refused, 0.99), other);
    return 0;
}
