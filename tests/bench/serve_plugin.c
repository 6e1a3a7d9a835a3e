/* SPDX-License-Identifier: Apache-2.0
 *
 * What serve.sh serves: a function that does nothing, and one that takes the time of a
 * model: 1 ms a call, 1.2 ms a batch of 16, of a core.
 */
#include <raywf.h>
#include <stdint.h>
#include <time.h>

static int noop(struct raywf_call *call)
{
    for (size_t i = 0; i < raywf_arg_count(call); i++)
        if (raywf_return(call, i, "hello, world\n", 13) < 0)
            return -1;
    return 0;
}

static int64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int costly(struct raywf_call *call)
{
    const int64_t n = (int64_t)raywf_arg_count(call);
    const int64_t until = now() + 1000000 + (n - 1) * 200000 / 15;

    while (now() < until)
        continue;
    return noop(call);
}

static const struct raywf_function functions[] = {
    {"noop", noop, "answers at once"},
    {"costly", costly, "answers after 1 ms, or a batch of 16 after 1.2 ms"},
    {0}};

RAYWF_PLUGIN(.functions = functions);
