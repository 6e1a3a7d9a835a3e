/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of the decoder: an item is one key head of a chunk of one sequence's
 * context. Its block norms and turns the item's heads, writes the new key and value to
 * the cache, and its warps take blocks of the cache by turns, as the ring brings them.
 * Chunks of a sequence are added up by the blocks that had them, each a part
 * of the columns, in the order of the chunks.
 */
#ifndef KERNELS_CUDA_DECODER_ATTENTION_CUH
#define KERNELS_CUDA_DECODER_ATTENTION_CUH
#include "decoder_cache.cuh"
#include "decoder_words.cuh"

/* --- the item's heads: a warp takes one --- */

struct attention_head {
    const uint64_t *from;
    const bf16 *weight;         /* of its norm, or NULL; shared memory */
    unsigned full;              /* the barrier of that */
    const float *cosine, *sine; /* of rotary positions, or NULL */
    unsigned *to;               /* shared memory */
    unsigned *kept;             /* the same to the cache, or NULL */
};

/* Asks for a layer's norms of heads; those of the one before have been read. Each
 * layer's lie in other pages, and a load would hold up the words that are looked for
 * behind it. */
template <int SIZE>
__device__ __forceinline__ void attention_ask(attention_plan &p,
                                              const decoder_layer &layer)
{
    if (threadIdx.x > 0 || !layer.q_norm)
        return;
    const void *from[2] = {layer.q_norm, layer.k_norm};
    bf16 *to[2] = {p.q_norm, p.k_norm};
#pragma unroll
    for (int i = 0; i < 2; i++) {
        unsigned full = shared_address(&p.norms_full[i]);
        arrival_expect(full, SIZE * 2);
        fetch_bytes(shared_address(to[i]), from[i], SIZE * 2, full);
    }
}

/* The same arithmetic as paged_rope.cu's. A lane has elements 2 * lane on, and those
 * half a head further. */
template <int SIZE>
__device__ __forceinline__ void
attention_turn(const decoder_arrays &a, const attention_head &h, int l, unsigned epoch)
{
    constexpr int HALF = SIZE / 2;
    int lane = threadIdx.x & 31, j = lane * 2;
    float2 cosine = make_float2(1.0f, 1.0f), sine = make_float2(0.0f, 0.0f);
    float2 u = make_float2(0.0f, 0.0f), v = u, wu = u, wv = u;
    if (j < HALF) {
        if (h.cosine) {
            cosine = *(const float2 *)(h.cosine + j);
            sine = *(const float2 *)(h.sine + j);
        }
        if (h.weight) {
            arrival_wait(h.full, (unsigned)l & 1);
            wu = unpack2(*(const unsigned *)(h.weight + j));
            wv = unpack2(*(const unsigned *)(h.weight + HALF + j));
        }
        uint2 both = word_wait2(h.from + lane, h.from + HALF / 2 + lane, epoch);
        u = unpack2(both.x);
        v = unpack2(both.y);
    }
    if (h.weight) {
        float squares = warp_sum(u.x * u.x + u.y * u.y + v.x * v.x + v.y * v.y);
        float inverse = rsqrtf(squares / (float)SIZE + a.epsilon);
        u = make_float2(u.x * inverse * wu.x, u.y * inverse * wu.y);
        v = make_float2(v.x * inverse * wv.x, v.y * inverse * wv.y);
    }
    if (j >= HALF)
        return;
    unsigned low = pack2(u.x * cosine.x - v.x * sine.x, u.y * cosine.y - v.y * sine.y);
    unsigned high = pack2(v.x * cosine.x + u.x * sine.x, v.y * cosine.y + u.y * sine.y);
    h.to[lane] = low;
    h.to[HALF / 2 + lane] = high;
    if (h.kept) {
        h.kept[lane] = low;
        h.kept[HALF / 2 + lane] = high;
    }
}

/* Queries of the item; and, where the chunk ends with it, the step's own token. kept:
 * it is the one whose angles are. */
