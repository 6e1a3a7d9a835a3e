/* SPDX-License-Identifier: Apache-2.0
 *
 * Goes through a checkpoint tensor by tensor: products of layers are quantised by all
 * cores and written in AWQ's arrays, everything else is copied. The memory it takes is
 * one matrix's.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "base/str.h"
#include "llm/quantize.h"
#include "llm/quantize_scale.h"
#include "llm/weights.h"

#define THREADS_MAX 64
#define FILE_MAX ((size_t)256 << 20)

/* --- one matrix --- */

struct matrix {
    const struct safetensors_entry *from; /* [n, k] */
    int64_t n, k;
    int group;
    uint32_t *words, *zeros; /* [k, n / 8], [k / group, n / 8] */
    uint16_t *scales;        /* [k / group, n] */
    const float *factors;    /* [k] that inputs' weights are multiplied with, or NULL */
    atomic_llong next;       /* columns of words that are given out */
};

/* Row `row` of the matrix is column row of AWQ's arrays. */
static void quantise_row(struct matrix *m, int64_t row, const float *w, uint32_t *words,
                         uint32_t *zeros)
{
    int shift = 4 * llm__awq_nibble[row % 8];
    uint8_t q[128], zero;
    for (int64_t g = 0; g < m->k / m->group; g++) {
        llm__quantize_group(w + g * m->group, m->group, q, &zero,
                            &m->scales[g * m->n + row]);
        zeros[g] |= (uint32_t)zero << shift;
        for (int i = 0; i < m->group; i++)
            words[g * m->group + i] |= (uint32_t)q[i] << shift;
    }
}

/* Eight rows fill one word of each input. */
static void quantise_column(struct matrix *m, int64_t column, float *w, uint32_t *words)
{
    int64_t width = m->n / 8, groups = m->k / m->group;
    uint32_t *zeros = words + m->k;
    memset(words, 0, (size_t)(m->k + groups) * sizeof(*words));
    for (int64_t row = column * 8; row < column * 8 + 8; row++) {
        int rc = safetensors_floats(m->from, row * m->k, m->k, w, NULL);
        rwf_assert(rc == 0); /* its type was checked */
        for (int64_t i = 0; m->factors != NULL && i < m->k; i++)
            w[i] *= m->factors[i];
        quantise_row(m, row, w, words, zeros);
    }
    for (int64_t i = 0; i < m->k; i++)
        m->words[i * width + column] = words[i];
    for (int64_t g = 0; g < groups; g++)
        m->zeros[g * width + column] = zeros[g];
}

static void *quantise_some(void *arg)
{
    struct matrix *m = arg;
    float *w = rwf_xmalloc((size_t)m->k * sizeof(*w));
    uint32_t *words = rwf_xmalloc((size_t)(m->k + m->k / m->group) * sizeof(*words));
    for (;;) {
        int64_t column = atomic_fetch_add(&m->next, 1);
        if (column >= m->n / 8)
            break;
        quantise_column(m, column, w, words);
    }
    free(words);
    free(w);
    return NULL;
}

static void quantise(struct matrix *m)
{
    pthread_t threads[THREADS_MAX];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int wanted = cores > THREADS_MAX ? THREADS_MAX
                 : cores < 1         ? 1
                                     : (int)cores,
        started = 0;
    atomic_store(&m->next, 0);
    while (started < wanted - 1 &&
           pthread_create(&threads[started], NULL, quantise_some, m) == 0)
        started++;
    quantise_some(m);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

/* --- the file --- */

struct work {
    const struct llm_quantize *q;
    int group;
    struct llm_config config;
    struct safetensors *from;
    struct llm_parts parts;
    struct llm_weights weights;
    struct safetensors_writer *to;
    struct matrix matrix; /* with room for the largest */
    struct llm_inputs inputs;
    float
        *factors[2]; /* of the layer at hand: its attention's, its MLP's; NULL: none */
    int layer;
};

static bool is_product(const struct llm_part *p)
{
    return p->dims == 2 && rwf_starts_with(p->name, "model.layers.");
}

static int declare_product(struct work *w, const struct llm_part *p,
                           struct rwf_err *err)
{
    int64_t n = p->shape[0], k = p->shape[1], groups = k / w->group;
    const int64_t shapes[3][2] = {{k, n / 8}, {groups, n / 8}, {groups, n}};
    static const char *const suffixes[] = {"qweight", "qzeros", "scales"};
    static const enum safetensors_type types[] = {SAFETENSORS_I32, SAFETENSORS_I32,
                                                  SAFETENSORS_F16};
    int rc = 0;
    for (int i = 0; i < 3 && rc == 0; i++) {
        char *name = rwf_xasprintf("%.*s%s", (int)(strlen(p->name) - strlen("weight")),
                                   p->name, suffixes[i]);
        rc = safetensors_declare(w->to, name, types[i], 2, shapes[i], err);
        free(name);
    }
    return rc;
}

static int declare(struct work *w, struct rwf_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < w->parts.count && rc == 0; i++) {
        const struct llm_part *p = &w->parts.items[i];
        rc = is_product(p) ? declare_product(w, p, err)
                           : safetensors_declare(w->to, p->name, p->plain->type,
                                                 p->plain->dims, p->plain->shape, err);
    }
    return rc;
}

