/* SPDX-License-Identifier: Apache-2.0
 * Live state as JSON: what `raywf nodes`, `actors`, `status` and `why` show. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "head/inside.h"

static const char *node_name(const struct head *h, uint32_t number)
{
    const struct head__node *n = head__node_by_number((struct head *)h, number);
    return n ? n->name : "";
}

static json_t *gpu_ids(uint64_t gpus)
{
    uint32_t ids[64];
    size_t count = head__gpu_list(gpus, ids);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(ids[i]));
    return list;
}

/* --- nodes --- */

static json_t *gpu_rows(const struct head *h, const struct head__node *n,
                        const struct schedule_node_view *v)
{
    json_t *list = json_array();
    for (int i = 0; i < v->gpu_count; i++) {
        const char *name = schedule_cluster_gpu_name(h->cluster, n->number, i);
        json_array_append_new(list, json_pack("{s:i, s:s, s:I, s:f}", "id", i, "name",
                                              name ? name : "", "memory",
                                              (json_int_t)schedule_cluster_gpu_memory(
                                                  h->cluster, n->number, i),
                                              "free", v->gpu_free[i]));
    }
    return list;
}

/* The oldest first. */
static json_t *list_nodes(const struct head *h, const char *about)
{
    json_t *list = json_array();
    const struct head__node *n;
    int64_t now = rwf_clock_mono();
    (void)about;
    LIST_FOREACH(n, &h->nodes, all)
    {
        struct schedule_node_view v;
        schedule_cluster_view(h->cluster, n->number, &v);
        bool draining = n->member->draining;
        json_array_insert_new(
            list, 0,
            json_pack("{s:s, s:i, s:s, s:f, s:f, s:I, s:I, s:o, s:i, s:I, s:s, s:b}",
                      "node", n->name, "number", (int)n->number, "state",
                      !n->peer            ? "away"
                      : n->member->driver ? "driver"
                      : !draining         ? "alive"
                      : v.grants          ? "draining"
                                          : "drained",
                      "cpu", v.cpu, "cpu_free", v.cpu_free, "memory",
                      (json_int_t)v.memory, "memory_free", (json_int_t)v.memory_free,
                      "gpus", gpu_rows(h, n, &v), "leases", (int)v.grants, "heard_ns",
                      (json_int_t)(n->peer && n->peer->near ? 0 : now - n->heard),
                      "link", n->peer ? wire_link_name(n->peer->link) : "", "driver",
                      n->member->driver));
    }
    return list;
}

/* --- jobs, leases --- */

struct listing {
    const struct head *head;
    json_t *list;
    const char *about;
};

static void add_job(void *ctx, void *item)
{
    struct listing *l = ctx;
    const struct head__client *c = item;
    if (c->job != c->id)
        return;
    json_array_append_new(
        l->list,
        json_pack("{s:I, s:s, s:s, s:i, s:f}", "job", (json_int_t)c->id, "name",
                  c->name ? c->name : "", "node", c->node->name, "priority",
                  c->priority, "share", schedule_leases_share(l->head->leases, c->id)));
}

static json_t *list_jobs(const struct head *h, const char *about)
{
    struct listing l = {h, json_array(), about};
    rwf_ids_each(&h->clients, add_job, &l);
    return l.list;
}

static void add_lease(void *ctx, const struct schedule_lease_view *v)
{
    struct listing *l = ctx;
    const struct head__ask *a = rwf_ids_get(&l->head->asks, v->ask);
    const char *plugin = a && a->shape   ? a->shape->plugin
                         : a && a->actor ? a->actor->spec->plugin
                                         : "";
    json_array_append_new(
        l->list,
        json_pack("{s:I, s:s, s:I, s:I, s:s, s:I, s:o, s:f, s:b, s:b, s:I}", "lease",
                  (json_int_t)v->lease, "node", node_name(l->head, v->node), "client",
                  (json_int_t)v->client, "job", (json_int_t)v->job, "plugin", plugin,
                  "actor", (json_int_t)(a && a->actor ? a->actor->id : 0), "gpus",
                  gpu_ids(v->gpus), "gpu_share", v->gpu_share, "blocked", v->blocked,
                  "recalled", v->recalled, "age_ns",
                  (json_int_t)(v->since ? rwf_clock_mono() - v->since : 0)));
}

static json_t *list_leases(const struct head *h, const char *about)
{
    struct listing l = {h, json_array(), about};
    schedule_leases_each(h->leases, add_lease, &l);
    return l.list;
}

/* --- actors, groups --- */

static void add_actor(void *ctx, void *item)
{
    struct listing *l = ctx;
    const struct head__actor *a = item;
    char since[RWF_TIME_LEN];
    rwf_clock_format(a->since, since);
    json_t *row = json_pack(
        "{s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:i, s:I, s:s}", "actor",
        (json_int_t)a->id, "name", a->spec->name, "class", a->spec->class_, "plugin",
        a->spec->plugin, "state", head__actor_state_name(a->state), "node",
        a->node   ? a->node->name
        : a->home ? a->home
                  : "",
        "owner", (json_int_t)a->spec->owner, "detached", a->spec->detached, "restarts",
        (int)a->restarts, "lease", (json_int_t)a->lease, "since", since);
    if (!row) /* a path or class that is no UTF-8 */
        row = json_pack("{s:I, s:s}", "actor", (json_int_t)a->id, "state",
                        head__actor_state_name(a->state));
    if (a->text)
        json_object_set_new(row, "text", json_string(a->text));
    if (a->ask) {
        char *why = schedule_leases_why(l->head->leases, a->ask->id, rwf_clock_mono());
        if (a->state == ACTOR_PENDING)
            json_object_set_new(row, "why", json_string(why ? why : ""));
        free(why);
    }
    json_array_append_new(l->list, row);
}

