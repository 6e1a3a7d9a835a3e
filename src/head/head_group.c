/* SPDX-License-Identifier: Apache-2.0
 *
 * Reservations: bundles that are placed all or none, and held until they are given back
 * or their creator ends. Journalled before they are answered; those of a run (its node
 * is a driver) are not: the run says them again, with where they are, to a head that
 * came back, and what it runs there goes on.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "head/inside.h"

#define BUNDLES_MAX 4096

static void group_free(struct head__group *g)
{
    rwf_ids_remove(&g->head->groups, g->id);
    head__free_message(g->wire);
    free(g->home);
    free(g);
}

static void free_one(void *ctx, void *item)
{
    (void)ctx;
    group_free(item);
}

void head__groups_free(struct head *h)
{
    rwf_ids_each(&h->groups, free_one, NULL);
    rwf_ids_free(&h->groups);
}

static struct head__group *group_add(struct head *h, uint64_t id,
                                     const Wire__GroupCreate *m, const char *home)
{
    struct head__group *g = rwf_xcalloc(1, sizeof(*g));
    g->head = h;
    g->id = id;
    g->client = m->client;
    g->request = m->request;
    g->home = rwf_xstrdup(home);
    g->wire = head__copy(&m->base);
    rwf_ids_add(&h->groups, id, g);
    if (id > h->last_id)
        h->last_id = id;
    return g;
}

/* --- the journal --- */

json_t *head__group_record(const struct head__group *g)
{
    return json_pack("{s:s, s:I, s:s, s:o}", "op", "group", "group", (json_int_t)g->id,
                     "home", g->home, "wire", head__message_json(&g->wire->base));
}

void head__group_replay(struct head *h, const json_t *r)
{
    const char *op = json_string_value(json_object_get(r, "op"));
    const char *home = json_string_value(json_object_get(r, "home"));
    uint64_t id = (uint64_t)json_integer_value(json_object_get(r, "group"));
    struct head__group *g = rwf_ids_get(&h->groups, id);
    if (op && strcmp(op, "ungroup") == 0 && g)
        group_free(g);
    if (!op || strcmp(op, "group") != 0 || g || id == 0 || !home)
        return;
    Wire__GroupCreate *m = head__message_parse(json_object_get(r, "wire"),
                                               &wire__group_create__descriptor);
    if (m)
        group_add(h, id, m, home)->kept = true;
    head__free_message(m);
}

/* --- placing --- */

/* A run's may be anywhere: its own node has nothing. */
static const char *pin_of(const struct head__node *n, const struct head__group *g)
{
    return n->member->driver ? NULL : g->home;
}

static int place(struct head__group *g, struct head__node *n, struct rwf_err *err)
{
    const Wire__GroupCreate *m = g->wire;
    struct head *h = g->head;
    struct head__client *c = head__client_get(n, g->client);
    struct head__need *needs = rwf_xcalloc(m->n_bundles + 1, sizeof(*needs));
    struct schedule_need *plain = rwf_xcalloc(m->n_bundles + 1, sizeof(*plain));
    int rc = 0;
    if (!c)
        rc = rwf_fail(err, RAYWF_E_ARGUMENT, "the reservation is of no client");
    for (size_t i = 0; i < m->n_bundles && !rc; i++) {
        rc = head__need_set(&needs[i], m->bundles[i], pin_of(n, g), err);
        plain[i] = needs[i].need;
    }
    if (!rc) {
        head__job_ensure(c);
        struct schedule_group group = {.id = g->id,
                                       .job = c->job,
                                       .bundles = plain,
                                       .bundle_count = (uint32_t)m->n_bundles,
                                       .placement = (enum plan_placement)m->placement,
                                       .priority = m->priority,
                                       .may_wait = m->may_wait};
        group.prefer = schedule_cluster_find(h->cluster, m->prefer);
        group.preferred = group.prefer != SCHEDULE_NO_NODE;
        rc = schedule_leases_group_add(h->leases, &group, rwf_clock_mono(), err);
    }
    for (size_t i = 0; i < m->n_bundles; i++)
        head__need_clear(&needs[i]);
    free(needs);
    free(plain);
    g->placed = !rc;
    return rc;
}

