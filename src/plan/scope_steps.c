/* SPDX-License-Identifier: Apache-2.0
 *
 * References to other steps: which of their instances is meant, and what they gave. Of
 * an entry whose axes are all ours it is one instance, so a value; else a list.
 */
#include "config.h"
#include "plan/lookup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

static int fail_entry(struct plan__lookup *l, const char *section)
{
    struct plan_graph *g = l->s->g;
    struct rwf_suggest near;
    const char *name = l->ref->count > 1 ? l->ref->parts[1] : "";
    char other[300];

    rwf_suggest_init(&near, name);
    for (size_t i = 0; i < g->entry_count; i++)
        if (strcmp(g->entries[i]->section, section) == 0)
            rwf_suggest_try(&near, g->entries[i]->name);
    plan__lookup_fail(l, RECIPE_E0202, "there is no %s.%s", section, name);
    plan__lookup_near(l, &near);
    for (size_t i = 0; i < g->entry_count && !rwf_suggest_best(&near); i++) {
        if (strcmp(g->entries[i]->name, name) != 0)
            continue;
        snprintf(other, sizeof(other), "%s", g->entries[i]->address);
        plan__lookup_hint(l, "did you mean '%s'?", other);
    }
    return -1;
}

bool plan__is_single(const struct plan__entry *e, const struct plan__entry *target)
{
    for (size_t i = 0; i < target->axis_count; i++)
        if (!e || !plan__has_axis(e, target->axes[i]))
            return false;
    return true;
}

/* The name of the output meant, or NULL after an error. */
static const char *output_name(struct plan__lookup *l, const struct plan__entry *target)
{
    const char *name, *first = json_object_iter_key(json_object_iter(target->outputs));
    struct rwf_suggest near;
    json_t *value;

    if (l->ref->count == 2) {
        if (target->main_output)
            return target->main_output;
        plan__lookup_fail(l, RECIPE_E0202, "%s is a step, not a value",
                          target->address);
        if (target->op->url)
            plan__lookup_hint(l, "its address is ${%s.url}", target->address);
        else if (first)
            plan__lookup_hint(l, "name one of its outputs: ${%s.outputs.%s}",
                              target->address, first);
        else
            plan__lookup_hint(
                l, "to run after it without using what it gives, write needs: [%s]",
                target->address);
        return NULL;
    }
    if (json_object_get(target->outputs, l->ref->parts[3]))
        return l->ref->parts[3];
    rwf_suggest_init(&near, l->ref->parts[3]);
    json_object_foreach(target->outputs, name, value)
        rwf_suggest_try(&near, name);
    plan__lookup_fail(l, RECIPE_E0202, "%s has no output '%s'", target->address,
                      l->ref->parts[3]);
    if (first)
        plan__lookup_hint(l, "its outputs begin with '%s'", first);
    else
        plan__lookup_hint(l, "it declares no outputs");
    plan__lookup_near(l, &near);
    return NULL;
}

/* parts[3] and what follows: a metric may have dots in its name. */
static const char *metric_name(struct plan__lookup *l)
{
    struct rwf_str name = {0};
    const char *out;

    for (size_t i = 3; i < l->ref->count; i++) {
        rwf_str_add(&name, i > 3 ? "." : "");
        rwf_str_add(&name, l->ref->parts[i]);
    }
    out = rwf_arena_strdup(l->a, name.data);
    rwf_str_free(&name);
    return out;
}

static int give_metric(struct plan__lookup *l, uint32_t step, const char *name,
                       const char *address)
{
    const struct plan_results *results = &l->s->g->results;
    double value;

    if (plan__lookup_shows(l))
        return plan__lookup_give(
            l, EXPR_PENDING, rwf_arena_printf(l->a, "<%s.metrics.%s>", address, name));
    if (results->metric && results->metric(results->ctx, step, name, &value) == 0)
        return plan__lookup_give(l, EXPR_FLOAT, rwf_arena_printf(l->a, "%.17g", value));
    if (l->ref->fallback)
        return plan__lookup_give(l, EXPR_STRING, l->ref->fallback);
    const char *names =
        results->metric_names ? results->metric_names(results->ctx, step) : NULL;
    plan__lookup_fail(l, RECIPE_E0202, "%s reported no metric '%s'; it reported: %s",
                      address, name, names && *names ? names : "none");
    l->err->code = names ? RWF_E_FAILED : PLAN_E_PENDING;
    return -1;
}

