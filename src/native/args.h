/* SPDX-License-Identifier: Apache-2.0
 *
 * Arguments of a call: from what the program gives to what lies behind a task.
 */
#ifndef RWF_NATIVE_ARGS_H
#define RWF_NATIVE_ARGS_H
#include "native/internal.h"

/* A submission on its way. */
struct native__args {
    const struct raywf_arg *args;
    size_t count;
    size_t bytes;   /* behind the task */
    uint8_t flags;  /* of the task */
    bool pending;   /* some are not there yet */
    uint32_t *refs; /* indexes of the values, each with a reference more, of those by
                       reference, in order; NULL: none */
    size_t ref_count, ref_cap;
};

/* Checks them, puts large ones into the store (without the lock meanwhile), takes a
 * reference of each value. -1: nothing was taken. */
int native__args_prepare(struct native__client *c, struct native__args *a,
                         struct raywf_error *err);
void native__args_write(struct native__client *c, struct native__args *a, void *to);

/* Over the arguments behind a task. */
struct native__arg_walk {
    char *at;
    uint32_t left;
};
static inline struct native__arg_walk native__args_of(struct native__task *t)
{
    return (struct native__arg_walk){native__task_args(t), t->arg_count};
}
static inline struct native_item *native__args_next(struct native__arg_walk *w)
{
    if (!w->left)
        return NULL;
    w->left--;
    struct native_item *item = (struct native_item *)(void *)w->at;
    w->at += sizeof(*item) + (item->object ? 0 : native_pad(item->size));
    return item;
}

#endif
