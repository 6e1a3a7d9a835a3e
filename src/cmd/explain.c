/* SPDX-License-Identifier: Apache-2.0
 *
 * A key of the recipe, a diagnostic code or an exit code, in words.
 */
#include "config.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/suggest.h"
#include "cmd/cmd.h"
#include "recipe/diag.h"
#include "recipe/schema.h"
#include "view/style.h"

#define REF_DEPTH 16

/* Follows a local $ref: {"$ref":"#/$defs/expr"}; s itself when it has none. */
static const json_t *deref_once(const json_t *s)
{
    const char *ref = json_string_value(json_object_get(s, "$ref"));
    return ref && strncmp(ref, "#/$defs/", 8) == 0
               ? json_object_get(json_object_get(recipe_schema(), "$defs"), ref + 8)
               : s;
}

static const json_t *deref(const json_t *s)
{
    for (int i = 0; i < REF_DEPTH && json_object_get(s, "$ref"); i++)
        s = deref_once(s);
    return s;
}

/* Every field takes a ${reference}, and null means absent: neither is worth a word. */
static bool is_expr(const json_t *s)
{
    const char *ref = json_string_value(json_object_get(s, "$ref"));
    const char *type = json_string_value(json_object_get(s, "type"));

    return (ref && strcmp(ref, "#/$defs/reference") == 0) ||
           (type && strcmp(type, "null") == 0);
}

static void add_word(struct rwf_str *out, const char *word, const char *between)
{
    if (out->len)
        rwf_str_add(out, between);
    rwf_str_add(out, word);
}

static void type_words(const json_t *schema, struct rwf_str *out);

static void alternatives(const json_t *list, struct rwf_str *out)
{
    const json_t *one;
    size_t i;

    json_array_foreach((json_t *)list, i, one) {
        struct rwf_str words = {0};
        if (is_expr(one))
            continue;
        type_words(one, &words);
        if (words.len && !(out->data && strstr(out->data, words.data)))
            add_word(out, words.data, " or ");
        rwf_str_free(&words);
    }
}

static void enum_words(const json_t *values, struct rwf_str *out)
{
    const json_t *one;
    size_t i;

    json_array_foreach((json_t *)values, i, one) {
        char *text = json_is_string(one) ? rwf_xstrdup(json_string_value(one))
                                         : json_dumps(one, JSON_ENCODE_ANY);
        add_word(out, text, i == 0 ? " " : " | ");
        free(text);
    }
}

static const char *type_word(const char *type)
{
    static const struct {
        const char *json, *ours;
    } names[] = {{"string", "text"},
                 {"object", "map"},
                 {"array", "list"},
                 {"integer", "whole number"}};

    for (size_t i = 0; i < RWF_COUNT(names); i++)
        if (strcmp(names[i].json, type) == 0)
            return names[i].ours;
    return type;
}

/* "duration", "whole number", "text or list", "a | b". */
static void type_words(const json_t *schema, struct rwf_str *out)
{
    const json_t *s = deref(schema), *type = json_object_get(s, "type"), *one;
    const char *unit = json_string_value(json_object_get(s, "x-unit"));
    size_t i;

    if (unit) {
        add_word(out, unit, " or ");
    } else if (json_object_get(s, "enum")) {
        enum_words(json_object_get(s, "enum"), out);
    } else if (json_object_get(s, "const")) {
        add_word(out, json_string_value(json_object_get(s, "const")), " or ");
    } else if (json_is_string(type)) {
        add_word(out, type_word(json_string_value(type)), " or ");
    } else if (json_is_array(type)) {
        json_array_foreach((json_t *)type, i, one)
            if (strcmp(json_string_value(one), "null") != 0)
                add_word(out, type_word(json_string_value(one)),
                         i == 0 ? " or " : ", ");
    }
    if (!type) {
        alternatives(json_object_get(s, "anyOf"), out);
        alternatives(json_object_get(s, "oneOf"), out);
    }
}

/* The nearest of a keyword in the schema itself, behind its $refs one by one, and in
 * its branches. */
static const json_t *keyword(const json_t *schema, const char *name)
{
    static const char *const branches[] = {"anyOf", "oneOf"};
    const json_t *found = json_object_get(schema, name), *one;
    size_t k;

    if (found || !schema || is_expr(schema))
        return found;
    const json_t *s = schema;
    for (int i = 0; !found && i < REF_DEPTH && json_object_get(s, "$ref"); i++) {
        s = deref_once(s);
        found = json_object_get(s, name);
    }
    for (size_t i = 0; !found && i < RWF_COUNT(branches); i++)
        json_array_foreach(json_object_get(s, branches[i]), k, one)
            if (!found && !is_expr(one))
                found = keyword(one, name);
    return found;
}

static bool lists(const json_t *required, const char *key)
{
    const json_t *one;
    size_t i;

    json_array_foreach((json_t *)required, i, one)
        if (strcmp(json_string_value(one), key) == 0)
            return true;
    return false;
}

static bool requires(const json_t *schema, const char *key);

/* Each of the alternatives that is a map asks for the key. */
static bool all_require(const json_t *alternatives, const char *key)
{
    bool some = false;
    const json_t *one;
    size_t i;

    json_array_foreach((json_t *)alternatives, i, one) {
        if (is_expr(one) || (!keyword(one, "properties") && !keyword(one, "required")))
            continue;
        if (!requires(one, key))
            return false;
        some = true;
    }
    return some;
}

static bool requires(const json_t *schema, const char *key)
{
    const json_t *s = deref(schema);

    return lists(json_object_get(schema, "required"), key) ||
           lists(json_object_get(s, "required"), key) ||
           all_require(json_object_get(s, "anyOf"), key) ||
           all_require(json_object_get(s, "oneOf"), key);
}

