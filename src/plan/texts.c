/* SPDX-License-Identifier: Apache-2.0
 *
 * Parsed strings, remembered by the node they come from, so that 100,000 instances of
 * an entry share one parse. A hash of pointers; nodes never move.
 */
#include "config.h"
#include "plan/inside.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

struct slot {
    const struct recipe_node *node;
    const void *parsed; /* template or condition: the node's place says which */
};

struct plan__texts {
    struct slot *slots;
    size_t count, size; /* size: a power of two */
};

struct plan__texts *plan__texts_create(void)
{
    struct plan__texts *t = rwf_xcalloc(1, sizeof(*t));

    t->size = 64;
    t->slots = rwf_xcalloc(t->size, sizeof(*t->slots));
    return t;
}

void plan__texts_destroy(struct plan__texts *t)
{
    if (!t)
        return;
    free(t->slots);
    free(t);
}

static struct slot *find(const struct plan__texts *t, const struct recipe_node *node)
{
    uint64_t hash = ((uintptr_t)node >> 4) * UINT64_C(0x9e3779b97f4a7c15);
    size_t i = (size_t)(hash >> 32) & (t->size - 1);

    while (t->slots[i].node && t->slots[i].node != node)
        i = (i + 1) & (t->size - 1);
    return &t->slots[i];
}

static void grow(struct plan__texts *t)
{
    struct plan__texts old = *t;

    t->size *= 2;
    t->slots = rwf_xcalloc(t->size, sizeof(*t->slots));
    for (size_t i = 0; i < old.size; i++)
        if (old.slots[i].node)
            *find(t, old.slots[i].node) = old.slots[i];
    free(old.slots);
}

static void remember(struct plan__texts *t, const struct recipe_node *node,
                     const void *parsed)
{
    if (t->count * 2 >= t->size)
        grow(t);
    *find(t, node) = (struct slot){node, parsed};
    t->count++;
}

bool plan__has_refs(const struct recipe_node *node)
{
    return node->kind == RECIPE_SCALAR && node->text && strstr(node->text, "${");
}

const struct expr_template *plan__template(struct plan_graph *g,
                                           const struct recipe_node *node,
                                           size_t *ret_at, struct rwf_err *err)
{
    const struct slot *slot = find(g->texts, node);
    const struct expr_template *t = slot->parsed;

    if (slot->node)
        return t;
    t = expr_template_parse_at(g->arena, node->text, ret_at, err);
    if (t)
        remember(g->texts, node, t);
    return t;
}

const struct expr_condition *plan__condition(struct plan_graph *g,
                                             const struct recipe_node *node,
                                             size_t *ret_at, struct rwf_err *err)
{
    const struct slot *slot = find(g->texts, node);
    const struct expr_condition *c = slot->parsed;

    if (slot->node)
        return c;
    c = expr_condition_parse_at(g->arena, node->text, ret_at, err);
    if (c)
        remember(g->texts, node, c);
    return c;
}

/* --- places inside scalars --- */

/* How often text[at..at+len) stands before at. */
static size_t occurrences_before(const char *text, size_t at, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i + len <= at; i++)
        if (memcmp(text + i, text + at, len) == 0)
            n++;
    return n;
}

/* Finds the skip-th piece[0..len) in the source lines of node. */
static bool find_in_source(const struct recipe *r, const struct recipe_node *node,
                           const char *piece, size_t len, size_t skip,
                           struct recipe_span *ret)
{
    const struct recipe_span *span = &node->span;

    for (uint32_t line = span->line; line <= span->end_line; line++) {
        size_t width = 0, from = line == span->line ? span->col - 1 : 0;
        const char *s = recipe_source_line(recipe_sources(r), span->file, line, &width);
        for (; s && from + len <= width; from++) {
            if (memcmp(s + from, piece, len) != 0 || skip-- > 0)
                continue;
            *ret = (struct recipe_span){span->file, line, (uint32_t)from + 1, line,
                                        (uint32_t)(from + len) + 1};
            return true;
        }
    }
    return false;
}

struct recipe_span plan__span_in(const struct recipe *r, const struct recipe_node *node,
                                 size_t at, size_t len)
{
    struct recipe_span span = node->span;
    bool one_line = span.line == span.end_line;
    uint32_t quote = !node->plain;

    if (span.line == 0)
        return span;
    if (one_line && span.end_col - span.col == node->len + 2 * quote) {
        span.col += quote + (uint32_t)at;
        span.end_col = span.col + (uint32_t)(len ? len : 1);
        return span;
    }
    if (len > 0 && at < 65536)
        find_in_source(r, node, node->text + at, len,
                       occurrences_before(node->text, at, len), &span);
    return span;
}
