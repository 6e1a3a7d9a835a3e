/* SPDX-License-Identifier: Apache-2.0
 *
 * Ends the daemons that raywf start has made below --dir: nodes first, then the head.
 */
#include "config.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/daemon.h"

struct shutdown {
    struct cmd_call *call;
    int64_t deadline;
    json_t *ended;
};

static int end_one(struct shutdown *s, const char *folder, const char *what,
                   struct rwf_err *err)
{
    pid_t pid = cmd_daemon_owner(folder);
    int64_t left = s->deadline - rwf_clock_mono();
    int rc = cmd_daemon_end(folder, left > 0 ? left : 0, err);
    if (rc <= 0)
        return rc;
    json_array_append_new(
        s->ended, json_pack("{s:o, s:i}", "what", cmd_string(what), "pid", (int)pid));
    if (!s->call->json && !s->call->quiet)
        printf("ended %s (process %d)\n", what, (int)pid);
    return 0;
}

static int end_nodes(struct shutdown *s, const char *dir, const char *only,
                     struct rwf_err *err)
{
    char *nodes = rwf_fs_join(dir, "nodes");
    DIR *d = opendir(nodes);
    struct dirent *e;
    int rc = 0;
    while (d && rc == 0 && (e = readdir(d))) {
        if (*e->d_name == '.' || (only && strcmp(only, e->d_name) != 0))
            continue;
        char *folder = rwf_fs_join(nodes, e->d_name);
        char *what = rwf_xasprintf("node %s", e->d_name);
        rc = end_one(s, folder, what, err);
        free(what);
        free(folder);
    }
    if (d)
        closedir(d);
    free(nodes);
    return rc;
}

static int shutdown_run(struct cmd_call *call, struct rwf_err *err)
{
    struct shutdown s = {.call = call, .ended = json_array()};
    const char *only = cmd_text(call, "name", NULL);
    char *dir = cmd_daemon_dir(cmd_text(call, "dir", NULL), err);
    s.deadline = rwf_clock_mono() + cmd_duration(call, "timeout", 30 * RWF_NS_PER_S);
    call->data = json_pack("{s:o}", "ended", s.ended);
    if (!dir)
        return -1;
    char *head = rwf_fs_join(dir, "head");
    int rc = end_nodes(&s, dir, only, err);
    if (rc == 0 && !only)
        rc = end_one(&s, head, "head", err);
    if (rc == 0 && json_array_size(s.ended) == 0 && !call->quiet)
        fprintf(stderr, "nothing runs in %s\n", dir);
    free(head);
    free(dir);
    return rc;
}

static const struct cmd_option options[] = {
    {"dir", 0, CMD_DIR, "DIR", false, "~/.local/state/raywf", "as for raywf start"},
    {"name", 0, CMD_TEXT, "NAME", false, NULL, "only the node of this name"},
    {"timeout", 0, CMD_DURATION, "TIME", false, "30s",
     "how long to wait for their end"},
    {0},
};

const struct cmd cmd_shutdown = {
    .name = "shutdown",
    .group = CMD_EXECUTE,
    .summary = "end the head and the nodes that raywf start has started",
    .details = "Workers end with their node; programs that used it wait for a new one.",
    .exits = "0 2 7 8",
    .options = options,
    .run = shutdown_run,
};
