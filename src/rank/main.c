/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf-rank: one rank of a gang. What went wrong is the last line on stderr, and the exit
 * code says which kind of wrong (base/exit.def); a training that was told to stop and did
 * exits with 143, as one that SIGTERM ended.
 */
#include "config.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "rank/rank.h"
#include "wire/tls.h"

enum { EXIT_TERMINATED = 143 };

static const struct {
    const char *name, *usage;
    rank_fn run;
} ways[] = {
    { "train", "train JOB", rank_train },
    { "exec", "exec GANG", rank_exec },
    { "allreduce", "allreduce", rank_allreduce },
};

static int usage(void)
{
    for (size_t i = 0; i < RWF_COUNT(ways); i++)
        fprintf(stderr, "%s raywf-rank %s\n", i == 0 ? "usage:" : "      ", ways[i].usage);
    return RWF_E_USAGE - RWF_E_BASE;
}

static int fail(const struct rwf_err *err)
{
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    bool named = rank != NULL && strcmp(rank, "0") != 0;
    fflush(stdout);
    fprintf(stderr, "raywf-rank: %s%s%s%s\n", named ? "rank " : "", named ? rank : "",
            named ? ": " : "", err->text);
    return err->code == RWF_E_STOPPED ? EXIT_TERMINATED : rwf_exit_code(err);
}

/* Where MPI has been, no handlers run at the exit: its libraries are closed by then, and what
 * they have left would be counted as our leaks. */
static int leave(int code)
{
    if (getenv("OMPI_COMM_WORLD_RANK") == NULL)
        return code;
    fflush(NULL);
    wire_tls_settle();
    _exit(code);
}

int main(int argc, char **argv)
{
    struct rwf_err err = RWF_ERR_INIT;
    rwf_mem_init();
    for (size_t i = 0; argc > 1 && i < RWF_COUNT(ways); i++)
        if (strcmp(argv[1], ways[i].name) == 0)
            return leave(ways[i].run(argc - 1, argv + 1, &err) == 0 ? 0 : fail(&err));
    return usage();
}
