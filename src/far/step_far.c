/* SPDX-License-Identifier: Apache-2.0
 *
 * A step whose process runs on another node. The spec goes there over the link that we
 * made; what the process prints goes through a capture of ours, too: it redacts what
 * only this machine knows as a secret, and keeps it in the attempt's folder here when
 * that is not the same one.
 *
 * The call ends with STEP_EXIT or with the link, whatever comes first.
 */
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/redact.h"
#include "far/steps.h"
#include "node/attempt.h"

enum { STREAM_OUT = 1, STREAM_ERR, STREAM_REPORT, STREAM_COMMAND, STREAM_ENV };

struct far__call {
    struct far_step *step;
    struct far__peer *peer;
    uint64_t number;
    uint64_t session; /* of the node */
    char *where;
    char *dir; /* the attempt's folder here; NULL: none is kept */
    bool far;  /* dir is another one than there */
    bool started;
    struct node__capture out, err;
};

/* --- the end --- */

static void call_free(struct far__call *c)
{
    node__capture_free(&c->out);
    node__capture_free(&c->err);
    free(c->where);
    free(c->dir);
    free(c);
}

/* Files here get their end; then the step is over. */
static void finish(struct far__call *c, struct proc_exit *r)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *tail = NULL;
    rwf_ids_remove(&c->step->node->far->steps->calls, c->number);
    node__capture_close(&c->out);
    node__capture_close(&c->err);
    if (!r->tail) {
        tail = node__capture_tail(&c->err);
        if (!tail)
            tail = node__capture_tail(&c->out);
        r->tail = tail;
    }
    /* On a shared file system that node has written it, unless it is gone. */
    bool ours = c->far || r->cause == PLAN_CAUSE_NODE_LOST;
    if (c->dir && ours && node__attempt_end(c->dir, r, &err) < 0)
        rwf_log(RWF_LOG_WARN, "run", "%s", err.text);
    c->step->call = NULL;
    far__step_exited(c->step, r);
    free(tail);
    call_free(c);
}

static void finish_lost(struct far__call *c, const struct rwf_err *err)
{
    struct node *n = c->step->node;
    struct far__member *m = far__member_find(n, c->where);
    struct proc_exit r = {.cause = PLAN_CAUSE_NODE_LOST, .exit_code = -1};
    if (err && err->code == EPROTO && !c->started) {
        r.cause = PLAN_CAUSE_START; /* it would be the same the next time */
        far__exit_say(&r, "node %s: %s", c->where, err->text);
    } else if (n->destroyed) {
        far__exit_say(&r, "this node ends, and with it the step on node %s", c->where);
    } else if (c->peer->gone) {
        far__exit_say(&r, "node %s is gone: %s", c->where, c->peer->gone);
    } else if (!m || m->session != c->session) {
        far__exit_say(&r, "node %s is gone", c->where);
    } else if (!err || err->code == ECONNRESET) {
        far__exit_say(&r,
                      "node %s is lost: it has closed the link, so it has ended or was "
                      "killed; see raywf nodes, and its log there",
                      c->where);
    } else {
        far__exit_say(&r,
                      "node %s is lost, though the head still sees it: look at the "
                      "network and the firewall from here to %s:%d (%s)",
                      c->where, m->host ? m->host : "it", m->port, err->text);
    }
    finish(c, &r);
}

static void end_with_peer(void *ctx, void *item)
{
    const struct far__gone *g = ctx;
    struct far__call *c = item;
    if (c->peer == g->peer)
        finish_lost(c, g->err);
}

void far__calls_peer_closed(struct far__peer *p, const struct rwf_err *err)
{
    struct far__gone g = {p, err};
    rwf_ids_each(&p->node->far->steps->calls, end_with_peer, &g);
}

/* --- what comes back --- */

static struct far__call *find(struct far__peer *p, uint64_t number)
{
    struct far__call *c = rwf_ids_get(&p->node->far->steps->calls, number);
    return c && c->peer == p ? c : NULL;
}

void far__on_step_started(struct far__peer *p, struct wire_message *m)
{
    const Wire__StepStarted *w = (const Wire__StepStarted *)m->body;
    struct far__call *c = find(p, w->step);
    if (!c || c->started || w->code)
        return; /* why it could not start comes with its exit */
    c->started = true;
    if (c->step->handler.started)
        c->step->handler.started(c->step->handler.ctx, (int)w->pid);
}

static void take_report(struct far__call *c, const Wire__StepOutput *w)
{
    json_t *line = json_loadb((const char *)w->data.data, w->data.len, 0, NULL);
    if (json_is_object(line) && c->step->handler.report)
        c->step->handler.report(c->step->handler.ctx, line);
    json_decref(line);
}

