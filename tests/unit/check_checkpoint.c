/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoints: what is written is found again, whole; what is damaged in any way is
 * passed over; what the policy says is kept; a writer that is killed at any moment, or
 * whose disk is full, leaves a whole one.
 */
#include "config.h"
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "train/checkpoint.h"

/* In memory where there is a place: thousands of fsync calls are not what is tested. */
static char *dir;
static json_t *config;

static void enter(void)
{
    const char *in = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    dir = rwf_xasprintf("%s/check_checkpoint.XXXXXX", in);
    ck_assert(mkdtemp(dir) && chdir(dir) == 0);
    ck_assert_int_eq(rwf_fs_write("tok", "{\"tok\":1}", 9, false, NULL), 0);
    config = json_pack("{s:s}", "model_type", "mlp");
}

static void leave(void)
{
    json_decref(config);
    ck_assert(chdir("/") == 0 && rwf_fs_rmtree(dir, NULL) == 0);
    free(dir);
}

/* --- a content whose bytes follow from its step --- */

static unsigned char byte_at(int64_t step, size_t at)
{
    return (unsigned char)((size_t)step * 31 + at * 7 + at / 509);
}

static void read_bytes(void *ctx, const struct checkpoint_tensor *t, size_t offset,
                       size_t size, void *to)
{
    const int64_t *step = ctx;
    ck_assert_uint_le(size, 8 << 20);
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)to)[i] = byte_at(*step + (t->source != NULL), offset + i);
}

struct owned {
    struct checkpoint_content content;
    int64_t step;
    atomic_int *done;
};

static void add_tensor(struct checkpoint_tensor **list, size_t *count, char *name,
                       int64_t rows, int64_t columns, struct owned *o,
                       const void *source)
{
    size_t cap = *count;
    struct checkpoint_tensor *t = RWF_PUSH(*list, *count, cap);
    *t = (struct checkpoint_tensor){ .name = name,
                                     .type = SAFETENSORS_F32,
                                     .dims = columns ? 2 : 1,
                                     .shape = { rows, columns },
                                     .read = read_bytes,
                                     .ctx = &o->step,
                                     .source = source };
}

static struct owned *content_of(int64_t step, int64_t rows, double metric)
{
    struct owned *o = rwf_xcalloc(1, sizeof(*o));
    struct checkpoint_content *c = &o->content;
    o->step = step;
    add_tensor(&c->model, &c->model_count, rwf_xstrdup("a"), rows, 4, o, NULL);
    add_tensor(&c->model, &c->model_count, rwf_xstrdup("b"), 3, 0, o, NULL);
    add_tensor(&c->optimizer, &c->optimizer_count, rwf_xstrdup("a.m"), rows, 4, o, o);
    json_t *metrics = json_object();
    json_object_set_new(metrics, "val_loss", json_real(metric)); /* NaN: none */
    c->state = json_pack("{s:i, s:I, s:o}", "v", 1, "step", (json_int_t)step, "metrics",
                         metrics);
    c->config = config;
    c->tokenizer = "tok";
    return o;
}

static void free_content(void *ctx, struct checkpoint_content *c)
{
    for (size_t i = 0; i < c->model_count; i++)
        free(c->model[i].name);
    for (size_t i = 0; i < c->optimizer_count; i++)
        free(c->optimizer[i].name);
    free(c->model);
    free(c->optimizer);
    json_decref(c->state);
    free(c); /* the first member of struct owned */
    if (ctx)
        atomic_fetch_add((atomic_int *)ctx, 1);
}

static struct checkpoints *open_in(const char *folder, int best, int latest)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct checkpoints_options o = { .folder = folder,
                                     .keep_best = best,
                                     .keep_latest = latest,
                                     .metric = "val_loss",
                                     .mode = "min" };
    struct checkpoints *c = checkpoints_open(&o, &err);
    ck_assert_msg(c != NULL, "%s", err.text);
    return c;
}

static int try_write(struct checkpoints *c, int64_t step, double metric, int64_t rows,
                     struct rwf_err *err)
{
    struct owned *o = content_of(step, rows, metric);
    if (checkpoints_write(c, step, &o->content, free_content, NULL, err) < 0) {
        free_content(NULL, &o->content);
        return -1;
    }
    return checkpoints_wait(c, err);
}

static void put(struct checkpoints *c, int64_t step, double metric)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(try_write(c, step, metric, 100, &err) == 0, "%s", err.text);
}

