/* SPDX-License-Identifier: Apache-2.0
 *
 * Merges are found by a hash of the pair. A short word is an array that is searched for
 * the lowest rank again and again; a long one a linked list with a heap of candidates,
 * of which those that no longer hold are dropped when they come up. Short words that
 * were seen are in a cache of one line each, where a newcomer takes the place of what
 * was there.
 */
#include "config.h"
#include "text/bpe.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "text/unicode.h"

#define SHORT_WORD 48
#define CACHE_LINES 32768
#define CACHED_BYTES 24
#define CACHED_IDS 9
#define NO_RANK INT32_MAX

struct merge {
    uint64_t pair; /* left << 32 | right; EMPTY */
    int32_t rank, id;
};
#define EMPTY UINT64_MAX

struct bpe {
    int32_t bytes[256];
    struct merge *merges; /* open addressing, at most half full */
    size_t mask;
    const struct rwf_map *whole;
};

struct line {
    uint64_t word[CACHED_BYTES / 8]; /* padded with zeros */
    uint8_t len, count;              /* len 0: empty */
    uint16_t unused;
    int32_t ids[CACHED_IDS];
};
_Static_assert(sizeof(struct line) == 64, "a line of the cache");

struct candidate {
    int32_t rank;
    uint32_t at; /* index of the left symbol */
    int32_t left, right;
};

struct symbol {
    int32_t id;
    uint32_t prev, next; /* indices; NONE */
};
#define NONE UINT32_MAX

struct bpe__scratch {
    struct line *lines;
    struct symbol *symbols;
    struct candidate *heap;
    size_t symbol_cap, heap_cap, heap_count;
};

static inline uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0x9E3779B97F4A7C15);
    return x ^ x >> 29;
}

struct bpe *bpe__create(size_t merges)
{
    struct bpe *b = rwf_xcalloc(1, sizeof(*b));
    size_t slots = 16;

    while (slots < 2 * merges)
        slots *= 2;
    b->merges = rwf_xmalloc(slots * sizeof(*b->merges));
    for (size_t i = 0; i < slots; i++)
        b->merges[i].pair = EMPTY;
    b->mask = slots - 1;
    for (size_t i = 0; i < RWF_COUNT(b->bytes); i++)
        b->bytes[i] = -1;
    return b;
}

void bpe__destroy(struct bpe *b)
{
    if (!b)
        return;
    free(b->merges);
    free(b);
}

void bpe__set_byte(struct bpe *b, uint8_t byte, int32_t id)
{
    b->bytes[byte] = id;
}

void bpe__set_whole(struct bpe *b, const struct rwf_map *ids)
{
    b->whole = ids;
}

static inline uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* The slot of the pair, or the empty one where it would be. */
static inline struct merge *find(const struct bpe *b, int32_t left, int32_t right)
{
    uint64_t pair = pair_of(left, right);
    size_t i = mix(pair) & b->mask;

    while (b->merges[i].pair != pair && b->merges[i].pair != EMPTY)
        i = (i + 1) & b->mask;
    return &b->merges[i];
}

void bpe__add_merge(struct bpe *b, int32_t left, int32_t right, int32_t id,
                    int32_t rank)
{
    struct merge *m = find(b, left, right);

    m->pair = pair_of(left, right);
    m->rank = rank;
    m->id = id;
}

void bpe__room(struct tokenizer_ids *out, size_t more)
{
    if (out->cap - out->count >= more)
        return;
    while (out->cap - out->count < more)
        out->cap = out->cap < 64 ? 64 : out->cap * 2;
    out->ids = rwf_xrealloc(out->ids, out->cap * sizeof(*out->ids));
}

struct bpe__scratch *bpe__scratch_create(void)
{
    struct bpe__scratch *s = rwf_xcalloc(1, sizeof(*s));

    s->lines = aligned_alloc(64, CACHE_LINES * sizeof(struct line));
    if (!s->lines)
        rwf_out_of_memory(CACHE_LINES * sizeof(struct line));
    memset(s->lines, 0, CACHE_LINES * sizeof(struct line));
    return s;
}

void bpe__scratch_destroy(struct bpe__scratch *s)
{
    if (!s)
        return;
    free(s->lines);
    free(s->symbols);
    free(s->heap);
    free(s);
}

/* --- short words --- */

static inline int32_t rank_of(const struct bpe *b, int32_t left, int32_t right,
                              int32_t *ret_id)
{
    const struct merge *m = find(b, left, right);

    *ret_id = m->id;
    return m->pair == EMPTY ? NO_RANK : m->rank;
}

/* Merges ids[0..count) in place; returns how many are left. */
static size_t merge_short(const struct bpe *b, int32_t *ids, size_t count)
{
    int32_t ranks[SHORT_WORD], made[SHORT_WORD];

    for (size_t i = 0; i + 1 < count; i++)
        ranks[i] = rank_of(b, ids[i], ids[i + 1], &made[i]);
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == NO_RANK)
            break;
        ids[best] = made[best];
        count--;
        for (size_t i = best + 1; i < count; i++)
            ids[i] = ids[i + 1];
        for (size_t i = best + 1; i + 1 < count; i++) {
            ranks[i] = ranks[i + 1];
            made[i] = made[i + 1];
        }
        if (best > 0)
            ranks[best - 1] = rank_of(b, ids[best - 1], ids[best], &made[best - 1]);
        if (best + 1 < count)
            ranks[best] = rank_of(b, ids[best], ids[best + 1], &made[best]);
    }
    return count;
}

/* --- long words --- */

static inline bool before(const struct candidate *x, const struct candidate *y)
{
    return x->rank != y->rank ? x->rank < y->rank : x->at < y->at;
}

