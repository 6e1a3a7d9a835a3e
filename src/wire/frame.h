/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames on a stream: 8 bytes of head (payload length u32, type u16, number of
 * descriptors u16; little endian), then a packed protobuf-c message. On unix sockets
 * the descriptors travel with the head (SCM_RIGHTS). No event loop here: clients use it
 * blocking, links (link.h) with libuv.
 *
 * What comes in is input: a frame that is too long, of an unknown type or no valid
 * message is an error that names it; the caller then ends the peer.
 */
#ifndef RWF_WIRE_FRAME_H
#define RWF_WIRE_FRAME_H
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"
#include "wire/wire.pb-c.h" /* made from schemas/wire.proto */

#define WIRE_FRAME_MAX ((size_t)64 << 20)
#define WIRE_HEAD 8
#define WIRE_FDS_MAX 4

enum wire_type {
    WIRE_NONE,
#define WIRE_MESSAGE(name, type, prefix, from, help) WIRE_##name,
#include "wire/messages.def"
#undef WIRE_MESSAGE
    WIRE_TYPE_COUNT
};

struct wire_message {
    enum wire_type type;
    ProtobufCMessage *body; /* cast by type */
    int fds[WIRE_FDS_MAX];  /* the receiver's; -1 once taken */
    int fd_count;
};

const char *wire_type_name(enum wire_type type); /* "HELLO" */
const ProtobufCMessageDescriptor *wire_descriptor(enum wire_type type);

/* Of the frame of body. Bodies of a user's size are checked with it before they are
 * sent: one above WIRE_FRAME_MAX is a bug in what follows. */
size_t wire_frame_size(const ProtobufCMessage *body);
/* The first frame of either side says who it is. role and name are borrowed. */
void wire_hello_set(Wire__Hello *h, const char *role, const char *name);
/* Whether the peer's version fits ours: the very same (clients and their node), or the
 * same major (below 1.0: minor) one. */
int wire_hello_check(const Wire__Hello *h, bool same, struct rwf_err *err);

/* Appends the frame of body to out. */
void wire_frame_add(struct rwf_str *out, enum wire_type type,
                    const ProtobufCMessage *body, int fd_count);
/* Takes one frame from data: 1 and *ret, *ret_used; 0: not whole yet; -1: bad. The
 * descriptors that it announces are the caller's to fill in (fds are -1). */
int wire_frame_take(const void *data, size_t len, struct wire_message *ret,
                    size_t *ret_used, struct rwf_err *err);
/* Frees body and closes descriptors that were not taken. */
void wire_message_clear(struct wire_message *m);

/* Connects to the unix socket at path; one of another user (but root) is refused. */
int wire_unix_connect(const char *path, struct rwf_err *err);
/* Blocking, on a unix socket. fds are sent, and stay the caller's. EPIPE: peer gone. */
int wire_send(int fd, enum wire_type type, const ProtobufCMessage *body, const int *fds,
              int fd_count, struct rwf_err *err);
/* A reader keeps what came too much. 1 message, 0 end of stream, -1 *err. Waits at most
 * until deadline (monotonic ns; INT64_MAX: for ever): ETIMEDOUT. */
struct wire_reader;
struct wire_reader *wire_reader_create(int fd);
void wire_reader_destroy(struct wire_reader *r);
int wire_receive(struct wire_reader *r, int64_t deadline, struct wire_message *ret,
                 struct rwf_err *err);

#endif
