/* SPDX-License-Identifier: Apache-2.0
 *
 * A step of few sequences through all layers as one kernel: what its host side and the
 * kernel share. One block per multiprocessor stays for the whole step; decoder.cu says
 * how they work together.
 */
#ifndef KERNELS_CUDA_DECODER_H
#define KERNELS_CUDA_DECODER_H
#include "cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DECODER_SEQUENCES 8 /* of a step at most */
#define DECODER_HEADS 8     /* query heads that share a key head, at most */
#define DECODER_HIDDEN 6144 /* at most */

#define DECODER_CONSUMERS 512 /* threads that compute; a warp more brings weights */
#define DECODER_STAGE_K 1024  /* of k, of 8 rows of weights, in a stage of the ring */
#define DECODER_ROW (DECODER_STAGE_K * 2 + 64) /* bytes; rows meet in no bank */
#define DECODER_STAGE (8 * DECODER_ROW)
#define DECODER_LEAST_STAGES 6
#define DECODER_MOST_STAGES 24
#define DECODER_SUMS 16384 /* bytes: what warps leave of products, twice */

/* The products of a layer, in their order. */
enum { DECODER_QKV, DECODER_O, DECODER_GATE_UP, DECODER_DOWN, DECODER_PRODUCTS };

struct decoder_layer {
    const void *norm1, *norm2, *q_norm, *k_norm;
    const void *weights[DECODER_PRODUCTS];
    void *keys, *values;
};

/* A product's tiles of 8 rows, of gate and up 4 each: the first one is the block
 * `first`'s, the next one the next one's, round and round. */
struct decoder_product {
    int tiles, k, first;
};

/* What blocks tell each other: words of 8 bytes, see decoder_words.cuh. */
struct decoder_words {
    uint64_t *qkv, *out, *act;     /* [sequences, columns / 2] */
    uint64_t *delta_o, *delta_down; /* [sequences, hidden / 2] */
    uint64_t *parts;               /* [items, heads, size + 2] floats */
};

struct decoder_arrays {
    const struct decoder_layer *layers;
    int layer_count, hidden, inner, heads, kv_heads;
    float epsilon, scale;
    const float *cosine, *sine;
    struct decoder_product products[DECODER_PRODUCTS];
    struct decoder_words words;
    unsigned *epoch; /* that the last step ended with; blocks that have ended */
    struct kernel_sequences s;
    void *x, *delta;
    int stages;     /* of the ring */
    unsigned input; /* bytes of a product's input, and of the attention's scratch */
    long long *times;
};

/* Bytes of the attention's scratch in shared memory. */
unsigned cuda__decoder_scratch(int heads, int size);
/* Bytes of shared memory beside the ring; a->input, a->s.count and the layers are set. */
unsigned cuda__decoder_beside(const struct decoder_arrays *a);
void cuda__decoder_launch(struct kernel_context *c, const struct decoder_arrays *a,
                          int size);

#ifdef __cplusplus
}
#endif
#endif
