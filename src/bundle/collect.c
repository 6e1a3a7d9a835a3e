/* SPDX-License-Identifier: Apache-2.0
 *
 * What a bundle is made of. Folders are read whole and closed before what is in them is
 * looked at, so that depth costs no descriptors.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "bundle/ignore.h"
#include "bundle/inside.h"

enum { IGNORE_FILE_MAX = 1 << 20, OFFENDERS = 3 };

struct walk {
    int root;
    const char *name; /* of the root, for messages */
    const struct bundle_options *o;
    struct bundle__ignore ignore;
    struct bundle__list *list;
    struct rwf_err *err;
};

struct found {
    char *name;
    struct stat st;
};

struct names {
    struct found *items;
    size_t count, cap;
};

static int64_t or_default(int64_t value, int64_t fallback)
{
    return value > 0 ? value : fallback;
}

static char *join(const char *folder, const char *name)
{
    return *folder ? rwf_xasprintf("%s/%s", folder, name) : rwf_xstrdup(name);
}

static int fail_at(const struct walk *w, const char *path, int code)
{
    return rwf_fail(w->err, code, "cannot read '%s%s%s': %s", w->name, *path ? "/" : "",
                    path,
                    code == ELOOP || code == ENOTDIR ? "a link or a file is on the way"
                                                     : strerror(code));
}

/* --- entries --- */

/* 1, or 0: it stays behind. */
static int read_link(struct walk *w, int folder, const char *name,
                     struct bundle__entry *e)
{
    char text[BUNDLE__PATH_MAX + 1];
    ssize_t n = readlinkat(folder, name, text, sizeof(text));
    if (n < 0)
        return fail_at(w, e->path, errno);
    const char *bad = bundle__link_bad(e->path, text, (size_t)n);
    if (bad && w->o->leave_links) {
        rwf_log(RWF_LOG_WARN, "bundle", "the link %s/%s stays behind: %s", w->name,
                e->path, bad);
        return 0;
    }
    if (bad)
        return rwf_fail(w->err, RWF_E_INPUT,
                        "the link '%s/%s' cannot travel: %s; leave it out (a line in "
                        ".raywfignore) or put what it leads to in its place",
                        w->name, e->path, bad);
    e->link = rwf_xstrndup(text, (size_t)n);
    e->size = n;
    return 1;
}

/* 1: it is added; 0: it is nothing that travels. path is copied. */
static int add_entry(struct walk *w, int folder, const char *name, const char *path,
                     const struct stat *st)
{
    struct bundle__entry e = {.path = rwf_xstrdup(path)};
    const char *bad = bundle__path_bad(path, strlen(path));
    int rc = 1;
    if (bad)
        rc = rwf_fail(w->err, RWF_E_INPUT, "'%s/%s' cannot travel: %s", w->name, path,
                      bad);
    else if (S_ISDIR(st->st_mode))
        e.kind = 'd';
    else if (S_ISREG(st->st_mode))
        e.kind = st->st_mode & S_IXUSR ? 'x' : 'f', e.size = st->st_size;
    else if (S_ISLNK(st->st_mode))
        e.kind = 'l', rc = read_link(w, folder, name, &e);
    else {
        rwf_log(RWF_LOG_WARN, "bundle", "%s/%s stays behind: it is no file", w->name,
                path);
        rc = 0;
    }
    if (rc <= 0) {
        free(e.path);
        return rc;
    }
    *RWF_PUSH(w->list->items, w->list->count, w->list->cap) = e;
    return 1;
}

/* --- the walk --- */

static void names_free(struct names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->items[i].name);
    free(n->items);
}

static int read_names(struct walk *w, const char *path, DIR *dir, struct names *ret)
{
    const struct dirent *d;
    while (errno = 0, (d = readdir(dir)) != NULL) {
        struct found f = {0};
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        /* Gone meanwhile: it was never there. */
        if (fstatat(dirfd(dir), d->d_name, &f.st, AT_SYMLINK_NOFOLLOW)) {
            if (errno == ENOENT)
                continue;
            return fail_at(w, path, errno);
        }
        f.name = rwf_xstrdup(d->d_name);
        *RWF_PUSH(ret->items, ret->count, ret->cap) = f;
    }
    return errno ? fail_at(w, path, errno) : 0;
}

static int read_rules(struct walk *w, int folder, const char *path, const char *name)
{
    struct rwf_str text = {0};
    char chunk[4096];
    ssize_t n;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == ELOOP ? 0 : fail_at(w, path, errno);
    while ((n = read(fd, chunk, sizeof(chunk))) > 0 && text.len < IGNORE_FILE_MAX)
        rwf_str_addn(&text, chunk, (size_t)n);
    int code = n < 0 ? errno : 0;
    close(fd);
    if (!code && n > 0)
        code = EFBIG;
    if (!code && text.data)
        bundle__ignore_add(&w->ignore, path, text.data);
    rwf_str_free(&text);
    return code ? rwf_fail(w->err, code, "cannot read '%s/%s%s%s': %s", w->name, path,
                           *path ? "/" : "", name, strerror(code))
                : 0;
}

