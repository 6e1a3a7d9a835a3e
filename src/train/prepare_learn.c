/* SPDX-License-Identifier: Apache-2.0
 *
 * Means and deviations are Welford's, row by row in the order of the file: the same
 * bits whatever chunks DuckDB cuts the file into and however many threads read it.
 */
#include "config.h"
#include "train/prepare_learn.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/suggest.h"
#include "data/sql.h"

enum { MANY_LEVELS = 50 };

/* --- which columns --- */

static const char *const no_type =
    "is %s in the files, and a feature is a number, text or boolean: leave it out of "
    "model.features, or convert it in a select of the dataset";

/* A column of the table; category: by name, not only by its type. */
static int add_column(struct prepare *p, struct prepare_table *t, const char *name,
                      bool category, struct rwf_err *err)
{
    enum prepare_type type;
    if (prepare__column(&p->train, name, &type, err) < 0)
        return -1;
    if (rwf_map_get(t->names, name) != NULL)
        return rwf_fail(err, RWF_E_INPUT, "column %s is named twice", name);
    if (type == PREPARE_OTHER) {
        rwf_fail(err, RWF_E_INPUT, no_type, prepare__type_name(&p->train, name));
        return rwf_wrap(err, "column %s", name);
    }
    struct prepare_column *c = &t->columns[t->count++];
    *c = (struct prepare_column){ .name = name, .type = type };
    rwf_map_set(t->names, name, c);
    if (type == PREPARE_TEXT)
        c->levels = levels_create(LEVELS_TEXT);
    else if (type == PREPARE_BOOLEAN)
        c->levels = levels_create(LEVELS_BOOLEAN);
    else if (category)
        c->levels = levels_create(LEVELS_NUMBER);
    return 0;
}

/* Of a list of names or one name: the i-th, NULL at the end. */
static const char *name_at(const json_t *names, size_t i)
{
    if (json_is_string(names))
        return i == 0 ? json_string_value(names) : NULL;
    return json_string_value(json_array_get(names, i));
}

static bool names_have(const json_t *names, const char *name)
{
    const char *other;
    for (size_t i = 0; (other = name_at(names, i)) != NULL; i++)
        if (strcmp(other, name) == 0)
            return true;
    return false;
}

/* Names of `categorical` that are no feature would do nothing, silently. */
static int check_categorical(const struct prepare_table *t, const json_t *names,
                             struct rwf_err *err)
{
    const char *name;
    for (size_t i = 0; (name = name_at(names, i)) != NULL; i++) {
        struct rwf_suggest near;
        if (rwf_map_get(t->names, name) != NULL)
            continue;
        rwf_suggest_init(&near, name);
        for (size_t k = 0; k < t->count; k++)
            rwf_suggest_try(&near, t->columns[k].name);
        const char *best = rwf_suggest_best(&near);
        return rwf_fail(err, RWF_E_INPUT,
                        "model.categorical: %s is none of the features%s%s%s", name,
                        best != NULL ? ": did you mean '" : "",
                        best != NULL ? best : "", best != NULL ? "'?" : "");
    }
    return 0;
}

static int add_features(struct prepare *p, struct prepare_table *t,
                        const json_t *targets, struct rwf_err *err)
{
    const json_t *names = prepare__get(p, "model", "features");
    const json_t *categorical = prepare__get(p, "model", "categorical");
    const char *name;
    size_t i;
    json_t *column;
    for (i = 0; (name = name_at(names, i)) != NULL; i++) {
        if (names_have(targets, name))
            return rwf_fail(err, RWF_E_INPUT,
                            "model.features: %s is the target: a model that sees it "
                            "learns nothing else",
                            name);
        if (add_column(p, t, name, names_have(categorical, name), err) < 0)
            return rwf_wrap(err, "model.features");
    }
    if (names == NULL)
        json_array_foreach(p->train.columns, i, column) {
            name = json_string_value(json_object_get(column, "name"));
            if (!names_have(targets, name) &&
                add_column(p, t, name, names_have(categorical, name), err) < 0)
                return -1;
        }
    t->features = t->count;
    if (t->features == 0)
        return rwf_fail(err, RWF_E_INPUT, "model.features: there is none");
    return check_categorical(t, categorical, err);
}

static int add_targets(struct prepare *p, struct prepare_table *t,
                       const json_t *targets, struct rwf_err *err)
{
    const char *name;
    for (size_t i = 0; (name = name_at(targets, i)) != NULL; i++) {
        if (add_column(p, t, name, t->classifies, err) < 0)
            return rwf_wrap(err, "model.target");
        if (!t->classifies && t->columns[t->count - 1].levels != NULL)
            return rwf_fail(
                err, RWF_E_INPUT,
                "model.target: %s is %s, and task regression learns numbers: "
                "set task: classification, or name another column",
                name, prepare__type_name(&p->train, name));
    }
    if (t->count == t->features || (t->classifies && t->count > t->features + 1))
        return rwf_fail(err, RWF_E_INPUT, "model.target must name %s",
                        t->classifies ? "one column" : "a column, or several");
    return 0;
}

