/* SPDX-License-Identifier: Apache-2.0
 *
 * The store against a reference model: random calls of many clients, one after the
 * other, with every client's references and pins counted on the side; then threads of
 * one client all at once.
 */
#include "config.h"
#include "store/store.h"
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "store_support.h"

#define MIB ((size_t)1 << 20)
#define CLIENTS 6
#define OBJECTS 48
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STEPS 500
#define SEEDS 2
#define WORK 500
#else
#define STEPS 3000
#define SEEDS 20
#define WORK 5000
#endif

enum model_state { NONE, CREATING, SEALED };

struct object {
    store_object id;
    enum model_state state;
    int creator;
    size_t size;
    unsigned char *data; /* while it is created */
    bool holds[CLIENTS], pins[CLIENTS];
    const unsigned char *pinned[CLIENTS];
};

struct model {
    struct store *node, *clients[CLIENTS];
    struct object objects[OBJECTS];
    uint64_t random;
    size_t used;
};

static char folder[] = "/tmp/check_model.XXXXXX";

static void relieve(void *ctx, size_t bytes)
{
    store_relieve(ctx, bytes, NULL);
}

static void restore(void *ctx, store_object o)
{
    store_restore(ctx, o, NULL);
}

static struct store *attach(struct store *node)
{
    struct store_hooks hooks = {.ctx = node, .full = relieve, .restore = restore};
    int slot = store_slot_claim(node, getpid(), NULL);
    struct store *s =
        store_attach(store_table_fd(node), store_arena_fd(node), slot, &hooks, NULL);

    ck_assert_ptr_nonnull(s);
    return s;
}

static int below(struct model *m, int n)
{
    return (int)(next_random(&m->random) % (uint64_t)n);
}

static size_t random_size(struct model *m)
{
    switch (below(m, 4)) {
    case 0:
        return (size_t)below(m, 2000);
    case 1:
        return (size_t)below(m, 200000);
    case 2:
        return (size_t)below(m, 1200000);
    default:
        return (size_t)below(m, 64) * 1024;
    }
}

static unsigned char byte_of(store_object o)
{
    return (unsigned char)(o * 0x9e3779b97f4a7c15 >> 56);
}

static bool whole(const unsigned char *data, size_t size, store_object o)
{
    for (size_t i = 0; i < size; i++)
        if (data[i] != byte_of(o))
            return false;
    return true;
}

static bool alive(const struct object *o)
{
    for (int c = 0; c < CLIENTS; c++)
        if (o->state == CREATING || (o->state == SEALED && (o->holds[c] || o->pins[c])))
            return true;
    return false;
}

/* --- steps: each does a call and says what must come of it --- */

static void create(struct model *m, struct object *o, int c)
{
    if (alive(o))
        return;
    memset(o, 0, sizeof(*o));
    o->size = random_size(m);
    o->data = store_object_create(m->clients[c], o->size, 0, &o->id, NULL);
    if (!o->data) /* full, and pinned: allowed */
        return;
    o->state = CREATING;
    o->creator = c;
    o->holds[c] = true;
    memset(o->data, byte_of(o->id), o->size);
}

static void seal(struct model *m, struct object *o, int c)
{
    int rc = store_object_seal(m->clients[c], o->id, NULL);

    ck_assert_int_eq(rc, o->state == CREATING && o->creator == c ? 0 : -1);
    if (rc == 0)
        o->state = SEALED;
}

static void abort_(struct model *m, struct object *o, int c)
{
    store_object_abort(m->clients[c], o->id);
    if (o->state == CREATING && o->creator == c)
        o->state = NONE;
}

