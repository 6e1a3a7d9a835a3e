/* SPDX-License-Identifier: Apache-2.0
 *
 * Pairs have counts that are kept up to date word by word; a heap has a candidate for
 * each pair with the words where it was seen. A candidate whose count is out of date is
 * put back with the right one. Ties: the pair of lower ids. All of this follows the
 * trainer of Hugging Face, of which three habits decide results and are kept on
 * purpose: the count of a merged pair itself stays; a pair that a merge forms anew is a
 * candidate of its own, for the new words only; a merge whose text is a token already
 * takes that token's id.
 */
#include "config.h"
#include "text/learn.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"

struct pair {
    uint64_t key; /* left << 32 | right */
    int64_t count;
    uint32_t *where; /* words where the present merge forms it, ascending */
    size_t where_count, where_cap;
    size_t merge; /* 1 + the last merge of it */
};

struct candidate {
    uint64_t count, key;
    uint32_t *where;
    size_t where_count;
};

struct state {
    struct learn *l;
    struct pair *pairs;
    size_t pair_count, pair_cap;
    uint32_t *slots; /* index + 1 of a pair; 0: free */
    size_t slot_count;
    uint32_t *touched; /* pairs with a where */
    size_t touched_count, touched_cap;
    struct candidate *heap;
    size_t heap_count, heap_cap;
};

static uint64_t key_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static size_t slot_of(const struct state *s, uint64_t key)
{
    uint64_t h = (key ^ key >> 32) * UINT64_C(0x9E3779B97F4A7C15);
    size_t i = (h ^ h >> 32) & (s->slot_count - 1);

    while (s->slots[i] && s->pairs[s->slots[i] - 1].key != key)
        i = (i + 1) & (s->slot_count - 1);
    return i;
}

static void more_slots(struct state *s)
{
    s->slot_count = s->slot_count ? 2 * s->slot_count : 1 << 16;
    free(s->slots);
    s->slots = rwf_xcalloc(s->slot_count, sizeof(*s->slots));
    for (size_t i = 0; i < s->pair_count; i++)
        s->slots[slot_of(s, s->pairs[i].key)] = (uint32_t)i + 1;
}

static struct pair *pair_get(struct state *s, uint64_t key)
{
    if (2 * s->pair_count >= s->slot_count)
        more_slots(s);
    size_t i = slot_of(s, key);
    if (s->slots[i])
        return &s->pairs[s->slots[i] - 1];
    struct pair *p = RWF_PUSH(s->pairs, s->pair_count, s->pair_cap);
    memset(p, 0, sizeof(*p));
    p->key = key;
    s->slots[i] = (uint32_t)s->pair_count;
    return p;
}

static void change(struct state *s, int32_t left, int32_t right, int sign, size_t word)
{
    struct pair *p = pair_get(s, key_of(left, right));

    p->count += sign * (int64_t)s->l->words[word].count;
    if (sign < 0)
        return;
    if (p->where_count == 0)
        *RWF_PUSH(s->touched, s->touched_count, s->touched_cap) =
            (uint32_t)(p - s->pairs);
    if (p->where_count == 0 || p->where[p->where_count - 1] != word)
        *RWF_PUSH(p->where, p->where_count, p->where_cap) = (uint32_t)word;
}

/* --- the heap --- */

static int before(const struct candidate *x, const struct candidate *y)
{
    return x->count != y->count ? x->count > y->count : x->key < y->key;
}

static void heap_push(struct state *s, const struct candidate *c)
{
    s->heap = rwf_grow(s->heap, s->heap_count, &s->heap_cap, sizeof(*s->heap));
    size_t i = s->heap_count++;
    for (; i > 0 && before(c, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = *c;
}

static struct candidate heap_pop(struct state *s)
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

/* Pairs that were formed become candidates, with the words where they were. */
static void queue_touched(struct state *s)
{
    for (size_t i = 0; i < s->touched_count; i++) {
        struct pair *p = &s->pairs[s->touched[i]];
        struct candidate c = {(uint64_t)p->count, p->key, p->where, p->where_count};
        if (p->count > 0)
            heap_push(s, &c);
        else
            free(p->where);
        p->where = NULL;
        p->where_count = p->where_cap = 0;
    }
    s->touched_count = 0;
}

/* --- merging --- */

static void count_pairs(struct state *s)
{
    for (size_t w = 0; w < s->l->word_count; w++) {
        const struct learn_word *word = &s->l->words[w];
        const int32_t *symbols = s->l->symbols + word->start;
        for (size_t i = 0; i + 1 < word->len; i++)
            change(s, symbols[i], symbols[i + 1], 1, w);
    }
    queue_touched(s);
}

static void merge_in_word(struct state *s, size_t w, int32_t left, int32_t right,
                          int32_t id)
{
    struct learn_word *word = &s->l->words[w];
    int32_t *symbols = s->l->symbols + word->start;
    size_t kept = 0;

    for (size_t i = 0; i < word->len;) {
        if (symbols[i] != left || i + 1 == word->len || symbols[i + 1] != right) {
            symbols[kept++] = symbols[i++];
            continue;
        }
        if (kept > 0) {
            change(s, symbols[kept - 1], left, -1, w);
            change(s, symbols[kept - 1], id, 1, w);
        }
        symbols[kept++] = id;
        i += 2;
        if (i < word->len) {
            change(s, right, symbols[i], -1, w);
            change(s, id, symbols[i], 1, w);
        }
    }
    word->len = kept;
}

/* The id of the token that the merge makes, which is new unless the text is one
 * already. */
static int32_t merged_id(struct learn *l, int32_t left, int32_t right)
{
    struct rwf_str text = {0};

    rwf_str_add(&text, rwf_map_key_at(l->ids, (size_t)left));
    rwf_str_add(&text, rwf_map_key_at(l->ids, (size_t)right));
    intptr_t id = (intptr_t)rwf_map_get(l->ids, text.data);
    if (id == 0) {
        id = (intptr_t)rwf_map_count(l->ids) + 1;
        rwf_map_set(l->ids, text.data, (void *)id);
    }
    rwf_str_free(&text);
    return (int32_t)id - 1;
}

static void merge_candidate(struct state *s, const struct candidate *c)
{
    int32_t left = (int32_t)(c->key >> 32), right = (int32_t)(c->key & UINT32_MAX);
    int32_t id = merged_id(s->l, left, right);
    struct pair *p = pair_get(s, c->key);
    struct learn *l = s->l;

    if (p->merge)
        l->merges[p->merge - 1].left = -1;
    *RWF_PUSH(l->merges, l->merge_count, l->merge_cap) =
        (struct learn_merge){left, right};
    p->merge = l->merge_count;
    for (size_t i = 0; i < c->where_count; i++)
        merge_in_word(s, c->where[i], left, right, id);
    queue_touched(s);
}

static void merge_all(struct state *s)
{
    while (rwf_map_count(s->l->ids) < (size_t)s->l->vocab_size && s->heap_count) {
        struct candidate top = heap_pop(s);
        uint64_t count = (uint64_t)pair_get(s, top.key)->count;
        if (top.count != count) {
            top.count = count;
            heap_push(s, &top);
            continue;
        }
        if (count < 1 || count < s->l->min_frequency) {
            free(top.where);
            return;
        }
        merge_candidate(s, &top);
        free(top.where);
    }
}

void learn__run(struct learn *l)
{
    struct state s = {.l = l};

    count_pairs(&s);
    merge_all(&s);
    for (size_t i = 0; i < s.heap_count; i++)
        free(s.heap[i].where);
    free(s.heap);
    free(s.pairs);
    free(s.slots);
    free(s.touched);
}
