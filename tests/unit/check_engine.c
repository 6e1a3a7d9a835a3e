/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine with real recipes, real processes, and a built-in op made here. This
 * program is also its own `run-step`. Webhooks go to a function below instead of the
 * network.
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include "base/clock.h"
#include "base/redact.h"
#include "base/str.h"
#include "plan/builtin.h"
#include "plan/planfile.h"
#include "recipe/recipe.h"
#include "node/machine.h"
#include "run/engine.h"
#include "run/index.h"
#include "run/layout.h"
#include "run_support.h"
#include "wire/http.h"

/* --- webhooks --- */

static struct rwf_str posted;
static int post_result;

int http_post(const char *url, const char *content_type, const void *body, size_t len,
              const char *const *headers, int64_t timeout_ns, struct rwf_err *err)
{
    (void)content_type;
    (void)timeout_ns;
    rwf_str_addf(&posted, "%s %s %.*s\n", url, headers[0] == NULL ? "-" : headers[0],
                 (int)len, (const char *)body);
    return post_result == 0 ? 0 : rwf_fail(err, RWF_E_ENV, "nobody listens");
}

/* --- a built-in op: datasets whose SQL says what happens --- */

static json_t *built_outputs(const struct recipe_node *body)
{
    (void)body;
    return json_pack("{s:s, s:s}", "", "data.txt", "data", "data.txt");
}

static json_t *built_spec(const struct plan_graph *g, const struct plan_step *step,
                          struct rwf_err *err)
{
    const struct recipe_node *headers = recipe_at(step->body, "read.headers");
    const struct recipe_node *source = recipe_at(step->body, "read.sql");
    json_t *sql = plan_resolve(
        g, step, source == NULL ? recipe_at(step->body, "read.url") : source, err);
    json_t *all = headers == NULL ? json_object() : plan_resolve(g, step, headers, err);
    return sql == NULL || all == NULL ? NULL
                                      : json_pack("{s:o, s:o}", "sql", sql, "h", all);
}

static int built_run(struct op_run *r, struct rwf_err *err)
{
    const char *sql = json_string_value(json_object_get(r->spec, "sql"));
    char *path = rwf_fs_join(r->dir, "data.txt"),
         *text = json_dumps(r->spec, JSON_COMPACT);
    json_t *line =
        json_pack("{s:f, s:i, s:f}", "progress", 0.5, "rows", 7, "acc", 0.25);
    r->report(r, line);
    json_decref(line);
    int result = rwf_fs_write(path, text, strlen(text), false, err);
    free(path);
    free(text);
    if (strcmp(sql, "input") == 0)
        return rwf_fail(err, RWF_E_INPUT, "no such file: x.csv");
    if (strcmp(sql, "check") == 0)
        return rwf_fail(err, RWF_E_CHECK, "2 rows are null");
    if (strcmp(sql, "errno") == 0)
        return rwf_fail(err, ENOENT, "gone");
    return result;
}

static int built_lower(struct plan_lowering *l, const char *name,
                       const struct recipe_node *body, struct rwf_err *err)
{
    return plan_lower_one(l, name, body, err);
}

static const struct op built_op = {
    .name = "built",
    .section = "datasets",
    .summary = "for tests",
    .version = 1,
    .lower = built_lower,
    .outputs = built_outputs,
    .spec = built_spec,
    .run = built_run,
};

static const struct op *const ops[] = {&plan_task_op, &plan_check_op, &built_op, NULL};

/* --- running a recipe --- */

struct outcome {
    int code;
    char id[RWF_RUN_ID_LEN];
    int events[RUN_EVENT_COUNT];
    struct rwf_err err;
};

static const struct schedule_machine machine = {
    .name = "here", .cpu = 2, .memory = 1LL << 34};
static char *root;
static struct engine_options options;

static void setup(void)
{
    scratch_make();
    root = scratch_path(".raywf");
    options = (struct engine_options){.root = root, .machine = &machine};
    rwf_str_clear(&posted);
    post_result = 0;
}

static void teardown(void)
{
    free(root);
    rwf_redact_clear();
    rwf_str_free(&posted);
    scratch_remove();
}

static void count_event(void *ctx, enum run_event type, const json_t *event)
{
    (void)event;
    ((struct outcome *)ctx)->events[type]++;
}

struct loaded {
    struct recipe *recipe;
    struct recipe_diags *diags;
    struct plan_graph *graph;
};

