/* SPDX-License-Identifier: Apache-2.0
 *
 * What has come in from a peer and is not whole yet: bytes, and the descriptors that
 * came with them. A frame's descriptors are sent with its first byte, so both queues
 * are in the same order, and a frame takes as many from the front as its head says.
 */
#ifndef RWF_WIRE_INBOX_H
#define RWF_WIRE_INBOX_H
#include <sys/types.h>
#include "wire/frame.h"

struct wire__inbox {
    char *data;
    size_t start, end, cap; /* bytes [start, end) wait */
    int *fds;
    size_t fd_start, fd_end, fd_cap;
    size_t frame_max; /* 0: WIRE_FRAME_MAX; less until a peer has proved who it is */
};

/* One recvmsg: 1 something came, 0 end of stream, -1 *err (EAGAIN: nothing there). */
int wire__inbox_read(struct wire__inbox *in, int fd, struct rwf_err *err);
void wire__inbox_put(struct wire__inbox *in, const void *bytes, size_t len);
void wire__inbox_put_fd(struct wire__inbox *in, int fd);
/* Takes the next frame: 1 *ret, 0 none is whole, -1 the peer is broken. */
int wire__inbox_take(struct wire__inbox *in, struct wire_message *ret,
                     struct rwf_err *err);
/* Whether a part of a frame waits: a stream that ends now was cut. */
bool wire__inbox_partial(const struct wire__inbox *in);
void wire__inbox_free(struct wire__inbox *in);

/* sendmsg of what is left of a frame, once: bytes written or -1 with errno. fds go with
 * the first byte. */
ssize_t wire__send_some(int fd, const void *bytes, size_t len, const int *fds,
                        int fd_count);

#endif
