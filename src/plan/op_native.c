/* SPDX-License-Identifier: Apache-2.0
 *
 * tasks with native: a function of a plugin, or a method of an actor. The spec is
 *
 *   {"plugin":PATH,"function":NAME} or {"actor":"actors.NAME","method":NAME}, and
 *   {"args":JSON,"env":{…},"outputs":{…},"inputs":{…}?,"item":PATH?}
 *
 * and with rows also {"rows":PATH,"batch":N?,"parallel":N?}: those are run by data/, by
 * a process that calls the function for them. An actor's content in a key is the digest
 * of its description (op_actor.c), so calls are cached by what the actor is made of;
 * a call whose result depends on earlier calls says cache: false.
 */
#include "config.h"
#include "plan/builtin.h"

#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/suggest.h"
#include "plan/inside.h"

#define ACTORS "actors."

/* --- what the schema cannot say --- */

/* "actors.model" of "${actors.model}", in memory of the graph's; NULL: it is not that.
 */
static char *actor_of(const struct recipe_node *node)
{
    const char *text = node && node->kind == RECIPE_SCALAR ? node->text : NULL;
    size_t len = text ? strlen(text) : 0;

    if (len < 4 || strncmp(text, "${", 2) != 0 || text[len - 1] != '}')
        return NULL;
    char *name = rwf_xstrndup(text + 2, len - 3);
    if (rwf_starts_with(name, ACTORS) && !strpbrk(name + strlen(ACTORS), ".$?{ "))
        return name;
    free(name);
    return NULL;
}

static void check_actor(const struct recipe *r, const char *name,
                        const struct recipe_node *node, struct recipe_diags *diags)
{
    const struct recipe_node *actors = recipe_get(recipe_root(r), "actors");
    const char *word = recipe_text(node, "");
    char *address = actor_of(node);
    struct rwf_suggest near;

    if (!node || address) {
        free(address);
        return;
    }
    struct recipe_diag *d =
        recipe_diag_add(diags, RECIPE_E0306, node->span,
                        "tasks.%s: actor takes a reference to an actor", name);
    if (rwf_starts_with(word, ACTORS))
        word += strlen(ACTORS);
    rwf_suggest_init(&near, word);
    for (size_t i = 0; actors && actors->kind == RECIPE_MAP && i < actors->count; i++)
        rwf_suggest_try(&near, actors->pairs[i].key);
    const char *best = rwf_suggest_best(&near);
    recipe_diag_hint(d, "write ${actors.%s}", best ? best : "NAME");
}

static void complain(struct recipe_diags *diags, const struct recipe_node *node,
                     const char *name, const char *what, const char *hint)
{
    struct recipe_diag *d;

    if (!node || node->null)
        return;
    d = recipe_diag_add(diags, RECIPE_E0306, node->span, "tasks.%s %s", name, what);
    recipe_diag_hint(d, "%s", hint);
}

/* The rows join the arguments. */
static void check_rows(const char *name, const struct recipe_node *args,
                       struct recipe_diags *diags)
{
    static const char *const taken[] = {"row", "rows"};

    if (!args || args->null)
        return;
    if (args->kind != RECIPE_MAP)
        complain(diags, args, name, "goes through rows, so its args is a map",
                 "the function gets that map with the row in it");
    for (size_t i = 0; args->kind == RECIPE_MAP && i < RWF_COUNT(taken); i++)
        complain(diags, recipe_get(args, taken[i]), name,
                 "goes through rows, which stand in args as row or rows already",
                 "give this argument another name");
}

static void validate(const struct recipe *r, const char *name,
                     const struct recipe_node *body, struct recipe_diags *diags)
{
    const struct recipe_node *native = recipe_get(body, "native");
    const struct recipe_node *actor = recipe_get(native, "actor");

    plan_task_op.validate(r, name, body, diags);
    check_actor(r, name, actor, diags);
    complain(diags, recipe_get(body, "dir"), name, "runs in a worker, which has no dir",
             "give the function its folder as an argument: ${step.dir}");
    complain(diags, recipe_get(recipe_get(body, "outputs"), "result"), name,
             "has the output result already: what the function returns",
             "give this output another name");
    if (plan__has_rows(body))
        check_rows(name, recipe_get(native, "args"), diags);
    if (plan__has_rows(body))
        complain(diags, actor, name, "goes through rows, which is for functions",
                 "name a plugin and a function, or give the rows to a method in its "
                 "arguments");
}

static bool serves(const struct recipe_node *body)
{
    return recipe_get(body, "native") != NULL;
}

/* --- the spec --- */

json_t *plan_native_outputs(const struct recipe_node *body)
{
    json_t *out = plan_task_op.outputs(body);

    json_object_set_new(
        out, "result",
        json_string(plan__has_rows(body) ? "result.ndjson" : "result.json"));
    return out;
}

int plan__path_spec(const struct plan_graph *g, const struct plan_step *step,
                    const struct recipe_node *node, const char *key, json_t *spec,
                    struct rwf_err *err)
{
    json_t *path = plan_resolve(g, step, node, err);
    const char *text = json_string_value(path);

    if (!text || !*text) {
        if (path)
            rwf_fail(err, RWF_E_RECIPE, "%s: %s is empty: it is the path of a file",
                     step->address, key);
        json_decref(path);
        return -1;
    }
    if (g->mode == PLAN_RUN) {
        char *full = rwf_fs_join(recipe_dir(g->recipe), text);
        json_string_set(path, full);
        free(full);
    }
    return json_object_set_new(spec, key, path);
}

