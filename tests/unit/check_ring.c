/* SPDX-License-Identifier: Apache-2.0
 *
 * Rings: frames come out as they went in, in threads, in processes, after a kill at any
 * instant; what is no frame breaks the pair and nothing else.
 */
#include "config.h"
#include "store/ring.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "store_support.h"

#define SMALL ((size_t)4096)
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MANY 1
#else
#define MANY 5
#endif

struct bells {
    struct store_bell client, worker;
};

static struct bells *new_bells(void)
{
    void *map = mmap(NULL, sizeof(struct bells), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ck_assert(map != MAP_FAILED);
    return map;
}

static struct store_ring *open_end(int fd, enum store_side side,
                                   struct store_bell *peer)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct store_ring *r = store_ring_open(fd, side, peer, &err);

    ck_assert_msg(r != NULL, "%s", err.text);
    return r;
}

/* Frame number i of a stream: its size and bytes follow from seed and i. */
static size_t frame_size(uint64_t seed, uint64_t i, size_t ring)
{
    uint64_t state = seed ^ (i * 0x9e3779b9);
    uint64_t r = next_random(&state);

    if (r % 64 == 0)
        return next_random(&state) % (ring / 4 + 1);
    return (r >> 8) % 96;
}

static void fill(void *at, size_t size, uint64_t i)
{
    memset(at, (int)(i * 31 & 0xff), size);
    memcpy(at, &i, size < sizeof(i) ? size : sizeof(i));
}

static bool filled(const void *at, size_t size, uint64_t i)
{
    const unsigned char *bytes = at;

    if (memcmp(at, &i, size < sizeof(i) ? size : sizeof(i)) != 0)
        return false;
    for (size_t k = sizeof(i); k < size; k++)
        if (bytes[k] != (i * 31 & 0xff))
            return false;
    return true;
}

static bool send_one(struct store_ring *r, size_t size, uint64_t i)
{
    void *at = store_ring_reserve(r, size);

    if (!at)
        return false;
    fill(at, size, i);
    store_ring_commit(r);
    return true;
}

/* Waits with the protocol that ring.h states; after is asked once prepared. */
static void sleep_unless(struct store_bell *own, bool (*after)(void *), void *ctx)
{
    uint32_t seen = store_bell_prepare(own);

    if (after(ctx))
        store_bell_cancel(own);
    else
        store_bell_wait(own, seen, INT64_MAX);
}

struct stream {
    struct store_ring *ring;
    struct store_bell *own;
    uint64_t seed, count;
    size_t size;
    uint64_t next;
    bool ok;
};

static bool try_send(void *ctx)
{
    struct stream *s = ctx;

    if (!send_one(s->ring, frame_size(s->seed, s->next, s->size), s->next))
        return false;
    s->next++;
    return true;
}

static void produce(struct stream *s)
{
    uint64_t state = s->seed + 1;

    while (s->next < s->count) {
        if (!try_send(s)) {
            store_ring_flush(s->ring);
            sleep_unless(s->own, try_send, s);
        }
        if (next_random(&state) % 8 == 0)
            store_ring_flush(s->ring);
    }
    store_ring_flush(s->ring);
}

static bool try_take(void *ctx)
{
    struct stream *s = ctx;
    size_t size;
    const void *at = store_ring_peek(s->ring, &size);

    if (!at)
        return store_ring_broken(s->ring);
    if (size != frame_size(s->seed, s->next, s->size) || !filled(at, size, s->next))
        s->ok = false;
    s->next++;
    store_ring_consume(s->ring);
    return true;
}

static void consume(struct stream *s)
{
    s->ok = true;
    while (s->next < s->count && s->ok && !store_ring_broken(s->ring))
        if (!try_take(s))
            sleep_unless(s->own, try_take, s);
}

static void *produce_thread(void *ctx)
{
    produce(ctx);
    return NULL;
}

START_TEST(empty_and_full)
{
    int fd = store_ring_make(SMALL, NULL);
    struct store_ring *client = open_end(fd, STORE_CLIENT, NULL);
    struct store_ring *worker = open_end(fd, STORE_WORKER, NULL);
    size_t size, sent = 0, got = 0;

    ck_assert(!store_ring_peek(worker, &size));
    ck_assert(!store_ring_dirty(client));
    while (send_one(client, 40, sent))
        sent++;
    ck_assert_uint_eq(sent, SMALL / 48);
    ck_assert(store_ring_dirty(client));
    ck_assert_msg(!store_ring_peek(worker, &size), "seen before the flush");
    store_ring_flush(client);
    ck_assert(!store_ring_dirty(client));
    for (const void *at; (at = store_ring_peek(worker, &size)); got++) {
        ck_assert_uint_eq(size, 40);
        ck_assert(filled(at, size, got));
        store_ring_consume(worker);
    }
    ck_assert_uint_eq(got, sent);
    ck_assert_msg(send_one(client, SMALL / 4, 1), "no room in an empty ring");
    ck_assert_msg(!store_ring_peek(client, &size), "directions are mixed up");
    ck_assert(!store_ring_broken(client) && !store_ring_broken(worker));
    store_ring_close(client);
    store_ring_close(worker);
    close(fd);
}
END_TEST

