/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "far/data.h"
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "far/bridge.h"
#include "far/inside.h"

#define GONE_KEPT 64 /* sessions of nodes that have left */

struct job {
    STAILQ_ENTRY(job) link;
    void (*fn)(void *ctx);
    void *ctx;
};

/* A link to a member that is to become a data connection. */
struct going {
    struct node *node;
    struct wire_link *link;
    uint64_t session;
    enum peer_class class;
    bool given; /* to the plane */
    LIST_ENTRY(going) all;
};

struct far__data {
    struct peer *plane; /* NULL: not needed yet */
    uv_async_t async;
    pthread_mutex_t lock; /* of jobs and closed */
    STAILQ_HEAD(, job) jobs;
    bool closed;
    LIST_HEAD(, going) going;
    uint64_t gone[GONE_KEPT];
    unsigned gone_count;
};

/* --- from other threads --- */

void far__data_post(struct node *n, void (*fn)(void *ctx), void *ctx)
{
    struct far__data *d = n->far->data;
    struct job *j = rwf_xmalloc(sizeof(*j));

    j->fn = fn;
    j->ctx = ctx;
    pthread_mutex_lock(&d->lock);
    STAILQ_INSERT_TAIL(&d->jobs, j, link);
    if (!d->closed)
        uv_async_send(&d->async);
    pthread_mutex_unlock(&d->lock);
}

static void run_jobs(struct far__data *d)
{
    STAILQ_HEAD(, job) jobs = STAILQ_HEAD_INITIALIZER(jobs);
    struct job *j;

    pthread_mutex_lock(&d->lock);
    STAILQ_CONCAT(&jobs, &d->jobs);
    pthread_mutex_unlock(&d->lock);
    while ((j = STAILQ_FIRST(&jobs))) {
        STAILQ_REMOVE_HEAD(&jobs, link);
        j->fn(j->ctx);
        free(j);
    }
}

static void on_async(uv_async_t *a)
{
    run_jobs(((struct node *)a->data)->far->data);
}

/* --- connections that we make --- */

static void unreachable(struct node *n, uint64_t session, enum peer_class class,
                        const char *why)
{
    struct far__data *d = n->far->data;
    bool gone = n->stopping;

    if (!d->plane) /* it has ended */
        return;
    for (unsigned i = 0; i < GONE_KEPT && !gone; i++)
        gone = d->gone[i] == session;
    peer_unreachable(d->plane, session, class, gone, gone ? "it has left" : why);
}

static void on_answer(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct going *g = ctx;
    const Wire__DataHello *h = (const Wire__DataHello *)m->body;
    struct rwf_err err = RWF_ERR_INIT;
    char *bytes;
    size_t len;
    int fd;

    if (m->type == WIRE_HELLO)
        return;
    if (m->type != WIRE_DATA_HELLO || h->session != g->session ||
        wire_link_detach(link, &fd, &bytes, &len, &err) < 0) {
        wire_link_close(link);
        return;
    }
    g->given = true;
    peer_attach(g->node->far->data->plane, g->session, h->name, g->class, true, fd, bytes,
                len);
    free(bytes);
}

static void on_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    struct going *g = ctx;
    struct node *n = g->node;

    (void)link;
    if (!g->given)
        unreachable(n, g->session, g->class,
                    err ? err->text : "it took no data connection");
    LIST_REMOVE(g, all);
    free(g);
    node__closed(n);
}

static const struct far__member *by_session(struct node *n, uint64_t session)
{
    const struct far__member *m = far__members_first(n);

    while (m && m->session != session)
        m = LIST_NEXT(m, link);
    return m;
}

static void go(struct node *n, uint64_t session, enum peer_class class)
{
    const struct far__member *m = by_session(n, session);
    struct rwf_err err = RWF_ERR_INIT;
    struct wire_link *link = NULL;
    Wire__DataHello h = WIRE__DATA_HELLO__INIT;

    if (!m)
        rwf_fail(&err, RWF_E_ENV, "it is no member of the cluster");
    else if (!m->host)
        rwf_fail(&err, RWF_E_ENV, "node %s takes no links from other nodes", m->name);
    else
        link = wire_link_connect(n->loop, m->host, m->port, n->options.key, &err);
    if (!link) {
        unreachable(n, session, class, err.text);
        return;
    }
    struct going *g = rwf_xcalloc(1, sizeof(*g));
    *g = (struct going){.node = n, .link = link, .session = session, .class = class};
    LIST_INSERT_HEAD(&n->far->data->going, g, all);
    n->open++;
    wire_link_handle(link, &(struct wire_handler){g, on_answer, on_closed});
    h.name = n->name;
    h.session = n->session;
    h.class_ = class;
    wire_link_send(link, WIRE_DATA_HELLO, &h.base, NULL, 0);
}

