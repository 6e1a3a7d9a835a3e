/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches of a prepared folder, in an order that is a pure function of (seed, epoch): any
 * step can be asked for, by any number of ranks, and all ranks together see each global batch
 * exactly once, in the same composition for any number of ranks. A thread fills the next
 * micro batches into host memory while the device works.
 *
 * Rows: a permutation of the rows per epoch; the last global batch of an epoch may be short.
 * Tokens: an epoch cuts the stream into sequences of `length` + 1 that overlap by one, from an
 * offset drawn per epoch, and permutes them; the last short global batch is dropped.
 * Without shuffling they begin at the first token; what is left after the last whole sequence
 * is not seen.
 */
#ifndef RWF_TRAIN_BATCHES_H
#define RWF_TRAIN_BATCHES_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "tensor/device.h"

struct batches_options {
    const char *folder, *split; /* "train", "val" */
    int64_t global;    /* rows of a global batch */
    int micro;         /* most rows of a micro batch */
    int length;        /* of a sequence; rows: ignored */
    int rank, size;
    uint64_t seed;
    bool shuffle;      /* false: in order, once; the last batch may be short for tokens, too */
    bool order;        /* fill in order (training needs it for embeddings) */
    struct device *device; /* for alloc_host */
};

/* A micro batch in host memory; valid until the second next call of batches_next. */
struct batches_micro {
    int rows;          /* may be 0: this rank has nothing left in a short batch */
    bool last;         /* of its global batch */
    int64_t global;    /* rows of the whole global batch, over all ranks */
    int32_t *ids, *order, *targets;
    float *features, *values;
};

struct batches;

struct batches *batches_open(const struct batches_options *o, struct rwf_err *err);
void batches_close(struct batches *b);
const json_t *batches_info(const struct batches *b); /* data.json */
int64_t batches_per_epoch(const struct batches *b);  /* global batches */
/* The next call of batches_next begins global batch `step` (from 0, over all epochs). */
void batches_seek(struct batches *b, int64_t step);
/* Every rank gets the same number of micro batches per global batch. NULL after the end of an
 * unshuffled pass. */
const struct batches_micro *batches_next(struct batches *b);
/* Seconds that batches_next has waited for the thread. */
double batches_waited(const struct batches *b);

#endif
