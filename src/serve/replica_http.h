/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests passed on over HTTP: what programs and URLs share. Small whole replies are
 * answered whole; others (of unknown length, event streams, large ones) piece by piece
 * as they come.
 */
#ifndef RWF_SERVE_REPLICA_HTTP_H
#define RWF_SERVE_REPLICA_HTTP_H
#include "http/client.h"
#include "serve/replica.h"

#define SERVE__PROXY_WHOLE 65536 /* replies of at most so many bytes come whole */

struct serve__proxy;

/* target: as http_client's, or any http:// or https:// without a path; base: put before each path ("" or "/v1"); host: for the
 * Host header (NULL: as the client said); content_type: of replies that say none. */
struct serve__proxy *serve__proxy_create(uv_loop_t *loop, const char *target,
                                         const char *base, const char *host,
                                         const char *content_type, struct rwf_err *err);
/* Items and a check that are out are told lost. NULL is fine. */
void serve__proxy_lose(struct serve__proxy *p, const char *why);
/* After lose, and not from within one of its callbacks. NULL is fine. */
void serve__proxy_destroy(struct serve__proxy *p);
void serve__proxy_send(struct serve__proxy *p, struct serve_item *item);
void serve__proxy_drop(struct serve__proxy *p, struct serve_item *item);
void serve__proxy_pause(struct serve__proxy *p, struct serve_item *item, bool paused);
/* GET path: done(ctx, NULL) when its status is below `good`. One at a time. */
void serve__proxy_check(struct serve__proxy *p, const char *path, int good,
                        int64_t timeout, void (*done)(void *ctx, const char *wrong),
                        void *ctx);

#endif
