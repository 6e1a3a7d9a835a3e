/* SPDX-License-Identifier: Apache-2.0
 * Two spans between two nodes, a client at one end and a worker at the other, each in a
 * thread of its own: order, flow, objects, and the last word. */
#include "config.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nodes_rig.h"
#include "base/mem.h"
#include "far/bridge_impl.h"
#include "far/data.h"
#include "far/span_impl.h"

#define CHANNEL 5
#define TASK_LAST 4000
#define LARGE 100000

/* One end of a ring, as a process has it. */
struct side {
    struct node *node;
    struct store *store;
    struct store_ring *ring;
    int slot;
    struct far__span *span;
    pthread_t thread;
    uint64_t calls, objects; /* how many; every which argument is an object, 0: none */
    size_t size;             /* of plain arguments, at most */
    _Atomic bool ended;
};
static struct side client, worker;
static unsigned overs;
static char over_text[128];
static uint64_t over_task, lost;

static void on_over(void *ctx, void *owner, const Wire__Death *death)
{
    struct side *s = owner;
    (void)ctx;
    overs++;
    over_task = atomic_load(store_ring_word(s->ring, STORE_WORD_TASK));
    if (death)
        snprintf(over_text, sizeof(over_text), "%s", death->text);
    far__span_close(s->span);
    s->span = NULL;
}

static void on_lost(void *ctx, uint64_t session)
{
    (void)ctx;
    lost = session;
}

static void open_side(struct side *s, struct node *n, const struct node *other,
                      enum far__span_side side)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct peer *plane = far__plane(n, &err);
    ck_assert_msg(plane != NULL, "%s", err.text);
    struct far__spans *set = n->far->bridges->spans;
    set->handler = (struct far__span_handler){NULL, on_over, on_lost};
    s->node = n;
    s->slot = store_slot_claim(n->store, (int)getpid(), &err);
    ck_assert_int_gt(s->slot, 0);
    s->store = store_attach(store_table_fd(n->store), store_arena_fd(n->store), s->slot,
                            &(struct store_hooks){0}, &err);
    ck_assert_msg(s->store != NULL, "%s", err.text);
    int fd = store_ring_make(STORE_RING_BYTES, &err);
    ck_assert_int_ge(fd, 0);
    s->ring = store_ring_open(fd, side == SPAN_OF_CLIENT ? STORE_CLIENT : STORE_WORKER,
                              store_slot_bell(s->store, peer_slot(plane)), &err);
    s->span = far__span_open(set, side, other->session, CHANNEL, fd, s->slot, s, &err);
    ck_assert_msg(s->span != NULL, "%s", err.text);
    close(fd);
}

static void open_both(void)
{
    memset(&client, 0, sizeof(client));
    memset(&worker, 0, sizeof(worker));
    overs = 0;
    lost = 0;
    rig_open(2);
    open_side(&worker, rig.nodes[1], rig.nodes[0], SPAN_OF_WORKER);
    open_side(&client, rig.nodes[0], rig.nodes[1], SPAN_OF_CLIENT);
}

static void close_side(struct side *s)
{
    if (s->span)
        far__span_close(s->span);
    store_ring_close(s->ring);
    store_destroy(s->store);
    store_slot_release(s->node->store, s->slot);
}

static void close_both(void)
{
    close_side(&client);
    close_side(&worker);
    rig_close();
}

static void *reserve(struct side *s, size_t size)
{
    void *room;
    while (!(room = store_ring_reserve(s->ring, size))) {
        store_ring_flush(s->ring);
        sched_yield();
    }
    return room;
}

static const void *next(struct side *s, size_t *size)
{
    const void *m;
    while (!(m = store_ring_peek(s->ring, size)) && !atomic_load(&s->ended))
        sched_yield();
    return m;
}

static size_t size_of(const struct side *s, uint64_t task)
{
    return s->size ? task * 7919 % s->size : 0;
}

static bool is_object(const struct side *s, uint64_t task)
{
    return s->objects && task % s->objects == 0;
}

static unsigned char byte_of(uint64_t task)
{
    return (unsigned char)(task * 31 + 1);
}

/* A new object that is all the byte of its task; it is held. */
static store_object make_object(struct side *s, uint64_t task)
{
    struct rwf_err err = RWF_ERR_INIT;
    store_object o;
    void *data =
        store_object_create(s->store, LARGE, RIG_LONG + rwf_clock_mono(), &o, &err);
    rwf_assert(data);
    memset(data, byte_of(task), LARGE);
    rwf_assert(store_object_seal(s->store, o, &err) == 0);
    return o;
}

