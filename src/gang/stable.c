/* SPDX-License-Identifier: Apache-2.0
 *
 * The folder is named by a digest, as rows.c names its spool: size and time of the
 * dataset's files stand for their content, which may be large.
 */
#include "config.h"
#include "gang/stable.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"

/* How it is trained, not what. */
static const char *const passed_over[] = {
    "workers", "micro_batch_size", "device", "shard", "heartbeat", "env", "dir"};

static const char *text_at(const json_t *spec, const char *outer, const char *inner)
{
    return json_string_value(json_object_get(json_object_get(spec, outer), inner));
}

static void add_file(struct rwf_digest *d, const char *path)
{
    struct stat st;
    if (path == NULL || stat(path, &st) != 0)
        return;
    char *text = rwf_xasprintf("%s %lld %lld.%ld", path, (long long)st.st_size,
                               (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    rwf_digest_add(d, text, strlen(text) + 1);
    free(text);
}

/* A trial has one that its search knows, too. */
static char *trial_folder(const char *path, struct rwf_err *err)
{
    return rwf_fs_mkdirs(path, err) == 0 ? rwf_xstrdup(path) : NULL;
}

/* A folder of weights or of a tokenizer, or a file. */
static void add_folder(struct rwf_digest *d, const char *path)
{
    static const char *const names[] = {"config.json", "model.safetensors",
                                        "model.safetensors.index.json",
                                        "tokenizer.json"};
    add_file(d, path);
    for (size_t i = 0; path != NULL && i < RWF_COUNT(names); i++) {
        char *file = rwf_fs_join(path, names[i]);
        add_file(d, file);
        free(file);
    }
}

static void digest_of(const struct op_run *r, char hex[RWF_DIGEST_LEN])
{
    struct rwf_digest *d = rwf_digest_create();
    json_t *spec = json_copy((json_t *)(uintptr_t)r->spec);

    for (size_t i = 0; i < RWF_COUNT(passed_over); i++)
        json_object_del(spec, passed_over[i]);
    rwf_digest_json(spec, hex);
    rwf_digest_add(d, hex, RWF_DIGEST_LEN);
    rwf_digest_add(d, r->address, strlen(r->address) + 1);
    add_file(d, text_at(spec, "dataset", "train"));
    add_file(d, text_at(spec, "dataset", "val"));
    add_folder(d, text_at(spec, "model", "from"));
    add_folder(d, text_at(spec, "tokenizer", "path"));
    rwf_digest_finish(d, hex);
    hex[32] = '\0';
    json_decref(spec);
}

/* --- who has it --- */

/* The lock ends with this process, and with no other: it is closed on exec. */
static int lock(const char *folder)
{
    char *path = rwf_fs_join(folder, "lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    free(path);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Moves what an earlier run has left to here. Both runs stay what they are: if that one
 * is resumed, it begins anew, or takes it back. */
static bool take_over(const char *other, const char *path)
{
    int fd = lock(other);
    if (fd < 0)
        return false;
    if (rename(other, path) == 0)
        return true;
    close(fd);
    return false;
}

static bool take_from_runs(const char *run, const char *hex, const char *path)
{
    char *runs = rwf_fs_dirname(run);
    struct dirent **names = NULL;
    int count = scandir(runs, &names, NULL, alphasort);
    bool taken = false;

    for (int i = count - 1; i >= 0; i--) {
        char *other = rwf_xasprintf("%s/%s/train/%s", runs, names[i]->d_name, hex);
        if (!taken && names[i]->d_name[0] != '.' && names[i]->d_type != DT_LNK)
            taken = take_over(other, path);
        free(other);
        free(names[i]);
    }
    free(names);
    free(runs);
    return taken;
}

char *stable_folder(const struct op_run *r, bool from_runs, struct rwf_err *err)
{
    const char *trial = getenv("RAYWF_TRIAL_DIR");
    if (trial != NULL)
        return trial_folder(trial, err);
    char hex[RWF_DIGEST_LEN];
    char *steps = rwf_fs_dirname(r->dir), *run = rwf_fs_dirname(steps);
    char *train = rwf_fs_join(run, "train"), *path = NULL;
    int rc = rwf_fs_mkdirs(train, err);

    digest_of(r, hex);
    path = rwf_fs_join(train, hex);
    if (rc == 0 && from_runs && !rwf_fs_exists(path) && take_from_runs(run, hex, path))
        goto out;
    for (int tries = 0; rc == 0 && tries < 3;
         tries++) { /* one may be moved meanwhile */
        rc = rwf_fs_mkdirs(path, err);
        if (rc == 0 && lock(path) >= 0)
            goto out;
    }
    if (rc == 0)
        rc = rwf_fail(err, RWF_E_ENV, "%s is in use by another process", path);
out:
    if (rc != 0) {
        free(path);
        path = NULL;
    }
    free(train);
    free(run);
    free(steps);
    return path;
}
