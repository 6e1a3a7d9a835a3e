/* SPDX-License-Identifier: Apache-2.0
 * The blocking side of frame.h: what clients use, who have no event loop. */
#include "config.h"

#include "wire/frame.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "wire/inbox.h"

struct wire_reader {
    int fd;
    struct wire__inbox in;
};

/* Until fd is ready: 1, the deadline has passed: 0, -1. */
static int wait_for(int fd, short events, int64_t deadline, struct rwf_err *err)
{
    for (;;) {
        struct timespec left, *wait = NULL;
        if (deadline != INT64_MAX) {
            int64_t ns = deadline - rwf_clock_mono();
            ns = ns > 0 ? ns : 0;
            left = (struct timespec){ns / RWF_NS_PER_S, ns % RWF_NS_PER_S};
            wait = &left;
        }
        struct pollfd p = {.fd = fd, .events = events};
        int rc = ppoll(&p, 1, wait, NULL);
        if (rc >= 0)
            return rc;
        if (errno != EINTR)
            return rwf_fail(err, errno, "cannot wait for a peer: %s", strerror(errno));
    }
}

int wire_send(int fd, enum wire_type type, const ProtobufCMessage *body, const int *fds,
              int fd_count, struct rwf_err *err)
{
    struct rwf_str out = {0};
    size_t done = 0;
    int rc = -1;
    if (wire_frame_size(body) > WIRE_FRAME_MAX)
        return rwf_fail(err, EMSGSIZE,
                        "message %s of %zu bytes; at most %zu are allowed",
                        wire_type_name(type), wire_frame_size(body), WIRE_FRAME_MAX);
    wire_frame_add(&out, type, body, fd_count);
    while (done < out.len) {
        ssize_t sent = wire__send_some(fd, out.data + done, out.len - done, fds,
                                       done ? 0 : fd_count);
        if (sent >= 0) {
            done += (size_t)sent;
        } else if (errno != EAGAIN) {
            rwf_fail(err, errno == ECONNRESET ? EPIPE : errno, "cannot send %s: %s",
                     wire_type_name(type), strerror(errno));
            goto out;
        } else if (wait_for(fd, POLLOUT, INT64_MAX, err) < 0) {
            goto out;
        }
    }
    rc = 0;
out:
    rwf_str_free(&out);
    return rc;
}

struct wire_reader *wire_reader_create(int fd)
{
    struct wire_reader *r = rwf_xcalloc(1, sizeof(*r));
    r->fd = fd;
    return r;
}

void wire_reader_destroy(struct wire_reader *r)
{
    if (!r)
        return;
    wire__inbox_free(&r->in);
    free(r);
}

int wire_receive(struct wire_reader *r, int64_t deadline, struct wire_message *ret,
                 struct rwf_err *err)
{
    for (;;) {
        int rc = wire__inbox_take(&r->in, ret, err);
        if (rc)
            return rc;
        rc = wait_for(r->fd, POLLIN, deadline, err);
        if (rc < 0)
            return -1;
        if (!rc)
            return rwf_fail(err, ETIMEDOUT, "nothing came in time");
        struct rwf_err why = RWF_ERR_INIT;
        rc = wire__inbox_read(&r->in, r->fd, &why);
        if (!rc && wire__inbox_partial(&r->in))
            return rwf_fail(err, EPROTO, "the peer ended in the middle of a frame");
        if (!rc || (rc < 0 && why.code == ECONNRESET))
            return 0;
        if (rc < 0 && why.code != EAGAIN) {
            if (err)
                *err = why;
            return -1;
        }
    }
}
