/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics for Prometheus under vLLM's names, so that dashboards made for it work:
 * gauges and counters from the engine, histograms from requests as they end. Tables say
 * name, help and buckets.
 */
#include "config.h"

#include "llm/api_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define BUCKETS_MAX 32

static const double ttft_buckets[] = {.001, .005, .01, .02, .04, .06, .08, .1,
                                      .25,  .5,   .75, 1,   2.5, 5,   7.5, 10,
                                      20,   40,   80,  160, 640, 2560};
static const double token_buckets[] = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                                       .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
static const double request_buckets[] = {.3, .5,  .8,  1,   1.5, 2,    2.5,
                                         5,  10,  15,  20,  30,  40,   50,
                                         60, 120, 240, 480, 960, 1920, 7680};
static const double count_buckets[] = {1,     2,     5,     10,     20,    50,
                                       100,   200,   500,   1000,   2000,  5000,
                                       10000, 20000, 50000, 100000, 200000};
static const double n_buckets[] = {1, 2, 5, 10, 20};

enum histogram {
    TTFT,
    ITL,
    TPOT,
    E2E,
    QUEUE,
    INFERENCE,
    PREFILL,
    DECODE,
    PROMPT,
    GENERATION,
    LONGEST,
    PARAM_N,
    PARAM_MAX,
    HISTOGRAMS
};

static const struct {
    const char *name, *help;
    const double *buckets;
    size_t bucket_count;
} histograms[HISTOGRAMS] = {
#define ROW(id, name, help, buckets) [id] = {name, help, buckets, RWF_COUNT(buckets)}
    ROW(TTFT, "time_to_first_token_seconds", "from arrival to the first token",
        ttft_buckets),
    ROW(ITL, "inter_token_latency_seconds", "between two tokens", token_buckets),
    ROW(TPOT, "request_time_per_output_token_seconds", "mean per token after the first",
        token_buckets),
    ROW(E2E, "e2e_request_latency_seconds", "from arrival to the last token",
        request_buckets),
    ROW(QUEUE, "request_queue_time_seconds", "waiting for a place in a step",
        request_buckets),
    ROW(INFERENCE, "request_inference_time_seconds", "from the first step to the last",
        request_buckets),
    ROW(PREFILL, "request_prefill_time_seconds",
        "from the first step to the first token", request_buckets),
    ROW(DECODE, "request_decode_time_seconds", "from the first token to the last",
        request_buckets),
    ROW(PROMPT, "request_prompt_tokens", "tokens of a prompt", count_buckets),
    ROW(GENERATION, "request_generation_tokens", "tokens made for a request",
        count_buckets),
    ROW(LONGEST, "request_max_num_generation_tokens",
        "tokens of the longest choice of a request", count_buckets),
    ROW(PARAM_N, "request_params_n", "the parameter n", n_buckets),
    ROW(PARAM_MAX, "request_params_max_tokens", "the parameter max_tokens",
        count_buckets),
#undef ROW
};

struct counts {
    uint64_t in[BUCKETS_MAX + 1];
    double sum;
};

struct api_metrics {
    char *model;
    int max_length;
    struct counts counts[HISTOGRAMS];
    uint64_t finished[LLM_ERROR + 1]; /* by enum llm_finish */
};

static const char *const reasons[] = {
    [LLM_STOP] = "stop",
    [LLM_LENGTH] = "length",
    [LLM_CANCELLED] = "abort",
    [LLM_ERROR] = "error",
};

struct api_metrics *api__metrics_create(const char *model, int max_length)
{
    struct api_metrics *m = rwf_xcalloc(1, sizeof(*m));

    m->model = rwf_xstrdup(model);
    m->max_length = max_length;
    return m;
}

void api__metrics_destroy(struct api_metrics *m)
{
    free(m->model);
    free(m);
}

static void observe(struct api_metrics *m, enum histogram h, double value)
{
    struct counts *c = &m->counts[h];
    size_t i = 0;

    while (i < histograms[h].bucket_count && value > histograms[h].buckets[i])
        i++;
    c->in[i]++;
    c->sum += value;
}

static double seconds(int64_t from, int64_t to)
{
    return to > from ? (double)(to - from) / (double)RWF_NS_PER_S : 0;
}

void api__metrics_token(struct api_metrics *m, struct choice *c, int64_t now)
{
    if (c->last_at != 0)
        observe(m, ITL, seconds(c->last_at, now));
    c->last_at = now;
}

void api__metrics_choice(struct api_metrics *m, const struct job *j,
                         const struct choice *c, enum llm_finish finish)
{
    const struct llm_times *t = &c->times;

    m->finished[finish]++;
    if (finish == LLM_ERROR || t->first == 0)
        return;
    observe(m, TTFT, seconds(t->arrived, t->first));
    observe(m, E2E, seconds(t->arrived, t->last));
    observe(m, QUEUE, seconds(t->arrived, t->scheduled));
    observe(m, INFERENCE, seconds(t->scheduled, t->last));
    observe(m, PREFILL, seconds(t->scheduled, t->first));
    observe(m, DECODE, seconds(t->first, t->last));
    if (t->generated > 1)
        observe(m, TPOT, seconds(t->first, t->last) / (t->generated - 1));
    observe(m, PROMPT, t->prompt);
    observe(m, GENERATION, t->generated);
    observe(m, PARAM_N, (double)j->params.n);
    if (j->params.max_tokens > 0)
        observe(m, PARAM_MAX, (double)j->params.max_tokens);
}

