/* SPDX-License-Identifier: Apache-2.0
 *
 * The functions that core.c measures with; the same work as in core_ray.py.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "raywf.h"

static int noop(struct raywf_call *call)
{
    return raywf_return(call, 0, "ok", 2);
}

static int count_args(struct raywf_call *call)
{
    uint64_t count = raywf_arg_count(call);
    for (size_t i = 0; i < count; i++) {
        size_t size;
        if (raywf_arg(call, i, &size) == NULL)
            return raywf_fail(call, "argument %zu is missing", i);
    }
    return raywf_return(call, 0, &count, sizeof(count));
}

static int many(struct raywf_call *call)
{
    uint64_t count = *(const uint64_t *)raywf_arg(call, 0, NULL);
    for (uint64_t i = 0; i < count; i++)
        if (raywf_return(call, i, &i, sizeof(i)) != 0)
            return -1;
    return 0;
}

static int64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Of the processor, not of the clock: waiting for a core is no work. */
static int spin(struct raywf_call *call)
{
    int64_t end = thread_ns() + *(const int64_t *)raywf_arg(call, 0, NULL);
    while (thread_ns() < end)
        ;
    return raywf_return(call, 0, "ok", 2);
}

/* Until the file of that name is there. */
static int hold(struct raywf_call *call)
{
    const char *path = raywf_arg(call, 0, NULL);
    while (access(path, F_OK) != 0)
        usleep(1000);
    return raywf_return(call, 0, "ok", 2);
}

/* --- clients: other processes that submit --- */

static int get_all(struct raywf_call *call, struct raywf_ref *refs, size_t count)
{
    struct raywf_error err;
    char ok[2];
    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        if (rc == 0 && raywf_get_copy(refs[i], RAYWF_FOREVER, ok, 2, &err) != 0)
            rc = raywf_fail(call, "%s", err.text);
        raywf_drop(refs[i]);
    }
    free(refs);
    return rc == 0 ? raywf_return(call, 0, "ok", 2) : rc;
}

/* Arguments: path of this plugin, how many. */
static int client_tasks(struct raywf_call *call)
{
    static struct raywf_task *task;
    struct raywf_error err;
    uint64_t count = *(const uint64_t *)raywf_arg(call, 1, NULL), i = 0;
    if (task == NULL)
        task = raywf_task(raywf_arg(call, 0, NULL), "noop", NULL, &err);
    if (task == NULL)
        return raywf_fail(call, "%s", err.text);
    struct raywf_ref *refs = calloc(count, sizeof(*refs));
    for (; i < count; i++)
        if (raywf_submit(task, RAYWF_NO_ARGS, &refs[i], &err) != 0)
            break;
    return get_all(call, refs, i);
}

/* Arguments: how many, then the names of the actors to call in turn (at most 8). */
static int client_calls(struct raywf_call *call)
{
    static struct raywf_actor *servers[8];
    struct raywf_error err;
    uint64_t count = *(const uint64_t *)raywf_arg(call, 0, NULL), i = 0;
    size_t n = raywf_arg_count(call) - 1;
    for (size_t s = 0; s < n; s++)
        if (servers[s] == NULL &&
            (servers[s] = raywf_actor_find(raywf_arg(call, s + 1, NULL), &err)) == NULL)
            return raywf_fail(call, "%s", err.text);
    struct raywf_ref *refs = calloc(count, sizeof(*refs));
    for (; i < count; i++)
        if (raywf_actor_call(servers[i % n], "call", NULL, RAYWF_NO_ARGS, &refs[i],
                             &err) != 0)
            break;
    return get_all(call, refs, i);
}

static int server_create(struct raywf_call *call, void **ret_state)
{
    (void)call;
    *ret_state = NULL;
    return 0;
}

static const struct raywf_function functions[] = {
    {"noop", noop, "gives two bytes"},
    {"count_args", count_args, "how many arguments it got"},
    {"many", many, "that many values"},
    {"spin", spin, "works for so many nanoseconds"},
    {"hold", hold, "waits for a file"},
    {"client_tasks", client_tasks, "submits tasks and gets their values"},
    {"client_calls", client_calls, "calls actors and gets the values"},
    {0},
};
static const struct raywf_function server_methods[] = {{"call", noop, NULL}, {0}};
static const struct raywf_class classes[] = {
    {"server", server_create, NULL, server_methods, "answers calls"},
    {0},
};
RAYWF_PLUGIN(.functions = functions, .classes = classes);
