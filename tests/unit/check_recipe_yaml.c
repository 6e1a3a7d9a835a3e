/* SPDX-License-Identifier: Apache-2.0
 *
 * The YAML reader and the tree: places, limits, refusals, looks, diagnostics.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "recipe/recipe.h"
#include "recipe/sources.h"
#include "recipe/yaml.h"

static struct recipe__reader reader;
static struct recipe_node *root;

static struct recipe_node *read_bytes(const char *text, size_t len)
{
    char *copy = rwf_xmalloc(len + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    uint32_t file = recipe__sources_add(reader.sources, "r.yaml", "/r.yaml", copy, len);
    root = recipe__yaml_read(&reader, file);
    return root;
}

static struct recipe_node *read_text(const char *text)
{
    return read_bytes(text, strlen(text));
}

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

static const char *only_code(void)
{
    if (recipe_diags_count(reader.diags) != 1)
        return "not one diagnostic";
    return recipe_code_info(recipe_diags_at(reader.diags, 0)->code)->name;
}

static void expect_span(struct recipe_span s, uint32_t line, uint32_t col,
                        uint32_t end_line, uint32_t end_col)
{
    ck_assert_uint_eq(s.line, line);
    ck_assert_uint_eq(s.col, col);
    ck_assert_uint_eq(s.end_line, end_line);
    ck_assert_uint_eq(s.end_col, end_col);
}

START_TEST(places_of_all_kinds)
{
    read_text("a: one\nb:\n  - x\n  - 'y z'\nc: {d: 1, e: [2]}\nf: |\n  text\n  "
              "more\n\ng:\n");
    ck_assert_ptr_nonnull(root);
    expect_span(recipe_pair_get(root, "a")->key_span, 1, 1, 1, 2);
    expect_span(recipe_get(root, "a")->span, 1, 4, 1, 7);
    expect_span(recipe_get(root, "b")->span, 3, 3, 4, 10);
    expect_span(recipe_get(root, "b")->items[1]->span, 4, 5, 4, 10);
    expect_span(recipe_get(root, "c")->span, 5, 4, 5, 18);
    expect_span(recipe_at(root, "c.e")->items[0]->span, 5, 15, 5, 16);
    expect_span(recipe_get(root, "f")->span, 6, 4, 8, 7);
    expect_span(recipe_get(root, "g")->span, 10, 3, 10, 3);
    ck_assert(recipe_get(root, "g")->null);
    ck_assert_str_eq(recipe_get(root, "f")->text, "text\nmore\n");
}
END_TEST

START_TEST(columns_count_bytes)
{
    read_text("\"\xc3\xbc\": \xe6\x97\xa5\xe6\x9c\xac # \xf0\x9f\x8e\x89\nb: "
              "{\xc3\xa9: x}\n");
    ck_assert_ptr_nonnull(root);
    expect_span(root->pairs[0].key_span, 1, 1, 1, 5);
    expect_span(root->pairs[0].value->span, 1, 7, 1, 13);
    expect_span(recipe_at(root, "b.\xc3\xa9")->span, 2, 9, 2, 10);
}
END_TEST

/* More characters than one stride of the table, and exactly a multiple of it. */
START_TEST(places_in_long_text)
{
    struct rwf_str text = {0};
    for (int i = 0; i < _i; i++)
        rwf_str_add(&text, "# \xc3\xa4\xe6\x97\xa5\n");
    rwf_str_add(&text, "k: \xc3\xa4z\n");
    read_bytes(text.data, text.len);
    ck_assert_ptr_nonnull(root);
    expect_span(recipe_get(root, "k")->span, (uint32_t)_i + 1, 4, (uint32_t)_i + 1, 7);
    rwf_str_free(&text);
}
END_TEST

START_TEST(line_ends_of_all_kinds)
{
    read_text("a: 1\r\nb: 2\rc: 3\n");
    ck_assert_ptr_nonnull(root);
    ck_assert_uint_eq(recipe_get(root, "b")->span.line, 2);
    ck_assert_uint_eq(recipe_get(root, "c")->span.line, 3);
    ck_assert_uint_eq(recipe_get(root, "c")->span.col, 4);
}
END_TEST

