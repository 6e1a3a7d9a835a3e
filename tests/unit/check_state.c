/* SPDX-License-Identifier: Apache-2.0
 *
 * Replay: a whole log, every beginning of it, and logs that contradict themselves.
 */
#include "config.h"

#include <string.h>
#include "base/str.h"
#include "run/log.h"
#include "run/state.h"
#include "run_support.h"

/* Two heads: the first dies while tasks.b runs, the second finishes. */
static const char *const good_log[] = {
    "\"version\",\"v\":\"1.0\",\"run\":\"r1\",\"recipe\":\"r.yaml\",\"name\":\"n\","
    "\"pid\":7",
    "\"run.started\",\"steps\":6,\"machine\":{}",
    "\"step.cached\",\"step\":\"tasks.a\",\"key\":\"k\",\"outputs\":{\"o\":{\"path\":"
    "\"/p\"}},"
    "\"metrics\":{\"acc\":0.5},\"origin\":\"r0/tasks.a\"",
    "\"step.started\",\"step\":\"tasks.b\",\"attempt\":1,\"pid\":11,\"dir\":\"steps/"
    "tasks.b/1\"",
    "\"step.progress\",\"step\":\"tasks.b\",\"progress\":0.25,\"rows\":10",
    "\"step.retry\",\"step\":\"tasks.b\",\"attempt\":1,\"cause\":\"exit\",\"message\":"
    "\"exit "
    "code 3\",\"delay\":1.0",
    "\"step.started\",\"step\":\"tasks.b\",\"attempt\":2,\"pid\":12,\"dir\":\"steps/"
    "tasks.b/2\"",
    "\"future.event\",\"step\":4",
    "\"run.resumed\",\"pid\":8,\"failed\":false,\"lost\":[\"tasks.a\"]",
    "\"step.started\",\"step\":\"tasks.a\",\"attempt\":1,\"pid\":13,\"dir\":\"steps/"
    "tasks.a/1\"",
    "\"step.metric\",\"step\":\"tasks.a\",\"metrics\":{\"acc\":0.5,\"loss\":2},\"at\":"
    "1",
    "\"step.metric\",\"step\":\"tasks.a\",\"metrics\":{\"acc\":0.75}",
    "\"step.succeeded\",\"step\":\"tasks.a\",\"attempt\":1,\"key\":\"k\",\"outputs\":{}"
    ","
    "\"metrics\":{\"acc\":0.75},\"usage\":{\"wall\":1}",
    "\"step.failed\",\"step\":\"tasks.b\",\"attempt\":3,\"cause\":\"start\","
    "\"message\":\"no "
    "program\"",
    "\"step.skipped\",\"step\":\"tasks.c\",\"because\":\"tasks.b failed\"",
    "\"step.failed\",\"step\":\"tasks.d\",\"attempt\":0,\"cause\":\"input\","
    "\"message\":\"x\"",
    "\"run.stopping\",\"reason\":\"signal\"",
    "\"step.stopped\",\"step\":\"tasks.e\"",
    "\"run.finished\",\"status\":\"stopped\",\"exit_code\":9,\"counts\":{},"
    "\"duration\":1.5",
    "\"notify\",\"url\":\"u\",\"ok\":true",
};

static char *path;

static void setup(void)
{
    scratch_make();
    path = scratch_path("events.ndjson");
}

static void teardown(void)
{
    free(path);
    scratch_remove();
}

static json_t *event_at(size_t i, int64_t seq)
{
    struct rwf_str s = {NULL, 0, 0};
    rwf_str_addf(
        &s, "{\"seq\":%lld,\"ts\":\"2026-11-22T18:20:0%zu.000000000Z\",\"type\":%s}",
        (long long)seq, i % 10, good_log[i]);
    json_t *event = json_loads(s.data, 0, NULL);
    ck_assert_msg(event != NULL, "%s", s.data);
    rwf_str_free(&s);
    return event;
}

static void sums_up(const struct run_state *s)
{
    size_t sum = 0;
    for (int i = 0; i < STEP_STATE_COUNT; i++)
        sum += s->counts[i];
    ck_assert_uint_eq(sum, s->total);
}

static struct run_state *replay(size_t count)
{
    struct run_state *s = run_state_create();
    struct rwf_err err = RWF_ERR_INIT;
    for (size_t i = 0; i < count; i++) {
        json_t *event = event_at(i, (int64_t)i + 1);
        ck_assert_msg(run_state_apply(s, event, &err) == 0, "%zu: %s", i, err.text);
        json_decref(event);
        sums_up(s);
    }
    return s;
}

