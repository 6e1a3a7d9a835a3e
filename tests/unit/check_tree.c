/* SPDX-License-Identifier: Apache-2.0
 *
 * Trees of files between nodes: there and back, what stays, what is refused, and links
 * that are cut on the way.
 */
#include "config.h"
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "far/step.h"
#include "far/tree.h"
#include "nodes_rig.h"

struct told {
    int count;
    struct rwf_err err; /* code 0: it went well */
};

static void on_done(void *ctx, const struct rwf_err *err)
{
    struct told *t = ctx;
    t->count++;
    t->err = err ? *err : (struct rwf_err)RWF_ERR_INIT;
}

#define SAYS(text, part)                                                               \
    ck_assert_msg(strstr(text, part) != NULL, "'%s' is not in: %s", part, text)

static struct rwf_err wait_for(struct told *t)
{
    UNTIL(t->count);
    for (int i = 0; i < 3; i++)
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    ck_assert_int_eq(t->count, 1);
    return t->err;
}

static struct rwf_err put(const char *where, const char *from, const char *to,
                          bool ignore)
{
    struct told t = {0};
    far_tree_put(rig.nodes[0], where, from, to, ignore, on_done, &t);
    ck_assert_int_eq(t.count, 0);
    return wait_for(&t);
}

static struct rwf_err get(const char *where, const char *from, const char *const *paths,
                          size_t count, const char *to)
{
    struct told t = {0};
    far_tree_get(rig.nodes[0], where, from, paths, count, to, on_done, &t);
    ck_assert_int_eq(t.count, 0);
    return wait_for(&t);
}

#define FINE(call)                                                                     \
    do {                                                                               \
        struct rwf_err err__ = call;                                                   \
        ck_assert_msg(err__.code == 0, "%s", err__.text);                              \
    } while (0)

/* A path beneath the folder of run r1 on node n1. */
static const char *there(const char *name)
{
    char *folder = far_run_folder(rig.nodes[0], "n1", "r1");
    ck_assert_ptr_nonnull(folder);
    ck_assert_str_eq(folder, rig_path("node1/runs/r1"));
    free(folder);
    return *name ? rig_path("node1/runs/r1/%s", name) : rig_path("node1/runs/r1");
}

static void write_big(const char *path, size_t mib)
{
    char *block = rwf_xmalloc((size_t)1 << 20);
    rig_write(path, "");
    FILE *f = fopen(path, "w");
    for (size_t i = 0; i < mib; i++) {
        for (size_t k = 0; k < (size_t)1 << 20; k++)
            block[k] = (char)(k * 31 + i * 7 + (k >> 8));
        ck_assert_uint_eq(fwrite(block, 1, (size_t)1 << 20, f), (size_t)1 << 20);
    }
    fclose(f);
    free(block);
}

static void make_tree(size_t mib)
{
    rig_write(rig_path("tree/a"), "the a\n");
    rig_write(rig_path("tree/sub/deep/b"), "the b\n");
    rig_write(rig_path("tree/empty"), "");
    rig_write(rig_path("tree/run.sh"), "#!/bin/sh\n");
    ck_assert_int_eq(chmod(rig_path("tree/run.sh"), 0755), 0);
    ck_assert_int_eq(mkdir(rig_path("tree/nothing"), 0755), 0);
    ck_assert_int_eq(symlink("sub/deep/b", rig_path("tree/link")), 0);
    if (mib)
        write_big(rig_path("tree/big"), mib);
}

static void same(const char *a, const char *b)
{
    char x[RWF_DIGEST_LEN] = "", y[RWF_DIGEST_LEN] = "";
    struct rwf_err err = RWF_ERR_INIT;
    const struct bundle_options all = {.everything = true};
    ck_assert_msg(bundle_digest(a, &all, x, &err) == 0, "%s", err.text);
    ck_assert_msg(bundle_digest(b, &all, y, &err) == 0, "%s", err.text);
    ck_assert_str_eq(x, y);
}

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static ino_t inode(const char *path)
{
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    return st.st_ino;
}

static void holds(const char *path, const char *text)
{
    char *got = rig_read(path);
    ck_assert_str_eq(got, text);
    free(got);
}

/* --- there and back --- */

static const char *const nodes[] = {"n1", NULL};

