/* SPDX-License-Identifier: Apache-2.0
 *
 * One half of a tree on its way over a link: a source reads and sends, a sink takes and
 * writes. What touches the disk is done in a thread, one piece after the other; between
 * two pieces the loop's thread looks what is next (`next`).
 *
 * A flow outlives its link: a source starts again where the other side says that it is,
 * a sink goes on with what it has.
 */
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "far/tree.h"

#define READ_MAX ((size_t)1 << 20) /* at once in the thread */

struct far__flow {
    struct node *node;
    struct far__end *end;
    struct far__flow_handler handler;
    bool source;
    struct wire_link *link;
    uint64_t request;

    bool busy;        /* in the thread */
    bool freed, over; /* nobody is told any more */
    bool opened;
    void (*job)(struct far__flow *f, struct rwf_err *err);

    /* a source */
    bool going, restart;
    uint64_t sent, acked; /* of the stream */
    char *buf;
    size_t want;
    ssize_t got;

    /* a sink */
    struct rwf_str pending, feeding;
    uint64_t received, taken;
    bool ended, finished;
    char digest[RWF_DIGEST_LEN];
};

static void next(struct far__flow *f);

/* --- work in a thread --- */

struct work {
    uv_work_t req;
    struct node *node;
    void (*fn)(void *arg, struct rwf_err *err);
    void (*after)(void *arg, const struct rwf_err *err);
    void *arg;
    struct rwf_err err;
};

static void work_run(uv_work_t *req)
{
    struct work *w = req->data;
    w->fn(w->arg, &w->err);
}

static void work_after(uv_work_t *req, int status)
{
    struct work *w = req->data;
    struct node *n = w->node;
    (void)status;
    w->after(w->arg, w->err.code ? &w->err : NULL);
    free(w);
    node__closed(n);
}

void far__work(struct node *n, void (*fn)(void *arg, struct rwf_err *err),
               void (*after)(void *arg, const struct rwf_err *err), void *arg)
{
    struct work *w = rwf_xcalloc(1, sizeof(*w));
    *w = (struct work){.node = n, .fn = fn, .after = after, .arg = arg};
    w->req.data = w;
    n->open++;
    rwf_assert(uv_queue_work(n->loop, &w->req, work_run, work_after) == 0);
}

static void destroy(struct far__flow *f)
{
    far__end_free(f->end);
    rwf_str_free(&f->pending);
    rwf_str_free(&f->feeding);
    free(f->buf);
    free(f);
}

/* Its files are closed, and what is half written is removed, where it delays nobody. */
static void destroy_fn(void *arg, struct rwf_err *err)
{
    (void)err;
    destroy(arg);
}

static void destroyed(void *arg, const struct rwf_err *err)
{
    (void)arg;
    (void)err;
}

static void run_job(void *arg, struct rwf_err *err)
{
    struct far__flow *f = arg;
    f->job(f, err);
}

static void tell_over(struct far__flow *f, const struct rwf_err *err, bool far)
{
    if (f->over || f->freed)
        return;
    f->over = true;
    f->handler.over(f->handler.ctx, err, far);
}

static void fail(struct far__flow *f, const struct rwf_err *err)
{
    if (f->link)
        far__tree_ack(f->link, f->request, f->taken, true, err);
    tell_over(f, err, false);
}

static void after_job(void *arg, const struct rwf_err *err)
{
    struct far__flow *f = arg;
    f->busy = false;
    if (f->freed)
        far__work(f->node, destroy_fn, destroyed, f);
    else if (err)
        fail(f, err);
    else
        next(f);
}

static void begin(struct far__flow *f,
                  void (*job)(struct far__flow *, struct rwf_err *))
{
    f->busy = true;
    f->job = job;
    far__work(f->node, run_job, after_job, f);
}

/* --- what is done there --- */

static void do_open(struct far__flow *f, struct rwf_err *err)
{
    if (f->source)
        far__end_read_open(f->end, true, 0, err);
    else
        far__end_write_open(f->end, err);
}

static void do_restart(struct far__flow *f, struct rwf_err *err)
{
    far__end_read_open(f->end, false, f->sent, err);
}

static void do_read(struct far__flow *f, struct rwf_err *err)
{
    if (!f->buf)
        f->buf = rwf_xmalloc(READ_MAX);
    f->got = bundle_writer_read(f->end->writer, f->buf, f->want, err);
}

static void do_feed(struct far__flow *f, struct rwf_err *err)
{
    bundle_reader_feed(f->end->reader, f->feeding.data, f->feeding.len, err);
}

static void do_finish(struct far__flow *f, struct rwf_err *err)
{
    far__end_write_finish(f->end, f->digest, err);
}

/* --- a source --- */

static void send_data(struct far__flow *f, const char *data, size_t size, bool end)
{
    Wire__TreeData w = WIRE__TREE_DATA__INIT;
    w.request = f->request;
    w.data = (ProtobufCBinaryData){size, (uint8_t *)data};
    w.end = end;
    if (end) {
        w.digest = (char *)bundle_writer_digest(f->end->writer);
        w.file = f->end->file ? f->end->file : w.file;
    }
    NODE__SEND(f->link, WIRE_TREE_DATA, &w);
}

