/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of store: futexes in shared memory, and the cheaper way to ring.
 */
#ifndef RWF_STORE_BELL_H
#define RWF_STORE_BELL_H
#include "store/ring.h"

/* Until the word is no longer `seen`, it is woken, deadline (monotonic ns, INT64_MAX:
 * none) has passed, or a signal came: the caller looks again. */
void store__futex_wait(_Atomic uint32_t *word, uint32_t seen, int64_t deadline);
void store__futex_wake(_Atomic uint32_t *word, int count);

/* store_bell_ring for one who has just published with a seq_cst store, of what the
 * sleeper reads with a seq_cst load: a load instead of a locked operation. */
void store__bell_published(struct store_bell *b);

#endif
