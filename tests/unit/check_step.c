/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps on other nodes, with real processes and real links: what they print, report and
 * end with; and what becomes of them when something on the way is gone.
 */
#include "config.h"
#include "far/step.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "step_rig.h"

/* --- how they end --- */

static const struct end {
    const char *script, *out, *err, *message, *tail;
    enum plan_cause cause;
    int code, signal;
} ends[] = {
    {"echo hello; echo oh >&2", "hello\n", "oh\n", "", "oh", PLAN_CAUSE_NONE, 0, 0},
    {"exit 3", "", "", "exit code 3", "", PLAN_CAUSE_EXIT, 3, 0},
    {"echo last; kill -SEGV $$", "last\n", "", "SIGSEGV", "last", PLAN_CAUSE_SIGNAL, -1,
     SIGSEGV},
    {"echo $RAYWF_NODE", NULL, "", "", NULL, PLAN_CAUSE_NONE, 0, 0},
    {"printf 'no newline'", "no newline", "", "", "no newline", PLAN_CAUSE_NONE, 0, 0},
};

START_TEST(they_end_as_here)
{
    static const char *const where[] = {NULL, "n0", "n1"};
    const struct end *e = &ends[_i];
    rig_open(2);
    for (size_t i = 0; i < RWF_COUNT(where); i++) {
        struct run r = {0};
        run_start(&r, where[i], e->script, NULL);
        UNTIL(r.exits);
        ck_assert_int_eq(r.exit.cause, e->cause);
        ck_assert_int_eq(r.exit.exit_code, e->code);
        ck_assert_int_eq(r.exit.signal, e->signal);
        ck_assert_int_gt(r.pid, 0);
        SAYS(r.exit.message, e->message);
        if (e->out)
            ck_assert_str_eq(text_of(&r.out), e->out);
        else
            ck_assert_str_eq(text_of(&r.out), i == 2 ? "n1\n" : "n0\n");
        ck_assert_str_eq(text_of(&r.err), e->err);
        if (e->tail)
            ck_assert_str_eq(text_of(&r.tail), e->tail);
        ck_assert_int_gt(r.exit.usage.wall, 0);
        run_free(&r);
    }
    rig_close();
}
END_TEST

START_TEST(its_files_are_here_too)
{
    static const char *const names[] = {"stdout", "stderr", "raywf-cmd.sh", "exit.json"};
    struct run r = {0};
    rig_open(2);
    const char *there = rig_path("there"), *here = rig_path("runs/here");
    struct how how = {.dir = there,
                      .local = here,
                      .log_limit = 1000,
                      .env = json_pack("{s:s}", "COLOUR", "green")};
    run_start(
        &r, "n1",
        "i=0; while [ $i -lt 20000 ]; do echo $COLOUR $i; i=$((i+1)); done; exit 4",
        &how);
    UNTIL(r.exits);
    ck_assert_int_eq(r.exit.exit_code, 4);
    ck_assert_uint_gt(r.out.len, 200000); /* all of it was told */
    for (size_t i = 0; i < RWF_COUNT(names); i++) {
        char *a = rig_read(rig_path("there/%s", names[i]));
        char *b = rig_read(rig_path("runs/here/%s", names[i]));
        ck_assert_msg(strcmp(a, b) == 0, "%s: '%s' there, '%s' here", names[i], a, b);
        ck_assert_msg(*a || i == 1, "%s is empty", names[i]);
        free(a);
        free(b);
    }
    char *out = rig_read(rig_path("runs/here/stdout")),
         *cmd = rig_read(rig_path("runs/here/raywf-cmd.sh"));
    SAYS(out, "bytes left out");
    SAYS(cmd, "COLOUR=green");
    SAYS(cmd, "RAYWF_NODE=n1");
    SAYS(cmd, "RAYWF_ADDRESS=");
    SAYS(cmd, "../env-");
    char *name = strstr(cmd, "env-");
    name = rwf_xstrndup(name, strcspn(name, "\n"));
    char *env = rig_read(rig_path("runs/%s", name));
    SAYS(env, "\nPATH=");
    free(env);
    free(name);
    free(out);
    free(cmd);
    run_free(&r);
    rig_close();
}
END_TEST

