/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf-rank allreduce: whether the ranks of a gang reach each other, and how well. Sums of
 * growing vectors over all ranks are checked and timed; rank 0 prints them and reports
 *
 *   latency     seconds of a sum of one number
 *   bandwidth   bytes a second of the largest: what each rank sends at least, 2 (N - 1) / N of
 *               the vector, by the time that it took
 */
#include "config.h"

#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "rank/rank.h"

enum { LARGEST = 4 << 20, WARM = 2, BYTES = 64 << 20 /* of one size, in all */ };

struct group {
    int rank, size;
    float *mine, *sum;
    double latency, bandwidth;
};

static int times_of(size_t count)
{
    size_t times = BYTES / (count * sizeof(float));
    return times > 200 ? 200 : times < 4 ? 4 : (int)times;
}

static int check(const struct group *g, size_t count, struct rwf_err *err)
{
    float all = (float)g->size * (float)(g->size - 1) / 2;

    for (size_t i = 0; i < count; i++)
        if (g->sum[i] != all + (float)g->size * (float)(i % 64))
            return rwf_fail(err, RWF_E_FAILED,
                            "the sum of %zu numbers is wrong at %zu: %g, not %g", count, i,
                            (double)g->sum[i],
                            (double)(all + (float)g->size * (float)(i % 64)));
    return 0;
}

/* Seconds of one, the slowest rank's. */
static double measure(const struct group *g, size_t count)
{
    int times = times_of(count);
    int64_t from = 0;

    for (int i = -WARM; i < times; i++) {
        if (i == 0) {
            MPI_Barrier(MPI_COMM_WORLD);
            from = rwf_clock_mono();
        }
        MPI_Allreduce(g->mine, g->sum, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    }
    double own = (double)(rwf_clock_mono() - from) / 1e9 / times, slowest = 0;
    MPI_Allreduce(&own, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return slowest;
}

static int run_sizes(struct group *g, struct rwf_err *err)
{
    for (size_t count = 1; count <= LARGEST; count *= 16) {
        double seconds = measure(g, count);
        double bytes = (double)(count * sizeof(float)) * 2 * (g->size - 1) / g->size;
        if (check(g, count, err) != 0)
            return -1;
        if (count == 1)
            g->latency = seconds;
        g->bandwidth = seconds > 0 ? bytes / seconds : 0;
        if (g->rank == 0)
            printf("%10zu bytes: %10.1f us, %8.1f MB/s\n", count * sizeof(float),
                   seconds * 1e6, g->bandwidth / 1e6);
    }
    return 0;
}

static void report(const struct group *g)
{
    const char *to = getenv("RAYWF_REPORT");
    char *line = rwf_xasprintf("{\"latency\": %.9f, \"bandwidth\": %.0f, \"ranks\": %d}\n",
                               g->latency, g->bandwidth, g->size);

    if (to != NULL)
        (void)rwf_fs_write_all(atoi(to), line, strlen(line), NULL);
    free(line);
}

int rank_allreduce(int argc, char **argv, struct rwf_err *err)
{
    struct group g = {0};
    (void)argv;

    if (argc != 1)
        return rwf_fail(err, RWF_E_USAGE, "usage: raywf-rank allreduce");
    if (MPI_Init(NULL, NULL) != MPI_SUCCESS)
        return rwf_fail(err, RWF_E_ENV, "MPI does not start");
    MPI_Comm_rank(MPI_COMM_WORLD, &g.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &g.size);
    g.mine = rwf_xmalloc(LARGEST * sizeof(float));
    g.sum = rwf_xmalloc(LARGEST * sizeof(float));
    for (size_t i = 0; i < LARGEST; i++)
        g.mine[i] = (float)g.rank + (float)(i % 64);
    int rc = run_sizes(&g, err);
    if (rc == 0 && g.rank == 0)
        report(&g);
    free(g.sum);
    free(g.mine);
    if (rc == 0)
        MPI_Finalize();
    return rc;
}
