/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps that other nodes, and clients of this one, have started through here. A node's
 * run here; a client says where. Whoever has started a step is told all of it, and when
 * it is gone its steps are ended: TERM, grace, KILL.
 *
 * A process that prints faster than the link takes it has to wait, so that what lies
 * here is bounded: when more than FULL bytes are unsent all steps of that link are
 * held, until it is below LOW. (The files of the attempt have it all in any case.)
 */
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "far/steps.h"
#include "far/tree.h"
#include "node/attempt.h"

#define FULL ((size_t)4 << 20)
#define LOW ((size_t)1 << 20)
#define FILE_MAX ((size_t)8 << 20) /* of a command */

struct far__served {
    struct node *node;
    struct far_step *step;
    uint64_t number;        /* whoever started it calls it so */
    struct wire_link *link; /* NULL: whoever started it is gone */
    struct far__spec spec; /* for its secrets and its folder */
    bool asked;             /* to hold it */
    bool full;              /* the link is */
    bool started;
    bool here; /* it runs on this node */
    TAILQ_ENTRY(far__served) all;
};

/* --- what goes back --- */

static void set_hold(struct far__served *v, bool asked, bool full)
{
    bool before = v->asked || v->full;
    v->asked = asked;
    v->full = full;
    if (v->step && before != (asked || full))
        far__step_hold(v->step, asked || full);
}

static void hold_all(struct node *n, const struct wire_link *link, bool full)
{
    struct far__served *v;
    TAILQ_FOREACH(v, &n->far->steps->served, all)
    if (v->link == link)
        set_hold(v, v->asked, full);
    if (full)
        uv_check_start(&n->far->steps->check, far__served_check);
}

/* After each turn of the loop, in which links may have got something away. */
void far__served_check(uv_check_t *check)
{
    struct node *n = check->data;
    struct far__served *v;
    bool any = false;
    TAILQ_FOREACH(v, &n->far->steps->served, all)
    {
        if (v->full && v->link && wire_link_queued(v->link) < LOW)
            set_hold(v, v->asked, false);
        any |= v->full && v->link;
    }
    if (!any)
        uv_check_stop(check);
}

size_t far__served_queued(const struct node *n)
{
    const struct far__served *v;
    size_t most = 0;
    TAILQ_FOREACH(v, &n->far->steps->served, all)
    if (v->link && wire_link_queued(v->link) > most)
        most = wire_link_queued(v->link);
    return most;
}

static void send_output(struct far__served *v, uint32_t stream, const void *data,
                        size_t size)
{
    Wire__StepOutput w = WIRE__STEP_OUTPUT__INIT;
    if (!v->link)
        return;
    w.step = v->number;
    w.stream = stream;
    w.data = (ProtobufCBinaryData){size, (uint8_t *)data};
    NODE__SEND(v->link, WIRE_STEP_OUTPUT, &w);
    if (!v->full && wire_link_queued(v->link) > FULL)
        hold_all(v->node, v->link, true);
}

static void send_files(struct far__served *v)
{
    if (!v->spec.files || !v->spec.spec.dir)
        return;
    v->spec.files = false;
    const struct node__inherited *inherited = node__attempt_inherited();
    char *path = rwf_fs_join(v->spec.spec.dir, NODE__COMMAND_FILE);
    size_t len = 0;
    char *text = rwf_fs_read(path, FILE_MAX, &len, NULL);
    if (text)
        send_output(v, 4, text, len);
    send_output(v, 5, inherited->text.data, inherited->text.len);
    free(text);
    free(path);
}

static void on_started(void *ctx, int pid)
{
    struct far__served *v = ctx;
    Wire__StepStarted w = WIRE__STEP_STARTED__INIT;
    v->started = true;
    w.step = v->number;
    w.pid = (uint32_t)pid;
    if (v->link)
        NODE__SEND(v->link, WIRE_STEP_STARTED, &w);
    send_files(v);
}

static void on_output(void *ctx, int stream, const void *data, size_t size)
{
    send_output(ctx, (uint32_t)stream, data, size);
}

static void on_report(void *ctx, const json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT);
    if (text)
        send_output(ctx, 3, text, strlen(text));
    free(text);
}

static void send_exit(struct wire_link *link, uint64_t number,
                      const struct proc_exit *result, bool started)
{
    Wire__StepStarted b = WIRE__STEP_STARTED__INIT;
    Wire__StepExit w = WIRE__STEP_EXIT__INIT;
    if (!started) {
        b.step = number;
        b.code = EINVAL;
        b.text = (char *)result->message;
        NODE__SEND(link, WIRE_STEP_STARTED, &b);
    }
    w.step = number;
    w.result = far__exit_write(result);
    NODE__SEND(link, WIRE_STEP_EXIT, &w);
    free(w.result);
}

static void served_free(struct far__served *v)
{
    far__spec_secrets(&v->spec, false);
    far__spec_free(&v->spec);
    free(v);
}

/* The caller's machine is another one: the message says where this was. */
static void name_node(struct proc_exit *r, const char *name)
{
    char *text = rwf_xstrdup(r->message);
    far__exit_say(r, "node %s: %s", name, text);
    free(text);
}

