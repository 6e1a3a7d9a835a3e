/* SPDX-License-Identifier: Apache-2.0
 *
 * The cache of results on a real file system.
 */
#include "config.h"
#include "run/cache.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#define RECIPE "recipe.yaml"
#define ORIGIN "20260101-000000-abcdef/tasks.a"

static char top[64];  /* the recipe's folder */
static char *root, *work;
static struct run_cache *cache;
static char key_a[RWF_DIGEST_LEN], key_b[RWF_DIGEST_LEN];

static void setup(void)
{
    strcpy(top, "/tmp/raywf-cache-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(top));
    root = rwf_fs_join(top, ".raywf");
    work = rwf_fs_join(root, "runs/1/steps/a/1");
    ck_assert_int_eq(rwf_fs_mkdirs(work, NULL), 0);
    cache = run_cache_open(root, NULL);
    ck_assert_ptr_nonnull(cache);
    rwf_digest_bytes("a", 1, key_a);
    rwf_digest_bytes("b", 1, key_b);
}

static void teardown(void)
{
    run_cache_close(cache);
    rwf_fs_rmtree(top, NULL);
    free(root);
    free(work);
}

static int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int sh(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = rwf_xvasprintf(fmt, ap);
    va_end(ap);
    char *all = rwf_xasprintf("cd %s || exit 9\n%s", work, text);
    int status = system(all);
    free(all);
    free(text);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static json_t *try_put(const char *key, const char *dir, const char *path,
                       char **missing, struct rwf_err *err)
{
    json_t *parts = json_pack("{s:i}", "epoch", 1);
    json_t *metrics = json_pack("{s:f}", "acc", 0.5);
    json_t *outputs = path ? json_pack("{s:s}", "m", path) : json_object();
    json_t *kept = run_cache_put(cache, key, parts, dir, outputs, metrics, RECIPE,
                                 ORIGIN, missing, err);
    json_decref(parts);
    json_decref(metrics);
    json_decref(outputs);
    return kept;
}

/* Puts output "m" and returns its path; caller frees. */
static char *put(const char *key, const char *dir, const char *path)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *kept = try_put(key, dir, path, NULL, &err);
    ck_assert_msg(kept != NULL, "%s", err.text);
    const char *at =
        json_string_value(json_object_get(json_object_get(kept, "m"), "path"));
    char *copy = at ? rwf_xstrdup(at) : NULL;
    json_decref(kept);
    return copy;
}

static void put_fails(const char *path, const char *part)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *missing = NULL;
    const char *why;
    ck_assert_ptr_null(try_put(key_a, work, path, &missing, &err));
    ck_assert_msg(strstr(err.text, part) != NULL, "'%s' is not in: %s", part, err.text);
    ck_assert_ptr_null(missing);
    ck_assert_ptr_null(run_cache_get(cache, key_a, &why));
    ck_assert_int_eq(
        sh("test ! -e %s/cache/tmp || test -z \"$(ls -A %s/cache/tmp)\"", root, root),
        0);
}

static void assert_miss(const char *key, const char *want)
{
    const char *why = NULL;
    json_t *entry = run_cache_get(cache, key, &why);
    ck_assert_ptr_null(entry);
    ck_assert_str_eq(why, want);
}

static json_t *hit(const char *key)
{
    const char *why = NULL;
    json_t *entry = run_cache_get(cache, key, &why);
    ck_assert_msg(entry != NULL, "%s", why);
    return entry;
}

static void assert_hit(const char *key)
{
    json_decref(hit(key));
}

START_TEST(test_nothing_is_made_by_looking)
{
    struct run_cache_stats s;
    assert_miss(key_a, "not there");
    ck_assert_ptr_null(run_cache_last_for(cache, RECIPE, "tasks.a"));
    ck_assert_int_eq(run_cache_stats(cache, &s, NULL), 0);
    ck_assert_int_eq(s.entries, 0);
    ck_assert_int_eq(run_cache_gc(cache, 0, &s, NULL), 0);
    ck_assert_int_eq(sh("test ! -e %s/cache", root), 0);
}
END_TEST

