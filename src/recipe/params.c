/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters: a declaration {type, default, min, max, choices, pattern}, or a bare
 * value whose look is its type. A value from the command line replaces the default;
 * both are checked. A value that holds ${...} is checked later, by whoever resolves it.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/suggest.h"
#include "base/units.h"
#include "recipe/load.h"
#include "recipe/pattern.h"

struct declaration {
    const char *name;
    const struct recipe_node *body; /* a map, or the bare default */
    enum recipe_type type;
};

static const struct {
    const char *name;
    enum recipe_type type;
    const char *wanted;
} types[] = {
    {"string", RECIPE_TEXT, "text"},
    {"int", RECIPE_INT, "a whole number"},
    {"float", RECIPE_NUMBER, "a number"},
    {"bool", RECIPE_BOOL, "true or false"},
    {"size", RECIPE_SIZE, "a size with its unit, such as 512MiB"},
    {"duration", RECIPE_DURATION, "a duration with its unit, such as 90s"},
};

static const char *wanted(enum recipe_type type)
{
    for (size_t i = 0; i < RWF_COUNT(types); i++) {
        if (types[i].type == type)
            return types[i].wanted;
    }
    return "text";
}

static enum recipe_type type_by_look(const struct recipe_node *value)
{
    if (value == NULL || value->kind != RECIPE_SCALAR || !value->plain)
        return RECIPE_TEXT;
    if (recipe_looks_bool(value->text, NULL))
        return RECIPE_BOOL;
    if (recipe_looks_int(value->text, NULL))
        return RECIPE_INT;
    return recipe_looks_number(value->text, NULL) ? RECIPE_NUMBER : RECIPE_TEXT;
}

static enum recipe_type declared_type(const struct recipe_node *body)
{
    if (body->kind != RECIPE_MAP)
        return type_by_look(body);
    const char *name = recipe_text(recipe_get(body, "type"), "");
    for (size_t i = 0; i < RWF_COUNT(types); i++) {
        if (strcmp(types[i].name, name) == 0)
            return types[i].type;
    }
    return type_by_look(recipe_get(body, "default"));
}

/* The value as a number, for comparisons; false when it is not of the type. */
static bool measure(enum recipe_type type, const char *text, double *ret)
{
    int64_t whole = 0;
    bool ok = true;
    *ret = 0;
    switch (type) {
    case RECIPE_INT:
        ok = recipe_looks_int(text, &whole);
        break;
    case RECIPE_NUMBER:
        return recipe_looks_number(text, ret);
    case RECIPE_BOOL:
        return recipe_looks_bool(text, NULL);
    case RECIPE_SIZE:
        ok = rwf_size_parse(text, &whole, NULL) == 0;
        break;
    case RECIPE_DURATION:
        ok = rwf_duration_parse(text, &whole, NULL) == 0;
        break;
    default:
        break;
    }
    *ret = (double)whole;
    return ok;
}

static void wrong(struct recipe *r, const struct declaration *d,
                  const struct recipe_node *value, const char *what, const char *than)
{
    struct recipe_diag *diag = recipe_diag_add(
        r->reader.diags, RECIPE_E0207, value->span, "parameter '%s' %s%s, not '%s'",
        d->name, what, than, value->text);
    const struct recipe_pair *pair =
        recipe_pair_get(recipe_get(r->root, "params"), d->name);
    if (value->span.line == 0 && pair != NULL)
        recipe_diag_relate(diag, pair->key_span, "declared here");
}

static void check_limits(struct recipe *r, const struct declaration *d,
                         const struct recipe_node *value, double number)
{
    const struct recipe_node *min = recipe_get(d->body, "min");
    const struct recipe_node *max = recipe_get(d->body, "max");
    double limit = 0;
    if (d->type == RECIPE_TEXT || d->type == RECIPE_BOOL)
        return;
    if (min != NULL && measure(d->type, recipe_text(min, ""), &limit) && number < limit)
        wrong(r, d, value, "must be at least ", min->text);
    if (max != NULL && measure(d->type, recipe_text(max, ""), &limit) && number > limit)
        wrong(r, d, value, "must be at most ", max->text);
}

static bool same_value(enum recipe_type type, const char *a, const char *b)
{
    double x = 0, y = 0;
    if (type == RECIPE_TEXT || type == RECIPE_BOOL)
        return strcmp(a, b) == 0;
    return measure(type, a, &x) && measure(type, b, &y) && x == y;
}

static void check_choices(struct recipe *r, const struct declaration *d,
                          const struct recipe_node *value)
{
    const struct recipe_node *choices = recipe_get(d->body, "choices");
    struct rwf_str list = {0};
    if (choices == NULL || choices->kind != RECIPE_LIST)
        return;
    for (size_t i = 0; i < choices->count; i++) {
        const char *choice = recipe_text(choices->items[i], "");
        if (same_value(d->type, choice, value->text))
            goto out;
        rwf_str_addf(&list, "%s%s", i == 0 ? "" : ", ", choice);
    }
    wrong(r, d, value, "must be one of ", list.len == 0 ? "nothing" : list.data);
out:
    rwf_str_free(&list);
}

