/* SPDX-License-Identifier: Apache-2.0
 * Views of a run whose events are given here: lines, summary, Markdown, JUnit, GitHub. */
#include "config.h"
#include "plan_support.h"

#include "base/redact.h"
#include "run/log.h"
#include "run/state.h"
#include "view/github.h"
#include "view/junit.h"
#include "view/progress.h"
#include "view/style.h"
#include "view/summary.h"

#define RECIPE                                                                             \
    "name: sweep\n"                                                                        \
    "tasks:\n"                                                                             \
    "  a: {run: 'true'}\n"                                                                 \
    "  b: {run: 'false', needs: [tasks.a]}\n"                                              \
    "  c: {run: 'true', needs: [tasks.b]}\n"                                               \
    "checks:\n"                                                                            \
    "  acc: {value: '${tasks.a.metrics.acc}', op: '<', than: 0.9}\n"

static struct fixture f;
static struct run_state *state;
static struct view_progress *progress;
static char *told;
static size_t told_len;
static FILE *out;
static int seq;

static void setup(void)
{
    setenv("LC_ALL", "C.UTF-8", 1);
    fixture_open(&f);
    fixture_build(&f, RECIPE, test_ops, NULL);
    ck_assert_ptr_nonnull(f.graph);
    state = run_state_create();
    out = open_memstream(&told, &told_len);
    const struct view_progress_options options = {
        .out = out, .graph = f.graph, .root = "/r/.raywf"};
    progress = view_progress_create(&options);
    seq = 0;
}

static void teardown(void)
{
    view_progress_destroy(progress);
    fclose(out);
    free(told);
    run_state_destroy(state);
    fixture_close(&f);
}

/* body is the JSON of the members besides seq, ts and type. */
static void event(enum run_event type, const char *body)
{
    char *text = rwf_xasprintf("{\"seq\":%d,\"ts\":\"2026-11-22T18:20:%02d.000000000Z\","
                               "\"type\":\"%s\"%s%s}",
                               seq + 1, seq, run_event_name(type), *body ? "," : "", body);
    json_t *e = json_loads(text, 0, NULL);

    seq++;
    ck_assert_msg(e != NULL, "%s", text);
    ck_assert_msg(run_state_apply(state, e, &f.err) == 0, "%s", f.err.text);
    view_progress_event(progress, type, e);
    json_decref(e);
    free(text);
}

#define HOSTILE "a|b <c> & \\u0022d\\u0022 100%\\n::error::x\\u001b[2J"

static void whole_run(void)
{
    event(RUN_VERSION, "\"v\":\"1.0\",\"raywf\":\"0.1.0\",\"run\":\"20261122-182000-3f9a1c\","
                       "\"recipe\":\"r.yaml\",\"name\":\"sweep\",\"pid\":1");
    event(RUN_RUN_STARTED, "\"steps\":4,\"machine\":{}");
    event(RUN_STEP_CACHED, "\"step\":\"tasks.a\",\"key\":\"ab\",\"outputs\":{},"
                           "\"metrics\":{\"acc\":0.5},\"origin\":\"x/tasks.a\"");
    event(RUN_STEP_STARTED, "\"step\":\"tasks.b\",\"attempt\":1,\"pid\":2,"
                            "\"dir\":\"steps/tasks.b\"");
    event(RUN_STEP_RETRY, "\"step\":\"tasks.b\",\"attempt\":1,\"cause\":\"exit\","
                          "\"message\":\"exit code 1\",\"delay\":0.5");
    event(RUN_STEP_STARTED, "\"step\":\"tasks.b\",\"attempt\":2,\"pid\":3,"
                            "\"dir\":\"steps/tasks.b~2\"");
    event(RUN_STEP_FAILED, "\"step\":\"tasks.b\",\"attempt\":2,\"cause\":\"exit\","
                           "\"message\":\"" HOSTILE "\",\"tail\":\"one\\ntwo\\u001b[1A\"");
    event(RUN_STEP_SKIPPED, "\"step\":\"tasks.c\",\"because\":\"needs tasks.b, which failed\"");
    event(RUN_STEP_STARTED, "\"step\":\"checks.acc\",\"attempt\":1,\"pid\":0,\"dir\":\"\"");
    event(RUN_STEP_SUCCEEDED, "\"step\":\"checks.acc\",\"attempt\":1,\"key\":\"cd\","
                              "\"parts\":{},\"outputs\":{},\"metrics\":{},\"usage\":{}");
    event(RUN_RUN_FINISHED, "\"status\":\"failed\",\"exit_code\":1,\"counts\":{},"
                            "\"duration\":10");
}

static struct view_run run_of(void)
{
    return (struct view_run){.root = "/r/.raywf", .dir = "/r/.raywf/runs/x",
                             .state = state, .graph = f.graph};
}

static void has(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "no \"%s\" in:\n%s", part, text);
}

static void hasnt(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) == NULL, "\"%s\" in:\n%s", part, text);
}

START_TEST(lines_of_a_run)
{
    whole_run();
    fflush(out);
    has(told, "run 20261122-182000-3f9a1c: 4 steps\n");
    has(told, "[1/4] = tasks.a  cached\n");
    has(told, "↻ tasks.b  exit code 1; attempt 2 in 0.5s\n");
    has(told, "▶ tasks.b again\n");
    has(told, "    │ one\n    │ two?[1A\n");
    has(told, "recipe.yaml:5\n");
    hasnt(told, "log     "); /* there is none */
    has(told, "⊘ tasks.c  skipped: needs tasks.b, which failed\n");
    has(told, "[4/4] ✓ checks.acc\n");
    hasnt(told, "\033");
}
END_TEST

