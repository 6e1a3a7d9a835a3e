/* SPDX-License-Identifier: Apache-2.0
 *
 * The section `cluster` of a recipe as nodes to start. The schema has checked its
 * shape; what is looked at again here came from ${…}.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "cluster/address.h"
#include "cluster/inside.h"

#define NODES_MAX 4096
#define NAME_MAX_LEN 200

const char *cluster__text(const json_t *map, const char *key)
{
    const char *text = json_string_value(json_object_get(map, key));
    return text && *text ? text : NULL;
}

char *cluster__amount(const json_t *map, const char *key)
{
    const json_t *v = json_object_get(map, key);
    if (json_is_string(v))
        return rwf_xstrdup(json_string_value(v));
    if (json_is_integer(v))
        return rwf_xasprintf("%lld", (long long)json_integer_value(v));
    if (json_is_real(v))
        return rwf_xasprintf("%.15g", json_real_value(v));
    return NULL;
}

/* 0: not said. */
static int64_t whole(const json_t *map, const char *key)
{
    char *text = cluster__amount(map, key), *end;
    int64_t n = text ? strtoll(text, &end, 10) : 0;
    bool good = text && *text && !*end && n > 0;
    free(text);
    return good ? n : 0;
}

static struct cluster__node *add_node(struct cluster *c, const json_t *common)
{
    size_t cap = c->count;
    c->nodes = rwf_xrealloc(c->nodes, (cap + 1) * sizeof(*c->nodes));
    struct cluster__node *n = &c->nodes[c->count++];
    *n = (struct cluster__node){.interface = cluster__text(common, "interface"),
                                .resources = json_object_get(common, "resources"),
                                .labels = json_object_get(common, "labels"),
                                .env_all = json_object_get(common, "env")};
    return n;
}

/* --- size --- */

static size_t split_devices(const char *text, char **list, size_t max)
{
    size_t count = 0;
    char *copy = rwf_xstrdup(text), *save = NULL;
    for (char *t = strtok_r(copy, ",", &save); t && count < max;
         t = strtok_r(NULL, ",", &save))
        list[count++] = rwf_xstrdup(t);
    free(copy);
    return count;
}

/* Node i of a machine's gets its own GPUs: those from i * each on. */
static char *devices(size_t i, int64_t each)
{
    const char *given = getenv("CUDA_VISIBLE_DEVICES");
    struct rwf_str out = {0};
    char *names[256];
    size_t count = given ? split_devices(given, names, RWF_COUNT(names)) : 0;
    for (size_t k = i * (size_t)each; k < (i + 1) * (size_t)each; k++) {
        rwf_str_add(&out, out.len ? "," : "");
        if (!given)
            rwf_str_addf(&out, "%zu", k);
        else if (k < count)
            rwf_str_add(&out, names[k]);
    }
    for (size_t k = 0; k < count; k++)
        free(names[k]);
    return rwf_str_take(&out);
}

static int read_size(struct cluster *c, struct rwf_err *err)
{
    int64_t size = whole(c->spec, "size");
    int64_t gpus = whole(json_object_get(c->spec, "resources"), "gpu");
    if (size < 1 || size > NODES_MAX)
        return rwf_fail(err, RWF_E_RECIPE,
                        "cluster.size: a number from 1 to %d is expected", NODES_MAX);
    for (int64_t i = 0; i < size; i++) {
        struct cluster__node *n = add_node(c, c->spec);
        n->name = rwf_xasprintf("local-%lld", (long long)i + 1);
        n->gpus = gpus && !getenv("RAYWF_FAKE_GPUS") ? devices((size_t)i, gpus) : NULL;
    }
    return 0;
}

/* --- hosts --- */

static bool is_taken(const struct cluster *c, const char *name)
{
    for (size_t i = 0; i + 1 < c->count; i++)
        if (strcmp(c->nodes[i].name, name) == 0)
            return true;
    return false;
}

