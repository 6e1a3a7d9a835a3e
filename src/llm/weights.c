/* SPDX-License-Identifier: Apache-2.0
 *
 * The tensors of a dense Qwen3 model by name and shape, one block on the device for all
 * of them. Products that share their input lie together: q|k|v and gate|up are rows of
 * one matrix. Nothing is read before every tensor is found with its shape and type, and
 * a tensor that the model does not know (a bias, say) is refused: it would change what
 * comes out.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "llm/weights.h"

#define ALIGN 256

/* --- sizes --- */

static int64_t aligned(int64_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static int64_t linear_bytes(const struct llm_config *c, enum kernel_type type,
                            struct device *d, int64_t n, int64_t k)
{
    struct kernel_q4 q = {n, k, c->group};
    if (c->bits == 0)
        return n * k * (int64_t)kernel_size(type);
    if (d != NULL)
        return (int64_t)d->k->q4_bytes(d->c, &q);
    return n * k / 2 +
           n * (k / c->group) * 5 / 2; /* words, scales of 2 bytes, zeros of 4 bits */
}

struct widths {
    int64_t q, kv, qkv;
};

static struct widths widths_of(const struct llm_config *c)
{
    int64_t q = (int64_t)c->heads * c->size, kv = (int64_t)c->kv_heads * c->size;
    return (struct widths){q, kv, q + 2 * kv};
}

/* A row of zeros goes before the table, at the end of what its alignment takes. */
static int64_t guard_bytes(const struct llm_config *c, enum kernel_type type)
{
    return aligned(c->hidden * (int64_t)kernel_size(type));
}

void llm__weight_sizes(const struct llm_config *c, enum kernel_type type,
                       struct device *d, struct llm_weight_sizes *ret)
{
    struct widths w = widths_of(c);
    int64_t e = (int64_t)kernel_size(type), table = aligned(c->vocab * c->hidden * e);
    int64_t layer = aligned(linear_bytes(c, type, d, w.qkv, c->hidden)) +
                    aligned(linear_bytes(c, type, d, c->hidden, w.q)) +
                    aligned(linear_bytes(c, type, d, 2 * c->inner, c->hidden)) +
                    aligned(linear_bytes(c, type, d, c->hidden, c->inner)) +
                    2 * aligned(c->hidden * e) + 2 * aligned(c->size * e);
    ret->embedding = guard_bytes(c, type) + table;
    ret->head = c->tied ? 0 : table;
    ret->layers = c->layers * layer + aligned(c->hidden * e);
}

/* --- the list of parts --- */

struct lister {
    const struct llm_config *c;
    struct llm_parts *p;
    enum kernel_type type;
    struct device *d;
};

static void row(struct lister *l, void **to, int64_t bytes)
{
    struct block_row *r = RWF_PUSH(l->p->rows, l->p->row_count, l->p->row_cap);
    *r = (struct block_row){"weights", (size_t)bytes, to};
}

static struct llm_part *part(struct lister *l, void **to, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static struct llm_part *part(struct lister *l, void **to, const char *fmt, ...)
{
    struct llm_part *p = RWF_PUSH(l->p->items, l->p->count, l->p->cap);
    va_list args;
    memset(p, 0, sizeof(*p));
    p->to = to;
    va_start(args, fmt);
    vsnprintf(p->name, sizeof(p->name), fmt, args);
    va_end(args);
    return p;
}

static void vector(struct lister *l, void **to, int64_t n, const char *prefix,
                   const char *name)
{
    struct llm_part *p = part(l, to, "%s%s.weight", prefix, name);
    p->dims = 1;
    p->shape[0] = n;
    p->shape[1] = 1;
    row(l, to, n * (int64_t)kernel_size(l->type));
    l->p->bytes += n * (int64_t)kernel_size(l->type);
}

static void table(struct lister *l, void **to, const char *name)
{
    struct llm_part *p = part(l, to, "%s.weight", name);
    p->dims = 2;
    p->shape[0] = l->c->vocab;
    p->shape[1] = l->c->hidden;
    l->p->bytes += l->c->vocab * l->c->hidden * (int64_t)kernel_size(l->type);
}

struct piece {
    const char *name;
    int64_t n;
};

/* Matrices [n, k] that lie one below the other in *to. */
static void linear(struct lister *l, struct llm_linear *to, int64_t k,
                   const char *prefix, const struct piece *pieces, size_t count)
{
    int64_t first = 0;
    for (size_t i = 0; i < count; i++) {
        struct llm_part *p = part(l, &to->w, "%s%s%s", prefix, pieces[i].name,
                                  l->c->bits == 0 ? ".weight" : "");
        p->dims = 2;
        p->shape[0] = pieces[i].n;
        p->shape[1] = k;
        p->at = first * k;
        p->first = first;
        p->q4 = l->c->bits == 0 ? NULL : to;
        first += pieces[i].n;
    }
    to->n = first;
    to->k = k;
    to->q4 = (struct kernel_q4){first, k, l->c->group};
    row(l, &to->w, linear_bytes(l->c, l->type, l->d, first, k));
    l->p->bytes += linear_bytes(l->c, l->type, l->d, first, k);
}

static void list_layer(struct lister *l, struct llm_layer *y, int number)
{
    const struct llm_config *c = l->c;
    struct widths w = widths_of(c);
    char prefix[40];
    snprintf(prefix, sizeof(prefix), "model.layers.%d.", number);
    vector(l, &y->norm1, c->hidden, prefix, "input_layernorm");
    vector(l, &y->norm2, c->hidden, prefix, "post_attention_layernorm");
    vector(l, &y->q_norm, c->size, prefix, "self_attn.q_norm");
    vector(l, &y->k_norm, c->size, prefix, "self_attn.k_norm");
    const struct piece qkv[] = {{"self_attn.q_proj", w.q},
                                {"self_attn.k_proj", w.kv},
                                {"self_attn.v_proj", w.kv}};
    const struct piece o[] = {{"self_attn.o_proj", c->hidden}};
    const struct piece up[] = {{"mlp.gate_proj", c->inner}, {"mlp.up_proj", c->inner}};
    const struct piece down[] = {{"mlp.down_proj", c->hidden}};
    linear(l, &y->qkv, c->hidden, prefix, qkv, RWF_COUNT(qkv));
    linear(l, &y->o, w.q, prefix, o, RWF_COUNT(o));
    linear(l, &y->gate_up, c->hidden, prefix, up, RWF_COUNT(up));
    linear(l, &y->down, c->inner, prefix, down, RWF_COUNT(down));
}

void llm__parts_list(struct llm_parts *p, struct llm_weights *w,
                     const struct llm_config *c, enum kernel_type type,
                     struct device *d)
{
    struct lister l = {c, p, type, d};
    int64_t bytes = c->vocab * c->hidden * (int64_t)kernel_size(type);
    memset(p, 0, sizeof(*p));
    memset(w, 0, sizeof(*w));
    w->layers = rwf_xcalloc((size_t)c->layers, sizeof(*w->layers));
    row(&l, &w->table, guard_bytes(c, type) + bytes);
    table(&l, &w->embed, "model.embed_tokens");
    for (int i = 0; i < c->layers; i++)
        list_layer(&l, &w->layers[i], i);
    vector(&l, &w->norm, c->hidden, "model.", "norm");
    if (c->tied)
        return;
    row(&l, &w->head, bytes);
    table(&l, &w->head, "lm_head");
}

void llm__parts_free(struct llm_parts *p)
{
    free(p->items);
    free(p->rows);
    memset(p, 0, sizeof(*p));
}

/* --- against the files --- */

static bool is_float(enum safetensors_type t)
{
    return t == SAFETENSORS_F64 || t == SAFETENSORS_F32 || t == SAFETENSORS_F16 ||
           t == SAFETENSORS_BF16;
}

static int check(const struct safetensors_entry *e, int dims, int64_t first,
                 int64_t second, struct rwf_err *err)
{
    if (e->dims == dims && e->shape[0] == first && (dims == 1 || e->shape[1] == second))
        return 0;
    struct rwf_str s = {0};
    rwf_str_addf(&s, "'%s': tensor '%s' has the shape [", e->file, e->name);
    for (int i = 0; i < e->dims; i++)
        rwf_str_addf(&s, "%s%lld", i > 0 ? ", " : "", (long long)e->shape[i]);
    rwf_str_addf(&s, "], config.json asks for [%lld", (long long)first);
    if (dims == 2)
        rwf_str_addf(&s, ", %lld", (long long)second);
    rwf_fail(err, RWF_E_INPUT, "%s]", s.data);
    rwf_str_free(&s);
    return -1;
}

/* Checkpoints of embedding models leave "model." out. */
static const struct safetensors_entry *find(const struct safetensors *s,
                                            const char *name, const char *suffix,
                                            size_t *found, struct rwf_err *err)
{
    char full[128];
    snprintf(full, sizeof(full), "%s%s", name, suffix);
    const struct safetensors_entry *e = safetensors_find(s, full);
    if (e == NULL && rwf_starts_with(full, "model."))
        e = safetensors_find(s, full + strlen("model."));
    if (e == NULL)
        rwf_fail(err, RWF_E_INPUT, "tensor '%s' is in none of the model's files", full);
    else
        (*found)++;
    return e;
}

static int bad_type(const struct safetensors_entry *e, const char *wanted,
                    struct rwf_err *err)
{
    return rwf_fail(err, RWF_E_INPUT, "'%s': tensor '%s' is %s, not %s", e->file,
                    e->name, e->dtype, wanted);
}

static int bind_plain(struct llm_part *p, const struct safetensors *s, size_t *found,
                      struct rwf_err *err)
{
    const struct safetensors_entry *e = find(s, p->name, "", found, err);
    if (e == NULL || check(e, p->dims, p->shape[0], p->shape[1], err) != 0)
        return -1;
    if (!is_float(e->type))
        return bad_type(e, "BF16, F16 or F32", err);
    p->plain = e;
    return 0;
}

/* AWQ's arrays are [inputs, outputs / 8] words. */
static int bind_q4(struct llm_part *p, const struct safetensors *s, size_t *found,
                   struct rwf_err *err)
{
    int64_t n = p->shape[0], k = p->shape[1], groups = k / p->q4->q4.group;
    p->weights = find(s, p->name, ".qweight", found, err);
    p->zeros = p->weights != NULL ? find(s, p->name, ".qzeros", found, err) : NULL;
    p->scales = p->zeros != NULL ? find(s, p->name, ".scales", found, err) : NULL;
    if (p->scales == NULL || check(p->weights, 2, k, n / 8, err) != 0 ||
        check(p->zeros, 2, groups, n / 8, err) != 0 ||
        check(p->scales, 2, groups, n, err) != 0)
        return -1;
    if (p->weights->type != SAFETENSORS_I32)
        return bad_type(p->weights, "I32", err);
    if (p->zeros->type != SAFETENSORS_I32)
        return bad_type(p->zeros, "I32", err);
    if (p->scales->type != SAFETENSORS_F16 && p->scales->type != SAFETENSORS_BF16)
        return bad_type(p->scales, "F16 or BF16", err);
    return 0;
}

/* Some files have them, and they say nothing new. */
static bool is_redundant(const struct llm_config *c, const char *name)
{
    return (c->tied && strcmp(name, "lm_head.weight") == 0) ||
           rwf_ends_with(name, ".rotary_emb.inv_freq");
}

static bool is_bound(const struct llm_parts *p, const struct safetensors_entry *e)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct llm_part *a = &p->items[i];
        if (a->plain == e || a->weights == e || a->zeros == e || a->scales == e)
            return true;
    }
    return false;
}