START_TEST(there_and_back)
{
    rig_open(2);
    make_tree(9);
    const char *from = rig_path("tree"), *to = there("tree"), *back = rig_path("back");
    FINE(put(nodes[_i], from, to, false));
    same(from, to);
    FINE(get(nodes[_i], to, NULL, 0, back));
    same(from, back);
    rig_close();
}
END_TEST

START_TEST(ignored_files_stay)
{
    rig_open(2);
    make_tree(0);
    rig_write(rig_path("tree/.gitignore"), "*.o\nbuild/\n");
    rig_write(rig_path("tree/x.o"), "object");
    rig_write(rig_path("tree/build/y"), "made");
    rig_write(rig_path("tree/.git/config"), "of git");
    const char *from = rig_path("tree"), *to = there("tree"), *raw = there("raw");
    FINE(put("n1", from, to, true));
    ck_assert(exists(rig_path("node1/runs/r1/tree/a")));
    ck_assert(!exists(rig_path("node1/runs/r1/tree/x.o")));
    ck_assert(!exists(rig_path("node1/runs/r1/tree/build")));
    ck_assert(!exists(rig_path("node1/runs/r1/tree/.git")));
    FINE(put("n1", from, raw, false));
    same(from, raw);
    /* What a step makes there and is ignored makes it no other tree. */
    ino_t before = inode(rig_path("node1/runs/r1/tree/a"));
    rig_write(rig_path("node1/runs/r1/tree/z.o"), "made there");
    FINE(put("n1", from, to, true));
    ck_assert_uint_eq(inode(rig_path("node1/runs/r1/tree/a")), before);
    rig_close();
}
END_TEST

START_TEST(what_is_there_is_not_sent_again)
{
    rig_open(2);
    make_tree(1);
    const char *from = rig_path("tree"), *to = there("tree");
    FINE(put("n1", from, to, false));
    ino_t before = inode(rig_path("node1/runs/r1/tree/a"));
    FINE(put("n1", from, to, false));
    ck_assert_uint_eq(inode(rig_path("node1/runs/r1/tree/a")), before);
    rig_write(rig_path("node1/runs/r1/tree/more"), "made there");
    FINE(put("n1", from, to, false));
    same(from, to); /* it is replaced whole */
    rig_close();
}
END_TEST

static struct rwf_err put_like(const char *from, const char *to, const char *like)
{
    struct told t = {0};
    far_tree_put_like(rig.nodes[0], "n1", from, to, like, on_done, &t);
    return wait_for(&t);
}

START_TEST(what_was_made_there_is_not_sent_back)
{
    rig_open(2);
    make_tree(0);
    const char *from = rig_path("out/o"), *made = there("steps/1/o"),
               *to = there("x/o");
    rig_write(from, "a result");
    rig_write(made, "a result");
    FINE(put_like(from, to, made));
    holds(to, "a result");
    ck_assert_uint_eq(inode(to), inode(made));
    /* a file or a folder that stood in its place goes */
    rig_write(there("y/o"), "of old");
    FINE(put_like(from, there("y/o"), made));
    holds(there("y/o"), "a result");
    FINE(put("n1", rig_path("tree"), there("steps/tree"), false));
    FINE(put_like(rig_path("tree"), there("again"), there("steps/tree")));
    same(rig_path("tree"), there("again"));
    same(rig_path("tree"), there("steps/tree"));
    ck_assert_uint_ne(inode(there("again/a")), inode(there("steps/tree/a")));
    rig_close();
}
END_TEST

/* Each of them has something else, or is nothing that may be read. */
static const char *const unlike[] = {"node1/runs/r1/steps/1/o", "node1/runs/r1/none",
                                     "node1/runs/r1/steps", "else/o"};

START_TEST(what_is_not_like_it_is_sent)
{
    rig_open(2);
    const char *from = rig_path("out/o"), *to = there("x/o");
    rig_write(from, "a result");
    rig_write(there("steps/1/o"), "changed since");
    rig_write(rig_path("else/o"), "a result"); /* not beneath the folder of runs */
    FINE(put_like(from, to, rig_path(unlike[_i])));
    holds(to, "a result");
    ck_assert_uint_ne(inode(to), inode(rig_path("else/o")));
    holds(there("steps/1/o"), "changed since");
    rig_close();
}
END_TEST

