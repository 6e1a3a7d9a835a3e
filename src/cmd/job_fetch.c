/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "bundle/bundle.h"
#include "cmd/job.h"

struct fetch {
    const char *job, *folder;
    char *part; /* the bundle, unpacked */
    json_t *files, *kept;
};

static int download(struct job_client *c, const char *to, struct rwf_err *err)
{
    char digest[RWF_DIGEST_LEN];
    struct job_answer a = {.more = true};
    struct bundle_reader *r = bundle_reader_open(to, NULL, err);
    int rc = r ? 0 : -1;
    while (rc == 0 && a.more) {
        rc = job_client_next(c, &a, err);
        bool more = a.more;
        if (rc == 0)
            rc = bundle_reader_feed(r, a.data, a.len, err);
        job_answer_clear(&a);
        a.more = more;
    }
    if (rc == 0)
        rc = bundle_reader_finish(r, digest, err);
    bundle_reader_close(r);
    return rc;
}

/* What is at path now: "" for nothing, else a digest; of a link: of its text. */
static void digest_of(const char *path, char ret[RWF_DIGEST_LEN])
{
    char text[4096];
    struct stat st;
    ssize_t n;
    *ret = '\0';
    if (lstat(path, &st))
        return;
    if (S_ISLNK(st.st_mode) && (n = readlink(path, text, sizeof(text))) >= 0)
        rwf_digest_bytes(text, (size_t)n, ret);
    else if (!S_ISREG(st.st_mode) || rwf_digest_file(path, ret, NULL, NULL))
        strcpy(ret, "other");
}

/* to may be replaced when it is what the job was sent with. */
static int put(struct fetch *f, const char *path, const char *was, struct rwf_err *err)
{
    char here[RWF_DIGEST_LEN], there[RWF_DIGEST_LEN];
    char *from = rwf_xasprintf("%s/files/%s", f->part, path);
    char *to = rwf_fs_join(f->folder, path), *parent = rwf_fs_dirname(to);
    digest_of(to, here);
    digest_of(from, there);
    bool same = strcmp(here, there) == 0,
         free_to_go = !*here || (was && !strcmp(here, was));
    int rc = 0;
    if (!*there)
        rc = rwf_fail(err, RWF_E_INPUT,
                      "the head's list names '%s', but it did not come", path);
    else if (!same && !free_to_go) {
        char *beside = rwf_xasprintf("%s.%s", to, f->job);
        free(to);
        to = beside;
        json_array_append_new(f->kept, cmd_string(path));
    }
    if (!rc && !same)
        rc = rwf_fs_mkdirs(parent, err);
    if (!rc && !same && rename(from, to))
        rc = rwf_fail(err, errno, "cannot write '%s': %s", to, strerror(errno));
    if (!rc)
        json_array_append_new(f->files, cmd_string(path));
    free(parent);
    free(from);
    free(to);
    return rc;
}

/* What no job has to write to, whatever the head says. */
static bool is_off_limits(const char *path)
{
    static const char *const names[] = {".git", ".raywf"};
    if (!rwf_fs_is_beneath(path))
        return true;
    for (const char *at = path; *at;) {
        size_t len = strcspn(at, "/");
        for (size_t i = 0; i < RWF_COUNT(names); i++) {
            if (strlen(names[i]) == len && strncmp(at, names[i], len) == 0)
                return true;
        }
        at += len + (at[len] == '/');
    }
    return false;
}

static int put_files(struct fetch *f, struct rwf_err *err)
{
    json_t *manifest = rwf_read_json(f->part, "manifest.json", false, err), *was;
    const char *path;
    int rc = manifest ? 0 : -1;
    json_object_foreach(json_object_get(manifest, "files"), path, was) {
        if (rc == 0 && is_off_limits(path))
            rc = rwf_fail(err, RWF_E_INPUT,
                          "the head's list has '%s', where no job may write", path);
        rc = rc ? rc : put(f, path, json_string_value(was), err);
    }
    json_decref(manifest);
    return rc;
}

/* true: there are some, now at `to`. */
static int put_outputs(const struct fetch *f, const char *to, bool *ret,
                       struct rwf_err *err)
{
    char *from = rwf_fs_join(f->part, "outputs"), *parent = rwf_fs_dirname(to);
    int rc = 0;
    *ret = rwf_fs_exists(from);
    if (*ret)
        rc = rwf_fs_mkdirs(parent, err) || rwf_fs_rmtree(to, err) ? -1 : 0;
    if (*ret && !rc && rename(from, to))
        rc = rwf_fail(err, errno, "cannot write '%s': %s", to, strerror(errno));
    free(from);
    free(parent);
    return rc;
}

int cmd_job_fetch(struct job_client *c, const char *job, const char *folder,
                  const char *outputs, json_t **ret, struct rwf_err *err)
{
    struct job_answer a;
    char *to = rwf_fs_join(folder, outputs);
    struct fetch f = {.folder = folder, .files = json_array(), .kept = json_array()};
    bool some = false;
    int rc = job_client_call(c, "outputs", json_pack("{s:s}", "job", job), &a, err);
    char *id = rc ? rwf_xstrdup(job)
                  : rwf_xstrdup(json_string_value(json_object_get(a.json, "job")));
    f.job = id;
    f.part = rwf_xasprintf("%s/.raywf-job-%s.%d", folder, id, (int)getpid());
    if (!rc && !json_is_true(json_object_get(a.json, "none")))
        rc = rwf_fs_mkdirs(folder, err) || download(c, f.part, err) ||
                     put_files(&f, err) || put_outputs(&f, to, &some, err)
                 ? -1
                 : 0;
    rwf_fs_rmtree(f.part, NULL);
    json_t *out = json_pack("{s:o, s:o}", "files", f.files, "kept", f.kept);
    if (some)
        json_object_set_new(out, "outputs", cmd_string(to));
    json_object_set_new(out, "folder", cmd_string(folder));
    json_object_set_new(out, "job", cmd_string(id));
    if (!rc && ret)
        *ret = json_incref(out);
    json_decref(out);
    job_answer_clear(&a);
    free(f.part);
    free(id);
    free(to);
    return rc ? rwf_wrap(err, "outputs of job %s", job) : 0;
}

void cmd_job_show_fetched(const struct cmd_call *call, const json_t *fetched)
{
    const json_t *files = json_object_get(fetched, "files"), *one;
    const char *outputs = json_string_value(json_object_get(fetched, "outputs"));
    const char *job = json_string_value(json_object_get(fetched, "job"));
    size_t i;
    json_array_foreach(json_object_get(fetched, "kept"), i, one)
        fprintf(stderr,
                "kept       %s: it was changed here meanwhile; the job's is %s.%s\n",
                json_string_value(one), json_string_value(one), job);
    if (call->quiet)
        return;
    if (json_array_size(files))
        fprintf(stderr, "files      %zu in %s\n", json_array_size(files),
                json_string_value(json_object_get(fetched, "folder")));
    if (outputs)
        fprintf(stderr, "outputs    %s\n", outputs);
}