static struct loaded load(const char *text)
{
    struct loaded l = {.diags = recipe_diags_create()};
    struct rwf_err err = RWF_ERR_INIT;
    struct rwf_str whole = {NULL, 0, 0};
    char *path = scratch_path("r.yaml");
    rwf_str_addf(&whole, "recipe: raywf/v1\nname: test\n%s", text);
    ck_assert_int_eq(rwf_fs_write(path, whole.data, whole.len, false, NULL), 0);
    struct recipe_options none = {.profile = NULL};
    l.recipe = recipe_load(path, &none, l.diags, &err);
    ck_assert_msg(l.recipe != NULL, "%s", err.text);
    if (recipe_diags_errors(l.diags) == 0) {
        ck_assert_msg(recipe_secrets_read(l.recipe, &err) == 0, "%s", err.text);
        struct plan_options all = {.only_count = 0};
        l.graph = plan_graph_build(l.recipe, ops, &all, l.diags, &err);
    }
    if (l.graph == NULL)
        recipe_diags_print(l.diags, recipe_sources(l.recipe), stderr, false);
    ck_assert_msg(l.graph != NULL, "%s", err.text);
    rwf_str_free(&whole);
    free(path);
    return l;
}

static void unload(struct loaded *l)
{
    plan_graph_destroy(l->graph);
    recipe_destroy(l->recipe);
    recipe_diags_destroy(l->diags);
}

static struct outcome drive(const char *text, const char *resume, bool retry)
{
    struct outcome o = {.code = -2, .err = RWF_ERR_INIT};
    struct loaded l = load(text);
    options.on_event = count_event;
    options.ctx = &o;
    o.code = resume == NULL ? engine_run(l.graph, &options, o.id, &o.err)
                            : engine_resume(l.graph, &options, resume, retry, &o.err);
    if (resume != NULL)
        snprintf(o.id, sizeof(o.id), "%s", resume);
    unload(&l);
    return o;
}

static struct outcome run(const char *text)
{
    return drive(text, NULL, false);
}

static void expect_code(const struct outcome *o, int code)
{
    ck_assert_msg(o->code == code, "exit code %d, not %d: %s", o->code, code,
                  o->err.text);
}

static struct run_state *state_of(const char *id)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = run_log_path(root, id);
    struct run_state *s = run_state_load(path, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    free(path);
    return s;
}

static void expect_step(const char *id, const char *address, enum schedule_state state,
                        const char *cause, const char *message)
{
    struct run_state *s = state_of(id);
    const struct run_step_state *step = run_state_step(s, address);
    ck_assert_msg(step != NULL, "%s is not in the log", address);
    ck_assert_str_eq(schedule_state_name(step->state), schedule_state_name(state));
    if (cause != NULL)
        ck_assert_str_eq(step->cause, cause);
    if (message != NULL)
        ck_assert_msg(strstr(step->message, message) != NULL, "%s", step->message);
    run_state_destroy(s);
}

static char *read_scratch(const char *name)
{
    char *path = scratch_path(name), *text = rwf_fs_read(path, 1 << 20, NULL, NULL);
    free(path);
    return text;
}

static void expect_scratch(const char *name, const char *content)
{
    char *text = read_scratch(name);
    ck_assert_msg(text != NULL, "%s is not there", name);
    ck_assert_str_eq(text, content);
    free(text);
}

static bool in_log(const char *id, const char *what)
{
    char *path = run_log_path(root, id), *text = rwf_fs_read(path, 1 << 24, NULL, NULL);
    bool found = strstr(text, what) != NULL;
    free(path);
    free(text);
    return found;
}

/* --- success --- */

static const char chain[] =
    "tasks:\n"
    "  a:\n"
    "    run: |\n"
    "      echo hello > out.txt; echo junk > scratch.txt; echo a >> "
    "\"$RAYWF_RECIPE_DIR/ran\"\n"
    "      echo '{\"acc\": 0.9, \"step\": 1}' >&$RAYWF_REPORT\n"
    "    outputs: {o: out.txt}\n"
    "  b:\n"
    "    run: cat \"${tasks.a.outputs.o}\" > copy; echo b >> "
    "\"$RAYWF_RECIPE_DIR/ran\"\n"
    "    outputs: {c: copy}\n"
    "checks:\n"
    "  good: {value: \"${tasks.a.metrics.acc}\", op: \">=\", than: 0.5}\n";

