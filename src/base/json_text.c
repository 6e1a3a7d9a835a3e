/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "base/json_text.h"

#include <stdbool.h>
#include <stdlib.h>

#define FLAGS (JSON_ENCODE_ANY | JSON_COMPACT)

static bool reads_back(const char *text, const json_t *value)
{
    json_t *again = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool same = json_equal(again, value);

    json_decref(again);
    return same;
}

/* What has more than 15 digits is rare, and costs the second look. */
char *rwf_json_text(const json_t *value)
{
    char *text = json_dumps(value, FLAGS | JSON_REAL_PRECISION(15));

    if (text == NULL || reads_back(text, value))
        return text;
    free(text);
    return json_dumps(value, FLAGS | JSON_REAL_PRECISION(17));
}