template <int SIZE>
__device__ __forceinline__ void
attention_heads(const decoder_arrays &a, const decoder_layer &layer, int l,
                const attention_plan &p, const attention_item &i, bool kept,
                unsigned char *scratch, unsigned epoch)
{
    using space = attention_space<SIZE>;
    int s = i.sequence, slot = p.slot[s];
    int64_t angles = (int64_t)p.position[s] * (SIZE / 2);
    bool norms = layer.q_norm;
    int count = a.group + (i.part == i.parts - 1 ? 2 : 0);
#pragma unroll 1
    for (int n = (int)(threadIdx.x >> 5); n < count; n += ATTENTION_WARPS) {
        bool query = n < a.group, key = n == a.group;
        int head = query ? i.kv * a.group + n : a.heads + (key ? 0 : a.kv_heads) + i.kv;
        attention_head h = {a.words.told[DECODER_QKV] +
                                ((int64_t)s * (a.heads + 2 * a.kv_heads) + head) *
                                    (SIZE / 2),
                            norms ? p.q_norm : nullptr,
                            shared_address(&p.norms_full[0]),
                            kept ? p.cosine : a.cosine + angles,
                            kept ? p.sine : a.sine + angles,
                            (unsigned *)(scratch + n * space::ROW),
                            nullptr};
        if (!query) {
            void *cache = key ? layer.keys : layer.values;
            int64_t at =
                ((int64_t)(slot / KERNEL_BLOCK) * a.kv_heads + i.kv) * KERNEL_BLOCK +
                slot % KERNEL_BLOCK;
            h.weight = key && norms ? p.k_norm : nullptr;
            h.full = shared_address(&p.norms_full[1]);
            if (!key)
                h.cosine = nullptr;
            h.to = (unsigned *)(scratch + (key ? space::KEY : space::VALUE));
            h.kept = slot >= 0 ? (unsigned *)((bf16 *)cache + at * SIZE) : nullptr;
        }
        attention_turn<SIZE>(a, h, l, epoch);
    }
}

/* The step's own token with a head, as one more entry; a warp's. */
template <int SIZE>
__device__ __forceinline__ void attention_own(unsigned char *scratch, int heads,
                                              int head, int entry, float factor)
{
    using space = attention_space<SIZE>;
    int j = (threadIdx.x & 31) * (SIZE / 32);
    const bf16 *q = (const bf16 *)(scratch + head * space::ROW) + j;
    const bf16 *k = (const bf16 *)(scratch + space::KEY) + j;
    const bf16 *v = (const bf16 *)(scratch + space::VALUE) + j;
    float *o = (float *)(scratch + space::SUMS) + (entry * heads + head) * SIZE + j;
    float score = 0.0f;
#pragma unroll
    for (int i = 0; i < SIZE / 32; i += 2) {
        float2 x = unpack2(*(const unsigned *)(q + i));
        float2 y = unpack2(*(const unsigned *)(k + i));
        score += x.x * y.x + x.y * y.y;
        *(float2 *)(o + i) = unpack2(*(const unsigned *)(v + i));
    }
    score = warp_sum(score);
    if (j == 0)
        ((float2 *)(scratch + space::ENDS))[entry * DECODER_HEADS + head] =
            make_float2(score * factor, 1.0f);
}

/* --- what comes out --- */

/* Two elements of a head, of all entries, last: and the step's own token: the largest
 * score into most, the sum of probabilities into total. */
template <int SIZE>
__device__ __forceinline__ float2 attention_merge(const unsigned char *scratch,
                                                  bool last, int heads, int head, int j,
                                                  float *most, float *total)
{
    using space = attention_space<SIZE>;
    const float2 *ends = (const float2 *)(scratch + space::ENDS) + head;
    const float *o = (const float *)(scratch + space::SUMS) + head * SIZE + j;
    float2 all = make_float2(0.0f, 0.0f), end[ATTENTION_ENTRIES], v[ATTENTION_ENTRIES];
    *most = -INFINITY, *total = 0.0f;
#pragma unroll
    for (int w = 0; w < ATTENTION_ENTRIES; w++) {
        end[w] = make_float2(-INFINITY, 0.0f);
        v[w] = make_float2(0.0f, 0.0f);
        if (w < ATTENTION_WARPS || last) {
            end[w] = ends[w * DECODER_HEADS];
            v[w] = *(const float2 *)(o + w * heads * SIZE);
        }
        *most = fmaxf(*most, end[w].x);
    }
    float shift = *most > -INFINITY ? *most : 0.0f;
#pragma unroll
    for (int w = 0; w < ATTENTION_ENTRIES; w++) {
        float factor = exp2_fast(end[w].x - shift);
        all.x += v[w].x * factor;
        all.y += v[w].y * factor;
        *total += end[w].y * factor;
    }
    return all;
}

