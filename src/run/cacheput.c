/* SPDX-License-Identifier: Apache-2.0
 *
 * Putting. An entry without outputs is one small file that is written, not synced, and
 * renamed; a crash of the machine may lose it or leave zeros, which its sum tells. With
 * outputs, these get their place first: a folder named after the key and their content,
 * so that putting the same key again with other content never changes files that
 * somebody is reading. What fails on the way leaves nothing but blobs, which gc finds.
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

struct putting {
    struct run__keeping keeping;
    const char *tmp;      /* the outputs' folder under construction, or NULL */
    size_t prefix;        /* of the output's own path, for names in its listing */
    struct run__listing listing;
    char digest[RWF_DIGEST_LEN]; /* of the last file */
    bool is_folder;
};

static int keep_member(void *ctx, const struct run__file *f, struct rwf_err *err)
{
    struct putting *p = ctx;
    char *to = rwf_fs_join(p->tmp, f->path);
    const char *inner = f->path + p->prefix;
    int64_t size = 0;
    int rc;
    inner += *inner == '/';
    if (f->fd < 0) {
        p->is_folder = true;
        rc = rwf_fs_mkdirs(to, err);
    } else {
        rc = run__blob_keep(&p->keeping, f, to, p->digest, &size, err);
    }
    if (rc == 0)
        run__listing_add(&p->listing, inner, f->fd < 0, (f->st.st_mode & 0111) != 0,
                         p->digest, size);
    free(to);
    return rc;
}

/* The path as the walk takes it: no "./", no "/" at its end. */
static char *plain_path(const char *path)
{
    while (path[0] == '.' && path[1] == '/')
        path += 1 + strspn(path + 1, "/");
    size_t len = strlen(path);
    while (len > 0 && path[len - 1] == '/')
        len--;
    return rwf_xstrndup(path, len);
}

static int keep_output(struct putting *p, int dir, const char *path, json_t **ret,
                       struct rwf_err *err)
{
    char *to = rwf_fs_join(p->tmp, path), *parent = rwf_fs_dirname(to);
    p->prefix = strlen(path);
    p->is_folder = false;
    p->listing = (struct run__listing){ 0 };
    int rc = rwf_fs_mkdirs(parent, err);
    if (rc == 0)
        rc = run__walk(dir, path, true, keep_member, p, err);
    char listing[RWF_DIGEST_LEN];
    if (p->listing.digest)
        rwf_digest_finish(p->listing.digest, listing);
    if (rc == 0) {
        char text[8 + RWF_DIGEST_LEN];
        snprintf(text, sizeof(text), "sha256:%s", p->is_folder ? listing : p->digest);
        *ret = json_pack("{s:s, s:s, s:I}", "path", path, "digest", text, "size",
                         (json_int_t)p->listing.size);
        if (p->is_folder)
            json_object_set_new(*ret, "files", json_integer(p->listing.files));
    }
    free(parent);
    free(to);
    return rc;
}

/* The kept outputs, with paths as declared; NULL with *ret_missing or *err. */
static json_t *keep_outputs(struct putting *p, int dir, const json_t *outputs,
                            char **ret_missing, struct rwf_err *err)
{
    json_t *kept = json_object(), *one = NULL, *value;
    const char *name;
    json_object_foreach((json_t *)outputs, name, value) {
        const char *text = json_string_value(value);
        struct stat st;
        int rc = -1;
        if (!text || !rwf_fs_is_beneath(text)) {
            rwf_fail(err, RWF_E_FAILED,
                     "output '%s': its path '%s' must lie within the step's "
                     "folder: relative and without '..'",
                     name, text ? text : "");
            break;
        }
        char *path = plain_path(text);
        int fd = run__open_path(dir, path, true, &st, err);
        if (fd >= 0) {
            close(fd);
            rc = keep_output(p, dir, path, &one, err);
        } else if (err->code == ENOENT || err->code == ENOTDIR) {
            *ret_missing = rwf_xstrdup(name);
            rwf_fail(err, RWF_E_FAILED, "was not written: there is no '%s'", text);
        }
        free(path);
        if (rc < 0) {
            rwf_wrap(err, "output '%s'", name);
            break;
        }
        json_object_set_new(kept, name, one);
    }
    if (json_object_size(kept) == json_object_size(outputs))
        return kept;
    json_decref(kept);
    return NULL;
}

/* Where outputs with that content belong, relative to the cache. */
static char *outputs_place(const char *key, const json_t *kept)
{
    char digest[RWF_DIGEST_LEN];
    rwf_digest_json(kept, digest);
    return rwf_xasprintf("steps/%.2s/%s.%.16s", key, key, digest);
}

static void move_paths(json_t *kept, const char *place)
{
    const char *name;
    json_t *output;
    json_object_foreach(kept, name, output) {
        char *path =
            rwf_fs_join(place, json_string_value(json_object_get(output, "path")));
        json_object_set_new(output, "path", json_string(path));
        free(path);
    }
}

/* Moves the finished folder to its place. One that is there and whole has the same
 * content and perhaps readers: it stays. */
