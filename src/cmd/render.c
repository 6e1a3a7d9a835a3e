/* SPDX-License-Identifier: Apache-2.0
 *
 * The recipe as raywf understands it: includes, profile and command line merged,
 * defaults filled in, parameters replaced.
 */
#include "config.h"
#include "cmd/render.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/redact.h"
#include "cmd/cmd.h"
#include "cmd/compile.h"
#include "cmd/resolve.h"
#include "view/style.h"

struct rendering {
    const struct recipe *recipe;
    const struct recipe_sources *sources;
    bool origins, color;
    struct rwf_str line; /* of the text being made; origins stand at its end */
    FILE *out;
};

static void end_line(struct rendering *r, const struct recipe_span *span)
{
    struct rwf_str clean = {0};

    rwf_redact(&clean, r->line.data ? r->line.data : "", r->line.len);
    fputs(clean.data ? clean.data : "", r->out);
    if (r->origins && span && span->line == 0)
        fprintf(r->out, "  %s# command line%s", view_on(r->color, VIEW_DIM),
                view_off(r->color));
    else if (r->origins && span)
        fprintf(r->out, "  %s# %s:%u%s", view_on(r->color, VIEW_DIM),
                recipe_file_path(r->sources, span->file), span->line,
                view_off(r->color));
    fputc('\n', r->out);
    rwf_str_clear(&r->line);
    rwf_str_free(&clean);
}

static void indent(struct rendering *r, int depth)
{
    for (int i = 0; i < depth; i++)
        rwf_str_add(&r->line, "  ");
}

/* Lines that a block scalar gives back as they are. */
static bool is_block(const char *text)
{
    if (!strchr(text, '\n') || *text == ' ' || *text == '\n' || strstr(text, "\n\n\n"))
        return false;
    for (const char *p = text; *p; p++)
        if (((unsigned char)*p < ' ' && *p != '\n') || *p == 0x7f ||
            (*p == ' ' && p[1] == '\n'))
            return false;
    size_t len = strlen(text);
    return len < 2 || text[len - 1] != '\n' || text[len - 2] != '\n';
}

static void add_block(struct rendering *r, const char *text,
                      const struct recipe_span *span, int depth)
{
    rwf_str_add(&r->line, text[strlen(text) - 1] == '\n' ? "|" : "|-");
    end_line(r, span);
    while (*text) {
        size_t len = strcspn(text, "\n");
        if (len)
            indent(r, depth);
        rwf_str_addn(&r->line, text, len);
        end_line(r, NULL);
        text += len + (text[len] == '\n');
    }
}

/* True when text, unquoted, is read back as the same text. */
static bool is_plain(const char *text)
{
    double number;
    bool flag;

    if (!*text || strchr("-?:,[]{}#&*!|>'\"%@` \t", *text) ||
        text[strlen(text) - 1] == ' ' || strstr(text, ": ") || strstr(text, " #") ||
        text[strlen(text) - 1] == ':' || strpbrk(text, "\n\t{}[],"))
        return false;
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return false;
    return !recipe_looks_number(text, &number) && !recipe_looks_bool(text, &flag) &&
           strcasecmp(text, "null") != 0 && strcmp(text, "~") != 0;
}

/* A JSON string is a YAML double-quoted scalar. */
static void add_quoted(struct rwf_str *out, const char *text)
{
    json_t *value = json_string(text);
    char *quoted = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;

    rwf_str_add(out, quoted ? quoted : "\"\"");
    free(quoted);
    json_decref(value);
}

/* To the end of the line, or of the lines. */
static void add_scalar(struct rendering *r, const struct recipe_node *node, int depth)
{
    char *text = cmd_resolve_text(r->recipe, node->text ? node->text : "", false);

    if (is_block(text)) {
        add_block(r, text, &node->span, depth + 1);
        free(text);
        return;
    }
    /* A plain scalar keeps its look: 0.10 stays 0.10. */
    if (node->null)
        rwf_str_add(&r->line, "null");
    else if (is_plain(text) || (node->plain && strcmp(text, node->text) == 0))
        rwf_str_add(&r->line, text);
    else
        add_quoted(&r->line, text);
    end_line(r, &node->span);
    free(text);
}

static void add_key(struct rendering *r, const char *key)
{
    if (is_plain(key))
        rwf_str_add(&r->line, key);
    else
        add_quoted(&r->line, key);
    rwf_str_addc(&r->line, ':');
}

static void add_children(struct rendering *r, const struct recipe_node *node, int depth,
                         bool first_here);

/* What follows "key:" or "-". */
static void add_value(struct rendering *r, const struct recipe_node *node, int depth,
                      bool in_list)
{
    if (node->kind == RECIPE_SCALAR) {
        rwf_str_addc(&r->line, ' ');
        add_scalar(r, node, depth);
    } else if (node->count == 0) {
        rwf_str_add(&r->line, node->kind == RECIPE_MAP ? " {}" : " []");
        end_line(r, &node->span);
    } else if (in_list) {
        rwf_str_addc(&r->line, ' ');
        add_children(r, node, depth + 1, true);
    } else {
        end_line(r, NULL);
        add_children(r, node, depth + 1, false);
    }
}

/* first_here: the first child goes on the line that "- " began. */
static void add_children(struct rendering *r, const struct recipe_node *node, int depth,
                         bool first_here)
{
    for (size_t i = 0; i < node->count; i++) {
        if (i > 0 || !first_here)
            indent(r, depth);
        if (node->kind == RECIPE_MAP) {
            add_key(r, node->pairs[i].key);
            add_value(r, node->pairs[i].value, depth, false);
        } else {
            rwf_str_addc(&r->line, '-');
            add_value(r, node->items[i], depth, true);
        }
    }
}

