/* SPDX-License-Identifier: Apache-2.0
 *
 * Drawing tokens: what sample.cu and sample_finish.cu share.
 *
 * All that decides is in double or in whole numbers, as kernels.h tells it: the same
 * token as any other device's, whatever the order.
 */
#ifndef KERNELS_CUDA_SAMPLE_CUH
#define KERNELS_CUDA_SAMPLE_CUH
#include "device.cuh"
#include <cfloat>

#define THREADS 256
#define CHUNKS 32   /* blocks of a row, at most */
#define LEAST 2048  /* logits of a block */
#define BINS 2048   /* of a count */
#define NOTHING 30.75f /* below the largest log(p): a weight of 0 */
#define FINISH 1024 /* threads of the block that ends a row, and candidates it sorts   \
                     */

struct row_part {
    float most; /* of what is allowed */
    int id, bad;
};

struct row_draw {
    double key;
    int id;
};

/* What the kernels leave each other of a row. */
struct row_state {
    row_part parts[CHUNKS];
    row_draw draws[CHUNKS];
    unsigned long long mass[BINS], candidates[FINISH];
    unsigned count[BINS];
    unsigned collected, wanted; /* candidates there, and as the counts say */
};

struct sample_arrays {
    struct kernel_sample s;
    row_state *rows;
    int chunks, length; /* of a row; logits of a chunk */
};

/* A row as all kernels see it. */
struct sample_row {
    const float *logits;
    const uint32_t *mask;
    int vocab, top_k;
    float temperature, top_p, most,
        least;      /* largest logit; smallest that min_p leaves */
    float per_bin;  /* bins, where p counts */
    bool bad, only; /* only: min_p leaves but the first of the largest */
    int first;
};

/* --- numbers --- */

/* Larger logits have larger bits; 0 is less than all of them. */
__device__ __forceinline__ unsigned bits_of(float x)
{
    unsigned u = __float_as_uint(x + 0.0f); /* -0 is 0 */
    return u >> 31 ? ~u : u | 0x80000000u;
}
__device__ __forceinline__ float float_of(unsigned bits)
{
    return __uint_as_float(bits >> 31 ? bits & 0x7fffffffu : ~bits);
}

__device__ __forceinline__ double log_of(const sample_row &r, float logit)
{
    return ((double)logit - (double)r.most) / (double)r.temperature;
}

__device__ __forceinline__ unsigned long long weight_of(const sample_row &r,
                                                        float logit)
{
    return (unsigned long long)(exp(log_of(r, logit)) * 0x1p44);
}

__device__ __forceinline__ double key_of(double log_p, unsigned word)
{
    return log_p - log(-log(((double)word + 0.5) * 0x1p-32));
}

__device__ __forceinline__ unsigned word_of(const uint4 &v, int i)
{
    return i < 2 ? (i == 0 ? v.x : v.y) : (i == 2 ? v.z : v.w);
}

__device__ __forceinline__ bool better(const row_draw &a, const row_draw &b)
{
    return a.id >= 0 && (b.id < 0 || a.key > b.key || (a.key == b.key && a.id < b.id));
}

/* The best of the block's threads, for thread 0. */
template <int N> __device__ __forceinline__ row_draw block_best(row_draw mine)
{
    __shared__ row_draw best[N / 32];
#pragma unroll
    for (int i = 16; i > 0; i >>= 1) {
        row_draw other = {__shfl_down_sync(0xffffffffu, mine.key, i),
                          __shfl_down_sync(0xffffffffu, mine.id, i)};
        if (better(other, mine))
            mine = other;
    }
    if (threadIdx.x % 32 == 0)
        best[threadIdx.x / 32] = mine;
    __syncthreads();
    if (threadIdx.x == 0)
        for (int i = 1; i < N / 32; i++)
            if (better(best[i], mine))
                mine = best[i];
    return mine;
}

/* --- rows --- */

__device__ __forceinline__ bool allowed(const sample_row &r, int id, float logit)
{
    return logit > -INFINITY && (!r.mask || (r.mask[id / 32] >> (id % 32) & 1));
}
/* One that min_p leaves. */
__device__ __forceinline__ bool stays(const sample_row &r, int id, float logit)
{
    return logit >= r.least && allowed(r, id, logit);
}

/* The smallest logit with log(p) >= log(min_p). */
__device__ __forceinline__ float least_logit(const sample_row &r, double least)
{
    if (!(least > -INFINITY))
        return -FLT_MAX;
    unsigned low = bits_of(-FLT_MAX), high = bits_of(r.most);
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (log_of(r, float_of(middle)) < least)
            low = middle + 1;
        else
            high = middle;
    }
    return float_of(low);
}

__device__ __forceinline__ sample_row row_begin(const sample_arrays &a, int row)
{
    const struct kernel_sample &s = a.s;
    int mask = s.mask && s.mask_row ? s.mask_row[row] : -1;
    sample_row r = {};
    r.logits = s.logits + row * s.stride;
    r.mask = mask >= 0 ? s.mask + mask * ((s.vocab + 31) / 32) : nullptr;
    r.vocab = (int)s.vocab;
    r.top_k = s.top_k[row];
    r.temperature = s.temperature[row];
    r.top_p = s.top_p[row];
    r.least = -INFINITY;
    return r;
}

