/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens a device, and gives its memory out in blocks. A CUDA device comes from a module
 * that is looked for only when one is asked for, so that everything else runs without it.
 */
#include "config.h"
#include "tensor/device.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dl.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"

#define MODULE "raywf-cuda.so"
enum { ALIGN = 256, ROWS_NAMED = 3 };

/* --- the module --- */

/* Where it may be, in order; the caller frees the n strings. */
static size_t module_candidates(char *paths[2])
{
    const char *named = getenv("RAYWF_CUDA");
    if (named != NULL && named[0] != '\0') {
        paths[0] = rwf_ends_with(named, ".so") ? rwf_xstrdup(named)
                                               : rwf_fs_join(named, MODULE);
        return 1; /* who names one wants that one and no other */
    }
    char *self = rwf_fs_self();
    char *folder = rwf_fs_dirname(self);
    paths[0] = rwf_fs_join(folder, MODULE);
    paths[1] = rwf_fs_join(RWF_PKGLIBDIR, MODULE);
    free(folder);
    free(self);
    return 2;
}

static int check_version(const char *path, const struct kernels *k, struct rwf_err *err)
{
    if (k != NULL && k->version == KERNELS_VERSION)
        return 0;
    return rwf_fail(err, RWF_E_ENV,
                    "%s is of another version of raywf (its table is version %d, wanted "
                    "is %d): build or install both together",
                    path, k != NULL ? k->version : 0, KERNELS_VERSION);
}

static int module_open(const struct kernels **ret, struct rwf_err *err)
{
    char *paths[2] = { NULL, NULL };
    kernels_module_fn table = NULL;
    const struct rwf_dl_symbol symbols[] = { { "raywf_kernels", &table } };
    struct rwf_err why = RWF_ERR_INIT;
    size_t count = module_candidates(paths), i;
    int rc = -1;
    for (i = 0; i < count && table == NULL; i++) {
        const char *names[] = { paths[i], NULL };
        if (rwf_fs_exists(paths[i]) &&
            rwf_dl_open(names, symbols, RWF_COUNT(symbols), &why) == 0) {
            const struct kernels *k = table();
            rc = check_version(paths[i], k, err);
            if (rc == 0)
                *ret = k;
        }
    }
    if (table == NULL)
        rwf_fail(err, RWF_E_ENV,
                 "a GPU needs " MODULE ", %s: configure raywf with --with-cuda, name the "
                 "module in RAYWF_CUDA, or take device: cpu (looked for: %s%s%s)",
                 why.code != 0 ? why.text : "which was not found", paths[0],
                 paths[1] != NULL ? ", " : "", paths[1] != NULL ? paths[1] : "");
    free(paths[0]);
    free(paths[1]);
    return rc;
}

/* --- a device --- */

int device_open(struct device *d, const char *name, int index, int threads,
                struct rwf_err *err)
{
    struct kernel_options o = { .device = index, .threads = threads };
    char why[512] = "";
    memset(d, 0, sizeof(*d));
    if (strcmp(name, "cpu") == 0)
        d->k = kernels_cpu();
    else if (strcmp(name, "cuda") != 0)
        return rwf_fail(err, RWF_E_RECIPE, "device '%s' is not known: cpu or cuda", name);
    else if (module_open(&d->k, err) != 0)
        return -1;
    d->c = d->k->open(&o, why, sizeof(why));
    if (d->c == NULL) {
        d->k = NULL;
        return rwf_fail(err, RWF_E_ENV, "%s device %d: %s", name, index, why);
    }
    d->k->info(d->c, &d->info);
    return 0;
}

void device_close(struct device *d)
{
    if (d->c != NULL)
        d->k->close(d->c);
    memset(d, 0, sizeof(*d));
}

bool device_is_host(const struct device *d)
{
    return d->k->comm_open == NULL; /* groups of CPUs need no help of the kernels */
}

/* Bytes free now: others may use the device, too. */
static int64_t free_now(struct device *d)
{
    d->k->info(d->c, &d->info);
    return (int64_t)d->info.free;
}

