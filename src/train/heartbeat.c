/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "train/heartbeat.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"

struct heartbeat {
    int fd;
    int64_t interval; /* ns */
    _Atomic unsigned long count;
    _Atomic bool busy;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop; /* under the lock */
};

static void sleep_interval(struct heartbeat *h)
{
    struct timespec until;
    int64_t at = rwf_clock_mono() + h->interval;
    until.tv_sec = at / RWF_NS_PER_S;
    until.tv_nsec = at % RWF_NS_PER_S;
    pthread_cond_timedwait(&h->changed, &h->lock, &until);
}

static void *beat(void *ctx)
{
    struct heartbeat *h = ctx;
    unsigned long seen = 0;
    pthread_mutex_lock(&h->lock);
    while (!h->stop) {
        unsigned long now = atomic_load_explicit(&h->count, memory_order_relaxed);
        if (now != seen || atomic_load_explicit(&h->busy, memory_order_relaxed))
            futimens(h->fd, NULL); /* a full disk or a removed file is no reason to stop */
        seen = now;
        sleep_interval(h);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* Signals are for the main thread. */
static int start(struct heartbeat *h)
{
    sigset_t all, before;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, &attr);
    pthread_condattr_destroy(&attr);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&h->thread, NULL, beat, h);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

struct heartbeat *heartbeat_open(const char *folder, int rank, int interval_ms,
                                 struct rwf_err *err)
{
    char *path = rwf_xasprintf("%s/rank.%d", folder, rank);
    struct heartbeat *h = NULL;
    int fd = -1, rc;
    if (rwf_fs_mkdirs(folder, err) != 0)
        goto out;
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        rwf_fail(err, errno, "%s: %s", path, strerror(errno));
        goto out;
    }
    h = rwf_xcalloc(1, sizeof(*h));
    h->fd = fd;
    h->interval = interval_ms * RWF_NS_PER_MS;
    futimens(fd, NULL);
    rc = start(h);
    if (rc != 0) {
        rwf_fail(err, rc, "no thread for the heartbeat: %s", strerror(rc));
        close(fd);
        free(h);
        h = NULL;
    }
out:
    free(path);
    return h;
}

void heartbeat_alive(void *ctx)
{
    struct heartbeat *h = ctx;
    if (h != NULL)
        atomic_fetch_add_explicit(&h->count, 1, memory_order_relaxed);
}

void heartbeat_busy(struct heartbeat *h, bool busy)
{
    if (h != NULL)
        atomic_store_explicit(&h->busy, busy, memory_order_relaxed);
    heartbeat_alive(h);
}

void heartbeat_close(struct heartbeat *h)
{
    if (h == NULL)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    close(h->fd);
    free(h);
}
