/* SPDX-License-Identifier: Apache-2.0
 *
 * The store's slow work: making room (spilling) and bringing back. It goes to a thread,
 * one job after the other, so that a slow disk delays nobody but those who wait for it.
 */
#include "config.h"
#include "node/inside.h"
#include <errno.h>
#include <stdlib.h>
#include "base/log.h"
#include "base/mem.h"

#define JOBS_MAX 100000

struct job {
    STAILQ_ENTRY(job) link;
    size_t bytes;        /* room to make, or */
    store_object object; /* to bring back */
    int rc;
    struct rwf_err err;
};

struct node__service {
    struct node *node;
    uv_work_t work;
    struct job *now; /* in the thread; NULL: it rests */
    STAILQ_HEAD(, job) jobs;
    size_t count;
};

static void run(uv_work_t *work)
{
    struct node__service *s = work->data;
    struct job *j = s->now;
    j->rc = j->object ? store_restore(s->node->store, j->object, &j->err)
                      : store_relieve(s->node->store, j->bytes, &j->err);
}

static void next(struct node__service *s);

static void after(uv_work_t *work, int status)
{
    struct node__service *s = work->data;
    struct node *n = s->node;
    struct job *j = s->now;
    (void)status;
    s->now = NULL;
    /* All pinned: who waits for room goes on waiting, and asks again. */
    if (j->rc < 0 && j->err.code != EAGAIN && j->err.code != ENOENT)
        rwf_log(RWF_LOG_WARN, "node", "%s", j->err.text);
    free(j);
    next(s);
    node__closed(n);
}

static void next(struct node__service *s)
{
    struct job *j = STAILQ_FIRST(&s->jobs);
    if (s->now || !j || s->node->destroyed)
        return;
    STAILQ_REMOVE_HEAD(&s->jobs, link);
    s->count--;
    s->now = j;
    s->node->open++;
    s->work.data = s;
    rwf_assert(uv_queue_work(s->node->loop, &s->work, run, after) == 0);
}

static void add(struct node *n, size_t bytes, store_object object)
{
    struct node__service *s = n->service;
    struct job *j;
    STAILQ_FOREACH(j, &s->jobs, link)
    if (j->object == object && j->bytes >= bytes)
        return; /* somebody asked for it already */
    if (s->count >= JOBS_MAX)
        return;
    j = rwf_xcalloc(1, sizeof(*j));
    j->bytes = bytes;
    j->object = object;
    STAILQ_INSERT_TAIL(&s->jobs, j, link);
    s->count++;
    next(s);
}

void node__on_full(struct node__client *c, struct wire_message *m)
{
    add(c->node, ((const Wire__Full *)m->body)->bytes, 0);
}

void node__on_restore(struct node__client *c, struct wire_message *m)
{
    const Wire__Restore *r = (const Wire__Restore *)m->body;
    if (r->object)
        add(c->node, 0, r->object);
}

void node__service_create(struct node *n)
{
    n->service = rwf_xcalloc(1, sizeof(*n->service));
    n->service->node = n;
    STAILQ_INIT(&n->service->jobs);
}

void node__service_free(struct node *n)
{
    struct node__service *s = n->service;
    if (!s)
        return;
    while (!STAILQ_EMPTY(&s->jobs)) {
        struct job *j = STAILQ_FIRST(&s->jobs);
        STAILQ_REMOVE_HEAD(&s->jobs, link);
        free(j);
    }
    free(s);
}
