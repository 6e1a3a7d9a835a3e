/* SPDX-License-Identifier: Apache-2.0
 *
 * Actors, streams and nested tasks, all of it for real: each test starts a session of
 * its own. Waiting has a limit of 60 s, which only a hang reaches.
 */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "native/client.h"
#include "native/raywf.h"

#define LONG (300 * RAYWF_S)

static struct raywf_error err;
static char plugin[4096];

static void open_session(double cpu)
{
    const struct raywf_options o = {
        .address = "", .cpu = cpu, .store = (int64_t)64 << 20};

    ck_assert_msg(raywf_init(&o, &err) == 0, "%s", err.text);
}

static void setup(void)
{
    open_session(8);
}

static void teardown(void)
{
    raywf_shutdown();
}

static struct raywf_actor *create(const struct raywf_actor_options *o, int64_t start)
{
    struct raywf_actor *a = raywf_actor_create(
        plugin, "Counter", o, RAYWF_ARGS(RAYWF_BYTES(&start, sizeof(start))), &err);

    ck_assert_msg(a, "%s", err.text);
    return a;
}

static struct raywf_ref call(struct raywf_actor *a, const char *method,
                             const struct raywf_call_options *o, int64_t n)
{
    struct raywf_ref ref;

    ck_assert_msg(raywf_actor_call(a, method, o, RAYWF_ARGS(RAYWF_BYTES(&n, sizeof(n))),
                                   &ref, &err) == 0,
                  "%s", err.text);
    return ref;
}

static int64_t number(struct raywf_ref ref)
{
    int64_t n;

    ck_assert_msg(raywf_get_copy(ref, LONG, &n, sizeof(n), &err) == 0, "%s", err.text);
    raywf_drop(ref);
    return n;
}

static void fails(struct raywf_ref ref, int code, const char *text)
{
    struct raywf_value v;

    ck_assert_int_eq(raywf_get(ref, LONG, &v, &err), -1);
    ck_assert_msg(err.code == code && strstr(err.text, text),
                  "wanted %d with '%s', got %d: %s", code, text, err.code, err.text);
    raywf_drop(ref);
}

static struct raywf_ref submit(const char *function, const struct raywf_task_options *o,
                               uint64_t n)
{
    struct raywf_task *t = raywf_task(plugin, function, o, &err);
    struct raywf_ref ref;

    ck_assert_msg(t, "%s", err.text);
    ck_assert_msg(raywf_submit(t, RAYWF_ARGS(RAYWF_BYTES(&n, sizeof(n))), &ref, &err) ==
                      0,
                  "%s", err.text);
    return ref;
}

/* --- actors --- */

START_TEST(in_order)
{
    enum { COUNT = 5000 };
    static struct raywf_ref refs[COUNT];
    struct raywf_actor *a = create(NULL, 10);

    for (int i = 0; i < COUNT; i++)
        refs[i] = call(a, "add", NULL, 1);
    for (int i = 0; i < COUNT; i++)
        ck_assert_int_eq(number(refs[i]), 11 + i);
    raywf_actor_release(a);
}
END_TEST

/* A call keeps its place while its arguments are made. */
START_TEST(in_order_with_pending_arguments)
{
    struct raywf_actor *a = create(NULL, 0);
    struct raywf_task *later = raywf_task(plugin, "later", NULL, &err);
    const uint64_t ms = 200;
    const int64_t ten = 10;
    struct raywf_ref slow, first, failed;

    ck_assert_int_eq(raywf_submit(later,
                                  RAYWF_ARGS(RAYWF_BYTES(&ms, sizeof(ms)),
                                             RAYWF_BYTES(&ten, sizeof(ten))),
                                  &slow, &err),
                     0);
    ck_assert_int_eq(
        raywf_actor_call(a, "add", NULL, RAYWF_ARGS(RAYWF_REF(slow)), &first, &err), 0);
    struct raywf_ref second = call(a, "add", NULL, 1);
    /* One whose argument fails does not hold up the others. */
    struct raywf_ref bad = submit("fail", NULL, 0);
    ck_assert_int_eq(
        raywf_actor_call(a, "add", NULL, RAYWF_ARGS(RAYWF_REF(bad)), &failed, &err), 0);
    struct raywf_ref third = call(a, "add", NULL, 1);
    ck_assert_int_eq(number(second), 11);
    ck_assert_int_eq(number(first), 10);
    fails(failed, RAYWF_E_FAILED, "the answer is 42");
    ck_assert_int_eq(number(third), 12);
    raywf_drop(slow);
    raywf_drop(bad);
    raywf_actor_release(a);
}
END_TEST

