/* SPDX-License-Identifier: Apache-2.0
 *
 * Bundles that come from clients, and results that go to them. All that touches their
 * files is done in the pool: a slow disk must not keep the head from its nodes. While
 * the pool has a reader or a writer, the client's is NULL.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "job/later.h"
#include "job/talk.h"

/* Of a bundle, whatever its sender's own limit is. */
#define UPLOAD_MAX (INT64_C(64) << 30)
/* So much is at most on its way to the disk: the journal's next line waits for it. */
#define UNSYNCED_MAX (INT64_C(32) << 20)

struct work {
    struct job__conn *conn;
    uint64_t request;
    struct bundle_reader *reader;
    struct bundle_writer *writer;
    char *path; /* of the bundle; of what is to be packed */
    char *job;  /* whose that is */
    uint8_t *data;
    size_t len;
    bool end;   /* the last piece */
    bool sync;  /* enough has come */
    bool there; /* what is to be packed exists */
    int rc;
    struct rwf_err err;
};

static struct work *begin(struct job__conn *c, uint64_t request)
{
    struct work *w = rwf_xcalloc(1, sizeof(*w));
    w->conn = c;
    w->request = request;
    c->busy = true;
    c->open++;
    return w;
}

static void close_trees(void *ctx)
{
    struct work *w = ctx;
    bundle_reader_close(w->reader);
    bundle_writer_close(w->writer);
    free(w->path);
    free(w->job);
    free(w->data);
    free(w);
}

/* What it still has is closed, and what came of it removed, in the pool. */
static void end(struct work *w)
{
    struct job__conn *c = w->conn;
    c->busy = false;
    job__later_do(c->loop, close_trees, NULL, w);
    job__conn_release(c);
}

void job__drop_trees(struct job__conn *c)
{
    struct work *w = rwf_xcalloc(1, sizeof(*w));
    w->reader = c->upload;
    w->writer = c->download;
    c->upload = NULL;
    c->download = NULL;
    if (w->reader || w->writer)
        job__later_do(c->loop, close_trees, NULL, w);
    else
        free(w);
}

/* --- a bundle comes --- */

