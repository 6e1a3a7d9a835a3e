/* SPDX-License-Identifier: Apache-2.0
 * The functions that cluster.c measures with. */
#include <string.h>
#include <unistd.h>
#include "raywf.h"

static int noop(struct raywf_call *call)
{
    return raywf_return(call, 0, "ok", 2);
}

/* As little, but tells where. */
static int where(struct raywf_call *call)
{
    static char name[32];
    if (!*name)
        gethostname(name, sizeof(name) - 1);
    return raywf_return(call, 0, name, strlen(name));
}

/* Reads a byte of every page: how large it is when all pages are what they were. */
static int touch(struct raywf_call *call)
{
    size_t size;
    const unsigned char *data = raywf_arg(call, 0, &size);
    for (size_t i = 0; size > 1 && i < size; i += 4096)
        if (data[i] != ((i >> 12) & 0xff))
            return raywf_fail(call, "a wrong byte at %zu", i);
    return raywf_return(call, 0, &size, sizeof(size));
}

static int nap(struct raywf_call *call)
{
    char name[64] = "";
    usleep(20000);
    gethostname(name, sizeof(name) - 1);
    return raywf_return(call, 0, name, strlen(name));
}

static const struct raywf_function functions[] = {{"noop", noop, "does nothing"},
                                                  {"where", where, "the host"},
                                                  {"touch", touch, "reads it"},
                                                  {"nap", nap, "20 ms"},
                                                  {0}};
RAYWF_PLUGIN(.functions = functions);