/* Names of the folder at path, and its rules. */
static int open_folder(struct walk *w, const char *path, struct names *ret, int *ret_fd)
{
    int fd = bundle__open(w->root, *path ? path : ".", O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fail_at(w, path, errno);
    int again = dup(fd), rc = 0;
    DIR *dir = again < 0 ? NULL : fdopendir(again);
    if (!dir)
        rc = fail_at(w, path, errno);
    if (!dir && again >= 0)
        close(again);
    rc = rc ? rc : read_names(w, path, dir, ret);
    if (dir)
        closedir(dir);
    if (!rc && w->o->ignore)
        rc = read_rules(w, fd, path, ".gitignore") ||
                     read_rules(w, fd, path, ".raywfignore")
                 ? -1
                 : 0;
    *ret_fd = fd;
    return rc;
}

static bool stays(const struct walk *w, const char *path, const struct found *f)
{
    bool ours = strcmp(f->name, ".git") == 0 || strcmp(f->name, ".raywf") == 0;
    return (ours && !w->o->everything) ||
           bundle__ignored(&w->ignore, path, S_ISDIR(f->st.st_mode));
}

static int walk_folder(struct walk *w, const char *path)
{
    struct names names = {0};
    size_t rules = w->ignore.count;
    int fd = -1, rc = open_folder(w, path, &names, &fd);
    for (size_t i = 0; rc == 0 && i < names.count; i++) {
        char *below = join(path, names.items[i].name);
        /* Folders are entered when fd is closed; one that stays has no mode then. */
        if (stays(w, below, &names.items[i]))
            names.items[i].st.st_mode = 0;
        else if (add_entry(w, fd, names.items[i].name, below, &names.items[i].st) < 0)
            rc = -1;
        free(below);
    }
    if (fd >= 0)
        close(fd);
    for (size_t i = 0; rc == 0 && i < names.count; i++) {
        char *below = join(path, names.items[i].name);
        if (S_ISDIR(names.items[i].st.st_mode))
            rc = walk_folder(w, below);
        free(below);
    }
    bundle__ignore_drop(&w->ignore, rules);
    names_free(&names);
    return rc;
}

/* --- one file --- */

/* folder: "" or beneath root. */
static void add_rules(struct bundle__ignore *g, const char *root, const char *folder)
{
    static const char *const names[] = {".gitignore", ".raywfignore"};
    for (size_t i = 0; i < RWF_COUNT(names); i++) {
        char *path = rwf_xasprintf("%s/%s%s%s", root, folder, *folder ? "/" : "", names[i]);
        char *text = rwf_fs_read(path, IGNORE_FILE_MAX, NULL, NULL);
        if (text)
            bundle__ignore_add(g, folder, text);
        free(text);
        free(path);
    }
}

bool bundle_leaves(const char *root, const char *path)
{
    struct bundle__ignore g = {0};
    bool leaves = false;
    add_rules(&g, root, "");
    for (const char *slash = strchr(path, '/'); slash && !leaves;
         slash = strchr(slash + 1, '/')) {
        char *folder = rwf_xstrndup(path, (size_t)(slash - path));
        const char *name = rwf_fs_basename(folder);
        leaves = strcmp(name, ".git") == 0 || strcmp(name, ".raywf") == 0 ||
                 bundle__ignored(&g, folder, true);
        add_rules(&g, root, folder);
        free(folder);
    }
    leaves = leaves || bundle__ignored(&g, path, false);
    bundle__ignore_free(&g);
    return leaves;
}

/* --- what was named --- */

static int add_parents(struct walk *w, const char *path)
{
    struct stat st = {.st_mode = S_IFDIR};
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        char *parent = rwf_xstrndup(path, (size_t)(slash - path));
        int rc = add_entry(w, w->root, parent, parent, &st);
        free(parent);
        if (rc < 0)
            return -1;
    }
    return 0;
}

static int add_named(struct walk *w, const char *path)
{
    const char *bad = bundle__path_bad(path, strlen(path));
    const char *slash = strrchr(path, '/');
    struct stat st;
    if (bad)
        return rwf_fail(w->err, RWF_E_USAGE, "'%s' is no path beneath '%s': %s", path,
                        w->name, bad);
    char *parent =
        slash ? rwf_xstrndup(path, (size_t)(slash - path)) : rwf_xstrdup(".");
    int rc = 0, folder = bundle__open(w->root, parent, O_PATH | O_DIRECTORY, 0);
    const char *name = slash ? slash + 1 : path;
    if (folder < 0 || fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW))
        rc = fail_at(w, path, errno);
    if (!rc)
        rc = add_parents(w, path);
    if (!rc && add_entry(w, folder, name, path, &st) < 0)
        rc = -1;
    if (!rc && S_ISDIR(st.st_mode))
        rc = walk_folder(w, path);
    if (folder >= 0)
        close(folder);
    free(parent);
    return rc;
}

