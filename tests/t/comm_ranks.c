/* SPDX-License-Identifier: Apache-2.0
 *
 * A rank of a test group: runs every operation of comm.h in sizes around the chunks', queued
 * together, and compares with what it must be, to the bit. `comm_ranks bench BYTES TIMES`
 * measures a sum instead.
 */
#include "config.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tensor/comm.h"

/* Memory is all that a group of CPU ranks needs of its device. */
static const struct kernels host_memory = { .name = "cpu" };

static int failures;
static struct comm comm;

static void check(bool good, const char *what, int64_t size, bool in_place)
{
    if (!good)
        fprintf(stderr, "rank %d: %s of %lld%s is wrong\n", comm.rank, what,
                (long long)size, in_place ? " in place" : "");
    failures += !good;
}

/* What rank has at i: no two sums of it agree by chance, and the order of adding shows. */
static float value(int rank, int64_t i)
{
    return (float)(rank + 1) / (float)(i % 1013 + 3) + (float)(i % 7);
}

static float sum_at(int64_t i)
{
    float sum = value(0, i);
    for (int r = 1; r < comm.size; r++)
        sum += value(r, i);
    return sum;
}

static float *filled(int64_t count)
{
    float *x = rwf_xmalloc((size_t)(count > 0 ? count : 1) * sizeof(*x));
    for (int64_t i = 0; i < count; i++)
        x[i] = value(comm.rank, i);
    return x;
}

/* Messages may add in another order: then all ranks agree at least, to rounding. */
static bool near(float a, float b, bool exact)
{
    return exact ? a == b : a - b < 1e-5f && b - a < 1e-5f;
}

static void all_at(int64_t n, bool in_place)
{
    bool exact = strcmp(comm.ops->name, "shared") == 0, good = true;
    int64_t whole = n * comm.size;
    float *a = filled(n), *b = filled(whole), *c = filled(whole), *d = filled(n);
    float *sum = in_place ? a : filled(n);
    float *part = in_place ? b + comm.rank * n : filled(n);
    float *mine = in_place ? c + comm.rank * n : filled(n);
    for (int64_t i = 0; i < n; i++)
        mine[i] = value(comm.rank, i);
    comm.ops->sum(comm.ctx, sum, a, n);
    comm.ops->scatter(comm.ctx, part, b, n);
    comm.ops->gather(comm.ctx, c, mine, n * 4);
    comm.ops->broadcast(comm.ctx, d, n * 4, comm.size - 1);
    check(comm.ops->wait(comm.ctx, NULL) == 0, "waiting", n, in_place);
    for (int64_t i = 0; i < n; i++)
        good = good && near(sum[i], sum_at(i), exact);
    check(good, "a sum", n, in_place);
    for (int64_t i = 0; i < n; i++)
        good = good && near(part[i], sum_at(comm.rank * n + i), exact);
    check(good, "a scatter", n, in_place);
    for (int64_t i = 0; i < whole; i++)
        good = good && c[i] == value((int)(i / n), i % n);
    check(good, "a gather", n, in_place);
    for (int64_t i = 0; i < n; i++)
        good = good && d[i] == value(comm.size - 1, i);
    check(good, "a broadcast", n, in_place);
    if (!in_place) {
        free(sum);
        free(part);
        free(mine);
    }
    free(a);
    free(b);
    free(c);
    free(d);
}

static void host_operations(void)
{
    double values[2] = { comm.rank, 1 };
    char text[8] = "";
    comm.ops->host_sum(comm.ctx, values, 2);
    check(values[0] == comm.size * (comm.size - 1) / 2.0 && values[1] == comm.size,
          "a host sum", 2, false);
    if (comm.rank == 1)
        strcpy(text, "told");
    comm.ops->host_broadcast(comm.ctx, text, sizeof(text), 1);
    check(strcmp(text, "told") == 0, "a host broadcast", sizeof(text), false);
    comm.ops->barrier(comm.ctx);
}

static void bench(int64_t bytes, int times)
{
    float *x = filled(bytes / 4);
    int64_t from = 0;
    for (int i = -times / 10; i < times; i++) {
        if (i == 0)
            from = rwf_clock_mono();
        comm.ops->sum(comm.ctx, x, x, bytes / 4);
        comm.ops->wait(comm.ctx, NULL);
    }
    double us = (double)(rwf_clock_mono() - from) / 1e3 / times;
    if (comm.rank == 0)
        printf("%s: %d ranks, sum of %lld bytes: %.1f us\n", comm.ops->name, comm.size,
               (long long)bytes, us);
    free(x);
}

int main(int argc, char **argv)
{
    static const int64_t sizes[] = { 0, 1, 3, 64, 1000, 65535, 65536, 65537, 3000000 };
    struct device device = { .k = &host_memory };
    struct rwf_err err = RWF_ERR_INIT;
    int level;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &level);
    if (comm_mpi_open(&comm, &device, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    if (argc == 4) {
        bench(atoll(argv[2]), atoi(argv[3]));
    } else {
        for (size_t i = 0; i < RWF_COUNT(sizes) * 2; i++)
            all_at(sizes[i / 2], i % 2);
        host_operations();
        if (failures == 0)
            printf("%s rank %d of %d: good\n", comm.ops->name, comm.rank, comm.size);
    }
    comm_close(&comm);
    MPI_Finalize();
    fflush(NULL);
    _exit(failures != 0); /* what MPI leaks is not ours */
}
