/* SPDX-License-Identifier: Apache-2.0
 *
 * The access log: one JSON object per request. Lines gather in memory and are written
 * by a thread of libuv's pool, a batch at a time. When the disk does not keep up, lines
 * are dropped, and a line says how many: requests never wait for their log.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/impl.h"

#define FILE_MAX (16u << 20)
#define GATHER_MAX (4u << 20) /* beyond that lines are dropped */
#define WRITE_AT (64u << 10)
#define WRITE_MS 200

struct http__log {
    uv_loop_t *loop;
    uv_timer_t timer;
    uv_work_t work;
    char *path;
    int fd;
    uint64_t size;        /* of the file */
    struct rwf_str lines; /* gathered */
    struct rwf_str batch; /* being written */
    uint64_t dropped;
    int64_t second; /* which `stamp` is of */
    char stamp[RWF_TIME_LEN];
    bool writing, closing, broken;
};

/* --- writing --- */

static int open_file(struct http__log *log)
{
    struct stat st;
    log->fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log->fd < 0 || fstat(log->fd, &st))
        return -1;
    log->size = (uint64_t)st.st_size;
    return 0;
}

static void rotate(struct http__log *log)
{
    char *old = rwf_xasprintf("%s.1", log->path);
    close(log->fd);
    rename(log->path, old);
    open_file(log);
    free(old);
}

/* In a thread of the pool, or at the end. */
static void write_batch(struct http__log *log)
{
    if (log->size >= FILE_MAX)
        rotate(log);
    if (rwf_fs_write_all(log->fd, log->batch.data, log->batch.len, NULL) &&
        !log->broken) {
        log->broken = true;
        rwf_log(RWF_LOG_WARN, "http", "cannot write the access log %s: %s", log->path,
                strerror(errno));
    }
    log->size += log->batch.len;
    log->batch.len = 0;
}

static void work(uv_work_t *w)
{
    write_batch(w->data);
}

static void destroy(struct http__log *log)
{
    if (log->fd >= 0)
        close(log->fd);
    rwf_str_free(&log->lines);
    rwf_str_free(&log->batch);
    free(log->path);
    free(log);
}

static void start(struct http__log *log);

static void timer_closed(uv_handle_t *handle)
{
    struct http__log *log = handle->data;
    if (!log->writing)
        destroy(log);
}

static void finish(struct http__log *log)
{
    struct rwf_str rest = log->lines;
    log->lines = log->batch;
    log->batch = rest;
    if (log->batch.len)
        write_batch(log);
}

static void worked(uv_work_t *w, int status)
{
    struct http__log *log = w->data;
    (void)status;
    log->writing = false;
    if (log->closing) {
        finish(log);
        destroy(log);
    } else if (log->lines.len >= WRITE_AT) {
        start(log);
    }
}

static void start(struct http__log *log)
{
    struct rwf_str full = log->lines;
    if (log->writing || !full.len)
        return;
    log->lines = log->batch;
    log->batch = full;
    log->writing = true;
    log->work.data = log;
    uv_timer_stop(&log->timer);
    if (uv_queue_work(log->loop, &log->work, work, worked)) {
        log->writing = false;
        write_batch(log);
    }
}

static void timed(uv_timer_t *timer)
{
    start(timer->data);
}

/* --- lines --- */

/* The text of a second is made once. */
static const char *stamp(struct http__log *log)
{
    int64_t now = rwf_clock_wall();
    if (now / RWF_NS_PER_S != log->second) {
        log->second = now / RWF_NS_PER_S;
        rwf_clock_format(now, log->stamp);
    }
    unsigned ms = (unsigned)(now % RWF_NS_PER_S / RWF_NS_PER_MS);
    log->stamp[20] = (char)('0' + ms / 100);
    log->stamp[21] = (char)('0' + ms / 10 % 10);
    log->stamp[22] = (char)('0' + ms % 10);
    log->stamp[23] = 'Z';
    log->stamp[24] = '\0';
    return log->stamp;
}

static void add_text(struct rwf_str *out, const char *name, const char *text)
{
    rwf_str_add(out, ", \"");
    rwf_str_add(out, name);
    rwf_str_add(out, "\": ");
    http__add_json(out, text);
}

static void add_number(struct rwf_str *out, const char *name, uint64_t n)
{
    char digits[24], *at = digits + sizeof(digits);
    do
        *--at = (char)('0' + n % 10);
    while (n /= 10);
    rwf_str_add(out, ", \"");
    rwf_str_add(out, name);
    rwf_str_add(out, "\": ");
    rwf_str_addn(out, at, (size_t)(digits + sizeof(digits) - at));
}

static void add_dropped(struct http__log *log)
{
    if (!log->dropped)
        return;
    rwf_str_addf(&log->lines, "{\"time\": \"%s\", \"dropped\": %llu}\n", stamp(log),
                 (unsigned long long)log->dropped);
    log->dropped = 0;
}

void http__log_add(struct http__log *log, const struct http_request *r)
{
    struct rwf_str *out = &log->lines;
    if (out->len > GATHER_MAX) {
        log->dropped++;
        return;
    }
    add_dropped(log);
    rwf_str_add(out, "{\"time\": \"");
    rwf_str_add(out, stamp(log));
    rwf_str_addc(out, '"');
    add_text(out, "id", r->id);
    add_text(out, "peer", r->peer);
    add_text(out, "method", r->method);
    add_text(out, "path", r->path);
    add_number(out, "status", (uint64_t)r->status);
    add_number(out, "bytes_in", r->body.len);
    add_number(out, "bytes_out", r->sent);
    add_number(out, "us", (uint64_t)(rwf_clock_mono() - r->arrived) / 1000);
    if (r->note[0])
        add_text(out, "note", r->note);
    if (r->reason[0])
        add_text(out, "reason", r->reason);
    rwf_str_add(out, "}\n");
    if (out->len >= WRITE_AT)
        start(log);
    else if (!uv_is_active((uv_handle_t *)&log->timer) && !log->writing)
        uv_timer_start(&log->timer, timed, WRITE_MS, 0);
}

/* --- open and close --- */

struct http__log *http__log_open(uv_loop_t *loop, const char *path, struct rwf_err *err)
{
    struct http__log *log = rwf_xcalloc(1, sizeof(*log));
    log->loop = loop;
    log->path = rwf_xstrdup(path);
    log->second = -1;
    if (open_file(log)) {
        rwf_fail(err, RWF_E_ENV, "cannot open the access log %s: %s", path,
                 strerror(errno));
        destroy(log);
        return NULL;
    }
    uv_timer_init(loop, &log->timer);
    log->timer.data = log;
    uv_unref((uv_handle_t *)&log->timer);
    return log;
}

void http__log_close(struct http__log *log)
{
    if (!log)
        return;
    log->closing = true;
    if (!log->writing)
        finish(log);
    uv_close((uv_handle_t *)&log->timer, timer_closed);
}
