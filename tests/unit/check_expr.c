/* SPDX-License-Identifier: Apache-2.0
 * Templates and conditions: what parses, what it gives, and what it says when it does
 * not. */
#include "config.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/mem.h"
#include "base/str.h"
#include "recipe/expr.h"

static struct rwf_arena *arena;

static void setup(void)
{
    arena = rwf_arena_create();
}

static void teardown(void)
{
    rwf_arena_destroy(arena);
}

/* A scope of a few names. */
static int look(void *ctx, struct rwf_arena *a, const struct expr_ref *ref,
                struct expr_value *ret, struct rwf_err *err)
{
    static struct expr_value files[] = {{.type = EXPR_STRING, .text = "a b"},
                                        {.type = EXPR_STRING, .text = "c'd"},
                                        {.type = EXPR_STRING, .text = "plain"}};
    static const struct {
        const char *name;
        struct expr_value value;
    } names[] = {
        {"n", {.type = EXPR_INT, .text = "3"}},
        {"big", {.type = EXPR_INT, .text = "9007199254740993"}},
        {"f", {.type = EXPR_FLOAT, .text = "0.5"}},
        {"s", {.type = EXPR_STRING, .text = "linux"}},
        {"yes", {.type = EXPR_BOOL, .text = "true"}},
        {"no", {.type = EXPR_BOOL, .text = "false"}},
        {"list", {.type = EXPR_LIST, .items = files, .count = 3}},
        {"key", {.type = EXPR_SECRET, .text = "hush"}},
        {"later", {.type = EXPR_PENDING, .text = "<later>"}},
    };

    (void)ctx;
    (void)a;
    for (size_t i = 0; i < RWF_COUNT(names); i++)
        if (strcmp(names[i].name, ref->text) == 0) {
            *ret = names[i].value;
            return 0;
        }
    if (ref->fallback) {
        *ret = (struct expr_value){.type = EXPR_STRING, .text = ref->fallback};
        return 0;
    }
    return rwf_fail(err, RWF_E_RECIPE, "unknown %s", ref->text);
}

static const struct expr_scope scope = {NULL, look};

static const struct {
    const char *text, *want;
} templates[] = {
    {"", ""},
    {"plain", "plain"},
    {"$", "$"},
    {"$$", "$$"},
    {"$x ${s}", "$x linux"},
    {"${s}", "linux"},
    {"a${s}b${n}c", "alinuxb3c"},
    {"${ s }", "linux"},
    {"${\n s\t}", "linux"},
    {"$${s}", "${s}"},
    {"$$${s}", "$${s}"},
    {"${s}$${", "linux${"},
    {"${nope ?? \"d\"}", "d"},
    {"${nope ?? 'it''s'}", NULL},
    {"${nope ?? \"a \\\"q\\\" }\"}", "a \"q\" }"},
    {"${nope?"
     "?''}x",
     "x"},
    {"in ${list} out", "in 'a b' 'c'\\''d' plain out"},
    {"${s", NULL},
    {"${", NULL},
    {"${}", NULL},
    {"${s s}", NULL},
    {"${s ?? d}", NULL},
    {"${s ?? \"d}", NULL},
    {"${s ?? \"d\\", NULL},
    {"${1}", NULL},
    {"${s.}", NULL},
    {"${s[x]}", NULL},
    {"${s[]}", NULL},
    {"${s[12345678901]}", NULL},
    {"${s[1}", NULL},
    {"${HOME:-x}", NULL},
    {"${a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q}", NULL},
    {"${s+1}", NULL},
};

START_TEST(test_template)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct expr_value v = {.type = EXPR_STRING};
    const char *want = templates[_i].want;
    struct expr_template *t = expr_template_parse(arena, templates[_i].text, &err);

    if (!want) {
        ck_assert_msg(t == NULL, "parsed: %s", templates[_i].text);
        ck_assert_int_eq(err.code, RWF_E_RECIPE);
        ck_assert_msg(strstr(err.text, "column ") == err.text, "%s", err.text);
        return;
    }
    ck_assert_msg(t != NULL, "%s: %s", templates[_i].text, err.text);
    ck_assert_int_eq(expr_template_eval(t, &scope, arena, &v, &err), 0);
    ck_assert_str_eq(v.text, want);
}
END_TEST