static int write_product(struct work *w, const struct llm_part *p, struct rwf_err *err)
{
    struct matrix *m = &w->matrix;
    m->from = p->plain;
    m->n = p->shape[0];
    m->k = p->shape[1];
    m->group = w->group;
    quantise(m);
    size_t words = (size_t)(m->k * (m->n / 8)) * sizeof(*m->words);
    size_t groups = (size_t)(m->k / m->group);
    if (safetensors_write(w->to, m->words, words, err) != 0 ||
        safetensors_write(w->to, m->zeros,
                          groups * (size_t)(m->n / 8) * sizeof(*m->zeros), err) != 0)
        return -1;
    return safetensors_write(w->to, m->scales,
                             groups * (size_t)m->n * sizeof(*m->scales), err);
}

/* The parts of a layer, in the order of weights.c. */
enum { NORM1, NORM2, Q_NORM, K_NORM, Q, K, V, O, GATE, UP, DOWN, LAYER_PARTS };

static int place_in_layer(const struct work *w, size_t i)
{
    bool in = i >= 1 && i < 1 + (size_t)w->config.layers * LAYER_PARTS;
    return in ? (int)((i - 1) % LAYER_PARTS) : -1;
}

/* At a layer's first part. */
static void choose_factors(struct work *w, const struct llm_part *first)
{
    const struct safetensors_entry *const attention[] = {first[Q].plain, first[K].plain,
                                                         first[V].plain};
    const struct safetensors_entry *const mlp[] = {first[GATE].plain, first[UP].plain};
    const float *squares = w->inputs.squares + 2 * w->layer++ * w->config.hidden;
    llm__factors_choose(first[NORM1].plain, attention, 3, squares, w->group,
                        w->factors[0]);
    llm__factors_choose(first[NORM2].plain, mlp, 2, squares + w->config.hidden,
                        w->group, w->factors[1]);
}

static int write_norm(struct work *w, const struct llm_part *p, const float *factors,
                      struct rwf_err *err)
{
    void *divided = rwf_xmalloc(p->plain->bytes);
    llm__norm_divide(p->plain, factors, divided);
    int rc = safetensors_write(w->to, divided, p->plain->bytes, err);
    free(divided);
    return rc;
}

static int write_part(struct work *w, size_t i, struct rwf_err *err)
{
    const struct llm_part *p = &w->parts.items[i];
    int place = place_in_layer(w, i);
    if (w->factors[0] != NULL && place == NORM1)
        choose_factors(w, p);
    if (w->factors[0] != NULL && (place == NORM1 || place == NORM2))
        return write_norm(w, p, w->factors[place == NORM2], err);
    if (!is_product(p))
        return safetensors_write(w->to, p->plain->data, p->plain->bytes, err);
    w->matrix.factors = place >= Q && place <= V       ? w->factors[0]
                        : place == GATE || place == UP ? w->factors[1]
                                                       : NULL;
    return write_product(w, p, err);
}

static int write_parts(struct work *w, struct rwf_err *err)
{
    int64_t done = 0;
    for (size_t i = 0; i < w->parts.count; i++) {
        const struct llm_part *p = &w->parts.items[i];
        if (write_part(w, i, err) != 0)
            return -1;
        done += p->shape[0] * p->shape[1] * (int64_t)kernel_size(w->config.type);
        if (w->q->progress != NULL)
            w->q->progress(w->q->ctx, (double)done / (double)w->parts.bytes);
    }
    return 0;
}

static int make_room(struct work *w, struct rwf_err *err)
{
    int64_t most = 0;
    for (size_t i = 0; i < w->parts.count; i++) {
        const struct llm_part *p = &w->parts.items[i];
        int64_t size = p->shape[0] * p->shape[1];
        if (is_product(p) && size > most)
            most = size;
    }
    struct matrix *m = &w->matrix;
    m->words = rwf_alloc((size_t)most / 2, err);
    m->zeros = m->words != NULL ? rwf_alloc((size_t)(most / w->group), err) : NULL;
    m->scales = m->zeros != NULL ? rwf_alloc((size_t)(most / w->group) * 2, err) : NULL;
    return m->scales != NULL ? 0 : -1;
}

static int write_file(struct work *w, struct rwf_err *err)
{
    char *path = rwf_fs_join(w->q->to, "model.safetensors");
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    int rc = -1;
    w->to = safetensors_create(path, metadata, err);
    if (w->to != NULL && declare(w, err) == 0 && make_room(w, err) == 0)
        rc = write_parts(w, err);
    if (w->to != NULL && rc != 0)
        safetensors_abort(w->to);
    else if (w->to != NULL)
        rc = safetensors_finish(w->to, NULL, err);
    free(w->matrix.words);
    free(w->matrix.zeros);
    free(w->matrix.scales);
    json_decref(metadata);
    free(path);
    return rc;
}

