/* SPDX-License-Identifier: Apache-2.0
 *
 * The object store: what each function promises, one thing at a time.
 */
#include "config.h"
#include "store/store.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "store/crc32c.h"
#include "store_support.h"

#define MIB ((size_t)1 << 20)

static struct store *node;
static char folder[] = "/tmp/check_store.XXXXXX";
static char *spill_dir;

static struct store *new_node(size_t arena, int64_t quota)
{
    struct store_options o = {.arena = arena, .spill_quota = quota};
    struct rwf_err err = RWF_ERR_INIT;

    if (quota)
        o.spill_dir = spill_dir;
    node = store_create(&o, &err);
    ck_assert_msg(node != NULL, "%s", err.text);
    return node;
}

static void relieve(void *ctx, size_t bytes)
{
    store_relieve(ctx, bytes, NULL);
}

static void restore(void *ctx, store_object o)
{
    store_restore(ctx, o, NULL);
}

static struct store *new_client(void)
{
    struct store_hooks hooks = {.ctx = node, .full = relieve, .restore = restore};
    struct rwf_err err = RWF_ERR_INIT;
    int slot = store_slot_claim(node, getpid(), &err);
    struct store *s;

    ck_assert_msg(slot > 0, "%s", err.text);
    s = store_attach(store_table_fd(node), store_arena_fd(node), slot, &hooks, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    ck_assert_int_eq(store_slot(s), slot);
    return s;
}

static void end_client(struct store *s)
{
    int slot = store_slot(s);

    store_destroy(s);
    store_slot_release(node, slot);
}

static store_object put(struct store *s, size_t size, int byte)
{
    struct rwf_err err = RWF_ERR_INIT;
    store_object o;
    void *data = store_object_create(s, size, 0, &o, &err);

    ck_assert_msg(data != NULL, "%s", err.text);
    memset(data, byte, size);
    ck_assert_msg(store_object_seal(s, o, &err) == 0, "%s", err.text);
    return o;
}

static bool all(const unsigned char *data, size_t size, int byte)
{
    for (size_t i = 0; i < size; i++)
        if (data[i] != byte)
            return false;
    return true;
}

static void expect(struct store *s, store_object o, size_t size, int byte)
{
    struct rwf_err err = RWF_ERR_INIT;
    size_t got = 0;
    const void *data = store_object_pin(s, o, 0, &got, &err);

    ck_assert_msg(data != NULL, "%s", err.text);
    ck_assert_uint_eq(got, size);
    ck_assert(all(data, size, byte));
    store_object_unpin(s, o);
}

static void expect_gone(struct store *s, store_object o)
{
    struct rwf_err err = RWF_ERR_INIT;
    size_t got;

    ck_assert(!store_object_pin(s, o, 0, &got, &err));
    ck_assert_int_eq(err.code, ENOENT);
    ck_assert_int_eq(store_object_size(s, o), -1);
    ck_assert_int_eq(store_object_hold(s, o), -1);
}

static void expect_empty(void)
{
    struct store_stats stats;

    store_stats(node, &stats);
    ck_assert_uint_eq(stats.objects, 0);
    ck_assert_uint_eq(stats.used, 0);
}

/* --- */

START_TEST(all_sizes)
{
    static const size_t sizes[] = {0,
                                   1,
                                   63,
                                   64,
                                   895,
                                   896,
                                   897,
                                   40000,
                                   349376,
                                   349377,
                                   524160,
                                   524161,
                                   MIB - 4160,
                                   MIB,
                                   3 * MIB + 5,
                                   7 * MIB,
                                   16 * MIB - 4160};
    struct store *s;

    new_node(16 * MIB, 0);
    s = new_client();
    for (size_t i = 0; i < RWF_COUNT(sizes); i++) {
        store_object o = put(s, sizes[i], (int)i + 1);
        expect(s, o, sizes[i], (int)i + 1);
        expect(node, o, sizes[i], (int)i + 1);
        ck_assert_int_eq(store_object_size(node, o), (int64_t)sizes[i]);
        store_object_drop(s, o);
        expect_gone(s, o);
    }
    expect_empty();
    end_client(s);
    store_destroy(node);
}
END_TEST

START_TEST(never_fits)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct store *s;
    store_object o;

