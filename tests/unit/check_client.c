/* SPDX-License-Identifier: Apache-2.0
 *
 * The client against a node and workers that the test plays (native_rig.h): results,
 * dependencies, deaths, retries, epochs, cancelling, time-outs, refusal, lineage, loss
 * of the node.
 */
#include "config.h"
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "native/client.h"
#include "native/internal.h"
#include "native_rig.h"

#define WAIT (300 * RAYWF_S) /* only a test that fails waits so long */

static struct rig rig;
static struct raywf_error err;

static void start(void)
{
    rig_start(&rig);
    ck_assert_msg(native_client_open(rig.peer_fd, NULL, &err) == 0, "%s", err.text);
}

static void stop(void)
{
    raywf_shutdown();
    rig_stop(&rig);
}

#define ok(call) ck_assert_msg((call) == 0, "%s", err.text)

static struct raywf_task *task_of(const char *function,
                                  const struct raywf_task_options *o)
{
    struct raywf_task *t = raywf_task("/plugin.so", function, o, &err);
    ck_assert_msg(t != NULL, "%s", err.text);
    return t;
}

static void submit(struct raywf_task *t, const struct raywf_arg *args, size_t n,
                   struct raywf_ref *ret)
{
    ok(raywf_submit(t, args, n, ret, &err));
}

static int64_t number(struct raywf_ref ref)
{
    int64_t ret = -1;
    ok(raywf_get_copy(ref, WAIT, &ret, sizeof(ret), &err));
    return ret;
}

static void fails(struct raywf_ref ref, int code, const char *text)
{
    struct raywf_value v;
    ck_assert_int_eq(raywf_get(ref, WAIT, &v, &err), -1);
    ck_assert_msg(err.code == code, "code %d, text %s", err.code, err.text);
    ck_assert_msg(strstr(err.text, text) != NULL, "'%s' is not in: %s", text, err.text);
}

/* --- values --- */

START_TEST(put_and_get)
{
    static const size_t sizes[] = {0, 1, 16, 17, 4096, 32768, 32769, 3000000};
    start();
    for (size_t i = 0; i < RWF_COUNT(sizes); i++) {
        size_t n = sizes[i];
        char *bytes = malloc(n + 1);
        for (size_t k = 0; k < n; k++)
            bytes[k] = (char)(k * 31 + i);
        struct raywf_ref ref;
        struct raywf_value a, b;
        ok(raywf_put(bytes, n, &ref, &err));
        ok(raywf_get(ref, 0, &a, &err));
        ok(raywf_get(ref, 0, &b, &err));
        ck_assert_uint_eq(a.size, n);
        ck_assert_ptr_eq(a.data, b.data);
        ck_assert_int_eq(memcmp(a.data, bytes, n), 0);
        raywf_drop(ref); /* in place until released */
        ck_assert_int_eq(memcmp(a.data, bytes, n), 0);
        raywf_release(&a);
        raywf_release(&b);
        ck_assert_int_eq(raywf_get(ref, 0, &a, &err), -1);
        ck_assert_int_eq(err.code, RAYWF_E_ARGUMENT);
        free(bytes);
    }
    struct store_stats stats;
    store_stats(rig.store, &stats);
    ck_assert_uint_eq(stats.objects, 0);
    stop();
}
END_TEST

START_TEST(create_and_seal)
{
    static const size_t sizes[] = {8, 20000, 100000};
    start();
    for (size_t i = 0; i < RWF_COUNT(sizes); i++) {
        struct raywf_ref ref;
        char *to = raywf_create(sizes[i], &ref, &err);
        ck_assert(to != NULL);
        memset(to, 'x', sizes[i]);
        struct raywf_value v;
        ck_assert_int_eq(raywf_get(ref, 0, &v, &err), -1);
        ck_assert_int_eq(err.code, RAYWF_E_TIMEOUT);
        ok(raywf_seal(ref, &err));
        ck_assert_int_eq(raywf_seal(ref, &err), -1);
        ok(raywf_get(ref, 0, &v, &err));
        ck_assert_uint_eq(v.size, sizes[i]);
        ck_assert_int_eq(((const char *)v.data)[sizes[i] - 1], 'x');
        raywf_release(&v);
        raywf_drop(ref);
    }
    struct raywf_ref ref;
    ck_assert(raywf_create(100000, &ref, &err) != NULL);
    raywf_drop(ref); /* never sealed */
    struct store_stats stats;
    store_stats(rig.store, &stats);
    ck_assert_uint_eq(stats.objects, 0);
    stop();
}
END_TEST