/* Word `at` of the item's. */
template <int SIZE>
__device__ __forceinline__ void attention_put(const decoder_arrays &a,
                                              const attention_item &i, int at,
                                              float2 all, float total, unsigned epoch)
{
    int head = i.kv * a.group + at / (SIZE / 2), row = a.heads * (SIZE / 2);
    float share = total > 0.0f ? __fdividef(1.0f, total) : 0.0f;
    unsigned data = pack2(all.x * share, all.y * share);
    word_put(a.words.out + i.sequence * row + head * (SIZE / 2) + at % (SIZE / 2), data,
             epoch);
}
/* Of a chunk: first the ends of each head, then its sums. */
template <int SIZE>
__device__ __forceinline__ uint64_t *attention_part(const decoder_arrays &a, int item,
                                                    int head)
{
    return a.words.parts + ((int64_t)item * a.group + head) * (SIZE + 2);
}

template <int SIZE>
__device__ __forceinline__ void
attention_tell(const decoder_arrays &a, const attention_item &i, int item,
               const unsigned char *scratch, bool last, unsigned epoch)
{
    int heads = a.group;
#pragma unroll 1
    for (int at = (int)threadIdx.x; at < heads * SIZE / 2; at += DECODER_CONSUMERS) {
        int head = at / (SIZE / 2), j = at % (SIZE / 2) * 2;
        float most, total;
        float2 all =
            attention_merge<SIZE>(scratch, last, heads, head, j, &most, &total);
        if (i.parts == 1) {
            attention_put<SIZE>(a, i, at, all, total, epoch);
            continue;
        }
        uint64_t *part = attention_part<SIZE>(a, item, head);
        word_put(part + 2 + j, __float_as_uint(all.x), epoch);
        word_put(part + 3 + j, __float_as_uint(all.y), epoch);
        if (j == 0) {
            word_put(part, __float_as_uint(most), epoch);
            word_put(part + 1, __float_as_uint(total), epoch);
        }
    }
}

/* Two elements of a head, as some chunks have them. */
struct attention_some {
    float most, total;
    float2 sum;
};
__device__ __forceinline__ void attention_add_some(attention_some &a,
                                                   const attention_some &b)
{
    float now = fmaxf(a.most, b.most);
    float old = a.most > -INFINITY ? exp2_fast(a.most - now) : 0.0f;
    float fresh = b.most > -INFINITY ? exp2_fast(b.most - now) : 0.0f;
    a.most = now;
    a.total = a.total * old + b.total * fresh;
    a.sum.x = a.sum.x * old + b.sum.x * fresh;
    a.sum.y = a.sum.y * old + b.sum.y * fresh;
}

/* The block's share of a sequence's chunks together: some lanes take two elements of a
 * head, and chunks by turns. */
