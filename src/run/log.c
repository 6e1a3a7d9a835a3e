/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing a log. The caller's thread appends to a buffer and writes it at flush; a
 * second thread does nothing but fdatasync, once for all that was written meanwhile.
 *
 * Invariants: `good` is the file's length up to its last whole line; after a failed
 * write the file is cut back to it and nothing is ever written again. `written`,
 * `synced`, `want` and `sync_errno` are shared and guarded by `mutex`; all else belongs
 * to the caller.
 */
#include "config.h"
#include "run/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/redact.h"
#include "base/str.h"

/* Between two syncs, so that a storm of small writes shares them. */
#define SYNC_PAUSE (10 * RWF_NS_PER_MS)
#define TAIL_MAX (64LL * 1024 * 1024)

struct subscriber {
    run_log_fn fn;
    void *ctx;
};

struct run_log {
    char *path;
    int fd;
    int64_t seq, good;
    bool failed;
    struct rwf_err failure;
    struct rwf_str buffer;
    struct subscriber *subscribers;
    size_t subscriber_count, subscriber_cap;

    pthread_t thread;
    bool threaded;
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
    bool idle; /* the thread waits for something to sync, and not for time to pass */
    int64_t written, synced;
    int waiting; /* callers in run_log_sync */
    bool quit;
    int sync_errno;
};

/* --- opening --- */

static char *pid_path(const char *path)
{
    char *dir = rwf_fs_dirname(path);
    char *file = rwf_fs_join(dir, "pid");
    free(dir);
    return file;
}

static int read_pid(const char *path)
{
    char *file = pid_path(path);
    char *text = rwf_fs_read(file, 64, NULL, NULL);
    int pid = text == NULL ? 0 : atoi(text);
    free(text);
    free(file);
    return pid > 0 ? pid : 0;
}

static int write_pid(const char *path, struct rwf_err *err)
{
    char text[32], *file = pid_path(path);
    int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    int result = rwf_fs_write(file, text, (size_t)len, false, err);
    free(file);
    return result;
}

int run_log_holder(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    return held ? read_pid(path) : 0;
}

/* The seq of a whole line, or -1 when it is none of ours. */
static int64_t line_seq(const char *line, size_t len)
{
    json_t *event = json_loadb(line, len, 0, NULL);
    int64_t seq = json_integer_value(json_object_get(event, "seq"));
    json_decref(event);
    return seq > 0 ? seq : -1;
}

/* Finds the last whole line that is an event: a crash of the process leaves half a line
 * behind it, a crash of the machine also blocks of zeros. */
static int64_t scan_tail(const char *text, size_t len, int64_t *ret_seq)
{
    size_t end = len;
    *ret_seq = 0;
    while (end > 0) {
        const char *nl = memrchr(text, '\n', end);
        if (nl == NULL)
            return 0;
        end = (size_t)(nl - text);
        const char *before = end > 0 ? memrchr(text, '\n', end) : NULL;
        size_t start = before == NULL ? 0 : (size_t)(before - text) + 1;
        *ret_seq = line_seq(text + start, end - start);
        if (*ret_seq > 0)
            return (int64_t)end + 1;
        end = start;
    }
    *ret_seq = 0;
    return 0;
}

/* Reads ever more of the file's end until a whole event is in it. */
static int find_end(struct run_log *log, int64_t size, struct rwf_err *err)
{
    for (int64_t want = 64 * 1024;; want *= 8) {
        int64_t len = want < size ? want : size;
        char *tail = rwf_alloc((size_t)len + 1, err);
        if (tail == NULL)
            return -1;
        ssize_t got = pread(log->fd, tail, (size_t)len, size - len);
        int64_t good = got < 0 ? -1 : scan_tail(tail, (size_t)got, &log->seq);
        free(tail);
        if (got < 0)
            return rwf_fail(err, errno, "%s: %s", log->path, strerror(errno));
        /* The first line of a part may be half a line, which does not parse. */
        if (good > 0 || len == size) {
            log->good = good > 0 ? size - len + good : 0;
            return 0;
        }
        if (want > TAIL_MAX)
            return rwf_fail(err, RWF_E_INPUT,
                            "%s: damaged log: no event in its last %lld "
                            "bytes",
                            log->path, (long long)len);
    }
}

static int repair(struct run_log *log, struct rwf_err *err)
{
    struct stat st;
    if (fstat(log->fd, &st) != 0)
        return rwf_fail(err, errno, "%s: %s", log->path, strerror(errno));
    if (find_end(log, st.st_size, err) != 0)
        return -1;
    if (log->good < st.st_size && ftruncate(log->fd, log->good) != 0)
        return rwf_fail(err, errno, "%s: cannot cut the torn tail: %s", log->path,
                        strerror(errno));
    if (lseek(log->fd, log->good, SEEK_SET) < 0)
        return rwf_fail(err, errno, "%s: %s", log->path, strerror(errno));
    log->written = log->synced = log->good;
    return 0;
}

