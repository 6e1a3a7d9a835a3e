/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside prepare_data: which columns rows are made of, and what is learned of them on
 * the training split.
 */
#ifndef RWF_TRAIN_PREPARE_LEARN_H
#define RWF_TRAIN_PREPARE_LEARN_H
#include "train/features.h"
#include "train/prepare.h"

#define PREPARE_LEVELS_MAX 10000     /* categories of a column; classes */
#define PREPARE_WIDTH_MAX (16 << 20) /* floats of a row */

struct prepare_column {
    const char *name;       /* of the spec, or of the split's columns */
    enum prepare_type type; /* in the training split */
    struct levels *levels;  /* of a category or the classes, else NULL */
    bool given;             /* to the features, which free them */
    int64_t count, nulls;
    double mean, squares, least, most; /* squares: of the distances from the mean */
};

/* Features first, then targets. */
struct prepare_table {
    struct prepare_column *columns;
    size_t count, features;
    struct rwf_map *names; /* of the columns so far */
    bool classifies;
    int64_t rows; /* of the training split */
};

/* Reads model.target, features and categorical. */
int prepare__choose(struct prepare *p, struct prepare_table *t, struct rwf_err *err);
void prepare__table_free(struct prepare_table *t);
/* The columns as a split has them, cast to what the table's types are read as. */
char *prepare__list(const struct prepare_table *t, const struct prepare_split *s);
/* One pass over the training split. */
struct features *prepare__learn(struct prepare *p, struct prepare_table *t,
                                struct rwf_err *err);
/* A value that is not null, as a level's; false: it is no finite number. */
bool prepare__value(const struct duck_column *c, int64_t row, struct levels_value *ret);
/* RWF_E_INPUT for what a cell has; row from 0. */
int prepare__bad_number(const struct prepare_column *c, int64_t row, double value,
                        struct rwf_err *err);
int prepare__no_target(const struct prepare_column *c, int64_t row,
                       struct rwf_err *err);

#endif
