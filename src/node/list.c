/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists of what lives here, for ps, status, objects and their like: "workers", "tasks",
 * "objects", "store", "clients". All others are the head's; where a node has something
 * to add, it does.
 */
#include "config.h"
#include "node/inside.h"
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"

#define OBJECTS_MAX 100000 /* in one list */

static json_t *gpus_of(const struct node__worker *w)
{
    json_t *list = json_array();
    for (size_t i = 0; i < w->gpu_count; i++)
        json_array_append_new(list, json_integer(w->gpus[i]));
    return list;
}

static uint64_t client_of(const struct node__worker *w)
{
    return w->lease ? w->lease->wire->client : 0;
}

static json_t *list_workers(struct node *n, const char *about)
{
    json_t *list = json_array();
    int64_t now = rwf_clock_mono();
    struct node__worker *w;
    (void)about;
    LIST_FOREACH(w, &n->workers, link)
    {
        const struct node__client *of = node__client_find(n, client_of(w));
        json_t *row =
            json_pack("{s:s, s:I, s:i, s:s, s:s, s:I, s:s, s:I, s:o}", "node", n->name,
                      "worker", (json_int_t)w->id, "pid", (int)w->pid, "state",
                      node__worker_state_name(w->state), "plugin", w->plugin, "client",
                      (json_int_t)client_of(w), "job", of && of->job ? of->job : "",
                      "age_ns", (json_int_t)(now - w->started), "gpus", gpus_of(w));
        if (w->lease && w->lease->actor)
            json_object_set_new(
                row, "actor",
                json_integer((json_int_t)node__actor_spec(w->lease->actor)->actor));
        json_array_append_new(list, row);
    }
    return list;
}

static json_t *list_tasks(struct node *n, const char *about)
{
    json_t *list = json_array();
    int64_t now = rwf_clock_mono();
    struct node__worker *w;
    struct node__ring *r;
    (void)about;
    LIST_FOREACH(w, &n->workers, link)
    LIST_FOREACH(r, &w->rings, link)
    {
        int64_t started;
        uint64_t task = node__ring_task(r, &started);
        if (task == 0)
            continue;
        json_array_append_new(
            list,
            json_pack("{s:s, s:I, s:I, s:s, s:I, s:i, s:s, s:s, s:I}", "node", n->name,
                      "task", (json_int_t)task, "client",
                      (json_int_t)(r->client->proxy && client_of(w)
                                       ? client_of(w) /* of another node */
                                       : r->client->id),
                      "job", r->client->job ? r->client->job : "", "worker",
                      (json_int_t)w->id, "pid", (int)w->pid, "plugin", w->plugin,
                      "state", "running", "running_ns",
                      (json_int_t)(now > started ? now - started : 0)));
    }
    return list;
}

struct objects {
    const char *node;
    json_t *list;
    uint64_t left_out;
};

static void add_object(void *ctx, const struct store_info *i)
{
    struct objects *o = ctx;
    if (json_array_size(o->list) >= OBJECTS_MAX) {
        o->left_out++;
        return;
    }
    json_array_append_new(
        o->list,
        json_pack("{s:s, s:I, s:s, s:I, s:i, s:i, s:i}", "node", o->node, "object",
                  (json_int_t)i->object, "state", i->state, "size", (json_int_t)i->size,
                  "creator", i->creator, "holders", i->holders, "pins", i->pins));
}

static json_t *list_objects(struct node *n, const char *about)
{
    struct objects o = {n->name, json_array(), 0};
    (void)about;
    store_each(n->store, add_object, &o);
    return o.list;
}

static json_t *list_store(struct node *n, const char *about)
{
    struct store_stats s;
    (void)about;
    store_stats(n->store, &s);
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i}", "node",
                     n->name, "bytes", (json_int_t)s.arena, "used", (json_int_t)s.used,
                     "warm", (json_int_t)s.warm, "objects", (json_int_t)s.objects,
                     "created", (json_int_t)s.created, "spilled", (json_int_t)s.spilled,
                     "restored", (json_int_t)s.restored, "spill_bytes",
                     (json_int_t)s.spill_bytes, "spill_quota",
                     (json_int_t)s.spill_quota, "slots", s.slots);
}

static void add_client(void *ctx, void *item)
{
    const struct node__client *c = item;
    if (!c->joined)
        return;
    json_array_append_new(
        ctx, json_pack("{s:s, s:I, s:i, s:s, s:s, s:i, s:I, s:b}", "node",
                       c->node->name, "client", (json_int_t)c->id, "pid", c->pid, "job",
                       c->job, "program", c->program, "slot", c->slot, "parent",
                       (json_int_t)c->parent, "worker", c->worker != NULL));
}

static json_t *list_clients(struct node *n, const char *about)
{
    json_t *list = json_array();
    (void)about;
    rwf_ids_each(&n->clients, add_client, list);
    return list;
}

static const struct {
    const char *what;
    json_t *(*fn)(struct node *n, const char *about);
} lists[] = {
    {"workers", list_workers}, {"tasks", list_tasks},     {"objects", list_objects},
    {"store", list_store},     {"clients", list_clients},
};

json_t *node_list(struct node *n, const char *what, const char *about)
{
    for (size_t i = 0; i < RWF_COUNT(lists); i++)
        if (strcmp(lists[i].what, what) == 0)
            return lists[i].fn(n, about ? about : "");
    return NULL;
}

char *node__list_merge(struct node *n, const char *what, const char *json)
{
    json_t *list = strcmp(what, "status") == 0 ? json_loads(json, 0, NULL) : NULL;
    char *text = NULL;
    if (json_is_object(list)) {
        json_object_set_new(list, "store", list_store(n, ""));
        json_object_set_new(list, "workers", list_workers(n, ""));
        text = json_dumps(list, JSON_COMPACT);
    }
    json_decref(list);
    return text;
}

void node__on_list(struct node__client *c, struct wire_message *m)
{
    Wire__List *l = (Wire__List *)m->body;
    json_t *list = node_list(c->node, l->what, l->about);
    char *away = list ? NULL : node__head_is_away(c->node);
    if (away) {
        node__client_error(c, l->request, 0, "%s", away);
        free(away);
        return;
    }
    if (!list) {
        node__head_ask(c, l->request, WIRE_LIST, m->body, &l->request);
        return;
    }
    char *text = json_dumps(list, JSON_COMPACT);
    Wire__Listed answer = WIRE__LISTED__INIT;
    answer.request = l->request;
    answer.json = text ? text : (char *)"null";
    NODE__SEND(c->link, WIRE_LISTED, &answer);
    free(text);
    json_decref(list);
}
