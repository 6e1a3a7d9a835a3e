/* SPDX-License-Identifier: Apache-2.0
 *
 * Walks over the compiled schema by name. Only used when something is wrong or asked
 * for, so nothing here needs to be fast.
 */
#include "config.h"

#include "recipe/schema_help.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "recipe/schema.h"

#define LEVELS_MAX 12

extern const char recipe_schema_json[];
extern const size_t recipe_schema_json_len;

const char *recipe_schema_text(void)
{
    return recipe_schema_json;
}

const json_t *recipe_schema(void)
{
    static json_t *json;
    if (json == NULL)
        json = json_loadb(recipe_schema_json, recipe_schema_json_len, 0, NULL);
    rwf_assert(json != NULL);
    return json;
}

const struct schema *recipe__schema(void)
{
    static struct schema_document *document;
    if (document == NULL)
        document = recipe__schema_compile((json_t *)recipe_schema(), NULL);
    rwf_assert(document != NULL);
    return recipe__schema_root(document);
}

/* --- where a key may stand --- */

struct search {
    const char *key;
    void (*found)(void *ctx, const char *path);
    void *ctx;
};

static void search(const struct search *w, const struct schema *s, const char *path,
                   int level);

static void search_below(const struct search *w, const struct schema *s,
                         const char *path, const char *name, int level)
{
    char *inner = rwf_xasprintf("%s%s%s", path, path[0] == '\0' ? "" : ".", name);
    search(w, s, inner, level + 1);
    free(inner);
}

static void search(const struct search *w, const struct schema *s, const char *path,
                   int level)
{
    if (level > LEVELS_MAX || strcmp(path, "profiles") == 0)
        return;
    const struct schema *hit = recipe__schema_property(s, w->key);
    if (hit != NULL && !hit->never)
        w->found(w->ctx, path);
    for (size_t i = 0; i < s->property_count; i++)
        search_below(w, s->properties[i].schema, path, s->properties[i].key, level);
    if (s->additional != NULL && !s->additional->never)
        search_below(w, s->additional, path, "NAME", level);
    if (s->items != NULL)
        search_below(w, s->items, path, "[]", level);
    if (s->ref != NULL)
        search(w, s->ref, path, level + 1);
    for (size_t i = 0; i < s->branch_count; i++)
        search(w, s->branches[i], path, level + 1);
}

void recipe__schema_places(const char *key, void (*found)(void *ctx, const char *path),
                           void *ctx)
{
    struct search w = {key, found, ctx};
    search(&w, recipe__schema(), "", 0);
}

void recipe__schema_suggest(const struct schema *s, struct rwf_suggest *suggest)
{
    for (size_t i = 0; i < s->property_count; i++) {
        if (!s->properties[i].schema->never)
            rwf_suggest_try(suggest, s->properties[i].key);
    }
    if (s->ref != NULL)
        recipe__schema_suggest(s->ref, suggest);
    for (size_t i = 0; i < s->branch_count; i++)
        recipe__schema_suggest(s->branches[i], suggest);
}

void recipe__schema_keys(const struct schema *s, struct rwf_str *out, size_t max)
{
    const char *key;
    json_t *value;
    size_t count = 0;
    json_object_foreach(json_object_get(s->json, "properties"), key, value) {
        if (recipe__schema_property(s, key)->never)
            continue;
        rwf_str_addf(out, "%s%s", count == 0 ? "" : ", ", count == max ? "..." : key);
        if (count++ == max)
            return;
    }
}

/* --- one field by its path --- */

static const struct schema *below(const struct schema *s, const char *name, int level)
{
    const struct schema *found = recipe__schema_property(s, name);
    if (found != NULL || level > LEVELS_MAX)
        return found;
    if (s->additional != NULL && !s->additional->never)
        return s->additional;
    if (s->items != NULL && (strcmp(name, "*") == 0 || strcmp(name, "[]") == 0 ||
                             name[strspn(name, "0123456789")] == '\0'))
        return s->items;
    if (s->ref != NULL)
        found = below(s->ref, name, level + 1);
    for (size_t i = 0; found == NULL && i < s->branch_count; i++)
        found = below(s->branches[i], name, level + 1);
    return found;
}

static char *nearest_path(const struct schema *s, const char *before, size_t before_len,
                          const char *name)
{
    struct rwf_suggest suggest;
    rwf_suggest_init(&suggest, name);
    recipe__schema_suggest(s, &suggest);
    const char *best = rwf_suggest_best(&suggest);
    if (best != NULL)
        return rwf_xasprintf("%.*s%s", (int)before_len, before, best);
    return before_len == 0 ? NULL : rwf_xstrndup(before, before_len - 1);
}

/* A schema's own words over those of what it refers to. */
static json_t *with_refs(const struct schema *s)
{
    json_t *json =
        json_is_object(s->json) ? json_copy((json_t *)s->json) : json_object();
    for (s = s->ref; s != NULL; s = s->ref)
        json_object_update_missing(json, (json_t *)s->json);
    json_object_del(json, "$ref");
    return json;
}

const json_t *recipe_schema_at(const char *path, char **ret_suggestion)
{
    static json_t *known; /* keeps what was handed out */
    const struct schema *s = recipe__schema();
    const char *rest = path;
    while (*rest != '\0') {
        size_t len = strcspn(rest, ".");
        char *name = rwf_xstrndup(rest, len);
        const struct schema *next = below(s, name, 0);
        if (next == NULL && ret_suggestion != NULL)
            *ret_suggestion = nearest_path(s, path, (size_t)(rest - path), name);
        free(name);
        if (next == NULL)
            return NULL;
        s = next;
        rest += len + (rest[len] == '.');
    }
    if (known == NULL)
        known = json_object();
    if (json_object_get(known, path) == NULL)
        json_object_set_new_nocheck(known, path, with_refs(s));
    return json_object_get(known, path);
}
