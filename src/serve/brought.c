/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of replicas on other nodes: the recipe's folder for programs, and what earlier
 * steps made as far as the replica's texts name it.
 */
#include "config.h"
#include "serve/brought.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "serve/pool.h"
#include "serve/spec.h"

/* What ends a path in a text. */
#define ENDS " \t\n\"'\\;|&<>()`$*?,="

static bool has_line(const struct rwf_str *lines, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = lines->data; (at = strstr(at, line)) != NULL; at += len)
        if ((at == lines->data || at[-1] == '\n') && at[len] == '\n')
            return true;
    return false;
}

static void add(struct rwf_str *lines, const char *path)
{
    if ((*path != '/' && *path != '?') || has_line(lines, path))
        return;
    rwf_str_addf(lines, "%s\n", path);
}

/* Every path in text beneath the folder of what steps made. */
static void add_results(struct rwf_str *lines, const char *folder, const char *text)
{
    size_t len = strlen(folder);
    for (const char *at = text; (at = strstr(at, folder)) != NULL;) {
        size_t size = strcspn(at, ENDS);
        while (size > len && (at[size - 1] == '/' || at[size - 1] == ':'))
            size--;
        char *path = rwf_xstrndup(at, size);
        if (size > len)
            add(lines, path);
        free(path);
        at += size > len ? size : len;
    }
}

/* Models that lie somewhere else: the node may have them, too. */
static void add_models(struct rwf_str *lines, const char *made, const char *text)
{
    for (const char *at = text; (at = strchr(at, '/')) != NULL;) {
        size_t size = strcspn(at, ENDS ":");
        char *path = rwf_xstrndup(at, size), *config = rwf_fs_join(path, "config.json");
        bool begins = at == text || strchr(ENDS ":", at[-1]) != NULL;
        if (begins && !rwf_starts_with(path, made) && rwf_fs_is_file(config)) {
            char *line = rwf_xasprintf("?%s", path);
            add(lines, line);
            free(line);
        }
        free(config);
        free(path);
        at += size;
    }
}

char *serve__files_of(const struct serve_pool *p, const struct serve_deployment *d,
                      const char *how)
{
    const char *recipe = getenv("RAYWF_RECIPE_DIR");
    /* ROOT/runs/ID/serve */
    char *run = rwf_fs_dirname(p->folder), *runs = rwf_fs_dirname(run);
    char *root = rwf_fs_dirname(runs), *made = rwf_fs_join(root, "cache/steps/");
    struct rwf_str lines = {0};
    rwf_str_addf(&lines, "%s\n", p->folder);
    if (d->kind == SERVE_PROGRAM && recipe != NULL && *recipe == '/') {
        char *all = rwf_xasprintf("%s/", recipe);
        add(&lines, all);
        free(all);
    }
    if (d->kind == SERVE_MODEL && d->model != NULL)
        add(&lines, d->model);
    add_results(&lines, made, how);
    add_models(&lines, made, how);
    free(made);
    free(root);
    free(runs);
    free(run);
    return rwf_str_take(&lines);
}

/* --- in the worker --- */

static bool ends_here(char c)
{
    return c == '\0' || c == '/' || strchr(ENDS ":", c) != NULL;
}

struct mapping {
    char *from, *to; /* within one text */
};

/* The longest one counts: what steps made lies beneath the recipe's folder. */
static const struct mapping *at_this(const struct mapping *maps, size_t count,
                                     const char *at)
{
    const struct mapping *best = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(maps[i].from);
        if (strncmp(at, maps[i].from, len) == 0 && ends_here(at[len]) &&
            (best == NULL || len > strlen(best->from)))
            best = &maps[i];
    }
    return best;
}

static char *replaced(const char *text, size_t size, const struct mapping *maps,
                      size_t count)
{
    char *all = rwf_xstrndup(text, size);
    struct rwf_str out = {0};
    rwf_str_add(&out, "");
    for (const char *at = all; *at != '\0';) {
        const struct mapping *m = at_this(maps, count, at);
        rwf_str_addn(&out, m != NULL ? m->to : at, m != NULL ? strlen(m->to) : 1);
        at += m != NULL ? strlen(m->from) : 1;
    }
    free(all);
    return rwf_str_take(&out);
}

char *serve__brought(const char *text, size_t size)
{
    const char *files = getenv("RAYWF_FILES");
    char *lines = rwf_xstrdup(files != NULL ? files : ""), *save = NULL;
    struct mapping *maps = NULL;
    size_t count = 0, cap = 0;
    for (char *line = strtok_r(lines, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char *tab = strchr(line, '\t');
        if (tab == NULL)
            continue;
        *tab = '\0';
        *RWF_PUSH(maps, count, cap) = (struct mapping){line, tab + 1};
    }
    char *out = replaced(text, size, maps, count);
    free(maps);
    free(lines);
    return out;
}
