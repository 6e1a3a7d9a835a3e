/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP to a server somewhere in the world: TLS, names, IPv6, proxies, all through
 * libcurl on the caller's loop. The same calls as http/client.h, which is the faster one
 * for programs on this machine. All on the loop's thread.
 */
#ifndef RWF_SERVE_AWAY_H
#define RWF_SERVE_AWAY_H
#include "http/client.h"

struct serve__away;
struct serve__away_call;

/* target: http:// or https:// and the server, without a path. RWF_E_ENV: no libcurl. */
struct serve__away *serve__away_create(uv_loop_t *loop, const char *target, int max_idle,
                                       struct rwf_err *err);
/* Calls that run end without a word. Not from within one of their callbacks. NULL is
 * fine. */
void serve__away_destroy(struct serve__away *a);
/* As http_client_call, but: the Host header is the target's, max_header libcurl's, and
 * timeout is until the end. A request that may be repeated (GET …) is, by itself, when a
 * kept connection was closed before a byte of its reply. */
struct serve__away_call *serve__away_call(struct serve__away *a,
                                          const struct http_call_options *o);
/* done is not called. */
void serve__away_cancel(struct serve__away_call *call);
void serve__away_pause(struct serve__away_call *call, bool paused);

#endif
