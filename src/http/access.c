/* SPDX-License-Identifier: Apache-2.0
 * What a handler may ask of a request. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "http/impl.h"

const char *http_method(const struct http_request *r)
{
    return r->method;
}

const char *http_path(const struct http_request *r)
{
    return r->path;
}

const char *http_query(const struct http_request *r)
{
    return r->query;
}

const char *http_header(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->field_count; i++)
        if ((r->fields[i].name[0] | 0x20) == (name[0] | 0x20) &&
            !strcasecmp(r->fields[i].name, name))
            return r->fields[i].value;
    return NULL;
}

void http_headers(const struct http_request *r,
                  void (*each)(void *ctx, const char *name, const char *value),
                  void *ctx)
{
    for (size_t i = 0; i < r->field_count; i++)
        each(ctx, r->fields[i].name, r->fields[i].value);
}

const char *http_body(const struct http_request *r, size_t *ret_size)
{
    *ret_size = r->body.len;
    return r->body.len ? r->body.data : "";
}

const char *http_id(const struct http_request *r)
{
    return r->id;
}

const char *http_peer(const struct http_request *r)
{
    return r->peer;
}

int64_t http_arrived(const struct http_request *r)
{
    return r->arrived;
}

bool http_gone(const struct http_request *r)
{
    return r->gone;
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
    snprintf(r->note, sizeof(r->note), "%s", note);
}

void http_reason(struct http_request *r, const char *reason)
{
    snprintf(r->reason, sizeof(r->reason), "%s", reason);
}
