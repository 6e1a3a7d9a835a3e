/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/resolve.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "recipe/expr.h"

#define DEPTH 16 /* a parameter's default may name another one */

static void add_text(const struct recipe *r, const char *text, bool reveal, int depth,
                     struct rwf_str *out);

static void add_secret(const struct recipe *r, const char *name, bool reveal,
                       struct rwf_str *out)
{
    const char *value = reveal ? recipe_secret(r, name) : NULL;

    if (value)
        rwf_str_add(out, value);
    else
        rwf_str_addf(out, "[secret:%s]", name);
}

/* False when the reference is not one of ours. */
static bool add_ref(const struct recipe *r, const struct expr_ref *ref, bool reveal,
                    int depth, struct rwf_str *out)
{
    const char *space = ref->parts[0], *value = NULL;

    if (ref->count != 2)
        return false;
    if (strcmp(space, "params") == 0) {
        value = recipe_text(recipe_param(r, ref->parts[1]), ref->fallback);
        if (value)
            add_text(r, value, reveal, depth + 1, out);
    } else if (strcmp(space, "secrets") == 0) {
        add_secret(r, ref->parts[1], reveal, out);
        return true;
    } else if (strcmp(space, "env") == 0) {
        value = recipe_getenv(r, ref->parts[1]);
        value = value ? value : ref->fallback;
        if (value)
            rwf_str_add(out, value);
    } else if (strcmp(space, "recipe") == 0) {
        value = strcmp(ref->parts[1], "name") == 0  ? recipe_name(r)
                : strcmp(ref->parts[1], "dir") == 0 ? recipe_dir(r)
                                                    : NULL;
        if (value)
            rwf_str_add(out, value);
    }
    return value != NULL;
}

static void add_text(const struct recipe *r, const char *text, bool reveal, int depth,
                     struct rwf_str *out)
{
    struct rwf_arena *a = strstr(text, "${") ? rwf_arena_create() : NULL;
    struct expr_template *t = a ? expr_template_parse(a, text, NULL) : NULL;
    size_t at = 0;

    for (size_t i = 0; t && depth < DEPTH && i < t->count; i++) {
        const struct expr_ref *ref = &t->refs[i];
        rwf_str_addn(out, text + at, ref->offset - at);
        if (!add_ref(r, ref, reveal, depth, out))
            rwf_str_addn(out, text + ref->offset, ref->len);
        at = ref->offset + ref->len;
    }
    rwf_str_add(out, text + at);
    rwf_arena_destroy(a);
}

char *cmd_resolve_text(const struct recipe *r, const char *text, bool reveal)
{
    struct rwf_str out = {0};

    add_text(r, text, reveal, 0, &out);
    return rwf_str_take(&out);
}

json_t *cmd_resolve(const struct recipe *r, const struct recipe_node *node, bool reveal)
{
    json_t *out;

    switch (node->kind) {
    case RECIPE_MAP:
        out = json_object();
        for (size_t i = 0; i < node->count; i++)
            json_object_set_new(out, node->pairs[i].key,
                                cmd_resolve(r, node->pairs[i].value, reveal));
        return out;
    case RECIPE_LIST:
        out = json_array();
        for (size_t i = 0; i < node->count; i++)
            json_array_append_new(out, cmd_resolve(r, node->items[i], reveal));
        return out;
    default:
        break;
    }
    if (!node->text || !strstr(node->text, "${"))
        return recipe_to_json(node);
    char *text = cmd_resolve_text(r, node->text, reveal);
    out = json_string(text);
    free(text);
    return out;
}
