/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "train/features.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/suggest.h"

#define FEATURES_FILE_MAX (256 << 20)

struct column {
    char *name;
    double mean, std;
    struct levels *levels; /* NULL: a number */
    int at;
};

struct list {
    struct column *items;
    size_t count, cap;
};

struct features {
    bool classifies;
    struct list columns, targets;
    int width;
};

/* --- being learned --- */

struct features *features_create(bool classifies)
{
    struct features *f = rwf_xcalloc(1, sizeof(*f));
    f->classifies = classifies;
    return f;
}

static void list_free(struct list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].name);
        levels_destroy(list->items[i].levels);
    }
    free(list->items);
}

void features_close(struct features *f)
{
    if (f == NULL)
        return;
    list_free(&f->columns);
    list_free(&f->targets);
    free(f);
}

static void add(struct list *list, const char *name, double mean, double std,
                struct levels *levels, int at)
{
    struct column *c = RWF_PUSH(list->items, list->count, list->cap);
    *c = (struct column){
        .name = rwf_xstrdup(name), .mean = mean, .std = std, .levels = levels, .at = at
    };
}

void features_add_number(struct features *f, const char *name, double mean, double std)
{
    add(&f->columns, name, mean, std, NULL, f->width++);
}

void features_add_category(struct features *f, const char *name, struct levels *levels)
{
    add(&f->columns, name, 0, 0, levels, f->width);
    f->width += levels_count(levels);
}

void features_add_target(struct features *f, const char *name, double mean, double std)
{
    rwf_assert(!f->classifies);
    add(&f->targets, name, mean, std, NULL, (int)f->targets.count);
}

void features_set_classes(struct features *f, const char *name, struct levels *classes)
{
    rwf_assert(f->classifies && f->targets.count == 0);
    add(&f->targets, name, 0, 0, classes, 0);
}

/* --- what is in it --- */

int features_width(const struct features *f)
{
    return f->width;
}

int features_outputs(const struct features *f)
{
    return f->classifies ? levels_count(f->targets.items[0].levels)
                         : (int)f->targets.count;
}

bool features_classifies(const struct features *f)
{
    return f->classifies;
}

int features_count(const struct features *f)
{
    return (int)f->columns.count;
}

static struct features_column column_of(const struct column *c)
{
    return (struct features_column){ .name = c->name,
                                     .at = c->at,
                                     .mean = c->mean,
                                     .std = c->std,
                                     .levels = c->levels };
}

struct features_column features_column(const struct features *f, int i)
{
    return column_of(&f->columns.items[i]);
}

struct features_column features_target_column(const struct features *f, int i)
{
    return column_of(&f->targets.items[i]);
}

const char *features_target(const struct features *f, int i)
{
    return f->targets.items[i].name;
}

json_t *features_class(const struct features *f, int i)
{
    return levels_json(f->targets.items[0].levels, i);
}

double features_value(const struct features *f, int target, float output)
{
    const struct column *c = &f->targets.items[target];
    return (double)output * c->std + c->mean;
}

/* --- preprocess.json: out --- */

static const char *const kind_names[] = { [LEVELS_TEXT] = "text",
                                          [LEVELS_NUMBER] = "number",
                                          [LEVELS_BOOLEAN] = "boolean" };

static json_t *values_json(const struct levels *l)
{
    json_t *values = json_array();
    for (int i = 0; i < levels_count(l); i++)
        json_array_append_new(values, levels_json(l, i));
    return values;
}

json_t *features_json(const struct features *f)
{
    json_t *features = json_array(), *targets = json_array();
    for (size_t i = 0; i < f->columns.count; i++) {
        const struct column *c = &f->columns.items[i];
        json_array_append_new(
            features,
            c->levels != NULL
                ? json_pack("{s:s, s:s, s:s, s:o}", "name", c->name, "kind", "category",
                            "type", kind_names[levels_kind(c->levels)], "categories",
                            values_json(c->levels))
                : json_pack("{s:s, s:s, s:f, s:f}", "name", c->name, "kind", "number",
                            "mean", c->mean, "std", c->std));
    }
    for (size_t i = 0; i < f->targets.count; i++) {
        const struct column *c = &f->targets.items[i];
        json_array_append_new(
            targets, c->levels != NULL
                         ? json_pack("{s:s, s:s, s:o}", "name", c->name, "type",
                                     kind_names[levels_kind(c->levels)], "classes",
                                     values_json(c->levels))
                         : json_pack("{s:s, s:f, s:f}", "name", c->name, "mean",
                                     c->mean, "std", c->std));
    }
    return json_pack("{s:i, s:s, s:i, s:o, s:o}", "v", 1, "task",
                     f->classifies ? "classification" : "regression", "width", f->width,
                     "features", features, "targets", targets);
}

