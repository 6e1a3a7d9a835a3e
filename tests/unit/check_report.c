/* SPDX-License-Identifier: Apache-2.0
 * The report: what a page says about runs whose logs are written here, line by line. */
#include "config.h"
#include "plan_support.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdarg.h>
#include "base/clock.h"
#include "base/redact.h"
#include "run/state.h"
#include "view/report.h"

#define ID "20261122-192003-3f9a1c"
#define START INT64_C(1795375203000000000)

static struct fixture f;
static struct rwf_str events; /* the log that is being made */
static int64_t seq, now;      /* now: ms since the start */
static char *page;
static json_t *data;

static void setup(void)
{
    fixture_open(&f);
    seq = now = 0;
}

static void teardown(void)
{
    json_decref(data);
    free(page);
    rwf_str_free(&events);
    fixture_close(&f);
    data = NULL;
    page = NULL;
}

/* One line; rest is the JSON of its own members, which starts with a comma. */
__attribute__((format(printf, 2, 3))) static void event(const char *type,
                                                        const char *rest, ...)
{
    char ts[RWF_TIME_LEN];
    va_list ap;
    va_start(ap, rest);
    char *members = rwf_xvasprintf(rest, ap);
    va_end(ap);
    rwf_clock_format(START + now * RWF_NS_PER_MS, ts);
    rwf_str_addf(&events, "{\"seq\":%lld,\"ts\":\"%s\",\"type\":\"%s\"%s}\n",
                 (long long)++seq, ts, type, members);
    free(members);
}

static void begin(int steps)
{
    event("version", ",\"v\":\"1.0\",\"raywf\":\"0.1.0\",\"run\":\"" ID "\",\"recipe\":"
                     "\"r.yaml\",\"name\":\"sweep\",\"pid\":1");
    event("run.started", ",\"steps\":%d,\"machine\":{\"name\":\"box\",\"cpu\":2}",
          steps);
}

static void start(const char *step, int attempt)
{
    event("step.started",
          ",\"step\":\"%s\",\"attempt\":%d,\"pid\":9,\"dir\":"
          "\"steps/%s/%d\"",
          step, attempt, step, attempt);
}

static void succeed(const char *step, int attempt)
{
    event("step.succeeded",
          ",\"step\":\"%s\",\"attempt\":%d,\"key\":\"ab\",\"outputs\":"
          "{\"m\":{\"path\":\"/m\",\"digest\":\"sha256:cd\",\"size\":7}},\"metrics\":"
          "{\"acc\":0.5},\"usage\":{\"wall\":1.5,\"cpu\":1.25,\"max_rss\":4096}",
          step, attempt);
}

static void finish(const char *status, int exit_code)
{
    event("run.finished", ",\"status\":\"%s\",\"exit_code\":%d", status, exit_code);
}

static void run_file(const char *name, const char *bytes, size_t len)
{
    char *path = rwf_xasprintf("%s/.raywf/runs/" ID "/%s", f.dir, name);
    char *folder = rwf_fs_dirname(path);
    ck_assert_int_eq(rwf_fs_mkdirs(folder, NULL), 0);
    ck_assert_int_eq(rwf_fs_write(path, bytes, len, false, NULL), 0);
    free(folder);
    free(path);
}

static int report(struct plan_graph *g)
{
    char *dir = rwf_fs_join(f.dir, ".raywf/runs/" ID);
    char *log = rwf_fs_join(dir, "events.ndjson");
    struct rwf_str out = {0};
    run_file("events.ndjson", events.data, events.len);
    struct run_state *state = run_state_load(log, &f.err);
    ck_assert_msg(state != NULL, "%s", f.err.text);
    struct view_run r = {.dir = dir, .state = state, .graph = g};
    int rc = view_report(&r, &out, &f.err);
    free(page);
    page = rwf_str_take(&out);
    run_state_destroy(state);
    free(dir);
    free(log);
    return rc;
}

/* The text between two marks of the page; the caller's to free. */
static char *between(const char *from, const char *to)
{
    const char *at = strstr(page, from);
    ck_assert_msg(at != NULL, "no %s", from);
    at += strlen(from);
    const char *end = strstr(at, to);
    ck_assert_msg(end != NULL, "no %s", to);
    return rwf_xstrndup(at, (size_t)(end - at));
}

#define DATA_BEGIN "<script type=\"application/json\" id=\"data\">"

