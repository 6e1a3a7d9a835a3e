/* SPDX-License-Identifier: Apache-2.0
 *
 * LoRA: W + alpha / rank * B A, where W stays as it is and A [rank, in], B [out, rank]
 * are trained. Names are PEFT's: base_model.model.NAME.lora_A.weight. B begins as
 * zeros, A uniform within 1/sqrt(in), as PEFT does it; dropout of the adapter's input
 * is not done. Source: Hu et al. 2021 (arXiv 2106.09685); peft, tuners/lora.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_read.h"
#include "base/mem.h"
#include "base/suggest.h"
#include "model/inside.h"

/* "q_proj" and "self_attn.q_proj" both mean self_attn.q_proj. */
static bool means(const char *target, const char *module)
{
    const char *dot = strrchr(module, '.');
    return strcmp(target, module) == 0 || (dot != NULL && strcmp(target, dot + 1) == 0);
}

bool model__lora_targets(const struct lora *l, const char *module)
{
    for (size_t i = 0; i < json_array_size(l->targets); i++) {
        const char *target = json_string_value(json_array_get(l->targets, i));
        if (strcmp(target, "all") == 0 || means(target, module))
            return true;
    }
    return false;
}

static void check_target(struct rwf_reader *r, const json_t *target,
                         const char *const *modules, size_t count)
{
    const char *name = json_string_value(target);
    const char *shorts[16];
    if (name == NULL) {
        rwf_read_fail(r, "'targets' has something that is not text");
        return;
    }
    if (strcmp(name, "all") == 0)
        return;
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (means(name, modules[i]))
            return;
        const char *dot = strrchr(modules[i], '.');
        if (i == 0 || dot == NULL || n == 0 || strcmp(shorts[n - 1], dot + 1) != 0)
            shorts[n++] = dot != NULL ? dot + 1 : modules[i];
    }
    shorts[n++] = "all";
    char *choices = rwf_suggest_choices(name, shorts, n);
    rwf_read_fail(r, "'targets': there is no '%s'; %s", name, choices);
    free(choices);
}

int model__lora_create(struct model *m, const char *const *modules, size_t count,
                       struct rwf_err *err)
{
    const json_t *adapter = json_object_get(m->config, "adapter");
    if (adapter == NULL || json_is_null(adapter))
        return 0;
    struct rwf_reader r = {adapter, "adapter", RWF_E_RECIPE, err, false};
    int rank = (int)rwf_read_int(&r, "rank", 8, 1, 4096);
    double alpha = rwf_read_number(&r, "alpha", 2.0 * rank, 1e-6, 1e6);
    const json_t *targets = json_object_get(adapter, "targets");
    if (json_array_size(targets) == 0)
        rwf_read_fail(&r, "'targets' is not a list of names");
    for (size_t i = 0; i < json_array_size(targets); i++)
        check_target(&r, json_array_get(targets, i), modules, count);
    if (r.failed)
        return -1;
    m->lora = rwf_xcalloc(1, sizeof(*m->lora));
    m->lora->rank = rank;
    m->lora->alpha = alpha;
    m->lora->targets = targets;
    return 0;
}

void model__lora_destroy(struct lora *l)
{
    if (l == NULL)
        return;
    free(l->pairs);
    free(l);
}

void model__lora_add(struct lora *l, struct layout *to, struct lora_pair pair,
                     struct linear_part *part)
{
    const struct model_param *p = &to->params[pair.base];
    const char *name = p->name;
    int stem = (int)(strlen(name) - strlen(".weight"));
    int64_t in = p->shape[pair.inputs_first ? 0 : 1], out = p->shape[pair.inputs_first];
    struct layout_param a = {
        .name = rwf_arena_printf(to->arena, "base_model.model.%.*s.lora_A.weight", stem,
                                 name),
        .dims = 2,
        .shape = {l->rank, in},
        .init = MODEL_UNIFORM,
        .std = (float)(1 / sqrt((double)in))};
    struct layout_param b = {
        .name = rwf_arena_printf(to->arena, "base_model.model.%.*s.lora_B.weight", stem,
                                 name),
        .dims = 2,
        .shape = {out, l->rank},
        .init = MODEL_ZERO};
    pair.a = to->param_count;
    pair.b = to->param_count + 1;
    *RWF_PUSH(l->pairs, l->count, l->cap) = pair;
    part->a = model__layout_add(to, &a);
    part->b = model__layout_add(to, &b);
}

static const struct lora_pair *find(const struct model *m, size_t param)
{
    for (size_t i = 0; m->lora != NULL && i < m->lora->count; i++)
        if (m->lora->pairs[i].base == param)
            return &m->lora->pairs[i];
    return NULL;
}

bool model_adapter_of(const struct model *m, size_t param, size_t *ret_a, size_t *ret_b)
{
    const struct lora_pair *p = find(m, param);
    if (p == NULL)
        return false;
    *ret_a = p->a;
    *ret_b = p->b;
    return true;
}

void model_merge(const struct model *m, size_t param, float *weight, const float *a,
                 const float *b)
{
    const struct lora_pair *p = find(m, param);
    rwf_assert(p != NULL);
    const struct model_param *w = &m->layout.params[param];
    int64_t in = w->shape[p->inputs_first ? 0 : 1], out = w->shape[p->inputs_first];
    int rank = m->lora->rank;
    float scale = (float)(m->lora->alpha / rank);
    for (int64_t o = 0; o < out; o++)
        for (int64_t r = 0; r < rank; r++) {
            float factor = scale * b[o * rank + r];
            const float *row = a + r * in;
            for (int64_t i = 0; i < in; i++)
                weight[p->inputs_first ? i * out + o : o * in + i] += factor * row[i];
        }
}

/* Layers are alike: the modules of the first. */
static json_t *modules_of(const struct lora *l)
{
    json_t *targets = json_array();
    for (size_t i = 0; i < l->count; i++) {
        if (i > 0 && strcmp(l->pairs[i].module, l->pairs[0].module) == 0)
            break;
        json_array_append_new(targets, json_string(l->pairs[i].module));
    }
    return targets;
}

json_t *model_adapter_config(const struct model *m, const char *base)
{
    const struct lora *l = m->lora;
    if (l == NULL)
        return NULL;
    return json_pack("{s:s, s:s, s:s?, s:i, s:f, s:f, s:s, s:b, s:b, s:o}", "peft_type",
                     "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path", base,
                     "r", l->rank, "lora_alpha", l->alpha, "lora_dropout", 0.0, "bias",
                     "none", "fan_in_fan_out",
                     (int)(l->count > 0 && l->pairs[0].inputs_first), "inference_mode",
                     1, "target_modules", modules_of(l));
}
