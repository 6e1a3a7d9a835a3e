/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking after the cache: counting, ageing, verifying. All of it may run while runs
 * use the cache. A blob that only `blobs` knows has one link; an outputs' folder
 * without its entry is left alone for an hour, since its put may be about to publish
 * it.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "run/cache_impl.h"

int run_cache_drop(struct run_cache *c, const char *key, struct rwf_err *err)
{
    char *path = run__cache_entry_path(c, key, ".json");
    struct stat st;
    const char *why;
    json_t *entry = run__cache_read(path, &st, &why);
    int rc = 0;
    if (unlink(path) < 0 && errno != ENOENT)
        rc = rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    const char *name;
    json_t *output;
    json_object_foreach(json_object_get(entry, "outputs"), name, output) {
        const char *out = json_string_value(json_object_get(output, "path"));
        /* steps/ab/KEY.DIGEST: what follows lies in it */
        size_t len = strlen("steps/ab/") + strlen(key) + 17;
        if (rc < 0 || !out || strlen(out) < len ||
            strncmp(out + 9, key, strlen(key)) != 0)
            continue;
        char *folder = rwf_xasprintf("%s/%.*s", c->dir, (int)len, out);
        rc = rwf_fs_rmtree(folder, err);
        free(folder);
    }
    json_decref(entry);
    free(path);
    return rc;
}

/* --- walking the shards --- */

typedef int (*member_fn)(void *ctx, const char *path, const char *name,
                         const struct stat *st, struct rwf_err *err);

static int each_in(const char *dir, member_fn fn, void *ctx, struct rwf_err *err)
{
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT || errno == ENOTDIR
               ? 0 : rwf_fail(err, errno, "%s: %s", dir, strerror(errno));
    const struct dirent *e;
    int rc = 0;
    while (rc == 0 && (e = readdir(d))) {
        struct stat st;
        if (e->d_name[0] == '.')
            continue;
        char *path = rwf_fs_join(dir, e->d_name);
        if (lstat(path, &st) == 0) /* else somebody was faster */
            rc = fn(ctx, path, e->d_name, &st, err);
        free(path);
    }
    closedir(d);
    return rc;
}

struct shards {
    member_fn fn;
    void *ctx;
};

static int each_shard(void *ctx, const char *path, const char *name,
                      const struct stat *st, struct rwf_err *err)
{
    const struct shards *s = ctx;
    (void)name;
    return S_ISDIR(st->st_mode) ? each_in(path, s->fn, s->ctx, err) : 0;
}

static int each_member(const struct run_cache *c, const char *kind, member_fn fn,
                       void *ctx, struct rwf_err *err)
{
    struct shards s = { fn, ctx };
    char *dir = rwf_fs_join(c->dir, kind);
    int rc = each_in(dir, each_shard, &s, err);
    free(dir);
    return rc;
}

static bool is_entry(const char *name)
{
    return rwf_ends_with(name, ".json");
}

static int64_t age_of(const struct stat *st)
{
    return rwf_clock_wall() - (st->st_mtim.tv_sec * RWF_NS_PER_S + st->st_mtim.tv_nsec);
}

/* --- counting --- */

static int count_entry(void *ctx, const char *path, const char *name,
                       const struct stat *st, struct rwf_err *err)
{
    struct run_cache_stats *s = ctx;
    (void)path, (void)st, (void)err;
    s->entries += is_entry(name);
    return 0;
}

static int count_blob(void *ctx, const char *path, const char *name,
                      const struct stat *st, struct rwf_err *err)
{
    struct run_cache_stats *s = ctx;
    (void)path, (void)name, (void)err;
    s->blobs++;
    s->bytes += st->st_size;
    return 0;
}

int run_cache_stats(struct run_cache *c, struct run_cache_stats *ret,
                    struct rwf_err *err)
{
    struct run_cache_stats s = { 0 };
    if (each_member(c, "steps", count_entry, &s, err) < 0 ||
        each_member(c, "blobs", count_blob, &s, err) < 0)
        return -1;
    *ret = s;
    return 0;
}

struct each {
    struct run_cache *c;
    void (*fn)(void *ctx, const json_t *entry);
    void *ctx;
};