void *device_alloc(struct device *d, size_t bytes, const char *what, struct rwf_err *err)
{
    char asked[RWF_UNITS_LEN], left[RWF_UNITS_LEN];
    void *p = d->k->alloc(d->c, bytes > 0 ? bytes : 1);
    if (p == NULL)
        rwf_fail(err, RWF_E_FIT, "no memory for %s on %s: it needs %s, free are %s", what,
                 d->info.name, rwf_size_format((int64_t)bytes, asked),
                 rwf_size_format(free_now(d), left));
    return p;
}

int device_sync(struct device *d, struct rwf_err *err)
{
    char why[512] = "";
    if (d->k->sync(d->c, why, sizeof(why)) == 0)
        return 0;
    return rwf_fail(err, RWF_E_FAILED, "%s: %s", d->info.name, why);
}

/* --- blocks --- */

/* Rows come from sizes that a user chose: a sum beyond size_t is "too large", not small. */
static size_t add_row(size_t sum, size_t bytes)
{
    size_t padded;
    if (__builtin_add_overflow(bytes, ALIGN - 1, &padded))
        return SIZE_MAX;
    padded -= padded % ALIGN;
    return __builtin_add_overflow(sum, padded, &sum) ? SIZE_MAX : sum;
}

size_t block_size(const struct block_row *rows, size_t count)
{
    size_t sum = 0;
    for (size_t i = 0; i < count && sum != SIZE_MAX; i++)
        sum = add_row(sum, rows[i].bytes);
    return sum;
}

/* The index of the largest row after those taken (by size, then by place); count: no more. */
static size_t next_largest(const struct block_row *rows, size_t count, size_t last)
{
    size_t best = count;
    for (size_t i = 0; i < count; i++) {
        bool behind = last == count || rows[i].bytes < rows[last].bytes ||
                      (rows[i].bytes == rows[last].bytes && i > last);
        if (behind && (best == count || rows[i].bytes > rows[best].bytes))
            best = i;
    }
    return best;
}

static void fail_too_large(struct device *d, const struct block_row *rows, size_t count,
                           const char *knob, struct rwf_err *err)
{
    char size[RWF_UNITS_LEN];
    struct rwf_str s = { 0 };
    size_t sum = block_size(rows, count), at = count;
    rwf_str_addf(&s, "out of memory on %s: needed %s", d->info.name,
                 rwf_size_format(sum > INT64_MAX ? INT64_MAX : (int64_t)sum, size));
    rwf_str_addf(&s, ", free %s; the largest parts:",
                 rwf_size_format(free_now(d), size));
    for (int i = 0; i < ROWS_NAMED; i++) {
        at = next_largest(rows, count, at);
        if (at == count || rows[at].bytes == 0)
            break;
        rwf_str_addf(&s, "%s %s %s", i > 0 ? "," : "", rows[at].name,
                     rwf_size_format((int64_t)rows[at].bytes, size));
    }
    if (knob != NULL)
        rwf_str_addf(&s, "; %s", knob);
    rwf_fail(err, RWF_E_FIT, "%s", s.data);
    rwf_str_free(&s);
}

void *block_carve(struct device *d, const struct block_row *rows, size_t count,
                  const char *knob, struct rwf_err *err)
{
    size_t size = block_size(rows, count), at = 0;
    void *block = NULL;
    if (size <= PTRDIFF_MAX)
        block = d->k->alloc(d->c, size > 0 ? size : ALIGN);
    if (block == NULL) {
        fail_too_large(d, rows, count, knob, err);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        *rows[i].to = (char *)block + at;
        at = add_row(at, rows[i].bytes);
    }
    return block;
}

void block_print(const char *title, const struct block_row *rows, size_t count)
{
    char size[RWF_UNITS_LEN];
    fprintf(stderr, "%s: %s\n", title,
            rwf_size_format((int64_t)block_size(rows, count), size));
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, "  %12s  %s\n", rwf_size_format((int64_t)rows[i].bytes, size),
                rows[i].name);
}
