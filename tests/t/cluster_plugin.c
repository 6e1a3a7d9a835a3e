/* SPDX-License-Identifier: Apache-2.0
 * For t2050-cluster.sh: a function and an actor. */
#include "raywf.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int square(struct raywf_call *call)
{
    size_t size;
    const long *x = raywf_arg(call, 0, &size);
    long y = size == sizeof(*x) ? *x * *x : -1;
    return raywf_return(call, 0, &y, sizeof(y));
}

/* A variable of the worker, in 64 bytes. */
static int variable(struct raywf_call *call)
{
    size_t size;
    const char *name = raywf_arg(call, 0, &size);
    const char *value = name && size == 64 ? getenv(name) : NULL;
    char text[64] = "-";
    if (value)
        strncpy(text, value, sizeof(text) - 1);
    return raywf_return(call, 0, text, sizeof(text));
}

static int counter(struct raywf_call *call, void **ret_state)
{
    (void)call;
    *ret_state = calloc(1, sizeof(long));
    return *ret_state ? 0 : -1;
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

static const struct raywf_function functions[] = {
    {"square", square, "x*x"}, {"variable", variable, "of its worker"}, {"pid", pid, "of its worker"}, {0}};
static const struct raywf_function methods[] = {
    {"next", next, "counts"}, {"pid", pid, "of its worker"}, {0}};
static const struct raywf_class classes[] = {
    {"counter", counter, free, methods, "counts its calls"}, {0}};
RAYWF_PLUGIN(.functions = functions, .classes = classes);
