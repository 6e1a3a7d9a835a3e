/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML text -> tree. Every problem goes to the diagnostics.
 */
#ifndef RWF_RECIPE_YAML_H
#define RWF_RECIPE_YAML_H
#include "base/arena.h"
#include "recipe/diag.h"
#include "recipe/node.h"
#include "recipe/sources.h"

#define RECIPE_FILE_MAX (1024 * 1024) /* bytes */
#define RECIPE_NODES_MAX 100000       /* of a recipe, all files and aliases included */
#define RECIPE_DEPTH_MAX 64

struct recipe__reader {
    struct rwf_arena *arena;
    struct recipe_sources *sources;
    struct recipe_diags *diags;
    size_t nodes; /* made so far */
};

/* The tree of a source; an empty text is an empty map. NULL when the text is not YAML
 * to its end, or breaks a limit: then what follows from the tree would mislead. */
struct recipe_node *recipe__yaml_read(struct recipe__reader *reader, uint32_t file);

#endif
