/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bundle/ignore.h"

static const struct {
    const char *rules, *path; /* a path that ends in '/' is a folder's */
    bool ignored;
} cases[] = {
    {"", "a", false},
    {"*.o", "a.o", true},
    {"*.o", "b/c/a.o", true},
    {"*.o", "a.os", false},
    {"# *.o", "a.o", false},
    {"\\#a", "#a", true},
    {"a ", "a", true},
    {"a\\ ", "a ", true},
    {"a\r\n", "a", true},
    {"\n\n*.log\n", "x.log", true},
    {"build/", "build/", true},
    {"build/", "build", false},
    {"build/", "x/build/", true},
    {"/build", "build", true},
    {"/build", "x/build", false},
    {"doc/*.txt", "doc/a.txt", true},
    {"doc/*.txt", "x/doc/a.txt", false},
    {"doc/*.txt", "doc/a/b.txt", false},
    {"**/foo", "foo", true},
    {"**/foo", "a/b/foo", true},
    {"a/**/b", "a/b", true},
    {"a/**/b", "a/x/y/b", true},
    {"a/**/b", "a/x/y/c", false},
    {"abc/**", "abc/x/y", true},
    {"abc/**", "abc/", false},
    {"**", "a", true},
    {"*", ".hidden", true},
    {"*\n!*.py", "a.py", false},
    {"*\n!*.py", "a.txt", true},
    {"!*.py\n*", "a.py", true},
    {"\\!a", "!a", true},
    {"a?c", "abc", true},
    {"a?c", "a/c", false},
    {"[a-c].x", "b.x", true},
    {"[!a-c].x", "b.x", false},
    {"/", "a", false},
    {"!", "a", false},
};

START_TEST(rules_decide)
{
    struct bundle__ignore g = {0};
    bundle__ignore_add(&g, "", cases[_i].rules);
    size_t len = strlen(cases[_i].path);
    bool folder = cases[_i].path[len - 1] == '/';
    char *path = rwf_xstrndup(cases[_i].path, len - folder);
    ck_assert_msg(bundle__ignored(&g, path, folder) == cases[_i].ignored,
                  "'%s' and '%s'", cases[_i].rules, cases[_i].path);
    free(path);
    bundle__ignore_free(&g);
}
END_TEST

START_TEST(a_rule_counts_in_its_folder)
{
    struct bundle__ignore g = {0};
    bundle__ignore_add(&g, "", "*.bin\n");
    bundle__ignore_add(&g, "a/b", "/top\n!keep.bin\n");
    ck_assert(bundle__ignored(&g, "x.bin", false));
    ck_assert(bundle__ignored(&g, "a/b/x.bin", false));
    ck_assert(!bundle__ignored(&g, "a/b/keep.bin", false));
    ck_assert(bundle__ignored(&g, "a/keep.bin", false));
    ck_assert(bundle__ignored(&g, "a/b/top", false));
    ck_assert(!bundle__ignored(&g, "a/b/c/top", false));
    ck_assert(!bundle__ignored(&g, "a/bb/top", false));
    bundle__ignore_drop(&g, 1);
    ck_assert(bundle__ignored(&g, "a/b/keep.bin", false));
    ck_assert(!bundle__ignored(&g, "a/b/top", false));
    bundle__ignore_free(&g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bundle ignore");
    TCase *t = tcase_create("ignore");
    tcase_add_loop_test(t, rules_decide, 0, RWF_COUNT(cases));
    tcase_add_test(t, a_rule_counts_in_its_folder);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
