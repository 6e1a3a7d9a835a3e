/* SPDX-License-Identifier: Apache-2.0
 *
 * A call while it runs: its arguments, the values it gives, and how it ends.
 */
#ifndef RWF_NATIVE_CALL_H
#define RWF_NATIVE_CALL_H
#include "base/err.h"
#include "native/gate.h"
#include "native/peer.h"
#include "store/store.h"

struct native__given {
    void *data; /* NULL: none was given, which is an empty one */
    size_t size;
    store_object object; /* 0: in scratch memory */
    bool open;           /* an object that is not sealed yet; scratch with a red zone */
    uint16_t status;     /* raywf_reply; 0: a plain value */
    const char *type;    /* of it; in scratch memory, or NULL */
};

/* Memory for inline values until the call is done; what was given out never moves. */
struct native__scratch {
    char *chunk;
    size_t used, size;
    char **old;
    size_t old_count, old_cap;
};

struct native__worker; /* worker.c's */

/* One for the life of a worker, used again for each call. */
struct raywf_call {
    struct store *store;
    struct native__gate *gate;
    struct native__peer *peer; /* NULL: an actor's constructor */
    const char *plugin, *function;
    void *state;
    struct native_msg msg;
    int attempt;
    int32_t returns;
    struct native__given *args; /* size, data, object */
    size_t arg_count, arg_cap;
    store_object packed; /* holds the arguments */
    struct native__given *values;
    size_t value_count, value_cap;
    bool replies; /* some of them are */
    struct native__scratch scratch;
    uint64_t yielded;
    int code; /* enum raywf_code */
    char text[1024];
    bool recycle;
    /* The worker's: waits until done(c), or the call is to end (false). */
    bool (*wait)(struct native__worker *w, bool (*done)(struct raywf_call *c));
    /* The worker's: its client is gone, or cancelled it. */
    bool (*cancelled)(struct native__worker *w);
    struct native__worker *worker;
};

/* Takes the arguments of a frame apart and pins what lies in the store. -1: the frame
 * is no valid one (*ret_broken), or an argument is gone: call->code, text. */
int native__call_open(struct raywf_call *c, const struct native_call *frame,
                      size_t size, bool *ret_broken);
/* Seals what the function gave; what it wrote past the end is found here. */
void native__call_seal(struct raywf_call *c);
/* Fails unless all values are there; a function that gives none at all gives an empty
 * one, though: not all have something to say. */
void native__call_complete(struct raywf_call *c);
/* Gives everything back. */
void native__call_close(struct raywf_call *c);
/* At the end of the worker. */
void native__call_free(struct raywf_call *c);
/* Writes the end of the call into the ring; not flushed. */
void native__call_reply(struct raywf_call *c, uint64_t ns);
/* An end without a call: of one that cannot run. */
void native__call_refuse(struct native__peer *p, const struct native_msg *m, int code,
                         const char *text);
/* Sets code and text, unless there is an error already; returns -1. */
int native__call_fail(struct raywf_call *c, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
