/* SPDX-License-Identifier: Apache-2.0
 *
 * A visit is a node that is under way for this request; visits point to their parents.
 * What is told lands in a list and is worked off by one loop, so nothing recurses into
 * the driver and a result told from within call is like any other. Beneath a fanout
 * that has failed all is late: calls are cancelled, what was told before is dropped.
 */
#include "config.h"
#include "serve/graph_impl.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "serve/balance.h"

enum { FIRST_BLOCK = 3072 };

struct visit {
    struct visit *parent;
    int node;
    int at;     /* which branch of the parent it is */
    int branch; /* which of its own is under way */
    bool first, last;
    struct serve_data input;
    int waiting;                /* FANOUT: branches without an output; < 0: it failed */
    struct serve_data *outputs; /* FANOUT */
    struct serve_call call;     /* CALL */
    struct visit *out_prev, *out_next; /* calls that are out */
    /* What came of it. */
    int status;
    struct serve_data data;
    const char *why;
    struct visit *told_next;
};

struct serve_flow {
    const struct serve_app *app;
    const struct serve_flow_driver *driver;
    void *ctx;
    uint64_t *chance;
    struct serve_data input;
    struct visit *out;               /* calls that are out */
    struct visit *told, **told_tail; /* results to work off */
    bool working, over, ended;       /* ended: *final is to be told */
    bool doomed;                     /* freed while it works */
    struct visit *final;
    struct flow_arena arena;
    _Alignas(16) unsigned char block[FIRST_BLOCK];
};

int serve_graph_only(const struct serve_app *a)
{
    return a->node_count == 1 && a->nodes[0].kind == SERVE_CALL ? a->nodes[0].deployment
                                                                : -1;
}

/* --- calls that are out --- */

static struct visit *visit_of(struct serve_call *c)
{
    return (struct visit *)((char *)c - offsetof(struct visit, call));
}

static void link_out(struct serve_flow *f, struct visit *v)
{
    v->out_next = f->out;
    if (f->out != NULL)
        f->out->out_prev = v;
    f->out = v;
}

static void unlink_out(struct serve_flow *f, struct visit *v)
{
    if (v->out_next != NULL)
        v->out_next->out_prev = v->out_prev;
    if (v->out_prev != NULL)
        v->out_prev->out_next = v->out_next;
    else
        f->out = v->out_next;
    v->out_next = v->out_prev = NULL;
}

/* Whether a fanout above has failed meanwhile. */
static bool is_late(const struct visit *v)
{
    for (v = v->parent; v != NULL; v = v->parent)
        if (v->waiting < 0)
            return true;
    return false;
}

/* Cancels the calls that are late, or all of them. */
static void cancel_calls(struct serve_flow *f, bool all)
{
    for (struct visit *v = f->out, *next; v != NULL; v = next) {
        next = v->out_next;
        if (!all && !is_late(v))
            continue;
        unlink_out(f, v);
        f->driver->cancel(f->ctx, &v->call);
    }
}

/* --- beginning visits --- */

static void begin(struct serve_flow *f, struct visit *parent, int at, int node,
                  const struct serve_data *input, bool first);

/* Puts a result into the list; data is in the arena or borrowed for as long as the
 * flow. */
static void tell(struct serve_flow *f, struct visit *v, int status,
                 struct serve_data data, const char *why)
{
    v->status = status;
    v->data = data;
    v->why = why;
    v->told_next = NULL;
    *f->told_tail = v;
    f->told_tail = &v->told_next;
}

static const struct serve_node *node_of(const struct serve_flow *f,
                                        const struct visit *v)
{
    return &f->app->nodes[v->node];
}

static void begin_branch(struct serve_flow *f, struct visit *v, int branch,
                         const struct serve_data *input, bool first)
{
    v->branch = branch;
    begin(f, v, branch, node_of(f, v)->branches[branch].node, input, first);
}

static void begin_call(struct serve_flow *f, struct visit *v)
{
    v->call = (struct serve_call){
        .deployment = node_of(f, v)->deployment,
        .input = v->input,
        .first = v->first,
        .last = v->last,
        .flow = f,
    };
    link_out(f, v);
    f->driver->call(f->ctx, &v->call);
}

