/* SPDX-License-Identifier: Apache-2.0
 *
 * One machine of a cluster: owns the store, gives clients their slots, starts and
 * watches workers, carries out what the head decides, and tells everybody what died and
 * why. Runs in its own daemon, in a session, or within `raywf run`.
 */
#ifndef RWF_NODE_NODE_H
#define RWF_NODE_NODE_H
#include <jansson.h>
#include "schedule/schedule.h"
#include "wire/link.h"

struct node_far; /* what it does with other nodes; there is one: far/far.h */

struct node_options {
    const struct node_far *far; /* &far_nodes */
    const char *folder; /* 0700; logs of workers, spilled objects, the socket "node" */
    const char *address; /* of the socket for drivers; NULL: folder/node */
    const struct schedule_machine *machine; /* NULL: what node_machine says */
    int64_t store;       /* bytes; 0: 30 % of the memory, at most 8 GiB */
    const char *spill;   /* NULL: folder/spill */
    int64_t spill_quota; /* 0: 10 GiB */
    int64_t idle;        /* a worker that nobody wants ends after so long; 0: 10 s */
    double pressure;     /* of the machine's memory; above it the youngest retriable
                            task is ended; 0: RAYWF_PRESSURE, else 0.95 */
    /* Where other nodes reach this one: an address of ours (wire_route_host finds the one
     * that leads to the head) and the port, 0: any. NULL: nowhere, it is alone. */
    const char *peer_host;
    int peer_port;
    const char *peer_bind;  /* where to listen for them; NULL: peer_host */
    const char *interface;  /* of that address: "eth0", for programs; NULL: not known */
    const uint8_t *key;     /* of the cluster, for links to other nodes */
    bool driver;            /* it belongs to a program or a run, and has nothing to lend */
};

struct node;
struct node *node_create(uv_loop_t *loop, const struct node_options *o, struct rwf_err *err);
/* The head: the far end of a pair in memory, or a connection. A lost connection is made
 * again by reconnect (may be NULL). */
void node_attach_head(struct node *n, struct wire_link *head);
void node_reconnect(struct node *n, const char *host, int port, const uint8_t *key);
/* True once the head has said who is in the cluster; else *why is what went wrong last on the
 * way to it (code 0: nothing yet; EACCES: the key is another). */
bool node_joined(const struct node *n, struct rwf_err *why);
/* A client on a socket that we hold already (a socketpair); takes fd. */
int node_attach_client(struct node *n, int fd, struct rwf_err *err);
/* Path of the socket for drivers, for RAYWF_ADDRESS. */
const char *node_address(const struct node *n);
/* What LIST gives: "workers", "objects", "tasks", "store", and the head's. The answer comes as
 * a message; this is for callers in the process: NULL when the node does not know it. */
json_t *node_list(struct node *n, const char *what, const char *about);
/* The head gives it nothing new; done is called when no task runs any more, or after
 * timeout, then or later. */
void node_drain(struct node *n, int64_t timeout, void (*done)(void *ctx), void *ctx);
/* The same for as long as it stays; undone with false. */
void node_set_draining(struct node *n, bool draining, int64_t timeout);
/* fn: somebody has told the cluster, or this node, to end. */
void node_on_end(struct node *n, void (*fn)(void *ctx), void *ctx);
/* For how long there has been no head, in ns; 0: it is there. */
int64_t node_head_away(const struct node *n);
/* Ends all workers, then calls done (may be NULL) from the loop; then node_destroy. */
void node_stop(struct node *n, void (*done)(void *ctx), void *ctx);
void node_destroy(struct node *n);

#endif
