/* SPDX-License-Identifier: Apache-2.0
 *
 * What the node calls, when it has to do with other nodes: the life of all parts, who gets
 * which message.
 */
#include "config.h"
#include "far/far.h"
#include <stdlib.h>
#include "base/mem.h"
#include "far/bridge.h"
#include "far/data.h"
#include "far/inside.h"
#include "far/steps.h"
#include "far/tree.h"

/* --- life --- */

static int create(struct node *n, struct rwf_err *err)
{
    n->far = rwf_xcalloc(1, sizeof(*n->far));
    if (far__peers_create(n, err) < 0)
        return -1;
    far__steps_create(n);
    far__trees_create(n);
    far__bridges_create(n);
    far__data_create(n);
    return 0;
}

static void close_all(struct node *n)
{
    far__bridges_close(n);
    far__peers_close(n);
    far__steps_close(n);
    far__trees_close(n);
    far__data_close(n);
}

static void free_all(struct node *n)
{
    if (!n->far)
        return;
    far__bridges_stop(n);
    far__data_free(n);
    far__bridges_free(n);
    far__peers_free(n);
    far__steps_free(n);
    far__trees_free(n);
    far__places_free(n);
    far__plugins_free(n);
    far__forward_free(n);
    free(n->far);
    n->far = NULL;
}

static void client_gone(struct node__client *c)
{
    far__forward_client_gone(c);
    far__served_client_gone(c);
}

/* --- what clients and the head say --- */

static const struct node__client_row of_clients[WIRE_TYPE_COUNT] = {
    [WIRE_ASK] = {.fn = far__on_ask},
    [WIRE_TELL] = {.fn = far__on_tell},
    [WIRE_CANCEL_OWNED] = {.fn = far__on_cancel_owned},
    [WIRE_GROUP_CREATE] = {.fn = far__on_group_create},
    [WIRE_GROUP_REMOVE] = {.fn = far__on_group_remove},
    [WIRE_STEP_START] = {.fn = far__on_client_step_start, .anytime = true},
    [WIRE_STEP_STOP] = {.fn = far__on_client_step_stop, .anytime = true},
};

static void on_group_lost(struct node *n, struct wire_message *m)
{
    far__places_lost(n, (const Wire__GroupLost *)m->body);
}

static void on_list(struct node *n, struct wire_message *m)
{
    far__doctor(n, (const Wire__List *)m->body);
}

static void on_lend(struct node *n, struct wire_message *m)
{
    far__bridge_lend(n, (const Wire__HeadLend *)m->body);
}

static void on_ask(struct node *n, struct wire_message *m)
{
    far__forward_ask(n, (const Wire__Ask *)m->body);
}

static void on_tell(struct node *n, struct wire_message *m)
{
    far__forward_tell(n, (const Wire__Tell *)m->body);
}

static void on_cancel(struct node *n, struct wire_message *m)
{
    far__forward_cancel(n, (const Wire__CancelOwned *)m->body);
}

static const node__head_fn of_head[WIRE_TYPE_COUNT] = {
    [WIRE_LIST] = on_list,
    [WIRE_HEAD_LEND] = on_lend,
    [WIRE_ASK] = on_ask,
    [WIRE_TELL] = on_tell,
    [WIRE_CANCEL_OWNED] = on_cancel,
    [WIRE_GROUP_LOST] = on_group_lost,
};

const struct node_far far_nodes = {
    .create = create,
    .stop = far__steps_stop,
    .ending = far__doctor_close,
    .close = close_all,
    .free = free_all,
    .busy = far__steps_busy,
    .address = far__peers_address,
    .client = of_clients,
    .head = of_head,
    .members = far__peers_members,
    .answer = far__places_answer,
    .head_is_back = far__places_say,
    .returned = far__bridge_return,
    .ended = far__bridge_end,
    .give_back = far__bridge_client_gone,
    .client_gone = client_gone,
    .actor = far__bridge_actor,
    .offer = far__plugin_offer,
    .offer_spec = far__offer_spec,
    .bring = far__plugin_bring,
};
