/* SPDX-License-Identifier: Apache-2.0
 *
 * What ends when a node cannot be reached, is gone, or when we end ourselves.
 */
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include "base/mem.h"
#include "peer/bulk.h"

struct failing {
    struct peer *peer;
    uint64_t session;
    bool gone;
    char *why;
};

static void lose_item(struct peer__item *it, void *ctx)
{
    const struct failing *f = ctx;

    if (it->session == f->session && peer__fetching(it))
        peer__fetch_fail(it, EHOSTUNREACH, "%s", f->why);
    else if (it->session == f->session)
        it->orphan = true;
}

static void fail(void *ctx)
{
    struct failing *f = ctx;
    struct peer__bulk *b, *next;

    if (f->gone) {
        peer__items_each(f->peer, lose_item, f);
        peer__lend_gone(f->peer, f->session);
    }
    for (b = LIST_FIRST(&f->peer->bulks); b; b = next) {
        next = LIST_NEXT(b, link);
        if (b->session == f->session && (f->gone || b->fd < 0))
            peer__bulk_let_go(b, f->why, f->gone);
    }
    free(f->why);
    free(f);
}

void peer__bulk_fail(struct peer *p, uint64_t session, bool gone, const char *why)
{
    struct failing *f = rwf_xcalloc(1, sizeof(*f));

    *f = (struct failing){p, session, gone, rwf_xstrdup(why)};
    peer__loop_post(&p->bulk, fail, f);
}

static void cancel_item(struct peer__item *it, void *ctx)
{
    (void)ctx;
    if (peer__fetching(it))
        peer__fetch_fail(it, ECANCELED, "this node ends");
}

void peer__bulk_end(void *ctx)
{
    struct peer *p = ctx;

    p->ending = true;
    peer__items_each(p, cancel_item, NULL);
    while (!LIST_EMPTY(&p->bulks))
        peer__bulk_let_go(LIST_FIRST(&p->bulks), "this node ends", true);
}

void peer__bulk_tick(void *ctx, int64_t now)
{
    peer__items_tick(ctx, now);
}