START_TEST(test_entry_without_outputs)
{
    put(key_a, work, NULL);
    json_t *e = hit(key_a);
    ck_assert_str_eq(json_string_value(json_object_get(e, "key")), key_a);
    ck_assert_str_eq(json_string_value(json_object_get(e, "origin")), ORIGIN);
    ck_assert(json_real_value(json_object_get(json_object_get(e, "metrics"), "acc")) ==
              0.5);
    ck_assert_int_eq(
        json_integer_value(json_object_get(json_object_get(e, "parts"), "epoch")), 1);
    json_decref(e);
    assert_miss(key_b, "not there");
    ck_assert_int_eq(run_cache_drop(cache, key_a, NULL), 0);
    assert_miss(key_a, "not there");
    ck_assert_int_eq(run_cache_drop(cache, key_a, NULL), 0);
}
END_TEST

START_TEST(test_file)
{
    sh("printf hello > m.txt");
    char *path = put(key_a, work, "m.txt");
    ck_assert(rwf_ends_with(path, "/m.txt"));
    ck_assert_int_eq(sh("test \"$(cat %s)\" = hello && test m.txt -ef %s", path, path),
                     0);
    ck_assert_int_eq(sh("test $(stat -c %%a %s) = 444", path), 0);
    json_t *e = hit(key_a);
    const json_t *m = json_object_get(json_object_get(e, "outputs"), "m");
    char digest[RWF_DIGEST_LEN], want[RWF_DIGEST_LEN + 7];
    rwf_digest_bytes("hello", 5, digest);
    snprintf(want, sizeof(want), "sha256:%s", digest);
    ck_assert_str_eq(json_string_value(json_object_get(m, "digest")), want);
    ck_assert_str_eq(json_string_value(json_object_get(m, "path")), path);
    ck_assert_int_eq(json_integer_value(json_object_get(m, "size")), 5);
    json_decref(e);
    free(path);
}
END_TEST

START_TEST(test_same_content_is_kept_once)
{
    struct run_cache_stats s;
    sh("echo same > x; mkdir d; echo same > d/y; cp x d/run; chmod +x d/run");
    char *a = put(key_a, work, "x"), *b = put(key_b, work, "d");
    ck_assert_int_eq(
        sh("test %s -ef %s/y && ! test %s -ef %s/run && test -x %s/run", a, b, a, b, b),
        0);
    ck_assert_int_eq(run_cache_stats(cache, &s, NULL), 0);
    ck_assert_int_eq(s.entries, 2);
    ck_assert_int_eq(s.blobs, 2);
    ck_assert_int_eq(s.bytes, 10);
    free(a);
    free(b);
}
END_TEST

/* A step that works in the user's folder: its files stay the user's. */
START_TEST(test_users_files_are_copied)
{
    sh("cd %s && echo one > out && chmod 644 out", top);
    char *path = put(key_a, top, "out");
    ck_assert_int_eq(
        sh("cd %s && test $(stat -c %%a out) = 644 && ! test out -ef %s", top, path),
        0);
    ck_assert_int_eq(
        sh("cd %s && echo two > out && test \"$(cat %s)\" = one", top, path), 0);
    free(path);
}
END_TEST

START_TEST(test_file_with_other_links_is_copied)
{
    sh("echo one > %s/mine && ln %s/mine out", top, top);
    char *path = put(key_a, work, "out");
    ck_assert_int_eq(sh("echo two > %s/mine && test \"$(cat %s)\" = one", top, path),
                     0);
    free(path);
}
END_TEST

START_TEST(test_folder)
{
    sh("mkdir -p d/sub d/empty; echo 1 > d/a; echo 22 > d/sub/b; ln -s ../a "
       "d/sub/link");
    char *path = put(key_a, work, "d/");
    ck_assert_int_eq(sh("test -d %s/empty && test \"$(cat %s/sub/link)\" = 1 && "
                        "test ! -L %s/sub/link", path, path, path), 0);
    json_t *e = hit(key_a);
    const json_t *m = json_object_get(json_object_get(e, "outputs"), "m");
    ck_assert_int_eq(json_integer_value(json_object_get(m, "files")), 3);
    ck_assert_int_eq(json_integer_value(json_object_get(m, "size")), 7);
    /* An input folder with the same content has the same digest. */
    char digest[RWF_DIGEST_LEN];
    char *source = rwf_fs_join(work, "d");
    ck_assert_int_eq(run_cache_digest(cache, source, digest, NULL), 0);
    ck_assert_str_eq(json_string_value(json_object_get(m, "digest")) + 7, digest);
    sh("mv d/sub/b d/sub/c");
    char moved[RWF_DIGEST_LEN];
    ck_assert_int_eq(run_cache_digest(cache, source, moved, NULL), 0);
    ck_assert_str_ne(moved, digest);
    struct rwf_err err = RWF_ERR_INIT;
    sh("rm d/a");
    ck_assert_int_eq(run_cache_digest(cache, source, moved, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, "'sub/link' is a link to nothing"));
    json_decref(e);
    ck_assert_int_eq(sh("rm %s/sub/b", path), 0);
    assert_miss(key_a, "files of an output folder are gone or changed");
    free(source);
    free(path);
}
END_TEST

