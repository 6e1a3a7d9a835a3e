/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "wire/frame.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "wire/inbox.h"

static const struct type_row {
    const char *name;
    const ProtobufCMessageDescriptor *descriptor;
} types[] = {
    [WIRE_NONE] = {"NONE", NULL},
#define WIRE_MESSAGE(name, type, prefix, from, help)                                   \
    [WIRE_##name] = {#name, &prefix##__descriptor},
#include "wire/messages.def"
#undef WIRE_MESSAGE
};

const char *wire_type_name(enum wire_type type)
{
    return (unsigned)type < RWF_COUNT(types) ? types[type].name : "unknown";
}

const ProtobufCMessageDescriptor *wire_descriptor(enum wire_type type)
{
    return (unsigned)type < RWF_COUNT(types) ? types[type].descriptor : NULL;
}

/* --- heads --- */

struct head {
    uint32_t len; /* of the payload */
    uint16_t type;
    uint16_t fds;
};
_Static_assert(sizeof(struct head) == WIRE_HEAD, "the head has no padding");

size_t wire_frame_size(const ProtobufCMessage *body)
{
    return WIRE_HEAD + protobuf_c_message_get_packed_size(body);
}

void wire_frame_add(struct rwf_str *out, enum wire_type type,
                    const ProtobufCMessage *body, int fd_count)
{
    rwf_assert(wire_descriptor(type) == body->descriptor);
    rwf_assert(fd_count >= 0 && fd_count <= WIRE_FDS_MAX);
    size_t len = protobuf_c_message_get_packed_size(body);
    rwf_assert(len <= WIRE_FRAME_MAX);
    if (out->cap - out->len < WIRE_HEAD + len + 1) {
        size_t cap = out->cap * 2;
        if (cap < out->len + WIRE_HEAD + len + 1)
            cap = out->len + WIRE_HEAD + len + 1;
        out->data = rwf_xrealloc(out->data, cap);
        out->cap = cap;
    }
    struct head h = {htole32((uint32_t)len), htole16((uint16_t)type),
                     htole16((uint16_t)fd_count)};
    memcpy(out->data + out->len, &h, sizeof(h));
    protobuf_c_message_pack(body, (uint8_t *)out->data + out->len + WIRE_HEAD);
    out->len += WIRE_HEAD + len;
    out->data[out->len] = '\0';
}

/* What is wrong with a head is said before its payload has come: it may never come. */
static int check_head(const struct head *h, size_t max, struct rwf_err *err)
{
    if (!wire_descriptor(h->type))
        return rwf_fail(err, EPROTO, "frame of unknown type %u (there are %d)", h->type,
                        WIRE_TYPE_COUNT - 1);
    if (h->len > max)
        return rwf_fail(err, EMSGSIZE, "frame %s of %u bytes; at most %zu are allowed",
                        wire_type_name(h->type), h->len, max);
    if (h->fds > WIRE_FDS_MAX)
        return rwf_fail(err, EPROTO,
                        "frame %s with %u descriptors; at most %d are allowed",
                        wire_type_name(h->type), h->fds, WIRE_FDS_MAX);
    return 0;
}

static int take_frame(const void *data, size_t len, size_t max,
                      struct wire_message *ret, size_t *ret_used, struct rwf_err *err)
{
    struct head h;
    if (len < WIRE_HEAD)
        return 0;
    memcpy(&h, data, sizeof(h));
    h = (struct head){le32toh(h.len), le16toh(h.type), le16toh(h.fds)};
    if (check_head(&h, max, err))
        return -1;
    if (len - WIRE_HEAD < h.len)
        return 0;
    ProtobufCMessage *body = protobuf_c_message_unpack(
        wire_descriptor(h.type), NULL, h.len, (const uint8_t *)data + WIRE_HEAD);
    if (!body)
        return rwf_fail(err, EPROTO, "the %u bytes of a frame %s are no such message",
                        h.len, wire_type_name(h.type));
    *ret = (struct wire_message){.type = h.type, .body = body, .fd_count = h.fds};
    for (int i = 0; i < WIRE_FDS_MAX; i++)
        ret->fds[i] = -1;
    *ret_used = WIRE_HEAD + h.len;
    return 1;
}

int wire_frame_take(const void *data, size_t len, struct wire_message *ret,
                    size_t *ret_used, struct rwf_err *err)
{
    return take_frame(data, len, WIRE_FRAME_MAX, ret, ret_used, err);
}

void wire_message_clear(struct wire_message *m)
{
    if (m->body)
        protobuf_c_message_free_unpacked(m->body, NULL);
    for (int i = 0; i < m->fd_count && i < WIRE_FDS_MAX; i++)
        if (m->fds[i] >= 0)
            close(m->fds[i]);
    *m = (struct wire_message){0};
}

/* --- inbox --- */

void wire__inbox_put_fd(struct wire__inbox *in, int fd)
{
    if (in->fd_start == in->fd_end)
        in->fd_start = in->fd_end = 0;
    in->fds = rwf_grow(in->fds, in->fd_end, &in->fd_cap, sizeof(*in->fds));
    in->fds[in->fd_end++] = fd;
}

/* Room for len more bytes at the end. */
static void make_room(struct wire__inbox *in, size_t len)
{
    if (in->start == in->end)
        in->start = in->end = 0;
    if (in->cap - in->end >= len)
        return;
    if (in->start) {
        memmove(in->data, in->data + in->start, in->end - in->start);
        in->end -= in->start;
        in->start = 0;
    }
    if (in->cap - in->end >= len)
        return;
    in->cap = in->cap * 2 > in->end + len ? in->cap * 2 : in->end + len;
    in->data = rwf_xrealloc(in->data, in->cap);
}

void wire__inbox_put(struct wire__inbox *in, const void *bytes, size_t len)
{
    make_room(in, len);
    memcpy(in->data + in->end, bytes, len);
    in->end += len;
}

static int take_cmsg(struct wire__inbox *in, struct msghdr *msg, struct rwf_err *err)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            wire__inbox_put_fd(in, fd);
        }
    }
    if (msg->msg_flags & MSG_CTRUNC)
        return rwf_fail(err, EPROTO, "descriptors were lost: too many came, or are open");
    return 0;
}