START_TEST(errors_of_creation)
{
    struct raywf_actor *a = create(NULL, -5);
    struct raywf_ref ref = call(a, "get", NULL, 0);

    fails(ref, RAYWF_E_FAILED, "cannot start below zero (-5)");
    fails(call(a, "get", NULL, 0), RAYWF_E_FAILED, "cannot start below zero (-5)");
    raywf_actor_release(a);
    a = create(NULL, 666);
    fails(call(a, "get", NULL, 0), RAYWF_E_ACTOR, "SIGABRT");
    raywf_actor_release(a);
    a = raywf_actor_create(plugin, "Couter", NULL, RAYWF_NO_ARGS, &err);
    ck_assert_msg(a, "%s", err.text);
    ck_assert_int_eq(raywf_actor_call(a, "get", NULL, RAYWF_NO_ARGS, &ref, &err), 0);
    fails(ref, RAYWF_E_FAILED, "did you mean 'Counter'?");
    raywf_actor_release(a);
    a = raywf_actor_create("/no/such.so", "Counter", NULL, RAYWF_NO_ARGS, &err);
    ck_assert_msg(a, "%s", err.text);
    ck_assert_int_eq(raywf_actor_call(a, "get", NULL, RAYWF_NO_ARGS, &ref, &err), 0);
    fails(ref, RAYWF_E_FAILED, "/no/such.so");
    raywf_actor_release(a);
    ck_assert_ptr_null(raywf_actor_create("", "Counter", NULL, RAYWF_NO_ARGS, &err));
    ck_assert_int_eq(err.code, RAYWF_E_ARGUMENT);
}
END_TEST

START_TEST(constructor_never_returns)
{
    const struct raywf_actor_options o = {.start_timeout = 300 * RAYWF_MS};
    struct raywf_actor *a = create(&o, 667);

    fails(call(a, "get", NULL, 0), RAYWF_E_ACTOR, "not ready within");
    raywf_actor_release(a);
}
END_TEST

START_TEST(errors_of_calls)
{
    struct raywf_actor *a = create(NULL, 0);

    fails(call(a, "ad", NULL, 0), RAYWF_E_PLUGIN, "did you mean 'add'?");
    fails(call(a, "fail", NULL, 0), RAYWF_E_FAILED, "the answer is 42");
    ck_assert_int_eq(number(call(a, "add", NULL, 3)), 3);
    raywf_actor_release(a);
}
END_TEST

START_TEST(names)
{
    struct raywf_actor_options o = {.name = "bob"};
    struct raywf_actor *a = create(&o, 1);

    ck_assert_ptr_null(raywf_actor_create(plugin, "Counter", &o, RAYWF_NO_ARGS, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "bob"));
    struct raywf_actor *b = raywf_actor_find("bob", &err);
    ck_assert_msg(b, "%s", err.text);
    o.get_if_exists = true;
    struct raywf_actor *c = create(&o, 1000);
    ck_assert_int_eq(number(call(a, "add", NULL, 1)), 2);
    ck_assert_int_eq(number(call(b, "add", NULL, 1)), 3);
    ck_assert_int_eq(number(call(c, "add", NULL, 1)), 4);
    ck_assert_ptr_null(raywf_actor_find("bobby", &err));
    ck_assert_ptr_nonnull(strstr(err.text, "bobby"));
    o = (struct raywf_actor_options){.detached = true};
    ck_assert_ptr_null(raywf_actor_create(plugin, "Counter", &o, RAYWF_NO_ARGS, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "needs a name"));
    raywf_actor_release(a);
    raywf_actor_release(b);
    raywf_actor_release(c);
}
END_TEST

