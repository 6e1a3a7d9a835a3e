/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the unit tests of run/: a scratch folder of one's own.
 */
#ifndef RWF_TESTS_RUN_SUPPORT_H
#define RWF_TESTS_RUN_SUPPORT_H
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"

static char scratch[64];

static inline void scratch_make(void)
{
    snprintf(scratch, sizeof(scratch), "/tmp/rwf-unit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(scratch));
}

static inline void scratch_remove(void)
{
    ck_assert_int_eq(rwf_fs_rmtree(scratch, NULL), 0);
}

static inline char *scratch_path(const char *name)
{
    return rwf_fs_join(scratch, name);
}

#endif
