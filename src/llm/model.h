/* SPDX-License-Identifier: Apache-2.0
 *
 * The weights of a model on a device, its KV cache, and one step over a batch of sequences,
 * written once against the device's table. It knows blocks and slots, not requests.
 */
#ifndef RWF_LLM_MODEL_H
#define RWF_LLM_MODEL_H
#include <jansson.h>
#include <stdint.h>
#include "llm/hf_config.h"
#include "tensor/device.h"

struct llm_model;

/* Sequences up to which all layers as one kernel are faster than kernels of their own. */
#define LLM_FUSED_MAX 2

struct llm_model_options {
    struct device *device;
    enum kernel_type type; /* of activations, cache and plain weights */
    int max_tokens;        /* rows of a step (max_num_batched_tokens) */
    int max_sequences;     /* of a step (max_num_seqs) */
    int max_length;        /* of a sequence (max_model_len) */
    int64_t cache_bytes;   /* of the KV cache; 0: what memory_share leaves */
    double memory_share;   /* of the device's memory for all of it (gpu_memory_utilization) */
    bool eager;            /* kernel by kernel: never record steps; and apart */
    bool apart;            /* never all layers as one kernel: to compare */
    bool dummy;            /* random weights, no files are read but config.json: to measure */
    /* How far loading is, 0 to 1; NULL: not wanted. */
    void (*progress)(void *ctx, double done);
    void *ctx;
};

/* folder: see llm_config_read. RWF_E_FIT with the table of who uses what when there is no room for
 * one sequence of max_length; RWF_E_INPUT for a file that lies. */
struct llm_model *llm_model_open(const char *folder, const struct llm_config *config,
                                 const struct llm_model_options *o, struct rwf_err *err);
/* Every tensor is in the folder, with its shape and type, and nothing else; no weight is read. */
int llm_model_check(const char *folder, const struct llm_config *config, struct rwf_err *err);
void llm_model_close(struct llm_model *m);
int llm_model_blocks(const struct llm_model *m); /* of the cache, KERNEL_BLOCK tokens each */
/* Rows [{"name", "bytes"}] of all memory that it holds; the caller decrefs. */
json_t *llm_model_memory(const struct llm_model *m);

/* A sequence of a step. What it points to is read before llm_model_begin returns, but embedding,
 * which is written until llm_model_finish does. A successor of a row that could draw nothing (-1)
 * may be of any value, but does no harm to other rows. */
struct llm_row {
    const int32_t *ids;    /* [count] new tokens; NULL: one, which the step under way draws for its
                              row `from` */
    int count, from;
    int context;           /* tokens in the cache before them */
    const int32_t *blocks; /* enough for context + count */
    bool wanted;           /* the last token's successor is to be drawn */
    /* Of the drawing, when wanted. */
    float temperature, top_p, min_p;
    int top_k;
    uint64_t seed, step;
    const uint32_t *mask;             /* host; [(vocab + 31) / 32], or NULL */
    const struct kernel_edit *edits;  /* host; their row is not looked at */
    int edit_count;
    int logprobs;          /* -1: none; else how many of the largest (0: of the drawn one) */
    float *embedding;      /* host [hidden]: gets the last token's normed state instead of drawing;
                              NULL: not wanted */
    bool all_logprobs;     /* of each new token given those before it (prompt_logprobs); not known
                              (NaN) of the first one of ids: begin one token earlier */
};

struct llm_logprob {
    int32_t id;
    float logprob;
};
/* What came of a row. logprobs: the drawn token's first, then the largest ones in their order;
 * valid until the next step. prompt: [count][1 + logprobs] likewise for all_logprobs. Of the
 * logits after edits, before temperature. */
struct llm_drawn {
    int32_t id; /* -1: not wanted, or nothing could be drawn */
    const struct llm_logprob *logprobs;
    int logprob_count;
    const struct llm_logprob *prompt;
};
/* One step; waits for its end. The rows' tokens sum up to at most max_tokens. */
int llm_model_step(struct llm_model *m, const struct llm_row *rows, int count,
                   struct llm_drawn *ret, struct rwf_err *err);
/* The same in two halves, so that the host prepares the next step while this one runs; at most one
 * is under way when begin is called, and finish tells of the older one. */
int llm_model_begin(struct llm_model *m, const struct llm_row *rows, int count, struct rwf_err *err);
int llm_model_finish(struct llm_model *m, struct llm_drawn *ret, struct rwf_err *err);

#endif
