/* SPDX-License-Identifier: Apache-2.0
 *
 * Ranks that mpirun started. What moves their tensors is chosen when the group opens:
 *
 *   nccl      on a GPU: the kernels' own; MPI tells the group's id
 *   shared    all ranks are on one machine: memory that MPI lets them share
 *   messages  otherwise: non-blocking collectives, driven on by each later call
 *
 * RAYWF_COMM=messages asks for the last one where the second would do. MPI is called by one
 * thread only. When a rank is lost, mpirun ends the others.
 */
#include "config.h"
#include "tensor/comm.h"

#include <limits.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/comm_shared.h"

enum { UNIT = 64, COUNT_MAX = 1 << 30, REGIONS_MAX = 64 << 20 };

struct group {
    struct device *device;
    int rank, size;
    /* nccl */
    struct kernel_comm *nccl;
    /* shared */
    struct shared *shared;
    MPI_Comm local;
    MPI_Win *windows;
    size_t window_count, window_cap;
    int64_t region_bytes;
    /* messages */
    MPI_Datatype unit; /* UNIT bytes, so that counts fit into an int */
    MPI_Request *requests;
    size_t count, cap;
};

/* --- host memory, at once --- */

static void host_sum(void *ctx, double *values, int count)
{
    (void)ctx;
    MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
}

static void host_broadcast(void *ctx, void *buffer, int64_t bytes, int root)
{
    char *at = buffer;
    (void)ctx;
    for (; bytes > 0; bytes -= COUNT_MAX, at += COUNT_MAX)
        MPI_Bcast(at, bytes < COUNT_MAX ? (int)bytes : COUNT_MAX, MPI_BYTE, root,
                  MPI_COMM_WORLD);
}

static void barrier(void *ctx)
{
    (void)ctx;
    MPI_Barrier(MPI_COMM_WORLD);
}

static void group_close(void *ctx)
{
    struct group *g = ctx;
    if (g->nccl != NULL)
        g->device->k->comm_close(g->nccl);
    shared_destroy(g->shared);
    for (size_t i = 0; i < g->window_count; i++)
        MPI_Win_free(&g->windows[i]);
    free(g->windows);
    if (g->local != MPI_COMM_NULL)
        MPI_Comm_free(&g->local);
    if (g->unit != MPI_DATATYPE_NULL)
        MPI_Type_free(&g->unit);
    free(g->requests);
    free(g);
}

/* --- messages --- */

static MPI_Request *request(struct group *g)
{
    return RWF_PUSH(g->requests, g->count, g->cap);
}

/* Lets MPI go on with what was begun. */
static void poll(struct group *g)
{
    int done;
    if (g->count > 0)
        MPI_Testall((int)g->count, g->requests, &done, MPI_STATUSES_IGNORE);
}

static void message_sum(void *ctx, float *to, const float *from, int64_t count)
{
    struct group *g = ctx;
    for (int64_t at = 0; at < count; at += COUNT_MAX)
        MPI_Iallreduce(from == to ? MPI_IN_PLACE : from + at, to + at,
                       count - at < COUNT_MAX ? (int)(count - at) : COUNT_MAX, MPI_FLOAT,
                       MPI_SUM, MPI_COMM_WORLD, request(g));
    poll(g);
}

static void message_scatter(void *ctx, float *to, const float *from, int64_t count)
{
    struct group *g = ctx;
    bool in_place = to == from + g->rank * count;
    rwf_assert(count <= INT_MAX);
    /* In place MPI wants the result at the start, not at this rank's part. */
    float *part = in_place ? rwf_xmalloc((size_t)count * sizeof(float)) : to;
    MPI_Request *r = request(g);
    MPI_Ireduce_scatter_block(from, part, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD,
                              r);
    if (in_place) {
        MPI_Wait(r, MPI_STATUS_IGNORE);
        memcpy(to, part, (size_t)count * sizeof(float));
        free(part);
    }
    poll(g);
}

static void message_gather(void *ctx, void *to, const void *from, int64_t bytes)
{
    struct group *g = ctx;
    bool units = bytes % UNIT == 0;
    int64_t count = units ? bytes / UNIT : bytes;
    MPI_Datatype type = units ? g->unit : MPI_BYTE;
    bool in_place = from == (char *)to + g->rank * bytes;
    rwf_assert(count <= INT_MAX);
    MPI_Iallgather(in_place ? MPI_IN_PLACE : from, (int)count, type, to, (int)count, type,
                   MPI_COMM_WORLD, request(g));
    poll(g);
}

