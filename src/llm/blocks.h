/* SPDX-License-Identifier: Apache-2.0
 *
 * Which block of the KV cache belongs to whom. A block holds KERNEL_BLOCK tokens; any
 * number of sequences may hold it. A full block can be learned by its content, so that
 * a later sequence that begins alike takes it over instead of computing it (prefix
 * cache). Learned blocks that nobody holds stay until their place is needed; the one
 * that was let go longest ago goes first.
 *
 * A block is known by the learned block before it and its own ids, all of them
 * compared: what is found has exactly the tokens that were asked for from the text's
 * start on, whatever the hash. Everything but create, destroy and forget takes constant
 * time.
 */
#ifndef RWF_LLM_BLOCKS_H
#define RWF_LLM_BLOCKS_H
#include <stdbool.h>
#include <stdint.h>
#include "kernels/kernels.h"

struct llm_blocks;

/* Stands for a text's prefix that ends with a learned block; never given twice. */
typedef uint64_t llm_prefix;
#define LLM_PREFIX_NONE UINT64_C(0) /* of the empty text */

struct llm_blocks *llm_blocks_create(int count);
void llm_blocks_destroy(struct llm_blocks *b);

/* How many blocks llm_blocks_take would give; all of them. */
int llm_blocks_available(const struct llm_blocks *b);
int llm_blocks_count(const struct llm_blocks *b);
/* A block for new content, held once; -1 when all are held. */
int32_t llm_blocks_take(struct llm_blocks *b);
/* Holds a block once more, be it held or only learned. */
void llm_blocks_hold(struct llm_blocks *b, int32_t block);
void llm_blocks_release(struct llm_blocks *b, int32_t block);
/* Nobody holds it: holding it makes one less available. */
bool llm_blocks_idle(const struct llm_blocks *b, int32_t block);

/* The block of these KERNEL_BLOCK ids after that prefix, or -1; ret_prefix is then the
 * prefix that ends with it. It is not held by that. */
int32_t llm_blocks_find(const struct llm_blocks *b, llm_prefix before,
                        const int32_t *ids, llm_prefix *ret_prefix);
/* From now on the block is found by its content. When another already is, that one
 * stays the one to be found; either way the prefix that ends with these ids. stamp: see
 * llm_blocks_stamp. */
llm_prefix llm_blocks_learn(struct llm_blocks *b, int32_t block, llm_prefix before,
                            const int32_t *ids, uint64_t stamp);
/* What the caller gave when the block was learned. */
uint64_t llm_blocks_stamp(const struct llm_blocks *b, int32_t block);
/* Nothing is found any more; who holds blocks goes on to. */
void llm_blocks_forget(struct llm_blocks *b);

#endif
