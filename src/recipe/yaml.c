/* SPDX-License-Identifier: Apache-2.0
 *
 * libyaml's events become nodes on a stack of at most RECIPE_DEPTH_MAX frames; nothing
 * recurses over the input. A container is attached to its parent when it opens, so its
 * address is known to anchors early; an alias to a container that is still open is
 * refused. Aliases are copied, because each use may get another type from the schema;
 * copies count against the node budget, which stops alias bombs.
 *
 * libyaml counts characters, spans count bytes: for text that is not ASCII a table
 * holds the byte offset of every STRIDE-th character.
 */
#include "config.h"

#include "recipe/yaml.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "recipe/yaml_error.h"

#define STRIDE 64

struct frame {
    struct recipe_node *node;
    size_t start; /* byte offset */
    bool has_key; /* of a map: a key waits for its value */
    bool drop;    /* that key stands twice: its value goes nowhere */
    const char *key;
    struct recipe_span key_span;
};

struct parse {
    struct recipe__reader *reader;
    uint32_t file;
    const char *text;
    size_t len;
    size_t *strides; /* NULL: all ASCII */
    struct frame frames[RECIPE_DEPTH_MAX];
    size_t depth;
    size_t last_end; /* byte offset behind the last token that has text */
    struct rwf_map *anchors;
    struct recipe_node *root;
    bool failed, done;
};

static struct recipe_diag *stop(struct parse *p, enum recipe_code code, size_t start,
                                size_t end, const char *message)
{
    p->failed = true;
    return recipe_diag_add(p->reader->diags, code,
                           recipe__source_span(p->reader->sources, p->file, start, end),
                           "%s", message);
}

/* --- places --- */

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static void index_characters(struct parse *p)
{
    size_t characters = 0, i = 0;
    while (i < p->len && (unsigned char)p->text[i] < 0x80)
        i++;
    if (i == p->len)
        return;
    p->strides = rwf_xcalloc(p->len / STRIDE + 2, sizeof(*p->strides));
    for (i = 0; i < p->len; i++) {
        if (is_continuation(p->text[i]))
            continue;
        if (characters % STRIDE == 0)
            p->strides[characters / STRIDE] = i;
        characters++;
    }
    for (size_t n = characters / STRIDE + 1; n < p->len / STRIDE + 2; n++)
        p->strides[n] = p->len;
    if (characters % STRIDE == 0)
        p->strides[characters / STRIDE] = p->len;
}

static size_t byte_offset(const struct parse *p, size_t character)
{
    if (p->strides == NULL)
        return character < p->len ? character : p->len;
    if (character > p->len)
        return p->len;
    size_t offset = p->strides[character / STRIDE];
    for (size_t n = character % STRIDE; n > 0 && offset < p->len; n--) {
        offset++;
        while (offset < p->len && is_continuation(p->text[offset]))
            offset++;
    }
    return offset;
}

/* Block text ends where the next line starts; its span should not. */
static size_t trimmed_end(const struct parse *p, size_t start, size_t end)
{
    while (end > start && strchr(" \t\r\n", p->text[end - 1]) != NULL)
        end--;
    return end;
}

static struct recipe_span event_span(struct parse *p, const yaml_event_t *event)
{
    size_t start = byte_offset(p, event->start_mark.index);
    size_t end = trimmed_end(p, start, byte_offset(p, event->end_mark.index));
    if (end > start)
        p->last_end = end;
    return recipe__source_span(p->reader->sources, p->file, start, end);
}

/* --- nodes --- */

static struct recipe_node *new_node(struct parse *p, enum recipe_kind kind,
                                    struct recipe_span span, size_t start)
{
    if (++p->reader->nodes > RECIPE_NODES_MAX) {
        struct recipe_diag *diag = stop(p, RECIPE_E0003, start, start + 1,
                                        "the recipe has more than 100000 nodes");
        recipe_diag_hint(diag, "use matrix or foreach instead of repetition");
        return NULL;
    }
    return recipe_node_new(p->reader->arena, kind, span);
}

