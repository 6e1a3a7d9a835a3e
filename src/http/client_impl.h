/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the client: client.c (calls, and what goes over their connections),
 * client_link.c (where to, and connections made or taken from the pool).
 */
#ifndef RWF_HTTP_CLIENT_IMPL_H
#define RWF_HTTP_CLIENT_IMPL_H
#include <netinet/in.h>
#include "base/str.h"
#include "http/client.h"
#include "http/parse.h"

struct http__link;

struct http_call {
    struct http_client *client;
    struct http_call *prev, *next; /* of all that run */
    struct http__link *link;       /* NULL: it failed at once */
    struct rwf_str request;
    struct rwf_err err; /* of its start */
    int64_t timeout, idle_timeout;
    bool is_head, sent, answered, paused;
    bool starting, failed; /* inside http_client_call; to be told by the starter */
    void (*head)(void *ctx, const struct http_reply_head *head);
    void (*piece)(void *ctx, const void *data, size_t size);
    void (*done)(void *ctx, const struct rwf_err *err, bool sent);
    void *ctx;
};

struct http__link {
    struct http_client *client;
    struct http__link *prev, *next; /* of all, or of those that idle (newest first) */
    struct http_call *call;         /* NULL: it idles */
    union {
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
        uv_handle_t handle;
    } u;
    uv_timer_t timer;
    uv_connect_t connect;
    uv_write_t write;
    struct rwf_str rest; /* of the request: being written by libuv */
    struct http__parser parser;
    bool kept; /* it has served before */
    bool writing, reading, closing;
    int open; /* handles */
};

struct http_client {
    uv_loop_t *loop;
    char *path; /* of the socket; NULL: port */
    struct sockaddr_in addr;
    int max_idle, idle_count;
    size_t max_header;
    struct http__link *links, *idle;
    struct http_call *calls;
    uv_timer_t starter; /* tells the calls that failed at once */
    char *buffer;
    bool destroyed;
    int open;  /* the starter, and links whose handles are not closed */
    int depth; /* callbacks that we are in */
};

/* client.c */
/* The last thing of a call. */
void http__call_end(struct http_call *call, const struct rwf_err *err);
/* The request of its call; what cannot be written at once follows by itself. */
void http__link_send(struct http__link *l);
void http__link_close(struct http__link *l);

/* client_link.c */
int http__client_target(struct http_client *c, const char *target, struct rwf_err *err);
void http__link_push(struct http__link **list, struct http__link *l);
void http__link_pull(struct http__link **list, struct http__link *l);
struct http__link *http__link_new(struct http_client *c, struct http_call *call);
/* Sends once it is there. */
int http__link_connect(struct http__link *l, struct rwf_err *err);
/* One that idles, and that the program has not closed meanwhile; or NULL. */
struct http__link *http__link_take(struct http_client *c);

#endif
