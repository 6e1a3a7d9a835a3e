/* SPDX-License-Identifier: Apache-2.0
 *
 * Where weights and state come from: drawn, or read from safetensors files. Each rank makes
 * or reads what it holds and asks nobody, so any number of ranks can do it.
 *
 * A drawn value is a function of (seed, name of the parameter, index): a hash of the first
 * two is the key of a counter-based generator (SplitMix64's finaliser over a Weyl sequence).
 */
#include "config.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "tensor/safetensors.h"
#include "train/params_impl.h"

enum { CHUNK = 1 << 20, THREADS_MAX = 16, WORTH_A_THREAD = 1 << 14, NAMED = 3 };

/* Elements [first, first + count) of parameter m. */
typedef int (*fill_fn)(void *ctx, size_t param, int64_t first, int64_t count, float *to,
                       struct rwf_err *err);

struct load {
    struct params *p;
    fill_fn fill;
    void *ctx;
    enum params_kind kind;
    float *host;   /* CHUNK */
    float *device; /* CHUNK */
};

static int64_t elements(const struct model_param *m)
{
    return m->shape[0] * (m->dims > 1 ? m->shape[1] : 1);
}

/* --- into a unit --- */

/* Elements [a, b) of unit into l->host; 0 between the parameters. */
static int fill_chunk(struct load *l, int unit, int64_t a, int64_t b, struct rwf_err *err)
{
    const struct model_layout *layout = l->p->o.layout;
    memset(l->host, 0, (size_t)(b - a) * sizeof(float));
    for (size_t i = 0; i < layout->param_count; i++) {
        const struct model_param *m = &layout->params[i];
        int64_t from = a > m->offset ? a : m->offset;
        int64_t end = m->offset + elements(m);
        int64_t to = b < end ? b : end;
        if (m->unit == unit && from < to &&
            l->fill(l->ctx, i, from - m->offset, to - from, l->host + (from - a), err) != 0)
            return -1;
    }
    return 0;
}

/* Weights of a bf16 run: converted, and kept as they are in the master. */
static void store_converted(struct load *l, struct params_unit *u, int64_t a, int64_t b)
{
    struct params *p = l->p;
    bool full = p->o.shard == PARAMS_FULL;
    char *to = full ? u->own + (a - u->first) * 2 : u->weights + a * 2;
    p->k->upload(p->c, l->device, l->host, (size_t)(b - a) * sizeof(float));
    p->k->from_float(p->c, to, l->device, b - a, p->o.type);
    int64_t from = a > u->first ? a : u->first;
    int64_t end = b < u->first + u->part ? b : u->first + u->part;
    if (u->master != NULL && from < end)
        p->k->copy(p->c, u->master + (from - u->first), l->device + (from - a),
                   (size_t)(end - from) * sizeof(float));
}

static float *destination(const struct load *l, const struct params_unit *u, int64_t a)
{
    switch (l->kind) {
    case PARAMS_WEIGHTS:
        return u->weights != NULL ? (float *)(void *)u->weights + a
                                  : (float *)(void *)u->own + (a - u->first);
    case PARAMS_MASTER:
        return u->master + (a - u->first);
    case PARAMS_M:
        return u->m + (a - u->first);
    default:
        return u->v + (a - u->first);
    }
}

static int load_unit(struct load *l, int unit, struct rwf_err *err)
{
    struct params *p = l->p;
    struct params_unit *u = &p->units[unit];
    bool whole = l->kind == PARAMS_WEIGHTS && u->weights != NULL;
    int64_t end = whole ? u->count : u->first + u->part;
    for (int64_t a = whole ? 0 : u->first; a < end; a += CHUNK) {
        int64_t b = a + CHUNK < end ? a + CHUNK : end;
        if (fill_chunk(l, unit, a, b, err) != 0)
            return -1;
        if (l->kind == PARAMS_WEIGHTS && params__has_master(p))
            store_converted(l, u, a, b);
        else
            p->k->upload(p->c, destination(l, u, a), l->host,
                         (size_t)(b - a) * sizeof(float));
        if (device_sync(p->o.device, err) != 0)
            return -1;
        params__alive(p);
    }
    return 0;
}

