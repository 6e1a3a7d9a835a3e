/* SPDX-License-Identifier: Apache-2.0
 * Functions and an actor class for the tests of workers, clients and faults. */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "native/raywf.h"

static int noop(struct raywf_call *call)
{
    (void)call;
    return 0;
}

static int square(struct raywf_call *call)
{
    size_t size;
    const double *x = raywf_arg(call, 0, &size);

    if (size != sizeof(*x))
        return raywf_fail(call, "wants one double, got %zu bytes", size);
    double y = *x * *x;
    return raywf_return(call, 0, &y, sizeof(y));
}

/* Value i is argument i. */
static int echo(struct raywf_call *call)
{
    for (size_t i = 0; i < raywf_arg_count(call); i++) {
        size_t size;
        const void *data = raywf_arg(call, i, &size);
        if ((uintptr_t)data % 8)
            return raywf_fail(call, "argument %zu is not aligned", i);
        if (raywf_return(call, i, data, size) < 0)
            return -1;
    }
    return 0;
}

static int count_args(struct raywf_call *call)
{
    uint64_t n = raywf_arg_count(call);

    return raywf_return(call, 0, &n, sizeof(n));
}

static size_t size_arg(struct raywf_call *call)
{
    size_t size;
    const uint64_t *n = raywf_arg(call, 0, &size);

    return size == sizeof(*n) ? *n : 0;
}

/* A value of so many bytes, each the low byte of its place. */
static int fill(struct raywf_call *call)
{
    size_t size = size_arg(call);
    unsigned char *to = raywf_return_create(call, 0, size);

    if (!to)
        return -1;
    for (size_t i = 0; i < size; i++)
        to[i] = (unsigned char)i;
    return 0;
}

/* The same, and one byte more than it asked for. */
static int overrun(struct raywf_call *call)
{
    size_t size = size_arg(call);
    volatile unsigned char *to = raywf_return_create(call, 0, size);

    if (!to)
        return -1;
    to[size] = 1;
    return 0;
}

static int fail(struct raywf_call *call)
{
    return raywf_fail(call, "the %s is %d", "answer", 42);
}

static int fail_silently(struct raywf_call *call)
{
    (void)call;
    return -1;
}

static int crash(struct raywf_call *call)
{
    (void)call;
    return raise(SIGKILL);
}

static int segfault(struct raywf_call *call)
{
    volatile int *nowhere = NULL;

    (void)call;
    *nowhere = 1;
    return 0;
}

static int leave(struct raywf_call *call)
{
    _exit((int)size_arg(call));
}

/* Until it is cancelled. */
static int endless(struct raywf_call *call)
{
    const struct timespec nap = {.tv_nsec = 1000000};

    while (!raywf_cancelled(call))
        nanosleep(&nap, NULL);
    return raywf_fail(call, "was cancelled");
}

/* Never returns, whatever it is told. */
static int deaf(struct raywf_call *call)
{
    (void)call;
    for (;;)
        pause();
    return 0;
}

/* Sleeps so many ms. */
static int nap(struct raywf_call *call)
{
    size_t ms = size_arg(call);
    const struct timespec ts = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

    nanosleep(&ts, NULL);
    return 0;
}

/* Sleeps so many ms, then gives its second argument. */
static int later(struct raywf_call *call)
{
    size_t size;
    const void *data = raywf_arg(call, 1, &size);

    nap(call);
    return raywf_return(call, 0, data, size);
}

static int give_up(struct raywf_call *call, const struct raywf_error *err)
{
    return raywf_fail(call, "%s", err->text);
}

