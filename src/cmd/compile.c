/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/compile.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "view/github.h"

#define MAX_INPUT (256 << 20) /* a plan of 100,000 steps is some 20 MB */

/* "a=b" values as settings; names are copies, values borrow. */
static struct recipe_setting *settings(const struct cmd_call *call, const char *option,
                                       size_t *ret_count)
{
    const char **list = cmd_list(call, option, ret_count);
    struct recipe_setting *out = rwf_xcalloc(*ret_count + 1, sizeof(*out));

    for (size_t i = 0; i < *ret_count; i++) {
        const char *equals = strchr(list[i], '=');
        out[i].name = rwf_xstrndup(list[i], (size_t)(equals - list[i]));
        out[i].value = equals + 1;
    }
    free(list);
    return out;
}

static void settings_free(struct recipe_setting *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((char *)list[i].name);
    free(list);
}

static bool has_option(const struct cmd_call *call, const char *name)
{
    for (const struct cmd_option *o = call->cmd->options; o && o->name; o++)
        if (strcmp(o->name, name) == 0)
            return true;
    return false;
}

static struct recipe *load(struct cmd_call *call, const char *path,
                           struct recipe_diags *diags, struct rwf_err *err)
{
    struct recipe_setting *params, *sets;
    struct recipe_options options = {.profile = cmd_text(call, "profile", NULL)};

    params = settings(call, "param", &options.param_count);
    sets = settings(call, "set", &options.set_count);
    options.params = params;
    options.sets = sets;
    struct recipe *r = recipe_load(path, &options, diags, err);
    settings_free(params, options.param_count);
    settings_free(sets, options.set_count);
    return r;
}

/* Annotations go to stdout, where GitHub looks for them. */
static void report_diags(struct cmd_call *call, const struct cmd_compiled *c)
{
    const struct recipe_sources *sources = recipe_sources(c->recipe);

    if (recipe_diags_count(c->diags) == 0)
        return;
    if (call->json) {
        json_t *list = recipe_diags_json(c->diags, sources), *item;
        size_t i;
        json_array_foreach(list, i, item)
            cmd_diagnose(call, json_incref(item));
        json_decref(list);
        return;
    }
    fflush(stdout);
    recipe_diags_print(c->diags, sources, stderr, call->color_err);
    if (strcmp(call->format, "github") == 0 || view_github_active())
        view_github_diags(c->diags, sources, stdout);
}

static int build(struct cmd_call *call, struct cmd_compiled *c, struct rwf_err *err)
{
    struct rwf_err local = RWF_ERR_INIT;

    if (has_option(call, "only"))
        c->options.only = c->only = cmd_list(call, "only", &c->options.only_count);
    if (has_option(call, "from"))
        c->options.from = c->from = cmd_list(call, "from", &c->options.from_count);
    c->graph = plan_graph_build(c->recipe, cmd_ops, &c->options, c->diags, &local);
    report_diags(call, c);
    int code = recipe_diags_exit_code(c->diags);
    if (c->graph || code)
        return code;
    if (err)
        *err = local;
    return -1;
}

static bool peek_is_plan(const char *path)
{
    char head[256];
    FILE *f = strcmp(path, "-") == 0 ? NULL : fopen(path, "re");

    if (!f)
        return false;
    size_t len = fread(head, 1, sizeof(head), f);
    fclose(f);
    return planfile_is(head, len);
}

static int refuse_shaping(const struct cmd_call *call, struct rwf_err *err)
{
    static const char *const names[] = {"profile", "param", "set", "only", "from"};

    for (size_t i = 0; i < RWF_COUNT(names); i++)
        if (has_option(call, names[i]) &&
            cmd_refuse(call, names[i],
                       "on a plan: it is fixed; plan the recipe again with it",
                       err) < 0)
            return -1;
    return 0;
}

static int compile_planfile(struct cmd_call *call, const char *path,
                            struct cmd_compiled *c, struct rwf_err *err)
{
    json_error_t where;
    size_t len;

    if (refuse_shaping(call, err) < 0)
        return -1;
    char *text = rwf_fs_read(path, MAX_INPUT, &len, err);
    if (!text)
        return -1;
    c->plan = json_loadb(text, len, 0, &where);
    free(text);
    if (!c->plan)
        return rwf_fail(err, RWF_E_INPUT, "%s: a damaged plan: line %d: %s; plan again",
                        path, where.line, where.text);
    return cmd_compile_plan(call, c->plan, c, err);
}

int cmd_compile(struct cmd_call *call, const char *path, bool whole,
                struct cmd_compiled *c, struct rwf_err *err)
{
    memset(c, 0, sizeof(*c));
    if (peek_is_plan(path))
        return compile_planfile(call, path, c, err);
    c->diags = recipe_diags_create();
    c->recipe = load(call, path, c->diags, err);
    if (!c->recipe)
        return -1;
    if (whole)
        return build(call, c, err);
    report_diags(call, c);
    return recipe_diags_exit_code(c->diags);
}

int cmd_compile_plan(struct cmd_call *call, json_t *plan, struct cmd_compiled *c,
                     struct rwf_err *err)
{
    struct rwf_err local = RWF_ERR_INIT;

    if (!c->diags)
        c->diags = recipe_diags_create();
    c->graph = planfile_open(plan, cmd_ops, &c->recipe, c->diags, &local);
    if (c->recipe)
        report_diags(call, c);
    int code = recipe_diags_exit_code(c->diags);
    if (c->graph || code)
        return code;
    if (err)
        *err = local;
    return -1;
}

void cmd_compiled_free(struct cmd_compiled *c)
{
    plan_graph_destroy(c->graph);
    recipe_destroy(c->recipe);
    recipe_diags_destroy(c->diags);
    json_decref(c->plan);
    free(c->only);
    free(c->from);
}
