/* SPDX-License-Identifier: Apache-2.0
 *
 * A load that looks closely: every request has an id of its own, and every one must be
 * answered once, with its own id, or be refused in words, or be lost with its
 * connection.
 *
 *   serve_load PORT PATH SECONDS CONNECTIONS LOG [HEADER]
 *
 * SIGTERM ends it before its seconds are over. LOG gets a line for each request, at
 * once: "ID ok", "ID STATUS" or "ID lost". On stdout: "sent
 * N ok N refused N lost N". What must never happen ends it with 1 and a line on stderr:
 * an answer to another request, a second answer, an error without words, no answer at
 * all for minutes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SILENCE_MS 180000
#define REPLY_MAX 65536

static struct sockaddr_in to = {.sin_family = AF_INET};
static const char *path, *header;
static double until;
static FILE *record;
static volatile sig_atomic_t told_to_end;
static atomic_long sent, ok, refused, lost, wrong;

struct client {
    int number, fd;
    char buf[REPLY_MAX];
    size_t len;
    char id[64];
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void bad(const struct client *c, const char *what)
{
    atomic_fetch_add(&wrong, 1);
    fprintf(stderr, "request %s: %s: %.*s\n", c->id, what,
            (int)(c->len < 400 ? c->len : 400), c->buf);
}

static void note(const struct client *c, const char *result)
{
    fprintf(record, "%s %s\n", c->id, result);
}

static void hang_up(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->len = 0;
}

static bool dial(struct client *c)
{
    int one = 1;

    if (c->fd >= 0)
        return true;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return false;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) == 0)
        return true;
    hang_up(c);
    return false;
}

/* More of the reply: 1; 0: the connection is over; -1: silence. */
static int more(struct client *c, int ms)
{
    struct pollfd p = {c->fd, POLLIN, 0};

    if (poll(&p, 1, ms) == 0)
        return -1;
    ssize_t n = read(c->fd, c->buf + c->len, sizeof(c->buf) - 1 - c->len);
    if (n <= 0)
        return 0;
    c->len += (size_t)n;
    c->buf[c->len] = '\0';
    return 1;
}

/* Where the whole reply ends, 0: not yet. */
static size_t reply_end(const struct client *c, const char **ret_body)
{
    const char *end = strstr(c->buf, "\r\n\r\n");
    const char *length = end ? strcasestr(c->buf, "\r\ncontent-length:") : NULL;

    if (!length || length > end)
        return 0;
    size_t whole = (size_t)(end + 4 - c->buf) + strtoul(length + 17, NULL, 10);
    *ret_body = end + 4;
    return c->len >= whole ? whole : 0;
}

static void judge(struct client *c, const char *body, size_t whole)
{
    int status = atoi(c->buf + strlen("HTTP/1.1 "));
    char result[16];

    if (c->len > whole)
        bad(c, "more was answered than was asked");
    if (status == 200) {
        if (!strstr(body, c->id))
            bad(c, "the answer is to another request");
        atomic_fetch_add(&ok, 1);
        note(c, "ok");
    } else {
        if (status < 500 || !strstr(body, "\"message\""))
            bad(c, "an error without words");
        atomic_fetch_add(&refused, 1);
        snprintf(result, sizeof(result), "%d", status);
        note(c, result);
    }
}

static void receive(struct client *c)
{
    const char *body = NULL;
    size_t whole = 0;
    int rc = 1;

    c->len = 0;
    c->buf[0] = '\0';
    while (rc > 0 && !(whole = c->len ? reply_end(c, &body) : 0))
        rc = more(c, SILENCE_MS);
    if (rc > 0) {
        judge(c, body, whole);
        if (strcasestr(c->buf, "\r\nconnection: close"))
            hang_up(c);
        return;
    }
    if (rc < 0)
        bad(c, "no answer for three minutes");
    else if (c->len)
        bad(c, "the answer is cut off");
    atomic_fetch_add(&lost, 1);
    note(c, "lost");
    hang_up(c);
}

/* Nothing may come while nothing is asked. */
static void listen_in(struct client *c)
{
    struct pollfd p = {c->fd, POLLIN, 0};

    c->len = 0;
    if (c->fd < 0 || poll(&p, 1, 0) == 0)
        return;
    if (more(c, 0) > 0)
        bad(c, "a second answer");
    hang_up(c); /* the server closed it, as it may */
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    char text[512];

    for (long n = 1; now() < until && !told_to_end; n++) {
        listen_in(c);
        if (!dial(c)) {
            usleep(20000); /* nobody listens just now: nothing was asked */
            continue;
        }
        snprintf(c->id, sizeof(c->id), "r-%d-%ld-%d", c->number, n, (int)getpid());
        int len = snprintf(text, sizeof(text),
                           "POST %s HTTP/1.1\r\nHost: test\r\n%s%sContent-Length: %zu"
                           "\r\n\r\n{\"id\":\"%s\"}",
                           path, header ? header : "", header ? "\r\n" : "",
                           strlen(c->id) + 9, c->id);
        if (write(c->fd, text, (size_t)len) != len) {
            hang_up(c);
            continue;
        }
        atomic_fetch_add(&sent, 1);
        receive(c);
    }
    hang_up(c);
    return NULL;
}

static void on_term(int signal)
{
    (void)signal;
    told_to_end = 1;
}

int main(int argc, char **argv)
{
    int clients = argc >= 6 ? atoi(argv[4]) : 0;
    pthread_t threads[256];

    if (clients < 1 || clients > 256 || !(record = fopen(argv[5], "we"))) {
        fprintf(stderr,
                "usage: serve_load PORT PATH SECONDS CONNECTIONS LOG [HEADER]\n");
        return 2;
    }
    setvbuf(record, NULL, _IOLBF, 0);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_term, .sa_flags = SA_RESTART},
              NULL);
    to.sin_port = htons((unsigned short)atoi(argv[1]));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    path = argv[2];
    until = now() + atof(argv[3]);
    header = argc > 6 ? argv[6] : NULL;
    for (int i = 0; i < clients; i++) {
        struct client *c = calloc(1, sizeof(*c));
        if (!c)
            return 2;
        c->number = i;
        c->fd = -1;
        pthread_create(&threads[i], NULL, client_main, c);
    }
    for (int i = 0; i < clients; i++)
        pthread_join(threads[i], NULL);
    fclose(record);
    printf("sent %ld ok %ld refused %ld lost %ld\n", atomic_load(&sent),
           atomic_load(&ok), atomic_load(&refused), atomic_load(&lost));
    if (atomic_load(&sent) !=
        atomic_load(&ok) + atomic_load(&refused) + atomic_load(&lost))
        fprintf(stderr, "the sums do not agree\n");
    return atomic_load(&wrong) != 0;
}
