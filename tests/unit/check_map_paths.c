/* SPDX-License-Identifier: Apache-2.0
 * Paths in texts as another machine calls them: a table of cases.
 */
#include "config.h"

#include "run/map_paths.h"

#include <check.h>
#include <stdlib.h>

#include "base/mem.h"

static const struct run_mapping maps[] = {
    {"/home/me/flow", "/n/recipe"},
    {"/home/me/flow/.raywf", "/n/root"},
};

static const struct {
    const char *here, *there;
} cases[] = {
    {"", ""},
    {"/home/me/flow", "/n/recipe"},
    {"/home/me/flow/", "/n/recipe/"},
    {"/home/me/flow/a b/c", "/n/recipe/a b/c"},
    /* the longest folder counts */
    {"/home/me/flow/.raywf/cache/x", "/n/root/cache/x"},
    {"/home/me/flow/.raywfx", "/n/recipe/.raywfx"},
    /* not these */
    {"/home/me/flow2/a", "/home/me/flow2/a"},
    {"/home/me/flow-old", "/home/me/flow-old"},
    {"/home/me/flow.txt", "/home/me/flow.txt"},
    {"/mnt/home/me/flow/a", "/mnt/home/me/flow/a"},
    {"x/home/me/flow/a", "x/home/me/flow/a"},
    {"//home/me/flow/a", "//home/me/flow/a"},
    {"/home/me", "/home/me"},
    {"/data/big.bin", "/data/big.bin"},
    {"home/me/flow", "home/me/flow"},
    {"/home/me/fl\xc3\xb6w", "/home/me/fl\xc3\xb6w"},
    {"/home/me/flow\xc3\xb6", "/home/me/flow\xc3\xb6"},
    /* within a text */
    {"cat /home/me/flow/a >/home/me/flow/.raywf/b; ls",
     "cat /n/recipe/a >/n/root/b; ls"},
    {"--in=/home/me/flow/a", "--in=/n/recipe/a"},
    {"cat '/home/me/flow/a'", "cat '/n/recipe/a'"},
    {"\"/home/me/flow\"", "\"/n/recipe\""},
    {"$(ls /home/me/flow)", "$(ls /n/recipe)"},
    {"PATH=/home/me/flow/bin:/usr/bin:/home/me/flow",
     "PATH=/n/recipe/bin:/usr/bin:/n/recipe"},
    {"/home/me/flow,/home/me/flow/x", "/n/recipe,/n/recipe/x"},
    {"It is in /home/me/flow.", "It is in /n/recipe."},
    {"/home/me/flow/home/me/flow", "/n/recipe/home/me/flow"},
    {"s3://home/me/flow/x", "s3://home/me/flow/x"},
    {"cd /home/me/flow\nls /home/me/flow/.raywf\n", "cd /n/recipe\nls /n/root\n"},
};

START_TEST(test_text)
{
    char *there = run__map_text(maps, RWF_COUNT(maps), cases[_i].here);
    ck_assert_str_eq(there, cases[_i].there);
    free(there);
    /* nothing to map: nothing changes */
    there = run__map_text(maps, 0, cases[_i].here);
    ck_assert_str_eq(there, cases[_i].here);
    free(there);
}
END_TEST

START_TEST(test_json)
{
    json_t *here =
        json_pack("{s:[s,i,b,n], s:{s:s, s:f}, s:s}", "argv", "/home/me/flow/run.sh", 7,
                  1, "deep", "in", "cat /home/me/flow/.raywf/x", "r", 0.5,
                  "/home/me/flow/key", "stays");
    json_t *want = json_pack("{s:[s,i,b,n], s:{s:s, s:f}, s:s}", "argv",
                             "/n/recipe/run.sh", 7, 1, "deep", "in", "cat /n/root/x",
                             "r", 0.5, "/home/me/flow/key", "stays");
    json_t *there = run__map_json(maps, RWF_COUNT(maps), here);
    ck_assert(json_equal(there, want));
    json_decref(here);
    json_decref(want);
    json_decref(there);
}
END_TEST

START_TEST(test_names)
{
    json_t *texts = json_pack("{s:[s, s], s:s}", "a", "cat /r/cache/ab/o >x",
                              "/r/cache/abc", "b", "--in=/r/cache/dir/part");
    ck_assert(run__names_path(texts, "/r/cache/ab/o"));
    ck_assert(run__names_path(texts, "/r/cache/ab"));
    ck_assert(run__names_path(texts, "/r/cache/abc"));
    ck_assert(run__names_path(texts, "/r/cache/dir"));
    ck_assert(!run__names_path(texts, "/r/cache/di"));
    ck_assert(!run__names_path(texts, "/r/cache/abcd"));
    ck_assert(!run__names_path(texts, "/cache/ab"));
    ck_assert(!run__names_path(NULL, "/cache/ab"));
    json_decref(texts);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("map_paths");
    TCase *t = tcase_create("all");
    tcase_add_loop_test(t, test_text, 0, RWF_COUNT(cases));
    tcase_add_test(t, test_json);
    tcase_add_test(t, test_names);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed > 0;
}