/* --- the tree to show: entries as the plan sees them, parameters with their values ---
 */

/* Bodies after defaults, by entry; an entry without instances has none. */
static struct rwf_map *bodies_of(const struct plan_graph *g)
{
    struct rwf_map *out = rwf_map_create();

    for (size_t i = 0; i < plan_graph_count(g); i++) {
        const struct plan_step *step = plan_graph_step(g, (uint32_t)i);
        if (!step->is_trial && !rwf_map_get(out, step->entry))
            rwf_map_set(out, step->entry, (void *)step->body);
    }
    return out;
}

static struct recipe_node *with_bodies(struct rwf_arena *a,
                                       const struct rwf_map *bodies,
                                       const char *section,
                                       const struct recipe_node *map)
{
    struct recipe_node *out = recipe_node_new(a, RECIPE_MAP, map->span);

    for (size_t i = 0; i < map->count; i++) {
        const struct recipe_pair *p = &map->pairs[i];
        char *entry = rwf_xasprintf("%s.%s", section, p->key);
        struct recipe_node *body = rwf_map_get(bodies, entry);
        recipe_map_add(a, out, p->key, p->key_span, body ? body : p->value);
        free(entry);
    }
    return out;
}

static struct recipe_node *with_params(struct rwf_arena *a, const struct recipe *r,
                                       const struct recipe_node *map)
{
    struct recipe_node *out = recipe_node_new(a, RECIPE_MAP, map->span);

    for (size_t i = 0; i < map->count; i++) {
        const struct recipe_node *value = recipe_param(r, map->pairs[i].key);
        recipe_map_add(a, out, map->pairs[i].key, map->pairs[i].key_span,
                       value ? (struct recipe_node *)value : map->pairs[i].value);
    }
    return out;
}

/* What has been merged is left out: it would be merged again. */
static bool is_merged(const char *key)
{
    return strcmp(key, "include") == 0 || strcmp(key, "profiles") == 0;
}

static struct recipe_node *resolved_tree(const struct cmd_compiled *c)
{
    struct rwf_arena *a = recipe_arena(c->recipe);
    const struct recipe_node *root = recipe_root(c->recipe);
    struct recipe_node *out = recipe_node_new(a, RECIPE_MAP, root->span);
    struct rwf_map *bodies = bodies_of(c->graph);

    for (size_t i = 0; i < root->count; i++) {
        const struct recipe_pair *p = &root->pairs[i];
        struct recipe_node *value = p->value;
        if (is_merged(p->key))
            continue;
        if (value->kind == RECIPE_MAP && strcmp(p->key, "params") == 0)
            value = with_params(a, c->recipe, value);
        else if (value->kind == RECIPE_MAP && op_for_section(cmd_ops, p->key))
            value = with_bodies(a, bodies, p->key, value);
        recipe_map_add(a, out, p->key, p->key_span, value);
    }
    rwf_map_destroy(bodies, NULL);
    return out;
}

static void add_origins(const struct recipe *r, const struct recipe_node *node,
                        const char *path, json_t *out)
{
    if (node->kind == RECIPE_SCALAR || node->count == 0) {
        char *where = node->span.line ? recipe_where(recipe_sources(r), node->span)
                                      : rwf_xstrdup("command line");
        json_object_set_new(out, path, json_string(where));
        free(where);
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const char *dot = *path ? "." : "";
        char *sub = node->kind == RECIPE_MAP
                        ? rwf_xasprintf("%s%s%s", path, dot, node->pairs[i].key)
                        : rwf_xasprintf("%s[%zu]", path, i);
        add_origins(r, node->kind == RECIPE_MAP ? node->pairs[i].value : node->items[i],
                    sub, out);
        free(sub);
    }
}

void cmd_render_tree(const struct recipe *recipe, const struct recipe_node *tree, FILE *out)
{
    struct rendering r = {.recipe = recipe, .sources = recipe_sources(recipe), .out = out};

    add_children(&r, tree, 0, false);
    rwf_str_free(&r.line);
}

static int render_run(struct cmd_call *call, struct rwf_err *err)
{
    bool origins = cmd_given(call, "show-origin");
    struct cmd_compiled c;
    int code = cmd_compile(call, call->operands[0], true, &c, err);

    if (code == 0) {
        const struct recipe_node *tree = resolved_tree(&c);
        struct rendering r = {.recipe = c.recipe,
                              .sources = recipe_sources(c.recipe),
                              .origins = origins,
                              .color = call->color,
                              .out = stdout};
        if (call->json) {
            call->data =
                json_pack("{s:o}", "recipe", cmd_resolve(c.recipe, tree, false));
            json_t *map = origins ? json_object() : NULL;
            if (map) {
                add_origins(c.recipe, tree, "", map);
                json_object_set_new(call->data, "origins", map);
            }
        } else {
            add_children(&r, tree, 0, false);
        }
        rwf_str_free(&r.line);
    }
    cmd_compiled_free(&c);
    return code;
}

static const struct cmd_option options[] = {
    {"show-origin", 0, CMD_FLAG, NULL, false, NULL,
     "say behind each value in which file and line it stands"},
    CMD_RECIPE_OPTIONS,
    {0},
};

const struct cmd cmd_render = {
    .name = "render",
    .group = CMD_WRITE,
    .summary = "print the recipe with everything merged and resolved",
    .details =
        "Includes, the profile, parameters and defaults are filled in. What only a "
        "run can know, such as ${matrix.lr} or outputs of other steps, stays as it "
        "is. Secrets are shown as [secret:NAME].",
    .examples = "raywf render recipe.yaml --profile ci --show-origin",
    .exits = "0 2 3 6",
    .operands = {{"FILE", CMD_FILE, 1, 1}},
    .options = options,
    .run = render_run,
};
