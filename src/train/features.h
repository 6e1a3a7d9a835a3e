/* SPDX-License-Identifier: Apache-2.0
 *
 * From a row to the numbers that a model reads, and back from what it answers: learned
 * on the training split, kept in preprocess.json, which travels with the checkpoint:
 *
 *   {"v":1,"task":"classification"|"regression","width":F,
 *    "features":[{"name","kind":"number","mean","std"},
 *                {"name","kind":"category","type","categories":[values, sorted]}],
 *    "targets":[{"name","type","classes":[values, sorted]}] | [{"name","mean","std"}]}
 *
 * A number becomes (x - mean) / std; a null, and any number of a column that was
 * constant (std 0), becomes 0. A category becomes as many numbers as there are, 1 at
 * its place; a null and a value that was not there become 0 everywhere. The values of a
 * column are all of one type: text, number or boolean.
 */
#ifndef RWF_TRAIN_FEATURES_H
#define RWF_TRAIN_FEATURES_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "train/features_levels.h"

struct features;

/* --- of a preprocess.json --- */

struct features *features_open(const char *path, struct rwf_err *err);
/* name: of where it comes from, for errors. */
struct features *features_parse(const json_t *json, const char *name,
                                struct rwf_err *err);
void features_close(struct features *f);

/* Floats of a row, and of an answer: classes, or targets. */
int features_width(const struct features *f);
int features_outputs(const struct features *f);
bool features_classifies(const struct features *f);
/* to[width] = the row {column: value}. Columns beyond the features are passed over.
 * RWF_E_INPUT names the column that is not there or of another type. */
int features_row(const struct features *f, const json_t *row, float *to,
                 struct rwf_err *err);
/* The name of target i (classification: of the one), and the class (which the caller
 * decrefs) or the number that an output means. */
const char *features_target(const struct features *f, int i);
json_t *features_class(const struct features *f, int i);
double features_value(const struct features *f, int target, float output);

/* --- being learned: columns in order, then targets --- */

struct features *features_create(bool classifies);
void features_add_number(struct features *f, const char *name, double mean, double std);
/* Takes levels over. */
void features_add_category(struct features *f, const char *name, struct levels *levels);
void features_add_target(struct features *f, const char *name, double mean, double std);
void features_set_classes(struct features *f, const char *name, struct levels *classes);
/* preprocess.json; the caller decrefs it. */
json_t *features_json(const struct features *f);

/* --- by column, for many rows --- */

struct features_column {
    const char *name;
    int at; /* its first float in a row; targets: its number */
    double mean, std;
    const struct levels *levels; /* of a category or of classes, else NULL */
};
int features_count(const struct features *f);
struct features_column features_column(const struct features *f, int i);
struct features_column features_target_column(const struct features *f, int i);

static inline float features_standard(double x, double mean, double std)
{
    return std > 0 ? (float)((x - mean) / std) : 0.0f;
}

#endif
