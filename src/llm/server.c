/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "llm/api.h"
#include "llm/memory.h"

#define CHAT_MAX_BODY ((size_t)32 << 20)
#define REPORT_EVERY 10000 /* ms */
#define DRAIN (30 * RWF_NS_PER_S)

struct server {
    const struct llm_server_options *o;
    struct llm_config config;
    struct device device;
    bool has_device;
    uv_loop_t loop;
    struct llm_api *api;
    struct http_server *http;
    uv_signal_t signals[2];
    uv_timer_t report;
    struct llm_stats before;
    int64_t before_at;
    bool ending;
};

static void say(const struct server *s, const char *text)
{
    if (!s->o->quiet)
        fprintf(stderr, "raywf: serve: %s\n", text);
}

/* --- the device, and what fits --- */

static int open_device(struct server *s, struct rwf_err *err)
{
    const char *name = s->o->device;
    int threads =
        s->o->threads > 0 ? s->o->threads : (int)sysconf(_SC_NPROCESSORS_ONLN);
    struct rwf_err none = RWF_ERR_INIT;

    if (name == NULL || strcmp(name, "auto") == 0) {
        s->has_device = device_open(&s->device, "cuda", 0, 0, &none) == 0;
        rwf_log(RWF_LOG_DEBUG, "llm", "no GPU: %s", none.text);
        name = "cpu";
    }
    if (!s->has_device && device_open(&s->device, name, 0, threads, err) != 0)
        return -1;
    s->has_device = true;
    return 0;
}

static int choose_type(const struct server *s, enum kernel_type *ret,
                       struct rwf_err *err)
{
    const char *type = s->o->type;

    *ret = s->config.type;
    if (type == NULL || strcmp(type, "auto") == 0)
        return 0;
    if (strcmp(type, "bfloat16") == 0 || strcmp(type, "half") == 0 ||
        strcmp(type, "float16") == 0)
        *ret = KERNEL_BF16;
    else if (strcmp(type, "float32") == 0 || strcmp(type, "float") == 0)
        *ret = KERNEL_F32;
    else
        return rwf_fail(err, RWF_E_USAGE, "--dtype %s: auto, bfloat16 or float32",
                        type);
    return 0;
}

/* Lowers max_length to what the cache holds, when the user left that to us. */
static int fit(struct server *s, struct llm_model_options *m, struct rwf_err *err)
{
    struct llm_memory_ask ask = {
        .config = &s->config,
        .options = *m,
        .device = s->device.info.name,
        .total = (int64_t)s->device.info.total,
        .free = (int64_t)s->device.info.free,
        .host = device_is_host(&s->device),
    };
    struct llm_memory plan;
    char text[160];

    if (s->o->max_length > 0 || llm_memory_plan(&ask, &plan, err) == 0)
        return 0;
    if (plan.longest < KERNEL_BLOCK)
        return -1;
    m->max_length = plan.longest;
    snprintf(text, sizeof(text),
             "the memory has room for %d tokens of context, of %d that the model was "
             "made for",
             plan.longest, s->config.context);
    say(s, text);
    return 0;
}

static int model_options(struct server *s, struct llm_model_options *m,
                         struct rwf_err *err)
{
    *m = (struct llm_model_options){
        .device = &s->device,
        .max_tokens = s->o->max_tokens,
        .max_sequences = s->o->max_sequences,
        .max_length = s->o->max_length > 0 ? (int)s->o->max_length : 0,
        .memory_share = s->o->memory_share,
        .cache_bytes = s->o->cache_bytes,
        .eager = s->o->eager,
        .dummy = s->o->dummy,
    };
    llm_options_for(m, device_is_host(&s->device), (int64_t)s->device.info.total);
    if (choose_type(s, &m->type, err) != 0 ||
        llm_options_complete(m, &s->config, err) != 0)
        return -1;
    return fit(s, m, err);
}

/* --- what people see --- */

static double rate(uint64_t now, uint64_t before, double seconds)
{
    return (double)(now - before) / seconds;
}

/* vLLM's line, while there is something to tell. */
static void on_report(uv_timer_t *timer)
{
    struct server *s = timer->data;
    struct llm_stats n, b = s->before;
    int64_t now = rwf_clock_mono();
    double seconds = (double)(now - s->before_at) / (double)RWF_NS_PER_S;
    char text[320];

    llm_engine_stats(llm_api_engine(s->api), &n);
    s->before = n;
    s->before_at = now;
    if (n.steps == b.steps || seconds <= 0)
        return;
    snprintf(
        text, sizeof(text),
        "Avg prompt throughput: %.1f tokens/s, Avg generation throughput: %.1f "
        "tokens/s, "
        "Running: %d reqs, Waiting: %d reqs, KV cache usage: %.1f%%, Prefix cache hit "
        "rate: %.1f%%",
        rate(n.prompt_tokens, b.prompt_tokens, seconds),
        rate(n.generated_tokens, b.generated_tokens, seconds), n.running, n.waiting,
        n.blocks > 0 ? 100.0 * n.blocks_used / n.blocks : 0,
        n.prefix_queries > 0 ? 100.0 * (double)n.prefix_hits / (double)n.prefix_queries
                             : 0);
    say(s, text);
}

