/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "base/redact.h"
#include "base/str.h"
#include "run/layout.h"
#include "run/log.h"
#include "run_support.h"

static char *path;

static void setup(void)
{
    scratch_make();
    path = scratch_path("events.ndjson");
}

static void teardown(void)
{
    free(path);
    rwf_redact_clear();
    scratch_remove();
}

static struct run_log *open_ok(void)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct run_log *log = run_log_open(path, &err);
    ck_assert_msg(log != NULL, "%s", err.text);
    return log;
}

static void append(struct run_log *log, int i)
{
    run_log_append(log, RUN_STEP_METRIC,
                   json_pack("{s:s, s:{s:i}}", "step", "tasks.a", "metrics", "i", i));
}

struct seen {
    int64_t count, last;
    struct rwf_str text;
};

static int see(void *ctx, const json_t *event)
{
    struct seen *s = ctx;
    int64_t seq = json_integer_value(json_object_get(event, "seq"));
    ck_assert_int_eq(seq, s->last + 1);
    s->last = seq;
    s->count++;
    return 0;
}

static struct seen read_all(void)
{
    struct seen s = {0, 0, {NULL, 0, 0}};
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(run_log_read(path, 0, see, &s, NULL, &err) == 0, "%s", err.text);
    return s;
}

START_TEST(appends_and_goes_on)
{
    struct run_log *log = open_ok();
    for (int i = 0; i < 3; i++)
        append(log, i);
    ck_assert_int_eq(run_log_sync(log, NULL), 0);
    append(log, 3);
    run_log_close(log);
    log = open_ok();
    append(log, 4);
    run_log_close(log);
    ck_assert_int_eq(read_all().count, 5);
    char *text = rwf_fs_read(path, 1 << 20, NULL, NULL);
    ck_assert_ptr_nonnull(strstr(text, "{\"seq\":1,\"ts\":\"2"));
    ck_assert_ptr_nonnull(strstr(
        text,
        "\"type\":\"step.metric\",\"step\":\"tasks.a\",\"metrics\":{\"i\":0}}\n"));
    free(text);
}
END_TEST

START_TEST(many_events_and_long_lines)
{
    struct run_log *log = open_ok();
    char *text = rwf_xmalloc(300001);
    memset(text, 'x', 300000);
    text[300000] = '\0';
    for (int i = 0; i < 2000; i++) {
        append(log, i);
        if (i % 500 == 0)
            run_log_append(log, RUN_NOTIFY, json_pack("{s:s}", "message", text));
        if (i % 7 == 0)
            ck_assert_int_eq(run_log_flush(log, NULL), 0);
    }
    run_log_close(log);
    ck_assert_int_eq(read_all().count, 2004);
    free(text);
}
END_TEST

/* Cut anywhere, the log keeps the whole lines before the cut and goes on after them. */
START_TEST(torn_at_every_byte)
{
    struct run_log *log = open_ok();
    for (int i = 0; i < 4; i++)
        append(log, i);
    run_log_close(log);
    size_t len;
    char *whole = rwf_fs_read(path, 1 << 20, &len, NULL);
    for (size_t cut = 0; cut <= len; cut++) {
        int64_t lines = 0;
        for (size_t i = 0; i < cut; i++)
            lines += whole[i] == '\n';
        ck_assert_int_eq(rwf_fs_write(path, whole, cut, false, NULL), 0);
        ck_assert_int_eq(read_all().count, lines);
        log = open_ok();
        append(log, 9);
        run_log_close(log);
        ck_assert_int_eq(read_all().count, lines + 1);
    }
    free(whole);
}
END_TEST

/* What a machine's crash may leave: blocks of zeros, with a newline somewhere after. */
START_TEST(zeros_at_the_end)
{
    struct run_log *log = open_ok();
    append(log, 0);
    run_log_close(log);
    FILE *f = fopen(path, "a");
    for (int i = 0; i < 5000; i++)
        fputc('\0', f);
    fputs("\n", f);
    fclose(f);
    ck_assert_int_eq(read_all().count, 1);
    log = open_ok();
    append(log, 1);
    run_log_close(log);
    ck_assert_int_eq(read_all().count, 2);
}
END_TEST

START_TEST(damage_in_the_middle_is_told)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct seen s = {0, 0, {NULL, 0, 0}};
    const char *text = "{\"seq\":1}\nrubbish\n{\"seq\":2}\n";
    ck_assert_int_eq(rwf_fs_write(path, text, strlen(text), false, NULL), 0);
    ck_assert_int_eq(run_log_read(path, 0, see, &s, NULL, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, ":2: damaged log"));
}
END_TEST

