/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of infer_gpu share.
 */
#ifndef TESTS_INFER_GPU_H
#define TESTS_INFER_GPU_H
#include <stddef.h>
#include <stdint.h>
#include "kernels/kernels.h"

#define COUNT(x) ((int)(sizeof(x) / sizeof(*(x))))
#define MOST_TURNS 64

extern const struct kernels *k;
extern struct kernel_context *c;
extern double copy_rate, product_rate; /* bytes/s, FLOP/s */

/* Memory of the GPU; they end the program when there is none left. numbers: of bf16, in
 * about [-1, 1]. */
void *must(size_t bytes);
void *numbers(size_t bytes);
void *given(const void *from, size_t bytes);
uint32_t random_word(void);
void finish(void);

/* Seconds of a call: the best of some replays of `turns` recorded ones. */
typedef void (*turn_fn)(int turn, void *arg);
double time_of(turn_fn fn, int turns, void *arg);
/* Turns that make the caches forget buffers of that size. */
int turns_for(size_t bytes);

/* --- infer_gpu_steps.c --- */
void bench_decode(void);
void bench_prefill(void);
void bench_mixed(void);
void bench_small(void);
void bench_layer(void);

#endif
