/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"

int rwf_unix_open(struct rwf_unix *a, const char *path, struct rwf_err *err)
{
    *a = (struct rwf_unix){.addr.sun_family = AF_UNIX, .folder = -1};
    size_t room = sizeof(a->addr.sun_path);
    int n = snprintf(a->addr.sun_path, room, "%s", path);
    if ((size_t)n >= room) {
        char *folder = rwf_fs_dirname(path);
        a->folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        free(folder);
        if (a->folder < 0)
            return rwf_fail(err, errno, "cannot open the folder of the socket %s: %s",
                            path, strerror(errno));
        n = snprintf(a->addr.sun_path, room, "/proc/self/fd/%d/%s", a->folder,
                     rwf_fs_basename(path));
    }
    if ((size_t)n >= room) {
        rwf_unix_close(a);
        return rwf_fail(err, ENAMETOOLONG, "the name of the socket %s is too long",
                        path);
    }
    a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n + 1);
    return 0;
}

void rwf_unix_close(struct rwf_unix *a)
{
    if (a->folder >= 0)
        close(a->folder);
    a->folder = -1;
}

int rwf_unix_remove_stale(const struct rwf_unix *a, const char *path,
                          struct rwf_err *err)
{
    struct stat st;
    if (lstat(path, &st))
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return rwf_fail(err, EEXIST, "%s is there, and is no socket", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool dead = fd >= 0 && connect(fd, (const struct sockaddr *)&a->addr, a->len) &&
                errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    if (!dead)
        return rwf_fail(err, EADDRINUSE, "somebody listens on %s already", path);
    unlink(path);
    return 0;
}
