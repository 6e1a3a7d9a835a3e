/* SPDX-License-Identifier: Apache-2.0
 *
 * From a family's names and a shape to units, parameters and the map of a layer.
 * Weights of maps with one input (q, k, v; gate, up) are placed one after another, so
 * that one product does all of them where sizes allow.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/transformer.h"

struct builder {
    struct model *m;
    struct transformer *t;
    const struct family *family;
    struct layout layout;
};

static int64_t extent(const struct transformer_shape *s, enum extent e)
{
    switch (e) {
    case EXTENT_QUERY:
        return (int64_t)s->heads * s->head_size;
    case EXTENT_KEY:
        return (int64_t)s->kv_heads * s->head_size;
    case EXTENT_QKV:
        return (int64_t)(s->heads + 2 * s->kv_heads) * s->head_size;
    case EXTENT_INNER:
        return s->inner;
    case EXTENT_WIDTH:
        break;
    }
    return s->width;
}

static int64_t add(struct builder *b, const char *name, int dims, int64_t rows,
                   int64_t columns, enum model_init init, double std)
{
    struct layout_param p = {.name = name,
                             .dims = dims,
                             .shape = {rows, columns},
                             .init = init,
                             .std = (float)std};
    return model__layout_add(&b->layout, &p);
}

static const char *name_of(struct builder *b, const char *stem, const char *end)
{
    return rwf_arena_printf(b->m->arena, "%s.%s", stem, end);
}

static struct norm_map add_norm(struct builder *b, const char *stem)
{
    const struct transformer_shape *s = &b->t->shape;
    struct norm_map map = {.bias = -1};
    map.weight = add(b, name_of(b, stem, "weight"), 1, s->width, 1, MODEL_ONE, 0);
    if (s->norm == KERNEL_LAYERNORM)
        map.bias = add(b, name_of(b, stem, "bias"), 1, s->width, 1, MODEL_ZERO, 0);
    return map;
}

/* A table of the vocabulary; `head`: products read it with its padding. */
static int64_t add_table(struct builder *b, const char *name, bool head)
{
    const struct transformer_shape *s = &b->t->shape;
    int64_t offset = add(b, name, 2, s->vocab, s->width, MODEL_NORMAL, s->std);
    if (head)
        model__layout_pad(&b->layout, (s->table - s->vocab) * s->width);
    return offset;
}

static void add_embedding(struct builder *b)
{
    struct transformer_map *map = &b->t->map;
    const struct transformer_shape *s = &b->t->shape;
    map->embedding_unit =
        model__layout_unit(&b->layout, "embedding", b->m->lora != NULL);
    map->table = add_table(b, name_of(b, b->family->embedding, "weight"), s->tied);
    map->positions = -1;
    if (s->theta == 0)
        map->positions = add(b, name_of(b, b->family->positions, "weight"), 2,
                             s->context, s->width, MODEL_NORMAL, s->std);
}

/* --- one layer --- */

/* Weights of a slot first, so that they are contiguous. Returns their parameters'
 * numbers. */
static void add_linears(struct builder *b, const char *layer, enum layer_linear slot,
                        size_t *numbers)
{
    const struct transformer_shape *s = &b->t->shape;
    struct linear *l = &b->t->map.linears[slot];
    bool residual = slot == LAYER_OUT || slot == LAYER_DOWN;
    double std = s->std;
    int64_t in = 0;
    if (residual && b->family->scaled_residual)
        std /= sqrt(2.0 * s->layers);
    *l = (struct linear){.inputs_first = b->family->inputs_first};
    for (size_t i = 0; i < b->family->linear_count; i++) {
        const struct family_linear *f = &b->family->linears[i];
        if (f->slot != slot)
            continue;
        const char *stem = name_of(b, layer, f->module);
        struct linear_part *part = &l->part[l->parts++];
        *part = (struct linear_part){
            .out = extent(s, f->out), .bias = -1, .a = -1, .b = -1};
        in = extent(s, f->in);
        numbers[i] = b->layout.param_count;
        part->weight =
            add(b, name_of(b, stem, "weight"), 2, l->inputs_first ? in : part->out,
                l->inputs_first ? part->out : in, MODEL_NORMAL, std);
        if (b->family->bias)
            part->bias =
                add(b, name_of(b, stem, "bias"), 1, part->out, 1, MODEL_ZERO, 0);
    }
    model__linear_finish(l, in, 0);
}