START_TEST(a_shared_folder_is_written_once)
{
    struct run r = {0};
    rig_open(2);
    const char *dir = rig_path("both");
    struct how how = {.dir = dir, .shared = true};
    run_start(&r, "n1", "echo once", &how);
    UNTIL(r.exits);
    ck_assert_str_eq(text_of(&r.out), "once\n");
    char *out = rig_read(rig_path("both/stdout")),
         *end = rig_read(rig_path("both/exit.json"));
    ck_assert_str_eq(out, "once\n");
    SAYS(end, "\"code\":0");
    free(out);
    free(end);
    run_free(&r);
    rig_close();
}
END_TEST

START_TEST(reports_come_back)
{
    struct run r = {0};
    rig_open(2);
    run_start(
        &r, "n1",
        "i=0; while [ $i -lt 3000 ]; do echo \"{\\\"loss\\\": $i}\" >&3; i=$((i+1)); "
        "done; "
        "echo rubbish >&3",
        NULL);
    UNTIL(r.exits);
    ck_assert_int_eq(r.reports, 3001);
    SAYS(r.last_report, "rubbish");
    run_free(&r);
    rig_close();
}
END_TEST

/* --- what cannot start --- */

static const struct {
    const char *program, *cwd, *text;
} bad[] = {
    {"no-such-program-here", NULL, "no-such-program-here"},
    {"/bin/sh", "/no/such/folder", "/no/such/folder"},
    {"/etc/passwd", NULL, "/etc/passwd"},
};

START_TEST(what_cannot_start_says_why_and_where)
{
    struct run r = {0};
    struct how how = {.cwd = bad[_i].cwd};
    rig_open(2);
    how.local = rig_path("here");
    run_argv(&r, 0, "n1", json_pack("[s]", bad[_i].program), &how);
    UNTIL(r.exits);
    ck_assert_int_eq(r.exit.cause, PLAN_CAUSE_START);
    ck_assert_int_eq(r.pid, 0);
    SAYS(r.exit.message, "node n1: ");
    SAYS(r.exit.message, bad[_i].text);
    char *end = rig_read(rig_path("here/exit.json"));
    SAYS(end, "node n1: ");
    free(end);
    run_free(&r);
    run_argv(&r, 0, NULL, json_pack("[s]", bad[_i].program), &how);
    UNTIL(r.exits);
    ck_assert_int_eq(r.exit.cause, PLAN_CAUSE_START);
    SAYS(r.exit.message, bad[_i].text);
    run_free(&r);
    rig_close();
}
END_TEST

START_TEST(a_node_that_is_not_there)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct proc_spec spec = {.dir = "/", .cwd = "/"};
    rig_open(2);
    ck_assert_ptr_null(
        far_step_start(rig.nodes[0], "n7", &spec, NULL, &run_handler, &err));
    SAYS(err.text, "n7");
    SAYS(err.text, "raywf nodes");
    rig_close();
}
END_TEST

/* --- ended by somebody --- */

START_TEST(it_is_stopped_and_killed)
{
    struct run soft = {0}, hard = {0}, late = {0};
    rig_open(2);
    run_start(&soft, "n1",
              "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done",
              NULL);
    struct how how = {.grace = 60 * RWF_NS_PER_S};
    run_start(&hard, "n1", "trap '' TERM; echo up; while :; do sleep 0.05; done", &how);
    struct how brief = {.grace = 50 * RWF_NS_PER_MS};
    run_start(&late, "n1", "trap '' TERM; echo up; while :; do sleep 0.05; done",
              &brief);
    UNTIL(soft.out.len && hard.out.len && late.out.len);
    far_step_stop(soft.step);
    far_step_stop(hard.step);
    far_step_stop(late.step);
    UNTIL(soft.exits && late.exits);
    ck_assert_int_eq(soft.exit.cause, PLAN_CAUSE_STOPPED);
    ck_assert_str_eq(text_of(&soft.out), "up\nbye\n");
    ck_assert_int_eq(late.exit.signal, SIGKILL);
    ck_assert_int_eq(hard.exits, 0);
    far_step_kill(hard.step);
    UNTIL(hard.exits);
    ck_assert_int_eq(hard.exit.cause, PLAN_CAUSE_STOPPED);
    ck_assert_int_eq(hard.exit.signal, SIGKILL);
    run_free(&soft);
    run_free(&hard);
    run_free(&late);
    rig_close();
}
END_TEST

