/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients that are killed: after each single instruction of a little life (by ptrace),
 * at random under load, and ten thousand of them one after the other. What others hold
 * stays whole; what nobody holds is free again.
 */
#include "config.h"
#include "store/store.h"
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "store_support.h"

#define MIB ((size_t)1 << 20)

static char folder[] = "/tmp/check_kill.XXXXXX";

static struct store *attach(struct store *node, int slot,
                            const struct store_hooks *hooks)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct store *s =
        store_attach(store_table_fd(node), store_arena_fd(node), slot, hooks, &err);

    ck_assert_msg(s != NULL, "%s", err.text);
    return s;
}

static unsigned char byte_of(store_object o)
{
    return (unsigned char)(o * 0x9e3779b97f4a7c15 >> 56);
}

/* The ends and every 1021st byte: a life of single steps has few of them. */
static size_t next_byte(size_t i, size_t size)
{
    return i < 8 || i + 8 >= size || i + 1021 >= size
               ? (i + 8 < size && i >= 8 ? size - 8 : i + 1)
               : i + 1021;
}

static void fill(unsigned char *data, size_t size, store_object o)
{
    for (size_t i = 0; i < size; i = next_byte(i, size))
        data[i] = byte_of(o);
}

static bool whole(const unsigned char *data, size_t size, store_object o)
{
    for (size_t i = 0; i < size; i = next_byte(i, size))
        if (data[i] != byte_of(o))
            return false;
    return true;
}

static void expect_empty(struct store *node)
{
    struct store_stats stats;
    size_t arena;
    store_object o;

    store_relieve(node, 0, NULL);
    store_stats(node, &stats);
    ck_assert_uint_eq(stats.objects, 0);
    ck_assert_uint_eq(stats.used, 0);
    ck_assert_int_eq(stats.spill_bytes, 0);
    /* In one piece. */
    arena = stats.arena - 8192;
    ck_assert_ptr_nonnull(store_object_create(node, arena, 0, &o, NULL));
    store_object_abort(node, o);
}

/* --- each instruction --- */

/* What the one who is killed shares with its judge. */
struct trace {
    _Atomic uint64_t shown[8]; /* handed to the witness, and said so */
};

static store_object make(struct store *s, size_t size)
{
    store_object o = 0;
    unsigned char *data = store_object_create(s, size, 0, &o, NULL);

    if (!data)
        _exit(3);
    fill(data, size, o);
    store_object_seal(s, o, NULL);
    return o;
}

static void live(struct store *s, int witness, struct trace *t, store_object theirs)
{
    size_t size;
    store_object small = make(s, 100), run, half;

    store_object_hand(s, small, witness);
    atomic_store(&t->shown[0], small);
    store_object_drop(s, small);
    run = make(s, 600000);
    store_object_hold(s, theirs);
    store_object_pin(s, theirs, 0, &size, NULL);
    store_object_hand(s, run, witness);
    atomic_store(&t->shown[1], run);
    store_object_unpin(s, theirs);
    store_object_drop(s, run);
    if (store_object_create(s, 700, 0, &half, NULL))
        store_object_abort(s, half);
    store_object_drop(s, make(s, 300));
    store_object_drop(s, theirs);
}

/* Runs the child for so many instructions, then kills it. Whether it had ended before.
 */
static bool step(pid_t pid, long instructions)
{
    int status;
    bool ended = false;

    waitpid(pid, &status, 0);
    for (long i = 0; i < instructions && !ended; i++) {
        ptrace(PTRACE_SINGLESTEP, pid, 0, 0);
        waitpid(pid, &status, 0);
        ended = WIFEXITED(status) || WIFSIGNALED(status);
    }
    if (ended) {
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                      "the client failed");
        return true;
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return false;
}

