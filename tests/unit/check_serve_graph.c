/* SPDX-License-Identifier: Apache-2.0
 *
 * Graphs: each kind of node with a driver that is told what to answer.
 */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "serve/graph.h"
#include "serve_graph.h"

/* --- one call --- */

START_TEST(only)
{
    struct serve_app *a = app_of("\"a\"");

    ck_assert_int_eq(serve_graph_only(a), serve_app_deployment(a, "a"));
    serve_app_free(a);
    a = app_of("{\"sequence\":[\"a\",\"b\"]}");
    ck_assert_int_eq(serve_graph_only(a), -1);
    serve_app_free(a);
}
END_TEST

/* --- scripts: what each deployment answers, and what comes of it --- */

static const struct {
    const char *graph, *input;
    const char *answers; /* "a=200:text b=500:text", in the order of calls */
    const char *calls;   /* "a(input,first,last) …" as they come */
    int status;
    const char *output, *why;
} scripts[] = {
    /* sequence */
    {"{\"sequence\":[\"a\",\"b\"]}", "1", "a=200:2 b=201:3", "a(1,first) b(2,last)",
     201, "3", NULL},
    {"{\"sequence\":[\"a\",\"b\"]}", "1", "a=500:bad", "a(1,first)", 500, "bad",
     "deployment 'a' answered 500"},
    {"{\"sequence\":[\"a\",\"b\"]}", "1", "a=200:2 b=404:no", "a(1,first) b(2,last)",
     404, "no", "deployment 'b' answered 404"},
    {"{\"sequence\":[\"a\",\"a\",\"a\"]}", "1", "a=200:2 a=200:3 a=200:4",
     "a(1,first) a(2) a(3,last)", 200, "4", NULL},
    /* fanout */
    {"{\"fanout\":{\"x\":\"a\",\"y\":\"b\"}}", "1", "a=200:{\"s\":1} b=200:[2]",
     "a(1,first) b(1,first)", 200, "{\"x\":{\"s\":1},\"y\":[2]}", NULL},
    {"{\"fanout\":{\"x\":\"a\",\"y\":\"b\"}}", "1", "a=503:full b=wait",
     "a(1,first) b(1,first) cancel-b", 503, "full", "deployment 'a' answered 503"},
    {"{\"fanout\":{\"x\":\"a\",\"y\":\"b\"}}", "1", "a=wait b=lost:died",
     "a(1,first) b(1,first) cancel-a", 502, "", "deployment 'b': died"},
    {"{\"fanout\":{\"x\":\"a\",\"y\":\"b\"}}", "1", "a=200:oops b=200:2",
     "a(1,first) b(1,first)", 502, "",
     "fanout: what the branch 'x' gave is not JSON, so it cannot be joined"},
    {"{\"fanout\":{\"q\\\"\":\"a\"}}", "1", "a=200:\"t\"", "a(1,first)", 200,
     "{\"q\\\"\":\"t\"}", NULL},
    {"{\"sequence\":[\"a\",{\"fanout\":{\"x\":\"b\",\"y\":{\"sequence\":[\"c\",\"b\"]}}"
     "},\"d\"]}",
     "1", "a=200:2 b=200:3 c=200:4 b=200:5 d=200:6",
     "a(1,first) b(2) c(2) b(4) d({\"x\":3,\"y\":5},last)", 200, "6", NULL},
    /* switch */
    {"{\"switch\":{\"field\":\"lang\",\"cases\":{\"en\":\"a\",\"de\":\"b\"}}}",
     "{\"lang\":\"de\"}", "b=200:1", "b({\"lang\":\"de\"},first,last)", 200, "1", NULL},
    {"{\"switch\":{\"field\":\"m.k\",\"cases\":{\"1\":\"a\",\"true\":\"b\"}}}",
     "{\"m\":{\"k\":1}}", "a=200:1", "a({\"m\":{\"k\":1}},first,last)", 200, "1", NULL},
    {"{\"switch\":{\"field\":\"m.k\",\"cases\":{\"1\":\"a\",\"true\":\"b\"}}}",
     "{\"m\":{\"k\":true}}", "b=200:1", "b({\"m\":{\"k\":true}},first,last)", 200, "1",
     NULL},
    {"{\"switch\":{\"field\":\"k\",\"cases\":{\"0.3\":\"a\"},\"otherwise\":\"b\"}}",
     "{\"k\":0.3}", "a=200:1", "a({\"k\":0.3},first,last)", 200, "1", NULL},
    {"{\"switch\":{\"field\":\"k\",\"cases\":{\"1\":\"a\"},\"otherwise\":\"b\"}}", "{}",
     "b=200:1", "b({},first,last)", 200, "1", NULL},
    {"{\"switch\":{\"field\":\"k\",\"cases\":{\"1\":\"a\"}}}", "{}", "", "", 400, "",
     "switch: the input has no field 'k'"},
    {"{\"switch\":{\"field\":\"k\",\"cases\":{\"1\":\"a\"}}}", "{\"k\":[1]}", "", "",
     400, "", "switch: the input has no field 'k'"},
    {"{\"switch\":{\"field\":\"k\",\"cases\":{\"1\":\"a\"}}}", "{\"k\":2}", "", "", 400,
     "", "switch: there is no case '2' of the field 'k'"},
    {"{\"switch\":{\"field\":\"k\",\"cases\":{\"1\":\"a\"},\"otherwise\":\"b\"}}", "{]",
     "", "", 400, "", "switch: the input is not JSON: string or '}' expected near ']'"},
    {"{\"sequence\":[\"a\",{\"switch\":{\"field\":\"k\",\"cases\":{\"1\":\"b\"}}}]}",
     "1", "a=200:{\"k\":3}", "a(1,first)", 502, "",
     "switch: there is no case '3' of the field 'k'"},
    /* fallback */
    {"{\"fallback\":[\"a\",\"b\"]}", "1", "a=200:2", "a(1,first,last)", 200, "2", NULL},
    {"{\"fallback\":[\"a\",\"b\"]}", "1", "a=500:x b=200:3",
     "a(1,first,last) b(1,first,last)", 200, "3", NULL},
    {"{\"fallback\":[\"a\",\"b\"]}", "1", "a=lost:died b=429:y",
     "a(1,first,last) b(1,first,last)", 429, "y", "deployment 'b' answered 429"},
    {"{\"fallback\":[\"a\",\"b\"]}", "1", "a=404:z", "a(1,first,last)", 404, "z",
     "deployment 'a' answered 404"},
    {"{\"fallback\":[{\"fanout\":{\"x\":\"a\",\"y\":\"b\"}},\"c\"]}", "1",
     "a=500:x b=wait c=200:3", "a(1,first) b(1,first) cancel-b c(1,first,last)", 200,
     "3", NULL},
    {"{\"fallback\":[{\"sequence\":[\"a\",\"b\"]},\"c\"]}", "1",
     "a=200:2 b=503:x c=200:3", "a(1,first) b(2,last) c(1,first,last)", 200, "3", NULL},
    {"{\"sequence\":[{\"fallback\":[\"a\",\"b\"]},\"c\"]}", "1",
     "a=502:x b=200:2 c=200:3", "a(1,first) b(1,first) c(2,last)", 200, "3", NULL},
    /* split: weights of 0 and 1 leave no chance */
    {"{\"split\":{\"weights\":{\"a\":0,\"b\":1}}}", "1", "b=200:2", "b(1,first,last)",
     200, "2", NULL},
};

