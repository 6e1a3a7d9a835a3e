/* SPDX-License-Identifier: Apache-2.0
 * What a client may send to the server, and a program to the client. The first byte
 * says which ('s': the server, else the client's parser), the second in how large
 * pieces the rest comes. Whatever the server tells its handler must be a request in one
 * reading only, and it must be rid of the connection in the end. A reply must parse to
 * the same in pieces and whole. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "http/parse.h"
#include "http/server.h"

#define TURNS 2000
#define MAX_BODY 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- the server --- */

static uv_loop_t loop;
static struct http_server *server;
static struct http_request *held[256];
static size_t held_count;
static char path[64];

static void check_field(void *ctx, const char *name, const char *value)
{
    int *framings = ctx;
    rwf_assert(*name && !strpbrk(name, " \t\r\n:") && !strpbrk(value, "\r\n"));
    if (!strcasecmp(name, "content-length") || !strcasecmp(name, "transfer-encoding"))
        ++*framings;
}

static void request(void *ctx, struct http_request *r)
{
    int framings = 0;
    size_t size;
    const char *p = http_path(r), *length = http_header(r, "content-length");
    (void)ctx;
    http_body(r, &size);
    http_headers(r, check_field, &framings);
    rwf_assert(*p == '/' && !strstr(p, "/../") && rwf_utf8_valid(p, strlen(p)));
    rwf_assert(framings <= 1 && size <= MAX_BODY);
    rwf_assert(!length || strtoul(length, NULL, 10) == size);
    rwf_assert(framings || !size);
    if (p[1] == 'h' && held_count < RWF_COUNT(held)) {
        held[held_count++] = r;
    } else if (p[1] == 's') {
        http_reply_begin(r, 200, "text/plain");
        http_reply_write(r, "piece", 5);
        http_reply_end(r, p[2] == 'c');
    } else {
        http_reply(r, 200, "text/plain", "x", 1);
    }
}

static void gone(void *ctx, struct http_request *r)
{
    (void)ctx, (void)r;
}

static void open_server(void)
{
    snprintf(path, sizeof(path), "/tmp/fuzz-http-%d.sock", (int)getpid());
    uv_loop_init(&loop);
    server = http_server_create(
        &loop,
        &(struct http_server_options){.unix_path = path,
                                      .max_body = MAX_BODY,
                                      .max_header = 4096,
                                      .cors_origins = (const char *const[]){"*", NULL},
                                      .request = request,
                                      .gone = gone},
        NULL);
    rwf_assert(server);
}

static void drop(int fd)
{
    char buffer[4096];
    while (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
        continue;
}

static void reply_held(void)
{
    for (size_t i = 0; i < held_count; i++)
        http_reply(held[i], 200, NULL, "later", 5);
    held_count = 0;
}

static void feed_server(const char *data, size_t size, size_t step)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct http_server_stats stats = {.open = 1};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(a.sun_path, path);
    rwf_assert(!connect(fd, (struct sockaddr *)&a, sizeof(a)));
    for (size_t at = 0; at < size; at += step) {
        if (send(fd, data + at, step < size - at ? step : size - at,
                 MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
        uv_run(&loop, UV_RUN_NOWAIT);
        drop(fd);
        reply_held();
    }
    for (int i = 0; i < 4; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    close(fd);
    for (int i = 0; stats.open || stats.ongoing; i++) {
        rwf_assert(i < TURNS);
        reply_held();
        uv_run(&loop, UV_RUN_NOWAIT);
        http_server_stats(server, &stats);
    }
}

/* --- the client's parser --- */

static void parse(const char *data, size_t size, size_t step, struct rwf_str *out)
{
    struct http__parser p = {0};
    struct rwf_err err = RWF_ERR_INIT;
    enum http__event e = HTTP__MORE;
    const char *end = data + size;
    http__parser_start(&p, false, 2048);
    while (e != HTTP__END && e != HTTP__WRONG) {
        size_t given = (size_t)(end - data) < step ? (size_t)(end - data) : step;
        bool last = !given;
        e = http__parse(&p, &data, &given, &err);
        if (e == HTTP__HEADER) {
            rwf_str_addf(out, "%d %zu\n", p.status, p.count);
            for (size_t i = 0; i < p.count; i++)
                rwf_str_addf(out, "%s:%s\n", p.names[i], p.values[i]);
        } else if (e == HTTP__PIECE) {
            rwf_str_addn(out, p.piece, p.piece_size);
        } else if (e == HTTP__MORE && last) {
            e = http__parse_eof(&p, &err);
        }
    }
    rwf_assert(e == HTTP__END || err.text[0]);
    rwf_str_addf(out, "\n%d %d", (int)e, e == HTTP__END ? p.keep : 0);
    http__parser_free(&p);
}

static void feed_parser(const char *data, size_t size, size_t step)
{
    struct rwf_str whole = {0}, parts = {0};
    parse(data, size, size + 1, &whole);
    parse(data, size, step, &parts);
    rwf_assert(whole.len == parts.len && !memcmp(whole.data, parts.data, whole.len));
    rwf_str_free(&whole);
    rwf_str_free(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const char *rest = (const char *)data + 2;
    if (!server)
        open_server();
    if (data[0] == 's')
        feed_server(rest, size - 2, data[1] + 1u);
    else
        feed_parser(rest, size - 2, data[1] + 1u);
    return 0;
}
