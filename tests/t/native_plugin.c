/* SPDX-License-Identifier: Apache-2.0
 *
 * Functions for t2100-tasks.sh: what they are for is said in native_driver.c.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "raywf.h"

static int square(struct raywf_call *call)
{
    size_t size;
    const double *x = raywf_arg(call, 0, &size);
    if (!x || size != sizeof(*x))
        return raywf_fail(call, "square needs one number");
    double y = *x * *x;
    return raywf_return(call, 0, &y, sizeof(y));
}

/* Of all bytes of all arguments. */
static int sum(struct raywf_call *call)
{
    uint64_t total = 0;
    for (size_t i = 0; i < raywf_arg_count(call); i++) {
        size_t size;
        const unsigned char *bytes = raywf_arg(call, i, &size);
        for (size_t k = 0; k < size; k++)
            total += bytes[k];
    }
    return raywf_return(call, 0, &total, sizeof(total));
}

static int fill(struct raywf_call *call)
{
    const size_t size = *(const size_t *)raywf_arg(call, 0, NULL);
    unsigned char *to = raywf_return_create(call, 0, size);
    if (!to)
        return -1;
    memset(to, 1, size);
    return 0;
}

static int overrun(struct raywf_call *call)
{
    unsigned char *to = raywf_return_create(call, 0, 100000);
    if (!to)
        return -1;
    memset(to, 1, 100001);
    return 0;
}

/* A line for each begin: so that the test can count them. */
static void note(struct raywf_call *call)
{
    size_t size;
    const char *path = raywf_arg(call, 0, &size);
    FILE *f = fopen(path, "a");
    if (f) {
        fprintf(f, "%d\n", raywf_attempt(call));
        fclose(f);
    }
}

static int die_once(struct raywf_call *call)
{
    note(call);
    if (raywf_attempt(call) == 1)
        raise(SIGKILL);
    return raywf_return(call, 0, "alive", 5);
}

static int die(struct raywf_call *call)
{
    note(call);
    _exit(7);
}

static int spin(struct raywf_call *call)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    note(call);
    while (!raywf_cancelled(call))
        nanosleep(&nap, NULL);
    return raywf_fail(call, "stopped");
}

static int stuck(struct raywf_call *call)
{
    note(call);
    for (;;)
        pause();
    return 0;
}

/* The worker submits to itself, as it were: fib(n) by tasks. */
static int fib(struct raywf_call *call)
{
    struct raywf_error err;
    const int64_t n = *(const int64_t *)raywf_arg(call, 0, NULL);
    int64_t ret = n;
    if (n > 1) {
        size_t size;
        const char *plugin = raywf_arg(call, 1, &size);
        const struct raywf_task_options o = {.resources.cpu = 0.5};
        struct raywf_task *t = raywf_task(plugin, "fib", &o, &err);
        struct raywf_ref a, b;
        int64_t x = n - 1, y = n - 2, first, second;
        if (!t ||
            raywf_submit(t, RAYWF_ARGS(RAYWF_BYTES(&x, 8), RAYWF_BYTES(plugin, size)),
                         &a, &err) < 0 ||
            raywf_submit(t, RAYWF_ARGS(RAYWF_BYTES(&y, 8), RAYWF_BYTES(plugin, size)),
                         &b, &err) < 0 ||
            raywf_get_copy(a, RAYWF_FOREVER, &first, 8, &err) < 0 ||
            raywf_get_copy(b, RAYWF_FOREVER, &second, 8, &err) < 0)
            return raywf_fail(call, "fib(%lld): %s", (long long)n, err.text);
        raywf_drop(a);
        raywf_drop(b);
        ret = first + second;
    }
    return raywf_return(call, 0, &ret, sizeof(ret));
}

/* A ref of this worker's, given to the driver as bytes; it lives as long as the worker.
 */
static int lend(struct raywf_call *call)
{
    struct raywf_error err;
    struct raywf_ref ref;
    char *big = calloc(1, 200000);
    big[0] = 42;
    int rc = raywf_put(big, 200000, &ref, &err);
    free(big);
    if (rc < 0)
        return raywf_fail(call, "%s", err.text);
    return raywf_return(call, 0, &ref, sizeof(ref));
}

static int env(struct raywf_call *call)
{
    const char *value = getenv("COLOUR");
    return raywf_return(call, 0, value ? value : "none", value ? strlen(value) : 4);
}

static int pid(struct raywf_call *call)
{
    pid_t me = getpid();
    return raywf_return(call, 0, &me, sizeof(me));
}

static const struct raywf_function functions[] = {
    {"square", square, "x*x"},
    {"sum", sum, NULL},
    {"fill", fill, NULL},
    {"overrun", overrun, NULL},
    {"die_once", die_once, NULL},
    {"die", die, NULL},
    {"spin", spin, NULL},
    {"stuck", stuck, NULL},
    {"fib", fib, NULL},
    {"lend", lend, NULL},
    {"env", env, NULL},
    {"pid", pid, NULL},
    {0},
};
RAYWF_PLUGIN(.functions = functions);
