/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of loading share.
 */
#ifndef RWF_RECIPE_LOAD_H
#define RWF_RECIPE_LOAD_H
#include <jansson.h>
#include "base/map.h"
#include "recipe/recipe.h"
#include "recipe/sources.h"
#include "recipe/yaml.h"

struct recipe {
    struct recipe__reader
        reader; /* its diags are the caller's, and only while loading */
    struct recipe_node *root;
    char *path, *dir, *name;
    json_t *files;       /* [{path, shown, text, sha256}] in the order they were read */
    json_t *given;       /* {profile, params: [[name, value]], sets: [[path, value]]} */
    json_t *env, *globs; /* look-ups: {name: value or null}, {pattern: [paths]} */
    json_t *frozen;      /* the snapshot that this recipe is loaded from, or NULL */
    struct rwf_map *params;  /* name -> struct recipe_node with a value */
    struct rwf_map *secrets; /* name -> value */
    bool incomplete;         /* a file is missing: what else is missing means nothing */
    bool unreadable;         /* a file is not YAML: the tree is not worth a check */
};

/* Reads a file or its copy in the snapshot as a new source.
 * -1 and *err when it cannot be read; err->code EFBIG when it is too large. */
int recipe__file_read(struct recipe *r, const char *path, const char *shown,
                      uint32_t *ret_file, char ret_sha256[], struct rwf_err *err);
/* The main file's tree with everything it includes. NULL: reported. */
struct recipe_node *recipe__include_all(struct recipe *r, uint32_t file);

/* over onto base, which is changed and returned: maps merge, all else replaces, an
 * empty value changes nothing. */
struct recipe_node *recipe__merge(struct rwf_arena *a, struct recipe_node *base,
                                  struct recipe_node *over);
/* The same for whole recipes: a bare value under params is a declared one's default. */
void recipe__merge_root(struct rwf_arena *a, struct recipe_node *base,
                        struct recipe_node *over);
void recipe__profile_apply(struct recipe *r, const char *profile);
void recipe__set_apply(struct recipe *r, const char *path, const char *value);

/* Values for all declared parameters. */
void recipe__params_resolve(struct recipe *r);

/* A value of the command line as a tree; what names it in messages. */
struct recipe_node *recipe__given_value(struct recipe *r, const char *what,
                                        const char *name, const char *value, bool yaml);

#endif
