/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static int64_t now(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * RWF_NS_PER_S + ts.tv_nsec;
}

int64_t rwf_clock_mono(void)
{
    return now(CLOCK_MONOTONIC);
}

int64_t rwf_clock_wall(void)
{
    return now(CLOCK_REALTIME);
}

/* v as `digits` decimal digits at out. */
static void put(char *out, int64_t v, int digits)
{
    for (; digits > 0; v /= 10)
        out[--digits] = (char)('0' + v % 10);
}

/* By hand: an event log formats a time per line, and strftime costs twenty times more. */
void rwf_clock_format(int64_t wall_ns, char out[RWF_TIME_LEN])
{
    static _Thread_local int64_t last_second = -1;
    static _Thread_local char last[20];
    int64_t second = wall_ns / RWF_NS_PER_S;
    if (second != last_second) {
        time_t t = (time_t)second;
        struct tm tm;
        gmtime_r(&t, &tm);
        memcpy(last, "0000-00-00T00:00:00", 20);
        put(last, (tm.tm_year + 1900) % 10000, 4);
        put(last + 5, tm.tm_mon + 1, 2);
        put(last + 8, tm.tm_mday, 2);
        put(last + 11, tm.tm_hour, 2);
        put(last + 14, tm.tm_min, 2);
        put(last + 17, tm.tm_sec, 2);
        last_second = second;
    }
    memcpy(out, last, 19);
    out[19] = '.';
    put(out + 20, wall_ns % RWF_NS_PER_S, 9);
    memcpy(out + 29, "Z", 2);
}

int64_t rwf_clock_parse(const char *text)
{
    struct tm tm = { 0 };
    long ns = 0;
    int end = 0;
    if (!text || strlen(text) != RWF_TIME_LEN - 1
        || sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%9ldZ%n", &tm.tm_year, &tm.tm_mon,
                  &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ns, &end) != 7
        || end != RWF_TIME_LEN - 1)
        return -1;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    time_t t = timegm(&tm);
    /* 64 bits of nanoseconds end in the year 2262. */
    if (t < 0 || t >= INT64_MAX / RWF_NS_PER_S || ns < 0)
        return -1;
    return (int64_t)t * RWF_NS_PER_S + ns;
}

void rwf_id_run(char out[RWF_RUN_ID_LEN])
{
    unsigned char r[3];
    time_t t = time(NULL);
    struct tm tm;
    if (getrandom(r, sizeof(r), GRND_NONBLOCK) != (ssize_t)sizeof(r)) {
        int64_t mix = rwf_clock_mono() ^ ((int64_t)getpid() << 12);
        memcpy(r, &mix, sizeof(r));
    }
    gmtime_r(&t, &tm);
    size_t n = strftime(out, RWF_RUN_ID_LEN, "%Y%m%d-%H%M%S", &tm);
    snprintf(out + n, RWF_RUN_ID_LEN - n, "-%02x%02x%02x", r[0], r[1], r[2]);
}
