/* SPDX-License-Identifier: Apache-2.0
 *
 * One loop sends all requests and takes the times of their pieces. A piece with text is
 * a token or several; how many tokens there were says the usage at the end.
 */
#include "config.h"

#include "llm/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http/client.h"
#include "llm/json_text.h"

struct bench;

struct request {
    struct bench *b;
    const struct bench_prompt *prompt;
    struct rwf_str line; /* of the events, not whole yet */
    struct rwf_str rest; /* of a reply that is no stream */
    int status;
    int64_t sent, first, last;
    int input, output, pieces;
    bool complete; /* [DONE] came */
};

struct samples {
    double *ms;
    size_t count, cap;
};

struct bench {
    const struct bench_options *o;
    uv_loop_t loop;
    struct http_client *client;
    uv_timer_t timer;
    struct bench_prompt *prompts;
    struct request *requests;
    char *endpoint;
    char *model;
    int next, running, ended;
    int64_t began;
    double due; /* seconds from began, of the next one */
    uint64_t random;
    struct samples ttft, tpot, itl, e2e,
        arrivals; /* arrivals: of tokens, s from began */
    struct bench_result *result;
};

static void add_sample(struct samples *s, double ms)
{
    *RWF_PUSH(s->ms, s->count, s->cap) = ms;
}

static double ms(int64_t ns)
{
    return (double)ns / 1e6;
}

/* --- a request's events --- */

/* A reply may end without a text: its tokens stood for none. */
static bool is_end(const json_t *event)
{
    const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);

    return json_is_string(json_object_get(choice, "finish_reason"));
}

static bool has_text(const json_t *event)
{
    const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
    const json_t *delta = json_object_get(choice, "delta");

    return json_string_length(json_object_get(choice, "text")) > 0 ||
           json_string_length(json_object_get(delta, "content")) > 0 ||
           json_string_length(json_object_get(delta, "reasoning_content")) > 0 ||
           json_array_size(json_object_get(delta, "tool_calls")) > 0;
}

static void on_text(struct request *r, int64_t now)
{
    struct bench *b = r->b;

    if (r->pieces++ == 0)
        r->first = now;
    else
        add_sample(&b->itl, ms(now - r->last));
    r->last = now;
    add_sample(&b->arrivals, (double)(now - b->began) / 1e9);
}

static void on_event(struct request *r, const char *text, size_t len)
{
    if (len == 6 && memcmp(text, "[DONE]", 6) == 0) {
        r->complete = true;
        return;
    }
    json_t *event = json_loadb(text, len, JSON_ALLOW_NUL, NULL);
    const json_t *usage = json_object_get(event, "usage");
    const char *wrong =
        json_string_value(json_object_get(json_object_get(event, "error"), "message"));
    if (has_text(event) || (r->pieces == 0 && is_end(event)))
        on_text(r, rwf_clock_mono());
    if (wrong != NULL && r->rest.len == 0)
        rwf_str_add(&r->rest, wrong);
    if (json_is_object(usage)) {
        r->input = (int)json_integer_value(json_object_get(usage, "prompt_tokens"));
        r->output =
            (int)json_integer_value(json_object_get(usage, "completion_tokens"));
    }
    json_decref(event);
}

static void on_head(void *ctx, const struct http_reply_head *head)
{
    ((struct request *)ctx)->status = head->status;
}

