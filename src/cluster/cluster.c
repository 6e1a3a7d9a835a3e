/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cluster/cluster.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/digest.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/inside.h"

#define TIMEOUT (120 * RWF_NS_PER_S)
#define ASK_TIMEOUT (5 * RWF_NS_PER_S)
#define END_TIMEOUT (20 * RWF_NS_PER_S)
#define NOTICE (5 * RWF_NS_PER_S) /* then who waits is told for whom */
#define LOOK_EVERY (30 * RWF_NS_PER_MS)

static const struct {
    int (*up)(struct cluster *c, struct rwf_err *err);
    void (*down)(struct cluster *c); /* what its head could not end; may be NULL */
} kinds[] = {
    [CLUSTER_ADDRESS] = {NULL, NULL},
    [CLUSTER_HOSTS] = {cluster__hosts_up, cluster__hosts_down},
    [CLUSTER_SLURM] = {cluster__slurm_up, cluster__slurm_down},
    [CLUSTER_SIZE] = {cluster__local_up, NULL},
};

/* --- small things --- */

volatile sig_atomic_t cluster__stop;

static void on_signal(int number)
{
    cluster__stop = number;
}

int cluster__check_stop(struct rwf_err *err)
{
    return cluster__stop ? rwf_fail(err, RWF_E_STOPPED,
                                    "stopped while the cluster was brought up")
                         : 0;
}

void cluster__say(const struct cluster *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *line = rwf_xvasprintf(fmt, ap);
    va_end(ap);
    if (c->options.say)
        c->options.say(c->options.ctx, line);
    else
        rwf_log(RWF_LOG_INFO, "cluster", "%s", line);
    free(line);
}

int64_t cluster__timeout(const struct cluster *c)
{
    return c->options.timeout > 0 ? c->options.timeout : TIMEOUT;
}

static void rest(void)
{
    nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY}, NULL);
}

/* --- who has joined --- */

static bool is_alive(const json_t *nodes, const char *name)
{
    const json_t *row;
    size_t i;
    json_array_foreach((json_t *)nodes, i, row) {
        const char *n = cluster__text(row, "node"),
                   *state = cluster__text(row, "state");
        if (n && state && strcmp(n, name) == 0)
            return strcmp(state, "away") != 0;
    }
    return false;
}

/* The first that is missing; NULL: all are there. */
static const char *missing(const struct cluster *c, const json_t *nodes)
{
    for (size_t i = 0; i < c->count; i++)
        if (!is_alive(nodes, c->nodes[i].name))
            return c->nodes[i].name;
    return NULL;
}

static int wait_joined(struct cluster *c, struct rwf_err *err)
{
    int64_t deadline = rwf_clock_mono() + cluster__timeout(c);
    int64_t notice = rwf_clock_mono() + NOTICE;
    const char *who = "";
    struct cluster_at at;
    if (cluster_at_open(&at, c->address, c->key, err))
        return -1;
    int rc = 0;
    while (rc == 0 && who) {
        json_t *nodes = cluster_ask_list(&at, "nodes", "", ASK_TIMEOUT, err);
        rc = nodes ? cluster__check_stop(err)
                   : rwf_wrap(err, "nodes were starting, and their head ended");
        who = nodes ? missing(c, nodes) : NULL;
        json_decref(nodes);
        if (rc == 0 && who && rwf_clock_mono() >= deadline)
            rc = rwf_fail(
                err, RWF_E_ENV,
                "node %s was started and has not joined the head at %s: does a "
                "firewall keep it away? Name a network that both reach with "
                "`interface`; its log is on its machine below /tmp",
                who, c->address);
        if (rc == 0 && who && notice && rwf_clock_mono() >= notice) {
            cluster__say(c, "node %s was started and has not joined yet", who);
            notice = 0;
        }
        if (rc == 0 && who)
            rest();
    }
    cluster_at_close(&at);
    if (c->kind != CLUSTER_SLURM)
        c->joined = c->count;
    return rc;
}

/* --- down --- */

/* All nodes and the head, as long as that answers: true. */
static bool end_through_head(struct cluster *c)
{
    struct cluster_at at;
    Wire__NodeDrain d = WIRE__NODE_DRAIN__INIT;
    int64_t deadline = rwf_clock_mono() + END_TIMEOUT;
    d.end = true;
    if (!c->address || cluster_at_open(&at, c->address, c->key, NULL))
        return false;
    json_t *done = cluster_ask(&at, WIRE_NODE_DRAIN, &d.base, ASK_TIMEOUT, NULL),
           *nodes;
    bool ended = done != NULL;
    json_decref(done);
    while (ended && (nodes = cluster_ask_list(&at, "nodes", "", ASK_TIMEOUT, NULL))) {
        json_decref(nodes);
        ended = rwf_clock_mono() < deadline;
        if (ended)
            rest();
    }
    cluster_at_close(&at);
    return ended;
}

void cluster_down(struct cluster *c)
{
    if (!c)
        return;
    cluster__guard_stop(c);
    if (c->folder && !c->stays) {
        cluster__tls_use(c);
        bool ended = end_through_head(c);
        if (kinds[c->kind].down && (!ended || c->kind == CLUSTER_SLURM))
            kinds[c->kind].down(c);
        cluster__local_down(c);
        cluster__state_remove(c);
    }
    cluster__free(c);
}

