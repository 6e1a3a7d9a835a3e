/* SPDX-License-Identifier: Apache-2.0
 *
 * The head's side of JOB messages, over a link in memory, and its keeper, with this
 * very program in the place of a job's process.
 */
#include "config.h"

#include <check.h>
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "bundle/bundle.h"
#include "job/log.h"
#include "job/process.h"
#include "job/server.h"

static char home[] = "/tmp/check_job_server.XXXXXX";
static uv_loop_t loop;
static struct job_server *server;
static struct job_keeper *keeper;
static struct wire_link *client;
static uint64_t request;
static bool closed;
static struct {
    bool there;
    int code;
    char *text;
    json_t *json;
    size_t len;
} reply;
static char digest[RWF_DIGEST_LEN];

/* --- the process of a job --- */

static void write_result(const char *name, json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT);
    if (rwf_fs_write(name, text, strlen(text), false, NULL))
        _exit(1);
    free(text);
    json_decref(j);
}

/* Told to end: as raywf job-run does it. */
static bool was_told(void)
{
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGTERM);
}

/* What it does is in the job's environment: its exit code, or "wait" until there is a
 * file named go, or "vanish". */
static int be_process(const char *folder)
{
    if (chdir(folder))
        return 1;
    json_t *task = json_load_file("task.json", 0, NULL);
    json_t *env = json_object_get(json_object_get(task, "spec"), "env");
    const char *what = json_string_value(json_object_get(env, "DO"));
    int attempt = (int)json_integer_value(json_object_get(task, "attempt"));
    char *line = rwf_xasprintf("out %d\n", attempt);
    write_result("alive.json",
                 json_pack("{s:i, s:i, s:I}", "attempt", attempt, "pid", (int)getpid(),
                           "start", (json_int_t)job_process_start_time(getpid())));
    if (strcmp(what, "vanish") == 0) {
        puts("no memory at all");
        return 1;
    }
    struct job_log *log = job_log_open(".", 0, NULL);
    job_log_add(log, line, strlen(line), NULL);
    while (strcmp(what, "wait") == 0 && !rwf_fs_exists("../../go") && !was_told())
        usleep(10000);
    bool told = was_told();
    json_t *result =
        json_pack("{s:i, s:i}", "attempt", attempt, "exit_code", told ? 9 : atoi(what));
    if (told)
        json_object_set_new(result, "interrupted", json_true());
    write_result("exit.json", result);
    return 0;
}

/* --- the rig --- */

static void on_head(void *ctx, struct wire_link *link, struct wire_message *m)
{
    (void)ctx;
    if (m->type == WIRE_JOB)
        ck_assert(job_server_take(server, link, m));
}

static void clear_reply(void)
{
    free(reply.text);
    json_decref(reply.json);
    memset(&reply, 0, sizeof(reply));
}

static void on_reply(void *ctx, struct wire_link *link, struct wire_message *m)
{
    (void)ctx, (void)link;
    if (m->type != WIRE_JOB_REPLY)
        return;
    const Wire__JobReply *r = (const Wire__JobReply *)m->body;
    if (r->request != request)
        return;
    clear_reply();
    reply.there = true;
    reply.code = r->code;
    reply.text = rwf_xstrdup(r->text);
    reply.json = *r->json ? json_loads(r->json, 0, NULL) : NULL;
    reply.len = r->data.len;
}

static void on_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    (void)ctx, (void)link, (void)err;
    closed = true;
}

static void nothing(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    (void)ctx, (void)link, (void)err;
}

static void connect_client(void)
{
    struct wire_link *head;
    wire_link_pair(&loop, &head, &client);
    wire_link_handle(head, &(struct wire_handler){NULL, on_head, nothing});
    wire_link_handle(client, &(struct wire_handler){NULL, on_reply, on_closed});
    closed = false;
}

static void open_head(void)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *folder = rwf_fs_join(home, "jobs"), *program = rwf_fs_self();
    const struct job_keeper_options o = {
        .folder = folder, .program = program, .most = 2};
    keeper = job_keeper_open(&loop, &o, &err);
    ck_assert_msg(keeper != NULL, "%s", err.text);
    server = job_server_create(&loop);
    job_server_start(server, keeper);
    job_keeper_start(keeper, "127.0.0.1:1", "key");
    connect_client();
    free(folder);
    free(program);
}

static void close_head(bool interrupt)
{
    job_server_destroy(server, interrupt);
    if (!closed)
        wire_link_close(client);
    uv_run(&loop, UV_RUN_DEFAULT);
    clear_reply();
}

static void set_up(void)
{
    strcpy(home + strlen(home) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(home));
    ck_assert_int_eq(chdir(home), 0);
    ck_assert_int_eq(mkdir("w", 0755), 0);
    ck_assert_int_eq(rwf_fs_write("w/r.yaml", "x", 1, false, NULL), 0);
    ck_assert_int_eq(bundle_digest("w", NULL, digest, NULL), 0);
    uv_loop_init(&loop);
    open_head();
}