struct wanted {
    struct node *node;
    uint64_t session;
    enum peer_class class;
};

static void on_wanted(void *ctx)
{
    struct wanted *w = ctx;

    if (w->node->far->data->closed)
        unreachable(w->node, w->session, w->class, "this node ends");
    else
        go(w->node, w->session, w->class);
    free(w);
}

/* Any thread. */
static void on_connect(void *ctx, uint64_t session, enum peer_class class)
{
    struct wanted *w = rwf_xmalloc(sizeof(*w));

    *w = (struct wanted){ctx, session, class};
    far__data_post(ctx, on_wanted, w);
}

/* --- connections that others make --- */

void far__on_data_hello(struct far__peer *p, struct wire_message *m)
{
    const Wire__DataHello *h = (const Wire__DataHello *)m->body;
    struct node *n = p->node;
    struct rwf_err err = RWF_ERR_INIT;
    struct peer *plane = far__plane(n, &err);
    Wire__DataHello mine = WIRE__DATA_HELLO__INIT;
    char *bytes;
    size_t len;
    int fd;

    mine.name = n->name;
    mine.session = n->session;
    mine.class_ = h->class_;
    if (plane && h->class_ <= PEER_BULK) {
        FAR__PEER_SEND(p, WIRE_DATA_HELLO, &mine);
        if (wire_link_detach(p->link, &fd, &bytes, &len, &err) == 0) {
            peer_attach(plane, h->session, h->name, (enum peer_class)h->class_, false,
                        fd, bytes, len);
            free(bytes);
            return;
        }
    }
    rwf_log(RWF_LOG_WARN, "node", "no data connection for node %s: %s", h->name,
            err.code ? err.text : "it asks for one of a kind that is not known here");
    wire_link_close(p->link);
}

void far__data_gone(struct node *n, const struct far__member *m)
{
    struct far__data *d = n->far->data;
    char *why;

    d->gone[d->gone_count++ % GONE_KEPT] = m->session;
    if (!d->plane)
        return;
    why = rwf_xasprintf("node %s has left the cluster, or is lost", m->name);
    peer_unreachable(d->plane, m->session, PEER_CALLS, true, why);
    free(why);
}

/* --- life --- */

struct peer *far__plane_if(const struct node *n)
{
    return n->far->data->plane;
}

struct peer *far__plane(struct node *n, struct rwf_err *err)
{
    struct far__data *d = n->far->data;
    struct peer_options o = {.store = n->store,
                             .session = n->session,
                             .name = n->name,
                             .connect = on_connect,
                             .ctx = n};

    if (!d->plane && d->closed)
        rwf_fail(err, RWF_E_ENV, "node %s ends", n->name);
    else if (!d->plane && (d->plane = peer_create(&o, err)))
        far__bridges_plane(n, d->plane);
    return d->plane;
}

void far__data_create(struct node *n)
{
    struct far__data *d = rwf_xcalloc(1, sizeof(*d));

    n->far->data = d;
    pthread_mutex_init(&d->lock, NULL);
    STAILQ_INIT(&d->jobs);
    LIST_INIT(&d->going);
    rwf_assert(uv_async_init(n->loop, &d->async, on_async) == 0);
    uv_unref((uv_handle_t *)&d->async);
    d->async.data = n;
    n->open++;
}

void far__data_close(struct node *n)
{
    struct far__data *d = n->far->data;
    struct going *g;

    LIST_FOREACH(g, &d->going, all)
    wire_link_close(g->link);
    pthread_mutex_lock(&d->lock);
    d->closed = true;
    pthread_mutex_unlock(&d->lock);
    node__close(&d->async);
}

/* What was posted last runs here. */
void far__data_free(struct node *n)
{
    struct far__data *d = n->far->data;

    if (!d)
        return;
    peer_destroy(d->plane);
    d->plane = NULL;
    run_jobs(d);
    pthread_mutex_destroy(&d->lock);
    free(d);
    n->far->data = NULL;
}
