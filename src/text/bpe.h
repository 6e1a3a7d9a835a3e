/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte-level BPE of one word: its bytes' ids, then the merge of lowest rank, the
 * leftmost of equals, until there is none. Read-only once filled, so any number of
 * threads may use one; what changes is in struct bpe__scratch, which one thread has at
 * a time.
 */
#ifndef RWF_TEXT_BPE_H
#define RWF_TEXT_BPE_H
#include <stddef.h>
#include <stdint.h>
#include "base/map.h"
#include "text/tokenizer.h"

struct bpe;
struct bpe__scratch;

/* merges: at least as many as will be added. */
struct bpe *bpe__create(size_t merges);
void bpe__destroy(struct bpe *b);
/* The id of a byte; until then it has none, and is left out of words. */
void bpe__set_byte(struct bpe *b, uint8_t byte, int32_t id);
/* left and right become id; of two such with one pair the later counts. */
void bpe__add_merge(struct bpe *b, int32_t left, int32_t right, int32_t id,
                    int32_t rank);
/* Words that are tokens take their id whatever the merges say; ids: token to id + 1. */
void bpe__set_whole(struct bpe *b, const struct rwf_map *ids);

struct bpe__scratch *bpe__scratch_create(void);
void bpe__scratch_destroy(struct bpe__scratch *s);

/* Adds the ids of word[0..len) to out. behind: how many bytes after it may be read. */
void bpe__word(const struct bpe *b, struct bpe__scratch *s, const uint8_t *word,
               size_t len, size_t behind, struct tokenizer_ids *out);
/* The id of a byte alone, if it has one. */
void bpe__byte(const struct bpe *b, uint8_t byte, struct tokenizer_ids *out);

/* Makes room for more ids. */
void bpe__room(struct tokenizer_ids *out, size_t more);

#endif