/* --- order and limits --- */

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct bundle__entry *)a)->path,
                  ((const struct bundle__entry *)b)->path);
}

/* The same path twice is one: a folder and what is in it were both named. */
static void sort(struct bundle__list *l)
{
    size_t kept = 0;
    if (l->count > 0)
        qsort(l->items, l->count, sizeof(*l->items), by_path);
    for (size_t i = 0; i < l->count; i++) {
        struct bundle__entry *e = &l->items[i];
        if (kept > 0 && strcmp(l->items[kept - 1].path, e->path) == 0) {
            free(e->path);
            free(e->link);
            continue;
        }
        l->files += e->kind != 'd';
        l->bytes += e->kind == 'd' ? 0 : e->size;
        l->items[kept++] = *e;
    }
    l->count = kept;
}

/* The entry after `last` in order of size: from the largest, equal ones by path. */
static const struct bundle__entry *next_largest(const struct bundle__list *l,
                                                const struct bundle__entry *last)
{
    const struct bundle__entry *best = NULL;
    for (size_t i = 0; i < l->count; i++) {
        const struct bundle__entry *e = &l->items[i];
        if (last && (e->size > last->size || (e->size == last->size && e <= last)))
            continue;
        if (!best || e->size > best->size)
            best = e;
    }
    return best;
}

static int fail_bytes(const struct walk *w, int64_t max)
{
    char all[RWF_UNITS_LEN], most[RWF_UNITS_LEN], size[RWF_UNITS_LEN];
    struct rwf_str text = {0};
    const struct bundle__entry *e = NULL;
    for (int i = 0; i < OFFENDERS && (e = next_largest(w->list, e)); i++)
        rwf_str_addf(&text, "%s%s (%s)", i ? ", " : "", e->path,
                     rwf_size_format(e->size, size));
    rwf_fail(w->err, RWF_E_INPUT,
             "'%s' has %s in %" PRId64
             " files, more than the limit of %s; the largest: "
             "%s; what need not travel belongs in .raywfignore",
             w->name, rwf_size_format(w->list->bytes, all), w->list->files,
             rwf_size_format(max, most), text.data ? text.data : "");
    rwf_str_free(&text);
    return -1;
}

/* The name at the top that has the most entries; the list is sorted. */
static int fail_files(const struct walk *w, int64_t max)
{
    size_t most = 0, best = 0;
    for (size_t at = 0; at < w->list->count;) {
        const char *top = w->list->items[at].path;
        size_t len = strcspn(top, "/"), n = 0;
        while (at + n < w->list->count &&
               strncmp(w->list->items[at + n].path, top, len) == 0 &&
               strcspn(w->list->items[at + n].path, "/") == len)
            n++;
        if (n > most)
            most = n, best = at;
        at += n;
    }
    const char *path = w->list->items[best].path;
    return rwf_fail(w->err, RWF_E_INPUT,
                    "'%s' has %zu files and folders, more than the limit of %" PRId64
                    "; the most are in %.*s (%zu); what need not travel belongs in "
                    ".raywfignore",
                    w->name, w->list->count, max, (int)strcspn(path, "/"), path, most);
}

static int check_limits(const struct walk *w)
{
    int64_t bytes = or_default(w->o->max_bytes, BUNDLE_MAX_BYTES);
    int64_t files = or_default(w->o->max_files, BUNDLE_MAX_FILES);
    if (w->list->bytes > bytes)
        return fail_bytes(w, bytes);
    return (int64_t)w->list->count > files ? fail_files(w, files) : 0;
}

int bundle__collect(struct bundle__list *ret, int root, const char *name,
                    const struct bundle_options *o, struct rwf_err *err)
{
    struct walk w = {.root = root, .name = name, .o = o, .list = ret, .err = err};
    int rc = 0;
    if (!o->paths)
        rc = walk_folder(&w, "");
    for (size_t i = 0; rc == 0 && o->paths && i < o->path_count; i++)
        rc = add_named(&w, o->paths[i]);
    bundle__ignore_free(&w.ignore);
    if (rc)
        return -1;
    sort(ret);
    return check_limits(&w);
}

void bundle__list_free(struct bundle__list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        free(l->items[i].path);
        free(l->items[i].link);
    }
    free(l->items);
    *l = (struct bundle__list){0};
}
