/* SPDX-License-Identifier: Apache-2.0
 *
 * A real worker, spoken to frame by frame: what each call gives, how errors look, what
 * a bad plugin or a bad client does to it, and how it ends.
 */
#include "config.h"

#include <errno.h>

#include "base/mem.h"
#include "worker_rig.h"

static struct rig r;

static void start(const char *plugin)
{
    rig_start(&r, rig_plugin(plugin), NULL, 0);
    ck_assert_msg(r.ready_code == 0, "%s", r.ready_text);
}

static uint64_t call1(uint32_t function, const void *data, size_t size)
{
    const struct rig_arg arg = {data, size, 0};
    uint64_t task = rig_call(&r, r.ring, function, 1, &arg, 1);

    store_ring_flush(r.ring);
    return task;
}

static void consume(void)
{
    store_ring_consume(r.ring);
}

START_TEST(one_call)
{
    const double x = 3;
    double y;

    start("work");
    uint64_t task = call1(rig_name(&r, r.ring, "square"), &x, sizeof(x));
    const struct native_done *d = rig_done(r.ring, task);
    memcpy(&y, rig_value(d, sizeof(y)), sizeof(y));
    ck_assert(y == 9);
    ck_assert_uint_gt(d->ns, 0);
    consume();
    rig_end(&r);
}
END_TEST

START_TEST(many_calls_in_order)
{
    const uint64_t count = 50000;
    uint64_t sent = 0, done = 0;

    start("work");
    uint32_t square = rig_name(&r, r.ring, "square");
    while (done < count) {
        for (; sent < count && sent - done < 1000; sent++) {
            const double x = (double)sent;
            const struct rig_arg arg = {&x, sizeof(x), 0};
            rig_call(&r, r.ring, square, 1, &arg, 1);
        }
        store_ring_flush(r.ring);
        const double x = (double)done;
        double y;
        memcpy(&y, rig_value(rig_done(r.ring, ++done), sizeof(y)), sizeof(y));
        ck_assert(y == x * x);
        consume();
    }
    rig_end(&r);
}
END_TEST

/* What goes in comes out: nothing, little, at the limit inline, and objects. */
START_TEST(arguments_and_values)
{
    static const size_t sizes[] = {0, 1, 7, 8, 32768, 32769, 3000000};
    struct rig_arg args[RWF_COUNT(sizes)];
    store_object in[RWF_COUNT(sizes)] = {0};
    size_t size;

    start("work");
    for (size_t i = 0; i < RWF_COUNT(sizes); i++) {
        char *data =
            sizes[i] > RAYWF_INLINE_MAX
                ? store_object_create(r.store, sizes[i], INT64_MAX, &in[i], NULL)
                : rwf_xmalloc(sizes[i] + 1);
        ck_assert_ptr_nonnull(data);
        memset(data, (int)('a' + i), sizes[i]);
        if (in[i])
            ck_assert_int_eq(store_object_seal(r.store, in[i], NULL), 0);
        args[i] = (struct rig_arg){data, sizes[i], in[i]};
    }
    uint64_t task = rig_call(&r, r.ring, rig_name(&r, r.ring, "echo"), RWF_COUNT(sizes),
                             args, RWF_COUNT(sizes));
    store_ring_flush(r.ring);
    const struct native_done *d = rig_done(r.ring, task);
    ck_assert_int_eq(d->code, 0);
    ck_assert_uint_eq(d->count, RWF_COUNT(sizes));
    const char *at = (const char *)(d + 1);
    for (size_t i = 0; i < RWF_COUNT(sizes); i++) {
        const struct native_item *item = (const struct native_item *)at;
        at += sizeof(*item);
        ck_assert_uint_eq(item->size, sizes[i]);
        ck_assert_int_eq(item->object != 0, sizes[i] > RAYWF_INLINE_MAX);
        const char *bytes = at;
        if (item->object) {
            ck_assert(item->object != in[i]);
            bytes = store_object_pin(r.store, item->object, INT64_MAX, &size, NULL);
            ck_assert_ptr_nonnull(bytes);
            ck_assert_uint_eq(size, sizes[i]);
        } else {
            at += native_pad(sizes[i]);
        }
        for (size_t k = 0; k < sizes[i]; k += 997)
            ck_assert_int_eq(bytes[k], (char)('a' + i));
        if (item->object) {
            store_object_unpin(r.store, item->object);
            store_object_drop(r.store, item->object); /* handed to us: the last one */
            ck_assert_int_eq((int)store_object_size(r.store, item->object), -1);
            store_object_drop(r.store, in[i]);
            ck_assert_int_eq((int)store_object_size(r.store, in[i]), -1);
        } else {
            free((void *)(uintptr_t)args[i].data);
        }
    }
    consume();
    rig_end(&r);
}
END_TEST

