/* SPDX-License-Identifier: Apache-2.0
 *
 * The functions of model.h: which kind of model a config means, and from there on its
 * table.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/suggest.h"
#include "model/inside.h"

static const struct kind {
    const char *name;
    int (*create)(struct model *m, struct rwf_err *err);
} kinds[] = {
    {"mlp", model__mlp_create},
    {"gpt2", model__gpt2_create},
    {"qwen3", model__qwen3_create},
};

static const struct kind *find_kind(const json_t *config, struct rwf_err *err)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));
    const char *names[RWF_COUNT(kinds)];
    for (size_t i = 0; i < RWF_COUNT(kinds); i++) {
        names[i] = kinds[i].name;
        if (type != NULL && strcmp(type, names[i]) == 0)
            return &kinds[i];
    }
    char *choices =
        rwf_suggest_choices(type != NULL ? type : "", names, RWF_COUNT(names));
    rwf_fail(err, RWF_E_INPUT, "config.json: 'model_type' is %s%s%s; %s",
             type != NULL ? "'" : "", type != NULL ? type : "missing",
             type != NULL ? "'" : "", choices);
    free(choices);
    return NULL;
}

struct model *model_create(const json_t *config, struct rwf_err *err)
{
    const struct kind *kind = find_kind(config, err);
    if (kind == NULL)
        return NULL;
    struct model *m = rwf_xcalloc(1, sizeof(*m));
    m->config = json_deep_copy(config);
    m->arena = rwf_arena_create();
    if (kind->create(m, err) != 0) {
        model_destroy(m);
        return NULL;
    }
    return m;
}

void model_destroy(struct model *m)
{
    if (m == NULL)
        return;
    model_end(m);
    if (m->own != NULL)
        m->ops->destroy(m->own);
    free((void *)m->layout.params);
    free((void *)m->layout.units);
    model__lora_destroy(m->lora);
    rwf_arena_destroy(m->arena);
    json_decref(m->config);
    free(m);
}

const struct model_layout *model_layout(const struct model *m)
{
    return &m->layout;
}

const json_t *model_config_json(const struct model *m)
{
    return m->config;
}

const char *model_param_alias(const struct model *m, size_t param)
{
    return m->ops->alias != NULL ? m->ops->alias(m, param) : NULL;
}

int model_begin(struct model *m, const struct model_run *run,
                const struct model_store *store, struct rwf_err *err)
{
    rwf_assert(!m->running && run->rows > 0 && run->length > 0);
    m->run = *run;
    m->store = *store;
    if (m->ops->begin(m, err) != 0)
        return -1;
    m->running = true;
    return 0;
}

void model_end(struct model *m)
{
    if (m->running)
        m->ops->end(m);
    m->running = false;
}

int64_t model_activation_bytes(struct model *m, const struct model_run *run,
                               json_t **ret)
{
    return m->ops->activation_bytes(m, run, ret);
}

double model_flops(const struct model *m, int length)
{
    return m->ops->flops(m, length);
}

void model_forward(struct model *m, const struct model_batch *b, float scale,
                   uint64_t step)
{
    rwf_assert(m->running);
    m->ops->forward(m, b, scale, step);
}

void model_backward(struct model *m, const struct model_batch *b)
{
    rwf_assert(m->running);
    m->ops->backward(m, b);
}

const float *model_losses(const struct model *m)
{
    return m->ops->losses(m);
}

const float *model_correct(const struct model *m)
{
    return m->ops->correct(m);
}

const void *model_outputs(const struct model *m, int64_t *ret_columns,
                          int64_t *ret_stride)
{
    return m->ops->outputs(m, ret_columns, ret_stride);
}
