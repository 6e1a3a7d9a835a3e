/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps of which there are many, or that print much; nodes that are processes, which
 * are killed and frozen; clients of a node that start steps; and secrets.
 */
#include "config.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/redact.h"
#include "far/steps.h"
#include "step_rig.h"

/* --- nodes that are processes --- */

static const char *const survivor =
    "(trap '' TERM; echo $RAYWF_NODE; exec sleep 1000) & echo $!; wait";

static int second_pid(const struct run *r)
{
    const char *text = text_of(&r->out);
    return atoi(*text == 'n' ? text + 3 : text);
}

START_TEST(a_node_is_killed)
{
    struct run r = {0};
    rig_open(1);
    int node = rig_spawn(1);
    UNTIL(rig_session("n1"));
    uint64_t session = rig_session("n1");
    run_start(&r, "n1", survivor, NULL);
    UNTIL(r.out.len > 3 && strchr(text_of(&r.out) + 3, '\n'));
    int child = second_pid(&r);
    ck_assert(is_alive(r.pid) && is_alive(child));
    kill(node, SIGKILL);
    ck_assert_int_eq(waitpid(node, NULL, 0), node);
    UNTIL(r.exits);
    ck_assert_int_eq(r.exit.cause, PLAN_CAUSE_NODE_LOST);
    UNTIL(!is_alive(r.pid)); /* its first process goes with the node */
    if (rig_session("n1")) { /* the head has not missed it yet */
        struct run soon = {0};
        run_start(&soon, "n1", "echo no", NULL);
        UNTIL(soon.exits);
        ck_assert_int_eq(soon.exit.cause, PLAN_CAUSE_NODE_LOST);
        ck_assert_int_eq(soon.pid, 0);
        SAYS(soon.exit.message, "the head still sees it");
        SAYS(soon.exit.message, "cannot connect to 127.0.0.1");
        run_free(&soon);
    }
    node = rig_spawn(1);
    UNTIL(!is_alive(child)); /* the others when there is a node again */
    UNTIL(rig_session("n1") && rig_session("n1") != session);
    struct run again = {0};
    run_start(&again, "n1", "echo $RAYWF_NODE", NULL);
    UNTIL(again.exits);
    ck_assert_str_eq(text_of(&again.out), "n1\n");
    kill(node, SIGKILL);
    ck_assert_int_eq(waitpid(node, NULL, 0), node);
    run_free(&r);
    run_free(&again);
    rig_close();
}
END_TEST

/* Nothing closes its links: the head misses its beats. */
START_TEST(a_node_says_nothing_any_more)
{
    struct run r = {0};
    rig_open(1);
    int node = rig_spawn(1);
    UNTIL(rig_session("n1"));
    run_start(&r, "n1", "echo up; sleep 1000", NULL);
    UNTIL(r.out.len);
    kill(node, SIGSTOP);
    UNTIL(r.exits);
    ck_assert_int_eq(r.exit.cause, PLAN_CAUSE_NODE_LOST);
    SAYS(r.exit.message, "node n1 is gone: ");
    kill(node, SIGCONT); /* it learns that its caller is gone, and ends the step */
    UNTIL(!is_alive(r.pid));
    kill(node, SIGKILL);
    ck_assert_int_eq(waitpid(node, NULL, 0), node);
    run_free(&r);
    rig_close();
}
END_TEST

/* --- much of it --- */

START_TEST(many_at_once)
{
    enum { MANY = 50 };
    static struct run runs[MANY];
    static const char *const where[] = {"n1", "n2", NULL};
    rig_open(3);
    for (int i = 0; i < MANY; i++) {
        char script[64];
        snprintf(script, sizeof(script), "echo %d; exit %d", i, i % 7);
        run_start(&runs[i], where[i % 3], script, NULL);
    }
    for (int i = 0; i < MANY; i++) {
        char text[16];
        UNTIL(runs[i].exits);
        snprintf(text, sizeof(text), "%d\n", i);
        ck_assert_str_eq(text_of(&runs[i].out), text);
        ck_assert_int_eq(runs[i].exit.exit_code, i % 7);
        run_free(&runs[i]);
    }
    rig_close();
}
END_TEST

#define CHATTY "head -c 20971520 /dev/zero | tr '\\0' x"
#define CHATTY_JSON "head -c 20971520 /dev/zero | tr '\\\\0' x"

