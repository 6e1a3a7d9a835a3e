/* SPDX-License-Identifier: Apache-2.0
 * Searches as views show them: events of trials that are given here, one by one. */
#include "config.h"
#include "plan_support.h"

#include <math.h>
#include <stdarg.h>
#include "run/log.h"
#include "run/state.h"
#include "search/op_tune.h"
#include "view/progress.h"
#include "view/report.h"
#include "view/search.h"
#include "view/style.h"
#include "view/summary.h"

#define ID "20261122-182000-3f9a1c"
#define TRIAL(n) "tune.rate[trial=" #n "]"

#define RECIPE                                                                         \
    "name: rates\n"                                                                    \
    "tasks:\n"                                                                         \
    "  fit: {run: 'true ${trial.lr} ${trial.kind} ${trial.momentum ?? \"\"}'}\n"       \
    "tune:\n"                                                                          \
    "  rate:\n"                                                                        \
    "    target: tasks.fit\n"                                                          \
    "    metric: loss\n"                                                               \
    "    mode: min\n"                                                                  \
    "    space:\n"                                                                     \
    "      lr: {type: loguniform, min: 0.001, max: 1}\n"                               \
    "      kind: {type: choice, values: [sgd, adam]}\n"                                \
    "      momentum: {type: uniform, min: 0, max: 1, when: {kind: sgd}}\n"             \
    "    num_samples: 6\n"

static const struct op *const ops[] = {&plan_task_op, &tune_op, &plan_check_op, NULL};
static struct fixture f;
static struct view_searches *all;
static struct view_search *s;
static struct rwf_str log_text;
static int seq;

static void setup(void)
{
    setenv("LC_ALL", "C.UTF-8", 1);
    seq = 0;
    fixture_open(&f);
    fixture_build(&f, RECIPE, ops, NULL);
    char *why = diags_text(&f);
    ck_assert_msg(f.graph != NULL, "%s", why);
    free(why);
    all = view_searches_create(f.graph, 16);
    ck_assert_uint_eq(view_searches_count(all), 1);
    s = view_searches_at(all, 0);
}

static void teardown(void)
{
    view_searches_destroy(all);
    rwf_str_free(&log_text);
    fixture_close(&f);
}

/* Every event goes to the model and to the log. */
__attribute__((format(printf, 2, 3))) static void event(enum run_event type,
                                                        const char *body, ...)
{
    va_list ap;
    va_start(ap, body);
    char *members = rwf_xvasprintf(body, ap);
    va_end(ap);
    char *text = rwf_xasprintf("{\"seq\":%d,\"ts\":\"2026-11-22T18:20:%02d.000000000Z\","
                               "\"type\":\"%s\"%s%s}",
                               seq + 1, seq % 60, run_event_name(type),
                               *members ? "," : "", members);
    json_t *e = json_loads(text, 0, NULL);
    ck_assert_msg(e != NULL, "%s", text);
    seq++;
    view_searches_event(all, type, e);
    rwf_str_addf(&log_text, "%s\n", text);
    json_decref(e);
    free(text);
    free(members);
}

static void suggest(int n, double lr, const char *kind)
{
    event(RUN_TRIAL_SUGGESTED,
          "\"step\":\"tune.rate[trial=%d]\",\"trial\":%d,\"recorded\":false,"
          "\"config\":{\"lr\":%g,\"kind\":\"%s\"%s}",
          n, n, lr, kind, strcmp(kind, "sgd") == 0 ? ",\"momentum\":0.5" : "");
}

static void start(int n)
{
    event(RUN_STEP_STARTED,
          "\"step\":\"tune.rate[trial=%d]\",\"attempt\":1,\"pid\":2,\"dir\":\"d\"", n);
}

static void report(int n, double loss, int at)
{
    event(RUN_STEP_METRIC,
          "\"step\":\"tune.rate[trial=%d]\",\"metrics\":{\"loss\":%g,\"other\":1},"
          "\"at\":%d",
          n, loss, at);
}

static void end(int n, const char *status, double value, int at, int best)
{
    event(RUN_TRIAL_ENDED,
          "\"step\":\"tune.rate[trial=%d]\",\"trial\":%d,\"status\":\"%s\","
          "\"value\":%g,\"at\":%d,\"best\":%d",
          n, n, status, value, at, best);
}

