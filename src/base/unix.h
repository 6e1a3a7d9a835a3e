/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses of Unix sockets: paths longer than sockaddr_un holds go through the
 * descriptor of their folder.
 */
#ifndef RWF_BASE_UNIX_H
#define RWF_BASE_UNIX_H
#include <sys/socket.h>
#include <sys/un.h>
#include "base/err.h"

struct rwf_unix {
    struct sockaddr_un addr;
    socklen_t len;
    int folder; /* keeps a long path short; -1: not needed */
};

/* The codes of failures are errno values. */
int rwf_unix_open(struct rwf_unix *a, const char *path, struct rwf_err *err);
void rwf_unix_close(struct rwf_unix *a);
/* Removes the socket that a killed process left; refuses what is no socket and one that
 * somebody listens on. */
int rwf_unix_remove_stale(const struct rwf_unix *a, const char *path,
                          struct rwf_err *err);

#endif