static void begin_fanout(struct serve_flow *f, struct visit *v)
{
    const struct serve_node *node = node_of(f, v);
    size_t size = (size_t)node->branch_count * sizeof(*v->outputs);

    v->outputs = memset(flow_alloc(&f->arena, size), 0, size);
    v->waiting = node->branch_count;
    for (int i = 0; i < node->branch_count && !f->over; i++)
        begin(f, v, i, node->branches[i].node, &v->input, v->first);
}

static void begin_switch(struct serve_flow *f, struct visit *v)
{
    const char *why = NULL;
    int branch = flow_switch(&f->arena, node_of(f, v), &v->input, &why);

    /* The client's fault if it said so, a deployment's otherwise. */
    if (branch < 0)
        tell(f, v, v->first ? 400 : 502, (struct serve_data){0}, why);
    else
        begin_branch(f, v, branch, &v->input, v->first);
}

int serve_split_pick(const struct serve_node *split, double x)
{
    double sum = 0;
    int last = 0;

    for (int i = 0; i < split->branch_count; i++)
        sum += split->branches[i].weight;
    x *= sum;
    for (int i = 0; i < split->branch_count; i++) {
        if (split->branches[i].weight <= 0)
            continue;
        last = i;
        x -= split->branches[i].weight;
        if (x < 0)
            break;
    }
    return last;
}

static void begin_split(struct serve_flow *f, struct visit *v)
{
    const struct serve_node *node = node_of(f, v);
    const char *value =
        node->header != NULL ? f->driver->header(f->ctx, node->header) : NULL;
    uint64_t bits;

    if (value != NULL) { /* another split of the same header is another chance */
        uint64_t state = serve_hash(value, strlen(value)) + (uint64_t)v->node;
        bits = serve_random(&state);
    } else {
        bits = serve_random(f->chance);
    }
    begin_branch(f, v, serve_split_pick(node, (double)(bits >> 11) * 0x1p-53),
                 &v->input, v->first);
}

/* Whether the output of a branch is, as it is, that of the whole. */
static bool is_last(const struct serve_flow *f, const struct visit *parent, int at)
{
    if (parent == NULL)
        return true;
    const struct serve_node *node = node_of(f, parent);
    return parent->last && node->kind != SERVE_FANOUT &&
           (node->kind != SERVE_SEQUENCE || at == node->branch_count - 1);
}

static void begin(struct serve_flow *f, struct visit *parent, int at, int node,
                  const struct serve_data *input, bool first)
{
    struct visit *v = memset(flow_alloc(&f->arena, sizeof(*v)), 0, sizeof(*v));

    v->parent = parent;
    v->at = at;
    v->node = node;
    v->input = *input;
    v->first = first;
    v->last = is_last(f, parent, at);
    switch (f->app->nodes[node].kind) {
    case SERVE_CALL:
        begin_call(f, v);
        break;
    case SERVE_FANOUT:
        begin_fanout(f, v);
        break;
    case SERVE_SWITCH:
        begin_switch(f, v);
        break;
    case SERVE_SPLIT:
        begin_split(f, v);
        break;
    case SERVE_SEQUENCE:
    case SERVE_FALLBACK:
        begin_branch(f, v, 0, &v->input, first);
        break;
    }
}

/* --- working off results --- */

/* What the request itself is to blame for fails everywhere. */
static bool may_fall_back(int status)
{
    return status >= 500 || status == 408 || status == 429;
}

static void take(struct visit *to, const struct visit *from)
{
    to->status = from->status;
    to->data = from->data;
    to->why = from->why;
}

/* True: v, the parent, has its result now. */
static bool settle_fanout(struct serve_flow *f, struct visit *v,
                          const struct visit *child)
{
    if (child->status >= 400) {
        take(v, child);
        v->waiting = -1;
        cancel_calls(f, false);
        return true;
    }
    v->outputs[child->at] = child->data;
    if (--v->waiting > 0)
        return false;
    v->status = 200;
    if (flow_join(&f->arena, node_of(f, v), v->outputs, &v->data, &v->why) < 0) {
        v->status = 502;
        v->data = (struct serve_data){0};
    }
    return true;
}