START_TEST(runs_and_then_has_it)
{
    struct outcome o = run(chain);
    expect_code(&o, 0);
    ck_assert_int_eq(o.events[RUN_STEP_SUCCEEDED], 3);
    ck_assert_int_eq(o.events[RUN_STEP_METRIC], 1);
    ck_assert_int_eq(o.events[RUN_RUN_FINISHED], 1);
    expect_scratch("ran", "a\nb\n");
    struct run_state *s = state_of(o.id);
    ck_assert_str_eq(s->status, "succeeded");
    ck_assert_str_eq(s->name, "test");
    ck_assert_uint_eq(s->total, 3);
    const struct run_step_state *b = run_state_step(s, "tasks.b");
    const json_t *c = json_object_get(b->outputs, "c");
    char *text =
        rwf_fs_read(json_string_value(json_object_get(c, "path")), 100, NULL, NULL);
    ck_assert_str_eq(text, "hello\n");
    free(text);
    char *dir = run_dir(root, o.id),
         *junk = rwf_fs_join(dir, "steps/tasks.a/scratch.txt");
    char *record = rwf_fs_join(dir, "steps/tasks.a/stdout");
    ck_assert(!rwf_fs_exists(junk) && rwf_fs_exists(record));
    free(record);
    free(junk);
    free(dir);
    run_state_destroy(s);
    char *last = run_resolve(root, "last", NULL);
    ck_assert_str_eq(last, o.id);
    free(last);
    expect_scratch(".raywf/.gitignore", "*\n");

    struct outcome again = run(chain);
    expect_code(&again, 0);
    ck_assert_int_eq(again.events[RUN_STEP_CACHED], 2);
    ck_assert_int_eq(again.events[RUN_STEP_STARTED], 1); /* the check, in the head */
    expect_scratch("ran", "a\nb\n");
    ck_assert_str_ne(again.id, o.id);

    options.no_cache = true;
    struct outcome all = run(chain);
    expect_code(&all, 0);
    ck_assert_int_eq(all.events[RUN_STEP_CACHED], 0);
    expect_scratch("ran", "a\nb\na\nb\n");
}
END_TEST

START_TEST(uncached_runs_each_time)
{
    static const char text[] =
        "tasks:\n  a: {run: \"echo x > o\", outputs: {o: o}, cache: "
        "false}\n  b: {run: \"cat ${tasks.a.outputs.o}\"}\n";
    struct outcome o = run(text);
    expect_code(&o, 0);
    o = run(text);
    expect_code(&o, 0);
    expect_step(o.id, "tasks.a", STEP_SUCCEEDED, NULL, NULL);
    expect_step(o.id, "tasks.b", STEP_CACHED, NULL, NULL);
}
END_TEST

START_TEST(environment_of_a_task)
{
    struct outcome o = run("tasks:\n  a:\n    run: |\n"
                           "      test \"$PWD\" = \"$RAYWF_STEP_DIR\"\n"
                           "      test \"$RAYWF_STEP $RAYWF_ATTEMPT\" = 'tasks.a 1'\n"
                           "      test -f \"$RAYWF_RECIPE_DIR/r.yaml\"\n"
                           "      test \"$RAYWF_RUN_ID\" = \"${run.id}\"\n");
    expect_code(&o, 0);
}
END_TEST

START_TEST(identical_steps_run_once)
{
    struct outcome o =
        run("tasks:\n"
            "  a: {run: \"echo x >> $RAYWF_RECIPE_DIR/ran; sleep 0.2\"}\n"
            "  b: {run: \"echo x >> $RAYWF_RECIPE_DIR/ran; sleep 0.2\"}\n");
    expect_code(&o, 0);
    ck_assert_int_eq(o.events[RUN_STEP_SUCCEEDED], 1);
    ck_assert_int_eq(o.events[RUN_STEP_CACHED], 1);
    expect_scratch("ran", "x\n");
}
END_TEST

/* --- not success --- */

START_TEST(failure_and_what_depends_on_it)
{
    struct outcome o = run("tasks:\n  a: {run: \"echo oh no >&2; exit 3\"}\n"
                           "  b: {argv: [\"true\"], needs: [tasks.a]}\n"
                           "  c: {argv: [\"true\"], needs: [tasks.b]}\n"
                           "  d: {argv: [\"true\"]}\n");
    expect_code(&o, 1);
    expect_step(o.id, "tasks.a", STEP_FAILED, "exit", "exit code 3");
    expect_step(o.id, "tasks.b", STEP_SKIPPED, NULL, "needs tasks.a, which failed");
    expect_step(o.id, "tasks.c", STEP_SKIPPED, NULL,
                "needs tasks.b, which was skipped");
    expect_step(o.id, "tasks.d", STEP_SUCCEEDED, NULL, NULL);
    ck_assert(in_log(o.id, "\"tail\":\"oh no"));
    ck_assert(in_log(o.id, "r.yaml:4:"));
    ck_assert(in_log(o.id, "\"status\":\"failed\",\"exit_code\":1"));
}
END_TEST

