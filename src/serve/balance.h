/* SPDX-License-Identifier: Apache-2.0
 *
 * Which replica a request (or batch) goes to: of two random ones that have room the
 * less loaded, those of the front's own node first. A session (a key) keeps to one
 * replica as long as that has room and lives, by rendezvous hashing: when replicas come
 * or go, only sessions of those move. O(1); O(replicas) with a key. The balancer's part
 * lies within the caller's replica.
 */
#ifndef RWF_SERVE_BALANCE_H
#define RWF_SERVE_BALANCE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialise; set the first three before add. */
struct serve_load {
    uint64_t name; /* serve_hash of its id */
    int max;       /* requests that it works on at once, > 0 */
    bool local;    /* on the front's node */
    int ongoing;   /* read it; changed by take and give */
    /* The balancer's own. */
    size_t at; /* from 1; 0: not there */
};

struct serve_balance;

struct serve_balance *serve_balance_create(uint64_t seed);
void serve_balance_destroy(struct serve_balance *b);
/* From now on it may get work; its ongoing counts. */
void serve_balance_add(struct serve_balance *b, struct serve_load *l);
/* No more of it (it dies, drains). Its ongoing stays, give stays allowed. */
void serve_balance_remove(struct serve_balance *b, struct serve_load *l);
size_t serve_balance_count(const struct serve_balance *b);
/* Requests that all of them together have room for. */
size_t serve_balance_room(const struct serve_balance *b);

/* One with room, or NULL: all are full, or there is none. key NULL: any. Nothing
 * changes. */
struct serve_load *serve_balance_pick(struct serve_balance *b, const char *key);
/* n requests go to it, or came back from it (also after remove). */
void serve_balance_take(struct serve_balance *b, struct serve_load *l, int n);
void serve_balance_give(struct serve_balance *b, struct serve_load *l, int n);

/* Stable over processes and versions (it decides who sees a canary), not for hostile
 * keys. */
uint64_t serve_hash(const void *bytes, size_t size);
/* A generator for chances; the state is any number, changed by each call. */
uint64_t serve_random(uint64_t *state);

#endif