static void pin(struct model *m, struct object *o, int c)
{
    struct rwf_err err = RWF_ERR_INIT;
    size_t size = 0;
    const void *data = store_object_pin(m->clients[c], o->id, 0, &size, &err);

    if (!alive(o))
        ck_assert(!data && err.code == ENOENT);
    else if (o->state == CREATING)
        ck_assert(!data && err.code == ETIMEDOUT);
    else if (!data) /* on disk, and no room */
        ck_assert_int_eq(err.code, ETIMEDOUT);
    if (!data)
        return;
    ck_assert_uint_eq(size, o->size);
    ck_assert(whole(data, size, o->id));
    o->pins[c] = true;
    o->pinned[c] = data;
}

static void unpin(struct model *m, struct object *o, int c)
{
    if (o->pins[c])
        ck_assert_msg(whole(o->pinned[c], o->size, o->id), "it changed while pinned");
    store_object_unpin(m->clients[c], o->id);
    o->pins[c] = false;
}

static void hold(struct model *m, struct object *o, int c)
{
    int rc = store_object_hold(m->clients[c], o->id);

    ck_assert_int_eq(rc, alive(o) ? 0 : -1);
    if (rc == 0)
        o->holds[c] = true;
}

static void hand(struct model *m, struct object *o, int c)
{
    int to = below(m, CLIENTS);
    int rc = store_object_hand(m->clients[c], o->id, store_slot(m->clients[to]));

    ck_assert_int_eq(rc, alive(o) ? o->holds[to] : -1);
    if (rc >= 0)
        o->holds[to] = true;
}

static void drop(struct model *m, struct object *o, int c)
{
    if (o->state == CREATING)
        return;
    store_object_drop(m->clients[c], o->id);
    o->holds[c] = false;
}

static void spill(struct model *m, struct object *o, int c)
{
    (void)o, (void)c;
    store_relieve(m->node, (size_t)below(m, 4 * MIB), NULL);
}

/* The client is gone, another one takes its place. */
static void kill_client(struct model *m, struct object *unused, int c)
{
    int slot = store_slot(m->clients[c]);

    (void)unused;
    if (below(m, 20))
        return;
    store_slot_release(m->node, slot);
    store_destroy(m->clients[c]);
    m->clients[c] = attach(m->node);
    for (int i = 0; i < OBJECTS; i++) {
        struct object *o = &m->objects[i];
        if (o->state == CREATING && o->creator == c)
            o->state = NONE;
        o->holds[c] = o->pins[c] = false;
    }
}

static void (*const steps[])(struct model *, struct object *, int) = {
    create, create, seal, seal, seal, abort_, pin,  pin,         unpin,
    unpin,  hold,   hand, hand, drop, drop,   drop, kill_client, spill,
};

/* --- what the store says of itself --- */

static void compare(void *ctx, const struct store_info *info)
{
    struct model *m = ctx;
    int holders = 0, pins = 0;

    for (int i = 0; i < OBJECTS; i++) {
        struct object *o = &m->objects[i];
        if (o->id != info->object || !alive(o))
            continue;
        for (int c = 0; c < CLIENTS; c++) {
            holders += o->holds[c];
            pins += o->pins[c];
        }
        ck_assert_int_eq(info->holders, holders);
        ck_assert_int_eq(info->pins, pins);
        ck_assert_uint_eq(info->size, o->size);
        m->used++;
        return;
    }
    ck_abort_msg("the store has an object that nobody has");
}

static void compare_all(struct model *m)
{
    size_t living = 0;

    m->used = 0;
    store_each(m->node, compare, m);
    for (int i = 0; i < OBJECTS; i++)
        living += alive(&m->objects[i]);
    ck_assert_uint_eq(m->used, living);
}

static void expect_empty(struct store *node)
{
    struct store_stats stats;

    store_relieve(node, 0, NULL);
    store_stats(node, &stats);
    ck_assert_uint_eq(stats.objects, 0);
    ck_assert_uint_eq(stats.used, 0);
    ck_assert_int_eq(stats.spill_bytes, 0);
    ck_assert_int_eq(stats.slots, 0);
}

