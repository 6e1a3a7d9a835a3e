/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the ranks of an attempt are. The engine writes into the attempt's step.json
 *
 *   "ranks": 4,          how many this attempt has
 *   "places": [          one of each rank, in the order of the ranks; absent: all are
 * here
 *     {"node": "gpu1",       name of the node in the cluster
 *      "host": "10.0.0.1",   its address for other nodes, without the port
 *      "interface": "eth0",  which that address is of; may be absent
 *      "gpus": [0, 1],       of this rank; absent: it was given none to choose from
 *      "env": {NAME: value}, of that node; may be absent
 *      "paths": [[HERE, THERE], …]}, …]
 *                            folders that have another path there: every text of the
 * gang that begins with HERE (the longest one counts) begins with THERE on that node;
 * absent: paths are the same
 *
 * The step's own process, which starts the gang, runs on the node of the first place:
 * HERE are paths of that node. Ranks of one node are neighbours: places of a node
 * follow one another.
 */
#ifndef RWF_GANG_PLACES_H
#define RWF_GANG_PLACES_H
#include <jansson.h>
#include <stdbool.h>
#include "base/err.h"

/* A node of a gang. Texts are borrowed from the JSON. */
struct gang_node {
    const char *name, *host, *interface; /* interface: may be NULL */
    const json_t *env, *paths;           /* may be NULL */
    int first, count;                    /* its ranks */
    char *gpus;                          /* "0,1" of all of its ranks, or NULL */
};

struct gang_places {
    struct gang_node *nodes;
    int count, ranks;
};

/* places: as above, or NULL: `ranks` ranks on this machine (no node at all). */
int gang_places_read(struct gang_places *p, const json_t *places, int ranks,
                     struct rwf_err *err);
void gang_places_free(struct gang_places *p);
/* Of a rank; NULL: this machine. */
const struct gang_node *gang_places_node(const struct gang_places *p, int rank);
/* A copy of value in which the paths of all texts are those of that node. */
json_t *gang_node_paths(const struct gang_node *node, const json_t *value);
/* What Open MPI takes for the network that leads to all nodes: "10.0.0.0/24", or the
 * address of each; NULL: it must find out. The caller frees. */
char *gang_places_network(const struct gang_places *p);

#endif
