/* SPDX-License-Identifier: Apache-2.0
 *
 * Libraries opened only when something needs them, so that the program starts at once
 * and works without them: one table of symbols per library.
 */
#ifndef RWF_BASE_DL_H
#define RWF_BASE_DL_H
#include <stddef.h>
#include "base/err.h"

struct rwf_dl_symbol {
    const char *name;
    void *address; /* of the function pointer to set: &api.open */
};

/* Opens the first of names (NULL-terminated) that exists and sets every symbol.
 * Stays open for the life of the process. */
int rwf_dl_open(const char *const *names, const struct rwf_dl_symbol *symbols, size_t count,
                struct rwf_err *err);

#endif