static const struct {
    const char *text, *address;
    int code;
    const char *cause, *message;
} failures[] = {
    {"tasks:\n  a: {argv: [/no/such/program]}\n", "tasks.a", 1, "start",
     "/no/such/program"},
    {"tasks:\n  a: {argv: [\"true\"], outputs: {o: o.txt}}\n", "tasks.a", 1, "output",
     "o.txt"},
    {"tasks:\n  a: {run: \"kill -SEGV $$\"}\n", "tasks.a", 1, "signal", "SEGV"},
    {"tasks:\n  a: {run: \"sleep 30\", timeout: 100ms, grace: 100ms}\n", "tasks.a", 1,
     "timeout", ""},
    {"tasks:\n  a: {run: \"cat ${inputs.x}\", inputs: {x: gone.txt}}\n", "tasks.a", 6,
     "input", "gone.txt"},
    {"tasks:\n  a: {argv: [\"true\"]}\nchecks:\n  c: {value: "
     "\"${tasks.a.metrics.acc}\", "
     "than: 1}\n",
     "checks.c", 1, "start", "acc"},
    {"tasks:\n  a: {run: \"echo '{\\\"acc\\\":0.1}' >&3\"}\nchecks:\n  c: {value: "
     "\"${tasks.a.metrics.acc}\", than: 1}\n",
     "checks.c", 11, "check", "0.1"},
    {"datasets:\n  d: {read: {sql: input}}\n", "datasets.d", 6, "input",
     "no such file: x.csv"},
    {"datasets:\n  d: {read: {sql: check}}\n", "datasets.d", 11, "check",
     "2 rows are null"},
    {"datasets:\n  d: {read: {sql: errno}}\n", "datasets.d", 1, "exit", "gone"},
};

START_TEST(each_cause_has_its_code)
{
    struct outcome o = run(failures[_i].text);
    expect_code(&o, failures[_i].code);
    expect_step(o.id, failures[_i].address, STEP_FAILED, failures[_i].cause,
                failures[_i].message);
}
END_TEST

START_TEST(retries)
{
    struct outcome o = run("tasks:\n  a:\n    run: test \"$RAYWF_ATTEMPT\" = 3\n"
                           "    retry: {max: 2, backoff: 10ms}\n");
    expect_code(&o, 0);
    ck_assert_int_eq(o.events[RUN_STEP_RETRY], 2);
    ck_assert_int_eq(o.events[RUN_STEP_STARTED], 3);
}
END_TEST

/* The low one runs first (it alone is ready), is ended for the high one, and runs again;
 * its one retry is still there when it fails after that. */
START_TEST(higher_priority_makes_room)
{
    struct outcome o =
        run("tasks:\n  low:\n    run: |\n"
            "      if [ ! -e \"$RAYWF_RECIPE_DIR/seen\" ]; then\n"
            "        echo x > \"$RAYWF_RECIPE_DIR/seen\"; sleep 60\n"
            "      elif [ ! -e \"$RAYWF_RECIPE_DIR/again\" ]; then\n"
            "        echo x > \"$RAYWF_RECIPE_DIR/again\"; exit 1\n      fi\n"
            "    retry: {max: 1, backoff: 1ms}\n    resources: {cpu: 1.5}\n"
            "  wait:\n    run: while [ ! -e \"$RAYWF_RECIPE_DIR/seen\" ]; do sleep 0.01; "
            "done\n    resources: {cpu: 0.1}\n"
            "  high:\n    run: test -e \"$RAYWF_RECIPE_DIR/seen\"\n"
            "    needs: [tasks.wait]\n    priority: 5\n    resources: {cpu: 1}\n");
    expect_code(&o, 0);
    ck_assert_int_eq(o.events[RUN_STEP_PREEMPTED], 1);
    ck_assert_int_eq(o.events[RUN_STEP_RETRY], 1);
    ck_assert_int_eq(o.events[RUN_STEP_STARTED], 5);
}
END_TEST

START_TEST(ranks_want_a_gang)
{
    struct outcome o = run("tasks:\n  a: {run: \"true\", resources: {ranks: 2, cpu: 1}}\n");
    ck_assert_int_eq(o.err.code, RWF_E_RECIPE);
    ck_assert_msg(strstr(o.err.text, "write gang:") != NULL, "%s", o.err.text);
}
END_TEST

START_TEST(a_false_condition_skips)
{
    struct outcome o = run("tasks:\n  a: {argv: [\"true\"], when: \"1 == 2\"}\n"
                           "  b: {argv: [\"true\"], needs: [tasks.a]}\n");
    expect_code(&o, 0);
    expect_step(o.id, "tasks.a", STEP_SKIPPED, NULL, "condition");
    expect_step(o.id, "tasks.b", STEP_SKIPPED, NULL,
                "needs tasks.a, which was skipped");
}
END_TEST

