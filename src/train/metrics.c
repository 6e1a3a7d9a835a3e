/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "train/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "train/tensorboard.h"

enum { OPEN_TRIES = 100, OPEN_PAUSE_MS = 20, WRITE_MS = 1000, CURVE = 40 };
#define SAMPLE_NS (100 * RWF_NS_PER_MS)
#define WINDOW_NS (5 * RWF_NS_PER_S)

struct metrics {
    int report; /* -1: none */
    int dropped;
    int file; /* -1: none */
    char *path;
    struct rwf_str lines; /* not in the file yet */
    off_t size;           /* of the file: whole lines */
    struct tensorboard *board;
    int64_t flushed; /* when */
    bool failing;
    double *losses;
    size_t count, cap;
};

/* --- the report --- */

/* A FIFO has a reader soon or never: without one, there is no report. */
static int open_report(const char *path)
{
    for (int i = 0; i < OPEN_TRIES; i++) {
        int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_APPEND);
        if (fd >= 0 || errno != ENXIO)
            return fd;
        poll(NULL, 0, OPEN_PAUSE_MS);
    }
    return -1;
}

static void stop_report(struct metrics *m)
{
    close(m->report);
    m->report = -1;
}

/* Lines stay whole: up to PIPE_BUF a write is one or none; of a longer one the rest follows. */
static void write_report(struct metrics *m, const char *line, size_t len)
{
    size_t at = 0;
    while (m->report >= 0 && at < len) {
        ssize_t n = write(m->report, line + at, len - at);
        if (n >= 0) {
            at += (size_t)n;
            continue;
        }
        struct pollfd p = { .fd = m->report, .events = POLLOUT };
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN) {
            stop_report(m); /* the reader is gone */
        } else if (poll(&p, 1, WRITE_MS) == 0) {
            m->dropped++;
            if (at > 0)
                stop_report(m); /* half a line: nothing after it would be one */
            return;
        }
    }
}

void metrics_report(struct metrics *m, int64_t step, const json_t *values, double progress,
                    const char *message)
{
    if (m->report < 0)
        return;
    json_t *line = json_object();
    if (step != METRICS_NO_STEP)
        json_object_set_new(line, "step", json_integer(step));
    if (values != NULL)
        json_object_update(line, (json_t *)values);
    if (isfinite(progress))
        json_object_set_new(line, "progress", json_real(progress));
    if (message != NULL)
        json_object_set_new(line, "message", json_string(message));
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
    size_t len = strlen(text);
    text[len] = '\n'; /* in the place of the NUL */
    write_report(m, text, len + 1);
    free(text);
    json_decref(line);
}

/* --- metrics.jsonl --- */

/* The bytes of path's lines up to that of step; what is after is of steps done again. */
static off_t kept_bytes(const char *path, int64_t step)
{
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    off_t kept = 0;
    while (f != NULL && (len = getline(&line, &cap, f)) > 0) {
        json_t *o = json_loadb(line, (size_t)len, 0, NULL);
        json_int_t at = json_integer_value(json_object_get(o, "step"));
        json_decref(o);
        if (o == NULL || line[len - 1] != '\n' || at > step)
            break;
        kept += len;
    }
    free(line);
    if (f != NULL)
        fclose(f);
    return kept;
}

static int open_file(struct metrics *m, const char *path, int64_t step, struct rwf_err *err)
{
    off_t kept = kept_bytes(path, step);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_APPEND, 0644);
    if (fd < 0 || ftruncate(fd, kept) != 0) {
        if (fd >= 0)
            close(fd);
        return rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    }
    m->path = rwf_xstrdup(path);
    m->file = fd;
    m->size = kept;
    return 0;
}

static void add_line(struct metrics *m, int64_t step, const json_t *values)
{
    json_t *line = json_pack("{s:I}", "step", (json_int_t)step);
    json_object_update(line, (json_t *)values);
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
    rwf_str_addf(&m->lines, "%s\n", text);
    json_decref(line);
    free(text);
}

/* All of them or, when the disk is full, none: they are tried again. */
static int write_lines(struct metrics *m, struct rwf_err *err)
{
    size_t at = 0;
    while (at < m->lines.len) {
        ssize_t n = write(m->file, m->lines.data + at, m->lines.len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            rwf_fail(err, errno, "%s: %s", m->path, strerror(errno));
            if (ftruncate(m->file, m->size) != 0)
                rwf_wrap(err, "half a line is left");
            return -1;
        }
        at += (size_t)n;
    }
    m->size += (off_t)at;
    m->lines.len = 0;
    return 0;
}

/* --- life --- */

