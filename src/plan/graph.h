/* SPDX-License-Identifier: Apache-2.0
 *
 * The task graph: recipe -> steps and edges. Steps are small and hold no resolved text:
 * specs are made on demand, so 100,000 steps fit in little memory. Steps stand in
 * topological order: what a step needs has a smaller index.
 *
 * Addresses: "tasks.train", "tasks.train[lr=0.1,seed=1]", "datasets.iris",
 * "checks.good".
 */
#ifndef RWF_PLAN_GRAPH_H
#define RWF_PLAN_GRAPH_H
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "plan/op.h"

#define PLAN_NO_STEP UINT32_MAX

/* An axis of matrix or foreach and its value in one instance. */
struct plan_binding {
    const char *axis; /* "lr"; foreach: "item" */
    const struct recipe_node *value;
};

/* Where the ranks of a step, or the instances of an entry, go. */
enum plan_placement {
    PLAN_PACK, /* on few nodes */
    PLAN_SPREAD,
    PLAN_SAME_NODE,
    PLAN_DIFFERENT_NODES,
};
const char *plan_placement_name(enum plan_placement placement);
/* -1 when name is none of them. */
int plan_placement_parse(const char *name);

/* Shared by all instances of an entry. Durations in ns, sizes in bytes, 0: none. */
struct plan_policy {
    double cpu; /* default 1 */
    int64_t memory;
    double gpu;
    const char **custom_names; /* custom resources */
    double *custom_amounts;
    size_t custom_count;
    const char **label_keys; /* a node must have these labels */
    const char **label_values;
    size_t label_count;
    enum plan_placement placement;
    bool near;    /* same_node where one node can hold all ranks, else pack */
    int ranks;    /* processes that start and end together, each with these resources;
                     0 and 1: one */
    int ranks_min; /* as many of them are enough where there is no room for all; 0: none less */
    int block;    /* of a gang: each of these `ranks` is so many ranks of its, on one node,
                     and the resources are those of all of them; 0 and 1: it is one */
    int priority; /* higher first */
    int retry_max;     /* attempts beyond the first */
    unsigned retry_on; /* bits of enum plan_cause */
    int64_t backoff_initial, backoff_max;
    double backoff_factor;
    int64_t timeout;  /* of one attempt */
    int64_t grace;    /* TERM to KILL; default 10 s */
    int max_parallel; /* instances of this entry at once; 0: no limit */
    bool leased; /* the step takes none of these resources, its workers' leases do */
    bool late;   /* prepared only when it can start: what it is depends on others' results */
    bool cache;
    int64_t log_limit; /* bytes kept of each of stdout and stderr; default 64 MiB */
};

/* Why an attempt ended without success. */
enum plan_cause {
    PLAN_CAUSE_NONE = 0,
    PLAN_CAUSE_EXIT = 1, /* non-zero exit code */
    PLAN_CAUSE_SIGNAL = 2,
    PLAN_CAUSE_OOM = 4, /* over its memory limit */
    PLAN_CAUSE_TIMEOUT = 8,
    PLAN_CAUSE_START = 16,    /* program missing, no permission, a bad spec */
    PLAN_CAUSE_OUTPUT = 32,   /* a declared output was not written */
    PLAN_CAUSE_INPUT = 64,    /* an input file is missing or its checksum is wrong */
    PLAN_CAUSE_STOPPED = 128, /* by request */
    PLAN_CAUSE_NODE_LOST = 256,
    PLAN_CAUSE_CHECK = 512, /* a check of the recipe was not met */
};
/* "exit", "signal", …; and back (0 when unknown). */
const char *plan_cause_name(enum plan_cause cause);
enum plan_cause plan_cause_parse(const char *name);

struct plan_step {
    uint32_t index;
    const char *address;
    const char *entry; /* "tasks.train": shared by its instances */
    const struct op *op;
    const struct recipe_node *body; /* after defaults; not resolved */
    const struct plan_policy *policy;
    const struct plan_binding *bindings;
    size_t binding_count;
    const uint32_t *needs; /* indexes, ascending */
    size_t need_count;
    bool settles;  /* it runs when all it needs has ended, also without success */
    bool is_trial; /* of a search; then: */
    uint32_t trial; /* its number */
};

struct plan_options {
    const char *const *only; /* addresses or entries: these and what they need */
    size_t only_count;
    const char *const *from; /* these and all that depends on them; what they need is
                                taken from the cache or run too */
    size_t from_count;
};

/* Compiles. Reports problems in diags (unknown reference, cycle as a path with lines,
 * an unknown --only name as *err with RWF_E_NORUN and a did-you-mean); NULL if there
 * were errors. The graph borrows recipe and ops. */
struct plan_graph *plan_graph_build(const struct recipe *r, const struct op *const *ops,
                                    const struct plan_options *options,
                                    struct recipe_diags *diags, struct rwf_err *err);
void plan_graph_destroy(struct plan_graph *g);