static void check_object(struct side *s, store_object o, uint64_t task)
{
    struct rwf_err err = RWF_ERR_INIT;
    size_t size = 0;
    const unsigned char *data = store_object_pin(s->store, o, 0, &size, &err);
    rwf_assert(data && size == LARGE);
    rwf_assert(data[0] == byte_of(task) && data[size - 1] == byte_of(task));
    store_object_unpin(s->store, o);
}

/* Sends all calls; what they name is held to the end. */
static void *send_calls(void *arg)
{
    struct side *s = arg;
    for (uint64_t task = 1; task <= s->calls; task++) {
        bool object = is_object(s, task);
        size_t size = object ? 0 : size_of(s, task);
        size_t all =
            sizeof(struct native_call) + sizeof(struct native_item) + native_pad(size);
        store_object o = object ? make_object(s, task) : 0;
        struct native_call *c = reserve(s, all);
        struct native_item *item = (struct native_item *)(c + 1);
        *c = (struct native_call){
            .msg = {NATIVE_CALL, 0, 1, task}, .returns = 1, .arg_count = 1};
        *item = (struct native_item){object ? LARGE : size, o};
        memset(item + 1, byte_of(task), size);
        store_ring_commit(s->ring);
        if (task % 5 == 0 || task == s->calls)
            store_ring_flush(s->ring);
    }
    return NULL;
}

/* Each call gets back what it was given, as a new object if it was one. */
static void *work(void *arg)
{
    struct side *s = arg;
    uint64_t expected = 1;
    size_t size;
    const struct native_call *c;
    for (; expected <= s->calls && (c = next(s, &size)); expected++) {
        const struct native_item *item = (const struct native_item *)(c + 1);
        rwf_assert(c->msg.type == NATIVE_CALL && c->msg.task == expected);
        atomic_store(store_ring_word(s->ring, STORE_WORD_TASK), c->msg.task);
        store_object o = 0;
        size_t given = item->object ? 0 : item->size;
        if (item->object) {
            check_object(s, item->object, expected);
            o = make_object(s, expected);
            rwf_assert(store_object_hand(s->store, o, s->node->far->bridges->slot) >= 0);
        }
        struct native_done *d =
            reserve(s, sizeof(*d) + sizeof(*item) + native_pad(given));
        struct native_item *value = (struct native_item *)(d + 1);
        *d = (struct native_done){
            .msg = {NATIVE_DONE, 0, 1, expected}, .count = 1, .ns = 1};
        *value = (struct native_item){o ? LARGE : given, o};
        memcpy(value + 1, item + 1, given);
        store_ring_commit(s->ring);
        store_ring_consume(s->ring);
        if (o)
            store_object_drop(s->store, o);
        if (expected % 3 == 0 || expected == s->calls)
            store_ring_flush(s->ring);
    }
    return NULL;
}

/* What has come at the client, in order. */
static uint64_t receive(struct side *s, uint64_t done)
{
    size_t size;
    const struct native_done *d;
    while ((d = store_ring_peek(s->ring, &size))) {
        const struct native_item *item = (const struct native_item *)(d + 1);
        ck_assert_int_eq(d->msg.type, NATIVE_DONE);
        ck_assert_int_eq(d->code, 0);
        ck_assert_uint_eq(d->msg.task, ++done);
        if (is_object(s, done)) {
            ck_assert_uint_ne(item->object, 0);
            check_object(s, item->object, done);
            store_object_drop(s->store, item->object);
        } else {
            ck_assert_uint_eq(item->size, size_of(s, done));
            if (item->size)
                ck_assert_int_eq(*(const unsigned char *)(item + 1), byte_of(done));
        }
        store_ring_consume(s->ring);
    }
    return done;
}

static const struct {
    uint64_t calls, objects;
    size_t size;
} loads[] = {
    {TASK_LAST, 0, 0},    /* small ones */
    {TASK_LAST, 0, 3000}, /* more than the windows hold */
    {300, 0, 200000},     /* large frames */
    {40, 4, 300},         /* objects between them: the order stays */
};

START_TEST(to_and_fro)
{
    uint64_t done = 0;
    open_both();
    client.calls = worker.calls = loads[_i].calls;
    client.objects = worker.objects = loads[_i].objects;
    client.size = worker.size = loads[_i].size;
    pthread_create(&worker.thread, NULL, work, &worker);
    pthread_create(&client.thread, NULL, send_calls, &client);
    UNTIL((done = receive(&client, done)) == client.calls);
    pthread_join(client.thread, NULL);
    pthread_join(worker.thread, NULL);
    ck_assert_uint_eq(overs, 0);
    close_both();
}
END_TEST