    new_node(4 * MIB, 0);
    s = new_client();
    ck_assert(!store_object_create(s, 5 * MIB, INT64_MAX, &o, &err));
    ck_assert_int_eq(err.code, ENOSPC);
    ck_assert(!store_object_create(s, 4 * MIB - 100, 0, &o, &err));
    ck_assert(!store_object_create(s, SIZE_MAX, INT64_MAX, &o, &err));
    ck_assert_int_eq(err.code, ENOSPC);
    expect_empty();
    end_client(s);
    store_destroy(node);
}
END_TEST

/* An object lives while somebody holds or reads it. */
START_TEST(references)
{
    struct store *a, *b, *c;
    store_object o;
    size_t size;

    new_node(8 * MIB, 0);
    a = new_client(), b = new_client(), c = new_client();
    o = put(a, 100000, 7);
    ck_assert_int_eq(store_object_hand(a, o, store_slot(b)), 0);
    ck_assert_int_eq(store_object_hand(a, o, store_slot(b)), 1);
    store_object_drop(a, o);
    store_object_drop(a, o);
    expect(c, o, 100000, 7);
    ck_assert_int_eq(store_object_hold(c, o), 0);
    store_object_drop(b, o);
    ck_assert_ptr_nonnull(store_object_pin(a, o, 0, &size, NULL));
    store_object_drop(c, o);
    expect(b, o, 100000, 7);
    store_object_unpin(a, o);
    expect_gone(b, o);
    expect_empty();
    end_client(a), end_client(b), end_client(c);
    store_destroy(node);
}
END_TEST

/* What a client had ends with its slot; what it gave away does not. */
START_TEST(release)
{
    struct store *a, *b;
    store_object kept, half, pinned;
    size_t size;
    int slot;

    new_node(16 * MIB, 0);
    a = new_client(), b = new_client();
    slot = store_slot(a);
    kept = put(a, 3 * MIB, 1);
    put(a, 2 * MIB, 2);
    put(a, 5000, 3);
    pinned = put(b, 5000, 4);
    ck_assert_ptr_nonnull(store_object_pin(a, pinned, 0, &size, NULL));
    ck_assert_int_eq(store_object_hand(a, kept, store_slot(b)), 0);
    ck_assert_ptr_nonnull(store_object_create(a, 100, 0, &half, NULL));
    ck_assert_ptr_nonnull(store_object_create(a, MIB, 0, &half, NULL));
    store_slot_release(node, slot);
    store_slot_release(node, slot);
    ck_assert(!store_slot_alive(node, slot));
    ck_assert_int_eq(store_object_hand(b, kept, slot), -1);
    expect_gone(b, half);
    expect(b, kept, 3 * MIB, 1);
    expect(b, pinned, 5000, 4);
    store_object_drop(b, pinned);
    store_object_drop(b, kept);
    expect_empty();
    store_destroy(a);
    end_client(b);
    /* All of it can be had again. */
    b = new_client();
    store_object_drop(b, put(b, 16 * MIB - 4160, 5));
    end_client(b);
    store_destroy(node);
}
END_TEST

START_TEST(slots_run_out)
{
    struct rwf_err err = RWF_ERR_INIT;
    int slot = 0;

    new_node(MIB, 0);
    for (int i = 1; i < STORE_SLOTS; i++)
        ck_assert_int_gt(store_slot_claim(node, i, &err), 0);
    ck_assert_int_eq(store_slot_claim(node, 1, &err), -1);
    store_slot_release(node, 7);
    slot = store_slot_claim(node, 1, &err);
    ck_assert_int_eq(slot, 7);
    store_destroy(node);
}
END_TEST

/* A result for a client that has gone is not given to the next one with its number. */
START_TEST(hand_to_a_successor)
{
    struct store *a;
    store_object o;
    int slot;

    new_node(2 * MIB, 0);
    a = new_client();
    for (int i = 2; i < STORE_SLOTS; i++)
        ck_assert_int_gt(store_slot_claim(node, i, NULL), 0);
    slot = 200;
    store_slot_bell(a, slot);
    o = put(a, 10, 1);
    store_slot_release(node, slot);
    ck_assert_int_eq(store_slot_claim(node, 9999, NULL), slot);
    ck_assert_int_eq(store_object_hand(a, o, slot), -1);
    store_slot_bell(a, slot);
    ck_assert_int_eq(store_object_hand(a, o, slot), 0);
    store_object_drop(a, o);
    store_slot_release(node, slot);
    expect_empty();
    store_destroy(a);
    store_destroy(node);
}
END_TEST