/* Three trials: one completed, one stopped at a rung, one that failed; a fourth runs. */
static void some_trials(void)
{
    event(RUN_VERSION, "\"v\":\"1.0\",\"raywf\":\"0.1.0\",\"run\":\"" ID "\",\"recipe\":"
                       "\"r.yaml\",\"name\":\"rates\",\"pid\":1");
    event(RUN_RUN_STARTED, "\"steps\":7,\"machine\":{}");
    for (int n = 0; n < 4; n++) {
        suggest(n, 0.01 * (n + 1), n == 1 ? "sgd" : "adam");
        start(n);
    }
    report(0, 0.9, 1);
    report(1, 2.5, 1);
    event(RUN_TRIAL_STOPPED, "\"step\":\"" TRIAL(1) "\",\"trial\":1,\"reason\":"
                             "\"not among the best\",\"rung\":1,\"at\":1.0,\"value\":2.5");
    event(RUN_STEP_SUCCEEDED, "\"step\":\"" TRIAL(1) "\",\"attempt\":1,\"key\":\"ab\","
                              "\"outputs\":{},\"metrics\":{\"loss\":2.5},\"usage\":{}");
    end(1, "stopped", 2.5, 1, 1);
    event(RUN_TRIAL_PROMOTED, "\"step\":\"" TRIAL(0) "\",\"trial\":0,\"reason\":"
                              "\"goes on\",\"rung\":1,\"at\":1.0,\"value\":0.9");
    report(0, 0.25, 3);
    event(RUN_STEP_SUCCEEDED, "\"step\":\"" TRIAL(0) "\",\"attempt\":1,\"key\":\"cd\","
                              "\"outputs\":{},\"metrics\":{\"loss\":0.25},\"usage\":{}");
    end(0, "completed", 0.25, 2, 0);
    event(RUN_STEP_FAILED, "\"step\":\"" TRIAL(2) "\",\"attempt\":1,\"cause\":\"exit\","
                           "\"message\":\"exit code 3\",\"where\":\"r.yaml:3\"");
    event(RUN_TRIAL_ENDED, "\"step\":\"" TRIAL(2) "\",\"trial\":2,\"status\":\"failed\","
                           "\"best\":0");
    report(3, 0.75, 7);
}

static struct view_trial *trial(int n)
{
    char *address = rwf_xasprintf("tune.rate[trial=%d]", n);
    struct view_trial *t = view_searches_trial(all, address);
    free(address);
    ck_assert_ptr_nonnull(t);
    return t;
}

START_TEST(test_model)
{
    some_trials();
    ck_assert_str_eq(s->address, "tune.rate");
    ck_assert_str_eq(s->metric, "loss");
    ck_assert(!s->maximize);
    ck_assert_uint_eq(s->total, 6);
    ck_assert_uint_eq(s->count, 4);
    ck_assert_uint_eq(s->ended, 3);
    ck_assert_uint_eq(s->counts[VIEW_TRIAL_RUNNING], 1);
    ck_assert_uint_eq(s->counts[VIEW_TRIAL_STOPPED], 1);
    ck_assert_uint_eq(s->rung_count, 1);
    ck_assert(s->best == trial(0));
    ck_assert(trial(0)->value == 0.25 && trial(0)->at == 2);
    ck_assert_uint_eq(trial(0)->count, 4);
    ck_assert(trial(0)->points[2] == 2 && trial(0)->points[3] == 0.25);
    ck_assert_uint_eq(trial(1)->order, 1);
    ck_assert_str_eq(trial(1)->why, "not among the best");
    ck_assert(trial(1)->rung == 1);
    ck_assert_str_eq(trial(2)->why, "exit code 3");
    ck_assert(isnan(trial(2)->value));
    /* The time is the count of reports, not the step that came with it. */
    ck_assert(trial(3)->value == 0.75 && trial(3)->last_at == 1);
    ck_assert_ptr_null(view_searches_trial(all, "tune.rate[trial=5]"));
}
END_TEST