START_TEST(reads_on_from_an_offset)
{
    struct run_log *log = open_ok();
    struct seen s = {0, 0, {NULL, 0, 0}};
    int64_t offset = 0;
    for (int i = 0; i < 5; i++) {
        append(log, i);
        ck_assert_int_eq(run_log_flush(log, NULL), 0);
        ck_assert_int_eq(run_log_read(path, offset, see, &s, &offset, NULL), 0);
        ck_assert_int_eq(s.count, i + 1);
    }
    run_log_close(log);
}
END_TEST

START_TEST(one_writer_at_a_time)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct run_log *log = open_ok();
    ck_assert_int_eq(run_log_holder(path), getpid());
    ck_assert_ptr_null(run_log_open(path, &err));
    ck_assert_int_eq(err.code, RWF_E_USAGE);
    char *want = rwf_xasprintf("pid %d", (int)getpid());
    ck_assert_ptr_nonnull(strstr(err.text, want));
    free(want);
    run_log_close(log);
    ck_assert_int_eq(run_log_holder(path), 0);
}
END_TEST

/* A child that its writer had just forked has the lock for a moment longer. */
START_TEST(killed_writer_with_child)
{
    int ready[2];
    char c;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct run_log *log = run_log_open(path, NULL);
        append(log, 0);
        run_log_flush(log, NULL);
        if (fork() == 0) {
            if (write(ready[1], "x", 1) != 1)
                _exit(1);
            usleep(300000);
            _exit(0);
        }
        pause();
    }
    ck_assert_int_eq(read(ready[0], &c, 1), 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    struct run_log *log = open_ok();
    append(log, 1);
    run_log_close(log);
    close(ready[0]);
    close(ready[1]);
}
END_TEST

/* A writer that is killed loses nothing it flushed, and its lock. */
START_TEST(killed_writer)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct run_log *log = run_log_open(path, NULL);
        for (int i = 0; i < 100; i++)
            append(log, i);
        (void)run_log_flush(log, NULL);
        append(log, 100);
        kill(getpid(), SIGKILL);
    }
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert_int_eq(run_log_holder(path), 0);
    ck_assert_int_eq(read_all().count, 100);
}
END_TEST

