/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf bench serve: a load for a server of OpenAI's API, measured as vLLM's tool does
 * it.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "llm/bench.h"

static int real_option(const struct cmd_call *call, const char *name, double fallback,
                       double *ret, struct rwf_err *err)
{
    const char *text = cmd_text(call, name, NULL);
    char *end;

    *ret = fallback;
    if (text == NULL || strcmp(text, "inf") == 0)
        return 0;
    *ret = strtod(text, &end);
    if (end == text || *end != '\0' || *ret < 0)
        return rwf_fail(err, RWF_E_USAGE, "--%s %s: a number from 0", name, text);
    return 0;
}

/* http://HOST:PORT/PREFIX/v1, as clients of OpenAI have it: target becomes the server,
 * and what is returned PREFIX. */
static char *take_prefix(char *target)
{
    char *path = rwf_starts_with(target, "http://")
                     ? strchr(target + strlen("http://"), '/')
                     : NULL;
    char *prefix = rwf_xstrdup(path == NULL ? "" : path);
    size_t len = strlen(prefix);

    if (path != NULL)
        *path = '\0';
    while (len > 0 && prefix[len - 1] == '/')
        prefix[--len] = '\0';
    if (rwf_ends_with(prefix, "/v1"))
        prefix[len - strlen("/v1")] = '\0';
    return prefix;
}

static int check_dataset(const struct cmd_call *call, struct rwf_err *err)
{
    const char *name = cmd_text(call, "dataset-name", "random");

    if (strcmp(name, "random") != 0 && !cmd_given(call, "dataset-path"))
        return rwf_fail(err, RWF_E_USAGE, "--dataset-name %s needs --dataset-path",
                        name);
    return 0;
}

static int read_options(const struct cmd_call *call, const char *target,
                        const char *prefix, struct bench_options *o,
                        struct rwf_err *err)
{
    bool chat = strcmp(cmd_text(call, "backend", "openai"), "openai-chat") == 0;

    *o = (struct bench_options){
        .target = target,
        .prefix = prefix,
        .chat = chat,
        .endpoint = cmd_text(call, "endpoint",
                             chat ? "/v1/chat/completions" : "/v1/completions"),
        .model = cmd_text(call, "model", NULL),
        .tokenizer = cmd_text(call, "tokenizer", cmd_text(call, "model", NULL)),
        .dataset = cmd_text(call, "dataset-path", NULL),
        .api_key = getenv("OPENAI_API_KEY"),
        .input_len = (int)cmd_count(call, "random-input-len", 1024),
        .output_len = (int)cmd_count(call, "random-output-len", 128),
        .prefix_len = (int)cmd_count(call, "random-prefix-len", 0),
        .num_prompts = (int)cmd_count(call, "num-prompts", 1000),
        .max_concurrency = (int)cmd_count(call, "max-concurrency", 0),
        .ignore_eos = cmd_given(call, "ignore-eos"),
        .seed = (uint64_t)cmd_count(call, "seed", 0),
        .timeout = cmd_duration(call, "timeout", 3600 * RWF_NS_PER_S),
    };
    if (o->dataset != NULL && !cmd_given(call, "random-output-len"))
        o->output_len = 0;
    if (o->tokenizer == NULL)
        return rwf_fail(
            err, RWF_E_USAGE,
            "bench serve: --tokenizer FOLDER (of the model) is needed to make "
            "prompts");
    if (o->num_prompts < 1 || o->num_prompts > 10000000)
        return rwf_fail(err, RWF_E_USAGE, "--num-prompts: from 1 to 10,000,000");
    if (check_dataset(call, err) != 0 ||
        real_option(call, "request-rate", 0, &o->request_rate, err) != 0 ||
        real_option(call, "random-range-ratio", 0, &o->range_ratio, err) != 0 ||
        real_option(call, "temperature", -1, &o->temperature, err) != 0)
        return -1;
    return o->range_ratio < 1
               ? 0
               : rwf_fail(err, RWF_E_USAGE, "--random-range-ratio: below 1");
}

