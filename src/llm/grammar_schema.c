/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON Schema (2020-12, the part that OpenAI's structured outputs have) as rules over
 * bytes. Objects have their properties in the order of the schema, the optional ones
 * may be missing; further properties only where additionalProperties asks for them.
 * Annotations are not looked at; what would have to be obeyed and is not is refused by
 * name.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "llm/grammar_json.h"

#define DEPTH_MAX 64
#define COUNT_MAX 1000 /* of minItems and the like */
/* Of all objects, and of all enums, as OpenAI has it; optional properties are gone
 * through one within the other. */
#define PROPERTIES_MAX 5000
#define VALUES_MAX 5000
#define RULES_MAX 200000

/* --- schemas; every function returns a rule, or -1 after *w->err --- */

static int schema_rule(struct rules *w, const json_t *schema, const char *at);

static int bad(struct rules *w, const char *at, const char *fmt, const char *what)
{
    rwf_fail(w->err, RWF_E_USAGE, fmt, what);
    return rwf_wrap(w->err, "schema %s", at);
}

static int child(struct rules *w, const json_t *schema, const char *at, const char *key)
{
    char *place = rwf_xasprintf("%s/%s", at, key);
    int r = schema_rule(w, schema, place);

    free(place);
    return r;
}

static int rule_of_value(struct rules *w, const json_t *value)
{
    char *json = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    int r = rules_of_text(w, json, strlen(json));

    free(json);
    return r;
}

static int enum_rule(struct rules *w, const json_t *values, const char *at)
{
    int r = grammar__rule(w->g);
    json_t *value;
    size_t i;

    if (json_array_size(values) == 0)
        return bad(w, at, "enum is %s", "no list with a value");
    w->values += json_array_size(values);
    if (w->values > VALUES_MAX)
        return bad(w, at, "%s", "more than 5000 enum values in all");
    json_array_foreach((json_t *)(uintptr_t)values, i, value)
        rules_one_of(w, r, rule_of_value(w, value));
    return r;
}

static int any_of(struct rules *w, const json_t *schemas, const char *at,
                  const char *key)
{
    int r = grammar__rule(w->g);
    json_t *one;
    size_t i;

    if (json_array_size(schemas) == 0)
        return bad(w, at, "%s is no list with a schema", key);
    json_array_foreach((json_t *)(uintptr_t)schemas, i, one) {
        char *place = rwf_xasprintf("%s/%s/%zu", at, key, i);
        int alternative = schema_rule(w, one, place);
        free(place);
        if (alternative < 0)
            return -1;
        rules_one_of(w, r, alternative);
    }
    return r;
}

/* "#/$defs/a" in the root; ~1 and ~0 as in RFC 6901. */
static const json_t *pointed(const json_t *at, const char *pointer)
{
    char *copy = rwf_xstrdup(pointer), *rest = copy, *part;

    while (at != NULL && (part = strsep(&rest, "/")) != NULL) {
        struct rwf_str key = {NULL, 0, 0};
        for (const char *p = part; *p; p++) {
            bool escaped = *p == '~' && (p[1] == '0' || p[1] == '1');
            rwf_str_addc(&key, escaped ? (*++p == '1' ? '/' : '~') : *p);
        }
        const char *name = key.data == NULL ? "" : key.data;
        at = json_is_array(at) ? json_array_get(at, strtoul(name, NULL, 10))
                               : json_object_get(at, name);
        rwf_str_free(&key);
    }
    free(copy);
    return at;
}

static int ref_rule(struct rules *w, const char *ref, const char *at)
{
    void *known = rwf_map_get(w->refs, ref);

    if (known != NULL)
        return (int)(intptr_t)known - 1;
    const json_t *target = strcmp(ref, "#") == 0        ? w->root
                           : strncmp(ref, "#/", 2) == 0 ? pointed(w->root, ref + 2)
                                                        : NULL;
    if (target == NULL)
        return bad(w, at, "$ref '%s' names nothing in this schema", ref);
    int r = grammar__rule(w->g);
    rwf_map_set(w->refs, ref, (void *)(intptr_t)(r + 1));
    int body = schema_rule(w, target, ref);
    if (body < 0)
        return -1;
    rules_one_of(w, r, body);
    return r;
}

/* --- objects --- */

static bool is_required(const json_t *schema, const char *key)
{
    const json_t *required = json_object_get(schema, "required");

    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (name != NULL && strcmp(name, key) == 0)
            return true;
    }
    return false;
}

