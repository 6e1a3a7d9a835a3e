/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/bench.h"

#include <stdio.h>

#include "base/mem.h"

static void count(struct rwf_str *out, const char *label, int64_t value)
{
    rwf_str_addf(out, "%-40s %-10lld\n", label, (long long)value);
}

static void real(struct rwf_str *out, const char *label, double value)
{
    rwf_str_addf(out, "%-40s %-10.2f\n", label, value);
}

static void latency(struct rwf_str *out, const char *title, const char *name,
                    const struct bench_latency *l)
{
    const struct {
        const char *what;
        double value;
    } rows[] = {{"Mean", l->mean}, {"Median", l->median}, {"P99", l->p99}};
    char label[64];

    rwf_str_addf(out, "%s\n", title);
    for (size_t i = 0; i < RWF_COUNT(rows); i++) {
        snprintf(label, sizeof(label), "%s %s (ms):", rows[i].what, name);
        real(out, label, rows[i].value);
    }
}

void bench_text(const struct bench_result *r, const struct bench_options *o,
                struct rwf_str *out)
{
    double s = r->duration > 0 ? r->duration : 1;

    rwf_str_add(out, "============ Serving Benchmark Result ============\n");
    count(out, "Successful requests:", r->completed);
    count(out, "Failed requests:", r->failed);
    if (o->max_concurrency > 0)
        count(out, "Maximum request concurrency:", o->max_concurrency);
    if (o->request_rate > 0)
        real(out, "Request rate configured (RPS):", o->request_rate);
    real(out, "Benchmark duration (s):", r->duration);
    count(out, "Total input tokens:", r->input_tokens);
    count(out, "Total generated tokens:", r->output_tokens);
    real(out, "Request throughput (req/s):", r->completed / s);
    real(out, "Output token throughput (tok/s):", (double)r->output_tokens / s);
    real(out, "Peak output token throughput (tok/s):", r->peak_tokens);
    real(out, "Peak concurrent requests:", r->peak_concurrent);
    real(out, "Total Token throughput (tok/s):",
         (double)(r->input_tokens + r->output_tokens) / s);
    latency(out, "---------------Time to First Token----------------", "TTFT",
            &r->ttft);
    latency(out, "-----Time per Output Token (excl. 1st token)------", "TPOT",
            &r->tpot);
    latency(out, "---------------Inter-token Latency----------------", "ITL", &r->itl);
    latency(out, "----------------End-to-end Latency----------------", "E2EL", &r->e2e);
    rwf_str_add(out, "==================================================\n");
}

static json_t *latency_json(const struct bench_latency *l)
{
    return json_pack("{s:f, s:f, s:f, s:f}", "mean_ms", l->mean, "median_ms", l->median,
                     "p99_ms", l->p99, "std_ms", l->sd);
}

json_t *bench_json(const struct bench_result *r)
{
    double s = r->duration > 0 ? r->duration : 1;

    return json_pack(
        "{s:i, s:i, s:f, s:I, s:I, s:f, s:f, s:f, s:f, s:i, s:o, s:o, s:o, s:o}",
        "completed", r->completed, "failed", r->failed, "duration", r->duration,
        "total_input_tokens", (json_int_t)r->input_tokens, "total_output_tokens",
        (json_int_t)r->output_tokens, "request_throughput", r->completed / s,
        "output_throughput", (double)r->output_tokens / s, "total_token_throughput",
        (double)(r->input_tokens + r->output_tokens) / s, "peak_output_throughput",
        r->peak_tokens, "peak_concurrent_requests", r->peak_concurrent, "ttft",
        latency_json(&r->ttft), "tpot", latency_json(&r->tpot), "itl",
        latency_json(&r->itl), "e2el", latency_json(&r->e2e));
}