static int give_output(struct plan__lookup *l, uint32_t step, const char *name,
                       const char *address, struct expr_value *ret)
{
    const struct plan_results *results = &l->s->g->results;
    const char *value;

    if (plan__lookup_shows(l)) {
        *ret = (struct expr_value){
            .type = EXPR_PENDING,
            .text = rwf_arena_printf(l->a, "<%s.outputs.%s>", address, name)};
        return 0;
    }
    value = results->output ? results->output(results->ctx, step, name, l->s->g->mode)
                            : NULL;
    if (!value) {
        plan__lookup_fail(l, RECIPE_E0202, "the output '%s' of %s is not there yet",
                          name, address);
        l->err->code = PLAN_E_PENDING;
        return -1;
    }
    *ret =
        (struct expr_value){.type = EXPR_STRING, .text = rwf_arena_strdup(l->a, value)};
    return 0;
}

/* Types only: a pending value, or a list with one of them. */
static int give_pending(struct plan__lookup *l, bool single)
{
    struct expr_value *item = rwf_arena_alloc(l->a, sizeof(*item));

    item->type = EXPR_PENDING;
    item->text = rwf_arena_printf(l->a, "<%s>", l->ref->text);
    *l->ret = *item;
    if (!single)
        *l->ret = (struct expr_value){.type = EXPR_LIST, .items = item, .count = 1};
    return 0;
}

static int fail_metric_list(struct plan__lookup *l, const struct plan__entry *target)
{
    struct rwf_str some = {0};

    for (uint32_t i = 0; i < target->count && i < 3; i++) {
        rwf_str_addf(&some, "%s%s", i ? ", " : "", target->address);
        plan__add_suffix(&some, target, i);
    }
    plan__lookup_fail(
        l, RECIPE_E0208, "%s has %u instances (%s%s), so '${%s}' is no single number",
        target->address, (unsigned)target->count, some.data ? some.data : "",
        target->count > 3 ? ", …" : "", l->ref->text);
    plan__lookup_hint(
        l,
        "give the entry that asks the same matrix, or collect the numbers in a task");
    rwf_str_free(&some);
    return -1;
}

static struct plan__dep *dep_of(const struct plan__entry *e,
                                const struct plan__entry *target)
{
    return e && e->dep_by_address ? rwf_map_get(e->dep_by_address, target->address)
                                  : NULL;
}

static int give_results(struct plan__lookup *l, struct plan__entry *target, bool single,
                        const char *name)
{
    struct plan_graph *g = l->s->g;
    struct plan__dep *dep = dep_of(l->s->entry, target);
    size_t count = 0;

    rwf_assert(dep != NULL);
    const uint32_t *ids = plan__targets(g, l->s->entry, dep, l->s->number, &count);
    if (single && count != 1)
        return plan__lookup_fail(l, RECIPE_E0208, "'${%s}' means %zu instances here",
                                 l->ref->text, count);
    struct expr_value *items = rwf_arena_alloc(l->a, (count + 1) * sizeof(*items));
    for (size_t i = 0; i < count; i++) {
        uint32_t step = plan__step_number(g, target, ids[i]);
        const char *address =
            step == PLAN_NO_STEP ? target->address : g->steps[step].step.address;
        if (l->s->metric)
            return give_metric(l, step, name, address);
        if (give_output(l, step, name, address, &items[i]) < 0)
            return -1;
    }
    *l->ret =
        single ? items[0]
               : (struct expr_value){.type = EXPR_LIST, .items = items, .count = count};
    return 0;
}

