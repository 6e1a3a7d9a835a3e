/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of the reference.
 */
#include "kernels/cpu/reference.h"
#include "kernels/cpu/host.h"
#include <pthread.h>

static struct kernels table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static struct kernel_context *open_reference(const struct kernel_options *o,
                                             char *error, size_t size)
{
    return cpu__host_open(o, "reference", error, size);
}

static void fill(void)
{
    cpu__host_fill(&table);
    table.open = open_reference;
    table.matmul = reference__matmul;
    table.sum_rows = reference__sum_rows;
    table.activate = reference__activate_all;
    table.activate_back = reference__activate_back;
    table.swiglu = reference__swiglu;
    table.swiglu_back = reference__swiglu_back;
    table.dropout = reference__dropout;
    table.add = reference__add;
    table.scale = reference__scale;
    table.to_float = reference__to_float;
    table.from_float = reference__from_float;
    table.norm = reference__norm;
    table.norm_back = reference__norm_back;
    table.norm_scratch = reference__norm_scratch;
    table.embed = reference__embed;
    table.embed_back = reference__embed_back;
    table.rope = reference__rope;
    table.rope_back = reference__rope_back;
    table.rope_scratch = reference__rope_scratch;
    table.attention = reference__attention;
    table.attention_back = reference__attention_back;
    table.attention_scratch = reference__attention_scratch;
    table.cross_entropy = reference__cross_entropy;
    table.squared_error = reference__squared_error;
    table.update = reference__update;
    table.sum_squares = reference__sum_squares;
    table.sum = reference__sum;
    table.clip = reference__clip;
    table.rope_paged = reference__rope_paged;
    table.paged_attention = reference__paged_attention;
    table.paged_scratch = reference__paged_scratch;
    table.q4_bytes = reference__q4_bytes;
    table.q4_pack = reference__q4_pack;
    table.q4_matmul = reference__q4_matmul;
    table.q4_scratch = reference__q4_scratch;
    table.edit = reference__edit;
    table.sample = reference__sample;
    table.sample_scratch = reference__sample_scratch;
}

const struct kernels *kernels_reference(void)
{
    pthread_once(&once, fill);
    return &table;
}
