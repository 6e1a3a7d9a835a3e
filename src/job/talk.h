/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the server: server.c has the clients and what is answered at once;
 * server_tree.c the bundles that come and go, in the pool of threads.
 */
#ifndef RWF_JOB_TALK_H
#define RWF_JOB_TALK_H
#include <sys/queue.h>
#include "bundle/bundle.h"
#include "job/server.h"

/* A client. */
struct job__conn {
    struct job_server *server;
    struct job_keeper *keeper;
    uv_loop_t *loop;
    struct wire_link *link; /* NULL: closed */
    /* What comes and what goes; NULL also while the pool has it. */
    struct bundle_reader *upload;
    struct bundle_writer *download;
    char *upload_digest;
    int64_t unsynced; /* bytes of the upload */
    bool busy;        /* the pool works for it */
    /* A request for more of a log that waits. */
    uint64_t log_request;
    char *log_job;
    int64_t log_offset, log_until;
    uv_timer_t timer;
    int open; /* its timer, its link, work in the pool */
    LIST_ENTRY(job__conn) all;
};

struct job__reply {
    json_t *json; /* taken */
    const void *data;
    size_t len;
    bool more;
};

/* --- server.c --- */
void job__reply(struct job__conn *c, uint64_t request, const struct job__reply *r);
void job__reply_error(struct job__conn *c, uint64_t request, const struct rwf_err *err);
void job__conn_release(struct job__conn *c); /* one of what is counted in open */
struct job *job__of(struct job__conn *c, const json_t *args, struct rwf_err *err);

/* --- server_tree.c: requests, and the end of a client --- */
int job__on_put(struct job__conn *c, const Wire__Job *m, const json_t *args,
                struct rwf_err *err);
int job__on_outputs(struct job__conn *c, const Wire__Job *m, const json_t *args,
                    struct rwf_err *err);
int job__on_next(struct job__conn *c, const Wire__Job *m, const json_t *args,
                 struct rwf_err *err);
void job__drop_trees(struct job__conn *c);

#endif
