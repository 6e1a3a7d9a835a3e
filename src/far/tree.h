/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of trees of files between nodes, for src/far only:
 *
 *   tree.c        what this node's user asks for
 *   tree_serve.c  what other nodes ask for: only beneath this node's folder of runs
 *   tree_flow.c   one half of a tree on its way: reads and sends, or takes and writes
 *   tree_disk.c   what that does with the disk, in a thread
 *   folders.c     the folders of runs
 *
 * On the link: TREE_PUT is answered by TREE_ACK with how much is there already, then
 * data goes; TREE_GET by data. Data is acknowledged when it is on disk, and at most
 * WINDOW of it is not; the last word is a TREE_ACK with done, from either side when it
 * fails.
 */
#ifndef RWF_FAR_TREE_H
#define RWF_FAR_TREE_H
#include "bundle/bundle.h"
#include "far/inside.h"
#include "far/step.h"

#define FAR__TREE_WINDOW ((size_t)4 << 20)
#define FAR__TREE_PIECE ((size_t)256 << 10)

/* --- tree_disk.c: blocking --- */

/* One end of a tree: what is read, or written. Strings are its own. */
struct far__end {
    char *path;
    char **paths; /* of it; NULL: all. When it is written: what is put beneath path */
    size_t path_count;
    bool ignore;                 /* honour ignore files */
    char *inside;                /* the folder that path must be in; NULL: anywhere */
    char *like; /* writing: a path that may have what would come; NULL: none */
    char digest[RWF_DIGEST_LEN]; /* "": not known */
    char *file;                  /* the tree is this one file; NULL: it is a folder */
    struct bundle_writer *writer;
    struct bundle_reader *reader;
    char *target; /* of reader, when that is not path */
    bool have;    /* writing: what is there has the digest (now) */
};
struct far__end *far__end_create(const char *path, const char *const *paths,
                                 size_t count, bool ignore, const char *inside);
void far__end_free(struct far__end *e);
/* Reads from the start of it, which is skipped up to skip. digest: compute it, too. */
int far__end_read_open(struct far__end *e, bool digest, uint64_t skip,
                       struct rwf_err *err);
int far__end_write_open(struct far__end *e, struct rwf_err *err);
/* All has been fed; digest: what the other side says ("": nothing). */
int far__end_write_finish(struct far__end *e, const char *digest,
                          struct rwf_err *err);
/* All of from to to, at once. */
int far__end_copy(struct far__end *from, struct far__end *to, struct rwf_err *err);
/* ENOENT: path does not have this text. */
int far__end_sees(const char *path, const char *text, struct rwf_err *err);

/* --- tree_flow.c --- */

struct far__flow_handler {
    void *ctx;
    void (*opened)(void *ctx);
    /* Told once, also for what the other side says (far). Free the flow. */
    void (*over)(void *ctx, const struct rwf_err *err, bool far);
};
struct far__flow;
/* Takes end over; begins at once to open it. */
struct far__flow *far__flow_create(struct node *n, struct far__end *end, bool source,
                                   const struct far__flow_handler *handler);
struct far__end *far__flow_end(struct far__flow *f);
/* From now on it goes over this link under this number; NULL: the link is cut. */
void far__flow_bind(struct far__flow *f, struct wire_link *link, uint64_t request);
/* A source: send, from so many bytes on. */
void far__flow_go(struct far__flow *f, uint64_t skip);
bool far__flow_is_open(const struct far__flow *f);
/* Bytes of the stream: of a sink that have come, of a source that are known to have. */
uint64_t far__flow_moved(const struct far__flow *f);
void far__flow_data(struct far__flow *f, const Wire__TreeData *m);
void far__flow_ack(struct far__flow *f, const Wire__TreeAck *m);
/* over is not called any more. */
void far__flow_free(struct far__flow *f);
void far__tree_ack(struct wire_link *link, uint64_t request, uint64_t bytes, bool done,
                   const struct rwf_err *err);

/* fn in a thread, then after in the loop; n lives until then. arg is theirs. */
void far__work(struct node *n, void (*fn)(void *arg, struct rwf_err *err),
               void (*after)(void *arg, const struct rwf_err *err), void *arg);

/* --- tree.c, tree_serve.c --- */
struct far__trees;
void far__trees_create(struct node *n);
void far__trees_close(struct node *n);
void far__trees_free(struct node *n);
void far__trees_peer_closed(struct far__peer *p, const struct rwf_err *err);
void far__tree_answer_data(struct far__peer *p, const Wire__TreeData *m);
void far__tree_answer_ack(struct far__peer *p, const Wire__TreeAck *m);

struct far__tree_serve;
struct far__tree_serve *far__tree_serve_create(struct node *n);
void far__tree_serve_close(struct node *n);
void far__tree_serve_free(struct far__tree_serve *s);
void far__tree_serve_peer_closed(struct far__peer *p);
void far__on_tree_put(struct far__peer *p, struct wire_message *m);
void far__on_tree_get(struct far__peer *p, struct wire_message *m);
void far__on_tree_data(struct far__peer *p, struct wire_message *m);
void far__on_tree_ack(struct far__peer *p, struct wire_message *m);
void far__on_tree_sees(struct far__peer *p, struct wire_message *m);

/* --- folders.c --- */
/* FOLDER/runs of a node; the caller frees. */
char *far__runs_folder(const char *node_folder);
/* Whether path is, links followed, beneath the folder, and its folder there, made if it
 * is missing and make is set. Blocking. */
int far__runs_check(const char *folder, const char *path, bool make,
                    struct rwf_err *err);
/* The run has something on this node. */
void far__runs_use(struct node *n, const char *run_id);
/* path is used now: if it is a run's folder it stays for some days. */
void far__runs_touch(struct node *n, const char *path);
void far__runs_create(struct node *n);
void far__runs_close(struct node *n);
void far__runs_free(struct node *n);

#endif