static const struct {
    const char *text, *code;
    uint32_t line, col;
} refused[] = {
    {"a: [1\nb: 2\n", "E0001", 2, 2},
    {"a: \"x\n", "E0001", 2, 1},
    {"a: b: c\n", "E0001", 1, 5},
    {"a: *x\n", "E0001", 1, 4},
    {"a: @x\n", "E0001", 1, 4},
    {" a: 1\nb: 2\n", "E0001", 2, 1},
    {"a:\n\tb: 1\n", "E0007", 2, 1},
    {"a:\n  b: 1\n \tc: 2\n", "E0007", 3, 2},
    {"a: \xff\n", "E0002", 1, 4},
    {"a: 1\nb: \xc3\n", "E0002", 2, 4},
    {"a: \xed\xa0\x80\n", "E0002", 1, 4},
    {"a: \"\\0\"\n", "E0002", 1, 4},
    {"a: \x01\n", "E0001", 1, 4},
    {"a: \x7f\n", "E0001", 1, 4},
    {"a: &x {b: *x}\n", "E0004", 1, 11},
    {"a: &x [*x]\n", "E0004", 1, 8},
    {"a: !!int 3\n", "E0005", 1, 4},
    {"a: !x\n", "E0005", 1, 4},
    {"--- 1\n--- 2\n", "E0005", 2, 1},
    {"a: 1\n...\n%YAML 1.2\n---\nb: 1\n", "E0005", 3, 1},
    {"%TAG ! tag:x,2000:\n---\na: 1\n", "E0005", 1, 1},
    {"{a: 1}: 2\n", "E0005", 1, 1},
    {"[a]: 2\n", "E0005", 1, 1},
    {"? - a\n: 1\n", "E0005", 1, 3},
    {"x: &k y\n*k : 1\n", "E0005", 2, 1},
    {"a: 1\nb: 2\na: 3\n", "E0006", 3, 1},
    {"{a: 1, \"a\": 2}\n", "E0006", 1, 8},
};

START_TEST(refuses)
{
    read_text(refused[_i].text);
    ck_assert_msg(strcmp(only_code(), refused[_i].code) == 0, "'%s': %s, not %s",
                  refused[_i].text, only_code(), refused[_i].code);
    struct recipe_span s = recipe_diags_at(reader.diags, 0)->span;
    ck_assert_msg(s.line == refused[_i].line && s.col == refused[_i].col,
                  "'%s' at %u:%u", refused[_i].text, s.line, s.col);
    ck_assert_ptr_nonnull(recipe_diags_at(reader.diags, 0)->message);
}
END_TEST

START_TEST(nul_byte_in_text)
{
    read_bytes("a: b\0c\n", 7);
    ck_assert_str_eq(only_code(), "E0002");
    ck_assert_uint_eq(recipe_diags_at(reader.diags, 0)->span.col, 5);
}
END_TEST

START_TEST(duplicate_names_both_lines)
{
    read_text("a: 1\nb: 2\na: {c: 3}\n");
    const struct recipe_diag *d = recipe_diags_at(reader.diags, 0);
    ck_assert_uint_eq(d->span.line, 3);
    ck_assert_uint_eq(d->related.line, 1);
    ck_assert_ptr_nonnull(strstr(d->message, "line 1"));
    ck_assert_uint_eq(root->count, 2);
    ck_assert_str_eq(recipe_get(root, "a")->text, "1");
}
END_TEST

START_TEST(all_duplicates_at_once)
{
    struct rwf_str text = {0};
    for (int i = 0; i < 2000; i++)
        rwf_str_addf(&text, "key%d: x\n", i);
    rwf_str_add(&text, "key0: y\nkey1999: y\n");
    read_bytes(text.data, text.len);
    ck_assert_uint_eq(recipe_diags_errors(reader.diags), 2);
    ck_assert_uint_eq(root->count, 2000);
    for (int i = 0; i < 2000; i += 37) {
        char key[16];
        snprintf(key, sizeof(key), "key%d", i);
        ck_assert_uint_eq(recipe_pair_get(root, key)->key_span.line, (unsigned)i + 1);
    }
    ck_assert_ptr_null(recipe_get(root, "key2000"));
    rwf_str_free(&text);
}
END_TEST