int plan__value_spec(const struct plan_graph *g, const struct plan_step *step,
                     const struct recipe_node *node, const char *key, json_t *spec,
                     struct rwf_err *err)
{
    json_t *value =
        node && !node->null ? plan_resolve(g, step, node, err) : json_object();

    return value ? json_object_set_new(spec, key, value) : -1;
}

/* Which actor: its content for the key, itself otherwise. */
static int actor_spec(const struct plan_graph *g, const struct plan_step *step,
                      const struct recipe_node *node, json_t *spec, struct rwf_err *err)
{
    if (g->mode == PLAN_KEY)
        return plan__value_spec(g, step, node, "actor", spec, err);
    char *address = actor_of(node);
    int rc = address ? json_object_set_new(spec, "actor", json_string(address))
                     : rwf_fail(err, RWF_E_RECIPE, "%s: actor takes ${actors.NAME}",
                                step->address);
    free(address);
    return rc;
}

static int rows_spec(const struct plan_graph *g, const struct plan_step *step,
                     json_t *spec, struct rwf_err *err)
{
    const struct plan__entry *e = ((const struct plan__step *)step)->entry;
    const struct recipe_node *foreach = recipe_get(step->body, "foreach");
    const struct recipe_node *batch = recipe_get(foreach, "batch");

    if (!plan__has_rows(step->body))
        return 0;
    /* How many calls run at once changes no result. */
    if (e->max_parallel > 0 && g->mode != PLAN_KEY)
        json_object_set_new(spec, "parallel", json_integer(e->max_parallel));
    if (batch && !batch->null &&
        plan__value_spec(g, step, batch, "batch", spec, err) < 0)
        return -1;
    return plan__path_spec(g, step, recipe_get(foreach, "rows"), "rows", spec, err);
}

static int what_spec(const struct plan_graph *g, const struct plan_step *step,
                     json_t *spec, struct rwf_err *err)
{
    const struct recipe_node *native = recipe_get(step->body, "native");
    const struct recipe_node *actor = recipe_get(native, "actor");
    const struct recipe_node *plugin = recipe_get(native, "plugin");
    const char *key = actor ? "method" : "function";
    const struct recipe_node *name = recipe_get(native, key);

    if ((!actor && !plugin) || !name)
        return rwf_fail(err, RWF_E_RECIPE,
                        "%s: native wants a plugin and a function, or an actor and a "
                        "method",
                        step->address);
    if (actor ? actor_spec(g, step, actor, spec, err) < 0
              : plan__path_spec(g, step, plugin, "plugin", spec, err) < 0)
        return -1;
    return plan__value_spec(g, step, name, key, spec, err);
}

json_t *plan_native_spec(const struct plan_graph *g, const struct plan_step *step,
                         struct rwf_err *err)
{
    const struct recipe_node *args =
        recipe_get(recipe_get(step->body, "native"), "args");
    json_t *out = json_object();

    if (what_spec(g, step, out, err) == 0 &&
        plan__value_spec(g, step, args, "args", out, err) == 0 &&
        rows_spec(g, step, out, err) == 0 && plan__task_spec(g, step, out, err) == 0)
        return out;
    json_decref(out);
    return NULL;
}

/* --- what decides the result --- */

void plan__args_inputs(const struct plan_graph *g, const json_t *args, json_t *files)
{
    const char *key;
    json_t *value;
    size_t i;

    if (json_is_string(args))
        plan_add_code_word(g, NULL, json_string_value(args), files);
    json_array_foreach((json_t *)args, i, value)
        plan__args_inputs(g, value, files);
    json_object_foreach((json_t *)args, key, value)
        plan__args_inputs(g, value, files);
}

int plan_native_inputs(const struct plan_graph *g, const struct plan_step *step,
                       const json_t *spec, json_t *files, struct rwf_err *err)
{
    static const char *const paths[] = {"plugin", "rows"};

    for (size_t i = 0; i < RWF_COUNT(paths); i++) {
        const char *path = json_string_value(json_object_get(spec, paths[i]));
        if (path && plan_add_path(g, path, files, err) < 0)
            return -1;
    }
    plan__args_inputs(g, json_object_get(spec, "args"), files);
    return plan__task_inputs(g, step, spec, files, err);
}

/* --- the call --- */

static int call(const json_t *spec, struct op_call *ret, struct rwf_err *err)
{
    (void)err;
    *ret = (struct op_call){
        .plugin = json_string_value(json_object_get(spec, "plugin")),
        .function = json_string_value(json_object_get(spec, "function")),
        .actor = json_string_value(json_object_get(spec, "actor")),
        .method = json_string_value(json_object_get(spec, "method")),
        .args = json_object_get(spec, "args"),
        .env = json_object_get(spec, "env"),
    };
    return 0;
}

static int lower(struct plan_lowering *l, const char *name,
                 const struct recipe_node *body, struct rwf_err *err)
{
    return plan_lower_one(l, name, body, err);
}

void plan_native_validate(const struct recipe *r, const char *name,
                          const struct recipe_node *body, struct recipe_diags *diags)
{
    validate(r, name, body, diags);
}

bool plan_native_has_rows(const struct recipe_node *body)
{
    return plan__has_rows(body) && serves(body);
}

const struct op plan_native_op = {
    .name = "native",
    .section = "tasks",
    .summary = "a function of a plugin, or a method of an actor, in a warm worker",
    .version = 1,
    .leased = true,
    .serves = serves,
    .validate = validate,
    .lower = lower,
    .outputs = plan_native_outputs,
    .spec = plan_native_spec,
    .inputs = plan_native_inputs,
    .call = call,
};
