/* SPDX-License-Identifier: Apache-2.0
 *
 * A step kind. An entry of a recipe section becomes one or more steps of one op; the
 * engine runs steps without knowing what they do. cmd/ops.c holds the array of all ops.
 *
 * Exactly one of command, run, decide and call is set:
 *   command  the step is somebody's program: say its argv and environment
 *   run      the step is ours: called in a process of its own (`raywf run-step DIR`)
 *   decide   the step costs nothing: called in the head (checks, the mock op)
 *   call     the step is a native function: say which, a warm worker runs it
 */
#ifndef RWF_PLAN_OP_H
#define RWF_PLAN_OP_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "recipe/recipe.h"

struct plan_graph;
struct plan_lowering;
struct plan_step;

/* What starts a process; filled by command, owned by the caller (jansson arrays). */
struct op_command {
    json_t *argv; /* ["sh", "-c", "…"] */
    json_t
        *env; /* {NAME: value}, on top of the inherited environment; may hold secrets */
    char *dir; /* working folder; NULL: the step's folder */
};

/* A built-in step while it runs, in its own process. */
struct op_run {
    const char *address;
    const json_t *spec; /* resolved: every reference is a path or a value */
    const char *dir;    /* working folder; outputs are written relative to it */
    int64_t memory;     /* limit in bytes, 0: none */
    double cpu;         /* cores granted; to a gang: to each of its ranks */
    const json_t *resources; /* all that its policy asks for: {"gpu":…,"custom":{…}} */
    int ranks;             /* of a gang: how many this attempt has; 0: as its spec says */
    const json_t *places;  /* of a gang: where each rank is (gang/places.h); NULL: here */
    /* To the head: {"progress":0.5,"rows":…,"bytes":…} or {"metric":value}. */
    void (*report)(const struct op_run *r, const json_t *line);
    int report_fd;
    int exit_code; /* set by run when it fails: of the process; 0: by the error */
};

/* What a native step wants of the runtime; texts are borrowed from the spec. */
struct op_call {
    const char *plugin, *function; /* a function of a plugin … */
    const char *actor, *method;    /* … or a method; actor: an entry, "actors.model" */
    bool declares;      /* nothing is called: the step stands for the actor that others
                           call */
    const json_t *args; /* one JSON value */
    const json_t *env;  /* {NAME: value} of the worker, or NULL; may hold secrets */
};

/* What a search says of its trials; texts are borrowed from the body. */
struct op_trials {
    int64_t length; /* given: what the target's length says; see op */
    uint64_t count;
    int max_parallel;    /* 0: as many as there is room for */
    /* {KEY: {"listed": true, "values": [all of them]} or {"values": [some of them]}}, new:
     * see plan_trial_configure. */
    json_t *keys;
    const char *blame[4]; /* on failure: where in the body; NULL-terminated */
};

/* What serves holds for as long as it does. */
struct op_held {
    double cpu, gpu;
    int64_t memory;
};

/* The outcome of decide. */
struct op_outcome {
    bool ok;
    int exit_code;   /* RWF_E_… - RWF_E_BASE when not ok */
    char *message;   /* one line for people; freed by the caller */
    json_t *metrics; /* {name: number} or NULL */
};

struct op {
    const char *name;    /* "task" */
    const char *section; /* of the recipe: "tasks" */
    const char *summary; /* one line for explain and the docs */
    int version;         /* part of the key: raise it when results change */

    /* Of several ops of a section: whether this one serves the entry. The first one in
     * the array that does is taken. NULL: always. */
    bool (*serves)(const struct recipe_node *body);
    /* Workers run it, and their leases take its resources (of each call); the step
     * itself takes none. */
    bool leased;
    /* It starts ranks of its own, as many as the entry's `workers` or gang.ranks says, each
     * with the entry's resources: the step gets all of them, with spec.dir (if there is
     * one) as its working folder, on the node of the first rank. Exit codes above 128 mean
     * a signal, 124 that a rank gave no sign of life, 123 that a node was lost. */
    bool gang;

