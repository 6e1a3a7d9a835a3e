/* SPDX-License-Identifier: Apache-2.0
 *
 * Functions to search in, with their spaces: for check_tune_quality and
 * tests/bench/tune_quality. Published test functions in their usual boxes, and a space
 * with conditions of our own. A space's parameters are numbered as their keys sort:
 * x00, x01, …
 */
#ifndef RWF_TUNE_FUNCTIONS_H
#define RWF_TUNE_FUNCTIONS_H
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "tune/sampler.h"

static double fn_branin(const double *x, int n)
{
    (void)n;
    double a = x[1] - 5.1 / (4 * M_PI * M_PI) * x[0] * x[0] + 5 / M_PI * x[0] - 6;
    return a * a + 10 * (1 - 1 / (8 * M_PI)) * cos(x[0]) + 10;
}

static double fn_hartmann6(const double *x, int n)
{
    static const double alpha[4] = {1.0, 1.2, 3.0, 3.2};
    static const double a[4][6] = {{10, 3, 17, 3.5, 1.7, 8},
                                   {0.05, 10, 17, 0.1, 8, 14},
                                   {3, 3.5, 1.7, 10, 17, 8},
                                   {17, 8, 0.05, 10, 0.1, 14}};
    static const double p[4][6] = {{1312, 1696, 5569, 124, 8283, 5886},
                                   {2329, 4135, 8307, 3736, 1004, 9991},
                                   {2348, 1451, 3522, 2883, 3047, 6650},
                                   {4047, 8828, 8732, 5743, 1091, 381}};
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        double e = 0;
        for (int j = 0; j < n; j++)
            e += a[i][j] * (x[j] - p[i][j] * 1e-4) * (x[j] - p[i][j] * 1e-4);
        sum -= alpha[i] * exp(-e);
    }
    return sum;
}

static double fn_rosenbrock(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i + 1 < n; i++)
        sum += 100 * pow(x[i + 1] - x[i] * x[i], 2) + pow(1 - x[i], 2);
    return sum;
}

static double fn_ackley(const double *x, int n)
{
    double squares = 0, cosines = 0;
    for (int i = 0; i < n; i++) {
        squares += x[i] * x[i];
        cosines += cos(2 * M_PI * x[i]);
    }
    return -20 * exp(-0.2 * sqrt(squares / n)) - exp(cosines / n) + 20 + M_E;
}

static double fn_levy(const double *x, int n)
{
    double w = 1 + (x[0] - 1) / 4, sum = pow(sin(M_PI * w), 2);
    for (int i = 0; i + 1 < n; i++) {
        w = 1 + (x[i] - 1) / 4;
        sum += pow(w - 1, 2) * (1 + 10 * pow(sin(M_PI * w + 1), 2));
    }
    w = 1 + (x[n - 1] - 1) / 4;
    return sum + pow(w - 1, 2) * (1 + pow(sin(2 * M_PI * w), 2));
}

static const struct fn {
    const char *name;
    int n;
    double min[2], max[2]; /* of x00, and of all others */
    double (*call)(const double *x, int n);
} fn_boxes[] = {
    {"branin", 2, {-5, 0}, {10, 15}, fn_branin},
    {"hartmann6", 6, {0, 0}, {1, 1}, fn_hartmann6},
    {"rosenbrock5", 5, {-2.048, -2.048}, {2.048, 2.048}, fn_rosenbrock},
    {"ackley10", 10, {-32.768, -32.768}, {32.768, 32.768}, fn_ackley},
    {"levy10", 10, {-10, -10}, {10, 10}, fn_levy},
    {"conditional", 0, {0, 0}, {0, 0}, NULL},
};

/* Three kinds of model: the second best is easy to find, the best has the most
 * parameters. */
