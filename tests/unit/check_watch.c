/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls whose end is told to a loop: each test starts a session of its own. Waiting has
 * a limit of 60 s, which only a hang reaches.
 */
#include "config.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "native/client.h"

#define LONG (300 * RAYWF_S)
#define BATCH 64

static struct raywf_error err;
static char plugin[4096];

/* The loop sleeps here; on_ready wakes it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static bool awake;
static int wakes;

static void on_ready(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    awake = true;
    wakes++;
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&lock);
}

static void sleep_until_ready(void)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 300;
    pthread_mutex_lock(&lock);
    while (!awake)
        ck_assert_int_eq(pthread_cond_timedwait(&cond, &lock, &until), 0);
    awake = false;
    pthread_mutex_unlock(&lock);
}

/* As a server's loop does: polls, and sleeps when there is nothing. */
static void loop_until(const int *count, int want)
{
    int64_t until = rwf_clock_mono() + LONG;

    while (*count < want) {
        ck_assert(rwf_clock_mono() < until);
        if (native_client_poll() == 0 && native_client_rest())
            sleep_until_ready();
    }
}

static void setup(void)
{
    const struct raywf_options o = {
        .address = "", .cpu = 4, .store = (int64_t)64 << 20};

    ck_assert_msg(raywf_init(&o, &err) == 0, "%s", err.text);
    native_client_on_ready(on_ready, NULL);
    awake = false;
    wakes = 0;
}

static void teardown(void)
{
    raywf_shutdown();
}

static struct raywf_actor *functions(int restarts)
{
    const struct raywf_actor_options o = {.max_restarts = restarts};
    struct raywf_actor *a = raywf_actor_create(plugin, NULL, &o, RAYWF_NO_ARGS, &err);

    ck_assert_msg(a, "%s", err.text);
    return a;
}

/* --- what was told --- */

struct told {
    int count, failures, code;
    bool ran;
    char text[1024];
    size_t results, bytes;
    int status[BATCH];
    char type[BATCH][32], data[BATCH][64];
};

static void on_end(void *ctx, const struct native_outcome *o)
{
    struct told *t = ctx;

    t->count++;
    t->code = o->code;
    t->failures += o->code != RAYWF_OK;
    t->ran = o->ran;
    t->results = o->count;
    snprintf(t->text, sizeof(t->text), "%s", o->text);
    for (size_t i = 0; i < o->count && i < BATCH; i++) {
        const struct native_result *r = &o->results[i];
        size_t n = r->size < sizeof(t->data[i]) ? r->size : sizeof(t->data[i]);
        t->bytes += r->size;
        t->status[i] = r->status;
        snprintf(t->type[i], sizeof(t->type[i]), "%s",
                 r->content_type ? r->content_type : "-");
        memset(t->data[i], 0, sizeof(t->data[i]));
        if (n)
            memcpy(t->data[i], r->data, n);
    }
}

static struct native_watch *call(struct raywf_actor *a, const char *method, int returns,
                                 const struct raywf_arg *args, size_t n, struct told *t)
{
    const struct raywf_call_options o = {.returns = returns};
    struct native_watch *w =
        native_client_call(a, method, &o, args, n, on_end, t, &err);

    ck_assert_msg(w, "%s", err.text);
    return w;
}

static void call_number(struct raywf_actor *a, const char *method, uint64_t n,
                        struct told *t)
{
    call(a, method, 1, RAYWF_ARGS(RAYWF_BYTES(&n, sizeof(n))), t);
}

/* --- functions as an actor --- */

