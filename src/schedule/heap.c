/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "schedule/heap.h"

#include <stdbool.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/mem.h"

static bool before(const struct schedule__heap_item *a,
                   const struct schedule__heap_item *b)
{
    return a->key != b->key ? a->key < b->key : a->step < b->step;
}

void schedule__heap_push(struct schedule__heap *h, int64_t key, uint32_t step)
{
    struct schedule__heap_item item = {key, step};
    (void)RWF_PUSH(h->items, h->count, h->cap);
    size_t i = h->count - 1;
    while (i > 0 && before(&item, &h->items[(i - 1) / 2])) {
        h->items[i] = h->items[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    h->items[i] = item;
}

struct schedule__heap_item schedule__heap_pop(struct schedule__heap *h)
{
    rwf_assert(h->count > 0);
    struct schedule__heap_item first = h->items[0];
    struct schedule__heap_item last = h->items[--h->count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && before(&h->items[child + 1], &h->items[child]))
            child++;
        if (!before(&h->items[child], &last))
            break;
        h->items[i] = h->items[child];
        i = child;
    }
    if (h->count > 0)
        h->items[i] = last;
    return first;
}

void schedule__heap_free(struct schedule__heap *h)
{
    free(h->items);
    *h = (struct schedule__heap){NULL, 0, 0};
}
