/* SPDX-License-Identifier: Apache-2.0
 *
 * Conditions for `when`: a parser by descent and an evaluator over its tree.
 *
 *   or       and ( "||" and )*
 *   and      compare ( "&&" compare )*
 *   compare  unary ( ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) unary )?
 *   unary    "!" unary | "(" or ")" | ${ref} | number | 'text' | "text" | true | false
 *
 * Depth grows only with "!" and "(", and is bounded, so neither parsing nor evaluation
 * can exhaust the stack: chains of && and || are siblings, not nested.
 */
#include "config.h"
#include "recipe/expr.h"

#include <ctype.h>
#include <string.h>
#include "base/mem.h"
#include "recipe/expr_parse.h"

#define DEPTH_MAX 32

enum node_kind { NODE_OR, NODE_AND, NODE_NOT, NODE_COMPARE, NODE_REF, NODE_LITERAL };
enum compare { CMP_EQ, CMP_NE, CMP_LE, CMP_GE, CMP_LT, CMP_GT, CMP_NONE };

/* Longer spellings first. */
static const char *const compare_text[] = {
    [CMP_EQ] = "==", [CMP_NE] = "!=", [CMP_LE] = "<=",
    [CMP_GE] = ">=", [CMP_LT] = "<",  [CMP_GT] = ">",
};

enum operand_type { OF_BOOL, OF_INT, OF_FLOAT, OF_TEXT, OF_PENDING };

static const char *const operand_name[] = {
    [OF_BOOL] = "a boolean",
    [OF_INT] = "a number",
    [OF_FLOAT] = "a number",
    [OF_TEXT] = "a text",
    [OF_PENDING] = "a number or a text",
};

struct operand {
    enum operand_type type;
    bool truth;
    int64_t whole;
    double number;
    const char *text;
};

struct node {
    enum node_kind kind;
    enum compare compare;
    size_t at;
    struct node *child; /* first operand */
    struct node *next;  /* sibling */
    uint32_t ref;       /* index into refs */
    struct operand literal;
};

struct expr_condition {
    struct node *root;
    struct expr_ref *refs;
    size_t count;
};

struct parser {
    struct expr_cursor c;
    struct expr_condition *condition;
    int depth;
};

static struct node *parse_or(struct parser *p);

static struct node *new_node(struct parser *p, enum node_kind kind, size_t at)
{
    struct node *n = rwf_arena_alloc(p->c.arena, sizeof(*n));

    n->kind = kind;
    n->at = at;
    return n;
}

static bool accept(struct parser *p, const char *token)
{
    expr__skip_space(&p->c);
    if (strncmp(p->c.text + p->c.at, token, strlen(token)) != 0)
        return false;
    p->c.at += strlen(token);
    return true;
}

static int enter(struct parser *p)
{
    if (++p->depth > DEPTH_MAX)
        return expr__fail(&p->c, p->c.at, "nested deeper than %d levels", DEPTH_MAX);
    return 0;
}

static struct node *parse_ref_node(struct parser *p)
{
    struct node *n = new_node(p, NODE_REF, p->c.at);

    n->ref = (uint32_t)p->condition->count;
    if (expr__parse_ref(&p->c, &p->condition->refs[n->ref]) < 0)
        return NULL;
    p->condition->count++;
    return n;
}

static struct node *parse_text_node(struct parser *p)
{
    struct node *n = new_node(p, NODE_LITERAL, p->c.at);

    n->literal.type = OF_TEXT;
    n->literal.text = expr__parse_string(&p->c);
    return n->literal.text ? n : NULL;
}

static size_t word_length(const char *s)
{
    size_t n = 0;

    while (isalnum((unsigned char)s[n]) || strchr("._+-", s[n]) != NULL) {
        if (s[n] == '\0')
            break;
        n++;
    }
    return n;
}

/* What a bare word that is no literal should have been. */
static void fail_word(struct parser *p, const char *word)
{
    static const struct {
        const char *word, *use;
    } other[] = {{"and", "&&"},
                 {"or", "||"},
                 {"not", "!"},
                 {"True", "true"},
                 {"False", "false"}};

    for (size_t i = 0; i < RWF_COUNT(other); i++) {
        if (strcmp(word, other[i].word) == 0) {
            expr__fail(&p->c, p->c.at, "'%s' is written %s here", word, other[i].use);
            return;
        }
    }
    expr__fail(
        &p->c, p->c.at,
        "'%.60s' is no number; a text needs quotes ('%.60s') and a reference ${…}",
        word, word);
}