static Wire__Place *place_of(const struct head__group *g, size_t bundle)
{
    struct head *h = g->head;
    Wire__Place *p = rwf_xmalloc(sizeof(*p));
    wire__place__init(p);
    p->node = schedule_leases_group_node(h->leases, g->id, (int)bundle);
    const struct head__node *n = head__node_by_number(h, p->node);
    if (n)
        p->name = n->name;
    p->gpus = rwf_xcalloc(64, sizeof(*p->gpus));
    p->n_gpus = head__gpu_list(
        schedule_leases_group_gpus(h->leases, g->id, (int)bundle), p->gpus);
    return p;
}

static void answer(struct head__group *g)
{
    struct head__node *n = head__node_find(g->head, g->home);
    Wire__GroupReady r = WIRE__GROUP_READY__INIT;
    if (!n || !g->ready)
        return;
    r.request = g->request;
    r.group = g->id;
    r.n_places = g->wire->n_bundles;
    r.places = rwf_xcalloc(r.n_places + 1, sizeof(*r.places));
    for (size_t i = 0; i < r.n_places; i++)
        r.places[i] = place_of(g, i);
    HEAD__SEND(n, WIRE_GROUP_READY, &r);
    for (size_t i = 0; i < r.n_places; i++) {
        free(r.places[i]->gpus);
        free(r.places[i]);
    }
    free(r.places);
}

static void tell_lost(struct head__group *g, const char *text)
{
    struct head__node *n = head__node_find(g->head, g->home);
    Wire__GroupLost l = WIRE__GROUP_LOST__INIT;
    l.group = g->id;
    l.request = g->request;
    l.text = (char *)text;
    if (n && n->member->driver)
        HEAD__SEND(n, WIRE_GROUP_LOST, &l);
}

void head__group_ready(struct head *h, uint64_t group, bool ready)
{
    struct head__group *g = rwf_ids_get(&h->groups, group);
    if (!g)
        return;
    g->ready = ready;
    if (ready)
        answer(g);
    else
        tell_lost(g, "a node of it is gone");
}

/* --- a run says again what it has --- */

/* False: a node of it has not joined yet. */
static bool places_known(const struct head__group *g, uint32_t *nodes, uint64_t *gpus)
{
    const Wire__GroupCreate *m = g->wire;
    for (size_t i = 0; i < m->n_places; i++) {
        const Wire__Place *p = m->places[i];
        const struct head__node *n = head__node_find(g->head, p->name);
        if (!n)
            return false;
        nodes[i] = n->number;
        gpus[i] = head__gpu_bits(p->gpus, p->n_gpus);
    }
    return true;
}

/* Returns false while it must wait for its nodes. */
static bool restore(struct head__group *g, struct head__node *home)
{
    struct head *h = g->head;
    size_t count = g->wire->n_places;
    struct rwf_err err = RWF_ERR_INIT;
    uint32_t *nodes = rwf_xcalloc(count + 1, sizeof(*nodes));
    uint64_t *gpus = rwf_xcalloc(count + 1, sizeof(*gpus));
    bool known = places_known(g, nodes, gpus);
    if (known && place(g, home, &err) == 0)
        g->ready = schedule_leases_group_restore(h->leases, g->id, nodes, gpus,
                                                 rwf_clock_mono());
    if (known && !g->ready)
        rwf_log(RWF_LOG_WARN, "head",
                "what node %s holds was given to others meanwhile: its work goes on, "
                "and counts again when there is room%s%s",
                home->name, *err.text ? ": " : "", err.text);
    free(nodes);
    free(gpus);
    answer(g);
    return known;
}

/* --- requests --- */

struct repeated {
    uint64_t client, request;
    struct head__group *found;
};

static void is_repeated(void *ctx, void *item)
{
    struct repeated *r = ctx;
    struct head__group *g = item;
    if (g->client == r->client && g->request == r->request)
        r->found = g;
}

static struct head__group *find_repeated(struct head *h, uint64_t client,
                                         uint64_t request)
{
    struct repeated r = {client, request, NULL};
    rwf_ids_each(&h->groups, is_repeated, &r);
    return r.found;
}

