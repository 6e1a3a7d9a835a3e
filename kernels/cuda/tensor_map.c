/* SPDX-License-Identifier: Apache-2.0 */
#include "tensor_map.h"
#include <cudaTypedefs.h>

/* The driver's function: this module links with the runtime alone. */
static PFN_cuTensorMapEncodeTiled_v12000 encoder(void)
{
    static void *function;
    enum cudaDriverEntryPointQueryResult found;
    if (!function &&
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                         cudaEnableDefault, &found))
        return NULL;
    return (PFN_cuTensorMapEncodeTiled_v12000)function;
}

bool cuda__tensor_map(CUtensorMap *ret, const struct tensor *t)
{
    const cuuint32_t steps[4] = {1, 1, 1, 1};
    PFN_cuTensorMapEncodeTiled_v12000 encode = encoder();
    return encode &&
           encode(ret, t->type, (cuuint32_t)t->dimensions, (void *)(uintptr_t)t->base,
                  t->sizes, t->strides, t->box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                  t->swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

static bool map_or_fail(struct kernel_context *c, CUtensorMap *ret,
                        const struct tensor *t)
{
    if (cuda__tensor_map(ret, t))
        return true;
    cuda__fail(c, "tensor map", "the driver makes none");
    return false;
}

bool cuda__tile_map(struct kernel_context *c, CUtensorMap *ret, const void *base,
                    int columns, int length, int sequences, int rows)
{
    const cuuint64_t row = (cuuint64_t)columns * 2;
    const struct tensor t = {
        CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        CU_TENSOR_MAP_SWIZZLE_128B,
        base,
        3,
        {(cuuint64_t)columns, (cuuint64_t)length, (cuuint64_t)sequences},
        {row, row * (cuuint64_t)length},
        {64, (cuuint32_t)rows, 1}};
    return map_or_fail(c, ret, &t);
}

bool cuda__block_map(struct kernel_context *c, CUtensorMap *ret, const void *base,
                     int bytes, int columns, int rows, int box_columns, int box_rows)
{
    const cuuint64_t words = (cuuint64_t)bytes / 8;
    const struct tensor t = {
        CU_TENSOR_MAP_DATA_TYPE_FLOAT64,
        CU_TENSOR_MAP_SWIZZLE_NONE,
        base,
        3,
        {words, (cuuint64_t)columns, (cuuint64_t)rows},
        {words * 8, words * 8 * (cuuint64_t)columns},
        {(cuuint32_t)words, (cuuint32_t)box_columns, (cuuint32_t)box_rows}};
    return map_or_fail(c, ret, &t);
}