static void message_broadcast(void *ctx, void *buffer, int64_t bytes, int root)
{
    struct group *g = ctx;
    for (int64_t at = 0; at < bytes; at += COUNT_MAX)
        MPI_Ibcast((char *)buffer + at,
                   bytes - at < COUNT_MAX ? (int)(bytes - at) : COUNT_MAX, MPI_BYTE, root,
                   MPI_COMM_WORLD, request(g));
    poll(g);
}

static int message_wait(void *ctx, struct rwf_err *err)
{
    struct group *g = ctx;
    (void)err;
    MPI_Waitall((int)g->count, g->requests, MPI_STATUSES_IGNORE);
    g->count = 0;
    return 0;
}

static const struct comm_ops messages = {
    .name = "messages",
    .close = group_close,
    .sum = message_sum,
    .scatter = message_scatter,
    .gather = message_gather,
    .broadcast = message_broadcast,
    .wait = message_wait,
    .host_sum = host_sum,
    .host_broadcast = host_broadcast,
    .barrier = barrier,
};

static void open_messages(struct group *g)
{
    MPI_Type_contiguous(UNIT, MPI_BYTE, &g->unit);
    MPI_Type_commit(&g->unit);
}

/* --- shared memory --- */

#define SHARED(ctx) (((struct group *)(ctx))->shared)

static void sharing_sum(void *ctx, float *to, const float *from, int64_t count)
{
    shared_sum(SHARED(ctx), to, from, count);
}

static void sharing_scatter(void *ctx, float *to, const float *from, int64_t count)
{
    shared_scatter(SHARED(ctx), to, from, count);
}

static void sharing_gather(void *ctx, void *to, const void *from, int64_t bytes)
{
    shared_gather(SHARED(ctx), to, from, bytes);
}

static void sharing_broadcast(void *ctx, void *buffer, int64_t bytes, int root)
{
    shared_broadcast(SHARED(ctx), buffer, bytes, root);
}

static int sharing_wait(void *ctx, struct rwf_err *err)
{
    return shared_wait(SHARED(ctx), err);
}


/* Zeroed memory that each rank has and all map; NULL: there is no more. */
static void **map_segments(struct group *g, size_t bytes)
{
    void *mine = NULL, **segments = rwf_xcalloc((size_t)g->size, sizeof(*segments));
    MPI_Win window;
    MPI_Info info;
    MPI_Info_create(&info);
    MPI_Info_set(info, "alloc_shared_noncontig", "true");
    int rc = MPI_Win_allocate_shared((MPI_Aint)bytes, 1, info, g->local, &mine, &window);
    MPI_Info_free(&info);
    if (rc != MPI_SUCCESS) {
        free(segments);
        return NULL;
    }
    *RWF_PUSH(g->windows, g->window_count, g->window_cap) = window;
    memset(mine, 0, bytes); /* also puts its pages beside this core */
    for (int r = 0; r < g->size; r++) {
        MPI_Aint size;
        int unit;
        MPI_Win_shared_query(window, r, &size, &unit, &segments[r]);
    }
    MPI_Barrier(g->local);
    return segments;
}

/* Large models compute for long and copy for little of it: what is shared stays small. */
static void *sharing_memory(void *ctx, int64_t bytes)
{
    struct group *g = ctx;
    if (bytes <= 0 || bytes > REGIONS_MAX - g->region_bytes)
        return NULL;
    void **regions = map_segments(g, (size_t)bytes), *mine = NULL;
    if (regions != NULL) {
        shared_add_region(g->shared, regions, bytes);
        g->region_bytes += bytes;
        mine = regions[g->rank];
    }
    free(regions);
    return mine;
}

static const struct comm_ops sharing = {
    .name = "shared",
    .close = group_close,
    .sum = sharing_sum,
    .scatter = sharing_scatter,
    .gather = sharing_gather,
    .broadcast = sharing_broadcast,
    .wait = sharing_wait,
    .memory = sharing_memory,
    .host_sum = host_sum,
    .host_broadcast = host_broadcast,
    .barrier = barrier,
};