/* What may follow the properties; -1: nothing, -2: an error. */
static int additional(struct rules *w, const json_t *schema, const char *at)
{
    const json_t *given = json_object_get(schema, "additionalProperties");
    bool open = json_object_get(schema, "properties") == NULL;

    if (json_is_false(given) || (given == NULL && !open))
        return -1;
    int value =
        json_is_object(given) ? child(w, given, at, "additionalProperties") : w->value;
    return value < 0 ? -2 : rules_pair(w, w->string, value);
}

struct member {
    int pair;
    bool required;
};

/* Two rules for each place in the list of members: what may come when nothing was
 * written yet, and when something was. From the last one to the first. */
static int members(struct rules *w, const struct member *m, size_t count, int more)
{
    int first = grammar__rule(w->g), next = grammar__rule(w->g);
    struct grammar__seq s = {NULL, 0, 0};

    rules_one_of(w, first,
                 more < 0 ? rules_of_text(w, "", 0) : rules_list(w, more, 0, -1));
    if (more < 0) {
        rules_empty(w, next);
    } else {
        int further = grammar__rule(w->g);
        rules_comma(w, &s);
        grammar__call(&s, more);
        rules_end(w, further, &s);
        rules_one_of(w, next, rules_repeated(w, further, 0, -1));
    }
    for (size_t i = count; i-- > 0;) {
        int before_first = grammar__rule(w->g), before_next = grammar__rule(w->g);
        grammar__call(&s, m[i].pair);
        grammar__call(&s, next);
        rules_end(w, before_first, &s);
        rules_comma(w, &s);
        grammar__call(&s, m[i].pair);
        grammar__call(&s, next);
        rules_end(w, before_next, &s);
        if (!m[i].required) {
            rules_one_of(w, before_first, first);
            rules_one_of(w, before_next, next);
        }
        first = before_first;
        next = before_next;
    }
    return first;
}

static int object_rule(struct rules *w, const json_t *schema, const char *at)
{
    const json_t *properties = json_object_get(schema, "properties");
    size_t count = json_object_size(properties), n = 0;

    w->properties += count;
    if (w->properties > PROPERTIES_MAX)
        return bad(w, at, "%s", "more than 5000 properties in all");
    struct member *m = rwf_xcalloc(count + 1, sizeof(*m));
    char *place = rwf_xasprintf("%s/properties", at);
    const char *key;
    json_t *value;
    int r = -1;

    json_object_foreach((json_t *)(uintptr_t)properties, key, value) {
        json_t *name = json_string(key);
        int inside = child(w, value, place, key);
        if (inside >= 0)
            m[n++] = (struct member){rules_pair(w, rule_of_value(w, name), inside),
                                     is_required(schema, key)};
        json_decref(name);
        if (inside < 0)
            goto out;
    }
    int more = additional(w, schema, at);
    if (more != -2)
        r = rules_brackets(w, "{", members(w, m, n, more), "}");
out:
    free(place);
    free(m);
    return r;
}

/* --- the rest --- */

static int bound(struct rules *w, const json_t *schema, const char *key, int fallback,
                 const char *at, int *ret)
{
    const json_t *given = json_object_get(schema, key);

    *ret = given == NULL ? fallback : (int)json_integer_value(given);
    if (given != NULL && (!json_is_integer(given) || json_integer_value(given) < 0 ||
                          json_integer_value(given) > COUNT_MAX))
        return bad(w, at, "%s is no whole number from 0 to 1000", key);
    return 0;
}

static int bounds(struct rules *w, const json_t *schema, const char *least_key,
                  const char *most_key, const char *at, int *least, int *most)
{
    if (bound(w, schema, least_key, 0, at, least) != 0 ||
        bound(w, schema, most_key, -1, at, most) != 0)
        return -1;
    return *most >= 0 && *most < *least
               ? bad(w, at, "%s is less than the least that is asked for", most_key)
               : 0;
}

