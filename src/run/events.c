/* SPDX-License-Identifier: Apache-2.0
 *
 * Events by name, and reading a log: lines in, JSON out, memory bounded by the longest
 * line.
 */
#include "config.h"
#include "run/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/str.h"

#define CHUNK (256 * 1024)
#define LINE_MAX_BYTES (64 * 1024 * 1024)

static const struct {
    const char *type, *fields, *help;
} events[RUN_EVENT_COUNT] = {
#define RUN_EVENT(name, type, fields, help) [RUN_##name] = {type, fields, help},
#include "run/events.def"
#undef RUN_EVENT
};

const char *run_event_name(enum run_event e)
{
    return events[e].type;
}

const char *run_event_help(enum run_event e)
{
    return events[e].help;
}

const char *run_event_fields(enum run_event e)
{
    return events[e].fields;
}

enum run_event run_event_parse(const char *type)
{
    for (int i = 0; type != NULL && i < RUN_EVENT_COUNT; i++)
        if (strcmp(events[i].type, type) == 0)
            return (enum run_event)i;
    return RUN_EVENT_COUNT;
}

json_t *run_text(const char *text)
{
    size_t len = strlen(text);
    json_t *whole = json_stringn(text, len);
    if (whole != NULL)
        return whole;
    struct rwf_str clean = {NULL, 0, 0};
    for (size_t i = 0; i < len;) {
        size_t n = 1;
        while (n <= 4 && i + n <= len && !rwf_utf8_valid(text + i, n))
            n++;
        if (n > 4 || i + n > len) {
            rwf_str_add(&clean, "\xef\xbf\xbd");
            i++;
        } else {
            rwf_str_addn(&clean, text + i, n);
            i += n;
        }
    }
    whole = json_stringn(clean.data, clean.len);
    rwf_str_free(&clean);
    return whole;
}

/* --- reading --- */

struct reader {
    const char *path;
    int fd;
    struct rwf_str buffer;
    size_t used;    /* bytes of buffer that are done with */
    int64_t offset; /* in the file, of buffer.data[used] */
    size_t line;
    bool eof;
};

static int fill(struct reader *r, struct rwf_err *err)
{
    if (r->used > 0) {
        memmove(r->buffer.data, r->buffer.data + r->used, r->buffer.len - r->used);
        r->buffer.len -= r->used;
        r->used = 0;
    }
    if (r->buffer.len > LINE_MAX_BYTES)
        return rwf_fail(err, RWF_E_INPUT,
                        "%s:%zu: damaged log: a line of more than %d bytes", r->path,
                        r->line + 1, LINE_MAX_BYTES);
    char chunk[16 * 1024];
    for (int i = 0; i < CHUNK / (int)sizeof(chunk); i++) {
        ssize_t n = read(r->fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return rwf_fail(err, errno, "%s: %s", r->path, strerror(errno));
        if (n == 0) {
            r->eof = true;
            break;
        }
        rwf_str_addn(&r->buffer, chunk, (size_t)n);
    }
    return 0;
}

/* 1 a line without its newline, 0 the end (what follows is torn), -1 *err. The line is
 * consumed only by line_done. */
static int line_next(struct reader *r, const char **ret, size_t *ret_len,
                     struct rwf_err *err)
{
    size_t searched = 0;
    for (;;) {
        const char *from = r->buffer.data == NULL ? "" : r->buffer.data + r->used;
        size_t len = r->buffer.len - r->used;
        const char *end =
            len > searched ? memchr(from + searched, '\n', len - searched) : NULL;
        if (end != NULL) {
            *ret = from;
            *ret_len = (size_t)(end - from);
            return 1;
        }
        if (r->eof)
            return 0;
        searched = len;
        if (fill(r, err) != 0)
            return -1;
    }
}

static void line_done(struct reader *r, size_t len)
{
    r->used += len + 1;
    r->offset += (int64_t)len + 1;
    r->line++;
}

/* What follows a line that does not parse: nothing but a torn tail, or more lines? */
static bool is_last(struct reader *r, size_t len)
{
    const char *line;
    size_t next;
    struct reader ahead = *r;
    if (r->buffer.len > r->used + len + 1)
        return false;
    line_done(&ahead, len);
    bool last =
        line_next(&ahead, &line, &next, NULL) == 0 && ahead.buffer.len == ahead.used;
    r->buffer = ahead.buffer;
    r->used = ahead.used;
    r->eof = ahead.eof;
    return last;
}

static int read_lines(struct reader *r, int (*fn)(void *, const json_t *), void *ctx,
                      struct rwf_err *err)
{
    const char *line;
    size_t len;
    int more;
    while ((more = line_next(r, &line, &len, err)) > 0) {
        json_error_t why;
        json_t *event = json_loadb(line, len, 0, &why);
        if (!json_is_object(event)) {
            json_decref(event);
            if (is_last(r, len))
                return 0;
            return rwf_fail(err, RWF_E_INPUT, "%s:%zu: damaged log: not a JSON object",
                            r->path, r->line + 1);
        }
        line_done(r, len);
        int stop = fn(ctx, event);
        json_decref(event);
        if (stop != 0)
            return 0;
    }
    return more;
}

int run_log_read(const char *path, int64_t from,
                 int (*fn)(void *ctx, const json_t *event), void *ctx,
                 int64_t *ret_offset, struct rwf_err *err)
{
    struct reader r = {.path = path, .offset = from};
    r.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (r.fd < 0)
        return rwf_fail(err, errno == ENOENT ? RWF_E_NORUN : errno, "%s: %s", path,
                        strerror(errno));
    int result = from > 0 && lseek(r.fd, from, SEEK_SET) < 0
                     ? rwf_fail(err, errno, "%s: %s", path, strerror(errno))
                     : read_lines(&r, fn, ctx, err);
    if (ret_offset != NULL)
        *ret_offset = r.offset;
    rwf_str_free(&r.buffer);
    close(r.fd);
    return result;
}
