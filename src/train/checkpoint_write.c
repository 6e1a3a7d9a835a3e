/* SPDX-License-Identifier: Apache-2.0
 *
 * One checkpoint onto the disk: into a hidden folder beside its place, small files
 * first, then the tensors, the manifest last; all synced, then renamed. Removing is
 * renaming to a hidden name first. So what has a visible name was whole when it got it.
 */
#include "config.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/checkpoint_impl.h"

#define PIECE ((size_t)8 << 20)
#define HIDDEN ".step-"

/* A hidden name that nobody has, as an empty folder. */
static char *hidden_folder(const char *folder, int64_t step, struct rwf_err *err)
{
    for (int i = 0; i < 1000; i++) {
        char *path = rwf_xasprintf("%s/" HIDDEN "%08" PRId64 ".%d.%d", folder, step,
                                   (int)getpid(), i);
        if (mkdir(path, 0777) == 0)
            return path;
        int code = errno;
        if (code != EEXIST)
            rwf_fail(err, code, "cannot create folder '%s': %s", path, strerror(code));
        free(path);
        if (code != EEXIST)
            return NULL;
    }
    rwf_fail(err, EEXIST, "'%s' is full of hidden folders: remove them", folder);
    return NULL;
}

void train__sweep(const char *folder)
{
    DIR *d = opendir(folder);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        struct rwf_err err = RWF_ERR_INIT;
        if (!rwf_starts_with(e->d_name, HIDDEN))
            continue;
        char *path = rwf_fs_join(folder, e->d_name);
        if (rwf_fs_rmtree(path, &err) < 0)
            rwf_log(RWF_LOG_WARN, "train", "%s", err.text);
        free(path);
    }
    if (d)
        closedir(d);
}

