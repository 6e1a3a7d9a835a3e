/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and paths. Every char * result is the caller's to free.
 */
#ifndef RWF_BASE_FS_H
#define RWF_BASE_FS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

/* The whole file, NUL-terminated; refuses more than max bytes with EFBIG.
 * "-" reads standard input. */
char *rwf_fs_read(const char *path, size_t max, size_t *ret_len, struct rwf_err *err);
/* Writes path through a temporary file and a rename; sync: fsync before the rename. */
int rwf_fs_write(const char *path, const void *bytes, size_t len, bool sync,
                 struct rwf_err *err);
/* The same, of a file that only this user may read (0600). */
int rwf_fs_write_private(const char *path, const void *bytes, size_t len, bool sync,
                         struct rwf_err *err);
/* write(2) until all of it is written. */
int rwf_fs_write_all(int fd, const void *bytes, size_t len, struct rwf_err *err);
/* mkdir -p. */
int rwf_fs_mkdirs(const char *path, struct rwf_err *err);
/* rm -rf, never following a link out; a missing path is success. */
int rwf_fs_rmtree(const char *path, struct rwf_err *err);
bool rwf_fs_exists(const char *path);
bool rwf_fs_is_file(const char *path);
/* dir/path, or path itself when it is absolute. */
char *rwf_fs_join(const char *dir, const char *path);
char *rwf_fs_dirname(const char *path);
const char *rwf_fs_basename(const char *path);
/* Absolute, without "." and ".." (textually; the file need not exist). */
char *rwf_fs_absolute(const char *path);
/* The same, of a text that no shell has seen: "~/…" is below HOME, what is relative below dir
 * (NULL: the current one). */
char *rwf_fs_expand(const char *text, const char *dir);
/* True for a relative path that stays beneath its start: no "..", not empty, no NUL. */
bool rwf_fs_is_beneath(const char *path);
/* Path of this very program. */
char *rwf_fs_self(void);

#endif
