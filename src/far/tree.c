/* SPDX-License-Identifier: Apache-2.0
 *
 * Trees that this node's user puts to other nodes and gets from them, and the question
 * whether a node has the same file system. A few at a time; the others wait.
 *
 * A link that is cut is made again, with back-off; the tree goes on where it was. After
 * TRIES cuts between which nothing moved it fails.
 */
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "far/tree.h"

#define AT_ONCE 4
#define TRIES 6
#define AGAIN_MS 100 /* doubles with each try */

enum verb { PUT, GET, SEES };

struct tree {
    struct node *node;
    enum verb verb;
    char *where, *from, *to, *text, *like;
    char **paths;
    size_t path_count;
    bool ignore;
    far_done_fn done;
    void *ctx;

    struct far__flow *flow;
    struct far__peer *peer; /* that it goes over now; NULL: none */
    uint64_t request;        /* 0: none now */
    bool counted;            /* among the active */
    bool answered;           /* PUT: it is known what is there already */
    bool working;            /* in a thread: within this machine */
    bool is_over;
    unsigned tries;
    uint64_t moved; /* what had come, or gone, at the last cut */
    struct rwf_err why;
    uv_timer_t timer;
    TAILQ_ENTRY(tree) all;
};

struct far__trees {
    TAILQ_HEAD(, tree) all;
    struct rwf_ids requests;
    uint64_t last;
    size_t active;
};

static void begin(struct tree *t);
static void attempt(struct tree *t);

/* --- the end --- */

static void begin_more(struct node *n)
{
    struct tree *t;
    do {
        TAILQ_FOREACH(t, &n->far->trees->all, all)
        if (!t->counted && !uv_is_active((uv_handle_t *)&t->timer))
            break;
        if (t && n->far->trees->active < AT_ONCE)
            begin(t); /* which may end it, and begin others */
    } while (t && n->far->trees->active < AT_ONCE);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct tree *t = h->data;
    struct node *n = t->node;
    for (size_t i = 0; i < t->path_count; i++)
        free(t->paths[i]);
    free(t->paths);
    free(t->where);
    free(t->from);
    free(t->to);
    free(t->text);
    free(t->like);
    free(t);
    node__closed(n);
}

static void let_go_of_peer(struct tree *t)
{
    if (t->request)
        rwf_ids_remove(&t->node->far->trees->requests, t->request);
    t->request = 0;
    t->peer = NULL;
}

/* t is freed by and by. */
static void finish(struct tree *t, const struct rwf_err *err)
{
    struct node *n = t->node;
    if (t->is_over)
        return;
    t->is_over = true;
    let_go_of_peer(t);
    far__flow_free(t->flow);
    t->flow = NULL;
    TAILQ_REMOVE(&n->far->trees->all, t, all);
    n->far->trees->active -= t->counted;
    n->open++;
    if (t->done)
        t->done(t->ctx, err);
    if (!t->working)
        uv_close((uv_handle_t *)&t->timer, on_timer_closed);
    if (!n->destroyed)
        begin_more(n);
    node__closed(n);
}

/* "cannot send DIR to node gpu2: …" */
static void fail(struct tree *t, const struct rwf_err *err)
{
    struct rwf_err e = *err;
    switch (t->verb) {
    case PUT:
        rwf_wrap(&e, "cannot send %s to %s on node %s", t->from, t->to, t->where);
        break;
    case GET:
        rwf_wrap(&e, "cannot get %s of node %s", t->from, t->where);
        break;
    default:
        rwf_wrap(&e, "node %s", t->where);
    }
    finish(t, &e);
}

/* --- within this machine --- */

static void do_here(void *arg, struct rwf_err *err)
{
    struct tree *t = arg;
    if (t->verb == SEES) {
        far__end_sees(t->from, t->text, err);
        return;
    }
    struct far__end *from = far__end_create(t->from, (const char *const *)t->paths,
                                            t->path_count, t->ignore, NULL);
    struct far__end *to = far__end_create(t->to, (const char *const *)t->paths,
                                          t->path_count, t->ignore, NULL);
    if (strcmp(from->path, to->path) != 0)
        far__end_copy(from, to, err);
    far__end_free(from);
    far__end_free(to);
}

static void done_here(void *arg, const struct rwf_err *err)
{
    struct tree *t = arg;
    t->working = false;
    if (t->is_over)
        uv_close((uv_handle_t *)&t->timer, on_timer_closed);
    else if (err)
        fail(t, err);
    else
        finish(t, NULL);
}