int train__sync_folder(const char *path, struct rwf_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? -1 : fsync(fd);
    /* Some file systems cannot sync a folder, and need not. */
    if (rc < 0 && (fd < 0 || (errno != EINVAL && errno != ENOSYS)))
        rc = rwf_fail(err, errno, "cannot sync folder '%s': %s", path, strerror(errno));
    else
        rc = 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

/* --- the files --- */

static void list_file(json_t *files, const char *name, int64_t bytes,
                      const char *digest)
{
    json_object_set_new(
        files, name,
        json_pack("{s:I, s:s}", "bytes", (json_int_t)bytes, "sha256", digest));
}

static int put_text(const char *folder, const char *name, const char *text, size_t len,
                    json_t *files, struct rwf_err *err)
{
    char digest[RWF_DIGEST_LEN];
    char *path = rwf_fs_join(folder, name);
    int rc = rwf_fs_write(path, text, len, true, err);
    free(path);
    if (rc < 0)
        return -1;
    if (files) {
        rwf_digest_bytes(text, len, digest);
        list_file(files, name, (int64_t)len, digest);
    }
    return 0;
}

static int put_copy(const char *folder, const char *name, const char *from,
                    json_t *files, struct rwf_err *err)
{
    size_t len;
    if (!from)
        return 0;
    char *text = rwf_fs_read(from, TRAIN__SMALL_MAX, &len, err);
    int rc = text ? put_text(folder, name, text, len, files, err) : -1;
    free(text);
    return rc;
}

static int put_small(const struct train__writing *w, const char *folder, json_t *files,
                     struct rwf_err *err)
{
    const struct checkpoint_content *c = w->content;
    if (put_text(folder, TRAIN__CONFIG, w->config, strlen(w->config), files, err) < 0 ||
        put_text(folder, TRAIN__STATE, w->state, strlen(w->state), files, err) < 0 ||
        put_copy(folder, TRAIN__TOKENIZER, c->tokenizer, files, err) < 0 ||
        put_copy(folder, TRAIN__PREPROCESS, c->preprocess, files, err) < 0)
        return -1;
    return 0;
}

/* --- tensors --- */

struct stream {
    struct safetensors_writer *to;
    char *buffer; /* of PIECE bytes */
    size_t used;
};

static size_t tensor_size(const struct checkpoint_tensor *t)
{
    size_t n = safetensors_type_size(t->type);
    for (int i = 0; i < t->dims; i++)
        n *= (size_t)t->shape[i]; /* safetensors_declare saw that it fits */
    return n;
}

static int flush(struct stream *s, struct rwf_err *err)
{
    size_t size = s->used;
    s->used = 0;
    return size ? safetensors_write(s->to, s->buffer, size, err) : 0;
}

/* Small tensors share a piece, large ones take many. */
static int put_tensor(struct stream *s, const struct checkpoint_tensor *t,
                      struct rwf_err *err)
{
    size_t size = tensor_size(t);
    for (size_t at = 0, n; at < size; at += n) {
        n = size - at < PIECE - s->used ? size - at : PIECE - s->used;
        t->read(t->ctx, t, at, n, s->buffer + s->used);
        s->used += n;
        if (s->used == PIECE && flush(s, err) < 0)
            return -1;
    }
    return 0;
}

static struct safetensors_writer *begin(const char *folder, const char *name,
                                        const struct checkpoint_tensor *t, size_t count,
                                        struct rwf_err *err)
{
    char *path = rwf_fs_join(folder, name);
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    struct safetensors_writer *w = safetensors_create(path, metadata, err);
    int rc = w ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = safetensors_declare(w, t[i].name, t[i].type, t[i].dims, t[i].shape, err);
    if (rc < 0) {
        safetensors_abort(w);
        w = NULL;
    }
    json_decref(metadata);
    free(path);
    return w;
}

static int fill(struct safetensors_writer *w, const struct checkpoint_tensor *t,
                size_t count, char *buffer, struct rwf_err *err)
{
    struct stream s = { w, buffer, 0 };
    for (size_t i = 0; i < count; i++)
        if (put_tensor(&s, &t[i], err) < 0)
            return -1;
    return flush(&s, err);
}

/* *w is gone afterwards. */
static int finish(struct safetensors_writer **w, const char *folder, const char *name,
                  json_t *files, struct rwf_err *err)
{
    char digest[RWF_DIGEST_LEN];
    struct stat st;
    int rc = safetensors_finish(*w, digest, err);
    *w = NULL;
    if (rc < 0)
        return -1;
    char *path = rwf_fs_join(folder, name);
    if (stat(path, &st) < 0)
        rc = rwf_fail(err, errno, "cannot read '%s': %s", path, strerror(errno));
    else
        list_file(files, name, st.st_size, digest);
    free(path);
    return rc;
}

/* Reads everything, lets the content go, and only then waits for the disk. */
static int put_tensors(struct train__writing *w, const char *folder, json_t *files,
                       struct rwf_err *err)
{
    const struct checkpoint_content *c = w->content;
    struct safetensors_writer *model = NULL, *optimizer = NULL;
    char *buffer = rwf_alloc(PIECE, err);
    int rc = -1;
    if (!buffer ||
        !(model = begin(folder, TRAIN__MODEL, c->model, c->model_count, err)) ||
        !(optimizer =
              begin(folder, TRAIN__OPTIMIZER, c->optimizer, c->optimizer_count, err)) ||
        fill(model, c->model, c->model_count, buffer, err) < 0 ||
        fill(optimizer, c->optimizer, c->optimizer_count, buffer, err) < 0)
        goto out;
    w->done(w->ctx, w->content);
    w->content = NULL;
    if (finish(&model, folder, TRAIN__MODEL, files, err) < 0 ||
        finish(&optimizer, folder, TRAIN__OPTIMIZER, files, err) < 0)
        goto out;
    rc = 0;
out:
    safetensors_abort(model);
    safetensors_abort(optimizer);
    free(buffer);
    return rc;
}

static int put_manifest(const char *folder, json_t *files, struct rwf_err *err)
{
    json_t *manifest = json_pack("{s:i, s:O}", "v", 1, "files", files);
    char *text = json_dumps(manifest, JSON_INDENT(1));
    rwf_assert(text);
    int rc = put_text(folder, TRAIN__MANIFEST, text, strlen(text), NULL, err);
    free(text);
    json_decref(manifest);
    return rc;
}

/* --- publishing --- */

/* One of that step may be there, from before a resume: it goes in the same moment where
 * the file system can exchange names. */
static int publish(const char *hidden, const char *path, struct rwf_err *err)
{
    if (rename(hidden, path) == 0)
        return 0;
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) {
        if (renameat2(AT_FDCWD, hidden, AT_FDCWD, path, RENAME_EXCHANGE) == 0) {
            rwf_fs_rmtree(hidden, NULL);
            return 0;
        }
        if (rwf_fs_rmtree(path, err) < 0)
            return -1;
        if (rename(hidden, path) == 0)
            return 0;
    }
    return rwf_fail(err, errno, "cannot rename '%s' to '%s': %s", hidden, path,
                    strerror(errno));
}

static int write_and_publish(struct train__writing *w, const char *hidden,
                             struct rwf_err *err)
{
    json_t *files = json_object();
    char *path = train__point_path(w->folder, w->step);
    int rc = 0;
    if (put_small(w, hidden, files, err) < 0 ||
        put_tensors(w, hidden, files, err) < 0 ||
        put_manifest(hidden, files, err) < 0 || train__sync_folder(hidden, err) < 0 ||
        publish(hidden, path, err) < 0 || train__sync_folder(w->folder, err) < 0)
        rc = -1;
    free(path);
    json_decref(files);
    return rc;
}

int train__point_write(struct train__writing *w, struct rwf_err *err)
{
    char *hidden = hidden_folder(w->folder, w->step, err);
    int rc = hidden ? write_and_publish(w, hidden, err) : -1;
    if (w->content)
        w->done(w->ctx, w->content);
    w->content = NULL;
    if (rc < 0) {
        rwf_wrap(err, "checkpoint of step %" PRId64, w->step);
        if (hidden)
            rwf_fs_rmtree(hidden, NULL);
    }
    free(hidden);
    return rc;
}

int train__point_remove(const char *folder, int64_t step, struct rwf_err *err)
{
    char *path = train__point_path(folder, step);
    char *hidden = hidden_folder(folder, step, err);
    int rc = hidden ? 0 : -1;
    if (rc == 0 && rename(path, hidden) < 0 && errno != ENOENT)
        rc = rwf_fail(err, errno, "cannot remove '%s': %s", path, strerror(errno));
    if (hidden && rwf_fs_rmtree(hidden, rc == 0 ? err : NULL) < 0)
        rc = -1;
    free(hidden);
    free(path);
    return rc;
}
