/* SPDX-License-Identifier: Apache-2.0
 *
 * One rank of recipes/gang.yaml: the area under 4 / (1 + x²) from 0 to 1 in strips, of which
 * each rank takes every n-th; MPI adds the parts. Rank 0 reports what came out.
 */
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    long strips = argc > 1 ? atol(argv[1]) : 1000000;
    double part = 0, pi = 0, width = 1.0 / (double)strips;
    int rank, size;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (long i = rank; i < strips; i += size) {
        double x = ((double)i + 0.5) * width;
        part += 4 / (1 + x * x) * width;
    }
    printf("rank %d of %d has %.6f of it\n", rank, size, part);
    MPI_Reduce(&part, &pi, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0) {
        FILE *report = fdopen(atoi(getenv("RAYWF_REPORT")), "w");
        FILE *out = fopen("pi.txt", "w");
        fprintf(report, "{\"error\": %.3e, \"ranks\": %d}\n", fabs(pi - acos(-1)), size);
        fprintf(out, "%.12f\n", pi);
        fclose(out);
        fclose(report);
    }
    MPI_Finalize();
    return 0;
}
