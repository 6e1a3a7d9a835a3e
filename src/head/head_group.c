/* SPDX-License-Identifier: Apache-2.0
 *
 * Reservations: bundles that are placed all or none, and held until they are given back
 * or their creator ends. Journalled before they are answered.
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
        group_add(h, id, m, home);
    head__free_message(m);
}

/* --- placing --- */

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
        rc = head__need_set(&needs[i], m->bundles[i], g->home, err);
        plain[i] = needs[i].need;
    }
    if (!rc) {
        head__job_ensure(c);
        struct schedule_group group = {.id = g->id,
                                       .job = c->job,
                                       .bundles = plain,
                                       .bundle_count = (uint32_t)m->n_bundles,
                                       .placement = (enum plan_placement)m->placement};
        rc = schedule_leases_group_add(h->leases, &group, rwf_clock_mono(), err);
    }
    for (size_t i = 0; i < m->n_bundles; i++)
        head__need_clear(&needs[i]);
    free(needs);
    free(plain);
    g->placed = !rc;
    return rc;
}

static void answer(struct head__group *g)
{
    struct head__node *n = head__node_find(g->head, g->home);
    Wire__GroupReady r = WIRE__GROUP_READY__INIT;
    r.request = g->request;
    r.group = g->id;
    if (n && g->ready)
        HEAD__SEND(n, WIRE_GROUP_READY, &r);
}

void head__group_ready(struct head *h, uint64_t group, bool ready)
{
    struct head__group *g = rwf_ids_get(&h->groups, group);
    if (!g)
        return;
    g->ready = ready;
    answer(g);
}

/* --- requests --- */

struct repeated {
    const Wire__GroupCreate *wire;
    struct head__group *found;
};

static void find_repeated(void *ctx, void *item)
{
    struct repeated *r = ctx;
    struct head__group *g = item;
    if (g->client == r->wire->client && g->request == r->wire->request)
        r->found = g;
}

void head__on_group_create(struct head__node *n, const Wire__GroupCreate *m)
{
    struct head *h = n->head;
    struct rwf_err err = RWF_ERR_INIT;
    struct repeated r = {m, NULL};
    rwf_ids_each(&h->groups, find_repeated, &r);
    if (r.found) {
        answer(r.found);
        return;
    }
    if (m->n_bundles == 0 || m->n_bundles > BUNDLES_MAX ||
        m->placement > RAYWF_DIFFERENT_NODES) {
        head__error(n, m->request, RAYWF_E_ARGUMENT,
                    "a reservation has 1 to 4096 bundles, and a placement");
        return;
    }
    struct head__group *g = group_add(h, head__new_id(h), m, n->name);
    if (place(g, n, &err) ||
        head__journal_add(h->journal, head__group_record(g), true, &err)) {
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
    if (head__journal_add(
            h->journal,
            json_pack("{s:s, s:I}", "op", "ungroup", "group", (json_int_t)g->id), true,
            &err))
        rwf_log(RWF_LOG_ERROR, "head", "%s", err.text);
    group_free(g);
}

void head__on_group_remove(struct head__node *n, uint64_t group)
{
    struct head__group *g = rwf_ids_get(&n->head->groups, group);
    if (g)
        remove_group(g);
}

/* --- those who come and go --- */

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
    if (g->placed || strcmp(g->home, n->name) != 0)
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
    if (!rwf_ids_get(&h->clients, g->client))
        remove_group(g);
}

void head__groups_settle(struct head *h)
{
    rwf_ids_each(&h->groups, settle_one, h);
}
