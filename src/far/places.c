/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "far/places.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "far/inside.h"

/* Numbers of requests here, so that they are none of a client's. */
#define REQUESTS (UINT64_C(1) << 62)
#define WHY_BIT (UINT64_C(1) << 61)

struct far_place {
    struct node *node;
    uint64_t number;
    Wire__GroupCreate *wire;
    uint64_t group; /* the head's; 0: not ready */
    struct far_bundle *bundles;
    struct far_place_handler handler;
    LIST_ENTRY(far_place) link;
};

struct far__places {
    uint64_t client; /* 0: nothing was asked for yet */
    char *job;
    int priority;
    uint64_t last;
    LIST_HEAD(, far_place) all;
};

static struct far__places *places_of(struct node *n)
{
    if (!n->far->places) {
        n->far->places = rwf_xcalloc(1, sizeof(*n->far->places));
        LIST_INIT(&n->far->places->all);
    }
    return n->far->places;
}

static void announce(struct node *n)
{
    const struct far__places *s = n->far->places;
    Wire__ClientJoin j = WIRE__CLIENT_JOIN__INIT;
    j.client = s->client;
    j.job = s->job ? s->job : n->name;
    j.priority = s->priority;
    node__head_send(n, WIRE_CLIENT_JOIN, &j.base);
}

void far_places_for(struct node *n, const struct far_places_options *o)
{
    struct far__places *s = places_of(n);
    free(s->job);
    s->job = rwf_xstrdup(o->job);
    s->priority = o->priority;
    if (s->client)
        announce(n);
}

/* --- a request --- */

static Wire__Amount *new_amount(const char *name, double amount)
{
    Wire__Amount *a = rwf_xmalloc(sizeof(*a));
    wire__amount__init(a);
    a->name = rwf_xstrdup(name);
    a->amount = amount;
    return a;
}

static Wire__Label *new_label(const char *key, const char *value)
{
    Wire__Label *l = rwf_xmalloc(sizeof(*l));
    wire__label__init(l);
    l->key = rwf_xstrdup(key);
    l->value = rwf_xstrdup(value);
    return l;
}

static Wire__Resources *new_resources(const struct schedule_need *need)
{
    Wire__Resources *r = rwf_xmalloc(sizeof(*r));
    wire__resources__init(r);
    r->cpu = need->cpu;
    r->gpu = need->gpu;
    r->memory = (uint64_t)need->memory;
    r->custom = rwf_xcalloc(need->custom_count + 1, sizeof(*r->custom));
    for (size_t i = 0; i < need->custom_count; i++)
        r->custom[r->n_custom++] =
            new_amount(need->custom_names[i], need->custom_amounts[i]);
    r->labels = rwf_xcalloc(need->label_count + 1, sizeof(*r->labels));
    for (size_t i = 0; i < need->label_count; i++)
        r->labels[r->n_labels++] =
            new_label(need->label_keys[i], need->label_values[i]);
    return r;
}

static Wire__GroupCreate *new_wire(const struct far_place_request *r, uint64_t client,
                                   uint64_t number)
{
    Wire__GroupCreate *m = rwf_xmalloc(sizeof(*m));
    wire__group_create__init(m);
    m->request = number;
    m->client = client;
    m->placement = (uint32_t)r->placement;
    m->priority = r->priority;
    m->may_wait = r->may_wait;
    if (r->prefer)
        m->prefer = rwf_xstrdup(r->prefer);
    m->bundles = rwf_xcalloc((size_t)r->bundles + 1, sizeof(*m->bundles));
    for (uint32_t i = 0; i < r->bundles; i++)
        m->bundles[m->n_bundles++] = new_resources(r->need);
    return m;
}

struct far_place *far_place(struct node *n, const struct far_place_request *r,
                            const struct far_place_handler *h)
{
    struct far__places *s = places_of(n);
    struct far_place *p = rwf_xcalloc(1, sizeof(*p));
    if (!s->client) {
        s->client = (uint64_t)n->boot << 32 | ++n->last_client;
        announce(n);
    }
    p->node = n;
    p->number = REQUESTS | ++s->last;
    p->handler = *h;
    p->wire = new_wire(r, s->client, p->number);
    LIST_INSERT_HEAD(&s->all, p, link);
    node__head_send(n, WIRE_GROUP_CREATE, &p->wire->base);
    return p;
}

static void free_place(struct far_place *p)
{
    LIST_REMOVE(p, link);
    node__free(p->wire);
    free(p->bundles);
    free(p);
}

void far_place_why(struct far_place *p)
{
    Wire__List l = WIRE__LIST__INIT;
    if (p->group)
        return;
    l.request = p->number | WHY_BIT;
    l.what = (char *)"why";
    l.about = rwf_xasprintf("%llu/%llu", (unsigned long long)p->wire->client,
                            (unsigned long long)p->number);
    node__head_send(p->node, WIRE_LIST, &l.base);
    free(l.about);
}

