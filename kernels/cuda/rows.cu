/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of a table by number, and the sum of their gradients. Backward walks the
 * positions in the order of their ids, a chunk of them a block.
 */
#include "device.cuh"

#define THREADS 256
#define MOST_THREADS 256
#define CHUNK 32 /* positions */
#define AHEAD 4  /* rows on their way at once */

template <typename T>
__global__ void __launch_bounds__(THREADS)
    embed_kernel(struct kernel_rows r, T *out, const T *table, const T *positions,
                 int64_t length, bool wide)
{
    int64_t per_row = wide ? r.width / 8 : r.width;
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    early_next();
    early_wait();
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
    bool wide =
        r->width % 8 == 0 && aligned16(out) && aligned16(table) && aligned16(positions);
    int64_t threads = r->count * (wide ? r->width / 8 : r->width);
    if (threads <= 0)
        return;
    TYPED(r->type,
          launch_early(c, embed_kernel<T>, blocks_for(threads, THREADS), THREADS, 0, *r,
                       (T *)out, (const T *)table, (const T *)positions, length, wide));
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
    if (column + 8 <= width && ((uintptr_t)(row + column) & 15) == 0) {
        float old[8];
        load8(old, row + column);
#pragma unroll
        for (int j = 0; j < 8; j++)
            old[j] += v[j];
        store8(row + column, old);
        return;
    }
#pragma unroll
    for (int j = 0; j < 8; j++)
        if (column + j < width)
            row[column + j] += v[j];
}

__device__ __forceinline__ void put_part(float *row, const float v[8], int64_t column,
                                         int64_t width)
{
    if (column + 8 <= width && ((uintptr_t)(row + column) & 15) == 0) {
        store8(row + column, v);
        return;
    }
#pragma unroll
    for (int j = 0; j < 8; j++)
        if (column + j < width)
            row[column + j] = v[j];
}

/* Block i takes the CHUNK positions from i * CHUNK on in the order of ids. The sum of
 * an id that lies within goes into the table; what goes on before or after leaves a sum
 * in partial [blocks][2: first run, last run][width]. */
template <typename T>
__global__ void __launch_bounds__(MOST_THREADS)
    embed_chunk_kernel(struct kernel_rows r, float *dtable, float *partial, const T *d,
                       bool wide)
{
    __shared__ int32_t order[CHUNK], ids[CHUNK + 2]; /* ids: with the neighbours' */
    int64_t begin = (int64_t)blockIdx.x * CHUNK;
    int count = (int)min((int64_t)CHUNK, r.count - begin);
    for (int i = threadIdx.x; i < count + 2; i += blockDim.x) {
        int64_t at = begin + i - 1;
        bool there = at >= 0 && at < r.count;
        int32_t position = there ? r.order[at] : 0;
        ids[i] = there ? r.ids[position] : -1;
        if (i > 0 && i <= count)
            order[i - 1] = position;
    }
    __syncthreads();
    for (int64_t column = threadIdx.x * 8; column < r.width; column += blockDim.x * 8) {
        float sum[8] = {};
        int first = 0;
        for (int i = 0; i < count; i += AHEAD) {
            float v[AHEAD][8];
#pragma unroll
            for (int k = 0; k < AHEAD; k++)
                load_part(v[k], d + (int64_t)order[min(i + k, count - 1)] * r.width,
                          column, r.width, wide);
#pragma unroll
            for (int k = 0; k < AHEAD; k++) {
                if (i + k >= count)
                    break;
#pragma unroll
                for (int j = 0; j < 8; j++)
                    sum[j] += v[k][j];
                int id = ids[i + k + 1];
                if (i + k + 1 < count && ids[i + k + 2] == id)
                    continue;
                bool before = first == 0 && ids[0] == id, after = ids[i + k + 2] == id;
                if (before || after)
                    put_part(partial + ((int64_t)blockIdx.x * 2 + !before) * r.width,
                             sum, column, r.width);
                else
                    add_part(dtable + (int64_t)id * r.width, sum, column, r.width);
#pragma unroll
                for (int j = 0; j < 8; j++)
                    sum[j] = 0.0f;
                first = i + k + 1;
            }
        }
    }
}

/* The runs that begin in a chunk and end in another: the sum of their parts, in order.
 */
__global__ void __launch_bounds__(MOST_THREADS)
    embed_join_kernel(struct kernel_rows r, float *dtable, const float *partial,
                      int64_t chunks)
{
    int64_t end = (int64_t)(blockIdx.x + 1) * CHUNK;
    if (end >= r.count)
        return;
    int32_t id = r.ids[r.order[end - 1]];
    if (r.ids[r.order[end]] != id)
        return;
    /* It begins here unless the whole chunk and the one before are the same id. */
    int64_t begin = end - CHUNK;
    if (begin > 0 && r.ids[r.order[begin - 1]] == id)
        return;
    __shared__ int64_t last; /* chunk that begins with the id */
    if (threadIdx.x == 0) {
        int64_t at = blockIdx.x + 1, step = 1; /* by doubling, then by halving */
        for (; at + step < chunks && r.ids[r.order[(at + step) * CHUNK]] == id;
             step *= 2)
            at += step;
        for (; step; step /= 2)
            if (at + step < chunks && r.ids[r.order[(at + step) * CHUNK]] == id)
                at += step;
        last = at;
    }
    __syncthreads();
    for (int64_t column = threadIdx.x; column < r.width; column += blockDim.x) {
        float sum = partial[((int64_t)blockIdx.x * 2 + 1) * r.width + column];
#pragma unroll 8
        for (int64_t i = blockIdx.x + 1; i <= last; i++)
            sum += partial[i * 2 * r.width + column];
        dtable[(int64_t)id * r.width + column] += sum;
    }
}

/* dpositions[t] += the rows at t of all sequences. */
template <typename T>
__global__ void __launch_bounds__(32)
    positions_back_kernel(struct kernel_rows r, float *into, const T *d, int64_t length,
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

void cuda__embed_back(struct kernel_context *c, const struct kernel_rows *r,
                      float *dtable, float *dpositions, const void *d, int64_t length)
{
    bool wide = r->width % 8 == 0 && aligned16(d);
    if (r->count <= 0)
        return;
    if (r->count > 0x7fffffff || length > 65535) {
        cuda__fail(c, "embed_back", "more than 2^31 tokens or 65535 positions");
        return;
    }
    int64_t chunks = (r->count + CHUNK - 1) / CHUNK;
    int64_t threads = min((int64_t)MOST_THREADS, (r->width / 8 + 31) / 32 * 32 + 32);
    float *partial = cuda__partials(c, (size_t)(chunks * 2 * r->width) * 4);
    if (!partial)
        return;
    TYPED(r->type,
          (embed_chunk_kernel<T><<<(unsigned)chunks, (unsigned)threads, 0, c->stream>>>(
              *r, dtable, partial, (const T *)d, wide)));
    cuda__launched(c, "embed_back");
    embed_join_kernel<<<(unsigned)chunks, MOST_THREADS, 0, c->stream>>>(
        *r, dtable, partial, chunks);
    cuda__launched(c, "embed_back");
    if (!dpositions)
        return;
    dim3 grid(blocks_for(r->width, 256), (unsigned)length);
    TYPED(r->type, (positions_back_kernel<T><<<grid, 32, 0, c->stream>>>(
                       *r, dpositions, (const T *)d, length, wide)));
    cuda__launched(c, "embed_back of positions");
}
