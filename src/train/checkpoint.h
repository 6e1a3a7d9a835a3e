/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoints: folders DIR/step-00000500 with
 *
 *   model.safetensors, config.json      what transformers loads
 *   tokenizer.json, preprocess.json     where there is one
 *   optimizer.safetensors               float: NAME.master (bf16 runs), NAME.m, NAME.v
 *   state.json                          {"v":1,"step","epoch","metrics","best",…} of the loop
 *   manifest.json                       {"v":1,"files":{name:{"bytes","sha256"}}}, written last
 *
 * written beside their place, synced, and renamed: a folder of that name is whole or its
 * manifest does not match. Writing goes on in a thread while training does. What a dead
 * writer left is hidden (.step-…) and swept by the next one; ".lock" tells who lives.
 */
#ifndef RWF_TRAIN_CHECKPOINT_H
#define RWF_TRAIN_CHECKPOINT_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "tensor/safetensors.h"

/* A tensor to write, and where its bytes come from: called in the writer's thread, in order,
 * with pieces of at most 8 MiB. */
struct checkpoint_tensor {
    char *name;
    enum safetensors_type type;
    int dims;
    int64_t shape[2];
    /* Fills to with bytes [offset, offset + size) of it. */
    void (*read)(void *ctx, const struct checkpoint_tensor *t, size_t offset, size_t size,
                 void *to);
    void *ctx;
    const void *source; /* for read's use */
};

struct checkpoint_content {
    struct checkpoint_tensor *model, *optimizer;
    size_t model_count, optimizer_count;
    json_t *state;            /* taken over */
    const json_t *config;     /* borrowed until done */
    const char *tokenizer, *preprocess; /* files to copy, or NULL */
};

struct checkpoints;

struct checkpoints_options {
    const char *folder;
    int keep_best, keep_latest; /* the last one written is kept in any case */
    const char *metric, *mode;  /* of state.metrics; "min" or "max"; NULL: no best */
};
struct checkpoints *checkpoints_open(const struct checkpoints_options *o, struct rwf_err *err);
/* Waits for a write that goes on. */
int checkpoints_close(struct checkpoints *c, struct rwf_err *err);
/* Begins to write step; waits first for one that goes on. `done` is called in the writer's
 * thread, once, when content (which it may then free) is no longer needed: all was read, but
 * not all is on the disk yet. A failure (disk full) removes what was begun and is told by the
 * next call. -1: nothing was begun, content with its state is still the caller's. */
int checkpoints_write(struct checkpoints *c, int64_t step, struct checkpoint_content *content,
                      void (*done)(void *ctx, struct checkpoint_content *content), void *ctx,
                      struct rwf_err *err);
/* Waits for the write that goes on; what came of it. */
int checkpoints_wait(struct checkpoints *c, struct rwf_err *err);
bool checkpoints_busy(const struct checkpoints *c);

/* The newest (or, with a metric, the best) whole checkpoint of a folder: verified by its
 * manifest; damaged ones are named on stderr and passed over. Those without the metric, or
 * with NaN, come last. *ret_path NULL: there is none. */
int checkpoint_find(const char *folder, const char *metric, const char *mode, char **ret_path,
                    json_t **ret_state, struct rwf_err *err);
/* Copies (by links where it can) the parts of a checkpoint that others read, without the
 * optimizer and the state, into folder `to`, which must not exist. */
int checkpoint_export(const char *path, const char *to, struct rwf_err *err);

#endif
