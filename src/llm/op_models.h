/* SPDX-License-Identifier: Apache-2.0
 *
 * `models` of a recipe: a folder that is there (path), one that is downloaded (url), or
 * another one quantised (from). What an entry stands for is the folder.
 */
#ifndef RWF_LLM_OP_MODELS_H
#define RWF_LLM_OP_MODELS_H
#include <jansson.h>
#include "plan/op.h"

extern const struct op llm_model_path_op; /* path: it stays where it is */
extern const struct op llm_model_op;      /* url, from */

/* --- op_models_fetch.c --- */

/* The model's files at an address, into folder; spec: {"url", "headers", "sha256"}. */
int llm__models_fetch(struct op_run *r, const char *folder, struct rwf_err *err);
/* Files have these checksums: {"model.safetensors": "…"}, or the text of that one's. */
int llm__models_checksums(const char *folder, const json_t *sha256,
                          struct rwf_err *err);

#endif
