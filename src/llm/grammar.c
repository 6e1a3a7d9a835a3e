/* SPDX-License-Identifier: Apache-2.0
 *
 * The automaton. A stack is a node of a tree whose nodes are told apart by what they
 * hold (place, parent), so that a stack is a number; a state is a sorted set of stacks,
 * each with a byte class on top. A rule called last in its sequence leaves no trace on
 * the stack: lists of any length keep their states.
 */
#include "config.h"

#include "llm/grammar_impl.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define BOTTOM (-1)
#define MASKS_MAX 1024 /* 19 KB each with Qwen3's vocabulary */

struct class_ {
    uint32_t bits[8];
};

struct rule {
    int *starts; /* elements where its alternatives begin */
    size_t count, cap;
};

struct node {
    int place, parent;
};

struct state {
    int *stacks;
    size_t count, cap;
    bool complete;
    int *next; /* [256]; UNKNOWN until asked for */
    uint32_t *mask;
};
#define UNKNOWN (-2)

/* Open addressing over numbers of nodes or states. */
struct table {
    int *slots; /* number + 1 */
    size_t size, used;
};

struct grammar {
    atomic_int references;
    struct grammar__element *elements;
    size_t element_count, element_cap;
    struct class_ *classes;
    size_t class_count, class_cap;
    struct rule *rules;
    size_t rule_count, rule_cap;
    struct node *nodes;
    size_t node_count, node_cap;
    struct table node_table, state_table;
    struct state *states;
    size_t state_count, state_cap;
    int kept[MASKS_MAX]; /* states that have a mask, in the order in which they got it
                          */
    size_t kept_count;
};

/* --- rules --- */

struct grammar *grammar__create(void)
{
    struct grammar *g = rwf_xcalloc(1, sizeof(*g));

    g->references = 1;
    return g;
}

int grammar__rule(struct grammar *g)
{
    *RWF_PUSH(g->rules, g->rule_count, g->rule_cap) = (struct rule){NULL, 0, 0};
    return (int)g->rule_count - 1;
}

size_t grammar__rules(const struct grammar *g)
{
    return g->rule_count;
}

static int class_of(struct grammar *g, const struct class_ *c)
{
    for (size_t i = 0; i < g->class_count; i++)
        if (memcmp(&g->classes[i], c, sizeof(*c)) == 0)
            return (int)i;
    *RWF_PUSH(g->classes, g->class_count, g->class_cap) = *c;
    return (int)g->class_count - 1;
}

static void push(struct grammar__seq *s, int kind, int arg)
{
    struct grammar__element *e = RWF_PUSH(s->elements, s->count, s->cap);

    e->kind = kind;
    e->arg = arg;
}

void grammar__range(struct grammar *g, struct grammar__seq *s, const char *pairs,
                    size_t len)
{
    struct class_ c = {{0}};

    for (size_t i = 0; i + 1 < len; i += 2)
        for (unsigned b = (uint8_t)pairs[i]; b <= (uint8_t)pairs[i + 1]; b++)
            c.bits[b / 32] |= 1u << b % 32;
    push(s, GRAMMAR__BYTES, class_of(g, &c));
}

void grammar__text(struct grammar *g, struct grammar__seq *s, const char *bytes,
                   size_t len)
{
    for (size_t i = 0; i < len; i++)
        grammar__range(g, s, (const char[]){bytes[i], bytes[i]}, 2);
}

void grammar__call(struct grammar__seq *s, int rule)
{
    push(s, GRAMMAR__RULE, rule);
}

void grammar__alternative(struct grammar *g, int rule, struct grammar__seq *s)
{
    struct rule *r = &g->rules[rule];

    *RWF_PUSH(r->starts, r->count, r->cap) = (int)g->element_count;
    push(s, GRAMMAR__END, 0);
    for (size_t i = 0; i < s->count; i++)
        *RWF_PUSH(g->elements, g->element_count, g->element_cap) = s->elements[i];
    free(s->elements);
    *s = (struct grammar__seq){NULL, 0, 0};
}

/* --- rules that would never end --- */

struct soundness {
    const struct grammar *g;
    bool *nullable; /* may be empty */
    char *seen;     /* 1: being looked at, 2: sound */
};

/* Calls visit for each rule that may come first in an alternative; true: all of it may
 * be empty. A visit that returns false ends it. */
