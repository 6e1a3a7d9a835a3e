/* SPDX-License-Identifier: Apache-2.0
 *
 * Unpacking, fed in pieces. Each state wants so many bytes, and has a function for when
 * they are there; the bytes of files go to disk as they come. That paths ascend rules
 * out that one comes twice; that folders come before what is in them, and are opened
 * without following links, rules out that a link leads the way.
 */
#include "config.h"

#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "bundle/inside.h"

/* STATE(name): what comes next in the stream. */
#define STATES(STATE)                                                                  \
    STATE(MAGIC)                                                                       \
    STATE(KIND)                                                                        \
    STATE(HEAD)                                                                        \
    STATE(PATH) STATE(LINK) STATE(DATA) STATE(SUM) STATE(END) STATE(DONE)              \
        STATE(FAILED)
enum state {
#define STATE(name) READ_##name,
    STATES(STATE)
#undef STATE
};

struct bundle_reader {
    char *target, *temporary;
    char expected[RWF_DIGEST_LEN]; /* "": any digest will do */
    bool keep;
    int root; /* of temporary */
    int64_t max_bytes, max_files, bytes, files;
    enum state state;
    size_t want;
    struct rwf_str got; /* of what the state wants */
    char kind;
    int64_t size;          /* of the entry; of DATA: what is left of it */
    struct rwf_str path;   /* of the entry */
    struct rwf_str before; /* of the one before it */
    int file;
    struct rwf_digest *sum, *all;
    char digest[RWF_DIGEST_LEN];
};

static void expect(struct bundle_reader *r, enum state state, size_t want)
{
    r->state = state;
    r->want = want;
    rwf_str_clear(&r->got);
}

/* "path: reason", fit for a terminal whatever the path is. */
static int fail_entry(const struct bundle_reader *r, int code, const char *reason,
                      struct rwf_err *err)
{
    char shown[256];
    snprintf(shown, sizeof(shown), "%s", r->path.data ? r->path.data : "");
    for (char *p = shown; *p; p++) {
        if (iscntrl((unsigned char)*p))
            *p = '?';
    }
    return rwf_fail(err, code, "bundle: entry '%s': %s", shown, reason);
}

/* --- life --- */

/* A folder of our own beside target; what a killed process left is passed by. */
static int make_temporary(struct bundle_reader *r)
{
    static atomic_uint number;
    int rc;
    do {
        free(r->temporary);
        r->temporary =
            rwf_xasprintf("%s.part.%d.%u", r->target, (int)getpid(), ++number);
        rc = mkdir(r->temporary, 0777);
    } while (rc && errno == EEXIST);
    if (rc)
        return -1;
    r->root = open(r->temporary, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int code = errno;
    if (r->root < 0)
        rmdir(r->temporary);
    errno = code;
    return r->root < 0 ? -1 : 0;
}

struct bundle_reader *bundle_reader_open(const char *target,
                                         const struct bundle_options *o,
                                         struct rwf_err *err)
{
    struct bundle_reader *r = rwf_xcalloc(1, sizeof(*r));
    size_t len = strlen(target);
    while (len > 1 && target[len - 1] == '/')
        len--;
    r->target = rwf_xstrndup(target, len);
    r->keep = o && o->keep;
    if (o && o->digest)
        snprintf(r->expected, sizeof(r->expected), "%s", o->digest);
    r->max_bytes = o && o->max_bytes ? o->max_bytes : BUNDLE_MAX_BYTES;
    r->max_files = o && o->max_files ? o->max_files : BUNDLE_MAX_FILES;
    r->root = r->file = -1;
    r->all = rwf_digest_create();
    expect(r, READ_MAGIC, BUNDLE__MAGIC_LEN);
    if (make_temporary(r) == 0)
        return r;
    rwf_fail(err, errno, "cannot create folder '%s': %s", r->temporary,
             strerror(errno));
    bundle_reader_close(r);
    return NULL;
}

void bundle_reader_close(struct bundle_reader *r)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (!r)
        return;
    if (r->file >= 0)
        close(r->file);
    if (r->root >= 0)
        close(r->root);
    if (r->temporary && r->root >= 0 && rwf_fs_rmtree(r->temporary, &err))
        rwf_log(RWF_LOG_WARN, "bundle", "%s", err.text);
    rwf_digest_free(r->sum);
    rwf_digest_free(r->all);
    rwf_str_free(&r->got);
    rwf_str_free(&r->path);
    rwf_str_free(&r->before);
    free(r->target);
    free(r->temporary);
    free(r);
}

/* --- what an entry makes --- */

/* The folder that the entry is in; *ret_name: its name there. */
static int open_parent(const struct bundle_reader *r, const char **ret_name)
{
    const char *slash = strrchr(r->path.data, '/');
    char *parent = slash ? rwf_xstrndup(r->path.data, (size_t)(slash - r->path.data))
                         : rwf_xstrdup(".");
    int fd = bundle__open(r->root, parent, O_PATH | O_DIRECTORY, 0);
    free(parent);
    *ret_name = slash ? slash + 1 : r->path.data;
    return fd;
}

