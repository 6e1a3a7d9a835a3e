/* SPDX-License-Identifier: Apache-2.0
 *
 * Packing. Bytes that are ready lie in `out`; when it is empty the next step fills it,
 * or reads the open file straight into the caller's buffer.
 */
#include "config.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "bundle/inside.h"

struct bundle_writer {
    char *name;
    int root;
    struct bundle__list list;
    size_t next; /* the entry to begin */
    int file;    /* open: its bytes come now; else -1 */
    int64_t left;
    struct rwf_digest *sum, *all; /* of the file; of the stream */
    struct rwf_str out;
    size_t out_at;
    char digest[RWF_DIGEST_LEN]; /* "": not yet */
};

static const struct bundle_options defaults;

void bundle_writer_rewind(struct bundle_writer *w)
{
    if (w->file >= 0)
        close(w->file);
    w->file = -1;
    rwf_digest_free(w->sum);
    rwf_digest_free(w->all);
    w->sum = NULL;
    w->all = rwf_digest_create();
    w->digest[0] = '\0';
    w->next = 0;
    w->out_at = 0;
    rwf_str_clear(&w->out);
    rwf_str_addn(&w->out, BUNDLE__MAGIC, BUNDLE__MAGIC_LEN);
    rwf_digest_add(w->all, w->out.data, w->out.len);
}

struct bundle_writer *bundle_writer_open(const char *root,
                                         const struct bundle_options *o,
                                         struct rwf_err *err)
{
    struct bundle_writer *w = rwf_xcalloc(1, sizeof(*w));
    w->name = rwf_xstrdup(root);
    w->file = -1;
    w->root = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;
    if (w->root < 0)
        rc = rwf_fail(err, RWF_E_INPUT, "cannot read the folder '%s': %s", root,
                      strerror(errno));
    if (!rc)
        rc = bundle__collect(&w->list, w->root, root, o ? o : &defaults, err);
    if (rc) {
        bundle_writer_close(w);
        return NULL;
    }
    bundle_writer_rewind(w);
    return w;
}

static int fail_changed(const struct bundle_writer *w, const char *path,
                        struct rwf_err *err)
{
    return rwf_fail(err, RWF_E_INPUT, "'%s/%s' changed while it was read", w->name,
                    path);
}

static int open_file(struct bundle_writer *w, const struct bundle__entry *e,
                     struct rwf_err *err)
{
    struct stat st;
    w->file = bundle__open(w->root, e->path, O_RDONLY | O_NONBLOCK, 0);
    if (w->file < 0)
        return rwf_fail(err, RWF_E_INPUT, "cannot read '%s/%s': %s", w->name, e->path,
                        strerror(errno));
    if (fstat(w->file, &st) || !S_ISREG(st.st_mode) || st.st_size < e->size)
        return fail_changed(w, e->path, err);
    w->left = e->size;
    w->sum = rwf_digest_create();
    return 0;
}

static void add_head(struct bundle_writer *w, const struct bundle__entry *e)
{
    size_t len = strlen(e->path);
    uint16_t path_len = htole16((uint16_t)len);
    uint64_t size = htole64((uint64_t)e->size);
    rwf_str_addc(&w->out, e->kind);
    rwf_str_addn(&w->out, (const char *)&path_len, sizeof(path_len));
    rwf_str_addn(&w->out, (const char *)&size, sizeof(size));
    rwf_str_addn(&w->out, e->path, len);
    if (e->kind == 'l')
        rwf_str_addn(&w->out, e->link, (size_t)e->size);
}

/* What follows when `out` is empty and no file is open. */
static int next_entry(struct bundle_writer *w, struct rwf_err *err)
{
    if (w->next == w->list.count) {
        rwf_str_addc(&w->out, 'e');
        rwf_digest_add(w->all, "e", 1);
        rwf_digest_finish(w->all, w->digest);
        w->all = NULL;
        rwf_str_add(&w->out, w->digest);
        return 0;
    }
    const struct bundle__entry *e = &w->list.items[w->next++];
    add_head(w, e);
    rwf_digest_add(w->all, w->out.data, w->out.len);
    return e->kind == 'f' || e->kind == 'x' ? open_file(w, e, err) : 0;
}

