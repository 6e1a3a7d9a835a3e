/* SPDX-License-Identifier: Apache-2.0
 *
 * Slow work on files, in the loop's pool of threads: the head must not stand still.
 */
#ifndef RWF_JOB_LATER_H
#define RWF_JOB_LATER_H
#include <uv.h>

/* work(ctx) in the pool, then done(ctx), which may be NULL, in the loop. */
void job__later_do(uv_loop_t *loop, void (*work)(void *ctx), void (*done)(void *ctx),
                   void *ctx);
/* Removes path with all in it; under its old name it is gone at once. */
void job__later_remove(uv_loop_t *loop, const char *path);

#endif