int prepare__choose(struct prepare *p, struct prepare_table *t, struct rwf_err *err)
{
    const json_t *targets = prepare__get(p, "model", "target");
    const char *task = json_string_value(prepare__get(p, "model", "task"));
    size_t most = json_array_size(p->train.columns) +
                  json_array_size(prepare__get(p, "model", "features")) +
                  json_array_size(targets) + 1,
           i;
    const char *name;
    enum prepare_type type;
    t->classifies = task == NULL || strcmp(task, "classification") == 0;
    t->columns = rwf_xcalloc(most, sizeof(*t->columns));
    t->names = rwf_map_create();
    for (i = 0; (name = name_at(targets, i)) != NULL; i++)
        if (prepare__column(&p->train, name, &type, err) < 0)
            return rwf_wrap(err, "model.target");
    if (add_features(p, t, targets, err) < 0)
        return -1;
    return add_targets(p, t, targets, err);
}

void prepare__table_free(struct prepare_table *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (!t->columns[i].given)
            levels_destroy(t->columns[i].levels);
    rwf_map_destroy(t->names, NULL);
    free(t->columns);
}

char *prepare__list(const struct prepare_table *t, const struct prepare_split *s)
{
    struct rwf_str list = { 0 };
    for (size_t i = 0; i < t->count; i++) {
        const struct prepare_column *c = &t->columns[i];
        enum prepare_type type;
        rwf_assert(prepare__column(s, c->name, &type, NULL) == 0);
        const char *as = c->levels == NULL        ? "DOUBLE"
                         : type == PREPARE_WHOLE  ? "BIGINT"
                         : type == PREPARE_NUMBER ? "DOUBLE"
                         : type == PREPARE_TEXT   ? "VARCHAR"
                                                  : "BOOLEAN";
        rwf_str_add(&list, i > 0 ? ", CAST(" : "CAST(");
        sql_add_name(&list, c->name);
        rwf_str_addf(&list, " AS %s)", as);
    }
    return rwf_str_take(&list);
}

/* --- cells --- */

bool prepare__value(const struct duck_column *c, int64_t row, struct levels_value *ret)
{
    size_t len;
    const char *text;
    switch (c->type) {
    case DUCK_TEXT:
        text = duck_text(c, row, &len);
        *ret = levels_text(text, len);
        return true;
    case DUCK_BOOL:
        *ret = levels_whole(((const bool *)c->data)[row]);
        return true;
    case DUCK_INT64:
        *ret = levels_whole(((const int64_t *)c->data)[row]);
        return true;
    default:
        if (!isfinite(((const double *)c->data)[row]))
            return false;
        *ret = levels_real(((const double *)c->data)[row]);
        return true;
    }
}

int prepare__bad_number(const struct prepare_column *c, int64_t row, double value,
                        struct rwf_err *err)
{
    return rwf_fail(
        err, RWF_E_INPUT,
        "column %s, row %lld: %s is no number to learn from: drop such rows "
        "(where: isfinite(%s)) or make them null in the dataset",
        c->name, (long long)row + 1,
        isnan(value) ? "NaN"
        : value > 0  ? "infinity"
                     : "-infinity",
        c->name);
}

int prepare__no_target(const struct prepare_column *c, int64_t row, struct rwf_err *err)
{
    return rwf_fail(err, RWF_E_INPUT,
                    "column %s, row %lld: the target is null: drop such rows in the "
                    "dataset (where: %s IS NOT NULL)",
                    c->name, (long long)row + 1, c->name);
}

/* --- learning --- */

struct learner {
    struct prepare *p;
    struct prepare_table *table;
};

static int learn_number(struct prepare_column *c, const struct duck_column *d,
                        int64_t first, int64_t rows, bool target, struct rwf_err *err)
{
    const double *x = d->data;
    for (int64_t i = 0; i < rows; i++) {
        if (duck_is_null(d, i)) {
            if (target)
                return prepare__no_target(c, first + i, err);
            c->nulls++;
            continue;
        }
        if (!isfinite(x[i]))
            return prepare__bad_number(c, first + i, x[i], err);
        double off = x[i] - c->mean;
        c->least = c->count == 0 || x[i] < c->least ? x[i] : c->least;
        c->most = c->count == 0 || x[i] > c->most ? x[i] : c->most;
        c->mean += off / (double)++c->count;
        c->squares += off * (x[i] - c->mean);
    }
    return 0;
}

static int too_many(const struct prepare_column *c, bool target, struct rwf_err *err)
{
    if (target)
        return rwf_fail(
            err, RWF_E_INPUT,
            "column %s has more than %d classes: set task: regression if it is "
            "a measure",
            c->name, PREPARE_LEVELS_MAX);
    return rwf_fail(err, RWF_E_INPUT,
                    "column %s has more than %d categories: leave it out of "
                    "model.features, or group its values in the dataset",
                    c->name, PREPARE_LEVELS_MAX);
}