START_TEST(test_big_folder)
{
    sh("mkdir d; cd d; for i in $(seq 300); do echo $i > f$i; done");
    char *path = put(key_a, work, "d");
    ck_assert_int_eq(sh("diff -r d %s", path), 0);
    assert_hit(key_a);
    free(path);
}
END_TEST

START_TEST(test_missing_output)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *missing = NULL;
    ck_assert_ptr_null(try_put(key_a, work, "no/model.bin", &missing, &err));
    ck_assert_str_eq(missing, "m");
    ck_assert_int_eq(err.code, RWF_E_FAILED);
    ck_assert_ptr_nonnull(strstr(err.text, "'no/model.bin'"));
    free(missing);
    assert_miss(key_a, "not there");
}
END_TEST

START_TEST(test_what_is_refused)
{
    sh("echo x > %s/secret; ln -s %s/secret out; ln -s "
       "../../../../../../../../../../etc up;"
       "mkfifo pipe; mkdir d; ln -s . d/self; ln -s nowhere dangling; ln -s /dev/null "
       "null;"
       "mkdir e; mkfifo e/pipe; ln -s %s/secret e/out",
       top, top, top);
    put_fails("out", "leads out of the step's folder");
    put_fails("up", "leads out of the step's folder");
    put_fails("up/passwd", "leads out of the step's folder");
    put_fails("null", "leads out of the step's folder");
    put_fails("pipe", "is a pipe");
    put_fails("e", "out of the step's folder");
    put_fails("d", "is a link to a folder it lies in");
    put_fails("dangling", "is a link to nothing");
    put_fails("../b", "must lie within the step's folder");
    put_fails("/etc/passwd", "must lie within the step's folder");
}
END_TEST

START_TEST(test_changed_result_of_a_key)
{
    sh("echo one > m");
    char *first = put(key_a, work, "m");
    sh("rm m; echo two > m");
    char *second = put(key_a, work, "m");
    ck_assert_str_ne(first, second);
    ck_assert_int_eq(
        sh("test \"$(cat %s)\" = one && test \"$(cat %s)\" = two", first, second), 0);
    char *again = put(key_a, work, "m");
    ck_assert_str_eq(again, second);
    free(first);
    free(second);
    free(again);
}
END_TEST

START_TEST(test_put_heals)
{
    sh("echo one > m; cp m copy");
    char *path = put(key_a, work, "m");
    sh("rm -f %s", path);
    assert_miss(key_a, "an output is gone");
    sh("rm m; mv copy m");
    char *again = put(key_a, work, "m");
    ck_assert_str_eq(path, again);
    assert_hit(key_a);
    sh("chmod +w %s; echo longer > %s", path, path);
    assert_miss(key_a, "an output has another size than it had");
    sh("rm -f m; echo one > m");
    free(again);
    again = put(key_a, work, "m"); /* the blob has the wrong size, too */
    ck_assert_int_eq(sh("test \"$(cat %s)\" = one", again), 0);
    assert_hit(key_a);
    free(path);
    free(again);
}
END_TEST

static char *entry_file(const char *key)
{
    return rwf_xasprintf("%s/cache/steps/%.2s/%s.json", root, key, key);
}

/* Cut short at every length, and with every byte changed: never taken for whole. */
START_TEST(test_torn_entry)
{
    put(key_a, work, NULL);
    char *path = entry_file(key_a);
    size_t len = 0;
    char *text = rwf_fs_read(path, 1 << 20, &len, NULL);
    ck_assert_ptr_nonnull(text);
    for (size_t cut = 0; cut < len; cut++) {
        ck_assert_int_eq(rwf_fs_write(path, text, cut, false, NULL), 0);
        assert_miss(key_a, "the entry is damaged");
    }
    for (size_t at = 0; at < len - 3; at++) {
        text[at] ^= 1;
        ck_assert_int_eq(rwf_fs_write(path, text, len, false, NULL), 0);
        assert_miss(key_a, "the entry is damaged");
        text[at] ^= 1;
    }
    put(key_a, work, NULL);
    assert_hit(key_a);
    free(text);
    free(path);
}
END_TEST

