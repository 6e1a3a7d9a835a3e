/* SPDX-License-Identifier: Apache-2.0
 *
 * FOLDER/runs/ID: what belongs to a run on this node. FOLDER/runs/.used/ID tells by its
 * time when something of it was used last. After some days without use a folder is
 * removed, and all of them when the node ends; nothing without such a mark is ever
 * removed.
 */
#include "config.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "far/steps.h"
#include "far/tree.h"
#include "node/procfs.h"

#define USED ".used"
#define DAYS 3
#define LOOK_MS ((uint64_t)3600 * 1000)

struct far__runs {
    char *folder;
    uv_timer_t timer;
    bool sweeping;
};

char *far__runs_folder(const char *node_folder)
{
    return rwf_fs_join(node_folder, "runs");
}

static bool is_id(const char *id)
{
    return rwf_fs_is_beneath(id) && *id != '.' && !strchr(id, '/');
}

/* --- what may be touched --- */

/* What of path is below folder; NULL: it is not below it. */
static const char *below(const char *folder, const char *path)
{
    size_t len = strlen(folder);
    return strncmp(path, folder, len) == 0 && path[len] == '/' && path[len + 1]
               ? path + len + 1
               : NULL;
}

static int refuse(const char *folder, const char *path, struct rwf_err *err)
{
    return rwf_fail(
        err, EACCES,
        "'%s' is not beneath the folder of runs of that node, %s: other nodes "
        "may touch nothing else",
        path, folder);
}

/* The nearest of what leads to path that is there. */
static char *nearest(const char *path)
{
    struct stat st;
    char *at = rwf_xstrdup(path);
    while (lstat(at, &st) < 0 && strcmp(at, "/") != 0) {
        char *up = rwf_fs_dirname(at);
        free(at);
        at = up;
    }
    return at;
}

static int check_real(const char *folder, const char *path, const char *asked,
                      struct rwf_err *err)
{
    char *root = realpath(folder, NULL), *real = realpath(path, NULL);
    int rc = 0;
    if (!real && errno == ENOENT)
        rc = rwf_fail(err, ENOENT, "there is no '%s'", asked);
    else if (!root || !real || (strcmp(root, real) != 0 && !below(root, real)))
        rc = refuse(folder, asked, err);
    free(root);
    free(real);
    return rc;
}

int far__runs_check(const char *folder, const char *path, bool make,
                    struct rwf_err *err)
{
    const char *rest = below(folder, path);
    if (!rest || *rest == '.')
        return refuse(folder, path, err);
    if (!make)
        return check_real(folder, path, path, err);
    if (rwf_fs_mkdirs(folder, err) < 0)
        return -1;
    char *parent = rwf_fs_dirname(path), *known = nearest(parent);
    int rc = check_real(folder, known, path, err);
    if (rc == 0)
        rc = rwf_fs_mkdirs(parent, err);
    free(known);
    free(parent);
    return rc;
}

/* --- use --- */

static char *mark_of(const char *folder, const char *id)
{
    return rwf_xasprintf("%s/" USED "/%s", folder, id);
}

static void touch(const char *folder, const char *id)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *mark = mark_of(folder, id), *dir = rwf_fs_dirname(mark);
    int fd = open(mark, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno == ENOENT && rwf_fs_mkdirs(dir, &err) == 0)
        fd = open(mark, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || futimens(fd, NULL) < 0)
        rwf_log(RWF_LOG_WARN, "node", "cannot mark a run's folder as used: %s: %s",
                mark, err.code ? err.text : strerror(errno));
    if (fd >= 0)
        close(fd);
    free(dir);
    free(mark);
}

void far__runs_use(struct node *n, const char *run_id)
{
    if (is_id(run_id))
        touch(n->far->runs->folder, run_id);
}

void far__runs_touch(struct node *n, const char *path)
{
    const char *rest = below(n->far->runs->folder, path);
    if (!rest)
        return;
    char *id = rwf_xstrndup(rest, strcspn(rest, "/"));
    if (is_id(id))
        touch(n->far->runs->folder, id);
    free(id);
}