int wire__inbox_read(struct wire__inbox *in, int fd, struct rwf_err *err)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
    } control;
    make_room(in, in->end - in->start < 32768 ? 16384 : in->end - in->start);
    struct iovec iov = {in->data + in->end, in->cap - in->end};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    ssize_t got;
    do
        got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return rwf_fail(err, errno, "cannot read: %s", strerror(errno));
    if (take_cmsg(in, &msg, err))
        return -1;
    in->end += (size_t)got;
    return got > 0;
}

int wire__inbox_take(struct wire__inbox *in, struct wire_message *ret,
                     struct rwf_err *err)
{
    size_t used;
    struct wire_message m;
    int rc = take_frame(in->data + in->start, in->end - in->start,
                        in->frame_max ? in->frame_max : WIRE_FRAME_MAX, &m, &used, err);
    /* Those that wait now can only be of the frame that is coming in. */
    if (rc == 0 && in->fd_end - in->fd_start > WIRE_FDS_MAX)
        return rwf_fail(err, EPROTO, "more descriptors came than frames announce");
    if (rc <= 0)
        return rc;
    in->start += used;
    if ((size_t)m.fd_count > in->fd_end - in->fd_start) {
        rc = rwf_fail(err, EPROTO, "frame %s announces %d descriptors, %zu came",
                      wire_type_name(m.type), m.fd_count, in->fd_end - in->fd_start);
        wire_message_clear(&m);
        return rc;
    }
    for (int i = 0; i < m.fd_count; i++)
        m.fds[i] = in->fds[in->fd_start++];
    *ret = m;
    return 1;
}

bool wire__inbox_partial(const struct wire__inbox *in)
{
    return in->start < in->end;
}

void wire__inbox_free(struct wire__inbox *in)
{
    for (size_t i = in->fd_start; i < in->fd_end; i++)
        close(in->fds[i]);
    free(in->fds);
    free(in->data);
    *in = (struct wire__inbox){0};
}

ssize_t wire__send_some(int fd, const void *bytes, size_t len, const int *fds,
                        int fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
    } control = {0};
    struct iovec iov = {(void *)bytes, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd_count > 0) {
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)fd_count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)fd_count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)fd_count);
    }
    ssize_t sent;
    do
        sent = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent;
}
