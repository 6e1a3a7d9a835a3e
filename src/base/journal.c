/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#define JOURNAL_MAX ((size_t)1 << 30)
#define SUM_LEN 8 /* hexadecimal digits of the SHA-256 of the record */

struct rwf_journal {
    char *path;
    int lock; /* of the folder: one head at a time */
    int fd;
};

static int lock_folder(struct rwf_journal *j, const char *folder, struct rwf_err *err)
{
    char *path = rwf_fs_join(folder, "lock");
    j->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int rc = j->lock < 0 ? -1 : rwf_lock_take(j->lock, 0);
    if (rc && j->lock >= 0 && errno == EWOULDBLOCK)
        rwf_fail(err, EBUSY, "a head runs on %s already", folder);
    else if (rc)
        rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    free(path);
    return rc;
}

/* The record of a line; NULL: it is damaged. */
static json_t *parse_line(const char *line, size_t len)
{
    char sum[RWF_DIGEST_LEN];
    if (len <= SUM_LEN + 1 || line[SUM_LEN] != ' ')
        return NULL;
    rwf_digest_bytes(line + SUM_LEN + 1, len - SUM_LEN - 1, sum);
    if (memcmp(sum, line, SUM_LEN) != 0)
        return NULL;
    return json_loadb(line + SUM_LEN + 1, len - SUM_LEN - 1, 0, NULL);
}

static int replay(const struct rwf_journal *j, void (*fn)(void *, const json_t *),
                  void *ctx, struct rwf_err *err)
{
    size_t len, number = 1;
    if (!rwf_fs_exists(j->path))
        return 0;
    char *text = rwf_fs_read(j->path, JOURNAL_MAX, &len, err);
    if (!text)
        return -1;
    for (size_t at = 0; at < len; number++) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t line = end ? (size_t)(end - text) - at : len - at;
        json_t *record = parse_line(text + at, line);
        if (record)
            fn(ctx, record);
        else
            rwf_log(RWF_LOG_WARN, "journal", "%s: line %zu is %s: left out", j->path,
                    number, end ? "damaged" : "torn");
        json_decref(record);
        at += line + 1;
    }
    free(text);
    return 0;
}

static void add_line(struct rwf_str *out, const json_t *record)
{
    char sum[RWF_DIGEST_LEN];
    char *text = json_dumps(record, JSON_COMPACT | JSON_ENSURE_ASCII);
    rwf_assert(text);
    rwf_digest_bytes(text, strlen(text), sum);
    rwf_str_addf(out, "%.*s %s\n", SUM_LEN, sum, text);
    free(text);
}

static int open_end(struct rwf_journal *j, struct rwf_err *err)
{
    if (j->fd >= 0)
        close(j->fd);
    j->fd = open(j->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    return j->fd < 0 ? rwf_fail(err, errno, "%s: %s", j->path, strerror(errno)) : 0;
}

struct rwf_journal *rwf_journal_open(const char *folder,
                                         void (*fn)(void *ctx, const json_t *record),
                                         void *ctx, struct rwf_err *err)
{
    struct rwf_journal *j = rwf_xcalloc(1, sizeof(*j));
    j->fd = j->lock = -1;
    j->path = rwf_fs_join(folder, "journal");
    if (!lock_folder(j, folder, err) && !replay(j, fn, ctx, err) && !open_end(j, err))
        return j;
    rwf_journal_close(j);
    return NULL;
}

int rwf_journal_rewrite(struct rwf_journal *j, const json_t *records,
                          struct rwf_err *err)
{
    struct rwf_str out = {0};
    const json_t *r;
    size_t i;
    json_array_foreach(records, i, r)
        add_line(&out, r);
    int rc = rwf_fs_write(j->path, out.data ? out.data : "", out.len, true, err);
    rwf_str_free(&out);
    return rc ? -1 : open_end(j, err);
}

int rwf_journal_add(struct rwf_journal *j, json_t *record, bool sync,
                      struct rwf_err *err)
{
    struct rwf_str out = {0};
    int rc = 0;
    if (j) {
        off_t end = lseek(j->fd, 0, SEEK_END);
        add_line(&out, record);
        rc = rwf_fs_write_all(j->fd, out.data, out.len, err);
        if (!rc && sync && fdatasync(j->fd))
            rc = rwf_fail(err, errno, "%s", strerror(errno));
        if (rc) {
            /* The next line must not begin in the middle of this one. */
            if (end < 0 || ftruncate(j->fd, end))
                rwf_log(RWF_LOG_WARN, "journal", "%s: %s", j->path, strerror(errno));
            rwf_wrap(err, "cannot write the journal %s", j->path);
        }
        rwf_str_free(&out);
    }
    json_decref(record);
    return rc;
}

void rwf_journal_close(struct rwf_journal *j)
{
    if (!j)
        return;
    if (j->fd >= 0)
        close(j->fd);
    if (j->lock >= 0)
        close(j->lock);
    free(j->path);
    free(j);
}