START_TEST(test_last_for)
{
    put(key_a, work, NULL);
    put(key_b, work, NULL);
    struct run_cache *other = run_cache_open(root, NULL); /* reads it from the file */
    json_t *e = run_cache_last_for(other, RECIPE, "tasks.a");
    ck_assert_str_eq(json_string_value(json_object_get(e, "key")), key_b);
    json_decref(e);
    ck_assert_ptr_null(run_cache_last_for(other, "else.yaml", "tasks.a"));
    ck_assert_ptr_null(run_cache_last_for(other, RECIPE, "tasks.b"));
    put(key_a, work, NULL);
    run_cache_close(other);
    other = run_cache_open(root, NULL);
    e = run_cache_last_for(other, RECIPE, "tasks.a");
    ck_assert_str_eq(json_string_value(json_object_get(e, "key")), key_a);
    json_decref(e);
    run_cache_close(other);
}
END_TEST

START_TEST(test_torn_journal)
{
    put(key_a, work, NULL);
    ck_assert_int_eq(sh("truncate -s -5 %s/cache/last.ndjson", root), 0);
    struct run_cache *other = run_cache_open(root, NULL);
    ck_assert_ptr_null(run_cache_last_for(other, RECIPE, "tasks.a"));
    run_cache_close(other);
    run_cache_close(cache);
    cache = run_cache_open(root, NULL);
    put(key_b, work, NULL);
    json_t *e = run_cache_last_for(cache, RECIPE, "tasks.a");
    ck_assert_str_eq(json_string_value(json_object_get(e, "key")), key_b);
    json_decref(e);
}
END_TEST

/* --- locks --- */

START_TEST(test_locks)
{
    int lock = -1, second = -1;
    ck_assert_int_eq(run_cache_trylock(cache, key_a, &lock, NULL), 1);
    ck_assert_int_eq(run_cache_trylock(cache, key_a, &second, NULL), 0);
    ck_assert_int_eq(run_cache_trylock(cache, key_b, &second, NULL), 1);
    struct run_cache *other = run_cache_open(root, NULL);
    int theirs = -1;
    ck_assert_int_eq(run_cache_trylock(other, key_a, &theirs, NULL), 0);
    run_cache_unlock(cache, key_a, lock);
    ck_assert_int_eq(run_cache_trylock(other, key_a, &theirs, NULL), 1);
    ck_assert_int_eq(run_cache_trylock(cache, key_a, &lock, NULL), 0);
    run_cache_close(other); /* as if it died */
    ck_assert_int_eq(run_cache_trylock(cache, key_a, &lock, NULL), 1);
    run_cache_unlock(cache, key_a, lock);
    run_cache_unlock(cache, key_b, second);
}
END_TEST

START_TEST(test_lock_dies_with_its_process)
{
    int ready[2], lock;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct run_cache *mine = run_cache_open(root, NULL);
        char ok = run_cache_trylock(mine, key_a, &lock, NULL) == 1;
        if (write(ready[1], &ok, 1) == 1)
            pause();
        _exit(1);
    }
    char ok = 0;
    ck_assert_int_eq(read(ready[0], &ok, 1), 1);
    ck_assert_int_eq(ok, 1);
    ck_assert_int_eq(run_cache_trylock(cache, key_a, &lock, NULL), 0);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert_int_eq(run_cache_trylock(cache, key_a, &lock, NULL), 1);
    run_cache_unlock(cache, key_a, lock);
}
END_TEST

static void hammer(int who)
{
    struct run_cache *mine = run_cache_open(root, NULL);
    json_t *none = json_object(), *outputs = json_pack("{s:s}", "m", "m");
    char *dir = rwf_xasprintf("%s/runs/1/steps/p%d", root, who);
    for (int i = 0; i < 60; i++) {
        char key[RWF_DIGEST_LEN], *path = rwf_fs_join(dir, "m"), name = (char)(i % 7);
        const char *why;
        rwf_digest_bytes(&name, 1, key);
        rwf_fs_rmtree(dir, NULL);
        if (rwf_fs_mkdirs(dir, NULL) < 0 ||
            rwf_fs_write(path, &name, 1, false, NULL) < 0)
            _exit(2);
        json_t *kept = run_cache_put(mine, key, none, dir, outputs, NULL, RECIPE,
                                     ORIGIN, NULL, NULL);
        json_t *entry = kept ? run_cache_get(mine, key, &why) : NULL;
        if (!entry)
            _exit(3);
        if (i % 10 == who && run_cache_gc(mine, 3600 * RWF_NS_PER_S, NULL, NULL) < 0)
            _exit(4);
        json_decref(entry);
        json_decref(kept);
        free(path);
    }
    json_decref(none);
    json_decref(outputs);
    free(dir);
    run_cache_close(mine);
    _exit(0);
}

