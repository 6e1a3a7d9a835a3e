/* SPDX-License-Identifier: Apache-2.0
 *
 * A rank of a test gang: sums with MPI over all ranks, small and large, and says what
 * it sees.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#define LARGE (1 << 18)

/* MPI keeps what it took at the start; what it keeps is not ours to look at. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

int main(int argc, char **argv)
{
    int rank, size, sum = 0, wrong = 0;
    double *mine = malloc(LARGE * sizeof(*mine)), *all = malloc(LARGE * sizeof(*all));

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int i = 0; i < LARGE; i++)
        mine[i] = rank + i;
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(mine, all, LARGE, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    for (int i = 0; i < LARGE; i++)
        wrong += all[i] != sum + (double)size * i;
    printf("MPI rank %d of %d, RANK %s, sum %d, wrong %d\n", rank, size, getenv("RANK"),
           sum, wrong);
    MPI_Finalize();
    free(all);
    free(mine);
    return wrong != 0;
}