START_TEST(words)
{
    int fd = store_ring_make(SMALL, NULL);
    struct store_ring *client = open_end(fd, STORE_CLIENT, NULL);
    struct store_ring *worker = open_end(fd, STORE_WORKER, NULL);

    for (int w = 0; w < STORE_WORD_COUNT; w++)
        atomic_store(store_ring_word(client, w), (uint64_t)w + 7);
    for (int w = 0; w < STORE_WORD_COUNT; w++)
        ck_assert_uint_eq(atomic_load(store_ring_word(worker, w)), (uint64_t)w + 7);
    store_ring_close(client);
    store_ring_close(worker);
    close(fd);
}
END_TEST

START_TEST(not_a_pair)
{
    struct rwf_err err = RWF_ERR_INIT;
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    ck_assert_int_eq(ftruncate(fd, 4096 + 8192), 0);
    ck_assert_msg(!store_ring_open(fd, STORE_CLIENT, NULL, &err), "not sealed");
    ck_assert_int_eq(err.code, EPROTO);
    ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
                     0);
    ck_assert_msg(!store_ring_open(fd, STORE_CLIENT, NULL, &err), "no magic");
    close(fd);
    ck_assert(!store_ring_open(-1, STORE_CLIENT, NULL, &err));
    fd = store_ring_make(SMALL, NULL);
    ck_assert_msg(ftruncate(fd, 0) < 0, "the pair can be cut off");
    close(fd);
}
END_TEST

/* Random frames through a small ring, reader and writer in two threads, asleep often.
 */
START_TEST(threads)
{
    struct bells *bells = new_bells();
    int fd = store_ring_make(SMALL << _i, NULL);
    struct stream out = {.ring = open_end(fd, STORE_CLIENT, &bells->worker),
                         .own = &bells->client,
                         .seed = (uint64_t)_i,
                         .count = MANY * 12000,
                         .size = SMALL << _i};
    struct stream in = out;
    pthread_t thread;

    in.ring = open_end(fd, STORE_WORKER, &bells->client);
    in.own = &bells->worker;
    ck_assert_int_eq(pthread_create(&thread, NULL, produce_thread, &out), 0);
    consume(&in);
    pthread_join(thread, NULL);
    ck_assert(in.ok);
    ck_assert_uint_eq(in.next, in.count);
    ck_assert(!store_ring_broken(in.ring) && !store_ring_broken(out.ring));
    store_ring_close(in.ring);
    store_ring_close(out.ring);
    close(fd);
    munmap(bells, sizeof(*bells));
}
END_TEST

static bool echo_one(void *ctx)
{
    struct stream *s = ctx;
    size_t size;
    const void *at = store_ring_peek(s->ring, &size);
    void *to;

    if (!at || !(to = store_ring_reserve(s->ring, size)))
        return false;
    memcpy(to, at, size);
    store_ring_commit(s->ring);
    store_ring_consume(s->ring);
    return true;
}

static void echo(int fd, struct bells *bells)
{
    struct stream s = {.ring = open_end(fd, STORE_WORKER, &bells->client),
                       .own = &bells->worker};

    for (;;) {
        while (echo_one(&s))
            ;
        store_ring_flush(s.ring);
        sleep_unless(s.own, echo_one, &s);
    }
}

static pid_t start_echo(int fd, struct bells *bells)
{
    pid_t pid = fork();

    ck_assert(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        echo(fd, bells);
    }
    return pid;
}

static void end_echo(pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
                  "it ended before");
}

/* To another process and back. */
START_TEST(processes)
{
    struct bells *bells = new_bells();
    int fd = store_ring_make(SMALL, NULL);
    struct stream out = {.ring = open_end(fd, STORE_CLIENT, &bells->worker),
                         .own = &bells->client,
                         .seed = 5,
                         .count = MANY * 6000,
                         .size = SMALL};
    struct stream in = out;
    pid_t pid = start_echo(fd, bells);

    in.ok = true;
    while (in.next < in.count && in.ok) {
        bool some = false;

        while (out.next < out.count && out.next - in.next < 64 && try_send(&out))
            some = true;
        store_ring_flush(out.ring);
        while (in.next < out.next && try_take(&in))
            some = true;
        if (!some)
            sleep_unless(in.own, try_take, &in);
    }
    ck_assert(in.ok);
    ck_assert_uint_eq(in.next, in.count);
    end_echo(pid);
    store_ring_close(in.ring);
    close(fd);
    munmap(bells, sizeof(*bells));
}
END_TEST

/* The other side is killed at a random instant: what had come is whole and in order,
 * and nothing is broken. */