static struct frame *top(struct parse *p)
{
    return p->depth == 0 ? NULL : &p->frames[p->depth - 1];
}

static bool wants_key(struct parse *p)
{
    struct frame *f = top(p);
    return f != NULL && f->node->kind == RECIPE_MAP && !f->has_key;
}

static void take_key(struct parse *p, const char *key, struct recipe_span span)
{
    struct frame *f = top(p);
    const struct recipe_pair *first = recipe_pair_get(f->node, key);
    f->key = key;
    f->key_span = span;
    f->has_key = true;
    f->drop = first != NULL;
    if (first == NULL)
        return;
    struct recipe_diag *diag = recipe_diag_add(p->reader->diags, RECIPE_E0006, span,
                                               "key '%s' is already set on line %u",
                                               key, first->key_span.line);
    recipe_diag_hint(diag, "remove one of the two");
    recipe_diag_relate(diag, first->key_span, "first set here");
}

static void attach(struct parse *p, struct recipe_node *node)
{
    struct frame *f = top(p);
    if (f == NULL) {
        p->root = node;
        return;
    }
    if (f->node->kind == RECIPE_LIST) {
        recipe_list_add(p->reader->arena, f->node, node);
        return;
    }
    if (!f->drop)
        recipe_map_add(p->reader->arena, f->node, f->key, f->key_span, node);
    f->has_key = false;
}

static void set_anchor(struct parse *p, const yaml_char_t *name,
                       struct recipe_node *node)
{
    if (name != NULL)
        rwf_map_set(p->anchors, (const char *)name, node);
}

/* A tag is an error, but what it stands on is read. */
static void refuse_tag(struct parse *p, const yaml_char_t *tag,
                       const yaml_event_t *event)
{
    if (tag == NULL)
        return;
    size_t start = byte_offset(p, event->start_mark.index);
    struct recipe_diag *diag = recipe_diag_add(
        p->reader->diags, RECIPE_E0005,
        recipe__source_span(p->reader->sources, p->file, start, start + 1),
        "a tag (%s) has no meaning in a recipe", (const char *)tag);
    recipe_diag_hint(diag, "remove it; text that starts with '!' is written in quotes");
}

static bool is_null(const char *text, bool plain_style)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    if (!plain_style || (text[0] != '\0' && strchr("~nN", text[0]) == NULL))
        return false;
    for (size_t i = 0; i < RWF_COUNT(nulls); i++) {
        if (strcmp(text, nulls[i]) == 0)
            return true;
    }
    return false;
}

/* --- events --- */

/* A tag on nothing, as in "op: !=", was meant as text: one error for it is enough. */
static void take_tag_as_text(struct parse *p, struct recipe_node *node,
                             const yaml_char_t *tag)
{
    if (tag == NULL || node->len > 0)
        return;
    node->text = rwf_arena_strdup(p->reader->arena, (const char *)tag);
    node->len = strlen(node->text);
    node->plain = node->null = false;
}

static struct recipe_node *scalar_node(struct parse *p, const yaml_event_t *event,
                                       struct recipe_span span, size_t start)
{
    struct recipe_node *node = new_node(p, RECIPE_SCALAR, span, start);
    if (node == NULL)
        return NULL;
    node->len = event->data.scalar.length;
    node->text = rwf_arena_strndup(p->reader->arena,
                                   (const char *)event->data.scalar.value, node->len);
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->null = is_null(node->text, node->plain);
    take_tag_as_text(p, node, event->data.scalar.tag);
    set_anchor(p, event->data.scalar.anchor, node);
    return node;
}

static void on_scalar(struct parse *p, const yaml_event_t *event)
{
    const char *value = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    size_t start = byte_offset(p, event->start_mark.index);
    struct recipe_span span = event_span(p, event);
    refuse_tag(p, event->data.scalar.tag, event);
    if (memchr(value, '\0', len) != NULL) {
        stop(p, RECIPE_E0002, start, p->last_end, "text may not hold a NUL byte (\\0)");
        return;
    }
    if (wants_key(p) && event->data.scalar.anchor == NULL) {
        take_key(p, rwf_arena_strndup(p->reader->arena, value, len), span);
        return;
    }
    struct recipe_node *node = scalar_node(p, event, span, start);
    if (node != NULL && wants_key(p))
        take_key(p, node->text, span);
    else if (node != NULL)
        attach(p, node);
}

