/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules of JSON, and the words in which rules of what is made of it are written. White space
 * between is a space, or a line and up to 20 blanks, so that no model writes blanks for ever.
 */
#ifndef RWF_LLM_GRAMMAR_JSON_H
#define RWF_LLM_GRAMMAR_JSON_H
#include "base/map.h"
#include "llm/grammar_impl.h"

/* A grammar while it is written. */
struct rules {
    struct grammar *g;
    const json_t *root; /* that a $ref points into */
    struct rwf_err *err;
    struct rwf_map *refs; /* "#/$defs/a" -> rule + 1 */
    int depth;
    size_t properties, values; /* so far */
    int space, string, number, integer, value, object, array, character; /* of JSON */
};

/* Opens with the start (rule 0) without alternatives, and JSON's rules. */
void rules_open(struct rules *w, const json_t *root, struct rwf_err *err);
/* The grammar when all was good and the rules are sound (else RWF_E_USAGE), or NULL. */
struct grammar *rules_close(struct rules *w, bool good);

/* Add to a sequence. */
void rules_text(struct rules *w, struct grammar__seq *s, const char *bytes);
void rules_comma(struct rules *w, struct grammar__seq *s); /* with white space */
/* The sequence becomes an alternative of rule; an empty one; that of another rule. */
void rules_end(struct rules *w, int rule, struct grammar__seq *s);
void rules_empty(struct rules *w, int rule);
void rules_one_of(struct rules *w, int rule, int alternative);

/* New rules: a text, from least to most (-1: any number) of one, one in quotes, items in brackets
 * (which may be nothing), items with commas between, "key": value. */
int rules_of_text(struct rules *w, const char *bytes, size_t len);
int rules_repeated(struct rules *w, int rule, int least, int most);
int rules_quoted(struct rules *w, int inside);
int rules_brackets(struct rules *w, const char *open, int items, const char *close);
int rules_list(struct rules *w, int item, int least, int most);
int rules_pair(struct rules *w, int key, int value);

#endif