START_TEST(test_paused_and_resumed)
{
    suggest(0, 0.1, "adam");
    start(0);
    report(0, 1, 1);
    report(0, 0.5, 1); /* the same step again does not count */
    ck_assert(trial(0)->value == 1);
    event(RUN_TRIAL_PAUSED, "\"step\":\"" TRIAL(0) "\",\"trial\":0,\"reason\":\"waits\","
                            "\"rung\":3,\"at\":3.0,\"value\":1");
    event(RUN_STEP_PREEMPTED,
          "\"step\":\"" TRIAL(0) "\",\"attempt\":1,\"paused\":true");
    ck_assert_int_eq(trial(0)->state, VIEW_TRIAL_PAUSED);
    event(RUN_TRIAL_RESUMED, "\"step\":\"" TRIAL(0) "\",\"trial\":0,\"reason\":"
                             "\"promoted\",\"rung\":1");
    ck_assert_int_eq(trial(0)->state, VIEW_TRIAL_WAITS);
    start(0);
    ck_assert_int_eq(trial(0)->state, VIEW_TRIAL_RUNNING);
    ck_assert(trial(0)->rung == 3);
    ck_assert_uint_eq(s->rung_count, 2);
    ck_assert(s->rungs[0] == 1 && s->rungs[1] == 3);
    event(RUN_RUN_RESUMED, "\"pid\":3");
    ck_assert_int_eq(trial(0)->state, VIEW_TRIAL_WAITS);
    event(RUN_STEP_SKIPPED,
          "\"step\":\"" TRIAL(0) "\",\"because\":\"its search is over\"");
    ck_assert_int_eq(trial(0)->state, VIEW_TRIAL_SKIPPED);
    event(RUN_SEARCH_ENDED, "\"search\":\"tune.rate\",\"reason\":\"time is up\"");
    ck_assert_str_eq(s->over, "time is up");
}
END_TEST

START_TEST(test_cloned)
{
    suggest(0, 0.1, "adam");
    suggest(1, 0.2, "adam");
    start(0);
    start(1);
    for (int i = 1; i <= 4; i++)
        report(0, 1.0 / i, i);
    report(1, 5, 1);
    event(RUN_TRIAL_CLONED, "\"step\":\"" TRIAL(1) "\",\"trial\":1,\"reason\":\"copies\","
                            "\"from\":0,\"config\":{\"lr\":0.12,\"kind\":\"adam\"},"
                            "\"at\":1.0,\"value\":5");
    start(1);
    report(1, 0.2, 2);
    ck_assert_int_eq(trial(1)->from, 0);
    ck_assert(trial(1)->last_at == 5);
    ck_assert(json_real_value(json_object_get(trial(1)->config, "lr")) == 0.12);
}
END_TEST

/* A curve of any length stays small, and keeps its first and its newest point. */
START_TEST(test_thin)
{
    suggest(0, 0.1, "adam");
    start(0);
    for (int i = 1; i <= 5000; i++)
        report(0, 5000 - i, i);
    ck_assert_uint_le(trial(0)->count, 2 * 16);
    ck_assert_uint_ge(trial(0)->count, 2 * 6);
    ck_assert(trial(0)->points[0] == 1);
    ck_assert(trial(0)->newest[0] == 5000 && trial(0)->newest[1] == 0);
}
END_TEST

/* --- on a terminal --- */

static size_t lines_of(const char *text, size_t *ret_widest)
{
    size_t count = 0;
    *ret_widest = 0;
    while (*text) {
        size_t len = strcspn(text, "\n");
        char *line = rwf_xstrndup(text, len);
        size_t columns = view_columns(line);
        *ret_widest = columns > *ret_widest ? columns : *ret_widest;
        free(line);
        ck_assert_msg(text[len] == '\n', "a line without end");
        text += len + 1;
        count++;
    }
    return count;
}

START_TEST(test_table)
{
    struct rwf_str out = {0};
    some_trials();
    view_search_draw(s, &out, 20, 100, false);
    ck_assert_str_eq(
        out.data,
        "tune.rate  3/6 trials, best loss=0.25, 1 running, 1 stopped, 1 failed\n"
        "  trial          loss  report  state      configuration\n"
        "✓     0          0.25       2  completed  lr=0.01 kind=adam\n"
        "■     1           2.5       1  stopped    lr=0.02 kind=sgd momentum=0.5\n"
        "▶     3          0.75       1  running    lr=0.04 kind=adam\n");
    rwf_str_free(&out);
}
END_TEST

/* Whatever the size of the terminal, the table fits. */
START_TEST(test_table_fits)
{
    for (int n = 0; n < 40; n++) {
        suggest(n, 0.001 * (n + 1), "sgd");
        start(n);
        report(n, n, 1);
        if (n % 2)
            end(n, "completed", n, 1, 1);
    }
    for (size_t rows = 0; rows <= 40; rows++)
        for (int width = 1; width <= 120; width += 7)
            for (int color = 0; color <= 1; color++) {
                struct rwf_str out = {0};
                size_t widest = 0;
                view_search_draw(s, &out, rows, width, color);
                size_t lines = lines_of(out.data ? out.data : "", &widest);
                ck_assert_msg(lines <= rows, "%zu lines in %zu rows", lines, rows);
                ck_assert_msg(width < 20 || widest < (size_t)width, "%zu in %d", widest,
                              width);
                ck_assert(color || !out.data || !strchr(out.data, '\033'));
                rwf_str_free(&out);
            }
}
END_TEST

