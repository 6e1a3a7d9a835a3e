/* SPDX-License-Identifier: Apache-2.0
 *
 * Learning merges from counted words, as the BpeTrainer of Hugging Face tokenizers
 * does.
 */
#ifndef RWF_TEXT_LEARN_H
#define RWF_TEXT_LEARN_H
#include <stddef.h>
#include <stdint.h>
#include "base/map.h"

struct learn_word {
    size_t start; /* of its symbols */
    size_t len;   /* how many */
    uint64_t count;
};

/* Words and the vocabulary before, and both after. */
struct learn {
    int32_t *symbols; /* of all words */
    struct learn_word *words;
    size_t word_count;
    int32_t vocab_size;
    uint64_t min_frequency;
    struct rwf_map *ids; /* token to id + 1, the id being the place in the map */
    struct learn_merge {
        int32_t left, right; /* left < 0: a later merge of the same pair counts */
    } *merges;
    size_t merge_count, merge_cap;
};

void learn__run(struct learn *l);

#endif
