/* SPDX-License-Identifier: Apache-2.0
 *
 * include: files relative to the including file, merged in order beneath its own
 * values. The number of files is limited, so that files that include each other twice
 * cannot grow without end.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "recipe/load.h"

#define FILES_MAX 200

/* The files that are being read, innermost first. */
struct chain {
    const struct chain *outer;
    const char *path, *shown;
};

static struct recipe_node *read_tree(struct recipe *r, uint32_t file,
                                     const struct chain *chain);

static void cannot_include(struct recipe *r, const struct recipe_node *name,
                           enum recipe_code code, const char *message, const char *hint)
{
    struct recipe_diag *diag =
        recipe_diag_add(r->reader.diags, code, name->span, "%s", message);
    recipe_diag_hint(diag, "%s", hint);
    r->incomplete = true;
}

static bool allowed_name(struct recipe *r, const struct recipe_node *name)
{
    static const struct {
        const char *part, *message, *hint;
        enum recipe_code code;
    } refused[] = {
        {"git+", "including from git is not in this version",
         "keep a copy of the file beside the recipe", RECIPE_E0110},
        {"oci://", "including from a registry is not in this version",
         "keep a copy of the file beside the recipe", RECIPE_E0110},
        {"://", "an included file is local, not an address",
         "download it and include the copy", RECIPE_E0404},
        {"${", "a reference cannot stand in include: files are read before it is known",
         "write the path out, or choose with --profile", RECIPE_E0404},
    };
    for (size_t i = 0; i < RWF_COUNT(refused); i++) {
        if (strstr(name->text, refused[i].part) != NULL) {
            cannot_include(r, name, refused[i].code, refused[i].message,
                           refused[i].hint);
            return false;
        }
    }
    return true;
}

static bool is_cycle(struct recipe *r, const struct recipe_node *name, const char *path,
                     const struct chain *chain)
{
    const struct chain *c = chain;
    while (c != NULL && strcmp(c->path, path) != 0)
        c = c->outer;
    if (c == NULL)
        return false;
    char *way = rwf_xstrdup(c->shown);
    for (c = chain; strcmp(c->path, path) != 0; c = c->outer) {
        char *longer = rwf_xasprintf("%s <- %s", way, c->shown);
        free(way);
        way = longer;
    }
    char *message = rwf_xasprintf("this file includes itself: %s <- %s", way, c->shown);
    cannot_include(r, name, RECIPE_E0402, message, "remove one of the includes");
    free(message);
    free(way);
    return true;
}

static void check_sum(struct recipe *r, const struct recipe_node *want,
                      const char *have)
{
    if (want == NULL || want->kind != RECIPE_SCALAR || strcmp(want->text, have) == 0)
        return;
    struct recipe_diag *diag =
        recipe_diag_add(r->reader.diags, RECIPE_E0403, want->span,
                        "the included file has another SHA-256: %s", have);
    recipe_diag_hint(diag,
                     "look at what changed in it; if it is right, write its new sum");
    recipe_diag_fix(diag, have);
}

static void report_unread(struct recipe *r, const struct recipe_node *name,
                          const struct rwf_err *err)
{
    if (err->code == EFBIG)
        cannot_include(r, name, RECIPE_E0003, "the included file is larger than 1 MiB",
                       "move data into files that steps read");
    else
        cannot_include(r, name, RECIPE_E0401, err->text,
                       "a relative path starts at the folder of the including file");
}

static struct recipe_node *include_one(struct recipe *r, const struct recipe_node *name,
                                       const struct recipe_node *sum,
                                       const struct chain *chain)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct recipe_node *tree = NULL;
    char sha256[RWF_DIGEST_LEN] = "";
    uint32_t file = 0;
    char *folder = rwf_fs_dirname(chain->path), *near = rwf_fs_dirname(chain->shown);
    char *joined = rwf_fs_join(folder, name->text);
    char *path = rwf_fs_absolute(joined);
    char *shown = strcmp(near, ".") == 0 ? rwf_xstrdup(name->text)
                                         : rwf_fs_join(near, name->text);
    if (is_cycle(r, name, path, chain))
        goto out;
    if (recipe__sources_count(r->reader.sources) >= FILES_MAX) {
        cannot_include(r, name, RECIPE_E0003, "the recipe includes more than 200 files",
                       "put several of them into one");
    } else if (recipe__file_read(r, path, shown, &file, sha256, &err) < 0) {
        report_unread(r, name, &err);
    } else {
        check_sum(r, sum, sha256);
        struct chain inner = {chain, path, shown};
        tree = read_tree(r, file, &inner);
    }
out:
    free(folder);
    free(near);
    free(joined);
    free(path);
    free(shown);
    return tree;
}

/* The included files of a tree, merged in order; an empty map when there are none. */
static struct recipe_node *read_includes(struct recipe *r,
                                         const struct recipe_node *tree,
                                         const struct chain *chain)
{
    struct recipe_node *base = recipe_node_new(r->reader.arena, RECIPE_MAP, tree->span);
    const struct recipe_node *list = recipe_get(tree, "include");
    if (list == NULL || list->kind != RECIPE_LIST)
        return base;
    for (size_t i = 0; i < list->count; i++) {
        const struct recipe_node *item = list->items[i], *name = item;
        if (item->kind == RECIPE_MAP)
            name = recipe_get(item, "file");
        if (name == NULL || name->kind != RECIPE_SCALAR || name->null)
            continue; /* the schema says what is wrong with it */
        if (!allowed_name(r, name))
            continue;
        struct recipe_node *part =
            include_one(r, name, recipe_get(item, "sha256"), chain);
        if (part != NULL)
            recipe__merge_root(r->reader.arena, base, part);
    }
    return base;
}

static struct recipe_node *read_tree(struct recipe *r, uint32_t file,
                                     const struct chain *chain)
{
    struct recipe_node *tree = recipe__yaml_read(&r->reader, file);
    if (tree == NULL) {
        r->unreadable = true;
        return NULL;
    }
    if (tree->kind != RECIPE_MAP) {
        struct recipe_diag *diag =
            recipe_diag_add(r->reader.diags, RECIPE_E0102, tree->span,
                            "a recipe is a map of keys and values");
        recipe_diag_hint(diag, "its first line is: recipe: raywf/v1");
        r->unreadable = true;
        return NULL;
    }
    struct recipe_node *base = read_includes(r, tree, chain);
    recipe__merge_root(r->reader.arena, base, tree);
    return base;
}

struct recipe_node *recipe__include_all(struct recipe *r, uint32_t file)
{
    struct chain outermost = {NULL, recipe__source_path(r->reader.sources, file),
                              recipe_file_path(r->reader.sources, file)};
    char *path = rwf_xstrdup(outermost.path);
    char *shown = rwf_xstrdup(outermost.shown);
    struct chain chain = {NULL, path, shown};
    struct recipe_node *tree = read_tree(r, file, &chain);
    free(path);
    free(shown);
    return tree;
}