static void check_pattern(struct recipe *r, const struct declaration *d,
                          const struct recipe_node *value)
{
    const struct recipe_node *pattern = recipe_get(d->body, "pattern");
    struct rwf_err err = RWF_ERR_INIT;
    if (pattern == NULL || pattern->kind != RECIPE_SCALAR)
        return;
    struct recipe__pattern *code = recipe__pattern_compile(pattern->text, true, &err);
    if (code == NULL)
        recipe_diag_add(r->reader.diags, RECIPE_E0207, pattern->span,
                        "the pattern of parameter '%s' is not valid: %s", d->name,
                        err.text);
    else if (!recipe__pattern_matches(code, value->text, value->len))
        wrong(r, d, value, "must match the pattern ", pattern->text);
    recipe__pattern_free(code);
}

static void check_value(struct recipe *r, const struct declaration *d,
                        const struct recipe_node *value)
{
    double number = 0;
    bool quoted_number = !value->plain && d->type != RECIPE_TEXT &&
                         d->type != RECIPE_SIZE && d->type != RECIPE_DURATION;
    if (strstr(value->text, "${") != NULL)
        return;
    if (quoted_number || !measure(d->type, value->text, &number)) {
        wrong(r, d, value, "must be ", wanted(d->type));
        return;
    }
    check_limits(r, d, value, number);
    check_choices(r, d, value);
    check_pattern(r, d, value);
}

static const char *given_text(const struct recipe *r, const char *name)
{
    const char *found = NULL;
    size_t i;
    json_t *setting;
    json_array_foreach(json_object_get(r->given, "params"), i, setting) {
        if (strcmp(json_string_value(json_array_get(setting, 0)), name) == 0)
            found = json_string_value(json_array_get(setting, 1));
    }
    return found;
}

static void resolve(struct recipe *r, const struct recipe_pair *pair)
{
    struct declaration d = {pair->key, pair->value, declared_type(pair->value)};
    struct recipe_node *value =
        d.body->kind == RECIPE_MAP ? recipe_get(d.body, "default") : pair->value;
    const char *given = given_text(r, d.name);
    if (value != NULL && (value->kind != RECIPE_SCALAR || value->null))
        value = NULL;
    if (value != NULL)
        check_value(r, &d, value);
    if (given != NULL) {
        value = recipe__given_value(r, "--param", d.name, given, false);
        check_value(r, &d, value);
    }
    if (value == NULL) {
        recipe_diag_hint(recipe_diag_add(r->reader.diags, RECIPE_E0207, pair->key_span,
                                         "parameter '%s' has no value", d.name),
                         "give --param %s=VALUE, or a default here", d.name);
        return;
    }
    value->type = d.type;
    rwf_map_set(r->params, d.name, value);
}

static void report_unknown(struct recipe *r, const struct recipe_node *params)
{
    size_t i;
    json_t *setting;
    json_array_foreach(json_object_get(r->given, "params"), i, setting) {
        const char *name = json_string_value(json_array_get(setting, 0));
        if (recipe_get(params, name) != NULL)
            continue;
        struct rwf_suggest suggest;
        rwf_suggest_init(&suggest, name);
        for (size_t n = 0; params != NULL && n < params->count; n++)
            rwf_suggest_try(&suggest, params->pairs[n].key);
        const char *best = rwf_suggest_best(&suggest);
        struct recipe_node *value = recipe__given_value(
            r, "--param", name, json_string_value(json_array_get(setting, 1)), false);
        struct recipe_diag *diag =
            recipe_diag_add(r->reader.diags, RECIPE_E0207, value->span,
                            "the recipe has no parameter '%s'", name);
        if (best != NULL)
            recipe_diag_hint(diag, "did you mean '%s'?", best);
        else
            recipe_diag_hint(diag, "declare it under params:");
    }
}

void recipe__params_resolve(struct recipe *r)
{
    const struct recipe_node *params = recipe_get(r->root, "params");
    if (params != NULL && params->kind != RECIPE_MAP)
        params = NULL;
    for (size_t i = 0; params != NULL && i < params->count; i++)
        resolve(r, &params->pairs[i]);
    report_unknown(r, params);
}

const struct recipe_node *recipe_param(const struct recipe *r, const char *name)
{
    return rwf_map_get(r->params, name);
}

const char *recipe_param_at(const struct recipe *r, size_t i)
{
    const struct recipe_node *params = recipe_get(r->root, "params");
    if (params == NULL || params->kind != RECIPE_MAP || i >= params->count)
        return NULL;
    return params->pairs[i].key;
}
