/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters placed in units. Offsets are multiples of MODEL_ALIGN elements, so that
 * each parameter starts where vector loads and tensor maps may, in float and in bf16.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/inside.h"

int model__layout_unit(struct layout *l, const char *name, bool frozen)
{
    struct model_unit *u = RWF_PUSH(l->units, l->unit_count, l->unit_cap);
    *u =
        (struct model_unit){.name = rwf_arena_strdup(l->arena, name), .frozen = frozen};
    return (int)l->unit_count - 1;
}

int64_t model__layout_add(struct layout *l, const struct layout_param *p)
{
    struct model_unit *u = &l->units[l->unit_count - 1];
    struct model_param *to = RWF_PUSH(l->params, l->param_count, l->param_cap);
    *to = (struct model_param){
        .name = rwf_arena_strdup(l->arena, p->name),
        .dims = p->dims,
        .shape = {p->shape[0], p->dims == 2 ? p->shape[1] : 1},
        .unit = (int)l->unit_count - 1,
        .offset = u->count,
        .decay = p->dims == 2,
        .init = p->init,
        .std = p->std,
    };
    u->count = model__round(u->count + to->shape[0] * to->shape[1], MODEL_ALIGN);
    return to->offset;
}

void model__layout_pad(struct layout *l, int64_t elements)
{
    struct model_unit *u = &l->units[l->unit_count - 1];
    u->count = model__round(u->count + elements, MODEL_ALIGN);
}

void model__layout_finish(struct layout *l, struct model_layout *ret)
{
    *ret = (struct model_layout){.params = l->params,
                                 .param_count = l->param_count,
                                 .units = l->units,
                                 .unit_count = l->unit_count};
    for (size_t i = 0; i < l->param_count; i++) {
        int64_t count = l->params[i].shape[0] * l->params[i].shape[1];
        ret->parameters += count;
        if (!l->units[l->params[i].unit].frozen)
            ret->trainable += count;
    }
}
