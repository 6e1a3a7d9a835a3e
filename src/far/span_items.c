/* SPDX-License-Identifier: Apache-2.0
 *
 * The objects that frames name. What lies in a frame is input: nothing is believed that
 * does not lie within it.
 */
#include "config.h"

#include <string.h>

#include "far/span_impl.h"

struct walk {
    char *at;
    size_t rest;
};

static int step(struct walk *w, span__item_fn fn, void *ctx)
{
    struct native_item *item = (struct native_item *)(void *)w->at;
    if (w->rest < sizeof(*item))
        return -1;
    w->at += sizeof(*item);
    w->rest -= sizeof(*item);
    if (item->object)
        return fn(ctx, item);
    if (item->size > w->rest || native_pad(item->size) > w->rest)
        return -1;
    w->at += native_pad(item->size);
    w->rest -= native_pad(item->size);
    return 0;
}

static int walk(struct walk *w, uint32_t count, span__item_fn fn, void *ctx)
{
    for (uint32_t i = 0; i < count; i++)
        if (step(w, fn, ctx) < 0)
            return -1;
    return 0;
}

/* Where its items begin, and how many they are; 0: a frame without. -1: too short. */
static int64_t items_of(const void *frame, size_t size, size_t *ret_start)
{
    const struct native_msg *m = frame;
    if (size < sizeof(*m))
        return -1;
    switch (m->type) {
    case NATIVE_CALL:
        *ret_start = sizeof(struct native_call);
        if (size < *ret_start)
            return -1;
        return m->flags & NATIVE_PACKED ? 1
                                        : ((const struct native_call *)m)->arg_count;
    case NATIVE_DONE:
        *ret_start = sizeof(struct native_done);
        if (size < *ret_start)
            return -1;
        if (((const struct native_done *)m)->code)
            return 0;
        return m->flags & NATIVE_PACKED ? 1 : ((const struct native_done *)m)->count;
    case NATIVE_YIELD:
        *ret_start = sizeof(struct native_yield);
        return size < *ret_start ? -1 : 1;
    default:
        return 0;
    }
}

int span__items(void *frame, size_t size, span__item_fn fn, void *ctx)
{
    size_t start = 0;
    int64_t count = items_of(frame, size, &start);
    struct walk w = {(char *)frame + start, size - start};
    if (count < 0 || count > UINT32_MAX)
        return -1;
    return count ? walk(&w, (uint32_t)count, fn, ctx) : 0;
}

int span__packed(const void *data, size_t size, uint32_t count, span__item_fn fn,
                 void *ctx)
{
    struct walk w = {(char *)(uintptr_t)data, size};
    return walk(&w, count, fn, ctx);
}

uint32_t span__packed_count(const void *frame, size_t size)
{
    const struct native_msg *m = frame;
    if (size < sizeof(*m) || !(m->flags & NATIVE_PACKED))
        return 0;
    if (m->type == NATIVE_CALL && size >= sizeof(struct native_call))
        return ((const struct native_call *)m)->arg_count;
    if (m->type == NATIVE_DONE && size >= sizeof(struct native_done) &&
        !((const struct native_done *)m)->code)
        return ((const struct native_done *)m)->count;
    return 0;
}