/* Fills `kind` of all units that have it. */
static int load_all(struct params *p, enum params_kind kind, fill_fn fill, void *ctx,
                    struct rwf_err *err)
{
    struct load l = { .p = p, .fill = fill, .ctx = ctx, .kind = kind };
    int rc = 0;
    l.device = device_alloc(p->o.device, CHUNK * sizeof(float), "loading weights", err);
    if (l.device == NULL)
        return -1;
    l.host = p->k->alloc_host(p->c, CHUNK * sizeof(float));
    if (l.host == NULL)
        rc = rwf_fail(err, RWF_E_FIT, "no host memory for loading weights");
    for (size_t i = 0; i < p->unit_count && rc == 0; i++)
        if (kind == PARAMS_WEIGHTS || !p->units[i].frozen)
            rc = load_unit(&l, (int)i, err);
    if (l.host != NULL)
        p->k->free_host(p->c, l.host);
    p->k->free(p->c, l.device);
    return rc;
}

/* --- drawing --- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t key_of(uint64_t seed, const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (; *name != '\0'; name++)
        h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return mix(h + mix(seed + UINT64_C(0x9e3779b97f4a7c15)));
}

/* In (0, 1). */
static double uniform(uint64_t key, uint64_t counter)
{
    uint64_t bits = mix(key + (counter + 1) * UINT64_C(0x9e3779b97f4a7c15));
    return ((double)(bits >> 11) + 0.5) * 0x1p-53;
}

static double normal(uint64_t key, uint64_t i)
{
    double length = sqrt(-2 * log(uniform(key, i & ~UINT64_C(1))));
    double angle = 2 * M_PI * uniform(key, i | 1);
    return length * ((i & 1) == 0 ? cos(angle) : sin(angle));
}

struct draw {
    const struct model_param *m;
    uint64_t key;
    int64_t first, count;
    float *to;
    pthread_t thread;
    bool started;
};

static void *draw_part(void *ctx)
{
    struct draw *d = ctx;
    for (int64_t i = 0; i < d->count; i++) {
        uint64_t n = (uint64_t)(d->first + i);
        double value = d->m->init == MODEL_ONE      ? 1
                       : d->m->init == MODEL_NORMAL ? normal(d->key, n) * (double)d->m->std
                       : d->m->init == MODEL_UNIFORM
                           ? (2 * uniform(d->key, n) - 1) * (double)d->m->std
                           : 0;
        d->to[i] = (float)value;
    }
    return NULL;
}

static int draw_fill(void *ctx, size_t param, int64_t first, int64_t count, float *to,
                     struct rwf_err *err)
{
    struct params *p = ctx;
    const struct model_param *m = &p->o.layout->params[param];
    struct draw parts[THREADS_MAX];
    int64_t threads = p->o.threads < THREADS_MAX ? p->o.threads : THREADS_MAX;
    (void)err;
    if (threads > count / WORTH_A_THREAD)
        threads = count / WORTH_A_THREAD;
    if (threads < 1)
        threads = 1;
    for (int64_t i = 0; i < threads; i++) {
        int64_t a = count * i / threads, b = count * (i + 1) / threads;
        parts[i] = (struct draw){ .m = m,
                                  .key = key_of(p->o.seed, m->name),
                                  .first = first + a,
                                  .count = b - a,
                                  .to = to + a };
        parts[i].started = i + 1 < threads && pthread_create(&parts[i].thread, NULL,
                                                             draw_part, &parts[i]) == 0;
        if (!parts[i].started)
            draw_part(&parts[i]);
    }
    for (int64_t i = 0; i < threads; i++)
        if (parts[i].started)
            pthread_join(parts[i].thread, NULL);
    return 0;
}

int params_draw(struct params *p, struct rwf_err *err)
{
    return load_all(p, PARAMS_WEIGHTS, draw_fill, p, err);
}

/* --- files --- */

/* The entry of each parameter; NULL: drawn. */
struct file {
    struct params *p;
    const char *path;
    struct safetensors *s;
    const struct safetensors_entry **entries;
};

