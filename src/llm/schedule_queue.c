/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/schedule_queue.h"

#include <stdlib.h>

#include "base/mem.h"

bool llm__before(const struct llm_sequence *a, const struct llm_sequence *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    return a->order < b->order;
}

static void put(struct llm__queue *w, size_t at, struct llm_sequence *q)
{
    w->items[at] = q;
    q->at = at;
}

static void rise(struct llm__queue *w, size_t at, struct llm_sequence *q)
{
    while (at > 0 && llm__before(q, w->items[(at - 1) / 2])) {
        put(w, at, w->items[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(w, at, q);
}

static void sink(struct llm__queue *w, size_t at, struct llm_sequence *q)
{
    for (;;) {
        size_t child = 2 * at + 1;

        if (child + 1 < w->count && llm__before(w->items[child + 1], w->items[child]))
            child++;
        if (child >= w->count || !llm__before(w->items[child], q))
            break;
        put(w, at, w->items[child]);
        at = child;
    }
    put(w, at, q);
}

void llm__queue_push(struct llm__queue *w, struct llm_sequence *q)
{
    w->items = rwf_grow(w->items, w->count, &w->cap, sizeof(*w->items));
    q->place = LLM_PLACE_WAITING;
    rise(w, w->count++, q);
}

struct llm_sequence *llm__queue_first(const struct llm__queue *w)
{
    return w->count ? w->items[0] : NULL;
}

void llm__queue_remove(struct llm__queue *w, struct llm_sequence *q)
{
    struct llm_sequence *last = w->items[--w->count];
    size_t at = q->at;

    q->place = LLM_PLACE_NONE;
    if (last == q)
        return;
    if (at > 0 && llm__before(last, w->items[(at - 1) / 2]))
        rise(w, at, last);
    else
        sink(w, at, last);
}

void llm__queue_free(struct llm__queue *w)
{
    free(w->items);
}