START_TEST(killed_producer)
{
    struct bells *bells = new_bells();
    uint64_t state = (uint64_t)_i;
    int fd = store_ring_make(SMALL, NULL), status;
    struct stream in = {.own = &bells->worker,
                        .seed = (uint64_t)_i,
                        .count = UINT64_MAX,
                        .size = SMALL,
                        .ok = true};
    uint64_t until = next_random(&state) % 20000;
    pid_t pid = fork();

    if (pid == 0) {
        struct stream out = in;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        out.own = &bells->client;
        out.ring = open_end(fd, STORE_CLIENT, &bells->worker);
        produce(&out);
    }
    in.ring = open_end(fd, STORE_WORKER, &bells->client);
    while (in.next < until && in.ok)
        if (!try_take(&in))
            sleep_unless(in.own, try_take, &in);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    while (try_take(&in) && in.ok)
        ;
    ck_assert(in.ok);
    ck_assert(!store_ring_broken(in.ring));
    store_ring_close(in.ring);
    close(fd);
    munmap(bells, sizeof(*bells));
}
END_TEST

START_TEST(killed_consumer)
{
    struct bells *bells = new_bells();
    int fd = store_ring_make(SMALL, NULL);
    uint64_t state = (uint64_t)_i, sent = 0, got = 0;
    uint64_t until = next_random(&state) % 20000;
    struct store_ring *r = open_end(fd, STORE_CLIENT, &bells->worker);
    pid_t pid = start_echo(fd, bells);
    size_t size;

    while (got < until) {
        while (sent - got < 32 && send_one(r, 24, sent))
            sent++;
        store_ring_flush(r);
        for (const void *at; (at = store_ring_peek(r, &size)); got++) {
            ck_assert_uint_eq(size, 24);
            ck_assert(filled(at, size, got));
            store_ring_consume(r);
        }
    }
    end_echo(pid);
    while (send_one(r, 24, sent))
        sent++;
    ck_assert(!store_ring_broken(r));
    store_ring_close(r);
    close(fd);
    munmap(bells, sizeof(*bells));
}
END_TEST

/* Anything at all in the shared pages: never a byte outside of the ring, never a frame
 * that was not published, never an endless loop. */
START_TEST(garbage)
{
    uint64_t state = (uint64_t)_i;
    int fd = store_ring_make(SMALL, NULL);
    size_t total = 4096 + 2 * SMALL, frames = 0, size;
    struct store_ring *r = open_end(fd, STORE_CLIENT, NULL);
    unsigned char *raw = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    unsigned char sum = 0;

    ck_assert(raw != MAP_FAILED);
    for (int i = 0; i < 20; i++)
        send_one(r, next_random(&state) % (SMALL / 4), (uint64_t)i);
    store_ring_flush(r);
    /* The tail is often plausible, so that what lies before it is read. */
    for (size_t i = 8; i < total; i++)
        if (next_random(&state) % 4 == 0)
            raw[i] = (unsigned char)next_random(&state);
    if (_i % 2) {
        uint64_t tail = next_random(&state) % SMALL & ~(uint64_t)7;
        memcpy(raw + 64 + 3 * 64, &tail, sizeof(tail));
        for (size_t i = 4096 + SMALL; i < total; i += 8) {
            uint64_t header = next_random(&state) % (_i % 3 ? 64 : 2048);
            memcpy(raw + i, &header, sizeof(header));
        }
    }
    for (const unsigned char *at; (at = store_ring_peek(r, &size)); frames++) {
        ck_assert(size <= SMALL / 4);
        for (size_t i = 0; i < size; i++)
            sum = (unsigned char)(sum + at[i]);
        store_ring_consume(r);
        ck_assert(frames < SMALL);
    }
    for (int i = 0; i < 100 && store_ring_reserve(r, 100); i++)
        store_ring_commit(r);
    raw[8] = sum;
    munmap(raw, total);
    store_ring_close(r);
    close(fd);
}
END_TEST

START_TEST(bell_times_out)
{
    struct bells *bells = new_bells();
    uint32_t seen = store_bell_prepare(&bells->client);

    store_bell_wait(&bells->client, seen, 1);
    ck_assert_uint_eq(atomic_load(&bells->client.asleep), 0);
    seen = store_bell_prepare(&bells->client);
    store_bell_ring(&bells->client);
    store_bell_wait(&bells->client, seen, INT64_MAX);
    munmap(bells, sizeof(*bells));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ring");
    TCase *tc = tcase_create("ring");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, empty_and_full);
    tcase_add_test(tc, words);
    tcase_add_test(tc, not_a_pair);
    tcase_add_loop_test(tc, threads, 0, 5);
    tcase_add_test(tc, processes);
    tcase_add_loop_test(tc, killed_producer, 0, MANY * 6);
    tcase_add_loop_test(tc, killed_consumer, 0, MANY * 6);
    tcase_add_loop_test(tc, garbage, 0, MANY * 120);
    tcase_add_test(tc, bell_times_out);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
