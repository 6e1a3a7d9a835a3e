/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of a link, for src/wire only. Invariants: `closed` is called once, from
 * the loop, after the last libuv handle is closed; in state WAITING (connecting,
 * proving) nothing of the user's is sent or delivered; without a handler nothing is
 * delivered.
 */
#ifndef RWF_WIRE_LINK_IMPL_H
#define RWF_WIRE_LINK_IMPL_H
#include <sys/socket.h>
#include "wire/inbox.h"
#include "wire/link.h"

enum wire__kind { WIRE__MEMORY, WIRE__UNIX, WIRE__TCP };
enum wire__state { WIRE__WAITING, WIRE__OPEN, WIRE__CLOSED };

/* Descriptors that go with the byte at `at` of all that was ever queued. */
struct wire__mark {
    uint64_t at;
    int fds[WIRE_FDS_MAX];
    int count;
};

struct wire__out {
    char *data;
    size_t start, end, cap;
    uint64_t sent; /* bytes that left, ever: where data[start] is in the stream */
    struct wire__mark *marks;
    size_t mark_start, mark_end, mark_cap;
};

struct wire__auth;
struct wire__tls;

struct wire_link {
    uv_loop_t *loop;
    enum wire__kind kind;
    enum wire__state state;
    struct wire_handler handler;
    bool handled; /* handler is set */
    bool eof;     /* the peer will send no more */
    bool mute;    /* it takes no more: what is queued is dropped */
    struct wire__inbox in;
    struct wire_link *peer; /* memory: NULL once it is gone */
    int fd;
    bool detached; /* fd went to who asked for it */
    struct wire__out out;
    uv_idle_t kick;   /* delivers in a later turn */
    uv_poll_t poll;   /* sockets; once fd is known */
    uv_timer_t timer; /* sockets: time-out of the handshake, or of a stalled peer */
    uv_getaddrinfo_t resolve;
    bool polled;
    int events; /* that are polled for */
    bool keyed;
    uint8_t key[WIRE_KEY_LEN]; /* until the connection is made */
    int pending;               /* handles and requests that libuv still knows */
    int pid;
    bool failed, refused; /* refused: by its listener, which has said so */
    struct rwf_err err;   /* when failed */
    struct wire__auth *auth;
    struct wire__tls *tls; /* that carries what we say; NULL: none, or not any more */
    /* Of a listener, until the peer has proved who it is. */
    struct wire_listener *listener;
    struct wire_link *prev, *next;
    char name[72];
};

#define WIRE__HANDSHAKE_MS 5000
#define WIRE__GREETING_MAX 1024 /* bytes of a frame from who has proved nothing */
#define WIRE__STALL_MS 30000
#define WIRE__QUEUE_MAX (2 * WIRE_FRAME_MAX)

struct wire_link *wire__link_create(uv_loop_t *loop, enum wire__kind kind);
/* A handle or request of it is done. */
void wire__link_release(struct wire_link *l);
void wire__link_stalled(uv_timer_t *timer);
/* Ends the link with an error. */
void wire__link_fail(struct wire_link *l, const struct rwf_err *err);
/* Looks at the inbox in a later turn. */
void wire__link_kick(struct wire_link *l);
/* Begins to read fd; the state decides what becomes of what comes. */
int wire__link_start(struct wire_link *l, int fd, struct rwf_err *err);
/* What waited for the peer's proof may go now. */
void wire__link_opened(struct wire_link *l);

/* auth.c: the handshake on TCP. */
struct wire__auth *wire__auth_create(const uint8_t *key, bool listener);
void wire__auth_destroy(struct wire__auth *a);
/* The connecting side speaks first. */
int wire__auth_begin(struct wire__auth *a, int fd, struct rwf_err *err);
/* One message of the peer: 1 it is who it says, 0 more has to come, -1 *err. */
int wire__auth_take(struct wire__auth *a, int fd, const struct wire_message *m,
                    struct rwf_err *err);

/* link_tcp.c: the connection is made, or not. */
void wire__tcp_writable(struct wire_link *l);
/* It is not: the link ends with why. */
void wire__tcp_refused(struct wire_link *l, const char *why);
/* listen.c: a link of l leaves it: proved (accept), or closed. */
void wire__listener_forget(struct wire_link *l, bool accept);
/* A stranger is logged, but does not fill the log. */
void wire__listener_refused(struct wire_listener *lis, const struct rwf_err *err);
bool wire__is_loopback(const struct sockaddr *a);
void wire__tcp_options(int fd);
/* fd, a TCP socket, or the end in the clear when TLS is on; -1: it stays the caller's. */
int wire__tcp_wrap(struct wire_link *l, int fd, bool server, bool tls,
                   struct rwf_err *err);

#endif