/* Both ways through an object when a frame cannot hold it all. */
START_TEST(packed)
{
    enum { COUNT = 16384, SIZE = 40 };
    const size_t each = sizeof(struct native_item) + SIZE;
    char bytes[SIZE];
    store_object o;
    size_t size;

    start("work");
    char *at = store_object_create(r.store, COUNT * each, INT64_MAX, &o, NULL);
    ck_assert_ptr_nonnull(at);
    for (int i = 0; i < COUNT; i++) {
        memset(bytes, i, SIZE);
        at = rig_item(at, bytes, SIZE, 0);
    }
    ck_assert_int_eq(store_object_seal(r.store, o, NULL), 0);
    uint32_t echo = rig_name(&r, r.ring, "echo");
    struct native_call *c =
        rig_reserve(r.ring, sizeof(*c) + sizeof(struct native_item));
    *c = (struct native_call){
        .msg = {.type = NATIVE_CALL, .flags = NATIVE_PACKED, .epoch = 1, .task = 1},
        .function = echo,
        .attempt = 1,
        .returns = 4000,
        .arg_count = 4000};
    rig_item((char *)(c + 1), NULL, COUNT * each, o);
    store_ring_commit(r.ring);
    store_ring_flush(r.ring);
    const struct native_done *d = rig_done(r.ring, 1);
    ck_assert_int_eq(d->code, 0);
    ck_assert_uint_eq(d->count, 4000);
    ck_assert(d->msg.flags & NATIVE_PACKED);
    const struct native_item *item = (const struct native_item *)(d + 1);
    const char *got = store_object_pin(r.store, item->object, INT64_MAX, &size, NULL);
    ck_assert_ptr_nonnull(got);
    ck_assert_uint_eq(size, 4000 * each);
    for (size_t i = 0; i < 4000; i++)
        ck_assert_int_eq(got[i * each + sizeof(*item) + SIZE - 1], (char)i);
    consume();
    rig_end(&r);
}
END_TEST

START_TEST(errors)
{
    const uint64_t three = 3;
    const struct rig_arg arg = {&three, sizeof(three), 0};
    static const struct {
        const char *name;
        int32_t returns;
        int code;
        const char *text;
    } rows[] = {
        {"fail", 1, RAYWF_E_FAILED, "fail: the answer is 42"},
        {"fail_silently", 1, RAYWF_E_FAILED, "did not say why"},
        {"no_such", 1, RAYWF_E_PLUGIN, "has no function 'no_such'"},
        {"squre", 1, RAYWF_E_PLUGIN, "did you mean 'square'?"},
        {"Counter", 1, RAYWF_E_PLUGIN, "is an actor class"},
        {"echo", 0, RAYWF_E_ARGUMENT, "gives value 0, but was submitted for 0"},
        {"echo", 3, RAYWF_E_FAILED, "gave 1 values, but was submitted for 3"},
        {"echo", RAYWF_STREAM, RAYWF_E_ARGUMENT, "raywf_yield"},
        {"count", 1, RAYWF_E_ARGUMENT, "not submitted as a stream"},
        {"yields_then_fails", 1, RAYWF_E_ARGUMENT, "not submitted as a stream"},
    };

    start("work");
    for (size_t i = 0; i < RWF_COUNT(rows); i++) {
        uint64_t task = rig_call(&r, r.ring, rig_name(&r, r.ring, rows[i].name),
                                 rows[i].returns, &arg, 1);
        store_ring_flush(r.ring);
        rig_error(rig_done(r.ring, task), rows[i].code, rows[i].text);
        consume();
    }
    /* Nothing to say is no error. */
    const struct native_done *d =
        rig_done(r.ring, call1(rig_name(&r, r.ring, "noop"), 0, 0));
    rig_value(d, 0);
    consume();
    rig_end(&r);
}
END_TEST