const struct recipe *plan_graph_recipe(const struct plan_graph *g);
size_t plan_graph_count(const struct plan_graph *g);
const struct plan_step *plan_graph_step(const struct plan_graph *g, uint32_t index);
/* By address; PLAN_NO_STEP when there is none. */
uint32_t plan_graph_find(const struct plan_graph *g, const char *address);
/* Nearest address for a did-you-mean, or NULL. */
const char *plan_graph_suggest(const struct plan_graph *g, const char *address);

/* For ops' lower: adds one step for the instance being lowered, its edges taken from
 * the references in body and from `needs`. */
int plan_lower_one(struct plan_lowering *l, const char *name,
                   const struct recipe_node *body, struct rwf_err *err);

/* --- trials --- */

/* Lays a configuration over the body of a trial: {KEY: value}. A key is a path of the
 * recipe ("train.lm.optimizer.learning_rate") or a name, which then is ${trial.NAME}.
 * May be called again. The values were checked with the recipe. */
void plan_trial_configure(struct plan_graph *g, uint32_t step, const json_t *config);
/* The recipe as it would be with this configuration in place of the search: a new tree, in
 * the recipe's arena. */
struct recipe_node *plan_search_settled(struct plan_graph *g, const struct plan_step *search,
                                        const json_t *config);
/* NULL: it has none yet. */
const json_t *plan_trial_config(const struct plan_graph *g, uint32_t step);
/* The body of a search, resolved; NULL and *err on failure. The caller's. */
json_t *plan_search_body(const struct plan_graph *g, const struct plan_step *step,
                         struct rwf_err *err);

/* --- resolving --- */

/* What pending references become. */
enum plan_mode {
    PLAN_KEY,  /* content: "sha256:…" */
    PLAN_RUN,  /* real absolute paths and metric values; secrets as values */
    PLAN_SHOW, /* "<tasks.a.outputs.m>"; secrets as "[secret:NAME]" */
};

/* What the finished steps gave; the engine and the planner each have one. */
struct plan_results {
    void *ctx;
    /* Output of a finished step: its absolute path (PLAN_RUN) or digest (PLAN_KEY).
     * NULL when it is not known. Borrowed until the next call. */
    const char *(*output)(void *ctx, uint32_t step, const char *name,
                          enum plan_mode mode);
    /* -1 when the step reported no such metric. */
    int (*metric)(void *ctx, uint32_t step, const char *name, double *ret);
    /* "a, b, c": the metrics it did report, for messages; or NULL. May be unset. */
    const char *(*metric_names)(void *ctx, uint32_t step);
    /* PLAN_RUN: ${run.id}, and ${step.dir} (absolute folder of the coming attempt). */
    const char *run_id;
    const char *(*dir)(void *ctx, uint32_t step);
};

/* The code of *err when something referenced is not known yet: the planner then says
 * so, the engine never meets it. */
#define PLAN_E_PENDING EAGAIN

/* Sets how specs are resolved from now on. results may be NULL with PLAN_SHOW. */
void plan_graph_resolve_as(struct plan_graph *g, enum plan_mode mode,
                           const struct plan_results *results);
enum plan_mode plan_graph_mode(const struct plan_graph *g);
/* Typed JSON of a node of step's body with every ${…} replaced; sizes are bytes,
 * durations ns, x-* keys and nulls are left out; a whole ${list} as an item of a list
 * becomes several items. In PLAN_KEY mode a secret is "secret:NAME", a path beneath the
 * recipe's folder is relative to it, ${recipe.dir} is "<recipe.dir>", so that keys do
 * not depend on where the recipe lies. Caller decrefs. NULL and *err (with file:line)
 * on failure. */
json_t *plan_resolve(const struct plan_graph *g, const struct plan_step *step,
                     const struct recipe_node *node, struct rwf_err *err);
/* The same for a node outside of steps, such as notify. */
json_t *plan_resolve_top(const struct plan_graph *g, const struct recipe_node *node,
                         struct rwf_err *err);
/* The step's spec, via its op. */
json_t *plan_step_spec(const struct plan_graph *g, const struct plan_step *step,
                       struct rwf_err *err);
/* For ops' inputs: files[PATH] = true when word, or a word of a shell's text, names a
 * regular file beneath the recipe's folder, as it is or relative to dir (or NULL). */
void plan_add_code_word(const struct plan_graph *g, const char *dir, const char *word,
                        json_t *files);
void plan_add_code_text(const struct plan_graph *g, const char *dir, const char *text,
                        json_t *files);
/* For ops' inputs: files[PATH] = true for a file or the files of a folder; nothing for the
 * output of another step ("sha256:…"), whose content is in the spec. */
int plan_add_path(const struct plan_graph *g, const char *path, json_t *files,
                  struct rwf_err *err);
/* The outputs its op declares, {name: path relative to the step's folder}, references
 * in the paths replaced; borrowed, never NULL. */
const json_t *plan_step_outputs(const struct plan_graph *g,
                                const struct plan_step *step);
/* `when`: 1 run, 0 skip, -1 *err. Conditions on pending references need results. */
int plan_step_when(const struct plan_graph *g, const struct plan_step *step,
                   struct rwf_err *err);
/* True when `when` depends on what other steps give. */
bool plan_step_when_pending(const struct plan_graph *g, const struct plan_step *step);

#endif