static void heap_push(const struct bpe *b, struct bpe__scratch *s, uint32_t at)
{
    const struct symbol *left = &s->symbols[at];
    int32_t right = s->symbols[left->next].id, id;
    struct candidate c = {rank_of(b, left->id, right, &id), at, left->id, right};

    if (c.rank == NO_RANK)
        return;
    s->heap = rwf_grow(s->heap, s->heap_count, &s->heap_cap, sizeof(*s->heap));
    size_t i = s->heap_count++;
    for (; i > 0 && before(&c, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = c;
}

static struct candidate heap_pop(struct bpe__scratch *s)
{
    struct candidate top = s->heap[0], last = s->heap[--s->heap_count];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < s->heap_count) {
        if (child + 1 < s->heap_count && before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!before(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

static void merge_at(const struct bpe *b, struct bpe__scratch *s,
                     const struct candidate *c)
{
    struct symbol *left = &s->symbols[c->at];

    if (left->id != c->left || left->next == NONE ||
        s->symbols[left->next].id != c->right)
        return; /* it was merged with something else meanwhile */
    struct symbol *right = &s->symbols[left->next];
    left->id = find(b, c->left, c->right)->id;
    left->next = right->next;
    right->id = -1;
    if (left->next != NONE) {
        s->symbols[left->next].prev = c->at;
        heap_push(b, s, c->at);
    }
    if (left->prev != NONE)
        heap_push(b, s, left->prev);
}

static size_t merge_long(const struct bpe *b, struct bpe__scratch *s, int32_t *ids,
                         size_t count)
{
    size_t kept = 0;

    rwf_assert(count < NONE);
    if (s->symbol_cap < count) {
        s->symbols = rwf_xrealloc(s->symbols, count * sizeof(*s->symbols));
        s->symbol_cap = count;
    }
    for (size_t i = 0; i < count; i++) {
        s->symbols[i].id = ids[i];
        s->symbols[i].prev = i ? (uint32_t)i - 1 : NONE;
        s->symbols[i].next = i + 1 < count ? (uint32_t)i + 1 : NONE;
    }
    s->heap_count = 0;
    for (size_t i = 0; i + 1 < count; i++)
        heap_push(b, s, (uint32_t)i);
    while (s->heap_count) {
        struct candidate c = heap_pop(s);
        merge_at(b, s, &c);
    }
    for (uint32_t i = 0; i != NONE; i = s->symbols[i].next)
        ids[kept++] = s->symbols[i].id;
    return kept;
}

/* --- words --- */

/* The token that the word is as it stands, or -1. */
static int32_t whole_id(const struct bpe *b, const uint8_t *word, size_t len)
{
    uint8_t few[512] = {0}, *key = len <= sizeof(few) / 2 ? few : rwf_xmalloc(2 * len);
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += text__encode(text__byte_char(word[i]), key + n);
    intptr_t id = (intptr_t)rwf_map_getn(b->whole, (const char *)key, n);
    if (key != few)
        free(key);
    return (int32_t)id - 1;
}

static void merge_word(const struct bpe *b, struct bpe__scratch *s, const uint8_t *word,
                       size_t len, struct tokenizer_ids *out)
{
    int32_t id = b->whole ? whole_id(b, word, len) : -1;

    bpe__room(out, len);
    int32_t *ids = out->ids + out->count;
    if (id >= 0) {
        ids[0] = id;
        out->count++;
        return;
    }
    size_t count = 0;
    for (size_t i = 0; i < len; i++) {
        ids[count] = b->bytes[word[i]];
        count += ids[count] >= 0;
    }
    if (count > SHORT_WORD)
        count = merge_long(b, s, ids, count);
    else if (count > 1)
        count = merge_short(b, ids, count);
    out->count += count;
}

/* The word in key, padded with zeros. */
static inline void load_key(const uint8_t *word, size_t len, size_t behind,
                            uint64_t *key)
{
    if (len + behind < CACHED_BYTES) {
        key[0] = key[1] = key[2] = 0;
        memcpy(key, word, len);
        return;
    }
    memcpy(key, word, CACHED_BYTES);
    for (size_t i = 0; i < CACHED_BYTES / 8; i++) {
        size_t used = len > 8 * i ? len - 8 * i : 0;
        if (used < 8)
            key[i] &= used ? UINT64_MAX >> (64 - 8 * used) : 0;
    }
}

void bpe__word(const struct bpe *b, struct bpe__scratch *s, const uint8_t *word,
               size_t len, size_t behind, struct tokenizer_ids *out)
{
    uint64_t key[CACHED_BYTES / 8];

    if (len > CACHED_BYTES) {
        merge_word(b, s, word, len, out);
        return;
    }
    load_key(word, len, behind, key);
    struct line *line =
        &s->lines[mix(key[0] ^ mix(key[1] ^ mix(key[2] ^ len))) % CACHE_LINES];
    if (line->len == len && line->word[0] == key[0] && line->word[1] == key[1] &&
        line->word[2] == key[2]) {
        bpe__room(out, CACHED_IDS);
        memcpy(out->ids + out->count, line->ids, sizeof(line->ids));
        out->count += line->count;
        return;
    }
    size_t start = out->count;
    merge_word(b, s, word, len, out);
    if (out->count - start > CACHED_IDS)
        return;
    memcpy(line->word, key, sizeof(key));
    line->len = (uint8_t)len;
    line->count = (uint8_t)(out->count - start);
    if (line->count)
        memcpy(line->ids, out->ids + start, line->count * sizeof(*line->ids));
}

void bpe__byte(const struct bpe *b, uint8_t byte, struct tokenizer_ids *out)
{
    if (b->bytes[byte] < 0)
        return;
    bpe__room(out, 1);
    out->ids[out->count++] = b->bytes[byte];
}
