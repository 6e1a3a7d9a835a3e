/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the directory of actors: head_actor.c (states, workers, requests),
 * head_actor_kept.c (names, journal), head_actor_node.c (nodes that come and go).
 */
#ifndef RWF_HEAD_ACTOR_H
#define RWF_HEAD_ACTOR_H
#include "head/inside.h"

/* head_actor_kept.c */
struct head__actor *head__actor_by_name(struct head *h, const char *name);
struct head__actor *head__actor_by_request(struct head *h, uint64_t owner,
                                           uint64_t request);
/* Takes spec. */
struct head__actor *head__actor_add(struct head *h, Wire__ActorSpec *spec,
                                    const char *home, enum head__actor_state state);
void head__actor_free(struct head__actor *a);
void head__actor_clear_name(struct head *h, const char *name);
void head__actor_set_home(struct head__actor *a, const char *name);
bool head__actor_must_last(const struct head__actor *a);
int head__actor_note(struct head__actor *a, const char *op, bool sync,
                     struct rwf_err *err);
/* What is done already can only be complained about. */
void head__actor_note_done(struct head__actor *a, const char *op, bool sync);

/* head_actor.c */
void head__actor_unwatch(struct head__actor *a, const struct head__node *n);
/* Tells all who watch. */
void head__actor_set_state(struct head__actor *a, enum head__actor_state state);
void head__actor_kill_at(struct head__node *n, uint64_t actor);
/* It is over, for good. */
void head__actor_bury(struct head__actor *a);
int head__actor_ask(struct head__actor *a, struct rwf_err *err);
void head__actor_ask_again(struct head__actor *a);
int head__actor_check(const Wire__ActorSpec *s, struct rwf_err *err);
void head__actor_end(struct head__actor *a, const char *text);

#endif