void api__metrics_job(struct api_metrics *m, const struct job *j)
{
    int longest = 0;

    for (int i = 0; i < j->count; i++)
        if (j->choices[i].times.generated > longest)
            longest = j->choices[i].times.generated;
    if (longest > 0)
        observe(m, LONGEST, longest);
}

/* --- writing --- */

struct page {
    struct rwf_str *out;
    const char *model;
};

static void head(const struct page *p, const char *name, const char *type,
                 const char *help)
{
    rwf_str_addf(p->out, "# HELP vllm:%s %s\n# TYPE vllm:%s %s\n", name, help, name,
                 type);
}

static void line(const struct page *p, const char *name, const char *label,
                 const char *value, double number)
{
    rwf_str_addf(p->out, "vllm:%s{engine=\"0\",model_name=", name);
    api__text(p->out, p->model, strlen(p->model));
    if (label != NULL)
        rwf_str_addf(p->out, ",%s=\"%s\"", label, value);
    rwf_str_addf(p->out, "} %.17g\n", number);
}

/* in: of each bucket, and of what is above them all. */
static void write_histogram(const struct page *p, const char *of, const char *help,
                            const double *buckets, size_t count, const uint64_t *in,
                            double sum)
{
    char name[96], value[32];
    uint64_t below = 0;

    head(p, of, "histogram", help);
    snprintf(name, sizeof(name), "%s_bucket", of);
    for (size_t i = 0; i <= count; i++) {
        below += in[i];
        if (i < count)
            snprintf(value, sizeof(value), "%g", buckets[i]);
        else
            snprintf(value, sizeof(value), "+Inf");
        line(p, name, "le", value, (double)below);
    }
    snprintf(name, sizeof(name), "%s_sum", of);
    line(p, name, NULL, NULL, sum);
    snprintf(name, sizeof(name), "%s_count", of);
    line(p, name, NULL, NULL, (double)below);
}

static void step_lines(const struct page *p, const struct llm_stats *s)
{
    double buckets[LLM_STEP_SIZES - 1];

    for (size_t i = 0; i < RWF_COUNT(buckets); i++)
        buckets[i] = LLM_STEP_SIZE(i);
    write_histogram(p, "iteration_tokens_total", "tokens computed in a step", buckets,
                    RWF_COUNT(buckets), s->step_sizes, (double)s->step_tokens);
}

static void engine_lines(const struct page *p, const struct llm_stats *s)
{
    const struct {
        const char *name, *type, *help;
        double value;
    } rows[] = {
        {"num_requests_running", "gauge", "requests in steps", s->running},
        {"num_requests_waiting", "gauge", "requests that wait for a place", s->waiting},
        {"kv_cache_usage_perc", "gauge", "share of the KV cache in use, 0 to 1",
         s->blocks > 0 ? (double)s->blocks_used / s->blocks : 0},
        {"prefix_cache_queries_total", "counter",
         "tokens looked up in the prefix cache", (double)s->prefix_queries},
        {"prefix_cache_hits_total", "counter", "tokens found in the prefix cache",
         (double)s->prefix_hits},
        {"num_preemptions_total", "counter", "requests put back for lack of room",
         (double)s->preemptions},
        {"prompt_tokens_total", "counter", "tokens of prompts",
         (double)s->prompt_tokens},
        {"generation_tokens_total", "counter", "tokens made",
         (double)s->generated_tokens},
    };

    for (size_t i = 0; i < RWF_COUNT(rows); i++) {
        head(p, rows[i].name, rows[i].type, rows[i].help);
        line(p, rows[i].name, NULL, NULL, rows[i].value);
    }
}

void api__metrics_write(struct llm_api *a, struct rwf_str *out)
{
    const struct page page = {out, a->names[0]};
    struct llm_stats s;
    char blocks[32];

    llm_engine_stats(a->engine, &s);
    engine_lines(&page, &s);
    head(&page, "request_success_total", "counter", "requests that ended, by how");
    for (int i = LLM_STOP; i <= LLM_ERROR; i++)
        line(&page, "request_success_total", "finished_reason", reasons[i],
             (double)a->metrics->finished[i]);
    for (int h = 0; h < HISTOGRAMS; h++)
        write_histogram(&page, histograms[h].name, histograms[h].help,
                        histograms[h].buckets, histograms[h].bucket_count,
                        a->metrics->counts[h].in, a->metrics->counts[h].sum);
    step_lines(&page, &s);
    head(&page, "cache_config_info", "gauge", "the KV cache");
    snprintf(blocks, sizeof(blocks), "%d", s.blocks);
    line(&page, "cache_config_info", "num_gpu_blocks", blocks, 1);
}
