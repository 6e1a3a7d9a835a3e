/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine and the server of what it serves. The server is played by this program
 * (`serve-front DIR`), which does what FAKE says; a step that deploys is a built-in op
 * made here, and this program is its `run-step`.
 */
#include "config.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include "base/clock.h"
#include "plan/builtin.h"
#include "recipe/recipe.h"
#include "run/engine.h"
#include "run/layout.h"
#include "run_support.h"
#include "wire/frame.h"

/* --- the server --- */

static int bind_control(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(to.sun_path, sizeof(to.sun_path), "%s", getenv("RAYWF_SERVE_CONTROL"));
    if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) != 0 ||
        listen(fd, 16) != 0)
        exit(70);
    return fd;
}

/* How often it was started in this folder, with this start. */
static int start_number(const char *dir)
{
    char *path = rwf_fs_join(dir, "starts");
    FILE *f = fopen(path, "ae");

    fputc('x', f);
    int n = (int)ftell(f);
    fclose(f);
    free(path);
    return n;
}

static void answer(int fd)
{
    static const char decisions[] =
        "{\"event\":\"serve.scaled\",\"app\":\"a\",\"deployment\":\"main\",\"from\":1,"
        "\"to\":3,\"reason\":\"many\"}\n{\"event\":\"serve.unknown\"}\nno JSON\n";
    static const char done[] = "{\"ok\":true}\n";
    char line[256] = "";

    if (read(fd, line, sizeof(line) - 1) <= 0)
        return;
    const char *what = strstr(line, "events") ? decisions : done;
    if (write(fd, what, strlen(what)) < 0)
        exit(70);
    if (strstr(line, "down"))
        exit(0);
}

static void on_term(int signum)
{
    (void)signum;
    _exit(0);
}

static int serve_front(const char *dir)
{
    const char *how = getenv("FAKE");
    int number = start_number(dir);

    if (strcmp(how, "cannot") == 0) {
        fprintf(stderr, "the port is taken\n");
        return RWF_E_ENV - RWF_E_BASE;
    }
    signal(SIGTERM, on_term);
    int listener = bind_control();
    for (int served = 0;; served++) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            return 70;
        answer(fd);
        if (strcmp(how, "dies") == 0 && number < 3)
            return 3;
        /* What is open stays so, until this process ends. */
    }
}

/* --- a step that deploys: a dataset with the word of its SQL --- */

static json_t *spec_of(const struct plan_graph *g, const struct plan_step *step,
                       struct rwf_err *err)
{
    json_t *word = plan_resolve(g, step, recipe_at(step->body, "read.sql"), err);

    return word == NULL ? NULL : json_pack("{s:o}", "word", word);
}

static bool deploy_once(struct rwf_err *err)
{
    char answer[64];
    int fd = wire_unix_connect(getenv("RAYWF_SERVE_CONTROL"), err);
    bool good = fd >= 0 && send(fd, "deploy\n", 7, MSG_NOSIGNAL) == 7 &&
                read(fd, answer, sizeof(answer)) > 0;

    if (fd >= 0)
        close(fd);
    return good;
}

/* A server that dies meanwhile is waited for. */
static int deploy(struct op_run *r, struct rwf_err *err)
{
    (void)r;
    for (int i = 0; i < 15000; i++) {
        if (deploy_once(err))
            return 0;
        usleep(10000);
    }
    return rwf_fail(err, RWF_E_FAILED, "no answer");
}

static int lower(struct plan_lowering *l, const char *name,
                 const struct recipe_node *body, struct rwf_err *err)
{
    return plan_lower_one(l, name, body, err);
}

static const struct op service_op = {
    .name = "service",
    .section = "datasets",
    .summary = "for tests",
    .version = 1,
    .service = true,
    .lower = lower,
    .spec = spec_of,
    .run = deploy,
};

static const struct op *const ops[] = {&plan_task_op, &service_op, NULL};

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
    setenv("FAKE", "", 1);
}

static void teardown(void)
{
    free(root);
    scratch_remove();
}

/* Something is ready: what the test does then. */
static void (*when_ready)(void);

static void on_event(void *ctx, enum run_event type, const json_t *event)
{
    (void)event;
    ((struct outcome *)ctx)->events[type]++;
    if (type == RUN_SERVE_READY && when_ready != NULL)
        when_ready();
}