static struct node *parse_word(struct parser *p)
{
    struct node *n = new_node(p, NODE_LITERAL, p->c.at);
    size_t len = word_length(p->c.text + p->c.at);
    char *word = rwf_arena_strndup(p->c.arena, p->c.text + p->c.at, len);
    struct operand *o = &n->literal;
    char seen[EXPR_CHAR_NAME_LEN];

    if (len == 0) {
        expr__fail(&p->c, p->c.at, "expected a value, found %s",
                   expr__char_name(p->c.text[p->c.at], seen));
        return NULL;
    }
    if (recipe_looks_bool(word, &o->truth)) {
        o->type = OF_BOOL;
    } else if (recipe_looks_int(word, &o->whole)) {
        o->type = OF_INT;
        o->number = (double)o->whole;
    } else if (recipe_looks_number(word, &o->number)) {
        o->type = OF_FLOAT;
    } else {
        fail_word(p, word);
        return NULL;
    }
    p->c.at += len;
    return n;
}

static struct node *parse_group(struct parser *p)
{
    size_t at = p->c.at++;

    if (enter(p) < 0)
        return NULL;
    struct node *n = parse_or(p);
    if (n && !accept(p, ")")) {
        expr__fail(&p->c, at, "this '(' has no closing ')'");
        return NULL;
    }
    p->depth--;
    return n;
}

static struct node *parse_unary(struct parser *p)
{
    expr__skip_space(&p->c);
    const char *s = p->c.text + p->c.at;

    if (s[0] == '!' && s[1] != '=') {
        struct node *n = new_node(p, NODE_NOT, p->c.at++);
        if (enter(p) < 0 || !(n->child = parse_unary(p)))
            return NULL;
        p->depth--;
        return n;
    }
    if (s[0] == '(')
        return parse_group(p);
    if (s[0] == '$' && s[1] == '{')
        return parse_ref_node(p);
    if (s[0] == '"' || s[0] == '\'')
        return parse_text_node(p);
    return parse_word(p);
}

static enum compare accept_compare(struct parser *p)
{
    for (int i = 0; i < CMP_NONE; i++)
        if (accept(p, compare_text[i]))
            return (enum compare)i;
    return CMP_NONE;
}

static struct node *parse_compare(struct parser *p)
{
    struct node *left = parse_unary(p);

    if (!left)
        return NULL;
    expr__skip_space(&p->c);
    size_t at = p->c.at;
    enum compare compare = accept_compare(p);
    if (compare == CMP_NONE)
        return left;
    struct node *n = new_node(p, NODE_COMPARE, at);
    n->compare = compare;
    n->child = left;
    if (!(left->next = parse_unary(p)))
        return NULL;
    expr__skip_space(&p->c);
    at = p->c.at;
    if (accept_compare(p) != CMP_NONE) {
        expr__fail(&p->c, at, "comparisons do not chain: join two with &&");
        return NULL;
    }
    return n;
}

/* A chain of operands joined by token; one alone stands for itself. */
static struct node *parse_chain(struct parser *p, enum node_kind kind,
                                const char *token,
                                struct node *(*operand)(struct parser *))
{
    struct node *first = operand(p), *last = first, *n;

    if (!first || !accept(p, token))
        return first;
    n = new_node(p, kind, first->at);
    n->child = first;
    do {
        if (!(last->next = operand(p)))
            return NULL;
        last = last->next;
    } while (accept(p, token));
    return n;
}

static struct node *parse_and(struct parser *p)
{
    return parse_chain(p, NODE_AND, "&&", parse_compare);
}

static struct node *parse_or(struct parser *p)
{
    return parse_chain(p, NODE_OR, "||", parse_and);
}

static void fail_rest(struct parser *p)
{
    const char *s = p->c.text + p->c.at;
    char seen[EXPR_CHAR_NAME_LEN];
    const char *use = s[0] == '='   ? "=="
                      : s[0] == '&' ? "&&"
                      : s[0] == '|' ? "||"
                                    : NULL;

    if (use)
        expr__fail(&p->c, p->c.at, "'%c' alone means nothing here: use %s", s[0], use);
    else
        expr__fail(&p->c, p->c.at, "expected an operator or the end, found %s",
                   expr__char_name(s[0], seen));
}

