/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory. rwf_x…: bookkeeping of bounded size; exhaustion ends the process with a plain
 * message and exit code 7. rwf_alloc: sizes chosen by a user or by data; it can fail.
 */
#ifndef RWF_BASE_MEM_H
#define RWF_BASE_MEM_H
#include <stdarg.h>
#include <stddef.h>
#include "base/err.h"

void *rwf_xmalloc(size_t size);
void *rwf_xcalloc(size_t count, size_t size);
void *rwf_xrealloc(void *old, size_t size);
char *rwf_xstrdup(const char *text);
char *rwf_xstrndup(const char *text, size_t len);
char *rwf_xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *rwf_xvasprintf(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

/* How all of them end; for libraries that report exhaustion themselves. */
void rwf_out_of_memory(size_t size) __attribute__((noreturn));

/* NULL and *err when there is no memory for size bytes. */
void *rwf_alloc(size_t size, struct rwf_err *err);

/* Makes room in a growing array: returns items, moved if needed, so that
 * items[count] exists; *cap is its capacity in items. */
void *rwf_grow(void *items, size_t count, size_t *cap, size_t item_size);
#define RWF_PUSH(items, count, cap) \
    ((items) = rwf_grow((items), (count), &(cap), sizeof(*(items))), &(items)[(count)++])

/* Routes the allocations of jansson and libcrypto here. Call once, first thing in main. */
void rwf_mem_init(void);

#define RWF_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
