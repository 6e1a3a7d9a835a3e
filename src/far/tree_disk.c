/* SPDX-License-Identifier: Apache-2.0
 *
 * The disk's side of a tree that travels. A tree that is one file goes as a bundle with
 * this file in it, and is taken out again. What is written is written beside its place
 * and moved there at the end (bundle.h); parts of a tree are moved there one by one.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "far/tree.h"

#define COPY_PIECE ((size_t)1 << 20)

struct far__end *far__end_create(const char *path, const char *const *paths,
                                 size_t count, bool ignore, const char *inside)
{
    struct far__end *e = rwf_xcalloc(1, sizeof(*e));
    e->path = rwf_fs_absolute(path);
    e->ignore = ignore;
    e->inside = inside ? rwf_xstrdup(inside) : NULL;
    e->path_count = count;
    if (count > 0)
        e->paths = rwf_xcalloc(count, sizeof(*e->paths));
    for (size_t i = 0; i < count; i++)
        e->paths[i] = rwf_xstrdup(paths[i]);
    return e;
}

bool far_tree_leaves(const char *from, const char *path)
{
    return bundle_leaves(from, path);
}

static void free_target(struct far__end *e)
{
    if (e->target)
        (void)rwf_fs_rmtree(e->target, NULL);
    free(e->target);
    e->target = NULL;
}

void far__end_free(struct far__end *e)
{
    if (!e)
        return;
    bundle_writer_close(e->writer);
    bundle_reader_close(e->reader);
    free_target(e);
    for (size_t i = 0; i < e->path_count; i++)
        free(e->paths[i]);
    free(e->paths);
    free(e->inside);
    free(e->like);
    free(e->path);
    free(e->file);
    free(e);
}

/* --- reading --- */

/* What of it is there: a step need not have written all that it might. */
static int choose_paths(const struct far__end *e, const char ***ret, size_t *ret_count,
                        struct rwf_err *err)
{
    const char **there = rwf_xcalloc(e->path_count + 1, sizeof(*there));
    size_t count = 0;
    for (size_t i = 0; i < e->path_count; i++) {
        struct stat st;
        if (!rwf_fs_is_beneath(e->paths[i])) {
            free(there);
            return rwf_fail(err, RWF_E_USAGE, "'%s' is no path beneath '%s'",
                            e->paths[i], e->path);
        }
        char *path = rwf_fs_join(e->path, e->paths[i]);
        if (lstat(path, &st) == 0)
            there[count++] = e->paths[i];
        free(path);
    }
    *ret = there;
    *ret_count = count;
    return 0;
}

