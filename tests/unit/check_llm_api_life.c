/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of the API's requests: clients that leave, servers that end, a device that
 * fails, many streams at once, and thousands of mixed requests after which nothing is
 * left.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/mem.h"
#include "llm_api_rig.h"

static struct api_rig g;

static void open_rig(void)
{
    api_rig_open(&g, &(struct api_rig_options){0});
}

/* --- clients that leave --- */

static bool has_body(void *ctx)
{
    return ((struct answer *)ctx)->body.len > 0;
}

static bool is_running(void *ctx)
{
    struct llm_stats s;

    (void)ctx;
    llm_engine_stats(llm_api_engine(g.api), &s);
    return s.running > 0;
}

START_TEST(a_client_that_leaves_frees_all)
{
    static const struct {
        const char *path, *body;
    } cases[] = {
        {API_TEXT,
         "{\"prompt\":[\"a\",\"b\"],\"n\":3,\"max_tokens\":900,\"ignore_eos\":true,"
         "\"stream\":true}"},
        {API_CHAT, "{" HELLO ",\"max_tokens\":900,\"ignore_eos\":true,\"stream\":true,"
                   "\"response_format\":{\"type\":\"json_object\"}}"},
        {API_TEXT, "{\"prompt\":\"a\",\"n\":2,\"max_tokens\":900,\"ignore_eos\":true}"},
        {API_TEXT,
         "{\"prompt\":\"a\",\"max_tokens\":900,\"ignore_eos\":true,\"echo\":true,"
         "\"logprobs\":3}"},
    };
    open_rig();
    for (int i = 0; i < 4; i++) {
        struct answer *a = api_post(&g, cases[i].path, cases[i].body);
        if (i < 2)
            api_rig_until(&g, has_body, a);
        else
            api_rig_until(&g, is_running, NULL);
        ck_assert(!a->done);
        api_leave(a);
        api_answer_free(a);
        api_rig_until_idle(&g);
    }
    api_rig_close(&g);
}
END_TEST

/* A client that takes nothing counts as gone in the middle of a write: of a piece, of
 * the last one, of an error. */
START_TEST(a_client_that_takes_nothing_is_gone)
{
    static const char *const bodies[] = {
        "{\"prompt\":\"a\",\"n\":3,\"max_tokens\":90,\"ignore_eos\":true,\"stream\":"
        "true}",
        "{\"prompt\":\"a\",\"max_tokens\":1,\"ignore_eos\":true,\"stream\":true}",
    };
    api_rig_open(&g, &(struct api_rig_options){.write_limit = 1});
    for (int i = 0; i < 20; i++) {
        struct answer *a = api_ask(&g, API_TEXT, bodies[i % 2]);
        ck_assert(a->failed);
        api_answer_free(a);
        api_rig_until_idle(&g);
    }
    api_rig_close(&g);
}
END_TEST

/* --- a device that fails --- */

START_TEST(a_failed_step_is_told)
{
    open_rig();
    atomic_store(&llm_mock.fail_finish, 1);
    json_t *root = api_json(&g, API_TEXT, "{\"prompt\":\"a\",\"n\":3}", 500);
    ck_assert_ptr_nonnull(
        strstr(api_text_at(root, "error.message"), "the device failed"));
    ck_assert_str_eq(api_text_at(root, "error.type"), "server_error");
    json_decref(root);
    json_decref(api_json(&g, API_TEXT, "{\"prompt\":\"a\",\"n\":3}", 200));
    api_rig_until_idle(&g);
    api_rig_close(&g);
}
END_TEST

/* The head of a stream is sent by then: the error is its last event, and there is no
 * end. */
START_TEST(a_stream_that_fails_says_so)
{
    open_rig();
    struct answer *a = api_post(&g, API_TEXT,
                                "{\"prompt\":\"a\",\"n\":2,\"max_tokens\":900,"
                                "\"ignore_eos\":true,\"stream\":true}");
    api_rig_until(&g, has_body, a);
    atomic_store(&llm_mock.fail_finish, 1);
    api_wait(a);
    const char *last = strstr(a->body.data, "data: {\"error\":{\"message\":");
    ck_assert_ptr_nonnull(last);
    ck_assert_ptr_nonnull(strstr(last, "the device failed"));
    ck_assert_ptr_null(strstr(a->body.data, "[DONE]"));
    ck_assert_ptr_null(strstr(last + 5, "data: "));
    ck_assert(a->failed);
    api_answer_free(a);
    api_rig_until_idle(&g);
    api_rig_close(&g);
}
END_TEST

