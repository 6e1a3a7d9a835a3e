/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/cron.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

enum { DAY_S = 86400, DAYS_AHEAD = 366 * 9 }; /* 29 February may be eight years away */

static const char *const months[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul",
                                     "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const weekdays[] = {"sun", "mon", "tue", "wed",
                                       "thu", "fri", "sat", NULL};

static const struct field {
    const char *name;
    int min, max; /* weekday: 7 is Sunday, too */
    const char *const *names;
} fields[] = {
    {"second", 0, 59, NULL}, {"minute", 0, 59, NULL},  {"hour", 0, 23, NULL},
    {"day", 1, 31, NULL},    {"month", 1, 12, months}, {"weekday", 0, 7, weekdays},
};

static const struct {
    const char *name, *fields;
} words[] = {
    {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
    {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
    {"@hourly", "0 * * * *"},
};

/* A number or a name at *at; -1: neither. */
static int parse_value(const struct field *f, const char **at)
{
    if (**at >= '0' && **at <= '9') {
        char *end;
        long n = strtol(*at, &end, 10);
        *at = end;
        return n >= f->min && n <= f->max ? (int)n : -1;
    }
    for (int i = 0; f->names && f->names[i]; i++) {
        if (strncasecmp(*at, f->names[i], 3) == 0) {
            *at += 3;
            return i + f->min;
        }
    }
    return -1;
}

/* "*", "a", "a-b", each with "/n"; adds to bits. */
static bool parse_part(const struct field *f, const char **at, uint64_t *bits)
{
    int from = f->min, to = f->max, step = 1;
    bool all = **at == '*';
    if (all) {
        (*at)++;
    } else {
        from = to = parse_value(f, at);
        if (from < 0)
            return false;
        if (**at == '-') {
            (*at)++;
            to = parse_value(f, at);
            if (to < from)
                return false;
        } else if (**at == '/') {
            to = f->max;
        }
    }
    if (**at == '/') {
        char *end;
        long n = strtol(*at + 1, &end, 10);
        if (end == *at + 1 || n < 1 || n > f->max)
            return false;
        step = (int)n;
        *at = end;
    }
    for (int i = from; i <= to; i += step)
        *bits |= UINT64_C(1) << i;
    return true;
}

static bool parse_field(const struct field *f, const char *text, uint64_t *bits)
{
    for (;;) {
        if (!parse_part(f, &text, bits))
            return false;
        if (*text == '\0')
            return true;
        if (*text++ != ',')
            return false;
    }
}

static int parse_fields(char **given, const char *text, struct job_cron *c,
                        struct rwf_err *err)
{
    uint64_t *bits[] = {&c->second, &c->minute, &c->hour,
                        &c->day,    &c->month,  &c->weekday};
    for (size_t i = 0; i < RWF_COUNT(fields); i++) {
        const struct field *f = &fields[i];
        if (!parse_field(f, given[i], bits[i]))
            return rwf_fail(err, RWF_E_USAGE,
                            "schedule '%s': %s '%s': from %d to %d, a list (1,2), a "
                            "range (1-5), a step (*/5) or * is expected%s",
                            text, f->name, given[i], f->min, f->max,
                            f->names ? ", or a name" : "");
    }
    if (c->weekday & (1 << 7))
        c->weekday |= 1;
    c->any_day = given[3][0] == '*';
    c->any_weekday = given[5][0] == '*';
    return 0;
}

int job_cron_parse(const char *text, struct job_cron *ret, struct rwf_err *err)
{
    char zero[] = "0", *given[7] = {zero}, *save = NULL;
    size_t count = 0;
    struct job_cron c = {0};
    const char *meant = text;
    for (size_t i = 0; i < RWF_COUNT(words); i++)
        meant = strcmp(text, words[i].name) == 0 ? words[i].fields : meant;
    char *copy = rwf_xstrdup(meant);
    for (char *one = strtok_r(copy, " \t", &save); one && count < 7;
         one = strtok_r(NULL, " \t", &save))
        given[count++] = one;
    int rc = 0;
    if (count == 5) {
        memmove(&given[1], &given[0], 5 * sizeof(*given));
        given[0] = zero;
    } else if (count != 6) {
        rc = rwf_fail(err, RWF_E_USAGE,
                      "schedule '%s': five fields are expected (minute hour day month "
                      "weekday), or six with seconds first, or @hourly, @daily, …",
                      text);
    }
    rc = rc ? rc : parse_fields(given, text, &c, err);
    free(copy);
    if (!rc && job_cron_next(&c, 0) < 0)
        rc = rwf_fail(err, RWF_E_USAGE, "schedule '%s': there is no such day", text);
    if (!rc)
        *ret = c;
    return rc;
}

static bool has(uint64_t bits, int value)
{
    return bits >> value & 1;
}

static bool day_fits(const struct job_cron *c, const struct tm *t)
{
    bool day = has(c->day, t->tm_mday), weekday = has(c->weekday, t->tm_wday);
    if (!has(c->month, t->tm_mon + 1))
        return false;
    return c->any_day || c->any_weekday ? day && weekday : day || weekday;
}

/* The first second of a day from `from` on that fits; -1: none. */
static int64_t time_in_day(const struct job_cron *c, int from)
{
    for (int h = from / 3600; h < 24; h++) {
        if (!has(c->hour, h))
            continue;
        for (int m = 0; m < 60; m++) {
            if (!has(c->minute, m) || h * 3600 + m * 60 + 59 < from)
                continue;
            for (int s = 0; s < 60; s++) {
                if (has(c->second, s) && h * 3600 + m * 60 + s >= from)
                    return h * 3600 + m * 60 + s;
            }
        }
    }
    return -1;
}

int64_t job_cron_next(const struct job_cron *c, int64_t after)
{
    int64_t at = after / RWF_NS_PER_S + 1;
    int64_t day = at / DAY_S;
    int from = (int)(at % DAY_S);
    for (int i = 0; i < DAYS_AHEAD; i++, day++, from = 0) {
        struct tm t;
        time_t start = (time_t)(day * DAY_S);
        if (!gmtime_r(&start, &t) || !day_fits(c, &t))
            continue;
        int64_t second = time_in_day(c, from);
        if (second >= 0)
            return (day * DAY_S + second) * RWF_NS_PER_S;
    }
    return -1;
}
