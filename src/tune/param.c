/* SPDX-License-Identifier: Apache-2.0
 *
 * One parameter: its values and their unit coordinates.
 */
#include "config.h"

#include <math.h>

#include "tune/rng.h"
#include "tune/space.h"

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* min + k step as a person would write it: 0.3, not 0.30000000000000004. */
static double level_value(const struct tune_param *p, double k)
{
    double x = p->min + k * p->step;
    if (p->type == TUNE_INT)
        return x;
    double unit = pow(10, 12 - ceil(log10(fmax(fabs(p->max), fabs(p->min)) + p->step)));
    return clamp(round(x * unit) / unit, p->min, p->max);
}

static double level_at(const struct tune_param *p, double unit)
{
    return clamp(floor(unit * (double)p->levels), 0, (double)p->levels - 1);
}

double tune_param_at(const struct tune_param *p, double unit)
{
    switch (p->type) {
    case TUNE_CHOICE:
    case TUNE_GRID:
        return level_at(p, unit);
    case TUNE_QUNIFORM:
    case TUNE_INT:
        return level_value(p, level_at(p, unit));
    case TUNE_LOGINT:
        return clamp(round(exp(p->low + unit * p->width)), p->min, p->max);
    case TUNE_LOGUNIFORM:
        if (unit <= 0 || unit >= 1) /* exp(log(x)) is only nearly x */
            return unit <= 0 ? p->min : p->max;
        return clamp(exp(p->low + unit * p->width), p->min, p->max);
    case TUNE_UNIFORM:
        return clamp(p->min + unit * (p->max - p->min), p->min, p->max);
    case TUNE_NORMAL:
        return p->mean + p->std * tune_normal_quantile(clamp(unit, 1e-15, 1 - 1e-15));
    }
    return NAN;
}

/* The number of the level that value is, or is next to. */
static double level_of(const struct tune_param *p, double value)
{
    if (p->type == TUNE_CHOICE || p->type == TUNE_GRID)
        return value;
    return round((value - p->min) / p->step);
}

double tune_param_unit(const struct tune_param *p, double value)
{
    double low, high;
    switch (p->type) {
    case TUNE_UNIFORM:
        return clamp((value - p->min) / (p->max - p->min), 0, 1);
    case TUNE_LOGUNIFORM:
        return clamp((log(value) - p->low) / p->width, 0, 1);
    case TUNE_LOGINT:
        return clamp((log(value) - p->low) / p->width, 0, 1);
    case TUNE_NORMAL:
        return tune_normal_cdf((value - p->mean) / p->std);
    default:
        tune_param_cell(p, value, &low, &high);
        return (low + high) / 2;
    }
}

void tune_param_cell(const struct tune_param *p, double value, double *low,
                     double *high)
{
    if (!p->levels) {
        *low = *high = tune_param_unit(p, value);
    } else if (p->type == TUNE_LOGINT) {
        *low = (log(value - 0.5) - p->low) / p->width;
        *high = (log(value + 0.5) - p->low) / p->width;
    } else {
        double k = level_of(p, value);
        *low = k / (double)p->levels;
        *high = (k + 1) / (double)p->levels;
    }
}

json_t *tune_param_json(const struct tune_param *p, double value)
{
    if (p->values)
        return json_deep_copy(json_array_get(p->values, (size_t)value));
    if (p->type == TUNE_INT || p->type == TUNE_LOGINT)
        return json_integer((json_int_t)value);
    return json_real(value);
}