static int sync_folder(const char *path, struct rwf_err *err)
{
    char *folder = rwf_fs_dirname(path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int code = fd < 0 || syncfs(fd) ? errno : 0;
    if (fd >= 0)
        close(fd);
    free(folder);
    return code ? rwf_fail(err, code, "the bundle did not reach the disk: %s",
                           strerror(code))
                : 0;
}

static int finish(struct work *w)
{
    char digest[RWF_DIGEST_LEN];
    if (bundle_reader_finish(w->reader, digest, &w->err))
        return -1;
    return sync_folder(w->path, &w->err);
}

static void put_work(void *ctx)
{
    struct work *w = ctx;
    w->rc = bundle_reader_feed(w->reader, w->data, w->len, &w->err);
    if (!w->rc && w->end)
        w->rc = finish(w);
    else if (!w->rc && w->sync)
        w->rc = sync_folder(w->path, &w->err);
}

static void put_done(void *ctx)
{
    struct work *w = ctx;
    struct job__conn *c = w->conn;
    if (w->rc) {
        job__reply_error(c, w->request, &w->err);
    } else {
        if (!w->end) {
            c->upload = w->reader;
            w->reader = NULL;
        }
        job__reply(c, w->request, &(struct job__reply){0});
    }
    end(w);
}

static int begin_upload(struct job__conn *c, const json_t *args, struct rwf_err *err)
{
    const char *digest = json_string_value(json_object_get(args, "digest"));
    const struct bundle_options o = {
        .max_bytes = UPLOAD_MAX, .keep = true, .digest = digest};
    if (!digest || strlen(digest) != 64 || strspn(digest, "0123456789abcdef") != 64)
        return rwf_fail(err, RWF_E_USAGE, "put: this is no digest");
    job__drop_trees(c);
    free(c->upload_digest);
    c->upload_digest = rwf_xstrdup(digest);
    c->unsynced = 0;
    char *path = job_keeper_bundle(c->keeper, digest);
    c->upload = bundle_reader_open(path, &o, err);
    free(path);
    return c->upload ? 0 : -1;
}

int job__on_put(struct job__conn *c, const Wire__Job *m, const json_t *args,
                struct rwf_err *err)
{
    if (json_object_get(args, "digest") && begin_upload(c, args, err))
        return -1;
    if (!c->upload)
        return rwf_fail(err, RWF_E_USAGE, "put: there is no digest in the first piece");
    struct work *w = begin(c, m->request);
    w->reader = c->upload;
    c->upload = NULL;
    w->path = job_keeper_bundle(c->keeper, c->upload_digest);
    w->len = m->data.len;
    w->data = rwf_xmalloc(w->len + 1);
    if (w->len)
        memcpy(w->data, m->data.data, w->len);
    w->end = m->end;
    c->unsynced += (int64_t)w->len;
    w->sync = c->unsynced >= UNSYNCED_MAX;
    if (w->sync)
        c->unsynced = 0;
    job__later_do(c->loop, put_work, put_done, w);
    return 0;
}

/* --- what a job has made goes --- */

static void open_work(void *ctx)
{
    const struct bundle_options all = {.everything = true};
    struct work *w = ctx;
    w->there = rwf_fs_exists(w->path);
    if (w->there && !(w->writer = bundle_writer_open(w->path, &all, &w->err)))
        w->rc = -1;
}

static void open_done(void *ctx)
{
    struct work *w = ctx;
    struct job__conn *c = w->conn;
    if (w->rc) {
        job__reply_error(c, w->request, &w->err);
    } else {
        json_t *answer = json_pack("{s:s, s:b}", "job", w->job, "none", !w->there);
        if (w->writer)
            json_object_set_new(answer, "bytes",
                                json_integer(bundle_writer_bytes(w->writer)));
        c->download = w->writer;
        w->writer = NULL;
        job__reply(c, w->request, &(struct job__reply){.json = answer});
    }
    end(w);
}

int job__on_outputs(struct job__conn *c, const Wire__Job *m, const json_t *args,
                    struct rwf_err *err)
{
    const struct job *j = job__of(c, args, err);
    if (!j)
        return -1;
    if (!job_state_ended(j->state))
        return rwf_fail(err, RWF_E_USAGE,
                        "job %s is %s: its outputs are there when it has ended", j->id,
                        job_state_name(j->state));
    job__drop_trees(c);
    struct work *w = begin(c, m->request);
    w->path = job_keeper_path(c->keeper, j, "out");
    w->job = rwf_xstrdup(j->id);
    job__later_do(c->loop, open_work, open_done, w);
    return 0;
}

static void next_work(void *ctx)
{
    struct work *w = ctx;
    w->data = rwf_xmalloc(JOB_PIECE);
    ssize_t n = bundle_writer_read(w->writer, w->data, JOB_PIECE, &w->err);
    w->rc = n < 0 ? -1 : 0;
    w->len = n > 0 ? (size_t)n : 0;
    w->end = n >= 0 && bundle_writer_digest(w->writer) && w->len < JOB_PIECE;
}

static void next_done(void *ctx)
{
    struct work *w = ctx;
    struct job__conn *c = w->conn;
    if (w->rc)
        job__reply_error(c, w->request, &w->err);
    else
        job__reply(
            c, w->request,
            &(struct job__reply){.data = w->data, .len = w->len, .more = !w->end});
    if (!w->rc && !w->end) {
        c->download = w->writer;
        w->writer = NULL;
    }
    end(w);
}

int job__on_next(struct job__conn *c, const Wire__Job *m, const json_t *args,
                 struct rwf_err *err)
{
    (void)args;
    if (!c->download)
        return rwf_fail(err, RWF_E_USAGE, "next: outputs were not asked for");
    struct work *w = begin(c, m->request);
    w->writer = c->download;
    c->download = NULL;
    job__later_do(c->loop, next_work, next_done, w);
    return 0;
}
