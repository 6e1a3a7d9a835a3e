/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of a bring-up, shared by its parts:
 *
 *   cluster.c  up, down, and what was left     spec.c   the section `cluster`
 *   state.c    its folder and cluster.json     local.c  nodes on this machine
 *   hosts.c    nodes over ssh                  slurm.c  nodes in an allocation
 *   guard.c    the head, when it dies          known.c  what it says before they are up
 *   tls.c      certificates
 */
#ifndef RWF_CLUSTER_INSIDE_H
#define RWF_CLUSTER_INSIDE_H
#include <signal.h>
#include "base/clock.h"
#include "cluster/ask.h"
#include "cluster/child.h"
#include "cluster/cluster.h"
#include "wire/tls.h"

enum cluster__kind { CLUSTER_ADDRESS, CLUSTER_HOSTS, CLUSTER_SLURM, CLUSTER_SIZE };

/* One node that is to be there. Texts are borrowed from the section. */
struct cluster__node {
    char *name;       /* in the cluster */
    const char *host; /* hosts only; with what follows */
    const char *user, *raywf;
    int port;                   /* of ssh; 0: its default */
    const char *interface;      /* NULL: the one that routes to the head */
    const json_t *resources;    /* {cpu, memory, gpu, custom}; NULL: what it has */
    const json_t *labels, *env; /* NULL: none */
    const json_t *env_all;      /* of every node, beneath env */
    char *gpus;                 /* CUDA_VISIBLE_DEVICES; NULL: as it is */
    char *address;              /* of the head, as this node sees it */
};

struct cluster {
    struct cluster_options options;
    char *root, *program;
    json_t *spec;
    enum cluster__kind kind;
    struct cluster__node *nodes; /* none of slurm: its allocation tells */
    size_t count;
    char *id, *folder; /* NULL: `address` */
    int lock;          /* that says that its process lives; -1: none */
    bool stays;        /* started by a person: nothing ends it by itself */
    char *address, *key;
    char *tls[WIRE_TLS_FILES];    /* what its section names; all NULL: nothing */
    char *listen;                 /* where the head listens; kept for its next start */
    struct cluster__guard *guard; /* NULL: nobody starts the head again */
    char *job;                    /* of Slurm; NULL: none */
    bool job_ours;                /* we have submitted it */
    size_t joined;
};

/* --- cluster.c --- */
extern volatile sig_atomic_t cluster__stop; /* a signal has come while we wait */
void cluster__say(const struct cluster *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
int64_t cluster__timeout(const struct cluster *c);
/* Fails with RWF_E_STOPPED when a signal has come. */
int cluster__check_stop(struct rwf_err *err);

/* --- spec.c --- */
int cluster__spec_read(struct cluster *c, const json_t *spec, struct rwf_err *err);
void cluster__spec_free(struct cluster *c);
/* Of the section; NULL or "": not said. */
const char *cluster__text(const json_t *map, const char *key);
/* A number or a text with a unit, as raywf's own options take them; NULL: not said. */
char *cluster__amount(const json_t *map, const char *key);

/* --- state.c --- */
char *cluster__id_make(void);
/* Makes root/clusters/ID and takes its lock. */
int cluster__state_create(struct cluster *c, struct rwf_err *err);
/* The folder of a bring-up that is nobody's: takes its lock and reads what it was.
 * NULL: it is somebody's, or none. */
struct cluster *cluster__state_adopt(const struct cluster_options *o, const char *id);
int cluster__state_write(const struct cluster *c, struct rwf_err *err);
void cluster__state_remove(struct cluster *c);
/* Calls fn for each bring-up below root that is nobody's; fn takes it. */
void cluster__state_each(const struct cluster_options *o,
                         void (*fn)(void *ctx, struct cluster *c), void *ctx);
void cluster__free(struct cluster *c);

/* --- local.c: also the head of all kinds --- */
/* The head on this machine, listening at host ("0.0.0.0": everywhere); sets c->address.
 */
int cluster__head_start(struct cluster *c, const char *host, struct rwf_err *err);
/* The same, at the same place, after it has died. */
bool cluster__head_restart(const struct cluster *c);
/* Adds the arguments of `raywf start` for node n, and its input: key and environment.
 */
int cluster__node_args(const struct cluster *c, const struct cluster__node *n,
                       const char *dir, struct cluster__child *child,
                       struct rwf_err *err);
int cluster__local_up(struct cluster *c, struct rwf_err *err);
/* Ends what runs below the folder on this machine. */
void cluster__local_down(struct cluster *c);

/* --- tls.c --- */
extern const char *const cluster__tls_names[WIRE_TLS_FILES]; /* of the section */
/* Absolute paths, or all NULL; dir: see cluster_options. */
int cluster__tls_read(const json_t *spec, const char *dir, char *ret[WIRE_TLS_FILES],
                      struct rwf_err *err);
/* This process, and what it starts, speaks to c from now on. */
void cluster__tls_use(const struct cluster *c);
int cluster__tls_check(const struct cluster *c, struct rwf_err *err);
/* For the input of `raywf start --key -`: "@RAYWF_TLS_CERT=JSON", …; nothing without TLS. */
int cluster__tls_lines(struct rwf_str *out, struct rwf_err *err);

/* --- guard.c --- */
/* A thread that starts the head again when it dies. */
void cluster__guard_start(struct cluster *c);
void cluster__guard_stop(struct cluster *c);

/* --- hosts.c --- */
int cluster__hosts_up(struct cluster *c, struct rwf_err *err);
void cluster__hosts_down(struct cluster *c);

/* --- slurm.c --- */
int cluster__slurm_up(struct cluster *c, struct rwf_err *err);
void cluster__slurm_down(struct cluster *c);

#endif
