/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON rows to floats. The quick reader takes flat objects with plain names and values;
 * the moment it meets anything else (an escape, a name it does not know, a value of
 * another type, a syntax error) it gives up without a word, and the whole body goes to
 * jansson, which is slower and can say what is wrong. Both accept the same and make the
 * same numbers of it.
 */
#include "config.h"
#include "serve/class_model.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/suggest.h"

struct serve__column {
    struct features_column c;
    size_t name_len;
    uint64_t seen; /* the last row that had it */
};

/* 10^0 … 10^22 are exact. */
static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

void serve__rows_init(struct serve__rows *r, const struct features *f)
{
    *r = (struct serve__rows){.f = f,
                              .index = rwf_map_create(),
                              .column_count = features_count(f),
                              .width = features_width(f)};
    r->columns = rwf_xcalloc((size_t)r->column_count, sizeof(*r->columns));
    for (int i = 0; i < r->column_count; i++) {
        struct serve__column *c = &r->columns[i];
        c->c = features_column(f, i);
        c->name_len = strlen(c->c.name);
        rwf_map_set(r->index, c->c.name, c);
    }
}

void serve__rows_free(struct serve__rows *r)
{
    if (r->index != NULL)
        rwf_map_destroy(r->index, NULL);
    free(r->columns);
    free(r->x);
    *r = (struct serve__rows){0};
}

/* Room for one more row, as zeros; NULL: a body has no more than so many. */
static float *add_row(struct serve__rows *r, int first)
{
    if (r->count - first >= SERVE_MODEL_BODY_ROWS)
        return NULL;
    if (r->count == r->cap) {
        r->cap = r->cap > 0 ? r->cap * 2 : 16;
        r->x = rwf_xrealloc(r->x, (size_t)r->cap * (size_t)r->width * sizeof(float));
    }
    float *x = r->x + (size_t)r->count++ * (size_t)r->width;
    memset(x, 0, (size_t)r->width * sizeof(float));
    return x;
}

/* --- the quick reader --- */

struct quick {
    const char *at, *end;
};

static void skip(struct quick *q)
{
    while (q->at < q->end &&
           (*q->at == ' ' || *q->at == '\n' || *q->at == '\t' || *q->at == '\r'))
        q->at++;
}

/* The next character that is not white space is c, and is passed. */
static bool eat(struct quick *q, char c)
{
    skip(q);
    if (q->at == q->end || *q->at != c)
        return false;
    q->at++;
    return true;
}

/* A string of plain ASCII without escapes; at the opening quote. */
static bool quick_text(struct quick *q, const char **ret, size_t *ret_len)
{
    if (!eat(q, '"'))
        return false;
    const char *from = q->at;
    for (; q->at < q->end && *q->at != '"'; q->at++)
        if (*q->at == '\\' || *q->at < ' ') /* also bytes of 0x80 and above */
            return false;
    if (q->at == q->end)
        return false;
    *ret = from;
    *ret_len = (size_t)(q->at++ - from);
    return true;
}

static int digits(struct quick *q, uint64_t *m)
{
    int n = 0;
    for (; q->at < q->end && *q->at >= '0' && *q->at <= '9'; q->at++, n++)
        if (*m < UINT64_C(100000000000000000))
            *m = *m * 10 + (uint64_t)(*q->at - '0');
        else
            return -1; /* too long to be exact here */
    return n;
}

/* A number of at most 15 digits with a small exponent, exactly (Clinger's fast path).
 */
static bool quick_number(struct quick *q, double *ret, bool *ret_whole)
{
    uint64_t m = 0;
    bool minus = q->at < q->end && *q->at == '-', exp_minus = false;
    const char *from = q->at += minus;
    int whole = digits(q, &m), fraction = 0, exponent = 0;
    if (whole < 1 || (whole > 1 && *from == '0'))
        return false;
    if (q->at < q->end && *q->at == '.') {
        q->at++;
        if ((fraction = digits(q, &m)) < 1)
            return false;
    }
    bool has_exponent = q->at < q->end && (*q->at == 'e' || *q->at == 'E');
    if (has_exponent) {
        uint64_t e = 0;
        q->at++;
        if (q->at < q->end && (*q->at == '+' || *q->at == '-'))
            exp_minus = *q->at++ == '-';
        if (digits(q, &e) < 1 || e > 100)
            return false;
        exponent = exp_minus ? -(int)e : (int)e;
    }
    exponent -= fraction;
    if (m > UINT64_C(9007199254740992) || exponent < -22 || exponent > 22)
        return false;
    double x =
        exponent < 0 ? (double)m / powers[-exponent] : (double)m * powers[exponent];
    *ret = minus ? -x : x;
    *ret_whole = fraction == 0 && !has_exponent;
    return true;
}

static bool quick_word(struct quick *q, const char *word, size_t len)
{
    if ((size_t)(q->end - q->at) < len || memcmp(q->at, word, len) != 0)
        return false;
    q->at += len;
    return true;
}

static void put_level(const struct features_column *c, float *to,
                      const struct levels_value *v)
{
    int i = levels_find(c->levels, v);
    if (i >= 0)
        to[c->at + i] = 1;
}

static bool quick_level(struct quick *q, const struct features_column *c, float *to)
{
    struct levels_value v;
    const char *text;
    size_t len;
    double x;
    bool whole;
    switch (levels_kind(c->levels)) {
    case LEVELS_TEXT:
        if (!quick_text(q, &text, &len))
            return false;
        v = levels_text(text, len);
        break;
    case LEVELS_NUMBER:
        if (!quick_number(q, &x, &whole) || !whole)
            return false;
        v = levels_whole((int64_t)x);
        break;
    default:
        if (quick_word(q, "true", 4))
            v = levels_whole(1);
        else if (quick_word(q, "false", 5))
            v = levels_whole(0);
        else
            return false;
    }
    put_level(c, to, &v);
    return true;
}

