/* SPDX-License-Identifier: Apache-2.0
 *
 * A checkpoint that answers. Its weights are whole, as floats, on one device; a forward
 * pass is the very one of training's evaluation.
 */
#include "config.h"
#include "serve/class_model.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "model/model.h"
#include "serve/error_body.h"
#include "tensor/safetensors.h"

#define CONFIG_MAX (16 << 20)

struct serve_model {
    struct device device;
    struct features *features;
    struct model *model;
    float **units;         /* on the device */
    float *input, *output; /* device's input and the host's output; NULL: in place */
    struct serve__rows rows;
    struct serve__replies replies;
    struct body {
        int first, count; /* rows */
        enum serve__rows_shape shape;
        size_t from, end; /* of the text */
        int status;
    } *bodies;
    size_t body_cap;
};

/* --- opening --- */

static json_t *read_config(const char *folder, struct rwf_err *err)
{
    size_t len;
    json_error_t why;
    char *path = rwf_fs_join(folder, "config.json");
    char *text = rwf_fs_read(path, CONFIG_MAX, &len, err);
    json_t *config = text != NULL ? json_loadb(text, len, 0, &why) : NULL;
    if (text != NULL && config == NULL)
        rwf_fail(err, RWF_E_INPUT, "%s:%d: %s", path, why.line, why.text);
    free(text);
    free(path);
    return config;
}

static int create_model(struct serve_model *m, const char *folder, struct rwf_err *err)
{
    json_t *config = read_config(folder, err);
    if (config == NULL)
        return -1;
    const char *type = json_string_value(json_object_get(config, "model_type"));
    if (type != NULL && strcmp(type, "mlp") != 0)
        rwf_fail(
            err, RWF_E_INPUT,
            "%s is a language model (model_type %s), which takes text and no rows: "
            "serve it with api: openai",
            folder, type);
    else
        m->model = model_create(config, err);
    json_decref(config);
    return m->model != NULL ? 0 : -1;
}

static int open_features(struct serve_model *m, const char *folder, struct rwf_err *err)
{
    const json_t *config = model_config_json(m->model);
    char *path = rwf_fs_join(folder, "preprocess.json");
    m->features = features_open(path, err);
    free(path);
    if (m->features == NULL)
        return -1;
    int width = (int)json_integer_value(json_object_get(config, "features"));
    int outputs = (int)json_integer_value(json_object_get(config, "outputs"));
    if (width == features_width(m->features) &&
        outputs == features_outputs(m->features))
        return 0;
    return rwf_fail(err, RWF_E_INPUT,
                    "%s: preprocess.json makes %d numbers and %d outputs of a row, the "
                    "model of config.json has %d and %d: they are not of one training",
                    folder, features_width(m->features), features_outputs(m->features),
                    width, outputs);
}

static const struct safetensors_entry *find_entry(const struct serve_model *m, size_t i,
                                                  const struct safetensors *s,
                                                  struct rwf_err *err)
{
    const struct model_param *p = &model_layout(m->model)->params[i];
    const char *alias = model_param_alias(m->model, i);
    const struct safetensors_entry *e = safetensors_find(s, p->name);
    if (e == NULL && alias != NULL)
        e = safetensors_find(s, alias);
    if (e == NULL) {
        rwf_fail(err, RWF_E_INPUT, "model.safetensors has no tensor '%s'", p->name);
        return NULL;
    }
    bool same = e->dims == p->dims;
    for (int d = 0; same && d < p->dims; d++)
        same = e->shape[d] == p->shape[d];
    if (same)
        return e;
    rwf_fail(err, RWF_E_INPUT,
             "model.safetensors: '%s' is of another shape than config.json says",
             p->name);
    return NULL;
}

static int load_param(struct serve_model *m, size_t i, const struct safetensors *s,
                      float *host, struct rwf_err *err)
{
    const struct safetensors_entry *e = find_entry(m, i, s, err);
    if (e == NULL)
        return -1;
    const struct model_param *p = &model_layout(m->model)->params[i];
    return safetensors_floats(e, 0, safetensors_elements(e), host + p->offset, err);
}