/* said[key] = the value of node, when it has one; it must be known now. */
static int take_said(struct plan__scope *s, const struct recipe_node *node,
                     const char *key, json_t *said, struct rwf_err *err)
{
    json_t *value;

    if (!node || node->kind != RECIPE_SCALAR || node->null)
        return 0;
    value = plan__resolve_in(s, node, err);
    return value ? json_object_set_new(said, key, value) : -1;
}

/* ${SECTION.NAME.url} of a service. */
static int give_url(struct plan__lookup *l, struct plan__entry *target)
{
    struct plan__scope in = {
        .g = l->s->g, .stage = PLAN__STATIC, .depth = l->s->depth + 1};
    const struct recipe_node *http = recipe_get(target->body, "http");
    const struct recipe_node *tls = recipe_get(http, "tls");
    json_t *said = json_pack("{s:b}", "tls", tls && tls->kind == RECIPE_MAP);
    char *url = NULL;

    plan__scope_enter(&in, target, 0);
    if (l->s->depth >= PLAN__DEPTH_MAX)
        plan__lookup_fail(l, RECIPE_E0201, "'${%s}' refers to itself", l->ref->text);
    else if (take_said(&in, recipe_get(http, "host"), "host", said, l->err) == 0 &&
             take_said(&in, recipe_get(http, "port"), "port", said, l->err) == 0 &&
             take_said(&in, recipe_get(target->body, "route_prefix"), "route_prefix", said,
                       l->err) == 0)
        url = target->op->url(target->name, said);
    json_decref(said);
    if (!url) { /* an address that is wrong is told of where it stands */
        l->s->elsewhere = in.failed != NULL;
        return -1;
    }
    plan__lookup_give(l, EXPR_STRING, rwf_arena_strdup(l->a, url));
    free(url);
    return 0;
}

static bool is_url(const struct plan__lookup *l, const struct plan__entry *target)
{
    return target->op->url && l->ref->count == 3 && strcmp(l->ref->parts[2], "url") == 0;
}

int plan__lookup_entry(struct plan__lookup *l)
{
    struct plan__scope *s = l->s;
    const struct expr_ref *ref = l->ref;
    struct plan__entry *target = NULL;
    const char *name;
    char address[300];

    if (ref->count > 1) {
        snprintf(address, sizeof(address), "%s.%s", ref->parts[0], ref->parts[1]);
        target = rwf_map_get(s->g->by_address, address);
    }
    if (!target)
        return fail_entry(l, ref->parts[0]);
    if (is_url(l, target)) {
        s->target = target;
        s->metric = false;
        return give_url(l, target);
    }
    s->metric = ref->count > 3 && strcmp(ref->parts[2], "metrics") == 0;
    if (ref->count == 3 ||
        (ref->count > 3 && !s->metric &&
         (ref->count > 4 || strcmp(ref->parts[2], "outputs") != 0))) {
        plan__lookup_fail(l, RECIPE_E0202, "'${%s}' is not how a step is referred to",
                          ref->text);
        if (target->op->url)
            plan__lookup_hint(l, "its address is ${%s.url}", target->address);
        else
            plan__lookup_hint(l, "write ${%s.outputs.NAME} or ${%s.metrics.NAME}",
                              target->address, target->address);
        return -1;
    }
    name = s->metric ? metric_name(l) : output_name(l, target);
    if (!name)
        return -1;
    s->target = target;
    bool single = plan__is_single(s->entry, target);
    if (s->metric && !single)
        return fail_metric_list(l, target);
    if (s->stage == PLAN__CHECK)
        return give_pending(l, single);
    if (s->stage == PLAN__STATIC || !s->entry)
        return plan__lookup_fail(
            l, RECIPE_E0203,
            "'${%s}' is known only after %s has run, but this must "
            "be known when planning",
            ref->text, target->address);
    return give_results(l, target, single, name);
}
