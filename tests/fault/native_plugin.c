/* SPDX-License-Identifier: Apache-2.0
 *
 * What the fault tests of the native runtime run: each result tells by whom and in
 * which attempt it was made, with a number that no other attempt has; an actor writes
 * down what it did.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "native_result.h"
#include "raywf.h"

static int work(struct raywf_call *call)
{
    const struct job *job = raywf_arg(call, 0, NULL);
    struct result *r;

    if (job->us)
        usleep(job->us);
    if (job->size < sizeof(*r))
        return raywf_fail(call, "too small");
    r = raywf_return_create(call, 0, job->size);
    if (!r)
        return -1;
    r->id = job->id;
    r->pid = (uint32_t)getpid();
    r->attempt = (uint32_t)raywf_attempt(call);
    if (getrandom(&r->nonce, sizeof(r->nonce), 0) != sizeof(r->nonce))
        return raywf_fail(call, "no random numbers");
    memset(r + 1, (int)(r->nonce & 0xff), job->size - sizeof(*r));
    return 0;
}

static int echo(struct raywf_call *call)
{
    size_t size;
    const void *data = raywf_arg(call, 0, &size);

    return raywf_return(call, 0, data, size);
}

static int overrun(struct raywf_call *call)
{
    const size_t size = 100000;
    char *data = raywf_return_create(call, 0, size);

    memset(data, 1, size + 1);
    return 0;
}

static int never_returns(struct raywf_call *call)
{
    while (raywf_arg_count(call) == 0)
        pause();
    return 0;
}

static int crash(struct raywf_call *call)
{
    (void)call;
    _exit(42);
}

static int address(struct raywf_call *call)
{
    const char *text = getenv("RAYWF_ADDRESS");

    return text ? raywf_return(call, 0, text, strlen(text) + 1)
                : raywf_fail(call, "no RAYWF_ADDRESS");
}

static const struct raywf_function functions[] = {
    {"work", work, NULL},
    {"echo", echo, NULL},
    {"overrun", overrun, NULL},
    {"never_returns", never_returns, NULL},
    {"crash", crash, NULL},
    {"address", address, NULL},
    {0}};

/* --- an actor that writes down each call before it answers --- */

static int open_log(struct raywf_call *call, void **ret_state)
{
    const char *path = raywf_arg(call, 0, NULL);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return raywf_fail(call, "%s: cannot be opened", path);
    *ret_state = (void *)(intptr_t)fd;
    return 0;
}

static int note(struct raywf_call *call)
{
    const struct job *job = raywf_arg(call, 0, NULL);
    struct note n = {.id = job->id, .pid = (uint32_t)getpid()};

    if (write((int)(intptr_t)raywf_state(call), &n, sizeof(n)) != sizeof(n))
        return raywf_fail(call, "cannot write");
    if (job->us)
        usleep(job->us);
    return raywf_return(call, 0, &n, sizeof(n));
}

static const struct raywf_function methods[] = {{"note", note, NULL}, {0}};
static const struct raywf_class classes[] = {{"log", open_log, NULL, methods, NULL},
                                             {0}};

RAYWF_PLUGIN(.functions = functions, .classes = classes);