/* Makes the page and reads its data as a browser would. */
static void make(struct plan_graph *g)
{
    ck_assert_msg(report(g) == 0, "%s", f.err.text);
    char *text = between(DATA_BEGIN, "</script>");
    json_error_t why;
    json_decref(data);
    data = json_loads(text, 0, &why);
    ck_assert_msg(data != NULL, "%s", why.text);
    free(text);
}

static const json_t *step(const char *address)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(data, "steps"), i, one)
        if (strcmp(json_string_value(json_object_get(one, "address")), address) == 0)
            return one;
    ck_abort_msg("no step %s", address);
    return NULL;
}

/* Compact JSON of a member, "a.b.0.c" by path; "" when it is not there. */
static char *at(const json_t *from, const char *path)
{
    char *copy = rwf_xstrdup(path), *rest = NULL;
    for (char *part = strtok_r(copy, ".", &rest); part != NULL;
         part = strtok_r(NULL, ".", &rest))
        from = json_is_array(from) ? json_array_get(from, (size_t)atoi(part))
                                   : json_object_get(from, part);
    char *text = from == NULL
                     ? rwf_xstrdup("")
                     : json_dumps(from, JSON_ENCODE_ANY | JSON_COMPACT |
                                            JSON_SORT_KEYS | JSON_REAL_PRECISION(12));
    free(copy);
    return text;
}

#define ASSERT_AT(from, path, want) ASSERT_TAKEN(at(from, path), want)

START_TEST(test_facts)
{
    begin(4);
    now = 1000;
    start("tasks.a", 1);
    now = 2500;
    event("step.retry", ",\"step\":\"tasks.a\",\"attempt\":1,\"cause\":\"exit\","
                        "\"message\":\"exit code 3\",\"delay\":1,\"exit\":3");
    now = 3500;
    start("tasks.a", 2);
    now = 5000;
    succeed("tasks.a", 2);
    event("step.cached", ",\"step\":\"tasks.b\",\"key\":\"ef\",\"outputs\":{},"
                         "\"metrics\":{},\"origin\":\"OLD/tasks.b\"");
    start("tasks.c", 1);
    event("step.failed",
          ",\"step\":\"tasks.c\",\"attempt\":1,\"cause\":\"signal\","
          "\"message\":\"killed\",\"where\":\"r.yaml:3\",\"tail\":\"oh\"");
    event("step.skipped", ",\"step\":\"tasks.d\",\"because\":\"tasks.c failed\","
                          "\"because_step\":\"tasks.c\"");
    finish("failed", 1);
    make(NULL);
    ASSERT_AT(data, "run.status", "\"failed\"");
    ASSERT_AT(data, "run.counts",
              "{\"cached\":1,\"failed\":1,\"skipped\":1,\"succeeded\":1}");
    ASSERT_AT(data, "run.started", "1795375203000");
    ASSERT_AT(data, "run.exit_code", "1");
    ASSERT_AT(data, "machine.name", "\"box\"");
    ASSERT_AT(data, "segments", "[{\"end\":5000.0,\"how\":\"ended\",\"start\":0.0}]");
    ASSERT_AT(
        step("tasks.a"), "attempts.0",
        "{\"cause\":\"exit\",\"delay\":1,\"dir\":\"steps/tasks.a/1\",\"end\":2500.0,"
        "\"exit\":3,\"how\":\"retry\",\"message\":\"exit code 3\",\"n\":1,"
        "\"start\":1000.0}");
    ASSERT_AT(step("tasks.a"), "attempts.1.how", "\"succeeded\"");
    ASSERT_AT(step("tasks.a"), "outputs.0",
              "{\"digest\":\"sha256:cd\",\"name\":\"m\",\"path\":\"/m\",\"size\":7}");
    ASSERT_AT(step("tasks.a"), "usage.cpu", "1.25");
    ASSERT_AT(step("tasks.b"), "origin", "\"OLD/tasks.b\"");
    ASSERT_AT(step("tasks.c"), "tail", "\"oh\"");
    ASSERT_AT(step("tasks.c"), "where", "\"r.yaml:3\"");
    ASSERT_AT(step("tasks.d"), "because_step", "\"tasks.c\"");
    ck_assert_ptr_nonnull(strstr(page, "The graph is not drawn: "));
    ck_assert_ptr_nonnull(strstr(page, "<title>sweep · failed</title>"));
}
END_TEST