/* The n-th Fibonacci number; each call waits for two of its own. */
static int fib(struct raywf_call *call)
{
    struct raywf_resources r = {.cpu = 1};
    struct raywf_task_options o = {.resources = r};
    uint64_t n = size_arg(call), a, b;
    const char *self = getenv("WORK_PLUGIN");
    struct raywf_error err = {0};
    struct raywf_ref refs[2];

    if (n < 2)
        return raywf_return(call, 0, &n, sizeof(n));
    struct raywf_task *t = raywf_task(self, "fib", &o, &err);
    if (!t)
        return give_up(call, &err);
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t less = n - 1 - i;
        if (raywf_submit(t, RAYWF_ARGS(RAYWF_BYTES(&less, sizeof(less))), &refs[i],
                         &err) < 0)
            return give_up(call, &err);
    }
    if (raywf_get_copy(refs[0], RAYWF_FOREVER, &a, sizeof(a), &err) < 0 ||
        raywf_get_copy(refs[1], RAYWF_FOREVER, &b, sizeof(b), &err) < 0)
        return give_up(call, &err);
    raywf_drop(refs[0]);
    raywf_drop(refs[1]);
    a += b;
    return raywf_return(call, 0, &a, sizeof(a));
}

/* Yields 0, 1, … up to (not with) its argument. */
static int count(struct raywf_call *call)
{
    uint64_t n = size_arg(call);

    for (uint64_t i = 0; i < n; i++)
        if (raywf_yield(call, &i, sizeof(i)) < 0)
            return -1;
    return 0;
}

/* The same; the first attempt dies half way. */
static int count_crash(struct raywf_call *call)
{
    uint64_t n = size_arg(call);

    for (uint64_t i = 0; i < n; i++) {
        if (i == n / 2 && raywf_attempt(call) == 1)
            raise(SIGKILL);
        if (raywf_yield(call, &i, sizeof(i)) < 0)
            return -1;
    }
    return 0;
}

/* Values without end. */
static int flow(struct raywf_call *call)
{
    uint64_t i = 0;

    while (raywf_yield(call, &i, sizeof(i)) == 0)
        i++;
    return -1;
}

static int yields_then_fails(struct raywf_call *call)
{
    uint64_t one = 1;

    if (raywf_yield(call, &one, sizeof(one)) < 0)
        return -1;
    return raywf_fail(call, "no more");
}

/* Streams large values; or refuses, or does both, which is wrong. */
static int pieces(struct raywf_call *call)
{
    static char piece[100000];
    uint64_t n = size_arg(call);

    for (uint64_t i = 0; i < n; i++) {
        memset(piece, 'a' + (int)(i % 26), sizeof(piece));
        if (raywf_yield(call, piece, sizeof(piece)) < 0)
            return -1;
    }
    return n > 0 ? 0 : raywf_reply(call, 0, 418, "text/tea", "short and stout", 15);
}

static int yields_then_replies(struct raywf_call *call)
{
    return raywf_yield(call, "x", 1) < 0 ? -1
                                         : raywf_reply(call, 0, 200, NULL, "late", 4);
}

static int replies_then_yields(struct raywf_call *call)
{
    return raywf_reply(call, 0, 200, NULL, "early", 5) < 0 ? -1
                                                           : raywf_yield(call, "x", 1);
}

static int recycle(struct raywf_call *call)
{
    raywf_recycle(call);
    return 0;
}

static int pid(struct raywf_call *call)
{
    uint64_t p = (uint64_t)getpid();

    return raywf_return(call, 0, &p, sizeof(p));
}

static int attempt(struct raywf_call *call)
{
    uint64_t n = (uint64_t)raywf_attempt(call);

    return raywf_return(call, 0, &n, sizeof(n));
}

/* Dies until it is tried for the third time. */
static int third_time(struct raywf_call *call)
{
    if (raywf_attempt(call) < 3)
        raise(SIGKILL);
    return attempt(call);
}

/* Answer i: its argument, plain when i is a multiple of 3, else with a status, and a
 * type of its own when i is odd. */
static int answer(struct raywf_call *call)
{
    for (size_t i = 0; i < raywf_arg_count(call); i++) {
        size_t size;
        const void *data = raywf_arg(call, i, &size);
        if (i % 3 == 0 ? raywf_return(call, i, data, size) < 0
                       : raywf_reply(call, i, 400 + (int)i, i % 2 ? "text/odd" : NULL,
                                     data, size) < 0)
            return -1;
    }
    return 0;
}

