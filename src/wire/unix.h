/* SPDX-License-Identifier: Apache-2.0
 *
 * Unix sockets by path: paths of any length, and peers of our own user (or root) only.
 */
#ifndef RWF_WIRE_UNIX_H
#define RWF_WIRE_UNIX_H
#include <sys/socket.h>
#include <sys/un.h>
#include "base/err.h"

struct wire__unix_address {
    struct sockaddr_un addr;
    socklen_t len;
    int folder_fd; /* keeps a long path short; -1: not needed */
};

int wire__unix_address(const char *path, struct wire__unix_address *ret,
                       struct rwf_err *err);
void wire__unix_address_clear(struct wire__unix_address *a);
/* 0 when the process at the other end of fd is one of ours. */
int wire__unix_check_peer(int fd, struct rwf_err *err);

#endif
