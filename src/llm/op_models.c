/* SPDX-License-Identifier: Apache-2.0
 *
 * The ops of `models`. Whatever the folder came from, its config.json and the headers
 * of its weights are checked before the step is done, so that a wrong model fails here
 * and not when it shall serve.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "base/str.h"
#include "llm/model.h"
#include "llm/op_models.h"
#include "llm/quantize.h"
#include "plan/graph.h"
#include "tensor/safetensors.h"
#include "text/tokenizer.h"

#define OUTPUT "model"
#define CALIBRATION_BYTES ((size_t)4 << 20)
#define CALIBRATION_IDS 4096

/* --- what both ops share --- */

static json_t *outputs(const struct recipe_node *body)
{
    (void)body;
    return json_pack("{s:s, s:s}", OUTPUT, OUTPUT, "", OUTPUT);
}

static void validate(const struct recipe *r, const char *name,
                     const struct recipe_node *body, struct recipe_diags *diags)
{
    bool from = recipe_get(body, "from") != NULL;
    (void)r;
    if (from == (recipe_get(body, "quantize") != NULL))
        return;
    recipe_diag_hint(
        recipe_diag_add(diags, RECIPE_E0312, body->span,
                        from ? "models.%s has 'from' without 'quantize'"
                             : "models.%s has 'quantize' without 'from'",
                        name),
        from ? "add quantize: {awq: {bits: 4, group_size: 128}}, or take path"
             : "name the model to quantise in from, as another entry");
}

static int add_key(const struct plan_graph *g, const struct plan_step *step,
                   json_t *spec, const char *key, struct rwf_err *err)
{
    const struct recipe_node *node = recipe_get(step->body, key);
    if (node == NULL || node->null)
        return 0;
    json_t *value = plan_resolve(g, step, node, err);
    return value != NULL ? json_object_set_new(spec, key, value) : -1;
}

static json_t *awq_of(const json_t *s)
{
    return json_object_get(json_object_get(s, "quantize"), "awq");
}

/* A path of the recipe, where it really is. */
static void make_real(const struct plan_graph *g, json_t *object, const char *key)
{
    const char *path = json_string_value(json_object_get(object, key));
    if (path == NULL)
        return;
    char *joined = rwf_fs_join(recipe_dir(plan_graph_recipe(g)), path);
    char *real = rwf_fs_absolute(joined);
    json_object_set_new(object, key, json_string(real));
    free(joined);
    free(real);
}

static json_t *spec(const struct plan_graph *g, const struct plan_step *step,
                    struct rwf_err *err)
{
    static const char *const keys[] = {"path", "url", "from", "quantize", "sha256"};
    json_t *out = json_object();
    int rc = 0;
    for (size_t i = 0; i < RWF_COUNT(keys) && rc == 0; i++)
        rc = add_key(g, step, out, keys[i], err);
    if (rc == 0 && plan_graph_mode(g) == PLAN_RUN) {
        rc = add_key(g, step, out, "headers",
                     err); /* may hold secrets: no part of the key */
        make_real(g, out, "path");
        make_real(g, out, "from");
        make_real(g, awq_of(out), "calibration");
    }
    if (rc == 0)
        return out;
    json_decref(out);
    return NULL;
}

static char *describe(const struct plan_step *step, const json_t *s)
{
    static const char *const keys[] = {"path", "url", "from"};
    (void)step;
    for (size_t i = 0; i < RWF_COUNT(keys); i++) {
        const char *text = json_string_value(json_object_get(s, keys[i]));
        if (text != NULL)
            return rwf_xasprintf("%s%s", text, i == 2 ? ", quantised by AWQ" : "");
    }
    return NULL;
}

/* Everything that can be known without reading the weights. Other models than those
 * that are served here may be named: programs can serve them. */
static int check_folder(const char *folder, struct rwf_err *err)
{
    struct llm_config c;
    json_t *config = rwf_read_json(folder, "config.json", false, err);
    if (config == NULL)
        return -1;
    const char *type = json_string_value(json_object_get(config, "model_type"));
    bool ours = type != NULL && strcmp(type, "qwen3") == 0;
    json_decref(config);
    if (ours)
        return llm_config_read(folder, &c, err) == 0 ? llm_model_check(folder, &c, err)
                                                     : -1;
    struct safetensors *s = safetensors_open(folder, err);
    safetensors_close(s);
    return s != NULL ? 0 : -1;
}