static void take_file(const struct far__call *c, const Wire__StepOutput *w)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (!c->far)
        return;
    int rc = w->stream == STREAM_COMMAND
                 ? node__attempt_put_command(c->dir, w->data.data, w->data.len, &err)
                 : node__attempt_put_inherited(c->dir, w->data.data, w->data.len, &err);
    if (rc < 0)
        rwf_log(RWF_LOG_WARN, "run", "%s", err.text);
}

void far__on_step_output(struct far__peer *p, struct wire_message *m)
{
    const Wire__StepOutput *w = (const Wire__StepOutput *)m->body;
    struct far__call *c = find(p, w->step);
    if (!c)
        return; /* it was ended here */
    switch (w->stream) {
    case STREAM_OUT:
        node__capture_put(&c->out, w->data.data, w->data.len);
        break;
    case STREAM_ERR:
        node__capture_put(&c->err, w->data.data, w->data.len);
        break;
    case STREAM_REPORT:
        take_report(c, w);
        break;
    case STREAM_COMMAND:
    case STREAM_ENV:
        take_file(c, w);
        break;
    default:
        rwf_log(RWF_LOG_WARN, "node", "%s sent output of a kind that is not known here",
                c->where);
    }
}

void far__on_step_exit(struct far__peer *p, struct wire_message *m)
{
    const Wire__StepExit *w = (const Wire__StepExit *)m->body;
    struct far__call *c = find(p, w->step);
    struct rwf_err err = RWF_ERR_INIT;
    struct proc_exit r;
    json_t *json = NULL;
    if (!c)
        return;
    if (far__exit_read(&r, &json, w->result, &err) < 0) {
        r = (struct proc_exit){.cause = PLAN_CAUSE_START, .exit_code = -1};
        far__exit_say(&r, "node %s: %s", c->where, err.text);
    }
    finish(c, &r);
    json_decref(json);
}

static void on_clean(void *ctx, int stream, const void *data, size_t size)
{
    struct far_step *s = ((struct far__call *)ctx)->step;
    if (s->handler.output)
        s->handler.output(s->handler.ctx, stream, data, size);
}

/* --- the start, and what is asked of it --- */

static void open_capture(struct far__call *c, struct node__capture *cap, int stream,
                         const char *name, int64_t limit)
{
    node__capture_open(cap, -1, c->far ? rwf_fs_join(c->dir, name) : NULL,
                       c->far ? limit : 0);
    cap->fn = on_clean;
    cap->ctx = c;
    cap->stream = stream;
}

static void call_create(struct far_step *s, struct far__member *m,
                        struct far__peer *p, const struct proc_spec *spec,
                        const struct far_step_options *o)
{
    struct far__call *c = rwf_xcalloc(1, sizeof(*c));
    s->call = c;
    c->step = s;
    c->peer = p;
    c->number = ++s->node->far->steps->last_call;
    c->session = m->session;
    c->where = rwf_xstrdup(m->name);
    c->far = !o->shared && o->local_dir;
    const char *dir = o->shared ? spec->dir : o->local_dir;
    c->dir = dir ? rwf_xstrdup(dir) : NULL;
    open_capture(c, &c->out, STREAM_OUT, "stdout", spec->log_limit);
    open_capture(c, &c->err, STREAM_ERR, "stderr", spec->log_limit);
    rwf_ids_add(&s->node->far->steps->calls, c->number, c);
}

int far__call_start(struct far_step *s, struct far__member *m,
                    const struct proc_spec *spec,
                    const struct far_step_options *options, struct rwf_err *err)
{
    Wire__StepStart w = WIRE__STEP_START__INIT;
    struct far__peer *p = far__peer_to(s->node, m, err);
    if (!p)
        return rwf_wrap(err, "cannot start a step on node %s", m->name);
    char *json = far__spec_write(spec, !options->shared && options->local_dir);
    if (strlen(json) > FAR__SPEC_MAX) {
        free(json);
        return rwf_fail(err, E2BIG,
                        "the command and environment of a step for node %s have more "
                        "than %zu bytes: pass a file instead",
                        m->name, FAR__SPEC_MAX);
    }
    call_create(s, m, p, spec, options);
    w.step = s->call->number;
    w.node = m->name;
    w.spec = json;
    FAR__PEER_SEND(p, WIRE_STEP_START, &w);
    explicit_bzero(json, strlen(json)); /* it may hold secrets */
    free(json);
    return 0;
}

void far__call_stop(struct far__call *c, bool kill)
{
    Wire__StepStop w = WIRE__STEP_STOP__INIT;
    w.step = c->number;
    w.kill = kill;
    FAR__PEER_SEND(c->peer, WIRE_STEP_STOP, &w);
}

void far__call_hold(struct far__call *c, bool hold)
{
    Wire__StepHold w = WIRE__STEP_HOLD__INIT;
    w.step = c->number;
    w.hold = hold;
    FAR__PEER_SEND(c->peer, WIRE_STEP_HOLD, &w);
}
