/* SPDX-License-Identifier: Apache-2.0
 *
 * The texts are in a trie of bytes; a table of first bytes skips what starts none of
 * them.
 */
#include "config.h"
#include "text/added.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "text/unicode.h"

struct node {
    uint8_t byte;
    uint32_t child, sibling; /* indices of nodes; 0: none */
    int32_t token;           /* index of the token that ends here; -1 */
};

struct added {
    struct node *nodes; /* [0] is the root */
    size_t node_count, node_cap;
    struct added__token *tokens;
    size_t count, cap;
    uint32_t first[256]; /* children of the root; 0: no text starts so */
};

static uint32_t node_create(struct added *a, uint8_t byte)
{
    struct node *n = RWF_PUSH(a->nodes, a->node_count, a->node_cap);

    memset(n, 0, sizeof(*n));
    n->byte = byte;
    n->token = -1;
    return (uint32_t)(a->node_count - 1);
}

struct added *added__create(void)
{
    struct added *a = rwf_xcalloc(1, sizeof(*a));

    node_create(a, 0);
    return a;
}

void added__destroy(struct added *a)
{
    if (!a)
        return;
    free(a->nodes);
    free(a->tokens);
    free(a);
}

size_t added__count(const struct added *a)
{
    return a->count;
}

static uint32_t child_of(const struct added *a, uint32_t node, uint8_t byte)
{
    uint32_t child = a->nodes[node].child;

    while (child && a->nodes[child].byte != byte)
        child = a->nodes[child].sibling;
    return child;
}

void added__put(struct added *a, const char *text, size_t len,
                const struct added__token *token)
{
    uint32_t node = 0;

    for (size_t i = 0; i < len; i++) {
        uint8_t byte = (uint8_t)text[i];
        uint32_t child = child_of(a, node, byte);
        if (!child) {
            child = node_create(a, byte);
            a->nodes[child].sibling = a->nodes[node].child;
            a->nodes[node].child = child;
        }
        if (node == 0)
            a->first[byte] = child;
        node = child;
    }
    if (node == 0 || a->nodes[node].token >= 0)
        return;
    a->nodes[node].token = (int32_t)a->count;
    *RWF_PUSH(a->tokens, a->count, a->cap) = *token;
}

/* The longest text at p[0..len): its token and *ret_len; NULL when there is none. */
static const struct added__token *match_at(const struct added *a, const uint8_t *p,
                                           size_t len, size_t *ret_len)
{
    const struct added__token *found = NULL;
    uint32_t node = a->first[p[0]];

    for (size_t i = 1; node; i++) {
        if (a->nodes[node].token >= 0) {
            found = &a->tokens[a->nodes[node].token];
            *ret_len = i;
        }
        node = i < len ? child_of(a, node, p[i]) : 0;
    }
    return found;
}

/* The character that ends at p + at > p. */
static size_t char_before(const uint8_t *p, size_t at)
{
    do
        at--;
    while (at > 0 && (p[at] & 0xC0) == 0x80);
    return at;
}

static bool alone(const uint8_t *p, size_t len, size_t start, size_t stop)
{
    size_t n;

    return (start == 0 ||
            !text__is_word(text__decode(p + char_before(p, start), &n))) &&
           (stop == len || !text__is_word(text__decode(p + stop, &n)));
}

static size_t strip_left(const uint8_t *p, size_t start, size_t limit)
{
    size_t n;

    while (start > limit) {
        size_t at = char_before(p, start);
        if (text__class(text__decode(p + at, &n)) < TEXT_SPACE)
            break;
        start = at;
    }
    return start > limit ? start : limit;
}

static size_t strip_right(const uint8_t *p, size_t stop, size_t len)
{
    size_t n;

    while (stop < len && text__class(text__decode(p + stop, &n)) >= TEXT_SPACE)
        stop += n;
    return stop;
}

struct cut {
    const struct added *added;
    const uint8_t *p;
    size_t len, done; /* done: bytes of p that the sink has */
    const struct added__sink *sink;
};

/* The tokens that lie wholly in p[at..end). */
static void cut_between(struct cut *c, size_t at, size_t end)
{
    const struct added *a = c->added;
    const struct added__sink *sink = c->sink;
    const uint8_t *p = c->p;
    size_t n = 0;

    while (at < end) {
        const struct added__token *token =
            a->first[p[at]] ? match_at(a, p + at, end - at, &n) : NULL;
        if (!token) {
            at++;
            continue;
        }
        size_t start = at, stop = at + n;
        at = stop; /* the search goes on there also when the token does not count */
        if (token->single_word && !alone(p, c->len, start, stop))
            continue;
        if (token->lstrip)
            start = strip_left(p, start, c->done);
        if (token->rstrip)
            stop = strip_right(p, stop, c->len);
        if (start > c->done)
            sink->text(sink->ctx, p + c->done, start - c->done);
        sink->token(sink->ctx, token->id);
        c->done = stop;
    }
}

void added__cut(const struct added *a, const uint8_t *p, size_t len,
                const struct text__fence *fence, const struct added__sink *sink)
{
    struct cut c = {.added = a, .p = p, .len = len, .sink = sink};
    size_t at = 0;

    for (size_t i = text__fence_at(fence, p); i < fence->count && at < len; i++) {
        const uint8_t *start = fence->base + fence->ranges[i].start;
        const uint8_t *stop = fence->base + fence->ranges[i].stop;
        if (start >= p + len)
            break;
        if (start > p + at)
            cut_between(&c, at, (size_t)(start - p));
        at = stop < p + len ? (size_t)(stop - p) : len;
    }
    cut_between(&c, at, len);
    /* A token of whitespace can lie in what another one stripped: done may be behind.
     */
    if (c.done < len)
        sink->text(sink->ctx, p + c.done, len - c.done);
}
