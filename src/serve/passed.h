/* SPDX-License-Identifier: Apache-2.0
 *
 * The headers of a request as a program or an address gets them: without those that are about
 * one connection (RFC 9110 7.6.1, with those that Connection names), those that are made anew,
 * and the front's keys. A program also learns how the client reached it: X-Forwarded-For,
 * -Proto, -Host and -Prefix. What a client on this machine says of that is believed, since it
 * may be a proxy before us; what others say is not passed on.
 */
#ifndef RWF_SERVE_PASSED_H
#define RWF_SERVE_PASSED_H
#include <stddef.h>
#include "http/server.h"
#include "serve/spec.h"

struct serve__headers {
    const char **names, **values; /* NULL-terminated; texts are the request's, or own */
    size_t count, cap;
    char *peers; /* X-Forwarded-For */
};

/* h: zero. prefix: of the application, for a program; NULL: for an address. */
void serve__headers_fill(struct serve__headers *h, struct http_request *r,
                         const struct serve_http *front, const char *prefix);
void serve__headers_free(struct serve__headers *h);

#endif