static void run_script(int i, bool at_once)
{
    struct rig r;

    rig_start(&r, scripts[i].graph, scripts[i].input, scripts[i].answers, at_once);

    serve_flow_begin(r.flow);
    rig_settle(&r);
    ck_assert_msg(r.done == 1, "%s: not done; calls: %s", scripts[i].graph,
                  r.calls.data);
    ck_assert_str_eq(r.calls.data != NULL ? r.calls.data : "", scripts[i].calls);
    ck_assert_int_eq(r.status, scripts[i].status);
    ck_assert_str_eq(r.output, scripts[i].output);
    if (scripts[i].why == NULL)
        ck_assert_str_eq(r.why, "");
    else
        ck_assert_str_eq(r.why, scripts[i].why);
    rig_end(&r);
}

START_TEST(script_later)
{
    run_script(_i, false);
}
END_TEST

START_TEST(script_at_once)
{
    /* With answers from within call, a fanout's failure comes before the next branch's
     * call is waited for; the other scripts are the same. */
    if (strstr(scripts[_i].answers, "wait") == NULL)
        run_script(_i, true);
}
END_TEST

/* --- splits --- */

START_TEST(split_shares)
{
    struct serve_app *a =
        app_of("{\"split\":{\"weights\":{\"a\":0.5,\"b\":0.25,\"c\":0,\"d\":0.25}}}");
    int counts[4] = {0};

    for (int i = 0; i < 1000; i++)
        counts[serve_split_pick(&a->nodes[0], i / 1000.0)]++;
    ck_assert_int_eq(counts[0], 500);
    ck_assert_int_eq(counts[1], 250);
    ck_assert_int_eq(counts[2], 0);
    ck_assert_int_eq(counts[3], 250);
    serve_app_free(a);
}
END_TEST

