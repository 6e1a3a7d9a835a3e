/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums in two steps: blocks leave partial sums, then few threads add those in the order
 * of the blocks. The number of blocks depends on the shape alone, so the bits do, too.
 */
#include "device.cuh"

#define THREADS 256
#define COLUMNS 256 /* of a block of sum_rows: 32 lanes of 8 */
#define TILES 1024  /* blocks that sum_rows aims at */
#define BLOCKS 1024 /* most of a sum over everything */

__global__ void sum_partials_kernel(float *into, const float *partial, int rows,
                                    int64_t n, int64_t stride, bool accumulate)
{
    /* Eight threads a column read every eighth row: enough loads in flight. */
    __shared__ float sums[8][33];
    int64_t column = (int64_t)blockIdx.x * 32 + threadIdx.x;
    float sum = 0.0f;
    if (column < n)
        for (int row = threadIdx.y; row < rows; row += 8)
            sum += partial[(int64_t)row * stride + column];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || column >= n)
        return;
    for (int i = 1; i < 8; i++)
        sum += sums[i][threadIdx.x];
    into[column] = accumulate ? into[column] + sum : sum;
}

void cuda__sum_partials(struct kernel_context *c, float *into, const float *partial,
                        int rows, int64_t n, int64_t stride, bool accumulate)
{
    sum_partials_kernel<<<blocks_for(n, 32), dim3(32, 8), 0, c->stream>>>(
        into, partial, rows, n, stride, accumulate);
    cuda__launched(c, "sums of partial sums");
}

/* Eight warps take every eighth row of the block's range; a lane has 8 columns. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    sum_rows_kernel(float *partial, const T *x, int64_t m, int64_t n, int64_t rows,
                    bool wide)
{
    __shared__ float sums[8][COLUMNS];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int64_t column = (int64_t)blockIdx.x * COLUMNS + lane * 8;
    int64_t end = min((int64_t)(blockIdx.y + 1) * rows, m);
    float sum[8] = {};
    if (wide && column + 8 <= n) {
#pragma unroll 4
        for (int64_t row = blockIdx.y * rows + warp; row < end; row += 8) {
            float v[8];
            load8(v, x + row * n + column);
#pragma unroll
            for (int j = 0; j < 8; j++)
                sum[j] += v[j];
        }
    } else {
        for (int64_t row = blockIdx.y * rows + warp; row < end; row += 8)
#pragma unroll
            for (int j = 0; j < 8; j++)
                if (column + j < n)
                    sum[j] += to_f(x[row * n + column + j]);
    }
#pragma unroll
    for (int j = 0; j < 8; j++)
        sums[warp][lane * 8 + j] = sum[j];
    __syncthreads();
    column = (int64_t)blockIdx.x * COLUMNS + threadIdx.x;
    if (column >= n)
        return;
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; i++)
        total += sums[i][threadIdx.x];
    partial[blockIdx.y * n + column] = total;
}

void cuda__sum_rows(struct kernel_context *c, float *into, const void *x, int64_t m,
                    int64_t n, enum kernel_type type, bool accumulate)
{
    if (n <= 0)
        return;
    unsigned across = blocks_for(n, COLUMNS);
    /* As many ranges as fill the device, of 32 rows at least. */
    int64_t splits = min(max((int64_t)1, (int64_t)TILES / across), (m + 31) / 32);
    splits = max((int64_t)1, splits);
    bool direct = splits == 1 && !accumulate;
    int64_t rows = (m + splits - 1) / splits;
    float *partial = direct ? into : cuda__partials(c, (size_t)(splits * n) * 4);
    if (!partial)
        return;
    bool wide = aligned16(x) && n % 8 == 0;
    TYPED(type, (sum_rows_kernel<T>
                 <<<dim3(across, (unsigned)splits), THREADS, 0, c->stream>>>(
                     partial, (const T *)x, m, n, rows, wide)));
    cuda__launched(c, "sum_rows");
    if (!direct)
        cuda__sum_partials(c, into, partial, (int)splits, n, n, accumulate);
}

template <bool SQUARES>
__global__ void __launch_bounds__(THREADS)
    sum_kernel(float *partial, const float *x, int64_t n)
{
    int64_t quads = ((uintptr_t)x & 15) == 0 ? n / 4 : 0;
    float sum = 0.0f;
    int64_t step = (int64_t)gridDim.x * THREADS,
            i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
#pragma unroll 4
    for (int64_t q = i; q < quads; q += step) {
        float4 v = reinterpret_cast<const float4 *>(x)[q];
        if (SQUARES)
            sum += (v.x * v.x + v.y * v.y) + (v.z * v.z + v.w * v.w);
        else
            sum += (v.x + v.y) + (v.z + v.w);
    }
    for (int64_t q = quads * 4 + i; q < n; q += step)
        sum += SQUARES ? x[q] * x[q] : x[q];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(THREADS)
    sum_end_kernel(float *into, const float *partial, int count, bool accumulate)
{
    float sum = 0.0f;
    for (int i = threadIdx.x; i < count; i += THREADS)
        sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        *into = accumulate ? *into + sum : sum;
}

template <bool SQUARES>
static void sum_all(struct kernel_context *c, const char *what, float *into,
                    const float *x, int64_t n, bool accumulate)
{
    unsigned blocks = max(1u, min(blocks_for(n, THREADS * 16), (unsigned)BLOCKS));
    float *partial = cuda__partials(c, BLOCKS * sizeof(float));
    if (!partial)
        return;
    sum_kernel<SQUARES><<<blocks, THREADS, 0, c->stream>>>(partial, x, n);
    cuda__launched(c, what);
    sum_end_kernel<<<1, THREADS, 0, c->stream>>>(into, partial, (int)blocks,
                                                 accumulate);
    cuda__launched(c, what);
}

void cuda__sum_squares(struct kernel_context *c, float *into, const float *x, int64_t n,
                       bool accumulate)
{
    sum_all<true>(c, "sum_squares", into, x, n, accumulate);
}

void cuda__sum(struct kernel_context *c, float *into, const float *x, int64_t n)
{
    sum_all<false>(c, "sum", into, x, n, false);
}

__global__ void __launch_bounds__(THREADS)
    bits_kernel(unsigned long long *into, const unsigned *words, int64_t n)
{
    unsigned long long sum = 0;
    int64_t step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += step)
        sum += (i * 0x9E3779B97F4A7C15ull | 1) * words[i];
    atomicAdd(into, sum); /* of integers: any order gives the same */
}

uint64_t cuda__bits(struct kernel_context *c, const void *p, size_t bytes)
{
    unsigned long long sum = 0;
    void *into = cuda__partials(c, sizeof sum);
    cuda__zero(c, into, sizeof sum);
    bits_kernel<<<(unsigned)c->sms * 8, THREADS, 0, c->stream>>>(
        (unsigned long long *)into, (const unsigned *)p, (int64_t)(bytes / 4));
    cuda__launched(c, "matmul");
    cuda__download(c, &sum, into, sizeof sum);
    cuda__check(c, "matmul", cudaStreamSynchronize(c->stream));
    return sum;
}
