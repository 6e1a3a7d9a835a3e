/* SPDX-License-Identifier: Apache-2.0
 *
 * The checkpoints of one step: a thread writes, then what the policy does not keep
 * goes.
 *
 * The policy looks only at what was there at the start and what we wrote. After a
 * resume, checkpoints of later steps are those that were passed over (damaged) or of
 * another course of training: the first of ours that is whole replaces them.
 */
#include "config.h"
#include "train/checkpoint.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/checkpoint_impl.h"

#define NICE 5 /* the writer's threads: training goes first */

struct checkpoints {
    char *folder, *metric;
    bool max;
    size_t keep_best, keep_latest;
    int lock; /* descriptor of .lock */
    bool locked;
    struct train__points points;
    /* the write that goes on: the thread's until it is joined */
    bool running;
    atomic_bool busy;
    pthread_t thread;
    struct train__writing writing;
    double value; /* of its metric */
    int rc;
    struct rwf_err err;
};

/* Nobody else writes here: then what is hidden was left by the dead. */
static void try_lock(struct checkpoints *c)
{
    if (c->locked || flock(c->lock, LOCK_EX | LOCK_NB) < 0)
        return;
    c->locked = true;
    train__sweep(c->folder);
}

static int open_lock(struct checkpoints *c, struct rwf_err *err)
{
    char *path = rwf_fs_join(c->folder, ".lock");
    c->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    int rc = c->lock < 0 ? rwf_fail(err, errno, "cannot write checkpoints to '%s': %s",
                                    c->folder, strerror(errno))
                         : 0;
    free(path);
    return rc;
}

static void destroy(struct checkpoints *c)
{
    if (c->lock >= 0)
        close(c->lock);
    free(c->points.items);
    free(c->folder);
    free(c->metric);
    free(c);
}

struct checkpoints *checkpoints_open(const struct checkpoints_options *o,
                                     struct rwf_err *err)
{
    struct checkpoints *c = rwf_xcalloc(1, sizeof(*c));
    c->folder = rwf_xstrdup(o->folder);
    c->metric = o->metric ? rwf_xstrdup(o->metric) : NULL;
    c->max = o->mode && strcmp(o->mode, "max") == 0;
    c->keep_best = o->keep_best > 0 && o->metric ? (size_t)o->keep_best : 0;
    c->keep_latest = o->keep_latest > 1 ? (size_t)o->keep_latest : 1;
    c->lock = -1;
    if (rwf_fs_mkdirs(c->folder, err) < 0 || open_lock(c, err) < 0)
        goto failed;
    try_lock(c);
    if (!c->locked)
        rwf_log(RWF_LOG_WARN, "train",
                "another process writes checkpoints to '%s', too", c->folder);
    if (train__points_list(c->folder, c->metric, &c->points, err) < 0)
        goto failed;
    return c;
failed:
    destroy(c);
    return NULL;
}

/* --- what is kept --- */

static bool among_latest(const struct checkpoints *c, const struct train__point *p)
{
    size_t newer = 0;
    for (size_t i = 0; i < c->points.count; i++)
        newer += c->points.items[i].whole && c->points.items[i].step > p->step;
    return newer < c->keep_latest;
}

static bool among_best(const struct checkpoints *c, const struct train__point *p)
{
    size_t better = 0;
    for (size_t i = 0; i < c->points.count; i++)
        better += c->points.items[i].whole &&
                  train__compare(&c->points.items[i], p, c->max) < 0;
    return !isnan(p->metric) && better < c->keep_best;
}

static void forget(struct checkpoints *c, int64_t step)
{
    size_t kept = 0;
    for (size_t i = 0; i < c->points.count; i++)
        if (c->points.items[i].step != step)
            c->points.items[kept++] = c->points.items[i];
    c->points.count = kept;
}

static void prune(struct checkpoints *c, int64_t written)
{
    size_t count = 0;
    int64_t *gone = rwf_xcalloc(c->points.count + 1, sizeof(*gone));
    for (size_t i = 0; i < c->points.count;
         i++) /* another course: out of the counting */
        if (c->points.items[i].before && c->points.items[i].step > written)
            c->points.items[i].whole = false;
    for (size_t i = 0; i < c->points.count; i++) {
        const struct train__point *p = &c->points.items[i];
        if (p->step != written &&
            (!p->whole || (!among_latest(c, p) && !among_best(c, p))))
            gone[count++] = p->step;
    }
    for (size_t i = 0; i < count; i++) {
        struct rwf_err err = RWF_ERR_INIT;
        if (train__point_remove(c->folder, gone[i], &err) < 0)
            rwf_log(RWF_LOG_WARN, "train", "%s", err.text);
        forget(c, gone[i]);
    }
    free(gone);
}

/* --- writing --- */

static void *write_it(void *arg)
{
    struct checkpoints *c = arg;
    /* Of this thread, and of those that it makes. */
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
    c->rc = train__point_write(&c->writing, &c->err);
    if (c->rc == 0) {
        forget(c, c->writing.step);
        *RWF_PUSH(c->points.items, c->points.count, c->points.cap) =
            (struct train__point){ c->writing.step, c->value, true, false };
        try_lock(c);
        prune(c, c->writing.step);
    }
    atomic_store(&c->busy, false);
    return NULL;
}

int checkpoints_wait(struct checkpoints *c, struct rwf_err *err)
{
    if (!c->running)
        return 0;
    pthread_join(c->thread, NULL);
    c->running = false;
    free(c->writing.config);
    free(c->writing.state);
    if (c->rc < 0)
        return rwf_fail(err, c->err.code, "%s", c->err.text);
    return 0;
}

bool checkpoints_busy(const struct checkpoints *c)
{
    return atomic_load(&c->busy);
}

/* The JSON becomes text here: the caller may change its own while the thread works. */
int checkpoints_write(struct checkpoints *c, int64_t step,
                      struct checkpoint_content *content,
                      void (*done)(void *ctx, struct checkpoint_content *content),
                      void *ctx, struct rwf_err *err)
{
    rwf_assert(step >= 0 && content->config && content->state);
    if (checkpoints_wait(c, err) < 0)
        return -1;
    struct train__writing w = { .folder = c->folder,
                                .step = step,
                                .content = content,
                                .config = json_dumps(content->config, JSON_INDENT(2)),
                                .state = json_dumps(content->state, JSON_INDENT(1)),
                                .done = done,
                                .ctx = ctx };
    rwf_assert(w.config && w.state);
    c->writing = w;
    c->value = train__metric_of(content->state, c->metric);
    c->rc = 0;
    c->err = (struct rwf_err)RWF_ERR_INIT;
    atomic_store(&c->busy, true);
    json_t *state = content->state;
    content->state = NULL;
    int rc = pthread_create(&c->thread, NULL, write_it, c);
    if (rc != 0) {
        content->state = state;
        atomic_store(&c->busy, false);
        free(w.config);
        free(w.state);
        return rwf_fail(err, rc, "cannot start a thread for the checkpoint: %s",
                        strerror(rc));
    }
    json_decref(state);
    c->running = true;
    return 0;
}

int checkpoints_close(struct checkpoints *c, struct rwf_err *err)
{
    if (!c)
        return 0;
    int rc = checkpoints_wait(c, err);
    destroy(c);
    return rc;
}
