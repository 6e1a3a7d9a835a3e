/* SPDX-License-Identifier: Apache-2.0
 *
 * From libmicrohttpd's calls to a request that is told: the request line, then the
 * header (first call without data), the body in pieces, and the end (second call
 * without data), which comes again at each turn while nothing is replied.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http/impl.h"
#include "http/text.h"

#define FREE_MAX 256     /* requests kept for reuse */
#define KEEP_BYTES 16384 /* of their buffers */
#define BODY_STEP 65536  /* grants another header_timeout */
#define OVER_MAX                                                                       \
    (8u << 20) /* of a body that is too large: dropped, to reply in peace */

static void trim(struct rwf_str *s)
{
    if (s->cap > KEEP_BYTES)
        rwf_str_free(s);
    else
        s->len = 0;
}

static struct http_request *take(struct http_server *s)
{
    struct http_request *r = s->free_requests;
    if (!r)
        return rwf_xcalloc(1, sizeof(*r));
    s->free_requests = r->next;
    s->free_count--;
    struct http_request fresh = {.target = r->target,
                                 .block = r->block,
                                 .body = r->body,
                                 .extra = r->extra,
                                 .out = r->out,
                                 .fields = r->fields,
                                 .field_cap = r->field_cap};
    memset(r, 0, offsetof(struct http_request, id));
    r->target = fresh.target, r->block = fresh.block, r->body = fresh.body;
    r->extra = fresh.extra, r->out = fresh.out;
    r->fields = fresh.fields, r->field_cap = fresh.field_cap;
    r->id[0] = r->note[0] = r->reason[0] = '\0';
    r->own = NULL;
    return r;
}

static void destroy(struct http_request *r)
{
    rwf_str_free(&r->target);
    rwf_str_free(&r->block);
    rwf_str_free(&r->body);
    rwf_str_free(&r->extra);
    rwf_str_free(&r->out);
    free(r->fields);
    free(r);
}

void http__request_free(struct http_request *r)
{
    struct http_server *s = r->s;
    if (s->free_count >= FREE_MAX) {
        destroy(r);
        return;
    }
    trim(&r->target), trim(&r->block), trim(&r->body), trim(&r->extra), trim(&r->out);
    r->next = s->free_requests;
    s->free_requests = r;
    s->free_count++;
}

static void clear(struct http_request **list)
{
    for (struct http_request *r = *list, *next; r; r = next) {
        next = r->next;
        destroy(r);
    }
    *list = NULL;
}

void http__requests_clear(struct http_server *s)
{
    clear(&s->free_requests);
    clear(&s->orphans);
}

