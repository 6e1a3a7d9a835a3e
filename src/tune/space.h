/* SPDX-License-Identifier: Apache-2.0
 *
 * A search space: named parameters with a distribution each, some of which exist only
 * when another one has a certain value.
 *
 *   {"train.m.optimizer.type": {"type": "choice", "values": ["sgd", "adamw"]},
 *    "train.m.optimizer.learning_rate":
 *        {"type": "loguniform", "min": 1e-5, "max": 0.1},
 *    "train.m.optimizer.momentum":
 *        {"type": "uniform", "min": 0, "max": 0.99,
 *         "when": {"train.m.optimizer.type": "sgd"}}}
 *
 *   choice {values}        one of the values, all equally likely
 *   grid {values}          every one of the values, crossed with all else: grid.h
 *   uniform {min, max}     a real number
 *   loguniform {min, max}  a real number, uniform in its logarithm
 *   quniform {min, max, q} min + k q
 *   int {min, max, step}   min + k step; step is 1 when not given
 *   logint {min, max}      a whole number, uniform in its logarithm
 *   normal {mean, std}     a real number without bounds
 *   when {key: value}      only where that parameter has this value, or one of a list;
 *                          of several keys, all
 *
 * Parameters are numbered in the byte order of their keys, so the order of the recipe's
 * lines decides nothing. Inside, a configuration is one double for each parameter: the
 * index of a value (choice, grid), the number itself (others), or NaN where the
 * parameter does not exist. Outside it is a JSON object of the parameters that exist,
 * in the order of their numbers.
 *
 * Each parameter also has a unit coordinate in [0, 1], in which its distribution is
 * uniform: samplers think in that. A space never changes and may be shared.
 */
#ifndef RWF_TUNE_SPACE_H
#define RWF_TUNE_SPACE_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum tune_type {
    TUNE_CHOICE,
    TUNE_GRID,
    TUNE_UNIFORM,
    TUNE_LOGUNIFORM,
    TUNE_QUNIFORM,
    TUNE_INT,
    TUNE_LOGINT,
    TUNE_NORMAL,
};

struct tune_condition {
    uint32_t parent; /* the number of the other parameter */
    double *allowed; /* its values for which the condition holds, inside form */
    size_t count;
};

struct tune_param {
    const char *key;
    enum tune_type type;
    json_t *values;    /* choice, grid */
    uint64_t levels;   /* how many values there are; 0: not countable */
    double min, max;   /* normal: -inf, inf */
    double step;       /* int, quniform */
    double mean, std;  /* normal */
    double low, width; /* logarithms' range: loguniform, logint */
    struct tune_condition *when;
    size_t when_count;
    uint32_t group; /* those with the same `when` exist together: they share a number */
};

struct tune_space;

struct tune_space *tune_space_create(const json_t *spec, struct rwf_err *err);
void tune_space_destroy(struct tune_space *s);

uint32_t tune_space_count(const struct tune_space *s);
const struct tune_param *tune_space_param(const struct tune_space *s, uint32_t i);
/* The number of the parameter, or -1. */
int64_t tune_space_find(const struct tune_space *s, const char *key);
uint32_t tune_space_group_count(const struct tune_space *s);
/* The parameters' numbers, each after those that its `when` names. */
const uint32_t *tune_space_order(const struct tune_space *s);
/* Whether parameter i exists, given those before it in the order above. */
bool tune_space_exists(const struct tune_space *s, uint32_t i, const double *x);

/* The value at a unit coordinate, and the coordinate of a value: the middle of the
 * interval that leads to it for those with levels. */
double tune_param_at(const struct tune_param *p, double unit);
double tune_param_unit(const struct tune_param *p, double value);
/* The interval of unit coordinates that lead to value; empty for the continuous. */
void tune_param_cell(const struct tune_param *p, double value, double *low,
                     double *high);
/* The value in JSON, new. */
json_t *tune_param_json(const struct tune_param *p, double value);

/* The configuration x in JSON, new. */
json_t *tune_space_config(const struct tune_space *s, const double *x);
/* Reads a configuration into x. When `partial`, parameters may be missing: theirs are
 * NaN. */
int tune_space_read(const struct tune_space *s, const json_t *config, bool partial,
                    double *x, struct rwf_err *err);
/* Makes x consistent after some values changed: forgets the parameters that exist no
 * more, and asks fill(arg, i) for the values of those that now do and are NaN. */
typedef double (*tune_fill_fn)(void *arg, uint32_t i);
void tune_space_settle(const struct tune_space *s, double *x, tune_fill_fn fill,
                       void *arg);

#endif