/* The death comes behind all that was published, with what was executed. */
START_TEST(last_word)
{
    const Wire__Death init = WIRE__DEATH__INIT;
    Wire__Death death = init;
    uint64_t done = 0;
    open_both();
    client.calls = worker.calls = 500;
    client.size = worker.size = 2000;
    pthread_create(&client.thread, NULL, send_calls, &client);
    pthread_create(&worker.thread, NULL, work, &worker);
    UNTIL((done = receive(&client, done)) >= 200);
    death.cause = RAYWF_ON_EXIT;
    death.text = (char *)"was killed in a test";
    pthread_join(worker.thread, NULL);
    atomic_store(store_ring_word(worker.ring, STORE_WORD_TASK), 501);
    far__span_died(worker.span, &death);
    worker.span = NULL;
    UNTIL(overs == 1);
    ck_assert_uint_eq(receive(&client, done), 500);
    ck_assert_str_eq(over_text, "was killed in a test");
    ck_assert_uint_eq(over_task, 501);
    pthread_join(client.thread, NULL);
    close_both();
}
END_TEST

/* Words go the same way. */
START_TEST(words)
{
    open_both();
    client.calls = 1;
    pthread_create(&client.thread, NULL, send_calls, &client);
    pthread_join(client.thread, NULL);
    size_t size;
    UNTIL(store_ring_peek(worker.ring, &size));
    atomic_store(store_ring_word(worker.ring, STORE_WORD_STARTED),
                 (uint64_t)rwf_clock_mono());
    atomic_store(store_ring_word(worker.ring, STORE_WORD_TASK), 1);
    UNTIL(atomic_load(store_ring_word(client.ring, STORE_WORD_TASK)) == 1);
    ck_assert_uint_le(atomic_load(store_ring_word(client.ring, STORE_WORD_STARTED)),
                      (uint64_t)rwf_clock_mono());
    atomic_store(store_ring_word(client.ring, STORE_WORD_CANCEL), 1);
    store_bell_ring(rig.nodes[0]->far->bridges->spans->bell);
    UNTIL(atomic_load(store_ring_word(worker.ring, STORE_WORD_CANCEL)) == 1);
    close_both();
}
END_TEST

/* Out of reach: which call may have begun is known, and the client is told. */
START_TEST(cut)
{
    open_both();
    client.calls = 3;
    pthread_create(&client.thread, NULL, send_calls, &client);
    pthread_join(client.thread, NULL);
    size_t size;
    UNTIL(store_ring_peek(worker.ring, &size));
    rig_lose(1); /* the head says that it is gone */
    UNTIL(lost != 0);
    far__span_close(client.span);
    client.span = NULL;
    ck_assert_uint_eq(atomic_load(store_ring_word(client.ring, STORE_WORD_TASK)), 3);
    ck_assert_uint_eq(atomic_load(store_ring_word(client.ring, STORE_WORD_CLOSED)), 1);
    close_both();
}
END_TEST

/* What a span still wants to say after its connection has ended goes nowhere, and keeps nobody. */
START_TEST(says_too_late)
{
    open_both();
    rig_lose(1);
    UNTIL(lost != 0);
    struct far__spans *set = rig.nodes[0]->far->bridges->spans;
    atomic_store(store_ring_word(client.ring, STORE_WORD_CANCEL), 1);
    store_bell_ring(set->bell);
    uint64_t said = 0;
    for (int i = 0; i < 100000 && said == 0; i++) { /* a turn of its thread */
        if (pthread_mutex_trylock(&set->lock) == 0) {
            said = client.span->cancel;
            pthread_mutex_unlock(&set->lock);
        }
        usleep(1000);
    }
    ck_assert_uint_eq(said, 1);
    close_both();
}
END_TEST

/* What is no frame ends the span. */
START_TEST(damage)
{
    open_both();
    struct native_call *c = reserve(&client, sizeof(*c));
    *c = (struct native_call){.msg = {NATIVE_CALL, 0, 1, 1}, .arg_count = 7};
    store_ring_commit(client.ring);
    store_ring_flush(client.ring);
    UNTIL(overs == 1); /* found out by the other node */
    ck_assert_ptr_null(worker.span);
    close_both();
}
END_TEST

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "node") == 0)
        return rig_node_main(argv);
    Suite *s = suite_create("bridge");
    TCase *t = tcase_create("spans");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, to_and_fro, 0, sizeof(loads) / sizeof(*loads));
    tcase_add_test(t, last_word);
    tcase_add_test(t, words);
    tcase_add_test(t, cut);
    tcase_add_test(t, says_too_late);
    tcase_add_test(t, damage);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
