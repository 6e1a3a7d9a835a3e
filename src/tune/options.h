/* SPDX-License-Identifier: Apache-2.0
 *
 * Options of samplers and schedulers: a table of name, kind, range and place in a
 * struct, read from a JSON object. Every failure names the key and what it may be.
 */
#ifndef RWF_TUNE_OPTIONS_H
#define RWF_TUNE_OPTIONS_H
#include <jansson.h>
#include <stddef.h>
#include "base/err.h"

enum tune__kind { TUNE__INT, TUNE__REAL, TUNE__BOOL, TUNE__WORD };

struct tune__option {
    const char *name;
    enum tune__kind kind;
    size_t offset;      /* of an int64_t, double, bool or int (the word's index) */
    double least, most; /* inclusive; most 0: none */
    const char *const *words; /* NULL-terminated, for TUNE__WORD */
};

/* Reads into *out what spec (an object, or NULL) has; the rest of *out keeps its
 * values. The key "type" is skipped. `what` begins the messages: "scheduler asha". */
int tune__options_read(const char *what, const struct tune__option *table, size_t count,
                       const json_t *spec, void *out, struct rwf_err *err);

/* The index of name in a NULL-terminated list, or -1 with a message that lists all. */
int tune__pick(const char *what, const char *name, const char *const *names,
               struct rwf_err *err);

/* The "type" of spec, which may also be just that word; `otherwise` when spec is NULL.
 */
const char *tune__type_of(const char *what, const json_t *spec, const char *otherwise,
                          struct rwf_err *err);

#endif
