/* SPDX-License-Identifier: Apache-2.0
 *
 * What a node does with other nodes: its links to them, steps and trees of files there, and
 * here for them, workers and objects lent from one to the other. It is the rest of a node
 * (src/node), which reaches it through far_nodes only; step.h and places.h are for runs.
 */
#ifndef RWF_FAR_FAR_H
#define RWF_FAR_FAR_H
#include "node/node.h"

extern const struct node_far far_nodes;

/* Each node of the cluster, now and whenever one joins, changes, or goes (gone is set). */
void far_on_members(struct node *n, void (*fn)(void *ctx, const Wire__Member *m),
                    void *ctx);

#endif
