/* SPDX-License-Identifier: Apache-2.0
 *
 * Every file is opened by its path from the folder the walk is confined to, with
 * openat2(RESOLVE_BENEATH): the kernel follows links inside and refuses those that lead
 * out, also when somebody exchanges them under our hands. Files are opened O_PATH
 * first, so that a device or a pipe is never opened for real.
 */
#include "config.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "run/cache_impl.h"

#define DEPTH_MAX 64
#define READ_SIZE (1 << 18)

/* Kernels before 5.6, and some sandboxes, do not know openat2: there the name that the
 * descriptor got in the end is compared. */
static int open_checked(int dir, const char *path)
{
    char link[64], root[PATH_MAX], got[PATH_MAX];
    int fd = openat(dir, path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return -1;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
    ssize_t n = readlink(link, root, sizeof(root) - 1);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t m = readlink(link, got, sizeof(got) - 1);
    if (n > 0 && m >= n && memcmp(root, got, (size_t)n) == 0 &&
        (m == n || got[n] == '/'))
        return fd;
    close(fd);
    errno = EXDEV;
    return -1;
}

static int open_beneath(int dir, const char *path)
{
    struct open_how how = { .flags = O_PATH | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
    for (;;) {
        int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != ENOSYS && errno != EPERM))
            return fd;
        if (errno != EAGAIN) /* that: a rename elsewhere raced with us */
            return open_checked(dir, path);
    }
}

int run__open_path(int dir, const char *path, bool beneath, struct stat *ret_st,
                   struct rwf_err *err)
{
    const char *at = *path ? path : ".";
    int fd = beneath ? open_beneath(dir, at) : openat(dir, at, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        struct stat link;
        if (errno == EXDEV)
            return rwf_fail(err, EXDEV,
                            "'%s' is a link that leads out of the step's folder: "
                            "copy the file instead",
                            path);
        if (errno == ENOENT && fstatat(dir, at, &link, AT_SYMLINK_NOFOLLOW) == 0)
            return rwf_fail(err, ELOOP, "'%s' is a link to nothing", path);
        return rwf_fail(err, errno, "'%s': %s", path, strerror(errno));
    }
    if (fstat(fd, ret_st) < 0) {
        rwf_fail(err, errno, "'%s': %s", path, strerror(errno));
        close(fd);
        return -1;
    }
    return fd;
}

int run__reopen(int path_fd)
{
    char name[64];
    snprintf(name, sizeof(name), "/proc/self/fd/%d", path_fd);
    return open(name, O_RDONLY | O_CLOEXEC);
}

int run__digest_fd(int fd, char out[RWF_DIGEST_LEN], int64_t *ret_size,
                   struct rwf_err *err)
{
    char *buf = rwf_xmalloc(READ_SIZE);
    struct rwf_digest *d = rwf_digest_create();
    int64_t size = 0;
    ssize_t n;
    while ((n = pread(fd, buf, READ_SIZE, size)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        rwf_digest_add(d, buf, (size_t)n);
        size += n;
    }
    free(buf);
    if (n < 0) {
        rwf_digest_free(d);
        return rwf_fail(err, errno, "cannot read: %s", strerror(errno));
    }
    rwf_digest_finish(d, out);
    *ret_size = size;
    return 0;
}

/* --- walking --- */

struct walk {
    int dir;
    bool beneath;
    run__file_fn fn;
    void *ctx;
};

struct level { /* the folders we are in, to see a link that leads into one of them */
    const struct level *up;
    dev_t dev;
    ino_t ino;
    int depth;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

static char **read_names(int fd, size_t *ret_count, struct rwf_err *err)
{
    size_t count = 0, cap = 0;
    char **names = rwf_grow(NULL, 0, &cap, sizeof(*names));
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = own < 0 ? NULL : fdopendir(own);
    if (!d) {
        rwf_fail(err, errno, "cannot list the folder: %s", strerror(errno));
        if (own >= 0)
            close(own);
        free(names);
        return NULL;
    }
    const struct dirent *e;
    while ((e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            *RWF_PUSH(names, count, cap) = rwf_xstrdup(e->d_name);
    closedir(d);
    qsort(names, count, sizeof(*names), by_name);
    *ret_count = count;
    return names;
}

static int visit(const struct walk *w, const char *path, const struct level *up,
                 struct rwf_err *err);

static int visit_folder(const struct walk *w, const char *path, int fd,
                        const struct stat *st, const struct level *up,
                        struct rwf_err *err)
{
    struct level here = { up, st->st_dev, st->st_ino, up ? up->depth + 1 : 0 };
    for (const struct level *l = up; l; l = l->up)
        if (l->dev == st->st_dev && l->ino == st->st_ino)
            return rwf_fail(err, ELOOP, "'%s' is a link to a folder it lies in", path);
    if (here.depth > DEPTH_MAX)
        return rwf_fail(err, ELOOP, "'%s' lies more than %d folders deep", path,
                        DEPTH_MAX);
    struct run__file folder = { .path = path, .fd = -1, .st = *st };
    if (w->fn(w->ctx, &folder, err) < 0)
        return -1;
    size_t count = 0;
    char **names = read_names(fd, &count, err);
    if (!names)
        return rwf_wrap(err, "'%s'", path);
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        char *sub = *path ? rwf_fs_join(path, names[i]) : rwf_xstrdup(names[i]);
        rc = visit(w, sub, &here, err);
        free(sub);
    }
    free_names(names, count);
    return rc;
}

static const char *kind_of(mode_t mode)
{
    return S_ISFIFO(mode) ? "pipe" : S_ISSOCK(mode) ? "socket" : "device";
}

static int visit(const struct walk *w, const char *path, const struct level *up,
                 struct rwf_err *err)
{
    struct stat st;
    int fd = run__open_path(w->dir, path, w->beneath, &st, err);
    if (fd < 0)
        return -1;
    int rc;
    struct run__file file = { .path = path, .fd = fd, .st = st };
    if (S_ISDIR(st.st_mode))
        rc = visit_folder(w, path, fd, &st, up, err);
    else if (S_ISREG(st.st_mode))
        rc = w->fn(w->ctx, &file, err);
    else
        rc = rwf_fail(err, EINVAL, "'%s' is a %s: only files and folders can be kept",
                      path, kind_of(st.st_mode));
    close(fd);
    return rc;
}

int run__walk(int dir, const char *path, bool beneath, run__file_fn fn, void *ctx,
              struct rwf_err *err)
{
    struct walk w = { dir, beneath, fn, ctx };
    return visit(&w, path, NULL, err);
}

void run__listing_add(struct run__listing *l, const char *path, bool folder,
                      bool executable, const char *digest, int64_t size)
{
    /* A name holds any byte but NUL, so NUL parts the fields. */
    if (!l->digest)
        l->digest = rwf_digest_create();
    rwf_digest_add(l->digest, folder ? "d" : executable ? "x" : "f", 2);
    rwf_digest_add(l->digest, path, strlen(path) + 1);
    if (folder)
        return;
    rwf_digest_add(l->digest, digest, strlen(digest) + 1);
    l->files++;
    l->size += size;
}
