/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "schedule/heap.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/mem.h"

#define CHILDREN 4
/* A run whose used part is at least this long, and half of it, moves to its start. */
#define RUN_WASTE 1024

static bool before(const struct schedule__heap_item *a,
                   const struct schedule__heap_item *b)
{
    return a->key != b->key ? a->key < b->key : a->step < b->step;
}

/* --- the run --- */

static bool run_empty(const struct schedule__heap *h)
{
    return h->run_first == h->run_count;
}

static bool run_takes(const struct schedule__heap *h,
                      const struct schedule__heap_item *item)
{
    return run_empty(h) || before(&h->run[h->run_count - 1], item);
}

static void run_push(struct schedule__heap *h, const struct schedule__heap_item *item)
{
    if (run_empty(h))
        h->run_first = h->run_count = 0;
    if (h->run_count == h->run_cap && h->run_first >= RUN_WASTE &&
        h->run_first * 2 >= h->run_count) {
        h->run_count -= h->run_first;
        memmove(h->run, h->run + h->run_first, h->run_count * sizeof(*h->run));
        h->run_first = 0;
    }
    *RWF_PUSH(h->run, h->run_count, h->run_cap) = *item;
}

/* --- the heap --- */

static void heap_push(struct schedule__heap *h, const struct schedule__heap_item *item)
{
    (void)RWF_PUSH(h->items, h->item_count, h->item_cap);
    size_t i = h->item_count - 1;
    while (i > 0 && before(item, &h->items[(i - 1) / CHILDREN])) {
        h->items[i] = h->items[(i - 1) / CHILDREN];
        i = (i - 1) / CHILDREN;
    }
    h->items[i] = *item;
}

static size_t least_child(const struct schedule__heap *h, size_t i)
{
    size_t least = CHILDREN * i + 1, end = least + CHILDREN;
    for (size_t k = least + 1; k < end && k < h->item_count; k++)
        if (before(&h->items[k], &h->items[least]))
            least = k;
    return least;
}

static struct schedule__heap_item heap_pop(struct schedule__heap *h)
{
    struct schedule__heap_item first = h->items[0];
    struct schedule__heap_item last = h->items[--h->item_count];
    size_t i = 0;
    while (CHILDREN * i + 1 < h->item_count) {
        size_t child = least_child(h, i);
        if (!before(&h->items[child], &last))
            break;
        h->items[i] = h->items[child];
        i = child;
    }
    if (h->item_count > 0)
        h->items[i] = last;
    return first;
}

/* --- both --- */

void schedule__heap_push(struct schedule__heap *h, int64_t key, uint32_t step)
{
    struct schedule__heap_item item = {key, step};
    h->count++;
    if (run_takes(h, &item))
        run_push(h, &item);
    else
        heap_push(h, &item);
}

static bool is_in_run(const struct schedule__heap *h)
{
    return h->item_count == 0 ||
           (!run_empty(h) && before(&h->run[h->run_first], &h->items[0]));
}

const struct schedule__heap_item *schedule__heap_first(const struct schedule__heap *h)
{
    rwf_assert(h->count > 0);
    return is_in_run(h) ? &h->run[h->run_first] : &h->items[0];
}

struct schedule__heap_item schedule__heap_pop(struct schedule__heap *h)
{
    rwf_assert(h->count > 0);
    h->count--;
    return is_in_run(h) ? h->run[h->run_first++] : heap_pop(h);
}

void schedule__heap_free(struct schedule__heap *h)
{
    free(h->items);
    free(h->run);
    memset(h, 0, sizeof(*h));
}
