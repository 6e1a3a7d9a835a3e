/* SPDX-License-Identifier: Apache-2.0
 *
 * A step of few sequences through all layers as one kernel: what its host side and the
 * kernel share. One block per multiprocessor stays for the whole step; decoder.cu says
 * how they work together.
 */
#ifndef KERNELS_CUDA_DECODER_H
#define KERNELS_CUDA_DECODER_H
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DECODER_SEQUENCES 8    /* of a step at most */
#define DECODER_SEQUENCES_Q4 4 /* with weights of 4 bits */
#define DECODER_HEADS 8        /* query heads that share a key head, at most */
#define DECODER_HIDDEN 6144    /* at most */

#define DECODER_CONSUMERS 256  /* threads that compute; a warp more brings weights */
#define DECODER_TEAMS 2        /* of warps, that take stages of 4 bits by turns */
#define DECODER_MOST_STAGES 16 /* of the ring */
#define DECODER_FLYING 4u      /* of them on their way at once, at most */
#define DECODER_SUMS 16384     /* bytes: what warps leave of products, twice */
#define DECODER_GATES 8        /* counters of what has been told for a product */
#define DECODER_APART 32       /* words from one of them to the next */
/* Tokens of a chunk of attention: fewer are not worth adding it up; twice as many where
 * more than two heads share a key head, or where the context has no more. */
#define DECODER_CHUNK 128
#define DECODER_NEAR 8192 /* of k, of a block's tiles: so few are neighbours */
#define DECODER_GROUP 128 /* of weights of 4 bits: no other one */
#define DECODER_GROUPS 4  /* of them and 64 rows: a stage of the ring */
#define DECODER_CUTS 4    /* of k, at most, each two blocks' for a tile's rows */

/* The products of a layer, in their order. */
enum { DECODER_QKV, DECODER_O, DECODER_GATE_UP, DECODER_DOWN, DECODER_PRODUCTS };
/* Whether what goes in is taken as it is: what is normed a block needs all of. */
#define DECODER_PLAIN(product) ((product) == DECODER_O || (product) == DECODER_DOWN)

/* weights: rows of bf16, or as q4.cuh has them. */
struct decoder_layer {
    const void *norm1, *norm2, *q_norm, *k_norm;
    const void *weights[DECODER_PRODUCTS];
    void *keys, *values;
};

/* A product's tiles: 8 rows, of gate and up 4 each. From block `first` on, round and
 * round, each block has one more. Few are neighbours, so that a block looks at few
 * pages of memory; of many the next one is the next block's (step). Of 4 bits: 64 rows,
 * of gate and up 64 each. Groups of k are cut into parts, and `sharers` blocks have as
 * many of a part of all tiles each, in their order. */
struct decoder_product {
    int tiles, k, first, step;
    int columns; /* that it tells: of gate and up half of them */
    bool gated;  /* what goes in is waited for at gates: it is much, and all
                    of it is wanted, which with 4 bits it is not */
    int width, cuts, sharers; /* of 4 bits: groups of k, their parts, blocks of one */
};

/* Where the two floats of each column begin that a block has of part `cut` of k, the
 * first or the second block of that part. */
#define DECODER_REST(columns, cut, second, sequence)                                   \
    (2 * (((cut)*2 + (second)) * DECODER_SEQUENCES_Q4 + (sequence)) * (columns))

/* What blocks tell each other: words of 8 bytes, see decoder_words.cuh. */
struct decoder_words {
    uint64_t *told[DECODER_PRODUCTS]; /* by each product: [sequences, columns / 2] */
    uint64_t *out;                    /* by attention, likewise */
    uint64_t *parts;                  /* [items, heads, size + 2] floats */
    /* [cuts, 2][sequences, 2, columns] floats: what others have of a tile's rows */
    uint64_t *rest[DECODER_PRODUCTS];
    uint64_t *gates; /* [products, gates, DECODER_APART]: see decoder_words.cuh */
};

struct decoder_arrays {
    const struct decoder_layer *layers;
    int layer_count, hidden, inner, heads, kv_heads, group; /* group: of query heads */
    float epsilon, scale, each;                             /* each: 1 / hidden */
    const float *cosine, *sine;
    struct decoder_product products[DECODER_PRODUCTS];
    struct decoder_words words;
    unsigned *epoch; /* that the last step ended with; blocks that have ended */
    struct kernel_sequences s;
    const int32_t *ids; /* rows of the table that x begins as; or NULL */
    const void *table;
    void *x, *delta;
    bool q4;
    int stages;             /* of the ring */
    unsigned input, groups; /* bytes of a product's input and of its groups */
};

/* Bytes of the attention's scratch in shared memory. */
unsigned cuda__decoder_scratch(int heads, int size);
/* Bytes of a stage of the ring, and of a row of k as a product's input. */
unsigned cuda__decoder_stage(bool q4);
unsigned cuda__decoder_row(int64_t k, bool q4);
/* Bytes of shared memory beside the ring; but for the stages, a is complete. */
unsigned cuda__decoder_beside(const struct decoder_arrays *a);
void cuda__decoder_launch(struct kernel_context *c, const struct decoder_arrays *a,
                          int size);

#ifdef __cplusplus
}
#endif
#endif
