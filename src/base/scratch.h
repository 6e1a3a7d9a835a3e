/* SPDX-License-Identifier: Apache-2.0
 *
 * A folder for what lives no longer than its process: sockets, logs of workers, spilled
 * objects. It is in XDG_RUNTIME_DIR, else TMPDIR, else /tmp, 0700, and holds a file
 * "alive" whose lock ends with the process, however that ends: whoever makes the next
 * one removes those whose lock is free.
 */
#ifndef RWF_BASE_SCRATCH_H
#define RWF_BASE_SCRATCH_H
#include "base/err.h"

struct rwf_scratch {
    char *path; /* NULL: there is none */
    int lock;
};
#define RWF_SCRATCH_INIT                                                               \
    {                                                                                  \
        NULL, -1                                                                       \
    }

/* PARENT/PREFIXXXXXXX. Folders of another prefix are left alone. */
int rwf_scratch_make(struct rwf_scratch *s, const char *prefix, struct rwf_err *err);
/* With all in it; does nothing when there is none. */
void rwf_scratch_remove(struct rwf_scratch *s);

#endif
