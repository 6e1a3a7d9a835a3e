/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of plan/ share. A graph is built in stages, each in a file of its own:
 *
 *   entries.c  sections -> entries, defaults merged under them
 *   expand.c   entry -> instances (matrix.c, address.c)
 *   check.c    every string is parsed, every reference looked up; gives the
 * dependencies order.c    entries in topological order, or the cycle edges.c instances
 * -> steps and edges prune.c    --only and --from
 *
 * and read through scope.c (what a name means) and resolve.c (text -> JSON).
 */
#ifndef RWF_PLAN_INSIDE_H
#define RWF_PLAN_INSIDE_H
#include "base/arena.h"
#include "base/map.h"
#include "base/str.h"
#include "plan/graph.h"
#include "recipe/expr.h"

#define PLAN__DEPTH_MAX 32         /* of values that refer to values */
#define PLAN__VALUE_MAX (16 << 20) /* bytes that one text may gather */
#define PLAN__STEPS_MAX 1000000    /* in a graph */
#define PLAN__EDGES_MAX 50000000   /* kept; shared lists count once */

struct plan__instance {
    const struct plan_binding *bindings;
    uint32_t count;
    bool added; /* by include: all its bindings make up its address */
};

/* Instances of an entry by their values on some of its axes. */
struct plan__index {
    const char **axes;
    size_t axis_count;
    struct rwf_map *groups; /* key -> group + 1 */
    uint32_t *starts;       /* by group, and one more */
    uint32_t *instances;
    struct plan__index *next;
};

struct plan__entry;

struct plan__dep {
    struct plan__entry *entry;
    struct recipe_span span; /* of the first reference */
    const char **shared;     /* axes of both */
    size_t shared_count;
    struct plan__index *index; /* made on first use */
};

/* What a search lays over the bodies of its trials. */
struct plan__search {
    struct plan__entry *owner, *target, *trials;
    struct rwf_map *overlays; /* key -> plan__overlay; only those that are paths */
    const char **names;       /* keys that are ${trial.NAME} */
    bool *used;               /* by the target */
    size_t name_count;
    json_t *keys;             /* op_trials.keys */
    struct plan__search *next; /* of the same target */
    json_t **configs;         /* by trial */
};

struct plan__entry {
    const char *address, *section, *name;
    const struct op *op;
    struct recipe_span span; /* of its name */
    struct recipe_node *body;
    const char **axes; /* what matrix declares, or "item" */
    size_t axis_count;
    const char **extras; /* names that only include brings */
    size_t extra_count;
    bool by_file; /* foreach over a glob: items are paths */
    bool by_rows; /* foreach over rows: one step, max_parallel calls at once */
    int max_parallel;
    struct plan__instance *instances;
    uint32_t count;
    uint32_t first; /* step of instance 0, before pruning */
    json_t *outputs;
    const char *main_output; /* or NULL */
    json_t **step_outputs;   /* by instance, where paths hold references */
    const struct plan_policy *policy;
    bool policy_varies;
    struct plan__dep *deps;
    size_t dep_count, dep_cap;
    struct rwf_map *dep_by_address;
    struct plan__index *indexes;
    const uint32_t *needs; /* of all instances, when they have the same */
    size_t need_count;
    struct rwf_map *needs_by_key;
    struct plan__search *search;    /* of a search, and of its trials */
    struct plan__search *searched;  /* of the target: one that tries it */
    enum { PLAN__NEW, PLAN__OPEN, PLAN__DONE } mark;
};

struct plan__step {
    struct plan_step step; /* first: a plan_step of ours is one of these */
    struct plan__entry *entry;
    uint32_t instance;
};

struct plan__needs {
    uint32_t *ids;
    size_t count;
};

struct plan__texts;

