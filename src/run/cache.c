/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening the cache, finding an entry, and names. What is read here may have been
 * written by a machine that crashed: an entry counts only when its sum and its outputs
 * are right.
 */
#include "config.h"
#include "run/cache.h"
#include <dirent.h>
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

#define ENTRY_MAX (1 << 28)
#define LAST_MAX (4 << 20) /* of last.ndjson, before it is looked at for stale lines */

struct run_cache *run_cache_open(const char *root, struct rwf_err *err)
{
    char *dir = rwf_fs_join(root, "cache");
    if (rwf_fs_exists(dir) && access(dir, R_OK | X_OK) < 0) {
        rwf_fail(err, errno, "cannot use the cache %s: %s", dir, strerror(errno));
        free(dir);
        return NULL;
    }
    struct run_cache *c = rwf_xcalloc(1, sizeof(*c));
    c->dir = rwf_fs_absolute(dir);
    c->lock_fd = c->digest_log.fd = c->last_log.fd = -1;
    c->digest_log.path = rwf_fs_join(c->dir, "digests.ndjson");
    c->last_log.path = rwf_fs_join(c->dir, "last.ndjson");
    pthread_mutex_init(&c->lock, NULL);
    free(dir);
    return c;
}

/* --- names --- */

static char *sharded(const char *dir, const char *kind, const char *name,
                     const char *suffix)
{
    return rwf_xasprintf("%s/%s/%.2s/%s%s", dir, kind, name, name, suffix);
}

char *run__cache_entry_path(const struct run_cache *c, const char *key,
                            const char *suffix)
{
    return sharded(c->dir, "steps", key, suffix);
}

char *run__cache_blob_path(const struct run_cache *c, const char *digest,
                           bool executable)
{
    return sharded(c->dir, "blobs", digest, executable ? "x" : "");
}

char *run__cache_tmp(const struct run_cache *c, struct rwf_err *err)
{
    static unsigned counter;
    char *dir = rwf_xasprintf("%s/tmp", c->dir);
    char *path = rwf_xasprintf("%s/%d-%llx-%u", dir, (int)getpid(),
                               (unsigned long long)rwf_clock_wall(),
                               __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED));
    int rc = mkdir(path, 0777);
    if (rc < 0 && errno == ENOENT && rwf_fs_mkdirs(dir, err) == 0)
        rc = mkdir(path, 0777);
    if (rc < 0) {
        rwf_fail(err, errno, "%s: %s", path, strerror(errno));
        free(path);
        path = NULL;
    }
    free(dir);
    return path;
}

/* Folders of the cache are made when the first thing goes into them. */
static int with_parent(int (*call)(const char *, const char *), const char *from,
                       const char *to)
{
    int rc = call(from, to);
    if (rc == 0 || errno != ENOENT)
        return rc;
    char *dir = rwf_fs_dirname(to);
    struct rwf_err err = RWF_ERR_INIT;
    rc = rwf_fs_mkdirs(dir, &err);
    if (rc == 0)
        rc = call(from, to);
    else
        errno = err.code;
    free(dir);
    return rc;
}

int run__cache_rename(const char *from, const char *to)
{
    return with_parent(rename, from, to);
}

static int link_followed(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW);
}

int run__cache_link(const char *from, const char *to)
{
    return with_parent(link_followed, from, to);
}

/* --- reading --- */

static json_t *parse_entry(const char *text, size_t len, const char **ret_why)
{
    const size_t tail = strlen(CACHE_SUM_KEY) + RWF_DIGEST_LEN - 1 + strlen("\"}\n");
    char sum[RWF_DIGEST_LEN];
    *ret_why = "the entry is damaged";
    if (len <= tail)
        return NULL;
    const char *at = text + len - tail;
    if (strncmp(at, CACHE_SUM_KEY, strlen(CACHE_SUM_KEY)) != 0)
        return NULL;
    rwf_digest_bytes(text, len - tail, sum);
    if (memcmp(at + strlen(CACHE_SUM_KEY), sum, RWF_DIGEST_LEN - 1) != 0)
        return NULL;
    json_t *entry = json_loadb(text, len, 0, NULL);
    if (json_integer_value(json_object_get(entry, "v")) == 1)
        return entry;
    *ret_why = "the entry is of another version of raywf";
    json_decref(entry);
    return NULL;
}

