/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { BLOCK = 64 * 1024, ALIGN = 16 };

struct block {
    struct block *next;
    size_t used, size;
    _Alignas(ALIGN) unsigned char bytes[];
};

struct rwf_arena {
    struct block *head;
    size_t total;
};

struct rwf_arena *rwf_arena_create(void)
{
    return rwf_xcalloc(1, sizeof(struct rwf_arena));
}

void rwf_arena_destroy(struct rwf_arena *a)
{
    if (!a)
        return;
    for (struct block *b = a->head; b;) {
        struct block *next = b->next;
        free(b);
        b = next;
    }
    free(a);
}

/* A big piece gets a block of its own behind the current one, whose room stays in use. */
static void *alloc_big(struct rwf_arena *a, size_t size)
{
    struct block *b = rwf_xcalloc(1, sizeof(*b) + size);
    b->size = b->used = size;
    if (a->head) {
        b->next = a->head->next;
        a->head->next = b;
    } else {
        a->head = b;
    }
    return b->bytes;
}

void *rwf_arena_alloc(struct rwf_arena *a, size_t size)
{
    rwf_assert(size < SIZE_MAX - ALIGN);
    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    a->total += size;
    if (size > BLOCK / 4)
        return alloc_big(a, size);
    if (!a->head || a->head->size - a->head->used < size) {
        struct block *b = rwf_xcalloc(1, sizeof(*b) + BLOCK);
        b->size = BLOCK;
        b->next = a->head;
        a->head = b;
    }
    void *p = a->head->bytes + a->head->used;
    a->head->used += size;
    return p;
}

char *rwf_arena_strndup(struct rwf_arena *a, const char *text, size_t len)
{
    char *copy = rwf_arena_alloc(a, len + 1);
    memcpy(copy, text, len);
    return copy;
}

char *rwf_arena_strdup(struct rwf_arena *a, const char *text)
{
    return rwf_arena_strndup(a, text, strlen(text));
}

char *rwf_arena_printf(struct rwf_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int len = vsnprintf(NULL, 0, fmt, ap);
    rwf_assert(len >= 0);
    char *text = rwf_arena_alloc(a, (size_t)len + 1);
    vsnprintf(text, (size_t)len + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return text;
}

size_t rwf_arena_bytes(const struct rwf_arena *a)
{
    return a->total;
}