static bool first_rules(struct soundness *s, int start,
                        bool (*visit)(struct soundness *s, int rule), bool *ret_sound)
{
    for (int at = start;; at++) {
        const struct grammar__element e = s->g->elements[at];
        if (e.kind != GRAMMAR__RULE)
            return e.kind == GRAMMAR__END;
        if (visit != NULL && !visit(s, e.arg)) {
            *ret_sound = false;
            return false;
        }
        if (!s->nullable[e.arg])
            return false;
    }
}

static bool find_nullable(struct soundness *s)
{
    bool changed = false, sound = true;

    for (size_t r = 0; r < s->g->rule_count; r++)
        for (size_t i = 0; i < s->g->rules[r].count && !s->nullable[r]; i++)
            if (first_rules(s, s->g->rules[r].starts[i], NULL, &sound))
                changed = s->nullable[r] = true;
    return changed;
}

static bool ends(struct soundness *s, int rule)
{
    bool sound = true;

    if (s->seen[rule] != 0)
        return s->seen[rule] == 2;
    s->seen[rule] = 1;
    for (size_t i = 0; i < s->g->rules[rule].count && sound; i++)
        (void)first_rules(s, s->g->rules[rule].starts[i], ends, &sound);
    s->seen[rule] = 2;
    return sound;
}

bool grammar__sound(const struct grammar *g)
{
    struct soundness s = {g, rwf_xcalloc(g->rule_count + 1, sizeof(bool)),
                          rwf_xcalloc(g->rule_count + 1, 1)};
    bool sound = true;

    while (find_nullable(&s))
        ;
    for (size_t r = 0; r < g->rule_count && sound; r++)
        sound = ends(&s, (int)r);
    free(s.nullable);
    free(s.seen);
    return sound;
}

/* --- life --- */

void grammar_keep(struct grammar *g)
{
    atomic_fetch_add(&g->references, 1);
}

void grammar_drop(struct grammar *g)
{
    if (g == NULL || atomic_fetch_sub(&g->references, 1) != 1)
        return;
    for (size_t i = 0; i < g->rule_count; i++)
        free(g->rules[i].starts);
    for (size_t i = 0; i < g->state_count; i++) {
        free(g->states[i].stacks);
        free(g->states[i].next);
        free(g->states[i].mask);
    }
    free(g->rules);
    free(g->states);
    free(g->elements);
    free(g->classes);
    free(g->nodes);
    free(g->node_table.slots);
    free(g->state_table.slots);
    free(g);
}

/* --- what is there already --- */

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t node_hash(const struct grammar *g, int n)
{
    return mix(mix(1, (uint32_t)g->nodes[n].place), (uint32_t)g->nodes[n].parent);
}

static uint64_t state_hash(const struct grammar *g, int s)
{
    uint64_t h = g->states[s].complete;

    for (size_t i = 0; i < g->states[s].count; i++)
        h = mix(h, (uint32_t)g->states[s].stacks[i]);
    return h;
}

static bool same_node(const struct grammar *g, int a, int b)
{
    return g->nodes[a].place == g->nodes[b].place &&
           g->nodes[a].parent == g->nodes[b].parent;
}

static bool same_state(const struct grammar *g, int a, int b)
{
    const struct state *x = &g->states[a], *y = &g->states[b];

    return x->complete == y->complete && x->count == y->count &&
           (x->count == 0 ||
            memcmp(x->stacks, y->stacks, x->count * sizeof(*x->stacks)) == 0);
}

typedef uint64_t (*hash_fn)(const struct grammar *g, int n);
typedef bool (*same_fn)(const struct grammar *g, int a, int b);

static void table_grow(struct grammar *g, struct table *t, hash_fn hash)
{
    struct table bigger = {.size = t->size ? t->size * 2 : 256, .used = t->used};

    bigger.slots = rwf_xcalloc(bigger.size, sizeof(*bigger.slots));
    for (size_t i = 0; i < t->size; i++) {
        if (t->slots[i] == 0)
            continue;
        size_t at = hash(g, t->slots[i] - 1) & (bigger.size - 1);
        while (bigger.slots[at] != 0)
            at = (at + 1) & (bigger.size - 1);
        bigger.slots[at] = t->slots[i];
    }
    free(t->slots);
    *t = bigger;
}

/* The number of the one that equals n, which is the newest; n itself when there was
 * none. */
