/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of the client of this process.
 */
#include "config.h"
#include "native/client.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "native/calls.h"
#include "native/control.h"
#include "native/internal.h"
#include "native/remote.h"
#include "native/session.h"

#define SPIN_US 20

struct native__client *native__the;

/* Before native_client_open, in a worker. */
static struct native_worker_ops worker_ops;
static uint64_t worker_number;

/* --- small things --- */

int native__fail(struct raywf_error *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
    }
    return -1;
}

struct native__client *native__client(struct raywf_error *err)
{
    if (!native__the)
        native__fail(err, RAYWF_E_RUNTIME, "raywf_init was not called, or has failed");
    return native__the;
}

void native__lock(struct native__client *c)
{
    pthread_mutex_lock(&c->lock);
}

void native__unlock(struct native__client *c)
{
    pthread_mutex_unlock(&c->lock);
}

struct store *native__store(struct native__client *c)
{
    return c->session_count ? c->sessions[c->session_count - 1].store : NULL;
}

uint64_t native__client_id(const struct native__client *c)
{
    return c->id;
}

int64_t native__deadline(int64_t timeout)
{
    if (timeout == RAYWF_FOREVER)
        return INT64_MAX;
    if (timeout <= 0)
        return 0;
    int64_t now = rwf_clock_mono();
    return timeout > INT64_MAX - now ? INT64_MAX : now + timeout;
}

/* --- a worker's --- */

void native__worker_ops(const struct native_worker_ops *ops, uint64_t worker)
{
    worker_ops = *ops;
    worker_number = worker;
}

void native__worker_call(struct native__client *c, bool (*cancelled)(void *ctx),
                         void *ctx)
{
    if (cancelled) { /* the same function for all calls of a worker */
        if (!c->cancelled) {
            c->cancelled_ctx = ctx;
            c->cancelled = cancelled;
            c->caller = pthread_self();
        }
        if (++c->calls == 0)
            c->calls = 1;
    }
    atomic_store_explicit(&c->call, cancelled ? c->calls : 0, memory_order_release);
}

/* --- birth --- */

static int64_t spin_ns(void)
{
    const char *text = getenv("RAYWF_SPIN");
    if (!text || !*text)
        return SPIN_US * 1000;
    char *end;
    long us = strtol(text, &end, 10);
    if (*end || us < 0 || us > 1000000) {
        rwf_log(RWF_LOG_WARN, "native",
                "RAYWF_SPIN is to be microseconds, 0 to 1000000: '%s' is ignored",
                text);
        return SPIN_US * 1000;
    }
    return us * 1000;
}

static struct native__client *create(const struct raywf_options *o)
{
    struct native__client *c = rwf_xcalloc(1, sizeof(*c));
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->send_lock, NULL);
    pthread_cond_init(&c->changed, &attr);
    pthread_cond_init(&c->stir, &attr);
    pthread_cond_init(&c->closing, &attr);
    pthread_condattr_destroy(&attr);
    if (o)
        c->options = *o;
    c->options.job =
        rwf_xstrdup(c->options.job ? c->options.job : program_invocation_short_name);
    c->options.spill = c->options.spill ? rwf_xstrdup(c->options.spill) : NULL;
    c->options.address = NULL;
    c->fd = -1;
    c->spin = spin_ns();
    c->jobs_end = &c->jobs;
    c->function_map = rwf_map_create();
    c->shapes = rwf_map_create();
    c->worker_ops = worker_ops;
    c->worker = worker_number;
    c->now = rwf_clock_mono();
    return c;
}

static void free_tables(struct native__client *c)
{
    for (size_t i = 0; i < c->function_count; i++)
        free(c->functions[i]);
    free(c->functions);
    for (size_t i = 0; i < c->policy_count; i++)
        free(c->policies[i]);
    free(c->policies);
    rwf_map_destroy(c->function_map, NULL);
    rwf_map_destroy(c->shapes, NULL);
    free(c->timers);
}

static void destroy(struct native__client *c)
{
    native__session_end(c);
    native__handles_free(c);
    native__lanes_free(c);
    native__borrows_free(c);
    native__streams->free(c);
    native__watches_free(c);
    native__values_free(c);
    native__tasks_free(c);
    native__sessions_free(c);
    free_tables(c);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->send_lock);
    pthread_cond_destroy(&c->changed);
    pthread_cond_destroy(&c->stir);
    pthread_cond_destroy(&c->closing);
    free((char *)(uintptr_t)c->options.job);
    free((char *)(uintptr_t)c->options.spill);
    free(c->address);
    free(c);
}

static int start(struct native__client *c, int fd, struct raywf_error *err)
{
    struct rwf_err why = RWF_ERR_INIT;
    if (fd < 0)
        fd = native__connect(c, &why);
    if (fd >= 0 && native__join(c, fd, &why) == 0 && native__pump_start(c, &why) == 0 &&
        native__control_start(c, &why) == 0) {
        native__the = c;
        return 0;
    }
    native__pump_stop(c);
    native__control_stop(c);
    destroy(c);
    return native__fail(err, RAYWF_E_RUNTIME, "%s", why.text);
}

int raywf_init(const struct raywf_options *options, struct raywf_error *err)
{
    if (native__the)
        return native__fail(err, RAYWF_E_RUNTIME,
                            "raywf_init was called already in this process");
    const char *address = options ? options->address : NULL;
    if (!address)
        address = getenv("RAYWF_ADDRESS");
    struct native__client *c = create(options);
    if (address && *address)
        c->address = rwf_xstrdup(address);
    return start(c, -1, err);
}

int native_client_open(int fd, const struct raywf_options *options,
                       struct raywf_error *err)
{
    if (native__the) {
        close(fd);
        return native__fail(err, RAYWF_E_RUNTIME, "this process has a client already");
    }
    struct native__client *c = create(options);
    c->given = true;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return start(c, fd, err);
}

/* --- death --- */

static void cancel_all(struct native__client *c)
{
    for (uint32_t i = 0; i < c->used; i++) {
        struct native__value *v = native__value_at(c, i);
        if (v->state == NATIVE__PENDING)
            native__cancel(c, v->id, 0);
    }
}

void raywf_shutdown(void)
{
    struct native__client *c = native__the;
    if (!c)
        return;
    native__lock(c);
    cancel_all(c);
    native__unlock(c);
    native__pump_stop(c);
    native__control_stop(c);
    if (native__actors)
        native__actors->free(c);
    native__the = NULL;
    destroy(c);
}

/* --- for raywf's own programs --- */

void native_client_on_ready(void (*fn)(void *ctx), void *ctx)
{
    struct native__client *c = native__the;
    native__lock(c);
    c->ready = fn;
    c->ready_ctx = ctx;
    c->deep = true;
    native__stir(c);
    native__unlock(c);
}

char *native_client_list(const char *what, const char *about, struct raywf_error *err)
{
    struct native__client *c = native__client(err);
    if (!c)
        return NULL;
    struct wire_message answer;
    Wire__List m = WIRE__LIST__INIT;
    m.what = (char *)(uintptr_t)what;
    m.about = (char *)(uintptr_t)(about ? about : "");
    char *json = NULL;
    native__lock(c);
    m.request = native__request(c);
    native__tell(c, WIRE_LIST, &m.base);
    int64_t deadline = native__deadline(30 * RAYWF_S);
    if (native__answer(c, m.request, deadline, &answer, err) == 0) {
        json = rwf_xstrdup(((const Wire__Listed *)answer.body)->json);
        wire_message_clear(&answer);
    }
    native__unlock(c);
    return json;
}
