/* SPDX-License-Identifier: Apache-2.0
 *
 * The nodes of a runtime or a cluster, and emptying one of them.
 */
#include "config.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cmd/alive.h"
#include "cmd/head_find.h"

#define ASK_TIMEOUT (10 * RWF_NS_PER_S)
#define DRAIN_TIMEOUT (60 * RWF_NS_PER_S)
#define LOOK_EVERY (200 * RWF_NS_PER_MS)

static const struct cmd_column columns[] = {
    {"node", "NODE", CELL_TEXT},      {"state", "STATE", CELL_TEXT},
    {"cpu", "CPU", CELL_NUMBER},      {"cpu_free", "FREE", CELL_NUMBER},
    {"memory", "MEMORY", CELL_BYTES}, {"memory_free", "FREE", CELL_BYTES},
    {"gpus", "GPUS", CELL_COUNT},     {"leases", "LEASES", CELL_NUMBER},
    {"link", "LINK", CELL_TEXT},      {0},
};

/* --- list --- */

static int list_of_head(struct cmd_call *call, struct rwf_err *err)
{
    struct cluster_at at;
    if (cmd_head_find(call, &at, err))
        return -1;
    json_t *list = cluster_ask_list(&at, "nodes", "", ASK_TIMEOUT, err);
    cluster_at_close(&at);
    if (!list)
        return -1;
    if (!call->json)
        cmd_print_table(call, list, columns, "no nodes");
    call->data = json_pack("{s:o}", "nodes", list);
    return 0;
}

/* A head that was named, or its folder; else a runtime here; else the head that runs
 * without a node.
 */
static int list(struct cmd_call *call, struct rwf_err *err)
{
    struct rwf_err first = RWF_ERR_INIT;
    if (call->operand_count == 0 && (cmd_head_is_named(call) || cmd_given(call, "dir")))
        return list_of_head(call, err);
    if (cmd_show_list(call, "nodes", columns, "no nodes", &first) == 0)
        return 0;
    if (first.code == RWF_E_NORUN && call->operand_count == 0 &&
        list_of_head(call, NULL) == 0)
        return 0;
    if (err)
        *err = first;
    return -1;
}

/* --- drain --- */

/* NULL: it is not there any more. Borrowed of nodes. */
static const json_t *row_of(const json_t *nodes, const char *name)
{
    const json_t *row;
    size_t i;
    json_array_foreach((json_t *)nodes, i, row)
        if (strcmp(json_string_value(json_object_get(row, "node")), name) == 0)
            return row;
    return NULL;
}

static int64_t left_on(const json_t *row)
{
    return row ? json_integer_value(json_object_get(row, "leases")) : 0;
}

static int wait_empty(struct cmd_call *call, const struct cluster_at *at,
                      const char *name, struct rwf_err *err)
{
    int64_t said = -1, left;
    do {
        json_t *nodes = cluster_ask_list(at, "nodes", "", ASK_TIMEOUT, err);
        if (!nodes)
            return -1;
        left = left_on(row_of(nodes, name));
        json_decref(nodes);
        if (left > 0 && left != said && !call->quiet && !call->json)
            fprintf(stderr, "%s: %lld still run%s there\n", name, (long long)left,
                    left == 1 ? "s" : "");
        said = left;
        if (left > 0)
            nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY}, NULL);
    } while (left > 0);
    return 0;
}

static int drain(struct cmd_call *call, const char *name, bool undo,
                 struct rwf_err *err)
{
    struct cluster_at at;
    Wire__NodeDrain d = WIRE__NODE_DRAIN__INIT;
    d.name = (char *)name;
    d.undo = undo;
    d.timeout = cmd_duration(call, "timeout", DRAIN_TIMEOUT);
    if (cmd_head_find(call, &at, err))
        return -1;
    json_t *done = cluster_ask(&at, WIRE_NODE_DRAIN, &d.base, ASK_TIMEOUT, err);
    int rc = done ? 0 : -1;
    if (rc == 0 && !undo && cmd_given(call, "wait"))
        rc = wait_empty(call, &at, name, err);
    cluster_at_close(&at);
    json_decref(done);
    if (rc)
        return rc;
    call->data = json_pack("{s:s, s:b}", "node", name, "draining", !undo);
    if (!call->json && !call->quiet)
        printf("%s %s\n", name,
               undo                      ? "takes work again"
               : cmd_given(call, "wait") ? "is empty"
                                         : "drains: raywf nodes shows what is left");
    return 0;
}

static int nodes_run(struct cmd_call *call, struct rwf_err *err)
{
    const char *verb = cmd_operand(call, 0, ""), *name = cmd_operand(call, 1, NULL);
    bool undo = strcmp(verb, "undrain") == 0;
    if ((undo || strcmp(verb, "drain") == 0) && !name)
        return rwf_fail(err, RWF_E_USAGE, "raywf nodes %s NAME: which node?", verb);
    if (undo || strcmp(verb, "drain") == 0)
        return drain(call, name, undo, err);
    if (name)
        return rwf_fail(err, RWF_E_USAGE,
                        "raywf nodes %s %s: drain NAME or undrain NAME is meant?", verb,
                        name);
    if (cmd_refuse(call, "timeout", "without drain", err) ||
        cmd_refuse(call, "wait", "without drain", err))
        return -1;
    return list(call, err);
}

static const struct cmd_option options[] = {
    CMD_HEAD_OPTIONS,
    {"timeout", 0, CMD_DURATION, "TIME", false, "60s",
     "drain: after it what is left on the node is ended"},
    {"wait", 'w', CMD_FLAG, NULL, false, NULL, "drain: wait until the node is empty"},
    {0},
};

const struct cmd cmd_nodes = {
    .name = "nodes",
    .group = CMD_OBSERVE,
    .summary = "list nodes and what is free on them; empty one with drain NAME",
    .details =
        "raywf nodes [RUN]: the nodes of that run's runtime; without RUN of the head "
        "that is named, else of the runtime at RAYWF_ADDRESS, else of the newest "
        "active "
        "run here, else of raywf start's node. raywf nodes drain NAME: nothing new is "
        "placed there; tasks end, actors that may restart and reservations move; raywf "
        "nodes undrain NAME takes that back.",
    .examples = "raywf nodes\n"
                "raywf nodes drain gpu2 --timeout 10m --wait\n"
                "raywf nodes undrain gpu2",
    .exits = "0 2 7 12",
    .operands = {{"RUN|drain|undrain", CMD_RUN, 0, 1}, {"NAME", CMD_TEXT, 0, 1}},
    .options = options,
    .run = nodes_run,
};
