/* SPDX-License-Identifier: Apache-2.0
 *
 * Asks a program whether it is there, from a thread that may wait.
 */
#include "config.h"
#include "serve/class_program.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/unix.h"

int serve__probe_free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), port = 0;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
        getsockname(fd, (struct sockaddr *)&a, &len) == 0)
        port = ntohs(a.sin_port);
    if (fd >= 0)
        close(fd);
    return port;
}

static int connect_unix(const char *path, struct rwf_err *err)
{
    struct rwf_unix a;
    if (rwf_unix_open(&a, path, err) != 0)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = fd >= 0 ? connect(fd, (struct sockaddr *)&a.addr, a.len) : -1;
    int why = errno;
    rwf_unix_close(&a);
    if (rc == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return rwf_fail(err, why, "%s: %s", path, strerror(why));
}

static int connect_port(const char *target, struct rwf_err *err)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *colon = strrchr(target, ':');
    a.sin_port = htons((uint16_t)(colon != NULL ? atoi(colon + 1) : 0));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = fd >= 0 ? connect(fd, (struct sockaddr *)&a, sizeof(a)) : -1;
    int why = errno;
    if (rc == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return rwf_fail(err, why, "%s: %s", target, strerror(why));
}

static bool wait_readable(int fd, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t left = (deadline - rwf_clock_mono()) / RWF_NS_PER_MS;
    return poll(&p, 1, left > 0 ? (int)left : 0) > 0;
}

/* The first line of the reply into text; false: none came. */
static bool read_line(int fd, char *text, size_t size, int64_t deadline)
{
    size_t len = 0;
    while (len < size - 1 && wait_readable(fd, deadline)) {
        ssize_t n = recv(fd, text + len, size - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        text[len] = '\0';
        if (strchr(text, '\n') != NULL)
            return true;
    }
    return false;
}

static int ask(int fd, const char *path, int ms, struct rwf_err *err)
{
    char line[256];
    int status = 0;
    char *text = rwf_xasprintf("GET %s HTTP/1.1\r\nHost: localhost\r\n"
                               "User-Agent: raywf\r\nConnection: close\r\n\r\n",
                               path);
    ssize_t sent = send(fd, text, strlen(text), MSG_NOSIGNAL);
    free(text);
    if (sent < 0)
        return rwf_fail(err, errno, "GET %s: %s", path, strerror(errno));
    if (!read_line(fd, line, sizeof(line), rwf_clock_mono() + ms * RWF_NS_PER_MS))
        return rwf_fail(err, ETIMEDOUT, "GET %s: no answer within %d ms", path, ms);
    if (sscanf(line, "HTTP/1.%*d %d", &status) != 1)
        return rwf_fail(err, EPROTO, "GET %s: what it answers is no HTTP/1.1", path);
    if (status >= 400)
        return rwf_fail(err, EPROTO, "GET %s: it answers with status %d", path, status);
    return 0;
}

int serve__probe(const char *address, const char *path, int ms, struct rwf_err *err)
{
    int fd = rwf_starts_with(address, "unix:") ? connect_unix(address + 5, err)
                                               : connect_port(address, err);
    int rc = fd >= 0 ? 0 : -1;
    if (rc == 0 && path != NULL)
        rc = ask(fd, path, ms, err);
    if (fd >= 0)
        close(fd);
    return rc;
}