START_TEST(fail_fast_stops_the_rest)
{
    options.fail_fast = true;
    struct outcome o = run("tasks:\n  a: {run: \"sleep 30\"}\n  b: {run: \"exit 1\"}\n"
                           "  c: {argv: [\"true\"], needs: [tasks.a]}\n");
    expect_code(&o, 1);
    expect_step(o.id, "tasks.a", STEP_STOPPED, NULL, NULL);
    expect_step(o.id, "tasks.c", STEP_STOPPED, NULL, NULL);
    ck_assert(in_log(o.id, "\"reason\":\"fail_fast\""));
}
END_TEST

START_TEST(a_deadline_ends_the_run)
{
    options.timeout = 200 * 1000000LL;
    struct outcome o = run("tasks:\n  a: {run: \"sleep 30\"}\n");
    expect_code(&o, 8);
    expect_step(o.id, "tasks.a", STEP_STOPPED, NULL, NULL);
}
END_TEST

START_TEST(a_plan_that_no_longer_holds)
{
    const char *keys[] = {
        "0123456789012345678901234567890123456789012345678901234567890123"};
    options.keys = keys;
    struct outcome o = run("tasks:\n  a: {argv: [\"true\"]}\n");
    expect_code(&o, -1);
    ck_assert_int_eq(o.err.code, RWF_E_LOCK);
    ck_assert_int_eq(o.events[RUN_STEP_STARTED], 0);
    ck_assert(in_log(o.id, "\"exit_code\":4"));
}
END_TEST

START_TEST(what_never_fits_is_refused)
{
    struct outcome o = run("tasks:\n  a: {argv: [\"true\"], resources: {cpu: 64}}\n");
    expect_code(&o, -1);
    ck_assert_int_eq(o.err.code, RWF_E_FIT);
    ck_assert_msg(strstr(o.err.text, "r.yaml:4:") != NULL, "%s", o.err.text);
}
END_TEST

/* --- stop, kill, resume --- */

static void nap(int ms)
{
    struct timespec t = {0, ms * 1000000L};
    nanosleep(&t, NULL);
}

/* Runs text in a child; returns its pid once the file `ran` has so many bytes. */
static pid_t run_apart(const char *text, off_t bytes)
{
    struct stat st;
    char *ran = scratch_path("ran");
    pid_t pid = fork();
    if (pid == 0) {
        struct outcome o = run(text);
        _exit(o.code < 0 ? 99 : o.code);
    }
    while (stat(ran, &st) != 0 || st.st_size < bytes)
        nap(5);
    free(ran);
    return pid;
}

static char *last_run(void)
{
    char *id = run_resolve(root, "last", NULL);
    ck_assert_ptr_nonnull(id);
    return id;
}

static const char slow[] =
    "tasks:\n"
    "  a: {run: \"echo a >> $RAYWF_RECIPE_DIR/ran; echo 1 > o\", outputs: {o: o}}\n"
    "  b:\n"
    "    needs: [tasks.a]\n"
    "    run: echo b >> $RAYWF_RECIPE_DIR/ran; test -f $RAYWF_RECIPE_DIR/go || sleep "
    "600\n"
    "  c: {run: \"echo c >> $RAYWF_RECIPE_DIR/ran; cat ${tasks.a.outputs.o}\", needs: "
    "[tasks.b]}\n";

/* A step says that it begins before the log does. */
static void expect_soon(const char *id, const char *address, enum schedule_state state)
{
    bool is = false;
    for (int i = 0; i < 60000 && !is; i++) {
        struct run_state *s = state_of(id);
        const struct run_step_state *step = run_state_step(s, address);
        is = step != NULL && step->state == state;
        run_state_destroy(s);
        if (!is)
            nap(5);
    }
    ck_assert_msg(is, "%s is not %s", address, schedule_state_name(state));
}

static void let_go(void)
{
    char *go = scratch_path("go");
    ck_assert_int_eq(rwf_fs_write(go, "", 0, false, NULL), 0);
    free(go);
}