static int open_locked(struct run_log *log, struct rwf_err *err)
{
    log->fd = open(log->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (log->fd < 0)
        return rwf_fail(err, RWF_E_ENV, "%s: %s", log->path, strerror(errno));
    if (rwf_lock_take(log->fd, read_pid(log->path)) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return rwf_fail(err, RWF_E_ENV, "%s: cannot lock: %s", log->path,
                        strerror(errno));
    return rwf_fail(err, RWF_E_USAGE,
                    "the run is active (pid %d); 'raywf stop' ends it",
                    read_pid(log->path));
}

/* A new name is durable only when its folder is. */
static void sync_folder(const char *path)
{
    char *dir = rwf_fs_dirname(path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(dir);
}

/* --- the sync thread --- */

static void pause_unless_awaited(struct run_log *log)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += SYNC_PAUSE;
    if (until.tv_nsec >= RWF_NS_PER_S) {
        until.tv_nsec -= RWF_NS_PER_S;
        until.tv_sec++;
    }
    while (!log->quit && log->waiting == 0)
        if (pthread_cond_timedwait(&log->work, &log->mutex, &until) == ETIMEDOUT)
            break;
}

static void *sync_thread(void *arg)
{
    struct run_log *log = arg;
    pthread_mutex_lock(&log->mutex);
    for (;;) {
        log->idle = true;
        while (!log->quit && log->written == log->synced)
            pthread_cond_wait(&log->work, &log->mutex);
        log->idle = false;
        if (log->written == log->synced)
            break;
        int64_t upto = log->written;
        pthread_mutex_unlock(&log->mutex);
        int failed = fdatasync(log->fd) != 0 ? errno : 0;
        pthread_mutex_lock(&log->mutex);
        log->synced = upto;
        if (failed != 0 && log->sync_errno == 0)
            log->sync_errno = failed;
        pthread_cond_broadcast(&log->done);
        pause_unless_awaited(log);
    }
    pthread_mutex_unlock(&log->mutex);
    return NULL;
}

/* Signals are for the main thread. */
static int start_thread(struct run_log *log, struct rwf_err *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&log->thread, NULL, sync_thread, log);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed != 0)
        return rwf_fail(err, RWF_E_ENV, "cannot start a thread: %s", strerror(failed));
    log->threaded = true;
    return 0;
}

struct run_log *run_log_open(const char *path, struct rwf_err *err)
{
    struct run_log *log = rwf_xcalloc(1, sizeof(*log));
    log->path = rwf_xstrdup(path);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&log->mutex, NULL);
    pthread_cond_init(&log->work, &monotonic);
    pthread_cond_init(&log->done, NULL);
    pthread_condattr_destroy(&monotonic);
    if (open_locked(log, err) != 0 || repair(log, err) != 0 ||
        write_pid(path, err) != 0 || start_thread(log, err) != 0) {
        run_log_close(log);
        return NULL;
    }
    sync_folder(path);
    return log;
}

void run_log_close(struct run_log *log)
{
    if (log == NULL)
        return;
    if (log->fd >= 0 && log->threaded)
        (void)run_log_flush(log, NULL);
    if (log->threaded) {
        pthread_mutex_lock(&log->mutex);
        log->quit = true;
        pthread_cond_broadcast(&log->work);
        pthread_mutex_unlock(&log->mutex);
        pthread_join(log->thread, NULL);
    }
    pthread_cond_destroy(&log->done);
    pthread_cond_destroy(&log->work);
    pthread_mutex_destroy(&log->mutex);
    if (log->fd >= 0)
        close(log->fd);
    rwf_str_free(&log->buffer);
    free(log->subscribers);
    free(log->path);
    free(log);
}

/* --- appending --- */