static char *read_entry(const char *path, struct stat *ret_stat, size_t *ret_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    char *text = NULL;
    if (fstat(fd, ret_stat) == 0 && ret_stat->st_size <= ENTRY_MAX) {
        text = rwf_xmalloc((size_t)ret_stat->st_size + 1);
        ssize_t n = read(fd, text, (size_t)ret_stat->st_size);
        *ret_len = n > 0 ? (size_t)n : 0;
        text[*ret_len] = '\0';
    }
    close(fd);
    return text;
}

json_t *run__cache_read(const char *path, struct stat *ret_stat, const char **ret_why)
{
    size_t len = 0;
    char *text = read_entry(path, ret_stat, &len);
    *ret_why = "not there";
    json_t *entry = text ? parse_entry(text, len, ret_why) : NULL;
    free(text);
    return entry;
}

static int count_file(void *ctx, const struct run__file *f, struct rwf_err *err)
{
    int64_t *total = ctx;
    (void)err;
    if (f->fd >= 0) {
        total[0]++;
        total[1] += f->st.st_size;
    }
    return 0;
}

static const char *folder_wrong(int cache_dir, const char *path, const json_t *output)
{
    int64_t total[2] = { 0, 0 };
    struct rwf_err err = RWF_ERR_INIT;
    if (run__walk(cache_dir, path, true, count_file, total, &err) < 0)
        return "an output is gone";
    return total[0] != json_integer_value(json_object_get(output, "files")) ||
           total[1] != json_integer_value(json_object_get(output, "size"))
           ? "files of an output folder are gone or changed" : NULL;
}

static const char *output_wrong(const struct run_cache *c, const json_t *output)
{
    const char *path = json_string_value(json_object_get(output, "path"));
    if (!path)
        return "the entry is damaged";
    struct stat st;
    char *full = rwf_fs_join(c->dir, path);
    const char *why = NULL;
    bool folder = json_object_get(output, "files") != NULL;
    if (stat(full, &st) < 0 || S_ISDIR(st.st_mode) != folder)
        why = "an output is gone";
    else if (folder) {
        int dir = open(c->dir, O_PATH | O_CLOEXEC);
        why = folder_wrong(dir, path, output);
        close(dir);
    } else if (st.st_size != json_integer_value(json_object_get(output, "size")))
        why = "an output has another size than it had";
    free(full);
    return why;
}

const char *run__cache_outputs_wrong(const struct run_cache *c, const json_t *entry)
{
    const char *name, *why = NULL;
    json_t *output;
    json_object_foreach(json_object_get(entry, "outputs"), name, output) {
        why = output_wrong(c, output);
        if (why)
            break;
    }
    return why;
}

void run__cache_make_absolute(const struct run_cache *c, json_t *entry)
{
    const char *name;
    json_t *output;
    json_object_foreach(json_object_get(entry, "outputs"), name, output) {
        const char *path = json_string_value(json_object_get(output, "path"));
        char *full = rwf_fs_join(c->dir, path ? path : "");
        json_object_set_new(output, "path", json_string(full));
        free(full);
    }
}

/* For gc, which goes by the time of the last use: at most one write a day. */
static void touch(const char *path, const struct stat *st)
{
    int64_t age = rwf_clock_wall() - st->st_mtim.tv_sec * RWF_NS_PER_S;
    if (age > CACHE_DAY)
        utimensat(AT_FDCWD, path, NULL, 0);
}