/* On one processor a step takes a fifth of the time. */
static void stay_here(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static pid_t start_life(struct store *node, int slot, int witness, struct trace *t,
                        store_object theirs)
{
    pid_t pid = fork();

    if (pid == 0) {
        struct store *s;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        s = attach(node, slot, NULL);
        /* Its memory is there already: page faults would be most of the steps. */
        store_object_drop(s, make(s, 600000));
        store_object_drop(s, make(s, 100));
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
            _exit(77);
        raise(SIGSTOP);
        live(s, witness, t, theirs);
        _exit(0);
    }
    return pid;
}

/* What was shown to the witness is whole, is gone after it, and is all there is. */
static void judge(struct store *witness, struct trace *t)
{
    for (size_t i = 0; i < RWF_COUNT(t->shown); i++) {
        store_object o = atomic_exchange(&t->shown[i], 0);
        const unsigned char *data;
        size_t size;
        if (!o)
            continue;
        data = store_object_pin(witness, o, 0, &size, NULL);
        ck_assert_ptr_nonnull(data);
        ck_assert(whole(data, size, o));
        store_object_unpin(witness, o);
        store_object_drop(witness, o);
    }
}

struct find_held {
    struct store *witness;
    store_object held[8];
    size_t count;
};

static void note(void *ctx, const struct store_info *info)
{
    struct find_held *f = ctx;

    if (f->count < RWF_COUNT(f->held))
        f->held[f->count++] = info->object;
}

/* Given, but killed before it could say so: the witness has it all the same. */
static void drop_unshown(struct store *node, struct store *witness, store_object keep)
{
    struct find_held f = {.witness = witness};

    store_each(node, note, &f);
    for (size_t i = 0; i < f.count; i++)
        if (f.held[i] != keep)
            store_object_drop(witness, f.held[i]);
}

static bool one_life(struct store *node, struct store *witness, struct trace *t,
                     long instructions)
{
    int slot = store_slot_claim(node, 1, NULL);
    store_object theirs = make(witness, 5000);
    pid_t pid = start_life(node, slot, store_slot(witness), t, theirs);
    bool ended = step(pid, instructions);
    size_t size;
    const unsigned char *data;

    store_slot_release(node, slot);
    judge(witness, t);
    drop_unshown(node, witness, theirs);
    data = store_object_pin(witness, theirs, 0, &size, NULL);
    ck_assert_ptr_nonnull(data);
    ck_assert(whole(data, size, theirs));
    store_object_unpin(witness, theirs);
    store_object_drop(witness, theirs);
    expect_empty(node);
    return ended;
}

static bool can_trace(void)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
            _exit(77);
        raise(SIGSTOP);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    if (!WIFSTOPPED(status))
        return false;
    bool ok = ptrace(PTRACE_SINGLESTEP, pid, 0, 0) == 0 &&
              waitpid(pid, &status, 0) == pid && WIFSTOPPED(status);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return ok;
}

#ifdef __SANITIZE_ADDRESS__
#define STRIDE 2003
#elif defined(__SANITIZE_THREAD__)
#define STRIDE 8009
#else
#define STRIDE 401
#endif

/* Each stride starts elsewhere: RAYWF_TEST_STRIDE=1 tries every instruction. */
START_TEST(every_instruction)
{
    struct store_options o = {.arena = 4 * MIB, .objects = 64};
    struct store *node = store_create(&o, NULL);
    struct store *witness = attach(node, store_slot_claim(node, 1, NULL), NULL);
    const char *given = getenv("RAYWF_TEST_STRIDE");
    struct trace *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    long stride = given ? atol(given) : STRIDE;

    stay_here();
    if (can_trace())
        for (long n = getpid() % stride; !one_life(node, witness, t, n); n += stride)
            ;
    store_slot_release(node, store_slot(witness));
    store_destroy(witness);
    store_destroy(node);
    munmap(t, sizeof(*t));
}
END_TEST

/* --- at random, under load --- */

#define CROWD 6
#define BOARD 32

struct post { /* to the node */
    int what; /* 0: room, 1: restore */
    uint64_t value;
};

struct shared {
    _Atomic uint64_t board[BOARD];      /* objects that somebody may still have */
    _Atomic uint64_t mail[STORE_SLOTS]; /* handed to that slot */
    _Atomic int slots[CROWD];
    _Atomic uint64_t pinned, made, bad;
};

struct client {
    struct store *s;
    struct shared *shared;
    uint64_t random;
    int post; /* socket to the node */
    store_object held[8], pinned[8];
    const unsigned char *data[8];
    size_t size[8];
};

static void send_post(void *ctx, int what, uint64_t value)
{
    struct client *c = ctx;
    struct post p = {what, value};

    if (send(c->post, &p, sizeof(p), MSG_DONTWAIT) < 0)
        return; /* full of such posts already */
}

static void ask_room(void *ctx, size_t bytes)
{
    send_post(ctx, 0, bytes);
}

static void ask_restore(void *ctx, store_object o)
{
    send_post(ctx, 1, o);
}

