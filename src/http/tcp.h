/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernel knows of a TCP connection. (The C library's tcp_info lacks most of
 * it, and the kernel's header does not go with libuv's.)
 */
#ifndef RWF_HTTP_TCP_H
#define RWF_HTTP_TCP_H
#include <stdbool.h>
#include <stdint.h>

struct http__tcp {
    uint64_t received, acked;            /* bytes; acked: of ours, by the peer */
    uint32_t sent_segments;              /* with data */
    uint32_t since_sent, since_received; /* ms */
};

/* False when fd is no TCP socket. */
bool http__tcp_ask(int fd, struct http__tcp *ret);

#endif