static struct outcome drive(const char *text, const char *resume)
{
    struct outcome o = {.code = -2, .err = RWF_ERR_INIT};
    struct recipe_diags *diags = recipe_diags_create();
    const struct recipe_options none = {.profile = NULL};
    const struct plan_options all = {.only_count = 0};
    char *path = scratch_path("r.yaml");

    ck_assert_int_eq(rwf_fs_write(path, text, strlen(text), false, NULL), 0);
    struct recipe *r = recipe_load(path, &none, diags, &o.err);
    ck_assert_msg(r != NULL, "%s", o.err.text);
    struct plan_graph *g = plan_graph_build(r, ops, &all, diags, &o.err);
    if (g == NULL)
        recipe_diags_print(diags, recipe_sources(r), stderr, false);
    ck_assert_msg(g != NULL, "%s", o.err.text);
    options.on_event = on_event;
    options.ctx = &o;
    o.code = resume == NULL ? engine_run(g, &options, o.id, &o.err)
                            : engine_resume(g, &options, resume, true, &o.err);
    plan_graph_destroy(g);
    recipe_destroy(r);
    recipe_diags_destroy(diags);
    free(path);
    return o;
}

static void expect_code(const struct outcome *o, int code)
{
    ck_assert_msg(o->code == code, "exit code %d, not %d: %s", o->code, code,
                  o->err.text);
}

#define HEAD "recipe: raywf/v1\nname: test\ndatasets:\n  api: {read: {sql: x}}\n"
#define ASK(command) "tasks:\n  ask: {needs: [datasets.api], run: '" command "'}\n"

/* --- tests --- */

