/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <check.h>
#include <dirent.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "bundle/bundle.h"

static char home[] = "/tmp/check_bundle.XXXXXX";

static void set_up(void)
{
    strcpy(home + strlen(home) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(home));
    ck_assert_int_eq(chdir(home), 0);
}

static void tear_down(void)
{
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(rwf_fs_rmtree(home, NULL), 0);
}

static void put(const char *path, const char *text)
{
    char *folder = rwf_fs_dirname(path);
    ck_assert_int_eq(rwf_fs_mkdirs(folder, NULL), 0);
    ck_assert_int_eq(rwf_fs_write(path, text, strlen(text), false, NULL), 0);
    free(folder);
}

static void expect_file(const char *path, const char *text)
{
    char *got = rwf_fs_read(path, 1 << 20, NULL, NULL);
    ck_assert_msg(got != NULL, "%s is not there", path);
    ck_assert_str_eq(got, text);
    free(got);
}

/* How many names the folder has: nothing is left half beside the target. */
static int names_in(const char *path)
{
    DIR *d = opendir(path);
    int n = 0;
    ck_assert_ptr_nonnull(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

/* The whole stream, read in pieces of `piece`. */
static struct rwf_str pack(const char *root, const struct bundle_options *o,
                           size_t piece, char ret_digest[RWF_DIGEST_LEN])
{
    struct rwf_err err = RWF_ERR_INIT;
    struct rwf_str all = {0};
    struct bundle_writer *w = bundle_writer_open(root, o, &err);
    ck_assert_msg(w != NULL, "%s", err.text);
    char *chunk = rwf_xmalloc(piece);
    ssize_t n;
    while ((n = bundle_writer_read(w, chunk, piece, &err)) > 0) {
        rwf_str_addn(&all, chunk, (size_t)n);
        if (n < (ssize_t)piece)
            break;
    }
    ck_assert_msg(n >= 0, "%s", err.text);
    ck_assert_int_eq(bundle_writer_read(w, chunk, piece, &err), 0);
    strcpy(ret_digest, bundle_writer_digest(w));
    free(chunk);
    bundle_writer_close(w);
    return all;
}

/* 0, or -1 with err. */
static int unpack(const struct rwf_str *s, const char *target, size_t piece,
                  const struct bundle_options *o, char ret_digest[RWF_DIGEST_LEN],
                  struct rwf_err *err)
{
    struct bundle_reader *r = bundle_reader_open(target, o, err);
    if (!r)
        return -1;
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < s->len; at += piece)
        rc = bundle_reader_feed(r, s->data + at,
                                piece < s->len - at ? piece : s->len - at, err);
    if (rc == 0)
        rc = bundle_reader_finish(r, ret_digest, err);
    bundle_reader_close(r);
    return rc;
}

static void make_tree(void)
{
    put("t/recipe.yaml", "recipe: raywf/v1\n");
    put("t/bin/run.sh", "#!/bin/sh\n");
    ck_assert_int_eq(chmod("t/bin/run.sh", 0755), 0);
    put("t/a/b/c/deep", "deep");
    put("t/a-b", "sorts between a and a/b");
    put("t/empty", "");
    ck_assert_int_eq(mkdir("t/folder", 0755), 0);
    ck_assert_int_eq(symlink("../a/b", "t/bin/link"), 0);
    ck_assert_int_eq(symlink("nowhere", "t/dangling"), 0);
    put("t/.git/config", "never");
    put("t/.raywf/runs/x", "never");
    put("t/sub/.git", "never");
    char big[100000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    put("t/big", big);
}

static const size_t pieces[] = {1, 7, 64, 4096, 1 << 20};

START_TEST(what_is_packed_comes_out)
{
    char digest[RWF_DIGEST_LEN], other[RWF_DIGEST_LEN], link[64] = "";
    struct rwf_err err = RWF_ERR_INIT;
    struct stat st;
    make_tree();
    struct rwf_str s = pack("t", NULL, pieces[_i], digest);
    ck_assert_msg(unpack(&s, "out", pieces[_i], NULL, other, &err) == 0, "%s",
                  err.text);
    ck_assert_str_eq(digest, other);
    expect_file("out/recipe.yaml", "recipe: raywf/v1\n");
    expect_file("out/a/b/c/deep", "deep");
    expect_file("out/empty", "");
    expect_file("out/bin/link/c/deep", "deep");
    ck_assert_int_eq(stat("out/bin/run.sh", &st), 0);
    ck_assert(st.st_mode & S_IXUSR);
    ck_assert_int_eq(stat("out/big", &st), 0);
    ck_assert(st.st_size == 99999 && !(st.st_mode & S_IXUSR));
    ck_assert_int_eq(stat("out/folder", &st), 0);
    ck_assert_int_eq(readlink("out/dangling", link, sizeof(link) - 1), 7);
    ck_assert_str_eq(link, "nowhere");
    ck_assert(!rwf_fs_exists("out/.git") && !rwf_fs_exists("out/.raywf"));
    ck_assert(rwf_fs_exists("out/sub") && !rwf_fs_exists("out/sub/.git"));
    ck_assert_int_eq(bundle_digest("out", NULL, other, &err), 0);
    ck_assert_str_eq(digest, other);
    ck_assert_int_eq(names_in("."), 2);
    rwf_str_free(&s);
}
END_TEST

START_TEST(the_digest_is_of_the_tree)
{
    char one[RWF_DIGEST_LEN], two[RWF_DIGEST_LEN];
    put("t/a", "1");
    put("t/b", "2");
    ck_assert_int_eq(bundle_digest("t", NULL, one, NULL), 0);
    put("t/a", "1"); /* another file, another time */
    ck_assert_int_eq(bundle_digest("t", NULL, two, NULL), 0);
    ck_assert_str_eq(one, two);
    ck_assert_int_eq(chmod("t/a", 0755), 0);
    ck_assert_int_eq(bundle_digest("t", NULL, two, NULL), 0);
    ck_assert_str_ne(one, two);
    ck_assert_int_eq(chmod("t/a", 0644), 0);
    put("t/a", "3");
    ck_assert_int_eq(bundle_digest("t", NULL, two, NULL), 0);
    ck_assert_str_ne(one, two);
    put("t/a", "1");
    ck_assert_int_eq(mkdir("t/c", 0755), 0);
    ck_assert_int_eq(bundle_digest("t", NULL, two, NULL), 0);
    ck_assert_str_ne(one, two);
}
END_TEST

START_TEST(ignored_files_stay)
{
    char digest[RWF_DIGEST_LEN];
    struct bundle_options o = {.ignore = true};
    put("t/.gitignore", "*.o\n/data/\n");
    put("t/.raywfignore", "!keep.o\n");
    put("t/a.o", "no");
    put("t/keep.o", "yes");
    put("t/data/x", "no");
    put("t/sub/data/x", "yes");
    put("t/sub/.gitignore", "x.log\n");
    put("t/sub/x.log", "no");
    put("t/x.log", "yes");
    struct rwf_str s = pack("t", &o, 4096, digest);
    ck_assert_int_eq(unpack(&s, "out", 4096, NULL, digest, NULL), 0);
    ck_assert(!rwf_fs_exists("out/a.o") && !rwf_fs_exists("out/data") &&
              !rwf_fs_exists("out/sub/x.log"));
    ck_assert(rwf_fs_exists("out/keep.o") && rwf_fs_exists("out/sub/data/x") &&
              rwf_fs_exists("out/x.log") && rwf_fs_exists("out/.gitignore"));
    rwf_str_free(&s);
}
END_TEST

START_TEST(named_paths_come)
{
    char digest[RWF_DIGEST_LEN];
    static const char *const paths[] = {"a/b", ".raywf/x", "a/b/c"};
    struct bundle_options o = {.ignore = true, .paths = paths, .path_count = 3};
    make_tree();
    put("t/.raywf/x", "named");
    struct rwf_str s = pack("t", &o, 4096, digest);
    ck_assert_int_eq(unpack(&s, "out", 4096, NULL, digest, NULL), 0);
    expect_file("out/a/b/c/deep", "deep");
    expect_file("out/.raywf/x", "named");
    ck_assert_int_eq(names_in("out"), 2);
    ck_assert_int_eq(names_in("out/.raywf"), 1);
    rwf_str_free(&s);
}
END_TEST

static void expect_no_writer(const struct bundle_options *o, const char *part)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct bundle_writer *w = bundle_writer_open("t", o, &err);
    ck_assert_ptr_null(w);
    ck_assert_msg(strstr(err.text, part) != NULL, "'%s' not in: %s", part, err.text);
}

START_TEST(what_cannot_travel_is_said)
{
    static const char *const up[] = {"../x"}, *const through[] = {"in/x"},
                             *const none[] = {"none"};
    struct bundle_options o = {.paths = up, .path_count = 1};
    expect_no_writer(NULL, "cannot read the folder 't'");
    put("t/a", "1");
    put("elsewhere/x", "1");
    expect_no_writer(&o, "'../x' is no path beneath 't'");
    o.paths = none;
    expect_no_writer(&o, "cannot read 't/none': No such file");
    ck_assert_int_eq(symlink("../elsewhere", "t/in"), 0);
    o.paths = through;
    expect_no_writer(&o, "cannot read 't/in/x': a link or a file is on the way");
    expect_no_writer(NULL, "the link 't/in' cannot travel: it leads out of the tree");
    ck_assert_int_eq(unlink("t/in"), 0);
    ck_assert_int_eq(symlink("/etc", "t/in"), 0);
    expect_no_writer(NULL, "absolute");
    char digest[RWF_DIGEST_LEN];
    o = (struct bundle_options){.leave_links = true};
    struct rwf_str s = pack("t", &o, 4096, digest);
    ck_assert_int_eq(unpack(&s, "out", 4096, NULL, digest, NULL), 0);
    ck_assert_int_eq(names_in("out"), 1);
    rwf_str_free(&s);
}
END_TEST

START_TEST(limits_name_who_breaks_them)
{
    struct bundle_options o = {.max_bytes = 20};
    put("t/small", "1");
    put("t/data/large", "0123456789abcdef");
    put("t/data/larger", "0123456789abcdef0123456789abcdef");
    expect_no_writer(&o, "data/larger (32 B), data/large (16 B), small (1 B)");
    o = (struct bundle_options){.max_files = 3};
    expect_no_writer(&o,
                     "4 files and folders, more than the limit of 3; the most are in "
                     "data (3)");
    o.max_files = 4;
    char digest[RWF_DIGEST_LEN];
    ck_assert_int_eq(bundle_digest("t", &o, digest, NULL), 0);
    struct rwf_str s = pack("t", NULL, 4096, digest);
    struct rwf_err err = RWF_ERR_INIT;
    o.max_files = 3;
    ck_assert_int_eq(unpack(&s, "out", 4096, &o, digest, &err), -1);
    ck_assert_str_eq(err.text, "bundle: more than 3 files and folders");
    o = (struct bundle_options){.max_bytes = 48};
    ck_assert_int_eq(unpack(&s, "out", 4096, &o, digest, &err), -1);
    ck_assert_str_eq(err.text, "bundle: more than 48 B");
    ck_assert_int_eq(names_in("."), 1);
    rwf_str_free(&s);
}
END_TEST

START_TEST(a_file_that_changes_is_noticed)
{
    struct rwf_err err = RWF_ERR_INIT;
    char chunk[16];
    put("t/a", "0123456789012345678901234567890123456789");
    struct bundle_writer *w = bundle_writer_open("t", NULL, &err);
    ck_assert_ptr_nonnull(w);
    put("t/a", "short");
    ssize_t n;
    while ((n = bundle_writer_read(w, chunk, sizeof(chunk), &err)) > 0)
        ;
    ck_assert_int_eq(n, -1);
    ck_assert_str_eq(err.text, "'t/a' changed while it was read");
    bundle_writer_close(w);
}
END_TEST

/* A log that is written into the tree: both passes have it as it was found. */
START_TEST(a_file_that_grows_is_as_it_was)
{
    struct rwf_err err = RWF_ERR_INIT;
    char chunk[16], digest[RWF_DIGEST_LEN];
    put("t/a", "0123456789");
    struct bundle_writer *w = bundle_writer_open("t", NULL, &err);
    ck_assert_ptr_nonnull(w);
    put("t/a", "0123456789 and more");
    ck_assert_int_eq(bundle_writer_through(w, digest, &err), 0);
    put("t/a", "0123456789 and more, and more");
    ssize_t n;
    while ((n = bundle_writer_read(w, chunk, sizeof(chunk), &err)) > 0)
        ;
    ck_assert_int_eq(n, 0);
    ck_assert_str_eq(bundle_writer_digest(w), digest);
    bundle_writer_close(w);
}
END_TEST

START_TEST(one_file_is_asked_about)
{
    static const struct {
        const char *path;
        bool leaves;
    } cases[] = {{"a", false},       {"data/x", true},  {"sub/data/x", true},
                 {"b.log", true},    {"keep.log", false}, {"sub/c.txt", true},
                 {".git/config", true}, {"sub/.raywf/x", true}, {"c.txt", false}};
    put("u/.gitignore", "data/\n*.log\n!keep.log\n");
    put("u/sub/.raywfignore", "c.txt\n");
    for (size_t i = 0; i < RWF_COUNT(cases); i++)
        ck_assert_msg(bundle_leaves("u", cases[i].path) == cases[i].leaves, "%s",
                      cases[i].path);
}
END_TEST

/* --- the reader and what no writer writes --- */

static void add_entry(struct rwf_str *s, char kind, const char *path,
                      const char *content)
{
    uint16_t len = htole16((uint16_t)strlen(path));
    uint64_t size = htole64(strlen(content));
    char hex[RWF_DIGEST_LEN];
    rwf_str_addc(s, kind);
    rwf_str_addn(s, (const char *)&len, 2);
    rwf_str_addn(s, (const char *)&size, 8);
    rwf_str_add(s, path);
    rwf_str_add(s, content);
    if (kind != 'f' && kind != 'x')
        return;
    rwf_digest_bytes(content, strlen(content), hex);
    rwf_str_add(s, hex);
}

static const struct {
    const char *entries[4]; /* kind, path, ' ', content */
    const char *text;       /* part of what is said */
} bad[] = {
    {{"f/etc/passwd x"}, "entry '/etc/passwd': it is absolute"},
    {{"f../x x"}, "'.' or '..'"},
    {{"da ", "fa/../../x x"}, "'.' or '..'"},
    {{"f./x x"}, "'.' or '..'"},
    {{"fa//b x"}, "empty name"},
    {{"da/ "}, "empty name"},
    {{"fa x", "fa y"}, "it comes twice"},
    {{"fb x", "fa y"}, "out of order"},
    {{"fa/b x"}, "what it is in is no folder of this bundle"},
    {{"fa x", "fa/b x"}, "what it is in is no folder of this bundle"},
    {{"la .", "fa/b x"}, "what it is in is no folder of this bundle"},
    {{"la /etc"}, "absolute path"},
    {{"la ../x"}, "out of the tree"},
    {{"da ", "la/b ../../x"}, "out of the tree"},
    {{"da ", "la/b c/../../../x"}, "'..' behind a name"},
    {{"la "}, "a folder or link of 0 bytes"},
    {{"da x"}, "a folder or link of 1 bytes"},
    {{"ha x"}, "neither folder, file nor link"},
    {{"ca x"}, "neither folder, file nor link"},
    {{"f x"}, "a path of 0 bytes"},
    {{"fa\033[2J/b x"}, "entry 'a?[2J/b'"},
};

START_TEST(no_path_leads_out)
{
    struct rwf_str s = {0};
    struct rwf_err err = RWF_ERR_INIT;
    char digest[RWF_DIGEST_LEN];
    put("kept", "1");
    rwf_str_addn(&s, "RWFBNDL\1", 8);
    for (int i = 0; i < 4 && bad[_i].entries[i]; i++) {
        const char *e = bad[_i].entries[i], *space = strchr(e, ' ');
        char *path = rwf_xstrndup(e + 1, (size_t)(space - e - 1));
        add_entry(&s, e[0], path, space + 1);
        free(path);
    }
    ck_assert_int_eq(unpack(&s, "out", 4096, NULL, digest, &err), -1);
    ck_assert_msg(strstr(err.text, bad[_i].text) != NULL, "'%s' not in: %s",
                  bad[_i].text, err.text);
    ck_assert_int_eq(names_in("."), 1);
    rwf_str_free(&s);
}
END_TEST

static void make_small(void)
{
    put("t/a/b", "content");
    put("t/c", "more");
    ck_assert_int_eq(symlink("c", "t/l"), 0);
    put("out/old", "kept");
}

START_TEST(cut_anywhere_leaves_what_was)
{
    char digest[RWF_DIGEST_LEN];
    make_small();
    struct rwf_str s = pack("t", NULL, 4096, digest);
    for (size_t len = 0; len < s.len; len++) {
        struct rwf_str cut = {.data = s.data, .len = len};
        struct rwf_err err = RWF_ERR_INIT;
        ck_assert_int_eq(unpack(&cut, "out", 4096, NULL, digest, &err), -1);
        ck_assert_str_eq(err.text, "bundle: it ends too early");
    }
    expect_file("out/old", "kept");
    ck_assert_int_eq(names_in("."), 2);
    rwf_str_free(&s);
}
END_TEST

START_TEST(a_bit_that_flips_is_noticed)
{
    char digest[RWF_DIGEST_LEN];
    make_small();
    struct rwf_str s = pack("t", NULL, 4096, digest);
    for (size_t at = 0; at < s.len; at++) {
        struct rwf_err err = RWF_ERR_INIT;
        s.data[at] ^= (char)(1 << at % 8);
        ck_assert_int_eq(unpack(&s, "out", 4096, NULL, digest, &err), -1);
        ck_assert_str_ne(err.text, "");
        s.data[at] ^= (char)(1 << at % 8);
    }
    expect_file("out/old", "kept");
    ck_assert_int_eq(names_in("."), 2);
    rwf_str_free(&s);
}
END_TEST

START_TEST(a_target_is_replaced_whole)
{
    char digest[RWF_DIGEST_LEN];
    struct rwf_err err = RWF_ERR_INIT;
    make_small();
    struct rwf_str s = pack("t", NULL, 4096, digest);
    ck_assert_msg(unpack(&s, "out/", 4096, NULL, digest, &err) == 0, "%s", err.text);
    ck_assert(!rwf_fs_exists("out/old"));
    expect_file("out/a/b", "content");
    ck_assert_int_eq(names_in("."), 2);
    struct bundle_options o = {.keep = true};
    put("out/mine", "stays");
    ck_assert_int_eq(unpack(&s, "out", 4096, &o, digest, &err), 0);
    expect_file("out/mine", "stays");
    o = (struct bundle_options){.digest = "0123"};
    ck_assert_int_eq(unpack(&s, "out", 4096, &o, digest, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "not 0123 as was said"));
    o.digest = digest;
    ck_assert_int_eq(unpack(&s, "out", 4096, &o, digest, &err), 0);
    ck_assert(!rwf_fs_exists("out/mine"));
    ck_assert_int_eq(names_in("."), 2);
    rwf_str_addc(&s, 'x');
    ck_assert_int_eq(unpack(&s, "out", 4096, NULL, digest, &err), -1);
    ck_assert_str_eq(err.text, "bundle: there is more after its end");
    ck_assert_int_eq(unpack(&s, "none/out", 4096, NULL, digest, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "cannot create folder 'none/out"));
    rwf_str_free(&s);
}
END_TEST

START_TEST(another_version_is_told)
{
    struct rwf_err err = RWF_ERR_INIT;
    char digest[RWF_DIGEST_LEN];
    struct rwf_str s = {0};
    rwf_str_addn(&s, "RWFBNDL\2", 8);
    ck_assert_int_eq(unpack(&s, "out", 1, NULL, digest, &err), -1);
    ck_assert_str_eq(err.text,
                     "bundle: its version is 2, this raywf reads version 1: use "
                     "the same raywf on both sides");
    s.data[0] = 'r';
    ck_assert_int_eq(unpack(&s, "out", 1, NULL, digest, &err), -1);
    ck_assert_str_eq(err.text, "bundle: this is no bundle");
    struct bundle_reader *r = bundle_reader_open("out", NULL, &err);
    ck_assert_int_eq(bundle_reader_feed(r, s.data, s.len, &err), -1);
    ck_assert_int_eq(bundle_reader_feed(r, s.data, s.len, &err), -1);
    ck_assert_str_eq(err.text, "bundle: it failed before");
    ck_assert_int_eq(bundle_reader_finish(r, digest, &err), -1);
    bundle_reader_close(r);
    ck_assert_int_eq(names_in("."), 0);
    rwf_str_free(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bundle");
    TCase *t = tcase_create("bundle");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, what_is_packed_comes_out, 0, RWF_COUNT(pieces));
    tcase_add_test(t, the_digest_is_of_the_tree);
    tcase_add_test(t, ignored_files_stay);
    tcase_add_test(t, named_paths_come);
    tcase_add_test(t, what_cannot_travel_is_said);
    tcase_add_test(t, limits_name_who_breaks_them);
    tcase_add_test(t, a_file_that_changes_is_noticed);
    tcase_add_test(t, a_file_that_grows_is_as_it_was);
    tcase_add_test(t, one_file_is_asked_about);
    tcase_add_loop_test(t, no_path_leads_out, 0, RWF_COUNT(bad));
    tcase_add_test(t, cut_anywhere_leaves_what_was);
    tcase_add_test(t, a_bit_that_flips_is_noticed);
    tcase_add_test(t, a_target_is_replaced_whole);
    tcase_add_test(t, another_version_is_told);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
