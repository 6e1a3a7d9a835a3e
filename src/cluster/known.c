/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "cluster/known.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "cluster/inside.h"

/* -1: not said. */
static double amount(const json_t *map, const char *key)
{
    char *text = cluster__amount(map, key), *end;
    int64_t bytes;
    double n = -1;
    if (text && strcmp(key, "memory") == 0)
        n = rwf_size_parse(text, &bytes, NULL) == 0 ? (double)bytes : -1;
    else if (text)
        n = strtod(text, &end), n = *text && !*end ? n : -1;
    free(text);
    return n;
}

/* What is not known of one node is not known of all. */
static void add(double *sum, double each, double count)
{
    *sum = *sum < 0 || each < 0 || count < 0 ? -1 : *sum + each * count;
}

static void add_nodes(struct cluster_known *k, const json_t *resources, double count)
{
    add(&k->nodes, 1, count);
    add(&k->cpu, amount(resources, "cpu"), count);
    add(&k->memory, amount(resources, "memory"), count);
    add(&k->gpu, amount(resources, "gpu"), count);
}

/* Within an allocation that one is used, however many nodes it has. */
static double slurm_nodes(const json_t *slurm)
{
    const char *inside = getenv("SLURM_JOB_ID");
    if (inside && *inside)
        return -1;
    return json_object_get(slurm, "nodes") ? amount(slurm, "nodes") : 1;
}

void cluster_known(const json_t *spec, struct cluster_known *ret)
{
    struct cluster c = {0};
    *ret = (struct cluster_known){0};
    if (cluster__spec_read(&c, spec, NULL) != 0 || c.kind == CLUSTER_ADDRESS)
        *ret = (struct cluster_known){-1, -1, -1, -1};
    else if (c.kind == CLUSTER_SLURM)
        add_nodes(ret, json_object_get(spec, "resources"),
                  slurm_nodes(json_object_get(spec, "slurm")));
    else
        for (size_t i = 0; i < c.count; i++)
            add_nodes(ret, c.nodes[i].resources, 1);
    free(c.address);
    free(c.key);
    cluster__spec_free(&c);
}