START_TEST(test_many_processes)
{
    enum { N = 4 };
    pid_t pids[N];
    struct run_cache_stats s;
    for (int i = 0; i < N; i++)
        if ((pids[i] = fork()) == 0)
            hammer(i);
    for (int i = 0; i < N; i++) {
        int status = 0;
        ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
        ck_assert_int_eq(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
    }
    ck_assert_int_eq(run_cache_stats(cache, &s, NULL), 0);
    ck_assert_int_eq(s.entries, 7);
    ck_assert_int_eq(s.blobs, 7);
}
END_TEST

/* --- digests --- */

static void digest_of(const char *path, char out[RWF_DIGEST_LEN])
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(run_cache_digest(cache, path, out, &err) == 0, "%s", err.text);
}

START_TEST(test_digest_is_remembered)
{
    char first[RWF_DIGEST_LEN], second[RWF_DIGEST_LEN];
    char *path = rwf_fs_join(work, "data");
    put(key_a, work, NULL); /* makes the cache's folder */
    sh("printf one > data; touch -d '1 hour ago' data");
    digest_of(path, first);
    /* The same size, time and inode: not read again. This is how it can be seen. */
    sh("touch -r data stamp; printf two > data; touch -r stamp data");
    digest_of(path, second);
    ck_assert_str_eq(first, second);
    run_cache_close(cache);
    cache = run_cache_open(root, NULL);
    digest_of(path, second);
    ck_assert_str_eq(first, second);
    sh("touch data");
    digest_of(path, second);
    ck_assert_str_ne(first, second);
    /* Touched just now: a change within the same tick is still seen. */
    sh("touch -r data stamp; printf six > data; touch -r stamp data");
    digest_of(path, first);
    ck_assert_str_ne(first, second);
    free(path);
}
END_TEST

