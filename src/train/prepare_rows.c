/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of an MLP: one pass over the training split to learn, one over each split to
 * write.
 */
#include "config.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/suggest.h"
#include "base/units.h"
#include "train/prepare_learn.h"

#define ROWS_BLOCK (256 << 10) /* bytes made at a time: they stay in the cache */

struct writer {
    struct prepare *p;
    const struct prepare_split *split;
    const struct prepare_table *table;
    const struct features *features;
    struct prepare_sink x, y;
    float *xs, *ys;     /* of a block; ys has int32_t for classes */
    int64_t block;      /* rows */
    int width, outputs; /* floats of a row of x, cells of a row of y */
    bool sparse;        /* has categories: x begins as zeros */
    int64_t rows;
    int64_t *unseen, *nulls; /* of each feature */
};

/* --- a block of rows --- */

static int put_numbers(struct writer *w, size_t i, const struct duck_column *d,
                       int64_t from, int64_t rows, struct rwf_err *err)
{
    const double *x = (const double *)d->data + from;
    struct features_column c = features_column(w->features, (int)i);
    float *to = w->xs + c.at;
    for (int64_t k = 0; k < rows; k++, to += w->width) {
        bool null = duck_is_null(d, from + k);
        if (!null && !isfinite(x[k]))
            return prepare__bad_number(&w->table->columns[i], w->rows + k, x[k], err);
        *to = null ? 0 : features_standard(x[k], c.mean, c.std);
        w->nulls[i] += null;
    }
    return 0;
}

static int put_categories(struct writer *w, size_t i, const struct duck_column *d,
                          int64_t from, int64_t rows, struct rwf_err *err)
{
    struct features_column c = features_column(w->features, (int)i);
    float *to = w->xs + c.at;
    struct levels_value v;
    for (int64_t k = 0; k < rows; k++, to += w->width) {
        if (duck_is_null(d, from + k)) {
            w->nulls[i]++;
            continue;
        }
        if (!prepare__value(d, from + k, &v))
            return prepare__bad_number(&w->table->columns[i], w->rows + k,
                                       ((const double *)d->data)[from + k], err);
        int level = levels_find(c.levels, &v);
        if (level >= 0)
            to[level] = 1;
        else
            w->unseen[i]++;
    }
    return 0;
}

static int unknown_class(const struct prepare_column *c, int64_t row,
                         const struct levels_value *v, struct rwf_err *err)
{
    struct levels *one = levels_create(levels_kind(c->levels));
    struct rwf_str known = { 0 };
    levels_add(one, v);
    char *name = levels_name(one, 0);
    for (int i = 0; i < levels_count(c->levels) && i < 12; i++) {
        char *class = levels_name(c->levels, i);
        rwf_str_addf(&known, "%s%s", i > 0 ? ", " : "", class);
        free(class);
    }
    if (levels_count(c->levels) > 12)
        rwf_str_addf(&known, ", … (%d in all)", levels_count(c->levels));
    rwf_fail(err, RWF_E_INPUT,
             "column %s, row %lld: the training split has no class '%s'; "
             "it has: %s",
             c->name, (long long)row + 1, name, known.data);
    free(name);
    rwf_str_free(&known);
    levels_destroy(one);
    return -1;
}

static int put_classes(struct writer *w, const struct duck_column *d, int64_t from,
                       int64_t rows, struct rwf_err *err)
{
    const struct prepare_column *c = &w->table->columns[w->table->features];
    struct levels_value v;
    for (int64_t k = 0; k < rows; k++) {
        if (duck_is_null(d, from + k))
            return prepare__no_target(c, w->rows + k, err);
        if (!prepare__value(d, from + k, &v))
            return prepare__bad_number(c, w->rows + k,
                                       ((const double *)d->data)[from + k], err);
        int32_t class = levels_find(c->levels, &v);
        if (class < 0)
            return unknown_class(c, w->rows + k, &v, err);
        memcpy(&w->ys[k], &class, sizeof(class));
    }
    return 0;
}