struct plan_graph {
    const struct recipe *recipe;
    const struct op *const *ops;
    struct rwf_arena *arena;
    struct rwf_arena *scratch; /* of one resolution */
    struct plan__texts *texts;
    struct plan__entry **entries; /* in the recipe's order */
    size_t entry_count, entry_cap;
    struct rwf_map *by_address;
    struct plan__entry **order;
    struct plan__step *steps;
    size_t step_count, step_cap;
    struct plan__needs *needs;
    size_t needs_count, needs_cap, edge_count;
    uint32_t *renumber; /* by first number; PLAN_NO_STEP: pruned. NULL: none was */
    struct rwf_map *step_by_address;
    struct rwf_map *is_file; /* word -> whether it names code; see key.c */
    size_t fuel;             /* left for the evaluation going on */
    enum plan_mode mode;
    struct plan_results results;
};

struct plan_lowering {
    struct plan_graph *g;
    struct plan__entry *entry;
    uint32_t instance;
    struct recipe_diags *diags;
};

struct plan__build {
    struct plan_graph *g;
    struct recipe_diags *diags;
    bool quiet; /* the schema has found errors: say nothing of malformed literals */
    size_t total;
};

/* --- entries.c --- */
void plan__entries_collect(struct plan__build *b);
void plan__entry_release(struct plan__entry *e);

/* --- expand.c, address.c --- */
void plan__matrix_expand(struct plan__build *b, struct plan__entry *e);
/* "[lr=0.1,seed=1]", or nothing. */
void plan__add_suffix(struct rwf_str *out, const struct plan__entry *e,
                      uint32_t instance);
const struct recipe_node *plan__binding(const struct plan__instance *i,
                                        const char *axis);
/* The text by which two values of an axis are the same. */
void plan__add_value(struct rwf_str *out, const struct recipe_node *value);

/* --- scope.c, scope_own.c, scope_steps.c --- */
enum plan__stage {
    PLAN__CHECK,   /* types and names; what steps give is EXPR_PENDING */
    PLAN__STATIC,  /* values; what steps give is an error */
    PLAN__RESOLVE, /* values, by the graph's mode */
};

struct plan__scope {
    struct plan_graph *g;
    struct plan__entry *entry;             /* NULL: outside of entries */
    const struct plan__instance *instance; /* NULL: matrix and item are unknown */
    uint32_t number;                       /* of instance */
    enum plan__stage stage;
    bool secrets; /* allowed here */
    int depth;
    /* Of the last look-up: */
    struct plan__entry *target; /* the entry whose output or metric it was */
    bool metric;
    enum recipe_code code; /* of the failure */
    bool elsewhere;        /* the failure is reported where a value is defined */
    char hint[200];        /* or "" */
    const struct recipe_node *failed; /* what plan__resolve_in could not resolve */
};

struct expr_scope plan__scope(struct plan__scope *s);
/* The instance that stands for all in checks: the first. */
void plan__scope_enter(struct plan__scope *s, struct plan__entry *e, uint32_t instance);
/* A scalar as a value: by its type, or by its look where the type leaves that open. */
struct expr_value plan__scalar_value(const struct recipe_node *node);
bool plan__has_axis(const struct plan__entry *e, const char *name);
/* True when e's instances see exactly one instance of target each. */
bool plan__is_single(const struct plan__entry *e, const struct plan__entry *target);

/* --- texts.c: what strings parse to, remembered by node --- */
struct plan__texts *plan__texts_create(void);
void plan__texts_destroy(struct plan__texts *t);
/* NULL when the text holds no ${…} (or does not parse: then *err and *ret_at). */
const struct expr_template *plan__template(struct plan_graph *g,
                                           const struct recipe_node *node,
                                           size_t *ret_at, struct rwf_err *err);
const struct expr_condition *plan__condition(struct plan_graph *g,
                                             const struct recipe_node *node,
                                             size_t *ret_at, struct rwf_err *err);
bool plan__has_refs(const struct recipe_node *node);
/* Where text[at..at+len) of a scalar stands in its file. */
struct recipe_span plan__span_in(const struct recipe *r, const struct recipe_node *node,
                                 size_t at, size_t len);

