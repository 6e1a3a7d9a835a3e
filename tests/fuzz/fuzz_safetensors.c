/* SPDX-License-Identifier: Apache-2.0
 *
 * A safetensors file of any bytes: refused with a message, or every byte of every entry
 * is there, in order, and can be found and converted. What has a known type is then
 * written anew, and read back the same.
 */
#include "config.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "tensor/safetensors.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    rwf_mem_init();
    snprintf(path, sizeof(path), "/dev/shm/fuzz_safetensors.%d", (int)getpid());
    return 0;
}

static unsigned touch(const struct safetensors *s)
{
    unsigned sum = 0;
    const uint8_t *at = NULL;
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct safetensors_entry *e = safetensors_at(s, i);
        const uint8_t *bytes = e->data;
        int64_t count = safetensors_elements(e);
        rwf_assert(safetensors_find(s, e->name) == e && (!at || bytes == at));
        rwf_assert(e->dims >= 0 && e->dims <= SAFETENSORS_DIMS_MAX);
        for (size_t b = 0; b < e->bytes; b++)
            sum += bytes[b];
        at = bytes + e->bytes;
        float *to = rwf_xmalloc((size_t)count * sizeof(*to));
        struct rwf_err err = RWF_ERR_INIT;
        int rc = safetensors_floats(e, 0, count, to, &err);
        rwf_assert((rc == 0) == (e->type <= SAFETENSORS_BF16) &&
                   (rc == 0 || err.text[0]));
        rwf_assert(safetensors_floats(e, 1, count, to, NULL) == -1);
        free(to);
    }
    return sum;
}

static void write_anew(const struct safetensors *s)
{
    struct safetensors_writer *w = safetensors_create(path, NULL, NULL);
    rwf_assert(w != NULL);
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct safetensors_entry *e = safetensors_at(s, i);
        rwf_assert(safetensors_declare(w, e->name, e->type, e->dims, e->shape, NULL) ==
                   0);
    }
    for (size_t i = 0; i < safetensors_count(s); i++)
        rwf_assert(safetensors_write(w, safetensors_at(s, i)->data,
                                     safetensors_at(s, i)->bytes, NULL) == 0);
    rwf_assert(safetensors_finish(w, NULL, NULL) == 0);
    struct safetensors *again = safetensors_open(path, NULL);
    rwf_assert(again && safetensors_count(again) == safetensors_count(s));
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct safetensors_entry *e = safetensors_at(s, i);
        const struct safetensors_entry *a = safetensors_find(again, e->name);
        rwf_assert(a && a->bytes == e->bytes && a->type == e->type &&
                   a->dims == e->dims &&
                   memcmp(a->shape, e->shape, sizeof(a->shape)) == 0 &&
                   (a->bytes == 0 || memcmp(a->data, e->data, a->bytes) == 0));
    }
    safetensors_close(again);
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rwf_err err = RWF_ERR_INIT;
    static volatile unsigned sum;
    struct safetensors *s = safetensors_parse(data, size, "fuzz", &err);
    rwf_assert(s || (err.code == RWF_E_INPUT && err.text[0]));
    if (!s)
        return 0;
    bool known = true;
    for (size_t i = 0; i < safetensors_count(s); i++)
        known = known && safetensors_at(s, i)->type != SAFETENSORS_OTHER;
    sum = touch(s);
    (void)sum;
    if (known)
        write_anew(s);
    safetensors_close(s);
    return 0;
}