/* --- over a link --- */

static void on_time(uv_timer_t *timer)
{
    struct tree *t = timer->data;
    if (!t->counted)
        begin_more(t->node);
    else
        attempt(t);
}

static uint64_t progress(const struct tree *t)
{
    return t->flow ? far__flow_moved(t->flow) : 0;
}

/* The link is cut, or could not be made: once more, or it has failed. */
static void again(struct tree *t, const struct rwf_err *err)
{
    struct node *n = t->node;
    let_go_of_peer(t);
    if (t->flow)
        far__flow_bind(t->flow, NULL, 0);
    if (n->destroyed) {
        rwf_fail(&t->why, ECANCELED, "this node ends");
        fail(t, &t->why);
        return;
    }
    if (err)
        t->why = *err;
    else
        rwf_fail(&t->why, ECONNRESET, "the node has closed the link");
    if (progress(t) > t->moved)
        t->tries = 0;
    t->moved = progress(t);
    if (++t->tries >= TRIES) {
        rwf_wrap(&t->why, "the link was cut %d times", TRIES);
        fail(t, &t->why);
        return;
    }
    uv_update_time(n->loop);
    uv_timer_start(&t->timer, on_time, AGAIN_MS << t->tries, 0);
}

static void send_put(struct tree *t)
{
    const struct far__end *end = far__flow_end(t->flow);
    Wire__TreePut w = WIRE__TREE_PUT__INIT;
    w.request = t->request;
    w.path = t->to;
    w.digest = (char *)end->digest;
    w.ignore = t->ignore;
    w.like = t->like ? t->like : w.like;
    FAR__PEER_SEND(t->peer, WIRE_TREE_PUT, &w);
}

static void send_get(struct tree *t)
{
    Wire__TreeGet w = WIRE__TREE_GET__INIT;
    w.request = t->request;
    w.path = t->from;
    w.paths = t->paths;
    w.n_paths = t->path_count;
    w.skip = far__flow_moved(t->flow);
    FAR__PEER_SEND(t->peer, WIRE_TREE_GET, &w);
}

static void send_sees(struct tree *t)
{
    Wire__TreeSees w = WIRE__TREE_SEES__INIT;
    w.request = t->request;
    w.path = t->from;
    w.text = t->text;
    FAR__PEER_SEND(t->peer, WIRE_TREE_SEES, &w);
}

static void attempt(struct tree *t)
{
    static void (*const say[])(struct tree *) = {
        [PUT] = send_put, [GET] = send_get, [SEES] = send_sees};
    struct node *n = t->node;
    struct rwf_err err = RWF_ERR_INIT;
    struct far__member *m = far__member_find(n, t->where);
    if (!m) {
        rwf_fail(&err, ENOENT, "it is not in the cluster (any more): see raywf nodes");
        fail(t, &err);
        return;
    }
    struct far__peer *p = far__peer_to(n, m, &err);
    if (!p) {
        again(t, &err);
        return;
    }
    t->peer = p;
    t->answered = false;
    t->request = ++n->far->trees->last;
    rwf_ids_add(&n->far->trees->requests, t->request, t);
    if (t->flow)
        far__flow_bind(t->flow, p->link, t->request);
    say[t->verb](t);
}

static void on_opened(void *ctx)
{
    struct tree *t = ctx;
    attempt(t);
}

static void on_over(void *ctx, const struct rwf_err *err, bool far)
{
    struct tree *t = ctx;
    struct rwf_err e;
    if (!err) {
        finish(t, NULL);
        return;
    }
    e = *err;
    if (far)
        rwf_wrap(&e, "there");
    fail(t, &e);
}

static void begin_flow(struct tree *t)
{
    bool put = t->verb == PUT;
    struct far__end *end =
        far__end_create(put ? t->from : t->to, (const char *const *)t->paths,
                        t->path_count, t->ignore, NULL);
    t->flow = far__flow_create(t->node, end, put,
                               &(struct far__flow_handler){t, on_opened, on_over});
}

static bool is_here(const struct tree *t)
{
    return !*t->where || strcmp(t->where, t->node->name) == 0;
}

static void begin(struct tree *t)
{
    t->counted = true;
    t->node->far->trees->active++;
    if (is_here(t)) {
        t->working = true;
        far__work(t->node, do_here, done_here, t);
    } else if (t->verb == SEES) {
        attempt(t);
    } else {
        begin_flow(t);
    }
}

/* --- what comes back --- */

