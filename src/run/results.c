/* SPDX-License-Identifier: Apache-2.0
 *
 * What finished steps gave, for the references of later ones.
 */
#include "config.h"
#include "run/internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "run/layout.h"

/* The output that ${section.name} alone means has the path of one that has a name. */
static const char *real_name(const struct engine *e, uint32_t step, const char *name)
{
    const json_t *declared = plan_step_outputs(e->graph, engine__step_at(e, step));
    const char *path = json_string_value(json_object_get(declared, name)), *other;
    json_t *value;
    if (*name != '\0' || path == NULL)
        return name;
    json_object_foreach((json_t *)(uintptr_t)declared, other, value)
        if (*other != '\0' && strcmp(json_string_value(value), path) == 0)
            return other;
    return name;
}

static const char *output(void *ctx, uint32_t step, const char *name,
                          enum plan_mode mode)
{
    struct engine *e = ctx;
    const json_t *outputs = e->steps[step].outputs;
    const json_t *one = json_object_get(outputs, real_name(e, step, name));
    const char *member = mode == PLAN_KEY ? "digest" : "path";
    return json_string_value(json_object_get(one, member));
}

static int metric(void *ctx, uint32_t step, const char *name, double *ret)
{
    struct engine *e = ctx;
    const json_t *value = json_object_get(e->steps[step].metrics, name);
    if (!json_is_number(value))
        return -1;
    *ret = json_number_value(value);
    return 0;
}

static const char *metric_names(void *ctx, uint32_t step)
{
    struct engine *e = ctx;
    const char *name;
    json_t *value;
    rwf_str_clear(&e->names);
    json_object_foreach(e->steps[step].metrics, name, value)
        rwf_str_addf(&e->names, "%s%s", e->names.len > 0 ? ", " : "", name);
    return e->names.len > 0 ? e->names.data : NULL;
}

char *engine__attempt_dir(const struct engine *e, const struct plan_step *step,
                          int number)
{
    char *relative = run_attempt_dir(step->address, number);
    char *dir = rwf_xasprintf("%s/%s", e->dir, relative);
    free(relative);
    return dir;
}

static const char *coming_dir(void *ctx, uint32_t step)
{
    struct engine *e = ctx;
    int number = schedule_attempt(e->schedule, step) + 1;
    char *dir = engine__attempt_dir(e, engine__step_at(e, step), number);
    rwf_str_clear(&e->step_dir);
    rwf_str_add(&e->step_dir, dir);
    free(dir);
    return e->step_dir.data;
}

void engine__results_init(struct engine *e)
{
    e->results = (struct plan_results){.ctx = e,
                                       .output = output,
                                       .metric = metric,
                                       .metric_names = metric_names,
                                       .run_id = e->id,
                                       .dir = coming_dir};
}

void engine__results_set(struct engine *e, uint32_t step, json_t *outputs,
                         json_t *metrics)
{
    struct engine__step *s = &e->steps[step];
    json_decref(s->outputs);
    json_decref(s->metrics);
    s->outputs = outputs;
    s->metrics = metrics;
}

void engine__resolve_as(struct engine *e, enum plan_mode mode)
{
    plan_graph_resolve_as(e->graph, mode, &e->results);
}
