/* SPDX-License-Identifier: Apache-2.0
 *
 * A checkpoint with adapters, made into what other tools load: the base with the
 * adapters merged into it as model.safetensors, and the adapters alone as PEFT has
 * them, in the folder adapter/. Tensors keep their type; merging is done in float.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "model/inside.h"
#include "tensor/safetensors.h"

#define CONFIG_BYTES (1024 * 1024)

struct export
{
    const char *folder;
    struct model *m;
    struct safetensors *from;
};

/* Parameters of the file that is written: those of adapters, or all others. */
static bool wanted(const struct export *x, size_t i, bool adapters)
{
    const struct model_layout *l = &x->m->layout;
    return l->units[l->params[i].unit].frozen != adapters;
}

static const struct safetensors_entry *entry(const struct export *x, size_t i,
                                             struct rwf_err *err)
{
    const struct model_param *p = &x->m->layout.params[i];
    const struct safetensors_entry *e = safetensors_find(x->from, p->name);
    bool fits = e != NULL && e->dims == p->dims;
    for (int d = 0; fits && d < p->dims; d++)
        fits = e->shape[d] == p->shape[d];
    if (fits)
        return e;
    rwf_fail(err, RWF_E_INPUT, "%s: '%s' is %s", x->folder, p->name,
             e == NULL ? "missing" : "of another shape");
    return NULL;
}

static float *floats(const struct export *x, size_t i, struct rwf_err *err)
{
    const struct safetensors_entry *e = entry(x, i, err);
    int64_t count = x->m->layout.params[i].shape[0] * x->m->layout.params[i].shape[1];
    float *to = e != NULL ? rwf_alloc((size_t)count * sizeof(float), err) : NULL;
    if (to != NULL && safetensors_floats(e, 0, count, to, err) != 0) {
        free(to);
        return NULL;
    }
    return to;
}

/* In place, to the nearest, ties to even; a NaN stays one. */
static void to_bf16(float *values, int64_t count)
{
    uint16_t *to = (uint16_t *)(void *)values;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof(bits));
        bool nan = (bits & 0x7fffffff) > 0x7f800000;
        uint32_t round = nan ? 0 : 0x7fff + (bits >> 16 & 1);
        uint16_t half = (uint16_t)((bits + round) >> 16 | (nan ? 0x40 : 0));
        memcpy(&to[i], &half, sizeof(half));
    }
}

static int write_merged(const struct export *x, size_t i, size_t a, size_t b,
                        struct safetensors_writer *w, struct rwf_err *err)
{
    const struct model_param *p = &x->m->layout.params[i];
    const struct safetensors_entry *e = entry(x, i, err);
    int64_t count = p->shape[0] * p->shape[1];
    float *weight = floats(x, i, err);
    float *fa = weight != NULL ? floats(x, a, err) : NULL;
    float *fb = fa != NULL ? floats(x, b, err) : NULL;
    int rc = -1;
    if (fb != NULL) {
        bool half = e->type == SAFETENSORS_BF16;
        model_merge(x->m, i, weight, fa, fb);
        if (half)
            to_bf16(weight, count);
        rc = safetensors_write(w, weight, (size_t)count * (half ? 2 : sizeof(float)),
                               err);
    }
    free(weight);
    free(fa);
    free(fb);
    return rc;
}

static int declare(const struct export *x, size_t i, struct safetensors_writer *w,
                   struct rwf_err *err)
{
    const struct model_param *p = &x->m->layout.params[i];
    const struct safetensors_entry *e = entry(x, i, err);
    size_t a, b;
    if (e == NULL)
        return -1;
    enum safetensors_type type = e->type;
    if (model_adapter_of(x->m, i, &a, &b) && type != SAFETENSORS_BF16)
        type = SAFETENSORS_F32;
    return safetensors_declare(w, p->name, type, p->dims, p->shape, err);
}

