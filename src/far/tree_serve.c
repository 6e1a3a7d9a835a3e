/* SPDX-License-Identifier: Apache-2.0
 *
 * Trees that other nodes put here and get from here. They may write and read beneath
 * this node's folder of runs, and nowhere else.
 *
 * A tree that came half before its link was cut is kept for a while: when the same node
 * sends the same tree again it goes on where it was.
 */
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "far/tree.h"

#define AT_ONCE 64 /* of one node */
#define KEEP (60 * RWF_NS_PER_S)
#define LOOK_MS 5000

struct served {
    struct node *node;
    struct wire_link *link; /* NULL: cut */
    uint64_t request, session;
    struct far__flow *flow; /* NULL: it only looks at a file */
    char *path, *text;       /* text: that the file should have */
    uint64_t skip;           /* a tree that is got: what is there already */
    char digest[RWF_DIGEST_LEN];
    bool put;
    int64_t cut; /* since when */
    LIST_ENTRY(served) all;
};

struct far__tree_serve {
    LIST_HEAD(, served) all;
    uv_timer_t timer; /* while there are some without a link */
    char *folder;
};

/* --- their life --- */

static struct served *find(struct far__peer *p, uint64_t request)
{
    struct served *v;
    LIST_FOREACH(v, &p->node->far->tree_serve->all, all)
    if (v->link == p->link && v->request == request)
        return v;
    return NULL;
}

static void served_free(struct served *v)
{
    LIST_REMOVE(v, all);
    far__flow_free(v->flow);
    free(v->path);
    free(v->text);
    free(v);
}

/* NULL: the other side has been told why not. */
static struct served *served_create(struct far__peer *p, uint64_t request,
                                    const char *path)
{
    struct rwf_err err;
    struct served *v;
    size_t count = 0;
    LIST_FOREACH(v, &p->node->far->tree_serve->all, all)
    count += v->link == p->link;
    if (find(p, request)) {
        rwf_log(RWF_LOG_WARN, "node", "%s used a number for a tree twice", p->name);
        wire_link_close(p->link);
        return NULL;
    }
    if (count >= AT_ONCE) {
        rwf_fail(&err, EAGAIN, "more than %d trees at once", AT_ONCE);
        far__tree_ack(p->link, request, 0, true, &err);
        return NULL;
    }
    v = rwf_xcalloc(1, sizeof(*v));
    v->node = p->node;
    v->link = p->link;
    v->request = request;
    v->session = p->session;
    v->path = rwf_xstrdup(path);
    LIST_INSERT_HEAD(&p->node->far->tree_serve->all, v, all);
    return v;
}

static void on_over(void *ctx, const struct rwf_err *err, bool far)
{
    struct served *v = ctx;
    if (err && !far)
        rwf_log(RWF_LOG_WARN, "node", "a tree at %s: %s", v->path, err->text);
    served_free(v);
}

/* --- a tree that comes --- */

static void put_opened(void *ctx)
{
    struct served *v = ctx;
    bool have = far__flow_end(v->flow)->have;
    if (!v->link && !have)
        return; /* it waits for whoever sends it */
    if (v->link)
        far__tree_ack(v->link, v->request, 0, have, NULL);
    if (have)
        served_free(v);
}

/* What came of it before its link was cut. */
static struct served *find_half(struct far__peer *p, const Wire__TreePut *w)
{
    struct served *v;
    LIST_FOREACH(v, &p->node->far->tree_serve->all, all)
    if (!v->link && v->put && v->session == p->session &&
        strcmp(v->path, w->path) == 0 && strcmp(v->digest, w->digest) == 0)
        return v;
    return NULL;
}

void far__on_tree_put(struct far__peer *p, struct wire_message *m)
{
    const Wire__TreePut *w = (const Wire__TreePut *)m->body;
    struct far__tree_serve *s = p->node->far->tree_serve;
    struct served *v = find_half(p, w);
    if (v) {
        v->link = p->link;
        v->request = w->request;
        far__flow_bind(v->flow, p->link, w->request);
        if (far__flow_is_open(v->flow))
            far__tree_ack(p->link, w->request, far__flow_moved(v->flow), false, NULL);
        return;
    }
    v = served_create(p, w->request, w->path);
    if (!v)
        return;
    struct far__end *end = far__end_create(w->path, NULL, 0, w->ignore, s->folder);
    strncpy(end->digest, w->digest, sizeof(end->digest) - 1);
    memcpy(v->digest, end->digest, sizeof(v->digest));
    end->like = *w->like ? rwf_fs_absolute(w->like) : NULL;
    v->put = true;
    far__runs_touch(p->node, end->path);
    v->flow = far__flow_create(p->node, end, false,
                               &(struct far__flow_handler){v, put_opened, on_over});
    far__flow_bind(v->flow, p->link, w->request);
}