/* --- path --- */

static bool has_path(const struct recipe_node *body)
{
    return recipe_get(body, "path") != NULL;
}

static int run_path(struct op_run *r, struct rwf_err *err)
{
    const char *path = json_string_value(json_object_get(r->spec, "path"));
    if (path == NULL || !rwf_fs_exists(path) || rwf_fs_is_file(path))
        return rwf_fail(err, RWF_E_INPUT, "there is no folder '%s'",
                        path != NULL ? path : "");
    if (check_folder(path, err) != 0 ||
        llm__models_checksums(path, json_object_get(r->spec, "sha256"), err) != 0)
        return -1;
    char *link = rwf_fs_join(r->dir, OUTPUT);
    int rc = 0;
    (void)unlink(link);
    if (symlink(path, link) != 0)
        rc = rwf_fail(err, errno, "%s: %s", link, strerror(errno));
    free(link);
    return rc;
}

const struct op llm_model_path_op = {
    .name = "model-path",
    .section = "models",
    .summary = "a model's folder, where it lies",
    .version = 1,
    .points = true,
    .serves = has_path,
    .validate = validate,
    .lower = plan_lower_one,
    .outputs = outputs,
    .spec = spec,
    .describe = describe,
    .run = run_path,
};

/* --- url, from --- */

static int inputs(const struct plan_graph *g, const struct plan_step *step,
                  const json_t *s, json_t *files, struct rwf_err *err)
{
    const char *from = json_string_value(json_object_get(s, "from"));
    const char *text = json_string_value(json_object_get(awq_of(s), "calibration"));
    (void)step;
    if (text != NULL && plan_add_path(g, text, files, err) != 0)
        return -1;
    return from != NULL ? plan_add_path(g, from, files, err) : 0;
}

static void tell(void *ctx, double done)
{
    struct op_run *r = ctx;
    json_t *line = json_pack("{s:f}", "progress", done);
    if (r->report != NULL)
        r->report(r, line);
    json_decref(line);
}

/* Ids of the beginning of a text that is like what the model will read. */
static int read_calibration(const char *from, const char *path,
                            struct tokenizer_ids *ids, struct rwf_err *err)
{
    size_t len = 0;
    char *text = rwf_fs_read(path, CALIBRATION_BYTES, &len, err);
    struct tokenizer *t = text != NULL ? tokenizer_open(from, err) : NULL;
    if (t != NULL)
        tokenizer_encode_plain(t, text, len, ids);
    if (t != NULL && ids->count == 0)
        rwf_fail(err, RWF_E_INPUT, "the text for calibration, %s, is empty", path);
    else if (text == NULL && err != NULL)
        err->code = RWF_E_INPUT;
    tokenizer_close(t);
    free(text);
    return ids->count > 0 ? 0 : -1;
}

static int quantise(struct op_run *r, const char *folder, struct rwf_err *err)
{
    const json_t *awq = awq_of(r->spec), *group = json_object_get(awq, "group_size");
    const char *text = json_string_value(json_object_get(awq, "calibration"));
    const char *from = json_string_value(json_object_get(r->spec, "from"));
    struct tokenizer_ids ids = {0};
    if (text != NULL && read_calibration(from, text, &ids, err) != 0)
        return -1;
    const struct llm_quantize q = {
        .from = from,
        .to = folder,
        .group = group != NULL ? (int)json_integer_value(group) : 128,
        .calibration = ids.ids,
        .calibration_count =
            (int)(ids.count < CALIBRATION_IDS ? ids.count : CALIBRATION_IDS),
        .progress = tell,
        .ctx = r,
    };
    int rc = llm_quantize(&q, err);
    free(ids.ids);
    return rc;
}

static int run(struct op_run *r, struct rwf_err *err)
{
    char *folder = rwf_fs_join(r->dir, OUTPUT);
    int rc = json_object_get(r->spec, "from") != NULL
                 ? quantise(r, folder, err)
                 : llm__models_fetch(r, folder, err);
    if (rc == 0)
        rc = check_folder(folder, err);
    free(folder);
    return rc;
}

const struct op llm_model_op = {
    .name = "model",
    .section = "models",
    .summary = "a model that is downloaded, or another one quantised",
    .version = 1,
    .validate = validate,
    .lower = plan_lower_one,
    .outputs = outputs,
    .spec = spec,
    .inputs = inputs,
    .describe = describe,
    .run = run,
};
