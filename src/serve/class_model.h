/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in model of a replica: a checkpoint of train.NAME (model.safetensors, config.json,
 * preprocess.json) that answers JSON rows with predictions.
 *
 *   {"a":1,"b":"x"}            -> {"prediction":"setosa","probabilities":{"setosa":0.98,…}}
 *   [row, …]                   -> [answer, …]
 *   {"rows":[row, …]}          -> {"predictions":[answer, …]}
 *
 * A regression answers {"prediction":number}, or {"prediction":{target: number}} when it has
 * several. All rows of all bodies of a batch go through the model in one forward pass (of at
 * most SERVE_MODEL_ROWS rows). A body that is wrong gets 400 with what is wrong; the others of
 * its batch are not concerned.
 */
#ifndef RWF_SERVE_CLASS_MODEL_H
#define RWF_SERVE_CLASS_MODEL_H
#include <stddef.h>
#include "base/err.h"
#include "base/map.h"
#include "base/str.h"
#include "train/features.h"

#define SERVE_MODEL_ROWS 1024 /* of a forward pass; more rows: several passes */
#define SERVE_MODEL_BODY_ROWS 65536

struct serve_model;

struct serve_model_body {
    const void *data;
    size_t size;
};

struct serve_model_reply {
    int status;       /* 200 or 400 */
    const char *data; /* JSON */
    size_t size;
};

/* device: "cpu" or "cuda"; threads: of the CPU. RWF_E_INPUT names the file and what is
 * wrong. */
struct serve_model *serve_model_open(const char *folder, const char *device,
                                     int threads, struct rwf_err *err);
void serve_model_close(struct serve_model *m);
/* Replies are valid until the next call. */
void serve_model_answer(struct serve_model *m, const struct serve_model_body *bodies,
                        int count, struct serve_model_reply *replies);

/* --- rows (class_model_rows.c) --- */

enum serve__rows_shape { SERVE__ROWS_ONE, SERVE__ROWS_LIST, SERVE__ROWS_OBJECT };

/* From bodies to floats: a reader of its own for what rows look like nearly always,
 * jansson for the rest and for saying what is wrong. */
struct serve__rows {
    const struct features *f;
    struct rwf_map *index; /* name -> &columns[i] */
    struct serve__column *columns;
    int column_count, width;
    uint64_t row; /* of columns' `seen` */
    float *x;     /* [cap, width] */
    int count, cap;
};

void serve__rows_init(struct serve__rows *r, const struct features *f);
void serve__rows_free(struct serve__rows *r);
/* Appends the rows of a body; -1: none was, and *err says why. */
int serve__rows_read(struct serve__rows *r, const char *body, size_t size,
                     enum serve__rows_shape *ret_shape, struct rwf_err *err);

/* --- answers (class_model_reply.c) --- */

struct serve__replies {
    const struct features *f;
    struct serve__class {
        char *value; /* JSON of the class */
        char *key;   /* "\"setosa\":" */
        size_t value_len, key_len;
    } *classes; /* or targets: key alone */
    int outputs;
    struct rwf_str text;
};

void serve__replies_init(struct serve__replies *r, const struct features *f);
void serve__replies_free(struct serve__replies *r);
/* Adds the answer of one row from the model's outputs. */
void serve__replies_row(struct serve__replies *r, const float *outputs);
/* Adds a number as JSON; one that is not finite is null. */
void serve__add_number(struct rwf_str *to, double x);

#endif