static int canary_of(const char *user, uint64_t *chance)
{
    struct rig r;

    rig_start(&r, "{\"split\":{\"weights\":{\"a\":0.9,\"b\":0.1},\"by\":\"X-User\"}}",
              "1", "", false);

    r.header = user;
    r.chance = *chance;
    serve_flow_begin(r.flow);
    int deployment = r.out[0]->deployment;
    *chance = r.chance;
    serve_flow_cancel(r.flow);
    ck_assert_int_eq(r.done, 0);
    rig_end(&r);
    return deployment == 1;
}

START_TEST(split_by_header)
{
    char user[20];
    int canaries = 0, chances = 0;
    uint64_t chance = 1;

    for (int i = 0; i < 2000; i++) {
        snprintf(user, sizeof(user), "user %d", i);
        int first = canary_of(user, &chance);
        ck_assert_int_eq(canary_of(user, &chance), first); /* the same way again */
        canaries += first;
        chances += canary_of(NULL, &chance); /* without the header: by chance */
    }
    ck_assert_int_gt(canaries, 140); /* 200; a standard deviation is 13 */
    ck_assert_int_lt(canaries, 260);
    ck_assert_int_gt(chances, 140);
    ck_assert_int_lt(chances, 260);
}
END_TEST

/* --- ends that are not done --- */

START_TEST(cancelled)
{
    struct rig r;

    rig_start(&r, "{\"fanout\":{\"x\":\"a\",\"y\":\"b\",\"z\":\"c\"}}", "1",
              "a=200:1 b=wait c=wait", false);

    serve_flow_begin(r.flow);
    rig_settle(&r);
    serve_flow_cancel(r.flow);
    serve_flow_cancel(r.flow);
    ck_assert_int_eq(r.done, 0);
    ck_assert_ptr_nonnull(strstr(r.calls.data, "cancel-b"));
    ck_assert_ptr_nonnull(strstr(r.calls.data, "cancel-c"));
    ck_assert_ptr_null(strstr(r.calls.data, "cancel-a"));
    rig_end(&r);
}
END_TEST

START_TEST(passed)
{
    struct rig r;

    rig_start(&r, "{\"sequence\":[\"a\",\"b\"]}", "1", "a=200:2 b=wait", false);

    serve_flow_begin(r.flow);
    rig_settle(&r);
    ck_assert_int_eq(r.count, 1);
    ck_assert(r.out[0]->last);
    serve_flow_passed(r.out[0]);
    r.count = 0;
    serve_flow_cancel(r.flow);
    ck_assert_int_eq(r.done, 0);
    rig_end(&r);
}
END_TEST

/* The client goes, or the answer streams, while the driver is within call. */
START_TEST(ended_within_call)
{
    static const char *const answers[] = {"a=200:1 b=cancel", "a=200:1 b=pass",
                                          "a=cancel", "a=200:1 b=free"};
    struct rig r;

    rig_start(&r, "{\"sequence\":[\"a\",\"b\"]}", "1", answers[_i], true);

    serve_flow_begin(r.flow);
    ck_assert_int_eq(r.done, 0);
    ck_assert_int_eq(r.count, 0);
    rig_end(&r);
}
END_TEST

/* Much data, many branches: the memory of a flow. */
START_TEST(large)
{
    struct rwf_str graph = {0}, answers = {0};

    rwf_str_add(&graph, "{\"fanout\":{");
    for (int i = 0; i < 300; i++) {
        rwf_str_addf(&graph, "%s\"branch%d\":\"a\"", i ? "," : "", i);
        rwf_str_addf(&answers, "a=200:\"%0*d\" ", 1 + i * 10, i);
    }
    rwf_str_add(&graph, "}}");
    struct rig r;

    rig_start(&r, graph.data, "1", answers.data, false);
    serve_flow_begin(r.flow);
    rig_settle(&r);
    ck_assert_int_eq(r.status, 200);
    json_t *out = json_loads(r.output, 0, NULL);
    ck_assert_uint_eq(json_object_size(out), 300);
    ck_assert_uint_eq(json_string_length(json_object_get(out, "branch299")), 2991);
    json_decref(out);
    rig_end(&r);
    rwf_str_free(&graph);
    rwf_str_free(&answers);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve graph");
    TCase *t = tcase_create("graph");
    int count = (int)RWF_COUNT(scripts);

    tcase_add_test(t, only);
    tcase_add_loop_test(t, script_later, 0, count);
    tcase_add_loop_test(t, script_at_once, 0, count);
    tcase_add_test(t, split_shares);
    tcase_add_test(t, split_by_header);
    tcase_add_test(t, cancelled);
    tcase_add_test(t, passed);
    tcase_add_loop_test(t, ended_within_call, 0, 4);
    tcase_add_test(t, large);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
