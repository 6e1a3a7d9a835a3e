/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of serving serve. Each function answers with the body it got, and
 * first writes its id as a line into the file that MARKS names: a request that was
 * worked on twice is there twice.
 */
#include <fcntl.h>
#include <raywf.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int marks = -1;

/* {"id":"…"} */
static void mark(const char *body, size_t size)
{
    const char *file = getenv("MARKS");
    char line[128];

    if (marks < 0 && file)
        marks = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (marks < 0 || size < 10 || size > 100)
        return;
    int n = snprintf(line, sizeof(line), "%.*s\n", (int)(size - 9), body + 7);
    if (write(marks, line, (size_t)n) != n)
        abort();
}

static int echo_slowly(struct raywf_call *call, long ms)
{
    const struct timespec nap = {0, ms * 1000000};

    for (size_t i = 0; i < raywf_arg_count(call); i++) {
        size_t size;
        const char *body = raywf_arg(call, i, &size);
        mark(body, size);
        if (ms)
            nanosleep(&nap, NULL);
        if (raywf_return(call, i, body, size) < 0)
            return -1;
    }
    return 0;
}

static int echo(struct raywf_call *call)
{
    return echo_slowly(call, 0);
}

static int slow(struct raywf_call *call)
{
    return echo_slowly(call, 3);
}

static int die(struct raywf_call *call)
{
    (void)call;
    raise(SIGKILL);
    return 0;
}

static int fail(struct raywf_call *call)
{
    return raywf_fail(call, "as it was told");
}

static int pid(struct raywf_call *call)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "{\"pid\":%d}", (int)getpid());

    for (size_t i = 0; i < raywf_arg_count(call); i++)
        if (raywf_return(call, i, text, (size_t)n) < 0)
            return -1;
    return 0;
}

/* The body twice, in two pieces; an empty one is refused. */
static int twice(struct raywf_call *call)
{
    size_t size;
    const char *body = raywf_arg(call, 0, &size);

    if (size == 0)
        return raywf_reply(call, 0, 422, "text/plain", "twice nothing", 13);
    return raywf_yield(call, body, size) < 0 ? -1 : raywf_yield(call, body, size);
}

/* One piece, and then what went wrong. */
static int torn(struct raywf_call *call)
{
    return raywf_yield(call, "half", 4) < 0 ? -1 : raywf_fail(call, "torn");
}

static int typed(struct raywf_call *call)
{
    static const char text[] = "<p>no such thing</p>";

    return raywf_reply(call, 0, 404, "text/html", text, strlen(text));
}

static const struct raywf_function functions[] = {
    {"echo", echo, "the body"},
    {"slow", slow, "the body, after 3 ms"},
    {"die", die, "SIGKILL"},
    {"fail", fail, "an error"},
    {"pid", pid, "of its worker"},
    {"twice", twice, "a stream of two pieces"},
    {"torn", torn, "a stream that fails"},
    {"typed", typed, "a 404 in HTML"},
    {0}};

/* An actor with a state of its own. */
static int counter_create(struct raywf_call *call, void **ret_state)
{
    size_t size;
    const char *args = raywf_arg(call, 0, &size);
    const char *at = args ? memmem(args, size, "\"from\":", 7) : NULL;
    long *n = malloc(sizeof(*n));

    if (!n)
        return raywf_fail(call, "no memory");
    *n = at ? strtol(at + 7, NULL, 10) : 0;
    if (*n < 0) {
        free(n);
        return raywf_fail(call, "cannot count from below zero");
    }
    *ret_state = n;
    return 0;
}

static int counter_next(struct raywf_call *call)
{
    long *n = raywf_state(call);
    char text[64];

    for (size_t i = 0; i < raywf_arg_count(call); i++) {
        int len = snprintf(text, sizeof(text), "{\"count\":%ld}", ++*n);
        if (raywf_return(call, i, text, (size_t)len) < 0)
            return -1;
    }
    return 0;
}

static const struct raywf_function methods[] = {{"next", counter_next, "counts"}, {0}};
static const struct raywf_class classes[] = {
    {"counter", counter_create, free, methods, "counts from args.from"}, {0}};

RAYWF_PLUGIN(.functions = functions, .classes = classes);