static const struct {
    size_t size;
    long at; /* from its start */
} overruns[] = {
    {100, 100}, {100, 128}, {100, -1},      {40000, 40000},
    {64, 64},   {MIB, MIB}, {2 * MIB, -64}, {2 * MIB - 4160, 2 * MIB - 4160},
    {0, 0},
};

START_TEST(overrun)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct store *s;
    store_object o, other;
    char *data;

    new_node(8 * MIB, 0);
    s = new_client();
    other = put(s, overruns[_i].size, 9);
    data = store_object_create(s, overruns[_i].size, 0, &o, NULL);
    ck_assert_ptr_nonnull(data);
    data[overruns[_i].at] = 1;
    ck_assert_int_eq(store_object_seal(s, o, &err), -1);
    ck_assert_int_eq(err.code, EFAULT);
    ck_assert_ptr_nonnull(strstr(err.text, "wrote"));
    expect_gone(s, o);
    expect(s, other, overruns[_i].size, 9);
    store_object_drop(s, other);
    expect_empty();
    end_client(s);
    store_destroy(node);
}
END_TEST

/* Memory of others, and of the arena as it is read, cannot be written. */
static void write_elsewhere(int how)
{
    struct store *a = new_client(), *b = new_client();
    store_object mine = put(a, 2 * MIB, 1), theirs = put(b, 2 * MIB, 2);
    size_t size;
    volatile char *ro = (volatile char *)(uintptr_t)store_object_pin(
        a, how ? theirs : mine, 0, &size, NULL);
    store_object o;
    volatile char *own = store_object_create(a, 2 * MIB, 0, &o, NULL);

    if (how == 2) /* 3 units of its own, 3 of b's lie before it */
        own[-(long)(3 * MIB)] = 1;
    else
        ro[0] = 1;
}

START_TEST(cannot_write_elsewhere)
{
    int status;
    pid_t pid;

    new_node(16 * MIB, 0);
    pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        prctl(PR_SET_DUMPABLE, 0);
        write_elsewhere(_i);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    ck_assert_msg(WIFSIGNALED(status) || WEXITSTATUS(status) != 0, "it could");
    store_destroy(node);
}
END_TEST

/* --- waiting --- */

struct later {
    struct store *s;
    store_object o;
    pthread_barrier_t barrier;
};

static void *seal_it(void *ctx)
{
    struct later *l = ctx;

    pthread_barrier_wait(&l->barrier);
    store_object_seal(l->s, l->o, NULL);
    return NULL;
}

START_TEST(waits_for_seal)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct later l;
    struct store *b;
    pthread_t thread;
    size_t size;

    new_node(4 * MIB, 0);
    l.s = new_client(), b = new_client();
    memset(store_object_create(l.s, 1000, 0, &l.o, NULL), 3, 1000);
    ck_assert(!store_object_pin(b, l.o, 0, &size, &err));
    ck_assert_int_eq(err.code, ETIMEDOUT);
    pthread_barrier_init(&l.barrier, NULL, 2);
    pthread_create(&thread, NULL, seal_it, &l);
    pthread_barrier_wait(&l.barrier);
    const void *data = store_object_pin(b, l.o, INT64_MAX, &size, &err);
    ck_assert_msg(data && all(data, 1000, 3), "%s", err.text);
    store_object_unpin(b, l.o);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&l.barrier);
    store_object_drop(l.s, l.o);
    expect_empty();
    end_client(l.s), end_client(b);
    store_destroy(node);
}
END_TEST

static void *drop_it(void *ctx)
{
    struct later *l = ctx;

    pthread_barrier_wait(&l->barrier);
    store_object_drop(l->s, l->o);
    return NULL;
}

/* Full, and nothing can be spilled: create waits until there is room. */
START_TEST(waits_for_room)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct later l;
    struct store *b;
    pthread_t thread;
    store_object o;

    new_node(4 * MIB, 0);
    l.s = new_client(), b = new_client();
    l.o = put(l.s, 3 * MIB, 1);
    ck_assert(!store_object_create(b, 2 * MIB, 0, &o, &err));
    ck_assert_int_eq(err.code, ETIMEDOUT);
    pthread_barrier_init(&l.barrier, NULL, 2);
    pthread_create(&thread, NULL, drop_it, &l);
    pthread_barrier_wait(&l.barrier);
    void *data = store_object_create(b, 2 * MIB, INT64_MAX, &o, &err);
    ck_assert_msg(data != NULL, "%s", err.text);
    memset(data, 1, 2 * MIB);
    store_object_abort(b, o);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&l.barrier);
    expect_empty();
    end_client(l.s), end_client(b);
    store_destroy(node);
}
END_TEST