static int array_rule(struct rules *w, const json_t *schema, const char *at)
{
    const json_t *items = json_object_get(schema, "items");
    int least, most, item = w->value;

    if (bounds(w, schema, "minItems", "maxItems", at, &least, &most) != 0)
        return -1;
    if (items != NULL && (item = child(w, items, at, "items")) < 0)
        return -1;
    return rules_brackets(w, "[", rules_list(w, item, least, most), "]");
}

static int string_rule(struct rules *w, const json_t *schema, const char *at)
{
    int least, most;

    if (bounds(w, schema, "minLength", "maxLength", at, &least, &most) != 0)
        return -1;
    if (least == 0 && most < 0)
        return w->string;
    return rules_quoted(w, rules_repeated(w, w->character, least, most));
}

static int type_rule(struct rules *w, const json_t *schema, const char *type,
                     const char *at)
{
    if (strcmp(type, "object") == 0)
        return object_rule(w, schema, at);
    if (strcmp(type, "array") == 0)
        return array_rule(w, schema, at);
    if (strcmp(type, "string") == 0)
        return string_rule(w, schema, at);
    if (strcmp(type, "number") == 0)
        return w->number;
    if (strcmp(type, "integer") == 0)
        return w->integer;
    if (strcmp(type, "null") == 0)
        return rules_of_text(w, "null", 4);
    if (strcmp(type, "boolean") != 0)
        return bad(
            w, at,
            "type '%s': object, array, string, number, integer, boolean and null "
            "are the types",
            type);
    int r = grammar__rule(w->g);
    rules_one_of(w, r, rules_of_text(w, "true", 4));
    rules_one_of(w, r, rules_of_text(w, "false", 5));
    return r;
}

static int types_rule(struct rules *w, const json_t *schema, const json_t *types,
                      const char *at)
{
    int r = grammar__rule(w->g);
    json_t *one;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)types, i, one) {
        const char *type = json_string_value(one);
        int alternative = type_rule(w, schema, type == NULL ? "" : type, at);
        if (alternative < 0)
            return -1;
        rules_one_of(w, r, alternative);
    }
    return r;
}

/* Keywords that would have to be obeyed. */
static int check_keywords(struct rules *w, const json_t *schema, const char *at)
{
    static const char *const refused[] = {"pattern",
                                          "minimum",
                                          "maximum",
                                          "exclusiveMinimum",
                                          "exclusiveMaximum",
                                          "multipleOf",
                                          "not",
                                          "if",
                                          "patternProperties",
                                          "propertyNames",
                                          "minProperties",
                                          "maxProperties",
                                          "uniqueItems",
                                          "contains",
                                          "prefixItems",
                                          "dependentRequired",
                                          "dependentSchemas",
                                          "unevaluatedProperties",
                                          "unevaluatedItems"};

    for (size_t i = 0; i < RWF_COUNT(refused); i++) {
        const json_t *given = json_object_get(schema, refused[i]);
        if (given != NULL && !json_is_false(given))
            return bad(
                w, at,
                "%s is not supported: say it in the description, or leave it out",
                refused[i]);
    }
    return 0;
}

static int keyword_rule(struct rules *w, const json_t *schema, const char *at)
{
    const json_t *type = json_object_get(schema, "type"), *given;

    if ((given = json_object_get(schema, "$ref")) != NULL)
        return ref_rule(w, json_is_string(given) ? json_string_value(given) : "", at);
    if ((given = json_object_get(schema, "const")) != NULL)
        return rule_of_value(w, given);
    if ((given = json_object_get(schema, "enum")) != NULL)
        return enum_rule(w, given, at);
    if ((given = json_object_get(schema, "anyOf")) != NULL)
        return any_of(w, given, at, "anyOf");
    if ((given = json_object_get(schema, "oneOf")) != NULL)
        return any_of(w, given, at, "oneOf");
    if ((given = json_object_get(schema, "allOf")) != NULL)
        return json_array_size(given) == 1
                   ? child(w, json_array_get(given, 0), at, "allOf/0")
                   : bad(w, at, "%s of more than one schema is not supported", "allOf");
    if (json_is_array(type))
        return types_rule(w, schema, type, at);
    if (json_is_string(type))
        return type_rule(w, schema, json_string_value(type), at);
    if (type != NULL)
        return bad(w, at, "type is %s", "neither a text nor a list");
    if (json_object_get(schema, "properties") != NULL)
        return object_rule(w, schema, at);
    return w->value;
}

