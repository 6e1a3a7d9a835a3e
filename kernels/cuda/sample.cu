/* SPDX-License-Identifier: Apache-2.0
 *
 * Drawing a token of each row of logits, without sorting the row. Many blocks look over
 * a row three times: for the largest logit; to count logits (and to sum up their p) by
 * how far below it they are; to collect those that the counts leave as candidates, a
 * few, which one block sorts. Where too many are left that block finds the cut digit by
 * digit of the logits' bits. Rows that no top_k or top_p cuts are drawn from at once.
 */
#include "sample.cuh"

/* --- the largest logit --- */

__global__ void __launch_bounds__(THREADS) most_kernel(sample_arrays a)
{
    early_next();
    int row = (int)blockIdx.y;
    sample_row r = row_begin(a, row);
    row_state *state = &a.rows[row];
    int begin = (int)blockIdx.x * a.length, end = min(begin + a.length, r.vocab);
    row_draw mine = {0.0, -1};
    int bad = 0;
    logits_each<THREADS>(r, begin, end, [&](int i, float x) {
        bad |= !(x < INFINITY);
        if (allowed(r, i, x) && (mine.id < 0 || x > mine.key))
            mine = row_draw{(double)x, i};
    });
    for (int i = (int)(blockIdx.x * THREADS + threadIdx.x); i < BINS;
         i += (int)gridDim.x * THREADS) {
        state->count[i] = 0;
        state->mass[i] = 0;
    }
    bad = __syncthreads_or(bad);
    mine = block_best<THREADS>(mine);
    if (threadIdx.x)
        return;
    state->parts[blockIdx.x] = row_part{(float)mine.key, mine.id, bad};
    if (blockIdx.x == 0)
        state->collected = state->wanted = 0;
}

/* --- counts and candidates --- */

__global__ void __launch_bounds__(THREADS) count_kernel(sample_arrays a)
{
    early_next();
    early_wait();
    __shared__ histogram h;
    int row = (int)blockIdx.y;
    sample_row r = row_again(a, row);
    if (decided(r) || !cut(r))
        return;
    row_state *state = &a.rows[row];
    int begin = (int)blockIdx.x * a.length, end = min(begin + a.length, r.vocab);
    bool mass = !by_count(r);
    unsigned rest = 0; /* of the last bin, which many meet in; where p counts, none */
    histogram_clear(&h);
    logits_each<THREADS>(r, begin, end, [&](int i, float x) {
        int bin = bin_of(r, x);
        if (!stays(r, i, x))
            return;
        if (bin < BINS - 1)
            histogram_add(&h, bin, r, x, mass);
        else
            rest += !mass;
    });
    if (rest)
        atomicAdd(&h.count[BINS - 1], rest);
    __syncthreads();
    for (int i = (int)threadIdx.x; i < BINS; i += THREADS) {
        if (h.count[i])
            atomicAdd(&state->count[i], h.count[i]);
        if (mass_of(&h, i))
            atomicAdd(&state->mass[i], mass_of(&h, i));
    }
}

__global__ void __launch_bounds__(THREADS) collect_kernel(sample_arrays a)
{
    early_next();
    early_wait();
    int row = (int)blockIdx.y;
    sample_row r = row_again(a, row);
    if (decided(r))
        return;
    row_state *state = &a.rows[row];
    int begin = (int)blockIdx.x * a.length, end = min(begin + a.length, r.vocab);
    if (!cut(r)) {
        row_draw mine = draw_range<THREADS>(
            a, row, r, begin, end, [&](int id, float x) { return stays(r, id, x); });
        mine = block_best<THREADS>(mine);
        if (threadIdx.x == 0)
            state->draws[blockIdx.x] = mine;
        return;
    }
    found_bin last = cut_of<THREADS>(r, state).last;
    unsigned wanted = last.count + (last.bin < BINS ? state->count[last.bin] : 0);
    if (last.bin == BINS) {
        unsigned long long all = 0;
        for (int i = (int)threadIdx.x; i < BINS; i += THREADS)
            all += state->count[i];
        wanted = (unsigned)block_total(all);
    }
    if (blockIdx.x == 0 && threadIdx.x == 0)
        state->wanted = wanted;
    if (wanted > FINISH)
        return;
    logits_each<THREADS>(r, begin, end, [&](int i, float x) {
        if (stays(r, i, x) && bin_of(r, x) <= last.bin)
            state->candidates[atomicAdd(&state->collected, 1u)] =
                (unsigned long long)~bits_of(x) << 32 | (unsigned)i;
    });
}

size_t cuda__sample_scratch(struct kernel_context *c, int rows, int64_t vocab)
{
    (void)c;
    (void)vocab;
    return (size_t)rows * sizeof(row_state);
}

void cuda__sample(struct kernel_context *c, const struct kernel_sample *s,
                  void *scratch)
{
    sample_arrays a = {*s, (row_state *)scratch, 0, 0};
    if (s->rows <= 0)
        return;
    if (s->vocab <= 0 || s->vocab > 1 << 20 || s->rows > 65535) {
        cuda__fail(c, "sample", "no kernel for that many rows or tokens");
        return;
    }
    int64_t wanted = (4 * c->sms + s->rows - 1) / s->rows;
    int64_t most = (s->vocab + LEAST - 1) / LEAST;
    a.chunks = (int)(wanted < most ? wanted : most);
    a.chunks = a.chunks > CHUNKS ? CHUNKS : a.chunks < 1 ? 1 : a.chunks;
    a.length = (int)(((s->vocab + a.chunks - 1) / a.chunks + 3) / 4 * 4);
    dim3 grid((unsigned)a.chunks, (unsigned)s->rows);
    most_kernel<<<grid, THREADS, 0, c->stream>>>(a);
    if (!s->greedy) {
        launch_early(c, count_kernel, grid, THREADS, 0, a);
        launch_early(c, collect_kernel, grid, THREADS, 0, a);
    }
    cuda__sample_finish(c, a);
    cuda__launched(c, "sample");
}

/* --- edits --- */

__global__ void __launch_bounds__(THREADS)
    edit_kernel(float *logits, int64_t stride, const struct kernel_edit *edits,
                int64_t count)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count)
        return;
    struct kernel_edit e = edits[i];
    float *x = logits + e.row * stride + e.id;
    *x =
        __fadd_rn(*x > 0.0f ? __fdiv_rn(*x, e.repeat) : __fmul_rn(*x, e.repeat), e.add);
}

void cuda__edit(struct kernel_context *c, float *logits, int64_t stride,
                const struct kernel_edit *edits, int64_t count)
{
    if (count <= 0)
        return;
    edit_kernel<<<blocks_for(count, THREADS), THREADS, 0, c->stream>>>(logits, stride,
                                                                       edits, count);
    cuda__launched(c, "edit");
}
