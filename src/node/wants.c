/* SPDX-License-Identifier: Apache-2.0
 *
 * What clients want: for each of their lanes the last word, which is passed on to the
 * head, always with its shape, so that a head that came back hears all there is.
 */
#include "config.h"
#include "node/inside.h"
#include <stdlib.h>
#include "base/mem.h"

#define LANES_MAX 65536

static void say(struct node__client *c, const struct node__want *want)
{
    Wire__HeadWant h = WIRE__HEAD_WANT__INIT;
    h.client = c->id;
    h.want = want->said;
    node__head_send(c->node, WIRE_HEAD_WANT, &h.base);
}

static void forget(struct node__want *want)
{
    node__free(want->said);
    free(want);
}

static struct node__want *want_of(struct node__client *c, const Wire__Want *w)
{
    struct node__want *want = rwf_ids_get(&c->wants, w->lane);
    if (want || !w->shape)
        return want;
    want = rwf_xcalloc(1, sizeof(*want));
    want->lane = w->lane;
    rwf_ids_add(&c->wants, w->lane, want);
    return want;
}

void node__on_want(struct node__client *c, struct wire_message *m)
{
    Wire__Want *w = (Wire__Want *)m->body;
    if (w->lane == 0 || c->wants.count >= LANES_MAX) {
        node__client_drop(c, "WANT: lane %llu, of %zu", (unsigned long long)w->lane,
                          c->wants.count);
        return;
    }
    struct node__want *want = want_of(c, w);
    if (!want) {
        node__client_drop(c, "WANT: lane %llu has no shape yet",
                          (unsigned long long)w->lane);
        return;
    }
    if (w->shape)
        c->node->options.far->offer(c->node, w->shape->plugin);
    if (!w->shape) {
        w->shape = want->said->shape;
        want->said->shape = NULL;
    }
    node__free(want->said);
    want->said = node__copy(&w->base);
    if (w->workers > 0) {
        node__client_announce(c);
        store_prefault(c->node->store, NODE__PREFAULT);
    }
    say(c, want);
}

void node__wants_refuse(struct node__client *c, uint64_t lane, int code,
                        const char *text)
{
    struct node__want *want = rwf_ids_get(&c->wants, lane);
    if (want && want->said->workers > 0) {
        /* Else the head would lend it the next one at once. */
        want->said->workers = 0;
        want->said->queued = 0;
        say(c, want);
    }
    Wire__Refuse r = WIRE__REFUSE__INIT;
    r.lane = lane;
    r.code = code;
    r.text = (char *)text;
    NODE__SEND(c->link, WIRE_REFUSE, &r);
}

static void say_one(void *ctx, void *item)
{
    const struct node__want *want = item;
    if (want->said->workers > 0)
        say(ctx, want);
}

void node__wants_say(struct node__client *c)
{
    rwf_ids_each(&c->wants, say_one, c);
}

static void stop_one(void *ctx, void *item)
{
    struct node__want *want = item;
    if (want->said->workers == 0)
        return;
    want->said->workers = 0;
    say(ctx, want);
}

void node__wants_stop(struct node__client *c)
{
    rwf_ids_each(&c->wants, stop_one, c);
}

static void forget_one(void *ctx, void *item)
{
    (void)ctx;
    forget(item);
}

void node__wants_free(struct node__client *c)
{
    rwf_ids_each(&c->wants, forget_one, NULL);
    rwf_ids_free(&c->wants);
}