START_TEST(serves_while_it_runs)
{
    struct outcome o = drive(HEAD ASK("true"), NULL);
    struct rwf_err err = RWF_ERR_INIT;

    expect_code(&o, 0);
    ck_assert_int_eq(o.events[RUN_SERVE_UP], 1);
    ck_assert_int_eq(o.events[RUN_SERVE_SCALED], 1);
    ck_assert_int_eq(o.events[RUN_SERVE_DOWN], 1);
    ck_assert_int_eq(o.events[RUN_SERVE_READY], 0);
    char *path = run_log_path(root, o.id);
    struct run_state *s = run_state_load(path, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    ck_assert_str_eq(s->status, "succeeded");
    run_state_destroy(s);
    free(path);
    /* It is deployed each time, and what asked it is cached. */
    o = drive(HEAD ASK("true"), NULL);
    expect_code(&o, 0);
    ck_assert_int_eq(o.events[RUN_STEP_STARTED], 1);
    ck_assert_int_eq(o.events[RUN_STEP_CACHED], 1);
    /* What is served is another thing: it is asked again. */
    o = drive("recipe: raywf/v1\nname: test\ndatasets:\n  api: {read: {sql: y}}\n" ASK(
                  "true"),
              NULL);
    expect_code(&o, 0);
    ck_assert_int_eq(o.events[RUN_STEP_CACHED], 0);
}
END_TEST

START_TEST(restarts_a_server_that_dies)
{
    setenv("FAKE", "dies", 1);
    struct outcome o = drive(HEAD ASK("sleep 1"), NULL);

    expect_code(&o, 0);
    ck_assert_int_eq(o.events[RUN_SERVE_UP], 3);
    ck_assert_int_eq(o.events[RUN_SERVE_DOWN], 3);
}
END_TEST

START_TEST(a_server_that_cannot_start)
{
    setenv("FAKE", "cannot", 1);
    struct outcome o = drive(HEAD ASK("true"), NULL);

    expect_code(&o, -1);
    ck_assert_int_eq(o.err.code, RWF_E_ENV);
    ck_assert_msg(strstr(o.err.text, "the port is taken"), "%s", o.err.text);
    ck_assert_int_eq(o.events[RUN_SERVE_UP], 0);
}
END_TEST

/* As serve down does: a word over the control socket of the newest run. */
static void tell_down(void)
{
    struct rwf_err err = RWF_ERR_INIT;
    char answered[64];
    size_t len;
    char *id = run_resolve(root, "last", &err);
    char *path = run_serve_control(root, id), *control;

    control = rwf_fs_read(path, 4096, &len, &err);
    ck_assert_msg(control != NULL, "%s", err.text);
    int fd = wire_unix_connect(control, &err);
    ck_assert_msg(fd >= 0, "%s", err.text);
    ck_assert_int_eq(write(fd, "down\n", 5), 5);
    ck_assert_int_gt(read(fd, answered, sizeof(answered)), 0);
    close(fd);
    free(control);
    free(path);
    free(id);
}

START_TEST(stays_until_the_server_ends)
{
    options.stay = true;
    struct outcome o = drive(HEAD ASK("exit 1"), NULL);
    expect_code(&o, 1); /* it does not stay for what has failed */
    ck_assert_int_eq(o.events[RUN_SERVE_READY], 0);
    when_ready = tell_down;
    o = drive("recipe: raywf/v1\nname: test\ndatasets:\n  api: {read: {sql: x}, "
              "needs: []}\ntasks:\n  ask: {run: 'true'}\n",
              NULL);
    when_ready = NULL;
    expect_code(&o, 0);
    ck_assert_int_eq(o.events[RUN_SERVE_READY], 1);
}
END_TEST

static void tell_stop(void)
{
    kill(getpid(), SIGTERM);
}

START_TEST(stays_until_it_is_stopped)
{
    options.stay = true;
    when_ready = tell_stop;
    struct outcome o = drive(HEAD ASK("true"), NULL);
    when_ready = NULL;

    expect_code(&o, 0);
    ck_assert_int_eq(o.events[RUN_SERVE_READY], 1);
    ck_assert_int_eq(o.events[RUN_RUN_STOPPING], 1);
}
END_TEST

START_TEST(resumed_it_deploys_again)
{
    struct outcome o = drive(HEAD ASK("test -e \"$RAYWF_RECIPE_DIR/flag\""), NULL);
    char *flag = scratch_path("flag");

    expect_code(&o, 1);
    ck_assert_int_eq(rwf_fs_write(flag, "", 0, false, NULL), 0);
    struct outcome again = drive(HEAD ASK("test -e \"$RAYWF_RECIPE_DIR/flag\""), o.id);
    expect_code(&again, 0);
    ck_assert_int_eq(again.events[RUN_SERVE_UP], 1);
    ck_assert_int_eq(again.events[RUN_STEP_STARTED], 2);
    free(flag);
}
END_TEST

START_TEST(killed_while_it_stays)
{
    options.stay = true;
    when_ready = tell_stop;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGTERM, SIG_DFL);
        when_ready = NULL;
        drive(HEAD ASK("true"), NULL);
        _exit(0);
    }
    char *control = NULL;
    for (int i = 0; i < 15000 && control == NULL; i++) {
        char *id = run_resolve(root, "last", NULL);
        char *path = id == NULL ? NULL : run_log_path(root, id);
        char *log = path == NULL ? NULL : rwf_fs_read(path, 1 << 20, NULL, NULL);
        if (log != NULL && strstr(log, "serve.ready"))
            control = rwf_xstrdup(id);
        free(log);
        free(path);
        free(id);
        usleep(20000);
    }
    ck_assert_msg(control != NULL, "it was not ready in time");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    options.stay = false; /* the log knows */
    struct outcome o = drive(HEAD ASK("true"), control);
    when_ready = NULL;
    expect_code(&o, 0);
    ck_assert_int_eq(o.events[RUN_SERVE_READY], 1);
    ck_assert_int_eq(o.events[RUN_STEP_STARTED], 1);
    free(control);
}
END_TEST

START_TEST(deploys_to_another_run)
{
    options.serve_control = "/no/such/socket";
    struct outcome o = drive(HEAD ASK("true"), NULL);

    expect_code(&o, 1);
    ck_assert_int_eq(o.events[RUN_STEP_FAILED], 1);
}
END_TEST

static int tests(void)
{
    Suite *suite = suite_create("service");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, serves_while_it_runs);
    tcase_add_test(tc, restarts_a_server_that_dies);
    tcase_add_test(tc, a_server_that_cannot_start);
    tcase_add_test(tc, stays_until_the_server_ends);
    tcase_add_test(tc, stays_until_it_is_stopped);
    tcase_add_test(tc, resumed_it_deploys_again);
    tcase_add_test(tc, killed_while_it_stays);
    tcase_add_test(tc, deploys_to_another_run);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "run-step") == 0)
        return engine_run_step(ops, argv[2]);
    if (argc == 3 && strcmp(argv[1], "serve-front") == 0)
        return serve_front(argv[2]);
    return tests();
}