static void open_container(struct parse *p, const yaml_event_t *event,
                           enum recipe_kind kind, const yaml_char_t *anchor)
{
    size_t start = byte_offset(p, event->start_mark.index);
    struct recipe_span span =
        recipe__source_span(p->reader->sources, p->file, start, start + 1);
    if (wants_key(p)) {
        recipe_diag_hint(stop(p, RECIPE_E0005, start, start + 1, "a key must be text"),
                         "text that starts with '{' or '[' is written in quotes");
        return;
    }
    if (p->depth == RECIPE_DEPTH_MAX) {
        stop(p, RECIPE_E0003, start, start + 1, "nested more than 64 levels deep");
        return;
    }
    struct recipe_node *node = new_node(p, kind, span, start);
    if (node == NULL)
        return;
    set_anchor(p, anchor, node);
    attach(p, node);
    p->frames[p->depth++] = (struct frame){.node = node, .start = start};
}

static void on_map(struct parse *p, const yaml_event_t *event)
{
    refuse_tag(p, event->data.mapping_start.tag, event);
    open_container(p, event, RECIPE_MAP, event->data.mapping_start.anchor);
}

static void on_list(struct parse *p, const yaml_event_t *event)
{
    refuse_tag(p, event->data.sequence_start.tag, event);
    open_container(p, event, RECIPE_LIST, event->data.sequence_start.anchor);
}

static void on_end(struct parse *p, const yaml_event_t *event)
{
    struct frame *f = top(p);
    event_span(p, event); /* a closing bracket moves last_end */
    f->node->span =
        recipe__source_span(p->reader->sources, p->file, f->start,
                            p->last_end > f->start ? p->last_end : f->start);
    p->depth--;
}

static bool is_open(const struct parse *p, const struct recipe_node *node)
{
    for (size_t i = 0; i < p->depth; i++) {
        if (p->frames[i].node == node)
            return true;
    }
    return false;
}

/* Counts the nodes of a tree up to a limit; its height in *height. */
static size_t measure(const struct recipe_node *node, size_t limit, size_t level,
                      size_t *height)
{
    size_t total = 1;
    if (level > *height)
        *height = level;
    if (node->kind == RECIPE_SCALAR)
        return total;
    for (size_t i = 0; i < node->count && total <= limit; i++)
        total +=
            measure(node->kind == RECIPE_MAP ? node->pairs[i].value : node->items[i],
                    limit - total, level + 1, height);
    return total;
}

static void copy_alias(struct parse *p, const struct recipe_node *target, size_t start)
{
    size_t height = 0, left = RECIPE_NODES_MAX - p->reader->nodes;
    size_t size = measure(target, left, 0, &height);
    if (size > left) {
        stop(p, RECIPE_E0004, start, p->last_end,
             "with this alias the recipe expands to more than 100000 nodes");
        return;
    }
    if (p->depth + height > RECIPE_DEPTH_MAX) {
        stop(p, RECIPE_E0003, start, p->last_end,
             "with this alias the recipe is nested more than 64 levels deep");
        return;
    }
    p->reader->nodes += size;
    attach(p, recipe_node_copy(p->reader->arena, target));
}

static void on_alias(struct parse *p, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    size_t start = byte_offset(p, event->start_mark.index);
    struct recipe_node *target = rwf_map_get(p->anchors, name);
    event_span(p, event);
    if (wants_key(p)) {
        stop(p, RECIPE_E0005, start, p->last_end, "an alias cannot be a key");
    } else if (target == NULL) {
        char *message =
            rwf_xasprintf("there is no anchor '&%s' above this alias", name);
        recipe_diag_hint(stop(p, RECIPE_E0001, start, p->last_end, message),
                         "text that starts with '*' is written in quotes");
        free(message);
    } else if (is_open(p, target)) {
        stop(p, RECIPE_E0004, start, p->last_end,
             "the alias stands inside the very value that it names");
    } else {
        copy_alias(p, target, start);
    }
}