START_TEST(much_output_is_not_lost)
{
    enum { LOUD = 3 };
    struct run runs[LOUD] = {{0}};
    rig_open(2);
    for (int i = 0; i < LOUD; i++) {
        runs[i].count_only = true;
        run_start(&runs[i], "n1", CHATTY, NULL);
    }
    for (int i = 0; i < LOUD; i++)
        UNTIL(runs[i].exits);
    for (int i = 0; i < LOUD; i++) {
        ck_assert_int_eq(runs[i].exit.cause, PLAN_CAUSE_NONE);
        ck_assert_uint_eq(runs[i].bytes, 20971520);
        run_free(&runs[i]);
    }
    rig_close();
}
END_TEST

/* --- clients of a node --- */

struct client {
    int fd;
    struct wire_reader *reader;
    struct wire_message m; /* the last one */
};

#define SEND(fd, type, m) ck_assert(wire_send(fd, type, &(m)->base, NULL, 0, NULL) == 0)

static void client_open(struct client *c, size_t at)
{
    struct rwf_err err = RWF_ERR_INIT;
    Wire__Hello h = WIRE__HELLO__INIT;
    *c = (struct client){.fd = wire_unix_connect(node_address(rig.nodes[at]), &err)};
    ck_assert_msg(c->fd >= 0, "%s", err.text);
    c->reader = wire_reader_create(c->fd);
    wire_hello_set(&h, "driver", "");
    SEND(c->fd, WIRE_HELLO, &h);
}

static void client_close(struct client *c)
{
    wire_message_clear(&c->m);
    wire_reader_destroy(c->reader);
    close(c->fd);
}

/* The next message that is no HELLO; NONE: the node has closed. */
static enum wire_type hear(struct client *c)
{
    int64_t end = rwf_clock_mono() + RIG_LONG;
    for (int turn = 0;; turn++) {
        struct rwf_err err = RWF_ERR_INIT;
        uv_run(&rig.loop, UV_RUN_NOWAIT);
        wire_message_clear(&c->m);
        c->m = (struct wire_message){0};
        int64_t wait = turn < 20 ? 0 : RWF_NS_PER_MS;
        int rc = wire_receive(c->reader, rwf_clock_mono() + wait, &c->m, &err);
        if (rc == 0)
            return WIRE_NONE;
        if (rc > 0 && c->m.type != WIRE_HELLO)
            return c->m.type;
        ck_assert_msg(rc > 0 || err.code == ETIMEDOUT, "%s", err.text);
        ck_assert(rwf_clock_mono() < end);
    }
}

static void client_start(struct client *c, const char *where, const char *spec)
{
    Wire__StepStart s = WIRE__STEP_START__INIT;
    s.step = 7;
    s.node = (char *)where;
    s.spec = (char *)spec;
    SEND(c->fd, WIRE_STEP_START, &s);
}

static const char *const served_by[] = {"", "n1"};

START_TEST(a_client_that_does_not_read_holds_the_step)
{
    struct client c;
    size_t total = 0, seen = 0;
    rig_open(2);
    client_open(&c, 0);
    client_start(&c, served_by[_i],
                 "{\"argv\": [\"/bin/sh\", \"-c\", \"" CHATTY_JSON
                 "; echo >&2 end\"]}");
    ck_assert_int_eq(hear(&c), WIRE_STEP_STARTED);
    /* Until nothing moves: all that can lie between is full. */
    for (int quiet = 0; quiet < 50; quiet++) {
        uv_run(&rig.loop, UV_RUN_NOWAIT);
        size_t now =
            far__served_queued(rig.nodes[0]) + far__served_queued(rig.nodes[1]);
        if (now != seen)
            quiet = 0;
        seen = now;
        poll(NULL, 0, 2);
    }
    ck_assert_uint_gt(seen, (size_t)1 << 20);
    ck_assert_uint_lt(seen, (size_t)14 << 20);
    while (hear(&c) == WIRE_STEP_OUTPUT) {
        const Wire__StepOutput *o = (const Wire__StepOutput *)c.m.body;
        total += o->stream == 1 ? o->data.len : 0;
    }
    ck_assert_int_eq(c.m.type, WIRE_STEP_EXIT);
    ck_assert_uint_eq(total, 20971520);
    SAYS(((const Wire__StepExit *)c.m.body)->result, "\"cause\":\"none\"");
    SAYS(((const Wire__StepExit *)c.m.body)->result, "\"tail\":\"end\"");
    client_close(&c);
    rig_close();
}
END_TEST

START_TEST(a_client_starts_steps_and_goes)
{
    struct client c;
    rig_open(2);
    client_open(&c, 0);
    client_start(
        &c, served_by[_i],
        "{\"argv\": [\"/bin/sh\", \"-c\", \"trap '' TERM; sleep 100; sleep 100\"], "
        "\"grace\": 50000000, \"run\": \"r9\"}");
    ck_assert_int_eq(hear(&c), WIRE_STEP_STARTED);
    int pid = (int)((const Wire__StepStarted *)c.m.body)->pid;
    ck_assert(is_alive(pid));
    char *dir = rwf_xasprintf("%s/node%d/runs/r9/steps/1/raywf-cmd.sh", rig.dir, _i);
    ck_assert_msg(rwf_fs_exists(dir), "%s", dir);
    free(dir);
    client_close(&c);
    UNTIL(!is_alive(pid));
    rig_close();
}
END_TEST