static void say_ready(const struct server *s, const struct llm_model_options *m,
                      int64_t took)
{
    int tokens =
        llm_model_blocks(llm_engine_model(llm_api_engine(s->api))) * KERNEL_BLOCK;
    char text[400], time[RWF_UNITS_LEN];

    snprintf(text, sizeof(text),
             "%s on %s: KV cache of %d tokens, room for %.2f requests of %d",
             s->o->folder, s->device.info.name, tokens, (double)tokens / m->max_length,
             m->max_length);
    say(s, text);
    snprintf(text, sizeof(text), "ready after %s at %s",
             rwf_duration_format(took, time), http_server_url(s->http));
    say(s, text);
}

/* --- life --- */

static void on_drained(void *ctx)
{
    struct server *s = ctx;

    uv_stop(&s->loop);
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct server *s = signal->data;

    (void)number;
    if (s->ending) {
        uv_stop(&s->loop);
        return;
    }
    s->ending = true;
    say(s, "ending: requests that run are finished first");
    http_server_drain(s->http, s->o->drain > 0 ? s->o->drain : DRAIN, on_drained, s);
}

static int open_api(struct server *s, const struct llm_model_options *m,
                    struct rwf_err *err)
{
    const char *const folder[] = {s->o->folder, NULL};
    const struct llm_api_options a = {
        .folder = s->o->folder,
        .names = s->o->names != NULL && s->o->names[0] != NULL ? s->o->names : folder,
        .template_ = s->o->template_,
        .no_reasoning = s->o->no_reasoning,
        .no_tools = s->o->no_tools,
        .escape_special = s->o->escape_special,
        .seeded = s->o->seeded,
        .seed = s->o->seed,
        .engine = {.model = *m, .no_prefix_cache = s->o->no_prefix_cache},
    };

    s->api = llm_api_create(&s->loop, &s->config, &a, err);
    return s->api == NULL ? -1 : 0;
}

static int open_http(struct server *s, struct rwf_err *err)
{
    static const char *const open_paths[] = {"/health", "/ping", "/version", "/metrics",
                                             NULL};
    const struct http_server_options h = {
        .host = s->o->host,
        .port = s->o->port < 0 ? 8000 : s->o->port,
        .unix_path = s->o->unix_path,
        .tls_cert = s->o->tls_cert,
        .tls_key = s->o->tls_key,
        .api_keys = s->o->api_keys,
        .open_paths = open_paths,
        .cors_origins = s->o->cors_origins,
        .max_body = CHAT_MAX_BODY,
        .access_log = s->o->access_log,
        .request = llm_api_request,
        .gone = llm_api_gone,
        .ctx = s->api,
    };

    s->http = http_server_create(&s->loop, &h, err);
    return s->http == NULL ? -1 : 0;
}

static void watch(struct server *s)
{
    static const int numbers[] = {SIGINT, SIGTERM};

    for (int i = 0; i < 2; i++) {
        uv_signal_init(&s->loop, &s->signals[i]);
        s->signals[i].data = s;
        uv_signal_start(&s->signals[i], on_signal, numbers[i]);
    }
    uv_timer_init(&s->loop, &s->report);
    s->report.data = s;
    uv_timer_start(&s->report, on_report, REPORT_EVERY, REPORT_EVERY);
}

static void close_handle(uv_handle_t *h, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void close_all(struct server *s)
{
    /* The API first: it ends requests that still run, which are the HTTP server's. */
    llm_api_destroy(s->api);
    http_server_destroy(s->http);
    uv_run(&s->loop, UV_RUN_NOWAIT);
    uv_walk(&s->loop, close_handle, NULL);
    while (uv_run(&s->loop, UV_RUN_DEFAULT) != 0)
        ;
    uv_loop_close(&s->loop);
    if (s->has_device)
        device_close(&s->device);
}

int llm_server_run(const struct llm_server_options *o, struct rwf_err *err)
{
    struct server *s = rwf_xcalloc(1, sizeof(*s));
    struct llm_model_options m;
    int64_t began = rwf_clock_mono();
    int rc = -1;

    s->o = o;
    uv_loop_init(&s->loop);
    if (llm_config_read(o->folder, &s->config, err) != 0 || open_device(s, err) != 0 ||
        model_options(s, &m, err) != 0 || open_api(s, &m, err) != 0 ||
        open_http(s, err) != 0)
        goto out;
    watch(s);
    say_ready(s, &m, rwf_clock_mono() - began);
    s->before_at = rwf_clock_mono();
    uv_run(&s->loop, UV_RUN_DEFAULT);
    rc = 0;
out:
    close_all(s);
    free(s);
    return rc;
}