/* --- preprocess.json: in; nothing in it is believed --- */

static int parse_kind(const json_t *item, enum levels_kind *ret, struct rwf_err *err)
{
    const char *type = json_string_value(json_object_get(item, "type"));
    for (size_t i = 0; type != NULL && i < RWF_COUNT(kind_names); i++)
        if (strcmp(type, kind_names[i]) == 0) {
            *ret = (enum levels_kind)i;
            return 0;
        }
    return rwf_fail(err, RWF_E_INPUT, "type must be text, number or boolean");
}

static int parse_values(struct levels *l, const json_t *values, struct rwf_err *err)
{
    struct levels_value v;
    size_t i;
    json_t *value;
    if (!json_is_array(values))
        return rwf_fail(err, RWF_E_INPUT, "its values are not a list");
    json_array_foreach((json_t *)values, i, value) {
        if (!levels_of_json(l, value, &v))
            return rwf_fail(err, RWF_E_INPUT, "value %zu is not of its type", i);
        if (levels_add(l, &v) != (int)i)
            return rwf_fail(err, RWF_E_INPUT, "value %zu is there twice", i);
    }
    return 0;
}

static struct levels *parse_levels(const json_t *item, const char *key,
                                   struct rwf_err *err)
{
    enum levels_kind kind = LEVELS_TEXT;
    if (parse_kind(item, &kind, err) < 0)
        return NULL;
    struct levels *l = levels_create(kind);
    if (parse_values(l, json_object_get(item, key), err) == 0)
        return l;
    levels_destroy(l);
    return NULL;
}

static int parse_number(const json_t *item, double *mean, double *std,
                        struct rwf_err *err)
{
    *mean = json_number_value(json_object_get(item, "mean"));
    *std = json_number_value(json_object_get(item, "std"));
    if (!json_is_number(json_object_get(item, "mean")) ||
        !json_is_number(json_object_get(item, "std")) || !(*std >= 0))
        return rwf_fail(err, RWF_E_INPUT,
                        "mean and std must be numbers, std not below 0");
    return 0;
}

static int parse_feature(struct features *f, const char *name, const json_t *item,
                         struct rwf_err *err)
{
    const char *kind = json_string_value(json_object_get(item, "kind"));
    double mean, std;
    if (kind != NULL && strcmp(kind, "category") == 0) {
        struct levels *l = parse_levels(item, "categories", err);
        if (l == NULL)
            return -1;
        features_add_category(f, name, l);
        return 0;
    }
    if (kind == NULL || strcmp(kind, "number") != 0)
        return rwf_fail(err, RWF_E_INPUT, "kind must be number or category");
    if (parse_number(item, &mean, &std, err) < 0)
        return -1;
    features_add_number(f, name, mean, std);
    return 0;
}

static int parse_target(struct features *f, const char *name, const json_t *item,
                        struct rwf_err *err)
{
    double mean, std;
    if (!f->classifies) {
        if (parse_number(item, &mean, &std, err) < 0)
            return -1;
        features_add_target(f, name, mean, std);
        return 0;
    }
    if (f->targets.count > 0)
        return rwf_fail(err, RWF_E_INPUT, "classification has one target");
    struct levels *l = parse_levels(item, "classes", err);
    if (l == NULL)
        return -1;
    features_set_classes(f, name, l);
    return 0;
}

static int parse_list(struct features *f, const json_t *json, const char *key,
                      int (*parse)(struct features *, const char *, const json_t *,
                                   struct rwf_err *),
                      struct rwf_err *err)
{
    const json_t *items = json_object_get(json, key);
    size_t i;
    json_t *item;
    if (json_array_size(items) == 0)
        return rwf_fail(err, RWF_E_INPUT, "%s must be a list, not empty", key);
    json_array_foreach((json_t *)items, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name == NULL)
            return rwf_fail(err, RWF_E_INPUT, "%s[%zu] has no name", key, i);
        if (parse(f, name, item, err) < 0)
            return rwf_wrap(err, "%s[%zu] (%s)", key, i, name);
    }
    return 0;
}