/* What a step is called and what it writes never becomes markup or script. */
START_TEST(test_hostile)
{
    static const char bad[] = "</script><script>alert(1)</script><!--";
    static const char log[] =
        "</script><img src=x onerror=alert(1)>\n\xe2\x80\xa8\xff\0z";
    begin(1);
    event("step.started",
          ",\"step\":\"tasks.x[v=%s]\",\"attempt\":1,\"pid\":1,"
          "\"dir\":\"steps/x/1\"",
          bad);
    event("step.failed",
          ",\"step\":\"tasks.x[v=%s]\",\"attempt\":1,\"cause\":\"exit\","
          "\"message\":\"%s\xe2\x80\xa9\"",
          bad, bad);
    run_file("steps/x/1/stderr", log, sizeof(log) - 1);
    finish("failed", 1);
    make(NULL);
    ck_assert_ptr_null(strstr(page, "<script>alert"));
    ck_assert_ptr_null(strstr(page, "<img"));
    ck_assert_ptr_null(strstr(page, "\xe2\x80\xa8"));
    ck_assert_ptr_null(strstr(page, "\xe2\x80\xa9"));
    char *address = rwf_xasprintf("tasks.x[v=%s]", bad);
    const json_t *text = json_object_get(
        json_array_get(json_object_get(step(address), "logs"), 0), "text");
    ck_assert_str_eq(json_string_value(text), "</script><img src=x onerror=alert(1)>\n"
                                              "\xe2\x80\xa8\xef\xbf\xbd\xef\xbf\xbdz");
    free(address);
}
END_TEST

/* The policy allows the page's own script, by its digest, and no other. */
START_TEST(test_policy)
{
    unsigned char digest[SHA256_DIGEST_LENGTH], text[64];
    begin(0);
    finish("succeeded", 0);
    make(NULL);
    char *rest = between("id=\"data\">", "</body>");
    char *script = strstr(rest, "<script>");
    ck_assert_ptr_nonnull(script);
    script += strlen("<script>");
    char *end = strstr(script, "</script>");
    ck_assert_ptr_nonnull(end);
    SHA256((unsigned char *)script, (size_t)(end - script), digest);
    EVP_EncodeBlock(text, digest, sizeof(digest));
    char *policy = rwf_xasprintf("script-src 'sha256-%s'\"", (char *)text);
    ck_assert_ptr_nonnull(strstr(page, policy));
    ck_assert_ptr_nonnull(strstr(page, "default-src 'none'"));
    ck_assert_ptr_null(strstr(page, "<!--@"));
    free(policy);
    free(rest);
}
END_TEST

START_TEST(test_resumed)
{
    begin(1);
    now = 100;
    start("tasks.a", 1);
    now = 400;
    event("step.progress", ",\"step\":\"tasks.a\",\"progress\":0.5");
    now = 90000;
    event("run.resumed", ",\"pid\":2");
    start("tasks.a", 2);
    now = 91000;
    succeed("tasks.a", 2);
    finish("succeeded", 0);
    make(NULL);
    ASSERT_AT(data, "segments.0", "{\"end\":400.0,\"how\":\"lost\",\"start\":0.0}");
    ASSERT_AT(data, "segments.1",
              "{\"end\":91000.0,\"how\":\"ended\",\"start\":90000.0}");
    ASSERT_AT(step("tasks.a"), "attempts.0.how", "\"lost\"");
    ASSERT_AT(step("tasks.a"), "attempts.0.end", "400.0");
    ASSERT_AT(step("tasks.a"), "attempts.1.how", "\"succeeded\"");
}
END_TEST

START_TEST(test_series)
{
    begin(2);
    start("tasks.a", 1);
    start("tasks.b", 1);
    for (int i = 0; i <= 5000; i++)
        event("step.metric",
              ",\"step\":\"tasks.a\",\"metrics\":{\"loss\":%d},\"at\":%d", 5000 - i, i);
    event("step.metric", ",\"step\":\"tasks.b\",\"metrics\":{\"once\":1,\"two\":1}");
    now = 2000;
    event("step.metric", ",\"step\":\"tasks.b\",\"metrics\":{\"two\":2}");
    make(NULL);
    ASSERT_AT(step("tasks.b"), "series",
              "{\"two\":{\"p\":[0.0,1.0,2000.0,2.0],\"x\":\"time\"}}");
    ASSERT_AT(step("tasks.a"), "series.loss.x", "\"step\"");
    const json_t *points = json_object_get(
        json_object_get(json_object_get(step("tasks.a"), "series"), "loss"), "p");
    size_t count = json_array_size(points);
    ck_assert_uint_ge(count, 2 * 400);
    ck_assert_uint_le(count, 2 * 1001);
    double before = -1;
    for (size_t i = 0; i < count; i += 2) {
        double x = json_real_value(json_array_get(points, i));
        ck_assert(x > before);
        ck_assert(x + json_real_value(json_array_get(points, i + 1)) == 5000);
        before = x;
    }
    ck_assert(json_real_value(json_array_get(points, 0)) == 0);
    ck_assert(before == 5000);
}
END_TEST

