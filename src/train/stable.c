/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "train/stable.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "train/spec.h"

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

/* A trial has one that its search knows, too. */
static char *trial_folder(const char *path, struct rwf_err *err)
{
    return rwf_fs_mkdirs(path, err) == 0 ? rwf_xstrdup(path) : NULL;
}

char *stable_folder(const struct op_run *r, struct rwf_err *err)
{
    const char *trial = getenv("RAYWF_TRIAL_DIR");
    if (trial != NULL)
        return trial_folder(trial, err);
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
