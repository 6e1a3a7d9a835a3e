/* SPDX-License-Identifier: Apache-2.0
 *
 * Prepared data and job files for tests of the training loop.
 */
#ifndef RWF_TESTS_TRAIN_RIG_H
#define RWF_TESTS_TRAIN_RIG_H
#include <jansson.h>
#include <stdint.h>

enum rig_kind { RIG_CLASSES, RIG_VALUES, RIG_TOKENS };

/* Numbers that are the same everywhere: rig_uniform(n) is the n-th, in [-1, 1). */
double rig_uniform(uint64_t n);

/* Makes FOLDER/data with `rows` rows of 8 features in 3 classes (or one value), or a text of
 * `rows` tokens with its tokenizer, and a quarter as much for validation. The result is a
 * job in FOLDER that trains a small model on it: change it, then rig_write. */
json_t *rig_job(const char *folder, enum rig_kind kind, int rows);
/* As FOLDER/NAME.json, whose path the caller frees. */
char *rig_write(const char *folder, const char *name, const json_t *job);

#endif