/* --- a server that ends --- */

START_TEST(a_server_may_end_at_any_time)
{
    static const char *const bodies[] = {
        "{\"prompt\":\"a\",\"n\":3,\"max_tokens\":900,\"ignore_eos\":true,\"stream\":"
        "true}",
        "{\"prompt\":\"a\",\"n\":3,\"max_tokens\":900,\"ignore_eos\":true}",
    };
    struct answer *a[8];

    for (int turns = 0; turns < 6; turns++) {
        open_rig();
        for (int i = 0; i < 8; i++)
            a[i] = api_post(&g, API_TEXT, bodies[i % 2]);
        for (int i = 0; i < turns * 4; i++)
            uv_run(&g.loop, UV_RUN_NOWAIT);
        api_rig_close(&g);
        for (int i = 0; i < 8; i++)
            api_answer_free(a[i]);
    }
}
END_TEST

static bool is_asked(void *ctx)
{
    struct http_server_stats s;

    (void)ctx;
    http_server_stats(g.http, &s);
    return s.ongoing > 0;
}

static void on_drained(void *ctx)
{
    *(bool *)ctx = true;
}

static bool is_true(void *ctx)
{
    return *(bool *)ctx;
}

/* Drained: what runs is finished; when time is up the rest is cut off. */
START_TEST(draining_finishes_or_cuts_off)
{
    for (int cut = 0; cut < 2; cut++) {
        bool drained = false;
        open_rig();
        atomic_store(&llm_mock.held, cut == 1);
        struct answer *a = api_post(&g, API_TEXT,
                                    "{\"prompt\":\"a\",\"max_tokens\":50,"
                                    "\"ignore_eos\":true,\"stream\":true}");
        api_rig_until(&g, cut ? is_asked : has_body, a);
        http_server_drain(g.http, (cut ? 50 : 60000) * RWF_NS_PER_MS, on_drained,
                          &drained);
        api_rig_until(&g, is_true, &drained);
        atomic_store(&llm_mock.held, false);
        api_wait(a);
        ck_assert_int_eq(a->failed, cut);
        api_answer_free(a);
        api_rig_close(&g);
    }
}
END_TEST

/* --- many --- */

#define STREAMS 1000

static void raise_files(void)
{
    struct rlimit l;

    getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = l.rlim_max;
    setrlimit(RLIMIT_NOFILE, &l);
    ck_assert_uint_gt(l.rlim_cur, 2 * STREAMS + 100);
}

START_TEST(a_thousand_streams_at_once)
{
    static struct answer *a[STREAMS];
    struct http_server_stats s;

    raise_files();
    api_rig_open(&g, &(struct api_rig_options){
                         .blocks = 4096, .max_tokens = 2048, .max_sequences = 1024});
    atomic_store(&llm_mock.held, true);
    for (int i = 0; i < STREAMS; i++) {
        char *body = rwf_xasprintf(
            "{\"prompt\":\"number %d\",\"max_tokens\":8,\"temperature\":0,"
            "\"ignore_eos\":true,\"stream\":true}",
            i);
        a[i] = api_post(&g, API_TEXT, body);
        free(body);
    }
    do {
        uv_run(&g.loop, UV_RUN_NOWAIT);
        http_server_stats(g.http, &s);
    } while (s.ongoing < STREAMS);
    atomic_store(&llm_mock.held, false);
    for (int i = 0; i < STREAMS; i++) {
        api_wait(a[i]);
        ck_assert_msg(a[i]->status == 200 && !a[i]->failed &&
                          strstr(a[i]->body.data, "data: [DONE]") != NULL,
                      "%d: %d %s", i, a[i]->status, a[i]->body.data);
        api_answer_free(a[i]);
    }
    api_rig_until_idle(&g);
    api_rig_close(&g);
}
END_TEST

