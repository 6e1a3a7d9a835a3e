/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests that wait for a replica of one deployment: the highest priority first, among
 * equal ones the oldest. All of them in O(log n), without memory beyond the array that
 * grows. The queue's part lies within the caller's request; times are ns of one clock.
 */
#ifndef RWF_SERVE_QUEUE_H
#define RWF_SERVE_QUEUE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Set priority, arrived and deadline before put; zero the rest once, then leave it. */
struct serve_waiting {
    int priority; /* higher first */
    int64_t arrived;
    int64_t deadline; /* 0: none */
    /* The queue's own. */
    uint64_t turn; /* 0: never queued; kept when it is put back */
    size_t at[3];  /* place in its heaps, from 1; 0: not there */
};

struct serve_queue;

/* max < 0: no bound. */
struct serve_queue *serve_queue_create(int max);
void serve_queue_destroy(struct serve_queue *q);
void serve_queue_limit(struct serve_queue *q, int max); /* of those to come */
size_t serve_queue_count(const struct serve_queue *q);
static inline bool serve_waiting_queued(const struct serve_waiting *w)
{
    return w->at[0] != 0;
}

/* False when it is full: nothing was changed. */
bool serve_queue_put(struct serve_queue *q, struct serve_waiting *w);
/* One that was taken comes back to its old turn (its replica died), bound or not. */
void serve_queue_put_back(struct serve_queue *q, struct serve_waiting *w);
/* The next one, taken out or only looked at; NULL: empty. */
struct serve_waiting *serve_queue_take(struct serve_queue *q);
struct serve_waiting *serve_queue_first(const struct serve_queue *q);
/* Takes out one of which nobody wants the answer any more. Harmless when it is not
 * queued. */
void serve_queue_remove(struct serve_queue *q, struct serve_waiting *w);
/* Takes out the one with the earliest deadline if that is at or before now; NULL: none.
 * With now + what an answer takes, none is begun that would come too late. */
struct serve_waiting *serve_queue_expire(struct serve_queue *q, int64_t now);
/* The earliest deadline; 0: none. */
int64_t serve_queue_deadline(const struct serve_queue *q);
/* When the one that waits longest arrived; 0: empty. */
int64_t serve_queue_oldest(const struct serve_queue *q);

#endif