START_TEST(a_tree_may_be_a_file)
{
    rig_open(2);
    rig_write(rig_path("one"), "just one");
    const char *from = rig_path("one"), *to = there("sub/one.txt"),
               *back = rig_path("x/back");
    FINE(put("n1", from, to, false));
    holds(to, "just one");
    FINE(get("n1", to, NULL, 0, back));
    holds(back, "just one");
    rig_write(from, "another");
    FINE(put("n1", from, to, false)); /* in the place of a file */
    holds(to, "another");
    FINE(put("n1", from, there("sub"), false)); /* of a folder */
    holds(there("sub"), "another");
    FINE(put(NULL, from, rig_path("here"), false));
    holds(rig_path("here"), "another");
    rig_close();
}
END_TEST

START_TEST(parts_go_to_their_places)
{
    static const char *const paths[] = {"out/a", "out/sub", "not/there", "c"};
    rig_open(2);
    const char *from = there(""), *to = rig_path("attempt");
    rig_write(there("out/a"), "new a");
    rig_write(there("out/sub/b"), "new b");
    rig_write(there("out/other"), "not wanted");
    rig_write(there("c"), "new c");
    rig_write(rig_path("attempt/stdout"), "of ours");
    rig_write(rig_path("attempt/out/a"), "old a");
    rig_write(rig_path("attempt/out/sub/old"), "old");
    for (size_t i = 0; i < RWF_COUNT(nodes); i++) {
        FINE(get(nodes[i], from, paths, RWF_COUNT(paths), to));
        holds(rig_path("attempt/out/a"), "new a");
        holds(rig_path("attempt/out/sub/b"), "new b");
        holds(rig_path("attempt/c"), "new c");
        holds(rig_path("attempt/stdout"), "of ours");
        ck_assert(!exists(rig_path("attempt/out/sub/old")));
        ck_assert(!exists(rig_path("attempt/out/other")));
        ck_assert(!exists(rig_path("attempt/not")));
    }
    FINE(get("n1", from, paths + 2, 1, to)); /* nothing of it is there */
    rig_close();
}
END_TEST

START_TEST(many_at_once)
{
    enum { MANY = 20 };
    struct told told[MANY] = {{0}};
    rig_open(3);
    make_tree(1);
    for (int i = 0; i < MANY; i++)
        far_tree_put(rig.nodes[0], i % 2 ? "n1" : "n2", rig_path("tree"),
                     rig_path("node%d/runs/r1/t%d", i % 2 ? 1 : 2, i), false, on_done,
                     &told[i]);
    for (int i = 0; i < MANY; i++) {
        FINE(wait_for(&told[i]));
        same(rig_path("tree"), rig_path("node%d/runs/r1/t%d", i % 2 ? 1 : 2, i));
    }
    rig_close();
}
END_TEST

/* --- what is refused --- */

static const struct {
    const char *path; /* in rig.dir */
    const char *says;
} outside[] = {
    {"elsewhere", "beneath the folder of runs"},
    {"node1/runs", "beneath the folder of runs"},
    {"node1/runs/.used/r1", "beneath the folder of runs"},
    {"node1/runs/r1/../../../elsewhere", "beneath the folder of runs"},
    {"node1/runs/r1/way-out/x", "beneath the folder of runs"},
    {"node1/workers", "beneath the folder of runs"},
};

START_TEST(nothing_else_is_touched)
{
    rig_open(2);
    make_tree(0);
    rig_write(there("ok"), "ok");
    rig_write(rig_path("elsewhere/x"), "precious");
    ck_assert_int_eq(symlink(rig_path("elsewhere"), there("way-out")), 0);
    const char *path = rig_path("%s", outside[_i].path);
    struct rwf_err err = put("n1", rig_path("tree"), path, false);
    SAYS(err.text, outside[_i].says);
    SAYS(err.text, "node n1");
    err = get("n1", path, NULL, 0, rig_path("back"));
    SAYS(err.text, outside[_i].says);
    SAYS(err.text, "node n1");
    holds(rig_path("elsewhere/x"), "precious");
    ck_assert(!exists(rig_path("back")));
    rig_close();
}
END_TEST

