/* SPDX-License-Identifier: Apache-2.0
 * cluster_driver PLUGIN: a driver that does what it reads, line by line, and prints one
 * line for each: square X | env NAME | make NAME | call NAME METHOD | end NAME */
#include "raywf.h"
#include <stdio.h>
#include <string.h>

#define WAIT (60 * RAYWF_S)

static struct raywf_error err;

static int answer(struct raywf_ref ref)
{
    long y;
    if (raywf_get_copy(ref, WAIT, &y, sizeof(y), &err))
        return -1;
    printf("%ld\n", y);
    raywf_drop(ref);
    return 0;
}

static int square(struct raywf_task *task, long x)
{
    struct raywf_ref ref;
    if (raywf_submit(task, RAYWF_ARGS(RAYWF_BYTES(&x, sizeof(x))), &ref, &err))
        return -1;
    return answer(ref);
}

static int variable(const char *plugin, const char *name)
{
    struct raywf_ref ref;
    char text[64] = "";
    struct raywf_task *task = raywf_task(plugin, "variable", NULL, &err);
    snprintf(text, sizeof(text), "%s", name);
    if (!task ||
        raywf_submit(task, RAYWF_ARGS(RAYWF_BYTES(text, sizeof(text))), &ref, &err) ||
        raywf_get_copy(ref, WAIT, text, sizeof(text), &err))
        return -1;
    puts(text);
    raywf_drop(ref);
    return 0;
}

static int make(const char *plugin, const char *name)
{
    struct raywf_actor_options o = {.name = name, .detached = true, .max_restarts = -1};
    struct raywf_actor *a =
        raywf_actor_create(plugin, "counter", &o, RAYWF_NO_ARGS, &err);
    if (!a)
        return -1;
    puts("made");
    raywf_actor_release(a);
    return 0;
}

static int call(const char *name, const char *method)
{
    struct raywf_ref ref;
    struct raywf_actor *a = raywf_actor_find(name, &err);
    if (!a || raywf_actor_call(a, method, NULL, RAYWF_NO_ARGS, &ref, &err))
        return -1;
    int rc = answer(ref);
    raywf_actor_release(a);
    return rc;
}

static int end(const char *name)
{
    struct raywf_actor *a = raywf_actor_find(name, &err);
    if (!a || raywf_actor_kill(a, false, &err))
        return -1;
    puts("ended");
    raywf_actor_release(a);
    return 0;
}

int main(int argc, char **argv)
{
    char line[256], name[64], method[64];
    long x;
    if (argc != 2 || raywf_init(NULL, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    struct raywf_task *task = raywf_task(argv[1], "square", NULL, &err);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (task && fgets(line, sizeof(line), stdin)) {
        int rc = 0;
        if (sscanf(line, "square %ld", &x) == 1)
            rc = square(task, x);
        else if (sscanf(line, "env %63s", name) == 1)
            rc = variable(argv[1], name);
        else if (sscanf(line, "make %63s", name) == 1)
            rc = make(argv[1], name);
        else if (sscanf(line, "call %63s %63s", name, method) == 2)
            rc = call(name, method);
        else if (sscanf(line, "end %63s", name) == 1)
            rc = end(name);
        if (rc)
            printf("error: %s\n", err.text);
    }
    raywf_shutdown();
    return 0;
}
