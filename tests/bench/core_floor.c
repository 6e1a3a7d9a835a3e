/* SPDX-License-Identifier: Apache-2.0
 *
 * What this machine allows at best, for core.sh: copying a gibibyte between warm pages,
 * and two processes that exchange frames through one of our rings and nothing else:
 * one after the other (spinning; asleep in between), and in batches. Prints JSON.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "store/ring.h"

#define GIB ((size_t)1 << 30)
#define FRAME 64 /* about what a call with no arguments takes */

struct shared {
    struct store_bell bells[2];
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
    fprintf(stderr, "core_floor: %s\n", what);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare);
    return values[count / 2];
}

static double copy_rate(void)
{
    double rates[5];
    char *from = malloc(GIB), *to = malloc(GIB);
    if (from == NULL || to == NULL)
        die("no 2 GiB of memory");
    memset(from, 1, GIB);
    memset(to, 2, GIB);
    for (size_t i = 0; i < 5; i++) {
        double start = now();
        memcpy(to, from, GIB);
        rates[i] = 1 / (now() - start);
    }
    free(from);
    free(to);
    return median(rates, 5);
}

static const void *next_frame(struct store_ring *ring, struct store_bell *own,
                              bool spin)
{
    const void *frame;
    size_t size;
    while ((frame = store_ring_peek(ring, &size)) == NULL) {
        if (spin)
            continue;
        uint32_t seen = store_bell_prepare(own);
        if ((frame = store_ring_peek(ring, &size)) != NULL) {
            store_bell_cancel(own);
            break;
        }
        store_bell_wait(own, seen, INT64_MAX);
    }
    return frame;
}

static void send(struct store_ring *ring, struct store_bell *own, uint64_t value,
                 bool flush)
{
    void *frame;
    while ((frame = store_ring_reserve(ring, FRAME)) == NULL) {
        store_ring_flush(ring);
        uint32_t seen = store_bell_prepare(own);
        if ((frame = store_ring_reserve(ring, FRAME)) != NULL) {
            store_bell_cancel(own);
            break;
        }
        store_bell_wait(own, seen, INT64_MAX);
    }
    memset(frame, 0, FRAME);
    memcpy(frame, &value, sizeof(value));
    store_ring_commit(ring);
    if (flush)
        store_ring_flush(ring);
}

/* Sends back what comes (echo), or one frame for each thousand; 0 ends it. */
static void peer(int fd, struct shared *shared, bool spin, bool echo)
{
    struct store_ring *ring =
        store_ring_open(fd, STORE_WORKER, &shared->bells[0], NULL);
    if (ring == NULL)
        _exit(1);
    for (uint64_t count = 1;; count++) {
        uint64_t value;
        memcpy(&value, next_frame(ring, &shared->bells[1], spin), sizeof(value));
        store_ring_consume(ring);
        if (value == 0)
            _exit(0);
        if (echo || count % 1000 == 0)
            send(ring, &shared->bells[1], value, true);
    }
}

/* Seconds for each of count frames. */
static double exchange(struct shared *shared, bool spin, bool echo, size_t count)
{
    int fd = store_ring_make(STORE_RING_BYTES, NULL);
    pid_t pid = fd < 0 ? -1 : fork();
    if (pid == 0)
        peer(fd, shared, spin, echo);
    struct store_ring *ring =
        store_ring_open(fd, STORE_CLIENT, &shared->bells[1], NULL);
    if (pid < 0 || ring == NULL)
        die("no ring");
    double start = now();
    for (size_t i = 1; i <= count; i++) {
        send(ring, &shared->bells[0], i, echo);
        if (echo) {
            next_frame(ring, &shared->bells[0], spin);
            store_ring_consume(ring);
        }
    }
    store_ring_flush(ring);
    for (size_t i = 0; !echo && i < count / 1000; i++) {
        next_frame(ring, &shared->bells[0], spin);
        store_ring_consume(ring);
    }
    double each = (now() - start) / (double)count;
    send(ring, &shared->bells[0], 0, true);
    waitpid(pid, NULL, 0);
    store_ring_close(ring);
    close(fd);
    return each;
}

static double median_of(struct shared *shared, bool spin, bool echo, size_t count)
{
    double values[5];
    for (size_t i = 0; i < 5; i++)
        values[i] = exchange(shared, spin, echo, count);
    return median(values, 5);
}

int main(void)
{
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("no shared memory");
    printf("{\"memcpy_gib\": %.3f,\n", copy_rate());
    printf(" \"ring_batched\": %.0f,\n", 1 / median_of(shared, false, false, 1000000));
    printf(" \"ring_spinning_us\": %.3f,\n",
           1e6 * median_of(shared, true, true, 20000));
    printf(" \"ring_blocking_us\": %.3f}\n",
           1e6 * median_of(shared, false, true, 5000));
    return 0;
}
