/* SPDX-License-Identifier: Apache-2.0
 *
 * A line is one write with O_APPEND, so writers in several processes do not mix. A torn
 * line (full disk, crash) is skipped by the reader; the next writer ends it first. A
 * file that was replaced while we had it open is noticed by its missing name.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/str.h"
#include "run/cache_impl.h"

#define JOURNAL_MAX (1LL << 30)

void run__journal_load(struct run__journal *j,
                       void (*fn)(void *ctx, const json_t *line), void *ctx)
{
    size_t len = 0;
    char *text = rwf_fs_read(j->path, JOURNAL_MAX, &len, NULL);
    j->lines = 0;
    for (char *at = text; at && *at;) {
        char *end = strchr(at, '\n');
        if (!end)
            break;
        json_t *line = json_loadb(at, (size_t)(end - at), 0, NULL);
        if (line)
            fn(ctx, line);
        json_decref(line);
        j->lines++;
        at = end + 1;
    }
    free(text);
}

static int open_for_append(struct run__journal *j)
{
    struct stat st;
    if (j->fd >= 0 && fstat(j->fd, &st) == 0 && st.st_nlink > 0)
        return 0;
    run__journal_close(j);
    j->fd = open(j->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (j->fd < 0 || fstat(j->fd, &st) < 0)
        return -1;
    char last = '\n';
    if (st.st_size > 0 && pread(j->fd, &last, 1, st.st_size - 1) == 1 && last != '\n' &&
        write(j->fd, "\n", 1) < 0)
        return -1;
    return 0;
}

void run__journal_add(struct run__journal *j, const json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT);
    if (!text)
        return;
    struct rwf_str s = { 0 };
    rwf_str_add(&s, text);
    rwf_str_addc(&s, '\n');
    if (open_for_append(j) == 0) {
        ssize_t n = write(j->fd, s.data, s.len);
        if (n >= 0 && (size_t)n < s.len) /* torn: be the one who ends it */
            run__journal_close(j);
    }
    rwf_str_free(&s);
    free(text);
}

void run__journal_rewrite(struct run__journal *j,
                          void (*each)(void *ctx, struct rwf_str *out), void *ctx)
{
    struct rwf_str s = { 0 };
    each(ctx, &s);
    rwf_fs_write(j->path, s.len ? s.data : "", s.len, false, NULL);
    rwf_str_free(&s);
}

void run__journal_close(struct run__journal *j)
{
    if (j->fd >= 0)
        close(j->fd);
    j->fd = -1;
}
