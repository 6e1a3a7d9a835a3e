/* SPDX-License-Identifier: Apache-2.0
 *
 * A graph as boxes and arrows, at the level of detail that can still be laid out and
 * read, and as text: dot, mermaid, JSON. Colours are fills with their own dark text,
 * and edges of a middle grey, so that a picture reads on a light and on a dark page.
 */
#include "config.h"
#include "plan/picture.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "plan/boxes.h"

#define LABEL_MAX 48 /* bytes of an address that a box shows */

/* From the class that matters most to the least: of several steps the first wins. */
static const struct look {
    const char *class;
    const char *fill, *line;
} looks[] = {
    {"failed", "#ffc9c9", "#c92a2a"},    {"running", "#a5d8ff", "#1971c2"},
    {"retry", "#ffd8a8", "#d9480f"},     {"stopped", "#ffe8cc", "#d9480f"},
    {"queued", "#e7f5ff", "#4dabf7"},    {"ready", "#e7f5ff", "#4dabf7"},
    {"pending", "#f1f3f5", "#868e96"},   {"skipped", "#f8f9fa", "#adb5bd"},
    {"succeeded", "#b2f2bb", "#2f9e44"}, {"cached", "#c3fae8", "#0c8599"},
};
static const struct look plain = {"", "#f1f3f5", "#868e96"};

static const struct look *look_of(const char *class)
{
    for (size_t i = 0; class && i < RWF_COUNT(looks); i++)
        if (strcmp(looks[i].class, class) == 0)
            return &looks[i];
    return &plain;
}

static size_t rank_of(const struct look *look)
{
    return look == &plain ? RWF_COUNT(looks) : (size_t)(look - looks);
}

/* What a section looks like in dot and in mermaid. */
static const struct shape {
    const char *section, *dot, *style, *open, *close;
} shapes[] = {
    {"datasets", "cylinder", "filled", "[(", ")]"},
    {"tasks", "box", "filled,rounded", "(", ")"},
    {"checks", "hexagon", "filled", "{{", "}}"},
};
static const struct shape other_shape = {"", "box", "filled", "[", "]"};

static const struct shape *shape_of(const char *section)
{
    for (size_t i = 0; i < RWF_COUNT(shapes); i++)
        if (strcmp(shapes[i].section, section) == 0)
            return &shapes[i];
    return &other_shape;
}

static const struct look *box_look(const struct plan__boxes *p, uint32_t box,
                                   plan_class_fn cls, void *ctx)
{
    const struct look *best = &plain;

    for (uint32_t i = p->starts[box]; cls && i < p->starts[box + 1]; i++) {
        const struct look *look = look_of(cls(ctx, p->members[i]));
        if (rank_of(look) < rank_of(best))
            best = look;
    }
    return best;
}

/* --- dot --- */

/* Inside double quotes. Graphviz reads \X and &x; in labels: neither comes from a name.
 */
static void add_dot(struct rwf_str *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char ch = (unsigned char)text[i];
        if (ch == '"' || ch == '\\')
            rwf_str_addf(out, "\\%c", ch);
        else if (ch == '&')
            rwf_str_add(out, "&amp;");
        else
            rwf_str_addc(out, ch < ' ' || ch == 0x7f ? ' ' : (char)ch);
    }
}

/* Bytes of text that fit, cut between characters. */
static size_t shown_length(const char *text)
{
    size_t len = strlen(text);

    if (len <= LABEL_MAX)
        return len;
    len = LABEL_MAX;
    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    return len;
}

static void add_name(struct rwf_str *out, const char *name)
{
    rwf_str_addc(out, '"');
    add_dot(out, name, strlen(name));
    rwf_str_addc(out, '"');
}

static void dot_box(const struct plan__boxes *p, uint32_t i, const struct look *look,
                    struct rwf_str *out)
{
    const struct plan__box *box = &p->boxes[i];
    const struct shape *shape = shape_of(box->section);
    size_t shown = shown_length(box->name);
    uint32_t count = p->starts[i + 1] - p->starts[i];

    rwf_str_add(out, "  ");
    add_name(out, box->name);
    rwf_str_add(out, " [label=\"");
    add_dot(out, box->name, shown);
    rwf_str_add(out, box->name[shown] ? "…" : "");
    if (p->level != PLAN__BY_STEP && (count > 1 || p->level == PLAN__BY_SECTION))
        rwf_str_addf(out, "\\n%u steps", (unsigned)count);
    rwf_str_addf(out,
                 "\", shape=%s, style=\"%s\", fillcolor=\"%s\", color=\"%s\", tooltip=",
                 shape->dot, shape->style, look->fill, look->line);
    add_name(out, box->name);
    rwf_str_addf(out, ", class=\"step %s\"];\n", look->class);
}

