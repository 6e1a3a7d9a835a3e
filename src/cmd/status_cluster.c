/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/status_cluster.h"

#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "cmd/head_find.h"

#define ASK_TIMEOUT (10 * RWF_NS_PER_S)

static int64_t whole(const json_t *map, const char *key)
{
    return json_integer_value(json_object_get(map, key));
}

static double number(const json_t *map, const char *key)
{
    return json_number_value(json_object_get(map, key));
}

static size_t count_in(const json_t *nodes, const char *state)
{
    const json_t *row;
    size_t i, n = 0;
    json_array_foreach((json_t *)nodes, i, row) {
        const char *s = json_string_value(json_object_get(row, "state"));
        n += s && strcmp(s, state) == 0;
    }
    return n;
}

static void print_count(size_t count, const char *what, const char *after)
{
    printf("%zu %s%s%s", count, what, count == 1 ? "" : "s", after);
}

static void print(const struct cluster_at *at, const json_t *status,
                  const json_t *nodes)
{
    static const char *const states[] = {"alive", "draining", "drained", "away"};
    char up[RWF_UNITS_LEN], used[RWF_UNITS_LEN], all[RWF_UNITS_LEN];
    printf("head %s:%d, up %s\nnodes: ", at->host, at->port,
           rwf_duration_format(whole(status, "up_ns"), up));
    const char *between = "";
    for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++) {
        size_t n = count_in(nodes, states[i]);
        if (n)
            printf("%s%zu %s", between, n, states[i]);
        if (n)
            between = ", ";
    }
    printf("%s\nin use: %g of %g cores, %s of %s", *between ? "" : "none",
           number(status, "cpu_used"), number(status, "cpu"),
           rwf_size_format((int64_t)number(status, "memory_used"), used),
           rwf_size_format((int64_t)number(status, "memory"), all));
    if (number(status, "gpu") > 0)
        printf(", %g of %g GPUs", number(status, "gpu_used"), number(status, "gpu"));
    putchar('\n');
    print_count(count_in(nodes, "driver"), "run", ", ");
    print_count((size_t)whole(status, "jobs"), "program", ", ");
    print_count((size_t)whole(status, "actors"), "actor", ", ");
    print_count((size_t)whole(status, "groups"), "reservation", "\n");
}

int cmd_status_cluster(struct cmd_call *call, struct rwf_err *err)
{
    struct cluster_at at;
    if (cmd_head_find(call, &at, err))
        return -1;
    json_t *status = cluster_ask_list(&at, "status", "", ASK_TIMEOUT, err);
    json_t *nodes =
        status ? cluster_ask_list(&at, "nodes", "", ASK_TIMEOUT, err) : NULL;
    int rc = nodes ? 0 : -1;
    if (rc == 0 && !call->json)
        print(&at, status, nodes);
    if (rc == 0)
        call->data = json_pack("{s:O, s:O}", "cluster", status, "nodes", nodes);
    json_decref(status);
    json_decref(nodes);
    cluster_at_close(&at);
    return rc;
}
