/* SPDX-License-Identifier: Apache-2.0
 *
 * The serve step: hands its application to the run's server and follows until it is up.
 * The server may start at the same time, or be started anew while the step waits;
 * deploying again what is there already changes nothing, so the step just asks anew.
 */
#include "config.h"
#include "serve/op_serve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "serve/spec.h"

#define WAIT (10 * RWF_NS_PER_S) /* for the socket */
#define TRIES 3                  /* of a server that dies meanwhile */
#define REPLY_MAX ((size_t)64 << 20)

/* --- the socket --- */

static int open_once(const char *path, struct rwf_err *err)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(to.sun_path))
        return rwf_fail(err, RWF_E_ENV,
                        "the path of the control socket is too long: %s", path);
    strcpy(to.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return rwf_fail(err, errno, "socket: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
        return fd;
    rwf_fail(err, RWF_E_ENV, "the server of what is served cannot be reached at %s: %s",
             path, strerror(errno));
    close(fd);
    return -1;
}

static int open_control(const char *path, struct rwf_err *err)
{
    const struct timespec pause = {.tv_nsec = 10 * RWF_NS_PER_MS};
    int64_t end = rwf_clock_mono() + WAIT;
    int fd;

    while ((fd = open_once(path, err)) < 0 && rwf_clock_mono() < end)
        nanosleep(&pause, NULL);
    return fd;
}

/* --- what comes back --- */

struct reading {
    struct op_run *run;
    int fd;
    struct rwf_str in;
    char last[256]; /* message */
    bool over;  /* the last line was there */
    bool ended; /* the server closed before it */
};

static void follow(struct reading *r, const json_t *line)
{
    const char *message = json_string_value(json_object_get(line, "message"));
    json_t *progress = json_object_get(line, "progress");

    if (message != NULL && strcmp(message, r->last) != 0) {
        fprintf(stderr, "%s\n", message);
        snprintf(r->last, sizeof(r->last), "%s", message);
    }
    if (json_is_number(progress)) {
        json_t *report = json_pack("{s:O}", "progress", progress);
        r->run->report(r->run, report);
        json_decref(report);
    }
}

static int take_line(struct reading *r, const char *text, size_t len,
                     struct rwf_err *err)
{
    json_t *line = json_loadb(text, len, 0, NULL);
    json_t *ok = json_object_get(line, "ok");
    int rc = 0;

    if (ok == NULL) {
        follow(r, line);
    } else {
        const char *error = json_string_value(json_object_get(line, "error"));
        int code = (int)json_integer_value(json_object_get(line, "code"));
        r->over = true;
        if (!json_is_true(ok))
            rc = rwf_fail(err, code != 0 ? code : RWF_E_FAILED, "%s",
                          error != NULL ? error : "the server did not say why");
    }
    json_decref(line);
    return rc;
}

static int take_lines(struct reading *r, struct rwf_err *err)
{
    char *at = r->in.data, *end = at + r->in.len, *newline;
    int rc = 0;

    while (rc == 0 && !r->over && at < end &&
           (newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        rc = take_line(r, at, (size_t)(newline - at), err);
        at = newline + 1;
    }
    r->in.len = (size_t)(end - at);
    memmove(r->in.data, at, r->in.len);
    if (rc == 0 && r->in.len > REPLY_MAX)
        rc = rwf_fail(err, RWF_E_ENV, "the server's answer is too long");
    return rc;
}

static int read_all(struct reading *r, struct rwf_err *err)
{
    char bytes[16384];
    int rc = 0;

    while (rc == 0 && !r->over && !r->ended) {
        ssize_t n = read(r->fd, bytes, sizeof(bytes));
        if (n < 0 && errno == EINTR)
            continue;
        r->ended = n <= 0;
        if (n > 0) {
            rwf_str_addn(&r->in, bytes, (size_t)n);
            rc = take_lines(r, err);
        }
    }
    return rc;
}

/* A step's error is one line, and a program's last lines come behind the cause: all of
 * them are printed, and the cause is kept with the last. */
static void one_line(struct rwf_err *err)
{
    char *first = strchr(err->text, '\n');
    const char *last;

    if (first == NULL)
        return;
    fprintf(stderr, "%s\n", err->text);
    last = strrchr(err->text, '\n') + 1;
    if (last == first + 1) {
        *first = ' ';
        return;
    }
    *first = '\0';
    char *text = rwf_xasprintf("%s … %s", err->text, last);
    snprintf(err->text, sizeof(err->text), "%s", text);
    free(text);
}

/* Its own name stands before whatever a step says. */
static void without_name(struct rwf_err *err, const json_t *spec)
{
    const char *name = json_string_value(json_object_get(spec, "name"));
    char *own = rwf_xasprintf("serve.%s: ", name != NULL ? name : "");
    size_t len = strlen(own);

    if (strncmp(err->text, own, len) == 0)
        memmove(err->text, err->text + len, strlen(err->text + len) + 1);
    free(own);
}

/* --- the step --- */

static int send_all(int fd, const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        ssize_t n = send(fd, text, left, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        text += n;
        left -= (size_t)n;
    }
    return 0;
}

/* 1: the server ended before it answered. */
static int deploy_once(struct op_run *run, const char *path, const char *request,
                       struct rwf_err *err)
{
    struct reading r = {.run = run, .fd = open_control(path, err)};
    int rc = 0;

    if (r.fd < 0)
        return -1;
    if (send_all(r.fd, request) < 0)
        r.ended = true;
    else
        rc = read_all(&r, err);
    close(r.fd);
    rwf_str_free(&r.in);
    return rc < 0 ? -1 : r.ended;
}

static int deploy(struct op_run *run, const char *path, const char *request,
                  struct rwf_err *err)
{
    int rc = 1;

    for (int i = 0; i < TRIES && rc == 1; i++)
        rc = deploy_once(run, path, request, err);
    return rc == 1
               ? rwf_fail(err, RWF_E_ENV,
                          "the server ended %d times before it answered; its log is "
                          "the file stderr in the folder serve of the run",
                          TRIES)
               : rc;
}

static char *request_of(const json_t *spec, struct rwf_err *err)
{
    json_t *app = json_deep_copy(spec);
    char *text = NULL;

    if (serve_op_contents(app, err) == 0) {
        json_t *request =
            json_pack("{s:s, s:O, s:b}", "do", "deploy", "app", app, "wait", 1);
        char *line = json_dumps(request, JSON_COMPACT);
        text = rwf_xasprintf("%s\n", line);
        free(line);
        json_decref(request);
    }
    json_decref(app);
    return text;
}

int serve_op_deploy(struct op_run *r, struct rwf_err *err)
{
    const char *path = getenv("RAYWF_SERVE_CONTROL");
    char *request;
    int rc;

    if (path == NULL || *path == '\0')
        return rwf_fail(err, RWF_E_BUG, "RAYWF_SERVE_CONTROL is not set");
    request = request_of(r->spec, err);
    if (request == NULL)
        return -1;
    rc = deploy(r, path, request, err);
    if (rc < 0) {
        without_name(err, r->spec);
        one_line(err);
    }
    free(request);
    return rc;
}
