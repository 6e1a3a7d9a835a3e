/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of what a node does with other nodes, shared by its parts:
 *
 *   far.c      what the node calls           peers.c    the other nodes, links to them
 *   step*.c    processes of steps            tree*.c    trees of files
 *   places.c   what a run's steps get        folders.c  folders of runs
 *   bridge*.c  workers of other nodes        span*.c    frames between rings
 *   data.c     the data plane                forward.c  client to client
 *   plugins.c  plugins of other nodes' clients
 *   doctor.c   this machine and its links, for doctor
 *
 * These are parts of the node, so they use its inside, and live as long as it does.
 */
#ifndef RWF_FAR_INSIDE_H
#define RWF_FAR_INSIDE_H
#include "far/far.h"
#include "far/peers.h"
#include "node/inside.h"

struct far__parts {
    struct far__peers *peers;
    struct far__steps *steps;
    struct far__trees *trees;
    struct far__tree_serve *tree_serve;
    struct far__runs *runs;
    struct far__places *places;   /* NULL: none was asked for */
    struct far__plugins *plugins; /* NULL: none was named */
    struct far__bridges *bridges;
    struct far__data *data;
    struct far__doctor *doctor; /* NULL: nobody asks */
    struct rwf_ids asks;        /* that an owner has not answered */
    uint64_t last_ask;
};

/* doctor.c: the answer to the head's LIST "doctor" */
void far__doctor(struct node *n, const Wire__List *m);
void far__doctor_close(struct node *n);
void far__on_peer_beat(struct far__peer *p, struct wire_message *m);

/* forward.c */
void far__on_ask(struct node__client *c, struct wire_message *m);
void far__on_tell(struct node__client *c, struct wire_message *m);
void far__on_cancel_owned(struct node__client *c, struct wire_message *m);
void far__on_group_create(struct node__client *c, struct wire_message *m);
void far__on_group_remove(struct node__client *c, struct wire_message *m);
/* From another node. */
void far__forward_ask(struct node *n, const Wire__Ask *m);
void far__forward_tell(struct node *n, const Wire__Tell *m);
void far__forward_cancel(struct node *n, const Wire__CancelOwned *m);
void far__on_peer_ask(struct far__peer *p, struct wire_message *m);
void far__on_peer_tell(struct far__peer *p, struct wire_message *m);
void far__on_peer_cancel(struct far__peer *p, struct wire_message *m);
void far__forward_peer_closed(struct far__peer *p);
void far__forward_client_gone(struct node__client *c);
void far__forward_free(struct node *n);

/* places.c */
/* An answer of the head that is for a place: true, and it was taken. */
bool far__places_answer(struct node *n, struct wire_message *m);
void far__places_lost(struct node *n, const Wire__GroupLost *m);
void far__places_say(struct node *n); /* all, to a head that came back */
void far__places_free(struct node *n);

/* plugins.c */
/* m, of this type, names a plugin that is not here but on node home (NULL, "": none): true,
 * and m is carried out once it was fetched. */
bool far__plugin_bring(struct node *n, const char *home, const char *plugin,
                       enum wire_type type, const ProtobufCMessage *m);
/* Other nodes may fetch the file at path: a client here wants workers for it. */
void far__plugin_offer(struct node *n, const char *path);
bool far__is_offered(struct node *n, const char *path);
/* What a client of ours names for an actor, which may start on another node. */
void far__offer_spec(struct node *n, const Wire__ActorSpec *spec);
void far__plugins_free(struct node *n);

#endif
