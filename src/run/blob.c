/* SPDX-License-Identifier: Apache-2.0
 *
 * A blob is born complete: it gets its name by a link to a file that is whole, synced
 * and read-only. A file is linked, not copied, only when nobody but us can have it: it
 * lies in an attempt's folder, is ours and has no other name. Anything else (a step
 * that works in the user's folder, a file with other links) would be changed under our
 * hands.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "run/cache_impl.h"

#define TRIES 4
#define COPY_SIZE (1 << 20)

struct blob {
    const char *name; /* for messages */
    int fd;
    struct stat st;
    bool executable;
    char *path;       /* in the cache */
};

static int copy_by_hand(int from, int to, struct rwf_err *err)
{
    char *buf = rwf_xmalloc(COPY_SIZE);
    ssize_t n;
    int rc = 0;
    while (rc == 0 && (n = read(from, buf, COPY_SIZE)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        rc = n < 0 ? rwf_fail(err, errno, "cannot read: %s", strerror(errno))
                   : rwf_fs_write_all(to, buf, (size_t)n, err);
    }
    free(buf);
    return rc;
}

/* In the kernel where it can; file systems with shared extents then copy nothing. */
static int copy_content(int from, int to, struct rwf_err *err)
{
    if (lseek(from, 0, SEEK_SET) < 0)
        return rwf_fail(err, errno, "cannot read: %s", strerror(errno));
    ssize_t n;
    do
        n = copy_file_range(from, NULL, to, NULL, 1 << 30, 0);
    while (n > 0);
    if (n == 0)
        return 0;
    if (errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP &&
        errno != EPERM)
        return rwf_fail(err, errno, "cannot copy: %s", strerror(errno));
    return copy_by_hand(from, to, err);
}

static int seal(const struct run__keeping *k, const struct blob *b, int fd,
                struct rwf_err *err)
{
    if (fchmod(fd, b->executable ? 0555 : 0444) < 0)
        return rwf_fail(err, errno, "cannot make it read-only: %s", strerror(errno));
    if (k->fresh <= KEEP_SYNCED && fsync(fd) < 0)
        return rwf_fail(err, errno, "cannot sync it: %s", strerror(errno));
    return 0;
}

/* A sealed copy under a temporary name; then rename gives it its own. */
static int copy_to(const struct run__keeping *k, const struct blob *b, const char *to,
                   struct rwf_err *err)
{
    char *dir = run__cache_tmp(k->c, err);
    if (!dir)
        return -1;
    char *tmp = rwf_fs_join(dir, "copy");
    int fd = open(tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), rc = -1;
    if (fd < 0)
        rwf_fail(err, errno, "%s: %s", tmp, strerror(errno));
    else if (copy_content(b->fd, fd, err) == 0 && seal(k, b, fd, err) == 0) {
        rc = run__cache_rename(tmp, to);
        if (rc < 0)
            rwf_fail(err, errno, "%s: %s", to, strerror(errno));
    }
    if (fd >= 0)
        close(fd);
    rwf_fs_rmtree(dir, NULL);
    free(tmp);
    free(dir);
    return rc;
}

/* 0 also when somebody else made the same blob meanwhile. */
static int add(struct run__keeping *k, const struct blob *b, struct rwf_err *err)
{
    char source[64];
    k->fresh++;
    if (!k->may_link || b->st.st_nlink != 1 || b->st.st_uid != geteuid())
        return copy_to(k, b, b->path, err);
    if (seal(k, b, b->fd, err) < 0)
        return -1;
    snprintf(source, sizeof(source), "/proc/self/fd/%d", b->fd);
    if (run__cache_link(source, b->path) == 0 || errno == EEXIST)
        return 0;
    if (errno == EXDEV || errno == EMLINK || errno == EPERM || errno == EOPNOTSUPP)
        return copy_to(k, b, b->path, err);
    return rwf_fail(err, errno, "%s: %s", b->path, strerror(errno));
}

/* Gives the blob its second name. 1: there is no (whole) blob. */
static int link_out(const struct run__keeping *k, const struct blob *b,
                    const char *path, struct rwf_err *err)
{
    struct stat st;
    if (stat(b->path, &st) == 0 && st.st_size != b->st.st_size) {
        unlink(b->path); /* damaged: never to be handed out */
        return 1;
    }
    if (link(b->path, path) == 0 || errno == EEXIST)
        return 0;
    if (errno == ENOENT)
        return 1;
    if (errno == EMLINK)
        return copy_to(k, b, path, err);
    return rwf_fail(err, errno, "%s: %s", path, strerror(errno));
}

static int place(struct run__keeping *k, const struct blob *b, const char *path,
                 struct rwf_err *err)
{
    /* gc may take a blob before it has its second name. */
    for (int i = 0; i < TRIES; i++) {
        int rc = link_out(k, b, path, err);
        if (rc <= 0)
            return rc;
        if (add(k, b, err) < 0)
            return -1;
    }
    return rwf_fail(err, EAGAIN, "%s vanishes as soon as it is made", b->path);
}

static int measure(struct blob *b, char digest[RWF_DIGEST_LEN], struct rwf_err *err)
{
    struct stat after;
    int64_t size = 0;
    if (run__digest_fd(b->fd, digest, &size, err) < 0)
        return -1;
    if (fstat(b->fd, &after) < 0 || after.st_size != b->st.st_size ||
        size != after.st_size || after.st_mtim.tv_sec != b->st.st_mtim.tv_sec ||
        after.st_mtim.tv_nsec != b->st.st_mtim.tv_nsec)
        return rwf_fail(err, EBUSY,
                        "it changed while it was being kept: is some process still "
                        "writing to it?");
    return 0;
}

int run__blob_keep(struct run__keeping *k, const struct run__file *f, const char *path,
                   char ret_digest[RWF_DIGEST_LEN], int64_t *ret_size,
                   struct rwf_err *err)
{
    struct blob b = { .name = f->path, .st = f->st,
                      .executable = (f->st.st_mode & 0111) != 0 };
    b.fd = run__reopen(f->fd);
    if (b.fd < 0)
        return rwf_fail(err, errno, "'%s': cannot read: %s", f->path, strerror(errno));
    int rc = measure(&b, ret_digest, err);
    if (rc == 0) {
        b.path = run__cache_blob_path(k->c, ret_digest, b.executable);
        rc = place(k, &b, path, err);
        *ret_size = b.st.st_size;
    }
    if (rc < 0)
        rwf_wrap(err, "'%s'", f->path);
    close(b.fd);
    free(b.path);
    return rc;
}
