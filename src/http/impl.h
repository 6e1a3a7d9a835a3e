/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the server. A connection is in one phase at a time:
 *
 *   IDLE -> HEAD (its request line is there) -> BODY -> TOLD (the handler has it) ->
 * REPLY -> IDLE
 *
 * A connection that waits, for its reply or for more of it, is first "hot":
 * libmicrohttpd asks for it at each of its turns, which costs least when the answer
 * comes soon. After HOT_MS it is suspended, and its socket is watched for the client's
 * leaving.
 *
 * A request belongs to its connection until it is ended and sent; one whose client left
 * belongs to the handler until it is ended.
 */
#ifndef RWF_HTTP_IMPL_H
#define RWF_HTTP_IMPL_H
#include <netinet/in.h>
#include <arpa/inet.h>
#include "http/mhd.h"
#include "http/server.h"

#define HTTP__HOT_MS 10
#define HTTP__HOT_MAX 256 /* asked at each turn: more would cost too much */
#define HTTP__ID_LEN 65

enum http__phase {
    HTTP__IDLE,
    HTTP__HEAD,
    HTTP__BODY,
    HTTP__TOLD,
    HTTP__REPLY,
};

struct http__conn {
    struct http_server *s;
    struct MHD_Connection *mhd;
    struct http__conn *prev, *next;         /* of all */
    struct http__conn *hot_prev, *hot_next; /* oldest first */
    struct http_request *r;
    enum http__phase phase;
    int fd;
    uint64_t since; /* loop's ms: of the phase, or of its last progress */
    uint64_t turn;  /* of the loop, in which its last reply was sent */
    uint64_t acked; /* bytes that the client has taken, when last asked */
    uint64_t served;
    bool hot, suspended, watched, killed;
    bool failed; /* its last request did not end well: it is being closed for that */
    char peer[INET6_ADDRSTRLEN];
};

struct http__field {
    const char *name, *value;
};

struct http_request {
    struct http_server *s;
    struct http__conn *conn; /* NULL: the client left, or the reply has no body */
    struct http_request *prev, *next; /* of free ones, or of orphans */
    struct rwf_str target;            /* as it came; then "path\0query" */
    struct rwf_str block;             /* the header lines; fields point into it */
    struct http__field *fields;
    size_t field_count, field_cap;
    const char *method, *path, *query;
    const char *origin, *authorization;
    struct rwf_str body;
    struct rwf_str extra; /* of the reply: "name\0value\0"… */
    struct rwf_str out;   /* of the reply, from out_at on: not taken yet */
    size_t out_at;
    uint64_t sent;   /* bytes of the reply's body, so far */
    uint64_t length; /* of the body, as announced */
    int64_t arrived;
    int status;
    bool chunked, expects; /* how the body comes */
    bool seen;             /* its header was checked */
    bool bad;              /* answered here */
    bool over;             /* the body is larger than allowed: what comes is dropped */
    bool told, ended, begun, cut, gone, close, orphan;
    bool lost; /* gone, and the handler was told so */
    char id[HTTP__ID_LEN];
    char peer[INET6_ADDRSTRLEN];
    char note[128], reason[256];
    void *own;
};

struct http__log;

struct http_server {
    uv_loop_t *loop;
    struct http_server_options o;
    const struct http__mhd *mhd;
    struct MHD_Daemon *daemon;
    uv_poll_t listen_poll, daemon_poll, gone_poll;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t hot_timer, sweep_timer, drain_timer;
    int handles; /* of libuv, not closed yet */
    int listen_fd, gone_fd, spare_fd;
    char *url, *unix_path;
    struct http__conn *conns;
    struct http__conn *hot_first, *hot_last;
    int hot_count;
    struct http_request *free_requests;
    struct http_request *orphans; /* told, not ended, without a connection */
    int free_count;
    int again;     /* turns that libmicrohttpd needs at once */
    bool happened; /* in this turn: something that may need another */
    bool running;  /* inside libmicrohttpd */
    bool stopping, draining;
    bool untold;     /* clients left, and their handlers do not know */
    bool any_key, tls;
    uint64_t turn, busy; /* connections that are not idle */
    uint64_t id_base, id_count;
    void (*drained)(void *ctx);
    void *drained_ctx;
    char fault[256]; /* what libmicrohttpd said last, while it starts */
    struct http__log *log;
    struct http_server_stats stats;
};

/* listen.c */
int http__listen(struct http_server *s, struct rwf_err *err);
void http__listen_close(struct http_server *s);
bool http__is_loopback(const char *host);

/* check.c: 0, or the status of what is wrong, with *ret_why. */
int http__check_header(struct http_request *r, const char *method, const char *uri,
                       const char *version, size_t size, const char **ret_why);
int http__check_target(struct http_request *r, const char **ret_why);
bool http__check_key(const struct http_server *s, const char *authorization);

/* conn.c */
void http__conn_notify(void *s, struct MHD_Connection *mhd, void **socket,
                       enum MHD_ConnectionNotificationCode code);
void http__conn_phase(struct http__conn *c, enum http__phase phase);
void http__conn_hot(struct http__conn *c, bool hot);
void http__conn_wake(struct http__conn *c);
void http__conn_kill(struct http__conn *c);
void http__conn_cool(uv_timer_t *timer);
void http__conn_gone(uv_poll_t *poll, int status, int events);
void http__conn_sweep(uv_timer_t *timer);

/* request.c */
void *http__request_begin(void *s, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result http__request_handle(void *s, struct MHD_Connection *mhd,
                                     const char *url, const char *method,
                                     const char *version, const char *data,
                                     size_t *size, void **own);
void http__request_done(void *s, struct MHD_Connection *mhd, void **own,
                        enum MHD_RequestTerminationCode code);
void http__request_finish(struct http_request *r);
void http__request_lost(struct http_request *r);
void http__requests_tell_lost(struct http_server *s);
void http__request_free(struct http_request *r);
void http__requests_clear(struct http_server *s);

/* reply.c */
const char *http__reply_origin(const struct http_request *r);
void http__reply_header(struct http_request *r, const char *name, const char *value);
/* text in quotes, escaped; what is not UTF-8 becomes '?'. */
void http__add_json(struct rwf_str *out, const char *text);
/* An error past libmicrohttpd, which cannot reply in this phase; plain sockets only. */
void http__reply_raw(struct http__conn *c, int status, const char *why);

/* server.c */
void http__pump(struct http_server *s);
void http__soon(struct http_server *s, int turns);
void http__maybe_drained(struct http_server *s);
void http__handle_closed(struct http_server *s);

/* log.c */
struct http__log *http__log_open(uv_loop_t *loop, const char *path,
                                 struct rwf_err *err);
void http__log_add(struct http__log *log, const struct http_request *r);
void http__log_close(struct http__log *log);

#endif