static int learn_levels(struct prepare_column *c, const struct duck_column *d,
                        int64_t first, int64_t rows, bool target, struct rwf_err *err)
{
    struct levels_value v;
    for (int64_t i = 0; i < rows; i++) {
        if (duck_is_null(d, i)) {
            if (target)
                return prepare__no_target(c, first + i, err);
            c->nulls++;
            continue;
        }
        if (!prepare__value(d, i, &v))
            return prepare__bad_number(c, first + i, ((const double *)d->data)[i], err);
        c->count++;
        if (levels_add(c->levels, &v) >= PREPARE_LEVELS_MAX)
            return too_many(c, target, err);
    }
    return 0;
}

static int learn_chunk(void *ctx, const struct duck_column *columns, int64_t rows,
                       struct rwf_err *err)
{
    struct learner *l = ctx;
    struct prepare_table *t = l->table;
    for (size_t i = 0; i < t->count; i++) {
        struct prepare_column *c = &t->columns[i];
        if ((c->levels != NULL ? learn_levels : learn_number)(
                c, &columns[i], t->rows, rows, i >= t->features, err) < 0)
            return -1;
    }
    t->rows += rows;
    prepare__progress(l->p, &l->p->train, t->rows, NULL);
    return 0;
}

static int add_number(struct prepare *p, struct features *f, struct prepare_column *c,
                      bool target, struct rwf_err *err)
{
    double std = c->count > 0 ? sqrt(c->squares / (double)c->count) : 0;
    if (!isfinite(std) || !isfinite(c->mean))
        return rwf_fail(
            err, RWF_E_INPUT,
            "column %s: its numbers, up to %g, are too large to standardise: "
            "scale them in the dataset",
            c->name, fmax(fabs(c->least), fabs(c->most)));
    if (c->count == 0 || c->least == c->most) {
        std = target ? 1 : 0;
        prepare__note(p, "note: column %s is %s in the training split%s", c->name,
                      c->count > 0 ? "constant" : "null everywhere",
                      target ? "" : " and tells the model nothing");
    }
    (target ? features_add_target : features_add_number)(f, c->name, c->mean, std);
    return 0;
}

/* levels go over to f, but stay known here for their counts. */
static int add_levels(struct features *f, struct prepare_column *c, bool target,
                      struct rwf_err *err)
{
    levels_sort(c->levels);
    c->given = true;
    (target ? features_set_classes : features_add_category)(f, c->name, c->levels);
    if (!target || levels_count(c->levels) > 1)
        return 0;
    char *only = levels_name(c->levels, 0);
    rwf_fail(err, RWF_E_INPUT,
             "column %s has one class only, %s: there is nothing to learn", c->name,
             only);
    free(only);
    return -1;
}

/* Names, identifiers, or numbers of which one is none. */
static void note_levels(struct prepare *p, const struct prepare_column *c)
{
    int count = levels_count(c->levels);
    if (count >= MANY_LEVELS && count > c->count / 2)
        prepare__note(p,
                      "note: column %s is a category with %d values in %lld rows, most of "
                      "them once: leave it out of model.features, or make it a number in the "
                      "dataset",
                      c->name, count, (long long)c->count);
}

static int add_learned(struct prepare *p, const struct prepare_table *t,
                       struct features *f, struct rwf_err *err)
{
    for (size_t i = 0; i < t->count; i++) {
        struct prepare_column *c = &t->columns[i];
        bool target = i >= t->features;
        if ((c->levels != NULL ? add_levels(f, c, target, err)
                               : add_number(p, f, c, target, err)) < 0)
            return rwf_wrap(err, "dataset.train");
        if (!target && c->levels != NULL)
            note_levels(p, c);
        if (c->nulls > 0 && c->count > 0)
            prepare__note(p, "note: column %s is null in %lld of %lld rows of train%s",
                          c->name, (long long)c->nulls, (long long)t->rows,
                          c->levels != NULL ? "" : "; the mean stands for them");
    }
    if (features_width(f) == 0)
        return rwf_fail(err, RWF_E_INPUT,
                        "dataset.train: no feature has any value to learn from");
    if (features_width(f) > PREPARE_WIDTH_MAX)
        return rwf_fail(
            err, RWF_E_INPUT,
            "model.features: %d numbers for each row are too many: leave out "
            "columns with many categories",
            features_width(f));
    return 0;
}

struct features *prepare__learn(struct prepare *p, struct prepare_table *t,
                                struct rwf_err *err)
{
    struct learner l = { .p = p, .table = t };
    char *list = prepare__list(t, &p->train);
    struct features *f = NULL;
    p->train.phase = "learning";
    int r = prepare__stream(p, &p->train, list, learn_chunk, &l, err);
    if (r == 0 && t->rows == 0)
        r = rwf_fail(err, RWF_E_INPUT, "dataset.train has no rows");
    free(list);
    if (r < 0)
        return NULL;
    f = features_create(t->classifies);
    if (add_learned(p, t, f, err) == 0)
        return f;
    features_close(f);
    return NULL;
}