START_TEST(against_the_model)
{
    char *dir = rwf_fs_join(folder, "spill");
    struct store_options o = {.arena = 6 * MIB,
                              .objects = 128,
                              .spill_dir = dir,
                              .spill_quota = (int64_t)(64 * MIB)};
    struct model m = {.random = (uint64_t)_i};

    m.node = store_create(&o, NULL);
    for (int c = 0; c < CLIENTS; c++)
        m.clients[c] = attach(m.node);
    for (int i = 0; i < STEPS; i++) {
        steps[below(&m, RWF_COUNT(steps))](&m, &m.objects[below(&m, OBJECTS)],
                                           below(&m, CLIENTS));
        compare_all(&m);
    }
    for (int c = 0; c < CLIENTS; c++) {
        store_slot_release(m.node, store_slot(m.clients[c]));
        store_destroy(m.clients[c]);
    }
    expect_empty(m.node);
    store_destroy(m.node);
    free(dir);
}
END_TEST

/* --- threads of two clients, all at once --- */

#define BOARD 16

struct crowd {
    struct store *mine, *other;
    _Atomic uint64_t *board;
    uint64_t seed;
    pthread_t thread;
};

static void make_and_show(struct crowd *w, uint64_t *random)
{
    size_t size = next_random(random) % 3 ? next_random(random) % 3000
                                          : next_random(random) % 600000;
    store_object o;
    unsigned char *data = store_object_create(w->mine, size, 0, &o, NULL);

    if (!data)
        return;
    memset(data, byte_of(o), size);
    ck_assert_int_eq(store_object_seal(w->mine, o, NULL), 0);
    store_object_hand(w->mine, o, store_slot(w->other));
    store_object_drop(w->mine, o);
    /* Whoever takes it off the board drops the other's reference. */
    o = atomic_exchange(&w->board[next_random(random) % BOARD], o);
    if (o)
        store_object_drop(w->other, o);
}

/* Nobody of the readers' client pins twice at a time: its count is 1. */
static void look(struct crowd *w, uint64_t *random)
{
    _Atomic uint64_t *cell = &w->board[next_random(random) % BOARD];
    store_object o = atomic_exchange(cell, 0);
    const unsigned char *data;
    size_t size;

    if (!o)
        return;
    data = store_object_pin(w->other, o, 0, &size, NULL);
    ck_assert_ptr_nonnull(data);
    store_object_drop(w->other, o);
    ck_assert(whole(data, size, o));
    store_object_unpin(w->other, o);
}

static void *work(void *ctx)
{
    struct crowd *w = ctx;
    uint64_t random = w->seed;

    for (int i = 0; i < WORK; i++)
        if (next_random(&random) % 2)
            make_and_show(w, &random);
        else
            look(w, &random);
    return NULL;
}

START_TEST(threads)
{
    struct store_options o = {.arena = 8 * MIB};
    struct store *node = store_create(&o, NULL);
    struct store *a = attach(node), *b = attach(node);
    _Atomic uint64_t board[BOARD] = {0};
    struct crowd crowd[4];

    for (int i = 0; i < 4; i++) {
        crowd[i] = (struct crowd){a, b, board, (uint64_t)(_i * 4 + i), 0};
        ck_assert_int_eq(pthread_create(&crowd[i].thread, NULL, work, &crowd[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(crowd[i].thread, NULL);
    for (int i = 0; i < BOARD; i++)
        if (board[i])
            store_object_drop(b, board[i]);
    store_slot_release(node, store_slot(a));
    store_slot_release(node, store_slot(b));
    store_destroy(a);
    store_destroy(b);
    expect_empty(node);
    store_destroy(node);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_model");
    TCase *tc = tcase_create("store_model");
    SRunner *runner;
    int failed;

    if (!mkdtemp(folder))
        return 1;
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, against_the_model, 0, SEEDS);
    tcase_add_loop_test(tc, threads, 0, 4);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    rwf_fs_rmtree(folder, NULL);
    return failed != 0;
}