START_TEST(entries_run_out)
{
    struct store_options options = {.arena = MIB, .objects = 10};
    struct rwf_err err = RWF_ERR_INIT;
    struct store *s;
    store_object o[10], more;

    node = store_create(&options, NULL);
    s = new_client();
    for (int i = 0; i < 10; i++)
        o[i] = put(s, 10, i);
    ck_assert(!store_object_create(s, 10, 0, &more, &err));
    ck_assert_int_eq(err.code, ETIMEDOUT);
    store_object_drop(s, o[4]);
    put(s, 10, 1);
    end_client(s);
    expect_empty();
    store_destroy(node);
}
END_TEST

/* --- disk --- */

static size_t files_in(const char *dir)
{
    char *command = rwf_xasprintf("ls '%s' | wc -l", dir);
    FILE *p = popen(command, "r");
    size_t n = 0;

    ck_assert_int_eq(fscanf(p, "%zu", &n), 1);
    pclose(p);
    free(command);
    return n;
}

/* Ten times what fits: all of it can be read, then all of it is gone. */
START_TEST(spills_and_restores)
{
    struct store_stats stats;
    struct store *s;
    store_object o[40];
    struct stat st;

    new_node(8 * MIB, (int64_t)(100 * MIB));
    s = new_client();
    for (int i = 0; i < 40; i++)
        o[i] = put(s, i % 2 ? 2 * MIB : 700000, i);
    store_stats(node, &stats);
    ck_assert_uint_gt(stats.spilled, 20);
    ck_assert_int_le(stats.spill_bytes, stats.spill_quota);
    ck_assert_int_eq(stat(spill_dir, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0700);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 40; i++)
            expect(s, o[i], i % 2 ? 2 * MIB : 700000, i);
    store_stats(node, &stats);
    ck_assert_uint_gt(stats.restored, 40);
    for (int i = 0; i < 40; i++)
        store_object_drop(s, o[i]);
    store_relieve(node, 0, NULL);
    store_stats(node, &stats);
    ck_assert_int_eq(stats.spill_bytes, 0);
    ck_assert_uint_eq(files_in(spill_dir), 0);
    expect_empty();
    end_client(s);
    store_destroy(node);
}
END_TEST

START_TEST(quota)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct store *s;
    store_object o[20];
    int n = 0;

    new_node(8 * MIB, (int64_t)(5 * MIB));
    s = new_client();
    while (n < 20) {
        void *data = store_object_create(s, 2 * MIB - 4160, INT64_MAX, &o[n], &err);
        if (!data)
            break;
        memset(data, n, 2 * MIB - 4160);
        store_object_seal(s, o[n++], NULL);
    }
    ck_assert_int_eq(n, 4 + 2);
    ck_assert_int_eq(err.code, ENOSPC);
    ck_assert_ptr_nonnull(strstr(err.text, "quota"));
    /* Room again. */
    store_object_drop(s, o[0]);
    ck_assert_ptr_nonnull(
        store_object_create(s, 2 * MIB - 4160, INT64_MAX, &o[0], &err));
    store_object_abort(s, o[0]);
    for (int i = 1; i < n; i++)
        store_object_drop(s, o[i]);
    expect_empty();
    end_client(s);
    store_destroy(node);
}
END_TEST

/* What is read in place stays where it is. */
START_TEST(pinned_is_not_spilled)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct store *s;
    store_object o, other;
    size_t size;
    const void *data;

    new_node(4 * MIB, (int64_t)(100 * MIB));
    s = new_client();
    o = put(s, 3 * MIB, 5);
    data = store_object_pin(s, o, 0, &size, NULL);
    ck_assert(!store_object_create(s, 2 * MIB, 0, &other, &err));
    ck_assert_int_eq(err.code, ETIMEDOUT);
    ck_assert_int_eq(store_relieve(node, 2 * MIB, &err), -1);
    ck_assert_int_eq(err.code, EAGAIN);
    ck_assert(all(data, 3 * MIB, 5));
    store_object_unpin(s, o);
    other = put(s, 2 * MIB, 6);
    expect(s, other, 2 * MIB, 6);
    expect(s, o, 3 * MIB, 5);
    end_client(s);
    expect_empty();
    store_destroy(node);
}
END_TEST

