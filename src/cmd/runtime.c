/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/runtime.h"
#include "cmd/slurm_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "far/far.h"
#include "head/head.h"
#include "job/server.h"
#include "node/machine.h"

/* --- options --- */

int cmd_runtime_size(const struct cmd_call *call, const char *name, int64_t *ret,
                     struct rwf_err *err)
{
    const char *text = cmd_text(call, name, NULL);
    char *end;
    *ret = 0;
    if (!text)
        return 0;
    long long plain = strtoll(text, &end, 10);
    if (!*end && end != text && plain > 0) {
        *ret = plain;
        return 0;
    }
    if (rwf_size_parse(text, ret, err) || *ret <= 0) {
        rwf_fail(err, RWF_E_USAGE, "--%s %s: a size is expected, such as 4GiB", name,
                 text);
        return -1;
    }
    return 0;
}

int cmd_runtime_machine(const struct cmd_call *call, struct schedule_machine *m,
                        struct rwf_err *err)
{
    const char *cpu = cmd_text(call, "cpu", NULL);
    char *end;
    node_machine(m);
    if (!cpu)
        return 0;
    m->cpu = strtod(cpu, &end);
    if (*end || end == cpu || !isfinite(m->cpu) || m->cpu < 0 || m->cpu > 1e6)
        return rwf_fail(err, RWF_E_USAGE, "--cpu %s: a number from 0 up is expected",
                        cpu);
    return 0;
}

/* --- life --- */

#define WATCH_MS 500
#define SETTLE (3 * RWF_NS_PER_S) /* as the head itself waits for its nodes */

struct runtime {
    uv_loop_t loop;
    struct head *head;
    struct node *node;
    struct cmd_slurm_watch *slurm;
    struct job_server *jobs;
    struct job_keeper *keeper; /* of jobs, which ends it */
    uv_signal_t signals[2];
    uv_poll_t driver;
    int driver_fd;
    const struct cmd_runtime_options *options;
    uv_timer_t watch; /* of who is away, or not there */
    int64_t used;     /* when somebody last used the head */
    bool stopping, draining;
    char host[INET6_ADDRSTRLEN], interface[IF_NAMESIZE];
    uint8_t key[WIRE_KEY_LEN];
};

static void close_one(uv_handle_t *h, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void on_stopped(void *ctx)
{
    struct runtime *r = ctx;
    cmd_slurm_watch_close(r->slurm);
    r->slurm = NULL;
    node_destroy(r->node);
    r->node = NULL;
    job_server_destroy(r->jobs, true);
    r->jobs = NULL;
    r->keeper = NULL;
    head_destroy(r->head);
    r->head = NULL;
    for (size_t i = 0; i < RWF_COUNT(r->signals); i++)
        close_one((uv_handle_t *)&r->signals[i], NULL);
    if (r->driver_fd >= 0)
        close_one((uv_handle_t *)&r->driver, NULL);
    close_one((uv_handle_t *)&r->watch, NULL);
}

static void stop(struct runtime *r)
{
    if (r->stopping)
        return;
    r->stopping = true;
    if (r->driver_fd >= 0)
        uv_poll_stop(&r->driver);
    if (r->node)
        node_stop(r->node, on_stopped, r);
    else
        on_stopped(r);
}

static void on_drained(void *ctx)
{
    stop(ctx);
}

/* Told to end: what runs may go on for a moment. A second word ends that. */
static void end(struct runtime *r)
{
    bool again = r->draining;
    r->draining = true;
    if (r->node && !again && !r->stopping)
        node_drain(r->node, r->options->drain, on_drained, r);
    else
        stop(r);
}

static void on_end(void *ctx)
{
    end(ctx);
}

static void on_signal(uv_signal_t *s, int number)
{
    (void)number;
    end(s->data);
}

/* --- nobody needs it --- */

static void end_nodes(struct runtime *r)
{
    rwf_log(RWF_LOG_INFO, "runtime",
            "nobody has used this cluster for a while: it ends");
    head_end(r->head);
}

static void on_watch(uv_timer_t *t)
{
    struct runtime *r = t->data;
    const struct cmd_runtime_options *o = r->options;
    int64_t now = rwf_clock_mono();
    if (o->orphan > 0 && r->node && node_head_away(r->node) >= o->orphan) {
        rwf_log(RWF_LOG_WARN, "runtime",
                "the head is gone for too long: this node ends");
        stop(r);
    }
    if (r->head &&
        (head_in_use(r->head) || (r->keeper && job_keeper_busy(r->keeper)) || !r->used))
        r->used = now;
    if (o->idle > 0 && r->head && now - r->used >= o->idle) {
        r->used = now;
        end_nodes(r);
    }
}

static void watch(struct runtime *r)
{
    uv_timer_init(&r->loop, &r->watch);
    r->watch.data = r;
    if (r->options->orphan > 0 || r->options->idle > 0)
        uv_timer_start(&r->watch, on_watch, WATCH_MS, WATCH_MS);
    uv_unref((uv_handle_t *)&r->watch);
}

static void on_driver(uv_poll_t *p, int status, int events)
{
    if (status < 0 || (events & UV_DISCONNECT))
        stop(p->data);
}

static int watch_driver(struct runtime *r, int fd, struct rwf_err *err)
{
    /* The node reads it; we only look whether it is still there. */
    r->driver_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (r->driver_fd < 0)
        return rwf_fail(err, errno, "descriptor %d: %s", fd, strerror(errno));
    uv_poll_init(&r->loop, &r->driver, r->driver_fd);
    r->driver.data = r;
    uv_poll_start(&r->driver, UV_DISCONNECT, on_driver);
    return node_attach_client(r->node, fd, err);
}

static void watch_signals(struct runtime *r)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < RWF_COUNT(numbers); i++) {
        uv_signal_init(&r->loop, &r->signals[i]);
        r->signals[i].data = r;
        uv_signal_start(&r->signals[i], on_signal, numbers[i]);
    }
}

