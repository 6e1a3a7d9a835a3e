/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside native/: lanes, in which calls wait for a worker, and their lines to workers;
 * see internal.h.
 */
#ifndef RWF_NATIVE_LANE_H
#define RWF_NATIVE_LANE_H
#include "base/err.h"
#include "native/client.h"
#include "store/ring.h"
#include "wire/frame.h"

struct native__client;
struct native__task;

struct native__list {
    struct native__task *first, *last;
    size_t count;
};
void native__list_push(struct native__list *l, struct native__task *t);
void native__list_unshift(struct native__list *l, struct native__task *t);
void native__list_remove(struct native__list *l, struct native__task *t);

struct native__lane {
    struct native__lane *next;
    uint64_t id; /* the lane number in WANT and GRANT; never 0 */
    struct native__list queue;
    struct native__line *lines;
    uint32_t line_count;
    size_t in_flight;
    uint32_t stalled; /* lines whose one call waits for others */
    uint32_t far;     /* lines to other nodes */
    uint64_t average; /* ns that a call ran, of late; 0: not known */
    unsigned passed;  /* near.c: times that the first of the queue was not taken */
    bool filling;
    bool dirty; /* is in the client's list of lanes to look at */
    struct native__lane *next_dirty;
    /* An ordered lane has at most one line, sends all it has room for, and never wants,
     * returns or lingers by itself: client_actor.c does. */
    bool ordered;
    uint64_t actor;
    void *owner;                     /* struct raywf_actor */
    struct native__lane *next_spare; /* client_actor.c */
    /* A shape. */
    Wire__Shape *shape;
    struct raywf_group *group;
    bool lingers; /* a timer looks for lines that are idle */
    int priority;
    bool retriable;
    bool told;       /* the node knows the shape */
    bool retell;     /* a worker is lost: the node is told anew what is wanted */
    uint32_t wanted; /* as told to the node */
    /* Not 0: queued calls and new ones fail with it (an actor that is dead). */
    int code;
    char *text;
};

struct native__line {
    struct native__line *next; /* of its lane */
    struct native__lane *lane;
    struct store_ring *ring;
    uint64_t lease, worker;
    struct native__list flight; /* as sent */
    uint32_t unflushed;
    bool recalled, full, broken;
    bool far;     /* its worker is on another node */
    struct native__near *at; /* that; NULL: ours, or not known */
    bool ended;   /* the node was told to kill its worker */
    bool stalled; /* its call waits for others: nothing is sent behind it */
    bool resume;  /* NATIVE_RESUME is to be sent before anything else */
    int64_t idle_since;
    int64_t check;   /* when to look whether what runs is over its time; 0: not */
    uint64_t *named; /* bit set of functions that the worker knows by number */
    size_t named_words;
};

struct native__lane *native__lane_add(struct native__client *c);
/* After a turn: lanes that were touched are filled, flushed, and their wants told. */
void native__lanes_settle(struct native__client *c);
/* Something to do for it in the next turn. */
void native__lane_touch(struct native__client *c, struct native__lane *lane);
/* Sends what there is room for. */
void native__lane_fill(struct native__client *c, struct native__lane *lane);
/* Puts a call into the queue (front: it was there already) and fills. */
void native__lane_queue(struct native__client *c, struct native__lane *lane,
                        struct native__task *t, bool front);
/* All that is queued fails. */
void native__lane_fail(struct native__client *c, struct native__lane *lane, int code,
                       const char *text);
/* Takes ring; fd stays the caller's. */
struct native__line *native__line_open(struct native__client *c,
                                       struct native__lane *lane, int fd,
                                       uint64_t lease, uint64_t worker, int slot,
                                       bool far, uint32_t node,
                                       struct rwf_err *err);
/* The worker is dead (retry.c): takes in what it had published, then decides about each
 * call: what had begun used up an attempt (or fails: policy), what had not is queued
 * again at the front, in order. Frees the line. */
void native__line_died(struct native__client *c, struct native__line *l,
                       enum raywf_cause cause, const char *text);
struct native__line *native__line_find(struct native__client *c, uint64_t lease);
void native__line_detach(struct native__client *c, struct native__line *l);
void native__line_free(struct native__line *l);
/* Gives an idle one back to the node. */
void native__line_return(struct native__client *c, struct native__line *l, bool broken);
/* A call was sent that may run for so long. */
void native__line_watch(struct native__client *c, struct native__line *l,
                        int64_t timeout);
void native__lanes_free(struct native__client *c);

#endif
