/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/json_text.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llm/utf8.h"

/* --- numbers --- */

/* The fewest digits that read back as value: "1.25e+02" apart into digits and exponent.
 */
static int shortest(double value, char digits[32])
{
    char text[40];
    int precision = 0;

    do
        snprintf(text, sizeof(text), "%.*e", precision, value);
    while (strtod(text, NULL) != value && ++precision < 17);
    char *e = strchr(text, 'e');
    int n = 0;
    for (const char *p = text; p < e; p++)
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
    digits[n] = '\0';
    return atoi(e + 1);
}

static void add_fixed(struct rwf_str *out, const char *digits, int exponent)
{
    int n = (int)strlen(digits);

    if (exponent < 0) {
        rwf_str_add(out, "0.");
        for (int i = exponent + 1; i < 0; i++)
            rwf_str_addc(out, '0');
        rwf_str_add(out, digits);
        return;
    }
    for (int i = 0; i < n || i <= exponent; i++) {
        if (i == exponent + 1)
            rwf_str_addc(out, '.');
        rwf_str_addc(out, i < n ? digits[i] : '0');
    }
    if (n <= exponent + 1)
        rwf_str_add(out, ".0");
}

void json_text_add_real(struct rwf_str *out, double value)
{
    char digits[32];

    if (isnan(value) || isinf(value)) {
        rwf_str_add(out, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
        return;
    }
    if (signbit(value))
        rwf_str_addc(out, '-');
    int exponent = shortest(fabs(value), digits);
    if (exponent >= -4 && exponent < 16) {
        add_fixed(out, digits, exponent);
        return;
    }
    rwf_str_addc(out, digits[0]);
    if (digits[1])
        rwf_str_addf(out, ".%s", digits + 1);
    rwf_str_addf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
}

/* --- text --- */

/* Bytes that stand for themselves. */
static size_t plain(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && text[n] >= 0x20 && text[n] != '"' && text[n] != '\\')
        n++;
    return n;
}

static void add_escaped(struct rwf_str *out, unsigned char c)
{
    static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *at = c ? strchr(escaped, c) : NULL;

    if (at != NULL)
        rwf_str_addf(out, "\\%c", letters[at - escaped]);
    else
        rwf_str_addf(out, "\\u%04x", c);
}

void json_text_add_string(struct rwf_str *out, const char *text, size_t len)
{
    size_t i = 0;

    rwf_str_addc(out, '"');
    while (i < len) {
        size_t n = plain(text + i, len - i);
        rwf_str_addn(out, text + i, n);
        i += n;
        if (i == len)
            break;
        if ((uint8_t)text[i] < 0x80) {
            add_escaped(out, (uint8_t)text[i++]);
            continue;
        }
        struct utf8_piece piece = utf8_piece((const uint8_t *)text + i, len - i);
        if (piece.whole)
            rwf_str_addn(out, text + i, piece.len);
        else
            rwf_str_add(out, UTF8_REPLACEMENT);
        i += piece.len;
    }
    rwf_str_addc(out, '"');
}

/* --- values --- */

static void add_array(struct rwf_str *out, const json_t *array)
{
    rwf_str_addc(out, '[');
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i > 0)
            rwf_str_add(out, ", ");
        json_text_add(out, json_array_get(array, i));
    }
    rwf_str_addc(out, ']');
}

static void add_object(struct rwf_str *out, const json_t *object)
{
    const char *key;
    json_t *value;
    bool first = true;

    rwf_str_addc(out, '{');
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        if (!first)
            rwf_str_add(out, ", ");
        first = false;
        json_text_add_string(out, key, strlen(key));
        rwf_str_add(out, ": ");
        json_text_add(out, value);
    }
    rwf_str_addc(out, '}');
}

void json_text_add(struct rwf_str *out, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        add_object(out, value);
        break;
    case JSON_ARRAY:
        add_array(out, value);
        break;
    case JSON_STRING:
        json_text_add_string(out, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        rwf_str_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        json_text_add_real(out, json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        rwf_str_add(out, json_is_true(value) ? "true" : "false");
        break;
    case JSON_NULL:
        rwf_str_add(out, "null");
    }
}
