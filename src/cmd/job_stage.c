/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/job_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "bundle/bundle.h"
#include "run/layout.h"
#include "run/state.h"

struct stage {
    char *work, *out;
    const char *bundle;
    struct timespec stamp; /* what was last changed before it is as it came */
    json_t *files;         /* of the manifest */
};

/* --- one file --- */

static int copy_file(const char *from, const char *to, mode_t mode)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out =
        in < 0 ? -1 : open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode & 0777);
    ssize_t n = out < 0 ? -1 : 1;
    while (n > 0)
        n = sendfile(out, in, NULL, 1 << 30);
    int code = errno;
    if (in >= 0)
        close(in);
    if (out >= 0 && close(out))
        code = errno, n = -1;
    errno = code;
    return n < 0 ? -1 : 0;
}

/* The same file under another name; on another disk a copy. */
static int put(const char *from, const char *to, struct rwf_err *err)
{
    struct stat st;
    char *folder = rwf_fs_dirname(to);
    int rc = rwf_fs_mkdirs(folder, err);
    free(folder);
    if (rc)
        return -1;
    if (linkat(AT_FDCWD, from, AT_FDCWD, to, 0) == 0)
        return 0;
    if (lstat(from, &st) == 0 && S_ISREG(st.st_mode) &&
        copy_file(from, to, st.st_mode) == 0)
        return 0;
    return rwf_fail(err, errno, "cannot keep '%s': %s", from, strerror(errno));
}

/* --- the recipe's folder --- */

/* What the bundle has under path: its digest; false: nothing like it. */
static bool came_as(const struct stage *s, const char *path,
                    char digest[RWF_DIGEST_LEN], int64_t *ret_size)
{
    char *was = rwf_fs_join(s->bundle, path);
    struct stat st;
    bool there = lstat(was, &st) == 0 && S_ISREG(st.st_mode) &&
                 rwf_digest_file(was, digest, ret_size, NULL) == 0;
    free(was);
    return there;
}

static bool link_came(const struct stage *s, const char *path, const char *text)
{
    char was[4096], *name = rwf_fs_join(s->bundle, path);
    ssize_t n = readlink(name, was, sizeof(was));
    free(name);
    return n == (ssize_t)strlen(text) && memcmp(was, text, (size_t)n) == 0;
}

static bool is_untouched(const struct stage *s, const char *path)
{
    struct stat st;
    if (lstat(path, &st))
        return false;
    return st.st_ctim.tv_sec < s->stamp.tv_sec ||
           (st.st_ctim.tv_sec == s->stamp.tv_sec &&
            st.st_ctim.tv_nsec < s->stamp.tv_nsec);
}

static int add_written(void *ctx, const char *path, char kind, int64_t size,
                       const char *link, struct rwf_err *err)
{
    struct stage *s = ctx;
    char was[RWF_DIGEST_LEN], is[RWF_DIGEST_LEN];
    int64_t was_size = -1;
    int rc = 0;
    if (kind == 'd' || (kind == 'l' && link_came(s, path, link)))
        return 0;
    char *from = rwf_fs_join(s->work, path);
    if (is_untouched(s, from)) {
        free(from);
        return 0;
    }
    char *to = rwf_xasprintf("%s/files/%s", s->out, path);
    bool came = kind != 'l' && came_as(s, path, was, &was_size);
    if (came && was_size == size)
        rc = rwf_digest_file(from, is, NULL, err);
    if (!rc && !(came && was_size == size && strcmp(was, is) == 0)) {
        rc = put(from, to, err);
        json_object_set_new(s->files, path, came ? json_string(was) : json_null());
    }
    free(to);
    free(from);
    return rc;
}

/* --- outputs of steps --- */

struct output {
    const char *from, *to;
};

static int add_part(void *ctx, const char *path, char kind, int64_t size,
                    const char *link, struct rwf_err *err)
{
    const struct output *o = ctx;
    (void)size, (void)link;
    char *from = rwf_fs_join(o->from, path), *to = rwf_fs_join(o->to, path);
    int rc = kind == 'd' ? rwf_fs_mkdirs(to, err) : put(from, to, err);
    free(from);
    free(to);
    return rc;
}

static int add_output(const struct stage *s, const char *step, const char *name,
                      const char *path, struct rwf_err *err)
{
    const struct bundle_options all = {.everything = true, .leave_links = true};
    const char *base = rwf_fs_basename(path);
    struct stat st;
    int rc;
    char *to = rwf_xasprintf("%s/outputs/%s/%s", s->out, step, base);
    if (rwf_fs_exists(to)) { /* two outputs whose files have one name */
        free(to);
        to = rwf_xasprintf("%s/outputs/%s/%s-%s", s->out, step, name, base);
    }
    if (lstat(path, &st))
        rc =
            errno == ENOENT ? 0 : rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        rc = rwf_fs_mkdirs(to, err) ||
                     bundle_each(path, &all, add_part, &(struct output){path, to}, err)
                 ? -1
                 : 0;
    else
        rc = put(path, to, err);
    free(to);
    return rc;
}

static int add_outputs(const struct stage *s, const char *run_log, struct rwf_err *err)
{
    struct run_state *state = run_state_load(run_log, err);
    int rc = state ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < run_state_step_count(state); i++) {
        const struct run_step_state *step = run_state_step_at(state, i);
        char *address = run_step_name(step->address);
        const char *name;
        json_t *one;
        json_object_foreach((json_t *)(uintptr_t)step->outputs, name, one) {
            const char *path = json_string_value(json_object_get(one, "path"));
            if (rc == 0 && path)
                rc = add_output(s, address, name, path, err);
        }
        free(address);
    }
    run_state_destroy(state);
    return rc;
}

/* --- all of it --- */

static int write_manifest(const struct stage *s, struct rwf_err *err)
{
    json_t *manifest = json_pack("{s:O}", "files", s->files);
    char *text = json_dumps(manifest, JSON_SORT_KEYS | JSON_INDENT(1));
    char *path = rwf_fs_join(s->out, "manifest.json");
    int rc = rwf_fs_write(path, text, strlen(text), false, err);
    free(path);
    free(text);
    json_decref(manifest);
    return rc;
}

int cmd_job_stage(const char *job, const char *bundle, const char *run_log,
                  struct rwf_err *err)
{
    const struct bundle_options written = {.leave_links = true};
    char *final = rwf_fs_join(job, "out"), *stamp = rwf_fs_join(job, CMD_JOB_STAMP);
    struct stat st;
    struct stage s = {.work = rwf_fs_join(job, "work"),
                      .out = rwf_fs_join(job, "out.part"),
                      .bundle = bundle,
                      .files = json_object()};
    if (lstat(stamp, &st) == 0)
        s.stamp = st.st_ctim;
    free(stamp);
    int rc = rwf_fs_rmtree(s.out, err) || rwf_fs_rmtree(final, err) ||
                     rwf_fs_mkdirs(s.out, err) ||
                     bundle_each(s.work, &written, add_written, &s, err) ||
                     (run_log && add_outputs(&s, run_log, err)) ||
                     write_manifest(&s, err)
                 ? -1
                 : 0;
    if (!rc && rename(s.out, final))
        rc = rwf_fail(err, errno, "%s: %s", final, strerror(errno));
    json_decref(s.files);
    free(s.work);
    free(s.out);
    free(final);
    return rc;
}