static int open_shared(struct group *g, struct rwf_err *err)
{
    MPI_Comm_set_errhandler(g->local, MPI_ERRORS_RETURN);
    void **segments = map_segments(g, shared_segment_size());
    if (segments == NULL)
        return rwf_fail(err, RWF_E_ENV,
                        "MPI gives the ranks no shared memory: is /dev/shm or TMPDIR full? "
                        "RAYWF_COMM=messages does without");
    g->shared = shared_create(g->rank, g->size, segments);
    free(segments);
    return 0;
}

/* --- NCCL --- */

static void nccl_sum(void *ctx, float *to, const float *from, int64_t count)
{
    struct group *g = ctx;
    g->device->k->comm_sum(g->nccl, to, from, count);
}

static void nccl_scatter(void *ctx, float *to, const float *from, int64_t count)
{
    struct group *g = ctx;
    g->device->k->comm_scatter(g->nccl, to, from, count);
}

static void nccl_gather(void *ctx, void *to, const void *from, int64_t bytes)
{
    struct group *g = ctx;
    g->device->k->comm_gather(g->nccl, to, from, bytes);
}

static void nccl_broadcast(void *ctx, void *buffer, int64_t bytes, int root)
{
    struct group *g = ctx;
    g->device->k->comm_broadcast(g->nccl, buffer, bytes, root);
}

static int nccl_wait(void *ctx, struct rwf_err *err)
{
    struct group *g = ctx;
    char why[512] = "";
    g->device->k->comm_wait(g->nccl);
    if (g->device->k->comm_check(g->nccl, why, sizeof(why)) == 0)
        return 0;
    return rwf_fail(err, RWF_E_FAILED, "rank %d: %s", g->rank, why);
}

static const struct comm_ops nccl = {
    .name = "nccl",
    .close = group_close,
    .sum = nccl_sum,
    .scatter = nccl_scatter,
    .gather = nccl_gather,
    .broadcast = nccl_broadcast,
    .wait = nccl_wait,
    .host_sum = host_sum,
    .host_broadcast = host_broadcast,
    .barrier = barrier,
};

/* All ranks learn whether rank 0 got an id, so that none waits for one that gave up. */
static int open_nccl(struct group *g, struct rwf_err *err)
{
    const struct kernels *k = g->device->k;
    struct {
        int rc;
        unsigned char id[128];
        char why[512];
    } told = { .rc = 0 };
    if (g->rank == 0)
        told.rc = k->comm_id(told.id, told.why, sizeof(told.why));
    MPI_Bcast(&told, sizeof(told), MPI_BYTE, 0, MPI_COMM_WORLD);
    if (told.rc == 0)
        g->nccl = k->comm_open(g->device->c, told.id, g->rank, g->size, told.why,
                               sizeof(told.why));
    if (g->nccl != NULL)
        return 0;
    return rwf_fail(err, RWF_E_ENV, "the GPUs of the %d ranks find no group: %s", g->size,
                    told.why);
}

/* --- which --- */

int comm_mpi_open(struct comm *c, struct device *d, struct rwf_err *err)
{
    struct group *g = rwf_xcalloc(1, sizeof(*g));
    const char *wanted = getenv("RAYWF_COMM");
    int rc = 0;
    *g = (struct group){ .device = d, .local = MPI_COMM_NULL, .unit = MPI_DATATYPE_NULL };
    MPI_Comm_rank(MPI_COMM_WORLD, &g->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &g->size);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, g->rank, MPI_INFO_NULL,
                        &g->local);
    *c = (struct comm){ .rank = g->rank, .size = g->size, .ctx = g };
    MPI_Comm_rank(g->local, &c->local_rank);
    MPI_Comm_size(g->local, &c->local_size);
    if (d->k->comm_open != NULL) {
        c->ops = &nccl;
        rc = open_nccl(g, err);
    } else if (c->local_size == g->size && g->size <= SHARED_RANKS_MAX &&
               (wanted == NULL || strcmp(wanted, "messages") != 0)) {
        c->ops = &sharing;
        rc = open_shared(g, err);
    } else {
        c->ops = &messages;
        open_messages(g);
    }
    if (rc != 0)
        comm_close(c);
    return rc;
}
