/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1.1 to a program on this machine, over a Unix socket or loopback TCP: a pool of kept-alive
 * connections on the caller's libuv loop. Replies are told piece by piece as they come. All on the
 * loop's thread. (Files and the wide world go through wire/http.h.)
 */
#ifndef RWF_HTTP_CLIENT_H
#define RWF_HTTP_CLIENT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"

struct http_client;
struct http_call;

struct http_client_options {
    const char *target;   /* "unix:PATH" or "http://127.0.0.1:PORT" */
    int max_idle;         /* kept connections; 0: 64 */
    size_t max_header;    /* of a reply; 0: 32 KiB */
};

struct http_reply_head {
    int status;
    int64_t length; /* of the body; -1: not known */
    size_t header_count;
    const char *const *names, *const *values; /* hop-by-hop ones and Content-Length left out */
};

struct http_call_options {
    const char *method, *path; /* path with its query */
    const char *const *names, *const *values; /* headers */
    size_t header_count;
    const void *body; /* copied */
    size_t size;
    int64_t timeout;      /* until the head; 0: none */
    int64_t idle_timeout; /* between pieces of the body; 0: none */
    void (*head)(void *ctx, const struct http_reply_head *head);
    void (*piece)(void *ctx, const void *data, size_t size);
    /* Once, last. err NULL: all is there. sent: whether the program may have seen the request (a
     * kept connection that was closed before a byte of the reply is tried again on a new one,
     * by itself, when nothing of the request can have been read). */
    void (*done)(void *ctx, const struct rwf_err *err, bool sent);
    void *ctx;
};

/* SIGPIPE is ignored from now on, unless it is handled. */
struct http_client *http_client_create(uv_loop_t *loop, const struct http_client_options *o,
                                       struct rwf_err *err);
/* Calls that run are ended with an error before it returns. Handles are closed by the loop. */
void http_client_destroy(struct http_client *c);
/* Never fails at once: errors come to done, after it has returned. */
struct http_call *http_client_call(struct http_client *c, const struct http_call_options *o);
/* Closes its connection; done is not called. */
void http_call_cancel(struct http_call *call);
/* No pieces are read while paused: the program is held up by its full socket. */
void http_call_pause(struct http_call *call, bool paused);

#endif
