/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/mem.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void rwf_out_of_memory(size_t size)
{
    dprintf(STDERR_FILENO, "raywf: out of memory (asked for %zu bytes)\n", size);
    _exit(RWF_E_ENV - RWF_E_BASE);
}

void *rwf_xmalloc(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p)
        rwf_out_of_memory(size);
    return p;
}

void *rwf_xcalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p)
        rwf_out_of_memory(count * size);
    return p;
}

void *rwf_xrealloc(void *old, size_t size)
{
    void *p = realloc(old, size ? size : 1);
    if (!p)
        rwf_out_of_memory(size);
    return p;
}

char *rwf_xstrdup(const char *text)
{
    return rwf_xstrndup(text, strlen(text));
}

char *rwf_xstrndup(const char *text, size_t len)
{
    char *copy = rwf_xmalloc(len + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *rwf_xvasprintf(const char *fmt, va_list ap)
{
    char *text;
    if (vasprintf(&text, fmt, ap) < 0)
        rwf_out_of_memory(0);
    return text;
}

char *rwf_xasprintf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = rwf_xvasprintf(fmt, ap);
    va_end(ap);
    return text;
}

void *rwf_alloc(size_t size, struct rwf_err *err)
{
    void *p = malloc(size ? size : 1);
    if (!p)
        rwf_fail(err, RWF_E_ENV, "no memory for %zu bytes", size);
    return p;
}

void *rwf_grow(void *items, size_t count, size_t *cap, size_t item_size)
{
    if (count < *cap)
        return items;
    size_t more = *cap ? *cap * 2 : 8;
    rwf_assert(more <= SIZE_MAX / item_size);
    *cap = more;
    return rwf_xrealloc(items, more * item_size);
}

/* As libcrypto's own: nothing is NULL. */
static void *crypto_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return size ? rwf_xmalloc(size) : NULL;
}

static void *crypto_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    if (size)
        return rwf_xrealloc(old, size);
    free(old);
    return NULL;
}

static void crypto_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

/* libcrypto 3.0 crashes when an allocation of its start-up fails. */
void rwf_mem_init(void)
{
    json_set_alloc_funcs(rwf_xmalloc, free);
    CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free);
}
