/* SPDX-License-Identifier: Apache-2.0
 *
 * The folder's life: made in TO.tmp, synced, renamed. data.json keeps the digest of
 * what it was made of ("made_of"), so that an attempt that starts again finds it done,
 * and never one that was made of something else.
 */
#include "config.h"
#include "train/prepared.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "train/prepare.h"

#define PREPARE_VERSION 1 /* raise it when the same spec gives other bytes */
#define INFO_MAX (64 << 20)

const json_t *prepare__get(const struct prepare *p, const char *key, const char *name)
{
    const json_t *value = json_object_get(json_object_get(p->spec, key), name);
    return json_is_null(value) ? NULL : value;
}

void prepare__note(const struct prepare *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = rwf_xvasprintf(fmt, ap);
    va_end(ap);
    fprintf(stderr, "%s: %s\n", p->run->address, text);
    free(text);
}

static bool is_mlp(const struct prepare *p)
{
    const char *type = json_string_value(prepare__get(p, "model", "type"));
    return type != NULL && strcmp(type, "mlp") == 0;
}

/* --- what it is made of --- */

static void add_split(json_t *what, const struct prepare_split *s)
{
    json_object_set_new(
        what, s->name,
        json_pack("{s:s, s:I}", "sql", s->select, "bytes", (json_int_t)s->bytes));
}

static int digest_of(const struct prepare *p, char ret[RWF_DIGEST_LEN],
                     struct rwf_err *err)
{
    static const char *const keys[] = { "type",     "task",        "target",
                                        "features", "categorical", "class_weights",
                                        "text" };
    json_t *what = json_pack("{s:i}", "version", PREPARE_VERSION);
    char *path = NULL, file[RWF_DIGEST_LEN];
    int r = 0;
    for (size_t i = 0; i < RWF_COUNT(keys); i++)
        json_object_set(what, keys[i],
                        (json_t *)(uintptr_t)prepare__get(p, "model", keys[i]));
    add_split(what, &p->train);
    if (p->has_val)
        add_split(what, &p->val);
    if (!is_mlp(p)) {
        json_object_set(what, "tokenizer", json_object_get(p->spec, "tokenizer"));
        r = prepare__tokenizer(p, &path, err);
        if (r == 0 && path != NULL && (r = rwf_digest_file(path, file, NULL, err)) == 0)
            json_object_set_new(what, "tokenizer", json_string(file));
    }
    rwf_digest_json(what, ret);
    json_decref(what);
    free(path);
    return r;
}

/* Whether the files are as long as they were made: what was cut short since is made again. */
static bool has_files(const char *folder, const json_t *info)
{
    json_t *files = json_object_get(info, "files"), *bytes;
    const char *name;
    bool all = json_is_object(files);
    json_object_foreach(files, name, bytes) {
        char *path = rwf_fs_join(folder, name);
        struct stat st;
        all = all && stat(path, &st) == 0 && st.st_size == json_integer_value(bytes);
        free(path);
    }
    return all;
}


/* data.json of a finished folder that was made of the same; else NULL. */
static json_t *find_finished(const char *to, const char *digest)
{
    char *path = rwf_fs_join(to, "data.json");
    size_t len;
    char *text = rwf_fs_read(path, INFO_MAX, &len, NULL);
    json_t *info = text != NULL ? json_loadb(text, len, 0, NULL) : NULL;
    const char *made_of = json_string_value(json_object_get(info, "made_of"));
    free(text);
    free(path);
    if (made_of != NULL && strcmp(made_of, digest) == 0 && has_files(to, info))
        return info;
    json_decref(info);
    return NULL;
}

/* --- making it --- */

static int sync_folder(const char *path, struct rwf_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd >= 0 && fsync(fd) == 0
                ? 0
                : rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return r;
}

static json_t *list_files(const char *folder)
{
    json_t *files = json_object();
    DIR *dir = opendir(folder);
    const struct dirent *e;
    struct stat st;
    while (dir != NULL && (e = readdir(dir)) != NULL)
        if (fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
            json_object_set_new(files, e->d_name, json_integer(st.st_size));
    if (dir != NULL)
        closedir(dir);
    return files;
}

static int finish(struct prepare *p, const char *digest, const char *to,
                  struct rwf_err *err)
{
    char *parent = rwf_fs_dirname(to);
    json_object_set_new(p->info, "v", json_integer(1));
    json_object_set_new(p->info, "made_of", json_string(digest));
    json_object_set_new(p->info, "files", list_files(p->folder));
    int r = prepare__write_json(p, "data.json", p->info, err);
    if (r == 0)
        r = sync_folder(p->folder, err);
    if (r == 0)
        r = rwf_fs_rmtree(to, err);
    if (r == 0 && rename(p->folder, to) < 0)
        r = rwf_fail(err, errno, "%s: cannot be renamed: %s", p->folder,
                     strerror(errno));
    if (r == 0)
        r = sync_folder(parent, err);
    free(parent);
    return r;
}

static int make(struct prepare *p, const char *digest, const char *to,
                struct rwf_err *err)
{
    int r = rwf_fs_rmtree(p->folder, err); /* a half one */
    if (r == 0)
        r = rwf_fs_mkdirs(p->folder, err);
    p->info = json_pack("{s:{}}", "splits");
    if (r == 0)
        r = is_mlp(p) ? prepare__rows(p, err) : prepare__tokens(p, err);
    if (r == 0)
        r = finish(p, digest, to, err);
    if (r < 0)
        rwf_fs_rmtree(p->folder, NULL);
    return r;
}

static int set_up(struct prepare *p, const char *spill, struct rwf_err *err)
{
    struct duck_options options = { .temp_dir = spill };
    p->cores = p->run->cpu >= 1 ? (int)p->run->cpu : 1;
    if (duck_limit(&options, p->run->memory, p->cores, err) < 0)
        return -1;
    p->duck = duck_open(&options, err);
    if (p->duck == NULL || prepare__open_split(p, &p->train, "train", err) < 0)
        return -1;
    p->has_val = prepare__get(p, "dataset", "val") != NULL;
    return p->has_val ? prepare__open_split(p, &p->val, "val", err) : 0;
}

int prepare_data(const struct op_run *r, const json_t *spec, const char *to,
                 json_t **ret_info, struct rwf_err *err)
{
    char *folder = rwf_xasprintf("%s.tmp", to), *spill = rwf_xasprintf("%s.spill", to);
    struct prepare p = { .run = r, .spec = spec, .folder = folder };
    char digest[RWF_DIGEST_LEN];
    int rc = set_up(&p, spill, err);
    if (rc == 0)
        rc = digest_of(&p, digest, err);
    if (rc == 0 && (*ret_info = find_finished(to, digest)) == NULL) {
        rc = make(&p, digest, to, err);
        if (rc == 0)
            *ret_info = json_incref(p.info);
    }
    prepare__close_split(&p.train);
    prepare__close_split(&p.val);
    duck_close(p.duck);
    rwf_fs_rmtree(spill, NULL);
    json_decref(p.info);
    free(folder);
    free(spill);
    return rc;
}
