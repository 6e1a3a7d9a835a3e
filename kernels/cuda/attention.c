/* SPDX-License-Identifier: Apache-2.0
 *
 * Which attention: tensor cores for bf16 with heads of 64 or 128, plain arithmetic for
 * the rest.
 */
#include <stdio.h>
#include "cuda.h"

static bool attention_fits(struct kernel_context *c, const struct kernel_attention *a)
{
    char why[96];
    if (a->size <= 256 && a->kv_heads > 0 && a->heads % a->kv_heads == 0 &&
        (int64_t)a->batch * a->heads <= 65535)
        return true;
    snprintf(why, sizeof why, "no kernel for batch %d, heads %d, kv_heads %d, size %d",
             a->batch, a->heads, a->kv_heads, a->size);
    cuda__fail(c, "attention", why);
    return false;
}

static bool tensor_cores(const struct kernel_attention *a)
{
    return a->type == KERNEL_BF16 && (a->size == 64 || a->size == 128);
}

/* Compute capability 9.0, whose tensor cores want code of their own. */
static bool hopper(const struct kernel_context *c, const struct kernel_attention *a)
{
    return c->capable == 90 && a->type == KERNEL_BF16 && a->size == 64;
}

static size_t delta_bytes(const struct kernel_attention *a)
{
    size_t bytes = (size_t)a->batch * (size_t)a->heads * (size_t)a->length * 4;
    return (bytes + 255) & ~(size_t)255;
}

void cuda__attention(struct kernel_context *c, const struct kernel_attention *a,
                     void *out, float *lse, const void *qkv)
{
    if (a->batch <= 0 || a->length <= 0 || !attention_fits(c, a))
        return;
    if (hopper(c, a))
        cuda__attention_hopper(c, a, out, lse, qkv);
    else if (tensor_cores(a))
        cuda__attention_bf16(c, a, out, lse, qkv);
    else
        cuda__attention_plain(c, a, out, lse, qkv);
}

void cuda__attention_back(struct kernel_context *c, const struct kernel_attention *a,
                          void *dqkv, const void *dout, const void *out,
                          const float *lse, const void *qkv, void *scratch)
{
    float *delta = scratch;
    if (a->batch <= 0 || a->length <= 0 || !attention_fits(c, a))
        return;
    if (hopper(c, a)) {
        cuda__attention_back_hopper(c, a, dqkv, dout, out, lse, qkv, scratch);
        return;
    }
    cuda__attention_delta(c, a, delta, dout, out);
    if (tensor_cores(a))
        cuda__attention_back_bf16(c, a, dqkv, dout, lse, qkv, delta,
                                  (char *)scratch + delta_bytes(a));
    else
        cuda__attention_back_plain(c, a, dqkv, dout, lse, qkv, delta);
}

size_t cuda__attention_scratch(struct kernel_context *c,
                               const struct kernel_attention *a)
{
    if (hopper(c, a))
        return cuda__attention_back_scratch_hopper(a);
    return delta_bytes(a) +
           (tensor_cores(a) ? cuda__attention_back_scratch_bf16(a) : 0);
}
