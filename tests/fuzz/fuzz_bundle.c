/* SPDX-License-Identifier: Apache-2.0
 * A bundle of any bytes: refused with a message and nothing is left, or it is there and
 * packs into the same digest again. The first byte says in how large pieces it comes.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "bundle/bundle.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char target[64];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    rwf_mem_init();
    snprintf(target, sizeof(target), "/dev/shm/fuzz_bundle.%d", (int)getpid());
    return 0;
}

static int feed(const uint8_t *data, size_t size, char digest[RWF_DIGEST_LEN],
                struct rwf_err *err)
{
    const struct bundle_options o = {.max_bytes = 1 << 20, .max_files = 100};
    size_t step = size ? data[0] + 1u : 1;
    struct bundle_reader *r = bundle_reader_open(target, &o, err);
    rwf_assert(r != NULL);
    int rc = 0;
    for (size_t at = 1; at < size && rc == 0; at += step)
        rc = bundle_reader_feed(r, data + at, step < size - at ? step : size - at, err);
    rc = rc ? rc : bundle_reader_finish(r, digest, err);
    bundle_reader_close(r);
    rwf_assert(rc == 0 || !rwf_fs_exists(target));
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bundle_options all = {.everything = true};
    char digest[RWF_DIGEST_LEN], again[RWF_DIGEST_LEN];
    struct rwf_err err = RWF_ERR_INIT;
    if (feed(data, size, digest, &err)) {
        rwf_assert(err.text[0]);
        return 0;
    }
    rwf_assert(bundle_digest(target, &all, again, &err) == 0);
    rwf_assert(strcmp(digest, again) == 0);
    rwf_assert(rwf_fs_rmtree(target, NULL) == 0);
    return 0;
}
