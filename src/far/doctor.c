/* SPDX-License-Identifier: Apache-2.0
 *
 * What this node tells about its machine when the head asks: what `raywf doctor` finds
 * here (a child, so that nothing it loads stays), how far the clocks are apart, and how
 * fast the links to other nodes are. One look at a time; who asks meanwhile gets the
 * same.
 *
 * A link is measured with beats: a few without a load, one after the other; then some
 * with a load of 1 MiB, WINDOW of them on their way at once, for at most LOAD_TIME.
 */
#include "config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "far/inside.h"

#define CHILD_MS 30000
#define LINK_MS 5000
#define SAID_MAX (1 << 20)
#define PINGS 11
#define LOAD ((size_t)1 << 20)
#define LOADS_MAX 64
#define LOAD_TIME (300 * RWF_NS_PER_MS)
#define WINDOW 4
#define LINKS_ALL 8 /* nodes, up to which each pair is measured */
#define LINKS_SOME 2

struct far__doctor {
    struct node *node;
    uint64_t *requests; /* the head's numbers */
    size_t request_count, request_cap;
    uv_process_t child;
    uv_pipe_t pipe;
    uv_timer_t timer; /* of the child, then of each link */
    struct rwf_str said;
    int open;
    bool running; /* the child */
    json_t *answer, *links;
    uint32_t *targets; /* nodes whose links are still to be measured */
    size_t target_count, target_at;
    /* The link that is measured. */
    char *to;
    uint64_t mark; /* of its beats: sent is from here up */
    unsigned pings, sent, back;
    int64_t best, began;
    uint8_t *load;
};

static void next_link(struct far__doctor *d);

/* --- the end --- */

static void release(struct far__doctor *d)
{
    if (--d->open > 0)
        return;
    struct node *n = d->node;
    json_decref(d->answer);
    rwf_str_free(&d->said);
    free(d->requests);
    free(d->targets);
    free(d->to);
    free(d->load);
    free(d);
    node__closed(n);
}

static void on_closed(uv_handle_t *h)
{
    release(h->data);
}

static void finish(struct far__doctor *d)
{
    struct node *n = d->node;
    Wire__Listed l = WIRE__LISTED__INIT;
    n->far->doctor = NULL;
    l.json = json_dumps(d->answer, JSON_COMPACT);
    for (size_t i = 0; i < d->request_count; i++) {
        l.request = d->requests[i];
        node__head_send(n, WIRE_LISTED, &l.base);
    }
    free(l.json);
    uv_close((uv_handle_t *)&d->timer, on_closed);
}

/* --- links --- */

static void say_link(struct far__doctor *d, const char *problem)
{
    json_t *row = json_pack("{s:s}", "to", d->to);
    int64_t took = rwf_clock_mono() - d->began;
    if (d->best)
        json_object_set_new(row, "rtt_ns", json_integer(d->best));
    if (problem)
        json_object_set_new(row, "problem", json_string(problem));
    else
        json_object_set_new(row, "bytes_per_s",
                            json_real((double)d->back * (double)LOAD * 1e9 /
                                      (double)(took > 0 ? took : 1)));
    json_array_append_new(d->links, row);
    d->target_at++;
    next_link(d);
}

static void send_beat(struct far__doctor *d, bool loaded)
{
    struct far__member *m = far__member_by_number(d->node, d->targets[d->target_at]);
    struct rwf_err err = RWF_ERR_INIT;
    struct far__peer *p = m ? far__peer_to(d->node, m, &err) : NULL;
    Wire__Beat b = WIRE__BEAT__INIT;
    if (!p) {
        say_link(d, m ? err.text : "it is gone");
        return;
    }
    b.sent = d->mark + (loaded ? PINGS : d->pings);
    b.load = (ProtobufCBinaryData){loaded ? LOAD : 0, loaded ? d->load : NULL};
    if (!loaded)
        d->began = rwf_clock_mono();
    FAR__PEER_SEND(p, WIRE_BEAT, &b);
}

static void on_ping(struct far__doctor *d)
{
    int64_t took = rwf_clock_mono() - d->began;
    /* The first one may have opened the link. */
    if (d->pings > 0 && (!d->best || took < d->best))
        d->best = took;
    if (++d->pings < PINGS) {
        send_beat(d, false);
        return;
    }
    size_t at = d->target_at;
    d->began = rwf_clock_mono();
    for (d->sent = 0; d->sent < WINDOW && d->target_at == at; d->sent++)
        send_beat(d, true);
}

static void on_load(struct far__doctor *d)
{
    bool more = d->sent < LOADS_MAX && rwf_clock_mono() - d->began < LOAD_TIME;
    d->back++;
    if (more) {
        d->sent++;
        send_beat(d, true);
    } else if (d->back == d->sent) {
        say_link(d, NULL);
    }
}

void far__on_peer_beat(struct far__peer *p, struct wire_message *m)
{
    const Wire__Beat *b = (const Wire__Beat *)m->body;
    struct far__doctor *d = p->node->far->doctor;
    Wire__Beat reply = WIRE__BEAT__INIT;
    if (!p->ours) {
        reply.sent = b->sent;
        FAR__PEER_SEND(p, WIRE_BEAT, &reply);
    } else if (d && d->targets && b->sent == d->mark + d->pings && d->pings < PINGS) {
        on_ping(d);
    } else if (d && d->targets && b->sent == d->mark + PINGS && d->pings == PINGS) {
        on_load(d);
    }
}

static void on_link_time(uv_timer_t *t)
{
    struct far__doctor *d = t->data;
    if (d->target_at < d->target_count)
        say_link(d, d->pings ? "it is too slow to be measured"
                             : "it cannot be reached: its port is closed to us");
}