static void add_head_norms(struct builder *b, const char *layer)
{
    struct transformer_map *map = &b->t->map;
    int64_t size = b->t->shape.head_size;
    map->query_norm = map->key_norm = -1;
    if (b->family->query_norm == NULL)
        return;
    map->query_norm =
        add(b, name_of(b, layer, b->family->query_norm), 1, size, 1, MODEL_ONE, 0);
    map->key_norm =
        add(b, name_of(b, layer, b->family->key_norm), 1, size, 1, MODEL_ONE, 0);
}

static void add_adapters(struct builder *b, const char *unit, const size_t *numbers)
{
    struct transformer_map *map = &b->t->map;
    int parts[LAYER_LINEARS] = {0};
    model__layout_unit(&b->layout, rwf_arena_printf(b->m->arena, "%s.adapter", unit),
                       false);
    map->middle_count = 0;
    for (size_t i = 0; i < b->family->linear_count; i++) {
        const struct family_linear *f = &b->family->linears[i];
        struct linear_part *part = &map->linears[f->slot].part[parts[f->slot]];
        if (parts[f->slot]++ == 0)
            map->middles[f->slot] = map->middle_count;
        if (!model__lora_targets(b->m->lora, f->module))
            continue;
        map->middle_count++;
        struct lora_pair pair = {.module = f->module,
                                 .base = numbers[i],
                                 .inputs_first = b->family->inputs_first};
        model__lora_add(b->m->lora, &b->layout, pair, part);
    }
}

static void add_layer(struct builder *b, int layer)
{
    struct transformer_map *map = &b->t->map;
    const struct family *f = b->family;
    size_t numbers[RWF_COUNT(f->linears)] = {0};
    const char *unit = rwf_arena_printf(b->m->arena, "layers.%d", layer);
    const char *stem = rwf_arena_printf(b->m->arena, "%s.%d", f->layers, layer);
    int number = model__layout_unit(&b->layout, unit, b->m->lora != NULL);
    if (layer == 0)
        map->first_unit = number;
    map->norms[0] = add_norm(b, name_of(b, stem, f->norms[0]));
    add_linears(b, stem, LAYER_QKV, numbers);
    add_head_norms(b, stem);
    add_linears(b, stem, LAYER_OUT, numbers);
    map->norms[1] = add_norm(b, name_of(b, stem, f->norms[1]));
    add_linears(b, stem, LAYER_UP, numbers);
    add_linears(b, stem, LAYER_DOWN, numbers);
    if (b->m->lora != NULL)
        add_adapters(b, unit, numbers);
}

static void add_head(struct builder *b)
{
    struct transformer_map *map = &b->t->map;
    map->head_unit = model__layout_unit(&b->layout, "head", b->m->lora != NULL);
    map->final_norm = add_norm(b, b->family->final_norm);
    map->head = -1;
    if (!b->t->shape.tied)
        map->head = add_table(b, "lm_head.weight", true);
}

/* Files of a family's bare model leave out its prefix. */
static void add_aliases(struct builder *b)
{
    const char *prefix = b->family->prefix;
    b->t->aliases = rwf_xcalloc(b->layout.param_count, sizeof(*b->t->aliases));
    for (size_t i = 0; prefix != NULL && i < b->layout.param_count; i++)
        if (strncmp(b->layout.params[i].name, prefix, strlen(prefix)) == 0)
            b->t->aliases[i] = b->layout.params[i].name + strlen(prefix);
}

static int add_lora(struct builder *b, struct rwf_err *err)
{
    const char *modules[RWF_COUNT(b->family->linears)];
    for (size_t i = 0; i < b->family->linear_count; i++)
        modules[i] = b->family->linears[i].module;
    return model__lora_create(b->m, modules, b->family->linear_count, err);
}

int model__family_create(struct model *m, const struct family *f,
                         const struct transformer_shape *s, struct rwf_err *err)
{
    struct transformer *t = rwf_xcalloc(1, sizeof(*t));
    struct builder b = {.m = m, .t = t, .family = f, .layout = {.arena = m->arena}};
    m->ops = &model__transformer_ops;
    m->own = t;
    t->m = m;
    t->family = f;
    t->shape = *s;
    t->shape.table = model__round(s->vocab, 128);
    if (add_lora(&b, err) != 0)
        return -1;
    add_embedding(&b);
    for (int layer = 0; layer < s->layers; layer++)
        add_layer(&b, layer);
    add_head(&b);
    t->map.unit_step = m->lora != NULL ? 2 : 1;
    add_aliases(&b);
    model__layout_finish(&b.layout, &m->layout);
    return 0;
}