static char *plain_lines(void)
{
    static char *told;
    char *line = log_text.data;
    size_t len;
    FILE *out = open_memstream(&told, &len);
    const struct view_progress_options options = {
        .out = out, .graph = f.graph, .root = "/r/.raywf"};
    struct view_progress *p = view_progress_create(&options);
    while (line && *line) {
        size_t n = strcspn(line, "\n");
        json_t *e = json_loadb(line, n, 0, NULL);
        view_progress_event(
            p, run_event_parse(json_string_value(json_object_get(e, "type"))), e);
        json_decref(e);
        line += n + 1;
    }
    view_progress_destroy(p);
    fclose(out);
    return told;
}

/* One line for each trial that ended, none for what it did before. */
START_TEST(test_plain)
{
    some_trials();
    char *told = plain_lines();
    char *took = strstr(told, "exit code 3  "); /* what it took, and where it stands */
    ck_assert_ptr_nonnull(took);
    ck_assert_ptr_nonnull(strstr(took, "recipe.yaml:4\n"));
    took[strlen("exit code 3")] = '\0';
    ck_assert_str_eq(
        told,
        "run " ID ": 7 steps\n"
        "[1/7] ■ tune.rate trial 1  stopped  loss=2.5 at report 1  best so far  "
        "(lr=0.02 kind=sgd momentum=0.5)\n"
        "[2/7] ✓ tune.rate trial 0  completed  loss=0.25 at report 2  best so far  "
        "(lr=0.01 kind=adam)\n"
        "[3/7] ✗ tune.rate[trial=2]  exit code 3");
    free(told);
}
END_TEST

static struct run_state *write_run(char **ret_dir)
{
    char *dir = rwf_fs_join(f.dir, ".raywf/runs/" ID);
    char *log = rwf_fs_join(dir, "events.ndjson");
    ck_assert_int_eq(rwf_fs_mkdirs(dir, NULL), 0);
    ck_assert_int_eq(rwf_fs_write(log, log_text.data, log_text.len, false, NULL), 0);
    struct run_state *state = run_state_load(log, &f.err);
    ck_assert_msg(state != NULL, "%s", f.err.text);
    free(log);
    *ret_dir = dir;
    return state;
}

START_TEST(test_summary)
{
    char *dir, *told = NULL;
    size_t len;
    some_trials();
    event(RUN_RUN_FINISHED, "\"status\":\"stopped\",\"exit_code\":9");
    struct run_state *state = write_run(&dir);
    struct view_run r = {.dir = dir, .state = state, .graph = f.graph};
    FILE *out = open_memstream(&told, &len);
    view_search_summary(&r, out, false);
    fclose(out);
    ck_assert_str_eq(told,
                     "\nsearch\n"
                     "  tune.rate  best loss 0.25 in trial 0; 3 of 6 trials ended, "
                     "1 completed, 1 stopped, 1 failed\n"
                     "    lr    0.01\n"
                     "    kind  adam\n"
                     "  all trials        raywf tune show " ID "\n"
                     "  best as a recipe  raywf tune show " ID " --best\n");
    free(told);
    free(dir);
    run_state_destroy(state);
}
END_TEST

/* --- the page --- */

/* The page's data of the only search. */
static json_t *page_search(struct plan_graph *graph)
{
    static const char mark[] = "<script type=\"application/json\" id=\"data\">";
    struct rwf_str page = {0};
    char *dir;
    struct run_state *state = write_run(&dir);
    struct view_run r = {.dir = dir, .state = state, .graph = graph};
    ck_assert_msg(view_report(&r, &page, &f.err) == 0, "%s", f.err.text);
    char *text = strstr(page.data, mark);
    ck_assert_ptr_nonnull(text);
    text += strlen(mark);
    json_t *data = json_loadb(text, (size_t)(strstr(text, "</script>") - text), 0, NULL);
    ck_assert_ptr_nonnull(data);
    json_t *one = json_incref(json_array_get(json_object_get(data, "searches"), 0));
    json_decref(data);
    rwf_str_free(&page);
    run_state_destroy(state);
    free(dir);
    return one;
}

static char *dump(const json_t *from, const char *name)
{
    return json_dumps(json_object_get(from, name),
                      JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS |
                          JSON_REAL_PRECISION(8));
}