static int read_host(struct cluster *c, const json_t *item, size_t at,
                     struct rwf_err *err)
{
    struct cluster__node *n = add_node(c, c->spec);
    const json_t *m = json_is_object(item) ? item : NULL;
    const char *name = m ? cluster__text(m, "name") : NULL;
    n->host = m ? cluster__text(m, "host") : json_string_value(item);
    n->name = rwf_xstrdup(name ? name : n->host ? n->host : "");
    if (!n->host || !*n->host || *n->host == '-' || strpbrk(n->host, " \t\r\n'\"\\"))
        return rwf_fail(err, RWF_E_RECIPE, "cluster.hosts[%zu]: '%s' is no host", at,
                        n->host ? n->host : "");
    if (strlen(n->name) > NAME_MAX_LEN || !rwf_fs_is_beneath(n->name) ||
        strchr(n->name, '/'))
        return rwf_fail(err, RWF_E_RECIPE, "cluster.hosts[%zu]: '%s' is no plain name",
                        at, n->name);
    if (is_taken(c, n->name))
        return rwf_fail(
            err, RWF_E_RECIPE,
            "cluster.hosts[%zu]: two nodes are named '%s': give one of them "
            "another `name`",
            at, n->name);
    if (!m)
        return 0;
    n->user = cluster__text(m, "user");
    n->raywf = cluster__text(m, "raywf");
    n->port = (int)whole(m, "port");
    n->env = json_object_get(m, "env");
    if (cluster__text(m, "interface"))
        n->interface = cluster__text(m, "interface");
    if (json_object_get(m, "resources"))
        n->resources = json_object_get(m, "resources");
    if (json_object_get(m, "labels"))
        n->labels = json_object_get(m, "labels");
    if (n->user && (*n->user == '-' || strpbrk(n->user, " @'\"\\")))
        return rwf_fail(err, RWF_E_RECIPE, "cluster.hosts[%zu]: '%s' is no user", at,
                        n->user);
    return 0;
}

static int read_hosts(struct cluster *c, struct rwf_err *err)
{
    const json_t *list = json_object_get(c->spec, "hosts"), *item;
    size_t i;
    if (json_array_size(list) == 0 || json_array_size(list) > NODES_MAX)
        return rwf_fail(err, RWF_E_RECIPE, "cluster.hosts: 1 to %d hosts are expected",
                        NODES_MAX);
    json_array_foreach((json_t *)list, i, item)
        if (read_host(c, item, i, err))
            return -1;
    return 0;
}

/* --- which --- */

static int read_address(struct cluster *c, struct rwf_err *err)
{
    const char *key = cluster__text(c->spec, "key");
    char *host;
    int port;
    if (cluster_address_split(cluster__text(c->spec, "address"), &host, &port, err))
        return rwf_wrap(err, "cluster.address");
    free(host);
    c->address = rwf_xstrdup(cluster__text(c->spec, "address"));
    if (!key)
        key = getenv("RAYWF_CLUSTER_KEY");
    if (key && *key)
        c->key = rwf_fs_expand(key, NULL);
    else if (getenv("RAYWF_CLUSTER"))
        c->key = rwf_fs_join(getenv("RAYWF_CLUSTER"), "head/key");
    else
        c->key = rwf_fs_expand("~/.local/state/raywf/head/key", NULL);
    return 0;
}

static int read_slurm(struct cluster *c, struct rwf_err *err)
{
    (void)c;
    (void)err; /* slurm.c reads it when it submits */
    return 0;
}

int cluster__spec_read(struct cluster *c, const json_t *spec, struct rwf_err *err)
{
    static const struct {
        const char *key;
        enum cluster__kind kind;
        int (*read)(struct cluster *c, struct rwf_err *err);
    } kinds[] = {{"address", CLUSTER_ADDRESS, read_address},
                 {"hosts", CLUSTER_HOSTS, read_hosts},
                 {"slurm", CLUSTER_SLURM, read_slurm},
                 {"size", CLUSTER_SIZE, read_size}};
    size_t found = 0, which = 0;
    c->spec = json_deep_copy(spec);
    for (size_t i = 0; i < RWF_COUNT(kinds); i++)
        if (json_object_get(spec, kinds[i].key)) {
            found++;
            which = i;
        }
    if (found != 1)
        return rwf_fail(err, RWF_E_RECIPE,
                        "cluster: exactly one of address, hosts, slurm and size is "
                        "expected");
    c->kind = kinds[which].kind;
    if (cluster__tls_read(spec, c->options.dir, c->tls, err))
        return -1;
    return kinds[which].read(c, err);
}

void cluster__spec_free(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->nodes[i].name);
        free(c->nodes[i].gpus);
        free(c->nodes[i].address);
    }
    free(c->nodes);
    for (int i = 0; i < WIRE_TLS_FILES; i++)
        free(c->tls[i]);
    json_decref(c->spec);
}
