/* SPDX-License-Identifier: Apache-2.0
 *
 * A server and its clients in one thread: clients are plain sockets that are read
 * between turns of the server's loop.
 */
#ifndef RWF_TESTS_HTTP_RIG_H
#define RWF_TESTS_HTTP_RIG_H
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>
#include "base/str.h"
#include "http/server.h"

#define RIG_HELD 64
#define RIG_MS RWF_NS_PER_MS
#define BYTES(text) (text), sizeof(text) - 1
#define H "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"

struct rig {
    uv_loop_t loop;
    struct http_server *server;
    int port;
    int told, gone, drained;
    struct http_request *held[RIG_HELD]; /* told and not answered: path /hold… */
    int held_count;
    struct http_request *stream; /* begun by /stream */
};

/* o->request and the rest of the callbacks are the rig's. Paths:
 * /hold: held; /later: replied from a timer; /stream: begun, the test goes on with it;
 * /big/N: N bytes; /headers: "name=value\n"…; /own: with headers of its own; /where:
 * the path and query; else: the body, or "hello" when there is none. */
void rig_open(struct rig *g, const struct http_server_options *o);
void rig_close(struct rig *g);
/* Turns of the loop, until `done` says so (false: not within 10 s). */
bool rig_until(struct rig *g, bool (*done)(void *ctx), void *ctx);
void rig_turns(struct rig *g, int turns);
int rig_connect(struct rig *g);
void rig_send(struct rig *g, int fd, const char *bytes, size_t len);
/* What comes until the server closes, or (replies > 0) until so many replies are whole.
 * ret_closed may be NULL. The caller's to free. */
char *rig_read(struct rig *g, int fd, int replies, bool *ret_closed);
/* A connection, these bytes, its replies; closed. */
char *rig_ask(struct rig *g, const char *bytes, size_t len, int replies,
              bool *ret_closed);
char *rig_get(struct rig *g, const char *path);
/* So many turns, a millisecond apart. */
void rig_wait(struct rig *g, int ms);
/* Of a reply; 0 and "" when it is none. */
int rig_status(const char *reply);
const char *rig_body(const char *reply);
/* head, `size` times 'a', tail. */
char *rig_text(const char *head, size_t size, const char *tail);

/* For rig_until; ctx is the rig. */
bool rig_is_gone(void *ctx);
bool rig_is_held(void *ctx);
bool rig_is_streaming(void *ctx);
/* No connection is open, no request ongoing. */
bool rig_is_closed(void *ctx);

#endif
