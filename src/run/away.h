/* SPDX-License-Identifier: Apache-2.0
 *
 * A run on a cluster. The engine hosts a node that has nothing and joins the head with
 * it; that node tells who is there, asks the head for places, starts processes on other
 * nodes and carries files. The engine's schedule decides order and counts over a mirror
 * of the cluster; the head decides between runs and says where each step goes.
 *
 *   away.c        the node, the mirror          away_start.c  attempts: place, process,
 * end away_files.c  files to and from a node      map_paths.c   paths as they are there
 *   away_gang.c   gangs over several nodes       away_wait.c   what waits, and for what
 *   away_near.c   what lies on which node
 *
 * Invariants: a step is `running` for the schedule and the log from when its process
 * has started on its node, not before; a place is given back as soon as the process is
 * gone.
 */
#ifndef RWF_RUN_AWAY_H
#define RWF_RUN_AWAY_H
#include "far/places.h"
#include "far/step.h"
#include "run/internal.h"

/* --- away.c --- */

/* Joins the cluster of the options and waits until the head has said who is there; sets
 * e->cluster. e->away is NULL for a run on this machine. */
int engine__away_join(struct engine *e, struct rwf_err *err);
/* Before the loop is closed. */
void engine__away_free(struct engine *e);
struct node *engine__away_node(const struct engine *e);
/* Of that node; short enough for sockets in it. */
const char *engine__away_folder(const struct engine *e);
/* What run.started says of the cluster. */
json_t *engine__away_machine(const struct engine *e);
/* Remembers in the run's folder which cluster it is on. */
int engine__away_remember(const struct engine *e, struct rwf_err *err);

/* A node that work goes to. */
struct away_node {
    char *name, *host, *interface;
    uint64_t session;
    struct away_files *files; /* NULL: nothing was needed there yet */
    int64_t near;             /* away_near.c's */
    LIST_ENTRY(away_node) link;
};
struct away_node *engine__away_find(const struct engine *e, const char *name);
/* The first of them: the others by their link. */
struct away_node *engine__away_nodes(const struct engine *e);

/* --- away_start.c --- */

/* Whether it runs on a node of the cluster, and not here. */
bool engine__away_runs(const struct engine *e, const struct plan_step *p);
void engine__away_start(struct engine__attempt *a, const struct schedule_decision *d);
/* Ends it, wherever it is on its way; one that has not started is gone afterwards. */
void engine__away_stop(struct engine__attempt *a, bool now);
void engine__away_attempt_free(struct engine__attempt *a);
/* Each second: why do those wait that do? */
void engine__away_ask(struct engine *e);
/* Instead, of all that wait for a place: why. */
void engine__away_say(struct engine *e, const char *why);

/* The node of the attempt. */
const char *engine__away_where(const struct engine__attempt *a);

/* Until it is told otherwise, the functions on files are about this node. */
void engine__away_visit(struct engine__attempt *a, const char *name);

/* --- away_wait.c --- */

/* Each second: tells of what waits, and ends what waits for what will not come. shrunk:
 * a node was lost, and has not come back for long. */
void engine__away_wait(struct engine *e, bool shrunk);

/* --- away_gang.c --- */

typedef void (*away_done_fn)(void *ctx, const struct rwf_err *err);
/* Where the ranks of a gang are: see gang/places.h. */
json_t *engine__away_places(const struct engine *e, const struct plan_step *p,
                            const struct far_bundle *bundles, uint32_t count);
/* All nodes of a gang but the first get what they need; completes a->places. */
void engine__away_gather(struct engine__attempt *a, away_done_fn done, void *ctx);
/* Which node of it is gone, and with which ranks; the caller's. NULL: none that is known. */
char *engine__away_gang_lost(const struct engine__attempt *a);

/* A variable of its command; NULL: it has none of that name. */
const char *engine__away_env(const struct engine__attempt *a, const char *name);

/* --- away_near.c --- */

/* The node of a is about to give its outputs, which lie in folder there. */
void engine__away_made(struct engine__attempt *a, const char *folder);
void engine__away_made_free(struct engine__step *s);
/* Where an output of step `of` lies on the node where it was made, if that is this node.
 * The caller's; NULL: it is not, or not known. */
char *engine__away_made_at(const struct engine *e, uint32_t of, const char *output,
                           const struct away_node *n);
/* The node that has most of what the step reads of earlier ones, when that is much and the
 * placement allows it; else NULL. at: where it would run otherwise. */
const char *engine__away_near(struct engine__attempt *a, const char *at);

/* --- away_trial.c --- */

/* The folder of its trial goes to the node, and comes back; nothing of others. */
void engine__away_trial_put(struct engine__attempt *a, away_done_fn done, void *ctx);
void engine__away_trial_get(struct engine__attempt *a, away_done_fn done, void *ctx);
/* True: it is marked as one that ends, and done is told when the mark is there. */
bool engine__away_trial_mark(struct engine__attempt *a, away_done_fn done, void *ctx);

/* --- away_files.c --- */

/* Finds out whether the node of a sees the files here. Done may be told at once, here
 * and below; afterwards the functions on paths can be used. */
void engine__away_look(struct engine__attempt *a, away_done_fn done, void *ctx);
bool engine__away_is_shared(const struct engine__attempt *a);
/* A path, or all texts in value, as paths are where a runs. New, the caller's. */
char *engine__away_path(const struct engine__attempt *a, const char *path);
json_t *engine__away_paths(const struct engine__attempt *a, const json_t *value);
/* Brings to its node what such a step may need, without its own folder. */
void engine__away_put_needs(struct engine__attempt *a, away_done_fn done, void *ctx);
/* Brings to its node what the command needs. */
void engine__away_put(struct engine__attempt *a, const struct op_command *command,
                      away_done_fn done, void *ctx);
/* What the attempt left on its node, to its folder here. */
void engine__away_get(struct engine__attempt *a, away_done_fn done, void *ctx);
/* The file or folder here, beneath .raywf, was brought to that node. */
bool engine__away_has(const struct away_files *f, const char *path);
void engine__away_files_free(struct away_files *f);

#endif
