/* SPDX-License-Identifier: Apache-2.0
 *
 * Remembered digests of input files. A file whose (size, mtime, inode, device) are as
 * they were is not read again. One that was changed within the last two seconds may be
 * changed once more without a new mtime, so its digest is made but not remembered.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "run/cache_impl.h"

#define RACY (2 * RWF_NS_PER_S)
#define REWRITE_LINES 4096 /* not below that, and only when half of them are stale */

struct remembered {
    int64_t size, mtime, ino, dev;
    char digest[RWF_DIGEST_LEN];
};

static int64_t mtime_of(const struct stat *st)
{
    return st->st_mtim.tv_sec * RWF_NS_PER_S + st->st_mtim.tv_nsec;
}

static void remember(struct run_cache *c, const char *path, const struct remembered *r)
{
    struct remembered *copy = rwf_xmalloc(sizeof(*copy));
    *copy = *r;
    free(rwf_map_set(c->digests, path, copy));
}

static void load_line(void *ctx, const json_t *line)
{
    struct remembered r;
    const char *path, *digest;
    json_int_t size, mtime, ino, dev;
    if (json_unpack((json_t *)line, "[s, I, I, I, I, s]", &path, &size, &mtime, &ino,
                    &dev, &digest) < 0 ||
        strlen(digest) != RWF_DIGEST_LEN - 1)
        return;
    r = (struct remembered){ .size = size, .mtime = mtime, .ino = ino, .dev = dev };
    memcpy(r.digest, digest, sizeof(r.digest));
    remember(ctx, path, &r);
}

static json_t *line_of(const char *path, const struct remembered *r)
{
    return json_pack("[s, I, I, I, I, s]", path, (json_int_t)r->size,
                     (json_int_t)r->mtime, (json_int_t)r->ino, (json_int_t)r->dev,
                     r->digest);
}

static void write_all(void *ctx, struct rwf_str *out)
{
    const struct run_cache *c = ctx;
    for (size_t i = 0; i < rwf_map_count(c->digests); i++) {
        json_t *line =
            line_of(rwf_map_key_at(c->digests, i), rwf_map_value_at(c->digests, i));
        char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
        if (text)
            rwf_str_addf(out, "%s\n", text);
        free(text);
        json_decref(line);
    }
}

static void load(struct run_cache *c)
{
    c->digests = rwf_map_create();
    run__journal_load(&c->digest_log, load_line, c);
    if (c->digest_log.lines > REWRITE_LINES &&
        c->digest_log.lines > 2 * (int64_t)rwf_map_count(c->digests))
        run__journal_rewrite(&c->digest_log, write_all, c);
}

static bool recall(struct run_cache *c, const char *path, const struct stat *st,
                   char out[RWF_DIGEST_LEN])
{
    pthread_mutex_lock(&c->lock);
    if (!c->digests)
        load(c);
    const struct remembered *r = rwf_map_get(c->digests, path);
    bool same = r && r->size == st->st_size && r->mtime == mtime_of(st) &&
                r->ino == (int64_t)st->st_ino && r->dev == (int64_t)st->st_dev;
    if (same)
        memcpy(out, r->digest, RWF_DIGEST_LEN);
    pthread_mutex_unlock(&c->lock);
    return same;
}

static void keep(struct run_cache *c, const char *path, const struct stat *st,
                 const char *digest)
{
    int64_t age = rwf_clock_wall() - mtime_of(st);
    if (age < RACY || !rwf_utf8_valid(path, strlen(path)))
        return;
    struct remembered r = { st->st_size, mtime_of(st), (int64_t)st->st_ino,
                            (int64_t)st->st_dev, "" };
    memcpy(r.digest, digest, sizeof(r.digest));
    pthread_mutex_lock(&c->lock);
    remember(c, path, &r);
    json_t *line = line_of(path, &r);
    if (line)
        run__journal_add(&c->digest_log, line);
    json_decref(line);
    pthread_mutex_unlock(&c->lock);
}

static int digest_open_file(struct run_cache *c, int fd, const char *path,
                            const struct stat *before, char out[RWF_DIGEST_LEN],
                            struct rwf_err *err)
{
    if (recall(c, path, before, out))
        return 0;
    int file = run__reopen(fd);
    if (file < 0)
        return rwf_fail(err, RWF_E_INPUT, "cannot read %s: %s", path, strerror(errno));
    int64_t size = 0;
    struct stat after;
    int rc = run__digest_fd(file, out, &size, err);
    if (rc < 0)
        rwf_wrap(err, "%s", path);
    else if (fstat(file, &after) == 0 && after.st_size == before->st_size &&
             mtime_of(&after) == mtime_of(before))
        keep(c, path, before, out);
    close(file);
    return rc;
}

struct folder {
    struct run_cache *c;
    const char *root;
    struct run__listing listing;
};

static int digest_member(void *ctx, const struct run__file *f, struct rwf_err *err)
{
    struct folder *folder = ctx;
    char digest[RWF_DIGEST_LEN];
    if (f->fd < 0) {
        run__listing_add(&folder->listing, f->path, true, false, NULL, 0);
        return 0;
    }
    char *full = rwf_fs_join(folder->root, f->path);
    int rc = digest_open_file(folder->c, f->fd, full, &f->st, digest, err);
    free(full);
    if (rc == 0)
        run__listing_add(&folder->listing, f->path, false, (f->st.st_mode & 0111) != 0,
                         digest, f->st.st_size);
    return rc;
}

static int digest_folder(struct run_cache *c, int fd, const char *path,
                         char out[RWF_DIGEST_LEN], struct rwf_err *err)
{
    struct folder folder = { .c = c, .root = path };
    int rc = run__walk(fd, "", false, digest_member, &folder, err);
    if (rc == 0) {
        rwf_digest_finish(folder.listing.digest, out);
        return 0;
    }
    if (folder.listing.digest)
        rwf_digest_free(folder.listing.digest);
    if (err)
        err->code = RWF_E_INPUT;
    return rwf_wrap(err, "folder %s", path);
}

int run_cache_digest(void *cache, const char *path, char out[RWF_DIGEST_LEN],
                     struct rwf_err *err)
{
    struct run_cache *c = cache;
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && recall(c, path, &st, out))
        return 0;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        int why = errno;
        if (fd >= 0)
            close(fd);
        return rwf_fail(err, RWF_E_INPUT, "cannot read %s: %s", path, strerror(why));
    }
    int rc;
    if (S_ISREG(st.st_mode))
        rc = digest_open_file(c, fd, path, &st, out, err);
    else if (S_ISDIR(st.st_mode))
        rc = digest_folder(c, fd, path, out, err);
    else
        rc = rwf_fail(err, RWF_E_INPUT, "%s is neither a file nor a folder", path);
    close(fd);
    return rc;
}

void run__digests_close(struct run_cache *c)
{
    rwf_map_destroy(c->digests, free);
    run__journal_close(&c->digest_log);
    free(c->digest_log.path);
}