START_TEST(a_lost_argument)
{
    const struct rig_arg arg = {NULL, 100000, (store_object)12345 << 32 | 17};

    start("work");
    uint64_t task = rig_call(&r, r.ring, rig_name(&r, r.ring, "echo"), 1, &arg, 1);
    store_ring_flush(r.ring);
    rig_error(rig_done(r.ring, task), RAYWF_E_LOST, "argument 0");
    consume();
    rig_end(&r);
}
END_TEST

static const uint64_t overruns[] = {0, 1, 40, 32768, 32769, 1000000};

/* Named, and the worker ends after it: who knows what else it wrote to. */
START_TEST(overrun)
{
    start("work");
    uint64_t task = call1(rig_name(&r, r.ring, "overrun"), &overruns[_i], 8);
    const struct native_done *d = rig_done(r.ring, task);
    rig_error(d, RAYWF_E_OVERRUN, "function 'overrun' of plugin /");
    rig_error(d, RAYWF_E_OVERRUN, "work.so");
    ck_assert_int_eq(rig_wait(&r), 0);
    rig_end(&r);
}
END_TEST

START_TEST(right_to_the_end)
{
    size_t size;

    start("work");
    uint32_t fill = rig_name(&r, r.ring, "fill");
    for (size_t i = 0; i < RWF_COUNT(overruns); i++) {
        const struct native_done *d = rig_done(r.ring, call1(fill, &overruns[i], 8));
        const struct native_item *item = (const struct native_item *)(d + 1);
        ck_assert_int_eq(d->code, 0);
        ck_assert_uint_eq(item->size, overruns[i]);
        if (item->object) {
            const unsigned char *data =
                store_object_pin(r.store, item->object, INT64_MAX, &size, NULL);
            ck_assert_int_eq(data[size - 1], (unsigned char)(size - 1));
            store_object_unpin(r.store, item->object);
        }
        consume();
    }
    rig_end(&r);
}
END_TEST

/* The word that tells which call a worker was in when it died. */
START_TEST(death)
{
    start("work");
    uint32_t noop = rig_name(&r, r.ring, "noop");
    uint32_t crash = rig_name(&r, r.ring, "crash");
    rig_call(&r, r.ring, noop, 1, NULL, 0);
    uint64_t culprit = rig_call(&r, r.ring, crash, 1, NULL, 0);
    rig_call(&r, r.ring, noop, 1, NULL, 0);
    store_ring_flush(r.ring);
    int status = rig_wait(&r);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    ck_assert_uint_eq(atomic_load(store_ring_word(r.ring, STORE_WORD_TASK)), culprit);
    /* What was done before was published before. */
    rig_done(r.ring, 1);
    consume();
    rig_end(&r);
}
END_TEST

START_TEST(cancel_running)
{
    start("work");
    uint32_t endless = rig_name(&r, r.ring, "endless");
    uint64_t task = rig_call(&r, r.ring, endless, 1, NULL, 0);
    store_ring_flush(r.ring);
    const int64_t deadline = rig_deadline();
    while (atomic_load(store_ring_word(r.ring, STORE_WORD_TASK)) != task)
        ck_assert(rwf_clock_mono() < deadline);
    atomic_store(store_ring_word(r.ring, STORE_WORD_CANCEL), task);
    rig_error(rig_done(r.ring, task), RAYWF_E_FAILED, "was cancelled");
    consume();
    rig_end(&r);
}
END_TEST

static void forget(uint64_t task)
{
    struct native_msg *f = rig_reserve(r.ring, sizeof(*f));

    *f = (struct native_msg){.type = NATIVE_FORGET, .epoch = 1, .task = task};
    store_ring_commit(r.ring);
}