/* What may have run fails; what had not begun goes on after the restart. */
START_TEST(at_most_once)
{
    const struct raywf_actor_options o = {.max_restarts = 1, .backoff = RAYWF_MS};
    struct raywf_actor *a = create(&o, 100);
    int64_t pid = number(call(a, "pid", NULL, 0));
    struct raywf_ref before = call(a, "add", NULL, 1);
    struct raywf_ref culprit = call(a, "crash", NULL, 0);
    struct raywf_ref after = call(a, "add", NULL, 2);
    struct raywf_ref last = call(a, "add", NULL, 2);

    ck_assert_int_eq(number(before), 101);
    fails(culprit, RAYWF_E_ACTOR, "may or may not have run");
    ck_assert_int_eq(number(after), 102); /* the constructor ran again */
    ck_assert_int_eq(number(last), 104);
    ck_assert_int_ne(number(call(a, "pid", NULL, 0)), pid);
    /* It was its only restart. */
    fails(call(a, "crash", NULL, 0), RAYWF_E_ACTOR, "SIGKILL");
    fails(call(a, "add", NULL, 0), RAYWF_E_ACTOR, "SIGKILL");
    raywf_actor_release(a);
}
END_TEST

START_TEST(idempotent)
{
    const struct raywf_actor_options o = {.max_restarts = -1, .backoff = RAYWF_MS};
    const struct raywf_call_options again = {.idempotent = true, .retries = 2};
    const struct raywf_call_options once_more = {.idempotent = true, .retries = 1};
    struct raywf_actor *a = create(&o, 0);

    struct raywf_ref ref = call(a, "third_time", &again, 0);
    struct raywf_ref behind = call(a, "add", NULL, 5);
    ck_assert_int_eq(number(ref), 3);
    ck_assert_int_eq(number(behind), 5);
    fails(call(a, "third_time", &once_more, 0), RAYWF_E_ACTOR, "SIGKILL");
    ck_assert_int_eq(number(call(a, "add", NULL, 6)), 6);
    raywf_actor_release(a);
}
END_TEST

START_TEST(killed)
{
    const struct raywf_actor_options o = {.max_restarts = 5, .backoff = RAYWF_MS};
    struct raywf_actor *a = create(&o, 7);

    ck_assert_int_eq(number(call(a, "add", NULL, 1)), 8);
    struct raywf_ref running = call(a, "deaf", NULL, 0);
    ck_assert_int_eq(raywf_actor_kill(a, true, &err), 0);
    /* Whether it had begun yet or not: if not, it begins in the next life. */
    struct raywf_value v;
    if (raywf_get(running, 2 * RAYWF_S, &v, &err) < 0 && err.code == RAYWF_E_TIMEOUT) {
        ck_assert_int_eq(raywf_actor_kill(a, true, &err), 0);
        fails(running, RAYWF_E_ACTOR, "");
    } else {
        ck_assert_int_eq(err.code, RAYWF_E_ACTOR);
        raywf_drop(running);
    }
    ck_assert_int_eq(number(call(a, "add", NULL, 1)), 8);
    ck_assert_int_eq(raywf_actor_kill(a, false, &err), 0);
    fails(call(a, "deaf", NULL, 1), RAYWF_E_ACTOR, "");
    raywf_actor_release(a);
}
END_TEST

START_TEST(call_timeout)
{
    const struct raywf_actor_options o = {.max_restarts = 1, .backoff = RAYWF_MS};
    const struct raywf_call_options short_ = {.timeout = 200 * RAYWF_MS};
    struct raywf_actor *a = create(&o, 0);

    fails(call(a, "deaf", &short_, 0), RAYWF_E_TIMEOUT, "0.2 s");
    ck_assert_int_eq(number(call(a, "add", NULL, 1)), 1);
    raywf_actor_release(a);
}
END_TEST

START_TEST(max_pending)
{
    const struct raywf_actor_options o = {.max_pending = 3};
    struct raywf_actor *a = create(&o, 0);
    struct raywf_ref refs[3], ref;

    for (int i = 0; i < 3; i++)
        refs[i] = call(a, "nap", NULL, i == 0 ? 3000 : 0);
    ck_assert_int_eq(raywf_actor_call(a, "add", NULL, RAYWF_NO_ARGS, &ref, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "max_pending"));
    ck_assert_int_eq(raywf_wait(refs, 3, 3, LONG, NULL, &err), 3);
    ck_assert_int_eq(number(call(a, "add", NULL, 1)), 1);
    for (int i = 0; i < 3; i++)
        raywf_drop(refs[i]);
    raywf_actor_release(a);
}
END_TEST