static const char *reason_of(int code)
{
    if (code == ENOENT || code == ENOTDIR || code == ELOOP || code == EXDEV)
        return "what it is in is no folder of this bundle";
    return strerror(code);
}

/* A folder, a link or an empty file. */
static int make(struct bundle_reader *r, struct rwf_err *err)
{
    const char *name;
    int rc = -1, folder = open_parent(r, &name);
    if (folder >= 0 && r->kind == 'd')
        rc = mkdirat(folder, name, 0777);
    else if (folder >= 0 && r->kind == 'l')
        rc = symlinkat(r->got.data, folder, name);
    else if (folder >= 0)
        rc = r->file =
            openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                   r->kind == 'x' ? 0777 : 0666);
    int code = rc < 0 ? errno : 0;
    if (folder >= 0)
        close(folder);
    return code ? fail_entry(r, code, reason_of(code), err) : 0;
}

static int to_next(struct bundle_reader *r)
{
    struct rwf_str path = r->before;
    r->before = r->path;
    r->path = path;
    rwf_str_clear(&r->path);
    expect(r, READ_KIND, 1);
    return 0;
}

/* --- the states --- */

static int on_magic(struct bundle_reader *r, struct rwf_err *err)
{
    if (memcmp(r->got.data, BUNDLE__MAGIC, BUNDLE__MAGIC_LEN - 1) != 0)
        return rwf_fail(err, RWF_E_INPUT, "bundle: this is no bundle");
    if (r->got.data[BUNDLE__MAGIC_LEN - 1] != BUNDLE__MAGIC[BUNDLE__MAGIC_LEN - 1])
        return rwf_fail(
            err, RWF_E_ENV,
            "bundle: its version is %u, this raywf reads version %d: use the "
            "same raywf on both sides",
            (unsigned char)r->got.data[BUNDLE__MAGIC_LEN - 1],
            BUNDLE__MAGIC[BUNDLE__MAGIC_LEN - 1]);
    return to_next(r);
}

static int on_kind(struct bundle_reader *r, struct rwf_err *err)
{
    r->kind = r->got.data[0];
    if (r->kind == 'e')
        expect(r, READ_END, BUNDLE__HEX);
    else if (memchr("dfxl", r->kind, 4))
        expect(r, READ_HEAD, BUNDLE__HEAD_LEN - 1);
    else
        return rwf_fail(err, RWF_E_INPUT,
                        "bundle: an entry that is neither folder, file nor link");
    return 0;
}

static int on_head(struct bundle_reader *r, struct rwf_err *err)
{
    uint16_t len;
    uint64_t size;
    memcpy(&len, r->got.data, sizeof(len));
    memcpy(&size, r->got.data + sizeof(len), sizeof(size));
    len = le16toh(len);
    size = le64toh(size);
    if (len == 0 || len > BUNDLE__PATH_MAX)
        return rwf_fail(err, RWF_E_INPUT, "bundle: a path of %u bytes", len);
    if ((r->kind == 'd' && size > 0) ||
        (r->kind == 'l' && (size == 0 || size > BUNDLE__PATH_MAX)))
        return rwf_fail(err, RWF_E_INPUT,
                        "bundle: a folder or link of %" PRIu64 " bytes", size);
    if (++r->files > r->max_files)
        return rwf_fail(err, RWF_E_INPUT,
                        "bundle: more than %" PRId64 " files and folders",
                        r->max_files);
    if (size > (uint64_t)(r->max_bytes - r->bytes)) {
        char most[RWF_UNITS_LEN];
        return rwf_fail(err, RWF_E_INPUT, "bundle: more than %s",
                        rwf_size_format(r->max_bytes, most));
    }
    r->size = (int64_t)size;
    r->bytes += r->size;
    expect(r, READ_PATH, len);
    return 0;
}

static int on_path(struct bundle_reader *r, struct rwf_err *err)
{
    rwf_str_addn(&r->path, r->got.data, r->got.len);
    const char *bad = bundle__path_bad(r->path.data, r->path.len);
    if (bad)
        return fail_entry(r, RWF_E_INPUT, bad, err);
    if (r->before.len > 0 && strcmp(r->before.data, r->path.data) >= 0)
        return fail_entry(r, RWF_E_INPUT, "it comes twice, or out of order", err);
    if (r->kind == 'l') {
        expect(r, READ_LINK, (size_t)r->size);
        return 0;
    }
    if (make(r, err))
        return -1;
    if (r->kind == 'd')
        return to_next(r);
    r->sum = rwf_digest_create();
    expect(r, r->size > 0 ? READ_DATA : READ_SUM, BUNDLE__HEX);
    return 0;
}

