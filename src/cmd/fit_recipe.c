/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf fit RECIPE: its deployments with api: openai, each with the flags of its
 * engine. What a run makes or downloads first is not there to be looked at, and said to
 * be so.
 */
#include "config.h"

#include "cmd/fit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cmd/compile.h"
#include "cmd/serve.h"

struct walk {
    struct cmd_call *call;
    const struct cmd_compiled *compiled;
    const struct fit_flags *flags;
    struct rwf_str *text;
    json_t *list;
    int code;
};

/* --- which folder --- */

/* "<models.chat.outputs.model>" -> "chat"; NULL: no model of the recipe. */
static char *model_name(const char *shown)
{
    static const char head[] = "<models.";

    if (!rwf_starts_with(shown, head))
        return NULL;
    const char *at = shown + strlen(head);
    return strndup(at, strcspn(at, ".>"));
}

static char *real_folder(const struct walk *w, const char *path)
{
    char *joined = rwf_fs_join(recipe_dir(w->compiled->recipe), path);
    char *real = rwf_fs_absolute(joined);

    free(joined);
    return real;
}

/* The folder of models.NAME: its path, or that of what it is quantised from. */
static char *folder_of_model(const struct walk *w, const char *name, bool *ret_awq)
{
    const struct recipe_node *models =
        recipe_get(recipe_root(w->compiled->recipe), "models");
    const struct recipe_node *one = recipe_get(models, name);
    const char *from = recipe_text(recipe_get(one, "from"), NULL);
    const char *path = recipe_text(recipe_get(one, "path"), NULL);

    if (from != NULL && rwf_starts_with(from, "${models.")) {
        char *source = strndup(from + 9, strcspn(from + 9, ".}"));
        one = recipe_get(models, source);
        path = recipe_text(recipe_get(one, "path"), NULL);
        free(source);
    } else if (from != NULL) {
        path = from;
    }
    *ret_awq = from != NULL;
    return path == NULL || strstr(path, "${") != NULL ? NULL : real_folder(w, path);
}

static char *find_folder(const struct walk *w, const char *shown, bool *ret_awq)
{
    char *name = model_name(shown), *folder;

    *ret_awq = false;
    folder = name != NULL      ? folder_of_model(w, name, ret_awq)
             : shown[0] == '<' ? NULL
                               : real_folder(w, shown);
    free(name);
    if (folder != NULL && cmd_serve_is_model(folder))
        return folder;
    free(folder);
    return NULL;
}

/* --- one deployment --- */

static int64_t whole(const json_t *engine, const char *key, int64_t fallback)
{
    const json_t *v = json_object_get(engine, key);
    const char *text = json_string_value(v);

    return json_is_integer(v) ? json_integer_value(v)
           : text != NULL     ? strtoll(text, NULL, 10)
                              : fallback;
}

/* Wrong ones keep what holds anyway: serve refuses them. */
static int64_t amount(const json_t *engine, const char *key, int64_t fallback)
{
    const char *text = json_string_value(json_object_get(engine, key));
    struct rwf_err none = RWF_ERR_INIT;
    int64_t n;

    return text != NULL && cmd_serve_amount(key, text, &n, &none) == 0 ? n
                                                                       : whole(engine, key, fallback);
}

static void overlay(struct fit_flags *f, const json_t *engine)
{
    const json_t *length = json_object_get(engine, "max_model_len");
    const json_t *share = json_object_get(engine, "gpu_memory_utilization");

    if (json_is_string(length))
        snprintf(f->length, sizeof(f->length), "%s", json_string_value(length));
    else if (json_is_integer(length))
        snprintf(f->length, sizeof(f->length), "%lld",
                 (long long)json_integer_value(length));
    if (json_is_string(share))
        f->share = strtod(json_string_value(share), NULL);
    else if (json_is_number(share))
        f->share = json_number_value(share);
    f->sequences = whole(engine, "max_num_seqs", f->sequences);
    f->tokens = amount(engine, "max_num_batched_tokens", f->tokens);
    f->cache = amount(engine, "kv_cache_memory_bytes", f->cache);
}