static int tell_entry(void *ctx, const char *path, const char *name,
                      const struct stat *st, struct rwf_err *err)
{
    const struct each *e = ctx;
    struct stat now;
    const char *why;
    (void)st, (void)err;
    json_t *entry = is_entry(name) ? run__cache_read(path, &now, &why) : NULL;
    if (entry) {
        run__cache_make_absolute(e->c, entry);
        e->fn(e->ctx, entry);
    }
    json_decref(entry);
    return 0;
}

int run_cache_each(struct run_cache *c, void (*fn)(void *ctx, const json_t *entry),
                   void *ctx, struct rwf_err *err)
{
    struct each e = { c, fn, ctx };
    return each_member(c, "steps", tell_entry, &e, err);
}

/* --- ageing --- */

struct gc {
    struct run_cache *c;
    int64_t max_age;
    struct run_cache_stats removed;
};

static char *key_of(const char *name)
{
    return rwf_xstrndup(name, strcspn(name, "."));
}

static int age_entry(void *ctx, const char *path, const char *name,
                     const struct stat *st, struct rwf_err *err)
{
    struct gc *gc = ctx;
    (void)path;
    /* Uses are noted once a day, so an entry may have been used a day later than it
     * says. */
    if (!is_entry(name) || (gc->max_age > 0 && age_of(st) < gc->max_age + CACHE_DAY))
        return 0;
    char *key = key_of(name);
    int rc = run_cache_drop(gc->c, key, err);
    free(key);
    gc->removed.entries += rc == 0;
    return rc;
}

static bool is_referred_to(const struct run_cache *c, const char *name)
{
    char *key = key_of(name), *path = run__cache_entry_path(c, key, ".json");
    struct stat st;
    const char *why, *output_name;
    json_t *entry = run__cache_read(path, &st, &why), *output;
    bool found = false;
    json_object_foreach(json_object_get(entry, "outputs"), output_name, output) {
        const char *out = json_string_value(json_object_get(output, "path"));
        found |= out && strstr(out, name) != NULL;
    }
    json_decref(entry);
    free(path);
    free(key);
    return found;
}

/* Folders whose entry is gone or has other outputs now, and entries never finished. */
static int age_orphan(void *ctx, const char *path, const char *name,
                      const struct stat *st, struct rwf_err *err)
{
    const struct gc *gc = ctx;
    struct stat now = *st;
    now.st_mtim = st->st_ctim; /* a rename changes that one only */
    if (is_entry(name) || age_of(&now) < CACHE_HOUR ||
        (S_ISDIR(st->st_mode) && is_referred_to(gc->c, name)))
        return 0;
    return rwf_fs_rmtree(path, err);
}

static int age_blob(void *ctx, const char *path, const char *name,
                    const struct stat *st, struct rwf_err *err)
{
    struct gc *gc = ctx;
    (void)name;
    if (st->st_nlink > 1)
        return 0;
    if (unlink(path) < 0 && errno != ENOENT)
        return rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    gc->removed.blobs++;
    gc->removed.bytes += st->st_size;
    return 0;
}

static int age_tmp(void *ctx, const char *path, const char *name, const struct stat *st,
                   struct rwf_err *err)
{
    (void)ctx, (void)name;
    return age_of(st) < CACHE_DAY ? 0 : rwf_fs_rmtree(path, err);
}

int run_cache_gc(struct run_cache *c, int64_t max_age,
                 struct run_cache_stats *ret_removed, struct rwf_err *err)
{
    struct gc gc = { .c = c, .max_age = max_age };
    char *tmp = rwf_fs_join(c->dir, "tmp");
    int rc = each_member(c, "steps", age_entry, &gc, err);
    if (rc == 0)
        rc = each_member(c, "steps", age_orphan, &gc, err);
    if (rc == 0)
        rc = each_in(tmp, age_tmp, &gc, err);
    if (rc == 0)
        rc = each_member(c, "blobs", age_blob, &gc, err);
    free(tmp);
    if (rc == 0 && ret_removed)
        *ret_removed = gc.removed;
    return rc;
}

/* --- verifying --- */

struct verify {
    struct run_cache *c;
    void (*bad)(void *ctx, const char *path);
    void *ctx;
    struct rwf_map *good; /* inode -> digest, of blobs whose content is right */
};