/* The file's bytes were all read: its checksum follows. What was added to it since it was
 * found (a log that is being written) is no part of it. */
static void end_file(struct bundle_writer *w)
{
    char hex[RWF_DIGEST_LEN];
    close(w->file);
    w->file = -1;
    rwf_digest_finish(w->sum, hex);
    w->sum = NULL;
    rwf_str_add(&w->out, hex);
    rwf_digest_add(w->all, hex, BUNDLE__HEX);
}

static ssize_t read_file(struct bundle_writer *w, char *buf, size_t size,
                         struct rwf_err *err)
{
    const char *path = w->list.items[w->next - 1].path;
    if ((int64_t)size > w->left)
        size = (size_t)w->left;
    ssize_t n;
    do {
        n = read(w->file, buf, size);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return rwf_fail(err, RWF_E_INPUT, "cannot read '%s/%s': %s", w->name, path,
                        strerror(errno));
    if (n == 0)
        return fail_changed(w, path, err);
    rwf_digest_add(w->sum, buf, (size_t)n);
    w->left -= n;
    return n;
}

static size_t take_out(struct bundle_writer *w, char *buf, size_t size)
{
    size_t n = w->out.len - w->out_at;
    n = n < size ? n : size;
    memcpy(buf, w->out.data + w->out_at, n);
    w->out_at += n;
    if (w->out_at == w->out.len) {
        rwf_str_clear(&w->out);
        w->out_at = 0;
    }
    return n;
}

ssize_t bundle_writer_read(struct bundle_writer *w, void *buf, size_t size,
                           struct rwf_err *err)
{
    size_t done = 0;
    while (done < size) {
        char *at = (char *)buf + done;
        if (w->out.len > 0) {
            done += take_out(w, at, size - done);
        } else if (w->file >= 0 && w->left > 0) {
            ssize_t n = read_file(w, at, size - done, err);
            if (n < 0)
                return -1;
            done += (size_t)n;
        } else if (w->file >= 0) {
            end_file(w);
        } else if (w->digest[0]) {
            break;
        } else if (next_entry(w, err)) {
            return -1;
        }
    }
    return (ssize_t)done;
}

const char *bundle_writer_digest(const struct bundle_writer *w)
{
    return w->digest[0] ? w->digest : NULL;
}

int64_t bundle_writer_files(const struct bundle_writer *w)
{
    return w->list.files;
}

int64_t bundle_writer_bytes(const struct bundle_writer *w)
{
    return w->list.bytes;
}

void bundle_writer_close(struct bundle_writer *w)
{
    if (!w)
        return;
    if (w->root >= 0)
        close(w->root);
    if (w->file >= 0)
        close(w->file);
    bundle__list_free(&w->list);
    rwf_digest_free(w->sum);
    rwf_digest_free(w->all);
    rwf_str_free(&w->out);
    free(w->name);
    free(w);
}

int bundle_each(const char *root, const struct bundle_options *o, bundle_entry_fn fn,
                void *ctx, struct rwf_err *err)
{
    struct bundle_writer *w = bundle_writer_open(root, o, err);
    int rc = w ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < w->list.count; i++) {
        const struct bundle__entry *e = &w->list.items[i];
        rc = fn(ctx, e->path, e->kind, e->size, e->link, err);
    }
    bundle_writer_close(w);
    return rc;
}

int bundle_writer_through(struct bundle_writer *w, char ret[RWF_DIGEST_LEN],
                          struct rwf_err *err)
{
    enum { CHUNK = 1 << 18 };
    char *chunk = rwf_xmalloc(CHUNK);
    ssize_t n;
    while ((n = bundle_writer_read(w, chunk, CHUNK, err)) > 0)
        ;
    if (n == 0)
        memcpy(ret, w->digest, RWF_DIGEST_LEN);
    free(chunk);
    bundle_writer_rewind(w);
    return n < 0 ? -1 : 0;
}

int bundle_digest(const char *root, const struct bundle_options *o,
                  char ret[RWF_DIGEST_LEN], struct rwf_err *err)
{
    struct bundle_writer *w = bundle_writer_open(root, o, err);
    int rc = w ? bundle_writer_through(w, ret, err) : -1;
    bundle_writer_close(w);
    return rc;
}
