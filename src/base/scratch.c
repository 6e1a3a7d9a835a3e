/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#define TRIES 1000

/* The open file "alive" with its lock, or -1; EAGAIN: somebody else has the lock, or had
 * it and has removed the folder. */
static int lock_folder(const char *folder, int flags)
{
    struct stat st;
    char *path = rwf_fs_join(folder, "alive");
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    free(path);
    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0)
        return fd;
    close(fd);
    errno = EAGAIN;
    return -1;
}

/* Only what is whole and ours: one that is being made has no file yet, or one without
 * its lock, and then its maker makes another. */
static void remove_if_dead(const char *path)
{
    struct stat st;
    if (lstat(path, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return;
    int fd = lock_folder(path, 0);
    if (fd < 0)
        return;
    rwf_fs_rmtree(path, NULL);
    close(fd);
}

static void sweep(const char *parent, const char *prefix)
{
    DIR *d = opendir(parent);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        if (!rwf_starts_with(e->d_name, prefix))
            continue;
        char *path = rwf_fs_join(parent, e->d_name);
        remove_if_dead(path);
        free(path);
    }
    if (d)
        closedir(d);
}

static const char *parent_of_all(void)
{
    const char *parent = getenv("XDG_RUNTIME_DIR");
    if (!parent || access(parent, W_OK | X_OK))
        parent = getenv("TMPDIR");
    return parent && *parent ? parent : "/tmp";
}

int rwf_scratch_make(struct rwf_scratch *s, const char *prefix, struct rwf_err *err)
{
    const char *parent = parent_of_all();
    sweep(parent, prefix);
    for (int i = 0; i < TRIES; i++) {
        *s = (struct rwf_scratch){rwf_xasprintf("%s/%sXXXXXX", parent, prefix), -1};
        if (mkdtemp(s->path) && (s->lock = lock_folder(s->path, O_CREAT)) >= 0)
            return 0;
        int code = errno;
        free(s->path);
        s->path = NULL;
        errno = code;
        if (code != EAGAIN)
            break;
    }
    return rwf_fail(err, errno, "cannot make a folder in %s: %s", parent,
                    strerror(errno));
}

void rwf_scratch_remove(struct rwf_scratch *s)
{
    if (!s->path)
        return;
    rwf_fs_rmtree(s->path, NULL);
    free(s->path);
    close(s->lock);
    *s = (struct rwf_scratch)RWF_SCRATCH_INIT;
}
