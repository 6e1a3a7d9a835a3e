/* SPDX-License-Identifier: Apache-2.0
 *
 * On which machines a run goes: --address and --key; else RAYWF_CLUSTER_ADDRESS and
 * RAYWF_CLUSTER_KEY (jobs have them); else what the recipe says under `cluster`; of a
 * run that goes on, else the cluster that it was on; else this machine.
 */
#ifndef RWF_CMD_ON_CLUSTER_H
#define RWF_CMD_ON_CLUSTER_H
#include "cluster/known.h"
#include "cmd/cmd.h"
#include "plan/graph.h"
#include "recipe/recipe.h"
#include "schedule/schedule.h"

#define CMD_AT_CLUSTER_OPTIONS                                                         \
    {"address",                                                                        \
     0,                                                                                \
     CMD_TEXT,                                                                         \
     "HOST:PORT",                                                                      \
     false,                                                                            \
     "RAYWF_CLUSTER_ADDRESS, else the recipe's cluster",                               \
     "on the cluster of this head"},                                                   \
    {                                                                                  \
        "key", 0, CMD_FILE, "FILE", false, "RAYWF_CLUSTER_KEY, else DIR/head/key",     \
            "with --address: its key"                                                  \
    }

#define CMD_ON_CLUSTER_OPTIONS                                                         \
    CMD_AT_CLUSTER_OPTIONS,                                                            \
        {"priority",                                                                   \
         0,                                                                            \
         CMD_TEXT,                                                                     \
         "N",                                                                          \
         false,                                                                        \
         "RAYWF_CLUSTER_PRIORITY, else 0",                                             \
         "on a cluster: among its runs; what a higher one asks for comes first"},      \
    {                                                                                  \
        "wait-for-nodes", 0, CMD_FLAG, NULL, false, NULL,                              \
            "on a cluster: what no node can hold waits for one that joins"             \
    }

struct cluster;

struct cmd_on_cluster {
    char *address, *key; /* NULL: this machine */
    bool later;          /* the recipe's own, which is not up: address is NULL */
    bool grows;          /* nodes may still join */
    int priority;        /* among the runs there */
    struct cluster *up;  /* it was brought up for this run; or NULL */
};

/* The command has CMD_ON_CLUSTER_OPTIONS. run: the id of a run below root that goes on,
 * or NULL. What the recipe wants is brought up, and taken down by _free. */
int cmd_on_cluster(const struct cmd_call *call, const struct recipe *r,
                   const char *root, const char *run, struct cmd_on_cluster *ret,
                   struct rwf_err *err);
/* The same for one with CMD_AT_CLUSTER_OPTIONS that only looks: nothing is brought up. */
int cmd_on_cluster_at(const struct cmd_call *call, const struct recipe *r,
                      struct cmd_on_cluster *ret, struct rwf_err *err);
void cmd_on_cluster_free(struct cmd_on_cluster *c);
/* Takes down what killed runs below root have left, as a run that brings one up does. */
void cmd_on_cluster_sweep(const struct cmd_call *call, const char *root);

/* Where a run would go. */
struct cmd_place {
    char *name; /* NULL: this machine; the caller's to free */
    struct cluster_known has;
};
/* Whether all of g can run where the run would go. What cannot be known before it is
 * there is said, and fits. */
int cmd_on_cluster_fits(struct cmd_call *call, struct plan_graph *g, const char *root,
                        struct cmd_place *ret, struct rwf_err *err);

#endif
