/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/unit/serve_front.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "serve/app.h"

void front_request(struct http_request *r, const char *body)
{
    *r = (struct http_request){
        .method = "POST", .path = "/x", .query = "", .body = body, .id = "id-1"};
}

void front_clear(struct http_request *r)
{
    rwf_str_free(&r->reply);
}

const char *http_method(const struct http_request *r)
{
    return r->method;
}

const char *http_query(const struct http_request *r)
{
    return r->query;
}

const char *http_header(const struct http_request *r, const char *name)
{
    for (int i = 0; i < FRONT_HEADERS && r->names[i] != NULL; i++)
        if (strcasecmp(r->names[i], name) == 0)
            return r->values[i];
    return NULL;
}

void http_headers(const struct http_request *r,
                  void (*each)(void *ctx, const char *name, const char *value),
                  void *ctx)
{
    for (int i = 0; i < FRONT_HEADERS && r->names[i] != NULL; i++)
        each(ctx, r->names[i], r->values[i]);
}

const char *http_body(const struct http_request *r, size_t *ret_size)
{
    *ret_size = strlen(r->body);
    return r->body;
}

const char *http_id(const struct http_request *r)
{
    return r->id;
}

const char *http_peer(const struct http_request *r)
{
    return r->peer != NULL ? r->peer : "127.0.0.1";
}

int64_t http_arrived(const struct http_request *r)
{
    return r->arrived;
}

void http_set(struct http_request *r, void *own)
{
    r->own = own;
}

void *http_get(const struct http_request *r)
{
    return r->own;
}

void http_note(struct http_request *r, const char *note)
{
    (void)r, (void)note;
}

void http_reason(struct http_request *r, const char *reason)
{
    snprintf(r->reason, sizeof(r->reason), "%s", reason);
}

void http_reply_header(struct http_request *r, const char *name, const char *value)
{
    (void)name, (void)value;
    ck_assert(r->ends == 0 && !r->begun);
}

void http_reply(struct http_request *r, int status, const char *type, const void *data,
                size_t size)
{
    (void)type;
    ck_assert_int_eq(r->ends++, 0);
    ck_assert(!r->begun);
    if (r->gone)
        return; /* it does nothing then */
    r->status = status;
    rwf_str_addn(&r->reply, data, size);
}

void http_reply_head(struct http_request *r, int status, const char *type,
                     int64_t length)
{
    http_reply(r, status, type, "", 0);
    r->length = length;
}

void http_reply_error(struct http_request *r, int status, const char *code,
                      int retry_after, const char *fmt, ...)
{
    va_list ap;
    char text[1200];
    (void)code;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    r->retry_after = retry_after;
    http_reply(r, status, NULL, text, strlen(text));
}

void http_reply_begin(struct http_request *r, int status, const char *type)
{
    (void)type;
    ck_assert(r->ends == 0 && !r->begun);
    r->begun = true;
    r->status = status;
}

void http_reply_write(struct http_request *r, const void *data, size_t size)
{
    ck_assert(r->ends == 0 && r->begun);
    rwf_str_addn(&r->reply, data, size);
    if (r->limit > 0 && r->reply.len > r->limit && !r->gone) {
        r->gone = true;
        serve_application_gone(r);
    }
}

size_t http_reply_waiting(const struct http_request *r)
{
    return r->waiting;
}

uint64_t http_reply_written(const struct http_request *r)
{
    return r->reply.len;
}

void http_reply_end(struct http_request *r, bool cut)
{
    ck_assert_int_eq(r->ends++, 0);
    ck_assert(r->begun);
    r->cut = cut;
}