/* What follows the document is looked at here and not by libyaml: only blank lines,
 * comments and end marks may follow. */
static void on_document_end(struct parse *p, const yaml_event_t *event)
{
    size_t at = byte_offset(p, event->end_mark.index);
    while (at < p->len) {
        size_t blank = strspn(p->text + at, " \t\r\n");
        at += blank;
        if (p->text[at] == '#')
            at += strcspn(p->text + at, "\r\n");
        else if (strncmp(p->text + at, "...", 3) == 0)
            at += 3;
        else
            break;
    }
    p->done = true;
    if (at >= p->len)
        return;
    if (p->text[at] == '%' || strncmp(p->text + at, "---", 3) == 0)
        recipe_diag_hint(
            stop(p, RECIPE_E0005, at, at + 3,
                 "a recipe is one YAML document, here a second one starts"),
            "put it into a file of its own");
    else
        recipe_diag_hint(
            stop(p, RECIPE_E0001, at, at + 1,
                 "this is not valid YAML: the recipe has already ended here"),
            "check the indentation of this line and the ones above");
}

static void on_stream_end(struct parse *p, const yaml_event_t *event)
{
    (void)event;
    p->done = true;
}

static void on_nothing(struct parse *p, const yaml_event_t *event)
{
    (void)p;
    (void)event;
}

static void (*const handlers[])(struct parse *, const yaml_event_t *) = {
    [YAML_NO_EVENT] = on_nothing,
    [YAML_STREAM_START_EVENT] = on_nothing,
    [YAML_STREAM_END_EVENT] = on_stream_end,
    [YAML_DOCUMENT_START_EVENT] = on_nothing,
    [YAML_DOCUMENT_END_EVENT] = on_document_end,
    [YAML_ALIAS_EVENT] = on_alias,
    [YAML_SCALAR_EVENT] = on_scalar,
    [YAML_SEQUENCE_START_EVENT] = on_list,
    [YAML_SEQUENCE_END_EVENT] = on_end,
    [YAML_MAPPING_START_EVENT] = on_map,
    [YAML_MAPPING_END_EVENT] = on_end,
};

static void report_syntax(struct parse *p, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR || parser->problem == NULL)
        rwf_out_of_memory(p->len);
    struct recipe__syntax_error e = {
        .problem = parser->problem,
        .at = byte_offset(p, parser->problem_mark.index),
    };
    if (parser->error == YAML_READER_ERROR)
        e.at = parser->problem_offset < p->len ? parser->problem_offset : p->len;
    if (parser->context != NULL) {
        e.context = parser->context;
        e.context_at = byte_offset(p, parser->context_mark.index);
    }
    p->failed = true;
    recipe__syntax_report(p->reader->diags, p->reader->sources, p->file, &e);
}

static void read_events(struct parse *p)
{
    yaml_parser_t parser;
    yaml_event_t event;
    if (!yaml_parser_initialize(&parser))
        rwf_out_of_memory(p->len);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)p->text, p->len);
    while (!p->failed && !p->done) {
        if (!yaml_parser_parse(&parser, &event)) {
            report_syntax(p, &parser);
            break;
        }
        handlers[event.type](p, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
}

struct recipe_node *recipe__yaml_read(struct recipe__reader *reader, uint32_t file)
{
    struct parse p = {.reader = reader, .file = file};
    p.text = recipe__source_text(reader->sources, file, &p.len);
    if (recipe__text_check(reader->diags, reader->sources, file) < 0)
        return NULL;
    p.anchors = rwf_map_create();
    index_characters(&p);
    read_events(&p);
    rwf_map_destroy(p.anchors, NULL);
    free(p.strides);
    if (p.failed)
        return NULL;
    if (p.root == NULL || (p.root->kind == RECIPE_SCALAR && p.root->null))
        p.root = recipe_node_new(reader->arena, RECIPE_MAP,
                                 recipe__source_span(reader->sources, file, 0, 0));
    return p.root;
}
