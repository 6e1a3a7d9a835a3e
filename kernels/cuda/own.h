/* SPDX-License-Identifier: Apache-2.0
 *
 * What raywf-cuda.so takes of a GPU's memory for itself: one calculation, by which it
 * allocates and by which plans are made, also where there is no GPU. Plain C.
 */
#ifndef KERNELS_CUDA_OWN_H
#define KERNELS_CUDA_OWN_H
#include <string.h>
#include "decoder.h"

#define CUDA_PARTIALS ((size_t)8 << 20) /* bytes, at least */
#define CUDA_COUNTERS 65536
#define CUDA_MAIL ((size_t)128 << 10)     /* bytes of a multiprocessor */
#define CUDA_WORKSPACE ((size_t)64 << 20) /* of cuBLASLt */

/* Of hopper_q4.cu, which runs on compute capability 9.0 alone. */
static inline size_t cuda_mail_bytes(int sms, int capable)
{
    return capable == 90 ? (size_t)sms * CUDA_MAIL : 1;
}

static inline bool decoder_q4(const struct kernel_decoder *d)
{
    return d->layer->qkv.group > 0;
}

/* --- how blocks, one of each multiprocessor, share a decoder's products --- */

/* What is not normed is cut, so that a block needs a part of it alone; other products
 * are where there are too few tiles. */
static inline void decoder_share(struct decoder_product *p, int product, int blocks)
{
    int cuts = DECODER_PLAIN(product) ? DECODER_CUTS : 1;
    int most = DECODER_SUMS / (DECODER_SEQUENCES_Q4 * 2 * 64 * 4);
    p->width = p->k / DECODER_GROUP;
    while (cuts < DECODER_CUTS && p->tiles * cuts < blocks)
        cuts *= 2;
    /* A block's tiles of a part fit into what is left of products at once. */
    while (p->width % cuts != 0 || (cuts > 1 && p->tiles / (blocks / cuts) + 2 > most))
        cuts /= 2;
    p->cuts = cuts;
    p->sharers = p->tiles < blocks / cuts ? p->tiles : blocks / cuts;
}

static inline void decoder_products(struct decoder_product ret[DECODER_PRODUCTS],
                                    const struct kernel_decoder *d, int blocks)
{
    int q = d->heads * d->size, hidden = (int)d->hidden, inner = (int)d->inner;
    int k[] = {hidden, q, hidden, inner};
    int columns[] = {q + 2 * d->kv_heads * d->size, hidden, inner, hidden};
    bool q4 = decoder_q4(d);
    for (int i = 0, first = 0; i < DECODER_PRODUCTS; i++) {
        int rows = q4 ? 64 : i == DECODER_GATE_UP ? 4 : 8; /* that a tile tells */
        int tiles = columns[i] / rows;
        struct decoder_product p;
        memset(&p, 0, sizeof(p));
        p.tiles = tiles;
        p.k = k[i];
        p.first = first;
        p.columns = columns[i];
        p.gated = !q4 && k[i] > 4 * DECODER_CONSUMERS;
        p.step = (int64_t)tiles * k[i] > (int64_t)blocks * DECODER_NEAR ? blocks : 1;
        if (q4)
            decoder_share(&p, i, blocks);
        ret[i] = p;
        first = (first + tiles) % blocks;
    }
}

/* --- what they tell each other --- */

/* Where words of 8 bytes of each kind begin, of which decoder.h says what they are. */
struct decoder_layout {
    size_t told[DECODER_PRODUCTS], out, parts, rest[DECODER_PRODUCTS], gates, epoch,
        end;
};

static inline size_t decoder_place(size_t *at, size_t count)
{
    size_t here = *at;
    *at += (count + 31) / 32 * 32;
    return here;
}

static inline struct decoder_layout decoder_layout(const struct kernel_decoder *d,
                                                   int blocks)
{
    const size_t s = DECODER_SEQUENCES, size = (size_t)d->size;
    const size_t items = (size_t)blocks + s * (size_t)d->kv_heads;
    struct decoder_product products[DECODER_PRODUCTS];
    struct decoder_layout l;
    size_t at = 0;
    decoder_products(products, d, blocks);
    for (int i = 0; i < DECODER_PRODUCTS; i++)
        l.told[i] = decoder_place(&at, s * (size_t)products[i].columns / 2);
    l.out = decoder_place(&at, s * (size_t)d->heads * size / 2);
    l.parts = decoder_place(&at, items * (size_t)(d->heads / d->kv_heads) * (size + 2));
    for (int i = 0; i < DECODER_PRODUCTS; i++) {
        size_t columns = (size_t)products[i].columns, cuts = (size_t)products[i].cuts;
        l.rest[i] = decoder_place(&at, DECODER_REST(columns, cuts, 0, 0));
    }
    l.gates = decoder_place(&at, DECODER_PRODUCTS * DECODER_GATES * DECODER_APART);
    l.epoch = decoder_place(&at, 1);
    l.end = at;
    return l;
}

static inline size_t cuda_decoder_bytes(const struct kernel_decoder *d, int blocks)
{
    return decoder_layout(d, blocks).end * sizeof(uint64_t) +
           (size_t)d->layers * sizeof(struct decoder_layer);
}

/* See own_bytes of kernels.h. */
static inline size_t cuda_own_bytes(const struct kernel_decoder *d, int sms,
                                    int capable)
{
    size_t bytes = CUDA_PARTIALS + CUDA_COUNTERS * sizeof(unsigned) + CUDA_WORKSPACE +
                   cuda_mail_bytes(sms, capable);
    if (d != NULL && capable == 90 && d->type == KERNEL_BF16)
        bytes += cuda_decoder_bytes(d, sms);
    return bytes;
}

#endif