/* Of step-… only; hidden: of all else but the lock. */
static char *list(const char *folder, bool hidden)
{
    struct rwf_str s = { 0 };
    struct dirent **names;
    int n = scandir(folder, &names, NULL, alphasort);
    ck_assert_int_ge(n, 0);
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        bool visible = rwf_starts_with(name, "step-");
        if (hidden ? !visible && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
                         strcmp(name, ".lock") != 0
                   : visible)
            rwf_str_addf(&s, "%s%s", s.len ? " " : "",
                         hidden ? name : name + strspn(name, "step-0"));
        free(names[i]);
    }
    free(names);
    return rwf_str_take(&s);
}

static void expect_list(const char *folder, const char *steps)
{
    char *got = list(folder, false), *more = list(folder, true);
    ck_assert_str_eq(got, steps);
    ck_assert_str_eq(more, "");
    free(got);
    free(more);
}

/* -1: there is none. */
static int64_t find(const char *folder, const char *metric, const char *mode,
                    char **ret_path)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = NULL;
    json_t *state = NULL;
    ck_assert_msg(checkpoint_find(folder, metric, mode, &path, &state, &err) == 0, "%s",
                  err.text);
    int64_t step = path ? json_integer_value(json_object_get(state, "step")) : -1;
    ck_assert(!path == !state);
    json_decref(state);
    if (ret_path)
        *ret_path = path;
    else
        free(path);
    return step;
}

static void expect_bytes(const char *path, const char *file, const char *name,
                         int64_t step, size_t bytes)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *full = rwf_fs_join(path, file);
    struct safetensors *s = safetensors_open(full, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    const struct safetensors_entry *e = safetensors_find(s, name);
    ck_assert(e && e->bytes == bytes);
    size_t same = 0;
    while (same < bytes &&
           ((const unsigned char *)e->data)[same] == byte_at(step, same))
        same++;
    ck_assert_uint_eq(same, bytes);
    safetensors_close(s);
    free(full);
}

static void expect_text(const char *path, const char *text)
{
    char *got = rwf_fs_read(path, 1000, NULL, NULL);
    ck_assert_ptr_nonnull(got);
    ck_assert_str_eq(got, text);
    free(got);
}

/* --- writing and finding --- */

START_TEST(written_is_found)
{
    struct rwf_err err = RWF_ERR_INIT;
    atomic_int done = 0;
    ck_assert_int_eq(find("c", NULL, NULL, NULL), -1);
    struct checkpoints *c = open_in("c", 0, 2);
    ck_assert_int_eq(find("c", NULL, NULL, NULL), -1);
    ck_assert(!checkpoints_busy(c));
    struct owned *o = content_of(500, 700001, 1); /* 11 MB: more than one piece */
    ck_assert_int_eq(checkpoints_write(c, 500, &o->content, free_content, &done, &err),
                     0);
    ck_assert_msg(checkpoints_wait(c, &err) == 0, "%s", err.text);
    ck_assert(!checkpoints_busy(c) && done == 1);
    char *path;
    ck_assert_int_eq(find("c", NULL, NULL, &path), 500);
    ck_assert_str_eq(path, "c/step-00000500");
    expect_bytes(path, "model.safetensors", "a", 500, 16 * 700001);
    expect_bytes(path, "model.safetensors", "b", 500, 12);
    expect_bytes(path, "optimizer.safetensors", "a.m", 501, 16 * 700001);
    expect_text("c/step-00000500/tokenizer.json", "{\"tok\":1}");
    expect_text("c/step-00000500/config.json", "{\n  \"model_type\": \"mlp\"\n}");
    ck_assert(!rwf_fs_exists("c/step-00000500/preprocess.json"));
    free(path);
    ck_assert_int_eq(checkpoints_close(c, &err), 0);
    ck_assert_int_eq(checkpoints_close(NULL, &err), 0);
}
END_TEST

/* The content of the caller goes on changing while the thread writes. */
START_TEST(close_waits)
{
    struct checkpoints *c = open_in("c", 0, 2);
    for (int64_t step = 1; step <= 3; step++) {
        struct owned *o = content_of(step, 50000, 1);
        ck_assert_int_eq(
            checkpoints_write(c, step, &o->content, free_content, NULL, NULL), 0);
        json_object_set_new(config, "more", json_integer(step));
    }
    ck_assert_int_eq(checkpoints_close(c, NULL), 0);
    expect_list("c", "2 3");
    ck_assert_int_eq(find("c", NULL, NULL, NULL), 3);
}
END_TEST