/* A full disk, played by a limit on the size of files. */
START_TEST(full_disk)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct run_log *log = open_ok();
    append(log, 0);
    ck_assert_int_eq(run_log_sync(log, NULL), 0);
    struct rlimit old, small = {1000, RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    for (int i = 1; i < 100; i++)
        append(log, i);
    ck_assert_int_eq(run_log_flush(log, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_ENV);
    ck_assert_msg(strstr(err.text, path) == err.text, "%s", err.text);
    ck_assert_ptr_nonnull(strstr(err.text, "raywf resume"));
    /* it takes no more, and says so again */
    append(log, 100);
    ck_assert_int_eq(run_log_flush(log, &err), -1);
    run_log_close(log);
    setrlimit(RLIMIT_FSIZE, &old);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_gt(st.st_size, 500);
    int64_t count = read_all().count;
    char *text = rwf_fs_read(path, 1 << 20, NULL, NULL);
    ck_assert_int_eq(text[st.st_size - 1], '\n');
    free(text);
    log = open_ok();
    append(log, 9);
    run_log_close(log);
    ck_assert_int_eq(read_all().count, count + 1);
}
END_TEST

START_TEST(secrets_are_replaced)
{
    ck_assert_int_eq(rwf_redact_add("TOKEN", "s3\"cr\\et", NULL), 0);
    struct run_log *log = open_ok();
    run_log_append(log, RUN_STEP_FAILED,
                   json_pack("{s:s, s:[s, {s:s}]}", "step", "tasks.s3\"cr\\et", "tail",
                             "a s3\"cr\\et b", "k", "s3\"cr\\et"));
    run_log_close(log);
    char *text = rwf_fs_read(path, 1 << 20, NULL, NULL);
    ck_assert_ptr_nonnull(
        strstr(text, "[\"a [secret:TOKEN] b\",{\"k\":\"[secret:TOKEN]\"}]"));
    ck_assert_ptr_nonnull(strstr(text, "\"step\":\"tasks.s3\\\"cr\\\\et\""));
    free(text);
}
END_TEST

START_TEST(text_is_always_json)
{
    json_t *bad = run_text("a\xff\xc3 \xe2\x82\xac\xf0\x9f");
    ck_assert_str_eq(json_string_value(bad),
                     "a\xef\xbf\xbd\xef\xbf\xbd \xe2\x82\xac\xef\xbf\xbd\xef\xbf\xbd");
    json_decref(bad);
}
END_TEST

static void count_calls(void *ctx, enum run_event type, const json_t *event)
{
    ck_assert_int_eq(type, RUN_STEP_METRIC);
    ck_assert_str_eq(json_string_value(json_object_get(event, "type")), "step.metric");
    *(int64_t *)ctx += json_integer_value(json_object_get(event, "seq"));
}

START_TEST(subscribers_see_all)
{
    int64_t sum = 0;
    struct run_log *log = open_ok();
    run_log_subscribe(log, count_calls, &sum);
    for (int i = 0; i < 4; i++)
        append(log, i);
    ck_assert_int_eq(sum, 1 + 2 + 3 + 4);
    run_log_close(log);
}
END_TEST

START_TEST(names_of_events)
{
    for (int i = 0; i < RUN_EVENT_COUNT; i++) {
        ck_assert_int_eq(run_event_parse(run_event_name(i)), i);
        ck_assert_int_gt(strlen(run_event_help(i)), 0);
        ck_assert_int_gt(strlen(run_event_fields(i)), 0);
    }
    ck_assert_int_eq(run_event_parse("no.such"), RUN_EVENT_COUNT);
    ck_assert_int_eq(run_event_parse(NULL), RUN_EVENT_COUNT);
}
END_TEST

/* --- layout --- */

START_TEST(names_of_steps)
{
    static const char *const strange[] = {
        "tasks.a[x=a/b]", "tasks.a[x=a_b]", "..", ".", "-x", "", "tasks.\xc3\xa9"};
    char *name = run_step_name("tasks.train[lr=0.1,seed=1]");
    ck_assert_str_eq(name, "tasks.train[lr=0.1,seed=1]");
    free(name);
    for (size_t i = 0; i < RWF_COUNT(strange); i++) {
        name = run_step_name(strange[i]);
        ck_assert_ptr_null(strchr(name, '/'));
        ck_assert(name[0] != '.' && name[0] != '-' && name[0] != '\0');
        for (size_t k = 0; k < i; k++) {
            char *other = run_step_name(strange[k]);
            ck_assert_str_ne(name, other);
            free(other);
        }
        free(name);
    }
    char *long_address = rwf_xmalloc(5001);
    memset(long_address, 'a', 5000);
    long_address[5000] = '\0';
    name = run_step_name(long_address);
    ck_assert_uint_le(strlen(name), 120);
    free(name);
    free(long_address);
}
END_TEST

static void make_run(const char *id)
{
    char *dir = run_dir(scratch, id), *log = run_log_path(scratch, id);
    ck_assert_int_eq(rwf_fs_mkdirs(dir, NULL), 0);
    ck_assert_int_eq(rwf_fs_write(log, "", 0, false, NULL), 0);
    free(dir);
    free(log);
}

START_TEST(names_of_runs)
{
    static const struct {
        const char *name, *id, *says;
    } cases[] = {
        {"20260101-000000-aaaaaa", "20260101-000000-aaaaaa", NULL},
        {"20260102", "20260102-000000-bbbbbb", NULL},
        {"bbbbbb", "20260102-000000-bbbbbb", NULL},
        {"2026", NULL, "fits 2 runs"},
        {"20260101-000000-aaaaab", NULL, "did you mean '20260101-000000-aaaaaa'"},
        {"../x", NULL, "no run"},
        {"", NULL, "no run"},
    };
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_ptr_null(run_resolve(scratch, "last", &err));
    ck_assert_int_eq(err.code, RWF_E_NORUN);
    make_run("20260101-000000-aaaaaa");
    make_run("20260102-000000-bbbbbb");
    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        char *id = run_resolve(scratch, cases[i].name, &err);
        if (cases[i].id != NULL)
            ck_assert_str_eq(id, cases[i].id);
        else
            ck_assert_msg(id == NULL && strstr(err.text, cases[i].says) != NULL,
                          "%s: %s", cases[i].name, err.text);
        free(id);
    }
    char *link = run_dir(scratch, "last");
    ck_assert_int_eq(symlink("20260101-000000-aaaaaa", link), 0);
    char *id = run_resolve(scratch, "last", &err);
    ck_assert_str_eq(id, "20260101-000000-aaaaaa");
    free(id);
    free(link);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, appends_and_goes_on);
    tcase_add_test(tc, many_events_and_long_lines);
    tcase_add_test(tc, torn_at_every_byte);
    tcase_add_test(tc, zeros_at_the_end);
    tcase_add_test(tc, damage_in_the_middle_is_told);
    tcase_add_test(tc, reads_on_from_an_offset);
    tcase_add_test(tc, one_writer_at_a_time);
    tcase_add_test(tc, killed_writer);
    tcase_add_test(tc, killed_writer_with_child);
    tcase_add_test(tc, full_disk);
    tcase_add_test(tc, secrets_are_replaced);
    tcase_add_test(tc, text_is_always_json);
    tcase_add_test(tc, subscribers_see_all);
    tcase_add_test(tc, names_of_events);
    tcase_add_test(tc, names_of_steps);
    tcase_add_test(tc, names_of_runs);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
