/* SPDX-License-Identifier: Apache-2.0
 *
 * What all samplers share: the trials known, points to evaluate, grid values.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "tune/options.h"
#include "tune/sampler_internal.h"

static const struct tune_sampler_kind *const kinds[] = {
    &tune__random,
    &tune__grid,
    &tune__sobol,
    &tune__tpe,
};

const char *tune_sampler_name(size_t i, const char **ret_help)
{
    if (i >= RWF_COUNT(kinds))
        return NULL;
    if (ret_help)
        *ret_help = kinds[i]->help;
    return kinds[i]->name;
}

static const struct tune_sampler_kind *find_kind(const json_t *spec,
                                                 struct rwf_err *err)
{
    const char *names[RWF_COUNT(kinds) + 1] = {NULL};
    for (size_t i = 0; i < RWF_COUNT(kinds); i++)
        names[i] = kinds[i]->name;
    const char *type = tune__type_of("algorithm", spec, "random", err);
    int i = type ? tune__pick("algorithm", type, names, err) : -1;
    return i < 0 ? NULL : kinds[i];
}

static double *new_x(const struct tune_sampler *s)
{
    return rwf_xcalloc(tune_space_count(s->space) + 1, sizeof(double));
}

static int read_points(struct tune_sampler *s, const json_t *points,
                       struct rwf_err *err)
{
    size_t i;
    json_t *point;
    if (!points || json_is_null(points))
        return 0;
    if (!json_is_array(points))
        return rwf_fail(err, RWF_E_RECIPE,
                        "points_to_evaluate: must be a list of configurations");
    if (s->kind->lists_all)
        return rwf_fail(err, RWF_E_RECIPE,
                        "points_to_evaluate: algorithm grid tries every "
                        "configuration anyway: remove them");
    s->points = rwf_xcalloc(json_array_size(points) + 1, sizeof(*s->points));
    json_array_foreach((json_t *)points, i, point) {
        double *x = s->points[s->point_count++] = new_x(s);
        if (tune_space_read(s->space, point, true, x, err))
            return rwf_wrap(err, "points_to_evaluate[%zu]", i);
    }
    return 0;
}

/* "seed" belongs to all kinds, so it is taken before a kind reads the rest. */
static int read_kind(struct tune_sampler *s, const json_t *spec, struct rwf_err *err)
{
    static const struct tune__option seed[] = {
        {"seed", TUNE__INT, offsetof(struct tune_sampler, seed), 0, 0, NULL},
    };
    json_t *only = json_object(), *rest = json_object();
    if (json_is_object(spec)) {
        json_object_update(rest, (json_t *)spec);
        if (json_object_get(spec, "seed"))
            json_object_set(only, "seed", json_object_get(spec, "seed"));
        json_object_del(rest, "seed");
    }
    char *what = rwf_xasprintf("algorithm %s", s->kind->name);
    int rc = tune__options_read(what, seed, 1, only, s, err);
    if (!rc)
        rc = s->kind->create(s, rest, err);
    free(what);
    json_decref(only);
    json_decref(rest);
    return rc;
}

struct tune_sampler *tune_sampler_create(const struct tune_space *space,
                                         const struct tune_sampler_options *options,
                                         struct rwf_err *err)
{
    const struct tune_sampler_kind *kind = find_kind(options->algorithm, err);
    if (!kind)
        return NULL;
    struct tune_sampler *s = rwf_xcalloc(1, sizeof(*s));
    s->kind = kind;
    s->space = space;
    s->num_samples = options->num_samples;
    s->maximize = options->maximize;
    s->grid = tune_grid_create(space, kind->lists_all, err);
    if (!s->grid || read_points(s, options->points, err) ||
        read_kind(s, options->algorithm, err)) {
        tune_sampler_destroy(s);
        return NULL;
    }
    return s;
}

static void free_trial(struct tune__trial *t)
{
    free(t->x);
    free(t->u);
    free(t);
}

void tune_sampler_destroy(struct tune_sampler *s)
{
    if (!s)
        return;
    if (s->own)
        s->kind->destroy(s->own);
    for (size_t i = 0; i < s->point_count; i++)
        free(s->points[i]);
    for (size_t i = 0; i < s->trial_count; i++)
        free_trial(s->trials[i]);
    free(s->points);
    free(s->trials);
    tune_grid_destroy(s->grid);
    free(s);
}

uint64_t tune_sampler_total(const struct tune_sampler *s)
{
    uint64_t total;
    if (!s->num_samples ||
        __builtin_mul_overflow(s->num_samples, tune_grid_count(s->grid), &total))
        return UINT64_MAX;
    return total;
}