START_TEST(stop_from_outside_then_resume)
{
    int status;
    struct rwf_err err = RWF_ERR_INIT;
    pid_t pid = run_apart(slow, 4);
    char *id = last_run();
    ck_assert_int_eq(engine_active(root, id), pid);
    struct outcome other = drive(slow, id, false);
    expect_code(&other, -1);
    ck_assert_int_eq(other.err.code, RWF_E_USAGE);
    ck_assert_msg(engine_stop(root, id, 300000000000LL, &err) == 0, "%s", err.text);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(WEXITSTATUS(status), 9);
    ck_assert_int_eq(engine_active(root, id), 0);
    ck_assert_int_eq(engine_stop(root, id, 0, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_NORUN);
    expect_step(id, "tasks.b", STEP_STOPPED, NULL, NULL);
    let_go();
    struct outcome o = drive(slow, id, false);
    expect_code(&o, 0);
    expect_scratch("ran", "a\nb\nb\nc\n");
    free(id);
}
END_TEST

/* nohup raywf run …: a hang-up that our parent ignores is none to us. */
START_TEST(an_ignored_signal_stays_ignored)
{
    int status;
    signal(SIGHUP, SIG_IGN);
    pid_t pid = run_apart(slow, 4);
    char *id = last_run();
    expect_soon(id, "tasks.b", STEP_RUNNING);
    kill(pid, SIGHUP);
    nap(50);
    ck_assert_int_eq(engine_active(root, id), pid);
    expect_step(id, "tasks.b", STEP_RUNNING, NULL, NULL);
    ck_assert_int_eq(engine_stop(root, id, 300000000000LL, NULL), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(WEXITSTATUS(status), 9);
    signal(SIGHUP, SIG_DFL);
    free(id);
}
END_TEST

START_TEST(a_folder_that_is_not_utf8)
{
    free(root);
    root = scratch_path("caf\xe9");
    options.root = root;
    struct outcome o = run("tasks:\n  a: {argv: [\"true\"]}\n");
    expect_code(&o, -1);
    ck_assert_int_eq(o.err.code, RWF_E_ENV);
}
END_TEST

START_TEST(killed_then_resumed)
{
    pid_t pid = run_apart(slow, 4);
    char *id = last_run();
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    let_go();
    struct outcome o = drive(slow, id, false);
    expect_code(&o, 0);
    ck_assert_int_eq(o.events[RUN_RUN_RESUMED], 1);
    expect_scratch("ran", "a\nb\nb\nc\n");
    /* a run that succeeded is left alone */
    o = drive(slow, id, true);
    expect_code(&o, 0);
    ck_assert_int_eq(o.events[RUN_RUN_RESUMED], 0);
    free(id);
}
END_TEST

START_TEST(lost_outputs_are_made_again)
{
    pid_t pid = run_apart(slow, 4);
    char *id = last_run(), *cache = rwf_fs_join(root, "cache");
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert_int_eq(rwf_fs_rmtree(cache, NULL), 0);
    let_go();
    struct outcome o = drive(slow, id, false);
    expect_code(&o, 0);
    expect_scratch("ran", "a\nb\na\nb\nc\n");
    expect_step(id, "tasks.a", STEP_SUCCEEDED, NULL, NULL);
    free(cache);
    free(id);
}
END_TEST

START_TEST(failed_steps_are_tried_again)
{
    static const char text[] =
        "tasks:\n  a: {run: \"echo a >> $RAYWF_RECIPE_DIR/ran\"}\n"
        "  b: {run: \"test -f $RAYWF_RECIPE_DIR/go\", needs: [tasks.a]}\n"
        "  c: {argv: [\"true\"], needs: [tasks.b]}\n";
    struct outcome o = run(text);
    expect_code(&o, 1);
    struct outcome same = drive(text, o.id, false);
    expect_code(&same, 1);
    ck_assert_int_eq(same.events[RUN_STEP_STARTED], 0);
    let_go();
    struct outcome again = drive(text, o.id, true);
    expect_code(&again, 0);
    expect_scratch("ran", "a\n");
    expect_step(o.id, "tasks.c", STEP_SUCCEEDED, NULL, NULL);
    struct run_state *s = state_of(o.id);
    ck_assert_int_eq(run_state_step(s, "tasks.b")->attempt, 2);
    ck_assert_int_eq(s->exit_code, 0);
    run_state_destroy(s);
}
END_TEST

/* Said to be all cached: it needs no place, not even one that could hold it; when it is not
 * cached after all, nothing runs here, and the run goes on where there is one. */
START_TEST(all_cached_needs_no_place)
{
    static const struct schedule_machine small = {
        .name = "small", .cpu = 1, .memory = 1LL << 34};
    const char *text = "tasks:\n"
                       "  a: {run: \"true\", resources: {cpu: 2}}\n"
                       "checks:\n"
                       "  c: {value: 1, op: \"<\", than: 2}\n";
    options.all_cached = true;
    struct outcome o = run(text);
    ck_assert_int_eq(o.code, -1);
    ck_assert_int_eq(o.err.code, RWF_E_ENV);
    ck_assert_msg(strstr(o.err.text, "tasks.a was in the cache") != NULL, "%s",
                  o.err.text);
    ck_assert_int_eq(o.events[RUN_STEP_STARTED], 0);
    options.all_cached = false;
    struct outcome on = drive(text, o.id, false);
    ck_assert_int_eq(on.code, 0);
    ck_assert_int_eq(on.events[RUN_STEP_CACHED], 0);
    options.all_cached = true;
    options.machine = &small;
    o = run(text);
    ck_assert_msg(o.code == 0, "%s", o.err.text);
    ck_assert_int_eq(o.events[RUN_STEP_CACHED], 1);
}
END_TEST

START_TEST(no_such_run)
{
    struct outcome o =
        drive("tasks:\n  a: {argv: [\"true\"]}\n", "20200101-000000-abcdef", false);
    expect_code(&o, -1);
    ck_assert_int_eq(o.err.code, RWF_E_NORUN);
}
END_TEST

/* --- built-in steps and secrets --- */

START_TEST(builtin_step_and_its_secret)
{
    setenv("CHECK_ENGINE_TOKEN", "hunter2\"quoted", 1);
    struct outcome o =
        run("secrets: {T: {env: CHECK_ENGINE_TOKEN}}\n"
            "datasets:\n  d:\n    read: {url: \"http://127.0.0.1/x.csv\", "
            "headers: {A: \"Bearer ${secrets.T}\"}}\n"
            "tasks:\n  t: {run: \"cat ${datasets.d}; echo $S\", env: {S: "
            "\"${secrets.T}\"}}\n");
    expect_code(&o, 0);
    struct run_state *s = state_of(o.id);
    const struct run_step_state *d = run_state_step(s, "datasets.d");
    ck_assert_int_eq(json_integer_value(json_object_get(d->metrics, "rows")), 7);
    ck_assert_double_eq(json_real_value(json_object_get(d->metrics, "acc")), 0.25);
    ck_assert_ptr_null(json_object_get(d->outputs, ""));
    /* the step had the value, and so does its output; our records have not */
    const json_t *data = json_object_get(d->outputs, "data");
    char *text =
        rwf_fs_read(json_string_value(json_object_get(data, "path")), 1000, NULL, NULL);
    ck_assert_ptr_nonnull(strstr(text, "Bearer hunter2\\\"quoted"));
    free(text);
    char *path = rwf_xasprintf("%s/runs/%s/steps/datasets.d/step.json", root, o.id);
    text = rwf_fs_read(path, 10000, NULL, NULL);
    ck_assert_ptr_nonnull(strstr(text, "Bearer [secret:T]"));
    ck_assert_ptr_null(strstr(text, "hunter2"));
    free(text);
    free(path);
    path = rwf_xasprintf("%s/runs/%s/steps/tasks.t/stdout", root, o.id);
    text = rwf_fs_read(path, 10000, NULL, NULL);
    ck_assert_ptr_nonnull(strstr(text, "[secret:T]\n"));
    free(text);
    free(path);
    ck_assert(!in_log(o.id, "hunter2"));
    run_state_destroy(s);
    unsetenv("CHECK_ENGINE_TOKEN");
}
END_TEST

/* --- webhooks --- */

START_TEST(webhooks_tell_the_end)
{
    options.notify = json_pack(
        "[{s:[s], s:s, s:s}, {s:[s], s:s}, {s:[s,s], s:s, s:s}]", "on", "failed", "url",
        "http://a/path?q", "secret", "key", "on", "succeeded", "url", "http://b/", "on",
        "stopped", "finished", "url", "http://u:p@c/x", "template", "slack");
    post_result = -1;
    struct outcome o = run("tasks:\n  a: {run: \"exit 1\"}\n");
    expect_code(&o, 1);
    ck_assert_int_eq(o.events[RUN_NOTIFY], 2);
    ck_assert_ptr_nonnull(
        strstr(posted.data, "http://a/path?q X-Raywf-Signature: sha256="));
    ck_assert_ptr_nonnull(strstr(posted.data, "\"exit_code\":1"));
    ck_assert_ptr_nonnull(
        strstr(posted.data, "http://u:p@c/x - {\"text\":\":x: *test* failed"));
    ck_assert_ptr_null(strstr(posted.data, "http://b/"));
    ck_assert(in_log(
        o.id, "\"url\":\"http://a/…\",\"ok\":false,\"message\":\"nobody listens\""));
    ck_assert(in_log(o.id, "\"url\":\"http://c/…\""));
    json_decref((json_t *)(uintptr_t)options.notify);
}
END_TEST

/* --- the index --- */

struct listed {
    int count;
    struct rwf_str text;
};

static void list_run(void *ctx, const json_t *r)
{
    struct listed *l = ctx;
    l->count++;
    rwf_str_addf(&l->text, "%s=%s ", json_string_value(json_object_get(r, "id")),
                 json_string_value(json_object_get(r, "status")));
}

static struct listed list(int limit)
{
    struct listed l = {0, {NULL, 0, 0}};
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(run_index_each(root, limit, list_run, &l, &err) == 0, "%s", err.text);
    return l;
}

static void expect_list(int limit, const char *want)
{
    struct listed l = list(limit);
    ck_assert_str_eq(l.text.data == NULL ? "" : l.text.data, want);
    rwf_str_free(&l.text);
}

START_TEST(index_follows_the_runs)
{
    expect_list(0, "");
    struct outcome a = run("tasks:\n  a: {run: \"exit 1\"}\n");
    struct outcome b = run("tasks:\n  a: {run: \"exit 0\"}\n");
    char *want = rwf_xasprintf("%s=succeeded %s=failed ", b.id, a.id);
    char *index = rwf_fs_join(root, "index.sqlite");
    expect_list(0, want);
    expect_list(0, want);
    /* deleted, damaged, not a database at all */
    ck_assert_int_eq(unlink(index), 0);
    expect_list(0, want);
    ck_assert_int_eq(truncate(index, 100), 0);
    expect_list(0, want);
    ck_assert_int_eq(rwf_fs_write(index, "rubbish", 7, false, NULL), 0);
    expect_list(0, want);
    free(want);
    want = rwf_xasprintf("%s=succeeded ", b.id);
    expect_list(1, want);
    /* a run that is gone, one that is damaged, and one that was killed */
    char *dir = run_dir(root, a.id), *log = run_log_path(root, b.id);
    ck_assert_int_eq(rwf_fs_rmtree(dir, NULL), 0);
    expect_list(0, want);
    size_t len;
    char *text = rwf_fs_read(log, 1 << 20, &len, NULL);
    ck_assert_int_eq(rwf_fs_write(log, text, len - 3, false, NULL), 0);
    free(want);
    want = rwf_xasprintf("%s=interrupted ", b.id);
    expect_list(0, want);
    memset(text, 'x', 20);
    ck_assert_int_eq(rwf_fs_write(log, text, len, false, NULL), 0);
    free(want);
    want = rwf_xasprintf("%s=damaged ", b.id);
    expect_list(0, want);
    free(text);
    free(log);
    free(dir);
    free(index);
    free(want);
}
END_TEST

START_TEST(this_machine)
{
    struct schedule_machine m;
    setenv("RAYWF_RESOURCES", "license=2,bad,disk=0.5", 1);
    node_machine(&m);
    ck_assert_double_gt(m.cpu, 0);
    ck_assert_int_gt(m.memory, 1 << 20);
    ck_assert_uint_eq(m.custom_count, 2);
    ck_assert_str_eq(m.custom_names[1], "disk");
    ck_assert_double_eq(m.custom_amounts[1], 0.5);
    unsetenv("RAYWF_RESOURCES");
}
END_TEST

static int tests(void)
{
    Suite *suite = suite_create("engine");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, runs_and_then_has_it);
    tcase_add_test(tc, uncached_runs_each_time);
    tcase_add_test(tc, environment_of_a_task);
    tcase_add_test(tc, identical_steps_run_once);
    tcase_add_test(tc, failure_and_what_depends_on_it);
    tcase_add_loop_test(tc, each_cause_has_its_code, 0, (int)RWF_COUNT(failures));
    tcase_add_test(tc, retries);
    tcase_add_test(tc, higher_priority_makes_room);
    tcase_add_test(tc, ranks_want_a_gang);
    tcase_add_test(tc, a_false_condition_skips);
    tcase_add_test(tc, fail_fast_stops_the_rest);
    tcase_add_test(tc, a_deadline_ends_the_run);
    tcase_add_test(tc, a_plan_that_no_longer_holds);
    tcase_add_test(tc, what_never_fits_is_refused);
    tcase_add_test(tc, stop_from_outside_then_resume);
    tcase_add_test(tc, an_ignored_signal_stays_ignored);
    tcase_add_test(tc, a_folder_that_is_not_utf8);
    tcase_add_test(tc, killed_then_resumed);
    tcase_add_test(tc, lost_outputs_are_made_again);
    tcase_add_test(tc, failed_steps_are_tried_again);
    tcase_add_test(tc, all_cached_needs_no_place);
    tcase_add_test(tc, no_such_run);
    tcase_add_test(tc, builtin_step_and_its_secret);
    tcase_add_test(tc, webhooks_tell_the_end);
    tcase_add_test(tc, index_follows_the_runs);
    tcase_add_test(tc, this_machine);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "run-step") == 0)
        return engine_run_step(ops, argv[2]);
    return tests();
}