static int file_fill(void *ctx, size_t param, int64_t first, int64_t count, float *to,
                     struct rwf_err *err)
{
    struct file *f = ctx;
    if (f->entries[param] == NULL)
        return draw_fill(f->p, param, first, count, to, err);
    if (safetensors_floats(f->entries[param], first, count, to, err) != 0)
        return rwf_wrap(err, "%s: %s", f->path, f->entries[param]->name);
    return 0;
}

/* Published checkpoints may have other names for the same. */
static const struct safetensors_entry *find(const struct file *f, size_t param)
{
    const struct params_options *o = &f->p->o;
    const struct safetensors_entry *e =
        safetensors_find(f->s, o->layout->params[param].name);
    const char *alias = o->model != NULL ? model_param_alias(o->model, param) : NULL;
    return e == NULL && alias != NULL ? safetensors_find(f->s, alias) : e;
}

static int check_shape(const struct file *f, const struct model_param *m,
                       const struct safetensors_entry *e, struct rwf_err *err)
{
    struct rwf_str is = { 0 }, wanted = { 0 };
    bool same = e->dims == m->dims;
    for (int i = 0; i < e->dims; i++)
        rwf_str_addf(&is, "%s%lld", i > 0 ? ", " : "", (long long)e->shape[i]);
    for (int i = 0; i < m->dims; i++) {
        rwf_str_addf(&wanted, "%s%lld", i > 0 ? ", " : "", (long long)m->shape[i]);
        same = same && e->shape[i] == m->shape[i];
    }
    if (!same)
        rwf_fail(err, RWF_E_INPUT,
                 "%s: %s has the shape [%s], but the model's is [%s]: is it a checkpoint of "
                 "another model or size?",
                 f->path, e->name, is.data != NULL ? is.data : "", wanted.data);
    rwf_str_free(&is);
    rwf_str_free(&wanted);
    return same ? 0 : -1;
}

static bool is_adapter(const char *name)
{
    return strstr(name, "lora_") != NULL;
}

/* Tied heads that are stored twice, and constants that old versions of others kept. */
static bool is_known_extra(const char *name)
{
    static const char *const ends[] = { "lm_head.weight", ".attn.bias", ".attn.masked_bias",
                                        ".rotary_emb.inv_freq" };
    for (size_t i = 0; i < RWF_COUNT(ends); i++)
        if (rwf_ends_with(name, ends[i]))
            return true;
    return false;
}

static void name_some(struct rwf_str *s, size_t *count, const char *name)
{
    if (*count < NAMED)
        rwf_str_addf(s, "%s%s", *count > 0 ? ", " : "", name);
    if (*count == NAMED)
        rwf_str_add(s, ", …");
    ++*count;
}

/* Every tensor of the file is of a parameter, or no one's. */
static int check_extra(const struct file *f, struct rwf_err *err)
{
    struct rwf_map *used = rwf_map_create();
    struct rwf_str names = { 0 };
    size_t count = 0;
    for (size_t i = 0; i < f->p->o.layout->param_count; i++)
        if (f->entries[i] != NULL)
            rwf_map_set(used, f->entries[i]->name, (void *)f->entries[i]);
    for (size_t i = 0; i < safetensors_count(f->s); i++) {
        const char *name = safetensors_at(f->s, i)->name;
        if (rwf_map_get(used, name) == NULL && !is_known_extra(name))
            name_some(&names, &count, name);
    }
    if (count > 0)
        rwf_fail(err, RWF_E_INPUT,
                 "%s has %zu tensor%s that the model does not: %s: is it a checkpoint of "
                 "another model?",
                 f->path, count, count > 1 ? "s" : "", names.data);
    rwf_str_free(&names);
    rwf_map_destroy(used, NULL);
    return count > 0 ? -1 : 0;
}

