/* SPDX-License-Identifier: Apache-2.0
 *
 * `read.url`: the file comes to ROOT/cache/downloads, outside the attempt's folder, so
 * that another attempt goes on where this one was cut off. Its name is made of the URL
 * and the checksum. NAME.lock is held alone by who writes it and together by who reads
 * it. Once the step has its result and nobody else reads it, the download is dropped:
 * the result is what the cache keeps.
 */
#include "config.h"
#include <errno.h>
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
#include "base/str.h"
#include "data/job.h"
#include "wire/http.h"

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

/* There already, whole, by its checksum. */
static bool is_ready(const char *path, const char *sha256)
{
    char digest[RWF_DIGEST_LEN];
    return sha256 != NULL && rwf_fs_is_file(path) &&
           rwf_digest_file(path, digest, NULL, NULL) == 0 &&
           strcmp(digest, sha256) == 0;
}

static int fetch(struct job *j, const json_t *read, const char *path,
                 struct rwf_err *err)
{
    const char *sha256 = json_string_value(json_object_get(read, "sha256"));
    char digest[RWF_DIGEST_LEN];
    if (is_ready(path, sha256))
        return 0;
    char **headers = http_fetch_headers(json_object_get(read, "headers"));
    struct http_fetch f = { .url = json_string_value(json_object_get(read, "url")),
                            .path = path, .sha256 = sha256,
                            .headers = (const char *const *)headers,
                            .progress = on_progress, .ctx = j };
    int r = http_fetch(&f, err);
    http_fetch_headers_free(headers);
    if (r == 0 && sha256 == NULL && rwf_digest_file(path, digest, NULL, NULL) == 0)
        fprintf(stderr,
                "warning: %s: read.url has no checksum; to be sure of the data add\n"
                "    sha256: %s\n", j->run->address, digest);
    return r;
}

static char *lock_name(const char *path)
{
    return rwf_xasprintf("%s.lock", path);
}

/* The lock file, locked; one that its last user has removed meanwhile is no lock. */
static int lock_open(const char *path, int how, struct rwf_err *err)
{
    struct stat held, there;
    char *name = lock_name(path);
    int fd;
    for (;;) {
        fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0 || flock(fd, how) < 0 || fstat(fd, &held) < 0) {
            rwf_fail(err, errno, "%s: %s", name, strerror(errno));
            if (fd >= 0)
                close(fd);
            fd = -1;
            break;
        }
        if (stat(name, &there) == 0 && there.st_ino == held.st_ino)
            break;
        close(fd);
    }
    free(name);
    return fd;
}

static int get(struct job *j, const json_t *read, struct download *d,
               struct rwf_err *err)
{
    d->lock = lock_open(d->path, LOCK_SH, err);
    if (d->lock < 0)
        return -1;
    if (is_ready(d->path, json_string_value(json_object_get(read, "sha256"))))
        return 0;
    close(d->lock);
    d->lock = lock_open(d->path, LOCK_EX, err);
    if (d->lock < 0 || fetch(j, read, d->path, err) < 0)
        return -1;
    flock(d->lock, LOCK_SH);
    return 0;
}

int download__get(struct job *j, const json_t *read, struct download *d,
                  struct rwf_err *err)
{
    char *dir = http_fetch_folder(j->run->dir);
    int r = rwf_fs_mkdirs(dir, err);
    d->lock = -1;
    d->path = download_path(dir, json_string_value(json_object_get(read, "url")),
                            json_string_value(json_object_get(read, "sha256")));
    if (r == 0)
        r = get(j, read, d, err);
    free(dir);
    return r;
}

void download__done(struct download *d, bool drop)
{
    if (d->path == NULL)
        return;
    if (drop && d->lock >= 0 && flock(d->lock, LOCK_EX | LOCK_NB) == 0) {
        char *name = lock_name(d->path);
        unlink(d->path);
        unlink(name);
        free(name);
    }
    if (d->lock >= 0)
        close(d->lock);
    free(d->path);
    d->path = NULL;
}
