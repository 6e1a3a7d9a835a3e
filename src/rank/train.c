/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf-rank train JOB. Under mpirun (its environment tells) the ranks find each other by
 * MPI; alone, MPI is never started, which would cost most of a second.
 *
 * A rank that fails leaves without MPI_Finalize, which would wait for the others: mpirun sees
 * its exit code, ends them, and exits with it.
 */
#include "config.h"

#include <mpi.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "rank/rank.h"
#include "rank/spread.h"
#include "tensor/comm.h"
#include "tensor/device.h"
#include "train/job.h"

enum { JOB_MAX = 64 << 20 };

static int environment(const char *name, int fallback)
{
    const char *text = getenv(name);
    return text != NULL ? atoi(text) : fallback;
}

static json_t *read_job(const char *path, struct rwf_err *err)
{
    json_error_t why;
    size_t len;
    char *text = rwf_fs_read(path, JOB_MAX, &len, err);
    json_t *job = text != NULL ? json_loadb(text, len, 0, &why) : NULL;
    if (text != NULL && job == NULL)
        rwf_fail(err, RWF_E_INPUT, "%s:%d: %s", path, why.line, why.text);
    free(text);
    return job;
}

static int open_device(struct device *d, const json_t *job, struct rwf_err *err)
{
    const char *name = json_string_value(json_object_get(job, "device"));
    int threads = (int)json_integer_value(json_object_get(job, "threads"));
    return device_open(d, name != NULL ? name : "cpu",
                       environment("OMPI_COMM_WORLD_LOCAL_RANK", 0),
                       threads > 0 ? threads : 1, err);
}

#ifdef RWF_SANITIZED
/* Open MPI leaks, in modules that are unloaded by the end and so cannot be named. Ranks
 * without it are looked at. */
static bool has_mpi;
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return has_mpi;
}
#endif

static int start_mpi(struct rwf_err *err)
{
    int level;
#ifdef RWF_SANITIZED
    has_mpi = true;
#endif
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level) != MPI_SUCCESS ||
        level < MPI_THREAD_SERIALIZED)
        return rwf_fail(err, RWF_E_ENV, "MPI does not start with threads (level %d)", level);
    return 0;
}

static int open_group(struct comm *c, struct device *d, bool many, struct rwf_err *err)
{
    if (!many) {
        comm_alone(c, d);
        return 0;
    }
    if (!rank_is_spread() && start_mpi(err) != 0)
        return -1;
    return comm_mpi_open(c, d, err);
}

/* Over several nodes it comes over MPI. */
static json_t *find_job(const char *path, bool many, struct rwf_err *err)
{
    if (!many || !rank_is_spread())
        return read_job(path, err);
    return start_mpi(err) != 0 ? NULL : rank_spread_job(path, err);
}

int rank_train(int argc, char **argv, struct rwf_err *err)
{
    struct device device = { 0 };
    struct comm comm = { 0 };
    bool many = environment("OMPI_COMM_WORLD_SIZE", 1) > 1;
    if (argc != 2)
        return rwf_fail(err, RWF_E_USAGE, "usage: raywf-rank train JOB");
    json_t *job = find_job(argv[1], many, err);
    int rc = job != NULL ? open_device(&device, job, err) : -1;
    if (rc == 0)
        rc = open_group(&comm, &device, many, err);
    if (rc == 0)
        rc = train_loop(job, &device, &comm, err);
    json_decref(job);
    if (rc != 0 && many && err->code != RWF_E_STOPPED)
        return -1;
    comm_close(&comm);
    device_close(&device);
    if (many)
        MPI_Finalize();
    return rc;
}