static void not_here(struct walk *w, const char *address, const char *shown)
{
    json_array_append_new(w->list, json_pack("{s:s, s:s, s:n}", "deployment", address,
                                             "model", shown, "fits"));
    rwf_str_addf(w->text, "%s: %s is not here before the run\n\n", address, shown);
}

static int fit_folder(struct walk *w, const char *address, const char *folder, bool awq,
                      const json_t *engine, struct rwf_err *err)
{
    struct fit_flags flags = *w->flags;
    struct llm_config config;
    json_t *one = NULL;

    if (llm_config_read(folder, &config, err) != 0)
        return rwf_wrap(err, "%s", address);
    if (config.bits == 0 && (awq || cmd_given(w->call, "awq"))) {
        config.bits = 4;
        config.group = 128;
    }
    overlay(&flags, engine);
    char *name = rwf_xasprintf("%s: %s", address, folder);
    int code = cmd_fit_one(w->call, name, &config, &flags, w->text, &one, err);
    free(name);
    if (code < 0)
        return rwf_wrap(err, "%s", address);
    json_object_set_new(one, "deployment", json_string(address));
    json_object_set_new(one, "model", json_string(folder));
    json_array_append_new(w->list, one);
    rwf_str_addc(w->text, '\n');
    w->code = rwf_exit_worse(w->code, code);
    return 0;
}

static int fit_deployment(struct walk *w, const struct plan_step *step,
                          const char *name, const struct recipe_node *body,
                          struct rwf_err *err)
{
    const char *api = recipe_text(recipe_get(body, "api"), "");
    const struct recipe_node *engine = recipe_get(body, "engine");
    bool awq;
    int rc = 0;

    if (strcmp(api, "openai") != 0 || recipe_get(body, "model") == NULL)
        return 0;
    json_t *shown =
        plan_resolve(w->compiled->graph, step, recipe_get(body, "model"), err);
    json_t *flags = engine == NULL
                        ? json_object()
                        : plan_resolve(w->compiled->graph, step, engine, err);
    char *address = rwf_xasprintf("%s%s%s", step->address, name == NULL ? "" : ".",
                                  name == NULL ? "" : name);
    char *folder = NULL;
    if (!json_is_string(shown) || flags == NULL)
        rc = -1;
    else if ((folder = find_folder(w, json_string_value(shown), &awq)) == NULL)
        not_here(w, address, json_string_value(shown));
    else
        rc = fit_folder(w, address, folder, awq, flags, err);
    free(folder);
    free(address);
    json_decref(flags);
    json_decref(shown);
    return rc;
}

static int fit_step(struct walk *w, const struct plan_step *step, struct rwf_err *err)
{
    const struct recipe_node *all = recipe_get(step->body, "deployments");

    if (all == NULL)
        return fit_deployment(w, step, NULL, step->body, err);
    for (size_t i = 0; i < all->count; i++)
        if (fit_deployment(w, step, all->pairs[i].key, all->pairs[i].value, err) != 0)
            return -1;
    return 0;
}

int cmd_fit_recipe(struct cmd_call *call, const char *path,
                   const struct fit_flags *given, struct rwf_str *text,
                   struct rwf_err *err)
{
    struct cmd_compiled c;
    struct fit_there there = {0};
    struct fit_flags flags = *given;
    struct walk w = {call, &c, &flags, text, NULL, 0};
    int code = cmd_compile(call, path, true, &c, err);

    flags.there = &there;
    w.list = json_array();
    if (code == 0 && !cmd_given(call, "gpu") && !cmd_given(call, "memory"))
        code = cmd_fit_there(call, c.recipe, &there, err);
    for (uint32_t i = 0; code == 0 && i < plan_graph_count(c.graph); i++) {
        const struct plan_step *step = plan_graph_step(c.graph, i);
        plan_graph_resolve_as(c.graph, PLAN_SHOW, NULL);
        if (rwf_starts_with(step->address, "serve."))
            code = fit_step(&w, step, err);
    }
    if (code == 0 && json_array_size(w.list) == 0)
        rwf_str_addf(text, "%s serves no model with api: openai\n", path);
    if (code == 0)
        code = w.code;
    cmd_fit_there_free(&there);
    cmd_compiled_free(&c);
    call->data = json_pack("{s:o}", "deployments", w.list);
    return code;
}