static void inode_name(const struct stat *st, char out[48])
{
    snprintf(out, 48, "%llx:%llx", (unsigned long long)st->st_dev,
             (unsigned long long)st->st_ino);
}

static int verify_blob(void *ctx, const char *path, const char *name,
                       const struct stat *st, struct rwf_err *err)
{
    const struct verify *v = ctx;
    char digest[RWF_DIGEST_LEN] = "", inode[48];
    struct rwf_err local = RWF_ERR_INIT;
    inode_name(st, inode);
    if (rwf_digest_file(path, digest, NULL, &local) < 0 && local.code == ENOENT)
        return 0;
    if (strncmp(digest, name, RWF_DIGEST_LEN - 1) == 0) {
        free(rwf_map_set(v->good, inode, rwf_xstrdup(digest)));
        return 0;
    }
    v->bad(v->ctx, path);
    if (unlink(path) < 0 && errno != ENOENT)
        return rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    return 0;
}

struct check {
    const struct verify *v;
    struct run__listing listing;
    size_t prefix;
    char digest[RWF_DIGEST_LEN];
    bool folder;
};

/* What is no link to a right blob is read itself: it may be a copy. */
static int digest_member(struct check *k, const struct run__file *f,
                         struct rwf_err *err)
{
    char inode[48];
    inode_name(&f->st, inode);
    const char *known = rwf_map_get(k->v->good, inode);
    if (known) {
        memcpy(k->digest, known, sizeof(k->digest));
        return 0;
    }
    int64_t size = 0;
    int fd = run__reopen(f->fd);
    if (fd < 0)
        return rwf_fail(err, errno, "cannot read: %s", strerror(errno));
    int rc = run__digest_fd(fd, k->digest, &size, err);
    close(fd);
    return rc;
}

static int check_file(void *ctx, const struct run__file *f, struct rwf_err *err)
{
    struct check *k = ctx;
    const char *inner = f->path + k->prefix;
    inner += *inner == '/';
    if (f->fd < 0) {
        k->folder = true;
        run__listing_add(&k->listing, inner, true, false, NULL, 0);
        return 0;
    }
    int rc = digest_member(k, f, err);
    if (rc == 0)
        run__listing_add(&k->listing, inner, false, (f->st.st_mode & 0111) != 0,
                         k->digest, f->st.st_size);
    return rc;
}

static bool output_is_right(const struct verify *v, const json_t *output)
{
    const char *path = json_string_value(json_object_get(output, "path"));
    const char *digest = json_string_value(json_object_get(output, "digest"));
    if (!path || !digest || !rwf_starts_with(digest, "sha256:"))
        return false;
    struct check k = { .v = v, .prefix = strlen(path) };
    struct rwf_err err = RWF_ERR_INIT;
    int dir = open(v->c->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool read = dir >= 0 && run__walk(dir, path, true, check_file, &k, &err) == 0;
    char listing[RWF_DIGEST_LEN] = "";
    if (k.listing.digest)
        rwf_digest_finish(k.listing.digest, listing);
    if (dir >= 0)
        close(dir);
    return read && strcmp(digest + 7, k.folder ? listing : k.digest) == 0;
}

static int verify_entry(void *ctx, const char *path, const char *name,
                        const struct stat *st, struct rwf_err *err)
{
    const struct verify *v = ctx;
    struct stat now;
    const char *why, *output_name;
    (void)st;
    if (!is_entry(name))
        return 0;
    json_t *entry = run__cache_read(path, &now, &why), *output;
    bool right = entry != NULL;
    json_object_foreach(json_object_get(entry, "outputs"), output_name, output)
        right = right && output_is_right(v, output);
    json_decref(entry);
    if (right)
        return 0;
    v->bad(v->ctx, path);
    char *key = key_of(name);
    int rc = run_cache_drop(v->c, key, err);
    free(key);
    return rc;
}

int run_cache_verify(struct run_cache *c, void (*bad)(void *ctx, const char *path),
                     void *ctx, struct rwf_err *err)
{
    struct verify v = { .c = c, .bad = bad, .ctx = ctx, .good = rwf_map_create() };
    int rc = each_member(c, "blobs", verify_blob, &v, err);
    if (rc == 0)
        rc = each_member(c, "steps", verify_entry, &v, err);
    rwf_map_destroy(v.good, free);
    return rc;
}
