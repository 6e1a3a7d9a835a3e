/* SPDX-License-Identifier: Apache-2.0
 *
 * The file gets the first `limit` bytes and, once the process is gone, the last KEEP
 * bytes with a line between that says how much is missing: both ends of a long log are
 * what people look for. Reads are bounded per call, so that one loud process cannot
 * starve the others of the loop.
 */
#include "config.h"
#include "node/capture.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/redact.h"

#define KEEP 65536
#define CHUNK 65536
#define CHUNKS_PER_READ 4
#define TAIL_LINES 20
#define TAIL_BYTES 4096
#define LINE_MAX_BYTES 65536

/* The file of all that print nothing: made once, then linked, for a new inode is what costs
 * most about it. */
static struct {
    pthread_mutex_t lock;
    int fd; /* of the newest, or -1 */
} empty = {PTHREAD_MUTEX_INITIALIZER, -1};

void node__capture_open(struct node__capture *c, int pipe, char *path, int64_t limit)
{
    *c = (struct node__capture){.pipe = pipe, .file = -1, .path = path, .limit = limit};
    c->failed = !path;
}

static int open_file(struct node__capture *c, struct rwf_err *err)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    if (c->file < 0)
        c->file = open(c->path, flags, 0666);
    if (c->file < 0 && errno == EEXIST && unlink(c->path) == 0)
        c->file =
            open(c->path, flags, 0666); /* never into a file shared with other steps */
    return c->file < 0 ? rwf_fail(err, errno, "%s: %s", c->path, strerror(errno)) : 0;
}

static void write_file(struct node__capture *c, const char *bytes, size_t len)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (c->failed || len == 0)
        return;
    if (open_file(c, &err) < 0 || rwf_fs_write_all(c->file, bytes, len, &err) < 0) {
        rwf_log(RWF_LOG_WARN, "run", "cannot keep a step's output: %s", err.text);
        c->failed = true;
        return;
    }
    c->written += (int64_t)len;
}

/* Keeps the newest KEEP bytes, moving them only once per KEEP. */
static void keep_last(struct node__capture *c, const char *bytes, size_t len)
{
    if (c->last.len + len > 2 * KEEP && c->last.len > KEEP) {
        memmove(c->last.data, c->last.data + c->last.len - KEEP, KEEP);
        c->last.len = KEEP;
    }
    rwf_str_addn(&c->last, bytes, len);
}

static void take_clean(struct node__capture *c, const char *bytes, size_t len)
{
    int64_t room = c->limit - c->written;
    if (room > 0 && c->written == c->total)
        write_file(c, bytes, (int64_t)len < room ? len : (size_t)room);
    c->total += (int64_t)len;
    keep_last(c, bytes, len);
    if (c->fn && len > 0)
        c->fn(c->ctx, c->stream, bytes, len);
}

static void take(struct node__capture *c, const char *bytes, size_t len, bool final)
{
    if (!rwf_redact_active() && c->held.len == 0) {
        take_clean(c, bytes, len);
        return;
    }
    struct rwf_str out = { 0 };
    rwf_redact_stream(&c->held, &out, bytes, len, final);
    take_clean(c, out.data, out.len);
    rwf_str_free(&out);
}

void node__capture_put(struct node__capture *c, const void *bytes, size_t len)
{
    take(c, bytes, len, false);
}

/* 1: bytes in buf, 0: nothing there now, -1: at its end. */
static int read_chunk(int *pipe, char *buf, size_t *ret_len)
{
    ssize_t n;
    do
        n = read(*pipe, buf, CHUNK);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        *ret_len = (size_t)n;
        return 1;
    }
    return n < 0 && errno == EAGAIN ? 0 : -1;
}

