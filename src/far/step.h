/* SPDX-License-Identifier: Apache-2.0
 *
 * A step's process on a node of the cluster, and files to and from that node. On this node
 * it is a proc (proc.h) as ever; on another the spec goes there over a link between the
 * nodes, and what the process prints, reports and ends with comes back. When the link ends,
 * or the head says that the node is gone, the process counts as lost (and the node ends it).
 *
 * Its environment is that of the node, with what the spec sets, RAYWF_ADDRESS (the node's
 * socket) and RAYWF_NODE (its name).
 *
 * A program that has RAYWF_ADDRESS can do the same with messages: HELLO, STEP_START with the
 * name of a node ("": this one) and a spec as JSON,
 *
 *   {"argv": [..], "env": {..}, "cwd": "..", "dir": "..", "run": ID, "address": "train/rank1",
 *    "memory": bytes, "timeout": ns, "grace": ns, "log_limit": bytes, "gpus": [0, 1],
 *    "gpu_share": 0.5, "secrets": {NAME: VALUE}}
 *
 * of which argv must be there. dir missing: a folder of that node for the run; cwd missing:
 * dir; gpus missing: all that the node's own environment shows; secrets: kept out of logs.
 * STEP_STARTED, STEP_OUTPUT.. come back, and at last STEP_EXIT with {"cause": "exit", "code",
 * "signal", "message", "tail" (if any), "usage": {"wall", "cpu" (ns), "max_rss"}}.
 *
 * All of it in the loop's thread; callbacks may start and end others.
 */
#ifndef RWF_FAR_STEP_H
#define RWF_FAR_STEP_H
#include "node/node.h"
#include "node/proc.h"

/* As argv[0]: raywf itself, wherever that node has it. */
#define FAR_STEP_SELF "raywf:self"

struct far_step;

struct far_step_handler {
    void *ctx;
    void (*started)(void *ctx, int pid);
    /* Redacted as it is in the attempt's folder. stream: 1 stdout, 2 stderr. May be NULL. */
    void (*output)(void *ctx, int stream, const void *data, size_t size);
    void (*report)(void *ctx, const json_t *line);
    /* The last call. PLAN_CAUSE_NODE_LOST: its node or the link to it is gone. START: it
     * could not be started there; message says why and on which node. */
    void (*exited)(void *ctx, const struct proc_exit *result);
};

/* Of a step on another node; of one on this node nothing of it counts. */
struct far_step_options {
    bool shared;           /* that node has this file system: spec.dir is seen from here */
    const char *local_dir; /* else: the attempt's folder here, which is there; it gets what
                              proc.h would write. NULL: nothing is kept here */
};

/* where: name of a node; NULL: this one. spec is copied; its dir is made there when it is
 * missing; paths are that node's. options may be NULL. On this node started is called before it
 * returns. NULL and *err: no such node. All else comes through exited, in a later turn of the
 * loop; then the step is freed. */
struct far_step *far_step_start(struct node *n, const char *where,
                                const struct proc_spec *spec,
                                const struct far_step_options *options,
                                const struct far_step_handler *handler,
                                struct rwf_err *err);
/* TERM, KILL after the grace; exited follows. */
void far_step_stop(struct far_step *s);
void far_step_kill(struct far_step *s);

/* --- files --- */

/* Told once; err: NULL when it went well. */
typedef void (*far_done_fn)(void *ctx, const struct rwf_err *err);

/* Whether `where` sees the file path with this very text: then it has this file system. err
 * ENOENT: it does not. */
void far_sees(struct node *n, const char *where, const char *path, const char *text,
              far_done_fn done, void *ctx);
/* Folder of that node for what belongs to run `id` (made 0700; removed when the node ends, or
 * after days without use): FOLDER/runs/ID. The caller frees. NULL: no such node. */
char *far_run_folder(struct node *n, const char *where, const char *id);
/* The tree (or file) at `from` here becomes `to` there (replaced whole), unless the tree there
 * has this digest already; ignore: honour ignore files (bundle.h). `to` must be beneath the
 * run's folder there, and so must `from` of far_tree_get. A link that is cut is made again a
 * few times, and the tree goes on where it was. */
void far_tree_put(struct node *n, const char *where, const char *from, const char *to,
                  bool ignore, far_done_fn done, void *ctx);
/* The same. `like`: another path beneath the run's folder there, of which it is thought
 * that it has this very tree: if so, nothing travels. */
void far_tree_put_like(struct node *n, const char *where, const char *from,
                       const char *to, const char *like, far_done_fn done, void *ctx);
/* Whether the file at path beneath `from` does not go with it (ignore). */
bool far_tree_leaves(const char *from, const char *path);
/* Of the tree at `from` there, `paths` (relative; what is not there is passed over), each to
 * its place beneath `to` here; count 0: all of it becomes `to`. from may be a file, too. */
void far_tree_get(struct node *n, const char *where, const char *from,
                  const char *const *paths, size_t count, const char *to,
                  far_done_fn done, void *ctx);

#endif
