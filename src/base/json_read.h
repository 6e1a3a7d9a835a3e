/* SPDX-License-Identifier: Apache-2.0
 *
 * Checked values of a JSON object. A reader keeps its first failure, so that reading is
 * a list of lines and one test at its end.
 */
#ifndef RWF_BASE_JSON_READ_H
#define RWF_BASE_JSON_READ_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

/* The first failure stays; what is read after it are fallbacks. */
struct rwf_reader {
    const json_t *object;
    const char *what; /* for messages: the file, "model" */
    int code;         /* of a failure: RWF_E_INPUT, RWF_E_RECIPE */
    struct rwf_err *err;
    bool failed;
};

#define RWF_READ_REQUIRED INT64_MIN

/* "what: …", unless something failed before. */
void rwf_read_fail(struct rwf_reader *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Missing or null: fallback (RWF_READ_REQUIRED: a failure). After a failure: min. */
int64_t rwf_read_int(struct rwf_reader *r, const char *key, int64_t fallback,
                     int64_t min, int64_t max);
double rwf_read_number(struct rwf_reader *r, const char *key, double fallback,
                       double min, double max);
bool rwf_read_bool(struct rwf_reader *r, const char *key, bool fallback);
const char *rwf_read_text(struct rwf_reader *r, const char *key, const char *fallback);
/* NULL when there is none (then, too, with a failure when it is no object). */
const json_t *rwf_read_object(struct rwf_reader *r, const char *key);
/* Fails for a key that is not in names, with the nearest one, and for what has no keys.
 */
void rwf_read_known(struct rwf_reader *r, const char *const *names, size_t count);
/* The object in folder/name, of 4 MiB at most, with RWF_E_INPUT; the caller decrefs.
 * NULL with *err untouched when it does not exist and is optional. */
json_t *rwf_read_json(const char *folder, const char *name, bool optional,
                      struct rwf_err *err);

#endif