/* f(id, logit) of logits begin to end, some on their way at once; behind the end it gets
 * -infinity. All N threads call it. */
template <int N, typename F>
__device__ __forceinline__ void logits_each(const sample_row &r, int begin, int end,
                                            F f)
{
    constexpr int U = 4;
    for (int i = begin + (int)threadIdx.x; i < end; i += U * N) {
        float x[U];
#pragma unroll
        for (int u = 0; u < U; u++)
            x[u] = i + u * N < end ? r.logits[i + u * N] : -INFINITY;
#pragma unroll
        for (int u = 0; u < U; u++)
            f(i + u * N, x[u]);
    }
}

__device__ __forceinline__ bool by_count(const sample_row &r)
{
    return r.top_k > 0 && r.top_k < r.vocab;
}

/* The same once its largest logit is known; all threads call it. */
__device__ __forceinline__ sample_row row_again(const sample_arrays &a, int row)
{
    __shared__ sample_row shared;
    if (threadIdx.x < 32) {
        int lane = (int)threadIdx.x;
        row_part part =
            lane < a.chunks ? a.rows[row].parts[lane] : row_part{0.0f, -1, 0};
        row_draw most = {(double)part.most, part.id};
#pragma unroll
        for (int i = 16; i > 0; i >>= 1) {
            row_draw other = {__shfl_xor_sync(0xffffffffu, most.key, i),
                              __shfl_xor_sync(0xffffffffu, most.id, i)};
            if (better(other, most))
                most = other;
        }
        int bad = __any_sync(0xffffffffu, part.bad);
        sample_row r = row_begin(a, row);
        r.bad = bad != 0;
        r.first = most.id;
        r.most = (float)most.key;
        double least = log((double)a.s.min_p[row]);
        r.only = least > 0.0;
        if (r.first >= 0 && !r.bad && r.temperature != 0.0f)
            r.least = least_logit(r, least);
        if (!by_count(r))
            r.per_bin = fminf((BINS - 1) / NOTHING / r.temperature, 1e30f);
        if (lane == 0)
            shared = r;
    }
    __syncthreads();
    return shared;
}

/* Rows that are done once the largest logit is known. */
__device__ __forceinline__ bool decided(const sample_row &r)
{
    return r.bad || r.first < 0 || r.temperature == 0.0f || r.only;
}
__device__ __forceinline__ bool cut(const sample_row &r)
{
    return by_count(r) || r.top_p < 1.0f;
}

/* How far below the largest: where p counts equal steps of log(p), but in the last bin
 * all whose weight is 0; else steps of 2^15 units in the last place, some 256 in each
 * power of two. */
__device__ __forceinline__ int bin_of(const sample_row &r, float logit)
{
    if (!by_count(r))
        return (int)fminf((r.most - logit) * r.per_bin, BINS - 1);
    return (int)min((bits_of(r.most) - bits_of(logit)) >> 15, (unsigned)BINS - 1);
}

/* --- counts --- */

/* The mass is kept in two halves: shared memory adds 32 bits at once, but not 64. */
struct histogram {
    unsigned count[BINS], low[BINS], high[BINS];
};

__device__ __forceinline__ unsigned long long mass_of(const histogram *h, int bin)
{
    return (unsigned long long)h->high[bin] << 32 | h->low[bin];
}

__device__ __forceinline__ void histogram_clear(histogram *h)
{
    for (int i = (int)threadIdx.x; i < BINS; i += (int)blockDim.x)
        h->count[i] = h->low[i] = h->high[i] = 0;
    __syncthreads();
}

__device__ __forceinline__ void
histogram_add(histogram *h, int bin, const sample_row &r, float logit, bool mass)
{
    atomicAdd(&h->count[bin], 1u);
    unsigned long long weight = mass ? weight_of(r, logit) : 0;
    unsigned low = (unsigned)weight, high = (unsigned)(weight >> 32);
    if (low)
        high += atomicAdd(&h->low[bin], low) > ~low; /* it runs over */
    if (high)
        atomicAdd(&h->high[bin], high);
}

/* What a walk over bins looks for: so many logits, or so much of their mass. */
struct goal {
    unsigned count;
    double mass;
};

__device__ __forceinline__ bool reached(const goal &g, unsigned count,
                                        unsigned long long mass)
{
    return count >= g.count || (double)mass >= g.mass;
}

struct found_bin {
    int bin;        /* BINS: the goal is not reached */
    unsigned count; /* of all bins before it */
    unsigned long long mass;
};

/* How many, and how much, the threads before this one have. All threads call it. */
struct before_sums {
    unsigned count;
    unsigned long long mass;
};

