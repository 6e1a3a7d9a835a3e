/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder's products with weights of 4 bits, as sums of whole numbers: mma.sync of
 * bytes takes 4 of them in a register where one of bf16 takes 2, and a nibble becomes a
 * byte by a mask alone. Rows of x are numbers of 15 bits in steps of a power of two for
 * each group of k, so that most are what they were and the others are off by 2^-14 of
 * the group's largest at most; they go as two bytes, two columns of the second operand:
 * 256 times the first plus the second, which is signed, too.
 *
 * Nibbles 0, 2, 4, 6 of a word meet k 2t, 2t + 16, 2t + 1 and 2t + 17, the others,
 * which are bytes 16 times as large, those 8 further on. A tile of 64 of k in a row of
 * x is so 64 bytes of each column, [nibbles][32 of k][t] words.
 *
 * Blocks have as many groups of k each, one piece of a product's memory. What several
 * blocks have of a tile's rows, one of them adds up, always in the same order. Where k
 * is cut, a block waits for a part of the words alone; but each word of what comes of
 * the product has waited for all parts, and so tells as much as the rule of
 * decoder_words.cuh asks for.
 */
#ifndef KERNELS_CUDA_DECODER_Q4_CUH
#define KERNELS_CUDA_DECODER_Q4_CUH
#include "decoder_product.cuh"
#include "q4.cuh"

/* --- what goes in --- */

/* A group of a row: its sums' step, and -16 times what its numbers sum up to. */
struct alignas(8) q4_group {
    float step;
    int sum;
};

/* 127 + the power of two that a group's largest is at least, of its bits. */
__device__ __forceinline__ unsigned q4_exponent(uint2 x)
{
    unsigned most = __vmaxu2(x.x & 0x7fff7fff, x.y & 0x7fff7fff);
    most = __reduce_max_sync(0xffffffffu, max(most >> 16, most & 0xffff));
    return max(most >> 7, 20u);
}

/* Each two bf16 as numbers of that step, with 3 * 2^22 + 128 added. */
#define Q4_NONE 0x4b400080u
__device__ __forceinline__ uint2 q4_numbers(unsigned pair, unsigned exponent)
{
    float factor = __uint_as_float((267 - exponent) << 23);
    float2 v = unpack2(pair);
    return make_uint2(__float_as_uint(fmaf(v.x, factor, __uint_as_float(Q4_NONE))),
                      __float_as_uint(fmaf(v.y, factor, __uint_as_float(Q4_NONE))));
}

/* Four numbers from 4 * i on to their places in a row. */
__device__ __forceinline__ void q4_place(unsigned char *row, uint2 a, uint2 b, int i,
                                         bool there)
{
    unsigned low = __byte_perm(a.x, a.y, 0x5140), high = __byte_perm(b.x, b.y, 0x5140);
    unsigned bytes[2] = {__byte_perm(low, high, 0x7632),
                         __byte_perm(low, high, 0x5410) ^ 0x80808080};
    int tile = i / 16, half = i / 8 % 2, p = i / 2 % 4, t = i % 2 * 2 + p / 2;
    unsigned *to = (unsigned *)row + tile * 32 + (p % 2 * 2 + half) * 4 + t;
#pragma unroll
    for (int c = 0; c < 2; c++) {
        unsigned other = __shfl_xor_sync(0xffffffffu, bytes[c], 4);
        if (there)
            to[c * 16] = __byte_perm(bytes[c], other, p / 2 ? 0x3726 : 0x5140);
    }
}

/* A row of k bf16 in place, of which a thread has put there each four that it reads,
 * and a warp has whole groups; groups: [groups][DECODER_SEQUENCES_Q4], of the row's
 * sequence. */
__device__ __forceinline__ void q4_row(unsigned char *row, int k, q4_group *groups)
{
    constexpr int U = 5;
#pragma unroll 1
    for (int at = (int)threadIdx.x; at < k / 4; at += U * DECODER_CONSUMERS) {
        uint2 x[U], y[U];
        unsigned exponent[U];
#pragma unroll
        for (int u = 0; u < U; u++) {
            int i = at + u * DECODER_CONSUMERS;
            x[u] = ((const uint2 *)row)[i < k / 4 ? i : at];
            exponent[u] = q4_exponent(x[u]);
        }
#pragma unroll
        for (int u = 0; u < U; u++) {
            int i = at + u * DECODER_CONSUMERS;
            y[u] = q4_numbers(x[u].y, exponent[u]);
            x[u] = q4_numbers(x[u].x, exponent[u]);
            unsigned sum =
                __reduce_add_sync(0xffffffffu, x[u].x + x[u].y + (y[u].x + y[u].y));
            /* What is no number stays so. */
            unsigned step = exponent[u] == 255 ? 0x7fc00000 : (exponent[u] - 17) << 23;
            if (i < k / 4 && (threadIdx.x & 31) == 0)
                groups[i / 32 * DECODER_SEQUENCES_Q4] = {
                    __uint_as_float(step), (int)(128 * Q4_NONE - sum) * 16};
        }
#pragma unroll
        for (int u = 0; u < U; u++) {
            int i = at + u * DECODER_CONSUMERS;
            q4_place(row, x[u], y[u], i, i < k / 4);
        }
    }
}

