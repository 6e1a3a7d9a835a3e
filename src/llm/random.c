/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams random tensors to disk: threads make the next pieces while the last ones are
 * written. The same seed gives the same file.
 */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "llm/random.h"
#include "llm/random_tokens.h"
#include "llm/weights.h"
#include "model/model.h"

#define PIECE (1 << 21) /* elements, or words */
#define THREADS_MAX 16

/* --- config.json --- */

static void say_quantised(json_t *config, int group)
{
    json_object_set_new(config, "quantization_config",
                        json_pack("{s:i, s:i, s:n, s:s, s:s, s:b}", "bits", 4,
                                  "group_size", group, "modules_to_not_convert",
                                  "quant_method", "awq", "version", "gemm",
                                  "zero_point", 1));
}

static json_t *make_config(const struct llm_random *o, struct rwf_err *err)
{
    json_t *config = model_config(o->model, 0, err);
    if (config == NULL)
        return NULL;
    int64_t vocab = json_integer_value(json_object_get(config, "vocab_size"));
    json_object_set_new(config, "torch_dtype", json_string("bfloat16"));
    json_object_set_new(config, "dtype", json_string("bfloat16"));
    if (vocab >= LLM_RANDOM_VOCAB)
        json_object_set_new(config, "eos_token_id",
                            json_integer(llm__random_end(vocab)));
    if (o->awq)
        say_quantised(config, o->group > 0 ? o->group : 128);
    return config;
}

static int write_json(const char *folder, const char *name, const json_t *v,
                      struct rwf_err *err)
{
    char *path = rwf_fs_join(folder, name), *text = json_dumps(v, JSON_INDENT(2));
    int rc = rwf_fs_write(path, text, strlen(text), false, err);
    free(text);
    free(path);
    return rc;
}

static int write_tokenizer(const char *folder, int64_t vocab, struct rwf_err *err)
{
    if (vocab < LLM_RANDOM_VOCAB)
        return 0;
    json_t *t = llm__random_tokenizer(vocab);
    json_t *g = json_pack("{s:b, s:f, s:f, s:i, s:[I]}", "do_sample", 1, "temperature",
                          0.6, "top_p", 0.95, "top_k", 20, "eos_token_id",
                          (json_int_t)llm__random_end(vocab));
    int rc = write_json(folder, "tokenizer.json", t, err);
    if (rc == 0)
        rc = write_json(folder, "generation_config.json", g, err);
    json_decref(t);
    json_decref(g);
    return rc;
}

/* --- tensors --- */

enum kind { FLOATS, WORDS, ZEROS, SCALES };

struct tensor {
    const struct llm_part *part;
    enum kind kind;
    int64_t count; /* of elements: bf16, words, or scales */
};

struct piece {
    const struct llm_parts *all;
    const struct tensor *tensor;
    int64_t first, count;
    uint64_t seed;
    void *to;
};

struct random_file {
    struct safetensors_writer *w;
    struct llm_parts parts;
    struct llm_weights weights;
    struct tensor *tensors;
    size_t count, cap;
    uint64_t seed;
};

static void *make_piece(void *arg)
{
    struct piece *p = arg;
    const struct llm_part *part = p->tensor->part;
    uint64_t seed =
        llm__part_seed(p->all, part, p->first) ^ p->seed * 0x9e3779b97f4a7c15;
    if (p->tensor->kind == FLOATS)
        llm__invent(seed, part->dims == 1 ? 0 : LLM_INVENTED_DEVIATION, p->count,
                    KERNEL_BF16, p->to);
    else if (p->tensor->kind == WORDS)
        llm__invent_words(seed, p->count, p->to);
    else if (p->tensor->kind == ZEROS)
        memset(p->to, LLM_INVENTED_ZERO, (size_t)p->count * sizeof(uint32_t));
    else
        for (int64_t i = 0; i < p->count; i++)
            ((uint16_t *)p->to)[i] = LLM_INVENTED_SCALE;
    return NULL;
}

static size_t element(enum kind kind)
{
    return kind == WORDS || kind == ZEROS ? sizeof(uint32_t) : sizeof(uint16_t);
}

static int declare(struct random_file *f, const struct llm_part *p, enum kind kind,
                   const char *suffix, int64_t rows, int64_t columns,
                   struct rwf_err *err)
{
    static const enum safetensors_type types[] = {SAFETENSORS_BF16, SAFETENSORS_I32,
                                                  SAFETENSORS_I32, SAFETENSORS_F16};
    const int64_t shape[] = {rows, columns};
    char *name = rwf_xasprintf("%s%s", p->name, suffix);
    *RWF_PUSH(f->tensors, f->count, f->cap) = (struct tensor){p, kind, rows * columns};
    int rc = safetensors_declare(f->w, name, types[kind], p->dims, shape, err);
    free(name);
    return rc;
}