START_TEST(plain_functions)
{
    struct raywf_actor *a = functions(0);
    struct told t = {0};
    double x = 7, y;

    call(a, "square", 1, RAYWF_ARGS(RAYWF_BYTES(&x, sizeof(x))), &t);
    loop_until(&t.count, 1);
    ck_assert_msg(t.code == RAYWF_OK, "%s", t.text);
    memcpy(&y, t.data[0], sizeof(y));
    ck_assert(y == 49);
    call(a, "sqare", 1, RAYWF_NO_ARGS, &t);
    loop_until(&t.count, 2);
    ck_assert_int_eq(t.code, RAYWF_E_PLUGIN);
    ck_assert_ptr_nonnull(strstr(t.text, "did you mean 'square'?"));
    ck_assert(!t.ran);
    call(a, "?square", 1, RAYWF_NO_ARGS, &t); /* there is one; it is not called */
    loop_until(&t.count, 3);
    ck_assert_msg(t.code == RAYWF_OK, "%s", t.text);
    call(a, "?sqare", 1, RAYWF_NO_ARGS, &t);
    loop_until(&t.count, 4);
    ck_assert_ptr_nonnull(strstr(t.text, "did you mean 'square'?"));
    raywf_actor_release(a);
    const int64_t start = 1;
    a = raywf_actor_create(plugin, "Counter", NULL,
                           RAYWF_ARGS(RAYWF_BYTES(&start, sizeof(start))), &err);
    call(a, "?add", 1, RAYWF_NO_ARGS, &t);
    loop_until(&t.count, 5);
    ck_assert_msg(t.code == RAYWF_OK, "%s", t.text);
    call(a, "?ad", 1, RAYWF_NO_ARGS, &t);
    loop_until(&t.count, 6);
    ck_assert_ptr_nonnull(strstr(t.text, "did you mean 'add'?"));
    raywf_actor_release(a);
    ck_assert_ptr_null(
        raywf_actor_create(plugin, NULL, NULL, RAYWF_ARGS(RAYWF_TEXT("x")), &err));
    ck_assert_ptr_nonnull(strstr(err.text, "takes no arguments"));
    ck_assert_ptr_null(raywf_actor_create(plugin, "", NULL, RAYWF_NO_ARGS, &err));
}
END_TEST

START_TEST(replies)
{
    struct raywf_actor *a = functions(0);
    struct told t = {0};
    struct raywf_arg args[BATCH];
    char texts[BATCH][32];

    for (int i = 0; i < BATCH; i++) {
        snprintf(texts[i], sizeof(texts[i]), "request number %d", i);
        args[i] = RAYWF_TEXT(texts[i]);
    }
    call(a, "answer", BATCH, args, BATCH, &t);
    loop_until(&t.count, 1);
    ck_assert_msg(t.code == RAYWF_OK, "%s", t.text);
    ck_assert_uint_eq(t.results, BATCH);
    for (int i = 0; i < BATCH; i++) {
        ck_assert_str_eq(t.data[i], texts[i]);
        ck_assert_int_eq(t.status[i], i % 3 ? 400 + i : 0);
        ck_assert_str_eq(t.type[i], i % 3 && i % 2 ? "text/odd" : "-");
    }
    call(a, "bad_status", 1, RAYWF_NO_ARGS, &t);
    loop_until(&t.count, 2);
    ck_assert_ptr_nonnull(strstr(t.text, "status 99; 200 to 599"));
    call(a, "bad_type", 1, RAYWF_NO_ARGS, &t);
    loop_until(&t.count, 3);
    ck_assert_ptr_nonnull(strstr(t.text, "printable ASCII"));
    raywf_actor_release(a);
}
END_TEST

/* Too much for a frame, and values in the store: still with their statuses. */
START_TEST(large_replies)
{
    enum { SIZE = 40000, COUNT = 8 };
    struct raywf_actor *a = functions(0);
    struct told t = {0};
    struct raywf_arg args[COUNT];
    static char body[SIZE];

    memset(body, 'x', sizeof(body));
    for (int i = 0; i < COUNT; i++)
        args[i] = (struct raywf_arg){.data = body, .size = i % 2 ? SIZE : 30000};
    call(a, "answer", COUNT, args, COUNT, &t);
    loop_until(&t.count, 1);
    ck_assert_msg(t.code == RAYWF_OK, "%s", t.text);
    ck_assert_uint_eq(t.bytes, 4 * SIZE + 4 * 30000);
    ck_assert_int_eq(t.status[7], 407);
    ck_assert_str_eq(t.type[7], "text/odd");
    ck_assert_int_eq(t.status[6], 0);
    raywf_actor_release(a);
}
END_TEST

