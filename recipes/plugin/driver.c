/* SPDX-License-Identifier: Apache-2.0
 *
 * A program that uses the plugin in stats.c: how to build it is said there. It starts a
 * runtime of its own (or uses the one that RAYWF_ADDRESS names), which ends with it.
 */
#include <math.h>
#include <raywf.h>
#include <stdio.h>
#include <stdlib.h>

#include "stats.h"

#define PARTS 16
#define NUMBERS 100000 /* in each */

static struct raywf_error err;

static void must(int result)
{
    if (result < 0) {
        fprintf(stderr, "driver: %s\n", err.text);
        exit(1);
    }
}

static void show(const char *what, const struct stats *s)
{
    printf("%s: %.0f numbers, mean %.6f, deviation %.6f, from %.6f to %.6f\n", what,
           s->count, s->mean, sqrt(s->m2 / s->count), s->min, s->max);
}

/* Numbers as the store's memory, written where they will be read. */
static struct raywf_ref numbers(unsigned seed)
{
    struct raywf_ref ref;
    double *x = raywf_create(NUMBERS * sizeof(*x), &ref, &err);

    must(x ? 0 : -1);
    for (int i = 0; i < NUMBERS; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = seed / 4294967296.0;
    }
    must(raywf_seal(ref, &err));
    return ref;
}

int main(int argc, char **argv)
{
    const char *plugin = argc > 1 ? argv[1] : "./stats.so";
    struct raywf_ref parts[PARTS], all, sum, added[PARTS];
    struct raywf_arg args[PARTS];
    struct stats s;

    must(raywf_init(NULL, &err));
    struct raywf_task *summary = raywf_task(plugin, "summary", NULL, &err);
    struct raywf_task *merge = raywf_task(plugin, "merge", NULL, &err);
    struct raywf_actor *running =
        raywf_actor_create(plugin, "Running", NULL, RAYWF_NO_ARGS, &err);
    must(summary && merge && running ? 0 : -1);

    /* Nothing waits here: what a call needs of others is passed by reference. */
    for (unsigned i = 0; i < PARTS; i++) {
        struct raywf_ref data = numbers(i);
        must(raywf_submit(summary, RAYWF_ARGS(RAYWF_REF(data)), &parts[i], &err));
        raywf_drop(data); /* the call holds it as long as it needs it */
        args[i] = RAYWF_REF(parts[i]);
        must(raywf_actor_call(running, "add", NULL, &args[i], 1, &added[i], &err));
    }
    must(raywf_submit(merge, args, PARTS, &all, &err));
    must(raywf_get_copy(all, RAYWF_FOREVER, &s, sizeof(s), &err));
    show("merged ", &s);

    /* Calls of an actor run in their order: this one sees all that were made before. */
    must(raywf_actor_call(running, "get", NULL, RAYWF_NO_ARGS, &sum, &err));
    must(raywf_get_copy(sum, RAYWF_FOREVER, &s, sizeof(s), &err));
    show("running", &s);

    raywf_actor_release(running);
    raywf_shutdown();
    return 0;
}