/* --- calls --- */

START_TEST(echo)
{
    start();
    struct raywf_task *t = task_of("echo", NULL);
    for (int64_t i = 0; i < 1000; i++) {
        struct raywf_ref ref;
        submit(t, RAYWF_ARGS(RAYWF_BYTES(&i, sizeof(i))), &ref);
        ck_assert_int_eq(number(ref), i);
        raywf_drop(ref);
    }
    stop();
}
END_TEST

START_TEST(batch)
{
    enum { N = 20000 };
    static struct raywf_ref refs[N];
    start();
    struct raywf_task *t = task_of("echo", NULL);
    for (int round = 0; round < 3; round++) {
        for (int64_t i = 0; i < N; i++)
            submit(t, RAYWF_ARGS(RAYWF_BYTES(&i, sizeof(i))), &refs[i]);
        ck_assert_int_eq(raywf_wait(refs, N, N, WAIT, NULL, &err), N);
        for (int64_t i = 0; i < N; i++) {
            ck_assert_int_eq(number(refs[i]), i);
            raywf_drop(refs[i]);
        }
    }
    stop();
}
END_TEST

START_TEST(dropped_before_done)
{
    start();
    struct raywf_task *t = task_of("echo", NULL);
    for (int64_t i = 0; i < 5000; i++) {
        struct raywf_ref ref;
        submit(t, RAYWF_ARGS(RAYWF_BYTES(&i, sizeof(i))), &ref);
        raywf_drop(ref);
    }
    int64_t last = 7;
    struct raywf_ref ref;
    submit(t, RAYWF_ARGS(RAYWF_BYTES(&last, sizeof(last))), &ref);
    ck_assert_int_eq(number(ref), 7);
    while (atomic_load(&rig.done) < 5001) /* two workers: the others are on their way */
        raywf_wait(&ref, 1, 0, 0, NULL, &err);
    stop();
}
END_TEST

START_TEST(dependencies)
{
    start();
    struct raywf_task *echo_ = task_of("echo", NULL), *sum = task_of("sum", NULL);
    struct raywf_ref chain, next, big, total;
    unsigned char one = 1;
    submit(echo_, RAYWF_ARGS(RAYWF_BYTES(&one, 1)), &chain);
    for (int i = 0; i < 200; i++) {
        submit(echo_, RAYWF_ARGS(RAYWF_REF(chain)), &next);
        raywf_drop(chain); /* the task holds it */
        chain = next;
    }
    char *bytes = calloc(1, 100000);
    bytes[0] = 5;
    ok(raywf_put(bytes, 100000, &big, &err));
    /* By value and too large for a frame: goes through the store. */
    submit(sum,
           RAYWF_ARGS(RAYWF_REF(chain), RAYWF_REF(big), RAYWF_BYTES(bytes, 100000),
                      RAYWF_BYTES(&one, 1)),
           &total);
    free(bytes);
    ck_assert_int_eq(number(total), 1 + 5 + 5 + 1);
    raywf_drop(chain);
    raywf_drop(big);
    raywf_drop(total);
    struct store_stats stats;
    store_stats(rig.store, &stats);
    ck_assert_uint_eq(stats.objects, 0);
    stop();
}
END_TEST

/* The error of an argument is the error of the call, however long the chain. */
START_TEST(errors_travel)
{
    enum { N = 50000 };
    static struct raywf_ref refs[N];
    start();
    rig.hold = true;
    submit(task_of("fail", NULL), RAYWF_NO_ARGS, &refs[0]);
    struct raywf_task *t = task_of("echo", NULL);
    for (int i = 1; i < N; i++)
        submit(t, RAYWF_ARGS(RAYWF_REF(refs[i - 1])), &refs[i]);
    rig_grant(&rig);
    fails(refs[N - 1], RAYWF_E_FAILED, "no such luck");
    fails(refs[0], RAYWF_E_FAILED, "no such luck");
    struct raywf_ref late;
    submit(t, RAYWF_ARGS(RAYWF_REF(refs[0])), &late);
    fails(late, RAYWF_E_FAILED, "no such luck");
    stop();
}
END_TEST