/* Finds all parameters; adapters: whether those may be missing. */
static int match(struct file *f, bool adapters, struct rwf_err *err)
{
    const struct model_layout *l = f->p->o.layout;
    struct rwf_str names = { 0 };
    size_t missing = 0;
    int rc = 0;
    for (size_t i = 0; i < l->param_count; i++) {
        f->entries[i] = find(f, i);
        if (f->entries[i] == NULL && !(adapters && is_adapter(l->params[i].name)))
            name_some(&names, &missing, l->params[i].name);
    }
    if (missing > 0)
        rc = rwf_fail(err, RWF_E_INPUT, "%s lacks %zu tensor%s of the model: %s", f->path,
                      missing, missing > 1 ? "s" : "", names.data);
    for (size_t i = 0; i < l->param_count && rc == 0; i++)
        if (f->entries[i] != NULL)
            rc = check_shape(f, &l->params[i], f->entries[i], err);
    rwf_str_free(&names);
    return rc == 0 ? check_extra(f, err) : rc;
}

static int open_file(struct file *f, struct params *p, const char *path, struct rwf_err *err)
{
    *f = (struct file){ .p = p, .path = path };
    f->s = safetensors_open(path, err);
    if (f->s == NULL)
        return -1;
    f->entries = rwf_xcalloc(p->o.layout->param_count + 1, sizeof(*f->entries));
    return 0;
}

static void close_file(struct file *f)
{
    free(f->entries);
    safetensors_close(f->s);
}

int params_from(struct params *p, const char *path, struct rwf_err *err)
{
    struct file f;
    if (open_file(&f, p, path, err) != 0)
        return -1;
    int rc = match(&f, true, err);
    if (rc == 0)
        rc = load_all(p, PARAMS_WEIGHTS, file_fill, &f, err);
    close_file(&f);
    return rc;
}

/* --- resuming --- */

/* NAME.suffix of all that is trained. */
static int match_state(struct file *f, const char *suffix, struct rwf_err *err)
{
    const struct model_layout *l = f->p->o.layout;
    for (size_t i = 0; i < l->param_count; i++) {
        const struct model_param *m = &l->params[i];
        if (l->units[m->unit].frozen)
            continue;
        char *name = rwf_xasprintf("%s.%s", m->name, suffix);
        f->entries[i] = safetensors_find(f->s, name);
        if (f->entries[i] == NULL)
            rwf_fail(err, RWF_E_INPUT, "%s lacks %s: it was written with another optimizer "
                     "or precision", f->path, name);
        free(name);
        if (f->entries[i] == NULL || check_shape(f, m, f->entries[i], err) != 0)
            return -1;
    }
    return 0;
}

/* The weights of a bf16 run are what the masters are rounded to; those of frozen units come
 * from the model's file. */
static int resume_weights(struct params *p, struct file *model, struct file *state,
                          struct rwf_err *err)
{
    int rc = match(model, false, err);
    if (rc == 0 && params__has_master(p)) {
        rc = match_state(state, "master", err);
        for (size_t i = 0; i < p->o.layout->param_count && rc == 0; i++)
            if (state->entries[i] != NULL)
                model->entries[i] = state->entries[i];
    }
    return rc == 0 ? load_all(p, PARAMS_WEIGHTS, file_fill, model, err) : rc;
}

int params_resume(struct params *p, const char *folder, struct rwf_err *err)
{
    char *model_path = rwf_fs_join(folder, "model.safetensors");
    char *state_path = rwf_fs_join(folder, "optimizer.safetensors");
    struct file model = { 0 }, state = { 0 };
    bool stateful = params__has_master(p) || p->o.optim.m || p->o.optim.v;
    int rc = open_file(&model, p, model_path, err);
    if (rc == 0 && stateful)
        rc = open_file(&state, p, state_path, err);
    if (rc == 0)
        rc = resume_weights(p, &model, &state, err);
    if (rc == 0 && p->o.optim.m)
        rc = match_state(&state, "m", err);
    if (rc == 0 && p->o.optim.m)
        rc = load_all(p, PARAMS_M, file_fill, &state, err);
    if (rc == 0 && p->o.optim.v)
        rc = match_state(&state, "v", err);
    if (rc == 0 && p->o.optim.v)
        rc = load_all(p, PARAMS_V, file_fill, &state, err);
    close_file(&state);
    close_file(&model);
    free(model_path);
    free(state_path);
    return rc;
}
