/* SPDX-License-Identifier: Apache-2.0
 * Tasks and an actor that write down that they ran, each time, before they answer. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "history.h"
#include "raywf.h"

/* One write of a line: those of others do not mix with it. */
static int say(const char *path, const char *what, const struct history_result *r,
               int attempt)
{
    char line[256];
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    int len = snprintf(line, sizeof(line), "%s %llu %llx %s %d %d\n", what,
                       (unsigned long long)r->id, (unsigned long long)r->nonce,
                       r->where, attempt, (int)getpid());
    int rc = fd >= 0 && write(fd, line, (size_t)len) == len ? 0 : -1;
    if (fd >= 0)
        close(fd);
    return rc;
}

static int run(struct raywf_call *call, const char *what)
{
    const struct history_job *job = raywf_arg(call, 0, NULL);
    struct history_result *r;
    if (job->size < sizeof(*r))
        return raywf_fail(call, "too small");
    r = raywf_return_create(call, 0, job->size);
    if (!r)
        return -1;
    memset(r, 0, sizeof(*r));
    r->id = job->id;
    gethostname(r->where, sizeof(r->where) - 1);
    if (getrandom(&r->nonce, sizeof(r->nonce), 0) != sizeof(r->nonce))
        return raywf_fail(call, "no random numbers");
    memset(r + 1, (int)(r->nonce & 0xff), job->size - sizeof(*r));
    if (say(job->ran, what, r, raywf_attempt(call)))
        return raywf_fail(call, "%s: cannot be written", job->ran);
    if (job->us)
        usleep(job->us);
    return 0;
}

static int work(struct raywf_call *call)
{
    return run(call, "ran");
}

static int echo(struct raywf_call *call)
{
    size_t size;
    const void *data = raywf_arg(call, 0, &size);
    return raywf_return(call, 0, data, size);
}

static int create(struct raywf_call *call, void **ret_state)
{
    (void)call;
    *ret_state = NULL;
    return 0;
}

static int note(struct raywf_call *call)
{
    return run(call, "did");
}

static const struct raywf_function functions[] = {
    {"work", work, NULL}, {"echo", echo, NULL}, {0}};
static const struct raywf_function methods[] = {{"note", note, NULL}, {0}};
static const struct raywf_class classes[] = {{"log", create, NULL, methods, NULL}, {0}};
RAYWF_PLUGIN(.functions = functions, .classes = classes);