/* Queued behind one that runs: never begins. */
START_TEST(forget_queued)
{
    start("work");
    uint32_t endless = rig_name(&r, r.ring, "endless");
    uint32_t crash = rig_name(&r, r.ring, "crash");
    uint32_t noop = rig_name(&r, r.ring, "noop");
    /* Known to be slow: only then does a worker look ahead. */
    uint64_t first = rig_call(&r, r.ring, endless, 1, NULL, 0);
    uint64_t never = rig_call(&r, r.ring, crash, 1, NULL, 0);
    uint64_t second = rig_call(&r, r.ring, noop, 1, NULL, 0);
    forget(never);
    store_ring_flush(r.ring);
    atomic_store(store_ring_word(r.ring, STORE_WORD_CANCEL), first);
    rig_error(rig_done(r.ring, first), RAYWF_E_FAILED, "was cancelled");
    consume();
    rig_error(rig_done(r.ring, never), RAYWF_E_CANCELLED, "before it began");
    consume();
    rig_value(rig_done(r.ring, second), 0);
    consume();
    rig_end(&r);
}
END_TEST

/* A short call's result does not wait for the end of a long one, although the long one
 * has always been short before. */
START_TEST(no_result_waits)
{
    const uint64_t zero = 0, long_ = 600000;
    const struct rig_arg shortly = {&zero, sizeof(zero), 0},
                         for_long = {&long_, sizeof(long_), 0};

    start("work");
    uint32_t fill = rig_name(&r, r.ring, "fill");
    uint32_t nap = rig_name(&r, r.ring, "nap");
    for (int i = 0; i < 200; i++) {
        uint64_t t = rig_call(&r, r.ring, i % 2 ? fill : nap, 1, &shortly, 1);
        store_ring_flush(r.ring);
        rig_done(r.ring, t);
        consume();
    }
    uint64_t a = rig_call(&r, r.ring, fill, 1, &shortly, 1);
    uint64_t b = rig_call(&r, r.ring, nap, 1, &for_long, 1);
    store_ring_flush(r.ring);
    rig_done(r.ring, a); /* in 300 s at most, and b takes 600 */
    consume();
    ck_assert_uint_eq(atomic_load(store_ring_word(r.ring, STORE_WORD_TASK)), b);
    kill(r.pid, SIGKILL);
    rig_wait(&r);
    rig_end(&r);
}
END_TEST

static void credit(uint64_t task, uint64_t upto)
{
    struct native_credit *c = rig_reserve(r.ring, sizeof(*c));

    *c = (struct native_credit){
        .msg = {.type = NATIVE_CREDIT, .epoch = 1, .task = task}, .upto = upto};
    store_ring_commit(r.ring);
    store_ring_flush(r.ring);
}

/* The next value of a stream. Where the worker has waited for us meanwhile, it says that the
 * calls behind are not taken, and *stalled is set. */
static const struct native_msg *next_value(size_t *size, bool *stalled)
{
    const struct native_msg *m = rig_next(r.ring, size);

    if (m->type != NATIVE_STALLED)
        return m;
    *stalled = true;
    consume();
    return rig_next(r.ring, size);
}

/* From here on calls are taken again. */
static void resume(void)
{
    struct native_msg *m = rig_reserve(r.ring, sizeof(*m));

    *m = (struct native_msg){.type = NATIVE_RESUME};
    store_ring_commit(r.ring);
}