template <int SIZE>
__device__ __forceinline__ void attention_join(const decoder_arrays &a,
                                               const attention_item &i, int item,
                                               unsigned epoch)
{
    int all = a.group * SIZE / 2, share = (all + i.parts - 1) / i.parts, lanes = 8;
    while (lanes > 1 && lanes * share > DECODER_CONSUMERS)
        lanes /= 2;
    int lane = (int)threadIdx.x % lanes, end = min(share * (i.part + 1), all);
#pragma unroll 1
    for (int base = share * i.part; base < end; base += DECODER_CONSUMERS / lanes) {
        int at = base + (int)threadIdx.x / lanes;
        int head = at / (SIZE / 2), j = at % (SIZE / 2) * 2;
        attention_some sum = {-INFINITY, 0.0f, {0.0f, 0.0f}};
#pragma unroll 1
        for (int part = lane; part < i.parts && at < end; part += lanes) {
            uint2 v[2];
            words_wait<2>(
                v, attention_part<SIZE>(a, item + (part - i.part) * a.kv_heads, head),
                2 + j, 2, epoch);
            attention_add_some(sum,
                               {__uint_as_float(v[0].x),
                                __uint_as_float(v[0].y),
                                {__uint_as_float(v[1].x), __uint_as_float(v[1].y)}});
        }
        __syncwarp();
#pragma unroll 1
        for (int step = 1; step < lanes; step *= 2) {
            attention_some other = {__shfl_xor_sync(0xffffffffu, sum.most, step),
                                    __shfl_xor_sync(0xffffffffu, sum.total, step),
                                    {__shfl_xor_sync(0xffffffffu, sum.sum.x, step),
                                     __shfl_xor_sync(0xffffffffu, sum.sum.y, step)}};
            /* The lower lane's come first for both. */
            bool low = (lane & step) == 0;
            attention_some first = sum;
            if (!low) {
                first = other;
                other = sum;
            }
            attention_add_some(first, other);
            sum = first;
        }
        if (lane == 0 && at < end)
            attention_put<SIZE>(a, i, at, sum.sum, sum.total, epoch);
    }
}

/* --- an item, and all of a block's --- */

/* The blocks of the cache that an item looks at: those with tokens before the step's
 * own. */
__device__ __forceinline__ int attention_end(const attention_plan &p,
                                             const attention_item &i)
{
    return min(i.end, (p.context[i.sequence] - 1 + KERNEL_BLOCK - 1) / KERNEL_BLOCK);
}

/* Brings what a layer's items look at, in the order of attention_run; a warp. */
template <int SIZE, bool Q4>
__device__ __forceinline__ void
attention_stream(const decoder_arrays &a, const decoder_layer &layer,
                 const attention_plan &p, const stream_ring &r, stream_place &at,
                 stream_place &past)
{
    int64_t stride = (int64_t)a.kv_heads * KERNEL_BLOCK * SIZE;
    int items = p.first[a.s.count], first = p.turn;
#pragma unroll 1
    for (int item = first; item < items; item += (int)gridDim.x) {
        attention_item i = item == first ? p.mine : attention_find(p, a, item);
        const int32_t *blocks = a.s.blocks + (int64_t)i.sequence * a.s.stride;
        int64_t head = (int64_t)i.kv * KERNEL_BLOCK * SIZE;
        int end = attention_end(p, i);
        auto place = [&](int n) {
            bool kept = item == first && n - i.begin < ATTENTION_BLOCKS;
            return head + (kept ? p.blocks[n - i.begin] : blocks[n]) * stride;
        };
#pragma unroll 1
        for (int n = i.begin; n < end; n += cache_stage<SIZE>::BLOCKS) {
            int count = min(cache_stage<SIZE>::BLOCKS, end - n);
            const int64_t places[2] = {place(n), count > 1 ? place(n + 1) : 0};
            arrival_wait(stream_free(r, at.slot), at.parity ^ 1);
            stream_hold(r, at, past);
            cache_fetch<SIZE>(r.base + (unsigned)at.slot * stream_stage(Q4),
                              stream_full(r, at.slot), layer.keys, layer.values, places,
                              count);
            stream_next(r, at);
        }
    }
}

/* Block `block` of a stage to a warp's sums. left: tokens of it that count. */
template <int SIZE>
__device__ __forceinline__ void
attention_block(attention_sums<SIZE> &all, unsigned stage, int block, int left,
                int heads, float factor, unsigned char *scratch)
{
    float scores[2][2];
    unsigned weights[2];
    attention_keys<SIZE> k;
    attention_values<SIZE> v;
    attention_load<SIZE>(k, stage, block);
    attention_scores<SIZE>(scores, k, shared_address(scratch),
                           (int)(threadIdx.x & 31) / 4 < heads);
    attention_load<SIZE>(v, stage, block);
    attention_soften<SIZE>(weights, all, scores, left, factor);
    if (left < KERNEL_BLOCK)
        attention_clear<SIZE>(v, left);
    attention_add<SIZE, 0>(all, v, weights);
}

/* What a warp's blocks of an item come to: two warps of those that have a stage take a
 * block each. */