/* --- the other files --- */

static int write_config(const struct work *w, struct rwf_err *err)
{
    json_t *config = rwf_read_json(w->q->from, "config.json", false, err);
    if (config == NULL)
        return -1;
    json_object_set_new(config, "quantization_config",
                        json_pack("{s:i, s:i, s:n, s:s, s:s, s:b}", "bits", 4,
                                  "group_size", w->group, "modules_to_not_convert",
                                  "quant_method", "awq", "version", "gemm",
                                  "zero_point", 1));
    char *path = rwf_fs_join(w->q->to, "config.json");
    char *text = json_dumps(config, JSON_INDENT(2));
    int rc = rwf_fs_write(path, text, strlen(text), true, err);
    free(text);
    free(path);
    json_decref(config);
    return rc;
}

static int copy(const struct work *w, const char *name, struct rwf_err *err)
{
    char *from = rwf_fs_join(w->q->from, name), *to = rwf_fs_join(w->q->to, name);
    size_t len = 0;
    int rc = 0;
    if (rwf_fs_exists(from)) {
        char *bytes = rwf_fs_read(from, FILE_MAX, &len, err);
        rc = bytes == NULL ? -1 : rwf_fs_write(to, bytes, len, true, err);
        free(bytes);
    }
    free(from);
    free(to);
    return rc;
}

static int copy_all(const struct work *w, struct rwf_err *err)
{
    static const char *const names[] = {"generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "chat_template.jinja",
                                        "added_tokens.json",
                                        "special_tokens_map.json",
                                        "LICENSE"};
    for (size_t i = 0; i < RWF_COUNT(names); i++)
        if (copy(w, names[i], err) != 0)
            return -1;
    return write_config(w, err);
}

/* --- all of it --- */

static int check(const struct work *w, struct rwf_err *err)
{
    const struct llm_config *c = &w->config;
    const int64_t sizes[] = {c->hidden, c->inner, (int64_t)c->heads * c->size,
                             (int64_t)c->kv_heads * c->size};
    static const char *const names[] = {"hidden_size", "intermediate_size",
                                        "num_attention_heads * head_dim",
                                        "num_key_value_heads * head_dim"};
    if (c->bits > 0)
        return rwf_fail(err, RWF_E_INPUT, "'%s' is quantised already", w->q->from);
    if (w->group != 32 && w->group != 64 && w->group != 128)
        return rwf_fail(err, RWF_E_RECIPE, "group_size %d: 128, 64 and 32 are done",
                        w->group);
    for (size_t i = 0; i < RWF_COUNT(sizes); i++) {
        int64_t of =
            i == 3 || w->group < 64 ? 64 : w->group; /* the kernels' and the group's */
        if (sizes[i] % of != 0)
            return rwf_fail(
                err, RWF_E_INPUT,
                "'%s': %s is %lld, which is no multiple of %lld: it cannot be "
                "quantised in groups of %d",
                w->q->from, names[i], (long long)sizes[i], (long long)of, w->group);
    }
    return 0;
}

static int calibrate(struct work *w, struct rwf_err *err)
{
    const struct llm_quantize *q = w->q;
    if (q->calibration_count == 0)
        return 0;
    for (int i = 0; i < q->calibration_count; i++)
        if (q->calibration[i] < 0 || q->calibration[i] >= w->config.vocab)
            return rwf_fail(err, RWF_E_INPUT,
                            "the text for calibration has the id %d, the "
                            "model's vocabulary ends at %lld",
                            q->calibration[i], (long long)w->config.vocab - 1);
    for (int i = 0; i < 2; i++)
        w->factors[i] = rwf_xcalloc((size_t)w->config.hidden, sizeof(float));
    return llm__inputs_measure(q->from, &w->config, q->calibration,
                               q->calibration_count, &w->inputs, err);
}

int llm_quantize(const struct llm_quantize *q, struct rwf_err *err)
{
    struct work w = {.q = q, .group = q->group > 0 ? q->group : 128};
    int rc = -1;
    if (llm_config_read(q->from, &w.config, err) != 0 || check(&w, err) != 0)
        return -1;
    llm__parts_list(&w.parts, &w.weights, &w.config, w.config.type, NULL);
    w.from = safetensors_open(q->from, err);
    if (w.from != NULL && llm__parts_bind(&w.parts, w.from, &w.config, err) == 0 &&
        calibrate(&w, err) == 0 && rwf_fs_mkdirs(q->to, err) == 0 &&
        write_file(&w, err) == 0)
        rc = copy_all(&w, err);
    free(w.inputs.squares);
    free(w.factors[0]);
    free(w.factors[1]);
    safetensors_close(w.from);
    llm__parts_free(&w.parts);
    free(w.weights.layers);
    return rc;
}