static int declare_part(struct random_file *f, const struct llm_part *p,
                        struct rwf_err *err)
{
    int64_t n = p->shape[0], k = p->shape[1];
    if (p->q4 == NULL)
        return declare(f, p, FLOATS, "", n, k, err);
    int64_t groups = k / p->q4->q4.group;
    if (declare(f, p, WORDS, ".qweight", k, n / 8, err) != 0 ||
        declare(f, p, ZEROS, ".qzeros", groups, n / 8, err) != 0)
        return -1;
    return declare(f, p, SCALES, ".scales", groups, n, err);
}

/* Up to `most` pieces of tensor from `first` on, made by a thread each. */
static int make_pieces(struct random_file *f, const struct tensor *t, int64_t first,
                       struct piece *pieces, int most)
{
    pthread_t threads[THREADS_MAX];
    bool started[THREADS_MAX];
    int n = 0;
    for (; n < most && first < t->count; n++) {
        struct piece *p = &pieces[n];
        p->all = &f->parts;
        p->tensor = t;
        p->seed = f->seed;
        p->first = first;
        p->count = t->count - first < PIECE ? t->count - first : PIECE;
        first += p->count;
        started[n] =
            p->count == PIECE && pthread_create(&threads[n], NULL, make_piece, p) == 0;
        if (!started[n])
            make_piece(p);
    }
    for (int i = 0; i < n; i++)
        if (started[i])
            pthread_join(threads[i], NULL);
    return n;
}

static int write_tensor(struct random_file *f, const struct tensor *t,
                        struct piece *pieces, int most, struct rwf_err *err)
{
    for (int64_t first = 0; first < t->count;) {
        int n = make_pieces(f, t, first, pieces, most);
        for (int i = 0; i < n; i++) {
            first += pieces[i].count;
            if (safetensors_write(f->w, pieces[i].to,
                                  (size_t)pieces[i].count * element(t->kind), err) != 0)
                return -1;
        }
    }
    return 0;
}

static int write_tensors(struct random_file *f, struct rwf_err *err)
{
    struct piece pieces[THREADS_MAX] = {{0}};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int most = cores < 1 ? 1 : cores > THREADS_MAX ? THREADS_MAX : (int)cores, rc = 0;
    for (int i = 0; i < most; i++)
        pieces[i].to = rwf_xmalloc((size_t)PIECE * sizeof(uint32_t));
    for (size_t i = 0; i < f->parts.count && rc == 0; i++)
        rc = declare_part(f, &f->parts.items[i], err);
    for (size_t i = 0; i < f->count && rc == 0; i++)
        rc = write_tensor(f, &f->tensors[i], pieces, most, err);
    for (int i = 0; i < most; i++)
        free(pieces[i].to);
    return rc;
}

static int write_weights(const char *folder, uint64_t seed, struct rwf_err *err)
{
    struct random_file f = {.seed = seed};
    struct llm_config c;
    int rc = -1;
    if (llm_config_read(folder, &c, err) != 0)
        return -1;
    char *path = rwf_fs_join(folder, "model.safetensors");
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    llm__parts_list(&f.parts, &f.weights, &c, KERNEL_BF16, NULL);
    f.w = safetensors_create(path, metadata, err);
    if (f.w != NULL)
        rc = write_tensors(&f, err);
    if (f.w != NULL && rc != 0)
        safetensors_abort(f.w);
    else if (f.w != NULL)
        rc = safetensors_finish(f.w, NULL, err);
    llm__parts_free(&f.parts);
    free(f.weights.layers);
    free(f.tensors);
    json_decref(metadata);
    free(path);
    return rc;
}

int llm_random_model(const char *folder, const struct llm_random *o,
                     struct rwf_err *err)
{
    json_t *config = make_config(o, err);
    int rc = -1;
    if (config == NULL)
        return -1;
    int64_t vocab = json_integer_value(json_object_get(config, "vocab_size"));
    if (rwf_fs_mkdirs(folder, err) == 0 &&
        write_json(folder, "config.json", config, err) == 0 &&
        write_tokenizer(folder, vocab, err) == 0)
        rc = o->empty ? 0 : write_weights(folder, o->seed, err);
    json_decref(config);
    return rc;
}
