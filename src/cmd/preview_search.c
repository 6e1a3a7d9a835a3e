/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known of trials before a run: those that the record of the same search names,
 * and, where configurations do not depend on results, those whose key is cached.
 */
#include "config.h"

#include "cmd/preview_search.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "plan/key.h"
#include "run/record.h"
#include "search/op_tune.h"
#include "search/search.h"

struct preview_search {
    struct plan_graph *graph;
    struct run_cache *cache;
    const char *entry; /* of the search that the rest is about */
    struct search *search;
    json_t *record, *result;
    bool asks; /* its configurations depend on results */
};

struct preview_search *preview_search_create(struct plan_graph *g,
                                             struct run_cache *cache)
{
    struct preview_search *x = rwf_xcalloc(1, sizeof(*x));

    x->graph = g;
    x->cache = cache;
    return x;
}

static void forget(struct preview_search *x)
{
    search_destroy(x->search);
    json_decref(x->record);
    json_decref(x->result);
    x->search = NULL;
    x->record = x->result = NULL;
}

void preview_search_destroy(struct preview_search *x)
{
    if (!x)
        return;
    forget(x);
    free(x);
}

/* The step of the search that a trial belongs to. */
static const struct plan_step *owner_of(const struct preview_search *x,
                                        const struct plan_step *trial)
{
    for (uint32_t i = trial->index; i < plan_graph_count(x->graph); i++) {
        const struct plan_step *p = plan_graph_step(x->graph, i);
        if (p->op->trials && strcmp(p->entry, trial->entry) == 0)
            return p;
    }
    return NULL;
}

static int key_with(struct preview_search *x, const struct plan_step *trial,
                    const json_t *config, char key[RWF_DIGEST_LEN])
{
    struct rwf_err err = RWF_ERR_INIT;

    plan_trial_configure(x->graph, trial->index, config);
    return plan_step_key(x->graph, trial, run_cache_digest, x->cache, key, NULL, &err);
}

static json_t *cached(struct preview_search *x, const char *key)
{
    const char *miss;

    return run_cache_get(x->cache, key, &miss);
}

static bool asks(const json_t *body)
{
    const json_t *spec = json_object_get(body, "algorithm");
    const json_t *type = json_is_object(spec) ? json_object_get(spec, "type") : spec;

    return json_is_string(type) && strcmp(json_string_value(type), "tpe") == 0;
}

/* Trials come in their order: the first one opens its search. */
static void open_search(struct preview_search *x, const struct plan_step *trial)
{
    const struct plan_step *owner = owner_of(x, trial);
    char key[RWF_DIGEST_LEN];
    json_t *body = NULL, *config, *parts, *entry;

    forget(x);
    x->entry = trial->entry;
    x->search = owner ? search_open(x->graph, owner, &body, NULL) : NULL;
    config = x->search && trial->trial == 0 ? search_suggest(x->search, 0) : NULL;
    if (config && key_with(x, trial, config, key) == 0) {
        parts = run_search_parts(owner, body, key);
        rwf_digest_json(parts, key);
        x->result = entry = cached(x, key);
        x->record = entry ? run_search_record(entry) : NULL;
        json_decref(parts);
    }
    x->asks = asks(body);
    json_decref(config);
    json_decref(body);
}

json_t *preview_search_entry(struct preview_search *x, const struct plan_step *trial)
{
    const json_t *known;
    const char *recorded;
    char key[RWF_DIGEST_LEN];
    json_t *config, *entry = NULL;

    if (!x->entry || strcmp(x->entry, trial->entry) != 0)
        open_search(x, trial);
    known = json_array_get(x->record, trial->trial);
    recorded = json_string_value(json_object_get(known, "key"));
    if (recorded)
        return cached(x, recorded);
    if (known || !x->search || x->asks)
        return NULL;
    config = search_suggest(x->search, trial->trial);
    if (config && key_with(x, trial, config, key) == 0)
        entry = cached(x, key);
    json_decref(config);
    return entry;
}

json_t *preview_search_result(struct preview_search *x, const struct plan_step *search)
{
    for (size_t i = 0; i < search->need_count; i++) {
        const struct plan_step *p = plan_graph_step(x->graph, search->needs[i]);
        if (!p->is_trial || p->trial != 0 || strcmp(p->entry, search->entry) != 0)
            continue;
        if (!x->entry || strcmp(x->entry, search->entry) != 0)
            open_search(x, p);
        return json_incref(x->result);
    }
    return NULL;
}