static int write_tensors(const struct export *x, struct safetensors_writer *w,
                         bool adapters, struct rwf_err *err)
{
    int rc = 0;
    size_t a, b;
    for (size_t i = 0; i < x->m->layout.param_count && rc == 0; i++)
        if (wanted(x, i, adapters))
            rc = declare(x, i, w, err);
    for (size_t i = 0; i < x->m->layout.param_count && rc == 0; i++) {
        const struct safetensors_entry *e =
            wanted(x, i, adapters) ? entry(x, i, err) : NULL;
        if (e == NULL)
            continue;
        rc = model_adapter_of(x->m, i, &a, &b)
                 ? write_merged(x, i, a, b, w, err)
                 : safetensors_write(w, e->data, e->bytes, err);
    }
    return rc;
}

static int write_file(const struct export *x, const char *path, bool adapters,
                      struct rwf_err *err)
{
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    struct safetensors_writer *w = safetensors_create(path, metadata, err);
    json_decref(metadata);
    if (w == NULL)
        return -1;
    if (write_tensors(x, w, adapters, err) == 0)
        return safetensors_finish(w, NULL, err);
    safetensors_abort(w);
    return -1;
}

static int write_json(const char *path, const json_t *value, struct rwf_err *err)
{
    char *text = json_dumps(value, JSON_INDENT(2));
    int rc = rwf_fs_write(path, text, strlen(text), true, err);
    free(text);
    return rc;
}

static int write_adapters(const struct export *x, struct rwf_err *err)
{
    char *folder = rwf_xasprintf("%s/adapter", x->folder);
    char *weights = rwf_xasprintf("%s/adapter_model.safetensors", folder);
    char *config = rwf_xasprintf("%s/adapter_config.json", folder);
    json_t *value = model_adapter_config(x->m, NULL);
    int rc = rwf_fs_rmtree(folder, err);
    if (rc == 0)
        rc = rwf_fs_mkdirs(folder, err);
    if (rc == 0)
        rc = write_file(x, weights, true, err);
    if (rc == 0)
        rc = write_json(config, value, err);
    json_decref(value);
    free(folder);
    free(weights);
    free(config);
    return rc;
}

/* The base: beside its place, then renamed, as the file may be linked from elsewhere.
 */
static int write_base(const struct export *x, struct rwf_err *err)
{
    char *hidden = rwf_xasprintf("%s/.merged.safetensors", x->folder);
    char *place = rwf_xasprintf("%s/model.safetensors", x->folder);
    char *config_path = rwf_xasprintf("%s/config.json", x->folder);
    json_t *config = json_deep_copy(x->m->config);
    json_object_del(config, "adapter");
    int rc = rwf_fs_rmtree(hidden, err);
    if (rc == 0)
        rc = write_file(x, hidden, false, err);
    if (rc == 0 && rename(hidden, place) != 0)
        rc = rwf_fail(err, errno, "cannot rename '%s' to '%s': %s", hidden, place,
                      strerror(errno));
    if (rc == 0)
        rc = write_json(config_path, config, err);
    json_decref(config);
    free(hidden);
    free(place);
    free(config_path);
    return rc;
}

static json_t *read_config(const char *folder, struct rwf_err *err)
{
    char *path = rwf_xasprintf("%s/config.json", folder);
    size_t len = 0;
    json_error_t error;
    char *text = rwf_fs_read(path, CONFIG_BYTES, &len, err);
    json_t *config = text != NULL ? json_loadb(text, len, 0, &error) : NULL;
    if (text != NULL && config == NULL)
        rwf_fail(err, RWF_E_INPUT, "%s:%d: %s", path, error.line, error.text);
    free(text);
    free(path);
    return config;
}

int model_merge_folder(const char *folder, struct rwf_err *err)
{
    struct export x = {.folder = folder};
    json_t *config = read_config(folder, err);
    int rc = -1;
    if (config == NULL)
        return -1;
    if (json_object_get(config, "adapter") == NULL) {
        json_decref(config);
        return 0;
    }
    x.m = model_create(config, err);
    x.from = x.m != NULL ? safetensors_open(folder, err) : NULL;
    if (x.from != NULL && write_adapters(&x, err) == 0)
        rc = write_base(&x, err);
    safetensors_close(x.from);
    model_destroy(x.m);
    json_decref(config);
    return rc == 0 ? 0 : rwf_wrap(err, "merging the adapters of '%s'", folder);
}
