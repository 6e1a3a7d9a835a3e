/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoints on disk: which there are, whether they are whole, and the part of one
 * that others read. Sizes are checked first, for that is cheap; then all files' digests
 * at the same time.
 */
#include "config.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/checkpoint_impl.h"

#define PREFIX "step-"
#define FILES_MAX 64

char *train__point_path(const char *folder, int64_t step)
{
    return rwf_xasprintf("%s/" PREFIX "%08" PRId64, folder, step);
}

/* -1: no name of a checkpoint. */
static int64_t step_of(const char *name)
{
    char again[64];
    if (!rwf_starts_with(name, PREFIX) || strlen(name) > 30)
        return -1;
    int64_t step = strtoll(name + strlen(PREFIX), NULL, 10);
    snprintf(again, sizeof(again), PREFIX "%08" PRId64, step);
    return step >= 0 && strcmp(again, name) == 0 ? step : -1;
}

static json_t *read_json(const char *folder, const char *name, struct rwf_err *err)
{
    json_error_t bad;
    size_t len;
    char *path = rwf_fs_join(folder, name);
    char *text = rwf_fs_read(path, TRAIN__SMALL_MAX, &len, err);
    json_t *value = text ? json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad) : NULL;
    if (text && !value)
        rwf_fail(err, RWF_E_INPUT, "'%s' is no JSON: line %d: %s", path, bad.line,
                 bad.text);
    free(text);
    free(path);
    return value;
}

