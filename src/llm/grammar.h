/* SPDX-License-Identifier: Apache-2.0
 *
 * Constrained decoding: a grammar over bytes, and which tokens may come next under it.
 *
 *   JSON Schema, choices, tools  --grammar_schema.c-->  rules (context free)
 *   rules  --grammar.c-->  states, made as they are reached: a set of stacks each, with a table
 *                          of what each byte leads to
 *   state + vocabulary  --grammar_mask.c-->  the bits of the tokens that may come, kept per state
 *
 * A grammar may be shared by many constraints; all of them are used by one thread (the engine's).
 */
#ifndef RWF_LLM_GRAMMAR_H
#define RWF_LLM_GRAMMAR_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "llm/engine.h"
#include "text/tokenizer.h"

struct grammar;

/* One reference, for grammar_drop. RWF_E_USAGE names the place in the schema ("#/properties/a")
 * and what is not supported there. */
struct grammar *grammar_schema(const json_t *schema, struct rwf_err *err);
struct grammar *grammar_object(void); /* any JSON object */
/* One of the texts. */
struct grammar *grammar_choice(const json_t *texts, struct rwf_err *err);
/* One or more calls of tools in the Hermes format, of `only` (NULL: of any). */
struct grammar *grammar_calls(const json_t *tools, const char *only, bool several,
                              struct rwf_err *err);
void grammar_keep(struct grammar *g);
void grammar_drop(struct grammar *g);

/* --- states --- */

#define GRAMMAR_DEAD (-1)
int grammar_start(struct grammar *g);
/* The state after one more byte, or GRAMMAR_DEAD. */
int grammar_next(struct grammar *g, int state, uint8_t byte);
/* What was read is whole. */
bool grammar_complete(const struct grammar *g, int state);
/* How many states there are: a grammar with very many should not be given to new requests. */
int grammar_states(const struct grammar *g);

/* --- tokens --- */

/* The tokens' bytes as a tree; made once for a tokenizer, by any thread, then shared. */
struct vocabulary;
struct vocabulary *vocabulary_create(const struct tokenizer *t, int64_t vocab,
                                     const int32_t *ends, int end_count);
void vocabulary_destroy(struct vocabulary *v);
/* Constraint for llm_submit; takes the reference. begin and end: ids around what may come before
 * (the thinking), which is free. begin -1: the reply is within it from the start; both -1:
 * nothing comes before. v must outlive it. */
void grammar_constrain(struct grammar *g, struct vocabulary *v, int32_t begin, int32_t end,
                       struct llm_constraint *ret);

#endif