static int is_file(const char *path, bool *ret, struct rwf_err *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return rwf_fail(err, errno, "'%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return rwf_fail(err, EINVAL, "'%s' is neither a file nor a folder", path);
    *ret = S_ISREG(st.st_mode);
    return 0;
}

/* What is given to the writer: a folder, and which paths of it. */
struct source {
    char *root;
    const char **paths;
    struct bundle_options options;
};

static int source_find(struct far__end *e, struct source *ret, struct rwf_err *err)
{
    struct source s = {.options = {.ignore = e->ignore, .everything = !e->ignore}};
    bool file = false;
    char *real = realpath(e->path, NULL);
    if (!real)
        return rwf_fail(err, errno, "'%s': %s", e->path, strerror(errno));
    if (is_file(real, &file, err) < 0 ||
        (e->paths && choose_paths(e, &s.paths, &s.options.path_count, err) < 0)) {
        free(real);
        return -1;
    }
    if (file) {
        free(s.paths);
        free(e->file);
        e->file = rwf_xstrdup(rwf_fs_basename(real));
        s.root = rwf_fs_dirname(real);
        s.paths = rwf_xcalloc(1, sizeof(*s.paths));
        s.paths[0] = e->file;
        s.options.path_count = 1;
        free(real);
    } else {
        s.root = real;
    }
    s.options.paths = s.paths;
    *ret = s;
    return 0;
}

static void source_free(struct source *s)
{
    free(s->root);
    free(s->paths);
}

static int skip_bytes(struct bundle_writer *w, uint64_t skip, struct rwf_err *err)
{
    char *buf = rwf_xmalloc(COPY_PIECE);
    ssize_t n = 1;
    while (skip > 0 && n > 0) {
        n = bundle_writer_read(w, buf, skip < COPY_PIECE ? (size_t)skip : COPY_PIECE,
                               err);
        if (n > 0)
            skip -= (uint64_t)n;
    }
    free(buf);
    if (n == 0)
        return rwf_fail(err, EAGAIN, "the tree has changed while it was sent");
    return n < 0 ? -1 : 0;
}

int far__end_read_open(struct far__end *e, bool digest, uint64_t skip,
                       struct rwf_err *err)
{
    struct source s;
    bundle_writer_close(e->writer);
    e->writer = NULL;
    if (e->inside && far__runs_check(e->inside, e->path, false, err) < 0)
        return -1;
    if (source_find(e, &s, err) < 0)
        return -1;
    e->writer = bundle_writer_open(s.root, &s.options, err);
    source_free(&s);
    if (!e->writer || (digest && bundle_writer_through(e->writer, e->digest, err) < 0))
        return -1;
    return skip_bytes(e->writer, skip, err);
}

/* --- writing --- */

/* Whether what is there is what would come. */
static bool is_there(const struct far__end *e)
{
    struct far__end *now = far__end_create(e->path, NULL, 0, e->ignore, NULL);
    char digest[RWF_DIGEST_LEN];
    struct source s;
    bool same = false;
    if (rwf_fs_exists(e->path) && source_find(now, &s, NULL) == 0) {
        same = bundle_digest(s.root, &s.options, digest, NULL) == 0 &&
               strcmp(digest, e->digest) == 0;
        source_free(&s);
    }
    far__end_free(now);
    return same;
}

/* A file gets a second name, a folder is copied: what another step made changes no
 * more. */
static bool take_over(struct far__end *from, struct far__end *to)
{
    char *real = realpath(from->path, NULL);
    bool linked = from->file && real && link(real, to->path) == 0;
    free(real);
    return linked || far__end_copy(from, to, NULL) == 0;
}

/* What would come lies elsewhere on this machine, if it does: true, it is in its place.
 */
static bool take_like(const struct far__end *e)
{
    struct far__end *from = far__end_create(e->like, NULL, 0, e->ignore, e->inside);
    struct far__end *to = far__end_create(e->path, NULL, 0, e->ignore, e->inside);
    bool taken = far__end_read_open(from, true, 0, NULL) == 0 &&
                 strcmp(from->digest, e->digest) == 0 && take_over(from, to);
    far__end_free(from);
    far__end_free(to);
    return taken;
}

int far__end_write_open(struct far__end *e, struct rwf_err *err)
{
    static atomic_uint number;
    if (e->inside && far__runs_check(e->inside, e->path, true, err) < 0)
        return -1;
    char *folder = rwf_fs_dirname(e->path);
    int rc = rwf_fs_mkdirs(folder, err);
    free(folder);
    if (rc < 0)
        return -1;
    e->have = e->digest[0] && (is_there(e) || (e->like && take_like(e)));
    if (e->have)
        return 0;
    if (e->paths)
        e->target = rwf_xasprintf("%s.tree.%d.%u", e->path, (int)getpid(), ++number);
    e->reader = bundle_reader_open(e->target ? e->target : e->path, NULL, err);
    return e->reader ? 0 : -1;
}

/* from takes the place of to, whatever is there. */
static int move(const char *from, const char *to, struct rwf_err *err)
{
    if (rename(from, to) == 0)
        return 0;
    if (errno != EEXIST && errno != ENOTEMPTY && errno != EISDIR && errno != ENOTDIR)
        return rwf_fail(err, errno, "cannot move '%s' to its place: %s", to,
                        strerror(errno));
    if (rwf_fs_rmtree(to, err) < 0)
        return -1;
    if (rename(from, to) < 0)
        return rwf_fail(err, errno, "cannot move '%s' to its place: %s", to,
                        strerror(errno));
    return 0;
}

/* Each of the paths that came, from the target beside to its place. */
static int move_parts(struct far__end *e, struct rwf_err *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < e->path_count; i++) {
        struct stat st;
        char *from = rwf_fs_join(e->target, e->paths[i]);
        char *to = rwf_fs_join(e->path, e->paths[i]);
        char *folder = rwf_fs_dirname(to);
        if (rwf_fs_is_beneath(e->paths[i]) && lstat(from, &st) == 0)
            rc = rwf_fs_mkdirs(folder, err) < 0 ? -1 : move(from, to, err);
        free(folder);
        free(from);
        free(to);
    }
    return rc;
}

