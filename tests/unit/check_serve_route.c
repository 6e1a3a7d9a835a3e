/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes: which prefixes are taken and refused, and finding them against a slow model.
 */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "serve/route.h"
#include "serve_random.h"

static const struct {
    const char *prefix, *wrong; /* part of what is said */
} prefixes[] = {
    {"/", NULL},
    {"/iris", NULL},
    {"/iris/", NULL},
    {"/a/b-c_d.e~1", NULL},
    {"/-x", NULL},
    {"/metrics2", NULL},
    {"/a/-", NULL},
    {"", "begin with '/'"},
    {"iris", "begin with '/'"},
    {"/-", "the front's own"},
    {"/-/routes", "the front's own"},
    {"/metrics", "the front's own"},
    {"/metrics/x", "the front's own"},
    {"//", "empty segment"},
    {"/a//b", "empty segment"},
    {"/a/..", "segment '.'"},
    {"/./a", "segment '.'"},
    {"/a b", "character"},
    {"/a?b", "character"},
    {"/a%20", "character"},
    {"/\xc3\xa4", "character"},
    {"/.a", NULL},
    {"/...", NULL},
};

START_TEST(judged)
{
    const char *wrong = serve_route_wrong(prefixes[_i].prefix);

    if (prefixes[_i].wrong == NULL)
        ck_assert_msg(wrong == NULL, "%s: %s", prefixes[_i].prefix, wrong);
    else
        ck_assert_msg(wrong != NULL && strstr(wrong, prefixes[_i].wrong) != NULL,
                      "%s: %s", prefixes[_i].prefix, wrong != NULL ? wrong : "nothing");
}
END_TEST

START_TEST(long_prefix)
{
    char text[1100];

    memset(text, 'a', sizeof(text) - 1);
    text[0] = '/';
    text[sizeof(text) - 1] = '\0';
    ck_assert_ptr_nonnull(strstr(serve_route_wrong(text), "longer"));
}
END_TEST

START_TEST(normal)
{
    static const char *const pairs[][2] = {
        {"/", ""}, {"/a", "/a"}, {"/a/", "/a"}, {"/a/b/", "/a/b"}};

    for (size_t i = 0; i < 4; i++) {
        char *text = serve_route_normal(pairs[i][0]);
        ck_assert_str_eq(text, pairs[i][1]);
        free(text);
    }
}
END_TEST

static struct serve_routes *some(const char *const *list, size_t count)
{
    struct serve_routes *r = serve_routes_create();
    struct rwf_err err = RWF_ERR_INIT;

    for (size_t i = 0; i < count; i++)
        ck_assert_msg(serve_routes_add(r, list[i], (void *)(uintptr_t)list[i], &err) ==
                          0,
                      "%s", err.text);
    return r;
}

static const struct {
    const char *path, *found, *rest;
} paths[] = {
    {"/", "", "/"},
    {"/other/x", "", "/other/x"},
    {"/iris", "/iris", "/"},
    {"/iris/", "/iris", "/"},
    {"/iris/predict/1", "/iris", "/predict/1"},
    {"/irises", "", "/irises"},
    {"/iris/deep/er", "/iris/deep/er", "/"},
    {"/iris/deep/er/x", "/iris/deep/er", "/x"},
    {"/iris/deep", "/iris", "/deep"},
    {"/iris/deep/erx", "/iris", "/deep/erx"},
    {"//iris", "", "//iris"},
};

START_TEST(found)
{
    static const char *const list[] = {"/iris", "", "/iris/deep/er", "/b"};
    struct serve_routes *r = some(list, 4);
    const char *rest = NULL;
    const char *app = serve_routes_find(r, paths[_i].path, &rest);

    ck_assert_str_eq(app, paths[_i].found);
    ck_assert_str_eq(rest, paths[_i].rest);
    serve_routes_destroy(r);
}
END_TEST

START_TEST(refused)
{
    static const char *const list[] = {"/a", ""};
    struct serve_routes *r = some(list, 2);
    struct rwf_err err = RWF_ERR_INIT;

    ck_assert_int_eq(serve_routes_add(r, "/a", r, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "'/a' is another application's"));
    ck_assert_int_eq(serve_routes_add(r, "", r, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "'/' is another application's"));
    ck_assert_int_eq(serve_routes_add(r, "/b/", r, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "ends with a slash"));
    ck_assert_int_eq(serve_routes_add(r, "/-/x", r, &err), -1);
    ck_assert_uint_eq(serve_routes_count(r), 2);
    ck_assert_str_eq(serve_routes_remove(r, "/a"), "/a");
    ck_assert_ptr_null(serve_routes_remove(r, "/a"));
    ck_assert_str_eq(serve_routes_find(r, "/a/x", NULL), "");
    serve_routes_remove(r, "");
    ck_assert_ptr_null(serve_routes_find(r, "/a/x", NULL));
    serve_routes_destroy(r);
}
END_TEST

static void collect(void *ctx, const char *prefix, void *app)
{
    ck_assert_str_eq(prefix, app);
    strcat(strcat(ctx, prefix), " ");
}

START_TEST(listed)
{
    static const char *const list[] = {"/c", "/a/b", "/a"};
    struct serve_routes *r = some(list, 3);
    char text[100] = "";

    serve_routes_each(r, collect, text);
    ck_assert_str_eq(text, "/a /a/b /c ");
    serve_routes_destroy(r);
}
END_TEST

/* --- the slow model --- */

static void random_path(uint64_t *chance, char *out, int segments)
{
    static const char *const words[] = {"a", "b", "ab", "a.b"};

    out[0] = '\0';
    for (int i = 0; i < segments; i++)
        strcat(strcat(out, "/"), words[random_below(chance, 4)]);
}

static const char *slow_find(char (*list)[40], int count, const char *path)
{
    const char *best = NULL;

    for (int i = 0; i < count; i++) {
        size_t len = strlen(list[i]);
        if (strncmp(path, list[i], len) == 0 &&
            (path[len] == '\0' || path[len] == '/') &&
            (best == NULL || len > strlen(best)))
            best = list[i];
    }
    return best;
}

START_TEST(property)
{
    uint64_t chance = (uint64_t)_i;
    struct serve_routes *r = serve_routes_create();
    char list[12][40], path[60];
    int count = 0;

    for (int i = 0; i < 12; i++) {
        random_path(&chance, list[count], random_below(&chance, 5));
        bool twice = false;
        for (int k = 0; k < count; k++)
            twice = twice || strcmp(list[k], list[count]) == 0;
        ck_assert_int_eq(serve_routes_add(r, list[count], list[count], NULL),
                         twice ? -1 : 0);
        count += !twice;
    }
    for (int i = 0; i < 300; i++) {
        random_path(&chance, path, 1 + random_below(&chance, 6));
        const char *rest = NULL, *want = slow_find(list, count, path);
        const char *got = serve_routes_find(r, path, &rest);
        ck_assert_msg(got == want, "seed %d: %s", _i, path);
        if (got != NULL)
            ck_assert_str_eq(rest,
                             path[strlen(want)] != '\0' ? path + strlen(want) : "/");
    }
    serve_routes_destroy(r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve route");
    TCase *t = tcase_create("route");

    tcase_add_loop_test(t, judged, 0, sizeof(prefixes) / sizeof(*prefixes));
    tcase_add_test(t, long_prefix);
    tcase_add_test(t, normal);
    tcase_add_loop_test(t, found, 0, sizeof(paths) / sizeof(*paths));
    tcase_add_test(t, refused);
    tcase_add_test(t, listed);
    tcase_add_loop_test(t, property, 0, 30);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
