/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin to learn from: two functions and an actor class. Build it, and run driver.c
 * beside it, with
 *
 *     cc -O2 -shared -fPIC -o stats.so stats.c $(pkg-config --cflags raywf)
 *     cc -O2 -o driver driver.c $(pkg-config --cflags --libs raywf)
 *     ./driver ./stats.so
 *
 * A plugin needs raywf.h and nothing else: a worker brings the functions of raywf.
 */
#include <raywf.h>
#include <stdlib.h>

#include "stats.h"

/* Both sets of numbers seen as one (Chan's formula: exact, in any order). */
static void join(struct stats *all, const struct stats *more)
{
    double count = all->count + more->count, gap = more->mean - all->mean;

    if (more->count == 0)
        return;
    all->m2 += more->m2 + gap * gap * all->count * more->count / count;
    all->mean += gap * more->count / count;
    all->min = all->count == 0 || more->min < all->min ? more->min : all->min;
    all->max = all->count == 0 || more->max > all->max ? more->max : all->max;
    all->count = count;
}

/* A function gets its arguments in place, as bytes, aligned to 8; large ones lie in
 * shared memory and are not copied. It returns 0, or what raywf_fail returns. */
static int summary(struct raywf_call *call)
{
    size_t size;
    const double *x = raywf_arg(call, 0, &size);
    struct stats all = {0};

    if (!x || size % sizeof(*x) != 0)
        return raywf_fail(call, "wants an array of doubles, got %zu bytes", size);
    for (size_t i = 0; i < size / sizeof(*x); i++) {
        const struct stats one = {.count = 1, .mean = x[i], .min = x[i], .max = x[i]};
        join(&all, &one);
        /* Somebody may have cancelled it: a long function looks, now and then. */
        if (i % 65536 == 0 && raywf_cancelled(call))
            return raywf_fail(call, "cancelled at %zu", i);
    }
    return raywf_return(call, 0, &all, sizeof(all));
}

/* Any number of arguments: the way to gather what many calls have returned. */
static int merge(struct raywf_call *call)
{
    struct stats all = {0};

    for (size_t i = 0; i < raywf_arg_count(call); i++) {
        size_t size;
        const struct stats *more = raywf_arg(call, i, &size);
        if (size != sizeof(*more))
            return raywf_fail(call, "argument %zu is no summary: %zu bytes", i, size);
        join(&all, more);
    }
    return raywf_return(call, 0, &all, sizeof(all));
}

/* --- an actor: state that outlives a call, in a process of its own --- */

static int running_create(struct raywf_call *call, void **ret_state)
{
    struct stats *s = calloc(1, sizeof(*s));

    if (!s)
        return raywf_fail(call, "no memory");
    *ret_state = s;
    return 0;
}

/* Methods of one actor never run at the same time: no locks. */
static int running_add(struct raywf_call *call)
{
    size_t size;
    const struct stats *more = raywf_arg(call, 0, &size);

    if (size != sizeof(*more))
        return raywf_fail(call, "wants a summary, got %zu bytes", size);
    join(raywf_state(call), more);
    return 0; /* a function that returns nothing gives an empty value */
}

static int running_get(struct raywf_call *call)
{
    return raywf_return(call, 0, raywf_state(call), sizeof(struct stats));
}

static const struct raywf_function functions[] = {
    {"summary", summary, "an array of doubles -> struct stats"},
    {"merge", merge, "struct stats ... -> struct stats"},
    {0}};
static const struct raywf_function running_methods[] = {
    {"add", running_add, "struct stats ->"},
    {"get", running_get, "-> struct stats"},
    {0}};
static const struct raywf_class classes[] = {{"Running", running_create, free,
                                              running_methods,
                                              "adds up summaries as they come"},
                                             {0}};

RAYWF_PLUGIN(.functions = functions, .classes = classes);
