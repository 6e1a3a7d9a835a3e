/* SPDX-License-Identifier: Apache-2.0
 *
 * A front that a test plays: the functions of http/server.h that applications use, over
 * requests of its own. Each of them must be ended exactly once.
 */
#ifndef RWF_TESTS_SERVE_FRONT_H
#define RWF_TESTS_SERVE_FRONT_H
#include "base/str.h"
#include "http/server.h"

#define FRONT_HEADERS 16

struct http_request {
    const char *method, *path, *query, *body, *id;
    const char *names[FRONT_HEADERS], *values[FRONT_HEADERS];
    const char *peer; /* NULL: this machine's */
    int64_t arrived;
    void *own;
    bool gone;
    /* What came of it. */
    int ends, status, retry_after;
    bool begun, cut;
    size_t waiting; /* what http_reply_waiting says */
    size_t limit;   /* 0: none; a client that got more leaves at once */
    struct rwf_str reply;
    int64_t length; /* of http_reply_head */
    char reason[200];
};

void front_request(struct http_request *r, const char *body);
void front_clear(struct http_request *r);

#endif