static void on_exited(void *ctx, const struct proc_exit *result)
{
    struct far__served *v = ctx;
    struct proc_exit r = *result;
    TAILQ_REMOVE(&v->node->far->steps->served, v, all);
    if (v->link) {
        if (!v->started)
            send_files(v);
        if (v->here && r.cause == PLAN_CAUSE_START)
            name_node(&r, v->node->name);
        send_exit(v->link, v->number, &r, v->started);
    }
    served_free(v);
}

/* --- what is asked --- */

static struct far__served *find(struct node *n, const struct wire_link *link,
                                uint64_t number)
{
    struct far__served *v;
    TAILQ_FOREACH(v, &n->far->steps->served, all)
    if (v->link == link && v->number == number)
        return v;
    return NULL;
}

static void refuse(struct node *n, struct wire_link *link, uint64_t number,
                   const struct rwf_err *err)
{
    struct proc_exit r = {.cause = PLAN_CAUSE_START, .exit_code = -1};
    far__exit_say(&r, "node %s: %s", n->name, err->text);
    send_exit(link, number, &r, false);
}

/* where: NULL: here. */
static void serve(struct node *n, struct wire_link *link, const Wire__StepStart *w,
                  const char *where)
{
    struct far__served *v = rwf_xcalloc(1, sizeof(*v));
    struct far_step_handler h = {v, on_started, on_output, on_report, on_exited};
    struct rwf_err err = RWF_ERR_INIT;
    v->node = n;
    v->link = link;
    v->number = w->step;
    v->here = !where || strcmp(where, n->name) == 0;
    if (far__spec_read(&v->spec, w->spec, &err) < 0) {
        refuse(n, link, w->step, &err);
        free(v);
        return;
    }
    far__spec_secrets(&v->spec, true);
    if (v->here)
        far__runs_use(n, v->spec.spec.run_id);
    TAILQ_INSERT_TAIL(&n->far->steps->served, v, all);
    v->step = far_step_start(n, where, &v->spec.spec, NULL, &h, &err);
    if (!v->step) {
        refuse(n, link, w->step, &err);
        TAILQ_REMOVE(&n->far->steps->served, v, all);
        served_free(v);
    } else if (wire_link_queued(link) > FULL) {
        v->full = false; /* what it said at its start may have filled it */
        hold_all(n, link, true);
    }
}

void far__on_step_start(struct far__peer *p, struct wire_message *m)
{
    Wire__StepStart *w = (Wire__StepStart *)m->body;
    if (find(p->node, p->link, w->step)) {
        rwf_log(RWF_LOG_WARN, "node", "%s started a step %llu twice", p->name,
                (unsigned long long)w->step);
        wire_link_close(p->link);
    } else {
        serve(p->node, p->link, w, NULL);
    }
    explicit_bzero(w->spec, strlen(w->spec));
}

void far__on_client_step_start(struct node__client *c, struct wire_message *m)
{
    Wire__StepStart *w = (Wire__StepStart *)m->body;
    if (find(c->node, c->link, w->step))
        node__client_drop(c, "it started a step %llu twice",
                          (unsigned long long)w->step);
    else
        serve(c->node, c->link, w, *w->node ? w->node : NULL);
    explicit_bzero(w->spec, strlen(w->spec));
}

static void stop(struct node *n, const struct wire_link *link, struct wire_message *m)
{
    const Wire__StepStop *w = (const Wire__StepStop *)m->body;
    struct far__served *v = find(n, link, w->step);
    if (v && w->kill)
        far_step_kill(v->step);
    else if (v)
        far_step_stop(v->step);
}

void far__on_step_stop(struct far__peer *p, struct wire_message *m)
{
    stop(p->node, p->link, m);
}

void far__on_client_step_stop(struct node__client *c, struct wire_message *m)
{
    stop(c->node, c->link, m);
}

void far__on_step_hold(struct far__peer *p, struct wire_message *m)
{
    const Wire__StepHold *w = (const Wire__StepHold *)m->body;
    struct far__served *v = find(p->node, p->link, w->step);
    if (v)
        set_hold(v, w->hold, v->full);
}

/* --- whoever started them is gone --- */

static void orphan_all(struct node *n, const struct wire_link *link, const char *who)
{
    struct far__served *v;
    size_t count = 0;
    TAILQ_FOREACH(v, &n->far->steps->served, all)
    {
        if (v->link != link)
            continue;
        set_hold(v, false, false); /* it may have last words to print */
        v->link = NULL;
        far_step_stop(v->step);
        count++;
    }
    if (count > 0)
        rwf_log(RWF_LOG_WARN, "node", "%s is gone: its %zu step%s here %s ended", who,
                count, count == 1 ? "" : "s", count == 1 ? "is" : "are");
}

void far__served_peer_closed(struct far__peer *p)
{
    orphan_all(p->node, p->link, p->name ? p->name : "a node");
}

void far__served_client_gone(struct node__client *c)
{
    orphan_all(c->node, c->link, c->program ? c->program : "a client");
}