void far_place_give(struct far_place *p)
{
    Wire__GroupRemove r = WIRE__GROUP_REMOVE__INIT;
    r.group = p->group;
    r.client = p->wire->client;
    r.request = p->number;
    node__head_send(p->node, WIRE_GROUP_REMOVE, &r.base);
    free_place(p);
}

/* --- what the head says --- */

static struct far_place *place_find(const struct node *n, uint64_t number)
{
    struct far_place *p;
    if (n->far->places)
        LIST_FOREACH(p, &n->far->places->all, link)
    if (p->number == number)
        return p;
    return NULL;
}

static struct far_place *place_of_group(const struct node *n, uint64_t group)
{
    struct far_place *p;
    if (n->far->places)
        LIST_FOREACH(p, &n->far->places->all, link)
    if (p->group == group)
        return p;
    return NULL;
}

/* Kept in the request, to be said again. */
static void keep_places(struct far_place *p, Wire__GroupReady *m)
{
    p->wire->places = m->places;
    p->wire->n_places = m->n_places;
    m->places = NULL;
    m->n_places = 0;
    p->bundles = rwf_xcalloc(p->wire->n_places + 1, sizeof(*p->bundles));
    for (size_t i = 0; i < p->wire->n_places; i++) {
        const Wire__Place *at = p->wire->places[i];
        p->bundles[i] = (struct far_bundle){at->name, at->gpus, at->n_gpus};
    }
}

static void on_ready(struct far_place *p, Wire__GroupReady *m)
{
    bool first = p->group == 0;
    p->group = m->group;
    if (!first || m->n_places != p->wire->n_bundles)
        return; /* the head came back, and has taken over what is held */
    keep_places(p, m);
    p->handler.ready(p->handler.ctx, p->bundles, (uint32_t)p->wire->n_places);
}

static void is_over(struct far_place *p, int code, const char *text)
{
    struct far_place_handler h = p->handler;
    struct rwf_err err = RWF_ERR_INIT;
    rwf_fail(&err, code, "%s", text);
    free_place(p);
    h.over(h.ctx, &err);
}

static void on_error(struct far_place *p, const Wire__Error *e)
{
    is_over(p, e->code == RAYWF_E_FIT ? RWF_E_FIT : RWF_E_ENV, e->text);
}

static void on_why(struct far_place *p, const Wire__Listed *l)
{
    json_t *list = json_loads(l->json, 0, NULL);
    const char *why =
        json_string_value(json_object_get(json_array_get(list, 0), "why"));
    if (why && p->handler.why && !p->group)
        p->handler.why(p->handler.ctx, why);
    json_decref(list);
}

bool far__places_answer(struct node *n, struct wire_message *m)
{
    uint64_t number = m->type == WIRE_ERROR    ? ((Wire__Error *)m->body)->request
                      : m->type == WIRE_LISTED ? ((Wire__Listed *)m->body)->request
                      : m->type == WIRE_GROUP_READY
                          ? ((Wire__GroupReady *)m->body)->request
                          : 0;
    if (!(number & REQUESTS))
        return false;
    struct far_place *p = place_find(n, number & ~WHY_BIT);
    if (p && m->type == WIRE_LISTED)
        on_why(p, (const Wire__Listed *)m->body);
    else if (p && m->type == WIRE_GROUP_READY)
        on_ready(p, (Wire__GroupReady *)m->body);
    else if (p && m->type == WIRE_ERROR && !(number & WHY_BIT))
        on_error(p, (const Wire__Error *)m->body);
    return true;
}

void far__places_lost(struct node *n, const Wire__GroupLost *m)
{
    struct far_place *p =
        m->request ? place_find(n, m->request) : place_of_group(n, m->group);
    Wire__GroupRemove r = WIRE__GROUP_REMOVE__INIT;
    if (!p)
        return;
    r.group = m->group; /* else it would be placed anew, for nobody */
    node__head_send(n, WIRE_GROUP_REMOVE, &r.base);
    is_over(p, EHOSTDOWN, m->text);
}

/* --- life --- */

void far__places_say(struct node *n)
{
    struct far_place *p;
    if (!n->far->places || !n->far->places->client)
        return;
    announce(n);
    LIST_FOREACH(p, &n->far->places->all, link)
    node__head_send(n, WIRE_GROUP_CREATE, &p->wire->base);
}

void far__places_free(struct node *n)
{
    struct far__places *s = n->far->places;
    if (!s)
        return;
    while (!LIST_EMPTY(&s->all))
        free_place(LIST_FIRST(&s->all));
    free(s->job);
    free(s);
    n->far->places = NULL;
}