/* A second attempt goes on from step 2; what comes without a step is of the whole. */
START_TEST(test_series_that_go_on)
{
    static const int steps[] = {1, 2, 3, 4, 3, 4, 5};
    begin(1);
    start("tasks.a", 1);
    for (size_t i = 0; i < RWF_COUNT(steps); i++)
        event("step.metric", ",\"step\":\"tasks.a\",\"metrics\":{\"loss\":%d},\"at\":%d",
              steps[i] * (i < 4 ? 1 : 10), steps[i]);
    event("step.metric", ",\"step\":\"tasks.a\",\"metrics\":{\"loss\":7}");
    make(NULL);
    ASSERT_AT(step("tasks.a"), "series.loss",
              "{\"p\":[1.0,1.0,2.0,2.0,3.0,30.0,4.0,40.0,5.0,50.0],\"x\":\"step\"}");
}
END_TEST

/* Beyond the limit the steps that failed are kept, and so are the true counts. */
START_TEST(test_many_steps)
{
    char name[32];
    begin(2600);
    for (int i = 0; i < 2600; i++) {
        snprintf(name, sizeof(name), "tasks.s%d", i);
        start(name, 1);
        if (i % 1000 == 999)
            event("step.failed",
                  ",\"step\":\"%s\",\"attempt\":1,\"cause\":\"exit\","
                  "\"message\":\"exit code 1\"",
                  name);
        else
            succeed(name, 1);
    }
    finish("failed", 1);
    make(NULL);
    ck_assert_uint_eq(json_array_size(json_object_get(data, "steps")), 2000);
    ASSERT_AT(data, "run.total", "2600");
    ASSERT_AT(data, "run.counts.succeeded", "2598");
    ASSERT_AT(step("tasks.s1999"), "state", "\"failed\"");
    ASSERT_AT(step("tasks.s999"), "state", "\"failed\"");
}
END_TEST

START_TEST(test_logs)
{
    struct rwf_str big = {0};
    begin(3);
    for (int i = 0; i < 4000; i++)
        rwf_str_addf(&big, "line %d\n", i);
    run_file("steps/tasks.a/1/stdout", big.data, big.len);
    run_file("steps/tasks.a/1/raywf-cmd.sh", "#!/bin/sh\ncd /\nexec true it\n", 28);
    run_file("steps/tasks.b/1/stdout", "", 0);
    run_file("secret", "outside", 7);
    start("tasks.a", 1);
    succeed("tasks.a", 1);
    start("tasks.b", 1);
    event("step.started", ",\"step\":\"tasks.c\",\"attempt\":1,\"pid\":1,\"dir\":"
                          "\"../../runs/" ID "\"");
    char *link = rwf_xasprintf("%s/.raywf/runs/" ID "/steps/tasks.b/1/stderr", f.dir);
    ck_assert_int_eq(symlink("../../../secret", link), 0);
    run_file("stdout", "outside", 7);
    make(NULL);
    const json_t *log = json_array_get(json_object_get(step("tasks.a"), "logs"), 0);
    const char *text = json_string_value(json_object_get(log, "text"));
    ck_assert_uint_le(strlen(text), 16 * 1024);
    ck_assert_uint_ge(strlen(text), 15 * 1024);
    ck_assert(rwf_starts_with(text, "line "));
    ck_assert(rwf_ends_with(text, "\nline 3999\n"));
    ck_assert_int_eq(json_integer_value(json_object_get(log, "size")), (int)big.len);
    ASSERT_AT(step("tasks.a"), "command", "\"true it\\n\"");
    ASSERT_AT(step("tasks.b"), "logs", "");
    ASSERT_AT(step("tasks.c"), "logs", "");
    ck_assert_ptr_null(strstr(page, "outside"));
    rwf_str_free(&big);
    free(link);
}
END_TEST

