/* SPDX-License-Identifier: Apache-2.0
 *
 * Unix sockets: peers of our own user (or root) only.
 */
#ifndef RWF_WIRE_UNIX_H
#define RWF_WIRE_UNIX_H
#include "base/err.h"

/* 0 when the process at the other end of fd is one of ours. */
int wire__unix_check_peer(int fd, struct rwf_err *err);

#endif