char *far_run_folder(struct node *n, const char *where, const char *id)
{
    struct rwf_err err = RWF_ERR_INIT;
    const struct far__member *m;
    if (!is_id(id))
        return NULL;
    if (where && *where && strcmp(where, n->name) != 0) {
        m = far__member_find(n, where);
        return m && *m->wire->folder ? rwf_xasprintf("%s/runs/%s", m->wire->folder, id)
                                     : NULL;
    }
    char *path = rwf_fs_join(n->far->runs->folder, id);
    touch(n->far->runs->folder, id);
    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        rwf_fail(&err, errno, "cannot make %s: %s", path, strerror(errno));
        rwf_log(RWF_LOG_WARN, "node", "%s", err.text);
        free(path);
        return NULL;
    }
    return path;
}

/* --- the end of them --- */

/* All that was not used for so long, in seconds; -1: all. */
static void sweep(const char *folder, int64_t unused)
{
    char *used = rwf_fs_join(folder, USED);
    DIR *d = opendir(used);
    struct dirent *e;
    struct stat st;
    time_t now = time(NULL);
    while (d && (e = readdir(d))) {
        if (!is_id(e->d_name) ||
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            (unused >= 0 && now - st.st_mtime < unused))
            continue;
        struct rwf_err err = RWF_ERR_INIT;
        char *path = rwf_fs_join(folder, e->d_name);
        if (rwf_fs_rmtree(path, &err) < 0)
            rwf_log(RWF_LOG_WARN, "node", "cannot remove a run's folder: %s", err.text);
        else
            unlinkat(dirfd(d), e->d_name, 0);
        free(path);
    }
    if (d)
        closedir(d);
    if (unused < 0) {
        rmdir(used);
        rmdir(folder); /* if there is nothing else */
    }
    free(used);
}

static void sweep_fn(void *arg, struct rwf_err *err)
{
    const struct node *n = arg;
    (void)err;
    sweep(n->far->runs->folder, DAYS * 24 * 3600);
}

static void swept(void *arg, const struct rwf_err *err)
{
    struct node *n = arg;
    (void)err;
    n->far->runs->sweeping = false;
}

static void on_time(uv_timer_t *t)
{
    struct node *n = t->data;
    struct far_step *s;
    LIST_FOREACH(s, &n->far->steps->all, all)
    if (s->dir)
        far__runs_touch(n, s->dir);
    if (n->far->runs->sweeping)
        return;
    n->far->runs->sweeping = true;
    far__work(n, sweep_fn, swept, n);
}

/* Marks are gone with an orderly end: there was none. Processes of lost steps, whose
 * own first process died with that node, must not go on while the steps run elsewhere.
 */
static void end_leftovers(struct node *n)
{
    char *used = rwf_fs_join(n->far->runs->folder, USED);
    DIR *d = opendir(used);
    const struct dirent *e;
    bool any = false;
    while (d && !any && (e = readdir(d)))
        any = is_id(e->d_name);
    if (d)
        closedir(d);
    free(used);
    int count = any ? node__sweep(n->address, n->name) : 0;
    if (count > 0)
        rwf_log(RWF_LOG_WARN, "node",
                "ended %d process%s that an earlier %s left behind", count,
                count == 1 ? "" : "es", n->name);
}

/* --- life --- */

void far__runs_create(struct node *n)
{
    n->far->runs = rwf_xcalloc(1, sizeof(*n->far->runs));
    n->far->runs->folder = far__runs_folder(n->folder);
    end_leftovers(n);
    node__timer(n, &n->far->runs->timer);
    uv_timer_start(&n->far->runs->timer, on_time, 1000, LOOK_MS);
}

void far__runs_close(struct node *n)
{
    node__close(&n->far->runs->timer);
}

void far__runs_free(struct node *n)
{
    sweep(n->far->runs->folder, -1);
    free(n->far->runs->folder);
    free(n->far->runs);
    n->far->runs = NULL;
}
