/* SPDX-License-Identifier: Apache-2.0
 *
 * A node as thin as possible around one real worker, and a client that writes into its
 * ring frame by frame. Waiting has a limit of 5 minutes, which only a hang reaches.
 */
#ifndef RWF_TESTS_WORKER_RIG_H
#define RWF_TESTS_WORKER_RIG_H
#include <check.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "native/msg.h"
#include "native/raywf.h"
#include "store/ring.h"
#include "store/store.h"
#include "wire/frame.h"

extern char **environ;

struct rig {
    struct store *node, *store; /* the client's view is `store` */
    int fd;
    pid_t pid;
    struct wire_reader *reader;
    struct store_ring *ring;
    int worker_slot, client_slot;
    uint64_t task;
    uint32_t functions;
    int ready_code;
    char ready_text[1024];
};

static inline int64_t rig_deadline(void)
{
    return rwf_clock_mono() + 300 * RWF_NS_PER_S;
}

static inline const char *rig_plugin(const char *name)
{
    static char path[4096];

    snprintf(path, sizeof(path), "%s/tests/unit/plugins/%s.so",
             getenv("abs_top_builddir"), name);
    return path;
}

static inline void rig_spawn(struct rig *r)
{
    posix_spawn_file_actions_t actions;
    char name[] = "raywf", command[] = "worker", number[] = "7";
    char *const argv[] = {name, command, number, NULL};
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    posix_spawn_file_actions_init(&actions);
    /* dup2 of a descriptor onto itself would leave it close-on-exec. */
    if (pair[1] == 3)
        pair[1] = fcntl(3, F_DUPFD_CLOEXEC, 10);
    posix_spawn_file_actions_adddup2(&actions, pair[1], 3);
    ck_assert_int_eq(
        posix_spawn(&r->pid, getenv("RAYWF"), &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    r->fd = pair[0];
    r->reader = wire_reader_create(r->fd);
}

static inline void rig_receive(struct rig *r, enum wire_type type,
                               struct wire_message *ret)
{
    struct rwf_err err = RWF_ERR_INIT;

    for (;;) {
        ck_assert_msg(wire_receive(r->reader, rig_deadline(), ret, &err) == 1,
                      "no %s came: %s", wire_type_name(type), err.text);
        if (ret->type == type)
            return;
        wire_message_clear(ret);
    }
}

static inline void rig_welcome(struct rig *r)
{
    Wire__Welcome w = WIRE__WELCOME__INIT;
    struct wire_message m;
    int fds[2];

    rig_receive(r, WIRE_HELLO, &m);
    ck_assert_str_eq(((Wire__Hello *)m.body)->role, "worker");
    wire_message_clear(&m);
    rig_receive(r, WIRE_JOIN, &m);
    ck_assert_uint_eq(((Wire__Join *)m.body)->worker, 7);
    wire_message_clear(&m);
    fds[0] = store_table_fd(r->node);
    fds[1] = store_arena_fd(r->node);
    w.client = 1u << 20;
    w.slot = (uint32_t)r->worker_slot;
    w.session = 1;
    w.ring_bytes = STORE_RING_BYTES;
    ck_assert_int_eq(wire_send(r->fd, WIRE_WELCOME, &w.base, fds, 2, NULL), 0);
}

/* Serves a client; gives the near end of its ring. */
static inline struct store_ring *rig_serve(struct rig *r, uint64_t lease,
                                           const char *plugin, Wire__ActorSpec *actor,
                                           uint32_t max_calls)
{
    Wire__Serve s = WIRE__SERVE__INIT;
    int fd = store_ring_make(STORE_RING_BYTES, NULL);
    struct store_ring *ring;

    ck_assert_int_ge(fd, 0);
    s.lease = lease;
    s.client = 99;
    s.slot = (uint32_t)r->client_slot;
    s.plugin = (char *)(uintptr_t)plugin;
    s.actor = actor;
    s.max_calls = max_calls;
    ck_assert_int_eq(wire_send(r->fd, WIRE_SERVE, &s.base, &fd, 1, NULL), 0);
    ring = store_ring_open(fd, STORE_CLIENT, store_slot_bell(r->store, r->worker_slot),
                           NULL);
    ck_assert_ptr_nonnull(ring);
    close(fd);
    return ring;
}

static inline void rig_start(struct rig *r, const char *plugin, Wire__ActorSpec *actor,
                             uint32_t max_calls)
{
    const struct store_options o = {.arena = (size_t)64 << 20};
    struct rwf_err err = RWF_ERR_INIT;
    struct wire_message m;

    *r = (struct rig){0};
    r->node = store_create(&o, &err);
    ck_assert_msg(r->node, "%s", err.text);
    r->client_slot = store_slot_claim(r->node, getpid(), NULL);
    r->store = store_attach(store_table_fd(r->node), store_arena_fd(r->node),
                            r->client_slot, NULL, &err);
    ck_assert_msg(r->store, "%s", err.text);
    rig_spawn(r);
    r->worker_slot = store_slot_claim(r->node, r->pid, NULL);
    rig_welcome(r);
    r->ring = rig_serve(r, 1, plugin, actor, max_calls);
    rig_receive(r, WIRE_READY, &m);
    r->ready_code = ((Wire__Ready *)m.body)->code;
    snprintf(r->ready_text, sizeof(r->ready_text), "%s", ((Wire__Ready *)m.body)->text);
    wire_message_clear(&m);
}

/* Its exit status as waitpid gives it. */
static inline int rig_wait(struct rig *r)
{
    const int64_t deadline = rig_deadline();
    const struct timespec nap = {.tv_nsec = 1000000};
    int status;

    while (waitpid(r->pid, &status, WNOHANG) == 0) {
        if (rwf_clock_mono() > deadline)
            kill(r->pid, SIGKILL);
        nanosleep(&nap, NULL);
    }
    r->pid = 0;
    return status;
}

static inline void rig_retire(struct rig *r)
{
    Wire__Retire m = WIRE__RETIRE__INIT;

    ck_assert_int_eq(wire_send(r->fd, WIRE_RETIRE, &m.base, NULL, 0, NULL), 0);
}

/* Ends it as a node does that goes away. */
static inline void rig_end(struct rig *r)
{
    wire_reader_destroy(r->reader);
    close(r->fd);
    if (r->pid)
        ck_assert_int_eq(rig_wait(r), 0);
    store_ring_close(r->ring);
    store_destroy(r->store);
    store_destroy(r->node);
}

/* One turn of waiting for the other side; a busy machine gets its time back. */
static inline void rig_pause(int *turns)
{
    const struct timespec nap = {.tv_nsec = 20000};

    if (++*turns < 100)
        sched_yield();
    else
        nanosleep(&nap, NULL);
}

/* --- frames --- */

static inline void *rig_reserve(struct store_ring *ring, size_t size)
{
    const int64_t deadline = rig_deadline();
    int turns = 0;
    void *room;

    while (!(room = store_ring_reserve(ring, size))) {
        store_ring_flush(ring);
        ck_assert_msg(rwf_clock_mono() < deadline, "the worker does not read");
        rig_pause(&turns);
    }
    return room;
}

static inline uint32_t rig_name(struct rig *r, struct store_ring *ring,
                                const char *name)
{
    const size_t len = strlen(name);
    struct native_name *n = rig_reserve(ring, sizeof(*n) + len);

    *n = (struct native_name){
        .msg = {.type = NATIVE_NAME}, .function = r->functions++, .len = (uint32_t)len};
    memcpy(n + 1, name, len);
    const uint32_t number = n->function;
    store_ring_commit(ring);
    return number;
}

struct rig_arg {
    const void *data;
    size_t size;
    store_object object;
};

static inline char *rig_item(char *at, const void *data, size_t size, store_object o)
{
    const struct native_item item = {size, o};

    memcpy(at, &item, sizeof(item));
    at += sizeof(item);
    if (!o && data)
        memcpy(at, data, size);
    return o ? at : at + native_pad(size);
}

/* Not flushed. Returns the id of the task. */
static inline uint64_t rig_call(struct rig *r, struct store_ring *ring,
                                uint32_t function, int32_t returns,
                                const struct rig_arg *args, size_t n)
{
    size_t size = sizeof(struct native_call);

    for (size_t i = 0; i < n; i++)
        size += sizeof(struct native_item) +
                (args[i].object ? 0 : native_pad(args[i].size));
    struct native_call *c = rig_reserve(ring, size);
    *c = (struct native_call){
        .msg = {.type = NATIVE_CALL, .epoch = 1, .task = ++r->task},
        .function = function,
        .attempt = 1,
        .credit = 4,
        .returns = returns,
        .arg_count = (uint32_t)n};
    char *at = (char *)(c + 1);
    for (size_t i = 0; i < n; i++)
        at = rig_item(at, args[i].data, args[i].size, args[i].object);
    store_ring_commit(ring);
    return r->task;
}

/* The next frame; in place until consumed. */
static inline const struct native_msg *rig_next(struct store_ring *ring,
                                                size_t *ret_size)
{
    const int64_t deadline = rig_deadline();
    int turns = 0;
    const void *m;

    while (!(m = store_ring_peek(ring, ret_size))) {
        ck_assert_msg(rwf_clock_mono() < deadline, "the worker does not answer");
        rig_pause(&turns);
    }
    return m;
}

static inline const struct native_done *rig_done(struct store_ring *ring, uint64_t task)
{
    size_t size;
    const struct native_done *d = (const struct native_done *)rig_next(ring, &size);

    ck_assert_uint_ge(size, sizeof(*d));
    ck_assert_int_eq(d->msg.type, NATIVE_DONE);
    ck_assert_uint_eq(d->msg.task, task);
    return d;
}

/* The only inline value. */
static inline const void *rig_value(const struct native_done *d, size_t size)
{
    const struct native_item *item = (const struct native_item *)(d + 1);

    ck_assert_msg(d->code == RAYWF_OK, "%.*s", (int)item->size,
                  (const char *)(item + 1));
    ck_assert_uint_eq(d->count, 1);
    ck_assert_uint_eq(item->object, 0);
    ck_assert_uint_eq(item->size, size);
    return item + 1;
}

/* It ended with this error, which says text. */
static inline void rig_error(const struct native_done *d, int code, const char *text)
{
    const struct native_item *item = (const struct native_item *)(d + 1);
    char said[1024];

    ck_assert_int_eq(d->code, code);
    snprintf(said, sizeof(said), "%.*s", (int)item->size, (const char *)(item + 1));
    ck_assert_msg(strstr(said, text), "'%s' is not in '%s'", text, said);
}

#endif
