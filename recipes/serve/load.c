/* SPDX-License-Identifier: Apache-2.0
 *
 * A little load: COUNT requests over CONNECTIONS kept-alive connections to a URL on this
 * machine, one after another on each; then the rate, the latencies and how many failed, as
 * metrics of the step (raywf report-metric) and on stdout.
 *
 *   cc -O2 -pthread -o load load.c
 *   load http://127.0.0.1:8000/text COUNT CONNECTIONS BODY
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in to = {.sin_family = AF_INET};
static char request[16384];
static size_t request_len;
static atomic_long next, failed;
static long count;
static double *took; /* ms, by request */

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* The status of a whole reply; -1: the connection broke. */
static int receive(int fd)
{
    static const char mark[] = "content-length:";
    char buf[65536];
    size_t len = 0, want = 0;

    for (;;) {
        ssize_t n = read(fd, buf + len, sizeof(buf) - 1 - len);
        if (n <= 0)
            return -1;
        len += (size_t)n;
        buf[len] = '\0';
        char *end = strstr(buf, "\r\n\r\n");
        if (!end)
            continue;
        for (char *line = buf; !want && line && line < end; line = strstr(line, "\r\n")) {
            line += strspn(line, "\r\n");
            if (strncasecmp(line, mark, sizeof(mark) - 1) == 0)
                want = (size_t)(end + 4 - buf) + strtoul(line + sizeof(mark) - 1, NULL, 10);
        }
        if (want && len >= want)
            return atoi(buf + strlen("HTTP/1.1 "));
    }
}

static void *client(void *arg)
{
    int fd = -1;
    long i;

    while ((i = atomic_fetch_add(&next, 1)) < count) {
        double begin = now_ms();
        if (fd < 0)
            fd = dial();
        bool sent = fd >= 0 &&
                    write(fd, request, request_len) == (ssize_t)request_len;
        int status = sent ? receive(fd) : -1;
        took[i] = now_ms() - begin;
        if (status != 200)
            atomic_fetch_add(&failed, 1);
        if (status < 0 && fd >= 0) {
            close(fd);
            fd = -1;
        }
    }
    if (fd >= 0)
        close(fd);
    return arg;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int parse(const char *url, const char *text)
{
    char host[64];
    int port, at = 0;

    if (sscanf(url, "http://%63[0-9.]:%d%n", host, &port, &at) != 2 ||
        inet_pton(AF_INET, host, &to.sin_addr) != 1) {
        fprintf(stderr, "load: '%s' is no http://ADDRESS:PORT/PATH\n", url);
        return -1;
    }
    to.sin_port = htons((unsigned short)port);
    request_len = (size_t)snprintf(
        request, sizeof(request),
        "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
        "Content-Length: %zu\r\n\r\n%s",
        url[at] ? url + at : "/", host, strlen(text), text);
    return request_len < sizeof(request) ? 0 : -1;
}

int main(int argc, char **argv)
{
    pthread_t threads[256];
    char command[256];
    int clients = argc == 5 ? atoi(argv[3]) : 0;

    count = argc == 5 ? atol(argv[2]) : 0;
    if (count < 1 || clients < 1 || clients > 256 || parse(argv[1], argv[4]) < 0) {
        fprintf(stderr, "usage: load URL COUNT CONNECTIONS BODY\n");
        return 2;
    }
    took = calloc((size_t)count, sizeof(*took));
    if (!took)
        return 1;
    double begin = now_ms();
    for (int i = 0; i < clients; i++)
        pthread_create(&threads[i], NULL, client, NULL);
    for (int i = 0; i < clients; i++)
        pthread_join(threads[i], NULL);
    double seconds = (now_ms() - begin) / 1e3;
    qsort(took, (size_t)count, sizeof(*took), compare);
    snprintf(command, sizeof(command),
             "raywf report-metric rate=%.0f p50_ms=%.3f p99_ms=%.3f failed=%ld",
             (double)count / seconds, took[count / 2], took[count * 99 / 100],
             atomic_load(&failed));
    puts(command);
    fflush(stdout);
    return system(command) == 0 ? 0 : 1;
}