static const struct {
    const char *where, *spec, *says;
} rubbish[] = {
    {"", "no json", "no JSON object"},
    {"", "{}", "argv is missing"},
    {"", "{\"argv\": 3}", "argv is not a list"},
    {"", "{\"argv\": [\"true\"], \"grace\": -1}", "grace is below 0"},
    {"", "{\"argv\": [\"true\"], \"gpus\": [\"x\"]}", "gpus[0] is no GPU"},
    {"", "{\"argv\": [\"true\"], \"cwd\": \"/a\\u0000b\"}", "cwd holds a NUL byte"},
    {"", "{\"argv\": []}", "argv is empty"},
    {"n1", "{\"argv\": []}", "node n1: "},
    {"n1", "{\"argv\": [\"true\"], \"env\": {\"A\": 1}}", "'A' is no text"},
    {"nowhere", "{\"argv\": [\"true\"]}", "there is no node nowhere"},
};

START_TEST(a_client_says_rubbish)
{
    struct client c;
    rig_open(2);
    client_open(&c, 0);
    for (size_t i = 0; i < RWF_COUNT(rubbish); i++) {
        client_start(&c, rubbish[i].where, rubbish[i].spec);
        ck_assert_int_eq(hear(&c), WIRE_STEP_STARTED);
        ck_assert_int_ne(((const Wire__StepStarted *)c.m.body)->code, 0);
        ck_assert_int_eq(hear(&c), WIRE_STEP_EXIT);
        SAYS(((const Wire__StepExit *)c.m.body)->result, rubbish[i].says);
        SAYS(((const Wire__StepExit *)c.m.body)->result, "\"cause\":\"start\"");
    }
    client_start(&c, "", "{\"argv\": [\"sleep\", \"100\"]}");
    ck_assert_int_eq(hear(&c), WIRE_STEP_STARTED);
    client_start(&c, "", "{\"argv\": [\"sleep\", \"100\"]}");
    while (hear(&c) != WIRE_NONE) /* it is told why, and closed */
        ck_assert_int_eq(c.m.type, WIRE_ERROR);
    client_close(&c);
    rig_close();
}
END_TEST

/* --- secrets --- */

START_TEST(secrets_stay_out_of_logs_there)
{
    static const char *const names[] = {"stdout", "stderr", "raywf-cmd.sh"};
    struct run r = {0};
    rig_open(2);
    size_t before = rwf_redact_count();
    ck_assert_int_eq(rwf_redact_add("TOKEN", "hush-hush-42", NULL), 0);
    struct how how = {.dir = rig_path("there"),
                      .local = rig_path("here"),
                      .env = json_pack("{s:s}", "TOKEN", "hush-hush-42")};
    run_start(&r, "n1", "echo a $TOKEN b; echo $TOKEN >&2", &how);
    UNTIL(r.exits);
    ck_assert_str_eq(text_of(&r.out), "a [secret:TOKEN] b\n");
    for (size_t i = 0; i < RWF_COUNT(names); i++) {
        char *text = rig_read(rig_path("there/%s", names[i]));
        ck_assert_ptr_null(strstr(text, "hush"));
        SAYS(text, "[secret:TOKEN]");
        free(text);
    }
    ck_assert_uint_eq(rwf_redact_count(),
                      before + 1); /* kept once, though two know it */
    ck_assert(rwf_redact_active());
    rwf_redact_drop("TOKEN", "hush-hush-42");
    ck_assert(!rwf_redact_active()); /* the node has dropped it with the step */
    run_free(&r);
    rig_close();
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("step_far");
    TCase *t = tcase_create("step_far");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_node_is_killed);
    tcase_add_test(t, a_node_says_nothing_any_more);
    tcase_add_test(t, many_at_once);
    tcase_add_test(t, much_output_is_not_lost);
    tcase_add_loop_test(t, a_client_that_does_not_read_holds_the_step, 0, 2);
    tcase_add_loop_test(t, a_client_starts_steps_and_goes, 0, 2);
    tcase_add_test(t, a_client_says_rubbish);
    tcase_add_test(t, secrets_stay_out_of_logs_there);
    suite_add_tcase(s, t);
    return s;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "node") == 0)
        return rig_node_main(argv);
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