struct features *features_parse(const json_t *json, const char *name,
                                struct rwf_err *err)
{
    const char *task = json_string_value(json_object_get(json, "task"));
    bool classifies = task != NULL && strcmp(task, "classification") == 0;
    struct features *f = features_create(classifies);
    int r = -1;
    if (json_integer_value(json_object_get(json, "v")) != 1)
        rwf_fail(err, RWF_E_INPUT, "v is not 1: written by another version");
    else if (!classifies && (task == NULL || strcmp(task, "regression") != 0))
        rwf_fail(err, RWF_E_INPUT, "task must be classification or regression");
    else if (parse_list(f, json, "features", parse_feature, err) == 0 &&
             parse_list(f, json, "targets", parse_target, err) == 0)
        r = json_integer_value(json_object_get(json, "width")) == f->width
                ? 0
                : rwf_fail(err, RWF_E_INPUT, "width is not the features' %d", f->width);
    if (r == 0)
        return f;
    features_close(f);
    rwf_wrap(err, "%s", name);
    return NULL;
}

struct features *features_open(const char *path, struct rwf_err *err)
{
    size_t len;
    json_error_t why;
    struct features *f = NULL;
    char *text = rwf_fs_read(path, FEATURES_FILE_MAX, &len, err);
    if (text == NULL)
        return NULL;
    json_t *json = json_loadb(text, len, 0, &why);
    if (json != NULL)
        f = features_parse(json, path, err);
    else
        rwf_fail(err, RWF_E_INPUT, "%s:%d: %s", path, why.line, why.text);
    json_decref(json);
    free(text);
    return f;
}

/* --- one row --- */

static int no_column(const json_t *row, const char *name, struct rwf_err *err)
{
    struct rwf_suggest near;
    const char *key;
    json_t *value;
    rwf_suggest_init(&near, name);
    json_object_foreach((json_t *)row, key, value)
        rwf_suggest_try(&near, key);
    const char *best = rwf_suggest_best(&near);
    if (best != NULL)
        return rwf_fail(err, RWF_E_INPUT,
                        "the row has no '%s' but '%s'; null is allowed", name, best);
    return rwf_fail(err, RWF_E_INPUT, "the row has no '%s'; null is allowed", name);
}

static int put_number(const struct column *c, const json_t *value, float *to,
                      struct rwf_err *err)
{
    double x = json_number_value(value);
    if (!json_is_number(value) || !isfinite(x))
        return rwf_fail(err, RWF_E_INPUT, "'%s' must be a number or null", c->name);
    *to = features_standard(x, c->mean, c->std);
    return 0;
}

static int put_category(const struct column *c, const json_t *value, float *to,
                        struct rwf_err *err)
{
    static const char *const kinds[] = { [LEVELS_TEXT] = "text",
                                         [LEVELS_NUMBER] = "a number",
                                         [LEVELS_BOOLEAN] = "true or false" };
    struct levels_value v;
    if (!levels_of_json(c->levels, value, &v))
        return rwf_fail(err, RWF_E_INPUT, "'%s' must be %s or null", c->name,
                        kinds[levels_kind(c->levels)]);
    int i = levels_find(c->levels, &v);
    if (i >= 0)
        to[i] = 1;
    return 0;
}

int features_row(const struct features *f, const json_t *row, float *to,
                 struct rwf_err *err)
{
    memset(to, 0, (size_t)f->width * sizeof(*to));
    if (!json_is_object(row))
        return rwf_fail(err, RWF_E_INPUT, "a row must be an object {column: value}");
    for (size_t i = 0; i < f->columns.count; i++) {
        const struct column *c = &f->columns.items[i];
        const json_t *value = json_object_get(row, c->name);
        if (value == NULL)
            return no_column(row, c->name, err);
        if (json_is_null(value))
            continue;
        if ((c->levels != NULL ? put_category : put_number)(c, value, to + c->at, err) <
            0)
            return -1;
    }
    return 0;
}
