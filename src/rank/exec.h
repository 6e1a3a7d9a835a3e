/* SPDX-License-Identifier: Apache-2.0
 *
 * What exec.c (one rank's program) and exec_far.c (its gang, when that is on another
 * node) share.
 */
#ifndef RWF_RANK_EXEC_H
#define RWF_RANK_EXEC_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "base/str.h"
#include "gang/frames.h"
#include "gang/gang.h"

struct member {
    json_t *gang;
    const char *dir; /* NULL: the gang is reached over TCP */
    int rank, size, local_rank, local_size, node_rank, nodes;
    int report;  /* the FIFO, or -1 */
    int gang_fd; /* the connection, or -1 */
    struct rwf_str in;
    pid_t pid;
    int pidfd;
    struct gang_lines out, err, told; /* told: what it reports */
    int64_t limit, beat_at, told_at;  /* of its signs of life; 0: none are wanted */
    int64_t touched_at;               /* time of its file, when it has one */
    bool beats;                       /* itself: it has said so */
};

/* Whether the environment says where the gang is (RAYWF_GANG, RAYWF_GANG_KEY). */
bool rank__is_far(void);
/* Connects, proves, and fills in what the gang says. */
int rank__far_join(struct member *m, struct rwf_err *err);
/* Applies what it says of environment and working folder. */
int rank__far_settle(const struct member *m, struct rwf_err *err);
void rank__far_send(const struct member *m, enum gang_frame type, const void *data,
                    size_t len);
/* The gang is gone: so is the rank. */
void rank__far_leave(void) __attribute__((noreturn));
/* Reads what the gang asks for, and does it; false: it is gone. */
bool rank__far_read(struct member *m);

#endif
