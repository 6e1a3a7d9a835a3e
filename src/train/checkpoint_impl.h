/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the parts of checkpoints: their names, what is known of those on disk, and
 * how one is written.
 */
#ifndef RWF_TRAIN_CHECKPOINT_IMPL_H
#define RWF_TRAIN_CHECKPOINT_IMPL_H
#include "base/digest.h"
#include "base/str.h"
#include "train/checkpoint.h"

#define TRAIN__MODEL "model.safetensors"
#define TRAIN__OPTIMIZER "optimizer.safetensors"
#define TRAIN__CONFIG "config.json"
#define TRAIN__STATE "state.json"
#define TRAIN__TOKENIZER "tokenizer.json"
#define TRAIN__PREPROCESS "preprocess.json"
#define TRAIN__MANIFEST "manifest.json"
#define TRAIN__SMALL_MAX ((size_t)1 << 30) /* of the files that are no tensors */

/* One on disk. */
struct train__point {
    int64_t step;
    double metric; /* NaN: there is none */
    bool whole;    /* as far as sizes tell */
    bool before;   /* it was there when the folder was opened */
};

struct train__points {
    struct train__point *items;
    size_t count, cap;
};

char *train__point_path(const char *folder, int64_t step);
/* Those of a folder by growing step; a folder that is not there has none. */
int train__points_list(const char *folder, const char *metric,
                       struct train__points *points, struct rwf_err *err);
/* Of state.metrics; NaN when there is none. */
double train__metric_of(const json_t *state, const char *metric);
/* For qsort and others: better ones first, of equals the newer one, those without last.
 */
int train__compare(const struct train__point *a, const struct train__point *b,
                   bool max);

/* What a writer's thread needs; nothing in it changes meanwhile. */
struct train__writing {
    const char *folder;
    int64_t step;
    struct checkpoint_content *content;
    char *config, *state; /* texts */
    void (*done)(void *ctx, struct checkpoint_content *content);
    void *ctx;
};
/* Writes and publishes it; in any case `done` has been called. */
int train__point_write(struct train__writing *w, struct rwf_err *err);
/* Away with it, in one step for others. */
int train__point_remove(const char *folder, int64_t step, struct rwf_err *err);
/* Removes what dead writers left; only for who holds the lock. */
void train__sweep(const char *folder);
int train__sync_folder(const char *path, struct rwf_err *err);

#endif