/* --- products --- */

/* c[16,8] += a[16,32] b[32,8] */
__device__ __forceinline__ void mma_bytes(int c[4], const unsigned a[4], unsigned b0,
                                          unsigned b1)
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Of a group, this lane's part of 16 rows by 128 of k. */
struct q4_weights_part {
    uint4 w[DECODER_GROUP / Q4_TILE];
    uint2 how; /* scales and zero points of rows g and g + 8 */
};

/* Adds to rows g and g + 8 of sequence t. x: this lane's matrices; of: the group's. */
__device__ __forceinline__ void q4_group_add(float sum[2], const q4_weights_part &p,
                                             unsigned x, unsigned of)
{
    int low[4] = {}, high[4] = {};
    uint2 group = shared_load8(of);
#pragma unroll
    for (int step = 0; step < DECODER_GROUP / Q4_TILE; step++) {
        unsigned b[4];
        load_matrices(b, x + step * 128);
        const uint4 &w = p.w[step];
        const unsigned even[4] = {w.x & 0x0f0f0f0f, w.y & 0x0f0f0f0f, w.z & 0x0f0f0f0f,
                                  w.w & 0x0f0f0f0f};
        const unsigned odd[4] = {w.x & 0xf0f0f0f0, w.y & 0xf0f0f0f0, w.z & 0xf0f0f0f0,
                                 w.w & 0xf0f0f0f0};
        mma_bytes(low, even, b[0], b[1]);
        mma_bytes(high, odd, b[2], b[3]);
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        unsigned word = r ? p.how.y : p.how.x;
        int all = (low[2 * r] * 16 + high[2 * r]) * 256 + low[2 * r + 1] * 16 +
                  high[2 * r + 1] + (int)(word & 15) * (int)group.y;
        sum[r] = fmaf((float)all, q4_scale(word) * __uint_as_float(group.x), sum[r]);
    }
}

/* COUNT groups that follow each other: all weights are asked for before. */
template <int COUNT>
__device__ __forceinline__ void q4_groups_add(float sum[2], unsigned tiles,
                                              unsigned scales, unsigned x, unsigned of)
{
    constexpr int STEPS = DECODER_GROUP / Q4_TILE;
    q4_weights_part p[COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
#pragma unroll
        for (int step = 0; step < STEPS; step++)
            p[i].w[step] = shared_load16(tiles + i * STREAM_Q4_GROUP +
                                         step * (STREAM_Q4_GROUP / STEPS));
        p[i].how = shared_load8(scales + i * STREAM_Q4_SCALES);
    }
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        q4_group_add(sum, p[i], x + i * DECODER_GROUP * 2,
                     of + i * DECODER_SEQUENCES_Q4 * 8);
}

/* Groups from..to of a tile of 64 rows, of which each warp of a team has 16; of gate
 * and up, those of both by turns. What this warp has goes to sums [sequences][2][64],
 * first the team's that has the first stage. */
template <bool ONE>
__device__ __forceinline__ void product_q4(float *sums, const stream_ring &r,
                                           stream_place &at, const product_rows &rows,
                                           int from, int left, int parts)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4, warp = threadIdx.x >> 5;
    int count = ONE ? 1 : rows.count, row = warp % STREAM_TEAM;
    unsigned place = (at.number + (unsigned)(warp / STREAM_TEAM)) % 2;
    unsigned x = rows.x + (unsigned)(lane % 2 * 64 + lane / 8 * 16 + from * 256);
    unsigned of = rows.groups + (unsigned)from * (DECODER_SEQUENCES_Q4 * 8);
    /* Sequences that are not there are the last one: nobody looks at them. */
    if (!ONE) {
        x += (unsigned)min(lane % 8 / 2, count - 1) * rows.stride;
        of += (unsigned)min(t, count - 1) * 8;
    }
    float sum[2] = {};
    int part = 0;
