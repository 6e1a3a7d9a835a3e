/* SPDX-License-Identifier: Apache-2.0
 * Functions that end in all the ways a node must be able to tell; for t2150. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "raywf.h"

#define MIB ((size_t)1 << 20)

static int square(struct raywf_call *call)
{
    size_t size;
    const double *x = raywf_arg(call, 0, &size);
    double y = *x * *x;
    return raywf_return(call, 0, &y, sizeof(y));
}

static int leave(struct raywf_call *call)
{
    (void)call;
    fprintf(stderr, "my last words\n");
    exit(3);
}

static int segfault(struct raywf_call *call)
{
    (void)call;
    raise(SIGSEGV);
    return 0;
}

static void take(size_t bytes)
{
    volatile char *p = malloc(bytes);
    for (size_t i = 0; p && i < bytes; i += 4096)
        p[i] = 1;
}

static int hog(struct raywf_call *call)
{
    (void)call;
    take(200 * MIB);
    pause();
    return 0;
}

static int deaf(struct raywf_call *call)
{
    (void)call;
    while (pause() < 0)
        continue;
    return 0;
}

static int spawn(struct raywf_call *call)
{
    double pid = fork();
    if (pid == 0)
        deaf(call);
    return raywf_return(call, 0, &pid, sizeof(pid));
}

static int create(struct raywf_call *call, void **ret_state)
{
    (void)ret_state;
    return raywf_fail(call, "no licence for this");
}

static int create_and_die(struct raywf_call *call, void **ret_state)
{
    (void)call;
    (void)ret_state;
    fprintf(stderr, "half built\n");
    abort();
}

static int create_never(struct raywf_call *call, void **ret_state)
{
    (void)ret_state;
    return deaf(call);
}

static const struct raywf_function functions[] = {
    {"square", square, "x*x"},
    {"leave", leave, "exits"},
    {"segfault", segfault, "SIGSEGV"},
    {"hog", hog, "takes 200 MiB"},
    {"deaf", deaf, "never returns"},
    {"spawn", spawn, "leaves a child behind"},
    {0}};
static const struct raywf_class classes[] = {
    {"Refuses", create, NULL, functions, "its constructor fails"},
    {"Crashes", create_and_die, NULL, functions, "its constructor crashes"},
    {"Hangs", create_never, NULL, functions, "its constructor never ends"},
    {0}};
RAYWF_PLUGIN(.functions = functions, .classes = classes);
