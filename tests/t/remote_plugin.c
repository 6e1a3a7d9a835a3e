/* SPDX-License-Identifier: Apache-2.0
 * For t2055-remote.sh: functions and an actor that tell where they run, take and give
 * values of any size, and take their time. */
#include "raywf.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void nap(long ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static long number(struct raywf_call *call, size_t i)
{
    size_t size;
    const long *x = raywf_arg(call, i, &size);
    return x && size == sizeof(*x) ? *x : -1;
}

/* …/nodes/NAME/node; after MS, if they are given. */
static int where(struct raywf_call *call)
{
    char name[64] = "?";
    const char *address = getenv("RAYWF_ADDRESS");
    const char *at = address ? strstr(address, "/nodes/") : NULL;
    if (at)
        sscanf(at, "/nodes/%63[^/]", name);
    if (raywf_arg_count(call))
        nap(number(call, 0));
    return raywf_return(call, 0, name, strlen(name) + 1);
}

static int nothing(struct raywf_call *call)
{
    return raywf_return(call, 0, "", 0);
}

static int square(struct raywf_call *call)
{
    long y = number(call, 0) * number(call, 0);
    return raywf_return(call, 0, &y, sizeof(y));
}

/* SIZE, SEED: so many bytes. Each return is one of them. */
static int make(struct raywf_call *call)
{
    size_t size = (size_t)number(call, 0);
    size_t count = raywf_arg_count(call) > 2 ? (size_t)number(call, 2) : 1;
    for (size_t k = 0; k < count; k++) {
        unsigned char *data = raywf_return_create(call, k, size);
        if (!data)
            return -1;
        for (size_t i = 0; i < size; i++)
            data[i] = (unsigned char)(i * 31 + (size_t)number(call, 1) + k);
    }
    return 0;
}

/* Of all its arguments. */
static int sum(struct raywf_call *call)
{
    long total = 0;
    for (size_t k = 0; k < raywf_arg_count(call); k++) {
        size_t size;
        const unsigned char *data = raywf_arg(call, k, &size);
        for (size_t i = 0; i < size; i++)
            total += data[i];
    }
    return raywf_return(call, 0, &total, sizeof(total));
}

static int fail(struct raywf_call *call)
{
    return raywf_fail(call, "not today, attempt %d", raywf_attempt(call));
}

static int die(struct raywf_call *call)
{
    if (raywf_attempt(call) <= number(call, 0))
        abort();
    return square(call);
}

static int sleeps(struct raywf_call *call)
{
    long ms = number(call, 0);
    for (long i = 0; i < ms && !raywf_cancelled(call); i += 5)
        nap(5);
    if (raywf_cancelled(call))
        return raywf_fail(call, "cancelled");
    return raywf_return(call, 0, &ms, sizeof(ms));
}

/* COUNT, SIZE: a stream. */
static int yields(struct raywf_call *call)
{
    long count = number(call, 0);
    size_t size = (size_t)number(call, 1) & 0xfffffff;
    long *value = calloc(1, size);
    int rc = value ? 0 : -1;
    for (long i = 1; rc == 0 && i <= count; i++) {
        *value = i;
        rc = raywf_yield(call, value, size);
    }
    free(value);
    return rc;
}

/* Adds a line "X" to the file: so that a test can count how often it ran. */
static int mark(struct raywf_call *call)
{
    size_t size;
    const char *path = raywf_arg(call, 0, &size);
    FILE *f = fopen(path, "ae");
    if (!f)
        return raywf_fail(call, "cannot write %s", path);
    fprintf(f, "%ld\n", number(call, 1));
    fclose(f);
    nap(number(call, 2));
    return raywf_return(call, 0, &(long){number(call, 1)}, sizeof(long));
}

/* A task of tasks: the square of its argument, by a task that it submits. */
static int nested(struct raywf_call *call)
{
    size_t size;
    const char *self = raywf_arg(call, 1, &size);
    long x = number(call, 0), y = -1;
    struct raywf_error err;
    struct raywf_ref ref;
    struct raywf_task *task = raywf_task(self, "square", NULL, &err);
    if (!task ||
        raywf_submit(task, RAYWF_ARGS(RAYWF_BYTES(&x, sizeof(x))), &ref, &err) ||
        raywf_get_copy(ref, 60 * RAYWF_S, &y, sizeof(y), &err))
        return raywf_fail(call, "%s", err.text);
    raywf_drop(ref);
    return raywf_return(call, 0, &y, sizeof(y));
}

/* The value of a ref of somebody else: its sum. */
static int borrow(struct raywf_call *call)
{
    size_t size;
    const struct raywf_ref *ref = raywf_arg(call, 0, &size);
    struct raywf_error err;
    struct raywf_value v;
    long total = 0;
    if (raywf_get(*ref, 60 * RAYWF_S, &v, &err))
        return raywf_fail(call, "%s", err.text);
    for (size_t i = 0; i < v.size; i++)
        total += ((const unsigned char *)v.data)[i];
    raywf_release(&v);
    return raywf_return(call, 0, &total, sizeof(total));
}

static int counter(struct raywf_call *call, void **ret_state)
{
    long *n = calloc(1, sizeof(*n));
    if (n && raywf_arg_count(call))
        *n = number(call, 0);
    *ret_state = n;
    return n ? 0 : -1;
}

static int next(struct raywf_call *call)
{
    long *n = raywf_state(call);
    ++*n;
    return raywf_return(call, 0, n, sizeof(*n));
}

static int pid(struct raywf_call *call)
{
    long p = getpid();
    return raywf_return(call, 0, &p, sizeof(p));
}

#define BOTH                                                                           \
    {"where", where, "[MS]: name of its node"}, {"pid", pid, "of its worker"},         \
        {"make", make, "SIZE SEED: bytes"}, {"sum", sum, "of bytes"},                  \
        {"sleeps", sleeps, "MS"}, {"yields", yields, "COUNT SIZE: a stream"},          \
        {"mark", mark, "FILE X MS"},                                                   \
    {                                                                                  \
        "fail", fail, "always"                                                         \
    }

static const struct raywf_function functions[] = {
    {"nothing", nothing, "does nothing"},
    {"square", square, "x*x"},
    {"die", die, "X: before attempt X+1"},
    {"nested", nested, "X PLUGIN: x*x by a task"},
    {"borrow", borrow, "REF: sum of its bytes"},
    BOTH,
    {0}};
static const struct raywf_function methods[] = {{"next", next, "counts"}, BOTH, {0}};
static const struct raywf_class classes[] = {
    {"counter", counter, free, methods, "counts its calls"}, {0}};
RAYWF_PLUGIN(.functions = functions, .classes = classes);
