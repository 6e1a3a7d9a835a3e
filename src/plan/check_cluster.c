/* SPDX-License-Identifier: Apache-2.0
 *
 * What the schema cannot say of the section cluster: keys that go with one kind only,
 * names of hosts that stand twice, certificates that are not there, gangs that need more nodes than there will be.
 */
#include "config.h"
#include "plan/inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/map.h"
#include "base/mem.h"

/* --- keys --- */

static const struct {
    const char *key;
    bool joins; /* it goes with `address` only, else with all but that */
} of_kind[] = {
    {"key", true},  {"resources", false}, {"labels", false},
    {"env", false}, {"interface", false}, {"idle_timeout", false},
};

static void check_keys(struct plan__build *b, const struct recipe_node *cluster)
{
    bool joins = recipe_get(cluster, "address") != NULL;
    for (size_t i = 0; i < RWF_COUNT(of_kind); i++) {
        const struct recipe_pair *p = recipe_pair_get(cluster, of_kind[i].key);
        if (!p || p->value->null || of_kind[i].joins == joins)
            continue;
        struct recipe_diag *d = recipe_diag_add(
            b->diags, RECIPE_E0314, p->key_span,
            joins ? "'%s' says what to bring up, and 'address' joins "
                    "what runs already"
                  : "'%s' is of a cluster that runs already ('address'): "
                    "one that is brought up makes its own",
            p->key);
        recipe_diag_hint(d, joins
                                ? "give it to raywf start on each machine, or remove it"
                                : "remove it");
    }
}

/* --- hosts --- */

static const struct recipe_node *name_of(const struct recipe_node *host)
{
    if (host->kind == RECIPE_SCALAR)
        return host;
    const struct recipe_node *name = recipe_get(host, "name");
    return name ? name : recipe_get(host, "host");
}

static void check_hosts(struct plan__build *b, const struct recipe_node *hosts)
{
    struct rwf_map *seen = rwf_map_create();
    for (size_t i = 0; hosts && hosts->kind == RECIPE_LIST && i < hosts->count; i++) {
        const struct recipe_node *name = name_of(hosts->items[i]);
        const char *text = recipe_text(name, "");
        if (!*text || strstr(text, "${"))
            continue;
        const struct recipe_node *first = rwf_map_set(seen, text, (void *)name);
        if (!first)
            continue;
        struct recipe_diag *d = recipe_diag_add(b->diags, RECIPE_E0314, name->span,
                                                "two nodes would be named '%s'", text);
        recipe_diag_relate(d, first->span, "the first is here");
        recipe_diag_hint(d,
                         "remove one, or give it a name of its own: {host: %s, name: "
                         "%s-2}",
                         text, text);
    }
    rwf_map_destroy(seen, NULL);
}

/* --- TLS --- */

static void check_file(struct plan__build *b, const struct recipe_node *node, bool is_key)
{
    const char *text = recipe_text(node, "");
    struct stat st;
    if (!*text || strstr(text, "${"))
        return;
    char *path = rwf_fs_expand(text, recipe_dir(b->g->recipe));
    struct recipe_diag *d = NULL;
    if (access(path, R_OK)) {
        d = recipe_diag_add(b->diags, RECIPE_E0314, node->span, "cannot read %s: %s",
                            path, strerror(errno));
        recipe_diag_hint(d, "name a file in PEM on this machine; a relative path is "
                            "beside the recipe");
    } else if (is_key && stat(path, &st) == 0 && (st.st_mode & 077)) {
        d = recipe_diag_add(b->diags, RECIPE_E0314, node->span,
                            "others can read the key file %s", path);
        recipe_diag_hint(d, "chmod 600 %s", path);
    }
    free(path);
}

static void check_tls(struct plan__build *b, const struct recipe_node *tls)
{
    static const char *const files[] = {"cert", "key", "ca"};
    for (size_t i = 0; tls && i < RWF_COUNT(files); i++) {
        const struct recipe_node *node = recipe_get(tls, files[i]);
        if (node)
            check_file(b, node, strcmp(files[i], "key") == 0);
    }
}

/* --- gangs --- */

/* 0: it is not known before. */
static int64_t number_of(const struct recipe_node *node)
{
    int64_t n;
    const char *text = recipe_text(node, "");
    return recipe_looks_int(text, &n) && n > 0 ? n : 0;
}

static int64_t nodes_of(const struct recipe_node *cluster)
{
    const struct recipe_node *hosts = recipe_get(cluster, "hosts");
    const struct recipe_node *slurm = recipe_get(cluster, "slurm");
    if (hosts && hosts->kind == RECIPE_LIST)
        return (int64_t)hosts->count;
    if (slurm)
        return recipe_get(slurm, "nodes") ? number_of(recipe_get(slurm, "nodes")) : 1;
    return number_of(recipe_get(cluster, "size"));
}

static bool is_apart(const struct recipe_node *task)
{
    return strcmp(recipe_text(recipe_at(task, "resources.placement"), ""),
                  "different_nodes") == 0;
}

/* Only a gang that must have its nodes for itself; all else shares. */
static void check_gang(struct plan__build *b, const struct recipe_node *task,
                       int64_t nodes)
{
    const struct recipe_node *gang = recipe_get(task, "gang");
    const struct recipe_node *ranks = recipe_get(gang, "ranks");
    const struct recipe_node *least =
        ranks && ranks->kind == RECIPE_MAP ? recipe_get(ranks, "min") : ranks;
    int64_t count = number_of(least), each = number_of(recipe_get(gang, "per_node"));
    if (!gang || !is_apart(task) || count == 0)
        return;
    int64_t need = each > 0 ? (count + each - 1) / each : count;
    if (need <= nodes)
        return;
    struct recipe_diag *d = recipe_diag_add(
        b->diags, RECIPE_E0314, least->span,
        "%lld ranks, %lld to a node, need %lld nodes, and the cluster has %lld",
        (long long)count, (long long)(each > 0 ? each : 1), (long long)need,
        (long long)nodes);
    recipe_diag_hint(d,
                     "ask for fewer ranks, put more on a node (gang.per_node), or name "
                     "more machines");
}

void plan__check_cluster(struct plan__build *b, const struct recipe_node *cluster)
{
    const struct recipe_node *tasks = recipe_get(recipe_root(b->g->recipe), "tasks");
    int64_t nodes = nodes_of(cluster);
    check_keys(b, cluster);
    check_hosts(b, recipe_get(cluster, "hosts"));
    check_tls(b, recipe_get(cluster, "tls"));
    for (size_t i = 0;
         nodes > 0 && tasks && tasks->kind == RECIPE_MAP && i < tasks->count; i++)
        check_gang(b, tasks->pairs[i].value, nodes);
}