/* --- check.c --- */
void plan__check_entry(struct plan__build *b, struct plan__entry *e);
void plan__check_rest(struct plan__build *b);
/* check_cluster.c */
void plan__check_cluster(struct plan__build *b, const struct recipe_node *cluster);
/* Evaluates a scalar; reports failure at the reference. False on failure. */
bool plan__check_value(struct plan__build *b, struct plan__scope *s,
                       const struct recipe_node *node, struct expr_value *ret);

/* --- policy.c --- */
void plan__policy_parse(struct plan__build *b, struct plan__entry *e);
const struct plan_policy *plan__policy_for(struct plan__build *b, struct plan__entry *e,
                                           uint32_t instance);

/* --- search.c --- */
/* Adds the trials of every search. */
void plan__searches_collect(struct plan__build *b);
/* After all references are known: trials need what their target needs, and a target that
 * nobody else refers to (nor names) makes no step. */
void plan__searches_settle(struct plan__build *b, const struct plan_options *options);
/* Checks the values of each space against the schema. */
void plan__searches_check(struct plan__build *b);
static inline bool plan__is_trials(const struct plan__entry *e)
{
    return e->search != NULL && e->search->trials == e;
}
void plan__search_release(struct plan__search *s);

/* --- order.c --- */
void plan__order(struct plan__build *b);

/* --- edges.c --- */
struct plan__dep *plan__dep_add(struct plan__entry *e, struct plan__entry *target,
                                struct recipe_span span);
/* The instances of dep that instance i means: *ret_count numbers. */
const uint32_t *plan__targets(struct plan_graph *g, struct plan__entry *e,
                              struct plan__dep *dep, uint32_t i, size_t *ret_count);
void plan__lower(struct plan__build *b);
/* A step by its number before pruning. */
uint32_t plan__step_number(const struct plan_graph *g, const struct plan__entry *e,
                           uint32_t instance);

/* --- op_task.c: parts that native tasks have, too --- */
/* env, outputs, inputs and item of the spec. */
int plan__task_spec(const struct plan_graph *g, const struct plan_step *step,
                    json_t *spec, struct rwf_err *err);
/* The declared inputs and the item. */
int plan__task_inputs(const struct plan_graph *g, const struct plan_step *step,
                      const json_t *spec, json_t *files, struct rwf_err *err);
bool plan__has_rows(const struct recipe_node *body);

/* --- op_native.c: parts that actors have, too --- */
/* spec[key] = the path in node, absolute when the step runs. */
int plan__path_spec(const struct plan_graph *g, const struct plan_step *step,
                    const struct recipe_node *node, const char *key, json_t *spec,
                    struct rwf_err *err);
/* spec[key] = the value of node; {} when there is none. */
int plan__value_spec(const struct plan_graph *g, const struct plan_step *step,
                     const struct recipe_node *node, const char *key, json_t *spec,
                     struct rwf_err *err);
/* Texts in args that name a file beneath the recipe's folder: its content counts. */
void plan__args_inputs(const struct plan_graph *g, const json_t *args, json_t *files);

/* --- prune.c --- */
int plan__prune(struct plan_graph *g, const struct plan_options *options,
                struct rwf_err *err);

/* --- resolve.c --- */
/* Typed JSON of node in scope s; the message of *err has no place yet. */
json_t *plan__resolve_in(struct plan__scope *s, const struct recipe_node *node,
                         struct rwf_err *err);
/* What ${root.name} gives a step; place is where to blame a failure. */
json_t *plan__resolve_ref(const struct plan_graph *g, const struct plan_step *step,
                          const char *root, const char *name,
                          const struct recipe_node *place, struct rwf_err *err);
/* Memory for one resolution. */
struct rwf_arena *plan__scratch(struct plan_graph *g);

#endif