bool node__capture_read(struct node__capture *c)
{
    char buf[CHUNK];
    size_t len = 0;
    for (int i = 0; i < CHUNKS_PER_READ; i++) {
        int got = read_chunk(&c->pipe, buf, &len);
        if (got <= 0)
            return got < 0;
        take(c, buf, len, false);
    }
    return false;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int link_to(int fd, const char *path)
{
    char source[64];
    snprintf(source, sizeof(source), "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    if (errno != EEXIST)
        return -1; /* removed meanwhile, elsewhere, or has all links it can have */
    unlink(path);
    return linkat(AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

static void put_empty(const char *path)
{
    pthread_mutex_lock(&empty.lock);
    if (empty.fd < 0 || link_to(empty.fd, path) < 0) {
        unlink(path); /* never take what may be linked elsewhere */
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
        if (fd >= 0 && empty.fd >= 0)
            close(empty.fd);
        if (fd >= 0)
            empty.fd = fd;
    }
    pthread_mutex_unlock(&empty.lock);
}

void node__capture_close(struct node__capture *c)
{
    take(c, "", 0, true);
    int64_t missing = c->total - c->written;
    if (missing > 0 && !c->failed) {
        int64_t keep = (int64_t)c->last.len < missing ? (int64_t)c->last.len : missing;
        if (keep > KEEP)
            keep = KEEP;
        struct rwf_str s = { 0 };
        if (missing > keep)
            rwf_str_addf(&s, "\n[raywf: %lld bytes left out]\n",
                         (long long)(missing - keep));
        rwf_str_addn(&s, c->last.data + c->last.len - keep, (size_t)keep);
        write_file(c, s.data, s.len);
        rwf_str_free(&s);
    }
    if (c->total == 0 && c->path)
        put_empty(c->path);
    close_fd(&c->file);
    close_fd(&c->pipe);
}

/* Where the last lines begin. */
static size_t tail_start(const struct rwf_str *s)
{
    size_t at = s->len, lines = 0;
    size_t floor = s->len > TAIL_BYTES ? s->len - TAIL_BYTES : 0;
    while (at > floor) {
        if (s->data[at - 1] == '\n' && at < s->len && ++lines == TAIL_LINES)
            break;
        at--;
    }
    return at;
}

char *node__capture_tail(const struct node__capture *c)
{
    size_t start = tail_start(&c->last), end = c->last.len;
    while (end > start && c->last.data[end - 1] == '\n')
        end--;
    if (end == start)
        return NULL;
    struct rwf_str out = { 0 };
    for (size_t i = start; i < end;) {
        /* Programs write any bytes; what is shown and put into JSON must be text. */
        unsigned char b = (unsigned char)c->last.data[i];
        size_t n = b < 0x80 ? 1 : b >= 0xf0 ? 4 : b >= 0xe0 ? 3 : 2;
        bool fine = i + n <= end && b != '\0' && rwf_utf8_valid(c->last.data + i, n);
        if (fine)
            rwf_str_addn(&out, c->last.data + i, n);
        else
            rwf_str_add(&out, "\xEF\xBF\xBD");
        i += fine ? n : 1;
    }
    return rwf_str_take(&out);
}

void node__capture_free(struct node__capture *c)
{
    close_fd(&c->file);
    close_fd(&c->pipe);
    rwf_str_free(&c->held);
    rwf_str_free(&c->last);
    free(c->path);
    c->path = NULL;
}

/* --- the report descriptor --- */

static void bad_line(struct node__report *r, const char *text)
{
    if (r->bad++ > 0)
        return;
    size_t n = strnlen(text, sizeof(r->first_bad) - 1);
    while (n > 0 && !rwf_utf8_valid(text, n))
        n--;
    memcpy(r->first_bad, text, n);
    r->first_bad[n] = '\0';
}

/* Programs write NaN and Infinity, which JSON does not know: text with null instead. */
static void without_nan(const char *text, size_t len, struct rwf_str *out)
{
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    bool in_string = false;
    for (size_t i = 0; i < len;) {
        size_t skip = 0;
        if (text[i] == '"' && (i == 0 || text[i - 1] != '\\'))
            in_string = !in_string;
        for (size_t k = 0; !in_string && skip == 0 && k < 3; k++)
            if (strlen(words[k]) <= len - i && memcmp(text + i, words[k], strlen(words[k])) == 0)
                skip = strlen(words[k]);
        if (skip > 0)
            rwf_str_add(out, "null");
        else
            rwf_str_addc(out, text[i]);
        i += skip > 0 ? skip : 1;
    }
}

static json_t *load_line(const char *text, size_t len)
{
    json_t *line = json_loadb(text, len, 0, NULL);
    struct rwf_str plain = {NULL, 0, 0};
    if (line != NULL)
        return line;
    without_nan(text, len, &plain);
    line = plain.len != len ? json_loadb(plain.data, plain.len, 0, NULL) : NULL;
    rwf_str_free(&plain);
    return line;
}

static void end_line(struct node__report *r)
{
    if (r->skip) {
        r->skip = false;
    } else if (r->line.len > 0) {
        json_t *line = load_line(r->line.data, r->line.len);
        if (json_is_object(line))
            r->fn(r->ctx, line);
        else
            bad_line(r, r->line.data);
        json_decref(line);
    }
    rwf_str_clear(&r->line);
}

static void add_to_line(struct node__report *r, const char *bytes, size_t len)
{
    if (r->skip)
        return;
    if (r->line.len + len <= LINE_MAX_BYTES) {
        rwf_str_addn(&r->line, bytes, len);
        return;
    }
    rwf_str_addn(&r->line, bytes,
                 len < sizeof(r->first_bad) ? len : sizeof(r->first_bad));
    bad_line(r, r->line.data);
    rwf_str_clear(&r->line);
    r->skip = true;
}

bool node__report_read(struct node__report *r)
{
    char buf[CHUNK];
    size_t len = 0;
    int got = read_chunk(&r->pipe, buf, &len);
    if (got <= 0)
        return got < 0;
    for (size_t at = 0; at < len;) {
        const char *nl = memchr(buf + at, '\n', len - at);
        size_t n = nl ? (size_t)(nl - buf) - at : len - at;
        add_to_line(r, buf + at, n);
        at += n;
        if (nl) {
            end_line(r);
            at++;
        }
    }
    return false;
}

void node__report_close(struct node__report *r)
{
    end_line(r);
    if (r->bad > 0) {
        struct rwf_str s = { 0 };
        rwf_str_addf(&s, "%lld line%s written to RAYWF_REPORT %s no JSON object; "
                     "the first: %s", (long long)r->bad, r->bad == 1 ? "" : "s",
                     r->bad == 1 ? "is" : "are", r->first_bad);
        json_t *told = json_pack("{s:s}", "message", s.data);
        if (told)
            r->fn(r->ctx, told);
        json_decref(told);
        rwf_str_free(&s);
    }
    close_fd(&r->pipe);
    rwf_str_free(&r->line);
}