START_TEST(what_is_not_there)
{
    rig_open(2);
    struct rwf_err err = put("n1", rig_path("no-tree"), there("x"), false);
    SAYS(err.text, "no-tree");
    err = get("n1", there("no-tree"), NULL, 0, rig_path("back"));
    SAYS(err.text, "no-tree");
    SAYS(err.text, "node n1");
    make_tree(0);
    err = put("n7", rig_path("tree"), "/x/runs/r1/x", false);
    SAYS(err.text, "node n7");
    SAYS(err.text, "raywf nodes");
    ck_assert_int_eq(symlink("/etc/passwd", rig_path("tree/bad")), 0);
    err = put("n1", rig_path("tree"), there("x"), false);
    SAYS(err.text, "bad");
    ck_assert(!exists(there("x")));
    rig_close();
}
END_TEST

/* Bytes of the file that is on its way to the folder. */
static off_t half(const char *folder)
{
    glob_t g;
    off_t size = 0;
    char *pattern = rwf_xasprintf("%s/tree*.part.*/big", folder);
    struct stat st;
    if (glob(pattern, 0, NULL, &g) == 0 && stat(g.gl_pathv[0], &st) == 0)
        size = st.st_size;
    globfree(&g);
    free(pattern);
    return size;
}

/* UNTIL may ask once more. */
static bool unmounted(const char *path)
{
    return umount(path) == 0 || errno == EINVAL;
}

START_TEST(a_disk_is_full)
{
    static const char *const paths[] = {"a", "big"};
    rig_open(2);
    const char *small = rig_path("node1/runs/r1");
    ck_assert_int_eq(rwf_fs_mkdirs(small, NULL), 0);
    ck_assert_int_eq(rwf_fs_mkdirs(rig_path("small"), NULL), 0);
    make_tree(20);
    FINE(put("n1", rig_path("tree"), rig_path("node1/runs/r2/tree"), false));
    if (mount("tmpfs", small, "tmpfs", 0, "size=4m") == 0) {
        struct rwf_err err = put("n1", rig_path("tree"), there("tree"), false);
        ck_assert_int_eq(err.code, ENOSPC);
        SAYS(err.text, "node n1");
        SAYS(err.text, "No space left");
        ck_assert(!exists(there("tree")));
        const char *after = there("after"); /* what came of it goes */
        UNTIL(rwf_fs_write(after, "room again", 10, false, NULL) == 0);
        ck_assert_int_eq(half(small), 0);
        UNTIL(unmounted(small));
    }
    if (mount("tmpfs", rig_path("small"), "tmpfs", 0, "size=4m") == 0) {
        struct rwf_err err =
            get("n1", rig_path("node1/runs/r2/tree"), paths, 2, rig_path("small/back"));
        ck_assert_int_eq(err.code, ENOSPC);
        ck_assert(!exists(rig_path("small/back")));
        UNTIL(unmounted(rig_path("small")));
    }
    rig_close();
}
END_TEST

/* --- links that are cut --- */

enum { BIG_MIB = 48, CUTS = 4 };

START_TEST(a_cut_link_is_made_again)
{
    struct told t = {0};
    bool is_put = _i == 0;
    rig_open(2);
    make_tree(BIG_MIB);
    const char *from = rig_path("tree"), *to = there("tree"),
               *back = rig_path("back/tree");
    const char *folder = is_put ? there("") : rig_path("back");
    off_t last = 0;
    if (is_put) {
        far_tree_put(rig.nodes[0], "n1", from, to, false, on_done, &t);
    } else {
        FINE(put("n1", from, to, false));
        far_tree_get(rig.nodes[0], "n1", to, NULL, 0, back, on_done, &t);
    }
    for (int i = 0; i < CUTS; i++) {
        UNTIL(half(folder) > last + (6 << 20) || t.count);
        ck_assert_int_eq(t.count, 0);
        last = half(folder);
        rig_cut();
        uv_run(&rig.loop, UV_RUN_NOWAIT);
        /* It is kept. */
        ck_assert_int_ge(half(folder), last);
    }
    FINE(wait_for(&t));
    same(from, is_put ? to : back);
    rig_close();
}
END_TEST

enum lost { LOSE, DESTROY, DESTROY_OURS, LOST_COUNT };

