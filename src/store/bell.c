/* SPDX-License-Identifier: Apache-2.0
 *
 * The bell: a futex in shared memory on which one process sleeps.
 *
 * Invariants:
 * - word is even and grows by 2 with each ring; asleep is 0, or word as the sleeper saw
 *   it, with bit 0 set. A ringer takes back only the sleep that it ended (compare and
 *   swap), never a later one; it does so after the wake, so that one who is killed on
 *   the way leaves asleep set and the next one rings again.
 * - No wake-up is lost: who publishes and then reads asleep, and who sets asleep and
 *   then looks at what is published, do so in one total order (seq_cst on both sides,
 *   or read-modify-write operations on asleep on both sides). One of them sees the
 *   other.
 */
#include "config.h"
#include "store/bell.h"
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"

void store__futex_wait(_Atomic uint32_t *word, uint32_t seen, int64_t deadline)
{
    struct timespec until = {.tv_sec = deadline / RWF_NS_PER_S,
                             .tv_nsec = deadline % RWF_NS_PER_S};
    /* Only the bitset form takes an absolute time. Not private: shared memory. */
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET, seen,
            deadline == INT64_MAX ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
}

void store__futex_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

uint32_t store_bell_prepare(struct store_bell *b)
{
    uint32_t seen = atomic_load(&b->word);

    atomic_exchange(&b->asleep, seen | 1);
    return seen;
}

void store_bell_wait(struct store_bell *b, uint32_t seen, int64_t deadline)
{
    if (deadline > 0)
        store__futex_wait(&b->word, seen, deadline);
    store_bell_cancel(b);
}

void store_bell_cancel(struct store_bell *b)
{
    atomic_store_explicit(&b->asleep, 0, memory_order_relaxed);
}

static void wake(struct store_bell *b, uint32_t asleep)
{
    atomic_fetch_add(&b->word, 2);
    store__futex_wake(&b->word, INT_MAX);
    atomic_compare_exchange_strong(&b->asleep, &asleep, 0);
}

void store_bell_ring(struct store_bell *b)
{
    uint32_t asleep = atomic_fetch_or(&b->asleep, 0);

    if (asleep)
        wake(b, asleep);
}

void store__bell_published(struct store_bell *b)
{
    uint32_t asleep = atomic_load(&b->asleep);

    if (asleep)
        wake(b, asleep);
}