static void on_piece(void *ctx, const void *data, size_t size)
{
    struct request *r = ctx;
    const char *at = data, *end = at + size, *stop;

    if (r->status != 200) {
        rwf_str_addn(&r->rest, at, size);
        return;
    }
    while ((stop = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        rwf_str_addn(&r->line, at, (size_t)(stop - at));
        if (r->line.len > 6 && memcmp(r->line.data, "data: ", 6) == 0)
            on_event(r, r->line.data + 6, r->line.len - 6);
        rwf_str_clear(&r->line);
        at = stop + 1;
    }
    rwf_str_addn(&r->line, at, (size_t)(end - at));
}

/* --- sending --- */

static void body(const struct bench *b, const struct bench_prompt *p,
                 struct rwf_str *out)
{
    rwf_str_add(out, "{\"model\":");
    json_text_add_string(out, b->model, strlen(b->model));
    if (p->text != NULL) {
        rwf_str_add(out, ",\"messages\":[{\"role\":\"user\",\"content\":");
        json_text_add_string(out, p->text, strlen(p->text));
        rwf_str_add(out, "}]");
    } else {
        for (int i = 0; i < p->count; i++)
            rwf_str_addf(out, "%s%d", i == 0 ? ",\"prompt\":[" : ",", p->ids[i]);
        rwf_str_addc(out, ']');
    }
    rwf_str_addf(out,
                 ",\"max_tokens\":%d,\"stream\":true,\"stream_options\":"
                 "{\"include_usage\":true}",
                 p->output_len);
    if (b->o->temperature >= 0)
        rwf_str_addf(out, ",\"temperature\":%g", b->o->temperature);
    rwf_str_add(out, b->o->ignore_eos ? ",\"ignore_eos\":true}" : "}");
}

static void go_on(struct bench *b);

static void finish(struct request *r, const char *wrong)
{
    struct bench_result *result = r->b->result;

    if (wrong != NULL) {
        if (result->failed++ == 0)
            snprintf(result->error, sizeof(result->error), "%.255s", wrong);
        return;
    }
    result->completed++;
    result->input_tokens += r->input;
    result->output_tokens += r->output;
    add_sample(&r->b->ttft, ms(r->first - r->sent));
    add_sample(&r->b->e2e, ms(r->last - r->sent));
    if (r->output > 1)
        add_sample(&r->b->tpot, ms(r->last - r->first) / (r->output - 1));
}

static void on_done(void *ctx, const struct rwf_err *err, bool sent)
{
    struct request *r = ctx;
    struct bench *b = r->b;
    char text[256];

    (void)sent;
    b->running--;
    b->ended++;
    if (r->status == 200 && r->rest.len > 0) { /* an error among the events */
        finish(r, r->rest.data);
    } else if (err != NULL) {
        finish(r, err->text);
    } else if (r->status != 200) {
        snprintf(text, sizeof(text), "status %d: %.200s", r->status,
                 r->rest.len > 0 ? r->rest.data : "");
        finish(r, text);
    } else {
        finish(r, !r->complete     ? "the stream ended before [DONE]"
                  : r->pieces == 0 ? "no reply came"
                                   : NULL);
    }
    rwf_str_free(&r->line);
    rwf_str_free(&r->rest);
    go_on(b);
}

static void send_one(struct bench *b)
{
    struct request *r = &b->requests[b->next];
    struct rwf_str out = {NULL, 0, 0};
    char key[600];
    const char *names[] = {"Content-Type", "Authorization"};
    const char *values[] = {"application/json", key};

    r->b = b;
    r->prompt = &b->prompts[b->next++];
    body(b, r->prompt, &out);
    snprintf(key, sizeof(key), "Bearer %s", b->o->api_key != NULL ? b->o->api_key : "");
    r->sent = rwf_clock_mono();
    b->running++;
    if (b->running > b->result->peak_concurrent)
        b->result->peak_concurrent = b->running;
    http_client_call(b->client, &(struct http_call_options){
                                    .method = "POST",
                                    .path = b->endpoint,
                                    .names = names,
                                    .values = values,
                                    .header_count = b->o->api_key != NULL ? 2 : 1,
                                    .body = out.data,
                                    .size = out.len,
                                    .timeout = b->o->timeout,
                                    .idle_timeout = b->o->timeout,
                                    .head = on_head,
                                    .piece = on_piece,
                                    .done = on_done,
                                    .ctx = r,
                                });
    rwf_str_free(&out);
}

static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(*state >> 11) + 0.5) / 9007199254740992.0;
}

static void on_timer(uv_timer_t *timer)
{
    go_on(timer->data);
}

/* Sends what is due, as far as concurrency allows. */
static void go_on(struct bench *b)
{
    const struct bench_options *o = b->o;

    while (b->next < o->num_prompts &&
           (o->max_concurrency == 0 || b->running < o->max_concurrency)) {
        double now = (double)(rwf_clock_mono() - b->began) / 1e9;
        if (o->request_rate > 0 && b->due > now) {
            uv_timer_start(&b->timer, on_timer, (uint64_t)ceil((b->due - now) * 1000),
                           0);
            return;
        }
        send_one(b);
        if (o->request_rate > 0)
            b->due += -log(uniform(&b->random)) / o->request_rate;
    }
    if (b->ended == o->num_prompts)
        uv_stop(&b->loop);
}

/* --- the model's name --- */

struct asked {
    struct bench *b;
    struct rwf_str body;
    struct rwf_err *err;
    int status;
    bool failed;
};

static void asked_head(void *ctx, const struct http_reply_head *head)
{
    ((struct asked *)ctx)->status = head->status;
}

static void asked_piece(void *ctx, const void *data, size_t size)
{
    rwf_str_addn(&((struct asked *)ctx)->body, data, size);
}

static void asked_done(void *ctx, const struct rwf_err *err, bool sent)
{
    struct asked *a = ctx;

    (void)sent;
    a->failed = err != NULL;
    if (err != NULL)
        *a->err = *err;
    uv_stop(&a->b->loop);
}