static struct tree *find(struct far__peer *p, uint64_t request)
{
    struct tree *t = rwf_ids_get(&p->node->far->trees->requests, request);
    return t && t->peer == p ? t : NULL;
}

void far__tree_answer_data(struct far__peer *p, const Wire__TreeData *m)
{
    struct tree *t = find(p, m->request);
    if (t && t->verb == GET)
        far__flow_data(t->flow, m);
}

void far__tree_answer_ack(struct far__peer *p, const Wire__TreeAck *m)
{
    struct tree *t = find(p, m->request);
    struct rwf_err err;
    if (!t)
        return;
    if (t->verb == PUT && !m->done && !t->answered) {
        t->answered = true;
        far__flow_go(t->flow, m->bytes); /* what is there already */
    } else if (t->flow && (t->verb == PUT || m->code)) {
        far__flow_ack(t->flow, m);
    } else if (t->verb == SEES && m->code) {
        rwf_fail(&err, m->code, "%s", m->text);
        fail(t, &err);
    } else if (t->verb == SEES) {
        finish(t, NULL);
    }
}

static void again_of(void *ctx, void *item)
{
    const struct far__gone *g = ctx;
    struct tree *t = item;
    if (t->peer == g->peer)
        again(t, g->err);
}

void far__trees_peer_closed(struct far__peer *p, const struct rwf_err *err)
{
    struct far__gone g = {p, err};
    rwf_ids_each(&p->node->far->trees->requests, again_of, &g);
}

/* --- what is asked for --- */

static struct tree *create(struct node *n, enum verb verb, const char *where,
                           const char *from, far_done_fn done, void *ctx)
{
    struct tree *t = rwf_xcalloc(1, sizeof(*t));
    t->node = n;
    t->verb = verb;
    t->where = rwf_xstrdup(where ? where : "");
    t->from = rwf_xstrdup(from);
    t->done = done;
    t->ctx = ctx;
    n->open++;
    uv_timer_init(n->loop, &t->timer);
    t->timer.data = t;
    TAILQ_INSERT_TAIL(&n->far->trees->all, t, all);
    uv_update_time(n->loop);
    uv_timer_start(&t->timer, on_time, 0, 0); /* nothing is told from within the call */
    return t;
}

void far_sees(struct node *n, const char *where, const char *path, const char *text,
              far_done_fn done, void *ctx)
{
    struct tree *t = create(n, SEES, where, path, done, ctx);
    t->text = rwf_xstrdup(text);
}

void far_tree_put(struct node *n, const char *where, const char *from, const char *to,
                  bool ignore, far_done_fn done, void *ctx)
{
    struct tree *t = create(n, PUT, where, from, done, ctx);
    t->to = rwf_xstrdup(to);
    t->ignore = ignore;
}

void far_tree_put_like(struct node *n, const char *where, const char *from,
                       const char *to, const char *like, far_done_fn done, void *ctx)
{
    struct tree *t = create(n, PUT, where, from, done, ctx);
    t->to = rwf_xstrdup(to);
    t->like = rwf_xstrdup(like);
}

void far_tree_get(struct node *n, const char *where, const char *from,
                  const char *const *paths, size_t count, const char *to,
                  far_done_fn done, void *ctx)
{
    struct tree *t = create(n, GET, where, from, done, ctx);
    t->to = rwf_xstrdup(to);
    t->path_count = count;
    if (count > 0)
        t->paths = rwf_xcalloc(count, sizeof(*t->paths));
    for (size_t i = 0; i < count; i++)
        t->paths[i] = rwf_xstrdup(paths[i]);
}

/* --- life --- */

void far__trees_create(struct node *n)
{
    n->far->trees = rwf_xcalloc(1, sizeof(*n->far->trees));
    TAILQ_INIT(&n->far->trees->all);
    n->far->tree_serve = far__tree_serve_create(n);
    far__runs_create(n);
}

void far__trees_close(struct node *n)
{
    struct rwf_err err;
    struct tree *t;
    rwf_fail(&err, ECANCELED, "this node ends");
    while ((t = TAILQ_FIRST(&n->far->trees->all)))
        fail(t, &err);
    far__tree_serve_close(n);
    far__runs_close(n);
}

void far__trees_free(struct node *n)
{
    if (!n->far->trees)
        return;
    far__runs_free(n);
    far__tree_serve_free(n->far->tree_serve);
    rwf_ids_free(&n->far->trees->requests);
    free(n->far->trees);
    n->far->trees = NULL;
}
