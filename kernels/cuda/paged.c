/* SPDX-License-Identifier: Apache-2.0
 *
 * Which attention over a paged cache: tensor cores for bf16 with heads of 64 or 128,
 * plain arithmetic for the rest.
 */
#include <stdio.h>
#include "cuda.h"

static bool paged_fits(struct kernel_context *c, const struct kernel_paged *a)
{
    char why[96];
    if (a->size > 0 && a->size <= 256 && a->kv_heads > 0 &&
        a->heads % a->kv_heads == 0 && a->heads <= 65535)
        return true;
    snprintf(why, sizeof why, "no kernel for heads %d, kv_heads %d, size %d", a->heads,
             a->kv_heads, a->size);
    cuda__fail(c, "paged_attention", why);
    return false;
}

static bool tensor_cores(const struct kernel_paged *a)
{
    return a->type == KERNEL_BF16 && (a->size == 64 || a->size == 128);
}

void cuda__paged_attention(struct kernel_context *c, const struct kernel_paged *a,
                           void *out, const void *q, void *scratch)
{
    const struct kernel_sequences *s = a->sequences;
    if (s->tokens <= 0 || s->count <= 0 || !paged_fits(c, a))
        return;
    if (!tensor_cores(a)) {
        cuda__paged_plain(c, a, out, q);
        return;
    }
    /* Numbers of the host are bounds: any sequence may have one new token alone. */
    cuda__paged_decode(c, a, out, q, scratch);
    if (s->most > 1 && (c->capable != 90 || a->size != 128 ||
                        !cuda__paged_prefill_hopper(c, a, out, q)))
        cuda__paged_prefill(c, a, out, q);
}

size_t cuda__paged_scratch(struct kernel_context *c, const struct kernel_paged *a)
{
    return tensor_cores(a) ? cuda__paged_decode_scratch(c, a) : 0;
}
