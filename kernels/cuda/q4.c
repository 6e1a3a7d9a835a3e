/* SPDX-License-Identifier: Apache-2.0
 *
 * Weights of 4 bits: which product, and packing them from the host's memory.
 */
#include <stdio.h>
#include "cuda.h"
#include "kernels/q4_check.h"

/* Rows up to which the weights are not made bf16 first. */
static int64_t few_rows(const struct kernel_context *c)
{
    return c->capable == 90 ? 320 : 32;
}

size_t cuda__q4_bytes(struct kernel_context *c, const struct kernel_q4 *w)
{
    size_t tiles = (size_t)(w->n / 16) * (size_t)((w->k + 63) / 64) * 512;
    (void)c;
    return tiles + (size_t)w->n * (size_t)(w->k / w->group) * 4;
}

/* Scratch to pack in, which the next matrix uses again. Too little memory is an answer.
 */
static char *pack_room(struct kernel_context *c, size_t bytes)
{
    if (bytes > c->room_size) {
        cuda__free(c, c->room);
        c->room = cuda__alloc(c, bytes);
        c->room_size = c->room ? bytes : 0;
    }
    return c->room;
}

int cuda__q4_pack(struct kernel_context *c, const struct kernel_q4 *w, void *packed,
                  const struct kernel_q4_source *from, char *error, size_t size)
{
    if (kernel_q4_check(w, from, error, size) < 0)
        return -1;
    size_t weights = (size_t)(w->k * from->n / 2);
    size_t zeros = (size_t)(w->k / w->group * from->n / 2), scales = zeros * 4;
    size_t zeros_at = (weights + 15) & ~(size_t)15;
    size_t scales_at = zeros_at + ((zeros + 15) & ~(size_t)15);
    char *room = pack_room(c, scales_at + scales);
    if (!room) {
        snprintf(error, size, "GPU %d: no %zu bytes left to pack weights in", c->device,
                 scales_at + scales);
        return -1;
    }
    struct kernel_q4_source there = *from;
    there.weights = room;
    there.zeros = room + zeros_at;
    there.scales = room + scales_at;
    cuda__upload(c, room, from->weights, weights);
    cuda__upload(c, room + zeros_at, from->zeros, zeros);
    cuda__upload(c, room + scales_at, from->scales, scales);
    cuda__q4_repack(c, w, packed, &there);
    return cuda__sync(c, error, size);
}

void cuda__q4_packed(struct kernel_context *c)
{
    cuda__free(c, c->room);
    c->room = NULL;
    c->room_size = 0;
}

void cuda__q4_matmul(struct kernel_context *c, const struct kernel_q4 *w,
                     const void *packed, void *out, const void *x, int64_t m,
                     enum kernel_type type, enum kernel_type c_type, void *scratch)
{
    if (m <= 0)
        return;
    if (type != KERNEL_BF16) {
        cuda__q4_plain(c, w, packed, out, x, m, c_type);
        return;
    }
    if (m <= few_rows(c)) {
        if (c->capable == 90 && aligned16(x))
            cuda__q4_hopper(c, w, packed, out, x, m, c_type);
        else
            cuda__q4_small(c, w, packed, out, x, m, c_type);
        return;
    }
    struct kernel_matmul product = {.m = m,
                                    .n = w->n,
                                    .k = w->k,
                                    .tb = true,
                                    .a = x,
                                    .b = scratch,
                                    .c = out,
                                    .type = type,
                                    .c_type = c_type,
                                    .alpha = 1};
    cuda__q4_unpack(c, w, scratch, packed);
    cuda__matmul(c, &product);
}

size_t cuda__q4_scratch(struct kernel_context *c, const struct kernel_q4 *w, int64_t m)
{
    return m > few_rows(c) ? (size_t)(w->n * w->k) * 2 : 0;
}
