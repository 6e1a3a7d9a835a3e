/* SPDX-License-Identifier: Apache-2.0
 *
 * Reservations: all bundles or none.
 */
#include "config.h"
#include "native/group.h"
#include <stdlib.h>
#include "base/mem.h"
#include "native/calls.h"

struct raywf_group {
    uint64_t id;
};

uint64_t native__group_id(const struct raywf_group *g)
{
    return g->id;
}

static void remove_group(struct native__client *c, uint64_t id)
{
    Wire__GroupRemove m = WIRE__GROUP_REMOVE__INIT;
    m.group = id;
    native__tell(c, WIRE_GROUP_REMOVE, &m.base);
}

static uint64_t ask(struct native__client *c, const struct raywf_bundle *bundles,
                    size_t n, enum raywf_placement placement)
{
    Wire__GroupCreate m = WIRE__GROUP_CREATE__INIT;
    m.bundles = rwf_xcalloc(n, sizeof(*m.bundles));
    for (; m.n_bundles < n; m.n_bundles++) {
        const struct raywf_bundle *b = &bundles[m.n_bundles];
        const struct raywf_resources r = {.cpu = b->cpu > 0 ? b->cpu : -1,
                                          .gpu = b->gpu,
                                          .memory = b->memory,
                                          .custom = b->custom};
        m.bundles[m.n_bundles] = native__resources(&r);
    }
    m.placement = placement;
    m.request = native__request(c);
    native__tell(c, WIRE_GROUP_CREATE, &m.base);
    for (size_t i = 0; i < n; i++)
        protobuf_c_message_free_unpacked(&m.bundles[i]->base, NULL);
    free(m.bundles);
    return m.request;
}

struct raywf_group *raywf_group_create(const struct raywf_bundle *bundles, size_t n,
                                       enum raywf_placement placement, int64_t timeout,
                                       struct raywf_error *err)
{
    struct native__client *c = native__client(err);
    if (!c)
        return NULL;
    if (!n) {
        native__fail(err, RAYWF_E_ARGUMENT, "a reservation of no bundles");
        return NULL;
    }
    struct raywf_group *g = NULL;
    struct wire_message m;
    native__lock(c);
    uint64_t request = ask(c, bundles, n, placement);
    if (native__answer(c, request, native__deadline(timeout), &m, err) == 0) {
        g = rwf_xmalloc(sizeof(*g));
        g->id = ((const Wire__GroupReady *)m.body)->group;
        wire_message_clear(&m);
    }
    native__unlock(c);
    return g;
}

void raywf_group_remove(struct raywf_group *group)
{
    struct native__client *c = native__the;
    if (!group)
        return;
    if (c) {
        native__lock(c);
        remove_group(c, group->id);
        native__unlock(c);
    }
    free(group);
}
