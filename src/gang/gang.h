/* SPDX-License-Identifier: Apache-2.0
 *
 * A gang: ranks that start and end together. One rank is a child of ours; several are
 * started by Open MPI's mpirun, each beneath `raywf-rank exec` (rank/exec.c), which
 * sets the rank's environment, gives its output a prefix, and tells through the report
 * FIFO what became of it. Over several nodes (places.h) mpirun starts its daemons on
 * the others through `raywf agent` (cmd/agent.c), and ranks tell all that over TCP
 * (hub.h).
 *
 * In the attempt's folder: gang.json (what shims and agents read), report (the FIFO),
 * rank.N.log (what rank N printed), mpirun.log (what mpirun itself said), mpirun.hosts.
 *
 * When one rank ends badly, or gives no sign of life, all are ended within seconds.
 */
#ifndef RWF_GANG_GANG_H
#define RWF_GANG_GANG_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

struct gang_places;

struct gang {
    const struct gang_places *places; /* NULL: all ranks are on this machine */
    const char *dir;                  /* the attempt's folder, absolute */
    const char *program;              /* path of raywf-rank */
    int workers;
    const json_t *argv;    /* of each rank */
    const json_t *env;     /* {NAME: value} for all, on top of ours; or NULL */
    double cpu;            /* cores of a rank: OMP_NUM_THREADS */
    int64_t memory;        /* bytes that a rank may use on another node, 0: no limit */
    bool shim;             /* one rank, too, goes through raywf-rank exec */
    const char *heartbeat; /* folder of files rank.N that ranks touch, or NULL */
    bool beats;            /* or the shim of each rank gives its sign of life */
    int64_t heartbeat_limit; /* ns, 0: none */
    /* A JSON object from a rank. */
    void (*report)(void *ctx, const json_t *line);
    void *ctx;
};

enum gang_end {
    GANG_WELL,
    GANG_EXIT,    /* a rank ended with an exit code */
    GANG_SIGNAL,  /* a rank was killed */
    GANG_HUNG,    /* a rank gave no sign of life */
    GANG_GONE,    /* nothing is known of a rank of another node but that it is gone */
    GANG_STOPPED, /* we were asked to end */
    GANG_NODE,    /* a node could not take part; why is in `last` */
    GANG_NODE_LOST,
    GANG_LOST, /* mpirun failed; its words are in `last` */
};

struct gang_result {
    enum gang_end end;
    int rank, exit_code, signal; /* rank: of NODE ends: the first one there */
    char last[400];              /* the last line that it wrote to stderr, or "" */
};

/* Runs it to its end. -1 only when it could not be started. */
int gang_run(const struct gang *g, struct gang_result *ret, struct rwf_err *err);
/* What went wrong, for people. quote: with the rank's last line. */
void gang_explain(const struct gang *g, const struct gang_result *r, bool quote,
                  struct rwf_err *err);
/* The exit code of a step that ended so (op.h), 0: by the error. */
int gang_exit_code(const struct gang_result *r);

/* The path of raywf-rank: $RAYWF_RANK, else beside this program or in its libexec
 * folder. The caller frees. */
char *gang_program(struct rwf_err *err);
/* The path of mpirun, by PATH. The caller frees. RWF_E_ENV with what to install. */
char *gang_mpirun(struct rwf_err *err);

/* --- shared with the shim --- */

/* Copies what a pipe gives, line by line. */
struct gang_lines {
    int from, to, log; /* log: -1, or where the same goes without the prefix */
    char prefix[16];
    /* NULL, or whether a line goes to `to`; those that do not go to `aside`. */
    bool (*passes)(const char *line);
    int aside;
    /* NULL, or what takes each line instead of `to`. */
    void (*take)(void *ctx, const char *line, size_t len);
    void *ctx;
    size_t max;     /* a longer line is cut into several; 0: 64 KiB */
    char last[400]; /* the last line that was not empty */
    char *line;     /* not yet whole */
    size_t len, cap;
};
/* Reads what is there; false: the end. */
bool gang_lines_read(struct gang_lines *l);
/* The rest without its newline; frees. */
void gang_lines_end(struct gang_lines *l);

/* RAYWF_GANG_SECRETS of the environment: what lines must not show. */
void gang_secrets_take(const char *text);

/* Sends a signal to what descends from us, but not to ourselves, nor to spare (0: none)
 * and, if its children are shims, to those. How many there were. */
int gang_signal_descendants(int signal, int spare, bool and_children);

#endif