static int schema_rule(struct rules *w, const json_t *schema, const char *at)
{
    if (json_is_true(schema))
        return w->value;
    if (!json_is_object(schema))
        return bad(w, at, "%s", "this is no schema (an object)");
    if (w->depth >= DEPTH_MAX)
        return bad(w, at, "%s", "nested too deeply");
    if (grammar__rules(w->g) > RULES_MAX)
        return bad(w, at, "%s", "the whole of it is too large");
    if (check_keywords(w, schema, at) != 0)
        return -1;
    w->depth++;
    int r = keyword_rule(w, schema, at);
    w->depth--;
    return r;
}

/* --- grammars --- */

struct grammar *grammar_schema(const json_t *schema, struct rwf_err *err)
{
    struct rules w;

    rules_open(&w, schema, err);
    int r = schema_rule(&w, schema, "#");
    if (r >= 0)
        rules_one_of(&w, 0, r);
    return rules_close(&w, r >= 0);
}

struct grammar *grammar_object(void)
{
    struct rules w;

    rules_open(&w, NULL, NULL);
    rules_one_of(&w, 0, w.object);
    return rules_close(&w, true);
}

struct grammar *grammar_choice(const json_t *texts, struct rwf_err *err)
{
    struct rules w;
    json_t *one;
    size_t i;
    bool good = json_array_size(texts) > 0;

    rules_open(&w, texts, err);
    json_array_foreach((json_t *)(uintptr_t)texts, i, one) {
        good = good && json_string_length(one) > 0;
        if (good)
            rules_one_of(
                &w, 0,
                rules_of_text(&w, json_string_value(one), json_string_length(one)));
    }
    if (!good)
        rwf_fail(err, RWF_E_USAGE, "choice: a list of texts, none of them empty");
    return rules_close(&w, good);
}

/* <tool_call>\n{"name": "f", "arguments": {…}}\n</tool_call> */
static int call_rule(struct rules *w, const json_t *function, const char *name)
{
    const json_t *parameters = json_object_get(function, "parameters");
    json_t *text_name = json_string(name);
    char *quoted_name = json_dumps(text_name, JSON_ENCODE_ANY);
    char *at = rwf_xasprintf("of tool '%s'", name);
    struct grammar__seq s = {NULL, 0, 0};
    int r = -1;

    w->root = parameters;
    int arguments = parameters == NULL || json_object_size(parameters) == 0
                        ? w->object
                        : schema_rule(w, parameters, at);
    if (arguments >= 0) {
        r = grammar__rule(w->g);
        rules_text(w, &s, "<tool_call>\n{\"name\": ");
        rules_text(w, &s, quoted_name);
        rules_text(w, &s, ", \"arguments\": ");
        grammar__call(&s, arguments);
        rules_text(w, &s, "}\n</tool_call>");
        rules_end(w, r, &s);
    }
    json_decref(text_name);
    free(quoted_name);
    free(at);
    return r;
}

struct grammar *grammar_calls(const json_t *tools, const char *only, bool several,
                              struct rwf_err *err)
{
    struct rules w;
    json_t *tool;
    size_t i;
    bool good = true, any = false;
    struct grammar__seq s = {NULL, 0, 0};

    rules_open(&w, NULL, err);
    int call = grammar__rule(w.g), further = grammar__rule(w.g);
    json_array_foreach((json_t *)(uintptr_t)tools, i, tool) {
        const json_t *function = json_object_get(tool, "function");
        const char *name = json_string_value(json_object_get(function, "name"));
        if (!good || name == NULL || (only != NULL && strcmp(only, name) != 0))
            continue;
        rwf_map_destroy(w.refs, NULL); /* another root */
        w.refs = rwf_map_create();
        int r = call_rule(&w, function, name);
        good = r >= 0;
        any = true;
        if (good)
            rules_one_of(&w, call, r);
    }
    if (good && !any)
        rwf_fail(err, RWF_E_USAGE, "tool_choice: there is no tool '%s'",
                 only == NULL ? "" : only);
    rules_text(&w, &s, "\n");
    grammar__call(&s, call);
    rules_end(&w, further, &s);
    grammar__call(&s, call);
    if (several)
        grammar__call(&s, rules_repeated(&w, further, 0, -1));
    rules_end(&w, 0, &s);
    return rules_close(&w, good && any);
}
