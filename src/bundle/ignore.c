/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "bundle/ignore.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

struct bundle__rule {
    char *folder;  /* of its file, without a slash at the end */
    char *pattern; /* without "!", without slashes at its ends */
    bool keep;     /* "!": what it matches comes after all */
    bool only_folders;
    bool anchored; /* it has a slash: counts from its folder, not for any name in it */
};

/* Without the spaces at its end (unless the last is escaped) and the line's end. */
static size_t trimmed(const char *line, size_t len)
{
    if (len > 0 && line[len - 1] == '\r')
        len--;
    while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t') &&
           !(len > 1 && line[len - 2] == '\\'))
        len--;
    return len;
}

static void add_rule(struct bundle__ignore *g, const char *folder, const char *line,
                     size_t len)
{
    struct bundle__rule r = {0};
    if (len > 0 && line[0] == '!') {
        r.keep = true;
        line++, len--;
    }
    if (len > 0 && line[len - 1] == '/') {
        r.only_folders = true;
        len--;
    }
    r.anchored = len > 0 && memchr(line, '/', len) != NULL;
    if (len > 0 && line[0] == '/')
        line++, len--;
    if (len == 0)
        return;
    r.folder = rwf_xstrdup(folder);
    r.pattern = rwf_xstrndup(line, len);
    *RWF_PUSH(g->rules, g->count, g->cap) = r;
}

void bundle__ignore_add(struct bundle__ignore *g, const char *folder, const char *text)
{
    while (*text) {
        size_t line = strcspn(text, "\n"), len = trimmed(text, line);
        if (len > 0 && text[0] != '#')
            add_rule(g, folder, text, len);
        text += line + (text[line] == '\n');
    }
}

void bundle__ignore_drop(struct bundle__ignore *g, size_t count)
{
    while (g->count > count) {
        g->count--;
        free(g->rules[g->count].folder);
        free(g->rules[g->count].pattern);
    }
}

void bundle__ignore_free(struct bundle__ignore *g)
{
    bundle__ignore_drop(g, 0);
    free(g->rules);
    *g = (struct bundle__ignore){0};
}

/* One name against one part of a pattern; both end at a slash or at their end. */
static bool name_matches(const char *pattern, size_t plen, const char *name,
                         size_t nlen)
{
    char *p = rwf_xstrndup(pattern, plen), *n = rwf_xstrndup(name, nlen);
    bool yes = fnmatch(p, n, 0) == 0;
    free(p);
    free(n);
    return yes;
}

/* Part by part; "**" is any number of folders, at the end: all that is in one. */
static bool path_matches(const char *pattern, const char *path)
{
    size_t p = strcspn(pattern, "/"), n = strcspn(path, "/");
    bool last = pattern[p] == '\0';
    if (p == 2 && memcmp(pattern, "**", 2) == 0) {
        if (last)
            return *path != '\0';
        if (path_matches(pattern + 3, path))
            return true;
        return path[n] == '/' && path_matches(pattern, path + n + 1);
    }
    if (*path == '\0' || !name_matches(pattern, p, path, n))
        return false;
    if (last || path[n] == '\0')
        return last && path[n] == '\0';
    return path_matches(pattern + p + 1, path + n + 1);
}

/* The rest of path within folder; NULL: it is not in there. */
static const char *path_in(const char *path, const char *folder)
{
    size_t len = strlen(folder);
    if (len == 0)
        return path;
    return strncmp(path, folder, len) == 0 && path[len] == '/' ? path + len + 1 : NULL;
}

static bool rule_matches(const struct bundle__rule *r, const char *path, bool folder)
{
    const char *rest = path_in(path, r->folder);
    if (!rest || (r->only_folders && !folder))
        return false;
    if (r->anchored)
        return path_matches(r->pattern, rest);
    const char *slash = strrchr(rest, '/');
    const char *name = slash ? slash + 1 : rest;
    return name_matches(r->pattern, strlen(r->pattern), name, strlen(name));
}

bool bundle__ignored(const struct bundle__ignore *g, const char *path, bool folder)
{
    for (size_t i = g->count; i-- > 0;) {
        if (rule_matches(&g->rules[i], path, folder))
            return !g->rules[i].keep;
    }
    return false;
}