START_TEST(whole_log)
{
    struct run_state *s = replay(RWF_COUNT(good_log));
    ck_assert_str_eq(s->id, "r1");
    ck_assert_str_eq(s->status, "stopped");
    ck_assert_int_eq(s->exit_code, 9);
    ck_assert_int_eq(s->pid, 8);
    ck_assert_uint_eq(s->total, 6);
    ck_assert_int_eq(s->seq, (int64_t)RWF_COUNT(good_log));
    const struct run_step_state *a = run_state_step(s, "tasks.a");
    ck_assert_int_eq(a->state, STEP_SUCCEEDED);
    ck_assert_double_eq(json_real_value(json_object_get(a->metrics, "acc")), 0.75);
    ck_assert_str_eq(a->dir, "steps/tasks.a/1");
    const struct run_step_state *b = run_state_step(s, "tasks.b");
    ck_assert_int_eq(b->state, STEP_FAILED);
    ck_assert_int_eq(b->attempt, 3);
    ck_assert_int_eq(b->failures, 2);
    ck_assert_str_eq(b->cause, "start");
    ck_assert_str_eq(b->message, "no program");
    ck_assert_int_eq(run_state_step(s, "tasks.c")->state, STEP_SKIPPED);
    ck_assert_int_eq(run_state_step(s, "tasks.d")->state, STEP_FAILED);
    ck_assert_int_eq(run_state_step(s, "tasks.e")->state, STEP_STOPPED);
    ck_assert_uint_eq(s->counts[STEP_PENDING], 1);
    ck_assert_ptr_null(run_state_step(s, "tasks.f"));
    ck_assert_uint_eq(run_state_step_count(s), 5);
    run_state_destroy(s);
}
END_TEST

START_TEST(in_the_middle)
{
    struct run_state *s = replay(7);
    const struct run_step_state *b = run_state_step(s, "tasks.b");
    ck_assert_int_eq(b->state, STEP_RUNNING);
    ck_assert_int_eq(b->attempt, 2);
    ck_assert_int_eq(run_state_step(s, "tasks.a")->state, STEP_CACHED);
    ck_assert_str_eq(run_state_step(s, "tasks.a")->origin, "r0/tasks.a");
    run_state_destroy(s);
    s = replay(9);
    ck_assert_int_eq(run_state_step(s, "tasks.b")->state, STEP_PENDING);
    ck_assert_int_eq(run_state_step(s, "tasks.a")->state, STEP_PENDING);
    ck_assert_uint_eq(s->counts[STEP_PENDING], 6);
    run_state_destroy(s);
}
END_TEST

/* failed: true gives everything that did not go well another chance */
START_TEST(retry_of_failed)
{
    struct run_state *s = replay(RWF_COUNT(good_log));
    json_t *event = json_pack("{s:i, s:s, s:b}", "seq", (int)RWF_COUNT(good_log) + 1,
                              "type", "run.resumed", "failed", 1);
    ck_assert_int_eq(run_state_apply(s, event, NULL), 0);
    json_decref(event);
    sums_up(s);
    ck_assert_uint_eq(s->counts[STEP_PENDING], 5);
    ck_assert_uint_eq(s->counts[STEP_SUCCEEDED], 1);
    ck_assert_int_eq(run_state_step(s, "tasks.b")->failures, 0);
    ck_assert_int_eq(run_state_step(s, "tasks.b")->attempt, 3);
    ck_assert_str_eq(s->status, "running");
    run_state_destroy(s);
}
END_TEST

START_TEST(every_truncation_replays)
{
    struct rwf_str text = {NULL, 0, 0};
    for (size_t i = 0; i < RWF_COUNT(good_log); i++) {
        json_t *event = event_at(i, (int64_t)i + 1);
        char *line = json_dumps(event, JSON_COMPACT);
        rwf_str_addf(&text, "%s\n", line);
        free(line);
        json_decref(event);
    }
    for (size_t cut = 0; cut <= text.len; cut++) {
        struct rwf_err err = RWF_ERR_INIT;
        ck_assert_int_eq(rwf_fs_write(path, text.data, cut, false, NULL), 0);
        struct run_state *s = run_state_load(path, &err);
        ck_assert_msg(s != NULL, "%zu: %s", cut, err.text);
        sums_up(s);
        run_state_destroy(s);
    }
    rwf_str_free(&text);
}
END_TEST

static const struct {
    const char *events[3];
    const char *says;
} bad_logs[] = {
    {{"{\"seq\":2}"}, "event 2 follows event 0"},
    {{"[]"}, "event 0 follows event 0"},
    {{"{\"seq\":1,\"type\":\"step.started\"}"}, "names no step"},
    {{"{\"seq\":1,\"type\":\"step.succeeded\",\"step\":\"a\"}"},
     "cannot have succeeded"},
    {{"{\"seq\":1,\"type\":\"step.cached\",\"step\":\"a\"}",
      "{\"seq\":2,\"type\":\"step.started\",\"step\":\"a\"}"},
     "cannot have start when cached"},
    {{"{\"seq\":1,\"type\":\"step.retry\",\"step\":\"a\"}"}, "cannot have retry"},
};

