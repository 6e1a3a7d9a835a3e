/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules of a grammar, for those who write them (grammar_schema.c). A rule has alternatives, an
 * alternative is a sequence of byte classes and rules. No rule may come back to itself without a
 * byte in between.
 */
#ifndef RWF_LLM_GRAMMAR_IMPL_H
#define RWF_LLM_GRAMMAR_IMPL_H
#include "llm/grammar.h"

struct grammar__element {
    enum { GRAMMAR__END, GRAMMAR__BYTES, GRAMMAR__RULE } kind;
    int arg; /* a class, a rule */
};

/* A sequence while it is written; zero-initialise. */
struct grammar__seq {
    struct grammar__element *elements;
    size_t count, cap;
};

struct grammar *grammar__create(void);
/* A new rule without alternatives; rule 0 is the start. */
int grammar__rule(struct grammar *g);
size_t grammar__rules(const struct grammar *g); /* how many there are */
void grammar__text(struct grammar *g, struct grammar__seq *s, const char *bytes, size_t len);
/* One byte of ranges: pairs "az09". */
void grammar__range(struct grammar *g, struct grammar__seq *s, const char *pairs, size_t len);
void grammar__call(struct grammar__seq *s, int rule);
/* The sequence becomes an alternative of rule, and is empty again. */
void grammar__alternative(struct grammar *g, int rule, struct grammar__seq *s);
/* False when a rule comes back to itself without a byte in between: such rules must not be used. */
bool grammar__sound(const struct grammar *g);

/* The bits for state, if they are kept; they live until the next one is kept. */
uint32_t *grammar__mask(struct grammar *g, int state);
/* Takes them. Of very many the older ones are let go. */
void grammar__keep_mask(struct grammar *g, int state, uint32_t *mask);

#endif