#pragma unroll 1
    while (left > 0) {
        if (at.number % DECODER_TEAMS == (unsigned)(warp / STREAM_TEAM)) {
            unsigned stage = r.base + (unsigned)at.slot * stream_stage(true);
            unsigned tiles = stage + (unsigned)(row * 512 + lane * 16);
            unsigned scales =
                stage + DECODER_GROUPS * STREAM_Q4_GROUP + (unsigned)(row * 64 + g * 8);
            arrival_wait(stream_full(r, at.slot), at.parity);
            if (left >= DECODER_GROUPS)
                q4_groups_add<DECODER_GROUPS>(sum, tiles, scales, x, of);
            else
#pragma unroll 1
                for (int j = 0; j < left; j++)
                    q4_groups_add<1>(sum, tiles + (unsigned)j * STREAM_Q4_GROUP,
                                     scales + (unsigned)j * STREAM_Q4_SCALES,
                                     x + (unsigned)j * (DECODER_GROUP * 2),
                                     of + (unsigned)j * (DECODER_SEQUENCES_Q4 * 8));
            __syncwarp();
            if (lane == 0)
                arrival_arrive(stream_free(r, at.slot));
        }
        stream_next(r, at);
        if (++part < parts)
            continue;
        part = 0;
        left -= DECODER_GROUPS;
        x += DECODER_GROUPS * DECODER_GROUP * 2;
        of += DECODER_GROUPS * DECODER_SEQUENCES_Q4 * 8;
    }
    if (t < count)
#pragma unroll
        for (int h = 0; h < 2; h++)
            sums[t * 128 + place * 64 + row * 16 + h * 8 + g] = sum[h];
}

/* What the block has of a tile's rows. Parts of k take turns to own tiles: the block
 * that has the first groups of a tile in the part tells it, and adds what others have.
 */
struct q4_share {
    int tile, blocks; /* that have a part of k of it: 1 or 2 */
    bool first, owns; /* first: of those blocks */
};
__device__ __forceinline__ q4_share q4_share_of(const decoder_product &p,
                                                const stream_cut &cut, int tile,
                                                int from, int to)
{
    bool first = from <= tile * cut.width;
    return {tile, first && to >= (tile + 1) * cut.width ? 1 : 2, first,
            first && (tile & (p.cuts - 1)) == cut.number};
}

/* done(share, 8 rows' number, sequence, sum, other) is called by a warp, with the sum
 * of row lane / 4 of the 8 in each lane; pairs: tiles are of gate and up, whose sums
 * are in other. What others wait for comes before what waits for others: k in parts is
 * all told at once, and where it is whole, a tile's end by itself. */
template <bool ONE, typename F>
__device__ __forceinline__ void
product_run_q4(const stream_ring &r, stream_place &at, const stream_tiles &groups,
               const decoder_product &p, const stream_cut &cut, bool pairs,
               const product_rows &rows, float *sums, F done)
{
    int count = ONE ? 1 : rows.count, warp = threadIdx.x >> 5, each = count * 128;
    int most = DECODER_SUMS / (p.cuts > 1 ? 4 : 8) / each; /* tiles at a time */
    int group = groups.first, end = group + groups.count, tile = cut.tile;
    bool odd = false;
#pragma unroll 1
    while (group < end) {
        int start = tile, some = 0, begin = group;
        bool whole = group == tile * cut.width;
#pragma unroll 1
        do {
            int base = tile * cut.width, to = min(end, base + cut.width);
            product_q4<ONE>(sums + some * each, r, at, rows,
                            cut.first - rows.first + group - base, to - group,
                            pairs ? 2 : 1);
            group = to;
            tile++;
            some++;
        } while (group < end && some < most && (whole || p.cuts > 1));
        consumers_sync();
#pragma unroll 1
        for (int i = warp; i < 2 * some * count * 8; i += PRODUCT_WARPS) {
            bool own = i >= some * count * 8;
            int j = own ? i - some * count * 8 : i, in = j / 8 % count;
            int here = j / 8 / count;
            q4_share share = q4_share_of(p, cut, start + here, begin, group);
            if (share.owns != own)
                continue;
            const float *from =
                sums + here * each + in * 128 + j % 8 * 8 + (threadIdx.x & 31) / 4;
            float a = from[0], b = from[64];
            done(share, (start + here) * 8 + j % 8, in, pairs ? a : a + b, b);
        }
        /* Those of the next tiles go beside, and then there is another barrier. */
        sums += odd ? -(DECODER_SUMS / 8) : DECODER_SUMS / 8;
        odd = !odd;
    }
}

#endif
