/* SPDX-License-Identifier: Apache-2.0
 *
 * How good the samplers are, and what a suggestion costs.
 *
 *   tune_quality best ALGORITHM SEEDS TRIALS [FUNCTION...]   lines "raywf FUNCTION SEED BEST"
 *   tune_quality suggest ALGORITHM OBSERVED                  milliseconds of a suggestion
 *   tune_quality report SCHEDULER TRIALS                     microseconds of a report
 *
 * ALGORITHM is JSON ({"type":"tpe"}) or its word. tune_quality.sh runs it beside Optuna.
 */
#include "config.h"

#include <stdlib.h>
#include <time.h>
#include "tune_functions.h"
#include "base/mem.h"
#include "tune/rng.h"
#include "tune/scheduler.h"

static json_t *algorithm_of(const char *text)
{
    json_t *a = json_loads(text, 0, NULL);
    return a ? a : json_pack("{s:s}", "type", text);
}

static int wanted(const struct fn *f, char **names)
{
    if (!*names)
        return 1;
    for (; *names; names++)
        if (!strcmp(*names, f->name))
            return 1;
    return 0;
}

static int best(json_t *algorithm, int seeds, int trials, char **names)
{
    for (size_t i = 0; i < RWF_COUNT(fn_boxes); i++) {
        if (!wanted(&fn_boxes[i], names))
            continue;
        for (int seed = 0; seed < seeds; seed++) {
            json_object_set_new(algorithm, "seed", json_integer(seed));
            printf("raywf %s %d %.17g\n", fn_boxes[i].name, seed,
                   fn_search(&fn_boxes[i], algorithm, trials, NULL));
        }
    }
    return 0;
}

/* The processor's time: the machine may have other work. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* Ten parameters of each kind that a model uses: six real, two int, two choice. */
static const char mixed_space[] =
    "{\"a\":{\"type\":\"uniform\",\"min\":0,\"max\":1},"
    "\"b\":{\"type\":\"loguniform\",\"min\":1e-6,\"max\":1},"
    "\"c\":{\"type\":\"uniform\",\"min\":0,\"max\":1},"
    "\"d\":{\"type\":\"uniform\",\"min\":0,\"max\":1},"
    "\"e\":{\"type\":\"uniform\",\"min\":0,\"max\":1},"
    "\"f\":{\"type\":\"normal\",\"mean\":0,\"std\":1},"
    "\"g\":{\"type\":\"int\",\"min\":1,\"max\":200},"
    "\"h\":{\"type\":\"logint\",\"min\":8,\"max\":4096},"
    "\"i\":{\"type\":\"choice\",\"values\":[1,2,3,4]},"
    "\"j\":{\"type\":\"choice\",\"values\":[true,false]}}";

static double mixed_value(const json_t *config)
{
    return fabs(fn_number(config, "a") - 0.3) + fabs(log10(fn_number(config, "b")) + 3)
           + fabs(fn_number(config, "g") - 70) / 100;
}

/* Half of the trials are suggested by random numbers, half by the sampler itself at every
 * 10th, so that the observations lie as a search leaves them: dense near the optimum. */