static int put_targets(struct writer *w, int target, const struct duck_column *d,
                       int64_t from, int64_t rows, struct rwf_err *err)
{
    const struct prepare_column *c =
        &w->table->columns[w->table->features + (size_t)target];
    struct features_column learned = features_target_column(w->features, target);
    const double *y = (const double *)d->data + from;
    for (int64_t k = 0; k < rows; k++) {
        if (duck_is_null(d, from + k))
            return prepare__no_target(c, w->rows + k, err);
        if (!isfinite(y[k]))
            return prepare__bad_number(c, w->rows + k, y[k], err);
        w->ys[k * w->outputs + target] =
            features_standard(y[k], learned.mean, learned.std);
    }
    return 0;
}

static int put_block(struct writer *w, const struct duck_column *columns, int64_t from,
                     int64_t rows, struct rwf_err *err)
{
    const struct prepare_table *t = w->table;
    if (w->sparse)
        memset(w->xs, 0, (size_t)(rows * w->width) * sizeof(*w->xs));
    for (size_t i = 0; i < t->features; i++)
        if ((t->columns[i].levels != NULL ? put_categories : put_numbers)(
                w, i, &columns[i], from, rows, err) < 0)
            return -1;
    for (size_t i = t->features; i < t->count; i++)
        if ((t->classifies ? put_classes(w, &columns[i], from, rows, err)
                           : put_targets(w, (int)(i - t->features), &columns[i], from,
                                         rows, err)) < 0)
            return -1;
    w->rows += rows;
    if (prepare__sink_add(&w->x, w->xs, (size_t)(rows * w->width) * sizeof(float),
                          err) < 0)
        return -1;
    return prepare__sink_add(&w->y, w->ys, (size_t)(rows * w->outputs) * sizeof(float),
                             err);
}

static int put_chunk(void *ctx, const struct duck_column *columns, int64_t rows,
                     struct rwf_err *err)
{
    struct writer *w = ctx;
    for (int64_t from = 0; from < rows; from += w->block) {
        int64_t n = rows - from < w->block ? rows - from : w->block;
        if (put_block(w, columns, from, n, err) < 0)
            return -1;
    }
    prepare__progress(w->p, w->split, w->rows, NULL);
    return 0;
}

/* --- a split --- */

static void tell(const struct writer *w, int64_t ns)
{
    char time[RWF_UNITS_LEN], size[RWF_UNITS_LEN];
    const struct prepare_table *t = w->table;
    bool val = w->split == &w->p->val;
    for (size_t i = 0; i < t->features && val; i++) {
        if (w->unseen[i] > 0)
            prepare__note(w->p,
                          "note: column %s has values in %lld of %lld rows of val "
                          "that train does not have",
                          t->columns[i].name, (long long)w->unseen[i],
                          (long long)w->rows);
        if (w->nulls[i] > 0)
            prepare__note(w->p, "note: column %s is null in %lld of %lld rows of val",
                          t->columns[i].name, (long long)w->nulls[i],
                          (long long)w->rows);
    }
    rwf_duration_format(ns, time);
    rwf_size_format(w->rows * (w->width + w->outputs) * 4, size);
    prepare__note(w->p, "%s: %lld rows x %d features, %s, in %s (%.0f rows/s)",
                  w->split->name, (long long)w->rows, w->width, size, time,
                  (double)w->rows / ((double)(ns > 0 ? ns : 1) / 1e9));
}

static int write_rows(struct writer *w, struct rwf_err *err)
{
    struct prepare_split *s = (struct prepare_split *)(uintptr_t)w->split;
    int64_t since = rwf_clock_mono();
    int r = -1;
    if (prepare__sink_open(w->p, &w->x, s->name, "x", err) < 0 ||
        prepare__sink_open(w->p, &w->y, s->name, "y", err) < 0)
        return -1;
    char *list = prepare__list(w->table, s);
    s->phase = "preparing";
    r = prepare__stream(w->p, s, list, put_chunk, w, err);
    free(list);
    if (r == 0 && w->rows == 0)
        r = rwf_fail(err, RWF_E_INPUT, "dataset.%s has no rows", s->name);
    if (r == 0)
        r = prepare__sink_close(&w->x, err);
    if (r == 0)
        r = prepare__sink_close(&w->y, err);
    if (r == 0)
        tell(w, rwf_clock_mono() - since);
    return r;
}

