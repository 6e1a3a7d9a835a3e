/* SPDX-License-Identifier: Apache-2.0
 *
 * Arrays as the copy engine of compute capability 9.0 knows them.
 */
#ifndef KERNELS_CUDA_TENSOR_MAP_H
#define KERNELS_CUDA_TENSOR_MAP_H
#include <cuda.h>
#include "cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a map is made of; the first dimension is the one without a stride. */
struct tensor {
    CUtensorMapDataType type;
    CUtensorMapSwizzle swizzle;
    const void *base;
    int dimensions;
    cuuint64_t sizes[4];
    cuuint64_t strides[3]; /* bytes */
    cuuint32_t box[4];
};

/* What is beyond the end comes as zeros; false when the driver makes none. */
bool cuda__tensor_map(CUtensorMap *ret, const struct tensor *t);
/* [sequences, length, columns] of bf16 for fetch_tile, which gets `rows` rows; false
 * and a failure kept when the driver does not take it. */
bool cuda__tile_map(struct kernel_context *c, CUtensorMap *ret, const void *base,
                    int columns, int length, int sequences, int rows);
/* [rows, columns] of blocks of that many bytes, a multiple of 16 up to 2048, for
 * fetch_tile, which gets a box of them. */
bool cuda__block_map(struct kernel_context *c, CUtensorMap *ret, const void *base,
                     int bytes, int columns, int rows, int box_columns, int box_rows);

#ifdef __cplusplus
}
#endif
#endif