static int bench_run(struct cmd_call *call, struct rwf_err *err)
{
    char *target =
        cmd_given(call, "base-url")
            ? rwf_xstrdup(cmd_text(call, "base-url", ""))
            : rwf_xasprintf("http://%s:%lld", cmd_text(call, "host", "127.0.0.1"),
                            (long long)cmd_count(call, "port", 8000));
    char *prefix = take_prefix(target);
    struct rwf_str text = {NULL, 0, 0};
    struct bench_options o;
    struct bench_result r;
    int rc = read_options(call, target, prefix, &o, err);

    if (rc == 0)
        rc = bench_serve(&o, &r, err);
    if (rc == 0) {
        bench_text(&r, &o, &text);
        if (call->json)
            call->data = bench_json(&r);
        else
            fputs(text.data, stdout);
        if (r.failed > 0)
            rc = rwf_fail(err, RWF_E_FAILED, "%d of %d requests failed; the first: %s",
                          r.failed, o.num_prompts, r.error);
    }
    rwf_str_free(&text);
    free(target);
    free(prefix);
    return rc;
}

static const struct cmd_option options[] = {
    {"base-url", 0, CMD_TEXT, "URL", false, NULL,
     "http://ADDRESS:PORT[/PREFIX] or unix:PATH"},
    {"host", 0, CMD_TEXT, "ADDRESS", false, "127.0.0.1", "of the server"},
    {"port", 0, CMD_COUNT, "N", false, "8000", "of the server"},
    {"backend", 0, CMD_CHOICE, "openai|openai-chat", false, "openai",
     "completions (prompts are sent as ids) or chat"},
    {"endpoint", 0, CMD_TEXT, "PATH", false, "by the backend", "another path"},
    {"model", 0, CMD_TEXT, "NAME", false, "the server's first",
     "as the server calls it"},
    {"tokenizer", 0, CMD_FILE, "FOLDER", false, "--model", "makes and counts prompts"},
    {"dataset-name", 0, CMD_CHOICE, "random|sharegpt|custom", false, "random",
     "what --dataset-path is; random needs none"},
    {"dataset-path", 0, CMD_FILE, "FILE", false, NULL,
     "ShareGPT's JSON, or lines with \"prompt\" and \"output_len\""},
    {"num-prompts", 0, CMD_COUNT, "N", false, "1000", "requests"},
    {"request-rate", 0, CMD_TEXT, "N", false, "inf", "a second, with exponential gaps"},
    {"max-concurrency", 0, CMD_COUNT, "N", false, "no limit", "requests at once"},
    {"random-input-len", 0, CMD_COUNT, "N", false, "1024", "tokens of a prompt"},
    {"random-output-len", 0, CMD_COUNT, "N", false, "128", "tokens of a reply"},
    {"random-prefix-len", 0, CMD_COUNT, "N", false, "0",
     "tokens that all prompts share"},
    {"random-range-ratio", 0, CMD_TEXT, "R", false, "0", "lengths vary by this share"},
    {"temperature", 0, CMD_TEXT, "T", false, "the server's", "of the replies"},
    {"ignore-eos", 0, CMD_FLAG, NULL, false, NULL, "every reply has its whole length"},
    {"seed", 0, CMD_COUNT, "N", false, "0", "of prompts and arrivals"},
    {"timeout", 0, CMD_DURATION, "TIME", false, "1h", "of a request"},
    {0},
};

const struct cmd cmd_bench = {
    .name = "bench",
    .group = CMD_OBSERVE,
    .summary = "measure a server of OpenAI's API",
    .details = "bench serve sends requests and prints what vllm bench serve prints: "
               "throughput, "
               "time to the first token, per token, and between tokens. Options have "
               "its names. "
               "A key is taken from OPENAI_API_KEY.",
    .examples = "raywf bench serve --tokenizer ./Qwen3-0.6B --num-prompts 200 "
                "--random-input-len 1000 --random-output-len 200 --ignore-eos",
    .exits = "0 1 2 6 7",
    .operands = {{"serve", CMD_TEXT, 1, 1}},
    .options = options,
    .run = bench_run,
};
