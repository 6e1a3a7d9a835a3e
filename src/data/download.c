/* SPDX-License-Identifier: Apache-2.0
 *
 * `read.url`: the file comes to ROOT/cache/downloads, outside the attempt's folder, so
 * that another attempt goes on where this one was cut off. Its name is made of the URL and
 * the checksum; a lock keeps two steps from writing one file. Once the step has its result
 * the download is dropped: the result is what the cache keeps.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/job.h"
#include "wire/http.h"

/* An attempt's folder is ROOT/runs/ID/steps/NAME/N; anywhere else the step's own. */
static char *downloads_dir(const char *dir)
{
    char *at = rwf_fs_absolute(dir);
    for (int i = 0; i < 4; i++) {
        char *up = rwf_fs_dirname(at);
        free(at);
        at = up;
    }
    char *root = rwf_fs_dirname(at);
    bool known = strcmp(rwf_fs_basename(at), "runs") == 0;
    char *result = known ? rwf_fs_join(root, "cache/downloads")
                         : rwf_fs_join(dir, "downloads");
    free(at);
    free(root);
    return result;
}

/* The end of the URL's path, harmless: it tells the format. */
static void add_file_name(struct rwf_str *out, const char *url)
{
    size_t len = strcspn(url, "?#"), from = len;
    while (from > 0 && url[from - 1] != '/' && len - from < 60)
        from--;
    for (size_t i = from; i < len; i++) {
        bool plain = strchr("._-", url[i]) != NULL ||
                     (url[i] >= '0' && url[i] <= '9') ||
                     ((url[i] | 32) >= 'a' && (url[i] | 32) <= 'z');
        rwf_str_addc(out, plain ? url[i] : '_');
    }
}

static char *download_path(const char *dir, const char *url, const char *sha256)
{
    char digest[RWF_DIGEST_LEN];
    struct rwf_str name = { 0 };
    rwf_str_addf(&name, "%s\n%s", url, sha256 != NULL ? sha256 : "");
    rwf_digest_bytes(name.data, name.len, digest);
    rwf_str_clear(&name);
    rwf_str_addf(&name, "%.16s-", digest);
    add_file_name(&name, url);
    char *path = rwf_fs_join(dir, name.data);
    rwf_str_free(&name);
    return path;
}

static void on_progress(void *ctx, int64_t got, int64_t total)
{
    struct job *j = ctx;
    static int64_t told;
    /* once per MiB is enough */
    if (got - told < (1 << 20) && got != total && got >= told)
        return;
    told = got;
    json_t *line = json_pack("{s:I}", "bytes", (json_int_t)got);
    if (total > 0)
        json_object_set_new(line, "progress",
                            json_real(0.5 * (double)got / (double)total));
    if (j->run->report != NULL)
        j->run->report(j->run, line);
    json_decref(line);
}

/* "Name: value" lines, NULL-terminated; the caller frees lines and list. */
static char **make_headers(const json_t *headers)
{
    char **list = rwf_xcalloc(json_object_size(headers) + 1, sizeof(*list));
    const char *name;
    json_t *value;
    size_t n = 0;
    json_object_foreach((json_t *)headers, name, value)
        if (json_is_string(value))
            list[n++] = rwf_xasprintf("%s: %s", name, json_string_value(value));
    return list;
}

static int fetch(struct job *j, const json_t *read, const char *path, struct rwf_err *err)
{
    const char *sha256 = json_string_value(json_object_get(read, "sha256"));
    char digest[RWF_DIGEST_LEN];
    if (sha256 != NULL && rwf_fs_is_file(path) &&
        rwf_digest_file(path, digest, NULL, NULL) == 0 && strcmp(digest, sha256) == 0)
        return 0;
    char **headers = make_headers(json_object_get(read, "headers"));
    struct http_fetch f = { .url = json_string_value(json_object_get(read, "url")),
                            .path = path, .sha256 = sha256,
                            .headers = (const char *const *)headers,
                            .progress = on_progress, .ctx = j };
    int r = http_fetch(&f, err);
    for (char **h = headers; *h != NULL; h++)
        free(*h);
    free(headers);
    if (r == 0 && sha256 == NULL && rwf_digest_file(path, digest, NULL, NULL) == 0)
        fprintf(stderr,
                "warning: %s: read.url has no checksum; to be sure of the data add\n"
                "    sha256: %s\n", j->run->address, digest);
    return r;
}

char *download__get(struct job *j, const json_t *read, struct rwf_err *err)
{
    const char *url = json_string_value(json_object_get(read, "url"));
    const char *sha256 = json_string_value(json_object_get(read, "sha256"));
    char *dir = downloads_dir(j->run->dir);
    char *path = download_path(dir, url, sha256);
    char *lock_path = rwf_xasprintf("%s.lock", path);
    int lock = -1, r = rwf_fs_mkdirs(dir, err);
    if (r == 0) {
        lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        r = lock >= 0 && flock(lock, LOCK_EX) == 0
                ? fetch(j, read, path, err)
                : rwf_fail(err, errno, "%s: %s", lock_path, strerror(errno));
    }
    if (lock >= 0)
        close(lock);
    free(lock_path);
    free(dir);
    if (r == 0)
        return path;
    free(path);
    return NULL;
}

void download__drop(const char *path)
{
    char *lock_path = rwf_xasprintf("%s.lock", path);
    unlink(path);
    unlink(lock_path);
    free(lock_path);
}
