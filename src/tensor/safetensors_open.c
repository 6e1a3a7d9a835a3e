/* SPDX-License-Identifier: Apache-2.0
 *
 * safetensors on disk: a file, or a folder with one file or with shards that an index
 * names. A shard is opened from the folder with openat2(RESOLVE_BENEATH): a name from a
 * downloaded file must not make us read another one. One kind of link may lead out,
 * that of the Hugging Face cache: snapshots/REVISION/NAME -> ../../blobs/DIGEST.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "tensor/safetensors_impl.h"

#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
#define INDEX_MAX ((size_t)100 << 20)
#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"

/* --- opening --- */

/* Kernels before 5.6, and some sandboxes, do not know openat2: there the name that the
 * descriptor got in the end is compared. */
static int open_compared(int dir, const char *path)
{
    char link[64], root[PATH_MAX], got[PATH_MAX];
    int fd = openat(dir, path, OPEN_FLAGS);
    if (fd < 0)
        return -1;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
    ssize_t n = readlink(link, root, sizeof(root));
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t m = readlink(link, got, sizeof(got));
    if (n > 0 && m > n && memcmp(root, got, (size_t)n) == 0 &&
        (got[n] == '/' || root[n - 1] == '/'))
        return fd;
    close(fd);
    errno = EXDEV;
    return -1;
}

static int open_beneath(int dir, const char *path)
{
    struct open_how how = { .flags = OPEN_FLAGS,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
    for (;;) {
        int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != ENOSYS && errno != EPERM))
            return fd;
        if (errno != EAGAIN) /* that: a rename elsewhere raced with us */
            return open_compared(dir, path);
    }
}

/* path is a link to ../../blobs/NAME: NAME there. */
static int open_blob(int dir, const char *path)
{
    static const char blobs[] = "../../blobs/";
    char target[NAME_MAX + sizeof(blobs)];
    ssize_t n = readlinkat(dir, path, target, sizeof(target) - 1);
    if (n > 0)
        target[n] = '\0';
    if (n <= 0 || !rwf_starts_with(target, blobs) ||
        strchr(target + strlen(blobs), '/') ||
        !rwf_fs_is_beneath(target + strlen(blobs)))
        return errno = EXDEV, -1;
    int beside =
        openat(dir, "../../blobs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int fd = beside < 0 ? -1 : open_beneath(beside, target + strlen(blobs));
    int saved = errno;
    if (beside >= 0)
        close(beside);
    errno = saved;
    return fd;
}

static int open_shard(int dir, const char *folder, const char *name,
                      struct rwf_err *err)
{
    int fd = rwf_fs_is_beneath(name) ? open_beneath(dir, name) : -1;
    if (!rwf_fs_is_beneath(name))
        errno = EXDEV;
    else if (fd < 0 && errno == EXDEV)
        fd = open_blob(dir, name);
    if (fd < 0 && errno == EXDEV)
        return rwf_fail(err, RWF_E_INPUT,
                        "'%s/" INDEX "' names '%s', which leads out of the folder: put "
                        "the file itself there",
                        folder, name);
    if (fd < 0)
        return rwf_fail(err, RWF_E_INPUT, "cannot open '%s/%s': %s", folder, name,
                        strerror(errno));
    return fd;
}

/* Maps fd, which it closes, and adds the tensors of it. */
static int add_file(struct safetensors *s, int fd, const char *path,
                    const json_t *shards, const char *shard, struct rwf_err *err)
{
    struct stat st;
    void *bytes = MAP_FAILED;
    int rc = fstat(fd, &st);
    if (rc == 0 && !S_ISREG(st.st_mode))
        rc = rwf_fail(err, RWF_E_INPUT, "'%s' is no file", path);
    else if (rc == 0 && st.st_size == 0)
        rc = rwf_fail(err, RWF_E_INPUT, "'%s' is no safetensors file: it is empty",
                      path);
    else if (rc < 0 || (bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE,
                                     fd, 0)) == MAP_FAILED)
        rc = rwf_fail(err, RWF_E_INPUT, "cannot read '%s': %s", path, strerror(errno));
    close(fd);
    if (rc < 0)
        return -1;
    *RWF_PUSH(s->maps, s->map_count, s->map_cap) =
        (struct tensor__mapping){ bytes, (size_t)st.st_size };
    madvise(bytes, (size_t)st.st_size, MADV_SEQUENTIAL);
    return tensor__add(s, bytes, (size_t)st.st_size, path, shards, shard, err);
}

static int add_path(struct safetensors *s, const char *path, struct rwf_err *err)
{
    int fd = open(path, OPEN_FLAGS);
    if (fd < 0)
        return rwf_fail(err, RWF_E_INPUT, "cannot open '%s': %s", path,
                        strerror(errno));
    return add_file(s, fd, path, NULL, NULL, err);
}