START_TEST(many_arguments)
{
    enum { N = 10000 };
    static struct raywf_arg args[N];
    static struct raywf_ref refs[N];
    static unsigned char ones[N];
    start();
    struct raywf_task *sum = task_of("sum", NULL), *echo_ = task_of("echo", NULL);
    struct raywf_ref total;
    memset(ones, 1, sizeof(ones));
    for (int i = 0; i < N; i++)
        args[i] = RAYWF_BYTES(&ones[i], 1);
    submit(sum, args, N, &total);
    ck_assert_int_eq(number(total), N);
    for (int i = 0; i < N; i++) {
        submit(echo_, RAYWF_ARGS(RAYWF_BYTES(&ones[i], 1)), &refs[i]);
        args[i] = RAYWF_REF(refs[i]);
    }
    submit(sum, args, N, &total);
    ck_assert_int_eq(number(total), N);
    /* More than a frame holds: put together in the store. */
    static char page[64];
    page[0] = 1;
    for (int i = 0; i < N; i++)
        args[i] = RAYWF_BYTES(page, sizeof(page));
    submit(sum, args, N, &total);
    ck_assert_int_eq(number(total), N);
    struct raywf_arg *more = calloc(RAYWF_ARGS_MAX + 1, sizeof(*more));
    for (int i = 0; i <= RAYWF_ARGS_MAX; i++)
        more[i] = RAYWF_BYTES(page, 1);
    ck_assert_int_eq(raywf_submit(sum, more, RAYWF_ARGS_MAX + 1, &total, &err), -1);
    ck_assert_int_eq(err.code, RAYWF_E_ARGUMENT);
    free(more);
    stop();
}
END_TEST

START_TEST(many_returns)
{
    enum { N = 3000 };
    static struct raywf_ref refs[N];
    start();
    const struct raywf_task_options o = {.returns = N};
    submit(task_of("many", &o), RAYWF_NO_ARGS, refs);
    ck_assert_int_eq(raywf_wait(refs, N, N, WAIT, NULL, &err), N);
    for (int i = 0; i < N; i++) {
        int value;
        ok(raywf_get_copy(refs[i], 0, &value, sizeof(value), &err));
        ck_assert_int_eq(value, i);
        raywf_drop(refs[i]);
    }
    /* A function that gives fewer than it said. */
    const struct raywf_task_options two = {.returns = 2};
    int64_t x = 3;
    submit(task_of("echo", &two), RAYWF_ARGS(RAYWF_BYTES(&x, sizeof(x))), refs);
    ck_assert_int_eq(number(refs[0]), 3);
    fails(refs[1], RAYWF_E_FAILED, "without this return value");
    stop();
}
END_TEST

START_TEST(wait_some)
{
    struct raywf_ref refs[3];
    bool ready[3];
    rig.most = 3;
    start();
    int64_t x = 1;
    submit(task_of("gate", NULL), RAYWF_NO_ARGS, &refs[0]);
    rig_wait(&rig, &rig.started, 1);
    submit(task_of("echo", NULL), RAYWF_ARGS(RAYWF_BYTES(&x, sizeof(x))), &refs[1]);
    ok(raywf_put(&x, sizeof(x), &refs[2], &err));
    ck_assert_int_eq(raywf_wait(refs, 3, 2, WAIT, ready, &err), 2);
    ck_assert(!ready[0] && ready[1] && ready[2]);
    ck_assert_int_eq(raywf_wait(refs, 3, 3, RAYWF_MS, ready, &err), 2);
    struct raywf_value v;
    ck_assert_int_eq(raywf_get(refs[0], RAYWF_MS, &v, &err), -1);
    ck_assert_int_eq(err.code, RAYWF_E_TIMEOUT);
    ck_assert_int_eq(raywf_wait(refs, 3, 4, WAIT, ready, &err), -1);
    atomic_store(&rig.gate, 1);
    ck_assert_int_eq(raywf_wait(refs, 3, 3, WAIT, ready, &err), 3);
    stop();
}
END_TEST

/* --- deaths --- */

