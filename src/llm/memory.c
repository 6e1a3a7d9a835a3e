/* SPDX-License-Identifier: Apache-2.0
 *
 * All sizes of a model in one place. The cache gets what the others leave of the
 * budget, in whole blocks; on the CPU, whose memory others want, too, it stays within
 * HOST_CACHE unless it is asked for or one sequence needs more.
 */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "kernels/cuda/own.h"
#include "llm/memory.h"
#include "llm/model_inside.h"

#define ALIGN 256
#define HOST_CACHE ((int64_t)4 << 30)
#define SMS 132                       /* multiprocessors of an H200 */
#define RECORDED ((int64_t)256 << 20) /* of recorded steps, on a GPU */

static int64_t aligned(int64_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* --- options --- */

static int check_options(const struct llm_model_options *o, const struct llm_config *c,
                         struct rwf_err *err)
{
    if (o->max_tokens < 1 || o->max_sequences < 1 || o->max_length < 1)
        return rwf_fail(
            err, RWF_E_USAGE,
            "max_num_batched_tokens, max_num_seqs and max_model_len must be at "
            "least 1");
    if (o->max_tokens > 1 << 20 || o->max_sequences > 1 << 14)
        return rwf_fail(
            err, RWF_E_USAGE,
            "max_num_batched_tokens %d and max_num_seqs %d: at most %d and %d",
            o->max_tokens, o->max_sequences, 1 << 20, 1 << 14);
    if (o->max_length > c->context)
        return rwf_fail(
            err, RWF_E_USAGE,
            "max_model_len %d is more than the model was made for: %d tokens "
            "(YaRN in its config.json makes it longer)",
            o->max_length, c->context);
    if (o->cache_bytes < 0 || !(o->memory_share > 0 && o->memory_share <= 1))
        return rwf_fail(err, RWF_E_USAGE,
                        "gpu_memory_utilization %g is not within 0 to 1",
                        o->memory_share);
    return 0;
}

void llm_options_for(struct llm_model_options *o, bool host, int64_t total)
{
    bool large = total > (int64_t)70 << 30;

    if (o->max_tokens <= 0)
        o->max_tokens = host ? 512 : large ? 8192 : 2048;
    if (o->max_sequences <= 0)
        o->max_sequences = host ? 32 : large ? 512 : 256;
}

int llm_options_complete(struct llm_model_options *o, const struct llm_config *c,
                         struct rwf_err *err)
{
    if (o->max_tokens == 0)
        o->max_tokens = 2048;
    if (o->max_sequences == 0)
        o->max_sequences = 256;
    if (o->max_length == 0)
        o->max_length = c->context;
    if (o->memory_share == 0)
        o->memory_share = 0.9;
    return check_options(o, c, err);
}

/* --- buffers of a step --- */

int llm__padded(int sequences)
{
    if (sequences > 8)
        return (sequences + 7) / 8 * 8;
    int n = 1;
    while (n < sequences)
        n *= 2;
    return n;
}

static size_t place(size_t *at, size_t bytes)
{
    size_t here = *at;
    *at = (size_t)aligned((int64_t)(here + bytes));
    return here;
}

void llm__layout(struct llm_layout *l, int rows, int sequences, int stride)
{
    size_t at = 0, n = (size_t)rows, s = (size_t)sequences;
    memset(l, 0, sizeof(*l));
    l->rows = rows;
    l->sequences = sequences;
    l->stride = stride;
    l->ids = place(&at, n * sizeof(int32_t));
    l->positions = place(&at, n * sizeof(int32_t));
    l->slots = place(&at, n * sizeof(int32_t));
    l->first = place(&at, (s + 1) * sizeof(int32_t));
    l->context = place(&at, s * sizeof(int32_t));
    l->blocks = place(&at, s * (size_t)stride * sizeof(int32_t));
    l->last = place(&at, (size_t)llm__padded(sequences) * sizeof(int32_t));
    l->each = place(&at, (s + 1) * sizeof(int32_t));
    l->end = at;
}

void llm__layout_draws(struct llm_layout *l, int gathered, int draws, int masks,
                       int64_t vocab)
{
    size_t at = l->end, n = (size_t)draws;
    l->gather = place(&at, (size_t)gathered * sizeof(int32_t));
    l->temperature = place(&at, n * sizeof(float));
    l->top_p = place(&at, n * sizeof(float));
    l->min_p = place(&at, n * sizeof(float));
    l->top_k = place(&at, n * sizeof(int32_t));
    l->seed = place(&at, n * sizeof(uint64_t));
    l->step = place(&at, n * sizeof(uint64_t));
    l->mask_row = place(&at, n * sizeof(int32_t));
    l->mask =
        place(&at, (size_t)masks * (size_t)((vocab + 31) / 32) * sizeof(uint32_t));
    l->end = at;
}

static int64_t layer_bytes(const struct llm_config *c, enum kernel_type type,
                           int64_t rows)
{
    int64_t e = (int64_t)kernel_size(type), q = (int64_t)c->heads * c->size;
    int64_t qkv = q + 2 * (int64_t)c->kv_heads * c->size;
    int64_t attention = aligned(rows * qkv * e) + 2 * aligned(rows * q * e);
    int64_t mlp = aligned(rows * 2 * c->inner * e) + aligned(rows * c->inner * e);
    return most(attention, mlp);
}

/* What the attention of a step needs for itself; more sequences need not mean more. */
static int64_t attention_bytes(const struct llm_config *c,
                               const struct llm_model_options *o,
                               const struct llm_sizes *s)
{
    struct device *d = o->device;
    if (d == NULL)
        return (int64_t)s->sequences * c->heads * 16 * (c->size + 2) * 4;
    int64_t bytes = 0;
    for (int n = 1; n <= s->sequences; n = n < 8 ? 2 * n : n + 8) {
        struct kernel_sequences q = {.count = n,
                                     .tokens = n,
                                     .stride = s->stride,
                                     .most = 1,
                                     .longest = o->max_length};
        struct kernel_paged a = {o->type, c->heads, c->kv_heads, c->size,
                                 1,       NULL,     NULL,        &q};
        bytes = most(bytes, (int64_t)d->k->paged_scratch(d->c, &a));
        q.tokens = s->rows;
        q.most = s->rows < o->max_length ? s->rows : o->max_length;
        bytes = most(bytes, (int64_t)d->k->paged_scratch(d->c, &a));
    }
    return bytes;
}

static int64_t q4_bytes(const struct llm_config *c, const struct llm_model_options *o,
                        int rows)
{
    struct device *d = o->device;
    int64_t width = (int64_t)c->heads * c->size, bytes = 0;
    const struct kernel_q4 all[] = {
        {width + 2 * (int64_t)c->kv_heads * c->size, c->hidden, c->group},
        {c->hidden, width, c->group},
        {2 * c->inner, c->hidden, c->group},
        {c->hidden, c->inner, c->group},
    };
    if (c->bits == 0)
        return 0;
    for (size_t i = 0; i < RWF_COUNT(all); i++)
        bytes = most(bytes, d != NULL ? (int64_t)d->k->q4_scratch(d->c, &all[i], rows)
                                      : all[i].n * all[i].k * 2);
    return bytes;
}

void llm__sizes(const struct llm_config *c, const struct llm_model_options *o,
                struct llm_sizes *ret)
{
    struct llm_sizes s = {0};
    struct llm_layout l;
    int64_t e = (int64_t)kernel_size(o->type);
    s.sequences = llm__padded(o->max_sequences);
    s.rows = o->max_tokens > s.sequences ? o->max_tokens : s.sequences;
    s.stride = (o->max_length + KERNEL_BLOCK - 1) / KERNEL_BLOCK;
    s.x = s.rows * c->hidden * e;
    s.layer = layer_bytes(c, o->type, s.rows);
    s.stats = (int64_t)s.rows * 2 * (int64_t)sizeof(float);
    s.gathered = s.sequences * c->hidden * e;
    s.logits = s.sequences * c->vocab * (int64_t)sizeof(float);
    s.angles = (int64_t)o->max_length * (c->size / 2) * (int64_t)sizeof(float);
    llm__layout(&l, s.rows, s.sequences, s.stride);
    llm__layout_draws(&l, 2 * s.sequences, s.sequences, s.sequences, c->vocab);
    s.in = (int64_t)l.end;
    s.drawn = s.sequences * (int64_t)sizeof(int32_t);
    s.attention = attention_bytes(c, o, &s);
    s.q4 = q4_bytes(c, o, s.rows);
    s.sample =
        o->device != NULL
            ? (int64_t)o->device->k->sample_scratch(o->device->c, s.sequences, c->vocab)
            : s.logits;
    s.edits = LLM_EDITS * (int64_t)sizeof(struct kernel_edit);
    *ret = s;
}

struct kernel_decoder llm__decoder_shape(const struct llm_config *c,
                                         enum kernel_type type)
{
    return (struct kernel_decoder){.type = type,
                                   .layers = c->layers,
                                   .heads = c->heads,
                                   .kv_heads = c->kv_heads,
                                   .size = c->size,
                                   .hidden = c->hidden,
                                   .inner = c->inner};
}

/* What a GPU's kernels have for themselves. Without one: what an H200's have. */
static int64_t own_bytes(const struct llm_memory_ask *ask)
{
    const struct llm_config *c = ask->config;
    const struct llm_model_options *o = &ask->options;
    const struct kernel_decoder_layer layer = {.qkv.group = c->bits > 0 ? c->group : 0};
    struct kernel_decoder shape = llm__decoder_shape(c, o->type);
    const struct kernel_decoder *d = o->eager || o->apart ? NULL : &shape;
    shape.layer = &layer;
    if (o->device == NULL)
        return (int64_t)cuda_own_bytes(d, SMS, 90);
    if (o->device->k->own_bytes == NULL)
        return 0;
    return (int64_t)o->device->k->own_bytes(o->device->c, d);
}

/* --- the plan --- */

static void add(struct llm_memory *m, const char *name, int64_t bytes)
{
    rwf_assert(m->count < LLM_MEMORY_ROWS);
    m->rows[m->count++] = (struct llm_memory_row){name, bytes};
    m->bytes += bytes;
}

static void add_fixed(const struct llm_memory_ask *ask, struct llm_memory *m)
{
    const struct llm_config *c = ask->config;
    struct llm_weight_sizes w;
    struct llm_sizes s;
    llm__weight_sizes(c, ask->options.type, ask->options.device, &w);
    llm__sizes(c, &ask->options, &s);
    add(m, "weights: embedding", w.embedding);
    if (w.head > 0)
        add(m, "weights: lm_head", w.head);
    add(m, "weights: layers", w.layers);
    add(m, "activations: residual stream", 3 * aligned(s.x) + aligned(s.stats));
    add(m, "activations: a layer", aligned(s.layer));
    add(m, "activations: last tokens", 3 * aligned(s.gathered));
    add(m, "logits", aligned(s.logits));
    add(m, "positions, inputs",
        2 * aligned(s.angles) + aligned(s.in) + aligned(s.drawn) + aligned(s.edits));
    add(m, "workspace of kernels",
        aligned(s.attention) + aligned(s.q4) + aligned(s.sample));
    if (!ask->host)
        add(m, "kernels themselves", own_bytes(ask));
    if (!ask->host && !ask->options.eager)
        add(m, "recorded steps", RECORDED);
}

/* No more than all sequences could ever fill, but what prefixes gain by. */
static int64_t host_cache(const struct llm_memory_ask *ask, int64_t block)
{
    const struct llm_model_options *o = &ask->options;
    int64_t each = (o->max_length + KERNEL_BLOCK - 1) / KERNEL_BLOCK * block;
    return most(each, HOST_CACHE);
}

static void add_cache(const struct llm_memory_ask *ask, struct llm_memory *m)
{
    const struct llm_config *c = ask->config;
    const struct llm_model_options *o = &ask->options;
    m->block = (int64_t)2 * c->layers * c->kv_heads * c->size * KERNEL_BLOCK *
               (int64_t)kernel_size(o->type);
    m->budget = (int64_t)(o->memory_share * (double)ask->total);
    if (m->budget > ask->free)
        m->budget = ask->free;
    int64_t room = o->cache_bytes > 0 ? o->cache_bytes : m->budget - m->bytes;
    if (o->cache_bytes > 0)
        m->budget = m->bytes + o->cache_bytes;
    else if (ask->host && room > host_cache(ask, m->block))
        room = host_cache(ask, m->block);
    int64_t blocks = room > 0 ? room / m->block : 0;
    if (blocks > INT32_MAX / KERNEL_BLOCK)
        blocks = INT32_MAX / KERNEL_BLOCK;
    m->blocks = (int)blocks;
    m->tokens = blocks * KERNEL_BLOCK;
    m->longest = m->tokens < o->max_length ? (int)m->tokens : o->max_length;
    add(m, "KV cache", blocks * m->block);
}

static int refuse(const struct llm_memory_ask *ask, const struct llm_memory *m,
                  struct rwf_err *err)
{
    char size[RWF_UNITS_LEN];
    struct rwf_str s = {0};
    int64_t fixed = m->bytes - m->rows[m->count - 1].bytes;
    int64_t cache =
        (ask->options.max_length + KERNEL_BLOCK - 1) / KERNEL_BLOCK * m->block;
    rwf_str_addf(&s, "%s: one sequence of max_model_len %d needs a KV cache of %s",
                 ask->device, ask->options.max_length, rwf_size_format(cache, size));
    int64_t room = m->budget - fixed;
    rwf_str_addf(&s, ", and there is room for %s (%lld tokens)",
                 rwf_size_format(room > 0 ? room : 0, size), (long long)m->tokens);
    rwf_str_addf(&s, ". Of %s", rwf_size_format(m->budget, size));
    for (int i = 0; i + 1 < m->count; i++)
        rwf_str_addf(&s, "%s %s: %s", i > 0 ? "," : " take", m->rows[i].name,
                     rwf_size_format(m->rows[i].bytes, size));
    if (m->longest > 0)
        rwf_str_addf(&s, ". Lower max_model_len to at most %d", m->longest);
    else
        rwf_str_add(&s,
                    ". Lower max_num_batched_tokens or max_num_seqs, take a quantised "
                    "model");
    rwf_str_addf(&s, ", or raise %s",
                 ask->options.cache_bytes > 0 ? "kv_cache_memory_bytes"
                                              : "gpu_memory_utilization");
    rwf_fail(err, RWF_E_FIT, "%s", s.data);
    rwf_str_free(&s);
    return -1;
}

int llm_memory_plan(const struct llm_memory_ask *ask, struct llm_memory *ret,
                    struct rwf_err *err)
{
    memset(ret, 0, sizeof(*ret));
    add_fixed(ask, ret);
    add_cache(ask, ret);
    return ret->longest < ask->options.max_length ? refuse(ask, ret, err) : 0;
}

json_t *llm_memory_json(const struct llm_memory *m)
{
    json_t *list = json_array();
    for (int i = 0; i < m->count; i++)
        json_array_append_new(list, json_pack("{s:s, s:I}", "name", m->rows[i].name,
                                              "bytes", (json_int_t)m->rows[i].bytes));
    return list;
}
