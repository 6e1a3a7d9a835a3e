/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/json_text.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/redact.h"
#include "base/scratch.h"
#include "base/str.h"
#include "base/suggest.h"
#include "base/units.h"

START_TEST(errors_wrap_from_the_inside_out)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_int_eq(rwf_fail(&err, RWF_E_FIT, "needs %d GPUs", 3), -1);
    ck_assert_int_eq(rwf_wrap(&err, "step '%s'", "a"), -1);
    ck_assert_str_eq(err.text, "step 'a': needs 3 GPUs");
    ck_assert_int_eq(rwf_exit_code(&err), 5);
    rwf_fail(&err, ENOSPC, "disk");
    ck_assert_int_eq(rwf_exit_code(&err), 7);
    ck_assert_int_eq(rwf_fail(NULL, 1, "x"), -1);
    ck_assert_int_eq(rwf_exit_worse(1, 3), 3);
    ck_assert_int_eq(rwf_exit_worse(0, 11), 11);
}
END_TEST

static const struct {
    const char *text;
    int64_t value; /* -1: refused */
} sizes[] = {
    { "0", 0 },          { "12B", 12 },     { "1.5KiB", 1536 },
    { "1 MiB", 1 << 20 }, { "2GB", 2000000000 }, { "1.0001kB", -1 },
    { "7", -1 },         { "", -1 },        { "1mb", -1 },
    { "1MiBx", -1 },     { "-1B", -1 },     { "99999999999TiB", -1 },
    { "1e3B", -1 },      { ".B", -1 },
};

START_TEST(sizes_are_exact_or_refused)
{
    int64_t v = -1;
    int rc = rwf_size_parse(sizes[_i].text, &v, NULL);
    ck_assert_msg((rc == 0 ? v : -1) == sizes[_i].value, "%s", sizes[_i].text);
}
END_TEST

static const struct {
    const char *text;
    int64_t value;
} durations[] = {
    { "500ms", 500 * RWF_NS_PER_MS }, { "1h30m", 5400 * RWF_NS_PER_S },
    { "1.5s", 1500 * RWF_NS_PER_MS }, { "2m", 120 * RWF_NS_PER_S },
    { "0", 0 },                       { "10", -1 },
    { "s", -1 },                      { "1h 30", -1 },
    { "", -1 },                       { "0.1ns", -1 },
};

START_TEST(durations_are_exact_or_refused)
{
    int64_t v = -1;
    int rc = rwf_duration_parse(durations[_i].text, &v, NULL);
    ck_assert_msg((rc == 0 ? v : -1) == durations[_i].value, "%s", durations[_i].text);
}
END_TEST

START_TEST(times_survive_a_round_trip)
{
    char text[RWF_TIME_LEN];
    int64_t t = 1795371600 * RWF_NS_PER_S + 123456789;
    rwf_clock_format(t, text);
    ck_assert_int_eq(rwf_clock_parse(text), t);
    ck_assert_int_eq(rwf_clock_parse("2026-11-22"), -1);
    ck_assert_int_eq(rwf_clock_parse("4052-11-22T03:04:05.000000000Z"), -1);
    rwf_clock_format(0, text);
    ck_assert_str_eq(text, "1970-01-01T00:00:00.000000000Z");
}
END_TEST

START_TEST(a_map_keeps_order_and_finds_all)
{
    struct rwf_map *m = rwf_map_create();
    char key[16];
    int values[5000];
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        ck_assert_ptr_null(rwf_map_set(m, key, &values[i]));
    }
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        ck_assert_ptr_eq(rwf_map_get(m, key), &values[i]);
        ck_assert_str_eq(rwf_map_key_at(m, (size_t)i), key);
    }
    ck_assert_ptr_eq(rwf_map_set(m, "k7", &values[0]), &values[7]);
    ck_assert_ptr_null(rwf_map_get(m, "nope"));
    ck_assert_uint_eq(rwf_map_count(m), 5000);
    rwf_map_destroy(m, NULL);
}
END_TEST