START_TEST(test_page)
{
    some_trials();
    json_t *one = page_search(f.graph);
    ASSERT_TAKEN(dump(one, "metric"), "\"loss\"");
    ASSERT_TAKEN(dump(one, "best"), "0");
    ASSERT_TAKEN(dump(one, "total"), "6");
    ASSERT_TAKEN(dump(one, "rungs"), "[1.0]");
    ASSERT_TAKEN(dump(one, "counts"),
                 "{\"completed\":1,\"failed\":1,\"running\":1,\"stopped\":1}");
    ASSERT_TAKEN(dump(json_object_get(one, "space"), "momentum"),
                 "{\"max\":1,\"min\":0,\"type\":\"uniform\",\"when\":{\"kind\":"
                 "\"sgd\"}}");
    const json_t *trials = json_object_get(one, "trials");
    ck_assert_uint_eq(json_array_size(trials), 4);
    ASSERT_TAKEN(dump(json_array_get(trials, 0), "curve"), "[1.0,0.9,2.0,0.25]");
    ASSERT_TAKEN(dump(json_array_get(trials, 1), "why"), "\"not among the best\"");
    ASSERT_TAKEN(dump(json_array_get(trials, 1), "order"), "1");
    json_decref(one);
}
END_TEST

/* Without a plan there are the trials all the same, and who was the best. */
START_TEST(test_page_without_plan)
{
    some_trials();
    json_t *one = page_search(NULL);
    ASSERT_TAKEN(dump(one, "metric"), "\"metric\"");
    ASSERT_TAKEN(dump(one, "mode"), "\"min\"");
    ASSERT_TAKEN(dump(one, "best"), "0");
    ASSERT_TAKEN(dump(json_array_get(json_object_get(one, "trials"), 0), "value"),
                 "0.25");
    json_decref(one);
}
END_TEST

/* A run without a search says nothing of one. */
START_TEST(test_none)
{
    event(RUN_VERSION, "\"v\":\"1.0\",\"raywf\":\"0.1.0\",\"run\":\"" ID "\",\"recipe\":"
                       "\"r.yaml\",\"name\":\"rates\",\"pid\":1");
    ck_assert_ptr_null(page_search(NULL));
}
END_TEST

/* --- importance --- */

/* Even steps through [0, 1) in an order that looks random. */
static double scattered(size_t i, double by)
{
    return fmod((double)(i + 1) * by, 1);
}

START_TEST(test_importance)
{
    enum { N = 200 };
    double a[N], b[N], c[N], y[N], few[3] = {1, 2, 3};
    for (size_t i = 0; i < N; i++) {
        a[i] = scattered(i, 0.61803398875);
        b[i] = scattered(i, 0.41421356237);
        c[i] = (double)(i % 3);
        y[i] = a[i] > 0.99 ? 1e9 : a[i] + 0.2 * b[i];
    }
    double of_a = view_importance(a, y, N, false);
    double of_b = view_importance(b, y, N, false);
    double of_c = view_importance(c, y, N, true);
    ck_assert_msg(of_a > 0.85 && of_a <= 1, "%g", of_a);
    ck_assert_msg(of_b < 0.15, "%g", of_b);
    ck_assert_msg(of_c < 0.05, "%g", of_c);
    /* One value explains nothing; a category that is the answer explains all. */
    for (size_t i = 0; i < N; i++) {
        b[i] = 7;
        y[i] = c[i];
    }
    ck_assert(view_importance(b, y, N, false) == 0);
    ck_assert(view_importance(c, y, N, true) > 0.999);
    /* Those that lack it are not asked. */
    for (size_t i = 0; i < N; i += 2)
        c[i] = NAN;
    ck_assert(view_importance(c, y, N, true) > 0.999);
    ck_assert(isnan(view_importance(few, few, 3, false)));
    for (size_t i = 0; i < N; i++)
        c[i] = (double)i;
    ck_assert(isnan(view_importance(c, y, N, true)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("search_view");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_model);
    tcase_add_test(t, test_paused_and_resumed);
    tcase_add_test(t, test_cloned);
    tcase_add_test(t, test_thin);
    tcase_add_test(t, test_table);
    tcase_add_test(t, test_table_fits);
    tcase_add_test(t, test_plain);
    tcase_add_test(t, test_summary);
    tcase_add_test(t, test_page);
    tcase_add_test(t, test_page_without_plan);
    tcase_add_test(t, test_none);
    tcase_add_test(t, test_importance);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
