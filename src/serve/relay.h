/* SPDX-License-Identifier: Apache-2.0
 *
 * A way to a program on another machine: bytes both ways, as many connections as are
 * made. Two of them make it: one beside the front listens at a Unix socket and connects
 * to the other over TCP; that one, in the worker of the program, connects to the
 * program. Who connects over TCP says the token first; the two have it from each other
 * over links that have the cluster's key. Where those links have TLS, this has it, too.
 */
#ifndef RWF_SERVE_RELAY_H
#define RWF_SERVE_RELAY_H
#include <stdbool.h>
#include <uv.h>
#include "base/err.h"

#define SERVE_RELAY_TOKEN 64 /* characters: 256 bits */

struct serve__relay;
struct serve__relay_options {
    const char *listen; /* "unix:PATH", or "tcp:HOST" at any free port */
    const char *target; /* "unix:PATH", "http://127.0.0.1:PORT" or "tcp:HOST:PORT" */
    const char *token;
    bool
        checks; /* the token is wanted of who connects; else it is said to the target */
};

void serve__relay_token(char ret[SERVE_RELAY_TOKEN + 1]);
struct serve__relay *serve__relay_open(uv_loop_t *loop,
                                       const struct serve__relay_options *o,
                                       struct rwf_err *err);
/* "tcp:HOST:PORT" of one that listens over TCP. */
const char *serve__relay_address(const struct serve__relay *r);
/* Its connections are closed; it is freed by the loop. NULL is fine. */
void serve__relay_close(struct serve__relay *r);

/* The same on a loop and a thread of its own. */
struct serve__relay_thread;
struct serve__relay_thread *serve__relay_start(const struct serve__relay_options *o,
                                               struct rwf_err *err);
const char *serve__relay_where(const struct serve__relay_thread *t);
void serve__relay_end(struct serve__relay_thread *t); /* NULL is fine */

#endif
