/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_NATIVE_NEAR_H
#define RWF_NATIVE_NEAR_H
#include "native/internal.h"

/* What is known of a node, by its number in GRANT; 0: NULL, the client's own. */
struct native__near *native__near_node(struct native__client *c, uint32_t node);
void native__near_free(struct native__client *c);
/* A call with references goes to a worker of that node. */
void native__near_sent(struct native__client *c, struct native__near *n,
                       struct native__task *t);
/* Which of the lane's calls, of which there are some, goes there now. */
struct native__task *native__near_pick(struct native__client *c,
                                       struct native__lane *lane,
                                       const struct native__near *n);
/* The node where more workers of the lane would be best; 0: anywhere. */
uint32_t native__near_want(struct native__client *c, struct native__lane *lane);

#endif
