/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages in the rings between a client and a worker. Fixed little structs, aligned to
 * 8, followed by their arguments or values; the ring knows the length of the frame.
 * What the other side wrote is input: check lengths before use, end the pair when wrong.
 * Processes of one cluster run the same program (the version is compared when a process
 * says hello), so the layout may change from version to version. Between nodes the frames
 * travel as they are (far/span.h).
 */
#ifndef RWF_NATIVE_MSG_H
#define RWF_NATIVE_MSG_H
#include <stdint.h>
#include <string.h>
#include "store/store.h"

enum native_msg_type {
    NATIVE_CALL = 1, /* client: run a function, method or constructor */
    NATIVE_FORGET,   /* client: a queued call that must not run (any more) */
    NATIVE_CREDIT,   /* client: a stream may go on */
    NATIVE_NAME,     /* client: the function with this number is called NAME */
    NATIVE_DONE,     /* worker: a call has ended: its values, or its error */
    NATIVE_YIELD,    /* worker: one value of a stream */
    /* A call that waits for tasks of its own must not hold up those behind it, which may
     * be what it waits for. */
    NATIVE_STALLED, /* worker: this task waits; the calls behind it will not run */
    NATIVE_RESUME,  /* client: they were taken back; what follows counts again */
};

struct native_msg {
    uint16_t type;  /* enum native_msg_type */
    uint16_t flags;
    uint32_t epoch; /* of the task: which attempt */
    uint64_t task;  /* chosen by the client; unique in it; never 0 */
};

/* An argument or a value: inline bytes follow at once, padded to 8; or an object, whose
 * reference is held by the client (an argument) or was handed to it (a value). */
struct native_item {
    uint64_t size;
    store_object object; /* 0: inline */
};

struct native_call {
    struct native_msg msg;
    uint32_t function; /* number that NATIVE_NAME gave on this pair */
    uint16_t attempt;
    uint16_t credit;   /* of a stream */
    int32_t returns;   /* RAYWF_STREAM: yields */
    uint32_t arg_count;
    /* struct native_item … */
};

/* A call too large for a frame: arg_count items lie in one object (items, then bytes,
 * as they would in the frame), which follows as the only item. */
#define NATIVE_PACKED 1 /* flags of NATIVE_CALL and of NATIVE_DONE */
/* flags of NATIVE_DONE: some values are replies (raywf_reply). Behind the `count` items
 * follow as many inline ones, in the same order: empty for a plain value, else a struct
 * native_reply and its content type. */
#define NATIVE_REPLIES 2
/* flags of packed ones that came from another node: behind the one item follows one for
 * each object that the packed items name, in their order: `size` there, `object` here. */
#define NATIVE_MOVED 4

/* What a value is as an answer; the bytes themselves are the value's. */
struct native_reply {
    uint32_t status; /* 200 to 599 */
    uint32_t len;    /* of the content type that follows, not terminated; 0: none */
};
#define NATIVE_TYPE_MAX 255

struct native_name {
    struct native_msg msg; /* task 0 */
    uint32_t function, len; /* method or constructor of the class: "class.method", "class" */
    /* name, not terminated */
};

struct native_credit {
    struct native_msg msg;
    uint64_t upto; /* yields 1..upto may be sent */
};

struct native_done {
    struct native_msg msg;
    int32_t code;  /* enum raywf_code; not 0: one inline item is the text */
    uint32_t count;
    uint64_t ns;   /* that it ran; 0: not measured */
    /* struct native_item … */
};

struct native_yield {
    struct native_msg msg;
    uint64_t index; /* from 1 */
    /* one struct native_item */
};

/* The next object of a packed frame, whose number is *object there: -1: it is not said. */
static inline int native_moved(const char **at, size_t *rest, store_object *object)
{
    struct native_item item;
    if (*rest < sizeof(item))
        return -1;
    memcpy(&item, *at, sizeof(item));
    *at += sizeof(item);
    *rest -= sizeof(item);
    if (item.size != *object || !item.object)
        return -1;
    *object = item.object;
    return 0;
}

static inline uint64_t native_pad(uint64_t size)
{
    return (size + 7) & ~(uint64_t)7;
}

#endif