static int suggest(json_t *algorithm, int observed)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *spec = json_loads(mixed_space, 0, NULL), *config;
    struct tune_space *space = tune_space_create(spec, &err);
    struct tune_sampler_options options = {.algorithm = algorithm};
    struct tune_sampler *s = tune_sampler_create(space, &options, &err);
    struct tune_sampler_options plain = {.algorithm = NULL};
    struct tune_sampler *random = tune_sampler_create(space, &plain, &err);
    if (!s) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    double spent = 0, last[64], adding = 0;
    for (int i = 0; i < observed + 64; i++) {
        double t0 = now();
        config = tune_sampler_suggest(i < observed && i % 2 ? random : s, (uint64_t)i);
        double t1 = now();
        struct tune_result r = {TUNE_COMPLETED, mixed_value(config), 0};
        tune_sampler_add(s, (uint64_t)i, config, &err);
        tune_sampler_observe(s, (uint64_t)i, r, &err);
        adding += now() - t1;
        if (i >= observed)
            last[i - observed] = t1 - t0;
        spent += t1 - t0;
        json_decref(config);
    }
    double most = 0, least = INFINITY, sum = 0;
    for (int i = 0; i < 64; i++) {
        most = fmax(most, last[i]);
        least = fmin(least, last[i]);
        sum += last[i];
    }
    printf("%d observed: suggest %.3f ms mean, %.3f to %.3f; add + observe %.4f ms\n",
           observed, sum / 64, least, most, adding / (observed + 64));
    tune_sampler_destroy(random);
    tune_sampler_destroy(s);
    tune_space_destroy(space);
    json_decref(spec);
    return 0;
}

/* All trials report step after step, and paused ones are resumed, until all have ended. */
static int report(json_t *scheduler, int trials)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *spec = json_loads("{\"x\":{\"type\":\"uniform\",\"min\":0,\"max\":1}}", 0, NULL);
    json_t *config = json_pack("{s:f}", "x", 0.5);
    struct tune_space *space = tune_space_create(spec, &err);
    struct tune_scheduler_options o = {.scheduler = scheduler, .space = space, .max_steps = 81};
    struct tune_scheduler *s = tune_scheduler_create(&o, &err);
    bool *runs = rwf_xcalloc((size_t)trials + 1, sizeof(*runs)), any = s != NULL;
    int64_t *t = rwf_xcalloc((size_t)trials + 1, sizeof(*t)), reports = 0;
    struct tune_decision d;
    struct tune_rng rng;
    double began = now();
    if (!s)
        fprintf(stderr, "%s\n", err.text);
    tune_rng_init(&rng, 1, TUNE_FOR_USER, 0);
    for (int i = 0; s && i < trials; i++)
        runs[i] = !tune_scheduler_start(s, (uint64_t)i, config, &err);
    while (any) {
        any = false;
        for (int i = 0; i < trials; i++) {
            if (!runs[i])
                continue;
            any = true;
            reports++;
            tune_scheduler_report(s, (uint64_t)i, ++t[i], tune_rng_uniform(&rng), &d, &err);
            runs[i] = d.action == TUNE_CONTINUE || d.action == TUNE_CLONE;
            t[i] = d.action == TUNE_CLONE ? d.source_step : t[i];
            if (d.config)
                json_decref(d.config);
            while (tune_scheduler_next(s, &d))
                runs[d.trial] = d.action == TUNE_RESUME;
        }
        if (!any)
            tune_scheduler_close(s);
        while (!any && tune_scheduler_next(s, &d))
            runs[d.trial] = any = d.action == TUNE_RESUME;
    }
    printf("%d trials, %lld reports: %.2f us each\n", trials, (long long)reports,
           (now() - began) * 1e3 / (double)reports);
    tune_scheduler_destroy(s);
    tune_space_destroy(space);
    json_decref(spec);
    json_decref(config);
    free(runs);
    free(t);
    return !s;
}

int main(int argc, char **argv)
{
    if (argc >= 5 && !strcmp(argv[1], "best"))
        return best(algorithm_of(argv[2]), atoi(argv[3]), atoi(argv[4]), argv + 5);
    if (argc == 4 && !strcmp(argv[1], "suggest"))
        return suggest(algorithm_of(argv[2]), atoi(argv[3]));
    if (argc == 4 && !strcmp(argv[1], "report"))
        return report(algorithm_of(argv[2]), atoi(argv[3]));
    fprintf(stderr, "usage: tune_quality best ALGORITHM SEEDS TRIALS [FUNCTION...] | "
                    "suggest ALGORITHM OBSERVED | report SCHEDULER TRIALS\n");
    return 2;
}
