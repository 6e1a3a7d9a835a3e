/* SPDX-License-Identifier: Apache-2.0
 *
 * What a node has, and what a step or a worker needs: in the units of people. Both are
 * borrowed wherever they are passed.
 */
#ifndef RWF_SCHEDULE_MACHINE_H
#define RWF_SCHEDULE_MACHINE_H
#include <stddef.h>
#include <stdint.h>

#define SCHEDULE_MAX_GPUS 64 /* of a node: a set of them is the bits of a word */
#define SCHEDULE_SLOTS 512   /* what asks for nothing is a process, too */

/* What a machine has. */
struct schedule_machine {
    const char *name;
    double cpu;
    int64_t memory;
    int gpu_count;
    const char *const *custom_names;
    const double *custom_amounts;
    size_t custom_count;
    const int64_t *gpu_memory; /* bytes of each GPU, 0: not known; NULL: none known */
    const char *const *gpu_names; /* "NVIDIA H200"; NULL: none known */
    const char *const *label_keys;
    const char *const *label_values;
    size_t label_count;
    int slots; /* processes at once; 0: SCHEDULE_SLOTS */
};

/* What one step, worker, rank or bundle needs. A node's labels must hold all of these;
 * every node has the label node=NAME. */
struct schedule_need {
    double cpu;
    int64_t memory;
    double gpu; /* below 1: a share of one card; else whole cards */
    const char *const *custom_names;
    const double *custom_amounts;
    size_t custom_count;
    const char *const *label_keys;
    const char *const *label_values;
    size_t label_count;
};

#endif