static void send_read(struct far__flow *f)
{
    size_t size = (size_t)f->got;
    for (size_t at = 0, n; at < size; at += n) {
        n = size - at < FAR__TREE_PIECE ? size - at : FAR__TREE_PIECE;
        send_data(f, f->buf + at, n, false);
    }
    f->sent += size;
    if (size == 0) {
        f->going = false; /* now the other side has the last word */
        send_data(f, NULL, 0, true);
    }
}

static void next_source(struct far__flow *f)
{
    if (f->restart) {
        f->restart = false;
        f->job = NULL;
        if (f->sent > 0 || f->buf) { /* the writer is somewhere else */
            begin(f, do_restart);
            return;
        }
    }
    if (f->job == do_read && f->link && f->going) {
        send_read(f);
        f->job = NULL;
    }
    size_t out = (size_t)(f->sent - f->acked);
    if (!f->going || !f->link || out >= FAR__TREE_WINDOW)
        return;
    f->want = FAR__TREE_WINDOW - out < READ_MAX ? FAR__TREE_WINDOW - out : READ_MAX;
    begin(f, do_read);
}

void far__flow_go(struct far__flow *f, uint64_t skip)
{
    f->going = f->restart = true;
    f->sent = f->acked = skip;
    if (!f->busy)
        next(f);
}

void far__flow_ack(struct far__flow *f, const Wire__TreeAck *m)
{
    struct rwf_err err;
    if (m->done && m->code) {
        rwf_fail(&err, m->code, "%s", m->text);
        tell_over(f, &err, true);
    } else if (m->done) {
        tell_over(f, NULL, true);
    } else if (m->bytes > f->acked && m->bytes <= f->sent) {
        f->acked = m->bytes;
        if (!f->busy && f->going)
            next(f);
    }
}

/* --- a sink --- */

static void next_sink(struct far__flow *f)
{
    if (f->job == do_feed) {
        f->taken += f->feeding.len;
        rwf_str_clear(&f->feeding);
        if (f->link)
            far__tree_ack(f->link, f->request, f->taken, false, NULL);
    }
    if (f->job == do_finish) {
        f->finished = true;
        if (f->link)
            far__tree_ack(f->link, f->request, f->taken, true, NULL);
        tell_over(f, NULL, false);
        return;
    }
    f->job = NULL;
    if (f->pending.len > 0) {
        struct rwf_str empty = f->feeding;
        f->feeding = f->pending;
        f->pending = empty;
        begin(f, do_feed);
    } else if (f->ended) {
        begin(f, do_finish);
    }
}

void far__flow_data(struct far__flow *f, const Wire__TreeData *m)
{
    struct rwf_err err;
    if (f->over || f->ended || !f->opened)
        return;
    if (f->pending.len + m->data.len > 2 * FAR__TREE_WINDOW) {
        rwf_fail(&err, EPROTO, "more was sent than was asked for");
        fail(f, &err);
        return;
    }
    rwf_str_addn(&f->pending, (const char *)m->data.data, m->data.len);
    f->received += m->data.len;
    if (m->end) {
        f->ended = true;
        strncpy(f->digest, m->digest, sizeof(f->digest) - 1);
        f->end->file = *m->file ? rwf_xstrdup(m->file) : NULL;
    }
    if (!f->busy)
        next(f);
}

/* --- both --- */

bool far__flow_is_open(const struct far__flow *f)
{
    return f->opened;
}

uint64_t far__flow_moved(const struct far__flow *f)
{
    return f->source ? f->acked : f->received;
}

static void next(struct far__flow *f)
{
    if (f->over)
        return;
    if (!f->opened) {
        f->opened = true;
        f->job = NULL;
        f->handler.opened(f->handler.ctx);
    } else if (f->source) {
        next_source(f);
    } else {
        next_sink(f);
    }
}

struct far__flow *far__flow_create(struct node *n, struct far__end *end, bool source,
                                   const struct far__flow_handler *handler)
{
    struct far__flow *f = rwf_xcalloc(1, sizeof(*f));
    f->node = n;
    f->end = end;
    f->source = source;
    f->handler = *handler;
    begin(f, do_open);
    return f;
}

struct far__end *far__flow_end(struct far__flow *f)
{
    return f->end;
}

void far__flow_bind(struct far__flow *f, struct wire_link *link, uint64_t request)
{
    f->link = link;
    f->request = request;
    if (!link)
        f->going = false;
}

void far__flow_free(struct far__flow *f)
{
    if (!f || f->freed)
        return;
    f->freed = true;
    f->link = NULL;
    if (!f->busy)
        far__work(f->node, destroy_fn, destroyed, f);
}

void far__tree_ack(struct wire_link *link, uint64_t request, uint64_t bytes, bool done,
                   const struct rwf_err *err)
{
    Wire__TreeAck w = WIRE__TREE_ACK__INIT;
    w.request = request;
    w.bytes = bytes;
    w.done = done;
    if (err) {
        w.code = err->code ? err->code : EIO;
        w.text = (char *)err->text;
    }
    NODE__SEND(link, WIRE_TREE_ACK, &w);
}