static const char fn_conditional_space[] =
    "{\"learning_rate\": {\"type\": \"loguniform\", \"min\": 1e-5, \"max\": 1},"
    " \"family\": {\"type\": \"choice\", \"values\": [\"linear\", \"mlp\", \"tree\"]},"
    " \"l2\": {\"type\": \"loguniform\", \"min\": 1e-6, \"max\": 1,"
    "          \"when\": {\"family\": \"linear\"}},"
    " \"depth\": {\"type\": \"int\", \"min\": 1, \"max\": 12, \"when\": {\"family\": "
    "\"tree\"}},"
    " \"layers\": {\"type\": \"int\", \"min\": 1, \"max\": 6, \"when\": {\"family\": "
    "\"mlp\"}},"
    " \"width\": {\"type\": \"logint\", \"min\": 8, \"max\": 1024,"
    "             \"when\": {\"family\": \"mlp\"}},"
    " \"optimizer\": {\"type\": \"choice\", \"values\": [\"adam\", \"sgd\"],"
    "                 \"when\": {\"family\": \"mlp\"}},"
    " \"momentum\": {\"type\": \"uniform\", \"min\": 0, \"max\": 1,"
    "                \"when\": {\"optimizer\": \"sgd\"}}}";

static double fn_number(const json_t *config, const char *key)
{
    return json_number_value(json_object_get(config, key));
}

static double fn_conditional(const json_t *config)
{
    double x = log10(fn_number(config, "learning_rate"));
    const char *family = json_string_value(json_object_get(config, "family"));
    if (!strcmp(family, "linear"))
        return 0.5 + 0.3 * pow(x + 1, 2) +
               0.05 * pow(log10(fn_number(config, "l2")) + 3, 2);
    if (!strcmp(family, "tree"))
        return 0.4 + 0.02 * pow(x + 2, 2) +
               0.01 * pow(fn_number(config, "depth") - 7, 2);
    double f = 0.2 + 0.3 * pow(x + 3, 2) + 0.1 * fabs(fn_number(config, "layers") - 3) +
               0.03 * pow(log2(fn_number(config, "width")) - 7, 2);
    if (!strcmp(json_string_value(json_object_get(config, "optimizer")), "adam"))
        return f + 0.1;
    return f + 2 * pow(fn_number(config, "momentum") - 0.9, 2);
}

static json_t *fn_space(const struct fn *f)
{
    if (!f->call)
        return json_loads(fn_conditional_space, 0, NULL);
    json_t *space = json_object();
    for (int i = 0; i < f->n; i++) {
        char key[16];
        snprintf(key, sizeof(key), "x%02d", i);
        json_object_set_new(space, key,
                            json_pack("{s:s, s:f, s:f}", "type", "uniform", "min",
                                      f->min[i > 0], "max", f->max[i > 0]));
    }
    return space;
}

static double fn_value(const struct fn *f, const json_t *config)
{
    double x[16];
    if (!f->call)
        return fn_conditional(config);
    for (int i = 0; i < f->n; i++) {
        char key[16];
        snprintf(key, sizeof(key), "x%02d", i);
        x[i] = fn_number(config, key);
    }
    return f->call(x, f->n);
}

/* One search: the best value of `trials` trials, one at a time; best_at[i], when not
 * NULL, is the best of the first i + 1. */
static double fn_search(const struct fn *f, json_t *algorithm, int trials,
                        double *best_at)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *spec = fn_space(f);
    struct tune_space *space = tune_space_create(spec, &err);
    struct tune_sampler_options options = {.algorithm = algorithm};
    struct tune_sampler *s = tune_sampler_create(space, &options, &err);
    double best = INFINITY;
    for (int i = 0; s && i < trials; i++) {
        json_t *config = tune_sampler_suggest(s, (uint64_t)i);
        struct tune_result r = {TUNE_COMPLETED, fn_value(f, config), 0};
        tune_sampler_add(s, (uint64_t)i, config, &err);
        tune_sampler_observe(s, (uint64_t)i, r, &err);
        best = fmin(best, r.value);
        if (best_at)
            best_at[i] = best;
        json_decref(config);
    }
    if (err.code)
        fprintf(stderr, "%s: %s\n", f->name, err.text);
    tune_sampler_destroy(s);
    tune_space_destroy(space);
    json_decref(spec);
    return best;
}

#endif
