/* SPDX-License-Identifier: Apache-2.0
 *
 * Results that come in any order, are there after a crash, and leave in order. */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "data/spool.h"

static char folder[64], *path, *out;

static void setup(void)
{
    strcpy(folder, "/tmp/check_spool.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    path = rwf_fs_join(folder, "spool");
    out = rwf_fs_join(folder, "out");
}

static void teardown(void)
{
    rwf_fs_rmtree(folder, NULL);
    free(path);
    free(out);
}

static void add(struct spool *s, size_t number, const char *json)
{
    ck_assert_int_eq(spool_add(s, number, json, strlen(json), NULL), 0);
}

static void written(struct spool *s, bool lists, const char *want)
{
    size_t len;

    ck_assert_int_eq(spool_write(s, out, lists, NULL), 0);
    char *text = rwf_fs_read(out, 1 << 20, &len, NULL);
    ck_assert_str_eq(text, want);
    free(text);
}

START_TEST(test_order)
{
    struct spool *s = spool_open(path, 3, NULL);

    add(s, 2, "{\"c\":3}");
    add(s, 0, "\"tab\\tin text\"");
    ck_assert(spool_has(s, 2) && !spool_has(s, 1));
    add(s, 1, "null");
    ck_assert_uint_eq(spool_count(s), 3);
    written(s, false, "\"tab\\tin text\"\nnull\n{\"c\":3}\n");
    spool_close(s);
}
END_TEST

/* Whatever the length of what was written before the crash, whole lines are there, a torn
 * one is not, and the spool goes on. */
START_TEST(test_torn)
{
    static const char whole[] = "1\t[1]\n0\t{\"a\":0}\n";

    for (size_t cut = 0; cut < sizeof(whole); cut++) {
        ck_assert_int_eq(rwf_fs_write(path, whole, cut, false, NULL), 0);
        struct spool *s = spool_open(path, 2, NULL);
        ck_assert_uint_eq(spool_has(s, 1), cut >= 6);
        ck_assert_uint_eq(spool_has(s, 0), cut == sizeof(whole) - 1);
        for (size_t i = 0; i < 2; i++)
            if (!spool_has(s, i))
                add(s, i, i == 0 ? "{\"a\":0}" : "[1]");
        written(s, false, "{\"a\":0}\n[1]\n");
        spool_close(s);
    }
}
END_TEST

/* What is no line of ours, is out of range or comes twice does not count. */
START_TEST(test_damage)
{
    static const char text[] = "x\n\n7\t1\n0\t\"first\"\n0\t\"second\"\n-1\t2\n1 3\n";

    ck_assert_int_eq(rwf_fs_write(path, text, sizeof(text) - 1, false, NULL), 0);
    struct spool *s = spool_open(path, 2, NULL);
    ck_assert_uint_eq(spool_count(s), 1);
    add(s, 1, "\"one\"");
    written(s, false, "\"first\"\n\"one\"\n");
    spool_close(s);
}
END_TEST

START_TEST(test_lists)
{
    struct spool *s = spool_open(path, 2, NULL);

    add(s, 1, "[3]");
    add(s, 0, "[{\"a\": [1]},\"2\"]");
    written(s, true, "{\"a\":[1]}\n\"2\"\n3\n");
    spool_close(s);
    s = spool_open(out, 0, NULL);
    written(s, true, "");
    spool_close(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("spool");
    TCase *t = tcase_create("spool");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_order);
    tcase_add_test(t, test_torn);
    tcase_add_test(t, test_damage);
    tcase_add_test(t, test_lists);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
