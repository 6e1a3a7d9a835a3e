/* SPDX-License-Identifier: Apache-2.0
 *
 * The client's reading of replies, whole and in pieces of every size.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "http/parse.h"

#define BYTES(text) (text), sizeof(text) - 1
#define OK "HTTP/1.1 200 OK\r\n"

struct reply {
    const char *name, *bytes;
    size_t len;
    bool head;
    const char *result; /* "200 body|rest", or what is in the error */
};

static const struct reply replies[] = {
    {"length", BYTES(OK "Content-Length: 3\r\n\r\nabcx"), 0, "200 abc|x keep"},
    {"no body", BYTES(OK "Content-Length: 0\r\n\r\n"), 0, "200 | keep"},
    {"no reason", BYTES("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), 0, "200 | keep"},
    {"chunks",
     BYTES(OK "Transfer-Encoding: "
              "chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\nx"),
     0, "200 abc0123456789|x keep"},
    {"a trailer",
     BYTES(OK "transfer-encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\nZ: z\r\n\r\n"),
     0, "200 a| keep"},
    {"until the end", BYTES(OK "\r\nabc"), 0, "200 abc| close"},
    {"HTTP/1.0", BYTES("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na"), 0,
     "200 a| close"},
    {"close", BYTES(OK "Connection: x, Close\r\nContent-Length: 1\r\n\r\na"), 0,
     "200 a| close"},
    {"of HEAD", BYTES(OK "Content-Length: 3\r\n\r\nx"), 1, "200 |x keep"},
    {"204", BYTES("HTTP/1.1 204 No Content\r\n\r\nx"), 0, "204 |x keep"},
    {"304", BYTES("HTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\nx"), 0, "304 |x keep"},
    {"100 before",
     BYTES("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: a\r\n\r\n" OK
           "Content-Length: 1\r\n\r\na"),
     0, "200 a| keep"},
    {"other versions", BYTES("HTTP/2.0 200 OK\r\n\r\n"), 0, "status line"},
    {"no HTTP", BYTES("SSH-2.0-x\r\n\r\n"), 0, "status line"},
    {"status 20", BYTES("HTTP/1.1 20 OK\r\n\r\n"), 0, "status line"},
    {"status 2000", BYTES("HTTP/1.1 2000 OK\r\n\r\n"), 0, "status line"},
    {"status 999", BYTES("HTTP/1.1 999 OK\r\n\r\n"), 0, "status line"},
    {"101", BYTES("HTTP/1.1 101 S\r\n\r\n"), 0, "switches"},
    {"length and chunks",
     BYTES(OK "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), 0,
     "Transfer-Encoding"},
    {"gzip", BYTES(OK "Transfer-Encoding: gzip\r\n\r\n"), 0, "Transfer-Encoding"},
    {"chunked twice",
     BYTES(OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 0,
     "Transfer-Encoding"},
    {"chunked in 1.0", BYTES("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
     0, "Transfer-Encoding"},
    {"two lengths", BYTES(OK "Content-Length: 3\r\nContent-Length: 3\r\n\r\n"), 0,
     "Content-Length"},
    {"length -1", BYTES(OK "Content-Length: -1\r\n\r\n"), 0, "Content-Length"},
    {"length too long", BYTES(OK "Content-Length: 9999999999999999999\r\n\r\n"), 0,
     "Content-Length"},
    {"a folded line", BYTES(OK "X: a\r\n b: c\r\n\r\n"), 0, "token"},
    {"a space before the colon", BYTES(OK "X : a\r\n\r\n"), 0, "token"},
    {"no colon", BYTES(OK "Xyz\r\n\r\n"), 0, "colon"},
    {"bare LF", BYTES(OK "X: a\nY: b\r\n\r\n"), 0, "CRLF"},
    {"NUL", BYTES(OK "X: a\0b\r\n\r\n"), 0, "NUL"},
    {"CR in a value", BYTES(OK "X: a\rb\r\n\r\n"), 0, "control"},
    {"a chunk's size", BYTES(OK "Transfer-Encoding: chunked\r\n\r\n-1\r\n"), 0,
     "hexadecimal"},
    {"a chunk's size in 0x", BYTES(OK "Transfer-Encoding: chunked\r\n\r\n0x1\r\n"), 0,
     "hexadecimal"},
    {"a chunk's size too long",
     BYTES(OK "Transfer-Encoding: chunked\r\n\r\n1000000000000000\r\n"), 0,
     "hexadecimal"},
    {"bare LF after a size",
     BYTES(OK "Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n"), 0, "CRLF"},
    {"bare LF after a chunk",
     BYTES(OK "Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n"), 0, "CRLF"},
    {"a long chunk", BYTES(OK "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"),
     0, "longer"},
    {"a bad trailer", BYTES(OK "Transfer-Encoding: chunked\r\n\r\n0\r\nX\r\n\r\n"), 0,
     "trailer"},
    {"cut in the header", BYTES(OK "Content-Le"), 0, "middle"},
    {"cut in the body", BYTES(OK "Content-Length: 3\r\n\r\nab"), 0, "middle"},
    {"cut in a chunk", BYTES(OK "Transfer-Encoding: chunked\r\n\r\n3\r\nab"), 0,
     "middle"},
    {"cut before the last chunk",
     BYTES(OK "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"), 0, "middle"},
    {"nothing", BYTES(""), 0, "before a reply"},
};

/* "200 body|rest keep", or the error's text; the bytes come in pieces of `step`. */
static char *parse(const struct reply *c, size_t step)
{
    struct http__parser p = {0};
    struct rwf_str out = {0};
    struct rwf_err err = RWF_ERR_INIT;
    enum http__event e = HTTP__MORE;
    size_t at = 0;
    const char *data = c->bytes;
    http__parser_start(&p, c->head, 1024);
    while (e != HTTP__END && e != HTTP__WRONG) {
        size_t size = c->len - at < step ? c->len - at : step;
        data = c->bytes + at;
        e = size || p.state == HTTP__IN_LENGTH || p.state == HTTP__IN_END
                ? http__parse(&p, &data, &size, &err)
                : HTTP__MORE;
        size_t used = (size_t)(data - c->bytes) - at;
        at += used;
        if (e == HTTP__HEADER)
            rwf_str_addf(&out, "%d ", p.status);
        else if (e == HTTP__PIECE)
            rwf_str_addn(&out, p.piece, p.piece_size);
        else if (e == HTTP__MORE && at == c->len)
            e = http__parse_eof(&p, &err);
    }
    if (e == HTTP__END)
        rwf_str_addf(&out, "|%.*s %s", (int)(c->len - at), c->bytes + at,
                     p.keep ? "keep" : "close");
    http__parser_free(&p);
    if (e == HTTP__END)
        return rwf_str_take(&out);
    rwf_str_free(&out);
    return rwf_xstrdup(err.text);
}

START_TEST(test_parser)
{
    static const size_t steps[] = {100000, 1, 2, 3, 7};
    for (size_t i = 0; i < RWF_COUNT(replies); i++)
        for (size_t k = 0; k < RWF_COUNT(steps); k++) {
            const struct reply *c = &replies[i];
            char *got = parse(c, steps[k]);
            bool good = c->result[0] >= '0' && c->result[0] <= '9'
                            ? !strcmp(got, c->result)
                            : strstr(got, c->result) != NULL;
            ck_assert_msg(good, "%s, by %zu: %s", c->name, steps[k], got);
            free(got);
        }
}
END_TEST

START_TEST(test_parser_limits)
{
    struct rwf_str text = {0};
    rwf_str_add(&text, OK "X: ");
    while (text.len < 2000)
        rwf_str_addc(&text, 'a');
    rwf_str_add(&text, "\r\n\r\n");
    char *got = parse(&(struct reply){.bytes = text.data, .len = text.len}, 100);
    ck_assert_ptr_nonnull(strstr(got, "too large"));
    free(got);
    rwf_str_clear(&text);
    rwf_str_add(&text, OK "Transfer-Encoding: chunked\r\n\r\n1;");
    while (text.len < 9000)
        rwf_str_addc(&text, 'a');
    got = parse(&(struct reply){.bytes = text.data, .len = text.len}, 100);
    ck_assert_ptr_nonnull(strstr(got, "too long"));
    free(got);
    rwf_str_free(&text);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("http_parse");
    TCase *t = tcase_create("http_parse");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_parser);
    tcase_add_test(t, test_parser_limits);
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
