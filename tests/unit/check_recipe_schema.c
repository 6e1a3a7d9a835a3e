/* SPDX-License-Identifier: Apache-2.0
 *
 * The schema's interpreter: what it finds, in which words, which types it gives, and
 * that no keyword of the schema is left without meaning.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "recipe/recipe.h"
#include "recipe/schema.h"
#include "recipe/schema_compile.h"
#include "recipe/sources.h"
#include "recipe/yaml.h"

static struct recipe__reader reader;
static struct recipe_node *root;

static void setup(void)
{
    reader = (struct recipe__reader){
        .arena = rwf_arena_create(),
        .sources = recipe__sources_create(),
        .diags = recipe_diags_create(),
    };
}

static void teardown(void)
{
    recipe_diags_destroy(reader.diags);
    recipe__sources_destroy(reader.sources);
    rwf_arena_destroy(reader.arena);
}

static void check_text(const char *text)
{
    uint32_t file = recipe__sources_add(reader.sources, "r.yaml", "/r.yaml",
                                        rwf_xstrdup(text), strlen(text));
    root = recipe__yaml_read(&reader, file);
    ck_assert_msg(root != NULL, "not YAML: %s", text);
    recipe_schema_check(root, reader.diags);
}

/* A task named t with these fields. */
static void check_task(const char *fields)
{
    char *text = rwf_xasprintf("recipe: raywf/v1\ntasks:\n  t: {%s}\n", fields);
    check_text(text);
    free(text);
}

static const struct {
    const char *fields, *code, *message, *hint;
} findings[] = {
    {"run: x, timout: 1s", "E0101", "unknown key 'timout' in tasks.t",
     "did you mean 'timeout'?"},
    {"run: x, <<: {}", "E0101", "unknown key '<<' in tasks.t",
     "merge keys are not part of YAML 1.2; use defaults:, include:, or an alias for a "
     "whole value"},
    {"run: x, max: 1", "E0107", "'max' does not belong in tasks.t",
     "'max' belongs in tasks.NAME.retry, tasks.NAME.gang.ranks or "
     "tasks.NAME.retry.backoff"},
    {"run: x, path: a", "E0107", "'path' does not belong in tasks.t",
     "'path' belongs in models.NAME, datasets.NAME.read or "
     "datasets.NAME.write"},
    {"run: x, retry: {maxx: 1}", "E0101", "unknown key 'maxx' in tasks.t.retry",
     "did you mean 'max'?"},
    {"run: x, retry: {timeout: 1s}", "E0107",
     "'timeout' does not belong in tasks.t.retry", "'timeout' belongs in tasks.NAME"},
    {"run: x, retry: '2'", "E0113",
     "tasks.t.retry must be a number, but quotes make it text",
     "write 2 without quotes"},
    {"run: x, retry: soon", "E0102", "tasks.t.retry must be a whole number, not text",
     NULL},
    {"run: x, retry: 1001", "E0105",
     "tasks.t.retry must be at least 0 and at most 1000, not 1001", NULL},
    {"run: x, cache: off", "E0114", "tasks.t.cache must be true or false, not 'off'",
     "write false, without quotes"},
    {"run: x, cache: 'True'", "E0114",
     "tasks.t.cache must be true or false, not quoted 'True'",
     "write true, without quotes"},
    {"run: x, timeout: 5", "E0111",
     "tasks.t.timeout must be a duration: '5' is not a duration: write a number and a "
     "unit such as 500ms, 30s, 10m or 1h30m",
     NULL},
    {"run: x, retry: {on: [exti]}", "E0104",
     "tasks.t.retry.on[0] must be one of exit, signal, timeout, node_lost, not 'exti'",
     "did you mean 'exit'?"},
    {"run: x, retry: {on: [exit, exit]}", "E0109",
     "tasks.t.retry.on holds 'exit' twice", "remove one of the two"},
    {"argv: []", "E0109", "tasks.t.argv must have at least 1 item, not 0", NULL},
    {"argv: x", "E0102", "tasks.t.argv must be a list, not text", NULL},
    {"argv: [[x]]", "E0102", "tasks.t.argv[0] must be text, not a list", NULL},
    {"run: ", "E0102", "tasks.t.run is empty, but must be text",
     "give it a value, or remove the key"},
    {"run: x, argv: [y]", "E0108",
     "tasks.t has 'run' and 'argv', which exclude each other",
     "keep exactly one of them"},
    {"help: x", "E0108", "tasks.t needs one of 'run', 'argv', 'native' or 'gang'",
     "add exactly one of them"},
    {"run: x, matrix: {a: [1]}, foreach: [1]", "E0108",
     "tasks.t cannot have both 'matrix' and 'foreach'", "keep one of them"},
    {"run: x, env: {1a: b}", "E0106",
     "tasks.t.env.1a is not a name that can stand here",
     "a variable's name has letters, digits and _, and does not start with a digit"},
    {"run: x, resources: {memory: lots}", "E0111",
     "tasks.t.resources.memory must be a size: 'lots' is not a size: write a number "
     "and a "
     "unit such as 512MiB, 4GiB or 10GB (whole bytes)",
     NULL},
};

