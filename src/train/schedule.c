/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "train/schedule.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

static const char *const kinds[] = { "constant", "linear", "cosine" };

int schedule_parse(struct schedule *s, const json_t *schedule, double rate, int64_t steps,
                   struct rwf_err *err)
{
    const char *type = "constant";
    json_int_t warmup = 0;
    double final = 0;
    json_error_t why;
    *s = (struct schedule){ .rate = rate, .steps = steps };
    if (schedule != NULL && !json_is_null(schedule) &&
        json_unpack_ex((json_t *)schedule, &why, 0, "{s?s, s?I, s?F}", "type", &type,
                       "warmup_steps", &warmup, "final", &final) != 0)
        return rwf_fail(err, RWF_E_RECIPE, "schedule: %s", why.text);
    s->warmup = warmup;
    s->final = final;
    for (size_t i = 0; i < RWF_COUNT(kinds); i++)
        if (strcmp(type, kinds[i]) == 0) {
            s->kind = (enum schedule_kind)i;
            return 0;
        }
    return rwf_fail(err, RWF_E_RECIPE,
                    "schedule.type '%s' is not known: constant, linear or cosine", type);
}

double schedule_rate(const struct schedule *s, int64_t step)
{
    if (step < s->warmup)
        return s->rate * (double)(step + 1) / (double)s->warmup;
    if (s->kind == SCHEDULE_CONSTANT || s->steps <= s->warmup)
        return s->rate;
    double way = (double)(step - s->warmup) / (double)(s->steps - s->warmup);
    if (way > 1)
        way = 1;
    double left = s->kind == SCHEDULE_LINEAR ? 1 - way : (1 + cos(M_PI * way)) / 2;
    return s->rate * (s->final + (1 - s->final) * left);
}