void cluster_leave(struct cluster *c)
{
    cluster__free(c);
}

/* --- what was left --- */

struct sweep {
    const char *digest; /* of what is wanted; NULL: nothing is */
    struct cluster *found;
    size_t count;
};

static bool answers(struct cluster *c)
{
    struct cluster_at at;
    if (!c->address || cluster_at_open(&at, c->address, c->key, NULL))
        return false;
    json_t *nodes = cluster_ask_list(&at, "nodes", "", ASK_TIMEOUT, NULL);
    const json_t *row;
    size_t i, alive = 0;
    json_array_foreach(nodes, i, row)
        alive += cluster__text(row, "state") &&
                 strcmp(cluster__text(row, "state"), "alive") == 0;
    /* Of an allocation the number of nodes is not known before. */
    bool good = nodes && alive > 0 && missing(c, nodes) == NULL;
    c->joined = alive;
    json_decref(nodes);
    cluster_at_close(&at);
    return good;
}

static void sweep_one(void *ctx, struct cluster *c)
{
    struct sweep *s = ctx;
    cluster__tls_use(c);
    const char *digest = cluster__text(c->spec, "digest");
    if (s->digest && !s->found && digest && strcmp(digest, s->digest) == 0 &&
        answers(c)) {
        s->found = c;
        return;
    }
    s->count++;
    cluster_down(c);
}

size_t cluster_sweep(const struct cluster_options *o)
{
    struct sweep s = {0};
    cluster__state_each(o, sweep_one, &s);
    return s.count;
}

/* --- up --- */

static struct cluster *create(const struct cluster_options *o)
{
    struct cluster *c = rwf_xcalloc(1, sizeof(*c));
    c->options = *o;
    c->lock = -1;
    c->root = o->root ? rwf_fs_absolute(o->root) : NULL;
    c->program = o->program ? rwf_xstrdup(o->program) : rwf_fs_self();
    return c;
}

static int set_folder(struct cluster *c, struct rwf_err *err)
{
    if (c->options.folder) {
        c->folder = rwf_fs_absolute(c->options.folder);
        c->id = cluster__id_make();
        c->stays = true;
    } else if (!c->root) {
        return rwf_fail(err, RWF_E_USAGE, "only `address` can be joined from here");
    } else if (cluster__state_create(c, err) || cluster__state_write(c, err)) {
        return -1;
    }
    c->key = rwf_fs_join(c->folder, "head/key");
    return 0;
}

static int bring_up(struct cluster *c, struct rwf_err *err)
{
    if (set_folder(c, err))
        return -1;
    int rc = kinds[c->kind].up(c, err) || wait_joined(c, err) ? -1 : 0;
    if (rc == 0)
        rc = cluster__state_write(c, err);
    return rc;
}

/* A killed run's, when it is what is wanted now. */
static struct cluster *left_over(const struct cluster *c)
{
    char digest[RWF_DIGEST_LEN];
    rwf_digest_json(c->spec, digest);
    struct sweep s = {.digest = digest};
    cluster__state_each(&c->options, sweep_one, &s);
    return s.found;
}

static struct cluster *up(struct cluster *c, struct rwf_err *err)
{
    struct cluster *old = c->root ? left_over(c) : NULL;
    if (old) {
        cluster__say(old, "the cluster at %s is there already", old->address);
        cluster__free(c);
        cluster__tls_use(old);
        return old;
    }
    cluster__tls_use(c);
    if (bring_up(c, err) == 0) {
        cluster__say(c, "cluster of %zu node%s at %s", c->joined,
                     c->joined == 1 ? "" : "s", c->address);
        return c;
    }
    if (c->stays) {
        cluster__local_down(c);
        cluster__free(c);
    } else {
        cluster_down(c);
    }
    return NULL;
}

struct cluster *cluster_up(const json_t *spec, const struct cluster_options *o,
                           struct rwf_err *err)
{
    struct sigaction act = {.sa_handler = on_signal}, old[2];
    struct cluster *c = create(o);
    int rc = cluster__spec_read(c, spec, err);
    cluster__tls_use(c);
    if (rc || cluster__tls_check(c, err)) {
        cluster__free(c);
        return NULL;
    }
    if (c->kind == CLUSTER_ADDRESS)
        return c;
    cluster__stop = 0;
    sigaction(SIGINT, &act, &old[0]);
    sigaction(SIGTERM, &act, &old[1]);
    c = up(c, err);
    if (c && !c->stays)
        cluster__guard_start(c);
    sigaction(SIGINT, &old[0], NULL);
    sigaction(SIGTERM, &old[1], NULL);
    return c;
}

const char *cluster_address(const struct cluster *c)
{
    return c->address;
}

const char *cluster_key(const struct cluster *c)
{
    return c->key;
}

bool cluster_is_ours(const struct cluster *c)
{
    return c->folder != NULL;
}

size_t cluster_size(const struct cluster *c)
{
    return c->joined;
}