START_TEST(finds)
{
    check_task(findings[_i].fields);
    ck_assert_msg(recipe_diags_count(reader.diags) == 1, "'%s' has %zu findings",
                  findings[_i].fields, recipe_diags_count(reader.diags));
    const struct recipe_diag *d = recipe_diags_at(reader.diags, 0);
    ck_assert_str_eq(recipe_code_info(d->code)->name, findings[_i].code);
    ck_assert_str_eq(d->message, findings[_i].message);
    ck_assert_pstr_eq(d->hint, findings[_i].hint);
    ck_assert_uint_eq(d->span.line, 3);
}
END_TEST

START_TEST(finds_everything_at_once)
{
    check_text(
        "name: A\ncluster: {}\ntasks:\n  a: {run: 1, x: 2}\n  b: {argv: [], y: 1}\n"
        "checks:\n  c: {op: '=', than: 1}\n");
    static const char *const codes[] = {"E0103", "E0106", "E0108", "E0101",
                                        "E0109", "E0101", "E0103", "E0104"};
    ck_assert_uint_eq(recipe_diags_count(reader.diags), RWF_COUNT(codes));
    for (size_t i = 0; i < RWF_COUNT(codes); i++) {
        const struct recipe_diag *d = recipe_diags_at(reader.diags, i);
        ck_assert_str_eq(recipe_code_info(d->code)->name, codes[i]);
    }
}
END_TEST

/* One branch is reported: the one of the node's own kind and keys. */
START_TEST(tells_one_story)
{
    check_text(
        "recipe: raywf/v1\ndatasets:\n  d:\n    read: {sql: x}\n    steps:\n"
        "      - select: {a: [x]}\n      - join: {with: x, on: [], how: outr}\n"
        "tasks:\n  t: {run: x, foreach: {glob: [x]}, retry: {backoff: {factr: 2}}}\n");
    static const char *const messages[] = {
        "datasets.d.steps[0].select.a must be text, not a list",
        "datasets.d.steps[1].join.on must have at least 1 item, not 0",
        "datasets.d.steps[1].join.how must be one of inner, left, right, full, semi, "
        "anti, "
        "not 'outr'",
        "tasks.t.foreach.glob must be text, not a list",
        "unknown key 'factr' in tasks.t.retry.backoff",
    };
    ck_assert_uint_eq(recipe_diags_count(reader.diags), RWF_COUNT(messages));
    for (size_t i = 0; i < RWF_COUNT(messages); i++)
        ck_assert_str_eq(recipe_diags_at(reader.diags, i)->message, messages[i]);
}
END_TEST

static const struct {
    const char *path;
    enum recipe_type type;
} given_types[] = {
    {"name", RECIPE_TEXT},
    {"params.a", RECIPE_ANY},
    {"params.b.default", RECIPE_ANY},
    {"env.V", RECIPE_TEXT},
    {"tasks.t.run", RECIPE_TEXT},
    {"tasks.t.timeout", RECIPE_DURATION},
    {"tasks.t.grace", RECIPE_DURATION},
    {"tasks.t.retry", RECIPE_INT},
    {"tasks.t.cache", RECIPE_BOOL},
    {"tasks.t.log_limit", RECIPE_SIZE},
    {"tasks.t.resources.cpu", RECIPE_NUMBER},
    {"tasks.t.resources.memory", RECIPE_SIZE},
    {"tasks.t.resources.custom.x", RECIPE_NUMBER},
    {"tasks.t.retry", RECIPE_INT},
    {"tasks.u.retry.max", RECIPE_INT},
    {"tasks.u.retry.backoff", RECIPE_DURATION},
    {"tasks.u.cache", RECIPE_BOOL},
    {"tasks.u.matrix.m", RECIPE_ANY},
    {"checks.c.value", RECIPE_TEXT},
    {"checks.c.than", RECIPE_ANY},
    {"datasets.d.split.train", RECIPE_NUMBER},
    {"datasets.d.split.seed", RECIPE_INT},
    {"datasets.d.expect.rows", RECIPE_INT},
    {"datasets.d.read.format", RECIPE_TEXT},
    {"x-free", RECIPE_UNTYPED},
};

