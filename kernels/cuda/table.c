/* SPDX-License-Identifier: Apache-2.0
 *
 * The one symbol that raywf-cuda.so exports: the table of kernels.h.
 */
#include "cuda.h"

static const struct kernels table = {
    .version = KERNELS_VERSION,
    .name = "cuda",
    .open = cuda__open,
    .close = cuda__close,
    .info = cuda__info,
    .alloc = cuda__alloc,
    .free = cuda__free,
    .alloc_host = cuda__alloc_host,
    .free_host = cuda__free_host,
    .upload = cuda__upload,
    .download = cuda__download,
    .copy = cuda__copy,
    .zero = cuda__zero,
    .sync = cuda__sync,
    .mark = cuda__mark,
    .wait = cuda__wait,
    .side_download = cuda__side_download,
    .side_wait = cuda__side_wait,
    .matmul = cuda__matmul,
    .sum_rows = cuda__sum_rows,
    .activate = cuda__activate,
    .activate_back = cuda__activate_back,
    .swiglu = cuda__swiglu,
    .swiglu_back = cuda__swiglu_back,
    .dropout = cuda__dropout,
    .add = cuda__add,
    .scale = cuda__scale,
    .to_float = cuda__to_float,
    .from_float = cuda__from_float,
    .norm = cuda__norm,
    .norm_back = cuda__norm_back,
    .norm_scratch = cuda__norm_scratch,
    .embed = cuda__embed,
    .embed_back = cuda__embed_back,
    .rope = cuda__rope,
    .rope_back = cuda__rope_back,
    .rope_scratch = cuda__rope_scratch,
    .attention = cuda__attention,
    .attention_back = cuda__attention_back,
    .attention_scratch = cuda__attention_scratch,
    .cross_entropy = cuda__cross_entropy,
    .squared_error = cuda__squared_error,
    .update = cuda__update,
    .sum_squares = cuda__sum_squares,
    .sum = cuda__sum,
    .clip = cuda__clip,
    .comm_id = cuda__comm_id,
    .comm_open = cuda__comm_open,
    .comm_close = cuda__comm_close,
    .comm_sum = cuda__comm_sum,
    .comm_scatter = cuda__comm_scatter,
    .comm_gather = cuda__comm_gather,
    .comm_broadcast = cuda__comm_broadcast,
    .comm_wait = cuda__comm_wait,
    .comm_check = cuda__comm_check,
};

__attribute__((visibility("default"))) const struct kernels *raywf_kernels(void);

const struct kernels *raywf_kernels(void)
{
    return &table;
}
