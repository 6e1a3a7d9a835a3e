/* SPDX-License-Identifier: Apache-2.0
 *
 * The look-back period is a ring of slots; each holds the integral of what was ongoing
 * over its time, so it costs the same however often it is told.
 */
#include "config.h"
#include "serve/autoscale.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "base/units.h"

static int64_t slot_length(const struct serve_scaler *s)
{
    int64_t length = s->how.look_back / SERVE_SCALER_SLOTS;

    return length > 0 ? length : 1;
}

static void forget(struct serve_scaler *s)
{
    for (int i = 0; i < SERVE_SCALER_SLOTS; i++) {
        s->slots[i].number = -1;
        s->slots[i].sum = s->slots[i].length = 0;
    }
    s->last_at = -1;
}

void serve_scaler_init(struct serve_scaler *s, const struct serve_autoscaling *how)
{
    *s = (struct serve_scaler){
        .how = *how, .up_since = -1, .down_since = -1, .idle_since = -1};
    forget(s);
}

void serve_scaler_configure(struct serve_scaler *s, const struct serve_autoscaling *how)
{
    int64_t at = s->last_at;
    bool other = s->how.look_back != how->look_back;

    s->how = *how;
    s->up_since = s->down_since = -1;
    if (other) { /* slots of another length; what is ongoing now is known */
        forget(s);
        s->last_at = at;
    }
}

int serve_scaler_initial(const struct serve_autoscaling *how)
{
    if (how->initial >= 0)
        return how->initial;
    return how->min > 0 ? how->min : 1;
}

/* --- what was seen --- */

static void put(struct serve_scaler *s, int64_t number, double length)
{
    int i = (int)(number % SERVE_SCALER_SLOTS);

    if (s->slots[i].number != number) {
        s->slots[i].number = number;
        s->slots[i].sum = s->slots[i].length = 0;
    }
    s->slots[i].sum += s->last * length;
    s->slots[i].length += length;
}

/* What was ongoing from last_at until now goes into the slots that this time touches.
 */
static void integrate(struct serve_scaler *s, int64_t now)
{
    int64_t length = slot_length(s), at = s->last_at;
    int64_t oldest = (now / length - SERVE_SCALER_SLOTS + 1) * length;

    if (at < oldest)
        at = oldest;
    while (at < now) {
        int64_t end = (at / length + 1) * length;
        if (end > now)
            end = now;
        put(s, at / length, (double)(end - at));
        at = end;
    }
    s->last_at = now;
}

void serve_scaler_see(struct serve_scaler *s, int64_t now, double ongoing)
{
    if (s->last_at >= 0 && now > s->last_at)
        integrate(s, now);
    if (s->last_at < 0)
        s->last_at = now;
    s->last = ongoing;
    if (ongoing > 0)
        s->idle_since = -1;
    else if (s->idle_since < 0)
        s->idle_since = now;
}

double serve_scaler_mean(const struct serve_scaler *s, int64_t now)
{
    int64_t newest = now / slot_length(s);
    double sum = 0, length = 0;

    for (int i = 0; i < SERVE_SCALER_SLOTS; i++)
        if (s->slots[i].number > newest - SERVE_SCALER_SLOTS) {
            sum += s->slots[i].sum;
            length += s->slots[i].length;
        }
    if (s->last_at >= 0 && now > s->last_at) { /* since the last sample */
        sum += s->last * (double)(now - s->last_at);
        length += (double)(now - s->last_at);
    }
    return length > 0 ? sum / length : s->last;
}

/* --- the decision --- */

static int clamp(double n, int least, int most)
{
    return n <= least ? least : n >= most ? most : (int)n;
}

/* Ray's rule; a thousandth of a replica is noise of floating point. */
static int wanted(const struct serve_scaler *s, double mean, int current)
{
    double exact = mean / s->how.target;
    double factor = exact > current ? s->how.up_factor : s->how.down_factor;
    double stepped = current + (exact - current) * factor;
    int least = s->how.min > 0 ? s->how.min : current > 0 ? 1 : 0;

    return clamp(ceil(stepped - 1e-3), least, s->how.max);
}

static void say(const struct serve_scaler *s, double mean, int from,
                struct serve_scale *ret, const char *what)
{
    char period[RWF_UNITS_LEN];

    snprintf(ret->reason, sizeof(ret->reason),
             "%s: %.2f ongoing (mean of %s), target %.4g of a replica: %d -> %d", what,
             mean, rwf_duration_format(s->how.look_back, period), s->how.target, from,
             ret->replicas);
}

static void settle(struct serve_scaler *s, double mean, int from, int to,
                   struct serve_scale *ret, const char *what)
{
    s->up_since = s->down_since = -1;
    ret->replicas = to;
    say(s, mean, from, ret, what);
}

/* When time alone may change the decision. */
static int64_t next_look(const struct serve_scaler *s, int64_t now, int current,
                         double mean)
{
    int64_t due[4], wake = 0;
    int count = 0;

    if (s->up_since >= 0)
        due[count++] = s->up_since + s->how.up_delay;
    if (s->down_since >= 0)
        due[count++] = s->down_since + s->how.down_delay;
    if (s->how.min == 0 && current > 0 && s->idle_since >= 0)
        due[count++] = s->idle_since + s->how.zero_delay;
    if (fabs(mean - s->last) > 1e-9) /* the mean still moves */
        due[count++] = now + slot_length(s);
    for (int i = 0; i < count; i++)
        if (wake == 0 || due[i] < wake)
            wake = due[i];
    return wake != 0 && wake <= now ? now + 1 : wake;
}

/* Keeps since when more, or fewer, are wanted. */
static void track(struct serve_scaler *s, int64_t now, int current, int want)
{
    if (want <= current)
        s->up_since = -1;
    else if (s->up_since < 0)
        s->up_since = now;
    if (want >= current)
        s->down_since = -1;
    else if (s->down_since < 0)
        s->down_since = now, s->down_most = want;
    else if (want > s->down_most)
        s->down_most = want;
}

static bool is_idle_for_long(const struct serve_scaler *s, int64_t now)
{
    return s->how.min == 0 && s->idle_since >= 0 &&
           now - s->idle_since >= s->how.zero_delay;
}

void serve_scaler_decide(struct serve_scaler *s, int64_t now, int current,
                         struct serve_scale *ret)
{
    double mean = serve_scaler_mean(s, now);
    int inside = clamp(current, s->how.min, s->how.max);

    *ret = (struct serve_scale){.replicas = current};
    if (inside != current) {
        settle(s, mean, current, inside, ret, "outside of min and max");
    } else if (current == 0 && s->last > 0) {
        settle(s, mean, current, 1, ret, "a request is there");
    } else if (current > 0 && is_idle_for_long(s, now)) {
        settle(s, mean, current, 0, ret, "nothing to do");
    } else if (current > 0) {
        track(s, now, current, wanted(s, mean, current));
        if (s->up_since >= 0 && now - s->up_since >= s->how.up_delay)
            settle(s, mean, current, wanted(s, mean, current), ret, "up");
        else if (s->down_since >= 0 && now - s->down_since >= s->how.down_delay)
            settle(s, mean, current, s->down_most, ret, "down");
    }
    ret->wake = next_look(s, now, ret->replicas, mean);
}