/* It ends with its last handle, after the calls that were made. */
START_TEST(released)
{
    const struct raywf_actor_options o = {.name = "short"};
    struct raywf_actor *a = create(&o, 0);
    struct raywf_ref nap = call(a, "nap", NULL, 100);
    struct raywf_ref sum = call(a, "add", NULL, 4);
    const int64_t deadline = rwf_clock_mono() + LONG;
    const struct timespec pause = {.tv_nsec = 10000000};

    raywf_actor_release(a);
    ck_assert_int_eq(number(sum), 4);
    raywf_drop(nap);
    while ((a = raywf_actor_find("short", &err))) {
        raywf_actor_release(a);
        ck_assert_msg(rwf_clock_mono() < deadline, "it lives on");
        nanosleep(&pause, NULL);
    }
}
END_TEST

/* Each of them is a process: they must go with their handles. */
START_TEST(many_actors)
{
    const struct raywf_actor_options o = {.resources = {.cpu = 0.01}};
    enum { COUNT = 12 };
    struct raywf_actor *a[COUNT];

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++)
            a[i] = create(&o, i);
        for (int i = 0; i < COUNT; i++)
            ck_assert_int_eq(number(call(a[i], "add", NULL, 1)), i + 1);
        for (int i = 0; i < COUNT; i++)
            raywf_actor_release(a[i]);
    }
}
END_TEST

