/* SPDX-License-Identifier: Apache-2.0
 *
 * The result of a training with an adapter is two things that others read: a model like any
 * other, with the adapter's products added to its weights, and beside it in adapter/ what
 * PEFT loads (adapter_model.safetensors, adapter_config.json).
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "tensor/safetensors.h"
#include "train/loop.h"

struct merge {
    const struct model *model;
    const struct model_layout *layout;
    const char *folder;
    struct safetensors *from;
};

static int64_t elements(const struct model_param *m)
{
    return m->shape[0] * (m->dims > 1 ? m->shape[1] : 1);
}

static bool is_trained(const struct merge *g, size_t param)
{
    return !g->layout->units[g->layout->params[param].unit].frozen;
}

/* The caller frees. */
static float *floats_of(const struct merge *g, size_t param, struct rwf_err *err)
{
    const struct model_param *m = &g->layout->params[param];
    const struct safetensors_entry *e = safetensors_find(g->from, m->name);
    float *x = e != NULL ? rwf_alloc((size_t)elements(m) * sizeof(*x), err) : NULL;
    if (e == NULL)
        rwf_fail(err, RWF_E_BUG, "the checkpoint has no %s", m->name);
    if (x != NULL && safetensors_floats(e, 0, elements(m), x, err) != 0) {
        free(x);
        x = NULL;
    }
    return x;
}

static float *merged_floats(const struct merge *g, size_t param, struct rwf_err *err)
{
    size_t a, b;
    float *x = floats_of(g, param, err);
    if (x == NULL || !model_adapter_of(g->model, param, &a, &b))
        return x;
    float *fa = floats_of(g, a, err), *fb = fa != NULL ? floats_of(g, b, err) : NULL;
    if (fb != NULL) {
        model_merge(g->model, param, x, fa, fb);
    } else {
        free(x);
        x = NULL;
    }
    free(fa);
    free(fb);
    return x;
}

/* To the nearest, ties to even; no NaN comes here from finite weights. */
static void round_to_bf16(float *x, int64_t count)
{
    uint16_t *to = (uint16_t *)(void *)x;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof(bits));
        bits += 0x7fff + (bits >> 16 & 1);
        to[i] = (uint16_t)(bits >> 16);
    }
}

static enum safetensors_type type_of(const struct merge *g, size_t param)
{
    const struct safetensors_entry *e =
        safetensors_find(g->from, g->layout->params[param].name);
    return e != NULL ? e->type : SAFETENSORS_F32;
}

static int write_tensor(const struct merge *g, struct safetensors_writer *w, size_t param,
                        struct rwf_err *err)
{
    int64_t count = elements(&g->layout->params[param]);
    enum safetensors_type type = type_of(g, param);
    float *x = merged_floats(g, param, err);
    if (x == NULL)
        return -1;
    if (type == SAFETENSORS_BF16)
        round_to_bf16(x, count);
    int rc = safetensors_write(w, x, (size_t)count * safetensors_type_size(type), err);
    free(x);
    return rc;
}

/* The trained tensors, or all others merged with them. */
static int write_file(const struct merge *g, const char *path, bool trained,
                      struct rwf_err *err)
{
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    struct safetensors_writer *w = safetensors_create(path, metadata, err);
    int rc = w != NULL ? 0 : -1;
    json_decref(metadata);
    for (size_t i = 0; i < g->layout->param_count && rc == 0; i++) {
        const struct model_param *m = &g->layout->params[i];
        if (is_trained(g, i) == trained)
            rc = safetensors_declare(w, m->name, type_of(g, i), m->dims, m->shape, err);
    }
    for (size_t i = 0; i < g->layout->param_count && rc == 0; i++)
        if (is_trained(g, i) == trained)
            rc = write_tensor(g, w, i, err);
    if (rc == 0)
        return safetensors_finish(w, NULL, err);
    safetensors_abort(w);
    return rc;
}

static int write_json(const char *folder, const char *name, const json_t *value,
                      struct rwf_err *err)
{
    char *path = rwf_fs_join(folder, name);
    char *text = json_dumps(value, JSON_INDENT(2));
    int rc = rwf_fs_write(path, text, strlen(text), true, err);
    free(text);
    free(path);
    return rc;
}

static int write_adapter(const struct merge *g, const char *base, struct rwf_err *err)
{
    char *folder = rwf_fs_join(g->folder, "adapter");
    char *path = rwf_fs_join(folder, "adapter_model.safetensors");
    json_t *config = model_adapter_config(g->model, base);
    int rc = rwf_fs_mkdirs(folder, err);
    if (rc == 0)
        rc = write_file(g, path, true, err);
    if (rc == 0)
        rc = write_json(folder, "adapter_config.json", config, err);
    json_decref(config);
    free(path);
    free(folder);
    return rc;
}

/* The file that is there may be the checkpoint's own, by a link: it is replaced. */
static int write_model(const struct merge *g, const char *path, struct rwf_err *err)
{
    char *hidden = rwf_xasprintf("%s/.merged", g->folder);
    json_t *config = json_deep_copy(model_config_json(g->model));
    json_object_del(config, "adapter");
    int rc = write_file(g, hidden, false, err);
    if (rc == 0 && rename(hidden, path) != 0)
        rc = rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    if (rc == 0)
        rc = write_json(g->folder, "config.json", config, err);
    json_decref(config);
    free(hidden);
    return rc;
}

int loop__merge(struct loop *l, const char *folder, struct rwf_err *err)
{
    struct merge g = { .model = l->model, .layout = model_layout(l->model),
                       .folder = folder };
    if (json_object_get(model_config_json(l->model), "adapter") == NULL)
        return 0;
    char *path = rwf_fs_join(folder, "model.safetensors");
    g.from = safetensors_open(path, err);
    int rc = g.from != NULL ? write_adapter(&g, l->j.from, err) : -1;
    if (rc == 0)
        rc = write_model(&g, path, err);
    safetensors_close(g.from);
    free(path);
    return rc == 0 ? 0 : rwf_wrap(err, "merging the adapter");
}
