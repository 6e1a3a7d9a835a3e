/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP in: a server over libmicrohttpd (opened at run time), driven by the caller's libuv loop.
 * One thread does it all: handlers are called on the loop's thread, replies are made on it.
 * A request is told to the handler once its body is there; the reply may come at once or any
 * time later, whole or piece by piece.
 *
 *   told -> (reply | begin, write…, end) -> done        the handler answered
 *   told -> gone -> (reply or end, which do nothing)    the client left before that
 *
 * Every request that was told must be ended by exactly one reply or end; after it the pointer
 * is dead. What is wrong with a request as HTTP (smuggling shapes, sizes, time-outs, keys,
 * methods) is answered here and never told. Errors are JSON: {"error": {"message", "type",
 * "param", "code"}}.
 */
#ifndef RWF_HTTP_SERVER_H
#define RWF_HTTP_SERVER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"
#include "base/str.h"

struct http_server;
struct http_request;

/* All of it is copied. */
struct http_server_options {
    const char *host; /* an address; NULL: 127.0.0.1 */
    int port;         /* 0: any free one */
    const char *unix_path; /* instead of host and port */
    int unix_mode;    /* of the socket; 0: 0600 */
    const char *tls_cert, *tls_key; /* PEM files; NULL: plain */
    /* Without a key among them requests get 401 (paths of `open` excepted). NULL or empty: no
     * keys. Compared in constant time; as "Authorization: Bearer KEY". */
    const char *const *api_keys;
    const char *const *open_paths; /* "/health", "/metrics"; NULL-terminated or NULL */
    const char *const *cors_origins; /* "*" or exact ones; preflights are answered here */
    size_t max_body;         /* bytes; 0: 1 MiB. 413 */
    size_t max_header;       /* bytes of request line and header lines; 0: 16 KiB. 431 */
    int max_connections;     /* 0: 10,000; more are closed at once, and counted */
    int64_t header_timeout;  /* ns for a request line, headers, and each 64 KiB of body; 0: 10 s. 408 */
    int64_t idle_timeout;    /* of a kept-alive connection; 0: 90 s */
    int64_t write_timeout;   /* a client that takes nothing for so long is gone; 0: 30 s */
    size_t write_limit;      /* bytes that wait for a slow client before it counts as gone; 0: 4 MiB */
    const char *access_log;  /* file of JSON lines, rotated at 16 MiB (one old one kept); NULL: none */
    /* A request is there: r stays valid until it is ended. */
    void (*request)(void *ctx, struct http_request *r);
    /* Its client left: http_gone(r) is true from now on. It must still be ended. */
    void (*gone)(void *ctx, struct http_request *r);
    void *ctx;
};

/* Listens. A host that is not loopback needs api_keys (RWF_E_USAGE). RWF_E_ENV: the port is in use
 * (says by whom, when that can be known), no libmicrohttpd. */
struct http_server *http_server_create(uv_loop_t *loop, const struct http_server_options *o,
                                       struct rwf_err *err);
/* "http://127.0.0.1:8000" or "unix:PATH"; the port is the real one. */
const char *http_server_url(const struct http_server *s);
/* Draining: no new connections; kept-alive ones close after their next reply; done is called
 * once, when all requests have been ended and sent, or after timeout (the rest is cut off). */
void http_server_drain(struct http_server *s, int64_t timeout, void (*done)(void *ctx), void *ctx);
/* Requests that are not ended must not be touched any more. */
void http_server_destroy(struct http_server *s);

struct http_server_stats {
    uint64_t connections, open, refused; /* accepted, open now, over max_connections */
    uint64_t requests, ongoing;          /* told; not ended yet */
    uint64_t bad;                        /* answered here with 4xx */
    uint64_t bytes_in, bytes_out;        /* bodies */
};
void http_server_stats(const struct http_server *s, struct http_server_stats *ret);

/* --- a request; texts live until it is ended --- */

const char *http_method(const struct http_request *r); /* "POST" */
const char *http_path(const struct http_request *r);   /* decoded, no query; begins with '/', has no
                                                          ".." and no NUL */
const char *http_query(const struct http_request *r);  /* raw, "" when there is none */
/* NULL when there is none. Case does not matter. */
const char *http_header(const struct http_request *r, const char *name);
void http_headers(const struct http_request *r,
                  void (*each)(void *ctx, const char *name, const char *value), void *ctx);
const char *http_body(const struct http_request *r, size_t *ret_size); /* NUL-terminated */
/* X-Request-Id as it came (if it is plain and short), else made here; replies carry it. */
const char *http_id(const struct http_request *r);
const char *http_peer(const struct http_request *r); /* "127.0.0.1", "unix" */
int64_t http_arrived(const struct http_request *r);  /* monotonic, ns */
bool http_gone(const struct http_request *r);
/* The handler's own. */
void http_set(struct http_request *r, void *own);
void *http_get(const struct http_request *r);
/* A word for the access log: which deployment it went to. Copied. */
void http_note(struct http_request *r, const char *note);
/* Why its reply did not end as it began, for the access log. Copied. */
void http_reason(struct http_request *r, const char *reason);

/* Before reply or begin; copied. X-Request-Id, and Access-Control-… when there are
 * cors_origins, are made here: they are not taken. */
void http_reply_header(struct http_request *r, const char *name, const char *value);
/* The whole reply; data is copied. Ends the request. */
void http_reply(struct http_request *r, int status, const char *content_type, const void *data,
                size_t size);
/* The whole reply to a HEAD, with the length that the body would have; below 0: not known. */
void http_reply_head(struct http_request *r, int status, const char *content_type, int64_t length);
/* As http_reply, with the error's JSON; type by status ("invalid_request_error", "server_error" …), code
 * NULL: null. retry_after: seconds, 0: none. */
void http_reply_error(struct http_request *r, int status, const char *code, int retry_after,
                      const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Piece by piece: chunked (HTTP/1.0: until close). write sends soon, without waiting for more. */
void http_reply_begin(struct http_request *r, int status, const char *content_type);
void http_reply_write(struct http_request *r, const void *data, size_t size);
/* Bytes that the client has not taken yet. */
size_t http_reply_waiting(const struct http_request *r);
/* Bytes of the body that were written so far, those that wait among them. */
uint64_t http_reply_written(const struct http_request *r);
/* Ends the request; cut: the connection is closed without a proper end, so that the client sees
 * that something is missing. */
void http_reply_end(struct http_request *r, bool cut);

#endif
