/* SPDX-License-Identifier: Apache-2.0
 *
 * Which headers a program or an address gets.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "serve/passed.h"
#include "tests/unit/serve_front.h"

/* "Name: value" lines that come, and those that are passed on. */
static const struct {
    const char *peer, *prefix; /* prefix NULL: to an address */
    bool tls, keys;
    const char *given[12], *wanted[12];
} rows[] = {
    /* Hop by hop, named by Connection too; what is made anew; the front's keys. */
    {"127.0.0.1",
     NULL,
     false,
     true,
     {"Host: a.b", "Accept: */*", "Connection: X-Secret , close", "X-Secret: 1",
      "connection: x-other", "X-Other: 2", "TE: trailers", "Upgrade: websocket",
      "Content-Length: 3", "Authorization: Bearer k", "X-Third: 3"},
     {"Accept: */*", "X-Third: 3"}},
    {"127.0.0.1", NULL, false, false, {"Authorization: Basic eA=="},
     {"Authorization: Basic eA=="}},
    /* An address gets what the client said, and no more. */
    {"192.0.2.7", NULL, true, false, {"X-Forwarded-For: 1.2.3.4", "Forwarded: for=x"},
     {"X-Forwarded-For: 1.2.3.4", "Forwarded: for=x"}},
    /* A program: a proxy on this machine is believed … */
    {"127.0.0.1",
     "/api",
     false,
     false,
     {"Host: front:8000", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https",
      "X-Forwarded-Host: shop.example", "X-Forwarded-Prefix: /evil", "Forwarded: for=x"},
     {"Forwarded: for=x", "X-Forwarded-For: 1.2.3.4, 127.0.0.1",
      "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example",
      "X-Forwarded-Prefix: /api"}},
    /* … others are not. */
    {"192.0.2.7",
     "",
     true,
     false,
     {"Host: front:8000", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: http",
      "X-Forwarded-Host: evil", "Forwarded: for=x"},
     {"X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https",
      "X-Forwarded-Host: front:8000"}},
    {"unix", "/a", false, false, {"Connection: x-forwarded-for"},
     {"X-Forwarded-For: unix", "X-Forwarded-Proto: http", "X-Forwarded-Prefix: /a"}},
};

START_TEST(passed)
{
    struct http_request r;
    struct serve_http front = {.cert = rows[_i].tls ? "cert.pem" : NULL};
    struct serve__headers h = {0};
    char texts[12][80];

    front_request(&r, "");
    r.peer = rows[_i].peer;
    for (int i = 0; rows[_i].given[i] != NULL; i++) {
        strcpy(texts[i], rows[_i].given[i]);
        char *colon = strchr(texts[i], ':');
        *colon = '\0';
        r.names[i] = texts[i];
        r.values[i] = colon + 2;
    }
    json_t *keys = rows[_i].keys ? json_pack("[s]", "k") : json_array();
    front.api_keys = keys;
    serve__headers_fill(&h, &r, &front, rows[_i].prefix);
    for (size_t i = 0; rows[_i].wanted[i] != NULL || i < h.count; i++) {
        char line[160] = "(none)";
        if (i < h.count)
            snprintf(line, sizeof(line), "%s: %s", h.names[i], h.values[i]);
        ck_assert_pstr_eq(line, rows[_i].wanted[i]);
    }
    ck_assert_ptr_null(h.names[h.count]);
    serve__headers_free(&h);
    json_decref(keys);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve passed");
    TCase *t = tcase_create("serve passed");
    SRunner *r = srunner_create(s);

    suite_add_tcase(s, t);
    tcase_add_loop_test(t, passed, 0, sizeof(rows) / sizeof(rows[0]));
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