/* step and val_loss of each; what is left; the best. NaN is never the best. */
static const struct {
    int best, latest;
    double values[7];
    const char *left;
    int64_t found;
} policies[] = {
    { 0, 0, { 5, 4, 3, 2, 1, 2, 3 }, "7", 7 },
    { 0, 3, { 5, 4, 3, 2, 1, 2, 3 }, "5 6 7", 5 },
    { 1, 1, { 5, 1, 3, 2, 4, 2, 3 }, "2 7", 2 },
    { 2, 2, { 5, 1, 3, 2, 4, 9, 8 }, "2 4 6 7", 2 },
    { 1, 1, { 2, 2, 2, 2, 2, 2, 3 }, "6 7", 6 },
    { 2, 1, { NAN, NAN, 3, NAN, NAN, NAN, NAN }, "3 7", 3 },
    { 3, 1, { NAN, NAN, NAN, NAN, NAN, NAN, NAN }, "7", 7 },
    { 1, 1, { INFINITY, 9, NAN, -1, 0, 4, NAN }, "4 7", 4 },
};

START_TEST(policy_is_kept)
{
    struct checkpoints *c = NULL;
    for (int i = 0; i < 7; i++) {
        if (i % 3 == 0) { /* what is there already is known, too */
            checkpoints_close(c, NULL);
            c = open_in("c", policies[_i].best, policies[_i].latest);
        }
        put(c, i + 1, policies[_i].values[i]);
    }
    checkpoints_close(c, NULL);
    expect_list("c", policies[_i].left);
    ck_assert_int_eq(find("c", "val_loss", "min", NULL), policies[_i].found);
    ck_assert_int_eq(find("c", NULL, NULL, NULL), 7);
}
END_TEST

START_TEST(best_by_mode)
{
    struct checkpoints *c = open_in("c", 0, 9);
    put(c, 1, 3);
    put(c, 2, 7);
    put(c, 3, 5);
    checkpoints_close(c, NULL);
    ck_assert_int_eq(find("c", "val_loss", "max", NULL), 2);
    ck_assert_int_eq(find("c", "val_loss", "min", NULL), 1);
    ck_assert_int_eq(find("c", "accuracy", "max", NULL), 3);
}
END_TEST

/* --- damage --- */

static void cut(const char *path)
{
    struct stat st;
    ck_assert(stat(path, &st) == 0 && truncate(path, st.st_size - 1) == 0);
}

static void flip(const char *path)
{
    char c;
    struct stat st;
    int fd = open(path, O_RDWR);
    ck_assert(fd >= 0 && fstat(fd, &st) == 0 && pread(fd, &c, 1, st.st_size / 2) == 1);
    c ^= 16;
    ck_assert_int_eq(pwrite(fd, &c, 1, st.st_size / 2), 1);
    close(fd);
}

static void away(const char *path)
{
    ck_assert_int_eq(unlink(path), 0);
}

static void longer(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND);
    ck_assert(fd >= 0 && write(fd, "x", 1) == 1);
    close(fd);
}

static void folder_of(const char *path)
{
    ck_assert(unlink(path) == 0 && mkdir(path, 0700) == 0);
}

static void rewrite(const char *path, const char *text)
{
    ck_assert_int_eq(rwf_fs_write(path, text, strlen(text), false, NULL), 0);
}

static void no_files(const char *path)
{
    rewrite(path, "{\"v\":1,\"files\":{}}");
}

static void other_version(const char *path)
{
    rewrite(path, "{\"v\":2,\"files\":{}}");
}

static void outside(const char *path)
{
    char *text = rwf_fs_read(path, 10000, NULL, NULL);
    char *name = strstr(text, "tokenizer.json");
    ck_assert_ptr_nonnull(name);
    memcpy(name, "../../secret..", 14);
    rewrite(path, text);
    free(text);
}