/* --- folders --- */

static json_t *read_index(const char *path, struct rwf_err *err)
{
    size_t len = 0;
    json_error_t bad;
    char *text = rwf_fs_read(path, INDEX_MAX, &len, err);
    if (!text) {
        if (err)
            err->code = RWF_E_INPUT;
        return NULL;
    }
    json_t *index = json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad);
    if (!index)
        rwf_fail(err, RWF_E_INPUT, "'%s': line %d: %s", path, bad.line, bad.text);
    free(text);
    return index;
}

/* The names of the shards, each once and sorted: {shard: number of tensors}. */
static int list_shards(const json_t *names, const char *path, json_t *shards,
                       struct rwf_err *err)
{
    const char *name;
    const json_t *shard;
    if (!json_is_object(names) || json_object_size(names) == 0)
        return rwf_fail(err, RWF_E_INPUT,
                        "'%s': weight_map must name the tensors' files", path);
    json_object_foreach((json_t *)(uintptr_t)names, name, shard) {
        const char *file = json_string_value(shard);
        if (!file)
            return rwf_fail(err, RWF_E_INPUT,
                            "'%s': weight_map: '%s' must be the name of a file", path,
                            name);
        json_int_t n = json_integer_value(json_object_get(shards, file));
        json_object_set_new(shards, file, json_integer(n + 1));
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char **sorted_keys(json_t *object)
{
    const char **keys = rwf_xcalloc(json_object_size(object) + 1, sizeof(*keys)), *key;
    const json_t *value;
    size_t count = 0;
    json_object_foreach(object, key, value)
        keys[count++] = key;
    qsort(keys, count, sizeof(*keys), by_name);
    return keys;
}

/* Which tensor it is that the index places in shard and that is not there. */
static int say_missing(struct safetensors *s, const json_t *names, const char *shard,
                       const char *path, struct rwf_err *err)
{
    const char *name;
    const json_t *in;
    tensor__index(s);
    json_object_foreach((json_t *)(uintptr_t)names, name, in)
        if (strcmp(json_string_value(in), shard) == 0 && !safetensors_find(s, name))
            break;
    return rwf_fail(err, RWF_E_INPUT,
                    "'%s' places tensor '%s' in '%s', which has none of that name",
                    path, name, shard);
}

static int add_shards(struct safetensors *s, int dir, const char *folder,
                      const char *index_path, const json_t *names, struct rwf_err *err)
{
    json_t *shards = json_object();
    int rc = list_shards(names, index_path, shards, err);
    const char **sorted = sorted_keys(shards);
    for (size_t i = 0; rc == 0 && sorted[i]; i++) {
        size_t before = s->count;
        char *path = rwf_xasprintf("%s/%s", folder, sorted[i]);
        int fd = open_shard(dir, folder, sorted[i], err);
        rc = fd < 0 ? -1 : add_file(s, fd, path, names, sorted[i], err);
        if (rc == 0 && (json_int_t)(s->count - before) !=
                           json_integer_value(json_object_get(shards, sorted[i])))
            rc = say_missing(s, names, sorted[i], index_path, err);
        free(path);
    }
    free(sorted);
    json_decref(shards);
    return rc;
}

static int add_folder(struct safetensors *s, const char *folder, struct rwf_err *err)
{
    char *single = rwf_fs_join(folder, SINGLE),
         *index_path = rwf_fs_join(folder, INDEX);
    json_t *index = NULL;
    int rc = -1, dir = -1;
    if (rwf_fs_exists(single))
        rc = add_path(s, single, err);
    else if (!rwf_fs_exists(index_path))
        rwf_fail(err, RWF_E_INPUT, "folder '%s' has neither " SINGLE " nor " INDEX,
                 folder);
    else if ((dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        rwf_fail(err, RWF_E_INPUT, "cannot open '%s': %s", folder, strerror(errno));
    else if ((index = read_index(index_path, err)))
        rc = add_shards(s, dir, folder, index_path,
                        json_object_get(index, "weight_map"), err);
    if (dir >= 0)
        close(dir);
    json_decref(index);
    free(single);
    free(index_path);
    return rc;
}

struct safetensors *safetensors_open(const char *path, struct rwf_err *err)
{
    struct stat st;
    struct safetensors *s = tensor__create();
    int rc = stat(path, &st);
    if (rc < 0)
        rwf_fail(err, RWF_E_INPUT, "cannot open '%s': %s", path, strerror(errno));
    else
        rc = S_ISDIR(st.st_mode) ? add_folder(s, path, err) : add_path(s, path, err);
    if (rc < 0) {
        safetensors_close(s);
        return NULL;
    }
    tensor__index(s);
    return s;
}