/* --- where others reach the node --- */

/* Beside its head: where that listens, with its key. Else: from where it reaches it. */
static int set_peer(struct runtime *r, const struct cmd_runtime_options *o,
                    struct node_options *n, struct rwf_err *err)
{
    int rc = 0;

    if (n->peer_host || !(o->listen || o->connect))
        return 0;
    if (o->listen) {
        char *key = rwf_fs_join(o->head_folder, "key"), *host = NULL;
        int port;
        wire_address_split(o->listen, &host, &port); /* the head listens there */
        rc = wire_key_load(key, false, r->key, err) ||
             wire_route_host(host, r->host, r->interface, err);
        free(host);
        free(key);
    } else {
        memcpy(r->key, o->key, sizeof(r->key));
        rc = wire_route_host(o->connect, r->host, r->interface, err);
    }
    n->peer_host = r->host;
    n->interface = n->interface ? n->interface : r->interface;
    n->key = r->key;
    return rc ? -1 : 0;
}

/* --- jobs --- */

static bool on_job(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct runtime *r = ctx;
    return r->jobs && job_server_take(r->jobs, link, m);
}

/* A node that work can go to: drivers of runs are nodes without resources. */
static bool has_node(void *ctx)
{
    const struct runtime *r = ctx;
    json_t *nodes = head_list(r->head, "nodes", ""), *row;
    bool found = false;
    size_t i;
    json_array_foreach(nodes, i, row) {
        const char *state = json_string_value(json_object_get(row, "state"));
        found = found || (state && strcmp(state, "alive") == 0 &&
                          json_number_value(json_object_get(row, "cpu")) > 0);
    }
    json_decref(nodes);
    return found;
}

/* A head that others can reach takes jobs: HEAD_FOLDER/jobs. */
static int open_jobs(struct runtime *r, const struct cmd_runtime_options *o,
                     struct rwf_err *err)
{
    if (!r->head || !o->head_folder || !o->listen)
        return 0;
    char *folder = rwf_fs_join(o->head_folder, "jobs"), *program = rwf_fs_self();
    const struct job_keeper_options k = {.folder = folder,
                                         .program = program,
                                         .most = o->jobs,
                                         .ready = has_node,
                                         .ctx = r,
                                         .settle = SETTLE};
    r->keeper = job_keeper_open(&r->loop, &k, err);
    if (r->keeper) {
        r->jobs = job_server_create(&r->loop);
        job_server_start(r->jobs, r->keeper);
    }
    free(program);
    free(folder);
    return r->keeper ? 0 : -1;
}

/* When `ready` has noted where the head is: jobs find it there, too. */
static int start_jobs(struct runtime *r, const struct cmd_runtime_options *o,
                      struct rwf_err *err)
{
    if (!r->keeper)
        return 0;
    char *path = rwf_fs_join(o->head_folder, "address");
    char *key = rwf_fs_join(o->head_folder, "key");
    char *address = rwf_fs_read(path, PATH_MAX, NULL, err);
    if (address)
        job_keeper_start(r->keeper, address, key);
    int rc = address ? 0 : -1;
    free(address);
    free(key);
    free(path);
    return rc;
}

static int begin(struct runtime *r, const struct cmd_runtime_options *o,
                 struct rwf_err *err)
{
    struct head_options h = {.folder = o->head_folder,
                             .listen = o->listen,
                             .end = on_end,
                             .other = on_job,
                             .other_ctx = r};
    struct wire_link *a, *b;
    if (o->head && !(r->head = head_create(&r->loop, &h, err)))
        return -1;
    struct node_options n = o->node ? *o->node : (struct node_options){0};
    n.far = &far_nodes;
    if (o->node &&
        (set_peer(r, o, &n, err) || !(r->node = node_create(&r->loop, &n, err))))
        return -1;
    if (r->node) {
        node_on_end(r->node, on_end, r);
        r->slurm = cmd_slurm_watch_create(&r->loop, r->node);
    }
    if (r->head && r->node) {
        wire_link_pair(&r->loop, &a, &b);
        head_attach(r->head, a);
        node_attach_head(r->node, b);
    } else if (r->node) {
        node_reconnect(r->node, o->connect, o->port, o->key);
    }
    if (o->driver >= 0 && watch_driver(r, o->driver, err))
        return -1;
    if (open_jobs(r, o, err))
        return -1;
    if (o->ready && o->ready(o->ctx, r->node ? node_address(r->node) : NULL,
                             r->head ? head_port(r->head) : 0, err))
        return -1;
    return start_jobs(r, o, err);
}

int cmd_runtime_run(const struct cmd_runtime_options *o, struct rwf_err *err)
{
    struct runtime r = {.driver_fd = -1, .options = o};
    uv_loop_init(&r.loop);
    watch_signals(&r);
    watch(&r);
    int rc = begin(&r, o, err);
    if (rc)
        on_stopped(&r);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    if (r.driver_fd >= 0)
        close(r.driver_fd);
    explicit_bzero(r.key, sizeof(r.key));
    if (uv_loop_close(&r.loop))
        rwf_log(RWF_LOG_WARN, "runtime", "something was left open at the end");
    return rc;
}
