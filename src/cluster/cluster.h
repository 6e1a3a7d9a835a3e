/* SPDX-License-Identifier: Apache-2.0
 *
 * Brings a cluster up for as long as it is wanted, and takes it down: nodes on this
 * machine, on hosts over ssh, or within an allocation of Slurm; one that runs already
 * is only joined. Whatever it was, afterwards there is a head at an address, and a key.
 *
 * Invariants: what was started is on disk (FOLDER/cluster.json, 0600) before it is
 * started, so that another process can take it down, or go on with it, when this one is
 * killed. The key is in no argument of any process.
 */
#ifndef RWF_CLUSTER_CLUSTER_H
#define RWF_CLUSTER_CLUSTER_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct cluster_options {
    /* .raywf: state is below root/clusters. NULL: only `address` may be asked for. */
    const char *root;
    /* In its place: a folder of its own, as raywf start has it. What is brought up
     * stays until raywf shutdown ends it there. */
    const char *folder;
    const char *dir;     /* that relative paths of the section are below; NULL: the
                            current one */
    const char *program; /* raywf on this machine; NULL: this very program */
    int64_t timeout; /* for nodes to start and join, ns; 0: 2 minutes. The wait for an
                        allocation of Slurm does not count. */
    /* A line for people about what happens ("node gpu2: joined"); may be NULL. */
    void (*say)(void *ctx, const char *line);
    void *ctx;
};

struct cluster;
/* spec: the section `cluster` of a recipe, resolved (cmd_resolve); it is borrowed for
 * the call. Blocks until every node has joined. One that a killed process left with the
 * same spec is gone on with; others that were left are taken down. SIGINT and SIGTERM
 * end it meanwhile: RWF_E_STOPPED. Nothing is left on failure. */
struct cluster *cluster_up(const json_t *spec, const struct cluster_options *o,
                           struct rwf_err *err);
const char *cluster_address(const struct cluster *c); /* of the head: HOST:PORT */
const char *cluster_key(const struct cluster *c);     /* path of the key's file */
bool cluster_is_ours(const struct cluster *c);        /* false: `address` */
size_t cluster_size(const struct cluster *c);         /* nodes that were there */
/* For a cluster that is joined without cluster_up: what its section says of TLS holds for
 * this process from now on. */
int cluster_tls(const json_t *spec, const char *dir, struct rwf_err *err);
/* Ends what was brought up, gives an allocation back, removes its state, frees c (NULL
 * is fine). What could not be ended is told through say. */
void cluster_down(struct cluster *c);
/* Frees c and leaves all of it running, for cluster_sweep or the next cluster_up. */
void cluster_leave(struct cluster *c);
/* Takes down what processes that are gone have left below root; returns how many. */
size_t cluster_sweep(const struct cluster_options *o);

#endif