START_TEST(death_of_a_worker)
{
    struct raywf_ref refs[4];
    rig.most = 1;
    start();
    const struct raywf_task_options o = {.retry.backoff = RAYWF_MS};
    int64_t x = 9;
    submit(task_of("die_first", &o), RAYWF_ARGS(RAYWF_BYTES(&x, 8)), &refs[0]);
    for (int i = 1; i < 4; i++)
        submit(task_of("echo", &o), RAYWF_ARGS(RAYWF_BYTES(&x, 8)), &refs[i]);
    for (int i = 1; i < 4; i++)
        ck_assert_int_eq(number(refs[i]), 9);
    struct raywf_value v;
    ok(raywf_get(refs[0], WAIT, &v, &err));
    raywf_release(&v);
    ck_assert_int_eq(rig.deaths, 1);
    stop();
}
END_TEST

START_TEST(retries_are_used_up)
{
    struct raywf_ref ref;
    rig.most = 1;
    start();
    const struct raywf_task_options o = {.retry = {.max = 2, .backoff = RAYWF_MS}};
    submit(task_of("die", &o), RAYWF_NO_ARGS, &ref);
    fails(ref, RAYWF_E_WORKER, "killed by signal 9 (SIGKILL) (after 3 attempts)");
    ck_assert_int_eq(rig.deaths, 3);
    const struct raywf_task_options none = {.retry.max = -1};
    submit(task_of("die", &none), RAYWF_NO_ARGS, &ref);
    fails(ref, RAYWF_E_WORKER, "'die': its worker was killed");
    ck_assert_int_eq(rig.deaths, 4);
    stop();
}
END_TEST

START_TEST(retries_by_cause)
{
    struct raywf_ref ref;
    rig.most = 1;
    start();
    int64_t x = 5;
    submit(task_of("fail_first", NULL), RAYWF_ARGS(RAYWF_BYTES(&x, 8)), &ref);
    fails(ref, RAYWF_E_FAILED,
          "not at once"); /* an error of the function: not by default */
    const struct raywf_task_options o = {
        .retry = {.on = RAYWF_ON_ERROR, .backoff = RAYWF_MS}};
    submit(task_of("fail_first", &o), RAYWF_ARGS(RAYWF_BYTES(&x, 8)), &ref);
    struct raywf_value v;
    ok(raywf_get(ref, WAIT, &v, &err));
    raywf_release(&v);
    submit(task_of("die", &o), RAYWF_NO_ARGS, &ref); /* a death: not on this list */
    fails(ref, RAYWF_E_WORKER, "SIGKILL");
    atomic_store(&rig.gate, 0);
    submit(task_of("gate", NULL), RAYWF_NO_ARGS, &ref);
    int started = rig.started;
    rig_wait(&rig, &rig.started, started);
    while (!atomic_load(&rig.workers[0].stop) && rig.started < 5)
        rig_wait(&rig, &rig.started, 5);
    atomic_store(&rig.gate, 1);
    rig_kill(&rig, 0, RAYWF_ON_OOM, "was over its memory limit of 1 MiB");
    ok(raywf_get(ref, WAIT, &v, &err)); /* OOM is */
    raywf_release(&v);
    stop();
}
END_TEST

/* A result of an attempt that is not the one we wait for is nobody's. */
START_TEST(old_epochs)
{
    struct raywf_ref ref;
    start();
    struct raywf_task *t = task_of("late", NULL);
    for (int64_t i = 0; i < 100; i++) {
        submit(t, RAYWF_ARGS(RAYWF_BYTES(&i, sizeof(i))), &ref);
        ck_assert_int_eq(number(ref), i);
        raywf_drop(ref);
    }
    stop();
}
END_TEST

/* --- cancelling, time-outs --- */

START_TEST(cancel)
{
    struct raywf_ref refs[3];
    rig.most = 1;
    start();
    const struct raywf_task_options o = {.retry.max = -1};
    struct raywf_task *t = task_of("gate", &o);
    for (int i = 0; i < 3; i++)
        submit(t, RAYWF_NO_ARGS, &refs[i]);
    rig_wait(&rig, &rig.started, 1);
    ok(raywf_cancel(refs[1], 0, &err)); /* never begins */
    fails(refs[1], RAYWF_E_CANCELLED, "cancelled");
    ok(raywf_cancel(refs[0], 0, &err)); /* sees it, and ends */
    fails(refs[0], RAYWF_E_CANCELLED, "cancelled");
    rig_wait(&rig, &rig.started, 2);
    ok(raywf_cancel(refs[2], RAYWF_CANCEL_FORCE, &err));
    fails(refs[2], RAYWF_E_CANCELLED, "cancelled");
    rig_wait(&rig, &rig.deaths, 1);
    ck_assert_int_eq(rig.ends, 1);
    ck_assert_int_eq(rig.started, 2);
    ok(raywf_cancel(refs[2], 0, &err)); /* done already */
    int64_t x = 4;
    submit(task_of("echo", NULL), RAYWF_ARGS(RAYWF_BYTES(&x, 8)), &refs[0]);
    ck_assert_int_eq(number(refs[0]), 4);
    stop();
}
END_TEST