/* All logs together are bounded; what went wrong is there all the same. */
START_TEST(test_log_budget)
{
    char name[64];
    char *big = rwf_xmalloc(16 * 1024);
    memset(big, 'x', 16 * 1024);
    begin(700);
    for (int i = 0; i < 700; i++) {
        snprintf(name, sizeof(name), "tasks.s%d", i);
        start(name, 1);
        if (i == 699)
            event("step.failed", ",\"step\":\"%s\",\"attempt\":1,\"cause\":\"exit\"",
                  name);
        else
            succeed(name, 1);
        snprintf(name, sizeof(name), "steps/tasks.s%d/1/stdout", i);
        run_file(name, big, 16 * 1024);
    }
    make(NULL);
    ck_assert_uint_lt(strlen(page), 9 << 20);
    ck_assert_uint_gt(strlen(page), 7 << 20);
    ASSERT_AT(step("tasks.s699"), "logs.0.shown", "16384");
    ASSERT_AT(step("tasks.s0"), "logs.0.shown", "16384");
    ASSERT_AT(step("tasks.s698"), "logs", "");
    free(big);
}
END_TEST

START_TEST(test_graph)
{
    fixture_build(&f,
                  "params: {lr: 0.1}\n"
                  "tasks:\n"
                  "  a: {help: learns, run: 'true ${params.lr}', retry: 2}\n"
                  "  b: {run: 'true', needs: [tasks.a]}\n"
                  "checks:\n"
                  "  good: {value: '${tasks.a.metrics.acc}', op: '>=', than: 0.4}\n",
                  test_ops, NULL);
    assert_built(&f);
    begin(3);
    start("tasks.a", 1);
    succeed("tasks.a", 1);
    event("step.started", ",\"step\":\"checks.good\",\"attempt\":1,\"pid\":0");
    event("step.succeeded", ",\"step\":\"checks.good\",\"attempt\":1,\"metrics\":{}");
    make(f.graph);
    ASSERT_AT(step("tasks.a"), "help", "\"learns\"");
    ASSERT_AT(step("tasks.a"), "line", "4");
    ck_assert(rwf_ends_with(json_string_value(json_object_get(step("tasks.a"), "file")),
                            "/recipe.yaml"));
    ASSERT_AT(step("tasks.a"), "asked.retries", "2");
    ASSERT_AT(step("tasks.b"), "state", "\"pending\"");
    ASSERT_AT(step("tasks.b"), "needs", "[\"tasks.a\"]");
    ASSERT_AT(data, "checks.0.actual", "0.5");
    ASSERT_AT(data, "checks.0.op", "\">=\"");
    ASSERT_AT(data, "checks.0.than", "0.4");
    ASSERT_AT(data, "config.params",
              "[{\"given\":false,\"name\":\"lr\",\"value\":\"0.1\"}]");
    /* Graphviz need not be there: then the page says so. */
    if (strstr(page, "The graph is not drawn: ") == NULL) {
        ck_assert_ptr_nonnull(strstr(page, "<svg"));
        ck_assert_ptr_nonnull(strstr(page, "<title>tasks.b</title>"));
    }
}
END_TEST

/* A secret that a command line or a name gave away is not shown, nor does it break the
 * page's own script, which uses the same word. */
START_TEST(test_secret)
{
    ck_assert_int_eq(rwf_redact_add("WORD", "function", NULL), 0);
    begin(1);
    start("tasks.a", 1);
    event("step.failed", ",\"step\":\"tasks.a\",\"attempt\":1,\"cause\":\"exit\","
                         "\"message\":\"no function here\"");
    make(NULL);
    ASSERT_AT(step("tasks.a"), "message", "\"no [secret:WORD] here\"");
    ck_assert_ptr_nonnull(strstr(page, "function "));
    rwf_redact_clear();
}
END_TEST

START_TEST(test_interrupted)
{
    begin(1);
    start("tasks.a", 1);
    make(NULL);
    ASSERT_AT(data, "run.status", "\"interrupted\"");
    ASSERT_AT(step("tasks.a"), "state", "\"running\"");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("report");
    TCase *t = tcase_create("page");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_facts);
    tcase_add_test(t, test_hostile);
    tcase_add_test(t, test_policy);
    tcase_add_test(t, test_resumed);
    tcase_add_test(t, test_series);
    tcase_add_test(t, test_series_that_go_on);
    tcase_add_test(t, test_many_steps);
    tcase_add_test(t, test_logs);
    tcase_add_test(t, test_log_budget);
    tcase_add_test(t, test_graph);
    tcase_add_test(t, test_secret);
    tcase_add_test(t, test_interrupted);
    suite_add_tcase(s, t);
    return run_suite(s);
}
