/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf fit RECIPE: the device that the cluster has on which the recipe would be served.
 */
#include "config.h"

#include "cmd/fit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cluster/ask.h"
#include "cmd/on_cluster.h"

#define ASK (3 * RWF_NS_PER_S)

/* A card is taken before any processor, of each the one with the most memory. */
static void consider(struct fit_there *t, const char *node, const json_t *card,
                     const json_t *row)
{
    const json_t *from = card ? card : row;
    int64_t memory = json_integer_value(json_object_get(from, "memory"));
    const char *name = card ? json_string_value(json_object_get(card, "name")) : "";

    if ((t->device && !t->host && !card) ||
        (t->device && t->host == !card && memory <= t->memory))
        return;
    free(t->device);
    free(t->gpu);
    t->gpu = card ? rwf_xstrdup(name ? name : "") : NULL;
    t->device = rwf_xasprintf("%s of node %s", !card          ? "the CPU"
                                               : name && *name ? name
                                                               : "the GPU",
                              node);
    t->host = !card;
    t->memory = memory;
    t->cores = json_number_value(json_object_get(row, "cpu"));
}

static void choose(struct fit_there *t, const json_t *nodes, bool cpu)
{
    const json_t *row, *card;
    size_t i, k;

    json_array_foreach((json_t *)(uintptr_t)nodes, i, row) {
        const char *name = json_string_value(json_object_get(row, "node"));
        const char *state = json_string_value(json_object_get(row, "state"));
        if (!name || !state || strcmp(state, "alive") != 0)
            continue;
        consider(t, name, NULL, row);
        json_array_foreach(json_object_get(row, "gpus"), k, card)
            if (!cpu)
                consider(t, name, card, row);
    }
}

/* Why what is said is about this machine. */
static void instead(struct cmd_call *call, const char *why)
{
    char *text = rwf_xasprintf("%s: this machine is looked at in its place", why);

    cmd_diagnose(call, json_pack("{s:s, s:o}", "severity", "warning", "message",
                                 cmd_string(text)));
    if (!call->quiet && !call->json)
        fprintf(stderr, "%s\n", text);
    free(text);
}

static json_t *ask(const struct cmd_on_cluster *on, struct rwf_err *err)
{
    struct cluster_at at;

    if (cluster_at_open(&at, on->address, on->key, err) != 0)
        return NULL;
    json_t *nodes = cluster_ask_list(&at, "nodes", "", ASK, err);
    cluster_at_close(&at);
    return nodes;
}

int cmd_fit_there(struct cmd_call *call, const struct recipe *r, struct fit_there *ret,
                  struct rwf_err *err)
{
    struct rwf_err why = RWF_ERR_INIT;
    struct cmd_on_cluster on;
    json_t *nodes = NULL;

    *ret = (struct fit_there){0};
    if (cmd_on_cluster_at(call, r, &on, err) < 0)
        return -1;
    if (on.address && (nodes = ask(&on, &why)) == NULL)
        instead(call, why.text);
    else if (on.address)
        choose(ret, nodes, cmd_given(call, "cpu"));
    else if (on.later)
        instead(call, "what the recipe's cluster has is not known until it is up");
    if (nodes && !ret->device)
        instead(call, "the cluster has no node now");
    json_decref(nodes);
    cmd_on_cluster_free(&on);
    return 0;
}

void cmd_fit_there_free(struct fit_there *t)
{
    free(t->device);
    free(t->gpu);
}
