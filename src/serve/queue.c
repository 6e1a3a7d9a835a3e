/* SPDX-License-Identifier: Apache-2.0
 *
 * Three binary heaps over the same requests: by turn to be served, by deadline, by age.
 * Each request knows its place in them, so that one can be taken out of the middle.
 */
#include "config.h"
#include "serve/queue.h"

#include <stdlib.h>
#include "base/mem.h"

enum { SERVED, DUE, AGE, HEAPS };

struct heap {
    struct serve_waiting **items;
    size_t count, cap;
};

struct serve_queue {
    struct heap heaps[HEAPS];
    int max;
    uint64_t turns;
};

struct serve_queue *serve_queue_create(int max)
{
    struct serve_queue *q = rwf_xcalloc(1, sizeof(*q));

    q->max = max;
    return q;
}

void serve_queue_destroy(struct serve_queue *q)
{
    for (int h = 0; q != NULL && h < HEAPS; h++)
        free(q->heaps[h].items);
    free(q);
}

void serve_queue_limit(struct serve_queue *q, int max)
{
    q->max = max;
}

size_t serve_queue_count(const struct serve_queue *q)
{
    return q->heaps[SERVED].count;
}

/* --- heaps --- */

static bool before(int h, const struct serve_waiting *a, const struct serve_waiting *b)
{
    if (h == SERVED && a->priority != b->priority)
        return a->priority > b->priority;
    if (h == DUE && a->deadline != b->deadline)
        return a->deadline < b->deadline;
    return a->turn < b->turn;
}

static void place(struct heap *heap, int h, size_t at, struct serve_waiting *w)
{
    heap->items[at] = w;
    w->at[h] = at + 1;
}

static void sift_up(struct heap *heap, int h, size_t at)
{
    struct serve_waiting *w = heap->items[at];

    while (at > 0 && before(h, w, heap->items[(at - 1) / 2])) {
        place(heap, h, at, heap->items[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(heap, h, at, w);
}

static void sift_down(struct heap *heap, int h, size_t at)
{
    struct serve_waiting *w = heap->items[at];

    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < heap->count &&
            before(h, heap->items[child + 1], heap->items[child]))
            child++;
        if (child >= heap->count || !before(h, heap->items[child], w))
            break;
        place(heap, h, at, heap->items[child]);
        at = child;
    }
    place(heap, h, at, w);
}

static void heap_add(struct heap *heap, int h, struct serve_waiting *w)
{
    *RWF_PUSH(heap->items, heap->count, heap->cap) = w;
    sift_up(heap, h, heap->count - 1);
}

static void heap_remove(struct heap *heap, int h, struct serve_waiting *w)
{
    size_t at = w->at[h];

    if (at-- == 0)
        return;
    w->at[h] = 0;
    struct serve_waiting *last = heap->items[--heap->count];
    if (last == w)
        return;
    place(heap, h, at, last);
    sift_up(heap, h, at);
    sift_down(heap, h, last->at[h] - 1);
}

static struct serve_waiting *first(const struct serve_queue *q, int h)
{
    return q->heaps[h].count > 0 ? q->heaps[h].items[0] : NULL;
}

/* --- the queue --- */

static void insert(struct serve_queue *q, struct serve_waiting *w)
{
    heap_add(&q->heaps[SERVED], SERVED, w);
    heap_add(&q->heaps[AGE], AGE, w);
    if (w->deadline != 0)
        heap_add(&q->heaps[DUE], DUE, w);
}

bool serve_queue_put(struct serve_queue *q, struct serve_waiting *w)
{
    if (q->max >= 0 && serve_queue_count(q) >= (size_t)q->max)
        return false;
    rwf_assert(!serve_waiting_queued(w));
    w->turn = ++q->turns;
    insert(q, w);
    return true;
}

void serve_queue_put_back(struct serve_queue *q, struct serve_waiting *w)
{
    rwf_assert(!serve_waiting_queued(w));
    if (w->turn == 0)
        w->turn = ++q->turns;
    insert(q, w);
}

void serve_queue_remove(struct serve_queue *q, struct serve_waiting *w)
{
    for (int h = 0; h < HEAPS; h++)
        heap_remove(&q->heaps[h], h, w);
}

struct serve_waiting *serve_queue_first(const struct serve_queue *q)
{
    return first(q, SERVED);
}

struct serve_waiting *serve_queue_take(struct serve_queue *q)
{
    struct serve_waiting *w = first(q, SERVED);

    if (w != NULL)
        serve_queue_remove(q, w);
    return w;
}

struct serve_waiting *serve_queue_expire(struct serve_queue *q, int64_t now)
{
    struct serve_waiting *w = first(q, DUE);

    if (w == NULL || w->deadline > now)
        return NULL;
    serve_queue_remove(q, w);
    return w;
}

int64_t serve_queue_deadline(const struct serve_queue *q)
{
    const struct serve_waiting *w = first(q, DUE);

    return w != NULL ? w->deadline : 0;
}

int64_t serve_queue_oldest(const struct serve_queue *q)
{
    const struct serve_waiting *w = first(q, AGE);

    return w != NULL ? w->arrived : 0;
}
