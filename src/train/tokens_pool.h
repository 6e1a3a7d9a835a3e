/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts become ids on several threads; they come out in their order.
 */
#ifndef RWF_TRAIN_TOKENS_POOL_H
#define RWF_TRAIN_TOKENS_POOL_H
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "text/tokenizer.h"

struct tokens_text {
    const char *text;
    size_t len;
};

struct tokens_pool;

/* Every text is followed by end. */
struct tokens_pool *tokens_pool_create(const struct tokenizer *t, int32_t end,
                                       int threads, struct rwf_err *err);
void tokens_pool_destroy(struct tokens_pool *p);
int tokens_pool_lanes(const struct tokens_pool *p);
/* Encodes all texts. The ids are those of lane 0, then of lane 1, …, until the next
 * call. */
void tokens_pool_encode(struct tokens_pool *p, const struct tokens_text *texts,
                        size_t count);
const struct tokenizer_ids *tokens_pool_ids(const struct tokens_pool *p, int lane);

#endif