struct expr_condition *expr_condition_parse_at(struct rwf_arena *a, const char *text,
                                               size_t *ret_at, struct rwf_err *err)
{
    struct expr_condition *condition = rwf_arena_alloc(a, sizeof(*condition));
    struct parser p = {
        .c = {.arena = a, .text = rwf_arena_strdup(a, text), .err = err},
        .condition = condition,
    };

    condition->refs =
        rwf_arena_alloc(a, (expr__count_refs(text) + 1) * sizeof(struct expr_ref));
    condition->root = parse_or(&p);
    if (condition->root) {
        expr__skip_space(&p.c);
        if (p.c.text[p.c.at] == '\0')
            return condition;
        fail_rest(&p);
    }
    *ret_at = p.c.error_at;
    return NULL;
}

struct expr_condition *expr_condition_parse(struct rwf_arena *a, const char *text,
                                            struct rwf_err *err)
{
    size_t at = 0;
    struct expr_condition *c = expr_condition_parse_at(a, text, &at, err);

    if (!c)
        rwf_wrap(err, "column %zu", at + 1);
    return c;
}

const struct expr_ref *expr_condition_refs(const struct expr_condition *c,
                                           size_t *count)
{
    *count = c->count;
    return c->refs;
}

/* --- evaluation --- */

struct evaluation {
    const struct expr_condition *condition;
    const struct expr_scope *scope;
    struct rwf_arena *arena;
    struct rwf_err *err;
    bool check; /* types only: nothing is cut short, pending values are fine */
};

static int eval(const struct evaluation *e, const struct node *n, struct operand *ret);

static int from_number(const struct evaluation *e, const struct expr_ref *ref,
                       const struct expr_value *v, struct operand *ret)
{
    if (recipe_looks_int(v->text, &ret->whole)) {
        ret->type = OF_INT;
        ret->number = (double)ret->whole;
        return 0;
    }
    ret->type = OF_FLOAT;
    if (!recipe_looks_number(v->text, &ret->number))
        return rwf_fail(e->err, RWF_E_RECIPE, "${%s} is '%.80s', not a number",
                        ref->text, v->text);
    return 0;
}

static int eval_ref(const struct evaluation *e, const struct node *n,
                    struct operand *ret)
{
    const struct expr_ref *ref = &e->condition->refs[n->ref];
    struct expr_value v = {.type = EXPR_STRING};

    if (e->scope->lookup(e->scope->ctx, e->arena, ref, &v, e->err) < 0)
        return -1;
    switch (v.type) {
    case EXPR_STRING:
        *ret = (struct operand){.type = OF_TEXT, .text = v.text};
        return 0;
    case EXPR_INT:
    case EXPR_FLOAT:
        return from_number(e, ref, &v, ret);
    case EXPR_BOOL:
        *ret = (struct operand){.type = OF_BOOL, .truth = strcmp(v.text, "true") == 0};
        return 0;
    case EXPR_LIST:
        return rwf_fail(e->err, RWF_E_RECIPE,
                        "${%s} is a list; a condition wants one value", ref->text);
    case EXPR_SECRET:
        return rwf_fail(e->err, RWF_E_RECIPE,
                        "${%s} is a secret; it cannot be compared", ref->text);
    case EXPR_PENDING:
        break;
    }
    if (!e->check)
        return rwf_fail(e->err, RWF_E_RECIPE, "${%s} is not known yet", ref->text);
    ret->type = OF_PENDING;
    return 0;
}

static bool is_number(const struct operand *o)
{
    return o->type == OF_INT || o->type == OF_FLOAT;
}

static bool compatible(const struct operand *a, const struct operand *b)
{
    if (a->type == OF_PENDING)
        return b->type != OF_BOOL;
    if (b->type == OF_PENDING)
        return a->type != OF_BOOL;
    return a->type == b->type || (is_number(a) && is_number(b));
}

static int check_operands(const struct evaluation *e, enum compare op,
                          const struct operand *a, const struct operand *b)
{
    bool ordered = op != CMP_EQ && op != CMP_NE;

    if (!compatible(a, b))
        return rwf_fail(e->err, RWF_E_RECIPE, "%s compares %s with %s",
                        compare_text[op], operand_name[a->type], operand_name[b->type]);
    if (ordered && (a->type == OF_TEXT || a->type == OF_BOOL || b->type == OF_TEXT))
        return rwf_fail(e->err, RWF_E_RECIPE, "%s compares numbers, not %s",
                        compare_text[op],
                        operand_name[a->type == OF_PENDING ? b->type : a->type]);
    return 0;
}

