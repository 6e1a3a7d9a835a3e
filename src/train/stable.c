/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "train/stable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "train/spec.h"

#define METRICS_MAX (256 << 20)

/* --- the folder --- */

/* How it is trained, not what. */
static const char *const passed_over[] = {"workers",   "micro_batch_size", "device", "shard",
                                          "heartbeat", "env",              "dir"};

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

char *stable_folder(const struct op_run *r, struct rwf_err *err)
{
    char hex[RWF_DIGEST_LEN];
    struct rwf_digest *d = rwf_digest_create();
    json_t *spec = json_copy((json_t *)(uintptr_t)r->spec);
    char *steps = rwf_fs_dirname(r->dir), *run = rwf_fs_dirname(steps);

    for (size_t i = 0; i < RWF_COUNT(passed_over); i++)
        json_object_del(spec, passed_over[i]);
    rwf_digest_json(spec, hex);
    rwf_digest_add(d, hex, sizeof(hex));
    rwf_digest_add(d, r->address, strlen(r->address) + 1);
    add_file(d, spec_text(spec, "dataset.train"));
    add_file(d, spec_text(spec, "dataset.val"));
    rwf_digest_finish(d, hex);
    hex[32] = '\0';
    char *path = rwf_xasprintf("%s/train/%s", run, hex);
    if (rwf_fs_mkdirs(path, err) != 0) {
        free(path);
        path = NULL;
    }
    json_decref(spec);
    free(run);
    free(steps);
    return path;
}

/* --- metrics.jsonl --- */

struct stable_metrics {
    char *path;
    int fd;
    bool begun; /* this attempt has added a line */
};

struct stable_metrics *stable_metrics_open(const char *folder, struct rwf_err *err)
{
    struct stable_metrics *m = rwf_xcalloc(1, sizeof(*m));
    m->path = rwf_fs_join(folder, "metrics.jsonl");
    m->fd = open(m->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (m->fd >= 0)
        return m;
    rwf_fail(err, errno, "%s: %s", m->path, strerror(errno));
    stable_metrics_close(m);
    return NULL;
}

void stable_metrics_close(struct stable_metrics *m)
{
    if (m == NULL)
        return;
    if (m->fd >= 0)
        close(m->fd);
    free(m->path);
    free(m);
}

/* Cuts the file before the first line of this step or a later one, or before a torn line. */
static int cut_from(struct stable_metrics *m, double step, struct rwf_err *err)
{
    size_t len;
    char *text = rwf_fs_read(m->path, METRICS_MAX, &len, err);
    if (text == NULL)
        return -1;
    char *at = text, *end;
    while ((end = memchr(at, '\n', len - (size_t)(at - text))) != NULL) {
        json_t *line = json_loadb(at, (size_t)(end - at), 0, NULL);
        const json_t *known = json_object_get(line, "step");
        bool keep = json_is_number(known) && json_number_value(known) < step;
        json_decref(line);
        if (!keep)
            break;
        at = end + 1;
    }
    int rc = ftruncate(m->fd, at - text) == 0
                 ? 0
                 : rwf_fail(err, errno, "%s: %s", m->path, strerror(errno));
    free(text);
    return rc;
}

static json_t *numbers_of(const json_t *line)
{
    json_t *out = json_object(), *value;
    const char *name;
    json_object_foreach((json_t *)(uintptr_t)line, name, value)
        if (json_is_number(value) && strcmp(name, "progress") != 0)
            json_object_set(out, name, value);
    return out;
}

int stable_metrics_add(struct stable_metrics *m, const json_t *line, struct rwf_err *err)
{
    const json_t *step = json_object_get(line, "step");
    json_t *numbers = numbers_of(line);
    int rc = 0;

    if (json_is_number(step) && json_object_size(numbers) > 1) {
        if (!m->begun)
            rc = cut_from(m, json_number_value(step), err);
        m->begun = true;
        char *text = json_dumps(numbers, JSON_COMPACT), *whole = rwf_xasprintf("%s\n", text);
        if (rc == 0)
            rc = rwf_fs_write_all(m->fd, whole, strlen(whole), err);
        free(whole);
        free(text);
    }
    json_decref(numbers);
    return rc;
}