__device__ __forceinline__ before_sums block_before(unsigned count,
                                                    unsigned long long mass)
{
    __shared__ unsigned counts[32];
    __shared__ unsigned long long masses[32];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    before_sums sums = {count, mass};
#pragma unroll
    for (int i = 1; i < 32; i *= 2) {
        unsigned n = __shfl_up_sync(0xffffffffu, sums.count, i);
        unsigned long long m = __shfl_up_sync(0xffffffffu, sums.mass, i);
        if (lane >= i) {
            sums.count += n;
            sums.mass += m;
        }
    }
    if (lane == 31) {
        counts[warp] = sums.count;
        masses[warp] = sums.mass;
    }
    __syncthreads();
    for (int i = 0; i < warp; i++) {
        sums.count += counts[i];
        sums.mass += masses[i];
    }
    return before_sums{sums.count - count, sums.mass - mass};
}

/* The first bin, from 0 on or (DOWN) from the last one on, with which the goal is
 * reached, beyond what has been counted before. masses(bin) is a bin's. All N threads
 * call it. */
template <int N, bool DOWN, typename F>
__device__ __forceinline__ found_bin bin_find(const unsigned *counts, F masses, goal g,
                                              unsigned count, unsigned long long mass)
{
    constexpr int EACH = BINS / N;
    __shared__ found_bin found;
    auto place = [](int i) { return DOWN ? BINS - 1 - i : i; };
    unsigned n = 0;
    unsigned long long m = 0;
    for (int i = 0; i < EACH; i++) {
        n += counts[place((int)threadIdx.x * EACH + i)];
        m += masses(place((int)threadIdx.x * EACH + i));
    }
    if (threadIdx.x == 0)
        found.bin = BINS;
    before_sums before = block_before(n, m);
    count += before.count;
    mass += before.mass;
    /* Exactly one thread sees the goal reached within its bins. */
    if (!reached(g, count, mass))
        for (int i = 0; i < EACH; i++) {
            int bin = place((int)threadIdx.x * EACH + i);
            if (reached(g, count + counts[bin], mass + masses(bin))) {
                found = found_bin{bin, count, mass};
                break;
            }
            count += counts[bin];
            mass += masses(bin);
        }
    __syncthreads();
    found_bin result = found;
    __syncthreads();
    return result;
}

/* The sum over the block's threads, for all of them. */
__device__ __forceinline__ unsigned long long block_total(unsigned long long x)
{
    __shared__ unsigned long long sums[32];
#pragma unroll
    for (int i = 16; i > 0; i >>= 1)
        x += __shfl_xor_sync(0xffffffffu, x, i);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        sums[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0;
    for (int i = 0; i < (int)(blockDim.x / 32); i++)
        x += sums[i];
    return x;
}

/* What the counts say of a row that top_k or top_p cuts. */
struct row_cut {
    goal g;
    found_bin last; /* its bins up to this one hold all that stay */
};

template <int N>
__device__ __forceinline__ row_cut cut_of(const sample_row &r, const row_state *state)
{
    goal g = {(unsigned)r.top_k, INFINITY};
    if (!by_count(r)) {
        unsigned long long all = 0;
        for (int i = (int)threadIdx.x; i < BINS; i += N)
            all += state->mass[i];
        g = goal{0xffffffffu, (double)r.top_p * (double)block_total(all)};
        g.mass = fmax(g.mass, 1.0); /* one at least */
    }
    auto masses = [&](int bin) { return state->mass[bin]; };
    return row_cut{g, bin_find<N, false>(state->count, masses, g, 0, 0)};
}

/* --- draws --- */

/* The best draw among logits begin to end for which `takes` says so. All threads call
 * it. What a float says that cannot be better than what any of them has found is not
 * looked at in double: that is nearly all. */
template <int N, typename F>
__device__ __forceinline__ row_draw draw_range(const sample_arrays &a, int row,
                                               const sample_row &r, int begin, int end,
                                               F takes)
{
    __shared__ unsigned found; /* bits_of the best key */
    uint64_t seed = a.s.seed[row], step = a.s.step[row];
    row_draw best = {0.0, -1};
    __syncthreads();
    if (threadIdx.x == 0)
        found = bits_of(-INFINITY);
    __syncthreads();
    for (int i = begin + (int)threadIdx.x * 4; i < end; i += N * 4) {
        uint4 words;
        bool made = false;
        float floor = float_of(*(volatile unsigned *)&found);
        for (int e = 0; e < 4 && i + e < end; e++) {
            float x = r.logits[i + e];
            if (!takes(i + e, x))
                continue;
            if (!made)
                words = philox(seed, (uint64_t)i / 4, step);
            made = true;
            unsigned word = word_of(words, e);
            float near = (x - r.most) / r.temperature;
            float guess = near - __logf(-__logf(((float)word + 0.5f) * 0x1p-32f));
            /* Close to 1 a float does not tell u's apart. */
            if (word < 0xff000000u && guess < floor - 0.01f - 1e-5f * fabsf(near))
                continue;
            row_draw mine = {key_of(log_of(r, x), word), i + e};
            if (better(mine, best)) {
                best = mine;
                floor = fmaxf(floor, (float)mine.key);
                atomicMax(&found, bits_of((float)mine.key));
            }
        }
    }
    return best;
}

/* sample_finish.cu: one block a row, from what the others left. */
void cuda__sample_finish(struct kernel_context *c, const sample_arrays &a);

#endif