START_TEST(timeout_of_a_task)
{
    struct raywf_ref ref;
    rig.most = 1;
    start();
    const struct raywf_task_options o = {.timeout = 20 * RAYWF_MS};
    submit(task_of("gate", &o), RAYWF_NO_ARGS, &ref);
    fails(ref, RAYWF_E_TIMEOUT, "more than its 0.02 s");
    ck_assert_int_eq(rig.end_cause, RAYWF_ON_TIMEOUT);
    stop();
}
END_TEST

START_TEST(refusal)
{
    struct raywf_ref refs[2];
    rig.refuse = "no node has 3000 cpu: node 'a' has 2, 2998 are missing";
    start();
    const struct raywf_task_options o = {.resources.cpu = 3000};
    for (int i = 0; i < 2; i++)
        submit(task_of("echo", &o), RAYWF_NO_ARGS, &refs[i]);
    for (int i = 0; i < 2; i++)
        fails(refs[i], RAYWF_E_FIT, "2998 are missing");
    stop();
}
END_TEST

/* What is queued behind a call that waits for others goes to another worker. */
START_TEST(stalled)
{
    struct raywf_ref refs[50], waits;
    int64_t x = 8;
    start();
    struct raywf_task *t = task_of("echo", NULL);
    submit(t, RAYWF_ARGS(RAYWF_BYTES(&x, 8)),
           &refs[0]); /* they are known to be short */
    ck_assert_int_eq(number(refs[0]), 8);
    ck_assert_int_eq(rig.runs, 1);
    submit(task_of("stall", NULL), RAYWF_NO_ARGS, &waits);
    for (int i = 0; i < 50; i++)
        submit(t, RAYWF_ARGS(RAYWF_BYTES(&x, 8)), &refs[i]);
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(number(refs[i]), 8);
    ck_assert_int_eq(rig.runs, 2);
    atomic_store(&rig.gate, 1);
    struct raywf_value v;
    ok(raywf_get(waits, WAIT, &v, &err));
    raywf_release(&v);
    for (int i = 0; i < 50; i++) { /* both are of use again */
        submit(t, RAYWF_ARGS(RAYWF_BYTES(&x, 8)), &refs[i]);
        ck_assert_int_eq(number(refs[i]), 8);
    }
    ck_assert_int_eq(atomic_load(&rig.done), 102);
    stop();
}
END_TEST

/* --- leases --- */

START_TEST(recall)
{
    struct raywf_ref refs[2];
    rig.most = 1;
    start();
    submit(task_of("gate", NULL), RAYWF_NO_ARGS, &refs[0]);
    rig_wait(&rig, &rig.started, 1);
    Wire__Recall m = WIRE__RECALL__INIT;
    m.lease = rig.workers[0].lease;
    rig_say(&rig, WIRE_RECALL, &m.base);
    atomic_store(&rig.gate, 1);
    struct raywf_value v;
    ok(raywf_get(refs[0], WAIT, &v, &err));
    raywf_release(&v);
    rig_wait(&rig, &rig.returns, 1);
    int64_t x = 2; /* another one is asked for when there is work again */
    submit(task_of("echo", NULL), RAYWF_ARGS(RAYWF_BYTES(&x, 8)), &refs[1]);
    rig_grant(&rig);
    ck_assert_int_eq(number(refs[1]), 2);
    stop();
}
END_TEST

START_TEST(idle_workers_go_back)
{
    struct raywf_ref ref;
    start();
    int64_t x = 2;
    submit(task_of("echo", NULL), RAYWF_ARGS(RAYWF_BYTES(&x, 8)), &ref);
    ck_assert_int_eq(number(ref), 2);
    rig_wait(&rig, &rig.returns, 1);
    stop();
}
END_TEST

