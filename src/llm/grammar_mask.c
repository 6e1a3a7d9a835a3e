/* SPDX-License-Identifier: Apache-2.0
 *
 * The vocabulary as a tree over bytes, laid out in the order of a walk: from a node
 * that cannot come the walk jumps behind all that begins like it. A mask costs one
 * walk, and is kept with its state.
 */
#include "config.h"

#include "llm/grammar_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

struct branch {
    int skip;  /* the node behind its subtree */
    int token; /* first of the sorted tokens that end here */
    uint16_t token_count, depth;
    uint8_t byte;
};

struct vocabulary {
    const struct tokenizer *tokenizer;
    int64_t vocab;
    int32_t *ends;
    int end_count;
    struct branch *branches;
    size_t branch_count, branch_cap;
    size_t deepest;
    int32_t *ids; /* sorted by their bytes; equal ones beside each other */
};

#define DEPTH_MAX 65535

/* --- the tree --- */

struct token {
    int32_t id;
    const char *bytes;
    size_t len;
};

static int by_bytes(const void *a, const void *b)
{
    const struct token *x = a, *y = b;
    int d = memcmp(x->bytes, y->bytes, x->len < y->len ? x->len : y->len);

    if (d != 0)
        return d;
    return x->len != y->len ? (x->len < y->len ? -1 : 1)
                            : (x->id > y->id) - (x->id < y->id);
}

/* Tokens that stand for text, sorted. */
static struct token *sorted_tokens(const struct tokenizer *t, int64_t vocab,
                                   struct rwf_str *bytes, size_t *ret_count)
{
    int32_t count = tokenizer_count(t) < vocab ? tokenizer_count(t) : (int32_t)vocab;
    struct token *tokens = rwf_xcalloc((size_t)count + 1, sizeof(*tokens));
    size_t *at = rwf_xcalloc((size_t)count + 1, sizeof(*at)), n = 0;

    for (int32_t id = 0; id < count; id++) {
        at[n] = bytes->len;
        if (!tokenizer_special(t, id))
            tokenizer_decode(t, &id, 1, bytes);
        size_t len = bytes->len - at[n];
        if (len > 0 && len < DEPTH_MAX)
            tokens[n++] = (struct token){id, NULL, len};
    }
    for (size_t i = 0; i < n; i++)
        tokens[i].bytes = bytes->data + at[i];
    free(at);
    qsort(tokens, n, sizeof(*tokens), by_bytes);
    *ret_count = n;
    return tokens;
}

static size_t common(const struct token *a, const struct token *b)
{
    size_t n = 0;

    while (n < a->len && n < b->len && a->bytes[n] == b->bytes[n])
        n++;
    return n;
}

/* path[d]: the open branch of depth d; those deeper than `to` are closed. */
static void close_path(struct vocabulary *v, int *path, size_t from, size_t to)
{
    for (size_t d = from; d > to; d--)
        v->branches[path[d]].skip = (int)v->branch_count;
}

static void plant(struct vocabulary *v, const struct token *tokens, size_t count)
{
    int *path = rwf_xcalloc(DEPTH_MAX + 1, sizeof(*path));
    size_t depth = 0;

    for (size_t i = 0; i < count; i++) {
        size_t shared = i == 0 ? 0 : common(&tokens[i - 1], &tokens[i]);
        close_path(v, path, depth, shared);
        for (size_t d = shared + 1; d <= tokens[i].len; d++) {
            path[d] = (int)v->branch_count;
            *RWF_PUSH(v->branches, v->branch_count, v->branch_cap) =
                (struct branch){.token = (int)i,
                                .depth = (uint16_t)d,
                                .byte = (uint8_t)tokens[i].bytes[d - 1]};
        }
        depth = tokens[i].len;
        v->deepest = depth > v->deepest ? depth : v->deepest;
        struct branch *end = &v->branches[path[depth]];
        if (end->token_count++ == 0)
            end->token = (int)i;
    }
    close_path(v, path, depth, 0);
    free(path);
}

struct vocabulary *vocabulary_create(const struct tokenizer *t, int64_t vocab,
                                     const int32_t *ends, int end_count)
{
    struct vocabulary *v = rwf_xcalloc(1, sizeof(*v));
    struct rwf_str bytes = {NULL, 0, 0};
    size_t count;
    struct token *tokens = sorted_tokens(t, vocab, &bytes, &count);

    v->tokenizer = t;
    v->vocab = vocab;
    v->end_count = end_count;
    v->ends = rwf_xcalloc((size_t)end_count + 1, sizeof(*v->ends));
    if (end_count > 0)
        memcpy(v->ends, ends, (size_t)end_count * sizeof(*ends));
    plant(v, tokens, count);
    v->ids = rwf_xcalloc(count + 1, sizeof(*v->ids));
    for (size_t i = 0; i < count; i++)
        v->ids[i] = tokens[i].id;
    free(tokens);
    rwf_str_free(&bytes);
    return v;
}

