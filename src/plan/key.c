/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys: what a result depends on, as JSON parts and as their digest. Paths beneath the
 * recipe's folder are relative, so that a key is the same wherever the recipe lies.
 */
#include "config.h"
#include "plan/key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

/* The scalar of a body that holds this path, to blame its line. */
static const struct recipe_node *find_text(const struct recipe_node *node,
                                           const char *text, int depth)
{
    const struct recipe_node *found = NULL;

    if (node->kind == RECIPE_SCALAR)
        return node->text && strstr(node->text, text) ? node : NULL;
    for (size_t i = 0; i < node->count && !found && depth < 100; i++)
        found =
            find_text(node->kind == RECIPE_MAP ? node->pairs[i].value : node->items[i],
                      text, depth + 1);
    return found;
}

static int fail_input(const struct plan_graph *g, const struct plan_step *step,
                      const char *path, const char *full, struct rwf_err *err)
{
    const struct recipe *r = plan_graph_recipe(g);
    const struct recipe_node *node = find_text(step->body, path, 0);
    char *where = recipe_where(recipe_sources(r), (node ? node : step->body)->span);

    if (!rwf_fs_exists(full))
        rwf_fail(err, RWF_E_INPUT, "%s: input '%s' does not exist (looked for %s)",
                 where, path, full);
    else
        rwf_wrap(err, "%s: input '%s'", where, path);
    if (err && err->code != RWF_E_INPUT)
        err->code = RWF_E_INPUT;
    free(where);
    return -1;
}

static int digest_file(const struct plan_graph *g, const struct plan_step *step,
                       const char *path, plan_digest_fn digest, void *ctx,
                       json_t *files, struct rwf_err *err)
{
    char hex[RWF_DIGEST_LEN], value[RWF_DIGEST_LEN + 8];
    char *full = rwf_fs_join(recipe_dir(plan_graph_recipe(g)), path);
    int rc = digest(ctx, full, hex, err);

    if (rc < 0) {
        fail_input(g, step, path, full, err);
    } else {
        snprintf(value, sizeof(value), "sha256:%s", hex);
        json_object_set_new(files, path, json_string(value));
    }
    free(full);
    return rc;
}

static json_t *make_files(const struct plan_graph *g, const struct plan_step *step,
                          const json_t *spec, plan_digest_fn digest, void *ctx,
                          struct rwf_err *err)
{
    json_t *named = json_object(), *out = json_object(), *value;
    const char *path;
    int rc = 0;

    if (step->op->inputs)
        rc = step->op->inputs(g, step, spec, named, err);
    if (rc == 0)
        json_object_foreach(named, path, value) {
            rc = digest_file(g, step, path, digest, ctx, out, err);
            if (rc < 0)
                break;
        }
    json_decref(named);
    if (rc == 0)
        return out;
    json_decref(out);
    return NULL;
}

/* What a step asks of a server depends on what is deployed there. */
static int add_served(const struct plan_graph *g, const struct plan_step *step,
                      plan_digest_fn digest, void *ctx, json_t *parts,
                      struct rwf_err *err)
{
    json_t *served = NULL;
    int rc = 0;

    for (size_t i = 0; i < step->need_count && rc == 0; i++) {
        const struct plan_step *n = plan_graph_step(g, step->needs[i]);
        char key[RWF_DIGEST_LEN];
        if (!n->op->service)
            continue;
        rc = plan_step_key(g, n, digest, ctx, key, NULL, err);
        if (rc == 0 && !served)
            json_object_set_new(parts, "served", served = json_object());
        if (rc == 0)
            json_object_set_new(served, n->address, json_string(key));
    }
    return rc;
}

int plan_step_key(const struct plan_graph *g, const struct plan_step *step,
                  plan_digest_fn digest, void *ctx, char out[RWF_DIGEST_LEN],
                  json_t **ret_parts, struct rwf_err *err)
{
    json_t *spec = plan_step_spec(g, step, err);
    json_t *files = spec ? make_files(g, step, spec, digest, ctx, err) : NULL;
    json_t *parts;

    if (!files) {
        json_decref(spec);
        return -1;
    }
    parts = json_pack("{si ss si so so}", "epoch", PLAN_KEY_EPOCH, "op", step->op->name,
                      "version", step->op->version, "spec", spec, "files", files);
    rwf_assert(parts != NULL);
    if (add_served(g, step, digest, ctx, parts, err) < 0) {
        json_decref(parts);
        return -1;
    }
    rwf_digest_json(parts, out);
    if (ret_parts)
        *ret_parts = parts;
    else
        json_decref(parts);
    return 0;
}

/* --- what differs --- */

static void diff(const char *part, const json_t *was, const json_t *now, json_t *out,
                 int depth);

static void add_difference(const char *part, const json_t *was, const json_t *now,
                           json_t *out)
{
    json_t *one = json_object();

    json_object_set_new(one, "part", json_string(part));
    json_object_set_new(one, "was", was ? json_deep_copy(was) : json_null());
    json_object_set_new(one, "now", now ? json_deep_copy(now) : json_null());
    json_array_append_new(out, one);
}

static void diff_member(const char *part, const char *key, const json_t *was,
                        const json_t *now, json_t *out, int depth)
{
    char *inner = *part ? rwf_xasprintf("%s.%s", part, key) : rwf_xstrdup(key);

    diff(inner, was, now, out, depth + 1);
    free(inner);
}

static void diff_objects(const char *part, const json_t *was, const json_t *now,
                         json_t *out, int depth)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)was, key, value)
        diff_member(part, key, value, json_object_get(now, key), out, depth);
    json_object_foreach((json_t *)now, key, value)
        if (!json_object_get(was, key))
            diff_member(part, key, NULL, value, out, depth);
}

static void diff_arrays(const char *part, const json_t *was, const json_t *now,
                        json_t *out, int depth)
{
    size_t a = json_array_size(was), b = json_array_size(now);

    for (size_t i = 0; i < (a > b ? a : b); i++) {
        char *inner = rwf_xasprintf("%s[%zu]", part, i);
        diff(inner, json_array_get(was, i), json_array_get(now, i), out, depth + 1);
        free(inner);
    }
}

static void diff(const char *part, const json_t *was, const json_t *now, json_t *out,
                 int depth)
{
    if (was && now && json_equal((json_t *)was, (json_t *)now))
        return;
    if (depth < 100 && json_is_object(was) && json_is_object(now))
        diff_objects(part, was, now, out, depth);
    else if (depth < 100 && json_is_array(was) && json_is_array(now))
        diff_arrays(part, was, now, out, depth);
    else
        add_difference(part, was, now, out);
}

json_t *plan_key_diff(const json_t *was, const json_t *now)
{
    json_t *out = json_array();

    diff("", was, now, out, 0);
    return out;
}
