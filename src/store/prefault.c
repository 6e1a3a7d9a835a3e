/* SPDX-License-Identifier: Apache-2.0
 *
 * The arena's pages are brought in by a thread of the node, from the start, which is
 * where they are used first. fallocate leaves alone what is there, so that it needs no
 * word with who writes meanwhile; where memory ends, so does it.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/mem.h"
#include "store/inside.h"

struct prefault {
    pthread_t thread;
    int fd;
    size_t bytes;
    _Atomic bool stop;
};

static void *prefault(void *ctx)
{
    struct prefault *p = ctx;

    /* Of this thread only: it must not be in anybody's way. */
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
    for (size_t at = 0; at < p->bytes && !atomic_load(&p->stop); at += STORE_UNIT)
        if (fallocate(p->fd, 0, (off_t)at, (off_t)STORE_UNIT) < 0 && errno != EINTR)
            break;
    return NULL;
}

struct prefault *store__prefault_start(int arena_fd, size_t bytes)
{
    struct prefault *p = rwf_xcalloc(1, sizeof(*p));

    p->fd = arena_fd;
    p->bytes = bytes;
    if (pthread_create(&p->thread, NULL, prefault, p) == 0)
        return p;
    free(p); /* objects warm up their own pages then */
    return NULL;
}

void store__prefault_stop(struct prefault *p)
{
    if (!p)
        return;
    atomic_store(&p->stop, true);
    pthread_join(p->thread, NULL);
    free(p);
}
