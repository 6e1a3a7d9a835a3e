/* SPDX-License-Identifier: Apache-2.0
 *
 * NVIDIA's management library (libnvidia-ml.so.1, or what RAYWF_NVML names), opened at
 * run time and held no longer than a question takes.
 */
#ifndef RWF_NODE_NVML_H
#define RWF_NODE_NVML_H
#include <stdbool.h>
#include "base/err.h"
#include "base/str.h"
#include "node/gpu.h"

struct node__nvml_found {
    struct node_gpu gpus[NODE_GPU_MAX];
    size_t count;
    bool by_uuid; /* indexes would not name them all: MIG instances, a lost card */
};

/* ENOENT: there is no such library here; another code: it is there and does not work.
 * source and problems as in gpu.h. */
int node__nvml_find(struct node__nvml_found *ret, struct rwf_str *source,
                    struct rwf_str *problems, struct rwf_err *err);
void node__nvml_look(const struct node_gpu *gpus, size_t count,
                     struct node_gpu_use *ret);
/* ret[i * count + j]: GPU i can read the memory of GPU j itself. -1: not known. */
int node__nvml_peers(const struct node_gpu *gpus, size_t count, bool *ret);

#endif