void vocabulary_destroy(struct vocabulary *v)
{
    if (v == NULL)
        return;
    free(v->ends);
    free(v->branches);
    free(v->ids);
    free(v);
}

/* --- masks --- */

static void allow(const struct vocabulary *v, uint32_t *mask, int32_t id)
{
    if (id >= 0 && id < v->vocab)
        mask[id / 32] |= 1u << id % 32;
}

static size_t words(const struct vocabulary *v)
{
    return (size_t)(v->vocab + 31) / 32;
}

/* All but the ends: what is free must come to its own end first. */
static void allow_all_but_ends(const struct vocabulary *v, uint32_t *mask)
{
    memset(mask, 0xff, words(v) * sizeof(*mask));
    for (int i = 0; i < v->end_count; i++)
        if (v->ends[i] >= 0 && v->ends[i] < v->vocab)
            mask[v->ends[i] / 32] &= ~(1u << v->ends[i] % 32);
}

static void allow_ends(const struct vocabulary *v, uint32_t *mask)
{
    for (int i = 0; i < v->end_count; i++)
        allow(v, mask, v->ends[i]);
}

/* True when a token may come. */
static bool walk(const struct vocabulary *v, struct grammar *g, int start,
                 uint32_t *mask)
{
    int *states = rwf_xmalloc((v->deepest + 1) * sizeof(*states));
    bool any = false;

    states[0] = start;
    for (size_t i = 0; i < v->branch_count;) {
        const struct branch *b = &v->branches[i];
        int next = grammar_next(g, states[b->depth - 1], b->byte);
        if (next == GRAMMAR_DEAD) {
            i = (size_t)b->skip;
            continue;
        }
        states[b->depth] = next;
        for (int k = 0; k < b->token_count; k++)
            allow(v, mask, v->ids[b->token + k]);
        any = any || b->token_count > 0;
        i++;
    }
    free(states);
    return any;
}

static const uint32_t *mask_of(const struct vocabulary *v, struct grammar *g, int state)
{
    uint32_t *mask = grammar__mask(g, state);

    if (mask != NULL)
        return mask;
    mask = rwf_xcalloc(words(v), sizeof(*mask));
    bool any = walk(v, g, state, mask);
    if (grammar_complete(g, state) || !any)
        allow_ends(v, mask);
    grammar__keep_mask(g, state, mask);
    return mask;
}

/* --- a constraint --- */

struct constraint {
    struct grammar *grammar;
    const struct vocabulary *vocabulary;
    int state;     /* NOT_BEGUN: the engine's thread begins it */
    int32_t begin; /* may come now, and makes what follows free; -1: none */
    int32_t end;   /* of what is free */
    bool free;
};
#define NOT_BEGUN (-2)

/* States are the grammar's, which other requests may be using by now. */
static void begin(struct constraint *c)
{
    if (c->state == NOT_BEGUN)
        c->state = grammar_start(c->grammar);
}

static bool mask(void *ctx, uint32_t *ret)
{
    struct constraint *c = ctx;

    if (c->free && c->end < 0)
        return false;
    if (c->free) {
        allow_all_but_ends(c->vocabulary, ret);
        return true;
    }
    begin(c);
    if (c->state == GRAMMAR_DEAD) { /* nothing but an end can mend it */
        memset(ret, 0, words(c->vocabulary) * sizeof(*ret));
        allow_ends(c->vocabulary, ret);
    } else {
        memcpy(ret, mask_of(c->vocabulary, c->grammar, c->state),
               words(c->vocabulary) * sizeof(*ret));
    }
    allow(c->vocabulary, ret, c->begin);
    return true;
}

static void accept_id(void *ctx, int32_t id)
{
    struct constraint *c = ctx;
    struct rwf_str bytes = {NULL, 0, 0};

    if (c->free || (c->begin >= 0 && id == c->begin)) {
        c->free = id != c->end;
        c->begin = -1;
        return;
    }
    c->begin = -1;
    begin(c);
    tokenizer_decode(c->vocabulary->tokenizer, &id, 1, &bytes);
    for (size_t i = 0; i < bytes.len && c->state != GRAMMAR_DEAD; i++)
        c->state = grammar_next(c->grammar, c->state, (uint8_t)bytes.data[i]);
    rwf_str_free(&bytes);
}

static void constraint_free(void *ctx)
{
    struct constraint *c = ctx;

    grammar_drop(c->grammar);
    free(c);
}

void grammar_constrain(struct grammar *g, struct vocabulary *v, int32_t begin,
                       int32_t end, struct llm_constraint *ret)
{
    struct constraint *c = rwf_xcalloc(1, sizeof(*c));

    *c = (struct constraint){g, v, NOT_BEGUN, begin, end, begin < 0 && end >= 0};
    *ret = (struct llm_constraint){c, mask, accept_id, constraint_free};
}
