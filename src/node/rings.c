/* SPDX-License-Identifier: Apache-2.0
 *
 * Rings: who shares one with whom. The node makes it, passes it to both sides, and
 * keeps a view of the words beside it: which task runs, and since when.
 */
#include "config.h"
#include "node/inside.h"
#include <stdlib.h>
#include <unistd.h>
#include "base/mem.h"

struct node__ring *node__ring_make(struct node__client *c, struct node__worker *w,
                                   uint64_t lease, uint64_t lane, struct rwf_err *err)
{
    int fd = store_ring_make(STORE_RING_BYTES, err);
    if (fd < 0)
        return NULL;
    struct store_ring *view = store_ring_open(fd, STORE_WORKER, NULL, err);
    if (!view) {
        close(fd);
        return NULL;
    }
    struct node__ring *r = rwf_xcalloc(1, sizeof(*r));
    *r = (struct node__ring){
        .lease = lease, .lane = lane, .client = c, .worker = w, .view = view, .fd = fd};
    LIST_INSERT_HEAD(&w->rings, r, link);
    return r;
}

/* Once both have it, our descriptor has served its purpose. */
static void passed(struct node__ring *r)
{
    if (!r->served || !r->granted)
        return;
    close(r->fd);
    r->fd = -1;
}

void node__ring_serve(struct node__ring *r, bool first)
{
    Wire__Serve s = WIRE__SERVE__INIT;
    s.lease = r->lease;
    s.client = r->client->id;
    s.slot = (uint32_t)r->client->slot;
    if (first) {
        s.plugin = r->worker->plugin;
        s.max_calls = r->worker->lease->wire->shape->max_calls;
    }
    wire_link_send(r->worker->client->link, WIRE_SERVE, &s.base, &r->fd, 1);
    r->served = true;
    passed(r);
}

void node__ring_grant(struct node__ring *r, const struct node__lease *lease)
{
    const struct node__worker *w = r->worker;
    Wire__Grant g = WIRE__GRANT__INIT;
    g.lane = r->lane;
    g.lease = r->lease;
    g.worker = w->id;
    g.pid = (uint32_t)w->pid;
    g.slot = (uint32_t)w->slot;
    g.n_gpus = w->gpu_count;
    g.gpus = w->gpus;
    g.actor = lease->actor ? node__actor_spec(lease->actor)->actor : 0;
    wire_link_send(r->client->link, WIRE_GRANT, &g.base, &r->fd, 1);
    r->granted = true;
    passed(r);
}

struct node__ring *node__ring_find(struct node *n, const struct node__client *c,
                                   uint64_t lease)
{
    struct node__worker *w;
    struct node__ring *r;
    LIST_FOREACH(w, &n->workers, link)
    LIST_FOREACH(r, &w->rings, link)
    if (r->lease == lease && r->client == c)
        return r;
    return NULL;
}

uint64_t node__ring_task(const struct node__ring *r, int64_t *ret_started)
{
    uint64_t task = atomic_load(store_ring_word(r->view, STORE_WORD_TASK));
    if (ret_started)
        *ret_started =
            (int64_t)atomic_load(store_ring_word(r->view, STORE_WORD_STARTED));
    return task;
}

bool node__ring_quiet(const struct node__ring *r)
{
    return node__ring_task(r, NULL) == 0 && store_ring_idle(r->view);
}

void node__ring_end(struct node__ring *r, bool leave)
{
    struct node__worker *w = r->worker;
    if (leave && r->served && w->client) {
        Wire__Leave l = WIRE__LEAVE__INIT;
        l.lease = r->lease;
        NODE__SEND(w->client->link, WIRE_LEAVE, &l);
    }
    LIST_REMOVE(r, link);
    store_ring_close(r->view);
    if (r->fd >= 0)
        close(r->fd);
    free(r);
}
