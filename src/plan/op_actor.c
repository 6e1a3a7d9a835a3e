/* SPDX-License-Identifier: Apache-2.0
 *
 * actors: objects in workers that tasks call. The step itself only stands for what the
 * actor is made of, as its output "actor" (its address and the digest of its spec):
 * what calls it depends on that, and the first call that must run starts it. So a run
 * in which all calls are in the cache starts no actor. Its spec is
 *
 *   {"plugin":PATH,"class":NAME,"args":JSON,"env":{…},"replicas":N,"name":TEXT?,
 *    "restart":{"max":N,"backoff":NS},"timeout":NS}
 *
 * of which how it is run (replicas, name, restart, timeout) is no part of keys.
 */
#include "config.h"
#include "plan/builtin.h"

#include "base/clock.h"
#include "base/mem.h"
#include "plan/inside.h"

#define BACKOFF (100 * RWF_NS_PER_MS)

static int lower(struct plan_lowering *l, const char *name,
                 const struct recipe_node *body, struct rwf_err *err)
{
    return plan_lower_one(l, name, body, err);
}

static json_t *outputs(const struct recipe_node *body)
{
    (void)body;
    return json_pack("{s:s, s:s}", "", "actor.json", "actor", "actor.json");
}

/* A whole number, or fallback when the node is absent. */
static int whole_spec(const struct plan_graph *g, const struct plan_step *step,
                      const struct recipe_node *node, const char *key, int64_t fallback,
                      json_t *spec, struct rwf_err *err)
{
    if (node && !node->null)
        return plan__value_spec(g, step, node, key, spec, err);
    return json_object_set_new(spec, key, json_integer((json_int_t)fallback));
}

static int restart_spec(const struct plan_graph *g, const struct plan_step *step,
                        json_t *spec, struct rwf_err *err)
{
    const struct recipe_node *node = recipe_get(step->body, "restart");
    bool map = node && node->kind == RECIPE_MAP;
    json_t *out = json_object();

    json_object_set_new(spec, "restart", out);
    if (whole_spec(g, step, map ? recipe_get(node, "max") : node, "max", 0, out, err) <
        0)
        return -1;
    return whole_spec(g, step, map ? recipe_get(node, "backoff") : NULL, "backoff",
                      BACKOFF, out, err);
}

static int run_spec(const struct plan_graph *g, const struct plan_step *step,
                    json_t *spec, struct rwf_err *err)
{
    const struct recipe_node *body = step->body, *name = recipe_get(body, "name");

    if (g->mode == PLAN_KEY)
        return 0;
    if (name && !name->null && plan__value_spec(g, step, name, "name", spec, err) < 0)
        return -1;
    if (whole_spec(g, step, recipe_get(body, "replicas"), "replicas", 1, spec, err) <
            0 ||
        whole_spec(g, step, recipe_get(body, "timeout"), "timeout", 0, spec, err) < 0)
        return -1;
    return restart_spec(g, step, spec, err);
}

static json_t *spec(const struct plan_graph *g, const struct plan_step *step,
                    struct rwf_err *err)
{
    const struct recipe_node *body = step->body;
    json_t *out = json_object();

    if (plan__path_spec(g, step, recipe_get(body, "plugin"), "plugin", out, err) == 0 &&
        plan__value_spec(g, step, recipe_get(body, "class"), "class", out, err) == 0 &&
        plan__value_spec(g, step, recipe_get(body, "args"), "args", out, err) == 0 &&
        plan__value_spec(g, step, recipe_get(body, "env"), "env", out, err) == 0 &&
        run_spec(g, step, out, err) == 0)
        return out;
    json_decref(out);
    return NULL;
}

static int inputs(const struct plan_graph *g, const struct plan_step *step,
                  const json_t *spec, json_t *files, struct rwf_err *err)
{
    (void)step;
    plan__args_inputs(g, json_object_get(spec, "args"), files);
    return plan_add_path(g, json_string_value(json_object_get(spec, "plugin")), files,
                          err);
}

static int call(const json_t *spec, struct op_call *ret, struct rwf_err *err)
{
    (void)err;
    *ret = (struct op_call){
        .declares = true,
        .plugin = json_string_value(json_object_get(spec, "plugin")),
        .function = json_string_value(json_object_get(spec, "class")),
        .args = json_object_get(spec, "args"),
        .env = json_object_get(spec, "env"),
    };
    return 0;
}

const struct op plan_actor_op = {
    .name = "actor",
    .section = "actors",
    .summary = "a class of a plugin: an object in a worker that tasks call",
    .version = 1,
    .leased = true,
    .lower = lower,
    .outputs = outputs,
    .spec = spec,
    .inputs = inputs,
    .call = call,
};
