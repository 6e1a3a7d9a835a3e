/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens a model: plans its memory, loads its weights, allocates the buffers of a step
 * and the cache, which gets what is left.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "llm/model_inside.h"

int llm_model_blocks(const struct llm_model *m)
{
    return m->memory.blocks;
}

json_t *llm_model_memory(const struct llm_model *m)
{
    return llm_memory_json(&m->memory);
}

/* --- opening --- */

static int plan(struct llm_model *m, struct rwf_err *err)
{
    struct device *d = m->d;
    d->k->info(d->c, &d->info);
    const struct llm_memory_ask ask = {
        .config = &m->config,
        .options = m->o,
        .device = d->info.name,
        .total = (int64_t)d->info.total,
        .free = (int64_t)d->info.free,
        .host = device_is_host(d),
    };
    llm__sizes(&m->config, &m->o, &m->sizes);
    return llm_memory_plan(&ask, &m->memory, err);
}

static int carve(struct llm_model *m, struct rwf_err *err)
{
    const struct llm_sizes *s = &m->sizes;
    struct llm_buffers *b = &m->b;
    const struct block_row rows[] = {
        {"activations: residual stream", (size_t)s->x, &b->x},
        {"activations: normed", (size_t)s->x, &b->normed},
        {"activations: products", (size_t)s->x, &b->delta},
        {"activations: a layer", (size_t)s->layer, (void **)&b->layer},
        {"activations: norms", (size_t)s->stats, (void **)&b->stats},
        {"last tokens", (size_t)s->gathered, &b->some},
        {"last tokens: products", (size_t)s->gathered, &b->some_delta},
        {"last tokens: normed", (size_t)s->gathered, &b->some_normed},
        {"logits", (size_t)s->logits, (void **)&b->logits},
        {"cosines", (size_t)s->angles, (void **)&b->cosine},
        {"sines", (size_t)s->angles, (void **)&b->sine},
        {"inputs", (size_t)s->in, (void **)&b->in},
        {"ids", (size_t)s->drawn, (void **)&b->drawn},
        {"workspace of products", (size_t)s->q4, &b->q4},
        {"workspace of sampling", (size_t)s->sample, &b->sample},
    };
    m->block = block_carve(m->d, rows, RWF_COUNT(rows),
                           "lower max_num_batched_tokens or max_num_seqs", err);
    return m->block != NULL ? 0 : -1;
}

/* What may grow later, and the cache. */
static int allocate(struct llm_model *m, struct rwf_err *err)
{
    int64_t cache = m->memory.block * m->memory.blocks;
    m->attention_bytes = m->sizes.attention;
    m->edit_room = LLM_EDITS;
    m->attention = device_alloc(m->d, (size_t)m->attention_bytes,
                                "the workspace of attention", err);
    if (m->attention != NULL)
        m->edits = device_alloc(m->d, (size_t)m->sizes.edits, "penalties", err);
    if (m->edits != NULL)
        m->cache = device_alloc(m->d, (size_t)cache, "the KV cache", err);
    return m->cache != NULL ? 0 : -1;
}

static int put_angles(struct llm_model *m, struct rwf_err *err)
{
    size_t bytes = (size_t)m->sizes.angles;
    float *both = rwf_alloc(2 * bytes, err);
    if (both == NULL)
        return -1;
    float *sine = both + bytes / sizeof(*both);
    llm__angles(&m->config, m->o.max_length, both, sine);
    m->d->k->upload(m->d->c, m->b.cosine, both, bytes);
    m->d->k->upload(m->d->c, m->b.sine, sine, bytes);
    int rc = device_sync(m->d, err);
    free(both);
    return rc;
}

static int make_step(struct llm_model *m, struct llm_step *s, struct rwf_err *err)
{
    const struct kernels *k = m->d->k;
    s->rows = rwf_xcalloc((size_t)m->sizes.sequences, sizeof(*s->rows));
    s->in = k->alloc_host(m->d->c, (size_t)m->sizes.in);
    s->drawn = k->alloc_host(m->d->c, (size_t)m->sizes.drawn);
    if (s->in == NULL || s->drawn == NULL)
        return rwf_fail(err, RWF_E_FIT, "no host memory for %lld bytes of inputs",
                        (long long)m->sizes.in);
    memset(s->in, 0, (size_t)m->sizes.in);
    return 0;
}

/* heads and sizes that a device's kernels do not take are refused before anything is
 * loaded. */
static int check_device(const struct llm_model *m, struct rwf_err *err)
{
    if (strcmp(m->d->k->name, "cuda") == 0 && m->config.size != 64 &&
        m->config.size != 128)
        return rwf_fail(
            err, RWF_E_INPUT,
            "head_dim is %d: on a GPU 64 and 128 are served; device cpu does others",
            m->config.size);
    return 0;
}

static int open_model(struct llm_model *m, const char *folder, struct rwf_err *err)
{
    if (llm_options_complete(&m->o, &m->config, err) != 0 ||
        check_device(m, err) != 0 || plan(m, err) != 0)
        return -1;
    if (llm__weights_load(&m->weights, folder, &m->config, &m->o, err) != 0 ||
        carve(m, err) != 0 || allocate(m, err) != 0 || put_angles(m, err) != 0)
        return -1;
    llm__decoder_open(m);
    for (int i = 0; i < 2; i++)
        if (make_step(m, &m->steps[i], err) != 0)
            return -1;
    return 0;
}

struct llm_model *llm_model_open(const char *folder, const struct llm_config *config,
                                 const struct llm_model_options *o, struct rwf_err *err)
{
    struct llm_model *m = rwf_xcalloc(1, sizeof(*m));
    m->config = *config;
    m->o = *o;
    m->d = o->device;
    if (open_model(m, folder, err) == 0)
        return m;
    llm_model_close(m);
    return NULL;
}

/* --- closing --- */

static void free_step(struct llm_model *m, struct llm_step *s)
{
    void *host[] = {s->in, s->drawn, s->logits, s->states, s->edit};
    for (size_t i = 0; i < RWF_COUNT(host); i++)
        if (host[i] != NULL)
            m->d->k->free_host(m->d->c, host[i]);
    free(s->rows);
    free(s->logprobs);
}

void llm_model_close(struct llm_model *m)
{
    if (m == NULL)
        return;
    device_sync(m->d, NULL);
    llm__recorded_free(m);
    for (int i = 0; i < 2; i++)
        free_step(m, &m->steps[i]);
    if (m->decoder != NULL)
        m->d->k->decoder_close(m->d->c, m->decoder);
    void *device[] = {m->cache, m->edits, m->attention, m->block};
    for (size_t i = 0; i < RWF_COUNT(device); i++)
        if (device[i] != NULL)
            m->d->k->free(m->d->c, device[i]);
    llm__weights_free(&m->weights, m->d);
    free(m->recorded);
    free(m);
}