struct metrics *metrics_open(const struct metrics_options *o, struct rwf_err *err)
{
    struct metrics *m = rwf_xcalloc(1, sizeof(*m));
    m->report = m->file = -1;
    if (o->report != NULL) {
        m->report = open_report(o->report);
        if (m->report < 0)
            rwf_log(RWF_LOG_WARN, "train", "%s: nobody reads the report: %s", o->report,
                    strerror(errno));
    }
    if (open_file(m, o->file, o->step, err) != 0)
        goto fail;
    if (o->tensorboard != NULL) {
        m->board = tensorboard_open(o->tensorboard, err);
        if (m->board == NULL)
            goto fail;
    }
    m->flushed = rwf_clock_mono();
    return m;
fail:
    metrics_close(m, NULL);
    return NULL;
}

/* The numbers of a training are no reason to end it: it is said once, and tried again. */
void metrics_flush(struct metrics *m)
{
    struct rwf_err err = RWF_ERR_INIT;
    int rc = m->file >= 0 ? write_lines(m, &err) : 0;
    if (rc == 0 && m->board != NULL)
        rc = tensorboard_flush(m->board, &err);
    if (rc != 0 && !m->failing)
        rwf_log(RWF_LOG_WARN, "train", "metrics cannot be written, training goes on: %s",
                err.text);
    m->failing = rc != 0;
    m->flushed = rwf_clock_mono();
}

void metrics_log(struct metrics *m, int64_t step, const json_t *values, double progress)
{
    const char *key;
    json_t *value, *loss = json_object_get(values, "loss");
    if (json_is_number(loss))
        *RWF_PUSH(m->losses, m->count, m->cap) = json_number_value(loss);
    metrics_report(m, step, values, progress, NULL);
    add_line(m, step, values);
    if (m->board != NULL)
        json_object_foreach((json_t *)values, key, value)
            tensorboard_scalar(m->board, key, step, json_number_value(value));
    if (rwf_clock_mono() - m->flushed > RWF_NS_PER_S)
        metrics_flush(m);
}

int metrics_close(struct metrics *m, struct rwf_err *err)
{
    if (m == NULL)
        return 0;
    int rc = m->file >= 0 ? write_lines(m, err) : 0;
    if (rc == 0 && m->board != NULL)
        rc = tensorboard_flush(m->board, err);
    if (m->dropped > 0)
        rwf_log(RWF_LOG_WARN, "train", "%d lines of the report were not read in time",
                m->dropped);
    if (m->report >= 0)
        close(m->report);
    if (m->file >= 0)
        close(m->file);
    if (m->board != NULL)
        tensorboard_close(m->board);
    rwf_str_free(&m->lines);
    free(m->path);
    free(m->losses);
    free(m);
    return rc;
}

/* --- the curve --- */

/* The mean of the i-th of n equal parts of the losses. */
static double part_mean(const struct metrics *m, size_t i, size_t n)
{
    size_t from = m->count * i / n, to = m->count * (i + 1) / n;
    double sum = 0;
    for (size_t k = from; k < to; k++)
        sum += m->losses[k];
    return sum / (double)(to - from);
}

char *metrics_curve(const struct metrics *m)
{
    static const char *const blocks[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
    size_t n = m->count < CURVE ? m->count : CURVE;
    double low = INFINITY, high = -INFINITY;
    struct rwf_str s = { 0 };
    for (size_t i = 0; i < n; i++) {
        double v = part_mean(m, i, n);
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    for (size_t i = 0; i < n; i++) {
        double at = high > low ? (part_mean(m, i, n) - low) / (high - low) : 0;
        rwf_str_add(&s, blocks[(size_t)(at * 7.999)]);
    }
    return rwf_str_take(&s);
}

/* --- rates --- */

void metrics_rate_add(struct metrics_rate *r, int64_t time, double done)
{
    uint64_t last = r->count > 0 ? r->count - 1 : 0;
    if (r->count > 1 && time - r->samples[(last - 1) % METRICS_SAMPLES].time < SAMPLE_NS) {
        r->samples[last % METRICS_SAMPLES].time = time;
        r->samples[last % METRICS_SAMPLES].done = done;
        return;
    }
    r->samples[r->count % METRICS_SAMPLES].time = time;
    r->samples[r->count % METRICS_SAMPLES].done = done;
    r->count++;
}

double metrics_rate_get(const struct metrics_rate *r)
{
    if (r->count < 2)
        return 0;
    uint64_t last = r->count - 1, from = last - 1;
    uint64_t oldest = r->count > METRICS_SAMPLES ? r->count - METRICS_SAMPLES : 0;
    while (from > oldest && r->samples[last % METRICS_SAMPLES].time -
                                    r->samples[(from - 1) % METRICS_SAMPLES].time <=
                                WINDOW_NS)
        from--;
    double seconds = (double)(r->samples[last % METRICS_SAMPLES].time -
                              r->samples[from % METRICS_SAMPLES].time) / 1e9;
    double done = r->samples[last % METRICS_SAMPLES].done -
                  r->samples[from % METRICS_SAMPLES].done;
    return seconds > 0 ? done / seconds : 0;
}
