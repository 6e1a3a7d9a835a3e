/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of drawing tokens: a row's few candidates are sorted; where there are too
 * many, the cut is found digit by digit.
 */
#include "sample.cuh"

/* Ascending; power: of two, FINISH at most. All threads call it. */
__device__ __forceinline__ void sort_words(unsigned long long *words, int power)
{
    int i = (int)threadIdx.x;
    for (int size = 2; size <= power; size *= 2)
        for (int apart = size / 2; apart > 0; apart /= 2) {
            int other = i ^ apart;
            if (i < power && other > i) {
                unsigned long long x = words[i], y = words[other];
                if ((x > y) == ((i & size) == 0)) {
                    words[i] = y;
                    words[other] = x;
                }
            }
            __syncthreads();
        }
}

/* From the few candidates; the result is thread 0's. */
__device__ __forceinline__ row_draw finish_few(const sample_arrays &a, int row,
                                               const sample_row &r)
{
    __shared__ unsigned long long words[FINISH];
    const row_state *state = &a.rows[row];
    int i = (int)threadIdx.x, count = (int)state->wanted, power = 32, keep = count;
    while (power < count)
        power *= 2;
    words[i] = i < count ? state->candidates[i] : ~0ull;
    __syncthreads();
    sort_words(words, power);
    if (by_count(r))
        keep = min(keep, r.top_k);
    float logit = float_of(~(unsigned)(words[i] >> 32));
    int id = (int)(unsigned)words[i];
    if (r.top_p < 1.0f) {
        unsigned long long all = 0, mine = i < keep ? weight_of(r, logit) : 0;
        unsigned long long sum = block_before(0, mine).mass + mine;
        if (by_count(r))
            all = block_total(mine);
        else {
            for (int j = i; j < BINS; j += FINISH)
                all += state->mass[j];
            all = block_total(all);
        }
        /* The first one with which top_p is reached is the last one that stays. */
        bool before = !((double)(sum - mine) >= (double)r.top_p * (double)all);
        keep = min(keep, max(1, __syncthreads_count(i < keep && (i == 0 || before))));
    }
    row_draw mine = {0.0, -1};
    if (i < keep) {
        uint4 v = philox(a.s.seed[row], (uint64_t)id / 4, a.s.step[row]);
        mine = row_draw{key_of(log_of(r, logit), word_of(v, id % 4)), id};
    }
    return block_best<FINISH>(mine);
}

/* Those that stay: logits whose bits are larger, and the first `equal` ones of the same
 * bits. */
struct cut_at {
    unsigned bits, equal, equals; /* equals: how many there are with these bits */
    unsigned long long mass;
};

/* Where the goal is reached among logits for which `takes` says so, beyond what `at`
 * has counted before. */
template <typename F>
__device__ __forceinline__ cut_at cut_find(const sample_row &r, goal g, found_bin at,
                                           bool mass, histogram *h, F takes)
{
    auto masses = [&](int bin) { return mass_of(h, bin); };
    unsigned prefix = 0;
    const int shifts[3] = {21, 10, 0}, widths[3] = {11, 11, 10};
    for (int level = 0; level < 3; level++) {
        int shift = shifts[level], above = shift + widths[level];
        histogram_clear(h);
        logits_each<FINISH>(r, 0, r.vocab, [&](int i, float x) {
            unsigned bits = bits_of(x), digit = bits >> shift;
            if ((level == 0 || bits >> above == prefix) && takes(i, x))
                histogram_add(h, (int)(digit & ((1u << widths[level]) - 1)), r, x,
                              mass);
        });
        __syncthreads();
        at = bin_find<FINISH, true>(h->count, masses, g, at.count, at.mass);
        if (at.bin == BINS) /* all stay */
            return cut_at{0, 0xffffffffu, 0, 0};
        prefix = prefix << widths[level] | (unsigned)at.bin;
    }
    cut_at c = {prefix, 0, h->count[at.bin], at.mass};
    unsigned long long each = mass ? weight_of(r, float_of(prefix)) : 0;
    if (g.count != 0xffffffffu)
        c.equal = g.count - at.count;
    else {
        unsigned low = 1, high = c.equals;
        while (low < high) {
            unsigned middle = (low + high) / 2;
            if ((double)(at.mass + middle * each) >= g.mass)
                high = middle;
            else
                low = middle + 1;
        }
        c.equal = low;
    }
    c.mass += c.equal * each;
    return c;
}

