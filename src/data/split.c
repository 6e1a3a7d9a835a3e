/* SPDX-License-Identifier: Apache-2.0
 *
 * A row's place is h = hash of its content (or of its `by` columns) mixed with the
 * seed: 64 bits that depend on nothing else, not on the order of rows nor on threads.
 * The splits, sorted by name, cut the range of h into intervals:
 *
 *   1. sizes: fraction * rows, rounded by largest remainder (ties: by name), so that
 *      they add up to all rows;
 *   2. a boundary between two splits is the value of h below which the right number
 *      of rows lie. Rows with equal h stay together, so where a boundary falls into such a
 *      group, the group goes to the side that leaves the sizes nearer to what was asked.
 *
 * So equal rows, and with `by` rows with equal keys, never lie in two splits, and every
 * row lies in one. A boundary is found in two scans of one column: a histogram of the
 * top 16 bits of h, then the exact values inside the one bucket that holds it.
 */
#include "config.h"
#include "data/split.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "data/sql.h"

struct part {
    const char *name;
    double fraction;
    int64_t rows; /* asked for */
    double rest;  /* of the rounding */
};

bool split_is_option(const char *key)
{
    return strcmp(key, "seed") == 0 || strcmp(key, "by") == 0;
}

/* Fractions that are references are known only now. */
static int check_fractions(const json_t *split, struct rwf_err *err)
{
    double sum = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)split, name, value) {
        if (split_is_option(name))
            continue;
        if (!json_is_number(value) || !(json_number_value(value) > 0))
            return rwf_fail(err, RWF_E_FAILED, "%s: a fraction is a number above 0",
                            name);
        sum += json_number_value(value);
    }
    if (fabs(sum - 1) > SPLIT_SLACK)
        return rwf_fail(err, RWF_E_FAILED,
                        "the fractions add up to %.12g: make them add up to 1", sum);
    return 0;
}

int split_add_hash(const json_t *split, const struct query *q, struct rwf_str *out,
                   struct rwf_err *err)
{
    int64_t seed = json_integer_value(json_object_get(split, "seed"));
    json_t *by = json_object_get(split, "by");
    json_t *names = json_array_size(by) > 0 ? json_incref(by) : query_names(q);
    size_t i;
    json_t *name;
    int r = check_fractions(split, err);
    json_array_foreach(names, i, name)
        if (r == 0 && !query_has_column(q, json_string_value(name)))
            r = rwf_fail(err, RWF_E_FAILED, "by: there is no column %s",
                         json_string_value(name));
    if (r == 0)
        query_add_hash(out, names, seed);
    json_decref(names);
    return r;
}

/* --- sizes --- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct part *)a)->name, ((const struct part *)b)->name);
}

static struct part *read_parts(const json_t *split, size_t *ret_count)
{
    struct part *parts = rwf_xcalloc(json_object_size(split) + 1, sizeof(*parts));
    size_t n = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)split, name, value) {
        if (split_is_option(name))
            continue;
        parts[n].name = name;
        parts[n++].fraction = json_number_value(value);
    }
    qsort(parts, n, sizeof(*parts), by_name);
    *ret_count = n;
    return parts;
}

static void share_rows(struct part *parts, size_t n, int64_t rows)
{
    int64_t left = rows;
    for (size_t i = 0; i < n; i++) {
        double exact = parts[i].fraction * (double)rows;
        /* a fraction such as 0.1 must not cost a row by its last bit */
        double whole = floor(exact + 1e-9);
        parts[i].rows = (int64_t)whole;
        parts[i].rest = exact - whole;
        left -= parts[i].rows;
    }
    while (left > 0) {
        size_t best = 0;
        for (size_t i = 1; i < n; i++)
            if (parts[i].rest > parts[best].rest)
                best = i;
        parts[best].rows++;
        parts[best].rest -= 1;
        left--;
    }
}

/* --- boundaries --- */

/* The condition on h that holds for the first `below` rows, as near as groups allow. */
static char *find_boundary(struct duck *d, const char *rows, const char *hash,
                           int64_t below, int64_t total, struct rwf_err *err)
{
    if (below <= 0 || below >= total)
        return rwf_xstrdup(below <= 0 ? "false" : "true");
    char *sql = rwf_xasprintf(
        "WITH rwf_h AS NOT MATERIALIZED (SELECT %s AS h FROM %s), "
        "hist AS (SELECT h >> 48 AS b, count(*) AS n FROM rwf_h GROUP BY b), "
        "sums AS (SELECT b, n, sum(n) OVER (ORDER BY b) - n AS lo FROM hist), "
        "bucket AS (SELECT b, lo FROM sums WHERE lo < %lld AND lo + n >= %lld), "
        "same AS (SELECT h, count(*) AS n FROM rwf_h WHERE h >> 48 = "
        "(SELECT b FROM bucket) GROUP BY h), "
        "exact AS (SELECT h, n, (SELECT lo FROM bucket) + sum(n) OVER (ORDER BY h) - n "
        "AS lo FROM same) "
        "SELECT h::VARCHAR, lo::BIGINT, n::BIGINT FROM exact WHERE lo < %lld AND lo + "
        "n "
        ">= %lld",
        hash, rows, (long long)below, (long long)below, (long long)below,
        (long long)below);
    json_t *row = duck_row(d, sql, err);
    free(sql);
    if (row == NULL)
        return NULL;
    const char *h = json_string_value(json_array_get(row, 0));
    int64_t lo = json_integer_value(json_array_get(row, 1));
    int64_t n = json_integer_value(json_array_get(row, 2));
    bool with = lo + n - below <= below - lo;
    char *condition = rwf_xasprintf("%s %s %s::UBIGINT", hash, with ? "<=" : "<",
                                    h != NULL ? h : "0");
    json_decref(row);
    return condition;
}

json_t *split_plan(struct duck *d, const json_t *split, const char *rows,
                   const char *hash, struct rwf_err *err)
{
    size_t n, i;
    int64_t total, below = 0;
    char *sql = rwf_xasprintf("SELECT count(*) FROM %s", rows);
    int r = duck_int(d, sql, &total, err);
    free(sql);
    if (r < 0)
        return NULL;
    struct part *parts = read_parts(split, &n);
    json_t *plan = json_array();
    char *from = rwf_xstrdup("false");
    share_rows(parts, n, total);
    for (i = 0; i < n; i++) {
        below += parts[i].rows;
        char *to = find_boundary(d, rows, hash, i + 1 < n ? below : total, total, err);
        if (to == NULL)
            break;
        char *where = rwf_xasprintf("(%s) AND NOT (%s)", to, from);
        json_array_append_new(plan, json_pack("{s:s, s:s}", "name", parts[i].name,
                                              "where", where));
        free(where);
        free(from);
        from = to;
    }
    free(from);
    free(parts);
    if (i == n)
        return plan;
    json_decref(plan);
    return NULL;
}
