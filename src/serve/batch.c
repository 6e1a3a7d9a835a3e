/* SPDX-License-Identifier: Apache-2.0
 *
 * Plain AIMD meets its objective, breaks it, backs off a tenth, and so breaks it once
 * in every few batches for ever. Here a size that was too much is a ceiling: growth
 * stops below it and a probe of it is due only after HOLD_MIN full batches, twice as
 * many after each probe that failed. A probe that goes well lifts the ceiling, so a
 * model that became faster is found.
 */
#include "config.h"
#include "serve/batch.h"

#include "base/mem.h"

enum { HOLD_MIN = 256, HOLD_MAX = 16384 };

void serve_batch_init(struct serve_batch *b, const struct serve_batching *how)
{
    *b = (struct serve_batch){.how = *how, .hold = HOLD_MIN};
    if (b->how.max_batch_size < 1)
        b->how.max_batch_size = 1;
    b->size = how->latency > 0 ? 1 : b->how.max_batch_size;
}

int serve_batch_due(const struct serve_batch *b, size_t queued, int64_t oldest,
                    int room, int64_t now, int64_t *ret_wake)
{
    size_t most = (size_t)b->size;

    if (ret_wake != NULL)
        *ret_wake = 0;
    if (queued == 0 || room <= 0)
        return 0;
    if (most > (size_t)room)
        most = (size_t)room;
    if (queued >= most)
        return (int)most;
    if (b->how.wait <= 0 || now - oldest >= b->how.wait)
        return (int)queued;
    if (ret_wake != NULL)
        *ret_wake = oldest + b->how.wait;
    return 0;
}

static void back_off(struct serve_batch *b, int n)
{
    int less = b->size / 10 > 1 ? b->size / 10 : 1;

    /* What fewer took too long says nothing about the size, it only asks for care. */
    if (n >= b->size) {
        if (b->ceiling == b->size && b->hold < HOLD_MAX)
            b->hold *= 2;
        b->ceiling = b->size;
        b->since = 0;
    }
    b->size = b->size > less ? b->size - less : 1;
}

static void grow(struct serve_batch *b)
{
    if (b->size >= b->how.max_batch_size)
        return;
    if (b->ceiling == 0 || b->size + 1 < b->ceiling) {
        b->size++;
    } else if (b->size >= b->ceiling) { /* a probe that went well */
        b->ceiling = 0;
        b->hold = HOLD_MIN;
        b->size++;
    } else if (++b->since >= b->hold) {
        b->since = 0;
        b->size = b->ceiling;
    }
}

void serve_batch_done(struct serve_batch *b, int n, int64_t took)
{
    if (b->how.latency <= 0)
        return;
    if (took > b->how.latency)
        back_off(b, n);
    else if (n >= b->size)
        grow(b);
}