template <int SIZE, bool Q4>
__device__ __forceinline__ void attention_blocks(const stream_ring &r, stream_place &at,
                                                 const attention_plan &p,
                                                 const attention_item &i, int heads,
                                                 float factor, unsigned char *scratch)
{
    constexpr int TEAM = Q4 ? STREAM_TEAM : PRODUCT_WARPS, TEAMS = PRODUCT_WARPS / TEAM;
    constexpr int BLOCKS = cache_stage<SIZE>::BLOCKS, TURNS = TEAM / BLOCKS;
    int warp = threadIdx.x >> 5, in = warp % TEAM, turn = in / BLOCKS;
    int place = ((int)at.number + warp / TEAM) % TEAMS; /* 0: with the first stage */
    int own = p.context[i.sequence] - 1, end = attention_end(p, i);
    attention_sums<SIZE> all = {};
    all.most = -INFINITY;
#pragma unroll 1
    for (int n = i.begin; n < end; n += BLOCKS) {
        if ((int)at.number % TEAMS == warp / TEAM) {
            int mine = n + in % BLOCKS;
            arrival_wait(stream_full(r, at.slot), at.parity);
            if (turn == 0 && mine < end)
                attention_block<SIZE>(
                    all, r.base + (unsigned)at.slot * stream_stage(Q4), in % BLOCKS,
                    own - mine * KERNEL_BLOCK, heads, factor, scratch);
            turn = turn == 0 ? TURNS - 1 : turn - 1;
            __syncwarp();
            if ((threadIdx.x & 31) == 0)
                arrival_arrive(stream_free(r, at.slot));
        }
        stream_next(r, at);
    }
    attention_leave<SIZE>(all, scratch, place * TEAM + in, heads, factor);
}

template <int SIZE, bool Q4>
__device__ __forceinline__ void
attention_chunk(const decoder_arrays &a, const decoder_layer &layer, int l,
                const attention_plan &p, const attention_item &i, int item,
                const stream_ring &r, stream_place &at, unsigned char *scratch,
                unsigned epoch)
{
    int heads = a.group, head = ATTENTION_WARPS - 1 - (int)(threadIdx.x >> 5);
    float factor = a.scale * LOG2E;
    bool last = i.part == i.parts - 1 && p.context[i.sequence] > 0;
    /* Of padding, too: who waits for nothing could be a layer ahead of those who read.
     */
    attention_heads<SIZE>(a, layer, l, p, i, item == p.turn, scratch, epoch);
    consumers_sync();
    if (last && head < heads)
        attention_own<SIZE>(scratch, heads, head, ATTENTION_WARPS, factor);
    attention_blocks<SIZE, Q4>(r, at, p, i, heads, factor, scratch);
    consumers_sync();
    attention_tell<SIZE>(a, i, item, scratch, last, epoch);
    if (i.parts == 1)
        gate_pass(a, DECODER_O, threadIdx.x / 32);
}

/* The block's items. */
template <int SIZE, bool Q4>
__device__ __forceinline__ void
attention_run(const decoder_arrays &a, const decoder_layer *layers, int l,
              attention_plan &p, const stream_ring &r, stream_place &at,
              unsigned char *scratch, unsigned epoch)
{
    int items = p.first[a.s.count], first = p.turn;
    if (first >= items)
        return;
    attention_item i = p.mine;
#pragma unroll 1
    for (int item = first; item < items; item += (int)gridDim.x) {
        consumers_sync(); /* the scratch is free */
        if (item != first)
            i = attention_find(p, a, item);
        attention_chunk<SIZE, Q4>(a, layers[l], l, p, i, item, r, at, scratch, epoch);
    }
    consumers_sync();
    if (l + 1 < a.layer_count)
        attention_ask<SIZE>(p, layers[l + 1]);
#pragma unroll 1
    for (int item = first; item < items; item += (int)gridDim.x) {
        if (item != first || first + (int)gridDim.x < items)
            i = attention_find(p, a, item);
        if (i.parts == 1)
            continue;
        attention_join<SIZE>(a, i, item, epoch);
        gate_pass(a, DECODER_O, threadIdx.x / 32);
    }
}

#endif
