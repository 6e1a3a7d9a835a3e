/* SPDX-License-Identifier: Apache-2.0
 *
 * Data as training reads it: a folder with data.json and plain little-endian files that are
 * mapped, so that ranks need no DuckDB and share one copy in the page cache.
 *
 *   data.json  {"v":1,"kind":"rows","features":F,"outputs":N,"task":"classification"|
 *               "regression","classes":[names]?,"class_weights":[floats]?,
 *               "targets":[{"name","mean","std"}]?,
 *               "splits":{"train":{"rows":R},"val":{"rows":R}}}
 *              {"v":1,"kind":"tokens","vocab":V,"end":id,"width":2|4,
 *               "splits":{"train":{"tokens":T},"val":{"tokens":T}}}
 *              both with "files": {name: bytes} and "made_of": a digest of what it is of
 *   SPLIT.x    float [R, F]        SPLIT.y   int32 [R] classes, or float [R, outputs],
 *              standardised as the features are: losses are in units of the target's
 *              standard deviation, features_value gives back the original ones
 *   SPLIT.ids  uint16 or uint32 [T]: all texts of the split in order, each ended by the
 *              tokenizer's end token; sequences are cut from it (packing)
 *   preprocess.json (rows, features.h), tokenizer.json (tokens)
 */
#ifndef RWF_TRAIN_PREPARED_H
#define RWF_TRAIN_PREPARED_H
#include <jansson.h>
#include "plan/op.h"

/* Makes folder `to` for a spec (of op_train.c): reads spec.dataset.{train,val} (paths of
 * parquet, csv or jsonl files) with DuckDB; learns standardisation, one-hot and classes, or the
 * tokenizer, on the training split only. r: for progress and the memory limit. Finds a finished
 * folder and keeps it. *ret_info: data.json. RWF_E_INPUT names the file, column and row. */
int prepare_data(const struct op_run *r, const json_t *spec, const char *to, json_t **ret_info,
                 struct rwf_err *err);

#endif