static const struct {
    const char *file, *says;
    void (*damage)(const char *path);
} damages[] = {
    { "model.safetensors", "'model.safetensors' has ", cut },
    { "model.safetensors", "'model.safetensors' was changed", flip },
    { "model.safetensors", "No such file", away },
    { "model.safetensors", "'model.safetensors' has ", longer },
    { "optimizer.safetensors", "'optimizer.safetensors' has ", cut },
    { "optimizer.safetensors", "'optimizer.safetensors' was changed", flip },
    { "state.json", "'state.json' was changed", flip },
    { "config.json", "'config.json' has ", cut },
    { "tokenizer.json", "No such file", away },
    { "tokenizer.json", "'tokenizer.json' has ", folder_of },
    { "manifest.json", "cannot read", away },
    { "manifest.json", "is no JSON", cut },
    { "manifest.json", "does not list 'model.safetensors'", no_files },
    { "manifest.json", "not of version 1", other_version },
    { "manifest.json", "lists '../../secret..'", outside },
};

START_TEST(damaged_is_passed_over)
{
    struct checkpoints *c = open_in("c", 0, 3);
    put(c, 1, 1);
    put(c, 2, 2);
    put(c, 3, 0.5);
    checkpoints_close(c, NULL);
    char *path = rwf_fs_join("c/step-00000003", damages[_i].file);
    damages[_i].damage(path);
    free(path);
    int err = dup(STDERR_FILENO), to = open("stderr", O_RDWR | O_CREAT, 0600);
    ck_assert(err >= 0 && to >= 0 && dup2(to, STDERR_FILENO) >= 0);
    int64_t newest = find("c", NULL, NULL, NULL);
    int64_t best = find("c", "val_loss", "min", NULL);
    dup2(err, STDERR_FILENO);
    close(err);
    close(to);
    ck_assert_int_eq(newest, 2);
    ck_assert_int_eq(best, 1);
    char *said = rwf_fs_read("stderr", 10000, NULL, NULL);
    ck_assert_msg(
        strstr(said, "checkpoint 'c/step-00000003' is damaged and passed over"), "%s",
        said);
    ck_assert_msg(strstr(said, damages[_i].says), "%s", said);
    free(said);
}
END_TEST

/* Any one bit of the manifest counts. */
START_TEST(manifest_bits_flip)
{
    struct checkpoints *c = open_in("c", 0, 1);
    size_t len;
    put(c, 1, 1);
    checkpoints_close(c, NULL);
    const char *path = "c/step-00000001/manifest.json";
    char *text = rwf_fs_read(path, 10000, &len, NULL);
    ck_assert(freopen("/dev/null", "w", stderr));
    for (size_t i = 0; i < 8 * len; i += 11) {
        text[i / 8] ^= (char)(1 << i % 8);
        ck_assert_int_eq(rwf_fs_write(path, text, len, false, NULL), 0);
        ck_assert_int_eq(find("c", NULL, NULL, NULL), -1);
        text[i / 8] ^= (char)(1 << i % 8);
    }
    free(text);
}
END_TEST

/* After a resume from 2 (3 was damaged) the course is another one: 3 and 9 go. */
START_TEST(later_ones_go)
{
    struct checkpoints *c = open_in("c", 1, 3);
    put(c, 2, 2);
    put(c, 3, 1);
    put(c, 9, 0.5);
    checkpoints_close(c, NULL);
    cut("c/step-00000009/model.safetensors");
    flip("c/step-00000003/model.safetensors");
    c = open_in("c", 1, 3);
    put(c, 3, 3);
    expect_list("c", "2 3");
    put(c, 4, 4);
    checkpoints_close(c, NULL);
    expect_list("c", "2 3 4");
    char *path;
    ck_assert_int_eq(find("c", NULL, NULL, &path), 4);
    free(path);
    ck_assert_int_eq(find("c", "val_loss", "min", &path), 2);
    free(path);
    expect_bytes("c/step-00000003", "model.safetensors", "a", 3, 1600);
}
END_TEST

START_TEST(odd_names_are_left_alone)
{
    ck_assert(mkdir("c", 0700) == 0 && mkdir("c/step-5", 0700) == 0 &&
              mkdir("c/step-0000000x", 0700) == 0 && mkdir("c/other", 0700) == 0 &&
              mkdir("c/.step-00000007.1.0", 0700) == 0 &&
              mkdir("c/step-99999999999999999999999", 0700) == 0);
    rewrite("c/.step-00000007.1.0/model.safetensors", "part");
    rewrite("c/step-00000006", "a file");
    struct checkpoints *c = open_in("c", 0, 1);
    ck_assert(!rwf_fs_exists("c/.step-00000007.1.0"));
    put(c, 6, 1);
    checkpoints_close(c, NULL);
    ck_assert(rwf_fs_exists("c/step-5") && rwf_fs_exists("c/other"));
    ck_assert_int_eq(find("c", NULL, NULL, NULL), 6);
}
END_TEST