static size_t some(struct client *c, size_t n)
{
    return next_random(&c->random) % n;
}

static int64_t soon(void)
{
    return rwf_clock_mono() + 50 * RWF_NS_PER_MS;
}

static bool holds(const struct client *c, store_object o)
{
    for (size_t i = 0; i < RWF_COUNT(c->held); i++)
        if (c->held[i] == o)
            return true;
    return false;
}

static bool has_pinned(const struct client *c, store_object o)
{
    for (size_t i = 0; i < RWF_COUNT(c->pinned); i++)
        if (c->pinned[i] == o)
            return true;
    return false;
}

static void let_go(struct client *c, size_t i)
{
    if (c->held[i])
        store_object_drop(c->s, c->held[i]);
    c->held[i] = 0;
}

static void create_one(struct client *c)
{
    size_t size = some(c, 4) ? some(c, 60000) : some(c, 2 * MIB), i = some(c, 8);
    store_object o;
    unsigned char *data = store_object_create(c->s, size, soon(), &o, NULL);

    if (!data)
        return;
    fill(data, size, o);
    if (store_object_seal(c->s, o, NULL) < 0)
        atomic_fetch_add(&c->shared->bad, 1);
    let_go(c, i);
    c->held[i] = o;
    atomic_store(&c->shared->board[some(c, BOARD)], o);
    atomic_fetch_add(&c->shared->made, 1);
}

static void pin_one(struct client *c)
{
    store_object o = atomic_load(&c->shared->board[some(c, BOARD)]);
    size_t i = some(c, 8);

    if (!o || c->pinned[i] || has_pinned(c, o))
        return;
    c->data[i] = store_object_pin(c->s, o, soon(), &c->size[i], NULL);
    if (!c->data[i])
        return;
    c->pinned[i] = o;
    atomic_fetch_add(&c->shared->pinned, 1);
}

static void unpin_one(struct client *c)
{
    size_t i = some(c, 8);

    if (!c->pinned[i])
        return;
    if (!whole(c->data[i], c->size[i], c->pinned[i]))
        atomic_fetch_add(&c->shared->bad, 1);
    store_object_unpin(c->s, c->pinned[i]);
    c->pinned[i] = 0;
}

static void hold_one(struct client *c)
{
    store_object o = atomic_load(&c->shared->board[some(c, BOARD)]);
    size_t i = some(c, 8);

    if (!o || holds(c, o))
        return;
    let_go(c, i);
    if (store_object_hold(c->s, o) == 0)
        c->held[i] = o;
}

static void hand_one(struct client *c)
{
    store_object o = c->held[some(c, 8)], none = 0;
    int slot = atomic_load(&c->shared->slots[some(c, CROWD)]);

    if (!o || !slot || slot == store_slot(c->s) || atomic_load(&c->shared->mail[slot]))
        return;
    store_slot_bell(c->s, slot);
    if (store_object_hand(c->s, o, slot) != 0)
        return;
    /* Not taken into the box: it has the reference until it ends. */
    atomic_compare_exchange_strong(&c->shared->mail[slot], &none, o);
}

static void take_mail(struct client *c)
{
    store_object o = atomic_exchange(&c->shared->mail[store_slot(c->s)], 0);
    size_t i = some(c, 8);

    if (!o || holds(c, o))
        return;
    let_go(c, i);
    c->held[i] = o;
}

static void run_client(struct client *c, uint64_t steps)
{
    static void (*const acts[])(struct client *) = {create_one, create_one, pin_one,
                                                    pin_one,    unpin_one,  unpin_one,
                                                    hold_one,   hand_one,   take_mail};

    for (uint64_t i = 0; i < steps; i++)
        acts[some(c, RWF_COUNT(acts))](c);
    for (size_t i = 0; i < 8; i++) {
        let_go(c, i);
        if (c->pinned[i] && !whole(c->data[i], c->size[i], c->pinned[i]))
            atomic_fetch_add(&c->shared->bad, 1);
        if (c->pinned[i])
            store_object_unpin(c->s, c->pinned[i]);
    }
}