static json_t *list_actors(const struct head *h, const char *about)
{
    struct listing l = {h, json_array(), about};
    rwf_ids_each(&h->actors, add_actor, &l);
    return l.list;
}

static void add_group(void *ctx, void *item)
{
    struct listing *l = ctx;
    const struct head__group *g = item;
    json_t *nodes = json_array();
    for (size_t i = 0; i < g->wire->n_bundles; i++)
        json_array_append_new(
            nodes,
            json_string(node_name(
                l->head, schedule_leases_group_node(l->head->leases, g->id, (int)i))));
    json_array_append_new(l->list,
                          json_pack("{s:I, s:I, s:s, s:o}", "group", (json_int_t)g->id,
                                    "client", (json_int_t)g->client, "state",
                                    g->ready ? "ready" : "pending", "bundles", nodes));
}

static json_t *list_groups(const struct head *h, const char *about)
{
    struct listing l = {h, json_array(), about};
    rwf_ids_each(&h->groups, add_group, &l);
    return l.list;
}

/* --- status, why --- */

static json_t *list_status(const struct head *h, const char *about)
{
    struct schedule_totals t;
    size_t jobs = 0;
    (void)about;
    json_t *list = list_jobs(h, "");
    jobs = json_array_size(list);
    json_decref(list);
    schedule_cluster_totals(h->cluster, &t);
    return json_pack(
        "{s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
        "nodes", (int)t.nodes, "cpu", t.cpu, "cpu_used", t.cpu_used, "gpu", t.gpu,
        "gpu_used", t.gpu_used, "memory", t.memory, "memory_used", t.memory_used,
        "jobs", (json_int_t)jobs, "clients", (json_int_t)h->clients.count, "actors",
        (json_int_t)(h->actors.count - h->dead_count), "groups",
        (json_int_t)h->groups.count, "granted", (json_int_t)h->granted, "recalled",
        (json_int_t)h->recalled, "refused", (json_int_t)h->refused, "up_ns",
        (json_int_t)(rwf_clock_mono() - h->started));
}

/* about: a client's number, or the name of a job; "": all who wait. */
static bool is_about(const struct head__ask *a, const char *about)
{
    const struct head__client *c = a->client;
    char *end;
    uint64_t id = strtoull(about, &end, 10);
    if (!*about)
        return true;
    if (a->actor)
        return (!*end && a->actor->id == id) ||
               strcmp(a->actor->spec->name, about) == 0;
    return (!*end && (c->id == id || c->job == id)) ||
           (c->name && strcmp(c->name, about) == 0);
}

static void add_why(void *ctx, void *item)
{
    struct listing *l = ctx;
    const struct head__ask *a = item;
    struct schedule_ask_view v = {0};
    if (!is_about(a, l->about) ||
        !schedule_leases_ask_view(l->head->leases, a->id, &v) || v.held >= v.wanted)
        return;
    char *why = schedule_leases_why(l->head->leases, a->id, rwf_clock_mono());
    json_array_append_new(
        l->list, json_pack("{s:I, s:I, s:I, s:i, s:i, s:s}", "client",
                           (json_int_t)(a->client ? a->client->id : 0), "lane",
                           (json_int_t)a->lane, "actor",
                           (json_int_t)(a->actor ? a->actor->id : 0), "wanted",
                           (int)v.wanted, "held", (int)v.held, "why", why ? why : ""));
    free(why);
}

/* about: as above, or "CLIENT/REQUEST": that one reservation. */
static bool is_group_about(const struct head *h, const struct head__group *g,
                           const char *about)
{
    const struct head__client *c = rwf_ids_get(&h->clients, g->client);
    char *end;
    uint64_t id = strtoull(about, &end, 10);
    if (*end == '/')
        return g->client == id && g->request == strtoull(end + 1, NULL, 10);
    return !*about || (!*end && g->client == id) ||
           (c && c->name && strcmp(c->name, about) == 0);
}

static void add_group_why(void *ctx, void *item)
{
    struct listing *l = ctx;
    const struct head__group *g = item;
    const struct head *h = l->head;
    char *why = schedule_leases_group_why(h->leases, g->id, rwf_clock_mono());
    if (why && is_group_about(h, g, l->about))
        json_array_append_new(
            l->list,
            json_pack("{s:I, s:I, s:I, s:i, s:i, s:s}", "client", (json_int_t)g->client,
                      "group", (json_int_t)g->id, "actor", (json_int_t)0, "wanted",
                      (int)g->wire->n_bundles, "held", 0, "why", why));
    free(why);
}

static json_t *list_why(const struct head *h, const char *about)
{
    struct listing l = {h, json_array(), about};
    rwf_ids_each(&h->asks, add_why, &l);
    rwf_ids_each(&h->groups, add_group_why, &l);
    return l.list;
}

json_t *head_list(const struct head *h, const char *what, const char *about)
{
    static const struct {
        const char *what;
        json_t *(*fn)(const struct head *h, const char *about);
    } lists[] = {
        {"nodes", list_nodes},   {"jobs", list_jobs},     {"leases", list_leases},
        {"actors", list_actors}, {"groups", list_groups}, {"status", list_status},
        {"why", list_why},
    };
    for (size_t i = 0; i < RWF_COUNT(lists); i++)
        if (strcmp(lists[i].what, what) == 0)
            return lists[i].fn(h, about ? about : "");
    return NULL;
}