START_TEST(contradictions_are_told)
{
    struct run_state *s = run_state_create();
    struct rwf_err err = RWF_ERR_INIT;
    int result = 0;
    for (size_t i = 0; result == 0 && bad_logs[_i].events[i] != NULL; i++) {
        json_t *event = json_loads(bad_logs[_i].events[i], 0, NULL);
        result = run_state_apply(s, event, &err);
        json_decref(event);
    }
    ck_assert_int_eq(result, -1);
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    ck_assert_msg(strstr(err.text, bad_logs[_i].says) != NULL, "%s", err.text);
    run_state_destroy(s);
}
END_TEST

/* Members of the wrong type are as if they were absent. */
/* On a cluster: it waits (for this, then for that), its node is lost, it waits again.
 */
static const struct {
    const char *event;
    enum schedule_state state;
    int failures;
    const char *node, *message; /* afterwards */
} elsewhere[] = {
    {"queued", STEP_QUEUED, 0, NULL, "waits for 2 of 2 cpu"},
    {"queued", STEP_QUEUED, 0, NULL, "waits for its turn"},
    {"started", STEP_RUNNING, 0, "n1", NULL},
    {"lost", STEP_BACKOFF, 0, "n1", "node n1 is lost"},
    {"queued", STEP_QUEUED, 0, "n1", "waits for 1 of 2 cpu"},
    {"started", STEP_RUNNING, 0, "n2", NULL},
    {"exit", STEP_BACKOFF, 1, "n2", "exit code 1"},
};

static json_t *elsewhere_event(size_t i)
{
    const char *what = elsewhere[i].event;
    json_t *e = json_pack("{s:i, s:s}", "seq", (int)i + 1, "step", "tasks.a");
    const char *type = *what == 'q'   ? "step.queued"
                       : *what == 's' ? "step.started"
                                      : "step.retry";
    json_object_set_new(e, "type", json_string(type));
    if (*what == 'q')
        json_object_set_new(e, "reason", json_string(elsewhere[i].message));
    else if (*what == 's')
        json_object_set_new(e, "node", json_string(elsewhere[i].node));
    else
        json_object_set_new(e, "cause",
                            json_string(*what == 'l' ? "node_lost" : "exit"));
    if (*what != 'q' && elsewhere[i].message != NULL)
        json_object_set_new(e, "message", json_string(elsewhere[i].message));
    return e;
}

static void same_text(const char *is, const char *want)
{
    ck_assert_msg((is == NULL) == (want == NULL) &&
                      (is == NULL || strcmp(is, want) == 0),
                  "'%s' for '%s'", is == NULL ? "" : is, want == NULL ? "" : want);
}

START_TEST(on_other_nodes)
{
    struct run_state *s = run_state_create();
    struct rwf_err err = RWF_ERR_INIT;
    for (size_t i = 0; i < RWF_COUNT(elsewhere); i++) {
        json_t *event = elsewhere_event(i);
        ck_assert_msg(run_state_apply(s, event, &err) == 0, "%zu: %s", i, err.text);
        json_decref(event);
        const struct run_step_state *a = run_state_step(s, "tasks.a");
        ck_assert_int_eq(a->state, elsewhere[i].state);
        ck_assert_int_eq(a->failures, elsewhere[i].failures);
        same_text(a->node, elsewhere[i].node);
        same_text(a->message, elsewhere[i].message);
        sums_up(s);
    }
    run_state_destroy(s);
}
END_TEST

START_TEST(wrong_types)
{
    static const char *const lines[] = {
        "{\"seq\":1,\"type\":\"version\",\"run\":1,\"name\":[],\"pid\":\"x\",\"ts\":5}",
        "{\"seq\":2,\"type\":\"run.started\",\"steps\":-4}",
        "{\"seq\":3,\"type\":\"step.started\",\"step\":\"a\",\"attempt\":1e300,\"dir\":"
        "{}}",
        "{\"seq\":4,\"type\":\"step.metric\",\"step\":\"a\",\"metrics\":[1]}",
        "{\"seq\":5,\"type\":\"step.progress\",\"step\":\"a\",\"progress\":\"x\","
        "\"rows\":1e30}",
        "{\"seq\":6,\"type\":\"step.failed\",\"step\":\"a\",\"cause\":4,\"message\":"
        "null}",
        "{\"seq\":7,\"type\":\"run.resumed\",\"lost\":[3,null],\"failed\":1}",
        "{\"seq\":8,\"type\":\"run.finished\",\"status\":false,\"exit_code\":\"0\"}",
    };
    struct run_state *s = run_state_create();
    for (size_t i = 0; i < RWF_COUNT(lines); i++) {
        json_t *event = json_loads(lines[i], 0, NULL);
        ck_assert_int_eq(run_state_apply(s, event, NULL), 0);
        json_decref(event);
    }
    ck_assert_uint_eq(s->total, 1);
    sums_up(s);
    run_state_destroy(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("state");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, whole_log);
    tcase_add_test(tc, in_the_middle);
    tcase_add_test(tc, retry_of_failed);
    tcase_add_test(tc, every_truncation_replays);
    tcase_add_loop_test(tc, contradictions_are_told, 0, (int)RWF_COUNT(bad_logs));
    tcase_add_test(tc, on_other_nodes);
    tcase_add_test(tc, wrong_types);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