/* --- the disk --- */

static void expect_full(struct checkpoints *c, const char *says, int code)
{
    struct rwf_err err = RWF_ERR_INIT;
    atomic_int done = 0;
    struct owned *o = content_of(2, 1 << 18, 1);
    int rc = checkpoints_write(c, 2, &o->content, free_content, &done, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    struct owned *next = content_of(3, 10, 1); /* it is the next call that tells */
    ck_assert_int_eq(checkpoints_write(c, 3, &next->content, free_content, &done, &err),
                     -1);
    free_content(NULL, &next->content);
    ck_assert_int_eq(done, 1);
    ck_assert_msg(strstr(err.text, says) && err.code == code, "%s", err.text);
    ck_assert_ptr_nonnull(strstr(err.text, "checkpoint of step 2: cannot write '"));
    put(c, 4, 1); /* what is small still goes */
}

START_TEST(full_disk_is_told)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mkdir("small", 0700) < 0 || mount("none", "small", "tmpfs", 0, "size=1m") < 0)
        return; /* not root: the limit below does the same */
    struct checkpoints *c = open_in("small/c", 0, 2);
    put(c, 1, 1);
    expect_full(c, "No space left on device: it needs 41944", ENOSPC);
    ck_assert_msg(checkpoints_close(c, &err) == 0, "%s", err.text);
    expect_list("small/c", "1 4");
    ck_assert_int_eq(find("small/c", NULL, NULL, NULL), 4);
    ck_assert_int_eq(umount("small"), 0);
}
END_TEST

START_TEST(limit_is_told)
{
    struct rlimit limit = { 1 << 20, 1 << 20 };
    struct checkpoints *c = open_in("c", 0, 2);
    put(c, 1, 1);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect_full(c, "more than a file may have here", EFBIG);
    ck_assert_int_eq(checkpoints_close(c, NULL), 0);
    expect_list("c", "1 4");
}
END_TEST

START_TEST(read_only_is_told)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct checkpoints_options o = { .folder = "c" };
    ck_assert(mkdir("c", 0555) == 0 && chmod(dir, 0755) == 0);
    if (geteuid() == 0)
        ck_assert_int_eq(seteuid(65534), 0);
    ck_assert_ptr_null(checkpoints_open(&o, &err));
    ck_assert_str_eq(err.text, "cannot write checkpoints to 'c': Permission denied");
    o.folder = "tok/c";
    ck_assert_ptr_null(checkpoints_open(&o, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "cannot create folder 'tok/c'"));
    ck_assert_int_eq(seteuid(getuid()), 0);

    struct checkpoints *c = open_in("d", 0, 1);
    put(c, 1, 1);
    struct owned *w = content_of(2, 10, 1);
    w->content.tokenizer = "none";
    ck_assert_int_eq(checkpoints_write(c, 2, &w->content, free_content, NULL, &err), 0);
    ck_assert_int_eq(checkpoints_close(c, &err), -1);
    ck_assert_str_eq(err.text,
                     "checkpoint of step 2: cannot read 'none': No such file or "
                     "directory");
    expect_list("d", "1");
}
END_TEST

/* --- killed writers --- */

static void write_on(int64_t step, int to)
{
    struct checkpoints *c = open_in("c", 1, 2);
    for (;; step++) {
        put(c, step, (double)(step % 5));
        if (write(to, &step, sizeof(step)) != sizeof(step))
            _exit(1);
    }
}

static int64_t last_of(int fd, int64_t last, int *count)
{
    for (int64_t got; read(fd, &got, sizeof(got)) == sizeof(got); (*count)++)
        last = got;
    return last;
}

/* Kills a writer in the middle of its life: of every other one the first write is
 * awaited, which also tells how long one takes. */
static int64_t killed_writer(int64_t step, int round, int *count)
{
    static int64_t takes = 20 * RWF_NS_PER_MS;
    int ends[2], status;
    int64_t last = -1, start = rwf_clock_mono();
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        close(ends[0]);
        write_on(step, ends[1]);
    }
    close(ends[1]);
    if (round % 2 == 0) {
        ck_assert_int_eq(read(ends[0], &last, sizeof(last)), sizeof(last));
        takes = rwf_clock_mono() - start;
        ++*count;
    }
    usleep((useconds_t)(rand() % (2 * takes / 1000 + 1)));
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    last = last_of(ends[0], last, count);
    close(ends[0]);
    return last;
}