static int refuse_strangers(const struct llm_parts *p, const struct safetensors *s,
                            const struct llm_config *c, size_t found,
                            struct rwf_err *err)
{
    size_t strangers = safetensors_count(s) - found;
    for (size_t i = 0; i < safetensors_count(s) && strangers > 0; i++) {
        const struct safetensors_entry *e = safetensors_at(s, i);
        if (is_redundant(c, e->name))
            strangers--;
        else if (!is_bound(p, e))
            return rwf_fail(err, RWF_E_INPUT,
                            "'%s': tensor '%s' is none of a dense Qwen3 model%s",
                            e->file, e->name,
                            c->bits == 0 && rwf_ends_with(e->name, ".qweight")
                                ? ": config.json has no quantization_config"
                                : "");
    }
    return 0;
}

int llm__parts_bind(struct llm_parts *p, const struct safetensors *s,
                    const struct llm_config *c, struct rwf_err *err)
{
    size_t found = 0;
    for (size_t i = 0; i < p->count; i++) {
        struct llm_part *a = &p->items[i];
        if ((a->q4 != NULL ? bind_q4(a, s, &found, err)
                           : bind_plain(a, s, &found, err)) != 0)
            return -1;
    }
    return refuse_strangers(p, s, c, found, err);
}

/* --- loading --- */

