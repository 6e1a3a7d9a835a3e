/* SPDX-License-Identifier: Apache-2.0
 *
 * The server as a whole: libmicrohttpd's daemon, which has one descriptor to wait for,
 * on the caller's loop. It is given a turn when that descriptor is ready, and once more
 * in the same or the next turn of the loop after replies from outside (http__soon).
 */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/impl.h"

#define SPARE_FILES 1024
#define PEM_MAX (1u << 20)

/* --- turns --- */

/* Its being there keeps the loop from sleeping. */
static void idle(uv_idle_t *handle)
{
    (void)handle;
}

void http__soon(struct http_server *s, int turns)
{
    if (s->again < turns)
        s->again = turns;
    if (!s->stopping && !uv_is_active((uv_handle_t *)&s->idle))
        uv_idle_start(&s->idle, idle);
}

/* Whether libmicrohttpd has more to do at once. While connections are hot it always
 * says so, for their sake; then what happened in the last turn tells. */
static bool is_pending(struct http_server *s)
{
    MHD_UNSIGNED_LONG_LONG timeout;
    if (s->hot_count)
        return s->happened;
    return s->mhd->get_timeout(s->daemon, &timeout) == MHD_YES && timeout == 0;
}

void http__pump(struct http_server *s)
{
    if (s->running || s->stopping)
        return;
    s->running = true;
    s->happened = false;
    s->turn++;
    if (s->again)
        s->again--;
    s->mhd->run(s->daemon);
    s->running = false;
    if (s->untold)
        http__requests_tell_lost(s);
    if (is_pending(s))
        http__soon(s, 1);
    else if (!s->again)
        uv_idle_stop(&s->idle);
}

static void ready(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    http__pump(poll->data);
}

static void before(uv_prepare_t *prepare)
{
    struct http_server *s = prepare->data;
    if (s->again)
        http__pump(s);
}

static void after(uv_check_t *check)
{
    struct http_server *s = check->data;
    if (s->again)
        http__pump(s);
}

/* --- the daemon --- */

static size_t unescape(void *ctx, struct MHD_Connection *mhd, char *text)
{
    (void)ctx, (void)mhd;
    return strlen(text); /* the target is decoded in check.c */
}

__attribute__((format(printf, 2, 0))) static void hear(void *ctx, const char *fmt,
                                                       va_list ap)
{
    struct http_server *s = ctx;
    if (s->daemon)
        return; /* it is of clients' doings */
    vsnprintf(s->fault, sizeof(s->fault), fmt, ap);
    s->fault[strcspn(s->fault, "\n")] = '\0';
}

static int start_daemon(struct http_server *s, const char *cert, const char *key,
                        struct rwf_err *err)
{
    unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET |
                     MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO | MHD_USE_ERROR_LOG |
                     (cert ? MHD_USE_TLS : 0);
    struct MHD_OptionItem items[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)hear, s},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)http__request_begin, s},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)http__request_done, s},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)http__conn_notify, s},
        {MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)unescape, NULL},
        /* Room for the header as it comes, an entry per line, and the reply's header.
         */
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)(s->o.max_header + 16384), NULL},
        {MHD_OPTION_CONNECTION_LIMIT, s->o.max_connections, NULL},
        {cert ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, (void *)(uintptr_t)cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key},
        {MHD_OPTION_END, 0, NULL},
    };
    s->daemon = s->mhd->start(flags, 0, NULL, NULL, http__request_handle, s,
                              MHD_OPTION_ARRAY, items, MHD_OPTION_END);
    if (!s->daemon)
        return rwf_fail(err, RWF_E_ENV, "libmicrohttpd does not start: %s",
                        s->fault[0] ? s->fault : "it does not say why");
    return 0;
}

static char *read_pem(const char *path, const char *kind, struct rwf_err *err)
{
    char *text = rwf_fs_read(path, PEM_MAX, NULL, err);
    const char *begin = text ? strstr(text, "-----BEGIN ") : NULL;
    if (!text || (begin && strstr(begin, kind)))
        return text;
    rwf_fail(err, RWF_E_INPUT, "%s holds no %s in PEM (-----BEGIN …)", path, kind);
    explicit_bzero(text, strlen(text));
    free(text);
    return NULL;
}

