/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "wire/unix.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/unix.h"
#include "wire/frame.h"

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
    struct rwf_unix a;
    if (rwf_unix_open(&a, path, err))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)&a.addr, a.len);
    int error = errno;
    rwf_unix_close(&a);
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