void head__on_group_create(struct head__node *n, const Wire__GroupCreate *m)
{
    struct head *h = n->head;
    struct rwf_err err = RWF_ERR_INIT;
    struct head__group *known = find_repeated(h, m->client, m->request);
    if (known) {
        answer(known);
        return;
    }
    if (m->n_bundles == 0 || m->n_bundles > BUNDLES_MAX ||
        m->placement > RAYWF_DIFFERENT_NODES) {
        head__error(n, m->request, RAYWF_E_ARGUMENT,
                    "a reservation has 1 to 4096 bundles, and a placement");
        return;
    }
    struct head__group *g = group_add(h, head__new_id(h), m, n->name);
    g->kept = !n->member->driver;
    if (m->n_places == m->n_bundles && !g->kept) {
        if (!restore(g, n) && !h->settled_at)
            h->settled_at = rwf_clock_mono() + h->dead_after;
        return;
    }
    if (place(g, n, &err) ||
        (g->kept && rwf_journal_add(h->journal, head__group_record(g), true, &err))) {
        head__error(n, m->request,
                    err.code == RWF_E_FIT          ? RAYWF_E_FIT
                    : err.code == RAYWF_E_ARGUMENT ? err.code
                                                   : RAYWF_E_RUNTIME,
                    err.text);
        if (g->placed)
            schedule_leases_group_remove(h->leases, g->id, rwf_clock_mono());
        group_free(g);
    }
}

static void remove_group(struct head__group *g)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct head *h = g->head;
    if (g->placed)
        schedule_leases_group_remove(h->leases, g->id, rwf_clock_mono());
    if (g->kept && rwf_journal_add(h->journal,
                                     json_pack("{s:s, s:I}", "op", "ungroup", "group",
                                               (json_int_t)g->id),
                                     true, &err))
        rwf_log(RWF_LOG_ERROR, "head", "%s", err.text);
    group_free(g);
}

void head__on_group_remove(struct head__node *n, const Wire__GroupRemove *m)
{
    struct head *h = n->head;
    struct head__group *g = rwf_ids_get(&h->groups, m->group);
    if (!g && m->request)
        g = find_repeated(h, m->client, m->request);
    if (g && (g->kept || strcmp(g->home, n->name) == 0))
        remove_group(g);
}

/* --- those who come and go --- */

void head__group_move(struct head__group *g)
{
    struct head__node *home = head__node_find(g->head, g->home);
    struct rwf_err err = RWF_ERR_INIT;
    if (!home)
        return;
    schedule_leases_group_remove(g->head->leases, g->id, rwf_clock_mono());
    g->placed = g->ready = false;
    if (place(g, home, &err))
        head__group_lost(g, err.text);
}

void head__group_lost(struct head__group *g, const char *text)
{
    struct head__node *home = head__node_find(g->head, g->home);
    Wire__GroupLost l = WIRE__GROUP_LOST__INIT;
    l.group = g->id;
    l.text = (char *)text;
    if (home)
        HEAD__SEND(home, WIRE_GROUP_LOST, &l);
    remove_group(g);
}

static void remove_if_owned(void *ctx, void *item)
{
    struct head__group *g = item;
    if (g->client == *(uint64_t *)ctx)
        remove_group(g);
}

void head__groups_client_gone(struct head *h, uint64_t client)
{
    rwf_ids_each(&h->groups, remove_if_owned, &client);
}

static void node_came(void *ctx, void *item)
{
    struct head__node *n = ctx;
    struct head__group *g = item;
    struct rwf_err err = RWF_ERR_INIT;
    if (g->placed)
        return;
    if (!g->kept) {
        struct head__node *home = head__node_find(g->head, g->home);
        if (home && home->member->driver)
            restore(g, home);
        return;
    }
    if (strcmp(g->home, n->name) != 0)
        return;
    if (place(g, n, &err))
        rwf_log(RWF_LOG_WARN, "head", "a reservation cannot be placed again: %s",
                err.text);
}

void head__groups_node(struct head__node *n, bool gone)
{
    /* Those of a node that is gone end with their clients. */
    if (!gone)
        rwf_ids_each(&n->head->groups, node_came, n);
}

static void settle_one(void *ctx, void *item)
{
    struct head__group *g = item;
    struct head *h = ctx;
    if (!g->kept && !g->placed)
        tell_lost(g, "its node did not come back to the head");
    if (!rwf_ids_get(&h->clients, g->client) || (!g->kept && !g->placed))
        remove_group(g);
}

void head__groups_settle(struct head *h)
{
    rwf_ids_each(&h->groups, settle_one, h);
}