/* The keys of a map, in whichever of its alternative forms. */
static void add_keys(const json_t *schema, json_t *to)
{
    const json_t *s = deref(schema), *one;
    size_t i;

    json_object_update_missing(to, json_object_get(s, "properties"));
    json_array_foreach(json_object_get(s, "anyOf"), i, one)
        if (!is_expr(one))
            add_keys(one, to);
    json_array_foreach(json_object_get(s, "oneOf"), i, one)
        if (!is_expr(one))
            add_keys(one, to);
}

static void print_keys(const json_t *schema, bool color)
{
    json_t *keys = json_object(), *value;
    const char *key, *title = "Keys";

    add_keys(schema, keys);
    if (json_object_size(keys) == 0) {
        /* A map of named things: what each of them takes. */
        schema = keyword(schema, "additionalProperties");
        add_keys(schema, keys);
        title = "Keys of each";
    }
    if (json_object_size(keys) == 0) {
        json_decref(keys);
        return;
    }
    printf("\n%s%s%s\n", view_on(color, VIEW_BOLD), title, view_off(color));
    json_object_foreach(keys, key, value) {
        struct rwf_str words = {0};
        type_words(value, &words);
        const char *help = json_string_value(keyword(value, "description"));
        printf("  %s%-14s%s ", view_on(color, VIEW_NAME), key, view_off(color));
        if (requires(schema, key))
            rwf_str_add(&words, ", required");
        printf("%s%s%s\n", view_on(color, VIEW_DIM), words.data ? words.data : "",
               view_off(color));
        if (help) {
            fputs("                 ", stdout);
            cmd_wrap(stdout, help, 17, 88);
        }
        rwf_str_free(&words);
    }
    json_decref(keys);
}

static void print_fact(const char *name, const json_t *value)
{
    if (!value)
        return;
    char *text = json_is_string(value) ? rwf_xstrdup(json_string_value(value))
                                       : json_dumps(value, JSON_ENCODE_ANY);
    printf("%-10s %s\n", name, text);
    free(text);
}

static void explain_key(struct cmd_call *call, const char *path, const json_t *schema)
{
    struct rwf_str words = {0};
    const json_t *help = keyword(schema, "description"), *examples, *one;
    size_t i;

    type_words(schema, &words);
    printf("%s%s%s\n", view_on(call->color, VIEW_NAME), path, view_off(call->color));
    if (help) {
        cmd_wrap(stdout, json_string_value(help), 0, 88);
        putchar('\n');
    }
    printf("%-10s %s\n", "type", words.data ? words.data : "any");
    print_fact("default", keyword(schema, "default"));
    print_fact("at least", keyword(schema, "minimum"));
    print_fact("at most", keyword(schema, "maximum"));
    if (!keyword(schema, "x-unit"))
        print_fact("form", keyword(schema, "pattern"));
    print_fact("since", keyword(schema, "x-since"));
    examples = keyword(schema, "examples");
    json_array_foreach((json_t *)examples, i, one)
        print_fact(i == 0 ? "example" : "", one);
    print_keys(schema, call->color);
    rwf_str_free(&words);
}

static void explain_code(struct cmd_call *call, const struct recipe_code_info *info)
{
    const char *severity = info->severity == RECIPE_ERROR ? "error" : "warning";

    if (call->json) {
        call->data = json_pack("{s:s, s:s, s:s, s:s}", "code", info->name, "severity",
                               severity, "title", info->title, "help", info->help);
        return;
    }
    printf("%s%s%s (%s): %s\n\n", view_on(call->color, VIEW_NAME), info->name,
           view_off(call->color), severity, info->title);
    cmd_wrap(stdout, info->help, 0, 88);
}

static bool all_digits(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text);
}

static void explain_exit(struct cmd_call *call, int code, const char *help)
{
    if (call->json)
        call->data = json_pack("{s:i, s:s}", "exit_code", code, "help", help);
    else
        printf("exit code %d: %s\n", code, help);
}

static int explain_run(struct cmd_call *call, struct rwf_err *err)
{
    const char *topic = call->operands[0];
    const struct recipe_code_info *info = recipe_code_find(topic);
    char *near = NULL;

    if (strcmp(topic, "exit-codes") == 0) {
        call->operands[0] = "exit-codes";
        return cmd_find("help")->run(call, err);
    }
    if (info) {
        explain_code(call, info);
        return 0;
    }
    const char *help = all_digits(topic) ? rwf_exit_help(atoi(topic)) : NULL;
    if (help || strcmp(topic, "0") == 0) {
        explain_exit(call, atoi(topic), help ? help : "success");
        return 0;
    }
    const json_t *schema = recipe_schema_at(topic, &near);
    if (!schema) {
        rwf_fail(
            err, RWF_E_USAGE,
            "\"%s\" is no key of a recipe, no diagnostic code and no exit code%s%s%s",
            topic,
            near ? ", did you mean " : "; keys are listed by raywf explain tasks",
            near ? near : "", near ? "?" : "");
        free(near);
        return -1;
    }
    if (call->json)
        call->data = json_pack("{s:s, s:O}", "path", topic, "schema", schema);
    else
        explain_key(call, topic, schema);
    return 0;
}

const struct cmd cmd_explain = {
    .name = "explain",
    .group = CMD_WRITE,
    .summary =
        "explain a key of the recipe, a diagnostic such as E0101, or an exit code",
    .examples = "raywf explain tasks.*.retry\nraywf explain E0202\n"
                "raywf explain exit-codes",
    .exits = "0 2",
    .operands = {{"TOPIC", CMD_TEXT, 1, 1}},
    .run = explain_run,
};
