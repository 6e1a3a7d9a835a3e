/* SPDX-License-Identifier: Apache-2.0
 *
 * What the server takes and what it must not take: requests that other programs on the
 * way could read in another way, and those that are too large.
 */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "http_rig.h"

/* --- what is taken, and what is not --- */

struct shape {
    const char *name, *bytes;
    size_t len;
    int status; /* 0: closed without a word */
    int told;
    const char *body; /* NULL: any */
};

static const struct shape shapes[] = {
    {"plain", BYTES(GET H "\r\n"), 200, 1, "hello"},
    {"no space after the colon", BYTES(GET "Host:a\r\n\r\n"), 200, 1, "hello"},
    {"tabs around a value", BYTES(GET "Host:\t a \t\r\n\r\n"), 200, 1, "hello"},
    {"an empty value", BYTES(GET H "X:\r\nY: \r\n\r\n"), 200, 1, "hello"},
    {"an empty line before", BYTES("\r\n" GET H "\r\n"), 200, 1, "hello"},
    {"HTTP/1.0", BYTES("GET / HTTP/1.0\r\n\r\n"), 200, 1, "hello"},
    {"length", BYTES(POST "Content-Length: 3\r\n\r\nabc"), 200, 1, "abc"},
    {"length 0", BYTES(POST "Content-Length: 0\r\n\r\n"), 200, 1, "hello"},
    {"chunked",
     BYTES(POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
     200, 1, "abcde"},
    {"chunked, other case",
     BYTES(POST "transfer-ENCODING: CHUNKED\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n"), 200,
     1, "0123456789"},
    {"chunks with extensions and a trailer",
     BYTES(POST
           "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0;c\r\nX: y\r\n\r\n"),
     200, 1, "abc"},
    {"an absolute target", BYTES("GET http://b/where?q HTTP/1.1\r\n" H "\r\n"), 200, 1,
     "/where|q"},
    {"escapes", BYTES("GET /where%2fa%20%C3%A9?x=%20 HTTP/1.1\r\n" H "\r\n"), 200, 1,
     "/where/a \xC3\xA9|x=%20"},
    {"dots that do not climb", BYTES("GET /where/..a/b..c/... HTTP/1.1\r\n" H "\r\n"),
     200, 1, "/where/..a/b..c/...|"},
    {"high bytes in a value", BYTES(GET H "X: \xC3\xA9\xFF\r\n\r\n"), 200, 1, "hello"},
    {"OPTIONS *", BYTES("OPTIONS * HTTP/1.1\r\n" H "\r\n"), 204, 0, ""},

    {"length and encoding",
     BYTES(POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     400, 0, NULL},
    {"encoding and length",
     BYTES(POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
     400, 0, NULL},
    {"two lengths", BYTES(POST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
     400, 0, NULL},
    {"the same length twice",
     BYTES(POST "Content-Length: 3\r\ncontent-length: 3\r\n\r\nabc"), 400, 0, NULL},
    {"a list of lengths", BYTES(POST "Content-Length: 3, 3\r\n\r\nabc"), 400, 0, NULL},
    {"length +3", BYTES(POST "Content-Length: +3\r\n\r\nabc"), 400, 0, NULL},
    {"length -1", BYTES(POST "Content-Length: -1\r\n\r\nabc"), 400, 0, NULL},
    {"length 0x3", BYTES(POST "Content-Length: 0x3\r\n\r\nabc"), 400, 0, NULL},
    {"length 3 3", BYTES(POST "Content-Length: 3 3\r\n\r\nabc"), 400, 0, NULL},
    {"no length", BYTES(POST "Content-Length:\r\n\r\nabc"), 400, 0, NULL},
    {"length of 2^64", BYTES(POST "Content-Length: 18446744073709551616\r\n\r\nabc"),
     413, 0, NULL},
    {"gzip", BYTES(POST "Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n"), 400, 0, NULL},
    {"gzip, chunked", BYTES(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
     400, 0, NULL},
    {"chunked, chunked",
     BYTES(POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"), 400, 0, NULL},
    {"chunked twice",
     BYTES(POST
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     400, 0, NULL},
    {"identity", BYTES(POST "Transfer-Encoding: identity\r\n\r\n"), 400, 0, NULL},
    {"xchunked", BYTES(POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 400, 0,
     NULL},
    {"\\vchunked", BYTES(POST "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n"), 400, 0,
     NULL},
    {"chunked in HTTP/1.0",
     BYTES("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400, 0,
     NULL},
    {"a space before the colon",
     BYTES(POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400, 0, NULL},
    {"a tab before the colon", BYTES(POST "Content-Length\t: 3\r\n\r\nabc"), 400, 0,
     NULL},
    {"a folded line", BYTES(POST "X: a\r\n b\r\n\r\n"), 400, 0, NULL},
    {"a folded line, by a tab", BYTES(POST "X: a\r\n\tContent-Length: 3\r\n\r\nabc"),
     400, 0, NULL},
    {"a fold at the first line", BYTES(GET " Host: a\r\n\r\n"), 400, 0, NULL},
    {"bare LF after the request line", BYTES("GET / HTTP/1.1\n" H "\r\n"), 400, 0,
     NULL},
    {"bare LF after a header", BYTES(GET "Host: a\n\r\n"), 400, 0, NULL},
    {"bare LF between headers", BYTES(GET H "X: y\nZ: z\r\n\r\n"), 400, 0, NULL},
    {"bare LF at the end", BYTES(GET H "\n"), 400, 0, NULL},
    {"all bare LF", BYTES("GET / HTTP/1.1\nHost: a\n\n"), 400, 0, NULL},
    {"CR in a value", BYTES(GET H "X: a\rContent-Length: 3\r\n\r\n"), 400, 0, NULL},
    {"CR CR LF", BYTES(GET "Host: a\r\r\n\r\n"), 400, 0, NULL},
    {"NUL in a value", BYTES(GET H "X: a\0b\r\n\r\n"), 400, 0, NULL},
    {"NUL NUL in a value", BYTES(GET H "X: a\0\0Content-Length: 3\r\n\r\n"), 400, 0,
     NULL},
    {"NUL at the end of a value", BYTES(GET H "X: a\0\r\nY: b\r\n\r\n"), 400, 0, NULL},
    {"NUL in a name", BYTES(GET H "X\0Y: a\r\n\r\n"), 400, 0, NULL},
    {"a line that begins with NUL", BYTES(GET H "\0X\0y\0\0\r\n\r\n"), 400, 0, NULL},
    {"NUL in the target", BYTES("GET /a\0b HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"NUL after the version", BYTES("GET / HTTP/1.1\0\r\n" H "\r\n"), 400, 0, NULL},
    {"a control character in a value", BYTES(GET H "X: a\001b\r\n\r\n"), 400, 0, NULL},
    {"no colon", BYTES(GET H "Xyz\r\n\r\n"), 400, 0, NULL},
    {"no name", BYTES(GET H ": y\r\n\r\n"), 400, 0, NULL},
    {"a name that is no token", BYTES(GET H "X(Y): z\r\n\r\n"), 400, 0, NULL},
    {"no Host", BYTES(GET "\r\n"), 400, 0, NULL},
    {"a Host that is none", BYTES(GET "Host: a b/c\r\n\r\n"), 400, 0, NULL},
    {"a Host with a user", BYTES(GET "Host: u@b\r\n\r\n"), 400, 0, NULL},
    {"an IPv6 Host", BYTES(GET "Host: [::1]:80\r\n\r\n"), 200, 1, "hello"},
    {"two Hosts", BYTES(GET H "Host: b\r\n\r\n"), 400, 0, NULL},
    {"no target", BYTES("GET\r\n" H "\r\n"), 400, 0, NULL},
    {"no version", BYTES("GET /\r\n" H "\r\n"), 400, 0, NULL},
    {"a space in the target", BYTES("GET /a b HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"two spaces", BYTES("GET  / HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"a space after the version", BYTES("GET / HTTP/1.1 \r\n" H "\r\n"), 400, 0, NULL},
    {"a tab for a space", BYTES("GET\t/ HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"a space before the method", BYTES(" GET / HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"a method that is no token", BYTES("G@T / HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"a method that is not known", BYTES("get / HTTP/1.1\r\n" H "\r\n"), 501, 0, NULL},
    {"CONNECT", BYTES("CONNECT a:1 HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"TRACE", BYTES("TRACE / HTTP/1.1\r\n" H "\r\n"), 501, 0, NULL},
    {"HTTP/2.0", BYTES("GET / HTTP/2.0\r\n" H "\r\n"), 505, 0, NULL},
    {"HTTP/1.2", BYTES("GET / HTTP/1.2\r\n" H "\r\n"), 400, 0, NULL},
    {"http/1.1", BYTES("GET / http/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"the preface of HTTP/2", BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505, 0, NULL},
    {"TLS to a plain port", BYTES("\x16\x03\x01\x02\x00\x01\n"), 400, 0, NULL},
    {"..", BYTES("GET /a/../b HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {".. at the end", BYTES("GET /a/.. HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"%2e%2e", BYTES("GET /a/%2e%2E/b HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"..%2f", BYTES("GET /..%2fb HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"..\\", BYTES("GET /..%5cb HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"%00", BYTES("GET /a%00b HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"%0d", BYTES("GET /a%0d%0aX HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"%zz", BYTES("GET /%zz HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"% cut", BYTES("GET /% HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"%4 cut", BYTES("GET /%4 HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"bad UTF-8", BYTES("GET /%C0%AF HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"a raw high byte", BYTES("GET /\xC3\xA9 HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"a path without a slash", BYTES("GET a HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"a fragment", BYTES("GET /a#b HTTP/1.1\r\n" H "\r\n"), 400, 0, NULL},
    {"a chunk's size that is no number",
     BYTES(POST "Transfer-Encoding: chunked\r\n\r\nx\r\nabc\r\n0\r\n\r\n"), 400, 0,
     NULL},
    {"a chunk's size with a sign",
     BYTES(POST "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n"), 400, 0,
     NULL},
    {"a chunk's size in 0x",
     BYTES(POST "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"), 400, 0,
     NULL},
    {"a chunk longer than its size",
     BYTES(POST "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n"), 400, 0,
     NULL},
    {"a chunk of 2^64",
     BYTES(POST "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nabc"), 413, 0,
     NULL},
};

static void check_shape(struct rig *g, const struct shape *c, bool whole)
{
    int told = g->told, fd = rig_connect(g);
    for (size_t i = 0; !whole && i + 1 < c->len; i++) {
        rig_send(g, fd, c->bytes + i, 1);
        rig_turns(g, 1);
    }
    rig_send(g, fd, whole ? c->bytes : c->bytes + c->len - 1, whole ? c->len : 1);
    bool closed;
    char *reply = rig_read(g, fd, 1, &closed);
    ck_assert_msg(rig_status(reply) == c->status, "%s (%s): %s", c->name,
                  whole ? "whole" : "byte by byte", reply);
    ck_assert_msg(!c->body || !strcmp(rig_body(reply), c->body), "%s: %s", c->name,
                  reply);
    ck_assert_msg(g->told == told + c->told, "%s: told %d", c->name, g->told - told);
    /* libmicrohttpd 0.9.75 writes the header of its own 400 for a wrong Content-Length
     * twice, in one reply, before it closes; ours are whole. */
    ck_assert_msg(!strstr(reply, "application/json") || !strstr(reply, "\nHTTP/1.1 "),
                  "%s: answered twice: %s", c->name, reply);
    free(reply);
    if (c->status >= 400) { /* nothing behind it is heard */
        rig_send(g, fd, BYTES(GET H "\r\n"));
        reply = rig_read(g, fd, 0, &closed);
        ck_assert_msg(closed && !*reply, "%s: then %s", c->name, reply);
        free(reply);
    }
    close(fd);
}

START_TEST(test_shapes)
{
    struct rig g;
    rig_open(&g, &(struct http_server_options){0});
    for (size_t i = 0; i < RWF_COUNT(shapes); i++)
        check_shape(&g, &shapes[i], true);
    for (size_t i = 0; i < RWF_COUNT(shapes); i++)
        check_shape(&g, &shapes[i], false);
    rig_close(&g);
}
END_TEST

/* --- bodies and sizes --- */

static void check_sized(struct rig *g, const char *head, size_t size, const char *tail,
                        int status)
{
    char *text = rig_text(head, size, tail);
    int told = g->told;
    char *reply = rig_ask(g, text, strlen(text), 1, NULL);
    ck_assert_msg(rig_status(reply) == status, "%s… %zu: %.200s", head, size, reply);
    ck_assert_int_eq(g->told - told, status == 200);
    free(reply);
    free(text);
}

START_TEST(test_sizes)
{
    struct rig g;
    rig_open(&g, &(struct http_server_options){.max_body = 1000, .max_header = 2000});
    check_sized(&g, POST "Content-Length: 1000\r\n\r\n", 1000, "", 200);
    check_sized(&g, POST "Content-Length: 1001\r\n\r\n", 1001, "", 413);
    check_sized(&g, POST "Content-Length: 100000\r\n\r\n", 100000, "", 413);
    check_sized(&g, POST "Content-Length: 100000000\r\n\r\n", 10, "", 413);
    check_sized(&g, POST "Content-Length: 2000\r\nExpect: 100-continue\r\n\r\n", 0, "",
                413);
    check_sized(&g, POST "Transfer-Encoding: chunked\r\n\r\n3e8\r\n", 1000,
                "\r\n0\r\n\r\n", 200);
    check_sized(&g, POST "Transfer-Encoding: chunked\r\n\r\n3e9\r\n", 1001,
                "\r\n0\r\n\r\n", 413);
    check_sized(&g, POST "Transfer-Encoding: chunked\r\n\r\n186a0\r\n", 100000,
                "\r\n0\r\n\r\n", 413);
    check_sized(&g, POST "Transfer-Encoding: chunked\r\n\r\n2000000\r\n", 9u << 20, "",
                413);
    check_sized(&g, GET H "X: ", 1900, "\r\n\r\n", 200);
    check_sized(&g, GET H "X: ", 2000, "\r\n\r\n", 431);
    check_sized(&g, GET H "X: ", 200000, "\r\n\r\n", 431);
    check_sized(&g, "GET /", 200000, " HTTP/1.1\r\n" H "\r\n", 414);
    rig_close(&g);
}
END_TEST

/* The header grows in libmicrohttpd's memory while it comes. */
START_TEST(test_in_pieces)
{
    struct rig g;
    char *text =
        rig_text(POST "X: ", 15900, "\r\nY: z\r\nContent-Length: 3\r\n\r\nabc");
    rig_open(&g, &(struct http_server_options){0});
    for (size_t step = 500; step < 16000; step = step * 3 / 2) {
        int fd = rig_connect(&g);
        for (size_t at = 0, len = strlen(text); at < len; at += step) {
            rig_send(&g, fd, text + at, step < len - at ? step : len - at);
            rig_turns(&g, 1);
        }
        char *reply = rig_read(&g, fd, 1, NULL);
        ck_assert_msg(rig_status(reply) == 200, "%zu: %s", step, reply);
        ck_assert_str_eq(rig_body(reply), "abc");
        free(reply);
        close(fd);
    }
    free(text);
    rig_close(&g);
}
END_TEST

START_TEST(test_many_headers)
{
    struct rig g;
    struct rwf_str text = {0};
    rig_open(&g, &(struct http_server_options){0});
    for (int count = 100; count <= 400; count += 100) {
        rwf_str_clear(&text);
        rwf_str_add(&text, GET H);
        for (int i = 0; i < count; i++)
            rwf_str_addf(&text, "X-%d: y\r\n", i);
        rwf_str_add(&text, "\r\n");
        char *reply = rig_ask(&g, text.data, text.len, 1, NULL);
        ck_assert_int_eq(rig_status(reply), count == 100 ? 200 : 431);
        free(reply);
    }
    rwf_str_free(&text);
    rig_close(&g);
}
END_TEST

START_TEST(test_continue)
{
    struct rig g;
    rig_open(&g, &(struct http_server_options){0});
    int fd = rig_connect(&g);
    rig_send(&g, fd, BYTES(POST "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"));
    char *reply = rig_read(&g, fd, 1, NULL);
    ck_assert_str_eq(reply, "HTTP/1.1 100 Continue\r\n\r\n");
    free(reply);
    rig_send(&g, fd, BYTES("abc"));
    reply = rig_read(&g, fd, 1, NULL);
    ck_assert_int_eq(rig_status(reply), 200);
    ck_assert_str_eq(rig_body(reply), "abc");
    free(reply);
    close(fd);
    rig_close(&g);
}
END_TEST

/* Large both ways; the reply comes in pieces. */
START_TEST(test_large)
{
    struct rig g;
    size_t size = 3u << 20;
    rig_open(&g, &(struct http_server_options){.max_body = 4u << 20});
    char *text = rig_text(POST "Content-Length: 3145728\r\n\r\n", size, "");
    char *reply = rig_ask(&g, text, strlen(text), 1, NULL);
    ck_assert_int_eq(rig_status(reply), 200);
    ck_assert_str_eq(rig_body(reply), rig_body(text));
    free(reply);
    free(text);
    struct http_server_stats stats;
    http_server_stats(g.server, &stats);
    ck_assert_uint_eq(stats.bytes_in, size);
    ck_assert_uint_eq(stats.bytes_out, size);
    rig_close(&g);
}
END_TEST

/* --- ids, keys, CORS --- */

START_TEST(test_ids)
{
    static const struct {
        const char *given;
        bool kept;
    } cases[] = {
        {"abc-1.2_3", true},
        {"", false},
        {"a b", false},
        {"a\"b", false},
        {"0123456789012345678901234567890123456789012345678901234567890123", true},
        {"01234567890123456789012345678901234567890123456789012345678901234", false}};
    struct rig g;
    char seen[RWF_COUNT(cases)][80];
    rig_open(&g, &(struct http_server_options){0});
    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        char *text = rwf_xasprintf(GET H "X-Request-ID: %s\r\n\r\n", cases[i].given);
        char *reply = rig_ask(&g, text, strlen(text), 1, NULL);
        const char *id = strstr(reply, "\r\nX-Request-Id: ");
        ck_assert_ptr_nonnull(id);
        ck_assert_int_eq(sscanf(id + 16, "%79[^\r]", seen[i]), 1);
        ck_assert_msg(!strcmp(seen[i], cases[i].given) == cases[i].kept, "%s: %s",
                      cases[i].given, seen[i]);
        for (size_t k = 0; k < i; k++)
            ck_assert_str_ne(seen[i], seen[k]);
        free(text);
        free(reply);
    }
    rig_close(&g);
}
END_TEST

START_TEST(test_reply_headers)
{
    static const char *const any[] = {"*", NULL};
    struct rig g;
    rig_open(&g, &(struct http_server_options){.cors_origins = any});
    char *reply =
        rig_ask(&g, BYTES("GET /own HTTP/1.1\r\n" H "Origin: b\r\n\r\n"), 1, NULL);
    ck_assert_int_eq(rig_status(reply), 200);
    ck_assert(strstr(reply, "\r\nX-Own: own\r\n") && !strstr(reply, "other"));
    ck_assert(strstr(reply, "\r\nAccess-Control-Allow-Origin: *\r\n") &&
              !strstr(reply, "X-Evil"));
    free(reply);
    rig_close(&g);
    rig_open(&g, &(struct http_server_options){0});
    reply = rig_get(&g, "/own");
    ck_assert_ptr_nonnull(strstr(reply, "\r\nAccess-Control-Allow-Origin: other\r\n"));
    free(reply);
    rig_close(&g);
}
END_TEST

/* Headers of a handler that do not fit. */
START_TEST(test_large_reply_header)
{
    struct rig g;
    char *value = rig_text("", 9000, "");
    rig_open(&g, &(struct http_server_options){0});
    for (int whole = 0; whole < 2; whole++) {
        int fd = rig_connect(&g);
        g.held_count = 0;
        rig_send(&g, fd, BYTES("GET /hold HTTP/1.1\r\n" H "\r\n"));
        ck_assert(rig_until(&g, rig_is_held, &g));
        http_reply_header(g.held[0], "X", value);
        if (whole) {
            http_reply(g.held[0], 200, NULL, "a", 1);
        } else {
            http_reply_begin(g.held[0], 200, NULL);
            http_reply_write(g.held[0], "a", 1);
            rig_wait(&g, 5);
            http_reply_write(g.held[0], "a", 1);
            http_reply_end(g.held[0], false);
        }
        char *reply = rig_read(&g, fd, 1, NULL);
        ck_assert_int_eq(rig_status(reply), 500);
        ck_assert_ptr_nonnull(strstr(reply, "larger than 8 KiB"));
        free(reply);
        close(fd);
    }
    ck_assert(rig_until(&g, rig_is_closed, &g));
    ck_assert_int_eq(g.gone, 0);
    free(value);
    rig_close(&g);
}
END_TEST

/* No room for the reply's header beside the request's: the connection is closed, and
 * nothing is told from within begin. */
static void check_no_room(int wait)
{
    struct rig g;
    bool closed;
    struct rwf_str text = {0};
    char *value = rig_text("", 8000, "");
    rig_open(&g, &(struct http_server_options){0});
    rwf_str_add(&text, "GET /hold?");
    for (int i = 0; i < 200; i++)
        rwf_str_addf(&text, "a%d&", i);
    rwf_str_add(&text, " HTTP/1.1\r\n" H "X: ");
    while (text.len < 13000)
        rwf_str_addc(&text, 'a');
    rwf_str_add(&text, "\r\n\r\n");
    int fd = rig_connect(&g);
    rig_send(&g, fd, text.data, text.len);
    ck_assert(rig_until(&g, rig_is_held, &g));
    rig_wait(&g, wait);
    http_reply_header(g.held[0], "X", value);
    http_reply_begin(g.held[0], 200, NULL);
    ck_assert_int_eq(g.gone, 0);
    http_reply_write(g.held[0], "a", 1);
    ck_assert(rig_until(&g, rig_is_gone, &g));
    http_reply_end(g.held[0], false);
    char *reply = rig_read(&g, fd, 0, &closed);
    ck_assert(closed && !*reply);
    free(reply);
    free(value);
    rwf_str_free(&text);
    close(fd);
    rig_close(&g);
}

START_TEST(test_no_room)
{
    check_no_room(0);
    check_no_room(10); /* it is suspended */
}
END_TEST

START_TEST(test_keys)
{
    static const char *const keys[] = {"alpha", "beta-longer", NULL};
    static const char *const open[] = {"/health", NULL};
    static const struct {
        const char *path, *line;
        int status;
    } cases[] = {
        {"/", "", 401},
        {"/health", "", 200},
        {"/health/x", "", 401},
        {"/Health", "", 401},
        {"/", "Authorization: Bearer alpha\r\n", 200},
        {"/", "authorization: bearer  beta-longer\r\n", 200},
        {"/", "Authorization: Bearer alph\r\n", 401},
        {"/", "Authorization: Bearer alphaa\r\n", 401},
        {"/", "Authorization: Bearer alphaalpha\r\n", 401},
        {"/", "Authorization: Bearer \r\n", 401},
        {"/", "Authorization: Basic alpha\r\n", 401},
        {"/", "Authorization: alpha\r\n", 401},
    };
    struct rig g;
    rig_open(&g, &(struct http_server_options){.api_keys = keys, .open_paths = open});
    int fd = rig_connect(&g);
    for (size_t i = 0; i < RWF_COUNT(cases); i++) { /* on one connection */
        char *text = rwf_xasprintf("GET %s HTTP/1.1\r\n" H "%s\r\n", cases[i].path,
                                   cases[i].line);
        rig_send(&g, fd, text, strlen(text));
        char *reply = rig_read(&g, fd, 1, NULL);
        ck_assert_msg(rig_status(reply) == cases[i].status, "%s%s: %s", cases[i].path,
                      cases[i].line, reply);
        if (cases[i].status == 401)
            ck_assert(strstr(reply, "\"code\": \"invalid_api_key\"") &&
                      strstr(reply, "\r\nWWW-Authenticate: Bearer\r\n"));
        free(text);
        free(reply);
    }
    close(fd);
    rig_close(&g);
}
END_TEST

#define PREFLIGHT                                                                      \
    "OPTIONS /x HTTP/1.1\r\n" H "Access-Control-Request-Method: POST\r\n"              \
    "Access-Control-Request-Headers: x-a, authorization\r\n"

START_TEST(test_cors)
{
    static const char *const origins[] = {"http://a.example", NULL};
    static const char *const any[] = {"*", NULL};
    static const char *const keys[] = {"k", NULL};
    struct rig g;
    rig_open(&g,
             &(struct http_server_options){.cors_origins = origins, .api_keys = keys});
    char *reply =
        rig_ask(&g, BYTES(PREFLIGHT "Origin: http://a.example\r\n\r\n"), 1, NULL);
    ck_assert_int_eq(rig_status(reply), 204);
    ck_assert_ptr_nonnull(
        strstr(reply, "\r\nAccess-Control-Allow-Origin: http://a.example\r\n"));
    ck_assert_ptr_nonnull(
        strstr(reply, "\r\nAccess-Control-Allow-Headers: x-a, authorization\r\n"));
    ck_assert_ptr_nonnull(strstr(reply, "\r\nVary: Origin\r\n"));
    free(reply);
    reply = rig_ask(&g, BYTES(PREFLIGHT "Origin: http://b.example\r\n\r\n"), 1, NULL);
    ck_assert_int_eq(rig_status(reply), 401);
    ck_assert_ptr_null(strstr(reply, "Allow-Origin"));
    free(reply);
    ck_assert_int_eq(g.told, 0);
    rig_close(&g);
    rig_open(&g, &(struct http_server_options){.cors_origins = any});
    reply = rig_ask(&g, BYTES(GET H "Origin: http://b.example\r\n\r\n"), 1, NULL);
    ck_assert_ptr_nonnull(strstr(reply, "\r\nAccess-Control-Allow-Origin: *\r\n"));
    free(reply);
    reply = rig_ask(&g, BYTES("OPTIONS / HTTP/1.1\r\n" H "\r\n"), 1, NULL);
    ck_assert(rig_status(reply) == 200 &&
              g.told == 2); /* no preflight: the handler's */
    free(reply);
    rig_close(&g);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("http_shapes");
    TCase *t = tcase_create("http_shapes");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_shapes);
    tcase_add_test(t, test_sizes);
    tcase_add_test(t, test_in_pieces);
    tcase_add_test(t, test_many_headers);
    tcase_add_test(t, test_continue);
    tcase_add_test(t, test_large);
    tcase_add_test(t, test_ids);
    tcase_add_test(t, test_reply_headers);
    tcase_add_test(t, test_large_reply_header);
    tcase_add_test(t, test_no_room);
    tcase_add_test(t, test_keys);
    tcase_add_test(t, test_cors);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