static void next_link(struct far__doctor *d)
{
    if (d->target_at >= d->target_count || d->node->stopping) {
        finish(d);
        return;
    }
    const struct far__member *m =
        far__member_by_number(d->node, d->targets[d->target_at]);
    free(d->to);
    d->to = rwf_xstrdup(m ? m->name : "a node that is gone");
    d->mark += 1u << 16;
    d->pings = d->sent = d->back = 0;
    d->best = 0;
    uv_update_time(d->node->loop);
    uv_timer_start(&d->timer, on_link_time, LINK_MS, 0);
    send_beat(d, false);
}

static int by_number(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* All others of a small cluster; of a large one the next ones after us in the round. */
static void set_targets(struct far__doctor *d)
{
    struct node *n = d->node;
    struct far__member *m;
    size_t count = 0, cap = 0, after = 0;
    uint32_t *all = NULL, own = 0;
    for (m = far__members_first(n); m; m = LIST_NEXT(m, link)) {
        if (strcmp(m->name, n->name) == 0)
            own = m->number;
        else if (!m->driver && m->host)
            *RWF_PUSH(all, count, cap) = m->number;
    }
    if (count)
        qsort(all, count, sizeof(*all), by_number);
    while (after < count && all[after] < own)
        after++;
    d->target_count = count < LINKS_ALL ? count : LINKS_SOME;
    d->targets = rwf_xcalloc(d->target_count + 1, sizeof(*d->targets));
    for (size_t i = 0; i < d->target_count; i++)
        d->targets[i] = all[(after + i) % count];
    free(all);
}

static void measure(struct far__doctor *d)
{
    d->links = json_array();
    json_object_set_new(d->answer, "links", d->links);
    d->load = rwf_xcalloc(1, LOAD);
    d->mark = (uint64_t)rwf_clock_mono() << 16;
    set_targets(d);
    next_link(d);
}

/* --- the child --- */

static void take_findings(struct far__doctor *d)
{
    json_t *said = json_loads(d->said.data ? d->said.data : "", 0, NULL);
    const json_t *findings = json_object_get(json_object_get(said, "data"), "findings");
    if (findings)
        json_object_set(d->answer, "findings", (json_t *)findings);
    else
        json_object_set_new(d->answer, "problem",
                            json_string("raywf doctor gave no answer there"));
    json_decref(said);
}

static void on_child_time(uv_timer_t *t)
{
    struct far__doctor *d = t->data;
    if (d->running)
        uv_process_kill(&d->child, SIGKILL);
}

static void on_child_end(uv_process_t *p, int64_t status, int signal)
{
    struct far__doctor *d = p->data;
    (void)status;
    (void)signal;
    d->running = false;
    uv_close((uv_handle_t *)p, on_closed);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    (void)h;
    *buf = uv_buf_init(rwf_xmalloc(size), (unsigned)size);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct far__doctor *d = s->data;
    if (n > 0 && d->said.len < SAID_MAX)
        rwf_str_addn(&d->said, buf->base, (size_t)n);
    free(buf->base);
    if (n >= 0)
        return;
    uv_timer_stop(&d->timer);
    uv_close((uv_handle_t *)s, on_closed);
    take_findings(d);
    measure(d);
}

static int start_child(struct far__doctor *d, const char *about)
{
    char *self = rwf_fs_self();
    char *args[] = {self,
                    (char *)"doctor",
                    (char *)"--format",
                    (char *)"json",
                    *about ? (char *)"--resolve" : NULL,
                    (char *)about,
                    NULL};
    uv_stdio_container_t io[] = {{.flags = UV_IGNORE},
                                 {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
                                  .data.stream = (uv_stream_t *)&d->pipe},
                                 {.flags = UV_IGNORE}};
    uv_process_options_t o = {.exit_cb = on_child_end,
                              .file = self,
                              .args = args,
                              .cwd = d->node->folder,
                              .stdio = io,
                              .stdio_count = (int)RWF_COUNT(io)};
    uv_pipe_init(d->node->loop, &d->pipe, 0);
    d->pipe.data = d->child.data = d;
    d->open += 2;
    int rc = uv_spawn(d->node->loop, &d->child, &o);
    d->running = rc == 0;
    if (rc == 0)
        rc = uv_read_start((uv_stream_t *)&d->pipe, on_alloc, on_read);
    free(self);
    return rc;
}

void far__doctor_close(struct node *n)
{
    struct far__doctor *d = n->far->doctor;
    if (d && d->running)
        uv_process_kill(&d->child, SIGKILL); /* the rest follows */
    else if (d && d->targets)
        finish(d);
}

void far__doctor(struct node *n, const Wire__List *m)
{
    struct far__doctor *d = n->far->doctor;
    if (!d) {
        d = rwf_xcalloc(1, sizeof(*d));
        d->node = n;
        n->open++;
        n->far->doctor = d;
        d->open = 1;
        uv_timer_init(n->loop, &d->timer);
        d->timer.data = d;
        d->answer = json_pack("{s:s, s:I, s:I}", "node", n->name, "clock_offset_ns",
                              (json_int_t)node__clock_offset(n), "head_rtt_ns",
                              (json_int_t)node__head_rtt(n));
        *RWF_PUSH(d->requests, d->request_count, d->request_cap) = m->request;
        uv_timer_start(&d->timer, on_child_time, CHILD_MS, 0);
        if (start_child(d, m->about)) {
            uv_close((uv_handle_t *)&d->pipe, on_closed);
            uv_close((uv_handle_t *)&d->child, on_closed);
            take_findings(d);
            measure(d);
        }
    } else {
        *RWF_PUSH(d->requests, d->request_count, d->request_cap) = m->request;
    }
}
