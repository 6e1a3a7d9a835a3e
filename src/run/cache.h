/* SPDX-License-Identifier: Apache-2.0
 *
 * Results of steps, by key; content by digest. Beneath ROOT/cache:
 *
 *   steps/ab/KEY.json     {v: 1, key, parts, outputs, metrics, origin, time, sum}
 *   steps/ab/KEY.DIGEST/  its outputs under their own names, hard links to blobs
 *   blobs/ab/DIGEST       file contents, read-only, each once; DIGESTx: executable
 *   locks                 a byte per key, locked while a step with that key runs
 *   tmp/                  under construction; swept when older than a day
 *   digests.ndjson        remembered file digests
 *   last.ndjson           which key a step of a recipe had last
 *
 * An entry appears by one rename, so it is whole or absent; `sum` guards it against a
 * crash of the machine. Any number of processes may use one cache; one struct run_cache
 * may be used by several threads. Nothing is created before something is kept.
 */
#ifndef RWF_RUN_CACHE_H
#define RWF_RUN_CACHE_H
#include <jansson.h>
#include <stdbool.h>
#include "base/digest.h"
#include "base/err.h"

struct run_cache;

struct run_cache *run_cache_open(const char *root, struct rwf_err *err);
void run_cache_close(struct run_cache *c);

/* The entry, or NULL with *ret_miss a short reason ("not there", "output blob is
 * gone"). Outputs are checked to exist with their size. Caller decrefs. */
json_t *run_cache_get(struct run_cache *c, const char *key, const char **ret_miss);
/* The newest entry made for that step address of recipe: for `why`. NULL when there is
 * none. */
json_t *run_cache_last_for(struct run_cache *c, const char *recipe,
                           const char *address);

/* Keeps a result. outputs: {name: path relative to dir}. Files get a second name in
 * the cache when dir lies beneath ROOT, else they are copied, since the user may change
 * them; folders are kept as trees of files. Outputs are synced before the entry appears.
 * Returns its outputs {name: {"path": absolute, "digest": "sha256:…", "size": N,
 * "files": N for a folder}}, caller decrefs. origin is "RUN/ADDRESS". A missing output:
 * *ret_missing names it (caller frees) and code RWF_E_FAILED. Links that point outside
 * dir, devices and sockets are refused. */
json_t *run_cache_put(struct run_cache *c, const char *key, const json_t *parts,
                      const char *dir, const json_t *outputs, const json_t *metrics,
                      const char *recipe, const char *origin, char **ret_missing,
                      struct rwf_err *err);
/* Drops an entry (its blobs go with gc). */
int run_cache_drop(struct run_cache *c, const char *key, struct rwf_err *err);

/* 1 locked, 0 somebody else (or this process) holds it, -1 *err. *ret_lock is released
 * by unlock. Locks die with their process. */
int run_cache_trylock(struct run_cache *c, const char *key, int *ret_lock,
                      struct rwf_err *err);
void run_cache_unlock(struct run_cache *c, const char *key, int lock);

/* plan_digest_fn: remembers digests by (path, size, mtime, inode). A folder has the
 * digest of its listing, as an output folder has. */
int run_cache_digest(void *cache, const char *path, char out[RWF_DIGEST_LEN],
                     struct rwf_err *err);

/* True when nothing was ever kept: a look at one folder, however large the cache is. */
bool run_cache_empty(const struct run_cache *c);

struct run_cache_stats { int64_t entries, blobs, bytes; };
int run_cache_stats(struct run_cache *c, struct run_cache_stats *ret,
                    struct rwf_err *err);
/* Calls fn for every entry. */
int run_cache_each(struct run_cache *c, void (*fn)(void *ctx, const json_t *entry),
                   void *ctx, struct rwf_err *err);
/* Removes entries not used for max_age ns (0: all), then blobs nothing points to. */
int run_cache_gc(struct run_cache *c, int64_t max_age,
                 struct run_cache_stats *ret_removed, struct rwf_err *err);
/* Reads every blob; calls bad for each whose content is not its name, and drops it. */
int run_cache_verify(struct run_cache *c, void (*bad)(void *ctx, const char *path),
                     void *ctx, struct rwf_err *err);

#endif