static int settle(struct putting *p, const char *key, json_t *kept, struct rwf_err *err)
{
    const struct run_cache *c = p->keeping.c;
    if (p->keeping.fresh > KEEP_SYNCED) { /* cheaper than one by one */
        int fd = open(p->tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int rc = fd < 0 ? -1 : syncfs(fd);
        int why = errno;
        if (fd >= 0)
            close(fd);
        if (rc < 0)
            return rwf_fail(err, why, "cannot sync the outputs: %s", strerror(why));
    }
    char *place = outputs_place(key, kept), *full = rwf_fs_join(c->dir, place);
    move_paths(kept, place);
    json_t *probe = json_pack("{s:O}", "outputs", kept);
    int rc = 0;
    if (rwf_fs_exists(full) && run__cache_outputs_wrong(c, probe))
        rc = rwf_fs_rmtree(full, err);
    if (rc == 0 && run__cache_rename(p->tmp, full) < 0 && errno != ENOTEMPTY &&
        errno != EEXIST)
        rc = rwf_fail(err, errno, "%s: %s", full, strerror(errno));
    json_decref(probe);
    free(full);
    free(place);
    return rc;
}

static json_t *make_entry(const char *key, const json_t *parts, json_t *kept,
                          const json_t *metrics, const char *origin)
{
    char time[RWF_TIME_LEN];
    rwf_clock_format(rwf_clock_wall(), time);
    return json_pack("{s:i, s:s, s:O, s:O, s:O?, s:s, s:s}", "v", 1, "key", key,
                     "parts", parts, "outputs", kept, "metrics", metrics, "origin",
                     origin, "time", time);
}

static int write_entry(const char *path, const char *bytes, size_t len,
                       struct rwf_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return errno == ENOENT ? 1
                               : rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    int rc = rwf_fs_write_all(fd, bytes, len, err);
    close(fd);
    return rc;
}

static int publish(const struct run_cache *c, const char *key, const json_t *entry,
                   struct rwf_err *err)
{
    static unsigned counter;
    char *text = json_dumps(entry, JSON_COMPACT);
    if (!text)
        return rwf_fail(err, ENOMEM, "cannot write the entry as JSON");
    struct rwf_str s = { 0 };
    char sum[RWF_DIGEST_LEN], suffix[48];
    rwf_str_addn(&s, text, strlen(text) - 1); /* without its last brace */
    rwf_digest_bytes(s.data, s.len, sum);
    rwf_str_addf(&s, CACHE_SUM_KEY "%s\"}\n", sum);
    snprintf(suffix, sizeof(suffix), ".%d-%u.tmp", (int)getpid(),
             __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED));
    char *tmp = run__cache_entry_path(c, key, suffix);
    char *path = run__cache_entry_path(c, key, ".json");
    int rc = write_entry(tmp, s.data, s.len, err);
    if (rc > 0) {
        char *dir = rwf_fs_dirname(tmp);
        rc = rwf_fs_mkdirs(dir, err);
        free(dir);
        if (rc == 0)
            rc = write_entry(tmp, s.data, s.len, err);
    }
    if (rc == 0 && rename(tmp, path) < 0)
        rc = rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    if (rc != 0)
        unlink(tmp);
    free(path);
    free(tmp);
    rwf_str_free(&s);
    free(text);
    return rc == 0 ? 0 : -1;
}

/* Files beneath our root are ours alone; others are the user's and may change. */
static bool is_ours(const struct run_cache *c, const char *dir)
{
    char *root = rwf_fs_dirname(c->dir), *full = rwf_fs_absolute(dir);
    size_t len = strlen(root);
    bool ours = strncmp(full, root, len) == 0 && full[len] == '/';
    free(full);
    free(root);
    return ours;
}

static json_t *put_outputs(struct run_cache *c, const char *key, const char *dir,
                           const json_t *outputs, char **ret_missing,
                           struct rwf_err *err)
{
    if (json_object_size(outputs) == 0)
        return json_object();
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        rwf_fail(err, errno, "the step's folder %s: %s", dir, strerror(errno));
        return NULL;
    }
    json_t *kept = NULL;
    char *tmp = run__cache_tmp(c, err);
    if (tmp) {
        struct putting p = {.keeping = {.c = c, .may_link = is_ours(c, dir)},
                            .tmp = tmp};
        kept = keep_outputs(&p, fd, outputs, ret_missing, err);
        if (kept && settle(&p, key, kept, err) < 0) {
            json_decref(kept);
            kept = NULL;
        }
        rwf_fs_rmtree(tmp, NULL);
    }
    free(tmp);
    close(fd);
    return kept;
}

static void explain_full_disk(const struct run_cache *c, struct rwf_err *err)
{
    if (err->code == ENOSPC || err->code == EDQUOT)
        rwf_wrap(err, "the disk of %s is full; make room (raywf cache gc) and resume",
                 c->dir);
}

json_t *run_cache_put(struct run_cache *c, const char *key, const json_t *parts,
                      const char *dir, const json_t *outputs, const json_t *metrics,
                      const char *recipe, const char *origin, char **ret_missing,
                      struct rwf_err *err)
{
    struct rwf_err local = RWF_ERR_INIT;
    char *missing = NULL;
    if (!err)
        err = &local;
    json_t *kept = put_outputs(c, key, dir, outputs, &missing, err);
    json_t *entry = kept ? make_entry(key, parts, kept, metrics, origin) : NULL;
    int rc = -1;
    if (kept && !entry)
        rwf_fail(err, EINVAL,
                 "the parts of the key, metrics or origin are no valid text");
    else if (entry)
        rc = publish(c, key, entry, err);
    if (rc == 0) {
        run__cache_note_last(c, recipe, origin, key);
        run__cache_make_absolute(c, entry);
        json_incref(kept);
    } else {
        explain_full_disk(c, err);
    }
    if (missing && ret_missing)
        *ret_missing = missing;
    else
        free(missing);
    json_decref(entry);
    json_decref(kept);
    return rc == 0 ? kept : NULL;
}