START_TEST(stream)
{
    bool stalled = false;
    const uint64_t n = 1000;
    const struct rig_arg arg = {&n, sizeof(n), 0};
    size_t size;

    start("work");
    uint32_t count = rig_name(&r, r.ring, "count");
    uint64_t task = rig_call(&r, r.ring, count, RAYWF_STREAM, &arg, 1);
    /* What lies behind in the ring is taken in meanwhile, and keeps its turn. */
    uint64_t behind = rig_call(&r, r.ring, rig_name(&r, r.ring, "noop"), 1, NULL, 0);
    store_ring_flush(r.ring);
    for (uint64_t i = 0; i < n; i++) {
        const struct native_yield *y =
            (const struct native_yield *)next_value(&size, &stalled);
        ck_assert_int_eq(y->msg.type, NATIVE_YIELD);
        ck_assert_uint_eq(y->msg.task, task);
        ck_assert_uint_eq(y->index, i + 1);
        ck_assert_uint_eq(*(const uint64_t *)(const void *)((const char *)(y + 1) +
                                                            sizeof(struct native_item)),
                          i);
        consume();
        if (i % 2)
            credit(task, i + 5);
    }
    next_value(&size, &stalled);
    const struct native_done *d = rig_done(r.ring, task);
    ck_assert_int_eq(d->code, 0);
    ck_assert_uint_eq(d->count, 0);
    consume();
    if (stalled) {
        resume();
        behind = rig_call(&r, r.ring, rig_name(&r, r.ring, "noop"), 1, NULL, 0);
        store_ring_flush(r.ring);
    }
    rig_value(rig_done(r.ring, behind), 0);
    consume();
    rig_end(&r);
}
END_TEST

/* A stream that waits for its reader hears that it is cancelled, and that the reader is
 * gone. */
START_TEST(stream_without_reader)
{
    const uint64_t n = 1000;
    const struct rig_arg arg = {&n, sizeof(n), 0};
    size_t size;
    bool stalled = false;

    start("work");
    uint32_t count = rig_name(&r, r.ring, "count");
    uint64_t task = rig_call(&r, r.ring, count, RAYWF_STREAM, &arg, 1);
    store_ring_flush(r.ring);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(next_value(&size, &stalled)->type, NATIVE_YIELD);
        consume();
    }
    atomic_store(store_ring_word(r.ring, STORE_WORD_CANCEL), task);
    store_bell_ring(store_slot_bell(r.store, r.worker_slot));
    next_value(&size, &stalled);
    rig_error(rig_done(r.ring, task), RAYWF_E_CANCELLED, "");
    consume();
    if (stalled)
        resume();
    task = rig_call(&r, r.ring, count, RAYWF_STREAM, &arg, 1);
    store_ring_flush(r.ring);
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_eq(next_value(&size, &stalled)->task, task);
        consume();
    }
    Wire__Leave leave = WIRE__LEAVE__INIT;
    leave.lease = 1;
    ck_assert_int_eq(wire_send(r.fd, WIRE_LEAVE, &leave.base, NULL, 0, NULL), 0);
    rig_retire(&r);
    ck_assert_int_eq(rig_wait(&r), 0);
    ck_assert_uint_eq(atomic_load(store_ring_word(r.ring, STORE_WORD_CLOSED)), 1);
    rig_end(&r);
}
END_TEST

/* All that was sent is done, then it ends. */
START_TEST(retire)
{
    start("work");
    uint32_t noop = rig_name(&r, r.ring, "noop");
    for (int i = 0; i < 1000; i++)
        rig_call(&r, r.ring, noop, 1, NULL, 0);
    store_ring_flush(r.ring);
    rig_retire(&r);
    for (uint64_t i = 1; i <= 1000; i++) {
        rig_done(r.ring, i);
        consume();
    }
    ck_assert_int_eq(rig_wait(&r), 0);
    rig_end(&r);
}
END_TEST

/* After its last call the rest is untouched: it can be sent to another one. */
START_TEST(max_calls)
{
    rig_start(&r, rig_plugin("work"), NULL, 3);
    uint32_t noop = rig_name(&r, r.ring, "noop");
    size_t size;
    for (int i = 0; i < 5; i++)
        rig_call(&r, r.ring, noop, 1, NULL, 0);
    store_ring_flush(r.ring);
    ck_assert_int_eq(rig_wait(&r), 0);
    for (uint64_t i = 1; i <= 3; i++) {
        rig_done(r.ring, i);
        consume();
    }
    ck_assert_ptr_null(store_ring_peek(r.ring, &size));
    ck_assert_uint_eq(atomic_load(store_ring_word(r.ring, STORE_WORD_TASK)), 0);
    ck_assert_uint_eq(atomic_load(store_ring_word(r.ring, STORE_WORD_CLOSED)), 1);
    rig_end(&r);
}
END_TEST