START_TEST(gives_types)
{
    check_text(
        "recipe: raywf/v1\nname: n\nparams: {a: 1, b: {default: 2}}\n"
        "env: {V: 1}\nx-free: 1\ntasks:\n"
        "  t: {run: 5, timeout: 5s, grace: 0, retry: 1, cache: true, log_limit: 1B,\n"
        "      resources: {cpu: 1, memory: '${params.a}', custom: {x: 1}}}\n"
        "  u: {run: x, retry: {max: '${params.a}', backoff: '${params.a}'},\n"
        "      cache: '${params.a}', matrix: {m: '${params.a}'}}\n"
        "checks: {c: {value: 1, than: 2}}\n"
        "datasets: {d: {read: {path: a.csv, format: '${params.a}'},\n"
        "  split: {train: '${params.a}', seed: 1}, expect: {rows: '${params.a}'}}}\n");
    ck_assert_uint_eq(recipe_diags_count(reader.diags), 0);
    const struct recipe_node *node = recipe_at(root, given_types[_i].path);
    ck_assert_ptr_nonnull(node);
    ck_assert_int_eq(node->type, given_types[_i].type);
}
END_TEST

static const struct {
    const char *path, *value;
    int rc;
} values[] = {
    {"tasks.t.retry.max", "3", 0},
    {"tasks.t.retry.max", "abc", -1},
    {"tasks.t.retry.max", "-1", -1},
    {"tasks.t.retry.max", "1.5", -1},
    {"tasks.t.timeout", "10m", 0},
    {"tasks.t.timeout", "10", -1},
    {"tasks.t.timeout", "0", 0},
    {"tasks.t.cache", "true", 0},
    {"tasks.t.cache", "yes", -1},
    {"tasks.t.run", "", 0},
    {"tasks.t.run", "3", 0},
    {"tasks.t.resources.cpu", "0.5", 0},
    {"tasks.t.resources.cpu", "x", -1},
    {"datasets.d.read.format", "csv", 0},
    {"datasets.d.read.format", "xls", -1},
};

START_TEST(checks_resolved_values)
{
    struct rwf_err err = RWF_ERR_INIT;
    check_text(
        "recipe: raywf/v1\ntasks:\n"
        "  t: {run: '${params.a}', timeout: '${params.a}', cache: '${params.a}',\n"
        "      retry: {max: '${params.a}'}, resources: {cpu: '${params.a}'}}\n"
        "datasets: {d: {read: {path: a.csv, format: '${params.a}'}}}\n");
    ck_assert_uint_eq(recipe_diags_count(reader.diags), 0);
    const struct recipe_node *node = recipe_at(root, values[_i].path);
    ck_assert_msg(recipe_schema_value(node, values[_i].value, &err) == values[_i].rc,
                  "%s = '%s': %s", values[_i].path, values[_i].value, err.text);
    ck_assert_int_eq(err.text[0] != '\0', values[_i].rc != 0);
}
END_TEST

START_TEST(every_keyword_is_interpreted)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct schema_document *d = recipe__schema_compile((json_t *)recipe_schema(), &err);
    ck_assert_msg(d != NULL, "%s", err.text);
    recipe__schema_free(d);
}
END_TEST

static const char *const not_interpreted[] = {
    "{\"multipleOf\": 2}",
    "{\"properties\": {\"a\": {\"items\": {\"contains\": true}}}}",
    "{\"$defs\": {\"unused\": {\"format\": \"uri\"}}}",
    "{\"anyOf\": [{\"if\": {}}]}",
    "{\"not\": {\"type\": \"string\"}}",
    "{\"enum\": [1]}",
    "{\"const\": {}}",
    "{\"type\": \"text\"}",
    "{\"$ref\": \"#/$defs/nowhere\"}",
    "{\"$ref\": \"other.json\"}",
    "{\"pattern\": \"(\"}",
    "{\"x-unit\": \"metre\"}",
    "{\"anyOf\": [true], \"oneOf\": [true]}",
    "{\"items\": 3}",
};

