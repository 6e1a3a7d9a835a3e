/* SPDX-License-Identifier: Apache-2.0
 *
 * The head of a cluster: who is in it (nodes, clients), who gets which workers
 * (schedule/lease), where actors are and under which names, reservations. Nodes speak
 * to it over links; one in the same process over a link in memory.
 *
 * Invariants: what it must not lose (named and detached actors, groups) is in its
 * journal before it is answered; all else comes back when nodes join again.
 */
#ifndef RWF_HEAD_HEAD_H
#define RWF_HEAD_HEAD_H
#include <jansson.h>
#include "schedule/cluster.h"
#include "wire/link.h"

struct head_options {
    const char *folder;  /* journal, key; NULL: keeps nothing (a session's) */
    const char *listen;  /* "127.0.0.1:0"; NULL: no TCP */
    /* Shared with the engine of a run in this process; NULL: its own. */
    struct schedule_cluster *cluster;
    int64_t dead_after;  /* a node that is silent for so long is dead; 0: 3 s */
    /* A link that is no node's says something that is not the head's (JOB): true: it is
     * taken over (wire_link_handle), and the head forgets it. NULL: no jobs here. */
    bool (*other)(void *ctx, struct wire_link *link, struct wire_message *m);
    /* Somebody has told all nodes and this head to end; the nodes have. NULL: it stays. */
    void (*end)(void *ctx);
    void *other_ctx;             /* of both */
};

struct head;
struct head *head_create(uv_loop_t *loop, const struct head_options *o, struct rwf_err *err);
void head_destroy(struct head *h);
int head_port(const struct head *h); /* 0: none */
/* A link to a node: from the listener, or the near end of a pair in memory. */
void head_attach(struct head *h, struct wire_link *link);
/* What LIST gives: "nodes", "jobs", "leases", "actors", "groups", "status"; "why" about a client. */
json_t *head_list(const struct head *h, const char *what, const char *about);
/* Something in a shared cluster was given back or taken by somebody else: decide again. */
void head_poke(struct head *h);
/* Tells all nodes to end, then calls `end`. */
void head_end(struct head *h);
/* Somebody uses it: a run, a program, an actor, a reservation. */
bool head_in_use(const struct head *h);

#endif