static void *open_gate(void *arg)
{
    (void)arg;
    usleep(60000); /* longer than the pump looks on, shorter than a worker lingers */
    atomic_store(&rig.gate, 1);
    return NULL;
}

/* Also when the pump went to sleep while a thread waited, and a timer was set. */
START_TEST(idle_workers_go_back_after_a_wait)
{
    struct raywf_ref refs[2];
    struct raywf_value v;
    pthread_t opener;
    rig.most = 1;
    start();
    int64_t x = 2;
    submit(task_of("echo", NULL), RAYWF_ARGS(RAYWF_BYTES(&x, 8)), &refs[0]);
    ck_assert_int_eq(number(refs[0]), 2);
    submit(task_of("gate", NULL), RAYWF_NO_ARGS, &refs[1]);
    ck_assert_int_eq(pthread_create(&opener, NULL, open_gate, NULL), 0);
    ok(raywf_get(refs[1], WAIT, &v, &err));
    raywf_release(&v);
    pthread_join(opener, NULL);
    rig_wait(&rig, &rig.returns, 1);
    stop();
}
END_TEST

/* A timer that is set while the pump tells what is ready is not slept over: here by what it
 * calls, which takes the last result, so that from then on the worker is idle. */
static struct raywf_ref last_ref;

static void take_the_last(void *ctx)
{
    struct raywf_value v;
    if (atomic_fetch_add((atomic_int *)ctx, 1) != 0)
        return;
    atomic_store(&rig.gate, 2);
    ok(raywf_get(last_ref, WAIT, &v, &err));
    raywf_release(&v);
}

START_TEST(idle_workers_go_back_after_what_was_told)
{
    static const char *const env[] = {"OTHER=1", NULL};
    const struct raywf_task_options apart = {.env = env};
    static atomic_int times;
    struct raywf_ref first, waiting;
    rig.most = 1;
    start();
    native_client_on_ready(take_the_last, &times);
    submit(task_of("gate", NULL), RAYWF_NO_ARGS, &first);
    submit(task_of("gate2", NULL), RAYWF_NO_ARGS, &last_ref);
    rig_wait(&rig, &rig.started, 1);
    submit(task_of("gate", &apart), RAYWF_NO_ARGS, &waiting); /* for a worker of its own */
    rig_wait(&rig, &rig.wants, 2);
    atomic_store(&rig.gate, 1);
    rig_wait(&rig, &rig.returns, 1);
    stop();
}
END_TEST

/* --- what is lost --- */

START_TEST(lineage)
{
    struct raywf_ref a, b, c;
    start();
    size_t n = 200000;
    submit(task_of("object", NULL), RAYWF_ARGS(RAYWF_BYTES(&n, sizeof(n))), &a);
    submit(task_of("echo", NULL), RAYWF_ARGS(RAYWF_REF(a)), &b);
    struct raywf_value v;
    ok(raywf_get(a, WAIT, &v, &err));
    ck_assert_uint_eq(v.size, n);
    raywf_release(&v);
    ck_assert_int_eq(raywf_wait(&b, 1, 1, WAIT, NULL, &err), 1);
    /* The object goes behind everybody's back. */
    struct native__client *cl = native__client(NULL);
    native__lock(cl);
    store_object o = native__value_find(cl, a.id)->object;
    native__unlock(cl);
    store_object_drop(native__store(cl), o);
    ck_assert_int_lt(store_object_size(rig.store, o), 0);
    ok(raywf_get(a, WAIT, &v, &err));
    ck_assert_uint_eq(v.size, n);
    ck_assert_int_eq(((const char *)v.data)[3], 21);
    raywf_release(&v);
    ck_assert_int_eq(rig.started, 2);
    /* As an argument: found out when the call is sent. */
    native__lock(cl);
    o = native__value_find(cl, a.id)->object;
    native__unlock(cl);
    store_object_drop(native__store(cl), o);
    submit(task_of("sum", NULL), RAYWF_ARGS(RAYWF_REF(a)), &c);
    ck_assert_int_eq(number(c), 0);
    /* A value that was put has no task. */
    char *bytes = calloc(1, n);
    ok(raywf_put(bytes, n, &b, &err));
    free(bytes);
    native__lock(cl);
    o = native__value_find(cl, b.id)->object;
    native__unlock(cl);
    store_object_drop(native__store(cl), o);
    fails(b, RAYWF_E_LOST, "put it");
    stop();
}
END_TEST