START_TEST(recycle)
{
    start("work");
    uint64_t task = call1(rig_name(&r, r.ring, "recycle"), NULL, 0);
    rig_value(rig_done(r.ring, task), 0);
    consume();
    ck_assert_int_eq(rig_wait(&r), 0);
    rig_end(&r);
}
END_TEST

/* Whoever waits for a bad plugin hears what is wrong: the node, and each call. */
START_TEST(bad_plugin)
{
    rig_start(&r, rig_plugin("abi"), NULL, 0);
    ck_assert_int_eq(r.ready_code, RAYWF_E_PLUGIN);
    ck_assert_ptr_nonnull(strstr(r.ready_text, "version 2 of raywf.h"));
    uint64_t task = call1(rig_name(&r, r.ring, "square"), NULL, 0);
    rig_error(rig_done(r.ring, task), RAYWF_E_PLUGIN, "version 2 of raywf.h");
    consume();
    rig_end(&r);
}
END_TEST

/* The node goes while a function never returns: the worker goes, too. */
START_TEST(node_is_gone)
{
    start("work");
    uint64_t task = call1(rig_name(&r, r.ring, "deaf"), NULL, 0);
    const int64_t deadline = rig_deadline();
    while (atomic_load(store_ring_word(r.ring, STORE_WORD_TASK)) != task)
        ck_assert(rwf_clock_mono() < deadline);
    rig_end(&r);
}
END_TEST

/* --- clients that break the rules --- */

static void let_go(void)
{
    const int64_t deadline = rig_deadline();

    store_ring_flush(r.ring);
    while (!atomic_load(store_ring_word(r.ring, STORE_WORD_CLOSED)))
        ck_assert_msg(rwf_clock_mono() < deadline, "the client is still served");
    /* The next one is served. */
    struct store_ring *other = rig_serve(&r, 2, "", NULL, 0);
    struct store_ring *old = r.ring;
    r.ring = other;
    uint64_t task = call1(rig_name(&r, r.ring, "noop"), NULL, 0);
    rig_value(rig_done(r.ring, task), 0);
    consume();
    store_ring_close(old);
    rig_end(&r);
}

START_TEST(bad_frames)
{
    start("work");
    uint32_t echo = rig_name(&r, r.ring, "echo");
    if (_i == 0) { /* no such type */
        struct native_msg *m = rig_reserve(r.ring, sizeof(*m));
        *m = (struct native_msg){.type = 77, .task = 1};
    } else if (_i == 1) { /* too short for any */
        *(uint64_t *)rig_reserve(r.ring, 8) = 1;
    } else if (_i == 2) { /* of a function without a name */
        struct native_call *c = rig_reserve(r.ring, sizeof(*c));
        *c = (struct native_call){.msg = {.type = NATIVE_CALL, .task = 1},
                                  .function = 9};
    } else if (_i == 3) { /* its arguments are not in it */
        struct native_call *c = rig_reserve(r.ring, sizeof(*c));
        *c = (struct native_call){.msg = {.type = NATIVE_CALL, .task = 1},
                                  .function = echo,
                                  .returns = 1,
                                  .arg_count = 3};
    } else if (_i == 4) { /* an argument that is longer than its frame */
        struct native_call *c =
            rig_reserve(r.ring, sizeof(*c) + sizeof(struct native_item));
        *c = (struct native_call){.msg = {.type = NATIVE_CALL, .task = 1},
                                  .function = echo,
                                  .returns = 1,
                                  .arg_count = 1};
        rig_item((char *)(c + 1), NULL, 0, 0);
        ((struct native_item *)(c + 1))->size = SIZE_MAX - 3;
    } else { /* a name that is longer than its frame */
        struct native_name *n = rig_reserve(r.ring, sizeof(*n));
        *n = (struct native_name){
            .msg = {.type = NATIVE_NAME}, .function = 5, .len = 50};
    }
    store_ring_commit(r.ring);
    let_go();
}
END_TEST

/* --- an actor's worker --- */