static int open_daemon(struct http_server *s, struct rwf_err *err)
{
    char *cert = NULL, *key = NULL;
    int rc = -1;
    if (s->o.tls_cert) {
        if (!s->o.tls_key) {
            rwf_fail(err, RWF_E_USAGE, "a TLS certificate needs its key");
            goto out;
        }
        if (s->mhd->feature(MHD_FEATURE_TLS) != MHD_YES) {
            rwf_fail(err, RWF_E_ENV, "this libmicrohttpd was built without TLS");
            goto out;
        }
        cert = read_pem(s->o.tls_cert, "CERTIFICATE", err);
        key = cert ? read_pem(s->o.tls_key, "PRIVATE KEY", err) : NULL;
        if (!key)
            goto out;
    }
    rc = start_daemon(s, cert, key, err);
    if (rc && cert)
        rwf_wrap(err, "TLS: the certificate %s and the key %s are damaged, or do not belong together",
                 s->o.tls_cert, s->o.tls_key);
out:
    free(cert);
    free(key);
    return rc;
}

/* --- lists of texts --- */

static const char *const *copy_list(const char *const *list)
{
    size_t count = 0;
    while (list && list[count])
        count++;
    char **copy = rwf_xcalloc(count + 1, sizeof(*copy));
    for (size_t i = 0; i < count; i++)
        copy[i] = rwf_xstrdup(list[i]);
    return (const char *const *)copy;
}

static void free_list(const char *const *list)
{
    char **all = (char **)(uintptr_t)list;
    for (char **text = all; text && *text; text++)
        free(*text);
    free(all);
}

/* --- the loop's handles --- */

void http__handle_closed(struct http_server *s)
{
    if (--s->handles)
        return;
    http__requests_clear(s);
    free_list(s->o.api_keys);
    free_list(s->o.open_paths);
    free_list(s->o.cors_origins);
    free(s->url);
    free(s);
}

static void handle_closed(uv_handle_t *handle)
{
    http__handle_closed(handle->data);
}

static void own(struct http_server *s, void *handle)
{
    ((uv_handle_t *)handle)->data = s;
    s->handles++;
}

static void disown(void *handle)
{
    if (((uv_handle_t *)handle)->data)
        uv_close(handle, handle_closed);
}

static int poll_fd(struct http_server *s, uv_poll_t *poll, int fd, uv_poll_cb fn,
                   struct rwf_err *err)
{
    int rc = uv_poll_init(s->loop, poll, fd);
    if (rc)
        return rwf_fail(err, RWF_E_ENV, "cannot watch the server: %s", uv_strerror(rc));
    own(s, poll);
    uv_poll_start(poll, UV_READABLE, fn);
    return 0;
}

/* So often that no time-out is late by more than a quarter. */
static uint64_t sweep_ms(const struct http_server_options *o)
{
    int64_t least = o->header_timeout;
    if (o->idle_timeout < least)
        least = o->idle_timeout;
    if (o->write_timeout < least)
        least = o->write_timeout;
    uint64_t ms = (uint64_t)(least / RWF_NS_PER_MS / 4);
    return ms < 10 ? 10 : ms > 1000 ? 1000 : ms;
}

static int open_handles(struct http_server *s, struct rwf_err *err)
{
    const union MHD_DaemonInfo *info =
        s->mhd->daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    s->gone_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->gone_fd < 0)
        return rwf_fail(err, errno, "epoll: %s", strerror(errno));
    if (poll_fd(s, &s->daemon_poll, info->epoll_fd, ready, err) ||
        poll_fd(s, &s->gone_poll, s->gone_fd, http__conn_gone, err))
        return -1;
    uv_prepare_init(s->loop, &s->prepare), own(s, &s->prepare);
    uv_check_init(s->loop, &s->check), own(s, &s->check);
    uv_idle_init(s->loop, &s->idle), own(s, &s->idle);
    uv_timer_init(s->loop, &s->hot_timer), own(s, &s->hot_timer);
    uv_timer_init(s->loop, &s->sweep_timer), own(s, &s->sweep_timer);
    uv_timer_init(s->loop, &s->drain_timer), own(s, &s->drain_timer);
    uv_prepare_start(&s->prepare, before);
    uv_check_start(&s->check, after);
    uv_unref((uv_handle_t *)&s->prepare);
    uv_unref((uv_handle_t *)&s->check);
    uint64_t ms = sweep_ms(&s->o);
    uv_timer_start(&s->sweep_timer, http__conn_sweep, ms, ms);
    uv_unref((uv_handle_t *)&s->sweep_timer);
    return 0;
}

/* --- create, drain, destroy --- */

#define DEFAULT(field, value) ((void)((field) || ((field) = (value))))

static void set_defaults(struct http_server_options *o)
{
    DEFAULT(o->max_body, 1u << 20);
    DEFAULT(o->max_header, 16384);
    DEFAULT(o->max_connections, 10000);
    DEFAULT(o->header_timeout, 10 * RWF_NS_PER_S);
    DEFAULT(o->idle_timeout, 90 * RWF_NS_PER_S);
    DEFAULT(o->write_timeout, 30 * RWF_NS_PER_S);
    DEFAULT(o->write_limit, 4u << 20);
}

