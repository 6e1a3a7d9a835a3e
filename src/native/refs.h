/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside native/: values, which refs name; see internal.h.
 */
#ifndef RWF_NATIVE_REFS_H
#define RWF_NATIVE_REFS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "store/store.h"

struct native__client;
struct native__task;

enum native__state {
    NATIVE__VACANT,
    NATIVE__PENDING, /* its task is not done, or its owner was asked */
    NATIVE__FILLING, /* raywf_create, not sealed yet */
    NATIVE__TINY,    /* bytes in the entry */
    NATIVE__BYTES,   /* bytes in the heap */
    NATIVE__STORED,  /* an object that this process holds */
    NATIVE__FAILED,  /* code and text */
};

enum native__value_flags {
    NATIVE__BORROWED = 1, /* another client owns it: `borrow` instead of `task` */
    NATIVE__STREAMED = 2, /* a stream: `stream` in its task */
    NATIVE__PINNING = 4,  /* a thread enters the store for it */
};

#define NATIVE__TINY_MAX 16

struct native__edge;
struct native__borrow;

struct native__value {
    uint64_t id;   /* generation and index; 0: vacant */
    uint32_t refs; /* user, pending tasks', reads in place, its own task's */
    uint32_t user; /* of them the program's own: only so many drops count */
    union {
        uint32_t pins; /* STORED: reads in place */
        int32_t code;  /* FAILED */
    };
    uint8_t state, flags;
    uint16_t store; /* STORED, FILLING: session of the object */
    union {
        struct native__task *task; /* makes it, or could again; NULL: put */
        struct native__borrow *borrow;
    };
    struct native__edge *edges; /* who waits for it */
    uint64_t size;
    union {
        unsigned char tiny[NATIVE__TINY_MAX];
        void *bytes;
        char *text;
        struct {
            store_object object;
            void *data; /* while pinned or FILLING */
        };
        uint32_t next; /* VACANT */
    };
};
_Static_assert(sizeof(struct native__value) == 64, "a line of cache");

/* Told once when the value is there (a value or an error); then the edge is the
 * owner's again. */
struct native__edge {
    struct native__edge *next, **link;
    void (*fn)(struct native__client *c, struct native__edge *e,
               struct native__value *v);
    void *ctx;
};

/* A new entry, PENDING, with one reference, the program's. */
struct native__value *native__value_add(struct native__client *c);
/* NULL: there is no such one (any more). */
struct native__value *native__value_find(struct native__client *c, uint64_t id);
struct native__value *native__value_at(struct native__client *c, uint32_t index);
static inline uint32_t native__value_index(const struct native__value *v)
{
    return (uint32_t)(v->id & 0xfffffff);
}
static inline bool native__value_ready(const struct native__value *v)
{
    return v->state > NATIVE__FILLING;
}
void native__value_unref(struct native__client *c, struct native__value *v);
/* These end PENDING and tell who waits. Bytes are copied; an object's reference is
 * taken over. */
void native__value_bytes(struct native__client *c, struct native__value *v,
                         const void *data, size_t size);
void native__value_object(struct native__client *c, struct native__value *v,
                          store_object o, size_t size);
void native__value_fail(struct native__client *c, struct native__value *v, int code,
                        const char *text);
/* Back to PENDING: it is lost, and made again. */
void native__value_unmake(struct native__client *c, struct native__value *v);
/* Calls whose arguments have failed fail, too. */
void native__doomed_run(struct native__client *c);
void native__edge_add(struct native__value *v, struct native__edge *e);
void native__edge_remove(struct native__edge *e);
void native__values_free(struct native__client *c);

#endif
