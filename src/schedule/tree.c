/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "schedule/tree.h"

#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/mem.h"

static const struct schedule__top nothing = {.cpu = -1};

static struct schedule__top most(const struct schedule__top *a,
                                 const struct schedule__top *b)
{
    return (struct schedule__top){
        .cpu = a->cpu > b->cpu ? a->cpu : b->cpu,
        .memory = a->memory > b->memory ? a->memory : b->memory,
        .marks = a->marks | b->marks,
        .gpu_most = a->gpu_most > b->gpu_most ? a->gpu_most : b->gpu_most,
        .gpu_whole = a->gpu_whole > b->gpu_whole ? a->gpu_whole : b->gpu_whole};
}

static bool same(const struct schedule__top *a, const struct schedule__top *b)
{
    return a->cpu == b->cpu && a->memory == b->memory && a->marks == b->marks &&
           a->gpu_most == b->gpu_most && a->gpu_whole == b->gpu_whole;
}

static void grow(struct schedule__tree *t)
{
    uint32_t size = t->size == 0 ? 4 : t->size * 2;
    struct schedule__top *tops = rwf_xcalloc((size_t)size * 2, sizeof(*tops));
    for (uint32_t i = 0; i < size; i++)
        tops[size + i] = i < t->count ? t->tops[t->size + i] : nothing;
    for (uint32_t i = size - 1; i > 0; i--)
        tops[i] = most(&tops[2 * i], &tops[2 * i + 1]);
    free(t->tops);
    t->tops = tops;
    t->size = size;
}

uint32_t schedule__tree_add(struct schedule__tree *t)
{
    if (t->count == t->size)
        grow(t);
    return t->count++;
}

void schedule__tree_set(struct schedule__tree *t, uint32_t place,
                        const struct schedule__top *top)
{
    rwf_assert(place < t->count);
    uint32_t i = t->size + place;
    t->tops[i] = *top;
    for (i /= 2; i > 0; i /= 2) {
        struct schedule__top now = most(&t->tops[2 * i], &t->tops[2 * i + 1]);
        if (same(&now, &t->tops[i]))
            return;
        t->tops[i] = now;
    }
}

uint32_t schedule__tree_next(const struct schedule__tree *t, uint32_t from,
                             const struct schedule__top *need)
{
    if (from >= t->count)
        return SCHEDULE__NO_PLACE;
    uint32_t i = t->size + from;
    for (;;) {
        if (schedule__top_fits(&t->tops[i], need)) {
            if (i >= t->size)
                return i - t->size;
            i *= 2;
            continue;
        }
        /* the next subtree to the right: up while this is a right child */
        while (i & 1)
            i /= 2;
        if (i == 0)
            return SCHEDULE__NO_PLACE;
        i++;
    }
}

void schedule__tree_free(struct schedule__tree *t)
{
    free(t->tops);
    memset(t, 0, sizeof(*t));
}
