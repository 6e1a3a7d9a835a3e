/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations between the ranks of one machine, through memory that all of them map: a rank
 * copies what it gives into its own segment, and each reads the segments of the others. Sums
 * add in the order of the ranks, so that all get the same bits. There is no thread: each
 * call does what can be done without waiting, and shared_wait the rest.
 */
#ifndef RWF_TENSOR_COMM_SHARED_H
#define RWF_TENSOR_COMM_SHARED_H
#include <stdint.h>
#include "tensor/comm.h"

#define SHARED_RANKS_MAX 256

struct shared;

/* Bytes of a rank's segment, which is zeroed before any rank gets to shared_create. */
size_t shared_segment_size(void);
/* segments[size]: all of them, as mapped here; borrowed. */
struct shared *shared_create(int rank, int size, void *const *segments);
void shared_destroy(struct shared *s);
/* Memory of the ranks that all map: regions[size], of `bytes` each, borrowed. Operations on it
 * are read where it lies: see memory of comm_ops. */
void shared_add_region(struct shared *s, void *const *regions, int64_t bytes);
/* ctx is a struct shared: sum, scatter, gather, broadcast and wait of comm_ops. */
void shared_sum(void *ctx, float *to, const float *from, int64_t count);
void shared_scatter(void *ctx, float *to, const float *from, int64_t count);
void shared_gather(void *ctx, void *to, const void *from, int64_t bytes);
void shared_broadcast(void *ctx, void *buffer, int64_t bytes, int root);
int shared_wait(void *ctx, struct rwf_err *err);

#endif