/* Names of the run's own making: replacing a part of one would break the replay. */
static bool is_structural(const char *key)
{
    static const char *const keys[] = {"step",         "key",     "cause",  "status",
                                       "dir",          "outputs", "origin", "reason",
                                       "because_step", "lost"};
    for (size_t i = 0; i < RWF_COUNT(keys); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

json_t *run_redacted(const json_t *value)
{
    const char *key;
    json_t *item, *copy;
    size_t i;
    if (json_is_string(value)) {
        struct rwf_str text = {NULL, 0, 0};
        rwf_redact(&text, json_string_value(value), json_string_length(value));
        copy = run_text(text.data == NULL ? "" : text.data);
        rwf_str_free(&text);
        return copy;
    }
    if (json_is_object(value)) {
        copy = json_object();
        json_object_foreach((json_t *)value, key, item)
            json_object_set_new(copy, key, run_redacted(item));
        return copy;
    }
    if (json_is_array(value)) {
        copy = json_array();
        json_array_foreach(value, i, item)
            json_array_append_new(copy, run_redacted(item));
        return copy;
    }
    return json_incref((json_t *)value);
}

static void redact_body(json_t *body)
{
    const char *key;
    void *at;
    json_t *item;
    json_object_foreach_safe(body, at, key, item) if (!is_structural(key))
        json_object_set_new(body, key, run_redacted(item));
}

static void add_json(struct rwf_str *s, const json_t *value)
{
    for (;;) {
        size_t room = s->cap > s->len + 1 ? s->cap - s->len - 1 : 0;
        size_t len = json_dumpb(value, s->data == NULL ? NULL : s->data + s->len, room,
                                JSON_COMPACT);
        rwf_assert(len > 0);
        if (len <= room) {
            s->len += len;
            s->data[s->len] = '\0';
            return;
        }
        /* Makes room for len bytes without keeping them. */
        size_t cap = (s->len + len + 2) * 2;
        s->data = rwf_xrealloc(s->data, cap);
        s->cap = cap;
    }
}

/* {"seq":7,"ts":"…","type":"…", and then the members of body. */
static void add_line(struct run_log *log, const char *ts, const char *type,
                     const json_t *body)
{
    struct rwf_str *s = &log->buffer;
    rwf_str_addf(s, "{\"seq\":%lld,\"ts\":\"%s\",\"type\":\"%s\"", (long long)log->seq,
                 ts, type);
    if (json_object_size(body) == 0) {
        rwf_str_addc(s, '}');
    } else {
        size_t brace = s->len;
        add_json(s, body);
        s->data[brace] = ',';
    }
    rwf_str_addc(s, '\n');
}

void run_log_append(struct run_log *log, enum run_event type, json_t *body)
{
    char ts[RWF_TIME_LEN];
    rwf_assert(json_is_object(body));
    if (log->failed) {
        json_decref(body);
        return;
    }
    rwf_clock_format(rwf_clock_wall(), ts);
    if (rwf_redact_active())
        redact_body(body);
    log->seq++;
    add_line(log, ts, run_event_name(type), body);
    if (log->subscriber_count > 0) {
        json_object_set_new(body, "seq", json_integer(log->seq));
        json_object_set_new(body, "ts", json_string(ts));
        json_object_set_new(body, "type", json_string(run_event_name(type)));
    }
    for (size_t i = 0; i < log->subscriber_count; i++)
        log->subscribers[i].fn(log->subscribers[i].ctx, type, body);
    json_decref(body);
}

/* The disk refused: whole lines that did get there stay, the rest goes. */
static int give_up(struct run_log *log, int code, int64_t wrote, struct rwf_err *err)
{
    log->failed = true;
    while (wrote > 0 && log->buffer.data[wrote - 1] != '\n')
        wrote--;
    log->good += wrote;
    if (ftruncate(log->fd, log->good) != 0)
        rwf_fail(&log->failure, RWF_E_ENV, "%s: %s, and it cannot be cut back: %s",
                 log->path, strerror(code), strerror(errno));
    else
        rwf_fail(&log->failure, RWF_E_ENV,
                 "%s: %s; make room on that disk, then "
                 "'raywf resume' goes on from here",
                 log->path, strerror(code));
    rwf_str_clear(&log->buffer);
    if (err != NULL)
        *err = log->failure;
    return -1;
}

static int check_sync(struct run_log *log, struct rwf_err *err)
{
    pthread_mutex_lock(&log->mutex);
    int code = log->sync_errno;
    pthread_mutex_unlock(&log->mutex);
    return code == 0 || log->failed ? 0 : give_up(log, code, 0, err);
}

static void publish(struct run_log *log)
{
    pthread_mutex_lock(&log->mutex);
    log->written = log->good;
    if (log->idle)
        pthread_cond_signal(&log->work);
    pthread_mutex_unlock(&log->mutex);
}

int run_log_flush(struct run_log *log, struct rwf_err *err)
{
    if (check_sync(log, err) != 0)
        return -1;
    if (log->failed) {
        if (err != NULL)
            *err = log->failure;
        return -1;
    }
    if (log->buffer.len == 0)
        return 0;
    size_t wrote = 0;
    while (wrote < log->buffer.len) {
        ssize_t n = write(log->fd, log->buffer.data + wrote, log->buffer.len - wrote);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int code = n == 0 ? ENOSPC : errno;
            int result = give_up(log, code, (int64_t)wrote, err);
            publish(log);
            return result;
        }
        wrote += (size_t)n;
    }
    log->good += (int64_t)wrote;
    rwf_str_clear(&log->buffer);
    publish(log);
    return 0;
}

int run_log_sync(struct run_log *log, struct rwf_err *err)
{
    if (run_log_flush(log, err) != 0)
        return -1;
    pthread_mutex_lock(&log->mutex);
    log->waiting++;
    pthread_cond_signal(&log->work);
    while (log->synced < log->written)
        pthread_cond_wait(&log->done, &log->mutex);
    log->waiting--;
    pthread_mutex_unlock(&log->mutex);
    return check_sync(log, err);
}

void run_log_subscribe(struct run_log *log, run_log_fn fn, void *ctx)
{
    *RWF_PUSH(log->subscribers, log->subscriber_count, log->subscriber_cap) =
        (struct subscriber){fn, ctx};
}