static void place_table(struct llm_weights *w, const struct llm_config *c,
                        const struct llm_model_options *o)
{
    int64_t guard = guard_bytes(c, o->type);
    o->device->k->zero(o->device->c, w->table, (size_t)guard);
    w->embed = (char *)w->table + guard;
    if (c->tied)
        w->head = w->embed;
}

int llm__weights_load(struct llm_weights *w, const char *folder,
                      const struct llm_config *c, const struct llm_model_options *o,
                      struct rwf_err *err)
{
    struct llm_parts parts;
    struct safetensors *s = NULL;
    int rc = -1;
    llm__parts_list(&parts, w, c, o->type, o->device);
    if (!o->dummy) {
        s = safetensors_open(folder, err);
        if (s == NULL || llm__parts_bind(&parts, s, c, err) != 0)
            goto out;
    }
    w->block = block_carve(o->device, parts.rows, parts.row_count,
                           "take a smaller or a quantised model", err);
    if (w->block == NULL)
        goto out;
    place_table(w, c, o);
    rc = llm__parts_load(&parts, o, err);
out:
    safetensors_close(s);
    llm__parts_free(&parts);
    if (rc != 0)
        llm__weights_free(w, o->device);
    return rc;
}

int llm_model_check(const char *folder, const struct llm_config *c, struct rwf_err *err)
{
    struct llm_weights w;
    struct llm_parts parts;
    struct safetensors *s = safetensors_open(folder, err);
    llm__parts_list(&parts, &w, c, c->type, NULL);
    int rc = s != NULL ? llm__parts_bind(&parts, s, c, err) : -1;
    safetensors_close(s);
    llm__parts_free(&parts);
    free(w.layers);
    return rc;
}

void llm__weights_free(struct llm_weights *w, struct device *d)
{
    if (w->block != NULL)
        d->k->free(d->c, w->block);
    free(w->layers);
    memset(w, 0, sizeof(*w));
}