/* The id of the last of the equal ones that stay. */
__device__ __forceinline__ int equal_last(const sample_row &r, const cut_at &c)
{
    __shared__ unsigned votes[FINISH / 32];
    __shared__ int last;
    unsigned seen = 0;
    for (int base = 0; base < r.vocab; base += FINISH) {
        int i = base + (int)threadIdx.x;
        bool equal =
            i < r.vocab && bits_of(r.logits[i]) == c.bits && stays(r, i, r.logits[i]);
        unsigned vote = __ballot_sync(0xffffffffu, equal);
        if (threadIdx.x % 32 == 0)
            votes[threadIdx.x / 32] = vote;
        unsigned here = (unsigned)__syncthreads_count(equal);
        if (seen + here >= c.equal) {
            if (threadIdx.x == 0) {
                unsigned left = c.equal - seen;
                int w = 0;
                for (; (unsigned)__popc(votes[w]) < left; w++)
                    left -= (unsigned)__popc(votes[w]);
                last = base + w * 32 + (int)__fns(votes[w], 0, (int)left);
            }
            __syncthreads();
            return last;
        }
        seen += here;
        __syncthreads();
    }
    return r.vocab;
}

/* What top_p leaves of what top_k left. */
__device__ __forceinline__ cut_at cut_more(const sample_row &r, const cut_at &c,
                                           histogram *h)
{
    auto takes = [&](int id, float x) {
        return bits_of(x) >= c.bits && stays(r, id, x);
    };
    unsigned long long all = c.mass;
    if (c.equal == 0xffffffffu) {
        logits_each<FINISH>(r, 0, r.vocab, [&](int id, float x) {
            if (stays(r, id, x))
                all += weight_of(r, x);
        });
        all = block_total(all);
    }
    goal g = {0xffffffffu, fmax((double)r.top_p * (double)all, 1.0)};
    cut_at more = cut_find(r, g, found_bin{0, 0, 0}, true, h, takes);
    return more.equal != 0xffffffffu ? more : c;
}

/* The result is thread 0's. */
__device__ __forceinline__ row_draw finish_many(const sample_arrays &a, int row,
                                                const sample_row &r, histogram *h)
{
    cut_at c = {0, 0xffffffffu, 0, 0};
    const found_bin none = {0, 0, 0};
    auto all = [&](int id, float x) { return stays(r, id, x); };
    if (by_count(r)) {
        c = cut_find(r, goal{(unsigned)r.top_k, INFINITY}, none, r.top_p < 1.0f, h,
                     all);
        if (r.top_p < 1.0f)
            c = cut_more(r, c, h);
    } else {
        row_cut at = cut_of<FINISH>(r, &a.rows[row]);
        c = cut_find(r, at.g, at.last, true, h, [&](int id, float x) {
            return bin_of(r, x) == at.last.bin && stays(r, id, x);
        });
    }
    int last = c.equal < c.equals ? equal_last(r, c) : r.vocab;
    row_draw mine = draw_range<FINISH>(a, row, r, 0, r.vocab, [&](int id, float x) {
        unsigned bits = bits_of(x);
        return stays(r, id, x) && (bits > c.bits || (bits == c.bits && id <= last));
    });
    return block_best<FINISH>(mine);
}

__global__ void __launch_bounds__(FINISH) finish_kernel(sample_arrays a)
{
    early_wait();
    __shared__ histogram h;
    int row = (int)blockIdx.x;
    sample_row r = row_again(a, row);
    const row_state *state = &a.rows[row];
    row_draw best = {0.0, -1};
    if (decided(r))
        best.id = r.bad ? -1 : r.first;
    else if (!cut(r)) {
        for (int i = 0; i < a.chunks; i++)
            if (better(state->draws[i], best))
                best = state->draws[i];
    } else if (state->wanted <= FINISH)
        best = finish_few(a, row, r);
    else
        best = finish_many(a, row, r, &h);
    if (threadIdx.x == 0)
        a.s.ids[row] = best.id;
}

void cuda__sample_finish(struct kernel_context *c, const sample_arrays &a)
{
    launch_early(c, finish_kernel, (unsigned)a.s.rows, FINISH, 0, a);
}