static char *nested(int depth)
{
    struct rwf_str text = {0};
    for (int i = 0; i < depth; i++)
        rwf_str_addc(&text, '[');
    for (int i = 0; i < depth; i++)
        rwf_str_addc(&text, ']');
    return rwf_str_take(&text);
}

START_TEST(depth_is_limited)
{
    char *fits = nested(64), *deep = nested(65), *abyss = nested(500000);
    ck_assert_ptr_nonnull(read_text(fits));
    ck_assert_uint_eq(recipe_diags_count(reader.diags), 0);
    ck_assert_ptr_null(read_text(deep));
    ck_assert_str_eq(only_code(), "E0003");
    ck_assert_ptr_null(read_text(abyss));
    free(fits);
    free(deep);
    free(abyss);
}
END_TEST

START_TEST(aliases_count_for_the_depth)
{
    struct rwf_str text = {0};
    rwf_str_add(&text, "- &a ");
    char *half = nested(40);
    rwf_str_add(&text, half);
    rwf_str_add(&text, "\n- ");
    for (int i = 0; i < 40; i++)
        rwf_str_addc(&text, '[');
    rwf_str_add(&text, "*a");
    ck_assert_ptr_null(read_bytes(text.data, text.len));
    ck_assert_str_eq(only_code(), "E0003");
    free(half);
    rwf_str_free(&text);
}
END_TEST

START_TEST(nodes_are_limited)
{
    struct rwf_str text = {0};
    rwf_str_add(&text, "[");
    for (int i = 0; i < 100001; i++)
        rwf_str_add(&text, "1,");
    rwf_str_add(&text, "]");
    ck_assert_ptr_null(read_bytes(text.data, text.len));
    ck_assert_str_eq(only_code(), "E0003");
    rwf_str_free(&text);
}
END_TEST

START_TEST(alias_bomb)
{
    struct rwf_str text = {0};
    rwf_str_add(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 40; i++) {
        rwf_str_addf(&text, "a%d: &a%d [", i, i);
        for (int n = 0; n < 10; n++)
            rwf_str_addf(&text, "*a%d, ", i - 1);
        rwf_str_add(&text, "]\n");
    }
    ck_assert_ptr_null(read_bytes(text.data, text.len));
    ck_assert_str_eq(only_code(), "E0004");
    ck_assert_uint_lt(rwf_arena_bytes(reader.arena), 64 * 1024 * 1024);
    rwf_str_free(&text);
}
END_TEST

START_TEST(aliases_are_copies)
{
    read_text("a: &x {k: [1]}\nb: *x\nc: &x 2\nd: *x\n");
    ck_assert_uint_eq(recipe_diags_count(reader.diags), 0);
    ck_assert_ptr_ne(recipe_get(root, "a"), recipe_get(root, "b"));
    ck_assert_str_eq(recipe_at(root, "b.k")->items[0]->text, "1");
    ck_assert_uint_eq(recipe_at(root, "b.k")->span.line, 1);
    ck_assert_str_eq(recipe_get(root, "d")->text, "2");
}
END_TEST

START_TEST(empty_text_is_an_empty_map)
{
    static const char *const texts[] = {"", "\n", "# x\n", "---\n", "---\n...\n"};
    read_text(texts[_i]);
    ck_assert_ptr_nonnull(root);
    ck_assert_uint_eq(recipe_diags_count(reader.diags), 0);
    ck_assert(root->kind == RECIPE_MAP && root->count == 0);
}
END_TEST

START_TEST(merge_key_is_a_key)
{
    read_text("a: &x {k: 1}\nb: {<<: *x}\n");
    ck_assert_ptr_nonnull(recipe_at(root, "b.<<"));
    ck_assert_ptr_null(recipe_at(root, "b.k"));
}
END_TEST

static const struct {
    const char *text;
    int is_int, is_number;
    double value;
} looks[] = {
    {"0", 1, 1, 0},
    {"-17", 1, 1, -17},
    {"+5", 1, 1, 5},
    {"010", 1, 1, 10},
    {"0o17", 1, 1, 15},
    {"0xfF", 1, 1, 255},
    {"1e-4", 0, 1, 1e-4},
    {".5", 0, 1, 0.5},
    {"5.", 0, 1, 5},
    {"-1.5E+3", 0, 1, -1500},
    {"", 0, 0, 0},
    {"-", 0, 0, 0},
    {".", 0, 0, 0},
    {"1_000", 0, 0, 0},
    {"0x", 0, 0, 0},
    {"1e", 0, 0, 0},
    {"-0x1", 0, 0, 0},
    {"12:30", 0, 0, 0},
    {" 1", 0, 0, 0},
    {"1 ", 0, 0, 0},
    {"inf", 0, 0, 0},
    {"9223372036854775807", 1, 1, 9223372036854775807.0},
    {"9223372036854775808", 0, 1, 9223372036854775808.0},
};

