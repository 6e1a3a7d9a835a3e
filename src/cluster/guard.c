/* SPDX-License-Identifier: Apache-2.0
 *
 * The head of a bring-up has nobody else who starts it again when it dies (out of
 * memory, a bug): nodes and runs wait for it, and go on where they were. Its lock tells
 * whether it lives. All that the thread touches of the cluster stays as it is while it
 * runs.
 */
#include "config.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/inside.h"

#define LOOK_EVERY (300 * RWF_NS_PER_MS)
#define RESTARTS_MAX 10

struct cluster__guard {
    const struct cluster *cluster;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop;
};

static bool head_lives(const struct cluster *c)
{
    char *path = rwf_fs_join(c->folder, "head/pid");
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    bool lives = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0;
    if (fd >= 0)
        close(fd);
    free(path);
    return lives;
}

/* False: it is to stop. */
static bool rest(struct cluster__guard *g, int64_t ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    ns += until.tv_nsec;
    until.tv_sec += ns / RWF_NS_PER_S;
    until.tv_nsec = ns % RWF_NS_PER_S;
    pthread_mutex_lock(&g->lock);
    while (!g->stop && pthread_cond_timedwait(&g->changed, &g->lock, &until) == 0)
        ;
    bool on = !g->stop;
    pthread_mutex_unlock(&g->lock);
    return on;
}

static void *guard(void *arg)
{
    struct cluster__guard *g = arg;
    unsigned restarts = 0;
    while (rest(g, LOOK_EVERY) && restarts < RESTARTS_MAX) {
        if (head_lives(g->cluster))
            continue;
        restarts++;
        rwf_log(RWF_LOG_WARN, "cluster", "the head at %s has died: it is started again",
                g->cluster->address);
        if (!cluster__head_restart(g->cluster) && !rest(g, RWF_NS_PER_S))
            break;
    }
    return NULL;
}

void cluster__guard_start(struct cluster *c)
{
    struct cluster__guard *g = rwf_xcalloc(1, sizeof(*g));
    pthread_condattr_t attr;
    sigset_t all, old;
    g->cluster = c;
    pthread_mutex_init(&g->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&g->changed, &attr);
    pthread_condattr_destroy(&attr);
    /* Signals are for the run. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&g->thread, NULL, guard, g);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc)
        free(g);
    else
        c->guard = g;
}

void cluster__guard_stop(struct cluster *c)
{
    struct cluster__guard *g = c->guard;
    if (!g)
        return;
    c->guard = NULL;
    pthread_mutex_lock(&g->lock);
    g->stop = true;
    pthread_cond_signal(&g->changed);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->thread, NULL);
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->lock);
    free(g);
}