static bool settle(struct serve_flow *f, struct visit *v, const struct visit *child)
{
    const struct serve_node *node = node_of(f, v);
    bool more = v->branch + 1 < node->branch_count;

    if (node->kind == SERVE_FANOUT)
        return settle_fanout(f, v, child);
    if (node->kind == SERVE_SEQUENCE && child->status < 400 && more) {
        begin_branch(f, v, v->branch + 1, &child->data, false);
        return false;
    }
    if (node->kind == SERVE_FALLBACK && may_fall_back(child->status) && more) {
        begin_branch(f, v, v->branch + 1, &v->input, v->first);
        return false;
    }
    take(v, child);
    return true;
}

static void rise(struct serve_flow *f, struct visit *v)
{
    if (is_late(v))
        return;
    while (v->parent != NULL) {
        if (!settle(f, v->parent, v))
            return;
        v = v->parent;
    }
    f->over = f->ended = true;
    f->final = v;
}

static void end(struct serve_flow *f)
{
    f->ended = false;
    cancel_calls(f, true);
    /* It may be freed in this. */
    f->driver->done(f->ctx, f->final->status, &f->final->data, f->final->why);
}

static void work(struct serve_flow *f)
{
    while (f->told != NULL && !f->over) {
        struct visit *v = f->told;
        f->told = v->told_next;
        if (f->told == NULL)
            f->told_tail = &f->told;
        rise(f, v);
    }
    f->working = false;
    if (f->doomed)
        serve_flow_free(f);
    else if (f->ended)
        end(f);
}

/* --- what the driver calls --- */

struct serve_flow *serve_flow_create(const struct serve_app *a,
                                     const struct serve_flow_driver *driver, void *ctx,
                                     const struct serve_data *input, uint64_t *chance)
{
    struct serve_flow *f = rwf_xmalloc(sizeof(*f));

    memset(f, 0, offsetof(struct serve_flow, block));
    f->app = a;
    f->driver = driver;
    f->ctx = ctx;
    f->chance = chance;
    f->input = *input;
    f->told_tail = &f->told;
    f->arena.at = f->block;
    f->arena.left = sizeof(f->block);
    return f;
}

void serve_flow_begin(struct serve_flow *f)
{
    f->working = true;
    begin(f, NULL, 0, 0, &f->input, true);
    work(f);
}

static void told(struct serve_call *c, int status, const struct serve_data *data,
                 const char *why)
{
    struct serve_flow *f = c->flow;
    struct visit *v = visit_of(c);
    const char *name = f->app->deployments[c->deployment].name;

    if (f->over)
        return;
    unlink_out(f, v);
    if (status >= 400)
        why = why != NULL ? flow_printf(&f->arena, "deployment '%.100s': %s", name, why)
                          : flow_printf(&f->arena, "deployment '%.100s' answered %d",
                                        name, status);
    tell(f, v, status, flow_copy(&f->arena, data), why);
    if (f->working)
        return;
    f->working = true;
    work(f);
}

void serve_flow_output(struct serve_call *c, int status, const struct serve_data *out)
{
    told(c, status, out, NULL);
}

void serve_flow_failed(struct serve_call *c, int status, const struct serve_data *body,
                       const char *why)
{
    told(c, status >= 400 ? status : 502, body, why);
}

void serve_flow_passed(struct serve_call *c)
{
    rwf_assert(c->last);
    unlink_out(c->flow, visit_of(c));
    c->flow->over = true;
}

void serve_flow_cancel(struct serve_flow *f)
{
    if (f->over)
        return;
    f->over = true;
    cancel_calls(f, true);
}

void serve_flow_free(struct serve_flow *f)
{
    if (f == NULL)
        return;
    if (f->working) { /* from within call: its frames still look at it */
        f->doomed = true;
        return;
    }
    flow_release(&f->arena);
    free(f);
}
