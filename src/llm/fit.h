/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a model fits, into what, with how much context, and how fast it may be: arithmetic on
 * its config, of which the engine itself allocates (memory.h). Speed is a roofline: a step reads
 * the weights and the caches once; a share of the bandwidth stands for what kernels reach, and each
 * layer takes some time beside.
 */
#ifndef RWF_LLM_FIT_H
#define RWF_LLM_FIT_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"
#include "llm/memory.h"

/* A kind of device, by name; from data sheets. */
struct fit_gpu {
    const char *name;
    int64_t memory;   /* bytes, as the driver tells them */
    double bandwidth; /* bytes a second */
    double flops;     /* bf16, dense */
    bool fused;       /* has the kernel that takes all layers at once (kernels.h: decoder_open) */
};
/* By a piece of its name, case does not matter ("h100", "NVIDIA H200"); NULL: not known. */
const struct fit_gpu *fit_gpu_find(const char *name);
const struct fit_gpu *fit_gpus(size_t *ret_count);

/* Bytes a second that one reading of this machine's memory reaches, measured now (about 0.1 s). */
double fit_host_bandwidth(void);

enum fit_status { FIT_PERFECT, FIT_GOOD, FIT_MARGINAL, FIT_TOO_TIGHT };

struct fit_ask {
    const char *model;        /* shown */
    struct llm_memory_ask ask; /* options complete; device may be NULL */
    double bandwidth, flops;  /* of it; 0: not known, no speeds */
    bool find;                /* the longest context that fits */
};

struct fit {
    struct llm_memory memory;
    enum fit_status status;
    int max_length;       /* asked for, or found */
    int64_t weights;      /* bytes read by a step, without the embedding */
    double one, many;     /* tokens/s of one request, of `batch` at once; 0: not known */
    int batch;
    double prefill;       /* tokens/s */
    char why[512];        /* TOO_TIGHT: what is missing, and what would fit */
};

/* RWF_E_USAGE for options that cannot be; that it does not fit is no error here. */
int fit_model(const struct fit_ask *a, struct fit *ret, struct rwf_err *err);
void fit_text(const struct fit_ask *a, const struct fit *f, struct rwf_str *out);
json_t *fit_json(const struct fit_ask *a, const struct fit *f);
const char *fit_status_name(enum fit_status s);

#endif