struct fill {
    uint64_t seed, trial;
    const struct tune_space *space;
};

static double random_value(void *arg, uint32_t i)
{
    const struct fill *f = arg;
    struct tune_rng r;
    tune_rng_init(&r, f->seed, TUNE_FOR_RANDOM, f->trial);
    r.counter[0] = i;
    return tune_param_at(tune_space_param(f->space, i), tune_rng_uniform(&r));
}

void tune__fill_random(const struct tune_sampler *s, uint64_t trial, double *x)
{
    struct fill f = {(uint64_t)s->seed, trial, s->space};
    tune_space_settle(s->space, x, random_value, &f);
}

static void apply_point(const struct tune_sampler *s, uint64_t trial, double *x)
{
    for (uint32_t i = 0; i < tune_space_count(s->space); i++)
        if (!isnan(s->points[trial][i]))
            x[i] = s->points[trial][i];
    tune__fill_random(s, trial, x);
}

json_t *tune_sampler_suggest(const struct tune_sampler *s, uint64_t trial)
{
    if (trial >= tune_sampler_total(s))
        return NULL;
    double *x = new_x(s);
    tune_grid_get(s->grid, trial % tune_grid_count(s->grid), x);
    if (trial < s->point_count)
        apply_point(s, trial, x);
    else
        s->kind->suggest(s, trial, x);
    json_t *config = tune_space_config(s->space, x);
    free(x);
    return config;
}

/* --- trials --- */

/* Where the trial is in s->trials, or would be. Trials mostly come in order. */
static size_t place_of(const struct tune_sampler *s, uint64_t number)
{
    size_t low = 0, high = s->trial_count;
    if (high && s->trials[high - 1]->number < number)
        return high;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (s->trials[mid]->number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct tune__trial *find_trial(const struct tune_sampler *s, uint64_t number)
{
    size_t i = place_of(s, number);
    return i < s->trial_count && s->trials[i]->number == number ? s->trials[i] : NULL;
}

static bool same_x(const struct tune_sampler *s, const double *a, const double *b)
{
    for (uint32_t i = 0; i < tune_space_count(s->space); i++)
        if (a[i] != b[i] && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

static void insert_trial(struct tune_sampler *s, struct tune__trial *t)
{
    size_t at = place_of(s, t->number);
    (void)RWF_PUSH(s->trials, s->trial_count, s->trial_cap);
    memmove(&s->trials[at + 1], &s->trials[at],
            (s->trial_count - 1 - at) * sizeof(*s->trials));
    s->trials[at] = t;
    for (; at < s->trial_count; at++)
        s->trials[at]->index = at;
}

int tune_sampler_add(struct tune_sampler *s, uint64_t trial, const json_t *config,
                     struct rwf_err *err)
{
    double *x = new_x(s);
    if (tune_space_read(s->space, config, false, x, err)) {
        free(x);
        return rwf_wrap(err, "trial %llu", (unsigned long long)trial);
    }
    const struct tune__trial *known = find_trial(s, trial);
    if (known) {
        bool same = same_x(s, known->x, x);
        free(x);
        return same
                   ? 0
                   : rwf_fail(err, RWF_E_INPUT,
                              "trial %llu was added before, with another configuration",
                              (unsigned long long)trial);
    }
    struct tune__trial *t = rwf_xcalloc(1, sizeof(*t));
    t->number = trial;
    t->x = x;
    t->u = new_x(s);
    for (uint32_t i = 0; i < tune_space_count(s->space); i++)
        t->u[i] =
            isnan(x[i]) ? NAN : tune_param_unit(tune_space_param(s->space, i), x[i]);
    insert_trial(s, t);
    if (s->kind->added)
        s->kind->added(s, t);
    return 0;
}

int tune_sampler_observe(struct tune_sampler *s, uint64_t trial,
                         struct tune_result result, struct rwf_err *err)
{
    struct tune__trial *t = find_trial(s, trial);
    if (!t)
        return rwf_fail(err, RWF_E_INPUT, "trial %llu ended, but it never began",
                        (unsigned long long)trial);
    if (t->state == TUNE__DONE)
        return 0;
    if (isnan(result.value))
        result.outcome = TUNE_FAILED;
    t->state = TUNE__DONE;
    t->result = result;
    if (s->maximize)
        t->result.value = -t->result.value;
    if (s->kind->ended)
        s->kind->ended(s, t);
    return 0;
}