static pid_t start_client(struct store *node, struct shared *shared, int post,
                          int place, uint64_t seed)
{
    int slot = store_slot_claim(node, 1, NULL);
    pid_t pid;

    ck_assert_int_gt(slot, 0);
    atomic_store(&shared->mail[slot], 0);
    atomic_store(&shared->slots[place], slot);
    pid = fork();
    if (pid == 0) {
        struct client c = {.shared = shared, .random = seed, .post = post};
        struct store_hooks hooks = {&c, ask_room, ask_restore};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        c.s = attach(node, slot, &hooks);
        run_client(&c, seed % 7 == 0 ? 50 : UINT64_MAX);
        store_destroy(c.s);
        _exit(0);
    }
    return pid;
}

static void serve(struct store *node, int post)
{
    struct post p;

    while (recv(post, &p, sizeof(p), MSG_DONTWAIT) == sizeof(p))
        if (p.what == 0)
            store_relieve(node, p.value, NULL);
        else
            store_restore(node, p.value, NULL);
}

static void end_one(struct store *node, struct shared *shared, pid_t pid, int place)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    store_slot_release(node, atomic_exchange(&shared->slots[place], 0));
}

#define KILLS 80

START_TEST(under_load)
{
    char *dir = rwf_fs_join(folder, "spill");
    struct store_options o = {.arena = 12 * MIB,
                              .objects = 512,
                              .spill_dir = dir,
                              .spill_quota = (int64_t)(200 * MIB)};
    struct store *node = store_create(&o, NULL);
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t random = (uint64_t)_i;
    pid_t pids[CROWD];
    int posts[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, posts), 0);
    for (int i = 0; i < CROWD; i++)
        pids[i] = start_client(node, shared, posts[1], i, next_random(&random));
    for (int kills = 0; kills < KILLS; kills++) {
        int i = (int)(next_random(&random) % CROWD);
        uint64_t until = atomic_load(&shared->made) + next_random(&random) % 100;
        int64_t limit = rwf_clock_mono() + 50 * RWF_NS_PER_MS;
        while (atomic_load(&shared->made) < until && rwf_clock_mono() < limit)
            serve(node, posts[0]);
        end_one(node, shared, pids[i], i);
        pids[i] = start_client(node, shared, posts[1], i, next_random(&random));
    }
    for (int i = 0; i < CROWD; i++)
        end_one(node, shared, pids[i], i);
    ck_assert_uint_eq(atomic_load(&shared->bad), 0);
    ck_assert_uint_gt(atomic_load(&shared->pinned), 0);
    expect_empty(node);
    store_destroy(node);
    close(posts[0]);
    close(posts[1]);
    munmap(shared, sizeof(*shared));
    free(dir);
}
END_TEST

/* --- many --- */

static size_t descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MANY 500
#else
#define MANY 10000
#endif

START_TEST(ten_thousand)
{
    struct store_options o = {.arena = 8 * MIB};
    struct store *node = store_create(&o, NULL);
    size_t fds = descriptors();
    struct store_stats before, after;

    stay_here();
    for (int i = 0; i < MANY; i++) {
        int slot = store_slot_claim(node, 1, NULL);
        pid_t pid = fork();
        if (pid == 0) {
            struct store *s = attach(node, slot, NULL);
            store_object o1 = make(s, (size_t)(i % 50) * 1000), o2;
            size_t size;
            store_object_pin(s, o1, 0, &size, NULL);
            store_object_create(s, 100, 0, &o2, NULL);
            if (i % 3 == 0)
                raise(SIGKILL);
            if (i % 3 == 1)
                store_destroy(s);
            _exit(0);
        }
        waitpid(pid, NULL, 0);
        store_slot_release(node, slot);
        if (i == MANY / 10)
            store_stats(node, &before);
    }
    store_stats(node, &after);
    ck_assert_uint_eq(descriptors(), fds);
    ck_assert_int_eq(after.slots, 0);
    ck_assert_uint_le(after.warm, before.warm + MIB);
    expect_empty(node);
    store_destroy(node);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_kill");
    TCase *tc = tcase_create("instruction");
    SRunner *runner;
    int failed;

    if (!mkdtemp(folder))
        return 1;
    tcase_set_timeout(tc, getenv("RAYWF_TEST_STRIDE") ? 36000 : 300);
    tcase_add_test(tc, every_instruction);
    suite_add_tcase(suite, tc);
    tc = tcase_create("load");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, under_load, 0, 4);
    suite_add_tcase(suite, tc);
    tc = tcase_create("many");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, ten_thousand);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    rwf_fs_rmtree(folder, NULL);
    return failed != 0;
}