START_TEST(test_digest_of_what_is_not_there)
{
    struct rwf_err err = RWF_ERR_INIT;
    char out[RWF_DIGEST_LEN];
    ck_assert_int_eq(run_cache_digest(cache, "/no/such/file", out, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, "/no/such/file"));
    ck_assert_int_eq(run_cache_digest(cache, "/dev/null", out, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_INPUT);
}
END_TEST

/* --- looking after it --- */

START_TEST(test_gc)
{
    struct run_cache_stats s;
    sh("echo one > x; echo two > y");
    free(put(key_a, work, "x"));
    free(put(key_b, work, "y"));
    sh("rm x y; mkdir %s/cache/tmp/old; touch -d '3 days ago' %s/cache/tmp/old", root,
       root);
    char *path = entry_file(key_a);
    ck_assert_int_eq(run_cache_gc(cache, 3600 * RWF_NS_PER_S, &s, NULL), 0);
    ck_assert_int_eq(s.entries, 0);
    ck_assert_int_eq(sh("test ! -e %s/cache/tmp/old", root), 0);
    sh("touch -d '30 days ago' %s", path);
    assert_hit(key_a); /* a use */
    ck_assert_int_eq(run_cache_gc(cache, 3600 * RWF_NS_PER_S, &s, NULL), 0);
    ck_assert_int_eq(s.entries, 0);
    sh("touch -d '30 days ago' %s", path);
    ck_assert_int_eq(run_cache_gc(cache, 3600 * RWF_NS_PER_S, &s, NULL), 0);
    ck_assert_int_eq(s.entries, 1);
    ck_assert_int_eq(s.blobs, 1);
    ck_assert_int_eq(s.bytes, 4);
    assert_miss(key_a, "not there");
    assert_hit(key_b);
    ck_assert_int_eq(run_cache_gc(cache, 0, &s, NULL), 0);
    ck_assert_int_eq(s.entries, 1);
    ck_assert_int_eq(
        sh("test -z \"$(find %s/cache/steps %s/cache/blobs -type f)\"", root, root), 0);
    free(path);
}
END_TEST

static void note_bad(void *ctx, const char *path)
{
    (void)path;
    ++*(int *)ctx;
}

START_TEST(test_verify)
{
    int bad = 0;
    sh("echo one > x; mkdir d; echo two > d/y; cp d/y d/z");
    char *x = put(key_a, work, "x"), *d = put(key_b, work, "d");
    ck_assert_int_eq(run_cache_verify(cache, note_bad, &bad, NULL), 0);
    ck_assert_int_eq(bad, 0);
    sh("chmod +w %s/y; echo tvo > %s/y", d, d);
    ck_assert_int_eq(run_cache_verify(cache, note_bad, &bad, NULL), 0);
    ck_assert_int_eq(bad, 2); /* the blob, and the entry that has it */
    assert_miss(key_b, "not there");
    assert_hit(key_a);
    bad = 0;
    ck_assert_int_eq(run_cache_verify(cache, note_bad, &bad, NULL), 0);
    ck_assert_int_eq(bad, 0);
    /* A copy that is no link to its blob is read as well. */
    sh("chmod +w %s; cp %s c; echo onf > c; mv -f c %s", x, x, x);
    ck_assert_int_eq(run_cache_verify(cache, note_bad, &bad, NULL), 0);
    ck_assert_int_eq(bad, 1);
    assert_miss(key_a, "not there");
    free(x);
    free(d);
}
END_TEST

static void count_entry(void *ctx, const json_t *entry)
{
    const json_t *m = json_object_get(json_object_get(entry, "outputs"), "m");
    const char *path = json_string_value(json_object_get(m, "path"));
    *(int *)ctx += path && path[0] == '/';
}

START_TEST(test_each)
{
    int seen = 0;
    sh("echo one > x");
    free(put(key_a, work, "x"));
    free(put(key_b, work, "x"));
    ck_assert_int_eq(run_cache_each(cache, count_entry, &seen, NULL), 0);
    ck_assert_int_eq(seen, 2);
}
END_TEST

/* A full disk gives an error and leaves nothing half-made; with room again all is well.
 */
START_TEST(test_full_disk)
{
    ck_assert_int_eq(rwf_fs_mkdirs(root, NULL), 0);
    if (mount("none", root, "tmpfs", 0, "size=1m") < 0) {
        fprintf(stderr,
                "check_cache: mounting is not permitted: full disk not tested\n");
        return;
    }
    ck_assert_int_eq(rwf_fs_mkdirs(work, NULL), 0);
    struct rwf_err err = RWF_ERR_INIT;
    const char *why;
    sh("head -c 200000 /dev/zero > m; head -c 2000000 /dev/zero > %s/fill 2> /dev/null",
       root);
    json_t *kept = try_put(key_a, work, "m", NULL, &err);
    ck_assert_ptr_null(kept);
    ck_assert_int_eq(err.code, ENOSPC);
    ck_assert_ptr_nonnull(strstr(err.text, "make room"));
    ck_assert_ptr_null(run_cache_get(cache, key_a, &why));
    sh("rm %s/fill", root);
    char *path = put(key_a, work, "m");
    assert_hit(key_a);
    ck_assert_int_eq(sh("test $(stat -c %%s %s) = 200000", path), 0);
    ck_assert_int_eq(
        sh("test -z \"$(find %s/cache -name '*.tmp')$(ls -A %s/cache/tmp)\"", root,
           root),
        0);
    free(path);
    run_cache_close(cache);
    cache = NULL;
    ck_assert_int_eq(umount(root), 0);
}
END_TEST

static Suite *suite(void)
{
    const TTest *const tests[] = {
        test_nothing_is_made_by_looking,
        test_entry_without_outputs,
        test_file,
        test_same_content_is_kept_once,
        test_users_files_are_copied,
        test_file_with_other_links_is_copied,
        test_folder,
        test_big_folder,
        test_missing_output,
        test_what_is_refused,
        test_changed_result_of_a_key,
        test_put_heals,
        test_torn_entry,
        test_last_for,
        test_torn_journal,
        test_locks,
        test_lock_dies_with_its_process,
        test_many_processes,
        test_digest_is_remembered,
        test_digest_of_what_is_not_there,
        test_gc,
        test_verify,
        test_each,
        test_full_disk,
    };
    Suite *s = suite_create("cache");
    TCase *t = tcase_create("cache");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < RWF_COUNT(tests); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