/* raywf_get of a reply gives what it holds. */
START_TEST(reply_by_get)
{
    struct raywf_actor *a = functions(0);
    const struct raywf_call_options o = {.returns = 2};
    struct raywf_ref refs[2];
    struct raywf_value v;

    ck_assert_int_eq(raywf_actor_call(a, "answer", &o,
                                      RAYWF_ARGS(RAYWF_TEXT("a"), RAYWF_TEXT("bcd")),
                                      refs, &err),
                     0);
    ck_assert_msg(raywf_get(refs[1], LONG, &v, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(v.size, 3);
    ck_assert_mem_eq(v.data, "bcd", 3);
    raywf_release(&v);
    raywf_drop(refs[0]);
    raywf_drop(refs[1]);
    raywf_actor_release(a);
}
END_TEST

/* --- the loop --- */

/* While it polls nobody wakes it, however many calls are made. */
START_TEST(polls)
{
    enum { COUNT = 20000, WINDOW = 64 };
    struct raywf_actor *a = functions(0);
    struct told t = {0};
    int64_t until = rwf_clock_mono() + LONG;
    int sent = 0;

    call_number(a, "noop", 0, &t);
    loop_until(&t.count, 1);
    native_client_poll();
    int before = wakes;
    while (t.count <= COUNT) {
        ck_assert(rwf_clock_mono() < until);
        while (sent < COUNT && sent + 1 - t.count < WINDOW) {
            call_number(a, "noop", 0, &t);
            sent++;
        }
        native_client_poll();
    }
    ck_assert_int_eq(t.failures, 0);
    ck_assert_int_eq(wakes, before);
    raywf_actor_release(a);
}
END_TEST

/* A slow call wakes the loop that sleeps. */
START_TEST(sleeps)
{
    struct raywf_actor *a = functions(0);
    struct told t = {0};

    for (int i = 1; i <= 20; i++) {
        call_number(a, "nap", 3, &t);
        loop_until(&t.count, i);
    }
    ck_assert_int_eq(t.failures, 0);
    ck_assert_int_ge(wakes, 1);
    raywf_actor_release(a);
}
END_TEST

/* Another thread may wait for its own calls meanwhile. */
static char wrong_call[] = "a call of the other thread failed";

static void *getter(void *arg)
{
    struct raywf_actor *a = arg;

    for (int i = 0; i < 200; i++) {
        struct raywf_error e;
        struct raywf_ref ref;
        struct raywf_value v;
        if (raywf_actor_call(a, "pid", NULL, RAYWF_NO_ARGS, &ref, &e) < 0 ||
            raywf_get(ref, LONG, &v, &e) < 0)
            return wrong_call;
        raywf_release(&v);
        raywf_drop(ref);
    }
    return NULL;
}

START_TEST(beside_threads)
{
    struct raywf_actor *a = functions(0), *b = functions(0);
    struct told t = {0};
    pthread_t thread;
    void *wrong;

    ck_assert_int_eq(pthread_create(&thread, NULL, getter, b), 0);
    for (int i = 1; i <= 200; i++) {
        call_number(a, "noop", 0, &t);
        loop_until(&t.count, i);
    }
    native_client_rest();
    pthread_join(thread, &wrong);
    ck_assert_msg(!wrong, "%s", (const char *)wrong);
    raywf_actor_release(a);
    raywf_actor_release(b);
}
END_TEST

START_TEST(forgotten)
{
    struct raywf_actor *a = functions(0);
    struct told t = {0}, after = {0};

    native_client_forget(call(a, "endless", 1, RAYWF_NO_ARGS, &t));
    call_number(a, "noop", 0, &after);
    loop_until(&after.count, 1);
    ck_assert_int_eq(after.code, RAYWF_OK);
    ck_assert_int_eq(t.count, 0);
    raywf_actor_release(a);
}
END_TEST

/* --- streams --- */

/* What came, and what is done at which value. */
struct flow {
    struct told end;
    int pieces, stop_at, hold_at;
    size_t bytes;
    bool torn;
    struct native_watch *watch;
};

static void on_flow_end(void *ctx, const struct native_outcome *o)
{
    on_end(&((struct flow *)ctx)->end, o);
}

/* Values are 0, 1, 2 …, or letters in that order. */
static void on_flow(void *ctx, const void *data, size_t size)
{
    struct flow *f = ctx;
    uint64_t n = 0;

    memcpy(&n, data, size < sizeof(n) ? size : sizeof(n));
    if (size > sizeof(n))
        n = (n & 0xff) - 'a';
    f->torn |= n != (uint64_t)f->pieces % (size > sizeof(n) ? 26 : UINT64_MAX);
    f->torn |= f->end.count != 0;
    f->bytes += size;
    if (++f->pieces == f->hold_at)
        native_client_hold(f->watch, true);
    if (f->pieces == f->stop_at)
        native_client_forget(f->watch);
}

static void stream(struct raywf_actor *a, const char *method, uint64_t n,
                   struct flow *f)
{
    const struct raywf_call_options o = {.credit = 4};

    f->watch = native_client_stream(a, method, &o,
                                    RAYWF_ARGS(RAYWF_BYTES(&n, sizeof(n))), on_flow,
                                    on_flow_end, f, &err);
    ck_assert_msg(f->watch, "%s", err.text);
}

START_TEST(streams)
{
    struct raywf_actor *a = functions(0);
    struct flow few = {0}, none = {0}, large = {0}, refused = {0};

    stream(a, "count", 1000, &few);
    stream(a, "count", 0, &none);
    stream(a, "pieces", 30, &large);
    stream(a, "pieces", 0, &refused);
    loop_until(&refused.end.count, 1);
    ck_assert_msg(few.end.code == RAYWF_OK, "%s", few.end.text);
    ck_assert_int_eq(few.pieces, 1000);
    ck_assert_int_eq(few.end.status[0], 0);
    ck_assert_int_eq(none.end.code, RAYWF_OK);
    ck_assert_int_eq(none.pieces, 0);
    ck_assert_uint_eq(large.bytes, 30 * 100000);
    ck_assert(!few.torn && !large.torn);
    /* A reply instead of values: its status and its type. */
    ck_assert_int_eq(refused.end.code, RAYWF_OK);
    ck_assert_int_eq(refused.pieces, 0);
    ck_assert_int_eq(refused.end.status[0], 418);
    ck_assert_str_eq(refused.end.type[0], "text/tea");
    ck_assert_str_eq(refused.end.data[0], "short and stout");
    raywf_actor_release(a);
}
END_TEST

START_TEST(streams_fail)
{
    struct raywf_actor *a = functions(0);
    struct flow f = {0}, late = {0}, early = {0}, dies = {0};

    stream(a, "yields_then_fails", 0, &f);
    stream(a, "yields_then_replies", 0, &late);
    stream(a, "replies_then_yields", 0, &early);
    stream(a, "count_crash", 8, &dies);
    loop_until(&dies.end.count, 1);
    ck_assert_int_eq(f.pieces, 1);
    ck_assert_ptr_nonnull(strstr(f.end.text, "no more"));
    ck_assert_ptr_nonnull(strstr(late.end.text, "its status is sent"));
    ck_assert_int_eq(early.pieces, 0);
    ck_assert_ptr_nonnull(strstr(early.end.text, "has replied"));
    ck_assert_int_eq(dies.end.code, RAYWF_E_ACTOR);
    ck_assert_int_eq(dies.pieces, 4);
    ck_assert(dies.end.ran);
    raywf_actor_release(a);
}
END_TEST

/* A stream that nobody wants any more ends its call; the next one comes. */
START_TEST(stream_forgotten)
{
    struct raywf_actor *a = functions(0);
    struct flow f = {.stop_at = 10};
    struct told after = {0};

    stream(a, "flow", 0, &f);
    call_number(a, "noop", 0, &after);
    loop_until(&after.count, 1);
    ck_assert_int_eq(after.code, RAYWF_OK);
    ck_assert_int_eq(f.pieces, 10);
    ck_assert_int_eq(f.end.count, 0);
    raywf_actor_release(a);
}
END_TEST

/* Held: nothing comes, not even the end; then the rest does. */
START_TEST(stream_held)
{
    struct raywf_actor *a = functions(0), *b = functions(0);
    struct flow f = {.hold_at = 3}, gone = {.hold_at = 2};
    struct told after = {0};

    stream(a, "count", 50, &f);
    stream(b, "count", 4, &gone); /* ends while it is held */
    call_number(b, "noop", 0, &after);
    loop_until(&f.pieces, 3);
    loop_until(&after.count, 1);
    for (int i = 0; i < 20; i++) {
        call_number(b, "noop", 0, &after);
        loop_until(&after.count, i + 2);
    }
    ck_assert_int_eq(f.pieces, 3);
    ck_assert_int_eq(gone.pieces, 2);
    ck_assert_int_eq(gone.end.count, 0);
    native_client_forget(gone.watch);
    native_client_hold(f.watch, false);
    loop_until(&f.end.count, 1);
    ck_assert_msg(f.end.code == RAYWF_OK, "%s", f.end.text);
    ck_assert_int_eq(f.pieces, 50);
    ck_assert(!f.torn);
    ck_assert_int_eq(gone.end.count, 0);
    raywf_actor_release(a);
    raywf_actor_release(b);
}
END_TEST

/* Held until all of it is there: told in order when it goes on. */
START_TEST(stream_held_to_its_end)
{
    struct raywf_actor *a = functions(0);
    struct flow f = {.hold_at = 1};
    struct told after = {0};

    stream(a, "count", 4, &f);
    call_number(a, "noop", 0, &after);
    loop_until(&after.count, 1);
    native_client_hold(f.watch, false);
    loop_until(&f.end.count, 1);
    ck_assert_int_eq(f.pieces, 4);
    ck_assert(!f.torn);
    raywf_actor_release(a);
}
END_TEST

/* --- deaths --- */

struct life {
    int count, up, away, dead;
    char text[1024];
};

static void on_life(void *ctx, enum native_actor_event e, const char *text)
{
    struct life *l = ctx;

    l->count++;
    l->up += e == NATIVE_ACTOR_UP;
    l->away += e == NATIVE_ACTOR_AWAY;
    l->dead += e == NATIVE_ACTOR_DEAD;
    snprintf(l->text, sizeof(l->text), "%s", text);
}

START_TEST(dies)
{
    struct raywf_actor *a = functions(0);
    struct told t = {0}, behind = {0};
    struct life l = {0};

    native_client_watch(a, on_life, &l);
    loop_until(&l.up, 1);
    call(a, "crash", 1, RAYWF_NO_ARGS, &t);
    call_number(a, "noop", 0, &behind);
    loop_until(&l.dead, 1);
    ck_assert_int_eq(t.count, 1);
    ck_assert_int_eq(t.code, RAYWF_E_ACTOR);
    ck_assert(t.ran);
    ck_assert_int_eq(behind.count, 1);
    ck_assert(!behind.ran);
    ck_assert_ptr_nonnull(strstr(l.text, "SIGKILL"));
    struct life late = {0};
    native_client_watch(a, on_life, &late);
    loop_until(&late.dead, 1);
    raywf_actor_release(a);
}
END_TEST

START_TEST(restarts)
{
    struct raywf_actor *a = functions(1);
    struct told t = {0}, behind = {0};
    struct life l = {0};

    native_client_watch(a, on_life, &l);
    loop_until(&l.up, 1);
    call(a, "crash", 1, RAYWF_NO_ARGS, &t);
    call_number(a, "noop", 0, &behind);
    loop_until(&l.up, 2);
    ck_assert_int_eq(l.away, 1);
    loop_until(&behind.count, 1);
    ck_assert_int_eq(behind.code, RAYWF_OK); /* it had not begun */
    native_client_watch(a, NULL, NULL);
    call(a, "crash", 1, RAYWF_NO_ARGS, &t);
    loop_until(&t.count, 2);
    int before = l.count;
    call_number(a, "noop", 0, &behind);
    loop_until(&behind.count, 2);
    ck_assert_int_eq(behind.code, RAYWF_E_ACTOR);
    ck_assert_int_eq(l.count, before);
    raywf_actor_release(a);
}
END_TEST

START_TEST(errors)
{
    struct raywf_actor *a = functions(0);
    struct told t = {0};
    const struct raywf_call_options stream = {.returns = RAYWF_STREAM};

    ck_assert_ptr_null(
        native_client_call(a, "flow", &stream, RAYWF_NO_ARGS, on_end, &t, &err));
    ck_assert_int_eq(err.code, RAYWF_E_ARGUMENT);
    call(a, "fail", 1, RAYWF_NO_ARGS, &t);
    loop_until(&t.count, 1);
    ck_assert_int_eq(t.code, RAYWF_E_FAILED);
    ck_assert(t.ran);
    ck_assert_ptr_nonnull(strstr(t.text, "the answer is 42"));
    call(a, "noop", 2, RAYWF_NO_ARGS, &t); /* gives none of the two */
    loop_until(&t.count, 2);
    ck_assert_int_eq(t.code, RAYWF_E_FAILED);
    raywf_actor_release(a);
    t.count = 0;
    raywf_shutdown();
    ck_assert_uint_eq(native_client_poll(), 0);
    ck_assert(native_client_rest());
    setup();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("watch");
    TCase *t = tcase_create("watch");
    SRunner *r = srunner_create(s);

    snprintf(plugin, sizeof(plugin), "%s/tests/unit/plugins/work.so",
             getenv("abs_top_builddir"));
    setenv("RAYWF_BIN", getenv("RAYWF"), 1);
    suite_add_tcase(s, t);
    tcase_set_timeout(t, 240);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, plain_functions);
    tcase_add_test(t, replies);
    tcase_add_test(t, large_replies);
    tcase_add_test(t, reply_by_get);
    tcase_add_test(t, polls);
    tcase_add_test(t, sleeps);
    tcase_add_test(t, beside_threads);
    tcase_add_test(t, forgotten);
    tcase_add_test(t, streams);
    tcase_add_test(t, streams_fail);
    tcase_add_test(t, stream_forgotten);
    tcase_add_test(t, stream_held);
    tcase_add_test(t, stream_held_to_its_end);
    tcase_add_test(t, dies);
    tcase_add_test(t, restarts);
    tcase_add_test(t, errors);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