/* Started and stopped in one breath. */
START_TEST(it_is_stopped_at_once)
{
    struct run r = {0};
    rig_open(2);
    run_start(&r, "n1", "sleep 100", NULL);
    far_step_stop(r.step);
    UNTIL(r.exits);
    ck_assert_int_eq(r.exit.cause, PLAN_CAUSE_STOPPED);
    run_free(&r);
    rig_close();
}
END_TEST

/* --- something on the way is gone --- */

enum gone { CUT, LOST, DESTROYED, STOPPED, CALLER_DESTROYED, GONE_COUNT };
static const char *const gone_says[] = {[CUT] = "n1 is lost",
                                        [LOST] = "n1 is gone",
                                        [DESTROYED] = "n1",
                                        [STOPPED] = "was stopped",
                                        [CALLER_DESTROYED] = "this node ends"};

START_TEST(it_is_lost_once_and_ends_there)
{
    struct run r = {0};
    rig_open(2);
    struct how how = {.local = rig_path("here"), .grace = 200 * RWF_NS_PER_MS};
    run_start(&r, "n1", "trap '' TERM; echo up; while :; do sleep 0.02; done", &how);
    UNTIL(r.out.len);
    int pid = r.pid;
    ck_assert(is_alive(pid));
    switch (_i) {
    case CUT:
        rig_cut();
        break;
    case LOST:
        rig_lose(1);
        break;
    case DESTROYED:
        rig_destroy(1);
        break;
    case STOPPED:
        rig_stop(1);
        break;
    default:
        rig_destroy(0);
    }
    UNTIL(r.exits);
    ck_assert_int_eq(r.exit.cause, PLAN_CAUSE_NODE_LOST);
    SAYS(r.exit.message, gone_says[_i]);
    char *end = rig_read(rig_path("here/exit.json"));
    SAYS(end, "node_lost");
    free(end);
    ck_assert_str_eq(text_of(&r.tail), "up");
    UNTIL(!is_alive(pid));
    ck_assert_int_eq(r.exits, 1);
    run_free(&r);
    rig_close();
}
END_TEST

START_TEST(a_link_that_was_cut_is_made_again)
{
    struct run first = {0}, second = {0};
    rig_open(2);
    run_start(&first, "n1", "echo up; sleep 100", NULL);
    UNTIL(first.out.len);
    rig_cut();
    UNTIL(first.exits);
    run_start(&second, "n1", "echo again", NULL);
    UNTIL(second.exits);
    ck_assert_str_eq(text_of(&second.out), "again\n");
    run_free(&first);
    run_free(&second);
    rig_close();
}
END_TEST

START_TEST(nothing_starts_on_a_node_that_stops)
{
    struct run first = {0}, second = {0};
    rig_open(2);
    struct how how = {.grace = 3 * RWF_NS_PER_S};
    run_start(&first, "n1", "trap '' TERM; echo up; while :; do sleep 0.02; done",
              &how);
    UNTIL(first.out.len);
    node_stop(rig.nodes[1], NULL, NULL);
    run_start(&second, "n1", "echo no", NULL);
    UNTIL(second.exits);
    ck_assert_int_eq(second.exit.cause, PLAN_CAUSE_NODE_LOST);
    ck_assert_int_eq(first.exits, 0); /* its grace lasts */
    UNTIL(first.exits);
    ck_assert_int_eq(first.exit.cause, PLAN_CAUSE_NODE_LOST);
    run_free(&first);
    run_free(&second);
    rig_close();
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("step");
    TCase *t = tcase_create("step");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, they_end_as_here, 0, RWF_COUNT(ends));
    tcase_add_test(t, its_files_are_here_too);
    tcase_add_test(t, a_shared_folder_is_written_once);
    tcase_add_test(t, reports_come_back);
    tcase_add_loop_test(t, what_cannot_start_says_why_and_where, 0, RWF_COUNT(bad));
    tcase_add_test(t, a_node_that_is_not_there);
    tcase_add_test(t, it_is_stopped_and_killed);
    tcase_add_test(t, it_is_stopped_at_once);
    tcase_add_loop_test(t, it_is_lost_once_and_ends_there, 0, GONE_COUNT);
    tcase_add_test(t, a_link_that_was_cut_is_made_again);
    tcase_add_test(t, nothing_starts_on_a_node_that_stops);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
