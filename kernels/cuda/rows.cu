/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of a table by number, and the sum of their gradients. Backward walks the positions in
 * the order of their ids: the block at the first position of an id sums all of that id.
 */
#include "device.cuh"

#define WARPS 8
#define THREADS (WARPS * 32)

template <typename T>
__global__ void __launch_bounds__(THREADS)
    embed_kernel(struct kernel_rows r, T *out, const T *table, const T *positions,
                 int64_t length, bool wide)
{
    int64_t per_row = wide ? r.width / 8 : r.width;
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= r.count * per_row)
        return;
    int64_t row = i / per_row, at = i % per_row * (wide ? 8 : 1);
    const T *from = table + (int64_t)r.ids[row] * r.width + at;
    const T *position = positions + (positions ? row % length * r.width + at : 0);
    T *to = out + row * r.width + at;
    if (!wide) {
        from_f(*to, to_f(*from) + (positions ? to_f(*position) : 0.0f));
        return;
    }
    float v[8], p[8] = {};
    load8(v, from);
    if (positions)
        load8(p, position);
#pragma unroll
    for (int j = 0; j < 8; j++)
        v[j] += p[j];
    store8(to, v);
}

void cuda__embed(struct kernel_context *c, const struct kernel_rows *r, void *out,
                 const void *table, const void *positions, int64_t length)
{
    bool wide = r->width % 8 == 0 && aligned16(out) && aligned16(table) && aligned16(positions);
    int64_t threads = r->count * (wide ? r->width / 8 : r->width);
    if (threads <= 0)
        return;
    TYPED(r->type, (embed_kernel<T><<<blocks_for(threads, THREADS), THREADS, 0, c->stream>>>(
                       *r, (T *)out, (const T *)table, (const T *)positions, length, wide)));
    cuda__launched(c, "embed");
}

/* Up to 8 elements of a row from column on, beyond its end 0. */
template <typename T>
__device__ __forceinline__ void load_part(float v[8], const T *row, int64_t column,
                                          int64_t width, bool wide)
{
    if (wide && column + 8 <= width) {
        load8(v, row + column);
        return;
    }
#pragma unroll
    for (int j = 0; j < 8; j++)
        v[j] = column + j < width ? to_f(row[column + j]) : 0.0f;
}

__device__ __forceinline__ void add_part(float *row, const float v[8], int64_t column,
                                         int64_t width)
{
#pragma unroll
    for (int j = 0; j < 8; j++)
        if (column + j < width)
            row[column + j] += v[j];
}

/* Short runs: a warp has some of the columns and sums all rows. Long ones: all warps have the
 * same columns and every eighth row, and the first adds up. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    embed_back_kernel(struct kernel_rows r, float *dtable, const T *d, bool wide)
{
    __shared__ float sums[WARPS][256];
    __shared__ int64_t run;
    int64_t first = blockIdx.x;
    int id = r.ids[r.order[first]];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    if (first > 0 && r.ids[r.order[first - 1]] == id)
        return;
    if (threadIdx.x == 0) {
        /* The end of the run, by doubling and halving. */
        int64_t low = first, step = 1;
        while (low + step < r.count && r.ids[r.order[low + step]] == id) {
            low += step;
            step *= 2;
        }
        for (; step; step /= 2)
            if (low + step < r.count && r.ids[r.order[low + step]] == id)
                low += step;
        run = low + 1 - first;
    }
    __syncthreads();
    float *into = dtable + (int64_t)id * r.width;
    bool shared = run >= 2 * WARPS;
    for (int64_t base = shared ? 0 : warp * 256; base < r.width;
         base += shared ? 256 : WARPS * 256) {
        int64_t column = base + lane * 8;
        float sum[8] = {};
#pragma unroll 4
        for (int64_t i = shared ? warp : 0; i < run; i += shared ? WARPS : 1) {
            float v[8];
            load_part(v, d + (int64_t)r.order[first + i] * r.width, column, r.width, wide);
#pragma unroll
            for (int j = 0; j < 8; j++)
                sum[j] += v[j];
        }
        if (!shared) {
            add_part(into, sum, column, r.width);
            continue;
        }
#pragma unroll
        for (int j = 0; j < 8; j++)
            sums[warp][lane * 8 + j] = sum[j];
        __syncthreads();
        if (warp == 0) {
            for (int w = 1; w < WARPS; w++)
#pragma unroll
                for (int j = 0; j < 8; j++)
                    sum[j] += sums[w][lane * 8 + j];
            add_part(into, sum, column, r.width);
        }
        __syncthreads();
    }
}

/* dpositions[t] += the rows at t of all sequences. */
template <typename T>
__global__ void __launch_bounds__(32) positions_back_kernel(struct kernel_rows r, float *into,
                                                            const T *d, int64_t length,
                                                            bool wide)
{
    int64_t column = ((int64_t)blockIdx.x * 32 + threadIdx.x) * 8;
    float sum[8] = {};
    if (column >= r.width)
        return;
#pragma unroll 8
    for (int64_t row = blockIdx.y; row < r.count; row += length) {
        float v[8];
        load_part(v, d + row * r.width, column, r.width, wide);
#pragma unroll
        for (int j = 0; j < 8; j++)
            sum[j] += v[j];
    }
    add_part(into + (int64_t)blockIdx.y * r.width, sum, column, r.width);
}

void cuda__embed_back(struct kernel_context *c, const struct kernel_rows *r, float *dtable,
                      float *dpositions, const void *d, int64_t length)
{
    bool wide = r->width % 8 == 0 && aligned16(d);
    if (r->count <= 0)
        return;
    if (r->count > 0x7fffffff || length > 65535) {
        cuda__fail(c, "embed_back", "more than 2^31 tokens or 65535 positions");
        return;
    }
    TYPED(r->type, (embed_back_kernel<T><<<(unsigned)r->count, THREADS, 0, c->stream>>>(
                       *r, dtable, (const T *)d, wide)));
    cuda__launched(c, "embed_back");
    if (!dpositions)
        return;
    dim3 grid(blocks_for(r->width, 256), (unsigned)length);
    TYPED(r->type, (positions_back_kernel<T><<<grid, 32, 0, c->stream>>>(
                       *r, dpositions, (const T *)d, length, wide)));
    cuda__launched(c, "embed_back of positions");
}
