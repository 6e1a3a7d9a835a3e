/* SPDX-License-Identifier: Apache-2.0
 *
 * A peer on a libuv loop: a unix socket, a TCP connection, or, when both ends share a
 * process, a queue in memory; frames in order, with the same callbacks. TCP peers prove
 * that they know the cluster's key before anything else is believed (HMAC-SHA256 over
 * both nonces and the roles; constant-time compare; the key never crosses the wire).
 * With RAYWF_TLS_CERT, _KEY and _CA all of that goes through TLS, on both sides (tls.c).
 *
 * All of it in the loop's thread. Callbacks may send, and may close the link.
 */
#ifndef RWF_WIRE_LINK_H
#define RWF_WIRE_LINK_H
#include <uv.h>
#include "wire/frame.h"

struct wire_link;

struct wire_handler {
    void *ctx;
    /* m is cleared afterwards; take descriptors by setting them to -1. */
    void (*message)(void *ctx, struct wire_link *link, struct wire_message *m);
    /* The link is closed, for ever: NULL err: by us, or an orderly end. Free nothing of
     * it; it is gone after this call. */
    void (*closed)(void *ctx, struct wire_link *link, const struct rwf_err *err);
};

#define WIRE_KEY_LEN 32 /* bytes of a cluster's key */

/* Both ends of a link in memory; messages arrive in a later turn of the loop. */
void wire_link_pair(uv_loop_t *loop, struct wire_link **ret_a, struct wire_link **ret_b);
/* Takes a connected unix stream socket (on failure it stays the caller's). */
struct wire_link *wire_link_open(uv_loop_t *loop, int fd, struct rwf_err *err);
/* Connects; the handler hears `closed` with err when that fails, or the key is wrong. */
struct wire_link *wire_link_connect(uv_loop_t *loop, const char *host, int port,
                                    const uint8_t *key, struct rwf_err *err);
/* "HOST:PORT" or "[HOST]:PORT", port 0 to 65535, in its parts; *ret_host is the caller's. -1:
 * it is no such text, and nothing is set. */
int wire_address_split(const char *text, char **ret_host, int *ret_port);
/* The address of ours from which the way to host leads, and its interface (either may be NULL;
 * sizes INET6_ADDRSTRLEN and IF_NAMESIZE). */
int wire_route_host(const char *host, char *ret_address, char *ret_interface,
                    struct rwf_err *err);
/* Until there is a handler messages wait. h is copied; NULL: the link tells nothing more,
 * for who closes it and is gone before `closed` comes. */
void wire_link_handle(struct wire_link *l, const struct wire_handler *h);
/* Queues; never blocks; a peer that reads nothing for long, or leaves too much unread, is
 * closed. fds are dup'ed; none on TCP. After the end of the link: does nothing. */
void wire_link_send(struct wire_link *l, enum wire_type type, const ProtobufCMessage *body,
                    const int *fds, int fd_count);
/* Bytes that were sent and have not left yet: who sends much waits while it is much (0 for a
 * link in memory, and after the end). */
size_t wire_link_queued(const struct wire_link *l);
/* `closed` follows in a later turn of the loop. What is queued and fits goes out. */
void wire_link_close(struct wire_link *l);
/* Gives up an open socket: *ret_fd (not blocking) is the caller's, and so are the bytes in
 * *ret_bytes that were read of it and belong to no message that was told. To be called from
 * `message`; `closed` follows, without an error. -1: the link is not open, is in memory, or
 * what is queued does not fit the socket. */
int wire_link_detach(struct wire_link *l, int *ret_fd, char **ret_bytes, size_t *ret_len,
                     struct rwf_err *err);
/* "unix", "127.0.0.1:4711", "memory" */
const char *wire_link_name(const struct wire_link *l);
/* Of a unix socket: who is on the other side. */
int wire_link_pid(const struct wire_link *l);

struct wire_listener;
typedef void (*wire_accept_fn)(void *ctx, struct wire_link *link);
/* A unix socket at path (folder 0700, socket 0600; other users are refused), or TCP on
 * host:port (port 0: any free one). A host that is not loopback needs a key. */
struct wire_listener *wire_listen_unix(uv_loop_t *loop, const char *path,
                                       wire_accept_fn fn, void *ctx, struct rwf_err *err);
struct wire_listener *wire_listen_tcp(uv_loop_t *loop, const char *host, int port,
                                      const uint8_t *key, wire_accept_fn fn, void *ctx,
                                      struct rwf_err *err);
int wire_listener_port(const struct wire_listener *l);
void wire_listener_close(struct wire_listener *l);

/* The key in path (32 bytes as 64 hex digits), made there 0600 when it is missing and
 * create is set. A file that others can read is refused. */
int wire_key_load(const char *path, bool create, uint8_t ret[WIRE_KEY_LEN],
                  struct rwf_err *err);

#endif