/* A folder with one file in it becomes this file. */
static int unwrap_file(struct far__end *e, struct rwf_err *err)
{
    if (!rwf_fs_is_beneath(e->file) || strchr(e->file, '/'))
        return rwf_fail(err, EPROTO, "'%s' is no name of a file", e->file);
    e->target = rwf_xasprintf("%s.tree.%d.file", e->path, (int)getpid());
    int rc = move(e->path, e->target, err);
    char *from = rwf_fs_join(e->target, e->file);
    if (rc == 0)
        rc = move(from, e->path, err);
    free(from);
    return rc;
}

int far__end_write_finish(struct far__end *e, const char *digest, struct rwf_err *err)
{
    char got[RWF_DIGEST_LEN];
    if (bundle_reader_finish(e->reader, got, err) < 0)
        return -1;
    if ((*digest && strcmp(got, digest) != 0) ||
        (e->digest[0] && strcmp(got, e->digest) != 0))
        return rwf_fail(err, EAGAIN, "the tree has changed while it was sent");
    bundle_reader_close(e->reader);
    e->reader = NULL;
    int rc = e->paths ? move_parts(e, err) : e->file ? unwrap_file(e, err) : 0;
    free_target(e);
    return rc;
}

/* --- both at once, within this machine --- */

int far__end_copy(struct far__end *from, struct far__end *to, struct rwf_err *err)
{
    if (far__end_read_open(from, true, 0, err) < 0)
        return -1;
    if (!to->paths)
        memcpy(to->digest, from->digest, sizeof(to->digest));
    to->ignore = from->ignore;
    if (far__end_write_open(to, err) < 0)
        return -1;
    if (to->have)
        return 0;
    char *buf = rwf_xmalloc(COPY_PIECE);
    ssize_t n;
    while ((n = bundle_writer_read(from->writer, buf, COPY_PIECE, err)) > 0)
        if (bundle_reader_feed(to->reader, buf, (size_t)n, err) < 0) {
            n = -1;
            break;
        }
    free(buf);
    if (n < 0)
        return -1;
    to->file = from->file ? rwf_xstrdup(from->file) : NULL;
    return far__end_write_finish(to, from->digest, err);
}

/* --- a file that both may see --- */

int far__end_sees(const char *path, const char *text, struct rwf_err *err)
{
    size_t len = strlen(text), got = 0;
    struct stat st;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0)
            close(fd);
        return rwf_fail(err, ENOENT, "there is no file '%s'", path);
    }
    char *buf = rwf_xcalloc(1, len + 2);
    ssize_t n;
    while (got <= len && (n = read(fd, buf + got, len + 1 - got)) > 0)
        got += (size_t)n;
    bool same = got == len && memcmp(buf, text, len) == 0;
    close(fd);
    free(buf);
    return same ? 0 : rwf_fail(err, ENOENT, "the file '%s' is another one", path);
}
