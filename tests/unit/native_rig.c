/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "native_rig.h"
#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"

static void count(struct rig *r, int *counter)
{
    pthread_mutex_lock(&r->lock);
    ++*counter;
    pthread_cond_broadcast(&r->moved);
    pthread_mutex_unlock(&r->lock);
}

void rig_wait(struct rig *r, const int *counter, int n)
{
    pthread_mutex_lock(&r->lock);
    while (*counter < n)
        pthread_cond_wait(&r->moved, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

void rig_say(struct rig *r, enum wire_type type, const ProtobufCMessage *body)
{
    struct rwf_err err;
    ck_assert_int_eq(wire_send(r->fd, type, body, NULL, 0, &err), 0);
}

/* --- a worker --- */

struct reply {
    int code;
    const char *text;
    uint32_t count;
    const char *items; /* as they go out */
    size_t size;
    struct native_item item; /* one object */
};

static void answer(struct rig_worker *w, const struct native_msg *m,
                   const struct reply *a, uint64_t ns)
{
    const size_t text = a->code ? strlen(a->text) : 0;
    const size_t size =
        a->code ? sizeof(struct native_item) + native_pad(text) : a->size;
    struct native_done *d;
    while (!(d = store_ring_reserve(w->ring, sizeof(*d) + size))) {
        store_ring_flush(w->ring);
        if (atomic_load(&w->stop))
            return;
        sched_yield();
    }
    *d = (struct native_done){.msg = {NATIVE_DONE, 0, m->epoch, m->task},
                              .code = a->code,
                              .count = a->code ? 1 : a->count,
                              .ns = ns};
    if (a->code) {
        struct native_item *item = (struct native_item *)(void *)(d + 1);
        *item = (struct native_item){text, 0};
        memcpy(item + 1, a->text, text);
    } else {
        memcpy(d + 1, a->items, a->size);
    }
    store_ring_commit(w->ring);
}

/* Bytes of argument i, as a function would see them. */
static const void *arg_at(struct rig_worker *w, const char *at, uint32_t i,
                          size_t *ret_size)
{
    for (;; i--) {
        const struct native_item *item = (const struct native_item *)(const void *)at;
        if (i == 0) {
            *ret_size = item->size;
            if (!item->object)
                return item + 1;
            /* Its owner holds it until the call is done. */
            const void *data =
                store_object_pin(w->store, item->object, INT64_MAX, ret_size, NULL);
            store_object_unpin(w->store, item->object);
            return data;
        }
        at += sizeof(*item) + (item->object ? 0 : native_pad(item->size));
    }
}

static void give_object(struct rig_worker *w, size_t size, struct reply *ret)
{
    struct rwf_err err;
    store_object o;
    char *to = store_object_create(w->store, size, INT64_MAX, &o, &err);
    ck_assert_msg(to != NULL, "%s", err.text);
    for (size_t i = 0; i < size; i++)
        to[i] = (char)(i * 7);
    ck_assert_int_eq(store_object_seal(w->store, o, &err), 0);
    ck_assert_int_eq(store_object_hand(w->store, o, w->rig->slot), 0);
    store_object_drop(w->store, o);
    ret->item = (struct native_item){size, o};
    ret->items = (const char *)&ret->item;
    ret->size = sizeof(ret->item);
    ret->count = 1;
}

static bool told_to_end(struct rig_worker *w, uint64_t task)
{
    return atomic_load(&w->stop) ||
           atomic_load(store_ring_word(w->ring, STORE_WORD_CANCEL)) == task;
}

/* It waits for others, and says so. */
static void stall(struct rig_worker *w, const struct native_msg *call)
{
    struct native_msg *m = store_ring_reserve(w->ring, sizeof(*m));
    ck_assert(m != NULL);
    *m = (struct native_msg){NATIVE_STALLED, 0, call->epoch, call->task};
    store_ring_commit(w->ring);
    store_ring_flush(w->ring);
    w->skips = true;
}

/* false: the worker is dead. */
static bool act(struct rig_worker *w, const struct native_call *m, struct reply *ret,
                char *scratch)
{
    const char *name = w->names[m->function];
    const char *items = (const char *)(m + 1);
    size_t size;
    ret->item = (struct native_item){0};
    ret->items = (const char *)&ret->item;
    ret->size = sizeof(ret->item);
    ret->count = 1;
    if (m->msg.flags & NATIVE_PACKED)
        items = arg_at(w, items, 0, &size);
    if (strcmp(name, "echo") == 0) { /* the first argument; no argument: nothing */
        const struct native_item *item =
            (const struct native_item *)(const void *)items;
        if (m->arg_count) {
            ret->items = items;
            ret->size = sizeof(*item) + native_pad(item->size);
            ret->count = 1;
        }
    } else if (strcmp(name, "sum") == 0) { /* of the first bytes of all */
        uint64_t sum = 0;
        for (uint32_t i = 0; i < m->arg_count; i++) {
            const struct native_item *item =
                (const struct native_item *)(const void *)items;
            sum += *(const unsigned char *)arg_at(w, items, 0, &size);
            items += sizeof(*item) + (item->object ? 0 : native_pad(item->size));
        }
        struct native_item *item = (struct native_item *)(void *)scratch;
        *item = (struct native_item){sizeof(sum), 0};
        memcpy(item + 1, &sum, sizeof(sum));
        *ret = (struct reply){.count = 1, .items = scratch, .size = sizeof(*item) + 8};
    } else if (strcmp(name, "many") == 0) { /* value i is i */
        for (int32_t i = 0; i < m->returns; i++) {
            memcpy(scratch + (size_t)i * 24, &(struct native_item){sizeof(i), 0}, 16);
            memcpy(scratch + (size_t)i * 24 + 16, &i, sizeof(i));
        }
        *ret = (struct reply){.count = (uint32_t)m->returns,
                              .items = scratch,
                              .size = (size_t)m->returns * 24};
    } else if (strcmp(name, "object") == 0) {
        give_object(w, *(const size_t *)arg_at(w, items, 0, &size), ret);
    } else if (strcmp(name, "fail") == 0) {
        *ret = (struct reply){.code = RAYWF_E_FAILED, .text = "no such luck"};
    } else if (strcmp(name, "fail_first") == 0 && m->attempt == 1) {
        *ret = (struct reply){.code = RAYWF_E_FAILED, .text = "not at once"};
    } else if (strcmp(name, "gate") == 0 || strcmp(name, "gate2") == 0 ||
               strcmp(name, "stall") == 0) {
        int opened = strcmp(name, "gate2") == 0 ? 2 : 1;
        if (*name == 's')
            stall(w, &m->msg);
        while (atomic_load(&w->rig->gate) < opened && !told_to_end(w, m->msg.task))
            usleep(100);
        if (atomic_load(&w->stop))
            return false;
    } else if (strcmp(name, "die") == 0 ||
               (strcmp(name, "die_first") == 0 && m->attempt == 1)) {
        snprintf(w->text, sizeof(w->text), "was killed by signal 9 (SIGKILL)");
        w->cause = RAYWF_ON_EXIT;
        return false;
    } else if (strcmp(name, "late") == 0) { /* first a result of another epoch */
        const struct native_msg old = {NATIVE_DONE, 0, m->msg.epoch + 7, m->msg.task};
        int64_t wrong = -1;
        struct {
            struct native_item item;
            int64_t value;
        } out = {{8, 0}, wrong};
        answer(w, &old,
               &(struct reply){.count = 1, .items = (char *)&out, .size = sizeof(out)},
               1);
        ret->items = items;
        ret->size = 24;
        ret->count = 1;
    }
    return true;
}

static void name_it(struct rig_worker *w, const struct native_name *n)
{
    ck_assert_uint_lt(n->function, RWF_COUNT(w->names));
    free(w->names[n->function]);
    w->names[n->function] = rwf_xstrndup((const char *)(n + 1), n->len);
}

/* One frame: false: dead. */
static bool one(struct rig_worker *w, const struct native_msg *m, char *scratch)
{
    if (m->type == NATIVE_NAME) {
        name_it(w, (const struct native_name *)m);
        return true;
    }
    if (m->type == NATIVE_FORGET)
        count(w->rig, &w->rig->forgets);
    if (m->type == NATIVE_RESUME)
        w->skips = false;
    if (m->type != NATIVE_CALL || w->skips)
        return true;
    struct reply a = {0};
    atomic_store(store_ring_word(w->ring, STORE_WORD_STARTED),
                 (uint64_t)rwf_clock_mono());
    atomic_store(store_ring_word(w->ring, STORE_WORD_TASK), m->task);
    const bool quick =
        strcmp(w->names[((const struct native_call *)m)->function], "echo");
    if (quick)
        count(w->rig, &w->rig->started);
    if (!act(w, (const struct native_call *)m, &a, scratch))
        return false;
    answer(w, m, &a, 200);
    atomic_fetch_add(&w->rig->done, 1);
    atomic_store(store_ring_word(w->ring, STORE_WORD_TASK), 0);
    return true;
}

static void *worker_main(void *arg)
{
    struct rig_worker *w = arg;
    struct store_bell *bell = store_slot_bell(w->rig->store, w->slot);
    char *scratch = malloc(1 << 18);
    bool alive = true;
    while (alive && !atomic_load(&w->stop)) {
        size_t size;
        const void *m = store_ring_peek(w->ring, &size);
        if (m) {
            alive = one(w, m, scratch);
            if (alive)
                store_ring_consume(w->ring);
            continue;
        }
        store_ring_flush(w->ring);
        uint32_t seen = store_bell_prepare(bell);
        if (store_ring_peek(w->ring, &size) || atomic_load(&w->stop))
            store_bell_cancel(bell);
        else
            store_bell_wait(bell, seen, INT64_MAX);
    }
    free(scratch);
    if (!alive && w->cause) { /* by its own hand: the node notices */
        Wire__Death d = WIRE__DEATH__INIT;
        d.worker = w->number;
        d.lease = w->lease;
        d.cause = (uint32_t)w->cause;
        d.text = w->text;
        pthread_mutex_lock(&w->rig->lock);
        w->rig->deaths++;
        w->over = true;
        rig_say(w->rig, WIRE_DEATH, &d.base);
        pthread_cond_broadcast(&w->rig->moved);
        pthread_mutex_unlock(&w->rig->lock);
    }
    return NULL;
}

static void end_worker(struct rig_worker *w)
{
    atomic_store(&w->stop, true);
    store_bell_ring(store_slot_bell(w->rig->store, w->slot));
    if (!w->joined)
        pthread_join(w->thread, NULL);
    store_ring_close(w->ring);
    store_destroy(w->store);
    store_slot_release(w->rig->store, w->slot);
    for (size_t i = 0; i < RWF_COUNT(w->names); i++)
        free(w->names[i]);
    struct rig *r = w->rig;
    memset(w, 0, sizeof(*w));
    w->rig = r;
}

static void start_worker(struct rig *r, struct rig_worker *w)
{
    struct rwf_err err;
    const struct store_hooks hooks = {0};
    w->rig = r;
    w->runs = true;
    w->lane = r->lane;
    w->lease = w->number = ++r->next_lease;
    w->slot = store_slot_claim(r->store, getpid(), &err);
    w->store = store_attach(store_table_fd(r->store), store_arena_fd(r->store), w->slot,
                            &hooks, &err);
    ck_assert_msg(w->store != NULL, "%s", err.text);
    int fd = store_ring_make(STORE_RING_BYTES, &err);
    w->ring =
        store_ring_open(fd, STORE_WORKER, store_slot_bell(r->store, r->slot), &err);
    ck_assert(w->ring != NULL);
    Wire__Grant g = WIRE__GRANT__INIT;
    g.lane = w->lane;
    g.lease = w->lease;
    g.worker = w->number;
    g.slot = (uint32_t)w->slot;
    ck_assert_int_eq(wire_send(r->fd, WIRE_GRANT, &g.base, &fd, 1, &err), 0);
    close(fd);
    r->runs++;
    pthread_create(&w->thread, NULL, worker_main, w);
}

/* --- the node --- */

/* With the lock. */
static void grant(struct rig *r)
{
    int have = 0;
    for (int i = 0; i < RIG_WORKERS; i++)
        have += r->workers[i].runs;
    for (int i = 0; i < RIG_WORKERS && have < r->most && have < (int)r->wanted; i++) {
        if (r->workers[i].runs)
            continue;
        start_worker(r, &r->workers[i]);
        have++;
    }
}

static struct rig_worker *by_lease(struct rig *r, uint64_t lease)
{
    for (int i = 0; i < RIG_WORKERS; i++)
        if (r->workers[i].runs && (!lease || r->workers[i].lease == lease))
            return &r->workers[i];
    return NULL;
}

void rig_kill(struct rig *r, uint64_t lease, int cause, const char *text)
{
    pthread_mutex_lock(&r->lock);
    struct rig_worker *w = by_lease(r, lease);
    ck_assert(w != NULL);
    Wire__Death d = WIRE__DEATH__INIT;
    d.worker = w->number;
    d.lease = w->lease;
    d.cause = (uint32_t)cause;
    d.text = (char *)(uintptr_t)text;
    w->cause = 0;
    atomic_store(&w->stop, true);
    pthread_mutex_unlock(&r->lock); /* it may wait for it, to count */
    store_bell_ring(store_slot_bell(r->store, w->slot));
    pthread_join(w->thread, NULL);
    pthread_mutex_lock(&r->lock);
    rig_say(r, WIRE_DEATH, &d.base);
    w->joined = true;
    end_worker(w);
    r->deaths++;
    pthread_cond_broadcast(&r->moved);
    pthread_mutex_unlock(&r->lock);
}

/* Those that died by their own hand. */
static void reap(struct rig *r)
{
    for (int i = 0; i < RIG_WORKERS; i++)
        if (r->workers[i].runs && r->workers[i].over)
            end_worker(&r->workers[i]);
}

void rig_grant(struct rig *r)
{
    pthread_mutex_lock(&r->lock);
    r->hold = false;
    grant(r);
    pthread_mutex_unlock(&r->lock);
}

static void welcome(struct rig *r)
{
    struct rwf_err err;
    if (!r->slot)
        r->slot = store_slot_claim(r->store, getpid(), &err);
    Wire__Welcome w = WIRE__WELCOME__INIT;
    w.client = r->client;
    w.slot = (uint32_t)r->slot;
    w.session = 1;
    w.node = (char *)"rig";
    w.folder = (char *)"/";
    const int fds[2] = {store_table_fd(r->store), store_arena_fd(r->store)};
    ck_assert_int_eq(wire_send(r->fd, WIRE_WELCOME, &w.base, fds, 2, &err), 0);
}

static void want(struct rig *r, const Wire__Want *m)
{
    r->lane = m->lane;
    r->wanted = m->workers;
    r->wants++;
    if (r->refuse && m->workers) {
        Wire__Refuse f = WIRE__REFUSE__INIT;
        f.lane = m->lane;
        f.code = RAYWF_E_FIT;
        f.text = (char *)(uintptr_t)r->refuse;
        rig_say(r, WIRE_REFUSE, &f.base);
    } else if (!r->hold) {
        reap(r);
        grant(r);
    }
}

static void end(struct rig *r, const Wire__End *m)
{
    r->ends++;
    r->end_cause = (int)m->cause;
    uint64_t lease = m->worker;
    char *text = rwf_xstrdup(m->text);
    int cause = (int)(m->cause ? m->cause : RAYWF_ON_EXIT);
    pthread_mutex_unlock(&r->lock);
    rig_kill(r, lease, cause, text);
    pthread_mutex_lock(&r->lock);
    free(text);
}

/* With the lock. */
static void hear(struct rig *r, struct wire_message *m)
{
    struct rwf_err err;
    struct rig_worker *w;
    switch (m->type) {
    case WIRE_JOIN:
        welcome(r);
        break;
    case WIRE_WANT:
        want(r, (const Wire__Want *)m->body);
        break;
    case WIRE_RETURN:
        w = by_lease(r, ((const Wire__Return *)m->body)->lease);
        r->returns++;
        if (w) {
            pthread_mutex_unlock(&r->lock);
            end_worker(w);
            pthread_mutex_lock(&r->lock);
            if (!r->hold)
                grant(r);
        }
        break;
    case WIRE_END:
        end(r, (const Wire__End *)m->body);
        break;
    case WIRE_FULL:
        store_relieve(r->store, ((const Wire__Full *)m->body)->bytes, &err);
        break;
    case WIRE_RESTORE:
        store_restore(r->store, ((const Wire__Restore *)m->body)->object, &err);
        break;
    case WIRE_BLOCKED:
        r->blocked++;
        break;
    case WIRE_CANCEL_OWNED:
        r->cancels++;
        break;
    case WIRE_TELL:
        if (r->told)
            wire__tell__free_unpacked(r->told, NULL);
        r->told = (Wire__Tell *)m->body;
        m->body = NULL;
        r->tells++;
        break;
    case WIRE_ASK: { /* owner 77 tells its id as text; nobody else is there */
        const Wire__Ask *a = (const Wire__Ask *)m->body;
        char text[32];
        Wire__Tell t = WIRE__TELL__INIT;
        t.request = a->request;
        t.client = a->client;
        t.code = a->owner == 77 ? 0 : RAYWF_E_LOST;
        snprintf(text, sizeof(text), a->owner == 77 ? "%llu" : "no owner",
                 (unsigned long long)a->id);
        t.value.data = (uint8_t *)text;
        t.value.len = strlen(text);
        rig_say(r, WIRE_TELL, &t.base);
        break;
    }
    default:
        break;
    }
    pthread_cond_broadcast(&r->moved);
}

static void *node_main(void *arg)
{
    struct rig *r = arg;
    struct wire_message m;
    struct rwf_err err;
    if (r->listener >= 0) {
        r->fd = accept(r->listener, NULL, NULL);
        if (r->fd < 0)
            return NULL;
        r->reader = wire_reader_create(r->fd);
    }
    while (wire_receive(r->reader, INT64_MAX, &m, &err) > 0) {
        pthread_mutex_lock(&r->lock);
        hear(r, &m);
        pthread_mutex_unlock(&r->lock);
        wire_message_clear(&m);
    }
    return NULL;
}

static void prepare(struct rig *r)
{
    const struct store_options o = {.arena = (size_t)64 << 20};
    struct rwf_err err;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->moved, NULL);
    r->fd = r->peer_fd = r->listener = -1;
    r->store = store_create(&o, &err);
    ck_assert_msg(r->store != NULL, "%s", err.text);
    if (!r->most)
        r->most = 2;
    r->client = 42;
}

void rig_start(struct rig *r)
{
    int pair[2];
    prepare(r);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    r->fd = pair[0];
    r->peer_fd = pair[1];
    r->reader = wire_reader_create(r->fd);
    pthread_create(&r->thread, NULL, node_main, r);
}

void rig_listen(struct rig *r, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    prepare(r);
    strcpy(a.sun_path, path);
    unlink(path);
    r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(r->listener, (struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(listen(r->listener, 4), 0);
    pthread_create(&r->thread, NULL, node_main, r);
}

void rig_stop(struct rig *r)
{
    if (r->listener >= 0)
        shutdown(r->listener, SHUT_RDWR);
    if (r->fd >= 0)
        shutdown(r->fd, SHUT_RDWR);
    pthread_join(r->thread, NULL);
    for (int i = 0; i < RIG_WORKERS; i++)
        if (r->workers[i].runs)
            end_worker(&r->workers[i]);
    if (r->reader)
        wire_reader_destroy(r->reader);
    if (r->fd >= 0)
        close(r->fd);
    if (r->listener >= 0)
        close(r->listener);
    if (r->told)
        wire__tell__free_unpacked(r->told, NULL);
    if (!r->crash) /* a node that was killed tidies nothing up */
        store_slot_release(r->store, r->slot);
    store_destroy(r->store);
}
