/* SPDX-License-Identifier: Apache-2.0
 *
 * One rule for includes, profiles and --set: maps merge deeply, scalars and lists
 * replace. Nodes keep their spans, so every value still says where it came from. The
 * one addition: under params a bare value gives a declared parameter its default.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/suggest.h"
#include "recipe/load.h"

static struct recipe_pair *pair_of(struct recipe_node *map, const char *key)
{
    const struct recipe_pair *pair = recipe_pair_get(map, key);
    return pair == NULL ? NULL : &map->pairs[pair - map->pairs];
}

static bool is_empty(const struct recipe_node *node)
{
    return node->kind == RECIPE_SCALAR && node->null;
}

static void merge_pair(struct rwf_arena *a, struct recipe_node *base,
                       const struct recipe_pair *over)
{
    struct recipe_pair *pair = pair_of(base, over->key);
    if (pair == NULL) {
        recipe_map_add(a, base, over->key, over->key_span, over->value);
    } else if (!is_empty(over->value)) {
        struct recipe_node *before = pair->value;
        pair->value = recipe__merge(a, before, over->value);
        if (pair->value != before)
            pair->key_span = over->key_span;
    }
}

static void merge_params(struct rwf_arena *a, struct recipe_node *base,
                         struct recipe_node *over)
{
    for (size_t i = 0; i < over->count; i++) {
        struct recipe_pair given = over->pairs[i];
        struct recipe_node *declared = recipe_get(base, given.key);
        if (declared != NULL && declared->kind == RECIPE_MAP &&
            given.value->kind == RECIPE_SCALAR) {
            given.key = "default";
            merge_pair(a, declared, &given);
        } else {
            merge_pair(a, base, &given);
        }
    }
}

struct recipe_node *recipe__merge(struct rwf_arena *a, struct recipe_node *base,
                                  struct recipe_node *over)
{
    if (base->kind != RECIPE_MAP || over->kind != RECIPE_MAP)
        return over;
    for (size_t i = 0; i < over->count; i++)
        merge_pair(a, base, &over->pairs[i]);
    return base;
}

void recipe__merge_root(struct rwf_arena *a, struct recipe_node *base,
                        struct recipe_node *over)
{
    for (size_t i = 0; i < over->count; i++) {
        const struct recipe_pair *pair = &over->pairs[i];
        struct recipe_node *params = recipe_get(base, "params");
        if (strcmp(pair->key, "params") == 0 && pair->value->kind == RECIPE_MAP &&
            params != NULL && params->kind == RECIPE_MAP)
            merge_params(a, params, pair->value);
        else
            merge_pair(a, base, pair);
    }
}

/* --- profile --- */

void recipe__profile_apply(struct recipe *r, const char *profile)
{
    const struct recipe_node *profiles = recipe_get(r->root, "profiles");
    const struct recipe_node *overlay = recipe_get(profiles, profile);
    if (overlay != NULL && overlay->kind == RECIPE_MAP) {
        recipe__merge_root(r->reader.arena, r->root,
                           recipe_node_copy(r->reader.arena, overlay));
        return;
    }
    if (overlay != NULL)
        return; /* empty, or the schema says what is wrong with it */
    struct rwf_suggest suggest;
    rwf_suggest_init(&suggest, profile);
    if (profiles != NULL && profiles->kind == RECIPE_MAP) {
        for (size_t i = 0; i < profiles->count; i++)
            rwf_suggest_try(&suggest, profiles->pairs[i].key);
    }
    struct recipe_span span = profiles != NULL ? profiles->span : r->root->span;
    struct recipe_diag *diag = recipe_diag_add(r->reader.diags, RECIPE_E0209, span,
                                               "there is no profile '%s'", profile);
    if (rwf_suggest_best(&suggest) != NULL)
        recipe_diag_hint(diag, "did you mean --profile %s?",
                         rwf_suggest_best(&suggest));
    else
        recipe_diag_hint(diag, "add it under profiles:, or leave --profile out");
}

/* --- --set --- */

static int set_problem(struct recipe *r, struct recipe_span span, const char *path,
                       const char *message)
{
    struct recipe_diag *diag = recipe_diag_add(r->reader.diags, RECIPE_E0210, span,
                                               "'%s' cannot be set: %s", path, message);
    recipe_diag_hint(diag, "`raywf render` shows the paths that exist");
    return -1;
}

/* The place for key in node, made when a map does not have it. NULL: not possible. */
static struct recipe_node **place_for(struct recipe *r, struct recipe_node *node,
                                      const char *key, struct recipe_span span)
{
    int64_t index = 0;
    if (node->kind == RECIPE_LIST && recipe_looks_int(key, &index) && index >= 0 &&
        (size_t)index < node->count)
        return &node->items[index];
    if (node->kind != RECIPE_MAP || key[0] == '\0')
        return NULL;
    if (pair_of(node, key) == NULL)
        recipe_map_add(r->reader.arena, node, key, span,
                       recipe_node_new(r->reader.arena, RECIPE_MAP, span));
    return &pair_of(node, key)->value;
}

/* Walks to the last key of path, making maps on the way. */
static struct recipe_node **walk(struct recipe *r, const char *path,
                                 struct recipe_span span)
{
    struct recipe_node **place = &r->root;
    while (place != NULL) {
        size_t len = strcspn(path, ".");
        char *key = rwf_xstrndup(path, len);
        if (is_empty(*place))
            *place = recipe_node_new(r->reader.arena, RECIPE_MAP, span);
        place = place_for(r, *place, key, span);
        free(key);
        if (path[len] == '\0')
            break;
        path += len + 1;
    }
    return place;
}

void recipe__set_apply(struct recipe *r, const char *path, const char *text)
{
    struct recipe_node *value = recipe__given_value(r, "--set", path, text, true);
    if (value == NULL)
        return;
    struct recipe_node **place = walk(r, path, value->span);
    struct recipe_pair as_default = {"default", value->span, value};
    bool is_param = rwf_starts_with(path, "params.") && strchr(path + 7, '.') == NULL;
    if (place == NULL)
        set_problem(r, value->span, path,
                    "there is a single value on the way, or no such "
                    "list item");
    else if (is_param && (*place)->kind == RECIPE_MAP && (*place)->count > 0 &&
             value->kind == RECIPE_SCALAR)
        merge_pair(r->reader.arena, *place, &as_default);
    else
        *place = value;
}