json_t *run_cache_get(struct run_cache *c, const char *key, const char **ret_miss)
{
    struct stat st;
    char *path = run__cache_entry_path(c, key, ".json");
    json_t *entry = run__cache_read(path, &st, ret_miss);
    if (entry) {
        *ret_miss = run__cache_outputs_wrong(c, entry);
        if (*ret_miss) {
            json_decref(entry);
            entry = NULL;
        } else {
            touch(path, &st);
            run__cache_make_absolute(c, entry);
        }
    }
    free(path);
    return entry;
}

/* --- the last key of a step --- */

static void load_last_line(void *ctx, const json_t *line)
{
    struct run_cache *c = ctx;
    const char *recipe, *address, *key;
    if (json_unpack((json_t *)line, "[s, s, s]", &recipe, &address, &key) < 0)
        return;
    char *name = rwf_xasprintf("%s\n%s", recipe, address);
    free(rwf_map_set(c->last, name, rwf_xstrdup(key)));
    free(name);
}

static void write_last(void *ctx, struct rwf_str *out)
{
    const struct run_cache *c = ctx;
    for (size_t i = 0; i < rwf_map_count(c->last); i++) {
        const char *name = rwf_map_key_at(c->last, i);
        const char *cut = strchr(name, '\n');
        json_t *line = json_pack("[s%, s, s]", name, (size_t)(cut - name), cut + 1,
                                 (const char *)rwf_map_value_at(c->last, i));
        char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
        if (text)
            rwf_str_addf(out, "%s\n", text);
        free(text);
        json_decref(line);
    }
}

static void load_last(struct run_cache *c)
{
    if (c->last)
        return;
    c->last = rwf_map_create();
    run__journal_load(&c->last_log, load_last_line, c);
    struct stat st;
    if (stat(c->last_log.path, &st) == 0 && st.st_size > LAST_MAX &&
        c->last_log.lines > 2 * (int64_t)rwf_map_count(c->last))
        run__journal_rewrite(&c->last_log, write_last, c);
}

void run__cache_note_last(struct run_cache *c, const char *recipe, const char *origin,
                          const char *key)
{
    const char *address = strchr(origin, '/');
    json_t *line = json_pack("[s, s, s]", recipe, address ? address + 1 : origin, key);
    if (!line)
        return;
    pthread_mutex_lock(&c->lock);
    run__journal_add(&c->last_log, line);
    if (c->last)
        load_last_line(c, line);
    pthread_mutex_unlock(&c->lock);
    json_decref(line);
}

json_t *run_cache_last_for(struct run_cache *c, const char *recipe, const char *address)
{
    char *name = rwf_xasprintf("%s\n%s", recipe, address);
    pthread_mutex_lock(&c->lock);
    load_last(c);
    const char *key = rwf_map_get(c->last, name);
    char *path = key ? run__cache_entry_path(c, key, ".json") : NULL;
    pthread_mutex_unlock(&c->lock);
    struct stat st;
    const char *why;
    json_t *entry = path ? run__cache_read(path, &st, &why) : NULL;
    if (entry)
        run__cache_make_absolute(c, entry);
    free(path);
    free(name);
    return entry;
}

bool run_cache_empty(const struct run_cache *c)
{
    char *steps = rwf_fs_join(c->dir, "steps");
    DIR *d = opendir(steps);
    const struct dirent *e = NULL;
    while (d && (e = readdir(d)) && e->d_name[0] == '.')
        continue;
    if (d)
        closedir(d);
    free(steps);
    return e == NULL;
}

void run_cache_close(struct run_cache *c)
{
    if (!c)
        return;
    struct stat st;
    if (c->last_log.fd >= 0 && fstat(c->last_log.fd, &st) == 0 && st.st_size > LAST_MAX)
        load_last(c);
    run__digests_close(c);
    rwf_map_destroy(c->last, free);
    run__journal_close(&c->last_log);
    free(c->last_log.path);
    if (c->lock_fd >= 0)
        close(c->lock_fd);
    for (size_t i = 0; i < c->held_count; i++)
        free(c->held[i]);
    free(c->held);
    pthread_mutex_destroy(&c->lock);
    free(c->dir);
    free(c);
}