static int intern(struct grammar *g, struct table *t, int n, hash_fn hash, same_fn same)
{
    if (t->used * 2 >= t->size)
        table_grow(g, t, hash);
    size_t at = hash(g, n) & (t->size - 1);
    for (; t->slots[at] != 0; at = (at + 1) & (t->size - 1))
        if (same(g, t->slots[at] - 1, n))
            return t->slots[at] - 1;
    t->slots[at] = n + 1;
    t->used++;
    return n;
}

static int node(struct grammar *g, int place, int parent)
{
    int n = (int)g->node_count;

    *RWF_PUSH(g->nodes, g->node_count, g->node_cap) = (struct node){place, parent};
    int found = intern(g, &g->node_table, n, node_hash, same_node);
    if (found != n)
        g->node_count--;
    return found;
}

/* --- states --- */

static void add_stack(struct state *s, int n)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->stacks[i] == n)
            return;
    *RWF_PUSH(s->stacks, s->count, s->cap) = n;
}

/* Adds what may come at place, with parent beneath: goes into rules and out of ended
 * ones. */
static void expand(struct grammar *g, struct state *s, int place, int parent)
{
    const struct grammar__element e = g->elements[place];

    if (e.kind == GRAMMAR__BYTES) {
        add_stack(s, node(g, place, parent));
    } else if (e.kind == GRAMMAR__END) {
        if (parent == BOTTOM)
            s->complete = true;
        else
            expand(g, s, g->nodes[parent].place, g->nodes[parent].parent);
    } else {
        bool last = g->elements[place + 1].kind == GRAMMAR__END;
        int below = last ? parent : node(g, place + 1, parent);
        for (size_t i = 0; i < g->rules[e.arg].count; i++)
            expand(g, s, g->rules[e.arg].starts[i], below);
    }
}

static int ascending(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;

    return (x > y) - (x < y);
}

/* Takes what s holds. */
static int state(struct grammar *g, struct state *s)
{
    if (s->count == 0 && !s->complete)
        return GRAMMAR_DEAD;
    if (s->count > 0)
        qsort(s->stacks, s->count, sizeof(*s->stacks), ascending);
    int n = (int)g->state_count;
    *RWF_PUSH(g->states, g->state_count, g->state_cap) = *s;
    int found = intern(g, &g->state_table, n, state_hash, same_state);
    if (found != n) {
        g->state_count--;
        free(s->stacks);
    }
    return found;
}

int grammar_start(struct grammar *g)
{
    struct state s = {0};

    for (size_t i = 0; i < g->rules[0].count; i++)
        expand(g, &s, g->rules[0].starts[i], BOTTOM);
    return state(g, &s);
}

static int compute_next(struct grammar *g, int from, uint8_t byte)
{
    struct state s = {0};

    for (size_t i = 0; i < g->states[from].count; i++) {
        const struct node n = g->nodes[g->states[from].stacks[i]];
        const struct class_ *c = &g->classes[g->elements[n.place].arg];
        if (c->bits[byte / 32] >> byte % 32 & 1)
            expand(g, &s, n.place + 1, n.parent);
    }
    int next = state(g, &s);
    if (next == GRAMMAR_DEAD)
        free(s.stacks);
    return next;
}

int grammar_next(struct grammar *g, int from, uint8_t byte)
{
    int *next = g->states[from].next;

    if (next == NULL) {
        next = g->states[from].next = rwf_xmalloc(256 * sizeof(*next));
        for (int i = 0; i < 256; i++)
            next[i] = UNKNOWN;
    }
    if (next[byte] == UNKNOWN)
        next[byte] = compute_next(g, from, byte);
    return next[byte];
}

bool grammar_complete(const struct grammar *g, int s)
{
    return g->states[s].complete;
}

int grammar_states(const struct grammar *g)
{
    return (int)g->state_count;
}

uint32_t *grammar__mask(struct grammar *g, int s)
{
    return g->states[s].mask;
}

void grammar__keep_mask(struct grammar *g, int s, uint32_t *mask)
{
    int *place = &g->kept[g->kept_count++ % MASKS_MAX];

    if (g->kept_count > MASKS_MAX) {
        free(g->states[*place].mask);
        g->states[*place].mask = NULL;
    }
    *place = s;
    g->states[s].mask = mask;
}