static int write_split(struct prepare *p, const struct prepare_split *s,
                       const struct prepare_table *t, const struct features *f,
                       struct rwf_err *err)
{
    struct writer w = { .p = p, .split = s, .table = t, .features = f };
    w.width = features_width(f);
    w.outputs = t->classifies ? 1 : features_outputs(f);
    w.block = ROWS_BLOCK / (4 * (int64_t)w.width) + 1;
    size_t n = (size_t)w.block;
    w.xs = rwf_alloc(n * (size_t)w.width * sizeof(*w.xs), err);
    w.ys = rwf_alloc(n * (size_t)w.outputs * sizeof(*w.ys), err);
    w.unseen = rwf_xcalloc(t->features, sizeof(*w.unseen));
    w.nulls = rwf_xcalloc(t->features, sizeof(*w.nulls));
    for (size_t i = 0; i < t->features; i++)
        w.sparse = w.sparse || t->columns[i].levels != NULL;
    int r = w.xs != NULL && w.ys != NULL ? write_rows(&w, err) : -1;
    if (r == 0 && s == &p->train && w.rows != t->rows)
        r = rwf_fail(err, RWF_E_INPUT,
                     "dataset.train had %lld rows and then %lld: it "
                     "changed while it was read",
                     (long long)t->rows, (long long)w.rows);
    if (r == 0)
        json_object_set_new(json_object_get(p->info, "splits"), s->name,
                            json_pack("{s:I}", "rows", (json_int_t)w.rows));
    prepare__sink_abort(&w.x);
    prepare__sink_abort(&w.y);
    free(w.xs);
    free(w.ys);
    free(w.unseen);
    free(w.nulls);
    return r;
}

/* --- val has the columns of train, as the same kinds --- */

static int fit_val(struct prepare *p, const struct prepare_table *t,
                   struct rwf_err *err)
{
    json_t *types = json_object();
    int r = 0;
    for (size_t i = 0; r == 0 && i < t->count; i++) {
        const struct prepare_column *c = &t->columns[i];
        enum prepare_type type;
        r = prepare__column(&p->val, c->name, &type, err);
        bool number = c->type == PREPARE_NUMBER || c->type == PREPARE_WHOLE;
        if (r == 0 && number && type != PREPARE_NUMBER && type != PREPARE_WHOLE)
            json_object_set_new(types, c->name, json_string("DOUBLE"));
        else if (r == 0 && !number && type != c->type)
            json_object_set_new(
                types, c->name,
                json_string(c->type == PREPARE_TEXT ? "VARCHAR" : "BOOLEAN"));
    }
    if (r == 0 && json_object_size(types) > 0)
        r = prepare__cast_split(p, &p->val, types, err);
    json_decref(types);
    return r;
}

/* --- data.json --- */

/* The class that a key of class_weights names; -1. */
static int class_named(const struct levels *classes, const char *key,
                       struct rwf_err *err)
{
    struct rwf_suggest near;
    char *best = NULL;
    rwf_suggest_init(&near, key);
    for (int i = 0; i < levels_count(classes); i++) {
        char *name = levels_name(classes, i);
        bool same = strcmp(name, key) == 0;
        rwf_suggest_try(&near, name);
        if (!same && near.best == name) {
            free(best);
            best = name;
            continue;
        }
        free(name);
        if (same) {
            free(best);
            return i;
        }
    }
    const char *close = rwf_suggest_best(&near);
    rwf_fail(err, RWF_E_INPUT,
             "model.class_weights: no row of train has the class '%s'%s%s%s", key,
             close != NULL ? ": did you mean '" : "", close != NULL ? close : "",
             close != NULL ? "'?" : "");
    free(best);
    return -1;
}