static void copy_lists(struct http_server_options *o)
{
    o->api_keys = copy_list(o->api_keys);
    o->open_paths = copy_list(o->open_paths);
    o->cors_origins = copy_list(o->cors_origins);
}

/* As many descriptors as connections, as far as we may. */
static void raise_files(int wanted)
{
    struct rlimit limit;
    rlim_t need = (rlim_t)wanted + SPARE_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= need)
        return;
    limit.rlim_cur = need < limit.rlim_max ? need : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

struct http_server *http_server_create(uv_loop_t *loop,
                                       const struct http_server_options *o,
                                       struct rwf_err *err)
{
    struct http_server *s = rwf_xcalloc(1, sizeof(*s));
    s->loop = loop;
    s->o = *o;
    s->listen_fd = s->gone_fd = s->spare_fd = -1;
    s->any_key = o->api_keys && o->api_keys[0];
    s->tls = o->tls_cert != NULL;
    copy_lists(&s->o);
    set_defaults(&s->o);
    raise_files(s->o.max_connections);
    if (getrandom(&s->id_base, sizeof(s->id_base), GRND_NONBLOCK) < 0)
        s->id_base = (uint64_t)rwf_clock_wall();
    s->handles = 1; /* ours, until destroy */
    s->mhd = http__mhd_open(err);
    if (!s->mhd || open_daemon(s, err) || open_handles(s, err) || http__listen(s, err))
        goto fail;
    if (o->access_log && !(s->log = http__log_open(loop, o->access_log, err)))
        goto fail;
    return s;
fail:
    http_server_destroy(s);
    return NULL;
}

const char *http_server_url(const struct http_server *s)
{
    return s->url;
}

static void stop_daemon(struct http_server *s)
{
    if (!s->daemon)
        return;
    for (struct http__conn *c = s->conns; c; c = c->next) {
        if (c->suspended)
            s->mhd->resume(c->mhd);
        c->suspended = false;
    }
    s->mhd->stop(s->daemon);
}

void http_server_destroy(struct http_server *s)
{
    if (!s)
        return;
    s->stopping = true;
    http__listen_close(s);
    disown(&s->daemon_poll);
    disown(&s->gone_poll);
    disown(&s->prepare);
    disown(&s->check);
    disown(&s->idle);
    disown(&s->hot_timer);
    disown(&s->sweep_timer);
    disown(&s->drain_timer);
    stop_daemon(s);
    if (s->gone_fd >= 0)
        close(s->gone_fd);
    http__log_close(s->log);
    s->log = NULL;
    http__handle_closed(s);
}

#define ENDING "the server is ending"

/* Its handler cannot tell this from a client that left. */
static void say_cut(struct http_request *r)
{
    if (r->ended)
        return;
    http_reason(r, ENDING);
    rwf_log(RWF_LOG_WARN, "http",
            "an answer was cut short: path=%s request=%s bytes=%llu cause=" ENDING,
            http_path(r), http_id(r), (unsigned long long)http_reply_written(r));
}

static void cut_off(struct http_server *s)
{
    for (struct http__conn *c = s->conns, *next; c; c = next) {
        struct http_request *r = c->r;
        next = c->next;
        if (r)
            say_cut(r);
        http__conn_kill(c);
        if (r)
            http__request_lost(r);
    }
}

static void tell_drained(uv_timer_t *timer)
{
    struct http_server *s = timer->data;
    void (*done)(void *) = s->drained;
    uv_timer_stop(timer);
    s->drained = NULL;
    if (!done)
        return;
    cut_off(s); /* what is left: connections that idle, or all when time is up */
    done(s->drained_ctx);
}

/* From a timer, since done may destroy the server. */
void http__maybe_drained(struct http_server *s)
{
    if (s->drained && !s->stopping && !s->busy && !s->stats.ongoing)
        uv_timer_start(&s->drain_timer, tell_drained, 0, 0);
}

void http_server_drain(struct http_server *s, int64_t timeout, void (*done)(void *ctx),
                       void *ctx)
{
    s->draining = true;
    http__listen_close(s);
    s->drained = done;
    s->drained_ctx = ctx;
    uv_timer_start(&s->drain_timer, tell_drained, (uint64_t)(timeout / RWF_NS_PER_MS),
                   0);
    http__maybe_drained(s);
}

void http_server_stats(const struct http_server *s, struct http_server_stats *ret)
{
    *ret = s->stats;
}