static struct http__conn *conn_of(struct http_server *s, struct MHD_Connection *mhd)
{
    return s->mhd->info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

void *http__request_begin(void *ctx, const char *uri, struct MHD_Connection *mhd)
{
    struct http_server *s = ctx;
    struct http__conn *c = conn_of(s, mhd);
    struct http_request *r = take(s);
    s->happened = true;
    r->s = s;
    r->conn = c;
    memcpy(r->peer, c->peer, sizeof(r->peer));
    r->arrived = rwf_clock_mono();
    rwf_str_add(&r->target, uri ? uri : "");
    r->path = uri; /* where it lies, until its header is checked */
    c->r = r;
    http__conn_phase(c, HTTP__HEAD);
    return r;
}

/* --- the header --- */

static void set_id(struct http_request *r, const char *given)
{
    static const char hex[] = "0123456789abcdef";
    if (given && *given && strlen(given) < HTTP__ID_LEN && http__is_token(given)) {
        strcpy(r->id, given);
        return;
    }
    uint64_t id = r->s->id_base + ++r->s->id_count;
    id = (id ^ id >> 31) * UINT64_C(0x9e3779b97f4a7c15); /* one to one: never twice */
    for (int i = 0; i < 16; i++, id >>= 4)
        r->id[i] = hex[id & 15];
    r->id[16] = '\0';
}

static int check_method(struct http_request *r, const char **ret_why)
{
    static const char *const known[] = {"GET",    "POST",  "HEAD",   "PUT",
                                        "DELETE", "PATCH", "OPTIONS"};
    for (size_t i = 0; i < RWF_COUNT(known); i++)
        if (!strcmp(r->method, known[i]))
            return 0;
    *ret_why = "the method is not known";
    return 501;
}

static int check_size(struct http_request *r, const char **ret_why)
{
    const struct http_server_options *o = &r->s->o;
    if (r->length <= o->max_body)
        return 0;
    *ret_why = "the body is too large";
    r->over = true;
    /* A client that is sending already would not see the reply: let it finish. */
    return r->expects || r->length > OVER_MAX ? 413 : 0;
}

/* What the header says is wrong, which makes the rest of the connection unreadable. */
static enum MHD_Result refuse(struct http_request *r, int status, const char *why)
{
    r->bad = r->close = true;
    r->s->stats.bad++;
    http_reply_error(r, status, NULL, 0, "%s", why);
    return MHD_YES;
}

static enum MHD_Result begin(struct http_request *r, const char *method,
                             const char *version)
{
    struct http_server *s = r->s;
    const char *why = NULL, *uri = r->path;
    size_t size = s->mhd->info(r->conn->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)
                      ->header_size;
    r->path = "/", r->query = "", r->method = "-";
    int rc = http__check_header(r, method, uri, version, size, &why);
    if (!rc)
        rc = http__check_target(r, &why);
    if (!rc)
        rc = check_method(r, &why);
    if (!rc)
        rc = check_size(r, &why);
    rwf_assert(rc == 0 || why);
    set_id(r, rc ? NULL : http_header(r, "x-request-id"));
    if (rc)
        return refuse(r, rc, why);
    http__conn_phase(r->conn, HTTP__BODY);
    return MHD_YES;
}

/* --- the body --- */

static enum MHD_Result over(struct http_request *r, size_t size)
{
    r->sent += size; /* of what was dropped */
    if (r->sent <= OVER_MAX)
        return MHD_YES;
    r->s->stats.bad++;
    r->bad = true;
    r->status = 413;
    http__reply_raw(r->conn, 413, "the body is too large");
    r->conn->killed = true;
    return MHD_NO;
}

static enum MHD_Result add_body(struct http_request *r, const char *data, size_t size)
{
    struct http_server *s = r->s;
    if (r->conn->killed)
        return MHD_NO;
    if (!r->over && r->body.len + size > s->o.max_body) {
        r->over = true;
        rwf_str_free(&r->body);
    }
    if (r->over)
        return over(r, size);
    if ((r->body.len + size) / BODY_STEP != r->body.len / BODY_STEP)
        r->conn->since = uv_now(s->loop);
    rwf_str_addn(&r->body, data, size);
    s->stats.bytes_in += size;
    return MHD_YES;
}

/* --- the end: tell it, or answer it here --- */

static bool is_open(const struct http_request *r)
{
    for (const char *const *p = r->s->o.open_paths; p && *p; p++)
        if (!strcmp(*p, r->path))
            return true;
    return false;
}

static void reply_preflight(struct http_request *r)
{
    const char *headers = http_header(r, "access-control-request-headers");
    http__reply_header(r, "Access-Control-Allow-Methods",
                       "GET, POST, HEAD, PUT, DELETE, PATCH, OPTIONS");
    if (headers)
        http__reply_header(r, "Access-Control-Allow-Headers", headers);
    http__reply_header(r, "Access-Control-Max-Age", "600");
    http_reply(r, 204, NULL, NULL, 0);
}

static bool is_preflight(const struct http_request *r)
{
    return !strcmp(r->method, "OPTIONS") && r->origin && http__reply_origin(r) &&
           http_header(r, "access-control-request-method");
}

/* True when it was answered here. */
static bool answer(struct http_request *r)
{
    struct http_server *s = r->s;
    r->bad = true;
    if (r->over) {
        s->stats.bad++;
        r->close = true;
        http_reply_error(r, 413, NULL, 0, "the body is larger than %zu bytes",
                         s->o.max_body);
    } else if (is_preflight(r)) {
        reply_preflight(r);
    } else if (r->path[0] == '*') {
        http_reply(r, 204, NULL, NULL, 0);
    } else if (s->any_key && !is_open(r) && !http__check_key(s, r->authorization)) {
        s->stats.bad++;
        http_reply_header(r, "WWW-Authenticate", "Bearer");
        http_reply_error(r, 401, "invalid_api_key", 0,
                         r->authorization ? "the API key is not known"
                                          : "an API key is needed: Authorization: "
                                            "Bearer KEY");
    } else {
        r->bad = false;
    }
    return r->bad;
}

static enum MHD_Result tell(struct http_request *r)
{
    struct http_server *s = r->s;
    struct http__conn *c = r->conn;
    if (answer(r))
        return MHD_YES;
    if (r->chunked)
        r->close = true;
    r->told = true;
    r->sent = 0;
    s->stats.requests++;
    s->stats.ongoing++;
    http__conn_phase(c, HTTP__TOLD);
    s->o.request(s->o.ctx, r);
    if (c->r == r && c->phase == HTTP__TOLD)
        http__conn_hot(c, true);
    return MHD_YES;
}

enum MHD_Result http__request_handle(void *ctx, struct MHD_Connection *mhd,
                                     const char *url, const char *method,
                                     const char *version, const char *data,
                                     size_t *size, void **own)
{
    struct http_request *r = *own;
    size_t given = *size;
    (void)url, (void)mhd;
    if (r->told)
        return r->conn->killed ? MHD_NO : MHD_YES;
    ((struct http_server *)ctx)->happened = true;
    *size = 0;
    if (!r->seen) {
        r->seen = true;
        return begin(r, method, version);
    }
    return given ? add_body(r, data, given) : tell(r);
}

/* --- afterwards --- */

static void orphan(struct http_request *r)
{
    struct http_server *s = r->s;
    r->orphan = true;
    r->prev = NULL;
    r->next = s->orphans;
    if (r->next)
        r->next->prev = r;
    s->orphans = r;
}

static void adopt(struct http_request *r)
{
    if (r->prev)
        r->prev->next = r->next;
    else
        r->s->orphans = r->next;
    if (r->next)
        r->next->prev = r->prev;
}

void http__request_finish(struct http_request *r)
{
    struct http_server *s = r->s;
    if (r->orphan)
        adopt(r);
    if (r->told)
        s->stats.ongoing--;
    if (s->log && (r->told || r->bad))
        http__log_add(s->log, r);
    http__request_free(r);
    http__maybe_drained(s);
}

/* Told from the loop's turns only: a handler that replies must not find its request
 * gone on return. */
void http__requests_tell_lost(struct http_server *s)
{
    struct http_request *r = s->orphans;
    s->untold = false;
    while (r) {
        if (r->gone && !r->lost) {
            http__request_lost(r);
            r = s->orphans; /* others may have been ended */
        } else {
            r = r->next;
        }
    }
}

void http__request_lost(struct http_request *r)
{
    struct http_server *s = r->s;
    if (!r->told || r->ended || r->lost)
        return;
    r->gone = r->lost = true;
    if (!s->stopping)
        s->o.gone(s->o.ctx, r);
}

void http__request_done(void *ctx, struct MHD_Connection *mhd, void **own,
                        enum MHD_RequestTerminationCode code)
{
    struct http_server *s = ctx;
    struct http_request *r = *own;
    struct http__conn *c = conn_of(s, mhd);
    if (!r)
        return;
    *own = NULL;
    s->happened = true;
    c->r = NULL;
    c->turn = s->turn;
    c->served++;
    c->failed = code != MHD_REQUEST_TERMINATED_COMPLETED_OK;
    http__conn_hot(c, false);
    http__conn_phase(c, HTTP__IDLE);
    if (!r->seen && code != MHD_REQUEST_TERMINATED_CLIENT_ABORT && !c->killed)
        s->stats.bad++; /* libmicrohttpd has answered it */
    r->conn = NULL;
    if (!r->told || r->ended) {
        http__request_finish(r);
        return;
    }
    orphan(r);
    if (r->begun && code == MHD_REQUEST_TERMINATED_COMPLETED_OK)
        return; /* the reply to a HEAD */
    r->gone = s->untold = true;
    if (!s->running) /* inside a reply, whose header is too large */
        http__soon(s, 1);
}
