/* SPDX-License-Identifier: Apache-2.0
 *
 * A client of the jobs of a head (server.h has the requests): blocking, on a loop of
 * its own.
 */
#ifndef RWF_JOB_CLIENT_H
#define RWF_JOB_CLIENT_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

struct job_client;

/* Nothing is sent before the first request. */
struct job_client *job_client_open(const char *host, int port, const uint8_t *key);
void job_client_close(struct job_client *c);
/* SIGINT and SIGTERM end a request with RWF_E_STOPPED, and no longer this process. */
void job_client_catch(struct job_client *c);

struct job_answer {
    json_t *json; /* {} when there is none */
    uint8_t *data;
    size_t len;
    bool more;
};
void job_answer_clear(struct job_answer *a);

/* args is taken. A head that is away is waited for when it was there before, unless
 * data is sent: for how long, see client.c. 0, or -1 with what the head has said. */
int job_client_call(struct job_client *c, const char *verb, json_t *args,
                    struct job_answer *ret, struct rwf_err *err);
/* The same with a piece of a bundle; a link that breaks is an error. */
int job_client_put(struct job_client *c, json_t *args, const void *data, size_t len,
                   bool end, struct rwf_err *err);
int job_client_next(struct job_client *c, struct job_answer *ret, struct rwf_err *err);

#endif