static void actor_start(int64_t start_at, const char *class_)
{
    Wire__ActorSpec spec = WIRE__ACTOR_SPEC__INIT;
    struct {
        struct native_call call;
        struct native_item item;
        int64_t value;
    } args = {.call = {.msg = {.type = NATIVE_CALL}, .attempt = 1, .arg_count = 1},
              .item = {.size = 8},
              .value = start_at};

    spec.actor = 5;
    spec.plugin = (char *)(uintptr_t)rig_plugin("work");
    spec.class_ = (char *)(uintptr_t)class_;
    spec.args.data = (uint8_t *)&args;
    spec.args.len = sizeof(args);
    rig_start(&r, "", &spec, 0);
}

static int64_t actor_add(struct store_ring *ring, uint32_t add, int64_t n)
{
    const struct rig_arg arg = {&n, sizeof(n), 0};
    int64_t sum;
    uint64_t task = rig_call(&r, ring, add, 1, &arg, 1);

    store_ring_flush(ring);
    memcpy(&sum, rig_value(rig_done(ring, task), sizeof(sum)), sizeof(sum));
    store_ring_consume(ring);
    return sum;
}

START_TEST(actor)
{
    actor_start(10, "Counter");
    ck_assert_msg(r.ready_code == 0, "%s", r.ready_text);
    uint32_t add = rig_name(&r, r.ring, "Counter.add");
    ck_assert_int_eq(actor_add(r.ring, add, 5), 15);
    /* A second client has a ring of its own, and the same state. */
    struct store_ring *other = rig_serve(&r, 2, "", NULL, 0);
    uint32_t add2 = rig_name(&r, other, "Counter.add");
    ck_assert_int_eq(actor_add(other, add2, 7), 22);
    ck_assert_int_eq(actor_add(r.ring, add, 1), 23);
    uint64_t task = call1(rig_name(&r, r.ring, "Counter.ad"), NULL, 0);
    rig_error(rig_done(r.ring, task), RAYWF_E_PLUGIN, "did you mean 'add'?");
    consume();
    task = call1(rig_name(&r, r.ring, "square"), NULL, 0);
    rig_error(rig_done(r.ring, task), RAYWF_E_PLUGIN,
              "not a method of actor class Counter");
    consume();
    rig_retire(&r); /* destroys its state: a leak would be found */
    ck_assert_int_eq(rig_wait(&r), 0);
    store_ring_close(other);
    rig_end(&r);
}
END_TEST

START_TEST(actor_constructor_fails)
{
    actor_start(-3, "Counter");
    ck_assert_int_eq(r.ready_code, RAYWF_E_FAILED);
    ck_assert_str_eq(r.ready_text, "Counter: cannot start below zero (-3)");
    uint64_t task = call1(rig_name(&r, r.ring, "Counter.get"), NULL, 0);
    rig_error(rig_done(r.ring, task), RAYWF_E_FAILED, "below zero");
    consume();
    rig_end(&r);
    actor_start(0, "Conter");
    ck_assert_int_eq(r.ready_code, RAYWF_E_PLUGIN);
    ck_assert_ptr_nonnull(strstr(r.ready_text, "did you mean 'Counter'?"));
    rig_end(&r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("worker");
    TCase *t = tcase_create("worker");
    SRunner *runner = srunner_create(s);

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, one_call);
    tcase_add_test(t, many_calls_in_order);
    tcase_add_test(t, arguments_and_values);
    tcase_add_test(t, packed);
    tcase_add_test(t, errors);
    tcase_add_test(t, a_lost_argument);
    tcase_add_loop_test(t, overrun, 0, (int)RWF_COUNT(overruns));
    tcase_add_test(t, right_to_the_end);
    tcase_add_test(t, death);
    tcase_add_test(t, cancel_running);
    tcase_add_test(t, forget_queued);
    tcase_add_test(t, no_result_waits);
    tcase_add_test(t, stream);
    tcase_add_test(t, stream_without_reader);
    tcase_add_test(t, retire);
    tcase_add_test(t, max_calls);
    tcase_add_test(t, recycle);
    tcase_add_test(t, bad_plugin);
    tcase_add_test(t, node_is_gone);
    tcase_add_loop_test(t, bad_frames, 0, 6);
    tcase_add_test(t, actor);
    tcase_add_test(t, actor_constructor_fails);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