START_TEST(large_arguments)
{
    struct raywf_actor *a = create(NULL, 0);
    const size_t size = 5000000;
    char *data = rwf_xmalloc(size);
    struct raywf_ref ref, put;
    struct raywf_value v;

    memset(data, 'x', size);
    data[size - 1] = 'y';
    ck_assert_int_eq(raywf_put(data, size, &put, &err), 0);
    ck_assert_int_eq(
        raywf_actor_call(a, "echo", NULL, RAYWF_ARGS(RAYWF_REF(put)), &ref, &err), 0);
    ck_assert_msg(raywf_get(ref, LONG, &v, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(v.size, size);
    ck_assert_int_eq(memcmp(v.data, data, size), 0);
    raywf_release(&v);
    raywf_drop(ref);
    raywf_drop(put);
    free(data);
    raywf_actor_release(a);
}
END_TEST

/* --- streams --- */

static const struct raywf_task_options streamed = {.returns = RAYWF_STREAM};

/* Takes the values 0 to n - 1 of it. */
static void read_count(struct raywf_ref stream, int64_t n)
{
    struct raywf_ref ref;

    for (int64_t i = 0; i < n; i++) {
        ck_assert_msg(raywf_next(stream, LONG, &ref, &err) == 1, "%s", err.text);
        ck_assert_int_eq(number(ref), i);
    }
}

START_TEST(stream)
{
    struct raywf_ref s = submit("count", &streamed, 10000), ref;

    read_count(s, 10000);
    ck_assert_int_eq(raywf_next(s, LONG, &ref, &err), 0);
    ck_assert_int_eq(raywf_next(s, LONG, &ref, &err), 0);
    raywf_drop(s);
    s = submit("count", &streamed, 0);
    ck_assert_int_eq(raywf_next(s, LONG, &ref, &err), 0);
    raywf_drop(s);
    s = submit("yields_then_fails", &streamed, 0);
    ck_assert_int_eq(raywf_next(s, LONG, &ref, &err), 1);
    ck_assert_int_eq(number(ref), 1);
    ck_assert_int_eq(raywf_next(s, LONG, &ref, &err), -1);
    ck_assert_int_eq(err.code, RAYWF_E_FAILED);
    ck_assert_ptr_nonnull(strstr(err.text, "no more"));
    raywf_drop(s);
    s = submit("nap", &streamed, 2000);
    ck_assert_int_eq(raywf_next(s, 0, &ref, &err), -1);
    ck_assert_int_eq(err.code, RAYWF_E_TIMEOUT);
    ck_assert_int_eq(raywf_next(s, LONG, &ref, &err), 0);
    raywf_drop(s);
    s = submit("noop", NULL, 0);
    ck_assert_int_eq(raywf_next(s, LONG, &ref, &err), -1);
    ck_assert_int_eq(err.code, RAYWF_E_ARGUMENT);
    raywf_drop(s);
}
END_TEST

START_TEST(stream_of_little_credit)
{
    const struct raywf_task_options o = {.returns = RAYWF_STREAM, .credit = 1};
    struct raywf_ref s = submit("count", &o, 300), ref;

    read_count(s, 300);
    ck_assert_int_eq(raywf_next(s, LONG, &ref, &err), 0);
    raywf_drop(s);
}
END_TEST

/* Each value once, although its worker died half way. */
START_TEST(stream_again)
{
    struct raywf_ref s = submit("count_crash", &streamed, 1000), ref;

    read_count(s, 1000);
    ck_assert_int_eq(raywf_next(s, LONG, &ref, &err), 0);
    raywf_drop(s);
}
END_TEST

/* Nobody can read it any more: its worker is free for others. */
START_TEST(stream_dropped)
{
    struct raywf_ref ref;

    for (int i = 0; i < 3; i++) {
        struct raywf_ref s = submit("flow", &streamed, 0);
        ck_assert_msg(raywf_next(s, LONG, &ref, &err) == 1, "%s", err.text);
        raywf_drop(ref);
        raywf_drop(s);
    }
    ck_assert_int_eq(number(submit("attempt", NULL, 0)), 1);
}
END_TEST

START_TEST(stream_of_an_actor)
{
    const struct raywf_call_options o = {.returns = RAYWF_STREAM};
    struct raywf_actor *a = create(NULL, 0);
    struct raywf_ref s = call(a, "count", &o, 1000), ref;
    struct raywf_ref behind = call(a, "add", NULL, 2);

    read_count(s, 1000);
    ck_assert_int_eq(raywf_next(s, LONG, &ref, &err), 0);
    ck_assert_int_eq(number(behind), 2);
    raywf_drop(s);
    raywf_actor_release(a);
}
END_TEST

/* --- nested --- */

/* Two CPUs for a tree of calls that all wait for others. */
START_TEST(nested)
{
    ck_assert_int_eq(number(submit("fib", NULL, 7)), 13);
}
END_TEST

static void setup_narrow(void)
{
    open_session(2);
}

static void setup_single(void)
{
    open_session(1);
}

int main(void)
{
    Suite *s = suite_create("actor");
    TCase *t = tcase_create("actors"), *streams = tcase_create("streams"),
          *narrow = tcase_create("narrow");
    SRunner *r = srunner_create(s);

    snprintf(plugin, sizeof(plugin), "%s/tests/unit/plugins/work.so",
             getenv("abs_top_builddir"));
    setenv("WORK_PLUGIN", plugin, 1);
    setenv("RAYWF_BIN", getenv("RAYWF"), 1);
    suite_add_tcase(s, t);
    tcase_set_timeout(t, 240);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, in_order);
    tcase_add_test(t, in_order_with_pending_arguments);
    tcase_add_test(t, errors_of_creation);
    tcase_add_test(t, constructor_never_returns);
    tcase_add_test(t, errors_of_calls);
    tcase_add_test(t, names);
    tcase_add_test(t, at_most_once);
    tcase_add_test(t, idempotent);
    tcase_add_test(t, killed);
    tcase_add_test(t, call_timeout);
    tcase_add_test(t, max_pending);
    tcase_add_test(t, released);
    tcase_add_test(t, many_actors);
    tcase_add_test(t, large_arguments);
    suite_add_tcase(s, streams);
    tcase_set_timeout(streams, 240);
    tcase_add_checked_fixture(streams, setup_single, teardown);
    tcase_add_test(streams, stream);
    tcase_add_test(streams, stream_of_little_credit);
    tcase_add_test(streams, stream_again);
    tcase_add_test(streams, stream_dropped);
    tcase_add_test(streams, stream_of_an_actor);
    suite_add_tcase(s, narrow);
    tcase_set_timeout(narrow, 240);
    tcase_add_checked_fixture(narrow, setup_narrow, teardown);
    tcase_add_test(narrow, nested);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
