/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of the cache share.
 */
#ifndef RWF_RUN_CACHE_IMPL_H
#define RWF_RUN_CACHE_IMPL_H
#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include "base/map.h"
#include "base/str.h"
#include "run/cache.h"

#define CACHE_DAY (24 * 3600 * 1000000000LL)
#define CACHE_HOUR (3600 * 1000000000LL)
/* An entry ends with this, 64 digits, quote, brace, newline. */
#define CACHE_SUM_KEY ",\"sum\":\""

/* --- journal.c: append-only files of hints, one a line, that may lose their end --- */

struct run__journal {
    char *path;
    int fd;          /* open for appending, or -1 */
    int64_t lines;   /* read at loading; decides when to write it anew */
};
/* Calls fn for every whole line that is JSON. */
void run__journal_load(struct run__journal *j,
                       void (*fn)(void *ctx, const json_t *line), void *ctx);
/* One write; failing is no error, since these are hints. */
void run__journal_add(struct run__journal *j, const json_t *line);
/* Replaces the whole with what each adds to out. */
void run__journal_rewrite(struct run__journal *j,
                          void (*each)(void *ctx, struct rwf_str *out), void *ctx);
void run__journal_close(struct run__journal *j);

struct run_cache {
    char *dir;                /* ROOT/cache */
    pthread_mutex_t lock;     /* guards what follows */
    struct run__journal digest_log, last_log;
    struct rwf_map *digests;  /* path -> struct remembered; NULL: not loaded */
    struct rwf_map *last;     /* recipe, newline, address -> key; NULL: not loaded */
    int lock_fd;              /* of `locks`, or -1 */
    char **held;              /* keys locked by this process */
    size_t held_count, held_cap;
};

/* dir/steps/ab/KEY and a suffix; caller frees, here and below. */
char *run__cache_entry_path(const struct run_cache *c, const char *key,
                            const char *suffix);
char *run__cache_blob_path(const struct run_cache *c, const char *digest,
                           bool executable);
/* A new name in tmp, which exists then. */
char *run__cache_tmp(const struct run_cache *c, struct rwf_err *err);
/* rename and link that make the target's folder when it is not there. */
int run__cache_rename(const char *from, const char *to);
int run__cache_link(const char *from, const char *to);
/* Reads and verifies an entry file; *ret_why says what is wrong with it. */
json_t *run__cache_read(const char *path, struct stat *ret_stat, const char **ret_why);
/* NULL when all outputs of an entry are there with their size, else what is wrong. */
const char *run__cache_outputs_wrong(const struct run_cache *c, const json_t *entry);
/* A step of recipe has that key now. */
void run__cache_note_last(struct run_cache *c, const char *recipe, const char *origin,
                          const char *key);
/* Their paths become absolute. */
void run__cache_make_absolute(const struct run_cache *c, json_t *entry);
/* The digests.c side of run_cache_close. */
void run__digests_close(struct run_cache *c);

/* --- tree.c: files and folders, looked at without leaving a folder --- */

struct run__file {
    const char *path; /* relative to the folder the walk began in; "" for it itself */
    int fd;           /* O_PATH; -1 for a folder */
    struct stat st;
};
typedef int (*run__file_fn)(void *ctx, const struct run__file *f, struct rwf_err *err);

/* Opens dir/path (O_PATH). Beneath: a path or link that leads out of dir is refused. -1
 * with ENOENT when there is nothing. */
int run__open_path(int dir, const char *path, bool beneath, struct stat *ret_st,
                   struct rwf_err *err);
/* Calls fn for path itself when it is a file, else for all that is in it, sorted,
 * folders before what they hold. Other kinds than files and folders are refused. */
int run__walk(int dir, const char *path, bool beneath, run__file_fn fn, void *ctx,
              struct rwf_err *err);
/* A descriptor to read what an O_PATH one stands for. */
int run__reopen(int path_fd);
/* SHA-256 of what fd holds from its start; *ret_size: bytes read. */
int run__digest_fd(int fd, char out[RWF_DIGEST_LEN], int64_t *ret_size,
                   struct rwf_err *err);

/* The digest of a folder is that of its canonical listing, built file by file. */
struct run__listing {
    struct rwf_digest *digest;
    int64_t files, size;
};
void run__listing_add(struct run__listing *l, const char *path, bool folder,
                      bool executable, const char *digest, int64_t size);

/* --- blob.c --- */

/* What one run_cache_put does. */
struct run__keeping {
    struct run_cache *c;
    bool may_link; /* the source is ours; else it is copied */
    int fresh;     /* new blobs; those beyond KEEP_SYNCED are for the caller to sync */
};
#define KEEP_SYNCED 8
/* Puts the file f into the cache and links it to path. */
int run__blob_keep(struct run__keeping *k, const struct run__file *f, const char *path,
                   char ret_digest[RWF_DIGEST_LEN], int64_t *ret_size,
                   struct rwf_err *err);

#endif
