/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations through shared memory, with threads for ranks: the thread sanitizer sees what
 * processes would hide. tests/t/comm_ranks.c does the same between processes.
 */
#include "config.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/comm_shared.h"

enum { RANKS_MAX = 5, ROUNDS = 3 };

static void *segments[RANKS_MAX], *regions[RANKS_MAX];
static int64_t region_bytes;

struct rank {
    int rank, size;
    int64_t count;
    int bad;
    pthread_t thread;
};

static float value(int rank, int64_t i)
{
    return (float)(rank + 1) / (float)(i % 1013 + 3) + (float)(i % 7);
}

static float sum_at(int size, int64_t i)
{
    float sum = value(0, i);
    for (int r = 1; r < size; r++)
        sum += value(r, i);
    return sum;
}

static void fill(float *x, int rank, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = value(rank, i);
}

/* Scattered from the region, then gathered in it: read where it lies. */
static void in_region(struct shared *s, struct rank *r)
{
    int64_t n = r->count, whole = n * r->size;
    float *a = (float *)regions[r->rank] + 16, *b = a + whole;
    fill(a, r->rank, whole);
    shared_scatter(s, a + r->rank * n, a, n);
    shared_wait(s, NULL);
    for (int64_t i = 0; i < n; i++)
        r->bad += a[r->rank * n + i] != sum_at(r->size, r->rank * n + i);
    fill(b + r->rank * n, r->rank, n);
    shared_gather(s, b, b + r->rank * n, n * 4);
    shared_wait(s, NULL);
    for (int64_t i = 0; i < whole; i++)
        r->bad += b[i] != value((int)(i / n), i % n);
}

/* All operations queued at once, several times over. */
static void *run_rank(void *ctx)
{
    struct rank *r = ctx;
    int64_t n = r->count, whole = n * r->size;
    struct shared *s = shared_create(r->rank, r->size, segments);
    shared_add_region(s, regions, region_bytes);
    float *a = rwf_xmalloc((size_t)whole * 4 + 4), *b = rwf_xmalloc((size_t)whole * 4 + 4);
    float *c = rwf_xmalloc((size_t)whole * 4 + 4), *part = rwf_xmalloc((size_t)n * 4 + 4);
    for (int round = 0; round < ROUNDS; round++) {
        fill(a, r->rank, n);
        fill(b, r->rank, whole);
        fill(c + r->rank * n, r->rank, n);
        shared_sum(s, a, a, n);
        shared_scatter(s, part, b, n);
        shared_gather(s, c, c + r->rank * n, n * 4);
        shared_wait(s, NULL);
        for (int64_t i = 0; i < n; i++)
            r->bad += a[i] != sum_at(r->size, i) ||
                      part[i] != sum_at(r->size, r->rank * n + i);
        for (int64_t i = 0; i < whole; i++)
            r->bad += c[i] != value((int)(i / n), i % n);
        shared_broadcast(s, c, n * 4, r->size - 1);
        shared_wait(s, NULL);
        for (int64_t i = 0; i < n; i++)
            r->bad += r->rank != r->size - 1 && c[i] != value(0, i);
        in_region(s, r);
    }
    free(a);
    free(b);
    free(c);
    free(part);
    shared_destroy(s);
    return NULL;
}

static const struct {
    int size;
    int64_t count;
} groups[] = {
    { 2, 1 },      { 2, 100 },    { 2, 65536 }, { 2, 65537 }, { 2, 300000 }, { 3, 7 },
    { 3, 100000 }, { 4, 65536 },  { 5, 33 },    { 5, 70001 }, { 4, 0 },
};

/* The last rank broadcasts its own first part of what was gathered, which is rank 0's. */
START_TEST(all_operations_agree_to_the_bit)
{
    struct rank ranks[RANKS_MAX];
    int size = groups[_i].size;
    region_bytes = groups[_i].count * size * 8 + 64;
    for (int r = 0; r < size; r++)
        segments[r] = rwf_xcalloc(1, shared_segment_size());
    for (int r = 0; r < size; r++)
        regions[r] = rwf_xcalloc(1, (size_t)region_bytes);
    for (int r = 0; r < size; r++) {
        ranks[r] = (struct rank){ .rank = r, .size = size, .count = groups[_i].count };
        ck_assert_int_eq(pthread_create(&ranks[r].thread, NULL, run_rank, &ranks[r]), 0);
    }
    for (int r = 0; r < size; r++)
        pthread_join(ranks[r].thread, NULL);
    for (int r = 0; r < size; r++) {
        ck_assert_msg(ranks[r].bad == 0, "rank %d: %d values are wrong", r, ranks[r].bad);
        free(segments[r]);
        free(regions[r]);
    }
}
END_TEST

int main(void)
{
    rwf_mem_init();
    Suite *s = suite_create("comm");
    TCase *t = tcase_create("shared");
    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, all_operations_agree_to_the_bit, 0, RWF_COUNT(groups));
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
