/* SPDX-License-Identifier: Apache-2.0
 *
 * store [MIB]: what rings and the object store reach, beside memcpy in the same run.
 * Best of several rounds, because other work on the machine only ever slows down.
 */
#include "config.h"
#include "store/store.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"

#define ROUNDS 5

static void die(const struct rwf_err *err)
{
    fprintf(stderr, "store: %s\n", err->text);
    exit(1);
}

static double seconds_since(int64_t start)
{
    return (double)(rwf_clock_mono() - start) / 1e9;
}

/* --- ring --- */

static void count_frames(int fd, uint64_t frames)
{
    struct store_ring *r = store_ring_open(fd, STORE_WORKER, NULL, NULL);
    uint64_t sum = 0;
    size_t size;

    while (frames) {
        const uint64_t *at = store_ring_peek(r, &size);
        if (!at)
            continue;
        sum += *at;
        store_ring_consume(r);
        frames--;
    }
    _exit(sum == 0);
}

static double ring_rate(size_t frame, int batch)
{
    const uint64_t frames = 20000000;
    struct rwf_err err = RWF_ERR_INIT;
    int fd = store_ring_make(STORE_RING_BYTES, &err), status;
    struct store_ring *r = store_ring_open(fd, STORE_CLIENT, NULL, &err);
    pid_t pid = fork();
    int64_t start;

    if (!r)
        die(&err);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        count_frames(fd, frames);
    }
    start = rwf_clock_mono();
    for (uint64_t i = 0; i < frames;) {
        uint64_t *at = store_ring_reserve(r, frame);
        if (at) {
            *at = i;
            store_ring_commit(r);
            i++;
        }
        if (!at || i % (uint64_t)batch == 0)
            store_ring_flush(r);
    }
    store_ring_flush(r);
    waitpid(pid, &status, 0);
    store_ring_close(r);
    close(fd);
    return (double)frames / seconds_since(start);
}

static void rings(void)
{
    static const int batches[] = {1, 32};

    for (size_t b = 0; b < RWF_COUNT(batches); b++) {
        double best = 0;
        for (int i = 0; i < 3; i++) {
            double rate = ring_rate(32, batches[b]);
            best = rate > best ? rate : best;
        }
        printf("ring, 32-byte frames, flush every %2d  %8.1f M frames/s\n", batches[b],
               best / 1e6);
    }
}

/* --- large --- */

static double gib_per_s(size_t size, int64_t start)
{
    return (double)size / seconds_since(start) / (double)(1 << 30);
}

static double put(struct store *s, const void *from, size_t size, store_object *ret)
{
    struct rwf_err err = RWF_ERR_INIT;
    int64_t start = rwf_clock_mono();
    void *to = store_object_create(s, size, 0, ret, &err);

    if (!to)
        die(&err);
    memcpy(to, from, size);
    if (store_object_seal(s, *ret, &err) < 0)
        die(&err);
    return gib_per_s(size, start);
}

static void large(struct store *s, size_t size)
{
    char *from = malloc(size), *to = malloc(size);
    double copy = 0, warm = 0, cold;
    store_object o;

    memset(from, 1, size);
    memset(to, 2, size);
    cold = put(s, from, size, &o);
    for (int i = 0; i < ROUNDS; i++) {
        int64_t start = rwf_clock_mono();
        memcpy(to, from, size);
        __asm__ volatile("" ::"r"(to) : "memory");
        double rate = gib_per_s(size, start);
        copy = rate > copy ? rate : copy;
        store_object_drop(s, o);
        rate = put(s, from, size, &o);
        warm = rate > warm ? rate : warm;
    }
    store_object_drop(s, o);
    free(from);
    free(to);
    printf("memcpy of %4zu MiB                    %8.2f GiB/s\n", size >> 20, copy);
    printf("put of %4zu MiB, cold                 %8.2f GiB/s\n", size >> 20, cold);
    printf("put of %4zu MiB, warm                 %8.2f GiB/s  %.0f %% of memcpy\n",
           size >> 20, warm, 100 * warm / copy);
}

/* --- small --- */

static void small(struct store *s, size_t size)
{
    const int n = 500000;
    char *from = calloc(1, size);
    double best = 0;
    store_object o;

    for (int round = 0; round < ROUNDS; round++) {
        int64_t start = rwf_clock_mono();
        for (int i = 0; i < n; i++) {
            put(s, from, size, &o);
            store_object_drop(s, o);
        }
        double rate = n / seconds_since(start);
        best = rate > best ? rate : best;
    }
    free(from);
    printf("put and drop of %6zu bytes           %8.2f M/s\n", size, best / 1e6);
}

static void get(struct store *s, struct store *reader, size_t size)
{
    const int n = 1000000;
    char *from = calloc(1, size);
    double best = 1e9;
    volatile char sum = 0;
    store_object o;
    size_t got;

    put(s, from, size, &o);
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start = rwf_clock_mono();
        for (int i = 0; i < n; i++) {
            const char *data = store_object_pin(reader, o, 0, &got, NULL);
            sum = (char)(sum + data[0]);
            store_object_unpin(reader, o);
        }
        double ns = seconds_since(start) * 1e9 / n;
        best = ns < best ? ns : best;
    }
    store_object_drop(s, o);
    free(from);
    printf("get (pin, read, unpin) after the first %7.0f ns\n", best);
}

static struct store *attach(struct store *node)
{
    struct rwf_err err = RWF_ERR_INIT;
    int slot = store_slot_claim(node, getpid(), &err);
    struct store *s =
        store_attach(store_table_fd(node), store_arena_fd(node), slot, NULL, &err);

    if (!s)
        die(&err);
    return s;
}

int main(int argc, char **argv)
{
    size_t size = (argc > 1 ? (size_t)atol(argv[1]) : 1024) << 20;
    struct store_options o = {.arena = size + size / 4 + STORE_UNIT};
    struct rwf_err err = RWF_ERR_INIT;
    struct store *node, *s, *reader;

    rings();
    node = store_create(&o, &err);
    if (!node)
        die(&err);
    s = attach(node);
    reader = attach(node);
    large(s, size);
    small(s, 100);
    small(s, 32 * 1024);
    get(s, reader, 100000);
    store_destroy(reader);
    store_destroy(s);
    store_destroy(node);
    return 0;
}