static int load_unit(struct serve_model *m, int unit, const struct safetensors *s,
                     struct rwf_err *err)
{
    const struct model_layout *l = model_layout(m->model);
    size_t bytes = (size_t)l->units[unit].count * sizeof(float);
    float *host = rwf_alloc(bytes, err);
    int rc = host != NULL ? 0 : -1;
    if (rc == 0)
        memset(host, 0, bytes);
    for (size_t i = 0; rc == 0 && i < l->param_count; i++)
        if (l->params[i].unit == unit)
            rc = load_param(m, i, s, host, err);
    if (rc == 0) {
        m->units[unit] = device_alloc(&m->device, bytes, "the model's weights", err);
        rc = m->units[unit] != NULL ? 0 : -1;
    }
    if (rc == 0) {
        m->device.k->upload(m->device.c, m->units[unit], host, bytes);
        rc = device_sync(&m->device, err);
    }
    free(host);
    return rc;
}

static int load_weights(struct serve_model *m, const char *folder, struct rwf_err *err)
{
    const struct model_layout *l = model_layout(m->model);
    struct safetensors *s = safetensors_open(folder, err);
    int rc = s != NULL ? 0 : -1;
    m->units = rwf_xcalloc(l->unit_count, sizeof(*m->units));
    for (size_t i = 0; rc == 0 && i < l->unit_count; i++)
        rc = load_unit(m, (int)i, s, err);
    safetensors_close(s);
    return rc;
}

static const void *store_weights(void *ctx, int unit)
{
    return ((struct serve_model *)ctx)->units[unit];
}

static void store_release(void *ctx, int unit)
{
    (void)ctx;
    (void)unit;
}

/* Rows lie in the host's memory, which is the device's where it is the CPU. */
static int begin(struct serve_model *m, struct rwf_err *err)
{
    struct model_run run = {.device = &m->device,
                            .type = KERNEL_F32,
                            .rows = SERVE_MODEL_ROWS,
                            .length = 1};
    struct model_store store = {
        .ctx = m, .weights = store_weights, .release = store_release};
    size_t width = (size_t)features_width(m->features);
    if (model_begin(m->model, &run, &store, err) != 0)
        return rwf_wrap(err, "the activations of %d rows", run.rows);
    if (device_is_host(&m->device))
        return 0;
    m->input = device_alloc(&m->device, SERVE_MODEL_ROWS * width * sizeof(float),
                            "a batch of rows", err);
    return m->input != NULL ? 0 : -1;
}

struct serve_model *serve_model_open(const char *folder, const char *device,
                                     int threads, struct rwf_err *err)
{
    struct serve_model *m = rwf_xcalloc(1, sizeof(*m));
    if (device_open(&m->device, device, 0, threads, err) != 0 ||
        create_model(m, folder, err) != 0 || open_features(m, folder, err) != 0 ||
        load_weights(m, folder, err) != 0 || begin(m, err) != 0) {
        serve_model_close(m);
        return NULL;
    }
    serve__rows_init(&m->rows, m->features);
    serve__replies_init(&m->replies, m->features);
    return m;
}

void serve_model_close(struct serve_model *m)
{
    if (m == NULL)
        return;
    size_t units = m->model != NULL ? model_layout(m->model)->unit_count : 0;
    for (size_t i = 0; m->units != NULL && i < units; i++)
        if (m->units[i] != NULL)
            m->device.k->free(m->device.c, m->units[i]);
    if (m->input != NULL)
        m->device.k->free(m->device.c, m->input);
    model_destroy(m->model);
    serve__rows_free(&m->rows);
    serve__replies_free(&m->replies);
    features_close(m->features);
    device_close(&m->device);
    free(m->output);
    free(m->units);
    free(m->bodies);
    free(m);
}

/* --- answering --- */

/* rows [first, first + n) through the model: where its outputs are, and how far apart.
 */