START_TEST(lines_in_ascii)
{
    setenv("LC_ALL", "C", 1);
    whole_run();
    fflush(out);
    for (size_t i = 0; i < told_len; i++)
        ck_assert_int_lt((unsigned char)told[i], 0x80);
}
END_TEST

START_TEST(summary_of_a_run)
{
    char *text;
    size_t len;
    FILE *to = open_memstream(&text, &len);

    whole_run();
    struct view_run r = run_of();
    view_summary(&r, NULL, to, false);
    fclose(to);
    has(text, "sweep failed in 9.0s: 1 succeeded, 1 cached, 1 failed, 1 skipped");
    has(text, "✓ acc  tasks.a.metrics.acc = 0.5 (wanted < 0.9)");
    has(text, "raywf logs 20261122-182000-3f9a1c tasks.b");
    hasnt(text, "\033");
    hasnt(text, "\n::error");
    has(text, "raywf retry 20261122-182000-3f9a1c --failed");
    free(text);
}
END_TEST

START_TEST(markdown_of_a_run)
{
    struct rwf_str text = {0};

    whole_run();
    struct view_run r = run_of();
    view_markdown(&r, &text);
    has(text.data, "## sweep: failed in 9.0s");
    has(text.data, "| acc | 0.5 | < 0.9 | ✅ |");
    /* A cell keeps to its row and its column. */
    has(text.data, "a\\|b \\<c\\> & \"d\" 100% ::error::x");
    ck_assert(strstr(text.data, "tasks.b") < strstr(text.data, "tasks.a |"));
    rwf_str_free(&text);
}
END_TEST

START_TEST(junit_of_a_run)
{
    struct rwf_str text = {0};

    whole_run();
    struct view_run r = run_of();
    view_junit(&r, &text);
    has(text.data, "tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"1\"");
    has(text.data, "name=\"tasks.b\" file=\"");
    has(text.data, "recipe.yaml\" line=\"5\"");
    has(text.data, "a|b &lt;c&gt; &amp; &quot;d&quot;");
    has(text.data, "<skipped message=\"needs tasks.b, which failed\"/>");
    hasnt(text.data, "\033");
    rwf_str_free(&text);
}
END_TEST

START_TEST(annotations_of_a_run)
{
    char *text;
    size_t len;
    FILE *to = open_memstream(&text, &len);

    whole_run();
    struct view_run r = run_of();
    view_github_steps(&r, to);
    fclose(to);
    has(text, "recipe.yaml,line=5,title=tasks.b failed::");
    /* A message cannot begin a command of its own. */
    has(text, "100%25%0A::error::x");
    ck_assert_ptr_eq(strchr(text, '\n'), text + len - 1);
    free(text);
}
END_TEST

START_TEST(secrets_in_views)
{
    struct rwf_str text = {0};

    ck_assert_int_eq(rwf_redact_add("KEY", "exit code", NULL), 0);
    whole_run();
    fflush(out);
    struct view_run r = run_of();
    view_junit(&r, &text);
    hasnt(told, "exit code");
    has(told, "[secret:KEY]");
    hasnt(text.data, "exit code");
    rwf_str_free(&text);
    rwf_redact_clear();
}
END_TEST

static const struct {
    const char *text;
    size_t columns;
} widths[] = {{"", 0}, {"abc", 3}, {"äöü", 3}, {"日本", 4}, {"🚀", 2},
              {"\033[1;31mred\033[0m", 3}, {"\xff\xfe", 2}};

START_TEST(columns)
{
    ck_assert_uint_eq(view_columns(widths[_i].text), widths[_i].columns);
}
END_TEST

static const struct {
    const char *text;
    size_t width;
    const char *clipped;
} clips[] = {
    {"abcdef", 6, "abcdef"}, {"abcdef", 4, "abc…"}, {"abcdef", 1, "…"}, {"abcdef", 0, ""},
    {"日本語", 4, "日…"},    {"a\nb\033c", 9, "a?b?c"},
};

START_TEST(clipping)
{
    struct rwf_str text = {0};

    view_clip(&text, clips[_i].text, clips[_i].width);
    ck_assert_str_eq(text.data ? text.data : "", clips[_i].clipped);
    rwf_str_free(&text);
}
END_TEST

START_TEST(tails)
{
    char path[128];
    bool cut;

    snprintf(path, sizeof(path), "%s/log", f.dir);
    ck_assert_ptr_null(view_tail(path, 100, &cut));
    ck_assert_int_eq(rwf_fs_write(path, "first\nsec\0nd\n\xff\xc3\xa4\n", 17, false, NULL), 0);
    char *all = view_tail(path, 100, &cut);
    ck_assert_str_eq(all, "first\nsec?nd\n?ä\n");
    ck_assert(!cut);
    char *end = view_tail(path, 13, &cut);
    ck_assert_str_eq(end, "sec?nd\n?ä\n");
    ck_assert(cut);
    free(all);
    free(end);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("view");
    TCase *t = tcase_create("view");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, lines_of_a_run);
    tcase_add_test(t, lines_in_ascii);
    tcase_add_test(t, summary_of_a_run);
    tcase_add_test(t, markdown_of_a_run);
    tcase_add_test(t, junit_of_a_run);
    tcase_add_test(t, annotations_of_a_run);
    tcase_add_test(t, secrets_in_views);
    tcase_add_loop_test(t, columns, 0, (int)RWF_COUNT(widths));
    tcase_add_loop_test(t, clipping, 0, (int)RWF_COUNT(clips));
    tcase_add_test(t, tails);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
