/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers are read as integer and decimal fraction, never as floating point, so that
 * every accepted text is exact.
 */
#include "config.h"

#include "base/units.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit sizes[] = {
    { "B", 1 },
    { "kB", 1000 },
    { "MB", 1000 * 1000 },
    { "GB", 1000LL * 1000 * 1000 },
    { "TB", 1000LL * 1000 * 1000 * 1000 },
    { "KiB", 1024 },
    { "MiB", 1024 * 1024 },
    { "GiB", 1024LL * 1024 * 1024 },
    { "TiB", 1024LL * 1024 * 1024 * 1024 },
    { NULL, 0 },
};

static const struct unit durations[] = {
    { "ns", 1 },
    { "us", 1000 },
    { "ms", RWF_NS_PER_MS },
    { "s", RWF_NS_PER_S },
    { "m", 60 * RWF_NS_PER_S },
    { "h", 3600 * RWF_NS_PER_S },
    { "d", 86400 * RWF_NS_PER_S },
    { NULL, 0 },
};

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads "12.5": value = whole / scale. -1 when there are no digits or too many. */
static int read_decimal(const char **at, int64_t *whole, int64_t *scale)
{
    const char *p = *at;
    bool any = false;
    *whole = 0;
    *scale = 1;
    for (bool fraction = false; digit(*p) || (*p == '.' && !fraction); p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        if (__builtin_mul_overflow(*whole, 10, whole)
            || __builtin_add_overflow(*whole, *p - '0', whole)
            || (fraction && __builtin_mul_overflow(*scale, 10, scale)))
            return -1;
        any = true;
    }
    *at = p;
    return any ? 0 : -1;
}

/* The longest unit that text starts with: "ms" before "m". */
static const struct unit *read_unit(const char **at, const struct unit *units)
{
    const struct unit *best = NULL;
    for (const struct unit *u = units; u->name; u++)
        if (strncmp(*at, u->name, strlen(u->name)) == 0
            && (!best || strlen(u->name) > strlen(best->name)))
            best = u;
    if (best)
        *at += strlen(best->name);
    return best;
}

/* One "number unit" piece, added to *sum. */
static int read_piece(const char **at, const struct unit *units, int64_t *sum)
{
    int64_t whole, scale, value;
    if (read_decimal(at, &whole, &scale) < 0)
        return -1;
    while (**at == ' ')
        ++*at;
    const struct unit *u = read_unit(at, units);
    if (!u || __builtin_mul_overflow(whole, u->factor, &value) || value % scale != 0
        || __builtin_add_overflow(*sum, value / scale, sum))
        return -1;
    return 0;
}

int rwf_size_parse(const char *text, int64_t *ret_bytes, struct rwf_err *err)
{
    const char *at = text;
    int64_t sum = 0;
    if (strcmp(text, "0") != 0 && (read_piece(&at, sizes, &sum) < 0 || *at != '\0'))
        return rwf_fail(err, RWF_E_RECIPE,
                        "'%s' is not a size: write a number and a unit such as 512MiB, "
                        "4GiB or 10GB (whole bytes)",
                        text);
    *ret_bytes = sum;
    return 0;
}

int rwf_duration_parse(const char *text, int64_t *ret_ns, struct rwf_err *err)
{
    const char *at = text;
    int64_t sum = 0;
    bool bad = *text == '\0';
    while (!bad && *at && strcmp(text, "0") != 0)
        bad = read_piece(&at, durations, &sum) < 0;
    if (bad)
        return rwf_fail(err, RWF_E_RECIPE,
                        "'%s' is not a duration: write a number and a unit such as "
                        "500ms, 30s, 10m or 1h30m",
                        text);
    *ret_ns = sum;
    return 0;
}

char *rwf_size_format(int64_t bytes, char out[RWF_UNITS_LEN])
{
    static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
    double value = (double)bytes;
    size_t i = 0;
    while (value >= 1024 && i + 1 < RWF_COUNT(names)) {
        value /= 1024;
        i++;
    }
    snprintf(out, RWF_UNITS_LEN, i && value < 10 ? "%.1f %s" : "%.0f %s", value, names[i]);
    return out;
}

char *rwf_duration_format(int64_t ns, char out[RWF_UNITS_LEN])
{
    int64_t s = ns / RWF_NS_PER_S;
    if (ns < RWF_NS_PER_MS)
        snprintf(out, RWF_UNITS_LEN, "%" PRId64 "us", ns / 1000);
    else if (ns < RWF_NS_PER_S)
        snprintf(out, RWF_UNITS_LEN, "%" PRId64 "ms", ns / RWF_NS_PER_MS);
    else if (s < 60)
        snprintf(out, RWF_UNITS_LEN, "%.1fs", (double)ns / (double)RWF_NS_PER_S);
    else if (s < 3600)
        snprintf(out, RWF_UNITS_LEN, "%" PRId64 "m%02ds", s / 60, (int)(s % 60));
    else
        snprintf(out, RWF_UNITS_LEN, "%" PRId64 "h%02dm", s / 3600, (int)(s / 60 % 60));
    return out;
}