static int ask_model(struct bench *b, struct rwf_err *err)
{
    struct asked a = {.b = b, .err = err};
    char *path;
    char key[600];
    const char *names[] = {"Authorization"}, *values[] = {key};

    if (b->o->model != NULL) {
        b->model = rwf_xstrdup(b->o->model);
        return 0;
    }
    snprintf(key, sizeof(key), "Bearer %s", b->o->api_key != NULL ? b->o->api_key : "");
    path = rwf_xasprintf("%s/v1/models", b->o->prefix);
    http_client_call(b->client,
                     &(struct http_call_options){.method = "GET",
                                                 .path = path,
                                                 .names = names,
                                                 .values = values,
                                                 .header_count = b->o->api_key != NULL,
                                                 .timeout = 10 * RWF_NS_PER_S,
                                                 .head = asked_head,
                                                 .piece = asked_piece,
                                                 .done = asked_done,
                                                 .ctx = &a});
    uv_run(&b->loop, UV_RUN_DEFAULT);
    free(path);
    json_t *reply =
        a.body.len > 0 ? json_loadb(a.body.data, a.body.len, 0, NULL) : NULL;
    const char *id = json_string_value(
        json_object_get(json_array_get(json_object_get(reply, "data"), 0), "id"));
    b->model = id == NULL ? NULL : rwf_xstrdup(id);
    json_decref(reply);
    rwf_str_free(&a.body);
    if (a.failed)
        return rwf_wrap(err, "%s", b->o->target);
    if (b->model != NULL)
        return 0;
    return rwf_fail(err, RWF_E_ENV, "%s%s/v1/models: status %d and no model%s",
                    b->o->target, b->o->prefix, a.status,
                    a.status == 401 ? ": OPENAI_API_KEY is to hold one of its keys"
                                    : "");
}

/* --- the result --- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* As numpy.percentile has it: linear between neighbours. */
static double percentile(const struct samples *s, double p)
{
    double at = p * (double)(s->count - 1);
    size_t i = (size_t)at;

    if (i + 1 >= s->count)
        return s->ms[s->count - 1];
    return s->ms[i] + (s->ms[i + 1] - s->ms[i]) * (at - (double)i);
}

static struct bench_latency latency(struct samples *s)
{
    struct bench_latency l = {0, 0, 0, 0};

    if (s->count == 0)
        return l;
    qsort(s->ms, s->count, sizeof(*s->ms), ascending);
    for (size_t i = 0; i < s->count; i++)
        l.mean += s->ms[i] / (double)s->count;
    for (size_t i = 0; i < s->count; i++)
        l.sd += (s->ms[i] - l.mean) * (s->ms[i] - l.mean) / (double)s->count;
    l.sd = sqrt(l.sd);
    l.median = percentile(s, 0.5);
    l.p99 = percentile(s, 0.99);
    return l;
}

static double peak(struct samples *arrivals)
{
    size_t first = 0, most = 0;

    if (arrivals->count > 0)
        qsort(arrivals->ms, arrivals->count, sizeof(double), ascending);
    for (size_t i = 0; i < arrivals->count; i++) {
        while (arrivals->ms[i] - arrivals->ms[first] >= 1)
            first++;
        most = i - first + 1 > most ? i - first + 1 : most;
    }
    return (double)most;
}

static void measure(struct bench *b)
{
    struct bench_result *r = b->result;

    r->duration = (double)(rwf_clock_mono() - b->began) / 1e9;
    r->ttft = latency(&b->ttft);
    r->tpot = latency(&b->tpot);
    r->itl = latency(&b->itl);
    r->e2e = latency(&b->e2e);
    /* A piece may hold several tokens: each counts for as many as they do on the average. */
    r->peak_tokens = peak(&b->arrivals);
    if (b->arrivals.count > 0)
        r->peak_tokens *= (double)r->output_tokens / (double)b->arrivals.count;
}

/* --- all of it --- */

static void on_walk(uv_handle_t *h, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void bench_close(struct bench *b)
{
    struct samples *all[] = {&b->ttft, &b->tpot, &b->itl, &b->e2e, &b->arrivals};

    if (b->client != NULL)
        http_client_destroy(b->client);
    uv_walk(&b->loop, on_walk, NULL);
    while (uv_run(&b->loop, UV_RUN_DEFAULT) != 0)
        ;
    uv_loop_close(&b->loop);
    bench_prompts_free(b->prompts, b->o->num_prompts);
    for (size_t i = 0; i < RWF_COUNT(all); i++)
        free(all[i]->ms);
    free(b->requests);
    free(b->model);
    free(b->endpoint);
}

int bench_serve(const struct bench_options *o, struct bench_result *ret,
                struct rwf_err *err)
{
    struct bench b = {.o = o, .result = ret, .random = o->seed + 1};
    int rc = -1;

    *ret = (struct bench_result){0};
    uv_loop_init(&b.loop);
    uv_timer_init(&b.loop, &b.timer);
    b.timer.data = &b;
    b.endpoint = rwf_xasprintf("%s%s", o->prefix, o->endpoint);
    b.client = http_client_create(
        &b.loop, &(struct http_client_options){.target = o->target, .max_idle = 4096},
        err);
    if (b.client == NULL || ask_model(&b, err) != 0)
        goto out;
    b.prompts = bench_prompts(o, !o->chat, err);
    if (b.prompts == NULL)
        goto out;
    b.requests = rwf_xcalloc((size_t)o->num_prompts, sizeof(*b.requests));
    b.began = rwf_clock_mono();
    go_on(&b);
    if (b.ended < o->num_prompts)
        uv_run(&b.loop, UV_RUN_DEFAULT);
    measure(&b);
    rc = 0;
out:
    bench_close(&b);
    return rc;
}
