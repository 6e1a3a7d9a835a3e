/* SPDX-License-Identifier: Apache-2.0
 *
 * Ends the daemons that raywf start has made below --dir: nodes first, then the head.
 * With --all those of the whole cluster, wherever they are, through its head.
 */
#include "config.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "cmd/cmd.h"
#include "cmd/daemon.h"
#include "cmd/head_find.h"
#include "run/layout.h"

#define ASK_TIMEOUT (5 * RWF_NS_PER_S)
#define LOOK_EVERY (50 * RWF_NS_PER_MS)
#define LEAST (5 * RWF_NS_PER_S) /* for each, also when another has used up the time */

struct shutdown {
    struct cmd_call *call;
    int64_t deadline;
    bool force;
    bool told; /* what ends was said already */
    json_t *ended;
};

static int end_one(struct shutdown *s, const char *folder, const char *what,
                   struct rwf_err *err)
{
    pid_t pid = cmd_daemon_owner(folder);
    int64_t left = s->deadline - rwf_clock_mono();
    int rc = cmd_daemon_end(folder, left > LEAST ? left : LEAST, s->force, err);
    if (rc <= 0 || s->told)
        return rc < 0 ? -1 : 0;
    json_array_append_new(
        s->ended, json_pack("{s:o, s:i}", "what", cmd_string(what), "pid", (int)pid));
    if (!s->call->json && !s->call->quiet)
        printf("%s %s (process %d)\n", rc == 2 ? "killed" : "ended", what, (int)pid);
    return 0;
}

/* One that does not end keeps no other from it; the first of them is the error. */
static int end_nodes(struct shutdown *s, const char *dir, const char *only,
                     struct rwf_err *err)
{
    char *nodes = rwf_fs_join(dir, "nodes");
    DIR *d = opendir(nodes);
    struct dirent *e;
    int rc = 0;
    while (d && (e = readdir(d))) {
        if (*e->d_name == '.' || (only && strcmp(only, e->d_name) != 0))
            continue;
        char *folder = rwf_fs_join(nodes, e->d_name);
        char *what = rwf_xasprintf("node %s", e->d_name);
        if (end_one(s, folder, what, rc == 0 ? err : NULL) < 0)
            rc = -1;
        free(what);
        free(folder);
    }
    if (d)
        closedir(d);
    free(nodes);
    return rc;
}

/* What runs below dir: nodes, of which only one when it is named, then the head. */
static int end_here(struct shutdown *s, const char *dir, const char *only,
                    struct rwf_err *err)
{
    int rc = end_nodes(s, dir, only, err);
    if (only)
        return rc;
    char *head = rwf_fs_join(dir, "head");
    if (end_one(s, head, "head", rc == 0 ? err : NULL) < 0)
        rc = -1;
    free(head);
    return rc;
}

/* --- the whole cluster --- */

static void tell_ended(struct shutdown *s, const json_t *nodes)
{
    const json_t *row;
    size_t i;
    json_array_foreach((json_t *)nodes, i, row) {
        char *what =
            rwf_xasprintf("node %s", json_string_value(json_object_get(row, "node")));
        json_array_append_new(s->ended, json_pack("{s:s}", "what", what));
        if (!s->call->json && !s->call->quiet)
            printf("ended %s\n", what);
        free(what);
    }
    json_array_append_new(s->ended, json_pack("{s:s}", "what", "head"));
    if (!s->call->json && !s->call->quiet)
        printf("ended head\n");
}

/* The head ends last: when it answers no more, all have ended. */
static int wait_gone(struct shutdown *s, const struct cluster_at *at,
                     struct rwf_err *err)
{
    json_t *nodes;
    while ((nodes = cluster_ask_list(at, "nodes", "", ASK_TIMEOUT, NULL)) != NULL) {
        size_t left = json_array_size(nodes);
        json_decref(nodes);
        if (rwf_clock_mono() >= s->deadline)
            return rwf_fail(err, RWF_E_DEADLINE,
                            "the head at %s:%d has not ended in time, %zu node%s left",
                            at->host, at->port, left, left == 1 ? " is" : "s are");
        nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY}, NULL);
    }
    return 0;
}