START_TEST(looks_of_numbers)
{
    int64_t whole = 0;
    double value = 0;
    ck_assert_int_eq(recipe_looks_int(looks[_i].text, &whole), looks[_i].is_int);
    ck_assert_int_eq(recipe_looks_number(looks[_i].text, &value), looks[_i].is_number);
    ck_assert(value == looks[_i].value);
    if (looks[_i].is_int)
        ck_assert(looks[_i].value > 9e18 ? whole == INT64_MAX
                                         : whole == (int64_t)looks[_i].value);
}
END_TEST

START_TEST(looks_of_the_rest)
{
    double value = 0;
    bool yes = true;
    ck_assert(recipe_looks_number("-.inf", &value) && value == -INFINITY);
    ck_assert(recipe_looks_number(".NaN", &value) && isnan(value));
    ck_assert(recipe_looks_bool("false", &yes) && !yes);
    ck_assert(!recipe_looks_bool("True", NULL));
    ck_assert(!recipe_looks_bool("yes", NULL));
}
END_TEST

START_TEST(json_of_a_tree)
{
    read_text(
        "{a: 1, b: [true, '1', x, 1.5, ~, 99999999999999999999999, .inf], c: {}}");
    json_t *json = recipe_to_json(root);
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15));
    ck_assert_str_eq(text, "{\"a\":1,\"b\":[true,\"1\",\"x\",1.5,null,1e23,\".inf\"],"
                           "\"c\":{}}");
    free(text);
    json_decref(json);
}
END_TEST

static char *printed(bool color)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    recipe_diags_print(reader.diags, reader.sources, out, color);
    fclose(out);
    return text;
}

START_TEST(prints_like_a_compiler)
{
    read_text("a: 1\n\"\xe6\x97\xa5\":\t\xc3\xbc # x\na: 2\n");
    recipe_diag_hint(recipe_diag_add(reader.diags, RECIPE_E0102,
                                     recipe_get(root, "\xe6\x97\xa5")->span, "odd %s",
                                     "value\x1b[1m"),
                     "do it");
    char *text = printed(false);
    ck_assert_str_eq(text,
                     "r.yaml:2:8: error[E0102]: odd value\\x1b[1m\n"
                     "    2 | \"\xe6\x97\xa5\":\t\xc3\xbc # x\n"
                     "      |      \t^\n"
                     "      = help: do it\n"
                     "r.yaml:3:1: error[E0006]: key 'a' is already set on line 1\n"
                     "    3 | a: 2\n"
                     "      | ^\n"
                     "      = help: remove one of the two\n"
                     "      = r.yaml:1:1: first set here\n"
                     "2 errors\n");
    free(text);
    text = printed(true);
    ck_assert_ptr_nonnull(strstr(text, "\033[1;31merror[E0102]:"));
    free(text);
}
END_TEST

START_TEST(long_lines_are_cut)
{
    struct rwf_str text = {0};
    rwf_str_add(&text, "a: \"");
    for (int i = 0; i < 5000; i++)
        rwf_str_add(&text, "\xc3\xa4");
    rwf_str_add(&text, "\" b: 1\n");
    read_bytes(text.data, text.len);
    char *out = printed(false);
    ck_assert_uint_lt(strlen(out), 1000);
    ck_assert(rwf_utf8_valid(out, strlen(out)));
    ck_assert_ptr_nonnull(strstr(out, "..."));
    free(out);
    rwf_str_free(&text);
}
END_TEST

