/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of gang/ share: a gang that runs.
 */
#ifndef RWF_GANG_INSIDE_H
#define RWF_GANG_INSIDE_H
#include <signal.h>
#include <stdint.h>
#include "base/str.h"
#include "gang/gang.h"
#include "gang/hub.h"
#include "gang/places.h"
#include "gang/start.h"

struct gang__run {
    const struct gang *g;
    struct gang_result *result;
    struct gang_child child;
    struct gang_lines out, err;
    int signals; /* signalfd of TERM and INT */
    sigset_t before;
    int *pids;                   /* of ranks, 0: not known */
    int64_t *beats;              /* the last sign of life of each; 0: none yet */
    bool *stopped;               /* its process, the shim says */
    struct rwf_str report;       /* not yet a whole line */
    int64_t started, started_at; /* wall, mono */
    int64_t beat_at, kill_at;    /* kill_at 0: RUNS */
    bool failed, exited;
    int status;
    struct gang__far *far; /* the ranks of other nodes; NULL: there are none */
};

/* secrets.c: all that are known, as text for gang_secrets_take, or NULL; the caller's.
 */
char *gang__secrets(void);

/* gang.c: what becomes known of a rank. The first bad end is the cause. */
void gang__fail(struct gang__run *x, enum gang_end end, int rank, int code,
                const char *last);
void gang__notice(struct gang__run *x, int rank, const json_t *notice);
void gang__report(struct gang__run *x, const char *line, size_t len);

/* far.c: the ranks of a gang over several nodes. */
int gang__far_open(struct gang__run *x, struct rwf_err *err);
/* The hub's descriptor, or -1. */
int gang__far_fd(const struct gang__run *x);
void gang__far_turn(struct gang__run *x);
/* {"node":1,"fail":TEXT} or {"node":1,"lost":TEXT} of an agent. */
void gang__far_notice(struct gang__run *x, const json_t *notice);
void gang__far_signal(struct gang__run *x, int signal);
/* mpirun has ended: what is known of ranks that are gone counts now. */
void gang__far_judge(struct gang__run *x);
void gang__far_close(struct gang__run *x);
/* RAYWF_GANG=HOST:PORT, RAYWF_GANG_KEY and RAYWF_GANG_DIR, for mpirun. */
json_t *gang__far_env(const struct gang__run *x);

#endif
