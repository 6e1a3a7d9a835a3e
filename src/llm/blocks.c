/* SPDX-License-Identifier: Apache-2.0
 *
 * An array of blocks. Those that nobody holds are in one of two lists: `free`, without
 * content, is used first; `kept`, learned, is used oldest first. Learned blocks are
 * chained in buckets of a hash table. The hash is keyed at random, so that prompts
 * cannot be made to collide.
 *
 * Sequences let their blocks go last one first, so a prefix outlives what follows it.
 * Should a block be dropped before one that followed it, the latter can no more be
 * found, as its prefix is never given again, and goes when its turn comes.
 */
#include "config.h"

#include "llm/blocks.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"

struct link {
    int32_t next, previous;
};

struct block {
    struct link list; /* of free or kept, while refs is 0 */
    int32_t refs;
    int32_t chain;     /* next one of the bucket */
    llm_prefix prefix; /* that ends with it; LLM_PREFIX_NONE: not learned */
    llm_prefix before;
    uint64_t stamp;
    int32_t ids[KERNEL_BLOCK];
};

/* Two items beyond the blocks are the heads of the lists. */
struct llm_blocks {
    int count, available;
    struct block *blocks; /* [count + 2] */
    int32_t *buckets;
    uint32_t bucket_mask;
    uint64_t key[2];
    llm_prefix last;
};

static int32_t free_head(const struct llm_blocks *b)
{
    return b->count;
}

static int32_t kept_head(const struct llm_blocks *b)
{
    return b->count + 1;
}

/* --- lists --- */

static void list_add_last(struct llm_blocks *b, int32_t head, int32_t i)
{
    struct link *h = &b->blocks[head].list, *l = &b->blocks[i].list;

    l->next = head;
    l->previous = h->previous;
    b->blocks[h->previous].list.next = i;
    h->previous = i;
}

static void list_remove(struct llm_blocks *b, int32_t i)
{
    struct link *l = &b->blocks[i].list;

    b->blocks[l->previous].list.next = l->next;
    b->blocks[l->next].list.previous = l->previous;
}

/* --- the table --- */

static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static int32_t *bucket_of(const struct llm_blocks *b, llm_prefix before,
                          const int32_t *ids)
{
    uint64_t hash = fold(before ^ b->key[0], b->key[1]);
    uint64_t pair[2];

    for (int i = 0; i < KERNEL_BLOCK; i += 4) {
        memcpy(pair, ids + i, sizeof(pair));
        hash = fold(hash ^ pair[0] ^ b->key[0], pair[1] ^ b->key[1]);
    }
    return &b->buckets[fold(hash ^ b->key[1], b->key[0]) & b->bucket_mask];
}

static void unlearn(struct llm_blocks *b, int32_t i)
{
    struct block *block = &b->blocks[i];
    int32_t *at = bucket_of(b, block->before, block->ids);

    while (*at != i)
        at = &b->blocks[*at].chain;
    *at = block->chain;
    block->prefix = LLM_PREFIX_NONE;
}

int32_t llm_blocks_find(const struct llm_blocks *b, llm_prefix before,
                        const int32_t *ids, llm_prefix *ret_prefix)
{
    for (int32_t i = *bucket_of(b, before, ids); i >= 0; i = b->blocks[i].chain) {
        const struct block *block = &b->blocks[i];

        if (block->before != before || memcmp(block->ids, ids, sizeof(block->ids)) != 0)
            continue;
        *ret_prefix = block->prefix;
        return i;
    }
    return -1;
}

llm_prefix llm_blocks_learn(struct llm_blocks *b, int32_t i, llm_prefix before,
                            const int32_t *ids, uint64_t stamp)
{
    struct block *block = &b->blocks[i];
    llm_prefix known;
    int32_t *bucket;

    if (llm_blocks_find(b, before, ids, &known) >= 0)
        return known;
    rwf_assert(block->refs > 0 && block->prefix == LLM_PREFIX_NONE);
    bucket = bucket_of(b, before, ids);
    memcpy(block->ids, ids, sizeof(block->ids));
    block->before = before;
    block->prefix = ++b->last;
    block->stamp = stamp;
    block->chain = *bucket;
    *bucket = i;
    return block->prefix;
}

uint64_t llm_blocks_stamp(const struct llm_blocks *b, int32_t i)
{
    return b->blocks[i].stamp;
}

void llm_blocks_forget(struct llm_blocks *b)
{
    for (int32_t i = 0; i < b->count; i++) {
        if (b->blocks[i].prefix == LLM_PREFIX_NONE)
            continue;
        unlearn(b, i);
        if (b->blocks[i].refs == 0) {
            list_remove(b, i);
            list_add_last(b, free_head(b), i);
        }
    }
}

/* --- who holds what --- */

int llm_blocks_available(const struct llm_blocks *b)
{
    return b->available;
}

int llm_blocks_count(const struct llm_blocks *b)
{
    return b->count;
}

int32_t llm_blocks_take(struct llm_blocks *b)
{
    int32_t i = b->blocks[free_head(b)].list.next;

    if (i == free_head(b)) {
        i = b->blocks[kept_head(b)].list.next;
        if (i == kept_head(b))
            return -1;
        unlearn(b, i);
    }
    list_remove(b, i);
    b->blocks[i].refs = 1;
    b->available--;
    return i;
}

void llm_blocks_hold(struct llm_blocks *b, int32_t i)
{
    if (b->blocks[i].refs++ == 0) {
        list_remove(b, i);
        b->available--;
    }
}

void llm_blocks_release(struct llm_blocks *b, int32_t i)
{
    struct block *block = &b->blocks[i];

    rwf_assert(block->refs > 0);
    if (--block->refs > 0)
        return;
    list_add_last(b, block->prefix == LLM_PREFIX_NONE ? free_head(b) : kept_head(b), i);
    b->available++;
}

bool llm_blocks_idle(const struct llm_blocks *b, int32_t i)
{
    return b->blocks[i].refs == 0;
}

static void make_key(struct llm_blocks *b)
{
    if (getrandom(b->key, sizeof(b->key), GRND_NONBLOCK) != (ssize_t)sizeof(b->key)) {
        b->key[0] = (uint64_t)rwf_clock_mono() * UINT64_C(0x9e3779b97f4a7c15);
        b->key[1] = (uint64_t)(uintptr_t)b;
    }
    b->key[0] |= 1;
    b->key[1] |= 1;
}

struct llm_blocks *llm_blocks_create(int count)
{
    struct llm_blocks *b = rwf_xcalloc(1, sizeof(*b));
    uint32_t buckets = 1;

    while (buckets < (uint32_t)count)
        buckets *= 2;
    buckets *= 2;
    b->count = b->available = count;
    b->blocks = rwf_xcalloc((size_t)count + 2, sizeof(*b->blocks));
    b->buckets = rwf_xmalloc(buckets * sizeof(*b->buckets));
    memset(b->buckets, 0xff, buckets * sizeof(*b->buckets));
    b->bucket_mask = buckets - 1;
    make_key(b);
    for (int32_t head = count; head < count + 2; head++)
        b->blocks[head].list = (struct link){.next = head, .previous = head};
    for (int32_t i = 0; i < count; i++)
        list_add_last(b, free_head(b), i);
    return b;
}

void llm_blocks_destroy(struct llm_blocks *b)
{
    if (!b)
        return;
    free(b->buckets);
    free(b->blocks);
    free(b);
}