static bool quick_value(struct quick *q, const struct features_column *c, float *to)
{
    double x;
    bool whole;
    skip(q);
    if (quick_word(q, "null", 4))
        return true;
    if (c->levels != NULL)
        return quick_level(q, c, to);
    if (!quick_number(q, &x, &whole))
        return false;
    to[c->at] = features_standard(x, c->mean, c->std);
    return true;
}

/* Rows mostly have their columns in the order in which they were learned. */
static struct serve__column *column_of(struct serve__rows *r, int next,
                                       const char *name, size_t len)
{
    struct serve__column *c = &r->columns[next];
    if (next < r->column_count && c->name_len == len &&
        memcmp(c->c.name, name, len) == 0)
        return c;
    return rwf_map_getn(r->index, name, len);
}

static bool quick_row(struct serve__rows *r, struct quick *q, float *to)
{
    const char *name;
    size_t len;
    uint64_t row = ++r->row;
    int n = 0;
    if (!eat(q, '{'))
        return false;
    do {
        struct serve__column *c = NULL;
        skip(q);
        if (quick_text(q, &name, &len))
            c = column_of(r, n, name, len);
        if (c == NULL || c->seen == row || !eat(q, ':') || !quick_value(q, &c->c, to))
            return false;
        c->seen = row;
        n++;
    } while (eat(q, ','));
    return eat(q, '}') && n == r->column_count;
}

static bool quick_list(struct serve__rows *r, struct quick *q, int first)
{
    if (eat(q, ']'))
        return true;
    do {
        float *to = add_row(r, first);
        if (to == NULL || !quick_row(r, q, to))
            return false;
    } while (eat(q, ','));
    return eat(q, ']');
}

static bool quick_rows_object(struct serve__rows *r, struct quick *q, int first)
{
    const char *name;
    size_t len;
    return eat(q, '{') && quick_text(q, &name, &len) && len == 4 &&
           memcmp(name, "rows", 4) == 0 && eat(q, ':') && eat(q, '[') &&
           quick_list(r, q, first) && eat(q, '}');
}

static bool quick_body(struct serve__rows *r, struct quick q, int first,
                       enum serve__rows_shape *ret)
{
    const char *from = q.at;
    *ret = SERVE__ROWS_LIST;
    if (eat(&q, '[')) {
        if (!quick_list(r, &q, first))
            return false;
    } else {
        *ret = SERVE__ROWS_ONE;
        if (!quick_row(r, &q, add_row(r, first))) {
            r->count = first;
            q.at = from;
            *ret = SERVE__ROWS_OBJECT;
            if (!quick_rows_object(r, &q, first))
                return false;
        }
    }
    skip(&q);
    return q.at == q.end;
}

/* --- by jansson --- */

static int no_feature(const struct serve__rows *r, const char *name,
                      struct rwf_err *err)
{
    struct rwf_suggest near;
    rwf_suggest_init(&near, name);
    for (int i = 0; i < r->column_count; i++)
        rwf_suggest_try(&near, r->columns[i].c.name);
    const char *best = rwf_suggest_best(&near);
    return rwf_fail(err, RWF_E_INPUT, "the model has no feature '%s'%s%s%s", name,
                    best != NULL ? "; did you mean '" : "", best != NULL ? best : "",
                    best != NULL ? "'?" : "");
}

static int slow_row(struct serve__rows *r, const json_t *row, int first,
                    struct rwf_err *err)
{
    const char *name;
    json_t *value;
    float *to = add_row(r, first);
    if (to == NULL)
        return rwf_fail(err, RWF_E_INPUT, "more than %d rows in one request",
                        SERVE_MODEL_BODY_ROWS);
    if (features_row(r->f, row, to, err) != 0)
        return -1;
    json_object_foreach((json_t *)(uintptr_t)row, name, value)
        if (rwf_map_get(r->index, name) == NULL)
            return no_feature(r, name, err);
    return 0;
}

static int slow_list(struct serve__rows *r, const json_t *rows, int first,
                     struct rwf_err *err)
{
    size_t i;
    json_t *row;
    json_array_foreach((json_t *)(uintptr_t)rows, i, row)
        if (slow_row(r, row, first, err) != 0)
            return rwf_wrap(err, "row %zu", i);
    return 0;
}

static int slow_body(struct serve__rows *r, const json_t *json, int first,
                     enum serve__rows_shape *ret, struct rwf_err *err)
{
    const json_t *rows = json_object_get(json, "rows");
    if (json_is_array(json)) {
        *ret = SERVE__ROWS_LIST;
        return slow_list(r, json, first, err);
    }
    if (json_is_array(rows) && json_object_size(json) == 1) {
        *ret = SERVE__ROWS_OBJECT;
        return slow_list(r, rows, first, err);
    }
    *ret = SERVE__ROWS_ONE;
    return slow_row(r, json, first, err);
}

int serve__rows_read(struct serve__rows *r, const char *body, size_t size,
                     enum serve__rows_shape *ret_shape, struct rwf_err *err)
{
    int first = r->count, rc;
    json_error_t why;
    if (quick_body(r, (struct quick){body, body + size}, first, ret_shape))
        return 0;
    r->count = first;
    json_t *json =
        json_loadb(body, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (json == NULL)
        rc = rwf_fail(err, RWF_E_INPUT, "the body is no JSON: line %d, column %d: %s",
                      why.line, why.column, why.text);
    else
        rc = slow_body(r, json, first, ret_shape, err);
    if (rc != 0)
        r->count = first;
    json_decref(json);
    return rc;
}
