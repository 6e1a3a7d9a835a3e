/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

/* Reads fd to its end into s; more than max bytes is EFBIG. 0, or an errno value. */
static int read_all(int fd, size_t max, struct rwf_str *s)
{
    char chunk[65536];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if ((size_t)n > max - s->len)
            return EFBIG;
        rwf_str_addn(s, chunk, (size_t)n);
    }
}

static int open_input(const char *path)
{
    return strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
}

char *rwf_fs_read(const char *path, size_t max, size_t *ret_len, struct rwf_err *err)
{
    struct rwf_str s = { 0 };
    int fd = open_input(path);
    int rc = fd < 0 ? errno : read_all(fd, max, &s);
    if (fd >= 0)
        close(fd);
    if (rc != 0) {
        rwf_str_free(&s);
        if (rc == EFBIG)
            rwf_fail(err, EFBIG, "'%s' is larger than %zu bytes", path, max);
        else
            rwf_fail(err, rc, "cannot read '%s': %s", path, strerror(rc));
        return NULL;
    }
    if (ret_len)
        *ret_len = s.len;
    return rwf_str_take(&s);
}

int rwf_fs_write_all(int fd, const void *bytes, size_t len, struct rwf_err *err)
{
    const char *at = bytes;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return rwf_fail(err, errno, "write: %s", strerror(errno));
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static int write_as(const char *path, mode_t mode, const void *bytes, size_t len,
                    bool sync, struct rwf_err *err)
{
    char *tmp = rwf_xasprintf("%s.tmp.%d", path, (int)getpid());
    int rc = -1;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        rwf_fail(err, errno, "cannot create '%s': %s", tmp, strerror(errno));
        goto out;
    }
    rc = rwf_fs_write_all(fd, bytes, len, err);
    if (rc == 0 && sync && fsync(fd) < 0)
        rc = rwf_fail(err, errno, "fsync: %s", strerror(errno));
    if (close(fd) < 0 && rc == 0)
        rc = rwf_fail(err, errno, "close: %s", strerror(errno));
    if (rc == 0 && rename(tmp, path) < 0)
        rc = rwf_fail(err, errno, "rename: %s", strerror(errno));
    if (rc < 0) {
        rwf_wrap(err, "cannot write '%s'", path);
        unlink(tmp);
    }
out:
    free(tmp);
    return rc;
}

int rwf_fs_write(const char *path, const void *bytes, size_t len, bool sync,
                 struct rwf_err *err)
{
    return write_as(path, 0666, bytes, len, sync, err);
}

int rwf_fs_write_private(const char *path, const void *bytes, size_t len, bool sync,
                         struct rwf_err *err)
{
    return write_as(path, 0600, bytes, len, sync, err);
}

int rwf_fs_mkdirs(const char *path, struct rwf_err *err)
{
    char *copy = rwf_xstrdup(path);
    int rc = 0;
    for (char *p = copy + 1; rc == 0; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        bool last = *p == '\0';
        *p = '\0';
        if (mkdir(copy, 0777) < 0 && errno != EEXIST)
            rc = rwf_fail(err, errno, "cannot create folder '%s': %s", copy,
                          strerror(errno));
        if (last)
            break;
        *p = '/';
    }
    free(copy);
    return rc;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

int rwf_fs_rmtree(const char *path, struct rwf_err *err)
{
    if (nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
        return rwf_fail(err, errno, "cannot remove '%s': %s", path, strerror(errno));
    return 0;
}

bool rwf_fs_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool rwf_fs_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

char *rwf_fs_join(const char *dir, const char *path)
{
    if (path[0] == '/')
        return rwf_xstrdup(path);
    return rwf_xasprintf(rwf_ends_with(dir, "/") ? "%s%s" : "%s/%s", dir, path);
}

char *rwf_fs_dirname(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return rwf_xstrdup(".");
    return slash == path ? rwf_xstrdup("/") : rwf_xstrndup(path, (size_t)(slash - path));
}

const char *rwf_fs_basename(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Appends path's components to out, an absolute path without a trailing slash. */
static void add_components(struct rwf_str *out, const char *path)
{
    while (*path) {
        size_t n = strcspn(path, "/");
        if (n == 2 && path[0] == '.' && path[1] == '.') {
            char *slash = out->len ? strrchr(out->data, '/') : NULL;
            out->len = slash ? (size_t)(slash - out->data) : 0;
            if (out->data)
                out->data[out->len] = '\0';
        } else if (n > 0 && !(n == 1 && path[0] == '.')) {
            rwf_str_addc(out, '/');
            rwf_str_addn(out, path, n);
        }
        path += n + (path[n] == '/');
    }
}

char *rwf_fs_absolute(const char *path)
{
    struct rwf_str out = { 0 };
    char cwd[PATH_MAX];
    if (path[0] != '/' && getcwd(cwd, sizeof(cwd)))
        add_components(&out, cwd);
    add_components(&out, path);
    if (out.len == 0)
        rwf_str_addc(&out, '/');
    return rwf_str_take(&out);
}

char *rwf_fs_expand(const char *text, const char *dir)
{
    const char *home = getenv("HOME");
    bool of_home = text[0] == '~' && text[1] == '/' && home;
    char *joined = of_home ? rwf_fs_join(home, text + 2)
                   : dir   ? rwf_fs_join(dir, text)
                           : NULL;
    char *path = rwf_fs_absolute(joined ? joined : text);
    free(joined);
    return path;
}

bool rwf_fs_is_beneath(const char *path)
{
    if (*path == '\0' || *path == '/')
        return false;
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return false;
        p += n + (p[n] == '/');
    }
    return true;
}

/* A daemon may outlive its program on disk: what was installed instead stands for it. */
char *rwf_fs_self(void)
{
    static const char gone[] = " (deleted)";
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    ssize_t end = n - (ssize_t)(sizeof(gone) - 1);
    if (end > 0 && memcmp(path + end, gone, sizeof(gone) - 1) == 0)
        n = end;
    return n < 0 ? rwf_xstrdup("raywf") : rwf_xstrndup(path, (size_t)n);
}