static bool equal(const struct operand *a, const struct operand *b)
{
    if (a->type == OF_TEXT)
        return strcmp(a->text, b->text) == 0;
    if (a->type == OF_BOOL)
        return a->truth == b->truth;
    if (a->type == OF_INT && b->type == OF_INT)
        return a->whole == b->whole;
    return a->number == b->number;
}

static bool less(const struct operand *a, const struct operand *b)
{
    if (a->type == OF_INT && b->type == OF_INT)
        return a->whole < b->whole;
    return a->number < b->number;
}

static bool compare(enum compare op, const struct operand *a, const struct operand *b)
{
    switch (op) {
    case CMP_EQ:
        return equal(a, b);
    case CMP_NE:
        return !equal(a, b);
    case CMP_LT:
        return less(a, b);
    case CMP_GT:
        return less(b, a);
    case CMP_LE:
        return less(a, b) || equal(a, b);
    case CMP_GE:
        return less(b, a) || equal(a, b);
    case CMP_NONE:
        break;
    }
    rwf_assert(!"a comparison without an operator");
    return false;
}

static int eval_compare(const struct evaluation *e, const struct node *n,
                        struct operand *ret)
{
    struct operand a = {0}, b = {0};

    if (eval(e, n->child, &a) < 0 || eval(e, n->child->next, &b) < 0 ||
        check_operands(e, n->compare, &a, &b) < 0)
        return -1;
    ret->type = OF_BOOL;
    ret->truth =
        a.type != OF_PENDING && b.type != OF_PENDING && compare(n->compare, &a, &b);
    return 0;
}

static int eval_bool(const struct evaluation *e, const struct node *n, bool *ret)
{
    struct operand o = {0};

    if (eval(e, n, &o) < 0)
        return -1;
    if (o.type != OF_BOOL) {
        const char *what = n->kind == NODE_REF ? e->condition->refs[n->ref].text : NULL;
        return rwf_fail(e->err, RWF_E_RECIPE,
                        "%s%s%s is %s where true or false is wanted; compare it with "
                        "something",
                        what ? "${" : "the value", what ? what : "", what ? "}" : "",
                        operand_name[o.type]);
    }
    *ret = o.truth;
    return 0;
}

static int eval_chain(const struct evaluation *e, const struct node *n,
                      struct operand *ret)
{
    bool decisive = n->kind == NODE_OR, truth = !decisive;

    ret->type = OF_BOOL;
    for (const struct node *c = n->child; c; c = c->next) {
        if (eval_bool(e, c, &truth) < 0)
            return -1;
        if (truth == decisive && !e->check)
            break;
    }
    ret->truth = truth;
    return 0;
}

static int eval(const struct evaluation *e, const struct node *n, struct operand *ret)
{
    switch (n->kind) {
    case NODE_OR:
    case NODE_AND:
        return eval_chain(e, n, ret);
    case NODE_NOT:
        ret->type = OF_BOOL;
        if (eval_bool(e, n->child, &ret->truth) < 0)
            return -1;
        ret->truth = !ret->truth;
        return 0;
    case NODE_COMPARE:
        return eval_compare(e, n, ret);
    case NODE_REF:
        return eval_ref(e, n, ret);
    case NODE_LITERAL:
        *ret = n->literal;
        return 0;
    }
    rwf_assert(!"an unknown kind of node");
    return -1;
}

static int evaluate(const struct expr_condition *c, const struct expr_scope *scope,
                    struct rwf_arena *a, bool check, struct rwf_err *err)
{
    struct evaluation e = {c, scope, a, err, check};
    bool truth = false;

    if (eval_bool(&e, c->root, &truth) < 0)
        return -1;
    return truth;
}

int expr_condition_check(const struct expr_condition *c, const struct expr_scope *scope,
                         struct rwf_arena *a, struct rwf_err *err)
{
    return evaluate(c, scope, a, true, err) < 0 ? -1 : 0;
}

int expr_condition_eval(const struct expr_condition *c, const struct expr_scope *scope,
                        struct rwf_arena *a, struct rwf_err *err)
{
    return evaluate(c, scope, a, false, err);
}