/* What was acknowledged is there; what is there is whole. */
START_TEST(kills_leave_whole_ones)
{
    enum { ROUNDS = 60 };
    int64_t step = 0, acknowledged = -1;
    int count = 0;
    srand(1);
    for (int i = 0; i < ROUNDS; i++) {
        int64_t last = killed_writer(step + 1, i, &count);
        acknowledged = last > acknowledged ? last : acknowledged;
        char *path = NULL;
        step = find("c", NULL, NULL, &path);
        ck_assert_int_ge(step, acknowledged);
        ck_assert_ptr_nonnull(path);
        expect_bytes(path, "model.safetensors", "a", step, 1600);
        expect_bytes(path, "optimizer.safetensors", "a.m", step + 1, 1600);
        free(path);
    }
    ck_assert_int_ge(count, ROUNDS / 2);
    checkpoints_close(open_in("c", 1, 2), NULL);
    char *hidden = list("c", true);
    ck_assert_str_eq(hidden, "");
    free(hidden);
}
END_TEST

/* A second writer sweeps nothing of a living one. */
START_TEST(living_ones_are_not_swept)
{
    struct checkpoints *c = open_in("c", 0, 1);
    ck_assert_int_eq(mkdir("c/.step-00000001.1.0", 0700), 0);
    struct checkpoints *second = open_in("c", 0, 1);
    ck_assert(rwf_fs_exists("c/.step-00000001.1.0"));
    checkpoints_close(c, NULL);
    put(second, 1, 1);
    ck_assert(!rwf_fs_exists("c/.step-00000001.1.0"));
    checkpoints_close(second, NULL);
}
END_TEST

/* --- for others --- */

START_TEST(export_is_the_model)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct stat one, two;
    struct checkpoints *c = open_in("c", 0, 1);
    put(c, 1, 1);
    checkpoints_close(c, NULL);
    ck_assert_msg(checkpoint_export("c/step-00000001", "out/here", &err) == 0, "%s",
                  err.text);
    ck_assert(stat("c/step-00000001/model.safetensors", &one) == 0 &&
              stat("out/here/model.safetensors", &two) == 0 &&
              one.st_ino == two.st_ino);
    expect_bytes("out/here", "model.safetensors", "a", 1, 1600);
    char *all = list("out/here", true);
    ck_assert_str_eq(all, "config.json model.safetensors tokenizer.json");
    free(all);
    ck_assert_int_eq(checkpoint_export("c/step-00000001", "out/here", &err), -1);
    ck_assert_str_eq(err.text, "cannot export to 'out/here': it exists");
    ck_assert_int_eq(checkpoint_export("none", "out/two", &err), -1);
    ck_assert_str_eq(err.text, "there is no 'none/model.safetensors'");
    all = list("out", true);
    ck_assert_str_eq(all, "here");
    free(all);
    /* another file system, where there are two: copies */
    char *other = rwf_xasprintf("/tmp/%s.copy", rwf_fs_basename(dir));
    int rc = checkpoint_export("c/step-00000001", other, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    expect_bytes(other, "model.safetensors", "a", 1, 1600);
    ck_assert_int_eq(rwf_fs_rmtree(other, NULL), 0);
    free(other);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("checkpoint");
    TCase *t = tcase_create("checkpoint");
    tcase_add_checked_fixture(t, enter, leave);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, written_is_found);
    tcase_add_test(t, close_waits);
    tcase_add_loop_test(t, policy_is_kept, 0, RWF_COUNT(policies));
    tcase_add_test(t, best_by_mode);
    tcase_add_loop_test(t, damaged_is_passed_over, 0, RWF_COUNT(damages));
    tcase_add_test(t, manifest_bits_flip);
    tcase_add_test(t, later_ones_go);
    tcase_add_test(t, odd_names_are_left_alone);
    tcase_add_test(t, full_disk_is_told);
    tcase_add_test(t, limit_is_told);
    tcase_add_test(t, read_only_is_told);
    tcase_add_test(t, kills_leave_whole_ones);
    tcase_add_test(t, living_ones_are_not_swept);
    tcase_add_test(t, export_is_the_model);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
