/* SPDX-License-Identifier: Apache-2.0
 *
 * What raywf-cuda.so takes of a GPU's memory for itself: one calculation, by which it
 * allocates and by which plans are made, also where there is no GPU. Plain C.
 */
#ifndef KERNELS_CUDA_OWN_H
#define KERNELS_CUDA_OWN_H
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

/* Where words of 8 bytes of each kind begin, of which decoder.h says what they are. */
struct decoder_layout {
    size_t told[DECODER_PRODUCTS], out, parts, rest[DECODER_PRODUCTS], epoch, end;
};

static inline size_t decoder_place(size_t *at, size_t count)
{
    size_t here = *at;
    *at += (count + 31) / 32 * 32;
    return here;
}

static inline bool decoder_q4(const struct kernel_decoder *d)
{
    return d->layer->qkv.group > 0;
}

/* blocks: one of each multiprocessor. */
static inline struct decoder_layout decoder_layout(const struct kernel_decoder *d,
                                                   int blocks)
{
    const size_t s = DECODER_SEQUENCES, q = (size_t)d->heads * (size_t)d->size;
    const size_t hidden = (size_t)d->hidden, size = (size_t)d->size;
    const size_t columns[DECODER_PRODUCTS] = {
        q + 2 * (size_t)d->kv_heads * size, hidden, (size_t)d->inner, hidden};
    const size_t items = (size_t)blocks + s * (size_t)d->kv_heads;
    struct decoder_layout l;
    size_t at = 0;
    for (int i = 0; i < DECODER_PRODUCTS; i++)
        l.told[i] = decoder_place(&at, (i == DECODER_QKV ? 1 : DECODER_COPIES) * s *
                                           columns[i] / 2);
    l.out = decoder_place(&at, DECODER_COPIES * s * q / 2);
    l.parts =
        decoder_place(&at, items * (size_t)(d->heads / d->kv_heads) * (size + 2));
    for (int i = 0; i < DECODER_PRODUCTS; i++) {
        bool cut = i == DECODER_O || i == DECODER_DOWN;
        size_t each = 4 * DECODER_SEQUENCES_Q4 * (cut ? DECODER_CUTS : 1);
        l.rest[i] = decoder_place(&at, decoder_q4(d) ? each * columns[i] : 0);
    }
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
