/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the writer and the reader of bundles.
 */
#ifndef RWF_BUNDLE_INSIDE_H
#define RWF_BUNDLE_INSIDE_H
#include "bundle/bundle.h"

#define BUNDLE__MAGIC "RWFBNDL\1"
enum {
    BUNDLE__MAGIC_LEN = 8,
    BUNDLE__HEAD_LEN = 11, /* kind, length of path, size */
    BUNDLE__PATH_MAX = 4095,
    BUNDLE__DEPTH_MAX = 256,
    BUNDLE__HEX = RWF_DIGEST_LEN - 1,
};

struct bundle__entry {
    char *path;
    char kind;
    int64_t size;
    char *link; /* 'l': its text */
};

/* --- collect.c --- */
struct bundle__list {
    struct bundle__entry *items;
    size_t count, cap;
    int64_t files, bytes;
};
/* All entries beneath the folder open as root, sorted. name: for messages. */
int bundle__collect(struct bundle__list *ret, int root, const char *name,
                    const struct bundle_options *o, struct rwf_err *err);
void bundle__list_free(struct bundle__list *l);

/* --- path.c --- */
/* Opens path beneath root; a link anywhere on the way fails. -1 with errno. */
int bundle__open(int root, const char *path, int flags, unsigned mode);
/* NULL, or why path cannot be an entry's. */
const char *bundle__path_bad(const char *path, size_t len);
/* NULL, or why a link at path must not have this text: it leads out of the tree. Only
 * leading ".." are taken, since a later one may follow another link. */
const char *bundle__link_bad(const char *path, const char *text, size_t len);

#endif