START_TEST(a_node_that_goes_is_told_of)
{
    struct told t = {0}, waits[8] = {{0}};
    rig_open(2);
    make_tree(BIG_MIB);
    far_tree_put(rig.nodes[0], "n1", rig_path("tree"), there("tree"), false, on_done,
                 &t);
    UNTIL(half(there("")) > 2 << 20);
    for (int i = 0; i < 8; i++)
        far_tree_put(rig.nodes[0], "n1", rig_path("tree"), there("other"), false,
                     on_done, &waits[i]);
    if (_i == LOSE)
        rig_lose(1);
    else
        rig_destroy(_i == DESTROY ? 1 : 0);
    struct rwf_err err = wait_for(&t);
    ck_assert_int_ne(err.code, 0);
    SAYS(err.text, "node n1");
    for (int i = 0; i < 8; i++)
        ck_assert_int_ne(wait_for(&waits[i]).code, 0);
    rig_close();
}
END_TEST

/* --- the same file system? --- */

START_TEST(who_sees_a_file)
{
    static const struct {
        const char *path, *text;
        bool fine;
    } cases[] = {{"nonce", "1234567890", true},   {"nonce", "123456789", false},
                 {"nonce", "12345678901", false}, {"nonce", "1234567x90", false},
                 {"none", "1234567890", false},   {"", "1234567890", false}};
    rig_open(2);
    rig_write(rig_path("nonce"), "1234567890");
    for (size_t i = 0; i < RWF_COUNT(cases); i++)
        for (size_t k = 0; k < RWF_COUNT(nodes); k++) {
            struct told t = {0};
            far_sees(rig.nodes[0], nodes[k], rig_path("%s", cases[i].path),
                     cases[i].text, on_done, &t);
            ck_assert_int_eq(wait_for(&t).code, cases[i].fine ? 0 : ENOENT);
        }
    struct told t = {0};
    far_sees(rig.nodes[0], "n9", "/", "", on_done, &t);
    SAYS(wait_for(&t).text, "node n9");
    rig_close();
}
END_TEST

/* --- the folder of a run --- */

START_TEST(a_run_has_a_folder)
{
    static const char *const bad[] = {"", ".", "..", "a/b", "../x", ".used", "/x"};
    rig_open(2);
    char *here = far_run_folder(rig.nodes[0], NULL, "r5");
    ck_assert_str_eq(here, rig_path("node0/runs/r5"));
    struct stat st;
    ck_assert_int_eq(stat(here, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0700);
    for (size_t i = 0; i < RWF_COUNT(bad); i++)
        ck_assert_ptr_null(far_run_folder(rig.nodes[0], NULL, bad[i]));
    ck_assert_ptr_null(far_run_folder(rig.nodes[0], "n9", "r5"));
    make_tree(0);
    FINE(put("n1", rig_path("tree"), there("tree"), false));
    rig_write(rig_path("node1/runs/somebody/x"), "not a run's");
    rig_stop(0);
    rig_stop(1);
    uv_run(&rig.loop, UV_RUN_NOWAIT);
    UNTIL(!exists(here) && !exists(rig_path("node1/runs/r1")));
    ck_assert(exists(rig_path("node1/runs/somebody/x")));
    free(here);
    rig_close();
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("tree");
    TCase *t = tcase_create("tree");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, there_and_back, 0, RWF_COUNT(nodes));
    tcase_add_test(t, ignored_files_stay);
    tcase_add_test(t, what_is_there_is_not_sent_again);
    tcase_add_test(t, what_was_made_there_is_not_sent_back);
    tcase_add_loop_test(t, what_is_not_like_it_is_sent, 0, RWF_COUNT(unlike));
    tcase_add_test(t, a_tree_may_be_a_file);
    tcase_add_test(t, parts_go_to_their_places);
    tcase_add_test(t, many_at_once);
    tcase_add_loop_test(t, nothing_else_is_touched, 0, RWF_COUNT(outside));
    tcase_add_test(t, what_is_not_there);
    tcase_add_test(t, a_disk_is_full);
    tcase_add_loop_test(t, a_cut_link_is_made_again, 0, 2);
    tcase_add_loop_test(t, a_node_that_goes_is_told_of, 0, LOST_COUNT);
    tcase_add_test(t, who_sees_a_file);
    tcase_add_test(t, a_run_has_a_folder);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