    /* The step deploys to the run's server, which serves until the run ends: it is done
     * when what it deployed is up, and is never cached. Its resources are those of each
     * replica, which leases take; the entry's `timeout` is no time-out of the step. */
    bool service;
    /* Of a service: the least that its replicas hold, from its spec (in PLAN_SHOW mode:
     * what is not known yet counts nothing). Optional. */
    void (*holds)(const json_t *spec, struct op_held *ret);
    /* Of a service: its address, from what its body says of {"host", "port", "tls": BOOL,
     * "route_prefix"} under http and by itself, where it says so. It is known when planning:
     * ${SECTION.NAME.url}. The caller frees. */
    char *(*url)(const char *name, const json_t *said);
    /* What the step leaves as its outputs are links to what stays where it is, too large to be
     * copied: they stand for where they lead, are known by their files' names, sizes and times,
     * and are never cached (finding them is quick). */
    bool points;

    /* What the schema cannot say, for one entry. Optional. */
    void (*validate)(const struct recipe *r, const char *name,
                     const struct recipe_node *body, struct recipe_diags *diags);
    /* Adds the step of one instance of an entry (matrix and foreach are done): calls
     * plan_lower_one, once. */
    int (*lower)(struct plan_lowering *l, const char *name,
                 const struct recipe_node *body, struct rwf_err *err);
    /* What an entry is known to report before it runs: names, NULL-terminated; NULL: not
     * known. Optional. */
    const char *const *(*metrics)(const struct recipe_node *body);
    /* How often it reports a metric, or (unit "step") at which step it ends; 0: not known.
     * Optional. */
    int64_t (*length)(const struct recipe_node *body, const char *metric, const char *unit);
    /* A search over another entry. From its body, resolved, come the trials: the steps
     * ENTRY[trial=N] are those of the target, each with a configuration of its own (see
     * plan_trial_configure), and the entry's own step follows them. Optional. */
    int (*trials)(const json_t *body, struct op_trials *ret, struct rwf_err *err);
    /* The outputs an entry has: {name: path relative to the step's folder}, with the
     * one that ${section.name} alone means under "" if there is one. Optional. */
    json_t *(*outputs)(const struct recipe_node *body);
    /* The resolved body as the op wants it: what run/command/decide get and what the
     * key is made of. plan_resolve gives typed JSON of any node. */
    json_t *(*spec)(const struct plan_graph *g, const struct plan_step *step,
                    struct rwf_err *err);
    /* Paths in spec (resolved in PLAN_KEY mode) whose content decides the result: sets
     * files[PATH] = true for each, relative to the recipe's folder or absolute. A file
     * that does not exist may be named: the key reports it, with its line. Optional. */
    int (*inputs)(const struct plan_graph *g, const struct plan_step *step,
                  const json_t *spec, json_t *files, struct rwf_err *err);

    /* One line about a spec (resolved in PLAN_SHOW mode) for `raywf plan`, or NULL; the
     * caller frees. Optional. */
    char *(*describe)(const struct plan_step *step, const json_t *spec);

    int (*command)(const json_t *spec, struct op_command *ret, struct rwf_err *err);
    int (*run)(struct op_run *r, struct rwf_err *err);
    int (*decide)(const json_t *spec, struct op_outcome *ret, struct rwf_err *err);
    int (*call)(const json_t *spec, struct op_call *ret, struct rwf_err *err);
};

/* Any op of a section, the one for an entry of it, and one by name; NULL-terminated
 * array of all ops. */
const struct op *op_for_section(const struct op *const *ops, const char *section);
const struct op *op_for_entry(const struct op *const *ops, const char *section,
                              const struct recipe_node *body);
const struct op *op_by_name(const struct op *const *ops, const char *name);

#endif