static int end_cluster(struct shutdown *s, struct rwf_err *err)
{
    struct cluster_at at;
    Wire__NodeDrain d = WIRE__NODE_DRAIN__INIT;
    d.end = true;
    if (cmd_head_find(s->call, &at, err))
        return -1;
    int rc = -1;
    struct rwf_err why = RWF_ERR_INIT;
    json_t *nodes = cluster_ask_list(&at, "nodes", "", ASK_TIMEOUT, &why);
    if (!nodes)
        rwf_fail(err, why.code, "%s%s", why.text,
                 cmd_head_is_named(s->call)
                     ? ""
                     : "; raywf shutdown without --all ends what runs on this machine");
    json_t *done =
        nodes ? cluster_ask(&at, WIRE_NODE_DRAIN, &d.base, ASK_TIMEOUT, err) : NULL;
    if (done)
        rc = wait_gone(s, &at, err);
    if (rc == 0)
        tell_ended(s, nodes);
    s->told = rc == 0;
    json_decref(nodes);
    json_decref(done);
    cluster_at_close(&at);
    return rc;
}

/* A head is named, or something runs here that has one. */
static bool is_cluster(const struct cmd_call *call)
{
    char *address = NULL, *key = NULL;
    if (cmd_head_is_named(call))
        return true;
    bool found = cmd_head_name(call, &address, &key, NULL) == 0;
    free(address);
    free(key);
    return found;
}

/* --- what killed runs have left --- */

static void say(void *ctx, const char *line)
{
    const struct shutdown *s = ctx;
    if (!s->call->quiet)
        fprintf(stderr, "%s\n", line);
}

/* Clusters that runs of this folder had brought up, whose process is gone. */
static void end_left(struct shutdown *s)
{
    char *root = run_root_find(".", NULL);
    struct cluster_options o = {.root = root, .say = say, .ctx = s};
    size_t count = root ? cluster_sweep(&o) : 0;
    for (size_t i = 0; i < count; i++)
        json_array_append_new(s->ended, json_pack("{s:s}", "what", "cluster of a run"));
    if (count && !s->call->json && !s->call->quiet)
        printf("ended %zu cluster%s of runs that are gone\n", count,
               count == 1 ? "" : "s");
    free(root);
}

/* --- the command --- */

static int shutdown_run(struct cmd_call *call, struct rwf_err *err)
{
    struct shutdown s = {
        .call = call, .force = cmd_given(call, "force"), .ended = json_array()};
    const char *only = cmd_text(call, "name", NULL);
    char *dir = cmd_daemon_dir(cmd_text(call, "dir", NULL), err);
    s.deadline = rwf_clock_mono() + cmd_duration(call, "timeout", 30 * RWF_NS_PER_S);
    call->data = json_pack("{s:o}", "ended", s.ended);
    if (!dir)
        return -1;
    int rc = 0;
    if (cmd_given(call, "all") && only)
        rc = rwf_fail(err, RWF_E_USAGE, "--all and --name contradict each other");
    else if (!cmd_given(call, "all") && cmd_given(call, "address"))
        rc = rwf_fail(err, RWF_E_USAGE, "--address has no effect without --all");
    else if (cmd_given(call, "all") && is_cluster(call))
        rc = end_cluster(&s, err);
    if ((rc == 0 || s.force) && !cmd_given(call, "address")) {
        if (end_here(&s, dir, only, rc == 0 ? err : NULL) < 0)
            rc = -1;
        if (!only && !cmd_given(call, "dir"))
            end_left(&s);
    }
    if (rc == 0 && only && json_array_size(s.ended) == 0)
        rc = rwf_fail(err, RWF_E_USAGE,
                      "no node named '%s' runs on this machine (in %s); raywf nodes "
                      "lists those of the cluster, raywf nodes drain empties one",
                      only, dir);
    else if (rc == 0 && json_array_size(s.ended) == 0 && !call->quiet)
        fprintf(stderr, "nothing runs in %s\n", dir);
    free(dir);
    return rc;
}

static const struct cmd_option options[] = {
    {"all", 0, CMD_FLAG, NULL, false, NULL,
     "every node of the cluster, wherever it is, and the head"},
    CMD_HEAD_OPTIONS,
    {"name", 0, CMD_TEXT, "NAME", false, NULL, "only the node of this name"},
    {"timeout", 0, CMD_DURATION, "TIME", false, "30s",
     "how long to wait for their end"},
    {"force", 0, CMD_FLAG, NULL, false, NULL,
     "kill what has not ended by then (on this machine)"},
    {0},
};

const struct cmd cmd_shutdown = {
    .name = "shutdown",
    .group = CMD_EXECUTE,
    .summary = "end the head and the nodes that raywf start has started",
    .details = "Workers end with their node; programs that used it wait for a new one. "
               "Without "
               "--all only what runs on this machine ends. Clusters that runs of this "
               "folder had "
               "brought up, and that were left when those were killed, end, too.",
    .examples = "raywf shutdown\nraywf shutdown --all --address 10.0.0.1:6379",
    .exits = "0 2 7 8",
    .options = options,
    .run = shutdown_run,
};