void plan_picture_dot(const struct plan_graph *g, plan_class_fn cls, void *ctx,
                      struct rwf_str *out)
{
    struct plan__boxes *p = plan__boxes_create(g);

    rwf_str_add(out,
                "digraph plan {\n"
                "  rankdir=LR; bgcolor=\"transparent\"; nodesep=0.25; ranksep=0.45;\n"
                "  nslimit=2; nslimit1=2; mclimit=0.5;\n"
                "  node [fontname=\"Helvetica,Arial,sans-serif\", "
                "fontsize=11, fontcolor=\"#212529\", margin=\"0.12,0.06\"];\n"
                "  edge [color=\"#868e96\", arrowsize=0.6];\n");
    for (uint32_t i = 0; i < p->count; i++)
        dot_box(p, i, box_look(p, i, cls, ctx), out);
    for (size_t i = 0; i < p->edge_count; i++) {
        rwf_str_add(out, "  ");
        add_name(out, p->boxes[p->edges[i].from].name);
        rwf_str_add(out, " -> ");
        add_name(out, p->boxes[p->edges[i].to].name);
        rwf_str_add(out, ";\n");
    }
    rwf_str_add(out, "}\n");
    plan__boxes_destroy(p);
}

/* --- mermaid --- */

/* Inside double quotes; #NN; and #name; are its entities. */
static void add_mermaid(struct rwf_str *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char ch = (unsigned char)text[i];
        if (ch < ' ' || ch == 0x7f)
            rwf_str_addc(out, ' ');
        else if (strchr("\"#&<>`\\;", ch))
            rwf_str_addf(out, "#%u;", ch);
        else
            rwf_str_addc(out, (char)ch);
    }
}

void plan_picture_mermaid(const struct plan_graph *g, struct rwf_str *out)
{
    struct plan__boxes *p = plan__boxes_create(g);

    rwf_str_add(out, "flowchart LR\n");
    for (uint32_t i = 0; i < p->count; i++) {
        const struct plan__box *box = &p->boxes[i];
        const struct shape *shape = shape_of(box->section);
        size_t shown = shown_length(box->name);
        uint32_t count = p->starts[i + 1] - p->starts[i];
        rwf_str_addf(out, "  n%u%s\"", (unsigned)i, shape->open);
        add_mermaid(out, box->name, shown);
        rwf_str_add(out, box->name[shown] ? "…" : "");
        if (p->level != PLAN__BY_STEP && (count > 1 || p->level == PLAN__BY_SECTION))
            rwf_str_addf(out, "<br/>%u steps", (unsigned)count);
        rwf_str_addf(out, "\"%s\n", shape->close);
    }
    for (size_t i = 0; i < p->edge_count; i++)
        rwf_str_addf(out, "  n%u --> n%u\n", (unsigned)p->edges[i].from,
                     (unsigned)p->edges[i].to);
    plan__boxes_destroy(p);
}

/* --- JSON --- */

static json_t *binding_json(const struct plan_binding *b)
{
    if (b->value->kind != RECIPE_SCALAR)
        return recipe_to_json(b->value);
    return json_string(b->value->text);
}

static json_t *step_json(const struct plan_graph *g, const struct plan_step *step)
{
    json_t *out = json_object(), *needs = json_array(), *axes = json_object();

    for (size_t i = 0; i < step->need_count; i++)
        json_array_append_new(needs,
                              json_string(plan_graph_step(g, step->needs[i])->address));
    for (size_t i = 0; i < step->binding_count; i++)
        json_object_set_new(axes, step->bindings[i].axis,
                            binding_json(&step->bindings[i]));
    json_object_set_new(out, "address", json_string(step->address));
    json_object_set_new(out, "entry", json_string(step->entry));
    json_object_set_new(out, "op", json_string(step->op->name));
    json_object_set_new(out, "axes", axes);
    json_object_set_new(out, "needs", needs);
    return out;
}

json_t *plan_picture_json(const struct plan_graph *g)
{
    json_t *steps = json_array();

    for (uint32_t i = 0; i < plan_graph_count(g); i++)
        json_array_append_new(steps, step_json(g, plan_graph_step(g, i)));
    return json_pack("{so}", "steps", steps);
}