START_TEST(node_comes_back)
{
    char dir[] = "/tmp/raywf-client-XXXXXX", path[64];
    static struct rig second;
    struct raywf_ref put, made, queued, sum;
    ck_assert(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/node", dir);
    rig_listen(&rig, path);
    const struct raywf_options options = {.address = path};
    ok(raywf_init(&options, &err));
    size_t n = 100000;
    char *bytes = malloc(n);
    memset(bytes, 3, n);
    ok(raywf_put(bytes, n, &put, &err));
    submit(task_of("object", NULL), RAYWF_ARGS(RAYWF_BYTES(&n, sizeof(n))), &made);
    ck_assert_int_eq(raywf_wait(&made, 1, 1, WAIT, NULL, &err), 1);
    const struct raywf_task_options o = {.retry.backoff = RAYWF_MS};
    submit(task_of("gate", &o), RAYWF_NO_ARGS, &queued);
    rig_wait(&rig, &rig.started, 2);
    rig.crash = true;
    rig_stop(&rig);
    second.most = 2;
    atomic_store(&second.gate, 1);
    rig_listen(&second, path);
    struct raywf_value v;
    ok(raywf_get(queued, WAIT, &v, &err)); /* sent again */
    raywf_release(&v);
    ok(raywf_get(put, WAIT, &v, &err)); /* read in the old mapping */
    ck_assert_int_eq(memcmp(v.data, bytes, n), 0);
    submit(task_of("sum", NULL), RAYWF_ARGS(RAYWF_REF(put), RAYWF_REF(made)), &sum);
    ck_assert_int_eq(number(sum), 3); /* put again */
    ck_assert_int_eq(memcmp(v.data, bytes, n), 0);
    raywf_release(&v);
    free(bytes);
    raywf_shutdown();
    rig_stop(&second);
    unlink(path);
    rmdir(dir);
}
END_TEST

START_TEST(node_never_comes_back)
{
    struct raywf_ref ref;
    start();
    submit(task_of("gate", NULL), RAYWF_NO_ARGS, &ref);
    rig_wait(&rig, &rig.started, 1);
    shutdown(rig.fd, 2);
    fails(ref, RAYWF_E_RUNTIME, "gone for good");
    raywf_shutdown();
    rig_stop(&rig);
}
END_TEST

/* --- other owners --- */

START_TEST(borrowing)
{
    struct raywf_ref theirs = {77, 1234}, nobody = {78, 1}, ref;
    start();
    struct raywf_value v;
    ok(raywf_get(theirs, WAIT, &v, &err));
    ck_assert_uint_eq(v.size, 4);
    ck_assert_int_eq(memcmp(v.data, "1234", 4), 0);
    raywf_release(&v);
    fails(nobody, RAYWF_E_LOST, "no owner");
    submit(task_of("sum", NULL), RAYWF_ARGS(RAYWF_REF(theirs)), &ref);
    ck_assert_int_eq(number(ref), '1');
    ok(raywf_retain(theirs, &err));
    raywf_drop(theirs);
    raywf_drop(theirs); /* once too often: nothing */
    ok(raywf_cancel(theirs, 0, &err));
    rig_wait(&rig, &rig.cancels, 1);
    stop();
}
END_TEST

START_TEST(lending)
{
    struct raywf_ref ref, pending;
    start();
    ok(raywf_put("hello", 5, &ref, &err));
    submit(task_of("gate", NULL), RAYWF_NO_ARGS, &pending);
    Wire__Ask a = WIRE__ASK__INIT;
    a.owner = rig.client;
    a.id = ref.id;
    a.client = 99;
    a.request = 5;
    rig_say(&rig, WIRE_ASK, &a.base);
    rig_wait(&rig, &rig.tells, 1);
    ck_assert_uint_eq(rig.told->value.len, 5);
    ck_assert_int_eq(memcmp(rig.told->value.data, "hello", 5), 0);
    ck_assert_uint_eq(rig.told->request, 5);
    a.id = pending.id;
    rig_say(&rig, WIRE_ASK, &a.base);
    rig_wait(&rig, &rig.started, 1);
    raywf_drop(pending); /* it is kept for who asked */
    atomic_store(&rig.gate, 1);
    rig_wait(&rig, &rig.tells, 2);
    a.id = 987654321;
    rig_say(&rig, WIRE_ASK, &a.base);
    rig_wait(&rig, &rig.tells, 3);
    ck_assert_int_eq(rig.told->code, RAYWF_E_LOST);
    stop();
}
END_TEST

/* --- threads --- */

struct load {
    struct raywf_task *task;
    int n;
};

static void *submit_and_get(void *arg)
{
    const struct load *l = arg;
    for (int64_t i = 0; i < l->n; i++) {
        struct raywf_ref ref;
        int64_t back = -1;
        struct raywf_error e;
        if (raywf_submit(l->task, RAYWF_ARGS(RAYWF_BYTES(&i, 8)), &ref, &e) < 0 ||
            raywf_get_copy(ref, WAIT, &back, 8, &e) < 0 || back != i)
            return (void *)"wrong";
        raywf_drop(ref);
    }
    return NULL;
}

START_TEST(threads)
{
    pthread_t t[4];
    start();
    struct load load = {task_of("echo", NULL), 500};
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, submit_and_get, &load);
    for (int i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(t[i], &wrong);
        ck_assert_ptr_null(wrong);
    }
    stop();
}
END_TEST