static const float *forward(struct serve_model *m, int first, int n,
                            int64_t *ret_stride)
{
    const float *x = m->rows.x + (size_t)first * (size_t)m->rows.width;
    const struct kernels *k = m->device.k;
    int64_t columns;
    struct model_batch b = {.rows = n, .length = 1, .features = x};
    if (m->input != NULL) {
        k->upload(m->device.c, m->input, x,
                  (size_t)n * (size_t)m->rows.width * sizeof(float));
        b.features = m->input;
    }
    model_forward(m->model, &b, 0, 0);
    const float *out = model_outputs(m->model, &columns, ret_stride);
    if (device_is_host(&m->device))
        return out;
    size_t bytes = (size_t)n * (size_t)*ret_stride * sizeof(float);
    m->output = rwf_xrealloc(m->output, bytes);
    k->download(m->device.c, m->output, out, bytes);
    return m->output;
}

/* Outputs of single rows, in order, of passes that are made when a row is not there
 * yet. */
struct outputs {
    const float *at;
    int64_t stride;
    int first, end, row;
    struct rwf_err err; /* of the device */
};

static const float *next_output(struct serve_model *m, struct outputs *o)
{
    if (o->row == o->end) {
        int n = m->rows.count - o->end;
        n = n < SERVE_MODEL_ROWS ? n : SERVE_MODEL_ROWS;
        o->first = o->end;
        o->end += n;
        o->at = forward(m, o->first, n, &o->stride);
        device_sync(&m->device, &o->err);
    }
    return o->at + (int64_t)(o->row++ - o->first) * o->stride;
}

static const char *const open_text[] = {[SERVE__ROWS_ONE] = "",
                                        [SERVE__ROWS_LIST] = "[",
                                        [SERVE__ROWS_OBJECT] = "{\"predictions\":["};
static const char *const close_text[] = {
    [SERVE__ROWS_ONE] = "", [SERVE__ROWS_LIST] = "]", [SERVE__ROWS_OBJECT] = "]}"};

static void read_body(struct serve_model *m, const struct serve_model_body *in,
                      struct body *b)
{
    struct rwf_err err = RWF_ERR_INIT;
    *b = (struct body){.first = m->rows.count, .status = 200};
    if (serve__rows_read(&m->rows, in->data, in->size, &b->shape, &err) == 0) {
        b->count = m->rows.count - b->first;
        return;
    }
    b->status = 400;
    b->from = m->replies.text.len;
    serve__error_body(&m->replies.text, 400, err.text);
    b->end = m->replies.text.len;
}

static void answer_body(struct serve_model *m, struct outputs *o, struct body *b)
{
    struct rwf_str *text = &m->replies.text;
    b->from = text->len;
    rwf_str_add(text, open_text[b->shape]);
    for (int i = 0; i < b->count; i++) {
        if (i > 0)
            rwf_str_addc(text, ',');
        serve__replies_row(&m->replies, next_output(m, o));
    }
    rwf_str_add(text, close_text[b->shape]);
    if (o->err.code != 0) {
        text->len = b->from;
        b->status = 500;
        serve__error_body(text, 500, o->err.text);
    }
    b->end = text->len;
}

void serve_model_answer(struct serve_model *m, const struct serve_model_body *bodies,
                        int count, struct serve_model_reply *replies)
{
    struct outputs o = {0};
    if ((size_t)count > m->body_cap) {
        m->body_cap = (size_t)count;
        m->bodies = rwf_xrealloc(m->bodies, m->body_cap * sizeof(*m->bodies));
    }
    m->rows.count = 0;
    m->replies.text.len = 0;
    for (int i = 0; i < count; i++)
        read_body(m, &bodies[i], &m->bodies[i]);
    for (int i = 0; i < count; i++)
        if (m->bodies[i].status == 200)
            answer_body(m, &o, &m->bodies[i]);
    for (int i = 0; i < count; i++)
        replies[i] =
            (struct serve_model_reply){.status = m->bodies[i].status,
                                       .data = m->replies.text.data + m->bodies[i].from,
                                       .size = m->bodies[i].end - m->bodies[i].from};
}