START_TEST(test_parts)
{
    struct expr_template *t =
        expr_template_parse(arena, "x ${tasks.a-b.outputs.c_d[2] ?? \"q\"} y", NULL);

    ck_assert_uint_eq(t->count, 1);
    ck_assert(!t->whole);
    const struct expr_ref *r = &t->refs[0];
    ck_assert_uint_eq(r->count, 5);
    ck_assert_str_eq(r->parts[1], "a-b");
    ck_assert_str_eq(r->parts[4], "2");
    ck_assert_str_eq(r->text, "tasks.a-b.outputs.c_d[2]");
    ck_assert_str_eq(r->fallback, "q");
    ck_assert_uint_eq(r->offset, 2);
    ck_assert_int_eq(t->text[r->offset + r->len - 1], '}');
}
END_TEST

START_TEST(test_types)
{
    static const struct {
        const char *text;
        enum expr_type type;
    } rows[] = {
        {"${n}", EXPR_INT},          {"${n} ", EXPR_STRING},
        {"${yes}", EXPR_BOOL},       {"${list}", EXPR_LIST},
        {"x${key}", EXPR_SECRET},    {"${key}", EXPR_SECRET},
        {"x${later}", EXPR_PENDING}, {"${key}${later}", EXPR_SECRET},
    };

    for (size_t i = 0; i < RWF_COUNT(rows); i++) {
        struct expr_value v = {.type = EXPR_STRING};
        struct expr_template *t = expr_template_parse(arena, rows[i].text, NULL);
        ck_assert_int_eq(expr_template_eval(t, &scope, arena, &v, NULL), 0);
        ck_assert_int_eq(v.type, rows[i].type);
    }
}
END_TEST

START_TEST(test_column)
{
    struct rwf_err err = RWF_ERR_INIT;
    size_t at = 0;

    ck_assert_ptr_null(expr_template_parse_at(arena, "abc ${s !}", &at, &err));
    ck_assert_uint_eq(at, 8);
    ck_assert_ptr_null(expr_condition_parse_at(arena, "${n} = 3", &at, &err));
    ck_assert_uint_eq(at, 5);
    ck_assert_ptr_nonnull(strstr(err.text, "use =="));
}
END_TEST

/* 1, 0: value; -1: fails when evaluated; -2: does not parse. */
static const struct {
    const char *text;
    int want;
} conditions[] = {
    {"true", 1},
    {"false", 0},
    {"${yes}", 1},
    {"!${yes}", 0},
    {"!!${yes}", 1},
    {"${n} == 3", 1},
    {"${n} == 3.0", 1},
    {"${n}==3", 1},
    {"${n} != 3", 0},
    {"${n} >= 3 && ${n} <= 3", 1},
    {"${n} < 3 || ${f} < 1", 1},
    {"${f} > 0.4", 1},
    {"${big} == 9007199254740992", 0},
    {"${s} == 'linux'", 1},
    {"${s} != \"linux\"", 0},
    {"'linux' == ${s}", 1},
    {"${yes} == true", 1},
    {"!${no} == true", 1},
    {"(${no} || ${yes}) && !(${n} > 5)", 1},
    {"${no} && ${unknown}", 0},
    {"${yes} || ${unknown}", 1},
    {"${unknown} || ${yes}", -1},
    {"${no} || ${yes} && ${no}", 0},
    {"-1 < 0", 1},
    {"1e-3 < 0.01", 1},
    {"0x10 == 16", 1},
    {"${n}", -1},
    {"${s}", -1},
    {"3", -1},
    {"'x'", -1},
    {"${n} == 'three'", -1},
    {"${s} < 'm'", -1},
    {"${yes} < true", -1},
    {"${yes} == 1", -1},
    {"${list} == 'x'", -1},
    {"${key} == 'hush'", -1},
    {"${later} > 1", -1},
    {"${nope ?? \"d\"} == 'd'", 1},
    {"", -2},
    {" ", -2},
    {"${n} ==", -2},
    {"== 3", -2},
    {"${n} = 3", -2},
    {"${n} == 3 &", -2},
    {"${n} == 3 and true", -2},
    {"not true", -2},
    {"${n} < 3 < 4", -2},
    {"(true", -2},
    {"true)", -2},
    {"linux == ${s}", -2},
    {"${s} == linux", -2},
    {"True", -2},
    {"'open", -2},
    {"${n", -2},
    {"1..2 == 3", -2},
    {"true true", -2},
};