static int weigh_by_name(const struct levels *classes, const json_t *given,
                         double *weights, struct rwf_err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)given, key, value) {
        double weight = json_number_value(value);
        int i = class_named(classes, key, err);
        if (i < 0)
            return -1;
        if (!json_is_number(value) || !(weight >= 0) || !isfinite(weight))
            return rwf_fail(err, RWF_E_INPUT,
                            "model.class_weights.%s must be a number, not below 0",
                            key);
        weights[i] = weight;
    }
    return 0;
}

/* Weights whose mean over the training rows is 1, so that they do not change the scale
 * of the loss: balanced is rows / (classes * rows of the class), which is so already.
 */
static int add_weights(struct prepare *p, const struct prepare_table *t,
                       struct rwf_err *err)
{
    const json_t *given = prepare__get(p, "model", "class_weights");
    const struct levels *classes = t->columns[t->features].levels;
    int k = levels_count(classes), r = 0;
    double *weights = rwf_xcalloc((size_t)k, sizeof(*weights)), sum = 0;
    if (given == NULL)
        goto out;
    for (int i = 0; i < k; i++)
        weights[i] =
            json_is_object(given)
                ? 1
                : (double)t->rows / ((double)k * (double)levels_seen(classes, i));
    if (json_is_object(given))
        r = weigh_by_name(classes, given, weights, err);
    for (int i = 0; i < k; i++)
        sum += weights[i] * (double)levels_seen(classes, i);
    if (r == 0 && !(sum > 0))
        r = rwf_fail(err, RWF_E_INPUT, "model.class_weights: all of them are 0");
    json_t *list = json_array();
    for (int i = 0; i < k && r == 0; i++)
        json_array_append_new(list, json_real(weights[i] * (double)t->rows / sum));
    json_object_set_new(p->info, "class_weights", list);
out:
    free(weights);
    return r;
}

static int describe(struct prepare *p, const struct prepare_table *t,
                    const struct features *f, struct rwf_err *err)
{
    json_t *preprocess = features_json(f);
    json_object_set_new(p->info, "kind", json_string("rows"));
    json_object_set_new(p->info, "features", json_integer(features_width(f)));
    json_object_set_new(p->info, "outputs", json_integer(features_outputs(f)));
    json_object_set(p->info, "task", json_object_get(preprocess, "task"));
    if (t->classifies) {
        const struct levels *classes = t->columns[t->features].levels;
        json_t *names = json_array();
        for (int i = 0; i < levels_count(classes); i++) {
            char *name = levels_name(classes, i);
            json_array_append_new(names, json_string(name));
            free(name);
        }
        json_object_set_new(p->info, "classes", names);
    } else {
        json_object_set(p->info, "targets", json_object_get(preprocess, "targets"));
    }
    int r = prepare__write_json(p, "preprocess.json", preprocess, err);
    json_decref(preprocess);
    return r < 0 || !t->classifies ? r : add_weights(p, t, err);
}

int prepare__rows(struct prepare *p, struct rwf_err *err)
{
    struct prepare_table t = { 0 };
    struct features *f = NULL;
    int r = prepare__choose(p, &t, err);
    if (r == 0 && p->has_val)
        r = fit_val(p, &t, err);
    p->bytes_all = 2 * (double)p->train.bytes + (double)p->val.bytes;
    if (r == 0)
        r = (f = prepare__learn(p, &t, err)) != NULL ? 0 : -1;
    if (r == 0)
        r = describe(p, &t, f, err);
    p->train.rows = t.rows; /* known now */
    if (r == 0)
        r = prepare__room(p, (double)t.rows * 4 * (features_width(f) + 1), err);
    if (r == 0)
        r = write_split(p, &p->train, &t, f, err);
    if (r == 0 && p->has_val)
        r = write_split(p, &p->val, &t, f, err);
    features_close(f);
    prepare__table_free(&t);
    return r;
}