static void damage_files(const char *how)
{
    char *command = rwf_xasprintf("for f in '%s'/*; do %s; done", spill_dir, how);

    ck_assert_int_eq(system(command), 0);
    free(command);
}

static const char *const damages[] = {
    "printf x | dd of=\"$f\" bs=1 seek=12345 conv=notrunc status=none",
    "truncate -s 1000 \"$f\"",
    "rm \"$f\"",
};

START_TEST(damaged_on_disk)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct store *s;
    store_object o;
    size_t size;
    char id[32];

    new_node(4 * MIB, (int64_t)(100 * MIB));
    s = new_client();
    o = put(s, 3 * MIB, 5);
    ck_assert_int_eq(store_relieve(node, 3 * MIB, NULL), 0);
    damage_files(damages[_i]);
    ck_assert(!store_object_pin(s, o, INT64_MAX, &size, &err));
    ck_assert_int_eq(err.code, EILSEQ);
    snprintf(id, sizeof(id), "%lx", (unsigned long)o);
    ck_assert_ptr_nonnull(strstr(err.text, id));
    ck_assert(!store_object_pin(s, o, 0, &size, &err));
    ck_assert_int_eq(err.code, EILSEQ);
    store_object_drop(s, o);
    store_relieve(node, 0, NULL);
    expect_empty();
    ck_assert_uint_eq(files_in(spill_dir), 0);
    end_client(s);
    store_destroy(node);
}
END_TEST

/* Leftovers of a dead node go; what is not ours stays; a live node's folder is refused.
 */
START_TEST(spill_folder)
{
    struct store_options o = {
        .arena = MIB, .spill_quota = 1000, .spill_dir = spill_dir};
    struct rwf_err err = RWF_ERR_INIT;
    char *left = rwf_fs_join(spill_dir, "object-0000000100000001");
    char *other = rwf_fs_join(spill_dir, "notes");

    rwf_fs_mkdirs(spill_dir, NULL);
    rwf_fs_write(left, "x", 1, false, NULL);
    rwf_fs_write(other, "x", 1, false, NULL);
    new_node(MIB, 1000);
    ck_assert(!rwf_fs_exists(left));
    ck_assert(rwf_fs_exists(other));
    ck_assert(!store_create(&o, &err));
    ck_assert_int_eq(err.code, EBUSY);
    store_destroy(node);
    unlink(other);
    free(left);
    free(other);
}
END_TEST

START_TEST(disk_fails)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct rlimit limit = {.rlim_cur = MIB, .rlim_max = MIB};
    struct store *s;
    store_object o, other;

    signal(SIGXFSZ, SIG_IGN);
    new_node(4 * MIB, (int64_t)(100 * MIB));
    setrlimit(RLIMIT_FSIZE, &limit);
    s = new_client();
    o = put(s, 3 * MIB, 5);
    ck_assert(!store_object_create(s, 2 * MIB, INT64_MAX, &other, &err));
    ck_assert_int_eq(err.code, ENOSPC);
    ck_assert_uint_eq(files_in(spill_dir), 0);
    expect(s, o, 3 * MIB, 5);
    end_client(s);
    expect_empty();
    store_destroy(node);
}
END_TEST

/* --- limits of the machine --- */

/* The sanitizers need more of it than is left here. */
START_TEST(no_address_space)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct store_options o = {.arena = (size_t)1 << 40};
    struct rwf_err err = RWF_ERR_INIT;
    struct rlimit limit = {.rlim_cur = (size_t)1 << 36, .rlim_max = (size_t)1 << 36};

    setrlimit(RLIMIT_AS, &limit);
    ck_assert(!store_create(&o, &err));
    ck_assert_int_ne(err.code, 0);
#endif
}
END_TEST

START_TEST(no_descriptors)
{
    struct store_options o = {.arena = MIB};
    struct rwf_err err = RWF_ERR_INIT;
    struct rlimit limit, none;

    getrlimit(RLIMIT_NOFILE, &limit);
    none = limit;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    ck_assert(!store_create(&o, &err));
    ck_assert_int_eq(err.code, EMFILE);
    setrlimit(RLIMIT_NOFILE, &limit);
}
END_TEST