START_TEST(an_arena_gives_aligned_zeroed_memory)
{
    struct rwf_arena *a = rwf_arena_create();
    for (size_t n = 1; n < 100000; n = n * 3 + 1) {
        unsigned char *p = rwf_arena_alloc(a, n);
        ck_assert_uint_eq((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++)
            ck_assert_uint_eq(p[i], 0);
        memset(p, 0xff, n);
    }
    ck_assert_str_eq(rwf_arena_printf(a, "%s-%d", "x", 5), "x-5");
    rwf_arena_destroy(a);
}
END_TEST

START_TEST(shell_and_xml_quoting)
{
    struct rwf_str s = { 0 };
    rwf_str_add_shell(&s, "plain-1.txt");
    rwf_str_addc(&s, ' ');
    rwf_str_add_shell(&s, "it's");
    rwf_str_addc(&s, ' ');
    rwf_str_add_shell(&s, "");
    ck_assert_str_eq(s.data, "plain-1.txt 'it'\\''s' ''");
    rwf_str_clear(&s);
    rwf_str_add_xml(&s, "<a b=\"c\">&\x01");
    ck_assert_str_eq(s.data, "&lt;a b=&quot;c&quot;&gt;&amp;\xef\xbf\xbd");
    rwf_str_free(&s);
}
END_TEST

static const struct {
    const char *text;
    bool valid;
} utf8[] = {
    { "caf\xc3\xa9", true }, { "\xf0\x9f\x9a\x80", true }, { "\xc0\xaf", false },
    { "\xed\xa0\x80", false }, { "\xf4\x90\x80\x80", false }, { "\xe2\x82", false },
    { "\x80", false },
};

START_TEST(utf8_is_judged_strictly)
{
    ck_assert(rwf_utf8_valid(utf8[_i].text, strlen(utf8[_i].text)) == utf8[_i].valid);
}
END_TEST

static const char *const json[] = {
    "0.9",   "0.30000000000000004", "1e-5",  "[1,2.5,\"a\"]", "{\"a\":null,\"b\":0.1}",
    "true",  "1.0",                 "\"a\\u0000b\""};

START_TEST(json_is_written_as_it_was)
{
    json_t *v = json_loads(json[_i], JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    char *text = rwf_json_text(v);

    ck_assert_pstr_eq(text, json[_i]);
    free(text);
    json_decref(v);
    ck_assert_ptr_null(rwf_json_text(NULL));
}
END_TEST

START_TEST(typos_are_recognised)
{
    struct rwf_suggest s;
    rwf_suggest_init(&s, "timeuot");
    rwf_suggest_try(&s, "retry");
    rwf_suggest_try(&s, "timeout");
    ck_assert_str_eq(rwf_suggest_best(&s), "timeout");
    rwf_suggest_init(&s, "zebra");
    rwf_suggest_try(&s, "timeout");
    ck_assert_ptr_null(rwf_suggest_best(&s));
}
END_TEST

START_TEST(secrets_are_found_however_they_are_cut)
{
    static const char text[] = "x=hunter2;y=hunter2secret;z=hunt";
    struct rwf_str whole = { 0 };
    ck_assert_int_eq(rwf_redact_add("SHORT", "abc", NULL), -1);
    rwf_redact_add("A", "hunter2", NULL);
    rwf_redact_add("B", "hunter2secret", NULL);
    rwf_redact(&whole, text, strlen(text));
    ck_assert_str_eq(whole.data, "x=[secret:A];y=[secret:B];z=hunt");
    for (size_t cut = 0; cut <= strlen(text); cut++) {
        struct rwf_str held = { 0 }, out = { 0 };
        rwf_redact_stream(&held, &out, text, cut, false);
        rwf_redact_stream(&held, &out, text + cut, strlen(text) - cut, false);
        rwf_redact_stream(&held, &out, "", 0, true);
        ck_assert_msg(strcmp(out.data, whole.data) == 0, "cut at %zu: %s", cut, out.data);
        rwf_str_free(&held);
        rwf_str_free(&out);
    }
    rwf_redact_add("Q", "pa\"ss", NULL);
    rwf_str_clear(&whole);
    rwf_redact(&whole, "{\"v\":\"pa\\\"ss\"}", 15);
    ck_assert_str_eq(whole.data, "{\"v\":\"[secret:Q]\"}");
    rwf_str_free(&whole);
    rwf_redact_clear();
}
END_TEST

static void count_secret(void *ctx, const char *name, const char *value)
{
    ck_assert_str_eq(name, "Q");
    ck_assert_str_eq(value, "pa\"ss");
    ++*(int *)ctx;
}

START_TEST(secrets_are_dropped_with_their_last_use)
{
    struct rwf_str out = { 0 };
    int told = 0;
    size_t before = rwf_redact_count();
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(rwf_redact_add("Q", "pa\"ss", NULL), 0);
    size_t after = rwf_redact_count();
    ck_assert_uint_eq(after, before + 2); /* it, and as it is in JSON */
    rwf_redact_each(count_secret, &told);
    ck_assert_int_eq(told, 1);
    rwf_redact_drop("Q", "pa\"ss");
    rwf_redact_drop("OTHER", "pa\"ss");
    rwf_redact(&out, "pa\"ss pa\\\"ss", 12);
    ck_assert_str_eq(out.data, "[secret:Q] [secret:Q]");
    rwf_redact_drop("Q", "pa\"ss");
    rwf_redact_drop("Q", "pa\"ss"); /* once too often: nothing */
    ck_assert(!rwf_redact_active());
    rwf_str_clear(&out);
    rwf_redact(&out, "pa\"ss", 5);
    ck_assert_str_eq(out.data, "pa\"ss");
    rwf_redact_add("Q", "pa\"ss", NULL);
    ck_assert_uint_gt(rwf_redact_count(), after); /* what was kept may be wrong now */
    rwf_str_free(&out);
    rwf_redact_clear();
}
END_TEST

START_TEST(digests_match_the_published_vectors)
{
    char d[RWF_DIGEST_LEN];
    rwf_digest_bytes("abc", 3, d); /* FIPS 180-2, B.1 */
    ck_assert_str_eq(d, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    /* RFC 4231, test case 2 */
    rwf_hmac("Jefe", "what do ya want for nothing?", 28, d);
    ck_assert_str_eq(d, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}
END_TEST

static const struct {
    const char *path;
    bool beneath;
} paths[] = {
    { "a/b", true },  { "a/../b", false }, { "/a", false }, { "", false },
    { "..", false },  { "a/..b", true },   { "./a", true },
};

START_TEST(paths_that_leave_are_seen)
{
    ck_assert(rwf_fs_is_beneath(paths[_i].path) == paths[_i].beneath);
}
END_TEST

START_TEST(files_are_written_whole)
{
    char dir[] = "/tmp/check_base.XXXXXX";
    struct rwf_err err;
    size_t len;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    char *deep = rwf_fs_join(dir, "a/b/c"), *file = rwf_fs_join(dir, "a/b/c/f");
    ck_assert_int_eq(rwf_fs_mkdirs(deep, &err), 0);
    ck_assert_int_eq(rwf_fs_write(file, "hello", 5, true, &err), 0);
    char *back = rwf_fs_read(file, 100, &len, &err);
    ck_assert_str_eq(back, "hello");
    ck_assert_uint_eq(len, 5);
    ck_assert_ptr_null(rwf_fs_read(file, 4, NULL, &err));
    ck_assert_int_eq(err.code, EFBIG);
    ck_assert_int_eq(rwf_fs_rmtree(dir, &err), 0);
    ck_assert(!rwf_fs_exists(dir));
    ck_assert_int_eq(rwf_fs_rmtree(dir, &err), 0);
    char *abs = rwf_fs_absolute("/a/./b/../c//d/");
    ck_assert_str_eq(abs, "/a/c/d");
    free(abs), free(back), free(deep), free(file);
}
END_TEST

static size_t size_of(const char *dir, const char *name)
{
    struct stat st;
    char *path = rwf_fs_join(dir, name);
    size_t size = stat(path, &st) == 0 ? (size_t)st.st_size : 0;
    free(path);
    return size;
}

/* Whatever is said, a daemon's log takes no more than KEEP + 1 files. */
START_TEST(a_log_is_bounded)
{
    enum { MAX = 2000, LINES = 300 };
    char dir[] = "/tmp/check-log-XXXXXX";
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    char *path = rwf_fs_join(dir, "log");
    ck_assert_int_eq(rwf_log_to_file(path, MAX, 3, &err), 0);
    for (int i = 0; i < LINES; i++)
        rwf_log_write(RWF_LOG_WARN, "check", "line %d", i);
    rwf_log_write(RWF_LOG_WARN, "check", "%s", "a\nraywf: error: b\033[2J\xff \tc");
    fprintf(stderr, "from elsewhere\n"); /* as a child would */
    ck_assert_uint_le(size_of(dir, "log"), MAX + 100);
    for (int i = 1; i <= 3; i++) {
        char name[16];
        snprintf(name, sizeof(name), "log.%d", i);
        ck_assert_uint_gt(size_of(dir, name), MAX);
        ck_assert_uint_le(size_of(dir, name), MAX + 100);
    }
    ck_assert_uint_eq(size_of(dir, "log.4"), 0);
    char *last = rwf_fs_read(path, 1 << 20, NULL, &err);
    /* What others say ends no line, and rules no terminal. */
    ck_assert_msg(strstr(last, "Z raywf: warn: check: line 299\n") != NULL, "%s", last);
    ck_assert_msg(strstr(last, "warn: check: a raywf: error: b?[2J? \tc\nfrom elsewhere\n") !=
                      NULL,
                  "%s", last);
    free(last), free(path);
    path = rwf_fs_join(dir, "no/such/folder");
    ck_assert_int_eq(rwf_log_to_file(path, MAX, 3, &err), -1);
    ck_assert_msg(strstr(err.text, "cannot log to") != NULL, "%s", err.text);
    rwf_fs_rmtree(dir, NULL);
    free(path);
}
END_TEST

static size_t count_in(const char *folder)
{
    DIR *d = opendir(folder);
    size_t n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

/* A process that ends without a word leaves its folder to the next one. */
START_TEST(what_a_killed_process_left_is_removed)
{
    char parent[] = "/tmp/rwf-base-XXXXXX";
    struct rwf_scratch mine, next;
    ck_assert_ptr_nonnull(mkdtemp(parent));
    unsetenv("XDG_RUNTIME_DIR");
    setenv("TMPDIR", parent, 1);
    ck_assert_int_eq(rwf_scratch_make(&mine, "one-", NULL), 0);
    pid_t child = fork();
    if (child == 0) {
        struct rwf_scratch s;
        _exit(rwf_scratch_make(&s, "one-", NULL) || rwf_scratch_make(&s, "two-", NULL));
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_uint_eq(count_in(parent), 3);
    /* Of the same prefix: its own, and the one of who lives, stay. */
    ck_assert_int_eq(rwf_scratch_make(&next, "one-", NULL), 0);
    ck_assert_uint_eq(count_in(parent), 3);
    ck_assert(rwf_fs_exists(mine.path));
    rwf_scratch_remove(&next);
    rwf_scratch_remove(&mine);
    rwf_scratch_remove(&mine);
    ck_assert_uint_eq(count_in(parent), 1);
    ck_assert_int_eq(rwf_fs_rmtree(parent, NULL), 0);
    setenv("TMPDIR", "/nowhere/at/all", 1);
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_int_eq(rwf_scratch_make(&mine, "one-", &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "/nowhere/at/all"));
    unsetenv("TMPDIR");
}
END_TEST

/* 0: each folder that it made was its own, and there. */
static int make_and_remove(int rounds)
{
    for (int i = 0; i < rounds; i++) {
        struct rwf_scratch s;
        if (rwf_scratch_make(&s, "one-", NULL))
            return 1;
        bool there = rwf_fs_exists(s.path);
        rwf_scratch_remove(&s);
        if (!there)
            return 2;
    }
    return 0;
}

/* One that is just being made is not taken for one that was left. */
START_TEST(many_make_a_folder_at_once)
{
    char parent[] = "/tmp/rwf-base-XXXXXX";
    pid_t children[4];
    ck_assert_ptr_nonnull(mkdtemp(parent));
    unsetenv("XDG_RUNTIME_DIR");
    setenv("TMPDIR", parent, 1);
    for (size_t i = 0; i < RWF_COUNT(children); i++)
        if ((children[i] = fork()) == 0)
            _exit(make_and_remove(50));
    for (size_t i = 0; i < RWF_COUNT(children); i++) {
        int status;
        ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
        ck_assert_int_eq(status, 0);
    }
    ck_assert_uint_eq(count_in(parent), 0);
    ck_assert_int_eq(rwf_fs_rmtree(parent, NULL), 0);
    unsetenv("TMPDIR");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base");
    TCase *tc = tcase_create("base");
    tcase_add_test(tc, errors_wrap_from_the_inside_out);
    tcase_add_loop_test(tc, sizes_are_exact_or_refused, 0, (int)RWF_COUNT(sizes));
    tcase_add_loop_test(tc, durations_are_exact_or_refused, 0, (int)RWF_COUNT(durations));
    tcase_add_test(tc, times_survive_a_round_trip);
    tcase_add_test(tc, a_map_keeps_order_and_finds_all);
    tcase_add_test(tc, an_arena_gives_aligned_zeroed_memory);
    tcase_add_test(tc, shell_and_xml_quoting);
    tcase_add_loop_test(tc, utf8_is_judged_strictly, 0, (int)RWF_COUNT(utf8));
    tcase_add_loop_test(tc, json_is_written_as_it_was, 0, (int)RWF_COUNT(json));
    tcase_add_test(tc, typos_are_recognised);
    tcase_add_test(tc, secrets_are_found_however_they_are_cut);
    tcase_add_test(tc, secrets_are_dropped_with_their_last_use);
    tcase_add_test(tc, digests_match_the_published_vectors);
    tcase_add_loop_test(tc, paths_that_leave_are_seen, 0, (int)RWF_COUNT(paths));
    tcase_add_test(tc, files_are_written_whole);
    tcase_add_test(tc, a_log_is_bounded);
    tcase_add_test(tc, what_a_killed_process_left_is_removed);
    tcase_add_test(tc, many_make_a_folder_at_once);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
