/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#define PREFIX "log."
enum { TAIL_CHUNK = 65536, TAIL_LINES = 100000 };

struct job_log {
    char *folder;
    int fd;
    int64_t start, size, file_bytes; /* of the file that is written */
};

/* Where the files begin, ascending. */
struct starts {
    int64_t *items;
    size_t count, cap;
};

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static struct starts find_starts(const char *folder)
{
    struct starts s = {0};
    DIR *d = opendir(folder);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        char *end;
        if (!rwf_starts_with(e->d_name, PREFIX))
            continue;
        long long n = strtoll(e->d_name + strlen(PREFIX), &end, 10);
        if (*end == '\0' && n >= 0)
            *RWF_PUSH(s.items, s.count, s.cap) = n;
    }
    if (d)
        closedir(d);
    if (s.count)
        qsort(s.items, s.count, sizeof(*s.items), by_number);
    return s;
}

static char *path_of(const char *folder, int64_t start)
{
    return rwf_xasprintf("%s/" PREFIX "%015" PRId64, folder, start);
}

static int64_t size_of(const char *folder, int64_t start)
{
    char *path = path_of(folder, start);
    struct stat st;
    int64_t size = stat(path, &st) ? 0 : st.st_size;
    free(path);
    return size;
}

/* --- writing --- */

static int open_file(struct job_log *l, struct rwf_err *err)
{
    char *path = path_of(l->folder, l->start);
    if (l->fd >= 0)
        close(l->fd);
    l->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int rc = l->fd < 0 ? rwf_fail(err, errno, "%s: %s", path, strerror(errno)) : 0;
    free(path);
    return rc;
}

struct job_log *job_log_open(const char *folder, int64_t file_bytes,
                             struct rwf_err *err)
{
    struct job_log *l = rwf_xcalloc(1, sizeof(*l));
    struct starts s = find_starts(folder);
    l->folder = rwf_xstrdup(folder);
    l->fd = -1;
    l->file_bytes = file_bytes > 0 ? file_bytes : JOB_LOG_FILE_BYTES;
    l->start = s.count ? s.items[s.count - 1] : 0;
    l->size = s.count ? size_of(folder, l->start) : 0;
    free(s.items);
    if (open_file(l, err) == 0)
        return l;
    job_log_close(l);
    return NULL;
}

static int next_file(struct job_log *l, struct rwf_err *err)
{
    l->start += l->size;
    l->size = 0;
    if (open_file(l, err))
        return -1;
    struct starts s = find_starts(l->folder);
    for (size_t i = 0; i + JOB_LOG_FILES < s.count; i++) {
        char *path = path_of(l->folder, s.items[i]);
        unlink(path);
        free(path);
    }
    free(s.items);
    return 0;
}

int job_log_add(struct job_log *l, const void *bytes, size_t len, struct rwf_err *err)
{
    const char *at = bytes;
    while (len > 0) {
        if (l->size >= l->file_bytes && next_file(l, err))
            return -1;
        size_t room = (size_t)(l->file_bytes - l->size), n = len < room ? len : room;
        if (rwf_fs_write_all(l->fd, at, n, err))
            return -1;
        l->size += (int64_t)n;
        at += n;
        len -= n;
    }
    return 0;
}

void job_log_close(struct job_log *l)
{
    if (!l)
        return;
    if (l->fd >= 0)
        close(l->fd);
    free(l->folder);
    free(l);
}

/* --- reading --- */

int64_t job_log_read(const char *folder, int64_t *offset, void *buf, size_t size,
                     struct rwf_err *err)
{
    struct starts s = find_starts(folder);
    size_t i = s.count;
    while (i > 0 && s.items[i - 1] > *offset)
        i--;
    if (i == 0 && s.count > 0)
        *offset = s.items[i++];
    if (i == 0) {
        free(s.items);
        return 0;
    }
    /* At the end of a file that another follows: what comes next is in that. */
    if (i < s.count && *offset - s.items[i - 1] >= size_of(folder, s.items[i - 1]))
        *offset = s.items[i++];
    char *path = path_of(folder, s.items[i - 1]);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, buf, size, *offset - s.items[i - 1]);
    if (n < 0)
        rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(path);
    free(s.items);
    return n;
}

/* Forward through all that is there: the last `lines` beginnings of lines, in a ring.
 */
int64_t job_log_tail(const char *folder, int64_t lines)
{
    int64_t most = lines < TAIL_LINES ? lines : TAIL_LINES, at = 0, seen = 0, n;
    int64_t *begins = rwf_xcalloc((size_t)most + 1, sizeof(*begins));
    char *buf = rwf_xmalloc(TAIL_CHUNK);
    bool begin = true;
    while ((n = job_log_read(folder, &at, buf, TAIL_CHUNK, NULL)) > 0) {
        for (int64_t i = 0; i < n; i++) {
            if (begin && most > 0)
                begins[seen++ % most] = at + i;
            begin = buf[i] == '\n';
        }
        at += n;
    }
    int64_t from = most == 0 || seen == 0 ? at : begins[seen > most ? seen % most : 0];
    free(begins);
    free(buf);
    return from;
}