/* --- a tree that goes --- */

static void get_opened(void *ctx)
{
    struct served *v = ctx;
    far__flow_go(v->flow, v->skip);
}

void far__on_tree_get(struct far__peer *p, struct wire_message *m)
{
    const Wire__TreeGet *w = (const Wire__TreeGet *)m->body;
    /* What a program here has offered may be anywhere. */
    const char *inside =
        far__is_offered(p->node, w->path) ? NULL : p->node->far->tree_serve->folder;
    struct served *v = served_create(p, w->request, w->path);
    if (!v)
        return;
    size_t len = strlen(w->path);
    struct far__end *end =
        far__end_create(w->path, (const char *const *)w->paths, w->n_paths,
                        !inside && len > 0 && w->path[len - 1] == '/', inside);
    v->skip = w->skip;
    far__runs_touch(p->node, end->path);
    v->flow = far__flow_create(p->node, end, true,
                               &(struct far__flow_handler){v, get_opened, on_over});
    far__flow_bind(v->flow, p->link, w->request);
}

/* --- what is said about both --- */

/* On a link that we made it is the answer to something of ours. */
void far__on_tree_data(struct far__peer *p, struct wire_message *m)
{
    const Wire__TreeData *w = (const Wire__TreeData *)m->body;
    struct served *v = p->ours ? NULL : find(p, w->request);
    if (p->ours)
        far__tree_answer_data(p, w);
    else if (v && v->put)
        far__flow_data(v->flow, w);
}

void far__on_tree_ack(struct far__peer *p, struct wire_message *m)
{
    const Wire__TreeAck *w = (const Wire__TreeAck *)m->body;
    struct served *v = p->ours ? NULL : find(p, w->request);
    if (p->ours)
        far__tree_answer_ack(p, w);
    else if (v && v->flow && v->put && w->done)
        served_free(v); /* it could not be read there */
    else if (v && v->flow && !v->put)
        far__flow_ack(v->flow, w);
}

/* --- whether we see a file --- */

static void look(void *arg, struct rwf_err *err)
{
    struct served *v = arg;
    far__end_sees(v->path, v->text, err);
}

static void looked(void *arg, const struct rwf_err *err)
{
    struct served *v = arg;
    if (v->link)
        far__tree_ack(v->link, v->request, 0, true, err);
    served_free(v);
}

void far__on_tree_sees(struct far__peer *p, struct wire_message *m)
{
    const Wire__TreeSees *w = (const Wire__TreeSees *)m->body;
    struct served *v = served_create(p, w->request, w->path);
    if (!v)
        return;
    v->text = rwf_xstrdup(w->text);
    far__work(p->node, look, looked, v);
}

/* --- when a link is cut, and the end --- */

static void on_time(uv_timer_t *t)
{
    struct node *n = t->data;
    struct served *v, *next;
    int64_t now = rwf_clock_mono();
    bool left = false;
    for (v = LIST_FIRST(&n->far->tree_serve->all); v; v = next) {
        next = LIST_NEXT(v, all);
        if (!v->link && v->put && now - v->cut > KEEP)
            served_free(v);
        else
            left |= !v->link;
    }
    if (!left)
        uv_timer_stop(t);
}

void far__tree_serve_peer_closed(struct far__peer *p)
{
    struct far__tree_serve *s = p->node->far->tree_serve;
    struct served *v, *next;
    for (v = LIST_FIRST(&s->all); v; v = next) {
        next = LIST_NEXT(v, all);
        if (v->link != p->link)
            continue;
        v->link = NULL;
        v->cut = rwf_clock_mono();
        if (!v->flow)
            continue; /* it is freed when it has looked */
        if (!v->put || p->node->destroyed) {
            served_free(v);
            continue;
        }
        far__flow_bind(v->flow, NULL, 0);
        uv_timer_start(&s->timer, on_time, LOOK_MS, LOOK_MS);
    }
}

struct far__tree_serve *far__tree_serve_create(struct node *n)
{
    struct far__tree_serve *s = rwf_xcalloc(1, sizeof(*s));
    LIST_INIT(&s->all);
    s->folder = far__runs_folder(n->folder);
    node__timer(n, &s->timer);
    return s;
}

void far__tree_serve_close(struct node *n)
{
    struct far__tree_serve *s = n->far->tree_serve;
    struct served *v, *next;
    for (v = LIST_FIRST(&s->all); v; v = next) {
        next = LIST_NEXT(v, all);
        v->link = NULL;
        if (v->flow)
            served_free(v);
    }
    node__close(&s->timer);
}

void far__tree_serve_free(struct far__tree_serve *s)
{
    if (!s)
        return;
    free(s->folder);
    free(s);
}
