/* SPDX-License-Identifier: Apache-2.0
 *
 * How blocks of one kernel tell each other results: a word of 8 bytes holds four bytes
 * of data and the epoch they belong to, written and read as one. Who waits for a word
 * reads it until its epoch is the one of this layer of this step. No barrier and no
 * fence is needed, and data arrive with the first look that finds them.
 *
 * A word is written again for the next layer, and who had not read it by then would
 * wait for ever. That cannot be: no block writes a word of a phase before it has waited
 * for words of the phase before, and those of a product are all of the phase's. So one
 * word of a phase means that all blocks of the phase before have read all they needed,
 * and a layer has several phases. An item of attention waits even where it has nothing
 * to do. Epochs count on from step to step; they come again after 2^32 layers.
 */
#ifndef KERNELS_CUDA_DECODER_WORDS_CUH
#define KERNELS_CUDA_DECODER_WORDS_CUH
#include "decoder.h"
#include "device.cuh"

/* Looks for a word after which something is broken; some seconds. */
#define WORDS_PATIENCE (1 << 23)

__device__ __forceinline__ void word_put(uint64_t *to, unsigned data, unsigned epoch)
{
    uint64_t word = (uint64_t)epoch << 32 | data;
    asm volatile("st.relaxed.gpu.global.b64 [%0], %1;" ::"l"(to), "l"(word) : "memory");
}

__device__ __forceinline__ uint64_t word_look(const uint64_t *from)
{
    uint64_t word;
    asm volatile("ld.relaxed.gpu.global.b64 %0, [%1];"
                 : "=l"(word)
                 : "l"(from)
                 : "memory");
    return word;
}
__device__ __forceinline__ unsigned word_wait(const uint64_t *from, unsigned epoch)
{
    for (int looks = 0;; looks++) {
        uint64_t word = word_look(from);
        if ((unsigned)(word >> 32) == epoch)
            return (unsigned)word;
        if (looks == WORDS_PATIENCE)
            __trap();
    }
}

__device__ __forceinline__ uint2 word_wait2(const uint64_t *a, const uint64_t *b,
                                            unsigned epoch)
{
    for (int looks = 0;; looks++) {
        uint64_t x = word_look(a), y = word_look(b);
        if ((unsigned)(x >> 32) == epoch && (unsigned)(y >> 32) == epoch)
            return make_uint2((unsigned)x, (unsigned)y);
        if (looks == WORDS_PATIENCE)
            __trap();
    }
}

/* Two words, each of them whole. */
__device__ __forceinline__ ulonglong2 words_look(const uint64_t *from)
{
    ulonglong2 v;
    asm volatile("ld.relaxed.gpu.global.v2.b64 {%0, %1}, [%2];"
                 : "=l"(v.x), "=l"(v.y)
                 : "l"(from)
                 : "memory");
    return v;
}
__device__ __forceinline__ bool words_there(ulonglong2 v, unsigned epoch)
{
    return (unsigned)(v.x >> 32) == epoch && (unsigned)(v.y >> 32) == epoch;
}

/* Waits for U pairs of words at from + u * stride, those of them that are `wanted`. */
template <int U>
__device__ __forceinline__ void words_wait(uint2 (&data)[U], const uint64_t *from,
                                           int stride, int wanted, unsigned epoch)
{
    bool there = false;
    for (int looks = 0; !there; looks++) {
        ulonglong2 v[U];
        there = true;
#pragma unroll
        for (int u = 0; u < U; u++)
            v[u] = u < wanted ? words_look(from + u * stride) : make_ulonglong2(0, 0);
#pragma unroll
        for (int u = 0; u < U; u++) {
            there = there && (u >= wanted || words_there(v[u], epoch));
            data[u] = make_uint2((unsigned)v[u].x, (unsigned)v[u].y);
        }
        if (looks == WORDS_PATIENCE)
            __trap();
    }
}

/* Waits for a pair that is the same for the warp. Most of the waiting for a few words
 * is done so: looks at all that is wanted would hold up those who write it. */
__device__ __forceinline__ void words_first(const uint64_t *from, unsigned epoch)
{
    for (int looks = 0; !words_there(words_look(from), epoch); looks++)
        if (looks == WORDS_PATIENCE)
            __trap();
}

/* use(i, data) of pairs thread, thread + threads, …, as they come; U of them at once.
 * likely: they are there, as gates say. */
template <int U, typename F>
__device__ __forceinline__ void words_take(const uint64_t *from, int pairs,
                                           unsigned epoch, bool likely, F use)
{
#pragma unroll 1
    for (int at = (int)threadIdx.x; at < pairs; at += U * DECODER_CONSUMERS) {
        uint2 data[U];
        if (!likely)
            words_first(from + 2 * (at - (int)(threadIdx.x & 31)), epoch);
        int wanted = (pairs - at + DECODER_CONSUMERS - 1) / DECODER_CONSUMERS;
        words_wait<U>(data, from + 2 * at, 2 * DECODER_CONSUMERS, wanted, epoch);
#pragma unroll
        for (int u = 0; u < U; u++)
            if (u < wanted)
                use(at + u * DECODER_CONSUMERS, data[u]);
    }
}

/* --- gates: how much has been told for a product in this step --- */

/* Who tells something adds to one of the product's gates. By them nothing is known of
 * the words themselves, but a block that waits for many looks at a few counters until
 * they are likely there: looks at all of them, again and again, would hold up those who
 * write them. Few words are there sooner without. */
__device__ __forceinline__ unsigned *gate_of(const decoder_arrays &a, int product,
                                             int gate)
{
    return (unsigned *)(a.words.gates +
                        (product * DECODER_GATES + gate) * DECODER_APART);
}
__device__ __forceinline__ void gate_pass(const decoder_arrays &a, int product,
                                          int number)
{
    if (a.products[product].gated && (threadIdx.x & 31) == 0)
        asm volatile("red.relaxed.gpu.global.add.u32 [%0], 1;" ::"l"(
                         gate_of(a, product, number % DECODER_GATES))
                     : "memory");
}

__device__ __forceinline__ unsigned gate_look(const unsigned *from)
{
    unsigned passed;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];"
                 : "=r"(passed)
                 : "l"(from)
                 : "memory");
    return passed;
}

/* Waits until so many of number 0, 1, … have passed, each `times` times; a warp. */
__device__ __forceinline__ void gate_wait(const decoder_arrays &a, int product,
                                          int numbers, int times)
{
    int gate = threadIdx.x & 31;
    if (gate >= DECODER_GATES)
        return;
    unsigned wanted =
        (unsigned)(numbers - gate + DECODER_GATES - 1) / DECODER_GATES * times;
    const unsigned *from = gate_of(a, product, gate);
    for (int looks = 0; gate_look(from) < wanted; looks++)
        if (looks == WORDS_PATIENCE)
            __trap();
}

#endif
