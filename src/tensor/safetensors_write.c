/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing safetensors: the header from what was declared, then the bytes as they come.
 * The digest of a large piece is computed in a thread of its own while the piece is
 * written, and the disk is told to begin with each stretch at once, so that all of them
 * work at the same time and the fsync at the end has little left to wait for.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "tensor/safetensors_impl.h"

#define ASIDE ((size_t)256 << 10) /* pieces from here on are digested in the thread */
#define STRETCH ((uint64_t)32 << 20) /* what the disk is told to begin with at once */

struct hasher {
    struct rwf_digest *digest;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const void *bytes; /* to be digested: NULL when done */
    size_t size;
    bool started, ending;
};

struct safetensors_writer {
    char *path;
    int fd;
    json_t *header;
    struct rwf_map *names;   /* declared, each once */
    uint64_t declared, data; /* bytes of tensors: declared, written */
    uint64_t head, file;     /* bytes of the header, in the file */
    uint64_t begun;          /* of those, what the disk was told to begin with */
    bool started, failed;
    struct hasher hasher;
};

/* --- digesting beside writing --- */

static void *hash(void *arg)
{
    struct hasher *h = arg;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (!h->bytes && !h->ending)
            pthread_cond_wait(&h->changed, &h->lock);
        if (!h->bytes)
            break;
        pthread_mutex_unlock(&h->lock);
        rwf_digest_add(h->digest, h->bytes, h->size);
        pthread_mutex_lock(&h->lock);
        h->bytes = NULL;
        pthread_cond_signal(&h->changed);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

static void hasher_post(struct hasher *h, const void *bytes, size_t size)
{
    if (size >= ASIDE && !h->started)
        h->started = pthread_create(&h->thread, NULL, hash, h) == 0;
    if (size < ASIDE || !h->started) {
        rwf_digest_add(h->digest, bytes, size);
        return;
    }
    pthread_mutex_lock(&h->lock);
    h->bytes = bytes;
    h->size = size;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

static void hasher_wait(struct hasher *h)
{
    pthread_mutex_lock(&h->lock);
    while (h->bytes)
        pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
}

static void hasher_end(struct hasher *h)
{
    if (!h->started)
        return;
    pthread_mutex_lock(&h->lock);
    h->ending = true;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    h->started = false;
}

/* --- the file --- */

static int fail_write(struct safetensors_writer *w, const char *what,
                      struct rwf_err *err)
{
    int code = errno;
    uint64_t all = w->head + w->declared;
    struct statvfs disk;
    w->failed = true;
    if (code == EFBIG)
        return rwf_fail(err, code,
                        "cannot %s '%s': it needs %" PRIu64
                        " bytes, more than a file may "
                        "have here (ulimit -f)",
                        what, w->path, all);
    if ((code != ENOSPC && code != EDQUOT) || fstatvfs(w->fd, &disk) < 0)
        return rwf_fail(err, code, "cannot %s '%s': %s", what, w->path, strerror(code));
    return rwf_fail(
        err, code,
        "cannot %s '%s': %s: it needs %" PRIu64 " bytes, %" PRIu64 " are free", what,
        w->path, strerror(code), all, (uint64_t)disk.f_bavail * disk.f_frsize);
}

static int put(struct safetensors_writer *w, const void *bytes, size_t size,
               struct rwf_err *err)
{
    const char *at = bytes;
    size_t left = size;
    hasher_post(&w->hasher, bytes, size);
    int rc = 0;
    while (left > 0 && rc == 0) {
        ssize_t n = write(w->fd, at, left);
        if (n < 0 && errno != EINTR)
            rc = fail_write(w, "write", err);
        at += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    hasher_wait(&w->hasher);
    w->file += size - left;
    if (w->file - w->begun >= STRETCH) {
        sync_file_range(w->fd, (off64_t)w->begun, (off64_t)(w->file - w->begun),
                        SYNC_FILE_RANGE_WRITE);
        w->begun = w->file;
    }
    return rc;
}

struct safetensors_writer *safetensors_create(const char *path, const json_t *metadata,
                                              struct rwf_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        rwf_fail(err, errno, "cannot create '%s': %s", path, strerror(errno));
        return NULL;
    }
    struct safetensors_writer *w = rwf_xcalloc(1, sizeof(*w));
    w->path = rwf_xstrdup(path);
    w->fd = fd;
    w->header = json_object();
    if (metadata)
        json_object_set_new(w->header, "__metadata__", json_deep_copy(metadata));
    w->names = rwf_map_create();
    w->hasher.digest = rwf_digest_create();
    pthread_mutex_init(&w->hasher.lock, NULL);
    pthread_cond_init(&w->hasher.changed, NULL);
    return w;
}

int safetensors_declare(struct safetensors_writer *w, const char *name,
                        enum safetensors_type type, int dims, const int64_t *shape,
                        struct rwf_err *err)
{
    uint64_t end = safetensors_type_size(type);
    json_t *list = json_array(), *entry;
    rwf_assert(!w->started && type < SAFETENSORS_OTHER && dims >= 0);
    bool fits = dims <= SAFETENSORS_DIMS_MAX;
    for (int i = 0; i < dims && fits; i++) {
        fits = shape[i] >= 0 && !__builtin_mul_overflow(end, (uint64_t)shape[i], &end);
        json_array_append_new(list, json_integer(shape[i]));
    }
    fits = fits && !__builtin_add_overflow(end, w->declared, &end) && end <= INT64_MAX;
    entry =
        json_pack("{s:s, s:o, s:[I,I]}", "dtype", safetensors_type_name(type), "shape",
                  list, "data_offsets", (json_int_t)w->declared, (json_int_t)end);
    if (!fits) {
        json_decref(entry);
        return rwf_fail(err, EINVAL,
                        "'%s': tensor '%s' has a shape that no file can hold", w->path,
                        name);
    }
    if (strcmp(name, "__metadata__") == 0 || rwf_map_set(w->names, name, w)) {
        json_decref(entry);
        return rwf_fail(err, EINVAL, "'%s': tensor name '%s' is taken", w->path, name);
    }
    if (json_object_set_new(w->header, name, entry) < 0)
        return rwf_fail(err, EINVAL, "'%s': a tensor's name is not UTF-8", w->path);
    w->declared = end;
    return 0;
}

/* Padded with spaces so that the data begins at a multiple of 8. */
static int start(struct safetensors_writer *w, struct rwf_err *err)
{
    struct rwf_str head = { 0 };
    char *text = json_dumps(w->header, JSON_COMPACT);
    rwf_assert(text);
    size_t len = (strlen(text) + 7) / 8 * 8;
    w->started = true;
    for (int i = 0; i < 8; i++)
        rwf_str_addc(&head, (char)(len >> (8 * i) & 255));
    rwf_str_add(&head, text);
    while (head.len < 8 + len)
        rwf_str_addc(&head, ' ');
    free(text);
    w->head = head.len;
    int rc = 0;
    if (len > SAFETENSORS_HEADER_MAX)
        rc = rwf_fail(err, EINVAL, "'%s': too many tensors: a header of %zu bytes",
                      w->path, len);
    /* A disk that is too small says so now; where that cannot be asked, later. */
    else if (w->declared > 0 &&
             fallocate(w->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)(head.len + w->declared)) <
                 0 &&
             (errno == ENOSPC || errno == EFBIG || errno == EDQUOT)) {
        rc = fail_write(w, "write", err);
    } else
        rc = put(w, head.data, head.len, err);
    rwf_str_free(&head);
    return rc;
}

int safetensors_write(struct safetensors_writer *w, const void *bytes, size_t size,
                      struct rwf_err *err)
{
    if (w->failed)
        return rwf_fail(err, EIO, "'%s': an earlier write failed", w->path);
    if (size > w->declared - w->data) {
        w->failed = true;
        return rwf_fail(err, EINVAL,
                        "'%s': more bytes than the %" PRIu64 " of the tensors declared",
                        w->path, w->declared);
    }
    if (!w->started && start(w, err) < 0)
        return w->failed = true, -1;
    if (put(w, bytes, size, err) < 0)
        return -1;
    w->data += size;
    return 0;
}

static void destroy(struct safetensors_writer *w)
{
    hasher_end(&w->hasher);
    rwf_digest_free(w->hasher.digest);
    pthread_mutex_destroy(&w->hasher.lock);
    pthread_cond_destroy(&w->hasher.changed);
    if (w->fd >= 0)
        close(w->fd);
    rwf_map_destroy(w->names, NULL);
    json_decref(w->header);
    free(w->path);
    free(w);
}

void safetensors_abort(struct safetensors_writer *w)
{
    if (!w)
        return;
    unlink(w->path);
    destroy(w);
}

static int settle(struct safetensors_writer *w, struct rwf_err *err)
{
    if (w->failed)
        return rwf_fail(err, EIO, "'%s': an earlier write failed", w->path);
    if (w->data != w->declared)
        return rwf_fail(err, EINVAL,
                        "'%s': %" PRIu64 " bytes of the tensors declared, %" PRIu64
                        " written",
                        w->path, w->declared, w->data);
    if (!w->started && start(w, err) < 0)
        return -1;
    if (fsync(w->fd) < 0)
        return fail_write(w, "sync", err);
    int fd = w->fd;
    w->fd = -1;
    if (close(fd) < 0)
        return rwf_fail(err, errno, "cannot close '%s': %s", w->path, strerror(errno));
    return 0;
}

int safetensors_finish(struct safetensors_writer *w, char ret_digest[RWF_DIGEST_LEN],
                       struct rwf_err *err)
{
    if (settle(w, err) < 0) {
        safetensors_abort(w);
        return -1;
    }
    hasher_end(&w->hasher);
    if (ret_digest) {
        rwf_digest_finish(w->hasher.digest, ret_digest);
        w->hasher.digest = NULL;
    }
    destroy(w);
    return 0;
}