START_TEST(not_a_store)
{
    struct rwf_err err = RWF_ERR_INIT;
    int fd = memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC), slot;

    new_node(MIB, 0);
    slot = store_slot_claim(node, 1, NULL);
    ck_assert(!store_attach(fd, fd, slot, NULL, &err));
    ck_assert_int_eq(ftruncate(fd, 1 << 22), 0);
    ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
                     0);
    ck_assert(!store_attach(fd, fd, slot, NULL, &err));
    ck_assert_int_eq(err.code, EPROTO);
    ck_assert(
        !store_attach(store_arena_fd(node), store_table_fd(node), slot, NULL, &err));
    ck_assert(!store_attach(-1, -1, slot, NULL, &err));
    ck_assert_msg(ftruncate(store_table_fd(node), 0) < 0, "it can be cut off");
    ck_assert_msg(ftruncate(store_arena_fd(node), 0) < 0, "it can be cut off");
    close(fd);
    store_destroy(node);
}
END_TEST

START_TEST(prefault)
{
    struct store_options o = {.arena = 8 * MIB, .prefault = 64 * MIB};
    struct store_stats stats;
    struct store *s;

    node = store_create(&o, NULL);
    s = new_client();
    expect(s, put(s, 4 * MIB, 1), 4 * MIB, 1);
    do
        store_stats(node, &stats);
    while (stats.warm < 8 * MIB);
    end_client(s);
    store_destroy(node);
}
END_TEST

/* The published check value, and that both ways agree. */
START_TEST(crc32c)
{
    char bytes[300];

    ck_assert_uint_eq(store__crc32c(0, "123456789", 9), 0xe3069283);
    ck_assert_uint_eq(store__crc32c_plain(0, "123456789", 9), 0xe3069283);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 37);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        uint32_t whole = store__crc32c(0, bytes, sizeof(bytes));
        uint32_t first = store__crc32c(0, bytes, i);
        ck_assert_uint_eq(store__crc32c(first, bytes + i, sizeof(bytes) - i), whole);
        ck_assert_uint_eq(store__crc32c_plain(0, bytes, i), first);
    }
    /* Long enough for what goes side by side, from any start. */
    static unsigned char large[70000];
    uint64_t seed = 3;
    for (size_t i = 0; i < sizeof(large); i++)
        large[i] = (unsigned char)next_random(&seed);
    for (size_t i = 0; i < 200; i++) {
        size_t from = next_random(&seed) % 64;
        size_t len = next_random(&seed) % (sizeof(large) - 64);
        uint32_t before = (uint32_t)next_random(&seed);
        ck_assert_uint_eq(store__crc32c(before, large + from, len),
                          store__crc32c_plain(before, large + from, len));
    }
}
END_TEST

static void clean(void)
{
    rwf_fs_rmtree(folder, NULL);
    free(spill_dir);
}

static void add_tests(TCase *tc)
{
    tcase_add_test(tc, all_sizes);
    tcase_add_test(tc, never_fits);
    tcase_add_test(tc, references);
    tcase_add_test(tc, release);
    tcase_add_test(tc, slots_run_out);
    tcase_add_test(tc, hand_to_a_successor);
    tcase_add_loop_test(tc, overrun, 0, RWF_COUNT(overruns));
    tcase_add_loop_test(tc, cannot_write_elsewhere, 0, 3);
    tcase_add_test(tc, waits_for_seal);
    tcase_add_test(tc, waits_for_room);
    tcase_add_test(tc, entries_run_out);
    tcase_add_test(tc, spills_and_restores);
    tcase_add_test(tc, quota);
    tcase_add_test(tc, pinned_is_not_spilled);
    tcase_add_loop_test(tc, damaged_on_disk, 0, RWF_COUNT(damages));
    tcase_add_test(tc, spill_folder);
    tcase_add_test(tc, disk_fails);
    tcase_add_test(tc, no_address_space);
    tcase_add_test(tc, no_descriptors);
    tcase_add_test(tc, not_a_store);
    tcase_add_test(tc, prefault);
    tcase_add_test(tc, crc32c);
}

int main(void)
{
    Suite *suite = suite_create("store");
    TCase *tc = tcase_create("store");
    SRunner *runner;
    int failed;

    if (!mkdtemp(folder))
        return 1;
    spill_dir = rwf_fs_join(folder, "spill");
    tcase_set_timeout(tc, 60);
    add_tests(tc);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    clean();
    return failed != 0;
}
