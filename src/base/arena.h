/* SPDX-License-Identifier: Apache-2.0
 *
 * Bump allocation for things that die together: a recipe, a plan. Pointers stay valid
 * until rwf_arena_destroy. Memory from rwf_arena_alloc is zeroed.
 */
#ifndef RWF_BASE_ARENA_H
#define RWF_BASE_ARENA_H
#include <stddef.h>

struct rwf_arena;

struct rwf_arena *rwf_arena_create(void);
void rwf_arena_destroy(struct rwf_arena *a);
void *rwf_arena_alloc(struct rwf_arena *a, size_t size);
char *rwf_arena_strdup(struct rwf_arena *a, const char *text);
char *rwf_arena_strndup(struct rwf_arena *a, const char *text, size_t len);
char *rwf_arena_printf(struct rwf_arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
size_t rwf_arena_bytes(const struct rwf_arena *a);

#endif
