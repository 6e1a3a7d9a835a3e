/* SPDX-License-Identifier: Apache-2.0
 *
 * node_driver PLUGIN FUNCTION [OPTION=VALUE...]: one task, or with class=NAME one call
 * of an actor. Prints its value, or the code and text of its error, and how long the
 * session, the first result and the next one took (us).
 *
 * Options: memory (bytes), timeout (ms), retries, class, start (ms), hold (seconds that
 * it stays after that)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "raywf.h"

static long option(char **argv, const char *name, long otherwise)
{
    size_t len = strlen(name);
    for (; *argv; argv++)
        if (strncmp(*argv, name, len) == 0 && (*argv)[len] == '=')
            return atol(*argv + len + 1);
    return otherwise;
}

static const char *text_option(char **argv, const char *name)
{
    size_t len = strlen(name);
    for (; *argv; argv++)
        if (strncmp(*argv, name, len) == 0 && (*argv)[len] == '=')
            return *argv + len + 1;
    return NULL;
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int fail(const struct raywf_error *err)
{
    printf("code %d: %s\n", err->code, err->text);
    return 1;
}

static int submit(char **argv, struct raywf_ref *ret, struct raywf_error *err)
{
    static double x = 12;
    struct raywf_resources resources = {.memory = option(argv, "memory", 0)};
    int retries = (int)option(argv, "retries", -1);
    if (text_option(argv, "class")) {
        struct raywf_actor_options o = {.resources = resources,
                                        .start_timeout =
                                            option(argv, "start", 0) * RAYWF_MS};
        static struct raywf_actor *actor;
        if (!actor)
            actor = raywf_actor_create(argv[1], text_option(argv, "class"), &o,
                                       RAYWF_NO_ARGS, err);
        return !actor
                   ? -1
                   : raywf_actor_call(actor, argv[2], NULL,
                                      RAYWF_ARGS(RAYWF_BYTES(&x, sizeof(x))), ret, err);
    }
    struct raywf_task_options o = {.resources = resources,
                                   .retry = {.max = retries, .backoff = RAYWF_MS},
                                   .timeout = option(argv, "timeout", 0) * RAYWF_MS};
    static struct raywf_task *task;
    if (!task)
        task = raywf_task(argv[1], argv[2], &o, err);
    return !task ? -1
                 : raywf_submit(task, RAYWF_ARGS(RAYWF_BYTES(&x, sizeof(x))), ret, err);
}

static int once(char **argv, double *ret_y)
{
    struct raywf_error err = {0};
    struct raywf_ref ref;
    if (submit(argv, &ref, &err) < 0 ||
        raywf_get_copy(ref, 60 * RAYWF_S, ret_y, sizeof(*ret_y), &err) < 0)
        return fail(&err);
    raywf_drop(ref);
    return 0;
}

int main(int argc, char **argv)
{
    struct raywf_error err = {0};
    double y = 0, begin = now_us();
    if (argc < 3 || raywf_init(NULL, &err) < 0)
        return argc < 3 ? 2 : fail(&err);
    double ready = now_us();
    int rc = once(argv, &y);
    double first = now_us();
    if (rc == 0) {
        rc = once(argv, &y);
        printf("value %g\n", y);
    }
    fprintf(stderr, "session %.0f us, first %.0f us, next %.0f us\n", ready - begin,
            first - ready, now_us() - first);
    fflush(stdout);
    sleep((unsigned)option(argv, "hold", 0));
    raywf_shutdown();
    return rc;
}
