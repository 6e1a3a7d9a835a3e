/* SPDX-License-Identifier: Apache-2.0
 *
 * The GPUs offered here, found once, when somebody asks: opening the driver's library
 * may take long, so nothing that needs no GPU comes here.
 *
 * A GPU's id is its place in the list. The list is what CUDA_VISIBLE_DEVICES leaves of
 * the machine, in its order, so an id is never handed on as it is: node_gpu_env knows
 * the name by which the driver finds it. A card cut by MIG is offered as its instances.
 * RAYWF_FAKE_GPUS="2x24GiB,1x80GiB" stands in for the driver in tests and rehearsals.
 */
#ifndef RWF_NODE_GPU_H
#define RWF_NODE_GPU_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODE_GPU_MAX 64

struct node_gpu {
    int index;      /* the driver's, of the card (that a MIG instance lies on) */
    int64_t memory; /* bytes; 0: the driver does not tell */
    char uuid[96];
    char name[96];
    char visible[96]; /* for CUDA_VISIBLE_DEVICES */
};

/* How it is used now; -1: the driver does not tell. */
struct node_gpu_use {
    int64_t memory; /* bytes */
    int busy;       /* percent */
    int processes;
    char problem[160]; /* why nothing is known: a lost card; "" when all is well */
};

/* How many; *ret: borrowed, for the life of the process. */
size_t node_gpus(const struct node_gpu **ret);
/* Where they come from, or why there are none: "driver 580.65, CUDA 13.0". */
const char *node_gpus_source(void);
/* What should be looked at (a lost card, a name in CUDA_VISIBLE_DEVICES that is none),
 * sentences on one line; "" when nothing. */
const char *node_gpus_problems(void);
/* Asks the driver about all of them: ret has room for node_gpus(). */
void node_gpus_look(struct node_gpu_use *ret);
/* ret[i * COUNT + j]: GPU i reads the memory of GPU j without the CPU; ret has room for
 * COUNT * COUNT. -1: the driver does not tell. */
int node_gpus_peers(bool *ret);
/* How many there may be, without opening anything: device files. For records only. */
int node_gpus_guess(void);

/* Calls set for each variable that shows a process the GPUs of ids and no other, and
 * tells it which share of their memory is meant for it (share: 0 < share <= 1). */
void node_gpu_env(const int *ids, int count, double share,
                  void (*set)(void *ctx, const char *name, const char *value),
                  void *ctx);

#endif
