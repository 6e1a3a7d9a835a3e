/* SPDX-License-Identifier: Apache-2.0
 *
 * Plain sockets, for the tests of proxy.c and as the floor of measurements.
 *
 *   tcp serve ADDRESS:PORT         prints "listening PORT"; a process per connection
 *   tcp ping  ADDRESS:PORT COUNT   round trips of 64 bytes: "us MEDIAN MEAN"
 *   tcp push  ADDRESS:PORT BYTES   sends them: "s SECONDS bytes N", when all have
 * arrived whole tcp ask   ADDRESS:PORT TEXT [MS]   sends it and prints what comes back:
 * "echo TEXT", or "end AFTER_BYTES", "reset AFTER_BYTES", "silence" (of a second, or MS)
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BLOCK ((size_t)1 << 18)
#define COPY_MAX ((size_t)2 << 30)
#define SILENCE_MS 1000

static char block[BLOCK];
static char *kept; /* shared by all the server's processes */

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int die(const char *what)
{
    perror(what);
    exit(1);
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

static void write_all(int fd, const void *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = send(fd, (const char *)data + done, len - done, MSG_NOSIGNAL);
        if (n < 0)
            die("send");
        done += (size_t)n;
    }
}

static void read_all(int fd, void *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = recv(fd, (char *)data + done, len - done, 0);
        if (n <= 0)
            die(n ? "recv" : "the peer ended");
        done += (size_t)n;
    }
}

/* --- the server: 'e' returns what follows, 's' counts it, 'k' also keeps it --- */

static void answer(int fd)
{
    char how = 0;
    ssize_t n;
    uint64_t got = 0;
    if (recv(fd, &how, 1, 0) != 1)
        return;
    while ((n = recv(fd, how == 'k' ? kept + got % COPY_MAX : block, BLOCK, 0)) > 0) {
        if (how == 'e')
            write_all(fd, block, (size_t)n);
        got += (uint64_t)n;
    }
    if (how != 'e' && n == 0)
        write_all(fd, &got, sizeof(got));
}

static int serve(const struct sockaddr_in *at)
{
    struct sockaddr_in got = *at;
    socklen_t len = sizeof(got);
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listener, (const struct sockaddr *)at, sizeof(*at)) ||
        listen(listener, 128) || getsockname(listener, (struct sockaddr *)&got, &len))
        die("listen");
    kept = mmap(NULL, COPY_MAX + BLOCK, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (kept == MAP_FAILED)
        die("mmap");
    signal(SIGCHLD, SIG_IGN);
    printf("listening %d\n", ntohs(got.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            die("accept");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (fork() == 0) {
            close(listener);
            answer(fd);
            _exit(0);
        }
        close(fd);
    }
}

/* --- clients --- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int ping(int fd, long count)
{
    double *took = calloc((size_t)count, sizeof(*took)), sum = 0;
    char text[64] = "e";
    if (!took)
        return 1;
    write_all(fd, text, 1);
    for (long i = 0; i < count; i++) {
        double start = now_s();
        write_all(fd, text, sizeof(text));
        read_all(fd, text, sizeof(text));
        sum += took[i] = now_s() - start;
    }
    qsort(took, (size_t)count, sizeof(*took), compare);
    printf("us %.1f %.1f\n", took[count / 2] * 1e6, sum / (double)count * 1e6);
    free(took);
    return 0;
}

/* From data, or NULL: the same block again and again. */
static int push(int fd, const char *data, uint64_t bytes)
{
    uint64_t got = 0;
    double start = now_s();
    write_all(fd, data ? "k" : "s", 1);
    for (uint64_t done = 0; done < bytes;) {
        size_t n = bytes - done < BLOCK ? (size_t)(bytes - done) : BLOCK;
        write_all(fd, data ? data + done : block, n);
        done += n;
    }
    shutdown(fd, SHUT_WR);
    read_all(fd, &got, sizeof(got));
    printf("s %.4f bytes %llu\n", now_s() - start, (unsigned long long)got);
    return got != bytes;
}

static int copy(int fd, uint64_t bytes)
{
    char *data = malloc(bytes);
    if (!data || bytes > COPY_MAX)
        return 1;
    memset(data, 7, bytes);
    int rc = push(fd, data, bytes);
    free(data);
    return rc;
}

static int ask(int fd, const char *text, int silence_ms)
{
    size_t want = strlen(text), got = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    /* A reset is told once, to who comes first. */
    if (send(fd, "e", 1, MSG_NOSIGNAL) < 0 || send(fd, text, want, MSG_NOSIGNAL) < 0) {
        puts("reset 0");
        return 0;
    }
    while (got < want) {
        ssize_t n = poll(&p, 1, silence_ms) == 1
                        ? recv(fd, block + got, sizeof(block) - got, 0)
                        : -2;
        if (n <= 0) {
            const char *what = n == -2 ? "silence" : n == 0 ? "end" : "reset";
            printf(n == -2 ? "%s\n" : "%s %zu\n", what, got);
            return 0;
        }
        got += (size_t)n;
    }
    printf("echo %.*s\n", (int)got, block);
    return 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_in at;
    int on = 1;
    if (argc < 3 || parse(argv[2], &at) || (strcmp(argv[1], "serve") && argc != 4 && argc != 5)) {
        fprintf(stderr, "usage: tcp serve|ping|push|copy|ask ADDRESS:PORT [WHAT]\n");
        return 2;
    }
    if (strcmp(argv[1], "serve") == 0)
        return serve(&at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, (const struct sockaddr *)&at, sizeof(at)))
        die("connect");
    if (strcmp(argv[1], "ping") == 0)
        return ping(fd, atol(argv[3]));
    if (strcmp(argv[1], "push") == 0)
        return push(fd, NULL, strtoull(argv[3], NULL, 10));
    if (strcmp(argv[1], "copy") == 0)
        return copy(fd, strtoull(argv[3], NULL, 10));
    return ask(fd, argv[3], argc > 4 ? atoi(argv[4]) : SILENCE_MS);
}
