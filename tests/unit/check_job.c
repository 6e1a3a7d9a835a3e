/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <check.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "job/cron.h"
#include "job/job.h"
#include "job/log.h"

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SPEC "'name': 'n', 'recipe': 'r.yaml', 'digest': '" DIGEST "'"

/* --- cron --- */

static const struct {
    const char *schedule, *after, *next;
} fires[] = {
    {"* * * * *", "2026-11-28T10:00:00Z", "2026-11-28T10:01:00Z"},
    {"* * * * *", "2026-11-28T10:00:59Z", "2026-11-28T10:01:00Z"},
    {"* * * * * *", "2026-11-28T10:00:00Z", "2026-11-28T10:00:01Z"},
    {"*/20 * * * * *", "2026-11-28T10:00:41Z", "2026-11-28T10:01:00Z"},
    {"*/5 * * * *", "2026-11-28T10:57:00Z", "2026-11-28T11:00:00Z"},
    {"3-59/15 * * * *", "2026-11-28T10:03:00Z", "2026-11-28T10:18:00Z"},
    {"7/20 * * * *", "2026-11-28T10:00:00Z", "2026-11-28T10:07:00Z"},
    {"0 3 * * *", "2026-11-28T03:00:00Z", "2026-11-29T03:00:00Z"},
    {"30 1,13 * * *", "2026-11-28T02:00:00Z", "2026-11-28T13:30:00Z"},
    {"0 0 1 * *", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"},
    {"0 0 31 * *", "2026-11-28T00:00:00Z", "2026-12-31T00:00:00Z"},
    {"0 0 29 2 *", "2026-11-28T00:00:00Z", "2028-02-29T00:00:00Z"},
    {"0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
    {"0 9 * * mon-fri", "2026-11-28T00:00:00Z", "2026-11-30T09:00:00Z"},
    {"0 9 * * 7", "2026-11-28T00:00:00Z", "2026-11-29T09:00:00Z"},
    {"0 9 * * Sun", "2026-11-28T00:00:00Z", "2026-11-29T09:00:00Z"},
    {"0 0 13 * fri", "2026-11-28T00:00:00Z", "2026-12-04T00:00:00Z"},
    {"0 0 1 * fri", "2026-11-28T00:00:00Z", "2026-12-01T00:00:00Z"},
    {"0 0 * jan,jul *", "2026-11-28T00:00:00Z", "2027-01-01T00:00:00Z"},
    {"@hourly", "2026-11-28T10:00:00Z", "2026-11-28T11:00:00Z"},
    {"@daily", "2026-11-28T10:00:00Z", "2026-11-29T00:00:00Z"},
    {"@weekly", "2026-11-28T10:00:00Z", "2026-11-29T00:00:00Z"},
    {"@monthly", "2026-11-28T10:00:00Z", "2026-12-01T00:00:00Z"},
    {"@yearly", "2026-11-28T10:00:00Z", "2027-01-01T00:00:00Z"},
};

static int64_t at(const char *text)
{
    struct tm t = {0};
    ck_assert_ptr_nonnull(strptime(text, "%Y-%m-%dT%H:%M:%SZ", &t));
    return (int64_t)timegm(&t) * RWF_NS_PER_S;
}

START_TEST(cron_fires)
{
    struct job_cron c;
    struct rwf_err err = RWF_ERR_INIT;
    char got[RWF_TIME_LEN];
    ck_assert_msg(job_cron_parse(fires[_i].schedule, &c, &err) == 0, "%s", err.text);
    int64_t next = job_cron_next(&c, at(fires[_i].after));
    rwf_clock_format(next, got);
    ck_assert_msg(next == at(fires[_i].next), "'%s' after %s: %s, not %s",
                  fires[_i].schedule, fires[_i].after, got, fires[_i].next);
}
END_TEST

static const struct {
    const char *schedule, *text;
} bad_crons[] = {
    {"", "five fields"},
    {"* * * *", "five fields"},
    {"* * * * * * *", "five fields"},
    {"@often", "five fields"},
    {"60 * * * *", "minute '60'"},
    {"* 24 * * *", "hour '24'"},
    {"* * 0 * *", "day '0'"},
    {"* * * 13 *", "month '13'"},
    {"* * * * 8", "weekday '8'"},
    {"61 * * * * *", "second '61'"},
    {"5-1 * * * *", "minute '5-1'"},
    {"*/0 * * * *", "minute '*/0'"},
    {"*/ * * * *", "minute '*/'"},
    {"1, * * * *", "minute '1,'"},
    {"1x * * * *", "minute '1x'"},
    {"-1 * * * *", "minute '-1'"},
    {"99999999999999999999 * * * *", "minute"},
    {"* * * mun *", "or a name"},
    {"0 0 31 2 *", "there is no such day"},
    {"0 0 30 feb *", "there is no such day"},
};

START_TEST(bad_crons_are_told)
{
    struct job_cron c;
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_int_eq(job_cron_parse(bad_crons[_i].schedule, &c, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_USAGE);
    ck_assert_msg(strstr(err.text, bad_crons[_i].text) != NULL, "%s", err.text);
}
END_TEST

/* --- the table --- */

static json_t *parse(const char *text)
{
    char *copy = rwf_xstrdup(text);
    for (char *p = copy; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    json_error_t where;
    json_t *j = json_loads(copy, 0, &where);
    ck_assert_msg(j != NULL, "%s: %s", copy, where.text);
    free(copy);
    return j;
}

static struct job *make(const char *id, const char *spec)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *j = parse(spec);
    struct job *job = job_create(id, j, 1000, &err);
    ck_assert_msg(job != NULL, "%s", err.text);
    json_decref(j);
    return job;
}

/* Every event in every state: '-' it cannot happen. Columns: start, succeed, fail,
 * vanish, interrupt, stop, retry, give up. */
static const struct {
    const char *from, *to[JOB_EVENT_COUNT];
} changes[] = {
    {"queued", {"running", "-", "-", "-", "-", "stopped", "-", "failed"}},
    {"scheduled", {"-", "-", "-", "-", "-", "stopped", "-", "-"}},
    {"running", {"-", "succeeded", "failed", "failed", "queued", "stopping", "-", "-"}},
    {"stopping", {"-", "succeeded", "stopped", "stopped", "stopped", "-", "-", "-"}},
    {"succeeded", {"-", "-", "-", "-", "-", "-", "-", "-"}},
    {"failed", {"-", "-", "-", "-", "-", "-", "queued", "-"}},
    {"stopped", {"-", "-", "-", "-", "-", "-", "queued", "-"}},
};

START_TEST(states_change_by_the_table)
{
    ck_assert_str_eq(changes[_i].from, job_state_name((enum job_state)_i));
    for (int e = 0; e < JOB_EVENT_COUNT; e++) {
        struct rwf_err err = RWF_ERR_INIT;
        struct job *j = make("1", "{" SPEC "}");
        const char *to = changes[_i].to[e];
        j->state = (enum job_state)_i;
        const struct job_change c = {
            .event = (enum job_event)e, .retriable = true, .exit_code = 7, .now = 5};
        int rc = job_apply(j, &c, &err);
        ck_assert_msg((rc == 0) == (*to != '-'), "%s: %d", changes[_i].from, e);
        ck_assert_str_eq(job_state_name(j->state), rc == 0 ? to : changes[_i].from);
        ck_assert_int_eq(rc == 0, err.text[0] == '\0');
        ck_assert_int_eq(j->ended, rc == 0 && job_state_ended(j->state) ? 5 : 0);
        job_free(j);
    }
}
END_TEST

static void apply(struct job *j, enum job_event event, bool retriable, int64_t now)
{
    struct rwf_err err = RWF_ERR_INIT;
    const struct job_change c = {.event = event,
                                 .retriable = retriable,
                                 .exit_code = 1,
                                 .cause = "why",
                                 .now = now};
    ck_assert_msg(job_apply(j, &c, &err) == 0, "%s", err.text);
}

START_TEST(retries_are_used_up)
{
    struct job *j = make("1", "{" SPEC ", 'retries': 2}");
    apply(j, JOB_EVENT_START, false, 10);
    apply(j, JOB_EVENT_FAIL, true, 20);
    ck_assert_int_eq(j->state, JOB_QUEUED);
    ck_assert_int_eq(j->mode, JOB_MODE_RETRY);
    ck_assert_int_eq(j->not_before, 20 + RWF_NS_PER_S);
    apply(j, JOB_EVENT_START, false, 30);
    apply(j, JOB_EVENT_VANISH, true, 40);
    ck_assert_int_eq(j->mode, JOB_MODE_RESUME);
    ck_assert_int_eq(j->not_before, 40 + 2 * RWF_NS_PER_S);
    /* The head's own end costs none. */
    apply(j, JOB_EVENT_START, false, 50);
    apply(j, JOB_EVENT_INTERRUPT, true, 60);
    ck_assert_int_eq(j->state, JOB_QUEUED);
    ck_assert_int_eq(j->not_before, 0);
    apply(j, JOB_EVENT_START, false, 70);
    apply(j, JOB_EVENT_FAIL, true, 80);
    ck_assert_int_eq(j->state, JOB_FAILED);
    ck_assert_int_eq(j->attempt, 4);
    ck_assert_str_eq(j->cause, "why");
    apply(j, JOB_EVENT_RETRY, false, 90);
    ck_assert_int_eq(j->left, 2);
    ck_assert_int_eq(j->exit_code, -1);
    apply(j, JOB_EVENT_START, false, 100);
    apply(j, JOB_EVENT_FAIL, false, 110); /* a recipe that is wrong stays so */
    ck_assert_int_eq(j->state, JOB_FAILED);
    job_free(j);
}
END_TEST

START_TEST(a_stopped_schedule_comes_back)
{
    struct job *j = make("1", "{" SPEC ", 'schedule': '@daily'}");
    ck_assert_int_eq(j->state, JOB_SCHEDULED);
    apply(j, JOB_EVENT_STOP, false, 10);
    apply(j, JOB_EVENT_RETRY, false, 20);
    ck_assert_int_eq(j->state, JOB_SCHEDULED);
    job_free(j);
}
END_TEST

START_TEST(a_record_is_the_job)
{
    struct job *j = make("20261128-1", "{" SPEC ", 'retries': 3, 'priority': -2, "
                                       "'env': {'TOKEN': 'hidden'}, 'needs': ['1']}");
    apply(j, JOB_EVENT_START, false, 10);
    apply(j, JOB_EVENT_FAIL, true, 20);
    j->parent = rwf_xstrdup("2");
    json_t *record = job_json(j), *again, *shown = job_shown(j);
    struct job *k = job_parse(record);
    ck_assert_ptr_nonnull(k);
    again = job_json(k);
    ck_assert(json_equal(record, again));
    char *text = json_dumps(shown, 0);
    ck_assert_ptr_null(strstr(text, "hidden"));
    ck_assert_ptr_nonnull(strstr(text, "TOKEN"));
    free(text);
    json_object_set_new(record, "state", json_string("flying"));
    ck_assert_ptr_null(job_parse(record));
    json_decref(record);
    json_decref(again);
    json_decref(shown);
    job_free(j);
    job_free(k);
}
END_TEST

static const struct {
    const char *id, *spec, *text;
} bad_specs[] = {
    {"../x", "{" SPEC "}", "is no id"},
    {"", "{" SPEC "}", "is no id"},
    {"a1", "{" SPEC "}", "is no id"},
    {"1", "{'name': '', 'recipe': 'r', 'digest': '" DIGEST "'}", "name"},
    {"1", "{'name': 'n', 'recipe': '../r', 'digest': '" DIGEST "'}",
     "no path in the bundle"},
    {"1", "{'name': 'n', 'recipe': '/r', 'digest': '" DIGEST "'}",
     "no path in the bundle"},
    {"1", "{'name': 'n', 'recipe': 'r', 'digest': '../../x'}", "digest"},
    {"1", "{" SPEC ", 'retries': -1}", "retries"},
    {"1", "{" SPEC ", 'priority': 'high'}", "priority"},
    {"1", "{" SPEC ", 'args': 'x'}", "args, needs and secrets"},
    {"1", "{" SPEC ", 'needs': [1]}", "args, needs and secrets"},
    {"1", "{" SPEC ", 'env': {'A=B': 'x'}}", "env"},
    {"1", "{" SPEC ", 'env': ['A']}", "env"},
    {"1", "{" SPEC ", 'schedule': 'often'}", "schedule 'often'"},
};

START_TEST(bad_specs_are_told)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *spec = parse(bad_specs[_i].spec);
    ck_assert_ptr_null(job_create(bad_specs[_i].id, spec, 0, &err));
    ck_assert_int_eq(err.code, RWF_E_USAGE);
    ck_assert_msg(strstr(err.text, bad_specs[_i].text) != NULL, "%s", err.text);
    json_decref(spec);
}
END_TEST

/* --- the queue --- */

static void add(struct job_list *l, const char *id, const char *spec,
                enum job_state state)
{
    struct job *j = make(id, spec);
    j->state = state;
    j->created = (int64_t)l->count;
    *RWF_PUSH(l->items, l->count, l->cap) = j;
}

static void clear(struct job_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        job_free(l->items[i]);
    free(l->items);
}

START_TEST(the_queue_decides)
{
    struct job_list l = {0};
    const char *need = NULL;
    add(&l, "1", "{" SPEC "}", JOB_RUNNING);
    add(&l, "2", "{" SPEC "}", JOB_QUEUED);
    add(&l, "3", "{" SPEC ", 'priority': 1, 'needs': ['1']}", JOB_QUEUED);
    add(&l, "4", "{" SPEC ", 'priority': 2}", JOB_QUEUED);
    add(&l, "5", "{" SPEC "}", JOB_QUEUED);
    l.items[3]->not_before = 100;
    ck_assert_ptr_null(job_next(&l, 1, 0));
    ck_assert_str_eq(job_next(&l, 2, 0)->id, "2");
    ck_assert_str_eq(job_next(&l, 2, 100)->id, "4");
    ck_assert_int_eq(job_wake(&l, 0), 100);
    ck_assert_int_eq(job_wake(&l, 100), INT64_MAX);
    ck_assert_ptr_eq(job_needed_by(&l, l.items[0]), l.items[2]);
    ck_assert_ptr_null(job_needed_by(&l, l.items[1]));
    ck_assert_ptr_null(job_hopeless(&l, &need));
    l.items[0]->state = JOB_SUCCEEDED;
    ck_assert_str_eq(job_next(&l, 2, 0)->id, "3");
    l.items[0]->state = JOB_STOPPED;
    ck_assert_ptr_eq(job_hopeless(&l, &need), l.items[2]);
    ck_assert_str_eq(need, "1");
    clear(&l);
}
END_TEST

START_TEST(jobs_are_found_by_pieces_and_names)
{
    struct job_list l = {0};
    struct rwf_err err = RWF_ERR_INIT;
    add(&l, "2026-aa1", "{" SPEC "}", JOB_SUCCEEDED);
    add(&l, "2026-ab2", "{" SPEC "}", JOB_QUEUED);
    ck_assert_str_eq(job_resolve(&l, "2026-aa1", &err)->id, "2026-aa1");
    ck_assert_str_eq(job_resolve(&l, "aa1", &err)->id, "2026-aa1");
    ck_assert_str_eq(job_resolve(&l, "2026-ab", &err)->id, "2026-ab2");
    ck_assert_str_eq(job_resolve(&l, "n", &err)->id, "2026-ab2");
    ck_assert_str_eq(job_resolve_open(&l, "n", &err)->id, "2026-ab2");
    l.items[0]->state = JOB_SCHEDULED;
    l.items[1]->state = JOB_SUCCEEDED;
    ck_assert_str_eq(job_resolve(&l, "n", &err)->id, "2026-ab2");
    ck_assert_str_eq(job_resolve_open(&l, "n", &err)->id, "2026-aa1");
    ck_assert_str_eq(job_resolve_open(&l, "2026-ab2", &err)->id, "2026-ab2");
    l.items[0]->state = JOB_FAILED;
    ck_assert_str_eq(job_resolve_open(&l, "n", &err)->id, "2026-ab2");
    ck_assert_ptr_null(job_resolve_open(&l, "x", &err));
    ck_assert_ptr_null(job_resolve(&l, "2026", &err));
    ck_assert_ptr_nonnull(strstr(err.text, "of 2 jobs"));
    ck_assert_ptr_null(job_resolve(&l, "", &err));
    ck_assert_ptr_null(job_resolve(&l, "x", &err));
    ck_assert_int_eq(err.code, RWF_E_NORUN);
    clear(&l);
}
END_TEST

START_TEST(a_schedule_has_few_children)
{
    struct job_list l = {0};
    add(&l, "1", "{" SPEC ", 'schedule': '@daily'}", JOB_SCHEDULED);
    for (int i = 0; i < 3; i++) {
        char id[] = {(char)('2' + i), '\0'};
        add(&l, id, "{" SPEC "}", JOB_SUCCEEDED);
        l.items[l.count - 1]->parent = rwf_xstrdup("1");
    }
    ck_assert_ptr_null(job_child_active(&l, l.items[0]));
    ck_assert_ptr_null(job_child_old(&l, l.items[0], 3));
    ck_assert_str_eq(job_child_old(&l, l.items[0], 2)->id, "2");
    l.items[1]->state = JOB_RUNNING;
    ck_assert_str_eq(job_child_active(&l, l.items[0])->id, "2");
    ck_assert_ptr_null(job_child_old(&l, l.items[0], 2));
    clear(&l);
}
END_TEST

/* --- the log --- */

static char home[] = "/tmp/check_job.XXXXXX";

static void set_up(void)
{
    strcpy(home + strlen(home) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(home));
}

static void tear_down(void)
{
    ck_assert_int_eq(rwf_fs_rmtree(home, NULL), 0);
}

static int files(void)
{
    DIR *d = opendir(home);
    int n = -2;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

START_TEST(a_log_is_read_as_it_was_written)
{
    struct rwf_err err = RWF_ERR_INIT;
    char got[64] = "";
    int64_t from = 0, n, total = 0;
    struct job_log *l = job_log_open(home, 10, &err);
    ck_assert_int_eq(job_log_read(home, &from, got, sizeof(got), &err), 0);
    ck_assert_int_eq(job_log_add(l, "0123456789abcdefghijklmno\n", 26, &err), 0);
    job_log_close(l);
    l = job_log_open(home, 10, &err);
    ck_assert_int_eq(job_log_add(l, "last\n", 5, &err), 0);
    ck_assert_int_eq(files(), 4);
    while ((n = job_log_read(home, &from, got + total, 7, &err)) > 0) {
        ck_assert_int_eq(from, total);
        from += n;
        total += n;
    }
    ck_assert_str_eq(got, "0123456789abcdefghijklmno\nlast\n");
    ck_assert_int_eq(job_log_tail(home, 1), 26);
    ck_assert_int_eq(job_log_tail(home, 2), 0);
    ck_assert_int_eq(job_log_tail(home, 9), 0);
    ck_assert_int_eq(job_log_tail(home, 0), 31);
    job_log_close(l);
}
END_TEST

START_TEST(a_log_is_bounded)
{
    char line[] = "0123456\n", got[16];
    struct job_log *l = job_log_open(home, 8, NULL);
    int64_t from = 0;
    for (int i = 0; i < 100; i++) {
        line[0] = (char)('0' + i % 10);
        ck_assert_int_eq(job_log_add(l, line, 8, NULL), 0);
    }
    ck_assert_int_eq(files(), JOB_LOG_FILES);
    /* Who asks for what is gone gets the oldest that is left, and where that is. */
    ck_assert_int_eq(job_log_read(home, &from, got, 1, NULL), 1);
    ck_assert_int_eq(from, 8 * (100 - JOB_LOG_FILES));
    ck_assert_int_eq(got[0], '0' + (100 - JOB_LOG_FILES) % 10);
    ck_assert_int_eq(job_log_tail(home, 2), 8 * 98);
    job_log_close(l);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("job");
    TCase *t = tcase_create("job"), *logs = tcase_create("log");
    tcase_add_loop_test(t, cron_fires, 0, RWF_COUNT(fires));
    tcase_add_loop_test(t, bad_crons_are_told, 0, RWF_COUNT(bad_crons));
    tcase_add_loop_test(t, states_change_by_the_table, 0, RWF_COUNT(changes));
    tcase_add_test(t, retries_are_used_up);
    tcase_add_test(t, a_stopped_schedule_comes_back);
    tcase_add_test(t, a_record_is_the_job);
    tcase_add_loop_test(t, bad_specs_are_told, 0, RWF_COUNT(bad_specs));
    tcase_add_test(t, the_queue_decides);
    tcase_add_test(t, jobs_are_found_by_pieces_and_names);
    tcase_add_test(t, a_schedule_has_few_children);
    suite_add_tcase(s, t);
    tcase_add_checked_fixture(logs, set_up, tear_down);
    tcase_add_test(logs, a_log_is_read_as_it_was_written);
    tcase_add_test(logs, a_log_is_bounded);
    suite_add_tcase(s, logs);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
