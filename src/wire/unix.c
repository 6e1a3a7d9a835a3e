/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "wire/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "wire/frame.h"

/* sun_path holds 107 bytes; a longer path is reached through its opened folder. */
int wire__unix_address(const char *path, struct wire__unix_address *ret,
                       struct rwf_err *err)
{
    *ret = (struct wire__unix_address){.addr.sun_family = AF_UNIX, .folder_fd = -1};
    size_t room = sizeof(ret->addr.sun_path);
    int len = snprintf(ret->addr.sun_path, room, "%s", path);
    if ((size_t)len >= room) {
        char *folder = rwf_fs_dirname(path);
        ret->folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        free(folder);
        if (ret->folder_fd < 0)
            return rwf_fail(err, errno, "cannot open the folder of the socket %s: %s",
                            path, strerror(errno));
        len = snprintf(ret->addr.sun_path, room, "/proc/self/fd/%d/%s", ret->folder_fd,
                       rwf_fs_basename(path));
        if ((size_t)len >= room) {
            close(ret->folder_fd);
            return rwf_fail(err, ENAMETOOLONG, "the name of the socket %s is too long",
                            path);
        }
    }
    ret->len = (socklen_t)sizeof(ret->addr);
    return 0;
}

void wire__unix_address_clear(struct wire__unix_address *a)
{
    if (a->folder_fd >= 0)
        close(a->folder_fd);
    a->folder_fd = -1;
}

int wire__unix_check_peer(int fd, struct rwf_err *err)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
        return rwf_fail(err, errno, "cannot learn who is on a socket: %s",
                        strerror(errno));
    if (peer.uid == geteuid() || peer.uid == 0)
        return 0;
    return rwf_fail(err, EACCES, "process %d of user %u is refused: this is user %u's",
                    (int)peer.pid, (unsigned)peer.uid, (unsigned)geteuid());
}

int wire_unix_connect(const char *path, struct rwf_err *err)
{
    struct wire__unix_address a;
    if (wire__unix_address(path, &a, err))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)&a.addr, a.len);
    int error = errno;
    wire__unix_address_clear(&a);
    if (rc)
        rwf_fail(err, error, "cannot connect to %s: %s%s", path, strerror(error),
                 error == ENOENT || error == ECONNREFUSED
                     ? " (nothing listens there: start it with raywf start)"
                     : "");
    else if (!wire__unix_check_peer(fd, err))
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}