START_TEST(diags_are_sorted_counted_and_kept_once)
{
    struct recipe_span span = {0, 1, 1, 1, 2};
    for (uint32_t i = 300; i > 0; i--) {
        span.line = i;
        recipe_diag_add(reader.diags, RECIPE_E0101, span, "x");
        recipe_diag_add(reader.diags, RECIPE_E0101, span, "x");
    }
    ck_assert_uint_eq(recipe_diags_count(reader.diags), 200);
    ck_assert_uint_eq(recipe_diags_errors(reader.diags), 300);
    for (size_t i = 1; i < 200; i++)
        ck_assert_uint_lt(recipe_diags_at(reader.diags, i - 1)->span.line,
                          recipe_diags_at(reader.diags, i)->span.line);
    char *text = printed(false);
    ck_assert_ptr_nonnull(strstr(text, "not shown"));
    free(text);
}
END_TEST

START_TEST(exit_codes_of_diags)
{
    struct recipe_span span = {0, 1, 1, 1, 2};
    ck_assert_int_eq(recipe_diags_exit_code(reader.diags), 0);
    recipe_diag_add(reader.diags, RECIPE_E0401, span, "x");
    recipe_diag_add(reader.diags, RECIPE_E0403, span, "x");
    ck_assert_int_eq(recipe_diags_exit_code(reader.diags), 6);
    recipe_diag_add(reader.diags, RECIPE_E0101, span, "x");
    ck_assert_int_eq(recipe_diags_exit_code(reader.diags), 3);
}
END_TEST

START_TEST(codes_by_name)
{
    ck_assert_str_eq(recipe_code_find("e0101")->name, "E0101");
    ck_assert_ptr_null(recipe_code_find("E9999"));
    for (int i = 0; i < RECIPE_CODE_COUNT; i++) {
        const struct recipe_code_info *info = recipe_code_info((enum recipe_code)i);
        ck_assert_ptr_eq(recipe_code_find(info->name), info);
        ck_assert_uint_gt(strlen(info->help), 40);
        ck_assert(info->name[0] == (info->severity == RECIPE_ERROR ? 'E' : 'W'));
    }
}
END_TEST

START_TEST(diags_as_json)
{
    read_text("a: 1\na: 2\n");
    recipe_diag_fix((struct recipe_diag *)recipe_diags_at(reader.diags, 0), "b");
    json_t *json = recipe_diags_json(reader.diags, reader.sources);
    const char *code, *file, *fix;
    int line, related;
    ck_assert_int_eq(json_unpack(json, "[{s:s, s:s, s:i, s:s, s:{s:i}}]", "code", &code,
                                 "file", &file, "line", &line, "fix", &fix, "related",
                                 "line", &related),
                     0);
    ck_assert_str_eq(code, "E0006");
    ck_assert_str_eq(file, "r.yaml");
    ck_assert_str_eq(fix, "b");
    ck_assert_int_eq(line, 2);
    ck_assert_int_eq(related, 1);
    json_decref(json);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recipe_yaml");
    TCase *tc = tcase_create("yaml");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, places_of_all_kinds);
    tcase_add_test(tc, columns_count_bytes);
    tcase_add_loop_test(tc, places_in_long_text, 0, 70);
    tcase_add_test(tc, line_ends_of_all_kinds);
    tcase_add_loop_test(tc, refuses, 0, (int)RWF_COUNT(refused));
    tcase_add_test(tc, nul_byte_in_text);
    tcase_add_test(tc, duplicate_names_both_lines);
    tcase_add_test(tc, all_duplicates_at_once);
    tcase_add_test(tc, depth_is_limited);
    tcase_add_test(tc, aliases_count_for_the_depth);
    tcase_add_test(tc, nodes_are_limited);
    tcase_add_test(tc, alias_bomb);
    tcase_add_test(tc, aliases_are_copies);
    tcase_add_loop_test(tc, empty_text_is_an_empty_map, 0, 5);
    tcase_add_test(tc, merge_key_is_a_key);
    tcase_add_loop_test(tc, looks_of_numbers, 0, (int)RWF_COUNT(looks));
    tcase_add_test(tc, looks_of_the_rest);
    tcase_add_test(tc, json_of_a_tree);
    tcase_add_test(tc, prints_like_a_compiler);
    tcase_add_test(tc, long_lines_are_cut);
    tcase_add_test(tc, diags_are_sorted_counted_and_kept_once);
    tcase_add_test(tc, exit_codes_of_diags);
    tcase_add_test(tc, codes_by_name);
    tcase_add_test(tc, diags_as_json);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
