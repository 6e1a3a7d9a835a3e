/* SPDX-License-Identifier: Apache-2.0
 *
 * A few threads that share the parts of one operation with the caller. Which thread
 * takes a part never changes what the part computes, so results do not depend on their
 * number. Between operations they look for work a few microseconds, then sleep.
 */
#ifndef RWF_KERNELS_CPU_POOL_H
#define RWF_KERNELS_CPU_POOL_H

struct pool;
/* part: 0 to parts - 1; thread: which of the pool's threads runs it, 0 is the caller.
 */
typedef void (*pool_part_fn)(void *arg, int part, int thread);

/* NULL when there is no memory. Fewer threads than asked for where no more can be had.
 */
struct pool *pool_create(int threads);
void pool_destroy(struct pool *p);
int pool_threads(const struct pool *p);
/* Runs all parts and returns when the last is done. */
void pool_run(struct pool *p, int parts, pool_part_fn fn, void *arg);

#endif