START_TEST(test_condition)
{
    struct rwf_err err = RWF_ERR_INIT;
    const char *text = conditions[_i].text;
    struct expr_condition *c = expr_condition_parse(arena, text, &err);

    if (conditions[_i].want == -2) {
        ck_assert_msg(c == NULL, "parsed: %s", text);
        ck_assert_uint_gt(strlen(err.text), 10);
        return;
    }
    ck_assert_msg(c != NULL, "%s: %s", text, err.text);
    ck_assert_msg(expr_condition_eval(c, &scope, arena, &err) == conditions[_i].want,
                  "%s: %s", text, err.text);
}
END_TEST

START_TEST(test_condition_check)
{
    static const struct {
        const char *text;
        int want;
    } rows[] = {
        {"${later} > 0.5", 0},      {"${later} == 'x'", 0},
        {"${later} == true", -1},   {"${later}", -1},
        {"${no} && ${s}", -1},      {"${yes} || ${n} == 'x'", -1},
        {"${later} < ${later}", 0}, {"${later} < 'x'", -1},
    };

    for (size_t i = 0; i < RWF_COUNT(rows); i++) {
        struct expr_condition *c = expr_condition_parse(arena, rows[i].text, NULL);
        ck_assert_msg(expr_condition_check(c, &scope, arena, NULL) == rows[i].want,
                      "%s", rows[i].text);
    }
}
END_TEST

/* Repeats piece n times around middle. */
static char *nest(const char *open, int n, const char *middle, const char *close)
{
    struct rwf_str s = {0};

    for (int i = 0; i < n; i++)
        rwf_str_add(&s, open);
    rwf_str_add(&s, middle);
    for (int i = 0; i < n; i++)
        rwf_str_add(&s, close);
    return rwf_str_take(&s);
}

START_TEST(test_depth)
{
    char *fits = nest("(", 30, "true", ")"), *deep = nest("(", 100000, "true", ")");
    char *nots = nest("!", 100000, "true", ""),
         *chain = nest("true && ", 100000, "true", "");
    struct expr_condition *c;
    struct rwf_err err = RWF_ERR_INIT;

    c = expr_condition_parse(arena, fits, NULL);
    ck_assert_int_eq(expr_condition_eval(c, &scope, arena, NULL), 1);
    ck_assert_ptr_null(expr_condition_parse(arena, deep, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "deeper"));
    ck_assert_ptr_null(expr_condition_parse(arena, nots, NULL));
    c = expr_condition_parse(arena, chain, NULL);
    ck_assert_int_eq(expr_condition_eval(c, &scope, arena, NULL), 1);
    free(fits);
    free(deep);
    free(nots);
    free(chain);
}
END_TEST

START_TEST(test_many)
{
    char *many = nest("${s}$${", 50000, "", "");
    struct expr_template *t = expr_template_parse(arena, many, NULL);

    ck_assert_uint_eq(t->count, 50000);
    free(many);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("expr");
    TCase *tc = tcase_create("expr");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_template, 0, (int)RWF_COUNT(templates));
    tcase_add_test(tc, test_parts);
    tcase_add_test(tc, test_types);
    tcase_add_test(tc, test_column);
    tcase_add_loop_test(tc, test_condition, 0, (int)RWF_COUNT(conditions));
    tcase_add_test(tc, test_condition_check);
    tcase_add_test(tc, test_depth);
    tcase_add_test(tc, test_many);
    suite_add_tcase(s, tc);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