static const char *const mixed[][2] = {
    {API_TEXT, "{\"prompt\":\"abc %d\",\"max_tokens\":9,\"seed\":%d}"},
    {API_TEXT,
     "{\"prompt\":\"abc %d\",\"max_tokens\":40,\"seed\":%d,\"stream\":true,\"n\":3}"},
    {API_TEXT,
     "{\"prompt\":[\"abc "
     "%d\",\"b\"],\"max_tokens\":9,\"seed\":%d,\"logprobs\":2,\"echo\":true}"},
    {API_TEXT,
     "{\"prompt\":\"abc "
     "%d\",\"max_tokens\":60,\"seed\":%d,\"stop\":[\"e\",\"t\"],\"stream\":true}"},
    {API_TEXT,
     "{\"prompt\":\"abc %d\",\"max_tokens\":3,\"seed\":%d,\"prompt_logprobs\":1}"},
    {API_CHAT,
     "{" HELLO ",\"user\":\"%d\",\"max_tokens\":30,\"seed\":%d,\"stream\":true,"
     "\"logprobs\":true}"},
    {API_CHAT,
     "{" HELLO ",\"user\":\"%d\",\"max_tokens\":60,\"seed\":%d,\"n\":2,"
     "\"chat_template_kwargs\":{\"enable_thinking\":false},\"guided_json\":{\"type\":"
     "\"array\",\"items\":{\"type\":\"string\",\"maxLength\":4}}}"},
    {"/v1/embeddings", "{\"input\":[\"a%d\",\"b%d\"]}"},
    {API_TEXT, "{\"prompt\":\"abc %d\",\"n\":%d,\"temperature\":0}"},
    {"/tokenize", "{\"prompt\":\"abc %d %d\"}"},
};

static struct answer *post_mixed(uint64_t *state)
{
    uint64_t x = *state =
        *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    size_t kind = (x >> 33) % RWF_COUNT(mixed);
    char body[600];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(body, sizeof(body), mixed[kind][1], (int)(x >> 40 & 31),
             2 + (int)(x >> 50 & 7));
#pragma GCC diagnostic pop
    struct answer *a = api_post(&g, mixed[kind][0], body);
    if ((x >> 45 & 7) == 0)
        a->cut_at = 1 + (x >> 48) % 3000;
    return a;
}

/* Clients leave at once, after some bytes, or never; now and then a step fails. */
START_TEST(thousands_of_mixed_requests_leave_nothing)
{
    enum { AT_ONCE = 24 };
    int left = getenv("RAYWF_TEST_LONG") != NULL ? 10000 : 2000, told = 0;
    struct answer *a[AT_ONCE] = {NULL};
    uint64_t state = 11;

    api_rig_open(&g, &(struct api_rig_options){
                         .blocks = 60, .max_tokens = 48, .max_length = 300});
    while (left > 0 || told > 0) {
        told = 0;
        for (int i = 0; i < AT_ONCE; i++) {
            if (a[i] != NULL && a[i]->cut)
                api_leave(a[i]);
            if (a[i] != NULL && left % 37 == i)
                api_leave(a[i]);
            if (a[i] != NULL && a[i]->done) {
                ck_assert_msg(a[i]->status != 500 ||
                                  strstr(a[i]->body.data, "failed") != NULL,
                              "%s", a[i]->body.data);
                api_answer_free(a[i]);
                a[i] = NULL;
            }
            if (a[i] == NULL && left > 0) {
                a[i] = post_mixed(&state);
                if (left-- % 500 == 0)
                    atomic_store(&llm_mock.fail_finish, 1);
            }
            told += a[i] != NULL;
        }
        uv_run(&g.loop, UV_RUN_NOWAIT);
    }
    api_rig_until_idle(&g);
    /* It serves as before. */
    json_decref(api_json(&g, API_TEXT, "{\"prompt\":\"a\"}", 200));
    api_rig_until_idle(&g);
    api_rig_close(&g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("llm_api_life");
    TCase *t = tcase_create("life");

    tcase_set_timeout(t, 300);
    tcase_add_test(t, a_client_that_leaves_frees_all);
    tcase_add_test(t, a_client_that_takes_nothing_is_gone);
    tcase_add_test(t, a_failed_step_is_told);
    tcase_add_test(t, a_stream_that_fails_says_so);
    tcase_add_test(t, a_server_may_end_at_any_time);
    tcase_add_test(t, draining_finishes_or_cuts_off);
    tcase_add_test(t, a_thousand_streams_at_once);
    tcase_add_test(t, thousands_of_mixed_requests_leave_nothing);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