double train__metric_of(const json_t *state, const char *metric)
{
    const json_t *value =
        metric ? json_object_get(json_object_get(state, "metrics"), metric) : NULL;
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

int train__compare(const struct train__point *a, const struct train__point *b, bool max)
{
    if (isnan(a->metric) != isnan(b->metric))
        return isnan(a->metric) ? 1 : -1;
    if (!isnan(a->metric) && a->metric != b->metric)
        return (a->metric < b->metric) != max ? -1 : 1;
    return a->step > b->step ? -1 : a->step < b->step;
}

/* --- the manifest --- */

struct file {
    char *path;
    const char *want; /* digest */
    struct rwf_err err;
    int rc;
    pthread_t thread;
    bool started;
};

static int check_size(const char *path, const json_t *info, struct rwf_err *err)
{
    struct stat st;
    json_int_t bytes = json_integer_value(json_object_get(info, "bytes"));
    if (!json_is_integer(json_object_get(info, "bytes")) ||
        !json_is_string(json_object_get(info, "sha256")))
        return rwf_fail(err, RWF_E_INPUT, "the manifest lacks size or digest of '%s'",
                        rwf_fs_basename(path));
    if (stat(path, &st) < 0)
        return rwf_fail(err, RWF_E_INPUT, "'%s': %s", rwf_fs_basename(path),
                        strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size != bytes)
        return rwf_fail(err, RWF_E_INPUT,
                        "'%s' has %lld bytes, not %" JSON_INTEGER_FORMAT,
                        rwf_fs_basename(path), (long long)st.st_size, bytes);
    return 0;
}

static void *check_digest(void *arg)
{
    struct file *f = arg;
    char got[RWF_DIGEST_LEN];
    f->rc = rwf_digest_file(f->path, got, NULL, &f->err);
    if (f->rc == 0 && strcmp(got, f->want) != 0)
        f->rc = rwf_fail(&f->err, RWF_E_INPUT,
                         "'%s' was changed: its SHA-256 is not that of the manifest",
                         rwf_fs_basename(f->path));
    return NULL;
}

static int check_digests(struct file *files, size_t count, struct rwf_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        files[i].started =
            pthread_create(&files[i].thread, NULL, check_digest, &files[i]) == 0;
        if (!files[i].started)
            check_digest(&files[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (files[i].started)
            pthread_join(files[i].thread, NULL);
        if (rc == 0 && files[i].rc < 0)
            rc = rwf_fail(err, files[i].err.code, "%s", files[i].err.text);
    }
    return rc;
}

static int check_names(const json_t *files, struct rwf_err *err)
{
    static const char *const needed[] = { TRAIN__MODEL, TRAIN__OPTIMIZER, TRAIN__CONFIG,
                                          TRAIN__STATE };
    const char *name;
    const json_t *info;
    if (!json_is_object(files) || json_object_size(files) > FILES_MAX)
        return rwf_fail(err, RWF_E_INPUT, "the manifest lists no files, or too many");
    for (size_t i = 0; i < RWF_COUNT(needed); i++)
        if (!json_object_get(files, needed[i]))
            return rwf_fail(err, RWF_E_INPUT, "the manifest does not list '%s'",
                            needed[i]);
    json_object_foreach((json_t *)(uintptr_t)files, name, info)
        if (strchr(name, '/') || !rwf_fs_is_beneath(name))
            return rwf_fail(err, RWF_E_INPUT, "the manifest lists '%s'", name);
    return 0;
}

static int check_files(const char *path, const json_t *list, bool digests,
                       struct rwf_err *err)
{
    struct file files[FILES_MAX] = { 0 };
    size_t count = 0;
    const char *name;
    const json_t *info;
    int rc = check_names(list, err);
    if (rc == 0)
        json_object_foreach((json_t *)(uintptr_t)list, name, info) {
            files[count].path = rwf_fs_join(path, name);
            rc = check_size(files[count].path, info, err);
            files[count++].want = json_string_value(json_object_get(info, "sha256"));
            if (rc < 0)
                break;
        }
    if (rc == 0 && digests)
        rc = check_digests(files, count, err);
    for (size_t i = 0; i < count; i++)
        free(files[i].path);
    return rc;
}

/* Whether the checkpoint at path is what its manifest says. */
static int verify(const char *path, bool digests, struct rwf_err *err)
{
    json_t *manifest = read_json(path, TRAIN__MANIFEST, err);
    if (!manifest)
        return -1;
    int rc = 0;
    if (json_integer_value(json_object_get(manifest, "v")) != 1)
        rc = rwf_fail(err, RWF_E_INPUT, "its manifest is not of version 1");
    else
        rc = check_files(path, json_object_get(manifest, "files"), digests, err);
    json_decref(manifest);
    return rc;
}

/* --- listing and finding --- */

static void add_point(struct train__points *points, const char *folder, int64_t step,
                      const char *metric)
{
    char *path = train__point_path(folder, step);
    json_t *state = metric ? read_json(path, TRAIN__STATE, NULL) : NULL;
    *RWF_PUSH(points->items, points->count, points->cap) = (struct train__point){
        .step = step,
        .metric = train__metric_of(state, metric),
        .whole = verify(path, false, NULL) == 0,
        .before = true,
    };
    json_decref(state);
    free(path);
}

static int by_step(const void *left, const void *right)
{
    const struct train__point *a = left, *b = right;
    return a->step < b->step ? -1 : a->step > b->step;
}

int train__points_list(const char *folder, const char *metric,
                       struct train__points *points, struct rwf_err *err)
{
    DIR *d = opendir(folder);
    const struct dirent *e;
    if (!d && errno == ENOENT)
        return 0;
    if (!d)
        return rwf_fail(err, errno, "cannot list '%s': %s", folder, strerror(errno));
    while ((e = readdir(d)))
        if (step_of(e->d_name) >= 0)
            add_point(points, folder, step_of(e->d_name), metric);
    closedir(d);
    if (points->count > 0)
        qsort(points->items, points->count, sizeof(*points->items), by_step);
    return 0;
}

/* The first of all that are left. */
static struct train__point *pick(struct train__points *points, bool max)
{
    struct train__point *best = NULL;
    for (size_t i = 0; i < points->count; i++)
        if (points->items[i].before &&
            (!best || train__compare(&points->items[i], best, max) < 0))
            best = &points->items[i];
    return best;
}

int checkpoint_find(const char *folder, const char *metric, const char *mode,
                    char **ret_path, json_t **ret_state, struct rwf_err *err)
{
    struct train__points points = { 0 };
    struct train__point *p;
    bool max = mode && strcmp(mode, "max") == 0;
    char *found = NULL;
    if (train__points_list(folder, metric, &points, err) < 0)
        return -1;
    json_t *state = NULL;
    while (!found && (p = pick(&points, max))) {
        struct rwf_err bad = RWF_ERR_INIT;
        char *path = train__point_path(folder, p->step);
        p->before = false; /* seen */
        if (verify(path, true, &bad) == 0 &&
            (state = read_json(path, TRAIN__STATE, &bad))) {
            found = path;
            break;
        }
        rwf_log(RWF_LOG_WARN, "train", "checkpoint '%s' is damaged and passed over: %s",
                path, bad.text);
        free(path);
    }
    free(points.items);
    *ret_path = found;
    if (ret_state)
        *ret_state = state;
    else
        json_decref(state);
    return 0;
}

/* --- for others --- */

static int copy_file(const char *from, const char *to, struct rwf_err *err)
{
    enum { SIZE = 1 << 20 };
    ssize_t n = 0;
    char *buffer = rwf_xmalloc(SIZE);
    int in = open(from, O_RDONLY | O_CLOEXEC), rc = 0;
    int out = in < 0 ? -1 : open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (out < 0)
        rc = rwf_fail(err, errno, "%s", strerror(errno));
    while (rc == 0 && (n = read(in, buffer, SIZE)) != 0)
        if (n > 0)
            rc = rwf_fs_write_all(out, buffer, (size_t)n, err);
        else if (errno != EINTR)
            rc = rwf_fail(err, errno, "read: %s", strerror(errno));
    if (rc == 0 && fsync(out) < 0)
        rc = rwf_fail(err, errno, "fsync: %s", strerror(errno));
    if (in >= 0)
        close(in);
    if (out >= 0 && close(out) < 0 && rc == 0)
        rc = rwf_fail(err, errno, "close: %s", strerror(errno));
    free(buffer);
    return rc < 0 ? rwf_wrap(err, "cannot copy '%s' to '%s'", from, to) : 0;
}

static int bring(const char *from, const char *to, const char *name, bool needed,
                 struct rwf_err *err)
{
    char *source = rwf_fs_join(from, name), *target = rwf_fs_join(to, name);
    int rc = 0;
    if (!rwf_fs_exists(source))
        rc = needed ? rwf_fail(err, RWF_E_INPUT, "there is no '%s'", source) : 0;
    else if (link(source, target) < 0)
        rc = copy_file(source, target, err);
    free(source);
    free(target);
    return rc;
}

static int export_into(const char *path, const char *hidden, const char *to,
                       struct rwf_err *err)
{
    if (mkdir(hidden, 0777) < 0)
        return rwf_fail(err, errno, "cannot create folder '%s': %s", hidden,
                        strerror(errno));
    if (bring(path, hidden, TRAIN__MODEL, true, err) < 0 ||
        bring(path, hidden, TRAIN__CONFIG, true, err) < 0 ||
        bring(path, hidden, TRAIN__TOKENIZER, false, err) < 0 ||
        bring(path, hidden, TRAIN__PREPROCESS, false, err) < 0 ||
        train__sync_folder(hidden, err) < 0)
        return -1;
    if (rename(hidden, to) < 0)
        return rwf_fail(err, errno, "cannot rename '%s' to '%s': %s", hidden, to,
                        strerror(errno));
    return 0;
}

int checkpoint_export(const char *path, const char *to, struct rwf_err *err)
{
    char *parent = rwf_fs_dirname(to);
    char *hidden =
        rwf_xasprintf("%s/.%s.%d", parent, rwf_fs_basename(to), (int)getpid());
    int rc;
    if (rwf_fs_exists(to))
        rc = rwf_fail(err, EEXIST, "cannot export to '%s': it exists", to);
    else
        rc = rwf_fs_mkdirs(parent, err);
    if (rc == 0) {
        rwf_fs_rmtree(hidden, NULL);
        rc = export_into(path, hidden, to, err);
        if (rc < 0)
            rwf_fs_rmtree(hidden, NULL);
    }
    if (rc == 0)
        rc = train__sync_folder(parent, err);
    free(hidden);
    free(parent);
    return rc;
}
