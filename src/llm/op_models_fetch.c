/* SPDX-License-Identifier: Apache-2.0
 *
 * A model's files over http(s): URL/NAME for each. They come to ROOT/cache/downloads,
 * outside the attempt's folder, so that another attempt goes on where this one was cut
 * off; what is whole moves on. One process downloads an address at a time. Shard names
 * are those of an index that came over the network: they must stay beneath the folder.
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
#include "base/json_read.h"
#include "base/mem.h"
#include "base/str.h"
#include "llm/op_models.h"
#include "wire/http.h"

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"

struct fetching {
    struct op_run *run;
    const char *url;
    const json_t *sha256;
    char *dir; /* where files are while they come */
    char **headers;
    int lock;
    int64_t told;
};

/* --- checksums --- */

static const char *checksum_of(const json_t *sha256, const char *name)
{
    if (json_is_string(sha256))
        return strcmp(name, SINGLE) == 0 ? json_string_value(sha256) : NULL;
    return json_string_value(json_object_get(sha256, name));
}

static int check_file(const char *folder, const char *name, const char *wanted,
                      struct rwf_err *err)
{
    char digest[RWF_DIGEST_LEN], *path = rwf_fs_join(folder, name);
    int rc = rwf_digest_file(path, digest, NULL, err);
    if (rc != 0 && err != NULL)
        err->code = RWF_E_INPUT;
    if (rc == 0 && strcmp(digest, wanted) != 0)
        rc = rwf_fail(err, RWF_E_INPUT, "'%s' has the SHA-256 %s, the recipe says %s",
                      path, digest, wanted);
    free(path);
    return rc;
}

int llm__models_checksums(const char *folder, const json_t *sha256, struct rwf_err *err)
{
    const char *name;
    json_t *value;
    if (json_is_string(sha256))
        return check_file(folder, SINGLE, json_string_value(sha256), err);
    json_object_foreach((json_t *)(uintptr_t)sha256, name, value)
        if (check_file(folder, name, json_string_value(value), err) != 0)
            return -1;
    return 0;
}

/* --- one file --- */

static void on_progress(void *ctx, int64_t got, int64_t total)
{
    struct fetching *f = ctx;
    if (got - f->told < (1 << 20) && got != total && got >= f->told)
        return; /* once per MiB is enough */
    f->told = got;
    json_t *line = json_pack("{s:I}", "bytes", (json_int_t)got);
    if (total > 0)
        json_object_set_new(line, "progress", json_real((double)got / (double)total));
    if (f->run->report != NULL)
        f->run->report(f->run, line);
    json_decref(line);
}

static char *address_of(const struct fetching *f, const char *name)
{
    size_t len = strcspn(f->url, "?#");
    bool slash = len > 0 && f->url[len - 1] == '/';
    return rwf_xasprintf("%.*s%s%s%s", (int)len, f->url, slash ? "" : "/", name,
                         f->url + len);
}

/* optional: 1 when the server has no such file. */
static int fetch(struct fetching *f, const char *name, bool optional,
                 struct rwf_err *err)
{
    struct rwf_err why = RWF_ERR_INIT;
    char *url = address_of(f, name), *path = rwf_fs_join(f->dir, name);
    const char *sha256 = checksum_of(f->sha256, name);
    const struct http_fetch h = {.url = url,
                                 .path = path,
                                 .sha256 = sha256,
                                 .headers = (const char *const *)f->headers,
                                 .progress = on_progress,
                                 .ctx = f};
    f->told = 0;
    /* What an earlier attempt left, when the server had something else, or the recipe. */
    bool stale = sha256 != NULL && rwf_fs_is_file(path) &&
                 check_file(f->dir, name, sha256, NULL) != 0;
    if (stale)
        unlink(path);
    int rc = rwf_fs_is_file(path) ? 0 : http_fetch(&h, &why);
    if (rc != 0 && optional && sha256 == NULL && why.code == RWF_E_INPUT)
        rc = 1;
    else if (rc != 0)
        rwf_fail(err, why.code, "%s", why.text);
    free(url);
    free(path);
    return rc;
}

/* --- all of them --- */

static int fetch_shards(struct fetching *f, struct rwf_err *err)
{
    json_t *index = rwf_read_json(f->dir, INDEX, false, err), *value;
    const char *tensor;
    int rc = 0;
    if (index == NULL)
        return -1;
    json_object_foreach(json_object_get(index, "weight_map"), tensor, value) {
        const char *name = json_string_value(value);
        if (name == NULL || strchr(name, '/') != NULL || !rwf_fs_is_beneath(name) ||
            !rwf_ends_with(name, ".safetensors"))
            rc = rwf_fail(err, RWF_E_INPUT,
                          "%s: '%s' lies in '%s', which is no file name", INDEX, tensor,
                          name != NULL ? name : "?");
        if (rc == 0)
            rc = fetch(f, name, false, err);
        if (rc != 0)
            break;
    }
    json_decref(index);
    return rc;
}

static int fetch_all(struct fetching *f, struct rwf_err *err)
{
    static const char *const optional[] = {"generation_config.json",
                                           "tokenizer.json",
                                           "tokenizer_config.json",
                                           "vocab.json",
                                           "merges.txt",
                                           "chat_template.jinja",
                                           "added_tokens.json",
                                           "special_tokens_map.json"};
    if (fetch(f, "config.json", false, err) != 0)
        return -1;
    for (size_t i = 0; i < RWF_COUNT(optional); i++)
        if (fetch(f, optional[i], true, err) < 0)
            return -1;
    int rc = fetch(f, INDEX, true, err);
    return rc < 0 ? -1 : rc == 0 ? fetch_shards(f, err) : fetch(f, SINGLE, false, err);
}

/* Beside a step's other downloads. */
static char *downloads_dir(const char *dir, const char *url)
{
    char digest[RWF_DIGEST_LEN], *folder = http_fetch_folder(dir);
    rwf_digest_bytes(url, strlen(url), digest);
    char *out = rwf_xasprintf("%s/model-%.16s", folder, digest);
    free(folder);
    return out;
}

static int lock(struct fetching *f, struct rwf_err *err)
{
    char *path = rwf_xasprintf("%s.lock", f->dir);
    f->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    int rc = f->lock < 0 || flock(f->lock, LOCK_EX) != 0
                 ? rwf_fail(err, errno, "%s: %s", path, strerror(errno))
                 : 0;
    free(path);
    return rc;
}

int llm__models_fetch(struct op_run *r, const char *folder, struct rwf_err *err)
{
    struct fetching f = {.run = r, .lock = -1};
    int rc = -1;
    f.url = json_string_value(json_object_get(r->spec, "url"));
    if (f.url == NULL)
        return rwf_fail(err, RWF_E_RECIPE, "%s: no url", r->address);
    f.sha256 = json_object_get(r->spec, "sha256");
    f.dir = downloads_dir(r->dir, f.url);
    f.headers = http_fetch_headers(json_object_get(r->spec, "headers"));
    if (rwf_fs_mkdirs(f.dir, err) == 0 && lock(&f, err) == 0 &&
        rwf_fs_mkdirs(f.dir, err) == 0)
        rc = fetch_all(&f, err);
    if (rc == 0)
        rc = llm__models_checksums(f.dir, f.sha256, err);
    if (rc == 0 && rename(f.dir, folder) != 0)
        rc = rwf_fail(err, errno, "%s cannot be moved to %s: %s", f.dir, folder,
                      strerror(errno));
    if (f.lock >= 0)
        close(f.lock);
    http_fetch_headers_free(f.headers);
    free(f.dir);
    return rc;
}