static int bad_status(struct raywf_call *call)
{
    return raywf_reply(call, 0, 99, NULL, "", 0);
}

static int bad_type(struct raywf_call *call)
{
    return raywf_reply(call, 0, 200, "text/html\r\nX-Own: 1", "", 0);
}

static const struct raywf_function functions[] = {
    {"answer", answer, "replies"},
    {"bad_status", bad_status, "a reply that is none"},
    {"bad_type", bad_type, "a reply with a header too many"},
    {"noop", noop, "nothing"},
    {"square", square, "x*x"},
    {"echo", echo, "value i is argument i"},
    {"count_args", count_args, "how many arguments"},
    {"fill", fill, "so many bytes"},
    {"overrun", overrun, "one byte too many"},
    {"fail", fail, "an error"},
    {"fail_silently", fail_silently, "an error without a text"},
    {"crash", crash, "SIGKILL"},
    {"segfault", segfault, "SIGSEGV"},
    {"leave", leave, "exits"},
    {"endless", endless, "until cancelled"},
    {"deaf", deaf, "for ever"},
    {"nap", nap, "so many ms"},
    {"count", count, "a stream"},
    {"count_crash", count_crash, "a stream that dies once"},
    {"flow", flow, "a stream without end"},
    {"later", later, "an argument, later"},
    {"fib", fib, "calls itself"},
    {"yields_then_fails", yields_then_fails, "a stream"},
    {"pieces", pieces, "a stream of large values, or a reply"},
    {"yields_then_replies", yields_then_replies, "its status is sent"},
    {"replies_then_yields", replies_then_yields, "its answer is given"},
    {"recycle", recycle, "a new worker, please"},
    {"pid", pid, "of the worker"},
    {"attempt", attempt, "which one"},
    {"third_time", third_time, "dies twice"},
    {0}};

/* --- an actor --- */

struct counter {
    int64_t value;
};

static int64_t number_arg(struct raywf_call *call, size_t i, int64_t otherwise)
{
    size_t size;
    const int64_t *n = raywf_arg(call, i, &size);

    return n && size == sizeof(*n) ? *n : otherwise;
}

static int counter_create(struct raywf_call *call, void **ret_state)
{
    int64_t start = number_arg(call, 0, 0);

    if (start < 0)
        return raywf_fail(call, "cannot start below zero (%lld)", (long long)start);
    if (start == 666)
        raise(SIGABRT);
    if (start == 667)
        for (;;)
            pause();
    struct counter *c = malloc(sizeof(*c));
    if (!c)
        return raywf_fail(call, "no memory");
    c->value = start;
    *ret_state = c;
    return 0;
}

static int counter_add(struct raywf_call *call)
{
    struct counter *c = raywf_state(call);

    c->value += number_arg(call, 0, 1);
    return raywf_return(call, 0, &c->value, sizeof(c->value));
}

static int counter_get(struct raywf_call *call)
{
    const struct counter *c = raywf_state(call);

    return raywf_return(call, 0, &c->value, sizeof(c->value));
}

static const struct raywf_function counter_methods[] = {
    {"add", counter_add, "adds, gives the sum"},
    {"get", counter_get, "gives the sum"},
    {"pid", pid, "of its worker"},
    {"echo", echo, 0},
    {"crash", crash, "SIGKILL"},
    {"nap", nap, "so many ms"},
    {"deaf", deaf, "for ever"},
    {"fail", fail, "an error"},
    {"count", count, "a stream"},
    {"third_time", third_time, "dies twice"},
    {0}};
static const struct raywf_class classes[] = {
    {"Counter", counter_create, free, counter_methods, "counts"}, {0}};

RAYWF_PLUGIN(.functions = functions, .classes = classes);