START_TEST(an_unknown_keyword_is_an_error)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *json = json_loads(not_interpreted[_i], 0, NULL);
    ck_assert_ptr_nonnull(json);
    ck_assert_ptr_null(recipe__schema_compile(json, &err));
    ck_assert(err.text[0] != '\0');
    json_decref(json);
}
END_TEST

/* Each key is explained: a title or description, own or by reference. */
static void explained(const json_t *schema, const char *name)
{
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(schema, "properties"), key, value) {
        if (strcmp(name, "dataset") != 0) /* only adds a constraint to read */
            ck_assert_msg(json_object_get(value, "description") != NULL ||
                              json_object_get(value, "$ref") != NULL,
                          "%s.%s has no description", name, key);
        explained(value, key);
    }
    json_object_foreach(json_object_get(schema, "$defs"), key, value)
        explained(value, key);
}

START_TEST(every_key_is_explained)
{
    explained(recipe_schema(), "recipe");
    ck_assert_ptr_nonnull(strstr(recipe_schema_text(), "draft/2020-12"));
}
END_TEST

static const struct {
    const char *path, *title, *suggestion;
} fields[] = {
    {"tasks.*.retry.max", "retries", NULL},
    {"tasks.train.retry.max", "retries", NULL},
    {"tasks.*.timeout", "timeout", NULL},
    {"datasets.d.steps.0.join.how", "kind", NULL},
    {"datasets.*.steps.*.limit", "limit", NULL},
    {"notify.*.url", "address", NULL},
    {"profiles.ci.tasks.a.cache", "cache", NULL},
    {"", "raywf recipe", NULL},
    {"tasks.*.timout", NULL, "tasks.*.timeout"},
    {"taks", NULL, "tasks"},
    {"tasks.*.zzzzzz", NULL, "tasks.*"},
    {"qqqqqqq", NULL, NULL},
};

START_TEST(finds_fields)
{
    char *suggestion = NULL;
    const json_t *json = recipe_schema_at(fields[_i].path, &suggestion);
    ck_assert_pstr_eq(json_string_value(json_object_get(json, "title")),
                      fields[_i].title);
    ck_assert_pstr_eq(suggestion, fields[_i].suggestion);
    free(suggestion);
}
END_TEST

START_TEST(fields_include_what_they_refer_to)
{
    const json_t *json = recipe_schema_at("tasks.*.timeout", NULL);
    ck_assert_ptr_nonnull(json_object_get(json, "anyOf"));
    ck_assert_ptr_null(json_object_get(json, "$ref"));
    ck_assert_ptr_eq(json, recipe_schema_at("tasks.*.timeout", NULL));
}
END_TEST

/* A value that is wrong in the profile and in the merged recipe is one finding. */
START_TEST(profiles_say_it_once)
{
    check_text("recipe: raywf/v1\nx-t: &t {run: x, timout: 1s}\ntasks: {a: *t}\n"
               "profiles: {ci: {tasks: {a: *t}}}\n");
    ck_assert_uint_eq(recipe_diags_count(reader.diags), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recipe_schema");
    TCase *tc = tcase_create("schema");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, finds, 0, (int)RWF_COUNT(findings));
    tcase_add_test(tc, finds_everything_at_once);
    tcase_add_test(tc, tells_one_story);
    tcase_add_loop_test(tc, gives_types, 0, (int)RWF_COUNT(given_types));
    tcase_add_loop_test(tc, checks_resolved_values, 0, (int)RWF_COUNT(values));
    tcase_add_test(tc, every_keyword_is_interpreted);
    tcase_add_loop_test(tc, an_unknown_keyword_is_an_error, 0,
                        (int)RWF_COUNT(not_interpreted));
    tcase_add_test(tc, every_key_is_explained);
    tcase_add_loop_test(tc, finds_fields, 0, (int)RWF_COUNT(fields));
    tcase_add_test(tc, fields_include_what_they_refer_to);
    tcase_add_test(tc, profiles_say_it_once);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
