/* SPDX-License-Identifier: Apache-2.0
 *
 * What is served holds its resources until the run ends. A step that needs more than is
 * left then would wait for ever, so that is refused before anything runs: for each
 * step, what the services hold that are not among those it comes before.
 */
#include "config.h"
#include "run/service.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "run/internal.h"

#define SLACK 1e-6

struct crowd {
    const struct engine *e;
    size_t count;
    bool *before; /* of one service: what it needs, and what that needs */
    uint32_t *todo;
    struct op_held *held; /* by step */
    struct op_held all;
};

static void add(struct op_held *to, const struct op_held *h)
{
    to->cpu += h->cpu;
    to->gpu += h->gpu;
    to->memory += h->memory;
}

static void find_before(struct crowd *c, uint32_t service)
{
    size_t left = 1;

    memset(c->before, 0, c->count * sizeof(*c->before));
    c->before[service] = true;
    c->todo[0] = service;
    while (left > 0) {
        const struct plan_step *p = engine__step_at(c->e, c->todo[--left]);
        for (size_t i = 0; i < p->need_count; i++)
            if (!c->before[p->needs[i]]) {
                c->before[p->needs[i]] = true;
                c->todo[left++] = p->needs[i];
            }
    }
}

static int add_service(struct crowd *c, uint32_t service, struct rwf_err *err)
{
    const struct plan_step *p = engine__step_at(c->e, service);
    struct op_held held = {0};

    if (p->op->holds == NULL)
        return 0;
    json_t *spec = plan_step_spec(c->e->graph, p, err);
    if (spec == NULL)
        return -1;
    p->op->holds(spec, &held);
    json_decref(spec);
    add(&c->all, &held);
    find_before(c, service);
    for (uint32_t i = 0; i < c->count; i++)
        if (!c->before[i])
            add(&c->held[i], &held);
    return 0;
}

/* NULL: there is room for both. */
static const char *short_of(const struct crowd *c, const struct op_held *h, double cpu,
                            double gpu, int64_t memory)
{
    const struct schedule_machine *m = &c->e->machine;

    if (h->cpu + cpu > m->cpu + SLACK)
        return "cpu";
    if (h->gpu + gpu > m->gpu_count + SLACK)
        return "gpu";
    if (h->memory > m->memory - memory)
        return "memory";
    return NULL;
}

static int refuse(const struct crowd *c, const struct plan_step *p, const char *what,
                  struct rwf_err *err)
{
    char *where =
        recipe_where(recipe_sources(plan_graph_recipe(c->e->graph)), p->body->span);

    if (p->op->service)
        rwf_fail(err, RWF_E_FIT,
                 "%s: %s: with it, what is served holds more %s than this machine has "
                 "(%g of %g cpu, %g of %d gpu): have fewer replicas, or give each less "
                 "(resources)",
                 where, p->address, what, c->all.cpu, c->e->machine.cpu, c->all.gpu,
                 c->e->machine.gpu_count);
    else
        rwf_fail(err, RWF_E_FIT,
                 "%s: %s would wait for ever for its %s: it may come after what is "
                 "served, and that holds %g of %g cpu and %g of %d gpu until the run "
                 "ends; give the replicas less (resources), or the step",
                 where, p->address, what, c->held[p->index].cpu, c->e->machine.cpu,
                 c->held[p->index].gpu, c->e->machine.gpu_count);
    free(where);
    return -1;
}

static int judge(const struct crowd *c, struct rwf_err *err)
{
    for (uint32_t i = 0; i < c->count; i++) {
        const struct plan_step *p = engine__step_at(c->e, i);
        const struct plan_policy *need = p->policy;
        const char *what = p->op->service          ? short_of(c, &c->all, 0, 0, 0)
                           : p->op->decide != NULL ? NULL
                                                   : short_of(c, &c->held[i], need->cpu,
                                                              need->gpu, need->memory);
        if (what != NULL)
            return refuse(c, p, what, err);
    }
    return 0;
}

int engine__service_fits(struct engine *e, struct rwf_err *err)
{
    struct crowd c = {.e = e, .count = plan_graph_count(e->graph)};
    bool any = false;
    int result = 0;

    if (e->options->cluster != NULL || e->away != NULL) /* many machines: it may grow */
        return 0;
    for (uint32_t i = 0; i < c.count && !any; i++)
        any = engine__step_at(e, i)->op->service;
    if (!any)
        return 0;
    c.before = rwf_xcalloc(c.count, sizeof(*c.before));
    c.todo = rwf_xcalloc(c.count, sizeof(*c.todo));
    c.held = rwf_xcalloc(c.count, sizeof(*c.held));
    engine__resolve_as(e, PLAN_SHOW);
    for (uint32_t i = 0; i < c.count && result == 0; i++)
        if (engine__step_at(e, i)->op->service)
            result = add_service(&c, i, err);
    if (result == 0)
        result = judge(&c, err);
    free(c.before);
    free(c.todo);
    free(c.held);
    return result;
}