static int on_link(struct bundle_reader *r, struct rwf_err *err)
{
    const char *bad = bundle__link_bad(r->path.data, r->got.data, r->got.len);
    if (bad)
        return fail_entry(r, RWF_E_INPUT, bad, err);
    return make(r, err) ? -1 : to_next(r);
}

static int on_sum(struct bundle_reader *r, struct rwf_err *err)
{
    char hex[RWF_DIGEST_LEN];
    rwf_digest_finish(r->sum, hex);
    r->sum = NULL;
    int rc = close(r->file);
    r->file = -1;
    if (rc)
        return fail_entry(r, errno, strerror(errno), err);
    if (memcmp(hex, r->got.data, BUNDLE__HEX) != 0)
        return fail_entry(r, RWF_E_INPUT, "its checksum is wrong", err);
    return to_next(r);
}

static int on_end(struct bundle_reader *r, struct rwf_err *err)
{
    rwf_digest_finish(r->all, r->digest);
    r->all = NULL;
    if (memcmp(r->digest, r->got.data, BUNDLE__HEX) != 0)
        return rwf_fail(err, RWF_E_INPUT, "bundle: its digest is wrong");
    expect(r, READ_DONE, 1);
    return 0;
}

static int on_more(struct bundle_reader *r, struct rwf_err *err)
{
    (void)r;
    return rwf_fail(err, RWF_E_INPUT, "bundle: there is more after its end");
}

/* When what the state wants is there; DATA is fed on the way, FAILED never. */
static int (*const on_state[])(struct bundle_reader *, struct rwf_err *) = {
    [READ_MAGIC] = on_magic, [READ_KIND] = on_kind, [READ_HEAD] = on_head,
    [READ_PATH] = on_path,   [READ_LINK] = on_link, [READ_SUM] = on_sum,
    [READ_END] = on_end,     [READ_DONE] = on_more,
};

static int feed_data(struct bundle_reader *r, const char *at, size_t size, size_t *ret,
                     struct rwf_err *err)
{
    size_t n = (int64_t)size < r->size ? size : (size_t)r->size;
    struct rwf_err why = RWF_ERR_INIT;
    if (rwf_fs_write_all(r->file, at, n, &why))
        return fail_entry(r, why.code, why.text, err);
    rwf_digest_add(r->sum, at, n);
    r->size -= (int64_t)n;
    if (r->size == 0)
        expect(r, READ_SUM, BUNDLE__HEX);
    *ret = n;
    return 0;
}

/* Takes what the state wants from at; *ret: so many bytes. */
static int feed_some(struct bundle_reader *r, const char *at, size_t size, size_t *ret,
                     struct rwf_err *err)
{
    if (r->state == READ_DATA)
        return feed_data(r, at, size, ret, err);
    size_t n = r->want - r->got.len;
    n = n < size ? n : size;
    rwf_str_addn(&r->got, at, n);
    if (r->state < READ_END)
        rwf_digest_add(r->all, at, n);
    *ret = n;
    return r->got.len == r->want ? on_state[r->state](r, err) : 0;
}

int bundle_reader_feed(struct bundle_reader *r, const void *data, size_t size,
                       struct rwf_err *err)
{
    size_t n = 0;
    if (r->state == READ_FAILED)
        return rwf_fail(err, EINVAL, "bundle: it failed before");
    for (size_t at = 0; at < size; at += n) {
        if (feed_some(r, (const char *)data + at, size - at, &n, err)) {
            r->state = READ_FAILED;
            return -1;
        }
    }
    return 0;
}

/* --- the end --- */

/* What was at target, if anything, is at temporary afterwards. */
static int put_in_place(const struct bundle_reader *r)
{
    if (renameat2(AT_FDCWD, r->temporary, AT_FDCWD, r->target, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EEXIST && r->keep)
        return 0;
    if (errno == EEXIST &&
        renameat2(AT_FDCWD, r->temporary, AT_FDCWD, r->target, RENAME_EXCHANGE) == 0)
        return 0;
    /* A file system that knows no such renames: for a moment there is nothing. */
    if (errno != EINVAL)
        return -1;
    struct rwf_err err = RWF_ERR_INIT;
    if (rwf_fs_rmtree(r->target, &err)) {
        errno = err.code;
        return -1;
    }
    return rename(r->temporary, r->target);
}

int bundle_reader_finish(struct bundle_reader *r, char ret_digest[RWF_DIGEST_LEN],
                         struct rwf_err *err)
{
    if (r->state != READ_DONE)
        return rwf_fail(err, RWF_E_INPUT, "bundle: it ends too early");
    if (*r->expected && strcmp(r->expected, r->digest) != 0)
        return rwf_fail(err, RWF_E_INPUT, "bundle: it is %s, not %s as was said",
                        r->digest, r->expected);
    if (put_in_place(r))
        return rwf_fail(err, errno, "cannot put '%s' in place: %s", r->target,
                        strerror(errno));
    memcpy(ret_digest, r->digest, RWF_DIGEST_LEN);
    return 0;
}
