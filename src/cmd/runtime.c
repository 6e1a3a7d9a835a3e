/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "head/head.h"
#include "node/machine.h"

/* --- its folder --- */

#define FOLDER_PREFIX "raywf-session-"

/* A lock that ends with its process: a folder whose lock is free is nobody's. */
static int lock_folder(const char *folder)
{
    char *path = rwf_fs_join(folder, "alive");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    free(path);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB)) {
        close(fd);
        return -1;
    }
    return fd;
}

static void sweep(const char *parent)
{
    DIR *d = opendir(parent);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        struct stat st;
        if (!rwf_starts_with(e->d_name, FOLDER_PREFIX))
            continue;
        char *path = rwf_fs_join(parent, e->d_name);
        char *lock = rwf_fs_join(path, "alive");
        /* Only what is whole and ours: one that is being made has no lock yet. */
        if (!lstat(path, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
            rwf_fs_is_file(lock)) {
            int fd = lock_folder(path);
            if (fd >= 0) {
                rwf_fs_rmtree(path, NULL);
                close(fd);
            }
        }
        free(lock);
        free(path);
    }
    if (d)
        closedir(d);
}

char *cmd_runtime_folder(struct rwf_err *err)
{
    const char *parent = getenv("XDG_RUNTIME_DIR");
    if (!parent || access(parent, W_OK | X_OK))
        parent = getenv("TMPDIR");
    if (!parent || !*parent)
        parent = "/tmp";
    sweep(parent);
    char *folder = rwf_xasprintf("%s/" FOLDER_PREFIX "XXXXXX", parent);
    /* The lock stays open until this process ends, however it does. */
    if (mkdtemp(folder) && lock_folder(folder) >= 0)
        return folder;
    rwf_fail(err, errno, "cannot make a folder in %s: %s", parent, strerror(errno));
    free(folder);
    return NULL;
}

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

/* --- looking first --- */

struct probe {
    struct rwf_err *err;
    json_t *nodes;
};

static void probe_message(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct probe *p = ctx;
    if (m->type == WIRE_LISTED && !p->nodes)
        p->nodes = json_loads(((const Wire__Listed *)m->body)->json, 0, NULL);
    wire_link_close(link);
}

static void probe_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    struct probe *p = ctx;
    (void)link;
    if (p->nodes)
        return;
    if (err && p->err)
        *p->err = *err;
    else
        rwf_fail(p->err, RWF_E_ENV, "what listens there is no head");
}

json_t *cmd_runtime_probe(const char *host, int port, const uint8_t *key,
                          struct rwf_err *err)
{
    struct probe p = {.err = err};
    Wire__List list = WIRE__LIST__INIT;
    uv_loop_t loop;
    list.what = (char *)"nodes";
    uv_loop_init(&loop);
    struct wire_link *l = wire_link_connect(&loop, host, port, key, err);
    if (l) {
        wire_link_handle(l, &(struct wire_handler){&p, probe_message, probe_closed});
        wire_link_send(l, WIRE_LIST, &list.base, NULL, 0);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return p.nodes;
}

/* --- life --- */

struct runtime {
    uv_loop_t loop;
    struct head *head;
    struct node *node;
    uv_signal_t signals[2];
    uv_poll_t driver;
    int driver_fd;
    bool stopping;
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
    node_destroy(r->node);
    r->node = NULL;
    head_destroy(r->head);
    r->head = NULL;
    for (size_t i = 0; i < RWF_COUNT(r->signals); i++)
        close_one((uv_handle_t *)&r->signals[i], NULL);
    if (r->driver_fd >= 0)
        close_one((uv_handle_t *)&r->driver, NULL);
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

static void on_signal(uv_signal_t *s, int number)
{
    (void)number;
    stop(s->data);
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

static int begin(struct runtime *r, const struct cmd_runtime_options *o,
                 struct rwf_err *err)
{
    struct head_options h = {.folder = o->head_folder, .listen = o->listen};
    struct wire_link *a, *b;
    if (o->head && !(r->head = head_create(&r->loop, &h, err)))
        return -1;
    if (o->node && !(r->node = node_create(&r->loop, o->node, err)))
        return -1;
    if (r->head && r->node) {
        wire_link_pair(&r->loop, &a, &b);
        head_attach(r->head, a);
        node_attach_head(r->node, b);
    } else if (r->node) {
        node_reconnect(r->node, o->connect, o->port, o->key);
    }
    if (o->driver >= 0 && watch_driver(r, o->driver, err))
        return -1;
    return o->ready ? o->ready(o->ctx, r->node ? node_address(r->node) : NULL,
                               r->head ? head_port(r->head) : 0, err)
                    : 0;
}

int cmd_runtime_run(const struct cmd_runtime_options *o, struct rwf_err *err)
{
    struct runtime r = {.driver_fd = -1};
    uv_loop_init(&r.loop);
    watch_signals(&r);
    int rc = begin(&r, o, err);
    if (rc)
        on_stopped(&r);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    if (r.driver_fd >= 0)
        close(r.driver_fd);
    if (uv_loop_close(&r.loop))
        rwf_log(RWF_LOG_WARN, "runtime", "something was left open at the end");
    return rc;
}
