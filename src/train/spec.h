/* SPDX-License-Identifier: Apache-2.0
 *
 * What a `train` entry says, as JSON: the recipe's own shape with every default filled
 * in.
 *
 * {"dataset":{"train","val"?},"model":{…},"tokenizer"?,"sequence_length"?,
 *  "optimizer":{"type","learning_rate","weight_decay","betas","epsilon","momentum"},
 *  "schedule":{"type","warmup":{"steps"|"fraction"},"final"},"global_batch_size",
 *  "max_length":{"epochs"|"steps"|"tokens"},"gradient_clipping","precision","seed",
 *  "evaluate":{"every":{"steps"|"epochs"},"batches"},"early_stopping"?,
 *  "checkpoint":{"every","keep":{"best","latest"},"metric"?,"mode"?},"sample"?,"tensorboard",
 *  "env",
 *  and in PLAN_RUN mode, because they do not decide the result: "workers",
 *  "micro_batch_size","device","shard","heartbeat" (ns)}
 */
#ifndef RWF_TRAIN_SPEC_H
#define RWF_TRAIN_SPEC_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "plan/graph.h"

/* What stands at a dotted path, or NULL. */
json_t *spec_at(const json_t *json, const char *path);
const char *spec_text(const json_t *json, const char *path);
int64_t spec_int(const json_t *json, const char *path, int64_t otherwise);
double spec_number(const json_t *json, const char *path, double otherwise);

/* A finding: what is wrong with the value (or, on_key, with the key itself) at path,
 * and what to do (may be NULL). */
struct spec_finding {
    const char *path;
    bool on_key;
    const char *text, *hint;
};
typedef void (*spec_say_fn)(void *ctx, const struct spec_finding *f);
/* The rules that the schema cannot say, over a body as JSON: the recipe's, in which
 * references may still stand as text (then nothing is said of them), or a resolved one.
 */
void spec_check(const json_t *body, spec_say_fn say, void *ctx);
/* The same for an entry that is a program of others. */
void spec_check_program(const json_t *body, spec_say_fn say, void *ctx);

/* Fills in the defaults of the language. */
void spec_fill(json_t *spec);
/* "min" or "max": what is better for a metric. */
const char *spec_mode(const char *metric);

/* For ops: both run the rules. */
void spec_validate(const char *name, const struct recipe_node *body,
                   struct recipe_diags *diags, bool program);
json_t *spec_make(const struct plan_graph *g, const struct plan_step *step,
                  struct rwf_err *err);

#endif