static int open_files(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static int mappings(void)
{
    int n = 0;
    char line[512];
    FILE *f = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof(line), f))
        n += strstr(line, "memfd:") != NULL;
    fclose(f);
    return n;
}

START_TEST(nothing_is_left)
{
    int files = open_files();
    for (int i = 0; i < 20; i++) {
        memset(&rig, 0, sizeof(rig));
        start();
        struct raywf_ref ref;
        int64_t x = i;
        submit(task_of("echo", NULL), RAYWF_ARGS(RAYWF_BYTES(&x, 8)), &ref);
        ck_assert_int_eq(number(ref), i);
        submit(task_of("gate", NULL), RAYWF_NO_ARGS, &ref);
        stop();
        ck_assert_int_eq(open_files(), files);
        ck_assert_int_eq(mappings(), 0);
    }
}
END_TEST

static void *called_back(void)
{
    static atomic_int times;
    return &times;
}

static void ready(void *ctx)
{
    atomic_fetch_add((atomic_int *)ctx, 1);
}

START_TEST(by_itself)
{
    struct raywf_ref first, second;
    start();
    native_client_on_ready(ready, called_back());
    int64_t x = 6;
    submit(task_of("echo", NULL), RAYWF_ARGS(RAYWF_BYTES(&x, 8)), &first);
    submit(task_of("echo", NULL), RAYWF_ARGS(RAYWF_REF(first)), &second);
    while (atomic_load(&rig.done) < 2) /* nobody waits: the thread does it */
        usleep(1000);
    while (!atomic_load((atomic_int *)called_back()))
        usleep(1000);
    ck_assert_int_eq(number(second), 6);
    stop();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("client");
    TCase *t = tcase_create("client");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, put_and_get);
    tcase_add_test(t, create_and_seal);
    tcase_add_test(t, echo);
    tcase_add_test(t, batch);
    tcase_add_test(t, dropped_before_done);
    tcase_add_test(t, dependencies);
    tcase_add_test(t, errors_travel);
    tcase_add_test(t, many_arguments);
    tcase_add_test(t, many_returns);
    tcase_add_test(t, wait_some);
    tcase_add_test(t, death_of_a_worker);
    tcase_add_test(t, retries_are_used_up);
    tcase_add_test(t, retries_by_cause);
    tcase_add_test(t, old_epochs);
    tcase_add_test(t, cancel);
    tcase_add_test(t, timeout_of_a_task);
    tcase_add_test(t, refusal);
    tcase_add_test(t, stalled);
    tcase_add_test(t, recall);
    tcase_add_test(t, idle_workers_go_back);
    tcase_add_test(t, idle_workers_go_back_after_a_wait);
    tcase_add_test(t, idle_workers_go_back_after_what_was_told);
    tcase_add_test(t, lineage);
    tcase_add_test(t, node_comes_back);
    tcase_add_test(t, node_never_comes_back);
    tcase_add_test(t, borrowing);
    tcase_add_test(t, lending);
    tcase_add_test(t, threads);
    tcase_add_test(t, nothing_is_left);
    tcase_add_test(t, by_itself);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
