/* SPDX-License-Identifier: Apache-2.0
 *
 * The different values of a column, numbered: categories and classes. Whole numbers and
 * fractions are one kind: 1 and 1.0 are the same value.
 */
#ifndef RWF_TRAIN_FEATURES_LEVELS_H
#define RWF_TRAIN_FEATURES_LEVELS_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum levels_kind { LEVELS_TEXT, LEVELS_NUMBER, LEVELS_BOOLEAN };

/* A value of any kind. */
struct levels_value {
    const char *text; /* LEVELS_TEXT: bytes, and how many */
    size_t len;
    int64_t whole; /* LEVELS_NUMBER that is whole; LEVELS_BOOLEAN: 0 or 1 */
    double real;   /* any other number */
    bool is_real;
};

struct levels;

struct levels *levels_create(enum levels_kind kind);
void levels_destroy(struct levels *l);
enum levels_kind levels_kind(const struct levels *l);
int levels_count(const struct levels *l);

struct levels_value levels_text(const char *text, size_t len);
struct levels_value levels_whole(int64_t number);
struct levels_value levels_real(double number); /* finite */

/* The number of a value, or -1. */
int levels_find(const struct levels *l, const struct levels_value *v);
/* The same; adds it when it is new. Counts it. */
int levels_add(struct levels *l, const struct levels_value *v);
/* How often levels_add got the i-th. */
int64_t levels_seen(const struct levels *l, int i);
/* Numbers them anew: text by its bytes, numbers by size, false before true. */
void levels_sort(struct levels *l);

/* The i-th as JSON, which the caller decrefs, and as text, which it frees. */
json_t *levels_json(const struct levels *l, int i);
char *levels_name(const struct levels *l, int i);
/* The value of JSON; false when it is not of l's kind. Borrows v's text. */
bool levels_of_json(const struct levels *l, const json_t *value,
                    struct levels_value *ret);

#endif
