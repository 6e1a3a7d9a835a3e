/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "run/layout.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/suggest.h"

#define PLAIN_MAX 96 /* a longer or stranger address is shortened … */
#define SHORT_MAX 80 /* … to so much of it, and a piece of its digest */
#define DIGEST_PIECE 16

char *run_root(const char *recipe_dir)
{
    const char *given = getenv("RAYWF_DIR");
    if (given != NULL && *given != '\0')
        return rwf_fs_absolute(given);
    char *joined = rwf_fs_join(recipe_dir, ".raywf");
    char *root = rwf_fs_absolute(joined);
    free(joined);
    return root;
}

static bool has_runs(const char *root)
{
    char *runs = rwf_fs_join(root, "runs");
    bool has = rwf_fs_exists(runs);
    free(runs);
    return has;
}

char *run_root_find(const char *start, struct rwf_err *err)
{
    const char *given = getenv("RAYWF_DIR");
    if (given != NULL && *given != '\0')
        return rwf_fs_absolute(given);
    char *dir = rwf_fs_absolute(start);
    for (;;) {
        char *root = rwf_fs_join(dir, ".raywf");
        if (has_runs(root)) {
            free(dir);
            return root;
        }
        free(root);
        if (strcmp(dir, "/") == 0)
            break;
        char *up = rwf_fs_dirname(dir);
        free(dir);
        dir = up;
    }
    free(dir);
    rwf_fail(err, RWF_E_NORUN,
             "no runs here: there is no .raywf folder in %s or above it; "
             "go to the folder of a recipe that was run, or set RAYWF_DIR",
             start);
    return NULL;
}

char *run_dir(const char *root, const char *id)
{
    return rwf_xasprintf("%s/runs/%s", root, id);
}

char *run_log_path(const char *root, const char *id)
{
    return rwf_xasprintf("%s/runs/%s/events.ndjson", root, id);
}

char *run_native_dir(const char *root, const char *id)
{
    return rwf_xasprintf("%s/runs/%s/native", root, id);
}

char *run_native_address(const char *root, const char *id)
{
    return rwf_xasprintf("%s/runs/%s/native.address", root, id);
}

char *run_serve_dir(const char *root, const char *id)
{
    return rwf_xasprintf("%s/runs/%s/serve", root, id);
}

char *run_serve_control(const char *root, const char *id)
{
    return rwf_xasprintf("%s/runs/%s/serve/control", root, id);
}

/* --- naming a run --- */

static bool is_run(const char *root, const char *name)
{
    if (*name == '\0' || *name == '.' || strchr(name, '/') != NULL)
        return false;
    char *path = run_log_path(root, name);
    bool is = rwf_fs_is_file(path);
    free(path);
    return is;
}

static char *resolve_last(const char *root)
{
    char target[256], *link = run_dir(root, "last");
    ssize_t len = readlink(link, target, sizeof(target) - 1);
    free(link);
    if (len <= 0)
        return NULL;
    target[len] = '\0';
    const char *id = rwf_fs_basename(target);
    return is_run(root, id) ? rwf_xstrdup(id) : NULL;
}

struct search {
    const char *name;
    char *found;
    int matches;
    struct rwf_suggest suggest;
    char *near;
};

static void consider(struct search *s, const char *id)
{
    rwf_suggest_try(&s->suggest, id);
    if (s->suggest.best == id) {
        free(s->near);
        s->near = rwf_xstrdup(id);
        s->suggest.best = s->near;
    }
    if (!rwf_starts_with(id, s->name) && !rwf_ends_with(id, s->name))
        return;
    if (s->matches++ == 0)
        s->found = rwf_xstrdup(id);
}

static char *search_end(struct search *s, struct rwf_err *err)
{
    if (s->matches == 1)
        return s->found;
    const char *near = rwf_suggest_best(&s->suggest);
    if (s->matches > 1)
        rwf_fail(err, RWF_E_NORUN,
                 "'%s' fits %d runs; give more of the id ('raywf ps' "
                 "lists them)",
                 s->name, s->matches);
    else if (near != NULL)
        rwf_fail(err, RWF_E_NORUN, "no run '%s'; did you mean '%s'?", s->name, near);
    else
        rwf_fail(err, RWF_E_NORUN, "no run '%s' ('raywf ps' lists them)", s->name);
    free(s->found);
    return NULL;
}

char *run_resolve(const char *root, const char *name, struct rwf_err *err)
{
    if (strcmp(name, "last") == 0) {
        char *last = resolve_last(root);
        if (last == NULL)
            rwf_fail(err, RWF_E_NORUN, "nothing was run yet in %s", root);
        return last;
    }
    if (is_run(root, name))
        return rwf_xstrdup(name);
    struct search s = {.name = name};
    rwf_suggest_init(&s.suggest, name);
    char *runs = rwf_fs_join(root, "runs");
    DIR *dir = opendir(runs);
    free(runs);
    for (struct dirent *d; dir != NULL && *name != '\0' && (d = readdir(dir)) != NULL;)
        if (strcmp(d->d_name, "last") != 0 && is_run(root, d->d_name))
            consider(&s, d->d_name);
    if (dir != NULL)
        closedir(dir);
    char *found = search_end(&s, err);
    free(s.near);
    return found;
}

char *run_cluster_file(const char *root, const char *id)
{
    char *dir = run_dir(root, id);
    char *path = rwf_fs_join(dir, "cluster.json");
    free(dir);
    return path;
}

/* --- naming a step's folder --- */

static bool is_harmless(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("._-=,+[]", c) != NULL);
}

static bool is_plain(const char *address, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_harmless(address[i]))
            return false;
    return len > 0 && len <= PLAIN_MAX && strchr(".-", address[0]) == NULL;
}

char *run_step_name(const char *address)
{
    size_t len = strlen(address);
    if (is_plain(address, len))
        return rwf_xstrdup(address);
    char digest[RWF_DIGEST_LEN];
    struct rwf_str name = {NULL, 0, 0};
    rwf_digest_bytes(address, len, digest);
    for (size_t i = 0; i < len && i < SHORT_MAX; i++)
        rwf_str_addc(&name, is_plain(&address[i], 1) ? address[i] : '_');
    /* '~' is not harmless: so no plain name looks like a shortened one. */
    rwf_str_addf(&name, "~%.*s", DIGEST_PIECE, digest);
    return rwf_str_take(&name);
}

char *run_attempt_dir(const char *address, int attempt)
{
    char *name = run_step_name(address);
    char *dir = attempt <= 1 ? rwf_xasprintf("steps/%s", name)
                             : rwf_xasprintf("steps/%s~%d", name, attempt);
    free(name);
    return dir;
}