static void tear_down(void)
{
    close_head(true);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(rwf_fs_rmtree(home, NULL), 0);
}

/* --- asking --- */

static void say(const char *verb, const char *json, const void *data, size_t len,
                bool end)
{
    Wire__Job m = WIRE__JOB__INIT;
    char *text = rwf_xstrdup(json);
    for (char *p = text; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    m.request = ++request;
    m.verb = (char *)(uintptr_t)verb;
    m.json = text;
    m.data = (ProtobufCBinaryData){len, (uint8_t *)(uintptr_t)data};
    m.end = end;
    clear_reply();
    wire_link_send(client, WIRE_JOB, &m.base, NULL, 0);
    while (!reply.there && !closed)
        uv_run(&loop, UV_RUN_ONCE);
    free(text);
}

static void ask(const char *verb, const char *json)
{
    say(verb, json, NULL, 0, false);
}

static void expect_error(int code, const char *text)
{
    ck_assert(reply.there);
    ck_assert_msg(reply.code == code, "%d: %s", reply.code, reply.text);
    ck_assert_msg(strstr(reply.text, text) != NULL, "%s", reply.text);
}

static const char *got(const char *key)
{
    ck_assert_msg(reply.code == 0, "%s", reply.text);
    const char *text = json_string_value(json_object_get(reply.json, key));
    return text ? text : "";
}

static void upload(void)
{
    char chunk[4096], *first = rwf_xasprintf("{'digest': '%s'}", digest);
    struct bundle_writer *w = bundle_writer_open("w", NULL, NULL);
    ssize_t n = bundle_writer_read(w, chunk, sizeof(chunk), NULL);
    ck_assert_int_gt(n, 10);
    say("put", first, chunk, 10, false);
    ck_assert_int_eq(reply.code, 0);
    say("put", "", chunk + 10, (size_t)n - 10, true);
    ck_assert_msg(reply.code == 0, "%s", reply.text);
    bundle_writer_close(w);
    free(first);
}

static void submit(const char *id, const char *more)
{
    char *json =
        rwf_xasprintf("{'id': '%s', 'spec': {'name': 'n%s', 'recipe': 'r.yaml', "
                      "'digest': '%s', %s}}",
                      id, id, digest, more);
    ask("submit", json);
    free(json);
}

static const char *state(const char *id)
{
    char *json = rwf_xasprintf("{'job': '%s'}", id);
    ask("status", json);
    free(json);
    return got("state");
}

static void expect_state(const char *id, const char *wanted)
{
    for (int i = 0; i < 60000 && strcmp(state(id), wanted) != 0; i++) {
        usleep(10000);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    ck_assert_str_eq(got("state"), wanted);
}

static void go(void)
{
    ck_assert_int_eq(rwf_fs_write("go", "", 0, false, NULL), 0);
}

static int names_in(const char *path)
{
    DIR *d = opendir(path);
    int n = -2;
    ck_assert_ptr_nonnull(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Removals take their time. */
static void expect_names(const char *path, int count)
{
    for (int i = 0; i < 60000 && names_in(path) != count; i++) {
        usleep(10000);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    ck_assert_int_eq(names_in(path), count);
}

/* --- tests --- */

static const struct {
    const char *verb, *json, *text;
} bad[] = {
    {"fly", "{}", "knows no 'fly'"},
    {"", "{}", "knows no ''"},
    {"list", "[]", "no JSON object"},
    {"list", "{", "no JSON object"},
    {"submit", "{}", "is no id"},
    {"submit", "{'id': '../../x', 'spec': {}}", "is no id"},
    {"submit", "{'id': '1', 'spec': 7}", "job"},
    {"submit", "{'id': '1', 'spec': {'name': 'n', 'recipe': '../../etc/passwd'}}",
     "recipe"},
    {"put", "{'digest': '../../x'}", "no digest"},
    {"put", "{}", "no digest in the first piece"},
    {"next", "{}", "were not asked for"},
    {"status", "{}", "there is no job"},
    {"logs", "{'job': '../x'}", "there is no job"},
    {"stop", "{'job': 5}", "there is no job"},
    {"retry", "{'job': 'x'}", "there is no job"},
    {"delete", "{'job': 'x'}", "there is no job"},
    {"outputs", "{'job': 'x'}", "there is no job"},
};

START_TEST(nonsense_is_answered)
{
    ask(bad[_i].verb, bad[_i].json);
    ck_assert(reply.there && reply.code != 0);
    ck_assert_msg(strstr(reply.text, bad[_i].text) != NULL, "%s", reply.text);
    ask("list", "");
    ck_assert_int_eq(reply.code, 0);
}
END_TEST

START_TEST(a_bundle_must_be_what_it_says)
{
    char *wrong =
        rwf_xasprintf("{'digest': '%.63s%c'}", digest, digest[63] == '0' ? '1' : '0');
    char *right = rwf_xasprintf("{'digest': '%s'}", digest);
    char chunk[4096];
    struct bundle_writer *w = bundle_writer_open("w", NULL, NULL);
    ssize_t n = bundle_writer_read(w, chunk, sizeof(chunk), NULL);
    say("put", wrong, chunk, (size_t)n, true);
    expect_error(RWF_E_INPUT, "as was said");
    say("put", right, chunk, (size_t)n - 1, true);
    expect_error(RWF_E_INPUT, "too early");
    say("put", right, "garbage!", 8, false);
    expect_error(RWF_E_INPUT, "no bundle");
    say("put", "", chunk, 5, false);
    expect_error(RWF_E_USAGE, "no digest");
    char *large = rwf_xcalloc(1, JOB_PIECE + 1);
    say("put", right, large, JOB_PIECE + 1, false);
    expect_error(RWF_E_USAGE, "at most");
    free(large);
    /* Cut short by its client. */
    say("put", right, chunk, 20, false);
    expect_names("jobs/bundles", 1);
    wire_link_close(client);
    while (!closed)
        uv_run(&loop, UV_RUN_ONCE);
    connect_client();
    expect_names("jobs/bundles", 0);
    bundle_writer_close(w);
    free(wrong);
    free(right);
}
END_TEST

START_TEST(a_job_is_sent_once_and_runs)
{
    submit("1", "'env': {'DO': '0'}");
    ck_assert_str_eq(got("need"), "bundle");
    upload();
    submit("1", "'env': {'DO': '0'}");
    ck_assert_str_eq(got("job"), "1");
    expect_state("1", "succeeded");
    /* The answer was lost: the same again is the same job. */
    submit("1", "'env': {'DO': '0'}");
    ck_assert_str_eq(got("state"), "succeeded");
    submit("1", "'env': {'DO': '1'}");
    expect_error(RWF_E_USAGE, "another job 1");
    ask("logs", "{'job': '1', 'offset': 0}");
    ck_assert_int_eq((int)reply.len, 6);
    ask("logs", "{'job': '1', 'offset': 6, 'wait': 60000}");
    ck_assert(json_is_true(json_object_get(reply.json, "ended")));
    ask("outputs", "{'job': '1'}");
    ck_assert(json_is_true(json_object_get(reply.json, "none")));
    ask("delete", "{'job': '1'}");
    ck_assert_str_eq(got("state"), "deleted");
    ask("status", "{'job': '1'}");
    expect_error(RWF_E_NORUN, "there is no job '1'");
}
END_TEST

START_TEST(failures_are_told_and_retried)
{
    upload();
    submit("1", "'env': {'DO': '4'}");
    expect_state("1", "failed");
    ck_assert_int_eq((int)json_integer_value(json_object_get(reply.json, "exit_code")),
                     4);
    submit("2", "'env': {'DO': 'vanish'}");
    expect_state("2", "failed");
    ck_assert_str_eq(got("cause"), "its process has ended: no memory at all");
    submit("3", "'env': {'DO': '1'}, 'retries': 1");
    expect_state("3", "failed");
    ck_assert_int_eq((int)json_integer_value(json_object_get(reply.json, "attempt")),
                     2);
    submit("4", "'env': {'DO': '3'}, 'retries': 5"); /* the recipe is wrong */
    expect_state("4", "failed");
    ck_assert_int_eq((int)json_integer_value(json_object_get(reply.json, "attempt")),
                     1);
    submit("5", "'env': {'DO': '0'}, 'needs': ['n1']");
    expect_state("5", "failed");
    ck_assert_str_eq(got("cause"), "it needs job 1, which is failed");
}
END_TEST

START_TEST(a_log_is_waited_for)
{
    upload();
    submit("1", "'env': {'DO': 'wait'}");
    ask("logs", "{'job': '1', 'offset': 0, 'wait': 30000}");
    ck_assert_int_eq((int)reply.len, 6);
    go();
    ask("logs", "{'job': '1', 'offset': 6, 'wait': 30000}");
    ck_assert_int_eq((int)reply.len, 0);
    ck_assert(json_is_true(json_object_get(reply.json, "ended")));
    ck_assert_str_eq(got("state"), "succeeded");
}
END_TEST

START_TEST(jobs_are_found_again)
{
    upload();
    submit("1", "'env': {'DO': 'wait'}");
    submit("2", "'env': {'DO': 'wait'}");
    submit("3", "'env': {'DO': '0'}");
    ck_assert_str_eq(state("1"), "running");
    ck_assert_str_eq(state("3"), "queued");
    close_head(false);
    open_head();
    ck_assert_str_eq(state("1"), "running");
    ck_assert_int_eq((int)json_integer_value(json_object_get(reply.json, "attempt")),
                     1);
    /* One ends while there is no head. */
    close_head(false);
    go();
    for (int i = 0; i < 60000 && !rwf_fs_exists("jobs/1/exit.json"); i++)
        usleep(10000);
    open_head();
    expect_state("1", "succeeded");
    expect_state("2", "succeeded");
    expect_state("3", "succeeded");
}
END_TEST

START_TEST(a_head_that_ends_goes_on_later)
{
    upload();
    submit("1", "'env': {'DO': 'wait'}");
    for (int i = 0; i < 60000 && !rwf_fs_exists("jobs/1/alive.json"); i++)
        usleep(10000);
    close_head(true);
    for (int i = 0; i < 60000 && !rwf_fs_exists("jobs/1/exit.json"); i++)
        usleep(10000);
    go();
    open_head();
    expect_state("1", "succeeded");
    ck_assert_int_eq((int)json_integer_value(json_object_get(reply.json, "attempt")),
                     2);
    char *task = rwf_fs_read("jobs/1/task.json", 65536, NULL, NULL);
    ck_assert_ptr_nonnull(strstr(task, "\"mode\":\"resume\""));
    free(task);
}
END_TEST

START_TEST(a_process_with_another_pid_is_no_job)
{
    /* alive.json of a process that is gone, whose number another has now. */
    ck_assert_int_eq(mkdir("x", 0700), 0);
    char *text = rwf_xasprintf("{\"attempt\":1,\"pid\":%d,\"start\":1}", (int)getpid());
    ck_assert_int_eq(rwf_fs_write("x/alive.json", text, strlen(text), false, NULL), 0);
    ck_assert_int_eq(job_process_find("x", 1), 0);
    free(text);
    text = rwf_xasprintf("{\"attempt\":1,\"pid\":%d,\"start\":%llu}", (int)getpid(),
                         (unsigned long long)job_process_start_time(getpid()));
    ck_assert_int_eq(rwf_fs_write("x/alive.json", text, strlen(text), false, NULL), 0);
    ck_assert_int_eq(job_process_find("x", 1), getpid());
    ck_assert_int_eq(job_process_find("x", 2), 0);
    free(text);
}
END_TEST

START_TEST(a_stopped_job_can_be_retried)
{
    upload();
    submit("1", "'env': {'DO': 'wait'}");
    ck_assert_str_eq(state("1"), "running");
    ask("delete", "{'job': '1'}");
    expect_error(RWF_E_USAGE, "stop it first");
    ask("stop", "{'job': '1'}");
    expect_state("1", "stopped");
    ask("retry", "{'job': '1'}");
    expect_state("1", "running");
    go();
    expect_state("1", "succeeded");
}
END_TEST

START_TEST(a_schedule_fires_and_catches_up)
{
    upload();
    submit("1", "'env': {'DO': '0'}, 'schedule': '* * * * * *'");
    ck_assert_str_eq(got("state"), "scheduled");
    for (int i = 0; i < 60000 && job_keeper_list(keeper)->count < 2; i++) {
        usleep(10000);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    ck_assert_uint_ge(job_keeper_list(keeper)->count, 2);
    ask("stop", "{'job': '1'}");
    ck_assert_str_eq(state("1"), "stopped");
    /* No time passes here: it was due while there was no head. */
    submit("2", "'env': {'DO': '0'}, 'schedule': '0 0 1 1 *'");
    size_t count = job_keeper_list(keeper)->count;
    job_find(job_keeper_list(keeper), "2")->next = 1;
    ask("retry", "{'job': '1'}");
    ck_assert_uint_ge(job_keeper_list(keeper)->count, count + 1);
    ck_assert(job_find(job_keeper_list(keeper), "2")->next > 1);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "job-run") == 0) {
        int rc = be_process(argv[2]);
        fflush(stdout);
        _exit(rc);
    }
    signal(SIGPIPE, SIG_IGN);
    Suite *s = suite_create("job server");
    TCase *t = tcase_create("server");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, nonsense_is_answered, 0, RWF_COUNT(bad));
    tcase_add_test(t, a_bundle_must_be_what_it_says);
    tcase_add_test(t, a_job_is_sent_once_and_runs);
    tcase_add_test(t, failures_are_told_and_retried);
    tcase_add_test(t, a_log_is_waited_for);
    tcase_add_test(t, jobs_are_found_again);
    tcase_add_test(t, a_head_that_ends_goes_on_later);
    tcase_add_test(t, a_process_with_another_pid_is_no_job);
    tcase_add_test(t, a_stopped_job_can_be_retried);
    tcase_add_test(t, a_schedule_fires_and_catches_up);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
